"""Brain-Score assemblies: reading, writing, and that a round trip loses nothing."""

from __future__ import annotations

import hashlib
import itertools

import h5py
import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from data_adapters.brainscore import assembly, write
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.formats import detect
from tests.data_adapters.recordings.files import EVENTS, IMAGES, write_assembly

DIMS = ("presentation", "neuroid", "time_bin")


def same(first, second):
    """Values, dtype kinds, dims, coordinates, names and attributes are equal; the order of dims counts."""
    with xr.open_dataset(first) as a, xr.open_dataset(second) as b:
        xr.testing.assert_identical(a, b)
        for name in a.variables:
            assert a[name].dims == b[name].dims
            assert a[name].dtype.kind == b[name].dtype.kind, name
        (data,) = a.data_vars
        assert a[data].dtype == b[data].dtype


@pytest.mark.parametrize("order", list(itertools.permutations(DIMS)))
def test_names_values_and_back_in_any_order_of_dims(tmp_path, order):
    file = write_assembly(tmp_path / "assy.nc", order=order)
    assert detect(str(file)).name == "brainscore"
    ds = rc.read(file)
    assert ds["response"].dims == ("presentation", "unit", "time") and not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, np.arange(12.0).reshape(3, 2, 2))
    assert ds["stimulus_id"].values.tolist() == ["a", "b", "a"] and ds["repeat"].values.tolist() == [0, 0, 1]
    assert ds["stimulus_object_name"].values.tolist() == ["face", "çar", ""]
    assert ds["unit_id"].values.tolist() == ["101", "102"] and ds["unit_region"].values.tolist() == ["V4", "IT"]
    assert ds["unit_subject"].values.tolist() == ["Kako", "Nano"] and "unit_x" not in ds.coords
    np.testing.assert_allclose(ds["time"].values, [0.12, 0.22])
    assert ds["time"].attrs["bin_width"] == pytest.approx(0.1)
    assert ds.attrs["stimulus_set_identifier"] == "hvm" and ds.attrs["version"] == 3
    write(ds, tmp_path / "back.nc")
    same(file, tmp_path / "back.nc")
    rc.save(ds, tmp_path / "native.nc")  # and through our own format
    write(rc.open(tmp_path / "native.nc"), tmp_path / "again.nc")
    same(file, tmp_path / "again.nc")


def test_one_time_bin_is_dropped_and_comes_back(tmp_path):
    file = write_assembly(tmp_path / "assy.nc", bins=1)
    ds = rc.read(file)
    assert ds["response"].dims == ("presentation", "unit") and ds.attrs["time_bin_end"] == 170
    np.testing.assert_array_equal(ds["response"].values, np.arange(6.0).reshape(3, 2))
    write(ds, tmp_path / "back.nc")
    same(file, tmp_path / "back.nc")


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "bool"])
def test_dtypes_of_values_come_back(tmp_path, dtype):
    da = xr.DataArray(
        np.array([[1, 0], [0, 1]]).astype(dtype),
        dims=DIMS[:2],
        coords={
            "image_id": ("presentation", [b"a".decode(), "b"]),
            "neuroid_id": ("neuroid", ["x", "y"]),
            "good": ("neuroid", [True, False]),
            "nc_testset": ("neuroid", np.array([50.5, np.nan], np.float32)),
        },
        name="data",
    )
    da.to_dataset().to_netcdf(tmp_path / "assy.nc", engine="netcdf4")
    ds = rc.read(tmp_path / "assy.nc")
    assert ds["response"].dims == ("stimulus", "unit") and ds["unit_good"].values.tolist() == [True, False]
    write(ds, tmp_path / "back.nc")
    same(tmp_path / "assy.nc", tmp_path / "back.nc")


def test_the_file_that_is_written_opens_in_plain_xarray(tmp_path):
    ds = rc.representation(
        np.arange(8.0).reshape(2, 2, 2),
        dims=("stimulus", "unit", "time"),
        stimulus=["a", "b"],
        stimulus_object_name=["face", "car"],
        unit_region=["V4", "IT"],
        time=[0.05, 0.15],
        attrs={"modality": "spikes"},
    )
    ds["time"].attrs["bin_width"] = 0.1
    digest = write(ds, tmp_path / "assy.nc", identifier="my.it")
    assert digest == hashlib.sha1((tmp_path / "assy.nc").read_bytes()).hexdigest()
    with xr.open_dataarray(tmp_path / "assy.nc") as da:
        assert da.name == "data" and da.dims == DIMS
        assert da["time_bin_start"].values.tolist() == [0, 100] and da["time_bin_end"].dtype == np.int64
        assert da["object_name"].values.tolist() == ["face", "car"] and da["region"].values.tolist() == ["V4", "IT"]
        da = da.set_index(presentation=["stimulus_id", "object_name"], neuroid=["neuroid_id", "region"])
        assert da.sel(region="IT", object_name="car").values.ravel().tolist() == [6, 7]
    again = rc.read(tmp_path / "assy.nc")
    np.testing.assert_array_equal(again["response"].values, ds["response"].values)
    np.testing.assert_allclose(again["time"].values, ds["time"].values)
    assert again.attrs["modality"] == "spikes" and again.attrs["identifier"] == "my.it"


def test_what_was_changed_since_is_written_as_it_is_now(tmp_path):
    ds = rc.read(write_assembly(tmp_path / "assy.nc"))
    part = rc.average_repeats(ds.isel(unit=[1], time=[1]))
    with_time = assembly(part)
    assert with_time.sizes == {"presentation": 2, "neuroid": 1, "time_bin": 1}
    assert with_time["time_bin_start"].values.tolist() == [170] and with_time["neuroid_id"].values.tolist() == [102]
    assert with_time["stimulus_id"].values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(with_time["data"].values.ravel(), [7, 7])


def test_names_of_ours_come_back(tmp_path):
    """Voxel indices, mm and labels that an assembly would call something else."""
    places = {f"unit_{axis}": np.arange(3) + i for i, axis in enumerate("ijk")}
    mm = {f"unit_{axis}": np.arange(3.0) + i for i, axis in enumerate("xyz")}
    ds = rc.representation(
        np.eye(4)[:, :3],
        dims=("presentation", "unit"),
        stimulus_id=list("abab"),
        repeat=[0, 0, 1, 1],
        run=[1, 1, 2, 2],
        stimulus_x=[0.1, 0.2, 0.1, 0.2],
        unit_subject=["s1", "s1", "s2"],
        attrs={"modality": "fmri", "response_units": "percent signal"},
        **places,
        **mm,
    )
    write(ds, tmp_path / "assy.nc")
    back = rc.read(tmp_path / "assy.nc")
    assert set(back.coords) == set(ds.coords) | {"unit_id"}
    for name in set(ds.coords) - {"unit_id"}:
        np.testing.assert_array_equal(back[name], ds[name])
    np.testing.assert_array_equal(back.response, ds.response)
    assert back.attrs["response_units"] == "percent signal"
    write(back, tmp_path / "again.nc")
    same(tmp_path / "assy.nc", tmp_path / "again.nc")


@pytest.mark.parametrize("text", ["{", "[]", '{"x": "response"}', '{"x": "unit_id"}', '{"x": "unit_a", "y": "unit_a"}'])
def test_a_record_of_names_that_makes_no_sense_is_left_aside(tmp_path, text):
    ds = rc.representation(np.eye(2), stimulus=["a", "b"], unit_x=[1.0, 2.0])
    assembly(ds).assign_attrs(repcompare_names=text).to_netcdf(tmp_path / "assy.nc", engine="netcdf4")
    assert rc.read(tmp_path / "assy.nc").unit_x_brainscore.values.tolist() == [1.0, 2.0]


def test_repeats_without_numbers_and_units_that_share_a_name(tmp_path):
    file = write_assembly(tmp_path / "assy.nc", bins=1)
    with xr.open_dataset(file) as opened:
        old = opened.load().drop_vars("repetition").assign_coords(neuroid_id=("neuroid", [7, 7]))
    old.to_netcdf(tmp_path / "odd.nc", engine="netcdf4")
    ds = rc.read(tmp_path / "odd.nc")
    assert ds["repeat"].values.tolist() == [0, 0, 1] and ds["unit_id"].values.tolist() == ["Kako/7", "Nano/7"]
    assert any("running count" in line for line in ds.attrs["history"])
    write(ds, tmp_path / "back.nc")
    same(tmp_path / "odd.nc", tmp_path / "back.nc")
    old.drop_vars("animal").to_netcdf(tmp_path / "worse.nc", engine="netcdf4")
    with pytest.raises(SchemaError, match="unit_id: '7' occur more than once"):
        rc.read(tmp_path / "worse.nc")


def test_extra_groups(tmp_path):
    file = write_assembly(tmp_path / "assy.nc")
    extra = xr.Dataset({"snr": ("site", [1.0, 2.0])}, coords={"site": ["a", "b"]}, attrs={"note": "x"})
    extra.to_netcdf(file, engine="netcdf4", mode="a", group="quality")
    tree = rc.read(file)
    assert tree["quality"].to_dataset()["snr"].values.tolist() == [1, 2]
    assert rc.read(f"{file}::data").sizes["unit"] == 2
    write(tree, tmp_path / "back.nc")
    same(file, tmp_path / "back.nc")
    with xr.open_dataset(tmp_path / "back.nc", group="quality") as found:
        xr.testing.assert_identical(found.load(), extra)


def test_a_tree_becomes_one_file_per_part(tmp_path):
    parts = {n: rc.representation([[1.0], [2.0]], stimulus=["a", "b"]) for n in ("layer.1", "deep/er")}
    tree = xr.DataTree.from_dict({f"/{n}": p for n, p in parts.items()})
    digests = write(tree, tmp_path / "out", identifier="net")
    assert set(digests) == {"layer.1", "deep/er"}
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["assy_net_deep_er.nc", "assy_net_layer_1.nc"]


def test_spike_times(tmp_path):
    ds = xr.Dataset(
        {"data": ("event", [50.0, 150.0, 1050.0, 2310.0, 250.0, 1300.0])},
        coords={"neuroid_id": ("event", ["n1"] * 4 + ["n2"] * 2)},
    )
    ds.to_netcdf(tmp_path / "spikes.nc", engine="netcdf4")
    window = {"events": EVENTS, "stimulus": IMAGES, "start": 0.0, "stop": 0.4, "width": 0.2}
    found = rc.read(tmp_path / "spikes.nc", tick=0.001, format="brainscore", **window)
    assert found["response"].values[:, 0].tolist() == [[2, 0], [1, 0], [0, 1]]
    with pytest.raises(OptionError, match="give tick="):
        rc.read(tmp_path / "spikes.nc", format="brainscore", **window)


def test_rdms_whose_dims_share_a_name(tmp_path):
    with h5py.File(tmp_path / "rdm.nc", "w") as f:
        scale = f.create_dataset("presentation", data=np.zeros(3, ">f4"))
        scale.make_scale("This is a netCDF dimension but not a netCDF variable.         3")
        f["stimulus_id"] = ["a", "b", "c"]
        f["data"] = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
        for name, axes in (("stimulus_id", 1), ("data", 2)):
            for axis in range(axes):
                f[name].dims[axis].attach_scale(scale)
    ds = rc.read(tmp_path / "rdm.nc")
    assert ds["dissimilarity"].values.ravel().tolist() == [1, 2, 3]


def test_stimulus_sets_are_joined_by_name(tmp_path):
    file = write_assembly(tmp_path / "assy.nc")
    (tmp_path / "set.csv").write_text("stimulus_id,size,filename\nb,2,b.png\na,1,a.png\n")
    ds = rc.read(file, stimuli=tmp_path / "set.csv")
    assert ds["stimulus_size"].values.tolist() == [1, 2, 1]
    assert ds["stimulus_filename"].values.tolist() == ["a.png", "b.png", "a.png"]
    (tmp_path / "set.csv").write_text("stimulus_id,size\nb,2\n")
    with pytest.raises(FormatError, match="1 stimuli are not in the stimulus set, the first 'a'"):
        rc.read(file, stimuli=tmp_path / "set.csv")


def test_xarray_objects(tmp_path):
    with xr.open_dataset(write_assembly(tmp_path / "assy.nc")) as opened:
        flat = opened.load()["data"]
    stacked = flat.set_index(presentation=["stimulus_id", "repetition"], neuroid=["neuroid_id", "region"])
    file = rc.read(tmp_path / "assy.nc")
    for obj in (flat, stacked, opened):
        ds = rc.read(obj)
        np.testing.assert_array_equal(ds["response"].values, file["response"].values)
        assert ds["stimulus_id"].values.tolist() == ["a", "b", "a"]
        assert ds["unit_region"].values.tolist() == ["V4", "IT"]


def test_what_is_wrong_is_named(tmp_path):
    file = write_assembly(tmp_path / "assy.nc")
    with xr.open_dataset(file) as opened:
        old = opened.load()
    for change, message in (
        (old.drop_vars("stimulus_id"), "no stimulus_id among"),
        (old.drop_vars("time_bin_start"), "expected time_bin_start"),
        (old.assign(more=old["data"] + 1), "data variables .*expected one"),
        (old.assign_coords(both=(DIMS[:2], [["a", "b"]] * 3)), "expected labels of one dim"),
    ):
        bad = tmp_path / "bad.nc"
        change.to_netcdf(bad, engine="netcdf4")
        with pytest.raises(FormatError, match=message):
            rc.read(bad)
        bad.unlink()
    with pytest.raises(FormatError, match="continuous recording"):
        write(rc.representation(np.ones((2, 1)), dims=("time", "unit"), time=[0.0, 1.0]), tmp_path / "x.nc")


@pytest.mark.data
@pytest.mark.parametrize("name", ["assy_test_TestMe", "alexnet-rgb-1000", "alexnet-probabilities"])
def test_real_assemblies_lose_nothing(tmp_path, data_dir, name):
    file = data_dir / "brainscore_nc" / f"{name}.nc"
    ds = rc.read(file)
    sizes = {"assy_test_TestMe": (6, 3), "alexnet-rgb-1000": (1, 2000), "alexnet-probabilities": (240, 24)}
    assert ds["response"].shape == sizes[name]
    with xr.open_dataset(file) as stored:
        (variable,) = stored.data_vars
        np.testing.assert_array_equal(ds["response"].values, stored[variable].values)
    write(ds, tmp_path / "back.nc")
    same(file, tmp_path / "back.nc")


def test_options_that_an_assembly_does_not_take_are_refused(tmp_path):
    ds = rc.representation(np.eye(3), stimulus=list("abc"))
    path = tmp_path / "a.nc"
    write(ds, path)
    with pytest.raises(OptionError, match="width= is for files of spike times; these are responses"):
        rc.read(path, width=0.1)
    with pytest.raises(OptionError, match="stimulus= is for files of spike times"):
        rc.read(path, stimulus="name")
    with pytest.raises(OptionError, match="stimuli='nope.csv': expected a CSV file"):
        rc.read(path, stimuli="nope.csv")
