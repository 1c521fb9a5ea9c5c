"""Inner products of component RDMs with each other and with pooled data, on the pairs of stimuli that are there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, choose
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._methods import FLAT, MIN_PAIRS
from repcompare.measures.rsa._whitened import coordinates, products_present, stimulus_noise

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]

LINEAR = ("cosine", "pearson", "whitened_cosine", "whitened_pearson")


def inner_rows(stack: Matrix, method: str, stimulus_covariance: npt.ArrayLike | None = None) -> Matrix:
    """Return RDMs in coordinates whose dot products are the inner product of a linear method.

    Parameters
    ----------
    stack : ndarray, shape (n_rdms, n_pairs)
        Complete.
    method : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}
    stimulus_covariance : array_like, optional
        Of the whitened methods.

    Returns
    -------
    ndarray, shape (n_rdms, n_coordinates)
        A linear function of each RDM; centred where the method is, of the length that the RDM has.
    """
    choose(method, LINEAR, "method")
    if method in ("pearson", "whitened_pearson"):
        stack = stack - stack.mean(axis=1, keepdims=True)
    if not method.startswith("whitened"):
        return stack
    noise = stimulus_noise(stimulus_covariance, count_stimuli(stack.shape[1]))
    return np.asarray(coordinates(stack, noise), dtype=np.float64)


def pooled(rows: Matrix) -> Vector:
    """Return the mean of the rows scaled to unit length; raise where one has none (constant or zero RDMs)."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not length.min() > FLAT * max(float(np.abs(rows).max()), np.finfo(np.float64).tiny):
        raise MeasureError(
            f"data RDM {int(np.argmin(length))} is constant (or zero) on the training pairs; leave it out, or use other"
            " stimuli"
        )
    return np.asarray((1 / length) @ rows / len(rows), dtype=np.float64)


def shared_pairs(rdms: Matrix, name: str) -> Present:
    """Return which pairs (n_pairs,) all RDMs (n_rdms, n_pairs) have; raise for fewer than 3."""
    present: Present = np.asarray(np.isfinite(rdms).all(axis=0))
    if int(present.sum()) < MIN_PAIRS:
        raise MeasureError(
            f"{name}: {int(present.sum())} pairs of stimuli are in all of its RDMs; expected at least {MIN_PAIRS}; leave"
            " out RDMs, or take other stimuli"
        )
    return present


def require_shared(data: Matrix, present: Present, name: str) -> None:
    """Raise where a data RDM has fewer than 3 of the pairs of a model."""
    counts = (np.isfinite(data) & present).sum(axis=1)
    if counts.min() < MIN_PAIRS:
        raise MeasureError(
            f"data RDM {int(np.argmin(counts))} has {int(counts.min())} of the pairs of {name}; expected at least"
            f" {MIN_PAIRS}; leave it out, or take more stimuli (fewer folds)"
        )


def gram_present(
    name: str, rdms: Matrix, data: Matrix, linear: str, stimulus_covariance: npt.ArrayLike | None = None
) -> tuple[Matrix, Vector]:
    """Return what a fit needs, on the pairs that all components have, and some data RDM.

    Data RDMs are scaled to unit length on the pairs that they have, and averaged with each pair weighted by the RDMs that
    have it: where all have the same pairs, the fit has the largest mean score, and else the largest cosine with this pool.

    Parameters
    ----------
    name : str
        Of the model.
    rdms : ndarray, shape (n_components, n_pairs)
        NaN where missing.
    data : ndarray, shape (n_rdms, n_pairs)
        NaN where missing.
    linear : {"cosine", "pearson", "whitened_cosine", "whitened_pearson"}
    stimulus_covariance : array_like, optional
        Of the whitened methods.

    Returns
    -------
    a : ndarray, shape (n_components, n_components)
    g : ndarray, shape (n_components,)
        See :func:`repcompare.measures.rsa.models.gram_of`.
    """
    usable = shared_pairs(rdms, name)
    require_shared(data, usable, name)
    inside = np.isfinite(data) & usable
    present: Present = np.asarray(inside.any(axis=0))
    centred = linear in ("pearson", "whitened_pearson")
    noise = stimulus_noise(stimulus_covariance, count_stimuli(rdms.shape[1])) if linear.startswith("whitened") else None
    components = _filled(rdms, np.broadcast_to(present, rdms.shape), centred)
    components[np.abs(components).max(axis=1) <= FLAT * np.abs(np.where(present, rdms, 0.0)).max(axis=1)] = 0.0
    if not components.any():
        raise MeasureError(f"{name}: every component is constant (or zero) on the training pairs; use more stimuli")
    rows = _filled(data, inside, centred)
    peak = np.abs(np.where(inside, data, 0.0)).max(axis=1)
    flat = np.abs(rows).max(axis=1) <= FLAT * peak
    if flat.any():
        raise MeasureError(
            f"data RDM {int(np.argmax(flat))} is constant (or zero) on the training pairs; leave it out, or use other"
            " stimuli"
        )
    rows /= peak[:, None]
    if noise is None:
        square = np.einsum("ij,ij->i", rows, rows)
    else:
        square = np.array([products_present(r[None], m, noise)[0, 0] for r, m in zip(rows, inside, strict=True)])
    pool = (rows / np.sqrt(square)[:, None]).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
    if noise is None:
        return components @ components.T, components @ pool
    both = np.vstack([components, _filled(pool[None], present[None], centred)])
    products = products_present(both, present, noise)
    return products[:-1, :-1], products[:-1, -1]


def _filled(rdms: Matrix, present: Present, centred: bool) -> Matrix:
    """Return RDMs with 0 where missing, less their mean over the pairs that are there where the method is centred."""
    filled = np.where(present, rdms, 0.0)
    if centred:
        filled -= filled.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True)
        filled[~present] = 0.0
    return filled
