"""File formats: the contract of an adapter, and the one place that finds the right one.

Adapters register a :class:`Format` under the entry-point group ``repcompare.adapters``; those of the sister package
come through the same door.  This module imports no numerical library, so listing formats stays cheap.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from repcompare.errors import FormatError, OptionError, suggest
from repcompare.labels.entries import entries

GROUP = "repcompare.adapters"
HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format that can become a representation.

    Attributes
    ----------
    name : str
        What ``format=`` is called with.
    suffixes : tuple of str
        Usual file name endings, lower case with the dot; empty for directories and names such as ``demo:worm``.
    extra : str
        The optional dependency group it needs; empty when the core is enough.
    reads : str
        One line for the table of formats: what becomes of the file.
    detect : callable
        ``detect(path, head)``: is this path, whose first 4096 bytes are ``head``, of this format?  ``head`` is empty for
        directories and for paths that are not files.
    read : callable
        ``read(path, **options)``: a representation, or an ``xarray.DataTree`` of parts.
    rank : int
        Of several formats that detect a file the highest rank wins: specific formats come before containers.
    several : bool
        Whether ``read`` also takes a list of paths, for what is stored in one file per run or stimulus.
    accepts : callable, optional
        ``accepts(obj)``: is this object, which is not a path, read by ``read(obj, **options)``?  It looks at attributes
        only and imports nothing.
    write : callable, optional
        ``write(obj, path)``: write representations in this format; called with a temporary name.
    sequential : bool
        Reading goes through the file as a whole; other formats read what is used.
    """

    name: str
    suffixes: tuple[str, ...]
    extra: str
    reads: str
    detect: Callable[[str, bytes], bool]
    read: Callable[..., Any]
    rank: int = 0
    several: bool = False
    accepts: Callable[[Any], bool] | None = None
    write: Callable[[Any, Any], None] | None = None
    sequential: bool = False


@cache
def registered() -> Mapping[str, Format]:
    """Return every registered format by name, the most specific first.

    Raises
    ------
    FormatError
        When a plug-in registers something that is not a :class:`Format`.
    """
    found: list[Format] = []
    for entry in entries(GROUP):
        try:
            item = entry.load()
        except Exception as error:  # whatever a plug-in does wrong, the other formats can still be read
            warnings.warn(
                f"plug-in {entry.name!r} ({entry.value}) of group {GROUP} cannot be loaded: {error!r}; "
                "its format is left out; update or remove the package that brought it",
                RuntimeWarning,
                stacklevel=2,
            )
            continue
        if not isinstance(item, Format):
            raise FormatError(
                f"plug-in {entry.name!r} ({entry.value}) of group {GROUP} is a {type(item).__name__}; "
                "expected a repcompare.labels.formats.Format"
            )
        found.append(item)
    found.sort(key=lambda f: (-f.rank, f.name))
    return {f.name: f for f in found}


def detect(path: str) -> Format:
    """Find the format of a file from its content and name.

    Parameters
    ----------
    path : str
        A file, a directory, or a name such as ``demo:worm``.

    Returns
    -------
    Format

    Raises
    ------
    FormatError
        When the path does not exist, is empty, or no format claims it.
    """
    head = _head(path)
    for candidate in registered().values():
        if candidate.detect(path, head):
            return candidate
    suffix = os.path.splitext(os.path.normpath(path))[1] or "(none)"
    what = "folder" if os.path.isdir(path) else f"file (first 8 bytes {head[:8].hex(' ') or '-'}, suffix {suffix})"
    raise FormatError(
        f"{path}: no format recognises this {what}; "
        f"tried {', '.join(registered())}; name one with format= if it is one of them"
    )


def _head(path: str) -> bytes:
    if os.path.isdir(path) or path.startswith("demo:"):
        return b""
    try:
        with open(path, "rb") as handle:
            head = handle.read(HEAD_BYTES)
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file or directory; check the path") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    if not head:
        raise FormatError(f"{path}: the file is empty; expected data; write it again")
    return head


def detect_object(obj: Any) -> Format:
    """Find the format that reads an object that a program already holds.

    Raises
    ------
    FormatError
        When none does, naming the type and the formats that read objects.
    """
    readers = {f.name: f for f in registered().values() if f.accepts is not None}
    for candidate in readers.values():
        if candidate.accepts is not None and candidate.accepts(obj):
            return candidate
    known = "; ".join(f"{f.name} ({f.reads.removeprefix('object: ')})" for f in readers.values()) or "none"
    raise FormatError(
        f"no format reads an object of type {type(obj).__module__}.{type(obj).__qualname__}; expected a path, or one of: "
        f"{known}; or make a representation of its values with repcompare.representation"
    )


def read(path: Any, *, format: str | None = None, **options: Any) -> Any:
    """Read a file, whatever its format, or an object, as labelled responses.

    Parameters
    ----------
    path : str, path-like, list of them, or object
        A file or directory, or ``demo:worm``; ``file::part`` opens one part of a file.  Some formats take a list or a
        pattern (``run-*_bold.nii.gz``) of files that belong together.  Or an object
        that holds responses: a cache of activations, what a model returned, a mapping of arrays.
    format : str, optional
        Name of the format; found from content and suffix when not given.
    **options
        Options of the format's reader (``stimuli=``, ``dims=``, ``events=`` ...).

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        A representation, or a tree of parts (layers, regions), lazily where the format allows it.

    Raises
    ------
    FormatError
        When the file is missing, not what its suffix says, truncated, or holds no responses.
    OptionError
        When ``format`` or an option is unknown.

    Examples
    --------
    >>> import tempfile, os, numpy as np, repcompare as rc
    >>> folder = tempfile.mkdtemp()
    >>> file = os.path.join(folder, "layer.npz")
    >>> np.savez(file, conv=np.eye(3)[:, :2], stimulus_id=["cat", "dog", "owl"])
    >>> list(rc.read(file).children)
    ['conv']
    >>> rc.read(file + "::conv").sizes["unit"]
    2
    """
    if not _is_path(path):
        return (_known(format) if format else detect_object(path)).read(path, **options)
    files = _several(path)
    if files is not None:
        chosen = _chosen(files[0], format)
        if not chosen.several:
            raise OptionError(
                f"format {chosen.name} reads one file at a time; found {len(files)}; read each, or name one"
            )
        return chosen.read(files, **options)
    text, _, part = os.fspath(path).partition("::")
    found = _chosen(text, format).read(text, **options)
    return _part(found, part, text) if part else found


def _chosen(path: str, format: str | None) -> Format:
    if format is None:
        return detect(path)
    known = _known(format)
    _head(path)
    return known


def _is_path(path: Any) -> bool:
    items = path if isinstance(path, list | tuple) else [path]
    return all(isinstance(item, str | os.PathLike) for item in items)


def _several(path: Any) -> list[str] | None:
    """Return the files of a list or a pattern; None for one path."""
    if isinstance(path, list | tuple):
        if not path:
            raise FormatError("[]: an empty list of files; expected at least one path")
        return [os.fspath(item) for item in path]
    if not isinstance(path, str) or not any(c in path for c in "*?[") or os.path.exists(path.partition("::")[0]):
        return None
    import glob

    found = sorted(glob.glob(path))
    if not found:
        raise FormatError(f"{path}: no file matches this pattern; check the path")
    return found


def first_file(path: str) -> str:
    """Return the first file of a pattern (``run-*_bold.nii.gz``), by name; any other path as it is.

    Examples
    --------
    >>> first_file("brain.nc::V4")
    'brain.nc::V4'
    """
    files = _several(path)
    return path if files is None else files[0]


def _known(format: str) -> Format:
    if format not in registered():
        raise OptionError(f"format={format!r} is not known{suggest(format, registered())}")
    return registered()[format]


def _part(found: Any, part: str, path: str) -> Any:
    from repcompare.labels.parts import parts_of

    parts = parts_of(found)
    if part and set(parts) == {""}:
        raise FormatError(f"{path}: holds one representation, without parts; leave out ::{part}")
    if part not in parts:
        raise FormatError(f"{path}: no part {part!r}{suggest(part, parts)}")
    return parts[part]
