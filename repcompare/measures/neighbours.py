"""Neighbourhood measures: do two systems put the same stimuli next to each other?

A source becomes, once, the lists of the k nearest neighbours of every stimulus; a pair costs O(n k).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy import stats

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import input_eps, require_variance, thin_factor
from repcompare.measures._lists import Overlap, centred_alignment, second_order, second_order_many, ties, with_norm
from repcompare.measures._measure import Array, Index, Measure, Outcome
from repcompare.measures._nearest import Metric, NeighbourState, find_neighbours, pattern_lengths, patterns_of

Float64 = npt.NDArray[np.float64]
NEIGHBOURS: dict[str, frozenset[str]] = {
    "cosine": frozenset({"rotation", "scaling", "permutation", "pattern_scaling", "duplication"}),
    "euclidean": frozenset({"rotation", "scaling", "permutation", "translation", "duplication"}),
}


def mutual_knn(k: int = 10, *, neighbours: Metric = "cosine", chance_corrected: bool = False) -> Measure:
    """Share of the k nearest neighbours of a stimulus that two systems have in common, averaged over stimuli.

    Parameters
    ----------
    k : int
        Number of neighbours; at least k + 2 stimuli are needed.
    neighbours : {"cosine", "euclidean"}
        Nearest by the cosine of raw patterns (*uncentred*), or by Euclidean distance.  A stimulus is not its own
        neighbour, even if another has the same pattern; ties go to the lower index.
    chance_corrected : bool
        ``(v - c) / (1 - c)`` with c = k / (n - 1), the mean under permuted stimuli: 0 by chance, 1 for the same lists.

    Returns
    -------
    Measure
        Similarity in [0, 1] (chance-corrected: from -1 / k), symmetric, 1 for identical systems; 1 - score
        obeys the triangle inequality, yet is 0 for all systems with the same lists.
        ``details["null_mean"]`` is its exact mean over permutations of the stimuli.

    Raises
    ------
    OptionError
        For k below 1.
    MeasureError
        For a pattern of zeros (its cosine is undefined), or when nothing varies.

    References
    ----------
    Huh et al. 2024 (mutual k-nearest neighbours).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = mutual_knn(k=3)
    >>> measure.compare(measure.prepare(x), measure.prepare(2 * x)).score
    1.0
    """
    _check_options(k, neighbours)
    overlap = Overlap(np.arange(k + 1) / k, lambda n: k / (n - 1), chance_corrected)
    return _knn_measure(
        "mutual_knn",
        {"k": k, "neighbours": neighbours} | ({"chance_corrected": True} if chance_corrected else {}),
        compare=overlap.compare,
        compare_many=overlap.compare_many,
        annotate=overlap.annotate,
        score_range=(-1.0 / k if chance_corrected else 0.0, 1.0),
        reference="huh2024",
    )


def jaccard(k: int = 10, *, neighbours: Metric = "cosine") -> Measure:
    """Jaccard index of the k nearest neighbours of a stimulus in two systems, averaged over stimuli.

    Parameters
    ----------
    k : int
        Number of neighbours; at least k + 2 stimuli are needed.
    neighbours : {"cosine", "euclidean"}
        As in :func:`mutual_knn`.

    Returns
    -------
    Measure
        Similarity in [0, 1]: size of the intersection over size of the union; symmetric, 1 for identical systems.
        ``details["null_mean"]`` is E[h / (2k - h)], h hypergeometric: the exact mean over permutations of the stimuli.

    Raises
    ------
    OptionError, MeasureError
        As :func:`mutual_knn`.

    References
    ----------
    Wang et al. 2020; Klabunde et al. 2025.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = jaccard(k=3)
    >>> measure.compare(measure.prepare(x), measure.prepare(2 * x)).score
    1.0
    """
    _check_options(k, neighbours)
    h = np.arange(k + 1)
    worth = h / (2 * k - h)
    overlap = Overlap(worth, lambda n: float(stats.hypergeom(n - 1, k, k).pmf(h) @ worth))
    return _knn_measure(
        "jaccard",
        {"k": k, "neighbours": neighbours},
        compare=overlap.compare,
        compare_many=overlap.compare_many,
        annotate=overlap.annotate,
        reference="wang2020",
    )


def second_order_cosine(k: int = 10) -> Measure:
    """Second-order cosine similarity: are the neighbours of a stimulus equally near it in two systems?

    Parameters
    ----------
    k : int
        Number of neighbours by cosine of raw patterns (*uncentred*); at least k + 2 stimuli are needed.

    Returns
    -------
    Measure
        Similarity in [-1, 1], symmetric, 1 for identical systems: mean over stimuli i of the cosine between the two
        systems' vectors of similarities to i, over the union of both lists of neighbours of i.

    Raises
    ------
    OptionError
        For k below 1.
    MeasureError
        For a pattern of zeros, or one that is orthogonal to all its neighbours.

    References
    ----------
    Hamilton et al. 2016.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = second_order_cosine(k=3)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(2 * x)).score, 12)
    1.0
    """
    return _knn_measure(
        "second_order_cosine",
        {"k": k},
        compare=second_order,
        compare_many=second_order_many,
        annotate=ties,
        score_range=(-1.0, 1.0),
        reference="hamilton2016",
    )


def cknna(k: int = 10) -> Measure:
    """Centred kernel nearest-neighbour alignment: debiased CKA restricted to shared nearest neighbours.

    Parameters
    ----------
    k : int
        Number of neighbours, at least 2, by cosine of raw patterns (*uncentred*); at least k + 1 stimuli are needed.
        With k = n - 1 every stimulus is a neighbour: debiased CKA of the normalised patterns.

    Returns
    -------
    Measure
        Similarity, about [-1, 1], symmetric, 1 for identical systems:
        h(M o K, M o L) / sqrt(h(M_K o K, M_K o K) h(M_L o L, M_L o L)), K and L the cosines, M_K(i, j) = 1 if j is
        among the k nearest of i, M = M_K o M_L, h the unbiased HSIC, symmetrised since M is directed.

    Raises
    ------
    OptionError
        For k below 2.
    MeasureError
        For a pattern of zeros, or when a self-term is not positive.

    Notes
    -----
    Published code leaves h as it is for symmetric kernels, so that its value depends on the order of the two systems
    by about 1e-3.

    References
    ----------
    Huh et al. 2024.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = cknna(k=5)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(2 * x)).score, 12)
    1.0
    """
    if isinstance(k, int) and k < 2:
        raise OptionError(f"k={k!r}; cknna needs at least 2 neighbours")
    return _knn_measure(
        "cknna",
        {"k": k},
        compare=centred_alignment,
        score_range=(-np.inf, np.inf),
        reference="huh2024",
        fewest=max(4, k + 1),
    )


def _check_options(k: object, neighbours: str) -> None:
    choose(neighbours, NEIGHBOURS, "neighbours")
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise OptionError(f"k={k!r}; expected a whole number of neighbours, at least 1")


def _knn_measure(name: str, options: dict[str, Any], **declared: Any) -> Measure:
    """Assemble a measure of neighbour lists."""
    k, metric = options["k"], options.get("neighbours", "cosine")
    _check_options(k, metric)
    fewest = declared.pop("fewest", k + 2)

    def finish(state: NeighbourState) -> NeighbourState:
        return with_norm(state) if name == "cknna" else state

    def prepare(values: Array) -> NeighbourState:
        return finish(find_neighbours(patterns_of(values, metric, name), int(k), metric, name))

    def restrict(state: NeighbourState, rows: Index) -> NeighbourState:
        if len(rows) < fewest:
            raise MeasureError(f"{name}: {len(rows)} stimuli; expected at least {fewest} for k={k}; lower k=")
        return finish(find_neighbours(state.patterns.take(rows), int(k), metric, name))

    return Measure(
        name=name,
        options=options,
        prepare=prepare,
        restrict=restrict,
        kind="similarity",
        invariant_to=NEIGHBOURS[metric],
        min_stimuli=int(fewest),
        state_bytes=lambda n, p, itemsize, folds: 8 * n * min(n, p) + 12 * n * int(k),
        **{"score_range": (0.0, 1.0)} | declared,
    )


@dataclass(frozen=True)
class AlignedState:
    """A prepared source: ``factor`` F (n_stimuli, rank) with F F' = X X' up to scale, and its smallest singular value."""

    factor: Float64
    least: float


def aligned_cosine() -> Measure:
    """Cosine of the patterns of two systems, stimulus by stimulus, after the best rotation of one onto the other.

    Returns
    -------
    Measure
        Similarity in [-1, 1], symmetric, 1 for identical systems: mean over stimuli of cos(x_i Q, y_i), Q the orthogonal
        matrix that minimises |X Q - Y| (*uncentred*; the narrower side is padded with silent units).  Invariant to
        rotation and scaling, not to translation.  A note says so where Q is not determined by the data.

    Raises
    ------
    MeasureError
        For a pattern of zeros, or when nothing varies.

    References
    ----------
    Schoenemann 1966 (orthogonal Procrustes); Hamilton et al. 2016 (aligned cosine).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = aligned_cosine()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(2 * x[:, ::-1])).score, 12)
    1.0
    """
    return Measure(
        name="aligned_cosine",
        prepare=_aligned,
        compare=_aligned_score,
        restrict=lambda state, rows: _aligned(state.factor[rows]),
        kind="similarity",
        score_range=(-1.0, 1.0),
        invariant_to=frozenset({"rotation", "scaling", "permutation", "duplication"}),
        reference="hamilton2016",
    )


def _aligned(values: Array) -> AlignedState:
    what = "aligned_cosine"
    require_variance(float(np.ptp(values, axis=0).max()), what)
    pattern_lengths(values, what)  # raises for patterns of zeros
    raw = values.astype(np.float64) / float(np.abs(values).max())
    if raw.shape[1] > raw.shape[0]:
        (triangle,) = scipy.linalg.qr(raw.T, mode="r", check_finite=False, overwrite_a=True)
        raw = triangle[: raw.shape[0]].T
    u, s, _ = thin_factor(raw, input_eps(values))
    return AlignedState(u * s, float(s[-1]))


def _aligned_score(x: AlignedState, y: AlignedState) -> Outcome:
    a, b = x.factor, y.factor
    if len(a) != len(b):
        raise MeasureError(
            f"aligned_cosine: {len(a)} stimuli against {len(b)}; expected the same stimuli on both sides"
        )
    u, s, vt = scipy.linalg.svd(a.T @ b, full_matrices=False, check_finite=False)
    dot = np.einsum("ij,ij->i", a @ u, b @ vt.T)
    cosines = dot / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    note = "rotation_undetermined: some directions of one system have no counterpart in the other; Q is one of many"
    free = s[-1] < 1e-8 * x.least * y.least
    return Outcome(score=float(np.clip(cosines, -1, 1).mean()), notes=(note,) if free else ())
