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
from repcompare.measures.rsa._least_squares import solve_normal
from repcompare.measures.rsa._methods import FLAT
from repcompare.measures.rsa._ranked import midranks
from repcompare.measures.rsa._subsets import Rows, pairs_within
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
    """

    subsets: tuple[tuple[int, ...], ...]
    r2: Matrix
    parts: Matrix
    unique: Matrix


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
        Model RDMs; 1 to 6 groups.
    data : ndarray, shape (n_rdms, n_pairs)
    splits : sequence of Split, optional
        Held-out stimuli and data RDMs: weights fitted to the mean of the training RDMs, R^2 on pairs within the test
        stimuli, averaged over the folds that test an RDM; parts may be negative.  None: each data RDM is fitted and
        explained on all pairs.
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
        On no group or more than 6, other numbers of pairs, missing values, or constant RDMs.

    Examples
    --------
    >>> a, b = np.array([[1.0, 0, 0, 0, 0, 0]]), np.array([[0.0, 1, 0, 0, 0, 0]])
    >>> found = partition_variance([a, b], a + 2 * b)
    >>> bool(np.isclose(found.parts.sum(), found.r2[-1, 0])), round(float(found.r2[-1, 0]), 12)
    (True, 1.0)
    """
    owner, stack = _checked(groups, data)
    subsets = all_subsets(len(groups))
    chosen = [np.flatnonzero(np.isin(owner, subset)) for subset in subsets]
    if splits is None:
        whole = moments(stack, data, ranked)
        r2 = _explained(whole.gram, whole.cross, whole, chosen, nonnegative)
    else:
        r2 = _held_out(stack, data, splits, chosen, (nonnegative, ranked))
    return _decompose(subsets, r2)


def all_subsets(n: int) -> tuple[tuple[int, ...], ...]:
    """Return every non-empty subset of ``range(n)``, smaller ones first.

    Examples
    --------
    >>> all_subsets(2)
    ((0,), (1,), (0, 1))
    """
    return tuple(subset for size in range(1, n + 1) for subset in combinations(range(n), size))


@dataclass(frozen=True)
class Moments:
    """Inner products on one set of pairs.

    Attributes
    ----------
    gram : ndarray, shape (n_components, n_components)
        Of the centred model RDMs, over the number of pairs.
    cross : ndarray, shape (n_components, n_rdms)
        With the standardised data RDMs, over the number of pairs.
    """

    gram: Matrix
    cross: Matrix


def moments(stack: Matrix, data: Matrix, ranked: bool) -> Moments:
    """Return inner products of model RDMs (n_components, n_pairs) and data RDMs (n_rdms, n_pairs)."""
    n = data.shape[1]
    if ranked:
        stack, data = (np.stack([midranks(row) for row in rows]) / n for rows in (stack, data))
    x = stack - stack.mean(axis=1, keepdims=True)
    x[np.abs(x).max(axis=1) <= FLAT * np.abs(stack).max(axis=1)] = 0.0  # constant on these pairs: rounding only
    y = data - data.mean(axis=1, keepdims=True)
    scale = y.std(axis=1)
    flat = scale <= FLAT * np.abs(data).max(axis=1)
    if flat.any():
        raise MeasureError(
            f"data RDM {int(np.argmax(flat))} is constant on the pairs that are fitted or scored; leave it out, or use"
            " other stimuli"
        )
    return Moments(x @ x.T / n, x @ (y / scale[:, None]).T / n)


def _explained(gram: Matrix, targets: Matrix, test: Moments, chosen: Sequence[Rows], nonnegative: bool) -> Matrix:
    """Return R^2 (n_subsets, n_test_rdms) of weights fitted to targets (n_components, n_test_rdms or 1)."""
    out = np.empty((len(chosen), test.cross.shape[1]))
    for row, columns in enumerate(chosen):
        square = np.ix_(columns, columns)
        inside, wanted = gram[square], targets[columns]
        if nonnegative:
            theta = np.stack([solve_normal(inside, target, nonnegative=True) for target in wanted.T], axis=1)
        else:
            theta = solve_normal(inside, wanted)
        out[row] = (2 * theta * test.cross[columns] - theta * (test.gram[square] @ theta)).sum(axis=0)
    return out


def _held_out(
    stack: Matrix, data: Matrix, splits: Sequence[Split], chosen: Sequence[Rows], how: tuple[bool, bool]
) -> Matrix:
    """Return the mean R^2 (n_subsets, n_rdms) over the folds that test an RDM."""
    nonnegative, ranked = how
    k = (1 + int(np.sqrt(1 + 8 * data.shape[1]))) // 2
    sums, counts = np.zeros((len(chosen), len(data))), np.zeros(len(data))
    known: dict[bytes, Moments] = {}  # folds over subjects share those of their stimuli

    def at(rows: Rows) -> Moments:
        key = rows.tobytes()
        if key not in known:
            inside = pairs_within(rows, k)
            known[key] = moments(stack[:, inside], data[:, inside], ranked)
        return known[key]

    for split in splits:
        train, test = at(split.train_stimuli), at(split.test_stimuli)
        target = train.cross[:, split.train_rdms].mean(axis=1, keepdims=True)
        held = Moments(test.gram, test.cross[:, split.test_rdms])
        sums[:, split.test_rdms] += _explained(train.gram, target, held, chosen, nonnegative)
        counts[split.test_rdms] += 1
    if not counts.all():
        raise MeasureError(f"no fold tests data RDM {int(np.argmin(counts))}; expected each to be tested")
    return sums / counts


def _decompose(subsets: tuple[tuple[int, ...], ...], r2: Matrix) -> Partition:
    """Return the parts: ``c(A) = sum over B in A of (-1)^(|A|-|B|) h(B)``, ``h(B) = R^2(all) - R^2(all but B)``."""
    place = {frozenset(subset): row for row, subset in enumerate(subsets)}
    everything = frozenset(subsets[-1])
    without = {
        inside: r2[place[everything - inside]] if everything - inside else np.zeros(r2.shape[1]) for inside in place
    }
    lost = {inside: r2[-1] - rest for inside, rest in without.items()}
    parts = np.zeros_like(r2)
    for whole, row in place.items():
        for inside, gain in lost.items():
            if inside <= whole:
                parts[row] += (-1) ** (len(whole) - len(inside)) * gain
    unique = np.stack([lost[frozenset({g})] for g in sorted(everything)])
    return Partition(subsets, r2, parts, unique)


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
        if not np.isfinite(rows).all():
            raise MeasureError(
                f"{name}: {int((~np.isfinite(rows)).sum())} values are missing or infinite; leave out the stimuli with"
                " missing pairs"
            )
    flat = np.ptp(stack, axis=1) <= FLAT * np.abs(stack).max(axis=1)
    if flat.any():
        raise MeasureError(f"model RDM {int(np.argmax(flat))} is constant; it explains no variance; leave it out")
    return np.repeat(np.arange(len(groups)), [len(rows) for rows in groups]), stack
