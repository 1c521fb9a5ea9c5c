"""Folders of rasters (``*_raster_data.mat``): one file per site, aligned by condition and running repeat."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._options import name_of
from data_adapters.matlab._values import described, fields, is_cell, is_numbers, variables, words
from data_adapters.spikes._around import schema_labels
from data_adapters.spikes._folder import listing
from repcompare.errors import FormatError, OptionError, suggest
from repcompare.labels.schema import representation
from repcompare.labels.spikes import Window

ENDING = "_raster_data.mat"
WANTED = {"raster_data", "raster_labels", "raster_site_info"}
MS = 1000
SITE_TEXT = {
    "session_ID": "unit_session",
    "session": "unit_session",
    "region": "unit_region",
    "brain_area": "unit_region",
}


@dataclass(frozen=True, kw_only=True)
class RasterOptions:
    """Options of rasters.

    Attributes
    ----------
    label : str, optional
        The label that names the condition; by default the one from which the others follow.
    start, stop : float, optional
        Window in s around the event that the files are aligned to; by default all samples.
    width : float, optional
        Bin width in s, a whole number of ms; without it one number per trial.
    ragged : bool
        Keep every repeat: NaN where a site has fewer; otherwise surplus repeats are dropped.
    rate : bool
        Divide counts by the width: Hz.
    """

    label: str | None = None
    start: float | None = None
    stop: float | None = None
    width: float | None = None
    ragged: bool = False
    rate: bool = False


@dataclass
class Site:
    """One file: trials x ms, labels of trials, and what is known of the site."""

    name: str
    trials: np.ndarray
    labels: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)
    zero: int = 0


def is_raster(path: str) -> bool:
    """Say whether a folder holds rasters, or a file is one by its name."""
    if os.path.isdir(path):
        return any(n.endswith(ENDING) for n in listing(path))
    return path.endswith(ENDING)


def read_raster(path: str, options: RasterOptions) -> xr.Dataset:
    """Read a folder of rasters as one pseudo-population, or a single file.

    Parameters
    ----------
    path : str
        The folder or file; samples are taken for ms.
    options : RasterOptions
        ``label=``, ``start=``, ``stop=``, ``width=``, ``ragged=``, ``rate=``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]); row = (condition, running repeat), the same at every site.
        ``attrs["pseudo_population"]`` is 1 where there are several sites: they were recorded at different times.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When files differ in labels or length, or the window leaves the recording.
    """
    files = [os.path.join(path, n) for n in listing(path) if n.endswith(ENDING)] if os.path.isdir(path) else [path]
    if not files:
        raise FormatError(f"{path}: no files *{ENDING}; expected one per site")
    notes: list[str] = []
    window: Window | None = None
    label = options.label
    columns, keys, sites = [], [], []
    for file in files:
        site = _site(file)
        label = label or _finest(path, site, notes)
        if label not in site.labels:
            raise OptionError(f"{file}: no label {label!r}{suggest(label, site.labels)}; give label=")
        if window is None:
            window = _window(file, site, options, notes)
        columns.append(_binned(file, site, window))
        keys.append(site.labels[label])
        site.trials = np.empty((0, 0))
        sites.append(site)
    assert window is not None and label is not None
    rows, counts = _rows(path, keys, options, notes)
    response = _aligned(columns, keys, rows, counts)
    return _dataset(path, sites, label, response, (rows, counts), (window, options, notes))


def _site(file: str) -> Site:
    content = variables(file, WANTED)
    missing = [n for n in ("raster_data", "raster_labels") if n not in content]
    if missing:
        raise FormatError(f"{file}: no variable {missing[0]!r} among {', '.join(content) or 'none'}; expected a raster")
    trials = content["raster_data"]
    if not is_numbers(trials) or trials.ndim != 2 or 0 in trials.shape:
        raise FormatError(f"{file}: raster_data is {described(trials)}; expected numbers, trial x ms")
    labels = {
        n: words(v, f"{file}: {n}") for n, v in fields(content["raster_labels"], f"{file}: raster_labels").items()
    }
    short = {n: len(v) for n, v in labels.items() if len(v) != len(trials)}
    if short or not labels:
        raise FormatError(f"{file}: labels of lengths {short} for {len(trials)} trials; expected one per trial")
    info = fields(content["raster_site_info"], f"{file}: raster_site_info") if "raster_site_info" in content else {}
    plain = {n: _plain(v) for n, v in info.items()}
    kept = {n: v for n, v in plain.items() if v is not None}
    zero = kept.pop("alignment_event_time", 1)
    if not isinstance(zero, int | float) or not 1 <= zero <= trials.shape[1] or zero != int(zero):
        raise FormatError(f"{file}: alignment_event_time is {zero!r}; expected a sample from 1 to {trials.shape[1]}")
    return Site(name_of(file).removesuffix(ENDING), trials, labels, kept, int(zero) - 1)


def _plain(value: Any) -> str | int | float | None:
    while is_cell(value) and value.size == 1:
        value = value.flat[0]
    if isinstance(value, str):
        return value
    if is_numbers(value) and value.size == 1:
        number: int | float = value.item()
        return int(number) if float(number).is_integer() else number
    return None


def _finest(path: str, site: Site, notes: list[str]) -> str:
    """Return the label whose values determine all others."""
    for name, values in site.labels.items():
        if all(
            len(set(zip(values.tolist(), o.tolist(), strict=True))) == len(set(values.tolist()))
            for o in site.labels.values()
        ):
            notes.append(f"stimulus: label {name!r}")
            return name
    raise OptionError(
        f"{path}: labels {', '.join(site.labels)} do not follow from one of them; name the condition by label="
    )


def _window(file: str, site: Site, options: RasterOptions, notes: list[str]) -> Window:
    if (options.start is None) != (options.stop is None):
        raise OptionError("start= and stop= come together; give the window in s around the event, or neither")
    begin, end = -site.zero / MS, (site.trials.shape[1] - site.zero) / MS
    start, stop = (begin, end) if options.start is None or options.stop is None else (options.start, options.stop)
    window = Window(start, stop, options.width)
    for what, value in (("start", start), ("stop", stop), ("width", window.bin_width)):
        if abs(value * MS - round(value * MS)) > 1e-6:
            raise OptionError(f"{what}={value}: expected a whole number of ms, which is how rasters are sampled")
    if options.start is None:
        notes.append(f"window: all samples, {begin:g} to {end:g} s")
    notes.append("samples of rasters are taken for ms")
    return window


def _binned(file: str, site: Site, window: Window) -> np.ndarray:
    """Return counts (trial, bin) of one site."""
    first, last = site.zero + round(window.start * MS), site.zero + round(window.stop * MS)
    if first < 0 or last > site.trials.shape[1]:
        begin, end = -site.zero / MS, (site.trials.shape[1] - site.zero) / MS
        raise OptionError(
            f"{file}: start={window.start}, stop={window.stop}: the recording goes from {begin:g} to {end:g} s; "
            "choose a window inside it"
        )
    part = site.trials[:, first:last].reshape(len(site.trials), window.n_bins, -1)
    return np.asarray(part.sum(axis=2, dtype=np.float32))


def _rows(path: str, keys: list[np.ndarray], options: RasterOptions, notes: list[str]) -> tuple[list[str], list[int]]:
    """Return the conditions, sorted, and how many repeats of each are kept."""
    found = [dict(zip(*(a.tolist() for a in np.unique(k, return_counts=True)), strict=True)) for k in keys]
    names = sorted(set().union(*found))
    pick = max if options.ragged else min
    counts = [pick(f.get(name, 0) for f in found) for name in names]
    kept = [(n, c) for n, c in zip(names, counts, strict=True) if c]
    if not kept:
        raise FormatError(f"{path}: no condition occurs at every site; expected common ones; give ragged=True")
    gone = [n for n, c in zip(names, counts, strict=True) if not c]
    if gone:
        notes.append(f"{len(gone)} conditions are missing at some site, the first {gone[0]!r}: dropped")
    trials, used = sum(map(len, keys)), len(keys) * sum(c for _, c in kept)
    if used < trials:
        notes.append(f"{trials - used} of {trials} trials are beyond the smallest number of repeats: dropped")
    if used > trials:
        notes.append(f"{used - trials} cells of site and repeat were not recorded: NaN")
    return [n for n, _ in kept], [c for _, c in kept]


def _aligned(columns: list[np.ndarray], keys: list[np.ndarray], names: list[str], counts: list[int]) -> np.ndarray:
    """Put the running repeats of each condition into the same rows at every site."""
    starts = np.cumsum([0, *counts])
    out = np.full((int(starts[-1]), len(columns), columns[0].shape[1]), np.nan, np.float32)
    for unit, (values, key) in enumerate(zip(columns, keys, strict=True)):
        for name, start, count in zip(names, starts[:-1].tolist(), counts, strict=True):
            trials = np.flatnonzero(key == name)[:count]
            out[start : start + len(trials), unit] = values[trials]
    return out


def _dataset(path: str, sites: list[Site], label: str, response: np.ndarray, kept: Any, how: Any) -> xr.Dataset:
    (names, counts), (window, options, notes) = kept, how
    rows = np.repeat(np.array(names, dtype=np.str_), counts)
    coords: dict[str, Any] = {"stimulus_id": rows, "repeat": np.concatenate([np.arange(c) for c in counts])}
    for other in sites[0].labels:
        by_name = dict(
            pair for s in sites if other in s.labels for pair in zip(s.labels[label], s.labels[other], strict=True)
        )
        unique = {
            pair for s in sites if other in s.labels for pair in zip(s.labels[label], s.labels[other], strict=True)
        }
        if other != label and len(unique) == len(by_name):
            coords[other if other.startswith("stimulus_") else f"stimulus_{other}"] = [by_name.get(n, "") for n in rows]
    coords |= _units(sites)
    if options.rate:
        response = response / np.float32(window.bin_width)
    attrs: dict[str, Any] = {
        "modality": "spikes",
        "response_units": "Hz" if options.rate else "count",
        "source": f"{name_of(path)} (raster)",
        "history": notes,
    }
    if len(sites) > 1:
        attrs["pseudo_population"] = 1
    if window.width is None:
        return representation(response[:, :, 0], dims=("presentation", "unit"), attrs=attrs, **coords)
    ds = representation(response, dims=("presentation", "unit", "time"), attrs=attrs, time=window.centres, **coords)
    ds["time"].attrs.update(units="s", bin_width=window.bin_width)
    return ds


def _units(sites: list[Site]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {"unit_id": np.array([s.name for s in sites], dtype=np.str_)}
    for name in dict.fromkeys(n for s in sites for n in s.info):
        values = [s.info.get(name) for s in sites]
        numeric = all(isinstance(v, int | float) for v in values)
        key = SITE_TEXT.get(name, f"unit_{name}")
        if key in SITE_TEXT.values() or not numeric:
            found[key] = np.array(["" if v is None else str(v) for v in values], dtype=np.str_)
        else:
            found |= schema_labels({key: np.asarray(values)}, "raster")
    return found
