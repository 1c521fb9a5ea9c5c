"""Distance correlation and the difference of distance matrices: two systems through their Euclidean distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError, choose
from repcompare.measures._linalg import centre64, gram, input_eps, require_variance
from repcompare.measures._measure import Array, Index, Measure
from repcompare.measures._pairs import (
    KernelState,
    chance,
    from_kernel,
    raw,
    raw_many,
    restrict_pairs,
    score,
    scores,
)

PAIR_BLOCK = 1 << 14  # pairs of stimuli per block of the batched product

Float64 = npt.NDArray[np.float64]
NORMS = ("frobenius", "spectral")
CLOSE = 1e-6  # below this share of |D|^2 + |E|^2 the difference of squares has lost its digits


def squared_distances(values: Array) -> Float64:
    """Squared Euclidean distances between stimuli, computed in float64 whatever the input.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Lower triangle; distances within rounding of 0 are 0.
    """
    lower = gram(centre64(values))
    own = lower.diagonal().copy()
    require_variance(float(own.max()), "distances")
    total = own[:, None] + own[None, :]
    squared = np.tril(total - 2 * lower)
    squared[squared <= 8 * np.finfo(np.float64).eps * total] = 0  # equal patterns
    return squared


def distance_correlation(*, debiased: bool = True) -> Measure:
    """Distance correlation: how alike the Euclidean distance matrices of two systems are, once centred.

    Parameters
    ----------
    debiased : bool
        ``True``: <U(D), U(E)> / (|U(D)| |U(E)|) with U-centred distances, on the squared scale, in [-1, 1], mean 0 for
        permuted stimuli.  ``False``: the square root of the ratio of V-statistics, in [0, 1]; tends to 1 for unrelated
        data when units outnumber stimuli.

    Returns
    -------
    Measure
        Similarity, symmetric, 1 for identical systems.  Invariant to rotation, scaling and translation of either side.

    Raises
    ------
    MeasureError
        When a system does not vary, or all its distances are equal (``debiased=True``: nothing is left to correlate).

    Notes
    -----
    With squared distances in place of distances the value is linear debiased CKA, or the root of linear biased CKA.

    References
    ----------
    Szekely, Rizzo & Bakirov 2007; Szekely & Rizzo 2013, 2014 (U-centring).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = distance_correlation()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(3 * x + 1)), 6)
    1.0
    """
    estimator = "debiased" if debiased else "biased"

    def prepare(values: Array) -> KernelState:
        distances = np.sqrt(squared_distances(values))
        return from_kernel(distances, estimator, "distance_correlation", input_eps(values))[0]

    return Measure(
        name="distance_correlation",
        options={"debiased": debiased},
        prepare=prepare,
        compare=score if debiased else _root,
        compare_many=scores if debiased else _roots,
        annotate=chance if debiased else None,
        restrict=_restrict,
        kind="similarity",
        score_range=(-1.0 if debiased else 0.0, 1.0),
        invariant_to=frozenset({"rotation", "scaling", "translation", "permutation", "duplication"}),
        min_stimuli=4 if debiased else 3,
        reference="szekely2014",
        state_bytes=_state_bytes,
    )


def _state_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    return 4 * n * n


def _restrict(state: KernelState, rows: Index) -> KernelState:
    if len(rows) < (4 if state.estimator == "debiased" else 3):
        raise MeasureError(f"distance_correlation: {len(rows)} stimuli are too few; add stimuli")
    return restrict_pairs(state, rows)


def _root(x: KernelState, y: KernelState) -> float:
    """Square root of a product of positive semidefinite matrices; rounding below 0 is 0."""
    return float(np.sqrt(min(1.0, max(0.0, raw(x, y)))))


def _roots(xs: Sequence[KernelState], ys: Sequence[KernelState]) -> Float64:
    return np.asarray(np.sqrt(raw_many(xs, ys).clip(0.0, 1.0)))


@dataclass(frozen=True)
class DistanceState:
    """A prepared source: its distances over pairs, row by row of the lower triangle (n (n - 1) / 2,)."""

    n: int
    pairs: Float64


def rsm_norm(norm: Literal["frobenius", "spectral"] = "frobenius") -> Measure:
    """Norm of the difference of two Euclidean distance matrices.

    Parameters
    ----------
    norm : {"frobenius", "spectral"}
        Root of the sum of squares over pairs i < j, or the largest absolute eigenvalue of the square difference.

    Returns
    -------
    Measure
        Distance in response units, in [0, inf); a metric of distance matrices.  Invariant to rotation and translation,
        not to scaling: systems in different units of measurement are scaled first, or not compared this way.

    References
    ----------
    Shahbazi et al. 2021; Klabunde et al. 2025 (ReSi).

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> measure = rsm_norm()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(2 * x)) ** 2, 6)
    14.0
    """
    choose(norm, NORMS, "norm")
    return Measure(
        name="rsm_norm",
        options={"norm": norm},
        prepare=_distances,
        compare=_frobenius if norm == "frobenius" else _spectral,
        compare_many=_frobenius_many if norm == "frobenius" else None,
        restrict=_subset,
        kind="distance",
        is_metric=True,
        identical=0.0,
        score_range=(0.0, np.inf),
        invariant_to=frozenset({"rotation", "translation", "permutation"}),
        unit="response",
        reference="shahbazi2021",
        state_bytes=_state_bytes,
    )


def _distances(values: Array) -> DistanceState:
    n = len(values)
    return DistanceState(n, np.sqrt(squared_distances(values)[np.tril_indices(n, -1)]))


def _square(state: DistanceState) -> Float64:
    full = np.zeros((state.n, state.n))
    full[np.tril_indices(state.n, -1)] = state.pairs
    return full + full.T


def _subset(state: DistanceState, rows: Index) -> DistanceState:
    part = _square(state)[np.ix_(rows, rows)]
    return DistanceState(len(rows), part[np.tril_indices(len(rows), -1)])


def _check_same(x: DistanceState, y: DistanceState) -> None:
    if x.n != y.n:
        raise MeasureError(f"rsm_norm: {x.n} stimuli against {y.n}; expected the same stimuli on both sides")


def _frobenius(x: DistanceState, y: DistanceState) -> float:
    _check_same(x, y)
    return float(np.linalg.norm(x.pairs - y.pairs))


def _spectral(x: DistanceState, y: DistanceState) -> float:
    _check_same(x, y)
    return float(np.abs(scipy.linalg.eigvalsh(_square(x) - _square(y), check_finite=False)).max())


def _frobenius_many(xs: Sequence[DistanceState], ys: Sequence[DistanceState]) -> Float64:
    """|D|^2 + |E|^2 - 2 <D, E> by blocked products; near pairs, whose digits it loses, one by one."""
    for state in (*xs, *ys):
        _check_same(xs[0], state)
    cross = np.zeros((len(xs), len(ys)))
    for start in range(0, len(xs[0].pairs), PAIR_BLOCK):
        block = slice(start, start + PAIR_BLOCK)
        cross += np.stack([x.pairs[block] for x in xs]) @ np.stack([y.pairs[block] for y in ys]).T
    total = np.add.outer([float(x.pairs @ x.pairs) for x in xs], [float(y.pairs @ y.pairs) for y in ys])
    out = np.sqrt(np.maximum(total - 2 * cross, 0))
    for i, j in zip(*np.nonzero(total - 2 * cross < CLOSE * total), strict=True):
        out[i, j] = _frobenius(xs[i], ys[j])
    return out
