"""The same numbers as independent packages, on five kinds of input: a table of agreement, not of speed.

Tall (n >> p), wide (n << p; of low rank where column spaces are compared), rank-deficient, badly scaled (units over
1e-6 .. 1e6) and float32 data.  What the peer gets of float32 data is float64: our handling of the precision is tested.
A case's tolerance is that of float64; float32 data have ``FLOAT32`` times as much.  Lengths are compared relatively.
Where peers are the inaccurate ones, the reference is computed with 50 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import repcompare as rc
from cases import _peers as peers
from cases._case import Case
from cases._peers import Matrix, Score
from repcompare.measures import registry
from repcompare.measures._measure import as_outcome

FLOAT32 = 1e5
KINDS = ("tall", "wide", "deficient", "scaled", "float32")


@dataclass(frozen=True)
class Inputs:
    """Pairs of systems by kind; ``size`` for the table."""

    size: str
    pairs: dict[str, tuple[Matrix, Matrix]]


def _two(rng: np.random.Generator, n: int, widths: tuple[int, int], rank: int | None = None) -> tuple[Matrix, ...]:
    """Two systems that share four latents, each unit with an offset; with ``rank`` both are of that rank."""
    latent = rng.normal(size=(n, 4))
    found = []
    for p in widths:
        inner = p if rank is None else rank
        x = latent @ rng.normal(size=(4, inner)) + rng.normal(size=(n, inner))
        found.append((x if rank is None else x @ rng.normal(size=(inner, p))) + rng.normal(size=p))
    return tuple(found)


def _inputs(column_spaces: bool = False, kinds: Sequence[str] = KINDS):
    def make(rng: np.random.Generator, quick: bool) -> Inputs:
        n = 1 if quick else 3
        scale = np.geomspace(1e-6, 1e6, 6)
        x, y = _two(rng, 80 * n, (6, 6))
        every = {
            "tall": _two(rng, 200 * n, (8, 6)),
            "wide": _two(rng, 40 * n, (120 * n, 90 * n), 6 if column_spaces else None),
            "deficient": _two(rng, 60 * n, (20, 15), 5),
            "scaled": (x * scale, y * scale[::-1]),
            "float32": tuple(v.astype(np.float32) for v in _two(rng, 100 * n, (8, 6))),
        }
        chosen = {kind: every[kind] for kind in kinds}
        return Inputs(
            "; ".join(f"{kind} {len(a)}x{a.shape[1]}|{b.shape[1]}" for kind, (a, b) in chosen.items()), chosen
        )

    return make


def ours(name: str, **options: Any) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        measure = registry.make(name, **options)
        return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score

    return score


def _table(scores: Sequence[Score], widen: bool) -> Callable[[Inputs], dict[str, Matrix]]:
    def answer(data: Inputs) -> dict[str, Matrix]:
        pairs = data.pairs.items()
        if widen:
            pairs = {kind: (x.astype(np.float64), y.astype(np.float64)) for kind, (x, y) in pairs}.items()
        return {kind: np.array([float(score(x, y)) for score in scores]) for kind, (x, y) in pairs}

    return answer


def apart(first: dict[str, Matrix], second: dict[str, Matrix]) -> float:
    """Largest difference of two tables, relative above 1, that of float32 data divided by FLOAT32; NaN is infinite."""
    worst = [0.0]
    for kind, values in second.items():
        difference = np.abs(first[kind] - values) / np.maximum(1.0, np.abs(values))
        worst.append(float(np.nan_to_num(difference, nan=np.inf).max()) / (FLOAT32 if kind == "float32" else 1.0))
    return max(worst)


def _case(name: str, peer: str, library: str, scores: Sequence[tuple[Score, Score]], **more: Any) -> Case:
    make = _inputs(more.pop("column_spaces", False), more.pop("kinds", KINDS))
    return Case(
        name=f"agreement_{name}",
        peer_name=peer,
        library=library,
        make=make,
        ours=_table([own for own, _ in scores], False),
        peer=_table([other for _, other in scores], True),
        agree=apart,
        **{"tolerance": 1e-12, "note": "", **more},
    )


def _rsa(method: str, theirs: str, distance: str = "squared_euclidean") -> tuple[Score, Score]:
    names = {"squared_euclidean": "euclidean", "correlation": "correlation"}
    return ours("rsa", distance=distance, method=method), peers.toolbox(names[distance], theirs)


def _mne(distance: str, metric: str) -> tuple[Score, Score]:
    def score(x: Matrix, y: Matrix) -> float:
        options = {"distance": distance, "convention": "mne-rsa"}
        first, second, third = (rc.rdm(v, **options) for v in (x, y, peers.control(x, y)))
        more = {"control": third} if metric.startswith("partial") else {}
        return float(rc.compare_rdms(first, second, method=metric, convention="mne-rsa", **more))

    return score, peers.mne(distance, metric)


def rbf(x: Matrix, y: Matrix) -> float:
    return ours("cka", estimator="biased", kernel="rbf", bandwidth=peers.bandwidth(x), bandwidth_scale="absolute")(x, y)


IN_SAMPLE = {"held_out": False, "degenerate": "allow"}

CASES = (
    _case(
        "mne_rsa",
        "mne-rsa, 4 distances and 5 comparisons",
        "mne_rsa",
        [
            _mne(distance, metric)
            for distance in ("correlation", "cosine", "euclidean", "sqeuclidean")
            for metric in ("spearman", "pearson", "kendall-tau-a", "partial", "partial-spearman")
        ],
        tolerance=1e-10,
        packaged=False,  # it requires a window toolkit of hundreds of MB: not for an extra
    ),
    _case(
        "rsatoolbox",
        "rsatoolbox, RDMs and 6 comparisons",
        "rsatoolbox",
        [
            _rsa("cosine", "cosine"),
            _rsa("whitened_cosine", "cosine_cov"),
            _rsa("whitened_pearson", "corr_cov"),
            _rsa("spearman", "spearman"),
            _rsa("pearson", "corr", "correlation"),
            _rsa("rho_a", "rho-a", "correlation"),
        ],
        tolerance=1e-10,
    ),
    _case(
        "sklearn_cca",
        "scikit-learn CCA",
        "sklearn",
        [(ours("cca", **IN_SAMPLE), peers.sklearn_cca)],
        column_spaces=True,
        tolerance=1e-9,
        note="theirs is iterative, stopped at 1e-12, with its default scale=True; see agreement_cca_50_digits",
    ),
    _case(
        "sklearn_regression",
        "scikit-learn LinearRegression, Ridge",
        "sklearn",
        [(ours("linear_r2"), peers.sklearn_r2), (ours("gulp", regularization=0.1), peers.sklearn_gulp)],
        column_spaces=True,
        tolerance=1e-10,
        note="predictors of unit norm for LinearRegression: its cut-off of null directions depends on their units",
    ),
    _case(
        "sklearn_kernels",
        "scikit-learn KernelCenterer",
        "sklearn",
        [
            (ours("cka", estimator="biased"), peers.sklearn_cka("linear")),
            (rbf, peers.sklearn_cka("rbf")),
        ],
        tolerance=1e-11,
    ),
    _case(
        "sklearn_neighbours",
        "scikit-learn NearestNeighbors",
        "sklearn",
        [
            (ours("mutual_knn"), peers.sklearn_neighbours("cosine", False)),
            (ours("mutual_knn", neighbours="euclidean"), peers.sklearn_neighbours("euclidean", False)),
            (ours("jaccard"), peers.sklearn_neighbours("cosine", True)),
        ],
    ),
    _case(
        "scipy",
        "scipy procrustes, subspace_angles, linear_sum_assignment, pdist",
        "scipy",
        [
            (ours("procrustes", score="similarity"), peers.scipy_disparity),
            (ours("shape_distance", alpha=0.0, score="similarity", degenerate="allow"), peers.scipy_alpha_zero),
            (ours("cca", summary="yanai", **IN_SAMPLE), peers.scipy_yanai),
            (ours("one_to_one"), peers.scipy_one_to_one),
            (ours("rsm_norm"), peers.scipy_rsm),
        ],
        column_spaces=True,
        tolerance=1e-10,
    ),
    _case(
        "pot",
        "POT ot.emd2",
        "ot",
        [
            (ours("soft_match"), peers.pot("correlation")),
            (ours("soft_match", cost="euclidean"), peers.pot("euclidean")),
            (
                ours("shape_distance", group="soft", score="euclidean"),
                lambda x, y: np.sqrt(2 - 2 * peers.pot("shape")(x, y)),
            ),
        ],
        tolerance=1e-10,
        note="costs divided by their largest: the network simplex stops at an absolute precision",
    ),
    _case(
        "dcor",
        "dcor",
        "dcor",
        [
            (ours("distance_correlation", debiased=False), peers.dcor_biased),
            (ours("distance_correlation"), peers.dcor_debiased),
        ],
        note="float32 given to dcor as such costs it 4e-6; ours subtracts means in float64 first",
    ),
    _case(
        "cca_zoo",
        "cca-zoo RidgeCCA, shrinkage 0 and .3",
        "cca_zoo",
        [(ours("cca", **IN_SAMPLE), peers.zoo(0.0)), (ours("cca", regularization=0.3, **IN_SAMPLE), peers.zoo(0.3))],
        column_spaces=True,
        kinds=("tall", "wide", "deficient", "float32"),
        tolerance=1e-10,
        note="not badly scaled data, where it drops directions; see agreement_cca_50_digits",
    ),
    _case(
        "cca_50_digits",
        "mpmath",
        "mpmath",
        [
            (ours("cca", **IN_SAMPLE), peers.exact_cca(0)),
            (ours("cca", regularization=0.3, **IN_SAMPLE), peers.exact_cca(0.3)),
        ],
        kinds=("scaled",),
        tolerance=1e-8,
        note="condition 1e12: scikit-learn with scale=False is .11 to .39 off, cca-zoo .01 to .14, ours 3e-16",
    ),
    _case(
        "netrep",
        "netrep LinearMetric, PermutationMetric",
        "netrep",
        [
            (ours("procrustes"), peers.netrep_linear(1.0, "angular")),
            (ours("procrustes", score="euclidean", scale=False), peers.netrep_linear(1.0, "euclidean")),
            (ours("shape_distance", alpha=0.5, convention="netrep"), peers.netrep_linear(0.5, "angular")),
            (ours("permutation"), peers.netrep_permutation),
        ],
        tolerance=1e-7,
        packaged=False,
        note="not on the package index: pip install git+https://github.com/ahwillia/netrep; its whitening squares the data",
    ),
)
