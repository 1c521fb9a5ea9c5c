"""Every rule of the schema of representations, each with its message: what was found, what is expected, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasMultiIndex

from repcompare.errors import some, suggest
from repcompare.labels.values import duplicates, infinite, text
from repcompare.labels.variables import GIVE_NAMES, MODALITIES, SCHEMA, VARIABLES, Kind, dim_of, no_response, sample_dim


def violations(ds: object) -> list[str]:
    """Return every violation of the schema as ``variable: what was found; what is expected``, empty when valid."""
    if not isinstance(ds, xr.Dataset):
        return [
            f"object: found a {type(ds).__name__}; expected an xarray.Dataset with the variable 'response'; "
            "make one with repcompare.representation"
        ]
    if "response" not in ds.data_vars:
        return [f"response: {no_response(ds)}"]
    stacked = _multi_indexed(ds)
    broken = stacked or _broken_dims(ds["response"])
    if broken:
        return broken
    sample = sample_dim(ds)
    found = _broken_values(ds["response"])
    found += [
        f"{d}: has length 0; expected at least one; check what was selected"
        for d, n in ds["response"].sizes.items()
        if n == 0
    ]
    found += [
        f"{v}: is a second variable; expected 'response' alone; drop it with ds.drop_vars({v!r}) or make it a coordinate"
        for v in ds.data_vars
        if v != "response"
    ]
    for name in ds.coords:
        found += _broken_coordinate(ds, str(name), sample)
    found += _broken_labels(ds, sample)
    if "time" in ds["response"].dims:
        found += broken_time(ds, sample)
    found += broken_attrs(ds.attrs, "attrs")
    for name, variable in ds.variables.items():
        found += broken_attrs(variable.attrs, f"{name}.attrs")
    return found + _broken_record(ds.attrs)


def _multi_indexed(ds: xr.Dataset) -> list[str]:
    levels: dict[int, list[str]] = {}
    for name, index in ds.xindexes.items():
        if isinstance(index, PandasMultiIndex):
            levels.setdefault(id(index), []).append(str(name))
    return [
        f"{names[0]}: is a MultiIndex of {some(names[1:])}; expected flat labels; "
        f"undo it with ds.reset_index({names[0]!r})"
        for names in levels.values()
    ]


def _broken_dims(response: xr.DataArray) -> list[str]:
    dims = [str(d) for d in response.dims]
    samples = [d for d in dims if d in ("stimulus", "presentation")] or [d for d in dims if d == "time"]
    wanted = (
        "expected one of stimulus, presentation, time; then unit; then optionally time; "
        "rename them with ds.rename, or average over the rest"
    )
    if len(samples) != 1 or "unit" not in dims:
        return [f"response: has dims {tuple(dims)}; {wanted}"]
    rest = [d for d in dims if d not in (samples[0], "unit", "time")]
    return [f"response: has further dims {tuple(rest)}; {wanted}"] if rest else []


def _broken_values(response: xr.DataArray) -> list[str]:
    if response.dtype not in (np.float32, np.float64):
        return [
            f"response: has dtype {response.dtype}; expected float32 or float64; "
            "convert it with ds.astype or repcompare.representation"
        ]
    if not response.variable._in_memory:  # still on disk, or chunked: checked when used
        return []
    return [f"response: {line}" for line in infinite(response.values, [str(d) for d in response.dims])]


def _broken_coordinate(ds: xr.Dataset, name: str, sample: str) -> list[str]:
    dim = dim_of(name, sample)
    if dim is None:
        rename = "unit_id" if name == "unit" else f"stimulus_{name} or unit_{name}"
        return [
            f"{name}: is not a name of the schema; expected one of {', '.join(VARIABLES)}, stimulus_..., unit_...; "
            f"rename it to {rename}, or drop it with ds.drop_vars({name!r})"
        ]
    coordinate = ds[name]
    if name == "time" and coordinate.ndim == 0 and "time" not in ds.dims:  # one bin was picked with ds.isel(time=...)
        return []
    if coordinate.dims != (dim,):
        return [
            f"{name}: lies on {coordinate.dims}; expected ({dim!r},); "
            f"give one label per {dim}, or drop it with ds.drop_vars({name!r})"
        ]
    kind: Kind = VARIABLES[name].kind if name in VARIABLES else "text, number or bool"
    values = coordinate.values
    if _is_kind(values, kind):
        return []
    at = next((i for i, v in enumerate(values.tolist()) if not isinstance(v, (str, bytes))), 0)
    first = f"; {dim} {at} is {values.tolist()[at]!r}" if len(values) else ""
    return [f"{name}: has dtype {values.dtype}{first}; expected {kind}; {_convert(name, kind)}"]


def _convert(name: str, kind: Kind) -> str:
    if kind == "number":
        return f"convert it with ds[{name!r}].astype(float)"
    if kind == "text or integer":
        return f"convert it with ds[{name!r}].astype(int) or .astype(str)"
    return f"convert it with ds[{name!r}].astype(str), and name what is missing"


def _is_kind(values: np.ndarray, kind: Kind) -> bool:
    numeric = values.dtype.kind in "fiu"
    is_text = text(values).dtype.kind == "U"
    allowed = {
        "text": is_text,
        "number": numeric,
        "text or integer": is_text or values.dtype.kind in "iu",
        "text, number or bool": is_text or numeric or values.dtype.kind == "b",
    }
    return allowed[kind]


def _broken_labels(ds: xr.Dataset, sample: str) -> list[str]:
    found = []
    name = "stimulus" if sample == "stimulus" else "stimulus_id"
    if name in ds.coords:
        labels = text(ds[name].values)
        empty = np.flatnonzero(labels == "") if labels.dtype.kind == "U" else np.empty(0, np.intp)
        if len(empty):
            found.append(
                f"{name}: row {int(empty[0])} has no label ({len(empty)} in all); expected a name for each row; "
                "name it, or leave the row out with ds.isel"
            )
    elif "stimulus" in ds.coords:
        found.append(f"stimulus: lies on {sample!r}; expected stimulus_id there; rename it with ds.rename")
    elif sample != "time":
        found.append(f"{name}: rows have no stimulus labels; expected a name for each {sample}; {GIVE_NAMES}")
    if name == "stimulus" and (repeated := _repeated(ds, name)):
        found.append(
            f"stimulus: {some(repeated)} occur more than once; expected one row per stimulus: "
            "use dims=('presentation', 'unit') with stimulus_id= and repeat=, then average_repeats"
        )
    if "unit_id" not in ds.coords:
        found.append("unit_id: missing; expected a unique name for each unit; give unit_id=")
    elif repeated := _repeated(ds, "unit_id"):
        found.append(
            f"unit_id: {some(repeated)} occur more than once; expected unique names; "
            "put the subject or session before the name"
        )
    return found


def _repeated(ds: xr.Dataset, name: str) -> list[str]:
    return duplicates(ds[name].values) if name in ds.coords else []


def broken_time(ds: xr.Dataset, sample: str) -> list[str]:
    """Return what is wrong with the times of a representation."""
    if "time" not in ds.coords:
        return ["time: has no coordinate; expected seconds; give time=, the centre of each bin"]
    values = ds["time"].values
    if values.dtype.kind not in "fiu":
        return []  # said by the check of its kind
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        return [
            f"time: is {values[bad[0]]} at position {int(bad[0])} ({len(bad)} such values); expected seconds; "
            "leave these samples out with ds.isel, or give their times"
        ]
    found = []
    if ds["time"].attrs.get("units", "s") != "s":
        found.append(
            f"time: is in {ds['time'].attrs['units']!r}; expected units 's'; convert the values and set attrs['units']"
        )
    runs = text(ds["run"].values).astype(str) if sample == "time" and "run" in ds.coords else np.zeros(len(values))
    if runs.shape != values.shape:
        return found  # said by the check of its dims
    order = np.argsort(runs, kind="stable")
    back = np.flatnonzero((np.diff(values[order]) <= 0) & (runs[order][1:] == runs[order][:-1]))
    if len(back):
        before, after = (int(order[back[0] + i]) for i in (0, 1))
        found.append(
            f"time: goes from {values[before]} to {values[after]} s at position {after}; "
            "expected increasing times within a run; sort the samples, or label the runs by run="
        )
    return found


def _broken_record(attrs: Mapping[Any, Any]) -> list[str]:
    found = []
    if np.asarray(attrs.get("schema", SCHEMA)).tolist() != SCHEMA:
        found.append(f"attrs['schema']: is {attrs['schema']!r}; expected {SCHEMA!r}; remove it or make the object anew")
    name = attrs.get("modality", MODALITIES[0])
    if isinstance(name, str) and name not in MODALITIES:
        found.append(
            f"attrs['modality']: is {name!r}; expected one of {', '.join(MODALITIES)}{suggest(name, MODALITIES)}"
        )
    return found


def broken_attrs(attrs: Mapping[Any, Any], where: str) -> list[str]:
    """Say what netCDF could not write: anything but text, real numbers, and lists of one of the two."""
    found = []
    for key, value in attrs.items():
        if not isinstance(key, str) or not key or "/" in key:
            found.append(f"{where}: has the name {key!r}; expected text without '/'; rename it")
        elif not _storable(value):
            found.append(
                f"{where}[{key!r}]: is {value!r:.60} ({type(value).__name__}); expected text, a number, "
                "or a list of one kind; write it as text with str() (True as 1)"
            )
    return found


def _storable(value: Any) -> bool:
    items = list(np.atleast_1d(value)) if isinstance(value, np.ndarray) else value
    items = list(items) if isinstance(items, (list, tuple)) else [items]
    if all(isinstance(v, str) for v in items):
        return True
    kinds = (int, float, np.integer, np.floating)
    if not all(isinstance(v, kinds) and not isinstance(v, bool) for v in items):
        return False
    return np.asarray(items).dtype.kind in "iuf" and np.asarray(items).dtype.itemsize <= 8
