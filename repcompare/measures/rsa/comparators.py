"""How alike two RDMs are.

References ---------- Schuett, Kipnis, Diedrichsen & Kriegeskorte 2023, eLife 12:e82566 (``rho_a``);
Diedrichsen et al. 2021, arXiv:2007.02789 (whitened forms); Nili et al. 2014, PLoS Computational Biology
10:e1003553.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, choose
from repcompare.kernels.ranks import fill_midranks
from repcompare.measures.rsa._condensed import Vector, count_stimuli
from repcompare.measures.rsa._whitened import (
    Matrix,
    StimulusNoise,
    coordinates,
    cosine_present,
    stimulus_noise,
)

MIN_PAIRS = 3
FLAT = 1e-12  # variation below this share of the largest value is rounding


@dataclass(frozen=True, kw_only=True)
class Method:
    """One entry of the menu of comparators: what is done to an RDM before the dot product.

    Attributes
    ----------
    ranked : bool
        Values are replaced by their mid-ranks.
    centred : bool
        The mean over pairs is subtracted.
    whitened : bool
        The dot product is ``a' V^-1 b``.
    tie_free_norm : bool
        Divided by the norm that ranks without ties have, not by its own.
    non_negative_range : tuple of float
        Range of the score of non-negative RDMs.
    """

    ranked: bool = False
    centred: bool = False
    whitened: bool = False
    tie_free_norm: bool = False
    non_negative_range: tuple[float, float] = (-1.0, 1.0)


METHODS: dict[str, Method] = {
    "rho_a": Method(ranked=True, centred=True, tie_free_norm=True),
    "pearson": Method(centred=True),
    "spearman": Method(ranked=True, centred=True),
    "cosine": Method(non_negative_range=(0.0, 1.0)),
    "whitened_cosine": Method(whitened=True),
    "whitened_pearson": Method(centred=True, whitened=True),
}


@dataclass(frozen=True)
class Embedded:
    """An RDM, ready to be compared.

    Attributes
    ----------
    rdm : ndarray, shape (n_pairs,)
        NaN where missing.
    unit : ndarray, shape (n_coordinates,), optional
        The vector whose dot product with that of another RDM is the score; None where pairs are missing.
    """

    rdm: Vector
    unit: Vector | None


def compare_rdms(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    method: str = "rho_a",
    *,
    stimulus_covariance: npt.ArrayLike | None = None,
) -> float | Matrix:
    """Return the similarity of RDMs.

    Parameters
    ----------
    a, b : array_like, shape (n_pairs,) or (n_rdms, n_pairs)
        Condensed RDMs of the same stimuli in the same order, ``n_pairs = K (K - 1) / 2``.  NaN marks a
        missing pair: every pair of RDMs is compared on the pairs that both have (:func:`shared_pairs` counts
        them), ranked among these.
    method : str
        - ``"rho_a"``: ``12 sum (R_a - (n+1)/2)(R_b - (n+1)/2) / (n^3 - n)``, the mean Spearman correlation
          over random orders within ties;
        - ``"spearman"``: Pearson correlation of mid-ranks, which favours RDMs with ties;
        - ``"pearson"``, ``"cosine"``;
        - ``"whitened_cosine"``: ``a' V^-1 b / sqrt(a' V^-1 a  b' V^-1 b)``, exact; on squared Euclidean RDMs
          with the default covariance it is linear CKA, the same number;
        - ``"whitened_pearson"``: the same after subtracting the mean of each RDM.
    stimulus_covariance : array_like, shape (K,) or (K, K), optional
        Noise variances or covariance of the stimuli, for the whitened methods; identity by default.

    Returns
    -------
    float or ndarray, shape (n_rdms_a, n_rdms_b)
        In [-1, 1], higher is more similar; a float when both are single vectors.

    Raises
    ------
    MeasureError
        On a length that is not K (K - 1) / 2, different lengths, fewer than 3 shared pairs, infinite values,
        and RDMs that are constant (or zero, for cosine methods).
    OptionError
        On an unknown method.

    Examples
    --------
    >>> round(compare_rdms([1, 2, 3], [1, 2, 2], "rho_a"), 12)
    0.75
    >>> compare_rdms([[1, 2, 3], [3, 2, 1]], [1, 2, 4], "spearman")
    array([[ 1.],
           [-1.]])
    """
    choose(method, METHODS, "method")
    one, two = _stack(a, "a"), _stack(b, "b")
    if one.shape[1] != two.shape[1]:
        raise MeasureError(
            f"a has {one.shape[1]} pairs ({count_stimuli(one.shape[1])} stimuli), b has {two.shape[1]} "
            f"({count_stimuli(two.shape[1])}); expected the same stimuli in the same order"
        )
    noise = stimulus_noise(stimulus_covariance, count_stimuli(one.shape[1])) if METHODS[method].whitened else None
    if noise is None and stimulus_covariance is not None:
        raise MeasureError(f"stimulus_covariance has no meaning for method={method!r}; take 'whitened_cosine'")
    first = [embed(row, method, noise, name) for row, name in _named(a, one, "a")]
    second = [embed(row, method, noise, name) for row, name in _named(b, two, "b")]
    table = score_many(first, second, method, noise)
    return float(table[0, 0]) if np.ndim(a) == np.ndim(b) == 1 else table


def shared_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return how many pairs each RDM of ``a`` shares with each of ``b``, shape (n_rdms_a, n_rdms_b).

    Examples
    --------
    >>> shared_pairs([1.0, 2.0, np.nan], [[1.0, np.nan, 1.0], [1.0, 2.0, 3.0]])
    array([[1, 2]])
    """
    one, two = (np.isfinite(np.atleast_2d(np.asarray(x, dtype=np.float64))).astype(np.float64) for x in (a, b))
    return np.rint(one @ two.T).astype(np.intp)


def midranks(values: npt.ArrayLike) -> Vector:
    """Return the ranks 1 ... n of a vector; ties share their mean rank, NaN stays NaN and is not counted.

    Examples
    --------
    >>> midranks([8, 6, 10, np.nan])
    array([ 2.,  1.,  3., nan])
    """
    given = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(given)
    inside = given if present.all() else given[present]
    ranks = np.empty(inside.size)
    fill_midranks(inside, np.argsort(inside), ranks)
    if inside is given:
        return ranks
    out = np.full(given.size, np.nan)
    out[present] = ranks
    return out


def embed(rdm: Vector, method: str, noise: StimulusNoise | None = None, name: str = "the RDM") -> Embedded:
    """Return an RDM ready to be compared.

    Parameters
    ----------
    rdm : ndarray, shape (n_pairs,)
        NaN where missing.
    method : str
        A name of :data:`METHODS`.
    noise : StimulusNoise, optional
        For the whitened methods; equal variances by default.
    name : str
        What messages call it.

    Raises
    ------
    MeasureError
        On infinite values, fewer than 3 pairs, a constant RDM (or a zero one, for cosine methods).
    """
    if np.isinf(rdm).any():
        raise MeasureError(f"{name} has infinite values; expected finite distances, NaN where missing")
    present = np.isfinite(rdm)
    if not present.all():
        _prepared(rdm[present], method, name)
        return Embedded(rdm, None)
    unit = _prepared(rdm, method, name)
    if METHODS[method].whitened:
        unit = coordinates(unit, noise or stimulus_noise(None, count_stimuli(rdm.size)))
    return Embedded(rdm, unit / _norm(unit, rdm.size, method))


def score(a: Embedded, b: Embedded, method: str, noise: StimulusNoise | None = None) -> tuple[float, int]:
    """Return the similarity of two RDMs, and the number of pairs it is computed on.

    Raises
    ------
    MeasureError
        When they have different stimuli, share fewer than 3 pairs, or are constant on the pairs that they
        share.
    """
    n = a.rdm.size
    if n != b.rdm.size:
        raise MeasureError(f"RDMs of {count_stimuli(n)} and {count_stimuli(b.rdm.size)} stimuli cannot be compared")
    if a.unit is not None and b.unit is not None:
        return _clip(float(a.unit @ b.unit)), n
    present = np.isfinite(a.rdm) & np.isfinite(b.rdm)
    used = int(np.count_nonzero(present))
    x, y = (_prepared(side.rdm[present], method, "an RDM, on the pairs that both have,") for side in (a, b))
    if not METHODS[method].whitened:
        return _clip(float(x @ y) / (_norm(x, used, method) * _norm(y, used, method))), used
    full = np.zeros((2, n))
    full[:, present] = x, y
    noise = noise or stimulus_noise(None, count_stimuli(n))
    return _clip(cosine_present(full[0], full[1], present, noise)), used


def score_many(
    first: Sequence[Embedded], second: Sequence[Embedded], method: str, noise: StimulusNoise | None = None
) -> Matrix:
    """Return the similarity of every RDM of one sequence with every one of another.

    Complete RDMs are one matrix product; those with missing pairs are compared pair by pair.

    Returns
    -------
    ndarray, shape (n_first, n_second)
    """
    table = np.full((len(first), len(second)), np.nan)
    left = {i: item.unit for i, item in enumerate(first) if item.unit is not None}
    right = {j: item.unit for j, item in enumerate(second) if item.unit is not None}
    if left and right and len({unit.size for unit in (*left.values(), *right.values())}) == 1:
        product = np.stack(list(left.values())) @ np.stack(list(right.values())).T
        table[np.ix_(list(left), list(right))] = np.clip(product, -1.0, 1.0)
    for i, j in np.argwhere(np.isnan(table)):
        table[i, j] = score(first[i], second[j], method, noise)[0]
    return table


def share_tied(rdm: Vector) -> float:
    """Return the share of the distances of an RDM that equal another one of them.

    Examples
    --------
    >>> share_tied(np.array([1.0, 2.0, 1.0, 3.0]))
    0.5
    """
    counts = np.unique(rdm[np.isfinite(rdm)], return_counts=True)[1]
    return float(counts[counts > 1].sum() / max(counts.sum(), 1))


def _prepared(values: Vector, method: str, name: str) -> Vector:
    """Return complete values (n_pairs,) ranked and centred as the method asks; raise where undefined."""
    kind = METHODS[method]
    if values.size < MIN_PAIRS:
        raise MeasureError(f"{name} has {values.size} pairs of stimuli; expected at least {MIN_PAIRS}")
    lowest, highest = float(values.min()), float(values.max())
    peak = max(-lowest, highest)
    if peak == 0:
        raise MeasureError(f"{name} is zero for all {values.size} pairs: no similarity is defined; check the responses")
    if kind.centred and highest - lowest <= (0.0 if kind.ranked else FLAT * peak):
        raise MeasureError(
            f"{name} is constant ({highest:g} for all {values.size} pairs): method={method!r} is not defined;"
            " take 'cosine' or 'whitened_cosine', or another distance"
        )
    values = midranks(values) if kind.ranked else values / peak
    return values - values.mean() if kind.centred else values


def _norm(prepared: Vector, n: int, method: str) -> float:
    """Return what prepared values are divided by."""
    if METHODS[method].tie_free_norm:
        return float(np.sqrt((float(n) ** 3 - n) / 12))
    return float(np.linalg.norm(prepared))


def _clip(value: float) -> float:
    """Return a score without the rounding that takes it past 1 in size."""
    return min(1.0, max(-1.0, value))


def _stack(rdms: npt.ArrayLike, name: str) -> Matrix:
    """Return RDMs as float64 (n_rdms, n_pairs)."""
    given = np.asarray(rdms, dtype=np.float64)
    if given.ndim not in (1, 2) or given.size == 0:
        raise MeasureError(f"{name} has shape {given.shape}; expected (n_pairs,) or (n_rdms, n_pairs)")
    stack = np.atleast_2d(given)
    count_stimuli(stack.shape[1])
    return stack


def _named(given: npt.ArrayLike, stack: Matrix, name: str) -> list[tuple[Vector, str]]:
    """Return every RDM of a stack with what messages call it."""
    if np.ndim(given) == 1:
        return [(stack[0], name)]
    return [(row, f"{name}[{i}]") for i, row in enumerate(stack)]
