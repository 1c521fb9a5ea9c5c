"""Encoding from files that do not fit in memory: rows are matched by name and read block by block."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, OptionError, SchemaError, some, suggest
from repcompare.functional._encode_rows import Drawing, Rows, draw_folds, held_together, in_time
from repcompare.functional._encoded import Encoded
from repcompare.functional._pair import Data
from repcompare.labels.align import align
from repcompare.labels.schema import sample_dim, stimulus_labels, text
from repcompare.labels.values import duplicates
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._options import Options, checked_alphas
from repcompare.measures.encoding.ridge import ridge
from repcompare.measures.encoding.streaming import Progress, Stream, ridge_stream

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "B": 1.0}


@dataclass(frozen=True)
class Request:
    """What ``encode(..., memory=)`` was asked for beside the data and the options of ridge."""

    memory: int | str
    folds: Any
    groups: Any
    drawing: Drawing
    weights: bool
    progress: Progress | bool | None


@dataclass(frozen=True)
class Side:
    """One side, read by rows and units.

    Attributes
    ----------
    shape : (n_rows, n_units)
        As stored.
    dtype : dtype
        float32, or float64 for all else.
    place : ndarray of shape (n_rows,)
        Place of each stored row among the matched rows.
    read : callable
        ``(rows, units) -> ndarray``; rows are a slice or increasing.
    stored : int
        Rows that the file keeps together; 1 where rows can be read singly.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    place: Index
    read: Callable[[slice | Index, slice], Array]
    stored: int = 1

    def rows(self, places: Index, units: slice) -> Array:
        """Return the rows at some places among the matched rows."""
        at = self._stored_at[places]
        order = np.argsort(at, kind="stable")
        run = at[order]
        together = run[-1] - run[0] + 1 == run.size
        values = self.read(slice(int(run[0]), int(run[-1]) + 1) if together else run, units)
        values = np.asarray(values, dtype=self.dtype)
        return values if np.array_equal(order, np.arange(order.size)) else values[np.argsort(order)]

    @cached_property
    def _stored_at(self) -> Index:
        return np.argsort(self.place, kind="stable")


def encode_stream(x: Data, y: Data, request: Request, options: Mapping[str, Any]) -> Encoded:
    """Return what ``encode`` returns, from one pass over the data where the memory allows."""
    checked = _options(options)
    memory = n_bytes(request.memory)
    one, other, rows = _matched(x, y, request)
    drawn = draw_folds(rows, request.folds, y, request.drawing)
    both = np.float32 if one.dtype == other.dtype == np.float32 else np.float64
    stream = Stream(
        one.shape[0], one.shape[1], other.shape[1], both, lambda size, units: _chunks(one, other, size, units)
    )
    with showing(request.progress) as progress:
        found = ridge_stream(stream, drawn, checked, memory=memory, weights=request.weights, progress=progress)
    outcome, forced = found.outcome, request.drawing.force
    details = dict(outcome.details)
    return Encoded(
        score=outcome.score,
        unit_scores=np.asarray(outcome.unit_scores),
        alphas=details.pop("alphas"),
        fold_alphas=details.pop("fold_alphas"),
        fold_scores=np.asarray(outcome.fold_scores),
        folds=drawn,
        model="ridge",
        notes=(*rows.notes, *(f"forced: the guard {name!r} was overridden" for name in forced), *outcome.notes),
        counts=outcome.counts,
        details=details,
        gap=drawn.gap,
        forced=forced,
        weights=found.weights,
        unit_ids=rows.unit_ids,
        feature_ids=_ids(x) if request.weights else None,
    )


def refuse(asked: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise ``OptionError`` for what needs all rows at once; ``asked`` has what was given and the only one that goes."""
    for name, (given, only) in asked.items():
        if given != only:
            raise OptionError(
                f"{name}={given!r} needs all rows at once and memory= reads them in blocks; expected {name}={only!r}; "
                f"leave out memory= to have it, or leave out {name}="
            )


def n_bytes(size: int | str) -> int:
    """Return a number of bytes.

    Raises
    ------
    OptionError
        For anything but a number > 0, or text such as "4GB".

    Examples
    --------
    >>> n_bytes("1.5 GB"), n_bytes(10**9)
    (1500000000, 1000000000)
    """
    found = float("nan")
    if isinstance(size, (int, float, np.integer)) and not isinstance(size, bool):
        found = float(size)
    elif isinstance(size, str):
        for unit, factor in UNITS.items():
            number = size.strip().upper().removesuffix(unit)
            if number != size.strip().upper():
                with suppress(ValueError):
                    found = float(number) * factor
                break
    if not (np.isfinite(found) and found >= 1):
        raise OptionError(f"memory={size!r}; expected a number of bytes, or text such as '500MB' or '4GB'")
    return int(found)


def _options(options: Mapping[str, Any]) -> Options:
    known = signature(ridge).parameters
    for name in options:
        if name not in known:
            raise OptionError(f"with memory=, model='ridge' has no option {name!r}{suggest(name, known)}")
    given = {name: p.default for name, p in known.items()} | dict(options)
    return Options(**given | {"alphas": checked_alphas(given["alphas"])})


def _matched(x: Data, y: Data, request: Request) -> tuple[Side, Side, Rows]:
    """Match the rows of both sides without reading them."""
    labelled = [isinstance(side, xr.Dataset) for side in (x, y)]
    if any(labelled) and not all(labelled):
        raise SchemaError("one side has labels and the other has none; make both representations, or give two arrays")
    if not (isinstance(x, xr.Dataset) and isinstance(y, xr.Dataset)):
        one, other, names, sample = _array(x, "x"), _array(y, "y"), None, "stimulus"
        if one.shape[0] != other.shape[0]:
            raise AlignmentError(f"x has shape {one.shape}, y {other.shape}; expected the same number of rows")
    else:
        names = align({"x": x, "y": y}).stimuli
        continuous = sample_dim(x) == "time" and sample_dim(y) == "time"
        sample = "time" if continuous else "stimulus"
        if continuous:
            names = names[in_time(x, names)]
        one, other = _labelled(x, names, "x"), _labelled(y, names, "y")
    if sample == "time" and request.drawing.gap == "auto" and isinstance(request.folds, (int, np.integer)):
        raise OptionError("gap='auto' is measured on the whole recording; with memory= give a number of rows, gap=")
    groups, runs, notes = held_together(x, y, names, groups=request.groups, folds=request.folds)
    empty = np.zeros((one.shape[0], 0))
    return one, other, Rows(empty, empty, sample, groups, runs, _ids(y), notes)


def _ids(side: Data) -> np.ndarray | None:
    return text(side["unit_id"].values).astype(str) if isinstance(side, xr.Dataset) else None


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
    order = np.argsort(names, kind="stable")
    place = order[np.searchsorted(names, labels, sorter=order)]

    def read(rows: slice | Index, units: slice) -> Array:
        return np.asarray(response.isel({sample: rows, "unit": units}).transpose(sample, "unit").values)

    chunks = response.encoding.get("chunksizes")
    stored = int(chunks[response.dims.index(sample)]) if chunks and len(chunks) == response.ndim else 1
    shape = response.sizes[sample], response.sizes["unit"]
    return Side(shape, _float(response.dtype), place, read, stored)


def _array(values: Any, name: str) -> Side:
    array = values if hasattr(values, "shape") and hasattr(values, "dtype") else np.asarray(values)
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    if len(shape) != 2 or dtype.kind not in "fiub" or 0 in shape:
        raise SchemaError(f"{name} has shape {shape} and dtype {dtype}; expected numbers (n_stimuli, n_units)")
    chunks = getattr(array, "chunks", None)
    stored = chunks[0] if isinstance(chunks, tuple) and chunks and isinstance(chunks[0], int) else 1
    return Side(
        (shape[0], shape[1]), _float(dtype), np.arange(shape[0]), lambda rows, units: array[rows, units], stored
    )


def _float(dtype: Any) -> np.dtype[Any]:
    return np.dtype(np.float32 if np.dtype(dtype) == np.float32 else np.float64)


def _chunks(x: Side, y: Side, size: int, units: slice) -> Iterator[tuple[Array, Array, Index]]:
    """Yield blocks of matching rows, in the order of the side with the longer rows."""
    wide = y if y.shape[1] * y.dtype.itemsize >= x.shape[1] * x.dtype.itemsize else x
    step = size // wide.stored * wide.stored or size  # whole chunks of the file, where they fit
    every = slice(0, x.shape[1])
    for start in range(0, wide.shape[0], step):
        places = wide.place[start : start + step]
        yield x.rows(places, every), y.rows(places, units), places


@contextmanager
def showing(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Give the function that shows progress: the user's own, a bar on a terminal, or none."""
    if callable(progress):
        yield progress
    elif progress is False or not sys.stderr.isatty():
        yield None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, line: bar.update(task, completed=done, total=total, description=line[:40])
