"""Options of ridge, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Array, Folds
from repcompare.measures.encoding._factor import Double

ALPHAS = tuple(float(a) for a in np.logspace(-3, 6, 20))
MENU = {
    "scoring": ("pearson", "r2"),
    "summary": ("mean", "median"),
    "alpha_scale": ("absolute", "trace"),
    "select_by": ("error", "pearson"),
    "precision": ("auto", "double"),
}
DEFAULTS = {
    "alpha_per_unit": True,
    "nested": True,
    "alpha_scale": "absolute",
    "one_se": False,
    "select_by": "error",
    "refine": False,
    "precision": "auto",
    "fisher_z": False,
    "standardize": False,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of :func:`repcompare.measures.encoding.ridge.ridge`; ``alphas`` ascending."""

    alphas: Double
    alpha_per_unit: bool = True
    scoring: Literal["pearson", "r2"] = "pearson"
    summary: Literal["mean", "median"] = "mean"
    nested: bool = True
    alpha_scale: Literal["absolute", "trace"] = "absolute"
    one_se: bool = False
    select_by: Literal["error", "pearson"] = "error"
    refine: bool = False
    precision: Literal["auto", "double"] = "auto"
    fisher_z: bool = False
    standardize: bool = False
    weights: bool = False

    def __post_init__(self) -> None:
        for name, menu in MENU.items():
            choose(getattr(self, name), menu, name)
        check_choice(self, self.alpha_per_unit)

    @property
    def searches_inside(self) -> bool:
        """Whether an inner loop is needed at all."""
        return self.nested and self.alphas.size > 1

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold that can be scored."""
        return 3 if self.scoring == "pearson" else 1

    @property
    def closed_form(self) -> bool:
        """Whether leave-one-out needs no refit."""
        plain = self.alpha_scale == "absolute" and self.select_by == "error"
        return plain and not (self.standardize or self.refine or self.one_se)

    @property
    def n_evaluated(self) -> float:
        """How many penalties a divided form serves."""
        return np.inf if self.refine else float(self.alphas.size)

    @property
    def named(self) -> dict[str, Any]:
        """What the label of the measure shows: options that differ from the defaults."""
        shown: dict[str, Any] = {"scoring": self.scoring, "summary": self.summary}
        if tuple(self.alphas) != ALPHAS:
            shown["alphas"] = self.alphas
        return shown | {k: getattr(self, k) for k, v in DEFAULTS.items() if getattr(self, k) != v}

    def typed(self, values: Array) -> Array:
        """Return an array of shape (n, n_columns) in float64 where everything shall be."""
        return values.astype(np.float64, copy=False) if self.precision == "double" else values


class Choosing(Protocol):
    """Options of how penalties are chosen."""

    @property
    def refine(self) -> bool:
        """Whether penalties between those of the grid are searched."""

    @property
    def one_se(self) -> bool:
        """Whether the largest penalty within one standard error is taken."""

    @property
    def select_by(self) -> str:
        """What is as small, or as large, as can be."""


def check_choice(options: Choosing, per_unit: bool) -> None:
    """Raise ``OptionError`` for ways to choose penalties that do not go together."""
    if options.refine and not (per_unit and options.select_by == "error" and not options.one_se):
        raise OptionError("refine=True searches the smallest error of each unit; leave the other choices as they are")
    if options.one_se and not (per_unit and options.select_by == "error"):
        raise OptionError(
            "one_se=True is defined for errors of single units; expected select_by='error' and alpha_per_unit=True"
        )
    if not per_unit and options.select_by != "error":
        raise OptionError("alpha_per_unit=False adds up errors over units; expected select_by='error'")


def make_options(given: Mapping[str, Any]) -> Options:
    """Return options from the keywords of :func:`repcompare.measures.encoding.ridge.ridge`, or raise ``OptionError``."""
    return Options(**{**given, "alphas": checked_alphas(given.get("alphas", ALPHAS))})


def checked_alphas(alphas: npt.ArrayLike) -> Double:
    """Return penalties in ascending order, each once, or raise ``OptionError``."""
    try:
        found = np.unique(np.asarray(alphas, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise OptionError(f"alphas={alphas!r}; expected numbers > 0") from error
    if found.size == 0 or not np.isfinite(found).all() or found[0] <= 0:
        raise OptionError(f"alphas={alphas!r}; expected at least one, all finite and > 0")
    found.flags.writeable = False
    return found


def is_leave_one_out(folds: Folds) -> bool:
    """Whether every row is tested once, from all others.

    Examples
    --------
    >>> rows = np.arange(4)
    >>> is_leave_one_out(Folds(tuple((np.delete(rows, i), rows[[i]]) for i in range(4)), 4))
    True
    """
    if len(folds) != folds.n or folds.n < 4:
        return False
    if any(test.size != 1 or train.size != folds.n - 1 for train, test in folds.splits):
        return False
    return bool(np.array_equal(np.sort([test[0] for _, test in folds.splits]), np.arange(folds.n)))
