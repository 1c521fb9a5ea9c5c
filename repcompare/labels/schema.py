"""The schema of a representation: names of dims and variables, the constructor, and validate().

A representation is a plain ``xarray.Dataset`` with the variable ``response``; :data:`VARIABLES` is the table of what may
stand beside it.  A new variable gets a row there before it gets code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import SchemaError, choose, suggest
from repcompare.labels.values import as_float, text

__all__ = [
    "GIVE_NAMES",
    "MODALITIES",
    "SAMPLE_DIMS",
    "SCHEMA",
    "VARIABLES",
    "Kind",
    "Variable",
    "add_history",
    "dim_of",
    "history",
    "modality",
    "no_response",
    "representation",
    "sample_dim",
    "stimulus_labels",
    "text",
    "validate",
]

SCHEMA = "repcompare-1"
SAMPLE_DIMS = ("stimulus", "presentation", "time")
MODALITIES = ("fmri", "spikes", "lfp", "meeg", "ann", "behaviour", "simulated")

Kind = Literal["text", "number", "text or integer", "text, number or bool"]
GIVE_NAMES = "give stimulus= (or stimulus_id=), one per row"


@dataclass(frozen=True)
class Variable:
    """One row of the schema: a coordinate, the dim it lies on ("sample" stands for the sample dim), and its kind."""

    name: str
    dim: Literal["sample", "unit", "time"]
    kind: Kind
    meaning: str


VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        Variable("stimulus", "sample", "text", "name of the stimulus; the index in stimulus form"),
        Variable("stimulus_id", "sample", "text", "name of the stimulus of this row, in the other forms"),
        Variable("repeat", "sample", "text or integer", "which repeat of the stimulus this presentation is"),
        Variable("run", "sample", "text or integer", "recording run: a partition for cross-validation"),
        Variable("session", "sample", "text or integer", "recording session: a partition"),
        Variable("unit_id", "unit", "text", "unique name of the unit"),
        Variable("unit_region", "unit", "text", "brain region of the unit"),
        Variable("unit_layer", "unit", "text", "network layer of the unit"),
        Variable("unit_subject", "unit", "text", "person or animal"),
        Variable("unit_session", "unit", "text", "session in which the unit was recorded"),
        Variable("unit_hemisphere", "unit", "text", "hemisphere"),
        *(Variable(f"unit_{axis}", "unit", "number", "position in mm") for axis in "xyz"),
        *(Variable(f"unit_{axis}", "unit", "number", "voxel index") for axis in "ijk"),
        Variable("time", "time", "number", "bin centre or sampling instant in s"),
    )
}


def sample_dim(ds: xr.Dataset) -> str:
    """Return the sample dim of a representation: ``stimulus``, ``presentation`` or ``time``.

    Raises
    ------
    SchemaError
        When there is no ``response`` or it has no sample dim.
    """
    if "response" not in ds:
        raise SchemaError(no_response(ds))
    for dim in SAMPLE_DIMS:
        if dim in ds["response"].dims:
            return dim
    raise SchemaError(
        f"response has dims {ds['response'].dims}; expected one of {', '.join(SAMPLE_DIMS)} among them; "
        "rename the dim of the rows with ds.rename"
    )


def no_response(ds: xr.Dataset) -> str:
    """Say that a dataset is no representation."""
    found = sorted(map(str, ds.variables))
    return f"no variable 'response' among {found}; expected a representation; make one with repcompare.representation"


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


def dim_of(name: str, sample: str) -> str | None:
    """Return the dim on which a coordinate of this name lies, or None for a name outside the schema.

    Examples
    --------
    >>> dim_of("unit_colour", "stimulus"), dim_of("stimulus_category", "presentation"), dim_of("colour", "stimulus")
    ('unit', 'presentation', None)
    """
    if name in VARIABLES:
        dim = VARIABLES[name].dim
        return sample if dim == "sample" else dim
    if name.startswith("stimulus_"):
        return sample
    return "unit" if name.startswith("unit_") else None


def stimulus_labels(ds: xr.Dataset) -> np.ndarray:
    """Return the stimulus name of each row, as text of shape (n_samples,).

    A continuous recording without ``stimulus_id`` is labelled by its clock: ``run`` and time in s.

    Raises
    ------
    SchemaError
        When the rows have no labels.
    """
    sample = sample_dim(ds)
    for name in ("stimulus", "stimulus_id"):
        if name in ds.coords and ds[name].dims == (sample,):
            return text(ds[name].values)
    if sample == "time" and "time" in ds.coords:
        runs = ds["run"].values if "run" in ds.coords else [""] * ds.sizes["time"]
        return np.array([f"{r}@{t:.6f}s" for r, t in zip(runs, ds["time"].values, strict=True)])
    raise SchemaError(f"rows have no stimulus labels; expected a name for each {sample}; {GIVE_NAMES}")


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
    from repcompare.labels.rules import violations  # the rules need the names of this module

    found = violations(ds)
    if found:
        raise SchemaError("not a representation:\n" + "\n".join(f"- {line}" for line in found))
    return ds


def add_history(ds: xr.Dataset, *lines: str) -> xr.Dataset:
    """Return the dataset with lines added to ``attrs['history']``, the record of every default and every dropped row."""
    return ds.assign_attrs(history=[*history(ds), *lines])


def history(ds: xr.Dataset) -> list[str]:
    """Return ``attrs['history']`` as a list of str, whatever netCDF made of it."""
    found = ds.attrs.get("history", [])
    return [found] if isinstance(found, str) else [str(line) for line in found]


def modality(name: str) -> str:
    """Return ``name`` if it is a modality of the schema, else raise ``OptionError``."""
    choose(name, MODALITIES, "modality")
    return name
