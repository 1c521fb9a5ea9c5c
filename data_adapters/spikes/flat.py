"""Flat lists of spikes: arrays of trial, unit and time of each spike, or times by unit."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import POSITIONAL, as_text, numbered, running_count
from data_adapters._npy import arrays_of
from data_adapters._options import EventOptions, name_of
from data_adapters.spikes._around import Units, around, chosen_units, given_events
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.schema import representation
from repcompare.labels.spikes import SNAP, Window, clean_events

TRIPLE = {"trial": ("trial", "trials"), "unit": ("unit", "units", "neuron"), "time": ("time", "times", "spike_times")}
NAMES = ("stimulus_id", "stimulus", "stimuli")
LARGEST = 8 * 10**9  # bytes of the result


@dataclass(frozen=True, kw_only=True)
class FlatOptions(EventOptions):
    """Options of flat lists of spikes: those of spike times, and their unit of time.

    Attributes
    ----------
    tick : float, optional
        Seconds per unit of time; required for whole numbers, 1 for others.
    """

    tick: float | None = None


def is_flat(path: str) -> bool:
    """Say whether an npz file holds the arrays of trials, units and times."""
    try:
        with zipfile.ZipFile(path) as archive:
            return is_triple({n.removesuffix(".npy") for n in archive.namelist()})
    except Exception:  # a damaged file: the reader will say what is wrong with it
        return False


def is_triple(names: Any) -> bool:
    """Say whether names of arrays are those of a flat list of spikes."""
    return all(any(n in names for n in options) for options in TRIPLE.values())


def read_flat(path: str, options: FlatOptions) -> xr.Dataset:
    """Read an npz file of spikes: arrays ``trial``, ``unit`` and ``time``, or one array of times per unit.

    Parameters
    ----------
    path : str
        The file; ``stimulus`` (or ``stimulus_id``) in it names the stimulus of each trial.
    options : FlatOptions
        ``start=``, ``stop=`` and ``width=`` around the beginning of each trial, ``tick=``, ``stimulus=``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When arrays differ in length, the unit of time is unknown, or stimuli have no names.
    """
    arrays = {name: read() for name, read in arrays_of(path, LARGEST).items()}
    return flat_spikes(arrays, options, path, "spikes")


def flat_spikes(arrays: Mapping[Any, Any], options: FlatOptions, path: str, format: str) -> xr.Dataset:
    """Return the counts of a flat list of spikes, or of times by unit.

    Parameters
    ----------
    arrays : mapping of str to array-like
        ``trial``, ``unit``, ``time`` (one entry per spike; times count from the beginning of the trial) and optionally
        ``stimulus`` (one name per trial); or times since the beginning of the recording, by unit.
    options : FlatOptions
        Options of the reader.
    path, format : str
        For messages and the source.

    Raises
    ------
    FormatError, OptionError, SchemaError
        As :func:`read_flat`.
    """
    notes: list[str] = []
    if not is_triple(arrays):
        return _by_unit(arrays, options, path, format)
    found = {k: np.asarray(arrays[next(n for n in names if n in arrays)]) for k, names in TRIPLE.items()}
    shapes = {k: v.shape for k, v in found.items()}
    if len(set(shapes.values())) > 1 or found["time"].ndim != 1 or not found["time"].size:
        raise FormatError(
            f"{path}: arrays of shapes {shapes}; expected one entry per spike in each, at least one spike"
        )
    trial = found["trial"]
    if trial.dtype.kind not in "iu" or trial.min() < 0:
        raise FormatError(f"{path}: trial has dtype {trial.dtype}; expected numbers of trials from 0")
    names = _trial_names(arrays, int(trial.max()) + 1, options, path, notes)
    if options.start is None or options.stop is None:
        raise OptionError("give start= and stop= (and width=), the window from the beginning of each trial in s")
    window = Window(options.start, options.stop, options.width)
    times = clean_events(seconds(found["time"], options.tick, path, notes))
    units, code = np.unique(_unit_names(found["unit"], path), return_inverse=True)
    keep = chosen_units(units, {}, options.units)
    response = _counted(trial.astype(np.int64), code, times, (len(names), len(units), window.n_bins), window)[:, keep]
    if options.rate:
        response = response / np.float32(window.bin_width)
    notes.append("spike times count from the beginning of each trial")
    attrs = {
        "modality": "spikes",
        "response_units": "Hz" if options.rate else "count",
        "source": f"{name_of(path)} ({format})",
        "history": notes,
    }
    labels = {"stimulus_id": names, "repeat": running_count(names), "unit_id": units[keep]}
    if window.width is None:
        return representation(response[:, :, 0], dims=("presentation", "unit"), attrs=attrs, **labels)
    ds = representation(response, dims=("presentation", "unit", "time"), attrs=attrs, time=window.centres, **labels)
    ds["time"].attrs.update(units="s", bin_width=window.bin_width)
    return ds


def _by_unit(arrays: Mapping[Any, Any], options: FlatOptions, path: str, format: str) -> xr.Dataset:
    notes: list[str] = []
    trains = {str(k): v for k, v in arrays.items() if str(k) not in NAMES}
    if not trains:
        raise FormatError(f"{path}: no units in it; expected arrays trial, unit and time, or spike times by unit")
    frame = given_events(options)
    if frame is None:
        raise OptionError(f"{path}: spike times by unit need events= (times in s or a table), start= and stop=")
    names = np.array(list(trains), dtype=np.str_)
    keep = chosen_units(names, {}, options.units)
    times = [seconds(np.asarray(trains[names[i]]), options.tick, f"{path}: {names[i]}", notes) for i in keep]
    return around(path, Units(names[keep], times, {}, None), frame, options, list(dict.fromkeys(notes)), format)


def seconds(values: np.ndarray, tick: float | None, where: str, notes: list[str]) -> np.ndarray:
    """Return times in s; whole numbers need ``tick``.

    Raises
    ------
    FormatError, OptionError
        When they are no numbers, or their unit is unknown.
    """
    if tick is not None and not 0 < tick < np.inf:
        raise OptionError(f"tick={tick}: expected seconds per unit of time, above 0")
    if values.dtype.kind not in "fiu":
        raise FormatError(f"{where}: times have dtype {values.dtype}; expected numbers")
    if tick is None and values.dtype.kind in "iu" and values.size:
        raise FormatError(f"{where}: times are whole numbers of unknown unit; give tick=, the seconds per unit (0.001)")
    if tick is not None:
        notes.append(f"times multiplied by tick={tick:g} s")
    return values.astype(np.float64) * (1.0 if tick is None else float(tick))


def _unit_names(units: np.ndarray, path: str) -> np.ndarray:
    if units.dtype.kind in "iu":
        width = len(str(int(units.max())))
        return np.char.zfill(units.astype(np.str_), width) if int(units.min()) >= 0 else units.astype(np.str_)
    return as_text(units, f"{path}: unit")


def _trial_names(arrays: Mapping[Any, Any], n: int, options: FlatOptions, path: str, notes: list[str]) -> np.ndarray:
    """Stimulus of each trial; trials without spikes count too."""
    wanted = options.stimulus
    if isinstance(wanted, str) and wanted == POSITIONAL:
        notes.append(f"stimulus names are positions (stimulus='positional'); {n} trials, as many as have spikes")
        return numbered(n)
    if wanted is None or isinstance(wanted, str):
        key = next((k for k in ((wanted,) if wanted else NAMES) if k in arrays), None)
        if key is None:
            known = ", ".join(map(str, arrays))
            raise FormatError(
                f"{path}: no stimulus names for {n} trials among {known}; give stimulus= a list of them, or 'positional'"
            )
        wanted = np.asarray(arrays[key])
        notes.append(f"stimulus: array {key!r}")
    names = as_text(wanted, f"{path}: stimulus")
    if len(names) < n:
        raise FormatError(
            f"{path}: trial {n - 1} has spikes; found {len(names)} stimulus names; expected one per trial"
        )
    return names


def _counted(
    trial: np.ndarray, unit: np.ndarray, times: np.ndarray, shape: tuple[int, int, int], window: Window
) -> np.ndarray:
    cells = shape[0] * shape[1] * shape[2]
    if 4 * cells > LARGEST:
        raise SchemaError(f"{shape} cells are {4 * cells} bytes; expected at most {LARGEST}; use wider bins")
    at = (times - window.start) / window.bin_width + SNAP
    inside = (at >= 0) & (times < window.stop - SNAP * window.bin_width)
    cell = np.minimum(at[inside].astype(np.int64), shape[2] - 1)
    flat = (trial[inside] * shape[1] + unit[inside]) * shape[2] + cell
    out = np.zeros(cells, np.float32)
    np.add.at(out, flat, np.float32(1))
    return out.reshape(shape)
