"""Time series of NWB files: continuous recordings as time x unit, read lazily."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._lazy import labelled, responses, wide
from data_adapters._options import SpikeOptions, name_of
from repcompare.errors import FormatError, OptionError, suggest

FOLDERS = ("acquisition", "processing", "stimulus/presentation")


class Scaled(_hdf5.Hdf5Source):
    """A dataset whose numbers become physical units by ``conversion`` and ``offset``."""

    def __init__(self, files: Any, dataset: h5py.Dataset) -> None:
        super().__init__(files, dataset)
        self.scale = float(dataset.attrs.get("conversion", 1.0))
        self.offset = float(dataset.attrs.get("offset", 0.0))
        if self.scale != 1 or self.offset != 0:
            wide(dataset.dtype, self.label)
            self.dtype = np.dtype(np.float32 if dataset.dtype.itemsize <= 2 else np.float64)
        self.flat = len(self.shape) == 1
        if self.flat:
            self.shape = (*self.shape, 1)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        block = super().read(key[:1] if self.flat else key)
        if self.flat:
            block = block[:, None][:, key[1]]
        if self.scale == 1 and self.offset == 0:
            return block
        scaled = block.astype(self.dtype) * self.dtype.type(self.scale) + self.dtype.type(self.offset)
        return np.asarray(scaled)


def read_series(path: str, file: h5py.File, options: SpikeOptions) -> xr.Dataset:
    """Read one time series as ``response`` (time, unit), the values on disk until they are used.

    Raises
    ------
    OptionError
        When there is no such series; the message lists those there are.
    FormatError
        When it has no clock, or damaged lengths.
    """
    found = _find(file)
    wanted = str(options.series)
    names = [n for n in found if n == wanted.strip("/") or n.rsplit("/", 1)[-1] == wanted]
    if len(names) != 1:
        what = "several series" if names else "no series"
        raise OptionError(f"{path}: {what} {wanted!r}{suggest(wanted, names or found)}")
    group = found[names[0]]
    dataset = _hdf5.get(group, "data")
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim not in (1, 2):
        raise FormatError(f"{path}: {group.name}/data has no (time, unit) numbers; expected 1 or 2 axes")
    files = _hdf5.manager(path)
    source = Scaled(files, dataset)
    seconds, note = _clock(path, group, source.shape[0])
    attrs = {
        "modality": "lfp",
        "response_units": str(_plain(dataset.attrs.get("unit", ""))),
        "source": f"{name_of(path)} (nwb)",
        "history": [f"series {names[0]}", note],
    }
    units = [f"{group.name.rsplit('/', 1)[-1]}/{i}" for i in range(source.shape[1])]
    ds = labelled(responses(source, ("time", "unit"), "flatten"), attrs, {"time": seconds, "unit_id": units})
    ds.set_close(files.close)
    return ds


def _find(file: h5py.File) -> dict[str, h5py.Group]:
    found = {}
    for folder in FOLDERS:
        group = _hdf5.get(file, folder)
        if not isinstance(group, h5py.Group):
            continue
        for name, dataset in _hdf5.walk(group):
            if name.endswith("/data") and dataset.dtype.kind in "fiu":
                series = f"{folder}/{name.removesuffix('/data')}"
                found[series] = _hdf5.get(file, series)
    return found


def _clock(path: str, group: h5py.Group, n: int) -> tuple[np.ndarray, str]:
    stamps = _hdf5.get(group, "timestamps")
    if isinstance(stamps, h5py.Dataset):
        seconds = _hdf5.values(stamps).astype(np.float64)
        if seconds.shape != (n,):
            raise FormatError(
                f"{path}: {group.name}/timestamps has shape {seconds.shape}; expected ({n},), one per sample"
            )
        return seconds, "time: timestamps of the series, s"
    start = _hdf5.get(group, "starting_time")
    rate = float(start.attrs.get("rate", 0)) if isinstance(start, h5py.Dataset) else 0.0
    if not 0 < rate < np.inf:
        raise FormatError(
            f"{path}: {group.name} has neither timestamps nor a starting_time with a rate; expected a clock"
        )
    return float(start[()]) + np.arange(n) / rate, f"time: from starting_time and rate {rate:g} Hz"


def _plain(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else value
