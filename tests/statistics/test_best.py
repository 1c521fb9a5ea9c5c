"""A source is chosen on rows that never meet those it is reported on."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import OptionError
from repcompare.statistics.best import choose_source, halves, inner_folds
from repcompare.statistics.folds import make_folds


class TestInnerFolds:
    @pytest.mark.parametrize(
        "folds",
        [
            make_folds(40, 5),
            make_folds(40, 2),
            make_folds(40, 3, seed=4),
            make_folds(60, 5, sample="time", gap=3),
            make_folds(40, 5, groups=np.arange(40) // 4),
            make_folds(60, 3, groups=np.arange(60) // 10, sample="time"),
        ],
        ids=["5", "2", "3", "gap", "groups", "runs"],
    )
    def test_no_row_of_a_fold_is_inside(self, folds):
        found = inner_folds(folds, sample="time" if folds.gap or "run" in folds.scheme else "stimulus")
        assert len(found) == len(folds)
        for (rows, inside), (train, test) in zip(found, folds.splits, strict=True):
            np.testing.assert_array_equal(rows, train)
            assert not set(rows) & set(test)
            assert inside.n == rows.size
            assert len(inside) >= 2
            for a, b in inside.splits:
                assert not set(a) & set(b)
                assert b.size >= 3
                if folds.groups is not None:
                    assert not set(folds.groups[rows[a]]) & set(folds.groups[rows[b]])
                if folds.gap:
                    assert np.abs(rows[a][:, None] - rows[b]).min() > folds.gap

    def test_they_are_the_other_folds(self):
        folds = make_folds(40, 5, seed=1)
        for f, (rows, inside) in enumerate(inner_folds(folds)):
            others = [test for g, (_, test) in enumerate(folds.splits) if g != f]
            assert [rows[test].tolist() for _, test in inside.splits] == [o.tolist() for o in others]
            assert all(a.size + b.size == rows.size for a, b in inside.splits)

    def test_single_rows_cannot_report(self):
        with pytest.raises(OptionError, match="a fold has 1 test rows; expected at least 3; use a number of folds"):
            inner_folds(make_folds(20, "loo"))


class TestHalves:
    def test_stimuli(self):
        found = halves(21, 30, seed=0)
        for a, b in found:
            assert sorted([*a, *b]) == list(range(21))
            assert (a.size, b.size) == (10, 11)
        assert len({tuple(a) for a, _ in found}) == 30
        again = halves(21, 5, seed=0)
        assert all(
            np.array_equal(a, b)
            for one, two in zip(found[:5], again, strict=True)
            for a, b in zip(one, two, strict=True)
        )

    def test_groups_stay_together(self):
        groups = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
        for a, b in halves(21, 30, seed=0, groups=groups):
            assert sorted([*a, *b]) == list(range(21))
            assert not set(groups[a]) & set(groups[b])
            assert abs(a.size - b.size) <= 11

    def test_a_recording_is_cut_with_gaps(self):
        for a, b in halves(50, 30, seed=0, gap=4):
            assert a.size == b.size == 21
            apart = np.abs(a[:, None] - b)
            assert np.minimum(apart, 50 - apart).min() > 4
            assert (np.diff(a) > 1).sum() <= 1  # one stretch, perhaps around the end

    def test_too_large_a_gap(self):
        with pytest.raises(OptionError, match="8 rows .* gap of 4 cannot be halved"):
            halves(8, 1, seed=0, gap=4)
        with pytest.raises(OptionError, match="cannot be halved"):
            halves(8, 1, seed=0, groups=np.zeros(8, dtype=int))


class TestChoice:
    def test_distances_take_the_lowest(self):
        inner, outer = np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
        up, down = (choose_source(inner, outer, greater=g) for g in (True, False))
        assert (up.selected.tolist(), up.scores.tolist(), up.score) == ([1, 0], [7, 6], 6.5)
        assert (down.selected.tolist(), down.scores.tolist(), down.score) == ([0, 1], [5, 8], 6.5)

    @pytest.mark.parametrize("greater", [True, False])
    def test_equal_scores_go_to_the_first_whatever_their_rounding(self, greater):
        inner = np.array([[0.3, 0.3], [0.3 + 1e-15, 0.3 - 1e-15], [0.3 - 1e-15, 0.3 + 1e-15]])
        assert choose_source(inner, inner, greater=greater).selected.tolist() == [0, 0]
        assert choose_source(-inner, inner, greater=greater).selected.tolist() == [0, 0]

    def test_a_source_without_all_scores_is_never_chosen(self):
        inner = np.array([[9.0, np.nan], [1.0, 1.0], [8.0, 8.0]])
        outer = np.array([[1.0, 1.0], [2.0, 3.0], [np.nan, 1.0]])
        choice = choose_source(inner, outer, greater=True)
        assert choice.selected.tolist() == [1, 1]
        assert choice.candidates.tolist() == [False, True, False]
        none = choose_source(inner[:1], outer[:1], greater=True)
        assert none.selected.tolist() == [-1, -1]
        assert np.isnan(none.score)
        assert np.isnan(none.scores).all()
