"""File formats: the contract of an adapter, and the one place that finds the right one.

Adapters register a :class:`Format` under the entry-point group ``repcompare.adapters``; those of the sister package
come through the same door.  This module imports no numerical library, so listing formats stays cheap.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from repcompare.errors import FormatError, OptionError, suggest

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
    """

    name: str
    suffixes: tuple[str, ...]
    extra: str
    reads: str
    detect: Callable[[str, bytes], bool]
    read: Callable[..., Any]
    rank: int = 0


@cache
def registered() -> Mapping[str, Format]:
    """Return every registered format by name, the most specific first.

    Raises
    ------
    FormatError
        When a plug-in registers something that is not a :class:`Format`.
    """
    found: list[Format] = []
    for entry in entry_points(group=GROUP):
        item = entry.load()
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
    suffix = Path(path).suffix or "(none)"
    raise FormatError(
        f"{path}: no format recognises this file (first 8 bytes {head[:8].hex(' ') or '-'}, suffix {suffix}); "
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


def read(path: str | os.PathLike[str], *, format: str | None = None, **options: Any) -> Any:
    """Read a file, whatever its format, as labelled responses.

    Parameters
    ----------
    path : str or path-like
        A file or directory, or ``demo:worm``; ``file::part`` opens one part of a file.
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
    >>> np.savez(file, conv=np.ones((3, 2)), stimulus_id=["cat", "dog", "owl"])
    >>> list(rc.read(file).children)
    ['conv']
    >>> rc.read(file + "::conv").sizes["unit"]
    2
    """
    text, _, part = os.fspath(path).partition("::")
    if format is None:
        chosen = detect(text)
    elif format in registered():
        chosen = registered()[format]
        _head(text)
    else:
        raise OptionError(f"format={format!r} is not known{suggest(format, registered())}")
    found = chosen.read(text, **options)
    return _part(found, part, text) if part else found


def _part(found: Any, part: str, path: str) -> Any:
    from repcompare.labels.parts import parts_of

    parts = parts_of(found)
    if part not in parts:
        raise FormatError(f"{path}: no part {part!r}{suggest(part, parts)}")
    return parts[part]
