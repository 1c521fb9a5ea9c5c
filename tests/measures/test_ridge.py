"""Ridge: equal to plain loops, and its theorems."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding import _search, _select
from repcompare.measures.encoding import ridge as module
from repcompare.measures.encoding._plan import make_plan
from repcompare.measures.encoding.result import encode_arrays
from repcompare.measures.encoding.ridge import ridge
from repcompare.statistics.folds import make_folds
from tests import naive_ridge

ALPHAS = np.logspace(-2, 4, 7)


def design(kind, rng):
    """Return (x, folds options) of a design by name."""
    n = 40
    tall, wide = rng.standard_normal((n, 8)), rng.standard_normal((n, 60))
    return {
        "tall": tall,
        "between": rng.standard_normal((n, 28)),  # primal for the outer folds, dual for the inner ones
        "wide": wide,
        "rank_deficient": tall @ rng.standard_normal((8, 50)),
        "duplicated": np.hstack([tall, tall, tall[:, :1]]),
        "one_hot": np.eye(6)[rng.integers(0, 6, n)],
        "constant_feature": np.hstack([tall, np.full((n, 1), 0.1)]),
        "offset": tall * [1, 1, 1, 1, 10, 10, 0.1, 0.1] + 1e4,
        "wide_offset": wide + 1e3,
        "tiny": tall * 1e-9,
        "huge": wide * 1e9,
    }[kind]


KINDS = [
    "tall",
    "between",
    "wide",
    "rank_deficient",
    "duplicated",
    "one_hot",
    "constant_feature",
    "offset",
    "wide_offset",
    "tiny",
    "huge",
]


SIZES = {"tiny": 1e-9, "huge": 1e9}


def grid(kind):
    """Return the penalties of a design: those of its size."""
    return ALPHAS * SIZES.get(kind, 1.0) ** 2


def simulated(kind, seed=0, t=3):
    rng = np.random.default_rng(seed)
    x = design(kind, rng)
    latent = (x - x.mean(axis=0)) / x.std(axis=0).max()
    y = latent[:, :4] @ rng.standard_normal((4, t)) * [2.0, 0.5, 0.0][:t] + rng.standard_normal((len(x), t)) + 5
    return x, y


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("kind", ["tall", "wide"])
def test_the_oracle_has_the_penalty_of_scikit_learn(kind, alpha):
    x, y = simulated(kind)
    train, test = np.arange(30), np.arange(30, 40)
    fitted = Ridge(alpha=alpha).fit(x[train], y[train, 0])
    np.testing.assert_allclose(naive_ridge.predict(x, y[:, 0], train, test, alpha)[0], fitted.predict(x[test]))


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_loops(kind, scoring):
    x, y = simulated(kind)
    folds = make_folds(len(x), 5)
    found = encode_arrays(x, y, folds, alphas=grid(kind), scoring=scoring)
    scores, alphas = naive_ridge.ridge_scores(x, y, folds.splits, grid(kind), scoring)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.fold_alphas, alphas)
    assert found.score == pytest.approx(scores.mean(), abs=1e-9)


@pytest.mark.parametrize("kind", ["tall", "between", "wide"])
@pytest.mark.parametrize("drawn", ["groups", "eight", "gap", "given"])
def test_equals_plain_loops_for_other_folds(kind, drawn):
    x, y = simulated(kind, seed=1)
    n = len(x)
    folds = {
        "groups": make_folds(n, 4, groups=np.arange(n) // 3),
        "eight": make_folds(n, 8),  # merged to five inside
        "gap": make_folds(n, 4, sample="time", gap=2),
        "given": make_folds(
            n,
            [
                (np.arange(12, n), np.arange(8)),
                (np.arange(30), np.arange(30, n)),
                (np.arange(5, 35), [0, 1, 2]),
            ],
        ),
    }[drawn]
    found = encode_arrays(x, y, folds, alphas=ALPHAS)
    scores, alphas = naive_ridge.ridge_scores(x, y, folds.splits, ALPHAS)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.fold_alphas, alphas)


def test_equals_plain_loops_for_merged_blocks_and_leave_one_out():
    x, y = simulated("tall", seed=2)
    for folds in (make_folds(40, 8, sample="time"), make_folds(40, "loo")):
        found = encode_arrays(x, y[:, :2], folds, alphas=ALPHAS[::2], scoring="r2")
        scores, _ = naive_ridge.ridge_scores(x, y[:, :2], folds.splits, ALPHAS[::2], "r2")
        np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_rows_equal_plain_loops_on_the_rows_seen(kind):
    x, y = simulated(kind, seed=3)
    rng = np.random.default_rng(3)
    y = np.hstack([y, y[:, :1] + rng.standard_normal((len(y), 1))])
    y[rng.random(y.shape) < 0.15] = np.nan
    y[:, 1] = np.where(np.isnan(y[:, 0]), np.nan, np.nan_to_num(y[:, 1]))  # two units share a pattern
    folds = make_folds(len(x), 4, groups=np.arange(len(x)) // 2)
    found = encode_arrays(x, y, folds, alphas=grid(kind), nan="pairwise")
    scores, alphas = naive_ridge.ridge_scores(x, y, folds.splits, grid(kind))
    np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.fold_alphas, alphas)
    assert found.counts["missing_patterns"] == 3


def test_a_fold_with_too_few_seen_rows_is_skipped_and_counted():
    x, y = simulated("tall", seed=4)
    folds = make_folds(40, 5)
    y[folds.splits[2][1][:6], 0] = np.nan  # 2 of 8 test rows are left
    y[:, 1] = np.nan
    y[:2, 1] = [1.0, 2.0]
    found = encode_arrays(x, y, folds, alphas=ALPHAS, nan="pairwise")
    scores, _ = naive_ridge.ridge_scores(x, y[:, [0, 2]], folds.splits, ALPHAS)
    np.testing.assert_allclose(found.unit_scores[[0, 2]], scores, rtol=0, atol=1e-9)
    assert np.isnan(found.unit_scores[1])
    assert found.counts == {
        "units_constant": 0,
        "units_undefined": 1,
        "folds_skipped": 6,
        "missing_patterns": 3,
    }


@pytest.mark.parametrize("kind", ["tall", "between", "wide", "duplicated", "offset"])
def test_float32_agrees_with_float64(kind):
    x, y = simulated(kind, seed=5)
    x, y = x.astype(np.float32), y.astype(np.float32)
    folds = make_folds(len(x), 5)
    for scoring in ("pearson", "r2"):
        single = encode_arrays(x, y, folds, alphas=ALPHAS, scoring=scoring)
        double = encode_arrays(x.astype(float), y.astype(float), folds, alphas=ALPHAS, scoring=scoring)
        np.testing.assert_allclose(single.unit_scores, double.unit_scores, rtol=0, atol=1e-4)
        np.testing.assert_allclose(single.fold_alphas, double.fold_alphas)
        assert single.unit_scores.dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_divided_differences_equal_explicit_predictions(kind, dtype):
    x, y = simulated(kind, seed=6)
    dense = np.geomspace(grid(kind)[0], grid(kind)[-1], 41)
    measure = ridge(dense)
    folds = make_folds(len(x), 5)
    source, target = (
        measure.prepared(x.astype(dtype), folds),
        measure.prepared(y.astype(dtype), folds, side="target"),
    )
    assert all(held.divided for fit in source.problem.outer for held in fit.tests)
    one, two = (_select.Errors.empty(5, dense.size, 3, squares=False) for _ in range(2))
    for form, errors in ((_select._cheapest, one), (_select._explicit, two)):
        _select._sweep(source.problem, target.values, dense, form, True, errors)
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(
        one.inner / one.inner_total[:, None], two.inner / two.inner_total[:, None], rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(one.outer / one.outer_total, two.outer / two.outer_total, rtol=0, atol=tolerance)


def test_perfectly_predictable_units_choose_as_plain_loops_do():
    rng = np.random.default_rng(7)
    x = rng.standard_normal((60, 10))
    y = x @ rng.standard_normal((10, 12)) + 1e-6 * rng.standard_normal((60, 12))
    folds = make_folds(60, 5)
    found = encode_arrays(x, y, folds, scoring="r2")
    scores, alphas = naive_ridge.ridge_scores(x, y[:, :3], folds.splits, module.ALPHAS, "r2")
    np.testing.assert_allclose(found.unit_scores[:3], scores, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.fold_alphas[:, :3], alphas)
    assert found.score > 0.999999


def test_alphas_of_the_refit_and_without_nesting():
    x, y = simulated("tall", seed=8)
    folds = make_folds(40, 5)
    refit = [ALPHAS[naive_ridge.best(naive_ridge.errors(x, y[:, u], folds.splits, ALPHAS))] for u in range(3)]
    nested, flat = (encode_arrays(x, y, folds, alphas=ALPHAS, nested=nested) for nested in (True, False))
    np.testing.assert_allclose(nested.alphas, refit)
    np.testing.assert_allclose(flat.alphas, refit)
    np.testing.assert_allclose(flat.fold_alphas, np.tile(refit, (5, 1)))
    assert flat.notes[0].startswith("selection: same_folds")
    single = encode_arrays(x, y, folds, alphas=10.0)
    both = encode_arrays(x, y, folds, alphas=[10.0], nested=False)
    np.testing.assert_array_equal(single.unit_scores, both.unit_scores)
    assert single.notes == ()


def test_explicit_predictions_of_every_penalty_are_the_exception(monkeypatch):
    """Imperfect units never fall back to them, with and without inner folds."""
    x, y = simulated("tall", seed=8)
    y[:, 1] = 3.0

    def refused(*_):
        raise AssertionError("explicit form")

    monkeypatch.setattr(_select, "_explicit", refused)
    for nested in (True, False):
        assert np.isfinite(encode_arrays(x, y, make_folds(40, 5), nested=nested).score)


def test_one_alpha_for_all_units():
    x, y = simulated("tall", seed=9)
    y = y * [1.0, 1e3, 1e-3]
    folds = make_folds(40, 5)
    found = encode_arrays(x, y, folds, alphas=ALPHAS, alpha_per_unit=False)
    for f in range(5):
        inner = naive_ridge.inner_folds(folds.splits, f, 40)
        total = 0.0
        for u in range(3):
            squares = sum(((y[b, u] - y[a, u].mean()) ** 2).sum() for a, b in inner)
            total = total + naive_ridge.errors(x, y[:, u], inner, ALPHAS) / squares
        np.testing.assert_allclose(found.fold_alphas[f], ALPHAS[naive_ridge.best(total)])
    assert len(set(found.alphas)) == 1
    gaps = y.copy()
    gaps[3, 1] = gaps[7, 2] = np.nan
    shared = encode_arrays(x, gaps, folds, alphas=ALPHAS, alpha_per_unit=False, nan="pairwise")
    assert (shared.fold_alphas == shared.fold_alphas[:, :1]).all()


def test_large_alpha_limits():
    """R2 against the training mean goes to 0 from the model's side; r has a limit of its own."""
    x, y = simulated("wide", seed=10)
    folds = make_folds(40, 5)
    assert encode_arrays(x, y, folds, alphas=1e12, scoring="r2").unit_scores == pytest.approx(0.0, abs=1e-8)
    limit = encode_arrays(x, y, folds, alphas=1e9).unit_scores
    np.testing.assert_allclose(encode_arrays(x, y, folds, alphas=1e14).unit_scores, limit, rtol=0, atol=1e-5)


def rotation(rng, p):
    return np.linalg.qr(rng.standard_normal((p, p)))[0]


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("kind", ["tall", "between", "wide"])
def test_invariances_of_the_source(kind, scoring):
    x, y = simulated(kind, seed=11)
    rng, p = np.random.default_rng(11), x.shape[1]
    folds = make_folds(40, 5)

    def scores(source, alphas=ALPHAS):
        return encode_arrays(source, y, folds, alphas=alphas, scoring=scoring).unit_scores

    base = scores(x)
    np.testing.assert_allclose(scores(x @ rotation(rng, p)), base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores(x + 100 * rng.standard_normal(p)), base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores(x[:, rng.permutation(p)]), base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores(3.7 * x, 3.7**2 * ALPHAS), base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores(np.hstack([x, x]), 2 * ALPHAS), base, rtol=0, atol=1e-9)
    assert np.abs(scores(np.hstack([x, x]), 50.0) - scores(x, 50.0)).max() > 1e-4  # duplication is not free


@pytest.mark.parametrize("options", [{}, {"alpha_per_unit": False}, {"summary": "median"}, {"scoring": "r2"}])
def test_invariances_of_the_target(options):
    x, y = simulated("between", seed=12)
    rng = np.random.default_rng(12)
    folds, order = make_folds(40, 5), [2, 0, 1]

    def encoded(target):
        return encode_arrays(x, target, folds, alphas=ALPHAS, **options)

    base = encoded(y)
    np.testing.assert_allclose(encoded(y[:, order]).unit_scores, base.unit_scores[order], rtol=0, atol=1e-12)
    assert encoded(y + 50 * rng.standard_normal(3)).score == pytest.approx(base.score, abs=1e-9)
    assert encoded(y * [1e-3, 5.0, 1e6]).score == pytest.approx(base.score, abs=1e-9)
    assert encoded(np.hstack([y, y])).score == pytest.approx(base.score, abs=1e-9)


def test_a_subset_of_units_and_blocks_of_units_change_nothing(monkeypatch):
    x, y = simulated("tall", seed=13)
    y = np.hstack([y + i for i in range(50)]) + np.random.default_rng(13).standard_normal((40, 150))
    folds = make_folds(40, 5)
    whole = encode_arrays(x, y, folds)
    np.testing.assert_allclose(encode_arrays(x, y[:, :7], folds).unit_scores, whole.unit_scores[:7], rtol=0, atol=1e-12)
    monkeypatch.setattr(_search, "BATCH_BYTES", 1)
    monkeypatch.setattr(module, "CACHE_BYTES", 1)
    np.testing.assert_allclose(encode_arrays(x, y, folds).unit_scores, whole.unit_scores, rtol=0, atol=1e-12)


def test_order_of_the_penalties_does_not_matter():
    x, y = simulated("tall", seed=14)
    folds = make_folds(40, 5)
    one, two = (encode_arrays(x, y, folds, alphas=a) for a in (ALPHAS, [*ALPHAS[::-1], ALPHAS[0]]))
    np.testing.assert_array_equal(one.unit_scores, two.unit_scores)


def test_constant_units_are_counted_and_left_out():
    x, y = simulated("tall", seed=15)
    folds = make_folds(40, 5)
    y[:, 1] = 0.1
    found = encode_arrays(x, y, folds, alphas=ALPHAS)
    assert np.isnan(found.unit_scores).tolist() == [False, True, False]
    assert found.counts == {"units_constant": 1, "units_undefined": 0}
    assert found.score == pytest.approx(np.nanmean(found.unit_scores))
    y[:, 1] = np.random.default_rng(0).standard_normal(40)
    y[folds.splits[3][1], 1] = 1 / 3  # constant in one test set only
    assert encode_arrays(x, y, folds).counts["units_constant"] == 1
    assert encode_arrays(x, y, folds, scoring="r2").counts["units_constant"] == 0
    with pytest.raises(MeasureError, match="2 of 2 target units are constant"):
        encode_arrays(x, np.ones((40, 2)), folds)


def test_sources_that_cannot_predict_raise():
    _, y = simulated("tall", seed=16)
    folds = make_folds(40, 5)
    with pytest.raises(MeasureError, match="no feature of the source varies over its 40 stimuli"):
        encode_arrays(np.full((40, 3), 1e5 / 3), y, folds)
    indicator = np.zeros((40, 5))
    for f, (_, test) in enumerate(folds.splits):
        indicator[test, f] = 1
    with pytest.raises(MeasureError, match="predictions are constant in test fold 0"):
        encode_arrays(indicator, y, folds)
    assert encode_arrays(indicator, y, folds, scoring="r2").score < 0.05


def test_alpha_edges_are_noted_with_the_next_grid():
    x, y = simulated("tall", seed=17)
    found = encode_arrays(x, y[:, :1], make_folds(40, 5), alphas=np.logspace(-9, -6, 4))
    assert found.notes == (
        "alpha_edge: 100 % of units chose the largest alpha, 1e-06; next grid: alphas=np.logspace(-9, -3, 7)",
    )


def test_states_travel_to_other_processes():
    x, y = simulated("between", seed=18)
    folds, measure = make_folds(40, 5), ridge(ALPHAS)
    states = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    again = pickle.loads(pickle.dumps((measure, *states)))
    assert again[0].compare(*again[1:]).score == measure.compare(*states).score
    assert states[0].nbytes > x.nbytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": [1.0, 0.0]}, "> 0"),
        ({"alphas": []}, "> 0"),
        ({"alphas": [np.nan]}, "> 0"),
        ({"alphas": "auto"}, "expected numbers > 0"),
        ({"scoring": "pearsn"}, "did you mean 'pearson'"),
        ({"summary": "men"}, "did you mean"),
        ({"model": "rigde"}, "ridge"),
        ({"nan": "pairwize"}, "did you mean 'pairwise'"),
    ],
)
def test_bad_options(options, message):
    x, y = simulated("tall")
    with pytest.raises(OptionError, match=message):
        encode_arrays(x, y, make_folds(40, 5), **options)


def test_bad_data():
    x, y = simulated("tall")
    folds = make_folds(40, 5)
    gap = y.copy()
    gap[0, 0] = np.nan
    with pytest.raises(MeasureError, match=r"1 missing values \(NaN\) in the target.*nan='pairwise'"):
        encode_arrays(x, gap, folds)
    hole = x.copy()
    hole[3, 2] = np.nan
    with pytest.raises(MeasureError, match="1 missing values \\(NaN\\) in the source"):
        encode_arrays(hole, y, folds, nan="pairwise")
    with pytest.raises(MeasureError, match="expected matching rows"):
        encode_arrays(x[:-1], y, folds)
    with pytest.raises(MeasureError, match="infinite"):
        encode_arrays(np.where(x == x.max(), np.inf, x), y, folds)
    assert encode_arrays(x, y, make_folds(40, 2), nested=False).fold_scores.shape == (2,)
    with pytest.raises(
        MeasureError, match=r"fold 0 has 1 test rows; expected at least 3; .* folds=13, or take .* scoring='r2'"
    ):
        encode_arrays(x, y, make_folds(40, "loo"))
    measure = ridge()
    with pytest.raises(MeasureError, match="different folds"):
        measure.compare(measure.prepared(x, folds), measure.prepared(y, make_folds(40, 5, seed=1), side="target"))


def test_too_many_missing_patterns_raise_and_name_the_way_out(monkeypatch):
    x, y = simulated("wide")
    y[0, 0] = np.nan
    monkeypatch.setattr(module, "MOST_FLOPS", 1e3)
    with pytest.raises(MeasureError, match=r"1 patterns of missing rows.*nan='drop_units'"):
        encode_arrays(x, y, make_folds(40, 5), nan="pairwise")


def test_inner_rows_never_touch_the_outer_test_set():
    for folds in (make_folds(60, 5), make_folds(60, 9), make_folds(60, 6, sample="time", gap=2)):
        plan = make_plan(folds, nested=True)
        for task in plan.inner:
            for fold, rows in task.tests:
                train, test = folds.splits[fold]
                assert not np.isin(task.train, test).any()
                assert np.isin(rows, train).all()
                assert np.isin(task.train, train).all()
                assert not np.isin(rows, task.train).any()
