"""Distances of spike counts: the symmetrised Kullback-Leibler divergence of Poisson distributions, without a factor 1/2.

``(1/P) sum_p (a_p - b_p)(log a_p - log b_p)`` of rates ``(x + rate weight) / (1 + weight)``, which a prior keeps above 0.

References
----------
Schuett et al. 2023, eLife 12:e82566.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, some
from repcompare.measures.rsa._condensed import Rows, Vector, condense, pair_rows
from repcompare.measures.rsa._trials import Trials, require_complete, require_partitions

Matrix = npt.NDArray[np.float64]

PRIOR = (1.0, 0.1)
NEAR = 2.0**-10  # below this share of the products a distance is computed again from its two patterns
BLOCK = 2**20


def check_counts(values: npt.NDArray[np.floating], names: npt.NDArray | None, prior: tuple[float, float]) -> None:  # type: ignore[type-arg]
    """Raise on negative counts, naming their rows, and on a prior that leaves rates of 0."""
    if len(prior) != 2 or not (prior[0] > 0 and prior[1] > 0):
        raise OptionError(f"prior={prior}; expected (rate, weight), both above 0")
    bad = np.flatnonzero(np.nanmin(values, axis=1, initial=0.0) < 0)
    if bad.size:
        labels = bad if names is None else dict.fromkeys(str(names[row]) for row in bad)
        raise MeasureError(
            f"negative counts in {some(labels)}; Poisson distances need counts or rates of 0 or more: give spike counts"
            " that are not centred or z-scored",
            rows=bad.tolist(),
        )


def rates(values: Matrix, prior: tuple[float, float]) -> Matrix:
    """Return counts drawn towards the rate of the prior."""
    rate, weight = prior
    return np.asarray((values + rate * weight) / (1 + weight), dtype=np.float64)


def poisson(counts: Matrix, prior: tuple[float, float]) -> tuple[Vector, Vector]:
    """Return Poisson distances of mean counts, and over how many units each is.

    Parameters
    ----------
    counts : ndarray, shape (n_stimuli, n_units)
        Not negative; NaN where missing: a pair takes the units that both stimuli have.
    prior : (rate, weight)

    Returns
    -------
    distance, n_units : ndarray, shape (n_pairs,)
        Not negative; NaN without common units.
    """
    k, p = counts.shape
    x = rates(counts, prior)
    log = np.log(x)
    present = np.isfinite(x)
    if present.all():
        moved, shifted = x - x.mean(axis=0), log - log.mean(axis=0)
        moment = moved @ shifted.T
        size = np.diagonal(moment)
        sums, units = condense(np.add.outer(size, size)), np.full(k * (k - 1) // 2, float(p))
    else:
        moved, shifted = (_centred(v, present) for v in (x, log))
        mask = present.astype(np.float64)
        moment = moved @ shifted.T
        own = (moved * shifted) @ mask.T
        sums, units = condense(own + own.T), condense(mask @ mask.T)
    distance = np.maximum(sums - condense(moment + moment.T), 0.0)
    near = np.flatnonzero(distance <= NEAR * np.abs(sums))
    if near.size:
        distance[near] = _direct(x, log, pair_rows(near, k))
    distance[units == 0] = np.nan
    return distance / np.maximum(units, 1), units


def _centred(values: Matrix, present: npt.NDArray[np.bool_]) -> Matrix:
    mean = values.sum(axis=0, where=present) / np.maximum(present.sum(axis=0), 1)
    return np.where(present, values - mean, 0.0)


def _direct(x: Matrix, log: Matrix, pairs: tuple[Rows, Rows]) -> Vector:
    """Return sums over units from the patterns themselves; each term is a product of equal signs."""
    out = np.empty(pairs[0].size)
    step = max(1, BLOCK // x.shape[1])
    for start in range(0, out.size, step):
        i, j = (rows[start : start + step] for rows in pairs)
        out[start : start + step] = np.nansum((x[i] - x[j]) * (log[i] - log[j]), axis=1)
    return out


def poisson_cv(data: Trials, prior: tuple[float, float]) -> Vector:
    """Return cross-validated Poisson distances: the mean over all partitions, each against the mean of the others.

    Parameters
    ----------
    data : Trials
        A complete design of counts.
    prior : (rate, weight)

    Returns
    -------
    ndarray, shape (n_pairs,)
        May be negative.
    """
    require_partitions(data)
    require_complete(data, "distance='poisson_cv'")
    cells = data.means_present()
    k, m, p = cells.shape
    others = (cells.sum(axis=1, keepdims=True) - cells) / (m - 1)
    train, test = rates(others, prior), np.log(rates(cells, prior))
    train -= train.mean(axis=0)
    test -= test.mean(axis=0)
    moment = train.reshape(k, -1) @ test.reshape(k, -1).T
    size = np.diagonal(moment)
    distance: Vector = condense(np.add.outer(size, size) - moment - moment.T) / (m * p)
    return distance
