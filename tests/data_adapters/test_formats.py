from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

import data_adapters
import repcompare as rc
from repcompare.errors import FormatError, OptionError
from repcompare.labels.formats import detect


def test_table_of_formats():
    table = data_adapters.formats()
    assert next(row["name"] for row in table) == "repcompare"
    assert {"npy", "npz", "nwb", "hdf5", "worm", "repcompare"} <= {row["name"] for row in table}
    assert list(pd.DataFrame(table).columns) == ["name", "suffixes", "extra", "reads"]
    assert "memory-mapped" in repr(table)


def test_importing_is_cheap_and_imports_no_reader():
    code = (
        "import sys, data_adapters; data_adapters.formats()\n"
        "print([m for m in ('numpy', 'xarray', 'h5py', 'pandas', 'data_adapters.networks.npy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_function_hides_its_module():
    import importlib

    importlib.import_module("data_adapters.read")
    assert callable(data_adapters.read) and callable(data_adapters.bin_spikes)
    with pytest.raises(AttributeError, match="bin_spikes"):
        _ = data_adapters.nothing


def test_content_counts_more_than_the_suffix(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(2))
    (tmp_path / "a.npy").rename(tmp_path / "a.dat")
    assert detect(str(tmp_path / "a.dat")).name == "npy"
    np.savez(tmp_path / "b.npz", x=np.eye(2))
    (tmp_path / "b.npz").rename(tmp_path / "b.zip")
    assert detect(str(tmp_path / "b.zip")).name == "npz"
    rc.save(rc.representation(np.eye(2), stimulus=["a", "b"]), tmp_path / "c.nc")
    (tmp_path / "c.nc").rename(tmp_path / "c.h5")
    assert detect(str(tmp_path / "c.h5")).name == "repcompare"
    rc.save({"deep/er": rc.representation(np.eye(2), stimulus=["a", "b"])}, tmp_path / "d.nc")
    assert detect(str(tmp_path / "d.nc")).name == "repcompare"
    with h5py.File(tmp_path / "e.hdf5", "w") as f:
        f.attrs["nwb_version"] = "2.0"
    assert detect(str(tmp_path / "e.hdf5")).name == "nwb"
    with h5py.File(tmp_path / "f.h5", "w", userblock_size=512) as f:
        f["x"] = 1
    assert detect(str(tmp_path / "f.h5")).name == "hdf5"
    assert detect("demo:worm").name == "worm"


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.nwb", "a.hdf5"])
def test_a_suffix_that_lies_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is only text, not numbers at all")
    with pytest.raises(FormatError, match=rf"{name}.*(expected|74 68 69 73)"):
        data_adapters.read(tmp_path / name)


def test_unreadable_paths(tmp_path):
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.xyz").write_text("hello")
    for path, message in (
        ("nowhere.npy", "no such file"),
        ("empty.npy", "empty"),
        ("text.xyz", "first 8 bytes 68 65 6c"),
    ):
        with pytest.raises(FormatError, match=message):
            data_adapters.read(tmp_path / path)
    with pytest.raises(OptionError, match="did you mean 'npy'"):
        data_adapters.read(tmp_path / "text.xyz", format="npyy")


def test_native_files_are_opened_lazily(tmp_path):
    rc.save(rc.representation(np.eye(2), stimulus=["a", "b"]), tmp_path / "c.nc")
    ds = data_adapters.read(tmp_path / "c.nc")
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, np.eye(2))
    ds.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimulus_axis": "1"}, "stimulus_axis='1'; expected a whole number"),
        ({"stimulus_axis": True}, "stimulus_axis=True; expected a whole number"),
        ({"dims": "unit,stimulus"}, "dims='unit,stimulus'; expected a list of names"),
        ({"modality": 3}, "modality=3; expected text"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named_and_not_the_file(tmp_path, options, message):
    np.save(tmp_path / "a.npy", np.eye(3))
    with pytest.raises(OptionError, match=f"format npy: {message}"):
        rc.read(tmp_path / "a.npy", stimuli="positional", **options)


@pytest.mark.parametrize("given", ["False", "no", 2])
def test_text_in_place_of_a_switch_does_not_switch_it_on(given):
    from data_adapters._options import SpikeOptions, parse

    assert parse(SpikeOptions, {"rate": np.bool_(False), "width": np.float32(0.5), "start": 0}, "nwb").start == 0
    with pytest.raises(OptionError, match=r"format nwb: rate=.* expected True or False"):
        parse(SpikeOptions, {"rate": given}, "nwb")
    with pytest.raises(OptionError, match=r"format nwb: width='0.1'; expected a number"):
        parse(SpikeOptions, {"width": "0.1"}, "nwb")
