"""Scores of models whose stimuli are permuted: what chance gives when the stimuli of model and data do not correspond.

Rows and columns of a model RDM move together.  Single entries of an RDM are not exchangeable (they share stimuli), so
they are never permuted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import condense, expand
from repcompare.measures.rsa._resampled import (
    RANKED,
    TAUS,
    Float64,
    Ordered,
    Sample,
    Stack,
    ordered,
    resample,
    tau,
    tie_free,
)


def permuted_scores(stack: Stack, n_models: int, orders: npt.ArrayLike) -> Float64:
    """Return mean scores over subjects of the models after permuting their stimuli.

    Parameters
    ----------
    stack : Stack
        The models, then the subjects.
    n_models : int
    orders : array_like of int, shape (n_permutations, k)
        Orders of the stimuli, the same for all models.

    Returns
    -------
    ndarray, shape (n_permutations, n_models)

    Raises
    ------
    MeasureError
        When pairs are missing.
    """
    if not stack.present.all():
        raise MeasureError(
            f"{int((~stack.present).sum())} pairs are missing; permuted stimuli need complete RDMs; "
            "leave out the stimuli concerned (stimuli='intersection' of complete sets)"
        )
    full = resample(stack, np.ones(stack.k))
    assert full is not None
    place = expand(np.arange(float(stack.present.size))).astype(np.intp)  # of the pair (i, j) in a condensed RDM
    i, j = np.triu_indices(stack.k, 1)
    rows = [place[order[i], order[j]] for order in np.asarray(orders)]
    if stack.method in TAUS:
        return _taus(full, n_models, rows)
    models, target = _unit_rows(full, n_models)
    out = np.array([target @ models[pairs] for pairs in rows]).reshape(len(rows), n_models)
    if stack.method.startswith("whitened") and np.ptp(stack.variances) > 0:
        out *= _norm_ratios(stack, n_models, rows)
    return out


def _unit_rows(full: Sample, n_models: int) -> tuple[Float64, Float64]:
    """Return models (n_pairs, n_models) and a mean subject (n_pairs,) whose products are mean scores."""
    stack = full.stack
    size = np.sqrt(np.diagonal(full.gram))
    if stack.method in RANKED:
        values = full.ranks.T if stack.method == "spearman" else full.ranks.T * np.sqrt(tie_free(full.size))
        size = size if stack.method == "spearman" else np.ones(size.size)
    else:
        values = stack.values
    unit = values / size
    data = unit[:, n_models:].mean(axis=1)
    if stack.method.startswith("whitened"):
        data = _whitened(data, stack.variances)
    return np.ascontiguousarray(unit[:, :n_models]), data


def _whitened(vector: Float64, s: Float64) -> Float64:
    """Return ``V^-1 d`` of a complete RDM (n_pairs,) for stimulus variances ``s`` (k,)."""
    square = expand(vector)
    system = np.diag(s**2 * np.sum(1 / s)) + s  # a_i = s_i^2 sum_j 1/s_j where every stimulus is there once
    pull = s**2 * np.linalg.solve(system, square @ (1 / s))
    return condense((square - pull[:, None] - pull) / (2 * np.outer(s, s)))


def _norm_ratios(stack: Stack, n_models: int, rows: list[npt.NDArray[np.intp]]) -> Float64:
    """Return by how much permuting changes the whitened norm of each model, (n_permutations, n_models)."""
    models = replace(stack, values=np.ascontiguousarray(stack.values[:, :n_models]))
    ones = np.ones(stack.k)

    def norms(values: Float64) -> Float64:
        drawn = resample(replace(models, values=values), ones)
        assert drawn is not None
        return np.sqrt(np.diagonal(drawn.gram))

    own = norms(models.values)
    return np.array([own / norms(models.values[pairs]) for pairs in rows])


def _taus(full: Sample, n_models: int, rows: list[npt.NDArray[np.intp]]) -> Float64:
    out = np.empty((len(rows), n_models))
    subjects = full.orders[n_models:]
    for p, pairs in enumerate(rows):
        for m in range(n_models):
            moved: Ordered = ordered(full.ranks[m, pairs], full.weights)
            out[p, m] = np.mean([tau(moved, own, full.weights, full.stack.method) for own in subjects])
    return out
