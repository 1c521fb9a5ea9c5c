"""Trees, maps and typical members against loops and brute force, and what each of them promises."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster

from repcompare.errors import MeasureError, OptionError
from repcompare.statistics.medoids import k_medoids, swap_changes
from repcompare.statistics.spaces import (
    LINKAGES,
    METHODS,
    POLISHED,
    _majorise,
    broken_triangle,
    check_distances,
    cluster_tree,
    embedding,
)


def between(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def cloud(n=9, dims=3, seed=0):
    return between(np.random.default_rng(seed).normal(size=(n, dims)))


def angles(n=9, dims=3, seed=0):
    """Angles between random directions: a metric that is not Euclidean."""
    points = np.random.default_rng(seed).normal(size=(n, dims))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = np.arccos(np.clip(points @ points.T, -1, 1))
    np.fill_diagonal(found, 0)
    return found


def two_groups(seed=0):
    rng = np.random.default_rng(seed)
    return between(np.concatenate([rng.normal(size=(5, 2)), rng.normal(size=(4, 2)) + 20]))


# ---- oracles


def naive_merges(d, linkage):
    """Sets that merge and their heights, from the definition of each linkage over all pairs of members."""
    clusters = [frozenset([i]) for i in range(len(d))]
    far = {frozenset([a, b]): d[min(a), min(b)] for a in clusters for b in clusters if a != b}
    heights = []
    while len(clusters) > 1:
        a, b = min(combinations(clusters, 2), key=lambda pair: far[frozenset(pair)])
        heights.append(far[frozenset([a, b])])
        clusters = [c for c in clusters if c not in (a, b)]
        for c in clusters:
            pairs = [d[i, j] for i in a | b for j in c]
            far[frozenset([a | b, c])] = {
                "average": np.mean(pairs),
                "complete": max(pairs),
                "single": min(pairs),
                "weighted": (far[frozenset([a, c])] + far[frozenset([b, c])]) / 2,
            }[linkage]
        clusters.append(a | b)
    return heights


def naive_cost(d, chosen):
    return sum(min(d[o, m] for m in chosen) for o in range(len(d)))


def naive_silhouette(d, labels):
    out = []
    for i, own in enumerate(labels):
        mates = [d[i, j] for j in range(len(d)) if labels[j] == own and j != i]
        if not mates:
            out.append(0.0)
            continue
        others = [np.mean([d[i, j] for j in range(len(d)) if labels[j] == c]) for c in set(labels) - {own}]
        out.append((min(others) - np.mean(mates)) / max(min(others), np.mean(mates)))
    return out


# ---- trees


@pytest.mark.parametrize("linkage", LINKAGES)
def test_heights_equal_the_definition(linkage):
    for seed in range(3):
        d = angles(10, seed=seed)
        np.testing.assert_allclose(cluster_tree(d, linkage).merges[:, 2], naive_merges(d, linkage), rtol=1e-12)


def test_the_cut_has_exactly_as_many_clusters_and_nests():
    for d in (cloud(12), np.ones((6, 6)) - np.eye(6)):  # the second has nothing but ties
        n, coarser = len(d), None
        for k in range(1, n + 1):
            tree = cluster_tree(d, n_clusters=k)
            assert len(set(tree.labels)) == k
            seen = list(dict.fromkeys(tree.labels[tree.order].tolist()))
            assert seen == list(range(k))  # numbered along the leaves
            if coarser is not None:
                assert all(len(set(coarser[tree.labels == c])) == 1 for c in range(k))
            coarser = tree.labels
    labels = cluster_tree(cloud(12), n_clusters=4).labels
    theirs = fcluster(cluster_tree(cloud(12)).merges, 4, "maxclust")
    np.testing.assert_array_equal(labels[:, None] == labels, theirs[:, None] == theirs)


def test_leaves_stand_beside_their_neighbours():
    """Of all orders that a tree allows, the shortest walk: for points on a line, the line itself."""
    points = np.random.default_rng(3).permutation(np.array([0.0, 1, 2.5, 10, 11, 13, 40]))
    order = points[cluster_tree(between(points[:, None])).order]
    assert (np.diff(order) > 0).all() or (np.diff(order) < 0).all()


def test_cophenetic_correlation():
    heights = np.array([[0.0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 2], [4, 4, 2, 0]])  # an ultrametric
    for linkage in LINKAGES:
        assert cluster_tree(heights, linkage).cophenetic_correlation == 1.0
    line = between(np.arange(4.0)[:, None])
    assert cluster_tree(line, "single").cophenetic_correlation == 0.0  # a chain: all merge at 1
    found = cluster_tree(np.array([[0, 1.0, 3], [1, 0, 2], [3, 2, 0]]))
    assert found.cophenetic_correlation == pytest.approx(np.corrcoef([1, 3, 2], [1, 2.5, 2.5])[0, 1], abs=1e-12)
    assert cluster_tree([[0, 2.0], [2.0, 0]], n_clusters=2).labels.tolist() == [0, 1]


# ---- maps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_points_of_a_plane_are_found_again(method, scale):
    d = cloud(12, 2) * scale
    found = embedding(d, 2, method)
    assert found.stress < (1e-3 if method == "nonmetric" else 1e-6)
    if method != "nonmetric":
        np.testing.assert_allclose(between(found.coordinates), d, atol=1e-6 * scale)
    assert found.negative_share == pytest.approx(0, abs=1e-12)
    assert found.converged
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-12 * scale)
    product = found.coordinates.T @ found.coordinates
    assert abs(product[0, 1]) < 1e-9 * product[0, 0]  # principal axes
    assert product[0, 0] >= product[1, 1]


def test_classical_scaling_equals_the_principal_components():
    points = np.random.default_rng(0).normal(size=(10, 4))
    found = embedding(between(points), 3, "classical")
    u, s, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(u * s)[:, :3], atol=1e-10)
    np.testing.assert_allclose(found.eigenvalues[:4], s**2, rtol=1e-10)


def test_the_negative_share_is_that_of_the_eigenvalues():
    star = np.full((4, 4), 2.0)  # a centre at 1 from three leaves that are 2 apart: no Euclidean space has it
    star[0], star[:, 0] = 1.0, 1.0
    np.fill_diagonal(star, 0)
    h = np.eye(4) - 1 / 4
    values = np.linalg.eigvalsh(-h @ star**2 @ h / 2)
    assert values.min() < -1e-3
    expected = -values[values < 0].sum() / np.abs(values).sum()
    for method in METHODS:
        assert embedding(star, 2, method).negative_share == pytest.approx(expected, rel=1e-9)


def test_stress_never_rises_and_ends_at_a_stationary_point():
    d = angles(12, 5)
    start = np.random.default_rng(1).normal(size=(12, 2))
    losses, points = [], start
    for _ in range(60):
        losses.append(((between(points) - d) ** 2).sum())
        ratio = np.divide(d, between(points), out=np.zeros_like(d), where=between(points) > 0)
        points = (np.diag(ratio.sum(1)) - ratio) @ points / 12  # the Guttman transform, written out
    assert (np.diff(losses) <= 1e-12).all()
    ended, stress, converged = _majorise(start, d, False, POLISHED)
    assert converged
    assert stress <= np.sqrt(losses[-1] / (between(points) ** 2).sum()) + 1e-9
    gradient = np.zeros_like(ended)
    for i in range(12):
        for j in range(12):
            if i != j:
                gap = np.linalg.norm(ended[i] - ended[j])
                gradient[i] += 4 * (gap - d[i, j]) * (ended[i] - ended[j]) / gap
    assert np.linalg.norm(gradient) < 1e-4 * np.linalg.norm(d)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_no_worse_than_scikit_learn_from_many_starts():
    from sklearn.manifold import smacof

    for seed in range(3):
        d = angles(15, 6, seed)
        theirs = [smacof(d, n_components=2, n_init=1, eps=1e-9, max_iter=2000, random_state=s)[0] for s in range(8)]
        best = min(np.sqrt(((between(x) - d) ** 2).sum() / (between(x) ** 2).sum()) for x in theirs)
        assert embedding(d).stress <= best * 1.02


def test_mds_is_no_worse_than_its_start_and_nonmetric_fits_closer():
    for seed in range(3):
        d = angles(12, 6, seed)
        found = {method: embedding(d, 2, method) for method in METHODS}
        raw = ((between(found["classical"].coordinates) - d) ** 2).sum()
        assert ((between(found["mds"].coordinates) - d) ** 2).sum() <= raw
        assert found["nonmetric"].stress < found["mds"].stress
        assert found["mds"].stress == found["mds"].start_stress.min()
        assert len(found["mds"].start_stress) == 9
        assert len(found["classical"].start_stress) == 1
        squares = (between(found["nonmetric"].coordinates) ** 2).sum()
        assert squares == pytest.approx((d**2).sum(), rel=1e-9)


def test_nonmetric_scaling_sees_only_the_order():
    d = cloud(10, 2)
    plain, bent = embedding(d, 2, "nonmetric"), embedding(np.where(d > 0, 1 + d / d.max(), 0), 2, "nonmetric")
    assert bent.stress < 0.01
    assert embedding(np.where(d > 0, 1 + d / d.max(), 0), 2).stress > 0.05
    assert plain.stress < 0.01


def test_kruskal_stress_of_a_monotone_map_is_zero():
    """Stress 1 by an isotonic regression written out: pools of adjacent violators."""
    d = angles(9, 6)
    found = embedding(d, 2, "nonmetric")
    gaps = between(found.coordinates)
    i, j = np.triu_indices(9, 1)
    order = np.lexsort((gaps[i, j], d[i, j]))
    pools = [[value] for value in gaps[i, j][order]]
    k = 0
    while k < len(pools) - 1:
        if np.mean(pools[k]) > np.mean(pools[k + 1]):
            pools[k : k + 2] = [pools[k] + pools[k + 1]]
            k = max(k - 1, 0)
        else:
            k += 1
    fitted = np.concatenate([[np.mean(pool)] * len(pool) for pool in pools])
    values = gaps[i, j][order]
    assert found.stress == pytest.approx(np.sqrt(((fitted - values) ** 2).sum() / (values**2).sum()), rel=1e-9)


def test_the_seed_decides_and_members_at_one_place_stay_together():
    d = angles(10, 6)
    first, again = embedding(d, seed=1), embedding(d, seed=1)
    np.testing.assert_array_equal(first.coordinates, again.coordinates)
    twins = between(np.array([[0.0, 0], [0, 0], [3, 0], [0, 4]]))
    found = embedding(twins, 2)
    assert found.stress < 1e-6
    np.testing.assert_allclose(found.coordinates[0], found.coordinates[1], atol=1e-6)
    for method in METHODS:
        assert np.isfinite(embedding([[0, 2.0], [2.0, 0]], 1, method).coordinates).all()


# ---- medoids


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 12), k=st.integers(1, 5), seed=st.integers(0, 1000))
def test_swaps_change_the_cost_by_what_they_say(n, k, seed):
    k = min(k, n - 1)
    d = angles(n, 4, seed)
    chosen = np.random.default_rng(seed).permutation(n)[:k]
    change = swap_changes(d, chosen)
    before = naive_cost(d, chosen)
    for slot in range(k):
        for member in range(n):
            if member in chosen:
                assert change[slot, member] == np.inf
                continue
            swapped = [*np.delete(chosen, slot), member]
            assert change[slot, member] == pytest.approx(naive_cost(d, swapped) - before, abs=1e-12)


def test_medoids_against_all_choices():
    """Close to the best of all choices, and no single swap is better."""
    ratios = []
    for seed in range(20):
        d = angles(11, 4, seed)
        for k in (1, 2, 3, 4):
            found = k_medoids(d, k)
            assert found.cost == pytest.approx(naive_cost(d, found.medoids), rel=1e-12)
            assert (swap_changes(d, found.medoids) >= -1e-9).all()
            best = min(naive_cost(d, choice) for choice in combinations(range(11), k))
            assert found.cost >= best - 1e-12
            ratios.append(found.cost / best)
            if k == 1:
                assert found.cost == pytest.approx(best, rel=1e-12)
    assert np.mean(np.array(ratios) < 1 + 1e-9) > 0.8
    assert max(ratios) < 1.15


def test_groups_are_found_and_silhouettes_equal_the_loop():
    d = two_groups()
    found = k_medoids(d, 2)
    assert set(found.labels[:5]) == {0}
    assert set(found.labels[5:]) == {1}
    assert (found.silhouette > 0.7).all()
    for k in (2, 3, 8):
        found = k_medoids(d, k)
        np.testing.assert_allclose(found.silhouette, naive_silhouette(d, found.labels.tolist()), atol=1e-12)
    assert k_medoids(d, 1).silhouette is None
    everyone = k_medoids(d, 9)
    assert everyone.silhouette is None
    assert everyone.cost == 0
    assert everyone.labels.tolist() == list(range(9))


def test_twins_that_are_both_medoids_keep_themselves():
    d = between(np.array([[0.0], [0.0], [0.0], [5.0]]))
    found = k_medoids(d, 3)
    assert sorted(set(found.labels)) == [0, 1, 2]
    assert found.cost == 0


def test_order_of_members_does_not_matter():
    d = angles(14, 5)
    order = np.random.default_rng(0).permutation(14)
    moved = d[np.ix_(order, order)]
    assert set(order[k_medoids(moved, 4).medoids]) == set(k_medoids(d, 4).medoids)
    first, second = cluster_tree(d, n_clusters=4), cluster_tree(moved, n_clusters=4)
    np.testing.assert_allclose(first.merges[:, 2], second.merges[:, 2], rtol=1e-12)
    same = first.labels[order]
    np.testing.assert_array_equal(same[:, None] == same, second.labels[:, None] == second.labels)
    np.testing.assert_allclose(
        between(embedding(moved).coordinates), between(embedding(d).coordinates)[np.ix_(order, order)], atol=1e-3
    )


# ---- what is refused


def test_rounding_is_taken_out_and_more_is_refused():
    d = cloud()
    noisy = d + 1e-8 * np.random.default_rng(0).normal(size=d.shape)
    clean = check_distances(noisy)
    assert (clean == clean.T).all()
    assert (clean.diagonal() == 0).all()
    np.testing.assert_allclose(clean, d, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:2], "expected a square matrix"),
        (lambda d: d[:1, :1], "at least 2 members"),
        (lambda d: np.where(np.arange(9) == 3, np.nan, d), r"the distance of 'a' and 'd' is missing; .* leave one"),
        (lambda d: d + np.triu(np.ones((9, 9)), 1) * 0.1, "not symmetric: .* from 'a' to 'b'"),
        (lambda d: d + np.diag(np.arange(9.0)), "distance of 'i' from itself is 8; expected 0; is this a similarity"),
        (lambda d: -d, "'a' and 'b' is negative"),
        (lambda d: 0 * d, "all distances are 0"),
    ],
)
def test_what_is_no_matrix_of_distances(change, message):
    with pytest.raises(MeasureError, match=message):
        check_distances(change(cloud()), list("abcdefghi"))


def test_triangles():
    assert broken_triangle(angles(12)) is None
    d = cloud(8)
    d[2, 5] = d[5, 2] = 3 * d.max()
    i, j, k = broken_triangle(d)
    assert {i, j} == {2, 5}
    assert d[i, j] > d[i, k] + d[k, j]


def test_options():
    d = cloud(5)
    with pytest.raises(OptionError, match="linkage='ward'"):
        cluster_tree(d, "ward")
    with pytest.raises(OptionError, match="method='tsne'"):
        embedding(d, method="tsne")
    for wrong in (0, 6, 2.0, True):
        with pytest.raises(OptionError, match="n_clusters=.*from 1 to 5"):
            cluster_tree(d, n_clusters=wrong)
        with pytest.raises(OptionError, match="n_clusters=.*from 1 to 5"):
            k_medoids(d, wrong)
    with pytest.raises(OptionError, match="dimensions=5; expected a whole number from 1 to 4"):
        embedding(d, 5)
