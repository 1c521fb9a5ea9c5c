"""What stands behind a score: single stimuli, single units, and the axes of the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, OptionError, choose, some
from repcompare.functional._pair import Data, matched, without_nan
from repcompare.measures._linalg import centre64
from repcompare.measures._measure import Index, Measure, as_outcome
from repcompare.measures._nuclear import narrow_factor
from repcompare.measures._pairs import KernelState, square_kernel
from repcompare.measures.matching import AxisAlignment
from repcompare.measures.matching import axis_alignment as _axis_alignment
from repcompare.measures.registry import make
from repcompare.measures.shape import procrustes
from repcompare.statistics.influence import (
    NOTHING,
    SELF_TERMS,
    Influence,
    halve,
    leave_each_out,
    leave_one_out,
    leave_one_unit_out,
)

EXACT_LIMIT = 1000  # more stimuli than this are left out by halves, where leaving one out has no closed form


@dataclass(frozen=True)
class PairInfluence:
    """Influence of single stimuli or units on a score, with their names, and how many dimensions the score rests on.

    Attributes
    ----------
    names : ndarray of str, shape (n,)
        Of the stimuli, sorted, or of the units; positions for arrays.
    over : {"stimuli", "units"}
    measure : str
        Name of the measure with its options.
    influence : Influence
        ``score``, ``without`` (n,), ``sd``, ``standard_error``, ``flagged``, ``method``.
    participation_ratios : tuple of float
        Effective numbers of dimensions (tr K)^2 / |K|^2 of both systems (centred, linear; means over repeats).
    nbs : float
        Normalised Bures similarity of both systems, in [0, 1].
    """

    names: np.ndarray
    over: str
    measure: str
    influence: Influence
    participation_ratios: tuple[float, float]
    nbs: float

    @property
    def flagged(self) -> list[str]:
        """Names of those whose removal changes the score by more than 5 sd."""
        return [str(name) for name in self.names[self.influence.flagged]]

    @property
    def cka_bound(self) -> float:
        """NBS^2 sqrt(PR_x PR_y): biased linear CKA is no larger, which says nothing where it exceeds 1."""
        return float(self.nbs**2 * np.sqrt(np.prod(self.participation_ratios)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings, code first; one for each stimulus or unit that stands out."""
        found = self.influence
        one = {"stimuli": "stimulus", "units": "unit"}[self.over]
        return tuple(
            f"influential_{one}: {self.measure} is {found.score:.4g}, without {self.names[i]} {found.without[i]:.4g}: "
            f"a change of {abs(found.without[i] - found.score) / max(found.sd, NOTHING):.3g} sd"
            for i in found.flagged
        )

    def __str__(self) -> str:
        names = some(self.flagged) if self.flagged else "none"
        ratios = " and ".join(f"{ratio:.3g}" for ratio in self.participation_ratios)
        return (
            f"score {self.influence.score:.4g} +- {self.influence.standard_error:.2g}, influential {self.over}: {names}; "
            f"participation ratios {ratios}, NBS {self.nbs:.3g}"
        )


def influence(
    x: Data,
    y: Data,
    *,
    measure: str | Measure = "cka",
    over: Literal["stimuli", "units"] = "stimuli",
    nan: str = "raise",
    seed: int = 0,
) -> PairInfluence:
    """Score without each stimulus, or without each unit of ``x``.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.  For measures of repeats arrays are
        (n_repeats, n_stimuli, n_units) and representations are in presentation form.
    measure : str or Measure
        Any measure that is not fitted on training stimuli.
    over : {"stimuli", "units"}
        What is left out.  Units are those of ``x``; exchange ``x`` and ``y`` for the others.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    seed : int
        Of the random halves.

    Returns
    -------
    PairInfluence
        Scores, jackknife standard error, and those that stand out, in the units of the measure; beside them the
        participation ratios of both systems and NBS.

        Debiased ``cka`` (but for ``bandwidth="median"``) and ``distance_correlation`` without each stimulus, and linear
        ``cka`` (but for ``estimator="repeats"``) without each unit, have closed forms that cost as much as one score.
        Others are computed again for each stimulus, from their states, or from the responses where a state cannot be
        restricted.  Above 1000 stimuli their influence is then estimated from 200 random halves, and only that of those
        that stand out is exact; ``influence.method`` says which.  Units are left out one by one at any number.

    Raises
    ------
    OptionError
        For a fitted measure.
    AlignmentError, SchemaError, MeasureError
        When the stimuli do not match, or the measure is not defined on the data, or without one of its stimuli.

    References
    ----------
    Szekely & Rizzo 2014 (U-centring); Davari et al. 2022 (what single stimuli do to CKA); Chun et al. 2025 (units);
    Tang et al. 2020 (NBS).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(30, 6))
    >>> print(rc.influence(x, 2 * x))
    score 1 +- ..., influential stimuli: none; participation ratios 4.8 and 4.8, NBS 1
    >>> rc.influence(x, x[:, :3], measure="procrustes", over="units").influence.without.shape
    (6,)
    """
    choose(over, ("stimuli", "units"), "over")
    chosen = make(measure) if isinstance(measure, str) else measure
    if chosen.fitted:
        raise OptionError(
            f"influence: {chosen.label} is fitted on training stimuli, so that leaving one out changes its folds; "
            "expected a measure that is not, such as cka, or held_out=False"
        )
    a, b, names, _ = matched(x, y, repeats=chosen.needs == "repeats")
    columns = np.arange(a.shape[-1])
    rows = np.arange(a.shape[-2])
    if chosen.needs == "mean":
        columns = np.flatnonzero(~np.isnan(a).any(axis=0)) if nan == "drop_units" else columns
        a, b, rows = without_nan(a, b, nan)
    if over == "units":
        labels, found = _unit_names(x)[columns], _without_units(chosen, a, b)
    else:
        labels = rows.astype(str) if names is None else np.asarray(names)[rows]
        found = _without_stimuli(chosen, a, b, seed)
    return PairInfluence(labels, over, chosen.label, found, *_dimensions(a, b))


def _unit_names(x: Data) -> np.ndarray:
    if isinstance(x, xr.Dataset):
        return np.asarray(x["unit_id"].values if "unit_id" in x else np.arange(x.sizes["unit"])).astype(str)
    return np.arange(np.asarray(x).shape[-1]).astype(str)


def _without_stimuli(measure: Measure, a: np.ndarray, b: np.ndarray, seed: int) -> Influence:
    states: list[Any] = [measure.prepared(a), measure.prepared(b, side="target")]
    plain = measure.name in ("cka", "distance_correlation") and measure.kind == "similarity"
    closed = plain and all(isinstance(s, KernelState) and s.estimator == "debiased" for s in states)
    if closed and measure.restrict is not None:  # a median bandwidth changes with the stimuli
        return leave_one_out(*(square_kernel(s) for s in states))

    def score_of(rows: Index) -> float:
        if measure.restrict is not None:
            return _finite(measure, *(measure.restrict(state, rows) for state in states))
        parts = (np.ascontiguousarray(v[..., rows, :]) for v in (a, b))
        return _finite(measure, measure.prepared(next(parts)), measure.prepared(next(parts), side="target"))

    n = a.shape[-2]
    resolution = _resolution(measure, _finite(measure, *states), (a, b))
    return leave_each_out(score_of, n, resolution) if n <= EXACT_LIMIT else halve(score_of, n, seed, resolution)


def _without_units(measure: Measure, a: np.ndarray, b: np.ndarray) -> Influence:
    linear = measure.name == "cka" and "kernel" not in measure.options and measure.kind == "similarity"
    if linear and measure.options.get("estimator") in SELF_TERMS:
        wide = a.astype(np.float64)
        own, other = (square_kernel(measure.prepared(v)) for v in (wide, b.astype(np.float64)))
        own *= np.sqrt(2) * measure.prepared(wide).norm / np.linalg.norm(own)
        return leave_one_unit_out(centre64(wide), own, other / np.sqrt(2), str(measure.options["estimator"]))
    state = measure.prepared(b, side="target")

    def score_of(units: Index) -> float:
        return _finite(measure, measure.prepared(np.ascontiguousarray(a[..., units])), state)

    p = a.shape[-1]
    if p < 2:
        raise MeasureError(f"influence: {p} units; expected at least 2, so that some are left")
    return leave_each_out(score_of, p, _resolution(measure, _finite(measure, measure.prepared(a), state), (a, b)))


def _finite(measure: Measure, x: Any, y: Any) -> float:
    score = as_outcome(measure.compare(x, y)).score
    if not np.isfinite(score):
        raise MeasureError(f"{measure.name} is not defined on these data (it gave {score})")
    return score


def _resolution(measure: Measure, score: float, values: tuple[np.ndarray, np.ndarray]) -> float:
    """Changes below this are rounding, in the units of the score."""
    if measure.unit in ("1", "rad"):
        return NOTHING
    return NOTHING * max(abs(score), *(float(np.abs(v).max()) for v in values))


def _dimensions(a: np.ndarray, b: np.ndarray) -> tuple[tuple[float, float], float]:
    """Participation ratios and NBS of two systems, of the means over repeats."""
    means = [v.mean(axis=0) if v.ndim == 3 else v for v in (a, b)]
    factors = [narrow_factor(v) for v in means]
    ratios = [float(np.square(f).sum() / np.linalg.norm(f.T @ f)) ** 2 for f in factors]
    measure = procrustes("similarity")
    return (ratios[0], ratios[1]), _finite(measure, *(measure.prepared(f) for f in factors))


def axis_alignment(
    x: Data,
    y: Data,
    *,
    measure: str | Measure = "soft_match",
    n_rotations: int = 20,
    seed: int = 0,
    nan: str = "raise",
) -> AxisAlignment:
    """How much more alike two systems are in their own axes than after random rotations of the units.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    measure : str or Measure
        A measure that depends on the axes.
    n_rotations : int
        Haar-random rotations of the units of ``y``.
    seed : int
        Of the rotations.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.

    Returns
    -------
    AxisAlignment
        ``score`` (0 for systems that share no axes), ``observed``, ``sd``, ``pvalue``, ``rotated``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Khosla et al. 2024 (privileged axes).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.maximum(np.random.default_rng(0).normal(size=(60, 8)) - 1, 0)
    >>> rc.axis_alignment(x, x[:, ::-1]).score > 0.2
    True
    """
    a, b, _, _ = matched(x, y)
    a, b, _ = without_nan(a, b, nan)
    chosen = make(measure) if isinstance(measure, str) else measure
    return _axis_alignment(a, b, measure=chosen, n_rotations=n_rotations, seed=seed)
