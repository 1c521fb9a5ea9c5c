from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

import repcompare as rc
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import detect
from tests.data_adapters.recordings.files import (
    TRIALS,
    write_fieldtrip,
    write_fieldtrip73,
    write_mat,
    write_mat73,
    write_raster,
)


@pytest.mark.parametrize("write", [write_mat, write_mat73])
def test_variables_become_parts(tmp_path, write):
    file = write(tmp_path / "cells.mat")
    assert detect(str(file)).name == "mat"
    tree = rc.read(file, stimuli="names")
    assert list(tree.children) == ["V4"]
    part = tree["V4"].to_dataset()
    np.testing.assert_array_equal(part["response"].values, np.arange(12.0).reshape(3, 4))
    assert part["stimulus"].values.tolist() in (["cat", "dog", "owl"], ["cat", "dög", "owl"])
    deep = rc.read(file, stimuli="positional", variable="deep.IT", modality="spikes")
    np.testing.assert_array_equal(deep["response"].values, np.arange(6.0).reshape(3, 2))
    turned = rc.read(file, stimuli=list("abcd"), variable=["V4"], dims=("unit", "stimulus"))["V4"]
    np.testing.assert_array_equal(turned["response"].values, np.arange(12.0).reshape(3, 4).T)
    with pytest.raises(OptionError, match="no variable 'V5'"):
        rc.read(file, variable="V5")
    with pytest.raises(FormatError, match="deep is a struct array"):
        rc.read(file, variable="deep", stimuli="names")


def test_labels_of_units_in_the_file(tmp_path):
    part = rc.read(write_mat(tmp_path / "cells.mat"), stimuli="names")["V4"]
    assert part["unit_depth"].values.tolist() == [0, 1, 2, 3]


def test_arrays_of_version_73_stay_on_disk(tmp_path):
    ds = rc.read(write_mat73(tmp_path / "cells.mat"), stimuli="names", variable="V4")
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"][1:, [0, 2]].values, np.arange(12.0).reshape(3, 4)[1:, [0, 2]])
    ds.close()


def test_what_is_no_data_is_named(tmp_path):
    file = tmp_path / "odd.mat"
    scipy.io.savemat(file, {"S": scipy.sparse.eye(3).tocsc()})
    with pytest.raises(FormatError, match="S is a sparse array"):
        rc.read(file, variable="S", stimuli="positional")
    with pytest.raises(FormatError, match="sparse is a sparse array"):
        rc.read(write_mat73(tmp_path / "v73.mat"), variable="sparse", stimuli="positional")
    scipy.io.savemat(file, {"x": np.arange(4.0), "text": "hello"})
    with pytest.raises(FormatError, match="no responses in it.*x float64.*text text"):
        rc.read(file, stimuli="positional")


def test_files_of_rdms_are_still_read_as_rdms(tmp_path):
    square = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    scipy.io.savemat(tmp_path / "rdm.mat", {"model": square, "x": np.ones((3, 2))})
    scipy.io.savemat(tmp_path / "acts.mat", {"act": np.arange(16.0).reshape(4, 4)})
    assert detect(str(tmp_path / "rdm.mat")).name == "matlab-rdm"
    assert detect(str(tmp_path / "acts.mat")).name == "mat"  # square, but no dissimilarities


def test_structs_cells_and_text_of_73_equal_those_of_version_5(tmp_path):
    from data_adapters.matlab._values import variables, words

    file = write_mat73(tmp_path / "v73.mat")
    with h5py.File(file, "a") as f:
        array = f.create_group("many")
        array.attrs["MATLAB_class"] = np.bytes_("struct")
        members = [f.create_dataset(f"#refs#/m{i}", data=[[float(i)]]) for i in range(2)]
        array.create_dataset("a", data=np.array([[m.ref] for m in members], dtype=h5py.ref_dtype))
        f.create_dataset("flag", data=np.array([[1, 0]], np.uint8)).attrs["MATLAB_class"] = np.bytes_("logical")
        f.create_dataset("z", data=np.array([[(1.0, 2.0)]], dtype=[("real", "f8"), ("imag", "f8")]))
    found = variables(str(file))
    assert words(found["names"], "names").tolist() == ["cat", "dög", "owl"]
    assert found["empty"].size == 0
    assert [s["a"].item() for s in found["many"].ravel()] == [0.0, 1.0]
    assert found["flag"].dtype == bool and found["flag"].tolist() == [[True], [False]]
    assert found["z"].tolist() == [[1 + 2j]]


def test_links_out_of_the_file_raise(tmp_path):
    write_mat73(tmp_path / "other.mat")
    file = write_mat73(tmp_path / "v73.mat")
    with h5py.File(file, "a") as f:
        f["stolen"] = h5py.ExternalLink("other.mat", "/V4")
    with pytest.raises(FormatError, match="link to another file"):
        rc.read(file, stimuli="names")


def test_fieldtrip(tmp_path):
    ds = rc.read(write_fieldtrip(tmp_path / "ft.mat"), stimuli="trialinfo")
    assert ds["unit_id"].values.tolist() == ["Cz", "Pz"] and ds["stimulus_id"].values.tolist() == ["3", "4"]
    np.testing.assert_allclose(ds["time"].values, np.arange(6) / 10 - 0.1, atol=1e-12)
    np.testing.assert_array_equal(ds["response"].values[0], np.c_[TRIALS[0], np.full((2, 2), np.nan)])
    np.testing.assert_array_equal(ds["response"].values[1], np.c_[np.full((2, 2), np.nan), TRIALS[1]])
    assert ds.attrs["modality"] == "meeg"
    second = rc.read(tmp_path / "ft.mat", stimuli="trialinfo::2")
    assert second["stimulus_id"].values.tolist() == ["7", "7"] and second["repeat"].values.tolist() == [0, 1]
    with pytest.raises(FormatError, match="trialinfo of 2 columns"):
        rc.read(tmp_path / "ft.mat")
    with pytest.raises(OptionError, match="asks for 3"):
        rc.read(tmp_path / "ft.mat", stimuli="trialinfo::3")


def test_fieldtrip_of_version_73(tmp_path):
    ds = rc.read(write_fieldtrip73(tmp_path / "ft.mat"), stimuli=["x", "y"])
    np.testing.assert_array_equal(ds["response"].values, np.stack(TRIALS))
    np.testing.assert_allclose(ds["time"].values, np.arange(4) / 10)


def test_raster(tmp_path):
    folder = write_raster(tmp_path / "raster")
    assert detect(str(folder)).name == "raster"
    ds = rc.read(folder, start=0.0, stop=0.04, width=0.01, label="stimulus_ID")
    # site 1: a b a b a, site 2: a b a b; the event is sample 51 (from 1), spike of trial i at 1 + i ms
    assert ds["stimulus_id"].values.tolist() == ["a", "a", "b", "b"]
    assert ds["repeat"].values.tolist() == [0, 1, 0, 1]
    assert ds["response"].values[:, :, 0].tolist() == [[1, 1]] * 4 and ds["response"].values[:, :, 1:].sum() == 0
    assert ds["stimulus_side"].values.tolist() == ["left", "left", "right", "right"]
    assert ds["unit_id"].values.tolist() == ["bp01A", "bp02B"]
    assert ds["unit_session"].values.tolist() == ["1001", "1001"] and ds["unit_depth"].values.tolist() == [3.5, 3.5]
    assert ds.attrs["pseudo_population"] == 1
    assert any("1 of 9 trials are beyond" in line for line in ds.attrs["history"])
    fine = rc.read(folder, start=0.0, stop=0.004, width=0.001, label="stimulus_ID")["response"].values
    assert fine[:, 1].argmax(axis=1).tolist() == [1, 3, 2, 0]  # trials 0, 2 | 1, 3; that of trial 3 falls at 4 ms
    assert fine[3, 1].sum() == 0
    ragged = rc.read(folder, start=0.0, stop=0.04, ragged=True, label="stimulus_ID")
    assert ragged.sizes["presentation"] == 5 and np.isnan(ragged["response"].values[2]).tolist() == [False, True]
    whole = rc.read(folder, label="stimulus_ID", rate=True)
    assert whole["response"].values.tolist() == [[10, 10]] * 4  # one spike in 0.1 s
    one = rc.read(folder / "bp01A_raster_data.mat", label="stimulus_ID")
    assert one.sizes["presentation"] == 5 and "pseudo_population" not in one.attrs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "stimulus_D"}, "did you mean 'stimulus_ID'"),
        ({"start": -0.2, "stop": 0.0}, "the recording goes from -0.05 to 0.05 s"),
        ({"start": 0.0}, "come together"),
        ({"start": 0.0, "stop": 0.0405}, "whole number of ms"),
        ({"start": 0.0, "stop": 0.04, "width": 0.03}, "does not divide"),
    ],
)
def test_raster_messages(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        rc.read(write_raster(tmp_path / "raster"), **options)


@pytest.mark.data
def test_real_rasters(data_dir):
    folder = data_dir / "zhang_desimone_it"
    ds = rc.read(folder, start=0.0, stop=0.5, width=0.1)
    assert ds.sizes == {"presentation": 419, "unit": 132, "time": 5}
    assert len(set(ds["stimulus_id"].values.tolist())) == 21 and ds.attrs["pseudo_population"] == 1
    file = sorted(folder.glob("*_raster_data.mat"))[7]
    raw = scipy.io.loadmat(file, squeeze_me=True)
    names = raw["raster_labels"]["combined_ID_position"].item()
    trial = np.flatnonzero(names == "face_lower")[3]  # the fourth repeat of the condition in this file
    row = np.flatnonzero((ds["stimulus_id"].values == "face_lower") & (ds["repeat"].values == 3))[0]
    counts = raw["raster_data"][trial, 500:1000].reshape(5, 100).sum(axis=1)  # sample 501, from 1, is the onset
    np.testing.assert_array_equal(ds["response"].values[row, 7], counts)
    averaged = rc.average_repeats(ds.isel(time=1))
    assert averaged.sizes["stimulus"] == 21
