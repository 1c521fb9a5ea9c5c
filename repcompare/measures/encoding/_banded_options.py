"""Options that banded, kernel and delayed ridge share, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Folds
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._options import ALPHAS, checked_alphas
from repcompare.measures.encoding.delays import Lags, check_gap, make_lags

Double = npt.NDArray[np.float64]

SHARED = {
    "scoring": "pearson",
    "summary": "mean",
    "nested": True,
    "shared": False,
    "refine": False,
    "delays": None,
    "hrf": None,
    "runs": None,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that every model of this engine has; ``alphas`` ascending."""

    model: str
    alphas: Double
    gammas: Double | None = None
    n_iter: int = 1
    seed: int = 0
    scoring: Literal["pearson", "r2"] = "pearson"
    summary: Literal["mean", "median"] = "mean"
    nested: bool = True
    shared: bool = False
    refine: bool = False
    lags: Lags | None = None

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold that can be scored."""
        return 3 if self.scoring == "pearson" else 1

    def searches_inside(self, n_bands: int) -> bool:
        """Whether an inner loop is needed."""
        one = n_bands == 1 if self.gammas is None else len(self.gammas) == 1
        return self.nested and (self.refine or self.alphas.size > 1 or not one)

    def check(self, folds: Folds, n_bands: int) -> None:
        """Raise ``MeasureError`` where a fold is too small or too near to its training rows."""
        check_folds(folds, self.model, self.fewest_test, inner=self.searches_inside(n_bands))
        if self.lags is not None:
            check_gap(folds, self.lags)


def make_options(model: str, alphas: npt.ArrayLike, given: dict[str, Any], **own: Any) -> Options:
    """Return checked options from the keywords that all models of this engine share.

    Raises
    ------
    OptionError
        For an unknown option or value.
    """
    unknown = sorted(set(given) - set(SHARED))
    if unknown:
        raise OptionError(f"{model} has no option {unknown[0]!r}; only {', '.join(SHARED)} and its own")
    lags = make_lags(given.pop("delays", None), given.pop("hrf", None), given.pop("runs", None))
    choose(given.get("scoring", "pearson"), ("pearson", "r2"), "scoring")
    choose(given.get("summary", "mean"), ("mean", "median"), "summary")
    return Options(model=model, alphas=checked_alphas(alphas), lags=lags, **given, **own)


def named_options(options: Options) -> dict[str, Any]:
    """Return what the label of the measure shows: options that differ from the defaults."""
    shown: dict[str, Any] = {"scoring": options.scoring, "summary": options.summary}
    if tuple(options.alphas) != ALPHAS:
        shown["alphas"] = options.alphas
    shown |= {k: getattr(options, k) for k in ("nested", "shared", "refine") if getattr(options, k) != SHARED[k]}
    if options.lags is not None:
        shown["lags"] = options.lags.basis
        shown |= {} if options.lags.runs is None else {"runs": options.lags.runs}
    return shown
