"""Banded ridge against plain loops, ridge, and the identities of its penalties."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.encoding import _banded_problem as problems
from repcompare.measures.encoding._banded_bands import band_codes
from repcompare.measures.encoding._banded_refine import errors_and_gradient
from repcompare.measures.encoding._banded_search import sample_gammas
from repcompare.measures.encoding._banded_spectral import Factor, direct_errors, squared_errors
from repcompare.measures.encoding._plan import make_plan
from repcompare.measures.encoding.banded import banded_ridge, delayed_ridge
from repcompare.measures.encoding.ridge import ridge
from tests import naive_banded as naive

ALPHAS = np.logspace(-1, 3, 4)
CODES = np.array([0, 0, 0, 1, 1, 2])
GAMMAS = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 1], [0.2, 0.5, 0.3]]) / np.array([[3], [3], [2], [1]])


def make_folds(n, k=4, seed=0):
    order = np.random.default_rng(seed).permutation(n)
    return Folds(tuple((np.setdiff1d(order, part), np.sort(part)) for part in np.array_split(order, k)), n)


def data(n=36, p=6, t=3, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(0.5, 2, p) + rng.normal(size=p) * 3
    y = x[:, :3] @ rng.normal(size=(3, t)) + rng.normal(size=(n, t)) * np.linspace(0.5, 4, t) + 7
    return x, y


def run(measure, x, y, folds):
    return measure.compare(measure.prepared(x, folds), measure.prepared(y, folds, side="target"))


def wide_form(x, codes, folds, nested=True):
    """The dual form of a narrow source."""
    plan = make_plan(folds, nested=nested)
    x = x - x.mean(axis=0)
    return problems.Wide(tuple(problems.linear_kernel(x[:, codes == b]) for b in range(codes.max() + 1)), None, plan)


def narrow_form(x, codes, folds, nested=True):
    return problems.narrow(x - x.mean(axis=0), codes, codes.max() + 1, make_plan(folds, nested=nested), folds.n)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("width", [6, 50])
def test_scores_and_penalties_equal_plain_loops(nested, width):
    x, y = data(p=width)
    codes = np.resize(CODES, width) if width > 6 else CODES
    folds = make_folds(len(x))
    r, r2, chosen, final = naive.banded_scores(x, y, folds.splits, codes, GAMMAS, ALPHAS, nested=nested)
    for scoring, expected in (("pearson", r), ("r2", r2)):
        found = run(banded_ridge(codes, alphas=ALPHAS, gammas=GAMMAS, scoring=scoring, nested=nested), x, y, folds)
        np.testing.assert_allclose(found.unit_scores, expected, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(found.details["fold_alphas"], chosen, rtol=1e-12)
        np.testing.assert_allclose(found.details["alphas"], final, rtol=1e-12)
    assert ("solver: primal" if width == 6 else "solver: dual") in found.notes


def test_statistics_that_are_not_kept_are_the_same(monkeypatch):
    x, y = data(n=40, p=6)
    folds = make_folds(40)
    measure = banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS)
    kept = run(measure, x, y, folds)
    monkeypatch.setattr(problems, "KEPT_BYTES", 0)
    monkeypatch.setattr("repcompare.measures.encoding._banded_search.CACHE_BYTES", 0)
    monkeypatch.setattr("repcompare.measures.encoding._banded_search.BLOCK_BYTES", 0)
    assert measure.prepared(x, folds).problem.known is None
    again = run(measure, np.tile(x, 1), np.tile(y, 12), folds)  # three blocks of units
    np.testing.assert_allclose(again.unit_scores, np.tile(kept.unit_scores, 12), rtol=1e-12)


def test_primal_equals_dual():
    x, y = data(n=40, p=6)
    folds = make_folds(40)
    measure = banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS, scoring="r2")
    state = measure.prepared(x, folds)
    target = measure.prepared(y, folds, side="target")
    one = measure.compare(state, target)
    two = measure.compare(type(state)(wide_form(x, CODES, folds), folds, state.names), target)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-10)
    np.testing.assert_allclose(one.details["fold_alphas"], two.details["fold_alphas"], rtol=1e-12)


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("shared", [False, True])
def test_one_band_is_ridge(scoring, shared):
    x, y = data(n=60)
    folds = make_folds(60, 5)
    one = run(banded_ridge(alphas=ALPHAS, scoring=scoring, shared=shared), x, y, folds)
    two = run(ridge(ALPHAS, scoring=scoring, alpha_per_unit=not shared), x, y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-9)
    np.testing.assert_array_equal(one.details["alphas"], two.details["alphas"])
    np.testing.assert_array_equal(one.details["fold_alphas"], two.details["fold_alphas"])


def test_uniform_weights_are_ridge_with_a_scaled_penalty():
    x, y = data(n=60)
    folds = make_folds(60, 5)
    one = run(banded_ridge(CODES, alphas=ALPHAS, gammas=np.ones((1, 3))), x, y, folds)
    two = run(ridge(3 * ALPHAS), x, y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(one.details["alphas"], np.repeat(two.details["alphas"][None], 3, axis=0))


def test_a_single_band_is_ridge_on_its_features():
    x, y = data(n=60)
    folds = make_folds(60, 5)
    one = run(banded_ridge(CODES, alphas=ALPHAS, gammas=[[0, 1, 0]]), x, y, folds)
    two = run(ridge(ALPHAS), x[:, CODES == 1], y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-9)
    assert np.isinf(one.details["alphas"][[0, 2]]).all()


@pytest.mark.parametrize("n_alphas", [1, 4])
@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_divided_differences_equal_penalty_by_penalty(n_alphas, scale):
    """Also for near and equal eigenvalues, and units predicted almost perfectly."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 8))
    x[:, 3] = x[:, 2]
    x[:, 5:7] = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    y = x @ rng.normal(size=(8, 5)) + rng.normal(size=(30, 5)) * np.array([1, 1, 3, 1e-5, 1e-9])
    lam, basis = np.linalg.eigh(x[:20].T @ x[:20])
    a = x[20:] @ basis
    z, w = basis.T @ x[:20].T @ y[:20], a.T @ y[20:]
    factor = Factor(lam[1:] * scale, basis[:, 1:], (a[:, 1:].T @ a[:, 1:],), (basis[:, 1:],))
    alphas = np.logspace(-6, 5, n_alphas) * scale
    squares = (y[20:] ** 2).sum(axis=0)
    products = z[1:] * scale, w[1:], squares
    found = squared_errors(factor, 0, products, alphas)
    direct = direct_errors(factor.grams[0], factor.lam, products, alphas)
    for i, alpha in enumerate(alphas):
        rest = y[20:] - a[:, 1:] @ (products[0] / (factor.lam[:, None] + alpha))
        np.testing.assert_allclose(found[i], (rest**2).sum(axis=0), rtol=1e-8, atol=1e-10 * squares.max())
        np.testing.assert_allclose(found[i], direct[i], rtol=1e-6, atol=1e-13 * squares.max())


def test_shared_returns_one_choice_and_is_the_sum_over_units():
    x, y = data(n=40)
    folds = make_folds(40)
    found = run(banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS, shared=True, nested=False), x, y, folds)
    assert np.ptp(found.details["gammas"], axis=1).max() == 0
    errors = sum(
        naive.table(x, y[:, u], folds.splits, CODES, GAMMAS, ALPHAS)
        / sum(((y[test, u] - y[train, u].mean()) ** 2).sum() for train, test in folds.splits)
        for u in range(y.shape[1])
    )
    g, a = naive.best(errors)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found.details["alphas"][:, 0], ALPHAS[a] / GAMMAS[g])
    nested = run(banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS, shared=True), x, y, folds)
    assert (
        np.ptp(nested.details["fold_alphas"][np.isfinite(nested.details["fold_alphas"]).all(axis=(1, 2))], axis=2) == 0
    ).all()


def test_more_weightings_never_have_a_larger_error_and_find_the_band_with_the_signal():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 30))
    y = x[:, :5] @ rng.normal(size=(5, 4)) + 2 * rng.normal(size=(80, 4))
    folds = make_folds(80)
    bands = [slice(0, 5), slice(5, 30)]
    few, many = (
        run(banded_ridge(bands, n_iter=n, scoring="r2", nested=False), x, y, folds).unit_scores for n in (1, 30)
    )
    assert (many >= few - 1e-12).all()
    found = run(banded_ridge(bands, n_iter=30), x, y, folds)
    assert (found.details["gammas"][0] > 0.5).all()


@pytest.mark.parametrize("form", [narrow_form, wide_form])
def test_gradient_equals_finite_differences(form):
    x, y = data(n=40)
    folds = make_folds(40)
    problem = form(x, CODES, folds)
    products = problem.products(y - y.mean(axis=0))
    theta = np.array([0.3, 2.0, np.inf]), np.array([1.0, -0.5, 3.0])
    units = np.array([0, 2])
    for point in theta:
        for where in ((0, 0), (5, 1)):
            errors, gradient = errors_and_gradient(problem, products, where, units, point)
            train, test = (
                problems.tasks_of(problem.plan)[where[0]].train,
                problems.tasks_of(problem.plan)[where[0]].tests[where[1]][1],
            )
            for i, u in enumerate(units):
                guess = naive.predict(x, y[:, u], train, test, np.exp(point)[CODES])[0]
                assert errors[i] == pytest.approx(((y[test, u] - guess) ** 2).sum(), rel=1e-9)
            for b in np.flatnonzero(np.isfinite(point)):
                step = np.zeros(3)
                step[b] = 1e-4
                f = [errors_and_gradient(problem, products, where, units, point + s * step)[0] for s in (-2, -1, 1, 2)]
                slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-4
                np.testing.assert_allclose(gradient[b], slope, atol=6e-10 * errors.max())


def test_gradients_of_both_forms_agree():
    x, y = data(n=40)
    folds = make_folds(40)
    theta, units = np.array([0.3, 2.0, 1.0]), np.arange(3)
    one, two = (
        errors_and_gradient(form(x, CODES, folds), form(x, CODES, folds).products(y), (1, 0), units, theta)
        for form in (narrow_form, wide_form)
    )
    np.testing.assert_allclose(one[0], two[0], rtol=1e-10)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("width", [6, 50])
def test_refinement_lowers_the_error_that_it_minimises(width):
    x, y = data(p=width)
    codes = np.resize(CODES, width)
    folds = make_folds(len(x))
    options = {"alphas": ALPHAS, "gammas": GAMMAS, "scoring": "r2", "nested": False}
    coarse, fine = (run(banded_ridge(codes, refine=on, **options), x, y, folds) for on in (False, True))
    assert (fine.unit_scores >= coarse.unit_scores - 1e-12).all()
    assert (fine.unit_scores > coarse.unit_scores + 1e-5).any()
    u = 0
    pen = fine.details["alphas"][:, u][codes]
    sse = sum(
        ((y[test, u] - naive.predict(x, y[:, u], train, test, pen)[0]) ** 2).sum() for train, test in folds.splits
    )
    sst = sum(((y[test, u] - y[train, u].mean()) ** 2).sum() for train, test in folds.splits)
    assert fine.unit_scores[u] == pytest.approx(1 - sse / sst, rel=1e-8)


def test_refined_choices_of_a_fold_do_not_see_its_test_rows():
    x, y = data()
    folds = make_folds(len(x))
    measure = banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS, refine=True)
    other = y.copy()
    other[folds.splits[0][1]] += 100.0
    one, two = (run(measure, x, v, folds).details["fold_alphas"][0] for v in (y, other))
    np.testing.assert_allclose(one, two, rtol=1e-3)


def test_offsets_scale_and_penalty_move_together():
    x, y = data(n=40)
    folds = make_folds(40)
    before = run(banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS), x, y, folds).unit_scores
    moved = run(banded_ridge(CODES, alphas=ALPHAS * 9, gammas=GAMMAS), 3 * x + 1e4, 5 * y - 1e4, folds).unit_scores
    np.testing.assert_allclose(moved, before, rtol=1e-6)


def test_samples_are_on_the_simplex_and_follow_the_seed():
    found = sample_gammas(4, 60, seed=3)
    assert found.shape == (60, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found[:5], np.vstack([np.full(4, 0.25), np.eye(4)]))
    assert ((found[5:11] == 0.5).sum(axis=1) == 2).all()
    np.testing.assert_array_equal(found, sample_gammas(4, 60, seed=3))
    assert not np.array_equal(found, sample_gammas(4, 60, seed=4))
    assert sample_gammas(30, 10, seed=0).shape == (36, 30)  # uniform, 30 single ones, 5 pairs


@pytest.mark.parametrize(
    ("bands", "error", "message"),
    [
        ("unit_layer", OptionError, "names a coordinate"),
        ([slice(0, 3), slice(2, 6)], MeasureError, "1 features are in two bands, first 2"),
        ([slice(0, 3)], MeasureError, "3 features are in no band"),
        ({"a": slice(0, 6), "b": slice(6, 9)}, MeasureError, "'b' has no features"),
        ({"a": [0, 9]}, MeasureError, "outside 0 to 5"),
        ([0, 1], MeasureError, "2 labels; expected one for each of 6"),
        (np.ones((2, 3)), OptionError, "one label per feature"),
    ],
)
def test_bands_that_do_not_cover_the_features_raise(bands, error, message):
    with pytest.raises(error, match=message):
        band_codes(bands, 6)


def test_forms_of_bands_agree():
    expected = [0, 0, 1, 1, 2]
    for bands in (
        ["a", "a", "c", "c", "b"],
        [slice(0, 2), slice(2, 4), slice(4, 5)],
        {"x": [0, 1], "y": np.array([False, False, True, True, False]), "z": 4},
    ):
        assert band_codes(bands, 5)[0].tolist() == expected


def test_the_record_of_a_measure_holds_all_bands():
    """Long arrays inside a mapping would be shortened by repr, and two assignments could be taken for one."""
    one = {"a": np.arange(2000), "b": np.arange(2000, 4000)}
    two = {"a": np.r_[0:999, 2000, 1000:2000], "b": np.r_[999, 2001:4000]}
    assert banded_ridge(one).options["bands"] != banded_ridge(two).options["bands"]
    assert "bands=[6 values]" in banded_ridge(list(CODES)).label


def test_wrong_options_raise():
    x, y = data()
    folds = make_folds(len(x))
    with pytest.raises(OptionError, match="no option 'alpha'"):
        banded_ridge(alpha=3)
    with pytest.raises(OptionError, match="n_iter=0"):
        banded_ridge(n_iter=0)
    with pytest.raises(OptionError, match="rows of weights"):
        banded_ridge(gammas=[[0.0, 0.0]])
    with pytest.raises(MeasureError, match="one for each of 3 bands"):
        banded_ridge(CODES, gammas=[[1.0, 1.0]]).prepared(x, folds)
    with pytest.raises(MeasureError, match="different folds"):
        measure = banded_ridge(CODES)
        measure.compare(measure.prepared(x, folds), measure.prepared(y, make_folds(len(x), seed=1), side="target"))


def test_constant_units_are_counted_and_not_scored():
    x, y = data()
    y[:, 1] = 3.0
    found = run(banded_ridge(CODES, alphas=ALPHAS, gammas=GAMMAS), x, y, make_folds(len(x)))
    assert found.counts["units_constant"] == 1
    assert np.isnan(found.unit_scores).tolist() == [False, True, False]


def test_the_edge_of_the_grid_is_noted():
    x, y = data()
    y = np.random.default_rng(0).normal(size=y.shape)
    found = run(banded_ridge(CODES, alphas=[1e-3, 1e-2], gammas=GAMMAS), x, y, make_folds(len(x)))
    assert any(note.startswith("alpha_edge") for note in found.notes)


def test_delayed_ridge_without_delays_takes_four():
    assert delayed_ridge(alphas=ALPHAS).label == delayed_ridge(alphas=ALPHAS, delays=[1, 2, 3, 4]).label
    assert delayed_ridge(hrf=[0.0, 1.0]).reach == 1


def test_encode_gives_penalties_per_band_and_unit():
    x, y = data(n=40)
    found = rc.encode(x, y, model="banded_ridge", bands=CODES, alphas=ALPHAS, gammas=GAMMAS, folds=4)
    assert found.alphas.shape == (3, 3)
    assert found.fold_alphas.shape == (4, 3, 3)
    assert found.details["bands"] == ("0", "1", "2")
    assert -1 <= found.score <= 1
