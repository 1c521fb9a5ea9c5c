"""The numpy file formats themselves: headers and members, checked before anything is allocated."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np

from data_adapters._guard import guard
from data_adapters._lazy import wide
from data_adapters._zip import check_name, check_ratio
from repcompare.errors import FormatError

MAGIC = b"\x93NUMPY"


class NpyFile:
    """The array of an .npy file, memory-mapped whenever it is read."""

    def __init__(self, path: str) -> None:
        with guard(path, "a numpy .npy file"), open(path, "rb") as handle:
            self.shape, fortran, self.dtype = header(handle, path)
            self.offset = handle.tell()
        self.path, self.order, self.label = os.path.abspath(path), "F" if fortran else "C", path
        declared = math.prod(self.shape) * self.dtype.itemsize
        room = os.path.getsize(path) - self.offset
        if declared != room:
            raise FormatError(
                f"{path}: header declares {self.shape} {self.dtype} = {declared} bytes; the file has {room} "
                f"after its "
                "header; it is truncated or damaged; write it again"
            )

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)  # type: ignore[call-overload]
        return np.array(mapped[key])


def header(handle: IO[bytes], where: str, *, objects: bool = False) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy stream: shape, whether columns come first, dtype.

    Raises
    ------
    FormatError
        When it is not one, or declares records, negative lengths, or objects where none are expected.
    """
    start = handle.read(8)
    if start[:6] != MAGIC or len(start) < 8:
        raise FormatError(f"{where}: found {start.hex(' ') or 'nothing'}; expected a numpy array (93 4e 55 4d 50 59)")
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    if start[6] == 3:
        raise FormatError(f"{where}: has a version 3 header (records); expected a plain numeric array")
    if start[6] not in readers:
        raise FormatError(f"{where}: has numpy format version {start[6]}; expected 1 or 2")
    with warnings.catch_warnings(), guard(where, "a numpy header"):
        warnings.simplefilter("ignore")
        shape, fortran, dtype = readers[start[6]](handle)
    if dtype.hasobject and not objects:
        wide(np.dtype(object), where)
    if dtype.kind == "V" or any(n < 0 for n in shape):
        raise FormatError(f"{where}: has dtype {dtype}, shape {shape}; expected a plain array")
    return tuple(int(n) for n in shape), bool(fortran), dtype


def array_of(path: str) -> np.ndarray:
    """Return the array of an npy file."""
    found = NpyFile(path)
    with found.guard():
        return found.read(())


def arrays_of(path: str, memory: int | None = None) -> dict[str, Callable[[], np.ndarray]]:
    """Return the arrays of an npz file by key, read when called.

    Parameters
    ----------
    path : str
        The file.
    memory : int, optional
        Largest array in bytes.

    Raises
    ------
    FormatError
        When it is not a zip file, or a member is unsafe, damaged, or larger than it may be.
    """
    with guard(path, "a numpy .npz file"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _check_member(path, member, memory)
    names = [m.filename.removesuffix(".npy") for m in members]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise FormatError(f"{path}: holds {sorted(twice)[0]!r} more than once; expected each key once; write it again")
    return {n: _reader(path, m) for n, m in zip(names, members, strict=True)}


def _check_member(path: str, member: zipfile.ZipInfo, memory: int | None) -> None:
    name = member.filename
    check_name(path, member)
    if not name.endswith(".npy"):
        raise FormatError(f"{path}: member {name!r} is not a numpy array; expected a file that numpy.savez wrote")
    check_ratio(path, member)
    if memory is not None and member.file_size > memory:
        raise FormatError(
            f"{path}: {name} has {member.file_size} bytes; the limit is {memory}; raise memory= or convert to netCDF"
        )


def _reader(path: str, member: zipfile.ZipInfo) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        where = f"{path}: {member.filename.removesuffix('.npy')}"
        with guard(where), zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shape, fortran, dtype = header(stream, where)
            declared = math.prod(shape) * dtype.itemsize
            room = member.file_size - stream.tell()
            if declared != room:
                raise FormatError(f"{where}: header declares {shape} {dtype} = {declared} bytes; found {room}; damaged")
            array = np.frombuffer(bytearray(stream.read()), dtype)
            return array.reshape(shape, order="F" if fortran else "C")

    return read
