"""Encoders fitted on all rows with what cross-validation chose: weights of the features, and predictions from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding import _poisson_fit as solver
from repcompare.measures.encoding._banded_bands import band_codes
from repcompare.measures.encoding._banded_refit import weights_on_all
from repcompare.measures.encoding._factor import CUT
from repcompare.measures.encoding._held_out import Double
from repcompare.measures.encoding._kernel_fit import KernelWeights, fit_kernel
from repcompare.measures.encoding._pls_fit import Direction
from repcompare.measures.encoding._pls_refit import fit_rows, weights_of
from repcompare.measures.encoding._refit import Weights, refit
from repcompare.measures.encoding.delays import Lags, Runs, make_lags

Details = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class DelayedWeights(Weights):
    """A linear map of delayed features; ``coef`` (n_basis * p, n_units) has all features at the first delay, ...

    Attributes
    ----------
    lags : Lags
        Delays or response functions.
    """

    lags: Lags = field(kw_only=True, repr=False)

    def predict(self, x: Array, runs: Runs = None) -> Array:
        """Return predictions (n, n_units) for rows (n, n_features) in time order; delays stop where runs do."""
        lags = make_lags(hrf=self.lags.basis, runs=runs)
        assert lags is not None
        return super().predict(lags.features(np.asarray(x, dtype=np.float64)))


@dataclass(frozen=True, eq=False)
class RateWeights(Weights):
    """A linear map to the log of a rate."""

    def predict(self, x: Array) -> Array:
        """Return predicted counts (n, n_units), ``exp(x coef + intercept)``, for a source (n, n_features)."""
        return np.asarray(np.exp(np.minimum(super().predict(x), solver.LARGEST)))


Fitted = Weights | KernelWeights


@dataclass(frozen=True, eq=False)
class Chosen:
    """What cross-validation chose, and how the model was asked for.

    Attributes
    ----------
    alphas : ndarray of shape (n_units,) or (n_bands, n_units)
        Penalties of a fit on all rows, as ``encode_arrays`` gives them.
    details : mapping
        ``components`` of pls, ``gammas`` of banded ridge.
    options : mapping
        Those of the model.
    segments : ndarray of shape (n,), optional
        Stretches of a recording that delays do not leave.
    """

    alphas: Double
    details: Details = field(default_factory=dict)
    options: Details = field(default_factory=dict)
    segments: Index | None = None

    @property
    def lags(self) -> Lags | None:
        """Delays, within runs and segments."""
        found = make_lags(*(self.options.get(name) for name in ("delays", "hrf", "runs")))
        return None if found is None else found.within(self.segments)


def fit_model(model: str, x: Array, y: Array, chosen: Chosen) -> Fitted:
    """Fit a model on all rows.

    Parameters
    ----------
    model : str
        A name of :data:`FITS`.
    x, y : ndarray of shape (n, p), (n, n_units)
        Both sides; NaN in y goes with ridge alone.
    chosen : Chosen
        Penalties, components, and the options of the model.

    Returns
    -------
    Weights or KernelWeights
        NaN for units without a penalty.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> found = fit_model("linear", x, 2 * x + 1, Chosen(np.zeros(0)))
    >>> found.coef.round(6), found.predict(np.array([[5.0]])).round(6)
    (array([[2.]]), array([[11.]]))
    """
    return FITS[model](x, y, chosen)


def _ridge(x: Array, y: Array, chosen: Chosen) -> Weights:
    coef = chosen.details.get("coef")  # made with the scores
    if coef is None:
        return refit(x, y, chosen.alphas, standardize=bool(chosen.options.get("standardize", False)))
    mean_x, mean_y = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    dtype = np.float32 if x.dtype == y.dtype == np.float32 else np.float64
    intercept = mean_y - mean_x.astype(coef.dtype) @ coef
    return Weights(coef.astype(dtype, copy=False), intercept.astype(dtype))


def _delayed(x: Array, y: Array, chosen: Chosen) -> Weights:
    lags = chosen.lags
    assert lags is not None
    found = refit(lags.features(x), y, chosen.alphas)
    return DelayedWeights(found.coef, found.intercept, lags=lags)


def _banded(x: Array, y: Array, chosen: Chosen) -> Weights:
    lags, (codes, _) = chosen.lags, band_codes(chosen.options.get("bands"), x.shape[1])
    features, target = x.astype(np.float64), y.astype(np.float64)
    if lags is not None:
        features, codes = lags.features(features), np.tile(codes, len(lags.basis))
    gammas = np.asarray(chosen.details.get("gammas", np.ones((1, y.shape[1]))))
    penalties = np.atleast_2d(chosen.alphas)
    first = gammas.argmax(axis=0), np.arange(y.shape[1])
    whole = penalties[first] * gammas[first]
    mean_x, mean_y = features.mean(axis=0), target.mean(axis=0)
    coef = weights_on_all(features - mean_x, target - mean_y, gammas[codes], whole)
    intercept = mean_y - mean_x @ coef
    return Weights(coef, intercept) if lags is None else DelayedWeights(coef, intercept, lags=lags)


def _kernel(x: Array, y: Array, chosen: Chosen) -> KernelWeights:
    return fit_kernel(x, y, chosen.alphas, (chosen.options, chosen.lags))


def _pls(x: Array, y: Array, chosen: Chosen) -> Weights:
    options = chosen.options
    how = Direction(options.get("solver", "exact"), options.get("tol", 1e-6), options.get("max_iter", 500))
    rows, target = x.astype(np.float64), y.astype(np.float64)
    components = chosen.details["components"]
    coef = weights_of(fit_rows(rows, target, int(components.max()), how), components)
    return Weights(coef, target.mean(axis=0) - rows.mean(axis=0) @ coef)


def _linear(x: Array, y: Array, chosen: Chosen) -> Weights:
    """Least squares of minimum norm over the features that vary."""
    rows, target = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = rows.mean(axis=0), target.mean(axis=0)
    eps = float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
    varies = np.ptp(rows, axis=0) > 4 * eps * np.abs(mean_x)
    coef = np.zeros((rows.shape[1], target.shape[1]))
    about = rows[:, varies] - mean_x[varies]
    coef[varies] = np.linalg.lstsq(about, target - mean_y, rcond=max(about.shape) * eps)[0]
    return Weights(coef, mean_y - mean_x @ coef)


def _best_unit(x: Array, y: Array, chosen: Chosen) -> Weights:
    """The regression line of the source unit with the highest r; constant source units are no candidates."""
    rows, target = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = rows.mean(axis=0), target.mean(axis=0)
    about = rows - mean_x
    eps = float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
    size = np.sqrt(np.einsum("ij,ij->j", about, about))
    fixed = np.ptp(rows, axis=0) <= 4 * eps * np.abs(mean_x)
    cross = about.T @ (target - mean_y)
    r = np.where(fixed[:, None], -np.inf, cross / np.where(size > 0, size, 1.0)[:, None])
    best, units = r.argmax(axis=0), np.arange(target.shape[1])
    coef = np.zeros(cross.shape)
    coef[best, units] = cross[best, units] / size[best] ** 2
    return Weights(coef, mean_y - mean_x @ coef)


def _poisson(x: Array, y: Array, chosen: Chosen) -> Weights:
    rows, counts, alphas = x.astype(np.float64), y.astype(np.float64), chosen.alphas
    mean = rows.mean(axis=0)
    u, s, vt = np.linalg.svd(rows - mean, full_matrices=False)
    kept = s**2 > CUT * s[0] ** 2
    basis, scores, lam = vt[kept].T, u[:, kept] * s[kept], s[kept] ** 2
    coef, intercept = np.full((x.shape[1], y.shape[1]), np.nan), np.full(y.shape[1], np.nan)
    for alpha in np.unique(alphas[np.isfinite(alphas)]):
        units = np.flatnonzero((alphas == alpha) & (counts.max(axis=0) > 0))
        if units.size:
            state = solver.start(counts[:, units], lam.size)
            state = solver.fit(scores, lam, counts[:, units], float(alpha), state)
            coef[:, units] = basis @ state.weights[:-1]
            intercept[units] = state.weights[-1] - mean @ coef[:, units]
    return RateWeights(coef, intercept)


FITS: dict[str, Callable[[Array, Array, Chosen], Fitted]] = {
    "ridge": _ridge,
    "delayed_ridge": _delayed,
    "banded_ridge": _banded,
    "kernel_ridge": _kernel,
    "pls": _pls,
    "linear": _linear,
    "best_unit": _best_unit,
    "poisson": _poisson,
}
