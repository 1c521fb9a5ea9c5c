"""Cholesky solutions through BLAS's own door, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.measures._blas import add_gram, solve_positive


@pytest.mark.parametrize(("n", "count"), [(1, 1), (7, 3), (130, 8)])
def test_positive_definite_systems_are_solved_row_by_row(n, count):
    rng = np.random.default_rng(n)
    x, right = rng.normal(size=(n, n + 3)), rng.normal(size=(count, n))
    lower = np.eye(n)
    add_gram(x, lower)
    lower[np.triu_indices(n, 1)] = np.nan  # never read
    found = right.copy()
    assert solve_positive(lower, found)
    expected = np.linalg.solve(x @ x.T + np.eye(n), right.T).T
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_a_matrix_that_is_not_positive_definite_is_reported():
    right = np.ones((2, 2))
    assert not solve_positive(np.array([[1.0, 0.0], [2.0, 1.0]]), right)
    np.testing.assert_array_equal(right, 1.0)


@pytest.mark.parametrize(
    ("lower", "right"),
    [
        (np.eye(3), np.ones((2, 4))),
        (np.eye(3), np.ones((3, 2)).T),
        (np.eye(3, dtype=np.float32), np.ones((2, 3))),
        (np.ones((3, 2)), np.ones((2, 3))),
    ],
)
def test_other_arrays_are_refused(lower, right):
    with pytest.raises(ValueError, match="C-ordered float64"):
        solve_positive(lower, right)
