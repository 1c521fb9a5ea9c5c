"""The direct functions: arrays and representations, policies for missing values, errors."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError

NAMES = [f"s{i:02d}" for i in range(30)]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 4))
    return z @ rng.normal(size=(4, 6)) + rng.normal(size=(30, 6)), z @ rng.normal(size=(4, 5)) + rng.normal(
        size=(30, 5)
    )


FUNCTIONS = {"cka": rc.cka, "rsa": rc.rsa, "procrustes": rc.procrustes, "cca": rc.cca}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_labels_decide_for_representations_and_rows_for_arrays(pair, name):
    x, y = pair
    function = FUNCTIONS[name]
    order = np.random.default_rng(1).permutation(30)
    a = rc.representation(x, stimulus=NAMES)
    b = rc.representation(y[order], stimulus=np.array(NAMES)[order])
    assert function(a, b) == pytest.approx(function(x, y), abs=1e-12)
    assert abs(function(x, y[order]) - function(x, y)) > 1e-3
    assert isinstance(function(x, y), float)


def test_lists_and_integers_are_accepted():
    assert rc.cka([[1, 2], [3, 4], [5, 7], [1, 1]], [[1], [2], [3], [1]]) > 0.5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_policies_for_missing_values(pair, name):
    x, y = pair
    x = x.copy()
    x[4, 2] = np.nan
    function = FUNCTIONS[name]
    with pytest.raises(MeasureError, match="missing values"):
        function(x, y)
    assert function(x, y, nan="drop_units") == pytest.approx(function(np.delete(x, 2, 1), y), abs=1e-12)
    expected = function(np.delete(x, 4, 0), np.delete(y, 4, 0))
    assert function(x, y, nan="drop_stimuli") == pytest.approx(expected, abs=1e-12)
    if name != "rsa":
        with pytest.raises(OptionError, match="no form for missing values"):
            function(x, y, nan="pairwise")


def test_rsa_pairwise(pair):
    x, y = pair
    x = np.concatenate([x, x[:, ::-1] ** 2], axis=1)
    x[4, 2] = np.nan
    assert -1 < rc.rsa(x, y, nan="pairwise") < 1
    with pytest.raises(OptionError, match="did you mean 'pairwise'"):
        rc.rsa(x, y, nan="pairwis")


def test_mixing_labels_and_arrays_raises(pair):
    x, y = pair
    with pytest.raises(SchemaError, match="one side has labels"):
        rc.cka(rc.representation(x, stimulus=NAMES), y)
    with pytest.raises(AlignmentError, match=r"shape \(30, 6\), y \(29, 5\)"):
        rc.cka(x, y[1:])
    with pytest.raises(SchemaError, match="expected numbers"):
        rc.cka(x, [["a"], ["b"]])
    with pytest.raises(SchemaError, match="x is a dict"):
        rc.cka({"a": x}, y)
    with pytest.raises(AlignmentError, match="'s29'"):
        rc.cka(rc.representation(x, stimulus=NAMES), rc.representation(y[:-1], stimulus=NAMES[:-1]))


def test_repeats_estimator_takes_both_forms(pair):
    rng = np.random.default_rng(2)
    x, y = (v + 0.5 * rng.normal(size=(3, *v.shape)) for v in pair)
    a, b = (
        rc.representation(
            v.reshape(90, -1), dims=("presentation", "unit"), stimulus_id=NAMES * 3, repeat=np.repeat(range(3), 30)
        )
        for v in (x, y)
    )
    assert rc.cka(a, b, estimator="repeats") == pytest.approx(rc.cka(x, y, estimator="repeats"), abs=1e-12)
    assert rc.cka(a, b) == pytest.approx(rc.cka(x.mean(0), y.mean(0)), abs=1e-12)


class TestRdm:
    def test_arrays(self, pair):
        x, _ = pair
        pairs = rc.rdm(x)
        square = rc.rdm(x, condensed=False)
        np.testing.assert_allclose(square, 1 - np.corrcoef(x), atol=1e-12)
        np.testing.assert_array_equal(pairs, square[np.triu_indices(30, 1)])

    def test_representations_keep_their_labels_in_the_order_of_the_data(self, pair):
        x, _ = pair
        ds = rc.representation(x, stimulus=NAMES[::-1])
        square = rc.rdm(ds, distance="euclidean", condensed=False)
        assert square.stimulus.values.tolist() == NAMES[::-1]
        assert square.dissimilarity.sel(stimulus="s29", stimulus_b="s28").item() == pytest.approx(
            np.sqrt(np.mean((x[0] - x[1]) ** 2)), abs=1e-12
        )
        condensed = rc.rdm(ds)
        assert condensed.stimulus_a.values[0] == "s29"
        assert condensed.attrs["distance"] == "correlation"

    def test_repeats_are_averaged(self, pair):
        x, _ = pair
        trials = rc.representation(
            np.concatenate([x - 1, x + 1]),
            dims=("presentation", "unit"),
            stimulus_id=NAMES * 2,
            repeat=[0] * 30 + [1] * 30,
        )
        np.testing.assert_allclose(rc.rdm(trials).dissimilarity, rc.rdm(x), atol=1e-12)

    def test_compare(self, pair):
        x, y = (rc.representation(v, stimulus=NAMES) for v in pair)
        assert rc.compare_rdms(rc.rdm(x), rc.rdm(y)) == pytest.approx(rc.rsa(x, y), abs=1e-12)
        turned = rc.rdm(y.isel(stimulus=slice(None, None, -1)))
        assert rc.compare_rdms(rc.rdm(x), turned) == pytest.approx(rc.rsa(x, y), abs=1e-12)
        with pytest.raises(AlignmentError, match="b lacks"):
            rc.compare_rdms(rc.rdm(x), rc.rdm(y.isel(stimulus=slice(5, None))))
        with pytest.raises(SchemaError, match="expected .rdm,. .time,. pair"):
            rc.compare_rdms(rc.rdm(x, condensed=False), rc.rdm(y))


class TestEncode:
    def test_groups_by_name_and_by_array(self, pair):
        x, y = pair
        category = np.repeat(range(10), 3).astype(str)
        a = rc.representation(x, stimulus=NAMES, stimulus_category=category)
        b = rc.representation(y, stimulus=NAMES)
        by_name = rc.encode(a, b, groups="stimulus_category")
        by_array = rc.encode(x, y, groups=category)
        assert by_name.score == pytest.approx(by_array.score, abs=1e-12)
        for train, test in by_name.folds.splits:
            assert not set(category[train]) & set(category[test])
        with pytest.raises(OptionError, match="groups='run'"):
            rc.encode(a, b, groups="run")

    def test_groups_follow_dropped_stimuli(self, pair):
        x, y = pair
        y = y.copy()
        y[3, 0] = np.nan
        category = np.repeat(range(10), 3).astype(str)
        kept = np.delete(np.arange(30), 3)
        dropped = rc.encode(x, y, groups=category, nan="drop_stimuli")
        assert dropped.score == pytest.approx(rc.encode(x[kept], y[kept], groups=category[kept]).score, abs=1e-12)

    def test_pairwise_and_errors(self, pair):
        x, y = pair
        y = y.copy()
        y[3, 0] = np.nan
        assert np.isfinite(rc.encode(x, y, nan="pairwise").score)
        with pytest.raises(MeasureError, match="missing values"):
            rc.encode(x, y)
        with pytest.raises(OptionError, match="gap=-1"):
            rc.encode(x, y, gap=-1)
        with pytest.raises(OptionError, match="model='lasso'"):
            rc.encode(x, x, model="lasso")

    def test_a_continuous_recording_needs_a_gap(self):
        rng = np.random.default_rng(0)
        series = [
            rc.representation(rng.normal(size=(80, 3)), dims=("time", "unit"), time=np.arange(80) * 2.0)
            for _ in range(2)
        ]
        assert rc.encode(*series).gap >= 1  # measured
        folds = rc.encode(*series, gap=5).folds
        for train, test in folds.splits:
            assert min(abs(a - b) for a in train for b in test) > 5
