"""Variance partitioning: every subset against its own regression, and sums that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, SchemaError
from repcompare.labels.rdms import rdm_set, select_stimuli
from repcompare.measures.rsa.crossvalidation import cross
from repcompare.measures.rsa.partitioning import all_subsets, partition_variance
from tests import naive_rsa
from tests import naive_rsa_models as naive

K = 9
N = K * (K - 1) // 2


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def groups(rng):
    shared = rng.random(N)
    return [rng.random((m, N)) + shared for m in (1, 2, 1)]


@pytest.fixture
def data(rng, groups):
    return np.stack([sum(g.sum(axis=0) for g in groups) + 2 * rng.random(N) for _ in range(4)])


@pytest.mark.parametrize("ranked", [False, True])
def test_every_subset_equals_its_own_regression(groups, data, ranked):
    found = partition_variance(groups, data, ranked=ranked)
    assert len(found.subsets) == 7
    for subset, row in zip(found.subsets, found.r2, strict=True):
        chosen = np.concatenate([groups[g] for g in subset])
        for s, given in enumerate(data):
            x, y = (
                (chosen, given) if not ranked else ([naive_rsa.midranks(c) for c in chosen], naive_rsa.midranks(given))
            )
            assert row[s] == pytest.approx(naive.r2(x, y), rel=1e-9)


def test_nonnegative_subsets_equal_scipy(groups, data):
    data = data - 3 * groups[0]
    found = partition_variance(groups, data, nonnegative=True)
    for subset, row in zip(found.subsets, found.r2, strict=True):
        x = np.concatenate([groups[g] for g in subset]).T
        for s, given in enumerate(data):
            y = (given - given.mean()) / given.std()
            assert row[s] == pytest.approx(1 - nnls(x - x.mean(axis=0), y)[1] ** 2 / N, abs=1e-10)
    assert found.r2.min() >= -1e-12


@pytest.mark.parametrize("held_out", [False, True])
def test_parts_sum_to_the_whole_and_to_each_subset(groups, data, held_out):
    splits = cross([(np.arange(5), np.arange(5, K)), (np.arange(4, K), np.arange(4))], 4, 2) if held_out else None
    found = partition_variance(groups, data, splits=splits)
    np.testing.assert_allclose(found.parts.sum(axis=0), found.r2[-1], rtol=1e-10)
    for subset, row in zip(found.subsets, found.r2, strict=True):
        inside = [found.parts[r] for r, other in enumerate(found.subsets) if set(other) & set(subset)]
        np.testing.assert_allclose(np.sum(inside, axis=0), row, rtol=1e-9, atol=1e-12)
    for g in range(3):
        np.testing.assert_allclose(found.unique[g], found.parts[g])


def test_held_out_equals_plain_loops(groups, data):
    splits = cross([(np.arange(5), np.arange(5, K)), (np.arange(4, K), np.arange(4))], 4, 2, seed=1)
    found = partition_variance(groups, data, splits=splits)
    for subset, row in zip(found.subsets, found.r2, strict=True):
        chosen = np.concatenate([groups[g] for g in subset])
        table = np.full((4, 4), np.nan)
        for f, split in enumerate(splits):
            table[f, split.test_rdms] = naive.held_out_r2(chosen, data, split, K)
        np.testing.assert_allclose(row, np.nanmean(table, axis=0), rtol=1e-8, atol=1e-10)


def test_two_models_by_hand():
    """R^2 of orthogonal models add up: 9/14 and 4/14 of a variance of 9 + 4 + 1."""
    basis = np.linalg.qr(np.column_stack([np.ones(6), np.eye(6)[:, :5]]))[0].T
    a, b, rest = basis[1:4]
    found = partition_variance([a[None], b[None]], (3 * a + 2 * b + rest)[None])
    np.testing.assert_allclose(found.r2[:, 0], [9 / 14, 4 / 14, 13 / 14])
    np.testing.assert_allclose(found.parts[:, 0], [9 / 14, 4 / 14, 0], atol=1e-12)
    same = partition_variance([a[None], a[None]], (3 * a + 2 * b + rest)[None])
    np.testing.assert_allclose(same.parts[:, 0], [0, 0, 9 / 14], atol=1e-12)


def test_noise_models_explain_nothing_that_is_held_out(rng):
    held = []
    for seed in range(20):
        models = {name: rng.random(190) for name in "abc"}
        found = rc.variance_partitioning(rng.random((4, 190)), models, seed=seed)
        held.append(float(found["r2"][-1].mean()))
        own = rc.variance_partitioning(rng.random((1, 190)), models, cross_validated=False)
        assert own["r2"][-1] > 0
    assert np.mean(held) < 0


def test_a_constant_model_in_a_fold_explains_nothing_there(rng):
    labels = rc.rdm_models.from_categories(np.repeat(np.arange(4), 3))
    splits = [(np.arange(6), np.arange(6, 12)), (np.arange(3, 12), np.arange(3))]
    found = partition_variance([labels[None]], rng.random((1, 66)), splits=cross(splits, 1, 1))
    assert np.isfinite(found.r2).all()


def test_six_groups(rng):
    models = {name: rng.random(66) for name in "abcdef"}
    found = rc.variance_partitioning(rng.random((3, 66)), models)
    assert found.sizes["subset"] == 63
    np.testing.assert_allclose(
        found["part"].sum("subset").values, found["r2"].sel(subset="a + b + c + d + e + f").values
    )
    assert found["member"].sel(subset="b + e").values.tolist() == [False, True, False, False, True, False]
    with pytest.raises(MeasureError, match="7 groups"):
        rc.variance_partitioning(rng.random(66), models | {"g": rng.random(66)})


def test_subsets_are_all_there():
    assert len(all_subsets(6)) == 63 and len(set(all_subsets(6))) == 63


def test_labels_decide_alignment(rng, groups, data):
    names = np.array([f"s{i}" for i in range(K)])
    order = rng.permutation(K)
    sets = rdm_set(data, stimulus=names)
    models = {f"m{g}": rdm_set(rows, stimulus=names) for g, rows in enumerate(groups)}
    first = rc.variance_partitioning(sets, models)
    models["m1"] = select_stimuli(models["m1"], names[order])
    other = rc.variance_partitioning(select_stimuli(sets, names[order[::-1]]), models)
    np.testing.assert_allclose(first["part"].values, other["part"].values, rtol=1e-8, atol=1e-12)
    one_each = rc.variance_partitioning(sets, rdm_set(np.concatenate(groups[:2]), stimulus=names, rdm=["x", "y", "z"]))
    assert one_each["model"].values.tolist() == ["x", "y", "z"]
    with pytest.raises(AlignmentError):
        rc.variance_partitioning(select_stimuli(sets, names[1:]), models)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda d, m: (d, {}), MeasureError, "0 groups of models"),
        (lambda d, m: (d, {"a": m[0], "b": m[1], "a + b": m[0] + m[1][0]}), SchemaError, "'a . b' would be the name"),
        (lambda d, m: (d, [m[0]]), SchemaError, "mapping"),
        (lambda d, m: (d, {"a": m[0][:, :28]}), AlignmentError, "other numbers of pairs"),
        (lambda d, m: (d, {"a": np.where(np.arange(N) > 1, np.nan, m[0])}), MeasureError, "models: 2 pairs of stimuli"),
        (lambda d, m: (np.where(d > d.mean(), np.nan, d), {"a": m[0]}), MeasureError, "fewer than 3 pairs"),
        (lambda d, m: (np.ones_like(d), {"a": m[0]}), MeasureError, "data RDM 0 is constant"),
        (lambda d, m: (d, {"a": np.ones((1, N))}), MeasureError, "model RDM 0 is constant"),
    ],
)
def test_messages(groups, data, change, error, message):
    given, models = change(data, groups)
    with pytest.raises(error, match=message):
        rc.variance_partitioning(given, models)
