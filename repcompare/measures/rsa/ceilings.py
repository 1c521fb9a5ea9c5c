"""Noise ceilings: the best mean score that any one RDM can reach with those of several subjects.

References
----------
Nili et al. 2014, PLoS Computational Biology 10:e1003553; Schuett et al. 2023, eLife 12:e82566.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert

from repcompare.errors import MeasureError, OptionError
from repcompare.kernels.tau import sum_absolute_signs
from repcompare.measures.rsa import _moments
from repcompare.measures.rsa._condensed import Vector, condense, count_stimuli
from repcompare.measures.rsa._halves import shared
from repcompare.measures.rsa._methods import Comparator, comparator, names_of, stack
from repcompare.measures.rsa._ranked import midranks
from repcompare.measures.rsa._whitened import Matrix, products_present
from repcompare.measures.rsa.comparators import Embedded, embed, embed_stack, prepared, score, score_many

TIED = 11  # decimals from which mean ranks, as shares of n or as z-scores, differ by rounding only


@dataclass(frozen=True)
class RDMCeiling:
    """Bounds of the mean score of a model.

    Attributes
    ----------
    lower : float
        Mean score of each RDM with the mean of the others (``kind="partition"``: of one half with the other).
    upper : float
        Mean score of the RDM that is best for all of them.
    status : {"exact", "heuristic"}
        Whether no RDM can do better than ``upper`` (``spearman``: none without ties).
    bound : float or None
        A number that certainly no RDM exceeds, where ``upper`` is heuristic and one is known (``kendall_tau_a``).
    pooled : ndarray, shape (n_pairs,)
        The RDM that reaches ``upper``.
    kind : {"subjects", "partition"}
        What the RDMs are of.
    n_rdms : int
        Number of RDMs, copies not counted.
    """

    lower: float
    upper: float
    status: Literal["exact", "heuristic"]
    bound: float | None
    pooled: Vector
    kind: Literal["subjects", "partition"]
    n_rdms: int


def noise_ceiling(
    rdms: npt.ArrayLike, method: str = "rho_a", *, counts: npt.ArrayLike | None = None, **options: Any
) -> RDMCeiling:
    """Return the noise ceiling of the RDMs of several subjects.

    Parameters
    ----------
    rdms : array_like, shape (n_subjects, n_pairs)
        NaN where missing; pooling then weights each pair by the subjects that have it.
    method : str
        A comparator.
    counts : array_like of int, shape (n_subjects,), optional
        How often each subject was drawn; its copies are left out together.
    **options
        ``stimulus_covariance``, ``centring``, ``ridge``: see :func:`repcompare.measures.rsa.compare_rdms`.

    Returns
    -------
    RDMCeiling

    Raises
    ------
    MeasureError
        For fewer than two subjects, counts that are none, and RDMs for which the method is not defined.

    Notes
    -----
    With normalised RDMs u, their Gram matrix U, counts b, t = U b and T = b'U b, cosines and correlations have
    ``upper = sqrt(T) / sum(b)`` and ``lower = sum_s b_s (t_s - b_s) / sqrt(T - 2 b_s t_s + b_s^2) / sum(b)``.

    Examples
    --------
    >>> found = noise_ceiling([[1, 2, 4], [1, 3, 4], [2, 1, 4]], "pearson")
    >>> found.lower < found.upper <= 1, found.status
    (True, 'exact')
    """
    table = stack(rdms, "rdms")
    weights = _weights(counts, len(table))
    how = comparator(method, **options)
    if how.control is not None:
        raise OptionError("control= has no noise ceiling: what is controlled for differs between model and data")
    names = names_of(table, len(table), "rdms")
    embedded = embed_stack(table, how, names)
    if how.kind.linear and not np.isnan(table).any():
        return _closed_form(table, weights, how, names)
    parts = _parts(table, how)
    pooled = _pool(parts, weights, how)
    upper = _mean_score(pooled, embedded, weights)
    lower = 0.0
    for s in np.flatnonzero(weights):
        others = weights.copy()
        others[s] = 0
        lower += weights[s] * float(score(embed(_pool(parts, others, how), how, "the mean"), embedded[s]).value)
    complete = not np.isnan(table).any()
    exact = how.kind.ranked and complete
    bound = None
    if method == "kendall_tau_a" and complete:
        n = table.shape[1]
        bound = float(sum_absolute_signs(table, weights / weights.sum())) / (n * (n - 1) / 2)
    status: Literal["exact", "heuristic"] = "exact" if exact else "heuristic"
    return RDMCeiling(lower / weights.sum(), upper, status, bound, pooled, "subjects", int((weights > 0).sum()))


def partition_ceiling(
    halves: npt.ArrayLike,
    full: npt.ArrayLike,
    method: str = "rho_a",
    *,
    sizes: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    root: bool = False,
    **options: Any,
) -> RDMCeiling:
    """Return the noise ceiling of one subject from RDMs of halves of its partitions.

    Parameters
    ----------
    halves : array_like, shape (n_splits, 2, n_pairs)
        RDMs of two halves of the runs, sessions or repeats, for one or more ways to halve them.
    full : array_like, shape (n_pairs,)
        RDM of all of them: the one that models are compared with.
    method : str
        A comparator; not ``bures`` and ``riemannian``.
    sizes : tuple of array_like, shapes (n_splits, 2, n_stimuli) and (n_stimuli,), optional
        Norms of the patterns (of halves, of all) that correlation and cosine distances were divided by; without them the
        distances are taken for squared ones.
    root : bool
        Whether distances are the roots of squared ones.
    **options
        As in :func:`noise_ceiling`.

    Returns
    -------
    RDMCeiling
        ``upper`` is the score that a model without noise is expected to reach, ``lower`` the mean score of one half
        with the other.

    Raises
    ------
    MeasureError
        On other shapes, or halves that do not agree at all.

    Notes
    -----
    The noise of squared distances and of crossnobis distances is undone exactly in the mean, that of correlation and cosine
    distances (with ``sizes``) and of euclidean ones (with ``root``) to first order.

    Examples
    --------
    >>> found = partition_ceiling([[[1, 2, 4, 5, 7, 6], [2, 1, 4, 7, 5, 6]]], [1, 2, 4, 5, 6, 6], "pearson")
    >>> found.kind, found.lower < found.upper
    ('partition', True)
    """
    how = comparator(method, **options)
    if how.kind.family not in ("dot", "tau") or how.control is not None:
        raise OptionError(f"method={method!r} has no ceiling from partitions; take several subjects, or another method")
    splits = np.asarray(halves, dtype=np.float64)
    whole = stack(full, "full")
    if splits.ndim != 3 or splits.shape[1:] != (2, whole.shape[1]) or len(whole) != 1:
        raise MeasureError(
            f"halves has shape {splits.shape}, full {np.shape(full)}; expected (n_splits, 2, n_pairs) and (n_pairs,)"
        )
    own = [None] * len(splits) if sizes is None else np.asarray(sizes[0], dtype=np.float64)
    target = embed(whole[0], how, "full", sizes=None if sizes is None else np.asarray(sizes[1], dtype=np.float64))
    pairs = [
        tuple(embed(pair[h], how, f"halves[{h}]", sizes=None if size is None else size[h]) for h in (0, 1))
        for pair, size in zip(splits, own, strict=True)
    ]
    reliability = float(np.mean([shared(first, second, target, root=root) for first, second in pairs]))
    if not reliability > 0:
        raise MeasureError("halves of the partitions do not agree: there is no signal to set a ceiling; add data")
    lower = float(np.mean([score(first, second).value for first, second in pairs]))
    return RDMCeiling(lower, float(np.sqrt(reliability)), "heuristic", None, whole[0], "partition", 1)


def _weights(counts: npt.ArrayLike | None, n: int) -> Vector:
    weights = np.ones(n) if counts is None else np.asarray(counts, dtype=np.float64)
    if weights.shape != (n,) or (weights < 0).any() or not np.isfinite(weights).all():
        raise MeasureError(f"counts has shape {weights.shape}; expected {n} numbers >= 0, one per RDM")
    if (weights > 0).sum() < 2:
        raise MeasureError(
            f"{int((weights > 0).sum())} RDM: a noise ceiling needs at least 2 subjects; for one subject give its trials "
            "to repcompare.rdm_ceiling"
        )
    return weights


def _closed_form(table: Matrix, b: Vector, how: Comparator, names: list[str]) -> RDMCeiling:
    rows = prepared(table, how, names)
    lengths = np.linalg.norm(rows, axis=1)
    rows /= lengths[:, None]
    t = rows @ (b @ rows)
    total = float(b @ t)
    left = total - 2 * b * t + b**2
    lower = float((b * (t - b) / np.sqrt(left)).sum() / b.sum())
    peak = np.abs(table).max(axis=1)
    pooled = (b / b.sum() / lengths) @ (table / peak[:, None] - _means(table / peak[:, None], how)[:, None])
    return RDMCeiling(lower, float(np.sqrt(total) / b.sum()), "exact", None, pooled, "subjects", int((b > 0).sum()))


def _means(table: Matrix, how: Comparator) -> Vector:
    """Return what a method subtracts from each RDM (n_rdms,)."""
    if not how.kind.centred:
        return np.zeros(len(table))
    if how.centring == "arithmetic":
        found: Vector = table.mean(axis=1)
        return found
    present = np.ones(table.shape[1], dtype=bool)
    noise = how.noise_of(count_stimuli(table.shape[1]))
    products = products_present(np.vstack([table, np.ones(table.shape[1])]), present, noise)
    weighted: Vector = products[:-1, -1] / products[-1, -1]
    return weighted


def _mean_score(pooled: Vector, embedded: list[Embedded], weights: Vector) -> float:
    used = [item for item, weight in zip(embedded, weights, strict=True) if weight > 0]
    scores = score_many([embed(pooled, used[0].how, "the mean of the RDMs")], used)[0]
    return float(scores @ weights[weights > 0] / weights.sum())


def _parts(table: Matrix, how: Comparator) -> Matrix:
    """Return what is averaged when RDMs are pooled: ranks, normalised distances, or logarithms of second moments."""
    if how.kind.family == "riemannian":
        return np.stack([_logarithm(row, how, i) for i, row in enumerate(table)])
    if how.kind.family == "bures":
        scaled: Matrix = table / np.abs(np.nansum(table, axis=1, keepdims=True))
        return scaled
    if how.kind.ordinal:
        ranks = np.stack([midranks(row) for row in table])
        ranks /= np.isfinite(table).sum(axis=1, keepdims=True) + 1
        if how.method == "spearman":
            ranks = ranks - np.nanmean(ranks, axis=1, keepdims=True)
            ranks /= np.sqrt(np.nanmean(ranks**2, axis=1, keepdims=True))
        return ranks
    return np.stack([_normalised(row, how) for row in table])


def _normalised(row: Vector, how: Comparator) -> Vector:
    """Return an RDM of length 1 over the pairs that it has."""
    present = np.isfinite(row)
    inside = np.where(present, row / np.nanmax(np.abs(row)), 0.0)
    if how.kind.centred:
        inside = np.where(present, inside - inside.sum() / present.sum(), 0.0)
    own = float(inside @ inside)
    if how.kind.whitened:
        own = float(products_present(inside[None], present, how.noise_of(count_stimuli(row.size)))[0, 0])
    return np.where(present, inside / np.sqrt(own), np.nan)


def _logarithm(row: Vector, how: Comparator, index: int) -> Vector:
    if np.isnan(row).any():
        raise MeasureError(f"rdms[{index}] has missing pairs; the ceiling of 'riemannian' needs all of them")
    found = _moments.tensor(row, how.noise_of(count_stimuli(row.size)))
    if found.root is None:
        raise _moments.indefinite(f"rdms[{index}]", found.lowest)
    values, vectors = np.linalg.eigh(found.moment)
    logs: Vector = ((vectors * np.log(values)) @ vectors.T).ravel()
    return logs


def _pool(parts: Matrix, weights: Vector, how: Comparator) -> Vector:
    """Return the weighted mean over the RDMs that have each pair; NaN where none has."""
    if how.kind.family == "riemannian":
        return _exponential((weights @ parts) / weights.sum())
    present = np.isfinite(parts)
    mass = weights @ present
    sums = weights @ np.where(present, parts, 0.0)
    pooled: Vector = np.divide(sums, mass, out=np.full(parts.shape[1], np.nan), where=mass > 0)
    return np.round(pooled, TIED) if how.kind.ordinal else pooled


def _exponential(log: Vector) -> Vector:
    """Return the RDM of a second moment on contrasts, given its logarithm."""
    k = round(np.sqrt(log.size)) + 1
    values, vectors = np.linalg.eigh(log.reshape(k - 1, k - 1))
    basis = helmert(k)
    second = basis.T @ (vectors * np.exp(values)) @ vectors.T @ basis
    size = np.diagonal(second)
    return condense(size[:, None] + size - 2 * second)
