"""MATLAB files of version 5 to 7, read with every size checked before it is used.

scipy's reader trusts the sizes that a file declares, and a damaged file can end the process; so this one is ours.  Layout:
"MAT-File Format", The MathWorks: a header of 128 bytes, then elements of a tag (type, number of bytes) and data, padded to
8 bytes; matrices are elements of elements, and version 7 compresses each variable.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from repcompare.errors import FormatError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, OBJECT, CHAR, SPARSE = 1, 2, 3, 4, 5
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX, LOGICAL = 0x800, 0x200
DEEPEST = 32
MOST_ENTRIES = 10**7  # cells or fields of one array
LARGEST = 8 * 10**9  # bytes of one variable, unpacked


@dataclass(frozen=True)
class Opaque:
    """A value that is not data: a function, an object of a MATLAB class, a sparse array."""

    kind: str


@dataclass
class _Reader:
    """A cursor over the elements of one buffer."""

    path: str
    data: Any
    order: str
    at: int
    end: int

    def fail(self, what: str) -> FormatError:
        return FormatError(
            f"{self.path}: {what} at byte {self.at}; expected a complete MATLAB file; copy or write the file again"
        )

    def element(self) -> tuple[int, int, int]:
        """Return the type, start and size of the next element, and step over it."""
        if self.at + 8 > self.end:
            raise self.fail("the file ends in the middle of an element")
        first, second = np.frombuffer(self.data, self.order + "u4", 2, self.at).tolist()
        if first >> 16:  # small elements hold their data in the tag
            kind, size, start = first & 0xFFFF, first >> 16, self.at + 4
            if size > 4:
                raise self.fail(f"a small element of {size} bytes")
            self.at += 8
            return kind, start, size
        start = self.at + 8
        if start + second > self.end:
            raise self.fail(f"an element of {second} bytes, which is more than there are,")
        padded = second if first == COMPRESSED else (second + 7) // 8 * 8
        self.at = min(start + padded, self.end)
        return first, start, second

    def numbers(self) -> np.ndarray:
        """Return the next element, which must hold numbers."""
        kind, start, size = self.element()
        if kind not in NUMBERS:
            raise self.fail(f"an element of type {kind} where numbers were expected")
        dtype = np.dtype(self.order + NUMBERS[kind])
        if size % dtype.itemsize:
            raise self.fail(f"{size} bytes of {dtype}")
        return np.frombuffer(self.data, dtype, size // dtype.itemsize, start)

    def inside(self, start: int, size: int) -> _Reader:
        return _Reader(self.path, self.data, self.order, start, start + size)


def variables(path: str, wanted: set[str] | None = None) -> dict[str, Any]:
    """Read the variables of a file.

    Parameters
    ----------
    path : str
        The file.
    wanted : set of str, optional
        Names; all by default.  Others are stepped over.

    Returns
    -------
    dict
        Numbers as arrays with MATLAB's axes; text as str (rows of text as an array of str); cells as object arrays;
        structs as object arrays of dict by field; everything else as :class:`Opaque`.

    Raises
    ------
    FormatError
        When the file is truncated or an element does not fit into it.
    """
    size = os.path.getsize(path)
    if size < HEADER + 8:
        raise FormatError(f"{path}: {size} bytes; expected a MATLAB file of at least {HEADER + 8}; write it again")
    data = np.memmap(path, np.uint8, mode="r")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128].tobytes())
    if order is None:
        raise FormatError(f"{path}: no byte order in its header; expected a MATLAB file of version 5 to 7")
    found = {}
    for reader, start, length in _top(_Reader(path, data, order, HEADER, size)):
        name, value = _matrix(reader.inside(start, length), wanted)
        if name and (wanted is None or name in wanted):
            found[name] = value
    return found


def _top(file: _Reader) -> Iterator[tuple[_Reader, int, int]]:
    """Yield every variable as a reader, where its content starts, and its size; compressed ones unpacked."""
    while file.at < file.end:
        kind, start, size = file.element()
        if kind == COMPRESSED:
            unpacked = _unpack(file, start, size)
            inner = _Reader(file.path, unpacked, file.order, 0, len(unpacked))
            kind, start, size = inner.element()
            if kind == MATRIX:
                yield inner, start, size
        elif kind == MATRIX:
            yield file, start, size
        elif kind not in NUMBERS:
            raise file.fail(f"an element of unknown type {kind}")


def _unpack(file: _Reader, start: int, size: int) -> bytes:
    machine = zlib.decompressobj()
    try:
        unpacked = machine.decompress(file.data[start : start + size], LARGEST)
    except zlib.error as error:
        raise file.fail(f"a damaged compressed variable ({error})") from None
    if not machine.eof:
        what = "a compressed variable that is cut off" if not machine.unconsumed_tail else f"more than {LARGEST} bytes"
        raise file.fail(what)
    return unpacked


def _matrix(r: _Reader, wanted: set[str] | None = None, depth: int = 0) -> tuple[str, Any]:
    """Return the name and value of a matrix; the value is not read where the name is not wanted."""
    if r.at == r.end:
        return "", np.empty((0, 0))
    if depth > DEEPEST:
        raise r.fail(f"more than {DEEPEST} cells or structs in one another")
    flags = r.numbers()
    if flags.size < 1:
        raise r.fail("a matrix without a class")
    kind, marks = int(flags[0]) & 0xFF, int(flags[0]) & 0xFF00
    if kind > 15 or kind == 0:  # functions and objects of classes have another layout
        return _opaque_name(r, kind), Opaque(f"class {kind}")
    dims = tuple(int(n) for n in r.numbers())
    if len(dims) < 2 or any(n < 0 for n in dims):
        raise r.fail(f"a matrix of dimensions {dims}")
    name = bytes(r.numbers()).decode("ascii", "replace")
    if wanted is not None and depth == 0 and name not in wanted:
        return name, None
    if kind == SPARSE:
        return name, Opaque("sparse array")
    if kind in (STRUCT, OBJECT):
        return name, _struct(r, dims, depth, is_object=kind == OBJECT)
    if kind == CELL:
        return name, _cell(r, dims, depth)
    return name, _text(r, dims) if kind == CHAR else _array(r, dims, kind, marks)


def _opaque_name(r: _Reader, kind: int) -> str:
    try:
        return bytes(r.numbers()).decode("ascii", "replace") if kind != 0 else ""
    except FormatError:
        return ""


def _count(r: _Reader, dims: tuple[int, ...], least: int) -> int:
    """Return the number of entries; each takes at least ``least`` bytes of what is left."""
    count = 1
    for n in dims:
        count *= n
    if count * least > r.end - r.at:
        raise r.fail(f"an array {dims}, which is more than the {r.end - r.at} bytes there are,")
    return count


def _array(r: _Reader, dims: tuple[int, ...], kind: int, marks: int) -> np.ndarray:
    count = _count(r, dims, 1)
    values = _part(r, count)
    dtype = np.dtype(bool) if marks & LOGICAL else np.dtype(CLASSES[kind])
    if marks & COMPLEX:
        return (values + 1j * _part(r, count)).reshape(dims, order="F")
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(dtype).reshape(dims, order="F")


def _part(r: _Reader, count: int) -> np.ndarray:
    values = r.numbers()
    if values.size != count:
        raise r.fail(f"{values.size} numbers where {count} were expected")
    return values


def _text(r: _Reader, dims: tuple[int, ...]) -> Any:
    kind, start, size = r.element()
    raw = bytes(r.data[start : start + size])
    if kind in TEXTS:
        codec = TEXTS[kind] + ("" if kind == 16 else "-le" if r.order == "<" else "-be")
        letters = list(raw.decode(codec, "replace"))
    elif kind in (1, 2, 3, 4):
        dtype = np.dtype(r.order + NUMBERS[kind])
        letters = [
            chr(c & 0xFFFF) for c in np.frombuffer(raw[: size // dtype.itemsize * dtype.itemsize], dtype).tolist()
        ]
    else:
        raise r.fail(f"text of unknown type {kind}")
    rows = dims[0]
    if len(dims) != 2 or rows * dims[1] > len(letters):
        raise r.fail(f"text of dimensions {dims} in {len(letters)} letters")
    if rows <= 1:
        return "".join(letters)
    lines = ["".join(letters[i : rows * dims[1] : rows]).rstrip() for i in range(rows)]
    return np.array(lines, dtype=np.str_)


def _cell(r: _Reader, dims: tuple[int, ...], depth: int) -> np.ndarray:
    out = np.empty(_count(r, dims, 8), dtype=object)
    if out.size > MOST_ENTRIES:
        raise r.fail(f"{out.size} cells")
    for i in range(out.size):
        out[i] = _child(r, depth)
    return out.reshape(dims, order="F")


def _child(r: _Reader, depth: int) -> Any:
    kind, start, size = r.element()
    if kind != MATRIX:
        raise r.fail(f"an element of type {kind} where a matrix was expected")
    return _matrix(r.inside(start, size), None, depth + 1)[1]


def _struct(r: _Reader, dims: tuple[int, ...], depth: int, *, is_object: bool) -> np.ndarray:
    if is_object:
        r.element()  # the name of its class
    width = r.numbers()
    names = bytes(r.numbers())
    step = int(width[0]) if width.size == 1 else 0
    if step < 1 or len(names) % step:
        raise r.fail(f"field names of {len(names)} bytes in steps of {step}")
    fields = [names[i : i + step].partition(b"\0")[0].decode("utf-8", "replace") for i in range(0, len(names), step)]
    count = _count(r, dims, 8 * len(fields)) if fields else 0
    if count * len(fields) > MOST_ENTRIES:
        raise r.fail(f"{count * len(fields)} fields")
    out = np.empty(count, dtype=object)
    for i in range(count):
        out[i] = {field: _child(r, depth) for field in fields}
    return out.reshape(dims, order="F") if count else out
