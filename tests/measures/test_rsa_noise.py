"""The noise between units: against plain loops and scikit-learn, and its algebra against dense inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from repcompare.errors import MeasureError, OptionError
from repcompare.kernels import rdm as kernels
from repcompare.measures.rsa.noise import ESTIMATORS, Noise, as_noise, average, estimate_noise, resolve
from tests import naive_rsa_noise as naive

SHAPES = [(60, 12), (25, 40), (8, 30)]


def trials(k=6, m=4, p=9, seed=0, repeats=1):
    rng = np.random.default_rng(seed)
    stimulus = np.tile(np.arange(k), m * repeats)
    partition = np.repeat(np.arange(m), k * repeats)
    mixing = rng.normal(size=(p, p)) / 2 + np.eye(p)
    values = rng.normal(size=(k, p))[stimulus] + rng.normal(size=(m, p))[partition]
    return values + rng.normal(size=(len(stimulus), p)) @ mixing, stimulus, partition


def noise_of(shape, method, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape) * rng.uniform(0.5, 2, size=shape[1]) + 0.5 * rng.normal(size=(shape[0], 1))
    return z, estimate_noise(z, method, dof=float(shape[0] - 3))


def dense(noise, z):
    """The covariance by its definition."""
    scatter = z.T @ z / noise.dof
    if noise.method == "shrinkage_diag":
        return noise.shrinkage * np.diag(np.diag(scatter)) + (1 - noise.shrinkage) * scatter
    if noise.method == "shrinkage_eye":
        mu = np.trace(z.T @ z) / z.size
        return (
            len(z) / noise.dof * ((1 - noise.shrinkage) * z.T @ z / len(z) + noise.shrinkage * mu * np.eye(z.shape[1]))
        )
    return np.diag(np.diag(scatter)) if noise.method == "diag" else scatter


@pytest.mark.parametrize("shape", [(50, 10), (50, 49), (20, 80), (400, 3)])
def test_the_shrinkage_to_the_identity_is_that_of_scikit_learn(shape):
    z = np.random.default_rng(1).normal(size=shape) @ np.diag(np.linspace(1, 4, shape[1]))
    z -= z.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(z)
    noise = estimate_noise(z, "shrinkage_eye", dof=float(len(z)))
    assert noise.shrinkage == pytest.approx(shrinkage, rel=1e-14, abs=1e-14)
    np.testing.assert_allclose(noise.covariance(), covariance, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shrinkage_of_correlations_equals_plain_loops(shape):
    z, noise = noise_of(shape, "shrinkage_diag")
    assert noise.shrinkage == pytest.approx(naive.schaefer_strimmer(z), rel=1e-11)
    assert 0 < noise.shrinkage < 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["shrinkage_diag", "shrinkage_eye", "diag"])
def test_every_form_equals_the_dense_inverse(shape, method):
    z, noise = noise_of(shape, method)
    sigma = dense(noise, z)
    np.testing.assert_allclose(noise.covariance(), sigma, rtol=1e-12, atol=1e-13)
    omega = np.linalg.inv(sigma)
    x, y = np.random.default_rng(2).normal(size=(2, 5, shape[1]))
    expected = x @ omega @ y.T
    scale = np.abs(x @ omega @ x.T).max()
    np.testing.assert_allclose(noise.gram(x, y), expected, atol=1e-12 * scale)
    np.testing.assert_allclose(noise.gram(x), x @ omega @ x.T, atol=1e-12 * scale)
    np.testing.assert_allclose(noise.solve(x), x @ omega, atol=1e-11 * np.abs(omega).max())
    np.testing.assert_allclose(noise.precision(), omega, atol=1e-11 * np.abs(omega).max())
    white = noise.whiten(x)
    np.testing.assert_allclose(white @ white.T, x @ omega @ x.T, atol=1e-12 * scale)
    assert noise.condition == pytest.approx(np.linalg.cond(sigma), rel=1e-6)
    assert (noise.factor is not None) == (shape[1] > shape[0] and method != "diag")


def test_a_given_precision_enters_by_its_triangle():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(9, 9))
    omega = a @ a.T + np.eye(9)
    noise = as_noise(omega, 9)
    x, y = rng.normal(size=(2, 6, 9))
    np.testing.assert_allclose(noise.gram(x), x @ omega @ x.T, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(noise.gram(x, y), x @ omega @ y.T, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(noise.whiten(x) @ noise.whiten(y).T, x @ omega @ y.T, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(noise.covariance(), np.linalg.inv(omega), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(noise.gram(x.astype(np.float32)), x @ omega @ x.T, rtol=1e-5, atol=1e-4)
    assert noise.condition == pytest.approx(np.linalg.cond(omega))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["shrinkage_diag", "shrinkage_eye", "diag"])
def test_sub_blocks_by_unit_are_those_of_the_covariance(shape, method):
    z, noise = noise_of(shape, method)
    units = np.random.default_rng(4).permutation(shape[1])[:7]
    part = noise.restrict(units)
    np.testing.assert_allclose(part.covariance(), dense(noise, z)[np.ix_(units, units)], rtol=1e-12, atol=1e-13)
    assert (part.method, part.n_units, part.dof) == (method, 7, noise.dof)
    mask = np.zeros(shape[1], dtype=bool)
    mask[units] = True
    np.testing.assert_allclose(noise.restrict(mask).covariance(), dense(noise, z)[np.ix_(mask, mask)], atol=1e-12)


def test_sub_blocks_of_a_precision():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(9, 9))
    omega = a @ a.T + np.eye(9)
    expected = np.linalg.inv(np.linalg.inv(omega)[:4, :4])
    np.testing.assert_allclose(as_noise(omega, 9).restrict(range(4)).precision(), expected, rtol=1e-9, atol=1e-10)
    assert np.abs(expected - omega[:4, :4]).max() > 0.1


def test_degrees_of_freedom():
    values, stimulus, partition = trials()
    n, k, m = 24, 6, 4
    assert estimate_noise(values, "diag", stimulus=stimulus).dof == n - k
    assert estimate_noise(values, "diag", stimulus=stimulus, partition=partition).dof == n - k - m + 1
    design = np.random.default_rng(0).normal(size=(n, 5))
    assert estimate_noise(values, "diag", design=np.hstack([design, design[:, :2]])).dof == n - 5
    assert estimate_noise(values, "diag", dof=11.0).dof == 11
    disconnected = np.where(stimulus < 3, partition % 2, 2 + partition % 2)  # two islands of stimuli and partitions
    assert estimate_noise(values, "diag", stimulus=stimulus, partition=disconnected).dof == n - k - 4 + 2


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_residuals_are_those_of_least_squares(keep):
    values, stimulus, partition = trials(repeats=2)
    rows = np.random.default_rng(6).random(len(values)) < keep
    values, stimulus, partition = values[rows] + 1e6, stimulus[rows], partition[rows]
    for groups in ((stimulus,), (stimulus, partition)):
        z, rank = naive.residuals(values, *groups)
        noise = estimate_noise(values, "full", stimulus=groups[0], partition=groups[1] if len(groups) > 1 else None)
        assert noise.dof == len(z) - rank
        np.testing.assert_allclose(noise.covariance(), z.T @ z / noise.dof, rtol=1e-6)


def test_residuals_of_a_design_and_the_variance_are_unbiased():
    rng = np.random.default_rng(7)
    design = rng.normal(size=(30, 6))
    found = [
        estimate_noise(design @ rng.normal(size=(6, 4)) + rng.normal(size=(30, 4)), "diag", design=design).covariance()
        for _ in range(300)
    ]
    assert np.mean(found, axis=0).diagonal() == pytest.approx(np.ones(4), abs=0.04)


def test_the_mean_of_noises_averages_covariances():
    for shapes in (SHAPES[1:2] * 2, [(8, 30), (12, 30)], [(60, 30), (8, 30)]):
        noises = [noise_of(shape, "shrinkage_diag", seed)[1] for seed, shape in enumerate(shapes)]
        mean = average(noises)
        expected = np.mean([v.covariance() for v in noises], axis=0)
        np.testing.assert_allclose(mean.covariance(), expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(mean.precision(), np.linalg.inv(expected), rtol=1e-8, atol=1e-9)


def test_no_array_of_units_by_units_is_made():
    import tracemalloc

    rng = np.random.default_rng(8)
    values, stimulus = rng.normal(size=(40, 6000)), np.arange(40) % 8
    tracemalloc.start()
    noise = estimate_noise(values, "shrinkage_diag", stimulus=stimulus)
    noise.gram(values[:8])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * values.nbytes < 6000 * 6000 * 8 / 10


@given(seed=st.integers(0, 10**6), n=st.integers(4, 30), p=st.integers(2, 30))
@settings(max_examples=30, deadline=None)
def test_scale_and_order_of_units(seed, n, p):
    z = np.random.default_rng(seed).normal(size=(n, p))
    base = estimate_noise(z, dof=float(n))
    order = np.random.default_rng(seed + 1).permutation(p)
    assert estimate_noise(z[:, order] * 1e6, dof=float(n)).shrinkage == pytest.approx(
        base.shrinkage, rel=1e-9, abs=1e-12
    )
    assert 0 <= base.shrinkage <= 1


@pytest.mark.parametrize("method", ESTIMATORS)
def test_values_that_give_no_noise(method):
    values, stimulus, _ = trials()
    bad = values.copy()
    bad[3, 2] = np.nan
    with pytest.raises(MeasureError, match=r"1 units have NaN or infinite values \(positions 2\)"):
        estimate_noise(bad, method, stimulus=stimulus)
    with pytest.raises(MeasureError, match=r"leave 0 degrees of freedom"):
        estimate_noise(values, method, stimulus=np.arange(24))
    with pytest.raises(MeasureError, match=r"one label for each of the 24 rows"):
        estimate_noise(values, method, stimulus=stimulus[:5])
    flat = np.zeros_like(values) if method == "shrinkage_eye" else values * (np.arange(9) != 4)
    with pytest.raises(MeasureError, match=r"residuals are zero|1 units have no noise variance \(positions 4\)"):
        estimate_noise(flat, method, stimulus=stimulus)
    with pytest.raises(OptionError, match=r"not said what the rows are"):
        estimate_noise(values, method)


def test_a_full_covariance_needs_more_degrees_of_freedom_than_units():
    values, stimulus, _ = trials(p=18)
    with pytest.raises(MeasureError, match=r"18 degrees of freedom for 18 units .*condition number.*shrinkage_diag"):
        estimate_noise(values, "full", stimulus=stimulus)
    twin = trials(p=5)[0]
    twin[:, 4] = twin[:, 3]
    with pytest.raises(MeasureError, match=r"not positive definite.*condition number"):
        estimate_noise(twin, "full", stimulus=stimulus)


def test_options_and_precisions_off_the_menu():
    values, stimulus, _ = trials()
    with pytest.raises(OptionError, match="did you mean 'shrinkage_diag'"):
        estimate_noise(values, "shrinkage_dag", stimulus=stimulus)
    with pytest.raises(MeasureError, match=r"shape \(3, 3\); expected \(9, 9\)"):
        as_noise(np.eye(3), 9)
    with pytest.raises(MeasureError, match="not symmetric"):
        as_noise(np.triu(np.ones((4, 4))), 4)
    with pytest.raises(MeasureError, match="not positive definite"):
        as_noise(np.diag([1.0, -1.0]), 2)
    with pytest.raises(MeasureError, match="NaN"):
        as_noise(np.full((2, 2), np.nan), 2)
    with pytest.raises(MeasureError, match=r"noise is of 9 units, the responses have 4"):
        resolve(estimate_noise(values, stimulus=stimulus), 4)
    with pytest.raises(MeasureError, match=r"noise is of 9 units"):
        estimate_noise(values, stimulus=stimulus).gram(np.ones((2, 4)))
    with pytest.raises(OptionError, match="estimated from trials"):
        resolve("diag", 4)
    assert resolve(None, 4) is None
    assert isinstance(resolve(np.eye(4), 4), Noise)


def test_a_badly_conditioned_precision_is_still_accepted():
    omega = np.diag(np.logspace(0, 12, 6))
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(6, 6)))[0]
    omega = rotation @ omega @ rotation.T
    assert as_noise((omega + omega.T) / 2, 6).method == "precision"


def test_a_precision_is_checked_in_every_place():
    omega = np.eye(70) + 0.1
    for where in ((0, 69), (69, 0), (20, 17), (40, 5), (33, 33)):
        broken = omega.copy()
        broken[where] = np.nan
        with pytest.raises(MeasureError, match="NaN"):
            as_noise(broken, 70)
        broken = omega.copy()
        broken[where] += 1e-6
        if where[0] != where[1]:
            with pytest.raises(MeasureError, match="not symmetric"):
                as_noise(broken, 70)
    np.testing.assert_allclose(np.tril(as_noise(omega, 70).single), np.linalg.cholesky(omega), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-60, 1e-20, 1.0, 1e20, 1e60])
def test_definite_or_not_does_not_depend_on_the_scale(scale):
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(30, 30)))[0]
    for smallest in (1.0, 1e-6, 1e-9):
        omega = rotation * np.r_[np.ones(29), smallest] @ rotation.T * scale
        noise = as_noise((omega + omega.T) / 2, 30)
        assert (noise.single is None) == (smallest == 1e-9 or scale in (1e-60, 1e60))
        omega = rotation * np.r_[np.ones(29), -smallest] @ rotation.T * scale  # float32 alone does not see the last
        with pytest.raises(MeasureError, match="not positive definite"):
            as_noise((omega + omega.T) / 2, 30)


def test_the_check_of_a_precision_compiled_and_as_python():
    omega = np.arange(49.0).reshape(7, 7)
    omega = omega + omega.T
    for run in (kernels.upper_if_symmetric, kernels.upper_if_symmetric.py_func):
        out = np.zeros((7, 7), dtype=np.float32)
        assert run(omega, 0.0, out)
        np.testing.assert_array_equal(out, np.triu(omega))
        assert not run(omega + np.eye(7, k=1), 0.9, out)
        assert run(omega + np.eye(7, k=1), 1.1, out)
        assert not run(np.where(np.eye(7), np.nan, omega), np.inf, out)


def test_the_record():
    values, stimulus, _ = trials()
    assert "shrinkage_diag" in estimate_noise(values, stimulus=stimulus).label
    assert as_noise(np.eye(3), 3).label == "precision (3 x 3)"
    with pytest.raises(AttributeError):
        estimate_noise(values, stimulus=stimulus).dof = 3.0
