"""What single stimuli and units do to a score, and what is left of it above chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.statistics.resampling import N_HALF_SAMPLES, stream

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
FLAG = 5.0  # a stimulus that changes the score by more of these is named
NOTHING = 1e-12  # a share of a squared length that rounding alone explains
BLOCK_BYTES = 64_000_000  # of a block of units
SELF_TERMS = ("debiased", "biased", "rv2", "stimulus_and_unit")


@dataclass(frozen=True)
class Influence:
    """A score without each stimulus, or without each unit.

    Attributes
    ----------
    score : float
        Of all of them.
    without : ndarray, shape (n,)
        Score without each of them.
    sd : float
        Standard deviation of ``without``.
    standard_error : float
        Of the score.  Jackknife: sqrt((n - 1) / n * sum of squares of ``without`` about its mean).
    flagged : ndarray of int
        Those whose removal changes the score by more than 5 ``sd``.
    method : {"leave-one-out", "half-sampling"}
        Whether ``without`` is exact, or estimated from random halves (exact for those that are flagged).
    """

    score: float
    without: Float64
    sd: float
    standard_error: float
    flagged: npt.NDArray[np.intp]
    method: str = "leave-one-out"


def summarise(score: float, without: Float64, resolution: float = NOTHING) -> Influence:
    """Jackknife standard error, and what stands out.

    Parameters
    ----------
    score : float
        Of all stimuli (or units).
    without : ndarray, shape (n,)
        Without each of them.
    resolution : float
        Changes of this size are rounding, in the units of the score.

    Returns
    -------
    Influence

    Examples
    --------
    >>> found = summarise(0.5, np.array([0.4, 0.5, 0.6]))
    >>> round(found.standard_error, 6)  # sqrt(2 / 3 * 0.02)
    0.11547
    """
    n = len(without)
    sd = float(without.std(ddof=1))
    flagged = np.flatnonzero(np.abs(without - score) > FLAG * max(sd, resolution))
    return Influence(score, without, sd, float(sd * (n - 1) / np.sqrt(n)), flagged)


def leave_each_out(score_of: Callable[[Index], float], n: int, resolution: float = NOTHING) -> Influence:
    """Any score without each stimulus (or unit), by computing it n times.

    Parameters
    ----------
    score_of : callable
        ``indices -> score`` of a subset.
    n : int
        Number of stimuli (or units).
    resolution : float
        As in :func:`summarise`.

    Returns
    -------
    Influence

    Raises
    ------
    MeasureError
        Where the score is not defined without one of them.

    Examples
    --------
    >>> values = np.array([0.0, 1.0, 2.0])
    >>> leave_each_out(lambda kept: values[kept].mean(), 3).without
    array([1.5, 1. , 0.5])
    """
    everything = np.arange(n)
    without = np.array([_left(score_of, everything, i) for i in range(n)])
    return summarise(float(score_of(everything)), without, resolution)


def halve(score_of: Callable[[Index], float], n: int, seed: int = 0, resolution: float = NOTHING) -> Influence:
    """Estimate any score without each stimulus from 200 random halves of the stimuli.

    Parameters
    ----------
    score_of : callable
        ``indices -> score`` of a subset.
    n : int
        Number of stimuli; leaving each out in turn costs n / 200 times as much.
    seed : int
        Of the halves.
    resolution : float
        As in :func:`summarise`.

    Returns
    -------
    Influence
        ``without`` is score - (m / n) (mean score of the halves with a stimulus - mean of those without it), where
        m = floor(n / 2): the leave-one-out value of a mean over stimuli, plus the noise of the draws.  For those that stand
        out it is the exact value.  ``standard_error`` is that of half-sampling, sqrt(m / (n - m)) sd of the halves.

    Examples
    --------
    >>> values = np.r_[np.zeros(399), 40.0]
    >>> found = halve(lambda kept: values[kept].mean(), 400)
    >>> found.flagged.tolist(), round(float(found.without[399]), 6)
    ([399], 0.0)
    """
    rng, m = stream(seed, "half-sampling"), n // 2
    kept = np.zeros((N_HALF_SAMPLES, n), dtype=bool)
    for row in kept:
        row[rng.permutation(n)[:m]] = True
    scores = np.array([score_of(np.flatnonzero(row)) for row in kept])
    times = kept.sum(axis=0)
    gap = scores @ kept / times - scores @ ~kept / (N_HALF_SAMPLES - times)
    score = float(score_of(np.arange(n)))
    rough = summarise(score, score - gap * m / n, resolution)
    without = rough.without.copy()
    for i in rough.flagged:
        without[i] = _left(score_of, np.arange(n), int(i))
    error = float(scores.std(ddof=1) * np.sqrt(m / (n - m)))
    return Influence(score, without, rough.sd, error, rough.flagged, "half-sampling")


def _left(score_of: Callable[[Index], float], everything: Index, i: int) -> float:
    try:
        return float(score_of(np.delete(everything, i)))
    except MeasureError as error:
        raise MeasureError(f"influence: without number {i} there is no score: {error}", rows=[i]) from error


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
    return summarise(score, ((cross.sum() - factor * cross) / np.sqrt(left[0] * left[1])).clip(-1, 1))


def leave_one_unit_out(
    x: npt.ArrayLike, k: npt.ArrayLike, target: npt.ArrayLike, estimator: str = "debiased"
) -> Influence:
    """Linear CKA without each unit of one system, exactly, from the centred kernels of all of them.

    Parameters
    ----------
    x : array, shape (n_stimuli, n_units)
        Responses, columns centred.
    k : array, shape (n_stimuli, n_stimuli)
        Kernel X X', centred as the estimator has it: U(K), H K H, or (``"rv2"``) that without its diagonal.
    target : array, shape (n_stimuli, n_stimuli)
        That of the other system, scaled to length 1 (``"stimulus_and_unit"``: so that the score is its product with ``k``
        over the root of the self-term of ``k``).
    estimator : {"debiased", "biased", "rv2", "stimulus_and_unit"}
        Of CKA.

    Returns
    -------
    Influence
        With h = <K, L>: h - x_a'L x_a, and for the self-term h_KK - 2 x_a'K x_a + e(x_a), e(x_a) the squared length of the
        centred x_a x_a': O(n^2 p) for all units.  ``"stimulus_and_unit"`` takes the units' own terms out and counts p - 1.

    Raises
    ------
    OptionError
        For another estimator.
    MeasureError
        For fewer than 2 units (``"stimulus_and_unit"``: 3), or when one unit carries all that varies.

    References
    ----------
    Song et al. 2012; Chun et al. 2025 (units).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(6, 3))
    >>> x -= x.mean(axis=0)
    >>> k = x @ x.T
    >>> found = leave_one_unit_out(x, k, k / np.linalg.norm(k), "biased")
    >>> less = np.delete(x, 0, axis=1) @ np.delete(x, 0, axis=1).T
    >>> bool(np.isclose(found.without[0], (k * less).sum() / np.linalg.norm(k) / np.linalg.norm(less)))
    True
    """
    choose(estimator, SELF_TERMS, "estimator")
    values, own, other = (np.asarray(a, dtype=np.float64) for a in (x, k, target))
    p = values.shape[1]
    by_units = estimator == "stimulus_and_unit"
    if p < 2 + by_units:
        raise MeasureError(f"influence: {p} units; expected at least {2 + by_units}, so that some are left")
    mine, crossed, single = _unit_terms(values, own, other, estimator)
    total = float(np.square(own).sum())
    left = total - 2 * mine + single
    alone = np.flatnonzero(left <= NOTHING * total)
    if len(alone):
        raise MeasureError(f"influence: nothing varies without unit {alone[0]}; drop it, or add units")
    h = float((own * other).sum())
    if not by_units:
        return summarise(h / np.sqrt(total), ((h - crossed) / np.sqrt(left)).clip(-1, 1))
    everything = total - float(single.sum())
    left = left - (single.sum() - single)
    if not (everything > 0 and (left > 0).all()):
        raise MeasureError(
            "influence: a self-term without single units is not positive; expected more units or stimuli"
        )
    # h / p over the root of everything / (p (p - 1)), and the same with a unit less
    score = h * np.sqrt((p - 1) / (p * everything))
    return summarise(float(score), (h - crossed) * np.sqrt((p - 2) / ((p - 1) * left)))


def _unit_terms(x: Float64, own: Float64, other: Float64, estimator: str) -> tuple[Float64, Float64, Float64]:
    """x_a'K x_a, x_a'L x_a and the squared length of the centred x_a x_a', for every unit a."""
    n, p = x.shape
    mine, crossed = np.empty(p), np.empty(p)
    width = max(16, BLOCK_BYTES // (8 * n))
    for start in range(0, p, width):
        block = slice(start, start + width)
        for out, kernel in ((mine, own), (crossed, other)):
            out[block] = np.einsum("ia,ia->a", x[:, block], kernel @ x[:, block])
    squares = np.square(x)
    s2, s4 = squares.sum(axis=0), np.square(squares).sum(axis=0)
    single = s2**2
    if estimator != "biased":
        single -= s4
    if estimator in ("debiased", "stimulus_and_unit"):
        single += s2**2 / ((n - 1) * (n - 2)) - 2 * s4 / (n - 2)
    return mine, crossed, single


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
    floor = permutation_floor(score, null, alpha=alpha, greater=greater)
    return above_floor(score, floor, maximum=maximum, greater=greater)


def permutation_floor(
    score: npt.ArrayLike, null: npt.ArrayLike, *, alpha: float = 0.05, greater: bool = True
) -> Float64:
    """Return tau of :func:`calibrate`, shape of ``score``."""
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
    return np.asarray(sign * together[rank - 1])


def above_floor(score: npt.ArrayLike, floor: npt.ArrayLike, *, maximum: float, greater: bool = True) -> Float64:
    """Return (s - floor) / (maximum - floor); NaN where the score is, 0 where the floor is the best possible score."""
    s, tau = np.asarray(score, dtype=np.float64), np.asarray(floor, dtype=np.float64)
    room = (maximum - tau) if greater else (tau - maximum)
    above = (s - tau) if greater else (tau - s)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(room > 0, above / room, 0.0)
    return np.where(np.isnan(s), np.nan, out)
