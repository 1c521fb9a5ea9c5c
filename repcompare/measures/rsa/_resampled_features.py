"""Feature weights under draws of stimuli, as if the resampled patterns had been written out.

A draw with counts c repeats the pair (i, j) ``w_ij = c_i c_j`` times.  With x centred at its weighted mean, ``N = sum c``,
``s = sum_i c_i x_i^2`` and the weighted Laplacian ``L(wd) = diag(sum_j w_ij d_ij) - w o d``, the squared differences F have

``F'wF = N (x^2)'c(x^2) + s s' + 2 (x'cx) o (x'cx),  F'wd = diag(x' L(wd) x),  F'w1 = N s,  1'w1 = (N^2 - sum c^2) / 2``:

pairs of copies are rows of zeros, so that only the last sum knows that they are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from repcompare.measures.rsa._condensed import expand
from repcompare.measures.rsa._feature_weights import CONSTANT, Equations, inverse, path_of, weighted_distances
from repcompare.measures.rsa._methods import FLAT, MIN_PAIRS
from repcompare.measures.rsa._subsets import pairs_within
from repcompare.measures.rsa.reweighted import LEAST_TRAINED, Features, inner_parts

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def fit_drawn(features: Features, counts: Int64, data: Matrix, whos: Sequence[Int64]) -> list[Vector]:
    """Return the weights that :func:`repcompare.measures.rsa.reweighted.fit_weights` finds on a draw, per draw of subjects.

    Parameters
    ----------
    features : Features
    counts : ndarray of int, shape (k,)
        How often each stimulus was drawn.  Copies stay on one side of the folds that choose a penalty.
    data : ndarray, shape (n_subjects, n_pairs)
        Complete RDMs of the ``k`` stimuli.
    whos : sequence of ndarray of int, shape (n_subjects,)
        Counts of the subjects.

    Returns
    -------
    list of ndarray, shape (n_features,)
        NaN where an RDM that was drawn is constant, or too few stimuli were drawn to choose a penalty.
    """
    rows = np.flatnonzero(counts)
    count = counts[rows].astype(np.float64)
    undefined = [np.full(features.values.shape[1], np.nan) for _ in whos]
    if rows.size < (LEAST_TRAINED if len(features.penalties) > 1 else MIN_PAIRS):
        return undefined
    z, size = _standardised(data[:, pairs_within(rows, counts.size)], _pair_weights(count))
    share = np.array([who / max(1, who.sum()) for who in whos])
    usable = [bool(who.any() and np.isfinite(size[who > 0]).all()) for who in whos]
    share, z, size = share[usable], np.nan_to_num(z), np.nan_to_num(size)
    if not len(share):
        return undefined
    targets, values = share @ z, features.values[rows]
    chosen = _chosen(features, values, count, targets)
    path = _path(features, values, count, targets, features.penalties)[0]
    found = iter(path[chosen, :, np.arange(len(targets))] * (share @ size)[:, None])
    return [next(found) if fine else none for fine, none in zip(usable, undefined, strict=True)]


def _pair_weights(count: Vector) -> Vector:
    i, j = np.triu_indices(len(count), 1)
    return np.asarray(count[i] * count[j])


def _standardised(data: Matrix, w: Vector) -> tuple[Matrix, Vector]:
    """Return RDMs of weighted mean 0 and variance 1, and their standard deviations; NaN for constant ones."""
    centred = data - (data @ w / w.sum())[:, None]
    size = np.sqrt(np.square(centred) @ w / w.sum())
    size[size <= FLAT * np.abs(data).max(axis=1)] = np.nan
    return centred / size[:, None], size


def _chosen(features: Features, values: Matrix, count: Vector, targets: Matrix) -> Int64:
    """Return which penalty has the least weighted error on held-out stimuli, per target."""
    k, error = len(values), np.zeros((len(features.penalties), len(targets)))
    if len(features.penalties) == 1:
        return np.zeros(len(targets), dtype=np.int64)
    for train, test in inner_parts(k, [features.seed]):
        inside, held = targets[:, pairs_within(train, k)], targets[:, pairs_within(test, k)]
        weights, mean, centre = _path(features, values[train], count[train], inside, features.penalties)
        flat = np.moveaxis(weights, 0, 1).reshape(values.shape[1], -1)  # (n_features, n_penalties * n_targets)
        predicted = (weighted_distances(values[test], flat) - mean @ flat).reshape(-1, *error.shape)
        miss = np.square(predicted + centre - held.T[:, None])
        error += np.einsum("n,npt->pt", _pair_weights(count[test]), miss)
    return np.asarray(np.argmin(error, axis=0), dtype=np.int64)


def _path(
    features: Features, values: Matrix, count: Vector, targets: Matrix, penalties: Sequence[float]
) -> tuple[Matrix, Vector, Vector]:
    """Return weights (n_penalties, n_features, n_targets), weighted means of the columns of F and of the targets."""
    w = _pair_weights(count)
    centre = targets @ w / w.sum()
    centred = targets - centre[:, None]
    if not features.nonnegative and values.shape[1] > w.size:
        weights, mean = _dual(values, w, centred, penalties)
    else:
        found = drawn_equations(values, count, centred)
        weights, mean = path_of(found, penalties, features.nonnegative), found.mean
    return weights, mean, centre


def drawn_equations(values: Matrix, count: Vector, targets: Matrix) -> Equations:
    """Return the normal equations of a draw without forming F; with counts of 1, those of all pairs.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    count : ndarray, shape (n_stimuli,)
        At least 1.
    targets : ndarray, shape (n_targets, n_pairs)
        Of weighted mean 0.
    """
    total = count.sum()
    n = (total**2 - np.square(count).sum()) / 2
    x = values - count @ values / total
    squares = np.square(x)
    s = count @ squares
    gram = total * (squares.T * count) @ squares + 2 * np.square((x.T * count) @ x)
    gram = (gram + (1 - total**2 / n) * np.outer(s, s)) / n
    mean = total * s / n
    variance = np.diagonal(gram)
    scale = np.sqrt(np.where(variance > CONSTANT * mean**2, variance, np.inf))
    cross = np.empty((x.shape[1], len(targets)))
    for t, target in enumerate(targets):
        square = expand(target) * count * count[:, None]
        cross[:, t] = square.sum(axis=1) @ squares - np.einsum("ip,ip->p", x, square @ x)
    return Equations(gram / scale / scale[:, None], cross / n / scale[:, None], mean, scale)


def _dual(values: Matrix, w: Vector, targets: Matrix, penalties: Sequence[float]) -> tuple[Matrix, Vector]:
    """Return the ridge path from the rows of F, for more features than pairs."""
    i, j = np.triu_indices(len(values), 1)
    columns = np.square(values[i] - values[j])
    root, mean = np.sqrt(w / w.sum())[:, None], w @ columns / w.sum()
    columns = (columns - mean) * root
    variance = np.square(columns).sum(axis=0)
    scale = np.sqrt(np.where(variance > CONSTANT * mean**2, variance, np.inf))
    columns /= scale
    level, vectors = eigh(columns @ columns.T, driver="evd", check_finite=False, overwrite_a=True)
    rotated = vectors.T @ (targets.T * root)
    dual = np.stack([vectors @ (rotated * inverse(level, v)[:, None]) for v in penalties])
    return columns.T @ dual / scale[:, None], mean
