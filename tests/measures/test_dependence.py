"""Distance correlation and the difference of distance matrices, against loops and through their identities."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._linalg import symmetric
from repcompare.measures._pairs import from_kernel, score
from repcompare.measures.cka import cka
from repcompare.measures.dependence import distance_correlation, rsm_norm, squared_distances
from tests import naive_neighbours as naive


def value(measure, x, y):
    return measure.compare(measure.prepared(x), measure.prepared(y))


def systems(n=14, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("shape", [(14, 6, 5), (9, 30, 40), (5, 1, 2), (40, 2, 3)], ids=str)
def test_distance_correlation_equals_the_oracle(debiased, shape):
    x, y = systems(*shape)
    found = value(distance_correlation(debiased=debiased), x, y)
    assert found == pytest.approx(naive.distance_correlation(x, y, debiased), abs=1e-12)


@pytest.mark.parametrize("norm", ["frobenius", "spectral"])
def test_rsm_norm_equals_the_oracle(norm):
    x, y = systems()
    assert value(rsm_norm(norm), x, y) == pytest.approx(naive.rsm_norm(x, y, norm), rel=1e-12)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_squared_distances_in_place_of_distances_give_cka(estimator):
    x, y = systems()
    states = [from_kernel(squared_distances(v), estimator)[0] for v in (x, y)]
    found = value(cka(estimator=estimator), x, y)
    assert score(*states) == pytest.approx(found, abs=1e-12)
    oracle = naive.distance_correlation(x, y, estimator == "debiased", power=2)
    assert (oracle if estimator == "debiased" else oracle**2) == pytest.approx(found, abs=1e-12)


def test_permuted_stimuli_give_zero_on_average():
    """Mean 0 and variance 2 / (n (n - 3)), as of every U-centred product."""
    x, y = systems(12)
    measure = distance_correlation()
    a, b = measure.prepared(x), measure.prepared(y)
    rng = np.random.default_rng(0)
    null = np.array([measure.compare(a, measure.restrict(b, rng.permutation(12))) for _ in range(4000)])
    assert null.mean() == pytest.approx(0, abs=4 * null.std() / np.sqrt(len(null)))
    assert null.var() == pytest.approx(2 / (12 * 9), rel=0.1)


def test_independent_systems_in_high_dimension():
    """Szekely & Rizzo 2013: the V-statistic tends to 1, the debiased form stays at 0."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(30, 500)), rng.normal(size=(30, 500))
        found.append([value(distance_correlation(debiased=d), x, y) for d in (True, False)])
    debiased, biased = np.mean(found, axis=0)
    assert abs(debiased) < 0.03
    assert biased > 0.9


def test_it_sees_what_correlation_cannot():
    x = np.linspace(-1, 1, 60)[:, None]
    assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 1e-12
    assert value(distance_correlation(), x, x**2) > 0.15


@pytest.mark.parametrize("debiased", [True, False])
def test_scale_and_offset_cost_no_digits(debiased):
    x, y = systems(30)
    measure = distance_correlation(debiased=debiased)
    before = value(measure, x, y)
    assert value(measure, x * 1e-6, y * 1e6) == pytest.approx(before, abs=1e-12)
    assert value(measure, x * 1e-6 + 1e4, y) == pytest.approx(before, abs=1e-5)  # 1e4 leaves x 6 digits
    narrow = [(v + 1e4).astype(np.float32) for v in (x, y)]
    assert value(measure, *narrow) == pytest.approx(before, abs=1e-3)


def test_dead_and_duplicated_units_do_not_matter():
    x, y = systems(30)
    more = np.concatenate([x, np.full((30, 3), 7.0), x], axis=1)
    assert value(distance_correlation(), more, y) == pytest.approx(value(distance_correlation(), x, y), abs=1e-12)
    dead = np.concatenate([x, np.full((30, 3), 7.0)], axis=1)
    assert value(rsm_norm(), dead, y) == pytest.approx(value(rsm_norm(), x, y), rel=1e-12)


def test_equal_stimuli_are_at_distance_zero():
    x = np.repeat(np.random.default_rng(0).normal(size=(5, 40)) + 1e3, 2, axis=0)
    d = symmetric(squared_distances(x))
    assert (d[np.arange(0, 10, 2), np.arange(1, 10, 2)] == 0).all()
    assert (d[0, 2:] > 1).all()


def test_nothing_to_correlate_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(MeasureError, match="no variance"):
        distance_correlation().prepared(np.full((6, 3), 2.0))
    with pytest.raises(MeasureError, match="equally far apart"):
        distance_correlation().prepared(np.eye(8))
    with pytest.raises(MeasureError, match="6 stimuli against 7"):
        value(distance_correlation(), rng.normal(size=(6, 2)), rng.normal(size=(7, 2)))
    with pytest.raises(MeasureError, match="6 stimuli against 7"):
        value(rsm_norm(), rng.normal(size=(6, 2)), rng.normal(size=(7, 2)))
    with pytest.raises(MeasureError, match="3 stimuli are too few"):
        measure = distance_correlation()
        measure.restrict(measure.prepared(rng.normal(size=(6, 2))), np.arange(3))
    with pytest.raises(OptionError, match="norm='frob'"):
        rsm_norm("frob")


def test_near_pairs_keep_their_digits_in_the_batched_norm():
    x, _ = systems(20)
    rng = np.random.default_rng(1)
    data = [x + 1e-9 * i * rng.normal(size=x.shape) for i in range(3)]
    measure = rsm_norm()
    states = [measure.prepared(v) for v in data]
    single = np.array([[measure.compare(a, b) for b in states] for a in states])
    np.testing.assert_allclose(measure.compare_many(states, states), single, rtol=1e-10, atol=0)
    assert (np.diag(single) == 0).all()
    assert 0 < single[0, 1] < 1e-7
