"""Two sides of a direct function become two arrays with matching rows, and one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, choose
from repcompare.labels.align import align, to_matrix, to_repeats
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.measures._measure import Folds, Measure, as_outcome
from repcompare.statistics.folds import make_folds

Data = xr.Dataset | npt.ArrayLike
NAN = ("raise", "drop_units", "drop_stimuli", "pairwise")


def score_pair(measure: Measure, x: Data, y: Data, *, nan: str, folds: Any = None, seed: int = 0) -> float:
    choose(nan, NAN, "nan")
    a, b, _, sample = matched(x, y, repeats=measure.needs == "repeats")
    if nan == "pairwise" and not measure.accepts_nan:
        raise OptionError(f"{measure.name} has no form for missing values; use nan='drop_units' or 'drop_stimuli'")
    if measure.needs == "mean":
        a, b, _ = without_nan(a, b, nan)
    drawn: Folds | None = None
    if measure.fitted:
        drawn = make_folds(a.shape[-2], folds, seed=seed, sample=sample)
    if nan != "pairwise" and measure.accepts_nan and np.isnan(a.sum() + b.sum()):
        raise MeasureError(
            f"{measure.name}: missing values (NaN); go on with nan='drop_units', 'drop_stimuli' or 'pairwise'"
        )
    states = measure.prepared(a, drawn), measure.prepared(b, drawn, side="target")
    score = as_outcome(measure.compare(*states)).score
    if not np.isfinite(score):
        raise MeasureError(f"{measure.name} is not defined on these data (it gave {score})")
    return score


def matched(x: Data, y: Data, repeats: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Any]:
    """Two arrays with matching rows, the names of the rows where there are any, and what the rows are."""
    labelled = [isinstance(side, xr.Dataset) for side in (x, y)]
    if any(labelled) and not all(labelled):
        raise SchemaError("one side has labels and the other has none; make both representations, or give two arrays")
    if isinstance(x, xr.Dataset) and isinstance(y, xr.Dataset):
        names = align({"x": x, "y": y}).stimuli
        door = to_repeats if repeats else to_matrix
        continuous = sample_dim(x) == "time" and sample_dim(y) == "time"
        return door(x, names), door(y, names), names, "time" if continuous else "stimulus"
    a, b = _array(x, "x"), _array(y, "y")
    if a.shape[:-1] != b.shape[:-1]:
        raise AlignmentError(f"x has shape {a.shape}, y {b.shape}; expected the same number of rows, one per stimulus")
    return a, b, None, "stimulus"


def one_side(x: Data) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(x, xr.Dataset):
        names = stimulus_labels(average_repeats(x) if sample_dim(x) == "presentation" else x)
        return to_matrix(x, names), names
    values = _array(x, "x")
    return values, np.arange(len(values)).astype(str)


def _array(values: Any, name: str) -> np.ndarray:
    if isinstance(values, (Mapping, str)):
        raise SchemaError(f"{name} is a {type(values).__name__}; expected a representation or an array; see compare()")
    array = np.asarray(values)
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiub":
        raise SchemaError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected numbers (n_stimuli, n_units)"
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def without_nan(a: np.ndarray, b: np.ndarray, nan: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the NaN policy to a pair; also return which rows are left."""
    rows = np.arange(len(a))
    if nan == "drop_units":
        a, b = (v[:, ~np.isnan(v).any(axis=0)] for v in (a, b))
    elif nan == "drop_stimuli":
        rows = np.flatnonzero(~(np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1)))
        a, b = a[rows], b[rows]
    if not a.size or not b.size:
        raise MeasureError(f"nan={nan!r} leaves nothing to compare; choose another policy")
    return a, b, rows
