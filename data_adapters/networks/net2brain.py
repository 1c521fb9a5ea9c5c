"""Activations and RDMs of Net2Brain: npz files per stimulus, or per layer, and npz files of RDMs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import as_text
from data_adapters._lazy import InMemory
from data_adapters._npy import arrays_of
from data_adapters._options import ArrayOptions, name_of, parse_memory
from data_adapters.networks._container import Container, tree
from data_adapters.rdms._sets import Found, RdmOptions, assembled
from repcompare.errors import FormatError, some

CONSOLIDATED = re.compile(r"consolidated_(.+)\.npz")
NAMES = "stimuli_name"


def read_net2brain(path: str, options: ArrayOptions) -> xr.DataTree | xr.Dataset:
    """Read a folder of activations, or a file of RDMs.

    Parameters
    ----------
    path : str
        A folder of ``<stimulus>.npz`` with an array (1, channel, y, x) or (1, unit) per layer, or of
        ``consolidated_<layer>.npz`` with an array per stimulus; or one npz file of RDMs.
    options : ArrayOptions
        ``reduce=``, ``memory=`` and labels; ``stimuli=`` names the rows of RDMs that have no names.

    Returns
    -------
    xarray.DataTree or xarray.Dataset
        A part per layer, float32; or a set of RDMs.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When layers or shapes differ between stimuli, or the whole is larger than ``memory``.
    """
    if os.path.isfile(path):
        return _rdms(path, options)
    files = sorted(n for n in os.listdir(path) if n.endswith(".npz"))
    layers = [m for n in files if (m := CONSOLIDATED.fullmatch(n))]
    if not files:
        raise FormatError(f"{path}: holds no npz files; expected one per stimulus, or consolidated_<layer>.npz")
    memory = parse_memory(options.memory)
    if layers and len(layers) == len(files):
        names, arrays = _by_layer(path, layers, memory)
    else:
        names, arrays = _by_stimulus(path, files, memory)
    container = Container(path, "net2brain")
    container.labels["stimulus_id"] = lambda: np.array(names)
    container.arrays = {n: InMemory(a, f"{name_of(path)}: {n}") for n, a in arrays.items()}
    return tree(container, options)


def _by_stimulus(path: str, files: list[str], memory: int) -> tuple[list[str], dict[str, np.ndarray]]:
    rows: dict[str, np.ndarray] = {}
    for i, file in enumerate(files):
        where = os.path.join(path, file)
        readers = arrays_of(where, memory)
        if rows and set(readers) != set(rows):
            odd = sorted(set(readers) ^ set(rows))
            raise FormatError(
                f"{where}: has not the layers of {files[0]}: {some(odd)}; expected the same in every file"
            )
        found = {n: _row(where, n, read()) for n, read in readers.items()}
        if not rows:
            _check_memory(path, sum(v.nbytes for v in found.values()) * len(files), memory)
            rows = {n: np.empty((len(files), *v.shape), v.dtype) for n, v in found.items()}
        for name, values in found.items():
            _place(where, name, rows[name], i, values)
    return _stripped([f.removesuffix(".npz") for f in files]), rows


def _by_layer(path: str, layers: list[re.Match[str]], memory: int) -> tuple[list[str], dict[str, np.ndarray]]:
    names: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    for match in layers:
        where = os.path.join(path, match[0])
        readers = arrays_of(where, memory)
        if names and set(readers) != set(names):
            raise FormatError(
                f"{where}: has other stimuli: {some(sorted(set(readers) ^ set(names)))}; expected the same ones"
            )
        names = names or sorted(readers)
        if not names:
            raise FormatError(f"{where}: is empty; expected an array per stimulus")
        first = _row(where, names[0], readers[names[0]]())
        held = sum(a.nbytes for a in arrays.values())
        _check_memory(path, held + first.nbytes * len(names), memory)
        rows = np.empty((len(names), *first.shape), first.dtype)
        for i, name in enumerate(names):
            _place(where, name, rows, i, _row(where, name, readers[name]()))
        arrays[match[1]] = rows
    return _stripped(names), arrays


def _row(where: str, name: str, values: np.ndarray) -> np.ndarray:
    """Return the responses to one stimulus without the batch axis; half precision is widened."""
    if values.ndim >= 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim not in (1, 3) or values.dtype.kind not in "fiu":
        raise FormatError(
            f"{where}: {name} has shape {values.shape}, dtype {values.dtype}; expected (1, channel, y, x) or (1, unit)"
        )
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _place(where: str, name: str, rows: np.ndarray, i: int, values: np.ndarray) -> None:
    if values.shape != rows.shape[1:]:
        raise FormatError(
            f"{where}: {name} has shape {values.shape}; the first stimulus has {rows.shape[1:]}; expected equal ones"
        )
    rows[i] = values


def _check_memory(path: str, needed: int, memory: int) -> None:
    if needed > memory:
        raise FormatError(f"{path}: needs {needed} bytes, read whole; memory={memory}; raise it, or read fewer layers")


def _stripped(names: list[str]) -> list[str]:
    """Return names without a common beginning that ends in an underscore: that of the network."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    at = first[:same].rfind("_") + 1
    kept = [n[at:] for n in names]
    return kept if len(names) > 1 and at and all(kept) and not all(k[0].isdigit() for k in kept) else names


def _rdms(path: str, options: ArrayOptions) -> xr.Dataset:
    readers = arrays_of(path, parse_memory(options.memory))
    given = RdmOptions(stimuli=options.stimuli)
    if "rdm" in readers:
        stem = os.path.splitext(name_of(path))[0]
        found = [Found("rdm", stem.removeprefix("RDM_"), readers["rdm"]())]
        names = _names(path, readers)
        if options.stimuli is None and names is not None:
            given = RdmOptions(stimuli=names)
        return assembled(path, found, given, {}, {})
    key = "arr_0" if "arr_0" in readers else next(iter(readers), "")
    values = readers[key]() if key else np.empty(0)
    if values.ndim not in (3, 4) or values.shape[-1] != values.shape[-2]:
        raise FormatError(f"{path}: {key or 'nothing'} has shape {values.shape}; expected (subject[, time], n, n)")
    found = []
    for place in np.ndindex(values.shape[:-2]):
        labels: dict[str, Any] = dict(zip(("subject", "time_index"), place, strict=False))
        found.append(Found(f"{key}{list(place)}", "/".join(map(str, place)), values[place], labels))
    return assembled(path, found, given, {}, {})


def _names(path: str, readers: Mapping[str, Callable[[], np.ndarray]]) -> list[str] | None:
    if NAMES not in readers:
        return None
    return [str(v) for v in as_text(readers[NAMES](), f"{path}: {NAMES}").tolist()]
