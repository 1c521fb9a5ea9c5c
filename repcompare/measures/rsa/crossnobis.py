"""Crossnobis: squared distances as products between independent partitions, unbiased, negative where noise makes them so.

``G`` below is the second moment of the patterns, free of the noise within partitions; ``d_ij = (G_ii + G_jj - 2 G_ij) / P``.
Nothing is ever clipped or square-rooted.

References
----------
Walther et al. 2016, NeuroImage 137:188; Diedrichsen, Provost & Zareamoghaddam 2016, arXiv:1607.01371.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.kernels.crossnobis import mean_cells, partition_sums
from repcompare.measures._blas import add_gram
from repcompare.measures.rsa._condensed import Vector, condense
from repcompare.measures.rsa._covariance import Matrix, Noise, Rows, Term
from repcompare.measures.rsa._trials import Trials, Values, require_complete, require_partitions
from repcompare.measures.rsa.noise import average

WEIGHTINGS = ("partition", "trial")
BLOCK = 2**18  # values of a block of cell means: it should stay in the cache
SINGLE_FROM = 2**28  # multiply-adds from which float32 data are whitened and multiplied in float32
GRAM_BYTES = 2**26  # of one block of products between cells


def crossnobis(data: Trials, noise: Noise | Sequence[Noise] | None, weighting: str = "partition") -> Vector:
    """Return crossnobis distances, divided by the number of units, of trials without missing values.

    Parameters
    ----------
    data : Trials
        K stimuli, M partitions, P units.
    noise : Noise, sequence of Noise, optional
        One for all, or one per partition in the sorted order of their labels; the identity by default.
    weighting : {"partition", "trial"}
        Products of partition means, or of all trials from different partitions.

    Returns
    -------
    ndarray, shape (K (K - 1) / 2,)
        NaN for pairs that fewer than 2 partitions hold.

    Raises
    ------
    MeasureError
        With fewer than 2 partitions, or an incomplete design and one noise per partition.
    """
    require_partitions(data)
    if noise is not None and not isinstance(noise, Noise):
        if weighting == "trial":
            raise OptionError("weighting='trial' has no form with one noise per partition; take weighting='partition'")
        return _of_partition_noises(data, noise)
    if data.independent or weighting == "trial":
        return _trial_weighted(data, noise)
    if data.counts.all():
        return distances(second_moment(data, noise), data.values.shape[1])
    return _incomplete(data, noise)


def distances(moment: Matrix, n_units: int) -> Vector:
    """Return ``(G_ii + G_jj - G_ij - G_ji) / P`` of pairs."""
    size = np.diagonal(moment)
    return condense(np.add.outer(size, size) - moment - moment.T) / n_units


def second_moment(data: Trials, noise: Noise | None) -> Matrix:
    """Return ``G = (T T' - sum_m Y_m Y_m') / (M (M - 1))`` of a complete design, shape (K, K), stimulus means removed.

    Computed as ``shared / M - between / (M (M - 1))``, see :func:`partition_products`.
    """
    shared, between = partition_products(data, noise)
    m = len(data.partitions)
    moment: Matrix = shared / m - between / (m * (m - 1))
    return moment


def partition_products(data: Trials, noise: Noise | None) -> tuple[Matrix, Matrix]:
    """Return ``T Omega T' / M`` and ``sum_m Y_m Omega Y_m' - T Omega T' / M`` of a complete design, both (K, K).

    The second is the product of M - 1 contrasts between partitions: one partition less to multiply, and no difference of
    two large matrices.
    """
    k, m = data.counts.shape
    p = data.values.shape[1]
    views: tuple[Callable[[Rows], Rows], ...] = (lambda rows: rows[:k], lambda rows: rows[k:].reshape(k, -1))
    if noise is not None:
        terms = terms_of(lambda dtype: data.contrasts(slice(None), dtype), data, noise)
        products = [np.asarray(sum(t.gram(view) for t in terms)) for view in views]
        return products[0], products[1]
    dtype = _precision(data.values, k * k * m * p)
    lower = [np.zeros((k, k), dtype=dtype) for _ in views]
    parts = list(_blocks(p, k * m))
    room = np.empty(k * m * parts[0].stop, dtype=dtype)
    for part in parts:
        rows = data.contrasts(part, dtype, room)
        for view, sums in zip(views, lower, strict=True):
            add_gram(view(rows), sums)
    both = [np.tril(v).astype(np.float64) + np.tril(v, -1).T for v in lower]
    return both[0], both[1]


def terms_of(rows: Callable[[npt.DTypeLike], Rows], data: Trials, noise: Noise) -> list[Term]:
    """Return rows (n, P), made in the precision that is asked for, in the geometry of the noise.

    Float32 where there is enough to multiply and the noise lets it be; float64 otherwise.
    """
    k, p = len(data.names), data.values.shape[1]
    if noise.takes_single and _precision(data.values, data.counts.size * p * p) is np.float32:
        found = rows(np.float32)
        terms = noise.terms(found)
        if noise.single_is_enough(terms, found[:k]):
            return terms
    return noise.terms(rows(np.float64))


def _precision(values: Values, work: int) -> type[np.float32 | np.float64]:
    return np.float32 if values.dtype == np.float32 and work >= SINGLE_FROM else np.float64


def _blocks(length: int, rows: int) -> Iterator[slice]:
    step = max(16, BLOCK // rows)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _incomplete(data: Trials, noise: Noise | None) -> Vector:
    """Return distances from the partitions that hold both stimuli: one Gram matrix of all cells, block by block."""
    k, m = data.counts.shape
    p = data.values.shape[1]
    if noise is None:
        cells = data.means(slice(None)).reshape(-1, p)
        terms = [Term(cells, cells, 1.0)]
    else:
        terms = terms_of(lambda dtype: data.means(slice(None), dtype).reshape(-1, p), data, noise)
    own = np.empty((k, m, m))
    for i in range(k):
        rows = slice(i * m, i * m + m)
        own[i] = sum(t.rows(rows).gram(lambda v: v) for t in terms)
    square = np.full((k, k), np.nan)
    step = max(1, GRAM_BYTES // (8 * m * m * k))
    for first in range(0, k, step):
        some = np.arange(first * m, min(first + step, k) * m)
        gram = np.asarray(sum(t.cross(some) for t in terms)).reshape(-1, m, k, m)
        partition_sums(np.ascontiguousarray(gram), own, data.counts > 0, first, square)
    found: Vector = condense(np.triu(square, 1) + np.triu(square, 1).T) / p
    return found


def _trial_weighted(data: Trials, noise: Noise | None) -> Vector:
    """Return distances from all products of trials of different partitions, as products of group sums.

    ``s_ij = (T_i T_j - sum_m S_mi S_mj) / (t_i t_j - sum_m N_mi N_mj)``.  Sums are taken around the mean c of all trials;
    what that changes where the design is not balanced, ``c`` times means over the pairs of trials, is added again.
    """
    k, p = len(data.names), data.values.shape[1]
    group, stimulus, partition, counts = _groups(data)
    sums = np.empty((len(counts) + 1, p))
    mean_cells(data.values, group, 0, p, sums[:-1])
    sums[-1] = counts @ sums[:-1] / counts.sum()
    sums[:-1] -= sums[-1]
    sums[:-1] *= counts[:, None]
    totals = np.bincount(stimulus, counts, minlength=k)
    expected = np.outer(totals, totals)
    terms = [Term(sums, sums, 1.0)] if noise is None else noise.terms(sums)
    starts = np.searchsorted(stimulus, np.arange(k))
    products = np.asarray(sum(t.gram(lambda rows: np.add.reduceat(rows[:-1], starts, axis=0)) for t in terms))
    centre = np.asarray(sum(t.cross(np.array([len(counts)])) for t in terms))[0, :-1]  # c' Omega S of each group
    linear = np.bincount(stimulus, centre, minlength=k)[:, None] * totals  # over the pairs, what c adds to trials of i
    for rows in _by_partition(partition):
        block = np.ix_(stimulus[rows], stimulus[rows])
        products[block] -= sum(t.rows(rows).gram(lambda v: v) for t in terms)
        expected[block] -= np.outer(counts[rows], counts[rows])
        linear[block] -= np.outer(centre[rows], counts[rows])
    moment = np.divide(products + linear + linear.T, expected, out=np.full((k, k), np.nan), where=expected > 0)
    return distances(moment, p)


def _groups(data: Trials) -> tuple[npt.NDArray[np.intp], ...]:
    """Return each trial's group (one stimulus in one partition), and the stimulus, partition and size of each group."""
    m = len(data.partitions)
    cell, group, counts = np.unique(data.cell, return_inverse=True, return_counts=True)
    return group.reshape(-1), cell // m, cell % m, counts


def _by_partition(partition: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Return the groups of each partition."""
    order = np.argsort(partition, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(partition[order])) + 1)


def _of_partition_noises(data: Trials, noises: Sequence[Noise]) -> Vector:
    """Return the mean over pairs of partitions of products in the inverse of their mean covariance."""
    require_complete(data, "one noise per partition")
    m = len(data.partitions)
    if len(noises) != m:
        raise MeasureError(f"{len(noises)} noises for {m} partitions; expected one for each, in their sorted order")
    cells = data.means(slice(None))[:, np.argsort(data.partitions)]  # whatever the order of the rows
    out = np.zeros((len(data.names),) * 2)
    for a, b in combinations(range(m), 2):
        out += average([noises[a], noises[b]]).gram(cells[:, a], cells[:, b])
    return distances(out / (m * (m - 1) / 2), data.values.shape[1])


def stimulus_noise(data: Trials, noise: Noise | None) -> Matrix:
    """Return the covariance of the noise between stimuli, ``(1/P) sum_m (Y_m - mean) Omega (Y_m - mean)' / (M - 1)``.

    Partition means over stimuli are removed from both, so that a pattern of a partition counts as no noise: the result is
    the covariance up to terms that distances do not see.

    Parameters
    ----------
    data : Trials
        A complete design.
    noise : Noise, optional

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
    """
    require_partitions(data)
    require_complete(data, "the covariance between stimuli")
    between = partition_products(data, noise)[1]
    covariance: Matrix = between / ((len(data.partitions) - 1) * data.values.shape[1])
    return covariance


def covariance_of_estimates(
    moment: Matrix, stimulus_covariance: Matrix, n_partitions: int, n_units: int, trace: float | None = None
) -> Matrix:
    """Return the covariance of crossnobis distances of a complete design.

    ``(4/M) (C U S U' C' o X) / P^2 + 2 / (M (M - 1)) (X o X) tr(S^2) / P^2`` with ``X = C Sigma_k C'``.

    Parameters
    ----------
    moment : ndarray, shape (K, K)
        ``U Sigma_P U'`` of the true patterns U; after whitening the second moment (the cross-validated one as an estimate).
    stimulus_covariance : ndarray, shape (K, K)
        Of the noise of one partition's means.
    n_partitions, n_units : int
    trace : float, optional
        ``tr(Sigma_P^2)``; P by default, as after whitening.

    Returns
    -------
    ndarray, shape (n_pairs, n_pairs)

    References
    ----------
    Diedrichsen, Provost & Zareamoghaddam 2016, arXiv:1607.01371.
    """
    xi = _contrasted(np.asarray(stimulus_covariance, dtype=np.float64))
    signal = _contrasted(np.asarray(moment, dtype=np.float64))
    m, p = n_partitions, n_units
    spread = float(p) if trace is None else trace
    covariance: Matrix = (4 / m * signal * xi + 2 / (m * (m - 1)) * spread * xi**2) / p**2
    return covariance


def _contrasted(square: Matrix) -> Matrix:
    """Return ``C A C'`` over pairs of stimuli, shape (n_pairs, n_pairs)."""
    i, j = np.triu_indices(len(square), 1)
    half = square[i] - square[j]
    return np.asarray(half[:, i] - half[:, j])


def generalised(values: Values, data: Trials, noise: Noise | None) -> npt.NDArray[np.float64]:
    """Return distances between times t and t', ``(G_ii + G_jj - G_ij - G_ji)(t, t') / P``, of a complete design.

    Parameters
    ----------
    values : ndarray, shape (n_trials, n_units, n_times)
    data : Trials
        The labels of the trials (its own values are not used).
    noise : Noise, optional

    Returns
    -------
    ndarray, shape (n_times, n_times, n_pairs)
        Symmetric in its times; its diagonal is crossnobis at each time.
    """
    require_partitions(data)
    require_complete(data, "time generalisation")
    k, m = data.counts.shape
    p, times = values.shape[1:]
    terms: list[list[tuple[float, Rows, Rows]]] = []
    for t in range(times):
        cells = data.with_values(np.ascontiguousarray(values[:, :, t])).means(slice(None)).reshape(-1, p)
        white = [(1.0, cells)] if noise is None else _images(noise, cells)
        terms.append([(sign, v.reshape(k, m, -1).sum(axis=1), v.reshape(k, -1)) for sign, v in white])
    out = np.empty((times, times, k * (k - 1) // 2))
    for a in range(times):
        for b in range(a, times):
            pairs = zip(terms[a], terms[b], strict=True)
            moment = sum(x[0] * (x[1] @ y[1].T - x[2] @ y[2].T) for x, y in pairs)
            out[a, b] = out[b, a] = distances(np.asarray(moment) / (m * (m - 1)), p)
    return out


def _images(noise: Noise, rows: Rows) -> list[tuple[float, Rows]]:
    """Return rows whose signed products are ``X Omega Y'`` also between different X and Y."""
    if noise.given is not None:
        return [(1.0, noise.whiten(rows))]
    return [(t.sign, t.left) for t in noise.terms(rows)]
