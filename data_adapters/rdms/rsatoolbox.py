"""HDF5 files of RDMs as rsatoolbox saves them."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import as_text
from data_adapters.rdms._sets import Found, RdmOptions, assembled
from repcompare.errors import FormatError, OptionError

PATTERNS, RDMS = "pattern_descriptors", "rdm_descriptors"


def read_rsatoolbox(path: str, options: RdmOptions) -> xr.Dataset:
    """Read an HDF5 file of RDMs as one set.

    Parameters
    ----------
    path : str
        Written by ``RDMs.save(..., file_type="hdf5")``; its pickled form is never opened.
    options : RdmOptions
        ``stimuli=``: the pattern descriptor that names the stimuli, a list or a file.  By default the only descriptor
        with a different text per stimulus.

    Returns
    -------
    xarray.Dataset
        A set of RDMs; every descriptor of RDMs becomes a label ``rdm_<descriptor>``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file is damaged, or the stimuli have no names.
    """
    if options.variable is not None:
        raise OptionError("format rsatoolbox has no option 'variable': the file holds one set of RDMs")
    with _hdf5.opened(path) as file:
        values = _hdf5.values(_dataset(path, file, "dissimilarities"))
        if values.ndim != 2:
            raise FormatError(f"{path}: dissimilarities have shape {values.shape}; expected (n_rdms, n_pairs)")
        patterns, rdms = _descriptors(file, PATTERNS), _descriptors(file, RDMS)
        attrs = {"distance": str(_hdf5.decoded(np.asarray(file.attrs.get("dissimilarity_measure", ""))))}
    stimuli = options.stimuli if options.stimuli is not None else _named_by(path, patterns)
    columns = {n: c for n, c in rdms.items() if n != "index" and len(c) == len(values)}
    names = _names(columns, len(values))
    found = [
        Found(f"dissimilarities[{i}]", names[i], row, {n: _item(c[i]) for n, c in columns.items()})
        for i, row in enumerate(values)
    ]
    inside = {n: (lambda c=c, n=n: as_text(c, f"{path}: {n}")) for n, c in patterns.items()}
    return assembled(path, found, RdmOptions(stimuli=stimuli), inside, attrs)


def _dataset(path: str, file: h5py.File, name: str) -> h5py.Dataset:
    found = _hdf5.get(file, name)
    if not isinstance(found, h5py.Dataset):
        raise FormatError(f"{path}: no dataset {name!r}; expected RDMs as rsatoolbox saves them")
    return found


def _descriptors(file: h5py.File, group: str) -> dict[str, Any]:
    """Return the descriptors of a group: one value per RDM or per stimulus each."""
    found = _hdf5.get(file, group)
    if not isinstance(found, h5py.Group):
        return {}
    members = {str(n): _hdf5.get(found, str(n)) for n in found}
    return {
        n: _hdf5.decoded(_hdf5.values(d)) for n, d in members.items() if isinstance(d, h5py.Dataset) and d.ndim == 1
    }


def _named_by(path: str, patterns: dict[str, Any]) -> str:
    """Return the descriptor that names the stimuli."""
    usable = [n for n, c in patterns.items() if n != "index" and len(set(c.tolist())) == len(c)]
    text = [n for n in usable if np.asarray(patterns[n]).dtype.kind in "UOT"]
    best = text or usable
    if len(best) == 1:
        return best[0]
    have = ", ".join(patterns) or "none"
    raise FormatError(
        f"{path}: which descriptor names the stimuli is not clear (there are {have}); "
        "give stimuli= the name of one, a list of names, or 'positional'"
    )


def _names(columns: dict[str, Any], n: int) -> list[str]:
    """Name RDMs after the descriptor that differs between all of them, text first; else by place."""
    order = sorted(columns, key=lambda c: np.asarray(columns[c]).dtype.kind not in "UOT")
    for name in ("name", *order):
        if name in columns and len(set(columns[name].tolist())) == n:
            return [str(v) for v in columns[name].tolist()]
    return [f"rdm/{i}" for i in range(n)]


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
