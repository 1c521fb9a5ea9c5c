"""Two sides that are read block by block: rows matched by name, missing values found and left out by policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, some
from repcompare.functional._encode_rows import Rows, given_groups, held_together, in_time, origin_of_rows
from repcompare.functional._pair import Data
from repcompare.labels.align import align
from repcompare.labels.schema import check_time, sample_dim, stimulus_labels, text
from repcompare.labels.values import duplicates
from repcompare.measures._measure import Array, Index

BLOCK_SHARE = 1 / 16  # of the memory, for a block that is looked through for missing values


@dataclass(frozen=True)
class Side:
    """One side, read by rows and units.

    Attributes
    ----------
    at : ndarray of shape (n_rows,)
        Stored row of each matched row.
    kept : ndarray of shape (n_units,)
        Stored unit of each unit, increasing.
    dtype : dtype
        float32, or float64 for all else.
    read : callable
        ``(rows, units) -> ndarray``; rows are a slice or increasing, units a slice, both as stored.
    stored : (int, int)
        Rows and units that the file keeps together; 1 where they can be read singly.
    ids : ndarray of shape (n_units,), optional
        Names of the units.
    """

    at: Index
    kept: Index
    dtype: np.dtype[Any]
    read: Callable[[slice | Index, slice], Array]
    stored: tuple[int, int] = (1, 1)
    ids: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and units that are used."""
        return self.at.size, self.kept.size

    def rows(self, places: Index, units: slice) -> Array:
        """Return the rows at some places among the matched rows."""
        at = self.at[places]
        order = np.argsort(at, kind="stable")
        run = at[order]
        together = run[-1] - run[0] + 1 == run.size
        values = self._columns(slice(int(run[0]), int(run[-1]) + 1) if together else run, units)
        return values if np.array_equal(order, np.arange(order.size)) else values[np.argsort(order)]

    def _columns(self, rows: slice | Index, units: slice) -> Array:
        kept = self.kept[units]
        first, last = int(kept[0]), int(kept[-1]) + 1
        values = np.asarray(self.read(rows, slice(first, last)), dtype=self.dtype)
        return values if kept.size == last - first else values[:, kept - first]

    def columns(self, units: slice) -> Array:
        """Return some units of all matched rows."""
        return self.rows(np.arange(self.at.size), units)


def matched_sides(x: Data, y: Data, groups: Any, folds: Any) -> tuple[Side, Side, Rows]:
    """Match the rows of both sides without reading them."""
    labelled = [isinstance(side, xr.Dataset) for side in (x, y)]
    if any(labelled) and not all(labelled):
        raise SchemaError("one side has labels and the other has none; make both representations, or give two arrays")
    if not (isinstance(x, xr.Dataset) and isinstance(y, xr.Dataset)):
        one, other, names, sample = _array(x, "x"), _array(y, "y"), None, "stimulus"
        if one.shape[0] != other.shape[0]:
            raise AlignmentError(
                f"x has shape {one.shape}, y {other.shape}; expected the same number of rows, one per stimulus"
            )
    else:
        names = align({"x": check_time(x, "x"), "y": check_time(y, "y")}).stimuli
        continuous = sample_dim(x) == "time" and sample_dim(y) == "time"
        sample = "time" if continuous else "stimulus"
        if continuous:
            names = names[in_time(x, names)]
        one, other = _labelled(x, names, "x"), _labelled(y, names, "y")
    origin = origin_of_rows((x, y), names, one.shape[0])
    labels, runs, notes = held_together(x, y, names, groups=given_groups(groups, origin), folds=folds)
    empty = np.zeros((one.shape[0], 0))
    return one, other, Rows(empty, empty, sample, labels, runs, other.ids, notes, origin=origin)


def _labelled(side: xr.Dataset, names: np.ndarray, name: str) -> Side:
    response, sample = side["response"], sample_dim(side)
    if sample == "presentation" or response.ndim != 2:
        raise SchemaError(
            f"{name}: has dims {dict(response.sizes)}; with memory= expected one row per stimulus (stimulus, unit), or a "
            "recording (time, unit); average repeats and time bins first, and save the result"
        )
    labels = stimulus_labels(side)
    repeated = duplicates(labels)
    if repeated:
        raise AlignmentError(f"{name}: stimuli {some(repeated)} are the label of several rows; expected one row each")
    order = np.argsort(labels, kind="stable")
    at = order[np.searchsorted(labels, names, sorter=order)]

    def read(rows: slice | Index, units: slice) -> Array:
        return np.asarray(response.isel({sample: rows, "unit": units}).transpose(sample, "unit").values)

    stored, chunks = (1, 1), response.encoding.get("chunksizes")
    if chunks and len(chunks) == response.ndim:
        stored = int(chunks[response.dims.index(sample)]), int(chunks[response.dims.index("unit")])
    ids = text(side["unit_id"].values).astype(str)
    return Side(at, np.arange(response.sizes["unit"]), _float(response.dtype), read, stored, ids)


def _array(values: Any, name: str) -> Side:
    array = values if hasattr(values, "shape") and hasattr(values, "dtype") else np.asarray(values)
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    if len(shape) != 2 or dtype.kind not in "fiub" or 0 in shape:
        raise SchemaError(f"{name} has shape {shape} and dtype {dtype}; expected numbers (n_stimuli, n_units)")
    chunks = getattr(array, "chunks", None)
    plain = isinstance(chunks, tuple) and len(chunks) == 2 and all(isinstance(c, int) for c in chunks)
    stored = (chunks[0], chunks[1]) if plain and chunks else (1, 1)
    rows, units = np.arange(shape[0]), np.arange(shape[1])
    return Side(rows, units, _float(dtype), lambda some, which: array[some, which], stored)


def _float(dtype: Any) -> np.dtype[Any]:
    return np.dtype(np.float32 if np.dtype(dtype) == np.float32 else np.float64)


def row_chunks(x: Side, y: Side, size: int, units: slice) -> Iterator[tuple[Array, Array, Index]]:
    """Yield blocks of matching rows of x and of some units of y, in the stored order of the side with the longer rows."""
    wide = y if y.shape[1] * y.dtype.itemsize >= x.shape[1] * x.dtype.itemsize else x
    step = size // wide.stored[0] * wide.stored[0] or size  # whole chunks of the file, where they fit
    every, order = slice(0, x.shape[1]), np.argsort(wide.at, kind="stable")
    for start in range(0, order.size, step):
        places = order[start : start + step]
        yield x.rows(places, every), y.rows(places, units), places


def without_missing(sides: tuple[Side, Side], rows: Rows, nan: str, memory: int) -> tuple[Side, Side, Rows]:
    """Look through both sides once and leave out the units, or the stimuli, with missing values."""
    if nan == "raise":
        return (*sides, rows)
    missing = [_missing(side, memory) for side in sides]
    one, other = sides
    if nan == "drop_units":
        one, other = (
            replace(side, kept=side.kept[~units], ids=None if side.ids is None else side.ids[~units])
            for side, (_, units) in zip(sides, missing, strict=True)
        )
        rows = replace(rows, unit_ids=other.ids)
    else:
        good = np.flatnonzero(~(missing[0][0] | missing[1][0]))
        one, other = (replace(side, at=side.at[good]) for side in sides)
        groups = None if rows.groups is None else rows.groups[good]
        origin = None if rows.origin is None else rows.origin.kept(good)
        rows = replace(rows, x=rows.x[good], y=rows.y[good], groups=groups, origin=origin)
    if 0 in one.shape or 0 in other.shape:
        raise MeasureError(f"nan={nan!r} leaves nothing to compare; choose another policy")
    return one, other, rows


def _missing(side: Side, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """Flag rows and units with missing values."""
    rows, units = np.zeros(side.shape[0], dtype=bool), np.zeros(side.shape[1], dtype=bool)
    order, every = np.argsort(side.at, kind="stable"), slice(0, side.shape[1])
    size = max(1, int(BLOCK_SHARE * memory / (side.dtype.itemsize * side.shape[1])))
    size = size // side.stored[0] * side.stored[0] or size
    for start in range(0, order.size, size):
        places = order[start : start + size]
        found = np.isnan(side.rows(places, every))
        rows[places], units = found.any(axis=1), units | found.any(axis=0)
    return rows, units


def refuse(asked: dict[str, tuple[Any, Any, str]]) -> None:
    """Raise ``OptionError`` for what needs all rows at once; per option what was given, what goes, and a way out."""
    for name, (given, only, way) in asked.items():
        if given != only:
            raise OptionError(
                f"{name}={given!r} needs all rows at once and memory= reads them in blocks; expected {name}={only!r}; {way}"
            )
