"""The restricted reader of pickles: data comes through unchanged; nothing else comes through at all."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import time
from collections import OrderedDict

import numpy as np
import pytest

from data_adapters._pickle import load_restricted, npy_objects
from repcompare.errors import FormatError
from tests.data_adapters.networks.torch_bytes import Tensor, dumps

DATA = {
    "text": "Katze é 猫",
    "bytes": b"\x00\xff",
    "numbers": [0, -1, 255, 65536, 2**40, -(2**70), 1.5, True, False, None],
    "tuple": (1, (2, 3), ()),
    "dict": {"a": {"b": [1]}, 3: "x", ("k", 1): 2},
    "array": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big": np.array([1.5, -2.0], ">f4"),
    "bools": np.array([True, False]),
    "words": np.array(["cat", "dog"]),
    "objects": np.array([{"x": 1}, "y", None], object),
    "scalar": np.float32(2.5),
    "ordered": OrderedDict(a=1, b=2),
}


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype.newbyteorder("=") == b.dtype and a.tolist() == b.tolist()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_data_comes_through_unchanged(protocol):
    assert same(DATA, load_restricted(pickle.dumps(DATA, protocol), "x"))


def test_several_pickles_in_one_stream_are_read_one_by_one():
    stream = io.BytesIO(pickle.dumps([1]) + pickle.dumps("two") + b"rest")
    assert load_restricted(stream, "x") == [1] and load_restricted(stream, "x") == "two"
    assert stream.read() == b"rest"


class Call:
    def __init__(self, function, *args):
        self.found = (function, args)

    def __reduce__(self):
        return self.found


sprung = []


def spring(*args):
    sprung.append(args)


@pytest.mark.parametrize(
    ("trap", "message"),
    [
        (Call(os.system, "true"), r"asks for \w+.system"),
        (Call(builtins.eval, "1"), "asks for (__)?builtins?(__)?.eval"),
        (Call(spring), "asks for .*spring"),
        (Call(getattr, "x", "__class__"), "asks for (__)?builtins?(__)?.getattr"),
        (Call(np.load, "x.npy"), "asks for numpy"),
        (Call(np.fromfile, "x.npy"), "asks for numpy"),
        (Call(open, "x"), r"asks for \w*io.open"),
        ({"deep": [(Call(os.system, "true"),)]}, "asks for"),
        (OrderedDict(a=Call(spring)), "asks for .*spring"),
        (np.array([Call(spring), 1], object), "asks for .*spring"),
        ({1, 2}, "asks for (__)?builtins?(__)?.set|EMPTY_SET"),
        (1j, "asks for (__)?builtins?(__)?.complex"),
        (np.zeros(2, "M8[s]"), "dtype 'M8'"),
        (np.zeros(2, [("a", "f4")]), "dtype 'V4'"),
        (np.ma.masked_array([1.0]), "asks for numpy.ma"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_traps_are_named_and_never_spring(trap, message, protocol):
    data = pickle.dumps(trap, protocol)
    with pytest.raises(FormatError, match=f"x.pt: .*({message})"):
        load_restricted(data, "x.pt")
    assert not sprung


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no.", "asks for os.system"),
        (b"\x80\x02cnumpy\nndarray\n(K\x01tR.", "calls numpy.ndarray"),  # known by name is not: may be called
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x93.", "asks for a.b"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__call_\x93.", "asks for numpy.ndarray.__call_"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "another code than latin1"),
        (b"\x80\x02K\x01K\x02R.", "calls a int"),
        (b"\x80\x02K\x01}b.", "changes a int"),
        (b"\x80\x02K\x01Q.", "points to something"),
        (b"\x80\x02h\x07.", "entry 7 of its memo"),
        (b"\x80\x02.", "stack is empty"),
        (b"\x80\x02(0.", "stack is empty"),
        (b"\x80\x02a.", "stack is empty"),
        (b"\x80\x02t.", "no mark"),
        (b"\x80\x02}(K\x01u.", "key without a value"),
        (b"\x80\x02K\x01", "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"cos\n\xff\xff\n.", "cannot be read|asks for"),
    ],
)
def test_opcodes_by_hand(data, message):
    with pytest.raises(FormatError, match=message):
        load_restricted(data, "x")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of 2 billion entries
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x40.",  # bytes of 4 EB
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x10\x00\x00.",  # a bytearray of 16 TB
        b"\x80\x02X\xff\xff\xff\x7f.",
        b"\x80\x02B\xff\xff\xff\xff.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fK\x01.",  # a frame of 8 EB
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # a number of 2 GB
        b"I" + b"9" * 10**5 + b"\n.",
        b"\x80\x02)" + b"2\x86" * 60 + b"K\x01s.",
        b"\x80\x02}()" + b"2\x86" * 60 + b"K\x01u.",  # a key that takes 2 ** 60 steps to hash
        b"\x80\x02]" + b"2\x86" * 10**5 + b"K\x01R.",
    ],
)
def test_bombs_are_over_at_once(data):
    started = time.process_time()
    try:
        load_restricted(data, "x")
    except FormatError as error:
        assert len(str(error)) < 1000
    assert time.process_time() - started < 1


def array_state(shape, raw, kind="f8"):
    dtype = pickle.dumps(np.dtype(kind), 2)[2:-1]
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    return head + pickle.dumps(shape, 2)[2:-1] + dtype + b"\x89" + pickle.dumps(raw, 2)[2:-1] + b"tb."


@pytest.mark.parametrize(
    ("shape", "raw", "message"),
    [
        ((10**9, 10**9), "", "needs 8000000000000000000 bytes"),
        ((3,), "abc", r"an array \(3,\) of float64 needs 24 bytes or items; the pickle has 3"),
        ((-1,), "", "impossible shape"),
        ((2**80,), "", "impossible shape"),
        ((1,) * 9, "abcdefgh", "impossible shape"),
        ("x", "", "impossible shape"),
        ((1,), [1], "needs 8 bytes or items"),
    ],
)
def test_arrays_are_compared_with_their_bytes(shape, raw, message):
    with pytest.raises(FormatError, match=message):
        load_restricted(array_state(shape, raw), "x")
    assert load_restricted(array_state((1,), "\0" * 8), "x").tolist() == [0.0]


def test_an_array_is_filled_once_only():
    data = array_state((1,), "\0" * 8)[:-1] + b"(K\x01K\x02\x85NNNtb."
    with pytest.raises(FormatError, match="changes a ndarray"):
        load_restricted(data, "x")


@pytest.mark.parametrize(
    "view",
    [
        {"shape": (7,), "strides": (1,)},
        {"shape": (2, 3), "strides": (3, 2)},
        {"offset": 6, "shape": (1,), "strides": (1,)},
        {"offset": -1, "shape": (1,), "strides": (1,)},
        {"shape": (2,), "strides": (-1,)},
        {"shape": (2,), "strides": (1, 1)},
        {"shape": (2**62, 2), "strides": (0, 1)},
        {"shape": (1,) * 9, "strides": (1,) * 9},
    ],
)
def test_views_that_leave_their_storage(view):
    data, _ = dumps(Tensor(np.zeros(6, np.float32), **view))
    with pytest.raises(FormatError, match="reaches element|impossible|without numbers"):
        load_restricted(data, "x")


def test_views_within_their_storage():
    for view in (
        {"shape": (2, 3), "strides": (3, 1)},
        {"shape": (3, 2), "strides": (1, 3)},
        {"shape": (0,), "strides": (1,)},
    ):
        found = load_restricted(dumps(Tensor(np.zeros(6, np.float32), **view))[0], "x")
        assert found.shape == view["shape"] and found.strides == view["strides"] and found.storage.kind == "f4"


def test_dictionaries_in_npy_files(tmp_path):
    file = tmp_path / "TYPED.npy"
    np.save(file, {"betasmd": np.ones((2, 2, 1, 3), np.float32), "R2": np.zeros(4)}, allow_pickle=True)
    found = npy_objects(str(file), 10**6)
    assert found["betasmd"].shape == (2, 2, 1, 3) and found["R2"].tolist() == [0, 0, 0, 0]
    with pytest.raises(FormatError, match="the limit is 10"):
        npy_objects(str(file), 10)
    np.save(file, {"x": Call(spring)}, allow_pickle=True)
    with pytest.raises(FormatError, match="spring"):
        npy_objects(str(file), 10**6)
    np.save(file, np.eye(2))
    with pytest.raises(FormatError, match="expected a pickled dictionary"):
        npy_objects(str(file), 10**6)
    assert not sprung


def test_truncated_and_flipped_pickles_never_escape():
    data = pickle.dumps(DATA, 2)
    rng = np.random.default_rng(0)
    cases = [data[:n] for n in rng.integers(0, len(data), 200)]
    for at in rng.integers(0, len(data), 1500):
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        cases.append(bytes(flipped))
    cases += [struct.pack("<20B", *rng.integers(0, 256, 20)) for _ in range(500)]
    for case in cases:
        try:
            load_restricted(case, "x")
        except FormatError as error:
            assert str(error).startswith("x")
