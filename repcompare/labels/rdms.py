"""The schema of RDM sets: dissimilarities of named pairs of stimuli, one row per subject, model, region ...

An RDM set is a plain ``xarray.Dataset`` with the variable ``dissimilarity`` (``[rdm,] [time,] pair``).  The pairs are those
of a list of stimuli, row by row of the upper triangle; ``stimulus_a`` and ``stimulus_b`` name them.  NaN is a missing pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, SchemaError, choose, some, suggest
from repcompare.labels.rules import broken_attrs
from repcompare.labels.values import duplicates, infinite, text

RDM_SCHEMA = "repcompare-rdm-1"
DIMS = ("rdm", "time", "pair")
GENERALISED = ("time", "time_other", "pair")  # between every two times
SQUARE = ("stimulus", "stimulus_b")
POLICIES = ("exact", "intersection")
_REPEATED = "stimuli {} occur more than once; expected one row per stimulus"

# coordinates beside the names of the pairs: name -> meaning; further ones are called rdm_<label>
RDM_VARIABLES = {
    "rdm": "name of the RDM, the index",
    "rdm_subject": "person or animal",
    "rdm_session": "recording session",
    "rdm_region": "brain region",
    "rdm_layer": "network layer",
}


def rdm_set(
    values: npt.ArrayLike,
    *,
    stimulus: Sequence[str] | np.ndarray,
    rdm: Sequence[str] | np.ndarray | None = None,
    time: npt.ArrayLike | None = None,
    attrs: Mapping[str, Any] | None = None,
    **coords: Any,
) -> xr.Dataset:
    """Make a validated set of RDMs.

    Parameters
    ----------
    values : array-like, shape ([n_rdms,] [n_times,] n_pairs) or ([n_rdms,] [n_times,] n_stimuli, n_stimuli)
        Dissimilarities: upper triangles row by row, or square and symmetric with zero diagonal.  NaN is a missing pair.
    stimulus : sequence of str, shape (n_stimuli,)
        Names, in the order of the rows.
    rdm : sequence of str, shape (n_rdms,), optional
        Names of the RDMs; ``rdm/0``, ``rdm/1`` ... where the values have that axis and no names are given.
    time : array-like, shape (n_times,), optional
        Bin centres in s of a movie of RDMs; says that the values have that axis.
    attrs : mapping, optional
        ``distance``, ``squared``, ``normalize_units``, ``noise``, ``partition`` ...
    **coords
        ``rdm_subject=``, ``rdm_session=``, ``rdm_<label>=``: one per RDM, or one for all.

    Returns
    -------
    xarray.Dataset
        With the variable ``dissimilarity`` and ``attrs["n_pairs_missing"]``.

    Raises
    ------
    SchemaError
        On duplicate names, a length that is not that of the pairs, square RDMs that are not symmetric, infinite values.

    Examples
    --------
    >>> ds = rdm_set([[1.0, 4.0, 1.0]], stimulus=["cat", "dog", "owl"], rdm=["V4"], rdm_subject="M1")
    >>> dict(ds.sizes), stimuli_of(ds).tolist()
    ({'rdm': 1, 'pair': 3}, ['cat', 'dog', 'owl'])
    """
    names = text(np.asarray(stimulus)).astype(str)
    if duplicates(names):
        raise SchemaError(f"{_REPEATED.format(some(duplicates(names)))}; average the repeats first")
    leading = (time is not None) + (rdm is not None or bool(coords))
    pairs = _condensed(np.asarray(values, dtype=np.float64), names, leading)
    dims = (
        *(("rdm",) if pairs.ndim == (3 if time is not None else 2) else ()),
        *(("time",) if time is not None else ()),
    )
    if pairs.ndim != len(dims) + 1:
        raise SchemaError(
            f"values have shape {np.shape(values)}; expected ([n_rdms,] [n_times,] n_pairs) or (..., n_stimuli, n_stimuli)"
        )
    i, j = np.triu_indices(len(names), 1)
    labels: dict[str, Any] = {"stimulus_a": ("pair", names[i]), "stimulus_b": ("pair", names[j])}
    if time is not None:
        labels["time"] = ("time", np.asarray(time, dtype=np.float64), {"units": "s"})
    if "rdm" in dims:
        labels["rdm"] = [f"rdm/{k}" for k in range(len(pairs))] if rdm is None else text(np.asarray(rdm)).astype(str)
        labels |= {name: _per_rdm(name, value, len(pairs)) for name, value in coords.items()}
    elif rdm is not None or coords:
        raise SchemaError(f"one RDM has no axis for {some(['rdm', *coords])}; give values of shape (1, n_pairs)")
    record = {"schema": RDM_SCHEMA, **(attrs or {}), "n_pairs_missing": int(np.isnan(pairs).sum())}
    try:
        ds = xr.Dataset({"dissimilarity": ((*dims, "pair"), pairs)}, coords=labels, attrs=record)
    except ValueError as error:
        raise SchemaError(f"the RDMs and their labels do not fit: {error}; give one label per RDM") from None
    return validate_rdms(ds)


def _condensed(values: np.ndarray, names: np.ndarray, leading: int) -> np.ndarray:
    """Return RDMs as (..., n_pairs) from condensed or square ones; the labels ask for ``leading`` axes at least."""
    k = len(names)
    n_pairs = k * (k - 1) // 2
    # three stimuli have three pairs: a stack of three RDMs is told from a square one by its labels, then its diagonal
    stack = k == 3 and (values.ndim <= leading + 1 or np.diagonal(values, axis1=-2, axis2=-1).any())
    if values.ndim >= 2 and values.shape[-2:] == (k, k) and not stack:
        _check_square(values, names)
        return values[(..., *np.triu_indices(k, 1))]
    if k < 2 or values.ndim == 0 or values.shape[-1] != n_pairs:
        last = values.shape[-1] if values.ndim else 0
        size = (1 + isqrt(1 + 8 * last)) // 2
        fits = f"that is the number of pairs of {size} stimuli" if last and size * (size - 1) // 2 == last else ""
        raise SchemaError(
            f"values have shape {values.shape} for {k} stimuli; expected {n_pairs} pairs, or ({k}, {k}), on the last axes"
            + (f"; {fits}" if fits else "")
        )
    return values


def _check_square(values: np.ndarray, names: np.ndarray) -> None:
    """Raise unless square RDMs are symmetric with a zero diagonal, up to rounding of single precision."""
    other = np.swapaxes(values, -1, -2)
    scale = np.nanmax(np.abs(values), initial=0.0)
    apart = (np.isnan(values) != np.isnan(other)) | (np.abs(values - other) > 1e-6 * scale)
    diagonal = np.nan_to_num(np.abs(np.diagonal(values, axis1=-2, axis2=-1))) > 1e-6 * scale
    if apart.any():
        i, j = np.argwhere(apart)[0][-2:]
        raise SchemaError(
            f"square RDM is not symmetric at ({str(names[i])!r}, {str(names[j])!r}); expected a distance matrix; "
            "average it with its transpose first, if that is meant"
        )
    if diagonal.any():
        i = np.argwhere(diagonal)[0][-1]
        raise SchemaError(
            f"square RDM has a distance of {str(names[i])!r} to itself; expected a zero diagonal; "
            "a similarity s becomes a distance by 1 - s"
        )


def _per_rdm(name: str, value: Any, n: int) -> tuple[str, np.ndarray]:
    if not name.startswith("rdm_"):
        raise SchemaError(
            f"coordinate {name!r} is not a label of RDMs{suggest(name, RDM_VARIABLES)}; call it rdm_{name}"
        )
    array = np.asarray(value)
    return "rdm", text(np.full(n, array) if array.ndim == 0 else array)


def is_rdms(obj: object) -> bool:
    """Is this a set of RDMs?"""
    return isinstance(obj, xr.Dataset) and "dissimilarity" in obj


def validate_rdms(ds: xr.Dataset, name: str = "object") -> xr.Dataset:
    """Check every rule of an RDM set; return the same object.

    Raises
    ------
    SchemaError
        With every violation.

    Examples
    --------
    >>> validate_rdms(xr.Dataset({"dissimilarity": ("pair", [1.0])}))
    Traceback (most recent call last):
    repcompare.errors.SchemaError: object: not a set of RDMs: the pairs have no names; ...
    """
    if not is_rdms(ds):
        found = sorted(map(str, ds.variables)) if isinstance(ds, xr.Dataset) else type(ds).__name__
        raise SchemaError(
            f"{name}: {found}; expected RDMs with the variable 'dissimilarity', as rdm() and read() give them"
        )
    broken = list(_violations(ds))
    if broken:
        raise SchemaError(f"{name}: not a set of RDMs: {'; '.join(broken)}")
    return ds


def validate_stored(ds: xr.Dataset, name: str = "object") -> xr.Dataset:
    """Check an RDM set in any form that :func:`repcompare.rdm` returns; return the same object.

    Beside condensed sets these are square RDMs (``[time,] stimulus, stimulus_b``) and RDMs between every two times
    (``time, time_other, pair``), which are looked at and kept, but not compared as sets.

    Raises
    ------
    SchemaError
        With every violation.
    """
    dims = ds["dissimilarity"].dims
    if dims == GENERALISED:
        validate_rdms(ds.isel(time_other=0).drop_vars("time_other", errors="ignore"), name)
        return ds
    if dims[-2:] != SQUARE:
        return validate_rdms(ds, name)
    rows, columns = (text(ds[d].values).astype(str) if d in ds.coords else np.array([]) for d in SQUARE)
    if not rows.size or not np.array_equal(rows, columns):
        raise SchemaError(
            f"{name}: square RDMs have other names along 'stimulus_b' than along 'stimulus'; expected the same"
        )
    _check_square(ds["dissimilarity"].values, rows)
    broken = infinite(ds["dissimilarity"].values, map(str, dims)) + broken_attrs(ds.attrs, "attrs")
    if broken:
        raise SchemaError(f"{name}: not RDMs: {'; '.join(broken)}")
    return ds


def _violations(ds: xr.Dataset) -> list[str]:
    dims = ds["dissimilarity"].dims
    if dims != tuple(d for d in DIMS if d in dims) or dims[-1:] != ("pair",):
        return [f"dissimilarity has dims {dims}; expected [rdm,] [time,] pair"]
    if any(n not in ds.coords or ds[n].dims != ("pair",) for n in ("stimulus_a", "stimulus_b")):
        return ["the pairs have no names; expected the coordinates stimulus_a and stimulus_b; see rdm_set"]
    names = stimuli_of(ds)
    found = []
    i, j = np.triu_indices(len(names), 1)
    given = [text(ds[n].values).astype(str) for n in ("stimulus_a", "stimulus_b")]
    if len(i) != ds.sizes["pair"] or not (np.array_equal(given[0], names[i]) and np.array_equal(given[1], names[j])):
        found.append(
            f"{ds.sizes['pair']} pairs are not the upper triangle of {len(names)} stimuli, row by row; "
            "select stimuli with select_stimuli, not pairs"
        )
    if (names == "").any():
        found.append("a stimulus has no name")
    if duplicates(names):
        found.append(_REPEATED.format(some(duplicates(names))))
    if "rdm" in dims and ("rdm" not in ds.coords or duplicates(ds["rdm"].values)):
        repeated = duplicates(ds["rdm"].values) if "rdm" in ds.coords else ["none"]
        found.append(f"names of RDMs are not unique: {some(repeated)}")
    found += infinite(ds["dissimilarity"].values, map(str, dims))
    return found + broken_attrs(ds.attrs, "attrs")


def stimuli_of(ds: xr.Dataset) -> np.ndarray:
    """Return the names of the stimuli of an RDM set in the order of its rows, shape (n_stimuli,)."""
    first, second = (text(ds[name].values).astype(str) for name in ("stimulus_a", "stimulus_b"))
    if not len(first):
        raise SchemaError("a set of RDMs without pairs; expected at least two stimuli")
    k = int(np.argmin(first == first[0])) if (first != first[0]).any() else len(first)
    return np.concatenate([first[:1], second[:k]])


def shared_stimuli(sides: Mapping[str, xr.Dataset], how: str = "exact") -> np.ndarray:
    """Return the stimuli that all sets have, in the order of the first.

    Parameters
    ----------
    sides : mapping of name to RDM set
        What is to be compared.
    how : {"exact", "intersection"}
        Demand the same stimuli everywhere, or keep those that all sets have.

    Raises
    ------
    AlignmentError
        Naming the stimuli that a set lacks, or when fewer than 3 are shared.

    Examples
    --------
    >>> a, b = (rdm_set([1.0, 2.0, 3.0], stimulus=list(names)) for names in ("xyz", "zyx"))
    >>> shared_stimuli({"a": a, "b": b}).tolist(), to_pairs(b, ["x", "y", "z"]).tolist()
    (['x', 'y', 'z'], [[3.0, 2.0, 1.0]])
    """
    choose(how, POLICIES, "stimuli")
    names = {side: stimuli_of(validate_rdms(ds, side)) for side, ds in sides.items()}
    first = next(iter(names.values()))
    every = np.unique(np.concatenate(list(names.values())))
    lacking = {side: np.setdiff1d(every, own) for side, own in names.items()}
    if how == "exact" and any(len(v) for v in lacking.values()):
        lines = "; ".join(f"{side} lacks {some(v.tolist())} ({len(v)})" for side, v in lacking.items() if len(v))
        raise AlignmentError(
            f"the stimuli are not the same: {lines}; expected the same everywhere; "
            "leave the others out, or take stimuli='intersection' where that is an option"
        )
    kept = np.array([n for n in first.tolist() if all(n in set(own.tolist()) for own in names.values())], dtype=np.str_)
    if len(kept) < 3:
        raise AlignmentError(f"{len(kept)} stimuli are shared by {some(names)}; expected at least 3; check their names")
    return kept


def to_pairs(ds: xr.Dataset, stimuli: Sequence[str] | np.ndarray | None = None) -> np.ndarray:
    """Return the dissimilarities as an array, pairs in the order of the given stimuli; labels are dropped here.

    Parameters
    ----------
    ds : xarray.Dataset
        An RDM set.
    stimuli : sequence of str, optional
        Which, in the order wanted; all in their own order by default.

    Returns
    -------
    ndarray, shape (n_rdms, [n_times,] n_pairs)
        float64; a single RDM has n_rdms = 1.

    Raises
    ------
    AlignmentError
        When a stimulus is missing, or asked for twice.
    """
    own = stimuli_of(ds)
    values = np.asarray(ds["dissimilarity"].values, dtype=np.float64)
    if "rdm" not in ds["dissimilarity"].dims:
        values = values[None]
    if stimuli is None or np.array_equal(own, stimuli):
        return values
    wanted = np.asarray(stimuli).astype(str)
    place = {name: i for i, name in enumerate(own.tolist())}
    absent = [n for n in wanted.tolist() if n not in place]
    repeated = duplicates(wanted)
    if absent or repeated:
        what = f"{some(absent)} are not among its stimuli" if absent else f"{some(repeated)} are asked for twice"
        raise AlignmentError(f"RDMs: {what}; expected distinct names out of {some(own.tolist())}")
    rows = np.array([place[n] for n in wanted.tolist()])
    return values[..., _positions(rows, len(own))]


def _positions(rows: np.ndarray, k: int) -> np.ndarray:
    """Return where the pairs of the rows, in their new order, stand among the pairs of ``k`` stimuli."""
    a, b = np.triu_indices(len(rows), 1)
    low, high = np.minimum(rows[a], rows[b]), np.maximum(rows[a], rows[b])
    place: np.ndarray = low * (2 * k - low - 1) // 2 + high - low - 1
    return place


def select_stimuli(ds: xr.Dataset, stimuli: Sequence[str] | np.ndarray) -> xr.Dataset:
    """Return the RDMs of some stimuli, in the order given.

    Raises
    ------
    AlignmentError
        When a stimulus is missing, or asked for twice.

    Examples
    --------
    >>> ds = rdm_set([1.0, 2.0, 3.0], stimulus=["a", "b", "c"])
    >>> select_stimuli(ds, ["c", "a"])["dissimilarity"].values
    array([2.])
    """
    values = to_pairs(ds, stimuli)
    dims = ds["dissimilarity"].dims
    return _like(ds, values if "rdm" in dims else values[0], np.asarray(stimuli).astype(str))


def _like(ds: xr.Dataset, values: np.ndarray, names: np.ndarray) -> xr.Dataset:
    """Return a set with the labels of ``ds`` and other pairs."""
    i, j = np.triu_indices(len(names), 1)
    kept = ds.drop_vars([v for v in ds.variables if "pair" in ds[v].dims])
    out = kept.assign(dissimilarity=(ds["dissimilarity"].dims, values))
    out = out.assign_coords(stimulus_a=("pair", names[i]), stimulus_b=("pair", names[j]))
    return out.assign_attrs(n_pairs_missing=int(np.isnan(values).sum()))


def merge_sets(sets: Sequence[xr.Dataset]) -> xr.Dataset:
    """Stack sets of RDMs into one over the union of their stimuli; pairs that a set lacks are NaN.

    Parameters
    ----------
    sets : sequence of RDM sets
        Without a time axis.  Names of RDMs must be unique over all sets; an unnamed RDM is called after its place.

    Returns
    -------
    xarray.Dataset
        Stimuli in order of first appearance.  Attributes on which the sets differ are left out.

    Raises
    ------
    SchemaError
        When a set has a time axis, or two RDMs have one name.

    Examples
    --------
    >>> a, b = rdm_set([1.0], stimulus=["x", "y"]), rdm_set([2.0], stimulus=["y", "z"])
    >>> merge_sets([a, b])["dissimilarity"].values
    array([[ 1., nan, nan],
           [nan, nan,  2.]])
    """
    if not sets or any("time" in validate_rdms(ds, f"set {k}").sizes for k, ds in enumerate(sets)):
        raise SchemaError("expected at least one set of RDMs, none of them with a time axis; pick a time first")
    every = np.array(list(dict.fromkeys(n for ds in sets for n in stimuli_of(ds).tolist())), dtype=np.str_)
    place = {name: i for i, name in enumerate(every.tolist())}
    rows: list[np.ndarray] = []
    names: list[str] = []
    labels: dict[str, list[Any]] = {str(c): [] for ds in sets for c in ds.coords if str(c).startswith("rdm_")}
    for k, ds in enumerate(sets):
        values = to_pairs(ds)
        wide = np.full((len(values), len(every) * (len(every) - 1) // 2), np.nan)
        wide[:, _positions(np.array([place[n] for n in stimuli_of(ds).tolist()]), len(every))] = values
        rows.append(wide)
        names += ds["rdm"].values.tolist() if "rdm" in ds.coords else [f"rdm/{k}"]
        for name, column in labels.items():
            column += ds[name].values.tolist() if name in ds.coords else [""] * len(values)
    kept = {k: v for k, v in sets[0].attrs.items() if all(np.array_equal(ds.attrs.get(k, ()), v) for ds in sets)}
    return rdm_set(np.concatenate(rows), stimulus=every, rdm=names, attrs=kept, **labels)


def square_form(ds: xr.Dataset) -> np.ndarray:
    """Return the dissimilarities as square arrays, shape ([n_rdms,] [n_times,] n_stimuli, n_stimuli), zero diagonal."""
    values = ds["dissimilarity"].values
    k = len(stimuli_of(ds))
    out = np.zeros((*values.shape[:-1], k, k))
    i, j = np.triu_indices(k, 1)
    out[..., i, j] = values
    out[..., j, i] = values
    return out
