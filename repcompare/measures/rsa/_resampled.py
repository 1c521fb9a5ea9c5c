"""Scores of RDMs under draws of stimuli, as if the resampled RDMs had been built.

A draw is a vector of counts c; the pair (i, j) then counts ``w_ij = c_i c_j`` times and pairs of copies of one stimulus do
not exist.  With J the values of all RDMs at the pairs drawn, the inner products of all resampled RDMs are

- cosine: ``(J o w) J'``; pearson: the same after subtracting the weighted mean;
- rank methods: of weighted mid-ranks, the mean rank of a tie group of weight W after cum being ``cum + (W + 1) / 2``;
- whitened, stimulus variances s: with ``q_i = sum_j c_j d_ij / s_j``, ``t = sum_j c_j / s_j``,
  ``a_i = 2 s_i + s_i^2 t - 2 c_i s_i`` and ``z_i = c_i s_i / a_i``,
  ``[ sum w_ij a_ij b_ij / (s_i s_j) - sum_i z_i q^a_i q^b_i + (z'q^a)(z'q^b) / (1 + sum z) ] / 2``:
  the inverse of V on the pairs drawn has this closed form because V acts on a pair only through its two stimuli.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, choose
from repcompare.kernels.resampled import (
    agreement,
    dense_codes,
    fill_weighted,
    resampled_ranks,
    select_pairs,
    sorted_codes,
    stimulus_sums,
    weighted_means,
)
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._whitened import stimulus_noise

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

DOTS = ("pearson", "cosine", "whitened_cosine", "whitened_pearson")
RANKED = ("rho_a", "spearman")
TAUS = ("kendall_tau_a", "kendall_tau_b")
RESAMPLED = (*RANKED, *DOTS, *TAUS)
MIN_DISTINCT = 3  # stimuli, and pairs
FLAT = 1e-12  # variation below this share of the largest value is rounding
STEEP = 0.1  # a_i below this share of its positive part: the sum is solved with pivots


@dataclass(frozen=True)
class Stack:
    """RDMs of the same stimuli, ready to be resampled.

    Attributes
    ----------
    method : str
        One of :data:`RESAMPLED`.
    k : int
        Number of stimuli.
    values : ndarray, shape (n_pairs, n_rdms)
        Divided by ``scale``; their mean over pairs subtracted where the method does so.
    scale : ndarray, shape (n_rdms,)
        Largest absolute value of each RDM.
    present : ndarray of bool, shape (n_pairs,)
        The pairs that every RDM has.
    variances : ndarray, shape (k,)
        Of the noise of the stimuli, for the whitened methods.
    codes : ndarray of int32, shape (n_rdms, n_pairs)
        Ranks without gaps, for the rank methods; empty for the others.
    n_codes : ndarray of int, shape (n_rdms,)
        Number of different values.
    """

    method: str
    k: int
    values: Float64
    scale: Float64
    present: npt.NDArray[np.bool_]
    variances: Float64
    codes: npt.NDArray[np.int32]
    n_codes: Int64


@dataclass(frozen=True)
class Sample:
    """A stack under one draw of stimuli.

    Attributes
    ----------
    stack : Stack
    weights : ndarray, shape (n_drawn,)
        Repetitions of the pairs drawn.
    gram : ndarray, shape (n_rdms, n_rdms)
        Inner products; of twice the centred ranks for the rank methods.  NaN for an RDM that is constant on the draw (zero,
        for cosines).  Empty for Kendall's tau.
    ranks : ndarray, shape (n_rdms, n_drawn)
        Twice the centred mid-ranks, for the rank methods.
    """

    stack: Stack
    weights: Float64
    gram: Float64
    ranks: Float64

    @property
    def size(self) -> float:
        """Number of resampled pairs."""
        return float(self.weights.sum())

    @cached_property
    def unit(self) -> Float64:
        """Inner products (n_rdms, n_rdms) of RDMs of norm 1."""
        size = np.sqrt(self.gram.diagonal())
        return np.asarray(self.gram / size / size[:, None])

    @cached_property
    def orders(self) -> list[Ordered]:
        """Every RDM as Kendall's tau needs it."""
        return [ordered(row, self.weights) for row in self.ranks]


@dataclass(frozen=True)
class Ordered:
    """An RDM's ranks without gaps, their sorting order, their number, and the weight of pairs of pairs that are tied."""

    codes: npt.NDArray[np.int32]
    order: Int64
    n: int
    tied: float


def stack_rdms(rdms: npt.ArrayLike, method: str, variances: npt.ArrayLike | None = None) -> Stack:
    """Return RDMs ready to be resampled.

    Parameters
    ----------
    rdms : array_like, shape (n_rdms, n_pairs)
        Condensed; NaN where missing.  Pairs missing in one RDM are left out of all.
    method : str
        One of :data:`RESAMPLED`.
    variances : array_like, shape (k,) or (k, k), optional
        Noise of the stimuli, for the whitened methods; of a matrix, the diagonal counts: a covariance is not defined for a
        stimulus that is drawn twice.

    Raises
    ------
    OptionError
        On an unknown method.
    MeasureError
        On infinite values, fewer than 3 common pairs, an RDM that is constant (zero, for cosines), or missing pairs with
        a whitened method.
    """
    choose(method, RESAMPLED, "method")
    given = np.array(rdms, dtype=np.float64, ndmin=2)
    k = count_stimuli(given.shape[1])
    if np.isinf(given).any():
        raise MeasureError("the RDMs have infinite values; expected finite distances, NaN where missing")
    present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(given).all(axis=0))
    if int(present.sum()) < MIN_DISTINCT:
        raise MeasureError(f"the RDMs share {int(present.sum())} pairs of stimuli; expected at least {MIN_DISTINCT}")
    if method.startswith("whitened") and not present.all():
        raise MeasureError(
            f"{int((~present).sum())} pairs are missing; method={method!r} needs complete RDMs to be resampled; "
            "take 'pearson' or 'rho_a', or leave out the stimuli concerned"
        )
    noise = stimulus_noise(variances, k)
    values = np.where(present, given, 0.0)
    scale = np.abs(values).max(axis=1)
    values /= np.where(scale > 0, scale, 1.0)[:, None]
    if "pearson" in method:
        values -= values[:, present].mean(axis=1, keepdims=True)
    codes = np.zeros((len(given), given.shape[1] if method in (*RANKED, *TAUS) else 0), dtype=np.int32)
    n_codes = np.zeros(len(given), dtype=np.int64)
    for r in range(len(given) if codes.size else 0):
        dense = np.empty(int(present.sum()), dtype=np.int32)
        n_codes[r] = sorted_codes(given[r, present], dense, np.empty(dense.size, dtype=np.int64))
        codes[r, present] = dense
    return Stack(method, k, np.ascontiguousarray(values.T), scale, present, noise.variances, codes, n_codes)


def resample(stack: Stack, counts: npt.ArrayLike) -> Sample | None:
    """Return a stack under one draw of stimuli, or None where fewer than 3 distinct stimuli or pairs were drawn.

    Parameters
    ----------
    stack : Stack
    counts : array_like, shape (k,)
        How often each stimulus was drawn.
    """
    count = np.asarray(counts, dtype=np.float64)
    rows = np.flatnonzero(count)
    most = rows.size * (rows.size - 1) // 2
    positions, weights = np.empty(most, dtype=np.int64), np.empty(most)
    n = select_pairs(rows, count, stack.present, positions, weights)
    if min(rows.size, n) < MIN_DISTINCT:
        return None
    positions, weights = positions[:n], weights[:n]
    if stack.method in DOTS:
        return Sample(stack, weights, _gram(stack, count, rows, positions, weights), np.empty((0, 0)))
    ranks = np.empty((len(stack.codes), n))
    resampled_ranks(stack.codes, stack.n_codes, positions, weights, ranks)
    gram = np.empty((0, 0))
    if stack.method in RANKED:
        roots = ranks * np.sqrt(weights)
        gram = _undefined(roots @ roots.T, 0.0)
    return Sample(stack, weights, gram, ranks)


def scores(sample: Sample, first: Sequence[int], second: Sequence[int]) -> Float64:
    """Return the similarity of some RDMs of a stack with others under a draw.

    Returns
    -------
    ndarray, shape (n_first, n_second)
        In [-1, 1]; NaN where an RDM is constant on the draw.
    """
    method = sample.stack.method
    if method in TAUS:
        taus = [[tau(sample.orders[i], sample.orders[j], sample.weights, method) for j in second] for i in first]
        return np.asarray(taus, dtype=np.float64).reshape(len(first), len(second))
    table = sample.gram * tie_free(sample.size) if method == "rho_a" else sample.unit
    return np.asarray(table.take(first, axis=0).take(second, axis=1))


def tie_free(n: float) -> float:
    """Return what turns the product of twice-centred ranks of ``n`` pairs into ``rho_a``."""
    return 3.0 / (n**3 - n)


def ordered(ranks: Float64, weights: Float64) -> Ordered:
    """Return an RDM as Kendall's tau needs it, from ``ranks`` (n,): whole numbers in its order."""
    codes, order = np.empty(ranks.size, dtype=np.int32), np.empty(ranks.size, dtype=np.int64)
    n = dense_codes(ranks, codes, order)
    group = np.bincount(codes, weights=weights, minlength=n)
    return Ordered(codes, order, n, float((group * (group - 1)).sum() / 2))


def tau(a: Ordered, b: Ordered, weights: Float64, method: str) -> float:
    """Return Kendall's tau of two RDMs whose pairs are repeated ``weights`` (n,) times; NaN where one is constant."""
    if min(a.n, b.n) == 1:
        return float("nan")
    discordant, both = agreement(a.codes, a.n, b.codes, b.n, b.order, weights)
    total = weights.sum()
    every = total * (total - 1) / 2
    difference = every - a.tied - b.tied + both - 2 * discordant
    scale = every if method == "kendall_tau_a" else np.sqrt((every - a.tied) * (every - b.tied))
    return float(difference / scale)


def _gram(stack: Stack, count: Float64, rows: Int64, positions: Int64, weights: Float64) -> Float64:
    """Return the inner products (n_rdms, n_rdms) of the dot methods."""
    values, whitened = stack.values, stack.method.startswith("whitened")
    means = np.zeros(values.shape[1])
    if "pearson" in stack.method:
        weighted_means(values, positions, weights, means)
    scaled = weights
    if whitened:
        scaled = np.empty(weights.size)
        select_pairs(rows, count / stack.variances, stack.present, np.empty_like(positions), scaled)
    drawn = np.empty((positions.size, values.shape[1]))
    fill_weighted(values, positions, np.sqrt(scaled), means, drawn)
    plain = _undefined(drawn.T @ drawn, float(scaled.sum()) * FLAT**2)
    if not whitened:
        return plain
    s, c = stack.variances[rows], count[rows]
    sums = np.empty((rows.size, values.shape[1]))
    stimulus_sums(values, positions, rows, c / s, means, sums)
    return np.asarray(0.5 * (plain - _shared(sums, c, s)))


def _shared(q: Float64, c: Float64, s: Float64) -> Float64:
    """Return what the stimuli that pairs share take off the inner products: ``sum_i c_i s_i q^a_i deg^b_i``.

    ``deg`` solves ``a_i deg_i + sum_j c_j s_j deg_j = q_i``.  One stimulus in about half of a draw makes its ``a_i`` small,
    zero or negative; then the system is solved with pivots.
    """
    positive = 2 * s + s**2 * np.sum(c / s)
    a = positive - 2 * c * s
    if np.min(a / positive) < STEEP:
        degrees = np.linalg.solve(np.diag(a) + c * s, q)
        product = (q * (c * s)[:, None]).T @ degrees
        return np.asarray((product + product.T) / 2)
    z = c * s / a
    scaled = q * np.sqrt(z)[:, None]
    sums = z @ q
    return np.asarray(scaled.T @ scaled - np.outer(sums, sums) / (1 + z.sum()))


def _undefined(gram: Float64, floor: float) -> Float64:
    """Return inner products with NaN for RDMs whose squared norm is at most ``floor``."""
    flat = np.diagonal(gram) <= floor
    if flat.any():
        gram[flat] = np.nan
        gram[:, flat] = np.nan
    return gram
