"""The main job on real recordings: what predicts how signals flow through the nervous system of C. elegans?

Targets are measured responses of every neuron to the stimulation of every other (Randi et al. 2023); sources are networks
constrained by the connectome, gene expression, and plain distance as the baseline that belongs into every such table.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from repcompare.compare import compare
from repcompare.labels.formats import read
from repcompare.labels.parts import parts_of
from repcompare.labels.preprocess import average_repeats, complete_block
from repcompare.labels.scores import concat_scores
from repcompare.labels.store import text_writer, write_together, writer
from repcompare.simulate import brain_and_models
from repcompare.views.plot import scores as plot_scores
from repcompare.views.table import csv_text, terminal_table

N_PERMUTATIONS = 200
N_SPLITS = 50


@dataclass(frozen=True)
class DemoData:
    """What the demo compares.

    Attributes
    ----------
    target : xarray.Dataset
        Recordings with repeats.
    sources : mapping of name to representation
        For measures of geometry; missing values allowed.
    features : mapping of name to representation
        The same sources for prediction, complete.
    groups : str
        Label of the stimuli that folds keep together.
    baseline : str
        The source that every other should beat.
    title : str
        Of table and figure.
    """

    target: xr.Dataset
    sources: Mapping[str, xr.Dataset]
    features: Mapping[str, xr.Dataset]
    groups: str
    baseline: str
    title: str


@dataclass(frozen=True)
class DemoReport:
    """What the command line shows: tables for the terminal, and lines of text."""

    scores: xr.Dataset
    tables: list[Any]
    lines: list[str]


def run_demo(
    out: Path, *, simulated: bool = False, n_jobs: int = 1, seed: int = 0, progress: bool | None = None
) -> DemoReport:
    """Compare, and write ``scores.nc``, ``scores.csv`` and ``scores.png`` into a folder.

    Parameters
    ----------
    out : Path
        Folder; made when it does not exist.
    simulated : bool
        Use simulated recordings in place of the worm's.
    n_jobs : int
        Threads.
    seed : int
        Of folds, halvings and permutations.
    progress : False or None
        No progress bar, or one on a terminal.

    Returns
    -------
    DemoReport

    Raises
    ------
    MissingExtraError
        When the package with the recordings, or matplotlib, is not installed.
    FormatError
        When the folder cannot be written.
    """
    started = time.perf_counter()
    data = _simulated(seed) if simulated else _worm()
    table = _compare(data, {"seed": seed, "n_jobs": n_jobs, "progress": progress})
    figure = plot_scores(table, baseline=data.baseline, title=data.title)
    out.mkdir(parents=True, exist_ok=True)
    outputs = {
        str(out / "scores.nc"): writer(table),
        str(out / "scores.csv"): text_writer(csv_text(table)),
        str(out / "scores.png"): lambda part: figure.savefig(part, format="png"),
    }
    write_together(outputs)
    lines = [
        *explain(table, data.baseline),
        f"wrote {', '.join(outputs)} in {time.perf_counter() - started:.0f} s",
    ]
    return DemoReport(table, [terminal_table(table, data.title)], lines)


def _worm() -> DemoData:
    parts = parts_of(read("demo:worm"))
    target = parts_of(read("demo:worm", repeats=True))["target/wt"]
    kinds = ("connectome", "gap", "genes", "position")
    wanted = [name for kind in kinds for name in parts if name.startswith(f"source/{kind}")]
    features = parts_of(read("demo:worm", units="all"))
    return DemoData(
        target=target,
        sources={_name(name): parts[name] for name in wanted},
        features={_name(name): features[name] for name in wanted},
        groups="stimulus_class",
        baseline="position",
        title="Signal flow between the neurons of C. elegans (Randi et al. 2023), explained by wiring, genes and distance",
    )


def _name(part: str) -> str:
    """``source/connectome/step2`` -> ``connectome, 2 synapses``."""
    kind, _, step = part.removeprefix("source/").partition("/step")
    return f"{kind}, {step} synapse{'s' if step != '1' else ''}" if step else kind


def _simulated(seed: int) -> DemoData:
    brain, models = brain_and_models(seed=seed)
    return DemoData(
        target=brain,
        sources=models,
        features=models,
        groups="stimulus_category",
        baseline="shares_none",
        title="A simulated brain, explained by models that share all, half or none of its latent variables",
    )


def _compare(data: DemoData, options: dict[str, Any]) -> xr.Dataset:
    """RSA on all cells, CKA on the largest complete block, ridge prediction unit by unit; one table."""
    from repcompare.measures.rsa import rsa

    rdms = {"rsa": "rsa", "rsa_pearson": rsa(method="pearson")}
    trials = {"recordings": data.target}
    geometry = compare(
        data.sources,
        trials,
        measures=rdms,
        nan="pairwise",
        ceiling="split_half",
        n_splits=N_SPLITS,
        confidence=0.95,
        permutations=N_PERMUTATIONS,
        **options,
    )
    block = _block(data.target)
    kernels = compare(
        {name: _match(source, block) for name, source in data.sources.items()},
        {"recordings": block},
        measures="cka",
        confidence=0.95,
        permutations=N_PERMUTATIONS,
        **options,
    )
    prediction = compare(
        data.features,
        trials,
        measures="ridge",
        nan="pairwise",
        groups=data.groups,
        ceiling="split_half",
        n_splits=N_SPLITS,
        **options,
    )
    joined = concat_scores([geometry, kernels, prediction])
    return joined.sel(source=list(data.sources), measure=["rsa", "rsa_pearson", "cka", "ridge"])


def _block(target: xr.Dataset) -> xr.Dataset:
    """Recordings without missing values, of units that are not themselves stimulated."""
    means = average_repeats(target)
    units, stimuli = (means[name].values.astype(str) for name in ("unit_id", "stimulus"))
    own = xr.DataArray(stimuli[:, None] == units, dims=("stimulus", "unit"))
    block = complete_block(means.assign(response=means["response"].where(~own, 0.0)))  # own cells are never measured
    driven = np.isin(block["unit_id"].values.astype(str), block["stimulus"].values.astype(str))
    return block.isel(unit=np.flatnonzero(~driven))


def _match(source: xr.Dataset, block: xr.Dataset) -> xr.Dataset:
    """The stimuli of the block; its units too where the source has the same ones."""
    units = source["unit_id"].values.astype(str)
    same = np.isin(units, block["unit_id"].values.astype(str))
    shared = np.flatnonzero(same) if same.sum() == block.sizes["unit"] else np.arange(len(units))
    return source.sel(stimulus=block["stimulus"].values).isel(unit=shared)


def explain(table: xr.Dataset, baseline: str) -> list[str]:
    """Say in three lines what the table shows; every number is read from it."""
    rsa = table.sel(measure="rsa").isel(target=0)
    score = {str(name): float(value) for name, value in zip(rsa["source"].values, rsa["score"].values, strict=True)}
    models = {name: value for name, value in score.items() if name != baseline}
    best = max(models, key=lambda name: models[name])
    pvalue = float(rsa["score_pvalue_corrected"].sel(source=best))
    ceiling = float(rsa["score_ceiling"].sel(source=best))
    ridge = table.sel(measure="ridge").isel(target=0)
    leader = str(ridge["source"].values[int(np.nanargmax(ridge["score"].values))])
    verdict = "above" if pvalue < 0.05 else "not above"
    order = "above" if score[baseline] > models[best] else "below"
    return [
        f"1. The best model by RSA, {best!r}, reaches {models[best]:.2f}: {verdict} chance (corrected p = {pvalue:.3f}), "
        f"and {models[best] / ceiling:.0%} of the ceiling {ceiling:.2f} that the noise of the recordings sets.",
        f"2. The baseline {baseline!r} reaches {score[baseline]:.2f}, {order} the best model: "
        f"{'no model explains more than it does' if order == 'above' else 'the models explain more than it does'}.",
        f"3. Predicting single units on held-out stimuli, {leader!r} does best (mean r = {float(ridge['score'].max()):.2f}, "
        f"ceiling {float(ridge['score_ceiling'].max()):.2f}); folds keep stimuli of one group together.",
    ]
