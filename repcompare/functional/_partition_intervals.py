"""Intervals of a variance partitioning: the two-factor bootstrap over stimuli and subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.functional._rsa_uncertainty import corrected_variance, degrees_of_freedom, interval
from repcompare.measures.rsa._partition_bootstrap import Regression, bootstrap_r2
from repcompare.measures.rsa._resampled_bootstrap import FACTORS
from repcompare.measures.rsa.crossvalidation import default_folds
from repcompare.measures.rsa.partitioning import Matrix, Partition, parts_matrix, prepared
from repcompare.statistics.two_factor import draw_counts, draw_uniform

N_ASSIGNMENTS = 2  # of stimuli and subjects to folds, in every bootstrap sample
DISTINCT = 1 - np.exp(-1)  # share of distinct things that a draw with replacement is expected to have
FEW = 20  # stimuli


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """How a variance partitioning is resampled.

    Attributes
    ----------
    bootstrap : {"stimuli_and_subjects", "stimuli", "subjects"}
    n_bootstraps : int
        0: not at all.
    confidence : float
    seed : int
    cross_validated : bool
    folds, subject_folds : int, optional
        Numbers of folds; the usual ones for what a draw has by default.
    """

    bootstrap: str
    n_bootstraps: int
    confidence: float
    seed: int
    cross_validated: bool
    folds: Any = None
    subject_folds: int | None = None

    def check(self, n_rdms: int) -> None:
        """Raise on an option that is not on the menu, or cannot be had."""
        choose(self.bootstrap, FACTORS, "bootstrap")
        n = self.n_bootstraps
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 or n == 1:
            raise OptionError(f"n_bootstraps={n!r}; expected 0 (no intervals), or a whole number, at least 2")
        if not 0 < self.confidence < 1:
            raise OptionError(f"confidence={self.confidence!r}; expected a number between 0 and 1, such as 0.95")
        if n and self.bootstrap != "stimuli" and n_rdms < 2:
            raise MeasureError("the data are one RDM; expected 2 or more to draw from; take bootstrap='stimuli'")

    def n_folds(self, k: int, n_rdms: int) -> tuple[int, int] | None:
        """Return the numbers of folds inside every sample."""
        if not self.cross_validated:
            return None
        stimuli = int(DISTINCT * k) if "stimuli" in self.bootstrap else k
        subjects = max(1, int(DISTINCT * n_rdms)) if "subjects" in self.bootstrap else n_rdms
        usual, usual_subjects = default_folds(stimuli, subjects)
        usual_subjects = min(n_rdms, max(2, usual_subjects)) if n_rdms > 1 else 1
        given = self.folds if isinstance(self.folds, (int, np.integer)) else usual
        return int(given), usual_subjects if self.subject_folds is None else self.subject_folds


def intervals(
    groups: list[Matrix], data: Matrix, observed: Partition, how: tuple[bool, bool], drawn: Drawn
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return variables and attributes of the intervals.

    Parameters
    ----------
    groups : list of ndarray, shape (n_components, n_pairs)
    data : ndarray, shape (n_rdms, n_pairs)
    observed : Partition
    how : tuple of bool
        ``nonnegative`` and ``ranked``.
    drawn : Drawn
    """
    nonnegative, ranked = how
    subsets, chosen, given = prepared(groups, data, ranked)
    n_folds = drawn.n_folds(given.k, given.n_rdms)
    problem = Regression(given, chosen, nonnegative, n_folds)
    sizes = given.n_rdms, given.k
    counts = tuple(
        draw_counts(n, drawn.n_bootstraps, drawn.seed, name)
        for n, name in ((given.k, "stimuli"), (given.n_rdms, "subjects"))
    )
    # many small products: more threads of BLAS slow them, and sums in another order are other sums
    with threadpool_limits(1, user_api="blas"):
        r2 = bootstrap_r2(
            problem, (counts[0], counts[1]), _keys(given.k, given.n_rdms, drawn), FACTORS[drawn.bootstrap]
        )
    used = np.all([np.isfinite(values).all(axis=(1, 2)) for values in r2.values()], axis=0)
    if used.sum() < 2:
        raise MeasureError(
            f"{int(used.sum())} of {drawn.n_bootstraps} bootstrap samples have an R^2: each fold needs 3 distinct stimuli, 3"
            " pairs and a subject; take more stimuli, fewer folds, or cross_validated=False"
        )
    dof = degrees_of_freedom(drawn.bootstrap, sizes)
    out: dict[str, Any] = {}
    tables = {"r2": (np.eye(len(subsets)), observed.r2), "part": (parts_matrix(subsets), observed.parts)}
    for name, (matrix, table) in tables.items():
        draws = {factor: values[used] @ matrix.T for factor, values in r2.items()}
        variance = corrected_variance(draws, drawn.bootstrap, sizes)[0]
        mean = table.mean(axis=1)
        low, high = interval(mean, variance, dof, drawn.confidence)
        out |= {f"{name}_mean": mean, f"{name}_variance": variance, f"{name}_low": low, f"{name}_high": high}
    variables: dict[str, Any] = {name: ("subset", values) for name, values in out.items()}
    n = len(groups)  # single models come first
    variables |= {f"unique_{end}": ("model", out[f"part_{end}"][:n]) for end in ("mean", "variance", "low", "high")}
    variables |= {"dof": dof, "n_samples_used": int(used.sum()), "n_samples_dropped": int((~used).sum())}
    return variables, _record(drawn, n_folds, given.k, out, int((~used).sum()))


def _keys(k: int, n_rdms: int, drawn: Drawn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the random numbers that assign what is drawn to folds."""
    count, each = drawn.n_bootstraps, N_ASSIGNMENTS
    one, two = (draw_uniform(n * each, count, drawn.seed, f"folds of samples/{i}") for i, n in enumerate((k, n_rdms)))
    return one.reshape(count, each, k), two.reshape(count, each, n_rdms)


def _record(
    drawn: Drawn, n_folds: tuple[int, int] | None, k: int, values: dict[str, Any], dropped: int
) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "bootstrap": drawn.bootstrap,
        "n_bootstraps": drawn.n_bootstraps,
        "confidence": drawn.confidence,
        "bootstrap_folds": list(n_folds or (0, 0)),
    }
    warnings = []
    if "stimuli" in drawn.bootstrap and k < FEW:
        warnings.append(f"few_stimuli: {k} stimuli; intervals are approximate below {FEW}")
    if dropped:
        warnings.append(
            f"dropped_samples: {dropped} of {drawn.n_bootstraps} bootstrap samples have a fold with too few distinct"
            " stimuli or pairs, without a subject, or with a constant RDM"
        )
    if not all(np.all(values[f"{name}_variance"] >= 0) for name in ("r2", "part")):
        warnings.append(
            "variance: a variance is negative; more bootstraps, or fewer folds, are needed for its interval"
        )
    return attrs | ({"warnings": warnings} if warnings else {})
