"""Folders that other programs write: thingsvision, Net2Brain, DeepNSD."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import repcompare as rc
from repcompare.errors import FormatError, MissingExtraError
from tests.data_adapters.networks.torch_bytes import Tensor, save_zip
from tests.data_adapters.recordings.files import stamped

IDS = ["a/cat.jpg", "a/dog.jpg", "b/owl.jpg"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)
MAPS = np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2)


def write_v73(file, content):
    with h5py.File(file, "w", userblock_size=512) as f:
        for name, values in content.items():
            f.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("single")
    stamped(file)


@pytest.fixture
def things(tmp_path):
    (tmp_path / "file_names.txt").write_text("\n".join(IDS) + "\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["npy", "txt", "hdf5", "mat", "pt"])
def test_thingsvision(things, kind):
    file = things / f"features.{kind}"
    if kind == "npy":
        np.save(file, X)
    elif kind == "txt":
        np.savetxt(file, X)
    elif kind == "mat":
        savemat(file, {"features": X})
    elif kind == "pt":
        save_zip(Tensor(X), file)
    else:
        with h5py.File(file, "w") as f:
            f["features"] = X
    part = rc.read(things)["features"].to_dataset()
    assert part["stimulus"].values.tolist() == IDS
    np.testing.assert_array_equal(part["response"].values, X)
    np.testing.assert_array_equal(part["response"].isel(stimulus=[2, 0], unit=[1, 3]).values, X[[2, 0]][:, [1, 3]])


@pytest.mark.parametrize("v73", [False, True])
def test_thingsvision_matlab_of_either_version(things, v73):
    file = things / "features.mat"
    if v73:
        write_v73(file, {"features": X})
    else:
        savemat(file, {"features": X})
    tree = rc.read(things)
    assert tree["features"]["response"].variable._in_memory is not v73
    np.testing.assert_array_equal(tree["features"]["response"].isel(stimulus=[2, 0]).values, X[[2, 0]])
    np.testing.assert_array_equal(tree["features"]["response"].values, X)
    tree.close()


@pytest.mark.parametrize("v73", [False, True])
def test_thingsvision_matlab_with_a_variable_per_picture(tmp_path, v73):
    names = ["owl_jpg", "cat_jpg", "dog_jpg"]
    (tmp_path / "file_names.txt").write_text("\n".join(names))
    write = write_v73 if v73 else savemat
    write(tmp_path / "features.mat", {n: X[i : i + 1] for i, n in reversed(list(enumerate(names)))})
    ds = rc.read(tmp_path)["features"]
    assert ds["stimulus"].values.tolist() == names
    np.testing.assert_array_equal(ds["response"].values, X)
    write(tmp_path / "features.mat", dict(zip(names, MAPS.astype(np.float32), strict=True)))
    np.testing.assert_array_equal(rc.read(tmp_path)["features"]["response"].values, MAPS.reshape(3, 8))
    with pytest.raises(FormatError, match=r"the pictures have 96 bytes; the limit is 90" if v73 else "raise memory="):
        rc.read(tmp_path, memory=90)
    write(tmp_path / "features.mat", {"owl_jpg": X[:1], "cat_jpg": X[1:2, :3], "dog_jpg": X[2:]})
    with pytest.raises(FormatError, match=r"cat_jpg has shape \(3,\); owl_jpg has \(4,\)"):
        rc.read(tmp_path)
    write(tmp_path / "features.mat", {"owl_jpg": X[:1], "cat_jpg": X[1:2]})
    with pytest.raises(FormatError, match=r"has no variable for 'dog_jpg' of file_names.txt"):
        rc.read(tmp_path)


def test_thingsvision_chunks_are_joined_by_number(things):
    names = [f"{i:02d}.jpg" for i in range(25)]
    (things / "file_names.txt").write_text("\n".join(names))
    rows = np.random.default_rng(0).normal(size=(25, 3))
    for start in (0, 10, 20):
        np.save(things / f"features_{start}-{min(start + 10, 25)}.npy", rows[start : start + 10])
    response = rc.read(things)["features"]["response"]
    assert not response.variable._in_memory
    np.testing.assert_array_equal(response.values, rows)
    np.testing.assert_array_equal(response.isel(stimulus=slice(8, 22)).values, rows[8:22])
    np.testing.assert_array_equal(response.isel(stimulus=[24, 3, 11], unit=[2, 0]).values, rows[[24, 3, 11]][:, [2, 0]])
    np.testing.assert_array_equal(response.isel(stimulus=slice(None, None, 7)).values, rows[::7])
    (things / "features_10-20.npy").unlink()
    with pytest.raises(FormatError, match=r"features_0-10.npy is followed by features_20-25.npy"):
        rc.read(things)


def test_thingsvision_modules_and_splits(things):
    for module in ("conv1", "fc"):
        np.save(things / f"features_{module}_0-2.npy", X[:2])
        np.save(things / f"features_{module}_2-3.npy", X[2:])
    assert set(rc.read(things).children) == {"conv1", "fc"}
    np.save(things / "features_fc_3-4.npy", X[:1])
    with pytest.raises(FormatError, match="fc has 4 rows; file_names.txt has 3 names"):
        rc.read(things)
    for file in things.glob("*.npy"):
        file.unlink()
    np.save(things / "features_10.npy", X[2:])
    np.save(things / "features_9.npy", X[:2])
    np.testing.assert_array_equal(rc.read(things)["features"]["response"].values, X)


def test_thingsvision_that_is_wrong(things):
    np.save(things / "features.npy", X[:2])
    with pytest.raises(FormatError, match="features has 2 rows; file_names.txt has 3 names"):
        rc.read(things)
    np.save(things / "features.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(FormatError, match="pickled Python objects"):
        rc.read(things)


def test_net2brain_by_stimulus(tmp_path):
    for i, name in enumerate(["cat", "dog", "owl"]):
        np.savez(tmp_path / f"alexnet_{name}.npz", conv=MAPS[i : i + 1], fc=X[i : i + 1])
    tree = rc.read(tmp_path)
    assert tree["conv"]["stimulus"].values.tolist() == ["cat", "dog", "owl"] and "unit_channel" in tree["conv"]
    np.testing.assert_array_equal(tree["conv"]["response"].values, MAPS.reshape(3, 8))
    assert tree["conv"]["response"].dtype == np.float32
    with pytest.raises(FormatError, match="the limit is 10"):
        rc.read(tmp_path, memory=10, format="net2brain")
    np.savez(tmp_path / "alexnet_rat.npz", conv=MAPS[:1])
    with pytest.raises(FormatError, match="has not the layers"):
        rc.read(tmp_path)
    np.savez(tmp_path / "alexnet_rat.npz", conv=MAPS[:1, :1], fc=X[:1])
    with pytest.raises(FormatError, match="expected equal ones|the first"):
        rc.read(tmp_path)


def test_net2brain_by_layer_and_names_that_share_nothing(tmp_path):
    for layer, values in {"conv": MAPS, "fc": X}.items():
        np.savez(tmp_path / f"consolidated_{layer}.npz", **{f"img_{i}": values[i : i + 1] for i in range(3)})
    tree = rc.read(tmp_path)
    assert set(tree.children) == {"conv", "fc"}
    assert tree["fc"]["stimulus"].values.tolist() == ["img_0", "img_1", "img_2"]  # numbers alone say nothing
    np.testing.assert_array_equal(tree["fc"]["response"].values, X)
    np.savez(tmp_path / "consolidated_last.npz", img_7=X[:1])
    with pytest.raises(FormatError, match="has other stimuli"):
        rc.read(tmp_path)


def test_net2brain_rdms(tmp_path):
    d = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    meta = np.array({"layer": "conv"}, object)
    np.savez(tmp_path / "RDM_conv.npz", rdm=d, stimuli_name=["a", "b", "c", "d"], meta=meta)
    found = rc.read(tmp_path / "RDM_conv.npz")
    assert found["dissimilarity"].sizes["rdm"] == 1 and found["rdm"].values.tolist() == ["conv"]
    np.testing.assert_array_equal(found["dissimilarity"].values[0], d[np.triu_indices(4, 1)])
    np.savez(tmp_path / "V1.npz", np.stack([[d, 2 * d]] * 3))
    found = rc.read(tmp_path / "V1.npz", format="net2brain", stimuli="positional")
    assert found["dissimilarity"].shape == (6, 6) and found["rdm_subject"].values.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(FormatError, match=r"expected \(subject\[, time\], n, n\)"):
        np.savez(tmp_path / "V2.npz", np.ones((3, 4)))
        rc.read(tmp_path / "V2.npz", format="net2brain", stimuli="positional")


BETAS = "voxel_id,img1.png,img2.png,img3.png\nv1,1,2,3\nv2,4,5,6\n"
META = "voxel_id,roi_name,subj_id,ncsnr,X Coord\nv2,V4,s1,0.5,1\nv1,V1,s1,0.25,2\nv3,V1,s1,0.1,3\n"


def test_deepnsd(tmp_path):
    (tmp_path / "voxel_betas.csv").write_text(BETAS)
    (tmp_path / "voxel_metadata.csv").write_text(META)
    ds = rc.read(tmp_path)
    np.testing.assert_array_equal(ds["response"].values, [[1, 4], [2, 5], [3, 6]])
    assert ds["stimulus"].values.tolist() == ["img1.png", "img2.png", "img3.png"]
    assert ds["unit_id"].values.tolist() == ["v1", "v2"] and ds["unit_region"].values.tolist() == ["V1", "V4"]
    assert ds["unit_ncsnr"].values.tolist() == [0.25, 0.5] and ds["unit_subject"].values.tolist() == ["s1", "s1"]
    assert ds["unit_x_coord"].values.tolist() == [2, 1] and ds.attrs["modality"] == "fmri"
    assert any("1 voxels" in h for h in ds.attrs["history"])
    (tmp_path / "voxel_metadata.csv").write_text(META.replace("v2", "v9"))
    with pytest.raises(FormatError, match="has no row for voxels 'v2'"):
        rc.read(tmp_path)
    (tmp_path / "voxel_metadata.csv").unlink()
    assert any("no voxel_metadata.csv" in h for h in rc.read(tmp_path).attrs["history"])
    (tmp_path / "voxel_betas.csv").write_text(BETAS.replace("5", "x"))
    with pytest.raises(FormatError, match=r"column 'img2.png' holds text"):
        rc.read(tmp_path)


def write_parquet(file, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), file)


def test_deepnsd_in_parquet_is_the_same_as_in_csv(tmp_path):
    columns = {"voxel_id": ["v1", "v2"], "img1.png": [1.0, 4.0], "img2.png": [2, 5], "img3.png": [3.0, None]}
    for index in ("voxel_id", "__index_level_0__"):  # a named column, or the index of a data frame
        write_parquet(
            tmp_path / "voxel_betas.parquet", {index if k == "voxel_id" else k: v for k, v in columns.items()}
        )
        (tmp_path / "voxel_metadata.csv").write_text(META)
        ds = rc.read(tmp_path)
        np.testing.assert_array_equal(ds["response"].values, [[1, 4], [2, 5], [3, np.nan]])
        assert ds["stimulus"].values.tolist() == ["img1.png", "img2.png", "img3.png"]
        assert ds["unit_id"].values.tolist() == ["v1", "v2"] and ds["unit_region"].values.tolist() == ["V1", "V4"]
    write_parquet(tmp_path / "voxel_betas.parquet", {**columns, "note": ["x", "y"]})
    with pytest.raises(FormatError, match="column 'note' holds no numbers"):
        rc.read(tmp_path)
    with pytest.raises(FormatError, match="declares 2 x 5 values; the limit is 10 bytes; raise memory="):
        rc.read(tmp_path, memory=10)
    data = (tmp_path / "voxel_betas.parquet").read_bytes()
    (tmp_path / "voxel_betas.parquet").write_bytes(data[:-20])
    with pytest.raises(FormatError, match=r"voxel_betas.parquet: has no footer of a parquet table"):
        rc.read(tmp_path)


@pytest.mark.parametrize("version", [None, "14.0.2"])
def test_parquet_names_what_it_needs(tmp_path, monkeypatch, version):
    (tmp_path / "voxel_betas.parquet").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
    fake = None if version is None else SimpleNamespace(__version__=version, parquet=None)
    monkeypatch.setitem(sys.modules, "pyarrow", fake)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", fake)
    with pytest.raises(MissingExtraError, match="pip install pyarrow" if version is None else "found 14.0.2"):
        rc.read(tmp_path)


def test_folders_that_are_nothing(tmp_path):
    with pytest.raises(FormatError, match="no format recognises"):
        rc.read(tmp_path)
