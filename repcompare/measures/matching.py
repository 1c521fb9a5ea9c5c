"""Axis-aligned measures: how well single units of one system match single units of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._coupling import DIGITS, Form
from repcompare.measures._linalg import Float64, bounded_cosine, centre64, fold_parts, require_variance
from repcompare.measures._measure import Array, Folds, Measure, Outcome, as_outcome
from repcompare.measures._nuclear import same_rows
from repcompare.measures._transport import Coupling, assign, transport
from repcompare.measures._units import State, Units, haar, restrict, standardised, standardised_parts

LINEAR = frozenset({"translation", "scaling", "unit_scaling", "permutation"})


Matcher = Callable[[Float64], Coupling]


def soft_match(cost: Literal["correlation", "euclidean"] = "correlation", *, held_out: bool = False) -> Measure:
    """Soft matching: the best transport plan between the units of two systems, each unit with equal mass.

    Parameters
    ----------
    cost : {"correlation", "euclidean"}
        ``correlation``: max_T sum T_ij r_ij, in [-1, 1].  ``euclidean``: sqrt(min_T sum T_ij |x_i - y_j|^2) of centred
        units, in response units.
    held_out : bool
        Plan from training stimuli, correlation (or distance) on test stimuli, mean over folds.

    Returns
    -------
    Measure
        Symmetric; duplicating all units changes nothing.  The Euclidean form is a metric in sample.  Units that do not
        vary are dropped and counted by the correlation form, kept by the other.  The plan is in ``details``:
        ``plan_source``, ``plan_target`` (places of units) and ``plan_mass``.

    Raises
    ------
    MeasureError
        When no unit varies.
    MissingExtraError
        When the sizes ask for the extra ``transport`` (POT): neither divides the other, and p q > 1e6.

    References
    ----------
    Khosla & Williams 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> measure = soft_match()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(np.hstack([x, x]))).score, 6)
    1.0
    """
    choose(cost, ("correlation", "euclidean"), "cost")
    options = {"cost": cost, "held_out": held_out}
    if cost == "correlation":
        return _correlated("soft_match", options, transport, LINEAR | {"duplication"})
    return Measure(
        name="soft_match",
        options=options,
        prepare=_centred_parts if held_out else _centred,
        compare=_euclidean,
        restrict=None if held_out else lambda state, rows: _centred(state[0].train[rows]),
        kind="distance",
        is_metric=not held_out,
        score_range=(0.0, np.inf),
        identical=0.0,
        invariant_to=frozenset({"translation", "permutation", "duplication"}),
        fitted=held_out,
        unit="response",
        reference="khosla2024",
        state_bytes=_state_bytes,
    )


def one_to_one(*, held_out: bool = False) -> Measure:
    """One-to-one matching: mean correlation over the best pairing of min(p, q) units.

    Parameters
    ----------
    held_out : bool
        Pair off on training stimuli, correlate on test stimuli, mean over folds.

    Returns
    -------
    Measure
        Similarity in [-1, 1]; symmetric.  Units that do not vary are dropped and counted; the pairs are in ``details``.

    Raises
    ------
    MeasureError
        When no unit varies.

    References
    ----------
    Li et al. 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> measure = one_to_one()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(-x[:, [2, 0, 1]] * -5)).score, 6)
    1.0
    """
    return _correlated("one_to_one", {"held_out": held_out}, assign, LINEAR)


def semi_match(*, symmetric: bool = False, held_out: bool = False) -> Measure:
    """Semi-matching: for each unit of the target, the correlation of the best unit of the source.

    Parameters
    ----------
    symmetric : bool
        Average with the other direction.
    held_out : bool
        Choose on training stimuli, correlate on test stimuli, mean over folds.  In sample the best of many units is
        biased upward: .38 for 200 unrelated candidates and 50 stimuli.

    Returns
    -------
    Measure
        Similarity in [-1, 1]; symmetric only when asked.  Units that do not vary are dropped and counted; the choices of
        the target's units are in ``details``.

    Raises
    ------
    MeasureError
        When no unit varies.

    References
    ----------
    Li et al. 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> measure = semi_match()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[:, :2])).score, 6)
    1.0
    """
    options = {"symmetric": symmetric, "held_out": held_out}
    return _correlated("semi_match", options, _both_ways if symmetric else _best_source, LINEAR | {"duplication"})


def permutation(
    *,
    score: Literal["angular", "euclidean", "similarity"] = "angular",
    scale: bool = True,
    centre: bool = True,
    held_out: bool = False,
) -> Measure:
    """Procrustes distance over one-to-one matchings: ``shape_distance(group="permutation")``.

    Parameters
    ----------
    score : {"angular", "euclidean", "similarity"}
        arccos of the cosine in rad, in [0, pi]; sqrt(2 - 2 cos), in [0, 2]; the cosine, in [-1, 1].
    scale : bool
        Divide by the Frobenius norm; without it the Euclidean distance is in response units.
    centre : bool
        Subtract the mean of each unit.
    held_out : bool
        Match on training stimuli, take the score on test stimuli.

    Returns
    -------
    Measure
        Symmetric; a metric in sample.  The narrower side is padded with silent units, counted in ``units_padded``.

    Raises
    ------
    OptionError
        ``scale=False`` with a score other than ``"euclidean"``; ``centre=False`` held out.

    References
    ----------
    Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> measure = permutation()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[:, ::-1])).score, 6)
    0.0
    """
    choose(score, ("angular", "euclidean", "similarity"), "score")
    if not scale and score != "euclidean":
        raise OptionError(f"scale=False goes with score='euclidean' only; score={score!r} is scale-free by definition")
    if held_out and not centre:
        raise OptionError("centre=False goes with held_out=False only: test stimuli are centred with training means")
    options: dict[str, Any] = {"score": score, "held_out": held_out}
    options |= ({} if scale else {"scale": False}) | ({} if centre else {"centre": False})
    return Form(False, score, held_out, scale, centre, options).measure("permutation")


def _correlated(name: str, options: dict[str, Any], match: Matcher, invariant: frozenset[str]) -> Measure:
    """Return a measure that couples units by their correlations."""
    held_out = options["held_out"]

    def compare(x: State, y: State) -> Outcome:
        folds = [_fold(a, b, match, name) for a, b in zip(x, y, strict=True)]
        scores = np.array([score for score, _, _ in folds])
        counts = {
            "source_units_constant": max(a.dropped for a in x),
            "target_units_constant": max(b.dropped for b in y),
            "links_untested": sum(untested for _, _, untested in folds),
        }
        return Outcome(
            score=float(scores.mean()),
            fold_scores=scores if held_out else None,
            details={} if held_out else folds[0][1].details(x[0].places, y[0].places),
            counts={key: count for key, count in counts.items() if count},
        )

    return Measure(
        name=name,
        options=options,
        prepare=standardised_parts if held_out else standardised,
        compare=compare,
        restrict=None if held_out else restrict,
        kind="similarity",
        symmetric=match is not _best_source,
        score_range=(-1.0, 1.0),
        identical=1.0,
        invariant_to=invariant,
        fitted=held_out,
        reference="khosla2024" if name == "soft_match" else "li2016",
        state_bytes=_state_bytes,
    )


def _fold(x: Units, y: Units, match: Matcher, name: str) -> tuple[float, Coupling, int]:
    """Score of one fold, the coupling of its training rows, and how many links the test rows leave undefined."""
    same_rows(x.train, y.train, name)
    weights = x.train.T @ y.train
    plan = match(weights)
    if x.test is x.train:
        return bounded_cosine(plan.total(weights) / float(plan.mass.sum()), name), plan, 0
    alive = (x.test != 0).any(axis=0)[plan.rows] & (y.test != 0).any(axis=0)[plan.columns]
    if not alive.any():
        raise MeasureError(f"{name}: no matched units vary over the {len(x.test)} test stimuli; use fewer folds")
    rows, columns, mass = plan.rows[alive], plan.columns[alive], plan.mass[alive]
    r = np.einsum("ij,ij->j", x.test[:, rows], y.test[:, columns])
    return bounded_cosine(float(mass @ r) / float(mass.sum()), name), plan, int((~alive).sum())


def _best_source(weights: Float64) -> Coupling:
    q = weights.shape[1]
    return Coupling(weights.argmax(axis=0), np.arange(q), np.full(q, 1 / q))


def _both_ways(weights: Float64) -> Coupling:
    forth, back = _best_source(weights), _best_source(weights.T)
    return Coupling(
        np.concatenate([forth.rows, back.columns]),
        np.concatenate([forth.columns, back.rows]),
        np.concatenate([forth.mass, back.mass]) / 2,
    )


def _centred(values: Array) -> State:
    return (_whole(centre64(values)),)


def _centred_parts(values: Array, folds: Folds) -> State:
    return tuple(_whole(train, test) for train, test in fold_parts(values, folds))


def _whole(train: Float64, test: Float64 | None = None) -> Units:
    require_variance(float(np.linalg.norm(train)), "soft_match")
    return Units(train, train if test is None else test, np.arange(train.shape[1]), 0)


def _euclidean(x: State, y: State) -> Outcome:
    plans, scores = [], []
    for a, b in zip(x, y, strict=True):
        same_rows(a.train, b.train, "soft_match")
        squares = [np.einsum("ij,ij->j", units, units) for units in (a.train, b.train)]
        nearness = 2 * (a.train.T @ b.train) - np.add.outer(*squares)
        plans.append(transport(nearness))
        squared = -plans[-1].total(nearness)
        exact = a.test is a.train and squared > DIGITS * sum(float(s.mean()) for s in squares)
        scores.append(float(np.sqrt(squared if exact else plans[-1].chord(a.test, b.test))))
    in_sample = x[0].test is x[0].train
    return Outcome(
        score=float(np.mean(scores)),
        fold_scores=None if in_sample else np.array(scores),
        details=plans[0].details() if in_sample else {},
    )


def _state_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    return 8 * n * p * folds


@dataclass(frozen=True)
class AxisAlignment:
    """How much a score depends on the axes.

    Attributes
    ----------
    score : float
        ``observed`` minus the mean of ``rotated``: 0 for systems that share no axes.
    observed : float
        Score of the two systems as they are.
    sd : float
        Standard deviation of ``rotated``.
    pvalue : float
        Share of rotations, the observed axes counted among them, that score at least as well.
    rotated : ndarray, shape (n_rotations,)
        Scores with the units of the second system rotated at random.
    """

    score: float
    observed: float
    sd: float
    pvalue: float
    rotated: Float64


def axis_alignment(
    x: Array,
    y: Array,
    *,
    measure: Measure | None = None,
    n_rotations: int = 20,
    seed: int = 0,
) -> AxisAlignment:
    """Score of two systems minus its mean when the units of the second are rotated at random.

    Parameters
    ----------
    x, y : ndarray, shape (n_stimuli, n_units)
        Responses to the same stimuli.
    measure : Measure, optional
        Any measure that needs no folds; soft-matching correlation by default.  For distances the sign is turned, so
        that a positive index always means shared axes.
    n_rotations : int
        Number of orthogonal matrices, drawn from the Haar measure.
    seed : int
        Of the rotations.

    Returns
    -------
    AxisAlignment
        About .60 for a shared sparse code, 0 for a rotation-symmetric one.

    Raises
    ------
    OptionError
        For a measure that needs folds or repeats, or fewer than 2 rotations.
    MeasureError
        When no unit varies, or the numbers of stimuli differ.

    References
    ----------
    Khosla & Williams 2024; Khosla et al. 2024 (privileged axes).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.maximum(np.random.default_rng(0).normal(size=(100, 10)) - 1, 0)
    >>> axis_alignment(x, x).score > 0.4
    True
    """
    measure = measure or soft_match()
    if measure.fitted or measure.needs != "mean":
        raise OptionError(f"axis_alignment needs a measure of trial means without folds; found {measure.label}")
    if n_rotations < 2:
        raise OptionError(f"n_rotations={n_rotations}; expected at least 2")
    rng = np.random.default_rng(seed)
    sign = -1.0 if measure.kind == "distance" else 1.0
    state = measure.prepared(x)

    def score(target: Array) -> float:
        return as_outcome(measure.compare(state, measure.prepared(target, side="target"))).score

    observed = score(y)
    centred = centre64(y)
    rotated = np.array([score(centred @ haar(centred.shape[1], rng)) for _ in range(n_rotations)])
    better = int((sign * rotated >= sign * observed).sum())
    return AxisAlignment(
        score=sign * (observed - float(rotated.mean())),
        observed=observed,
        sd=float(rotated.std(ddof=1)),
        pvalue=(1 + better) / (1 + n_rotations),
        rotated=rotated,
    )
