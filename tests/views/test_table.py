from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import repcompare as rc
from repcompare.errors import SchemaError
from repcompare.labels.scores import Axes, assemble, concat_scores
from repcompare.views.table import csv_text, records, table, terminal_table

FIXED = [
    *("source", "target", "measure", "score", "ceiling", "ceiling_kind", "score_normalised", "low", "high", "pvalue"),
    *("pvalue_corrected", "n_stimuli", "n_source_units", "n_target_units", "seconds"),
]
APPENDED = ["normalisation", "nan_policy", "n_dropped", "seed", "reason"]


def scores(sources=("conv2", "conv1"), targets=("V4", "IT"), measures=("rsa", "cka"), **coords) -> xr.Dataset:
    shape = (len(sources), len(targets), len(measures))
    score = np.random.default_rng(0).normal(size=shape)
    score[0, 0, 0] = np.nan
    reason = np.where(np.isnan(score), "too few stimuli; has 2, needs 3", "")
    ceiling = np.broadcast_to(np.array([0.9, np.nan])[: len(measures)], shape).copy()
    cells = {
        "score": score,
        "score_ceiling": ceiling,
        "score_normalised": score / ceiling,
        "score_low": score - 0.1,
        "score_high": score + 0.1,
        "score_pvalue": np.full(shape, 0.01),
        "score_pvalue_corrected": np.where(score > 0, 0.02, 0.6),
        "n_stimuli": np.full(shape, 40),
        "n_source_units": np.full(shape, 7),
        "n_target_units": np.full(shape, 9),
        "n_dropped": np.full(shape, 1),
        "seconds": np.full(shape, 1 / 3),
        "reason": reason,
    }
    named = {"kind": ("measure", ["similarity"] * len(measures)), **coords}
    attrs = {"ceiling": "split_half", "normalisation": "attenuation", "nan_policy": "drop_units", "seed": 3}
    return assemble(cells, Axes(sources=sources, targets=targets, measures=measures, coords=named), attrs)


def shown(ds: xr.Dataset, title: str = "") -> str:
    out = io.StringIO()
    Console(file=out, width=160, color_system=None).print(terminal_table(ds, title))
    return out.getvalue()


def test_columns_are_those_of_the_contract_in_order():
    by = {"source_layer": ("source", ["conv2", "conv1"]), "target_region": ("target", ["V4", "IT"])}
    frame = rc.table(scores(**by))
    assert list(frame.columns) == [*FIXED, *APPENDED, "layer", "region"]
    assert frame["layer"].tolist() == frame["source"].tolist()
    assert frame["region"].tolist() == frame["target"].tolist()
    assert list(table(scores()).columns) == [*FIXED, *APPENDED]


def test_labels_of_both_sides_keep_their_side():
    by = {"source_layer": ("source", ["a", "b"]), "target_layer": ("target", ["c", "d"])}
    assert list(table(scores(**by)).columns)[-2:] == ["source_layer", "target_layer"]
    assert list(table(scores(source_reason=("source", ["a", "b"]))).columns)[-2:] == ["reason", "source_reason"]


def test_rows_are_sorted_and_hold_the_cells():
    ds = scores()
    frame = table(ds)
    keys = frame[["source", "target", "measure"]].values.tolist()
    assert keys == sorted(keys) and len(keys) == 8
    for _, row in frame.iterrows():
        cell = ds.sel(source=row["source"], target=row["target"], measure=row["measure"])
        np.testing.assert_array_equal(row["score"], cell["score"].item())
        np.testing.assert_array_equal(row["low"], cell["score_low"].item())
        np.testing.assert_array_equal(row["pvalue_corrected"], cell["score_pvalue_corrected"].item())
        assert row["n_target_units"] == 9 and row["n_source_units"] == 7
        assert row["reason"] == cell["reason"].item()
        assert (row["nan_policy"], row["seed"]) == ("drop_units", 3)
    assert list(frame.index) == list(range(8))


def test_ceiling_and_normalisation_are_named_where_there_is_a_ceiling():
    frame = table(scores())
    ceiling = frame["ceiling"].notna()
    assert set(frame.loc[ceiling, "ceiling_kind"]) == {"split_half"}
    assert set(frame.loc[ceiling, "normalisation"]) == {"attenuation"}
    assert set(frame.loc[~ceiling, "ceiling_kind"]) == set(frame.loc[~ceiling, "normalisation"]) == {""}


def test_bare_scores_have_all_columns_too():
    ds = assemble({"score": np.ones((1, 1, 1))}, Axes(sources=["a"], targets=["b"], measures=["c"]), {})
    frame = table(ds)
    assert list(frame.columns) == [*FIXED, *APPENDED]
    assert frame["reason"].tolist() == [""]
    assert frame["n_stimuli"].isna().all()


def test_a_dataset_without_scores_is_refused():
    with pytest.raises(
        SchemaError, match=r"found variables \['a'\]; expected scores with dims .*; make them with compare"
    ):
        table(xr.Dataset({"a": 1}))


def test_csv_round_trips_every_number():
    ds = scores()
    text = csv_text(ds)
    assert text.endswith("\n") and "\r" not in text
    frame, rows = table(ds), list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(frame.columns)
    for column in ("score", "ceiling", "score_normalised", "low", "high", "seconds"):
        back = [float(row[column]) if row[column] else np.nan for row in rows]
        np.testing.assert_array_equal(back, frame[column].to_numpy())
    failed = next(r for r in rows if r["reason"])
    assert (failed["score"], failed["low"], failed["n_stimuli"]) == ("", "", "40")
    assert failed["reason"] == "too few stimuli; has 2, needs 3"
    assert {r["seconds"] for r in rows} == {"0.3333333333333333"}


def test_csv_quotes_what_needs_quotes():
    ds = scores(sources=('a,"b"', "line\nbreak"))
    assert {r["source"] for r in csv.DictReader(io.StringIO(csv_text(ds), newline=""))} == {'a,"b"', "line\nbreak"}


def test_csv_does_not_depend_on_the_order_of_the_dataset():
    ds = scores()
    assert csv_text(ds.isel(source=[1, 0], measure=[1, 0]).transpose("measure", "target", "source")) == csv_text(ds)


def test_records_are_strict_json():
    ds = scores()
    ds["score_high"][1, 1, 1] = np.inf
    rows = records(ds)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [list(r) for r in rows] == [[*FIXED, *APPENDED]] * 8
    failed = next(r for r in rows if r["reason"])
    assert failed["score"] is None and failed["low"] is None
    assert type(failed["n_stimuli"]) is int and type(failed["seed"]) is int


def test_tables_survive_the_file(tmp_path):
    ds = scores(source_layer=("source", ["x", "y"]))
    rc.save(ds, tmp_path / "s.nc")
    assert csv_text(rc.open(tmp_path / "s.nc")) == csv_text(ds)
    assert json.dumps(records(rc.open(tmp_path / "s.nc")), allow_nan=False) == json.dumps(records(ds), allow_nan=False)


def test_joined_tables_name_what_differs():
    second = scores(sources=("conv3",)).assign_attrs(ceiling="none", seed=4)
    frame = table(concat_scores([scores(), second]))
    assert set(frame["ceiling_kind"]) == {"split_half", ""}
    assert set(frame["seed"]) == {"3; 4"}
    assert len(frame) == 12


# ---- the terminal


def test_the_terminal_shows_score_star_ceiling_and_interval():
    ds = scores(sources=("conv1",), targets=("V4",), measures=("rsa", "cka"))
    ds["score"][:] = [[[0.1234, -0.5]]]
    ds["score_low"][:], ds["score_high"][:] = [[[0.1, -0.6]]], [[[0.2, -0.4]]]
    ds["score_pvalue_corrected"][:] = [[[0.01, 0.6]]]
    text = shown(ds, "my study")
    assert "my study" in text
    assert "0.123* / 0.90" in text and "[0.10, 0.20]" in text
    assert "-0.500" in text and "[-0.60, -0.40]" in text and "-0.500*" not in text
    assert "target" not in text  # one target needs no column
    assert "V4" in shown(scores())


def test_the_terminal_tells_failures_from_gaps():
    ds = concat_scores([scores(), scores(sources=("conv9",), targets=("V1",))])
    text = shown(ds)
    rows = [line for line in text.splitlines() if "conv9" in line]
    assert len(rows) == 1 and "V1" in rows[0]  # combinations that nobody asked for have no row
    failed = next(line for line in text.splitlines() if "conv2" in line and "V4" in line)
    assert "- │" in failed


def test_the_terminal_shows_names_as_they_are():
    ds = scores(sources=("[bold]conv[/bold]", "[/x]"), measures=("cka [angular]",), targets=("V4", "[i]"))
    text = shown(ds, "[red]study")
    for name in ("[bold]conv[/bold]", "[/x]", "cka [angular]", "[i]", "[red]study"):
        assert name in text
