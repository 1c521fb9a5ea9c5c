"""Predictions of models for the Sensorium competitions: tables whose cells hold lists, as text or in parquet."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import as_text, running_count
from data_adapters._options import name_of
from data_adapters._parquet import MAGIC, footer, parquet_columns
from data_adapters.spikes._folder import columns_of
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of
from repcompare.labels.schema import representation

NEEDED = ("trial_indices", "prediction", "neuron_ids")
LONGEST = 64 * 2**20  # characters of a list
LONGEST_LITERAL = 2**20  # of one that is no JSON
LARGEST_TABLE = 8 * 10**9  # bytes of a parquet table, unpacked


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """Options of tables of predictions.

    Attributes
    ----------
    stimuli : list of str, optional
        Stimulus of each row; by default ``image_ids``, else the number of the trial.
    """

    stimuli: Any = None


def is_predictions(path: str, head: bytes) -> bool:
    """Say whether a file has the columns of predictions: in its first line, or in the footer of a parquet table."""
    if head.startswith(MAGIC):
        said = footer(path)
        return all(name.encode() in said for name in NEEDED)
    names = {n.strip().strip('"') for n in head.split(b"\n", 1)[0].decode("utf-8", "replace").split(",")}
    return set(NEEDED) <= names


def read_predictions(path: str, options: PredictionOptions) -> xr.Dataset | xr.DataTree:
    """Read a table of predictions: columns ``trial_indices``, ``prediction``, ``neuron_ids`` and ``image_ids`` or ``mouse``.

    Parameters
    ----------
    path : str
        The CSV file, in which lists are text, or a parquet table of lists.
    options : PredictionOptions
        ``stimuli=``.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        ``response`` (presentation, unit[, time]); a part per mouse where there is a column ``mouse``.

    Raises
    ------
    FormatError, SchemaError
        When a list cannot be read, or rows differ in their neurons.
    MissingExtraError
        For parquet without pyarrow.
    """
    table = _table(path)
    missing = [n for n in NEEDED if n not in table]
    if missing:
        raise FormatError(f"{path}: no column {missing[0]!r} among {', '.join(table)}; expected {', '.join(NEEDED)}")
    n = len(table["prediction"])
    if not n:
        raise FormatError(f"{path}: the table has no rows; expected one per trial")
    trials = as_text(table["trial_indices"], f"{path}: trial_indices")
    note = "stimulus names given by the caller"
    if options.stimuli is not None:
        names = as_text(options.stimuli, "stimuli=")
    elif "image_ids" in table:
        names, note = as_text(table["image_ids"], f"{path}: image_ids"), "stimulus: image_ids"
    else:
        names, note = trials, "stimulus: number of the trial (the table names no stimuli)"
    if len(names) != n:
        raise FormatError(f"{path}: found {len(names)} names in stimuli= for {n} rows; expected one each")
    mice = [str(m) for m in table.get("mouse", [""] * n)]
    parts = {}
    for mouse in dict.fromkeys(mice):
        rows = [i for i, m in enumerate(mice) if m == mouse]
        parts[mouse] = _part(path, table, rows, names, trials, note)
    return parts[""] if list(parts) == [""] else tree_of(parts)


def _table(path: str) -> dict[str, list[Any]]:
    with open(path, "rb") as handle:
        is_parquet = handle.read(len(MAGIC)) == MAGIC
    if not is_parquet:
        return dict(columns_of(path))
    return {k: v if isinstance(v, list) else v.tolist() for k, v in parquet_columns(path, LARGEST_TABLE).items()}


def _part(
    path: str, table: dict[str, list[Any]], rows: list[int], names: np.ndarray, trials: np.ndarray, note: str
) -> xr.Dataset:
    neurons = _neurons(path, table["neuron_ids"], rows)
    values = [_listed(table["prediction"][i], f"{path}: prediction, row {i + 1}") for i in rows]
    shapes = {v.shape for v in values}
    first = values[0].shape
    if any(v.ndim != len(first) or v.ndim not in (1, 2) or v.shape[0] != len(neurons) for v in values):
        raise FormatError(
            f"{path}: predictions of shapes {sorted(shapes)} for {len(neurons)} neurons; expected one each"
        )
    attrs: dict[str, Any] = {"modality": "simulated", "source": f"{name_of(path)} (predictions)", "history": [note]}
    coords: dict[str, Any] = {
        "stimulus_id": names[rows],
        "repeat": running_count(names[rows]),
        "stimulus_trial": trials[rows],
        "unit_id": neurons,
    }
    if len(first) == 1:
        return representation(np.stack(values), dims=("presentation", "unit"), attrs=attrs, **coords)
    longest = max(v.shape[1] for v in values)
    padded = np.full((len(rows), len(neurons), longest), np.nan)
    for row, v in zip(padded, values, strict=True):
        row[:, : v.shape[1]] = v
    attrs["history"] = [note, "time: frames at 30 Hz, counted from the first predicted one"]
    coords["time"] = np.arange(longest) / 30
    return representation(padded, dims=("presentation", "unit", "time"), attrs=attrs, **coords)


def _neurons(path: str, column: list[Any], rows: list[int]) -> np.ndarray:
    cells = [column[i] for i in rows]
    written = all(isinstance(c, str) for c in cells)  # the same text in every row is parsed once
    lists = [_listed(c, f"{path}: neuron_ids") for c in (dict.fromkeys(cells) if written else cells)]
    if any(v.ndim != 1 or not np.array_equal(v, lists[0]) for v in lists):
        raise FormatError(f"{path}: rows list different neurons; expected the same neuron_ids in each; split the table")
    return as_text(lists[0], f"{path}: neuron_ids")


def _listed(cell: Any, where: str) -> np.ndarray:
    """Return a list, or one written as text, which is never run."""
    return _numbers(_parsed(cell, where) if isinstance(cell, str) else cell, cell, where)


def _parsed(text: str, where: str) -> Any:
    if len(text) > LONGEST:
        raise FormatError(f"{where}: a list of {len(text)} characters; expected at most {LONGEST}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip()) if len(text) <= LONGEST_LITERAL else None
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            found = None
    return found


def _numbers(found: Any, cell: Any, where: str) -> np.ndarray:
    if not isinstance(found, list | tuple):
        raise FormatError(f"{where}: {str(cell)[:40]!r} is no list of numbers; expected [1.0, 2.0] or the like")
    try:
        array = np.asarray(found)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "fiuU" or not array.size:
        raise FormatError(
            f"{where}: {str(cell)[:40]!r} holds no equal rows of numbers; expected [1.0, 2.0] or the like"
        )
    return array
