"""Uncertainty of a score that has two sources: which stimuli and which subjects happened to be measured.

A bootstrap over both counts the interaction of subjects and stimuli three times; one over a single factor misses the other.
The three variances, from the same draws, combine to an estimate that is close to unbiased (Schuett, Kipnis, Diedrichsen &
Kriegeskorte 2023, eLife 12:e82566).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from repcompare.errors import choose

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Side = Literal["greater", "less", "two-sided"]
BLOCK = 4  # numbers that one step of the counter gives


def draw_counts(n: int, count: int, seed: int, name: str) -> Int64:
    """Return how often each of ``n`` things is drawn in each bootstrap sample, with replacement.

    Parameters
    ----------
    n : int
        Stimuli or subjects.
    count : int
        Number of samples.
    seed : int
        0 or more.
    name : str
        Of the purpose; different names give independent draws.

    Returns
    -------
    ndarray of int, shape (count, n)
        Rows sum to ``n``.  Row i depends on ``seed``, ``name`` and i alone (Philox, a counter-based generator).

    Examples
    --------
    >>> few, many = draw_counts(5, 2, 0, "stimuli"), draw_counts(5, 9, 0, "stimuli")
    >>> bool((few == many[:2]).all()), few.sum(axis=1).tolist()
    (True, [5, 5])
    """
    drawn = np.minimum((draw_uniform(n, count, seed, name) * n).astype(np.int64), n - 1)
    drawn += n * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.int64)


def draw_uniform(n: int, count: int, seed: int, name: str) -> Float64:
    """Return uniform numbers in [0, 1), shape (count, n); row i depends on ``seed``, ``name`` and i alone."""
    width = -(-n // BLOCK) * BLOCK  # whole steps of the counter for each row
    key = np.random.SeedSequence([seed, *name.encode()]).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random((count, width))[:, :n]


def bootstrap_variance(draws: npt.ArrayLike) -> Float64:
    """Return the variance over samples, of all that follows the first axis.

    Parameters
    ----------
    draws : array_like, shape (n_samples, ...)
        Samples in which any value is NaN are left out.

    Returns
    -------
    ndarray
        NaN with fewer than 2 samples.
    """
    given = np.asarray(draws, dtype=np.float64)
    kept = given[np.isfinite(given.reshape(len(given), -1)).all(axis=1)]
    if len(kept) < 2:
        return np.full(given.shape[1:], np.nan)
    return np.asarray(kept.var(axis=0, ddof=1))


def cross_validated_variance(draws: npt.ArrayLike) -> Float64:
    """Return the variance that infinitely many random assignments to folds would leave.

    Parameters
    ----------
    draws : array_like, shape (n_samples, n_assignments, ...)
        Scores, each cross-validated within its sample.

    Returns
    -------
    ndarray
        ``(n V_mean - V_single) / (n - 1)``, V_mean of the mean over the n assignments, V_single of one of them; that
        of the scores themselves where there is one assignment.

    Notes
    -----
    With a variance f between assignments ``V_single = V + f`` and ``V_mean = V + f / n``: the formula gives V.  It may be
    negative by chance where V is small.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal(size=(20000, 1)) + 2 * rng.normal(size=(20000, 2))
    >>> float(cross_validated_variance(draws).round(1))
    1.0
    """
    given = np.asarray(draws, dtype=np.float64)
    n = given.shape[1]
    mean = bootstrap_variance(given.mean(axis=1))
    if n == 1:
        return mean
    single = bootstrap_variance(given).mean(axis=0)
    return np.asarray((n * mean - single) / (n - 1))


def one_factor_variance(variance: npt.ArrayLike, n: int) -> Float64:
    """Return a bootstrap variance over ``n`` things times n / (n - 1)."""
    return np.asarray(np.asarray(variance, dtype=np.float64) * n / (n - 1))


def two_factor_variance(
    subjects: npt.ArrayLike,
    stimuli: npt.ArrayLike,
    both: npt.ArrayLike,
    sizes: tuple[int, int],
    form: Literal["small", "large"] = "small",
) -> Float64:
    """Return the variance of a score over new subjects and new stimuli.

    Parameters
    ----------
    subjects, stimuli, both : array_like
        Bootstrap variances v_s, v_p, v_d when subjects, stimuli or both are drawn, from the same draws.
    sizes : tuple of int
        Numbers of subjects S and of stimuli P.
    form : {"small", "large"}
        Finite-sample or limiting form.

    Returns
    -------
    ndarray
        small: ``S/(S-1) v_s + P/(P-1) v_p - PS/((P-1)(S-1)) (v_d - v_s - v_p)``, at least ``S/(S-1) v_s`` and
        ``P/(P-1) v_p``, at most v_d; large: ``2 (v_s + v_p) - v_d``, at least v_s and v_p, at most v_d.

    Examples
    --------
    >>> float(two_factor_variance(1.0, 2.0, 3.5, (11, 21)).round(4))
    2.6225
    >>> float(two_factor_variance(1.0, 2.0, 3.5, (11, 21), "large"))
    2.5
    """
    choose(form, ("small", "large"), "form")
    v_s, v_p, v_d = (np.asarray(v, dtype=np.float64) for v in (subjects, stimuli, both))
    factor_s, factor_p = (n / (n - 1) if form == "small" else 1.0 for n in sizes)
    raw = factor_s * v_s + factor_p * v_p - factor_s * factor_p * (v_d - v_s - v_p)
    return np.minimum(np.maximum(raw, np.maximum(factor_s * v_s, factor_p * v_p)), v_d)


def t_pvalue(estimate: npt.ArrayLike, variance: npt.ArrayLike, dof: int, side: Side) -> Float64:
    """Return the p-value of an estimate against 0, by Student's t.

    Parameters
    ----------
    estimate, variance : array_like
        Of one shape.
    dof : int
        Degrees of freedom.
    side : {"greater", "less", "two-sided"}
        The alternative.

    Returns
    -------
    ndarray
        Through the survival function: 1e-19 stays 1e-19.  An estimate of 0 without variance has t = 0 (two models that are
        one).  NaN where the variance is not a positive number otherwise.

    Examples
    --------
    >>> bool(0 < t_pvalue(30.0, 1.0, 20, "greater") < 1e-17)
    True
    """
    choose(side, ("greater", "less", "two-sided"), "side")
    x, v = np.broadcast_arrays(np.asarray(estimate, dtype=np.float64), np.asarray(variance, dtype=np.float64))
    t = np.full(x.shape, np.nan)
    np.divide(x, np.sqrt(np.maximum(v, 0.0)), out=t, where=v > 0)
    t = np.where((x == 0) & (v == 0), 0.0, t)
    if side == "two-sided":
        return np.asarray(2 * stats.t.sf(np.abs(t), dof))
    return np.asarray(stats.t.sf(t if side == "greater" else -t, dof))


def holm(pvalues: npt.ArrayLike) -> Float64:
    """Return p-values corrected so that the probability of any false discovery is controlled (Holm 1979).

    Parameters
    ----------
    pvalues : array_like
        Of one family; NaN is not counted and stays NaN.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    return _stepwise(pvalues, down=True)


def benjamini_hochberg(pvalues: npt.ArrayLike) -> Float64:
    """Return p-values corrected so that the share of false discoveries is controlled (Benjamini & Hochberg 1995).

    Parameters
    ----------
    pvalues : array_like
        Of one family; NaN is not counted and stays NaN.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    return _stepwise(pvalues, down=False)


def _stepwise(pvalues: npt.ArrayLike, *, down: bool) -> Float64:
    given = np.asarray(pvalues, dtype=np.float64)
    flat = given.ravel()
    known = np.flatnonzero(np.isfinite(flat))
    order = known[np.argsort(flat[known], kind="stable")]
    n = order.size
    place = np.arange(1, n + 1)
    out = np.full(flat.size, np.nan)
    if down:
        out[order] = np.minimum(np.maximum.accumulate(flat[order] * (n - place + 1)), 1.0)
    else:
        out[order] = np.minimum(np.minimum.accumulate((flat[order] * n / place)[::-1])[::-1], 1.0)
    return out.reshape(given.shape)
