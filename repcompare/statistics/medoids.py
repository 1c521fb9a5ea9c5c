"""Typical members: clusters around medoids, by exact swaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.statistics.spaces import Float64, Intp, check_distances, whole_number

ROUNDING = 1e-12  # a swap must lower the cost by more than this share of it


@dataclass(frozen=True)
class Medoids:
    """Members that stand for the others.

    Attributes
    ----------
    medoids : ndarray of int, shape (n_clusters,)
        The typical members, in their own order.
    labels : ndarray of int, shape (n_members,)
        Cluster of each member: place of the nearest medoid among ``medoids``.
    cost : float
        Sum of the distances of members to their medoids.
    silhouette : ndarray, shape (n_members,), optional
        (b - a) / max(a, b), in [-1, 1]: a the mean distance to the other members of the own cluster, b to those of the
        nearest other one; 0 for clusters of one.  None for 1 cluster, or as many as members.
    n_swaps : int
        Swaps from the start to the end.
    """

    medoids: Intp
    labels: Intp
    cost: float
    silhouette: Float64 | None
    n_swaps: int


def k_medoids(distances: npt.ArrayLike, n_clusters: int) -> Medoids:
    """Choose the members from which the summed distances to all others are smallest.

    Medoids are added one by one where they lower the cost most; then the best of all swaps of a medoid with another member
    is made until none lowers it.  Nothing is random.

    Parameters
    ----------
    distances : array, shape (n_members, n_members)
        Metric distances.
    n_clusters : int
        From 1 to n_members.

    Returns
    -------
    Medoids
        No single swap lowers its cost further.

    Raises
    ------
    OptionError
        For an impossible number of clusters.
    MeasureError
        For what is no matrix of distances.

    References
    ----------
    Kaufman & Rousseeuw 1990 (PAM); Schubert & Rousseeuw 2021 (all swaps at once); Rousseeuw 1987 (silhouettes).

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    >>> found = k_medoids(np.abs(points[:, None] - points), 2)
    >>> found.medoids.tolist(), found.cost
    ([1, 4], 4.0)
    """
    d = check_distances(distances)
    whole_number(n_clusters, "n_clusters", len(d))
    chosen, swaps = _build(d, n_clusters), 0
    cost = float(d[:, chosen].min(axis=1).sum())
    while n_clusters < len(d):
        delta = swap_changes(d, chosen)
        slot, member = np.unravel_index(int(delta.argmin()), delta.shape)
        trial = chosen.copy()
        trial[slot] = member
        reached = float(d[:, trial].min(axis=1).sum())
        if not reached < cost - ROUNDING * cost:
            break
        chosen, cost, swaps = trial, reached, swaps + 1
    chosen = np.sort(chosen)
    labels = np.asarray(d[:, chosen].argmin(axis=1), dtype=np.intp)
    labels[chosen] = np.arange(n_clusters)  # of two medoids at distance 0 each keeps itself
    return Medoids(chosen, labels, cost, _silhouette(d, labels, n_clusters), swaps)


def _build(d: Float64, n_clusters: int) -> Intp:
    chosen = [int(d.sum(axis=0).argmin())]
    nearest = d[:, chosen[0]]
    while len(chosen) < n_clusters:
        gain = np.maximum(nearest[:, None] - d, 0).sum(axis=0)
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        nearest = np.minimum(nearest, d[:, chosen[-1]])
    return np.array(chosen, dtype=np.intp)


def swap_changes(d: Float64, chosen: Intp) -> Float64:
    """Change of the cost by every swap of a medoid with another member, exactly.

    Parameters
    ----------
    d : ndarray, shape (n_members, n_members)
        Distances.
    chosen : ndarray of int, shape (n_clusters,)
        The medoids.

    Returns
    -------
    ndarray, shape (n_clusters, n_members)
        inf where the member is a medoid already.  O(n_clusters n_members^2) for all together.

    Examples
    --------
    >>> d = np.abs(np.subtract.outer([0.0, 1.0, 5.0], [0.0, 1.0, 5.0]))
    >>> swap_changes(d, np.array([0, 2]))
    array([[inf,  0., inf],
           [inf,  3., inf]])
    """
    to = d[:, chosen]
    own = to.argmin(axis=1)
    nearest = to[np.arange(len(d)), own]
    others = to.copy()
    others[np.arange(len(d)), own] = np.inf
    second = others.min(axis=1)  # inf for a single medoid
    closer = np.minimum(d - nearest[:, None], 0)  # a member goes over to the new medoid
    # when its own medoid goes, it moves to the nearer of the new one and its second
    moved = np.minimum(d, second[:, None]) - nearest[:, None] - closer
    member_of = np.arange(len(chosen))[:, None] == own[None, :]
    change: Float64 = closer.sum(axis=0)[None, :] + member_of.astype(np.float64) @ moved
    change[:, chosen] = np.inf
    return change


def _silhouette(d: Float64, labels: Intp, n_clusters: int) -> Float64 | None:
    if not 1 < n_clusters < len(d):
        return None
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(d, labels, metric="precomputed"), dtype=np.float64)
