"""All pairs of many sources, and matchings of units: against textbook numpy, scipy and POT, pair by pair.

Where all pairs would take the peer minutes it does a share of them: ``size`` says how many, and ``ShareOfPairs`` judges
it by what all of them would take.  Its pairs are disjoint, so that sources of unequal width are met equally often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize

import repcompare as rc
from cases._case import Case, Target, largest
from cases.alignment import align_and_measure, feature_cka, gram_cka
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from repcompare.measures.matching import one_to_one, permutation, soft_match
from repcompare.measures.shape import procrustes
from repcompare.measures.svcca import svcca

Matrix = npt.NDArray[np.float64]
Pair = tuple[int, int]
Widths = tuple[int, ...]
SHARE = "the peer does a share of the pairs, i < j, each from the data; multiply its time (and the ratio) as the target says"


@dataclass(frozen=True)
class ShareOfPairs(Target):
    """A target ``faster`` over all pairs, where the time of the peer is for ``done`` of ``pairs`` pairs."""

    done: int = 1
    pairs: int = 1

    def met(self, ours: float, peer: float) -> bool:
        return super().met(ours, peer * self.pairs / self.done)

    def __str__(self) -> str:
        return f"{super().__str__()}, peer x {self.pairs / self.done:g}"


def _share(value: float, sources: int, done: int) -> ShareOfPairs:
    return ShareOfPairs("faster", value, done, sources * (sources - 1) // 2)


def _disjoint(sources: int, done: int) -> list[Pair]:
    return [(i, sources - 1 - i) for i in range(sources // 2)][:done]


def _sources(n: int, widths: Widths, small: tuple[int, Widths], done: int | None = None, decay: float = 0.0):
    """Sources with 10 shared dimensions; unit variances fall as i^-2 ``decay`` before a random mixing."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, units = small if quick else (n, widths)
        latent = rng.normal(size=(rows, 10))
        xs = []
        for p in units:
            own = rng.normal(size=(rows, p))
            if decay:
                own = (own * np.arange(1, p + 1) ** -decay) @ np.linalg.qr(rng.normal(size=(p, p)))[0]
            xs.append(latent @ rng.normal(size=(10, p)) + own)
        count, wide = len(xs), f"{min(units)}..{max(units)}" if len(set(units)) > 1 else f"{units[0]}"
        every = list(combinations(range(count), 2))
        pairs = every if done is None else _disjoint(count, done)
        size = f"L={count} n={rows} p={wide}, " + ("all" if done is None else f"peer {len(pairs)} of {len(every)}")
        return Data(size=f"{size} pairs", xs=xs, pairs=pairs)

    return make


def _ours(measure: Any) -> Callable[[Data], Matrix]:
    """Prepare each source once, then compare all pairs; the diagonal is not looked at."""

    def ours(data: Data) -> Matrix:
        states = [measure.prepared(x) for x in data.xs]
        if measure.compare_many is not None:
            return np.asarray(measure.compare_many(states, states))
        out = np.full((len(states), len(states)), np.nan)
        for i, j in combinations(range(len(states)), 2):
            out[i, j] = out[j, i] = measure.compare(states[i], states[j]).score
        return out

    return ours


def _peer(score: Callable[[Matrix, Matrix], float]) -> Callable[[Data], dict[Pair, float]]:
    return lambda data: {(i, j): score(data.xs[i], data.xs[j]) for i, j in data.pairs}


def _same_pairs(ours: Matrix, peer: dict[Pair, float]) -> float:
    return largest([ours[pair] for pair in peer], list(peer.values()))


def _same_cosines(ours: Matrix, peer: dict[Pair, float]) -> float:
    return largest(np.cos([ours[pair] for pair in peer]), np.cos(list(peer.values())))


def _powered(x: Matrix, alpha: float) -> Matrix:
    """Centred data with whitening to the share 1 - ``alpha``, of unit norm."""
    x = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    whitener = (vectors * (alpha + (1 - alpha) / np.sqrt(values))) @ vectors.T
    x = x @ whitener
    return x / np.linalg.norm(x)


def whiten_and_svd(x: Matrix, y: Matrix) -> float:
    """Shape distance with alpha = 1 by the general recipe of Williams et al. 2021: whiten both, SVD, rotate both."""
    return align_and_measure(_powered(x, 1.0), _powered(y, 1.0))


def qr_cca(x: Matrix, y: Matrix) -> float:
    """Mean canonical correlation: QR of both sides, SVD of what the bases share."""
    qx, qy = (np.linalg.qr(v - v.mean(axis=0))[0] for v in (x, y))
    return float(np.linalg.svd(qx.T @ qy, compute_uv=False).mean())


def _leading(x: Matrix) -> Matrix:
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(s**2) / np.sum(s**2), 0.99)) + 1
    return u[:, :kept] * s[:kept]


def svd_qr_cca(x: Matrix, y: Matrix) -> float:
    """SVCCA (Raghu et al. 2017): components with 99 % of the variance by an SVD of both sides, then CCA by QR and SVD."""
    return qr_cca(_leading(x), _leading(y))


def corrcoef_matching(x: Matrix, y: Matrix) -> float:
    """Mean correlation over the best pairing of units, from ``numpy.corrcoef`` of both sides together."""
    r = np.corrcoef(x, y, rowvar=False)[: x.shape[1], x.shape[1] :]
    return float(r[scipy.optimize.linear_sum_assignment(r, maximize=True)].mean())


def product_matching(x: Matrix, y: Matrix) -> float:
    """Angle between two systems of unit norm after the best pairing of units."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    products = (x / np.linalg.norm(x)).T @ (y / np.linalg.norm(y))
    cosine = products[scipy.optimize.linear_sum_assignment(products, maximize=True)].sum()
    return float(np.arccos(np.clip(cosine, -1, 1)))


def pot_matching(x: Matrix, y: Matrix) -> float:
    """Soft-matching correlation (Khosla & Williams 2024) by the network simplex of POT."""
    import ot

    zx, zy = ((v - v.mean(axis=0)) / v.std(axis=0) for v in (x, y))
    r = zx.T @ zy / len(x)
    p, q = r.shape
    plan = ot.emd(np.full(p, 1 / p), np.full(q, 1 / q), 1 - r, numItermax=10_000_000)
    return float(np.sum(plan * r))


def _one_pair(measure: Any) -> Callable[[Data], float]:
    return lambda data: float(measure.compare(*(measure.prepared(x) for x in data.xs)).score)


LAYERS = tuple(int(p) for p in np.geomspace(500, 20_000, 20).round())

CASES = (
    Case(
        name="procrustes_30_sources_whiten",
        peer_name="textbook numpy, whiten and align by SVD per pair",
        library="numpy",
        make=_sources(1000, (300,) * 30, (30, (5,) * 4), done=15),
        ours=_ours(procrustes()),
        peer=_peer(whiten_and_svd),
        agree=_same_cosines,
        tolerance=1e-10,
        target=_share(3.5, 30, 15),
        note=f"{SHARE}; it goes through the whitening of other alphas too, which changes nothing at alpha = 1",
    ),
    Case(
        name="procrustes_30_sources",
        peer_name="textbook numpy, align by p x p SVD per pair",
        library="numpy",
        make=_sources(1000, (300,) * 30, (30, (5,) * 4), done=15),
        ours=_ours(procrustes()),
        peer=_peer(align_and_measure),
        agree=_same_cosines,
        tolerance=1e-10,
        target=_share(3.5, 30, 15),
        note=f"{SHARE}; it also has the rotations, and does not whiten, which at alpha = 1 nobody needs",
    ),
    Case(
        name="procrustes_10_wide_sources",
        peer_name="textbook numpy, align by p x p SVD per pair",
        library="numpy",
        make=_sources(500, (5000,) * 10, (20, (40,) * 4), done=1),
        ours=_ours(procrustes()),
        peer=_peer(align_and_measure),
        agree=_same_cosines,
        tolerance=1e-10,
        target=_share(50, 10, 1),
        note=f"{SHARE}; it also has the rotations; a pair takes it about a minute",
    ),
    Case(
        name="cka_wide_pair_features",
        peer_name="textbook numpy, feature products",
        library="numpy",
        make=_sources(2000, (5000,) * 2, (40, (60,) * 2)),
        ours=lambda data: rc.cka(*data.xs),
        peer=lambda data: feature_cka(*data.xs),
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 4),
        note="one pair through the direct door, input checks included",
    ),
    Case(
        name="cka_20_layers_gram",
        peer_name="textbook numpy, Grams per pair",
        library="numpy",
        make=_sources(1000, LAYERS, (40, (20, 40, 60, 80)), done=10),
        ours=_ours(cka()),
        peer=_peer(gram_cka),
        agree=_same_pairs,
        tolerance=1e-12,
        target=_share(15, 20, 10),
        note=f"{SHARE}; widths in equal ratios, each layer in one of the pairs",
    ),
    Case(
        name="cca_pair_qr",
        peer_name="textbook numpy, QR + SVD",
        library="numpy",
        make=_sources(5000, (500,) * 2, (60, (4,) * 2)),
        ours=_one_pair(cca(held_out=False)),
        peer=lambda data: qr_cca(*data.xs),
        agree=largest,
        tolerance=1e-10,
        target=Target("faster", 2.5),
        note="in sample; ours also looks for null directions",
    ),
    Case(
        name="cca_20_sources",
        peer_name="textbook numpy, QR + SVD per pair",
        library="numpy",
        make=_sources(5000, (500,) * 20, (60, (4,) * 4), done=4),
        ours=_ours(cca(held_out=False)),
        peer=_peer(qr_cca),
        agree=_same_pairs,
        tolerance=1e-10,
        target=_share(5, 20, 4),
        note=f"{SHARE}; in sample",
    ),
    Case(
        name="svcca_20_sources",
        peer_name="textbook numpy, SVD + QR per pair",
        library="numpy",
        make=_sources(2000, (500,) * 20, (60, (8,) * 4), done=4, decay=0.5),
        ours=_ours(svcca()),
        peer=_peer(svd_qr_cca),
        agree=_same_pairs,
        tolerance=1e-10,
        target=_share(6, 20, 4),
        note=f"{SHARE}; in sample, 99 % of the variance",
    ),
    Case(
        name="soft_match_pot",
        peer_name="POT ot.emd",
        library="ot",
        make=_sources(1000, (500, 200), (30, (7, 4))),
        ours=_one_pair(soft_match()),
        peer=lambda data: pot_matching(*data.xs),
        agree=largest,
        tolerance=1e-10,
        target=Target("cost", 1.2),
        note="500 against 200 units, correlation matrices included; ours calls POT with integer masses",
    ),
    Case(
        name="soft_match_pot_even",
        peer_name="POT ot.emd",
        library="ot",
        make=_sources(500, (200, 200), (30, (5, 5))),
        ours=_one_pair(soft_match()),
        peer=lambda data: pot_matching(*data.xs),
        agree=largest,
        tolerance=1e-10,
        target=Target("cost", 1),
        note="as many units on both sides, correlation matrices included; ours is an assignment then",
    ),
    Case(
        name="one_to_one_scipy",
        peer_name="numpy corrcoef + scipy linear_sum_assignment per pair",
        library="scipy",
        make=_sources(1000, (200,) * 10, (30, (5,) * 4)),
        ours=_ours(one_to_one()),
        peer=_peer(corrcoef_matching),
        agree=_same_pairs,
        tolerance=1e-10,
        target=Target("faster", 2),
        note="all pairs i < j on both sides; corrcoef also correlates the units of each side with each other",
    ),
    Case(
        name="permutation_scipy",
        peer_name="numpy products + scipy linear_sum_assignment per pair",
        library="scipy",
        make=_sources(1000, (200,) * 10, (30, (5,) * 4)),
        ours=_ours(permutation()),
        peer=_peer(product_matching),
        agree=_same_cosines,
        tolerance=1e-10,
        target=Target("faster", 2),
        note="all pairs i < j on both sides; ours also has the pairing",
    ),
)
