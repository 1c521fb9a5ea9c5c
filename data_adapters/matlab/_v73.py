"""MATLAB files of version 7.3, which are HDF5: the same values as from older files.

Layout: axes are reversed; ``MATLAB_class`` says what a dataset is; cells are references; structs are groups; text is
uint16; ``MATLAB_empty`` marks arrays whose data are their dims.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from data_adapters import _hdf5
from data_adapters._mat5 import DEEPEST, MOST_ENTRIES, Opaque
from repcompare.errors import FormatError

NUMBERS = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
LARGEST = 8 * 10**9  # bytes of one array
INTERNAL = ("#refs#", "#subsystem#")


def class_of(item: Any) -> str:
    """Return the MATLAB class of a dataset or group; guessed from its type where it is not said."""
    said = item.attrs.get("MATLAB_class")
    if said is not None:
        return said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    if isinstance(item, h5py.Group):
        return "struct"
    return "cell" if h5py.check_ref_dtype(item.dtype) is not None else "double"


def variables_of(file: h5py.File, wanted: set[str] | None = None) -> dict[str, Any]:
    """Return the variables of an open file in the form of :func:`data_adapters._mat5.variables`.

    Parameters
    ----------
    file : h5py.File
        Opened by :func:`data_adapters._hdf5.opened`.
    wanted : set of str, optional
        Names; all by default.

    Raises
    ------
    FormatError
        When something is too large, too deep, or leads out of the file.
    """
    names = [str(n) for n in file if n not in INTERNAL and (wanted is None or n in wanted)]
    reader = _Walk(file)
    return {name: reader.value(_hdf5.get(file, name), 0) for name in names}


class _Walk:
    """Reads values of one file, counting what it has followed."""

    def __init__(self, file: h5py.File) -> None:
        self.file, self.seen = file, 0

    def fail(self, item: Any, what: str) -> FormatError:
        return FormatError(f"{self.file.filename}: {item.name}: {what}; expected data that MATLAB saved with -v7.3")

    def value(self, item: Any, depth: int) -> Any:
        """Return a group or dataset as numbers, text, a cell array, a struct array, or something opaque."""
        self.seen += 1
        if item is None or depth > DEEPEST or self.seen > MOST_ENTRIES:
            raise FormatError(
                f"{self.file.filename}: a link to nothing, or more than {DEEPEST} levels or {MOST_ENTRIES} entries; "
                "expected data that MATLAB saved with -v7.3"
            )
        kind = class_of(item)
        if "MATLAB_sparse" in item.attrs:
            return Opaque("sparse array")
        if "MATLAB_object_decode" in item.attrs and kind != "cell":
            return "" if kind == "string" else Opaque(f"object of class {kind}")
        if isinstance(item, h5py.Group):
            return self.struct(item, depth) if kind == "struct" else Opaque(f"object of class {kind}")
        if item.attrs.get("MATLAB_empty"):
            return self.empty(item, kind)
        if kind == "cell" or (kind == "struct" and h5py.check_ref_dtype(item.dtype) is not None):
            return self.cell(item, depth)
        if kind == "char":
            return self.letters(item)
        if kind not in (*NUMBERS, "logical"):
            return Opaque(f"object of class {kind}")
        return self.numbers(item, kind)

    def empty(self, item: h5py.Dataset, kind: str) -> Any:
        return "" if kind == "char" else np.empty((0, 0), dtype=object if kind in ("cell", "struct") else np.float64)

    def numbers(self, item: h5py.Dataset, kind: str) -> np.ndarray:
        if item.dtype.names is not None and set(item.dtype.names) == {"real", "imag"}:
            _hdf5.check_size(item, LARGEST)
            pair = np.asarray(item[()])
            return np.asarray(pair["real"] + 1j * pair["imag"]).T
        if item.dtype.kind not in "fiub" or item.ndim > 32:
            raise self.fail(item, f"has dtype {item.dtype} as class {kind}")
        values = _hdf5.values(item, LARGEST)
        return values.astype(bool).T if kind == "logical" else values.T

    def letters(self, item: h5py.Dataset) -> Any:
        if item.dtype.kind not in "ui" or item.ndim != 2:
            raise self.fail(item, f"text of dtype {item.dtype}, shape {item.shape}")
        codes = _hdf5.values(item, _hdf5.LARGEST_TEXT * 16).T.astype(np.int64) & 0xFFFF
        lines = [row.astype("<u2").tobytes().decode("utf-16-le", "replace") for row in codes]
        return lines[0] if len(lines) == 1 else np.array([line.rstrip() for line in lines], dtype=np.str_)

    def references(self, item: h5py.Dataset) -> np.ndarray:
        if h5py.check_ref_dtype(item.dtype) is not h5py.Reference or item.shape is None:
            raise self.fail(item, f"has dtype {item.dtype}; cells are references")
        if item.size > MOST_ENTRIES:
            raise self.fail(item, f"{item.size} cells")
        _hdf5.check_size(item, LARGEST)
        return np.atleast_1d(np.asarray(item[()], dtype=object))

    def follow(self, reference: Any, depth: int) -> Any:
        target = self.file[reference] if reference else None
        name = None if target is None else target.name
        return self.value(None if name is None else _hdf5.get(self.file, name), depth + 1)

    def cell(self, item: h5py.Dataset, depth: int) -> np.ndarray:
        found = self.references(item)
        out = np.empty(found.size, dtype=object)
        for i, reference in enumerate(found.ravel()):
            out[i] = self.follow(reference, depth)
        return out.reshape(found.shape).T

    def struct(self, group: h5py.Group, depth: int) -> np.ndarray:
        fields = {str(n): _hdf5.get(group, str(n)) for n in group}
        arrays = {n: d for n, d in fields.items() if self.is_array_of(d)}
        if not arrays or len(arrays) < len(fields):  # one struct: its members are the values
            single = np.empty((1, 1), dtype=object)
            single[0, 0] = {n: self.value(d, depth + 1) for n, d in fields.items()}
            return single
        columns = {n: self.references(d) for n, d in arrays.items()}
        shapes = {c.shape for c in columns.values()}
        if len(shapes) > 1:
            raise self.fail(group, f"fields of shapes {sorted(shapes)}")
        (shape,) = shapes
        out = np.empty(int(np.prod(shape)), dtype=object)
        for i in range(out.size):
            out[i] = {n: self.follow(c.ravel()[i], depth) for n, c in columns.items()}
        return out.reshape(shape).T

    def is_array_of(self, item: Any) -> bool:
        """Say whether a member holds one reference per struct of an array, as opposed to a cell array."""
        return (
            isinstance(item, h5py.Dataset)
            and h5py.check_ref_dtype(item.dtype) is not None
            and "MATLAB_class" not in item.attrs
        )
