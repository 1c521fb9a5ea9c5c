# %% [markdown]
# # Your network
#
# Activations come in three ways: from a file that another program wrote, from an ONNX network that is run here, or from a
# live network whose layers are recorded. All three give the same thing, a tree with a part per layer.
#
# ## A live network
#
# `record` needs only `named_modules()` and `register_forward_hook`, which torch modules have. Here a network of plain numpy
# has them, so that this page runs without torch; with torch write `record(model.eval(), batches, ["layer1", "layer4"])`.

# %%
from itertools import pairwise

import numpy as np

import repcompare as rc
from data_adapters.networks import record


class Layer:
    def __init__(self, weights):
        self.weights, self.hooks = weights, []

    def register_forward_hook(self, hook):
        self.hooks.append(hook)
        return Handle(self.hooks, hook)

    def __call__(self, x):
        y = np.maximum(x @ self.weights, 0)
        for hook in self.hooks:
            hook(self, (x,), y)
        return y


class Handle:
    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook

    def remove(self):
        self.hooks.remove(self.hook)


class Network:
    training = False

    def __init__(self, rng, sizes):
        self.layers = {f"layer{i}": Layer(rng.normal(size=s) / s[0] ** 0.5) for i, s in enumerate(pairwise(sizes))}

    def named_modules(self):
        return list(self.layers.items())

    def __call__(self, x):
        for layer in self.layers.values():
            x = layer(x)
        return x


rng = np.random.default_rng(0)
network = Network(rng, (20, 50, 50, 50))
pictures = rng.normal(size=(100, 20))
names = [f"picture{i:03d}" for i in range(100)]


def batches(size=32):
    """Yield what the network gets, and the names of its stimuli."""
    for start in range(0, len(names), size):
        yield pictures[start : start + size], names[start : start + size]


layers = record(network, batches(), ["layer0", "layer1", "layer2"], stimulus_ids=names)
layers

# %% [markdown]
# The order of the names is checked, a network in training mode is refused, and the hooks are gone afterwards. What would not
# fit into memory goes to a file with `store="activations.nc"`, or is made smaller: feature maps by `reduce="mean_space"`,
# wide layers by `project=4096`, random directions that keep distances.
#
# A brain that follows the second layer:

# %%
signal = layers["layer1"]["response"].values @ rng.normal(size=(50, 30))
brain = rc.representation(signal + 2 * signal.std() * rng.normal(size=signal.shape), stimulus=names)
scores = rc.compare(layers, {"brain": brain}, measures=["cka", "rsa"], progress=False)
table = rc.table(scores)
table.pivot(index="source", columns="measure", values="score").round(3)

# %%
best = table[table.measure == "cka"].set_index("source").score
assert best.idxmax() == "layer1"

# %% [markdown]
# ## A network in a file
#
# An ONNX file is run on the stimuli (extra `onnx`): a part per output, and with the package `onnx` any hidden tensor by
# name. `stimuli=` takes arrays by name, .npy and .npz files, folders and zip files of pictures; `preprocess=` gets one
# stimulus as it is stored and returns what the network expects. The network, the pictures and the neurons of area V4
# (Cowley et al. 2023) are found in `$REPCOMPARE_DATA`; without them this part is left out.

# %%
import importlib.util
import os
from pathlib import Path

data = Path(os.environ.get("REPCOMPARE_DATA", "../shared/data"))
needed = [data / "nets/efficientnet_lite0.onnx", data / "v4_cowley2023/images/images_190923.zip"]
runs = all(map(os.path.exists, needed)) and all(map(importlib.util.find_spec, ("onnxruntime", "PIL")))

if runs:
    from PIL import Image

    def preprocess(picture):
        """Return what this network was trained on: 224 x 224, values around zero, channels first."""
        resized = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC), np.float32)
        return (resized.transpose(2, 0, 1) - 127) / 128

    neurons = rc.read(
        data / "v4_cowley2023/responses_avg/responses_190923.npy",
        dims=("unit", "stimulus"),  # rows are neurons
        stimuli=data / "v4_cowley2023/activations/efficientnet_lite0_session190923.npz",  # has the names
        modality="spikes",
    )
    shown = neurons.stimulus.values[::12].tolist()  # 100 of the 1200 pictures
    net = rc.read(
        needed[0],
        stimuli=needed[1],
        select=shown,
        preprocess=preprocess,
        reduce="mean_space",
        outputs=["block0", "block4", "block10", "block15", "pool", "logits"],
        batch=10,
    )
    scores = rc.compare(
        net, {"V4": neurons.sel(stimulus=shown)}, measures=["cka", "rsa"], confidence=0.95, progress=False
    )
    print(rc.table(scores)[["source", "measure", "score", "low", "high"]].round(3).to_string(index=False))

# %% [markdown]
# ## Files that other programs wrote
#
# `rc.read` finds the format by content: npy, npz, HDF5, zarr, safetensors, `.pt` (without torch, and nothing in the file is
# run), CSV tables, folders of thingsvision, Net2Brain and DeepNSD. Names of stimuli are in the file, beside it, or given:

# %%
import tempfile

folder = Path(tempfile.mkdtemp())
np.save(folder / "layer1.npy", layers["layer1"]["response"].values)
(folder / "names.txt").write_text("\n".join(names))
again = rc.read(folder / "layer1.npy", stimuli="names.txt")
assert again.stimulus.values.tolist() == names

# %% [markdown]
# Objects that a program holds are read as they are: a dictionary of tensors, what a Hugging Face model returns with
# `output_hidden_states=True` (give `attention_mask=`: the last token is the last that is no padding), caches of
# TransformerLens and nnsight.

# %%
from types import SimpleNamespace

output = SimpleNamespace(hidden_states=(rng.normal(size=(3, 5, 8)), rng.normal(size=(3, 5, 8))))
mask = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
tokens = rc.read(output, stimuli=["one", "two", "three"], attention_mask=np.array(mask), pooling="last")
assert np.array_equal(tokens["hidden_0"]["response"].values[0], output.hidden_states[0][0, 2].astype(float))

# %% [markdown]
# On the command line: `repcompare inspect activations.pt`, `repcompare convert activations.pt activations.nc`,
# `repcompare validate activations.nc`.
