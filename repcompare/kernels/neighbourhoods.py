"""Who is near whom: shifted tables of offsets on a grid, bounded shortest paths on a mesh."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count_shifted(place, lookup, offsets, counts):  # type: ignore[no-untyped-def]
    """Write to ``counts`` (n_units,) how many units lie at the given offsets from each.

    ``lookup`` is a flat padded grid that holds the unit of each voxel, -1 for none; ``place`` (n_units,) is where each unit
    stands in it, ``offsets`` (n_offsets,) are steps in it.
    """
    for u in range(place.size):
        found = 0
        for step in offsets:
            found += lookup[place[u] + step] >= 0
        counts[u] = found


@njit(cache=True, nogil=True)
def fill_shifted(place, lookup, offsets, starts, members):  # type: ignore[no-untyped-def]
    """Write the units at the offsets from unit u to ``members[starts[u]:starts[u + 1]]``, in the order of the offsets."""
    for u in range(place.size):
        at = starts[u]
        for step in offsets:
            other = lookup[place[u] + step]
            if other >= 0:
                members[at] = other
                at += 1


@njit(cache=True, nogil=True)
def reach(source, limit, graph, distance, touched):  # type: ignore[no-untyped-def]
    """Find the nodes within ``limit`` of ``source`` along edges (Dijkstra); return how many.

    ``graph`` is (starts, ends, lengths), the edges of every node (CSR).  ``touched`` (n,) is overwritten with the nodes that
    were seen, those within reach among them; ``distance`` (n,) holds infinity on entry, and is left filled for the touched
    ones.  The second value returned is the number of touched nodes.
    """
    starts, ends, lengths = graph
    distance[source] = 0.0
    touched[0] = source
    seen = 1
    within = 0
    heap = [(0.0, source)]
    while len(heap) > 0:
        walked, node = heappop(heap)
        if walked > distance[node]:
            continue
        within += 1
        for e in range(starts[node], starts[node + 1]):
            other = ends[e]
            further = walked + lengths[e]
            if further <= limit and further < distance[other]:
                if distance[other] == np.inf:
                    touched[seen] = other
                    seen += 1
                distance[other] = further
                heappush(heap, (further, other))
    return within, seen


@njit(cache=True, nogil=True)
def fill_reach(nodes, unit_of, limit, graph, lists, scratch):  # type: ignore[no-untyped-def]
    """Count, and where there is room write, the units within reach of each of ``nodes`` (n_units,).

    ``graph`` is (starts, ends, lengths); ``unit_of`` (n_nodes,) the unit of each node, -1 for none; ``lists`` is (counts,
    starts, members), where members may be empty: then only counts are written; ``scratch`` is (distance, touched) of
    :func:`reach`.  Units come in ascending order.
    """
    counts, first, members = lists
    distance, touched = scratch
    for u in range(nodes.size):
        _, seen = reach(nodes[u], limit, graph, distance, touched)
        found = 0
        for t in range(seen):
            node = touched[t]
            distance[node] = np.inf
            if unit_of[node] >= 0:
                if members.size > 0:
                    members[first[u] + found] = unit_of[node]
                found += 1
        counts[u] = found
        if members.size > 0:
            members[first[u] : first[u] + found].sort()
