"""The menu of decoders and their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose

MODELS = ("lda", "ridge", "logistic", "svm", "nearest_centroid")
SCORINGS = ("balanced_accuracy", "accuracy", "auc")
ALPHA = 0.1

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Model:
    """A decoder with its options.

    Attributes
    ----------
    name : str
        One of :data:`MODELS`.
    alpha : float, optional
        Penalty of ridge and LDA in units of tr(Kc) / p, the mean eigenvalue of the total scatter.
    shrinkage : "auto", float or None
        Of the covariance of LDA, where ``alpha`` is not given.
    penalties : tuple of float
        ``C`` of logistic regression and support vector machines; several are chosen among by inner folds.
    """

    name: str
    alpha: float | None = None
    shrinkage: float | str | None = None
    penalties: tuple[float, ...] = (1.0,)

    @property
    def shares_fits(self) -> bool:
        """Whether what is fitted before the labels come in serves every set of labels."""
        return self.name in ("ridge", "nearest_centroid") or (self.name == "lda" and self.shrinkage != "auto")

    @property
    def smooths(self) -> bool:
        """Whether decision values are sums over training rows whose weights do not depend on the labels."""
        return self.name in ("ridge", "nearest_centroid") or self.alpha is not None

    @property
    def options(self) -> dict[str, Any]:
        """What was chosen, for the record."""
        if self.name == "nearest_centroid":
            return {}
        if self.name in ("logistic", "svm"):
            return {"C": self.penalties[0] if len(self.penalties) == 1 else list(self.penalties)}
        return {"alpha": self.alpha} if self.alpha is not None else {"shrinkage": self.shrinkage}


def make_model(
    name: str,
    *,
    alpha: float | None = None,
    shrinkage: float | str | None = None,
    C: float | Sequence[float] | None = None,
) -> Model:
    """Return a decoder, or say which option it does not have.

    Raises
    ------
    OptionError
        For an unknown model, an option of another model, or a value out of range.

    Examples
    --------
    >>> make_model("lda").options
    {'shrinkage': 'auto'}
    >>> make_model("ridge").options
    {'alpha': 0.1}
    """
    choose(name, MODELS, "model")
    given = {"alpha": alpha, "shrinkage": shrinkage, "C": C}
    allowed = {"lda": ("alpha", "shrinkage"), "ridge": ("alpha",), "logistic": ("C",), "svm": ("C",)}.get(name, ())
    for option, value in given.items():
        if value is not None and option not in allowed:
            raise OptionError(f"model={name!r} has no option {option!r}; it has {', '.join(allowed) or 'none'}")
    if alpha is not None and shrinkage is not None:
        raise OptionError(f"alpha={alpha} and shrinkage={shrinkage!r} exclude each other; give one of them")
    if alpha is not None and not _positive(alpha):
        raise OptionError(f"alpha={alpha!r}; expected a number above 0, in units of the mean eigenvalue; 0.1 is usual")
    if isinstance(shrinkage, str):
        choose(shrinkage, ("auto",), "shrinkage")
    elif shrinkage is not None and not (_positive(shrinkage) and shrinkage < 1):
        raise OptionError(f"shrinkage={shrinkage!r}; expected 'auto' or a number between 0 and 1")
    if name == "ridge":
        return Model(name, alpha=ALPHA if alpha is None else float(alpha))
    if name == "lda":
        return Model(name, alpha, ("auto" if shrinkage is None else shrinkage) if alpha is None else None)
    return Model(name, penalties=_penalties(C))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value) and value > 0)


def _penalties(c: Any) -> tuple[float, ...]:
    values = (1.0,) if c is None else tuple(np.atleast_1d(c).tolist())
    if not values or not all(_positive(v) for v in values):
        raise OptionError(f"C={c!r}; expected a number above 0, or a list of them to choose from")
    return tuple(sorted({float(v) for v in values}))
