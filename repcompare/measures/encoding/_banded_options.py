"""Options that banded, kernel and delayed ridge share, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Folds
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._options import ALPHAS, MENU, check_choice, checked_alphas
from repcompare.measures.encoding.delays import Lags, check_gap, make_lags

Double = npt.NDArray[np.float64]

SHARED = {
    "scoring": "pearson",
    "summary": "mean",
    "nested": True,
    "shared": False,
    "refine": False,
    "alpha_scale": "absolute",
    "one_se": False,
    "select_by": "error",
    "fisher_z": False,
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
    alpha_scale: Literal["absolute", "trace"] = "absolute"
    one_se: bool = False
    select_by: Literal["error", "pearson"] = "error"
    fisher_z: bool = False
    lags: Lags | None = None

    def __post_init__(self) -> None:
        for name in ("scoring", "summary", "alpha_scale", "select_by"):
            choose(getattr(self, name), MENU[name], name)
        check_choice(self, not self.shared or self.refine)  # refine moves a shared choice unit by unit

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold that can be scored."""
        return 3 if self.scoring == "pearson" else 1

    def searches_inside(self, n_bands: int) -> bool:
        """Whether an inner loop is needed."""
        one = n_bands == 1 if self.gammas is None else len(self.gammas) == 1
        return self.nested and (self.refine or self.alphas.size > 1 or not one)

    def lags_of(self, folds: Folds) -> Lags | None:
        """Return the delays inside the stretches of a recording."""
        return None if self.lags is None else self.lags.within(folds.segments)

    def check(self, folds: Folds, n_bands: int) -> None:
        """Raise ``MeasureError`` where a fold is too small or too near to its training rows."""
        check_folds(folds, self.model, self.fewest_test)
        lags = self.lags_of(folds)
        if lags is not None:
            check_gap(folds, lags)


def make_options(model: str, alphas: npt.ArrayLike, given: dict[str, Any], **own: Any) -> Options:
    """Return checked options from the keywords that all models of this engine share.

    Raises
    ------
    OptionError
        For an unknown option or value.
    """
    if "alpha_per_unit" in given:  # its name in ridge
        given = {"shared": not given["alpha_per_unit"]} | {k: v for k, v in given.items() if k != "alpha_per_unit"}
    unknown = sorted(set(given) - set(SHARED))
    if unknown:
        raise OptionError(f"{model} has no option {unknown[0]!r}; only {', '.join(SHARED)}, alpha_per_unit and its own")
    lags = make_lags(given.pop("delays", None), given.pop("hrf", None), given.pop("runs", None))
    return Options(model=model, alphas=checked_alphas(alphas), lags=lags, **given, **own)


def named_options(options: Options) -> dict[str, Any]:
    """Return what the label of the measure shows: options that differ from the defaults."""
    shown: dict[str, Any] = {"scoring": options.scoring, "summary": options.summary}
    if tuple(options.alphas) != ALPHAS:
        shown["alphas"] = options.alphas
    own = [name for name in SHARED if name not in ("scoring", "summary", "delays", "hrf", "runs")]
    shown |= {name: getattr(options, name) for name in own if getattr(options, name) != SHARED[name]}
    if options.lags is not None:
        shown["lags"] = options.lags.basis
        shown |= {} if options.lags.runs is None else {"runs": options.lags.runs}
    return shown
