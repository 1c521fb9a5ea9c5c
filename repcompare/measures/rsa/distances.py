"""Distances between the patterns of every pair of stimuli: representational dissimilarity matrices (RDMs).

References
----------
Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4; Nili et al. 2014, PLoS Computational Biology
10:e1003553; Walther et al. 2016, NeuroImage 137:188.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures.rsa import _missing, _products
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._products import Patterns, Values
from repcompare.measures.rsa._trials import Labels, Trials, pair_names, trials
from repcompare.measures.rsa._values import checked, merge_rounding
from repcompare.measures.rsa.crossnobis import WEIGHTINGS, crossnobis
from repcompare.measures.rsa.mahalanobis import mahalanobis
from repcompare.measures.rsa.noise import ESTIMATORS, Noise, estimate_noise, resolve
from repcompare.measures.rsa.poisson import PRIOR, check_counts, poisson, poisson_cv

__all__ = ["DISTANCES", "EVERY_DISTANCE", "Distance", "Settings", "checked", "compute", "merge_rounding", "rdm"]

Form = Literal["patterns", "mahalanobis", "crossnobis", "poisson", "poisson_cv"]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """One entry of the menu of distances.

    Attributes
    ----------
    form : str
        How it is computed: from patterns alone, or as its name says.
    centred : bool
        Each pattern's mean over units is subtracted first.
    unit_norm : bool
        Each pattern is divided by its norm: the distance is one minus the cosine.
    root : bool
        The square root of the mean squared difference is taken.
    takes_noise : bool
        The noise between units enters.
    cross_validated : bool
        It is a product of independent partitions: it needs trials, and may be negative.
    invariant_to : frozenset of str
        What leaves the RDM unchanged up to one positive factor; names of
        :data:`repcompare.measures._measure.INVARIANCES`.
    """

    form: Form = "patterns"
    centred: bool = False
    unit_norm: bool = False
    root: bool = False
    takes_noise: bool = False
    cross_validated: bool = False
    invariant_to: frozenset[str]


_ALWAYS = frozenset({"permutation", "scaling", "duplication"})

# of patterns alone
DISTANCES: dict[str, Distance] = {
    "correlation": Distance(
        centred=True, unit_norm=True, invariant_to=_ALWAYS | {"pattern_scaling", "pattern_translation"}
    ),
    "cosine": Distance(unit_norm=True, invariant_to=_ALWAYS | {"pattern_scaling", "rotation"}),
    "squared_euclidean": Distance(invariant_to=_ALWAYS | {"rotation", "translation"}),
    "euclidean": Distance(root=True, invariant_to=_ALWAYS | {"rotation", "translation"}),
}

# and those that take the noise, partitions or the distribution of counts into account
EVERY_DISTANCE: dict[str, Distance] = DISTANCES | {
    "mahalanobis": Distance(
        form="mahalanobis", takes_noise=True, invariant_to=frozenset({"scaling", "translation"})
    ),  # units keep their place: the precision belongs to them
    "crossnobis": Distance(
        form="crossnobis",
        takes_noise=True,
        cross_validated=True,
        invariant_to=_ALWAYS | {"rotation", "translation"},
    ),
    "poisson": Distance(form="poisson", invariant_to=frozenset({"permutation", "duplication"})),
    "poisson_cv": Distance(
        form="poisson_cv", cross_validated=True, invariant_to=frozenset({"permutation", "duplication"})
    ),
}


# of crossnobis under a noise that is estimated from the same repeats; units keep their place under a given one
_ESTIMATED = frozenset({"permutation", "scaling", "translation"})
NOISE_INVARIANCES = {
    "diag": _ESTIMATED | {"unit_scaling", "duplication"},
    "shrinkage_diag": _ESTIMATED | {"unit_scaling"},
    "shrinkage_eye": _ESTIMATED | {"rotation"},
    "full": _ESTIMATED | {"unit_scaling", "rotation", "affine"},
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of an RDM, checked; see :func:`rdm`."""

    distance: str = "correlation"
    normalize_units: bool = True
    nan: str = "raise"
    min_units: int = 10
    noise: Any = None
    weighting: str = "partition"
    centre_patterns: bool = False
    prior: tuple[float, float] = PRIOR

    def __post_init__(self) -> None:
        choose(self.distance, EVERY_DISTANCE, "distance")
        choose(self.nan, ("raise", "pairwise"), "nan")
        choose(self.weighting, WEIGHTINGS, "weighting")
        if self.min_units < 1:
            raise OptionError(f"min_units={self.min_units}; expected at least 1 shared unit")
        if isinstance(self.noise, str):
            choose(self.noise, ESTIMATORS, "noise")
        if self.noise is not None and not self.kind.takes_noise:
            raise OptionError(f"distance={self.distance!r} takes no noise; take 'mahalanobis' or 'crossnobis'")
        if self.noise is None and self.kind.form == "mahalanobis":
            raise OptionError(
                "distance='mahalanobis' needs the noise between units; give noise='shrinkage_diag', a precision matrix or"
                " a noise object; without noise it is 'squared_euclidean'"
            )
        if self.centre_patterns and self.kind.form.startswith("poisson"):
            raise OptionError(f"distance={self.distance!r} is of counts; centre_patterns=True makes them negative")

    @property
    def kind(self) -> Distance:
        """The entry of the menu."""
        return EVERY_DISTANCE[self.distance]

    @property
    def invariant_to(self) -> frozenset[str]:
        """What leaves the RDM unchanged up to a factor, under this noise."""
        if self.noise is None:
            return self.kind.invariant_to
        return NOISE_INVARIANCES.get(
            self.noise if isinstance(self.noise, str) else "", frozenset({"scaling", "translation"})
        )


@dataclass(frozen=True, eq=False)
class Computed:
    """An RDM and what it is of.

    Attributes
    ----------
    pairs : ndarray, shape (n_pairs,)
        NaN for missing pairs.
    names : ndarray, shape (n_stimuli,)
        Labels of the stimuli in order of first appearance.
    noise : Noise or sequence of Noise, optional
        What was used.
    """

    pairs: Vector
    names: npt.NDArray[Any]
    noise: Any = None


def rdm(  # noqa: PLR0913  (a public door: every option is keyword-only)
    values: npt.ArrayLike,
    distance: str = "correlation",
    *,
    normalize_units: bool = True,
    nan: str = "raise",
    min_units: int = 10,
    noise: Any = None,
    stimulus: Labels | None = None,
    partition: Labels | None = None,
    weighting: str = "partition",
    centre_patterns: bool = False,
    prior: tuple[float, float] = PRIOR,
) -> Vector:
    """Return the distances between the patterns of every pair of stimuli.

    Parameters
    ----------
    values : array_like of real numbers, shape (n_stimuli, n_units) or, with ``stimulus``, (n_trials, n_units)
        Responses; at least 2 stimuli.  Float32 data are multiplied in float32 only where the products exceed
        4e9 multiply-adds (crossnobis: 3e8, and under a given precision only where that leaves errors of about 1e-5 of
        the largest product); every sum over them is float64.
    distance : str
        ``"correlation"``, ``"cosine"``: ``1 - r``, ``1 - cos``; ``"squared_euclidean"``, ``"euclidean"``: the mean over
        units of the squared difference, or its square root; ``"mahalanobis"``: ``(x - y)' Omega (x - y) / P``;
        ``"crossnobis"``: its unbiased form, from products between partitions, which may be negative; ``"poisson"``,
        ``"poisson_cv"``: symmetrised divergence of spike counts.
    normalize_units : bool
        Divide squared differences by the number of units; ``False`` gives their sum.  Correlation and cosine
        have no such factor.
    nan : {"raise", "pairwise"}
        With ``"pairwise"`` each pair uses the units that are finite in both patterns (crossnobis: in 2 partitions or more);
        a pair that shares fewer than ``min_units``, or has no variance on them, is missing (NaN), and so is a pair that
        fewer than 2 partitions hold.  With ``normalize_units=False`` the mean over the shared units is multiplied by the
        number of all units.
    min_units : int
        Used only where values are missing.
    noise : None, str, array of shape (n_units, n_units), Noise, or a sequence of Noise
        For mahalanobis and crossnobis: an estimator (``"shrinkage_diag"``, ``"shrinkage_eye"``, ``"full"``, ``"diag"``, of
        trials minus stimulus and partition means), a precision, or what
        :func:`repcompare.measures.rsa.noise.estimate_noise` returns; crossnobis takes one for each partition too, in the
        sorted order of their labels.
    stimulus : sequence, shape (n_trials,), optional
        Labels of repeats.  Stimuli keep the order of first appearance.  Repeats are averaged, except in the cross-validated
        distances.
    partition : sequence, shape (n_trials,), optional
        Run or session of each trial.  Without it crossnobis takes every trial as a partition of its own.
    weighting : {"partition", "trial"}
        Of crossnobis where cells differ: means of the partitions that hold both stimuli (unchanged by a pattern added to a
        partition), or all products of trials of different partitions.
    centre_patterns : bool
        Subtract each pattern's mean over units first.
    prior : (rate, weight)
        Of Poisson rates: ``(x + rate weight) / (1 + weight)``.

    Returns
    -------
    ndarray of float64, shape (n_stimuli (n_stimuli - 1) / 2,)
        Pairs (i < j) row by row, the order of ``np.triu_indices(n_stimuli, 1)``.  In [0, 2] for correlation
        and cosine, any number for cross-validated distances, otherwise in [0, inf).  Values that differ by no more than
        rounding are made equal (not the cross-validated ones), so that tied distances have tied ranks.

    Raises
    ------
    MeasureError
        On infinite values, NaN without ``nan="pairwise"``, patterns without variance (correlation) or without
        length (cosine), negative counts, fewer than 2 stimuli or partitions, pairs that cannot be computed, or a noise that
        does not fit or has no inverse.
    OptionError
        On an option that is not on the menu, or that the distance does not take.

    Examples
    --------
    >>> rdm([[0, 0], [1, 1], [2, 2]], "squared_euclidean")
    array([1., 4., 1.])
    >>> rdm([[0, 0], [3, 4], [0, 0]], "euclidean", normalize_units=False)
    array([5., 0., 5.])
    >>> rdm([[0.0], [2.0], [1.0], [2.0]], "crossnobis", stimulus=["b", "a", "b", "a"], partition=[1, 1, 2, 2])
    array([2.])
    """
    settings = Settings(
        distance=distance,
        normalize_units=normalize_units,
        nan=nan,
        min_units=min_units,
        noise=noise,
        weighting=weighting,
        centre_patterns=centre_patterns,
        prior=prior,
    )
    found = compute(values, settings, stimulus, partition)
    missing = np.flatnonzero(np.isnan(found.pairs))
    if missing.size and nan == "raise":
        raise MeasureError(
            f"{missing.size} pairs of stimuli are in fewer than 2 common partitions: {pair_names(found.names, missing)};"
            " leave out stimuli, or take nan='pairwise' to have NaN there"
        )
    return found.pairs


def compute(
    values: npt.ArrayLike, settings: Settings, stimulus: Labels | None = None, partition: Labels | None = None
) -> Computed:
    """Return an RDM with the names of its stimuli; see :func:`rdm`.  Missing pairs are NaN.

    Raises
    ------
    MeasureError, OptionError
        As :func:`rdm`, but not for pairs that fewer than 2 partitions hold.
    """
    x, has_nan = checked(values, settings.nan)
    if settings.kind.form.startswith("poisson"):
        check_counts(x, None if stimulus is None else np.asarray(stimulus), settings.prior)
    noise = _noise_of(x, settings, stimulus, partition)
    if settings.centre_patterns:
        x = x - np.nanmean(x, axis=1, dtype=np.float64, keepdims=True)
    if settings.kind.cross_validated:
        data = trials(x, stimulus, partition, has_nan=has_nan)
        return Computed(_scaled(_cross_validated(data, noise, settings), x, settings), data.names, noise)
    names: npt.NDArray[Any] = np.arange(len(x))
    if stimulus is not None:
        data = trials(x, stimulus, np.zeros(len(x), dtype=int), has_nan=has_nan)
        x, names = _averaged(data), data.names
        has_nan = has_nan and bool(np.isnan(x).any())
    if settings.kind.form == "patterns":
        found = _of_patterns(x, names, has_nan, settings)
    elif settings.kind.form == "poisson":
        found, units = poisson(x.astype(np.float64), settings.prior)
        found = _enough(found, units, settings) if has_nan else found
    else:
        assert noise is not None
        found = _mahalanobis_present(x, noise, settings) if has_nan else mahalanobis(x, noise)
    found = _scaled(merge_rounding(found), x, settings)
    return Computed(np.sqrt(found) if settings.kind.root else found, names, noise)


def rdm_of_repeats(values: npt.NDArray[Any], settings: Settings) -> Vector:
    """Return the RDM of mean patterns (K, P), or of repeats (R, K, P), each of them a partition; missing pairs are NaN."""
    if not settings.kind.cross_validated:
        return compute(values, settings).pairs
    repeats, k, p = values.shape
    stimulus, partition = np.tile(np.arange(k), repeats), np.repeat(np.arange(repeats), k)
    return compute(values.reshape(-1, p), settings, stimulus, partition).pairs


def _scaled(found: Vector, x: Values, settings: Settings) -> Vector:
    return found if settings.normalize_units or settings.kind.unit_norm else found * x.shape[1]


def _noise_of(x: Values, settings: Settings, stimulus: Labels | None, partition: Labels | None) -> Any:
    """Return the noise that is asked for as an object, or one per partition."""
    noise = settings.noise
    if isinstance(noise, str):
        if stimulus is None:
            raise OptionError(
                f"noise={noise!r} is estimated from repeats, but rows have no stimulus labels; give stimulus= (one label"
                " per row), or the precision, or what estimate_noise returns for residuals"
            )
        return estimate_noise(x, noise, stimulus=stimulus, partition=partition)
    if isinstance(noise, (list, tuple)) and all(isinstance(item, Noise) or np.ndim(item) == 2 for item in noise):
        if settings.kind.form != "crossnobis":
            raise OptionError(
                f"distance={settings.distance!r} takes one noise; only crossnobis takes one per partition"
            )
        return [resolve(item, x.shape[1]) for item in noise]
    return resolve(noise, x.shape[1])


def _averaged(data: Trials) -> Values:
    """Return the mean of the finite values of each stimulus, shape (n_stimuli, n_units)."""
    if len(data.names) == len(data.values):
        return data.values  # nothing to average: stimuli are in the order of the rows
    return data.means_present()[:, 0]


def _cross_validated(data: Trials, noise: Any, settings: Settings) -> Vector:
    """Return cross-validated distances of trials, divided by the number of units."""
    if settings.kind.form == "poisson_cv":
        if data.has_nan:
            raise OptionError("distance='poisson_cv' has no form for missing values; drop units or stimuli")
        return poisson_cv(data, settings.prior)
    if not data.has_nan:
        found = crossnobis(data, noise, settings.weighting)
    elif data.independent or settings.weighting == "trial" or isinstance(noise, list):
        raise OptionError(
            "crossnobis with missing values takes partition means and one noise; take weighting='partition' and partition="
        )
    else:
        found = _enough(*_missing.crossnobis_present(data, noise), settings)
    if np.isnan(found).all():
        raise MeasureError(
            f"no pair of the {len(data.names)} stimuli is in 2 common partitions (with {settings.min_units} common units,"
            " where values are missing); give other partitions"
        )
    return found


def _enough(found: Vector, units: Vector, settings: Settings) -> Vector:
    """Return distances without those over too few units; raise when none is left."""
    found = np.where(units < settings.min_units, np.nan, found)
    if np.isnan(found).all():
        raise MeasureError(
            f"no pair of stimuli has {settings.min_units} units that are finite in both (at most "
            f"{int(units.max())} are shared); lower min_units, or drop units or stimuli"
        )
    return found


def _of_patterns(x: Values, names: npt.NDArray[Any], has_nan: bool, settings: Settings) -> Vector:
    patterns = _patterns(x, names, settings, has_nan)
    if not has_nan:
        return _products.complete(patterns)
    found, count = _products.incomplete(patterns, settings.min_units)
    if np.isnan(found).all():
        raise MeasureError(
            f"no pair of stimuli has {settings.min_units} units that are finite in both and vary (at most "
            f"{int(count.max())} are shared); lower min_units, or drop units or stimuli"
        )
    return found


def _patterns(x: Values, names: npt.NDArray[Any], settings: Settings, has_nan: bool) -> Patterns:
    """Return the patterns as the distance takes them; raise for those that it is not defined on.

    Under ``nan="pairwise"`` a pattern without variance only makes its own pairs missing.
    """
    kind, k = settings.kind, len(x)
    if not kind.unit_norm:
        return Patterns(x, kind.centred, kind.unit_norm, np.zeros(k), np.ones(k))
    mean, norm, _, flat = _products.row_stats(x, centred=kind.centred, has_nan=has_nan)
    bad = np.flatnonzero(flat)
    if bad.size and not has_nan:
        what = "zero variance over units" if kind.centred else "zero responses only"
        raise MeasureError(
            f"distance={settings.distance!r}: stimulus rows {names[bad].tolist()} have {what}; drop these stimuli, or take"
            " distance='squared_euclidean'",
            rows=bad.tolist(),
        )
    return Patterns(x, kind.centred, kind.unit_norm, mean, norm)


def _mahalanobis_present(x: Values, noise: Noise, settings: Settings) -> Vector:
    return _enough(*_missing.mahalanobis_present(x.astype(np.float64), noise), settings)
