"""From scores in bootstrap samples to variances, intervals and p-values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from repcompare.errors import MeasureError
from repcompare.measures.rsa._resampled_bootstrap import Bootstrap
from repcompare.statistics.two_factor import (
    benjamini_hochberg,
    cross_validated_variance,
    holm,
    one_factor_variance,
    t_pvalue,
    two_factor_variance,
)

Float64 = npt.NDArray[np.float64]
Quantity = Callable[[Bootstrap], Float64]
SHORT = {"stimuli": "variance_stimuli", "subjects": "variance_subjects", "stimuli_and_subjects": "variance_both"}


@dataclass(frozen=True)
class Observed:
    """Scores (n_models, n_subjects) and ceilings (n_subjects,) of all data, and how many stimuli there are."""

    table: Float64
    lower: Float64
    upper: Float64
    n_stimuli: int

    @property
    def score(self) -> Float64:
        """Mean over subjects, shape (n_models,)."""
        return np.asarray(self.table.mean(axis=1))

    @property
    def has_ceiling(self) -> bool:
        """Is there more than one subject?"""
        return self.lower.size > 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of subjects and of stimuli."""
        return self.lower.size, self.n_stimuli


def used_samples(draws: Mapping[str, Bootstrap]) -> npt.NDArray[np.bool_]:
    """Return which samples have a score of every model, whatever was drawn: all variances come from the same draws."""
    return np.asarray(np.all([np.isfinite(d.score).all(axis=(1, 2)) for d in draws.values()], axis=0))


def degrees_of_freedom(bootstrap: str | None, sizes: tuple[int, int]) -> int:
    """Return what the t-tests and intervals take: one less than the smaller of the numbers that were drawn."""
    subjects, stimuli = sizes
    return {"stimuli": stimuli, "subjects": subjects, None: subjects}.get(bootstrap, min(sizes)) - 1


def corrected_variance(
    draws: Mapping[str, Float64], bootstrap: str, sizes: tuple[int, int]
) -> tuple[Float64, dict[str, Float64]]:
    """Return the corrected variance of a quantity, and its raw variances, from draws (n_samples, n_assignments, ...)."""
    raw = {factor: cross_validated_variance(values) for factor, values in draws.items()}
    if bootstrap == "stimuli_and_subjects":
        return two_factor_variance(raw["subjects"], raw["stimuli"], raw["stimuli_and_subjects"], sizes), raw
    return one_factor_variance(raw[bootstrap], sizes[0] if bootstrap == "subjects" else sizes[1]), raw


def interval(estimate: Float64, variance: Float64, dof: int, confidence: float) -> tuple[Float64, Float64]:
    """Return the ends of a t interval; NaN where the variance is not a number >= 0."""
    reach = stats.t.ppf((1 + confidence) / 2, dof) * np.sqrt(np.where(variance >= 0, variance, np.nan))
    return estimate - reach, estimate + reach


def from_draws(observed: Observed, draws: Mapping[str, Bootstrap], bootstrap: str) -> dict[str, Any]:
    """Return variances of scores, of their differences and of their distances to the ceiling, from a bootstrap."""
    used = used_samples(draws)
    if used.sum() < 2:
        raise MeasureError(
            f"{int(used.sum())} of {used.size} bootstrap samples have a score of every model: the others have too few"
            " distinct stimuli, or a constant RDM; take more bootstraps, more stimuli, or bootstrap=None"
        )

    def corrected(quantity: Quantity, usable: npt.NDArray[np.bool_] = used) -> tuple[Float64, dict[str, Float64]]:
        return corrected_variance({f: quantity(d)[usable] for f, d in draws.items()}, bootstrap, observed.sizes)

    def difference(k: int) -> Quantity:
        return lambda d: d.score - d.score[..., k : k + 1]

    variance, raw = corrected(lambda d: d.score)
    pairs = np.array([corrected(difference(k))[0] for k in range(len(observed.table))])
    out: dict[str, Any] = {"variance": variance, "pairs": pairs, "raw": {SHORT[f]: v for f, v in raw.items()}}
    out["counts"] = int(used.sum()), int((~used).sum())
    if observed.has_ceiling:
        whole = used & np.all([np.isfinite(d.lower).all(axis=1) for d in draws.values()], axis=0)
        out["ceiling"] = corrected(lambda d: d.score - d.lower[..., None], whole)[0]
    return out


def from_subjects(observed: Observed) -> dict[str, Any]:
    """Return the same for these stimuli only: the spread over subjects, whose scores are paired."""
    table, n = observed.table, observed.lower.size
    if n < 2:
        return {}

    def error(values: Float64) -> Float64:
        return np.asarray(values.var(axis=-1, ddof=1) / n)

    out: dict[str, Any] = {"variance": error(table), "pairs": error(table[:, None] - table), "raw": {}}
    return out | {"ceiling": error(table - observed.lower)}


def inferences(
    observed: Observed, found: Mapping[str, Any], dof: int, *, zero: bool, confidence: float
) -> dict[str, Any]:
    """Return intervals and p-values as variables of the result."""
    score, variance = observed.score, found["variance"]
    low, high = interval(score, variance, dof, confidence)
    out: dict[str, Any] = {
        "score_variance": variance,
        **found["raw"],
        "score_low": low,
        "score_high": high,
        "dof": dof,
    }
    if zero:
        out |= _corrected("pvalue_zero", t_pvalue(score, variance, dof, "greater"))
    if "ceiling" in found:
        below = t_pvalue(score - observed.lower.mean(), found["ceiling"], dof, "less")
        out |= _corrected("pvalue_ceiling", below)
    if len(score) > 1:
        pairs = t_pvalue(score[:, None] - score, found["pairs"], dof, "two-sided")
        out |= _corrected("pvalue_pair", pairs)
    if "counts" in found:
        out["n_samples_used"], out["n_samples_dropped"] = found["counts"]
    return out


def _corrected(name: str, pvalues: Float64) -> dict[str, Float64]:
    """Return raw p-values and both corrections; a square table is one family above its diagonal."""
    if pvalues.ndim == 1:
        return {name: pvalues, f"{name}_holm": holm(pvalues), f"{name}_bh": benjamini_hochberg(pvalues)}
    out = {name: pvalues}
    upper = np.triu_indices(len(pvalues), 1)
    for suffix, correct in (("holm", holm), ("bh", benjamini_hochberg)):
        square = np.diag(np.diagonal(pvalues)).copy()
        square[upper] = correct(pvalues[upper])
        square.T[upper] = square[upper]
        out[f"{name}_{suffix}"] = square
    return out
