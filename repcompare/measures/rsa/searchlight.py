"""RSA in many small groups of units at once: spheres of a volume, discs of a cortical surface.

A group's RDM is made, ranked or whitened as the method asks, multiplied with the models, and forgotten.  The common
distances have a kernel that runs over the groups without allocating; whatever that kernel cannot settle to the last digit
(distances that vanish beside the patterns, ties up to rounding), and the other distances, go through
:func:`repcompare.measures.rsa.distances.compute`.

References
----------
Kriegeskorte, Goebel & Bandettini 2006, PNAS 103:3863 (searchlights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa._condensed import Rows, count_stimuli
from repcompare.measures.rsa._methods import METHODS, Comparator, comparator
from repcompare.measures.rsa._spheres import Found, Groups, Matrix, Spheres
from repcompare.measures.rsa._subsets import pairs_within
from repcompare.measures.rsa._trials import pair_names, require_partitions, trials
from repcompare.measures.rsa.comparators import Embedded, embed_stack
from repcompare.measures.rsa.distances import Settings
from repcompare.measures.rsa.noise import Noise, as_noise

__all__ = ["PERMUTABLE", "Found", "Groups", "Spheres", "permuted", "spheres"]

PERMUTABLE = tuple(name for name, kind in METHODS.items() if kind.family == "dot")


def spheres(
    models: Matrix,
    settings: Settings,
    method: str,
    stimulus: Rows,
    partition: Sequence[Any] | npt.NDArray[Any] | None = None,
    n_units: int | None = None,
) -> Spheres:
    """Decide what is computed in every group.

    Parameters
    ----------
    models : ndarray, shape (n_models, n_pairs)
        Complete RDMs of the stimuli in ascending order of their numbers.
    settings : Settings
        Of the RDMs of the data.  A noise that is named is estimated in each group; an object or a precision is that of all
        units, and the groups take its sub-blocks.
    method : str
        A name of :data:`repcompare.measures.rsa.comparators.METHODS`.
    stimulus : ndarray of int, shape (n_rows,)
        Number of the stimulus of each row, ascending from 0.
    partition : sequence, shape (n_rows,), optional
        For the cross-validated distances.
    n_units : int, optional
        All units: the size of a precision.

    Returns
    -------
    Spheres

    Raises
    ------
    MeasureError
        On models with missing pairs or without variance, and designs on which the distance is not defined.
    OptionError
        On a distance and a method that do not go together.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(5, 8))
    >>> what = spheres(np.arange(10.0)[None], Settings(), "pearson", np.arange(5))
    >>> both = Groups(np.array([0, 4, 8]), np.arange(8, dtype=np.int32), np.arange(8))
    >>> what.run(x, both).scores.shape
    (2, 1)
    """
    how = comparator(method)
    if settings.kind.root and how.kind.family in ("bures", "riemannian"):
        raise OptionError(f"method={method!r} needs squared distances; take distance='squared_euclidean'")
    if np.isnan(models).any():
        raise MeasureError(
            f"models have {int(np.isnan(models).sum())} missing pairs; a searchlight needs complete model RDMs;"
            " leave these stimuli out of the data and the models"
        )
    if isinstance(settings.noise, (list, tuple)):
        raise OptionError("a searchlight takes one noise for all partitions; give one object or a name")
    if settings.noise is not None and not isinstance(settings.noise, (str, Noise)):
        settings = replace(settings, noise=as_noise(settings.noise, n_units or len(settings.noise)))
    if isinstance(settings.noise, Noise) and n_units is not None and settings.noise.n_units != n_units:
        raise MeasureError(
            f"noise is of {settings.noise.n_units} units, the volume has {n_units}; estimate it from the same units"
        )
    k = int(stimulus[-1]) + 1
    if count_stimuli(models.shape[1]) != k:
        raise MeasureError(f"models have {models.shape[1]} pairs; expected {k * (k - 1) // 2}, those of {k} stimuli")
    embedded = embed_stack(models, how, [f"model {i}" for i in range(len(models))])
    labels = None if partition is None else np.asarray(partition)
    complete = _require_design(settings, stimulus, labels)
    weights = _weights(embedded, how, k) if how.kind.family == "dot" else None
    return Spheres(settings, how, stimulus, labels, embedded, weights, _has_kernel(settings, complete))


def _has_kernel(settings: Settings, complete: bool) -> bool:
    plain = not settings.centre_patterns and settings.weighting == "partition"
    if settings.kind.form == "crossnobis":
        return plain and complete and (settings.noise is None or settings.noise == "diag")
    return plain and settings.kind.form == "patterns"


def _require_design(settings: Settings, stimulus: Rows, partition: npt.NDArray[Any] | None) -> bool:
    """Raise for designs that leave pairs without a distance; return whether all cells are filled."""
    if not settings.kind.cross_validated:
        return True
    if partition is None:
        raise OptionError(
            f"distance={settings.distance!r} needs partition=, the label of runs or sessions of the trials"
        )
    data = trials(np.zeros((len(stimulus), 1)), stimulus, partition)
    require_partitions(data)
    filled = (data.counts > 0).astype(np.intp)
    i, j = np.triu_indices(len(filled), 1)
    lacking = np.flatnonzero((filled @ filled.T)[i, j] < 2)
    if lacking.size:
        raise MeasureError(
            f"{lacking.size} pairs of stimuli are in fewer than 2 common partitions: {pair_names(data.names, lacking)};"
            " leave these stimuli out"
        )
    return bool(filled.all())


def _weights(models: list[Embedded], how: Comparator, k: int) -> Matrix:
    """Return vectors over pairs whose product with a (ranked, centred) RDM, over its size, is the score."""
    right = np.stack([item.right for item in models])
    # <E_a, E_b> = -1/2 <D_a, E_b>, as E_b is centred: only the model needs whitening
    return np.ascontiguousarray(right[:, k:] / -np.sqrt(2) if how.kind.whitened else right)


def permuted(weights: Matrix, orders: Sequence[Rows]) -> Matrix:
    """Return the vectors of models whose stimuli are permuted, shape (n_orders, n_models, n_pairs)."""
    k = count_stimuli(weights.shape[1])
    return np.stack([weights[:, pairs_within(order, k)] for order in orders])
