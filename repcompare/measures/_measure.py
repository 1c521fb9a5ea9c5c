"""The contract of a measure: prepare each side once, compare per pair.

Everything that costs with the number of units happens in ``prepare``; a pair costs only its small states.  A measure is
pure functions: no call leaves anything behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError

Array = npt.NDArray[np.floating[Any]]
Index = npt.NDArray[np.intp]

INVARIANCES = frozenset(
    {
        "rotation",  # x -> x Q, Q orthogonal: units are mixed without stretching
        "scaling",  # x -> c x, c > 0
        "translation",  # x -> x + 1 b': every unit gets its own offset
        "permutation",  # the order of units
        "affine",  # x -> x A + 1 b', A invertible
        "unit_scaling",  # x -> x diag(c), c > 0
        "pattern_scaling",  # x -> diag(c) x, c > 0: every stimulus gets its own gain
        "pattern_translation",  # x -> x + b 1': every stimulus gets its own offset
        "duplication",  # x -> [x, x]
    }
)


@dataclass(frozen=True)
class Folds:
    """Train and test rows of each fold; ``n`` is the number of rows they index.

    Attributes
    ----------
    splits : tuple of (train, test)
        Index arrays into the aligned rows; rows in neither are the gap.
    n : int
        Number of rows.
    scheme : str
        How they were drawn, for the record.
    groups : ndarray of shape (n,), optional
        Group of each row, where whole groups were held out: inner folds of a nested choice are drawn over them too.
    gap : int
        Rows left out on either side of a test block.
    forced : tuple of str
        Guards that were overridden.
    segments : ndarray of shape (n,), optional
        Stretch of a recording that each row lies in: delays never reach from one into another.  A new one starts with a
        run, and where rows were left out.
    in_time : bool
        Rows are in the order of time.
    """

    splits: tuple[tuple[Index, Index], ...]
    n: int
    scheme: str = "given"
    groups: Index | None = field(default=None, compare=False, repr=False)
    gap: int = 0
    forced: tuple[str, ...] = ()
    segments: Index | None = field(default=None, compare=False, repr=False)
    in_time: bool = False

    def __len__(self) -> int:
        return len(self.splits)


@dataclass(frozen=True)
class HeldOut:
    """What an encoder says of the test rows of one fold, in ascending order.

    Attributes
    ----------
    predicted, truth : ndarray of shape (n_test, n_units)
        About the training mean, in one unit of measurement per target unit; NaN for units without a prediction.
    without : callable, optional
        ``gradient (n_test, n_units) -> (n_train, n_units)``: how a function of the predictions, with this gradient, changes
        when one training row is left out of the fit, to first order and with the same penalties.
    """

    predicted: Array
    truth: Array
    without: Callable[[Array], Array] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What ``compare`` may return in place of a plain float.

    Attributes
    ----------
    score : float
        The number.
    unit_scores : ndarray of shape (n_target_units,), optional
        Per-unit scores of encoders; NaN for constant units.
    fold_scores : ndarray of shape (n_folds,), optional
        Scores of the folds of a fitted measure.
    details : mapping of str to array
        Further results by name (chosen penalties ...).
    counts : mapping of str to int
        What was left out: ``pairs_missing``, ``units_constant`` ...
    notes : tuple of str
        Warnings, code first: ``"alpha_edge: 12 % of units ..."``.
    """

    score: float
    unit_scores: Array | None = None
    fold_scores: Array | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Needs = Literal["mean", "repeats", "time"]
Kind = Literal["similarity", "distance", "predictivity"]


def _default_state_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    """A factor with at most n columns, in float64, per fold."""
    return 8 * n * min(n, p) * folds


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One way to compare two systems.

    ``prepare`` turns responses of shape (n_stimuli, n_units) into a state; with ``needs="repeats"`` it receives
    (n_repeats, n_stimuli, n_units).  ``compare`` turns two states into a float or an :class:`Outcome`.  Where ``fitted``
    is true both ``prepare`` and ``prepare_target`` take :class:`Folds` as second argument: training and test rows are
    separated inside the state, so that no test row can reach a fit.

    Attributes
    ----------
    name : str
        Stable id.
    options : mapping
        The resolved options, for the record.
    prepare, prepare_target : callable
        ``(values[, folds]) -> state`` of a source, and of a target where that differs.
    compare : callable
        ``(source_state, target_state) -> float | Outcome``.
    compare_many : callable, optional
        ``(source_states, target_states) -> (n_sources, n_targets)`` float64: the batched form, equal to ``compare``.
    annotate : callable, optional
        ``(source_state, target_state) -> Outcome`` without a score: the counts, notes and details (``null_mean``,
        ``null_sd``: exact moments under permuted stimuli) of a pair, which the batched form cannot carry.
    restrict : callable, optional
        ``(state, rows) -> state`` of a subset or a permutation of the stimuli, without preparing again.
    needs : {"mean", "repeats", "time"}
        What the arrays are.
    target_holds : {"responses", "counts", "labels"}
        What the target must hold: any numbers, whole numbers, or one unit per class.
    kind : {"similarity", "distance", "predictivity"}
        Which direction is better, and whether one side predicts the other.
    symmetric, is_metric : bool
        compare(x, y) = compare(y, x); zero for identical systems and the triangle inequality hold.
    score_range : tuple of float
        Lowest and highest possible score.
    identical : float
        Score of a system with itself (NaN where not declared).
    invariant_to : frozenset of str
        Names of :data:`INVARIANCES` that leave the score unchanged when applied to either side.
    target_invariant_to : frozenset of str, optional
        The same for the target, where it differs.
    fitted : bool
        Needs train and test folds over stimuli.
    held_out : callable, optional
        ``(source_state, target_state) -> tuple of HeldOut``, one per fold: the predictions behind the score, for tests and
        intervals that fit nothing again.
    classes : callable, optional
        ``target (n_stimuli, n_units) -> ndarray of int (n_stimuli,)``: class of each row of a target that holds labels.
        Folds keep the proportions of the classes, and permutations exchange labels where that keeps them too.
    null_scores : callable, optional
        ``(source_state, target_state, orders (n_orders, n_stimuli)) -> (n_orders,)``: scores of the target with its rows in
        other orders, all at once.
    part_scores : callable, optional
        ``(source_state, target_state, parts) -> (n_parts,)``: scores of some of the test stimuli, without a new fit, for
        intervals; NaN where there is none.
    reach : int
        Rows of the past that enter a prediction (the longest delay): such a measure is for recordings, with test blocks
        at least this far from training rows.
    paired : bool
        Rows of both sides are the same stimuli.
    accepts_nan : bool
        Has a NaN-aware form, used under ``nan="pairwise"``.
    ceiling : {"halves", "units", None}
        How repeats of the target bound the score: by what two halves of the repeats share, by the split-half reliability
        of each unit, or not at all.
    shared : callable, optional
        ``(first, second, full) -> float`` for ``ceiling="halves"``: the share of the full data's squared length that the
        two halves of the repeats have in common.  Without it the Spearman-Brown formula turns the score between halves
        into that share.
    min_stimuli : int
        Fewer raise.
    unit : str
        Unit of the score (``"1"``, ``"rad"``, ``"response"``).
    reference : str
        Bibliography key.
    state_bytes : callable
        ``(n_stimuli, n_units, itemsize, n_folds)`` -> bytes of a prepared state, for the memory estimate.
    revision : int
        Raised by hand when the numbers of the measure change, so that checkpoints are not reused.
    note : str
        What to know about the name under which it was asked for, where that is another package's; scores record it.
    """

    name: str
    prepare: Callable[..., Any]
    compare: Callable[[Any, Any], float | Outcome]
    kind: Kind
    score_range: tuple[float, float]
    invariant_to: frozenset[str]
    reference: str
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare_target: Callable[..., Any] | None = None
    compare_many: Callable[[Sequence[Any], Sequence[Any]], npt.NDArray[np.float64]] | None = None
    annotate: Callable[[Any, Any], Outcome] | None = None
    restrict: Callable[[Any, Index], Any] | None = None
    needs: Needs = "mean"
    target_holds: Literal["responses", "counts", "labels"] = "responses"
    symmetric: bool = True
    is_metric: bool = False
    identical: float = 1.0
    target_invariant_to: frozenset[str] | None = None
    fitted: bool = False
    held_out: Callable[[Any, Any], tuple[HeldOut, ...]] | None = None
    classes: Callable[[Array], Index] | None = None
    null_scores: Callable[[Any, Any, Index], npt.NDArray[np.float64]] | None = None
    part_scores: Callable[[Any, Any, Sequence[Index]], npt.NDArray[np.float64]] | None = None
    reach: int = 0
    paired: bool = True
    accepts_nan: bool = False
    ceiling: Literal["halves", "units"] | None = None
    shared: Callable[[Any, Any, Any], float] | None = None
    min_stimuli: int = 3
    unit: str = "1"
    state_bytes: Callable[[int, int, int, int], int] = _default_state_bytes
    revision: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        unknown = (self.invariant_to | (self.target_invariant_to or frozenset())) - INVARIANCES
        if unknown:
            raise MeasureError(f"measure {self.name!r} declares unknown invariances {sorted(unknown)}")

    @property
    def label(self) -> str:
        """Name with its options: ``cka(estimator=biased)``."""
        return self.named(self.options)

    def named(self, options: Mapping[str, Any]) -> str:
        """Name with some of the options."""
        inside = ", ".join(f"{k}={_short(v)}" for k, v in options.items())
        return f"{self.name}({inside})" if inside else self.name

    def prepared(self, values: Array, folds: Folds | None = None, *, side: str = "source") -> Any:
        """Check one side's array and prepare it.

        Parameters
        ----------
        values : ndarray, shape (n_stimuli, n_units) or, with ``needs="repeats"``, (n_repeats, n_stimuli, n_units)
            Responses of one system.
        folds : Folds, optional
            Required when ``fitted``.
        side : {"source", "target"}
            Which side it is.

        Raises
        ------
        MeasureError
            On too few stimuli, no units, NaN without a NaN-aware form, infinite values, or wrong axes.
        """
        check_values(self, values)
        prepare = (self.prepare_target or self.prepare) if side == "target" else self.prepare
        if not self.fitted:
            return prepare(values)
        if folds is None:
            raise MeasureError(f"measure {self.name!r} is fitted; it needs folds over the stimuli")
        if folds.n != values.shape[-2]:
            raise MeasureError(f"folds index {folds.n} stimuli, but the data have {values.shape[-2]}")
        return prepare(values, folds)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"[{value.size} values]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_values(measure: Measure, values: Array) -> None:
    """Raise ``MeasureError`` unless an array is one that this measure can be computed on."""
    axes = 3 if measure.needs in ("repeats", "time") else 2
    if values.ndim != axes:
        raise MeasureError(f"{measure.name}: expected {axes} axes, found shape {values.shape}")
    stimulus_axis = 1 if measure.needs == "repeats" else 0
    n = values.shape[stimulus_axis]
    if n < measure.min_stimuli:
        raise MeasureError(f"{measure.name}: {n} stimuli; expected at least {measure.min_stimuli}; add stimuli")
    if values.shape[stimulus_axis + 1] == 0:
        raise MeasureError(f"{measure.name}: no units; expected at least one")
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # NaN and inf survive a sum: clean data cost one pass and no mask
            return
    if np.isinf(values).any():
        raise MeasureError(f"{measure.name}: {int(np.isinf(values).sum())} infinite values; expected finite numbers")
    missing = int(np.isnan(values).sum())
    if missing and not measure.accepts_nan:
        raise MeasureError(
            f"{measure.name}: {missing} missing values (NaN); drop them with nan='drop_units' or nan='drop_stimuli'"
        )


def as_outcome(result: float | Outcome) -> Outcome:
    """Return what ``compare`` gave as an :class:`Outcome`."""
    return result if isinstance(result, Outcome) else Outcome(score=float(result))
