"""Distances of patterns as features."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from repcompare.errors import OptionError, choose
from repcompare.estimators._checks import Double, checked

DISTANCES = ("correlation", "cosine", "euclidean", "squared_euclidean")


class RDMTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Distances of patterns to the patterns that were fitted; ``fit_transform`` gives the square RDM.

    Parameters
    ----------
    distance : {"euclidean", "squared_euclidean", "correlation", "cosine"}
        As in ``repcompare.rdm``.
    normalize_units : bool
        Divide squared Euclidean distances by the number of features (before the root).

    Attributes
    ----------
    patterns_ : ndarray of shape (n_fitted, n_features)
        Fitted patterns.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008.

    Examples
    --------
    >>> RDMTransformer(normalize_units=False).fit_transform([[0.0, 0.0], [3.0, 4.0]])
    array([[0., 5.],
           [5., 0.]])
    """

    def __init__(
        self,
        distance: Literal["euclidean", "squared_euclidean", "correlation", "cosine"] = "euclidean",
        *,
        normalize_units: bool = True,
    ) -> None:
        self.distance = distance
        self.normalize_units = normalize_units

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Remember the patterns X (n_fitted, n_features)."""
        choose(self.distance, DISTANCES, "distance")
        self.patterns_ = checked(self, X, dtype=np.float64, ensure_min_samples=2)
        self._unit(self.patterns_)
        return self

    def transform(self, X: npt.ArrayLike) -> Double:
        """Return the distances (n_samples, n_fitted) of X (n_samples, n_features)."""
        check_is_fitted(self)
        x = checked(self, X, reset=False, dtype=np.float64)
        if self.distance in ("correlation", "cosine"):
            return np.asarray(cdist(self._unit(x), self._unit(self.patterns_), "sqeuclidean") / 2)
        size = x.shape[1] if self.normalize_units else 1
        found = cdist(x, self.patterns_, "sqeuclidean") / size
        return np.asarray(found if self.distance == "squared_euclidean" else np.sqrt(found))

    def _unit(self, x: Double) -> Double:
        """Return patterns of length 1, about their own mean for correlations."""
        if self.distance not in ("correlation", "cosine"):
            return x
        about = x - x.mean(axis=1, keepdims=True) if self.distance == "correlation" else x
        norm = np.linalg.norm(about, axis=1, keepdims=True)
        flat = norm[:, 0] <= 8 * np.finfo(np.float64).eps * np.linalg.norm(x, axis=1)
        if flat.any():
            raise OptionError(
                f"pattern {int(np.argmax(flat))} does not vary over its n_features={x.shape[1]} features; its "
                f"{self.distance} with others is not defined; leave it out or use a Euclidean distance"
            )
        return np.asarray(about / norm)

    @property
    def _n_features_out(self) -> int:
        return len(self.patterns_)
