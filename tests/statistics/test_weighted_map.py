"""Weighted maps: against the unweighted ones, exact cases, and the minimum that no small step improves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from repcompare.errors import MeasureError, OptionError
from repcompare.statistics.spaces import embedding
from repcompare.statistics.weighted_map import weighted_map


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("method", ["mds", "nonmetric"])
def test_equal_weights_are_no_weights(rng, method):
    d = pdist(rng.normal(size=(12, 5)))
    found, plain = weighted_map(d, method=method), embedding(squareform(d), 2, method)
    assert found.stress == pytest.approx(plain.stress, rel=0.02)
    np.testing.assert_allclose(weighted_map(d, np.full(66, 7.0), method=method).coordinates, found.coordinates)


def test_a_plane_is_found_exactly_whatever_the_weights(rng):
    d = pdist(rng.normal(size=(10, 2)))
    found = weighted_map(d, rng.random(45) + 0.1, method="mds")
    assert found.stress < 1e-4 and found.converged
    np.testing.assert_allclose(found.distances, d, rtol=1e-3)
    np.testing.assert_allclose(weighted_map(1000 * d, method="mds").distances, 1000 * d, rtol=1e-3)


def test_pairs_without_weight_do_not_matter(rng):
    d, w = pdist(rng.normal(size=(10, 4))), np.ones(45)
    lost = rng.choice(45, 8, replace=False)
    w[lost] = 0
    other, holes = d.copy(), d.copy()
    other[lost], holes[lost] = 99.0, np.nan
    first = weighted_map(holes, method="mds")
    assert weighted_map(d, w, method="mds").stress == pytest.approx(first.stress, rel=1e-3)
    assert weighted_map(other, w, method="mds").stress == pytest.approx(first.stress, rel=1e-3)


def test_no_step_lowers_the_weighted_stress(rng):
    d, w = pdist(rng.normal(size=(9, 6))), rng.random(36)
    found = weighted_map(d, w, method="mds")

    def loss(points):
        return w @ (pdist(points) - d) ** 2

    best = loss(found.coordinates)
    for _ in range(200):
        assert loss(found.coordinates + 1e-3 * rng.normal(size=(9, 2))) > best - 1e-7
    assert found.stress == pytest.approx(np.sqrt(best / (w @ found.distances**2)), rel=1e-9)
    np.testing.assert_allclose(found.distances, pdist(found.coordinates))


def test_a_heavy_pair_is_fitted_better(rng):
    d, w = pdist(rng.normal(size=(9, 6))), np.ones(36)
    plain = weighted_map(d, method="mds")
    worst = int(np.argmax(np.abs(plain.distances - d)))
    w[worst] = 100
    heavy = weighted_map(d, w, method="mds")
    assert abs(heavy.distances[worst] - d[worst]) < 0.2 * abs(plain.distances[worst] - d[worst])


def test_order_alone_counts_without_a_metric(rng):
    d = pdist(rng.normal(size=(10, 2)))
    found = weighted_map(np.exp(3 * d) - 50)
    assert found.stress < 0.01
    order = np.argsort(d, kind="stable")
    assert (np.diff(found.disparities[order]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("given", "options", "error", "match"),
    [
        (np.ones(6), {"weights": np.ones(5)}, MeasureError, "expected 6 numbers"),
        (np.ones(6), {"weights": -np.ones(6)}, MeasureError, "numbers >= 0"),
        (np.zeros(6), {}, MeasureError, "nothing to draw"),
        (-np.ones(6), {"method": "mds"}, MeasureError, "6 dissimilarities are negative"),
        ([1.0, np.nan, np.nan, np.nan, np.nan, 1.0], {}, MeasureError, "2 groups without pairs"),
        (np.ones(6), {"method": "classical"}, OptionError, "method='classical'"),
        (np.ones(6), {"dimensions": 4}, OptionError, "dimensions=4"),
    ],
)
def test_messages(given, options, error, match):
    with pytest.raises(error, match=match):
        weighted_map(given, **options)
