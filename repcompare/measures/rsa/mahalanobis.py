"""Squared Mahalanobis distances of patterns without missing values."""

from __future__ import annotations

import numpy as np

from repcompare.measures.rsa._condensed import Vector, condense, pair_rows
from repcompare.measures.rsa._covariance import Noise
from repcompare.measures.rsa._products import BLOCK, NEAR, Values


def mahalanobis(x: Values, noise: Noise) -> Vector:
    """Return squared Mahalanobis distances divided by the number of units.

    Distances that are small beside the products that they are a difference of are computed again from their two patterns.

    Parameters
    ----------
    x : ndarray, shape (n_stimuli, n_units)
    noise : Noise

    Returns
    -------
    ndarray, shape (n_pairs,)
    """
    k, p = x.shape
    centred = x - x.mean(axis=0, dtype=np.float64)
    gram = np.asarray(sum(term.gram(lambda rows: rows) for term in noise.terms(np.ascontiguousarray(centred))))
    size = np.diagonal(gram)
    sums = condense(np.add.outer(size, size))
    found = np.maximum(sums - 2 * condense(gram), 0.0)
    near = np.flatnonzero(found < NEAR * sums)
    step = max(1, BLOCK // p)
    for start in range(0, near.size, step):
        block = near[start : start + step]
        i, j = pair_rows(block, k)
        difference = noise.terms(np.ascontiguousarray(centred[i] - centred[j]))
        found[block] = np.maximum(np.sum([term.squares() for term in difference], axis=0), 0.0)
    found /= p
    return found
