"""Partial RDMs: of subsets of the stimuli, padded with NaN to the union, and brought to one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from repcompare.errors import MeasureError, choose
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._methods import stack
from repcompare.measures.rsa._whitened import Matrix

SETTLED = 1e-8  # relative change of the scales at which alternation stops
RESCALE = (None, "alternating")


@dataclass(frozen=True)
class Merged:
    """Partial RDMs on one scale.

    Attributes
    ----------
    rdms : ndarray, shape (n_rdms, n_pairs)
        Each divided by its scale; NaN where missing.
    pooled : ndarray, shape (n_pairs,)
        Mean over the RDMs that have the pair; NaN where none has.
    n_rdms : ndarray of int, shape (n_pairs,)
        How many have it.
    scales : ndarray, shape (n_rdms,)
        With geometric mean 1; ones without rescaling.
    n_iterations : int
        Steps taken.
    """

    rdms: Matrix
    pooled: Vector
    n_rdms: npt.NDArray[np.intp]
    scales: Vector
    n_iterations: int


def merge_partial(
    rdms: npt.ArrayLike, *, rescale: Literal["alternating"] | None = None, max_iterations: int = 10_000
) -> Merged:
    """Pool partial RDMs, each pair weighted by the RDMs that have it.

    Parameters
    ----------
    rdms : array_like, shape (n_rdms, n_pairs)
        Condensed RDMs of the union of the stimuli; NaN where an RDM lacks a pair.
    rescale : {None, "alternating"}
        Bring the RDMs to one scale first: ``d_rp = g_r c_p`` by alternating least squares, every RDM with weight
        1 / its mean square, so that the units of any of them do not matter.
    max_iterations : int
        Of the alternation.

    Returns
    -------
    Merged

    Raises
    ------
    MeasureError
        Where RDMs share no pairs, not even through others, so that their scales cannot be compared; where a scale is not
        positive; and where the alternation does not settle to 1e-8.

    Examples
    --------
    >>> found = merge_partial([[1.0, 2.0, np.nan], [np.nan, 4.0, 6.0]], rescale="alternating")
    >>> (found.pooled / found.pooled[0]).round(6).tolist()
    [1.0, 2.0, 3.0]
    """
    choose(rescale, RESCALE, "rescale")
    table = stack(rdms, "rdms")
    present = np.isfinite(table)
    for i in np.flatnonzero(~present.any(axis=1)):
        raise MeasureError(f"rdms[{i}] has no finite pair; leave it out")
    scales: Vector = np.ones(len(table))
    steps = 0
    if rescale is not None:
        scales, steps = _scales(table, present, max_iterations)
    scaled = table / scales[:, None]
    count = present.sum(axis=0)
    sums = np.where(present, scaled, 0.0).sum(axis=0)
    pooled = np.divide(sums, count, out=np.full(table.shape[1], np.nan), where=count > 0)
    return Merged(scaled, pooled, count, scales, steps)


def _scales(table: Matrix, present: npt.NDArray[np.bool_], max_iterations: int) -> tuple[Vector, int]:
    """Return g with geometric mean 1 that minimises ``sum_r w_r sum_p (d_rp - g_r c_p)^2``."""
    _require_connected(present)
    filled = np.where(present, table, 0.0)
    size = np.sqrt(np.square(filled).sum(axis=1) / present.sum(axis=1))
    for i in np.flatnonzero(size == 0):
        raise MeasureError(f"rdms[{i}] is zero for all its pairs: it has no scale; leave it out")
    filled /= size[:, None]
    has = present.astype(np.float64)
    gains = np.ones(len(table))
    for step in range(1, max_iterations + 1):
        mass = np.square(gains) @ has
        common = np.divide(gains @ filled, mass, out=np.zeros(table.shape[1]), where=mass > 0)
        found = (filled @ common) / (has @ np.square(common))
        if not (found > 0).all():
            worst = int(np.argmin(found))
            raise MeasureError(f"rdms[{worst}] falls where the others rise: it has no positive scale; leave it out")
        found /= np.exp(np.log(found).mean())
        change = float(np.abs(found / gains - 1).max())
        gains = found
        if change <= SETTLED:
            scales = gains * size
            return scales / np.exp(np.log(scales).mean()), step
    raise MeasureError(
        f"rescaling {len(table)} partial RDMs did not settle within {max_iterations} steps (last change {change:.1e}); "
        "they share too few pairs; raise max_iterations, or merge without rescale="
    )


def _require_connected(present: npt.NDArray[np.bool_]) -> None:
    """Raise unless every RDM shares pairs with every other, through others if need be."""
    shared = csr_matrix(present.astype(np.int64) @ present.T.astype(np.int64))
    groups, label = connected_components(shared, directed=False)
    if groups > 1:
        other = int(np.flatnonzero(label != label[0])[0])
        raise MeasureError(
            f"rdms fall into {groups} groups without shared pairs (rdms[0] and rdms[{other}], for one): their scales "
            "cannot be compared; add RDMs that link them, or merge without rescale="
        )
