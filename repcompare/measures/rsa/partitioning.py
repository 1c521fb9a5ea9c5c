"""How much of the variance of an RDM several model RDMs explain, each alone and in common.

References
----------
Lescroart, Stansbury & Gallant 2015, Frontiers in Computational Neuroscience 9:135; Groen et al. 2018, eLife 7:e32962;
Nimon & Oswald 2013, Organizational Research Methods 16:650 (commonalities).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa._methods import FLAT, MIN_PAIRS
from repcompare.measures.rsa._model_inner import shared_pairs
from repcompare.measures.rsa._partition_moments import Moments, Pieces, explained, fitted, pieces
from repcompare.measures.rsa._subsets import Rows
from repcompare.measures.rsa.crossvalidation import Split

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

MAX_GROUPS = 6


@dataclass(frozen=True)
class Partition:
    """Variance of data RDMs explained by groups of models.

    Attributes
    ----------
    subsets : tuple of tuple of int
        Every non-empty set of groups, smaller ones first.
    r2 : ndarray, shape (n_subsets, n_rdms)
        Explained share of the variance over pairs.
    parts : ndarray, shape (n_subsets, n_rdms)
        What exactly these groups have in common and no other has (a single group: its unique part).  They sum to the
        ``r2`` of all groups.
    unique : ndarray, shape (n_groups, n_rdms)
        ``r2`` of all groups minus ``r2`` of all the others.
    n_pairs : ndarray of int, shape (n_rdms,)
        Pairs that a data RDM shares with all models.
    """

    subsets: tuple[tuple[int, ...], ...]
    r2: Matrix
    parts: Matrix
    unique: Matrix
    n_pairs: Rows


def partition_variance(
    groups: Sequence[Matrix],
    data: Matrix,
    *,
    splits: Sequence[Split] | None = None,
    nonnegative: bool = False,
    ranked: bool = False,
) -> Partition:
    """Partition the variance of data RDMs.

    Each RDM of data has mean 0 and variance 1 over the pairs that are fitted, and over those that are scored, so that
    subjects of other noise level count alike; ``R^2 = 1 - sum (d - p)^2 / sum d^2`` of centred predictions p.  Ranks are
    taken among the pairs that are fitted, or scored, and divided by their number.

    Parameters
    ----------
    groups : sequence of ndarray, shape (n_components, n_pairs)
        Model RDMs; 1 to 6 groups.  NaN where missing: the pairs that all models have are used, for every set of models.
    data : ndarray, shape (n_rdms, n_pairs)
        NaN where missing: each RDM is fitted and explained on its own pairs.
    splits : sequence of Split, optional
        Held-out stimuli and data RDMs: weights fitted to the training RDMs (their normal equations are summed), R^2 on
        pairs within the test stimuli, averaged over the folds that test an RDM; parts may be negative.  None: each data
        RDM is fitted and explained on all pairs.
    nonnegative : bool
        Keep the weights of model RDMs at 0 or above.
    ranked : bool
        Partition the variance of ranks.

    Returns
    -------
    Partition

    Raises
    ------
    MeasureError
        On no group or more than 6, other numbers of pairs, fewer than 3 pairs of an RDM in a fold, or constant RDMs.

    Examples
    --------
    >>> a, b = np.array([[1.0, 0, 0, 0, 0, 0]]), np.array([[0.0, 1, 0, 0, 0, 0]])
    >>> found = partition_variance([a, b], a + 2 * b)
    >>> bool(np.isclose(found.parts.sum(), found.r2[-1, 0])), round(float(found.r2[-1, 0]), 12)
    (True, 1.0)
    """
    subsets, chosen, given = prepared(groups, data, ranked)
    if splits is None:
        r2 = in_sample(given, np.ones(given.k), chosen, nonnegative)
    else:
        r2 = _held_out(given, splits, chosen, nonnegative)
    parts = parts_matrix(subsets) @ r2
    return Partition(subsets, r2, parts, parts[: len(groups)], given.n_pairs())


def prepared(
    groups: Sequence[Matrix], data: Matrix, ranked: bool
) -> tuple[tuple[tuple[int, ...], ...], list[Rows], Pieces]:
    """Return every set of groups, its model RDMs, and all RDMs ready for any draw of stimuli."""
    owner, stack = _checked(groups, data)
    subsets = all_subsets(len(groups))
    given = pieces(stack, data, ranked)
    _require_defined(given.at(np.ones(given.k)), np.arange(given.n_rdms))
    return subsets, [np.flatnonzero(np.isin(owner, subset)) for subset in subsets], given


def in_sample(given: Pieces, counts: npt.ArrayLike, chosen: Sequence[Rows], nonnegative: bool) -> Matrix:
    """Return R^2 (n_subsets, n_rdms) of each data RDM fitted and explained on all pairs of a draw of stimuli (k,)."""
    found = given.at(counts)
    weights = fitted(found, np.eye(given.n_rdms), chosen, nonnegative, shared=len(given.stacks) == 1)
    return explained(weights, found, np.arange(given.n_rdms), chosen)


def all_subsets(n: int) -> tuple[tuple[int, ...], ...]:
    """Return every non-empty subset of ``range(n)``, smaller ones first.

    Examples
    --------
    >>> all_subsets(2)
    ((0,), (1,), (0, 1))
    """
    return tuple(subset for size in range(1, n + 1) for subset in combinations(range(n), size))


def _held_out(given: Pieces, splits: Sequence[Split], chosen: Sequence[Rows], nonnegative: bool) -> Matrix:
    """Return the mean R^2 (n_subsets, n_rdms) over the folds that test an RDM."""
    sums, counts = np.zeros((len(chosen), given.n_rdms)), np.zeros(given.n_rdms)
    known: dict[bytes, Moments] = {}  # folds over subjects share those of their stimuli

    def at(rows: Rows, who: Rows) -> Moments:
        key = rows.tobytes()
        if key not in known:
            known[key] = given.at(np.bincount(rows, minlength=given.k))
        _require_defined(known[key], who)
        return known[key]

    for split in splits:
        train, test = at(split.train_stimuli, split.train_rdms), at(split.test_stimuli, split.test_rdms)
        trainings = np.bincount(split.train_rdms, minlength=given.n_rdms)[None].astype(np.float64)
        weights = fitted(train, trainings, chosen, nonnegative, shared=len(given.stacks) == 1)
        which = np.full(given.n_rdms, -1)
        which[split.test_rdms] = 0
        sums[:, split.test_rdms] += explained(weights, test, which, chosen)[:, split.test_rdms]
        counts[split.test_rdms] += 1
    if not counts.all():
        raise MeasureError(f"no fold tests data RDM {int(np.argmin(counts))}; expected each to be tested")
    return sums / counts


def _require_defined(found: Moments, who: Rows) -> None:
    """Raise where one of some data RDMs has fewer than 3 pairs, or is constant on them."""
    few = who[found.size[who] < MIN_PAIRS]
    if few.size:
        raise MeasureError(
            f"data RDM {int(few[0])} shares fewer than {MIN_PAIRS} pairs with all models on the stimuli of a fold; take"
            " fewer folds (larger test sets), or leave out that RDM or the stimuli with missing pairs"
        )
    flat = who[np.isnan(found.cross[:, who]).any(axis=0)]
    if flat.size:
        raise MeasureError(
            f"data RDM {int(flat[0])} is constant on the pairs that are fitted or scored; leave it out, or use other"
            " stimuli"
        )


def parts_matrix(subsets: tuple[tuple[int, ...], ...]) -> Matrix:
    """Return the matrix that turns the R^2 of all subsets into the parts.

    ``c(A) = sum over B in A of (-1)^(|A|-|B|) h(B)``, ``h(B) = R^2(all) - R^2(all but B)``.

    Examples
    --------
    >>> parts_matrix(all_subsets(2)) @ np.array([0.5, 0.4, 0.7])
    array([0.3, 0.2, 0.2])
    """
    place = {frozenset(subset): row for row, subset in enumerate(subsets)}
    everything = frozenset(subsets[-1])
    lost = np.zeros((len(subsets), len(subsets)))
    lost[:, -1] = 1.0
    for inside, row in place.items():
        if everything - inside:
            lost[row, place[everything - inside]] -= 1.0
    out = np.zeros_like(lost)
    for whole, row in place.items():
        for inside, line in place.items():
            if inside <= whole:
                out[row] += (-1) ** (len(whole) - len(inside)) * lost[line]
    return out


def _checked(groups: Sequence[Matrix], data: Matrix) -> tuple[Rows, Matrix]:
    """Return which group each model RDM belongs to, and all of them as one stack."""
    if not 1 <= len(groups) <= MAX_GROUPS:
        raise MeasureError(
            f"{len(groups)} groups of models; expected 1 to {MAX_GROUPS} ({2**MAX_GROUPS - 1} subsets); join related"
            " models into one group"
        )
    sizes = {rows.shape[1] for rows in (*groups, data)}
    if len(sizes) > 1:
        raise MeasureError(f"RDMs have {sorted(sizes)} pairs; expected the same stimuli in the same order everywhere")
    stack = np.concatenate(list(groups))
    for name, rows in (("models", stack), ("data", data)):
        if np.isinf(rows).any():
            raise MeasureError(f"{name}: {int(np.isinf(rows).sum())} values are infinite; expected NaN where missing")
    inside = np.where(shared_pairs(stack, "models"), stack, np.nan)
    flat = np.nanmax(inside, axis=1) - np.nanmin(inside, axis=1) <= FLAT * np.nanmax(np.abs(inside), axis=1)
    if flat.any():
        raise MeasureError(f"model RDM {int(np.argmax(flat))} is constant; it explains no variance; leave it out")
    return np.repeat(np.arange(len(groups)), [len(rows) for rows in groups]), stack
