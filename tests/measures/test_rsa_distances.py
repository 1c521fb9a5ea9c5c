"""Distances between patterns: against plain loops, and where arithmetic is hard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repcompare.errors import MeasureError, OptionError
from repcompare.kernels import rdm as kernels
from repcompare.measures.rsa import DISTANCES, _products, rdm
from repcompare.measures.rsa._condensed import condense, count_stimuli, expand, pair_rows, take
from repcompare.measures.rsa._values import _peak
from repcompare.measures.rsa.distances import merge_rounding
from tests import naive_rsa as naive

NAMES = list(DISTANCES)
EUCLIDEAN = ["squared_euclidean", "euclidean"]


def data(k=12, p=30, seed=0, nan=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, p)) + rng.normal(size=p)
    x[rng.random(x.shape) < nan] = np.nan
    return x


def rotation(p, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nan", [0.0, 0.2])
def test_equals_plain_loops(name, nan):
    x = data(nan=nan)
    np.testing.assert_allclose(rdm(x, name, nan="pairwise"), naive.rdm(x, name, 10), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_units_change_nothing(name, monkeypatch):
    whole, with_nan = rdm(data(), name), rdm(data(nan=0.2), name, nan="pairwise")
    monkeypatch.setattr(_products, "BLOCK", 50)
    np.testing.assert_allclose(rdm(data(), name), whole, rtol=1e-12)
    np.testing.assert_allclose(rdm(data(nan=0.2), name, nan="pairwise"), with_nan, rtol=1e-12)


@given(
    seed=st.integers(0, 10**6),
    k=st.integers(3, 9),
    p=st.integers(2, 15),
    name=st.sampled_from(NAMES),
    nan=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_equals_plain_loops(seed, k, p, name, nan):
    x = data(k, p, seed, 0.15 if nan else 0.0)
    expected = naive.rdm(x, name, 2)
    if np.isnan(expected).all():
        return
    np.testing.assert_allclose(
        rdm(x, name, nan="pairwise", min_units=2), expected, rtol=1e-9, atol=1e-12, equal_nan=True
    )


def test_golden():
    x = [[0, 0], [1, 1], [2, 2]]
    assert rdm(x, "squared_euclidean").tolist() == [1, 4, 1]
    assert rdm(x, "squared_euclidean", normalize_units=False).tolist() == [2, 8, 2]
    assert rdm(x, "euclidean").tolist() == [1, 2, 1]
    assert rdm([[1.0, 2, 3], [3.0, 2, 1], [2.0, 4, 6]], "correlation").tolist() == pytest.approx([2, 0, 2])
    assert rdm([[1, 0], [0, 2], [3, 0]], "cosine").tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.float16, np.float32])
def test_other_number_types(dtype):
    x = (data() > 0).astype(dtype)
    x[0] = 0
    np.testing.assert_allclose(rdm(x, "squared_euclidean"), naive.rdm(x.astype(float), "squared_euclidean"), atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_declared_invariances_hold_up_to_one_factor_and_the_others_do_not(name):
    rng = np.random.default_rng(3)
    x = data(10, 20)
    changes = {
        "permutation": x[:, rng.permutation(20)],
        "scaling": 3.7 * x,
        "duplication": np.hstack([x, x]),
        "rotation": x @ rotation(20),
        "translation": x + rng.normal(size=20),
        "pattern_scaling": x * rng.uniform(0.5, 2, size=(10, 1)),
        "pattern_translation": x + rng.normal(size=(10, 1)),
        "unit_scaling": x * rng.uniform(0.5, 2, size=20),
        "affine": x @ rng.normal(size=(20, 20)) + rng.normal(size=20),
    }
    base = rdm(x, name)
    for change, moved in changes.items():
        ratio = rdm(moved, name) / base
        same = bool(np.ptp(ratio) < 1e-9 * ratio.mean())
        assert same == (change in DISTANCES[name].invariant_to), change


@pytest.mark.parametrize("name", EUCLIDEAN)
@pytest.mark.parametrize("nan", [0.0, 0.15])
def test_a_constant_per_unit_changes_nothing(name, nan):
    x = np.round(data(20, 40, nan=nan) * 2**20) / 2**20  # so that adding 1e7 is exact
    base, moved = rdm(x, name, nan="pairwise"), rdm(x + 1e7, name, nan="pairwise")
    np.testing.assert_allclose(moved, base, rtol=1e-8)
    np.testing.assert_allclose(moved, base, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nan", [0.0, 0.1])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e7])
def test_equal_patterns_have_no_distance(name, nan, offset):
    x = data(15, 60, nan=nan) + offset
    x[7] = x[2]
    d = rdm(x, name, nan="pairwise")
    assert expand(d)[2, 7] <= 1e-12 * np.nanmax(d)
    assert expand(d)[2, 7] == 0


@pytest.mark.parametrize("name", ["correlation", "cosine"])
def test_scaled_patterns_have_no_distance(name):
    x = data(15, 61)
    x[7], x[9] = x[2] * 3, x[2] / 7
    if name == "correlation":
        x[9] += 11.3
    square = expand(rdm(x, name))
    assert square[2, 7] == square[2, 9] == square[7, 9] == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("single_from", [0, 2**32])
def test_float32_with_an_offset_agrees_with_its_float64_cast(name, single_from, monkeypatch):
    monkeypatch.setattr(_products, "SINGLE_FROM", single_from)
    x = (data(40, 200) + 1e3).astype(np.float32)
    x[5] = x[9]
    d, exact = rdm(x, name), rdm(x.astype(np.float64), name)
    np.testing.assert_allclose(d, exact, rtol=1e-5, atol=1e-12 * exact.max())
    assert expand(d)[5, 9] == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_categorical_model_is_tied(name, dtype):
    labels = np.random.default_rng(5).integers(0, 7, size=60)
    model = np.eye(7, dtype=dtype)[labels] * 0.3
    d = rdm(model, name)
    assert np.unique(d).size == 2
    first, second = np.triu_indices(60, 1)
    np.testing.assert_array_equal(d == 0, labels[first] == labels[second])


def test_small_distances_survive_beside_an_outlier():
    x = data(12, 30)
    x[4] *= 1e7
    np.testing.assert_allclose(rdm(x, "squared_euclidean"), naive.rdm(x, "squared_euclidean"), rtol=1e-9)
    others = np.delete(np.arange(12), 4)
    assert np.unique(take(rdm(x, "squared_euclidean"), others)).size == 55


def test_merging_keeps_nan_and_true_differences():
    d = np.array([1.0, 1 + 1e-14, np.nan, 1.001, 0.0, 1e-30, 2.0])
    merged = merge_rounding(d)
    assert merged[0] == merged[1]
    np.testing.assert_array_equal(merged[[2, 3, 4, 5, 6]], d[[2, 3, 4, 5, 6]])
    assert merge_rounding(np.array([np.nan])).size == 1


def test_patterns_without_variance_are_named():
    x = data()
    x[3], x[7] = 0.1, 1e7
    with pytest.raises(MeasureError, match=r"stimulus rows \[3, 7\] have zero variance"):
        rdm(x)
    with pytest.raises(MeasureError, match=r"stimulus rows \[3, 7\] have zero variance"):
        rdm(x.astype(np.float32))
    x[3] = 0
    with pytest.raises(MeasureError, match=r"stimulus rows \[3\] have zero responses"):
        rdm(x, "cosine")
    assert np.isfinite(rdm(x, "euclidean")).all()


def test_missing_values_raise_unless_they_are_declared():
    x = data(nan=0.1)
    with pytest.raises(MeasureError, match=r"missing values \(NaN\); take nan='pairwise'"):
        rdm(x)
    assert np.isfinite(rdm(x, nan="pairwise")).all()


@pytest.mark.parametrize("name", NAMES)
def test_pairs_that_share_too_little_are_missing(name):
    x = data(8, 30)
    x[0, :22] = np.nan  # 8 units left
    x[1, 15:] = np.nan  # with row 2: 15 units; with row 0: none
    d = expand(rdm(x, name, nan="pairwise"))
    assert np.isnan(d[0, 1:]).all()
    assert np.isfinite(d[1:, 1:]).all()
    assert np.isfinite(expand(rdm(x, name, nan="pairwise", min_units=8))[0, 2:]).all()
    x[0] = np.nan
    assert np.isnan(expand(rdm(x, name, nan="pairwise"))[0, 1:]).all()


def test_pairs_without_common_variance_are_missing():
    x = data(6, 40)
    x[0, :20] = 1.7  # flat where row 1 is present
    x[1, 20:] = np.nan
    d = expand(rdm(x, nan="pairwise"))
    assert np.isnan(d[0, 1])
    assert np.isfinite(d[0, 2:]).all()


def test_nothing_in_common_raises():
    with pytest.raises(MeasureError, match=r"no pair of stimuli has 10 units"):
        rdm(data(5, 6, nan=0.3), nan="pairwise")


def test_sums_over_missing_units_are_scaled_to_all_units():
    x = data(6, 30, nan=0.2)
    mean = rdm(x, "squared_euclidean", nan="pairwise")
    np.testing.assert_allclose(rdm(x, "squared_euclidean", nan="pairwise", normalize_units=False), 30 * mean)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 0)), "shape"),
        (np.zeros((1, 4)), "2 stimuli or more"),
        (np.zeros(4), "shape"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([[1j, 1], [0, 1]]), "real numbers"),
        (np.array([[np.inf, 1], [0, 1]]), "1 infinite"),
        (np.array([[np.inf, np.nan], [0, 1]]), "NaN|infinite"),
        (np.array([[1e200, 1], [0, 1]]), "out of range"),
        (np.array([[1e-200, 1e-201], [0, 0]]), "out of range"),
    ],
)
def test_values_that_have_no_distances(values, message):
    with pytest.raises(MeasureError, match=message):
        rdm(values, "euclidean")


def test_options_off_the_menu():
    with pytest.raises(OptionError, match=r"did you mean 'euclidean'"):
        rdm(data(), "euclidian")
    with pytest.raises(OptionError, match="nan="):
        rdm(data(), nan="drop")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="min_units=0"):
        rdm(data(), min_units=0)


def test_the_input_is_left_alone():
    x = data(nan=0.1)
    kept = x.copy()
    for name in NAMES:
        rdm(x, name, nan="pairwise")
    np.testing.assert_array_equal(x, kept)


@given(k=st.integers(2, 12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_condensed_vectors_are_the_upper_triangle_in_row_order(k, seed):
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(k, k))
    square += square.T
    first, second = np.triu_indices(k, 1)
    vector = condense(square)
    np.testing.assert_array_equal(vector, square[first, second])
    np.testing.assert_array_equal(expand(vector)[first, second], vector)
    assert count_stimuli(vector.size) == k
    i, j = pair_rows(np.arange(vector.size), k)
    np.testing.assert_array_equal(i, first)
    np.testing.assert_array_equal(j, second)
    rows = rng.permutation(k)[: max(2, k - 1)]
    np.testing.assert_array_equal(take(vector, rows), condense(square[np.ix_(rows, rows)]))


def test_pairs_of_one_stimulus_are_missing():
    np.testing.assert_array_equal(take(np.array([1.0, 4.0, 2.0]), np.array([0, 0, 2])), [np.nan, 4, 4])


@pytest.mark.parametrize("n", [0, 2, 4, 5, 7])
def test_lengths_that_are_no_triangle(n):
    with pytest.raises(MeasureError, match=r"K\(K-1\)/2"):
        count_stimuli(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_value_is_found_in_every_layout(dtype):
    x = np.random.default_rng(21).normal(size=(9, 14)).astype(dtype)
    x[7, 13] = -8.5
    for bad in (-8.5, np.inf, -np.inf, np.nan, -np.nan):
        for where in ((0, 0), (4, 6), (8, 12)):
            given = x.copy()
            given[where] = bad
            expected = float(np.abs(given).max())
            frozen = given.copy()
            frozen.setflags(write=False)
            for view in (given, given.T, np.asfortranarray(given), given[::2], frozen):
                np.testing.assert_equal(_peak(view), np.abs(view).max() if view.shape[0] == 5 else expected)
    assert _peak(-np.zeros((2, 3), dtype)) == 0.0
    words = np.array([3, 2**31 + 7, 5], dtype=np.uint32)  # the first bit is the sign
    assert kernels.largest_word(words, np.uint32(2**31 - 1)) == 7
    assert kernels.largest_word.py_func(words, np.uint32(2**31 - 1)) == 7


def test_kernels_compiled_and_as_python():
    rng = np.random.default_rng(20)
    x = rng.normal(size=(6, 9))
    gram = x @ x.T
    gram[0, 1] = (gram[0, 0] + gram[1, 1]) / 2  # lost to subtraction
    ordered = np.sort(np.concatenate([rng.random(20), [0.5, 0.5 + 1e-15, 0.5 + 2e-15, 0.7, 0.7]]))
    results = []
    for run in (lambda f: f, lambda f: f.py_func):
        block, distance, mean, square = np.empty((6, 4)), np.empty(15), np.zeros(6), np.empty(6)
        run(kernels.pattern_block)(x, 2, 6, np.ones(6), np.arange(1.0, 7), block)
        near = run(kernels.gram_distances)(gram, 0.5, 1e-3, distance)
        run(kernels.row_moments)(x, True, mean, square)
        low, high, joined = np.full(3, np.nan), np.full(3, np.nan), np.empty(26)
        count = run(kernels.close_runs)(ordered, 1e-13, 1e-12, low, high)
        run(kernels.join_runs)(np.append(ordered, np.nan), low[:count], high[:count], joined)
        results.append([block, distance, mean, square, low, high, joined, np.array([near, count])])
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-13, atol=1e-15)
    assert np.isnan(results[0][1]).sum() == results[0][-1][0] >= 1
    assert results[0][-1][1] == 1 and (joined == 0.5).sum() == 3
    np.testing.assert_allclose(results[0][2], x.mean(axis=1), rtol=1e-12)


def test_many_runs_of_rounding_are_joined():
    base = np.repeat(np.arange(1.0, 201), 3)
    noisy = np.random.default_rng(21).permutation(base * (1 + np.tile([0, 2e-16, 4e-16], 200)))
    merged = merge_rounding(noisy)
    assert np.unique(noisy).size > 200
    assert np.unique(merged).size == 200
    np.testing.assert_allclose(merged, noisy, rtol=1e-15)
