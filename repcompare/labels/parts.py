"""Sources and their parts: one representation, a mapping, or a tree of layers, regions or subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, suggest
from repcompare.labels.schema import stimulus_labels, validate
from repcompare.labels.values import text

WHOLE = ""  # the name of the only part of a source that is a single representation


def parts_of(source: Any) -> dict[str, xr.Dataset]:
    """Return the parts of a source by name.

    Parameters
    ----------
    source : xarray.Dataset, mapping or xarray.DataTree
        One representation gives one part named ``""``; nested groups of a tree are joined by ``/``.

    Returns
    -------
    dict of str to xarray.Dataset
        In the order of the source.

    Raises
    ------
    SchemaError
        When there is no representation inside, or something else is.
    """
    if isinstance(source, xr.Dataset):
        return {WHOLE: source}
    if isinstance(source, xr.DataTree):
        found = {
            node.path.strip("/"): node.to_dataset(inherit=True)
            for node in source.subtree
            if "response" in node.data_vars
        }
    elif isinstance(source, Mapping):
        found = {}
        for name, item in source.items():
            for sub, part in parts_of(item).items():
                path = "/".join(n for n in (str(name), sub) if n)
                if path in found:
                    raise SchemaError(f"two parts are called {path!r}; expected different names; rename one of them")
                found[path] = part
    else:
        raise SchemaError(
            f"found a {type(source).__name__}; expected a representation (xarray.Dataset), a mapping of them, "
            "an xarray.DataTree or a path; make one with repcompare.representation(values, stimulus=names)"
        )
    if not found:
        raise SchemaError(
            "the source has no parts; expected at least one representation with the variable 'response'; "
            "check what was read or selected"
        )
    return found


def tree_of(parts: Mapping[str, xr.Dataset], attrs: dict[str, Any] | None = None) -> xr.DataTree:
    """Return parts as an ``xarray.DataTree`` whose nodes are the parts.

    Raises
    ------
    SchemaError
        When one part's name is the beginning of another's path (``a`` and ``a/b``).
    """
    check_paths(parts)
    tree = xr.DataTree.from_dict({f"/{name}": part for name, part in parts.items()})
    tree.attrs.update(attrs or {})
    return tree


def check_paths(parts: Iterable[str]) -> None:
    """Raise unless the names of parts can be paths of one tree, whose leaves the parts are.

    Raises
    ------
    SchemaError
        When one part's name is the beginning of another's path (``a`` and ``a/b``), or has an empty step (``a//b``).
    """
    names = list(parts)
    for name in names:
        inner = [other for other in names if other != name and (name == WHOLE or other.startswith(f"{name}/"))]
        if inner:
            raise SchemaError(
                f"part {name!r} and part {inner[0]!r} cannot live in one tree; expected parts side by side; "
                "rename one of them"
            )
        if name != WHOLE and any(step in ("", ".", "..") for step in name.split("/")):
            raise SchemaError(f"part {name!r}: has an empty step in its path; expected names between '/'; rename it")


def split_by(ds: xr.Dataset, label: str) -> dict[str, xr.Dataset]:
    """Split a representation into parts by a label of its units or of its rows.

    Parameters
    ----------
    ds : xarray.Dataset
        A representation.
    label : str
        ``"region"``, ``"layer"``, ``"subject"`` ..., short for ``unit_region`` ...; or the full name of a coordinate,
        also one along the rows (``stimulus_category``, ``session``).

    Returns
    -------
    dict of str to xarray.Dataset
        One representation per value, in order of first appearance.

    Raises
    ------
    OptionError
        When there is no such label.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> ds = rc.representation(np.ones((2, 3)), stimulus=["a", "b"], unit_region=["V1", "V4", "V1"])
    >>> {name: part.sizes["unit"] for name, part in rc.split_by(ds, "region").items()}
    {'V1': 2, 'V4': 1}
    """
    name = f"unit_{label}" if f"unit_{label}" in ds.coords else label
    if name not in ds.coords or ds[name].ndim != 1:
        known = [str(c).removeprefix("unit_") for c in ds.coords]
        raise OptionError(
            f"no label {label!r} to split by{suggest(label, known)}; give it when making the representation"
        )
    values = text(ds[name].values).astype(str)
    order = dict.fromkeys(values.tolist())
    return {value: ds.isel({ds[name].dims[0]: np.flatnonzero(values == value)}) for value in order}


def checked(parts: Mapping[str, xr.Dataset], side: str) -> dict[str, xr.Dataset]:
    """Return the parts after validating each; the error names the side (``source``) and the part."""
    for name, part in parts.items():
        try:
            validate(part)
            stimulus_labels(part)
        except SchemaError as error:
            where = f"{side} part {name!r}" if name else side
            raise SchemaError(f"{where}: {error}") from None
    return dict(parts)
