"""Brain-Score assemblies from netCDF4 files, and from xarray objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import as_text, numbered
from data_adapters._lazy import InMemory
from data_adapters._options import EventOptions, name_of
from data_adapters.brainscore import _names as n
from data_adapters.brainscore._assembly import Assembly, converted
from data_adapters.spikes._folder import by_unit, columns_of
from repcompare.errors import FormatError, OptionError

VARIABLES = ("data", "__xarray_dataarray_variable__")
ONLY_A_DIM = b"This is a netCDF dimension but not a netCDF variable"
INTERNAL = (
    *("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"),
    *("_FillValue", "coordinates", "dtype", "_nc3_strict"),
)
EVENT = "event"
LARGEST_LABELS = 2**28  # bytes of one coordinate


@dataclass(frozen=True, kw_only=True)
class BrainScoreOptions(EventOptions):
    """Options of Brain-Score files; those of spike times are for files of events only.

    Attributes
    ----------
    stimuli : path, optional
        CSV file of the stimulus set: its columns are joined on as ``stimulus_*``.
    tick : float, optional
        Seconds per unit of time in files of spike times.
    """

    stimuli: Any = None
    tick: float | None = None


def is_brainscore(path: str) -> bool:
    """Say whether an HDF5 file has the dims of an assembly."""
    _, names, native = _hdf5.peek(path)
    if native or not names:
        return False
    has_unit = bool({"neuroid", "choice", "neuroid_id", "choice_"} & names)
    return (has_unit and bool({"presentation", "stimulus_path", "event"} & names)) or (
        "presentation" in names and bool({"stimulus_id", "image_id"} & names)
    )


def read_brainscore(path: str, options: BrainScoreOptions) -> Any:
    """Read an assembly; values stay on disk.

    Parameters
    ----------
    path : str
        A netCDF4 file.
    options : BrainScoreOptions
        ``stimuli=`` joins a stimulus set; ``events=``, ``start=`` ..., ``tick=`` for files of spike times.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        ``response`` (stimulus or presentation, unit[, time]); a tree ``data``, and the extra groups, where there are any; a
        set of RDMs where both dims are presentations.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the data variable, dims or names are missing, or the file is damaged.
    """
    extra = None if options.stimuli is None else _stimulus_set(options.stimuli)
    with _hdf5.opened(path, "a netCDF4 file of an assembly") as file:
        files = _hdf5.manager(path)
        found = _assembly(path, file, files)
        groups = {str(g): _plain_dataset(file, str(g)) for g in file if isinstance(_hdf5.get(file, g), h5py.Group)}
    origin = f"{name_of(path)} (brainscore)"
    if found.dims == (EVENT,):
        return _spikes(found, options)
    _refuse_windows(options, found.dims)
    if len(found.dims) == 2 and found.dims[0] == found.dims[1]:
        return _rdms(found, origin)
    ds = converted(found, origin, extra)
    if not groups:
        ds.set_close(files.close)
        return ds
    tree = xr.DataTree.from_dict({"/data": ds, **{f"/{k}": v for k, v in groups.items()}})
    tree.set_close(files.close)
    return tree


def _stimulus_set(stimuli: Any) -> dict[str, list[str]]:
    """Return the columns of a stimulus set."""
    if not isinstance(stimuli, str | os.PathLike) or not os.path.isfile(stimuli):
        raise OptionError(f"stimuli={stimuli!r}: expected a CSV file of the stimulus set, which is there")
    return columns_of(os.fspath(stimuli))


def _refuse_windows(options: BrainScoreOptions, dims: tuple[str, ...]) -> None:
    """Raise when options of spike times are given for an assembly, which would leave them out without a word."""
    for item in fields(BrainScoreOptions):
        value = getattr(options, item.name)
        if (
            item.name != "stimuli"
            and value is not item.default
            and not (isinstance(value, str) and value == item.default)
        ):
            raise OptionError(
                f"{item.name}= is for files of spike times; these are responses {dims}; select from what is read instead"
            )


def _assembly(path: str, file: h5py.File, files: Any) -> Assembly:
    members = {str(k): _hdf5.get(file, str(k)) for k in file}
    arrays = {k: v for k, v in members.items() if isinstance(v, h5py.Dataset) and _is_variable(v)}
    coords, many = {}, {}
    for name, dataset in arrays.items():
        dims = _dims(dataset)
        numeric = dataset.dtype.kind in "fiub"
        if (len(dims) > 1 or name in VARIABLES or (dims == (EVENT,) and name in VARIABLES)) and numeric:
            many[name] = dims
        elif len(dims) <= 1:
            coords[name] = (dims[0] if dims else "", _values(dataset))
        else:
            raise FormatError(f"{path}: {name} lies on {dims}; expected labels of one dim; drop it or flatten it")
    chosen = next((v for v in VARIABLES if v in many), None) or (next(iter(many)) if len(many) == 1 else None)
    if chosen is None or len(many) > 1:
        raise FormatError(
            f"{path}: data variables {', '.join(many) or 'none'} of {', '.join(arrays) or 'nothing'}; "
            "expected one, called 'data'"
        )
    source = _hdf5.Hdf5Source(files, arrays[chosen])
    found = Assembly(path, source, chosen, many[chosen], coords, _attrs_of(file), _attrs_of(arrays[chosen]))
    if _plain_attr(arrays[chosen].attrs.get("dtype")) == "bool":
        found.dtype = "bool"
    return found


def _is_variable(dataset: h5py.Dataset) -> bool:
    name = dataset.attrs.get("NAME", b"")
    name = name if isinstance(name, bytes) else str(name).encode()
    return not (dataset.attrs.get("CLASS") is not None and bytes(name).startswith(ONLY_A_DIM))


def _dims(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return the names of the dims: those of the attached scales; a scale names itself."""
    if dataset.shape is None:
        raise FormatError(f"{dataset.file.filename}: {dataset.name} is empty; expected numbers or text")
    if "DIMENSION_LIST" not in dataset.attrs:
        return (dataset.name.strip("/"),) if dataset.ndim == 1 else () if dataset.ndim == 0 else _nameless(dataset)
    return tuple(d[0].name.rpartition("/")[2] if len(d) else _nameless(dataset)[0] for d in dataset.dims)


def _nameless(dataset: h5py.Dataset) -> tuple[str, ...]:
    raise FormatError(f"{dataset.file.filename}: {dataset.name} has axes without names; expected netCDF dims")


def _values(dataset: h5py.Dataset) -> np.ndarray:
    """Return a coordinate: text, numbers in the order of this machine, or bool."""
    found = _hdf5.values(dataset, LARGEST_LABELS)
    if found.dtype.kind == "O":
        raise FormatError(f"{dataset.file.filename}: {dataset.name} holds objects; expected numbers or text")
    if _plain_attr(dataset.attrs.get("dtype")) == "bool":
        return found.astype(bool)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _plain_attr(value: Any) -> Any:
    if isinstance(value, bytes | np.bytes_):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        items = [_plain_attr(v) for v in value.ravel().tolist()]
        return items[0] if len(items) == 1 else items
    return value.item() if isinstance(value, np.generic) else value


def _attrs_of(item: Any) -> dict[str, Any]:
    found = {str(k): item.attrs[k] for k in item.attrs if k not in INTERNAL}
    plain = {k: _plain_attr(v) for k, v in found.items() if not isinstance(v, h5py.Empty)}
    kinds = str | int | float
    return {k: v for k, v in plain.items() if isinstance(v, kinds) or (isinstance(v, list) and v and _alike(v))}


def _alike(values: list[Any]) -> bool:
    return all(isinstance(v, str) for v in values) or all(isinstance(v, int | float) for v in values)


def _plain_dataset(file: h5py.File, name: str) -> xr.Dataset:
    """Return an extra group as it is."""
    group = _hdf5.get(file, name)
    variables = {}
    for key in group:
        item = _hdf5.get(group, key)
        if isinstance(item, h5py.Dataset) and _is_variable(item):
            dims = tuple(d.rpartition("/")[2] for d in _dims(item))
            variables[str(key)] = (dims, _values(item), _attrs_of(item))
    return xr.Dataset(variables, attrs=_attrs_of(group))


def _spikes(found: Assembly, options: BrainScoreOptions) -> xr.Dataset:
    from data_adapters.spikes._around import Units, around, chosen_units, given_events
    from data_adapters.spikes.flat import seconds

    frame = given_events(options)
    labels = found.on(EVENT)
    if frame is None:
        raise OptionError(f"{found.where}: holds spike times; give events= times in s or a table, start= and stop=")
    if options.tick is None:
        raise OptionError(
            f"{found.where}: the unit of its times is not said; give tick=, seconds per unit (0.001 for ms)"
        )
    key = next((k for k in n.UNIT_IDS if k in labels), None)
    if key is None:
        raise FormatError(f"{found.where}: no neuroid_id for each event among {', '.join(labels)}; expected one")
    notes: list[str] = []
    with _hdf5.opened(found.where) as file:
        times = seconds(_hdf5.values(_hdf5.get(file, found.variable)), options.tick, found.where, notes)
    names, trains = by_unit(as_text(labels[key], f"{found.where}: {key}"), times)
    keep = chosen_units(names, {}, options.units)
    units = Units(names[keep], [trains[i] for i in keep], {}, None)
    return around(found.where, units, frame, options, notes, "brainscore")


def _rdms(found: Assembly, origin: str) -> xr.Dataset:
    from repcompare.labels.rdms import rdm_set

    labels = found.on(found.dims[0])
    key = next((k for k in n.STIMULUS_IDS if k in labels), None)
    k = found.source.shape[0]
    names = numbered(k) if key is None else as_text(labels[key], f"{found.where}: {key}")
    if len(names) != k:
        raise FormatError(f"{found.where}: {k} rows and {len(names)} names; expected one each")
    assert not isinstance(found.source, InMemory)
    values = found.source.read((slice(None), slice(None))).astype(np.float64)
    if values.shape != (k, k) or not np.allclose(values, values.T, rtol=1e-6, atol=0, equal_nan=True):
        raise FormatError(
            f"{found.where}: dissimilarities of shape {values.shape} are not symmetric; expected a square RDM"
        )
    return rdm_set(values[np.triu_indices(k, 1)][None], stimulus=names, rdm=[found.variable], attrs={"source": origin})


def is_assembly(obj: Any) -> bool:
    """Say whether an object is an xarray object with the dims of an assembly."""
    return isinstance(obj, xr.DataArray | xr.Dataset) and "neuroid" in obj.dims and "presentation" in obj.dims


def read_assembly(obj: Any, **options: Any) -> xr.Dataset:
    """Read an xarray object with dims of Brain-Score as a representation.

    Parameters
    ----------
    obj : xarray.DataArray or xarray.Dataset
        Dims ``presentation``, ``neuroid`` and optionally ``time_bin``; a Dataset has the variable ``data``, or one only.
        MultiIndexes are made flat.
    **options
        ``stimuli=`` a CSV file of the stimulus set.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When dims or names are missing.

    Examples
    --------
    >>> coords = {"stimulus_id": ("presentation", ["a", "b"]), "neuroid_id": ("neuroid", ["n1"])}
    >>> read_assembly(xr.DataArray([[1.0], [2.0]], dims=("presentation", "neuroid"), coords=coords)).sizes["unit"]
    1
    """
    from data_adapters._options import parse

    chosen = parse(BrainScoreOptions, options, "brainscore")
    if isinstance(obj, xr.Dataset):
        names = [str(v) for v in obj.data_vars]
        name = next((v for v in VARIABLES if v in names), names[0] if len(names) == 1 else None)
        if name is None:
            raise FormatError(f"data variables {', '.join(names) or 'none'}; expected one, called 'data'")
        outer, obj = obj.attrs, obj[name]
    else:
        outer = {}
    flat = obj.reset_index([d for d in obj.dims if d in obj.indexes and obj.indexes[d].nlevels > 1])
    coords: dict[str, tuple[str, np.ndarray]] = {}
    for name, value in flat.coords.items():
        if value.ndim > 1:
            raise FormatError(f"coordinate {name} lies on {value.dims}; expected labels of one dim; drop it")
        if not (name in flat.dims and value.dtype.kind == "O" and isinstance(value.values[0], tuple)):
            values = np.asarray(value.values)
            text = values.dtype.kind in "OT" and all(isinstance(v, str) for v in values.ravel().tolist())
            coords[str(name)] = (str(value.dims[0]) if value.dims else "", values.astype(np.str_) if text else values)
    attrs: Mapping[Any, Any] = obj.attrs
    plain = {str(k): _plain_attr(v) for k, v in attrs.items() if isinstance(v, str | int | float | np.generic)}
    wide = {str(k): _plain_attr(v) for k, v in outer.items() if isinstance(v, str | int | float | np.generic)}
    source = InMemory(np.asarray(flat.values), "assembly")
    found = Assembly("assembly", source, str(obj.name or "data"), tuple(map(str, flat.dims)), coords, wide, plain)
    _refuse_windows(chosen, found.dims)
    extra = None if chosen.stimuli is None else _stimulus_set(chosen.stimuli)
    return converted(found, f"{type(obj).__name__} (brainscore)", extra)
