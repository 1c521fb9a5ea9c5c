"""RDMs and their comparison, against scipy and rsatoolbox."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np
import scipy.stats
from scipy.spatial.distance import pdist

import repcompare as rc
from cases._case import Case, Target, largest, relative

PLAIN = "ours also checks the input and makes values that differ by rounding only equal (tied ranks)"


def _patterns(k: int, p: int, small: tuple[int, int]):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, units = small if quick else (k, p)
        x = rng.normal(size=(n, 5)) @ rng.normal(size=(5, units)) + rng.normal(size=(n, units)) + 1.0
        y = x @ rng.normal(size=(units, 50)) / np.sqrt(units) + rng.normal(size=(n, 50))
        return Data(size=f"K={n} P={units}", x=x, y=y)

    return make


def _toolbox_rdm(method: str):
    def peer(data: Data) -> Any:
        from rsatoolbox.data import Dataset
        from rsatoolbox.rdm import calc_rdm

        return calc_rdm(Dataset(data.x), method=method).dissimilarities[0]

    return peer


def _ours_rdm(**options: Any):
    return lambda data: rc.rdm(data.x, **options)


def _stacks(k: int = 92, covariance: bool = False):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, left, right = (20, 2, 3) if quick else (k, 8, 20)
        signal = rng.normal(size=(n, 30))
        noisy = (signal + rng.normal(size=(n, 30)) for _ in range(left + right))
        rdms = np.array([pdist(x, "sqeuclidean") / 30 for x in noisy])
        sigma = None
        if covariance:
            factor = rng.normal(size=(n, 2 * n))
            sigma = factor @ factor.T / (2 * n)
        return Data(size=f"{left} x {right} RDMs, K={n}", a=rdms[:left], b=rdms[left:], sigma=sigma)

    return make


def _ours_compare(method: str):
    return lambda data: rc.compare_rdms(data.a, data.b, method=method, stimulus_covariance=data.sigma)


def _toolbox_compare(method: str):
    def peer(data: Data) -> Any:
        from rsatoolbox.rdm import RDMs, compare

        options = {} if data.sigma is None else {"sigma_k": data.sigma}
        return compare(RDMs(data.a), RDMs(data.b), method=method, **options)

    return peer


def _comparator(ours: str, theirs: str) -> Case:
    return Case(
        name=f"compare_{ours}_rsatoolbox",
        peer_name=f"rsatoolbox compare({theirs!r})",
        library="rsatoolbox",
        make=_stacks(),
        ours=_ours_compare(ours),
        peer=_toolbox_compare(theirs),
        agree=largest,
        tolerance=1e-12,
    )


def _rsa_of_scipy(data: Data) -> float:
    first, second = pdist(data.x, "correlation"), pdist(data.y, "correlation")
    return float(scipy.stats.spearmanr(first, second).statistic)


CASES = (
    Case(
        name="rdm_correlation_scipy",
        peer_name="scipy pdist('correlation')",
        library="scipy",
        make=_patterns(300, 2000, (40, 100)),
        ours=_ours_rdm(distance="correlation"),
        peer=lambda data: pdist(data.x, "correlation"),
        agree=largest,
        tolerance=1e-12,
        note=PLAIN,
    ),
    Case(
        name="rdm_euclidean_scipy",
        peer_name="scipy pdist('euclidean')",
        library="scipy",
        make=_patterns(300, 2000, (40, 100)),
        ours=_ours_rdm(distance="euclidean", normalize_units=False),
        peer=lambda data: pdist(data.x, "euclidean"),
        agree=relative,
        tolerance=1e-12,
        note="ours with normalize_units=False: by default the sum of squares is divided by P before the root",
    ),
    Case(
        name="rdm_correlation_rsatoolbox",
        peer_name="rsatoolbox calc_rdm('correlation')",
        library="rsatoolbox",
        make=_patterns(300, 2000, (40, 100)),
        ours=_ours_rdm(distance="correlation"),
        peer=_toolbox_rdm("correlation"),
        agree=largest,
        tolerance=1e-12,
        note=PLAIN,
    ),
    Case(
        name="rdm_euclidean_rsatoolbox",
        peer_name="rsatoolbox calc_rdm('euclidean')",
        library="rsatoolbox",
        make=_patterns(300, 2000, (40, 100)),
        ours=_ours_rdm(distance="squared_euclidean"),
        peer=_toolbox_rdm("euclidean"),
        agree=relative,
        tolerance=1e-12,
        note="its 'euclidean' is squared and divided by P: our squared_euclidean; two thirds of the time of both is the same"
        " matrix product; ours first subtracts unit means, so that offsets cost no digits; " + PLAIN,
    ),
    Case(
        name="rdm_searchlight_rsatoolbox",
        peer_name="rsatoolbox calc_rdm('correlation')",
        library="rsatoolbox",
        make=_patterns(118, 500, (40, 100)),
        ours=_ours_rdm(distance="correlation"),
        peer=_toolbox_rdm("correlation"),
        agree=largest,
        tolerance=1e-12,
        note="one small RDM through the general door, half of whose time is the matrix product; the target of "
        "searchlights is that of searchlight_rdms_K118_rsatoolbox, which asks both for the RDMs of many spheres",
    ),
    _comparator("rho_a", "rho-a"),
    _comparator("pearson", "corr"),
    _comparator("spearman", "spearman"),
    _comparator("cosine", "cosine"),
    _comparator("whitened_cosine", "cosine_cov"),
    _comparator("whitened_pearson", "corr_cov"),
    Case(
        name="compare_whitened_cosine_covariance_rsatoolbox",
        peer_name="rsatoolbox compare('cosine_cov', sigma_k=)",
        library="rsatoolbox",
        make=_stacks(30, covariance=True),
        ours=_ours_compare("whitened_cosine"),
        peer=_toolbox_compare("cosine_cov"),
        agree=largest,
        tolerance=1e-4,
        target=Target("faster", 15),
        note="a full covariance of the stimuli; theirs by conjugate gradients (about 5e-6; minutes at K=92), ours exact",
    ),
    Case(
        name="spearman_scipy",
        peer_name="scipy spearmanr",
        library="scipy",
        make=lambda rng, quick: (lambda n: Data(size=f"{n * (n - 1) // 2} pairs", d=rng.random((2, n * (n - 1) // 2))))(
            30 if quick else 200
        ),
        ours=lambda data: rc.compare_rdms(data.d[0], data.d[1], method="spearman"),
        peer=lambda data: scipy.stats.spearmanr(data.d[0], data.d[1]).statistic,
        agree=largest,
        tolerance=1e-12,
        note="theirs also gives a p-value",
    ),
    Case(
        name="rsa_scipy",
        peer_name="scipy pdist x 2 + spearmanr",
        library="scipy",
        make=_patterns(200, 2000, (40, 100)),
        ours=lambda data: rc.rsa(data.x, data.y),
        peer=_rsa_of_scipy,
        agree=largest,
        tolerance=1e-12,
        note="rho_a is Spearman's rho where no distances are tied",
    ),
)
