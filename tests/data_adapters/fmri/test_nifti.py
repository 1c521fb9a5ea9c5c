"""NIfTI and MGH images: headers against nibabel, values against plain loops, labels, events, what does not fit."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pandas as pd
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import detect

nibabel = pytest.importorskip("nibabel")

from data_adapters.fmri._header import read_header  # noqa: E402
from data_adapters.fmri._rows import ImageVolumes  # noqa: E402
from tests.data_adapters.fmri.files import (  # noqa: E402
    AFFINE,
    GRID,
    some_voxels,
    values,
    write_mask,
    write_run,
)


def naive(path, keep):
    """Values (time, unit): a loop over the voxels of the mask in C order, by nibabel."""
    data = nibabel.load(path).get_fdata()
    return np.array([data[i, j, k] for i, j, k in np.argwhere(keep)]).T


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("form", ["sform", "qform", "none"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_headers_are_those_that_nibabel_reads(tmp_path, kind, form, suffix):
    turn = np.array([[0.0, -2.0, 0.1], [2.0, 0.0, 0.0], [0.0, 0.2, -3.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, [5, -7, 9.5]
    if form == "qform":  # only rotations and voxel sizes
        affine[:3, :3] = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, -1]]) * [2, 2.5, 3]
    image = kind(values(), affine)
    image.set_sform(affine, code=1 if form == "sform" else 0)
    image.set_qform(affine if form == "qform" else None, code=1 if form == "qform" else 0)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 1500
    image.header.set_slope_inter(0.5, 3)
    path = tmp_path / f"a{suffix}"
    nibabel.save(image, path)
    found, expected = read_header(str(path)), nibabel.load(path)
    np.testing.assert_allclose(found.affine, expected.affine, rtol=1e-5, atol=1e-5)
    assert (found.shape, found.dtype, found.offset) == (expected.shape, expected.dataobj.dtype, expected.dataobj.offset)
    assert (found.slope, found.inter) == (expected.dataobj.slope, expected.dataobj.inter)
    assert found.tr == 1.5


def test_big_endian_pairs_and_mgh(tmp_path):
    data = values().astype(np.float32)
    header = nibabel.Nifti1Header(endianness=">")
    nibabel.save(nibabel.Nifti1Image(data, AFFINE, header), tmp_path / "big.nii")
    nibabel.save(nibabel.Nifti1Pair(data, AFFINE), tmp_path / "pair.img")
    nibabel.save(nibabel.MGHImage(data, AFFINE.astype(np.float32)), tmp_path / "a.mgz")
    for name in ("big.nii", "pair.img", "pair.hdr", "a.mgz"):
        found = rc.read(tmp_path / name, tr=2.0, mask=np.ones(GRID, bool))
        np.testing.assert_array_equal(found["response"].values, data.reshape(-1, 10).T)
        np.testing.assert_allclose(found["unit_z"].values[1], AFFINE[2, 2] + 1, rtol=1e-6)
    np.testing.assert_allclose(read_header(str(tmp_path / "a.mgz")).affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slope", [None, (0.25, -3.0)])
def test_a_run_behind_a_mask(tmp_path, suffix, slope):
    path = write_run(tmp_path / f"bold{suffix}", values(), slope=slope)
    keep = some_voxels()
    ds = rc.read(path, mask=write_mask(tmp_path / "mask.nii.gz", keep))
    assert not ds["response"].variable._in_memory
    assert dict(ds.sizes) == {"time": 10, "unit": keep.sum()} and ds["response"].dtype == np.float32
    np.testing.assert_allclose(ds["response"].values, naive(path, keep), rtol=1e-6)
    assert ds["time"].values.tolist() == [2.0 * i for i in range(10)]
    places = np.argwhere(keep)
    assert ds["unit_id"].values.tolist() == ["-".join(map(str, p)) for p in places.tolist()]
    for n, axis in enumerate("ijk"):
        assert ds[f"unit_{axis}"].values.tolist() == places[:, n].tolist()
    mm = nibabel.affines.apply_affine(AFFINE, places)
    np.testing.assert_allclose(np.stack([ds[f"unit_{a}"].values for a in "xyz"], 1), mm)
    chosen = ds.isel(time=[7, 2], unit=slice(5, 1, -2))
    np.testing.assert_allclose(chosen["response"].values, naive(path, keep)[[7, 2]][:, 5:1:-2], rtol=1e-6)
    np.testing.assert_allclose(ds["response"][3].values, naive(path, keep)[3], rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["response"].values, ds["response"].values)
    assert ds.attrs["modality"] == "fmri" and "NIfTI-1" in ds.attrs["source"]
    assert any("mask.nii.gz" in line for line in ds.attrs["history"])
    rc.save(ds, tmp_path / "native.nc")
    np.testing.assert_array_equal(rc.open(tmp_path / "native.nc")["response"].values, ds["response"].values)


def test_opening_and_selecting_touch_only_what_is_needed(tmp_path, monkeypatch):
    path = write_run(tmp_path / "bold.nii", values())
    mask = write_mask(tmp_path / "mask.nii", some_voxels())
    asked = []
    each = ImageVolumes.each
    monkeypatch.setattr(
        ImageVolumes, "each", lambda self, rows: asked.append((self.label, rows.tolist())) or each(self, rows)
    )
    ds = rc.read(path, mask=mask)
    rc.validate(ds)
    assert [p for p, _ in asked] == [str(mask)]
    ds["response"].isel(time=slice(2, 4), unit=0).load()
    assert asked[1:] == [(str(path), [2, 3])]


def test_without_a_mask_voxels_that_vary_are_kept_and_counted(tmp_path):
    data = values()
    data[0, 0, 0] = 7
    data[2, 1, 1] = 0
    path = write_run(tmp_path / "bold.nii.gz", data)
    ds = rc.read(path)
    keep = np.ones(GRID, bool)
    keep[0, 0, 0] = keep[2, 1, 1] = False
    np.testing.assert_array_equal(ds["response"].values, naive(path, keep))
    assert "no mask: 22 of 24 voxels vary" in ds.attrs["history"]
    with pytest.raises(FormatError, match=r"none of 24 voxels varies; .*give mask="):
        rc.read(write_run(tmp_path / "flat.nii", np.ones((*GRID, 3), np.int16)))
    floats = data.astype(np.float32)
    floats[1, 1, 1] = np.nan
    assert rc.read(write_run(tmp_path / "nan.nii", floats)).sizes["unit"] == 21


def test_regions_from_an_atlas(tmp_path):
    path = write_run(tmp_path / "bold.nii", values())
    labels = np.zeros(GRID, np.int16)
    labels[0], labels[1], labels[3, 0] = 1, 2, 7
    atlas = tmp_path / "atlas.nii"
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), atlas)
    (tmp_path / "names.tsv").write_text("index\tname\n1\tV1\n2\tV2\n", encoding="utf-8")
    (tmp_path / "names.txt").write_text("# an FSL-like table\n1 V1 left\n2 V2 left\n", encoding="utf-8")
    ds = rc.read(path, atlas=atlas, regions=tmp_path / "names.tsv")
    assert ds["unit_region"].values.tolist() == ["V1"] * 6 + ["V2"] * 6 + ["7"] * 2
    assert any("1 regions without a name" in line for line in ds.attrs["history"])
    np.testing.assert_array_equal(ds["response"].values, naive(path, labels > 0))
    both = rc.read(path, atlas=atlas, mask=some_voxels(), regions={1: "V1", 2: "V2", 7: "IT"})
    assert both["unit_region"].values.tolist() == ["V2"] * 3 + [""] * 4
    assert set(rc.read(path, atlas=atlas, regions=tmp_path / "names.txt")["unit_region"].values) == {
        "V1 left",
        "V2 left",
        "7",
    }
    assert rc.read(path, atlas=atlas, regions=["V1", "V2"])["unit_region"].values[0] == "V1"


def events(onsets, durations, types, **more):
    return pd.DataFrame({"onset": onsets, "duration": durations, "trial_type": types, **more})


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_events_become_presentations(tmp_path, suffix):
    keep = some_voxels()
    paths = [write_run(tmp_path / f"run-{r}_bold{suffix}", values(seed=r)) for r in (1, 2)]
    tables = [
        events([0.0, 6.0, 14.0], [4.0, 4.0, 6.0], ["cat", "dog", "cat"], rating=[1, 2, 3]),
        events([2.0, 3.0], [4.0, 4.0], ["dog", "dog"], rating=[4, 5]),
    ]
    for i, table in enumerate(tables):
        table.to_csv(tmp_path / f"e{i}.tsv", sep="\t", index=False)
    ds = rc.read(paths, mask=keep, events=[tmp_path / "e0.tsv", tables[1]], average=(2.0, None))
    assert ds["stimulus_id"].values.tolist() == ["cat", "dog", "cat", "dog", "dog"]
    assert ds["repeat"].values.tolist() == [0, 0, 1, 1, 2] and ds["run"].values.tolist() == [1, 1, 1, 2, 2]
    assert ds["stimulus_rating"].values.tolist() == [1, 2, 3, 4, 5] and ds["stimulus_onset"].values[1] == 6
    expected = []
    for path, table in zip(paths, tables, strict=True):
        data = naive(path, keep)
        for _, e in table.iterrows():
            low, high = e.onset + 2, e.onset + 2 + e.duration
            inside = [t for t in range(10) if low <= 2.0 * t < high]
            expected.append(data[inside].mean(0) if high <= 20 else np.full(keep.sum(), np.nan))
    np.testing.assert_allclose(ds["response"].values, expected, rtol=1e-6)
    assert any("1 of 5 events" in line for line in ds.attrs["history"])
    np.testing.assert_allclose(
        ds["response"].isel(presentation=[4, 0], unit=[2]).values, np.array(expected)[[4, 0]][:, [2]]
    )
    one = rc.read(paths[0], mask=keep, events=events([4.0], [0.0], ["cat"]), average=(0, 2))
    np.testing.assert_allclose(one["response"].values[0], naive(paths[0], keep)[2], rtol=1e-6)


def test_missing_values_of_events_are_dropped_with_a_note(tmp_path):
    path = write_run(tmp_path / "a.nii", values())
    (tmp_path / "e.tsv").write_text(
        "onset\tduration\ttrial_type\n0\t4\tn/a\nn/a\t4\tcat\n2\t4\tdog\n", encoding="utf-8"
    )
    ds = rc.read(path, events=tmp_path / "e.tsv", mask=some_voxels())
    assert ds["stimulus_id"].values.tolist() == ["dog"]
    assert any("2 of 3 events" in line for line in ds.attrs["history"])


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        (events([0.0], [0.0], ["a"]), {}, FormatError, r"duration 0; .*average=\(shift, length\)"),
        (
            events([50.0], [1.0], ["a"]),
            {},
            FormatError,
            r"begins at 50 s; a.nii lasts until 20 s \(10 volumes of 2 s\)",
        ),
        (events([18.0], [1.0], ["a"]), {}, FormatError, "no volume lies in the window"),
        (events([0.0], [4.0], ["a"]), {"average": "late"}, OptionError, r"expected \(shift, length\)"),
        (events([0.0], [4.0], ["a"]), {"average": (0, -1)}, OptionError, r"expected \(shift, length\)"),
        (
            events([0.0], [4.0], ["a"]),
            {"stimulus": "trial"},
            OptionError,
            "no column 'trial'; did you mean 'trial_type'",
        ),
        (events(["x"], [4.0], ["a"]), {}, FormatError, "column 'onset'.*expected seconds"),
        (events([np.nan], [4.0], ["a"]), {}, FormatError, "none of 1 events has an onset"),
        ([events([0.0], [4.0], ["a"])] * 2, {}, OptionError, "2 tables for 1 runs"),
        (events([0.0], [4.0], ["a"]), {"stimuli": ["a"] * 10}, OptionError, "events= and stimuli="),
    ],
)
def test_events_that_do_not_fit(tmp_path, table, options, error, message):
    path = write_run(tmp_path / "a.nii", values())
    with pytest.raises(error, match=message):
        rc.read(path, mask=some_voxels(), events=table, **options)


def test_cleaning_is_per_run(tmp_path):
    keep = some_voxels()
    paths = [write_run(tmp_path / f"run-{r}.nii.gz", values(12, seed=r)) for r in (1, 2)]
    confounds = [np.random.default_rng(r).normal(size=12) for r in (1, 2)]
    for r, column in enumerate(confounds):
        text = ["n/a", *(f"{v:.12g}" for v in column[1:])]
        (tmp_path / f"c{r}.tsv").write_text("trans_x\tother\n" + "\n".join(f"{t}\t1" for t in text), encoding="utf-8")
    tables = [tmp_path / "c0.tsv", tmp_path / "c1.tsv"]
    ds = rc.read(paths, mask=keep, zscore=True, detrend=True, confounds=["trans_x"], confounds_table=tables)
    expected = []
    for path, column in zip(paths, confounds, strict=True):
        column = np.r_[column[1:].mean(), column[1:]]
        design = np.column_stack([np.ones(12), np.arange(12), column])
        y = naive(path, keep)
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        expected.append(left / left.std(0))
    np.testing.assert_allclose(ds["response"].values, np.concatenate(expected), rtol=1e-5, atol=1e-5)
    some = ds["response"].isel(time=[13, 20], unit=[1, 4]).values
    np.testing.assert_allclose(some, np.concatenate(expected)[[13, 20]][:, [1, 4]], rtol=1e-5, atol=1e-5)
    assert ds["run"].values.tolist() == [1] * 12 + [2] * 12
    flat = rc.read(paths, mask=keep, detrend=True)
    np.testing.assert_allclose(flat["response"].values[:12].mean(0), naive(paths[0], keep).mean(0), rtol=1e-5)
    for text in ("z-scored per run", "linear trend", "trans_x", "1 missing"):
        assert any(text in line for line in ds.attrs["history"])
    with pytest.raises(OptionError, match="no confound 'trans_y'; did you mean 'trans_x'"):
        rc.read(paths, mask=keep, confounds=["trans_y"], confounds_table=tables)
    with pytest.raises(FormatError, match="no .*confounds_timeseries.tsv.*give confounds_table="):
        rc.read(paths, mask=keep, confounds=["trans_x"])


def test_constant_voxels_become_missing_not_zero_when_they_are_z_scored(tmp_path):
    data = values()
    data[1, 0, 0] = 1000
    ds = rc.read(write_run(tmp_path / "a.nii", data), mask=some_voxels(), zscore=True)
    assert np.isnan(ds["response"].values[:, 0]).all() and np.isfinite(ds["response"].values[:, 1:]).all()


def test_runs_within_one_file(tmp_path):
    path = write_run(tmp_path / "a.nii", values(12))
    run = [0] * 6 + [1] * 6
    ds = rc.read(path, mask=some_voxels(), run=run, zscore=True)
    assert ds["run"].values.tolist() == run
    np.testing.assert_allclose(ds["response"].values[:6].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(ds["response"].values[6:].std(0), 1, rtol=1e-6)
    with pytest.raises(FormatError, match="run= has 3 entries for 12 volumes"):
        rc.read(path, mask=some_voxels(), run=[1, 2, 3])


def test_single_volumes_are_stimuli_named_by_their_files(tmp_path):
    data = values(3)
    for i, name in enumerate(("face", "house", "shoe")):
        write_run(tmp_path / f"{name}.nii.gz", data[..., i])
    ds = rc.read(str(tmp_path / "*.nii.gz"), mask=some_voxels())
    assert ds["stimulus"].values.tolist() == ["face", "house", "shoe"]
    np.testing.assert_array_equal(ds["response"].values, data[some_voxels()].T)
    turned = rc.read([tmp_path / "shoe.nii.gz", tmp_path / "face.nii.gz"], mask=some_voxels())
    assert turned["stimulus"].values.tolist() == ["shoe", "face"]
    assert rc.read(tmp_path / "face.nii.gz").sizes == {"stimulus": 1, "unit": 24}
    named = rc.read(str(tmp_path / "*.nii.gz"), mask=some_voxels(), stimuli=["a", "b", "a"])
    assert named["repeat"].values.tolist() == [0, 0, 1]


def test_a_stack_of_betas_takes_names(tmp_path):
    path = write_run(tmp_path / "betas.nii", values(3), tr=0)
    with pytest.raises(FormatError, match=r"time between volumes is unknown.*tr=.*stimuli="):
        rc.read(path)
    assert rc.read(path, stimuli=["a", "b", "c"])["stimulus"].values.tolist() == ["a", "b", "c"]
    assert rc.read(path, tr=1.5)["time"].values.tolist() == [0, 1.5, 3]
    with pytest.raises(FormatError, match="3 volumes in 1 file.*2 names"):
        rc.read(path, stimuli=["a", "b"])
    with pytest.raises(OptionError, match="tr=-1"):
        rc.read(path, tr=-1)
    (tmp_path / "betas.json").write_text(json.dumps({"RepetitionTime": 2.25}), encoding="utf-8")
    assert rc.read(path)["time"].values[1] == 2.25


@pytest.mark.parametrize(("unit", "tr", "seconds"), [("sec", 2.5, 2.5), ("msec", 1490, 1.49), ("usec", 5e5, 0.5)])
def test_units_of_time(tmp_path, unit, tr, seconds):
    path = write_run(tmp_path / "a.nii", values(3), tr=tr, units=("mm", unit))
    assert rc.read(path)["time"].values[1] == pytest.approx(seconds)
    unknown = write_run(tmp_path / "b.nii", values(3), units=("mm", "unknown"))
    with pytest.raises(FormatError, match="tr="):
        rc.read(unknown)


def test_what_lies_elsewhere_is_refused(tmp_path):
    path = write_run(tmp_path / "a.nii", values())
    moved = AFFINE.copy()
    moved[0, 3] += 1
    cases = [
        (
            {"mask": write_mask(tmp_path / "m.nii", np.ones((4, 3, 3)))},
            r"m.nii: the mask has shape \(4, 3, 3\); a.nii has \(4, 3, 2\)",
        ),
        (
            {"mask": write_mask(tmp_path / "n.nii", np.ones(GRID), moved)},
            r"n.nii: the mask lies elsewhere: .*differs by 1 ",
        ),
        ({"mask": write_mask(tmp_path / "e.nii", np.zeros(GRID))}, "keeps no voxel"),
        ({"mask": np.ones((2, 2))}, r"mask= has shape \(2, 2\)"),
        ({"mask": path}, "10 volumes; expected one"),
        ({"atlas": write_mask(tmp_path / "n.nii", np.ones(GRID), moved)}, "the atlas lies elsewhere"),
    ]
    for options, message in cases:
        with pytest.raises(FormatError, match=message):
            rc.read(path, **options)
    other = write_run(tmp_path / "other.nii", values(), affine=moved)
    with pytest.raises(FormatError, match="other.nii: this image lies elsewhere"):
        rc.read([path, other])
    halves = tmp_path / "halves.nii"
    nibabel.save(nibabel.Nifti1Image(np.full(GRID, 0.5, np.float32), AFFINE), halves)
    with pytest.raises(FormatError, match="other values than whole numbers"):
        rc.read(path, atlas=halves)
    with pytest.raises(FormatError, match=r"expected runs or single volumes, not both"):
        rc.read([path, write_run(tmp_path / "single.nii", values()[..., 0])], mask=some_voxels())


def test_kinds_of_images_that_hold_no_real_numbers(tmp_path):
    complex_ = tmp_path / "c.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2, 3), np.complex64), AFFINE), complex_)
    with pytest.raises(FormatError, match="holds complex64; expected real numbers"):
        rc.read(complex_)
    five = tmp_path / "five.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2, 3, 3), np.int16), AFFINE), five)
    with pytest.raises(FormatError, match=r"shape \(2, 2, 2, 3, 3\); expected three axes"):
        rc.read(five)


def test_lists_and_patterns(tmp_path):
    path = write_run(tmp_path / "a.nii", values())
    assert detect(str(path)).name == "nifti"
    np.save(tmp_path / "a.npy", np.eye(2))
    for given, error, message in (
        ([], FormatError, "empty list"),
        ([path, path], FormatError, "named twice"),
        (str(tmp_path / "*.mgh"), FormatError, "no file matches"),
        ([path, tmp_path / "gone.nii"], FormatError, "gone.nii: no such file"),
        ([tmp_path / "a.npy"] * 2, OptionError, "npy reads one file at a time"),
    ):
        with pytest.raises(error, match=message):
            rc.read(given)
    with pytest.raises(OptionError, match="no option 'masks'; did you mean 'mask'"):
        rc.read(path, masks=1)


def test_a_file_that_ends_early(tmp_path):
    path = write_run(tmp_path / "a.nii.gz", values(200, grid=(8, 8, 8)))
    (tmp_path / "cut.nii.gz").write_bytes(path.read_bytes()[:-2000])
    ds = rc.read(tmp_path / "cut.nii.gz", mask=np.ones((8, 8, 8), bool))
    with pytest.raises(FormatError, match=r"cut.nii.gz: .*(ends within volume|EOFError)"):
        ds["response"].load()
    plain = gzip.decompress(path.read_bytes())
    (tmp_path / "cut.nii").write_bytes(plain[:-2])
    with pytest.raises(FormatError, match=r"declares \(8, 8, 8, 200\) int16 = 204800 bytes.*truncated"):
        rc.read(tmp_path / "cut.nii")


@pytest.mark.data
def test_haxby_slice(data_dir):
    folder = data_dir / "haxby_pymvpa"
    ds = rc.read(folder / "bold.nii.gz", mask=folder / "mask.nii.gz")
    assert dict(ds.sizes) == {"time": 1452, "unit": 530} and float(ds["time"][1]) == 2.5
    keep = nibabel.load(folder / "mask.nii.gz").get_fdata() > 0
    np.testing.assert_array_equal(ds["response"].values, naive(folder / "bold.nii.gz", keep))
    lines = (folder / "attributes_literal.txt").read_text().split("\n")
    words = [line.split() for line in lines if line.strip()][:1453]
    words = [w for w in words if w[1].isdigit()]
    each = rc.read(
        folder / "bold.nii.gz",
        mask=folder / "mask.nii.gz",
        stimuli=[w[0] for w in words],
        run=[int(w[1]) for w in words],
    )
    assert each.sizes["presentation"] == 1452 and len(set(each["run"].values.tolist())) == 12


@pytest.mark.data
def test_haxby_runs_with_events(data_dir):
    folder = data_dir / "haxby_pymvpa" / "haxby2001" / "sub001"
    runs = sorted((folder / "BOLD").glob("*/bold_25mm.nii.gz"))
    tables = [r.parent / "bold_events.tsv" for r in runs]
    ds = rc.read(runs, mask=folder / "masks" / "25mm" / "brain.nii.gz", events=tables, zscore=True)
    assert ds["run"].values.tolist() == [r for r in range(1, 13) for _ in range(8)]
    assert len(set(ds["stimulus_id"].values.tolist())) == 8 and np.isfinite(ds["response"].values).all()
