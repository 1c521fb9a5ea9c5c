"""Two sides of a direct function become two arrays with matching rows, and one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, SchemaError
from repcompare.labels.align import align, to_matrix, to_repeats
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.schema import check_time, sample_dim, stimulus_labels

Data = xr.Dataset | npt.ArrayLike
NAN = ("raise", "drop_units", "drop_stimuli", "pairwise")


def matched(x: Data, y: Data, repeats: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Any]:
    """Two arrays with matching rows, the names of the rows where there are any, and what the rows are."""
    labelled = [isinstance(side, xr.Dataset) for side in (x, y)]
    if any(labelled) and not all(labelled):
        raise SchemaError("one side has labels and the other has none; make both representations, or give two arrays")
    if isinstance(x, xr.Dataset) and isinstance(y, xr.Dataset):
        names = align({"x": check_time(x, "x"), "y": check_time(y, "y")}).stimuli
        door = to_repeats if repeats else to_matrix
        continuous = sample_dim(x) == "time" and sample_dim(y) == "time"
        return door(x, names), door(y, names), names, "time" if continuous else "stimulus"
    a, b = _array(x, "x"), _array(y, "y")
    if a.shape[:-1] != b.shape[:-1]:
        raise AlignmentError(f"x has shape {a.shape}, y {b.shape}; expected the same number of rows, one per stimulus")
    return a, b, None, "stimulus"


def one_side(x: Data) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(x, xr.Dataset):
        check_time(x, "x")
        names = stimulus_labels(average_repeats(x) if sample_dim(x) == "presentation" else x)
        return to_matrix(x, names), names
    values = _array(x, "x")
    return values, np.arange(len(values)).astype(str)


def _array(values: Any, name: str) -> np.ndarray:
    if isinstance(values, str):
        raise SchemaError(f"{name} is text, {values!r}; expected a representation or an array; read a file by rc.read")
    if isinstance(values, Mapping):
        raise SchemaError(
            f"{name} is a {type(values).__name__}; expected one representation or an array; give one of its parts, or take"
            " rc.compare or rc.rdm, which take several"
        )
    array = np.asarray(values)
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiub":
        raise SchemaError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected numbers (n_stimuli, n_units)"
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def without_nan(a: np.ndarray, b: np.ndarray, nan: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the NaN policy to a pair; also return which rows are left."""
    rows = np.arange(len(a))
    if not a.size or not b.size:
        raise MeasureError(
            f"x has shape {a.shape} and y {b.shape}; expected at least one row and one unit on each side"
        )
    if nan == "drop_units":
        a, b = (v[:, ~np.isnan(v).any(axis=0)] for v in (a, b))
    elif nan == "drop_stimuli":
        rows = np.flatnonzero(~(np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1)))
        a, b = a[rows], b[rows]
    if not a.size or not b.size:
        raise MeasureError(f"nan={nan!r} leaves nothing to compare; choose another policy")
    return a, b, rows
