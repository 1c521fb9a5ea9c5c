"""Derivatives of fMRIPrep, betas of GLMsingle and of the Natural Scenes Dataset, data of the Algonauts challenges."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest
import scipy.io

import repcompare as rc
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import detect

nibabel = pytest.importorskip("nibabel")

from tests.data_adapters.fmri.files import (  # noqa: E402
    AFFINE,
    GRID,
    brain_models,
    some_voxels,
    values,
    write_cifti,
    write_gifti,
    write_mask,
    write_run,
)

SPACE = "space-MNI152NLin2009cAsym"


def derivatives(root, subjects=("01",), sessions=("1",), runs=(1, 2)):
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps({"DatasetType": "derivative"}))
    for sub in subjects:
        for ses in sessions:
            func = root / f"sub-{sub}" / f"ses-{ses}" / "func"
            func.mkdir(parents=True)
            for run in runs:
                stem = f"sub-{sub}_ses-{ses}_task-faces_run-{run}"
                seed = 10 * int(ses) + run
                write_run(func / f"{stem}_{SPACE}_desc-preproc_bold.nii.gz", values(seed=seed))
                keep = some_voxels()
                keep[1, 0, 0] = run == 1
                write_mask(func / f"{stem}_{SPACE}_desc-brain_mask.nii.gz", keep)
                columns = np.random.default_rng(seed).normal(size=(10, 2))
                lines = ["trans_x\tcsf", *("\t".join(f"{v:.9g}" for v in row) for row in columns)]
                (func / f"{stem}_desc-confounds_timeseries.tsv").write_text("\n".join(lines))
    return root


def test_a_folder_of_derivatives(tmp_path):
    root = derivatives(tmp_path / "fmriprep", sessions=("1", "2"))
    assert detect(str(root)).name == "fmriprep" == detect(str(root / "sub-01" / "ses-1" / "func")).name
    ds = rc.read(root)
    keep = some_voxels()
    keep[1, 0, 0] = False  # in the mask of one run only
    assert dict(ds.sizes) == {"time": 40, "unit": keep.sum()}
    expected = np.concatenate([values(seed=10 * s + r)[keep].T for s in (1, 2) for r in (1, 2)])
    np.testing.assert_array_equal(ds["response"].values, expected)
    assert ds["session"].values[::10].tolist() == ["1", "1", "2", "2"]
    assert ds["run"].values[::20].tolist() == ["ses-1_run-1", "ses-2_run-1"]
    assert set(ds["unit_subject"].values) == {"sub-01"} and set(ds["stimulus_task"].values) == {"faces"}
    assert any("masks of all 4 runs" in line for line in ds.attrs["history"])
    assert rc.read(root, ses="2", run=[1]).sizes["time"] == 10
    with pytest.raises(OptionError, match="task='rest': no such task; found 'faces'"):
        rc.read(root, task="rest")


def test_one_file_finds_its_mask_and_confounds(tmp_path):
    root = derivatives(tmp_path / "d", runs=(1,))
    path = next(root.rglob("*_bold.nii.gz"))
    assert detect(str(path)).name == "fmriprep"
    ds = rc.read(path, confounds=["trans_x"])
    keep = some_voxels()
    table = np.loadtxt(next(root.rglob("*timeseries.tsv")), skiprows=1)
    design = np.column_stack([np.ones(10), table[:, 0]])
    y = values(seed=11)[keep].T.astype(float)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0] + y.mean(0)
    np.testing.assert_allclose(ds["response"].values, left, rtol=1e-4, atol=1e-3)
    next(root.rglob("*brain_mask.nii.gz")).unlink()
    with pytest.raises(FormatError, match=r"no \*_desc-brain_mask.nii.gz of the same entities.*give mask="):
        rc.read(path)
    assert rc.read(path, mask=keep).sizes["unit"] == keep.sum()


def test_subjects_are_parts_and_choices_must_be_clear(tmp_path):
    root = derivatives(tmp_path / "d", subjects=("01", "02"), runs=(1,))
    assert list(rc.read(root).children) == ["sub-01", "sub-02"]
    assert rc.read(root, sub="02")["unit_subject"].values[0] == "sub-02"
    func = root / "sub-01" / "ses-1" / "func"
    write_run(func / "sub-01_ses-1_task-faces_run-1_space-T1w_desc-preproc_bold.nii.gz", values())
    with pytest.raises(FormatError, match="different space.*choose one with space="):
        rc.read(root, sub="01")
    assert rc.read(root, sub="01", space="MNI152NLin2009cAsym").sizes["time"] == 10
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no preprocessed runs"):
        rc.read(tmp_path / "empty", format="fmriprep")


def test_surfaces_and_grayordinates_of_derivatives(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    for side in "LR":
        stem = f"sub-01_task-rest_hemi-{side}_space-fsaverage5_bold"
        write_gifti(tmp_path / f"{stem}.func.gii", x, side="")
        (tmp_path / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    ds = rc.read(tmp_path)
    assert dict(ds.sizes) == {"time": 4, "unit": 10} and ds["time"].values[1] == 1.5
    assert ds["unit_hemisphere"].values.tolist() == ["left"] * 5 + ["right"] * 5
    other = tmp_path / "cifti"
    other.mkdir()
    rows = nibabel.cifti2.SeriesAxis(0, 2.0, 4, "SECOND")
    write_cifti(
        other / "sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii",
        np.ones((4, 7), np.float32),
        rows,
        brain_models(),
    )
    assert rc.read(other)["unit_region"].values[0] == "CORTEX_LEFT"


BETAS = np.random.default_rng(3).normal(size=(*GRID, 6)).astype(np.float32)
DESIGN = ["a", "b", "c", "a", "b", "a"]


def r2():
    found = np.random.default_rng(4).uniform(size=GRID).astype(np.float32)
    found[0] = np.nan
    return found


def write_glmsingle(folder, kind):
    if kind == "hdf5":
        path = folder / "TYPED_FITHRF_GLMDENOISE_RR.hdf5"
        with h5py.File(path, "w") as f:
            f["betasmd"], f["R2"], f["noisepool"] = BETAS, r2(), np.ones(GRID, bool)
            f["pcnum"] = 3
    elif kind == "npy":
        path = folder / "TYPED_FITHRF_GLMDENOISE_RR.npy"
        np.save(path, {"betasmd": BETAS, "R2": r2(), "noisepool": np.ones(GRID, bool), "pcnum": 3}, allow_pickle=True)
    elif kind == "mat5":
        path = folder / "TYPEC_FITHRF_GLMDENOISE.mat"
        scipy.io.savemat(path, {"modelmd": BETAS, "R2": r2(), "noisepool": np.ones(GRID, np.uint8)})
    else:
        path = folder / "TYPEB_FITHRF.mat"
        with h5py.File(path, "w", userblock_size=512) as f:
            for name, array in {"modelmd": BETAS, "R2": r2(), "noisepool": np.ones(GRID, np.uint8)}.items():
                f[name] = array.T
                f[name].attrs["MATLAB_class"] = np.bytes_("single")
        with open(path, "r+b") as handle:
            handle.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("kind", ["hdf5", "mat73", "mat5", "npy"])
def test_betas_of_glmsingle(tmp_path, kind):
    path = write_glmsingle(tmp_path, kind)
    assert detect(str(path)).name == "glmsingle"
    ds = rc.read(path, design=DESIGN)
    keep = np.isfinite(r2())
    assert dict(ds.sizes) == {"presentation": 6, "unit": 18}
    np.testing.assert_array_equal(ds["response"].values, BETAS[keep].T)
    np.testing.assert_array_equal(
        ds["response"].isel(presentation=[5, 1], unit=[9, 2]).values, BETAS[keep].T[[5, 1]][:, [9, 2]]
    )
    np.testing.assert_array_equal(ds["unit_R2"].values, r2()[keep])
    assert ds["unit_noisepool"].values.all() and ds["repeat"].values.tolist() == [0, 0, 0, 1, 1, 2]
    assert ds["unit_id"].values[0] == "1-0-0" and "unit_x" not in ds.coords
    assert ds.attrs["response_units"] == "percent signal change"
    assert any("18 of 24 voxels with a finite R2" in line for line in ds.attrs["history"])
    masked = rc.read(path, design=DESIGN, mask=write_mask(tmp_path / "mask.nii", some_voxels()))
    np.testing.assert_array_equal(masked["response"].values, BETAS[some_voxels()].T)
    np.testing.assert_allclose(masked["unit_x"].values[0], AFFINE[0, 0] + AFFINE[0, 3])
    assert rc.average_repeats(ds).sizes["stimulus"] == 3
    ds.close()


def test_what_glmsingle_needs(tmp_path):
    path = write_glmsingle(tmp_path, "hdf5")
    for options, message in (
        ({}, "nothing names its 6 trials; expected design="),
        ({"design": DESIGN[:4]}, "6 trials, but .* gives 4 names"),
        ({"design": DESIGN, "mask": np.ones((2, 2, 2))}, r"mask= has shape \(2, 2, 2\)"),
    ):
        with pytest.raises(FormatError, match=message):
            rc.read(path, **options)
    with h5py.File(tmp_path / "TYPEA_ONOFF.hdf5", "w") as f:
        f["R2"] = r2()
    with pytest.raises(FormatError, match="no betasmd or modelmd in it; found R2"):
        rc.read(tmp_path / "TYPEA_ONOFF.hdf5", design=["on"])
    with h5py.File(tmp_path / "TYPEB_FITHRF.hdf5", "w") as f:
        f["betasmd"] = BETAS.reshape(24, 6)
    flat = rc.read(tmp_path / "TYPEB_FITHRF.hdf5", design="positional")
    assert flat["unit_id"].values[3] == "voxel/3" and flat["stimulus_id"].values[1] == "#0001"
    np.testing.assert_array_equal(flat["response"].values, BETAS.reshape(24, 6).T)
    flat.close()


def test_pickles_of_glmsingle_run_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "TYPEB_FITHRF.npy", {"betasmd": BETAS, "x": Trap()}, allow_pickle=True)
    with pytest.raises(FormatError, match="open"):
        rc.read(tmp_path / "TYPEB_FITHRF.npy", design=DESIGN)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture
def nsd(tmp_path):
    """Sessions 1 and 2 of a subject with few voxels, and a design of few pictures."""
    folder = tmp_path / "nsddata_betas" / "ppdata" / "subj03" / "func1mm" / "betas_fithrf"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    order = rng.integers(1, 501, size=(1, 1500))
    pictures = rng.permutation(73000)[:4000].reshape(8, 500) + 1
    place = tmp_path / "nsddata" / "experiments" / "nsd"
    place.mkdir(parents=True)
    scipy.io.savemat(place / "nsd_expdesign.mat", {"masterordering": order, "subjectim": pictures})
    stored = []
    for session in (1, 2):
        data = rng.integers(-900, 900, size=(750, *GRID[::-1])).astype(np.int16)
        data[:, 1, 2, 3] = 0  # invalid voxel (3, 2, 1)
        stored.append(data)
        with h5py.File(folder / f"betas_session0{session}.hdf5", "w") as f:
            f.create_dataset("betas", data=data, chunks=(1, *data.shape[1:]))
    return folder, stored, order.ravel(), pictures


def test_sessions_of_the_natural_scenes_dataset(nsd, tmp_path):
    folder, stored, order, pictures = nsd
    mask = write_mask(tmp_path / "mask.nii.gz", some_voxels())
    ds = rc.read(str(folder / "betas_session*.hdf5"), mask=mask)
    keep = some_voxels()
    keep[3, 2, 1] = False
    expected = np.concatenate(
        [[[d[t, k, j, i] / 300 for i, j, k in np.argwhere(keep)] for t in range(750)] for d in stored]
    )
    np.testing.assert_allclose(ds["response"].values, expected, rtol=1e-6)
    np.testing.assert_allclose(ds["response"].isel(presentation=[800, 3]).values, expected[[800, 3]], rtol=1e-6)
    names = [f"nsd-{pictures[2, order[t] - 1] - 1:05d}" for t in range(1500)]
    assert ds["stimulus_id"].values.tolist() == names
    seen = [names[:t].count(name) for t, name in enumerate(names)]
    assert ds["repeat"].values.tolist() == seen and ds["session"].values.tolist() == [1] * 750 + [2] * 750
    np.testing.assert_allclose(ds["unit_x"].values, 2.0 * np.argwhere(keep)[:, 0] - 4)
    history = "\n".join(ds.attrs["history"])
    assert (
        "1 of 24 voxels are 0 in all of 9 trials" in history and "divided by 300" in history and "subject 3" in history
    )
    z = rc.read(folder / "betas_session01.hdf5", mask=mask, zscore_session=True)
    np.testing.assert_allclose(z["response"].values.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(z["response"].values.std(0), 1, rtol=1e-5)
    assert z.attrs["response_units"] == "z"
    again = pickle.loads(pickle.dumps(ds))
    np.testing.assert_array_equal(again["response"][5].values, ds["response"][5].values)
    for opened in (ds, z):
        opened.close()
    del again
    with h5py.File(folder / "betas_session01.hdf5", "r+"):  # nothing holds the file any more
        pass


def test_other_files_of_the_natural_scenes_dataset(nsd, tmp_path):
    folder, stored, _, _ = nsd
    volume = tmp_path / "betas_session01.nii.gz"
    write_run(volume, stored[0].transpose(3, 2, 1, 0)[..., :20])
    names = [f"p{i}" for i in range(20)]
    ds = rc.read(volume, stimuli=names, mask=some_voxels())
    plain = rc.read(folder / "betas_session01.hdf5", stimuli="positional", mask=some_voxels())
    np.testing.assert_allclose(ds["response"].values, plain["response"].values[:20], rtol=1e-6)
    assert "unit_x" in ds.coords and "unit_x" not in plain.coords
    surfaces = np.random.default_rng(1).normal(size=(2, 6, 1, 1, 20)).astype(np.float32)
    for side, data in zip(("lh", "rh"), surfaces, strict=True):
        nibabel.save(nibabel.MGHImage(data, np.eye(4, dtype=np.float32)), tmp_path / f"{side}.betas_session01.mgh")
    both = rc.read([tmp_path / f"{s}.betas_session01.mgh" for s in ("lh", "rh")], stimuli=names)
    np.testing.assert_array_equal(both["response"].values, surfaces.reshape(12, 20).T)
    assert (
        both["unit_hemisphere"].values.tolist() == ["left"] * 6 + ["right"] * 6 and both["unit_vertex"].values[7] == 1
    )


def test_what_the_natural_scenes_dataset_needs(nsd, tmp_path):
    folder, stored, _, _ = nsd
    path = folder / "betas_session01.hdf5"
    with pytest.raises(OptionError, match="subject=9"):
        rc.read(path, subject=9)
    with pytest.raises(FormatError, match="750 trials, but stimuli= gives 2 names"):
        rc.read(path, stimuli=["a", "b"])
    with h5py.File(tmp_path / "betas_session07.hdf5", "w") as f:
        f["betas"] = stored[0][:5]
    with pytest.raises(OptionError, match="no subject"):
        rc.read(tmp_path / "betas_session07.hdf5")
    with pytest.raises(FormatError, match="5 trials; expected 750"):
        rc.read(tmp_path / "betas_session07.hdf5", subject=1)
    with h5py.File(tmp_path / "betas_session08.hdf5", "w") as f:
        f["other"] = 1
    with pytest.raises(FormatError, match="no dataset betas .*found other"):
        rc.read(tmp_path / "betas_session08.hdf5")
    (tmp_path / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat").unlink()
    with pytest.raises(FormatError, match="no nsd_expdesign.mat.*expdesign="):
        rc.read(path)


def challenge(root, pictures=3):
    fmri, images, masks = (
        root / p for p in ("training_split/training_fmri", "training_split/training_images", "roi_masks")
    )
    for folder in (fmri, images, masks):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {s: rng.normal(size=(3, n)).astype(np.float32) for s, n in (("lh", 4), ("rh", 2))}
    for side, array in arrays.items():
        np.save(fmri / f"{side}_training_fmri.npy", array)
    for i in range(pictures):
        (images / f"train-{i + 1:04d}_nsd-{(13, 7, 99)[i % 3]:05d}.png").write_bytes(b"")
    for roi, names in (
        ("prf-visualrois", {0: "Unknown", 1: "V1v", 2: "V1d"}),
        ("floc-faces", {0: "Unknown", 1: "OFA"}),
    ):
        np.save(masks / f"mapping_{roi}.npy", names, allow_pickle=True)
        np.save(masks / f"lh.{roi}_challenge_space.npy", np.array([0, 1, 1, 0]))
        np.save(masks / f"rh.{roi}_challenge_space.npy", np.array([1, 0]))
    np.save(masks / "lh.all-vertices_fsaverage_space.npy", np.ones(9))
    return root, arrays


def test_algonauts_2023(tmp_path):
    root, arrays = challenge(tmp_path / "subj01")
    assert detect(str(root)).name == "algonauts"
    ds = rc.read(root)
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, np.concatenate([arrays["lh"], arrays["rh"]], axis=1))
    np.testing.assert_array_equal(
        ds.sel(stimulus=["nsd-00099"])["response"].isel(unit=[5, 0]), [[arrays["rh"][2, 1], arrays["lh"][2, 0]]]
    )
    assert ds["stimulus"].values.tolist() == ["nsd-00013", "nsd-00007", "nsd-00099"]
    assert ds["unit_hemisphere"].values.tolist() == ["left"] * 4 + ["right"] * 2
    assert ds["unit_region"].values.tolist() == ["", "OFA;V1v", "OFA;V1v", "", "OFA;V1v", ""]
    assert (
        rc.read(root, rois=["floc-faces"])["unit_region"].values[1] == "OFA"
        and ds["unit_subject"].values[0] == "subj01"
    )
    with pytest.raises(OptionError, match="did you mean 'floc-faces'"):
        rc.read(root, rois=["floc-face"])
    other, _ = challenge(tmp_path / "subj02", pictures=2)
    with pytest.raises(FormatError, match=r"2 pictures, but rows lh_training_fmri.npy 3"):
        rc.read(other)


def test_algonauts_2025_and_2021(tmp_path):
    path = tmp_path / "sub-01_task-friends_space-MNI_atlas-Schaefer18_parcel-1000Par7Net_bold.h5"
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with h5py.File(path, "w") as f:
        f["ses-001_task-s01e02a"], f["ses-002_task-s01e02b"] = x, x[:3] + 1
    assert detect(str(path)).name == "algonauts"
    ds = rc.read(path)
    np.testing.assert_array_equal(ds["response"].values, np.concatenate([x, x[:3] + 1]))
    assert ds["time"].values.tolist() == pytest.approx([0, 1.49, 2.98, 4.47, 5.96, 0, 1.49, 2.98])
    assert ds["run"].values[4:6].tolist() == ["ses-001_task-s01e02a", "ses-002_task-s01e02b"]
    assert ds["session"].values[-1] == "002" and ds["stimulus_task"].values[0] == "s01e02a"
    assert rc.read(path, runs="ses-002_task-s01e02b").sizes["time"] == 3
    with pytest.raises(OptionError, match="no dataset 'ses-003'"):
        rc.read(path, runs=["ses-003"])
    ds.close()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "V1.pkl").write_bytes(b"\x80\x04N.")
    for place in (tmp_path / "old", tmp_path / "old" / "V1.pkl"):
        with pytest.raises(FormatError, match="2021 are never loaded"):
            rc.read(place)
