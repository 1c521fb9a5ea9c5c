"""From two sides to the rows of an encoder: their order, runs and groups, the gap, and the folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, some
from repcompare.functional._pair import Data, matched, without_nan
from repcompare.labels.align import row_labels, row_numbers
from repcompare.labels.recordings import find_labels, find_runs, haemodynamic_gap
from repcompare.labels.schema import stimulus_labels, text
from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding.delays import make_lags
from repcompare.statistics.folds import autocorrelation_gap, make_folds
from repcompare.statistics.given_rows import Origin
from repcompare.statistics.series import stretches


@dataclass(frozen=True)
class Rows:
    """Both sides with matching rows.

    Attributes
    ----------
    x, y : ndarray of shape (n, n_features), (n, n_units)
        Rows in sorted order of their names, or of time.
    sample : str
        What the rows are: ``"stimulus"`` or ``"time"``.
    groups : ndarray of shape (n,), optional
        What is held out together.
    runs : bool
        The groups are runs that were found, not given.
    unit_ids : ndarray of shape (n_units,), optional
        Names of the units of y.
    notes : tuple of str
        What was decided.
    segments : ndarray of shape (n,), optional
        Stretches of a recording that delays do not leave: runs, and what lies between rows that are missing.
    feature_ids, names : ndarray of shape (n_features,), (n,), optional
        Names of the units of x, and of the rows, of representations.
    origin : Origin, optional
        Rows of the input, which folds and groups that are given by number mean.
    """

    x: Array
    y: Array
    sample: str
    groups: np.ndarray | None
    runs: bool
    unit_ids: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    segments: Index | None = None
    feature_ids: np.ndarray | None = None
    names: np.ndarray | None = None
    origin: Origin | None = None


def make_rows(x: Data, y: Data, *, groups: Any, folds: Any, nan: str) -> Rows:
    """Match two sides; find their runs where nothing else says what is held out together."""
    for name, side in (("x", x), ("y", y)):
        _refuse_parts(name, side)
    a, b, names, sample = matched(x, y)
    if names is not None and sample == "time" and isinstance(x, xr.Dataset):
        order = in_time(x, names)
        a, b, names = a[order], b[order], names[order]
    origin = origin_of_rows((x, y), names, len(a))
    labels, runs, notes = held_together(x, y, names, groups=given_groups(groups, origin), folds=folds)
    features, ids = (_unit_ids(side, values, nan) for side, values in ((x, a), (y, b)))
    a, b, kept = without_nan(a, b, nan)
    own = None if names is None else names[kept]
    segments = None
    if sample == "time" and names is not None:
        segments = segments_of([side for side in (x, y) if isinstance(side, xr.Dataset)], names[kept])
    labels = labels if labels is None else labels[kept]
    return Rows(a, b, sample, labels, runs, ids, notes, segments, features, own, origin.kept(kept))


def origin_of_rows(sides: tuple[Data, Data], names: np.ndarray | None, n: int) -> Origin:
    """Return which rows of the input the rows are."""
    if names is None:
        return Origin(np.arange(n), n)
    return Origin(*row_numbers([side for side in sides if isinstance(side, xr.Dataset)], names))


def given_groups(groups: Any, origin: Origin) -> Any:
    """Return labels that were given one per row of the input in the order of the rows; names of labels as they are."""
    return groups if groups is None or isinstance(groups, str) else origin.take(np.asarray(groups), "groups")


def _refuse_parts(name: str, side: Any) -> None:
    """Raise where a side has several parts: which test corrects for them is compare()'s."""
    if isinstance(side, xr.Dataset) or not isinstance(side, (Mapping, xr.DataTree)):
        return
    parts = list(side)
    raise SchemaError(
        f"{name} has {len(parts)} parts ({some(parts)}); encode() takes one; use compare(x, y, measures='ridge', "
        "permutations=999, unit_scores=True), whose corrected p-values are those of the best of all parts and units, or "
        "join the units and take model='banded_ridge' with bands="
    )


def _unit_ids(side: Data, values: Array, nan: str) -> np.ndarray | None:
    """Return the names of the units that are used, where there are any."""
    if not isinstance(side, xr.Dataset):
        return None
    ids: np.ndarray = text(side["unit_id"].values).astype(str)
    return ids[~np.isnan(values).any(axis=0)] if nan == "drop_units" else ids


def segments_of(sides: list[xr.Dataset], names: np.ndarray) -> Index:
    """Number the stretches of a recording between runs, sessions, and rows that are missing."""
    place = {name: i for i, name in enumerate(stimulus_labels(sides[0]).tolist())}
    return stretches(
        [place[name] for name in names.tolist()], *(find_labels(sides, n, names) for n in ("run", "session"))
    )


def held_together(
    x: Data, y: Data, names: np.ndarray | None, *, groups: Any, folds: Any
) -> tuple[np.ndarray | None, bool, tuple[str, ...]]:
    """Return the groups of the rows, whether they are runs that were found, and what was decided."""
    if groups is not None or names is None or not isinstance(folds, (int, np.integer)):
        return _given_groups(groups, (x, y), names), False, ()
    labels, note = find_runs([side for side in (x, y) if isinstance(side, xr.Dataset)], names)
    return labels, labels is not None, (note,) if note else ()


def in_time(side: xr.Dataset, names: np.ndarray) -> np.ndarray:
    """Return the order of names that is the order of the rows of a recording."""
    own = stimulus_labels(side)
    place = {name: i for i, name in enumerate(own.tolist())}
    return np.argsort([place[name] for name in names.tolist()], kind="stable")


def _given_groups(groups: Any, sides: tuple[Data, Data], names: np.ndarray | None) -> np.ndarray | None:
    if groups is None or not isinstance(groups, str):
        return None if groups is None else np.asarray(groups)
    for side in sides:
        if isinstance(side, xr.Dataset) and groups in side.coords:
            assert names is not None
            return row_labels(side, groups, names)
    raise OptionError(f"groups={groups!r}: neither side has such a label of its rows; give one label per row")


@dataclass(frozen=True)
class Drawing:
    """How folds are to be drawn.

    Attributes
    ----------
    gap : int or "auto"
        Rows left out on either side of a test block.
    seed : int
        Of the shuffle.
    force : tuple of str
        Guards to override.
    longest : int
        Longest delay of the features, which a measured gap must span.
    """

    gap: int | str
    seed: int
    force: tuple[str, ...]
    longest: int = 0


def longest_delay(options: Mapping[str, Any]) -> int:
    """Return the longest delay, in rows, that the options of a model ask for; 0 without delays."""
    lags = make_lags(options.get("delays"), options.get("hrf"))
    return 0 if lags is None else lags.longest


def draw_folds(rows: Rows, folds: Any, y: Data, how: Drawing) -> Folds:
    """Draw the folds of matched rows; a gap that was not given is measured."""
    if how.longest and rows.sample != "time" and rows.groups is None and isinstance(folds, (int, np.integer)):
        raise OptionError(
            "delays need folds of consecutive rows, and these rows are taken as separate stimuli; give representations "
            "with dims=('time', 'unit') and time=, or hold out whole runs (groups= and runs=)"
        )
    width = _gap(rows, folds, how.gap, y)
    if how.gap == "auto" and rows.sample == "time" and isinstance(folds, (int, np.integer)):
        width = max(width, how.longest)
    if rows.runs and rows.sample != "time":
        folds = "loo"
    if rows.origin is not None:
        folds = rows.origin.given(folds)
    drawn = make_folds(
        len(rows.x),
        folds,
        groups=rows.groups,
        seed=how.seed,
        sample="time" if rows.sample == "time" else "stimulus",
        gap=width,
        force=how.force,
    )
    return replace(drawn, segments=rows.segments)


def _gap(rows: Rows, folds: Any, gap: int | str, y: Data) -> int:
    if isinstance(gap, (int, np.integer)) and not isinstance(gap, bool) and gap >= 0:
        return int(gap)
    if gap != "auto":
        raise OptionError(f"gap={gap!r}; expected a number of rows or 'auto'")
    if rows.sample != "time" or not isinstance(folds, (int, np.integer)):
        return 0
    seen = ~np.isnan(rows.y).all(axis=0)
    found = autocorrelation_gap(rows.y[:, seen], rows.groups if rows.runs else None)
    return max(found, haemodynamic_gap(y) if isinstance(y, xr.Dataset) else 0)
