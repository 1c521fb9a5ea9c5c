"""Groups and arrays of NWB files, in HDF5 or in zarr (as hdmf-zarr lays them out), seen alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import h5py
import numpy as np

from data_adapters import _hdf5
from data_adapters._guard import guard
from data_adapters._options import MEMORY, parse_memory
from data_adapters.networks import zarr_store
from repcompare.errors import FormatError

MOST_LINKS = 16
LINKS = "zarr_link"
HERE = (".", "", None)
TIMES = ("spike_times", "obs_intervals", "start_time", "stop_time", "timestamps")


@dataclass(frozen=True)
class Store:
    """What a zarr store says of itself: arrays with their attributes, groups, and links by group and name."""

    path: str
    arrays: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
    groups: frozenset[str]
    links: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class ZarrGroup:
    """A group of a zarr store; names as in HDF5, from ``/``."""

    store: Store
    name: str

    def __contains__(self, step: object) -> bool:
        """Say whether a member has this name."""
        return step in list(self)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the members."""
        prefix = f"{self.name.strip('/')}/".lstrip("/")
        paths = [p for p in (*self.store.arrays, *self.store.groups) if p.startswith(prefix) and p != prefix]
        found = dict.fromkeys(p[len(prefix) :].split("/")[0] for p in paths)
        yield from sorted({n for n in found if n} | set(self.store.links.get(self.name.strip("/"), {})))


class ZarrArray:
    """An array of a zarr store; opened when its numbers are asked for."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        metadata, self.attrs = store.arrays[name.strip("/")]
        kind = metadata.get("dtype", metadata.get("data_type"))
        self.is_text = kind in ("|O", "string", "variable_length_utf8") and self.attrs.get("zarr_dtype") != "object"
        self.is_opaque = isinstance(kind, list) or (kind == "|O" and not self.is_text) or _pickled(metadata)
        self._source: zarr_store.ZarrSource | None = None
        self._metadata = metadata
        shape = metadata.get("shape")
        self.shape: tuple[int, ...] = tuple(shape) if isinstance(shape, list) else ()
        self.ndim = len(self.shape)

    @property
    def source(self) -> zarr_store.ZarrSource:
        """The array as a source of blocks; its codecs and sizes are checked."""
        if self._source is None:
            self._source = zarr_store.ZarrSource(
                self.store.path, self.name.strip("/"), self._metadata, parse_memory(MEMORY)
            )
        return self._source

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype; text is of dtype object, as in HDF5."""
        return np.dtype(object) if self.is_text or self.is_opaque else self.source.dtype

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def __getitem__(self, key: slice) -> np.ndarray:
        """Return some rows."""
        return self.source.read((key, *(slice(None) for _ in self.shape[1:])))


def _pickled(metadata: Mapping[str, Any]) -> bool:
    filters = metadata.get("filters")
    return any(isinstance(f, Mapping) and f.get("id") == "pickle" for f in filters if f) if filters else False


Group: TypeAlias = h5py.Group | ZarrGroup
Array: TypeAlias = h5py.Dataset | ZarrArray


def is_zarr(path: str) -> bool:
    """Say whether a directory or zip file is an NWB file in zarr, by the attributes of its root."""
    try:
        if os.path.isdir(path):
            found = [n for n in (".zattrs", "zarr.json") if os.path.isfile(os.path.join(path, n))]
            return any("nwb_version" in _root(path, n) for n in found)
        files = zarr_store.metadata_files(path)
        return any("nwb_version" in _attrs(path, n, files[n]) for n in (".zattrs", "zarr.json") if n in files)
    except (FormatError, OSError):
        return False  # the reader will say what is wrong with it


def _root(path: str, name: str) -> Mapping[str, Any]:
    file = os.path.join(path, name)
    if os.path.getsize(file) > zarr_store.LARGEST_METADATA:
        return {}
    with open(file, "rb") as handle:
        return _attrs(path, name, handle.read)


def _attrs(path: str, name: str, read: Callable[[], bytes]) -> Mapping[str, Any]:
    found = zarr_store.metadata_of(path, name, read())
    inner = found.get("attributes", {}) if name.endswith("zarr.json") else found
    return inner if isinstance(inner, dict) else {}


@contextmanager
def opened(path: str) -> Iterator[Group]:
    """Open an NWB file of either kind; whatever goes wrong inside the block becomes ``FormatError``."""
    if not os.path.isdir(path) and not is_zarr(path):
        with _hdf5.opened(path, "an NWB file (HDF5)") as file:
            yield file
        return
    with guard(path, "an NWB file (zarr)"):
        files = zarr_store.metadata_files(path)
        arrays = zarr_store.arrays_of(path, files)
        groups, links = set(), {}
        for name, read in files.items():
            folder, _, last = name.rpartition("/")
            if folder not in arrays:
                groups.add(folder)
                if last in (".zattrs", "zarr.json"):
                    links[folder] = _links(_attrs(path, name, read).get(LINKS))
        yield ZarrGroup(Store(path, arrays, frozenset(groups), links), "/")


def _links(said: Any) -> dict[str, Mapping[str, Any]]:
    items = said if isinstance(said, list) else []
    return {str(i["name"]): i for i in items if isinstance(i, Mapping) and "name" in i}


def get(group: Group, path: str, _links: int = 0) -> Any:
    """Return a group or array by path without ever leaving the file; None when there is none.

    Raises
    ------
    FormatError
        On links out of the file, and loops of links.
    """
    if not isinstance(group, ZarrGroup):
        return _hdf5.get(group, path)
    store = group.store
    if _links > MOST_LINKS:
        raise FormatError(f"{store.path}: {path}: more than {MOST_LINKS} links in a row; expected data")
    here: Any = ZarrGroup(store, "/") if path.startswith("/") else group
    for step in (p for p in path.split("/") if p not in ("", ".")):
        if not isinstance(here, ZarrGroup):
            return None
        full = f"{here.name.rstrip('/')}/{step}"
        key = full.strip("/")
        if key in store.arrays:
            here = ZarrArray(store, full)
        elif key in store.groups or any(p.startswith(f"{key}/") for p in store.arrays):
            here = ZarrGroup(store, full)
        else:
            here = _followed(store, here.name.strip("/"), step, _links)
        if here is None:
            return None
    return here


def _followed(store: Store, folder: str, step: str, links: int) -> Any:
    link = store.links.get(folder, {}).get(step)
    if link is None:
        return None
    if link.get("source") not in HERE:
        raise FormatError(
            f"{store.path}: /{folder}/{step} is a link to another file ({link.get('source')}); links out of the file "
            "are not followed; expected the data in this file; copy them into it"
        )
    return get(ZarrGroup(store, "/"), f"/{link.get('path', '')}", links + 1)


def walk(group: Group) -> Iterator[tuple[str, Array]]:
    """Yield every array below a group with its path."""
    if not isinstance(group, ZarrGroup):
        yield from _hdf5.walk(group)
        return
    prefix = f"{group.name.strip('/')}/".lstrip("/")
    for path in sorted(group.store.arrays):
        if path.startswith(prefix):
            yield path[len(prefix) :], ZarrArray(group.store, f"/{path}")


def is_reference(array: Array) -> bool:
    """Say whether the entries point to something else, or are pickled: they are never read."""
    return array.is_opaque if isinstance(array, ZarrArray) else bool(h5py.check_ref_dtype(array.dtype))


def check_size(array: Array) -> None:
    """Compare the declared size with what is stored."""
    if isinstance(array, ZarrArray):
        _ = array.source
    else:
        _hdf5.check_size(array)


def values(array: Array) -> np.ndarray:
    """Return a whole array: numbers as they are, text decoded; its declared size is checked first.

    Raises
    ------
    FormatError
        When it is damaged, too large, or pickled.
    """
    if not isinstance(array, ZarrArray):
        return _hdf5.values(array)
    if array.is_opaque:
        raise FormatError(
            f"{array.store.path}: {array.name.strip('/')}: is pickled, which is never loaded; expected numbers or "
            "text; write it again with a later hdmf-zarr"
        )
    lost = array.source.missing() if array.name.rpartition("/")[2] in TIMES and len(array) > 1 else ""
    if lost:  # times that are all exactly 0 are never meant
        raise FormatError(
            f"{array.store.path}: {array.name.strip('/')}: {lost}; expected every time; copy the store again"
        )
    found = array.source.labels()
    if not array.is_text:
        return found
    return _hdf5.decoded(np.array(found.tolist(), dtype=object))


def source(path: str, array: Array) -> tuple[Any, Callable[[], None] | None, list[str]]:
    """Return an array as a source of blocks, what closes the file behind it, and lines for the history.

    Parameters
    ----------
    path : str
        The file.
    array : h5py.Dataset or ZarrArray
        One of its arrays.
    """
    if isinstance(array, ZarrArray):
        lost = array.source.missing()
        return array.source, None, [lost] if lost else []
    files = _hdf5.manager(path)
    return _hdf5.Hdf5Source(files, array), files.close, []
