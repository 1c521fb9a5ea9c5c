"""Penalties of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose

Values = npt.NDArray[np.float64]
Pair = tuple[Callable[[Values, float], Values], Callable[[Values, float], Values]]

SUM: Pair = (lambda v, n: v, lambda v, n: v)
PER_SAMPLE: Pair = (lambda v, n: v * n, lambda v, n: v / n)

# their penalty -> that of "sum of squares (or of losses) + alpha |w|^2", and back
CONVENTIONS: dict[str, Pair] = {
    "repcompare": SUM,
    "sklearn_ridge": SUM,
    "himalaya_ridge": SUM,
    "himalaya_delta": (lambda v, n: np.exp(-v), lambda v, n: -np.log(v)),
    "tikreg": (lambda v, n: v**2, lambda v, n: np.sqrt(v)),
    "nemos": PER_SAMPLE,
    "sklearn_poisson": PER_SAMPLE,
    "sklearn_logistic": (lambda v, n: 1 / v, lambda v, n: 1 / v),
}
WITH_SAMPLES = {"nemos", "sklearn_poisson"}
FAMILY = {"nemos": "poisson", "sklearn_poisson": "poisson", "sklearn_logistic": "logistic"}


def convert_alpha(value: npt.ArrayLike, *, source: str, to: str, n_samples: int | None = None) -> Any:
    """Convert a penalty from the convention of one package to that of another.

    Parameters
    ----------
    value : float or array-like
        Penalties, > 0 (``"himalaya_delta"``: any number).
    source, to : str
        ``"repcompare"``: ``sum (y - x b)^2 + alpha |b|^2``, for Poisson and logistic models ``sum of losses +
        alpha / 2 |b|^2``.  ``"sklearn_ridge"``, ``"himalaya_ridge"`` (also its kernel ridge on a linear kernel): the
        same.  ``"himalaya_delta"``: log of a band's weight over the penalty.  ``"tikreg"``: enters squared.
        ``"nemos"``, ``"sklearn_poisson"``: per sample.  ``"sklearn_logistic"``: C, its inverse.
    n_samples : int, optional
        Training rows; needed by conventions per sample.

    Returns
    -------
    float, or ndarray of the shape of ``value``

    Raises
    ------
    OptionError
        For an unknown convention, a value that is no penalty, models of different kinds, or without ``n_samples``
        where it matters.

    Examples
    --------
    >>> convert_alpha(3.0, source="tikreg", to="repcompare")
    9.0
    >>> convert_alpha(0.5, source="sklearn_poisson", to="repcompare", n_samples=200)
    100.0
    """
    for name, convention in (("source", source), ("to", to)):
        choose(convention, CONVENTIONS, name)
    kinds = {FAMILY.get(name, "ridge") for name in (source, to) if name != "repcompare"}
    if len(kinds) > 1:
        raise OptionError(f"source={source!r} and to={to!r} penalise different models; expected one kind of model")
    if WITH_SAMPLES & {source, to} and (n_samples is None or n_samples < 1):
        raise OptionError(f"n_samples={n_samples!r}: a penalty per sample needs the number of training rows")
    values = np.asarray(value, dtype=np.float64)
    free = source == "himalaya_delta"
    if not np.isfinite(values).all() or (not free and (values <= 0).any()):
        raise OptionError(f"value={value!r}; expected finite penalties{'' if free else ' > 0'}")
    n = float(n_samples or 1)
    found = CONVENTIONS[to][1](CONVENTIONS[source][0](values, n), n)
    return float(found) if found.ndim == 0 else found
