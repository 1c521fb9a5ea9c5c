"""Networks that are run: ONNX files and live hooks."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from data_adapters.networks import record
from data_adapters.networks._stream import random_signs
from repcompare.errors import FormatError, MissingExtraError, OptionError, SchemaError

IDS = [f"s{i}" for i in range(5)]
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)


def write_onnx(path):
    """``Y = relu(X W)`` with the hidden ``XW``, and ``M``: X as a feature map (1, 3, 1)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    kind = onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("MatMul", ["X", "W"], ["/fc/XW"]),
        make.make_node("Relu", ["/fc/XW"], ["Y"]),
        make.make_node("Reshape", ["X", "shape"], ["M"]),
    ]
    shape = onnx.numpy_helper.from_array(np.array([-1, 1, 3, 1]), "shape")
    graph = make.make_graph(
        nodes,
        "g",
        [make.make_tensor_value_info("X", kind, ["n", 3])],
        [make.make_tensor_value_info("Y", kind, ["n", 4]), make.make_tensor_value_info("M", kind, ["n", 1, 3, 1])],
        [onnx.numpy_helper.from_array(W, "W"), shape],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_onnx_outputs_are_parts(tmp_path):
    net = write_onnx(tmp_path / "net.onnx")
    tree = rc.read(net, stimuli=dict(zip(IDS, X, strict=True)), batch=2)
    assert list(tree.children) == ["Y", "M"]
    np.testing.assert_allclose(tree["Y"]["response"].values, np.maximum(X @ W, 0), rtol=1e-5)
    assert tree["Y"]["stimulus"].values.tolist() == IDS and tree["M"]["unit_channel_y"].values.tolist() == [0, 1, 2]
    hidden = rc.read(net, stimuli=X, names=IDS, outputs=["/fc/XW"], preprocess=lambda x: 2 * x)
    np.testing.assert_allclose(hidden["fc/XW"]["response"].values, 2 * X @ W, rtol=1e-5)
    pooled = rc.read(net, stimuli=X, names="positional", outputs="M", reduce="mean_space")
    np.testing.assert_allclose(pooled["M"]["response"].values, X.mean(1, keepdims=True), rtol=1e-5)


def test_onnx_above_memory_goes_to_a_temporary_file(tmp_path):
    net = write_onnx(tmp_path / "net.onnx")
    held = rc.read(net, stimuli=X, names=IDS)
    filed = rc.read(net, stimuli=X, names=IDS, memory=10, batch=2)
    assert not filed["Y"]["response"].variable._in_memory and held["Y"]["response"].variable._in_memory
    for name in ("Y", "M"):
        np.testing.assert_array_equal(filed[name]["response"].values, held[name]["response"].values)
        assert filed[name]["unit_id"].values.tolist() == held[name]["unit_id"].values.tolist()
        rc.validate(filed[name].to_dataset())
    filed.close()


@pytest.mark.parametrize("kind", ["npy", "npz", "folder", "pictures", "zip"])
def test_onnx_on_files(tmp_path, kind):
    net = write_onnx(tmp_path / "net.onnx")
    options = {}
    place = tmp_path / "stimuli"
    names = IDS
    if kind == "npy":
        place = tmp_path / "x.npy"
        np.save(place, X)
        options["names"] = IDS
    elif kind == "npz":
        place = tmp_path / "x.npz"
        np.savez(place, x=X, stimulus_id=IDS)
    else:
        place.mkdir()
        if kind in ("pictures", "zip"):
            image = pytest.importorskip("PIL.Image")
            names = [f"{n}.png" for n in IDS]
            options["preprocess"] = lambda p: X[p[0, 0, 0]]
        for i, name in enumerate(IDS):
            if kind in ("pictures", "zip"):
                image.fromarray(np.full((2, 2, 3), i, np.uint8)).save(place / f"{name}.png")
            else:
                np.save(place / f"{name}.npy", X[i])
    if kind == "zip":
        place = shutil.make_archive(tmp_path / "all", "zip", place)
    tree = rc.read(net, stimuli=place, **options)
    assert tree["Y"]["stimulus"].values.tolist() == names
    np.testing.assert_allclose(tree["Y"]["response"].values, np.maximum(X @ W, 0), rtol=1e-5)
    some = rc.read(net, stimuli=place, **options, select=names[3:0:-2])["Y"]
    np.testing.assert_allclose(some["response"].values, np.maximum(X @ W, 0)[[3, 1]], rtol=1e-5)
    with pytest.raises(OptionError, match="select= names 'nothing'"):
        rc.read(net, stimuli=place, **options, select=["nothing"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, OptionError, "give stimuli="),
        ({"stimuli": X}, FormatError, "have no names; give names="),
        ({"stimuli": X, "names": IDS[:3]}, FormatError, "holds 5 stimuli; .* has 3 names"),
        ({"stimuli": X, "names": ["a"] * 5}, FormatError, "'a' come more than once"),
        ({"stimuli": X, "names": IDS, "outputs": "Z"}, OptionError, "no output 'Z'"),
        ({"stimuli": X, "names": IDS, "outputs": "/fc/XX"}, OptionError, "did you mean '/fc/XW'"),
        ({"stimuli": X[:, :2], "names": IDS}, FormatError, r"input 'X' expects \['n', 3\]; the stimuli give \[5, 2\]"),
        ({"stimuli": X, "names": IDS, "batch": 0}, OptionError, "batch=0"),
        ({"stimuli": X, "names": IDS, "redcue": "x"}, OptionError, "did you mean 'reduce'"),
        ({"stimuli": {"a": X[0], "b": X[0, :2]}}, FormatError, "have shapes"),
        ({"stimuli": {}}, FormatError, "no stimuli"),
    ],
)
def test_onnx_messages(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        rc.read(write_onnx(tmp_path / "net.onnx"), **options)


def test_onnx_without_the_runtime_and_damaged(tmp_path, monkeypatch):
    net = write_onnx(tmp_path / "net.onnx")
    data = net.read_bytes()
    for cut in (1, 10, len(data) // 2, len(data) - 3):
        net.write_bytes(data[:cut])
        with pytest.raises(FormatError, match="net.onnx"):
            rc.read(net, stimuli=X, names=IDS)
    net.write_bytes(data)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"repcompare\[onnx\]"):
        rc.read(net, stimuli=X, names=IDS, outputs="/fc/XW")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"repcompare\[onnx\]"):
        rc.read(net, stimuli=X, names=IDS)


def test_onnx_files_with_flipped_bytes(tmp_path, capfd):
    net = write_onnx(tmp_path / "net.onnx")
    data = net.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        net.write_bytes(flipped)
        try:
            rc.read(net, stimuli=X, names=IDS)
        except (FormatError, OptionError, SchemaError) as error:
            assert str(error).strip()


@pytest.mark.data
def test_a_real_network_layer_by_layer(data_dir):
    pytest.importorskip("onnxruntime")
    pictures = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    net = data_dir / "nets" / "efficientnet_lite0.onnx"
    tree = rc.read(net, stimuli=pictures, names=["a", "b", "c"], batch=2, reduce="mean_space")
    assert len(tree.children) == 20
    assert {n: tree[n].sizes["unit"] for n in ("pool", "logits", "stem")} == {"pool": 1280, "logits": 1000, "stem": 32}
    np.testing.assert_allclose(tree["head"]["response"].values, tree["pool"]["response"].values, rtol=1e-3, atol=1e-4)
    projected = rc.read(net, stimuli=pictures, names=["a", "b", "c"], outputs=["stem"], project=64)
    assert projected["stem"].sizes["unit"] == 64 and projected["stem"].attrs["projection_seed"] == 0


@pytest.mark.data
def test_a_real_network_gives_the_activations_that_came_with_the_pictures(data_dir):
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")

    def preprocess(picture):
        resized = np.asarray(image.fromarray(picture).resize((224, 224), image.Resampling.BICUBIC), np.float32)
        return (resized.transpose(2, 0, 1) - 127) / 128

    folder = data_dir / "v4_cowley2023"
    given = rc.read(folder / "activations" / "efficientnet_lite0_session190923.npz")
    names = given["pool"]["stimulus"].values[::100].tolist()
    found = rc.read(
        data_dir / "nets" / "efficientnet_lite0.onnx",
        stimuli=folder / "images" / "images_190923.zip",
        select=names,
        preprocess=preprocess,
        outputs=["block0", "block4", "pool", "logits"],
        reduce="mean_space",
    )
    for (
        layer
    ) in found.children:  # given as float16; its blocks 7 to 15 are something else than the outputs of this network
        theirs = given[layer]["response"].sel(stimulus=names).values
        np.testing.assert_allclose(found[layer]["response"].values, theirs, rtol=2e-3, atol=1e-3 * np.abs(theirs).max())


class Module:
    """What hooks need of a module."""

    def __init__(self, function):
        self.function, self.hooks = function, []

    def register_forward_hook(self, hook):
        self.hooks.append(hook)
        return Handle(self.hooks, hook)

    def __call__(self, *args, **kwargs):
        out = self.function(*args, **kwargs)
        for hook in list(self.hooks):
            hook(self, args, out)
        return out


class Handle:
    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook

    def remove(self):
        self.hooks.remove(self.hook)


class Net(Module):
    training = False

    def __init__(self):
        super().__init__(self.forward)
        self.inner = {
            "fc": Module(lambda x: x @ W),
            "twice": Module(lambda x: x + 1),
            "pair": Module(lambda x: (x, "state")),
            "named": Module(lambda x: {"logits": x, "other": -x}),
            "maps": Module(lambda x: x.reshape(len(x), 1, 2, 2)),
            "tokens": Module(lambda x: np.stack([x, 2 * x, 3 * x], 1)),
            "unused": Module(lambda x: x),
            "text": Module(lambda x: "no array"),
        }

    def named_modules(self):
        return [("", self), *self.inner.items()]

    def forward(self, x, attention_mask=None):
        y = self.inner["fc"](x)
        for name in ("twice", "twice", "pair", "named", "maps", "tokens", "text"):
            self.inner[name](y)
        y[:] = -1  # as a layer that works in place would do
        return y


def batches(size=2):
    for start in range(0, 5, size):
        yield X[start : start + size].copy(), IDS[start : start + size]


def test_record_is_found_by_its_public_name():
    assert data_adapters.networks.record is record
    with pytest.raises(AttributeError, match="known: record"):
        _ = data_adapters.networks.recrd


def test_record_gives_parts_by_layer():
    net = Net()
    layers = {"fc": None, "twice": None, "pair": None, "named": "logits", "maps": None}
    tree = record(net, batches(), layers, stimulus_ids=IDS)
    y = X @ W
    assert list(tree.children) == ["fc", "twice", "twice#1", "pair", "named", "maps"]
    for name, expected in {"fc": y, "twice": y + 1, "twice#1": y + 1, "pair": y, "named": y, "maps": y}.items():
        np.testing.assert_allclose(tree[name]["response"].values, expected, rtol=1e-6)
    assert tree["maps"]["unit_channel_x"].values.tolist() == [0, 1, 0, 1]
    assert tree["fc"]["stimulus"].values.tolist() == IDS and tree["fc"].attrs["modality"] == "ann"
    assert not any(m.hooks for _, m in net.named_modules())
    whole = record(net, [(X.copy(), IDS)], "fc")
    np.testing.assert_allclose(whole["fc"]["response"].values, y, rtol=1e-6)


def test_record_pools_tokens_by_the_mask():
    mask = np.array([[1, 1, 0]] * 5)
    inputs = [({"x": X.copy(), "attention_mask": mask}, IDS)]
    y = X @ W
    for pooling, expected in (("last", 2 * y), ("first", y), ("mean", 1.5 * y)):
        tree = record(Net(), inputs, ["tokens"], pooling=pooling)
        np.testing.assert_allclose(tree["tokens"]["response"].values, expected, rtol=1e-5)
        inputs = [({"x": X.copy(), "attention_mask": mask}, IDS)]
    assert record(Net(), inputs, ["tokens"], pooling="flatten")["tokens"].sizes["unit"] == 12


def test_record_into_a_file_that_is_complete_or_absent(tmp_path):
    file = tmp_path / "acts.nc"
    tree = record(Net(), batches(), ["fc", "maps"], stimulus_ids=IDS, store=file)
    held = record(Net(), batches(), ["fc", "maps"], stimulus_ids=IDS)
    for name in ("fc", "maps"):
        part = tree[name].to_dataset()
        assert not part["response"].variable._in_memory
        np.testing.assert_array_equal(part["response"].values, held[name]["response"].values)
        assert set(part.coords) == set(held[name].to_dataset().coords)
        rc.validate(part)
    tree.close()
    np.testing.assert_array_equal(rc.read(f"{file}::fc")["response"].values, held["fc"]["response"].values)
    with pytest.raises(FormatError, match="rows came for"):
        record(Net(), [(X[:2].copy(), IDS[:2])], ["fc"], stimulus_ids=IDS, store=tmp_path / "half.nc")
    assert os.listdir(tmp_path) == ["acts.nc"]


def test_projection_keeps_distances(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5000))
    r = random_signs(5000, 1024, 3)
    assert (r.toarray() != 0).sum(1).tolist() == [8] * 5000
    np.testing.assert_allclose((r.toarray() ** 2).sum(1), 1)
    d = ((x[:, None] - x[None]) ** 2).sum(-1)[np.triu_indices(12, 1)]
    z = x @ r
    e = ((z[:, None] - z[None]) ** 2).sum(-1)[np.triu_indices(12, 1)]
    assert np.abs(e / d - 1).max() < 5 * np.sqrt(2 / 1024)  # relative sd of a squared length is sqrt(2 / k)
    tree = record(Net(), batches(), ["fc"], stimulus_ids=IDS, project=2, seed=3)
    np.testing.assert_allclose(
        tree["fc"]["response"].values, X @ W @ random_signs(4, 2, 3).toarray(), rtol=1e-4, atol=1e-6
    )
    assert tree["fc"].attrs["projection_seed"] == 3


@pytest.mark.parametrize(
    ("layers", "options", "error", "message"),
    [
        (["fcc"], {}, OptionError, "no layer 'fcc'; did you mean 'fc'"),
        ([], {}, OptionError, "names no layer"),
        (["named"], {}, OptionError, "mapping with keys 'logits', 'other'; name one by layers="),
        (["unused"], {}, OptionError, "was not called"),
        (["text"], {}, FormatError, "returns a str without an array"),
        (["fc"], {"memory": 10}, OptionError, "need 80 bytes; memory=10; give store="),
        (["fc"], {"reduce": "mean"}, OptionError, "reduce='mean'"),
        (["fc"], {"stimulus_ids": IDS[::-1]}, FormatError, "row 0 of the batches is 's0'; stimulus_ids has 's4'"),
        (["fc"], {"stimulus_ids": [*IDS, "s0"]}, FormatError, "'s0' come more than once"),
        (["fc"], {"stimulus_ids": [*IDS, "s9"]}, FormatError, "5 rows came for 6 stimuli"),
        (["fc"], {"stimulus_ids": IDS[:4]}, FormatError, "row 4 of the batches is 's4'; stimulus_ids has 'nothing'"),
    ],
)
def test_record_messages(layers, options, error, message):
    net = Net()
    with pytest.raises(error, match=message):
        record(net, batches(), layers, **{"stimulus_ids": IDS, **options})
    assert not any(m.hooks for _, m in net.named_modules())


def test_record_refuses_what_would_mislead():
    net = Net()
    net.training = True
    with pytest.raises(OptionError, match=r"training mode.*model.eval"):
        record(net, batches(), ["fc"])
    with pytest.raises(OptionError, match="no attribute 'named_modules'"):
        record(lambda x: x, batches(), ["fc"])
    with pytest.raises(FormatError, match=r"expected \(input, ids\)"):
        record(Net(), [X], ["fc"])
    with pytest.raises(FormatError, match="gave 5 rows for 2 stimuli"):
        record(Net(), [(X.copy(), IDS[:2])], ["fc"])
    with pytest.raises(FormatError, match="names of a batch"):
        record(Net(), [(X.copy(), "s0")], ["fc"])


def test_record_of_a_torch_module():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(inplace=True)).eval()
    tree = record(net, [(torch.from_numpy(X.copy()), IDS)], ["0", "1"])
    with torch.no_grad():
        linear = net[0](torch.from_numpy(X.copy())).numpy()
    np.testing.assert_allclose(tree["0"]["response"].values, linear, rtol=1e-6)  # not what the next layer made of it
    np.testing.assert_allclose(tree["1"]["response"].values, np.maximum(linear, 0), rtol=1e-6)
