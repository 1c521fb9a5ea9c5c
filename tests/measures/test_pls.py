"""PLS: equal to deflation of the data themselves and to scikit-learn, and its theorems."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression

from repcompare.errors import MeasureError, OptionError
from repcompare.measures import registry
from repcompare.measures._measure import Folds
from repcompare.measures.encoding import pls as module
from repcompare.measures.encoding._pls_fit import Direction, Narrow, Wide, fit_narrow, fit_wide
from repcompare.measures.encoding.pls import pls
from repcompare.measures.encoding.result import encode_arrays
from repcompare.statistics.folds import make_folds
from tests import naive_encoding

EXACT, NIPALS = Direction("exact", 1e-6, 500), Direction("nipals", 1e-6, 500)


def simulated(p=8, t=5, n=50, seed=0, rank=4, offset=5.0):
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, rank)) * np.geomspace(3, 0.5, rank)
    x = latent @ rng.standard_normal((rank, p)) + rng.standard_normal((n, p)) + offset
    return x, latent @ rng.standard_normal((rank, t)) + rng.standard_normal((n, t)) - offset


SHAPES = {
    "narrow": (8, 5),
    "narrow_many_units": (8, 30),
    "one_unit": (8, 1),
    "between": (45, 5),  # a kernel is cheaper
    "wide": (120, 5),
    "wide_many_units": (120, 70),
}


def fitted(x, y, train, test, m, how, form):
    """Return the components of one training set in either form."""
    centred = x[train] - x[train].mean(axis=0), y[train] - y[train].mean(axis=0)
    if form == "narrow":
        rest = x[test] - x[train].mean(axis=0)
        return fit_narrow(Narrow(centred[0].T @ centred[0], centred[0].T @ centred[1], rest, m), m, how)
    shifted = x - x.mean(axis=0)
    kernel = shifted @ shifted.T
    return fit_wide(kernel, [Wide(kernel, (train, test), centred[1], None, m)], [m], how)[0]


@pytest.mark.parametrize("how", [EXACT, NIPALS], ids=["exact", "nipals"])
@pytest.mark.parametrize("form", ["narrow", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_component_equals_deflation_of_the_data(shape, form, how):
    x, y = simulated(*SHAPES[shape])
    train, test, m = np.arange(40), np.arange(40, 50), 6
    found = fitted(x, y, train, test, m, how, form)
    weights, counts = naive_encoding.pls(x[train], y[train], m, tol=None if how is EXACT else how.tol)
    assert found.loadings.shape == (m, y.shape[1])
    np.testing.assert_array_equal(found.n_iter, counts)
    for i in range(m):
        expected = (x[test] - x[train].mean(axis=0)) @ weights[i]
        predicted = found.scores[:, : i + 1] @ found.loadings[: i + 1]
        np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["narrow", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nipals_is_that_of_scikit_learn(shape, form):
    x, y = simulated(*SHAPES[shape], seed=1)
    train, test = np.arange(40), np.arange(40, 50)
    peer = PLSRegression(7, scale=False).fit(x[train], y[train])
    found = fitted(x, y, train, test, 7, NIPALS, form)
    np.testing.assert_array_equal(found.n_iter, peer.n_iter_)
    expected = peer.predict(x[test]).reshape(len(test), -1)
    predicted = found.scores @ found.loadings + y[train].mean(axis=0)
    digits = 2e-13 if form == "narrow" else 1e-12  # a kernel holds squared singular values
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=digits * np.abs(expected).max())


def test_nipals_at_its_tolerance_is_not_the_exact_solution():
    x, y = simulated(60, 40, seed=2)
    folds = make_folds(50, 5)
    exact, loose, tight = (
        encode_arrays(x, y, folds, model="pls", n_components=8, **options).unit_scores
        for options in ({}, {"solver": "nipals"}, {"solver": "nipals", "tol": 1e-26, "max_iter": 100_000})
    )
    assert np.abs(loose - exact).max() > 1e-5
    np.testing.assert_allclose(tight, exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_equal_plain_loops(shape, scoring):
    x, y = simulated(*SHAPES[shape], seed=3)
    folds = make_folds(50, 5)
    for options, tol in (({}, None), ({"solver": "nipals"}, 1e-6)):
        found = encode_arrays(x, y, folds, model="pls", n_components=4, scoring=scoring, **options)
        expected = naive_encoding.scores(x, y, folds.splits, naive_encoding.fit_pls(4, tol), scoring)
        np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-11)
        assert found.score == pytest.approx(expected.mean(), abs=1e-11)
        assert (found.alphas.shape, found.fold_alphas.shape) == ((0,), (5, 0))
        assert found.notes == ()


@pytest.mark.parametrize("shape", ["narrow", "wide"])
def test_gaps_overlapping_folds_and_data_read_per_fold(shape, monkeypatch):
    x, y = simulated(*SHAPES[shape], seed=4)
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.permutation(50)[:12]) for _ in range(6)]
    overlapping = Folds(tuple((np.setdiff1d(np.arange(50), part), part) for part in parts), 50)
    for folds in (make_folds(50, 5, sample="time", gap=3), overlapping):
        expected = naive_encoding.scores(x, y, folds.splits, naive_encoding.fit_pls(3), "pearson")
        found = encode_arrays(x, y, folds, model="pls", n_components=3)
        np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-11)
        monkeypatch.setattr(module, "CROSS_BYTES", 1)
        monkeypatch.setattr(module, "BATCH_BYTES", 1)
        found = encode_arrays(x, y, folds, model="pls", n_components=3)
        np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-11)
        monkeypatch.undo()


def test_all_components_are_least_squares():
    x, y = simulated(6, 4, seed=5)
    folds = make_folds(50, 5)
    found = encode_arrays(x, y, folds, model="pls")
    expected = naive_encoding.scores(x, y, folds.splits, naive_encoding.fit_linear, "pearson")
    np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-9)
    assert found.notes[0].startswith("n_components: lowered from 25 to 6")


@pytest.mark.parametrize("p", [10, 200])
def test_stops_when_nothing_is_left(p):
    """x of rank 3: after three components nothing covaries with y."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, p))
    y = x[:, :2] + rng.standard_normal((50, 2))
    found = encode_arrays(x, y, make_folds(50, 5), model="pls", n_components=8)
    assert found.details["n_components_used"].tolist() == [3] * 5
    assert found.notes == ("early_stop: nothing was left to explain after 3 components in 5 of 5 folds",)
    expected = naive_encoding.scores(x, y, make_folds(50, 5).splits, naive_encoding.fit_linear, "pearson")
    np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", ["narrow", "wide"])
def test_the_number_of_components_is_chosen_inside_the_training_rows(shape):
    x, y = simulated(*SHAPES[shape], seed=7)
    folds = make_folds(50, 4)

    def errors(splits):
        total, squares = np.zeros((6, 5)), np.zeros(5)
        for train, test in splits:
            weights = naive_encoding.pls(x[train], y[train], 6)[0]
            mean = y[train].mean(axis=0)
            squares += ((y[test] - mean) ** 2).sum(axis=0)
            for i in range(6):
                total[i] += ((y[test] - mean - (x[test] - x[train].mean(axis=0)) @ weights[i]) ** 2).sum(axis=0)
        return total, squares

    shared, own = (encode_arrays(x, y, folds, model="pls", n_components=6, selection=s) for s in ("shared", "per_unit"))
    tests = [test for _, test in folds.splits]
    for f in range(4):
        inner = [
            (np.sort(np.concatenate([tests[h] for h in range(4) if h not in (f, g)])), tests[g])
            for g in range(4)
            if g != f
        ]
        total, squares = errors(inner)
        np.testing.assert_array_equal(own.details["fold_components"][f], total.argmin(axis=0) + 1)
        assert (shared.details["fold_components"][f] == (total / squares).sum(axis=1).argmin() + 1).all()
    np.testing.assert_array_equal(own.details["components"], errors(folds.splits)[0].argmin(axis=0) + 1)
    fixed = {m: encode_arrays(x, y, folds, model="pls", n_components=m, scoring="r2") for m in range(1, 7)}
    nested = encode_arrays(x, y, folds, model="pls", n_components=6, selection="shared", scoring="r2")
    for f, m in enumerate(nested.details["fold_components"][:, 0]):
        assert nested.fold_scores[f] == pytest.approx(fixed[m].fold_scores[f], abs=1e-10)


def test_invariances():
    x, y = simulated(seed=8)
    rng = np.random.default_rng(8)
    folds = make_folds(50, 5)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]

    def scores(source, target=y):
        return encode_arrays(source, target, folds, model="pls", n_components=3).unit_scores

    base = scores(x)
    for other in (x @ rotation, x + 100, 1e-6 * x, np.hstack([x, x]), np.hstack([x, np.zeros((50, 300))])):
        np.testing.assert_allclose(scores(other), base, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores(x, 1e6 * y), base, rtol=0, atol=1e-10)
    np.testing.assert_allclose(scores(x, y[:, ::-1])[::-1], base, rtol=0, atol=1e-10)
    assert np.abs(scores(x, y * [1, 5, 1, 1, 1]) - base).max() > 1e-4


def test_constant_units_are_left_out():
    x, y = simulated(seed=9)
    folds = make_folds(50, 5)
    without = encode_arrays(x, y[:, 1:], folds, model="pls", n_components=3, solver="nipals")
    y[:, 0] = 1e5 / 3
    for source in (x, np.hstack([x, np.zeros((50, 300))])):
        found = encode_arrays(source, y, folds, model="pls", n_components=3, solver="nipals")
        assert found.counts == {"units_constant": 1, "units_undefined": 0}
        np.testing.assert_allclose(found.unit_scores[1:], without.unit_scores, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(found.details["iterations"], without.details["iterations"])
    with pytest.raises(MeasureError, match="of 2 target units 2 constant"):
        encode_arrays(x, np.ones((50, 2)), folds, model="pls")


def test_many_units_take_the_iterative_solver(monkeypatch):
    from repcompare.measures.encoding import _pls_fit

    x, y = simulated(30, 40, seed=10)
    folds = make_folds(50, 5)
    dense = encode_arrays(x, y, folds, model="pls", n_components=5).unit_scores
    monkeypatch.setattr(_pls_fit, "DENSE", 4)
    np.testing.assert_allclose(
        encode_arrays(x, y, folds, model="pls", n_components=5).unit_scores, dense, rtol=0, atol=1e-10
    )


def test_no_signal_scores_zero():
    rng = np.random.default_rng(11)
    draws = [(rng.standard_normal((50, 20)), rng.standard_normal((50, 30))) for _ in range(30)]
    r = np.mean([encode_arrays(x, y, make_folds(50, 5), model="pls", n_components=5).score for x, y in draws])
    assert abs(r) < 0.02


def test_states_travel_and_options_are_checked():
    x, y = simulated(seed=12)
    folds, measure = make_folds(50, 5), pls(3)
    states = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    again = pickle.loads(pickle.dumps((measure, *states)))
    assert again[0].compare(*again[1:]).score == measure.compare(*states).score
    assert states[0].nbytes > x.nbytes
    for options, message in (
        ({"n_components": 0}, "expected a number >= 1"),
        ({"solver": "nipal"}, "did you mean 'nipals'"),
        ({"selection": "unit"}, "selection"),
        ({"tol": -1.0}, "tol"),
        ({"scoring": "pearsn"}, "did you mean 'pearson'"),
    ):
        with pytest.raises(OptionError, match=message):
            pls(**options)
    with pytest.raises(OptionError, match="model='pls' has no option 'n_component'; did you mean 'n_components'"):
        encode_arrays(x, y, folds, model="pls", n_component=3)
    with pytest.raises(MeasureError, match="no feature of the source varies"):
        encode_arrays(np.ones((50, 3)), y, folds, model="pls")
    with pytest.raises(MeasureError, match="fold 0 has 1 test rows; expected at least 3"):
        encode_arrays(x, y, make_folds(50, "loo"), model="pls")
    y[0, 0] = np.nan
    with pytest.raises(MeasureError, match="1 missing values"):
        encode_arrays(x, y, folds, model="pls", nan="pairwise")


def test_names_of_other_packages():
    x, y = simulated(seed=13)
    folds = make_folds(50, 5)
    found = registry.make("pls-dim=3-r2-cv=5folds")
    assert (found.name, found.options["n_components"], found.options["scoring"]) == ("pls", 3, "r2")
    ours = encode_arrays(x, y, folds, model="pls", n_components=3, scoring="r2").score
    assert found.compare(found.prepared(x, folds), found.prepared(y, folds, side="target")).score == ours
    assert registry.make("linear_regression-r2-cv=5folds").label == "linear(scoring=r2, summary=mean)"
    with pytest.raises(OptionError, match="in-sample fits are not scores"):
        registry.make("pls-dim=3")
