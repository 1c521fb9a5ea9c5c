"""Decoding over time, across systems, and as a code: against plain loops over single fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg

from repcompare.errors import AlignmentError
from repcompare.measures._measure import Folds
from repcompare.measures.decoding import _stacked, codelength, over_time
from repcompare.measures.decoding._linear import fit_linear, total_scale
from repcompare.measures.decoding.crossvalidate import Task, crossvalidate
from repcompare.measures.decoding.models import make_model
from repcompare.measures.decoding.transfer import rotated, transfer
from tests import naive_decoding as naive

MODELS = [
    ("lda", {}),
    ("lda", {"alpha": 0.1}),
    ("lda", {"shrinkage": 0.3}),
    ("ridge", {}),
    ("nearest_centroid", {}),
    ("svm", {}),
    ("logistic", {}),
]


def problem(n=36, p=8, t=4, classes=3, seed=0, k=3):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, p, t)) + 0.7 * rng.normal(size=(classes, p, t))[y]
    order = rng.permutation(n)
    folds = Folds(tuple((np.setdiff1d(order, v), np.sort(v)) for v in np.array_split(order, k)), n)
    sets = np.stack([y, *(rng.permutation(y) for _ in range(2))])
    return x, sets, folds


def task(sets, folds, model, scoring="balanced_accuracy", **options):
    model = make_model(model, **options)
    return Task(codes=sets, n_classes=sets.max() + 1, folds=folds, model=model, scoring=scoring)


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "auc"])
@pytest.mark.parametrize(("model", "options"), MODELS, ids=str)
def test_the_diagonal_of_generalisation_is_decoding_at_every_time(model, options, scoring):
    x, sets, folds = problem(t=3)
    job = task(sets, folds, model, scoring, **options)
    every, across = over_time.at_every_time(x, job), over_time.across_times(x, job)
    at = np.arange(3)
    np.testing.assert_allclose(across.score[:, at, at], every.score, atol=1e-12)
    np.testing.assert_array_equal(across.confusion[at, at], every.confusion)
    np.testing.assert_allclose(across.fold_scores[at, at], every.fold_scores, atol=1e-12)
    for t in at:
        np.testing.assert_allclose(every.score[:, t], crossvalidate(x[:, :, t], job).score, atol=1e-15)


@pytest.mark.parametrize("block", [1, 10**9])
def test_generalisation_is_a_loop_over_training_and_test_times(monkeypatch, block):
    monkeypatch.setattr(over_time, "BLOCK_BYTES", block)
    x, sets, folds = problem()
    found = over_time.across_times(x, task(sets, folds, "ridge"))
    for b, y in enumerate(sets):
        for i in range(4):
            for j in range(4):
                table = np.zeros((3, 3), dtype=int)
                for train, test in folds.splits:
                    both = np.concatenate([x[train][:, :, i], x[test][:, :, j]])
                    labels, n = np.concatenate([y[train], y[test]]), len(train)
                    rows = np.arange(len(both))
                    values = naive.ridge_values(both, labels, rows[:n], rows[n:], 3, 0.1 * total_scale(x[:, :, i]))
                    table += naive.confusion(values, y[test], 3)
                assert found.score[b, i, j] == pytest.approx(naive.balanced_accuracy(table), abs=1e-12)


@pytest.mark.parametrize("p", [8, 90])
@pytest.mark.parametrize("small", [0, 1000])
@pytest.mark.parametrize(("model", "options"), MODELS[1:5], ids=str)
def test_fits_of_many_times_are_those_of_each(monkeypatch, model, options, small, p):
    """Wide and tall, by numpy's stacked solver and by Cholesky, with a unit that is constant at one time."""
    monkeypatch.setattr(_stacked, "SMALL", small)
    x, sets, _ = problem(p=p)
    x[:, 1, 2] = 3.3
    times, chosen = np.ascontiguousarray(np.moveaxis(x, 2, 0)), make_model(model, **options)
    sets = sets[:1] if "shrinkage" in options else sets
    assert _stacked.stacks(chosen, len(sets))
    scales = np.array([total_scale(one) for one in times])
    found = _stacked.fit_stack(chosen, times, sets, 3, scales)
    for t, one in enumerate(times):
        single = fit_linear(chosen, one, sets, 3, scales[t])
        values = found.weights[:, t] @ one.T + found.offset[:, t, :, None]
        expected = single.decide(one)
        assert found.kind == single.kind
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_blocks_of_times_change_nothing(monkeypatch):
    x, sets, folds = problem()
    job = task(sets, folds, "lda", alpha=0.1)
    whole = over_time.across_times(x, job)
    monkeypatch.setattr(over_time, "CACHE_BYTES", 1)
    np.testing.assert_array_equal(over_time.across_times(x, job).score, whole.score)


def test_a_code_that_moves_is_decoded_at_its_own_time_only():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 30, 2))
    for t in range(2):
        x[:, :, t] += np.where(y[:, None] == 1, 1.0, -1.0) * rng.normal(size=30)
    folds = Folds(
        tuple(
            (np.flatnonzero(np.arange(80) // 2 % 4 != f), np.flatnonzero(np.arange(80) // 2 % 4 == f)) for f in range(4)
        ),
        80,
    )
    found = over_time.across_times(x, task(y[None], folds, "lda", alpha=0.1)).score[0]
    assert np.diag(found).min() > 0.95
    constant = over_time.across_times(np.stack([x[:, :, 0]] * 2, axis=2), task(y[None], folds, "lda", alpha=0.1)).score[
        0
    ]
    assert np.ptp(constant) == 0


# Across systems


def scaled(x, train, rows):
    return (x[rows] - x[train].mean(axis=0)) / x[train].std(axis=0)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("q", [8, 50])
def test_transfer_is_a_loop_over_folds(align, q):
    x, sets, folds = problem(t=2)
    x, other = x[:, :, 0], x[:, :, 1]
    if align:
        other = other @ np.random.default_rng(0).normal(size=(8, q))
    found = transfer(x, other, task(sets, folds, "nearest_centroid"), align=align)
    table = np.zeros((3, 3), dtype=int)
    for train, test in folds.splits:
        fitted, rows = scaled(x, train, train), scaled(other, train, test)
        if align:
            u, _, vt = np.linalg.svd(scaled(other, train, train).T @ fitted, full_matrices=False)
            rows = rows @ u @ vt
        both, labels = np.concatenate([fitted, rows]), np.concatenate([sets[0][train], sets[0][test]])
        at = np.arange(len(both))
        table += naive.confusion(
            naive.centroid_values(both, labels, at[: len(train)], at[len(train) :], 3), sets[0][test], 3
        )
    np.testing.assert_array_equal(found.confusion, table)


def test_a_rotated_copy_is_decoded_as_the_system_itself():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 12)) + 2 * rng.normal(size=(3, 12))[y]
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    whole = scipy.linalg.orthogonal_procrustes(x @ turn, x)[0]
    np.testing.assert_allclose(rotated(x @ turn, x, x @ turn), x @ turn @ whole, atol=1e-10)
    folds = Folds(
        tuple(
            (np.flatnonzero(np.arange(60) // 3 % 4 != f), np.flatnonzero(np.arange(60) // 3 % 4 == f)) for f in range(4)
        ),
        60,
    )
    job = task(y[None], folds, "lda", alpha=0.1)
    assert transfer(x, x @ turn, job, align=True).score[0] > 0.9
    assert transfer(x, x @ turn, job, align=False).score[0] < 0.7
    with pytest.raises(AlignmentError, match="12 units and the test source 11"):
        transfer(x, x[:, :11], job, align=False)


# Online code


def naive_code(x, y, order, alpha):
    """Sum of -log2 p over blocks, each coded by an explicit LDA of the rows before."""
    x, y = x[order], y[order]
    classes, n = y.max() + 1, len(y)
    damp = alpha * total_scale(x)
    ends = codelength.block_ends(n, classes)
    bits = ends[0] * np.log2(classes)
    for start, stop in pairwise(ends):
        rows, mean = range(start), x[:start].mean(axis=0)
        scatter = np.zeros((x.shape[1], x.shape[1]))
        centres, prior = np.tile(mean, (classes, 1)), np.ones(classes)
        for k in range(classes):
            inside = [i for i in rows if y[i] == k]
            prior[k] += len(inside)
            if inside:
                centres[k] = x[inside].mean(axis=0)
            scatter += sum((np.outer(x[i] - centres[k], x[i] - centres[k]) for i in inside), np.zeros_like(scatter))
        inverse = np.linalg.inv((scatter + damp * np.eye(len(scatter))) / start)
        for i in range(start, stop):
            logs = np.array([-0.5 * (x[i] - m) @ inverse @ (x[i] - m) for m in centres]) + np.log(prior / prior.sum())
            logs -= logs.max()
            bits -= (logs - np.log(np.exp(logs).sum()))[y[i]] / np.log(2)
    return bits


@pytest.mark.parametrize(("n", "p"), [(60, 5), (40, 50)])
def test_code_length_is_that_of_explicit_fits(n, p):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = rng.normal(size=(n, p)) + rng.normal(size=(3, p))[y]
    order = rng.permutation(n)
    found = codelength.code_length(x, y, 3, order=order, alpha=0.5)
    assert found == pytest.approx(naive_code(x, y, order, 0.5), rel=1e-10)


def test_a_class_that_was_not_sent_yet_still_has_a_code():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    bits = codelength.code_length(rng.normal(size=(40, 5)), y, 2, order=np.arange(40), alpha=1.0)
    assert np.isfinite(bits)
    assert bits > 40


def test_noise_is_not_compressed_and_a_code_is():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    noise = rng.normal(size=(200, 5))
    order = rng.permutation(200)
    assert codelength.code_length(noise, y, 2, order=order, alpha=0.1) > 195
    assert codelength.code_length(noise + 3 * y[:, None], y, 2, order=order, alpha=0.1) < 40


def test_block_ends():
    assert codelength.block_ends(1000, 2) == [50, 100, 200, 400, 800, 1000]
    assert codelength.block_ends(10, 8) == [10]
