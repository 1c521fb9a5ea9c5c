"""MATLAB files (version 5 to 7.3) of RDMs: struct arrays with a field ``RDM``, or plain square or condensed arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import as_text
from data_adapters._options import name_of
from data_adapters.matlab._values import variables
from data_adapters.rdms._sets import Found, RdmOptions, assembled
from repcompare.errors import FormatError, OptionError, suggest

NAMED = ("name", "reprName", "label")
MOST = 10**5  # RDMs of one file


def read_matlab(path: str, options: RdmOptions) -> xr.Dataset:
    """Read the RDMs of a MATLAB file as one set.

    Parameters
    ----------
    path : str
        The file.
    options : RdmOptions
        ``stimuli=`` (a list, a file, the name of a cell array in this file, or ``"positional"``) and ``variable=``.

    Returns
    -------
    xarray.Dataset
        A set of RDMs.  Text and single numbers beside ``RDM`` in a struct become labels (``rdm_name`` ...); the place in
        a struct array of several axes becomes ``rdm_row``, ``rdm_column`` ... (subject, session).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When there are no RDMs, they do not fit together, or a variable does not exist.
    """
    content = variables(path)
    chosen = _chosen(path, content, options.variable)
    found = [rdm for name in chosen for rdm in _rdms(path, name, content[name])]
    if not found:
        shapes = ", ".join(f"{k} {np.shape(v)}" for k, v in content.items()) or "nothing"
        raise FormatError(
            f"{path}: no RDMs in it: found {shapes}; expected a struct array with a field RDM, or a square matrix with a "
            "zero diagonal; name one by variable="
        )
    if len(found) > MOST:
        raise FormatError(f"{path}: {len(found)} RDMs; expected at most {MOST}; split the file")
    inside = {k: _texts(f"{name_of(path)}: {k}", v) for k, v in content.items() if _is_cell(v) or _is_text(v)}
    made = assembled(path, found, options, inside, {"variable": ", ".join(chosen)})
    others = (
        [k for k, v in content.items() if k not in chosen and _is_square_rdm(v)] if options.variable is None else []
    )
    if others:
        made.attrs["history"] = [*made.attrs["history"], f"not read: {', '.join(others)}; variable= reads other RDMs"]
    return made


def _is_cell(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object and not _is_struct(value)


def _is_struct(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray) and value.dtype == object and value.size > 0 and isinstance(value.flat[0], dict)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "U"


def _chosen(path: str, content: Mapping[str, Any], wanted: Any) -> list[str]:
    """Return the variables to read: those asked for, all structs with RDMs, or else all arrays that are RDMs."""
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
        for name in names:
            if name not in content:
                raise OptionError(f"{path}: no variable {name!r}{suggest(name, content)}")
        return names
    structs = [k for k, v in content.items() if _is_struct(v) and "RDM" in v.flat[0]]
    return structs or [k for k, v in content.items() if _is_square_rdm(v)]


def _is_square_rdm(array: Any) -> bool:
    if not _is_numeric(array) or array.ndim != 2 or array.shape[0] != array.shape[1] or len(array) < 3:
        return False
    values = array.astype(np.float64)
    return not values.diagonal().any() and bool(np.allclose(values, values.T, rtol=1e-6, equal_nan=True))


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def _rdms(path: str, variable: str, value: Any) -> Iterator[Found]:
    if not _is_struct(value):
        if not _is_numeric(value):
            raise FormatError(f"{path}: {variable} holds no numbers; expected an RDM; choose another variable=")
        stack = np.moveaxis(value, -1, 0) if value.ndim == 3 else value[None]
        for i, pairs in enumerate(stack):
            yield Found(variable, variable if len(stack) == 1 else f"{variable}/{i}", pairs)
        return
    axes = [d for d, n in enumerate(value.shape) if n > 1]
    for place in np.ndindex(value.shape):
        where = f"{variable}({', '.join(str(i + 1) for i in place)})"
        fields = value[place]
        if "RDM" not in fields:
            raise FormatError(f"{path}: {where} has fields {', '.join(fields)}; expected a field RDM")
        pairs = fields["RDM"]
        if not _is_numeric(pairs):
            raise FormatError(f"{path}: {where}.RDM holds no numbers; expected an RDM")
        labels = {n: _plain(v) for n, v in fields.items() if n != "RDM"}
        labels = {n: v for n, v in labels.items() if v is not None}
        if len(axes) > 1:
            labels |= {n: place[d] for n, d in zip(("row", "column", "page"), axes, strict=False)}
        words = [str(labels[n]) for n in NAMED if n in labels] or [where]
        yield Found(f"{where}.RDM", words[0], pairs, labels)


def _plain(value: Any) -> str | float | int | None:
    """Return a field that is one text or one number; None for anything else."""
    if isinstance(value, str):
        return value
    if _is_numeric(value) and value.size == 1:
        item: float | int = value.item()
        return item
    return None


def _texts(where: str, cell: np.ndarray) -> Any:
    """Return the reader of a cell array of names."""

    def read() -> np.ndarray:
        return as_text([v.item() if _is_numeric(v) and v.size == 1 else v for v in cell.ravel()], where)

    return read
