"""What is made of whole RDMs: noise ceilings, unions of partial ones, maps of their stimuli or of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import MeasureError, OptionError, SchemaError, choose
from repcompare.functional._rdm_inputs import Side, side
from repcompare.functional.distances import rdm
from repcompare.labels.inference import CEILING_SCHEMA, MAP_SCHEMA
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.rdms import merge_sets, stimuli_of, to_pairs
from repcompare.labels.schema import sample_dim
from repcompare.labels.values import text
from repcompare.measures.rsa import ceilings, partial
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._halves import pattern_sizes
from repcompare.measures.rsa.comparators import compare_rdms
from repcompare.statistics.weighted_map import weighted_map


def rdm_ceiling(
    data: Any,
    *,
    method: str = "rho_a",
    distance: str = "correlation",
    partition: str = "run",
    n_splits: int = 20,
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """Noise ceiling of RDMs: the best mean score that any model can reach with them.

    Parameters
    ----------
    data : set of RDMs, mapping or sequence of them, array-like (n_rdms, n_pairs), or representation with trials
        RDMs of two or more subjects; or the trials of one subject, whose partitions are split in halves.
    method : str
        Comparator; see :func:`repcompare.compare_rdms`.  Of one subject not ``"bures"`` and ``"riemannian"``.
    distance : str
        Of the RDMs of halves, for trials; see :func:`repcompare.rdm`.  Cross-validated ones need 4 partitions.
    partition : str
        Coordinate of the trials that is split in halves.
    n_splits : int
        Ways to halve the partitions, all of them where there are no more.
    seed : int
        Of the choice among the ways.
    **options
        ``stimulus_covariance``, ``centring``, ``ridge``: see :func:`repcompare.compare_rdms`.

    Returns
    -------
    xarray.Dataset
        ``score_ceiling_lower``: mean score of each RDM with the mean of the others (of one half with the other);
        ``score_ceiling_upper``: of the RDM that is best for all (of a model without noise); ``score_ceiling_bound``, which
        certainly no RDM exceeds, where it is known and ``upper`` is not exact; ``pooled`` (pair): the RDM that reaches
        ``upper``.  attrs: ``kind`` ("subjects" or "partition"), ``status`` of ``upper`` ("exact" or "heuristic").

    Raises
    ------
    MeasureError, SchemaError, OptionError, AlignmentError
        For a single RDM (it has no ceiling: give its trials), fewer than 2 partitions, halves that lack a stimulus or do not
        agree, RDMs of other stimuli.

    References
    ----------
    Nili et al. 2014; Schuett et al. 2023.

    Examples
    --------
    >>> import repcompare as rc
    >>> found = rc.rdm_ceiling([[1, 2, 4], [1, 3, 4], [2, 1, 4]], method="pearson")
    >>> bool(found.score_ceiling_lower < found.score_ceiling_upper), found.attrs["status"]
    (True, 'exact')
    """
    names: np.ndarray | None
    if isinstance(data, xr.Dataset) and "response" in data:
        given = _halves(data, distance, partition, n_splits, seed)
        names = given.stimuli
        found = ceilings.partition_ceiling(
            given.halves, given.full, method, sizes=given.sizes, root=distance == "euclidean", **options
        )
    else:
        rows = side(data, "data")
        found, names = ceilings.noise_ceiling(rows.values, method, **options), rows.stimuli
    variables: dict[str, Any] = {
        "score_ceiling_lower": found.lower,
        "score_ceiling_upper": found.upper,
        "pooled": ("pair", found.pooled),
    }
    if found.bound is not None:
        variables["score_ceiling_bound"] = found.bound
    attrs = {
        "schema": CEILING_SCHEMA,
        "method": method,
        "kind": found.kind,
        "status": found.status,
        "n_rdms": found.n_rdms,
    }
    return xr.Dataset(variables, coords=_pair_names(names), attrs=attrs)


def _pair_names(names: np.ndarray | None) -> dict[str, Any]:
    if names is None:
        return {}
    i, j = np.triu_indices(len(names), 1)
    return {"stimulus_a": ("pair", names[i]), "stimulus_b": ("pair", names[j])}


@dataclass(frozen=True)
class _Halves:
    """RDMs of halves (n_splits, 2, n_pairs) and of all trials (n_pairs,), the stimuli, and the sizes of their patterns."""

    halves: np.ndarray
    full: np.ndarray
    stimuli: np.ndarray
    sizes: tuple[np.ndarray, np.ndarray] | None


def _halves(trials: xr.Dataset, distance: str, partition: str, n_splits: int, seed: int) -> _Halves:
    """Return RDMs of halves of the partitions of trials."""
    if n_splits < 1:
        raise OptionError(f"n_splits={n_splits}; expected at least 1")
    if sample_dim(trials) != "presentation" or partition not in trials.coords:
        raise SchemaError(
            f"the ceiling of one subject needs trials with the coordinate {partition!r}; give presentation form, name"
            " another by partition=, or give the RDMs of several subjects"
        )
    if "time" in trials["response"].dims:
        raise SchemaError("trials over time; pick one time first, ds.isel(time=0)")
    labels = text(trials[partition].values).astype(str)
    parts = np.unique(labels)
    least = 4 if distance in ("crossnobis", "poisson_cv") else 2
    if len(parts) < least:
        raise MeasureError(
            f"{len(parts)} partitions; halves of them need at least {least} for distance={distance!r}; give"
            " another distance, or the RDMs of several subjects"
        )
    whole = rdm(trials, distance=distance, partition=partition)
    names = stimuli_of(whole)
    rdms, sizes = [], []
    for chosen in _ways(len(parts), n_splits, seed):
        first = np.isin(labels, parts[chosen])
        both = [trials.isel(presentation=np.flatnonzero(mask)) for mask in (first, ~first)]
        rdms.append([to_pairs(rdm(half, distance=distance, partition=partition), names)[0] for half in both])
        sizes.append([_sizes(half, distance, names) for half in both])
    own = None if distance not in ("correlation", "cosine") else (np.array(sizes), _sizes(trials, distance, names))
    return _Halves(np.array(rdms), to_pairs(whole)[0], names, own)


def _sizes(trials: xr.Dataset, distance: str, names: np.ndarray) -> np.ndarray:
    """Return the norms (n_stimuli,) that the mean patterns are divided by."""
    mean = average_repeats(trials)
    order = [mean["stimulus"].values.astype(str).tolist().index(name) for name in names.tolist()]
    values = mean["response"].transpose("stimulus", "unit").values[order]
    return np.asarray(pattern_sizes(values, distance == "correlation"))


def _ways(n: int, most: int, seed: int) -> list[np.ndarray]:
    """Return which of ``n`` partitions are the first half, in distinct ways."""
    half = n // 2
    if comb(n, half) <= 4 * most:
        every = [np.array(c) for c in combinations(range(n), half) if n % 2 or c[0] == 0]
        if len(every) <= most:
            return every
        return [every[i] for i in np.sort(np.random.default_rng(seed).permutation(len(every))[:most])]
    rng, found = np.random.default_rng(seed), dict[bytes, np.ndarray]()
    while len(found) < most:
        one = np.sort(rng.permutation(n)[:half])
        if n % 2 == 0 and one[0] != 0:
            one = np.setdiff1d(np.arange(n), one)
        found.setdefault(one.tobytes(), one)
    return list(found.values())


def merge_partial(
    sets: Sequence[xr.Dataset], *, rescale: Literal["alternating"] | None = None, max_iterations: int = 10_000
) -> xr.Dataset:
    """Stack RDMs of overlapping sets of stimuli over the union of these, on one scale where asked.

    Parameters
    ----------
    sets : sequence of RDM sets
        As :func:`repcompare.merge_sets` takes them.
    rescale : {None, "alternating"}
        Bring the RDMs to one scale, ``d_rp = g_r c_p`` by alternating least squares.
    max_iterations : int
        Of the alternation.

    Returns
    -------
    xarray.Dataset
        A set of RDMs, NaN for the pairs that one lacks, each divided by ``rdm_scale`` (rdm); ``pooled`` (pair): the mean
        over the RDMs that have a pair; ``n_rdms`` (pair).

    Raises
    ------
    SchemaError, MeasureError
        As :func:`repcompare.merge_sets`; where RDMs share no pairs, not even through others, a scale is not positive, or the
        alternation does not settle to 1e-8.

    Examples
    --------
    >>> import repcompare as rc
    >>> a = rc.rdm_set([1.0, 2.0, 3.0], stimulus=["x", "y", "z"])
    >>> b = rc.rdm_set([60.0, 10.0, 50.0], stimulus=["y", "z", "w"])
    >>> found = rc.merge_partial([a, b], rescale="alternating")
    >>> (found.pooled / found.pooled[0]).values.round(6).tolist()
    [1.0, 2.0, nan, 3.0, 0.5, 2.5]
    """
    whole = merge_sets(sets)
    found = partial.merge_partial(to_pairs(whole), rescale=rescale, max_iterations=max_iterations)
    return whole.assign(
        dissimilarity=(("rdm", "pair"), found.rdms), pooled=("pair", found.pooled), n_rdms=("pair", found.n_rdms)
    ).assign_coords(rdm_scale=("rdm", found.scales)).assign_attrs(rescale=rescale or "none")  # fmt: skip


def rdm_map(
    rdms: Any,
    *,
    of: str = "stimuli",
    which: str | None = None,
    weights: npt.ArrayLike | None = None,
    method: Literal["nonmetric", "mds"] = "nonmetric",
    comparison: str = "rho_a",
    dimensions: int = 2,
    seed: int = 0,
) -> xr.Dataset:
    """Map of stimuli by their dissimilarities, or of RDMs by how little they agree (multidimensional scaling).

    Parameters
    ----------
    rdms : set of RDMs, mapping or sequence of them, or array-like (n_rdms, n_pairs)
        For a map of stimuli one RDM, or the one that ``which`` names.
    of : {"stimuli", "rdms"}
        Points are stimuli; or RDMs (models, regions, subjects), whose dissimilarity is 1 - their similarity.
    which : str, optional
        Name of the RDM whose stimuli are drawn.
    weights : array-like, shape (n_pairs,), optional
        Of the pairs of points, such as inverse variances: a map of stimuli.  Missing pairs have weight 0.
    method : {"nonmetric", "mds"}
        Distances follow the order of the dissimilarities, or themselves.  Negative ones (crossnobis) need the former.
    comparison : str
        Method of :func:`repcompare.compare_rdms`, for a map of RDMs.
    dimensions : int
    seed : int
        Of the random starts; the best of 9 starts is kept.

    Returns
    -------
    xarray.Dataset
        For ``rc.plot.mds``, ``rc.plot.model_map`` and ``rc.plot.shepard``: ``coordinates`` (source, dimension), ``stress``
        (Kruskal's stress 1, in [0, 1]), ``given``, ``map_distance``, ``disparity``, ``weight`` (pair): what each distance
        is and should be.

    Raises
    ------
    SchemaError, OptionError, MeasureError, AlignmentError
        On several RDMs without ``which``, weights that do not fit, negative dissimilarities with ``"mds"``.

    References
    ----------
    Kruskal 1964; de Leeuw 1977 (SMACOF).

    Examples
    --------
    >>> import repcompare as rc
    >>> line = rc.rdm_set([1.0, 3.0, 2.0], stimulus=["a", "b", "c"])
    >>> found = rc.rdm_map(line, dimensions=1, method="mds")
    >>> abs(found.coordinates.diff("source")).values.round(6).ravel().tolist()
    [1.0, 2.0]
    """
    choose(of, ("stimuli", "rdms"), "of")
    rows = side(rdms, "rdm")
    if of == "stimuli":
        pairs, names = _chosen(rows, which)
    else:
        if weights is not None or which is not None:
            raise OptionError("weights= and which= are for a map of stimuli; leave them out with of='rdms'")
        if len(rows.names) < 3:
            raise MeasureError(f"{len(rows.names)} RDMs; a map of RDMs needs at least 3")
        similarity = np.asarray(compare_rdms(rows.values, rows.values, comparison))
        pairs = (1 - (similarity + similarity.T) / 2)[np.triu_indices(len(similarity), 1)]
        names = np.array(rows.names)
    found = weighted_map(pairs, weights, dimensions=dimensions, method=method, seed=seed)
    known = np.isfinite(pairs)
    i, j = np.triu_indices(len(names), 1)
    weight = np.where(known, 1.0 if weights is None else np.asarray(weights, dtype=np.float64), 0.0)
    return xr.Dataset(
        {
            "coordinates": (("source", "dimension"), found.coordinates),
            "stress": found.stress,
            "start_stress": ("start", found.start_stress),
            "given": ("pair", pairs),
            "map_distance": ("pair", found.distances),
            "disparity": ("pair", np.where(known, found.disparities, np.nan)),
            "weight": ("pair", weight),
        },
        coords={"source": names, "source_a": ("pair", names[i]), "source_b": ("pair", names[j])},
        attrs={
            "schema": MAP_SCHEMA,
            "of": of,
            "method": method,
            "comparison": comparison if of == "rdms" else "none",
            "seed": seed,
            "converged": int(found.converged),
        },
    )


def _chosen(rows: Side, which: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of one RDM and the names of its stimuli."""
    if which is None and len(rows.names) > 1:
        raise OptionError(f"{len(rows.names)} RDMs; a map of stimuli is of one: choose it by which=, or take of='rdms'")
    if which is not None:
        choose(which, rows.names, "which")
    pairs = rows.values[rows.names.index(which) if which is not None else 0]
    k = count_stimuli(pairs.size)
    names = np.array([str(n) for n in range(k)]) if rows.stimuli is None else rows.stimuli
    return pairs, names
