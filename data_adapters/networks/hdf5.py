"""Generic HDF5 files: every numeric dataset with one row per stimulus is a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._arrays import Labels, axes, part
from data_adapters._labels import stimulus_names
from data_adapters._lazy import sample_of
from data_adapters._options import LABEL, ArrayOptions, name_of
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of

WEIGHTS = ("model_weights", "optimizer_weights", "_layer_checkpoint_dependencies")


@dataclass
class Contents:
    """What a file holds: arrays of numbers, and labels by folder and name."""

    arrays: dict[str, h5py.Dataset] = field(default_factory=dict)
    labels: dict[str, dict[str, h5py.Dataset]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def near(self, name: str) -> dict[str, h5py.Dataset]:
        """Labels of a part: those of its folder, then of the folders above."""
        steps = name.split("/")[:-1]
        found: dict[str, h5py.Dataset] = {}
        for depth in range(len(steps) + 1):
            found.update(self.labels.get("/".join(steps[:depth]), {}))
        return found


def read_hdf5(path: str, options: ArrayOptions) -> xr.DataTree:
    """Read an HDF5 file as a tree of parts; values stay on disk.

    Parameters
    ----------
    path : str
        The file.
    options : ArrayOptions
        ``stimuli=`` (or datasets ``stimulus_id``, for the whole file or per group), ``stimulus_axis=`` or
        ``dims=``, ``reduce=`` and labels.

    Returns
    -------
    xarray.DataTree
        Nested groups become part names ``a/b``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file, the options or the labels are wrong; for a file of weights.
    """
    with _hdf5.opened(path) as file:
        _refuse_weights(path, file)
        contents = _scan(file)
        if not contents.arrays:
            found = ", ".join(contents.skipped[:5]) or "nothing"
            raise FormatError(f"{path}: no responses in it: found {found}; expected datasets (stimulus, unit)")
        known = {name: _labels(path, name, contents, options) for name in contents.arrays}
        fitting = {n: d for n, d in contents.arrays.items() if _fits(d, known[n], options)}
        if not fitting:
            _refuse_counts(path, contents, known)
        files = _hdf5.manager(path)
        sources = {n: _hdf5.Hdf5Source(files, d) for n, d in fitting.items()}
        files = _hdf5.manager(path, max(s.row_bytes for s in sources.values()))
        for source in sources.values():
            source.files = files
        left = [
            f"dataset {n} {d.shape} has another number of rows: left out"
            for n, d in contents.arrays.items()
            if n not in fitting
        ]
        parts = {}
        for name, source in sources.items():
            labels = known[name]
            labels = Labels(labels.names, labels.origin, (*labels.notes, *left), labels.given)
            parts[name] = part(source, name, labels, f"{name_of(path)} (hdf5)", options)
    tree = tree_of(parts)
    tree.set_close(files.close)
    return tree


def _scan(file: h5py.File) -> Contents:
    contents = Contents()
    for name, dataset in _hdf5.walk(file):
        folder, _, last = name.rpartition("/")
        shape = dataset.shape or ()
        if len(shape) == 1 and LABEL.fullmatch(last):
            contents.labels.setdefault(folder, {})[last] = dataset
        elif len(shape) >= 2 and dataset.dtype.kind in "fbiu":
            contents.arrays[name] = dataset
        else:
            contents.skipped.append(f"{name} {shape} {dataset.dtype}")
            if len(shape) == 1:
                contents.labels.setdefault(folder, {}).setdefault(f"::{last}", dataset)
    return contents


def _labels(path: str, name: str, contents: Contents, options: ArrayOptions) -> Labels:
    near = contents.near(name)
    inside = {k.removeprefix("::"): (lambda d=d: _hdf5.values(d)) for k, d in near.items()}
    names, origin, note = stimulus_names(options.stimuli, path, inside)
    used = ("stimulus_id", options.stimuli)
    given = {k: _hdf5.values(d) for k, d in near.items() if not k.startswith("::") and k not in used}
    return Labels(names, origin, (note,) if note else (), given)


def _fits(dataset: h5py.Dataset, labels: Labels, options: ArrayOptions) -> bool:
    dims = axes(dataset.shape, options, f"{name_of(dataset.file.filename)}: {dataset.name}")
    if len(dims) != dataset.ndim:
        return False
    rows = dataset.shape[dims.index(sample_of(dims))]
    return labels.names is None or rows == len(labels.names)


def _refuse_counts(path: str, contents: Contents, known: Mapping[str, Labels]) -> None:
    name, dataset = next(iter(contents.arrays.items()))
    labels = known[name]
    count = 0 if labels.names is None else len(labels.names)
    turned = np.array(dataset.shape) == count
    hint = (
        f"its axis {int(np.argmax(turned))} has {count}: stimulus_axis={int(np.argmax(turned))}"
        if turned.any()
        else "check the names"
    )
    raise FormatError(
        f"{path}: no dataset has one row per stimulus: {name} has shape {dataset.shape}; found {count} names "
        f"in "
        f"{labels.origin}; {hint}"
    )


def _refuse_weights(path: str, file: h5py.File) -> None:
    names = set(file)
    layers = _hdf5.get(file, "layers")
    keras = isinstance(layers, h5py.Group) and any(
        isinstance(g := _hdf5.get(layers, n), h5py.Group) and ("vars" in g or "layers" in g) for n in layers
    )
    found = [w for w in WEIGHTS if w in names] or (["layers/*/vars"] if keras else [])
    if found:
        raise FormatError(
            f"{path}: {found[0]}: these are weights, not responses; expected activations (stimulus, unit); "
            "run the network on the stimuli and save what its layers give"
        )
