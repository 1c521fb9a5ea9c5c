"""One stored array with its labels becomes one representation: shared by npy, npz and hdf5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._checks import warn_constant
from data_adapters._guard import guard
from data_adapters._labels import numbered, running_count
from data_adapters._lazy import InMemory, Source, is_map, labelled, map_labels, responses, sample_of
from data_adapters._options import ArrayOptions
from repcompare.errors import FormatError, OptionError
from repcompare.labels.schema import dim_of


@dataclass(frozen=True)
class Labels:
    """Labels found for the arrays of a file.

    Attributes
    ----------
    names : ndarray of str or None
        Stimulus of each row; None: positional.
    origin : str
        Where the names come from.
    notes : tuple of str
        Lines for the history.
    given : mapping of str to ndarray
        Further labels in the file, by schema name.
    """

    names: np.ndarray | None
    origin: str
    notes: tuple[str, ...]
    given: Mapping[str, np.ndarray]


def axes(shape: tuple[int, ...], options: ArrayOptions, label: str) -> tuple[str, ...]:
    """Return the names of the axes of a stored array: as given, else the defaults for 2 and 4 axes.

    Raises
    ------
    FormatError, OptionError
        When they cannot be known, or do not fit.
    """
    if options.dims is not None and options.stimulus_axis is not None:
        raise OptionError("dims= and stimulus_axis= say the same; give one of them")
    if options.dims is not None and (len(options.dims) == len(shape) or len(shape) not in (2, 4)):
        return tuple(options.dims)
    sample = "stimulus" if options.dims is None else sample_of(options.dims)
    rest = {2: ["unit"], 4: ["channel", "y", "x"]}.get(len(shape))
    if rest is None:
        raise FormatError(
            f"{label}: has {len(shape)} axes {shape}; expected (stimulus, unit) or (stimulus, channel, y, "
            f"x); "
            "name them with dims=, for example dims=('presentation', 'unit', 'time')"
        )
    at = options.stimulus_axis or 0
    if not 0 <= at < len(shape):
        raise OptionError(f"{label}: stimulus_axis={at} is not an axis of {shape}")
    return (*rest[:at], sample, *rest[at:])


def part(source: Source | InMemory, name: str, labels: Labels, origin: str, options: ArrayOptions) -> xr.Dataset:
    """Return one stored array as a validated representation.

    Parameters
    ----------
    source : Source or InMemory
        The array.
    name : str
        Name of the part: units without names are ``name/0``, ``name/1`` ...
    labels : Labels
        What is known of its rows and units.
    origin : str
        File and format, for ``attrs["source"]``.
    options : ArrayOptions
        Axes, reduction, attributes and further labels.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When numbers of rows and labels differ, or the schema is broken.
    """
    dims = axes(source.shape, options, source.label)
    if 0 in source.shape:
        raise FormatError(
            f"{source.label}: is empty, shape {source.shape}; expected at least one stimulus and one unit"
        )
    response = responses(source, dims, options.reduce)
    sample = sample_of(dims)
    rows = response.sizes[sample]
    names = numbered(rows) if labels.names is None else labels.names
    if len(names) != rows:
        raise FormatError(
            f"{source.label}: has {rows} rows ({sample}) in {dict(zip(dims, source.shape, strict=True))}; "
            f"found {len(names)} "
            f"names in {labels.origin}; expected one name per row; {_turn(dims, source.shape, len(names))}"
        )
    coords, notes = _coords(response, sample, labels, options)
    coords["stimulus" if sample == "stimulus" else "stimulus_id"] = names
    if sample == "presentation" and "repeat" not in coords:
        coords["repeat"] = running_count(names)
        notes.append("repeat: running count of each stimulus")
    if is_map(dims):
        coords.update(
            map_labels({d: n for d, n in zip(dims, source.shape, strict=True) if d != sample}, options.reduce)
        )
        notes.append(f"feature maps {source.shape}: reduce={options.reduce!r}")
    coords.setdefault("unit_id", [f"{name}/{i}" for i in range(response.sizes["unit"])])
    modality = options.modality or "ann"
    if options.modality is None:
        notes.append("modality: 'ann' assumed")
    if modality == "ann":
        coords.setdefault("unit_layer", name)
    attrs: dict[str, Any] = {"modality": modality, "source": origin}
    if options.response_units:
        attrs["response_units"] = options.response_units
    attrs["history"] = [*labels.notes, *notes]
    with guard(source.label):
        found = labelled(response, attrs, coords)
    if isinstance(source, InMemory):
        warn_constant(found["response"].values, source.label)
    return found


def _coords(
    response: xr.Variable, sample: str, labels: Labels, options: ArrayOptions
) -> tuple[dict[str, Any], list[str]]:
    """Labels of the file that fit this part, and those of the caller, which must."""
    coords: dict[str, Any] = {}
    notes = []
    for name, values in labels.given.items():
        dim = dim_of(name, sample) or sample
        if values.shape in ((response.sizes.get(dim, 1),), ()):
            coords[name] = values
        else:
            notes.append(f"label {name} {values.shape} does not fit {dict(response.sizes)}: left out")
    coords.update(options.labels)
    return coords, notes


def _turn(dims: tuple[str, ...], shape: tuple[int, ...], n: int) -> str:
    if len(dims) == 2 and n in shape:
        wanted = tuple(reversed(dims))
        return f"the other axis has {n}: read it with dims={wanted}"
    return "check that the names belong to this file"
