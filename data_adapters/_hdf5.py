"""HDF5 files: opened with errors that name the file, never leaving it, read lazily."""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from xarray.backends import CachingFileManager

from data_adapters._guard import guard
from data_adapters._options import name_of
from repcompare.errors import FormatError

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_LINKS = 16
MOST_CHUNKS = 10**5
LARGEST_TEXT = 10**6  # bytes per label
LARGEST_CACHE = 64 * 2**20
LARGEST_CHUNK = 64 * 2**20  # bytes, unless the data themselves are large
LARGEST_SCAN = 64 * 2**20
HEAP = b"GCOL\x01\0\0\0"


@contextmanager
def opened(path: str, expected: str = "an HDF5 file") -> Iterator[h5py.File]:
    """Open a file for reading; whatever goes wrong inside the block becomes ``FormatError``.

    Parameters
    ----------
    path : str
        The file.
    expected : str
        What the caller takes it for.
    """
    with guard(path, expected):
        check_heaps(path)
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            with open(path, "rb") as handle:
                head = handle.read(8)
            found = "truncated or damaged HDF5" if head == MAGIC else f"first 8 bytes {head.hex(' ')}"
            detail = " ".join(str(error).split())
            raise FormatError(
                f"{path}: found {found} ({detail}); expected {expected}; copy or write the file again"
            ) from None
        with file:
            yield file


def check_heaps(path: str) -> None:
    """Walk the heaps of text in a file of up to 64 MiB: over a damaged one the library would loop forever.

    Raises
    ------
    FormatError
        When an entry of a heap has no length, or leaves its heap.
    """
    if not 16 <= os.path.getsize(path) <= LARGEST_SCAN:
        return
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(HEAP)
        while at >= 0:
            end = at + int.from_bytes(data[at + 8 : at + 16], "little")
            here = at + 16
            while here + 16 <= min(end, len(data)):
                index, _, _, size = struct.unpack_from("<HHIQ", data, here)
                step = size if index == 0 else 16 + (size + 7) // 8 * 8
                if step == 0 or here + step > end:
                    raise FormatError(
                        f"{path}: the heap of text at byte {at} is damaged: an entry of {size} bytes at byte "
                        f"{here}; "
                        "expected entries within the heap; copy or write the file again"
                    )
                here += step
            at = data.find(HEAP, at + 4)


@lru_cache(maxsize=16)
def _peek(path: str, stamp: tuple[int, int]) -> tuple[frozenset[str], frozenset[str], bool]:
    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            attrs, groups = frozenset(file.attrs), frozenset(file)
            return attrs, groups, _native(file, 0)
    except Exception:  # a damaged file: the reader will say what is wrong with it
        return frozenset(), frozenset(), False


def _native(group: h5py.Group, depth: int) -> bool:
    schema = group.attrs.get("schema", "")
    schema = schema.decode("utf-8", "replace") if isinstance(schema, bytes) else str(schema)
    if schema.startswith("repcompare"):
        return True
    inner = [n for n in group if isinstance(group.get(n, getlink=True), h5py.HardLink) and depth < 8]
    children = [group[n] for n in inner if group.get(n, getclass=True) is h5py.Group]
    return bool(children) and _native(children[0], depth + 1)


def peek(path: str) -> tuple[frozenset[str], frozenset[str], bool]:
    """Return the root's attributes and members by name, and if the schema is ours; empty when damaged."""
    stat = os.stat(path)
    return _peek(path, (stat.st_mtime_ns, stat.st_size))


def get(group: h5py.Group, path: str, _links: int = 0) -> Any:
    """Return a group or dataset by path without ever leaving the file; None when there is none.

    Raises
    ------
    FormatError
        On external links, external storage, virtual datasets, unknown filters, and loops of links.
    """
    name = group.file.filename
    if _links > MOST_LINKS:
        raise FormatError(f"{name}: {path}: more than {MOST_LINKS} links in a row; expected a dataset or a group")
    here: Any = group.file if path.startswith("/") else group
    for step in (p for p in path.split("/") if p not in ("", ".")):
        if not isinstance(here, h5py.Group) or step not in list(here):
            return None
        link = here.get(step, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise FormatError(
                f"{name}: {here.name.rstrip('/')}/{step} is a link to another file ({link.filename}); links "
                f"out of the file "
                "are not followed; expected the data in this file; copy them into it"
            )
        here = get(here, link.path, _links + 1) if isinstance(link, h5py.SoftLink) else here[step]
        if here is None:
            return None
    if isinstance(here, h5py.Dataset):
        _check_storage(here)
    return here


def _check_storage(dataset: h5py.Dataset) -> None:
    where = f"{dataset.file.filename}: {dataset.name}"
    if dataset.external:
        raise FormatError(
            f"{where}: is stored in another file ({dataset.external[0][0]}); expected the data in this file; copy them"
        )
    if dataset.is_virtual:
        outside = [s.file_name for s in dataset.virtual_sources() if s.file_name != "."]
        if outside:
            raise FormatError(f"{where}: is a view of another file ({outside[0]}); expected the data in this file")
    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        code, _, _, label = plist.get_filter(i)
        if not h5py.h5z.filter_avail(code):
            raise FormatError(
                f"{where}: is compressed with filter {code} "
                f"({label.decode('ascii', 'replace') or 'no name'}), which this "
                "HDF5 library lacks; expected gzip, lzf or none; write it again, for example with h5repack"
            )


def walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every dataset below a group with its path, each stored object once, in the order of names."""
    seen: set[Any] = set()
    todo: list[tuple[str, h5py.Group]] = [("", group)]
    while todo:
        prefix, here = todo.pop(0)
        for name in here:
            item = get(here, name)
            if item is None:
                continue
            key = h5py.h5o.get_info(item.id).addr
            if key in seen:
                continue
            seen.add(key)
            if isinstance(item, h5py.Dataset):
                yield f"{prefix}{name}", item
            elif isinstance(item, h5py.Group):
                todo.append((f"{prefix}{name}/", item))


def values(dataset: h5py.Dataset, limit: int | None = None) -> np.ndarray:
    """Return a whole small dataset: numbers as they are, text decoded; its declared size is checked first.

    Raises
    ------
    FormatError
        When it declares more than ``limit`` bytes, or more bytes than are stored without compression.
    """
    where = f"{dataset.file.filename}: {dataset.name}"
    with guard(where):
        check_size(dataset, limit)
        _check_text(dataset)
        found = np.asarray(dataset[()])
        return decoded(found) if found.dtype.kind in "SO" else found


def _check_text(dataset: h5py.Dataset) -> None:
    """Refuse lists, references, and text of a damaged type, which the library would follow out of memory."""
    if dataset.dtype.kind != "O":
        return
    where = f"{dataset.file.filename}: {dataset.name}"
    encoded = dataset.id.get_type().encode()  # two bytes, the class, then in 4 bits the kind: 1 is text
    if h5py.check_string_dtype(dataset.dtype) is None or len(encoded) < 4 or encoded[3] & 15 != 1:
        raise FormatError(f"{where}: holds objects that are not text; expected numbers or text; write it again")
    if dataset.id.get_type().is_variable_str():
        _check_lengths(dataset, where)


def _check_lengths(dataset: h5py.Dataset, where: str) -> None:
    """Compare the declared length of each text with the file: the library would allocate it before looking."""
    plist, room = dataset.id.get_create_plist(), os.path.getsize(dataset.file.filename)
    entry = 4 + dataset.file.id.get_create_plist().get_sizes()[0] + 4  # length, address and place in the heap
    if plist.get_layout() == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is not None:
        stored = [(dataset.id.get_offset(), dataset.size)]
    elif plist.get_layout() == h5py.h5d.CHUNKED and not plist.get_nfilters():
        found = [dataset.id.get_chunk_info(i) for i in range(min(dataset.id.get_num_chunks(), MOST_CHUNKS))]
        stored = [(c.byte_offset, c.size // entry) for c in found if c.byte_offset is not None]
    else:
        return
    with open(dataset.file.filename, "rb") as handle:
        for offset, count in stored:
            handle.seek(offset)
            raw = np.frombuffer(handle.read(count * entry), np.uint8)
            lengths = raw[: len(raw) // entry * entry].reshape(-1, entry)[:, :4].copy().view("<u4")
            if lengths.size and lengths.max() > min(room, LARGEST_TEXT):
                raise FormatError(
                    f"{where}: declares a text of {lengths.max()} bytes; the file has {room}; expected short names; "
                    "copy or write the file again"
                )


def check_size(dataset: h5py.Dataset, limit: int | None = None) -> None:
    """Compare the declared size with the file (uncompressed) or a limit, before anything is allocated."""
    where = f"{dataset.file.filename}: {dataset.name}"
    declared = dataset.nbytes if dataset.shape is not None else 0
    plain = dataset.id.get_create_plist().get_nfilters() == 0 and dataset.chunks is None
    room = os.path.getsize(dataset.file.filename)
    stored = dataset.id.get_storage_size()
    if stored > room or (plain and stored and declared > room):
        raise FormatError(f"{where}: declares {max(stored, declared)} bytes; the file has {room}; it is truncated")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > LARGEST_CHUNK and chunk > 4 * declared:  # the library allocates a whole chunk, however little is read
        raise FormatError(
            f"{where}: is stored in chunks {dataset.chunks} of {chunk} bytes for {declared} bytes of data; "
            "expected chunks that fit; the file is damaged"
        )
    if limit is not None and declared > limit:
        raise FormatError(
            f"{where}: declares {declared} bytes {dataset.shape}; the limit is {limit}; raise it with "
            f"memory= if it is right"
        )


def decoded(array: np.ndarray) -> np.ndarray:
    """Return bytes, or objects that hold text, as fixed-width text.

    Raises
    ------
    FormatError
        When a label is longer than a megabyte.
    """
    items = [v.decode("utf-8") if isinstance(v, bytes) else v for v in array.ravel().tolist()]
    if any(isinstance(v, str) and len(v) > LARGEST_TEXT for v in items):
        raise FormatError(f"a label is longer than {LARGEST_TEXT} characters; expected short names")
    kept = np.array(items, dtype=np.str_) if all(isinstance(v, str) for v in items) else np.array(items, dtype=object)
    return kept.reshape(array.shape)


def manager(path: str, cache_bytes: int = 2**20) -> CachingFileManager[h5py.File]:
    """Return a handle that opens the file when first read, survives pickling, and closes with the dataset."""
    size = int(min(max(cache_bytes, 2**20), LARGEST_CACHE))
    return CachingFileManager(h5py.File, os.path.abspath(path), mode="r", kwargs={"rdcc_nbytes": size})


class Hdf5Source:
    """One dataset of a file, read in blocks when it is asked for."""

    def __init__(self, files: CachingFileManager[h5py.File], dataset: h5py.Dataset) -> None:
        check_size(dataset)
        self.files, self.name = files, str(dataset.name)
        self.shape: tuple[int, ...] = tuple(int(n) for n in dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        self.chunks: tuple[int, ...] | None = dataset.chunks
        self.label = f"{name_of(dataset.file.filename)}: {self.name.strip('/')}"

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        with self.files.acquire_context() as file:
            return np.asarray(file[self.name][key])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of chunks: what a read of one sample touches."""
        if self.chunks is None:
            return 0
        return int(np.prod([self.chunks[0], *self.shape[1:]], dtype=np.int64)) * self.dtype.itemsize
