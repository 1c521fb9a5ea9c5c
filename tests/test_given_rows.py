"""Rows that a user numbers, and the order of time: what must not depend on the order of a file."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

import repcompare as rc
from repcompare.errors import AlignmentError, SchemaError
from repcompare.statistics.folds import make_folds

N = 45
NAMES = np.array([f"image{i}" for i in range(N)])  # sorted as text: image10 before image2


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 5))
    y = x[:, :3] + 2 * rng.normal(size=(N, 3))
    order = rng.permutation(N)
    return x[order], y[order], NAMES[order]


def sides(x, y, names):
    return rc.representation(x, stimulus=names), rc.representation(y, stimulus=names)


def thirds():
    rows = np.arange(N)
    return [(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)]


class TestFolds:
    def test_given_folds_number_the_rows_of_the_input(self, data):
        plain = rc.encode(*data[:2], folds=thirds())
        named = rc.encode(*sides(*data), folds=thirds())
        np.testing.assert_allclose(named.unit_scores, plain.unit_scores, rtol=0, atol=1e-12)
        assert [t.tolist() for _, t in named.folds.splits] == [t.tolist() for _, t in thirds()]
        for found in (
            rc.encode(*sides(*data), folds=thirds(), memory="600MB", progress=False).score,
            rc.compare(*sides(*data), measures="ridge", folds=thirds(), progress=False).score.item(),
        ):
            np.testing.assert_allclose(found, plain.score, rtol=0, atol=1e-12)

    def test_given_folds_of_measures_with_a_fit(self, data):
        plain = rc.cca(*data[:2], folds=thirds())
        named = rc.cca(*sides(*data), folds=thirds())
        table = rc.compare(*sides(*data), measures="cca", folds=thirds(), progress=False)
        np.testing.assert_allclose([named, table.score.item()], plain, rtol=0, atol=1e-12)

    def test_masks_are_rows_too(self, data):
        masks = [(np.isin(np.arange(N), a), np.isin(np.arange(N), b)) for a, b in thirds()]
        found = rc.encode(*sides(*data), folds=masks)
        np.testing.assert_array_equal(found.unit_scores, rc.encode(*sides(*data), folds=thirds()).unit_scores)
        with pytest.raises(AlignmentError, match="mask of shape"):
            rc.encode(*sides(*data), folds=[(a[1:], b[1:]) for a, b in masks])

    def test_the_folds_of_a_result_can_be_given_again(self, data):
        for options in ({}, {"folds": KFold(4)}, {"memory": "600MB", "progress": False}):
            first = rc.encode(*sides(*data), **options)
            second = rc.encode(*sides(*data), folds=first.folds.splits)
            np.testing.assert_allclose(second.unit_scores, first.unit_scores, rtol=0, atol=1e-12)

    def test_rows_that_are_dropped_leave_the_others_their_numbers(self, data):
        x, y, names = data
        y[3, 0] = np.nan
        kept = np.delete(np.arange(N), 3)
        place = {row: i for i, row in enumerate(kept.tolist())}
        left = [tuple([place[i] for i in side.tolist() if i != 3] for side in pair) for pair in thirds()]
        expected = rc.encode(x[kept], y[kept], folds=left)
        for pair in ((x, y), sides(x, y, names)):
            for more in ({}, {"memory": "600MB", "progress": False}):
                found = rc.encode(*pair, folds=thirds(), nan="drop_stimuli", **more)
                np.testing.assert_allclose(found.unit_scores, expected.unit_scores, rtol=0, atol=1e-12)
                assert [t.tolist() for _, t in found.folds.splits] == [[i for i in t if i != 3] for _, t in thirds()]

    def test_two_orders_have_no_numbers(self, data):
        x, y = sides(*data)
        other = y.isel(stimulus=slice(None, None, -1))
        assert rc.encode(x, other).score == rc.encode(x, y).score
        for call in (rc.encode, rc.cca, lambda a, b, **k: rc.compare(a, b, measures="ridge", progress=False, **k)):
            with pytest.raises(AlignmentError, match="folds= numbers rows, and the rows of the sides are in different"):
                call(x, other, folds=thirds())
        with pytest.raises(AlignmentError, match="groups= numbers rows"):
            rc.encode(x, other, groups=np.arange(N) // 9)
        with pytest.raises(AlignmentError, match="folds name rows 10 to 45; expected 0 to 44"):
            rc.encode(x, y, folds=[(np.arange(10), np.arange(10, 46))])


@pytest.mark.parametrize("more", [{}, {"memory": "600MB", "progress": False}])
def test_groups_given_one_per_row_stay_with_their_rows(data, more):
    x, y = sides(*data)
    groups = np.arange(N) // 5
    found = rc.encode(x, y, groups=groups, folds=3, **more)
    named = rc.encode(x.assign_coords(stimulus_g=("stimulus", groups)), y, groups="stimulus_g", folds=3, **more)
    np.testing.assert_array_equal(found.unit_scores, named.unit_scores)
    for train, test in found.folds.splits:
        assert not set(groups[train]) & set(groups[test])


# time


def moments(values, **more):
    return rc.representation(values, dims=("time", "unit"), time=2.0 * np.arange(len(values)), **more)


@pytest.fixture
def recordings():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 3))
    y = np.vstack([np.zeros((1, 2)), x[:-1, :2]]) + rng.normal(size=(120, 2))
    return moments(x), moments(y), rng.permutation(120)


def test_moments_out_of_order_are_refused(recordings):
    """They were taken for neighbours in time: blocks leaked, and delays reached to any row."""
    x, y, order = recordings
    message = r"time: goes from .* at position \d+; expected increasing times within a run; sort the samples"
    for pair in ((x.isel(time=order), y), (x, y.isel(time=order))):
        for call in (
            lambda a, b: rc.encode(a, b),
            lambda a, b: rc.encode(a, b, delays=[1, 2], gap=4),
            lambda a, b: rc.encode(a, b, memory="600MB", progress=False),
            lambda a, b: rc.cca(a, b),
            lambda a, b: rc.compare(a, b, measures="ridge", progress=False),
        ):
            with pytest.raises(SchemaError, match=message):
                call(*pair)
    fitted = rc.encode(x, y, delays=[1, 2], gap=4, weights=True)
    with pytest.raises(SchemaError, match="^x: " + message):
        fitted.predict(x.isel(time=order))


def test_fitted_measures_of_recordings_have_blocks_and_gaps_too():
    """Rows in the order of their names (10 s before 2 s) leak: independent slow signals seemed related."""
    found, leaky = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 300, 4))
        for i in range(1, 300):
            x[i] += 0.95 * x[i - 1]
            y[i] += 0.95 * y[i - 1]
        found.append(rc.cca(moments(x), moments(y)))
        assert found[-1] == rc.compare(moments(x), moments(y), measures="cca", progress=False).score.item()
        order = np.argsort([f"@{2.0 * i:.6f}s" for i in range(300)])
        leaky.append(rc.cca(x[order], y[order], folds=make_folds(300, 5, sample="time").splits))
    assert abs(np.mean(found)) < 0.07 < np.mean(leaky)
