"""Variance partitioning of encoders: sums that must hold, sub-models by themselves, and known components."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.functional.encoding_partition import encode_partition
from repcompare.measures.encoding import partition
from repcompare.measures.encoding.banded import banded_ridge
from repcompare.measures.encoding.partition import commonalities, partition_encoding
from repcompare.measures.encoding.ridge import ridge
from repcompare.measures.rsa import partitioning
from tests import naive_banded as naive
from tests.measures.test_banded import ALPHAS, CODES, data, make_folds, run


def naive_common(r2, m):
    """The sum of the definition, term by term; ``r2`` by frozenset of bands."""
    found = {}
    everything = frozenset(range(m))
    for size in range(1, m + 1):
        for a in combinations(range(m), size):
            found[a] = 0.0
            for inside in range(len(a) + 1):
                for b in combinations(a, inside):
                    found[a] += (-1) ** (len(b) + 1) * r2[(everything - frozenset(a)) | frozenset(b)]
    return found


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_commonalities_equal_their_definition_and_sum_to_the_whole(m):
    rng = np.random.default_rng(m)
    subsets = partitioning.all_subsets(m)
    r2 = rng.random((len(subsets), 4))
    found = commonalities(r2, subsets)
    for u in range(4):
        by_set = {frozenset(s): r2[i, u] for i, s in enumerate(subsets)} | {frozenset(): 0.0}
        expected = naive_common(by_set, m)
        np.testing.assert_allclose(found[:, u], [expected[s] for s in subsets], atol=1e-13)
    np.testing.assert_allclose(found.sum(axis=0), r2[-1], rtol=1e-12)
    np.testing.assert_allclose(found, partitioning.parts_matrix(subsets) @ r2, atol=1e-13)


@pytest.mark.parametrize("model", ["ridge", "banded_ridge"])
@pytest.mark.parametrize("width", [6, 60])
def test_every_sub_model_is_its_own_model_and_parts_sum(model, width):
    x, y = data(n=40, p=width)
    codes = np.resize(CODES, width)
    folds = make_folds(40)
    found = partition_encoding(x, y, folds, codes, model=model, alphas=ALPHAS, n_iter=5)
    assert len(found.subsets) == 7
    for row, subset in zip(found.r2, found.subsets, strict=True):
        inside = np.isin(codes, subset)
        if model == "ridge":
            alone = ridge(ALPHAS, scoring="r2")
        else:
            alone = banded_ridge(codes[inside], alphas=ALPHAS, n_iter=5, scoring="r2")
        np.testing.assert_allclose(row, run(alone, x[:, inside], y, folds).unit_scores, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.parts.sum(axis=0), found.r2[-1], atol=1e-12)
    np.testing.assert_allclose(found.product.sum(axis=0), found.r2[-1], atol=1e-10)
    np.testing.assert_allclose(found.unique, found.r2[-1] - found.r2[[5, 4, 3]], atol=1e-12)
    assert found.n_negative == (found.parts < 0).sum()


@pytest.mark.parametrize("width", [6, 60])
def test_the_product_measure_equals_plain_loops(width):
    x, y = data(n=40, p=width)
    codes = np.resize(CODES, width)
    folds = make_folds(40)
    found = partition_encoding(x, y, folds, codes, model="ridge", alphas=[3.0])
    top, bottom = np.zeros(3), 0.0
    for train, test in folds.splits:
        _, mean, weights = naive.predict(x, y[:, 1], train, test, np.full(width, 3.0))
        about = x[test] - x[train].mean(axis=0)
        truth = y[test, 1] - mean
        parts = np.array([about[:, codes == b] @ weights[codes == b] for b in range(3)])
        top += (parts * (2 * truth - parts.sum(axis=0))).sum(axis=1)
        bottom += (truth**2).sum()
    np.testing.assert_allclose(found.product[:, 1], top / bottom, rtol=1e-8, atol=1e-10)


def test_standard_errors_are_those_of_leaving_out_each_fold():
    x, y = data(n=40)
    folds = make_folds(40)
    found = partition_encoding(x, y, folds, [0, 0, 0, 1, 1, 1], model="ridge", alphas=[1.0])
    gains = np.zeros((3, 4, 3))
    totals = np.zeros((4, 3))
    for i, columns in enumerate((slice(0, 3), slice(3, 6), slice(0, 6))):
        for f, (train, test) in enumerate(folds.splits):
            for u in range(3):
                guess, mean, _ = naive.predict(x[:, columns], y[:, u], train, test, np.ones(x[:, columns].shape[1]))
                totals[f, u] = ((y[test, u] - mean) ** 2).sum()
                gains[i, f, u] = totals[f, u] - ((y[test, u] - guess) ** 2).sum()
    without = []
    for f in range(4):
        kept = np.delete(np.arange(4), f)
        r2 = gains[:, kept].sum(axis=1) / totals[kept].sum(axis=0)
        without.append([r2[2] - r2[1], r2[2] - r2[0], r2[0] + r2[1] - r2[2]])
    without = np.array(without)
    expected = np.sqrt(3 / 4 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.parts_se, expected, rtol=1e-8)


@pytest.mark.parametrize("small", [False, True])
def test_standard_errors_are_those_of_leaving_out_each_stimulus(monkeypatch, small):
    monkeypatch.setattr(partition, "LEFT_OUT_BYTES", 1 if small else 1 << 26)
    x, y = data(n=40)
    y[:, 2] = 4.0
    folds, codes = make_folds(40), np.array([0, 0, 0, 1, 1, 1])
    found = partition_encoding(x, y, folds, codes, model="ridge", alphas=[1.0], jackknife="stimuli")
    gains, totals = np.zeros((3, 40, 2)), np.zeros((40, 2))
    for i, columns in enumerate((slice(0, 3), slice(3, 6), slice(0, 6))):
        for train, test in folds.splits:
            for u in range(2):
                guess, mean, _ = naive.predict(x[:, columns], y[:, u], train, test, np.ones(x[:, columns].shape[1]))
                totals[test, u] = (y[test, u] - mean) ** 2
                gains[i, test, u] = totals[test, u] - (y[test, u] - guess) ** 2
    moved, r2s = [], []
    for row in range(40):
        kept = np.delete(np.arange(40), row)
        r2 = gains[:, kept].sum(axis=1) / totals[kept].sum(axis=0)
        moved.append([r2[2] - r2[1], r2[2] - r2[0], r2[0] + r2[1] - r2[2]])
        r2s.append(r2)

    def error(values):
        return np.sqrt(39 / 40 * ((values - values.mean(axis=0)) ** 2).sum(axis=0))

    np.testing.assert_allclose(found.parts_se[:, :2], error(np.array(moved)), rtol=1e-8)
    np.testing.assert_allclose(found.r2_se[:, :2], error(np.array(r2s)), rtol=1e-8)
    np.testing.assert_allclose(found.mean_se, error(np.array(moved).mean(axis=2)), rtol=1e-8)
    np.testing.assert_allclose(found.mean_parts, found.parts[:, :2].mean(axis=1), rtol=1e-12)
    assert np.isnan(found.parts_se[:, 2]).all()
    assert np.isnan(found.product[:, 2]).all()
    assert found.n_left_out == 40
    by_folds = partition_encoding(x, y, folds, codes, model="ridge", alphas=[1.0])
    np.testing.assert_allclose(by_folds.parts[:, :2], found.parts[:, :2], rtol=1e-10)
    np.testing.assert_allclose(by_folds.product[:, :2], found.product[:, :2], rtol=1e-10)


def test_intervals_cover_the_estimate_and_widen_with_confidence():
    x, y, _ = labelled(80)
    options = {"bands": "unit_layer", "model": "ridge", "alphas": ALPHAS}
    for jackknife, count in (("folds", 5), ("stimuli", 80)):
        wide, narrow = (encode_partition(x, y, jackknife=jackknife, confidence=c, **options) for c in (0.95, 0.5))
        reach = stats.t.ppf(0.975, count - 1) * wide["part_se"]
        np.testing.assert_allclose(wide["part_high"] - wide["part"], reach, rtol=1e-9)
        np.testing.assert_allclose(wide["part"] - wide["part_low"], reach, rtol=1e-9)
        assert (narrow["part_high"] - narrow["part_low"] < wide["part_high"] - wide["part_low"]).all()
        assert (wide["part_mean_low"] < wide["part_mean"]).all()
    with pytest.raises(OptionError, match="confidence=95"):
        encode_partition(x, y, confidence=95, **options)
    with pytest.raises(OptionError, match="jackknife='units'"):
        encode_partition(x, y, jackknife="units", **options)
    series = [rc.representation(v["response"].values, dims=("time", "unit"), time=np.arange(80.0)) for v in (x, y)]
    with pytest.raises(OptionError, match="rows of a recording depend on each other"):
        encode_partition(*series, jackknife="stimuli", **options | {"bands": [slice(0, 2), slice(2, 6)]})


def test_shared_and_unique_variance_are_found():
    """Bands a = (s, u), b = (s', w): s is known to both, u and w to one; variances 1 each in y."""
    rng = np.random.default_rng(0)
    n = 2000
    s, u, w = rng.normal(size=(3, n, 3))
    x = np.hstack([s, u, s, w])
    y = np.stack([v.sum(axis=1) / np.sqrt(3) for v in (s, u, w)], axis=1) @ np.ones((3, 1)) + rng.normal(size=(n, 1))
    found = partition_encoding(x, y, make_folds(n, 4), [slice(0, 6), slice(6, 12)], model="ridge", alphas=[1e-3, 1.0])
    np.testing.assert_allclose(found.parts[:, 0], 0.25, atol=0.04)


def labelled(n=40):
    x, y = data(n=n)
    stimuli = [f"s{i:03d}" for i in range(n)]
    layers = np.array(["conv", "conv", "conv", "fc", "fc", "out"])
    return rc.representation(x, stimulus=stimuli, unit_layer=layers), rc.representation(y, stimulus=stimuli), layers


def test_representations_give_a_labelled_result():
    x, y, layers = labelled()
    found = encode_partition(x, y, bands="unit_layer", model="ridge", alphas=ALPHAS, folds=4)
    assert isinstance(found, xr.Dataset)
    assert found["component"].values.tolist() == [
        "conv", "fc", "out", "conv + fc", "conv + out", "fc + out", "conv + fc + out",
    ]  # fmt: skip
    assert found["member"].sel(component="conv + out").values.tolist() == [True, False, True]
    assert found["unit_id"].values.tolist() == y["unit_id"].values.tolist()
    arrays = encode_partition(
        x["response"].values, y["response"].values, bands=layers, model="ridge", alphas=ALPHAS, folds=4
    )
    np.testing.assert_allclose(found["part"], arrays["part"], rtol=1e-9)
    assert found.attrs["n_negative"] == int((found["part"] < 0).sum())


def test_delays_of_a_recording_stop_at_its_runs():
    rng = np.random.default_rng(0)
    runs = np.repeat([1, 2, 3, 4], 20)
    x, y = (
        rc.representation(rng.normal(size=(80, k)), dims=("time", "unit"), time=np.arange(80) * 2.0, run=runs)
        for k in (6, 3)
    )
    options = {"bands": CODES, "model": "ridge", "alphas": ALPHAS, "delays": [1, 2]}
    found = encode_partition(x, y, runs="run", **options)
    splits = [(np.flatnonzero(runs != r), np.flatnonzero(runs == r)) for r in range(1, 5)]
    arrays = encode_partition(x["response"].values, y["response"].values, folds=splits, runs=runs, **options)
    np.testing.assert_allclose(found["part"], arrays["part"], rtol=1e-8)
    with pytest.raises(OptionError, match="runs='block': the source has no such label of its time dimension"):
        encode_partition(x, y, runs="block", **options)


def test_a_coordinate_that_does_not_exist_is_named():
    x, y, _ = labelled()
    with pytest.raises(OptionError, match="bands='unit_area': the source has no such label.*'unit_layer'"):
        encode_partition(x, y, bands="unit_area")
    with pytest.raises(OptionError, match="no such label"):
        encode_partition(x["response"].values, y["response"].values, bands="unit_layer")


def test_labels_that_no_longer_match_raise():
    x, y, _ = labelled()
    x["response"].values[0, 0] = np.nan
    with pytest.raises(OptionError, match="6 labels and 5 of them are fitted"):
        encode_partition(x, y, bands="unit_layer", nan="drop_units")
    with pytest.raises(MeasureError, match="1 missing values"):
        encode_partition(x, y, bands="unit_layer")


def test_constant_units_are_counted():
    x, y = data(n=40)
    y[:, 0] = 2.0
    found = partition_encoding(x, y, make_folds(40), CODES, model="ridge", alphas=[1.0])
    assert found.n_constant == 1
    assert np.isnan(found.parts[:, 0]).all()
    assert np.isfinite(found.parts[:, 1:]).all()
    with pytest.raises(MeasureError, match="all 3 target units are constant"):
        partition_encoding(x, np.ones_like(y), make_folds(40), CODES)


def test_wrong_calls_raise():
    x, y = data(n=40, p=9)
    folds = make_folds(40)
    with pytest.raises(MeasureError, match="9 bands have 511 sub-models; expected at most 8"):
        partition_encoding(x, y, folds, np.arange(9))
    with pytest.raises(OptionError, match="leave scoring= out"):
        partition_encoding(x, y, folds, np.arange(9) // 3, scoring="r2")
    with pytest.raises(OptionError, match="did you mean 'banded_ridge'"):
        partition_encoding(x, y, folds, np.arange(9) // 3, model="banded")
    with pytest.raises(MeasureError, match="expected matching rows"):
        partition_encoding(x, y[:-1], folds, np.arange(9) // 3)
