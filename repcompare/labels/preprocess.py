"""Between the file and the comparison: averaging repeats, splitting them in halves, completing a block."""

from __future__ import annotations

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError
from repcompare.labels.schema import add_history, dim_of, sample_dim, stimulus_labels
from repcompare.labels.values import infinite, text


def average_repeats(ds: xr.Dataset) -> xr.Dataset:
    """Average the presentations of each stimulus: trial form becomes stimulus form.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation.  In stimulus form it is returned unchanged.

    Returns
    -------
    xarray.Dataset
        ``response`` (stimulus, unit[, time]), stimuli in order of first appearance.  Missing values are left out of a
        mean; a cell without any value is NaN.  Labels that are the same in all presentations of every stimulus stay;
        ``stimulus_n_repeats`` counts the presentations.

    Raises
    ------
    SchemaError
        When values are infinite.

    Examples
    --------
    >>> import repcompare as rc
    >>> trials = rc.representation([[1.0], [3.0], [5.0]], dims=("presentation", "unit"), stimulus_id=["a", "a", "b"])
    >>> rc.average_repeats(trials).response.values.ravel().tolist()
    [2.0, 5.0]
    """
    if sample_dim(ds) != "presentation":
        return ds
    groups = _Groups(ds)
    values = groups.mean(_values(ds))
    return _stimulus_form(ds, groups, values)


def _values(ds: xr.Dataset) -> np.ndarray:
    """Responses as (presentation, unit[, time]), read and checked."""
    values = np.asarray(ds["response"].transpose("presentation", "unit", ...).values)
    problem = infinite(values, ("presentation", "unit", "time")[: values.ndim])
    if problem:
        raise SchemaError(f"response: {problem[0]}")
    return values


TRIAL_LABELS = ("repeat", "run", "session")


def _numbered(values: np.ndarray) -> np.ndarray:
    """Rank of each label of trials, numbers by size and text by name."""
    found: np.ndarray = np.unique(values if values.dtype.kind in "iufb" else text(values), return_inverse=True)[1]
    return found


class _Groups:
    """Rows of the same stimulus; stimuli in order of first appearance, their rows in that of the labels of trials."""

    def __init__(self, ds: xr.Dataset) -> None:
        labels = stimulus_labels(ds)
        names, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))
        self.code = rank[inverse]
        self.names = names[np.argsort(first)]
        self.first = np.sort(first)
        told_apart = [_numbered(ds[name].values) for name in TRIAL_LABELS if name in ds.coords and ds[name].ndim == 1]
        told_apart = [values for values in told_apart if len(values) == len(labels)]
        self.order = np.lexsort([*told_apart, self.code])  # sums and halves do not depend on the order of the file
        self.by_name = np.lexsort([*told_apart, inverse])
        self.counts = np.bincount(self.code, minlength=len(names))
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    def mean(self, values: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
        """Mean over the rows of each stimulus; ``keep`` (same shape or rows) says which values count."""
        used = ~np.isnan(values)
        if keep is not None:
            used &= keep.reshape(keep.shape + (1,) * (values.ndim - keep.ndim))
        filled = np.where(used, values, 0)[self.order]
        total = np.add.reduceat(filled, self.starts, axis=0, dtype=np.float64)
        n = np.add.reduceat(used[self.order], self.starts, axis=0, dtype=np.int64)
        return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(values.dtype)


def _stimulus_form(ds: xr.Dataset, groups: _Groups, values: np.ndarray) -> xr.Dataset:
    coords = {}
    dropped = []
    for name, coordinate in ds.coords.items():
        if dim_of(str(name), "presentation") != "presentation":
            coords[name] = coordinate.variable
        elif name not in ("stimulus_id", "stimulus", "repeat"):
            labels = text(coordinate.values)
            if np.array_equal(labels, labels[groups.first][groups.code], equal_nan=labels.dtype.kind == "f"):
                coords[name] = xr.Variable("stimulus", labels[groups.first], coordinate.attrs)
            else:
                dropped.append(str(name))
    coords["stimulus"] = xr.Variable("stimulus", groups.names)
    coords["stimulus_n_repeats"] = xr.Variable("stimulus", groups.counts)
    dims = ["stimulus", "unit", *(d for d in ds["response"].dims if d not in ("presentation", "unit"))]
    out = xr.Dataset({"response": (dims, values, ds["response"].attrs)}, coords=coords, attrs=ds.attrs)
    line = f"repeats averaged: {len(groups.code)} presentations of {len(groups.names)} stimuli"
    return add_history(out, line + (f"; labels dropped: {', '.join(dropped)}" if dropped else ""))


def split_halves(ds: xr.Dataset, *, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Split the repeats of every stimulus at random into two halves and average each.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation in presentation form.  With ``attrs["pseudo_population"]`` (units recorded at different times)
        each cell of stimulus and unit is split on its own; otherwise whole presentations are, which keeps correlations
        between units.
    seed : int
        Of the split.

    Returns
    -------
    first, second : xarray.Dataset
        Stimulus form, the same stimuli in the same order.  Of an odd number of repeats one is left out.  Stimuli shown
        once are left out and counted in ``history``.  The same for any order of the rows, where ``repeat``, ``run`` or
        ``session`` tell those of a stimulus apart.

    Raises
    ------
    SchemaError
        When there are no repeats, or values are infinite.

    Examples
    --------
    >>> import repcompare as rc
    >>> trials = rc.representation([[1.0], [3.0]], dims=("presentation", "unit"), stimulus_id=["a", "a"])
    >>> a, b = rc.split_halves(trials, seed=0)
    >>> sorted([a.response.item(), b.response.item()])
    [1.0, 3.0]
    """
    if sample_dim(ds) != "presentation":
        raise SchemaError(
            "there are no repeats to split: one row per stimulus; expected presentation form; "
            "give single trials with dims=('presentation', 'unit') and stimulus_id="
        )
    groups = _Groups(ds)
    if groups.counts.max() < 2:
        raise SchemaError(
            "there are no repeats to split: every stimulus was presented once; expected 2 or more; "
            "check stimulus_id, which names the stimulus of each presentation"
        )
    values = _values(ds)
    rng = np.random.default_rng(seed)
    if ds.attrs.get("pseudo_population"):
        seen = ~np.isnan(values)
        halves = _halves(rng, groups, seen.any(axis=2) if seen.ndim == 3 else seen)  # time bins of a cell stay together
    else:
        halves = _halves(rng, groups, np.ones(len(values), dtype=bool))
    kept = np.flatnonzero(groups.counts >= 2)
    out = []
    for keep in halves:
        half = _stimulus_form(ds, groups, groups.mean(values, keep)).isel(stimulus=kept)
        alone = len(groups.counts) - len(kept)
        out.append(add_history(half, f"half of the repeats, seed {seed}; {alone} stimuli without repeats left out"))
    return out[0], out[1]


def _halves(rng: np.random.Generator, groups: _Groups, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Random halves of the valid rows of each stimulus, separately in every further axis of ``valid``."""
    drawn = np.empty(valid.shape)
    drawn[groups.by_name] = rng.random(valid.shape)
    key = np.where(valid, drawn, np.inf)[groups.order]
    first = np.zeros_like(valid)
    second = np.zeros_like(valid)
    for start, count in zip(groups.starts, groups.counts, strict=True):
        rows = groups.order[start : start + count]
        rank = np.argsort(np.argsort(key[start : start + count], axis=0), axis=0)
        half = valid[rows].sum(axis=0) // 2
        first[rows] = rank < half
        second[rows] = (rank >= half) & (rank < 2 * half)
    return first, second


def complete_block(ds: xr.Dataset) -> xr.Dataset:
    """Leave out units and stimuli until no value is missing.

    Repeatedly drops the unit or stimulus with the most missing cells (a stimulus on ties, then the first).

    Parameters
    ----------
    ds : xarray.Dataset
        A representation in stimulus form.

    Returns
    -------
    xarray.Dataset
        Without NaN; what was dropped is counted in ``history``.

    Raises
    ------
    SchemaError
        When nothing complete is left, or there is a time dim beside the stimuli.
    """
    sample = sample_dim(ds)
    if ds["response"].ndim != 2:
        raise SchemaError(
            f"response has dims {dict(ds['response'].sizes)}; expected one response per {sample} and unit; "
            "average over time (ds.mean('time')) or pick a bin (ds.isel(time=...)) first"
        )
    missing = np.isnan(ds["response"].transpose(sample, "unit").values)
    rows, columns = np.ones(missing.shape[0], bool), np.ones(missing.shape[1], bool)
    by_row, by_column = missing.sum(axis=1), missing.sum(axis=0)
    while by_row.any():
        if by_column.max() > by_row.max():
            at = int(by_column.argmax())
            columns[at], by_column[at] = False, 0
            by_row = by_row - (missing[:, at] & rows)
        else:
            at = int(by_row.argmax())
            rows[at], by_row[at] = False, 0
            by_column = by_column - (missing[at] & columns)
    if not rows.any() or not columns.any():
        raise SchemaError(
            "no complete block: every stimulus or unit has missing values; expected a complete part; use nan='pairwise'"
        )
    out = ds.isel({sample: np.flatnonzero(rows), "unit": np.flatnonzero(columns)})
    return add_history(
        out,
        f"complete block: {int((~rows).sum())} stimuli and {int((~columns).sum())} units with missing values dropped",
    )
