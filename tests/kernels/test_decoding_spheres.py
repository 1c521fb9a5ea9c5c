"""One hat matrix for all sets of labels against refits, compiled and as Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import decoding_spheres as kernels
from repcompare.kernels.searchlight import AGAIN, DONE, FLAT
from tests import naive_decoding as naive

BOTH = pytest.mark.parametrize("compiled", [True, False])
N, CLASSES, SETS = 12, 3, 4


def pick(function, compiled):
    return function if compiled else function.py_func


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.permutation(np.arange(N) % CLASSES) for _ in range(SETS)])
    removed = [np.array([0, 5, 7, 2]), np.array([3, 4, 1])]
    tested = [np.array([True, True, False, True]), np.array([True, True, True])]
    columns = rng.normal(size=(9, N))
    return columns - columns.mean(axis=1, keepdims=True), codes, removed, tested


@BOTH
def test_inverses_of_many_matrices(compiled):
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(5, 4, 6))
    given = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(4)
    w = np.ascontiguousarray(given.transpose(1, 2, 0))
    pick(kernels.invert_all, compiled)(w, np.empty((2, 5)))
    np.testing.assert_allclose(w.transpose(2, 0, 1), np.linalg.inv(given), atol=1e-10)


@BOTH
def test_residual_maker_annihilates_the_constant(case, compiled):
    x = case[0].T
    out = np.empty((N, N))
    pick(kernels.residual_maker, compiled)(x @ x.T, 2.5, out)
    hat = 1 / N + x @ np.linalg.solve(x.T @ x + 2.5 * np.eye(9), x.T)
    np.testing.assert_allclose(out, np.eye(N) - hat, atol=1e-13)
    np.testing.assert_allclose(out.sum(axis=0), 0, atol=1e-13)
    pick(kernels.unit_residual_maker, compiled)(case[0], 2.5, out)
    np.testing.assert_allclose(out, np.eye(N) - hat, atol=1e-13)


@BOTH
def test_blocks_that_are_nearly_singular_are_refused(compiled):
    folds = np.array([0, 2]), np.array([0, 1]), np.ones(2, dtype=bool)
    rest = np.array([[1.0, 0.5], [0.5, 1.0]])
    blocks = np.empty(4)
    assert pick(kernels.inverse_blocks, compiled)(rest, folds, 1e-6, blocks)
    np.testing.assert_allclose(blocks.reshape(2, 2), -np.linalg.inv(rest))
    close = np.array([[1.0, 1 - 1e-8], [1 - 1e-8, 1.0]])
    assert not pick(kernels.inverse_blocks, compiled)(close, folds, 1e-6, blocks)
    assert not pick(kernels.inverse_blocks, compiled)(np.ones((2, 2)), folds, 1e-6, blocks)  # exactly singular


@BOTH
@pytest.mark.parametrize("kind", ["ridge", "lda", "nearest_centroid"])
@pytest.mark.parametrize("tiles", [1, 2])
def test_right_rows_are_those_of_refits(case, compiled, kind, tiles):
    columns, codes, removed, tested = case
    folds = np.array([0, 4, 7]), np.concatenate(removed), np.concatenate(tested)
    train = np.array([8, 9])
    rest_of = [np.setdiff1d(np.arange(N), r) for r in removed]
    counts = np.array([[[(c[t] == k).sum() for c in codes] for k in range(CLASSES)] for t in rest_of], dtype=float)
    assert counts.min() > 0
    base = 0.5 * train[:, None, None] / counts + np.log(counts) if kind == "lda" else 1 / counts
    width = SETS // tiles
    packed = np.ascontiguousarray(codes.reshape(tiles, width, N).transpose(0, 2, 1), dtype=np.int16)
    bases = np.ascontiguousarray(base.reshape(2, CLASSES, tiles, width).transpose(2, 0, 1, 3))
    groups = [np.arange(9), np.array([2, 5])]
    lists = np.array([0, 9, 11]), np.concatenate(groups).astype(np.int32)
    hits, status = np.empty((2, tiles, CLASSES, width), dtype=np.int32), np.empty(2, dtype=np.int8)
    number = {"ridge": kernels.RIDGE, "lda": kernels.LDA, "nearest_centroid": kernels.CENTROID}[kind]
    pick(kernels.group_hits, compiled)(
        columns, lists, (number, folds, (0.3, 1e-6)), (packed, bases, train), hits, status
    )
    assert (status == DONE).all()
    for g, members in enumerate(groups):
        x = columns[members].T
        damp = 0.3 * np.square(x).sum() / len(members)
        for b, y in enumerate(codes):
            right = np.zeros(CLASSES, dtype=int)
            for rows, inside, fitted in zip(removed, tested, rest_of, strict=True):
                test = rows[inside]
                if kind == "lda":
                    scatter = naive.within(x, y, fitted, CLASSES) + damp * np.eye(len(members))
                    values = naive.lda_values(x, y, fitted, test, CLASSES, scatter / len(fitted))
                elif kind == "ridge":
                    values = naive.ridge_values(x, y, fitted, test, CLASSES, damp)
                else:
                    values = naive.centroid_values(x, y, fitted, test, CLASSES)
                right += np.diagonal(naive.confusion(values, y[test], CLASSES))
            np.testing.assert_array_equal(hits[g, b // width, :, b % width], right)


@BOTH
def test_groups_that_do_not_vary_or_need_another_way_are_named(case, compiled):
    columns, codes, removed, tested = case
    columns = columns.copy()
    columns[3] = 0.0
    folds = np.array([0, 4, 7]), np.concatenate(removed), np.concatenate(tested)
    labels = codes.T[None].astype(np.int16).copy(), np.ones((1, 2, CLASSES, SETS)), np.array([8, 9])
    lists = np.array([0, 1, 10]), np.concatenate([[3], np.arange(9)]).astype(np.int32)
    hits, status = np.empty((2, 1, CLASSES, SETS), dtype=np.int32), np.empty(2, dtype=np.int8)
    what = kernels.LDA, folds, (1e-9, 0.5)  # any block has an eigenvalue below 0.5
    pick(kernels.group_hits, compiled)(columns, lists, what, labels, hits, status)
    assert status.tolist() == [FLAT, AGAIN]
