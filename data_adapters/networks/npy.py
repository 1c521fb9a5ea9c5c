"""numpy files: one array (npy, memory-mapped) or parts by key (npz)."""

from __future__ import annotations

import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np
import xarray as xr

from data_adapters._arrays import Labels, part
from data_adapters._guard import guard
from data_adapters._labels import stimulus_names
from data_adapters._lazy import InMemory, wide
from data_adapters._options import ArrayOptions, name_of, parse_memory
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of

MAGIC = b"\x93NUMPY"
MOST_RATIO = 1000
SMALL = 16 * 2**20  # an array of zeros packs 1000 : 1; below this size no one is harmed
LABEL = re.compile(r"(stimulus|unit)_\w+|repeat|run|session")
HINT = 512 * 2**20


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


def header(handle: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy stream: shape, whether columns come first, dtype.

    Raises
    ------
    FormatError
        When it is not one, or declares objects, records or negative lengths.
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
    if dtype.hasobject:
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
    steps = name.replace("\\", "/").split("/")
    if (
        ".." in steps
        or not steps[0]
        or re.match(r"[A-Za-z]:", name)
        or (member.external_attr >> 16) & 0o170000 == 0o120000
    ):
        raise FormatError(
            f"{path}: member {name!r} points out of the archive; expected plain keys; do not trust this file"
        )
    if not name.endswith(".npy"):
        raise FormatError(f"{path}: member {name!r} is not a numpy array; expected a file that numpy.savez wrote")
    if member.file_size > SMALL and member.file_size > MOST_RATIO * max(member.compress_size, 1):
        raise FormatError(
            f"{path}: {name} unpacks to {member.file_size} bytes from {member.compress_size}, more than "
            f"{MOST_RATIO} : 1; expected real data; write it without compression if it is"
        )
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


def read_npy(path: str, options: ArrayOptions) -> xr.Dataset:
    """Read an .npy file as one representation, memory-mapped.

    Parameters
    ----------
    path : str
        The file.
    options : ArrayOptions
        ``stimuli=`` (or ``stimulus_id.npy|txt|csv``, ``file_names.txt`` beside the file), ``dims=``,
        ``reduce=`` and labels.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file, the options or the labels are wrong.
    """
    source = NpyFile(path)
    names, origin, note = stimulus_names(options.stimuli, path, {}, beside=True)
    name = os.path.splitext(name_of(path))[0]
    return part(source, name, Labels(names, origin, (note,) if note else (), {}), f"{name_of(path)} (npy)", options)


def read_npz(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read an .npz file as a tree: each array but ``stimulus_id``, ``stimulus_*`` and ``unit_*`` is a part.

    Parameters
    ----------
    path : str
        The file.
    options : ArrayOptions
        ``stimuli=`` (a list, a file, or a key of this file), ``dims=``, ``reduce=``, ``memory=`` and labels.

    Returns
    -------
    xarray.DataTree
        Read at once: zip files are sequential.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file, the options or the labels are wrong.
    """
    readers = arrays_of(path, parse_memory(options.memory))
    names, origin, note = stimulus_names(options.stimuli, path, readers)
    label_keys = [k for k in readers if LABEL.fullmatch(k) or k == options.stimuli]
    arrays = {k: read() for k, read in readers.items() if k not in label_keys}
    parts = {k: a for k, a in arrays.items() if a.ndim >= 2}
    if not parts:
        found = ", ".join(f"{k} {a.shape}" for k, a in arrays.items()) or "nothing"
        raise FormatError(f"{path}: no responses in it: found {found}; expected an array (stimulus, unit) per part")
    notes = [note] if note else []
    if sum(a.nbytes for a in arrays.values()) > HINT:
        notes.append("npz files are read whole: convert to netCDF for lazy reading")
    given = {k: readers[k]() for k in label_keys if k not in ("stimulus_id", options.stimuli)}
    given.update(_columns(path, {k: a for k, a in arrays.items() if a.ndim < 2}, len(_rows(names, parts)), notes))
    labels = Labels(names, origin, tuple(notes), given)
    source = f"{name_of(path)} (npz)"
    return tree_of({k: part(InMemory(a, f"{path}: {k}"), k, labels, source, options) for k, a in parts.items()})


def _rows(names: np.ndarray | None, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    return next(iter(parts.values())) if names is None else names


def _columns(path: str, arrays: Mapping[str, np.ndarray], rows: int, notes: list[str]) -> dict[str, np.ndarray]:
    """Arrays with one entry per row become labels of the stimuli; single values are left out with a note."""
    found = {}
    for name, array in arrays.items():
        if array.ndim == 1 and len(array) == rows and rows > 1:
            found[f"stimulus_{name}"] = array
            notes.append(f"array {name!r} has one entry per row: kept as label stimulus_{name}")
        elif array.size <= 1:
            notes.append(f"array {name!r} holds a single value: left out")
        else:
            raise FormatError(
                f"{path}: {name} has shape {array.shape}; expected ({rows}, units) like a part, or ({rows},) "
                f"like a label; "
                f"rename it to unit_{name} if it labels units"
            )
    return found
