"""Small descriptors of one system, compared as |f(X) - f(Y)|: where its patterns lie and how they spread, *uncentred*.

A difference of 0 says that two systems agree in one number, not that they represent alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._linalg import require_variance
from repcompare.measures._measure import Array, Measure, Outcome
from repcompare.measures._nearest import pattern_lengths
from repcompare.measures.dependence import squared_distances

Float64 = npt.NDArray[np.float64]
SATURATED = 1e-9  # uniformity this close to its bound holds no distance but those of a stimulus to itself


@dataclass(frozen=True)
class Descriptor:
    """A prepared source: its one number."""

    value: float
    note: str = ""


def magnitude(values: Array) -> float:
    """Length of the mean pattern of (n_stimuli, n_units), in response units.

    Examples
    --------
    >>> magnitude(np.array([[3.0, 0.0], [3.0, 8.0]]))
    5.0
    """
    return float(np.linalg.norm(values.mean(axis=0, dtype=np.float64)))


def uniformity(values: Array, t: float = 2.0) -> float:
    """Log of the mean of exp(-t d^2) over all n^2 pairs of stimuli, in [-log n, 0]; 0 when all patterns are equal.

    Examples
    --------
    >>> bool(np.isclose(uniformity(np.array([[0.0], [1.0]])), np.log((1 + np.exp(-2)) / 2)))
    True
    """
    n = len(values)
    squared = squared_distances(values)[np.tril_indices(n, -1)]
    return float(np.log((n + 2 * np.exp(-t * squared).sum()) / n**2))


def concentricity(values: Array) -> float:
    """Mean cosine of the patterns of (n_stimuli, n_units) to their mean, in [-1, 1].

    Raises
    ------
    MeasureError
        For a pattern of zeros, or a mean pattern of zeros.

    Examples
    --------
    >>> round(concentricity(np.array([[1.0, 1.0], [1.0, -1.0]])) ** 2, 12)
    0.5
    """
    lengths = pattern_lengths(values, "concentricity_difference")
    mean = values.mean(axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    if norm <= 1e-12 * float(lengths.max()):
        raise MeasureError(
            "concentricity_difference: the mean pattern is 0, so that no cosine to it is defined; expected data that "
            "are not centred"
        )
    return float(((values @ (mean / norm)) / lengths[:, 0]).mean())


def magnitude_difference() -> Measure:
    """Absolute difference of the lengths of the mean patterns.

    Returns
    -------
    Measure
        Distance in response units, in [0, inf); invariant to rotation only.

    References
    ----------
    Wang et al. 2020 (magnitude of representations); Klabunde et al. 2025.

    Examples
    --------
    >>> x = np.array([[3.0, 0.0], [3.0, 8.0], [3.0, 4.0]])
    >>> measure = magnitude_difference()
    >>> measure.compare(measure.prepare(x), measure.prepare(2 * x))
    5.0
    """
    return _difference(
        "magnitude_difference", magnitude, {"rotation", "permutation"}, unit="response", reference="wang2020"
    )


def uniformity_difference(t: float = 2.0) -> Measure:
    """Absolute difference of the uniformity log mean exp(-t d^2).

    Parameters
    ----------
    t : float
        Inverse width of the kernel in response units; the usual 2 is made for patterns of length 1.  Where distances
        are so large that exp(-t d^2) vanishes, both sides are at the bound -log n and a note says so.

    Returns
    -------
    Measure
        Distance, in [0, inf); invariant to rotation and translation, not to scaling.

    References
    ----------
    Wang & Isola 2020.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 3)) / 3
    >>> measure = uniformity_difference()
    >>> measure.compare(measure.prepare(x), measure.prepare(x + 1)).score < 1e-12
    True
    """
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not 0 < t < np.inf:
        raise OptionError(f"t={t!r}; expected a positive number")
    bound = "uniformity_saturated: exp(-t d^2) vanishes between stimuli: the value only counts them; lower t="

    def describe(values: Array) -> Descriptor:
        value = uniformity(values, t)
        return Descriptor(value, bound if value < SATURATED - np.log(len(values)) else "")

    return _difference(
        "uniformity_difference",
        describe,
        {"rotation", "translation", "permutation"},
        options={} if t == 2.0 else {"t": t},
        compare=_noted,
        reference="wang2020uniformity",
    )


def concentricity_difference() -> Measure:
    """Absolute difference of the mean cosine of patterns to their mean.

    Returns
    -------
    Measure
        Distance in [0, 2]; invariant to rotation and scaling, not to translation.

    Raises
    ------
    MeasureError
        For a pattern of zeros, or centred data.

    References
    ----------
    Wang et al. 2022; Klabunde et al. 2025.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 3)) + 1
    >>> measure = concentricity_difference()
    >>> measure.compare(measure.prepare(x), measure.prepare(2 * x)) < 1e-12
    True
    """
    return _difference(
        "concentricity_difference",
        concentricity,
        {"rotation", "scaling", "permutation", "duplication"},
        score_range=(0.0, 2.0),
        reference="wang2022",
    )


def _difference(
    name: str, describe: Callable[[Array], float | Descriptor], invariances: set[str], **declared: Any
) -> Measure:
    def prepare(values: Array) -> Descriptor:
        require_variance(float(np.ptp(values, axis=0).max()), name)
        found = describe(values)
        return found if isinstance(found, Descriptor) else Descriptor(found)

    usual: dict[str, Any] = {"compare": _gap, "score_range": (0.0, np.inf)}
    return Measure(
        name=name,
        prepare=prepare,
        compare_many=_gaps,
        kind="distance",
        is_metric=True,
        identical=0.0,
        invariant_to=frozenset(invariances),
        state_bytes=lambda n, p, itemsize, folds: 64,
        **usual | declared,
    )


def _gap(x: Descriptor, y: Descriptor) -> float:
    return abs(x.value - y.value)


def _noted(x: Descriptor, y: Descriptor) -> Outcome:
    return Outcome(score=abs(x.value - y.value), notes=tuple({note for note in (x.note, y.note) if note}))


def _gaps(xs: Sequence[Descriptor], ys: Sequence[Descriptor]) -> Float64:
    return np.abs(np.subtract.outer([x.value for x in xs], [y.value for y in ys]))
