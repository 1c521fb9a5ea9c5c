"""What encoding two arrays gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose, suggest
from repcompare.measures._measure import Folds, Measure, as_outcome
from repcompare.measures.encoding.banded import banded_ridge, delayed_ridge
from repcompare.measures.encoding.kernel_ridge import kernel_ridge
from repcompare.measures.encoding.linear import best_unit, linear
from repcompare.measures.encoding.pls import pls
from repcompare.measures.encoding.poisson import poisson
from repcompare.measures.encoding.ridge import ridge

MODELS: dict[str, Callable[..., Measure]] = {
    "ridge": ridge,
    "delayed_ridge": delayed_ridge,
    "banded_ridge": banded_ridge,
    "kernel_ridge": kernel_ridge,
    "pls": pls,
    "linear": linear,
    "best_unit": best_unit,
    "poisson": poisson,
}


@dataclass(frozen=True, eq=False)
class EncodingResult:
    """Held-out scores of an encoding model.

    Attributes
    ----------
    score : float
        Summary of ``unit_scores`` (their mean unless ``summary="median"``); constant units are left out.
    unit_scores : ndarray of shape (n_units,)
        Per target unit; NaN where constant or undefined (see ``counts``).
    alphas : ndarray of shape (n_units,), or (n_bands, n_units) of banded ridge
        Penalties for a final refit on all rows; empty for models without.
    fold_alphas : ndarray of shape (n_folds, n_units), or (n_folds, n_bands, n_units)
        Penalties that gave the scores; empty, (n_folds, 0), for models without.
    fold_scores : ndarray of shape (n_folds,)
        Summary over units per fold.
    folds : Folds
        Train and test rows.
    model : str
        Which model.
    notes : tuple of str
        Warnings, code first.
    counts : mapping of str to int
        ``units_constant``, ``units_undefined``; with missing rows ``folds_skipped`` (unit by fold) and
        ``missing_patterns``; of counts ``units_silent``.
    details : mapping of str to array
        Further results of the model: ``fold_components`` and ``iterations`` of pls, ``sources`` of best_unit ...
    """

    score: float
    unit_scores: npt.NDArray[np.float64] = field(repr=False)
    alphas: npt.NDArray[np.float64] = field(repr=False)
    fold_alphas: npt.NDArray[np.float64] = field(repr=False)
    fold_scores: npt.NDArray[np.float64] = field(repr=False)
    folds: Folds = field(repr=False)
    model: str = "ridge"
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_constant(self) -> int:
        """How many units are constant in a training (for r also a test) set, and have no score."""
        return int(self.counts.get("units_constant", 0))


def encode_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    folds: Folds,
    *,
    model: str = "ridge",
    nan: Literal["raise", "pairwise"] = "raise",
    **options: Any,
) -> EncodingResult:
    """Predict the units of y from those of x on held-out rows.

    Parameters
    ----------
    x : array-like of shape (n_stimuli, n_features)
        Source.
    y : array-like of shape (n_stimuli, n_units)
        Target; rows match those of x.
    folds : Folds
        Train and test rows.
    model : str
        A name of :data:`MODELS`: "ridge", "delayed_ridge", "banded_ridge", "kernel_ridge", "pls", "linear", "best_unit",
        "poisson".
    nan : {"raise", "pairwise"}
        NaN in y: refuse, or fit and score each unit on the stimuli it has, which ridge alone does.  NaN in x always raises.
    **options
        Of the model, see the function of its name: :func:`repcompare.measures.encoding.ridge.ridge` ...

    Returns
    -------
    EncodingResult
        Scores and penalties.

    Raises
    ------
    OptionError
        For an unknown model or option value.
    MeasureError
        When the arrays do not match, or no unit can be scored.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> result = encode_arrays(x, x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3)), folds)
    >>> round(result.score, 2), result.fold_alphas.shape
    (0.84, (5, 3))
    """
    choose(model, MODELS, "model")
    choose(nan, ("raise", "pairwise"), "nan")
    _check_options(model, options)
    measure = MODELS[model](**options)
    source, target = np.asarray(x), np.asarray(y)
    if source.shape[:1] != target.shape[:1]:
        raise MeasureError(f"x has shape {source.shape} and y {target.shape}; expected matching rows")
    missing = int(np.isnan(target).sum())
    if missing and (nan == "raise" or not measure.accepts_nan):
        way = ", or fit each unit on the stimuli it has with nan='pairwise'"
        if not measure.accepts_nan:
            way = f": model={model!r} fits all units on the same stimuli, and nan='pairwise' goes with model='ridge' alone"
        raise MeasureError(
            f"{model}: {missing} missing values (NaN) in the target; drop them with nan='drop_units' or "
            f"nan='drop_stimuli'{way}"
        )
    states = measure.prepared(source, folds), measure.prepared(target, folds, side="target")
    found = as_outcome(measure.compare(*states))
    return EncodingResult(
        score=found.score,
        unit_scores=np.asarray(found.unit_scores, dtype=np.float64),
        alphas=found.details.get("alphas", np.zeros(0)),
        fold_alphas=found.details.get("fold_alphas", np.zeros((len(folds), 0))),
        fold_scores=np.asarray(found.fold_scores, dtype=np.float64),
        folds=folds,
        model=model,
        notes=found.notes,
        counts=found.counts,
        details={name: value for name, value in found.details.items() if name not in ("alphas", "fold_alphas")},
    )


def _check_options(model: str, options: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for an option that the model does not have."""
    known = signature(MODELS[model]).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values()):
        return  # the model checks them
    for name in options:
        if name not in known:
            raise OptionError(f"model={model!r} has no option {name!r}{suggest(name, known)}")
