"""Intervals and p-values from prepared states: jackknife, half-sampling, permutations of stimuli."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from repcompare.errors import OptionError

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
N_HALF_SAMPLES = 200
JACKKNIFE_LIMIT = 200  # more stimuli than this: half-sampling costs less and covers as well


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of a named purpose, so that drawing more for one never changes another.

    Examples
    --------
    >>> bool(stream(0, "permutations").random() == stream(0, "permutations").random())
    True
    """
    return np.random.default_rng([seed, *name.encode()])


def subsets(n: int, seed: int) -> tuple[Literal["jackknife", "half-sampling"], list[Index]]:
    """Return which stimuli each resample keeps: all but one, or random halves without replacement.

    Parameters
    ----------
    n : int
        Number of stimuli.
    seed : int
        Of the halves.
    """
    if n <= JACKKNIFE_LIMIT:
        return "jackknife", [np.delete(np.arange(n), i) for i in range(n)]
    rng = stream(seed, "half-sampling")
    return "half-sampling", [np.sort(rng.permutation(n)[: n // 2]) for _ in range(N_HALF_SAMPLES)]


def interval(score: Float64, resampled: Float64, n: int, confidence: float) -> tuple[Float64, Float64]:
    """Confidence interval from the scores of :func:`subsets`.

    Parameters
    ----------
    score : ndarray
        Scores of all stimuli.
    resampled : ndarray, shape (n_resamples, ...)
        Scores of the subsets.
    n : int
        Number of stimuli.
    confidence : float
        Coverage in (0, 1).

    Returns
    -------
    low, high : ndarray
        Shape of ``score``.  Jackknife: pseudo-values and Student's t with n - 1 degrees of freedom (Tukey 1958).
        Half-sampling: variance times m / (n - m), m = floor(n / 2), and the normal quantile.
    """
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r}; expected a number between 0 and 1, such as 0.95")
    if n <= JACKKNIFE_LIMIT:
        pseudo = n * score - (n - 1) * resampled
        error = pseudo.std(axis=0, ddof=1) / np.sqrt(n)
        quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    else:
        m = n // 2
        error = np.sqrt(resampled.var(axis=0, ddof=1) * m / (n - m))
        quantile = stats.norm.ppf((1 + confidence) / 2)
    return score - quantile * error, score + quantile * error


def permutations(n: int, count: int, seed: int) -> list[Index]:
    """Return random orders of the stimuli; one order serves all sources, targets and measures."""
    rng = stream(seed, "permutations")
    return [rng.permutation(n) for _ in range(count)]


def permutation_pvalues(score: Float64, null: Float64, greater: bool) -> tuple[Float64, Float64]:
    """P-values of a table of scores, raw and corrected for taking the best of all its cells.

    Parameters
    ----------
    score : ndarray
        Observed scores; NaN cells get NaN.
    null : ndarray, shape (n_permutations, ...)
        Scores under the same permutations.
    greater : bool
        Whether more is better (similarities) or less (distances).

    Returns
    -------
    raw, corrected : ndarray
        (1 + #{null >= score}) / (1 + n_permutations); corrected against the maximum over cells of each permutation
        (Westfall & Young 1993; Nichols & Holmes 2002).
    """
    sign = 1.0 if greater else -1.0
    observed, null = sign * score, sign * null
    best = np.nanmax(null.reshape(len(null), -1), axis=1)
    raw = (1 + (null >= observed).sum(axis=0)) / (1 + len(null))
    corrected = (1 + (best[(slice(None),) + (None,) * score.ndim] >= observed).sum(axis=0)) / (1 + len(null))
    missing = np.isnan(score)
    return np.where(missing, np.nan, raw), np.where(missing, np.nan, corrected)
