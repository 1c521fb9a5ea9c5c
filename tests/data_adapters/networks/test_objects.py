"""Objects that programs already hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError, SchemaError

IDS = ["cat", "dog", "owl"]
RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(3, 4, 5)).astype(np.float32)
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]])


class FakeTensor:
    """What a tensor of torch can do, and no more."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, f"torch.{values.dtype}"

    def detach(self):
        return self

    def float(self):
        return FakeTensor(self.values.astype(np.float32))

    def double(self):
        return FakeTensor(self.values.astype(np.float64))

    def cpu(self):
        return self

    def numpy(self):
        return self.values


def test_hidden_states_take_the_last_token_that_is_none_of_the_padding():
    output = SimpleNamespace(hidden_states=(FakeTensor(TOKENS), FakeTensor(2 * TOKENS.astype(np.float16))))
    tree = rc.read(output, stimuli=IDS, attention_mask=FakeTensor(MASK))
    assert list(tree.children) == ["hidden_0", "hidden_1"]
    np.testing.assert_array_equal(tree["hidden_0"]["response"].values, TOKENS[[0, 1, 2], [2, 3, 2]])
    assert tree["hidden_1"]["response"].dtype == np.float32
    assert any("final norm" in h for h in tree["hidden_1"].attrs["history"])
    first = rc.read(output, stimuli=IDS, attention_mask=MASK, pooling="first")["hidden_0"]
    np.testing.assert_array_equal(first["response"].values, TOKENS[[0, 1, 2], [0, 0, 1]])
    mean = rc.read(output, stimuli=IDS, attention_mask=MASK, pooling="mean")["hidden_0"]
    np.testing.assert_allclose(mean["response"].values[0], TOKENS[0, :3].mean(0), rtol=1e-6)
    np.testing.assert_allclose(mean["response"].values[2], TOKENS[2, 1:3].mean(0), rtol=1e-6)
    bare = rc.read(output, stimuli=IDS)["hidden_0"]
    np.testing.assert_array_equal(bare["response"].values, TOKENS[:, -1])
    assert any("no attention mask" in h for h in bare.attrs["history"])


def test_a_row_per_token():
    output = SimpleNamespace(hidden_states=[TOKENS])
    words = [["a", "b", "c", "<pad>"], ["d", "e", "f", "g"], ["<pad>", "h", "i", "<pad>"]]
    part = rc.read(output, stimuli=IDS, attention_mask=MASK, pooling="tokens", tokens=words)["hidden_0"].to_dataset()
    assert "".join(part["stimulus_token"].values) == "abcdefghi" and "repeat" not in part
    assert part["stimulus_sequence"].values.tolist() == ["cat"] * 3 + ["dog"] * 4 + ["owl"] * 2
    np.testing.assert_array_equal(part["response"].values, TOKENS[MASK.astype(bool)])
    short = [["a", "b", "c"], ["d", "e", "f", "g"], ["h", "i"]]
    again = rc.read(output, stimuli=IDS, attention_mask=MASK, pooling="tokens", tokens=short)["hidden_0"]
    assert again["stimulus_token"].values.tolist() == part["stimulus_token"].values.tolist()
    with pytest.raises(FormatError, match="tokens= has lengths"):
        rc.read(output, stimuli=IDS, attention_mask=MASK, pooling="tokens", tokens=[["a"]] * 3)


def test_steps_of_a_generation():
    output = SimpleNamespace(hidden_states=((TOKENS, TOKENS), (TOKENS[:, :1], 3 * TOKENS[:, :1])))
    with pytest.raises(OptionError, match="holds 2 steps of a generation"):
        rc.read(output, stimuli=IDS)
    part = rc.read(output, stimuli=IDS, step=1)["hidden_1"]
    np.testing.assert_array_equal(part["response"].values, 3 * TOKENS[:, 0])


@pytest.mark.parametrize("as_object", [False, True])
def test_caches_of_transformerlens(as_object):
    heads = RNG.normal(size=(3, 4, 2, 3))
    cache = {
        "hook_embed": FakeTensor(TOKENS),
        "blocks.0.hook_resid_pre": FakeTensor(TOKENS),
        "blocks.0.attn.hook_q": FakeTensor(heads),
        "blocks.0.attn.hook_pattern": FakeTensor(RNG.normal(size=(3, 2, 4, 4))),
        "blocks.0.mlp.hook_post": FakeTensor(TOKENS),
        "ln_final.hook_normalized": FakeTensor(TOKENS),
    }
    obj = SimpleNamespace(cache_dict=cache) if as_object else cache
    tree = rc.read(obj, stimuli=IDS)
    assert list(tree.children) == [n for n in cache if "pattern" not in n]
    q = tree["blocks.0.attn.hook_q"].to_dataset()
    assert q["unit_id"].values.tolist() == [f"blocks.0.attn.hook_q/{h}.{d}" for h in range(2) for d in range(3)]
    np.testing.assert_array_equal(q["response"].values, heads[:, -1].reshape(3, 6))
    with pytest.raises(OptionError, match="is an attention pattern"):
        rc.read(obj, stimuli=IDS, layers=["blocks.0.attn.hook_pattern"])
    flat = rc.read(obj, stimuli=IDS, layers="blocks.0.attn.hook_pattern", flatten=True)
    assert flat["blocks.0.attn.hook_pattern"].sizes["unit"] == 32
    with pytest.raises(OptionError, match="did you mean 'hook_embed'"):
        rc.read(obj, stimuli=IDS, layers=["hook_embedd"])


def test_caches_of_nnsight():
    cache = {
        "model.layers.0": SimpleNamespace(output=(FakeTensor(TOKENS), None)),
        "model.head": SimpleNamespace(output=FakeTensor(TOKENS[:, 0])),
    }
    tree = rc.read(cache, stimuli=IDS, pooling="first")
    for name in cache:
        np.testing.assert_array_equal(tree[name]["response"].values, TOKENS[:, 0])
    steps = {"model.head": [SimpleNamespace(output=TOKENS[:, 0]), SimpleNamespace(output=2 * TOKENS[:, 0])]}
    with pytest.raises(OptionError, match="holds 2 steps"):
        rc.read(steps, stimuli=IDS)
    np.testing.assert_array_equal(
        rc.read(steps, stimuli=IDS, step=1)["model.head"]["response"].values, 2 * TOKENS[:, 0]
    )
    with pytest.raises(OptionError, match="step=5"):
        rc.read(steps, stimuli=IDS, step=5)
    with pytest.raises(FormatError, match="lacks both 'detach' and '__array__'"):
        rc.read({"x": SimpleNamespace(output="text")}, stimuli=IDS)


def test_mappings_of_arrays_and_frames():
    maps = RNG.normal(size=(3, 2, 2, 2))
    found = {
        "conv": maps,
        "fc": FakeTensor(TOKENS[:, 0]),
        "stimulus_id": IDS and np.array(IDS),
        "other": np.ones((5, 2)),
    }
    tree = rc.read(found)
    assert set(tree.children) == {"conv", "fc"} and tree["fc"]["stimulus"].values.tolist() == IDS
    np.testing.assert_array_equal(tree["conv"]["response"].values, maps.reshape(3, 8))
    assert list(rc.read(found, layers=["fc"]).children) == ["fc"]
    frame = pd.DataFrame(TOKENS[:, 0], index=IDS, columns=list("abcde")).assign(kind=["pet", "pet", "bird"])
    ds = rc.read(frame, modality="behaviour")
    assert ds["unit_id"].values.tolist() == list("abcde") and ds["stimulus_kind"].values.tolist() == [
        "pet",
        "pet",
        "bird",
    ]
    np.testing.assert_array_equal(ds["response"].values, TOKENS[:, 0])
    with pytest.raises(FormatError, match="no column of numbers"):
        rc.read(frame[["kind"]])


def test_objects_that_nobody_reads():
    with pytest.raises(
        FormatError, match=r"no format reads an object of type builtins.int.*hidden_states.*representation"
    ):
        rc.read(3)
    with pytest.raises(OptionError, match="did you mean 'arrays'"):
        rc.read({"x": TOKENS[:, 0]}, format="array")
    with pytest.raises(OptionError, match="did you mean 'stimuli'"):
        rc.read({"x": TOKENS[:, 0]}, stimulii=IDS)
    with pytest.raises(FormatError, match="no stimulus labels"):
        rc.read({"x": TOKENS[:, 0]})
    with pytest.raises(FormatError, match="has shape"):
        rc.read(SimpleNamespace(hidden_states=[TOKENS]), stimuli=IDS[:2])
    with pytest.raises(FormatError, match=r"attention mask has shape \(3, 3\)"):
        rc.read(SimpleNamespace(hidden_states=[TOKENS]), stimuli=IDS, attention_mask=MASK[:, :3])
    with pytest.raises(FormatError, match="row 1 has no token"):
        rc.read(SimpleNamespace(hidden_states=[TOKENS]), stimuli=IDS, attention_mask=MASK * [[1], [0], [1]])
    with pytest.raises(SchemaError, match="'a' occur more than once"):
        rc.read(SimpleNamespace(hidden_states=[TOKENS]), stimuli=["a", "a", "b"])
