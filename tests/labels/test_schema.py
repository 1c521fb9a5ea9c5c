from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

import repcompare as rc
from repcompare.errors import SchemaError
from repcompare.labels import schema
from repcompare.labels.schema import representation, stimulus_labels, validate
from repcompare.labels.values import as_float, duplicates, infinite, text

NAMES = ["cat", "dog", "owl"]


def plain(**coords) -> xr.Dataset:
    coords = {"stimulus": NAMES, "unit_id": ("unit", ["u0", "u1"]), **coords}
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    return xr.Dataset({"response": (("stimulus", "unit"), values)}, coords=coords, attrs={"schema": "repcompare-1"})


def recording(**coords) -> xr.Dataset:
    return representation(np.zeros((4, 2)), dims=("time", "unit"), **coords)


def said(ds: object) -> str:
    with pytest.raises(SchemaError) as caught:
        validate(ds)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith("not a representation:\n- ")
    return message


# ---- the constructor


def test_a_representation_is_a_plain_dataset():
    ds = representation(np.eye(3, 2), stimulus=NAMES, unit_region="V4", attrs={"modality": "fmri"})
    assert type(ds) is xr.Dataset
    assert ds["response"].dims == ("stimulus", "unit")
    assert ds.attrs == {"schema": "repcompare-1", "modality": "fmri"}
    assert ds["unit_id"].values.tolist() == ["unit/0", "unit/1"]
    assert ds["unit_region"].values.tolist() == ["V4", "V4"]
    assert validate(ds) is ds
    assert rc.representation is representation


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("longdouble", "float64"),
        ("bool", "float32"),
        ("int8", "float32"),
        ("uint8", "float32"),
        ("int16", "float32"),
        ("uint16", "float32"),
        ("int32", "float64"),
        ("uint32", "float64"),
        ("int64", "float64"),
        (">f4", "float32"),
        (">f8", "float64"),
        (">i2", "float32"),
    ],
)
def test_numbers_are_widened_exactly_and_in_the_byte_order_of_the_machine(given, kept):
    values = np.array([[0, 1], [1, 0], [1, 1]], dtype=given)
    ds = representation(values, stimulus=NAMES)
    assert ds["response"].dtype == np.dtype(kept)
    assert ds["response"].dtype.isnative
    np.testing.assert_array_equal(ds["response"].values, values.astype(kept))


def test_the_widest_small_integers_are_exact():
    assert as_float(np.array([2**16 - 1], np.uint16)).tolist() == [65535.0]
    assert as_float(np.array([2**31 - 1], np.int32)).tolist() == [2147483647.0]


@pytest.mark.parametrize(
    "values",
    [
        np.ones((3, 2), complex),
        np.array([["a", "b"]] * 3),
        np.zeros((3, 2), "datetime64[s]"),
        np.zeros((3, 2), "timedelta64[s]"),
        np.array([[Fraction(1), None]] * 3, dtype=object),
        None,
    ],
)
def test_what_is_no_real_number_is_refused(values):
    with pytest.raises(
        SchemaError, match=rf"dtype {re.escape(str(np.asarray(values).dtype))}; expected real .*convert"
    ):
        representation(values, stimulus=NAMES)


def test_ragged_rows_are_refused_by_name():
    with pytest.raises(SchemaError, match="expected rows of the same length; fill what is missing with NaN"):
        representation([[1.0, 2.0], [3.0]], stimulus=["a", "b"])


def test_masked_values_are_missing_values():
    masked = np.ma.MaskedArray([[1.0, 9e9], [3.0, 4.0]], mask=[[False, True], [False, False]])
    found = representation(masked, stimulus=["a", "b"])["response"].values
    np.testing.assert_array_equal(found, [[1.0, np.nan], [3.0, 4.0]])
    whole = np.ma.MaskedArray(np.ones((2, 2), np.int16))
    assert representation(whole, stimulus=["a", "b"])["response"].dtype == np.float32


def test_nan_means_missing_and_infinite_values_are_named_by_position():
    values = np.zeros((3, 2))
    values[0, 0] = np.nan
    representation(values, stimulus=NAMES)
    values[1, 1], values[2, 0] = -np.inf, np.inf
    with pytest.raises(
        SchemaError, match=r"2 infinite value\(s\), the first \(-inf\) at stimulus 1, unit 1; .*write NaN"
    ):
        representation(values, stimulus=NAMES)
    huge = np.full((3, 2), 3e38, np.float32)  # their sum overflows, they do not
    representation(huge, stimulus=NAMES)


def test_a_third_axis_is_named_in_the_place_of_an_infinite_value():
    values = np.zeros((2, 1, 3))
    values[1, 0, 2] = np.inf
    with pytest.raises(SchemaError, match="at presentation 1, unit 0, time 2"):
        representation(values, dims=("presentation", "unit", "time"), stimulus_id=["a", "b"], time=[0, 1, 2])


def test_axes_are_put_in_the_order_of_the_schema():
    values = np.arange(24.0).reshape(2, 3, 4)
    ds = representation(values, dims=("time", "unit", "stimulus"), stimulus=list("abcd"), time=[0.0, 0.1])
    assert ds["response"].dims == ("stimulus", "unit", "time")
    np.testing.assert_array_equal(ds["response"].values, values.transpose(2, 1, 0))
    assert ds["time"].attrs == {"units": "s"}


@pytest.mark.parametrize(
    "dims", [("stimulus", "stimulus"), ("stimulus", "time"), ("unit", "neuron"), ("trial", "unit"), ("unit", "unit")]
)
def test_dims_outside_the_schema_are_refused(dims):
    with pytest.raises(SchemaError, match=r"expected one sample dim \(stimulus, presentation, time\), 'unit'"):
        representation(np.zeros((3, 2)), dims=dims)


def test_further_dims_are_refused():
    with pytest.raises(SchemaError, match=r"further dims \('depth',\); expected one of stimulus.*rename them"):
        representation(np.zeros((3, 2, 2)), dims=("stimulus", "unit", "depth"), stimulus=NAMES)


def test_the_number_of_axes_must_fit():
    with pytest.raises(
        SchemaError, match=r"1 axes of lengths \(3,\); dims=\('stimulus', 'unit'\) name 2; .*give dims="
    ):
        representation(np.zeros(3), stimulus=NAMES)


@pytest.mark.parametrize(("length", "shape"), [(2, r"\(2,\)"), (4, r"\(4,\)")])
def test_labels_must_fit_their_dim(length, shape):
    with pytest.raises(
        SchemaError, match=rf"stimulus has shape {shape}; expected \(3,\), one per stimulus; give as many"
    ):
        representation(np.zeros((3, 2)), stimulus=NAMES[:2] + ["x"] * (length - 2))
    with pytest.raises(SchemaError, match=r"unit_region has shape \(2, 1\); expected \(2,\)"):
        representation(np.zeros((3, 2)), stimulus=NAMES, unit_region=[["V1"], ["V4"]])


def test_names_outside_the_schema_are_refused_with_the_nearest():
    with pytest.raises(SchemaError, match=r"'unitregion' is not a name of the schema; did you mean 'unit_region'"):
        representation(np.zeros((3, 2)), stimulus=NAMES, unitregion="V4")
    with pytest.raises(SchemaError, match=r"'time' needs a dim 'time', which the values lack"):
        representation(np.zeros((3, 2)), stimulus=NAMES, time=[0.0])


def test_either_name_of_the_stimuli_is_taken_in_every_form():
    assert representation(np.zeros((3, 2)), stimulus_id=NAMES)["stimulus"].values.tolist() == NAMES
    trials = representation(np.zeros((3, 2)), dims=("presentation", "unit"), stimulus=["a", "a", "b"])
    assert trials["stimulus_id"].values.tolist() == ["a", "a", "b"]
    assert "stimulus" not in trials.coords


def test_none_means_not_given_and_one_value_is_repeated():
    ds = representation(np.zeros((3, 2)), stimulus=NAMES, unit_x=1.5, unit_layer=None, stimulus_category=b"animal")
    assert ds["unit_x"].values.tolist() == [1.5, 1.5]
    assert "unit_layer" not in ds.coords
    assert ds["stimulus_category"].values.tolist() == ["animal"] * 3


def test_bytes_and_objects_become_text():
    raw = np.array([b"caf\xc3\xa9", b"dog", b"owl"])
    for labels in (raw, raw.astype(object), np.array(raw.astype(object), dtype=object)):
        ds = representation(np.zeros((3, 2)), stimulus=labels)
        assert ds["stimulus"].values.tolist() == ["café", "dog", "owl"]
    series = pd.Series(["café", "dog", "owl"])
    assert representation(np.zeros((3, 2)), stimulus=series)["stimulus"].values.tolist() == ["café", "dog", "owl"]


def test_bytes_that_are_no_text_are_named():
    with pytest.raises(SchemaError, match=r"b'caf\\xe9' is not UTF-8; expected text; decode"):
        representation(np.zeros((3, 2)), stimulus=np.array([b"caf\xe9", b"dog", b"owl"]))


def test_the_callers_objects_are_left_alone():
    values, coords, attrs = np.ones((3, 2)), {"stimulus": list(NAMES), "time": None}, {"history": ["made"]}
    ds = representation(values, attrs=attrs, **coords)
    schema.add_history(ds, "more")
    assert attrs == {"history": ["made"]} and coords == {"stimulus": NAMES, "time": None}
    assert ds.attrs["history"] == ["made"]
    np.testing.assert_array_equal(values, 1)


# ---- every rule of the schema, broken once


def test_a_valid_dataset_has_no_complaint():
    assert validate(plain()) is not None
    assert validate(plain(unit_colour=("unit", [True, False]), stimulus_onset=("stimulus", [0.0, np.nan, 1.0])))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda: np.eye(2), r"object: found a ndarray; expected an xarray.Dataset.*make one with"),
        (lambda: plain()["response"], r"found a DataArray"),
        (
            lambda: plain().rename(response="rates"),
            r"no variable 'response' among \['rates', 'stimulus', 'unit_id'\]; expected .*make one with",
        ),
        (
            lambda: plain().drop_vars("stimulus").rename(stimulus="image"),
            r"has dims \('image', 'unit'\); expected one of stimulus, presentation, time; .*ds.rename",
        ),
        (lambda: plain().drop_vars("unit_id").rename(unit="neuroid"), r"has dims \('stimulus', 'neuroid'\); expected"),
        (lambda: plain().expand_dims(presentation=2), r"has dims \('presentation', 'stimulus', 'unit'\); expected"),
        (lambda: plain().astype(int), r"response: has dtype int64; expected float32 or float64; convert it"),
        (lambda: plain().astype(np.float16), r"response: has dtype float16; expected"),
        (lambda: plain().astype(">f4"), r"response: has dtype >f4; expected float32 or float64; convert it"),
        (
            lambda: plain().where(plain()["response"] < 5, np.inf),
            r"1 infinite value\(s\), the first \(inf\) at stimulus 2, unit 1; expected finite",
        ),
        (lambda: plain().isel(unit=[]), r"unit: has length 0; expected at least one; check what was selected"),
        (lambda: plain().isel(stimulus=[]), r"stimulus: has length 0; expected at least one"),
        (
            lambda: plain().assign(noise=("unit", [1.0, 2.0])),
            r"noise: is a second variable; expected 'response' alone; drop it with ds.drop_vars\('noise'\)",
        ),
        (
            lambda: plain(colour=("unit", ["r", "g"])),
            r"colour: is not a name of the schema; expected .*rename it to stimulus_colour or unit_colour, or drop",
        ),
        (lambda: plain(unit=[0, 1]), r"unit: is not a name of the schema; .*rename it to unit_id"),
        (
            lambda: plain(unit_region=("stimulus", NAMES)),
            r"unit_region: lies on \('stimulus',\); expected \('unit',\); give one label per unit, or drop",
        ),
        (lambda: plain(unit_region="V4"), r"unit_region: lies on \(\); expected \('unit',\)"),
        (
            lambda: plain(unit_region=("unit", np.array(["V4", None], object))),
            r"unit_region: has dtype object; unit 1 is (None|nan); expected text; convert it .*name what is missing",
        ),
        (
            lambda: plain(unit_region=("unit", np.array(["V4", np.nan], object))),
            r"unit_region: has dtype object; unit 1 is nan; expected text",
        ),
        (
            lambda: plain(unit_id=("unit", [1, 2])),
            r"unit_id: has dtype int64; unit 0 is 1; expected text; convert it with ds\['unit_id'\].astype\(str\)",
        ),
        (lambda: plain(stimulus=[1, 2, 3]), r"stimulus: has dtype int64; stimulus 0 is 1; expected text; convert"),
        (
            lambda: plain(run=("stimulus", [1.0, 2.0, 2.0])),
            r"run: has dtype float64; stimulus 0 is 1.0; expected text or integer; convert it with",
        ),
        (
            lambda: plain(unit_x=("unit", ["left", "right"])),
            r"unit_x: has dtype <U5; .*expected number; convert it with ds\['unit_x'\].astype\(float\)",
        ),
        (
            lambda: plain(unit_gain=("unit", [1j, 2j])),
            r"unit_gain: has dtype complex128; .*expected text, number or bool",
        ),
        (
            lambda: plain(stimulus_onset=("stimulus", np.array(["2020-01-01"] * 3, "datetime64[ns]"))),
            r"stimulus_onset: has dtype datetime64\[ns\]; .*expected text, number or bool; convert",
        ),
        (
            lambda: plain(unit_note=("unit", np.array([{}, []], object))),
            r"unit_note: has dtype object; unit 0 is \{\}; expected text, number or bool",
        ),
        (lambda: plain().drop_vars("stimulus"), r"stimulus: rows have no stimulus labels; .*give stimulus="),
        (
            lambda: plain(stimulus=["cat", "", ""]),
            r"stimulus: row 1 has no label \(2 in all\); expected a name for each row; name it, or leave",
        ),
        (
            lambda: plain(stimulus=["owl", "cat", "owl"]),
            r"stimulus: 'owl' occur more than once; expected one row per stimulus: use dims=.*average_repeats",
        ),
        (
            lambda: plain().drop_vars("unit_id"),
            r"unit_id: missing; expected a unique name for each unit; give unit_id=",
        ),
        (
            lambda: plain(unit_id=("unit", ["u", "u"])),
            r"unit_id: 'u' occur more than once; expected unique names; put the subject or session before",
        ),
    ],
)
def test_each_rule_names_the_value_what_was_expected_and_the_next_step(broken, words):
    assert re.search(words, said(broken()), flags=re.DOTALL)


def test_stacked_labels_are_refused_with_the_way_back():
    flat = plain().drop_vars("stimulus").rename(stimulus="presentation")
    index = pd.MultiIndex.from_arrays([["a", "a", "b"], [0, 1, 0]], names=["stimulus_id", "repeat"])
    stacked = flat.assign_coords(xr.Coordinates.from_pandas_multiindex(index, "presentation"))
    message = said(stacked)
    assert "presentation: is a MultiIndex of 'stimulus_id', 'repeat'; expected flat labels" in message
    assert "ds.reset_index('presentation')" in message
    validate(stacked.reset_index("presentation"))


def test_rows_named_stimulus_in_another_form_are_pointed_to_stimulus_id():
    trials = representation(np.zeros((3, 2)), dims=("presentation", "unit"), stimulus_id=["a", "a", "b"])
    message = said(trials.rename(stimulus_id="stimulus"))
    assert "stimulus: lies on 'presentation'; expected stimulus_id there; rename it" in message


def test_duplicates_are_welcome_among_presentations():
    trials = representation(
        np.zeros((3, 2)), dims=("presentation", "unit"), stimulus_id=["a", "a", "b"], repeat=[0, 1, 0]
    )
    assert stimulus_labels(trials).tolist() == ["a", "a", "b"]


def test_every_violation_is_told_at_once():
    ds = plain(unit_id=("unit", ["u", "u"]), stimulus=["a", "a", "b"], colour=("unit", [1, 2]))
    assert len(said(ds).splitlines()) == 4


# ---- time


def test_continuous_recordings_are_labelled_by_their_clock():
    ds = recording(time=[0.0, 0.5, 1.0, 1.5])
    assert stimulus_labels(ds).tolist() == ["@0.000000s", "@0.500000s", "@1.000000s", "@1.500000s"]
    runs = recording(time=[0.0, 0.5, 0.0, 0.5], run=["x", "x", "y", "y"])
    assert stimulus_labels(runs).tolist() == ["x@0.000000s", "x@0.500000s", "y@0.000000s", "y@0.500000s"]
    named = recording(time=[0.0, 0.5, 1.0, 1.5], stimulus_id=list("abcd"))
    assert stimulus_labels(named).tolist() == list("abcd")


@pytest.mark.parametrize(
    ("coords", "words"),
    [
        ({}, r"time: has no coordinate; expected seconds; give time="),
        ({"time": [0.0, 1.0, 1.0, 2.0]}, r"time: goes from 1.0 to 1.0 s at position 2; expected increasing .*run="),
        ({"time": [0.0, 2.0, 1.0, 3.0]}, r"time: goes from 2.0 to 1.0 s at position 2; expected increasing"),
        ({"time": [0, np.nan, 2, 3]}, r"time: is nan at position 1 \(1 such values\); expected seconds; leave"),
        ({"time": [0, 1, 2, np.inf]}, r"time: is inf at position 3"),
        ({"time": list("abcd")}, r"time: has dtype <U1; time 0 is 'a'; expected number"),
        ({"time": [0.0, 1.0, 0.0, 0.5], "run": [1, 2, 1, 2]}, r"time: goes from 0.0 to 0.0 s at position 2"),
        ({"time": [0, 1, 2, 3], "stimulus_id": ["a", "", "b", "c"]}, r"stimulus_id: row 1 has no label"),
    ],
)
def test_times_increase_within_a_run(coords, words):
    with pytest.raises(SchemaError, match=words):
        recording(**coords)


def test_interleaved_runs_have_clocks_of_their_own():
    recording(time=[0.0, 0.0, 1.0, 1.0], run=["x", "y", "x", "y"])


def test_time_is_in_seconds():
    ds = recording(time=[0.0, 1.0, 2.0, 3.0])
    ds["time"].attrs["units"] = "ms"
    assert "time: is in 'ms'; expected units 's'; convert the values" in said(ds)


def test_one_bin_of_a_time_course_is_a_representation():
    values = np.zeros((2, 1, 3))
    ds = representation(values, dims=("stimulus", "unit", "time"), stimulus=["a", "b"], time=[0.1, 0.2, 0.3])
    validate(ds.isel(time=1))
    validate(ds.mean("time"))
    with pytest.raises(SchemaError, match="time: has no coordinate"):
        representation(values, dims=("stimulus", "unit", "time"), stimulus=["a", "b"])


# ---- attributes


@pytest.mark.parametrize("value", ["fmri data", "", 3, 2.5, np.float32(1), np.int8(1), [1, 2.5], ["a"], ("a", "b"), []])
def test_attributes_that_netcdf_knows(value):
    validate(plain().assign_attrs(note=value))
    validate(plain().assign_attrs(note=np.asarray(value)))


@pytest.mark.parametrize(
    "value", [None, True, np.True_, {"a": 1}, 1j, 2**70, [1, "a"], [["a"]], [None], np.eye(2), b"a"]
)
def test_attributes_that_netcdf_does_not_know_are_refused(value):
    message = said(plain().assign_attrs(note=value))
    assert (
        f"attrs['note']: is {repr(value)[:60]} ({type(value).__name__}); expected text, a number, or a list" in message
    )
    assert "write it as text with str()" in message


def test_attributes_of_variables_are_checked_too():
    ds = plain()
    ds["unit_id"].attrs["made"] = None
    assert "unit_id.attrs['made']: is None" in said(ds)


@pytest.mark.parametrize("key", ["a/b", "", 3])
def test_attributes_have_names(key):
    assert f"attrs: has the name {key!r}; expected text without '/'; rename it" in said(
        plain().assign_attrs({key: "x"})
    )


def test_schema_and_modality_are_names_of_the_schema():
    assert "attrs['schema']: is 'repcompare-9'; expected 'repcompare-1'; remove it" in said(
        plain().assign_attrs(schema="repcompare-9")
    )
    message = said(plain().assign_attrs(modality="fMRI"))
    assert "attrs['modality']: is 'fMRI'; expected one of fmri, spikes" in message
    assert "attrs['modality']" in said(plain().assign_attrs(modality="eeg"))


def test_history_is_a_list_whatever_netcdf_made_of_it():
    assert schema.history(plain()) == []
    assert schema.history(plain().assign_attrs(history="made")) == ["made"]
    assert schema.history(plain().assign_attrs(history=np.array(["made", "cut"]))) == ["made", "cut"]
    ds = plain().assign_attrs(history="made")
    assert schema.add_history(ds, "cut", "sorted").attrs["history"] == ["made", "cut", "sorted"]
    assert ds.attrs["history"] == "made"


# ---- lazily opened values


class Untouchable(BackendArray):
    shape = (3, 2)
    dtype = np.dtype(np.float32)

    def __getitem__(self, key):
        raise AssertionError("the values were read")


def test_values_on_disk_are_not_read():
    ds = plain()
    lazy = xr.Variable(("stimulus", "unit"), indexing.LazilyIndexedArray(Untouchable()))
    ds["response"] = lazy
    validate(ds)
    with pytest.raises(AssertionError, match="were read"):
        ds["response"].load()


# ---- helpers


def test_sample_dim_and_labels_say_what_is_missing():
    assert schema.sample_dim(plain()) == "stimulus"
    with pytest.raises(SchemaError, match=r"no variable 'response' among \[\]; expected a representation; make one"):
        schema.sample_dim(xr.Dataset())
    with pytest.raises(SchemaError, match=r"response has dims \('image', 'unit'\); expected .*rename the dim"):
        schema.sample_dim(xr.Dataset({"response": (("image", "unit"), np.eye(2))}))
    with pytest.raises(SchemaError, match=r"no stimulus labels; expected a name for each stimulus; give stimulus="):
        stimulus_labels(plain().drop_vars("stimulus"))


def test_every_variable_of_the_table_has_a_dim_and_a_kind():
    for name, variable in schema.VARIABLES.items():
        assert variable.name == name and variable.meaning
        assert schema.dim_of(name, "presentation") == ("presentation" if variable.dim == "sample" else variable.dim)


def test_text_leaves_shape_and_numbers_alone():
    assert text(np.array("abc", dtype=object)).tolist() == "abc"
    assert text(np.array([["a", b"bc"]], dtype=object)).tolist() == [["a", "bc"]]
    assert text(np.array([], dtype=object)).dtype.kind == "U"
    assert text([1, 2]).dtype.kind == "i"
    mixed = np.array(["a", 1], dtype=object)
    assert text(mixed) is mixed


def test_duplicates_and_infinite_values():
    assert duplicates(np.array([b"b", b"a", b"b"])) == ["b"]
    assert duplicates([1, 2, 1]) == ["1"]
    assert infinite(np.array([[np.nan, 1.0]])) == []
    assert "row 0, column 1" in infinite(np.array([[np.nan, np.inf]]))[0]
