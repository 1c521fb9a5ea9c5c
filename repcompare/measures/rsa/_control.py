"""Partial comparison: what is left of RDMs when others are controlled for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import pinvh, qr

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._whitened import Matrix

COLLINEAR = 1e-10  # a control this close to the span of the others adds nothing
EXPLAINED = 1e-20  # share of the squared length below which nothing is left


class Products(NamedTuple):
    """Inner products of first sides a, second sides b and controls z.

    ``ab`` (n_a, n_b), ``az`` (n_a, n_z), ``bz`` (n_b, n_z), ``zz`` (n_z, n_z); ``aa`` (n_a,) and ``bb`` (n_b,) are squared
    lengths; ``more_a`` and ``more_b`` are added to what is left of them (what random orders within ties would add).
    """

    ab: Matrix
    az: Matrix
    bz: Matrix
    zz: Matrix
    aa: Vector
    bb: Vector
    more_a: Vector
    more_b: Vector


def residuals(rows: Matrix, controls: Matrix, names: list[str]) -> Matrix:
    """Return rows (n_rows, m) without their projection on the span of the controls (n_controls, m).

    Raises
    ------
    MeasureError
        Where nothing is left of a row.
    """
    sizes = np.linalg.norm(controls, axis=1)
    kept = controls[sizes > 0] / sizes[sizes > 0, None]
    if not len(kept):
        return rows
    q, r, _ = qr(kept.T, mode="economic", pivoting=True)
    q = q[:, np.abs(np.diagonal(r)) > COLLINEAR * abs(r[0, 0])]
    left = rows - (rows @ q) @ q.T
    left -= (left @ q) @ q.T  # twice is enough for orthogonality to rounding
    gone = np.square(left).sum(axis=1) <= EXPLAINED * np.square(rows).sum(axis=1)
    for i in np.flatnonzero(gone):
        raise _explained(names[i])
    found: Matrix = left
    return found


def partial_scores(given: Products, semipartial: bool) -> Matrix:
    """Return the partial cosines (n_a, n_b) from inner products; with ``semipartial`` a keeps its part.

    Raises
    ------
    MeasureError
        Where nothing is left of a side.
    """
    size = np.sqrt(np.diagonal(given.zz))
    size = np.where(size > 0, size, 1.0)
    inverse = pinvh(given.zz / np.outer(size, size), rtol=1e-12) / np.outer(size, size)
    left_b = _left(given.bb, given.bz, inverse)
    left_a = given.aa if semipartial else _left(given.aa, given.az, inverse)
    product = given.ab - given.az @ inverse @ given.bz.T
    scores: Matrix = product / np.sqrt(np.outer(left_a + given.more_a, left_b + given.more_b))
    return np.clip(scores, -1.0, 1.0)


def _left(own: Vector, products: Matrix, inverse: Matrix) -> Vector:
    """Return the squared lengths of residuals."""
    left: Vector = own - np.einsum("ij,jk,ik->i", products, inverse, products)
    if (left <= 1e-12 * own).any():
        raise _explained("an RDM, on the pairs that both have,")
    return left


def _explained(name: str) -> MeasureError:
    return MeasureError(f"{name} is explained entirely by control=: nothing is left to compare; take another control")
