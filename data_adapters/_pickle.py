"""The one reader of pickles: data only.  Nothing that a pickle names is ever imported or called.

The opcodes are carried out here, one by one, on plain values.  The few functions that files of numbers need are known by
name and answered by code of ours; anything else raises before it could happen.  Opcodes: "pickletools", Python's own
description of the format.
"""

from __future__ import annotations

import io
import os
import pickletools
import warnings
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from data_adapters._guard import guard
from data_adapters._pickle_data import (
    CALLS,
    STORAGES,
    DTypeBox,
    Storage,
    Symbol,
    is_count,
    known,
    set_array,
    set_order,
)
from repcompare.errors import FormatError

MOST_STEPS = 10**7
LONGEST_KEY = 8
SCALARS = (str, bytes, int, float, type(None))


class _Bounded:
    """A stream that refuses to read more than there is, before anything is allocated."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, n: int) -> bytes:
        if n < 0 or n > self.left:
            raise ValueError(f"{n} bytes are announced where {self.left} are left")
        self.left -= n
        return self.stream.read(n)

    def readline(self) -> bytes:
        line = self.stream.readline(min(self.left, 2**20))
        self.left -= len(line)
        return line


def load_restricted(stream: IO[bytes] | bytes, where: str, *, limit: int | None = None) -> Any:
    r"""Read one pickle that holds data: numbers, text, lists, dictionaries, numpy arrays, tensors.

    Parameters
    ----------
    stream : binary file or bytes
        Read from its position to the end of the pickle, where it is left.
    where : str
        File and field, the beginning of messages.
    limit : int, optional
        Longest pickle in bytes; default what is left of the stream.

    Returns
    -------
    object
        Dictionaries, lists, tuples, text, numbers and numpy arrays as such; tensors as ``Tensor``, whose numbers
        are stored elsewhere.

    Raises
    ------
    FormatError
        When the pickle names anything beyond the list of section "Security" (module and attribute are said), is
        damaged, or announces more than there is.

    Examples
    --------
    >>> load_restricted(b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x05s.", "x.pt")
    {'a': 5}
    >>> load_restricted(b"cos\nsystem\n(S'true'\ntR.", "x.pt")
    Traceback (most recent call last):
    repcompare.errors.FormatError: x.pt: the pickle asks for os.system, which is never run; ...
    """
    source = io.BytesIO(stream) if isinstance(stream, bytes | bytearray) else stream
    at = source.tell()
    room = source.seek(0, os.SEEK_END) - at
    source.seek(at)
    if limit is not None and room > limit:
        room = limit
    with guard(where, "a pickle of data"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in text that is damaged
        return _Machine(where).run(_Bounded(source, room))


def npy_objects(path: str, memory: int) -> Any:
    """Return what an .npy file holds whose dtype is object: a dictionary or an array of data.

    Parameters
    ----------
    path : str
        A file that ``numpy.save`` wrote, of a format that is known to hold a pickled dictionary.
    memory : int
        Largest file in bytes.

    Raises
    ------
    FormatError
        As :func:`load_restricted`; and when the file is too large or holds no objects.
    """
    from data_adapters._npy import header

    size = os.path.getsize(path)
    if size > memory:
        raise FormatError(f"{path}: has {size} bytes, read whole; the limit is {memory}; raise memory=")
    with guard(path, "a numpy .npy file"), open(path, "rb") as handle:
        shape, _, dtype = header(handle, path, objects=True)
        if not dtype.hasobject:
            raise FormatError(f"{path}: holds an array {shape} of {dtype}; expected a pickled dictionary")
        found = load_restricted(handle, path)
    if isinstance(found, np.ndarray) and found.shape == ():
        return found.item()
    return found


class _Machine:
    """The stack machine of the format, on values that cannot do anything."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.unbuilt: set[int] = set()  # arrays that wait for their numbers, by id, which `kept` keeps alive
        self.kept: list[np.ndarray] = []

    def fail(self, what: str) -> FormatError:
        return FormatError(
            f"{self.where}: {what}; expected a pickle of plain data (numbers, text, lists, dictionaries, arrays, tensors); "
            "save the activations as npz, HDF5 or safetensors"
        )

    def run(self, stream: _Bounded) -> Any:
        for step, (op, arg, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
            if step > MOST_STEPS:
                raise self.fail(f"the pickle has more than {MOST_STEPS} steps")
            if op.name == "STOP":
                break
            if op.name in PUSHED:
                self.stack.append(arg)
            elif op.name in ACTIONS:
                ACTIONS[op.name](self, arg)
            elif op.name not in ("PROTO", "FRAME"):
                raise self.fail(f"the pickle builds something by {op.name}, which is never done")
        return self.pop()

    def started(self, array: np.ndarray) -> None:
        self.unbuilt.add(id(array))
        self.kept.append(array)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.fail("the pickle is damaged (its stack is empty)")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise self.fail("the pickle is damaged (no mark)")
        at = self.marks.pop()
        items, self.stack[at:] = self.stack[at:], []
        return items

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.fail(f"the pickle is damaged (no {kind.__name__} to fill)")
        return self.stack[-1]

    def tuple_of(self, n: int) -> None:
        items = [self.pop() for _ in range(n)]
        self.stack.append(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def fill(self, items: list[Any]) -> None:
        target = self.top(dict)
        target.update(self.pairs(items))

    def pairs(self, items: list[Any]) -> dict[Any, Any]:
        if len(items) % 2:
            raise self.fail("the pickle is damaged (a key without a value)")
        for key in items[::2]:
            parts = key if isinstance(key, tuple) else (key,)
            if len(parts) > LONGEST_KEY or not all(isinstance(p, SCALARS) for p in parts):
                raise self.fail(
                    f"the pickle has a key of type {type(key).__name__}"
                )  # nested keys take forever to hash
        return dict(zip(items[::2], items[1::2], strict=True))

    def put(self, at: int | None = None) -> None:
        if not self.stack:
            raise self.fail("the pickle is damaged (nothing to remember)")
        self.memo[len(self.memo) if at is None else int(at)] = self.stack[-1]

    def get(self, at: int) -> None:
        if int(at) not in self.memo:
            raise self.fail(f"the pickle is damaged (entry {at} of its memo does not exist)")
        self.stack.append(self.memo[int(at)])

    def symbol(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str) and known(module, name)):
            raise self.fail(f"the pickle asks for {str(module)[:80]}.{str(name)[:80]}, which is never run")
        self.stack.append(Symbol(module, name))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.fail("the pickle is damaged (a name that is not text)")
        self.symbol(module, name)

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Symbol) or not isinstance(args, tuple) or str(function) not in CALLS:
            what = str(function) if isinstance(function, Symbol) else f"a {type(function).__name__}"
            raise self.fail(f"the pickle calls {what}, which is never done")
        self.stack.append(CALLS[str(function)](self, *args))

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if isinstance(target, DTypeBox):
            set_order(self, target, state)
        elif isinstance(target, np.ndarray) and id(target) in self.unbuilt:
            self.unbuilt.discard(id(target))
            set_array(self, target, state)
        elif not isinstance(target, dict):  # state dictionaries carry versions of modules, which say nothing of numbers
            raise self.fail(f"the pickle changes a {type(target).__name__}, which is never done")

    def storage(self) -> None:
        found = self.pop()
        if not isinstance(found, tuple) or len(found) not in (5, 6) or found[0] != "storage":
            raise self.fail("the pickle points to something that is not the numbers of a tensor")
        _, kind, key, _, size = found[:5]
        if not isinstance(kind, Symbol) or kind.name not in STORAGES:
            raise self.fail(f"the pickle holds tensors of {kind if isinstance(kind, Symbol) else type(kind).__name__}")
        if len(found) == 6 and found[5] is not None:
            raise self.fail("the pickle holds a view of a storage (torch before 0.4)")
        if not isinstance(key, str | int) or not is_count(size):
            raise self.fail("the pickle is damaged (a storage without key or size)")
        self.stack.append(Storage(STORAGES[kind.name], str(key), size))


PUSHED = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8""".split()  # noqa: SIM905 - easier to read than a list
)
ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "DICT": lambda m, _: m.stack.append(m.pairs(m.since_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.fill([*reversed([m.pop(), m.pop()])]),
    "SETITEMS": lambda m, _: m.fill(m.since_mark()),
    "POP": lambda m, _: [m.pop()].clear(),
    "POP_MARK": lambda m, _: m.since_mark().clear(),
    "DUP": lambda m, _: m.stack.append(m.top(object)),
    "PUT": lambda m, at: m.put(at),
    "BINPUT": lambda m, at: m.put(at),
    "LONG_BINPUT": lambda m, at: m.put(at),
    "MEMOIZE": lambda m, _: m.put(),
    "GET": lambda m, at: m.get(at),
    "BINGET": lambda m, at: m.get(at),
    "LONG_BINGET": lambda m, at: m.get(at),
    "GLOBAL": lambda m, arg: m.symbol(*arg.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.storage(),
}
