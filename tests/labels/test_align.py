from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import repcompare as rc
from repcompare.errors import AlignmentError, OptionError, SchemaError
from repcompare.labels.align import align, row_labels, to_matrix, to_repeats

NAMES = ["owl", "cat", "dog", "ant", "Ähre", "10", "9"]


def system(names, seed=0, units=3) -> xr.Dataset:
    return rc.representation(np.random.default_rng(seed).normal(size=(len(names), units)), stimulus=names)


def trials(names, values=None, **coords) -> xr.Dataset:
    values = np.arange(len(names), dtype=float)[:, None] if values is None else values
    return rc.representation(values, dims=("presentation", "unit"), stimulus_id=names, **coords)


# ---- which stimuli


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(len(NAMES))), st.permutations(range(len(NAMES))))
def test_the_order_of_rows_never_matters(first, second):
    a, b = system(NAMES, 0), system(NAMES, 1)
    shuffled = {"a": a.isel(stimulus=first), "b": b.isel(stimulus=second)}
    found = align(shuffled)
    assert found.stimuli.tolist() == sorted(NAMES)
    for name, ds in (("a", a), ("b", b)):
        expected = ds.sel(stimulus=sorted(NAMES))["response"].values
        matrix = to_matrix(shuffled[name], found.stimuli)
        assert matrix.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(matrix, expected)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_presentations_never_matters(order):
    names = ["owl", "cat", "dog"] * 4
    values = np.random.default_rng(0).integers(0, 50, (12, 2)).astype(float)  # whole numbers: sums are exact
    ds = trials(names, values, repeat=np.repeat(np.arange(4), 3))
    shuffled = ds.isel(presentation=order)
    wanted = ["cat", "dog", "owl"]
    np.testing.assert_array_equal(to_matrix(shuffled, wanted), to_matrix(ds, wanted))
    np.testing.assert_array_equal(to_repeats(shuffled, wanted), to_repeats(ds, wanted))


def test_intersection_keeps_what_all_share_and_names_the_rest():
    found = align(
        {"a": system(["x", "b", "c"]), "b": system(["c", "b", "y", "z"]), "c": system(["c", "b"])}, "intersection"
    )
    assert found.stimuli.tolist() == ["b", "c"]
    lacking = {name: names.tolist() for name, names in found.lacking.items()}
    assert lacking == {"a": ["y", "z"], "b": ["x"], "c": ["x", "y", "z"]}
    assert found.n_left_out == 3
    assert found.lines()[0] == "missing in a: 'y', 'z' (2)"


def test_parts_that_lack_the_same_stimuli_share_a_line():
    parts = {f"layer{i}": system(["a", "b"]) for i in range(6)} | {"brain": system(["a", "b", "c"])}
    found = align(parts, "intersection").lines()
    assert found == ["missing in layer0, layer1, layer2, layer3 and 2 more: 'c' (1)"]


def test_exact_raises_with_counts_names_and_the_way_out():
    with pytest.raises(AlignmentError) as caught:
        align({"net": system(["a", "b", "c"]), "brain": system(["b", "c", "d", "e"])})
    message = str(caught.value)
    assert "2 of 5 are shared by all" in message
    assert "missing in net: 'd', 'e' (2)" in message and "missing in brain: 'a' (1)" in message
    assert message.endswith("compare(..., stimuli='intersection'), or select them on every side")
    assert align({"net": system(["a", "b"]), "brain": system(["b", "a"])}).lacking == {}


@pytest.mark.parametrize("policy", ["exact", "intersection"])
def test_nothing_shared_is_an_error_under_every_policy(policy):
    with pytest.raises(
        AlignmentError, match=r"no stimulus is shared.*x has 2: 'a', 'b'; the source has 1: 'A'.*check how"
    ):
        align({"x": system(["a", "b"]), "": system(["A"])}, policy)


def test_policies_are_on_a_menu():
    with pytest.raises(OptionError, match="stimuli='intersect' is not an option; did you mean 'intersection'"):
        align({"a": system(["x"])}, "intersect")
    with pytest.raises(AlignmentError, match="nothing to align.*give a source"):
        align({})


def test_repeats_count_once():
    found = align({"trials": trials(["b", "a", "b"]), "net": system(["a", "b"])})
    assert found.stimuli.tolist() == ["a", "b"]


# ---- matrices


def test_rows_come_in_the_order_asked_for_and_subsets_are_allowed():
    ds = rc.representation(np.arange(3.0)[:, None], stimulus=["a", "b", "c"])
    assert to_matrix(ds, ["c", "a"]).ravel().tolist() == [2.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_missing_values_pass_through(dtype):
    ds = rc.representation(np.array([[1, np.nan], [2, 3]], dtype), stimulus=["b", "a"])
    found = to_matrix(ds, ["a", "b"])
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [[2, 3], [1, np.nan]])


def test_repeats_are_averaged():
    ds = trials(["b", "a", "b"], np.array([[1.0, np.nan], [5.0, 6.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(to_matrix(ds, ["a", "b"]), [[5, 6], [2, 4]])


def test_the_callers_values_are_not_handed_out_for_writing_over_rows_out_of_order():
    ds = system(["b", "a"])
    before = ds["response"].values.copy()
    to_matrix(ds, ["a", "b"])[:] = 0
    np.testing.assert_array_equal(ds["response"].values, before)


def test_missing_stimuli_are_named():
    with pytest.raises(
        AlignmentError, match=r"stimuli 'zebra', 'aa' are missing \(2 in all\); found 'b', 'a'; .*intersection"
    ):
        to_matrix(system(["b", "a"]), ["zebra", "a", "aa"])


def test_time_beside_stimuli_is_refused_with_the_way_out():
    ds = rc.representation(
        np.zeros((2, 1, 3)), dims=("stimulus", "unit", "time"), stimulus=["a", "b"], time=[0.0, 1.0, 2.0]
    )
    with pytest.raises(SchemaError, match=r"'time': 3.*ds.mean\('time'\)\) or pick a bin \(ds.isel"):
        to_matrix(ds, ["a", "b"])
    assert to_matrix(ds.isel(time=0), ["a", "b"]).shape == (2, 1)
    assert to_matrix(ds.mean("time"), ["a", "b"]).shape == (2, 1)


def test_infinite_values_from_disk_are_found_at_the_door(tmp_path):
    ds = rc.representation(np.ones((4, 2)), dims=("presentation", "unit"), stimulus_id=list("aabb"))
    rc.save(ds, tmp_path / "x.nc")
    import netCDF4

    with netCDF4.Dataset(tmp_path / "x.nc", "a") as handle:
        handle["response"][1, 1] = np.inf
    opened = rc.open(tmp_path / "x.nc")
    with pytest.raises(SchemaError, match=r"1 infinite value\(s\), the first \(inf\) at presentation 1, unit 1"):
        to_matrix(opened, ["a", "b"])
    with pytest.raises(SchemaError, match=r"infinite value\(s\), the first \(inf\) at repeat 1, stimulus 0, unit 1"):
        to_repeats(opened, ["a", "b"])
    still = opened.rename(presentation="stimulus").drop_vars("stimulus_id").assign_coords(stimulus=list("abcd"))
    with pytest.raises(SchemaError, match="at stimulus 1, unit 1"):
        to_matrix(still, list("abcd"))


def test_the_order_of_stored_axes_does_not_matter():
    ds = system(["b", "a"])
    np.testing.assert_array_equal(to_matrix(ds.transpose(), ["a", "b"]), to_matrix(ds, ["a", "b"]))


def test_continuous_recordings_are_matched_by_run_and_clock():
    values = np.arange(4.0)[:, None]
    clock = {"time": [0.0, 0.5, 0.0, 0.5], "run": ["x", "x", "y", "y"]}
    a = rc.representation(values, dims=("time", "unit"), **clock)
    b = a.isel(time=[2, 3, 0, 1])
    found = align({"a": a, "b": b})
    assert found.stimuli.tolist() == ["x@0.000000s", "x@0.500000s", "y@0.000000s", "y@0.500000s"]
    np.testing.assert_array_equal(to_matrix(b, found.stimuli), values)


def test_rows_of_a_recording_with_one_label_are_refused_and_not_dropped():
    ds = rc.representation(np.zeros((3, 1)), dims=("time", "unit"), time=[0, 1, 2], stimulus_id=["a", "a", "b"])
    with pytest.raises(
        AlignmentError, match=r"'a' are the label of several rows \(1 such.*expected one row each; rename"
    ):
        to_matrix(ds, ["a", "b"])


# ---- repeats


def test_repeats_come_in_the_order_of_their_label():
    ds = trials(["b", "a", "b", "a"], np.array([[1.0], [2.0], [3.0], [4.0]]), repeat=[1, 0, 0, 1])
    np.testing.assert_array_equal(to_repeats(ds, ["a", "b"])[..., 0], [[2, 3], [4, 1]])
    unlabelled = ds.drop_vars("repeat")
    np.testing.assert_array_equal(to_repeats(unlabelled, ["a", "b"])[..., 0], [[2, 1], [4, 3]])
    named = ds.assign_coords(repeat=("presentation", np.array(["z", "x", "y", "y"], object)))
    np.testing.assert_array_equal(to_repeats(named, ["b"])[..., 0], [[3], [1]])


def test_ragged_repeats_are_cut_to_the_fewest_of_those_asked_for():
    ds = trials(list("aaabbccd"))
    assert to_repeats(ds, ["a", "b", "c"]).shape == (2, 3, 1)
    assert to_repeats(ds, ["a"]).ravel().tolist() == [0.0, 1.0, 2.0]


def test_fewer_than_two_repeats_raise_by_name():
    with pytest.raises(AlignmentError, match=r"needs 2 repeats or more; 'b' have one \(1 stimuli\); leave them out"):
        to_repeats(trials(["a", "a", "b"]), ["a", "b"])
    with pytest.raises(SchemaError, match="found one row per stimulus; expected presentation form; give single trials"):
        to_repeats(system(["a"]), ["a"])
    with pytest.raises(AlignmentError, match="'z' are missing"):
        to_repeats(trials(["a", "a"]), ["z"])


def test_repeats_with_time_are_refused_with_the_way_out():
    ds = rc.representation(
        np.zeros((2, 1, 2)), dims=("presentation", "unit", "time"), stimulus_id=["a", "a"], time=[0.0, 1.0]
    )
    with pytest.raises(SchemaError, match=r"expected \(presentation, unit\) for single repeats; average over time"):
        to_repeats(ds, ["a"])


# ---- labels of the rows


@pytest.mark.parametrize("wanted", [["a", "b"], ["b", "a"], ["b"]])
def test_labels_of_rows_follow_the_stimuli_in_any_order(wanted):
    ds = trials(["b", "a", "b"], stimulus_category=["bird", "fish", "bird"])
    assert row_labels(ds, "stimulus_category", wanted).tolist() == [{"a": "fish", "b": "bird"}[w] for w in wanted]


def test_labels_that_differ_between_presentations_raise_by_name():
    ds = trials(["b", "a", "b", "c", "c"], run=[1, 1, 2, 1, 3])
    with pytest.raises(AlignmentError, match="run differs between presentations of 'b', 'c'; expected one .*; give"):
        row_labels(ds, "run", ["c", "a", "b"])
    assert row_labels(ds, "run", ["a"]).tolist() == [1]  # others are not asked about


def test_unknown_labels_of_rows_are_refused():
    ds = trials(["a", "b"], run=[1, 2], unit_region="V4")
    with pytest.raises(OptionError, match="no label 'runs' of the rows; did you mean 'run'"):
        row_labels(ds, "runs", ["a"])
    with pytest.raises(OptionError, match="no label 'unit_region' of the rows; known: stimulus_id, run"):
        row_labels(ds, "unit_region", ["a"])
    with pytest.raises(AlignmentError, match="'z' are missing"):
        row_labels(ds, "run", ["z"])
