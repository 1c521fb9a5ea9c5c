"""CKA against oracles of loops and traces, its identities, and what its estimators promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.cka import cka
from repcompare.measures.dependence import distance_correlation
from repcompare.measures.rsa import rsa
from tests import naive


def score(measure, x, y):
    return measure.compare(measure.prepared(x), measure.prepared(y))


def systems(n=14, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


HSIC = {"debiased": naive.hsic_song, "biased": naive.hsic_gretton, "rv2": naive.hsic_rv2}


@pytest.mark.parametrize("estimator", HSIC)
@pytest.mark.parametrize("shape", [(14, 6, 5), (40, 3, 4), (40, 3, 60), (9, 30, 50)], ids=str)
def test_linear_equals_the_oracle_by_every_route(estimator, shape):
    x, y = systems(*shape)
    assert score(cka(estimator=estimator), x, y) == pytest.approx(naive.cka(x, y, HSIC[estimator]), abs=1e-12)


@pytest.mark.parametrize("estimator", HSIC)
@pytest.mark.parametrize("multiple", ["median", 0.5])
@pytest.mark.parametrize("kernel", ["rbf", "laplace"])
@pytest.mark.parametrize("n", [14, 9])  # an odd and an even number of pairs: the median is one distance, or between two
def test_kernels_of_distances_equal_the_oracle(n, kernel, estimator, multiple):
    x, y = systems(n)
    factor = 1.0 if multiple == "median" else multiple
    sigmas = {"sigma_x": factor * naive.median_distance(x), "sigma_y": factor * naive.median_distance(y)}
    found = score(cka(kernel, bandwidth=multiple, estimator=estimator), x, y)
    assert found == pytest.approx(naive.cka(x, y, HSIC[estimator], kernel, **sigmas), abs=1e-12)


def test_repeats_of_equidistant_stimuli_are_refused():
    with pytest.raises(MeasureError, match="equally far apart"):
        cka(estimator="repeats").prepared(np.stack([np.eye(20)] * 3))


@pytest.mark.parametrize("kernel", ["rbf", "laplace"])
def test_an_absolute_bandwidth(kernel):
    x, y = systems()
    found = score(cka(kernel, bandwidth=2.5, bandwidth_scale="absolute"), x, y)
    assert found == pytest.approx(naive.cka(x, y, naive.hsic_song, kernel, 2.5, 2.5), abs=1e-12)


def test_a_wide_laplace_kernel_is_distance_correlation():
    """exp(-d / s) - 1 tends to -d / s: the error falls with 1 / s."""
    x, y = systems()
    limit = score(distance_correlation(), x, y)
    gaps = [abs(score(cka("laplace", bandwidth=s), x, y) - limit) for s in (100.0, 1000.0)]
    assert 0 < gaps[1] < 1e-3
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


def test_a_laplace_kernel_of_float32_keeps_its_digits():
    """The root of a squared distance shows the rounding that a product in float32 leaves in it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 50)) + 1e3 * rng.normal(size=50)
    x[1] = x[0] + 1e-2 * rng.normal(size=50)  # two stimuli that lie close
    narrow, y = x.astype(np.float32), systems(30)[1]
    wide = narrow.astype(np.float64)
    assert score(cka("laplace"), narrow, y) == pytest.approx(score(cka("laplace"), wide, y), abs=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_a_wide_rbf_kernel_is_the_linear_one(estimator):
    x, y = systems()
    linear = score(cka(estimator=estimator), x, y)
    gaps = [abs(score(cka("rbf", bandwidth=s, estimator=estimator), x, y) - linear) for s in (30.0, 300.0)]
    assert gaps[1] < 1e-4
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.05)  # the error falls with 1 / sigma^2


@pytest.mark.parametrize("shape", [(20, 6, 5), (60, 6, 5)], ids=str)
def test_stimulus_and_unit_equals_the_oracle(shape):
    x, y = systems(*shape)
    found = score(cka(estimator="stimulus_and_unit"), x, y)
    assert found == pytest.approx(naive.cka_stimulus_and_unit(x, y), abs=1e-12)


def test_repeats_equal_the_oracle():
    x, y = systems(20)
    rng = np.random.default_rng(1)
    x, y = x + rng.normal(size=(3, *x.shape)), y + rng.normal(size=(4, *y.shape))
    assert score(cka(estimator="repeats"), x, y) == pytest.approx(naive.cka_repeats(x, y), abs=1e-12)


def test_golden_value():
    """Biased linear CKA of uniform data of numpy's legacy generator: similarity-repository, 30 x 25, seed 0."""
    np.random.seed(0)  # noqa: NPY002 - the published number was made with it
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert score(cka(estimator="biased"), x, y) == pytest.approx(0.4893427391044151, abs=1e-14)


def test_biased_cka_is_whitened_cosine_rsa_is_the_cosine_of_centred_distances():
    """One number, three names (Robert & Escoufier 1976; Diedrichsen et al. 2021; V02 of the validity requirements)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 7))
    y = x @ rng.normal(size=(7, 5)) + rng.normal(size=(30, 5))
    biased = score(cka(estimator="biased"), x, y)
    assert score(rsa("squared_euclidean", "whitened_cosine"), x, y) == pytest.approx(biased, abs=1e-10)
    h = np.eye(30) - 1 / 30
    centred = [h @ ((v[:, None] - v[None]) ** 2).sum(-1) @ h for v in (x, y)]
    cosine = (centred[0] * centred[1]).sum() / np.prod([np.linalg.norm(c) for c in centred])
    assert cosine == pytest.approx(biased, abs=1e-10)
    assert abs(score(rsa("squared_euclidean", "cosine"), x, y) - biased) > 0.1  # plain cosine is another number


def test_debiased_is_zero_on_average_and_biased_is_not():
    """V01: x, y = N(50 x 1000), 100 seeds; biased value sqrt(pq / ((p + n)(q + n))) = 0.952."""
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(50, 1000)), rng.normal(size=(50, 1000))
        found.append([score(cka(estimator=e), x, y) for e in ("debiased", "biased")])
    debiased, biased = np.array(found).T
    assert abs(debiased.mean()) < 0.015
    assert debiased.std(ddof=1) == pytest.approx(0.031, abs=0.01)
    assert biased.mean() == pytest.approx(0.952, abs=0.002)


def test_permutation_moments_are_exact():
    """Debiased CKA under permuted stimuli: mean 0, variance 2 / (n (n - 3)), whatever the data; biased: mean by PR."""
    x, y = systems(12)
    debiased, biased = cka(), cka(estimator="biased")
    a, b = debiased.prepared(x), debiased.prepared(y)
    c, d = biased.prepared(x), biased.prepared(y)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(12) for _ in range(20_000)]
    null = np.array([debiased.compare(a, debiased.restrict(b, order)) for order in orders])
    assert null.mean() == pytest.approx(0, abs=4 * null.std() / np.sqrt(len(null)))
    assert null.var() == pytest.approx(2 / (12 * 9), rel=0.05)
    ratios = []
    for v in (x, y):
        s = np.linalg.svd(v - v.mean(0), compute_uv=False) ** 2
        ratios.append(s.sum() ** 2 / (s**2).sum())
    null = np.array([biased.compare(c, biased.restrict(d, order)) for order in orders[:5000]])
    assert null.mean() == pytest.approx(np.sqrt(np.prod(ratios)) / 11, abs=5 * null.std() / np.sqrt(len(null)))


def test_stimulus_and_unit_sees_one_population_in_two_samples():
    """V03 in small: disjoint 30-unit samples of one population score 1 on average; debiased stays near .55."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100, 50)) * np.arange(1, 51) ** -0.5
    population = np.maximum(z @ rng.normal(size=(50, 4000)) + 0.3 * rng.normal(size=4000), 0)
    found = []
    for _ in range(40):
        chosen = rng.permutation(4000)[:60]
        pair = population[:, chosen[:30]], population[:, chosen[30:]]
        found.append([score(cka(estimator=e), *pair) for e in ("stimulus_and_unit", "debiased")])
    both, debiased = np.mean(found, axis=0)
    assert both == pytest.approx(1.04, abs=0.07)
    assert debiased == pytest.approx(0.55, abs=0.07)


def test_repeats_remove_the_noise_of_trials():
    """V04: the same signal rotated, SNR 0.25, two repeats each: 0.99, where debiased CKA of the means is 0.47."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        signal = rng.normal(size=(100, 10)) @ rng.normal(size=(10, 60)) / np.sqrt(10)
        q, _ = np.linalg.qr(rng.normal(size=(60, 60)))
        x, y = (s + 2 * rng.normal(size=(2, 100, 60)) for s in (signal, signal @ q))
        found.append([score(cka(estimator="repeats"), x, y), score(cka(), x.mean(0), y.mean(0))])
    corrected, debiased = np.mean(found, axis=0)
    assert corrected == pytest.approx(0.99, abs=0.04)
    assert debiased == pytest.approx(0.47, abs=0.03)


def test_keeping_principal_components():
    """V31: CKA of a system with its first k components is sqrt(sum_k s^4 / sum s^4)."""
    x, _ = systems(40, 12)
    u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    for k in (1, 3, 7):
        part = (u[:, :k] * s[:k]) @ vt[:k]
        expected = np.sqrt((s[:k] ** 4).sum() / (s**4).sum())
        assert score(cka(estimator="biased"), x, part) == pytest.approx(expected, abs=1e-10)


def test_far_outliers_follow_the_formula():
    """V30 (Davari et al. 2022): moving a share of the stimuli far away decides biased CKA, whatever the direction."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 30)) * np.linspace(1, 3, 30)
    y = x.copy()
    direction = rng.normal(size=30)
    y[120:] += 1e6 * direction / np.linalg.norm(direction)
    centred = x - x.mean(0)
    gap = np.linalg.norm(x[:120].mean(0) - x[120:].mean(0)) ** 2
    expected = 400 * 0.3 * 0.7 * gap / np.linalg.norm(centred.T @ centred)
    assert score(cka(estimator="biased"), x, y) == pytest.approx(expected, rel=1e-5)


def test_float32_with_offset():
    """V32: both sides + 1e4 as float32 stay within 1e-3 of float64 without the offset."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 50))
    y = x @ rng.normal(size=(50, 40))
    shifted = [(v + 1e4).astype(np.float32) for v in (x, y)]
    for estimator in ("biased", "debiased"):
        measure = cka(estimator=estimator)
        assert score(measure, *shifted) == pytest.approx(score(measure, x, y), abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(4, 20),
    p=st.integers(1, 25),
    q=st.integers(1, 25),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_debiased_equals_the_oracle_at_any_size(n, p, q, seed, scale):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, p)) * scale, rng.normal(size=(n, q))
    assert score(cka(), x, y) == pytest.approx(naive.cka(x, y, naive.hsic_song), abs=1e-9)


def test_dead_and_duplicated_units():
    x, y = systems(30)
    dead = np.concatenate([x, np.full((30, 3), 1e4)], axis=1)
    assert score(cka(), dead, y) == pytest.approx(score(cka(), x, y), abs=1e-12)
    assert score(cka(), np.concatenate([x, x], axis=1), y) == pytest.approx(score(cka(), x, y), abs=1e-12)


def test_angles_keep_their_digits_near_zero():
    """The arccosine of 1 - 1e-15 has lost all digits; the chord between the vectors has not."""
    x, _ = systems(30)
    measure = cka(estimator="biased", angular=True)
    step = 1e-7 * np.random.default_rng(0).normal(size=x.shape)
    near, twice = (score(measure, x, x + factor * step) for factor in (1, 2))
    assert 0 < near < 1e-6
    assert twice / near == pytest.approx(2, rel=1e-4)


def test_errors():
    x, y = systems()
    with pytest.raises(MeasureError, match="no variance: every stimulus has the same response"):
        score(cka(), np.full((14, 4), 3.3), y)
    with pytest.raises(MeasureError, match="14 stimuli against 10"):
        score(cka(), x, y[:10])
    with pytest.raises(MeasureError, match="needs at least 2 repeats; found 1"):
        cka(estimator="repeats").prepared(x[None])
    for kernel in ("linear", "rbf", "laplace"):
        with pytest.raises(MeasureError, match="equally far apart"):
            score(cka(kernel), np.eye(14), y)
        assert 0 <= score(cka(kernel, estimator="biased"), np.eye(14), y) <= 1
    noise = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 20)))[0]  # no two units share anything
    with pytest.raises(MeasureError, match="no shared signal between units"):
        cka(estimator="stimulus_and_unit").prepared(noise)
    with pytest.raises(OptionError, match="defined for kernel='linear' only"):
        cka("rbf", estimator="repeats")
    with pytest.raises(OptionError, match="bandwidth=-1"):
        cka("rbf", bandwidth=-1)
    with pytest.raises(OptionError, match="needs a number"):
        cka("rbf", bandwidth_scale="absolute")
    with pytest.raises(OptionError, match="angular=True"):
        cka(estimator="repeats", angular=True)
