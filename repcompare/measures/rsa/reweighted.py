"""Feature-reweighted RSA: each feature's squared differences get a weight, chosen to predict the RDMs of data.

``d_ij ~ w_0 + sum_p w_p (x_ip - x_jp)^2``, by ridge regression or with non-negative weights.

References
----------
Kaniuth & Hebart 2022, NeuroImage 257:119294; Storrs et al. 2021, Journal of Cognitive Neuroscience 33:2044.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._feature_weights import path_present, weight_path, weighted_distances
from repcompare.measures.rsa._methods import FLAT, METHODS, MIN_PAIRS
from repcompare.measures.rsa._subsets import Rows, pairs_within, parts, shuffle_splits
from repcompare.measures.rsa.comparators import compare_rdms

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

PENALTIES = tuple(float(v) for v in np.logspace(-3, 3, 13))
INNER_FOLDS = 5
MIN_STIMULI = 9
LEAST_TRAINED = 6  # stimuli that can be parted to choose a penalty
FULL_FOLDS_FROM = 14
MIN_TEST_STIMULI = 3  # whose 3 pairs have no Fisher z: its variance is 1 / (pairs - 3)
LARGEST_Z = 1 - 1e-6  # a perfect fold would have an infinite Fisher z


@dataclass(frozen=True)
class Features:
    """What is reweighted, and how.

    Attributes
    ----------
    values : ndarray, shape (n_stimuli, n_features)
    penalties : tuple of float
        From the largest to the smallest.
    nonnegative : bool
    seed : int
        Of the inner folds.
    """

    values: Matrix
    penalties: tuple[float, ...] = PENALTIES[::-1]
    nonnegative: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """Weights for several targets.

    Attributes
    ----------
    weights : ndarray, shape (n_features, n_targets)
    intercept, penalty : ndarray, shape (n_targets,)
    """

    weights: Matrix
    intercept: Vector
    penalty: Vector


@dataclass(frozen=True)
class FeatureReweighted:
    """Held-out scores, and the weights of a fit to everything.

    Attributes
    ----------
    scores : ndarray, shape (n_rdms,)
        Mean over the outer folds: of Fisher's z, back-transformed; of the scores themselves with 3 test stimuli, whose 3
        pairs have no Fisher z.
    fold_scores : ndarray, shape (n_splits, n_rdms)
        0 where the prediction is constant on the test pairs: it explains nothing there.
    equal_scores : ndarray, shape (n_rdms,)
        The same mean for equal weights, on the same test pairs.
    fold_penalties : ndarray, shape (n_splits, n_targets)
    n_constant : int
        Predictions that were constant.
    refit : Fit
        On all stimuli: descriptive, not what the scores are of.
    n_pairs : ndarray of int, shape (n_rdms,)
        Pairs that each data RDM has.
    """

    scores: Vector
    fold_scores: Matrix
    equal_scores: Vector
    fold_penalties: Matrix
    n_constant: int
    refit: Fit
    n_pairs: Rows


def checked_features(
    features: npt.ArrayLike, penalty: npt.ArrayLike | None = None, nonnegative: bool = False, seed: int = 0
) -> Features:
    """Return usable features.

    Raises
    ------
    MeasureError
        On values that are not finite numbers (n_stimuli, n_features), or that do not differ between stimuli.
    OptionError
        On a penalty that is not a finite number >= 0.
    """
    given = np.asarray(features)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or given.shape[0] < 3 or not given.shape[1]:
        raise MeasureError(
            f"features have shape {given.shape} and dtype {given.dtype}; expected numbers (n_stimuli, n_features) of at"
            " least 3 stimuli"
        )
    values = given.astype(np.float64)
    if not np.isfinite(values).all():
        raise MeasureError(
            f"features have {int((~np.isfinite(values)).sum())} missing or infinite values; drop those units or stimuli"
        )
    if not np.ptp(values, axis=0).any():
        raise MeasureError("no feature differs between stimuli; expected at least one that does")
    penalties = np.atleast_1d(np.asarray(PENALTIES if penalty is None else penalty, dtype=np.float64))
    if penalties.ndim != 1 or not penalties.size or not (np.isfinite(penalties) & (penalties >= 0)).all():
        raise OptionError(f"penalty={penalty!r}; expected one number >= 0, or several")
    return Features(values, tuple(np.unique(penalties)[::-1].tolist()), nonnegative, seed)


def fit_targets(features: Features, values: Matrix, targets: Matrix, seed: Sequence[int]) -> Fit:
    """Fit RDMs, the penalty of each chosen by its squared error within held-out stimuli.

    Parameters
    ----------
    features : Features
        Penalties and sign; its values are not looked at.
    values : ndarray, shape (n_stimuli, n_features)
    targets : ndarray, shape (n_targets, n_pairs)
    seed : sequence of int
        Of the inner folds.

    Returns
    -------
    Fit
    """
    chosen = np.zeros(len(targets), dtype=np.intp)
    if len(features.penalties) > 1:
        chosen = _best_penalties(features, values, targets, seed)
    centre = targets.mean(axis=1)
    weights, mean = weight_path(values, targets - centre[:, None], features.penalties, features.nonnegative)
    best = weights[chosen, :, np.arange(len(targets))].T
    return Fit(best, centre - mean @ best, np.array(features.penalties)[chosen])


def _best_penalties(features: Features, values: Matrix, targets: Matrix, seed: Sequence[int]) -> Rows:
    """Return which penalty has the least error per target; of equal ones the largest."""
    k, t = len(values), len(targets)
    error = np.zeros((len(features.penalties), t))
    for train, test in inner_parts(k, seed):
        inside, held = targets[:, pairs_within(train, k)], targets[:, pairs_within(test, k)]
        centre = inside.mean(axis=1)
        weights, mean = weight_path(values[train], inside - centre[:, None], features.penalties, features.nonnegative)
        flat = np.moveaxis(weights, 0, 1).reshape(values.shape[1], -1)  # (n_features, n_penalties * n_targets)
        predicted = (weighted_distances(values[test], flat) - mean @ flat).reshape(-1, len(error), t)
        error += np.square(predicted + centre - held.T[:, None]).sum(axis=0)
    return np.asarray(np.argmin(error, axis=0), dtype=np.intp)


def inner_parts(k: int, seed: Sequence[int]) -> Iterator[tuple[Rows, Rows]]:
    """Return the folds over training stimuli that choose a penalty."""
    if k < LEAST_TRAINED:
        raise MeasureError(
            f"{k} training stimuli cannot choose among penalties; give one penalty, or at least {LEAST_TRAINED} stimuli"
        )
    return parts(k, min(INNER_FOLDS, k // 2), seed)  # a test set needs one pair


def _fitted(features: Features, values: Matrix, z: Matrix, level: str, seed: Sequence[int]) -> Fit:
    """Fit standardised RDMs (n_rdms, n_pairs), each on its own or all together."""
    if not np.isnan(z).any():
        return fit_targets(features, values, z if level == "rdm" else z.mean(axis=0)[None], seed)
    groups = z[:, None] if level == "rdm" else z[None]
    found = [fit_present(features, values, rows, seed) for rows in groups]
    joined = (np.concatenate([getattr(one, name) for one in found]) for name in ("intercept", "penalty"))
    return Fit(np.concatenate([one.weights for one in found], axis=1), *joined)


def fit_present(features: Features, values: Matrix, rows: Matrix, seed: Sequence[int]) -> Fit:
    """Fit one set of weights to RDMs (n_rdms, n_pairs) with missing pairs, each on the pairs that it has.

    The penalty is chosen as in :func:`fit_targets`, by the squared error on the held-out pairs that are there.  The
    intercept is the mean over the RDMs.
    """
    best, k = 0, len(values)
    if len(features.penalties) > 1:
        error = np.zeros(len(features.penalties))
        for train, test in inner_parts(k, seed):
            inside, held = rows[:, pairs_within(train, k)], rows[:, pairs_within(test, k)]
            _require_pairs(inside)
            weights, mean, centre = path_present(values[train], inside, features.penalties, features.nonnegative)
            predicted = weighted_distances(values[test], weights.T).T[:, None] - (weights @ mean.T)[..., None]
            error += np.nansum(np.square(predicted + centre[:, None] - held), axis=(1, 2))
        best = int(np.argmin(error))
    weights, mean, centre = path_present(values, rows, features.penalties[best : best + 1], features.nonnegative)
    intercept = (centre - mean @ weights[0]).mean()
    return Fit(weights.T, np.array([intercept]), np.array(features.penalties)[[best]])


def fit_weights(features: Features, data: Matrix) -> Vector:
    """Return the weights (n_features,) that predict the standardised data RDMs (n_rdms, n_pairs) best on average."""
    z, _, scale = standardised(data)
    found = _fitted(features, features.values, z, "group", [features.seed])
    return np.asarray(found.weights[:, 0] * scale.mean(), dtype=np.float64)


def standardised(data: Matrix) -> tuple[Matrix, Vector, Vector]:
    """Return RDMs with mean 0 and variance 1 over the pairs they have, their means and standard deviations.

    Raises
    ------
    MeasureError
        For fewer than 3 pairs, and constant RDMs.
    """
    _require_pairs(data)
    mean, scale = np.nanmean(data, axis=1), np.nanstd(data, axis=1)
    flat = scale <= FLAT * np.nanmax(np.abs(data), axis=1)
    if flat.any():
        raise MeasureError(
            f"data RDM {int(np.argmax(flat))} is constant on the pairs that are fitted or scored; leave it out, or use"
            " other stimuli"
        )
    return (data - mean[:, None]) / scale[:, None], mean, scale


def _require_pairs(data: Matrix) -> None:
    """Raise where an RDM has fewer than 3 pairs."""
    counts = np.isfinite(data).sum(axis=1)
    if counts.min() < MIN_PAIRS:
        raise MeasureError(
            f"data RDM {int(np.argmin(counts))} has {int(counts.min())} of the {data.shape[1]} pairs that are fitted or"
            f" scored; expected at least {MIN_PAIRS}; leave it out, or the stimuli with missing pairs"
        )


def outer_folds(n_stimuli: int) -> int:
    """Return the number of outer folds: 5, or 3 below 14 stimuli.

    Raises
    ------
    MeasureError
        Below 9 stimuli.
    """
    if n_stimuli < MIN_STIMULI:
        raise MeasureError(
            f"{n_stimuli} stimuli; feature-reweighted RSA needs at least {MIN_STIMULI} to hold stimuli out twice"
        )
    return 5 if n_stimuli >= FULL_FOLDS_FROM else 3


def fr_rsa(
    features: Features,
    data: Matrix,
    *,
    method: str = "pearson",
    level: Literal["rdm", "group"] = "rdm",
    repeats: int = 10,
) -> FeatureReweighted:
    """Score reweighted features on stimuli that the weights have not seen.

    Outer shuffle-splits of the stimuli (5 folds, 3 below 14 stimuli, times ``repeats``); the penalty is chosen inside
    each training set by 5 folds over its stimuli.  Only pairs within a set of stimuli are used.

    Parameters
    ----------
    features : Features
        See :func:`checked_features`.
    data : ndarray, shape (n_rdms, n_pairs)
        NaN where missing: each RDM is fitted, standardised and scored on the pairs that it has.
    method : str
        Comparator of the held-out scores; the fit is least squares.
    level : {"rdm", "group"}
        Weights for each data RDM, or one set for all: the normal equations of the standardised RDMs are summed.
    repeats : int
        Shuffles; at least 1.

    Returns
    -------
    FeatureReweighted

    Raises
    ------
    MeasureError
        On fewer than 9 stimuli, data of other stimuli, fewer than 3 pairs of an RDM in a fold, or constant data.
    OptionError
        On an option that is not on the menu.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(15, 3))
    >>> found = fr_rsa(checked_features(x), weighted_distances(x, np.array([1.0, 0.0, 3.0]))[None], repeats=1)
    >>> bool(found.scores[0] > 0.99)
    True
    """
    choose(method, METHODS, "method")
    choose(level, ("rdm", "group"), "level")
    if repeats < 1:
        raise OptionError(f"repeats={repeats}; expected at least 1")
    x, k = features.values, len(features.values)
    folds = outer_folds(k)
    if data.ndim != 2 or count_stimuli(data.shape[1]) != k or np.isinf(data).any():
        raise MeasureError(
            f"data have shape {data.shape}, {int(np.isinf(data).sum())} values infinite; expected RDMs "
            f"(n_rdms, {k * (k - 1) // 2}) of the {k} stimuli of the features, NaN where missing"
        )
    splits = [
        (r, f, *rows) for r in range(repeats) for f, rows in enumerate(shuffle_splits(k, folds, [features.seed, r]))
    ]
    scores, equal = np.empty((len(splits), len(data))), np.empty((len(splits), len(data)))
    penalties, constant = [], 0
    for row, (r, f, train, test) in enumerate(splits):
        z = standardised(data[:, pairs_within(train, k)])[0]
        found = _fitted(features, x[train], z, level, [features.seed, r, f])
        held = data[:, pairs_within(test, k)]
        scores[row], flat = _held_out(weighted_distances(x[test], found.weights), held, method)
        equal[row], _ = _held_out(weighted_distances(x[test], np.ones((x.shape[1], 1))), held, method)
        penalties.append(found.penalty)
        constant += flat
    n_test = len(splits[0][3])
    refit = _refit(features, data, level)
    means = (_fisher_mean(values, n_test) for values in (scores, equal))
    return FeatureReweighted(next(means), scores, next(means), np.array(penalties), constant, refit, _present(data))


def _refit(features: Features, data: Matrix, level: str) -> Fit:
    """Return the fit to all stimuli, in the units of the data (of their average, at group level)."""
    z, mean, scale = standardised(data)
    if level == "group":
        mean, scale = mean.mean(keepdims=True), scale.mean(keepdims=True)
    found = _fitted(features, features.values, z, level, [features.seed])
    return Fit(found.weights * scale, mean + found.intercept * scale, found.penalty)


def _present(data: Matrix) -> Rows:
    return np.asarray(np.isfinite(data).sum(axis=1), dtype=np.intp)


def _held_out(predicted: Matrix, held: Matrix, method: str) -> tuple[Vector, int]:
    """Score predictions (n_pairs, n_targets or 1) against data (n_rdms, n_pairs); count constant ones, which score 0."""
    _require_pairs(held)
    columns = np.where(np.isfinite(held.T), predicted, np.nan)
    flat = np.nanmax(columns, axis=0) - np.nanmin(columns, axis=0) <= FLAT * np.nanmax(np.abs(columns), axis=0)
    options: dict[str, Any] = {"method": method}
    pairs = zip(columns.T, held, flat, strict=True)
    return np.array([0.0 if none else compare_rdms(p, d, **options) for p, d, none in pairs]), int(flat.sum())


def _fisher_mean(scores: Matrix, n_test: int) -> Vector:
    """Average scores (n_splits, n_rdms) over splits."""
    if n_test == MIN_TEST_STIMULI:
        return np.asarray(scores.mean(axis=0), dtype=np.float64)
    return np.asarray(np.tanh(np.arctanh(np.clip(scores, -LARGEST_Z, LARGEST_Z)).mean(axis=0)), dtype=np.float64)
