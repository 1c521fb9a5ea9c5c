"""R^2 of every set of models in bootstrap samples of stimuli and data RDMs, cross-validated inside each where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repcompare.measures.rsa._partition_moments import Matrix, Moments, Pieces, explained, fitted
from repcompare.measures.rsa._resampled import Float64, Int64
from repcompare.measures.rsa._resampled_folds import MIN_TEST, assign
from repcompare.measures.rsa._subsets import Rows

CROSSED = ("stimuli_and_subjects", "stimuli")


@dataclass(frozen=True)
class Regression:
    """What is resampled.

    Attributes
    ----------
    given : Pieces
    chosen : list of ndarray of int
        Model RDMs of every set of models.
    nonnegative : bool
    n_folds : tuple of int, optional
        Over stimuli and over data RDMs; None: each data RDM is fitted and explained on all pairs.
    """

    given: Pieces
    chosen: list[Rows]
    nonnegative: bool
    n_folds: tuple[int, int] | None

    def weights(self, train: Moments, trainings: Matrix) -> list[Matrix]:
        """Return the weights of every set of models for every training set of data RDMs."""
        return fitted(train, trainings, self.chosen, self.nonnegative, shared=len(self.given.stacks) == 1)


def bootstrap_r2(
    problem: Regression, draws: tuple[Int64, Int64], keys: tuple[Float64, Float64], factors: Sequence[str]
) -> dict[str, Float64]:
    """Return R^2, means over the data RDMs drawn, in bootstrap samples.

    Parameters
    ----------
    problem : Regression
    draws : tuple of ndarray of int, shapes (n_samples, k) and (n_samples, n_rdms)
        Counts of stimuli and of data RDMs.
    keys : tuple of ndarray, shapes (n_samples, n_assignments, k) and (n_samples, n_assignments, n_rdms)
        Random numbers whose order assigns what was drawn to folds; copies of one stay in one fold.
    factors : sequence of {"stimuli_and_subjects", "stimuli", "subjects"}

    Returns
    -------
    dict of str to ndarray, shape (n_samples, n_assignments, n_subsets)
        NaN where a draw has fewer than 3 distinct stimuli (in a fold, or training set), a fold has no data RDM, or one
        is constant.
    """
    count, each, s = keys[1].shape
    each = each if problem.n_folds else 1
    out = {factor: np.full((count, each, len(problem.chosen)), np.nan) for factor in factors}
    everyone, everything = np.ones(s, dtype=np.int64), np.ones(problem.given.k, dtype=np.int64)
    for i, (c, b) in enumerate(zip(*draws, strict=True)):
        for counts, group in ((c, CROSSED), (everything, ("subjects",))):
            asked = [factor for factor in group if factor in factors]
            whos = [everyone if factor == "stimuli" else b for factor in asked]
            for a in range(each if asked else 0):
                found = _evaluate(problem, counts, whos, (keys[0][i, a], keys[1][i, a]))
                for factor, who, r2 in zip(asked, whos, found, strict=True):
                    out[factor][i, a] = r2[:, who > 0] @ who[who > 0] / who.sum()
    return out


def _evaluate(problem: Regression, counts: Int64, whos: Sequence[Int64], keys: tuple[Float64, Float64]) -> list[Matrix]:
    """Return R^2 (n_subsets, n_rdms) for several draws of data RDMs, on one draw of stimuli."""
    s = problem.given.n_rdms
    if problem.n_folds is None:
        found = problem.given.at(counts)
        own = explained(problem.weights(found, np.eye(s)), found, np.arange(s), problem.chosen)
        return [own] * len(whos)
    n_stimuli, n_rdms = problem.n_folds
    fold = assign(keys[0], counts, n_stimuli)
    sums = [np.zeros((len(problem.chosen), s)) for _ in whos]
    if np.bincount(fold[fold >= 0], minlength=n_stimuli).min() < MIN_TEST:
        return [total * np.nan for total in sums]
    groups = [assign(keys[1], who, n_rdms) for who in whos]
    trainings = [
        np.where(g == h, 0, who) if n_rdms > 1 else who
        for who, g in zip(whos, groups, strict=True)
        for h in range(n_rdms)
    ]
    for f in range(n_stimuli):
        weights = problem.weights(
            problem.given.at(np.where(fold == f, 0, counts)), np.array(trainings, dtype=np.float64)
        )
        test = problem.given.at(np.where(fold == f, counts, 0))
        for n, (total, group) in enumerate(zip(sums, groups, strict=True)):
            which = np.where(group >= 0, group + n * n_rdms, -1)
            total += explained(weights, test, which, problem.chosen)
    return [
        total / n_stimuli if np.unique(g[g >= 0]).size == n_rdms else total * np.nan
        for total, g in zip(sums, groups, strict=True)
    ]
