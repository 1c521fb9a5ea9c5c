"""Linear decoders fitted to training rows: one factorisation serves every set of labels.

With the principal scores T = Xc U of the centred training rows, T'T = diag(lam), and the class sums Z = Y'T, ridge
regression on indicators predicts ``pi + (x U) diag(1 / (lam + alpha)) Z'``; the Woodbury identity turns the same numbers
into linear discriminant analysis with covariance (S_w + alpha I) / n (:func:`discriminant`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.kernels.decoding import class_sums
from repcompare.measures._linalg import require_variance
from repcompare.measures.decoding.models import Codes, Float64, Model

RANK = 1e-12  # of the largest eigenvalue: below lies rounding
Kind = Literal["values", "log", "pairs"]


@dataclass(frozen=True)
class Fit:
    """Decoders of several sets of labels, fitted to the same rows.

    Attributes
    ----------
    mean : ndarray of shape (n_units,)
        Subtracted first.
    basis : ndarray of shape (n_units, r), optional
        Directions in which the weights live; the units themselves without it.
    weights : ndarray of shape (n_sets, n_values, r)
        Of each decision value.
    offset : ndarray of shape (n_sets, n_values)
        Added to each decision value.
    kind : {"values", "log", "pairs"}
        One value per class; log posteriors up to a term of the row; or one value per pair of classes, positive for the
        first.
    n_classes : int
        Number of classes.
    """

    mean: Float64
    basis: Float64 | None
    weights: Float64
    offset: Float64
    kind: Kind
    n_classes: int

    def decide(self, x: Float64) -> Float64:
        """Decision values of rows (n_rows, n_units): shape (n_sets, n_classes, n_rows)."""
        return self.combine(self.weights, self.reduced(x))

    def reduced(self, x: Float64) -> Float64:
        """Rows in the coordinates of the weights, (n_rows, r)."""
        centred: Float64 = x - self.mean
        return centred if self.basis is None else centred @ self.basis

    def combine(self, weights: Float64, x: Float64) -> Float64:
        """Decision values of rows that are in the coordinates of ``weights``."""
        sets, width, r = weights.shape
        values = (weights.reshape(sets * width, r) @ x.T).reshape(sets, width, len(x)) + self.offset[:, :, None]
        found: Float64 = votes(values, self.n_classes) if self.kind == "pairs" else values
        return found

    def unit_weights(self) -> Float64:
        """Weights of the units themselves, shape (n_sets, n_values, n_units)."""
        return self.weights if self.basis is None else self.weights @ self.basis.T


def votes(values: Float64, n_classes: int) -> Float64:
    """Votes of all pairs of classes; the sum of decision values, squashed below a third, breaks ties.

    Parameters
    ----------
    values : ndarray, shape (n_sets, n_pairs, n_rows)
        Positive for the first class of the pair.

    Returns
    -------
    ndarray, shape (n_sets, n_classes, n_rows)
    """
    total = np.zeros((values.shape[0], n_classes, values.shape[2]))
    count = np.zeros_like(total)
    for pair, (i, j) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
        first = values[:, pair] > 0
        count[:, i] += first
        count[:, j] += ~first
        total[:, i] += values[:, pair]
        total[:, j] -= values[:, pair]
    found: Float64 = count + total / (3 * (np.abs(total) + 1))
    return found


def one_hot_counts(codes: Codes, n_classes: int) -> Float64:
    """Rows of each class, (n_sets, n_classes)."""
    return np.stack([(codes == k).sum(axis=1) for k in range(n_classes)], axis=1).astype(np.float64)


def sums_of(rows: Float64, codes: Codes, n_classes: int) -> Float64:
    """Sums over the rows of each class, (n_sets, n_classes, n_columns)."""
    out = np.empty((len(codes), n_classes, rows.shape[1]))
    class_sums(np.ascontiguousarray(rows), codes, out)
    return out


@dataclass(frozen=True)
class Principal:
    """Principal scores of training rows: ``scores`` (n_rows, r) = (x - mean) @ basis, squared lengths ``lam`` (r,)."""

    mean: Float64
    basis: Float64
    scores: Float64
    lam: Float64


def principal(x: Float64) -> Principal:
    """Rotate rows (n_rows, n_units) to their principal directions, by the smaller of the two Gram matrices."""
    mean = exact_mean(x)
    centred = x - mean
    wide = x.shape[1] > x.shape[0]
    lam, u = scipy.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    require_variance(float(lam[-1]), "decoding")
    keep = lam > RANK * lam[-1]
    lam, u = lam[keep], u[:, keep]
    if wide:
        root = np.sqrt(lam)
        return Principal(mean, (centred.T @ u) / root, u * root, lam)
    return Principal(mean, u, centred @ u, lam)


def total_scale(x: Float64) -> float:
    """Mean eigenvalue of the total scatter, tr(Kc) / p: the unit of ``alpha``."""
    trace = float(np.square(x - exact_mean(x)).sum())
    require_variance(trace, "decoding")
    return trace / int(x.shape[1])


def discriminant(gram: Float64, counts: Float64, log_prior: Float64 | None = None) -> tuple[Float64, Float64]:
    """Turn ridge regression on indicators into linear discriminant analysis.

    Parameters
    ----------
    gram : ndarray, shape (n_sets, n_classes, n_classes)
        G = Y'(Q - 1/n)Y, Q the hat matrix of the training rows.
    counts : ndarray, shape (n_sets, n_classes)
        Training rows of each class.
    log_prior : ndarray, shape (n_sets, n_classes), optional
        Logarithm of the class proportions; those of the training rows by default.

    Returns
    -------
    mix : ndarray, shape (n_sets, n_classes, n_classes)
        n M, M = (D - G)^(-1); decision values are ``mix' @ (prediction - proportions) + offset``.
    offset : ndarray, shape (n_sets, n_classes)
        -1/2 n diag(D^(-1) G M) + log pi; -inf for a class without training rows.
    """
    n = counts.sum(axis=1)
    held = np.where(counts > 0, counts, 1.0)
    eye = np.eye(counts.shape[1])
    mix = np.linalg.inv(eye * held[:, None, :] - gram) * n[:, None, None]
    square = np.einsum("bkl,blk->bk", gram, mix) / held
    if log_prior is None:
        with np.errstate(divide="ignore"):
            log_prior = np.log(counts / n[:, None])
    return mix, log_prior - 0.5 * square


def fit_linear(model: Model, x: Float64, codes: Codes, n_classes: int, scale: float) -> Fit:
    """Fit ridge, LDA with ``alpha`` or a fixed ``shrinkage``, or nearest centroids, for every set of labels.

    Parameters
    ----------
    model : Model
        Which.
    x : ndarray, shape (n_rows, n_units)
        Training rows.
    codes : ndarray of int, shape (n_sets, n_rows)
        Classes.
    n_classes : int
        Number of classes.
    scale : float
        Unit of ``alpha``, :func:`total_scale` of all rows.
    """
    counts = one_hot_counts(codes, n_classes)
    if model.name == "nearest_centroid":
        mean = x.mean(axis=0)
        centroids = sums_of(x - mean, codes, n_classes) / np.maximum(counts, 1)[:, :, None]
        offset = np.where(counts > 0, -0.5 * np.square(centroids).sum(axis=2), -np.inf)
        return Fit(mean, None, centroids, offset, "values", n_classes)
    stretch, odds = shrinkage_odds(model, x.shape[1])
    if model.alpha is not None or len(codes) == 1:
        mean = exact_mean(x)
        centred = x - mean
        sums = sums_of(centred, codes, n_classes)
        if model.alpha is None:
            penalty = odds * float(_within(float(np.vdot(centred, centred)), sums, counts)[0])
        else:
            penalty = model.alpha * scale
        solved = _solved(centred, sums, (codes, counts), penalty)
        return _finished(model, Damped(mean, None, sums, solved), counts, stretch)
    parts = principal(x)  # each set of labels has a penalty of its own
    sums = sums_of(parts.scores, codes, n_classes)
    damp = odds * _within(parts.lam.sum(), sums, counts)
    state = Damped(parts.mean, parts.basis, sums, sums / (parts.lam + damp[:, None])[:, None, :])
    return _finished(model, state, counts, stretch)


@dataclass(frozen=True)
class Damped:
    """Class sums Z of centred rows in some basis, and Z (S + damp I)^(-1), each (n_sets, n_classes, r)."""

    mean: Float64
    basis: Float64 | None
    sums: Float64
    weights: Float64


def _solved(centred: Float64, sums: Float64, labels: tuple[Codes, Float64], damp: float) -> Float64:
    """Z (S + damp I)^(-1) by the smaller of the two Gram matrices, with one penalty for all sets of labels."""
    codes, counts = labels
    n, p = centred.shape
    wide = p > n
    damped = centred @ centred.T if wide else centred.T @ centred
    damped.flat[:: len(damped) + 1] += damp
    factor = scipy.linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
    if wide:
        classes = np.arange(counts.shape[1])[:, None]
        onehot = (codes[:, None, :] == classes).reshape(-1, n) - (counts / n).reshape(-1, 1)
        weights = scipy.linalg.cho_solve(factor, onehot.T, check_finite=False).T @ centred
    else:
        weights = scipy.linalg.cho_solve(factor, sums.reshape(-1, p).T, check_finite=False).T
    found: Float64 = weights.reshape(sums.shape)
    return found


def _finished(model: Model, state: Damped, counts: Float64, stretch: float) -> Fit:
    """Ridge regression, or discriminant analysis with a covariance 1 / ``stretch`` as large."""
    n_classes = counts.shape[1]
    shares = counts / counts.sum(axis=1, keepdims=True)
    if model.name == "ridge":
        return Fit(state.mean, state.basis, state.weights, shares, "values", n_classes)
    with np.errstate(divide="ignore"):
        log_prior = np.log(shares)
    mix, offset = discriminant(state.weights @ state.sums.transpose(0, 2, 1), counts, np.zeros_like(counts))
    weights = stretch * (mix.transpose(0, 2, 1) @ state.weights)
    return Fit(state.mean, state.basis, weights, stretch * offset + log_prior, "log", n_classes)


def exact_mean(x: Float64) -> Float64:
    """Mean over rows (..., n_rows, n_units), exact for constant units."""
    first = x[..., 0, :]
    mean: Float64 = first + (x - first[..., None, :]).mean(axis=-2)
    return mean


def shrinkage_odds(model: Model, n_units: int) -> tuple[float, float]:
    """Return 1 / (1 - shrinkage), and the penalty that a fixed shrinkage is, as a share of the within-class scatter."""
    if model.alpha is not None or not isinstance(model.shrinkage, float):
        return 1.0, 0.0
    stretch = 1 / (1 - model.shrinkage)
    return stretch, model.shrinkage * stretch / n_units


def _within(total: float, sums: Float64, counts: Float64) -> Float64:
    """Trace of the within-class scatter of every set of labels, from class sums of centred rows."""
    within: Float64 = total - (np.square(sums).sum(axis=2) / np.maximum(counts, 1)).sum(axis=1)
    require_within(within, float(total))
    return within


def require_within(within: Float64, total: Float64 | float) -> None:
    """Raise where rows do not vary within classes."""
    if not (within > RANK * total).all():
        raise MeasureError(
            "lda: rows do not vary within the classes, so there is no covariance to shrink; expected several different "
            "rows per class; use alpha= or model='nearest_centroid'"
        )
