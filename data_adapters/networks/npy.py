"""numpy files: one array (npy, memory-mapped) or parts by key (npz)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from data_adapters._arrays import Labels, part
from data_adapters._labels import stimulus_names
from data_adapters._lazy import InMemory
from data_adapters._npy import NpyFile, arrays_of
from data_adapters._options import ArrayOptions, name_of, parse_memory
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of

LABEL = re.compile(r"(stimulus|unit)_\w+|repeat|run|session")
HINT = 512 * 2**20


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
