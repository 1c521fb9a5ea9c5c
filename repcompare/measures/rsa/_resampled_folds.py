"""Scores of fitted models, cross-validated inside every bootstrap sample.

Copies of a stimulus, and of a subject, stay in one fold.  Weights are fitted to the pairs inside the training stimuli of
the training subjects, and scored on the pairs inside the test stimuli of the test subjects; mixed pairs are not used.  All
models of a study are scored on these pairs, fixed ones too, and so are the ceilings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa._feature_weights import weighted_distances
from repcompare.measures.rsa._resampled import (
    Float64,
    Int64,
    Sample,
    Stack,
    resample,
    scores,
    stack_rdms,
)
from repcompare.measures.rsa._resampled_bootstrap import Bootstrap, gather, mean_over
from repcompare.measures.rsa._resampled_ceilings import ceilings, pool_scores
from repcompare.measures.rsa._resampled_features import fit_drawn
from repcompare.measures.rsa._subsets import pairs_within
from repcompare.measures.rsa.models import RDMModel, fit_from_gram, fit_method

MIN_TEST = 3  # distinct stimuli, and pairs


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Models and the data they are fitted to.

    Attributes
    ----------
    models : tuple of RDMModel
        Fixed or fitted.
    data : ndarray, shape (n_subjects, n_pairs)
        NaN where missing; pairs missing in any RDM, or component, are left out of all.
    method : str
        Comparator.
    variances : ndarray, optional
        Of the stimuli, for the whitened methods.
    n_folds : tuple of int
        Over stimuli and over subjects.
    """

    models: tuple[RDMModel, ...]
    data: Float64
    method: str
    variances: npt.ArrayLike | None
    n_folds: tuple[int, int]

    def __post_init__(self) -> None:
        reweighted = [model.name for model in self.models if model.features is not None]
        if reweighted and not np.isfinite(self._rows).all():
            raise MeasureError(
                f"{reweighted[0]}: pairs are missing in an RDM; a feature-reweighted model is resampled with complete RDMs;"
                " take fr_rsa, or leave out the stimuli concerned"
            )

    @cached_property
    def spans(self) -> list[range]:
        """Rows of each model's components among all components."""
        ends = np.cumsum([len(model.rdms) for model in self.models])
        return [range(int(end) - len(m.rdms), int(end)) for m, end in zip(self.models, ends, strict=True)]

    @cached_property
    def subjects(self) -> range:
        """Rows of the data below all components."""
        start = self.spans[-1].stop
        return range(start, start + len(self.data))

    @cached_property
    def fitting(self) -> Stack:
        """All components and the data, in the inner product of the fit."""
        return stack_rdms(self._rows, fit_method(self.method), self.variances)

    @cached_property
    def choosing(self) -> Stack:
        """The same for the comparator itself: ``select`` takes the best component by the score that is asked for."""
        return stack_rdms(self._rows, self.method, self.variances)

    @cached_property
    def _rows(self) -> Float64:
        return np.concatenate([*(model.rdms for model in self.models), self.data])


@dataclass(frozen=True)
class Folded:
    """Held-out scores (n_models, n_subjects), ceilings (n_subjects,), and weights of every fold per model."""

    table: Float64
    lower: Float64
    upper: Float64
    theta: list[list[Float64]]


def assign(keys: npt.ArrayLike, counts: Int64, n_folds: int) -> Int64:
    """Return the fold of everything that was drawn, -1 for the rest; folds differ by at most one in size.

    Examples
    --------
    >>> assign([0.9, 0.1, 0.5, 0.2], np.array([1, 0, 2, 1]), 2).tolist()
    [0, -1, 1, 0]
    """
    drawn = np.flatnonzero(counts)
    out = np.full(counts.size, -1, dtype=np.int64)
    out[drawn[np.argsort(np.asarray(keys)[drawn], kind="stable")]] = np.arange(drawn.size) % n_folds
    return out


def evaluate_folds(problem: Problem, counts: Int64, fold: Int64, whos: Sequence[tuple[Int64, Int64]]) -> list[Folded]:
    """Return held-out scores on one draw of stimuli, for several draws of subjects.

    Parameters
    ----------
    problem : Problem
    counts : ndarray of int, shape (k,)
        How often each stimulus was drawn.
    fold : ndarray of int, shape (k,)
        As :func:`assign` gives it.
    whos : sequence of (counts, folds)
        The same of the subjects, shape (n_subjects,).
    """
    n_stimuli, n_subjects = problem.n_folds
    found = [_Sums(problem) for _ in whos]
    smallest = np.bincount(fold[fold >= 0], minlength=n_stimuli).min()
    for f in range(n_stimuli if smallest >= MIN_TEST else 0):
        train = np.where(fold == f, 0, counts)
        fitted = resample(problem.fitting, train)
        ranked = resample(problem.choosing, train) if _chooses(problem) else None
        if fitted is None:
            continue
        enough = [np.unique(of[of >= 0]).size == n_subjects for _, of in whos]
        trained = [
            [np.where(of == h, 0, who) if n_subjects > 1 else who for h in range(n_subjects)] for who, of in whos
        ]
        used = [b for each, fine in zip(trained, enough, strict=True) if fine for b in each]
        every = iter(_fit_all(problem, train, fitted, ranked, used))
        for sums, (who, fold_of), each, fine in zip(found, whos, trained, enough, strict=True):
            if fine:
                theta = [next(every) for _ in each]
                sums.add(theta, *_test(problem, np.where(fold == f, counts, 0), theta, (who, fold_of, each)))
    return [sums.mean() for sums in found]


def bootstrap_folds(
    problem: Problem, draws: tuple[Int64, Int64], keys: tuple[Float64, Float64], factors: Sequence[str]
) -> dict[str, Bootstrap]:
    """Score models, cross-validated, in bootstrap samples.

    Parameters
    ----------
    problem : Problem
    draws : tuple of ndarray of int, shapes (n_samples, k) and (n_samples, n_subjects)
        Counts of stimuli and of subjects.
    keys : tuple of ndarray, shapes (n_samples, n_assignments, k) and (n_samples, n_assignments, n_subjects)
        Random numbers whose order assigns stimuli and subjects to folds.
    factors : sequence of {"stimuli_and_subjects", "stimuli", "subjects"}

    Returns
    -------
    dict of str to Bootstrap
        NaN where a fold has fewer than 3 distinct test stimuli or no subject, or a score is not defined.
    """
    once = tuple(np.ones(part.shape[1], dtype=np.int64) for part in draws)
    kept: dict[str, list[list[tuple[Float64, float, float]]]] = {factor: [] for factor in factors}
    for c, b, key_c, key_b in zip(*draws, *keys, strict=True):
        rows: dict[str, list[tuple[Float64, float, float]]] = {factor: [] for factor in factors}
        for one, two in zip(key_c, key_b, strict=True):
            for counts, group in ((c, ("stimuli_and_subjects", "stimuli")), (once[0], ("subjects",))):
                asked = [factor for factor in group if factor in factors]
                whos = [once[1] if factor == "stimuli" else b for factor in asked]
                folds = [(who, assign(two, who, problem.n_folds[1])) for who in whos]
                found = evaluate_folds(problem, counts, assign(one, counts, problem.n_folds[0]), folds) if asked else []
                for factor, who, value in zip(asked, whos, found, strict=True):
                    rows[factor].append(mean_over((value.table, value.lower, value.upper), who))
        for factor in factors:
            kept[factor].append(rows[factor])
    return {factor: gather(values) for factor, values in kept.items()}


class _Sums:
    """Running means over the folds of stimuli, of what is defined in each."""

    def __init__(self, problem: Problem) -> None:
        n_models, n_subjects = len(problem.models), len(problem.data)
        self.sums = np.zeros((n_models + 2, n_subjects))
        self.counts = np.zeros((n_models + 2, n_subjects))
        self.theta: list[list[Float64]] = [[] for _ in range(n_models)]

    def add(self, theta: list[list[Float64]], table: Float64, lower: Float64, upper: Float64) -> None:
        values = np.vstack([table, lower, upper])
        there = np.isfinite(values)
        self.sums[there] += values[there]
        self.counts += there
        for per_model in theta:
            for kept, one in zip(self.theta, per_model, strict=True):
                kept.append(one)

    def mean(self) -> Folded:
        mean = np.full(self.sums.shape, np.nan)
        np.divide(self.sums, self.counts, out=mean, where=self.counts > 0)
        return Folded(mean[:-2], mean[-2], mean[-1], self.theta)


def _chooses(problem: Problem) -> bool:
    return problem.choosing.method != problem.fitting.method and any(m.kind == "select" for m in problem.models)


def _fit_all(
    problem: Problem, train: Int64, fitted: Sample, ranked: Sample | None, whos: Sequence[Int64]
) -> list[list[Float64]]:
    """Return the weights of every model for each draw of subjects; those of features share their equations."""
    columns = [
        [_fit(problem, m, fitted, ranked, who) for who in whos]
        if model.features is None
        else fit_drawn(model.features, train, problem.data, whos)
        for m, model in enumerate(problem.models)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _predicted(model: RDMModel, theta: Float64, rows: Int64, pairs: Int64) -> Float64:
    """Return the prediction for the pairs of some stimuli; 0 where there are no weights."""
    weights = np.where(np.isfinite(theta), theta, 0.0)
    if model.features is not None:
        return weighted_distances(model.features.values[rows], weights)
    return np.asarray(weights @ model.rdms[:, pairs])


def _fit(problem: Problem, index: int, fitted: Sample, ranked: Sample | None, who: Int64) -> Float64:
    """Return the weights of a model from blocks of the inner products; NaN where there are none."""
    model, span = problem.models[index], problem.spans[index]
    if not model.flexible:
        return np.ones(1)
    drawn = np.flatnonzero(who)
    weights = who[drawn] / who.sum()
    rows = [problem.subjects[s] for s in drawn]
    if model.kind == "select" and ranked is not None:
        g = scores(ranked, span, rows) @ weights
        g[np.isnan(g)] = -np.inf
        theta = np.zeros(len(span))
        theta[np.argmax(g)] = 1.0
        return theta if np.isfinite(g.max()) else np.full(len(span), np.nan)
    scale = fitted.stack.scale[list(span)]
    a = fitted.gram[np.ix_(span, span)] * np.outer(scale, scale)
    g = fitted.gram[np.ix_(span, rows)] / np.sqrt(fitted.gram[rows, rows]) @ weights * scale
    flat = np.isnan(np.diagonal(a))
    if flat.all() or np.isnan(g[~flat]).any():
        return np.full(len(span), np.nan)
    a[flat], a[:, flat], g[flat] = 0.0, 0.0, 0.0  # constant on the training pairs: no weight
    return fit_from_gram(model, a, g)


def _test(
    problem: Problem, counts: Int64, theta: list[list[Float64]], who: tuple[Int64, Int64, list[Int64]]
) -> tuple[Float64, Float64, Float64]:
    """Return scores (n_models, n_subjects) and ceilings (n_subjects,) on the test pairs; NaN for subjects not drawn."""
    drawn, fold_of, trained = who
    rows = np.flatnonzero(counts)
    pairs = pairs_within(rows, counts.size)
    n_models, n_folds = len(problem.models), len(theta)
    weights = [(t, m) for per in theta for t, m in zip(per, problem.models, strict=True)]
    defined = np.array([np.isfinite(t).all() for t, _ in weights])
    predicted = np.array([_predicted(m, t, rows, pairs) for t, m in weights])
    variances = None if problem.variances is None else problem.fitting.variances[rows]
    table, lower, upper = np.full((n_models, drawn.size), np.nan), *np.full((2, drawn.size), np.nan)
    if problem.fitting.present[pairs].sum() < MIN_TEST:
        return table, lower, upper
    stack = stack_rdms(np.concatenate([predicted, problem.data[:, pairs]]), problem.method, variances)
    sample = resample(stack, counts[rows])
    if sample is None:
        return table, lower, upper
    subjects = range(n_models * n_folds, n_models * n_folds + drawn.size)
    for h in range(n_folds):
        mine = fold_of == h
        models = range(h * n_models, (h + 1) * n_models)
        block = scores(sample, models, subjects)
        block[~defined[models.start : models.stop]] = np.nan
        table[:, mine] = block[:, mine]
        if n_folds > 1:
            lower[mine] = pool_scores(sample, subjects, trained[h])[mine]
    upper = ceilings(sample, subjects, drawn)[1]
    return table, lower, upper
