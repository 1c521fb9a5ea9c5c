"""Weights of a fit on all rows, from the products that the scores were made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcompare.kernels import encoding as kernels
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import SINGLE, Double, eigen
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._search import Source
from repcompare.measures.encoding._select import Problem
from repcompare.measures.encoding._target import Target
from repcompare.measures.encoding._workspace import Workspace


@dataclass(frozen=True)
class OnAll:
    """All rows of a source, factorised.

    Attributes
    ----------
    basis, lam : ndarray of shape (p, rank), (rank,)
        Eigenvectors and eigenvalues of the scatter of all rows, scaled.
    n_pieces : int
        Pieces of the rows whose products add up to those of all rows.
    unit : float
        Unit of the penalties for the scaled source.
    scale : ndarray of shape (n_units,)
        Units of y per unit of x in one unit of the scaled weights.
    coef : ndarray of shape (p, n_units)
        Weights, filled block by block.
    """

    basis: Array
    lam: Double
    n_pieces: int
    unit: float
    scale: Array
    coef: Array

    def __call__(self, units: Index, alphas: Double, room: Workspace) -> None:
        """Write the weights of the units whose products are in the workspace."""
        shape = (self.basis.shape[0], units.size)
        products = room.take("products", (self.n_pieces, *shape), self.basis.dtype)
        cross = room.take("cross", shape, self.basis.dtype)
        nothing, every = np.zeros(max(shape), dtype=self.basis.dtype), np.arange(self.n_pieces)
        kernels.union_products(products, every, nothing[: shape[0]], nothing[: shape[1]], cross)
        z = np.matmul(self.basis.T, cross, out=room.take("linear", (self.lam.size, units.size), cross.dtype))
        z /= (self.lam[:, None] + alphas * self.unit).astype(z.dtype, copy=False)
        weights = np.matmul(self.basis, z, out=cross)
        weights *= self.scale[units].astype(z.dtype, copy=False)
        self.coef[:, units[0] : units[-1] + 1] = weights


def make_on_all(source: Source, target: Target, options: Options) -> OnAll | None:
    """Factorise all rows; None where the scores leave no products, or not those of all rows, or of too few digits."""
    problem, gram = source.problem, source.gram
    if problem is None or not _shares(problem, target, options):
        return None
    assert gram.features is not None and problem.pieces is not None and target.scale is not None
    x = gram.features.astype(np.float64)
    x -= x.mean(axis=0)
    basis, lam = eigen(x.T @ x)
    unit = gram.spread if options.alpha_scale == "trace" else 1 / gram.scale**2
    dtype = np.result_type(gram.features, target.values)
    if dtype == np.float32 and (lam.size == 0 or lam[0] + options.alphas[0] * unit < SINGLE * lam[-1]):
        return None
    coef = np.empty((gram.p, target.values.shape[1]), dtype)
    return OnAll(basis.astype(dtype, copy=False), lam, len(problem.pieces[0]), unit, target.scale / gram.scale, coef)


def _shares(problem: Problem, target: Target, options: Options) -> bool:
    """Whether the products of the scores, unit by unit, add up to those of all rows."""
    if options.standardize or problem.pieces is None or problem.gram.features is None:
        return False
    complete = len(target.patterns) == 1 and target.patterns[0].seen is None and target.scale is not None
    rows = sum(rows.size for rows in problem.pieces[0])
    return complete and rows == problem.gram.n and any(fit.mean is not None for fit in problem.outer)
