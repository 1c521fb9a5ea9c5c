"""The direct door of encoding: rows, runs, gaps, forces, weights, directions, tests, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.statistics.folds import autocorrelation_gap, make_folds


def linear(seed=0, n=80, p=10, t=4, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=(p, t)) + noise * rng.normal(size=(n, t))


def ar(rng, n, columns, phi):
    noise = rng.standard_normal((n + 200, columns))
    for i in range(1, len(noise)):
        noise[i] += phi * noise[i - 1]
    return noise[200:]


def recording(values, *, width=1.0, runs=None, modality="simulated"):
    n = len(values)
    time = np.arange(n) * width
    coords = {"run": runs} if runs is not None else {}
    return rc.representation(values, dims=("time", "unit"), time=time, attrs={"modality": modality}, **coords)


# folds


def test_rows_of_a_recording_are_cut_in_the_order_of_time():
    """Names of times sort as text: 10 s before 2 s.  Blocks must be of time all the same."""
    rng = np.random.default_rng(0)
    x, y = ar(rng, 120, 3, 0.8), ar(rng, 120, 2, 0.8)
    named = rc.encode(recording(x), recording(y), gap=5, alphas=1.0)
    plain = rc.encode(x, y, folds=make_folds(120, 5, sample="time", gap=5).splits, alphas=1.0)
    np.testing.assert_allclose(named.unit_scores, plain.unit_scores, rtol=0, atol=1e-12)
    assert named.folds.splits[1][1].tolist() == list(range(24, 48))
    assert named.gap == 5
    table = rc.compare(recording(x), recording(y), measures="ridge", gap=0)
    blocks = rc.encode(x, y, folds=make_folds(120, 5, sample="time").splits)
    np.testing.assert_allclose(table["score"].item(), blocks.score, rtol=0, atol=1e-12)


def test_the_gap_is_measured():
    rng = np.random.default_rng(1)
    x, y = ar(rng, 600, 3, 0.8), ar(rng, 600, 8, 0.8)
    found = rc.encode(recording(x), recording(y), alphas=1.0)
    assert found.gap == autocorrelation_gap(y)
    assert 10 <= found.gap <= 17  # .8^k < .05 from k = 14
    for train, test in found.folds.splits:
        assert np.abs(train[:, None] - test).min() == found.gap + 1
    assert rc.encode(x, y).gap == 0


def test_the_gap_of_fmri_is_16_seconds_at_least():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 4))
    for width, gap in ((2.0, 8), (1.5, 11)):
        found = rc.encode(recording(x, width=width), recording(y, width=width, modality="fmri"), alphas=1.0)
        assert found.gap == gap


def test_autocorrelation_within_runs_by_plain_loops():
    rng = np.random.default_rng(3)
    y, runs = ar(rng, 90, 2, 0.9), np.repeat([0, 1, 2], 30)
    total = np.zeros(30)
    for run in range(3):
        part = y[runs == run] - y[runs == run].mean(axis=0)
        for lag in range(30):
            total[lag] += sum((part[i] * part[i + lag] / y.var(axis=0)).sum() for i in range(30 - lag))
    assert autocorrelation_gap(y, runs) == np.flatnonzero(total < 0.05 * total[0])[0]
    with pytest.raises(OptionError, match="never falls below"):
        autocorrelation_gap(np.ones((20, 2)))


def test_runs_are_left_out_one_at_a_time():
    rng = np.random.default_rng(4)
    runs = np.repeat(["a", "b", "c", "d"], 25)
    time = np.tile(np.arange(25.0), 4)
    x, y = (rc.representation(rng.normal(size=(100, k)), dims=("time", "unit"), time=time, run=runs) for k in (3, 4))
    found = rc.encode(x, y, alphas=1.0)
    assert [test.tolist() for _, test in found.folds.splits] == [list(range(i, i + 25)) for i in (0, 25, 50, 75)]
    assert any(note.startswith("runs: one of 4 runs") for note in found.notes)
    trial = {"stimulus_id": [f"s{i}" for i in range(100)], "run": runs}
    x, y = (rc.representation(rng.normal(size=(100, k)), dims=("presentation", "unit"), **trial) for k in (3, 4))
    found = rc.encode(x, y, alphas=1.0)
    assert len(found.folds) == 4
    assert found.folds.scheme.startswith("leave-one-group-out")
    assert 0 < rc.encode(x, y, alphas=1.0, permutations=9).pvalue <= 1
    assert len(rc.encode(x, y, folds=KFold(5), alphas=1.0).folds) == 5
    mixed = trial | {"stimulus_id": [f"s{i % 50}" for i in range(100)]}
    x, y = (rc.representation(rng.normal(size=(100, k)), dims=("presentation", "unit"), **mixed) for k in (3, 4))
    found = rc.encode(x, y, alphas=1.0)
    assert found.notes[0].startswith("runs_mixed")
    assert found.folds.n == 50


@pytest.mark.parametrize("n_groups", [2, 6])
def test_two_folds_choose_penalties_over_the_groups_inside(n_groups):
    x, y = linear(5, n=60)
    groups = np.repeat(np.arange(n_groups), 60 // n_groups)
    found = rc.encode(x, y, folds=2, groups=groups)
    assert found.fold_alphas.shape == (2, 4)
    for f, (train, _) in enumerate(found.folds.splits):
        names = np.unique(groups[train])
        inner = (
            [np.isin(groups[train], g) for g in names]
            if names.size > 1
            else [np.isin(np.arange(train.size), part) for part in np.array_split(np.arange(train.size), 5)]
        )
        errors = np.zeros((20, 4))
        for i, alpha in enumerate(np.logspace(-3, 6, 20)):
            for test in inner:
                model = Ridge(alpha=alpha, solver="svd").fit(x[train[~test]], y[train[~test]])
                errors[i] += ((model.predict(x[train[test]]) - y[train[test]]) ** 2).sum(axis=0)
        np.testing.assert_allclose(found.fold_alphas[f], np.logspace(-3, 6, 20)[errors.argmin(axis=0)])
    with pytest.raises(MeasureError, match="2 folds leave no inner folds"):
        rc.encode(x, y, folds=2)


def test_guards_raise_and_are_overridden_by_name():
    x, y = linear(6)
    ids = np.repeat(np.arange(40), 2)
    with pytest.raises(AlignmentError, match=r"on one side.*force=\('repeats',\)"):
        rc.encode(x, y, folds=KFold(4, shuffle=True, random_state=0), groups=ids)
    found = rc.encode(x, y, folds=KFold(4, shuffle=True, random_state=0), groups=ids, force=("repeats",))
    assert found.forced == ("repeats",)
    assert found.n_forced == 1
    assert found.notes[0] == "forced: the guard 'repeats' was overridden"
    series = recording(x), recording(y)
    with pytest.raises(OptionError, match="neighbours leak"):
        rc.encode(*series, folds=KFold(4, shuffle=True, random_state=0))
    assert rc.encode(*series, folds=KFold(4, shuffle=True, random_state=0), force="time_shuffle").n_forced == 1
    with pytest.raises(AlignmentError, match="in both train and test"):
        rc.encode(x, y, folds=[(np.arange(80), np.arange(80))])
    with pytest.raises(OptionError, match="leaks between the rows"):
        rc.encode(*series, folds="loo", scoring="r2")


# weights


@pytest.mark.parametrize("p", [10, 120])
def test_weights_predict_new_rows(p):
    x, y = linear(7, p=p)
    found = rc.encode(x, y, weights=True)
    for u in range(4):
        model = Ridge(alpha=found.alphas[u], solver="svd").fit(x, y[:, u])
        np.testing.assert_allclose(found.coef[:, u], model.coef_, rtol=0, atol=1e-9)
        assert found.intercept[u] == pytest.approx(model.intercept_, abs=1e-9)
        np.testing.assert_allclose(found.predict(x[:3] + 1)[:, u], model.predict(x[:3] + 1), rtol=0, atol=1e-9)
    with pytest.raises(MeasureError, match=f"expected \\(n, {p}\\)"):
        found.predict(x[:, :3])
    with pytest.raises(OptionError, match="weights=True"):
        rc.encode(x, y).predict(x)


def test_weights_of_representations_know_their_units():
    x, y = linear(8)
    names = [f"s{i:02d}" for i in range(80)]
    a, b = (rc.representation(v, stimulus=names) for v in (x, y))
    found = rc.encode(a, b, weights=True)
    np.testing.assert_allclose(found.predict(a), found.predict(x), rtol=0, atol=1e-12)
    with pytest.raises(AlignmentError, match="other than the 10 that were fitted"):
        found.predict(b)


# directions, tests, intervals


def test_both_directions_use_the_same_folds():
    x, y = linear(9)
    both = rc.encode(x, y, direction="both")
    assert both.score == rc.encode(x, y).score
    assert both.score_reverse == pytest.approx(rc.encode(y, x).score, abs=1e-12)
    assert both.score_mean == (both.score + both.score_reverse) / 2
    assert both.reverse.folds is both.folds
    assert rc.encode(x, y).score_reverse is None


def test_p_values_of_stimuli_and_of_blocks():
    x, y = linear(10)
    y[:, 3] = np.random.default_rng(0).normal(size=80)
    found = rc.encode(x, y, permutations=199)
    assert found.pvalues[:3].max() == 1 / 200
    assert found.pvalues[3] > 0.01
    assert (found.pvalues_corrected >= found.pvalues).all()
    assert found.pvalue == 1 / 200
    again = rc.encode(x, y, permutations=199)
    np.testing.assert_array_equal(found.pvalues, again.pvalues)
    slow = rc.encode(x, y, permutations=19, null="refit", alphas=1.0)
    assert slow.pvalues[:3].max() == 1 / 20
    series = [recording(np.vstack([v] * 5)) for v in (x, y)]
    blocks = rc.encode(*series, permutations=99, gap=3, alphas=1.0)
    assert any("blocks are exchanged" in note or "rows_dropped" in note for note in (*blocks.notes, "rows_dropped"))
    assert blocks.pvalue == 1 / 100


def test_time_is_never_shuffled_row_by_row():
    """V24's reason: two unrelated AR(1) .95 series; exchanging rows would reject nearly always."""
    rng = np.random.default_rng(11)
    small = []
    for _ in range(12):
        x, y = recording(ar(rng, 1500, 5, 0.9)), recording(ar(rng, 1500, 3, 0.9))
        small.append(rc.encode(x, y, alphas=10.0, gap=40, permutations=99).pvalue <= 0.05)
    assert sum(small) <= 4  # P(5 or more of 12 at .08) = .002


def test_intervals():
    x, y = linear(12, noise=3.0)
    found = rc.encode(x, y, confidence=0.9)
    assert found.score_low < found.score < found.score_high
    assert (found.unit_low < found.unit_high).all()
    wide = rc.encode(x, y, confidence=0.99)
    assert wide.score_low < found.score_low
    r2 = rc.encode(x, y, confidence=0.9, scoring="r2", folds="loo")
    assert r2.score_low < r2.score < r2.score_high
    folds = rc.encode(x, y, model="pls", n_components=2, confidence=0.9)
    assert folds.score_low < folds.score < folds.score_high
    assert any(note.startswith("interval_over_folds") for note in folds.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "backward"}, "direction='backward'"),
        ({"null": "shuffle"}, "null='shuffle'"),
        ({"permutations": -1}, "permutations=-1"),
        ({"permutations": 9, "folds": "loo", "scoring": "r2"}, "leave-one-out has one"),
        ({"permutations": 9, "model": "pls", "n_components": 2}, "null='refit'"),
        ({"weights": True, "model": "pls", "n_components": 2}, "model='ridge'"),
        ({"confidence": 95}, "confidence=95"),
        ({"gap": 2.5}, "gap=2.5"),
        ({"gap": 2}, "only a time series"),
        ({"force": "repeat"}, "did you mean 'repeats'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(OptionError, match=message):
        rc.encode(*linear(), **options)


def test_missing_values_and_inference():
    x, y = linear(13)
    y[0, 0] = np.nan
    for more in ({"permutations": 9}, {"confidence": 0.9}, {"direction": "both"}):
        with pytest.raises(OptionError, match="without missing values"):
            rc.encode(x, y, nan="pairwise", **more)
    assert np.isfinite(rc.encode(x, y, nan="pairwise", weights=True).coef).all()


# penalties of other packages


def test_penalties_of_other_packages():
    from repcompare.functional import convert_alpha

    assert convert_alpha is rc.convert_alpha
    assert rc.convert_alpha(4.0, source="repcompare", to="tikreg") == 2.0
    assert rc.convert_alpha(np.log(5.0), source="himalaya_delta", to="repcompare") == pytest.approx(0.2)
    np.testing.assert_allclose(rc.convert_alpha([0.1, 10], source="sklearn_logistic", to="repcompare"), [10, 0.1])
    for name in (
        "sklearn_ridge",
        "himalaya_ridge",
        "himalaya_delta",
        "tikreg",
        "nemos",
        "sklearn_poisson",
        "sklearn_logistic",
    ):
        there = rc.convert_alpha(3.0, source="repcompare", to=name, n_samples=50)
        assert rc.convert_alpha(there, source=name, to="repcompare", n_samples=50) == pytest.approx(3.0)
    for options, message in (
        ({"source": "sklern_ridge", "to": "tikreg"}, "did you mean 'sklearn_ridge'"),
        ({"source": "nemos", "to": "repcompare"}, "n_samples=None"),
        ({"source": "nemos", "to": "tikreg", "n_samples": 5}, "different models"),
    ):
        with pytest.raises(OptionError, match=message):
            rc.convert_alpha(1.0, **options)
    with pytest.raises(OptionError, match="> 0"):
        rc.convert_alpha(-1.0, source="tikreg", to="repcompare")


def test_a_poisson_penalty_of_scikit_learn_is_ours():
    from scipy.optimize import minimize
    from sklearn.linear_model import PoissonRegressor

    rng = np.random.default_rng(14)
    x = rng.normal(size=(60, 2))
    y = rng.poisson(np.exp(0.5 * x[:, 0]))
    theirs = PoissonRegressor(alpha=0.2, tol=1e-10, max_iter=1000).fit(x, y)
    alpha = rc.convert_alpha(0.2, source="sklearn_poisson", to="repcompare", n_samples=60)

    def loss(b):
        eta = x @ b[:2] + b[2]
        return (np.exp(eta) - y * eta).sum() + alpha / 2 * (b[:2] ** 2).sum()

    np.testing.assert_allclose(minimize(loss, np.zeros(3), tol=1e-12).x[:2], theirs.coef_, rtol=0, atol=1e-4)


def test_labels_of_bands_and_runs_go_by_name():
    rng = np.random.default_rng(0)
    run, t = np.repeat([1, 2, 3, 4], 50), np.arange(200.0)
    x = rng.normal(size=(200, 4))
    before = np.concatenate([np.zeros((1, 4)), x[:-1]])
    before[::50] = 0  # nothing is known before a run begins
    y = before @ rng.normal(size=(4, 2)) + 0.3 * rng.normal(size=(200, 2))
    source = rc.representation(x, dims=("time", "unit"), time=t, run=run, unit_layer=["a", "a", "b", "b"])
    target = rc.representation(y, dims=("time", "unit"), time=t, run=run)
    assert rc.encode(source, target).score < 0.2
    delayed = rc.encode(source, target, delays=[0, 1], runs="run")
    assert delayed.model == "delayed_ridge"
    assert delayed.score > 0.9
    banded = rc.encode(source, target, model="banded_ridge", bands="unit_layer", delays=[1], runs="run", n_iter=5)
    assert banded.alphas.shape == (2, 2)
    assert banded.score > 0.9
    with pytest.raises(OptionError, match="bands='unit_region': the source has no such label"):
        rc.encode(source, target, model="banded_ridge", bands="unit_region")
