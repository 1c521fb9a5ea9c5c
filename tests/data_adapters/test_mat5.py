"""Our reader of MATLAB files against scipy's, on everything scipy can write; and on damaged files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from data_adapters._mat5 import Opaque, variables
from repcompare.errors import FormatError


def content():
    rng = np.random.default_rng(0)
    numbers = {
        f"n_{t}": (100 * rng.uniform(size=(2, 3, 4))).astype(t)
        for t in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4")
    }
    cells = np.empty((2, 2), dtype=object)
    cells[0, 0], cells[0, 1], cells[1, 0], cells[1, 1] = np.eye(2), "väl", np.array([[7]], np.uint8), np.empty((0, 0))
    return {
        **numbers,
        "flag": np.array([[True, False]]),
        "z": np.array([[1 + 2j, 3.0]]),
        "word": "hello",
        "lines": np.array(["ab", "cde"]),
        "nested": {"x": np.arange(3.0), "inner": {"y": "deep"}},
        "cells": cells,
        "sparse": scipy.sparse.eye(3).tocsc(),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_equal_to_scipy(tmp_path, compressed):
    file = tmp_path / "all.mat"
    scipy.io.savemat(file, content(), do_compression=compressed)
    ours, theirs = variables(str(file)), scipy.io.loadmat(file, chars_as_strings=True)
    assert set(ours) == {k for k in theirs if not k.startswith("__")}
    for name, value in ours.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
            np.testing.assert_array_equal(value, theirs[name])
            assert value.dtype == (bool if name == "flag" else theirs[name].dtype)
    assert ours["word"] == "hello"
    assert ours["lines"].tolist() == ["ab", "cde"]
    assert ours["nested"].shape == (1, 1)
    np.testing.assert_array_equal(ours["nested"][0, 0]["x"].ravel(), np.arange(3.0))
    assert ours["nested"][0, 0]["inner"][0, 0]["y"] == "deep"
    assert ours["cells"].shape == (2, 2)
    assert ours["cells"][0, 1] == "väl"
    np.testing.assert_array_equal(ours["cells"][0, 0], np.eye(2))
    assert isinstance(ours["sparse"], Opaque)
    assert set(variables(str(file), {"word"})) == {"word"}


def test_big_endian(tmp_path):
    """The same element by hand, in the other byte order: a 1 x 2 double called x."""
    body = b"".join(
        np.array(v, dtype=t).tobytes()
        for v, t in (
            ([6, 8, 6, 0], ">u4"),  # array flags: class double
            ([5, 8, 1, 2], ">u4"),  # dimensions
            ([1 << 16 | 1], ">u4"),  # a name of one letter, small element
            ([ord("x"), 0, 0, 0], "u1"),
            ([9, 16], ">u4"),
            ([1.5, -2.0], ">f8"),
        )
    )
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    file = tmp_path / "big.mat"
    file.write_bytes(header + np.array([14, len(body)], ">u4").tobytes() + body)
    np.testing.assert_array_equal(variables(str(file))["x"], [[1.5, -2.0]])


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_give_our_error_or_a_value(tmp_path, compressed):
    file = tmp_path / "all.mat"
    scipy.io.savemat(file, content(), do_compression=compressed)
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    for cut in rng.integers(0, len(data), 60):
        file.write_bytes(data[:cut])
        try:
            variables(str(file))
        except FormatError as error:
            assert "all.mat" in str(error)
    for at in rng.integers(126, len(data), 600):
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        file.write_bytes(flipped)
        try:
            variables(str(file))
        except FormatError as error:
            assert "all.mat" in str(error)


def test_declared_sizes_are_not_believed(tmp_path):
    file = tmp_path / "x.mat"
    scipy.io.savemat(file, {"x": np.ones((2, 2))})
    data = bytearray(file.read_bytes())
    at = data.index(np.array([5, 8, 2, 2], "<u4").tobytes()) + 8
    data[at : at + 8] = np.array([2**30, 2**30], "<u4").tobytes()
    file.write_bytes(data)
    with pytest.raises(FormatError, match="more than the .* bytes there are"):
        variables(str(file))
