"""Neighbourhood measures and descriptors against loops, their identities, nulls, ties and hard data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures import _lists
from repcompare.measures._forms import as_distance
from repcompare.measures._measure import as_outcome
from repcompare.measures.descriptors import concentricity_difference, magnitude_difference, uniformity_difference
from repcompare.measures.neighbours import aligned_cosine, cknna, jaccard, mutual_knn, second_order_cosine
from tests import naive_neighbours as naive


def outcome(measure, x, y):
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y)))


def value(measure, x, y):
    return outcome(measure, x, y).score


def systems(n=30, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


SHAPES = [(30, 6, 5), (14, 20, 30), (25, 40, 3), (12, 1, 2)]


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4, 9])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_overlaps_equal_the_oracle(kind, k, shape):
    x, y = systems(*shape)
    assert value(mutual_knn(k, neighbours=kind), x, y) == pytest.approx(naive.mutual_knn(x, y, k, kind), abs=1e-13)
    assert value(jaccard(k, neighbours=kind), x, y) == pytest.approx(naive.jaccard(x, y, k, kind), abs=1e-13)


@pytest.mark.parametrize("k", [2, 4, 9])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_second_order_and_cknna_equal_the_oracle(k, shape):
    x, y = systems(*shape)
    assert value(second_order_cosine(k), x, y) == pytest.approx(naive.second_order_cosine(x, y, k), abs=1e-12)
    if shape[1] > 1:  # the cosines of a single unit are 1 and -1
        assert value(cknna(k), x, y) == pytest.approx(naive.cknna(x, y, k), abs=1e-10)


@pytest.mark.parametrize("shape", [(30, 6, 5), (14, 20, 30), (25, 40, 3)], ids=str)
def test_aligned_cosine_equals_the_oracle(shape):
    x, y = systems(*shape)
    found = outcome(aligned_cosine(), x, y)
    assert found.score == pytest.approx(naive.aligned_cosine(x, y), abs=1e-12)
    assert found.notes == ()


def test_cknna_with_all_neighbours_is_debiased_cka():
    for n in (6, 20):
        x, y = systems(n, 7, 4, seed=n)
        assert value(cknna(n - 1), x, y) == pytest.approx(naive.debiased_cka_of_normalised(x, y), abs=1e-11)


def test_cknna_does_not_depend_on_the_order():
    x, y = systems(40)
    assert value(cknna(5), x, y) == pytest.approx(value(cknna(5), y, x), abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(5, 25),
    widths=st.tuples(*[st.integers(2, 8)] * 3),  # the cosines of one unit may all be 1: an error
    k=st.integers(1, 3),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["cosine", "euclidean"]),
)
def test_overlaps_obey_the_triangle(n, widths, k, seed, kind):
    """mutual_knn(A, C) >= mutual_knn(A, B) + mutual_knn(B, C) - 1, and 1 - jaccard is a metric of sets."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.normal(size=(n, w)) for w in widths)
    for make in (mutual_knn, jaccard):
        measure = make(k, neighbours=kind)
        states = [measure.prepared(v) for v in (a, b, c)]
        ab, bc, ac = (measure.compare(states[i], states[j]).score for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac >= ab + bc - 1 - 1e-12
        assert as_distance(measure, "one_minus_score").is_metric


@pytest.mark.parametrize("make", [mutual_knn, jaccard, second_order_cosine])
@pytest.mark.parametrize("shape", [(40, 6), (12, 30)], ids=str)
def test_all_pairs_at_once(make, shape, monkeypatch):
    n, p = shape
    measure = make(5)
    states = [measure.prepared(systems(n, p, seed=seed)[0]) for seed in range(6)]
    for cheaper in (0, 40, 1e9):  # second_order_cosine: pair by pair, as it comes, by blocks
        monkeypatch.setattr(_lists, "CHEAPER", cheaper)
        for width in (8 * n * 12, 1 << 30):  # one stimulus a block; all in one
            monkeypatch.setattr(_lists, "BLOCK_BYTES", width)
            for xs, ys in ((states, states), (states[:2], states[2:]), (states[:1], states[:1])):
                expected = [[measure.compare(x, y).score for y in ys] for x in xs]
                np.testing.assert_allclose(measure.compare_many(xs, ys), expected, rtol=0, atol=1e-13)
    noted, pair = measure.annotate(*states[:2]), measure.compare(*states[:2])
    assert (noted.details, noted.counts, noted.notes) == (pair.details, pair.counts, pair.notes)
    with pytest.raises(MeasureError, match="expected the same stimuli"):
        measure.compare_many(states, [measure.prepared(systems(n + 1, p)[0])])


def test_tables_keep_chance_levels_and_ties():
    """In a table all pairs are scored at once; what stands beside a score is that of a single pair."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 3, size=(30, 3)).astype(float)
    data = {name: v for name, v in (("a", counts), ("b", rng.normal(size=(30, 4))))}
    made = {name: rc.representation(v, stimulus=[f"s{i:02}" for i in range(30)]) for name, v in data.items()}
    plain, distance = mutual_knn(5), as_distance(mutual_knn(5), "one_minus_score")
    table = rc.similarity_matrix(made, measure=[plain])
    assert table["score_null_mean"].sel(source="a", target="b").item() == pytest.approx(5 / 29)
    assert "neighbours_tied" in str(table["notes"].sel(source="a", target="b").item())
    turned = rc.similarity_matrix(made, measure=[distance])
    assert turned["score_null_mean"].sel(source="a", target="b").item() == pytest.approx(1 - 5 / 29)


def test_all_pairs_with_patterns_orthogonal_to_their_neighbours():
    x, y = systems(12, 6)
    lone = np.concatenate([np.r_[1.0, np.zeros(11)][:, None], np.abs(x)], axis=1)
    lone[0, 1:] = 0
    measure = second_order_cosine(3)
    states = [measure.prepared(v) for v in (lone, y)]
    with pytest.raises(MeasureError, match="orthogonal to all their neighbours"):
        measure.compare(states[0], states[0])
    with pytest.raises(MeasureError, match="orthogonal to all their neighbours"):
        measure.compare_many(states, states)


def test_null_means_are_exact():
    n, k = 15, 4
    x, y = systems(n)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(n) for _ in range(3000)]
    for make, expected in ((mutual_knn, k / (n - 1)), (jaccard, naive.jaccard_null(n, k))):
        measure = make(k)
        a, b = measure.prepared(x), measure.prepared(y)
        assert measure.compare(a, b).details["null_mean"] == pytest.approx(expected, abs=1e-14)
        null = np.array([measure.compare(a, measure.restrict(b, order)).score for order in orders])
        assert null.mean() == pytest.approx(expected, abs=4 * null.std() / np.sqrt(len(null)))


def test_chance_corrected():
    x, y = systems()
    plain, corrected = outcome(mutual_knn(5), x, y), outcome(mutual_knn(5, chance_corrected=True), x, y)
    chance = 5 / 29
    assert corrected.score == pytest.approx((plain.score - chance) / (1 - chance), abs=1e-14)
    assert corrected.details["null_mean"] == 0
    assert value(mutual_knn(5, chance_corrected=True), x, 3 * x) == 1


@pytest.mark.parametrize("make", [mutual_knn, jaccard, second_order_cosine, cknna])
def test_unrelated_systems_are_at_chance(make):
    found, null = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found.append(outcome(make(5), rng.normal(size=(50, 40)), rng.normal(size=(50, 40))))
        null.append(found[-1].details.get("null_mean", np.nan))
    mean = np.mean([f.score for f in found])
    if make in (mutual_knn, jaccard):
        assert mean == pytest.approx(np.mean(null), abs=0.02)
    else:
        assert mean < 0.6


def test_ties_go_to_the_lower_index():
    """Counts: many equal distances.  Both routes (narrow, wide) and both orders of magnitude choose alike."""
    rng = np.random.default_rng(0)
    for p in (4, 60):
        x, y = rng.integers(0, 3, size=(2, 24, p)).astype(float)
        x[:, 0] += 1
        y[:, 0] += 1
        for kind in ("cosine", "euclidean"):
            for k in (1, 3, 8):
                found = value(mutual_knn(k, neighbours=kind), x, y)
                assert found == pytest.approx(naive.mutual_knn(x, y, k, kind), abs=1e-13)
                assert value(mutual_knn(k, neighbours=kind), x * 1e-6, y * 4) == found
    x = rng.integers(0, 2, size=(40, 3)) + np.array([0.0, 0.0, 1.0])
    found = outcome(mutual_knn(3), x, y=systems(40)[1])
    assert found.counts["neighbours_tied"] > 4
    assert "equally near" in found.notes[0]


def test_a_stimulus_is_not_its_own_neighbour_even_among_duplicates():
    x = np.repeat(np.random.default_rng(0).normal(size=(10, 5)), 2, axis=0)
    state = mutual_knn(1).prepared(x)
    np.testing.assert_array_equal(state.lists[:, 0], np.arange(20) ^ 1)


@pytest.mark.parametrize("make", [mutual_knn, jaccard])
def test_a_shared_offset_costs_only_the_digits_of_the_data(make):
    """1e4 + 1e-6 z: cosines are 1 - 1e-20, beyond float64; their order is still that of the distances."""
    x, y = systems(40, 8, 8)
    for kind in ("cosine", "euclidean"):
        measure = make(5, neighbours=kind)
        far = value(measure, 1e4 + x, 1e4 + y)
        assert value(measure, 1e4 + 1e-6 * x, 1e4 + 1e-6 * y) == pytest.approx(far, abs=0.02)
        narrow = value(measure, *((1e4 + v).astype(np.float32) for v in (x, y)))
        assert narrow == pytest.approx(far, abs=0.03)


@pytest.mark.parametrize("make", [mutual_knn, jaccard, second_order_cosine, cknna])
@pytest.mark.parametrize("p", [6, 60])
def test_scale_precision_and_units(make, p):
    x, y = systems(30, p, p)
    measure = make(5)
    before = value(measure, x, y)
    assert value(measure, x * 1e-6, y * 1e6) == pytest.approx(before, abs=1e-10)
    assert value(measure, x * 1e-150, y * 1e150) == pytest.approx(before, abs=1e-10)
    assert value(measure, x.astype(np.float32), y.astype(np.float32)) == pytest.approx(before, abs=1e-5)
    silent = np.concatenate([x, np.zeros((30, 4)), x], axis=1)
    assert value(measure, silent, y) == pytest.approx(before, abs=1e-10)


def test_degenerate_data_are_clear_errors():
    x, y = systems()
    x[3] = 0
    for measure in (mutual_knn(), aligned_cosine(), concentricity_difference()):
        with pytest.raises(MeasureError, match="1 stimuli have a response of 0 .*row 3") as caught:
            value(measure, x, y)
        assert caught.value.rows == [3]
    assert np.isfinite(value(mutual_knn(neighbours="euclidean"), x, y))
    with pytest.raises(MeasureError, match="equally near"):
        mutual_knn(3).prepared(np.eye(9))
    with pytest.raises(MeasureError, match="no variance"):
        mutual_knn(3).prepared(np.outer(np.arange(1.0, 10), [1.0, 2.0]))  # one direction: all cosines are 1
    with pytest.raises(MeasureError, match="self-term .* is not positive"):
        cknna(8).prepared(np.eye(9))
    with pytest.raises(MeasureError, match="orthogonal to all"):
        z = np.kron(np.eye(9), [[1.0, 1.0]])
        z[0] += z[1]
        value(second_order_cosine(2), z, z)
    with pytest.raises(MeasureError, match="30 stimuli against 12"):
        value(mutual_knn(3), y, y[:12])
    with pytest.raises(MeasureError, match="30 stimuli against 12"):
        value(aligned_cosine(), y, y[:12])


def test_too_few_stimuli_and_bad_k():
    x, y = systems(11)
    with pytest.raises(MeasureError, match="11 stimuli; expected at least 12"):
        mutual_knn().prepared(x)
    measure = mutual_knn(8)
    with pytest.raises(MeasureError, match="9 stimuli; expected at least 10 for k=8"):
        measure.restrict(measure.prepared(x), np.arange(9))
    for bad in (0, -1, 2.5, True):
        with pytest.raises(OptionError, match="whole number"):
            mutual_knn(bad)
    with pytest.raises(OptionError, match="at least 2 neighbours"):
        cknna(1)
    with pytest.raises(OptionError, match="neighbours='manhattan'"):
        jaccard(neighbours="manhattan")


def test_aligned_cosine_says_where_the_rotation_is_free():
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.normal(size=(12, 6)))
    x, y = u[:, :3], u[:, 3:]
    x, y = x + 0.0, np.concatenate([x[:, :1], y[:, :2]], axis=1)
    found = outcome(aligned_cosine(), x, y)
    assert found.notes[0].startswith("rotation_undetermined")


@pytest.mark.parametrize("shape", [(30, 6, 5), (14, 20, 30)], ids=str)
def test_descriptors_equal_the_oracle(shape):
    x, y = systems(*shape)
    x, y = x / 9 + 0.3, y / 9 + 0.5
    cases = (
        (magnitude_difference(), naive.magnitude),
        (uniformity_difference(), naive.uniformity),
        (uniformity_difference(0.5), lambda v: naive.uniformity(v, 0.5)),
        (concentricity_difference(), naive.concentricity),
    )
    for measure, oracle in cases:
        assert value(measure, x, y) == pytest.approx(abs(oracle(x) - oracle(y)), abs=1e-12)
        narrow = value(measure, x.astype(np.float32), y.astype(np.float32))
        assert narrow == pytest.approx(abs(oracle(x) - oracle(y)), abs=1e-5)


def test_descriptors_where_they_say_nothing():
    x, y = systems()
    found = outcome(uniformity_difference(), 100 * x, 100 * y)
    assert found.score < 1e-12
    assert found.notes[0].startswith("uniformity_saturated")
    with pytest.raises(MeasureError, match="mean pattern is 0"):
        concentricity_difference().prepared(x - x.mean(0))
    with pytest.raises(OptionError, match="t=0"):
        uniformity_difference(0)
