"""Options of ridge, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
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

    def __post_init__(self) -> None:
        for name, menu in MENU.items():
            choose(getattr(self, name), menu, name)
        if self.refine and not (self.alpha_per_unit and self.select_by == "error" and not self.one_se):
            raise OptionError(
                "refine=True searches the smallest error of each unit; leave the other choices as they are"
            )
        if self.one_se and not (self.alpha_per_unit and self.select_by == "error"):
            raise OptionError("one_se=True is defined for errors of single units; expected select_by='error'")
        if not self.alpha_per_unit and self.select_by != "error":
            raise OptionError("alpha_per_unit=False adds up errors over units; expected select_by='error'")

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


def check_folds(folds: Folds, options: Options) -> None:
    """Raise ``MeasureError`` where a fold cannot be scored, or nothing is left to choose penalties on."""
    for f, (train, test) in enumerate(folds.splits):
        if test.size < options.fewest_test:
            raise MeasureError(
                f"ridge: fold {f} has {test.size} test rows; r needs at least 3; the largest usable is "
                f"folds={max(folds.n // 3, 1)}, or take scoring='r2'"
            )
        if train.size < 3:
            raise MeasureError(f"ridge: fold {f} has {train.size} training rows; expected at least 3")
    if options.searches_inside and len(folds) < 3 and folds.groups is None:
        raise MeasureError(
            f"ridge: {len(folds)} folds leave no inner folds to choose alpha; give at least 3 folds, groups, one "
            f"alpha, or nested=False"
        )


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
