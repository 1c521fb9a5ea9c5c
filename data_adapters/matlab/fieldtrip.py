"""FieldTrip structs: trials of channels over time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import as_text, running_count, stimulus_names
from data_adapters._options import name_of
from data_adapters.matlab._values import described, fields, is_cell, is_numbers, is_struct, words
from repcompare.errors import FormatError, OptionError
from repcompare.labels.schema import representation

NEEDED = ("trial", "label", "time")
GRID = 1e-3  # of a sample: how far instants may lie from a common clock
LARGEST = 8 * 10**9  # bytes of all trials on one clock


def is_fieldtrip(value: Any) -> bool:
    """Say whether a value is a struct with trials, labels of channels, and times."""
    return is_struct(value) and value.size == 1 and all(n in value.flat[0] for n in NEEDED)


def read_fieldtrip(path: str, name: str, value: Any, stimuli: Any, labels: Mapping[str, Any]) -> xr.Dataset:
    """Return the trials of a FieldTrip struct as one representation.

    Parameters
    ----------
    path, name : str
        File and variable, for messages.
    value : struct
        ``trial`` (cells of channel x time, or trial x channel x time), ``label`` (cells of text), ``time`` (cells, or one
        vector), and optionally ``trialinfo`` (trial x column).
    stimuli : list, str or None
        One name per trial; ``"trialinfo"`` or ``"trialinfo::2"``: that column, counted from 1.
    labels : mapping
        Further labels by schema name.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit, time), ``time`` in s; trials on different stretches of one clock are padded with
        NaN.

    Raises
    ------
    FormatError, OptionError
        When trials, channels and times do not fit together, or trials have no names.
    """
    where = f"{path}: {name}"
    data = fields(value, where)
    channels = words(data["label"], f"{where}.label")
    trials, times = _trials(data, where, len(channels))
    notes: list[str] = []
    response, seconds = _on_one_clock(trials, times, where, notes)
    info = data.get("trialinfo")
    known = isinstance(info, np.ndarray) and is_numbers(info) and len(info) == len(trials)
    columns = np.reshape(info, (len(trials), -1)) if known and info is not None else None
    names = _names(path, where, stimuli, columns, len(trials), notes)
    coords: dict[str, Any] = {
        "stimulus_id": names,
        "repeat": running_count(names),
        "unit_id": channels,
        "time": seconds,
    }
    for i in range(0 if columns is None else columns.shape[1]):
        coords[f"stimulus_trialinfo_{i + 1}"] = columns[:, i] if columns is not None else None
    coords |= labels
    attrs = {"modality": "meeg", "source": f"{name_of(path)} (fieldtrip)", "history": notes}
    return representation(response, dims=("presentation", "unit", "time"), attrs=attrs, **coords)


def _trials(data: Mapping[str, Any], where: str, n_channels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    trial, time = data["trial"], data["time"]
    if is_cell(trial):
        found = list(trial.ravel(order="F"))
        clocks = list(time.ravel(order="F")) if is_cell(time) else [time] * len(found)
    elif is_numbers(trial) and trial.ndim in (2, 3):
        found = list(trial if trial.ndim == 3 else trial[None])
        clocks = [time] * len(found)
    else:
        raise FormatError(
            f"{where}.trial is {described(trial)}; expected cells of channel x time, or trial x channel x time"
        )
    if not found or len(clocks) != len(found):
        raise FormatError(
            f"{where}: {len(found)} trials and {len(clocks)} times; expected the same number, at least one"
        )
    for i, (values, clock) in enumerate(zip(found, clocks, strict=True)):
        if not (is_numbers(values) and is_numbers(clock) and values.ndim == 2):
            raise FormatError(f"{where}: trial {i + 1} is {described(values)}; expected numbers, channel x time")
        if values.shape != (n_channels, clock.size):
            raise FormatError(
                f"{where}: trial {i + 1} has shape {values.shape}; expected ({n_channels} channels, {clock.size} times)"
            )
    return found, [np.asarray(c, dtype=np.float64).ravel() for c in clocks]


def _on_one_clock(
    trials: list[np.ndarray], times: list[np.ndarray], where: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    first = times[0]
    if not all(np.isfinite(t).all() and t.size for t in times):
        raise FormatError(f"{where}.time holds no or infinite instants; expected seconds")
    if all(len(t) == len(first) and np.allclose(t, first, rtol=0, atol=1e-9) for t in times):
        return np.stack(trials), first
    longest = max(times, key=len)
    if len(longest) < 2:
        raise FormatError(f"{where}.time: trials of one sample at different instants; expected a common clock")
    step = (longest[-1] - longest[0]) / (len(longest) - 1)
    begin, end = min(t[0] for t in times), max(t[-1] for t in times)
    n = round((end - begin) / step) + 1 if step > 0 else 0
    if n < 1 or 8 * n * len(trials) * len(trials[0]) > LARGEST:
        raise FormatError(f"{where}.time goes from {begin} to {end} s in steps of {step}; expected a common clock")
    out = np.full((len(trials), len(trials[0]), n), np.nan)
    for row, values, t in zip(out, trials, times, strict=True):
        at = (t - begin) / step
        if np.abs(at - np.round(at)).max() > GRID:
            raise FormatError(f"{where}.time: trials are sampled at different instants; expected a common clock")
        row[:, np.round(at).astype(np.int64)] = values
    notes.append("trials cover different stretches of one clock: NaN where a trial has no samples")
    return out, begin + step * np.arange(n)


def _names(path: str, where: str, stimuli: Any, columns: np.ndarray | None, n: int, notes: list[str]) -> np.ndarray:
    asked = re.fullmatch(r"trialinfo(?:::(\d{1,6}))?", stimuli) if isinstance(stimuli, str) else None
    if stimuli is None and columns is not None and columns.shape[1] == 1:
        asked = re.fullmatch(r"trialinfo(?:::(\d))?", "trialinfo")
    if asked:
        column = int(asked[1] or 1) - 1
        if columns is None or not 0 <= column < columns.shape[1]:
            have = 0 if columns is None else columns.shape[1]
            raise OptionError(f"{where}.trialinfo has {have} columns; stimuli={stimuli!r} asks for {column + 1}")
        notes.append(f"stimulus: trialinfo, column {column + 1}")
        return as_text(columns[:, column], f"{where}.trialinfo")
    if stimuli is None:
        have = "no trialinfo" if columns is None else f"trialinfo of {columns.shape[1]} columns"
        raise FormatError(f"{where}: {have}; give stimuli= a list of names, 'trialinfo::2' (column 2) or 'positional'")
    names, origin, note = stimulus_names(stimuli, path, {})
    notes.append(note)
    if names is None:
        from data_adapters._labels import numbered

        return numbered(n)
    if len(names) != n:
        raise FormatError(f"{where}: {n} trials; found {len(names)} names in {origin}; expected one each")
    return names
