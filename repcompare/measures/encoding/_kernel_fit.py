"""Kernel ridge on all rows: weights of the rows, and predictions through the kernel of new rows with the fitted ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Array
from repcompare.measures.encoding._banded_problem import linear_kernel
from repcompare.measures.encoding._banded_spectral import eigen
from repcompare.measures.encoding.delays import Lags, Runs, convolve, convolved_features, convolved_kernel
from repcompare.measures.encoding.kernel_ridge import Kernel, checked_kernel

Double = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class FittedKernel:
    """A kernel whose parameters come from the fitted rows.

    Attributes
    ----------
    how : Kernel
        Its name and options.
    lags : Lags, optional
        Delays, with the runs of the fitted rows.
    x : ndarray of shape (n, p)
        Fitted rows; of a precomputed kernel the kernel (n, n).
    mean : ndarray of shape (p,)
        What rows are taken about.
    size : float
        Bandwidth, or what inner products are multiplied by.
    """

    how: Kernel
    lags: Lags | None
    x: Double
    mean: Double
    size: float

    def cross(self, rows: Double, runs: Runs = None, *, fitted: bool = False) -> Double:
        """Return the kernel (m, n) of some rows (m, p) with the fitted ones; not centred."""
        found = rows if self.how.name == "precomputed" else self._products(rows, fitted)
        if self.lags is None:
            return found
        if fitted:
            return convolved_kernel(found, self.lags.basis, self.lags.runs)
        return _convolved_cross(found, self.lags, runs)

    def _products(self, rows: Double, fitted: bool) -> Double:
        a, b = rows - self.mean, self.x - self.mean
        inner = linear_kernel(a) if fitted else a @ b.T
        if self.how.name == "linear":
            return inner
        if self.how.name == "polynomial":
            return np.asarray((inner * self.size + self.how.coef0) ** self.how.degree)
        norms = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)
        squared = np.maximum(norms[0][:, None] + norms[1] - 2 * inner, 0.0)
        if fitted:
            np.fill_diagonal(squared, 0.0)
        return np.asarray(np.exp(squared / (-2 * self.size**2)))


def _convolved_cross(kernel: Double, lags: Lags, runs: Runs) -> Double:
    """Return the kernel of delayed rows of two recordings; columns are the fitted one."""
    out = np.zeros(kernel.shape)
    for row in lags.basis:
        out += convolve(convolve(kernel, row, runs).T, row, lags.runs).T
    return out


def fitted_kernel(x: Array, how: Kernel, lags: Lags | None) -> FittedKernel:
    """Take the parameters of a kernel from all rows."""
    if how.name == "precomputed":
        return FittedKernel(how, lags, checked_kernel(x), np.zeros(0), 1.0)
    rows = x.astype(np.float64)
    mean = rows.mean(axis=0)
    if how.name == "linear" and lags is not None:
        mean = np.zeros(rows.shape[1])  # rows before a run are 0 in the user's own units
    about, size = rows - mean, 1.0
    if how.name == "rbf":
        size = 1.0 if how.bandwidth == "median" else float(how.bandwidth)
        if how.bandwidth_scale == "median":
            inner = linear_kernel(about)
            norms = inner.diagonal()
            squared = np.maximum(norms + norms[:, None] - 2 * inner, 0.0)
            size *= float(np.sqrt(np.median(squared[np.triu_indices(len(rows), 1)])))
    elif how.name == "polynomial":
        scale = float(np.einsum("ij,ij->", about, about)) / len(rows)
        size = 1 / scale if how.gamma == "scale" else float(how.gamma)
    if not (np.isfinite(size) and size > 0):
        raise MeasureError(
            f"kernel={how.name!r}: its size is not defined on all rows; check the source, or give a number"
        )
    return FittedKernel(how, lags, rows, mean, size)


@dataclass(frozen=True, eq=False)
class KernelWeights:
    """A fitted kernel ridge: ``y = k(x, rows) dual + offset``.

    Attributes
    ----------
    kernel : FittedKernel
        With the rows that were fitted.
    dual : ndarray of shape (n, n_units)
        Weights of those rows; they sum to 0.
    offset : ndarray of shape (n_units,)
        In units of y.
    """

    kernel: FittedKernel = field(repr=False)
    dual: Double = field(repr=False)
    offset: Double = field(repr=False)

    @property
    def intercept(self) -> Double:
        """What ``x coef`` is added to, (n_units,), for the linear kernel; what ``k(x, rows) dual`` is, for others."""
        if self.kernel.how.name != "linear" or self.lags is not None:
            return self.offset
        return np.asarray(self.offset - self.kernel.mean @ self.coef)

    @property
    def coef(self) -> Double:
        """Weights of the features (p, n_units), which the linear kernel has.

        Raises
        ------
        OptionError
            For other kernels, which have weights of the rows alone.
        """
        if self.kernel.how.name != "linear":
            raise OptionError(
                f"kernel={self.kernel.how.name!r} has no weights of features; see .dual, its weights of the rows, or "
                "take kernel='linear'"
            )
        x, lags = self.kernel.x - self.kernel.mean, self.kernel.lags
        features = x if lags is None else convolved_features(x, lags.basis, lags.runs)
        return np.asarray(features.T @ self.dual)

    @property
    def lags(self) -> Lags | None:
        """Delays of the features."""
        return self.kernel.lags

    def predict(self, x: Array, runs: Runs = None) -> Double:
        """Return predictions (m, n_units) for rows (m, p), or for their kernel (m, n) with the fitted rows.

        Raises
        ------
        MeasureError
            For another number of columns, or values that are not finite.
        """
        rows, n = np.asarray(x, dtype=np.float64), self.kernel.x.shape[1]
        what = "inner products with the rows that were fitted" if self.kernel.how.name == "precomputed" else "features"
        if rows.ndim != 2 or rows.shape[1] != n:
            raise MeasureError(f"x has shape {rows.shape}; expected (n, {n}), the {what}")
        if not np.isfinite(rows.sum()):
            raise MeasureError("x holds NaN or infinite values; expected finite numbers; drop those rows")
        return np.asarray(self.kernel.cross(rows, runs) @ self.dual + self.offset)


def fit_kernel(x: Array, y: Array, alphas: Double, how: tuple[Mapping[str, Any], Lags | None]) -> KernelWeights:
    """Fit kernel ridge on all rows with one penalty per unit; ``how`` are the options of the model, and delays."""
    options, lags = how
    own = {k: options[k] for k in ("bandwidth", "bandwidth_scale", "degree", "coef0", "gamma") if k in options}
    kernel = fitted_kernel(x, Kernel(options.get("kernel", "linear"), **own), lags)
    whole = kernel.cross(kernel.x, fitted=True)
    mean = whole.mean(axis=0)
    lam, basis = eigen(whole - mean - mean[:, None] + mean.mean(), float(whole.trace()))
    target = y.astype(np.float64)
    about = target.mean(axis=0)
    dual = basis @ ((basis.T @ (target - about)) / (lam[:, None] + alphas))
    dual = np.asarray(dual - dual.mean(axis=0))  # so that the mean of a new row over the fitted ones drops out
    return KernelWeights(kernel, dual, about - mean @ dual)
