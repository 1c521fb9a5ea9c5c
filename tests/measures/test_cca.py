"""CCA against Hotelling's eigenvalues and a loop over folds; chance levels; guards."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from tests import naive


def folds(n, k=5, seed=0):
    parts = np.array_split(np.random.default_rng(seed).permutation(n), k)
    return Folds(tuple((np.setdiff1d(np.arange(n), part), np.sort(part)) for part in parts), n)


def score(x, y, drawn=None, **options):
    measure = cca(**options)
    drawn = (drawn or folds(len(x))) if measure.fitted else None
    return measure.compare(measure.prepared(x, drawn), measure.prepared(y, drawn)).score


def systems(n=80, p=6, q=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


def test_in_sample_equals_hotelling():
    x, y = systems()
    rho = naive.canonical_correlations(x, y)
    assert score(x, y, held_out=False) == pytest.approx(rho.mean(), abs=1e-9)
    assert score(x, y, held_out=False, summary="mean_squared") == pytest.approx((rho**2).mean(), abs=1e-9)
    yanai = (rho**2).sum() / np.sqrt(30)
    assert score(x, y, held_out=False, summary="yanai") == pytest.approx(yanai, abs=1e-9)


@pytest.mark.parametrize("summary", ["mean", "mean_squared", "yanai"])
def test_held_out_equals_the_loop(summary):
    x, y = systems()
    drawn = folds(80)
    expected = naive.held_out_cca(x, y, drawn.splits, summary)
    assert score(x, y, drawn, summary=summary) == pytest.approx(expected, abs=1e-9)


def test_yanai_is_cka_of_whitened_data():
    x, y = systems()
    u, v = (np.linalg.svd(w - w.mean(0), full_matrices=False)[0] for w in (x, y))
    biased = cka(estimator="biased")
    expected = biased.compare(biased.prepared(u), biased.prepared(v))
    assert score(x, y, held_out=False, summary="yanai") == pytest.approx(expected, abs=1e-12)


def test_golden_value():
    """Mean canonical correlation of uniform data of numpy's legacy generator: similarity-repository, 30 x 25, seed 0."""
    np.random.seed(0)  # noqa: NPY002 - the published number was made with it
    x, y = np.random.uniform(size=(30, 25)), np.random.uniform(size=(30, 25))  # noqa: NPY002
    assert score(x, y, held_out=False, degenerate="allow") == pytest.approx(0.8901049738, abs=1e-9)


@pytest.mark.parametrize(("p", "q"), [(20, 50), (60, 60)])
def test_chance_in_sample_and_held_out(p, q):
    """V07: in-sample mean rho^2 of independent data is max(p, q) / (n - 1); held out the mean is 0."""
    found, held = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(100, p)), rng.normal(size=(100, q))
        found.append(score(x, y, held_out=False, summary="mean_squared", degenerate="allow"))
        if p + q < 78:
            held.append(score(x, y))
    assert np.mean(found) == pytest.approx(max(p, q) / 99, abs=0.012)
    assert not held or abs(np.mean(held)) < 0.02


def test_degenerate_ranks_raise_and_can_be_allowed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 60)), rng.normal(size=(100, 60))
    with pytest.raises(MeasureError, match=r"ranks 60 \+ 60 reach .* \(100 - 1\): 21 correlations would be exactly 1"):
        score(x, y, held_out=False)
    measure = cca(held_out=False, degenerate="allow")
    rho = np.linalg.svd(measure.prepared(x)[0].train.T @ measure.prepared(y)[0].train, compute_uv=False)
    assert (rho > 1 - 1e-9).sum() == 21
    with pytest.raises(MeasureError, match=r"\(80 - 1\)"):
        score(x, y)
    assert -1 <= score(x, y, regularization=0.5) <= 1


def test_crowded_data_are_noted():
    x, y = systems(40, 8, 3)
    measure = cca(held_out=False)
    outcome = measure.compare(measure.prepared(x), measure.prepared(y))
    assert outcome.notes[0].startswith("cca_crowded: rank 8 for 40")
    assert not measure.compare(measure.prepared(x[:, :2]), measure.prepared(y[:, :2])).notes


def test_rank_deficient_data_lose_their_null_directions():
    x, y = systems()
    doubled = np.concatenate([x, x @ np.ones((6, 2)) * 1e-3], axis=1)
    assert score(doubled, y) == pytest.approx(score(x, y), abs=1e-9)
    assert score(x * 1e-6, y * 1e6) == pytest.approx(score(x, y), abs=1e-9)


def test_regularisation_one_gives_pls_directions():
    x, y = systems()
    drawn = folds(80)
    scores = []
    for train, test in drawn.splits:
        a, b = (v[train] - v[train].mean(0) for v in (x, y))
        u, _, vt = np.linalg.svd(a.T @ b, full_matrices=False)
        left, right = (x[test] - x[train].mean(0)) @ u, (y[test] - y[train].mean(0)) @ vt.T
        scores.append(np.mean([np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(5)]))
    assert score(x, y, drawn, regularization=1.0) == pytest.approx(np.mean(scores), abs=1e-9)


def test_errors():
    x, y = systems()
    with pytest.raises(MeasureError, match="needs folds"):
        cca().prepared(x)
    with pytest.raises(MeasureError, match="folds index 70 stimuli, but the data have 80"):
        cca().prepared(x, folds(70))
    with pytest.raises(OptionError, match="summary='median'"):
        cca(summary="median")
    with pytest.raises(MeasureError, match="no variance"):
        score(np.ones((80, 2)), y)
