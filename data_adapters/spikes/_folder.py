"""Folders of small files: one listing, and tables of text."""

from __future__ import annotations

import csv
import os

import numpy as np

from data_adapters._guard import guard
from repcompare.errors import FormatError

LARGEST_TABLE = 256 * 2**20  # bytes of a text table
LARGEST_FIELD = 64 * 2**20  # characters of one field of a table


def listing(path: str) -> list[str]:
    """Return the names in a folder, sorted; empty for what is not a folder or cannot be listed."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def columns_of(file: str) -> dict[str, list[str]]:
    """Return the columns of a CSV or TSV file with a header.

    Raises
    ------
    FormatError
        When it is too large, is not text, or a row has another number of entries than the header.
    """
    size = os.path.getsize(file)
    if size > LARGEST_TABLE:
        raise FormatError(f"{file}: {size} bytes; expected a table of at most {LARGEST_TABLE}; split it")
    delimiter = "\t" if file.lower().endswith(".tsv") else ","
    before = csv.field_size_limit(LARGEST_FIELD)
    try:
        with guard(file, "a table of text"), open(file, encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.reader(handle, delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise FormatError(f"{file}: cannot be read as a table ({error}); expected a header and rows") from None
    finally:
        csv.field_size_limit(before)
    if not rows:
        raise FormatError(f"{file}: the table is empty; expected a header and rows")
    names = [name.strip() for name in rows[0]]
    short = [i for i, row in enumerate(rows) if len(row) != len(names)]
    if short or len(set(names)) < len(names):
        what = f"line {short[0] + 1} has {len(rows[short[0]])} entries for {len(names)} columns" if short else "a name"
        raise FormatError(f"{file}: {what}{'' if short else ' of a column occurs twice'}; expected a plain table")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(names)}


def typed(values: list[str]) -> np.ndarray:
    """Return a column as whole numbers or floats where all entries are, else as text; empty fields are NaN among numbers.

    Examples
    --------
    >>> typed(["1", "2"]), typed(["1.5", ""]), typed(["a", ""])
    (array([1, 2]), array([1.5, nan]), array(['a', ''], dtype='<U1'))
    """
    try:
        return np.array([int(v) for v in values], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        if any(v.strip() for v in values):
            return np.array([float(v) if v.strip() else np.nan for v in values])
    except ValueError:
        pass
    return np.array(values, dtype=np.str_)


def same_length(path: str, table: dict[str, np.ndarray], what: str) -> int:
    """Return the number of rows that all columns have.

    Raises
    ------
    FormatError
        When they differ.
    """
    lengths = {name: len(values) for name, values in table.items()}
    first = next(iter(lengths), "")
    for name, n in lengths.items():
        if n != lengths[first]:
            raise FormatError(
                f"{path}: {what}.{first} has {lengths[first]} rows and {what}.{name} {n}; expected the same number"
            )
    return lengths.get(first, 0)


def by_unit(labels: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the units that occur, sorted, and the times of each.

    Examples
    --------
    >>> units, trains = by_unit(np.array([5, 2, 5]), np.array([0.1, 0.2, 0.3]))
    >>> units.tolist(), [t.tolist() for t in trains]
    ([2, 5], [[0.2], [0.1, 0.3]])
    """
    order = np.argsort(labels, kind="stable")
    units, starts = np.unique(labels[order], return_index=True)
    return units, np.split(times[order], starts[1:])
