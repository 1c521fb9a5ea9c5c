"""Parquet tables, by pyarrow where it is installed: sizes are compared before anything is read."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from data_adapters._guard import guard
from repcompare.errors import FormatError, MissingExtraError

MAGIC = b"PAR1"
OLDEST = 15  # older releases of pyarrow ran pickles that a table named
LARGEST_FOOTER = 64 * 2**20
MOST_CELLS = 10**8  # of columns of text or lists, which become Python objects
INDEX = "__index_level_0__"  # the name of a nameless index of pandas


def footer(path: str) -> bytes:
    """Return what a table says of itself, without reading it; empty when it is cut off.

    Parameters
    ----------
    path : str
        The file; its names of columns are in the footer as plain text.
    """
    size = os.path.getsize(path)
    if size < 12:
        return b""
    with open(path, "rb") as handle:
        handle.seek(size - 8)
        tail = handle.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != MAGIC or length > min(size - 12, LARGEST_FOOTER):
            return b""
        handle.seek(size - 8 - length)
        return handle.read(length)


def parquet_columns(path: str, memory: int) -> dict[str, Any]:
    """Return the columns of a parquet table.

    Parameters
    ----------
    path : str
        The file.
    memory : int
        Largest table, unpacked, in bytes.

    Returns
    -------
    dict of str to ndarray or list
        Numbers as arrays, what is missing as NaN; text and lists as lists of Python objects.

    Raises
    ------
    FormatError
        When it is damaged, or larger than it may be.
    MissingExtraError
        Without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading parquet needs the package pyarrow; install it: pip install pyarrow"
        ) from None
    if int(pyarrow.__version__.split(".")[0]) < OLDEST:
        raise MissingExtraError(
            f"{path}: reading parquet needs pyarrow {OLDEST} or later; found {pyarrow.__version__}; "
            "update it: pip install -U pyarrow"
        )
    with guard(path, "a parquet table"):
        if not footer(path):
            raise FormatError(f"{path}: has no footer of a parquet table; it is truncated; copy or write it again")
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _check(path, file.metadata, memory)
            table = file.read(use_threads=False)
        twice = {n for n in table.column_names if table.column_names.count(n) > 1}
        if twice:
            raise FormatError(f"{path}: column {sorted(twice)[0]!r} occurs twice; expected each name once")
        return {str(n): _values(c) for n, c in zip(table.column_names, table.columns, strict=True)}


def _check(path: str, about: Any, memory: int) -> None:
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    rows = sum(g.num_rows for g in groups)
    unpacked = sum(g.total_byte_size for g in groups)  # not by column: a damaged column ends the process there
    if rows != about.num_rows:
        raise FormatError(f"{path}: declares {about.num_rows} rows; its parts have {rows}; it is damaged")
    if max(rows * about.num_columns * 8, unpacked) > memory:
        raise FormatError(
            f"{path}: declares {rows} x {about.num_columns} values; the limit is {memory} bytes; raise memory= "
            "if it is right"
        )
    if min([rows, unpacked, *(g.num_rows for g in groups)], default=0) < 0:
        raise FormatError(f"{path}: declares a negative number of rows; it is damaged")


def _values(column: Any) -> Any:
    """Return a column as numbers, or as Python objects."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return np.asarray(column.to_numpy())
    if len(column) > MOST_CELLS:
        raise ValueError(f"{len(column)} cells of type {kind}")
    return column.to_pylist()
