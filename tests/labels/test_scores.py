from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from repcompare.errors import SchemaError
from repcompare.labels.scores import (
    CELL,
    CELL_VARIABLES,
    Axes,
    assemble,
    concat_scores,
    is_scores,
    normalise_by_ceiling,
)


def table(sources, targets=("V4",), measures=("cka",), score=None, attrs=None, coords=None, **cells) -> xr.Dataset:
    shape = (len(sources), len(targets), len(measures))
    score = np.arange(np.prod(shape), dtype=float) if score is None else np.asarray(score, dtype=float)
    found = {"score": score.reshape(shape)}
    found |= {k: np.asarray(v).reshape(*shape, *np.shape(v)[3:]) if k != "score_unit" else v for k, v in cells.items()}
    named = {"kind": ("measure", ["similarity"] * len(measures)), **(coords or {})}
    return assemble(
        found, Axes(sources=sources, targets=targets, measures=measures, coords=named), attrs or {"seed": 0}
    )


# ---- assemble


def test_cells_get_their_names():
    ds = table(["a", "b"], ["V1", "V4"], ["cka", "rsa", "cca"], attrs={"seed": 3})
    assert is_scores(ds)
    assert ds["score"].dims == CELL
    assert float(ds["score"].sel(source="b", target="V1", measure="cca")) == 8.0
    assert ds.attrs == {"schema": "repcompare-scores-1", "seed": 3}
    assert ds["kind"].dims == ("measure",)


def test_folds_and_units_have_axes_of_their_own():
    coords = {
        "target_unit_id": ("target_unit", ["u0", "u1", "u2"]),
        "target_unit_target": ("target_unit", ["V1", "V4", "V4"]),
    }
    ds = table(
        ["a", "b"], ["V1", "V4"], score_fold=np.zeros((2, 2, 1, 5)), score_unit=np.zeros((2, 1, 3)), coords=coords
    )
    assert ds["score_fold"].dims == (*CELL, "fold")
    assert ds["score_unit"].dims == ("source", "measure", "target_unit")


@pytest.mark.parametrize(
    ("cells", "axes", "words"),
    [
        ({"scores": np.zeros((1, 1, 1))}, {}, "'scores' is not a variable of scores; .*did you mean 'score'"),
        (
            {"score": np.zeros((1, 1))},
            {},
            r"score has shape \(1, 1\); expected one entry per source, target, measure.*check",
        ),
        ({"score": np.zeros((2, 1, 1))}, {}, r"score has shape \(2, 1, 1\); expected .*'source': 1"),
        ({"score_fold": np.zeros((1, 1, 1))}, {}, r"score_fold has shape \(1, 1, 1\); .*measure, fold"),
        ({"score_low": np.zeros((1, 1, 1))}, {}, "scores are missing among 'score_low'; expected .*add it"),
        (
            {"score": np.zeros((2, 1, 1))},
            {"sources": ["a", "a"]},
            "source: 'a' occur more than once; expected .*rename",
        ),
        (
            {"score": np.zeros((1, 1, 1))},
            {"coords": {"source_layer": ("source", ["x", "y"])}},
            "source_layer has 2 labels on 'source'; expected one per source.*check",
        ),
        ({"score": np.zeros((1, 1, 1))}, {"coords": {"depth": ("layer", [1])}}, "depth has 1 labels on 'layer'"),
    ],
)
def test_assemble_refuses_what_does_not_fit(cells, axes, words):
    with pytest.raises(SchemaError, match=words):
        assemble(cells, Axes(**{"sources": ["a"], "targets": ["b"], "measures": ["cka"], **axes}), {})


def test_every_variable_of_a_cell_is_explained():
    assert all(CELL_VARIABLES.values())
    cells = {name: np.zeros((1, 1, 1)) for name in CELL_VARIABLES}
    assert set(assemble(cells, Axes(sources=["a"], targets=["b"], measures=["c"]), {}).data_vars) == set(CELL_VARIABLES)


@pytest.mark.parametrize("ds", [xr.Dataset(), xr.Dataset({"score": ("source", [1.0])}), xr.Dataset({"response": 1})])
def test_other_datasets_are_no_scores(ds):
    assert not is_scores(ds)


# ---- normalise_by_ceiling


def test_a_score_is_divided_by_a_positive_ceiling_only():
    score = np.array([0.4, -0.2, 0.4, 0.4, 0.4, np.nan])
    ceiling = np.array([0.8, 0.5, 0.0, -0.3, np.nan, 0.5])
    np.testing.assert_array_equal(normalise_by_ceiling(score, ceiling), [0.5, -0.4, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(normalise_by_ceiling(np.array([0.4]), np.array([np.inf])), [np.nan])


def test_one_ceiling_serves_a_row():
    np.testing.assert_allclose(normalise_by_ceiling(np.ones((2, 2)), np.array([0.5, 2.0])), [[2, 0.5], [2, 0.5]])


# ---- concat_scores


def test_joining_keeps_every_cell_and_the_order_of_names():
    a = table(
        ["conv2", "conv10"], measures=["rsa", "cka"], reason=[["", ""], ["", ""]], n_stimuli=np.full((2, 1, 2), 9)
    )
    b = table(
        ["conv1"], ["V1"], measures=["cka"], score=[7.0], reason=[[["too few"]]], n_stimuli=[[[4]]], attrs={"seed": 1}
    )
    found = concat_scores([a, b])
    assert is_scores(found)
    assert found["source"].values.tolist() == ["conv2", "conv10", "conv1"]
    assert found["target"].values.tolist() == ["V4", "V1"]
    assert found["measure"].values.tolist() == ["rsa", "cka"]
    assert float(found["score"].sel(source="conv10", target="V4", measure="cka")) == 3.0
    assert float(found["score"].sel(source="conv1", target="V1", measure="cka")) == 7.0
    assert int(found["score"].notnull().sum()) == 5
    assert found["reason"].sel(source="conv1", target="V4", measure="cka").item() == "not asked for"
    assert found["reason"].sel(source="conv1", target="V1", measure="cka").item() == "too few"
    assert found["reason"].sel(source="conv2", target="V4", measure="cka").item() == ""
    assert int(found["n_stimuli"].sel(source="conv1", target="V1", measure="cka")) == 4
    assert found.attrs == {"schema": "repcompare-scores-1", "seed": ["0", "1"]}


def test_labels_of_every_dim_and_text_survive():
    a = table(["a"], coords={"source_layer": ("source", ["L1"])}, notes=[[["n=1"]]])
    b = table(
        ["b"], ["IT"], ["rsa"], coords={"source_layer": ("source", ["L2"]), "target_region": ("target", ["temporal"])}
    )
    b["kind"] = ("measure", ["distance"])
    found = concat_scores([a, b.set_coords("kind")])
    assert dict(zip(found["measure"].values.tolist(), found["kind"].values.tolist(), strict=True)) == {
        "cka": "similarity",
        "rsa": "distance",
    }
    assert found["source_layer"].values.tolist() == ["L1", "L2"]
    assert found["target_region"].values.tolist() == ["", "temporal"]
    assert {"kind", "source_layer", "target_region"} <= set(found.coords)
    assert found["notes"].sel(source="a", target="V4", measure="cka").item() == "n=1"
    assert found["notes"].sel(source="b", target="V4", measure="cka").item() == ""
    assert found["notes"].dtype.kind == "U"


def test_equal_cells_may_stand_in_two_tables():
    a = table(["a", "b"], score=[0.1, np.nan])
    np.testing.assert_array_equal(concat_scores([a, a])["score"].values.ravel(), [0.1, np.nan])
    almost = table(["a"], score=[0.1 * (1 + 1e-15)])
    assert float(concat_scores([a, almost])["score"][0, 0, 0]) == 0.1
    xr.testing.assert_identical(concat_scores([a]), a)


def test_a_conflict_names_the_cell_and_both_scores():
    with pytest.raises(
        SchemaError, match=r"cell 'b', 'V4', 'cka' has two different scores, 0.2 and 0.3 \(1 cells do\); .*drop"
    ):
        concat_scores([table(["a", "b"], score=[0.1, 0.2]), table(["b", "c"], score=[0.3, 0.4])])


@pytest.mark.parametrize("turned", [False, True])
def test_a_score_beats_a_failure_with_all_that_belongs_to_it(turned):
    failed = table(["a"], score=[np.nan], reason=[[["no repeats"]]], n_stimuli=[[[3]]])
    scored = table(["a"], score=[0.5], reason=[[[""]]], n_stimuli=[[[9]]])
    found = concat_scores([scored, failed] if turned else [failed, scored])
    assert (float(found["score"].item()), found["reason"].item(), int(found["n_stimuli"].item())) == (0.5, "", 9)


def test_a_failure_beats_a_cell_that_was_not_asked_for():
    sparse = concat_scores(
        [table(["a"], ["x"], reason=[[[""]]], score=[1.0]), table(["b"], ["y"], reason=[[[""]]], score=[2.0])]
    )
    failed = table(["a"], ["y"], score=[np.nan], reason=[[["no repeats"]]])
    for tables in ([sparse, failed], [failed, sparse]):
        found = concat_scores(tables)
        assert found["reason"].sel(source="a", target="y").item() == "no repeats"
        assert found["reason"].sel(source="b", target="x").item() == "not asked for"
        assert float(found["score"].sel(source="b", target="y").item()) == 2.0


def test_joining_joined_tables_is_the_same_as_joining_all():
    one, two, three = (table([s], [t], score=[v]) for s, t, v in (("a", "x", 1), ("b", "y", 2), ("a", "y", 3)))
    xr.testing.assert_identical(concat_scores([concat_scores([one, two]), three]), concat_scores([one, two, three]))


def test_units_are_joined_by_name_and_folds_by_number():
    def with_units(target, ids, values, folds):
        coords = {
            "target_unit_id": ("target_unit", ids),
            "target_unit_target": ("target_unit", [target] * len(ids)),
        }
        unit = np.array(values, float).reshape(1, 1, -1)
        return table(["a"], [target], coords=coords, score_unit=unit, score_fold=np.ones((1, 1, 1, folds)))

    found = concat_scores(
        [with_units("V1", ["u1", "u0"], [1, 0], 2), with_units("V4", ["u0", "u1", "u2"], [5, 6, 7], 3)]
    )
    by_name = {
        (str(t), str(u)): float(v)
        for t, u, v in zip(
            found["target_unit_target"].values,
            found["target_unit_id"].values,
            found["score_unit"].values.ravel(),
            strict=True,
        )
    }
    assert by_name == {("V1", "u1"): 1, ("V1", "u0"): 0, ("V4", "u0"): 5, ("V4", "u1"): 6, ("V4", "u2"): 7}
    assert found.sizes["fold"] == 3
    assert np.isnan(found["score_fold"].sel(target="V1").values[0, 0]).tolist() == [False, False, True]
    assert "target_unit" not in found.coords and "fold" not in found.coords
    bare = table(["b"], ["V1"])
    for tables in ([with_units("V1", ["u1"], [1], 2), bare], [bare, with_units("V1", ["u1"], [1], 2)]):
        mixed = concat_scores(tables)
        assert mixed["target_unit_id"].values.tolist() == ["u1"]
        assert mixed["score_unit"].sel(source="a").item() == 1 and np.isnan(mixed["score_unit"].sel(source="b").item())
        assert mixed["score_fold"].sel(source="b").isnull().all()


def test_tables_are_left_alone_and_others_refused():
    a, b = table(["a"]), table(["b"], reason=[[["x"]]])
    before = a.copy(deep=True)
    concat_scores([a, b])
    xr.testing.assert_identical(a, before)
    for wrong in ([], [a, xr.Dataset()], [a, "scores.nc"]):
        with pytest.raises(SchemaError, match="found no tables of scores; expected Datasets, as compare"):
            concat_scores(wrong)


def test_attributes_that_differ_become_lists():
    tables = [
        table(["a"], attrs={"ceiling": "none", "inputs": ["x: 1"], "folds": "kfold"}),
        table(["b"], attrs={"ceiling": "split_half", "inputs": ["x: 1", "y: 2"], "folds": "kfold", "extra": 1}),
    ]
    attrs = concat_scores(tables).attrs
    assert attrs["ceiling"] == ["none", "split_half"]
    assert attrs["inputs"] == ["x: 1", "y: 2"]
    assert (attrs["folds"], attrs["extra"]) == ("kfold", 1)
