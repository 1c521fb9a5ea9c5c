"""Comparators of RDM sets against rsatoolbox; where values differ, and why, stands in ``measures/rsa/conventions.py``."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np
import scipy.stats
from scipy.spatial.distance import pdist

import repcompare as rc
from cases._case import Case, Target, largest, relative
from repcompare.measures.rsa.conventions import COMPARATORS

NAMES = {theirs.method: (name, theirs.note) for name, theirs in reversed(COMPARATORS["rsatoolbox"].items())}


def _sets(left: int, right: int, k: int = 92, covariance: bool = False, small: int = 20):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, a, b = (small, 4, 3) if quick else (k, left, right)
        signal = rng.normal(size=(n, 30))
        rdms = np.array([pdist(signal + rng.normal(size=(n, 30)), "sqeuclidean") / 30 for _ in range(a + b)])
        factor = rng.normal(size=(n, 2 * n))
        sigma = factor @ factor.T / (2 * n) if covariance else None
        return Data(size=f"{a} x {b} RDMs, K={n}", a=rdms[:a], b=rdms[a:], sigma=sigma)

    return make


def _full_rank(left: int, right: int, k: int):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, a, b = (10, 2, 2) if quick else (k, left, right)
        signal = rng.normal(size=(n, 4 * n))
        rdms = np.array([pdist(signal + rng.normal(size=signal.shape), "sqeuclidean") / (4 * n) for _ in range(a + b)])
        return Data(size=f"{a} x {b} RDMs, K={n}", a=rdms[:a], b=rdms[a:], sigma=None)

    return make


def _holes(make: Any, share: float = 0.1):
    def holes(rng: np.random.Generator, quick: bool) -> Data:
        data = make(rng, quick)
        gone = rng.random(data.b.shape[1]) < share
        data.a[:, gone] = np.nan  # theirs takes one mask for all; with one per RDM its answers are other numbers
        data.b[:, gone] = np.nan
        data.size += f", {share:.0%} missing"
        return data

    return holes


def _ours(method: str):
    return lambda data: rc.compare_rdms(data.a, data.b, method=method, stimulus_covariance=data.sigma)


def _toolbox(method: str):
    def peer(data: Data) -> Any:
        from rsatoolbox.rdm import RDMs, compare

        options = {} if data.sigma is None else {"sigma_k": data.sigma}
        return compare(RDMs(data.a), RDMs(data.b), method=method, **options)

    return peer


def _case(method: str, make: Any, *, at_least: float | None = None, tolerance: float = 1e-10, label: str = "") -> Case:
    theirs, note = NAMES[method]
    return Case(
        name=f"set_{method}{label}_rsatoolbox",
        peer_name=f"rsatoolbox compare({theirs!r})",
        library="rsatoolbox",
        make=make,
        ours=_ours(method),
        peer=_toolbox(theirs),
        agree=largest,
        tolerance=tolerance,
        target=None if at_least is None else Target("faster", at_least),
        note=note,
    )


def _ranked(k: int, small: int):
    """Two RDMs of K stimuli as vectors of pairs."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        n = small if quick else k
        a = rng.random(n * (n - 1) // 2, dtype=np.float64)
        return Data(size=f"K={n}, {a.size} pairs", a=a, b=a + rng.random(a.size))

    return make


CASES = (
    _case("kendall_tau_a", _sets(100, 50), at_least=4),
    _case("cosine", _sets(100, 50), at_least=4),
    _case("rho_a", _sets(100, 50), at_least=1.1),
    _case("pearson", _sets(100, 50)),
    _case("spearman", _sets(100, 50)),
    _case("kendall_tau_b", _sets(10, 5)),
    _case("whitened_cosine", _sets(8, 20, k=30, covariance=True), at_least=15, tolerance=1e-4, label="_covariance"),
    _case("whitened_pearson", _sets(8, 20, k=30, covariance=True), at_least=15, tolerance=1e-4, label="_covariance"),
    _case("cosine", _holes(_sets(100, 50)), label="_missing"),
    _case("kendall_tau_a", _holes(_sets(20, 10)), label="_missing"),
    _case("bures", _full_rank(8, 20, 60), tolerance=1e-7),
    _case("riemannian", _full_rank(2, 3, 20), tolerance=1e-6),
    Case(
        name="squared_bures_rsatoolbox",
        peer_name="rsatoolbox compare('bures_metric')",
        library="rsatoolbox",
        make=_full_rank(8, 20, 60),
        ours=lambda data: rc.compare_rdms(data.a, data.b, method="bures_metric", convention="rsatoolbox"),
        peer=_toolbox("bures_metric"),
        agree=relative,
        tolerance=1e-7,
        note=COMPARATORS["rsatoolbox"]["bures_metric"].note,
    ),
    Case(
        name="tau_b_large_scipy",
        peer_name="scipy kendalltau",
        library="scipy",
        make=_ranked(2000, 40),
        ours=lambda data: rc.compare_rdms(data.a, data.b, method="kendall_tau_b"),
        peer=lambda data: scipy.stats.kendalltau(data.a, data.b).statistic,
        agree=largest,
        tolerance=1e-12,
        note="theirs also gives a p-value; 2,000 stimuli are 2 million pairs",
    ),
    Case(
        name="rho_large_scipy",
        peer_name="scipy spearmanr",
        library="scipy",
        make=_ranked(5000, 40),
        ours=lambda data: rc.compare_rdms(data.a, data.b, method="rho_a"),
        peer=lambda data: scipy.stats.spearmanr(data.a, data.b).statistic,
        agree=largest,
        tolerance=1e-12,
        note="theirs also gives a p-value; rho_a is Spearman's where nothing is tied; 5,000 stimuli are 12.5 million pairs",
    ),
)
