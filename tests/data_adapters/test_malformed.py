"""Truncated and flipped files: success or our own errors, never a bare error of a library."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import data_adapters
import repcompare as rc
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.parts import parts_of

ALLOWED = (FormatError, SchemaError, OptionError)
IDS = ["a", "b", "c"]
POSITIONS = 60


def write_nwb(file):
    with h5py.File(file, "w") as f:
        f.attrs["nwb_version"] = "2.6.0"
        f["units/id"] = np.array([7, 8])
        f["units/spike_times"] = np.arange(40) / 13
        f["units/spike_times_index"] = np.array([15, 40], np.uint8)
        f["units/quality"] = np.array([b"good", b"noise"])
        f["units/electrodes"], f["units/electrodes_index"] = np.array([0, 1]), np.array([1, 2], np.uint8)
        f["units/obs_intervals"], f["units/obs_intervals_index"] = (
            [[0.0, 3.0], [0.0, 2.0]],
            np.array([1, 2], np.uint8),
        )
        f["general/extracellular_ephys/electrodes/location"] = np.array([b"V1", b"V4"])
        f["intervals/trials/start_time"], f["intervals/trials/stop_time"] = [0.0, 1.0, 2.0], [0.5, 1.5, 2.5]
        f["intervals/trials/image"] = np.array(["cat", "dog", "cat"], h5py.string_dtype())
    return file


def make(folder, kind):
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    file = folder / f"small.{kind}"
    if kind == "npy":
        np.save(file, x)
        return file, {"stimuli": IDS}
    if kind == "npz":
        np.savez_compressed(file, conv=x, fc=x[:, :2], stimulus_id=np.array(IDS))
        return file, {}
    if kind == "nwb":
        return write_nwb(file), {"stimulus": "image", "start": 0.0, "stop": 0.2, "width": 0.1}
    if kind == "nc":
        rc.save(rc.representation(x, stimulus=IDS), file)
        return file, {}
    with h5py.File(file, "w") as f:
        f["stimulus_id"] = IDS
        f["conv"] = x
        f.create_dataset("deep/fc", data=x, chunks=(1, 5), compression="gzip")
    return file, {}


def attempt(file, options):
    try:
        found = data_adapters.read(file, **options)
        for part in parts_of(found).values():
            part["response"].load()
            rc.validate(part)
        found.close()
    except ALLOWED as error:
        assert str(error).strip()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nwb"])
def test_truncated_and_flipped_files(tmp_path, kind):
    file, options = make(tmp_path, kind)
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    half = POSITIONS // 2
    cuts = np.unique(np.r_[1, 7, 8, 100, len(data) - 1, rng.integers(1, len(data), half)])
    bad = tmp_path / f"bad.{kind}"
    for cut in cuts:
        bad.write_bytes(data[:cut])
        attempt(bad, options)
        bad.unlink()
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # flipping padding changes nothing
    for at in np.r_[rng.choice(used, half), rng.choice(used[used < 400], half // 2)]:
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        bad.write_bytes(flipped)
        attempt(bad, options)
        bad.unlink()


def test_a_heap_over_which_the_library_would_loop_is_noticed(tmp_path):
    file, _ = make(tmp_path, "h5")
    data = bytearray(file.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 88 + 8 : heap + 88 + 16] = bytes(8)  # the free space after three names of one letter: no length
    file.write_bytes(data)
    with pytest.raises(FormatError, match=r"heap of text at byte .* is damaged"):
        data_adapters.read(file, format="hdf5")


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "nwb", "nc"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncation_is_said_with_the_name_of_the_file(tmp_path, kind, share):
    file, options = make(tmp_path, kind)
    data = file.read_bytes()
    bad = tmp_path / f"bad.{kind}"
    bad.write_bytes(data[: int(share * len(data))])
    if kind == "nc":
        options = {"format": "repcompare"}
    with pytest.raises((FormatError, SchemaError), match=f"bad.{kind}"):
        for part in parts_of(data_adapters.read(bad, **options)).values():
            part["response"].load()
