"""Model RDMs from what is known of the stimuli: categories, features, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, SchemaError
from repcompare.functional._pair import one_side
from repcompare.labels.rdms import rdm_set
from repcompare.measures.rsa import rdm


def from_categories(labels: Any, *, stimulus: Sequence[str] | None = None, name: str = "categories") -> Any:
    """Return a model RDM: 0 within a category, 1 between categories.

    Parameters
    ----------
    labels : array-like of shape (n_stimuli,), or DataArray over ``stimulus``
        Category of each stimulus.
    stimulus : sequence of str, optional
        Names of the stimuli; those of a DataArray are taken from it.
    name : str

    Returns
    -------
    xarray.Dataset or ndarray
        A set of one RDM, or (n_pairs,) where the stimuli have no names.

    Raises
    ------
    MeasureError
        When all stimuli are of one category, or a label is missing.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm_models.from_categories(["face", "face", "house"])
    array([0., 1., 1.])
    """
    values, names = _labelled(labels, stimulus)
    absent = [i for i, v in enumerate(values.tolist()) if v is None or v != v or v == ""]
    if absent:
        raise MeasureError(f"{len(absent)} stimuli have no category, first row {absent[0]}; label or drop them")
    codes = np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True)[1].reshape(-1)
    if codes.max() == 0:
        raise MeasureError(f"all {len(codes)} stimuli are of one category; expected at least 2")
    i, j = np.triu_indices(len(codes), 1)
    return _model_rdm((codes[i] != codes[j]).astype(np.float64), names, name, {"distance": "categories"})


def from_features(
    features: Any, *, distance: str = "squared_euclidean", stimulus: Sequence[str] | None = None, name: str = "features"
) -> Any:
    """Return a model RDM from features of the stimuli.

    Parameters
    ----------
    features : representation, or array-like of shape (n_stimuli, n_units)
    distance : {"squared_euclidean", "euclidean", "correlation", "cosine"}
        See :func:`repcompare.rdm`; squared differences are averaged over features.
    stimulus : sequence of str, optional
        Names of the rows of an array.
    name : str

    Returns
    -------
    xarray.Dataset or ndarray
        A set of one RDM, or (n_pairs,) where the stimuli have no names.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm_models.from_features([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    array([1., 4., 1.])
    """
    values, own = one_side(features)
    names: np.ndarray | None = own
    if not isinstance(features, xr.Dataset):
        names = None if stimulus is None else _checked_names(stimulus, len(values))
    elif stimulus is not None:
        raise SchemaError("stimulus= names the rows of an array; a representation has its own names; leave it out")
    return _model_rdm(rdm(values, distance), names, name, {"distance": distance})


def from_vector(values: Any, *, stimulus: Sequence[str] | None = None, name: str = "vector") -> Any:
    """Return a model RDM: the absolute difference of one number per stimulus.

    Parameters
    ----------
    values : array-like of shape (n_stimuli,), or DataArray over ``stimulus``
        Size, luminance, rating ...
    stimulus : sequence of str, optional
        Names of the stimuli; those of a DataArray are taken from it.
    name : str

    Returns
    -------
    xarray.Dataset or ndarray
        A set of one RDM, or (n_pairs,) where the stimuli have no names.

    Raises
    ------
    MeasureError
        When the values are not finite numbers, or all equal.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm_models.from_vector([1.0, 2.0, 4.0])
    array([1., 3., 2.])
    """
    given, names = _labelled(values, stimulus)
    if given.dtype.kind not in "fiub" or not np.isfinite(given.astype(np.float64)).all():
        raise MeasureError("values are not all finite numbers; expected one number per stimulus; drop those without")
    numbers = given.astype(np.float64)
    if not np.ptp(numbers):
        raise MeasureError(f"all {len(numbers)} values are {numbers[0]:g}; expected values that differ")
    i, j = np.triu_indices(len(numbers), 1)
    return _model_rdm(np.abs(numbers[i] - numbers[j]), names, name, {"distance": "absolute_difference"})


def _labelled(values: Any, stimulus: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return one value per stimulus, and the names of the stimuli."""
    if isinstance(values, xr.DataArray) and stimulus is None and values.dims == ("stimulus",):
        stimulus = values["stimulus"].values.tolist() if "stimulus" in values.coords else None
    array = np.asarray(values)
    if array.ndim != 1 or len(array) < 3:
        raise SchemaError(f"values have shape {array.shape}; expected one per stimulus, (n_stimuli,), at least 3")
    return array, None if stimulus is None else _checked_names(stimulus, len(array))


def _checked_names(stimulus: Sequence[str], n: int) -> np.ndarray:
    names = np.asarray(stimulus).astype(str)
    if names.shape != (n,):
        raise SchemaError(f"{names.size} stimulus names for {n} stimuli; expected one each")
    return names


def _model_rdm(values: np.ndarray, names: np.ndarray | None, name: str, attrs: dict[str, Any]) -> Any:
    return values if names is None else rdm_set(values[None], stimulus=names, rdm=[name], attrs=attrs)
