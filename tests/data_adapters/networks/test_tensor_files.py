"""Files of tensors: safetensors and torch."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from data_adapters._raw import RawSource
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.formats import registered
from repcompare.labels.parts import parts_of
from tests.data_adapters.networks.torch_bytes import Parameter, Tensor, save_legacy, save_zip

IDS = ["cat", "dog", "owl"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)
MAPS = np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2)


def raw_safetensors(path, header, body=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + body)
    return path


@pytest.fixture
def reads(monkeypatch):
    found = []
    read = RawSource.read
    monkeypatch.setattr(RawSource, "read", lambda self, key: found.append(key) or read(self, key))
    return found


def test_safetensors_written_by_the_library(tmp_path, reads):
    numpy_files = pytest.importorskip("safetensors.numpy")
    tensors = {"conv": MAPS, "fc": X, "deep.fc": X.astype(np.float64), "ints": X.astype(np.int64), "on": X > 3}
    file = tmp_path / "net.safetensors"
    numpy_files.save_file(
        {**tensors, "other": np.ones((5, 2))}, file, {"stimulus_id": json.dumps(IDS), "note": "hello"}
    )
    tree = data_adapters.read(file)
    assert reads == []  # opening reads the header alone
    assert set(tree.children) == set(tensors)
    for name, values in tensors.items():
        part = tree[name].to_dataset()
        assert part["stimulus"].values.tolist() == IDS
        np.testing.assert_array_equal(part["response"].values, values.reshape(3, -1))
        np.testing.assert_array_equal(part["response"].isel(stimulus=[2, 0]).values, values.reshape(3, -1)[[2, 0]])
    assert tree["conv"]["response"].dtype == np.float32 and tree["ints"]["response"].dtype == np.float64
    assert tree["conv"]["unit_channel_x"].values.tolist() == [0, 1] * 4
    assert any("other (5, 2)" in line for line in tree["fc"].attrs["history"])
    reads.clear()
    assert tree["fc"]["response"].isel(stimulus=slice(1, 3)).values.tolist() == X[1:].tolist()
    assert [key[0] for key in reads] == [slice(1, 3, 1)]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tree["fc"].to_dataset()))["response"].values, X)


def test_bfloat16_is_exact_and_float8_is_refused(tmp_path):
    values = np.array([[1.5, -2.0], [0.15625, 3e38]], np.float32)
    stored = (values.view(np.uint32) >> 16).astype("<u2")
    expected = (stored.astype(np.uint32) << 16).view(np.float32)
    entry = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}
    file = raw_safetensors(tmp_path / "a.safetensors", {"x": entry}, stored.tobytes())
    np.testing.assert_array_equal(data_adapters.read(file, stimuli=["a", "b"])["x"]["response"].values, expected)
    entry = {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}
    with pytest.raises(FormatError, match="x: has dtype F8_E4M3; expected one of F64"):
        data_adapters.read(raw_safetensors(file, {"x": entry}, bytes(4)), stimuli=["a", "b"])


def entry(shape=(2, 2), offsets=(0, 16), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"x": entry(offsets=(0, 20))}, "lies at .* of 16 bytes"),
        ({"x": entry(offsets=(8, 16))}, "needs 16 bytes; the header gives 8"),
        ({"x": entry(offsets=(-16, 0))}, "lies at"),
        ({"x": entry(shape=(2**40, 2**40))}, "needs .* bytes; the header gives 16"),
        ({"x": entry(shape=(-2, -2))}, "has shape"),
        ({"x": entry(shape=(1,) * 9)}, "has shape"),
        ({"x": entry(shape=(2.5, 2))}, "has shape"),
        ({"x": entry(shape=(True, 4))}, "has shape"),
        ({"x": entry(dtype="F13")}, "has dtype F13"),
        ({"x": entry((1, 2), (0, 8)), "y": entry((1, 2), (4, 12))}, "'x' and 'y' share bytes"),
        ({"x": {"dtype": "F32"}}, "has no dtype, shape and data_offsets"),
        ({"x": 3}, "has no dtype"),
        ({"__metadata__": {"a": 1}}, "holds more than text"),
        ({"__metadata__": {"stimulus_id": "[[1]]"}, "x": entry()}, "not a list of names"),
        (b'{"x": 1, "x": 2}', "names 'x' twice"),
        (b"[1, 2]", "the header is a list"),
        (b"{nonsense}", "cannot be read"),
        (b'{"a":' * 5000, "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        ({}, "no responses in it: found nothing"),
        ({"a.weight": entry((1, 2), (0, 8)), "a.bias": entry((2,), (8, 16))}, "a.weight: these are weights"),
    ],
)
def test_headers_that_lie(tmp_path, header, message):
    file = raw_safetensors(tmp_path / "a.safetensors", header, bytes(16))
    with pytest.raises(FormatError, match=rf"(?s)a\.safetensors.*{message}"):
        data_adapters.read(file, stimuli=["a", "b"])


@pytest.mark.parametrize("length", [0, 1, 10**9, 2**63])
def test_lengths_that_lie(tmp_path, length):
    file = raw_safetensors(tmp_path / "a.safetensors", b"{}", b"", length)
    with pytest.raises(FormatError, match="announces a header"):
        data_adapters.read(file)


def test_writing_and_reading_keeps_values_and_labels(tmp_path):
    ds = rc.representation(X, stimulus=IDS, unit_region=["V1", "V1", "V4", "V4"], stimulus_size=[1.0, 2.0, 3.0])
    parts = {"a": ds.assign_attrs(modality="fmri", history=["kept"]), "b": ds.isel(unit=[0]).astype(np.float64)}
    file = tmp_path / "out.safetensors"
    registered()["safetensors"].write(parts, file)
    tree = data_adapters.read(file)
    assert tree["a"]["unit_region"].values.tolist() == ["V1", "V1", "V4", "V4"]
    assert tree["a"]["stimulus_size"].values.tolist() == [1, 2, 3] and tree["a"].attrs["modality"] == "fmri"
    assert "kept" in tree["a"].attrs["history"] and tree["b"]["unit_id"].values.tolist() == ["unit/0"]
    np.testing.assert_array_equal(tree["a"]["response"].values, X)
    assert tree["b"]["response"].dtype == np.float64
    library = pytest.importorskip("safetensors.numpy")
    np.testing.assert_array_equal(library.load_file(file)["a"], X)
    with pytest.raises(SchemaError, match="average_repeats first"):
        registered()["safetensors"].write({"a": ds, "b": ds.isel(stimulus=[0, 1])}, file)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_torch_files_without_torch(tmp_path, save, reads):
    base = np.arange(24, dtype=np.float32)
    content = {
        "conv": Tensor(MAPS),
        "fc": Parameter(X),
        "turned": Tensor(base, offset=2, shape=(3, 4), strides=(1, 5)),
        "deep": {"list": [Tensor(X.astype(np.float64)), Tensor(X > 3)]},
        "half": Tensor((X.view(np.uint32) >> 16).astype(np.uint16), kind="BFloat16"),
        "stimulus_id": IDS,
        "epoch": 3,
    }
    save(content, tmp_path / "acts.pt")
    tree = data_adapters.read(tmp_path / "acts.pt")
    assert reads == []
    expected = np.lib.stride_tricks.as_strided(base[2:], (3, 4), (4, 20))
    found = {name: part["response"].values for name, part in parts_of(tree).items()}
    assert set(found) == {"conv", "fc", "turned", "deep/list/0", "deep/list/1", "half"}
    for name, values in {"conv": MAPS.reshape(3, 8), "fc": X, "turned": expected, "deep/list/0": X, "half": X}.items():
        np.testing.assert_array_equal(found[name], values)
    np.testing.assert_array_equal(found["deep/list/1"], X > 3)
    assert found["deep/list/0"].dtype == np.float64 and found["deep/list/1"].dtype == np.float32
    assert tree["fc"]["stimulus"].values.tolist() == IDS
    np.testing.assert_array_equal(
        tree["turned"]["response"].isel(stimulus=[2], unit=[3, 1]).values, expected[[2]][:, [3, 1]]
    )


def test_torch_zip_compressed_and_big_endian(tmp_path):
    save_zip({"fc": Tensor(X), "t": Tensor(X, 1, (2, 2), (4, 1))}, tmp_path / "a.pt", zipfile.ZIP_DEFLATED)
    tree = data_adapters.read(tmp_path / "a.pt", stimuli=IDS)
    np.testing.assert_array_equal(tree["fc"]["response"].values, X)
    tree = data_adapters.read(tmp_path / "a.pt", stimuli=IDS[:2])
    np.testing.assert_array_equal(tree["t"]["response"].values, X[:2, 1:3])
    with pytest.raises(FormatError, match="the limit is 20; raise memory="):
        data_adapters.read(tmp_path / "a.pt", stimuli=IDS, memory=20)
    save_zip({"fc": Tensor(X)}, tmp_path / "b.pth", order="big")
    np.testing.assert_array_equal(data_adapters.read(tmp_path / "b.pth", stimuli=IDS)["fc"]["response"].values, X)


def test_a_single_tensor_is_one_representation(tmp_path):
    save_zip(Tensor(X), tmp_path / "layer4.pt")
    (tmp_path / "file_names.txt").write_text("\n".join(IDS))
    ds = data_adapters.read(tmp_path / "layer4.pt")
    assert ds["stimulus"].values.tolist() == IDS and ds["unit_id"].values[0] == "layer4/0"


def test_torch_files_that_are_something_else(tmp_path):
    file = tmp_path / "a.pt"
    save_zip({"conv.weight": Tensor(X), "conv.bias": Tensor(X[0])}, file)
    with pytest.raises(FormatError, match="these are weights, not responses"):
        data_adapters.read(file, stimuli=IDS)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(FormatError, match="asks for os.system"):
        data_adapters.read(file, stimuli=IDS)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/constants.pkl", b"")
    with pytest.raises(FormatError, match="TorchScript"):
        data_adapters.read(file, stimuli=IDS)
    save_zip({"fc": Tensor(X)}, file)
    with zipfile.ZipFile(file) as archive:
        data = archive.read("archive/data.pkl")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", bytes(20))
    with pytest.raises(FormatError, match="needs 48 bytes; the file has 20"):
        data_adapters.read(file, stimuli=IDS)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/../../data/0", bytes(48))
    with pytest.raises(FormatError, match="points out of the archive"):
        data_adapters.read(file, stimuli=IDS)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_every_pickle_of_a_legacy_file_is_restricted(tmp_path, at):
    trap = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    items = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])]
    items[at] = trap
    (tmp_path / "a.pt").write_bytes(b"".join(items))
    with pytest.raises(FormatError, match="asks for os.system"):
        data_adapters.read(tmp_path / "a.pt", stimuli=IDS, format="torch")


def test_a_genuine_torch_file(tmp_path):
    torch = pytest.importorskip("torch")
    content = {
        "conv": torch.from_numpy(MAPS.copy()),
        "turned": torch.from_numpy(np.arange(12.0).reshape(4, 3)).T,
        "half": torch.from_numpy(X.copy()).bfloat16(),
        "fc": torch.nn.Parameter(torch.from_numpy(X.copy())),
        "stimulus_id": IDS,
    }
    for legacy in (False, True):
        file = tmp_path / f"a{legacy}.pt"
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        tree = data_adapters.read(file)
        for name in ("conv", "turned", "half", "fc"):
            expected = content[name].detach().double().reshape(3, -1).numpy()
            assert not tree[name]["response"].variable._in_memory
            np.testing.assert_array_equal(tree[name]["response"].values, expected)


def attempt(file, **options):
    try:
        for part in parts_of(data_adapters.read(file, **options)).values():
            part["response"].load()
    except (FormatError, SchemaError, OptionError) as error:
        assert str(error).strip()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_truncated_and_flipped_files(tmp_path, kind):
    file = tmp_path / f"a.{kind}"
    if kind == "safetensors":
        ds = rc.representation(X, stimulus=IDS, unit_region="V1")
        registered()["safetensors"].write({"a": ds, "b": ds}, file)
    else:
        save = save_zip if kind == "zip" else save_legacy
        save({"fc": Tensor(X), "conv": Tensor(MAPS), "stimulus_id": IDS}, file)
    options = {"format": "safetensors" if kind == "safetensors" else "torch"}
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(1, len(data), 60):
        file.write_bytes(data[:cut])
        attempt(file, **options)
    for at in rng.integers(0, len(data), 200):
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        file.write_bytes(flipped)
        attempt(file, **options)
