"""What a MATLAB file holds, without reading it: names, classes and sizes of its variables."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

import numpy as np

from data_adapters import _mat5
from repcompare.errors import FormatError

V73 = b"MATLAB 7.3 MAT-file"
PREVIEW = 2**16  # bytes of a compressed variable that are unpacked to see its head
ENDLESS = 2**62
MOST = 10**5


@dataclass(frozen=True)
class Head:
    """The head of one variable: name, class by number, dims, and fields where it is a struct."""

    name: str
    kind: int
    dims: tuple[int, ...]
    fields: tuple[str, ...] = ()


def heads(path: str) -> list[Head]:
    """Return the heads of the variables of a file of version 5 to 7; those that cannot be seen are left out.

    Raises
    ------
    FormatError
        When the elements of the file do not follow each other.
    """
    size = os.path.getsize(path)
    data = np.memmap(path, np.uint8, mode="r")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128].tobytes(), "<")
    file = _mat5._Reader(path, data, order, _mat5.HEADER, size)
    found: list[Head] = []
    while file.at < file.end and len(found) < MOST:
        kind, start, length = file.element()
        try:
            if kind == _mat5.COMPRESSED:
                unpacked = zlib.decompressobj().decompress(data[start : start + length].data, PREVIEW)
                inner = _mat5._Reader(path, unpacked, order, 0, ENDLESS)
                kind = inner.element()[0]
                inner.at = 8
                found.append(_head(inner))
            elif kind == _mat5.MATRIX:
                found.append(_head(file.inside(start, length)))
        except (ValueError, zlib.error, FormatError):
            continue
    return found


def _head(r: _mat5._Reader) -> Head:
    kind = int(r.numbers()[0]) & 0xFF
    dims = tuple(int(n) for n in r.numbers())
    name = bytes(r.numbers()).decode("ascii", "replace")
    if kind != _mat5.STRUCT:
        return Head(name, kind, dims)
    step = max(int(r.numbers()[0]), 1)
    names = bytes(r.numbers())
    cut = [names[i : i + step].partition(b"\0")[0].decode("utf-8", "replace") for i in range(0, len(names), step)]
    return Head(name, kind, dims, tuple(cut))


def holds_rdms(path: str) -> bool:
    """Say whether a file holds RDMs: a struct with a field ``RDM``, or a symmetric matrix with a zero diagonal."""
    from data_adapters.rdms.matlab import _is_square_rdm

    found = heads(path)
    if not found or any("RDM" in h.fields for h in found):
        return True
    square = [h.name for h in found if h.kind in _mat5.CLASSES and len(h.dims) in (2, 3) and _is_square(h.dims)]
    if not square:
        return False
    arrays = _mat5.variables(path, set(square))
    return any(_is_square_rdm(a if a.ndim == 2 else a[:, :, 0]) for a in arrays.values() if isinstance(a, np.ndarray))


def _is_square(dims: tuple[int, ...]) -> bool:
    return dims[0] == dims[1] >= 3 and dims[-1] > 0


def is_variables(path: str, head: bytes) -> bool:
    """Say whether a file is a MATLAB file of something other than RDMs."""
    if head.startswith(V73):
        return True
    if not head.startswith(b"MATLAB 5.0 MAT-file"):
        return False
    try:
        return not holds_rdms(path)
    except Exception:  # a damaged file: the reader will say what is wrong with it
        return False
