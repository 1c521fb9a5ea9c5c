"""Folds for labels and exchanges of labels: counts kept, groups kept, everything enumerated where it can be."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.statistics.label_folds import check_classes, label_folds
from repcompare.statistics.label_permutations import control_labels, permuted_labels, pvalues


def thirds(n):
    rows = np.arange(n)
    return Folds(tuple((rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)), n)


# Folds


@pytest.mark.parametrize("k", [2, 5, 7])
def test_classes_are_dealt_out_evenly_and_so_are_rows(k):
    codes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [23, 11, 8]))
    folds = label_folds(codes, k, seed=3)
    tests = [test for _, test in folds.splits]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(42))
    tables = np.array([np.bincount(codes[t], minlength=3) for t in tests])
    assert np.ptp(tables, axis=0).max() <= 1
    assert np.ptp(tables.sum(axis=1)) <= 1
    for train, test in folds.splits:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(42))


def test_seeds_give_folds():
    codes = np.arange(30) % 2
    same = [label_folds(codes, 5, seed=s).splits[0][1].tolist() for s in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_stimuli_stay_on_one_side_and_classes_stay_even():
    stimuli = np.repeat(np.arange(12), 3)
    codes = np.repeat(np.arange(12) % 3, 3)
    folds = label_folds(codes, 4, units=stimuli)
    for train, test in folds.splits:
        assert not np.intersect1d(stimuli[train], stimuli[test]).size
        assert np.bincount(codes[test]).tolist() == [3, 3, 3]
    np.testing.assert_array_equal(folds.groups, stimuli)


def test_groups_are_left_out_one_at_a_time_or_dealt_out():
    groups, codes = np.repeat(np.arange(6), 4), np.arange(24) % 2
    assert len(label_folds(codes, "loo", groups=groups)) == 6
    folds = label_folds(codes, 3, groups=groups)
    assert [len(test) for _, test in folds.splits] == [8, 8, 8]
    with pytest.raises(OptionError, match="only 6"):
        label_folds(codes, 7, groups=groups)
    with pytest.raises(OptionError, match="groups have 1 label"):
        label_folds(codes, 3, groups=np.zeros(24, dtype=int))


def test_leave_one_out_needs_force():
    codes = np.arange(12) % 2
    with pytest.raises(OptionError, match="leaves out one row"):
        label_folds(codes, "loo")
    with pytest.raises(OptionError, match="one group of a single class"):
        label_folds(codes, "loo", groups=np.arange(12) // 2 * 2 + codes)
    assert len(label_folds(codes, "loo", force=("leave_one_out",))) == 12
    from sklearn.model_selection import LeaveOneOut

    with pytest.raises(OptionError, match="leaves out one row"):
        label_folds(codes, LeaveOneOut())


def test_splitters_of_scikit_learn_see_the_classes():
    from sklearn.model_selection import StratifiedKFold

    codes = np.repeat([0, 1], [20, 10])
    folds = label_folds(codes, StratifiedKFold(5, shuffle=True, random_state=0))
    assert all(np.bincount(codes[test]).tolist() == [4, 2] for _, test in folds.splits)
    with pytest.raises(OptionError, match="without a seed"):
        label_folds(codes, StratifiedKFold(5, shuffle=True))
    with pytest.raises(OptionError, match="cannot split"):
        label_folds(codes, StratifiedKFold(40))


def test_a_time_series_is_cut_into_blocks_with_a_gap():
    folds = label_folds(np.arange(40) % 2, 4, sample="time", gap=3)
    train, test = folds.splits[1]
    assert test.tolist() == list(range(10, 20))
    assert not np.isin(np.arange(7, 23), train).any()
    assert folds.gap == 3


@pytest.mark.parametrize(("k", "match"), [(1, "at least 2"), (13, "only 12")])
def test_numbers_of_folds_that_do_not_exist(k, match):
    with pytest.raises(OptionError, match=match):
        label_folds(np.arange(12) % 2, k)


def test_rare_classes_are_named():
    names = np.array(["cat", "dog", "owl"])
    folds = thirds(9)
    with pytest.raises(MeasureError, match="class 'owl' has 1 rows"):
        check_classes(folds, np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]), names)
    with pytest.raises(MeasureError, match="fold 2: class 'dog' has no training rows"):
        check_classes(folds, np.array([0, 2, 1, 2, 0, 1, 0, 2, 1]), names)


def test_unknown_guards():
    with pytest.raises(OptionError, match="force"):
        label_folds(np.arange(12) % 2, 3, force="leave_one")
    with pytest.raises(AlignmentError):
        label_folds(np.arange(12) % 2, [(np.arange(8), np.arange(7, 12))])


# Permutations


def test_exchange_within_test_folds_keeps_the_counts_of_every_fold():
    codes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 10))
    drawn = permuted_labels(codes, 200, thirds(30), seed=1)
    assert drawn.codes.shape == (200, 30)
    assert not drawn.exhaustive
    for f in range(3):
        rows = np.arange(30) % 3 == f
        for labels in drawn.codes:
            np.testing.assert_array_equal(np.bincount(labels[rows], minlength=3), np.bincount(codes[rows], minlength=3))
    frequency = np.mean(drawn.codes == 0, axis=0)
    assert np.abs(frequency - [np.mean(codes[np.arange(30) % 3 == i % 3] == 0) for i in range(30)]).max() < 0.15


def test_all_arrangements_are_enumerated_once_without_the_true_one():
    codes = np.array([0, 1, 2, 0, 0, 1])
    rows = np.arange(6)
    folds = Folds(((rows[3:], rows[:3]), (rows[:3], rows[3:])), 6)
    drawn = permuted_labels(codes, 50, folds)
    expected = {(*a, *b) for a in set(permutations([0, 1, 2])) for b in set(permutations([0, 0, 1]))} - {tuple(codes)}
    assert Counter(map(tuple, drawn.codes.tolist())) == Counter(expected)
    assert drawn.exhaustive
    assert not permuted_labels(codes, len(expected) - 1, folds).exhaustive


def test_runs_that_hold_all_classes_exchange_inside():
    codes, runs = np.tile([0, 1, 0, 1, 1], 4), np.repeat(np.arange(4), 5)
    drawn = permuted_labels(codes, 30, label_folds(codes, "loo", groups=runs), groups=runs)
    assert drawn.exchange == "labels within groups"
    assert (drawn.codes.reshape(30, 4, 5).sum(axis=2) == 3).all()


def test_runs_that_lack_classes_exchange_whole_sequences():
    codes = np.array([0, 0, 1, 1, 2, 2, 0, 2, 1, 1])
    runs = np.repeat(np.arange(5), 2)
    codes[:2] = [0, 1]
    sequences = Counter(tuple(codes[runs == g]) for g in range(5))
    drawn = permuted_labels(codes, 1000, thirds(10), groups=runs)
    assert drawn.exchange == "whole label sequences of groups"
    assert drawn.exhaustive
    assert len(drawn.codes) == 119
    for labels in drawn.codes:
        assert Counter(tuple(labels[runs == g]) for g in range(5)) == sequences
    some = permuted_labels(codes, 20, thirds(10), groups=runs).codes
    assert all(Counter(tuple(labels[runs == g]) for g in range(5)) == sequences for labels in some)
    with pytest.raises(OptionError, match="no two are of one length"):
        permuted_labels(np.array([0, 0, 1, 2, 2, 1]), 10, thirds(6), groups=np.array([0, 1, 1, 2, 2, 2]))


def test_groups_of_one_class_exchange_their_labels():
    subjects = np.repeat(np.arange(6), [2, 3, 2, 4, 2, 3])
    codes = (np.arange(6) % 2)[subjects]
    folds = label_folds(codes, 3, groups=subjects)
    drawn = permuted_labels(codes, 100, folds, groups=subjects)
    assert drawn.exhaustive
    assert len(drawn.codes) == 2**3 - 1
    assert all((labels[np.searchsorted(subjects, subjects)] == labels).all() for labels in drawn.codes)


def test_stimuli_exchange_their_labels_as_wholes():
    stimuli = np.repeat(np.arange(12), 3)
    codes = np.repeat(np.arange(12) % 2, 3)
    folds = label_folds(codes, 3, units=stimuli)
    drawn = permuted_labels(codes, 20, folds)
    assert all((labels.reshape(12, 3) == labels.reshape(12, 3)[:, :1]).all() for labels in drawn.codes)


def test_rows_of_a_time_series_are_not_shuffled():
    codes = np.arange(24) // 4 % 2
    with pytest.raises(OptionError, match="time series"):
        permuted_labels(codes, 10, thirds(24), whole=True)
    runs = np.arange(24) // 8
    codes[16:] = [1, 1, 1, 1, 0, 0, 0, 0]
    sequences = {tuple(codes[runs == g]) for g in range(3)}
    drawn = permuted_labels(codes, 10, thirds(24), groups=runs, whole=True)
    assert all(tuple(labels[runs == g]) in sequences for labels in drawn.codes for g in range(3))


def test_nothing_to_exchange():
    rows = np.arange(4)
    folds = Folds(((rows[2:], rows[:2]), (rows[:2], rows[2:])), 4)
    assert permuted_labels(np.array([0, 0, 1, 1]), 10, folds).codes.shape == (5, 4)  # test folds of one class: freely
    with pytest.raises(OptionError, match="at least 1"):
        permuted_labels(np.array([0, 1, 0, 1]), 0, folds)


def test_control_tasks_label_types_and_leave_no_training_set_without_a_class():
    types = np.repeat(np.arange(10), 3)
    codes = np.repeat(np.arange(10) % 2, 3)
    folds = label_folds(codes, 5, units=types)
    tasks = control_labels(codes, types, 50, folds, seed=0)
    assert tasks.shape == (50, 30)
    assert all((labels.reshape(10, 3) == labels.reshape(10, 3)[:, :1]).all() for labels in tasks)
    assert all(len(np.unique(labels[train])) == 2 for labels in tasks for train, _ in folds.splits)
    assert abs(tasks.mean() - 0.5) < 0.06
    with pytest.raises(OptionError, match="too few"):
        control_labels(np.arange(30) % 5, types // 5, 3, folds, seed=0)


def test_pvalues_count_equal_scores_and_the_best_of_all_cells():
    score = np.array([[0.9, 0.5], [0.7, 0.2]])
    null = np.random.default_rng(0).random((30, 2, 2)).round(1)
    raw, corrected = pvalues(score, null)
    for i in range(2):
        for j in range(2):
            assert raw[i, j] == (1 + sum(n[i, j] >= score[i, j] for n in null)) / 31
            assert corrected[i, j] == (1 + sum(n.max() >= score[i, j] for n in null)) / 31
    assert pvalues(np.array(0.3), np.full(9, 0.1 + 0.2))[0] == 1.0
