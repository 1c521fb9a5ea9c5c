"""Folders that thingsvision wrote: ``features.*`` with one row per line of ``file_names.txt``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import as_text, label_file
from data_adapters._lazy import InMemory
from data_adapters._npy import NpyFile
from data_adapters._options import ArrayOptions, name_of, parse_memory
from data_adapters._raw import Joined
from data_adapters.matlab._values import is_v73, variables
from data_adapters.matlab.generic import LazyArrays, Turned
from data_adapters.networks._container import Container, tree
from repcompare.errors import FormatError, some

NAMES = "file_names.txt"
CHUNK = re.compile(r"features_?(.*?)_?(\d+)-(\d+)\.npy")
SPLIT = re.compile(r"features_(\d+)\.npy")
GROWTH = 16


def read_thingsvision(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read a folder of features.

    Parameters
    ----------
    path : str
        Holds ``file_names.txt`` and ``features.npy``, ``.hdf5``, ``.mat``, ``.pt`` or ``.txt``; or ``features_01.npy`` ...,
        which are joined in order; or ``features*_{start}-{end}.npy``, which are joined by their first row.
    options : ArrayOptions
        ``stimuli=`` in place of ``file_names.txt``, ``dims=``, ``reduce=``, labels.

    Returns
    -------
    xarray.DataTree
        One part; one per module where chunks of several modules lie side by side.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When rows and names differ in number, or chunks are missing.
    """
    container = Container(path, "thingsvision")
    listed = sorted(os.listdir(path))
    if NAMES in listed:
        container.labels["stimulus_id"] = lambda: as_text(label_file(os.path.join(path, NAMES)), NAMES)
    for name, source in _sources(path, listed, options):
        container.arrays[name] = source
    files = [s.files for s in container.arrays.values() if isinstance(s, _hdf5.Hdf5Source)]
    container.close = partial(_close, files)
    if not container.arrays:
        raise FormatError(
            f"{path}: holds no features; expected features.npy, .hdf5, .mat, .pt or .txt; found {some(listed)}"
        )
    if NAMES in listed and options.stimuli is None and options.dims is None:
        n = len(container.labels["stimulus_id"]())
        for name, source in container.arrays.items():
            if source.shape[0] != n:
                raise FormatError(
                    f"{path}: {name} has {source.shape[0]} rows; {NAMES} has {n} names; extract the features again"
                )
    return tree(container, options)


def _close(files: list[Any]) -> None:
    for file in files:
        file.close()


def _sources(path: str, listed: list[str], options: ArrayOptions) -> Iterable[tuple[str, Any]]:
    chunks = [m for n in listed if (m := CHUNK.fullmatch(n))]
    if chunks:
        return _chunks(path, chunks)
    splits = [m for n in listed if (m := SPLIT.fullmatch(n))]
    if splits:
        ordered = sorted(splits, key=lambda m: int(m[1]))
        return [("features", _joined(path, [m[0] for m in ordered]))]
    found: list[tuple[str, Any]] = []
    for name in listed:
        stem, kind = os.path.splitext(name)
        if stem.startswith("features") and kind in READERS:
            found += READERS[kind](os.path.join(path, name), stem, options)
    return found


def _joined(path: str, names: list[str]) -> Any:
    sources = [NpyFile(os.path.join(path, n)) for n in names]
    return sources[0] if len(sources) == 1 else Joined(sources, f"{name_of(path)}: {names[0]} ...")


def _chunks(path: str, found: list[re.Match[str]]) -> list[tuple[str, Any]]:
    """Join the chunks of each module by their first row; gaps raise where the numbers can be trusted."""
    modules: dict[str, list[re.Match[str]]] = {}
    for match in found:
        modules.setdefault(match[1] or "features", []).append(match)
    joined = []
    for module, chunks in modules.items():
        ordered = sorted(chunks, key=lambda m: (int(m[2]), int(m[3])))
        for before, after in pairwise(ordered):
            gap = int(after[2]) - int(before[3])
            if gap not in (0, 1) and len(modules) == 1:  # with several modules the numbers themselves can be wrong
                raise FormatError(
                    f"{path}: {before[0]} is followed by {after[0]}; expected chunks without gaps; copy them all"
                )
        joined.append((module, _joined(path, [m[0] for m in ordered])))
    return joined


def _npy(file: str, name: str, options: ArrayOptions) -> list[tuple[str, Any]]:
    return [(name, NpyFile(file))]


def _text(file: str, name: str, options: ArrayOptions) -> list[tuple[str, Any]]:
    if os.path.getsize(file) * GROWTH > parse_memory(options.memory):
        raise FormatError(
            f"{file}: has {os.path.getsize(file)} bytes of text, read whole; raise memory= or save it as npy"
        )
    return [(name, InMemory(np.loadtxt(file, ndmin=2), file))]


def _hdf(file: str, name: str, options: ArrayOptions) -> list[tuple[str, Any]]:
    with _hdf5.opened(file) as handle:
        found = {n: d for n, d in _hdf5.walk(handle) if d.ndim >= 2}
        files = _hdf5.manager(file)
        return [(name if n == "features" else n, _hdf5.Hdf5Source(files, d)) for n, d in found.items()]


def _mat(file: str, name: str, options: ArrayOptions) -> list[tuple[str, Any]]:
    """Return the variable ``features``; or the rows of one variable per picture, in the order of the names."""
    memory = parse_memory(options.memory)
    lazy = LazyArrays(file) if is_v73(file) else None
    if lazy is None and os.path.getsize(file) > memory:
        raise FormatError(f"{file}: has {os.path.getsize(file)} bytes, read whole; raise memory=")
    content = lazy.content() if lazy else variables(file)
    found = {k: v for k, v in content.items() if isinstance(v, Turned | np.ndarray) and _is_array(v)}
    if name in found or "features" in found:
        return [(name if k == "features" else k, _source(v, f"{file}: {k}")) for k, v in found.items()]
    names = os.path.join(os.path.dirname(file), NAMES)
    listed = as_text(label_file(names), NAMES).tolist() if os.path.isfile(names) else []
    if listed and set(listed) <= set(found):
        return [(name, _stacked(file, [found[n] for n in listed], listed, memory))]
    missing = [n for n in listed if n not in found]
    if len(missing) < len(listed):
        raise FormatError(f"{file}: has no variable for {some(missing)} of {NAMES}; extract the features again")
    return [(k, _source(v, f"{file}: {k}")) for k, v in found.items()]


def _is_array(value: Any) -> bool:
    return value.dtype.kind in "fiu" and len(value.shape) >= 2


def _source(value: Any, label: str) -> Any:
    return value if isinstance(value, Turned) else InMemory(value, label)


def _stacked(file: str, rows: list[Any], names: list[str], memory: int) -> InMemory:
    """Join one variable per picture as rows; MATLAB keeps vectors as a matrix of one row."""
    shapes = [_row_shape(r) for r in rows]
    for name, shape in zip(names, shapes, strict=True):
        if shape != shapes[0]:
            raise FormatError(f"{file}: {name} has shape {shape}; {names[0]} has {shapes[0]}; expected equal rows")
    declared = len(rows) * math.prod(shapes[0]) * rows[0].dtype.itemsize
    if declared > memory:
        raise FormatError(f"{file}: the pictures have {declared} bytes; the limit is {memory}; raise memory=")
    whole = [r.read((slice(None),) * len(r.shape)) if isinstance(r, Turned) else r for r in rows]
    return InMemory(np.stack([w.reshape(shapes[0]) for w in whole]), file)


def _row_shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in value.shape)
    return (math.prod(shape),) if len(shape) == 2 and 1 in shape else shape


def _torch(file: str, name: str, options: ArrayOptions) -> list[tuple[str, Any]]:
    from data_adapters.networks.torch_file import sources

    return [(n or name, s) for n, s in sources(file, parse_memory(options.memory))]


READERS = {".npy": _npy, ".txt": _text, ".hdf5": _hdf, ".h5": _hdf, ".mat": _mat, ".pt": _torch}
