"""Bootstrap inference on RDM models with noise ceilings, against rsatoolbox."""

from __future__ import annotations

import warnings
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

import repcompare as rc
from cases._case import Case, Target, largest
from repcompare.measures.rsa._resampled import stack_rdms
from repcompare.measures.rsa._resampled_bootstrap import FACTORS, bootstrap_fixed

OURS, THEIRS = 1000, 20  # bootstrap samples
SHARE = OURS // THEIRS
NOTE = (
    f"{OURS} samples of ours against {THEIRS} of theirs: the ratio for equal numbers is {SHARE} times what is printed; "
    "both draw subjects, stimuli and both; agreement is of single samples on the draws that theirs made"
)


def _study(rng: np.random.Generator, quick: bool) -> Data:
    k, subjects, models, samples, peer = (10, 4, 2, 4, 4) if quick else (92, 20, 10, OURS, THEIRS)
    signal = rng.normal(size=(k, 30))
    rdms = np.array([pdist(signal + rng.normal(size=(k, 30)), "sqeuclidean") / 30 for _ in range(models + subjects)])
    size = f"K={k}, {subjects} subjects, {models} models"
    return Data(size=size, models=rdms[:models], data=rdms[models:], samples=samples, peer=peer)


def _ours(method: str):
    return lambda data: rc.rsa_inference(data.models, data.data, method=method, n_bootstraps=data.samples)


def _toolbox(method: str, theirs: str):
    def peer(data: Data) -> Any:
        from rsatoolbox.inference import evaluate
        from rsatoolbox.model import ModelFixed
        from rsatoolbox.rdm import RDMs

        draws, original = [], evaluate.bootstrap_sample

        def recorded(*arguments: Any, **options: Any) -> Any:
            drawn = original(*arguments, **options)
            draws.append(drawn[1:])
            return drawn

        evaluate.bootstrap_sample = recorded
        bar, evaluate.tqdm.trange = evaluate.tqdm.trange, range
        try:
            np.random.seed(0)  # noqa: NPY002
            models = [ModelFixed(f"model {i}", rdm) for i, rdm in enumerate(data.models)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that its ceilings of tau pool ranks, as ours do
                found = evaluate.eval_dual_bootstrap(models, RDMs(data.data), method=theirs, N=data.peer)
        finally:
            evaluate.bootstrap_sample, evaluate.tqdm.trange = original, bar
        return Data(found=found, draws=draws, data=data, method=method)

    return peer


def _same_samples(ours: Any, peer: Data) -> float:
    """Score the draws of theirs by ours: all scores, and the ceilings where all subjects are there once."""
    rdms = np.concatenate([peer.data.models, peer.data.data])
    n, k = len(peer.data.models), round((1 + np.sqrt(1 + 8 * rdms.shape[1])) / 2)
    subjects = np.array([np.bincount(who, minlength=len(peer.data.data)) for who, _ in peer.draws])
    stimuli = np.array([np.bincount(what, minlength=k) for _, what in peer.draws])
    both = "stimuli_and_subjects"
    mine = bootstrap_fixed(stack_rdms(rdms, peer.method), n, stimuli, subjects, FACTORS[both])
    theirs = peer.found.evaluations[:, :, 0, 0, :]
    order = (both, "subjects", "stimuli")
    apart = [largest(mine[factor].score[:, 0], theirs[..., i]) for i, factor in enumerate(order)]
    if not peer.method.startswith("whitened"):  # theirs pool whitened RDMs in the Euclidean norm
        ceiling = np.array(peer.found.noise_ceiling)[:, :, 0, 2]
        apart += [
            largest(getattr(mine["stimuli"], name)[:, 0], ceiling[i]) for i, name in enumerate(("lower", "upper"))
        ]
    finite = np.isfinite(ours["score_variance"].values).all()
    return max(apart) if finite else float("inf")


def _case(ours: str, theirs: str, times: float, tolerance: float = 1e-12) -> Case:
    return Case(
        name=f"inference_{ours}_rsatoolbox",
        peer_name=f"rsatoolbox eval_dual_bootstrap({theirs!r})",
        library="rsatoolbox",
        make=_study,
        ours=_ours(ours),
        peer=_toolbox(ours, theirs),
        agree=_same_samples,
        tolerance=tolerance,
        target=Target("faster", times / SHARE),
        note=NOTE,
    )


CASES = (
    _case("cosine", "cosine", 300),
    _case("pearson", "corr", 300),
    _case("whitened_cosine", "cosine_cov", 5000),
    _case("whitened_pearson", "corr_cov", 5000),
    _case("rho_a", "rho-a", 100),
    _case("spearman", "spearman", 100),
    _case("kendall_tau_a", "tau-a", 30),
)
