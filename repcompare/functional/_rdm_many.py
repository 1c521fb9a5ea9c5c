"""RDMs of several representations, joined over the stimuli that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, OptionError, SchemaError, choose
from repcompare.labels.parts import parts_of
from repcompare.labels.rdms import POLICIES, rdm_set, shared_stimuli, to_pairs


def is_many(x: Any) -> bool:
    """Is this a mapping or tree, not one representation?"""
    return isinstance(x, Mapping) and not isinstance(x, xr.Dataset)  # a tree is a mapping


def rdms_of(x: Any, one: Callable[[xr.Dataset], xr.Dataset], stimuli: str) -> xr.Dataset:
    """Return the RDM of every part as one set (``rdm``, [``time``,] ``pair``), the stimuli in the order of the first."""
    choose(stimuli, POLICIES, "stimuli")
    found = {}
    for name, part in _parts(x).items():
        try:
            found[name] = one(part)
        except (SchemaError, OptionError, AlignmentError) as error:
            raise type(error)(f"{name}: {error}") from None
    names = shared_stimuli(found, stimuli)
    times = {tuple(ds["time"].values.tolist()) if "time" in ds.dims else None for ds in found.values()}
    if len(times) > 1:
        raise SchemaError(
            "the representations have other times, or some have none; expected one time axis for all; select the times"
            " that they share first, or make their RDMs one by one"
        )
    values = np.concatenate([to_pairs(ds, names) for ds in found.values()])
    return rdm_set(values, stimulus=names, rdm=list(found), time=times.pop(), attrs=_attrs(found))


def _parts(x: Any) -> dict[str, xr.Dataset]:
    """Return the representations by name; raise for what has no names of stimuli."""
    for name, item in x.items() if not isinstance(x, xr.DataTree) else ():
        if not isinstance(item, Mapping):
            raise SchemaError(
                f"{name} is a {type(item).__name__} without names of stimuli; expected representations:"
                " rc.representation(values, stimulus=names); or take the RDM of each array"
            )
    return parts_of(x)


def _attrs(found: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return the attributes on which all agree, and the warnings of each with its name."""
    first = next(iter(found.values())).attrs
    kept = {k: v for k, v in first.items() if all(k in ds.attrs and ds.attrs[k] == v for ds in found.values())}
    counts = {k for ds in found.values() for k in ds.attrs if k.startswith("n_") and k.endswith("_dropped")}
    kept |= {k: int(sum(ds.attrs.get(k, 0) for ds in found.values())) for k in counts}
    warnings = _warnings(found)
    return {k: v for k, v in kept.items() if k != "warnings"} | ({"warnings": warnings} if warnings else {})


def _warnings(found: Mapping[str, xr.Dataset]) -> list[str]:
    """Return each warning once, its code first and then the RDMs that it is about."""
    named: dict[str, list[str]] = {}
    for name, ds in found.items():
        for warning in ds.attrs.get("warnings", []):
            named.setdefault(warning, []).append(name)
    out = []
    for warning, names in named.items():
        code, _, what = warning.partition(": ")
        out.append(warning if len(names) == len(found) else f"{code}: {', '.join(names)}: {what}")
    return out
