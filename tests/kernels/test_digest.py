"""The content hash tells arrays apart by every bit, shape and dtype."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.engine.prepare import digest
from repcompare.kernels.digest import LANES, mix_words


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 8), (40, 33)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_change_changes_the_hash(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(dtype)
    found = {digest(x)}
    for i in range(x.size):
        y = x.copy()
        y.flat[i] = np.nextafter(y.flat[i], np.inf)
        found.add(digest(y))
    assert len(found) == x.size + 1
    assert digest(x.copy()) == digest(np.asfortranarray(x)) == digest(x)
    assert digest(x.reshape(-1, 1)) != digest(x) or shape == (1, 1)


def test_swapped_words_and_dtypes_differ():
    x = np.arange(32.0).reshape(4, 8)
    assert digest(x) != digest(x[::-1])
    assert digest(x) != digest(x[:, ::-1])
    assert digest(np.zeros((4, 8))) != digest(np.zeros((8, 4)))
    assert digest(np.zeros((4, 8))) != digest(np.zeros((4, 16), np.float32))


def test_compiled_equals_python():
    words = np.random.default_rng(0).integers(0, 2**63, 64).astype(np.uint64)
    lanes = [np.arange(LANES, dtype=np.uint64) for _ in range(2)]
    mix_words(words, lanes[0])
    with np.errstate(over="ignore"):
        mix_words.py_func(words, lanes[1])
    np.testing.assert_array_equal(*lanes)
