"""Inputs of decoding that once gave a number without meaning, or an error that was not about them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold

import repcompare as rc
from repcompare.errors import AlignmentError, OptionError, SchemaError

N = 36
KIND = np.tile(["face", "house", "shoe"], N // 3)


def responses(seed=0, p=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, p)) + np.eye(3)[np.arange(N) % 3] @ rng.normal(size=(3, p))


def named(x, order=slice(None)):
    names = np.array([f"s{i:02}" for i in range(len(x))])
    return rc.representation(x[order], stimulus=names[order], stimulus_kind=KIND[: len(x)][order])


@pytest.mark.parametrize(
    "folds", [N, KFold(N), [(np.delete(np.arange(N), i), [i]) for i in range(N)]], ids=["number", "splitter", "rows"]
)
def test_leave_one_out_is_refused_by_whatever_name(folds):
    """A majority vote scores 0 there."""
    noise = np.random.default_rng(0).normal(size=(N, 4))
    with pytest.raises(OptionError, match="leaves out one row at a time"):
        rc.decode(noise, KIND, folds=folds)
    assert len(rc.decode(noise, KIND, folds=folds, force="leave_one_out").folds) == N


def test_leaving_out_one_group_of_a_class_is_refused_by_number():
    groups = np.repeat(np.arange(12), 3)
    labels = (groups % 2).astype(str)
    with pytest.raises(OptionError, match="one group of a single class"):
        rc.decode(responses(), labels, groups=groups, folds=12)
    assert len(rc.decode(responses(), labels, groups=groups, folds=4).folds) == 4


def test_a_masked_value_is_missing():
    x = np.ma.masked_array(responses(), mask=False)
    x[2, 1] = np.ma.masked
    found = rc.decode(x, KIND, model="ridge", nan="drop_units")
    assert found.score == rc.decode(np.delete(responses(), 1, axis=1), KIND, model="ridge").score
    labels = np.ma.masked_array(np.arange(N) % 2, mask=np.arange(N) == 5)
    with pytest.raises(AlignmentError, match="1 rows have no label, first row 5"):
        rc.decode(responses(), labels)
    with pytest.raises(AlignmentError, match="1 rows have no label, first row 5"):
        rc.label_target(named(responses()), {"odd": labels})
    with pytest.raises(AlignmentError, match="1 rows have no finite label"):
        rc.decode(responses(), labels, model="ridge_regression")


def test_labels_that_are_not_available_and_bytes():
    labels = pd.array(KIND, dtype="string").copy()
    labels[3] = pd.NA
    with pytest.raises(AlignmentError, match="1 rows have no label, first row 3"):
        rc.decode(responses(), labels)
    dates = np.array(["2020-01-01", "2021-01-01"], dtype="M8[ns]")[np.arange(N) % 2]
    dates[4] = np.datetime64("NaT")
    with pytest.raises(AlignmentError, match="1 rows have no label, first row 4"):
        rc.decode(responses(), dates)
    assert rc.decode(responses(), KIND.astype("S")).classes.tolist() == ["face", "house", "shoe"]


def test_rows_of_different_lengths_are_named():
    with pytest.raises(SchemaError, match="same length"):
        rc.decode([[1.0, 2.0], [3.0]], ["a", "b"])


@pytest.mark.parametrize("kind", ["arrays", "representations"])
def test_units_dropped_from_either_system_are_dropped_from_both(kind):
    """Unit 1 is missing here and unit 4 there: without them the others would be compared with their neighbours."""
    x, y = responses(), responses()
    x[2, 1], y[7, 4] = np.nan, np.nan
    left = np.delete(responses(), [1, 4], axis=1)
    sides = (x, y, left) if kind == "arrays" else tuple(named(v) for v in (x, y, left))
    labels = KIND if kind == "arrays" else "stimulus_kind"
    found = rc.decode(sides[0], labels, model="ridge", test=(sides[1], labels), nan="drop_units")
    clean = rc.decode(sides[2], labels, model="ridge", test=(sides[2], labels))
    assert (found.confusion == clean.confusion).all()
    assert found.counts["units_dropped"] == 2


def test_units_dropped_do_not_hide_that_there_were_others():
    x = responses()
    x[2, 1] = np.nan
    with pytest.raises(AlignmentError, match="x has 6 units and the test source 5"):
        rc.decode(x, KIND, test=(responses(p=5), KIND), nan="drop_units")


def test_rows_dropped_from_either_array_are_dropped_from_both():
    x, y = responses(), responses()
    labels = np.repeat(["a", "b", "c"], N // 3)  # the same after a shift by one row
    x[2], y[7] = np.nan, np.nan
    left = np.delete(np.arange(N), [2, 7])
    found = rc.decode(x, labels, test=(y, labels), nan="drop_stimuli", alpha=0.1, align="procrustes")
    clean = rc.decode(x[left], labels[left], test=(x[left], labels[left]), alpha=0.1, align="procrustes")
    assert (found.confusion == clean.confusion).all()
    tested = np.sort(np.concatenate([test for _, test in found.folds.splits]))
    assert tested.tolist() == left.tolist()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"code_length": True}, "for one system"),
        ({"generalize": True}, "for one system"),
        ({"controls": 3, "types": "stimulus_kind"}, "takes no types="),
        ({"folds": [(np.arange(12, N), np.arange(12)), (np.arange(12), np.arange(12, N))]}, "not rows"),
    ],
)
def test_options_that_another_system_does_not_take(options, match):
    ds = named(responses())
    with pytest.raises(OptionError, match=match):
        rc.decode(ds, "stimulus_kind", test=(ds, "stimulus_kind"), **options)


def test_a_searchlight_does_not_look_at_units_outside_its_mask():
    places = np.indices((3, 3, 2)).reshape(3, -1).T
    values = responses(p=len(places))
    values[:, 0] = np.nan  # a corner of the volume lies outside the brain
    mask = np.arange(len(places)) > 0
    how = {"labels": KIND, "radius": 1.5, "min_units": 4, "progress": False}
    found = rc.searchlight((values, places), mask=mask, **how)
    inside = rc.searchlight((values[:, 1:], places[1:]), **how)
    np.testing.assert_array_equal(found.score, inside.score)
