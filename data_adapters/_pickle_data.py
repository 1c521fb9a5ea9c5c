"""What pickles of numbers may name: arrays, dtypes, tensors and their storages, each answered by code of ours."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from repcompare.errors import FormatError

MOST_DIMS = 8
LATIN = ("latin1", "latin-1", "latin_1", "iso-8859-1")
DTYPE = re.compile(r"[<>|=]?([biufc]\d{1,2}|[SU]\d{1,7}|O8?|[?bhilqBHILQefd])")
STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(frozen=True)
class Symbol:
    """Something that a pickle names: a text, not the thing."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Storage:
    """Numbers that a tensor points to, stored outside the pickle.

    Attributes
    ----------
    kind : str
        ``"f4"`` ..., ``"bool"`` or ``"bfloat16"``.
    key : str
        Name under which they are stored.
    size : int
        How many.
    """

    kind: str
    key: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage whose bounds have been checked.

    Attributes
    ----------
    storage : Storage
        Where the numbers are.
    offset : int
        First element.
    shape, strides : tuple of int
        In elements; every element lies within the storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class DTypeBox:
    """A dtype under construction: pickles state its byte order after naming it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


class Machine(Protocol):
    """What the answers need of the machine that reads the pickle."""

    def fail(self, what: str) -> FormatError:
        """Return the error to raise."""
        ...

    def pairs(self, items: list[Any]) -> dict[Any, Any]:
        """Return keys and values that follow each other as a dictionary."""
        ...

    def started(self, array: np.ndarray) -> None:
        """Remember that an array waits for its numbers."""
        ...


def known(module: str, name: str) -> bool:
    """May a pickle name this?"""
    symbol = f"{module}.{name}"
    is_storage = module in ("torch", "torch.cuda") and name in STORAGES
    return is_storage or symbol in CALLS or symbol == "numpy.ndarray"


def is_count(value: Any) -> bool:
    """Is this a whole number that could be a size?"""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _ordered(machine: Machine, *args: Any) -> dict[Any, Any]:
    if not args:
        return {}
    if (
        len(args) == 1
        and isinstance(args[0], list)
        and all(isinstance(p, list | tuple) and len(p) == 2 for p in args[0])
    ):
        return machine.pairs([item for pair in args[0] for item in pair])
    raise machine.fail("the pickle is damaged (an OrderedDict of something else than pairs)")


def _encoded(machine: Machine, *args: Any) -> bytes:
    if len(args) == 2 and all(isinstance(a, str) for a in args) and args[1].lower() in LATIN:
        encoded: bytes = args[0].encode("latin-1")
        return encoded
    raise machine.fail("the pickle encodes text by another code than latin1")


def _dtype(machine: Machine, *args: Any) -> DTypeBox:
    if args and isinstance(args[0], str) and DTYPE.fullmatch(args[0]):
        return DTypeBox(np.dtype(args[0]))
    raise machine.fail(f"the pickle holds arrays of dtype {str(args[0])[:40] if args else '(none)'!r}")


def set_order(machine: Machine, target: DTypeBox, state: Any) -> None:
    """Give a dtype the byte order that the pickle states."""
    plain = isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")
    if not plain or any(field is not None for field in state[2:5]):
        raise machine.fail("the pickle holds arrays of records")
    if state[1] in "<>":
        target.dtype = target.dtype.newbyteorder(state[1])


def _empty(machine: Machine, *args: Any) -> np.ndarray:
    if len(args) != 3 or args[0] != Symbol("numpy", "ndarray"):
        raise machine.fail("the pickle holds a subclass of numpy's array")
    array = np.empty((0,), np.int8)
    machine.started(array)
    return array


def set_array(machine: Machine, array: np.ndarray, state: Any) -> None:
    """Give an array its shape, dtype and numbers after comparing them."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], DTypeBox):
        raise machine.fail("the pickle is damaged (an array without shape and dtype)")
    _, shape, boxed, fortran, raw = state
    dtype = boxed.dtype
    if not isinstance(shape, tuple) or len(shape) > MOST_DIMS or not all(is_count(n) for n in shape):
        raise machine.fail("the pickle is damaged (an array of an impossible shape)")
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # written by Python 2
    expected = math.prod(shape) * (1 if dtype.hasobject else dtype.itemsize)
    if not isinstance(raw, list if dtype.hasobject else bytes) or len(raw) != expected:
        found = f"{len(raw)}" if isinstance(raw, list | bytes) else f"a {type(raw).__name__}"
        raise machine.fail(f"an array {shape} of {dtype} needs {expected} bytes or items; the pickle has {found}")
    array.__setstate__((1, shape, dtype, bool(fortran), raw))  # type: ignore[arg-type]


def _scalar(machine: Machine, *args: Any) -> Any:
    if len(args) != 2 or not isinstance(args[0], DTypeBox) or args[0].dtype.hasobject:
        raise machine.fail("the pickle is damaged (a number without dtype)")
    raw = args[1].encode("latin-1") if isinstance(args[1], str) else args[1]
    if not isinstance(raw, bytes) or len(raw) != args[0].dtype.itemsize or not raw:
        raise machine.fail(f"the pickle is damaged (a {args[0].dtype} of another size)")
    return np.frombuffer(raw, args[0].dtype)[0].item()


def _tensor(machine: Machine, *args: Any) -> Tensor:
    storage, offset, shape, strides = [*args, None, None, None, None][:4]
    if not isinstance(storage, Storage) or not is_count(offset):
        raise machine.fail("the pickle is damaged (a tensor without numbers)")
    if not (_counts(shape) and _counts(strides)) or len(shape) != len(strides):
        raise machine.fail("the pickle is damaged (a tensor with impossible sizes or strides)")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise machine.fail(f"a tensor {shape} reaches element {last} of a storage of {storage.size}")
    return Tensor(storage, offset, shape, strides)


def _counts(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= MOST_DIMS and all(is_count(n) for n in value)


def _parameter(machine: Machine, *args: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        return args[0]
    raise machine.fail("the pickle is damaged (a parameter that is no tensor)")


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    **{f"{module}._reconstruct": _empty for module in MULTIARRAY},
    **{f"{module}.scalar": _scalar for module in MULTIARRAY},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
