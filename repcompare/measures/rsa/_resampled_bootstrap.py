"""Scores and ceilings of fixed models in every bootstrap sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repcompare.measures.rsa._resampled import DOTS, Float64, Int64, Sample, Stack, resample, scores
from repcompare.measures.rsa._resampled_ceilings import ceilings, masked, of_gram

Evaluation = tuple[Float64, Float64, Float64]  # scores (n_models, n_subjects), lower and upper ceiling (n_subjects,)
MOST = 2_000_000  # inner products held at a time
FACTORS = {
    "stimuli_and_subjects": ("stimuli_and_subjects", "stimuli", "subjects"),
    "stimuli": ("stimuli",),
    "subjects": ("subjects",),
}


@dataclass(frozen=True)
class Bootstrap:
    """Means over the subjects drawn, for one way of drawing.

    Attributes
    ----------
    score : ndarray, shape (n_samples, n_assignments, n_models)
        One assignment to folds where nothing is fitted.
    lower, upper : ndarray, shape (n_samples, n_assignments)
        Noise ceilings; NaN where they are not defined on a sample.
    """

    score: Float64
    lower: Float64
    upper: Float64


def model_scores(sample: Sample | None, n_models: int, n_subjects: int) -> Float64:
    """Return scores (n_models, n_subjects) on a draw; NaN where there is no sample."""
    if sample is None:
        return np.full((n_models, n_subjects), np.nan)
    return scores(sample, range(n_models), range(n_models, n_models + n_subjects))


def subject_ceilings(sample: Sample | None, n_models: int, counts: Int64) -> tuple[Float64, Float64]:
    """Return lower and upper ceiling (n_subjects,) on a draw of stimuli and subjects; NaN where there is no sample."""
    if sample is None:
        return np.full(counts.size, np.nan), np.full(counts.size, np.nan)
    return ceilings(sample, range(n_models, n_models + counts.size), counts)


def bootstrap_fixed(
    stack: Stack, n_models: int, stimuli: Int64, subjects: Int64, factors: Sequence[str]
) -> dict[str, Bootstrap]:
    """Score fixed models in bootstrap samples.

    Parameters
    ----------
    stack : Stack
        The models, then the subjects.
    n_models : int
    stimuli : ndarray of int, shape (n_samples, k)
        Counts of stimuli.
    subjects : ndarray of int, shape (n_samples, n_subjects)
        Counts of subjects.
    factors : sequence of {"stimuli_and_subjects", "stimuli", "subjects"}
        What is drawn; all from the same draws.

    Returns
    -------
    dict of str to Bootstrap
        NaN where a draw has fewer than 3 distinct stimuli, or an RDM is constant on it.
    """
    if stack.method in DOTS:
        return _bootstrap_dots(stack, n_models, stimuli, subjects, factors)
    s = subjects.shape[1]
    once = np.ones(s, dtype=np.int64)
    full = resample(stack, np.ones(stack.k))
    table = model_scores(full, n_models, s)
    kept: dict[str, list[tuple[Float64, float, float]]] = {factor: [] for factor in factors}
    for c, b in zip(stimuli, subjects, strict=True):
        drawn = resample(stack, c) if tuple(factors) != ("subjects",) else None
        moved = model_scores(drawn, n_models, s)
        for factor in factors:
            who = once if factor == "stimuli" else b
            sample, found = (full, table) if factor == "subjects" else (drawn, moved)
            kept[factor].append(mean_over((found, *subject_ceilings(sample, n_models, who)), who))
    return {factor: gather([[one] for one in values]) for factor, values in kept.items()}


def _bootstrap_dots(
    stack: Stack, n_models: int, stimuli: Int64, subjects: Int64, factors: Sequence[str]
) -> dict[str, Bootstrap]:
    """Do the same from one matrix of inner products per sample: drawing subjects only picks its entries."""
    n = n_models + subjects.shape[1]
    block = max(1, min(64, MOST // n**2))
    parts = []
    full = resample(stack, np.ones(stack.k))
    assert full is not None
    for start in range(0, len(stimuli), block):
        draws, who = stimuli[start : start + block], subjects[start : start + block].astype(np.float64)
        unit = np.full((len(draws), n, n), np.nan)
        for k in range(len(draws) if tuple(factors) != ("subjects",) else 0):
            sample = resample(stack, draws[k])
            if sample is not None:
                unit[k] = sample.gram
        size = np.sqrt(np.diagonal(unit, axis1=1, axis2=2))
        unit /= size[:, None, :]
        unit /= size[:, :, None]
        parts.append(
            {
                factor: _of_unit(
                    full.unit[None] if factor == "subjects" else unit,
                    n_models,
                    np.ones_like(who) if factor == "stimuli" else who,
                )
                for factor in factors
            }
        )
    return joined(parts)


def _of_unit(unit: Float64, n_models: int, counts: Float64) -> Bootstrap:
    """Return the scores and ceilings of counts (n_samples, n_subjects) from inner products (n_samples or 1, n, n)."""
    weights = counts / counts.sum(axis=1, keepdims=True)
    score = (unit[:, :n_models, n_models:] @ weights[..., None])[..., 0]
    lower, upper = masked(*of_gram(unit[:, n_models:, n_models:], counts), counts)
    means = [np.sum(np.where(counts > 0, weights * values, 0.0), axis=1) for values in (lower, upper)]
    return Bootstrap(score[:, None], means[0][:, None], means[1][:, None])


def mean_over(evaluation: Evaluation, counts: Int64) -> tuple[Float64, float, float]:
    """Return means over the subjects drawn."""
    there = counts > 0
    weights = counts[there] / counts.sum()
    table, lower, upper = evaluation
    return table[:, there] @ weights, float(lower[there] @ weights), float(upper[there] @ weights)


def gather(values: Sequence[Sequence[tuple[Float64, float, float]]]) -> Bootstrap:
    """Return the means of samples (outer) and assignments to folds (inner) as arrays."""
    score = np.array([[one[0] for one in row] for row in values])
    lower, upper = (np.array([[one[k] for one in row] for row in values], dtype=np.float64) for k in (1, 2))
    return Bootstrap(score, lower, upper)


def joined(parts: Sequence[dict[str, Bootstrap]]) -> dict[str, Bootstrap]:
    """Return the samples of several chunks as one."""
    return {
        factor: Bootstrap(
            *(np.concatenate([getattr(p[factor], n) for p in parts]) for n in ("score", "lower", "upper"))
        )
        for factor in parts[0]
    }
