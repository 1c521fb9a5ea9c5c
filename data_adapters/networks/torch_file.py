"""Files that ``torch.save`` wrote, zip or legacy, read without torch: parts by tensor, each read when it is used.

Layout: a zip archive with ``*/data.pkl``, ``*/data/<key>`` and ``*/byteorder``; before torch 1.6 five pickles (magic number,
protocol, system, object, keys), then for each key a length and the numbers.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

import numpy as np
import xarray as xr

from data_adapters import _zip
from data_adapters._lazy import InMemory
from data_adapters._options import ArrayOptions, name_of, parse_memory
from data_adapters._pickle import load_restricted
from data_adapters._pickle_data import Storage, Tensor
from data_adapters._raw import RawSource, decoded, seen_dtype, stored_dtype
from data_adapters.networks._container import Container, place, single, tree
from repcompare.errors import FormatError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
LARGEST_PICKLE = 10**9
MOST_ITEMS = 10**5
DEEPEST = 16


def read_torch(path: str, options: ArrayOptions) -> xr.DataTree | xr.Dataset:
    """Read a .pt, .pth or .bin file; values stay on disk.

    Parameters
    ----------
    path : str
        The file.  Every pickle in it goes through the one restricted reader: nothing it names is run.
    options : ArrayOptions
        ``stimuli=`` (or a list ``stimulus_id`` in the saved dictionary), ``dims=``, ``reduce=``, ``memory=`` and labels.

    Returns
    -------
    xarray.DataTree or xarray.Dataset
        Dictionaries and lists of tensors give parts by key, nested ones ``a/b``; a single tensor one representation.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file names anything but data, is damaged, or holds weights.
    """
    container = Container(path, "torch")
    for name, item in sources(path, parse_memory(options.memory)):
        if isinstance(item, list | tuple):
            container.labels[name] = partial(list, item)
        else:
            place(container, name, item, partial(_whole, item))
    if list(container.arrays) == [""]:
        container.arrays = {os.path.splitext(name_of(path))[0]: container.arrays[""]}
        return single(container, options)
    return tree(container, options, beside=True)


def sources(path: str, memory: int) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a file as sources, and its lists of names or numbers, each by its path in the dictionaries."""
    with open(path, "rb") as handle:
        is_zip = handle.read(4) == _zip.MAGIC
    files = _ZipFiles(path, memory) if is_zip else _LegacyFiles(path)
    for name, item in _items(path, files.content):
        label = f"{name_of(path)}: {name or 'tensor'}"
        if isinstance(item, Tensor):
            yield name, files.source(item, label)
        else:
            yield name, InMemory(item, label) if isinstance(item, np.ndarray) else item


def _whole(source: Any) -> np.ndarray:
    with source.guard():
        found: np.ndarray = (
            source.values if isinstance(source, InMemory) else source.read((slice(None),) * len(source.shape))
        )
        return found


def _items(path: str, content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tensors, arrays and lists of names in nested dictionaries and lists, each by its path."""
    todo: list[tuple[str, Any, int]] = [("", content, 0)]
    for _ in range(MOST_ITEMS):
        if not todo:
            return
        name, item, depth = todo.pop()
        if depth > DEEPEST:
            raise FormatError(f"{path}: {name[:80]}: is nested more than {DEEPEST} deep; expected tensors by name")
        if isinstance(item, Tensor | np.ndarray) or (isinstance(item, list | tuple) and _is_names(item)):
            yield name, item
        elif isinstance(item, dict):
            todo += [(f"{name}/{_key(k)}".lstrip("/"), v, depth + 1) for k, v in reversed(item.items())]
        elif isinstance(item, list | tuple):
            todo += [(f"{name}/{i}".lstrip("/"), v, depth + 1) for i, v in reversed(list(enumerate(item)))]
    raise FormatError(f"{path}: holds more than {MOST_ITEMS} items; expected tensors by name")


def _is_names(item: list[Any] | tuple[Any, ...]) -> bool:
    kinds = {type(v) for v in item}
    return bool(item) and (kinds == {str} or kinds <= {int, float})


def _key(key: Any) -> str:
    return str(key).replace("/", "_") if isinstance(key, str | int | float) else "-".join(map(str, key or ("none",)))


class _ZipFiles:
    """The zip form: numbers of each storage in a member of its own."""

    def __init__(self, path: str, memory: int) -> None:
        self.path, self.memory = path, memory
        self.members = _zip.members(path)
        pickles = [n for n in self.members if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise FormatError(f"{path}: holds {len(pickles)} members data.pkl; expected one; save it with torch.save")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in self.members:
            raise FormatError(
                f"{path}: is a TorchScript program; expected saved tensors; run it and save what it gives"
            )
        order = self._small("byteorder").strip() or b"little"
        if order not in (b"little", b"big"):
            raise FormatError(f"{path}: byteorder is {order[:20]!r}; expected little or big")
        self.order = "<" if order == b"little" else ">"
        self.content = load_restricted(io.BytesIO(self._bytes(self.members[pickles[0]], LARGEST_PICKLE)), path)

    def _small(self, name: str) -> bytes:
        member = self.members.get(f"{self.root}{name}")
        return b"" if member is None else self._bytes(member, 1000)

    def _bytes(self, member: zipfile.ZipInfo, limit: int) -> bytes:
        if member.file_size > limit:
            raise FormatError(
                f"{self.path}: {member.filename} has {member.file_size} bytes; the limit is {limit}; raise memory= if it is "
                "right"
            )
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(member)

    def source(self, tensor: Tensor, label: str) -> RawSource | InMemory:
        """Return the numbers of a tensor: in place where the member is stored as it is, else read now."""
        storage = tensor.storage
        member = self.members.get(f"{self.root}data/{storage.key}")
        if member is None:
            raise FormatError(
                f"{label}: its numbers (data/{storage.key}) are not in the file; it is damaged; copy it again"
            )
        _check_bytes(storage, member.file_size, label)
        at = _zip.data_offset(self.path, member)
        if at is not None:
            return _view(self.path, at, tensor, self.order, label)
        raw = self._bytes(member, self.memory)
        flat = np.frombuffer(raw, stored_dtype(storage.kind, self.order), storage.size)
        steps = tuple(s * flat.itemsize for s in tensor.strides)
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        return InMemory(decoded(view.copy(), storage.kind), label)


class _LegacyFiles:
    """The form before torch 1.6: pickles, then the numbers of each storage, one after the other."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "rb") as handle:
            magic, protocol, system = (load_restricted(handle, path, limit=10**5) for _ in range(3))
            if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
                raise FormatError(
                    f"{path}: is not a file that torch.save wrote; expected a zip archive or its magic number"
                )
            little = system.get("little_endian", True) if isinstance(system, dict) else True
            self.order = "<" if little else ">"
            self.content = load_restricted(handle, path)
            keys = load_restricted(handle, path)
            sizes = {t.storage.key: t.storage for _, t in _items(path, self.content) if isinstance(t, Tensor)}
            self.places = self._places(handle, keys, sizes)

    def _places(self, handle: IO[bytes], keys: Any, storages: dict[str, Storage]) -> dict[str, int]:
        """Return where the numbers of each storage begin."""
        if not isinstance(keys, list) or not all(isinstance(k, str | int) for k in keys):
            raise FormatError(f"{self.path}: has no list of storages; it is damaged; copy it again")
        places: dict[str, int] = {}
        size = os.path.getsize(self.path)
        at = handle.tell()
        for key in map(str, keys):
            handle.seek(at)
            head = handle.read(8)
            if len(head) < 8:
                raise FormatError(
                    f"{self.path}: ends before the numbers of storage {key[:40]}; it is truncated; copy it again"
                )
            (count,) = struct.unpack(f"{self.order}q", head)
            if key not in storages:
                raise FormatError(f"{self.path}: storage {key[:40]} belongs to no tensor; expected tensors only")
            storage = storages[key]
            if count != storage.size:
                raise FormatError(
                    f"{self.path}: storage {key[:40]} has {count} numbers; the pickle says {storage.size}"
                )
            places[key] = at + 8
            at += 8 + count * stored_dtype(storage.kind).itemsize
        if at > size:
            raise FormatError(f"{self.path}: needs {at} bytes; the file has {size}; it is truncated; copy it again")
        return places

    def source(self, tensor: Tensor, label: str) -> RawSource:
        """Return the numbers of a tensor, in place."""
        at = self.places.get(tensor.storage.key)
        if at is None:
            raise FormatError(f"{label}: its numbers are not in the file; it is damaged; copy it again")
        return _view(self.path, at, tensor, self.order, label)


def _check_bytes(storage: Storage, room: int, label: str) -> None:
    needed = storage.size * stored_dtype(storage.kind).itemsize
    if needed > room:
        raise FormatError(f"{label}: needs {needed} bytes; the file has {room} of them; it is truncated; copy it again")


def _view(path: str, start: int, tensor: Tensor, order: str, label: str) -> RawSource:
    kind = tensor.storage.kind
    seen_dtype(kind)
    at = start + tensor.offset * stored_dtype(kind).itemsize
    return RawSource(path, at, kind, tensor.shape, tensor.strides, order=order, label=label)


def is_torch_zip(path: str) -> bool:
    """Say from the names of its members whether an archive is one of torch."""
    return any(n == "data.pkl" or n.endswith("/data.pkl") for n in _zip.names(path))
