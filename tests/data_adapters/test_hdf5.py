from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

import data_adapters
from data_adapters._hdf5 import Hdf5Source
from repcompare.errors import FormatError, OptionError

IDS = ["cat", "dog", "owl"]
X = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(file, **items):
    with h5py.File(file, "w") as f:
        for name, value in items.items():
            f[name.replace("__", "/")] = value


def test_layers_are_parts_and_stay_on_disk(tmp_path, monkeypatch):
    file = tmp_path / "net.h5"
    with h5py.File(file, "w") as f:
        f.create_dataset("early/conv1", data=np.arange(24, dtype=np.float16).reshape(3, 2, 2, 2), chunks=(1, 2, 2, 2))
        f.create_dataset("fc", data=X.astype(">f4"), compression="gzip")
        f["stimulus_id"] = IDS
        f["stimulus_size"] = [1.0, 2.0, 3.0]
        f["other"] = np.zeros((5, 2))
    reads = []
    read = Hdf5Source.read
    monkeypatch.setattr(Hdf5Source, "read", lambda self, key: reads.append(key) or read(self, key))
    tree = data_adapters.read(file)
    assert reads == []
    assert set(tree.children) == {"early", "fc"}
    conv = tree["early/conv1"].to_dataset()
    assert conv.sizes["unit"] == 8 and conv["response"].dtype == np.float32
    assert not conv["response"].variable._in_memory
    np.testing.assert_array_equal(
        conv["response"].sel(stimulus=["owl", "cat"]).values, [np.arange(16, 24), np.arange(8)]
    )
    np.testing.assert_array_equal(tree["fc"]["response"].isel(unit=[3, 0, 3]).values, X[:, [3, 0, 3]])
    assert tree["fc"]["response"].values.dtype.isnative
    assert tree["fc"]["stimulus_size"].values.tolist() == [1, 2, 3]
    assert any("other (5, 2)" in line for line in tree["fc"].attrs["history"])
    tree.close()


def test_selection_reads_only_its_rows(tmp_path, monkeypatch):
    write(tmp_path / "net.h5", fc=X, stimulus_id=IDS)
    ds = data_adapters.read(tmp_path / "net.h5::fc")
    reads = []
    read = Hdf5Source.read
    monkeypatch.setattr(Hdf5Source, "read", lambda self, key: reads.append(key) or read(self, key))
    assert ds["response"].isel(stimulus=slice(1, 3)).values.shape == (2, 4)
    assert [key[0] for key in reads] == [slice(1, 3, 1)]


def test_labels_per_group(tmp_path):
    write(
        tmp_path / "two.h5",
        a__response=X,
        a__stimulus_id=IDS,
        a__unit_id=["p", "q", "r", "s"],
        b__response=X[:2],
        b__stimulus_id=["x", "y"],
    )
    tree = data_adapters.read(tmp_path / "two.h5")
    assert tree["a/response"]["unit_id"].values.tolist() == ["p", "q", "r", "s"]
    assert tree["b/response"]["stimulus"].values.tolist() == ["x", "y"]


def test_orientation_and_names(tmp_path):
    write(tmp_path / "turned.h5", v4=X.T, names=IDS)
    with pytest.raises(FormatError, match="axis 1 has 3: stimulus_axis=1"):
        data_adapters.read(tmp_path / "turned.h5", stimuli="names")
    tree = data_adapters.read(tmp_path / "turned.h5", stimuli="names", stimulus_axis=1)
    np.testing.assert_array_equal(tree["v4"]["response"].values, X)
    np.testing.assert_array_equal(tree["v4"]["response"].isel(stimulus=[2, 0], unit=1).values, X[[2, 0], 1])
    with pytest.raises(OptionError, match="did you mean 'stimuli'"):
        data_adapters.read(tmp_path / "turned.h5", stimulus=IDS)
    with pytest.raises(FormatError, match="no stimulus labels"):
        data_adapters.read(tmp_path / "turned.h5")


def test_weights_are_not_responses(tmp_path):
    write(tmp_path / "old.h5", model_weights__dense__kernel=np.zeros((3, 2)))
    write(tmp_path / "new.h5", layers__dense__vars__0=np.zeros((3, 2)), optimizer__vars__0=0)
    for name in ("old.h5", "new.h5"):
        with pytest.raises(FormatError, match="weights, not responses"):
            data_adapters.read(tmp_path / name, stimuli=IDS)


def test_the_file_is_never_left(tmp_path):
    write(tmp_path / "secret.h5", x=X, stimulus_id=IDS)
    with h5py.File(tmp_path / "linked.h5", "w") as f:
        f["stimulus_id"] = IDS
        f["x"] = h5py.ExternalLink("secret.h5", "/x")
    with h5py.File(tmp_path / "soft.h5", "w") as f:
        f["stimulus_id"] = IDS
        f["far"] = h5py.ExternalLink("secret.h5", "/")
        f["x"] = h5py.SoftLink("/far/x")
    with h5py.File(tmp_path / "loop.h5", "w") as f:
        f["a"], f["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
    (tmp_path / "raw.bin").write_bytes(X.tobytes())
    with h5py.File(tmp_path / "raw.h5", "w") as f:
        f["stimulus_id"] = IDS
        f.create_dataset("x", X.shape, X.dtype, external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    with h5py.File(tmp_path / "view.h5", "w") as f:
        f["stimulus_id"] = IDS
        layout = h5py.VirtualLayout(X.shape, X.dtype)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", X.shape)
        f.create_virtual_dataset("x", layout)
    cases = {"linked.h5": "link to another", "soft.h5": "link to another", "loop.h5": "links in a row"}
    for name, message in {
        **cases,
        "raw.h5": "stored in another file",
        "view.h5": "view of another file",
    }.items():
        with pytest.raises(FormatError, match=message):
            data_adapters.read(tmp_path / name)


def test_soft_links_inside_are_followed_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["x"], f["stimulus_id"] = X, IDS
        f["also"] = h5py.SoftLink("/x")
        f["nowhere"] = h5py.SoftLink("/nothing")
    assert len(data_adapters.read(tmp_path / "a.h5").children) == 1


def test_inner_damage_names_file_and_field(tmp_path):
    file = tmp_path / "net.h5"
    with h5py.File(file, "w") as f:
        f["stimulus_id"] = IDS
        f.create_dataset(
            "fc", data=np.random.default_rng(0).normal(size=(3, 4000)), compression="gzip", chunks=(3, 4000)
        )
        at = f["fc"].id.get_chunk_info(0).byte_offset
    ds = data_adapters.read(f"{file}::fc")
    data = bytearray(file.read_bytes())
    data[at : at + 200] = b"\xff" * 200
    file.write_bytes(data)
    with pytest.raises(FormatError, match=r"net.h5: fc: cannot be read"):
        data_adapters.read(f"{file}::fc")["response"].load()
    ds.close()


def test_handles_reopen_after_pickling(tmp_path):
    write(tmp_path / "net.h5", fc=X, stimulus_id=IDS)
    ds = pickle.loads(pickle.dumps(data_adapters.read(tmp_path / "net.h5::fc")))
    np.testing.assert_array_equal(ds["response"].values, X)


def test_no_responses(tmp_path):
    write(tmp_path / "a.h5", x=[1, 2, 3], note="hello")
    with pytest.raises(FormatError, match=r"no responses in it: found .*x \(3,\)"):
        data_adapters.read(tmp_path / "a.h5")


@pytest.mark.data
def test_real_weights_are_refused(data_dir):
    file = data_dir / "v4_cowley2023" / "compact_models_h5" / "compact_model_190923_neuron0.weights.h5"
    with pytest.raises(FormatError, match="weights, not responses"):
        data_adapters.read(file)
