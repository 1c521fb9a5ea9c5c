"""zarr stores and tables of text."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import zipfile

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from data_adapters.networks.zarr_store import ZarrSource
from repcompare.errors import FormatError, MissingExtraError, OptionError, SchemaError
from repcompare.labels.parts import parts_of

IDS = ["cat", "dog", "owl"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)
MAPS = np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2)


def write_zarr(path, version):
    zarr = pytest.importorskip("zarr", minversion="3")
    root = zarr.open_group(path, mode="w", zarr_format=version)
    make = root.create_array
    make("early/conv1", shape=MAPS.shape, chunks=(1, 2, 2, 2), dtype=MAPS.dtype)[...] = MAPS
    make("fc", shape=X.shape, chunks=(2, 3), dtype=X.dtype)[...] = X
    make("turned", shape=(4, 3), chunks=(4, 3), dtype="f8")[...] = X.T
    if version == 2:
        root["turned"].attrs["_ARRAY_DIMENSIONS"] = ["unit", "stimulus"]
    else:
        make("named", shape=(4, 3), chunks=(4, 3), dtype="f8", dimension_names=["unit", "stimulus"])[...] = X.T
    make("stimulus_size", shape=(3,), chunks=(3,), dtype="f8")[...] = [1, 2, 3]
    make("other", shape=(5, 2), chunks=(5, 2), dtype="f4")[...] = 1
    return path


def write_labels(path):
    with open(path / "names.txt", "w") as file:
        file.write("\n".join(IDS))
    return str(path / "names.txt")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("zipped", [False, True])
def test_zarr_written_by_the_library(tmp_path, version, zipped, monkeypatch):
    store = write_zarr(tmp_path / "net.zarr", version)
    if zipped:
        store = shutil.make_archive(str(tmp_path / "zipped"), "zip", store)
    reads = []
    read = ZarrSource.read
    monkeypatch.setattr(ZarrSource, "read", lambda self, key: reads.append(key) or read(self, key))
    tree = data_adapters.read(store, stimuli=write_labels(tmp_path))
    assert reads == []
    turned = tree["turned" if version == 2 else "named"].to_dataset()
    np.testing.assert_array_equal(turned["response"].values, X)
    conv = tree["early/conv1"].to_dataset()
    np.testing.assert_array_equal(conv["response"].values, MAPS.reshape(3, -1))
    assert conv["stimulus_size"].values.tolist() == [1, 2, 3] and "unit_channel_y" in conv
    fc = tree["fc"].to_dataset()
    np.testing.assert_array_equal(fc["response"].isel(stimulus=[2, 0], unit=[3, 1]).values, X[[2, 0]][:, [3, 1]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fc))["response"].values, X)
    assert any("other (5, 2)" in line for line in fc.attrs["history"])


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_that_are_not_stored_are_said(tmp_path, version):
    store = write_zarr(tmp_path / "net.zarr", version)
    chunk = store / "fc" / ("1.0" if version == 2 else "c/1/0")
    chunk.unlink()
    tree = data_adapters.read(store, stimuli=write_labels(tmp_path))
    assert "1 of 4 chunks are not stored: read as 0.0" in tree["fc"].attrs["history"]
    assert not any("not stored" in line for line in tree["early/conv1"].attrs["history"])
    np.testing.assert_array_equal(tree["fc"]["response"].values[2, :3], 0)
    chunk.write_bytes(b"\x02\x01!\x01" + b"\xff" * 40)  # sizes below 0: the codec has no error of its own for it
    with pytest.raises(FormatError, match=r"net.zarr: fc: cannot be read"):
        data_adapters.read(store, stimuli=write_labels(tmp_path))["fc"]["response"].load()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("zipped", [False, True])
def test_names_of_stimuli_in_the_store(tmp_path, version, zipped):
    store = write_zarr(tmp_path / "net.zarr", version)
    import zarr

    zarr.open_group(store, mode="a").create_array("stimulus_id", shape=(3,), chunks=(2,), dtype=str)[...] = np.array(
        ["cat", "dög", ""] if version == 2 else IDS, dtype=object
    )
    path = shutil.make_archive(str(tmp_path / "zipped"), "zip", store) if zipped else store
    if version == 2:
        with pytest.raises(SchemaError, match="has no label"):
            data_adapters.read(path)
        return
    assert data_adapters.read(path)["fc"]["stimulus"].values.tolist() == IDS


@pytest.mark.filterwarnings("ignore")
def test_a_representation_that_xarray_wrote_to_zarr(tmp_path):
    pytest.importorskip("zarr", minversion="3")
    ds = rc.representation(X, stimulus=IDS, unit_region=["V1", "V1", "V4", "V4"])
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    found = data_adapters.read(tmp_path / "a.zarr")["response"].to_dataset()
    np.testing.assert_array_equal(found["response"].values, X)
    assert found["stimulus"].values.tolist() == IDS
    assert found["unit_region"].values.tolist() == ["V1", "V1", "V4", "V4"]


def test_codecs_that_run_pickles_are_refused_before_the_library_sees_them(tmp_path):
    store = write_zarr(tmp_path / "net.zarr", 2)
    file = store / "fc" / ".zarray"
    about = json.loads(file.read_text())
    for change in ({"filters": [{"id": "pickle"}]}, {"compressor": {"id": "numcodecs.pickle"}}):
        file.write_text(json.dumps({**about, **change}))
        with pytest.raises(FormatError, match=r"net\.zarr: fc: is stored by codec 'pickle'"):
            data_adapters.read(store, stimuli=IDS)
    (store / "fc" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    with pytest.raises(FormatError, match="fc has metadata of versions 2 and 3"):
        data_adapters.read(store, stimuli=IDS)
    store = write_zarr(tmp_path / "net3.zarr", 3)
    file = store / "fc" / "zarr.json"
    about = json.loads(file.read_text())
    inner = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
    file.write_text(json.dumps({**about, "codecs": [inner]}))
    with pytest.raises(FormatError, match="is stored by codec 'pickle'"):
        data_adapters.read(store, stimuli=IDS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [3, -4]}, "has shape"),
        ({"shape": [3] * 9}, "has shape"),
        ({"chunks": [10**9, 10**9]}, "has chunks of 4000000000000000000 bytes"),
        ({"chunks": None}, "has shape"),
        ({"dtype": "|O"}, "cannot be read|no responses|object"),
        ({"zarr_format": 7}, "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_stores_that_lie(tmp_path, change, message):
    store = write_zarr(tmp_path / "net.zarr", 2)
    file = store / "fc" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(FormatError, match=message):
        data_adapters.read(store, stimuli=IDS)
    file.write_text("[]")
    with pytest.raises(FormatError, match="expected the metadata of a zarr array"):
        data_adapters.read(store, stimuli=IDS)


def test_without_zarr_the_extra_is_named(tmp_path, monkeypatch):
    store = write_zarr(tmp_path / "net.zarr", 2)
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"repcompare\[zarr\]"):
        data_adapters.read(store, stimuli=IDS)


@pytest.mark.filterwarnings("ignore")
def test_damaged_stores(tmp_path):
    clean = write_zarr(tmp_path / "net.zarr", 2)
    files = sorted(f for f in clean.rglob("*") if f.is_file())
    rng = np.random.default_rng(0)
    for i in range(80):
        file = files[i % len(files)]
        data = file.read_bytes()
        bad = bytearray(data)
        if i % 3 and bad:
            bad[int(rng.integers(0, len(bad)))] ^= int(rng.integers(1, 256))
        file.write_bytes(bad if i % 3 else data[: len(data) // 2])
        try:
            for part in parts_of(data_adapters.read(clean, format="zarr", stimuli=IDS)).values():
                part["response"].load()
        except (FormatError, SchemaError, OptionError) as error:
            assert str(error).strip()
        file.write_bytes(data)


TABLE = "image,size,kind,n1,n2\ncat.png,3,pet,1.5,2\ndog.png,4,pet,NaN,4\nowl.png,5,bird,5,6e2\n"


def test_tables(tmp_path):
    (tmp_path / "brain.csv").write_text(TABLE)
    ds = data_adapters.read(tmp_path / "brain.csv", modality="spikes")
    assert ds["stimulus"].values.tolist() == ["cat.png", "dog.png", "owl.png"]
    assert ds["unit_id"].values.tolist() == ["size", "n1", "n2"]
    assert ds["stimulus_kind"].values.tolist() == [
        "pet",
        "pet",
        "bird",
    ]
    np.testing.assert_array_equal(ds["response"].values, [[3, 1.5, 2], [4, np.nan, 4], [5, 5, 600]])
    (tmp_path / "brain.tsv").write_text(TABLE.replace(",", "\t").replace("size", "stimulus_size"))
    ds = data_adapters.read(tmp_path / "brain.tsv", stimuli="image")
    assert ds["unit_id"].values.tolist() == ["n1", "n2"] and ds["stimulus_size"].values.tolist() == [3, 4, 5]


def test_tables_of_trials_and_turned_ones(tmp_path):
    (tmp_path / "t.csv").write_text("stimulus_id,repeat,n1\na,0,1\nb,0,2\na,1,3\n")
    with pytest.raises(SchemaError, match="'a' occur more than once.*presentation"):
        data_adapters.read(tmp_path / "t.csv")
    ds = data_adapters.read(tmp_path / "t.csv", dims=("presentation", "unit"))
    assert ds["repeat"].values.tolist() == [0, 0, 1] and ds["stimulus_id"].values.tolist() == ["a", "b", "a"]
    (tmp_path / "u.csv").write_text("unit,cat,dog\nu1,1,2\nu2,3,4\nu3,5,6\n")
    ds = data_adapters.read(tmp_path / "u.csv", dims=("unit", "stimulus"))
    assert ds["stimulus"].values.tolist() == ["cat", "dog"] and ds["unit_id"].values.tolist() == ["u1", "u2", "u3"]
    np.testing.assert_array_equal(ds["response"].values, [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "row 2 has 1 entries; the header has 2"),
        ("a,b\n", "has 1 lines"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\nx,y\n", "no column of numbers"),
        ("a,b\n1,2\n", "no stimulus labels"),
        ("id,b\nx,inf\n", "inf"),
        ("id,b\n" + "x" * 2 * 10**6 + ",1\n", "cannot be read as a table"),
    ],
)
def test_tables_that_are_wrong(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises((FormatError, SchemaError), match=f"(?s)a.csv.*{message}"):
        data_adapters.read(tmp_path / "a.csv")


def test_tables_with_flipped_bytes(tmp_path):
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(TABLE), 100):
        flipped = bytearray(TABLE.encode())
        flipped[at] ^= int(rng.integers(1, 256))
        (tmp_path / "a.csv").write_bytes(flipped[: at + 1] if at % 5 == 0 else flipped)
        try:
            data_adapters.read(tmp_path / "a.csv")
        except (FormatError, SchemaError, OptionError) as error:
            assert str(error).strip()


def test_tables_of_bytes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,b\n\xff\xfe,1\n")
    with pytest.raises(FormatError, match="cannot be read as a table"):
        data_adapters.read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(TABLE)
    with pytest.raises(FormatError, match="memory=10 is too little"):
        data_adapters.read(tmp_path / "a.csv", memory=10)


def test_archives_that_are_no_store(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(FormatError, match="no format recognises"):
        data_adapters.read(tmp_path / "a.zip")
