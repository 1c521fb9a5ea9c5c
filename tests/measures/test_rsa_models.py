"""Models of RDMs: fits against vectors that are formed, identities, and held-out scores against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.kernels import nnls as kernel
from repcompare.labels.rdms import rdm_set, select_stimuli, to_pairs
from repcompare.measures.rsa import compare_rdms, models
from repcompare.measures.rsa._least_squares import solve_normal
from repcompare.measures.rsa.crossvalidation import cross, cross_validate, default_folds
from tests import naive_rsa
from tests import naive_rsa_models as naive

K = 9
LINEAR = ("cosine", "pearson", "whitened_cosine", "whitened_pearson")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def components(rng):
    return np.array([naive_rsa.rdm(rng.normal(size=(K, 4)), "squared_euclidean") for _ in range(4)])


@pytest.fixture
def data(rng, components):
    return np.array([[1.0, 0.5, 0.0, 0.2]]) @ components + rng.random((5, K * (K - 1) // 2)) * 2


@pytest.fixture
def python_kernel(monkeypatch):
    for name in ("append_row", "solve_passive", "retreat", "steepest", "dot", "solve_nnls", "nnls_normal"):
        monkeypatch.setattr(kernel, name, getattr(kernel, name).py_func)
    return kernel.nnls_normal


@pytest.mark.parametrize("m", [1, 2, 5, 30])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_nnls_equals_scipy(rng, m, ridge):
    for _ in range(20):
        f = (rng.normal(size=(2 * m + 3, m)) + 0.7 * rng.normal(size=(2 * m + 3, 1))) * rng.uniform(0.01, 100, m)
        y = rng.normal(size=len(f)) + f.mean(axis=1)
        size = np.linalg.norm(f, axis=0)
        expected = nnls(np.vstack([f, np.sqrt(ridge) * np.diag(size)]), np.concatenate([y, np.zeros(m)]))[0]
        found = solve_normal(f.T @ f, f.T @ y, ridge=ridge, nonnegative=True)
        np.testing.assert_allclose(found * size, expected * size, atol=1e-11 * max(1e-3, (expected * size).max()))
        again = solve_normal(f.T @ f, f.T @ y, ridge=ridge, nonnegative=True, start=rng.random(m))
        np.testing.assert_allclose(again * size, found * size, atol=1e-11 * max(1e-3, (found * size).max()))


def test_nnls_kernel_as_python_equals_the_compiled_one(rng, python_kernel):
    for m in (1, 3, 8):
        f = rng.normal(size=(12, m)) + 0.5
        y = rng.normal(size=12)
        x = np.zeros(m)
        assert python_kernel(f.T @ f, f.T @ y, 0.0, x)
        np.testing.assert_allclose(x, nnls(f, y)[0], atol=1e-13)


def test_nnls_of_dependent_columns_reaches_the_same_error_as_scipy(rng):
    for _ in range(300):
        f = rng.integers(0, 3, size=(6, 8)).astype(float)
        y = rng.integers(-1, 3, size=6).astype(float)
        found = solve_normal(f.T @ f, f.T @ y, nonnegative=True)
        assert found.min() >= 0
        assert np.linalg.norm(f @ found - y) == pytest.approx(nnls(f, y)[1], abs=1e-9)


def test_free_weights_of_dependent_columns_are_finite_and_fit(rng):
    f = rng.normal(size=(20, 3))
    f = np.hstack([f, 2 * f[:, :1]])
    y = rng.normal(size=20)
    np.testing.assert_allclose(f @ solve_normal(f.T @ f, f.T @ y), f @ np.linalg.lstsq(f, y, rcond=None)[0], atol=1e-10)


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("nonnegative", [True, False])
def test_weighted_equals_the_regression_of_vectors(components, data, method, nonnegative, rng):
    covariance = rng.uniform(0.5, 2, K) if method.startswith("whitened") else None
    model = models.weighted(components, nonnegative=nonnegative)
    found = models.fit(model, data, method, stimulus_covariance=covariance)
    expected = naive.weighted(components, data, method, covariance, nonnegative)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("nonnegative", [True, False])
def test_no_other_weights_score_higher(components, data, method, nonnegative, rng):
    model = models.weighted(components, nonnegative=nonnegative)
    best = naive.mean_score(models.fit(model, data, method) @ components, data, method)
    for _ in range(100):
        other = rng.exponential(size=4) if nonnegative else rng.normal(size=4)
        assert naive.mean_score(other @ components, data, method) <= best + 1e-12


def test_weights_behind_the_cone_fall_back_to_the_best_edge(rng):
    a = rng.random((3, 10))
    gram, g = a @ a.T, -rng.random(3)
    model = models.weighted(rng.random((3, 10)))
    theta = models.fit_from_gram(model, gram, g)

    def cosine(t):
        return t @ g / np.sqrt(t @ gram @ t)

    assert theta.max() == 1 and np.count_nonzero(theta) == 1
    assert all(cosine(rng.exponential(size=3)) <= cosine(theta) + 1e-12 for _ in range(500))


def test_weights_follow_the_unit_of_a_component(components, data):
    scale = np.array([1e-6, 1.0, 1e6, 3.0])
    for ridge in (0.0, 0.5):
        first = models.fit(models.weighted(components, ridge=ridge), data)
        other = models.fit(models.weighted(components * scale[:, None], ridge=ridge), data)
        np.testing.assert_allclose(other * scale, first, rtol=1e-9, atol=1e-12)


def test_a_ridge_moves_weights_towards_those_of_each_component_alone(components, data):
    a, g = models.gram_of(models.weighted(components), data, "pearson")
    theta = models.fit(models.weighted(components, nonnegative=False, ridge=1e6), data)
    np.testing.assert_allclose(1e6 * theta, g / np.diag(a), rtol=1e-4)


def test_one_component_is_the_fixed_model(components, data):
    splits = cross([(np.arange(5), np.arange(5, K)), (np.arange(4, K), np.arange(4))], 5, 2)
    for method in ("rho_a", "cosine"):
        one = cross_validate(models.weighted(components[:1]), data, splits, method)
        fixed = cross_validate(models.fixed(components[0]), data, splits, method)
        np.testing.assert_allclose(one.scores, fixed.scores, rtol=1e-12)
        np.testing.assert_allclose(one.fold_scores, fixed.fold_scores, rtol=1e-12)


@pytest.mark.parametrize("method", ["rho_a", "pearson", "kendall_tau_a", "whitened_cosine", "bures"])
def test_select_takes_the_best_mean_score(components, data, method):
    theta = models.fit(models.select(components), data, method)
    expected = np.zeros(4)
    expected[np.argmax([np.mean(compare_rdms(c[None], data, method)) for c in components])] = 1
    np.testing.assert_array_equal(theta, expected)


@pytest.mark.parametrize("method", ["cosine", "pearson"])
def test_interpolated_equals_a_grid(components, data, method):
    theta = models.fit(models.interpolated(components), data, method)
    found = naive.mean_score(theta @ components, data, method)
    best = naive.interpolated(components, data, method, 401)
    assert best - 1e-12 <= found <= best + 1e-4
    assert theta.sum() == pytest.approx(1) and theta.min() >= 0 and np.count_nonzero(theta) <= 2


def test_interpolated_finds_the_inside_and_the_ends(components):
    inside = models.fit(models.interpolated(components[:2]), 0.3 * components[:1] + 0.7 * components[1:2], "cosine")
    np.testing.assert_allclose(inside, [0.3, 0.7], atol=1e-12)
    outside = models.fit(models.interpolated(components[:2]), 1.3 * components[:1] - 0.3 * components[1:2], "cosine")
    np.testing.assert_allclose(outside, [1.0, 0.0], atol=1e-12)


def test_interpolated_between_equal_rdms_is_that_rdm(components, data):
    model = models.interpolated(np.stack([components[0]] * 3))
    np.testing.assert_allclose(models.predict(model, models.fit(model, data)), components[0])


def test_rank_methods_are_fitted_with_pearson(components, data):
    model = models.weighted(components)
    np.testing.assert_array_equal(models.fit(model, data, "rho_a"), models.fit(model, data, "pearson"))


def test_reweighted_recovers_weights(rng):
    x = rng.normal(size=(14, 3))
    data = naive.squared_differences(x) @ np.array([[2.0, 0.0, 1.0]]).T
    for nonnegative in (False, True):
        model = models.reweighted(x, penalty=1e-9, nonnegative=nonnegative)
        theta = models.fit(model, data.T)
        np.testing.assert_allclose(theta, [2, 0, 1], atol=1e-6)
        np.testing.assert_allclose(models.predict(model, theta), data[:, 0], atol=1e-5)


@pytest.mark.parametrize("method", ["rho_a", "pearson", "whitened_cosine"])
def test_cross_validation_equals_plain_loops(components, data, method):
    splits = cross([(np.array([0, 2, 4, 6, 8]), np.array([1, 3, 5, 7])), (np.arange(3, 9), np.arange(3))], 5, 2, seed=3)
    assert len(splits) == 4
    found = cross_validate(models.weighted(components), data, splits, method)
    fit_method = "pearson" if method == "rho_a" else method
    table = np.full((4, 5), np.nan)
    for f, (train, test, fitted, scored) in enumerate(splits):
        assert not set(fitted) & set(scored)
        inner = [naive.within(c, train, K) for c in components]
        theta = naive.weighted(inner, [naive.within(data[s], train, K) for s in fitted], fit_method)
        np.testing.assert_allclose(found.theta[f], theta, rtol=1e-8, atol=1e-11)
        outer = theta @ np.array([naive.within(c, test, K) for c in components])
        table[f, scored] = [naive_rsa.compare(outer, naive.within(data[s], test, K), method) for s in scored]
    np.testing.assert_allclose(found.scores, np.nanmean(table, axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.fold_scores, np.nanmean(table, axis=1), rtol=1e-9)


def test_noise_only_is_not_scored_above_chance(rng):
    """A flexible model without truth scores about 0 on held-out data, and well above 0 on its own."""
    held, own = [], []
    for seed in range(20):
        parts, noise = rng.random((8, 190)), rng.random((4, 190))
        found = rc.rdm_models.cross_validate(rc.rdm_models.weighted(parts), noise, method="pearson", seed=seed)
        held.append(float(found["score"][0]))
        model = rc.rdm_models.weighted(parts)
        own.append(np.mean(rc.compare_rdms(rc.rdm_models.predict(model, rc.rdm_models.fit(model, noise)), noise)))
    assert abs(np.mean(held)) < 3 * np.std(held, ddof=1) / np.sqrt(20)
    assert np.mean(own) > 0.05


def test_constant_predictions_are_counted_or_refused(rng):
    labels = np.repeat(np.arange(3), 3)
    model = rc.rdm_models.fixed(rc.rdm_models.from_categories(labels), name="class")
    data = rng.random((2, 36))
    everything = [(np.arange(3, 9), np.arange(3)), (np.arange(6), np.array([6, 7, 8]))]
    with pytest.raises(MeasureError, match="constant on the test pairs of every fold"):
        rc.rdm_models.cross_validate(model, data, folds=everything)
    mixed = [(np.arange(3, 9), np.arange(3)), (np.array([0, 1, 3, 4]), np.array([2, 5, 6, 7, 8]))]
    found = rc.rdm_models.cross_validate(model, data, folds=mixed, subject_folds=1)
    assert found["n_folds_constant"].values.tolist() == [1]
    assert np.isnan(found["score_fold"].values[0]).tolist() == [True, False]
    assert np.isfinite(found["score"].values).all()


def test_ceilings_are_those_within_the_test_stimuli(components, data):
    folds = [(np.arange(4), np.arange(4, K)), (np.arange(4, K), np.arange(4))]
    found = rc.rdm_models.cross_validate(rc.rdm_models.weighted(components), data, folds=folds, method="cosine")
    lower, upper = [], []
    for _, test in folds:
        u = np.array([naive.within(row, test, K) / np.linalg.norm(naive.within(row, test, K)) for row in data])
        upper.append(np.mean([naive_rsa.compare(u.mean(axis=0), row, "cosine") for row in u]))
        others = [np.delete(u, s, axis=0).mean(axis=0) for s in range(5)]
        lower.append(np.mean([naive_rsa.compare(o, row, "cosine") for o, row in zip(others, u, strict=True)]))
    assert float(found["score_ceiling_upper"]) == pytest.approx(np.mean(upper), rel=1e-12)
    assert float(found["score_ceiling_lower"]) == pytest.approx(np.mean(lower), rel=1e-12)
    assert "score_ceiling_lower" not in rc.rdm_models.cross_validate(rc.rdm_models.weighted(components), data[0])


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ((11, 5), (2, 2)),
        ((12, 6), (3, 3)),
        ((24, 12), (4, 4)),
        ((40, 20), (5, 5)),
        ((23, 11), (3, 3)),
        ((39, 1), (4, 1)),
    ],
)
def test_default_folds(sizes, expected):
    assert default_folds(*sizes) == expected


def named(values, names, **options):
    return rdm_set(values, stimulus=names, **options)


def test_labels_decide_alignment(rng, components, data):
    names = np.array([f"s{i}" for i in range(K)])
    order = rng.permutation(K)
    sets = named(components, names, rdm=list("abcd"))
    model = rc.rdm_models.weighted(sets)
    shuffled = select_stimuli(named(data, names), names[order])
    found = rc.rdm_models.fit(model, shuffled, method="pearson")
    assert found["parameter"].values.tolist() == list("abcd")
    np.testing.assert_allclose(found.values, models.fit(models.weighted(components), data), rtol=1e-12)
    one = rc.rdm_models.cross_validate(model, shuffled, seed=2)
    other = rc.rdm_models.cross_validate(
        rc.rdm_models.weighted(select_stimuli(sets, names[order[::-1]])), named(data, names), seed=2
    )
    np.testing.assert_allclose(one["score"].values, other["score"].values, rtol=1e-12)
    np.testing.assert_allclose(one["theta"].values, other["theta"].values, rtol=1e-9, atol=1e-12)
    with pytest.raises(AlignmentError, match="s0"):
        rc.rdm_models.fit(model, select_stimuli(shuffled, names[1:]))
    with pytest.raises(SchemaError, match="without stimulus names"):
        rc.rdm_models.fit(model, data)


def test_covariance_follows_the_order_of_the_data(rng, components, data):
    names = np.array([f"s{i}" for i in range(K)])
    variances = rng.uniform(0.5, 2, K)
    order = rng.permutation(K)
    model = rc.rdm_models.weighted(named(components, names))
    options = {"method": "whitened_cosine", "seed": 1}
    one = rc.rdm_models.cross_validate(model, named(data, names), stimulus_covariance=variances, **options)
    shuffled = select_stimuli(named(data, names), names[order])
    other = rc.rdm_models.cross_validate(model, shuffled, stimulus_covariance=variances[order], **options)
    np.testing.assert_allclose(one["score"].values, other["score"].values, rtol=1e-10)
    matrix = rc.rdm_models.cross_validate(model, named(data, names), stimulus_covariance=np.diag(variances), **options)
    np.testing.assert_allclose(one["score"].values, matrix["score"].values, rtol=1e-9)


def test_models_side_by_side(rng, components, data):
    given = [
        rc.rdm_models.fixed(components[0], name="first"),
        rc.rdm_models.select(components),
        rc.rdm_models.weighted({"a": components[0], "b": components[1]}),
        rc.rdm_models.interpolated(components),
        rc.rdm_models.reweighted(rng.normal(size=(K, 3)), penalty=1.0),
    ]
    found = rc.rdm_models.cross_validate(given, data)
    assert found["model"].values.tolist() == ["first", "select", "weighted", "interpolated", "reweighted"]
    assert found["n_parameters"].values.tolist() == [1, 4, 2, 4, 3]
    assert np.isfinite(found["score"].values).all()
    np.testing.assert_allclose(found["score_rdm"].mean("rdm").values, found["score"].values)
    with pytest.raises(OptionError, match="distinct names"):
        rc.rdm_models.cross_validate([given[1], given[1]], data)


def test_model_rdms_carry_the_names_of_the_stimuli():
    names = ["b", "a", "c"]
    by_class = rc.rdm_models.from_categories(["x", "x", "y"], stimulus=names)
    by_size = rc.rdm_models.from_vector([1, 5, 2], stimulus=names, name="size")
    assert by_size["rdm"].values.tolist() == ["size"]
    np.testing.assert_array_equal(to_pairs(by_class, ["a", "b", "c"])[0], [0, 1, 1])
    np.testing.assert_array_equal(to_pairs(by_size, ["a", "b", "c"])[0], [4, 3, 1])
    values = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    by_feature = rc.rdm_models.from_features(rc.representation(values, stimulus=names), name="pixels")
    np.testing.assert_array_equal(to_pairs(by_feature)[0], [1, 4, 1])
    assert by_feature["rdm"].values.tolist() == ["pixels"]
    predicted = rc.rdm_models.predict(rc.rdm_models.fixed(by_size), [1.0])
    np.testing.assert_array_equal(to_pairs(predicted), to_pairs(by_size))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: rc.rdm_models.fixed(np.ones((2, 6))), MeasureError, "2 RDMs; a fixed model has one"),
        (lambda: rc.rdm_models.fixed([1.0, np.nan, 2.0]), MeasureError, "RDM 0 has 2 finite pairs"),
        (lambda: rc.rdm_models.interpolated(np.ones((1, 6))), MeasureError, "at least 2"),
        (lambda: rc.rdm_models.weighted(np.ones((2, 6)), ridge=-1), OptionError, "ridge=-1"),
        (lambda: rc.rdm_models.weighted(np.ones((2, 7))), MeasureError, "not the pairs of any number"),
        (lambda: rc.rdm_models.weighted("rdms.npy"), SchemaError, "is a str"),
        (lambda: rc.rdm_models.reweighted(np.ones((5, 2))), MeasureError, "no feature differs"),
        (lambda: rc.rdm_models.reweighted(np.eye(5), penalty=-1.0), OptionError, "penalty=-1.0"),
        (lambda: rc.rdm_models.from_categories([1, 1, 1]), MeasureError, "one category"),
        (lambda: rc.rdm_models.from_categories(["a", "b", ""]), MeasureError, "no category, first row 2"),
        (lambda: rc.rdm_models.from_vector([1, 1, 1]), MeasureError, "all 3 values are 1"),
        (lambda: rc.rdm_models.from_vector([1, np.nan, 1]), MeasureError, "finite"),
        (lambda: rc.rdm_models.from_vector([1, 2, 1], stimulus=["a"]), SchemaError, "1 stimulus names for 3"),
        (lambda: models.predict(models.fixed([1.0, 2, 3]), [1, 2]), MeasureError, r"expected \(1,\)"),
        (lambda: models.fit(models.weighted(np.eye(6)[:2]), np.eye(6)[:1], "bures"), OptionError, "no inner product"),
        (lambda: models.fit(models.weighted(np.eye(6)[:2]), np.eye(6)[:1], "pearsn"), OptionError, "did you mean"),
        (lambda: models.fit(models.weighted(np.eye(6)[:2]), np.ones((1, 6))), MeasureError, "constant"),
        (
            lambda: models.fit(models.weighted(np.ones((2, 6))), np.eye(6)[:1]),
            MeasureError,
            "every component is constant",
        ),
        (lambda: models.fit(models.weighted(np.eye(6)[:2]), np.eye(10)[:1]), MeasureError, "the data have 5"),
        (
            lambda: rc.rdm_models.cross_validate(rc.rdm_models.fixed(np.arange(10.0)), np.eye(10)),
            OptionError,
            "at least 6",
        ),
        (lambda: cross([(np.arange(4), np.arange(4, 6))], 3, 1), OptionError, "2 test stimuli"),
        (lambda: cross([(np.arange(4), np.arange(4, 7))], 3, 4), OptionError, "subject_folds=4 of 3"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
