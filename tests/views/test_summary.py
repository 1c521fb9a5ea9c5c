from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import SchemaError
from repcompare.labels.parts import tree_of
from repcompare.labels.scores import Axes, assemble
from repcompare.views.summary import summary, summary_lines


def trials() -> xr.Dataset:
    values = np.arange(8.0).reshape(4, 2)
    values[0, 0] = np.nan
    return rc.representation(
        values,
        dims=("presentation", "unit"),
        stimulus_id=["a", "b", "a", "a"],
        repeat=[0, 0, 1, 2],
        unit_region=["V4", "V1"],
        unit_x=[0.5, 2.0],
        unit_y=[np.nan, np.nan],
        unit_good=[True, True],
        attrs={"modality": "spikes", "history": ["read", "cut"], "bin": np.float32(0.5), "grid": np.array([1, 2])},
    )


def test_a_representation_in_presentation_form():
    found = summary(trials())
    assert found["kind"] == "representation"
    part = found["parts"][""]
    assert part == {
        "sizes": {"presentation": 4, "unit": 2},
        "dtype": "float64",
        "bytes": 64,
        "stimuli": 2,
        "repeats": "1 to 3",
        "missing": 0.125,
        "range": [1.0, 7.0],
        "labels": {
            "stimulus_id": "a (3), b (1)",
            "repeat": "0 (2), 1 (1), 2 (1)",
            "unit_region": "V1 (1), V4 (1)",
            "unit_x": "0.5 to 2",
            "unit_y": "missing",
            "unit_good": "True (2)",
        },
        "attrs": {"modality": "spikes", "bin": 0.5, "grid": [1, 2]},
        "history": ["read", "cut"],
    }
    assert summary_lines(found) == [
        "representation",
        "4 presentation x 2 unit, float64, 6.4e-05 MB",
        "  2 stimuli, repeats: 1 to 3, values 1 to 7, 12.5% missing",
        "  stimulus_id: a (3), b (1)",
        "  repeat: 0 (2), 1 (1), 2 (1)",
        "  unit_region: V1 (1), V4 (1)",
        "  unit_x: 0.5 to 2",
        "  unit_y: missing",
        "  unit_good: True (2)",
        "  modality: spikes",
        "  bin: 0.5",
        "  grid: [1, 2]",
        "  history: read",
        "  history: cut",
    ]


def test_still_and_continuous_forms_have_no_repeats():
    still = summary(rc.representation(np.full((2, 2), np.nan), stimulus=["a", "b"]))["parts"][""]
    assert (still["repeats"], still["missing"], still["range"]) == ("none", 1.0, [])
    assert "values no values" in summary_lines({"kind": "representation", "parts": {"": still}})[2]
    clock = rc.representation(np.eye(3), dims=("time", "unit"), time=[0.0, 1.0, 2.0])
    assert summary(clock)["parts"][""]["stimuli"] == 3
    even = rc.representation(np.eye(4), dims=("presentation", "unit"), stimulus_id=list("abab"))
    assert summary(even)["parts"][""]["repeats"] == "2"


def test_many_values_of_a_label_are_counted():
    ds = rc.representation(np.eye(9), stimulus=list("abcdefghi"), unit_layer=[f"L{i}" for i in range(9)])
    assert summary(ds)["parts"][""]["labels"]["unit_layer"].endswith("L5 (1) and 3 more")


@pytest.mark.parametrize("wrap", [dict, tree_of])
def test_a_tree_of_parts(wrap):
    found = summary(wrap({"net/conv": trials(), "net/fc": trials().isel(unit=[0])}))
    assert found["kind"] == "tree of parts"
    assert {name: part["sizes"]["unit"] for name, part in found["parts"].items()} == {"net/conv": 2, "net/fc": 1}
    lines = summary_lines(found)
    assert lines[0] == "tree of parts"
    assert any(line.startswith("net/fc: 4 presentation x 1 unit") for line in lines)


def test_scores_show_their_size_and_record():
    axes = Axes(sources=["a", "b"], targets=["c"], measures=["cka"])
    ds = assemble({"score": np.ones((2, 1, 1))}, axes, {"seed": np.int64(3), "warnings": ["one", "two"]})
    found = summary(ds)
    assert found == {
        "kind": "scores",
        "sizes": {"source": 2, "target": 1, "measure": 1},
        "record": {"seed": 3, "warnings": ["one", "two"]},
    }
    assert summary_lines(found) == [
        "scores: 2 sources x 1 targets x 1 measures",
        "  seed: 3",
        "  warnings: one",
        "  warnings: two",
    ]


def test_descriptions_are_strict_json_also_from_a_file(tmp_path):
    for obj in (trials(), {"x": trials()}):
        rc.save(obj, tmp_path / "it.nc")
        for given in (obj, rc.open(tmp_path / "it.nc")):
            found = summary(given)
            assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert summary(rc.open(tmp_path / "it.nc")) == summary({"x": trials()}) | {"kind": "tree of parts"}


def test_what_is_nothing_of_the_kind_is_refused():
    with pytest.raises(SchemaError, match=r"no variable 'response' among \['a'\]; expected a representation; make one"):
        summary(xr.Dataset({"a": 1}))
    with pytest.raises(SchemaError, match="found a ndarray"):
        summary(np.eye(2))
