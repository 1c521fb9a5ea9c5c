"""Matching of units: exact transport, what it must not see, and chance."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, MissingExtraError, OptionError
from repcompare.measures import _transport, registry
from repcompare.measures._measure import Folds, as_outcome
from repcompare.measures._transport import assign, transport
from repcompare.measures._units import haar
from repcompare.measures.cka import cka
from repcompare.measures.matching import axis_alignment, one_to_one, permutation, semi_match, soft_match
from repcompare.measures.shape import shape_distance
from tests import naive_matching

SHAPES = [(20, 5, 5), (20, 3, 6), (20, 6, 3), (20, 4, 7), (20, 6, 4), (4, 3, 5), (20, 1, 4), (6, 30, 20)]


def outcome(measure, x, y, folds=None):
    return as_outcome(measure.compare(measure.prepared(x, folds), measure.prepared(y, folds)))


def systems(n=20, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


def halves(n, fitted):
    return Folds(((np.arange(fitted), np.arange(fitted, n)),), n)


# Transport.


@pytest.mark.parametrize("shape", [(5, 5), (3, 6), (4, 7), (6, 4), (9, 12), (1, 5), (7, 1)], ids=str)
@pytest.mark.parametrize("solver", [None, "emd", "highs"])
def test_every_solver_finds_the_exact_optimum(shape, solver):
    if solver == "emd" and _transport._emd() is None:
        pytest.skip("POT is not installed")
    for seed in range(5):
        weights = 1e-6 * np.random.default_rng(seed).normal(size=shape)
        plan = transport(weights, solver)
        assert plan.total(weights) == pytest.approx(naive_matching.best_transport(weights), abs=1e-16, rel=1e-10)
        dense = np.zeros(shape)
        np.add.at(dense, (plan.rows, plan.columns), plan.mass)
        np.testing.assert_allclose(dense.sum(1), 1 / shape[0], rtol=1e-14)
        np.testing.assert_allclose(dense.sum(0), 1 / shape[1], rtol=1e-14)
        assert (plan.mass > 0).all()


def test_solvers_agree_on_ties_and_at_a_larger_size():
    rng = np.random.default_rng(0)
    tied = np.round(rng.normal(size=(12, 9)))
    large = rng.normal(size=(60, 45))
    for weights in (tied, large, np.zeros((4, 6))):
        expected = naive_matching.best_transport(weights)
        for solver in ("emd", "highs"):
            if solver == "highs" or _transport._emd() is not None:
                assert transport(weights, solver).total(weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (4, 9), (9, 4), (1, 3), (3, 1)], ids=str)
def test_assignment_of_either_shape(shape):
    weights = np.random.default_rng(0).normal(size=shape)
    pairs = assign(weights)
    assert pairs.total(weights) == pytest.approx(naive_matching.best_pairing(weights), abs=1e-14)
    assert (np.diff(pairs.rows) > 0).all()
    assert len(set(pairs.columns.tolist())) == min(shape)
    mirrored = assign(weights.T)  # a view that is not C-ordered
    assert mirrored.total(weights.T) == pytest.approx(pairs.total(weights), abs=1e-14)


def test_weights_that_overflow_raise():
    with pytest.raises(MeasureError, match="products of 2 and 3 units overflow"):
        assign(np.array([[1.0, np.inf, 0.0], [0.0, 1.0, 2.0]]))
    with pytest.raises(MeasureError, match="overflow"):
        assign(np.array([[np.nan, 1.0], [0.0, 1.0]]))


def test_without_the_extra_the_programme_has_a_limit(monkeypatch):
    monkeypatch.setattr(_transport, "_emd", lambda: None)
    weights = np.random.default_rng(0).normal(size=(4, 7))
    assert transport(weights).total(weights) == pytest.approx(naive_matching.best_transport(weights), abs=1e-12)
    with pytest.raises(MissingExtraError, match=r"999 and 1002 units is 1000998 entries.*repcompare\[transport\]"):
        transport(np.zeros((999, 1002)))


def test_the_extra_may_be_missing(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(_transport, "import_module", missing)
    assert _transport._emd() is None


# Against the definitions.


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_soft_match_equals_the_assignment_of_grains(shape):
    x, y = systems(*shape)
    expected = naive_matching.best_transport(naive_matching.correlations(x, y))
    assert outcome(soft_match(), x, y).score == pytest.approx(expected, abs=1e-12)
    assert outcome(soft_match("euclidean"), x, y).score == pytest.approx(naive_matching.soft_euclidean(x, y), abs=1e-10)


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_pairings_equal_trying_all(shape):
    x, y = systems(*shape)
    r = naive_matching.correlations(x, y)
    assert outcome(one_to_one(), x, y).score == pytest.approx(
        naive_matching.best_pairing(r) / min(shape[1:]), abs=1e-12
    )
    assert outcome(semi_match(), x, y).score == pytest.approx(r.max(axis=0).mean(), abs=1e-12)
    both = (r.max(axis=0).mean() + r.max(axis=1).mean()) / 2
    assert outcome(semi_match(symmetric=True), x, y).score == pytest.approx(both, abs=1e-12)


def test_held_out_forms_equal_the_definitions():
    x, y = systems(40, 5, 5)
    train, test = np.arange(25), np.arange(25, 40)
    fitted, tested = (naive_matching.correlations(x[rows], y[rows]) for rows in (train, test))
    from scipy.optimize import linear_sum_assignment

    pairs = linear_sum_assignment(-fitted)
    folds = halves(40, 25)
    for measure in (soft_match(held_out=True), one_to_one(held_out=True)):
        assert outcome(measure, x, y, folds).score == pytest.approx(tested[pairs].mean(), abs=1e-12)
    chosen = tested[fitted.argmax(axis=0), np.arange(5)].mean()
    assert outcome(semi_match(held_out=True), x, y, folds).score == pytest.approx(chosen, abs=1e-12)
    back = tested[np.arange(5), fitted.argmax(axis=1)].mean()
    both = outcome(semi_match(symmetric=True, held_out=True), x, y, folds).score
    assert both == pytest.approx((chosen + back) / 2, abs=1e-12)


def test_permutation_is_the_shape_distance_of_that_group():
    x, y = systems()
    for score in ("angular", "euclidean", "similarity"):
        ours = outcome(permutation(score=score), x, y).score
        assert ours == outcome(shape_distance(group="permutation", score=score), x, y).score
    raw = outcome(registry.make("permutation_procrustes"), x, y).score  # padded, neither centred nor scaled
    padded = np.pad(y, ((0, 0), (0, 1)))
    best = -naive_matching.best_pairing(-naive_matching.square_distances(x, padded))
    assert raw == pytest.approx(np.sqrt(best), abs=1e-10)


# Identities and inequalities.


def test_v35_soft_matching():
    """V35 and identity 9: equal sizes = best permutation; d(x, [x x]) = 0; d(x, xQ) > 0."""
    x, y = systems(30, 6, 6)
    pairing = naive_matching.best_pairing(naive_matching.correlations(x, y)) / 6
    assert outcome(soft_match(), x, y).score == pytest.approx(pairing, abs=1e-9)
    twice = np.hstack([x, x])
    assert outcome(soft_match("euclidean"), x, twice).score < 1e-6
    assert outcome(soft_match(), x, twice).score == pytest.approx(1, abs=1e-12)
    turned = x @ haar(6, np.random.default_rng(1))
    assert outcome(soft_match("euclidean"), x, turned).score > 0.5
    assert outcome(soft_match(), x, turned).score < 0.95


def test_correlation_is_one_less_half_the_squared_distance_of_unit_norm_units():
    x, y = systems(20, 4, 7)
    x, y = (v / np.linalg.norm(v - v.mean(0), axis=0) for v in (x, y))
    distance = outcome(soft_match("euclidean"), x, y).score
    assert outcome(soft_match(), x, y).score == pytest.approx(1 - distance**2 / 2, abs=1e-12)


def test_order_of_the_scores():
    """Free choice beats one-to-one; for equal sizes soft matching is one-to-one."""
    for seed in range(10):
        x, y = systems(20, 6, 6, seed)
        free, paired, soft = (outcome(m, x, y).score for m in (semi_match(), one_to_one(), soft_match()))
        assert free >= paired - 1e-12
        assert soft == pytest.approx(paired, abs=1e-12)


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("width", [4, 6])
def test_distances_keep_their_digits_as_systems_come_close(gap, width):
    """Squared sizes less twice the products lose digits near 0: there the differences themselves are summed."""
    x, noise = systems(20, width, width)
    x = x - x.mean(0)
    x = np.hstack([x, np.zeros((20, 6 - width))])
    y = x.copy()
    y[:, :width] += gap * (noise - noise.mean(0))
    expected = np.sqrt(-naive_matching.best_pairing(-naive_matching.square_distances(x, y)))
    raw = permutation(score="euclidean", scale=False)
    assert outcome(raw, x[:, :width], y).score == pytest.approx(expected, rel=1e-9)
    if width == 6:
        assert outcome(soft_match("euclidean"), x, y).score == pytest.approx(expected / np.sqrt(6), rel=1e-9)
        scaled = [v / np.linalg.norm(v) for v in (x, y)]
        chord = np.sqrt(-naive_matching.best_pairing(-naive_matching.square_distances(*scaled)))
        for group in ("permutation", "soft"):
            found = outcome(shape_distance(group=group, score="euclidean"), x, y).score
            assert found == pytest.approx(chord, rel=1e-6)


def test_soft_euclidean_keeps_the_triangle():
    rng = np.random.default_rng(0)
    measure = soft_match("euclidean")
    for trial in range(60):
        nested = rng.normal(size=(7, 6))
        systems = [nested[:, :w] if trial % 2 else rng.normal(size=(7, w)) for w in rng.integers(1, 6, size=3)]
        ab, bc, ac = (outcome(measure, systems[i], systems[j]).score for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac <= ab + bc + 1e-9


def test_the_plan_is_part_of_the_result():
    x, _ = systems(20, 4)
    order = np.array([2, 0, 3, 1])
    details = outcome(soft_match(), x, x[:, order]).details
    assert dict(zip(details["plan_target"], details["plan_source"], strict=True)) == dict(enumerate(order))
    np.testing.assert_allclose(details["plan_mass"], 0.25)


# Chance.


def test_v35_the_best_of_many_units_is_biased_in_sample_and_not_held_out():
    """N(100 x 200) against N(100 x 50), chosen on 50 rows: .38 there, 0 on the rest."""
    rng = np.random.default_rng(0)
    fitted, tested = [], []
    for _ in range(10):
        x, y = rng.normal(size=(100, 200)), rng.normal(size=(100, 50))
        fitted.append(outcome(semi_match(), x[:50], y[:50]).score)
        tested.append(outcome(semi_match(held_out=True), x, y, halves(100, 50)).score)
    assert np.mean(fitted) == pytest.approx(0.38, abs=0.02)
    assert abs(np.mean(tested)) < 0.02


@pytest.mark.parametrize("measure", [soft_match(held_out=True), one_to_one(held_out=True)], ids=lambda m: m.name)
def test_held_out_matching_has_no_bias(measure):
    rng = np.random.default_rng(0)
    folds = halves(100, 50)
    scores = [outcome(measure, rng.normal(size=(100, 40)), rng.normal(size=(100, 40)), folds).score for _ in range(40)]
    assert abs(np.mean(scores)) < 0.02


def test_v35_axis_alignment():
    """Index of a shared sparse code .60, of a rotation-symmetric code 0."""
    rng = np.random.default_rng(0)

    def noisy(s):
        s = s[:, rng.permutation(40)]
        return s + 0.3 * s.std(0) * rng.normal(size=s.shape)

    sparse, symmetric = [], []
    for draw in range(10):
        code = np.maximum(rng.normal(size=(300, 40)) - 1, 0)
        sparse.append(axis_alignment(noisy(code), noisy(code), seed=draw))
        smooth = rng.normal(size=(300, 40)) * np.arange(1, 41) ** -0.5
        sides = (smooth @ haar(40, rng), smooth @ haar(40, rng))
        symmetric.append(axis_alignment(*sides, seed=draw).score)
    assert np.mean([found.score for found in sparse]) == pytest.approx(0.60, abs=0.05)
    assert abs(np.mean(symmetric)) < 0.03
    assert sparse[0].pvalue == pytest.approx(1 / 21)
    assert sparse[0].rotated.shape == (20,)
    assert sparse[0].score == pytest.approx(sparse[0].observed - sparse[0].rotated.mean())


def test_axis_alignment_of_other_measures():
    x, _ = systems(40, 6)
    again = axis_alignment(x, x, seed=3).rotated
    np.testing.assert_array_equal(axis_alignment(x, x, seed=3).rotated, again)
    assert (axis_alignment(x, x, seed=4).rotated != again).all()
    assert axis_alignment(x, x, measure=shape_distance(group="permutation")).score > 0.1  # a distance, sign turned
    assert axis_alignment(x, x, measure=cka()).score == pytest.approx(0, abs=1e-12)
    with pytest.raises(OptionError, match="without folds"):
        axis_alignment(x, x, measure=soft_match(held_out=True))
    with pytest.raises(OptionError, match="n_rotations=1"):
        axis_alignment(x, x, n_rotations=1)


def test_rotations_are_orthogonal_and_not_all_alike():
    draws = np.stack([haar(3, np.random.default_rng(seed)) for seed in range(400)])
    np.testing.assert_allclose(draws @ draws.transpose(0, 2, 1), np.broadcast_to(np.eye(3), draws.shape), atol=1e-12)
    assert np.abs(draws.mean(0)).max() < 0.1
    assert abs(np.linalg.det(draws).mean()) < 0.15


# Awkward data.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dead_units_are_dropped_and_counted(dtype):
    x, y = systems(20, 5, 7)
    dead = np.column_stack([np.full(20, 0.1), x, np.full(20, 1e4)]).astype(dtype)
    for measure in (soft_match(), one_to_one(), semi_match(), semi_match(symmetric=True)):
        found = outcome(measure, dead, y)
        assert found.score == pytest.approx(outcome(measure, x, y).score, abs=1e-12 if dtype is np.float64 else 1e-6)
        assert found.counts == {"source_units_constant": 2}
        assert found.details["plan_source"].min() >= 1
        assert found.details["plan_source"].max() <= 5
        with pytest.raises(MeasureError, match="no variance"):
            outcome(measure, np.full((20, 3), 0.1, dtype), y)
    assert outcome(soft_match("euclidean"), dead, y).counts == {}


def test_rounding_is_not_variance():
    x, y = systems(20, 5, 7)
    flicker = np.where(np.arange(20) % 2, 0.1 + 0.2, 0.3)  # differs in the last digit
    assert flicker.std() > 0
    found = outcome(soft_match(), np.column_stack([x, flicker]), y)
    assert found.counts == {"source_units_constant": 1}


def test_units_that_are_silent_over_the_test_stimuli():
    x, y = systems(40, 3, 3)
    x, y = x.copy(), x + 0.1 * y
    x[30:, 0] = 1.0
    found = outcome(one_to_one(held_out=True), x, y, halves(40, 30))
    assert found.counts == {"links_untested": 1}
    assert found.score > 0.9
    x[30:] = 1.0
    with pytest.raises(MeasureError, match="no matched units vary over the 10 test stimuli"):
        outcome(one_to_one(held_out=True), x, y, halves(40, 30))
    with pytest.raises(MeasureError, match="1 test stimuli in a fold"):
        outcome(one_to_one(held_out=True), x, y, halves(40, 39))


def test_scale_offset_precision_and_few_stimuli():
    x, y = systems(30, 6, 4)
    for measure in (soft_match(), one_to_one(), semi_match()):
        expected = outcome(measure, x, y).score
        assert outcome(measure, 1e-6 * x + 1e4, y).score == pytest.approx(expected, abs=1e-5)
        assert outcome(measure, (1e-6 * x).astype(np.float32), y).score == pytest.approx(expected, abs=1e-6)
        assert -1 <= outcome(measure, x[:4], y[:4]).score <= 1
    scaled = outcome(soft_match("euclidean"), 1e-6 * x + 1e4, 1e-6 * y).score
    assert scaled == pytest.approx(1e-6 * outcome(soft_match("euclidean"), x, y).score, rel=1e-4)


def test_errors():
    x, y = systems()
    for measure in (soft_match(), soft_match("euclidean"), one_to_one(), semi_match(), permutation()):
        with pytest.raises(MeasureError, match="20 stimuli against 12"):
            outcome(measure, x, y[:12])
    with pytest.raises(OptionError, match="did you mean 'correlation'"):
        soft_match("correlations")
    with pytest.raises(OptionError, match="goes with score='euclidean' only"):
        permutation(scale=False)
    with pytest.raises(OptionError, match="centre=False goes with held_out=False"):
        permutation(centre=False, held_out=True)
    with pytest.raises(OptionError, match="did you mean 'angular'"):
        permutation(score="anguler")
