"""What encoding gives back, and what follows from its held-out predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.functional._encode_rows import Rows
from repcompare.functional._pair import Data, one_side
from repcompare.labels.schema import text
from repcompare.measures._measure import Folds, as_outcome
from repcompare.measures.encoding._refit import Weights, predict_folds
from repcompare.measures.encoding.result import MODELS, EncodingResult, encode_arrays
from repcompare.statistics.encoding_tests import (
    SHORTEST_BLOCK,
    EncodingTest,
    Predictions,
    bootstrap,
    check_blocks,
    make_blocks,
    permutation_test,
    shuffled_rows,
    summarise,
)

Float64 = npt.NDArray[np.float64]
STACKED = 2048  # permuted units that are fitted together: they share the decompositions of the source


@dataclass(frozen=True, eq=False)
class Encoded(EncodingResult):
    """Held-out scores of an encoding model, with what was asked for beside them.

    Attributes
    ----------
    gap : int
        Rows left out on either side of a test block.
    forced : tuple of str
        Guards that were overridden; ``n_forced`` counts them.
    unit_ids : ndarray of shape (n_units,), optional
        Names of the units that are scored, where the target is a representation.
    score_reverse, score_mean : float, optional
        With ``direction="both"``: the score from y to x, and the mean of both; ``reverse`` has the rest.
    score_low, score_high, score_se : float, optional
        With ``confidence``: interval of the score, and its standard error.
    unit_low, unit_high : ndarray of shape (n_units,), optional
        Intervals of the unit scores.
    pvalue : float, optional
        With ``permutations``: of the mean over units.
    pvalues, pvalues_corrected, pvalues_fdr : ndarray of shape (n_units,), optional
        Per unit: raw, corrected by the maximum over units, and by Benjamini-Hochberg.
    weights : Weights, optional
        With ``weights=True``: ridge fitted on all rows with ``alphas``.
    """

    gap: int = 0
    forced: tuple[str, ...] = ()
    score_reverse: float | None = field(default=None, repr=False)
    score_mean: float | None = field(default=None, repr=False)
    reverse: EncodingResult | None = field(default=None, repr=False)
    score_low: float | None = field(default=None, repr=False)
    score_high: float | None = field(default=None, repr=False)
    score_se: float | None = field(default=None, repr=False)
    unit_low: Float64 | None = field(default=None, repr=False)
    unit_high: Float64 | None = field(default=None, repr=False)
    pvalue: float | None = field(default=None, repr=False)
    pvalues: Float64 | None = field(default=None, repr=False)
    pvalues_corrected: Float64 | None = field(default=None, repr=False)
    pvalues_fdr: Float64 | None = field(default=None, repr=False)
    weights: Weights | None = field(default=None, repr=False)
    unit_ids: npt.NDArray[np.str_] | None = field(default=None, repr=False)
    feature_ids: npt.NDArray[np.str_] | None = field(default=None, repr=False)

    @property
    def n_forced(self) -> int:
        """How many guards were overridden."""
        return len(self.forced)

    @property
    def coef(self) -> npt.NDArray[Any]:
        """Weights of the refit on all rows, (n_features, n_units)."""
        return self._fitted().coef

    @property
    def intercept(self) -> npt.NDArray[Any]:
        """Intercepts of the refit on all rows, (n_units,)."""
        return self._fitted().intercept

    def predict(self, x: Data) -> npt.NDArray[Any]:
        """Predict the units of y for a new source, with the refit on all rows.

        Parameters
        ----------
        x : representation, or array-like of shape (n, n_features)
            The units that were fitted, in their order; rows of a representation in sorted order of its stimuli.

        Returns
        -------
        ndarray of shape (n, n_units)

        Raises
        ------
        OptionError
            Without ``weights=True``.
        AlignmentError, MeasureError
            When the units are not those that were fitted, or values are missing.
        """
        fitted = self._fitted()
        if isinstance(x, xr.Dataset) and self.feature_ids is not None:
            ids = text(x["unit_id"].values).astype(str)
            if not np.array_equal(ids, self.feature_ids):
                raise AlignmentError(f"x has {ids.size} units, other than the {self.feature_ids.size} that were fitted")
        return fitted.predict(one_side(x)[0])

    def _fitted(self) -> Weights:
        if self.weights is None:
            raise OptionError("nothing was fitted on all rows; ask for it by encode(..., weights=True)")
        return self.weights


@dataclass(frozen=True)
class Call:
    """One call of ``encode``: its rows, folds, model and options."""

    rows: Rows
    folds: Folds
    model: str
    nan: str
    options: dict[str, Any]

    def scored(self) -> EncodingResult:
        """Score the model."""
        return encode_arrays(
            self.rows.x,
            self.rows.y,
            self.folds,
            model=self.model,
            nan="pairwise" if self.nan == "pairwise" else "raise",
            **self.options,
        )

    @property
    def units_apart(self) -> bool:
        """Whether the fit of a target unit does not depend on the others, so that any number can be fitted together."""
        together = self.options.get("shared", False) or not self.options.get("alpha_per_unit", True)
        return self.model != "pls" and not together

    def scorer(self) -> Callable[[npt.NDArray[Any]], Float64]:
        """Return what scores the units of other targets from the same source, which is prepared once."""
        measure = MODELS[self.model](**self.options)
        source = measure.prepared(self.rows.x, self.folds)

        def score(y: npt.NDArray[Any]) -> Float64:
            outcome = as_outcome(measure.compare(source, measure.prepared(y, self.folds, side="target")))
            return np.asarray(outcome.unit_scores, dtype=np.float64)

        return score

    def reversed(self) -> EncodingResult:
        """Score the model from y to x, on the same folds."""
        if np.isnan(self.rows.y.sum()):
            raise OptionError(
                "direction='both' needs a y without missing values; use nan='drop_units' or 'drop_stimuli'"
            )
        return encode_arrays(self.rows.y, self.rows.x, self.folds, model=self.model, **self.options)

    @property
    def scoring(self) -> str:
        """Which score."""
        return str(self.options.get("scoring", "pearson"))

    @property
    def block_length(self) -> int:
        """Rows that are exchanged together: 1 for stimuli."""
        return max(self.folds.gap, SHORTEST_BLOCK) if self.rows.sample == "time" else 1

    @property
    def exchanged_groups(self) -> npt.NDArray[np.intp] | None:
        """Groups that are exchanged whole; stimuli of a run are exchanged singly, blocks of a recording lie within runs."""
        return None if self.rows.sample == "time" or self.rows.runs else self.folds.groups

    def predictions(self, found: EncodingResult) -> Predictions:
        """Return held-out predictions, with what may be exchanged in each test set."""
        x, y = self.rows.x, self.rows.y
        if np.isnan(y.sum()):
            raise OptionError("inference needs a y without missing values; use nan='drop_units' or 'drop_stimuli'")
        standardize = bool(self.options.get("standardize", False))
        predicted, means = predict_folds(x, y, self.folds, found.fold_alphas, standardize=standardize)
        tests = [test for _, test in self.folds.splits]
        blocks = make_blocks(tests, length=self.block_length, groups=self.exchanged_groups)
        local = tuple(
            type(b)(tuple(np.searchsorted(test, rows) for rows in b.rows), b.n_dropped)
            for b, test in zip(blocks, tests, strict=True)
        )
        return Predictions(tuple(predicted), tuple(y[test] for test in tests), tuple(means), local)


def assess_predictions(call: Call, found: EncodingResult, *, permutations: int, null: str, seed: int) -> dict[str, Any]:
    """Return p-values as fields of the result."""
    if null == "refit":
        tested = _refitted(call, found, permutations, seed)
    elif call.model != "ridge":
        raise OptionError(
            f"model={call.model!r} is tested by fitting again: null='refit'; fixed predictions are ridge's"
        )
    elif min(test.size for _, test in call.folds.splits) < 3:
        raise OptionError("permutations need test sets of 3 rows or more; leave-one-out has one; give folds=5")
    else:
        tested = permutation_test(call.predictions(found), n_permutations=permutations, seed=seed)
    fields = ("pvalue", "pvalues", "pvalues_corrected", "pvalues_fdr")
    return {name: getattr(tested, name) for name in fields} | {"notes": tested.notes}


def _refitted(call: Call, found: EncodingResult, permutations: int, seed: int) -> EncodingTest:
    """Fit again under every permutation of whole blocks of the target."""
    n = len(call.rows.y)
    runs = call.folds.groups if call.rows.sample == "time" else None
    pieces = [np.arange(n)] if runs is None else [np.flatnonzero(runs == r) for r in np.unique(runs)]
    blocks = make_blocks(pieces, length=call.block_length, groups=call.exchanged_groups)
    check_blocks(blocks)
    score, t = call.scorer(), call.rows.y.shape[1]
    orders = list(shuffled_rows(blocks, n, permutations, seed))
    step = max(1, STACKED // t) if call.units_apart else 1
    null = [
        score(np.hstack([call.rows.y[order] for order in orders[i : i + step]])).reshape(-1, t)
        for i in range(0, len(orders), step)
    ]
    return summarise(found.unit_scores, np.vstack(null), blocks)


def score_interval(call: Call, found: EncodingResult, *, confidence: float, seed: int) -> dict[str, Any]:
    """Return an interval as fields of the result: bootstrap of fixed predictions, or jackknife over folds."""
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r}; expected a number between 0 and 1, such as 0.95")
    if call.model == "ridge":
        ends = bootstrap(call.predictions(found), scoring=call.scoring, confidence=confidence, seed=seed)
        return {
            "score_low": ends.low,
            "score_high": ends.high,
            "score_se": ends.error,
            "unit_low": ends.unit_low,
            "unit_high": ends.unit_high,
        }
    scores = found.fold_scores[np.isfinite(found.fold_scores)]
    if scores.size < 3:
        raise MeasureError(f"{scores.size} folds have a score; an interval over folds needs at least 3")
    error = float(scores.std(ddof=1) / np.sqrt(scores.size))
    reach = float(stats.t.ppf((1 + confidence) / 2, scores.size - 1)) * error
    note = "interval_over_folds: jackknife over folds, whose training rows overlap; it may be too narrow"
    return {"score_low": found.score - reach, "score_high": found.score + reach, "score_se": error, "notes": (note,)}
