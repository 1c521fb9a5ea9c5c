"""Sets of RDMs: named pairs, alignment by name, union of stimuli, files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import squareform

import repcompare as rc
from repcompare.errors import AlignmentError, SchemaError
from repcompare.labels.rdms import (
    merge_sets,
    rdm_set,
    select_stimuli,
    shared_stimuli,
    square_form,
    stimuli_of,
    to_pairs,
)

NAMES = ["owl", "cat", "dog", "elk", "bee"]


def square(k: int, seed: int = 0) -> np.ndarray:
    return squareform(np.random.default_rng(seed).uniform(size=k * (k - 1) // 2))


def test_square_and_condensed_are_the_same_set():
    d = np.stack([square(5, 1), square(5, 2)])
    a = rdm_set(d, stimulus=NAMES, rdm=["s1", "s2"], rdm_subject=["A", "B"])
    b = rdm_set([squareform(m) for m in d], stimulus=NAMES, rdm=["s1", "s2"], rdm_subject=["A", "B"])
    assert a.identical(b)
    np.testing.assert_array_equal(square_form(a), d)
    assert stimuli_of(a).tolist() == NAMES
    assert a.attrs["n_pairs_missing"] == 0


@pytest.mark.parametrize("k", [2, 3, 7])
def test_names_of_stimuli_are_found_again_from_the_pairs(k):
    names = [f"s{i}" for i in range(k)]
    assert stimuli_of(rdm_set(np.ones(k * (k - 1) // 2), stimulus=names)).tolist() == names


def test_three_rdms_of_three_stimuli_are_no_square():
    ds = rdm_set([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], stimulus=NAMES[:3])
    assert dict(ds.sizes) == {"rdm": 3, "pair": 3}
    assert dict(rdm_set(square(3), stimulus=NAMES[:3]).sizes) == {"pair": 3}
    one_apart = 1 - np.eye(3)  # three RDMs, in each of which one pair is alike; or one square RDM
    ds = rdm_set(one_apart, stimulus=NAMES[:3], rdm=["x", "y", "z"])
    np.testing.assert_array_equal(ds["dissimilarity"], one_apart)
    np.testing.assert_array_equal(rdm_set(one_apart, stimulus=NAMES[:3], time=[0, 1, 2])["dissimilarity"], one_apart)
    stack = rdm_set(one_apart[None], stimulus=NAMES[:3], rdm=["x"])
    np.testing.assert_array_equal(stack["dissimilarity"], np.ones((1, 3)))


def test_stimuli_that_occur_twice_are_found_in_given_sets():
    ds = rdm_set(np.ones(3), stimulus=list("abc"))
    twice = ds.assign_coords(stimulus_a=("pair", list("aab")), stimulus_b=("pair", list("baa")))
    with pytest.raises(SchemaError, match="'a' occur more than once"):
        shared_stimuli({"x": twice})


def test_pairs_follow_the_stimuli_asked_for():
    d = square(5)
    ds = rdm_set(d, stimulus=NAMES)
    order = [3, 0, 4]
    wanted = [NAMES[i] for i in order]
    np.testing.assert_array_equal(to_pairs(ds, wanted)[0], squareform(d[np.ix_(order, order)]))
    part = select_stimuli(ds, wanted)
    assert stimuli_of(part).tolist() == wanted
    np.testing.assert_array_equal(square_form(part), d[np.ix_(order, order)])


def test_alignment_is_by_name():
    d, order = square(5), [2, 4, 0, 1, 3]
    a = rdm_set(d, stimulus=NAMES)
    b = rdm_set(d[np.ix_(order, order)], stimulus=[NAMES[i] for i in order])
    names = shared_stimuli({"a": a, "b": b})
    np.testing.assert_array_equal(to_pairs(a, names), to_pairs(b, names))
    c = select_stimuli(b, NAMES[1:])
    with pytest.raises(AlignmentError, match="c lacks 'owl'|c lacks owl"):
        shared_stimuli({"a": a, "c": c})
    assert shared_stimuli({"a": a, "c": c}, "intersection").tolist() == NAMES[1:]
    with pytest.raises(AlignmentError, match="at least 3"):
        shared_stimuli({"a": a, "c": select_stimuli(a, NAMES[:2])}, "intersection")
    with pytest.raises(AlignmentError, match="asked for twice"):
        to_pairs(a, ["owl", "owl", "cat"])
    with pytest.raises(AlignmentError, match="fox"):
        to_pairs(a, ["owl", "fox", "cat"])


def test_union_of_sets():
    whole = square(5)
    a = select_stimuli(rdm_set(whole[None], stimulus=NAMES, rdm=["a"], rdm_subject="A"), ["dog", "cat", "owl"])
    b = select_stimuli(rdm_set(whole, stimulus=NAMES), ["owl", "elk", "bee"])
    union = merge_sets([a, b])
    assert stimuli_of(union).tolist() == ["dog", "cat", "owl", "elk", "bee"]
    assert union["rdm"].values.tolist() == ["a", "rdm/1"]
    assert union["rdm_subject"].values.tolist() == ["A", ""]
    np.testing.assert_array_equal(to_pairs(union, ["dog", "cat", "owl"])[0], to_pairs(a)[0])
    np.testing.assert_array_equal(to_pairs(union, ["owl", "elk", "bee"])[1], to_pairs(b)[0])
    assert union.attrs["n_pairs_missing"] == int(np.isnan(union["dissimilarity"].values).sum()) == 14
    with pytest.raises(SchemaError, match="not unique"):
        merge_sets([a, a])


def test_a_set_survives_a_file(tmp_path):
    ds = rdm_set(np.stack([square(5), square(5, 3)])[:, None], stimulus=NAMES, time=[0.1], attrs={"distance": "cosine"})
    rc.save(ds, tmp_path / "rdms.nc")
    assert rc.open(tmp_path / "rdms.nc").load().identical(ds)


@pytest.mark.parametrize(
    ("values", "stimulus", "message"),
    [
        (np.ones(5), NAMES[:4], "expected 6 pairs"),
        (np.ones(6), NAMES, "that is the number of pairs of 4 stimuli"),
        (np.ones(3), ["a", "a", "b"], "'a' occur more than once"),
        (np.ones(3), ["a", "b", "a"], "'a' occur more than once"),
        (square(4) + np.triu(np.ones((4, 4)), 1), NAMES[:4], "not symmetric at"),
        (1 - square(4), NAMES[:4], "distance of 'owl' to itself"),
        ([1.0, np.inf, 2.0], NAMES[:3], "infinite"),
        ([1.0, 2.0, 3.0], ["a", "", "b"], "no name"),
    ],
)
def test_broken_sets_are_refused(values, stimulus, message):
    with pytest.raises(SchemaError, match=message):
        rdm_set(values, stimulus=stimulus)


def test_labels_must_fit():
    with pytest.raises(SchemaError, match="no axis"):
        rdm_set(np.ones(3), stimulus=NAMES[:3], rdm_subject="A")
    with pytest.raises(SchemaError, match="rdm_subject"):
        rdm_set(np.ones((1, 3)), stimulus=NAMES[:3], rdm_subjct="A", subject="A")
    with pytest.raises(SchemaError, match="do not fit"):
        rdm_set(np.ones((2, 3)), stimulus=NAMES[:3], rdm_subject=["A", "B", "C"])
    with pytest.raises(SchemaError, match="not unique"):
        rdm_set(np.ones((2, 3)), stimulus=NAMES[:3], rdm=["A", "A"])
