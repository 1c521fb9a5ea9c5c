"""Rows of a decoding: responses, their labels and their groups, in the order of the stimulus names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, choose, some, suggest
from repcompare.labels.schema import sample_dim, stimulus_labels, validate
from repcompare.labels.targets import class_codes
from repcompare.labels.values import as_float, infinite, missing, text
from repcompare.measures._measure import Folds, Index
from repcompare.statistics.folds import Sample
from repcompare.statistics.given_rows import Origin

__all__ = ["NAN", "Rows", "class_codes", "group_codes", "row_values", "rows_of"]

NAN = ("raise", "drop_units", "drop_stimuli")


@dataclass(frozen=True)
class Rows:
    """Responses with what is known of each row.

    Attributes
    ----------
    x : ndarray of shape (n_rows, n_units) or (n_rows, n_units, n_times)
        Sorted by stimulus name, run and repeat; a time series stays in its order.
    source : ndarray of int, shape (n_rows,)
        Number of each row in the input.
    n_source : int
        Rows of the input.
    names : ndarray of str, shape (n_rows,), optional
        Stimulus of each row.
    sample : {"stimulus", "presentation", "time"}
        What a row is.
    times : ndarray of shape (n_times,), optional
        Coordinate of the last axis.
    data : xarray.Dataset, optional
        The representation.
    counts : mapping
        What was dropped.
    units : ndarray of int, shape (n_units,), optional
        Number of each unit in the input, where some were dropped.
    """

    x: np.ndarray
    source: Index
    n_source: int
    names: np.ndarray | None
    sample: Sample
    times: np.ndarray | None
    data: xr.Dataset | None
    counts: dict[str, int]
    units: Index | None = None

    def take(self, values: np.ndarray) -> np.ndarray:
        """Bring one value per row of the input into the order of the rows."""
        found: np.ndarray = values[self.source]
        return found

    def given(self, folds: Any) -> Any:
        """Folds that were given as rows of the input, in terms of the sorted rows; others as they are."""
        return Origin(self.source, self.n_source).given(folds)

    def numbered(self, folds: Folds) -> Folds:
        """Folds in terms of the rows of the input."""
        return Origin(self.source, self.n_source).numbered(folds)


def rows_of(x: Any, nan: str) -> Rows:
    """Read a representation, or an array (n_rows, n_units[, n_times])."""
    choose(nan, NAN, "nan")
    found = _labelled(x) if isinstance(x, xr.Dataset) else _plain(x)
    problem = infinite(found.x, ("row", "unit", "time")[: found.x.ndim])
    if problem:
        raise SchemaError(f"response: {problem[0]}")
    return _without_nan(found, nan)


def _labelled(ds: xr.Dataset) -> Rows:
    validate(ds)
    sample = sample_dim(ds)
    rest = ["time"] if "time" in ds["response"].dims and sample != "time" else []
    names = stimulus_labels(ds)
    values = np.asarray(ds["response"].transpose(sample, "unit", *rest).values)
    order = np.arange(len(names))
    if sample != "time":
        keys = [text(ds[k].values) for k in ("repeat", "run", "session") if k in ds.coords and ds[k].dims == (sample,)]
        order = np.lexsort([*keys, names])
    times = np.asarray(ds["time"].values, dtype=np.float64) if rest and "time" in ds.coords else None
    what: Sample = "time" if sample == "time" else "presentation" if sample == "presentation" else "stimulus"
    return Rows(values[order], order.astype(np.intp), len(names), names[order], what, times, ds, {})


def _plain(x: Any) -> Rows:
    if isinstance(x, (Mapping, str)):
        raise SchemaError(f"x is a {type(x).__name__}; expected a representation or an array; see decode_layers()")
    values = as_float(x)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise SchemaError(
            f"x has shape {values.shape} and dtype {values.dtype}; expected numbers (n_rows, n_units) or (n_rows, n_units, "
            "n_times)"
        )
    return Rows(values.astype(np.float64), np.arange(len(values)), len(values), None, "stimulus", None, None, {})


def _without_nan(rows: Rows, nan: str) -> Rows:
    missing = np.isnan(rows.x)
    if not missing.any():
        return replace(rows, x=rows.x.astype(np.float64, copy=False))
    if nan == "raise":
        raise MeasureError(
            f"decode: {int(missing.sum())} missing values (NaN) in x; drop them with nan='drop_units' or nan='drop_stimuli'"
        )
    axes = tuple(i for i in range(missing.ndim) if i != (1 if nan == "drop_units" else 0))
    keep = ~missing.any(axis=axes)
    if not keep.any():
        raise MeasureError(f"nan={nan!r} leaves nothing to decode from; choose another policy")
    dropped = int((~keep).sum())
    if nan == "drop_units":
        left = np.flatnonzero(keep)
        return replace(rows, x=rows.x[:, keep].astype(np.float64), counts={"units_dropped": dropped}, units=left)
    names = None if rows.names is None else rows.names[keep]
    x = rows.x[keep].astype(np.float64)
    return replace(rows, x=x, source=rows.source[keep], names=names, counts={"rows_dropped": dropped})


def row_values(rows: Rows, values: Any, what: str) -> np.ndarray:
    """One value per row: a coordinate's name, a mapping from stimulus to value, or an array in the order of the input.

    Raises
    ------
    OptionError, AlignmentError
        When there is no such coordinate, stimuli are missing from the mapping, or the length is wrong.
    """
    if isinstance(values, str):
        return rows.take(_coordinate(rows, values, what))
    if isinstance(values, Mapping):
        if rows.names is None:
            raise SchemaError(f"{what} is a mapping, but x is an array without stimulus names; give one value per row")
        lacking = [n for n in np.unique(rows.names).tolist() if n not in values]
        if lacking:
            raise AlignmentError(f"{what} lacks {len(lacking)} stimuli: {some(lacking)}; expected every stimulus of x")
        return np.asarray([values[n] for n in rows.names.tolist()])
    array = np.asanyarray(values)  # masked rows have no label
    if array.shape != (rows.n_source,):
        raise AlignmentError(
            f"{what} has shape {array.shape}; expected one value for each of {rows.n_source} rows of x"
        )
    return rows.take(array)


def _coordinate(rows: Rows, name: str, what: str) -> np.ndarray:
    if rows.data is None:
        raise OptionError(f"{what}={name!r}: x is an array without labels; give one value per row")
    sample = sample_dim(rows.data)
    known = [str(c) for c, v in rows.data.coords.items() if v.dims == (sample,)]
    if name not in known:
        raise OptionError(f"{what}={name!r}: x has no such label of its rows{suggest(name, known)}")
    values = np.asarray(rows.data[name].values)
    return values if values.dtype.kind in "fiub" else text(values)


def group_codes(rows: Rows, groups: Any, folds: Any) -> tuple[Index | None, bool]:
    """Return the group of each row, and whether it is the run that the representation brought along."""
    if groups is not None:
        return np.unique(_no_gaps(row_values(rows, groups, "groups")), return_inverse=True)[1].astype(np.intp), False
    counted = isinstance(folds, (int, np.integer, str))
    if rows.data is None or not counted or "run" not in rows.data.coords:
        return None, False
    if rows.data["run"].dims != (sample_dim(rows.data),):
        return None, False
    runs = np.unique(_no_gaps(row_values(rows, "run", "groups")), return_inverse=True)[1].astype(np.intp)
    return (runs, True) if runs.max() > 0 else (None, False)


def _no_gaps(labels: np.ndarray) -> np.ndarray:
    lacking = missing(labels)
    if lacking:
        raise AlignmentError(f"{len(lacking)} rows have no group label, first row {lacking[0]}; label or drop them")
    return np.asarray(labels)
