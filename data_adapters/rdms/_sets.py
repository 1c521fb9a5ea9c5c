"""RDMs of one file become one set: the same number of stimuli, unique names, labels that are text or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import POSITIONAL, numbered, stimulus_names
from data_adapters._options import name_of
from repcompare.errors import FormatError
from repcompare.labels.rdms import rdm_set


@dataclass(frozen=True, kw_only=True)
class RdmOptions:
    """Options of the readers of RDM files.

    Attributes
    ----------
    stimuli : list of str, path, name or "positional", optional
        One name per stimulus, as for other readers; ``"positional"`` names them ``#0000`` ....
    variable : str or list of str, optional
        Which variables of a MATLAB file hold the RDMs; all that look like RDMs by default.
    """

    stimuli: Any = None
    variable: Any = None


@dataclass(frozen=True)
class Found:
    """One RDM of a file.

    Attributes
    ----------
    where : str
        Variable and place, for messages.
    name : str
        Its name.
    pairs : ndarray, shape (n_pairs,) or (n_stimuli, n_stimuli)
        Values.
    labels : dict
        Further labels, text or numbers.
    """

    where: str
    name: str
    pairs: np.ndarray
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli; 0 when the values are neither a square nor the pairs of any number."""
        shape = self.pairs.shape
        if len(shape) == 2 and 1 not in shape:
            return shape[0] if shape[0] == shape[1] else 0
        k = (1 + isqrt(1 + 8 * self.pairs.size)) // 2
        return k if k > 1 and k * (k - 1) // 2 == self.pairs.size else 0


def assembled(path: str, found: Sequence[Found], options: RdmOptions, inside: Any, attrs: dict[str, Any]) -> xr.Dataset:
    """Return the RDMs of a file as one set.

    Parameters
    ----------
    path : str
        The file.
    found : sequence of Found
        At least one.
    options : RdmOptions
        ``stimuli``.
    inside : mapping of str to callable
        Arrays of labels in the file itself.
    attrs : dict
        What the file says of the distances.

    Raises
    ------
    FormatError
        When the RDMs have different numbers of stimuli, or the names are not as many.
    """
    bad = [f for f in found if not f.n_stimuli]
    if bad:
        raise FormatError(
            f"{path}: {bad[0].where} has shape {bad[0].pairs.shape}; expected a square RDM, or the n(n-1)/2 pairs of its "
            "upper triangle row by row"
        )
    sizes = {f.n_stimuli: f.where for f in found}
    if len(sizes) > 1:
        which = ", ".join(f"{where} has {k}" for k, where in sizes.items())
        raise FormatError(f"{path}: RDMs of different numbers of stimuli: {which}; choose some by variable=")
    (k,) = sizes
    names, origin, note = stimulus_names(options.stimuli, path, inside)
    stimuli = numbered(k) if names is None else names
    if len(stimuli) != k:
        raise FormatError(f"{path}: RDMs of {k} stimuli, but {origin} gives {len(stimuli)} names; expected one each")
    values = np.stack([np.asarray(_square(f, k), dtype=np.float64) for f in found])
    rdms = _unique(found)
    keys = dict.fromkeys(key for f in found for key in f.labels)
    columns = {f"rdm_{key}": _column([f.labels.get(key) for f in found]) for key in keys}
    labels = {key: column for key, column in columns.items() if column.tolist() != rdms}
    history = [note] if note and origin != POSITIONAL else ["stimuli are named by position: align by order only"]
    record = {"source": name_of(path), "history": history, **attrs}
    return rdm_set(values, stimulus=stimuli, rdm=rdms, attrs=record, **labels)


def _square(found: Found, k: int) -> np.ndarray:
    """Return a square RDM; condensed ones are row by row."""
    if found.pairs.shape == (k, k) and (k != 3 or 1 not in found.pairs.shape):
        return found.pairs
    out = np.zeros((k, k))
    out[np.triu_indices(k, 1)] = found.pairs.ravel()
    square: np.ndarray = out + out.T
    return square


def _column(values: list[Any]) -> np.ndarray:
    """Return labels of one kind; numbers where all are numbers, text otherwise."""
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return np.asarray(values)
    return np.array(["" if v is None else str(v) for v in values], dtype=np.str_)


def _unique(found: Sequence[Found]) -> list[str]:
    """Return names of which none occurs twice: joined with the other texts, or the second one gets ``(2)``."""
    names = [f.name for f in found]
    if len(set(names)) < len(names):
        joined = [
            " | ".join(dict.fromkeys([f.name, *(v for v in f.labels.values() if isinstance(v, str))])) for f in found
        ]
        names = joined if len(set(joined)) > len(set(names)) else names
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
