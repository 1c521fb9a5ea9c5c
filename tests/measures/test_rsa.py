"""The measure ``rsa``: its contract, and what it does with missing values."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Outcome, as_outcome
from repcompare.measures.rsa import DISTANCES, METHODS, rsa
from tests import naive_rsa as naive
from tests import naive_rsa_comparators as naive_score

COSINES = [method for method in METHODS if METHODS[method].family in ("dot", "tau")]
EVERY = [(distance, method) for distance in DISTANCES for method in COSINES]


def systems(k=14, p=40, q=25, nan=0.0, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(k, 6))
    x, y = (latent @ rng.normal(size=(6, m)) + rng.normal(size=(k, m)) + 1 for m in (p, q))
    x[rng.random(x.shape) < nan] = np.nan
    return x, y


def value(measure, x, y):
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score


@pytest.mark.parametrize(("distance", "method"), EVERY)
def test_equals_plain_loops(distance, method):
    x, y = systems()
    expected = naive_score.compare(naive.rdm(x, distance), naive.rdm(y, distance), method)
    assert value(rsa(distance, method), x, y) == pytest.approx(expected, abs=1e-10)
    x, y = systems(nan=0.4, q=9)
    measure = rsa(distance, method, nan_min_units=14)
    expected = naive_score.compare(naive.rdm(x, distance, 14), naive.rdm(y, distance), method)
    assert value(measure, x, y) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("distance", "method"), EVERY)
def test_declared_invariances_are_those_that_hold(distance, method):
    measure = rsa(distance, method)
    rng = np.random.default_rng(3)
    x, y = systems()
    p = x.shape[1]
    changes = {
        "permutation": x[:, rng.permutation(p)],
        "scaling": 3.7 * x,
        "duplication": np.hstack([x, x]),
        "rotation": x @ np.linalg.qr(rng.normal(size=(p, p)))[0],
        "translation": x + rng.normal(size=p),
        "pattern_scaling": x * rng.uniform(0.5, 2, size=(len(x), 1)),
        "pattern_translation": x + rng.normal(size=(len(x), 1)),
        "unit_scaling": x * rng.uniform(0.2, 3, size=p),
        "affine": x @ rng.normal(size=(p, p)) + rng.normal(size=p),
    }
    base = value(measure, x, y)
    for change, moved in changes.items():
        same = value(measure, moved, y) == pytest.approx(base, abs=1e-9)
        assert same == (change in measure.invariant_to), change
        assert (value(measure, y, moved) == pytest.approx(base, abs=1e-9)) == same


@pytest.mark.parametrize(("distance", "method"), EVERY)
def test_contract(distance, method):
    measure = rsa(distance, method)
    x, y = systems()
    low, high = measure.score_range
    score = value(measure, x, y)
    assert low <= score <= high
    assert score == pytest.approx(value(measure, y, x), abs=1e-12)
    assert value(measure, x, x) == pytest.approx(measure.identical, abs=1e-12)
    assert measure.accepts_nan
    assert measure.symmetric
    assert not measure.is_metric
    with pytest.raises(MeasureError, match="expected at least 3"):
        measure.prepared(x[:2])


@pytest.mark.parametrize(("distance", "method"), EVERY)
@pytest.mark.parametrize("nan", [0.0, 0.3])
def test_many_equals_pairs(distance, method, nan):
    measure = rsa(distance, method, nan_min_units=18)
    sources = [measure.prepared(systems(seed=seed, nan=nan)[0]) for seed in range(3)]
    targets = [measure.prepared(systems(seed=seed)[1]) for seed in range(2)]
    table = measure.compare_many(sources, targets)
    assert table.shape == (3, 2)
    for i, source in enumerate(sources):
        for j, target in enumerate(targets):
            score = as_outcome(measure.compare(source, target)).score
            assert table[i, j] == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(("distance", "method"), EVERY)
@pytest.mark.parametrize("nan", [0.0, 0.3])
def test_restriction_equals_preparing_the_rows(distance, method, nan):
    measure = rsa(distance, method, nan_min_units=18)
    x, y = systems(nan=nan)
    rng = np.random.default_rng(0)
    sx, sy = measure.prepared(x), measure.prepared(y)
    for rows in (
        rng.permutation(14),
        np.delete(np.arange(14), 5),
        rng.permutation(14)[:6],
        np.arange(14) != 2,
    ):
        short = measure.restrict(sx, rows), measure.restrict(sy, rows)
        expected = value(measure, x[rows], y[rows])
        assert as_outcome(measure.compare(*short)).score == pytest.approx(expected, abs=1e-10)
    order = rng.permutation(14)
    moved = as_outcome(measure.compare(measure.restrict(sx, order), sy)).score
    assert moved == pytest.approx(value(measure, x[order], y), abs=1e-10)


@pytest.mark.parametrize("method", COSINES)
def test_pairs_of_a_stimulus_drawn_twice_are_left_out(method):
    measure = rsa(method=method)
    x, y = systems()
    rows = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5])
    outcome = measure.compare(*(measure.restrict(measure.prepared(v), rows) for v in (x, y)))
    assert outcome.counts == {"pairs_used": 32, "pairs_missing": 4}
    a, b = (naive.rdm(v[rows], "correlation") for v in (x, y))
    same = np.array([rows[i] == rows[j] for i, j in naive.pairs(9)])
    a[same] = np.nan
    assert outcome.score == pytest.approx(naive_score.compare(a, b, method), abs=1e-10)


def test_pairs_left_out_are_counted():
    x, y = systems()
    x[0, 4:] = np.nan
    measure = rsa()
    outcome = measure.compare(measure.prepared(x), measure.prepared(y))
    assert isinstance(outcome, Outcome)
    assert outcome.counts == {"pairs_used": 78, "pairs_missing": 13}
    assert isinstance(measure.compare(measure.prepared(y), measure.prepared(y)), float)


def test_spearman_says_when_it_favours_ties():
    _, y = systems()
    categories = np.eye(2)[np.arange(14) % 2]
    outcome = rsa("squared_euclidean", "spearman").compare(
        *(rsa("squared_euclidean", "spearman").prepared(v) for v in (categories, y))
    )
    assert outcome.notes[0].startswith("ties: 100% of one RDM's distances are tied")
    measure = rsa("squared_euclidean")
    assert isinstance(measure.compare(measure.prepared(categories), measure.prepared(y)), float)


def test_whitened_cosine_is_linear_cka():
    x, y = systems()
    found = value(rsa("squared_euclidean", "whitened_cosine"), x, y)
    assert found == pytest.approx(naive.biased_linear_cka(x, y), abs=1e-12)


def test_ten_thousand_away_from_zero_float32_is_float64():
    x, y = (v.astype(np.float32) + np.float32(1e4) for v in systems())
    for distance, method in EVERY:
        exact = value(rsa(distance, method), x.astype(float), y.astype(float))
        assert value(rsa(distance, method), x, y) == pytest.approx(exact, abs=1e-6)


def test_labels_and_options():
    assert rsa().label == "rsa"
    assert rsa("euclidean", nan_min_units=5).label == "rsa(distance=euclidean, nan_min_units=5)"
    with pytest.raises(OptionError, match="did you mean 'correlation'"):
        rsa("correlatoin")
    with pytest.raises(OptionError, match="method="):
        rsa(method="kendall_tau")
    with pytest.raises(OptionError, match="nan_min_units=0"):
        rsa(nan_min_units=0)


def test_systems_that_have_no_score():
    x, y = systems()
    measure = rsa()
    with pytest.raises(MeasureError, match="14 and 13 stimuli"):
        measure.compare(measure.prepared(x), measure.prepared(y[1:]))
    with pytest.raises(MeasureError, match="14 and 13 stimuli"):
        measure.compare_many([measure.prepared(x)], [measure.prepared(y), measure.prepared(y[1:])])
    with pytest.raises(MeasureError, match=r"stimulus rows \[0\] have zero variance"):
        measure.prepared(np.vstack([np.ones(40), x]))
    with pytest.raises(MeasureError, match="constant"):
        rsa("euclidean").prepared(np.eye(5))


def test_measures_and_states_can_be_sent_to_another_process():
    x, y = systems()
    measure = pickle.loads(pickle.dumps(rsa("cosine", "whitened_cosine")))
    states = pickle.loads(pickle.dumps([measure.prepared(x), measure.prepared(y)]))
    assert measure.compare(*states) == value(rsa("cosine", "whitened_cosine"), x, y)
