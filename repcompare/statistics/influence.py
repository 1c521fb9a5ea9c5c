"""What single stimuli do to a score, and what is left of it above chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError

Float64 = npt.NDArray[np.float64]
FLAG = 5.0  # a stimulus that changes the score by more of these is named


@dataclass(frozen=True)
class Influence:
    """Debiased CKA without each stimulus.

    Attributes
    ----------
    score : float
        Of all stimuli.
    without : ndarray, shape (n_stimuli,)
        Score without each of them.
    sd : float
        Standard deviation of ``without``.
    standard_error : float
        Jackknife standard error of the score: sqrt((n - 1) / n * sum of squares of ``without`` about its mean).
    flagged : ndarray of int
        Stimuli whose removal changes the score by more than 5 ``sd``.
    """

    score: float
    without: Float64
    sd: float
    standard_error: float
    flagged: npt.NDArray[np.intp]


def leave_one_out(k: npt.ArrayLike, l: npt.ArrayLike) -> Influence:  # noqa: E741 - K and L of the formula
    """Debiased CKA without each stimulus, exactly, from the U-centred kernels of all of them.

    Parameters
    ----------
    k, l : array, shape (n_stimuli, n_stimuli)
        U-centred kernels of both systems: symmetric, zero diagonal, rows that sum to 0; any scale.

    Returns
    -------
    Influence
        Scores in [-1, 1].  With h = <K, L>, h_-i = h - 2 (n - 2) / (n - 3) sum_j K_ij L_ij, and the same for <K, K> and
        <L, L>: O(n^2) for all stimuli.

    Raises
    ------
    MeasureError
        For fewer than 5 stimuli, kernels that are not U-centred, or when one stimulus carries all variance of a system.

    References
    ----------
    Szekely & Rizzo 2014 (U-centring); Song et al. 2012.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(6, 3))
    >>> k = x @ x.T
    >>> np.fill_diagonal(k, 0)
    >>> s = k.sum(axis=0)
    >>> u = k - (s[:, None] + s) / 4 + s.sum() / 20
    >>> np.fill_diagonal(u, 0)
    >>> leave_one_out(u, 3 * u).without.round(6)
    array([1., 1., 1., 1., 1., 1.])
    """
    a, b = (_centred_kernel(m) for m in (k, l))
    if a.shape != b.shape:
        raise MeasureError(f"influence: {len(a)} stimuli against {len(b)}; expected the same stimuli on both sides")
    n = len(a)
    cross, own, other = (np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (a, a), (b, b)))
    factor = 2 * (n - 2) / (n - 3)
    left = own.sum() - factor * own, other.sum() - factor * other
    alone = np.flatnonzero((left[0] <= 1e-12 * own.sum()) | (left[1] <= 1e-12 * other.sum()))
    if len(alone):
        raise MeasureError(
            f"influence: nothing varies without stimulus {alone[0]}, so that no score is left; drop it, or add stimuli",
            rows=[int(i) for i in alone],
        )
    score = float(cross.sum() / np.sqrt(own.sum() * other.sum()))
    without = ((cross.sum() - factor * cross) / np.sqrt(left[0] * left[1])).clip(-1, 1)
    sd = float(without.std(ddof=1))
    flagged = np.flatnonzero(np.abs(without - score) > FLAG * max(sd, 1e-12))
    return Influence(score, without, sd, float(sd * (n - 1) / np.sqrt(n)), flagged)


def _centred_kernel(kernel: npt.ArrayLike) -> Float64:
    """Check that a kernel is U-centred; scale it to length 1."""
    k = np.asarray(kernel, dtype=np.float64)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or len(k) < 5:
        raise MeasureError(f"influence: kernel of shape {k.shape}; expected (n, n) with at least 5 stimuli")
    if not np.isfinite(k).all():
        raise MeasureError("influence: the kernel has missing or infinite values; expected finite numbers")
    norm = float(np.linalg.norm(k))
    if norm == 0:
        raise MeasureError("influence: the kernel is 0: nothing varies; expected responses that differ between stimuli")
    k = k / norm
    slack = 1e-5 if np.asarray(kernel).dtype == np.float32 else 1e-8
    if max(np.abs(k.sum(axis=1)).max(), np.abs(k.diagonal()).max(), np.abs(k - k.T).max()) > slack * np.sqrt(len(k)):
        raise MeasureError("influence: the kernel is not U-centred; expected zero diagonal and rows that sum to 0")
    return k


def calibrate(
    score: npt.ArrayLike,
    null: npt.ArrayLike,
    *,
    alpha: float = 0.05,
    maximum: float = 1.0,
    greater: bool = True,
) -> Float64:
    """Score above the floor that permutations set: (s - tau) / (s_max - tau).

    Parameters
    ----------
    score : array
        Observed scores, of any shape; NaN stays NaN.
    null : array, shape (n_permutations, ...)
        Scores under permuted stimuli.  For the best of several layers take the maximum over layers of both first, from the
        same permutations.
    alpha : float
        In (0, 1): share of unrelated systems whose calibrated score is positive.
    maximum : float
        Best possible score; 0 for distances.
    greater : bool
        Whether more is better; ``False`` for distances.

    Returns
    -------
    ndarray
        Shape of ``score``.  1 for the best score, 0 at tau, the ceil((1 - alpha) (n_permutations + 1))-th smallest of the
        permuted scores and the observed one together; negative below.  0 where tau is the best possible score itself.

    Raises
    ------
    OptionError
        For an alpha outside (0, 1), or too few permutations for it.

    References
    ----------
    Groeger et al. 2026 (calibrated similarity); Phipson & Smyth 2010 (the observed score among the permuted).

    Examples
    --------
    >>> null = np.arange(99) / 200
    >>> round(float(calibrate(0.8, null)), 3)
    0.623
    """
    s, drawn = np.asarray(score, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if not 0 < alpha < 1:
        raise OptionError(f"alpha={alpha!r}; expected a number between 0 and 1, such as 0.05")
    if drawn.ndim != s.ndim + 1 or drawn.shape[1:] != s.shape:
        raise OptionError(f"null has shape {drawn.shape}; expected (n_permutations, *{s.shape})")
    count = len(drawn)
    rank = int(np.ceil((1 - alpha) * (count + 1) - 1e-9))
    if rank > count:
        needed = int(np.ceil(1 / alpha - 1e-9)) - 1
        raise OptionError(f"{count} permutations cannot place alpha={alpha:g}; expected at least {needed}")
    sign = 1.0 if greater else -1.0
    together = np.sort(np.concatenate([sign * drawn, sign * s[None]]), axis=0)
    floor = together[rank - 1]
    room = sign * maximum - floor
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(room > 0, (sign * s - floor) / room, 0.0)
    return np.where(np.isnan(s), np.nan, out)
