"""scikit-learn estimators: their contract, and the same numbers as the direct functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import repcompare as rc
from repcompare import estimators
from repcompare.errors import MeasureError, OptionError
from repcompare.estimators._distances import DISTANCES

ALPHAS = np.logspace(-1, 3, 5)


@parametrize_with_checks(
    [
        estimators.RidgeEncoder(),
        estimators.BandedRidgeEncoder(n_iter=3),
        estimators.PLSEncoder(2),
        estimators.CCAAligner(),
        estimators.ProcrustesAligner(),
        estimators.RDMTransformer(),
    ]
)
@pytest.mark.filterwarnings("ignore")  # of scikit-learn about its own checks
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8)) * np.linspace(0.5, 2, 8) + 3
    y = x[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(60, 4)) * np.array([0.3, 1, 3, 9]) - 7
    return x, y


@pytest.mark.parametrize("width", [8, 100])
def test_ridge_equals_scikit_learn_and_encode(data, width):
    x, y = data
    x = np.hstack([x, np.random.default_rng(1).normal(size=(60, 100))])[:, :width]
    cv = KFold(5)
    model = estimators.RidgeEncoder(ALPHAS, cv=cv).fit(x, y)
    found = rc.encode(x, y, alphas=ALPHAS, folds=list(cv.split(x)), nested=False, scoring="r2")
    np.testing.assert_allclose(model.alpha_, found.alphas)
    np.testing.assert_allclose(model.cv_score_, found.unit_scores, rtol=1e-9)
    for u in range(4):
        peer = RidgeCV([model.alpha_[u]]).fit(x, y[:, u])
        np.testing.assert_allclose(model.coef_[u], peer.coef_, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(model.predict(x)[:, u], peer.predict(x), rtol=1e-8)


def test_one_axis_in_one_axis_out(data):
    x, y = data
    many = estimators.RidgeEncoder(ALPHAS).fit(x, y[:, :1])
    one = estimators.RidgeEncoder(ALPHAS).fit(x, y[:, 0])
    assert one.coef_.shape == (8,)
    assert isinstance(one.alpha_, float)
    assert one.predict(x).shape == (60,)
    np.testing.assert_allclose(one.predict(x), many.predict(x)[:, 0])


def test_one_penalty_for_all_units(data):
    x, y = data
    model = estimators.RidgeEncoder(ALPHAS, alpha_per_unit=False).fit(x, y)
    assert np.unique(model.alpha_).size == 1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("width", [8, 100])
def test_banded_weights_solve_their_normal_equations(data, shared, width):
    x, y = data
    x = np.hstack([x, np.random.default_rng(1).normal(size=(60, 100))])[:, :width]
    bands = np.arange(width) >= 3
    model = estimators.BandedRidgeEncoder(bands, n_iter=6, alphas=ALPHAS, shared=shared).fit(x, y)
    about, target = x - x.mean(axis=0), y - y.mean(axis=0)
    for u in range(4):
        penalty = model.alphas_[:, u][bands.astype(int)]
        kept = np.isfinite(penalty)
        matrix = about[:, kept].T @ about[:, kept] + np.diag(penalty[kept])
        np.testing.assert_allclose(
            model.coef_[u, kept], np.linalg.solve(matrix, about[:, kept].T @ target[:, u]), rtol=1e-7, atol=1e-10
        )
        assert (model.coef_[u, ~kept] == 0).all()
    assert model.band_names_ == ("False", "True")
    assert (np.unique(model.alphas_, axis=1).shape[1] == 1) == shared


@pytest.mark.parametrize("width", [8, 100])
@pytest.mark.parametrize("units", [1, 4])
def test_pls_equals_scikit_learn(data, width, units):
    x, y = data
    x = np.hstack([x, np.random.default_rng(1).normal(size=(60, 100))])[:, :width]
    y = y[:, :units]
    model = estimators.PLSEncoder(3, solver="nipals", tol=1e-14, max_iter=5000).fit(x, y)
    peer = PLSRegression(3, scale=False, tol=1e-14, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(model.predict(x), peer.predict(x).reshape(60, -1), rtol=1e-6, atol=1e-8)
    exact = estimators.PLSEncoder(3).fit(x, y)
    np.testing.assert_allclose(exact.predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    assert exact.n_components_used_ == 3


def test_cca_equals_scikit_learn(data):
    x, y = data
    model = estimators.CCAAligner(2).fit(x, y)
    peer = CCA(2, tol=1e-12, max_iter=5000).fit(x, y)
    a, b = peer.transform(x, y)
    ours = model.transform(x), model.transform_target(y)
    for i in range(2):
        r = np.corrcoef(a[:, i], b[:, i])[0, 1]
        assert model.correlations_[i] == pytest.approx(r, abs=1e-6)
        assert np.corrcoef(ours[0][:, i], ours[1][:, i])[0, 1] == pytest.approx(r, abs=1e-6)
        assert abs(np.corrcoef(a[:, i], ours[0][:, i])[0, 1]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.cov(ours[0].T), np.eye(2), atol=1e-10)
    full = estimators.CCAAligner().fit(x, y).correlations_
    assert full.mean() == pytest.approx(rc.cca(x, y, held_out=False), rel=1e-9)


def test_regularised_cca_tends_to_the_singular_directions_of_the_covariance(data):
    x, y = data
    model = estimators.CCAAligner(1, regularization=1.0).fit(x, y)
    u = np.linalg.svd((x - x.mean(axis=0)).T @ (y - y.mean(axis=0)))[0][:, 0]
    assert abs(u @ model.map_[:, 0]) / np.linalg.norm(model.map_) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(5, 5), (5, 3), (3, 5)])
@pytest.mark.parametrize("scale", [True, False])
def test_procrustes_is_the_nearest_rotation(shape, scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, shape[0])), rng.normal(size=(40, shape[1])) + 2
    model = estimators.ProcrustesAligner(scale=scale).fit(x, y)
    short = min(shape)
    turn = model.rotation_ if shape[0] >= shape[1] else model.rotation_.T
    np.testing.assert_allclose(turn.T @ turn, np.eye(short), atol=1e-12)
    best = ((model.transform(x) - y) ** 2).sum()
    about, target = x - x.mean(axis=0), y - y.mean(axis=0)
    for _ in range(20):
        other = np.linalg.qr(rng.normal(size=(max(shape), max(shape))))[0][: shape[0], : shape[1]]
        if shape[0] == shape[1]:
            size = model.scale_ if scale else 1.0
            assert ((size * about @ other - target) ** 2).sum() >= best
    if scale:
        for factor in (0.9, 1.1):
            assert ((factor * model.scale_ * about @ model.rotation_ - target) ** 2).sum() > best
    assert model.similarity_ == pytest.approx(rc.procrustes(x, y, score="similarity"), rel=1e-9)


@pytest.mark.parametrize("distance", DISTANCES)
def test_fit_transform_gives_the_rdm(data, distance):
    x, _ = data
    found = estimators.RDMTransformer(distance).fit_transform(x)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    expected = rc.rdm(x, distance=distance) if distance != "cosine" else None
    if expected is None:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        expected = (1 - unit @ unit.T)[np.triu_indices(60, 1)]
    np.testing.assert_allclose(found[np.triu_indices(60, 1)], expected, rtol=1e-7, atol=1e-12)


def test_flat_patterns_have_no_correlation():
    with pytest.raises(OptionError, match="pattern 1 does not vary over its n_features=2"):
        estimators.RDMTransformer("correlation").fit([[1.0, 2.0], [3.0, 3.0]])


def test_they_work_inside_pipelines_and_searches(data):
    x, y = data
    pipeline = make_pipeline(StandardScaler(), estimators.RidgeEncoder(ALPHAS))
    assert pipeline.fit(x, y[:, :2]).score(x, y[:, :2]) > 0.5
    search = GridSearchCV(estimators.PLSEncoder(), {"n_components": [1, 3]}, cv=3).fit(x, y)
    assert search.best_params_["n_components"] in (1, 3)
    bands = {"low": slice(0, 3), "high": slice(3, 8)}
    assert clone(estimators.BandedRidgeEncoder(bands)).get_params()["bands"] == bands


def test_wrong_options_raise(data):
    x, y = data
    with pytest.raises(OptionError, match="cv=61; expected 2 to n_samples=60"):
        estimators.RidgeEncoder(cv=61).fit(x, y)
    with pytest.raises(OptionError, match="all finite and > 0"):
        estimators.RidgeEncoder([-1.0]).fit(x, y)
    with pytest.raises(MeasureError, match="in no band"):
        estimators.BandedRidgeEncoder([slice(0, 3)]).fit(x, y)
    with pytest.raises(OptionError, match="did you mean 'nipals'"):
        estimators.PLSEncoder(solver="nipal").fit(x, y)
    with pytest.raises(OptionError, match="regularization=2"):
        estimators.CCAAligner(regularization=2).fit(x, y)
    with pytest.raises(OptionError, match="did you mean 'euclidean'"):
        estimators.RDMTransformer("euclid").fit(x)


def test_the_front_door_has_them():
    assert rc.estimators is estimators
