"""The space that a metric makes of several systems: trees, maps and typical members, from a matrix of distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize

from repcompare.errors import MeasureError, OptionError, choose

Float64 = npt.NDArray[np.float64]
Intp = npt.NDArray[np.intp]

LINKAGES = ("average", "complete", "single", "weighted")
METHODS = ("mds", "classical", "nonmetric")
SLACK = 1e-6  # share of the largest distance by which rounding may break symmetry, the diagonal or the triangle
N_STARTS = 8  # random starts of stress minimisation, beside the classical solution
MAX_ITERATIONS = 1000
SETTLED = 1e-7  # relative decrease of the squared stress at which a start stops
POLISHED = 1e-11  # and at which the best of them does


def check_distances(distances: npt.ArrayLike, names: Sequence[object] | None = None) -> Float64:
    """Check a matrix of distances; take rounding out of it.

    Parameters
    ----------
    distances : array, shape (n_members, n_members)
        Symmetric, zero on the diagonal, not negative.
    names : sequence, optional
        What messages call the members; their places by default.

    Returns
    -------
    ndarray, shape (n_members, n_members)
        Exactly symmetric, exactly zero on the diagonal.

    Raises
    ------
    MeasureError
        When the matrix is not square, has missing values, or breaks one of these by more than rounding; naming the pair.

    Examples
    --------
    >>> check_distances([[0, 1], [2, 0]], ["V1", "V4"])
    Traceback (most recent call last):
    repcompare.errors.MeasureError: distances are not symmetric: 1 from 'V1' to 'V4', 2 back; expected one per pair
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or len(d) < 2:
        raise MeasureError(f"distances have shape {d.shape}; expected a square matrix of at least 2 members")
    called: list[object] = [*range(len(d))] if names is None else [*names]
    found = _first(~np.isfinite(d), called)
    if found:
        raise MeasureError(f"the distance of {found} is missing; expected a finite number; leave one of them out")
    slack = SLACK * float(np.abs(d).max())
    _refuse_asymmetry(d, slack, called)
    worst = int(np.abs(d.diagonal()).argmax())
    if abs(d[worst, worst]) > slack:
        raise MeasureError(
            f"the distance of {called[worst]!r} from itself is {d[worst, worst]:.6g}; expected 0; is this a similarity?"
        )
    if slack == 0:
        raise MeasureError("all distances are 0: the members are the same; expected members that differ")
    found = _first(d < -slack, called)
    if found:
        raise MeasureError(f"the distance of {found} is negative; expected distances of at least 0")
    d = np.maximum((d + d.T) / 2, 0)
    np.fill_diagonal(d, 0)
    return d


def _first(wrong: npt.NDArray[np.bool_], called: list[object]) -> str:
    """Names of the first pair that is wrong; empty where none is."""
    pairs = np.argwhere(wrong)
    return f"{called[pairs[0][0]]!r} and {called[pairs[0][1]]!r}" if len(pairs) else ""


def _refuse_asymmetry(d: Float64, slack: float, called: list[object]) -> None:
    pairs = np.argwhere(np.abs(d - d.T) > slack)
    if len(pairs):
        i, j = pairs[0]
        raise MeasureError(
            f"distances are not symmetric: {d[i, j]:.6g} from {called[i]!r} to {called[j]!r}, {d[j, i]:.6g} back; "
            "expected one per pair"
        )


def broken_triangle(distances: Float64) -> tuple[int, int, int] | None:
    """Return (i, j, k) with d(i, j) > d(i, k) + d(k, j) by more than rounding, the worst of all; None where there is none.

    Parameters
    ----------
    distances : ndarray, shape (n_members, n_members)
        As :func:`check_distances` returns them.

    Examples
    --------
    >>> broken_triangle(np.array([[0.0, 1, 3], [1, 0, 1], [3, 1, 0]]))
    (0, 2, 1)
    """
    worst, found = SLACK * float(distances.max()), None
    for k, row in enumerate(distances):
        excess = distances - (row[:, None] + row[None, :])
        i, j = divmod(int(excess.argmax()), len(distances))
        if excess[i, j] > worst:
            worst, found = float(excess[i, j]), (i, j, k)
    return found


@dataclass(frozen=True)
class Tree:
    """Hierarchical clustering.

    Attributes
    ----------
    merges : ndarray, shape (n_members - 1, 4)
        As scipy keeps them: the two clusters that merge (n_members + r is made by row r), their height, the number of
        members; ready for ``scipy.cluster.hierarchy.dendrogram``.
    order : ndarray of int, shape (n_members,)
        Members along the leaves, neighbours as close as the tree allows.
    labels : ndarray of int, shape (n_members,), optional
        Cluster of each member, 0 ... n_clusters - 1 along the leaves.
    cophenetic_correlation : float
        Correlation of the distances with the heights at which pairs merge, in [-1, 1]; 1 for heights equal to the
        distances, 0 where all merge at one height.
    """

    merges: Float64
    order: Intp
    labels: Intp | None
    cophenetic_correlation: float


def cluster_tree(
    distances: npt.ArrayLike,
    linkage: Literal["average", "complete", "single", "weighted"] = "average",
    n_clusters: int | None = None,
) -> Tree:
    """Cluster members hierarchically.

    Parameters
    ----------
    distances : array, shape (n_members, n_members)
        Metric distances.
    linkage : {"average", "complete", "single", "weighted"}
        Distance of two clusters: mean, largest, smallest over pairs, or the mean of the two last merged.  Ward's, centroid
        and median linkage need Euclidean distances, which those of a metric need not be.
    n_clusters : int, optional
        Cut the tree into so many clusters.

    Returns
    -------
    Tree

    Raises
    ------
    OptionError
        For another linkage or an impossible number of clusters.
    MeasureError
        For what is no matrix of distances.

    References
    ----------
    Sokal & Rohlf 1962 (cophenetic correlation); Bar-Joseph, Gifford & Jaakkola 2001 (order of leaves).

    Examples
    --------
    >>> points = np.array([0.0, 10.0, 1.0, 12.0])
    >>> tree = cluster_tree(np.abs(points[:, None] - points), n_clusters=2)
    >>> bool(tree.labels[0] == tree.labels[2]), bool(tree.labels[0] == tree.labels[1])
    (True, False)
    """
    from scipy.cluster import hierarchy

    choose(linkage, LINKAGES, "linkage")
    d = check_distances(distances)
    n = len(d)
    if n_clusters is not None:
        whole_number(n_clusters, "n_clusters", n)
    pairs = d[np.triu_indices(n, 1)]
    merges = hierarchy.optimal_leaf_ordering(hierarchy.linkage(pairs, linkage), pairs)
    order = np.asarray(hierarchy.leaves_list(merges), dtype=np.intp)
    labels = None if n_clusters is None else _cut(merges, order, n_clusters)
    return Tree(merges, order, labels, _agreement(pairs, hierarchy.cophenet(merges)))


def whole_number(value: Any, name: str, most: int, least: int = 1) -> None:
    """Raise ``OptionError`` unless ``value`` is a whole number in [least, most]."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not least <= value <= most:
        raise OptionError(f"{name}={value!r}; expected a whole number from {least} to {most}")


def _cut(merges: Float64, order: Intp, n_clusters: int) -> Intp:
    """Leave out the last merges: exactly ``n_clusters`` clusters, ties or not."""
    n = len(order)
    owner = list(range(n + len(merges)))  # cluster that a node is part of
    for row in range(len(merges) - 1, -1, -1):
        parent = owner[n + row] if row < n - n_clusters else None
        for child in merges[row, :2].astype(int):
            owner[child] = child if parent is None else parent
    names: dict[int, int] = {}
    labels = np.empty(n, dtype=np.intp)
    for leaf in order:
        labels[leaf] = names.setdefault(owner[leaf], len(names))
    return labels


def _agreement(pairs: Float64, heights: Float64) -> float:
    if np.allclose(pairs, heights, rtol=1e-9, atol=0):
        return 1.0  # also where all distances are equal, which leaves no variance to correlate
    if np.ptp(heights) <= 1e-9 * heights.max():
        return 0.0
    return float(np.clip(np.corrcoef(pairs, heights)[0, 1], -1, 1))


@dataclass(frozen=True)
class Embedding:
    """Points in a plane or space whose distances stand for those of the members.

    Attributes
    ----------
    coordinates : ndarray, shape (n_members, dimensions)
        Centred, along principal axes, in the unit of the distances; ``nonmetric``: scaled to the same mean square distance.
    stress : float
        Kruskal's stress 1, in [0, 1]: 0 for a perfect map; .05 good, .2 poor.
    start_stress : ndarray, shape (n_starts,)
        Stress reached from each start (the first: the classical solution); the best was kept.
    eigenvalues : ndarray, shape (n_members,)
        Of the double-centred squared distances, largest first: variances along the axes of classical scaling.
    negative_share : float
        Sum of the absolute negative eigenvalues over that of all, in [0, 1): 0 for Euclidean distances.
    converged : bool
        Whether the kept run settled within 1000 iterations.
    """

    coordinates: Float64
    stress: float
    start_stress: Float64
    eigenvalues: Float64
    negative_share: float
    converged: bool


def embedding(
    distances: npt.ArrayLike,
    dimensions: int = 2,
    method: Literal["mds", "classical", "nonmetric"] = "mds",
    seed: int = 0,
) -> Embedding:
    """Place members so that distances between points are as close as possible to theirs.

    Parameters
    ----------
    distances : array, shape (n_members, n_members)
        Metric distances.
    dimensions : int
        From 1 to n_members - 1.
    method : {"mds", "classical", "nonmetric"}
        ``mds``: least squares of the distances, by majorisation (SMACOF).  ``classical``: principal coordinates.
        ``nonmetric``: least squares of any increasing function of the distances; ties may be broken.
    seed : int
        Of the random starts.

    Returns
    -------
    Embedding
        Of the best of 1 classical and 8 random starts.

    Raises
    ------
    OptionError
        For another method or an impossible number of dimensions.
    MeasureError
        For what is no matrix of distances.

    Notes
    -----
    scikit-learn's ``smacof`` is not used: its stopping rule and non-metric form changed between the releases that are
    supported, it takes distances of 0 for missing, and one random start for enough.

    References
    ----------
    Torgerson 1952 (classical); Kruskal 1964 (stress 1, non-metric); de Leeuw 1977 (majorisation).

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(6, 2))
    >>> found = embedding(np.linalg.norm(points[:, None] - points, axis=-1))
    >>> found.coordinates.shape, round(found.stress, 6)
    ((6, 2), 0.0)
    """
    choose(method, METHODS, "method")
    d = check_distances(distances)
    n = len(d)
    whole_number(dimensions, "dimensions", n - 1)
    start, eigenvalues = _classical(d, dimensions)
    size = np.abs(eigenvalues)
    negative = float(size[eigenvalues < 0].sum() / size.sum())
    if method == "classical":
        runs = [(start, _stress(_point_distances(start), d), True)]
    else:
        rng = np.random.default_rng(seed)
        spread = np.sqrt((d**2).mean() / (2 * dimensions))
        starts = [start, *(rng.normal(size=(n, dimensions)) * spread for _ in range(N_STARTS))]
        runs = [_majorise(x, d, method == "nonmetric", SETTLED) for x in starts]
        best = min(range(len(runs)), key=lambda k: runs[k][1])
        runs[best] = _majorise(runs[best][0], d, method == "nonmetric", POLISHED)
    reached = np.array([run[1] for run in runs])
    points, stress, converged = runs[int(reached.argmin())]
    return Embedding(_oriented(points), float(stress), reached, eigenvalues, negative, converged)


def _classical(d: Float64, dimensions: int) -> tuple[Float64, Float64]:
    """Principal coordinates (n_members, dimensions), and all eigenvalues, largest first; rounding about 0 is 0."""
    squared = d**2
    means = squared.mean(axis=0)
    values, vectors = np.linalg.eigh(-(squared - means[:, None] - means[None, :] + means.mean()) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    values = np.where(np.abs(values) <= len(d) * np.finfo(np.float64).eps * np.abs(values).max(), 0.0, values)
    return vectors[:, :dimensions] * np.sqrt(np.maximum(values[:dimensions], 0)), values


def _point_distances(points: Float64) -> Float64:
    """Distances (n_members, n_members) between points, from differences: close points keep their digits."""
    squared = np.zeros((len(points), len(points)))
    for axis in points.T:
        squared += (axis[:, None] - axis[None, :]) ** 2
    return np.asarray(np.sqrt(squared))


def _stress(between: Float64, wanted: Float64) -> float:
    """Kruskal's stress 1 of points with distances ``between``."""
    total = float((between**2).sum())
    return float(np.sqrt(((between - wanted) ** 2).sum() / total)) if total > 0 else 1.0


def _majorise(points: Float64, d: Float64, nonmetric: bool, settled: float) -> tuple[Float64, float, bool]:
    """Guttman transforms until the stress settles; return points, stress 1, and whether it did."""
    n = len(d)
    between = _point_distances(points)
    squares, before, converged = float((d**2).sum()), np.inf, False
    fit = _increasing(d) if nonmetric else None
    for _ in range(MAX_ITERATIONS):
        wanted = d if fit is None else fit(between)
        if fit is not None:  # of the size of the distances, so that points cannot shrink to nothing
            wanted *= np.sqrt(squares / float((wanted**2).sum()))
        loss = float(((wanted - between) ** 2).sum())
        if before - loss <= settled * loss + np.finfo(np.float64).eps * squares:
            converged = True
            break
        before = loss
        ratio = np.divide(wanted, between, out=np.zeros_like(d), where=between > 0)
        points = (ratio.sum(axis=1)[:, None] * points - ratio @ points) / n
        between = _point_distances(points)
    if fit is not None:
        points = points * np.sqrt(squares / max(float((between**2).sum()), np.finfo(np.float64).tiny))
        between = _point_distances(points)
        wanted = fit(between)
    return points, _stress(between, wanted), converged


def _increasing(d: Float64) -> Callable[[Float64], Float64]:
    """Return what turns distances (n_members, n_members) into the nearest that increase with ``d``.

    Ties of d may be broken (Kruskal's primary approach).
    """
    i, j = np.triu_indices(len(d), 1)
    pairs = d[i, j]
    fixed = np.argsort(pairs, kind="stable")
    tied = bool((np.diff(pairs[fixed]) == 0).any())

    def fit(between: Float64) -> Float64:
        values = between[i, j]
        order = np.lexsort((values, pairs)) if tied else fixed
        out = np.zeros_like(d)
        out[i[order], j[order]] = scipy.optimize.isotonic_regression(values[order]).x
        return out + out.T

    return fit


def _oriented(points: Float64) -> Float64:
    """Centre, turn to principal axes; the largest coordinate of each is positive."""
    centred = points - points.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    turned: Float64 = u * s
    signs = np.sign(turned[np.abs(turned).argmax(axis=0), np.arange(turned.shape[1])])
    return turned * np.where(signs == 0, 1.0, signs)
