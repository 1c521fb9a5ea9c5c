"""Options of the encoders through the public door: bands, delays, kernels, components, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding.delays import canonical_hrf, make_lags

ALPHAS = np.logspace(-1, 3, 5)
NAMES = [f"s{i:03d}" for i in range(80)]
LAYERS = np.repeat(["conv", "fc"], [3, 5])


def data(seed=0, n=80, p=8, t=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 3
    return x, x[:, :3] @ rng.normal(size=(3, t)) + rng.normal(size=(n, t))


def sides(**coords):
    x, y = data()
    return rc.representation(x, stimulus=NAMES, unit_layer=LAYERS, **coords), rc.representation(y, stimulus=NAMES)


def series(x, y):
    return [rc.representation(v, dims=("time", "unit"), time=np.arange(len(v)) * 2.0) for v in (x, y)]


# bands


def test_bands_by_coordinate_labels_slices_and_mapping_are_the_same():
    x, y = sides()
    arrays = x["response"].values, y["response"].values
    options = {"model": "banded_ridge", "n_iter": 8, "alphas": ALPHAS}
    parts = [slice(0, 3), slice(3, 8)]
    first = rc.encode(x, y, bands="unit_layer", **options)
    for other in (
        rc.encode(*arrays, bands=LAYERS, **options),
        rc.encode(*arrays, bands=parts, **options),
        rc.encode(*arrays, bands=dict(zip(("conv", "fc"), parts, strict=True)), **options),
    ):
        np.testing.assert_allclose(other.unit_scores, first.unit_scores, rtol=1e-12)
        np.testing.assert_array_equal(other.alphas, first.alphas)
    assert first.details["bands"] == ("conv", "fc")
    assert first.alphas.shape == (2, 3)


@pytest.mark.parametrize("model", ["banded_ridge", "kernel_ridge"])
def test_one_penalty_for_all_units_has_the_name_that_ridge_gives_it(model):
    x, y = data()
    own = {"bands": [slice(0, 3), slice(3, 8)], "n_iter": 6} if model == "banded_ridge" else {}
    one = rc.encode(x, y, model=model, alpha_per_unit=False, **own)
    other = rc.encode(x, y, model=model, shared=True, **own)
    np.testing.assert_array_equal(one.alphas, other.alphas)
    assert np.unique(np.atleast_2d(one.alphas), axis=1).shape[1] == 1


@pytest.mark.parametrize("p", [6, 120])
def test_banded_ridge_of_delayed_features_solves_its_normal_equations(p):
    x, y = data(p=p)
    bands, runs = np.arange(p) >= 3, np.repeat(np.arange(4), 20)
    found = rc.encode(x, y, model="banded_ridge", bands=bands, delays=[0, 2], runs=runs, groups=runs, folds=4, n_iter=5,
                      alphas=ALPHAS, weights=True)  # fmt: skip
    z = make_lags(delays=[0, 2], runs=runs).features(x)
    z, target = z - z.mean(axis=0), y - y.mean(axis=0)
    for u in range(3):
        penalty = np.tile(found.alphas[:, u][bands.astype(int)], 2)
        kept = np.isfinite(penalty)
        exact = np.linalg.solve(z[:, kept].T @ z[:, kept] + np.diag(penalty[kept]), z[:, kept].T @ target[:, u])
        np.testing.assert_allclose(found.coef[kept, u], exact, rtol=1e-6, atol=1e-9)


# delays


def test_a_gap_below_the_longest_delay_is_refused():
    x, y = series(*data())
    with pytest.raises(MeasureError, match="longest delay is 4; expected a gap of at least 4 rows"):
        rc.encode(x, y, delays=[1, 2, 3, 4], gap=2)
    assert rc.encode(x, y, delays=[1, 2, 3, 4], gap=4).gap == 4
    with pytest.raises(MeasureError, match="longest delay is 2"):
        rc.encode(x, y, hrf=[[0, 1.0, 0], [0, 0, 1.0]], gap=1)


def test_delayed_ridge_has_delays_by_default_and_a_gap_that_spans_them():
    x, y = series(*data())
    found, named = rc.encode(x, y, model="delayed_ridge"), rc.encode(x, y, delays=[1, 2, 3, 4])
    assert found.gap == named.gap >= 4
    np.testing.assert_array_equal(found.unit_scores, named.unit_scores)


def test_several_response_functions_are_features_side_by_side():
    x, y = data()
    basis = np.vstack([canonical_hrf(2.0, duration=10.0), np.gradient(canonical_hrf(2.0, duration=10.0))])
    splits = [(np.r_[0 : 20 * f - 6 if f else 0, 20 * f + 26 : 80], np.arange(20 * f, 20 * f + 20)) for f in range(4)]
    splits = [(train[(train < test[0] - 5) | (train > test[-1] + 5)], test) for train, test in splits]
    found = rc.encode(x, y, hrf=basis, folds=splits, alphas=[3.0])
    z = make_lags(hrf=basis).features(x)
    for u in range(3):
        r = [
            np.corrcoef(Ridge(3.0).fit(z[train], y[train, u]).predict(z[test]), y[test, u])[0, 1]
            for train, test in splits
        ]
        assert found.unit_scores[u] == pytest.approx(np.mean(r), rel=1e-8)


@pytest.mark.parametrize("model", ["pls", "linear", "best_unit", "poisson"])
def test_models_without_delays_say_which_have_them(model):
    x, y = series(*data())
    with pytest.raises(OptionError, match="ridge, banded_ridge and kernel_ridge do"):
        rc.encode(x, y, model=model, delays=[1])
    with pytest.raises(OptionError, match="canonical_hrf"):
        rc.encode(x, y, hrf="canonical")


# kernels


def test_columns_of_a_precomputed_kernel_follow_the_names_of_its_rows():
    x, y = data()
    about = x - x.mean(axis=0)
    order = np.random.default_rng(1).permutation(80)
    ids = [NAMES[i] for i in order]
    kernel = (about @ about.T)[:, order]
    source = rc.representation(kernel, stimulus=NAMES, unit_id=ids)
    target = rc.representation(y.copy(), stimulus=NAMES)
    plain = rc.encode(x, y, model="kernel_ridge", alphas=ALPHAS, weights=True)
    options = {"model": "kernel_ridge", "kernel": "precomputed", "alphas": ALPHAS}
    found = rc.encode(source, target, weights=True, **options)
    np.testing.assert_allclose(found.unit_scores, plain.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(found.predict(source), plain.predict(x), rtol=1e-8)
    target["response"][5, 1] = np.nan
    fewer = rc.encode(source, target, nan="drop_stimuli", **options)
    assert sorted(i for _, test in fewer.folds.splits for i in test) == [i for i in range(80) if i != 5]
    with pytest.raises(MeasureError, match="not symmetric"):
        rc.encode(kernel, y, **options)
    with pytest.raises(MeasureError, match="expected none below 0"):
        rc.encode(-(about @ about.T), y, **options)


def test_polynomial_kernels_of_degree_1_are_ridge():
    x, y = data()
    one = rc.encode(x, y, model="kernel_ridge", kernel="polynomial", degree=1, gamma=1.0, coef0=0.0, alphas=ALPHAS)
    np.testing.assert_allclose(one.unit_scores, rc.encode(x, y, alphas=ALPHAS).unit_scores, rtol=1e-9)


# components and counts


def test_components_that_were_used_are_told():
    x, y = data()
    found = rc.encode(x, y, model="pls")
    assert any(note.startswith("n_components: lowered from 25 to 8") for note in found.notes)
    assert found.details["n_components_used"].tolist() == [8] * 5
    low = rc.encode(x[:, :1] * np.arange(1.0, 5), y, model="pls", n_components=3)
    assert low.details["n_components_used"].tolist() == [1] * 5
    assert any(note.startswith("early_stop") for note in low.notes)


def test_poisson_scores_are_all_there():
    x, _ = data()
    counts = np.random.default_rng(0).poisson(np.exp(0.4 * (x[:, :2] - 3)))
    found = rc.encode(x, counts, model="poisson", scoring="bits_per_spike", alphas=ALPHAS)
    np.testing.assert_allclose(found.unit_scores, found.details["bits_per_spike"])
    deviance = rc.encode(x, counts, model="poisson", alphas=ALPHAS)
    np.testing.assert_allclose(deviance.unit_scores, found.details["deviance"])
    with pytest.raises(MeasureError, match="are not counts"):
        rc.encode(x, counts - 1, model="poisson")


# directions


def test_bands_and_kernels_of_x_have_no_reverse():
    x, y = sides()
    with pytest.raises(OptionError, match="encode each direction by itself"):
        rc.encode(x, y, model="banded_ridge", bands="unit_layer", direction="both")
    values = x["response"].values
    with pytest.raises(OptionError, match="encode each direction by itself"):
        rc.encode(values @ values.T, y["response"].values, model="kernel_ridge", kernel="precomputed", direction="both")
