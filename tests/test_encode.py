"""The direct door of encoding: rows, runs, gaps, forces, weights, directions, tests, intervals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.measures.encoding.result import MODELS
from repcompare.measures.encoding.ridge import predictions_at
from repcompare.measures.registry import make
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


@pytest.mark.parametrize("form", ["rows", "recording"])
def test_one_split_chooses_penalties_among_its_training_rows(form):
    """Five parts of them: rows drawn at random, or blocks of a recording, with the gap."""
    x, y = linear(5, n=70)
    train, test, gap = np.arange(50), np.arange(52, 70), 2 if form == "recording" else 0
    sides = [recording(v) for v in (x, y)] if gap else (x, y)
    found = rc.encode(*sides, folds=[(train, test)], **({"gap": gap} if gap else {}))
    grid = np.logspace(-3, 6, 20)
    order = np.argsort(np.random.default_rng(0).permutation(70))
    parts = np.array_split(train, 5) if gap else [order[order < 50][i::5] for i in range(5)]
    errors = np.zeros((20, 4))
    for part in parts:
        far = train[np.abs(train[:, None] - part).min(axis=1) > gap] if gap else np.setdiff1d(train, part)
        for i, alpha in enumerate(grid):
            model = Ridge(alpha=alpha, solver="svd").fit(x[far], y[far])
            errors[i] += ((model.predict(x[part]) - y[part]) ** 2).sum(axis=0)
    np.testing.assert_allclose(found.fold_alphas[0], grid[errors.argmin(axis=0)])
    p = np.column_stack([Ridge(alpha=a, solver="svd").fit(x[train], y[train, u]).predict(x[test])
                         for u, a in enumerate(found.fold_alphas[0])])  # fmt: skip
    r = [np.corrcoef(p[:, u], y[test, u])[0, 1] for u in range(4)]
    np.testing.assert_allclose(found.unit_scores, r, rtol=0, atol=1e-8)
    assert found.folds.scheme == "given, 1 splits"
    assert rc.encode(x, y, folds=2).fold_alphas.shape == (2, 4)
    for model in ("banded_ridge", "kernel_ridge", "pls"):
        more = {"selection": "shared", "n_components": 4} if model == "pls" else {}
        assert rc.encode(x, y, folds=[(train, test)], model=model, **more).score > 0.5


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
    with pytest.raises(AlignmentError, match="without 6 of the 10 that were fitted"):
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
    assert (found.unit_low < found.unit_scores).all()
    assert (found.unit_scores < found.unit_high).all()
    wide = rc.encode(x, y, confidence=0.99)
    assert wide.score_low < found.score_low
    r2 = rc.encode(x, y, confidence=0.9, scoring="r2", folds="loo")
    assert r2.score_low < r2.score < r2.score_high
    assert not any(note.startswith("interval_over_folds") for note in r2.notes)
    counts = np.random.default_rng(0).poisson(np.exp(0.3 * y / y.std()))
    folds = rc.encode(x, counts, model="poisson", alphas=10.0, confidence=0.9)
    assert folds.score_low < folds.score < folds.score_high
    assert folds.unit_low is None
    assert any(note.startswith("interval_over_folds: its score is neither r nor R2") for note in folds.notes)
    with pytest.raises(OptionError, match="interval='bootstrap' is for r and R2"):
        rc.encode(x, counts, model="poisson", alphas=10.0, confidence=0.9, interval="bootstrap")
    with pytest.raises(OptionError, match="did you mean 'jackknife'"):
        rc.encode(x, y, confidence=0.9, interval="jacknife")
    with pytest.raises(MeasureError, match="2 folds have a score; an interval over folds needs at least 3"):
        rc.encode(x, counts, model="poisson", alphas=10.0, folds=2, confidence=0.9)


def test_the_bootstrap_of_fixed_predictions_is_narrower_and_has_to_be_named():
    x, y = linear(12, noise=3.0)
    jackknife, bootstrap = (rc.encode(x, y, confidence=0.9, interval=kind) for kind in ("jackknife", "bootstrap"))
    assert bootstrap.score_se < jackknife.score_se
    assert bootstrap.score_low < bootstrap.score < bootstrap.score_high
    again = rc.encode(x, y, confidence=0.9, interval="bootstrap", memory=10**8)
    assert again.score_low == pytest.approx(bootstrap.score_low, rel=1e-8)


CELLS = {
    "ridge": {},
    "r2": {"scoring": "r2"},
    "median": {"summary": "median", "fisher_z": True},
    "standardize": {"standardize": True, "alpha_scale": "trace"},
    "leave-one-out": {"scoring": "r2", "alphas": [1.0, 10.0]},
    "banded_ridge": {"n_iter": 4, "bands": [slice(0, 4), slice(4, None)]},
    "kernel_ridge": {"kernel": "rbf"},
    "pls": {"n_components": 2},
    "linear": {"scoring": "r2", "summary": "median"},
    "poisson": {"alphas": [10.0]},
    "missing": {"alphas": [10.0]},
}


@pytest.mark.parametrize("name", CELLS)
def test_intervals_are_those_of_tables(name):
    x, y = linear(12, noise=3.0)
    y = np.random.default_rng(0).poisson(np.exp(0.3 * y / y.std())).astype(float) if name == "poisson" else y
    if name == "missing":
        y[3, 1] = np.nan
    model = name if name in MODELS else "ridge"
    sides = [rc.representation(v, stimulus=[f"s{i:02d}" for i in range(80)]) for v in (x, y)]
    how = {"folds": "loo" if name == "leave-one-out" else 5, "nan": "pairwise" if name == "missing" else "raise"}
    found = rc.encode(*sides, model=model, confidence=0.9, **how, **CELLS[name])
    table = rc.compare(*sides, measures={"m": make(model, **CELLS[name])}, confidence=0.9, progress=False, **how)
    assert found.score == pytest.approx(table.score.item(), rel=1e-9)
    assert found.score_low == pytest.approx(table.score_low.item(), rel=1e-7)
    assert found.score_high == pytest.approx(table.score_high.item(), rel=1e-7)
    warned = [line.split(": ", 2)[-1] for line in table.attrs.get("warnings", []) if line.startswith("interval_over")]
    noted = [note.split(": ", 1)[-1] for note in found.notes if note.startswith("interval_over_folds")]
    assert noted == warned
    assert bool(noted) == (name in ("poisson", "missing"))


def test_left_out_predictions_are_those_of_fits_without_the_row():
    x, y = linear(5, n=20, p=6)
    folds = make_folds(20, "loo")
    alphas = np.random.default_rng(0).choice([0.1, 3.0], size=(20, 4))
    for (train, test), held in zip(folds.splits, predictions_at(x, y, folds, {"scoring": "r2"}, alphas), strict=True):
        for u in range(4):
            mean = y[train, u].mean()
            fit = Ridge(alphas[test[0], u]).fit(x[train], y[train, u])
            size = held.truth[0, u] / (y[test[0], u] - mean)  # of a unit
            assert held.predicted[0, u] / size == pytest.approx(fit.predict(x[test])[0] - mean, rel=1e-8)
            assert size > 0


@pytest.mark.slow
def test_coverage_of_intervals():
    """95 % intervals over 60 stimuli; 200 of them have an se of .0154."""
    rng = np.random.default_rng(2)
    weights = 0.5 * rng.normal(size=(8, 6))

    def draw():
        x = rng.normal(size=(60, 8))
        return x, x @ weights + 2 * rng.normal(size=(60, 6))

    truth = np.mean([rc.encode(*draw(), alphas=20.0).score for _ in range(300)])
    found = [rc.encode(*draw(), alphas=20.0, confidence=0.95) for _ in range(200)]
    assert np.mean([f.score_low <= truth <= f.score_high for f in found]) >= 0.95 - 3 * 0.0154


@pytest.mark.parametrize("model", ["delayed_ridge", "banded_ridge", "kernel_ridge", "pls", "linear", "best_unit"])
def test_every_model_is_tested_by_its_predictions(model):
    x, y = linear(14)
    sides = [recording(np.vstack([v] * 5)) for v in (x, y)] if model == "delayed_ridge" else (x, y)
    options = {"delays": [0, 1]} if model == "delayed_ridge" else {}
    found = rc.encode(*sides, model=model, permutations=99, confidence=0.9, **options)
    assert found.pvalue <= 0.05
    assert (found.pvalues_corrected >= found.pvalues).all()
    assert found.score_low < found.score < found.score_high


def test_p_values_of_cross_validated_scores_are_not_too_small():
    """60 rows, 5 folds: fixed predictions alone would err in .08 to .12; 250 tests have an se of .014."""
    rng = np.random.default_rng(0)
    small = []
    for seed in range(250):
        x, y = rng.standard_normal((60, 30)), rng.standard_normal((60, 4))
        small.append(rc.encode(x, y, alphas=10.0, permutations=39, seed=seed).pvalue <= 0.05)
    assert np.mean(small) <= 0.05 + 3 * 0.014


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "backward"}, "direction='backward'"),
        ({"null": "shuffle"}, "null='shuffle'"),
        ({"permutations": -1}, "permutations=-1"),
        ({"stimuli": "intersection"}, "no option 'stimuli'"),
        ({"permutations": 9, "folds": "loo", "scoring": "r2"}, "leave-one-out has one"),
        (
            {
                "permutations": 9,
                "alphas": 1.0,
                "folds": [(np.arange(40), np.arange(40, 80)), (np.arange(30), np.arange(30, 80))] * 2,
            },
            "take folds",
        ),
        ({"weights": "coef.npy"}, "give memory=, or weights=True"),
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
    for more in ({"permutations": 9}, {"confidence": 0.9, "interval": "bootstrap"}, {"direction": "both"}):
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


def test_several_parts_are_for_compare():
    x, y = (rc.representation(v, stimulus=[f"s{i:02d}" for i in range(80)]) for v in linear())
    for parts in ({"a": x, "b": x}, xr.DataTree.from_dict({"/a": x, "/b": x})):
        with pytest.raises(SchemaError, match=r"x has 2 parts \('a', 'b'\).*compare\(.*unit_scores=True"):
            rc.encode(parts, y)
    with pytest.raises(AlignmentError, match=r"compare\(..., stimuli='intersection'\), or select them on every side"):
        rc.encode(x, y.isel(stimulus=slice(3, None)))


def test_delays_stay_within_runs_and_do_not_cross_missing_rows():
    rng = np.random.default_rng(0)
    x, y, run = rng.normal(size=(90, 2)), rng.normal(size=(90, 3)), np.repeat([0, 1, 2], 30)
    labelled = [recording(v, runs=run) for v in (x, y)]
    own = rc.encode(*labelled, delays=[1, 2], alphas=1.0, runs=run)
    np.testing.assert_array_equal(rc.encode(*labelled, delays=[1, 2], alphas=1.0).unit_scores, own.unit_scores)
    kept = np.delete(np.arange(90), [40, 41])
    holes = [v.isel(time=kept) for v in labelled]
    stretch = np.r_[np.zeros(30), np.ones(10), np.full(18, 2), np.full(30, 3)]
    direct = [recording(v[kept], runs=run[kept]) for v in (x, y)]
    expected = rc.encode(*direct, delays=[1, 2], alphas=1.0, runs=stretch)
    nan = y.copy()
    nan[[40, 41]] = np.nan
    missing = rc.encode(labelled[0], recording(nan, runs=run), delays=[1, 2], alphas=1.0, nan="drop_stimuli")
    np.testing.assert_allclose(missing.unit_scores, expected.unit_scores, rtol=0, atol=1e-12)
    assert len(holes[0].time) == 88


@pytest.mark.parametrize("p", [6, 120])
def test_fractions_of_the_length_of_least_squares_weights(p):
    """Against the definition: weights by explicit solutions at the penalties found."""
    from repcompare.functional import alpha_of_fraction

    rng = np.random.default_rng(15)
    x = rng.normal(size=(60, p)) * np.geomspace(0.1, 10, p) + 5
    y = x[:, :4] @ rng.normal(size=(4, 5)) + rng.normal(size=(60, 5)) * np.geomspace(0.01, 30, 5)
    fractions = [0.01, 0.3, 0.9, 0.999, 1.0]
    alphas = alpha_of_fraction(x, y, fractions)
    assert alphas.shape == (5, 5)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    whole = np.linalg.norm(np.linalg.lstsq(a, b, rcond=None)[0], axis=0)
    for i, fraction in enumerate(fractions[:-1]):
        for u in range(5):
            if p <= 60:
                weights = np.linalg.solve(a.T @ a + alphas[i, u] * np.eye(p), a.T @ b[:, u])
            else:
                weights = a.T @ np.linalg.solve(a @ a.T + alphas[i, u] * np.eye(60), b[:, u])
            assert np.linalg.norm(weights) / whole[u] == pytest.approx(fraction, rel=1e-7)
    np.testing.assert_array_equal(alphas[-1], 0.0)
    assert (np.diff(alphas, axis=0) < 0).all()
    np.testing.assert_array_equal(alpha_of_fraction(x, y, 0.3), alphas[1])
    named = rc.encode(x, y, alphas=alphas[1, :1], weights=True)
    assert np.linalg.norm(named.coef[:, 0]) == pytest.approx(0.3 * whole[0], rel=1e-7)


def test_fractions_that_are_none():
    from repcompare.functional import alpha_of_fraction

    x, y = linear(16, n=20, p=3)
    for wrong in (0.0, 1.1, -0.5, np.nan, [], [[0.5]]):
        with pytest.raises(OptionError, match="above 0 and at most 1"):
            alpha_of_fraction(x, y, wrong)
    y[:, 1] = 0.1
    assert np.isnan(alpha_of_fraction(x, y, [0.5, 1.0])).tolist() == [[False, True, False, False]] * 2
    with pytest.raises(MeasureError, match="no feature of x varies"):
        alpha_of_fraction(np.ones((20, 3)), y, 0.5)
    x[2, 1] = np.nan
    with pytest.raises(MeasureError, match="x holds NaN"):
        alpha_of_fraction(x, y, 0.5)
