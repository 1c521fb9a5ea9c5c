"""safetensors files, read and written without the library: parts by tensor, each read when it is used.

Layout: "Safetensors", Hugging Face: 8 bytes little-endian length n of the header, n bytes of JSON
``{name: {dtype, shape, data_offsets}}`` with text under ``__metadata__``, then the numbers.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._options import ArrayOptions, name_of
from data_adapters._raw import RawSource
from data_adapters.networks._container import Container, place, tree
from repcompare.errors import FormatError, SchemaError
from repcompare.labels.parts import parts_of
from repcompare.labels.schema import history, sample_dim

LARGEST_HEADER = 100 * 10**6
MOST_DIMS = 8
KINDS = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1",
}  # fmt: skip
BLOCK_BYTES = 64 * 2**20
METADATA = "__metadata__"


def read_safetensors(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read a safetensors file as a tree of parts; values stay on disk.

    Parameters
    ----------
    path : str
        The file.
    options : ArrayOptions
        ``stimuli=`` (or ``stimulus_id`` in the metadata of the file: a JSON list), ``dims=``, ``reduce=`` and labels.

    Returns
    -------
    xarray.DataTree
        One part per tensor.  bfloat16 becomes float32; float8 is refused.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file, the options or the labels are wrong; for a file of weights.
    """
    start, entries, metadata = read_header(path)
    container = Container(path, "safetensors")
    for name, entry in entries.items():
        where = f"{name_of(path)}: {name}"
        source = RawSource(
            path, start + entry["data_offsets"][0], KINDS[entry["dtype"]], tuple(entry["shape"]), label=where
        )
        place(container, name, source, _reader(source))
    _add_metadata(container, metadata)
    if options.modality is None and "modality" in metadata:
        options = replace(options, modality=metadata["modality"])
    return tree(container, options)


def read_header(path: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return where the numbers begin, the tensors by name, and the metadata, after checking every size.

    Raises
    ------
    FormatError
        When the header is not one, or tensors overlap or leave the file.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise FormatError(
                f"{path}: announces a header of {length} bytes; the file has {size} bytes, and headers have at most "
                f"{LARGEST_HEADER}; expected a complete safetensors file; copy or write it again"
            )
        raw = handle.read(length)
    header = json.loads(raw.decode("utf-8"), object_pairs_hook=lambda pairs: _unique(path, pairs))
    if not isinstance(header, dict):
        raise FormatError(f"{path}: the header is a {type(header).__name__}; expected tensors by name; write it again")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path}: {METADATA} holds more than text; expected text by name; write it again")
    room = size - 8 - length
    for name, entry in header.items():
        _check_entry(path, name, entry, room)
    _check_overlap(path, header)
    return 8 + length, header, metadata


def _reader(source: RawSource) -> Callable[[], np.ndarray]:
    return lambda: source.read((slice(None),))


def _unique(path: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [k for k, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise FormatError(f"{path}: the header names {twice!r} twice; expected each name once; write it again")
    return found


def _check_entry(path: str, name: str, entry: Any, room: int) -> None:
    where = f"{path}: {name}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise FormatError(f"{where}: has no dtype, shape and data_offsets; expected a complete file; write it again")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in KINDS:
        raise FormatError(
            f"{where}: has dtype {str(kind)[:40]}; expected one of {', '.join(KINDS)}; convert it to F16 or F32"
        )
    if not _counts(shape) or len(shape) > MOST_DIMS:
        raise FormatError(
            f"{where}: has shape {str(shape)[:80]}; expected at most {MOST_DIMS} whole lengths; write it again"
        )
    if not _counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= room:
        raise FormatError(
            f"{where}: lies at {str(offsets)[:80]} of {room} bytes of numbers; it is truncated or damaged; copy it again"
        )
    item = {"bfloat16": 2, "bool": 1}.get(KINDS[kind]) or np.dtype(KINDS[kind]).itemsize
    needed = math.prod(shape) * item
    if needed != offsets[1] - offsets[0]:
        raise FormatError(
            f"{where}: {kind} {shape} needs {needed} bytes; the header gives {offsets[1] - offsets[0]}; write it again"
        )


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value)


def _check_overlap(path: str, header: dict[str, Any]) -> None:
    spans = sorted((*entry["data_offsets"], name) for name, entry in header.items())
    for (_, end, first), (begin, _, second) in pairwise(spans):
        if begin < end:
            raise FormatError(
                f"{path}: {first!r} and {second!r} share bytes; expected tensors side by side; write it again"
            )


def _add_metadata(container: Container, metadata: dict[str, str]) -> None:
    """Take lists in JSON as labels: ``stimulus_id`` for all parts, ``part:unit_region`` for one."""
    for key, value in metadata.items():
        part, _, label = key.rpartition(":")
        if not value.startswith("["):
            continue
        items = json.loads(value)
        flat = isinstance(items, list) and all(isinstance(v, str | int | float) for v in items)
        if not flat:
            raise FormatError(f"{container.path}: metadata {key!r} is not a list of names or numbers; write it again")
        if not part:
            container.labels[label] = partial(np.array, items)
        elif part in container.arrays:
            container.own.setdefault(part, {})[label] = items if label == "history" else np.array(items)


def write_safetensors(obj: Any, path: Path) -> None:
    """Write a representation or a tree in stimulus form as a safetensors file, block by block.

    Parameters
    ----------
    obj : xarray.Dataset, mapping or xarray.DataTree
        Parts of the same stimuli in the same order.
    path : path-like
        Destination.

    Raises
    ------
    SchemaError
        When the parts have different stimuli, or one has repeats or a time axis: netCDF keeps those.
    """
    parts = {name or "response": ds for name, ds in parts_of(obj).items()}
    metadata = _metadata(parts)
    header: dict[str, Any] = {}
    at = 0
    for name, ds in parts.items():
        response = ds["response"]
        end = at + int(response.nbytes)
        kind = "F32" if response.dtype == np.float32 else "F64"
        header[name] = {"dtype": kind, "shape": list(response.shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps({METADATA: metadata, **header}).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(raw)) + raw)
        for ds in parts.values():
            response = ds["response"]
            step = max(1, BLOCK_BYTES // max(1, response[0].nbytes))
            for first in range(0, response.shape[0], step):
                block = response[first : first + step].values
                handle.write(np.ascontiguousarray(block, block.dtype.newbyteorder("<")).tobytes())


def _metadata(parts: dict[str, xr.Dataset]) -> dict[str, str]:
    names: list[str] | None = None
    metadata: dict[str, str] = {}
    for name, ds in parts.items():
        sample = sample_dim(ds)  # refuses RDMs and scores
        own = ds["stimulus"].values.tolist() if "stimulus" in ds.coords else None
        if own is None or ds["response"].dims != ("stimulus", "unit") or (names is not None and own != names):
            raise SchemaError(
                f"part {name!r} has dims {ds['response'].dims}, rows by {sample}; safetensors files have one list "
                "of stimuli and no repeats; average_repeats first, or write netCDF (.nc)"
            )
        names = own
        default = [f"{name}/{i}" for i in range(ds.sizes["unit"])]
        for label, values in ds.coords.items():
            listed = values.values.tolist()
            if label == "stimulus" or (label == "unit_id" and listed == default):
                continue
            metadata[f"{name}:{label}"] = json.dumps(listed)
        metadata[f"{name}:history"] = json.dumps(history(ds))
    kinds = {str(ds.attrs.get("modality", "")) for ds in parts.values()} - {""}
    return {"stimulus_id": json.dumps(names), **({"modality": kinds.pop()} if len(kinds) == 1 else {}), **metadata}
