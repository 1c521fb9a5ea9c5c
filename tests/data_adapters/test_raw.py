"""Numbers that lie in a file as they are: whole rows, pieces that are widened, anything else through a map."""

from __future__ import annotations

import numpy as np
import pytest

from data_adapters import _raw
from data_adapters._raw import RawSource
from repcompare.errors import FormatError

SHAPE = (7, 3, 2)


def stored(kind, order, rng):
    """Return bytes of a kind of numbers and what they mean."""
    if kind == "bfloat16":
        bits = rng.integers(0x3F00, 0x4100, SHAPE).astype(np.uint16)
        return bits.astype(f"{order}u2"), (bits.astype(np.uint32) << 16).view(np.float32)
    if kind == "bool":
        flags = rng.random(SHAPE) < 0.5
        return flags.astype(np.uint8), flags
    values = (rng.random(SHAPE) * 100).astype(np.dtype(order + kind))
    return values, values.astype(np.float32) if kind == "f2" else values


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", sorted(_raw.KINDS))
@pytest.mark.parametrize("piece", [5, 2**18])
def test_blocks_are_those_of_the_array(tmp_path, kind, order, piece, monkeypatch):
    monkeypatch.setattr(_raw, "PIECE", piece)
    raw, expected = stored(kind, order, np.random.default_rng(0))
    file = tmp_path / "numbers"
    file.write_bytes(b"head " + raw.tobytes() + b" tail")
    source = RawSource(str(file), 5, kind, SHAPE, order=order, label="numbers")
    every = slice(None)
    for key in [(every,) * 3, (slice(2, 6), every, every), (slice(0, 0), every, every)]:  # whole rows
        np.testing.assert_array_equal(source.read(key), expected[key])
        assert source.read(key).dtype == source.dtype == expected.dtype.newbyteorder("=")
    for key in [(slice(1, 6, 2), every, every), (every, slice(1, 2), every), (np.array([0, 3, 4]), every, slice(1))]:
        np.testing.assert_array_equal(source.read(key), expected[key])
        assert source.read(key).dtype == source.dtype


@pytest.mark.parametrize("kind", ["f4", "f2"])
def test_a_file_that_was_cut_after_it_was_opened(tmp_path, kind):
    file = tmp_path / "numbers"
    file.write_bytes(bytes(80))
    source = RawSource(str(file), 0, kind, (4, 5), label="numbers")
    file.write_bytes(bytes(30))
    with pytest.raises(FormatError, match="numbers"), source.guard():
        source.read((slice(None), slice(None)))
