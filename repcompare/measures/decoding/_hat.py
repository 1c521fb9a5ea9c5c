"""Every fold's smoother from one hat matrix, without refitting (Treder 2018).

``H = 1/n + Kc (Kc + alpha I)^(-1)`` predicts all rows from all rows.  With E = (I - H_RR)^(-1) for removed rows R, the fit
to the other rows T predicts R by ``E H_RT`` and T by ``H_TT + H_TR E H_RT``: matrices that do not depend on the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from repcompare.measures._linalg import gram, require_variance, symmetric
from repcompare.measures._measure import Folds, Index
from repcompare.measures.decoding.models import Float64

SINGULAR = 1e-6  # rounding grows by its inverse


@dataclass(frozen=True)
class Smoother:
    """Weights of the training rows of a fold.

    Attributes
    ----------
    test : ndarray of shape (n_train, n_test)
        Weight of each training row in the prediction of each test row, above its share in the mean.
    train : ndarray of shape (n_train, n_train)
        The same for the training rows themselves.
    """

    test: Float64
    train: Float64


def centred_kernel(x: Float64) -> Float64:
    """Products of centred rows, (n_rows, n_rows).

    Raises
    ------
    MeasureError
        When nothing varies.
    """
    kernel = symmetric(gram(x))
    require_variance(float(np.trace(kernel)), "decoding")
    return np.asarray(kernel, dtype=np.float64)


def kernel_smoothers(kernel: Float64, folds: Folds) -> list[Smoother | None]:
    """Products of centred rows: what nearest centroids need of each fold."""
    return [Smoother(kernel[np.ix_(t, v)], kernel[np.ix_(t, t)]) for t, v in folds.splits]


def ridge_smoothers(kernel: Float64, folds: Folds, damp: float) -> list[Smoother | None]:
    """Return the smoother of each fold; None where I - H_RR is nearly singular and the fold must be fitted by itself.

    Parameters
    ----------
    kernel : ndarray, shape (n_rows, n_rows)
        Products of all rows, centred.
    folds : Folds
        Train and test rows.
    damp : float
        Penalty in the units of the scatter.
    """
    n = len(kernel)
    solved = scipy.linalg.cho_solve(scipy.linalg.cho_factor(kernel + damp * np.eye(n), lower=True), np.eye(n))
    rest = damp * (solved + solved.T) / 2 - 1 / n  # I - H: without cancellation where the fit is close
    return [_fold(rest, train, test, np.setdiff1d(np.arange(n), train)) for train, test in folds.splits]


def _fold(rest: Float64, train: Index, test: Index, removed: Index) -> Smoother | None:
    block = rest[np.ix_(removed, removed)]
    if scipy.linalg.eigvalsh(block, subset_by_index=[0, 0])[0] < SINGULAR:
        return None
    across = rest[np.ix_(removed, train)]  # -H_RT
    predicted = -scipy.linalg.cho_solve(scipy.linalg.cho_factor(block, lower=True), across)
    inside = np.eye(len(train)) - rest[np.ix_(train, train)] - across.T @ predicted
    share = 1 / len(train)
    at = np.searchsorted(removed, test)
    return Smoother(np.ascontiguousarray(predicted[at].T) - share, inside - share)
