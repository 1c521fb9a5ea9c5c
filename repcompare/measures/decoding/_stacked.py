"""Linear decoders of many fits at once: the same training rows and labels, responses at several times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from repcompare.measures._linalg import require_variance
from repcompare.measures.decoding._linear import (
    Kind,
    discriminant,
    exact_mean,
    one_hot_counts,
    require_within,
    shrinkage_odds,
)
from repcompare.measures.decoding.models import Codes, Float64, Model

SMALL = 64  # rows of a problem up to which numpy's loop over a stack beats Cholesky, which halves the products


@dataclass(frozen=True)
class Stack:
    """Decoders fitted at several times to several sets of labels.

    Attributes
    ----------
    weights : ndarray of shape (n_sets, n_times, n_values, n_units)
        Of each decision value.
    offset : ndarray of shape (n_sets, n_times, n_values)
        Added to ``weights @ row``.
    kind : {"values", "log"}
        What the decision values are.
    """

    weights: Float64
    offset: Float64
    kind: Kind


def stacks(model: Model, n_sets: int) -> bool:
    """Whether the fits of a model are stacked: one problem serves all sets of labels."""
    return model.shares_fits and (model.smooths or n_sets == 1)


def fit_stack(model: Model, x: Float64, codes: Codes, n_classes: int, scales: Float64) -> Stack:
    """Fit ridge, LDA with ``alpha`` (or, for one set of labels, a fixed ``shrinkage``), or nearest centroids.

    Parameters
    ----------
    model : Model
        Which.
    x : ndarray, shape (n_times, n_rows, n_units)
        Training rows.
    codes : ndarray of int, shape (n_sets, n_rows)
        Classes.
    n_classes : int
        Number of classes.
    scales : ndarray, shape (n_times,)
        Unit of ``alpha`` at each time.
    """
    n_times, n, p = x.shape
    counts = one_hot_counts(codes, n_classes)
    mean = exact_mean(x)
    centred = x - mean[:, None]
    onehot = (codes[:, None, :] == np.arange(n_classes)[:, None]).astype(np.float64)
    sums = (onehot.reshape(-1, n) @ centred).reshape(n_times, len(codes), n_classes, p)
    if model.name == "nearest_centroid":
        weights = sums / np.maximum(counts, 1)[:, :, None]
        offset = np.where(counts > 0, -0.5 * np.einsum("tbkj,tbkj->tbk", weights, weights), -np.inf)
        return _about_zero(weights, offset, mean, "values")
    stretch, odds = shrinkage_odds(model, p)
    if model.alpha is None:
        total = np.einsum("tij,tij->t", centred, centred)
        inside = total - (np.square(sums[:, 0]).sum(axis=2) / np.maximum(counts[0], 1)).sum(axis=1)
        require_within(inside, total)
        penalty = odds * inside
    else:
        penalty = model.alpha * scales
    centres = onehot - (counts / n)[:, :, None]
    weights = _solved(centred, sums, centres, penalty)
    shares = counts / counts.sum(axis=1, keepdims=True)
    if model.name == "ridge":
        return _about_zero(weights, np.broadcast_to(shares, (n_times, *shares.shape)), mean, "values")
    flat = (weights @ sums.swapaxes(2, 3)).reshape(-1, n_classes, n_classes)
    mix, offset = discriminant(flat, np.tile(counts, (n_times, 1)), np.zeros((len(flat), n_classes)))
    with np.errstate(divide="ignore"):
        offset = stretch * offset.reshape(n_times, *counts.shape) + np.log(shares)
    weights = stretch * (mix.transpose(0, 2, 1).reshape(*weights.shape[:3], n_classes) @ weights)
    return _about_zero(weights, offset, mean, "log")


def _about_zero(weights: Float64, offset: Float64, mean: Float64, kind: Kind) -> Stack:
    """Move the means into the offsets, and the sets of labels to the front."""
    moved = offset - np.einsum("tbkj,tj->tbk", weights, mean)
    return Stack(weights.swapaxes(0, 1), moved.swapaxes(0, 1), kind)


def _solved(centred: Float64, sums: Float64, centres: Float64, penalty: Float64) -> Float64:
    """Z (S + penalty I)^(-1) for class sums Z (n_times, n_sets, n_classes, n_units), by the smaller Gram matrices."""
    n_times, n, p = centred.shape
    wide = p > n
    damped = centred @ centred.swapaxes(1, 2) if wide else centred.swapaxes(1, 2) @ centred
    side = damped.shape[1]
    require_variance(float(np.trace(damped, axis1=1, axis2=2).min()), "decoding")
    damped.reshape(n_times, -1)[:, :: side + 1] += penalty[:, None]
    right = centres.reshape(1, -1, n) if wide else sums.reshape(n_times, -1, p)
    if n_times > 1 and side <= SMALL:
        found = np.linalg.solve(damped, np.broadcast_to(right.swapaxes(1, 2), (n_times, side, right.shape[1])))
    else:
        found = np.stack([_cholesky(one, right[t % len(right)].T) for t, one in enumerate(damped)])
    weights = found.swapaxes(1, 2)
    if wide:
        weights = weights @ centred
    return np.asarray(weights.reshape(sums.shape))


def _cholesky(damped: Float64, right: Float64) -> Float64:
    factor = scipy.linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
    found: Float64 = scipy.linalg.cho_solve(factor, right, check_finite=False)
    return found
