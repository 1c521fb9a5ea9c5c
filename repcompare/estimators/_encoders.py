"""Encoders: linear predictions of the units of one system from those of another."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import KFold, check_cv
from sklearn.utils.validation import check_is_fitted

from repcompare.errors import OptionError, choose
from repcompare.estimators._checks import Double, checked, pair
from repcompare.measures._measure import Folds
from repcompare.measures.encoding._banded_bands import band_codes
from repcompare.measures.encoding._banded_options import SHARED, make_options
from repcompare.measures.encoding._banded_refit import BandedFit, fit_on_all
from repcompare.measures.encoding._options import ALPHAS


class _Encoder(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Linear predictions."""

    def predict(self, X: npt.ArrayLike) -> Double:
        """Predict the units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Source.

        Returns
        -------
        ndarray of shape (n_samples, n_units), or (n_samples,) where y was
        """
        check_is_fitted(self)
        x = checked(self, X, reset=False, dtype=np.float64)
        return np.asarray(x @ self.coef_.T + self.intercept_)

    def _keep(self, coef: Double, intercept: Double) -> None:
        """Store weights (p, t) as scikit-learn does: (t, p), or (p,) for a single unit given as such."""
        self.coef_ = coef[:, 0] if self._flat else coef.T
        self.intercept_ = float(intercept[0]) if self._flat else intercept

    def _folds(self, x: Double, y: Double, cv: Any, seed: int) -> Folds:
        if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
            if not 2 <= cv <= len(x):
                raise OptionError(f"cv={cv}; expected 2 to n_samples={len(x)} folds")
            splitter = KFold(int(cv), shuffle=True, random_state=seed)
        else:
            splitter = check_cv(cv)
        return Folds(tuple((np.sort(a), np.sort(b)) for a, b in splitter.split(x, y)), len(x))


class RidgeEncoder(_Encoder):
    """Ridge regression with a penalty per unit, chosen by exact cross-validation.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties, > 0; default 20 from 1e-3 to 1e6.
    alpha_per_unit : bool
        Otherwise one for all units, by errors relative to each unit's variance.
    cv : int, splitter or list of (train, test)
        Folds; a number is shuffled by ``seed``.
    seed : int
        Of the folds.

    Attributes
    ----------
    coef_ : ndarray of shape (n_units, n_features), or (n_features,) where y has one axis
        Weights on all rows.
    intercept_ : ndarray of shape (n_units,), or float
        Not penalised.
    alpha_ : ndarray of shape (n_units,), or float
        Chosen penalties.
    cv_score_ : ndarray of shape (n_units,), or float
        R2 on the folds that chose the penalty (1 is perfect, 0 the training mean): a little too high; score anew on
        other data, or with ``repcompare.encode``, which nests.

    References
    ----------
    Hoerl & Kennard 1970.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 4))
    >>> RidgeEncoder().fit(x, x @ np.arange(4.0)).predict(np.ones((1, 4))).round(1)
    array([6.])
    """

    def __init__(
        self, alphas: npt.ArrayLike | None = None, *, alpha_per_unit: bool = True, cv: Any = 5, seed: int = 0
    ) -> None:
        self.alphas = alphas
        self.alpha_per_unit = alpha_per_unit
        self.cv = cv
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Choose penalties and fit X (n_samples, n_features) to y (n_samples, n_units) or (n_samples,)."""
        x, target = pair(self, X, y, 6)
        found = _tuned(self, (x, target), None, {"shared": not self.alpha_per_unit})
        self._keep(found.coef, found.intercept)
        self.alpha_ = float(found.alphas[0, 0]) if self._flat else found.alphas[0]
        self.cv_score_ = float(found.r2[0]) if self._flat else found.r2
        return self


class BandedRidgeEncoder(_Encoder):
    """Ridge regression with a penalty per band of features and unit.

    Parameters
    ----------
    bands : array-like of shape (n_features,), sequence of slices, or mapping of name to features, optional
        Band of each feature; None is one band.
    alphas : array-like of shape (n_alphas,), optional
        Overall penalties, > 0; band b gets ``alpha / gamma_b``.
    n_iter : int
        Weightings gamma that are tried.
    shared : bool
        One weighting and penalty for all units.
    cv : int, splitter or list of (train, test)
        Folds; a number is shuffled by ``seed``.
    seed : int
        Of the folds and weightings.

    Attributes
    ----------
    coef_, intercept_, cv_score_
        As in :class:`RidgeEncoder`.
    alphas_ : ndarray of shape (n_bands, n_units)
        Penalties; inf where a band is left out.
    band_names_ : tuple of str
        Names of the bands.

    References
    ----------
    Nunez-Elizalde et al. 2019; Dupre la Tour et al. 2022.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 10))
    >>> y = x[:, :2] @ np.ones(2) + 0.5 * rng.normal(size=60)
    >>> model = BandedRidgeEncoder({"signal": [0, 1], "rest": slice(2, 10)}, n_iter=10).fit(x, y)
    >>> bool(model.alphas_[0, 0] < model.alphas_[1, 0])
    True
    """

    def __init__(
        self,
        bands: Any = None,
        *,
        alphas: npt.ArrayLike | None = None,
        n_iter: int = 100,
        shared: bool = False,
        cv: Any = 5,
        seed: int = 0,
    ) -> None:
        self.bands = bands
        self.alphas = alphas
        self.n_iter = n_iter
        self.shared = shared
        self.cv = cv
        self.seed = seed

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Choose penalties and fit X (n_samples, n_features) to y (n_samples, n_units) or (n_samples,)."""
        x, target = pair(self, X, y, 6)
        found = _tuned(self, (x, target), self.bands, {"shared": self.shared, "n_iter": self.n_iter})
        self._keep(found.coef, found.intercept)
        self.alphas_ = found.alphas
        self.band_names_ = band_codes(self.bands, x.shape[1])[1]
        self.cv_score_ = float(found.r2[0]) if self._flat else found.r2
        return self


def _tuned(model: Any, data: tuple[Double, Double], bands: Any, own: dict[str, Any]) -> BandedFit:
    x, y = data
    codes, _ = band_codes(bands, x.shape[1])
    given = {k: v for k, v in own.items() if k in SHARED} | {"nested": False, "scoring": "r2"}
    alphas = ALPHAS if model.alphas is None else model.alphas
    options = make_options(type(model).__name__, alphas, given, n_iter=own.get("n_iter", 1), seed=model.seed)
    folds = model._folds(x, y, model.cv, model.seed)
    options.check(folds, int(codes.max()) + 1)
    return fit_on_all(options, x, y, codes, folds)


class PLSEncoder(_Encoder):
    """Partial least squares of all units together.

    Parameters
    ----------
    n_components : int
        Lowered to min(n_features, n_samples - 1).
    solver : {"exact", "nipals"}
        Exact singular directions, or the power iterations of scikit-learn's ``PLSRegression(scale=False)``.
    tol, max_iter : float, int
        Of ``"nipals"``.

    Attributes
    ----------
    coef_, intercept_
        As in :class:`RidgeEncoder`.
    n_components_used_ : int
        Components before nothing was left to explain.
    n_iter_ : ndarray of shape (n_components_used_,)
        Power iterations; 1 for the exact solver.

    References
    ----------
    Dayal & MacGregor 1997.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 4))
    >>> PLSEncoder(4).fit(x, x @ np.arange(4.0)).predict(np.ones((1, 4))).round(2).tolist()
    [6.0]
    """

    def __init__(
        self,
        n_components: int = 25,
        *,
        solver: Literal["exact", "nipals"] = "exact",
        tol: float = 1e-6,
        max_iter: int = 500,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit X (n_samples, n_features) to y (n_samples, n_units) or (n_samples,)."""
        from repcompare.measures.encoding._pls_fit import Direction
        from repcompare.measures.encoding._pls_refit import fit_rows, weights_of

        choose(self.solver, ("exact", "nipals"), "solver")
        if not self.n_components >= 1:
            raise OptionError(f"n_components={self.n_components!r}; expected a number >= 1")
        x, target = pair(self, X, y, 3)
        fit = fit_rows(x, target, int(self.n_components), Direction(self.solver, self.tol, self.max_iter))
        coef = weights_of(fit, len(fit.loadings))
        self.n_components_used_ = len(fit.loadings)
        self.n_iter_ = np.maximum(fit.n_iter, 1)
        self._keep(coef, target.mean(axis=0) - x.mean(axis=0) @ coef)
        return self
