"""Experanto folders: ``meta.yml`` with a continuous recording (``data.npy``, ``data.mem``) or with spikes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._guard import guard
from data_adapters._lazy import labelled, responses
from data_adapters._npy import NpyFile, array_of
from data_adapters._options import EventOptions, name_of
from data_adapters.spikes._around import Units, around, chosen_units, given_events, refuse_events
from data_adapters.spikes._folder import listing
from data_adapters.spikes._yaml import parse_yaml
from repcompare.errors import FormatError, OptionError
from repcompare.labels.parts import tree_of

META = "meta.yml"
DATA = ("data.npy", "data.mem")


class RawFile:
    """Numbers without a header, whose shape and dtype the description gives."""

    def __init__(self, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self.dtype, self.label = os.path.abspath(path), shape, dtype, path
        declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
        found = os.path.getsize(path)
        if declared != found:
            raise FormatError(f"{path}: {META} declares {shape} {dtype} = {declared} bytes; the file has {found}")

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        return np.array(np.memmap(self.path, self.dtype, "r", 0, self.shape)[key])


def is_experanto(path: str) -> bool:
    """Say whether a folder, or a folder in it, holds a description and data."""
    return bool(_devices(path))


def _devices(path: str) -> list[str]:
    """Return the folders that hold responses: the folder itself, or those in it."""
    inside = [d for d in listing(path) if os.path.isfile(os.path.join(path, d, META))]
    return [d for d in ("", *inside) if _holds(os.path.join(path, d) if d else path)]


def _holds(folder: str) -> bool:
    names = set(listing(folder))
    return META in names and bool({*DATA, "spikes.npy"} & names)


def read_experanto(path: str, options: EventOptions) -> xr.Dataset | xr.DataTree:
    """Read an Experanto folder.

    Parameters
    ----------
    path : str
        The folder of one device (``responses``), or of an experiment with several.
    options : EventOptions
        ``events=``, ``start=``, ``stop=`` ... for spikes; a continuous recording takes none.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        ``response`` (time, unit), lazily; spikes as (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When description and data do not fit together.
    """
    devices = _devices(path)
    if not devices:
        raise FormatError(f"{path}: no {META} with data.npy, data.mem or spikes.npy; expected an Experanto folder")
    if not any(os.path.isfile(os.path.join(path, d, "spikes.npy")) for d in devices):
        refuse_events(path, options, "the recording")
    parts = {d: _device(os.path.join(path, d) if d else path, options) for d in devices}
    return parts[""] if "" in parts else tree_of(parts)


def _device(folder: str, options: EventOptions) -> xr.Dataset:
    file = os.path.join(folder, META)
    with guard(file, "a text file"):
        if os.path.getsize(file) > 2**26:
            raise FormatError(f"{file}: {os.path.getsize(file)} bytes; expected a short description")
        with open(file, encoding="utf-8") as handle:
            meta = parse_yaml(handle.read(), file)
    if not isinstance(meta, Mapping):
        raise FormatError(f"{file}: holds a {type(meta).__name__}; expected 'name: value' lines")
    if os.path.isfile(os.path.join(folder, "spikes.npy")):
        return _spikes(folder, meta, options)
    return _continuous(folder, meta)


def _number(meta: Mapping[str, Any], name: str, file: str, default: float | None = None) -> float:
    value = meta.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
        raise FormatError(f"{file}: {name} is {value!r}; expected a number")
    return float(value)


def _continuous(folder: str, meta: Mapping[str, Any]) -> xr.Dataset:
    file = os.path.join(folder, META)
    rate = _number(meta, "sampling_rate", file)
    if rate <= 0:
        raise FormatError(f"{file}: sampling_rate is {rate}; expected samples per second above 0")
    begin = _number(meta, "start_time", file, 0.0)
    source = _source(folder, meta)
    if len(source.shape) != 2 or 0 in source.shape:
        raise FormatError(f"{source.label}: has shape {source.shape}; expected (time, unit), none of them 0")
    notes = [f"time: from start_time {begin:g} s and sampling_rate {rate:g} Hz"]
    if "phase_shift_per_signal" in meta:
        notes.append("phase shifts between signals (less than one sample) are not applied")
    attrs = {
        "modality": "spikes",
        "source": f"{name_of(folder)} (experanto)",
        "history": [*notes, "modality: 'spikes' assumed"],
    }
    coords = {
        "time": begin + np.arange(source.shape[0]) / rate,
        "unit_id": [f"{name_of(folder)}/{i}" for i in range(source.shape[1])],
    }
    return labelled(responses(source, ("time", "unit"), "flatten"), attrs, coords)


def _source(folder: str, meta: Mapping[str, Any]) -> NpyFile | RawFile:
    file = os.path.join(folder, META)
    if os.path.isfile(os.path.join(folder, "data.npy")):
        return NpyFile(os.path.join(folder, "data.npy"))
    shape = tuple(int(_number(meta, name, file)) for name in ("n_timestamps", "n_signals"))
    if min(shape) < 0:
        raise FormatError(f"{file}: shape {shape}; expected numbers from 0")
    try:
        dtype = np.dtype(str(meta.get("dtype", "")) or "nothing")
    except (TypeError, ValueError, SyntaxError):
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise FormatError(f"{file}: dtype is {meta.get('dtype')!r}; expected float32 or the like")
    return RawFile(os.path.join(folder, "data.mem"), shape, dtype)


def _spikes(folder: str, meta: Mapping[str, Any], options: EventOptions) -> xr.Dataset:
    file = os.path.join(folder, META)
    frame = given_events(options)
    if frame is None:
        raise OptionError(f"{folder}: holds spikes and no events; give events= times in s, start= and stop=")
    times = array_of(os.path.join(folder, "spikes.npy"))
    beside = os.path.join(folder, "spike_indices.npy")
    given = array_of(beside) if os.path.isfile(beside) else np.asarray(meta.get("spike_indices", []))
    if times.dtype.kind != "f" or times.ndim != 1 or given.dtype.kind not in "iu" or given.ndim != 1 or len(given) < 2:
        raise FormatError(f"{file}: spike_indices and spikes.npy are not n + 1 offsets and seconds; expected both")
    ends = given.astype(np.int64)
    if ends[0] != 0 or ends[-1] != len(times) or (np.diff(ends) < 0).any():
        raise FormatError(
            f"{file}: spike_indices go from {ends[0]} to {ends[-1]}; expected rising from 0 to {len(times)}"
        )
    n = len(ends) - 1
    names = np.array([f"{name_of(folder)}/{i}" for i in range(n)], dtype=np.str_)
    keep = chosen_units(names, {}, options.units)
    trains = [times[ends[i] : ends[i + 1]].astype(np.float64) for i in keep]
    return around(folder, Units(names[keep], trains, {}, None), frame, options, [], "experanto")
