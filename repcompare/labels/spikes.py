"""Spike times become counts around events: presentation x unit [x time], with labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import OptionError, SchemaError
from repcompare.labels.schema import representation, text

Times = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

ONE = np.float32(1)
BLOCK = 2**13  # spikes that are placed at once: what is made of them stays in the cache
TABLE_CELLS = 8  # per window: few spikes share a cell with the beginning of a window that they are not in
TABLE_LARGEST = 64 * TABLE_CELLS  # cells per event
TABLE_SPIKES = 32  # per event; in longer trains bisection costs little
SNAP = 1e-9  # of a bin: a spike this close below an edge is on it (0.3 s is in the bin that begins at 0.3 s)


@dataclass(frozen=True)
class Window:
    """A window around events, in s, cut into half-open bins ``[start + k width, start + (k + 1) width)``.

    Attributes
    ----------
    start, stop : float
        Beginning and end, relative to the event.
    width : float or None
        Width of a bin; None: the whole window is one number and there is no ``time``.
    """

    start: float
    stop: float
    width: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop) and self.start < self.stop):
            raise OptionError(f"start={self.start}, stop={self.stop}: expected seconds with start < stop")
        if self.width is None:
            return
        if not 0 < self.width < math.inf:
            raise OptionError(f"width={self.width}: expected a bin width in seconds above 0, or None")
        bins = (self.stop - self.start) / self.width
        if round(bins) < 1 or abs(bins - round(bins)) > 1e-9 * max(bins, 1):
            raise OptionError(
                f"width={self.width} does not divide the window of {self.stop - self.start} s ({bins:.6g} "
                f"bins); "
                "expected a whole number of bins; change width, start or stop"
            )

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return 1 if self.width is None else round((self.stop - self.start) / self.width)

    @property
    def bin_width(self) -> float:
        """Width of a bin in s; of the whole window where there are no bins."""
        return (self.stop - self.start) / self.n_bins

    @property
    def centres(self) -> Times:
        """Bin centres in s relative to the event, shape (n_bins,)."""
        return np.asarray(self.start + (np.arange(self.n_bins) + 0.5) * self.bin_width, dtype=np.float64)


def bin_spikes(
    times: Mapping[Any, npt.ArrayLike] | Sequence[npt.ArrayLike],
    events: npt.ArrayLike,
    *,
    start: float,
    stop: float,
    width: float | None = None,
    rate: bool = False,
    **coords: Any,
) -> xr.Dataset:
    """Count spikes around events.

    Parameters
    ----------
    times : mapping of str to array-like, or sequence of array-like
        Spike times of each unit in s.  The keys of a mapping are the unit names.  Unsorted times are sorted,
        which the history says.
    events : array-like, shape (n_events,)
        Times of the events in s; one presentation each.
    start, stop : float
        The window relative to the event, in s; it holds ``start`` and not ``stop``.
    width : float, optional
        Bin width in s; must divide the window.  Without it there is one number per event and unit.
    rate : bool
        Give Hz in place of counts.
    **coords
        Labels by schema name: ``stimulus=`` (or ``stimulus_id=``), one name per event, is required;
        ``repeat`` is counted where it is not given; ``unit_region=``, ``run=``, ``attrs=`` ...

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]), float32; ``time`` is the centre of each bin in s, with
        ``bin_width``.

    Raises
    ------
    SchemaError
        For NaN or infinite times, named by unit and position, and for labels that do not fit.
    OptionError
        For a window or width that cannot be.

    Examples
    --------
    >>> import repcompare as rc
    >>> times, onsets = {"a": [0.05, 0.31, 1.1]}, [0.0, 1.0]
    >>> ds = rc.bin_spikes(times, onsets, start=0.0, stop=0.4, width=0.1, stimulus=["cat", "dog"])
    >>> ds["response"].values[:, 0].tolist()
    [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    """
    window = Window(start, stop, width)
    names, trains, notes = clean_trains(times)
    onsets = clean_events(events)
    response = counts(trains, onsets, window)
    if rate:
        response /= np.float32(window.bin_width)
    attrs = {"modality": "spikes", "response_units": "Hz" if rate else "count", **coords.pop("attrs", {})}
    attrs["history"] = [*attrs.get("history", []), *notes]
    coords = row_labels(coords, len(onsets))
    coords.setdefault("unit_id", names)
    if width is None:
        return representation(response[:, :, 0], dims=("presentation", "unit"), attrs=attrs, **coords)
    ds = representation(response, dims=("presentation", "unit", "time"), attrs=attrs, time=window.centres, **coords)
    ds["time"].attrs.update(units="s", bin_width=window.bin_width)
    return ds


def row_labels(coords: Mapping[str, Any], n: int) -> dict[str, Any]:
    """Return labels with ``stimulus`` as ``stimulus_id``, and ``repeat`` counted where it is missing.

    Raises
    ------
    SchemaError
        When no stimulus names are given, or not one for each of the n events.
    """
    given = dict(coords)
    if "stimulus" in given:
        given["stimulus_id"] = given.pop("stimulus")
    if given.get("stimulus_id") is None:
        raise SchemaError(f"{n} events without stimulus names; expected one for each; give stimulus=")
    names = text(given["stimulus_id"])
    if names.shape not in ((), (n,)):
        raise SchemaError(f"stimulus has shape {names.shape}; expected ({n},), one name for each event")
    given["stimulus_id"] = names = np.broadcast_to(names, (n,)).astype(np.str_)
    if "repeat" not in given:
        order = np.argsort(names, kind="stable")
        first = np.r_[True, names[order][1:] != names[order][:-1]] if n else np.zeros(0, bool)
        run = np.arange(n)
        repeat = np.empty(n, np.int64)
        repeat[order] = run - np.maximum.accumulate(np.where(first, run, 0))
        given["repeat"] = repeat
    return given


def clean_trains(
    times: Mapping[Any, npt.ArrayLike] | Sequence[npt.ArrayLike],
) -> tuple[list[str], list[Times], list[str]]:
    """Return names, sorted times and notes of spike trains.

    Raises
    ------
    SchemaError
        When there is no unit, or times are not finite numbers.
    """
    if isinstance(times, Mapping):
        names, arrays = [str(k) for k in times], list(times.values())
    else:
        arrays = list(times)
        names = [f"unit/{i}" for i in range(len(arrays))]
    if not arrays:
        raise SchemaError("times: no units; expected spike times in s for at least one")
    trains, unsorted = [], []
    for name, array in zip(names, arrays, strict=True):
        train = _numbers(array, f"times of unit {name!r}")
        if len(train) and not (train[1:] >= train[:-1]).all():
            train = np.sort(train)
            unsorted.append(name)
        trains.append(train)
    notes = (
        [f"spike times of {len(unsorted)} unit(s) were not sorted, the first {unsorted[0]!r}: sorted"]
        if unsorted
        else []
    )
    return names, trains, notes


def clean_events(events: npt.ArrayLike) -> Times:
    """Return event times as float64 of shape (n_events,).

    Raises
    ------
    SchemaError
        When there are none, or one is not a finite number.
    """
    onsets = _numbers(events, "events")
    if not len(onsets):
        raise SchemaError("events: none; expected at least one time in s")
    return onsets


def _numbers(values: npt.ArrayLike, what: str) -> Times:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SchemaError(f"{what}: are not numbers; expected seconds") from None
    if array.ndim != 1:
        raise SchemaError(f"{what}: have shape {array.shape}; expected one axis of seconds")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise SchemaError(
            f"{what}: {array[bad[0]]} at position {bad[0]} ({len(bad)} in all); expected finite seconds; drop them"
        )
    return array


def counts(trains: Iterable[Times], events: Times, window: Window) -> Counts:
    """Count spikes of each unit in each bin around each event.

    Parameters
    ----------
    trains : iterable of ndarray
        Sorted spike times in s, one array per unit.
    events : ndarray of shape (n_events,)
        Times in s.
    window : Window
        Where to count.

    Returns
    -------
    ndarray of shape (n_events, n_units, n_bins), float32
    """
    trains = list(trains)
    n, bins, width = len(events), window.n_bins, window.bin_width
    slack = SNAP * width
    if n:
        reach = float(np.abs(events).max()) + max(abs(window.start), abs(window.stop))
        slack = max(slack, 2 * float(np.spacing(reach)))
    row = np.arange(n) * (bins * len(trains))
    spans = _Spans(events + (window.start - slack), events + (window.stop - slack), row)
    out = np.zeros((n, len(trains), bins), np.float32)
    cells = out.reshape(-1)
    table = _Table.of(spans) if bins > 1 else None
    for unit, train in enumerate(trains):
        if bins == 1:
            lo, hi = spans.cut(train)
            out[:, unit, 0] = hi - lo
            continue
        found = table.find(train) if table and len(train) < TABLE_SPIKES * n else spans.find(train)
        for base, inside in found:
            inside *= 1 / width
            flat = inside.astype(np.intp)
            np.minimum(flat, bins - 1, out=flat)
            flat += base
            flat += unit * bins
            np.add.at(cells, flat, ONE)  # empty cells cost nothing
    return out


@dataclass(frozen=True)
class _Spans:
    """Windows ``[first, last)`` in s, in any order and possibly overlapping, and the cell of the result where each begins.

    All of shape (n_events,).
    """

    first: Times
    last: Times
    row: Index

    def cut(self, train: Times) -> tuple[Index, Index]:
        """Return where the spikes of each window begin and end in a sorted train."""
        return np.searchsorted(train, self.first), np.searchsorted(train, self.last)

    def find(self, train: Times) -> Iterator[tuple[Index, Times]]:
        """Yield the first cell, and time in the window, of each spike in a window; it counts in every one that holds it."""
        lo, hi = self.cut(train)
        found = hi - lo
        ends = np.cumsum(found)
        lo -= ends - found
        first = 0
        while first < len(found):
            done = ends[first - 1] if first else 0
            stop = max(first + 1, int(np.searchsorted(ends, done + BLOCK, side="right")))
            each = found[first:stop]
            at = np.repeat(lo[first:stop], each)
            at += np.arange(done, done + len(at))
            event = np.repeat(np.arange(first, stop), each)
            inside = train.take(at)
            inside -= self.first.take(event)
            yield self.row.take(event), inside
            first = stop


@dataclass(frozen=True)
class _Table:
    """Which event a moment belongs to, looked up: where windows are apart, this costs less than bisection per event.

    Attributes
    ----------
    spans : _Spans
        In the order of time, none beginning before the one before it ends.
    at : ndarray of int, shape (n_cells,)
        For cells of a fraction of a window: the last window that begins before the end of the cell, or 0.
    scale : float
        Cells per s, from the beginning of the first window.
    """

    spans: _Spans
    at: Index
    scale: float

    @classmethod
    def of(cls, spans: _Spans) -> _Table | None:
        """Make the table; None where windows overlap, or lie so far apart that it would be large."""
        order = np.argsort(spans.first, kind="stable")
        first, last = spans.first[order], spans.last[order]
        if not len(first) or (first[1:] < last[:-1]).any():
            return None
        cell = float((last - first).min()) / TABLE_CELLS
        n_cells = (last[-1] - first[0]) / cell if cell > 0 else np.inf
        if n_cells > TABLE_LARGEST * len(first):
            return None
        # half a cell late: a moment that rounding puts into the cell before finds its window all the same
        ends = first[0] + (np.arange(int(n_cells) + 2) + 1.5) * cell
        at = np.searchsorted(first, ends, side="right") - 1
        return cls(_Spans(first, last, spans.row[order]), at, 1 / cell)

    def find(self, train: Times) -> Iterator[tuple[Index, Times]]:
        """Yield the first cell, and time in the window, of each spike in a window."""
        first, last, row = self.spans.first, self.spans.last, self.spans.row
        lo, hi = np.searchsorted(train, (first[0], last[-1]))
        for start in range(lo, hi, BLOCK):
            times = train[start : min(start + BLOCK, hi)]
            place = times - first[0]
            place *= self.scale
            event = self.at.take(place.astype(np.intp))
            inside = times - first.take(event)
            early = np.flatnonzero(inside < 0)  # in the cell, but before the window begins: of the window before
            if len(early):
                event[early] -= 1
                inside[early] = times[early] - first[event[early]]
            held = np.flatnonzero(times < last.take(event))
            if len(held) < len(times):
                event, inside = event.take(held), inside.take(held)
            yield row.take(event), inside


def counts_between(trains: Iterable[Times], begin: Times, end: Times) -> Counts:
    """Count spikes of each unit in intervals ``[begin, end)``: float32 of shape (n_events, n_units)."""
    columns = [np.searchsorted(t, end) - np.searchsorted(t, begin) for t in trains]
    return np.stack(columns, axis=1).astype(np.float32)


def unobserved(begin: Times, end: Times, observed: Times) -> npt.NDArray[np.bool_]:
    """Say which intervals are not wholly inside the observed time of a unit.

    Parameters
    ----------
    begin, end : ndarray of shape (n,)
        Intervals in s.
    observed : ndarray of shape (n_intervals, 2)
        When the unit was observed; intervals that touch are one.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> unobserved(np.array([0.0, 4.0]), np.array([1.0, 6.0]), np.array([[0.0, 5.0]])).tolist()
    [False, True]
    """
    if not len(observed):
        return np.ones(len(begin), bool)
    spans = observed[np.argsort(observed[:, 0], kind="stable")]
    furthest = np.maximum.accumulate(spans[:, 1])
    fresh = np.r_[True, spans[1:, 0] > furthest[:-1] + SNAP]
    opens = spans[fresh, 0]
    closes = np.r_[furthest[np.flatnonzero(fresh)[1:] - 1], furthest[-1]]
    at = np.searchsorted(opens, begin + SNAP, side="right") - 1
    return np.asarray((at < 0) | (closes[np.maximum(at, 0)] < end - SNAP), dtype=np.bool_)
