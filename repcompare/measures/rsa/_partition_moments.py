"""Inner products of model RDMs and data RDMs on a draw of stimuli, and the R^2 of sets of models from them.

A draw is a vector of counts: 0 and 1 for a set of stimuli, more for a bootstrap sample, in which pairs of copies of one
stimulus do not exist.  No RDM is copied; see :mod:`repcompare.measures.rsa._resampled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._least_squares import solve_normal
from repcompare.measures.rsa._methods import MIN_PAIRS
from repcompare.measures.rsa._resampled import Stack, resample, stack_rdms
from repcompare.measures.rsa._subsets import Rows

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Inner products on one draw of stimuli.

    Attributes
    ----------
    gram : ndarray, shape (n_rdms, n_components, n_components)
        Of the centred model RDMs on the pairs that a data RDM has, over their number; 0 for a constant model RDM.
    cross : ndarray, shape (n_components, n_rdms)
        With the standardised data RDM, over the number of pairs; NaN where it is constant, or has fewer than 3 pairs.
    size : ndarray, shape (n_rdms,)
        Number of pairs.
    """

    gram: Matrix
    cross: Matrix
    size: Vector


@dataclass(frozen=True)
class Pieces:
    """Model and data RDMs ready for any draw.

    Attributes
    ----------
    stacks : tuple of (rows, Stack)
        Data RDMs that have the same pairs, and the stack of all model RDMs and of these.
    n_components, n_rdms, k : int
        Numbers of model RDMs, of data RDMs, of stimuli.
    ranked : bool
        Ranks are compared.
    """

    stacks: tuple[tuple[Rows, Stack], ...]
    n_components: int
    n_rdms: int
    k: int
    ranked: bool

    def at(self, counts: npt.ArrayLike) -> Moments:
        """Return the inner products on one draw of stimuli, counts (k,)."""
        m = self.n_components
        gram, size = np.zeros((self.n_rdms, m, m)), np.zeros(self.n_rdms)
        cross = np.full((m, self.n_rdms), np.nan)
        for rows, stack in self.stacks:
            sample = resample(stack, counts)
            if sample is None:
                continue
            n = sample.size
            unit = np.full(len(stack.scale), 1 / (2 * n)) if self.ranked else stack.scale
            found = sample.gram * unit
            found *= unit[:, None] / n
            inside, outside = found[:m, :m], found[:m, m:] / np.sqrt(np.diagonal(found)[m:])
            flat = np.isnan(np.diagonal(inside))  # explains nothing here
            inside[flat], inside[:, flat] = 0.0, 0.0
            outside[np.ix_(flat, ~np.isnan(np.diagonal(found)[m:]))] = 0.0
            gram[rows], cross[:, rows], size[rows] = inside, outside, n
        return Moments(gram, cross, size)

    def n_pairs(self) -> Rows:
        """Return the number of pairs (n_rdms,) that each data RDM shares with all models."""
        out = np.empty(self.n_rdms, dtype=np.intp)
        for rows, stack in self.stacks:
            out[rows] = stack.present.sum()
        return out


def pieces(models: Matrix, data: Matrix, ranked: bool) -> Pieces:
    """Return RDMs ready for any draw.

    Parameters
    ----------
    models : ndarray, shape (n_components, n_pairs)
        NaN where missing: the pairs that all models have are used.
    data : ndarray, shape (n_rdms, n_pairs)
        NaN where missing: each on its own pairs.
    ranked : bool
    """
    present = np.isfinite(data) & np.isfinite(models).all(axis=0)
    counts = present.sum(axis=1)
    if counts.min() < MIN_PAIRS:
        raise MeasureError(
            f"data RDM {int(np.argmin(counts))} shares {int(counts.min())} pairs with all models; expected at least"
            f" {MIN_PAIRS}; leave it out, or the models with missing pairs"
        )
    masks, which = np.unique(present, axis=0, return_inverse=True)
    groups = [np.flatnonzero(which.reshape(-1) == g) for g in range(len(masks))]
    method = "spearman" if ranked else "pearson"
    stacks = tuple(
        (rows, stack_rdms(np.where(mask, np.concatenate([models, data[rows]]), np.nan), method))
        for mask, rows in zip(masks, groups, strict=True)
    )
    return Pieces(stacks, len(models), len(data), count_stimuli(data.shape[1]), ranked)


def fitted(
    train: Moments, trainings: Matrix, chosen: Sequence[Rows], nonnegative: bool, *, shared: bool
) -> list[Matrix]:
    """Return the weights of every set of models.

    Parameters
    ----------
    train : Moments
    trainings : ndarray, shape (n_fits, n_rdms)
        How often each data RDM counts in a fit: the normal equations of the standardised RDMs are summed.
    chosen : sequence of ndarray of int
        Model RDMs of each set.
    nonnegative : bool
    shared : bool
        All data RDMs have the same pairs: one Gram matrix serves all fits.

    Returns
    -------
    list of ndarray, shape (n_chosen, n_fits)
        NaN where an RDM that counts is constant, or has too few pairs.
    """
    share = trainings * train.size
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1.0)
    undefined = np.isnan(train.cross).any(axis=0)
    targets = np.where(undefined, 0.0, train.cross) @ share.T
    targets[:, (trainings[:, undefined] > 0).any(axis=1)] = np.nan
    grams = [train.gram[0]] if shared else list(np.einsum("ts,smn->tmn", share, train.gram))
    out = []
    for columns in chosen:
        square = np.ix_(columns, columns)
        parts = [targets[columns]] if shared else [targets[columns][:, [t]] for t in range(len(grams))]
        found = [_solve(gram[square], part, nonnegative) for gram, part in zip(grams, parts, strict=True)]
        out.append(np.concatenate(found, axis=1))
    return out


def _solve(gram: Matrix, targets: Matrix, nonnegative: bool) -> Matrix:
    lost = np.isnan(targets).any(axis=0)
    given = np.where(lost, 0.0, targets)
    if nonnegative:
        found = np.stack([solve_normal(gram, target, nonnegative=True) for target in given.T], axis=1)
    else:
        found = solve_normal(gram, given)
    return np.where(lost, np.nan, found)


def explained(weights: Sequence[Matrix], test: Moments, which: Rows, chosen: Sequence[Rows]) -> Matrix:
    """Return R^2 (n_subsets, n_rdms) of every data RDM by the fit of its number; NaN where its number is -1."""
    out = np.full((len(chosen), which.size), np.nan)
    rows = np.flatnonzero(which >= 0)
    for line, columns, found in zip(out, chosen, weights, strict=True):
        theta = found[:, which[rows]]
        gram = test.gram[np.ix_(rows, columns, columns)]
        inside = np.einsum("ms,smn,ns->s", theta, gram, theta)
        line[rows] = 2 * np.einsum("ms,ms->s", theta, test.cross[np.ix_(columns, rows)]) - inside
    return out
