"""What stands behind a score: single stimuli, and the axes of the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from repcompare.errors import OptionError, some
from repcompare.functional._pair import Data, matched, without_nan
from repcompare.measures._measure import Measure
from repcompare.measures._pairs import KernelState, square_kernel
from repcompare.measures.matching import AxisAlignment
from repcompare.measures.matching import axis_alignment as _axis_alignment
from repcompare.measures.registry import make
from repcompare.statistics.influence import Influence, leave_one_out


@dataclass(frozen=True)
class StimulusInfluence:
    """Influence of single stimuli on a score, with their names.

    Attributes
    ----------
    stimuli : ndarray of str, shape (n_stimuli,)
        Names, sorted; positions for arrays.
    influence : Influence
        ``score``, ``without`` (n_stimuli,), ``sd``, ``standard_error``, ``flagged``.
    """

    stimuli: np.ndarray
    influence: Influence

    @property
    def flagged(self) -> list[str]:
        """Names of the stimuli whose removal changes the score by more than 5 sd."""
        return [str(name) for name in self.stimuli[self.influence.flagged]]

    def __str__(self) -> str:
        names = some(self.flagged) if self.flagged else "none"
        return f"score {self.influence.score:.4g} +- {self.influence.standard_error:.2g}, influential stimuli: {names}"


def influence(x: Data, y: Data, *, measure: str | Measure = "cka", nan: str = "raise") -> StimulusInfluence:
    """Debiased CKA without each stimulus, exactly and in O(n^2) for all of them.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    measure : str or Measure
        A debiased form: ``"cka"`` (any kernel) or ``"distance_correlation"``.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.

    Returns
    -------
    StimulusInfluence
        Scores in [-1, 1] without each stimulus, jackknife standard error, and the stimuli that stand out.

    Raises
    ------
    OptionError
        For a measure without this form.
    AlignmentError, SchemaError, MeasureError
        When the stimuli do not match, or the measure is not defined on the data.

    References
    ----------
    Szekely & Rizzo 2014 (U-centring); Davari et al. 2022 (what single stimuli do to CKA).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(30, 6))
    >>> print(rc.influence(x, 2 * x))
    score 1 +- ..., influential stimuli: none
    """
    chosen = make(measure) if isinstance(measure, str) else measure
    a, b, names, _ = matched(x, y)
    a, b, rows = without_nan(a, b, nan)
    states: list[Any] = [chosen.prepared(values) for values in (a, b)]
    if not all(isinstance(s, KernelState) and s.estimator == "debiased" for s in states):
        raise OptionError(f"influence is defined for debiased cka and distance_correlation; found {chosen.label}")
    labels = np.arange(len(rows)).astype(str) if names is None else np.asarray(names)[rows]
    return StimulusInfluence(labels, leave_one_out(*(square_kernel(s) for s in states)))


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
