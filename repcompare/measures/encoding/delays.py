"""Delayed and convolved features of a time series, and their kernels, without ever forming the delayed features.

Row i of a delayed feature is row i - d of the feature: the response lags behind the stimulus.  Delays stay inside a run;
rows before its start are 0, so features should have a mean near 0 over the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding.moments import Moments

Double = npt.NDArray[np.float64]
Runs = npt.NDArray[Any] | Sequence[Any] | None
FAR_FROM_ZERO = 3  # SDs: counts and rectified activations lie nearer


@dataclass(frozen=True)
class Lags:
    """Weights of past rows.

    Attributes
    ----------
    basis : ndarray of shape (n_basis, n_lags)
        ``out[b, i] = sum_d basis[b, d] x[i - d]``: one row of zeros and a one per delay, or response functions.
    runs : ndarray of shape (n,), or None
        Run of each row; None for a single run.
    """

    basis: Double
    runs: Index | None

    @property
    def longest(self) -> int:
        """Largest delay with a weight."""
        return int(np.flatnonzero(self.basis.any(axis=0)).max())

    def within(self, segments: Index | None) -> Lags:
        """Return lags that do not reach across the stretches (n,) of a recording either.

        Raises
        ------
        MeasureError
            When there are other numbers of rows.
        """
        if segments is None or self.runs is None:
            return self if segments is None else replace(self, runs=_run_codes(segments))
        if segments.size != self.runs.size:
            raise MeasureError(
                f"runs have {self.runs.size} labels; expected one for each of {segments.size} rows; where rows are chosen "
                "from a recording, give it a label 'run' in place of runs="
            )
        new = np.flatnonzero((np.diff(segments) != 0) | (np.diff(self.runs) != 0)) + 1
        return replace(self, runs=np.repeat(np.arange(new.size + 1), np.diff(np.r_[0, new, segments.size])))

    def features(self, x: Array) -> Double:
        """Return (n, n_basis * p) of x (n, p), basis by basis."""
        return convolved_features(x, self.basis, self.runs)

    def kernel(self, kernel: Double) -> Double:
        """Return the kernel (n, n) of the convolved features from that of the features."""
        return convolved_kernel(kernel, self.basis, self.runs)

    def notes(self, x: Array) -> tuple[str, ...]:
        """Say where features (n, p) lie so far from 0, which precedes every run, that its start is a step."""
        values = x.astype(np.float64)
        far = np.abs(values.mean(axis=0)) > FAR_FROM_ZERO * values.std(axis=0)
        count = int((far & values.any(axis=0)).sum())
        if not count:
            return ()
        return (
            f"far_from_zero: {count} of {far.size} features lie more than {FAR_FROM_ZERO} SD from 0, and rows before a run "
            "count as 0: every run starts with a step; subtract their means first",
        )


def make_lags(delays: Any = None, hrf: Any = None, runs: Runs = None) -> Lags | None:
    """Return checked lags; None where neither delays nor response functions are asked for.

    Raises
    ------
    OptionError
        For both at once, runs without either, delays that are not distinct integers >= 0, or weights that are not finite.

    Examples
    --------
    >>> make_lags(delays=[1, 3]).basis
    array([[0., 1., 0., 0.],
           [0., 0., 0., 1.]])
    """
    if delays is None and hrf is None:
        if runs is not None:
            raise OptionError("runs= says where delays stop; give delays= or hrf= too, or leave runs out")
        return None
    if delays is not None and hrf is not None:
        raise OptionError("delays= and hrf= exclude each other; expected one of them")
    return Lags(_unit_lags(delays) if hrf is None else _weights(hrf), None if runs is None else _run_codes(runs))


def _unit_lags(delays: Any) -> Double:
    found = np.atleast_1d(np.asarray(delays))
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu" or found.min() < 0:
        raise OptionError(f"delays={delays!r}; expected whole numbers of rows >= 0, such as delays=[1, 2, 3, 4]")
    if np.unique(found).size < found.size:
        raise OptionError(f"delays={delays!r}; expected each delay once")
    basis = np.zeros((found.size, int(found.max()) + 1))
    basis[np.arange(found.size), found] = 1.0
    return basis


def _weights(hrf: Any) -> Double:
    try:
        basis = np.atleast_2d(np.asarray(hrf, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"hrf={hrf!r}; expected weights per lag, (n_lags,) or (n_basis, n_lags), such as hrf=canonical_hrf(tr=2.0)"
        ) from error
    if basis.ndim != 2 or not np.isfinite(basis).all() or not basis.any(axis=1).all():
        raise OptionError(
            f"hrf has shape {np.shape(hrf)}; expected finite weights (n_lags,) or (n_basis, n_lags), no row of zeros; "
            f"see canonical_hrf"
        )
    return basis


def _run_codes(runs: Any) -> Index:
    """Return run numbers (n,) from labels; a run must be one stretch of rows."""
    labels = np.asarray(runs)
    if labels.ndim != 1 or labels.size == 0:
        raise OptionError(f"runs have shape {labels.shape}; expected one label per row")
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    names = labels[starts]
    if np.unique(names).size < names.size:
        raise MeasureError(
            "runs come back after another run; expected the rows of a run together, in time order; sort the rows"
        )
    return np.repeat(np.arange(starts.size), np.diff(np.r_[starts, labels.size])).astype(np.intp)


def _segments(runs: Runs, n: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of every run."""
    if runs is None:
        yield 0, n
        return
    codes = _run_codes(runs)
    if codes.size != n:
        raise MeasureError(f"runs have {codes.size} labels; expected one for each of {n} rows")
    edges = np.flatnonzero(np.r_[True, np.diff(codes) != 0, True])
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def convolve(values: Array, weights: Double, runs: Runs = None) -> Double:
    """Return ``out[i] = sum_d weights[d] values[i - d]`` within runs, along axis 0.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        Rows in time order.
    weights : ndarray of shape (n_lags,)
        From lag 0.
    runs : array-like of shape (n,), optional
        Run of each row.

    Examples
    --------
    >>> convolve(np.array([1.0, 0.0, 2.0, 5.0]), np.array([0.0, 1.0, 0.5]), runs=[0, 0, 0, 1])
    array([0. , 1. , 0.5, 0. ])
    """
    out = np.zeros(values.shape)
    for start, stop in _segments(runs, len(values)):
        for d in np.flatnonzero(weights):
            if d < stop - start:
                out[start + d : stop] += weights[d] * values[start : stop - d]
    return out


def delay_features(x: Array, delays: Sequence[int] | Array, runs: Runs = None) -> Double:
    """Return features at several delays, side by side.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Rows in time order.
    delays : sequence of int
        In rows, >= 0.
    runs : array-like of shape (n,), optional
        Run of each row; rows before the start of a run are 0.

    Returns
    -------
    ndarray of shape (n, n_delays * p)
        All features at the first delay, then at the second, ...

    Raises
    ------
    OptionError, MeasureError
        For delays that are not whole numbers >= 0, or runs that do not match.

    Examples
    --------
    >>> delay_features(np.array([[1.0], [2.0], [3.0]]), [0, 1])
    array([[1., 0.],
           [2., 1.],
           [3., 2.]])
    """
    return convolved_features(x, _unit_lags(delays), runs)


def convolved_features(x: Array, weights: Array, runs: Runs = None) -> Double:
    """Return features convolved with each response function of ``weights`` (n_basis, n_lags), (n, n_basis * p)."""
    return np.hstack([convolve(x, row, runs) for row in _weights(weights)])


def delayed_kernel(kernel: Double, delays: Sequence[int] | Array, runs: Runs = None) -> Double:
    """Return the kernel of delayed features from that of the features.

    Parameters
    ----------
    kernel : ndarray of shape (n, n)
        ``x x'``, or any kernel of the rows.
    delays : sequence of int
        In rows, >= 0.
    runs : array-like of shape (n,), optional
        Run of each row.

    Returns
    -------
    ndarray of shape (n, n)
        ``sum_d kernel[i - d, j - d]``, where terms that leave the run of i or of j are 0: ``z z'`` of
        ``z = delay_features(x, delays, runs)``.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> z = delay_features(x, [0, 1])
    >>> np.array_equal(delayed_kernel(x @ x.T, [0, 1]), z @ z.T)
    True
    """
    return convolved_kernel(kernel, _unit_lags(delays), runs)


def convolved_kernel(kernel: Double, weights: Array, runs: Runs = None) -> Double:
    """Return the kernel of convolved features from that of the features.

    Parameters
    ----------
    kernel : ndarray of shape (n, n)
        ``x x'``, or any kernel of the rows.
    weights : ndarray of shape (n_lags,) or (n_basis, n_lags)
        Response functions from lag 0.
    runs : array-like of shape (n,), optional
        Run of each row.

    Returns
    -------
    ndarray of shape (n, n)
        ``sum_{d, e} h_d h_e kernel[i - d, j - e]``, summed over response functions.

    Examples
    --------
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> z = convolve(x, np.array([0.5, 1.0]))
    >>> np.allclose(convolved_kernel(x @ x.T, [0.5, 1.0]), z @ z.T)
    True
    """
    out = np.zeros(kernel.shape)
    for row in _weights(weights):
        out += convolve(convolve(kernel, row, runs).T, row, runs).T
    return out


def delayed_moments(x: Array, y: Array, rows: Index, delays: Sequence[int] | Array, runs: Runs = None) -> Moments:
    """Return the sums of products of delayed features over some rows, from one lagged product per difference of delays.

    Parameters
    ----------
    x, y : ndarray of shape (n, p), (n, t)
        Rows in time order.
    rows : ndarray of shape (n_rows,)
        Rows to sum over, sorted: a training set, a test set, a piece.  Delayed values may come from outside them.
    delays : sequence of int
        In rows, >= 0.
    runs : array-like of shape (n,), optional
        Run of each row.

    Returns
    -------
    Moments
        Of ``delay_features(x, delays, runs)[rows]`` and ``y[rows]``; ``xx`` costs n p^2 per difference of delays in
        place of n p^2 n_delays^2.

    Notes
    -----
    ``sum_{i=a}^{b-1} x_{i-d} x_{i-e}'`` is the same sum for delays d-1 and e-1 with one row more at the start and one
    less at the end.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y, rows = rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), np.arange(2, 7)
    >>> z = delay_features(x, [1, 2])
    >>> np.allclose(delayed_moments(x, y, rows, [1, 2]).xx, z[rows].T @ z[rows])
    True
    """
    lags = np.flatnonzero(_unit_lags(delays).any(axis=0))
    place = [int(np.flatnonzero(np.asarray(delays) == d)[0]) for d in lags]
    values, target = x.astype(np.float64), y.astype(np.float64)
    p, t, k = x.shape[1], y.shape[1], lags.size
    xx, xy, sums = np.zeros((k, p, k, p)), np.zeros((k, p, t)), np.zeros((k, p))
    for low, a, b in _stretches(rows, runs, len(x)):
        padded = np.vstack([np.zeros((lags[-1], p)), values[low:b]])  # row i of the data is row i - shift here
        shift = low - int(lags[-1])
        for one, d in zip(place, lags, strict=True):
            block = padded[a - d - shift : b - d - shift]
            sums[one] += block.sum(axis=0)
            xy[one] += block.T @ target[a:b]
        _add_lagged(xx, padded, (a - shift, b - shift), (lags, place))
    held = target[rows]
    square = xx.reshape(k * p, k * p)
    return Moments(rows.size, sums.ravel(), held.sum(axis=0), square, xy.reshape(k * p, t), (held**2).sum(axis=0))


def _add_lagged(xx: Double, padded: Double, span: tuple[int, int], where: tuple[Index, list[int]]) -> None:
    """Add the products of all pairs of delays over one stretch; pairs of one difference follow from the first."""
    (a, b), (lags, place) = span, where
    pairs: dict[int, list[tuple[int, int]]] = {}
    for i in range(lags.size):
        for j in range(i, lags.size):
            pairs.setdefault(int(lags[j] - lags[i]), []).append((i, j))
    for group in pairs.values():
        d, e = lags[group[0][0]], lags[group[0][1]]
        found = padded[a - d : b - d].T @ padded[a - e : b - e]
        for i, j in group:
            steps = min(int(lags[i] - d), b - a)  # rows gained at the start and lost at the end
            d2, e2 = lags[i], lags[j]
            head = padded[a - d2 : a - d2 + steps].T @ padded[a - e2 : a - e2 + steps]
            tail = padded[b - d - steps : b - d].T @ padded[b - e - steps : b - e]
            found = found + head - tail if steps == lags[i] - d else padded[a - d2 : b - d2].T @ padded[a - e2 : b - e2]
            d, e = d2, e2
            xx[place[i], :, place[j]] += found
            if i != j:
                xx[place[j], :, place[i]] += found.T


def _stretches(rows: Index, runs: Runs, n: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start of the run, first row, last row + 1) of every stretch of consecutive rows inside a run."""
    for start, stop in _segments(runs, n):
        inside = rows[(rows >= start) & (rows < stop)]
        if inside.size:
            for part in np.split(inside, np.flatnonzero(np.diff(inside) != 1) + 1):
                yield start, int(part[0]), int(part[-1]) + 1


def check_gap(folds: Folds, lags: Lags) -> None:
    """Raise where a training row is closer to a test row of its run than the longest delay.

    The ``MeasureError`` names the fold and the distance; folds whose rows were shuffled by force are not checked.
    """
    if "time_shuffle" in folds.forced:
        return
    runs = np.zeros(folds.n, dtype=np.intp) if lags.runs is None else lags.runs
    if runs.size != folds.n:
        raise MeasureError(f"runs have {runs.size} labels; expected one for each of {folds.n} rows")
    far = 2 * folds.n + lags.longest
    for f, (train, test) in enumerate(folds.splits):
        times, at = runs[test] * far + test, runs[train] * far + train  # other runs are out of reach
        after = np.searchsorted(times, at)
        right, left = times[np.minimum(after, times.size - 1)], times[np.maximum(after - 1, 0)]
        nearest = int(np.minimum(np.abs(right - at), np.abs(left - at)).min())
        if nearest <= lags.longest:
            raise MeasureError(
                f"fold {f}: a training row is {nearest} rows from a test row of its run, and the longest delay is "
                f"{lags.longest}; expected a gap of at least {lags.longest} rows; give gap={lags.longest} with blocks, "
                f"or hold out whole runs (groups=) and name them in runs= or a label 'run'"
            )


def canonical_hrf(
    tr: float,
    *,
    duration: float = 32.0,
    peak: float = 6.0,
    undershoot: float = 16.0,
    ratio: float = 6.0,
    normalise: bool = True,
) -> Double:
    """Return the canonical haemodynamic response: a gamma density minus a share of a later one.

    Parameters
    ----------
    tr : float
        Seconds between rows, > 0.
    duration : float
        Seconds that the curve lasts.
    peak, undershoot : float
        Shape parameters of the two gamma densities of scale 1 s (their modes are one second earlier).
    ratio : float
        Height of the first over that of the second.
    normalise : bool
        Divide by the sum of the weights.

    Returns
    -------
    ndarray of shape (n_lags,)
        Weights at 0, tr, 2 tr ... <= duration.  Raises ``OptionError`` unless all numbers are > 0 and duration >= tr.

    References
    ----------
    Friston et al. 1998, NeuroImage 7:30; Glover 1999, NeuroImage 9:416.

    Examples
    --------
    >>> weights = canonical_hrf(1.0)
    >>> weights.shape, int(weights.argmax()), int(weights.argmin())
    ((33,), 5, 16)
    """
    from scipy.stats import gamma

    if not min(tr, duration, peak, undershoot, ratio) > 0 or duration < tr:
        raise OptionError(
            f"tr={tr}, duration={duration}, peak={peak}, undershoot={undershoot}, ratio={ratio}; expected all > 0 and "
            f"duration >= tr"
        )
    times = np.arange(int(duration / tr + 1e-9) + 1) * tr
    curve = gamma.pdf(times, peak) - gamma.pdf(times, undershoot) / ratio
    return np.asarray(curve / curve.sum() if normalise else curve, dtype=np.float64)
