"""numpy files: one array (npy, memory-mapped) or parts by key (npz)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._arrays import Labels, part
from data_adapters._labels import stimulus_names
from data_adapters._lazy import InMemory
from data_adapters._npy import NpyFile, arrays_of
from data_adapters._options import ArrayOptions, name_of, parse_memory
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.parts import parts_of, tree_of
from repcompare.labels.schema import sample_dim

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
    if options.dims is not None and len(options.dims) != len(source.shape):
        raise OptionError(
            f"{path}: dims={options.dims} must name each of the {len(source.shape)} axes of {source.shape} once"
        )
    names, origin, note = stimulus_names(options.stimuli, path, {}, beside=True)
    name = os.path.splitext(name_of(path))[0]
    return part(source, name, Labels(names, origin, (note,) if note else (), {}), f"{name_of(path)} (npy)", options)


def read_npz(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read an .npz file as a tree: each array but ``stimulus_id``, ``stimulus_*`` and ``unit_*`` is a part.

    A label ``part/unit_region`` belongs to one part.

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
    own = {k: k.rpartition("/")[::2] for k in readers if LABEL.fullmatch(k.rpartition("/")[2]) and k not in label_keys}
    arrays = {k: read() for k, read in readers.items() if k not in label_keys and k not in own}
    parts = {k: a for k, a in arrays.items() if a.ndim >= 2}
    if not parts:
        found = ", ".join(f"{k} {a.shape}" for k, a in arrays.items()) or "nothing"
        raise FormatError(f"{path}: no responses in it: found {found}; expected an array (stimulus, unit) per part")
    notes = [note] if note else []
    if sum(a.nbytes for a in arrays.values()) > HINT:
        notes.append("npz files are read whole: convert to netCDF for lazy reading")
    given = {k: readers[k]() for k in label_keys if k not in ("stimulus_id", options.stimuli)}
    given.update(_columns(path, {k: a for k, a in arrays.items() if a.ndim < 2}, len(_rows(names, parts)), notes))
    source = f"{name_of(path)} (npz)"
    made = {}
    for key, array in parts.items():
        mine = {label: readers[k]() for k, (name, label) in own.items() if name == key}
        labels = Labels(names, origin, tuple(notes), {**given, **mine})
        made[key] = part(InMemory(array, f"{path}: {key}"), key, labels, source, options)
    return tree_of(made)


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


def write_npz(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a representation or a tree in stimulus form as an .npz file: an array per part, and its labels.

    Attributes are not kept, nor are repeats and time: netCDF keeps everything.

    Parameters
    ----------
    obj : xarray.Dataset, mapping or xarray.DataTree
        Parts of the same stimuli in the same order; a single one is called ``response``.
    path : path-like
        Destination.

    Raises
    ------
    SchemaError
        When the parts have different stimuli, or one has repeats or a time axis.
    """
    parts = {name or "response": ds for name, ds in parts_of(obj).items()}
    names = check_same_stimuli(parts, "npz")
    arrays: dict[str, np.ndarray] = {"stimulus_id": np.array(names)}
    for name, ds in parts.items():
        arrays[name] = np.asarray(ds["response"].values)
        default = [f"{name}/{i}" for i in range(ds.sizes["unit"])]
        for label, values in ds.coords.items():
            if str(label) not in ("stimulus", "unit_id") or (label == "unit_id" and values.values.tolist() != default):
                arrays[f"{name}/{label}"] = values.values
    with open(path, "wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def check_same_stimuli(parts: Mapping[str, xr.Dataset], format: str) -> list[str]:
    """Return the stimuli that all parts have, in one order, one row each.

    Raises
    ------
    SchemaError
        When they differ, or a part has repeats or a time axis.
    """
    names: list[str] | None = None
    for name, ds in parts.items():
        sample = sample_dim(ds)  # refuses RDMs and scores
        own = ds["stimulus"].values.tolist() if "stimulus" in ds.coords else None
        if own is None or ds["response"].dims != ("stimulus", "unit") or (names is not None and own != names):
            raise SchemaError(
                f"part {name!r} has dims {ds['response'].dims}, rows by {sample}; {format} files have one list of "
                "stimuli and no repeats; average_repeats first, or write netCDF (.nc)"
            )
        names = own
    return names or []
