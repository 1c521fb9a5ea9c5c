"""Runs of volumes (vertices, grayordinates) become one representation: time series, stimuli, or averaged events."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from data_adapters._guard import guard
from data_adapters._labels import numbered, running_count, stimulus_names
from data_adapters._lazy import labelled, responses
from data_adapters._options import name_of
from data_adapters.fmri import _bids
from data_adapters.fmri._options import RunOptions
from data_adapters.fmri._rows import Averaged, Cleaned, Joined, Rows
from repcompare.errors import FormatError, OptionError

TICK = 1e-6  # s: onsets nearer than this are the same


@dataclass(frozen=True)
class Run:
    """One file, or what one measurement gave.

    Attributes
    ----------
    path : str
        The file, for messages and for tables beside it.
    rows : Rows
        Its responses.
    tr : float or None
        Seconds between rows; None when they are no time series or nothing says it.
    names : ndarray of str or None
        Names of the rows, where the file has them.
    labels : mapping
        One value for the run: ``run``, ``session``.
    start : float
        Time of the first row, in s.
    """

    path: str
    rows: Rows
    tr: float | None = None
    names: np.ndarray | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    start: float = 0.0

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]


@dataclass
class _Rows:
    """Rows of all runs with the labels they have."""

    rows: Rows
    runs: np.ndarray
    labels: dict[str, np.ndarray]


def to_dataset(
    runs: Sequence[Run], units: Mapping[str, Any], options: RunOptions, attrs: Mapping[str, Any], notes: list[str]
) -> xr.Dataset:
    """Return runs as one representation, lazily.

    Parameters
    ----------
    runs : sequence of Run
        The same units in each.
    units : mapping
        Labels ``unit_*``.
    options : RunOptions
        Events, names of rows, cleaning, further labels.
    attrs : mapping
        ``source``, ``modality`` ....
    notes : list of str
        History so far.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When events, names or labels do not fit, or nothing names the rows and there is no clock.
    """
    if options.events is not None and options.stimuli is not None:
        raise OptionError("events= and stimuli= both name the rows; give one of them")
    whole = _joined(runs, options)
    if options.zscore or options.detrend or len(options.confounds):
        whole.rows = _cleaned(whole, runs, options, notes)
    dim, labels = "time", dict(whole.labels)
    rows: Rows = whole.rows
    if options.events is not None:
        dim = "presentation"
        rows, labels = _averaged(whole, runs, options, notes)
    elif options.stimuli is not None or all(r.names is not None for r in runs):
        dim, names = _named(runs, options, whole.rows.shape[0], notes)
        labels |= names
    else:
        labels["time"] = np.concatenate([_times(r, options) for r in runs])
    coords = {**labels, **units}
    coords |= {k: v for k, v in options.labels.items() if k not in ("run", "session") or dim != "presentation"}
    notes += [f"{name_of(runs[0].path)}: packed: each selection reads it from the beginning"] * _is_packed(runs[0].path)
    with guard(runs[0].path):
        return labelled(responses(rows, (dim, "unit"), "flatten"), {**attrs, "history": notes}, coords)


def _is_packed(path: str) -> bool:
    return path.lower().endswith((".gz", ".mgz"))


def _joined(runs: Sequence[Run], options: RunOptions) -> _Rows:
    """Put runs one below the other; ``run=`` of the caller may divide them further."""
    rows = runs[0].rows if len(runs) == 1 else Joined([r.rows for r in runs])
    number = np.repeat(np.arange(len(runs)), [r.n for r in runs])
    keys = dict.fromkeys(k for r in runs for k in r.labels)
    labels = {k: np.array([r.labels.get(k, "") for r in runs])[number] for k in keys}
    for name in ("run", "session"):
        if name in options.labels:
            given = np.asarray(options.labels[name])
            given = np.full(number.size, given) if given.ndim == 0 else given
            if given.shape != number.shape:
                raise FormatError(
                    f"{runs[0].path}: {name}= has {given.size} entries for {number.size} volumes; expected one each, or one"
                )
            labels[name] = given
    if "run" in options.labels:
        joined = [f"{n}/{run}" for n, run in zip(number.tolist(), labels["run"].tolist(), strict=True)]
        number = np.unique(joined, return_inverse=True)[1]
    return _Rows(rows, number, labels)


def _seconds(run: Run, options: RunOptions) -> float:
    tr = options.tr if options.tr is not None else run.tr
    if tr is None:
        raise FormatError(
            f"{run.path}: the time between volumes is unknown (0, or no unit of time in the header); "
            "expected seconds; give tr=, or stimuli= if the volumes are responses to stimuli"
        )
    if not np.isfinite(tr) or tr <= 0:
        raise OptionError(f"tr={tr!r}: expected seconds above 0")
    return float(tr)


def _times(run: Run, options: RunOptions) -> np.ndarray:
    return np.round(run.start + np.arange(run.n) * _seconds(run, options), 9)


def _named(runs: Sequence[Run], options: RunOptions, n: int, notes: list[str]) -> tuple[str, dict[str, np.ndarray]]:
    """Return the form and the names of rows that are responses to stimuli."""
    if options.stimuli is None:
        names = np.concatenate([np.asarray(r.names, dtype=np.str_) for r in runs])
        origin = "the files"
    else:
        found, origin, note = stimulus_names(options.stimuli, runs[0].path, {})
        names = numbered(n) if found is None else found
        notes.append(note)
    if len(names) != n:
        raise FormatError(
            f"{runs[0].path}: {n} volumes in {len(runs)} file(s), but {origin} gives {len(names)} names; expected one each"
        )
    if np.unique(names).size == names.size:
        return "stimulus", {"stimulus": names}
    notes.append("stimuli come again: rows are presentations; repeat: running count of each stimulus")
    return "presentation", {"stimulus_id": names, "repeat": running_count(names)}


def _cleaned(whole: _Rows, runs: Sequence[Run], options: RunOptions, notes: list[str]) -> Rows:
    columns: list[np.ndarray] = []
    n = whole.rows.shape[0]
    if options.detrend:
        columns.append(np.arange(n, dtype=np.float64)[:, None])
        notes.append("linear trend of each run removed")
    names = [options.confounds] if isinstance(options.confounds, str) else list(options.confounds)
    if names:
        tables = _one_each(options.confounds_table, runs, "confounds_table", _find_confounds)
        values = [_bids.read_confounds(os.fspath(t), names, r.n, notes) for t, r in zip(tables, runs, strict=True)]
        columns.append(np.concatenate(values))
        notes.append(f"confounds regressed out of each run: {', '.join(names)}")
    if options.zscore:
        notes.append("z-scored per run (divisor n); what is constant within a run is NaN there")
    regressors = np.concatenate(columns, axis=1) if columns else np.empty((n, 0))
    counts = np.unique(whole.runs, return_counts=True)[1]
    if counts.min() < 3 + regressors.shape[1]:
        raise OptionError(
            f"a run has {counts.min()} volumes; cleaning it of {regressors.shape[1]} regressors needs more than "
            f"{2 + regressors.shape[1]}; for beta images leave zscore= and detrend= out"
        )
    return Cleaned(whole.rows, whole.runs, regressors, options.zscore)


def _one_each(given: Any, runs: Sequence[Run], option: str, find: Callable[[str], str]) -> list[Any]:
    """Return one table per run, found beside it where none is given."""
    if given is None:
        return [find(r.path) for r in runs]
    tables = [given] if isinstance(given, str | os.PathLike | pd.DataFrame) else list(given)
    if len(tables) != len(runs):
        raise OptionError(
            f"{option}= has {len(tables)} tables for {len(runs)} runs; expected one for each, in their order"
        )
    return tables


def _find_confounds(path: str) -> str:
    for suffix in ("timeseries", "regressors"):
        found = _bids.sibling(path, suffix, ".tsv", drop=_bids.PER_SPACE, desc="confounds")
        if found:
            return found
    raise FormatError(f"{path}: no *_desc-confounds_timeseries.tsv of this run beside it; give confounds_table=")


def _averaged(
    whole: _Rows, runs: Sequence[Run], options: RunOptions, notes: list[str]
) -> tuple[Rows, dict[str, np.ndarray]]:
    """Return one row per event: the mean of its volumes."""
    shift, length = _window(options.average)
    tables = _one_each(options.events, runs, "events", str)
    starts, stops, first = [], [], 0
    labels: list[dict[str, np.ndarray]] = []
    for run, given in zip(runs, tables, strict=True):
        frame, where = _bids.read_events(given, options.stimulus, notes)
        start, stop = _volumes(run, _seconds(run, options), frame, where, (shift, length))
        starts.append(start + first)
        stops.append(stop + first)
        labels.append(_bids.event_labels(frame, options.stimulus, where))
        first += run.n
    begin, end = np.concatenate(starts), np.concatenate(stops)
    lost = int((end <= begin).sum())
    if lost == begin.size:
        raise FormatError(f"{runs[0].path}: no volume lies in the window of any of {lost} events; change average=")
    if lost:
        notes.append(f"{lost} of {begin.size} events have no volume in their window, or end after the run: NaN")
    span = "the duration of each event" if length is None else f"{length:g} s"
    notes.append(f"events: mean of the volumes from {shift:g} s after onset, over {span}")
    shared = [k for k in labels[0] if all(k in found for found in labels)]
    columns = {k: np.concatenate([found[k] for found in labels]) for k in shared}
    columns["repeat"] = running_count(columns["stimulus_id"])
    notes.append("repeat: running count of each stimulus")
    owner = np.minimum(begin, whole.rows.shape[0] - 1)
    columns |= {k: v[owner] for k, v in whole.labels.items()}
    return Averaged(whole.rows, begin, end), columns


def _window(average: Any) -> tuple[float, float | None]:
    items = list(average) if isinstance(average, Sequence | np.ndarray) else [average, None]
    try:
        shift, length = float(items[0]), None if items[1] is None else float(items[1])
        if len(items) != 2 or (length is not None and length <= 0) or not np.isfinite(shift):
            raise ValueError
    except (TypeError, ValueError, IndexError):
        raise OptionError(f"average={average!r}: expected (shift, length) in s, the length above 0 or None") from None
    return shift, length


def _volumes(
    run: Run, tr: float, frame: pd.DataFrame, where: str, window: tuple[float, float | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first volume and the one after the last of each event."""
    shift, length = window
    onset, duration = frame["onset"].to_numpy(), frame["duration"].to_numpy()
    end = run.start + run.n * tr
    if (onset >= end).any():
        raise FormatError(
            f"{where}: an event begins at {onset.max():g} s; {name_of(run.path)} lasts until {end:g} s ({run.n} volumes of "
            f"{tr:g} s); expected events of this run; check the order of the files, or tr="
        )
    if length is None and not (duration > 0).all():
        at = int(np.argmin(duration > 0))
        raise FormatError(
            f"{where}: event {at} has duration {duration[at]:g}; expected more than 0 s; give average=(shift, length)"
        )
    low = onset + shift
    high = low + (duration if length is None else length)
    clock = run.start + np.arange(run.n) * tr + TICK
    start, stop = np.searchsorted(clock, low), np.searchsorted(clock, high)
    start = np.minimum(start, run.n - 1)
    return start, np.where(high > end + TICK, start, np.maximum(stop, start))
