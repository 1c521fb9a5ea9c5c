"""Scores without each stimulus and each unit against recomputing, and calibrated scores."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.functional import diagnostics
from repcompare.measures import registry
from repcompare.measures._measure import as_outcome
from repcompare.measures._pairs import square_kernel
from repcompare.measures.cka import cka
from repcompare.measures.dependence import distance_correlation
from repcompare.statistics.influence import calibrate, halve, leave_one_out, leave_one_unit_out
from tests import naive


def systems(n=20, p=6, q=50, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize(
    "make", [cka, distance_correlation, lambda: cka("rbf", bandwidth=3.0, bandwidth_scale="absolute")]
)
@pytest.mark.parametrize("n", [5, 6, 20])
def test_equals_preparing_without_each_stimulus(make, n):
    x, y = systems(n, 6, 8)
    measure = make()
    states = [measure.prepared(v) for v in (x, y)]
    found = leave_one_out(*(square_kernel(s) for s in states))
    assert found.score == pytest.approx(measure.compare(*states), abs=1e-12)
    again = [measure.compare(*(measure.prepared(np.delete(v, i, axis=0)) for v in (x, y))) for i in range(n)]
    np.testing.assert_allclose(found.without, again, rtol=0, atol=1e-11)
    mean = np.mean(again)
    assert found.standard_error == pytest.approx(np.sqrt((n - 1) / n * np.sum((again - mean) ** 2)), rel=1e-9)


def test_equals_the_traces():
    x, y = systems(9)
    states = [cka().prepared(v) for v in (x, y)]
    found = leave_one_out(*(square_kernel(s) for s in states)).without
    expected = [naive.cka(np.delete(x, i, 0), np.delete(y, i, 0), naive.hsic_song) for i in range(9)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_float32_kernels():
    x, y = systems(30)
    wide = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    narrow = leave_one_out(*(square_kernel(cka().prepared(v.astype(np.float32))) for v in (x, y)))
    np.testing.assert_allclose(narrow.without, wide.without, atol=1e-5)


def test_one_stimulus_that_decides_is_named():
    x, y = systems(60)
    none = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    assert len(none.flagged) == 0
    x[7] += 40
    y[7] += 40
    found = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    assert list(found.flagged) == [7]
    assert abs(found.score - none.score) > 0.1
    assert found.without[7] == pytest.approx(none.without[7], abs=1e-10)


def test_kernels_that_are_not_what_they_should_be():
    x, y = systems(8)
    good = square_kernel(cka().prepared(x))
    with pytest.raises(MeasureError, match="not U-centred"):
        leave_one_out(x @ x.T, good)
    with pytest.raises(MeasureError, match=r"shape \(4, 4\)"):
        leave_one_out(good[:4, :4], good)
    with pytest.raises(MeasureError, match="is 0"):
        leave_one_out(0 * good, good)
    with pytest.raises(MeasureError, match="missing or infinite"):
        leave_one_out(np.where(good > 0.1, np.nan, good), good)
    with pytest.raises(MeasureError, match="8 stimuli against 7"):
        leave_one_out(good, square_kernel(cka().prepared(x[:7])))


def compared(measure, x, y):
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score


def test_without_each_unit_equals_the_traces():
    x, y = systems(9, p=5, q=7)
    found = rc.influence(x, y, over="units").influence
    expected = [naive.cka(np.delete(x, a, 1), y, naive.hsic_song) for a in range(5)]
    np.testing.assert_allclose(found.without, expected, rtol=0, atol=1e-13)
    assert found.score == pytest.approx(naive.cka(x, y, naive.hsic_song), abs=1e-13)


@pytest.mark.parametrize("estimator", ["debiased", "biased", "rv2", "stimulus_and_unit"])
@pytest.mark.parametrize("shape", [(12, 40, 30), (40, 6, 5), (40, 6, 60)], ids=str)  # kernel and factor states
def test_closed_form_of_units_equals_preparing_without_each(estimator, shape):
    x, y = systems(*shape)
    measure = cka(estimator=estimator)
    for a, b in ((x, y), (1e6 * x + 30, 1e-6 * y), (x.astype(np.float32), y)):
        found = rc.influence(a, b, measure=measure, over="units").influence
        expected = [compared(measure, np.delete(x, u, 1), y) for u in range(shape[1])]
        np.testing.assert_allclose(found.without, expected, rtol=0, atol=1e-10 if a.dtype == np.float64 else 1e-6)
        assert found.score == pytest.approx(compared(measure, x, y), abs=1e-10 if a.dtype == np.float64 else 1e-6)


OVER_STIMULI = [
    ("cka", {"estimator": "biased"}),
    ("cka", {"estimator": "rv2"}),
    ("cka", {"estimator": "stimulus_and_unit"}),
    ("cka", {"kernel": "rbf"}),
    ("cka", {"angular": True}),
    ("procrustes", {}),
    ("procrustes", {"score": "similarity"}),
    ("procrustes", {"score": "euclidean", "scale": False}),
    ("ensd", {}),
    ("gulp", {"regularization": 0.1}),
    ("distance_correlation", {"debiased": False}),
    ("cca", {"held_out": False, "summary": "yanai"}),
    ("rsa", {}),
    ("mutual_knn", {"k": 3}),
]


@pytest.mark.parametrize(("name", "options"), OVER_STIMULI, ids=str)
@pytest.mark.parametrize("over", ["stimuli", "units"])
def test_any_measure_without_each(name, options, over):
    x, y = systems(24, 5, 6)
    measure = registry.make(name, **options)
    found = rc.influence(x, y, measure=measure, over=over)
    if over == "stimuli":
        again = [compared(measure, *(np.delete(v, i, 0) for v in (x, y))) for i in range(24)]
    else:
        again = [compared(measure, np.delete(x, i, 1), y) for i in range(5)]
    np.testing.assert_allclose(found.influence.without, again, rtol=0, atol=1e-10)
    assert found.influence.score == pytest.approx(compared(measure, x, y), abs=1e-10)
    assert found.influence.method == "leave-one-out"


@pytest.mark.parametrize("over", ["stimuli", "units"])
def test_measures_of_repeats(over):
    x, y = systems(20, 5, 6)
    rng = np.random.default_rng(3)
    a, b = (v + 0.3 * rng.normal(size=(3, *v.shape)) for v in (x, y))
    found = rc.influence(a, b, measure=cka(estimator="repeats"), over=over)
    axis, left = (1, (a, b)) if over == "stimuli" else (2, (a,))
    less = [np.delete(v, 2, axis) for v in left]
    expected = compared(cka(estimator="repeats"), less[0], less[1] if len(less) == 2 else b)
    assert found.influence.without[2] == pytest.approx(expected, abs=1e-12)
    assert 1 < found.participation_ratios[0] < 5


def test_what_stands_beside_the_score():
    x, y = systems(30, 6, 50)
    found = rc.influence(x, y)
    for ratio, v in zip(found.participation_ratios, (x, y), strict=True):
        values = np.linalg.svd(v - v.mean(0), compute_uv=False) ** 2
        assert ratio == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-10)
    assert found.nbs == pytest.approx(naive.nbs(x, y), abs=1e-12)
    assert compared(cka(estimator="biased"), x, y) <= found.cka_bound + 1e-12
    ranks_times_cka = 6 * compared(cka(estimator="biased"), x, y)
    assert found.cka_bound <= ranks_times_cka + 1e-12


def test_those_that_decide_are_named_in_a_note():
    x, y = systems(60)
    assert rc.influence(x, y).notes == ()
    x[7] += 40
    y[7] += 40
    for measure in ("cka", "procrustes"):
        found = rc.influence(x, y, measure=measure)
        assert found.flagged == ["7"]
        assert len(found.notes) == 1
        assert found.notes[0].startswith("influential_stimulus: ")
        assert "without 7 " in found.notes[0]
        assert "'7'" in str(found)
    x, y = systems(40, 50, 8)
    x[:, 3] = 100 * y[:, 0]
    found = rc.influence(x, y, over="units")
    assert found.flagged == ["3"]
    assert found.notes[0].startswith("influential_unit: ")


def test_rounding_does_not_stand_out():
    x, _ = systems(60)
    for measure in ("cka", "procrustes", registry.make("procrustes", score="euclidean", scale=False)):
        for scale in (1e-6, 1.0, 1e6):
            assert rc.influence(scale * x, scale * x[:, ::-1], measure=measure).flagged == []


def test_halves_above_the_limit(monkeypatch):
    monkeypatch.setattr(diagnostics, "EXACT_LIMIT", 50)
    x, y = systems(120)
    x[7] += 60
    y[7] += 60
    found = rc.influence(x, y, measure="procrustes")
    exact = compared(registry.make("procrustes"), *(np.delete(v, 7, 0) for v in (x, y)))
    assert found.influence.method == "half-sampling"
    assert found.flagged == ["7"]
    assert found.influence.without[7] == pytest.approx(exact, abs=1e-12)


def test_halves_recover_the_influence_on_a_mean():
    values = np.random.default_rng(0).normal(size=300) * np.r_[5.0, np.ones(299)]
    found = halve(lambda kept: float(values[kept].mean()), 300)
    exact = np.array([np.delete(values, i).mean() for i in range(300)])
    noise = found.without - exact
    expected = np.std(values) / np.sqrt(300) / np.sqrt(200)  # gap of two means of 100 halves, half of it
    assert noise.std() == pytest.approx(expected, rel=0.2)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(300), rel=0.15)


def test_names_of_units_and_stimuli():
    x, y = systems(12, 4, 3)
    named = rc.representation(x, unit_id=list("abcd"), stimulus=[f"s{i:02}" for i in range(12)])
    other = rc.representation(y, stimulus=[f"s{i:02}" for i in range(12)])
    assert rc.influence(named, other, over="units").names.tolist() == list("abcd")
    assert rc.influence(named, other).names.tolist() == [f"s{i:02}" for i in range(12)]
    x[2, 1] = np.nan
    holes = rc.influence(x, y, over="units", nan="drop_units")
    assert holes.names.tolist() == ["0", "2", "3"]
    assert rc.influence(x, y, nan="drop_stimuli").names.tolist() == [str(i) for i in range(12) if i != 2]


def test_influence_that_is_not_defined():
    x, y = systems(12, 4, 3)
    with pytest.raises(OptionError, match="is fitted on training stimuli"):
        rc.influence(x, y, measure="cca")
    with pytest.raises(OptionError, match="over='unit' is not an option"):
        rc.influence(x, y, over="unit")
    with pytest.raises(MeasureError, match="1 units; expected at least 2"):
        rc.influence(x[:, :1], y, over="units")
    with pytest.raises(MeasureError, match="1 units; expected at least 2"):
        rc.influence(x[:, :1], y, measure="procrustes", over="units")
    lone = np.zeros((12, 3))
    lone[4] = 1.0
    with pytest.raises(MeasureError, match="without number 4 there is no score: .*no variance"):
        rc.influence(lone, y, measure="procrustes")
    flat = np.concatenate([x[:, :1], np.ones((12, 3))], axis=1)
    with pytest.raises(MeasureError, match="nothing varies without unit 0"):
        rc.influence(flat, y, over="units")
    with pytest.raises(OptionError, match="estimator='song'"):
        leave_one_unit_out(x, x @ x.T, y @ y.T, "song")


def test_calibrated_by_hand():
    null = np.array([0.5, 0.1, 0.3, 0.2, 0.4, 0.6, 0.8, 0.7, 0.9])
    # ten values with the observed one; the 9th smallest of 0.1 ... 0.9, 0.95 is 0.9
    assert calibrate(0.95, null, alpha=0.1) == pytest.approx((0.95 - 0.9) / (1 - 0.9))
    assert calibrate(0.9, null, alpha=0.1) == pytest.approx(0)
    assert calibrate(0.0, null, alpha=0.5) == pytest.approx(-0.4 / 0.6)
    assert calibrate(-0.95, -null, alpha=0.1, maximum=-1, greater=False) == pytest.approx(0.5)
    assert np.isnan(calibrate(np.nan, null, alpha=0.1))
    assert calibrate(1.0, np.ones(19)) == 0  # every permutation is perfect too


def test_calibrated_scores_are_seldom_positive_without_a_relation():
    rng = np.random.default_rng(0)
    scores, null = rng.normal(size=3000) * 0.1, rng.normal(size=(99, 3000)) * 0.1
    positive = (calibrate(scores, null) > 0).mean()
    assert 0.03 < positive <= 0.07
    layers, drawn = rng.normal(size=(3000, 12)) * 0.1, rng.normal(size=(99, 3000, 12)) * 0.1
    best = (calibrate(layers.max(axis=1), drawn.max(axis=2)) > 0).mean()
    assert 0.03 < best <= 0.07  # a maximum over layers against maxima over layers
    assert (calibrate(layers.max(axis=1), drawn[..., 0]) > 0).mean() > 0.3


def test_calibrated_null_of_cka():
    """Unrelated systems of 20 stimuli: at most 7 % positive at alpha = 0.05 (debiased and biased alike)."""
    rng = np.random.default_rng(1)
    for estimator in ("debiased", "biased"):
        measure, positive = cka(estimator=estimator), 0
        for _ in range(150):
            a, b = (square_kernel(measure.prepared(rng.normal(size=(20, 15)))) for _ in range(2))
            orders = [rng.permutation(20) for _ in range(39)]
            null = np.array([np.vdot(a, b[np.ix_(o, o)]) for o in orders]) / 2
            positive += calibrate(np.vdot(a, b) / 2, null) > 0
        assert positive <= 0.07 * 150 + 4


def test_bad_options():
    with pytest.raises(OptionError, match="alpha=0"):
        calibrate(0.5, np.zeros(99), alpha=0)
    with pytest.raises(OptionError, match="10 permutations cannot place alpha=0.05; expected at least 19"):
        calibrate(0.5, np.zeros(10))
    with pytest.raises(OptionError, match="null has shape"):
        calibrate(np.zeros(3), np.zeros((99, 2)))
