"""Noise-aware and cross-validated distances, and the covariance of the noise, against rsatoolbox and numpy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case, Target, largest, relative

Make = Callable[[np.random.Generator, bool], Data]


def _runs(k: int, m: int, p: int, small: tuple[int, int, int], *, precision: bool = False, dtype: Any = float) -> Make:
    """Trials of ``k`` conditions in ``m`` runs, one each, ``p`` voxels."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, runs, units = small if quick else (k, m, p)
        values = rng.normal(size=(n, units))[np.tile(np.arange(n), runs)] + rng.normal(size=(n * runs, units))
        omega = None
        if precision:
            z = rng.normal(size=(2 * units, units)) + 0.5 * rng.normal(size=(2 * units, 1))
            omega = np.linalg.inv(z.T @ z / (2 * units))
            omega = (omega + omega.T) / 2
        return Data(
            size=f"{runs} runs x {n} conditions x {units} voxels",
            wide=values,
            values=values.astype(dtype),
            stimulus=np.tile(np.arange(n), runs),
            run=np.repeat(np.arange(runs), n),
            omega=omega,
        )

    return make


def _unbalanced(n_trials: int, k: int, m: int, p: int, small: tuple[int, int, int, int], nan: float = 0.0) -> Make:
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, stimuli, runs, units = small if quick else (n_trials, k, m, p)
        values = rng.normal(size=(n, units))
        values[rng.random(values.shape) < nan] = np.nan
        stimulus = np.concatenate([np.arange(stimuli), np.arange(stimuli), rng.integers(0, stimuli, n - 2 * stimuli)])
        run = np.concatenate([np.zeros(stimuli, int), np.ones(stimuli, int), rng.integers(0, runs, n - 2 * stimuli)])
        return Data(
            size=f"{n} trials of {stimuli} conditions in {runs} runs, {units} units",
            wide=values,
            values=values,
            stimulus=stimulus,
            run=run,
            omega=None,
        )

    return make


def _ours(**options: Any) -> Callable[[Data], Any]:
    return lambda d: rc.rdm(
        d.values, distance="crossnobis", noise=d.omega, stimulus=d.stimulus, partition=d.run, **options
    )


def _ours_missing(data: Data) -> Any:
    return _ours(nan="pairwise")(data), data


def _missing_gap(ours: Any, _peer: Any) -> float:
    """Return the larger difference: to plain loops on some pairs, and to the peer where both definitions are one number.

    They are one where every condition is once in every run and a unit is missing everywhere or nowhere; what the peer
    answers to the data that are timed is another number.
    """
    found, data = ours
    square = np.zeros((data.stimulus.max() + 1,) * 2)
    rows = [data.stimulus.tolist().index(s) for s in dict.fromkeys(data.stimulus.tolist())]
    order = data.stimulus[rows]
    square[np.triu_indices(len(square), 1)] = found
    positions = np.linspace(0, len(order) - 1, 8).astype(int)
    pairs = [(i, j) for i in positions for j in positions if i < j]
    loops = np.array([_unit_by_unit(data, order[i], order[j]) for i, j in pairs])
    same = _runs(20, 4, 60, (20, 4, 60))(np.random.default_rng(1), False)
    same.values[:, ::10] = np.nan
    same.wide = same.values
    other = relative(_ours(nan="pairwise")(same), _toolbox_unbalanced(same))
    return max(relative([square[pair] for pair in pairs], loops), other)


def _unit_by_unit(data: Data, a: int, b: int) -> float:
    """Return the mean over units of the crossnobis distance of each, from the partitions that have both, by plain loops."""
    found = []
    for unit in range(data.values.shape[1]):
        delta = []
        for run in np.unique(data.run):
            of = [data.values[(data.run == run) & (data.stimulus == s), unit] for s in (a, b)]
            of = [v[~np.isnan(v)] for v in of]
            if of[0].size and of[1].size:
                delta.append(of[0].mean() - of[1].mean())
        n = len(delta)
        if n > 1:
            found.append(sum(x * y for i, x in enumerate(delta) for j, y in enumerate(delta) if i != j) / (n * (n - 1)))
    return float(np.mean(found))


def _dataset(data: Data) -> Any:
    from rsatoolbox.data import Dataset

    return Dataset(data.wide, obs_descriptors={"stim": list(data.stimulus), "run": list(data.run)})


def _toolbox(data: Data) -> Any:
    from rsatoolbox.rdm import calc_rdm

    found = calc_rdm(_dataset(data), method="crossnobis", descriptor="stim", noise=data.omega, cv_descriptor="run")
    return found.dissimilarities[0]


def _toolbox_unbalanced(data: Data) -> Any:
    from rsatoolbox.rdm.calc_unbalanced import calc_rdm_unbalanced

    found = calc_rdm_unbalanced(_dataset(data), method="crossnobis", descriptor="stim", cv_descriptor="run")
    return found.dissimilarities[0]


def _residuals(n: int, p: int, small: tuple[int, int]) -> Make:
    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, units = small if quick else (n, p)
        z = rng.normal(size=(rows, units)) + 0.5 * rng.normal(size=(rows, 1))
        return Data(size=f"N={rows} P={units}", z=z - z.mean(axis=0))

    return make


def _toolbox_noise(method: str) -> Callable[[Data], Any]:
    def peer(data: Data) -> Any:
        from rsatoolbox.data.noise import cov_from_residuals

        return cov_from_residuals(data.z, dof=len(data.z) - 1, method=method)

    return peer


def _covariance_gap(ours: Any, peer: Any) -> float:
    """Form the matrix of ours here, not in the time that is measured."""
    return relative(ours.covariance(), peer)


def _correlation(k: int, p: int, small: tuple[int, int]) -> Make:
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, units = small if quick else (k, p)
        return Data(size=f"K={n} P={units}", x=rng.normal(size=(n, units)))

    return make


def _toolbox_correlation(data: Data) -> Any:
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    return calc_rdm(Dataset(data.x), method="correlation").dissimilarities[0]


def _corrcoef(data: Data) -> Any:
    return 1 - np.corrcoef(data.x)


def _upper(ours: Any, peer: Any) -> float:
    peer = np.asarray(peer)
    return largest(ours, peer[np.triu_indices(len(peer), 1)])


def _crossnobis(name: str, make: Make, faster: float, tolerance: float = 1e-11, note: str = "") -> Case:
    return Case(
        name=name,
        peer_name="rsatoolbox calc_rdm('crossnobis')",
        library="rsatoolbox",
        make=make,
        ours=_ours(),
        peer=_toolbox,
        agree=relative,
        tolerance=tolerance,
        target=Target("faster", faster),
        note=note,
    )


def _noise(method: str, n: int, p: int, faster: float, tolerance: float, note: str = "") -> Case:
    return Case(
        name=f"noise_{method}_N{n}_P{p}_rsatoolbox",
        peer_name=f"rsatoolbox cov_from_residuals('{method}')",
        library="rsatoolbox",
        make=_residuals(n, p, (30, p // 20)),
        ours=lambda data: rc.estimate_noise(data.z, method=method, dof=len(data.z) - 1, partition=None),
        peer=_toolbox_noise(method),
        agree=_covariance_gap,
        tolerance=tolerance,
        target=Target("faster", faster),
        note=note,
    )


FACTORED = (
    "ours keeps the covariance in factored form where units outnumber samples (the matrix is formed outside the time)"
)
CHECKED = "ours also checks that the precision is symmetric and positive definite"
LAMBDA = "the intensities differ by the factor of the variance of a mean at small N; "

CASES = (
    _crossnobis("crossnobis_rsatoolbox", _runs(100, 8, 2000, (10, 3, 40)), 20),
    _crossnobis(
        "crossnobis_precision_rsatoolbox",
        _runs(100, 8, 2000, (10, 3, 40), precision=True),
        1.4,
        note=CHECKED,
    ),
    _crossnobis(
        "crossnobis_precision_float32_rsatoolbox",
        _runs(100, 8, 2000, (10, 3, 40), precision=True, dtype=np.float32),
        2.5,
        1e-5,
        note="ours on float32 responses, theirs on float64; ours checks the precision",
    ),
    _crossnobis("crossnobis_P500_rsatoolbox", _runs(92, 8, 500, (10, 3, 40)), 15),
    _crossnobis("crossnobis_P2000_rsatoolbox", _runs(92, 8, 2000, (10, 3, 40)), 30),
    _crossnobis(
        "crossnobis_precision_P500_rsatoolbox", _runs(92, 8, 500, (10, 3, 40), precision=True), 3, note=CHECKED
    ),
    _crossnobis(
        "crossnobis_precision_P2000_rsatoolbox", _runs(92, 8, 2000, (10, 3, 40), precision=True), 1.5, note=CHECKED
    ),
    Case(
        name="crossnobis_unbalanced_rsatoolbox",
        peer_name="rsatoolbox calc_rdm_unbalanced('crossnobis')",
        library="rsatoolbox",
        make=_unbalanced(700, 92, 8, 500, (60, 8, 4, 30)),
        ours=_ours(weighting="trial"),
        peer=_toolbox_unbalanced,
        agree=relative,
        tolerance=1e-10,
        target=Target("faster", 4),
    ),
    Case(
        name="crossnobis_missing_rsatoolbox",
        peer_name="rsatoolbox calc_rdm_unbalanced('crossnobis'), NaN",
        library="rsatoolbox",
        make=_unbalanced(700, 92, 8, 500, (60, 8, 4, 30), nan=0.1),
        ours=_ours_missing,
        peer=_toolbox_unbalanced,
        agree=_missing_gap,
        tolerance=1e-10,
        target=Target("faster", 15),
        note=(
            "another estimator: ours is the mean over units of a unit-wise crossnobis, unchanged by unit baselines; the"
            " difference is to plain loops of that on 28 pairs, and to theirs on balanced data with whole units missing,"
            " where both are one number"
        ),
    ),
    _noise("shrinkage_eye", 500, 200, 20, 1e-10),
    _noise("shrinkage_eye", 500, 800, 35, 1e-10, FACTORED),
    _noise("shrinkage_diag", 500, 200, 20, 1e-3, LAMBDA),
    _noise("shrinkage_diag", 500, 800, 35, 1e-3, LAMBDA + FACTORED),
    Case(
        name="rdm_correlation_large_rsatoolbox",
        peer_name="rsatoolbox calc_rdm('correlation')",
        library="rsatoolbox",
        make=_correlation(2000, 5000, (40, 100)),
        ours=lambda data: rc.rdm(data.x),
        peer=_toolbox_correlation,
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 30),
    ),
    Case(
        name="rdm_correlation_numpy",
        peer_name="1 - numpy.corrcoef",
        library="numpy",
        make=_correlation(2000, 5000, (40, 100)),
        ours=lambda data: rc.rdm(data.x),
        peer=_corrcoef,
        agree=_upper,
        tolerance=1e-12,
        target=Target("cost", 1.2),
        note="ours also checks the input, recomputes near pairs and makes values that differ by rounding only equal",
    ),
)
