"""The two sides of a searchlight as arrays: columns of a volume, read when needed, and model RDMs of its stimuli."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import OptionError, SchemaError, some, suggest
from repcompare.labels.align import align, to_matrix
from repcompare.labels.rdms import is_rdms, rdm_set, shared_stimuli, to_pairs, validate_rdms
from repcompare.labels.schema import sample_dim, stimulus_labels, validate
from repcompare.labels.values import duplicates, text
from repcompare.measures.rsa.distances import DISTANCES, Settings, rdm

Rows = npt.NDArray[np.intp]
Matrix = npt.NDArray[np.float64]
WIDE = 4  # a stretch of columns this many times as wide as what is needed of it is not read as a whole


@dataclass(frozen=True, eq=False)
class Volume:
    """Responses of many units, read in part.

    Attributes
    ----------
    response : DataArray (sample, unit)
        May be on disk.
    place : ndarray of int, shape (n_units,)
        Where the units stand in it, ascending.
    order : ndarray of int, shape (n_rows,)
        Rows by stimulus.
    stimulus : ndarray of int, shape (n_rows,)
        Number of the stimulus of each row in that order, ascending.
    names : ndarray of str, shape (n_stimuli,)
        Sorted.
    partition : ndarray, shape (n_rows,), optional
        In that order.
    units : xarray.Dataset
        Coordinates of the units.
    labelled : bool
        Stimuli have names of their own.
    """

    response: xr.DataArray
    place: Rows
    order: Rows
    stimulus: Rows
    names: npt.NDArray[np.str_]
    partition: npt.NDArray[Any] | None
    units: xr.Dataset
    labelled: bool

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.place)

    def read(self, columns: Rows) -> npt.NDArray[np.floating[Any]]:
        """Return the responses of some units, in ascending order, shape (n_rows, n_columns)."""
        wanted = self.place[columns]
        first, last = int(wanted[0]), int(wanted[-1]) + 1
        if last - first <= WIDE * len(wanted):  # files are read in one stretch
            part = np.asarray(self.response.isel(unit=slice(first, last)).values)
            part = part if last - first == len(wanted) else part[:, wanted - first]
        else:
            part = np.asarray(self.response.isel(unit=wanted).values)
        if part.dtype not in (np.float32, np.float64):
            part = part.astype(np.float64)
        return part if np.array_equal(self.order, np.arange(len(self.order))) else part[self.order]


def as_dataset(volume: Any) -> tuple[xr.Dataset, bool]:
    """Return a volume as a dataset, and whether its stimuli have names: a representation, or (values, coordinates)."""
    if isinstance(volume, xr.Dataset):
        return validate(volume), True
    if not isinstance(volume, (tuple, list)) or len(volume) != 2:
        raise SchemaError(
            f"volume is a {type(volume).__name__}; expected a representation with positions of its units, or"
            " (values, coordinates): arrays (n_stimuli, n_units) and (n_units, 3)"
        )
    values, places = np.asanyarray(volume[0]), np.asarray(volume[1])
    if values.ndim != 2 or values.dtype.kind not in "fiub" or places.shape != (values.shape[1], 3):
        raise SchemaError(
            f"values have shape {values.shape} and coordinates {places.shape}; expected numbers (n_stimuli, n_units) and"
            " (n_units, 3)"
        )
    whole = places.dtype.kind in "iu"
    coords: dict[str, Any] = {
        f"unit_{axis}": ("unit", places[:, c]) for c, axis in enumerate("ijk" if whole else "xyz")
    }
    names = (
        [f"{i}-{j}-{k}" for i, j, k in zip(*(axis.tolist() for axis in places.T), strict=True)]
        if whole
        else [f"unit/{u}" for u in range(len(places))]
    )
    width = len(str(len(values)))
    coords |= {"unit_id": ("unit", names), "stimulus": [f"{row:0{width}d}" for row in range(len(values))]}
    return xr.Dataset({"response": (("stimulus", "unit"), values)}, coords=coords), False


def inside(ds: xr.Dataset, mask: Any) -> Rows:
    """Return the positions of the units inside a mask: (n_units,), or a volume that is indexed by ``unit_i/j/k``.

    Raises
    ------
    SchemaError
        When the mask does not fit, or leaves nothing.
    """
    n = ds.sizes["unit"]
    if mask is None:
        return np.arange(n)
    given = np.asarray(mask)
    if given.ndim == 3 and all(f"unit_{a}" in ds.coords for a in "ijk"):
        at = tuple(ds[f"unit_{a}"].values.astype(np.intp) for a in "ijk")
        if any(index.min() < 0 or index.max() >= size for index, size in zip(at, given.shape, strict=True)):
            raise SchemaError(
                f"mask has shape {given.shape}; voxel indices of the units go beyond it; give their volume"
            )
        given = given[at]
    if given.shape != (n,) or given.dtype.kind not in "biuf":
        raise SchemaError(
            f"mask has shape {given.shape}; expected one value for each of the {n} units, or a volume indexed by"
            " unit_i, unit_j, unit_k"
        )
    if not given.any():
        raise SchemaError("mask leaves no unit; expected some that are not 0")
    return np.flatnonzero(given)


def as_volume(ds: xr.Dataset, labelled: bool, settings: Settings, request: tuple[Any, Any]) -> Volume:
    """Return a volume that can be read in part; ``request`` is its mask and the partition of its rows.

    Raises
    ------
    SchemaError
        On continuous recordings, a time axis, and a distance that needs trials without them.
    """
    sample = sample_dim(ds)
    if sample == "time" or "time" in ds["response"].dims:
        raise SchemaError(
            f"response has dims {ds['response'].dims}; a searchlight takes one response per stimulus or trial; estimate"
            " responses first, or pick a time: ds.isel(time=...)"
        )
    labels = stimulus_labels(ds).astype(str)
    crossed = settings.kind.cross_validated
    if crossed and sample != "presentation":
        raise SchemaError(
            f"distance={settings.distance!r} needs single trials; found one row per stimulus; expected presentation form:"
            " give trials with dims=('presentation', 'unit'), stimulus_id= and run="
        )
    if sample == "stimulus" and duplicates(labels):
        raise SchemaError(f"stimuli {some(duplicates(labels))} label several rows; expected presentation form")
    names, stimulus = np.unique(labels, return_inverse=True)
    order = np.argsort(stimulus, kind="stable")
    mask, partition = request
    parts = _partition(ds, sample, partition) if crossed or isinstance(settings.noise, str) else None
    place = inside(ds, mask)
    at = {str(n): (("unit",), c.values[place]) for n, c in ds.coords.items() if c.dims == ("unit",)}
    return Volume(
        ds["response"].transpose(sample, "unit"),
        place,
        order,
        stimulus.reshape(-1)[order],
        names,
        None if parts is None else parts[order],
        xr.Dataset(coords=at),
        labelled,
    )


def _partition(ds: xr.Dataset, sample: str, partition: Any) -> npt.NDArray[Any]:
    """Return the run or session of each row."""
    if partition is not None and not isinstance(partition, str):
        given = np.asarray(partition)
        if given.shape != (ds.sizes[sample],):
            raise SchemaError(
                f"partition has shape {given.shape}; expected one label for each of {ds.sizes[sample]} rows"
            )
        return given
    name = "run" if partition is None else partition
    if name in ds.coords and ds[name].dims == (sample,):
        return text(ds[name].values)
    known = [str(c) for c, v in ds.coords.items() if v.dims == (sample,) and c != "stimulus_id"]
    raise OptionError(
        f"partition={name!r} is not a coordinate of the trials{suggest(name, known) if known else ''}; name the runs or"
        " sessions, or give one label per row"
    )


def model_rdms(models: Any, volume: Volume, ds: xr.Dataset, distance: str) -> tuple[Matrix, list[str]]:
    """Return model RDMs (n_models, n_pairs) of the stimuli of a volume, in its order, and their names.

    Parameters
    ----------
    models : RDM set, representation, mapping of name to them, or array
        Representations become RDMs by ``distance`` where that is one of patterns alone, by squared Euclidean distance
        otherwise.  Arrays have no names: they go with volumes that have none.
    volume : Volume
    ds : xarray.Dataset
        The volume's labels.
    distance : str

    Raises
    ------
    AlignmentError, SchemaError
        When the stimuli are not those of the volume.
    """
    if isinstance(models, Mapping) and not isinstance(models, xr.Dataset):
        if not models:
            raise SchemaError("models: none; expected at least one RDM")
        found = [_one_side(item, str(name), volume, ds, distance) for name, item in models.items()]
    else:
        found = [_one_side(models, "model", volume, ds, distance)]
    names = [name for _, some_names in found for name in some_names]
    if duplicates(np.array(names)):
        raise SchemaError(f"names of models are not unique: {some(duplicates(np.array(names)))}")
    return np.concatenate([values for values, _ in found]), names


def _one_side(item: Any, name: str, volume: Volume, ds: xr.Dataset, distance: str) -> tuple[Matrix, list[str]]:
    if not isinstance(item, xr.Dataset):
        return _bare(item, name, volume)
    if not volume.labelled:
        raise SchemaError(f"{name} has stimulus names, the volume has none; give a representation, or RDMs as arrays")
    if not is_rdms(item):
        align({"volume": ds, name: item}, "exact")
        values = rdm(to_matrix(item, volume.names), distance if distance in DISTANCES else "squared_euclidean")
        return values[None], [name]
    blank = np.zeros(len(volume.names) * (len(volume.names) - 1) // 2)
    shared_stimuli({"the volume": rdm_set(blank, stimulus=volume.names), name: validate_rdms(item, name)})
    pairs = to_pairs(item, volume.names)
    if pairs.ndim != 2:
        raise SchemaError(f"{name}: RDMs over time; pick one time first: rdms.isel(time=0)")
    if "rdm" not in item.coords:
        return pairs, [name]
    own = np.atleast_1d(item["rdm"].values).astype(str).tolist()
    return pairs, [name] if len(own) == 1 and name != "model" else own


def _bare(item: Any, name: str, volume: Volume) -> tuple[Matrix, list[str]]:
    if volume.labelled:
        raise SchemaError(
            f"{name} has no stimulus names, the volume has; name its stimuli: rdm_set(values, stimulus=...)"
        )
    k = len(volume.names)
    values = np.asarray(item, dtype=np.float64)
    pairs = values[np.triu_indices(k, 1)] if values.shape == (k, k) and not np.diagonal(values).any() else values
    pairs = np.atleast_2d(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != k * (k - 1) // 2:
        raise SchemaError(
            f"{name} has shape {values.shape}; expected (n_pairs,) = ({k * (k - 1) // 2},) of {k} stimuli"
        )
    return pairs, [name] if len(pairs) == 1 else [f"{name}/{i}" for i in range(len(pairs))]
