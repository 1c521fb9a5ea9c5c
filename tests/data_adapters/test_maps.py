"""Maps as images, read back by the library that defines the formats."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from data_adapters import write_map
from repcompare.errors import FormatError, MissingExtraError, OptionError, SchemaError

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-3.1, 0, 0.2, 40], [0, 3.75, 0, -60], [0.1, 0, 3.0, 12], [0, 0, 0, 1.0]])


def result(shape=(4, 3, 2), models=2, slices=None):
    voxels = np.indices(shape).reshape(3, -1).T
    voxels = (
        voxels[np.random.default_rng(0).random(len(voxels)) < 0.8] if slices is None else voxels[voxels[:, 2] == slices]
    )
    places = voxels @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    scores = np.random.default_rng(1).normal(size=(models, len(voxels)))
    scores[0, 0] = np.nan
    coords = {f"unit_{a}": ("unit", voxels[:, c]) for c, a in enumerate("ijk")}
    coords |= {f"unit_{a}": ("unit", places[:, c]) for c, a in enumerate("xyz")}
    coords["unit_id"] = ("unit", [f"v{u}" for u in range(len(voxels))])
    return xr.Dataset({"score": (("model", "unit"), scores), "n_units": ("unit", np.arange(len(voxels)))},
                      coords=coords | {"model": [f"m{m}" for m in range(models)]})  # fmt: skip


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_keeps_values_and_places(tmp_path, suffix):
    found = result()
    path = tmp_path / f"score{suffix}"
    write_map(found, path)
    image = nibabel.load(path)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    data = image.get_fdata()
    at = tuple(found[f"unit_{a}"].values for a in "ijk")
    np.testing.assert_allclose(data[at], found.score.values.T, rtol=1e-6)
    outside = np.ones(data.shape[:3], bool)
    outside[at] = False
    assert outside.any() and np.isnan(data[outside]).all()
    assert list(tmp_path.iterdir()) == [path]


def test_one_map_and_another_image_to_go_by(tmp_path):
    like = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([2.0, 2, 2, 1]))
    nibabel.save(like, tmp_path / "like.nii.gz")
    for given in (like, tmp_path / "like.nii.gz"):
        write_map(result().isel(model=1), tmp_path / "m.nii", like=given, fill=0)
        image = nibabel.load(tmp_path / "m.nii")
        assert image.shape == (6, 5, 4) and np.array_equal(image.affine, like.affine)
        assert image.get_fdata()[5, 4, 3] == 0
    write_map(result(), tmp_path / "n.nii", variable="n_units")
    assert np.nanmax(nibabel.load(tmp_path / "n.nii").get_fdata()) == result().sizes["unit"] - 1
    small = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    with pytest.raises(FormatError, match="voxel indices up to"):
        write_map(result(), tmp_path / "no.nii", like=small)
    with pytest.raises(FormatError, match="no image"):
        write_map(result(), tmp_path / "no.nii", like=tmp_path / "absent.nii")
    assert not (tmp_path / "no.nii").exists()


def test_a_single_slice_lies_where_it_was(tmp_path):
    found = result(slices=1)
    write_map(found, tmp_path / "s.nii")
    affine = nibabel.load(tmp_path / "s.nii").affine
    voxels = np.stack([found[f"unit_{a}"].values for a in "ijk"], axis=1)
    places = np.stack([found[f"unit_{a}"].values for a in "xyz"], axis=1)
    np.testing.assert_allclose(voxels @ affine[:3, :3].T + affine[:3, 3], places, atol=1e-5)
    assert affine[2, 2] > 0.9 and abs(affine[:3, 2] @ affine[:3, 0]) < 1e-6


def test_a_surface_keeps_vertices_and_hemisphere(tmp_path):
    found = xr.Dataset(
        {"score": (("model", "unit"), [[0.5, -0.25, 0.125]])},
        coords={"unit_vertex": ("unit", [4, 0, 7]), "unit_hemisphere": ("unit", ["left"] * 3), "model": ["faces"]},
    )
    path = tmp_path / "lh.score.gii"
    write_map(found, path)
    image = nibabel.load(path)
    assert image.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert image.darrays[0].meta["Name"] == "faces"
    data = image.darrays[0].data
    assert len(data) == 8 and data[[4, 0, 7]].tolist() == [0.5, -0.25, 0.125] and np.isnan(data[1])
    both = found.assign_coords(unit_hemisphere=("unit", ["left", "right", "left"]))
    with pytest.raises(SchemaError, match="a GIFTI file holds one"):
        write_map(both, path)


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch):
    found = result()
    with pytest.raises(OptionError, match=".nii.gz"):
        write_map(found, tmp_path / "a.png")
    with pytest.raises(SchemaError, match="did you mean 'score'"):
        write_map(found, tmp_path / "a.nii", variable="scor")
    with pytest.raises(SchemaError, match="unit_vertex"):
        write_map(found, tmp_path / "a.gii")
    with pytest.raises(SchemaError, match="like="):
        write_map(found.drop_vars("unit_x"), tmp_path / "a.nii")
    with pytest.raises(SchemaError, match="voxel indices unit_i"):
        write_map(found.drop_vars("unit_i"), tmp_path / "a.nii")
    with pytest.raises(SchemaError, match="regular grid"):
        write_map(found.assign_coords(unit_x=found.unit_x**2), tmp_path / "a.nii")
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"repcompare\[fmri\]"):
        write_map(found, tmp_path / "a.nii")


def test_a_searchlight_becomes_an_image(tmp_path):
    places = np.indices((4, 4, 3)).reshape(3, -1)
    names = [f"s{i}" for i in range(6)]
    rng = np.random.default_rng(0)
    at = dict(zip(("unit_i", "unit_j", "unit_k"), places, strict=True)) | dict(
        zip(("unit_x", "unit_y", "unit_z"), places * 2.0, strict=True)
    )
    ds = rc.representation(rng.normal(size=(6, 48)), stimulus=names, **at)
    found = rc.searchlight(
        ds, rc.rdm_models.from_features(rng.normal(size=(6, 2)), stimulus=names), radius=1, progress=False
    )
    write_map(found, tmp_path / "map.nii.gz")
    image = nibabel.load(tmp_path / "map.nii.gz")
    assert image.shape == (4, 4, 3) and np.allclose(image.header.get_zooms(), 2)
    assert np.isfinite(image.get_fdata()).sum() == found.attrs["n_scored"]
