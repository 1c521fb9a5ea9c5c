"""Representational similarity analysis: two systems are alike where they set the same stimuli apart.

References
----------
Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Array, Index, Measure, Outcome
from repcompare.measures.rsa._condensed import count_stimuli, take
from repcompare.measures.rsa.comparators import (
    METHODS,
    Embedded,
    compare_rdms,
    embed,
    score,
    score_many,
    share_tied,
    shared_pairs,
)
from repcompare.measures.rsa.distances import DISTANCES, rdm

__all__ = ["DISTANCES", "METHODS", "compare_rdms", "rdm", "rsa", "shared_pairs"]

MANY_TIES = 0.1


def rsa(distance: str = "correlation", method: str = "rho_a", *, nan_min_units: int = 10) -> Measure:
    """Return the measure that correlates the RDMs of two systems.

    Parameters
    ----------
    distance : str
        A name of :data:`DISTANCES`: ``"correlation"``, ``"cosine"``, ``"squared_euclidean"``,
        ``"euclidean"``.
    method : str
        A name of :data:`METHODS`: ``"rho_a"``, ``"spearman"``, ``"pearson"``, ``"cosine"``,
        ``"whitened_cosine"``, ``"whitened_pearson"``.
    nan_min_units : int
        Where values are missing, a pair of stimuli that shares fewer finite units is left out of the
        comparison, and counted in ``pairs_missing``.

    Returns
    -------
    Measure
        Similarity in [-1, 1] ([0, 1] for ``method="cosine"``); a system without tied distances scores 1 with
        itself.

    Raises
    ------
    OptionError
        On an option that is not on the menu.

    Notes
    -----
    ``rsa("squared_euclidean", "whitened_cosine")`` and biased linear CKA are one number.

    Examples
    --------
    >>> measure = rsa("squared_euclidean", "pearson")
    >>> x = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    >>> round(measure.compare(measure.prepared(x), measure.prepared(3 * x + 1)), 12)
    1.0
    """
    choose(distance, DISTANCES, "distance")
    choose(method, METHODS, "method")
    if nan_min_units < 1:
        raise OptionError(f"nan_min_units={nan_min_units}; expected at least 1 shared unit")
    given = {"distance": distance, "method": method, "nan_min_units": nan_min_units}
    usual = {"distance": "correlation", "method": "rho_a", "nan_min_units": 10}
    return Measure(
        name="rsa",
        options={name: value for name, value in given.items() if value != usual[name]},
        prepare=partial(_prepare, distance=distance, method=method, min_units=nan_min_units),
        compare=partial(_compare, method=method),
        compare_many=partial(_compare_many, method=method),
        restrict=partial(_restrict, method=method),
        kind="similarity",
        score_range=METHODS[method].non_negative_range,
        identical=1.0,
        invariant_to=DISTANCES[distance].invariant_to,
        accepts_nan=True,
        ceiling="halves",
        min_stimuli=3,
        reference="kriegeskorte2008",
    )


def _prepare(values: Array, *, distance: str, method: str, min_units: int) -> Embedded:
    """Return the state of responses (n_stimuli, n_units)."""
    return embed(rdm(values, distance, nan="pairwise", min_units=min_units), method)


def _compare(source: Embedded, target: Embedded, *, method: str) -> float | Outcome:
    value, used = score(source, target, method)
    notes: tuple[str, ...] = ()
    if method == "spearman":
        tied = max(share_tied(source.rdm), share_tied(target.rdm))
        if tied > MANY_TIES:
            notes = (f"ties: {tied:.0%} of one RDM's distances are tied; spearman favours ties, 'rho_a' does not",)
    if used == source.rdm.size:
        return Outcome(score=value, notes=notes) if notes else value
    counts = {"pairs_used": used, "pairs_missing": source.rdm.size - used}
    return Outcome(score=value, counts=counts, notes=notes)


def _compare_many(sources: Sequence[Embedded], targets: Sequence[Embedded], *, method: str) -> npt.NDArray[np.float64]:
    return score_many(sources, targets, method)


def _restrict(state: Embedded, rows: Index, *, method: str) -> Embedded:
    """Return the state of some stimuli, or of all in another order; pairs of one stimulus are missing."""
    rows = np.arange(count_stimuli(state.rdm.size))[np.asarray(rows)]
    kept = take(state.rdm, rows)
    reordered = kept.size == state.rdm.size and not METHODS[method].whitened
    if reordered and state.unit is not None and np.unique(rows).size == rows.size:
        return Embedded(kept, take(state.unit, rows))  # the same distances: neither their ranks nor their norm change
    return embed(kept, method)
