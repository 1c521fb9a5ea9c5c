"""Penalties of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.functional._pair import Data, matched

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
DIGITS = 1e-14  # of log alpha, where the halving of its bracket ends
BATCH_BYTES = 1 << 26
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
        ``"nemos"``, ``"sklearn_poisson"``: per sample.  ``"sklearn_logistic"``: C, its inverse.  Fractions (fracridge)
        depend on the data: :func:`alpha_of_fraction`.
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


def alpha_of_fraction(x: Data, y: Data, fractions: npt.ArrayLike) -> Values:
    """Return the penalties of ridge whose weights have a given fraction of the length of those of least squares.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n, n_features), (n, n_units)
        Source and target, matched by stimulus name or by row: those that are fitted.
    fractions : float or array-like of shape (n_fractions,)
        ``|b(alpha)| / |b(0)|``, above 0 and at most 1; b(0) are the least-squares weights of minimum norm, with an
        intercept.

    Returns
    -------
    ndarray of shape (n_units,), or (n_fractions, n_units)
        Absolute penalties as ``alphas`` of ridge; 0 for the fraction 1; NaN for units whose least-squares weights are 0.

    Raises
    ------
    OptionError
        For fractions out of range.
    MeasureError
        For missing or infinite values, or a source that does not vary.
    AlignmentError
        When the stimuli do not match.

    Notes
    -----
    With eigenvalues lam of the scatter of x and projections z, ``|b(alpha)|^2 = sum (z / (lam + alpha))^2`` falls with
    alpha, and alpha lies between ``lam (1 - f) / f`` of the smallest and of the largest lam: the bracket that is halved.

    References
    ----------
    Rokem & Kay 2020, GigaScience 9:giaa133.

    Examples
    --------
    >>> x = np.array([[-1.0], [0.0], [1.0]])
    >>> alpha_of_fraction(x, 3 * x, [0.5, 1.0]).round(9)
    array([[2.],
           [0.]])
    """
    wanted = np.asarray(fractions, dtype=np.float64)
    if wanted.ndim > 1 or not wanted.size or not ((wanted > 0) & (wanted <= 1)).all():
        raise OptionError(f"fractions={fractions!r}; expected numbers above 0 and at most 1")
    a, b = (np.asarray(side, dtype=np.float64) for side in matched(x, y)[:2])
    for name, values in (("x", a), ("y", b)):
        if not np.isfinite(values).all():
            raise MeasureError(
                f"{name} holds NaN or infinite values; expected finite numbers; drop those rows or units"
            )
    fixed = np.ptp(b, axis=0) <= 4 * np.finfo(np.float64).eps * np.abs(b).max(axis=0)
    a, b = a - a.mean(axis=0), np.where(fixed, 0.0, b - b.mean(axis=0))
    u, s, _ = np.linalg.svd(a, full_matrices=False)
    kept = s > max(a.shape) * np.finfo(np.float64).eps * s[0]
    if not kept.any():
        raise MeasureError(f"no feature of x varies over its {len(a)} rows; check x")
    lam = s[kept] ** 2
    found = np.empty((wanted.size, b.shape[1]))
    step = max(1, BATCH_BYTES // (8 * lam.size))
    for start in range(0, b.shape[1], step):
        units = slice(start, start + step)
        squares = (u[:, kept].T @ b[:, units]) ** 2 / lam[:, None]  # of the least-squares weights
        for i, fraction in enumerate(wanted.ravel()):
            found[i, units] = _halved(lam, squares, float(fraction))
    return found[0] if wanted.ndim == 0 else found


def _halved(lam: Values, squares: Values, fraction: float) -> Values:
    """Return penalties (n_units,) at which squared weights (r, n_units) have a fraction of their length."""
    total = squares.sum(axis=0)
    if fraction == 1.0:
        return np.where(total > 0, 0.0, np.nan)
    low, high = (np.log(edge * (1 - fraction) / fraction) for edge in (lam.min(), lam.max()))
    lows, highs = np.full(total.size, low), np.full(total.size, high)
    for _ in range(int(np.ceil(np.log2(max((high - low) / DIGITS, 1.0))))):
        middle = (lows + highs) / 2
        shrunk = (squares * (lam[:, None] / (lam[:, None] + np.exp(middle))) ** 2).sum(axis=0)
        longer = shrunk > fraction**2 * total
        lows, highs = np.where(longer, middle, lows), np.where(longer, highs, middle)
    return np.where(total > 0, np.exp((lows + highs) / 2), np.nan)
