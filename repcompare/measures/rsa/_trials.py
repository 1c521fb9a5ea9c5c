"""Trials and what they are trials of: which stimulus, in which partition, and the means of these cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, some
from repcompare.kernels.crossnobis import cell_contrasts, centre_partitions, mean_cells, mean_cells_present
from repcompare.measures.rsa._condensed import pair_rows

Values = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.intp]
Labels = Sequence[Any] | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trials:
    """Single trials with their labels as numbers.

    Attributes
    ----------
    values : ndarray, shape (n_trials, n_units)
        float32 or float64; NaN where missing.
    stimulus, partition : ndarray of int, shape (n_trials,)
        Stimulus and partition of each trial.
    names, partitions : ndarray, shape (n_stimuli,) and (n_partitions,)
        Their labels, in order of first appearance.
    has_nan : bool
        A value is missing.
    independent : bool
        Every trial is a partition of its own.
    """

    values: Values
    stimulus: Codes
    partition: Codes
    names: npt.NDArray[Any]
    partitions: npt.NDArray[Any]
    has_nan: bool = False
    independent: bool = False

    @property
    def cell(self) -> Codes:
        """Cell of each trial: partitions of a stimulus follow one another."""
        return self.stimulus * len(self.partitions) + self.partition

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Trials of each stimulus in each partition, shape (n_stimuli, n_partitions)."""
        shape = len(self.names), len(self.partitions)
        return np.bincount(self.cell, minlength=shape[0] * shape[1]).reshape(shape)

    @cached_property
    def _rows(self) -> Codes | None:
        """Trial of each cell, shape (n_stimuli, n_partitions), where every cell has one."""
        return np.argsort(self.cell, kind="stable").reshape(self.counts.shape) if (self.counts == 1).all() else None

    def means(self, part: slice, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
        """Return cell means over some units, each partition centred over its stimuli, shape (K, M, n_part)."""
        k, m = self.counts.shape
        start, stop, _ = part.indices(self.values.shape[1])
        out = np.empty((k * m, stop - start), dtype=dtype)
        mean_cells(self.values, self.cell, start, stop, out)
        cells = out.reshape(k, m, -1)
        centre_partitions(cells, self.counts > 0)
        return cells

    def contrasts(
        self, part: slice, dtype: npt.DTypeLike = np.float64, room: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """Return sums over partitions over sqrt(M) (K rows), then contrasts between partitions (K (M - 1) rows).

        Of the cell means of a complete design over some units, each partition centred over its stimuli: an orthonormal
        mixture of them, which parts what the partitions share from what differs.  Shape (K M, n_part), in ``room`` (at
        least as many values of the dtype) where that is given: memory that is used again needs not be fetched again.
        """
        k, m = self.counts.shape
        start, stop, _ = part.indices(self.values.shape[1])
        values, rows = self.values, self._rows
        if rows is None:
            values = np.empty((k * m, stop - start))
            mean_cells(self.values, self.cell, start, stop, values)
            rows, start, stop = np.arange(k * m).reshape(k, m), 0, stop - start
        shape = k * m, stop - start
        out = np.empty(shape, dtype=dtype) if room is None else room[: shape[0] * shape[1]].reshape(shape)
        cell_contrasts(values, rows, start, stop, out[:k], out[k:].reshape(k, m - 1, -1))
        return out

    def means_present(self) -> npt.NDArray[np.float64]:
        """Return the means of the finite values of each cell, shape (K, M, P); NaN where there are none."""
        k, m = self.counts.shape
        out = np.empty((k * m, self.values.shape[1]))
        mean_cells_present(self.values, self.cell, out)
        return out.reshape(k, m, -1)

    def with_values(self, values: Values) -> Trials:
        """Return the same labels with other responses."""
        return replace(self, values=values)


def code(labels: Labels, n: int, what: str) -> tuple[Codes, npt.NDArray[Any]]:
    """Return labels as numbers, and the label of each number, in order of first appearance.

    Raises
    ------
    MeasureError
        Unless there is one label per row, none of them missing.

    Examples
    --------
    >>> code(["b", "a", "b"], 3, "stimulus")
    (array([0, 1, 0]), array(['b', 'a'], dtype='<U1'))
    """
    given = np.asarray(labels)
    if given.shape != (n,):
        raise MeasureError(f"{what} has shape {given.shape}; expected one label for each of the {n} rows")
    if given.dtype.kind == "O":
        given = given.astype(str)
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise MeasureError(f"{what} has {int(np.isnan(given).sum())} missing labels (NaN); expected one for every row")
    found, first, inverse = np.unique(given, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[inverse.reshape(-1)], found[order]


def trials(values: Values, stimulus: Labels | None, partition: Labels | None, *, has_nan: bool = False) -> Trials:
    """Return labelled trials.

    Parameters
    ----------
    values : ndarray, shape (n_trials, n_units)
        Checked responses.
    stimulus, partition : sequence, shape (n_trials,)
        Labels.  Without ``partition`` each trial is a partition of its own.
    has_nan : bool
        A value is missing.

    Raises
    ------
    MeasureError
        Without stimulus labels, with a wrong number of labels, or with fewer than 2 stimuli.
    """
    n = len(values)
    if stimulus is None:
        raise MeasureError(
            "rows have no stimulus labels: repeats of a stimulus cannot be told; give stimulus=, one label per row"
        )
    rows, names = code(stimulus, n, "stimulus")
    if len(names) < 2:
        raise MeasureError(f"all {n} rows are the stimulus {names[0]!s}; expected 2 stimuli or more")
    if partition is None:
        own = np.arange(n)
        return Trials(values, rows, own, names, own, has_nan, independent=True)
    parts, labels = code(partition, n, "partition")
    return Trials(values, rows, parts, names, labels, has_nan)


def require_partitions(data: Trials) -> None:
    """Raise unless there are 2 partitions or more."""
    if len(data.partitions) < 2:
        raise MeasureError(
            f"all trials are of the partition {data.partitions[0]!s}; a cross-validated distance needs 2 or more:"
            " products of one partition with itself keep the noise; give another partition=, or distance='mahalanobis'"
        )


def require_complete(data: Trials, what: str) -> None:
    """Raise, naming cells, unless every stimulus occurs in every partition."""
    empty = np.argwhere(data.counts == 0)
    if len(empty):
        cells = some(f"{data.names[i]!s} in {data.partitions[m]!s}" for i, m in empty)
        raise MeasureError(
            f"{what} needs every stimulus in every partition; {len(empty)} cells are empty: {cells};"
            " leave out these stimuli or partitions"
        )


def pair_names(names: npt.NDArray[Any], positions: npt.NDArray[np.intp]) -> str:
    """Return the first few pairs of stimuli at positions of a condensed RDM, for messages."""
    i, j = pair_rows(positions[:5], len(names))
    shown = ", ".join(f"({names[a]!s}, {names[b]!s})" for a, b in zip(i, j, strict=True))
    return shown + (f" and {positions.size - 5} more" if positions.size > 5 else "")
