"""Noise ceilings of a group of RDMs, under any draw of stimuli and subjects.

The upper ceiling is the mean score of the pool of all subjects, the lower one that of each subject with the pool of the
others; repeats of a subject are left out together.  What is pooled depends on the method (Nili et al. 2014; Schuett et al.
2023): normalised RDMs for cosine, pearson and the whitened methods, in the norm of the method, where ``upper`` is the best
mean score that any RDM can have; mid-ranks for ``rho_a``, the same; mid-ranks in units of their norm for ``spearman``, the
best among RDMs without ties; mid-ranks for Kendall's tau, which is a good but not a proven choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from repcompare.kernels.resampled import pooled_scores
from repcompare.measures.rsa._resampled import TAUS, Float64, Sample, ordered, tau, tie_free


def ceilings(sample: Sample, subjects: Sequence[int], counts: npt.ArrayLike) -> tuple[Float64, Float64]:
    """Return every subject's score with the pool of the other subjects, and with the pool of all.

    Parameters
    ----------
    sample : Sample
        Of a stack that holds the subjects.
    subjects : sequence of int
        Positions of the subjects in the stack.
    counts : array_like, shape (n_subjects,)
        How often each subject was drawn.

    Returns
    -------
    lower, upper : ndarray, shape (n_subjects,)
        NaN for subjects that were not drawn, and ``lower`` where no other subject was.  The ceilings are the means over
        subjects, weighted by ``counts``.
    """
    b = np.asarray(counts, dtype=np.float64)
    return masked(*_ceilings(sample, subjects, b), b)


def pool_scores(sample: Sample, subjects: Sequence[int], counts: npt.ArrayLike) -> Float64:
    """Return the score of every subject (n_subjects,) with the pool of those drawn, be it among them or not."""
    return _ceilings(sample, subjects, np.asarray(counts, dtype=np.float64), everyone=True)[1]


def _ceilings(sample: Sample, subjects: Sequence[int], b: Float64, everyone: bool = False) -> tuple[Float64, Float64]:
    if sample.stack.method in TAUS:
        return _of_taus(sample, subjects, b, everyone)
    if sample.ranks.size:
        return _of_ranks(sample, subjects, b)
    return of_gram(sample.unit.take(subjects, axis=0).take(subjects, axis=1), b)


def masked(lower: Float64, upper: Float64, counts: Float64) -> tuple[Float64, Float64]:
    """Return ceilings (..., n_subjects) with NaN for subjects that were not drawn, or drawn alone."""
    absent = counts == 0
    alone = np.count_nonzero(counts, axis=-1, keepdims=True) < 2
    return np.where(absent | alone, np.nan, lower), np.where(absent, np.nan, upper)


def mean_ceiling(values: Float64, counts: npt.ArrayLike) -> float:
    """Return the mean over subjects drawn; NaN where one of them has no value."""
    b = np.asarray(counts, dtype=np.float64)
    return float(b[b > 0] @ values[b > 0] / b.sum())


def of_gram(products: Float64, counts: Float64) -> tuple[Float64, Float64]:
    """Return the same from the inner products (..., n_subjects, n_subjects) of normalised RDMs, all subjects included.

    With ``t = U b`` and ``T = b'U b``: ``(t_s - b_s) / sqrt(T - 2 b_s t_s + b_s^2)`` and ``t_s / sqrt(T)``.

    Examples
    --------
    >>> lower, upper = of_gram(np.array([[1.0, 0.6], [0.6, 1.0]]), np.ones(2))
    >>> lower.round(6).tolist(), upper.round(6).tolist()
    ([0.6, 0.6], [0.894427, 0.894427])
    """
    t = (products @ counts[..., None])[..., 0]
    total = np.sum(counts * t, axis=-1, keepdims=True)
    others = total - 2 * counts * t + counts**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (t - counts) / np.sqrt(np.where(others > 0, others, np.nan)), t / np.sqrt(
            np.where(total > 0, total, np.nan)
        )


def _of_ranks(sample: Sample, subjects: Sequence[int], b: Float64) -> tuple[Float64, Float64]:
    """Pool the ranks and rank the pool again."""
    rho = sample.stack.method == "rho_a"
    own = np.diagonal(sample.gram)[list(subjects)]
    # divided by the norm relative to the first subject's: exactly 1 where the RDMs have no ties, and sums stay exact
    shares = b if rho else b * np.sqrt(own[0] / own)
    dots, norms = np.full((2, 2, b.size), np.nan)
    if np.isfinite(shares).all():
        whole = bool(np.all(shares == np.rint(shares)))
        pooled_scores(sample.ranks[list(subjects)], sample.weights, shares, whole, dots, norms)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dots * tie_free(sample.size) if rho else dots / np.sqrt(norms * own)
    lower, upper = np.where(norms > 0, found, np.nan)
    return lower, upper


def _of_taus(sample: Sample, subjects: Sequence[int], b: Float64, everyone: bool) -> tuple[Float64, Float64]:
    """Pool the ranks; the order of the pool is all that counts."""
    lower, upper = np.full((2, b.size), np.nan)
    if min(sample.orders[r].n for r in subjects) == 1:
        return lower, upper
    pool = b @ sample.ranks[list(subjects)]
    drawn = np.flatnonzero(b).tolist()
    every = ordered(pool, sample.weights)
    for s in range(b.size) if everyone else drawn:
        mine = sample.orders[subjects[s]]
        upper[s] = tau(every, mine, sample.weights, sample.stack.method)
        if len(drawn) > 1 and b[s] > 0:
            rest = ordered(pool - b[s] * sample.ranks[subjects[s]], sample.weights)
            lower[s] = tau(rest, mine, sample.weights, sample.stack.method)
    return lower, upper
