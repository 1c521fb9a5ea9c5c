"""Tables of text (csv, tsv): one row per stimulus, columns of numbers are units."""

from __future__ import annotations

import csv
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._lazy import InMemory
from data_adapters._options import LABEL, ArrayOptions, name_of, parse_memory
from data_adapters.networks._container import Container, single
from repcompare.errors import FormatError, SchemaError
from repcompare.labels.parts import parts_of
from repcompare.labels.schema import sample_dim

NAMES = ("stimulus_id", "stimulus", "image_id", "stimulus_name", "image", "filename")
MISSING = ("", "na", "n/a", "nan", "null", "none")
LARGEST_FIELD = 10**6
GROWTH = 16  # bytes of Python text per byte of the file, at most


@dataclass(frozen=True)
class Table:
    """Columns of a table as text, with their names.

    Attributes
    ----------
    path : str
        The file.
    names : list of str
        Of the columns.
    rows : list of list of str
        As many entries each as there are names.
    """

    path: str
    names: list[str]
    rows: list[list[str]]

    def text(self, name: str) -> list[str]:
        """Return a column as it is written."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray | None:
        """Return a column as float64, what is missing as NaN; None when it is text."""
        column = self.text(name)
        try:
            return np.array(column, dtype=np.float64)
        except ValueError:
            pass
        try:
            return np.array([np.nan if v.strip().lower() in MISSING else float(v) for v in column])
        except ValueError:
            return None


def read_table(path: str, options: ArrayOptions) -> xr.Dataset:
    """Read a .csv or .tsv file as one representation.

    Parameters
    ----------
    path : str
        A header, then one row per stimulus.
    options : ArrayOptions
        ``stimuli=``: the column that names the stimuli; by default ``stimulus_id`` or the like, else the first column of
        text.  ``dims=("presentation", "unit")`` reads rows that repeat a stimulus; ``dims=("unit", "stimulus")`` a table
        whose rows are units.

    Returns
    -------
    xarray.Dataset
        Columns of numbers are units by their name; other columns of text become ``stimulus_<name>``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the table is ragged, has no numbers, or names of stimuli are missing.
    """
    table = load_table(path, parse_memory(options.memory))
    turned = options.dims is not None and options.dims[0] == "unit"
    key = _key(table, options.stimuli)
    if key == options.stimuli:
        options = replace(options, stimuli=None)
    columns = {n: table.numbers(n) for n in table.names if n != key and not (LABEL.fullmatch(n) and n != "time")}
    units = [n for n, values in columns.items() if values is not None]
    if not units:
        raise FormatError(f"{path}: no column of numbers in it (columns {', '.join(table.names[:8])}); expected units")
    values = np.stack([c for c in columns.values() if c is not None], axis=1)
    container = Container(path, "csv")
    name = os.path.splitext(name_of(path))[0]
    container.arrays[name] = InMemory(values, path)
    if turned:
        container.labels["stimulus_id"] = lambda: np.array(units)
        container.labels["unit_id"] = lambda: np.array(
            table.text(key) if key else [f"{name}/{i}" for i in range(len(values))]
        )
        return single(container, options)
    for label in (n for n in table.names if n not in units):
        _label(container, table, label, label == key)
    container.labels["unit_id"] = lambda: np.array(units)
    return single(container, options)


def _label(container: Container, table: Table, name: str, is_key: bool) -> None:
    known = LABEL.fullmatch(name) or is_key
    numbers = None if is_key else table.numbers(name)
    if name in ("repeat", "run", "session") and numbers is not None and np.array_equal(numbers, np.round(numbers)):
        numbers = numbers.astype(np.int64)
    values = np.array(table.text(name)) if numbers is None else numbers
    container.labels["stimulus_id" if is_key else name if known else f"stimulus_{name}"] = lambda: values


def _key(table: Table, stimuli: object) -> str | None:
    """Return the column that names the stimuli, if a column does."""
    if isinstance(stimuli, str) and stimuli in table.names:
        return stimuli
    if stimuli is not None:
        return None
    named = [n for n in NAMES if n in table.names]
    texts = [n for n in table.names[:1] if table.numbers(n) is None]
    return next(iter([*named, *texts]), None)


def load_table(path: str, memory: int) -> Table:
    """Read a table of text; the delimiter is a tab where the header has one or the suffix is .tsv.

    Raises
    ------
    FormatError
        When it is not UTF-8 text, has no rows, or rows of different lengths.
    """
    size = os.path.getsize(path)
    if size * GROWTH > memory:
        raise FormatError(
            f"{path}: has {size} bytes of text, read whole; memory={memory} is too little; raise it or convert"
        )
    before = csv.field_size_limit(LARGEST_FIELD)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            first = handle.readline()
            handle.seek(0)
            tabs = path.lower().endswith(".tsv") or ("\t" in first and "," not in first)
            rows = [row for row in csv.reader(handle, delimiter="\t" if tabs else ",") if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(
            f"{path}: cannot be read as a table ({error}); expected text in UTF-8 with a header"
        ) from None
    finally:
        csv.field_size_limit(before)
    if len(rows) < 2:
        raise FormatError(f"{path}: the table has {len(rows)} lines; expected a header and one row per stimulus")
    names = rows[0]
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise FormatError(
                f"{path}: row {line} has {len(row)} entries; the header has {len(names)}; expected as many"
            )
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise FormatError(f"{path}: two columns are called {twice!r}; expected different names; rename one of them")
    return Table(path, names, rows[1:])


def write_table(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write one representation as a .csv or .tsv file: a row per stimulus or presentation, a column per unit.

    Labels of rows are columns of their own; a label of units cannot be kept, and a warning names what is left out.

    Parameters
    ----------
    obj : xarray.Dataset, mapping or xarray.DataTree
        One part, without a time axis.
    path : path-like
        Destination.

    Raises
    ------
    SchemaError
        When there are several parts, time, or a unit has the name of a label.
    """
    (name, ds), *more = parts_of(obj).items()
    sample = sample_dim(ds)
    if more or ds["response"].dims != (sample, "unit") or sample == "time":
        what = f"{1 + len(more)} parts, the first {name!r}" if more else f"dims {ds['response'].dims}"
        raise SchemaError(
            f"found {what}; tables have one part, one row per stimulus or presentation; write netCDF (.nc)"
        )
    key = "stimulus" if sample == "stimulus" else "stimulus_id"
    rows = {str(k): v.values for k, v in ds.coords.items() if v.dims == (sample,) and k != key}
    units = ds["unit_id"].values.tolist()
    clash = [u for u in units if u in rows or LABEL.fullmatch(u) or u in NAMES]
    if clash:
        raise SchemaError(
            f"units {', '.join(clash[:3])} have names of labels, which tables cannot tell apart; rename them"
        )
    left = [str(k) for k, v in ds.coords.items() if "unit" in v.dims and k != "unit_id"]
    if left:
        warnings.warn(f"tables keep no labels of units: {', '.join(left)} left out", UserWarning, stacklevel=2)
    header = ["stimulus_id", *rows, *units]
    delimiter = "\t" if ".tsv" in PurePath(path).suffixes else ","  # the name may be a temporary one
    with open(path, "w", encoding="utf-8", newline="") as handle:
        out = csv.writer(handle, delimiter=delimiter, lineterminator="\n")
        out.writerow(header)
        for i, stimulus in enumerate(ds[key].values.tolist()):
            numbers = ["" if np.isnan(v) else str(v) for v in ds["response"][i].values]
            out.writerow([stimulus, *(v[i] for v in rows.values()), *numbers])
