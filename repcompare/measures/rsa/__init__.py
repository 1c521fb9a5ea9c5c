"""Representational similarity analysis: two systems are alike where they set the same stimuli apart.

References
----------
Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4.
"""

from __future__ import annotations

import functools  # `partial` is a module of this package
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Array, Index, Measure, Outcome
from repcompare.measures.rsa._condensed import count_stimuli, take
from repcompare.measures.rsa._halves import pattern_sizes, shared
from repcompare.measures.rsa._methods import METHODS, Comparator, comparator
from repcompare.measures.rsa.comparators import (
    Embedded,
    Scored,
    compare_rdms,
    embed,
    score,
    score_many,
    share_tied,
    shared_pairs,
)
from repcompare.measures.rsa.distances import DISTANCES, EVERY_DISTANCE, Settings, rdm, rdm_of_repeats

__all__ = ["DISTANCES", "EVERY_DISTANCE", "METHODS", "compare_rdms", "rdm", "rsa", "shared_pairs"]

FAVOUR_TIES = ("spearman", "kendall_tau_b")
MANY_TIES = 0.1
MANY_NEGATIVE = 0.05  # share of the eigenvalues by size from which a geometry is not Euclidean to speak of
USUAL = {
    "distance": "correlation",
    "method": "rho_a",
    "nan_min_units": 10,
    "stimulus_covariance": None,
    "control": None,
    "noise": None,
    "semipartial": False,
    "centring": "arithmetic",
    "ridge": True,
}


def rsa(
    distance: str = "correlation",
    method: str = "rho_a",
    *,
    nan_min_units: int = 10,
    stimulus_covariance: npt.ArrayLike | None = None,
    control: npt.ArrayLike | None = None,
    noise: Any = None,
    **options: Any,
) -> Measure:
    """Return the measure that correlates the RDMs of two systems.

    Parameters
    ----------
    distance : str
        ``"correlation"``, ``"cosine"``, ``"squared_euclidean"``, ``"euclidean"``, ``"mahalanobis"``, ``"poisson"``; or, of
        single repeats, each of them a partition, ``"crossnobis"``, ``"poisson_cv"``.
    method : str
        A name of :data:`METHODS`: ``"rho_a"``, ``"spearman"``, ``"pearson"``, ``"kendall_tau_a"``, ``"kendall_tau_b"``,
        ``"cosine"``, ``"whitened_cosine"``, ``"whitened_pearson"``, ``"bures"``, ``"riemannian"``.
    nan_min_units : int
        Where values are missing, a pair of stimuli that shares fewer finite units is left out of the
        comparison, and counted in ``pairs_missing``.
    stimulus_covariance : array_like, shape (K,) or (K, K), optional
        Noise variances or covariance of the stimuli, in their order, for the whitened methods and ``riemannian``.
    control : array_like, shape (n_pairs,) or (n_controls, n_pairs), optional
        RDMs of the same stimuli that are regressed out of both sides: partial RSA.
    noise : None, precision of shape (n_units, n_units), Noise or str
        For ``"mahalanobis"`` and ``"crossnobis"``; a name (``"shrinkage_diag"`` ...) estimates it from the repeats of each
        side.
    **options
        ``semipartial=True`` (out of the target only), ``centring="whitened"`` (``whitened_pearson``), ``ridge=False``
        (``riemannian``): see :func:`compare_rdms`.

    Returns
    -------
    Measure
        Similarity in [-1, 1] ([0, 1] for ``"cosine"`` and ``"bures"``, (-inf, 0] for ``"riemannian"``, whose source is
        the model); a system without tied distances scores 1 with itself (``"riemannian"``: 0).

    Raises
    ------
    OptionError
        On an option that is not on the menu, or that the method does not have.

    Notes
    -----
    ``rsa("squared_euclidean", "whitened_cosine")`` and biased linear CKA are one number, as are
    ``rsa("squared_euclidean", "bures")`` and the cosine of the Procrustes angle.

    Examples
    --------
    >>> measure = rsa("squared_euclidean", "pearson")
    >>> x = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    >>> round(measure.compare(measure.prepared(x), measure.prepared(3 * x + 1)), 12)
    1.0
    """
    choose(distance, EVERY_DISTANCE, "distance")
    settings = Settings(distance=distance, noise=noise, nan="pairwise", min_units=max(nan_min_units, 1))
    if isinstance(noise, str) and not settings.kind.cross_validated:
        raise OptionError(f"noise={noise!r} is estimated from repeats; give a precision, or take distance='crossnobis'")
    how = comparator(method, stimulus_covariance=stimulus_covariance, control=control, **options)
    if nan_min_units < 1:
        raise OptionError(f"nan_min_units={nan_min_units}; expected at least 1 shared unit")
    if distance == "euclidean" and how.kind.family in ("bures", "riemannian"):
        raise OptionError(f"method={method!r} needs squared distances; take distance='squared_euclidean'")
    given = {"distance": distance, "method": method, "nan_min_units": nan_min_units} | options
    given |= {"stimulus_covariance": _recorded(stimulus_covariance), "control": _recorded(control)}
    given["noise"] = (
        noise if noise is None or isinstance(noise, str) else _recorded(getattr(noise, "precision", lambda: noise)())
    )
    crossed, halves = settings.kind.cross_validated, settings.kind.form == "patterns" and control is None
    kind, ridged = how.kind, how.kind.family == "riemannian" and how.ridge
    return Measure(
        name="rsa",
        options={name: v for name, v in given.items() if isinstance(v, np.ndarray) or v != USUAL[name]},
        prepare=functools.partial(_prepare, settings=settings, how=how),
        compare=_compare,
        compare_many=_compare_many,
        restrict=None if isinstance(noise, str) else _restrict,  # an estimated noise is that of all stimuli
        needs="repeats" if crossed else "mean",
        kind="similarity",
        score_range=kind.score_range if control is not None or crossed else kind.non_negative_range,
        identical=np.nan if how.semipartial else kind.identical,
        symmetric=not (ridged or how.semipartial),
        invariant_to=settings.invariant_to,
        accepts_nan=kind.family != "riemannian"
        and distance != "poisson_cv"
        and not isinstance(noise, str),  # distances over different units are hardly ever positive definite
        ceiling="halves" if kind.family in ("dot", "tau") and halves else None,
        shared=functools.partial(shared, root=distance == "euclidean")
        if kind.family in ("dot", "tau") and halves
        else None,
        min_stimuli=3,
        reference="kriegeskorte2008",
        revision=2,
    )


def _prepare(values: Array, *, settings: Settings, how: Comparator) -> Embedded:
    """Return the state of responses (n_stimuli, n_units), or of repeats (n_repeats, n_stimuli, n_units)."""
    distance = settings.distance
    found = rdm_of_repeats(values, settings)
    sizes = pattern_sizes(values, distance == "correlation") if distance in ("correlation", "cosine") else None
    return embed(found, how, sizes=sizes)


def _compare(source: Embedded, target: Embedded) -> float | Outcome:
    found = score(source, target)
    notes = _notes(source, target, found)
    counts = {}
    if found.n_pairs < source.rdm.size:
        counts = {"pairs_used": found.n_pairs, "pairs_missing": source.rdm.size - found.n_pairs}
    if counts or notes or found.details:
        return Outcome(score=found.value, counts=counts, notes=notes, details=found.details)
    return found.value


def _notes(source: Embedded, target: Embedded, found: Scored) -> tuple[str, ...]:
    """Say where ties or negative eigenvalues matter."""
    tied = ties_note(source.how.method, (source.rdm, target.rdm))
    if tied:
        return (tied,)
    negative = max(found.details.get("negative_a", 0.0), found.details.get("negative_b", 0.0))
    if negative > MANY_NEGATIVE:
        return (f"not_euclidean: {negative:.0%} of the eigenvalues of one RDM, by size, are negative and set to 0",)
    return ()


def ties_note(method: str, rdms: Iterable[npt.NDArray[np.float64]]) -> str:
    """Say that a method prefers models with ties, where a share of an RDM's distances has them; else ""."""
    if method not in FAVOUR_TIES:
        return ""
    share = max(share_tied(rdm) for rdm in rdms)
    if share <= MANY_TIES:
        return ""
    return f"ties: {share:.0%} of one RDM's distances are tied; {method} favours ties, 'rho_a' does not"


def _compare_many(sources: Sequence[Embedded], targets: Sequence[Embedded]) -> npt.NDArray[np.float64]:
    return score_many(sources, targets)


def _restrict(state: Embedded, rows: Index) -> Embedded:
    """Return the state of some stimuli, or of all in another order; pairs of one stimulus are missing."""
    rows = np.arange(count_stimuli(state.rdm.size))[np.asarray(rows)]
    kept, how = take(state.rdm, rows), state.how.take(rows)
    sizes = None if state.sizes is None else state.sizes[rows]
    plain = how.kind.family == "dot" and not how.kind.whitened and state.left is not None
    if plain and kept.size == state.rdm.size and np.unique(rows).size == rows.size:
        left = take(state.left, rows)  # the same distances: neither their ranks nor their norm change
        return Embedded(kept, how, left, left if state.right is state.left else take(state.right, rows), sizes)
    return embed(kept, how, sizes=sizes)


def _recorded(given: npt.ArrayLike | None) -> Array | None:
    """Return an array option as an array, for the record."""
    return None if given is None else np.asarray(given, dtype=np.float64)
