"""Learning curves: plain loops with scikit-learn, the last size as encoding, nested subsets, whole groups, guards."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from sklearn.model_selection import ShuffleSplit

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.measures.encoding import _curve_solve as engine
from repcompare.measures.encoding import _select
from repcompare.measures.encoding import learning_curve as curve
from repcompare.measures.encoding._subsets import make_pool, make_sizes
from repcompare.measures.encoding.learning_curve import ridge_learning_curve
from repcompare.statistics.folds import make_folds
from tests import naive_learning_curve as naive

ALPHAS = [0.1, 3.0, 100.0]


def data(n=60, p=6, t=4, noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 3
    return x, x @ rng.normal(size=(p, t)) / np.sqrt(p) + noise * rng.normal(size=(n, t)) - 5


def recording(values, run=None, width=1.0, **attrs):
    n = len(values)
    labels = {} if run is None else {"run": run}
    return rc.representation(values, dims=("time", "unit"), time=np.arange(n) * width, **labels, **attrs)


def expected(x, y, folds, shares, *, draws, seed=0, labels=None, **how):
    """Scores and penalties by plain loops, (n_sizes, n_draws, n_units)."""
    pool = make_pool(folds, labels, "items")
    splits = [(train.tolist(), test.tolist()) for train, test in folds.splits]
    found = []
    for share in shares:
        count = int(share * pool.n + 0.5)
        drawn = [set(np.flatnonzero(pool.seen(pool.order(seed, d), count)).tolist()) for d in range(draws)]
        found.append([naive.unit_scores(x, y, splits, rows, **how) for rows in drawn])
    scores = np.array([[one[0] for one in size] for size in found])
    alphas = np.array([[np.log(one[1]).mean(axis=0) for one in size] for size in found])
    return scores, np.exp(alphas.mean(axis=1))


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("p", [2, 6, 90])
def test_every_size_equals_plain_loops(p, scoring):
    x, y = data(p=p)
    shares = (0.25, 0.6, 1.0)
    found = rc.learning_curve(x, y, sizes=shares, n_draws=2, alphas=ALPHAS, scoring=scoring, folds=4)
    scores, alphas = expected(x, y, make_folds(60, 4), shares, draws=2, alphas=ALPHAS, scoring=scoring)
    np.testing.assert_allclose(found["score_unit"], scores.mean(axis=1), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found["score_draw"], scores.mean(axis=2), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found["score"], scores.mean(axis=(1, 2)), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found["score_sd"][:2], scores.mean(axis=2).std(axis=1, ddof=1)[:2], rtol=1e-6)
    np.testing.assert_allclose(found["score_unit_sd"][:2], scores.std(axis=1, ddof=1)[:2], rtol=1e-6)
    np.testing.assert_allclose(found["alpha"], alphas, rtol=1e-9)
    assert found["score_sd"][-1] == 0
    assert found["n_train"].values.tolist() == [pytest.approx(0.75 * s * 60, abs=1) for s in shares]
    assert found["score_fold"].shape == (3, 4)


def test_a_single_alpha_is_taken_as_it_is():
    x, y = data()
    found = rc.learning_curve(x, y, sizes=(0.1, 0.5), n_draws=2, alphas=2.0)
    scores, _ = expected(x, y, make_folds(60, 5), (0.1, 0.5), draws=2, alphas=[2.0])
    np.testing.assert_allclose(found["score_draw"], scores.mean(axis=2), rtol=1e-8)
    np.testing.assert_allclose(found["alpha"], 2.0)


def test_more_than_six_folds_choose_within_the_subset_too():
    """Inner folds are merged beyond six: what is drawn is never chosen on rows that are not."""
    x, y = data(n=120)
    poisoned = y.copy()
    folds = make_folds(120, 8)
    pool = make_pool(folds, None, "stimuli")
    unseen = ~pool.seen(pool.order(0, 0), 60)
    options = {"sizes": (0.5,), "n_draws": 1, "alphas": ALPHAS}
    before = ridge_learning_curve(x, y, folds, **options)
    train, test = folds.splits[0]
    poisoned[unseen] += 100 * np.random.default_rng(1).normal(size=(int(unseen.sum()), 4))
    after = ridge_learning_curve(x, poisoned, folds, **options)
    np.testing.assert_allclose(before.alphas, after.alphas)
    assert not np.allclose(before.score, after.score)  # the test sets do hold those rows


@pytest.mark.parametrize("p", [2, 6, 90])
def test_what_a_subset_does_not_hold_reaches_no_prediction(p):
    """Change every row outside the subset and the test set: the score of that test set stays as it is."""
    x, y = data(p=p)
    folds = make_folds(60, 5)
    pool = make_pool(folds, None, "stimuli")
    seen = pool.seen(pool.order(0, 0), 30)
    test = folds.splits[2][1]
    options = {"sizes": (0.5,), "n_draws": 1, "alphas": ALPHAS}
    before = ridge_learning_curve(x, y, folds, **options).folds[0, 2]
    other = ~seen & ~np.isin(np.arange(60), test)
    assert other.sum() == 24
    rng = np.random.default_rng(2)
    x, y = x.copy(), y.copy()
    x[other], y[other] = rng.normal(size=(24, p)), rng.normal(size=(24, 4))
    np.testing.assert_allclose(ridge_learning_curve(x, y, folds, **options).folds[0, 2], before, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "r2"},
        {"summary": "median", "alpha_scale": "trace"},
        {"standardize": True, "one_se": True},
        {"alpha_per_unit": False},
        {"refine": True},
        {"folds": 2, "select_by": "pearson"},
        {"folds": 8, "fisher_z": True},
        {"folds": ShuffleSplit(4, test_size=0.3, random_state=0)},
    ],
)
@pytest.mark.parametrize("p", [6, 90])
def test_all_rows_are_encode_exactly(p, options):
    x, y = data(p=p)
    y[:, 2] = 4.0
    found = rc.learning_curve(x, y, sizes=(0.5, 1.0), n_draws=2, seed=3, **options)
    encoded = rc.encode(x, y, seed=3, **options)
    assert found["score"][-1] == encoded.score
    np.testing.assert_array_equal(found["score_unit"][-1], encoded.unit_scores)
    assert np.isnan(found["score_unit"][:, 2]).all()
    assert found.attrs["n_left_out"] == 1
    assert np.isfinite(found["score"]).all()


@pytest.mark.parametrize("alpha_per_unit", [True, False])
@pytest.mark.parametrize("p", [2, 6, 90])
def test_sizes_do_not_depend_on_what_is_computed_together(monkeypatch, p, alpha_per_unit):
    x, y = data(p=p)
    y[:, 1] = 0.0
    y[::7, 1] = 1.0  # constant in some subsets
    options = {"n_draws": 3, "scoring": "r2", "alpha_per_unit": alpha_per_unit}
    together = rc.learning_curve(x, y, sizes=(0.2, 0.5, 0.8), **options)
    monkeypatch.setattr(engine, "CACHE_BYTES", 1)
    xr.testing.assert_allclose(rc.learning_curve(x, y, sizes=(0.2, 0.5, 0.8), **options), together, rtol=1e-9)
    alone = rc.learning_curve(x, y, sizes=(0.5,), **options)
    np.testing.assert_allclose(alone["score_unit"][0], together["score_unit"][1], rtol=1e-9)
    assert np.isnan(together["score_unit"][0, 1])


def test_subsets_are_nested_balanced_and_fair():
    folds = make_folds(60, 5)
    pool = make_pool(folds, None, "stimuli")
    orders = [pool.order(7, draw) for draw in range(400)]
    early = np.zeros(60)
    for order in orders:
        seen = [pool.seen(order, count) for count in (5, 15, 31, 60)]
        assert [int(s.sum()) for s in seen] == [5, 15, 31, 60]
        assert all((a <= b).all() for a, b in pairwise(seen))
        held = [seen[1][test].sum() for _, test in folds.splits]
        assert held == [3] * 5
        early += seen[1]
    assert abs(early / 400 - 0.25).max() < 0.11  # five standard errors
    uneven = make_folds(23, [(np.arange(20), np.arange(20, 23))])
    pool = make_pool(uneven, None, "stimuli")
    assert pool.n == 20  # what no fold trains on is not drawn
    assert np.array_equal(orders[3], make_pool(folds, None, "stimuli").order(7, 3))


def test_single_strata_are_as_likely_as_others():
    """Test sets that overlap make strata of one row."""
    folds = make_folds(40, ShuffleSplit(6, test_size=0.3, random_state=0))
    pool = make_pool(folds, None, "stimuli")
    assert np.bincount(pool.stratum).min() == 1
    share = np.mean([pool.seen(pool.order(0, d), 10) for d in range(600)], axis=0)
    assert abs(share - 0.25).max() < 0.1


def test_counts_are_training_rows():
    x, y = data(n=60)
    found = rc.learning_curve(x, y, sizes=(12, 24, 48), n_draws=2, alphas=1.0)
    assert found["n_train"].values.tolist() == [12, 24, 48]
    assert found["size"].dtype.kind == "i"
    assert found["score"][-1] == rc.encode(x, y, alphas=1.0).score
    shares = rc.learning_curve(x, y, sizes=(0.25, 0.5, 1.0), n_draws=2, alphas=1.0)
    np.testing.assert_array_equal(shares["score_draw"], found["score_draw"])


def test_draws_and_seeds():
    x, y = data()
    few, more = (rc.learning_curve(x, y, sizes=(0.3,), n_draws=k, alphas=1.0) for k in (2, 4))
    np.testing.assert_allclose(more["score_draw"][:, :2], few["score_draw"], rtol=1e-12)
    assert np.unique(more["score_draw"].values.round(9)).size == 4
    one = rc.learning_curve(x, y, sizes=(0.3, 1.0), n_draws=1, alphas=1.0)
    assert np.isnan(one["score_sd"][0])
    assert one["score_sd"][1] == 0


def test_a_curve_rises_to_what_there_is_to_know():
    x, y = data(n=400, p=30, noise=2.0)
    found = rc.learning_curve(x, y, n_draws=4, scoring="r2")
    assert (np.diff(found["score"]) > 0).all()
    noise = np.random.default_rng(5).normal(size=(400, 20))
    null = rc.learning_curve(x, noise, n_draws=6)
    assert abs(null["score"]).max() < 0.05


def test_whole_groups_are_drawn():
    x, y = data(n=80)
    groups = np.repeat(np.arange(20), 4)
    found = rc.learning_curve(x, y, groups=groups, sizes=(0.25, 0.5, 1.0), n_draws=2, alphas=ALPHAS)
    scores, _ = expected(
        x, y, make_folds(80, 5, groups=groups), (0.25, 0.5, 1.0), draws=2, labels=groups, alphas=ALPHAS
    )
    np.testing.assert_allclose(found["score_draw"], scores.mean(axis=2), rtol=1e-8)
    assert found["n_train"].values.tolist() == [16, 32, 64]
    assert found.attrs["drawn"] == "groups"
    counted = rc.learning_curve(x, y, groups=groups, sizes=(4, 8, 16), n_draws=2, alphas=ALPHAS)
    np.testing.assert_array_equal(counted["score_draw"], found["score_draw"])
    with pytest.raises(OptionError, match="block= cuts recordings"):
        rc.learning_curve(x, y, groups=groups, block=5)


def seen_of(monkeypatch, *sides, **options):
    """Return the training rows of every fold and size below all, of the first draw."""
    plans = []
    own = curve.solve

    def spy(data, given, folds, known):
        plans.append(given)
        return own(data, given, folds, known)

    monkeypatch.setattr(curve, "solve", spy)
    found = rc.learning_curve(*sides, **options)
    return found, plans[0]


def test_blocks_of_a_recording_are_drawn_with_the_gap_kept(monkeypatch):
    x, y = data(n=300)
    found, plans = seen_of(monkeypatch, recording(x), recording(y), gap=6, sizes=(0.2, 0.5, 1.0), n_draws=1)
    assert found.attrs["drawn"] == "blocks"
    assert found.attrs["gap"] == 6
    for plan in plans:
        for task in (*plan.outer, *plan.inner):
            for _, test in task.tests:
                assert np.abs(task.train[:, None] - test).min() > 6
        for task in plan.outer:
            lengths = [part.size for part in np.split(task.train, np.flatnonzero(np.diff(task.train) > 1) + 1)]
            assert np.sum(lengths) / len(lengths) >= 9  # blocks of ten, cut by a gap at times
    assert found["score"][-1] == rc.encode(recording(x), recording(y), gap=6).score
    longer, plans = seen_of(monkeypatch, recording(x), recording(y), gap=0, block=20, sizes=(0.4,), n_draws=1)
    starts = [task.train[np.r_[True, np.diff(task.train) > 1]] for task in plans[0].outer]
    assert all((s % 20 == 0).all() for s in starts)


def test_runs_are_drawn_whole_or_in_blocks(monkeypatch):
    x, y = data(n=320)
    run = np.repeat(list("abcdefgh"), 40)
    sides = recording(x, run), recording(y, run)
    found, plans = seen_of(monkeypatch, *sides, gap=2, sizes=(0.5, 1.0), n_draws=1)
    assert found.attrs["drawn"] == "runs"
    assert any(note.startswith("runs: one of 8 runs") for note in found.attrs["notes"])
    for task in plans[0].outer:
        assert all((run[task.train] == r).sum() == 40 for r in np.unique(run[task.train]))
    assert found["score"][-1] == rc.encode(*sides, gap=2).score
    cut, plans = seen_of(monkeypatch, *sides, gap=2, block=10, sizes=(0.25,), n_draws=1)
    assert cut.attrs["drawn"] == "blocks"
    assert all(task.train.size == 70 for task in plans[0].outer)
    with pytest.raises(OptionError, match="groups"):
        rc.learning_curve(*sides, groups="run", block=10)
    with pytest.raises(OptionError, match="block='long'"):
        rc.learning_curve(*sides, block="long")


def test_blocks_stay_within_runs_and_rows_that_follow_each_other(monkeypatch):
    x, y = data(n=170)
    run = np.repeat(["a", "b", "c"], [45, 65, 60])
    sides = recording(x, run), recording(y, run)
    split = [(np.arange(110), np.arange(115, 170))]
    _, plans = seen_of(monkeypatch, *sides, folds=split, gap=0, block=30, sizes=(1, 2), n_draws=1, alphas=1.0)
    for plan in plans[0], plans[1]:
        train = plan.outer[0].train
        cut = np.split(train, np.flatnonzero((np.diff(train) > 1) | (run[train[1:]] != run[train[:-1]])) + 1)
        assert {part.size for part in cut} <= {32, 33, 45, 65}  # a is one block, b two
    assert plans[0].outer[0].train.size in (32, 33, 45)


def test_representations_keep_names_and_results_are_stored(tmp_path):
    x, y = data()
    names = [f"s{i:02d}" for i in range(60)]
    source = rc.representation(x, stimulus_id=names)
    order = np.random.default_rng(4).permutation(60)
    target = rc.representation(y[order], stimulus_id=[names[i] for i in order], unit_id=list("abcd"))
    found = rc.learning_curve(source, target, sizes=(0.5, 1.0), n_draws=2, alphas=1.0)
    np.testing.assert_allclose(
        found["score"], rc.learning_curve(x, y, sizes=(0.5, 1.0), n_draws=2, alphas=1.0)["score"]
    )
    assert found["unit_id"].values.tolist() == list("abcd")
    rc.save(found, tmp_path / "curve.nc")
    xr.testing.assert_equal(rc.open(tmp_path / "curve.nc").load(), found)


def test_units_that_are_constant_in_a_subset_are_left_out_of_every_size():
    x, y = data(n=100)
    y[:, 3] = 0.0
    y[::5, 3] = 1.0
    found = rc.learning_curve(x, y, sizes=(0.08, 1.0), n_draws=8, alphas=1.0)
    encoded = rc.encode(x, y, alphas=1.0)
    np.testing.assert_array_equal(found["score_unit"][-1], encoded.unit_scores)
    assert np.isnan(found["score_unit"][0, 3])
    assert found["score"][-1] == encoded.unit_scores[:3].mean()
    assert any(note.startswith("units_left_out: 1 unit") for note in found.attrs["notes"])
    y[:, :3] = y[:, 3:]
    with pytest.raises(MeasureError, match=r"no unit|at size 0.08 \("):
        rc.learning_curve(x, y, sizes=(0.08, 1.0), n_draws=8, alphas=1.0)


def test_ends_of_the_grid_are_named_by_size():
    x, y = data(noise=20.0)
    found = rc.learning_curve(x, y, sizes=(0.3, 1.0), n_draws=2, alphas=[1e-3, 1e-2, 1e-1])
    assert any(note.startswith("alpha_edge: size 0.3: ") and "of fits" in note for note in found.attrs["notes"])


def test_too_small_a_size_names_the_smallest_that_is_not():
    x, y = data()
    with pytest.raises(MeasureError, match="size 0.05 draws 3 of 60 stimuli: .* usable size is ") as caught:
        rc.learning_curve(x, y, sizes=(0.05, 1.0), n_draws=3)
    named = float(str(caught.value).split("usable size is ")[1].split(",")[0])
    assert np.isfinite(rc.learning_curve(x, y, sizes=(named, 1.0), n_draws=3)["score"]).all()
    fewer = (round(named * 60) - 1) / 60
    with pytest.raises(MeasureError, match="smallest usable"):
        rc.learning_curve(x, y, sizes=(fewer, 1.0), n_draws=3)
    with pytest.raises(MeasureError, match="smallest usable size is ") as caught:
        rc.learning_curve(x, y, sizes=(2, 30), n_draws=3)
    named = int(str(caught.value).split("usable size is ")[1].split(",")[0])
    assert rc.learning_curve(x, y, sizes=(named, 30), n_draws=3)["n_train"][0] == pytest.approx(named, abs=0.5)
    with pytest.raises(MeasureError, match="smallest usable"):
        rc.learning_curve(x, y, sizes=(named - 1, 30), n_draws=3)


def test_wrong_calls_raise():
    x, y = data()
    wrong = [
        ({"sizes": (0.5, 1.5)}, "up to 1"),
        ({"sizes": (0.0, 0.5)}, "above 0"),
        ({"sizes": ()}, "expected shares"),
        ({"sizes": ("half",)}, "expected shares"),
        ({"sizes": (10, 49)}, "which have 48"),
        ({"sizes": (0.5, 0.501)}, "same 30 of 60"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"n_draws": True}, "n_draws=True"),
        ({"nested": False}, "inside the rows"),
        ({"weights": True}, "leave it out"),
        ({"model": "pls"}, "model='ridge'"),
        ({"delays": [1, 2]}, "without delays"),
        ({"alpha": 1.0}, "did you mean 'alphas'"),
        ({"nan": "pairwise"}, "nan="),
        ({"folds": "loo", "scoring": "r2"}, "no leave-one-out"),
        ({"block": 5}, "recordings"),
        ({"folds": 5, "groups": np.zeros(60)}, "group"),
    ]
    for options, message in wrong:
        with pytest.raises(OptionError, match=message):
            rc.learning_curve(x, y, **options)
    y[3, 1] = np.nan
    with pytest.raises(MeasureError, match="1 missing values"):
        rc.learning_curve(x, y)
    dropped = rc.learning_curve(x, y, nan="drop_stimuli", sizes=(0.5,), n_draws=1, alphas=1.0)
    assert dropped.attrs["n_stimuli"] == 59
    assert rc.learning_curve(x, y, nan="drop_units", sizes=(0.5,), n_draws=1, alphas=1.0).sizes["unit"] == 3
    with pytest.raises(AlignmentError):
        rc.learning_curve(x, y[:50])
    with pytest.raises(SchemaError):
        rc.learning_curve(rc.representation(x), y)
    pool = make_pool(make_folds(60, 5), None, "stimuli")
    assert make_sizes([1.0, 0.5, 0.5], pool).counts.tolist() == [30, 60]


def test_float32_is_as_encode():
    x, y = (v.astype(np.float32) for v in data(n=120, p=10))
    found = rc.learning_curve(x, y, sizes=(0.3, 1.0), n_draws=2)
    assert found["score"][-1] == rc.encode(x, y).score
    double = rc.learning_curve(x, y, sizes=(0.3, 1.0), n_draws=2, precision="double")
    np.testing.assert_allclose(found["score"], double["score"], atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "r2"},
        {"standardize": True},
        {"alpha_scale": "trace", "one_se": True},
        {"alphas": 5.0},
        {"folds": 8},
    ],
)
def test_sums_of_pieces_equal_predictions(monkeypatch, options):
    x, y = data(n=300, p=6)
    y[:, 2] = 4.0
    y[:, 3] = 0.0
    y[::40, 3] = 1.0  # constant in some subsets
    x = x * np.logspace(-2, 2, 6) + 1e4
    summed = rc.learning_curve(x, y, sizes=(0.3, 0.7), n_draws=3, **options)
    monkeypatch.setattr(engine, "sums_pay", lambda *args: False)
    predicted = rc.learning_curve(x, y, sizes=(0.3, 0.7), n_draws=3, **options)
    xr.testing.assert_allclose(summed, predicted, rtol=1e-7)
    assert np.isfinite(summed["score"]).all()


def test_the_data_are_read_once_per_draw(monkeypatch):
    """Whatever the number of sizes: with few features sums of pieces are all there is, else their products are shared."""
    calls = []

    def spied(home, name):
        own = getattr(home, name)

        def spy(*args, **options):
            calls.append(name)
            return own(*args, **options)

        monkeypatch.setattr(home, name, spy)

    x, y = data(n=400, p=6)
    spied(engine.SourceSums, "add")
    spied(engine.TargetSums, "add")
    spied(engine, "make_problem")
    spied(engine, "fill")
    rc.learning_curve(x, y, sizes=(0.2, 0.4, 0.6, 0.8), n_draws=3)
    assert calls == ["add", "add"] * 3
    calls.clear()
    spied(_select, "_piece_sums")
    x, y = data(n=400, p=60)
    rc.learning_curve(x, y, sizes=(0.2, 0.4, 0.6, 0.8), n_draws=3)
    assert calls == ["make_problem", "fill", "_piece_sums"] * 3
