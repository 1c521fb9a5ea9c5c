"""Numbers that lie in a file as they are: whole rows are read straight into place, anything else through a map."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from data_adapters._guard import guard
from repcompare.errors import FormatError

KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "bool", "bfloat16"}
PIECE = 2**18  # numbers


def stored_dtype(kind: str, order: str = "<") -> np.dtype[Any]:
    """Return the dtype of the bytes of a kind of numbers.

    Examples
    --------
    >>> stored_dtype("bfloat16"), stored_dtype("bool"), stored_dtype("f4")
    (dtype('uint16'), dtype('uint8'), dtype('float32'))
    """
    return np.dtype(order + {"bfloat16": "u2", "bool": "u1"}.get(kind, kind))


def seen_dtype(kind: str) -> np.dtype[Any]:
    """Return the dtype that a kind of numbers is read as: half precision is widened while it is read."""
    return np.dtype({"bfloat16": "f4", "f2": "f4"}.get(kind, kind))


def decoded(values: np.ndarray, kind: str) -> np.ndarray:
    """Return stored values as numbers: half precision as float32, bytes of bool as bool.

    bfloat16 is the upper half of a float32.

    Examples
    --------
    >>> decoded(np.array([0x3FC0, 0xC000], np.uint16), "bfloat16").tolist()
    [1.5, -2.0]
    """
    if kind == "bfloat16":
        wide = values.astype(np.uint32)
        wide <<= 16
        return np.asarray(wide.view(np.float32))
    if kind == "bool":
        return np.asarray(values != 0)
    if kind == "f2":
        return values.astype(np.float32)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


class RawSource:
    """A view of numbers stored in a file, read when it is asked for.

    Parameters
    ----------
    path : str
        The file.
    offset : int
        Byte of the first number.
    kind : str
        One of ``KINDS``.
    shape : tuple of int
        Of the view.
    strides : tuple of int, optional
        In numbers; default those of rows one after the other.
    order : {"<", ">"}
        Byte order.
    label : str
        File and name, for messages.

    Raises
    ------
    FormatError
        When the view leaves the file.
    """

    def __init__(  # noqa: PLR0913 - all of them say where the numbers are
        self,
        path: str,
        offset: int,
        kind: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        *,
        order: str = "<",
        label: str = "",
    ) -> None:
        if kind not in KINDS:
            raise FormatError(f"{label}: has numbers of kind {kind}; expected real numbers up to 64 bits")
        self.path, self.offset, self.kind, self.shape, self.label = os.path.abspath(path), offset, kind, shape, label
        self.stored = stored_dtype(kind, order)
        self.dtype = seen_dtype(kind)
        plain = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        self.strides = plain if strides is None else strides
        self.plain = self.strides == plain
        if 0 not in shape:
            last = sum((n - 1) * s for n, s in zip(shape, self.strides, strict=True))
            room = os.path.getsize(path) - offset
            if offset < 0 or (last + 1) * self.stored.itemsize > room:
                raise FormatError(
                    f"{label}: needs {(last + 1) * self.stored.itemsize} bytes from byte {offset}; the file has "
                    f"{max(room, 0)}; it is truncated; copy it again"
                )

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the file system into FormatError."""
        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        rows = self._whole_rows(key)
        if rows is not None:
            return self._read_rows(rows).reshape(len(rows), *self.shape[1:])
        if 0 in self.shape:
            return np.asarray(np.empty(self.shape, self.dtype)[key])
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        mapped = np.memmap(self.path, self.stored, "r", self.offset, (last + 1,))
        steps = tuple(s * self.stored.itemsize for s in self.strides)
        view = np.lib.stride_tricks.as_strided(mapped, self.shape, steps, writeable=False)
        return decoded(np.array(view[key]), self.kind)

    def _read_rows(self, rows: range) -> np.ndarray:
        """Read rows into place; what must be decoded is so in pieces that stay in the cache."""
        width = math.prod(self.shape[1:])
        count, start = len(rows) * width, self.offset + rows.start * width * self.stored.itemsize
        if self.stored == self.dtype:
            return np.fromfile(self.path, self.stored, count, offset=start)
        out = np.empty(count, self.dtype)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            for first in range(0, count, PIECE):
                piece = out[first : first + PIECE]
                piece[...] = decoded(np.fromfile(file, self.stored, len(piece)), self.kind)
        return out

    def _whole_rows(self, key: tuple[Any, ...]) -> range | None:
        """Return the rows that a key asks for when they are whole and follow each other."""
        if not self.plain or not self.shape or not all(isinstance(k, slice) for k in key):
            return None
        rows = range(self.shape[0])[key[0]]
        whole = all(k.indices(n) == (0, n, 1) for k, n in zip(key[1:], self.shape[1:], strict=True))
        return rows if whole and rows.step == 1 else None


class Joined:
    """Several sources with the same columns, one below the other."""

    def __init__(self, sources: list[Any], label: str) -> None:
        first = sources[0]
        self.sources, self.label, self.dtype = sources, label, np.result_type(*(s.dtype for s in sources))
        odd = [s for s in sources if s.shape[1:] != first.shape[1:]]
        if odd:
            raise FormatError(
                f"{odd[0].label}: has shape {odd[0].shape}; the first file has {first.shape}; expected equal rows"
            )
        self.ends = np.cumsum([s.shape[0] for s in sources]).tolist()
        self.shape = (int(self.ends[-1]), *first.shape[1:])

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the file system into FormatError."""
        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block, from the files that hold its rows."""
        rows = np.arange(self.shape[0])[key[0]]
        blocks, start = [], 0
        for source, end in zip(self.sources, self.ends, strict=True):
            mine = rows[(rows >= start) & (rows < end)] - start
            if len(mine):
                inner = slice(int(mine[0]), int(mine[-1]) + 1) if mine[-1] - mine[0] + 1 == len(mine) else mine
                rest = key[1:]
                if isinstance(inner, slice) or all(isinstance(k, slice) for k in rest):
                    blocks.append(source.read((inner, *rest)))
                else:
                    blocks.append(source.read((slice(int(mine[0]), int(mine[-1]) + 1), *rest))[mine - mine[0]])
            start = end
        if not blocks:
            return np.empty(
                (
                    0,
                    *(
                        len(range(n)[k]) if isinstance(k, slice) else len(k)
                        for n, k in zip(self.shape[1:], key[1:], strict=True)
                    ),
                ),
                self.dtype,
            )
        return np.concatenate(blocks)
