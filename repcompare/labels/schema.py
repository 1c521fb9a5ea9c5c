"""The schema of a representation: the constructor, validate(), and the record of what was done to it.

A representation is a plain ``xarray.Dataset`` with the variable ``response``; ``labels/variables.py`` is the table of what
may stand beside it, ``labels/rules.py`` holds every rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import SchemaError, suggest
from repcompare.labels.rules import broken_time, violations
from repcompare.labels.values import as_float, text
from repcompare.labels.variables import SAMPLE_DIMS, SCHEMA, VARIABLES, dim_of, sample_dim, stimulus_labels

__all__ = [
    "SAMPLE_DIMS",
    "SCHEMA",
    "VARIABLES",
    "add_history",
    "dim_of",
    "history",
    "representation",
    "sample_dim",
    "stimulus_labels",
    "text",
    "validate",
]


def representation(
    values: npt.ArrayLike,
    *,
    dims: Sequence[str] = ("stimulus", "unit"),
    attrs: dict[str, Any] | None = None,
    **coords: Any,
) -> xr.Dataset:
    """Make a validated representation from an array.

    Parameters
    ----------
    values : array-like, shape (n_samples, n_units) or (n_samples, n_units, n_times)
        Responses.  float16, bool and small integers become float32, wider integers float64; float32 and float64 stay.
        NaN means missing; infinite values are refused.
    dims : sequence of str
        Names of the axes: one sample dim (``stimulus``, ``presentation`` or ``time``), ``unit``, and optionally ``time``.
    attrs : dict, optional
        ``modality``, ``response_units``, ``source``, ``history`` and further netCDF-safe attributes.
    **coords
        Labels by their schema name: ``stimulus=`` (or ``stimulus_id=``), ``unit_id=``, ``unit_region=``, ``repeat=``,
        ``time=`` (s) ...  One value for a whole dim is repeated.  ``unit_id`` defaults to ``unit/0``, ``unit/1`` ...

    Returns
    -------
    xarray.Dataset
        With the variable ``response`` (sample, unit[, time]).

    Raises
    ------
    SchemaError
        Naming everything that breaks the schema: duplicate or missing labels, unknown coordinates, infinite values.

    Examples
    --------
    >>> import numpy as np
    >>> ds = representation(np.eye(3, 2), stimulus=["cat", "dog", "owl"], unit_region="V4")
    >>> dict(ds.sizes)
    {'stimulus': 3, 'unit': 2}
    >>> [str(u) for u in ds.unit_id.values]
    ['unit/0', 'unit/1']
    """
    dims = tuple(dims)
    array = as_float(values)
    if array.ndim != len(dims):
        raise SchemaError(
            f"values have {array.ndim} axes of lengths {array.shape}; dims={dims} name {len(dims)}; "
            "expected one name per axis; give dims= in the order of the axes"
        )
    if len(set(dims)) != len(dims) or "unit" not in dims or not any(d in SAMPLE_DIMS for d in dims):
        raise SchemaError(
            f"dims={dims}: expected one sample dim ({', '.join(SAMPLE_DIMS)}), 'unit' and optionally 'time'; "
            "name the axes of the values by dims="
        )
    sizes = dict(zip(dims, array.shape, strict=True))
    sample = next(d for d in SAMPLE_DIMS if d in dims)
    other, name = ("stimulus_id", "stimulus") if sample == "stimulus" else ("stimulus", "stimulus_id")
    if other in coords and name not in coords:
        coords[name] = coords.pop(other)
    if "unit_id" not in coords:
        coords["unit_id"] = [f"unit/{i}" for i in range(sizes["unit"])]
    variables = {name: _coordinate(name, value, sample, sizes) for name, value in coords.items() if value is not None}
    ordered = (sample, "unit", *(d for d in dims if d not in (sample, "unit")))
    response = xr.Variable(dims, array).transpose(*ordered)
    ds = xr.Dataset({"response": response}, coords=variables, attrs={"schema": SCHEMA, **(attrs or {})})
    if "time" in ds.coords:
        ds["time"].attrs.setdefault("units", "s")
    validate(ds)
    return ds


def _coordinate(name: str, value: Any, sample: str, sizes: dict[str, int]) -> tuple[str, np.ndarray]:
    dim = dim_of(name, sample)
    if dim is None or dim not in sizes:
        known = [*VARIABLES, "stimulus_<label>", "unit_<label>"]
        where = "is not a name of the schema" if dim is None else f"needs a dim {dim!r}, which the values lack"
        raise SchemaError(f"coordinate {name!r} {where}{suggest(name, known)}")
    array = np.asarray(value)
    if array.ndim == 0:
        array = np.full(sizes[dim], array)
    if array.shape != (sizes[dim],):
        raise SchemaError(
            f"{name} has shape {array.shape}; expected ({sizes[dim]},), one per {dim}; "
            "give as many labels as the values have, or one for all"
        )
    return dim, text(array)


def validate(ds: xr.Dataset) -> xr.Dataset:
    """Check every rule of the schema.

    Parameters
    ----------
    ds : xarray.Dataset
        What claims to be a representation.  Values that are still on disk are not read; they are checked when used.

    Returns
    -------
    xarray.Dataset
        The same object.

    Raises
    ------
    SchemaError
        With every violation, one line each.

    Examples
    --------
    >>> import xarray as xr
    >>> validate(xr.Dataset({"response": (("stimulus", "unit"), [[1.0]])}))
    Traceback (most recent call last):
    repcompare.errors.SchemaError: not a representation:
    - stimulus: rows have no stimulus labels; ...
    """
    found = violations(ds)
    if found:
        raise SchemaError("not a representation:\n" + "\n".join(f"- {line}" for line in found))
    return ds


def check_time(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return a representation, or raise ``SchemaError`` where its rows are no recording in the order of time.

    Blocks, gaps and delays are of rows: moments in another order, as ``ds.isel`` leaves them, would give wrong scores.
    """
    found = broken_time(ds, "time") if sample_dim(ds) == "time" and "time" in ds.coords else []
    if found:
        raise SchemaError(f"{name}: " + "; ".join(found))
    return ds


def add_history(ds: xr.Dataset, *lines: str) -> xr.Dataset:
    """Return the dataset with lines added to ``attrs['history']``, the record of every default and every dropped row."""
    return ds.assign_attrs(history=[*history(ds), *lines])


def history(ds: xr.Dataset) -> list[str]:
    """Return ``attrs['history']`` as a list of str, whatever netCDF made of it."""
    found = ds.attrs.get("history", [])
    return [found] if isinstance(found, str) else [str(line) for line in found]
