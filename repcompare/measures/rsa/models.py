"""Models of RDMs: fixed ones, and families whose weights are fitted to data by small closed-form problems.

Every fit but the feature-reweighted one needs only the inner products of the components with each other, ``A``, and with
the pooled data, ``g``: the mean score ``theta' g / sqrt(theta' A theta)`` is largest at ``A^-1 g``, on the non-negative
cone at the projection of the data on the cone.  Of RDMs with missing pairs (NaN) a fit takes the pairs that all
components have, a score those that prediction and data have.

References
----------
Khaligh-Razavi & Kriegeskorte 2014, PLoS Computational Biology 10:e1003915; Storrs, Kietzmann, Walther, Mehrer &
Kriegeskorte 2021, Journal of Cognitive Neuroscience 33:2044; Schuett et al. 2023, eLife 12:e82566.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._feature_weights import weighted_distances
from repcompare.measures.rsa._least_squares import solve_normal
from repcompare.measures.rsa._methods import FLAT, METHODS, MIN_PAIRS
from repcompare.measures.rsa._model_inner import (
    LINEAR,
    gram_present,
    inner_rows,
    pooled,
    require_shared,
    shared_pairs,
)
from repcompare.measures.rsa._subsets import Rows, pairs_within
from repcompare.measures.rsa.comparators import compare_rdms
from repcompare.measures.rsa.reweighted import Features, checked_features, fit_weights

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Kind = Literal["fixed", "select", "weighted", "interpolated", "reweighted"]


@dataclass(frozen=True, kw_only=True)
class RDMModel:
    """A prediction of an RDM, or a family of predictions.

    Attributes
    ----------
    name : str
    kind : {"fixed", "select", "weighted", "interpolated", "reweighted"}
    rdms : ndarray, shape (n_components, n_pairs)
        Component RDMs, NaN where missing; empty for ``"reweighted"``.
    nonnegative : bool
        Weights are at least 0 (``"weighted"``, ``"reweighted"``).
    ridge : float
        Shrinks the weights of ``"weighted"``: the share of each component's own square that is added to it.
    features : Features, optional
        Of ``"reweighted"``.
    """

    name: str
    kind: Kind
    rdms: Matrix
    nonnegative: bool = True
    ridge: float = 0.0
    features: Features | None = None

    @property
    def n_stimuli(self) -> int:
        """Number of stimuli of the predicted RDM."""
        return len(self.features.values) if self.features is not None else count_stimuli(self.rdms.shape[1])

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        return self.features.values.shape[1] if self.features is not None else len(self.rdms)

    @property
    def flexible(self) -> bool:
        """Is anything fitted?"""
        return self.kind != "fixed"


def fixed(rdm: npt.ArrayLike, *, name: str = "fixed") -> RDMModel:
    """Return a model that predicts one RDM (n_pairs,)."""
    stack = checked_stack(rdm, name)
    if len(stack) != 1:
        raise MeasureError(f"{name}: {len(stack)} RDMs; a fixed model has one; take select, weighted or interpolated")
    return RDMModel(name=name, kind="fixed", rdms=stack)


def select(rdms: npt.ArrayLike, *, name: str = "select") -> RDMModel:
    """Return a model that predicts the best of its RDMs (n_components, n_pairs) on the training data."""
    stack = checked_stack(rdms, name)
    shared_pairs(stack, name)
    return RDMModel(name=name, kind="select", rdms=stack)


def weighted(rdms: npt.ArrayLike, *, nonnegative: bool = True, ridge: float = 0.0, name: str = "weighted") -> RDMModel:
    """Return a model that predicts a weighted sum of its RDMs (n_components, n_pairs)."""
    if not (np.isfinite(ridge) and ridge >= 0):
        raise OptionError(f"ridge={ridge!r}; expected a number >= 0")
    stack = checked_stack(rdms, name)
    shared_pairs(stack, name)
    return RDMModel(name=name, kind="weighted", rdms=stack, nonnegative=nonnegative, ridge=float(ridge))


def interpolated(rdms: npt.ArrayLike, *, name: str = "interpolated") -> RDMModel:
    """Return a model that predicts a point on the path through its RDMs (n_components, n_pairs), in their order."""
    stack = checked_stack(rdms, name)
    if len(stack) < 2:
        raise MeasureError(f"{name}: one RDM; an interpolated model needs at least 2")
    shared_pairs(stack, name)
    return RDMModel(name=name, kind="interpolated", rdms=stack)


def reweighted(
    features: npt.ArrayLike,
    *,
    penalty: npt.ArrayLike | None = None,
    nonnegative: bool = False,
    seed: int = 0,
    name: str = "reweighted",
) -> RDMModel:
    """Return a model that predicts squared differences of features, each with its own weight.

    Parameters
    ----------
    features : array_like, shape (n_stimuli, n_features)
    penalty : float or sequence of float, optional
        Ridge, in units of the variance of each feature's squared differences; of several the one with the least
        error on held-out stimuli within the training set.
    nonnegative : bool
        Keep the weights at 0 or above.
    seed : int
        Of the inner folds that choose the penalty.
    name : str
    """
    found = checked_features(features, penalty, nonnegative, seed)
    k = len(found.values)
    empty = np.empty((0, k * (k - 1) // 2))
    return RDMModel(name=name, kind="reweighted", rdms=empty, nonnegative=nonnegative, features=found)


def checked_stack(rdms: npt.ArrayLike, name: str) -> Matrix:
    """Return RDMs as float64 (n_rdms, n_pairs), NaN where missing; raise unless each has at least 3 pairs."""
    given = np.asarray(rdms)
    if given.dtype.kind not in "fiub" or given.ndim not in (1, 2) or given.size == 0:
        raise MeasureError(
            f"{name}: shape {given.shape}, dtype {given.dtype}; expected numbers (n_pairs,) or (n_rdms, n_pairs)"
        )
    stack: Matrix = np.atleast_2d(given.astype(np.float64))
    if count_stimuli(stack.shape[1]) < 3:
        raise MeasureError(f"{name}: RDMs of 2 stimuli; expected at least 3 stimuli")
    if np.isinf(stack).any():
        raise MeasureError(f"{name}: {int(np.isinf(stack).sum())} values are infinite; expected NaN where missing")
    counts = np.isfinite(stack).sum(axis=1)
    if counts.min() < MIN_PAIRS:
        raise MeasureError(
            f"{name}: RDM {int(np.argmin(counts))} has {int(counts.min())} finite pairs; expected at least {MIN_PAIRS};"
            " leave it out"
        )
    return stack


def restrict(model: RDMModel, rows: Rows) -> RDMModel:
    """Return the model of some stimuli, rows of distinct stimuli in their new order."""
    if model.features is not None:
        k = len(rows)
        part = replace(model.features, values=model.features.values[rows])
        return replace(model, features=part, rdms=np.empty((0, k * (k - 1) // 2)))
    return replace(model, rdms=model.rdms[:, pairs_within(rows, model.n_stimuli)])


def fit_method(method: str) -> str:
    """Return the comparator in whose inner product a model is fitted: rank methods are fitted with pearson."""
    choose(method, METHODS, "method")
    if METHODS[method].family in ("bures", "riemannian"):
        raise OptionError(
            f"method={method!r} has no inner product of RDMs, so nothing can be fitted in closed form; take a fixed or"
            " select model, or one of " + ", ".join(LINEAR)
        )
    return method if method in LINEAR else "pearson"


def gram_of(
    model: RDMModel, data: Matrix, method: str, stimulus_covariance: npt.ArrayLike | None = None
) -> tuple[Matrix, Vector]:
    """Return what a fit needs.

    Parameters
    ----------
    model : RDMModel
        With component RDMs.
    data : ndarray, shape (n_rdms, n_pairs)
        NaN where missing; see :func:`~repcompare.measures.rsa._model_inner.gram_present`.
    method : str
        Comparator; see :func:`fit_method`.
    stimulus_covariance : array_like, optional
        Of the whitened methods.

    Returns
    -------
    a : ndarray, shape (n_components, n_components)
        Inner products of the components.
    g : ndarray, shape (n_components,)
        Their inner products with the mean of the data RDMs, each scaled to unit length.
    """
    linear = fit_method(method)
    if np.isnan(model.rdms).any() or np.isnan(data).any():
        return gram_present(model.name, model.rdms, data, linear, stimulus_covariance)
    components = inner_rows(model.rdms, linear, stimulus_covariance)
    # a component without variation on these pairs is rounding only: it gets the weight 0
    peak = np.abs(model.rdms).max(axis=1, initial=0.0)
    components[np.abs(components).max(axis=1) <= FLAT * peak] = 0.0
    if not components.any():
        raise MeasureError(
            f"{model.name}: every component is constant (or zero) on the training pairs; use more stimuli"
        )
    target = pooled(inner_rows(data, linear, stimulus_covariance))
    return components @ components.T, components @ target


def fit_from_gram(model: RDMModel, a: Matrix, g: Vector) -> Vector:
    """Return the best weights of the components from inner products.

    Parameters
    ----------
    model : RDMModel
        Any kind but ``"reweighted"``.
    a : ndarray, shape (n_components, n_components)
        Inner products of the components in the method's inner product.
    g : ndarray, shape (n_components,)
        Their inner products with the pooled data (the sum or mean of the data RDMs at unit length).

    Returns
    -------
    ndarray, shape (n_components,)
        ``predict(model, theta)`` is the weighted sum.  ``"select"``: 1 at one component; ``"interpolated"``: two
        neighbours whose weights sum to 1.

    Examples
    --------
    >>> model = weighted(np.eye(3)[:2])
    >>> fit_from_gram(model, np.eye(2), np.array([0.6, -0.1]))
    array([0.6, 0. ])
    """
    if model.kind == "reweighted":
        raise OptionError(f"{model.name}: a feature-reweighted model is fitted from its features; take fit()")
    if model.kind == "weighted":
        theta = solve_normal(a, g, ridge=model.ridge, nonnegative=model.nonnegative)
        # a cone that the data lie behind: its best ray is an edge, for the score is quasi-convex there
        return theta if theta.any() else _best_single(a, g)
    return _interpolate(a, g) if model.kind == "interpolated" else _best_single(a, g)


def _best_single(a: Matrix, g: Vector) -> Vector:
    """Return 1 at the component with the largest cosine."""
    length = np.sqrt(np.diagonal(a))
    cosine = np.divide(g, length, out=np.full(len(g), -np.inf), where=length > 0)
    theta = np.zeros(len(g))
    theta[np.argmax(cosine)] = 1.0
    return theta


def _interpolate(a: Matrix, g: Vector) -> Vector:
    """Return the weights of the best point on the path: per segment the stationary point, and both ends."""
    theta = _best_single(a, g)  # the best of all ends
    best = float(theta @ g) / np.sqrt(float(theta @ a @ theta))
    for i in range(len(g) - 1):
        j = i + 1
        n0, n1 = g[j], g[i] - g[j]
        q0, half, q2 = a[j, j], a[i, j] - a[j, j], a[i, i] - 2 * a[i, j] + a[j, j]
        top, bottom = n0 * half - n1 * q0, n1 * half - n0 * q2
        if not 0 < top * np.sign(bottom) < abs(bottom):
            continue
        w = top / bottom
        square = q0 + 2 * half * w + q2 * w * w
        value = (n0 + n1 * w) / np.sqrt(square) if square > 0 else -np.inf
        if value > best:
            best, theta = value, np.zeros(len(g))
            theta[[i, j]] = w, 1 - w
    return theta


def fit(
    model: RDMModel, data: Matrix, method: str = "pearson", *, stimulus_covariance: npt.ArrayLike | None = None
) -> Vector:
    """Return the parameters of a model that predict data RDMs best.

    Parameters
    ----------
    model : RDMModel
    data : ndarray, shape (n_rdms, n_pairs)
        RDMs of the model's stimuli, NaN where missing.
    method : str
        Comparator.  Weights of rank methods are fitted with pearson; ``"select"`` takes the component with the
        largest mean score of the method itself, on the pairs that all components have.
    stimulus_covariance : array_like, optional
        Of the whitened methods.

    Returns
    -------
    ndarray, shape (n_parameters,)
        Weights of the components, or of the features.

    Raises
    ------
    MeasureError
        On another number of pairs, fewer than 3 of them, constant data RDMs, or components that are all constant.
    OptionError
        On a method that has no inner product.

    Examples
    --------
    >>> rdms = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> theta = fit(weighted(rdms), np.array([[3.0, 1.0, 0.0]]), "cosine")
    >>> round(float(theta[0] / theta[1]), 12)
    3.0
    """
    choose(method, METHODS, "method")
    data = same_pairs(model, data)
    if model.kind == "fixed":
        return np.ones(1)
    if model.kind == "select":
        return _select(model, data, method, stimulus_covariance)
    if model.features is not None:
        fit_method(method)
        return fit_weights(model.features, data)
    return fit_from_gram(model, *gram_of(model, data, method, stimulus_covariance))


def _select(model: RDMModel, data: Matrix, method: str, covariance: npt.ArrayLike | None) -> Vector:
    present = shared_pairs(model.rdms, model.name)
    require_shared(data, present, model.name)
    rdms = np.where(present, model.rdms, np.nan)
    usable = np.flatnonzero([not is_flat(row, method) for row in rdms])
    if not usable.size:
        raise MeasureError(
            f"{model.name}: every component is constant (or zero) on the training pairs; use more stimuli"
        )
    options: dict[str, Any] = {} if covariance is None else {"stimulus_covariance": covariance}
    scores = np.asarray(compare_rdms(rdms[usable], data, method, **options)).mean(axis=1)
    theta = np.zeros(len(rdms))
    theta[usable[np.argmax(scores)]] = 1.0
    return theta


def predict(model: RDMModel, theta: npt.ArrayLike) -> Vector:
    """Return the RDM (n_pairs,) that a model predicts with parameters ``theta``; NaN where a component it uses is missing.

    Examples
    --------
    >>> predict(weighted([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), [2.0, 1.0])
    array([2., 1., 0.])
    """
    weights = np.asarray(theta, dtype=np.float64)
    if weights.shape != (model.n_parameters,):
        raise MeasureError(f"{model.name}: theta has shape {weights.shape}; expected ({model.n_parameters},)")
    if model.features is not None:
        return weighted_distances(model.features.values, weights)
    used = weights != 0
    return np.asarray(weights[used] @ model.rdms[used], dtype=np.float64)


def same_pairs(model: RDMModel, data: npt.ArrayLike) -> Matrix:
    """Return data RDMs as float64 (n_rdms, n_pairs), NaN where missing; raise unless they are of the model's stimuli."""
    stack = checked_stack(data, "data")
    if stack.shape[1] != model.rdms.shape[1]:
        raise MeasureError(
            f"{model.name} predicts {model.n_stimuli} stimuli, the data have {count_stimuli(stack.shape[1])}; expected"
            " the same stimuli in the same order"
        )
    return stack


def is_flat(rdm: Vector, method: str) -> bool:
    """Is no score of this RDM defined: is it zero, or (where the method centres) constant?"""
    low, high = float(np.nanmin(rdm)), float(np.nanmax(rdm))
    peak, kind = max(-low, high), METHODS[method]
    return peak == 0 or ((kind.centred or kind.ordinal) and high - low <= (0.0 if kind.ordinal else FLAT) * peak)
