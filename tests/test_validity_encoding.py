"""Requirements of the validity page for encoders, at reduced repeats: tolerances leave 4 standard errors."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import AlignmentError, OptionError
from repcompare.measures.encoding._refit import refit
from repcompare.measures.encoding.result import encode_arrays
from repcompare.statistics.encoding_intervals import bootstrap
from repcompare.statistics.encoding_tests import Predictions, make_blocks, permutation_test
from repcompare.statistics.folds import make_folds


def series(rng, n, columns):
    """AR(1) .95 without its first 200 samples."""
    noise = rng.standard_normal((n + 200, columns))
    for i in range(1, len(noise)):
        noise[i] += 0.95 * noise[i - 1]
    return noise[200:]


def test_v17_no_signal_scores_zero():
    """30 draws: the se of the mean r over 40 units and 30 draws is .005."""
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((50, 20)), rng.standard_normal((50, 40))) for _ in range(30)]
    for k in (5, 10):
        folds = make_folds(50, k)
        r = np.mean([encode_arrays(x, y, folds, alphas=1000.0).score for x, y in draws])
        r2 = np.mean([encode_arrays(x, y, folds, alphas=1000.0, scoring="r2").score for x, y in draws])
        assert abs(r) < 0.02
        assert r2 >= -0.01
    alone = [encode_arrays(x, y, make_folds(50, "loo"), alphas=1000.0, scoring="r2").score for x, y in draws]
    assert np.mean(alone) >= -0.01
    nested = np.mean([encode_arrays(x, y, make_folds(50, 5), scoring="r2").score for x, y in draws])
    assert -0.05 < nested < 0.005


def test_v18_in_sample_numbers_are_not_scores():
    """In-sample R2 of noise is p / (n - 1) = .505: 50 units and 20 draws have an se of .071 / sqrt(1000) = .002."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(20):
        x, y = rng.standard_normal((100, 50)), rng.standard_normal((100, 50))
        rest = y - refit(x, y, np.full(50, 1e-9)).predict(x)
        inside.append(1 - (rest**2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0))
    assert np.mean(inside) == pytest.approx(50 / 99, abs=0.01)
    assert rc.encode(x, y).score < 0.1
    with pytest.raises(AlignmentError, match="in both train and test"):
        rc.encode(x, y, folds=[(np.arange(100), np.arange(100))] * 3)


def test_v19_repeats_of_a_stimulus_do_not_leak():
    """Random codes predict nothing new; random rows seem to (.55).  Tolerance of the page times sqrt(30 / 15)."""
    rng = np.random.default_rng(0)
    ids = np.tile(np.arange(50), 4)
    grouped, leaky = [], []
    for _ in range(15):
        x = rng.standard_normal((50, 60))[ids]
        y = rng.standard_normal((50, 20))[ids] + rng.standard_normal((200, 20))
        grouped.append(rc.encode(x, y, groups=ids, alphas=10.0).score)
        forced = make_folds(200, 5, sample="presentation", force=("repeats",))
        leaky.append(encode_arrays(x, y, forced, alphas=10.0).score)
    assert abs(np.mean(grouped)) < 0.028
    assert np.mean(leaky) == pytest.approx(0.55, abs=0.04)
    with pytest.raises(AlignmentError, match="group labels are in training and test rows"):
        rc.encode(x, y, groups=ids, folds=[(np.arange(100), np.arange(100, 200))] * 3)
    trials = [rc.representation(v, dims=("presentation", "unit"), stimulus_id=[f"s{i}" for i in ids]) for v in (x, y)]
    assert rc.encode(*trials, alphas=10.0).folds.n == 50  # one row per stimulus: none can be on both sides


def test_v20_autocorrelation_needs_a_gap():
    """A quarter of the draws: with the gap nothing is left, without it .06; shuffled rows raise."""
    rng = np.random.default_rng(0)
    with_gap, without, shuffled = [], [], []
    for _ in range(20):
        x, y = series(rng, 600, 30), series(rng, 600, 20)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        for gap, found in ((60, with_gap), (0, without)):
            found.append(encode_arrays(x, y, make_folds(600, 5, sample="time", gap=gap), alphas=10.0).score)
        shuffled.append(encode_arrays(x[:300], y[:300], make_folds(300, 5), alphas=10.0).score)
    assert abs(np.mean(with_gap)) < 0.04
    assert np.mean(without) > np.mean(with_gap) + 0.02
    assert np.mean(shuffled) == pytest.approx(0.81, abs=0.06)
    a, b = (rc.representation(v, dims=("time", "unit"), time=np.arange(600.0)) for v in (x, y))
    assert rc.encode(a, b, alphas=10.0).gap > 20
    from sklearn.model_selection import KFold

    with pytest.raises(OptionError, match=r"neighbours leak.*force=\('time_shuffle',\)"):
        rc.encode(a, b, folds=KFold(5, shuffle=True, random_state=0))


def test_v21_a_layer_chosen_inside_scores_nothing_extra():
    """5 sets of 20 layers, 20 targets each: targets of one set share layers but not data; se of the page .016."""
    rng = np.random.default_rng(0)
    chosen, best = [], []
    for _ in range(5):
        layers, y = rng.standard_normal((20, 100, 50)), rng.standard_normal((100, 20))
        outer = make_folds(100, 5)
        whole = np.array([encode_arrays(x, y, outer, alphas=100.0).details["r_fold"] for x in layers])
        best.append(whole.mean(axis=1).max(axis=0).mean())
        for f, (train, _) in enumerate(outer.splits):
            inner = make_folds(train.size, 4)
            inside = np.array([encode_arrays(x[train], y[train], inner, alphas=100.0).unit_scores for x in layers])
            chosen.append(whole[inside.argmax(axis=0), f, np.arange(20)].mean())
    assert abs(np.mean(chosen)) < 0.064
    assert np.mean(best) == pytest.approx(0.25, abs=0.064)


def test_v28_the_standard_error_is_over_stimuli():
    """Truth from 1500 draws (se 1.8 %), bootstrap from 20 draws: 4 se are about .1.  Over voxels it would be .80."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal((6, 200))

    def draw():
        z = rng.standard_normal((80, 6))
        return z[:, :3] @ v[:3], z @ v + rng.standard_normal((80, 200))

    def r(p, y):
        p, y = p - p.mean(axis=0), y - y.mean(axis=0)
        return (p * y).sum(axis=0) / np.sqrt((p**2).sum(axis=0) * (y**2).sum(axis=0))

    truth = np.std([r(*draw()).mean() for _ in range(1500)])
    ours, over_voxels = [], []
    for seed in range(20):
        p, y = draw()
        given = Predictions((p,), (y,), (np.zeros(200),), make_blocks([np.arange(80)]))
        ours.append(bootstrap(given, scoring="pearson", confidence=0.95, seed=seed, n_bootstraps=200).error)
        over_voxels.append(r(p, y).std(ddof=1) / np.sqrt(200))
    assert 0.87 < np.mean(ours) / truth < 1.1
    assert np.mean(over_voxels) / truth < 0.87


def test_v29_the_maximum_over_units_controls_errors():
    """50 draws: P(any corrected p <= .05) has an se of .031; uncorrected p-values would reject nearly always."""
    rng = np.random.default_rng(0)
    corrected, raw, discoveries = [], [], []
    for seed in range(50):
        y = rng.standard_normal((60, 10)) @ rng.standard_normal((10, 150)) + rng.standard_normal((60, 150))
        p = rng.standard_normal((60, 10)) @ rng.standard_normal((10, 150))
        given = Predictions((p,), (y,), (y.mean(axis=0),), make_blocks([np.arange(60)]))
        found = permutation_test(given, n_permutations=99, seed=seed)
        corrected.append((found.pvalues_corrected <= 0.05).any())
        raw.append((found.pvalues <= 0.05).any())
        discoveries.append((found.pvalues_fdr <= 0.05).any())
    assert np.mean(corrected) <= 0.05 + 4 * 0.031
    assert np.mean(discoveries) <= 0.05 + 4 * 0.031
    assert np.mean(raw) > 0.7


def test_v38_both_directions_tell_a_superset_from_a_match():
    rng = np.random.default_rng(0)
    b = rng.standard_normal((400, 20))
    brain = b + 0.3 * rng.standard_normal((400, 20))
    rotation = [np.linalg.qr(rng.standard_normal((p, p)))[0] for p in (100, 20)]
    superset = np.hstack([b, rng.standard_normal((400, 80))]) @ rotation[0]
    one, two = (rc.encode(x, brain, alphas=10.0, direction="both") for x in (superset, b @ rotation[1]))
    assert (one.score, one.score_reverse) == pytest.approx((0.94, 0.37), abs=0.02)
    assert (two.score, two.score_reverse) == pytest.approx((0.955, 0.955), abs=0.02)
    assert one.score_mean == pytest.approx((one.score + one.score_reverse) / 2)
