"""Values of MATLAB files of any version: read alike, and reached by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_adapters import _hdf5, _mat5
from data_adapters._labels import as_text
from data_adapters.matlab._peek import V73
from repcompare.errors import FormatError, OptionError, suggest


def is_v73(path: str) -> bool:
    """Say whether a file is of version 7.3."""
    with open(path, "rb") as handle:
        return handle.read(len(V73)) == V73


def variables(path: str, wanted: set[str] | None = None) -> dict[str, Any]:
    """Return the variables of a file of version 5 to 7.3.

    Raises
    ------
    FormatError
        When the file is damaged.
    """
    if not is_v73(path):
        return _mat5.variables(path, wanted)
    from data_adapters.matlab._v73 import variables_of

    with _hdf5.opened(path, "a MATLAB 7.3 file") as file:
        return variables_of(file, wanted)


def is_struct(value: Any) -> bool:
    """Say whether a value is a struct or an array of structs."""
    return (
        isinstance(value, np.ndarray) and value.dtype == object and value.size > 0 and isinstance(value.flat[0], dict)
    )


def is_cell(value: Any) -> bool:
    """Say whether a value is a cell array."""
    return isinstance(value, np.ndarray) and value.dtype == object and not is_struct(value)


def is_numbers(value: Any) -> bool:
    """Say whether a value is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def fields(value: Any, where: str) -> dict[str, Any]:
    """Return the fields of a single struct.

    Raises
    ------
    FormatError
        When it is something else.
    """
    if not is_struct(value) or value.size != 1:
        raise FormatError(f"{where}: is {described(value)}; expected a single struct")
    found: dict[str, Any] = value.flat[0]
    return found


def reach(content: dict[str, Any], name: str, path: str) -> Any:
    """Return a variable, or a field of one by ``variable.field``.

    Raises
    ------
    OptionError
        When there is none.
    """
    here: dict[str, Any] = content
    steps = name.split(".")
    for depth, step in enumerate(steps):
        if step not in here:
            raise OptionError(f"{path}: no variable {name!r}{suggest(step, here)}")
        value = here[step]
        if depth + 1 < len(steps):
            here = fields(value, f"{path}: {'.'.join(steps[: depth + 1])}")
    return value


def described(value: Any) -> str:
    """Return what a value is, for messages."""
    if isinstance(value, _mat5.Opaque):
        return f"a {value.kind}"
    if isinstance(value, str):
        return "text"
    kind = "a struct array" if is_struct(value) else "a cell array" if is_cell(value) else f"{value.dtype}"
    return f"{kind} {value.shape}"


def words(value: Any, where: str) -> np.ndarray:
    """Return a cell array of text or numbers, a vector, or rows of text as labels.

    Raises
    ------
    FormatError
        When an entry is neither.
    """
    if isinstance(value, str):
        return np.array([value], dtype=np.str_)
    if isinstance(value, _mat5.Opaque):
        raise FormatError(f"{where}: is a {value.kind}; expected names")
    if is_cell(value):
        items = [v.item() if is_numbers(v) and v.size == 1 else v for v in value.ravel(order="F")]
        while items and all(is_cell(v) and v.size == 1 for v in items):
            items = [v.item() for v in items]
        if any(not isinstance(v, str | int | float) for v in items):
            raise FormatError(f"{where}: a cell is no text; expected one name per cell")
        return as_text(items, where)
    return as_text(value.ravel(order="F") if max(value.shape, default=0) == value.size else value, where)
