"""Dynamic tables of NWB files: plain and ragged columns, every index checked before it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_adapters.spikes import _nodes
from data_adapters.spikes._nodes import Array, Group
from repcompare.errors import FormatError


def column(path: str, group: Group, name: str) -> np.ndarray:
    """Return a column of a table.

    Raises
    ------
    FormatError
        When there is none, or it declares more than the file holds.
    """
    dataset = _nodes.get(group, name)
    if not isinstance(dataset, Array) or dataset.shape is None or dataset.ndim == 0:
        raise FormatError(f"{path}: {group.name.strip('/')}/{name} is missing or no column; expected one entry per row")
    return _nodes.values(dataset)


def flat_columns(path: str, group: Group, size: int) -> dict[str, np.ndarray]:
    """Return the columns of numbers and text that have one entry per row; others are left.

    Raises
    ------
    FormatError
        When such a column has another length.
    """
    found = {}
    for name in group:
        dataset = _nodes.get(group, name)
        ragged = f"{name}_index" in group or name.endswith("_index")
        if ragged or not isinstance(dataset, Array) or dataset.ndim != 1 or _nodes.is_reference(dataset):
            continue
        if dataset.dtype.kind not in "fbiuSO":
            continue
        if len(dataset) != size:
            where = f"{path}: {group.name.strip('/')}/{name}"
            raise FormatError(f"{where} has {len(dataset)} entries; expected {size}, one per row; the file is damaged")
        found[name] = _nodes.values(dataset)
    return found


def ragged(path: str, group: Group, name: str, rows: np.ndarray) -> list[np.ndarray]:
    """Return the entries of a ragged column for some rows; a plain column gives one entry per row.

    Parameters
    ----------
    path : str
        The file.
    group : h5py.Group or ZarrGroup
        The table.
    name : str
        The column; ``name_index`` holds the cumulative ends, ``name_index_index`` those of a doubly ragged
        column.
    rows : ndarray of int
        Which rows.

    Raises
    ------
    FormatError
        When ends fall, or leave the data.
    """
    data = _nodes.get(group, name)
    where = f"{path}: {group.name.strip('/')}/{name}"
    if not isinstance(data, Array) or data.dtype.kind not in "fiu":
        raise FormatError(f"{where}: is missing or not numeric; expected a column of numbers")
    _nodes.check_size(data)
    if f"{name}_index" not in group:
        return [np.asarray(v) for v in _nodes.values(data)[rows]]
    stops = _ends(path, group, f"{name}_index", len(data), name)
    if f"{name}_index_index" in group:  # the outer index counts entries of the inner one
        outer = _ends(path, group, f"{name}_index_index", len(stops), f"{name}_index")
        stops = np.where(outer > 0, np.r_[0, stops][outer], 0)
    if len(rows) and rows.max() >= len(stops):
        raise FormatError(f"{where}_index: has {len(stops)} entries; expected one for each unit; the file is damaged")
    starts = np.r_[0, stops[:-1]]
    values = _nodes.values(data) if 2 * len(rows) >= len(stops) else data
    return [np.asarray(values[starts[r] : stops[r]]) for r in rows]


def _ends(path: str, group: Group, name: str, length: int, of: str) -> np.ndarray:
    """Cumulative ends as int64: files keep them as uint8 or uint16, whose differences wrap."""
    found = column(path, group, name)
    where = f"{path}: {group.name.strip('/')}/{name}"
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise FormatError(f"{where}: has dtype {found.dtype}, shape {found.shape}; expected whole numbers, one per row")
    ends = found.astype(np.int64)
    if len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any()):
        at = int(np.argmax(np.diff(ends) < 0)) + 1
        raise FormatError(
            f"{where}: end {ends[min(at, len(ends) - 1)]} at row {at} is before the one above; expected rising ends"
        )
    if len(ends) and ends[-1] > length:
        raise FormatError(f"{where}: last end {ends[-1]} exceeds {of} ({length}); the file is truncated or damaged")
    if len(ends) and ends[-1] < length:
        raise FormatError(
            f"{where}: last end {ends[-1]} leaves {length - ends[-1]} of {length} entries of {of} to no row"
        )
    return ends


def interval_tables(file: Group) -> dict[str, Group]:
    """Return the tables of intervals by name (``trials``, ``epochs`` ...)."""
    group = _nodes.get(file, "/intervals")
    names = list(group) if isinstance(group, Group) else []
    found = {name: _nodes.get(group, name) for name in names}
    return {n: t for n, t in found.items() if isinstance(t, Group) and "start_time" in t}


def listing(file: Group) -> str:
    """Return the tables of intervals with their rows and columns, as text for messages."""
    lines = []
    for name, table in interval_tables(file).items():
        dataset: Any = _nodes.get(table, "start_time")
        columns = [c for c in table if not c.endswith("_index") and c != "id"]
        lines.append(f"{name} ({len(dataset)} rows: {', '.join(columns)})")
    return "tables " + "; ".join(lines) if lines else "no tables of intervals"
