"""MATLAB files of responses: variables as parts, FieldTrip structs as trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._arrays import Labels, part
from data_adapters._labels import stimulus_names
from data_adapters._lazy import InMemory
from data_adapters._mat5 import Opaque
from data_adapters._options import LABEL, ArrayOptions, name_of, parse_memory
from data_adapters.matlab._values import described, is_cell, is_numbers, is_struct, is_v73, reach, variables, words
from data_adapters.matlab.fieldtrip import is_fieldtrip, read_fieldtrip
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of


@dataclass(frozen=True, kw_only=True)
class MatOptions(ArrayOptions):
    """Options of MATLAB files: those of arrays, and which variables.

    Attributes
    ----------
    variable : str or list of str, optional
        Names of variables, or of fields as ``"data.rates"``; by default every array of numbers with two axes or more.
    """

    variable: Any = None


class Turned(_hdf5.Hdf5Source):
    """A dataset of a 7.3 file, whose axes are stored in reverse, as MATLAB shows it."""

    def __init__(self, files: Any, dataset: h5py.Dataset) -> None:
        super().__init__(files, dataset)
        self.shape = self.shape[::-1]

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        return super().read(key[::-1]).T


def read_mat(path: str, options: MatOptions) -> xr.Dataset | xr.DataTree:
    """Read a MATLAB file: its arrays of numbers as parts, or the trials of a FieldTrip struct.

    Parameters
    ----------
    path : str
        The file, version 5 to 7.3; arrays of version 7.3 stay on disk.
    options : MatOptions
        ``variable=``; ``stimuli=`` (a list, a file, the name of a cell array in this file, or ``"positional"``), ``dims=``
        in MATLAB's order of axes, and labels.  For FieldTrip, ``stimuli="trialinfo"`` or ``"trialinfo::2"`` (column 2).

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        One representation for one named variable or a FieldTrip struct; else a tree.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file, the options or the labels are wrong; sparse arrays, functions and objects are named.
    """
    lazy = LazyArrays(path) if is_v73(path) else None
    content = lazy.content() if lazy else dict(variables(path))
    wanted = [options.variable] if isinstance(options.variable, str) else options.variable
    chosen = {str(n): reach(content, str(n), path) for n in wanted} if wanted is not None else content
    trips = {n: v for n, v in chosen.items() if is_fieldtrip(v)}
    if trips:
        if len(trips) > 1:
            raise FormatError(f"{path}: FieldTrip structs {', '.join(trips)}; expected one; choose it by variable=")
        ((name, value),) = trips.items()
        return read_fieldtrip(path, name, value, options.stimuli, options.labels)
    return _parts(path, content, chosen, options, lazy)


class LazyArrays:
    """Large arrays of a 7.3 file, read when they are used; the rest at once."""

    def __init__(self, path: str) -> None:
        self.path, self.files = path, _hdf5.manager(path)

    def content(self) -> dict[str, Any]:
        """Return the variables by name: large arrays as sources, the others as values."""
        from data_adapters.matlab._v73 import INTERNAL, NUMBERS, class_of, variables_of

        with _hdf5.opened(self.path, "a MATLAB 7.3 file") as file:
            arrays: dict[str, Any] = {}
            for name in (str(n) for n in file if n not in INTERNAL):
                item = _hdf5.get(file, name)
                if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "fiu":
                    plain = class_of(item) in NUMBERS and "MATLAB_empty" not in item.attrs
                    if plain and min(item.shape) > 1:
                        arrays[name] = Turned(self.files, item)
            rest = {str(n) for n in file} - set(arrays)
            return {**arrays, **variables_of(file, rest)}


def _parts(
    path: str, content: Mapping[str, Any], chosen: Mapping[str, Any], options: MatOptions, lazy: LazyArrays | None
) -> xr.Dataset | xr.DataTree:
    by_name = options.variable is not None
    arrays = {n: v for n, v in chosen.items() if _is_responses(v) and not LABEL.fullmatch(n) and n != options.stimuli}
    if by_name:
        bad = [f"{n} is {described(v)}" for n, v in chosen.items() if n not in arrays]
        if bad:
            raise FormatError(f"{path}: {bad[0]}; expected an array of numbers; choose another variable=")
    if not arrays:
        found = ", ".join(f"{n} {described(v)}" for n, v in content.items()) or "nothing"
        raise FormatError(
            f"{path}: no responses in it: found {found}; expected an array (stimulus, unit), or name a field by "
            "variable='struct.field'; RDMs are read by format='matlab-rdm'"
        )
    where = name_of(path)
    inside: dict[str, Callable[[], Any]] = {
        n: partial(words, v, f"{where}: {n}") for n, v in content.items() if _is_names(v)
    }
    names, origin, note = stimulus_names(options.stimuli, path, inside)
    used = ("stimulus_id", options.stimuli)
    given = {n: _label(content[n], read) for n, read in inside.items() if LABEL.fullmatch(n) and n not in used}
    limit = parse_memory(options.memory)
    for name, value in arrays.items():
        if isinstance(value, np.ndarray) and value.nbytes > limit:
            raise FormatError(f"{path}: {name} has {value.nbytes} bytes; the limit is {limit}; raise memory=")
    labels = Labels(names, origin, (note,) if note else (), given)
    source = f"{name_of(path)} (mat)"
    made = {
        n: part(v if isinstance(v, Turned) else InMemory(v, f"{path}: {n}"), n, labels, source, options)
        for n, v in arrays.items()
    }
    one: xr.Dataset | xr.DataTree = made[options.variable] if isinstance(options.variable, str) else tree_of(made)
    if lazy:
        one.set_close(lazy.files.close)
    return one


def _label(value: Any, read: Callable[[], Any]) -> np.ndarray:
    """Return a label as numbers where it is a vector of them, else as text."""
    return value.ravel(order="F") if is_numbers(value) else np.asarray(read())


def _is_responses(value: Any) -> bool:
    if isinstance(value, Turned):
        return True
    return is_numbers(value) and value.ndim >= 2 and (min(value.shape) > 1 or value.ndim > 2)


def _is_names(value: Any) -> bool:
    if isinstance(value, Turned | Opaque) or is_struct(value):
        return False
    return (
        isinstance(value, str) or is_cell(value) or max(value.shape, default=0) == value.size or value.dtype.kind == "U"
    )
