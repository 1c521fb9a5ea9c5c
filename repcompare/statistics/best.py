"""The score of a source that was chosen: the choice is made on other stimuli than those it is reported on.

The best of L sources on the same stimuli is too good: with 20 unrelated layers and 100 stimuli it correlates .25 with the
target.  Here each choice has stimuli of its own (Varma & Simon 2006: nested cross-validation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError
from repcompare.measures._measure import Folds, Index
from repcompare.statistics.folds import Sample, make_folds
from repcompare.statistics.resampling import stream
from repcompare.statistics.series import stretches

Float64 = npt.NDArray[np.float64]
FEWEST_FOLDS = 4  # outer folds that leave inner ones enough to train on; of fewer, training rows get their own
TIE = 1e-10  # of the largest score: what rounding makes of equal scores


def inner_folds(folds: Folds, *, seed: int = 0, sample: Sample = "stimulus") -> tuple[tuple[Index, Folds], ...]:
    """Return, for each fold, its training rows and the folds inside them by which a source may be chosen.

    Parameters
    ----------
    folds : Folds
        The outer folds; every test set needs 3 rows for a score.
    seed : int
        Of inner folds that are drawn anew.
    sample : {"stimulus", "presentation", "time"}
        What the rows are.

    Returns
    -------
    tuple of (rows, Folds)
        ``rows`` (n_train,) index the data; the folds index ``rows``.  They are the other outer folds without the rows of
        this one, so groups and gaps are kept; where there are fewer than 4, four folds drawn from the training rows.
        Rows of a recording have ``segments``, which end where rows were left out.

    Raises
    ------
    OptionError
        When a test set is too small to be scored alone, or the training rows are too few to be split.

    Notes
    -----
    The mean score of the other *outer* folds would not do, although their test rows are others: it trains on the rows of
    this fold, and a source that happens to match them in training is chosen more often.  In the setting above that choice
    reports .13, this one -.01.

    Examples
    --------
    >>> for rows, inside in inner_folds(make_folds(15, 5))[:1]:
    ...     rows.size, len(inside), [test.size for _, test in inside.splits]
    (12, 4, [3, 3, 3, 3])
    """
    smallest = min(test.size for _, test in folds.splits)
    if smallest < 3:
        raise OptionError(
            f"best=True reports the chosen source fold by fold, and a fold has {smallest} test rows; expected at least 3; "
            "use a number of folds, such as folds=5"
        )
    return tuple((train, _inside(folds, f, seed, sample)) for f, (train, _) in enumerate(folds.splits))


def _inside(folds: Folds, outer: int, seed: int, sample: Sample) -> Folds:
    """The folds inside the training rows of one."""
    rows = np.sort(folds.splits[outer][0])
    groups = None if folds.groups is None else folds.groups[rows]
    if len(folds) >= FEWEST_FOLDS:
        pairs = [
            tuple(np.searchsorted(rows, np.intersect1d(rows, part)) for part in split)
            for g, split in enumerate(folds.splits)
            if g != outer
        ]
        splits = tuple((train, test) for train, test in pairs if train.size >= 3 and test.size >= 3)
        if len(splits) >= 2:
            inside = Folds(splits, rows.size, f"inside fold {outer}", groups, folds.gap, folds.forced)
            return _in_stretches(inside, folds, rows, sample)
    inside = make_folds(
        rows.size, FEWEST_FOLDS, groups=groups, seed=seed, sample=sample, gap=folds.gap, force=folds.forced
    )
    return _in_stretches(inside, folds, rows, sample)


def _in_stretches(inside: Folds, folds: Folds, rows: Index, sample: Sample) -> Folds:
    """Say where rows of a recording were left out, so that no delay reaches across."""
    if sample != "time":
        return inside
    outer = None if folds.segments is None else folds.segments[rows]
    return replace(inside, segments=stretches(rows, outer), in_time=True)


def halves(
    n: int, count: int, seed: int, *, groups: Index | None = None, gap: int | None = None
) -> list[tuple[Index, Index]]:
    """Split rows in two halves, again and again: a source is chosen on one and reported on the other.

    Parameters
    ----------
    n : int
        Number of rows.
    count : int
        Number of splits.
    seed : int
        Of the splits.
    groups : ndarray of shape (n,), optional
        Rows of one group stay together.
    gap : int, optional
        The rows are a recording: halves are stretches of time that start anywhere (and go on at the beginning), with this
        many rows between them left out.

    Returns
    -------
    list of (first, second)
        Ascending row numbers.

    Raises
    ------
    OptionError
        When a half would be empty.

    Examples
    --------
    >>> [(a.tolist(), b.tolist()) for a, b in halves(5, 1, seed=0)]
    [([1, 2], [0, 3, 4])]
    """
    rng = stream(seed, "halves")
    found = []
    for _ in range(count):
        if groups is not None:
            first = _half_of_groups(groups, rng)
            pair = np.flatnonzero(first), np.flatnonzero(~first)
        elif gap is None:
            order = rng.permutation(n)
            pair = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
        else:
            length = max((n - 2 * gap) // 2, 0)
            start = int(rng.integers(n)) + np.arange(length)
            pair = np.sort(start % n), np.sort((start + length + gap) % n)
        if not (pair[0].size and pair[1].size):
            raise OptionError(
                f"{n} rows with groups or a gap of {gap} cannot be halved; give more rows or a smaller gap"
            )
        found.append(pair)
    return found


def _half_of_groups(groups: Index, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Take groups in random order until the rows taken are nearest to half of all."""
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(names.size)
    cut = int(np.argmin(np.abs(np.cumsum(sizes[order])[:-1] - groups.size / 2))) if names.size > 1 else 0
    return np.isin(codes, order[: cut + 1])


@dataclass(frozen=True)
class Choice:
    """Sources chosen for one target.

    Attributes
    ----------
    selected : ndarray of shape (n_choices,)
        Number of the chosen source; -1 where none could be chosen.
    scores : ndarray of shape (n_choices,)
        Its score on the stimuli that the choice has not seen.
    candidates : ndarray of bool, shape (n_sources,)
        Sources with a score on both sides of every choice; others are never chosen.
    """

    selected: Index
    scores: Float64
    candidates: npt.NDArray[np.bool_]

    @property
    def score(self) -> float:
        """Mean over choices; NaN where no source could be chosen."""
        return float(self.scores.mean()) if self.candidates.any() else np.nan


def choose_source(inner: Float64, outer: Float64, *, greater: bool) -> Choice:
    """Choose the best source by its inner score and report its outer score.

    Parameters
    ----------
    inner, outer : ndarray of shape (n_sources, n_choices)
        Scores on the stimuli of the choice, and on those held out from it.
    greater : bool
        Whether more is better (similarities) or less (distances).

    Returns
    -------
    Choice
        Equal scores, up to rounding, go to the source that comes first.

    Examples
    --------
    >>> inner = np.array([[0.5, 0.1], [0.2, 0.4]])
    >>> choice = choose_source(inner, inner[:, ::-1], greater=True)
    >>> choice.selected.tolist(), choice.scores.tolist()
    ([0, 1], [0.1, 0.2])
    """
    candidates: npt.NDArray[np.bool_] = np.asarray(np.isfinite(inner).all(axis=1) & np.isfinite(outer).all(axis=1))
    if not candidates.any():
        count = inner.shape[1]
        return Choice(np.full(count, -1), np.full(count, np.nan), candidates)
    places = np.flatnonzero(candidates)
    signed = inner[places] if greater else -inner[places]
    top = signed.max(axis=0)
    selected = places[(signed >= top - TIE * np.abs(signed).max(axis=0)).argmax(axis=0)]
    return Choice(selected, outer[selected, np.arange(inner.shape[1])], candidates)
