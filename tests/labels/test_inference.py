"""Tables of RSA inference keep to their schema."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import SchemaError
from repcompare.labels.inference import INFERENCE_VARIABLES, assemble_inference


def test_every_variable_is_labelled_and_described():
    sizes = {"model": 2, "model_b": 2, "subject": 3, "sample": 4, "fold": 5, "parameter": 6}
    values = {n: np.zeros([sizes[d] for d in dims]) for n, (dims, _) in INFERENCE_VARIABLES.items()}
    found = assemble_inference(values, ["a", "b"], ["x", "y", "z"], {"seed": 1})
    assert dict(found.sizes) == sizes
    assert all(found[n].attrs["description"] for n in values)
    assert found["model_b"].values.tolist() == ["a", "b"]
    assert found.attrs["schema"] == "repcompare-rsa-inference-1" and found.attrs["seed"] == 1


def test_none_is_left_out():
    found = assemble_inference({"score": [1.0], "theta": None}, ["a"], ["x"], {})
    assert list(found) == ["score"]


@pytest.mark.parametrize(
    ("values", "models", "attrs", "match"),
    [
        ({"scores": [1.0]}, ["a"], {}, "'scores' is not a variable .* did you mean 'score'"),
        ({"score": [1.0, 2.0]}, ["a", "a"], {}, "model: 'a' occur more than once"),
        ({"score": [[1.0]]}, ["a"], {}, r"score \(1, 1\)"),
        ({"score": [1.0, 2.0]}, ["a"], {}, "do not fit"),
        ({"score": [1.0]}, ["a"], {"seed": None}, "seed"),
    ],
)
def test_refusals(values, models, attrs, match):
    with pytest.raises(SchemaError, match=match):
        assemble_inference(values, models, ["x"], attrs)
