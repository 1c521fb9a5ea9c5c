"""Optimal assignment, compiled and as plain Python, against scipy and against trying all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from repcompare.kernels import assignment

PARTS = ("two_best", "start_square", "bid", "bid_in_turn", "nearest", "augment", "pair_off")


@pytest.fixture(params=["compiled", "python"])
def pair_off(request, monkeypatch):
    """The kernel, and with it all its parts, as machine code and as Python."""
    if request.param == "python":
        for name in PARTS:
            monkeypatch.setattr(assignment, name, getattr(assignment, name).py_func)

    def solve(weights):
        choice = np.empty(len(weights), dtype=np.intp)
        assignment.pair_off(weights, choice)
        assert len(set(choice.tolist())) == len(weights), "a column has two rows"
        assert 0 <= choice.min() <= choice.max() < weights.shape[1]
        return choice, float(weights[np.arange(len(weights)), choice].sum())

    return solve


def best(weights):
    return float(weights[linear_sum_assignment(weights, maximize=True)].sum())


def correlations(rng, n, p, q):
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    return (x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0))


KINDS = {
    "normal": lambda rng, p, q: rng.normal(size=(p, q)),
    "all negative": lambda rng, p, q: -rng.random((p, q)) - 1,
    "ties": lambda rng, p, q: rng.integers(0, 3, size=(p, q)).astype(float),
    "two values": lambda rng, p, q: (rng.random((p, q)) < 0.2).astype(float),
    "constant": lambda rng, p, q: np.full((p, q), 0.1),
    "products": lambda rng, p, q: np.outer(np.arange(p, dtype=float), np.arange(q, dtype=float)),
    "minus squares": lambda rng, p, q: -(np.subtract.outer(np.arange(p), np.arange(q)) ** 2.0),
    "repeated rows": lambda rng, p, q: np.repeat(rng.normal(size=(1, q)), p, axis=0),
    "equal columns": lambda rng, p, q: np.repeat(rng.normal(size=(p, 1)), q, axis=1),
    "wide range": lambda rng, p, q: rng.normal(size=(p, q)) * 10.0 ** rng.integers(-9, 9, size=(p, q)),
    "heavy rows": lambda rng, p, q: correlations(rng, 12, p, q) * 10.0 ** rng.integers(0, 4, size=(p, 1)),
    "correlations": lambda rng, p, q: correlations(rng, 12, p, q),
    "tiny": lambda rng, p, q: 1e-200 * rng.normal(size=(p, q)),
    "huge": lambda rng, p, q: 1e200 * rng.normal(size=(p, q)),
}


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 2), (3, 4), (5, 5), (4, 6)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_permutation_is_better(pair_off, kind, shape):
    for seed in range(3):
        weights = KINDS[kind](np.random.default_rng(seed), *shape)
        rows = np.arange(shape[0])
        expected = max(weights[rows, list(c)].sum() for c in permutations(range(shape[1]), shape[0]))
        assert pair_off(weights)[1] == pytest.approx(expected, rel=1e-14, abs=1e-14 * np.abs(weights).max())


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (9, 17), (25, 25), (20, 21), (16, 64)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_as_good_as_scipy(pair_off, kind, shape):
    for seed in range(3):
        weights = KINDS[kind](np.random.default_rng(seed), *shape)
        assert pair_off(weights)[1] == pytest.approx(best(weights), rel=1e-14, abs=1e-13 * np.abs(weights).max())


@pytest.mark.parametrize("shape", [(200, 200), (150, 151), (60, 240)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_as_good_as_scipy_at_size(kind, shape):
    weights = KINDS[kind](np.random.default_rng(0), *shape)
    choice = np.empty(shape[0], dtype=np.intp)
    assignment.pair_off(weights, choice)
    found = float(weights[np.arange(shape[0]), choice].sum())
    assert len(set(choice.tolist())) == shape[0]
    assert found == pytest.approx(best(weights), rel=1e-13, abs=1e-12 * np.abs(weights).max())


def test_the_order_of_rows_and_columns_does_not_matter(pair_off):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(12, 15))
    choice, _ = pair_off(weights)
    rows, columns = rng.permutation(12), rng.permutation(15)
    moved, _ = pair_off(np.ascontiguousarray(weights[rows][:, columns]))
    np.testing.assert_array_equal(columns[moved], choice[rows])


def test_a_matching_that_is_planted_is_found(pair_off):
    rng = np.random.default_rng(0)
    order = rng.permutation(30)
    weights = 0.1 * rng.normal(size=(30, 30))
    weights[np.arange(30), order] += 5
    np.testing.assert_array_equal(pair_off(weights)[0], order)


def test_offsets_of_square_weights_change_nothing(pair_off):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(14, 14))
    choice, _ = pair_off(weights)
    moved = weights + rng.normal(size=(14, 1)) + rng.normal(size=14)
    np.testing.assert_array_equal(pair_off(moved)[0], choice)


def test_the_weights_are_left_alone(pair_off):
    weights = np.random.default_rng(0).normal(size=(9, 9))
    copy = weights.copy()
    pair_off(weights)
    np.testing.assert_array_equal(weights, copy)
