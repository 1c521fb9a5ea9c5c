"""Time series of NWB files: continuous recordings as time x unit, read lazily."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._lazy import Source, labelled, responses, wide
from data_adapters._options import SpikeOptions, name_of
from data_adapters.spikes import _nodes
from data_adapters.spikes._nodes import Array, Group
from repcompare.errors import FormatError, OptionError, suggest

FOLDERS = ("acquisition", "processing", "stimulus/presentation")


class Scaled:
    """Numbers that become physical units by ``conversion``, ``channel_conversion`` and ``offset``; a vector is one unit.

    Parameters
    ----------
    source : Source
        What is stored: (time,) or (time, unit).
    attrs : mapping
        Attributes of the array.
    channels : ndarray of float64, shape (n_units,), optional
        ``channel_conversion``: a factor per unit, on top of the common one.
    """

    def __init__(self, source: Source, attrs: Mapping[str, Any], channels: np.ndarray | None = None) -> None:
        self.source, self.label, self.dtype = source, source.label, source.dtype
        self.flat = len(source.shape) == 1
        self.shape: tuple[int, ...] = (*source.shape, 1) if self.flat else source.shape
        self.offset = float(attrs.get("offset", 0.0))
        self.scale = float(attrs.get("conversion", 1.0)) * (np.ones(1) if channels is None else channels)
        if not np.isfinite([*self.scale, self.offset]).all():
            raise FormatError(f"{self.label}: has a conversion or offset that is not finite; expected physical units")
        self.plain = bool((self.scale == 1).all()) and self.offset == 0
        if not self.plain:
            wide(source.dtype, self.label)
            self.dtype = np.dtype(np.float32 if source.dtype.itemsize <= 2 else np.float64)

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return self.source.guard()

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        block = self.source.read(key[:1] if self.flat else key)
        if self.flat:
            block = block[:, None][:, key[1]]
        if self.plain:
            return block
        scale = self.scale if len(self.scale) == 1 else self.scale[key[1]]
        return np.asarray(block.astype(self.dtype) * scale.astype(self.dtype) + self.dtype.type(self.offset))


def read_series(path: str, file: Group, options: SpikeOptions) -> xr.Dataset:
    """Read one time series as ``response`` (time, unit), the values on disk until they are used.

    Parameters
    ----------
    path : str
        The file.
    file : Group or ZarrGroup
        Its root.
    options : SpikeOptions
        ``series=``: the name, or the path where several have the name.

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
        hint = suggest(wanted, names or found) if found else "; the file has none at all"
        raise OptionError(f"{path}: {what} {wanted!r}{hint}")
    group = found[names[0]]
    dataset = _nodes.get(group, "data")
    if not isinstance(dataset, Array) or dataset.ndim not in (1, 2):
        raise FormatError(f"{path}: {group.name}/data has no (time, unit) numbers; expected 1 or 2 axes")
    stored, close, notes = _nodes.source(path, dataset)
    source = Scaled(stored, dataset.attrs, _channels(path, group, dataset.shape))
    seconds, note = _clock(path, group, source.shape[0])
    attrs = {
        "modality": "lfp",
        "response_units": str(_plain(dataset.attrs.get("unit", ""))),
        "source": f"{name_of(path)} (nwb)",
        "history": [f"series {names[0]}", note, "modality: 'lfp' assumed", *notes],
    }
    units = [f"{group.name.rsplit('/', 1)[-1]}/{i}" for i in range(source.shape[1])]
    ds = labelled(responses(source, ("time", "unit"), "flatten"), attrs, {"time": seconds, "unit_id": units})
    ds.set_close(close)
    return ds


def _channels(path: str, group: Group, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the factors per channel of an electrical series."""
    dataset = _nodes.get(group, "channel_conversion")
    if not isinstance(dataset, Array):
        return None
    factors = _nodes.values(dataset).astype(np.float64)
    if len(shape) != 2 or factors.shape != shape[1:]:
        raise FormatError(
            f"{path}: {group.name}/channel_conversion has shape {factors.shape} for data {shape}; expected one per channel"
        )
    return factors


def _find(file: Group) -> dict[str, Group]:
    found = {}
    for folder in FOLDERS:
        group = _nodes.get(file, folder)
        if not isinstance(group, Group):
            continue
        for name, dataset in _nodes.walk(group):
            if name.endswith("/data") and dataset.dtype.kind in "fiu":
                series = f"{folder}/{name.removesuffix('/data')}"
                found[series] = _nodes.get(file, series)
    return found


def _clock(path: str, group: Group, n: int) -> tuple[np.ndarray, str]:
    stamps = _nodes.get(group, "timestamps")
    if isinstance(stamps, Array):
        seconds = _nodes.values(stamps).astype(np.float64)
        if seconds.shape != (n,):
            raise FormatError(
                f"{path}: {group.name}/timestamps has shape {seconds.shape}; expected ({n},), one per sample"
            )
        return seconds, "time: timestamps of the series, s"
    start = _nodes.get(group, "starting_time")
    rate = float(start.attrs.get("rate", 0)) if isinstance(start, Array) else 0.0
    if not 0 < rate < np.inf:
        raise FormatError(
            f"{path}: {group.name} has neither timestamps nor a starting_time with a rate; expected a clock"
        )
    return float(_nodes.values(start).reshape(-1)[0]) + np.arange(
        n
    ) / rate, f"time: from starting_time and rate {rate:g} Hz"


def _plain(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else value
