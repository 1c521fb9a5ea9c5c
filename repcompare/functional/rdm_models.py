"""Models of RDMs: made from categories, features or vectors; combined, fitted and scored on held-out data.

``rc.rdm_models.fixed``, ``select``, ``weighted``, ``interpolated`` and ``reweighted`` make models; ``fit`` and ``predict``
apply them; ``cross_validate`` scores them on stimuli and subjects that they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import OptionError
from repcompare.functional._model_rdms import from_categories, from_features, from_vector
from repcompare.functional._pair import one_side
from repcompare.functional._rdm_inputs import Model, covariance_of, draw_splits, matched, pairs_of, side
from repcompare.labels.rdms import rdm_set
from repcompare.measures.rsa import crossvalidation, models
from repcompare.measures.rsa._condensed import count_stimuli

__all__ = [
    "Model",
    "cross_validate",
    "fit",
    "fixed",
    "from_categories",
    "from_features",
    "from_vector",
    "interpolated",
    "predict",
    "reweighted",
    "select",
    "weighted",
]


def fixed(rdm: Any, *, name: str | None = None) -> Model:
    """Predict one RDM; nothing is fitted.

    Parameters
    ----------
    rdm : set of one RDM, or array-like of shape (n_pairs,)
        Dissimilarities.
    name : str, optional
        That of the RDM by default.

    Returns
    -------
    Model

    Raises
    ------
    MeasureError, SchemaError
        On several RDMs, fewer than 3 finite pairs, or what is no RDM.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm_models.fixed([1.0, 4.0, 1.0], name="line").name
    'line'
    """
    one = side(rdm, name or "fixed")
    return Model(models.fixed(one.values, name=name or one.names[0]), one.stimuli, one.names)


def select(rdms: Any, *, name: str = "select") -> Model:
    """Predict whichever of several RDMs has the largest mean score on the training data.

    Parameters
    ----------
    rdms : set of RDMs, mapping or sequence of them, or array-like of shape (n_components, n_pairs)
        Components, over the same stimuli; NaN where missing: a fit takes the pairs that all components have.
    name : str

    Returns
    -------
    Model

    Raises
    ------
    MeasureError, SchemaError
        On fewer than 3 pairs that all components have, RDMs of other stimuli, or what is no RDM.

    Examples
    --------
    >>> import repcompare as rc
    >>> model = rc.rdm_models.select({"one": [1.0, 0.0, 0.0], "two": [0.0, 1.0, 0.0]})
    >>> rc.rdm_models.fit(model, [0.1, 0.9, 0.0], method="pearson").values
    array([0., 1.])
    """
    one = side(rdms, name)
    return Model(models.select(one.values, name=name), one.stimuli, one.names)


def weighted(rdms: Any, *, nonnegative: bool = True, ridge: float = 0.0, name: str = "weighted") -> Model:
    """Predict a weighted sum of RDMs, the weights of which have the largest mean score on the training data.

    Parameters
    ----------
    rdms : set of RDMs, mapping or sequence of them, or array-like of shape (n_components, n_pairs)
        Components, over the same stimuli; NaN where missing: a fit takes the pairs that all components have.
    nonnegative : bool
        Keep the weights at 0 or above, as for distances of independent parts.
    ridge : float
        Shrinkage: this share of each component's own square is added to it.
    name : str

    Returns
    -------
    Model

    Raises
    ------
    MeasureError, SchemaError
        On fewer than 3 pairs that all components have, RDMs of other stimuli, or what is no RDM.
    OptionError
        On a negative ridge.

    References
    ----------
    Khaligh-Razavi & Kriegeskorte 2014.

    Examples
    --------
    >>> import repcompare as rc
    >>> model = rc.rdm_models.weighted({"one": [1.0, 0.0, 0.0], "two": [0.0, 1.0, 0.0]})
    >>> rc.rdm_models.predict(model, [2.0, 0.5])
    array([2. , 0.5, 0. ])
    """
    one = side(rdms, name)
    model = models.weighted(one.values, nonnegative=nonnegative, ridge=ridge, name=name)
    return Model(model, one.stimuli, one.names)


def interpolated(rdms: Any, *, name: str = "interpolated") -> Model:
    """Predict the best point on the straight lines from each RDM to the next, in the order given.

    Parameters
    ----------
    rdms : set of RDMs, mapping or sequence of them, or array-like of shape (n_components, n_pairs)
        At least 2; NaN where missing: a fit takes the pairs that all components have.
    name : str

    Returns
    -------
    Model

    Raises
    ------
    MeasureError, SchemaError
        On fewer than 3 pairs that all components have, RDMs of other stimuli, or what is no RDM.

    Examples
    --------
    >>> import repcompare as rc
    >>> model = rc.rdm_models.interpolated([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> rc.rdm_models.fit(model, [1.0, 3.0, 0.0], method="cosine").values
    array([0.25, 0.75])
    """
    one = side(rdms, name)
    return Model(models.interpolated(one.values, name=name), one.stimuli, one.names)


def reweighted(
    features: Any,
    *,
    penalty: npt.ArrayLike | None = None,
    nonnegative: bool = False,
    seed: int = 0,
    name: str = "reweighted",
) -> Model:
    """Predict a weighted sum of the squared differences of each feature.

    Parameters
    ----------
    features : representation, or array-like of shape (n_stimuli, n_units)
        Repeats are averaged first.
    penalty : float or sequence of float, optional
        Ridge penalties, in units of the variance of a feature's squared differences; of several the one with the least
        error on held-out stimuli of the training set.  13 from 1e-3 to 1e3 by default.
    nonnegative : bool
        Keep the weights at 0 or above.
    seed : int
        Of the folds that choose the penalty.
    name : str

    Returns
    -------
    Model

    Raises
    ------
    MeasureError, OptionError, SchemaError
        On missing values, features that do not differ between stimuli, or a negative penalty.

    References
    ----------
    Kaniuth & Hebart 2022.

    Examples
    --------
    >>> import repcompare as rc
    >>> model = rc.rdm_models.reweighted([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]], penalty=0.0)
    >>> rc.rdm_models.predict(model, [1.0, 10.0])
    array([11.,  4., 11.])
    """
    values, names = one_side(features)
    model = models.reweighted(values, penalty=penalty, nonnegative=nonnegative, seed=seed, name=name)
    labelled = isinstance(features, xr.Dataset)
    return Model(model, names if labelled else None, unit_names(features, values.shape[1]))


def unit_names(features: Any, n: int) -> tuple[str, ...]:
    """Return the names of the units of features, their numbers where they have none."""
    if isinstance(features, xr.Dataset) and "unit_id" in features.coords:
        return tuple(features["unit_id"].values.astype(str).tolist())
    return tuple(str(i) for i in range(n))


def fit(
    model: Model, data: Any, *, method: str = "rho_a", stimulus_covariance: npt.ArrayLike | None = None
) -> xr.DataArray:
    """Fit a model to all of the data; the score of this fit on the same data is optimistic.

    Parameters
    ----------
    model : Model
    data : set of RDMs, or array-like of shape (n_rdms, n_pairs)
        The same stimuli as the model, in any order.  Missing pairs (NaN) are left out: the fit takes the pairs that all
        components have and some data RDM; each pair is averaged over the RDMs that have it.
    method : str
        Comparator; weights of rank methods are fitted with pearson.
    stimulus_covariance : array-like, shape (n_stimuli,) or (n_stimuli, n_stimuli), optional
        Of the whitened methods, in the order of the data.

    Returns
    -------
    xarray.DataArray, dims (parameter,)
        Weights of components, or of features.  attrs: ``method``, ``n_pairs_used`` (in the fit).

    Raises
    ------
    AlignmentError, MeasureError, OptionError, SchemaError
        When the stimuli are not the same, an RDM shares fewer than 3 pairs with the components, data are constant, or the
        method has no inner product.

    Examples
    --------
    >>> import repcompare as rc
    >>> parts = {"one": [1.0, 0.0, 0.0], "two": [0.0, 1.0, 0.0]}
    >>> theta = rc.rdm_models.fit(rc.rdm_models.weighted(parts), [3.0, 1.0, 0.0], method="cosine")
    >>> theta["parameter"].values.tolist(), round(float(theta[0] / theta[1]), 9)
    (['one', 'two'], 3.0)
    """
    rows = side(data, "data")
    order = matched({"data": rows, model.name: model}, "exact")
    covariance = covariance_of(stimulus_covariance, rows.stimuli, order)
    array, values = model.ordered(order), pairs_of(rows, order)
    theta = models.fit(array, values, method, stimulus_covariance=covariance)
    used = np.isfinite(array.rdms).all(axis=0) & np.isfinite(values).any(axis=0)
    attrs = {"method": method, "n_pairs_used": int(used.sum())}
    return xr.DataArray(
        theta, dims="parameter", coords={"parameter": list(model.parameters)}, name="theta", attrs=attrs
    )


def predict(model: Model, theta: npt.ArrayLike | xr.DataArray) -> Any:
    """Return the RDM that a model predicts.

    Parameters
    ----------
    model : Model
    theta : array-like, shape (n_parameters,)
        As :func:`fit` returns it.

    Returns
    -------
    xarray.Dataset or ndarray
        A set of one RDM, over the stimuli of the model; (n_pairs,) for a model of plain arrays.  NaN where a component with
        a weight is missing.

    Raises
    ------
    MeasureError
        On another number of parameters.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm_models.predict(rc.rdm_models.fixed([1.0, 4.0, 1.0]), [0.5])
    array([0.5, 2. , 0.5])
    """
    values = models.predict(model.array, np.asarray(theta))
    return values if model.stimuli is None else rdm_set(values[None], stimulus=model.stimuli, rdm=[model.name])


def cross_validate(
    model: Model | Sequence[Model],
    data: Any,
    *,
    method: str = "rho_a",
    folds: Any = None,
    subject_folds: int | None = None,
    seed: int = 0,
    stimuli: str = "exact",
    stimulus_covariance: npt.ArrayLike | None = None,
) -> xr.Dataset:
    """Score models on pairs of stimuli, and on subjects, that their weights have not seen.

    Parameters
    ----------
    model : Model or sequence of Model
        All are scored on the same pairs, fixed ones too.
    data : set of RDMs, or array-like of shape (n_rdms, n_pairs)
        One per subject; NaN where missing.
    method : str
        Comparator; see :func:`repcompare.compare_rdms`.
    folds : int, list of (train, test), splitter, optional
        Over stimuli, sorted by name; below 12 stimuli 2, below 24 3, below 40 4, else 5.
    subject_folds : int, optional
        Over data RDMs; below 6 2, below 12 3, below 20 4, else 5; 1 for one data RDM.
    seed : int
    stimuli : {"exact", "intersection"}
    stimulus_covariance : array-like, shape (n_stimuli,) or (n_stimuli, n_stimuli), optional
        Of the whitened methods, in the order of the data.

    Returns
    -------
    xarray.Dataset
        ``score`` (model), ``score_ceiling_lower``, ``score_ceiling_upper`` within the test stimuli (of two or more data
        RDMs), ``score_rdm`` (model, rdm), ``score_fold`` (model, fold), NaN where the prediction is constant
        on the test pairs, ``n_folds_constant`` (model), ``n_pairs_used`` (model, rdm): pairs scored, of all folds
        together, ``theta`` (model, fold, parameter), NaN beyond ``n_parameters`` (model).

    Raises
    ------
    AlignmentError, MeasureError, OptionError, SchemaError
        When the stimuli do not match, there are too few, fewer than 3 pairs of an RDM are left in a fold, data are
        constant, or a prediction is constant in every fold.

    References
    ----------
    Storrs et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> parts = rng.random((2, 66))
    >>> data = parts[0] + 3 * parts[1] + 0.1 * rng.random((4, 66))
    >>> found = rc.rdm_models.cross_validate(rc.rdm_models.weighted(parts), data, method="pearson")
    >>> bool(found["score"][0] > 0.99)
    True
    """
    given = [model] if isinstance(model, Model) else list(model)
    names = [one.name for one in given]
    if not given or len(set(names)) < len(names):
        raise OptionError(f"models are called {names}; expected at least one, and distinct names; give name=")
    rows = side(data, "data")
    order = matched({"data": rows, **{f"model {one.name}": one for one in given}}, stimuli)
    values = pairs_of(rows, order)
    splits = draw_splits(count_stimuli(values.shape[1]), len(values), folds, subject_folds, seed)
    covariance = covariance_of(stimulus_covariance, rows.stimuli, order)
    found = [
        crossvalidation.cross_validate(one.ordered(order), values, splits, method, stimulus_covariance=covariance)
        for one in given
    ]
    theta = np.full((len(given), len(splits), max(one.theta.shape[1] for one in found)), np.nan)
    for row, one in zip(theta, found, strict=True):
        row[:, : one.theta.shape[1]] = one.theta
    variables: dict[str, Any] = {
        "score": ("model", [one.score for one in found]),
        "score_rdm": (("model", "rdm"), np.stack([one.scores for one in found])),
        "score_fold": (("model", "fold"), np.stack([one.fold_scores for one in found])),
        "n_folds_constant": ("model", [one.n_constant for one in found]),
        "n_pairs_used": (("model", "rdm"), np.stack([one.n_pairs for one in found])),
        "n_parameters": ("model", [one.theta.shape[1] for one in found]),
        "theta": (("model", "fold", "parameter"), theta),
    }
    if len(values) > 1:
        lower, upper = crossvalidation.fold_ceilings(values, splits, method, stimulus_covariance=covariance)
        variables |= {"score_ceiling_lower": lower, "score_ceiling_upper": upper}
    attrs = {"method": method, "seed": seed, "n_stimuli": count_stimuli(values.shape[1]), "cross_validated": 1}
    return xr.Dataset(variables, coords={"model": names, "rdm": list(rows.names)}, attrs=attrs)
