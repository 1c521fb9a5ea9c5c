from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import OptionError, SchemaError
from repcompare.labels.parts import check_paths, checked, parts_of, split_by, tree_of


def part(units: int = 2, **coords) -> xr.Dataset:
    return rc.representation(np.ones((2, units)), stimulus=["a", "b"], **coords)


def test_one_representation_is_its_only_part():
    ds = part()
    assert list(parts_of(ds)) == [""]
    assert parts_of(ds)[""] is ds


def test_mappings_are_joined_by_slashes_in_their_order():
    found = parts_of({"net": {"conv2": part(1), "conv1": part(2)}, "brain": part(3), 7: part(4)})
    assert {name: p.sizes["unit"] for name, p in found.items()} == {"net/conv2": 1, "net/conv1": 2, "brain": 3, "7": 4}


def test_trees_give_their_parts_by_path():
    tree = xr.DataTree.from_dict({"/net/conv1": part(1), "/net/conv2": part(2)})
    assert {name: p.sizes["unit"] for name, p in parts_of(tree).items()} == {"net/conv1": 1, "net/conv2": 2}
    assert list(parts_of(tree["net"])) == ["net/conv1", "net/conv2"]
    assert list(parts_of({"x": tree})) == ["x/net/conv1", "x/net/conv2"]


def test_labels_of_a_tree_are_inherited():
    bare = part().drop_vars("stimulus")
    tree = xr.DataTree.from_dict({"/": xr.Dataset(coords={"stimulus": ["a", "b"]}), "/x": bare})
    assert parts_of(tree)["x"]["stimulus"].values.tolist() == ["a", "b"]


@pytest.mark.parametrize("source", [{}, xr.DataTree(), {"a": {}}])
def test_a_source_without_parts_is_refused(source):
    with pytest.raises(SchemaError, match="no parts; expected at least one representation .*check what was read"):
        parts_of(source)


@pytest.mark.parametrize(("source", "kind"), [(np.eye(2), "ndarray"), ("file.nc", "str"), (None, "NoneType")])
def test_what_is_no_source_is_refused(source, kind):
    with pytest.raises(SchemaError, match=f"found a {kind}; expected a representation .* make one with"):
        parts_of(source)
    with pytest.raises(SchemaError, match=f"found a {kind}"):
        parts_of({"x": source})


def test_two_parts_of_one_name_are_refused():
    with pytest.raises(SchemaError, match="two parts are called 'a/b'; expected different names; rename"):
        parts_of({"a/b": part(), "a": {"b": part()}})
    with pytest.raises(SchemaError, match="two parts are called '1'"):
        parts_of({1: part(), "1": part()})


def test_a_tree_gives_back_the_parts():
    parts = {"net/conv1": part(1), "net/conv2": part(2), "brain": part(3)}
    tree = tree_of(parts, {"source": "here"})
    assert tree.attrs == {"source": "here"}
    found = parts_of(tree)
    assert set(found) == set(parts)
    for name in parts:
        xr.testing.assert_identical(found[name], parts[name])
    assert tree_of(parts).attrs == {}


@pytest.mark.parametrize(("names", "words"), [(["a", "a/b"], "'a' and part 'a/b'"), (["x", ""], "'' and part 'x'")])
def test_a_part_inside_another_is_refused(names, words):
    with pytest.raises(SchemaError, match=f"{words} cannot live in one tree; expected parts side by side; rename"):
        tree_of({name: part() for name in names})


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "..", "a/./b"])
def test_steps_of_a_path_have_names(name):
    with pytest.raises(SchemaError, match=f"part '{name}': has an empty step.*expected names.*rename"):
        check_paths([name])


def test_names_that_only_begin_alike_live_together():
    check_paths(["conv1", "conv10", "conv1b/x"])


def test_split_by_a_label_of_units_in_order_of_appearance():
    ds = part(4, unit_region=["V4", "V1", "V4", "IT"], unit_x=[0.0, 1.0, 2.0, 3.0])
    found = rc.split_by(ds, "region")
    assert {name: p["unit_x"].values.tolist() for name, p in found.items()} == {"V4": [0, 2], "V1": [1], "IT": [3]}
    assert list(split_by(ds, "unit_region")) == list(found)


def test_split_by_a_label_of_rows_and_by_numbers():
    ds = rc.representation(
        np.arange(3.0)[:, None], dims=("presentation", "unit"), stimulus_id=["a", "a", "b"], session=[2, 1, 2]
    )
    assert {name: p["response"].values.ravel().tolist() for name, p in split_by(ds, "session").items()} == {
        "2": [0.0, 2.0],
        "1": [1.0],
    }
    for half in split_by(ds, "stimulus_id").values():
        rc.representation(
            half["response"].values, dims=("presentation", "unit"), stimulus_id=half["stimulus_id"].values
        )


def test_an_unknown_label_is_refused_with_the_nearest():
    with pytest.raises(OptionError, match="no label 'regoin' to split by; did you mean 'region'"):
        split_by(part(unit_region="V4"), "regoin")
    picked = rc.representation(
        np.ones((2, 1, 2)), dims=("stimulus", "unit", "time"), stimulus=["a", "b"], time=[0.0, 1.0]
    ).isel(time=0)
    with pytest.raises(OptionError, match="no label 'time'"):
        split_by(picked, "time")


def test_errors_name_side_and_part():
    assert list(checked({"x": part()}, "source")) == ["x"]
    broken = part().drop_vars("unit_id")
    with pytest.raises(SchemaError, match=r"^source part 'V4': not a representation:\n- unit_id: missing"):
        checked({"V1": part(), "V4": broken}, "source")
    with pytest.raises(SchemaError, match=r"^target: not a representation"):
        checked({"": broken}, "target")
