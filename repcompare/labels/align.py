"""The door from labels to arrays: the same stimuli, in the same order, on every side.

Rows are always handed over in the sorted order of their stimulus labels, so the order of rows in a file never matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, OptionError, SchemaError, choose, some, suggest
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.labels.values import duplicates, infinite, text

POLICIES = ("exact", "intersection")
SHOWN = 4  # parts named in a message


@dataclass(frozen=True)
class Alignment:
    """Which stimuli all parts share, and which a part lacks.

    Attributes
    ----------
    stimuli : ndarray of str, shape (n_stimuli,)
        The shared stimuli, sorted.
    lacking : mapping of part name to ndarray of str
        Stimuli that some other part has; parts that lack none are left out.
    """

    stimuli: np.ndarray
    lacking: Mapping[str, np.ndarray]

    @property
    def n_left_out(self) -> int:
        """Number of distinct stimuli that some part lacks."""
        return len({name for names in self.lacking.values() for name in names.tolist()})

    def lines(self) -> list[str]:
        """Return one line per group of parts that lack the same stimuli."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for part, names in self.lacking.items():
            groups.setdefault(tuple(names.tolist()), []).append(part or "the source")
        return [f"missing in {_enumerate(parts)}: {some(names)} ({len(names)})" for names, parts in groups.items()]


def _enumerate(parts: list[str]) -> str:
    shown = ", ".join(parts[:SHOWN])
    return shown if len(parts) <= SHOWN else f"{shown} and {len(parts) - SHOWN} more"


def align(parts: Mapping[str, xr.Dataset], stimuli: str = "exact") -> Alignment:
    """Find the stimuli that all parts share.

    Parameters
    ----------
    parts : mapping of name to representation
        Sources and targets together.
    stimuli : {"exact", "intersection"}
        Demand the same stimuli everywhere, or keep those that all parts have.

    Returns
    -------
    Alignment

    Raises
    ------
    AlignmentError
        When nothing is shared, or ``"exact"`` is asked for and a stimulus is missing somewhere; with its name.
    OptionError
        When ``stimuli`` is not a policy.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> a = rc.representation(np.eye(2), stimulus=["owl", "cat"])
    >>> b = rc.representation(np.eye(3), stimulus=["cat", "dog", "owl"])
    >>> align({"a": a, "b": b}, stimuli="intersection").stimuli.tolist()
    ['cat', 'owl']
    """
    choose(stimuli, POLICIES, "stimuli")
    if not parts:
        raise AlignmentError("there is nothing to align: no parts; expected at least one representation; give a source")
    labels = {name: np.unique(stimulus_labels(part)) for name, part in parts.items()}
    shared, *others = labels.values()
    for other in others:
        shared = np.intersect1d(shared, other, assume_unique=True)
    if not len(shared):
        raise AlignmentError(_no_overlap(labels))
    every = np.unique(np.concatenate(list(labels.values())))
    lacking = {
        name: np.setdiff1d(every, own, assume_unique=True) for name, own in labels.items() if len(own) < len(every)
    }
    alignment = Alignment(shared, lacking)
    if lacking and stimuli == "exact":
        raise AlignmentError(
            f"the stimuli are not the same: {len(shared)} of {len(every)} are shared by all; "
            f"{'; '.join(alignment.lines())}; expected the same stimuli everywhere; "
            "go on with the shared ones by compare(..., stimuli='intersection'), or select them on every side"
        )
    return alignment


def _no_overlap(labels: Mapping[str, np.ndarray]) -> str:
    sides = "; ".join(f"{name or 'the source'} has {len(own)}: {some(own)}" for name, own in labels.items())
    return f"no stimulus is shared by all parts ({sides}); expected the same names; check how stimuli are named"


def to_matrix(ds: xr.Dataset, stimuli: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return responses to the given stimuli as an array; the last label is dropped here.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation; repeats of a stimulus are averaged.
    stimuli : sequence of str, shape (n_stimuli,)
        Names, in the order wanted; every one must be there.

    Returns
    -------
    ndarray, shape (n_stimuli, n_units)
        float32 or float64, as stored; NaN where missing.

    Raises
    ------
    AlignmentError
        When a stimulus is missing.
    SchemaError
        When the values are infinite, or have a time dim beside the stimuli.
    """
    if sample_dim(ds) == "presentation":
        ds = average_repeats(ds)
    if ds["response"].ndim != 2:
        dims = dict(ds["response"].sizes)
        raise SchemaError(
            f"response has dims {dims}; this measure compares one response per stimulus and unit; "
            "average over time (ds.mean('time')) or pick a bin (ds.isel(time=...)) first"
        )
    labels = stimulus_labels(ds)
    wanted = set(np.asarray(stimuli).tolist())
    repeated = [name for name in duplicates(labels) if name in wanted]
    if repeated:
        raise AlignmentError(
            f"stimuli {some(repeated)} are the label of several rows ({len(repeated)} such stimuli); expected one row each; "
            "rename the dim of the rows to 'presentation' to average them, or label each row on its own"
        )
    rows = _positions(labels, stimuli)
    response = ds["response"].transpose(sample_dim(ds), "unit")
    ordered = np.array_equal(rows, np.arange(response.shape[0]))
    values = np.asarray(response.values)
    values = values if ordered else values[rows]
    return _finite(np.ascontiguousarray(values))


def _finite(values: np.ndarray) -> np.ndarray:
    problem = infinite(values, ("repeat", "stimulus", "unit")[-values.ndim :])
    if problem:
        raise SchemaError(f"response: {problem[0]}")
    return values


def to_repeats(ds: xr.Dataset, stimuli: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return single repeats of the given stimuli as an array.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation in presentation form.
    stimuli : sequence of str, shape (n_stimuli,)
        Names, in the order wanted.

    Returns
    -------
    ndarray, shape (n_repeats, n_stimuli, n_units)
        Repeats in the order of their label, or of the rows without one.  Where stimuli have different numbers of
        repeats, the smallest number is kept.

    Raises
    ------
    AlignmentError
        When a stimulus is missing or has fewer than two repeats.
    SchemaError
        When the representation has no presentations, a time dim, or infinite values.
    """
    if sample_dim(ds) != "presentation":
        raise SchemaError(
            "the measure needs single repeats; found one row per stimulus; expected presentation form; "
            "give single trials with dims=('presentation', 'unit') and stimulus_id="
        )
    if ds["response"].ndim != 2:
        raise SchemaError(
            f"response has dims {dict(ds['response'].sizes)}; expected (presentation, unit) for single repeats; "
            "average over time (ds.mean('time')) or pick a bin (ds.isel(time=...)) first"
        )
    labels = stimulus_labels(ds)
    order = (
        np.lexsort((text(ds["repeat"].values), labels)) if "repeat" in ds.coords else np.argsort(labels, kind="stable")
    )
    names, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    at = _positions(names, stimuli)
    fewest = int(counts[at].min())
    if fewest < 2:
        single = names[at][counts[at] < 2]
        raise AlignmentError(
            f"the measure needs 2 repeats or more; {some(single)} have one ({len(single)} stimuli); "
            "leave them out, or choose a measure that takes means"
        )
    rows = order[first[at][None, :] + np.arange(fewest)[:, None]]
    values = np.asarray(ds["response"].transpose("presentation", "unit").values)
    repeats: np.ndarray = values[rows]
    return _finite(repeats)


def row_labels(ds: xr.Dataset, name: str, stimuli: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return a label of the rows (``run``, ``stimulus_category``) for the given stimuli, shape (n_stimuli,).

    Raises
    ------
    AlignmentError
        When presentations of one stimulus carry different labels, or a stimulus is missing.
    OptionError
        When the rows have no such label.
    """
    known = [str(c) for c, label in ds.coords.items() if label.dims == (sample_dim(ds),)]
    if name not in known:
        raise OptionError(
            f"no label {name!r} of the rows{suggest(name, known)}; give it when making the representation"
        )
    own, values = stimulus_labels(ds), text(ds[name].values)
    chosen: np.ndarray = values[_positions(own, stimuli)]
    wanted = np.isin(own, stimuli)
    clash = own[wanted][values[wanted] != values[_positions(own, own[wanted])]]
    if len(clash):
        raise AlignmentError(
            f"{name} differs between presentations of {some(np.unique(clash))}; expected one per stimulus; "
            "give a label that all presentations of a stimulus share"
        )
    return chosen


def row_numbers(parts: Iterable[xr.Dataset], stimuli: np.ndarray) -> tuple[np.ndarray, int, bool]:
    """Return which row of the input each stimulus is, for folds and groups that number rows.

    Parameters
    ----------
    parts : iterable of representation
        All sides; trials have several rows for a stimulus and are passed over.
    stimuli : ndarray of str, shape (n_stimuli,)
        The rows that are compared.

    Returns
    -------
    rows : ndarray of int, shape (n_stimuli,)
        Rows of the first part, or 0, 1, ... where all are trials.
    n : int
        Rows that part has.
    one_order : bool
        Every part has these stimuli in the same rows.
    """
    labels = [stimulus_labels(ds) for ds in parts if sample_dim(ds) != "presentation"]
    if not labels:
        return np.arange(len(stimuli)), len(stimuli), True
    rows = _positions(labels[0], stimuli)
    same = all(len(own) == len(labels[0]) and np.array_equal(_positions(own, stimuli), rows) for own in labels[1:])
    return rows, len(labels[0]), same


def _positions(labels: np.ndarray, stimuli: Sequence[str] | np.ndarray) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    wanted = np.asarray(stimuli, dtype=np.str_)
    at = np.searchsorted(labels, wanted, sorter=order).clip(max=len(labels) - 1)
    rows: np.ndarray = order[at]
    missing = wanted[labels[rows] != wanted]
    if len(missing):
        raise AlignmentError(
            f"stimuli {some(missing)} are missing ({len(missing)} in all); found {some(labels)}; "
            "check how stimuli are named, or go on with the shared ones by compare(..., stimuli='intersection')"
        )
    return rows
