"""What the containers of recordings may not do: texts without end, chunks without end, doubly ragged columns."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import repcompare as rc
from data_adapters.spikes import _tables
from repcompare.errors import FormatError
from tests.data_adapters.recordings.files import write_assembly, write_sensorium


@pytest.mark.parametrize("chunks", [None, (2,)])
@pytest.mark.parametrize("block", [0, 512])
def test_a_text_that_claims_to_be_longer_than_the_file(tmp_path, chunks, block):
    file = tmp_path / "a.h5"
    with h5py.File(file, "w", userblock_size=block) as f:
        f["x"] = np.ones((2, 3))
        f.create_dataset("stimulus_id", data=["cat", "doggy"], dtype=h5py.string_dtype(), chunks=chunks)
    with h5py.File(file) as f:
        found = f["stimulus_id"].id
        at = found.get_offset() if chunks is None else found.get_chunk_info(0).byte_offset
    assert rc.read(file)["x"]["stimulus"].values.tolist() == ["cat", "doggy"]
    data = bytearray(file.read_bytes())
    data[at + 16 : at + 20] = np.array([0xF0000000], "<u4").tobytes()
    file.write_bytes(data)
    with pytest.raises(FormatError, match="stimulus_id: declares a text of 4026531840 bytes"):
        rc.read(file)


def test_chunks_that_dwarf_the_data(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["stimulus_id"] = ["a", "b"]
        f.create_dataset("x", shape=(2, 3), maxshape=(None, None), chunks=(4096, 4096), dtype="f8")
    with pytest.raises(FormatError, match="expected chunks that fit"):
        rc.read(tmp_path / "a.h5")


def test_doubly_ragged_columns(tmp_path):
    with h5py.File(tmp_path / "a.nwb", "w") as f:
        f["units/w"] = np.arange(7.0)
        f["units/w_index"] = np.array([2, 3, 3, 7], np.uint8)  # ends of four spikes
        f["units/w_index_index"] = np.array([0, 2, 4], np.uint8)  # of which the second unit has two, the third two
        rows = _tables.ragged("a.nwb", f["units"], "w", np.arange(3))
    assert [r.tolist() for r in rows] == [[], [0, 1, 2], [3, 4, 5, 6]]


@pytest.mark.data
def test_a_small_recording_opens_at_once(data_dir):
    file = data_dir / "nwb_real" / "A8604-211122.nwb"
    best = np.inf
    for _ in range(5):
        begin = time.process_time()
        rc.read(file, events="epochs", stimulus="positional")
        best = min(best, time.process_time() - begin)
    assert best < 0.05


def test_a_folder_of_trials_is_listed_once(tmp_path, monkeypatch):
    import os

    folder = write_sensorium(tmp_path / "mouse")
    seen = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(Path(path).name) or listdir(path))
    with pytest.warns(UserWarning):
        rc.read(folder, format="sensorium")
    assert seen.count("responses") == 1 and seen.count("trials") == 1


def test_values_of_an_assembly_are_read_in_blocks(tmp_path, monkeypatch):
    from data_adapters._hdf5 import Hdf5Source

    reads = []
    read = Hdf5Source.read
    monkeypatch.setattr(Hdf5Source, "read", lambda self, key: reads.append(key) or read(self, key))
    ds = rc.read(write_assembly(tmp_path / "assy.nc", order=("neuroid", "presentation", "time_bin")))
    assert reads == []
    part = ds.isel(presentation=[2], unit=slice(0, 1))["response"].values
    assert part.tolist() == [[[8, 9]]] and len(reads) == 1
    ds.close()
