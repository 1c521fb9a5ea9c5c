"""Least squares and single units: equal to plain loops, and their theorems."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding import linear as module
from repcompare.measures.encoding.linear import best_unit, linear
from repcompare.measures.encoding.result import encode_arrays
from repcompare.statistics.folds import make_folds
from tests import naive_encoding


def simulated(kind="tall", seed=0, t=4):
    rng = np.random.default_rng(seed)
    n = 40
    tall, wide = rng.standard_normal((n, 6)), rng.standard_normal((n, 90))
    x = {
        "tall": tall + 3,
        "wide": wide + 3,
        "duplicated": np.hstack([tall, tall]),
        "rank_deficient": tall @ rng.standard_normal((6, 80)),
        "constant_feature": np.hstack([tall, np.full((n, 1), 0.1)]),
        "offset": tall + 1e5,
        "nearly_equal": np.hstack([tall, tall[:, :1] + 1e-6 * rng.standard_normal((n, 1))]),
    }[kind]
    return x, tall[:, :3] @ rng.standard_normal((3, t)) + rng.standard_normal((n, t)) - 7


KINDS = ["tall", "wide", "duplicated", "rank_deficient", "constant_feature", "offset", "nearly_equal"]


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("kind", KINDS)
def test_least_squares_equal_plain_loops(kind, scoring):
    x, y = simulated(kind)
    for folds in (make_folds(40, 5), make_folds(40, 4, sample="time", gap=2)):
        found = encode_arrays(x, y, folds, model="linear", scoring=scoring)
        expected = naive_encoding.scores(x, y, folds.splits, naive_encoding.fit_linear, scoring)
        np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-7 if kind == "nearly_equal" else 1e-9)


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("tall", "scatter"),
        ("constant_feature", "scatter"),
        ("wide", "kernel"),
        ("duplicated", "svd"),
        ("rank_deficient", "svd"),
    ],
)
def test_gram_matrices_are_used_where_they_resolve(kind, form):
    x, y = simulated(kind)
    folds = make_folds(40, 5)
    state = linear().prepared(x, folds)
    assert {factor.kind for factor in state.factors} == {form}


def test_gram_matrices_and_singular_vectors_agree(monkeypatch):
    for kind in ("tall", "wide"):
        x, y = simulated(kind)
        folds = make_folds(40, 5)
        fast = encode_arrays(x, y, folds, model="linear").unit_scores
        monkeypatch.setattr(module, "RCOND", 2.0)
        slow = encode_arrays(x, y, folds, model="linear").unit_scores
        monkeypatch.undo()
        np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-10)


def test_few_rows_and_in_sample_scores_are_noted():
    x, y = simulated("wide")
    notes = encode_arrays(x, y, make_folds(40, 5), model="linear").notes
    assert notes[0].startswith("few_rows: 32 training rows for 90 features")
    assert notes[1].startswith("in_sample: noise alone would reach R2 = 1 in sample")
    x, y = simulated("tall")
    (note,) = encode_arrays(x, y, make_folds(40, 5), model="linear").notes
    assert "R2 = 0.15 in sample" in note  # 6 / 39


def test_noise_in_sample_is_what_the_note_says():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 4000))
    fitted = naive_encoding.fit_linear(x, y)(x)
    r2 = 1 - ((y - fitted) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert r2.mean() == pytest.approx(6 / 39, abs=0.005)
    assert encode_arrays(x, y, make_folds(40, 5), model="linear", scoring="r2").score < 0


@pytest.mark.parametrize("kind", ["tall", "wide"])
def test_least_squares_are_affine_invariant(kind):
    x, y = simulated(kind, seed=1)
    rng = np.random.default_rng(1)
    folds = make_folds(40, 5)
    base = encode_arrays(x, y, folds, model="linear").unit_scores
    mixed = x @ rng.standard_normal((x.shape[1], x.shape[1])) + 5 if kind == "tall" else 1e6 * x[:, ::-1] + 5
    np.testing.assert_allclose(encode_arrays(mixed, y, folds, model="linear").unit_scores, base, rtol=0, atol=1e-8)


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("kind", ["tall", "wide", "constant_feature", "offset"])
def test_best_unit_equals_plain_loops(kind, scoring):
    x, y = simulated(kind, seed=2)
    y[:, 3] = -x[:, 0] + 0.1 * np.random.default_rng(0).standard_normal(40)  # anticorrelation is not chosen
    for folds in (make_folds(40, 5), make_folds(40, 4, sample="time", gap=2)):
        found = encode_arrays(x, y, folds, model="best_unit", scoring=scoring)
        if scoring == "r2":
            expected = naive_encoding.scores(x, y, folds.splits, naive_encoding.fit_best_unit, scoring)
            np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-8)
        for f, (train, _) in enumerate(folds.splits):
            for u in range(4):
                varies = np.ptp(x[train], axis=0) > 0
                r = [naive_encoding.pearson(x[train, j], y[train, u]) if varies[j] else -9 for j in range(x.shape[1])]
                assert found.details["sources"][f, u] == np.argmax(r)
                assert found.details["train_pearson"][f, u] == pytest.approx(max(r), abs=1e-9)
        chosen = found.details["sources"]
        if scoring == "pearson":
            r = [
                [naive_encoding.pearson(x[b, chosen[f, u]], y[b, u]) for u in range(4)]
                for f, (_, b) in enumerate(folds.splits)
            ]
            np.testing.assert_allclose(found.unit_scores, np.mean(r, axis=0), rtol=0, atol=1e-9)


def test_best_unit_keeps_the_sign_of_a_bad_partner():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 1))
    y = -x + 0.1 * rng.standard_normal((60, 1))
    assert encode_arrays(x, y, make_folds(60, 5), model="best_unit").score < -0.9
    assert encode_arrays(x, y, make_folds(60, 5), model="best_unit", scoring="r2").score > 0.9


@pytest.mark.parametrize("model", ["linear", "best_unit"])
def test_batches_of_units_change_nothing(model, monkeypatch):
    x, y = simulated("wide", seed=4, t=150)
    y[:, 7] = 2.0
    folds = make_folds(40, 5)
    whole = encode_arrays(x, y, folds, model=model)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    parts = encode_arrays(x, y, folds, model=model)
    np.testing.assert_allclose(parts.unit_scores, whole.unit_scores, rtol=0, atol=1e-10)
    assert whole.counts == {"units_constant": 1, "units_undefined": 0}
    assert np.flatnonzero(np.isnan(whole.unit_scores)).tolist() == [7]


@pytest.mark.parametrize("model", ["linear", "best_unit"])
def test_bad_input(model):
    x, y = simulated()
    folds = make_folds(40, 5)
    with pytest.raises(MeasureError, match="no feature of the source varies"):
        encode_arrays(np.full((40, 3), 1e5 / 3), y, folds, model=model)
    with pytest.raises(MeasureError, match="of 2 target units 2 constant"):
        encode_arrays(x, np.ones((40, 2)), folds, model=model)
    with pytest.raises(OptionError, match="has no option 'alphas'"):
        encode_arrays(x, y, folds, model=model, alphas=1)
    indicator = np.zeros((40, 5))
    for f, (_, test) in enumerate(folds.splits):
        indicator[test, f] = 1
    with pytest.raises(MeasureError, match="constant predictions"):
        encode_arrays(indicator, y, folds, model=model)
    measure = {"linear": linear, "best_unit": best_unit}[model]()
    states = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    again = pickle.loads(pickle.dumps((measure, *states)))
    assert again[0].compare(*again[1:]).score == measure.compare(*states).score
    assert states[0].nbytes >= x.nbytes
    with pytest.raises(MeasureError, match="different folds"):
        measure.compare(states[0], measure.prepared(y, make_folds(40, 5, seed=1), side="target"))
