from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from data_adapters._npy import NpyFile
from repcompare.errors import FormatError, OptionError, SchemaError

IDS = ["cat", "dog", "owl"]
X = np.arange(12, dtype=np.float64).reshape(3, 4)


def test_npy_is_read_lazily_with_given_names(tmp_path):
    file = tmp_path / "v1.npy"
    np.save(file, X.astype(np.float16))
    ds = data_adapters.read(file, stimuli=IDS)
    assert not ds["response"].variable._in_memory
    assert ds["response"].dtype == np.float32
    assert ds.sizes == {"stimulus": 3, "unit": 4}
    assert ds["unit_id"].values.tolist() == ["v1/0", "v1/1", "v1/2", "v1/3"]
    chosen = ds.sel(stimulus=["owl", "cat"]).isel(unit=[3, 0])
    assert not chosen["response"].variable._in_memory
    np.testing.assert_array_equal(chosen["response"].values, X[[2, 0]][:, [3, 0]])
    np.testing.assert_array_equal(ds["response"].isel(unit=-1, stimulus=slice(None, None, -2)), X[::-2, -1])
    np.testing.assert_array_equal(ds["response"][1], X[1])


def test_only_the_rows_that_are_asked_for_are_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", X)
    asked = []
    read = NpyFile.read
    monkeypatch.setattr(NpyFile, "read", lambda self, key: asked.append(key) or read(self, key))
    ds = data_adapters.read(tmp_path / "a.npy", stimuli=IDS)
    rc.validate(ds)
    assert asked == []
    assert ds["response"].isel(stimulus=slice(1, 2)).values.shape == (1, 4)
    assert [key[0] for key in asked] == [slice(1, 2, 1)]


def test_units_by_stimuli_are_turned_by_dims_and_the_error_says_so(tmp_path):
    np.save(tmp_path / "v4.npy", X)
    np.savez(tmp_path / "acts.npz", conv=np.ones((4, 2)), stimulus_id=["a", "b", "c", "d"])
    with pytest.raises(FormatError, match=r"3 rows .* found 4 names in acts.npz.*dims=\('unit', 'stimulus'\)"):
        data_adapters.read(tmp_path / "v4.npy", stimuli=tmp_path / "acts.npz")
    ds = data_adapters.read(
        tmp_path / "v4.npy",
        dims=("unit", "stimulus"),
        stimuli="acts.npz",  # beside the data
        unit_region="V4",
        modality="spikes",
        response_units="count",
    )
    assert ds["stimulus"].values.tolist() == ["a", "b", "c", "d"]
    assert ds["response"].dims == ("stimulus", "unit")
    np.testing.assert_array_equal(ds["response"].values, X.T)
    np.testing.assert_array_equal(ds["response"].isel(stimulus=[3, 1]).values, X.T[[3, 1]])
    assert set(ds["unit_region"].values) == {"V4"}
    assert ds.attrs["response_units"] == "count" and ds.attrs["source"] == "v4.npy (npy)"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f8", "<f4", "<i2", "?", "<u4"])
def test_dtypes_are_widened_and_turned_to_native_order(tmp_path, dtype, order):
    values = np.asarray(X % 2 if dtype == "?" else X, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    found = data_adapters.read(tmp_path / "a.npy", stimuli=IDS)["response"]
    assert found.dtype == (np.float64 if dtype in (">f8", "<u4") else np.float32)
    assert found.values.dtype.isnative
    np.testing.assert_array_equal(found.values, values.astype(float))


def test_label_files(tmp_path):
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n\n", encoding="utf-8")
    (tmp_path / "names.csv").write_text("image,stimulus_id\n1,cat\n2,dog\n3,owl\n", encoding="utf-8")
    np.save(tmp_path / "names.npy", np.array(IDS))
    for stimuli in ("names.txt", "names.csv", "names.npy", tmp_path / "names.txt", "names.csv::stimulus_id"):
        assert data_adapters.read(tmp_path / "a.npy", stimuli=stimuli)["stimulus"].values.tolist() == IDS
    assert data_adapters.read(tmp_path / "a.npy", stimuli="names.csv::image")["stimulus"].values.tolist() == [
        "1",
        "2",
        "3",
    ]
    (tmp_path / "file_names.txt").write_text("cat\ndog\nowl\n", encoding="utf-8")
    ds = data_adapters.read(tmp_path / "a.npy")
    assert ds["stimulus"].values.tolist() == IDS
    assert any("file_names.txt" in line for line in ds.attrs["history"])


def test_positional_names_are_recorded(tmp_path):
    np.save(tmp_path / "a.npy", X)
    ds = data_adapters.read(tmp_path / "a.npy", stimuli="positional")
    assert ds["stimulus"].values.tolist() == ["#0000", "#0001", "#0002"]
    assert any("positional" in line for line in ds.attrs["history"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, FormatError, "no stimulus labels.*give stimuli="),
        ({"stimuli": IDS[:2]}, FormatError, "3 rows.*found 2 names"),
        ({"stimuli": ["a", "a", "b"]}, SchemaError, r"'a' occur more than once.*presentation"),
        ({"stimuli": "nowhere.txt"}, OptionError, "no such file"),
        ({"stimulii": IDS}, OptionError, "did you mean 'stimuli'"),
        (
            {"stimuli": IDS, "dims": ("unit", "neuron")},
            OptionError,
            "expected one of stimulus, presentation, time",
        ),
        ({"stimuli": IDS, "dims": ("stimulus", "neuron")}, OptionError, "expected 'stimulus' with 'unit'"),
        ({"stimuli": IDS, "unit_region": ["V1"]}, FormatError, "unit_region has 1 entries"),
        ({"stimuli": IDS, "reduce": "mean_spce"}, OptionError, "did you mean 'mean_space'"),
        ({"stimuli": IDS, "stimulus_axis": 5}, OptionError, "not an axis"),
    ],
)
def test_messages(tmp_path, options, error, message):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(error, match=f"(?s){message}"):
        data_adapters.read(tmp_path / "a.npy", **options).load()


def test_presentation_form_counts_repeats(tmp_path):
    np.save(tmp_path / "a.npy", X)
    ds = data_adapters.read(tmp_path / "a.npy", stimuli=["a", "b", "a"], dims=("presentation", "unit"))
    assert ds["repeat"].values.tolist() == [0, 0, 1]
    assert rc.average_repeats(ds).sizes["stimulus"] == 2


def test_feature_maps(tmp_path):
    maps = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    np.save(tmp_path / "conv.npy", maps)
    names = ["a", "b"]
    ds = data_adapters.read(tmp_path / "conv.npy", stimuli=names)
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, maps.reshape(2, -1))
    np.testing.assert_array_equal(ds["response"].isel(unit=[11, 0]).values, maps.reshape(2, -1)[:, [11, 0]])
    unit = {k: int(ds[k][7]) for k in ("unit_channel", "unit_channel_y", "unit_channel_x")}
    assert maps[1, unit["unit_channel"], unit["unit_channel_y"], unit["unit_channel_x"]] == ds["response"].values[1, 7]
    mean = data_adapters.read(tmp_path / "conv.npy", stimuli=names, reduce="mean_space")
    np.testing.assert_allclose(mean["response"].values, maps.mean((2, 3)))
    assert mean["unit_channel"].values.tolist() == [0, 1, 2] and "unit_channel_x" not in mean
    last = np.moveaxis(maps, 1, -1)
    np.save(tmp_path / "last.npy", last)
    dims = ("stimulus", "y", "x", "channel")
    largest = data_adapters.read(tmp_path / "last.npy", stimuli=names, dims=dims, reduce="max_space")
    np.testing.assert_array_equal(largest["response"].values, maps.max((2, 3)))


def test_three_axes_need_names(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    with pytest.raises(FormatError, match=r"3 axes.*dims="):
        data_adapters.read(tmp_path / "a.npy", stimuli=IDS)
    ds = data_adapters.read(tmp_path / "a.npy", stimuli=IDS, dims=("stimulus", "time", "unit"), time=np.arange(4) / 10)
    assert ds["response"].dims == ("stimulus", "unit", "time")
    assert ds["time"].attrs["units"] == "s"


def test_npz_gives_a_tree_of_parts(tmp_path):
    np.savez_compressed(
        tmp_path / "net.npz",
        conv=np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2),
        fc=X,
        stimulus_id=np.array(IDS),
        stimulus_category=np.array(["pet", "pet", "bird"]),
        onset=np.array([0.0, 1.0, 2.0]),
        unit_area=np.array(["a", "b", "c", "d"]),
    )
    tree = data_adapters.read(tmp_path / "net.npz")
    assert list(tree.children) == ["conv", "fc"]
    assert tree["conv"].sizes["unit"] == 8 and tree["conv"]["response"].dtype == np.float32
    fc = tree["fc"].to_dataset()
    assert fc["unit_area"].values.tolist() == ["a", "b", "c", "d"] and "unit_area" not in tree["conv"]
    assert fc["stimulus_category"].values.tolist() == ["pet", "pet", "bird"]
    assert fc["stimulus_onset"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(fc["response"].values, X)
    assert data_adapters.read(f"{tmp_path / 'net.npz'}::fc").sizes["unit"] == 4


def test_npz_names_from_a_key(tmp_path):
    np.savez(tmp_path / "net.npz", fc=X, word=np.array(IDS))
    assert data_adapters.read(tmp_path / "net.npz", stimuli="word")["fc"]["stimulus"].values.tolist() == IDS
    with pytest.raises(FormatError, match="no stimulus labels"):
        data_adapters.read(tmp_path / "net.npz")
    with pytest.raises(FormatError, match="limit is 100"):
        data_adapters.read(tmp_path / "net.npz", stimuli="word", memory=100)


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    bad = np.empty((2, 2), object)
    bad[:] = [[Trap(), 1], [2, 3]]
    np.save(tmp_path / "a.npy", bad, allow_pickle=True)
    with pytest.raises(FormatError, match="pickled Python objects"):
        data_adapters.read(tmp_path / "a.npy", stimuli=["a", "b"])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "x.npy")
    with pytest.raises(FormatError, match="pickled Python objects"):
        data_adapters.read(tmp_path / "a.npz", stimuli=["a", "b"])
    assert not (tmp_path / "sprung").exists()


def test_unsafe_and_damaged_archives(tmp_path):
    data = io.BytesIO()
    np.save(data, X)
    cases = {
        "../x.npy": "points out",
        "/x.npy": "points out",
        "C:x.npy": "points out",
        "x.txt": "not a numpy array",
    }
    for name, message in cases.items():
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr(name, data.getvalue())
        with pytest.raises(FormatError, match=message):
            data_adapters.read(tmp_path / "a.npz", stimuli=IDS, format="npz")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x00" * (20 * 2**20))
    with pytest.raises(FormatError, match=r"1000 : 1"):
        data_adapters.read(tmp_path / "bomb.npz", stimuli=IDS)


def test_declared_shape_is_compared_with_the_file(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**3)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + b"\x00" * 80)
    with pytest.raises(FormatError, match=r"declares \(1000000000, 1000\).* the file has 80"):
        data_adapters.read(tmp_path / "a.npy", stimuli="positional")


@pytest.mark.parametrize("values", [np.zeros((3, 2), complex), np.zeros((3, 2), "M8[s]"), np.zeros((3, 2), "U3")])
def test_other_dtypes_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(FormatError, match=r"expected real numbers"):
        data_adapters.read(tmp_path / "a.npy", stimuli=IDS)


def test_lazy_arrays_survive_pickling(tmp_path):
    np.save(tmp_path / "a.npy", X)
    ds = data_adapters.read(tmp_path / "a.npy", stimuli=IDS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["response"].values, X)


def test_round_trip_to_native(tmp_path):
    np.savez(tmp_path / "net.npz", a=X, b=X.astype(np.float16), stimulus_id=IDS)
    tree = data_adapters.read(tmp_path / "net.npz")
    rc.save(tree, tmp_path / "net.nc")
    again = data_adapters.read(tmp_path / "net.nc")
    np.testing.assert_array_equal(again["b"]["response"].values, X)
    assert again["b"]["stimulus"].values.tolist() == IDS
    with pytest.raises(OptionError, match="no option 'stimuli'"):
        data_adapters.read(tmp_path / "net.nc", stimuli=IDS)


@pytest.mark.data
def test_v4_session_and_network_share_pictures_by_name(data_dir):
    folder = data_dir / "v4_cowley2023"
    acts = folder / "activations" / "efficientnet_lite0_session190923.npz"
    tree = data_adapters.read(acts)
    assert list(tree.children) == [
        "block0",
        "block2",
        "block4",
        "block7",
        "block10",
        "block14",
        "block15",
        "pool",
        "logits",
    ]
    assert tree["block0"]["response"].dtype == np.float32
    brain = data_adapters.read(
        folder / "responses_avg" / "responses_190923.npy",
        dims=("unit", "stimulus"),
        stimuli=acts,
        modality="spikes",
        response_units="count",
        unit_region="V4",
    )
    assert dict(brain.sizes) == {"stimulus": 1200, "unit": 33}
    assert brain["stimulus"].values.tolist() == tree["pool"]["stimulus"].values.tolist()
    raw = np.load(folder / "responses_avg" / "responses_190923.npy")
    assert brain.sel(stimulus="image0010.jpg")["response"].values.tolist() == raw[:, 9].tolist()


@pytest.mark.data
def test_maps_of_the_92_pictures(data_dir):
    tree = data_adapters.read(
        data_dir / "kriegeskorte92" / "efficientnet_lite0_activations_92.npz", stimuli="positional"
    )
    assert tree["stem"].sizes["unit"] == 128 and "unit_channel_x" in tree["stem"].coords


def test_constant_values_are_warned_of_with_their_share(tmp_path):
    for values, message in (
        (np.zeros((3, 4)), r"a.npz: V4: 4 of 4 units \(100 %\) are 0 in every row"),
        (np.c_[np.full((3, 3), 2.0), X[:, :1]], r"3 of 4 units \(75 %\) have one value in every row"),
        (np.c_[np.full((3, 1), np.nan), np.zeros((3, 2)), X[:, :1]], r"2 of 4 units \(50 %\) are 0"),
    ):
        np.savez(tmp_path / "a.npz", V4=values, stimulus_id=IDS)
        with pytest.warns(UserWarning, match=message):
            data_adapters.read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", V4=np.c_[np.zeros((3, 1)), X], stimulus_id=IDS)
    data_adapters.read(tmp_path / "a.npz")  # one of many: networks have dead units


def test_a_label_of_one_part_of_an_npz_file(tmp_path):
    places = {"V4/unit_region": np.array(["V4"] * 4), "V4/unit_x": np.arange(4.0)}
    np.savez(tmp_path / "a.npz", V4=X, IT=X[:, :2], stimulus_id=IDS, **places)
    tree = data_adapters.read(tmp_path / "a.npz")
    assert tree["V4"]["unit_region"].values.tolist() == ["V4"] * 4 and tree["V4"]["unit_x"].values.tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert "unit_region" not in tree["IT"].coords


def test_netcdf3_that_other_tools_wrote_from_a_representation(tmp_path):
    rc.representation(X, stimulus=IDS).to_netcdf(tmp_path / "a.nc", engine="scipy")
    ds = data_adapters.read(tmp_path / "a.nc")
    np.testing.assert_array_equal(ds["response"].values, X)
    ds.close()
    (tmp_path / "b.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:-40])
    with pytest.raises(FormatError, match="b.nc"):
        data_adapters.read(tmp_path / "b.nc")["response"].load()


def test_dims_of_another_number_of_axes_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(OptionError, match=r"dims=\('unit', 'stimulus', 'time'\) must name each of the 2 axes"):
        rc.read(tmp_path / "a.npy", stimuli="positional", dims=("unit", "stimulus", "time"))
