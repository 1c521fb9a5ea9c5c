"""Kernels of the searchlight, compiled and as Python, against one group at a time."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.kernels import searchlight as kernels

K, M = 5, 3
RNG = np.random.default_rng(0)
STARTS, MEMBERS = np.array([0, 4, 10]), np.array([0, 3, 5, 6, 1, 2, 3, 8, 9, 7], np.int32)
LISTS = STARTS, MEMBERS
GROUPS = [MEMBERS[:4], MEMBERS[4:]]


def both(kernel):
    return pytest.mark.parametrize("call", [kernel, kernel.py_func], ids=["compiled", "python"])


def scratch():
    return np.empty((6, K)), np.empty((K, K)), np.empty((2, K))


@both(kernels.angle_rdms)
@pytest.mark.parametrize("centred", [True, False])
def test_angles(call, centred):
    x = RNG.normal(size=(K, 10))
    out, status = np.zeros((2, 10)), np.zeros(2, np.int8)
    call(np.ascontiguousarray(x.T), LISTS, (centred, 1e-3), scratch(), out, status)
    for row, group in zip(out, GROUPS, strict=True):
        np.testing.assert_allclose(
            row, rc.rdm(x[:, group], distance="correlation" if centred else "cosine"), atol=1e-14
        )
    x[2, MEMBERS[:4]] = 0.0
    x[1, MEMBERS[4:]] = x[0, MEMBERS[4:]]
    call(np.ascontiguousarray(x.T), LISTS, (centred, 1e-3), scratch(), out, status)
    assert status.tolist() == [kernels.FLAT, kernels.AGAIN]


@both(kernels.square_rdms)
def test_squares(call):
    x = RNG.normal(size=(K, 10))
    columns = np.ascontiguousarray((x - x.mean(axis=0)).T)
    out, status = np.zeros((2, 10)), np.zeros(2, np.int8)
    call(columns, LISTS, 1e-3, scratch(), out, status)
    for row, group in zip(out, GROUPS, strict=True):
        np.testing.assert_allclose(row, rc.rdm(x[:, group], distance="squared_euclidean"), atol=1e-13)


@both(kernels.crossed_rdms)
def test_crossed(call):
    y = RNG.normal(size=(M, K, 10))
    y -= y.mean(axis=1, keepdims=True)
    columns = np.concatenate([y, y.sum(axis=0)[None]]).transpose(2, 0, 1).copy()
    room = np.empty((M * 6, K)), np.empty((6, K)), np.empty((K, K)), np.empty((K, K))
    out = np.zeros((2, 10))
    call(columns, LISTS, room, out)
    for row, group in zip(out, GROUPS, strict=True):
        products = []
        for i, j in zip(*np.triu_indices(K, 1), strict=True):
            gaps = [(y[m, i] - y[m, j])[group] for m in range(M)]
            products.append(np.mean([gaps[a] @ gaps[b] / len(group) for a in range(M) for b in range(M) if a != b]))
        np.testing.assert_allclose(row, products, atol=1e-13)


@both(kernels.centred_ranks)
def test_ranks(call):
    values = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0], [1.0, 1.0 + 1e-14, 2.0], [5.0, 6.0, 4.0]])
    rows, status = np.zeros((4, 3)), np.array([0, 0, 0, 2], np.int8)
    call(values, np.argsort(values, axis=1), (1e-12, 1e-12), rows, status)
    assert status.tolist() == [kernels.DONE, kernels.FLAT, kernels.AGAIN, 2]
    assert rows[0].tolist() == [0.5, -1.0, 0.5] and not rows[1:].any()


@both(kernels.centred_sizes)
def test_whitened_sizes(call):
    d = RNG.random((3, 10))
    out = np.empty(3)
    call(d, K, np.empty(K), out)
    h = np.eye(K) - 1 / K
    for row, size in zip(d, out, strict=True):
        square = np.zeros((K, K))
        square[np.triu_indices(K, 1)] = row
        assert abs(np.linalg.norm(h @ (square + square.T) @ h) / 2 - size) < 1e-13


@both(kernels.dot_rows)
def test_products(call):
    weights, rows = RNG.normal(size=(2, 6)), RNG.normal(size=(3, 6))
    scores, sizes = np.full((3, 2), np.nan), np.array([10.0, 20.0, 1e-3])
    call(weights, rows, sizes, np.array([0, 1, 0], np.int8), scores)
    np.testing.assert_allclose(scores[0], weights @ rows[0] / 10)
    assert np.isnan(scores[1]).all() and (np.abs(scores[2]) <= 1).all()
