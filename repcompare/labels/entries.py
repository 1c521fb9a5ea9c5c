"""Entry points of installed packages, found without ``importlib.metadata``, whose import alone takes 15 ms.

A distribution says what it brings in the text file ``entry_points.txt`` of its folder ``*.dist-info`` on ``sys.path``
(Python Packaging User Guide, "Entry points specification").  Those folders are read here; where distributions may lie
elsewhere (archives, eggs, finders of other packages) the standard library is asked.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

FOLDERS = (".dist-info", ".egg-info")
PATH_FINDER = "_frozen_importlib_external"  # where the finder of sys.path is defined


class Entry(NamedTuple):
    """One line of a group: a name, and the object it stands for as ``module:attribute``."""

    name: str
    value: str

    def load(self) -> Any:
        """Import the module and return the object."""
        module, _, attributes = self.value.partition("[")[0].partition(":")
        found: Any = import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            found = getattr(found, attribute)
        return found


def entries(group: str) -> list[Entry]:
    """Return the entry points of a group; of a distribution that is there twice, the first on ``sys.path`` counts.

    Parameters
    ----------
    group : str
        Name of the group.

    Examples
    --------
    >>> [entry.value for entry in entries("repcompare.adapters") if entry.name == "npy"]
    ['data_adapters._formats:NPY']
    """
    finders = [f for f in sys.meta_path if hasattr(f, "find_distributions") and f.__module__ != PATH_FINDER]
    files: dict[str, str] = {}
    for place in dict.fromkeys(sys.path):
        names = _listed(place or ".")
        if finders or names is None or any(name.endswith(".egg") for name in names):
            from importlib.metadata import entry_points

            return [Entry(e.name, e.value) for e in entry_points(group=group)]
        for name in names:
            if name.endswith(FOLDERS):
                files.setdefault(_project(name), os.path.join(place, name, "entry_points.txt"))
    return [entry for file in files.values() for entry in _of_group(file, group)]


def _listed(place: str) -> list[str] | None:
    """Return the names in a folder; None for an archive."""
    try:
        return os.listdir(place)
    except NotADirectoryError:
        return None
    except OSError:  # missing or forbidden: nothing is imported from there either
        return []


def _project(folder: str) -> str:
    return folder.rpartition(".")[0].partition("-")[0].lower().replace(".", "_")


def _of_group(file: str, group: str) -> list[Entry]:
    try:
        with open(file, encoding="utf-8") as handle:
            text = handle.read()
    except (OSError, UnicodeDecodeError):  # most distributions have none
        return []
    found, here = [], False
    for line in map(str.strip, text.splitlines() if f"[{group}]" in text else ()):
        if line.startswith("["):
            here = line == f"[{group}]"
        elif here and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.append(Entry(name.strip(), value.strip()))
    return found
