"""Procrustes against its definitions, its metric form, and small distances."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.cka import cka
from repcompare.measures.shape import procrustes
from tests import naive


def score(x, y, **options):
    measure = procrustes(**options)
    return measure.compare(measure.prepared(x), measure.prepared(y))


def systems(n=20, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize("shape", [(20, 6, 5), (8, 30, 5), (8, 30, 40), (30, 30, 30)], ids=str)
def test_all_forms_equal_the_definitions(shape):
    x, y = systems(*shape)
    nbs = naive.nbs(x, y)
    assert score(x, y, score="similarity") == pytest.approx(nbs, abs=1e-12)
    assert score(x, y) == pytest.approx(np.arccos(nbs), abs=1e-12)
    assert score(x, y, score="euclidean") == pytest.approx(np.sqrt(2 - 2 * nbs), abs=1e-12)
    assert score(x, y, score="euclidean", scale=False) == pytest.approx(naive.bures(x, y), abs=1e-10)


def test_equals_a_search_over_all_rotations_of_the_plane():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    assert score(x, y, score="euclidean") == pytest.approx(naive.best_rotation_distance(x, y), abs=1e-6)


def test_golden_value():
    """Procrustes angle of uniform data of numpy's legacy generator: similarity-repository, 30 x 25, seed 0."""
    np.random.seed(0)  # noqa: NPY002 - the published number was made with it
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert score(x, y) == pytest.approx(0.7629815799, abs=1e-10)


def test_keeping_principal_components():
    """V31: NBS of a system with its first k components is sqrt(sum_k s^2 / sum s^2)."""
    x, _ = systems(40, 12)
    u, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    for k in (1, 3, 7):
        expected = np.sqrt((s[:k] ** 2).sum() / (s**2).sum())
        assert score(x, (u[:, :k] * s[:k]) @ vt[:k], score="similarity") == pytest.approx(expected, abs=1e-10)


def test_it_bounds_cka():
    """CKA <= NBS^2 sqrt(PR_x PR_y) <= rank(X'Y) CKA (spec of the alignment measures, identity 6)."""
    for seed in range(20):
        x, y = systems(seed=seed)
        biased = cka(estimator="biased")
        kernel = biased.compare(biased.prepared(x), biased.prepared(y))
        s, t = (np.linalg.svd(v - v.mean(0), compute_uv=False) ** 2 for v in (x, y))
        middle = naive.nbs(x, y) ** 2 * np.sqrt((s.sum() ** 2 / (s**2).sum()) * (t.sum() ** 2 / (t**2).sum()))
        assert kernel <= middle + 1e-12
        assert middle <= 5 * kernel + 1e-12


@pytest.mark.parametrize("options", [{}, {"score": "euclidean"}, {"score": "euclidean", "scale": False}], ids=str)
@pytest.mark.parametrize("width", [6, 50])
def test_small_distances_keep_their_digits(options, width):
    x, _ = systems(20, width)
    rng = np.random.default_rng(1)
    q, _ = np.linalg.qr(rng.normal(size=(width, width)))
    step = 1e-7 * rng.normal(size=x.shape)
    near, twice = (score(x, (x + factor * step) @ q, **options) for factor in (1, 2))
    assert 0 < near < 1e-5
    assert twice / near == pytest.approx(2, rel=1e-3)


def test_unequal_widths_near_zero():
    x, _ = systems(20, 6)
    wide = np.concatenate([x, 1e-8 * np.random.default_rng(0).normal(size=(20, 3))], axis=1)
    assert 0 < score(x, wide) < 1e-7
    assert score(x, wide) == pytest.approx(score(wide, x), rel=1e-6)


def test_scale_1e_6_and_offset_1e4():
    x, y = systems(30)
    assert score(1e-6 * x + 1e4, y) == pytest.approx(score(x, y), abs=1e-5)  # 1e4 + 1e-6 keeps 6 digits of float64


def test_errors():
    x, y = systems()
    with pytest.raises(MeasureError, match="no variance"):
        score(np.ones((20, 3)), y)
    with pytest.raises(MeasureError, match="20 stimuli against 12"):
        score(x, y[:12])
    with pytest.raises(OptionError, match="goes with score='euclidean' only"):
        procrustes("angular", scale=False)
    with pytest.raises(OptionError, match="did you mean 'angular'"):
        procrustes("anguler")
