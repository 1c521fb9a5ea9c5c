"""Representations as Brain-Score assemblies: netCDF4 with presentation, neuroid and time_bin."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import xarray as xr

from data_adapters.brainscore import _names as n
from data_adapters.brainscore._names import Record
from repcompare.errors import FormatError
from repcompare.labels.parts import parts_of
from repcompare.labels.schema import sample_dim, validate
from repcompare.labels.store import atomic

CENTRE = 1e-6  # ms: how far a time may lie from the centre of a recorded bin


def write(obj: Any, path: str | os.PathLike[str], identifier: str | None = None) -> str | dict[str, str]:
    """Write a representation as an assembly that Brain-Score and plain xarray open.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataTree
        A representation.  What was read from an assembly is written with its names, dims, dtypes and attributes.  A tree
        is written as one file per part, or with its extra groups where it was read with them.
    path : str or path-like
        The file; a folder for the files ``assy_<identifier>_<part>.nc`` of a tree.
    identifier : str, optional
        Name of the assembly in files of a folder, and the attribute ``identifier``.

    Returns
    -------
    str or dict of str to str
        SHA-1 of the file; by part for a tree.

    Raises
    ------
    SchemaError
        When a part is no representation.
    FormatError
        When a file cannot be written, or a recording is continuous.

    Examples
    --------
    >>> import os, tempfile, repcompare as rc
    >>> ds = rc.representation([[1.0], [2.0]], stimulus=["a", "b"], unit_region="IT")
    >>> file = os.path.join(tempfile.mkdtemp(), "assy_it.nc")
    >>> len(write(ds, file))
    40
    >>> xr.open_dataarray(file).dims
    ('presentation', 'neuroid')
    """
    if isinstance(obj, xr.DataTree):
        extras = {k: v.to_dataset() for k, v in obj.children.items() if "response" not in v.data_vars}
        parts = parts_of(obj)
        if list(parts) == ["data"]:
            return _write_file(assembly(parts["data"], identifier), extras, path)
        os.makedirs(path, exist_ok=True)
        stem = (identifier or "assembly").replace(".", "_")
        names = {p: f"assy_{stem}_{p.replace('/', '_').replace('.', '_')}.nc" for p in parts}
        return {p: _write_file(assembly(d, identifier), {}, os.path.join(path, names[p])) for p, d in parts.items()}
    return _write_file(assembly(obj, identifier), {}, path)


def _write_file(ds: xr.Dataset, extras: dict[str, xr.Dataset], path: str | os.PathLike[str]) -> str:
    (name,) = ds.data_vars
    encoding: dict[str, Any] = {str(name): {"zlib": True, "complevel": 9}}
    with atomic(path) as part:
        ds.to_netcdf(part, engine="netcdf4", encoding=encoding)
        for group, extra in extras.items():
            extra.to_netcdf(part, engine="netcdf4", mode="a", group=group)
        with open(part, "rb") as handle:
            return hashlib.file_digest(handle, "sha1").hexdigest()


def assembly(ds: xr.Dataset, identifier: str | None = None) -> xr.Dataset:
    """Return a representation as a dataset with the dims, names and attributes of an assembly.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation of stimuli or presentations.
    identifier : str, optional
        Written as an attribute.

    Raises
    ------
    SchemaError, FormatError
        When it is none, or a continuous recording.
    """
    validate(ds)
    sample = sample_dim(ds)
    if sample == "time":
        raise FormatError("a continuous recording has no presentations; expected dims stimulus or presentation, unit")
    record = n.record_of(ds.attrs) or Record(attrs=_own_attrs(ds))
    sample_name = next((d for d in record.dims if d in n.SAMPLE_DIMS), "presentation")
    unit_name = next((d for d in record.dims if d in n.UNIT_DIMS), "neuroid")
    dims = {sample: sample_name, "unit": unit_name, "time": n.TIME_DIM}
    coords: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    for name, coordinate in ds.coords.items():
        ours = str(name)
        if ours == "time" or ours in record.made or not coordinate.dims:
            continue
        theirs = _their_name(ours, record)
        while theirs in coords or theirs in (record.variable,):
            theirs += "_"
        if ours not in ("stimulus", "stimulus_id", "unit_id") and n.read_name(theirs, ours.startswith("unit_")) != ours:
            renamed[theirs] = ours
        coords[theirs] = (dims[str(coordinate.dims[0])], _restored(coordinate.values, ours, record), coordinate.attrs)
    response = ds["response"]
    values = xr.Variable([dims[str(d)] for d in response.dims], response.values)
    values, times = _timed(ds, values, record)
    order = [d for d in record.dims if d in values.dims] if set(record.dims) == set(values.dims) else values.dims
    values = values.transpose(*order)
    scalars = {k: v for k, v in record.scalars.items() if k not in coords}
    data = xr.Variable(values.dims, _narrowed(values.values, record.dtype), record.data_attrs)
    attrs = {k: v for k, v in record.attrs.items() if k != n.OURS} | ({"identifier": identifier} if identifier else {})
    if renamed:
        attrs[n.OURS] = json.dumps(renamed)
    return xr.Dataset({record.variable: data}, coords={**coords, **times, **scalars}, attrs=attrs)


def _their_name(ours: str, record: Record) -> str:
    """Return the name of a coordinate; stimulus names may have changed their form since they were read."""
    if ours in ("stimulus", "stimulus_id"):
        known = record.names.get("stimulus", record.names.get("stimulus_id"))
        return known or n.their_name(ours)
    return record.names.get(ours) or n.their_name(ours)


def _own_attrs(ds: xr.Dataset) -> dict[str, Any]:
    return {str(k): v for k, v in ds.attrs.items() if k not in ("schema", n.RECORD)}


def _restored(values: np.ndarray, ours: str, record: Record) -> np.ndarray:
    """Return labels with the dtype they had before they were made text."""
    known = {"stimulus": "stimulus_id", "stimulus_id": "stimulus"}
    dtype = record.dtypes.get(ours) or record.dtypes.get(known.get(ours, ""))
    if dtype is None:
        return values
    try:
        return values.astype(np.dtype(dtype))
    except (ValueError, TypeError, OverflowError):  # the labels were changed since
        return values


def _narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return whole numbers and booleans with the dtype they were read from, where that loses nothing."""
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        return values
    if wanted.kind == "f" and wanted.itemsize < values.dtype.itemsize:
        return values
    if wanted.kind not in "iub" or not np.isfinite(values).all():
        return values
    narrow = values.astype(wanted)
    return narrow if np.array_equal(narrow, values) else values


def _timed(ds: xr.Dataset, values: xr.Variable, record: Record) -> tuple[xr.Variable, dict[str, Any]]:
    """Return values and coordinates of time bins; a single bin that was dropped comes back."""
    if n.TIME_DIM not in values.dims:
        if n.TIME_DIM in record.dims and all(len(v) == 1 for v in record.times.values()):
            times = {k: (n.TIME_DIM, np.asarray(v)) for k, v in record.times.items()}
            return xr.Variable((*values.dims, n.TIME_DIM), values.values[..., None]), times
        return values, {}
    seconds = ds["time"].values.astype(np.float64)
    known = {k: np.asarray(v) for k, v in record.times.items()}
    begin, end = (next((known[k] for k in names if k in known), None) for names in (n.TIME_STARTS, n.TIME_ENDS))
    if begin is not None and end is not None and _centred(begin, end, seconds):
        return values, {k: (n.TIME_DIM, v) for k, v in known.items()}
    width = float(ds["time"].attrs.get("bin_width", np.median(np.diff(seconds)) if len(seconds) > 1 else 0.0))
    begin, end = _whole_ms(1000 * (seconds - width / 2)), _whole_ms(1000 * (seconds + width / 2))
    return values, {"time_bin_start": (n.TIME_DIM, begin), "time_bin_end": (n.TIME_DIM, end)}


def _centred(begin: np.ndarray, end: np.ndarray, seconds: np.ndarray) -> bool:
    """Say whether recorded bins are still those of the times: they may have been selected since."""
    return len(begin) == len(seconds) and bool(np.abs((begin + end) / 2 - 1000 * seconds).max() < CENTRE)


def _whole_ms(values: np.ndarray) -> np.ndarray:
    rounded = np.round(values)
    return rounded.astype(np.int64) if np.abs(values - rounded).max() < CENTRE else values
