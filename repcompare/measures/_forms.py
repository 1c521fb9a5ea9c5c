"""The distance that a similarity is turned into: its angle, one minus it, or the square of a distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Measure, Outcome, as_outcome


def as_distance(measure: Measure, form: str) -> Measure:
    """Turn a similarity into a distance, or a distance into its square.

    Parameters
    ----------
    measure : Measure
        A similarity; for ``squared_euclidean`` a distance.
    form : {"angular", "one_minus_score", "squared_euclidean"}
        ``arccos(score)`` in rad, ``1 - score``, or ``score ** 2``.

    Returns
    -------
    Measure
        Distance, 0 for identical systems, with the range that follows from that of ``measure``; the same states.

    Raises
    ------
    OptionError
        Where the form is not defined: the angle of a score that may leave [-1, 1], the square of a similarity.

    Examples
    --------
    >>> from repcompare.measures.neighbours import mutual_knn
    >>> measure = as_distance(mutual_knn(k=3), "one_minus_score")
    >>> x = np.random.default_rng(0).normal(size=(9, 2))
    >>> measure.compare(measure.prepare(x), measure.prepare(x)).score
    0.0
    """
    choose(form, FUNCTIONS, "distance")
    _check(measure, form)
    function = FUNCTIONS[form]
    ends = [float(function(end)) for end in measure.score_range]
    many = measure.compare_many

    def compare(x: Any, y: Any) -> Outcome:
        found = as_outcome(measure.compare(x, y))
        folds = None if found.fold_scores is None else function(found.fold_scores)
        score = float(function(found.score))
        return replace(_turned(found, form), score=score, fold_scores=folds, unit_scores=None)

    def annotate(x: Any, y: Any) -> Outcome:
        assert measure.annotate is not None
        return _turned(measure.annotate(x, y), form)

    def compare_many(xs: Sequence[Any], ys: Sequence[Any]) -> npt.NDArray[np.float64]:
        assert many is not None
        return np.asarray(function(many(xs, ys)))

    return replace(
        measure,
        options={**measure.options, "distance": form},
        compare=compare,
        compare_many=compare_many if many else None,
        annotate=annotate if measure.annotate else None,
        kind="distance",
        is_metric=_is_metric(measure, form),
        score_range=(min(ends), max(ends)),
        identical=float(function(measure.identical)),
        unit={"angular": "rad", "one_minus_score": "1"}.get(form, f"{measure.unit}^2" if measure.unit != "1" else "1"),
        ceiling=None,
        shared=None,
    )


def _turned(found: Outcome, form: str) -> Outcome:
    """Moments under permuted stimuli of the distance, where they follow from those of the similarity."""
    details = dict(found.details)
    null, spread = details.pop("null_mean", None), details.pop("null_sd", None)
    if null is not None and form == "one_minus_score":
        details |= {"null_mean": 1 - null} | ({} if spread is None else {"null_sd": spread})
    return replace(found, details=details)


def _angle(score: Any) -> Any:
    return np.arccos(np.clip(score, -1, 1))


def _complement(score: Any) -> Any:
    return 1 - score


def _square(score: Any) -> Any:
    return score**2


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "angular": _angle,
    "one_minus_score": _complement,
    "squared_euclidean": _square,
}


def _check(measure: Measure, form: str) -> None:
    wanted = "distance" if form == "squared_euclidean" else "similarity"
    if measure.kind != wanted:
        raise OptionError(f"{measure.label} is a {measure.kind}; distance={form} is made from a {wanted}")
    low, high = measure.score_range
    if form == "angular" and (low < -1 or high > 1):
        raise OptionError(f"{measure.label} has scores in [{low:g}, {high:g}]: distance=angular needs a cosine")


# Angles of cosines between fixed vectors; complements of overlaps of sets (1 - shared / k is half the symmetric difference
# over k, and the Jaccard distance is a metric: Levandowsky & Winter 1971).
_METRICS: dict[str, dict[str, Callable[[Mapping[str, Any]], bool]]] = {
    "angular": {
        "cka": lambda options: options.get("estimator") == "biased",
        "procrustes": lambda options: True,
    },
    "one_minus_score": {"mutual_knn": lambda options: True, "jaccard": lambda options: True},
    "squared_euclidean": {},
}


def _is_metric(measure: Measure, form: str) -> bool:
    rule = _METRICS[form].get(measure.name)
    return rule is not None and rule(measure.options)
