"""Least squares of RDMs on squared differences of features, from products of the features alone.

The (n_pairs, n_features) matrix F of squared differences is not formed for the normal equations: for columns centred over
the stimuli, with ``s_p = sum_i x_ip^2`` and K stimuli, the centred Gram matrix of F is
``K (X^2)'(X^2) + 2 (X'X) o (X'X) - (K + 1) / (K - 1) s s'`` and ``F'd = diag(X' (diag(D 1) - D) X)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from repcompare.measures.rsa._condensed import expand, pair_rows
from repcompare.measures.rsa._least_squares import solve_normal

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

BLOCK = 2**20  # squared differences held at a time
CONSTANT = 1e-12  # variance below this share of the mean square of a feature's squared differences is rounding


def weighted_distances(values: Matrix, weights: Matrix) -> Matrix:
    """Return ``sum_p w_p (x_ip - x_jp)^2`` of every pair.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    weights : ndarray, shape (n_features,) or (n_features, n_targets)

    Returns
    -------
    ndarray, shape (n_pairs,) or (n_pairs, n_targets)

    Examples
    --------
    >>> weighted_distances(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]), np.array([1.0, 10.0]))
    array([11.,  4., 11.])
    """
    return np.concatenate([block @ weights for block in _squared_differences(values)])


def _squared_differences(values: Matrix) -> Iterator[Matrix]:
    """Yield blocks of rows of F."""
    i, j = np.triu_indices(len(values), 1)
    step = max(1, BLOCK // values.shape[1])
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        yield np.square(values[i[part]] - values[j[part]])


@dataclass(frozen=True)
class Equations:
    """Normal equations of centred targets on the centred columns of F, these scaled to unit variance.

    Attributes
    ----------
    gram : ndarray, shape (n_features, n_features)
        Correlations of the columns.
    cross : ndarray, shape (n_features, n_targets)
        Covariances of the scaled columns with the targets.
    mean, scale : ndarray, shape (n_features,)
        Of the columns; the scale of a constant column is infinite.
    """

    gram: Matrix
    cross: Matrix
    mean: Vector
    scale: Vector


def normal_equations(values: Matrix, targets: Matrix) -> Equations:
    """Return the normal equations without forming F.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    targets : ndarray, shape (n_targets, n_pairs)
        Centred over pairs.

    Returns
    -------
    Equations
    """
    k, n = len(values), targets.shape[1]
    x = values - values.mean(axis=0)
    squares = np.square(x)
    s = squares.sum(axis=0)
    mean = 2 * s / (k - 1)  # K s / n
    gram = squares.T @ squares
    gram *= k
    product = x.T @ x
    product *= product
    product *= 2
    gram += product
    gram -= ((k + 1) / (k - 1)) * np.outer(s, s)
    variance = np.diagonal(gram) / n
    scale = np.sqrt(np.where(variance > CONSTANT * mean**2, variance, np.inf))
    gram /= n
    gram /= scale
    gram /= scale[:, None]
    cross = np.empty((x.shape[1], len(targets)))
    for t, target in enumerate(targets):
        square = expand(target)
        cross[:, t] = square.sum(axis=1) @ squares - np.einsum("ip,ip->p", x, square @ x)
    return Equations(gram, cross / n / scale[:, None], mean, scale)


def weight_path(
    values: Matrix, targets: Matrix, penalties: Sequence[float], nonnegative: bool
) -> tuple[Matrix, Vector]:
    """Return the weights for every penalty, and the means of the columns of F.

    Ridge takes one eigendecomposition for all penalties and targets, of whichever Gram matrix is smaller: of the columns
    of F or of its rows.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    targets : ndarray, shape (n_targets, n_pairs)
        Centred over pairs.
    penalties : sequence of float
        In units of the variance of a column; non-negative weights are found fastest from the largest to the smallest.
    nonnegative : bool
        Keep the weights at 0 or above.

    Returns
    -------
    weights : ndarray, shape (n_penalties, n_features, n_targets)
    mean : ndarray, shape (n_features,)
    """
    if not nonnegative and values.shape[1] > targets.shape[1]:
        return _dual_path(values, targets, penalties)
    found = normal_equations(values, targets)
    return path_of(found, penalties, nonnegative), found.mean


def path_of(found: Equations, penalties: Sequence[float], nonnegative: bool) -> Matrix:
    """Return the weights (n_penalties, n_features, n_targets) that solve normal equations, which are used up."""
    scaled = _nonnegative_path(found, penalties) if nonnegative else _ridge_path(found.gram, found.cross, penalties)
    return scaled / found.scale[:, None]


def _ridge_path(gram: Matrix, cross: Matrix, penalties: Sequence[float]) -> Matrix:
    """Return the weights (n_penalties, n_features, n_targets) by one eigendecomposition."""
    level, vectors = eigh(gram, driver="evd", check_finite=False, overwrite_a=True)
    rotated = vectors.T @ cross
    return np.stack([vectors @ (rotated * inverse(level, v)[:, None]) for v in penalties])


def path_present(
    values: Matrix, rows: Matrix, penalties: Sequence[float], nonnegative: bool
) -> tuple[Matrix, Matrix, Vector]:
    """Return one set of weights for RDMs with missing pairs: their normal equations, each on its own pairs, are summed.

    The columns of F are formed on the pairs that any RDM has; their sums over a subset of the pairs have no shorter form.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    rows : ndarray, shape (n_rdms, n_pairs)
        NaN where missing.
    penalties : sequence of float
    nonnegative : bool
        As in :func:`weight_path`.

    Returns
    -------
    weights : ndarray, shape (n_penalties, n_features)
    mean : ndarray, shape (n_rdms, n_features)
        Of the columns of F over the pairs of each RDM.
    centre : ndarray, shape (n_rdms,)
        Mean of each RDM.
    """
    present = np.isfinite(rows)
    used = np.flatnonzero(present.any(axis=0))
    i, j = pair_rows(used, len(values))
    inside, n = present[:, used].astype(np.float64), present.sum(axis=1)
    columns = np.square(values[i] - values[j])
    mean = inside @ columns / n[:, None]
    offset = n @ mean / n.sum()
    columns -= offset
    inner = mean - offset  # small beside the columns: no cancellation in what follows
    counts = inside.sum(axis=0)
    variance = (counts @ np.square(columns) - n @ np.square(inner)) / n.sum()
    scale = np.sqrt(np.where(variance > CONSTANT * offset**2, variance, np.inf))
    columns /= scale
    centre = np.nanmean(rows, axis=1)
    target = np.where(present, rows - centre[:, None], 0.0).sum(axis=0)[used]
    back = None
    if not nonnegative and len(scale) > len(used):  # the same problem in as many dimensions as there are pairs
        columns, back = _rotated(columns)
        inner = inside @ columns / n[:, None]
    else:
        inner = inner / scale
    gram = (columns.T * counts) @ columns - (inner.T * n) @ inner
    gram, cross = gram / n.sum(), (columns.T @ target / n.sum())[:, None]
    if nonnegative:
        found = _nonnegative_path(Equations(gram, cross, offset, scale), penalties)[..., 0]
    else:
        found = _ridge_path(gram, cross, penalties)[..., 0]
    weights = found if back is None else found @ back.T
    return weights / scale, mean, centre


def _rotated(columns: Matrix) -> tuple[Matrix, Matrix]:
    """Return rows (n, p) in the r <= n dimensions that they span, and the way back (p, r)."""
    level, vectors = eigh(columns @ columns.T, driver="evd", check_finite=False, overwrite_a=True)
    kept = level > 10 * len(level) * np.finfo(np.float64).eps * level[-1]
    size = np.sqrt(level[kept])
    return vectors[:, kept] * size, columns.T @ (vectors[:, kept] / size)


def inverse(level: Vector, penalty: float) -> Vector:
    """Return 1 / (level + penalty), 0 for null directions without a penalty."""
    total = level + penalty
    floor = 10 * len(level) * np.finfo(np.float64).eps * level[-1]
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > floor)


def _nonnegative_path(found: Equations, penalties: Sequence[float]) -> Matrix:
    scaled = np.zeros((len(penalties), *found.cross.shape))
    for t in range(found.cross.shape[1]):
        start = None
        for v, penalty in enumerate(penalties):
            start = solve_normal(found.gram, found.cross[:, t], ridge=penalty, nonnegative=True, start=start)
            scaled[v, :, t] = start
    return scaled


def _dual_path(values: Matrix, targets: Matrix, penalties: Sequence[float]) -> tuple[Matrix, Vector]:
    """Return the ridge path from the (n_pairs, n_pairs) Gram matrix of the rows of F, by blocks of features."""
    n, p = targets.shape[1], values.shape[1]
    step = max(1, BLOCK // n)
    kernel, mean, scale = np.zeros((n, n)), np.empty(p), np.empty(p)
    i, j = np.triu_indices(len(values), 1)

    def block(part: slice) -> Matrix:
        return np.asarray(np.square(values[i, part] - values[j, part]), dtype=np.float64)

    slices = [slice(start, min(start + step, p)) for start in range(0, p, step)]
    for part in slices:
        columns = block(part)
        mean[part] = columns.mean(axis=0)
        columns -= mean[part]
        variance = np.square(columns).mean(axis=0)
        scale[part] = np.sqrt(np.where(variance > CONSTANT * mean[part] ** 2, variance, np.inf))
        columns /= scale[part]
        kernel += columns @ columns.T
    level, vectors = eigh(kernel / n, driver="evd", check_finite=False, overwrite_a=True)
    rotated = vectors.T @ targets.T / n
    dual = np.stack([vectors @ (rotated * inverse(level, v)[:, None]) for v in penalties])
    weights = np.empty((len(penalties), p, len(targets)))
    for part in slices:
        columns = (block(part) - mean[part]) / np.square(scale[part])
        weights[:, part] = columns.T @ dual
    return weights, mean
