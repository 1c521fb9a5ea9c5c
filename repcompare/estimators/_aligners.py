"""Aligners: linear maps of one system towards another."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.linalg
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from repcompare.errors import OptionError
from repcompare.estimators._checks import Double, checked, pair
from repcompare.measures._linalg import thin_factor


class _Aligner(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A linear map of one system that needs another one to be fitted."""

    def transform(self, X: npt.ArrayLike) -> Double:
        """Return the source, aligned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source.

        Returns
        -------
        ndarray of shape (n_samples, n_aligned)
        """
        check_is_fitted(self)
        x = checked(self, X, reset=False, dtype=np.float64)
        return np.asarray((x - self.mean_x_) @ self.map_ + self.offset_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, bool]:
        return {"requires_y": True, "multioutput": True}

    @property
    def _n_features_out(self) -> int:
        return int(self.map_.shape[1])


class ProcrustesAligner(_Aligner):
    """The rotation (and reflection) of one system that brings it closest to another.

    Parameters
    ----------
    scale : bool
        Also fit one factor for the size.

    Attributes
    ----------
    rotation_ : ndarray of shape (n_features, n_units)
        Orthonormal columns (rows, where there are more units than features).
    scale_ : float
        Factor; 1 without ``scale``.
    similarity_ : float
        ``|Xc' Yc|_* / (|Xc| |Yc|)`` on the fitted rows, 0 to 1; 0 where one side does not vary.

    References
    ----------
    Schoenemann 1966; Gower & Dijksterhuis 2004.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, turn = rng.normal(size=(20, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    >>> y = 2 * x @ turn + 5
    >>> bool(np.allclose(ProcrustesAligner().fit(x, y).transform(x), y))
    True
    """

    def __init__(self, *, scale: bool = True) -> None:
        self.scale = scale

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit the map of X (n_samples, n_features) to y (n_samples, n_units)."""
        x, target = pair(self, X, y, 2)
        self.mean_x_, self.offset_ = x.mean(axis=0), target.mean(axis=0)
        x, target = x - self.mean_x_, target - self.offset_
        u, s, vt = scipy.linalg.svd(x.T @ target, full_matrices=False, check_finite=False)
        size_x, size_y = float(np.sum(x**2)), float(np.sum(target**2))
        self.rotation_ = u @ vt
        turned = float(np.sum((x @ self.rotation_) ** 2))
        self.scale_ = float(s.sum() / turned) if self.scale and turned > 0 else 1.0
        self.similarity_ = float(s.sum() / np.sqrt(size_x * size_y)) if size_x > 0 and size_y > 0 else 0.0
        self.map_ = self.scale_ * self.rotation_
        return self


class CCAAligner(_Aligner):
    """Canonical variates of one system with another.

    Parameters
    ----------
    n_components : int, optional
        Number of variates; all, min of the ranks, by default.
    regularization : float
        c in [0, 1]: both sides are whitened by ((1 - c) lambda_i + c mean lambda)^(-1/2); 0 is CCA.

    Attributes
    ----------
    correlations_ : ndarray of shape (n_components,)
        Singular values of the cross-product of the whitened sides: canonical correlations of the fitted rows, 0 to 1
        (with ``regularization`` smaller than those of the variates).
    map_, map_y_ : ndarray of shape (n_features, n_components), (n_units, n_components)
        Weights of both sides.

    References
    ----------
    Hotelling 1936; Vinod 1976 (ridge).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 3))
    >>> aligner = CCAAligner().fit(x, x @ rng.normal(size=(3, 2)))
    >>> aligner.correlations_.round(6)
    array([1., 1.])
    """

    def __init__(self, n_components: int | None = None, *, regularization: float = 0.0) -> None:
        self.n_components = n_components
        self.regularization = regularization

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit the variates of X (n_samples, n_features) with y (n_samples, n_units)."""
        if not 0 <= self.regularization <= 1:
            raise OptionError(f"regularization={self.regularization!r}; expected 0 to 1")
        if self.n_components is not None and not self.n_components >= 1:
            raise OptionError(f"n_components={self.n_components!r}; expected a number >= 1, or None")
        x, target = pair(self, X, y, 3)
        self.mean_x_, self.mean_y_ = x.mean(axis=0), target.mean(axis=0)
        white_x, map_x = self._whiten(x - self.mean_x_)
        white_y, map_y = self._whiten(target - self.mean_y_)
        u, s, vt = scipy.linalg.svd(white_x.T @ white_y, full_matrices=False, check_finite=False)
        k = s.size if self.n_components is None else min(int(self.n_components), s.size)
        self.correlations_ = np.clip(s[:k], 0.0, 1.0)
        self.map_, self.map_y_ = map_x @ u[:, :k], map_y @ vt[:k].T
        self.offset_ = np.zeros(k)
        return self

    def _whiten(self, centred: Double) -> tuple[Double, Double]:
        """Return white rows (n, rank), columns of norm 1, and the weights (p, rank) that give unit variance."""
        u, s, vt = thin_factor(centred, float(np.finfo(np.float64).eps))
        c, freedom = self.regularization, len(centred) - 1
        weights = ((1 - c) * s**2 / freedom + c * np.mean(s**2) / freedom) ** -0.5
        return u * (s * weights / np.sqrt(freedom)), vt.T * weights

    def transform_target(self, y: npt.ArrayLike) -> Double:
        """Return the variates (n_samples, n_components) of the other system (n_samples, n_units)."""
        check_is_fitted(self)
        values = check_array(y, ensure_2d=not self._flat, dtype=np.float64).reshape(-1, self.mean_y_.size)
        return np.asarray((values - self.mean_y_) @ self.map_y_)
