"""RDMs and models of RDMs, with names or without, become arrays over the same stimuli in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.labels.rdms import is_rdms, rdm_set, shared_stimuli, stimuli_of, to_pairs
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa.crossvalidation import Split, cross, default_folds
from repcompare.measures.rsa.models import RDMModel, restrict
from repcompare.statistics.folds import make_folds

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """RDMs of one side.

    Attributes
    ----------
    values : ndarray, shape (n_rdms, n_pairs)
    stimuli : ndarray of str, shape (n_stimuli,), optional
    names : tuple of str
        Of the RDMs.
    """

    values: Matrix
    stimuli: np.ndarray | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model of RDMs and the names that belong to it.

    Attributes
    ----------
    array : RDMModel
        What is fitted; see :mod:`repcompare.measures.rsa.models`.
    stimuli : ndarray of str, shape (n_stimuli,), optional
        In the order of the array; None for a model of plain arrays.
    parameters : tuple of str
        Names of the component RDMs, or of the features.
    """

    array: RDMModel
    stimuli: np.ndarray | None
    parameters: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.array.name

    def ordered(self, stimuli: np.ndarray | None) -> RDMModel:
        """Return the array form for some stimuli, in their order; None keeps all."""
        if stimuli is None or self.stimuli is None:
            return self.array
        place = {name: row for row, name in enumerate(self.stimuli.tolist())}
        rows = np.array([place[name] for name in stimuli.tolist()], dtype=np.intp)
        return self.array if np.array_equal(rows, np.arange(len(place))) else restrict(self.array, rows)


def side(rdms: Any, name: str) -> Side:
    """Return RDMs from a set, an array, or a mapping or sequence of either."""
    if isinstance(rdms, xr.Dataset):  # which is a mapping too
        if not is_rdms(rdms):
            raise SchemaError(f"{name}: a Dataset without RDMs; expected a set as rdm() and rdm_set() give it")
        if "time" in rdms["dissimilarity"].dims:
            raise SchemaError(f"{name}: RDMs over time; pick one time first, rdms.isel(time=0)")
        values = to_pairs(rdms)
        named = rdms["rdm"].values.astype(str).tolist() if "rdm" in rdms.coords else [name]
        return Side(values, stimuli_of(rdms), tuple(np.atleast_1d(named).tolist()))
    if isinstance(rdms, Mapping):
        return _joined([side(value, str(key)) for key, value in rdms.items()], [str(key) for key in rdms], name)
    if isinstance(rdms, Sequence) and rdms and all(isinstance(item, xr.Dataset) for item in rdms):
        return _joined([side(item, f"{name}/{k}") for k, item in enumerate(rdms)], None, name)
    try:
        values = np.atleast_2d(np.asarray(rdms, dtype=np.float64))
    except (TypeError, ValueError):
        raise SchemaError(
            f"{name} is a {type(rdms).__name__}; expected a set of RDMs, or numbers (n_pairs,) or (n_rdms, n_pairs)"
        ) from None
    if values.ndim != 2 or not values.size:
        raise SchemaError(f"{name} has shape {values.shape}; expected (n_pairs,) or (n_rdms, n_pairs)")
    count_stimuli(values.shape[1])
    named = [name] if np.ndim(rdms) == 1 else [f"{name}/{k}" for k in range(len(values))]
    return Side(values, None, tuple(named))


def _joined(sides: Sequence[Side], keys: Sequence[str] | None, name: str) -> Side:
    """Stack the RDMs of several sides over the stimuli of the first; the keys name those with one RDM."""
    if not sides:
        raise SchemaError(f"{name}: no RDM; expected at least one")
    stimuli = same_stimuli({f"{name}/{k}": one.stimuli for k, one in enumerate(sides)}, "exact")
    widths = {one.values.shape[1] for one in sides}
    if stimuli is None and len(widths) > 1:
        raise AlignmentError(f"{name}: RDMs of {sorted(widths)} pairs; expected the same stimuli everywhere")
    values = np.concatenate([pairs_of(one, stimuli) for one in sides])
    names: list[str] = []
    for k, one in enumerate(sides):
        names += [keys[k]] if keys is not None and len(one.names) == 1 else one.names
    return Side(values, stimuli, tuple(names))


def pairs_of(one: Side, stimuli: np.ndarray | None) -> Matrix:
    """Return the RDMs of a side for some stimuli, in their order."""
    if one.stimuli is None or stimuli is None:
        return one.values
    rows = np.arange(len(one.values)).astype(str)  # names keep three RDMs of three stimuli from being one square
    return to_pairs(rdm_set(one.values, stimulus=one.stimuli, rdm=rows), stimuli)


def same_stimuli(named: Mapping[str, np.ndarray | None], how: str) -> np.ndarray | None:
    """Return the shared stimuli in the order of the first side, None where no side has names."""
    lacking = [name for name, stimuli in named.items() if stimuli is None]
    if len(lacking) == len(named):
        return None
    if lacking:
        raise SchemaError(
            f"{', '.join(lacking[:3])}: RDMs without stimulus names beside RDMs with names; make sets of all of them by"
            " rdm_set(values, stimulus=names), or give arrays only"
        )
    blank = {
        name: rdm_set(np.zeros(len(s) * (len(s) - 1) // 2), stimulus=s) for name, s in named.items() if s is not None
    }
    return shared_stimuli(blank, how)


def matched(sides: Mapping[str, Any], how: str) -> np.ndarray | None:
    """Return the shared stimuli, sorted by name so that folds do not depend on the order of a file; None without names.

    The values of ``sides`` have the attribute ``stimuli``.
    """
    found = same_stimuli({name: one.stimuli for name, one in sides.items()}, how)
    return None if found is None else np.sort(found)


def draw_splits(k: int, n_rdms: int, folds: Any, subject_folds: int | None, seed: int) -> tuple[Split, ...]:
    """Return folds over stimuli times folds over data RDMs, the usual numbers by default."""
    usual, usual_subjects = default_folds(k, n_rdms)
    if folds is None and k < 6:
        raise OptionError(f"{k} stimuli; held-out scores need at least 6, for 3 test stimuli in each of 2 folds")
    drawn = make_folds(k, usual if folds is None else folds, seed=seed)
    return cross(drawn, n_rdms, usual_subjects if subject_folds is None else subject_folds, seed=seed)


def covariance_of(given: npt.ArrayLike | None, stimuli: np.ndarray | None, order: np.ndarray | None) -> Matrix | None:
    """Return a covariance of stimuli, given in the order of the data, in the order that is computed in."""
    if given is None:
        return None
    matrix = np.asarray(given, dtype=np.float64)
    if stimuli is None or order is None:
        return matrix
    k = len(stimuli)
    if matrix.shape not in ((k,), (k, k)):  # one of the shared stimuli alone has no order that could be known
        raise MeasureError(
            f"stimulus_covariance has shape {matrix.shape}; expected ({k},) or ({k}, {k}), as the data have"
        )
    place = {name: row for row, name in enumerate(stimuli.tolist())}
    rows = np.array([place[name] for name in order.tolist()], dtype=np.intp)
    return matrix[rows] if matrix.ndim == 1 else matrix[np.ix_(rows, rows)]
