"""GIFTI and CIFTI: what nibabel writes, read by our own readers; labels of vertices, grayordinates and parcels."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import detect

nibabel = pytest.importorskip("nibabel")

from data_adapters.fmri import _gifti_file  # noqa: E402
from tests.data_adapters.fmri.files import AFFINE, GRID, brain_models, write_cifti, write_gifti  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


@pytest.mark.parametrize("encoding", ["GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ"])
def test_a_time_series_on_a_surface(tmp_path, encoding):
    path = write_gifti(tmp_path / "bold.func.gii", X, encoding=encoding)
    assert detect(str(path)).name == "gifti"
    with pytest.raises(FormatError, match="time between volumes is unknown.*tr="):
        rc.read(path)
    ds = rc.read(path, tr=2.0)
    assert not ds["response"].variable._in_memory
    exact = 1e-6 if encoding.endswith("ASCII") else 0  # nibabel writes six digits after the point
    np.testing.assert_allclose(ds["response"].values, X, rtol=1e-6, atol=exact)
    np.testing.assert_allclose(
        ds["response"].isel(time=[4, 1], unit=[3, 0]).values, X[[4, 1]][:, [3, 0]], rtol=1e-6, atol=exact
    )
    assert ds["unit_vertex"].values.tolist() == [0, 1, 2, 3, 4]
    assert set(ds["unit_hemisphere"].values) == {"left"} and ds["unit_id"].values[2] == "left/2"
    assert ds["time"].values.tolist() == [0, 2, 4, 6, 8, 10]


def test_opening_does_not_unpack(tmp_path, monkeypatch):
    path = write_gifti(tmp_path / "a.gii", X)
    unpacked = []
    decoded = _gifti_file._decoded
    monkeypatch.setattr(
        _gifti_file, "_decoded", lambda path, array, text: unpacked.append(array.number) or decoded(path, array, text)
    )
    ds = rc.read(path, tr=1.0)
    assert unpacked == []
    ds["response"].isel(time=slice(2, 4)).load()
    assert unpacked == [2, 3]


def test_hemispheres_lie_side_by_side_and_runs_one_below_the_other(tmp_path):
    files = []
    for run in (1, 2):
        for side, name in (("CortexLeft", "L"), ("CortexRight", "R")):
            rows = X[:, : 5 if name == "L" else 3] + run
            files.append(write_gifti(tmp_path / f"sub-1_run-{run}_hemi-{name}_bold.func.gii", rows, side=side))
    ds = rc.read(files, tr=2.0, format="gifti")
    expected = np.concatenate([np.concatenate([X + r, X[:, :3] + r], axis=1) for r in (1, 2)])
    np.testing.assert_allclose(ds["response"].values, expected, rtol=1e-6)
    assert ds["run"].values.tolist() == [1] * 6 + [2] * 6
    assert ds["unit_hemisphere"].values.tolist() == ["left"] * 5 + ["right"] * 3
    with pytest.raises(FormatError, match=r"'left': 2, 'right': 1.* files per hemisphere"):
        rc.read(files[:3], tr=2.0, format="gifti")


def test_maps_are_named_by_their_arrays_or_files(tmp_path):
    names = ["faces", "houses"]
    path = write_gifti(tmp_path / "lh.maps.shape.gii", X[:2], side="", intent="NIFTI_INTENT_ZSCORE", names=names)
    ds = rc.read(path)
    assert ds["stimulus"].values.tolist() == names and set(ds["unit_hemisphere"].values) == {"left"}
    other = write_gifti(tmp_path / "cat.gii", X[:1], side="", intent="NIFTI_INTENT_NONE")
    single = rc.read(other, hemisphere="right")
    assert single["stimulus"].values.tolist() == ["cat"] and set(single["unit_hemisphere"].values) == {"right"}
    assert any("hemisphere unknown" in line for line in rc.read(other).attrs["history"])
    assert rc.read(path, stimuli=["a", "b"])["stimulus"].values.tolist() == ["a", "b"]
    columns = write_gifti(tmp_path / "cols.gii", [X.T.copy()], intent="NIFTI_INTENT_TIME_SERIES")
    np.testing.assert_array_equal(rc.read(columns, tr=1.0)["response"].values, X)
    with pytest.raises(OptionError, match="hemisphere='links'"):
        rc.read(other, hemisphere="links")


def test_what_is_no_response(tmp_path):
    points = write_gifti(tmp_path / "a.surf.gii", [X[:, :3].copy()], intent="NIFTI_INTENT_POINTSET")
    with pytest.raises(FormatError, match="is a surface"):
        rc.read(points)
    labels = write_gifti(tmp_path / "a.label.gii", [np.arange(5, dtype=np.int32)], intent="NIFTI_INTENT_LABEL")
    with pytest.raises(FormatError, match="holds labels of regions"):
        rc.read(labels)
    with pytest.raises(FormatError, match=r"other.gii: 4 vertices; a.gii has 5"):
        a, b = write_gifti(tmp_path / "a.gii", X), write_gifti(tmp_path / "other.gii", X[:, :4])
        rc.read([a, b], tr=1.0)
    with pytest.raises(FormatError, match="is empty: no arrays"):
        rc.read(write_gifti(tmp_path / "none.gii", []))


def test_gifti_leads_nowhere(tmp_path):
    text = write_gifti(tmp_path / "a.gii", X).read_text()
    entity = text.replace('.dtd">', '.dtd" [<!ENTITY x "y">]>')
    document = text.replace("http://www.nitrc.org/frs/download.php/115/gifti.dtd", "file:///etc/passwd")
    outside = text.replace('ExternalFileName=""', 'ExternalFileName="other.bin"', 1)
    longer = text.replace('Dim0="5"', 'Dim0="7"', 1)
    huge = text.replace('Dim0="5"', 'Dim0="99999999999"')
    for changed, message in (
        (entity, "declares the entity 'x'"),
        (document, "refers to the document 'file:///etc/passwd'"),
        (outside, "in another file"),
        (longer, r"arrays of shapes"),
        (huge.replace("TIME_SERIES", "NONE"), "which cannot hold them"),
        (text[:-50], "is no complete XML"),
    ):
        assert changed != text
        (tmp_path / "b.gii").write_text(changed)
        with pytest.raises(FormatError, match=message):
            rc.read(tmp_path / "b.gii", tr=1.0).isel(unit=[0]).load()


Y = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)


def series(n=4, unit="SECOND", start=1.0, step=2.0):
    return nibabel.cifti2.SeriesAxis(start, step, n, unit)


def test_grayordinates(tmp_path):
    path = write_cifti(tmp_path / "a.dtseries.nii", Y, series(), brain_models())
    assert detect(str(path)).name == "cifti"
    ds = rc.read(path)
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, Y)
    np.testing.assert_array_equal(ds["response"].isel(time=[3, 0], unit=[6, 2]).values, Y[[3, 0]][:, [6, 2]])
    assert ds["time"].values.tolist() == [1, 3, 5, 7]
    assert ds["unit_id"].values.tolist() == [
        "CORTEX_LEFT/0", "CORTEX_LEFT/1", "CORTEX_LEFT/3", "CORTEX_RIGHT/1", "CORTEX_RIGHT/2",
        "THALAMUS_LEFT/1-1-0", "THALAMUS_LEFT/1-1-1",
    ]  # fmt: skip
    assert ds["unit_vertex"].values.tolist() == [0, 1, 3, 1, 2, -1, -1]
    assert ds["unit_hemisphere"].values.tolist() == ["left"] * 3 + ["right"] * 2 + ["left"] * 2
    assert ds["unit_k"].values.tolist() == [-1] * 5 + [0, 1]
    np.testing.assert_allclose(ds["unit_z"].values[5:], [AFFINE[2, 3], AFFINE[2, 3] + 3])
    assert np.isnan(ds["unit_x"].values[:5]).all()
    assert rc.read(path, tr=0.5)["time"].values[1] == 1.5


def test_scalars_and_parcels(tmp_path):
    maps = nibabel.cifti2.ScalarAxis(["myelin", "thickness", "area", "curvature"])
    ds = rc.read(write_cifti(tmp_path / "a.dscalar.nii", Y, maps, brain_models()))
    assert ds["stimulus"].values.tolist() == ["myelin", "thickness", "area", "curvature"]
    models = list(brain_models().iter_structures())
    parcels = nibabel.cifti2.ParcelsAxis.from_brain_models(
        [(n.split("_")[-1] + str(i), m) for i, (n, _, m) in enumerate(models)]
    )
    found = rc.read(write_cifti(tmp_path / "a.ptseries.nii", Y[:, :3], series(), parcels))
    assert found["unit_id"].values.tolist() == ["LEFT0", "RIGHT1", "LEFT2"] == found["unit_region"].values.tolist()
    assert found["unit_hemisphere"].values.tolist() == ["left", "right", ""]  # the last one is of voxels
    np.testing.assert_array_equal(found["response"].values, Y[:, :3])


def test_runs_and_units_of_cifti(tmp_path):
    a = write_cifti(tmp_path / "sub-1_run-1.dtseries.nii", Y, series(), brain_models())
    b = write_cifti(tmp_path / "sub-1_run-2.dtseries.nii", Y + 1, series(), brain_models())
    ds = rc.read([a, b])
    np.testing.assert_array_equal(ds["response"].values, np.concatenate([Y, Y + 1]))
    assert ds["run"].values.tolist() == [1] * 4 + [2] * 4
    c = write_cifti(tmp_path / "c.dtseries.nii", Y[:, :3], series(), brain_models()[:3])
    with pytest.raises(FormatError, match=r"other units than .*\(3 and 7\)"):
        rc.read([a, c])
    meters = write_cifti(tmp_path / "m.dtseries.nii", Y, series(unit="METER"), brain_models())
    with pytest.raises(FormatError, match="tr="):
        rc.read(meters)
    with pytest.raises(FormatError, match="is a CIFTI file"):
        rc.read(a, format="nifti")


def test_connectivity_and_labels_are_refused(tmp_path):
    models = brain_models()
    dense = write_cifti(tmp_path / "a.dconn.nii", np.zeros((7, 7), np.float32), models, models)
    with pytest.raises(FormatError, match="connectivity, not responses"):
        rc.read(dense)
    labels = nibabel.cifti2.LabelAxis(["areas"], [{0: ("none", (0, 0, 0, 0)), 1: ("V1", (1, 0, 0, 1))}])
    with pytest.raises(FormatError, match="holds labels of regions"):
        rc.read(write_cifti(tmp_path / "a.dlabel.nii", np.zeros((1, 7), np.float32), labels, models))


def test_cifti_xml_leads_nowhere(tmp_path):
    path = write_cifti(tmp_path / "a.dtseries.nii", Y, series(), brain_models())
    data = path.read_bytes()
    assert b"<Volume" in data and GRID
    path.write_bytes(data.replace(b"<CIFTI ", b"<!ENTITY ", 1)[: len(data)])
    with pytest.raises(FormatError, match="declares documents or entities|damaged"):
        rc.read(path)


@pytest.mark.data
def test_conte69(data_dir):
    folder = data_dir / "cifti_conte69"
    path = folder / "Conte69.MyelinAndCorrThickness.32k_fs_LR.dtseries.nii"
    ds = rc.read(path, stimuli=["myelin", "thickness"])
    image = nibabel.load(path)
    axis = image.header.get_axis(1)
    assert dict(ds.sizes) == {"stimulus": 2, "unit": 60951}
    np.testing.assert_array_equal(ds["response"].values, image.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(ds["unit_vertex"].values, axis.vertex)
    np.testing.assert_array_equal(np.char.add("CIFTI_STRUCTURE_", ds["unit_region"].values), axis.name)
    assert (ds["unit_hemisphere"].values == "left").sum() == 30424
    parcels = rc.read(str(path).replace("dtseries", "ptseries"), stimuli=["myelin", "thickness"])
    assert parcels.sizes["unit"] == 54 and parcels["unit_id"].values[1] == "BA2_FRB08"
    assert 1 < float(parcels["response"][0].mean()) < 2 < float(parcels["response"][1].mean()) < 4.8


def test_one_hemisphere_of_a_cifti_file(tmp_path):
    path = write_cifti(tmp_path / "a.dtseries.nii", Y, series(), brain_models())
    ds = rc.read(path, hemisphere="right")
    np.testing.assert_array_equal(ds["response"].values, Y[:, 3:5])
    np.testing.assert_array_equal(ds["response"].isel(time=[3, 0], unit=[1, 0]).values, Y[[3, 0]][:, [4, 3]])
    assert ds["unit_id"].values.tolist() == ["CORTEX_RIGHT/1", "CORTEX_RIGHT/2"]
    assert ds["unit_vertex"].values.tolist() == [1, 2] and "hemisphere right: 2 of 7 units" in ds.attrs["history"]
    left = rc.read([path, tmp_path / "a.dtseries.nii"][:1], hemisphere="left")
    np.testing.assert_array_equal(left["response"].values, Y[:, [0, 1, 2, 5, 6]])
    with pytest.raises(OptionError, match="hemisphere='L' is not an option; known: left, right"):
        rc.read(path, hemisphere="L")
    whole = nibabel.cifti2.BrainModelAxis.from_surface([0, 1, 3, 4, 2, 6, 5], 7, "Cortex")
    with pytest.raises(OptionError, match="no unit lies there alone; found none"):
        rc.read(write_cifti(tmp_path / "b.dtseries.nii", Y, series(), whole), hemisphere="left")
