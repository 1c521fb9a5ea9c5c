"""Folds: sizes, guards, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, ShuffleSplit, StratifiedKFold

from repcompare.errors import AlignmentError, OptionError
from repcompare.statistics.folds import check_leakage, make_folds


def heldout(folds):
    return [test.tolist() for _, test in folds.splits]


def partitions(folds, *, gap=False):
    """Every row is tested once; train and test are disjoint, and complete without a gap."""
    assert sorted(np.concatenate(heldout(folds)).tolist()) == list(range(folds.n))
    for train, test in folds.splits:
        assert not set(train.tolist()) & set(test.tolist())
        assert gap or len(train) + len(test) == folds.n


@pytest.mark.parametrize(("n", "k"), [(15, 5), (17, 5), (30, 10), (50, 2)])
def test_shuffled_folds_partition_the_rows_in_equal_sizes(n, k):
    folds = make_folds(n, k)
    partitions(folds)
    sizes = [len(test) for test in heldout(folds)]
    assert len(folds) == k
    assert max(sizes) - min(sizes) <= 1


def test_seed_decides():
    groups = np.repeat(np.arange(12), 4)
    assert heldout(make_folds(48, seed=3)) == heldout(make_folds(48, seed=3))
    assert heldout(make_folds(48, seed=3)) != heldout(make_folds(48, seed=4))
    assert heldout(make_folds(48, groups=groups, seed=3)) == heldout(make_folds(48, groups=groups, seed=3))
    assert heldout(make_folds(48, groups=groups, seed=3)) != heldout(make_folds(48, groups=groups, seed=4))


def test_folds_of_a_seed_never_change():
    """Published scores must stay reproducible: these rows are fixed for good."""
    assert heldout(make_folds(12, 3, seed=0)) == [[2, 4, 7, 9], [0, 3, 5, 11], [1, 6, 8, 10]]
    groups = ["a", "b", "b", "c", "d", "d", "d", "e", "a", "f", "f", "e"]
    assert heldout(make_folds(12, 3, groups=groups, seed=0)) == [[3, 4, 5, 6], [0, 8, 9, 10], [1, 2, 7, 11]]


def test_groups_stay_whole_and_folds_balanced():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 40)
    groups = np.array([f"g{i}" for i in np.repeat(np.arange(40), sizes)])[rng.permutation(sizes.sum())]
    folds = make_folds(len(groups), 5, groups=groups, seed=1)
    partitions(folds)
    for train, test in folds.splits:
        assert not set(groups[train]) & set(groups[test])
    counts = [len(t) for t in heldout(folds)]
    assert max(counts) - min(counts) <= 1 + sizes.min()
    assert "40 groups" in folds.scheme


def test_renaming_the_groups_in_order_changes_nothing():
    codes = np.repeat(np.arange(9), 3)
    names = np.array([f"class_{c}" for c in codes])
    assert heldout(make_folds(27, 3, groups=codes)) == heldout(make_folds(27, 3, groups=names))


def test_leave_one_out_of_rows_and_of_groups():
    assert heldout(make_folds(4, "loo")) == [[0], [1], [2], [3]]
    assert heldout(make_folds(6, "loo", groups=[1, 1, 0, 0, 2, 2])) == [[2, 3], [0, 1], [4, 5]]


def test_time_gives_blocks_with_a_gap():
    folds = make_folds(40, 4, sample="time", gap=3)
    partitions(folds, gap=True)
    assert heldout(folds)[1] == list(range(10, 20))
    assert folds.splits[1][0].tolist() == [*range(7), *range(23, 40)]
    assert folds.splits[0][0].tolist() == list(range(13, 40))
    for train, test in folds.splits:
        assert np.abs(train[:, None] - test).min() == 4


def test_time_leaves_out_one_run_at_a_time():
    runs = np.repeat([3, 1, 2], 8)
    folds = make_folds(24, 5, sample="time", groups=runs, gap=2)
    assert heldout(folds) == [list(range(8, 16)), list(range(16, 24)), list(range(8))]
    partitions(folds)  # a run boundary needs no gap


def test_runs_in_pieces_get_the_gap():
    runs = np.repeat([0, 1, 0, 1], 8)
    folds = make_folds(32, sample="time", groups=runs, gap=2)
    assert folds.splits[0][0].tolist() == [*range(10, 14), *range(26, 32)]


def test_time_shuffle_raises_unless_forced():
    with pytest.raises(OptionError, match="test rows of a time series lie in"):
        make_folds(40, KFold(4, shuffle=True, random_state=0), sample="time")
    folds = make_folds(40, KFold(4, shuffle=True, random_state=0), sample="time", force=("time_shuffle",))
    assert "forced: time_shuffle" in folds.scheme
    assert heldout(make_folds(40, 4, sample="time", force="time_shuffle")) == heldout(make_folds(40, 4))
    assert heldout(make_folds(40, KFold(4), sample="time")) == heldout(make_folds(40, 4, sample="time"))


def test_trials_need_groups_or_force():
    with pytest.raises(OptionError, match="trials need groups="):
        make_folds(20, sample="presentation")
    assert "forced: repeats" in make_folds(20, sample="presentation", force=("repeats",)).scheme
    ids = np.tile(np.arange(5), 4)
    for train, test in make_folds(20, sample="presentation", groups=ids).splits:
        assert not set(ids[train]) & set(ids[test])


def test_leakage_names_the_labels():
    ids = np.tile(["ant", "bee", "cat", "dog"], 5)
    folds = make_folds(20, 4)
    with pytest.raises(AlignmentError, match=r"fold 0: .* 'ant'.*force=\('repeats',\)"):
        check_leakage(folds, ids, what="stimulus_id")
    check_leakage(folds, ids, force=("repeats",))
    with pytest.raises(AlignmentError, match="on one side"):
        make_folds(20, KFold(4), groups=ids)


def test_splitters_and_lists():
    assert heldout(make_folds(12, KFold(3))) == [list(range(4)), list(range(4, 8)), list(range(8, 12))]
    groups = np.repeat(np.arange(4), 3)
    assert len(make_folds(12, GroupKFold(4), groups=groups)) == 4
    assert len(make_folds(20, ShuffleSplit(7, test_size=0.3, random_state=0))) == 7
    given = [(np.arange(6, 12), [2, 0, 1]), (np.arange(12) < 6, np.arange(12) >= 9)]
    folds = make_folds(12, given)
    assert heldout(folds) == [[0, 1, 2], [9, 10, 11]]
    assert folds.splits[1][0].tolist() == list(range(6))
    assert len(make_folds(5, LeaveOneOut(), min_test=1)) == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 11}, OptionError, "folds=11, but only 10 rows are available; use folds=10 or fewer"),
        ({"folds": 1}, OptionError, "folds=1; expected at least 2"),
        ({"folds": True}, OptionError, "folds=True; expected a number"),
        ({"folds": 2.5}, OptionError, "folds=2.5; expected a number"),
        ({"folds": "lo"}, OptionError, "did you mean 'loo'"),
        ({"folds": []}, OptionError, "empty list"),
        (
            {"folds": 5},
            OptionError,
            "2 test rows in a fold; expected at least 3; the largest usable is folds=3",
        ),
        ({"folds": 4, "groups": [1] * 5 + [2] * 5}, OptionError, "only 2 groups are available; use folds=2"),
        ({"folds": 2, "groups": ["a"] * 10}, OptionError, "groups have 1 label, 'a'"),
        ({"folds": 2, "groups": [1, 2]}, AlignmentError, "one label for each of 10 rows"),
        (
            {"folds": 2, "groups": [1.0, np.nan] * 5},
            AlignmentError,
            "5 rows have no group label, first row 1",
        ),
        (
            {"folds": [([0, 1, 2, 3], [3, 4, 5])]},
            AlignmentError,
            "fold 0: rows '3' are in both train and test",
        ),
        ({"folds": [([0, 1, 2], [8, 9, 10])]}, AlignmentError, "test row 10 does not exist; expected 0 to 9"),
        ({"folds": [([-1, 1, 2], [7, 8, 9])]}, AlignmentError, "train row -1 does not exist"),
        ({"folds": [([0, 0, 1], [7, 8, 9])]}, AlignmentError, "train rows repeat"),
        ({"folds": [([0, 1, 2], [7, 8])]}, OptionError, "fold 0 has 2 test rows"),
        ({"folds": [([0, 1], [7, 8, 9])]}, OptionError, "fold 0 has 2 training rows"),
        ({"folds": [(np.ones(3, bool), [7, 8, 9])]}, AlignmentError, "a mask of shape"),
        ({"folds": [([0.5, 1], [7, 8, 9])]}, OptionError, "expected a number, 'loo', a list"),
        ({"folds": KFold(3, shuffle=True)}, OptionError, "KFold shuffles without a seed"),
        ({"folds": StratifiedKFold(3)}, OptionError, "StratifiedKFold cannot split 10 rows"),
        ({"folds": 2, "gap": 2}, OptionError, "gap=2 with sample='stimulus'"),
        ({"folds": 2, "gap": -1, "sample": "time"}, OptionError, "gap=-1; expected a number of samples"),
        ({"folds": 2, "gap": 4, "sample": "time"}, OptionError, "fold 0 has 1 training rows"),
        ({"folds": "loo", "sample": "time"}, OptionError, "folds='loo' leaks"),
        ({"sample": "tme"}, OptionError, "did you mean 'time'"),
        ({"force": ("repeat",)}, OptionError, "did you mean 'repeats'"),
    ],
)
def test_errors_name_what_to_do(options, error, message):
    with pytest.raises(error, match=message.replace("(", "\\(")):
        make_folds(10, **options)


def test_too_few_rows():
    with pytest.raises(OptionError, match="1 rows; expected at least 2"):
        make_folds(1)
    with pytest.raises(OptionError, match="too few rows for any folds"):
        make_folds(5, 2)
