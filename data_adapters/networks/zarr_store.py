"""zarr stores of version 2 and 3, directories or zip files: parts by array, read in blocks when they are used.

What a store says of itself is read here and checked before the library sees it: some codecs run pickles.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import xarray as xr

from data_adapters import _zip
from data_adapters._guard import guard
from data_adapters._options import ArrayOptions, name_of, parse_memory
from data_adapters.networks._container import Container, tree
from data_adapters.networks._zarr_text import check_pieces, is_text
from repcompare.errors import FormatError, MissingExtraError

LARGEST_METADATA = 10**7
MOST_ARRAYS = 10**5
MOST_DIMS = 8
UNCHECKED = 64 * 2**20  # bytes of an array that may be all fill value
LARGEST_RATIO = 1000  # declared to stored bytes
MARKERS = ("zarr.json", ".zarray", ".zgroup")
ATTRS = ".zattrs"
CODECS = {
    "blosc", "zlib", "gzip", "lz4", "zstd", "bz2", "lzma", "delta", "shuffle", "fixedscaleoffset", "quantize", "bitround",
    "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32", "vlen-utf8", "vlen-bytes", "bytes", "transpose",
    "sharding_indexed", "endian",
}  # fmt: skip


def read_zarr(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read a zarr store as a tree of parts; values stay on disk.

    Parameters
    ----------
    path : str
        A directory, or a zip file of one.
    options : ArrayOptions
        As for HDF5; names of axes in the store that are those of the schema are taken.

    Returns
    -------
    xarray.DataTree
        Nested groups become part names ``a/b``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the store, the options or the labels are wrong; for a codec that is not on the list.
    MissingExtraError
        Without zarr.
    """
    memory = parse_memory(options.memory)
    container = Container(path, "zarr")
    for name, (metadata, attrs) in sorted(arrays_of(path, metadata_files(path)).items()):
        found = ZarrSource(path, name, metadata, memory)
        last = name or os.path.splitext(name_of(path))[0]
        if len(found.shape) >= 2 and found.dtype.kind in "fbiu":
            container.arrays[last] = found
            container.dims[last] = _axes(metadata, attrs, len(found.shape))
            note = found.missing()
            if note:
                container.own[last] = {"history": [note]}
        elif len(found.shape) == 1:
            container.labels[last] = found.labels
        else:
            container.skipped.append(f"{last} {found.shape} {found.dtype}")
    return tree(container, options)


class ZarrSource:
    """One array of a store."""

    def __init__(self, path: str, name: str, metadata: Mapping[str, Any], memory: int) -> None:
        self.path, self.name, self.memory = os.path.abspath(path), name, memory
        self.label = f"{name_of(path)}: {name or 'array'}"
        self.array: Any = None
        self.metadata, self.fill = metadata, metadata.get("fill_value")
        _check_codecs(self.label, metadata)
        shape, chunk = metadata.get("shape"), _chunk(metadata)
        for lengths in (shape, chunk):
            if not isinstance(lengths, list) or len(lengths) > MOST_DIMS or not all(_count(n) for n in lengths):
                raise FormatError(
                    f"{self.label}: has shape {str(shape)[:80]} in chunks of {str(chunk)[:80]}; it is damaged"
                )
        self.chunk: tuple[int, ...] = tuple(chunk)  # a list of numbers, see above
        with self.guard():
            stored = self._open()
            self.shape: tuple[int, ...] = tuple(int(n) for n in stored.shape)
            self.dtype: np.dtype[Any] = np.dtype(stored.dtype)
        piece = math.prod(chunk) * max(self.dtype.itemsize, 1)
        if piece > memory:
            raise FormatError(
                f"{self.label}: has chunks of {piece} bytes; the limit is {memory}; raise memory= if it is right"
            )
        self._check_stored()

    def missing(self) -> str:
        """Return a line for the history when pieces are not stored, which zarr reads as a fill value; else nothing."""
        whole = math.prod(-(-n // max(c, 1)) for n, c in zip(self.shape, self.chunk, strict=True))
        stored = len(_stored(self.path, self.name))
        if stored >= whole:
            return ""
        return f"{whole - stored} of {whole} chunks are not stored: read as {self.fill}"

    def _check_stored(self) -> None:
        """Compare what a large array declares with the bytes that are there: what is not stored reads as a fill value."""
        declared = math.prod(self.shape) * max(self.dtype.itemsize, 1)
        if declared <= UNCHECKED:
            return
        stored = sum(_stored(self.path, self.name).values())
        if declared > LARGEST_RATIO * stored:
            raise FormatError(
                f"{self.label}: declares {self.shape} {self.dtype} = {declared} bytes; {stored} are stored; "
                "chunks are missing, or it is damaged; copy or write it again"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open array out: whoever unpickles opens it again."""
        return {**self.__dict__, "array": None}

    def _open(self) -> Any:
        if self.array is None:
            zarr = _library()
            store = zarr.storage.ZipStore(self.path, mode="r") if os.path.isfile(self.path) else self.path
            self.array = zarr.open_array(store=store, path=self.name, mode="r")
        return self.array

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return _guarded(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        array = self._open()
        if all(isinstance(k, slice) and (k.step or 1) > 0 for k in key):
            return np.asarray(array[key])
        forward = tuple(
            np.arange(n)[k] if isinstance(k, slice) and (k.step or 1) < 0 else k
            for n, k in zip(self.shape, key, strict=True)
        )
        return np.asarray(array.oindex[forward])

    def labels(self) -> np.ndarray:
        """Return the whole of a short array."""
        size = math.prod(self.shape) * max(self.dtype.itemsize, 1)
        if size > self.memory:
            raise FormatError(
                f"{self.label}: declares {size} bytes; the limit is {self.memory}; raise memory= if it is right"
            )
        with self.guard():
            if is_text(self.metadata):
                check_pieces(self.label, self.metadata, self.chunk, _pieces(self.path, self.name))
            return np.asarray(self._open()[...])


@contextmanager
def _guarded(label: str) -> Iterator[None]:
    """Turn errors of the library into FormatError, those that are its own classes too."""
    with guard(label, "a zarr array"):
        try:
            yield
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("zarr", "numcodecs"):
                raise ValueError(str(error)) from error
            raise


def _stored(path: str, name: str) -> dict[str, int]:
    """Return the bytes of each piece of an array by its path."""
    if os.path.isfile(path):
        prefix = f"{name}/" if name else ""
        files = {n: m.compress_size for n, m in _zip.members(path).items() if n.startswith(prefix) and n[-1] != "/"}
        return {n: size for n, size in files.items() if n.rpartition("/")[2] not in (*MARKERS, ATTRS)}
    folders = os.walk(os.path.join(path, name))
    inside = [os.path.join(f, n) for f, _, names in folders for n in names if n not in (*MARKERS, ATTRS)]
    return {f: os.path.getsize(f) for f in inside}


def _pieces(path: str, name: str) -> Iterator[bytes]:
    """Yield the pieces of a short array as they are stored."""
    for file in _stored(path, name):
        if os.path.isfile(path):
            with zipfile.ZipFile(path) as archive:
                yield archive.read(file)
        else:
            with open(file, "rb") as handle:
                yield handle.read()


def _library() -> Any:
    try:
        import zarr
        import zarr.storage
    except ImportError:
        raise MissingExtraError(
            "reading zarr needs the package zarr; install it with: pip install 'repcompare[zarr]'"
        ) from None
    return zarr


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _chunk(metadata: Mapping[str, Any]) -> Any:
    """Return the shape of what is read at once at most."""
    if "chunks" in metadata:
        return metadata["chunks"]
    grid = metadata.get("chunk_grid", {})
    return grid.get("configuration", {}).get("chunk_shape") if isinstance(grid, Mapping) else None


def _axes(metadata: Mapping[str, Any], attrs: Mapping[str, Any], n: int) -> tuple[str, ...]:
    named = metadata.get("dimension_names") or attrs.get("_ARRAY_DIMENSIONS")
    fits = isinstance(named, list) and len(named) == n and all(isinstance(d, str) for d in named)
    return tuple(named) if fits and isinstance(named, list) else ()


def _check_codecs(label: str, metadata: Mapping[str, Any]) -> None:
    """Refuse every codec that is not on the list: one of them runs pickles."""
    todo: list[Any] = [metadata.get("filters"), metadata.get("compressor"), metadata.get("codecs")]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, Mapping):
            name = str(item.get("id") or item.get("name") or "(none)").removeprefix("numcodecs.")
            if name not in CODECS:
                raise FormatError(
                    f"{label}: is stored by codec {name!r}; expected one of {', '.join(sorted(CODECS))}; "
                    "write it again with zstd or blosc"
                )
            inner = item.get("configuration")
            if isinstance(inner, Mapping):
                todo += [inner.get("codecs"), inner.get("index_codecs")]


def arrays_of(path: str, files: Mapping[str, Callable[[], bytes]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the metadata and attributes of every array by its path in the store.

    Raises
    ------
    FormatError
        When metadata are damaged, of two versions at once, or there are too many.
    """
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for name, read in files.items():
        folder, _, last = name.rpartition("/")
        if last == ".zarray" and f"{folder}/zarr.json".lstrip("/") in files:
            raise FormatError(
                f"{path}: {folder or '/'} has metadata of versions 2 and 3; expected one; remove the other"
            )
        if last == ".zarray":
            attrs = files.get(f"{folder}/.zattrs".lstrip("/"))
            found[folder] = (metadata_of(path, name, read()), metadata_of(path, name, attrs()) if attrs else {})
        elif last == "zarr.json":
            metadata = metadata_of(path, name, read())
            if metadata.get("node_type") == "array":
                attrs_here = metadata.get("attributes")
                found[folder] = (metadata, attrs_here if isinstance(attrs_here, dict) else {})
        if len(found) > MOST_ARRAYS:
            raise FormatError(f"{path}: holds more than {MOST_ARRAYS} arrays; expected responses by layer")
    return found


def metadata_of(path: str, name: str, raw: bytes) -> dict[str, Any]:
    """Return a file of metadata as a dictionary.

    Raises
    ------
    FormatError
        When it is something else.
    """
    with guard(f"{path}: {name}", "the metadata of a zarr array"):
        found = json.loads(raw.decode("utf-8"))
    if not isinstance(found, dict):
        raise FormatError(f"{path}: {name}: is a {type(found).__name__}; expected the metadata of a zarr array")
    return found


def metadata_files(path: str) -> dict[str, Callable[[], bytes]]:
    """Return the files of metadata in a directory or zip file by their path in the store, read when called.

    Raises
    ------
    FormatError
        When a zip file is damaged or one of them is too large.
    """
    return _zip_files(path) if os.path.isfile(path) else _directory_files(path)


def _zip_files(path: str) -> dict[str, Callable[[], bytes]]:
    def reader(member: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            with guard(f"{path}: {member.filename}"), zipfile.ZipFile(path) as archive:
                return archive.read(member)

        return read

    found = {}
    for name, member in _zip.members(path).items():
        if name.rpartition("/")[2] in (*MARKERS, ATTRS):
            if member.file_size > LARGEST_METADATA:
                raise FormatError(f"{path}: {name} has {member.file_size} bytes; expected at most {LARGEST_METADATA}")
            found[name] = reader(member)
    return found


def _directory_files(path: str) -> dict[str, Callable[[], bytes]]:
    def reader(file: str) -> Callable[[], bytes]:
        def read() -> bytes:
            if os.path.getsize(file) > LARGEST_METADATA:
                raise FormatError(f"{file}: has {os.path.getsize(file)} bytes; expected at most {LARGEST_METADATA}")
            with open(file, "rb") as handle:
                return handle.read()

        return read

    found = {}
    for folder, folders, names in os.walk(path):
        inside = os.path.relpath(folder, path).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        if ".zarray" in names or ("zarr.json" in names and "c" in folders):
            folders.clear()  # chunks
        found.update({f"{prefix}{n}": reader(os.path.join(folder, n)) for n in names if n in (*MARKERS, ATTRS)})
    return found


def is_zarr(path: str) -> bool:
    """Say whether a directory or a zip file is a zarr store."""
    if os.path.isdir(path):
        return any(os.path.isfile(os.path.join(path, m)) for m in MARKERS)
    return any(n in MARKERS for n in _zip.names(path))
