"""Maps of members from dissimilarities that need not be a metric, some of which count more, or are missing.

References
----------
Kruskal 1964, Psychometrika 29:1 (stress 1, non-metric); de Leeuw 1977 (majorisation, with weights).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from repcompare.errors import MeasureError, choose
from repcompare.statistics.spaces import (
    MAX_ITERATIONS,
    N_STARTS,
    POLISHED,
    SETTLED,
    _classical,
    _oriented,
    _point_distances,
    whole_number,
)

Float64 = npt.NDArray[np.float64]
METHODS = ("nonmetric", "mds")


@dataclass(frozen=True)
class WeightedMap:
    """Points whose distances stand for dissimilarities.

    Attributes
    ----------
    coordinates : ndarray, shape (n_members, dimensions)
        Centred, along principal axes; of the weighted mean square distance of the dissimilarities (``"nonmetric"``: 1).
    stress : float
        Kruskal's stress 1 with weights, in [0, 1].
    start_stress : ndarray, shape (n_starts,)
        Reached from each start.
    distances, disparities : ndarray, shape (n_pairs,)
        Between the points; and what they should be: the dissimilarities, or the nearest values that increase with them.
    converged : bool
        Whether the kept run settled within 1000 iterations.
    """

    coordinates: Float64
    stress: float
    start_stress: Float64
    distances: Float64
    disparities: Float64
    converged: bool


def weighted_map(
    dissimilarities: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    dimensions: int = 2,
    method: Literal["nonmetric", "mds"] = "nonmetric",
    seed: int = 0,
) -> WeightedMap:
    """Place members so that distances between points follow their dissimilarities, by weighted majorisation (SMACOF).

    Parameters
    ----------
    dissimilarities : array_like, shape (n_pairs,)
        Upper triangle row by row; NaN where missing.
    weights : array_like, shape (n_pairs,), optional
        At least 0; equal by default, 0 where missing.
    dimensions : int
        From 1 to n_members - 1.
    method : {"nonmetric", "mds"}
        Least squares of any increasing function of the dissimilarities (ties may be broken), or of themselves.
    seed : int
        Of the 8 random starts beside the classical one.

    Returns
    -------
    WeightedMap

    Raises
    ------
    MeasureError
        On negative dissimilarities with ``"mds"``, weights that are no numbers >= 0, all values equal to 0, or members that
        no pairs link.

    Examples
    --------
    >>> found = weighted_map([1.0, 3.0, 2.0], dimensions=1, method="mds")
    >>> np.abs(np.diff(found.coordinates[:, 0])).round(6).tolist(), round(found.stress, 6)
    ([1.0, 2.0], 0.0)
    """
    choose(method, METHODS, "method")
    d = np.asarray(dissimilarities, dtype=np.float64)
    w = _checked(d, weights, method)
    n = round((1 + np.sqrt(1 + 8 * d.size)) / 2)
    whole_number(dimensions, "dimensions", n - 1)
    known = w > 0
    size = 1.0 if method == "nonmetric" else float(np.sqrt(w[known] @ d[known] ** 2 / w.sum()))
    filled = np.where(known, d, d[known].mean())
    base = filled - min(0.0, float(filled[known].min()))
    start = _classical(squareform(base / max(float(base.max()), np.finfo(np.float64).tiny)), dimensions)[0]
    target = None if method == "nonmetric" else filled / size
    problem = _Problem(w, _laplacian_inverse(w, n), filled, target)
    rng = np.random.default_rng(seed)
    starts = [start, *(rng.normal(size=(n, dimensions)) / np.sqrt(2 * dimensions) for _ in range(N_STARTS))]
    runs = [problem.solve(x, SETTLED) for x in starts]
    best = min(range(len(runs)), key=lambda k: runs[k][1])
    runs[best] = problem.solve(runs[best][0], POLISHED)
    points, stress, wanted, converged = runs[best]
    reached = np.array([run[1] for run in runs])
    points = _oriented(points * size)
    return WeightedMap(points, stress, reached, _pairs(points), wanted * size, converged)


@dataclass(frozen=True)
class _Problem:
    """Weights (n_pairs,), the inverse of their Laplacian, dissimilarities, and the target where it is fixed."""

    weights: Float64
    inverse: Float64
    given: Float64
    target: Float64 | None

    def solve(self, points: Float64, settled: float) -> tuple[Float64, float, Float64, bool]:
        """Guttman transforms until the stress settles; return points, stress 1, disparities, and whether it did."""
        w, total = self.weights, float(self.weights.sum())
        fit = self._increasing() if self.target is None else None
        between, before, converged = _pairs(points), np.inf, False
        wanted = np.zeros_like(w) if self.target is None else self.target
        for _ in range(MAX_ITERATIONS):
            if fit is not None:  # of one size, so that points cannot shrink to nothing
                wanted = fit(between)
                wanted = wanted * np.sqrt(total / max(float(w @ wanted**2), np.finfo(np.float64).tiny))
            loss = float(w @ (wanted - between) ** 2)
            if before - loss <= settled * loss + np.finfo(np.float64).eps * total:
                converged = True
                break
            before = loss
            ratio = squareform(w * np.divide(wanted, between, out=np.zeros_like(w), where=between > 0))
            points = self.inverse @ (ratio.sum(axis=1)[:, None] * points - ratio @ points)
            between = _pairs(points)
        if fit is not None:
            points = points * np.sqrt(total / max(float(w @ between**2), np.finfo(np.float64).tiny))
            between = _pairs(points)
            wanted = fit(between)
        square = float(w @ between**2)
        stress = float(np.sqrt(w @ (between - wanted) ** 2 / square)) if square > 0 else 1.0
        return points, stress, wanted, converged

    def _increasing(self) -> Callable[[Float64], Float64]:
        """Return what turns distances into the nearest that increase with the dissimilarities; missing ones stay."""
        known = np.flatnonzero(self.weights > 0)

        def fit(between: Float64) -> Float64:
            order = known[np.lexsort((between[known], self.given[known]))]
            out: Float64 = between.copy()
            out[order] = scipy.optimize.isotonic_regression(between[order], weights=self.weights[order]).x
            return out

        return fit


def _checked(d: Float64, weights: npt.ArrayLike | None, method: str) -> Float64:
    """Return weights (n_pairs,), 0 where a dissimilarity is missing."""
    w = np.ones(d.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != d.shape or not (np.isfinite(w) & (w >= 0)).all():
        raise MeasureError(f"weights have shape {w.shape}; expected {d.size} numbers >= 0, one per pair")
    w = np.where(np.isfinite(d), w, 0.0)
    known = d[w > 0]
    if not known.size or not np.ptp(known) + np.abs(known).max() > 0:
        raise MeasureError("no pair has a dissimilarity other than 0 and a weight; there is nothing to draw")
    if method == "mds" and known.min() < 0:
        raise MeasureError(
            f"{int((known < 0).sum())} dissimilarities are negative; no points have such distances; take method='nonmetric',"
            " which follows their order"
        )
    k = round((1 + np.sqrt(1 + 8 * d.size)) / 2)
    groups, label = connected_components(csr_matrix(squareform(w) > 0), directed=False)
    if groups > 1:
        raise MeasureError(
            f"{k} members fall into {groups} groups without pairs between them (members 0 and "
            f"{int(np.flatnonzero(label != label[0])[0])}, for one); leave some out"
        )
    return np.asarray(w / w.max(), dtype=np.float64)


def _laplacian_inverse(w: Float64, n: int) -> Float64:
    """Return the pseudo-inverse of the Laplacian of the weights."""
    square = squareform(w)
    laplacian = np.diag(square.sum(axis=1)) - square
    return np.asarray(np.linalg.inv(laplacian + 1 / n) - 1 / n)


def _pairs(points: Float64) -> Float64:
    return np.asarray(squareform(_point_distances(points), checks=False), dtype=np.float64)
