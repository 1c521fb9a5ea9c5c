"""The table of the schema: names of dims and variables, and the questions that the table answers.

A new variable gets a row in :data:`VARIABLES` before it gets code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError
from repcompare.labels.values import text

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
    if "dissimilarity" in ds:
        return "these are RDMs; expected a representation; compare RDMs with compare_rdms or rsa_inference"
    found = sorted(map(str, ds.variables))
    return f"no variable 'response' among {found}; expected a representation; make one with repcompare.representation"


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
