"""RDMs with or without names, brought to one order of the stimuli and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, SchemaError, choose
from repcompare.functional._pair import matched, without_nan
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.rdms import POLICIES, is_rdms, rdm_set, shared_stimuli, stimuli_of, to_pairs
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.measures.registry import make
from repcompare.measures.rsa import shared_pairs, ties_note
from repcompare.measures.rsa._condensed import take
from repcompare.measures.rsa._methods import comparator
from repcompare.measures.rsa.comparators import embed_both, score
from repcompare.measures.rsa.conventions import comparator_of, compare_as

SQUARED_ONLY = ("bures", "riemannian")


def compare_labelled(
    a: Any,
    b: Any,
    *,
    method: str,
    control: Any,
    stimuli: str,
    convention: str,
    details: bool,
    options: Mapping[str, Any],
) -> Any:
    """Return the scores of :func:`repcompare.functional.rdms.compare_rdms`."""
    choose(stimuli, POLICIES, "stimuli")
    theirs = comparator_of(method, convention)
    given = {"a": a, "b": b} | ({} if control is None else {"control": control})
    sides = {name: _as_set(side, name) for name, side in given.items()}
    if theirs.method in SQUARED_ONLY:
        _require_squared(sides, theirs.method)
    arrays, rows = _aligned(sides, stimuli)
    found = dict(options)
    if convention == "rsatoolbox" and "sigma_k" in found:  # its name of the covariance of the stimuli
        found["stimulus_covariance"] = found.pop("sigma_k")
    if rows is not None and found.get("stimulus_covariance") is not None:
        found["stimulus_covariance"] = _chosen(found["stimulus_covariance"], rows, len(stimuli_of(sides["a"])), "a")
    if control is not None:
        found["control"] = arrays["control"]
    scores = compare_as(arrays["a"], arrays["b"], method, convention, **found)
    note = ties_note(theirs.method, (row for name in "ab" for row in np.atleast_2d(arrays[name])))
    attrs = {"method": theirs.method} | ({"warnings": [note]} if note else {})
    if details:
        return _report(arrays, scores, sides, theirs.method, found).assign_attrs(attrs)
    named = all(is_rdms(sides[name]) and "rdm" in sides[name].dims for name in ("a", "b"))
    return _table(np.atleast_2d(scores), sides).assign_attrs(attrs) if named else scores


def _as_set(side: Any, name: str) -> Any:
    """Return an RDM set for any Dataset of RDMs, arrays as they are."""
    if isinstance(side, (xr.DataArray, Mapping)) and not isinstance(side, xr.Dataset):
        raise SchemaError(f"{name} is a {type(side).__name__}; expected RDMs as rdm(...) gives them, or an array")
    if not isinstance(side, xr.Dataset) or is_rdms(side):
        if is_rdms(side) and "time" in side.dims:
            raise SchemaError(f"{name} is a movie of RDMs; pick a time first: {name}.isel(time=...)")
        return side
    if "rdm" in side.data_vars and side["rdm"].dims == ("pair",):
        return rdm_set(side["rdm"].values, stimulus=stimuli_of(side), attrs=side.attrs)
    raise SchemaError(
        f"{name} has no RDMs; expected a Dataset as rdm(...) or rdm_set(...) gives it, or condensed arrays"
    )


def _require_squared(sides: Mapping[str, Any], method: str) -> None:
    for name, side in sides.items():
        if is_rdms(side) and side.attrs.get("distance") == "euclidean":
            raise MeasureError(
                f"{name} holds euclidean distances; method={method!r} needs squared ones: distance='squared_euclidean'"
            )


def _aligned(sides: Mapping[str, Any], how: str) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return condensed arrays in one order of the stimuli, and which stimuli of ``a`` these are."""
    labelled = {name: side for name, side in sides.items() if is_rdms(side)}
    if not labelled:
        return {name: np.asarray(side, dtype=np.float64) for name, side in sides.items()}, None
    names = shared_stimuli(labelled, how)
    arrays = {}
    for name, side in sides.items():
        if is_rdms(side):
            values = to_pairs(side, names)
            arrays[name] = values if "rdm" in side.dims else values[0]
        else:
            arrays[name] = np.asarray(side, dtype=np.float64)
            _require_same_order(labelled, names, name)
    if "a" not in labelled:
        return arrays, None
    place = {n: i for i, n in enumerate(stimuli_of(labelled["a"]).tolist())}
    return arrays, np.array([place[n] for n in names.tolist()])


def _require_same_order(labelled: Mapping[str, Any], names: np.ndarray, bare: str) -> None:
    """An array beside Datasets has the order of these, which must then be one."""
    for name, side in labelled.items():
        if not np.array_equal(stimuli_of(side), names):
            raise AlignmentError(
                f"{bare} has no stimulus names, and {name} is not in the order in which the others are; "
                f"give {bare} as a Dataset (rdm_set)"
            )


def _chosen(covariance: Any, rows: np.ndarray, k: int, whose: str) -> np.ndarray:
    """Return the covariance of the stimuli that are compared."""
    given = np.asarray(covariance, dtype=np.float64)
    if given.shape not in ((k,), (k, k)):
        raise MeasureError(
            f"stimulus_covariance has shape {given.shape}; expected ({k},) or ({k}, {k}), in the order of {whose}"
        )
    chosen: np.ndarray = given[rows] if given.ndim == 1 else given[np.ix_(rows, rows)]
    return chosen


def _names(side: Any, n: int) -> np.ndarray:
    if is_rdms(side) and "rdm" in side.dims:
        return np.asarray(side["rdm"].values)
    return np.array([f"rdm/{i}" for i in range(n)])


def _table(scores: np.ndarray, sides: Mapping[str, Any]) -> xr.DataArray:
    coords = {f"rdm_{name}": _names(sides[name], n) for name, n in zip("ab", scores.shape, strict=True)}
    return xr.DataArray(scores, dims=("rdm_a", "rdm_b"), coords=coords, name="score")


def _report(
    arrays: Mapping[str, np.ndarray], scores: Any, sides: Mapping[str, Any], method: str, options: Mapping[str, Any]
) -> xr.Dataset:
    """Return scores with the number of pairs that each is computed on."""
    both = [np.atleast_2d(arrays[name]) for name in ("a", "b")]
    if "control" in arrays:
        both[0] = np.where(np.isfinite(np.atleast_2d(arrays["control"])).all(axis=0), both[0], np.nan)
    out = _table(np.atleast_2d(scores), sides).to_dataset()
    out["n_pairs_used"] = (("rdm_a", "rdm_b"), shared_pairs(*both))
    if method == "bures":
        first, second = embed_both(both[0], both[1], comparator(method))
        found = [[score(x, y).details for y in second] for x in first]
        for name in ("a", "b"):
            values = np.array([[pair[f"negative_{name}"] for pair in row] for row in found])
            out[f"negative_share_{name}"] = (("rdm_a", "rdm_b"), values)
    return out


def is_responses(control: Any, x: Any) -> bool:
    """Is this a representation or an array (n_stimuli, n_units) of responses, not an RDM?"""
    if isinstance(control, xr.Dataset):
        return "response" in control
    shape = np.shape(control)
    k = len(x) if not isinstance(x, xr.Dataset) else -1
    return len(shape) == 2 and shape[0] == k and shape[1] != k * (k - 1) // 2


def with_stimuli(x: Any, y: Any, nan: str, options: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return two sides as arrays of the same stimuli, and the options that are about stimuli on these."""
    repeats = make("rsa", distance=options.get("distance", "correlation")).needs == "repeats"
    a, b, names, _ = matched(x, y, repeats=repeats)
    covariance, control = options.get("stimulus_covariance"), options.get("control")
    if covariance is not None and names is not None:
        own = stimulus_labels(average_repeats(x) if sample_dim(x) == "presentation" else x).astype(str)
        place = {n: i for i, n in enumerate(own.tolist())}
        covariance = _chosen(covariance, np.array([place[n] for n in names.tolist()]), len(own), "x")
    if control is not None:
        control = _control_pairs(control, names)
    rows = np.arange(len(a))
    if nan in ("drop_units", "drop_stimuli") and not repeats:
        a, b, rows = without_nan(a, b, nan)
    if nan == "drop_stimuli" and not repeats:
        control = None if control is None else np.stack([take(row, rows) for row in control])
        covariance = None if covariance is None else _chosen(covariance, rows, len(np.asarray(covariance)), "x")
    return a, b, dict(options) | {"control": control, "stimulus_covariance": covariance}


def _control_pairs(control: Any, names: np.ndarray | None) -> np.ndarray:
    """Return the controls (n_controls, n_pairs) in the order of the stimuli that are compared."""
    side = _as_set(control, "control")
    if not is_rdms(side):
        if names is not None:
            raise SchemaError(
                "control has no stimulus names, x and y have; give a representation or RDMs with names (rdm_set)"
            )
        return np.atleast_2d(np.asarray(side, dtype=np.float64))
    if names is None:
        return to_pairs(side)
    return to_pairs(side, names)
