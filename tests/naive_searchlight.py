"""A searchlight as loops over centres: the units within reach one by one, then the public functions."""

from __future__ import annotations

import heapq

import numpy as np

import repcompare as rc


def spheres(positions, radius):
    """Return the units within the radius of each, by looking at all of them."""
    return [
        [
            u
            for u, other in enumerate(positions)
            if sum((a - b) ** 2 for a, b in zip(place, other, strict=True)) <= radius**2 + 1e-9
        ]
        for place in np.asarray(positions, dtype=float)
    ]


def discs(vertices, faces, radius):
    """Return the vertices within a path of the radius of each, by Dijkstra's algorithm on a dictionary."""
    edges = {v: {} for v in range(len(vertices))}
    for face in faces:
        for a in face:
            for b in face:
                if a != b:
                    edges[a][b] = float(np.linalg.norm(np.subtract(vertices[a], vertices[b])))
    out = []
    for source in edges:
        done, heap = {}, [(0.0, source)]
        while heap:
            length, node = heapq.heappop(heap)
            if node in done or length > radius + 1e-9:
                continue
            done[node] = length
            for other, step in edges[node].items():
                heapq.heappush(heap, (length + step, other))
        out.append(sorted(done))
    return out


def scores(ds, lists, models, *, distance, method, noise=None):
    """Return scores (n_models, n_units) of a representation; NaN where a function refuses."""
    out = np.full((len(models), len(lists)), np.nan)
    for u, members in enumerate(lists):
        part = ds.isel(unit=members)
        precision = noise.restrict(members) if hasattr(noise, "restrict") else noise
        try:
            found = rc.rdm(part, distance=distance, noise=precision)
            names = np.concatenate([found.stimulus_a.values[:1], found.stimulus_b.values[: ds.attrs["k"] - 1]])
            for m, model in enumerate(models):
                own = to_pairs(model, names)
                out[m, u] = rc.compare_rdms(own, found.dissimilarity.values, method=method)
        except rc.errors.MeasureError:
            pass
    return out


def to_pairs(model, names):
    """Return a model's distances in the order of the names, one pair at a time."""
    table = {}
    for a, b, d in zip(
        model.stimulus_a.values, model.stimulus_b.values, model.dissimilarity.values.ravel(), strict=True
    ):
        table[a, b] = table[b, a] = d
    return np.array([table[a, b] for i, a in enumerate(names) for b in names[i + 1 :]])
