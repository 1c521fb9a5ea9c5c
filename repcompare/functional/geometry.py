"""Alignment measures beyond the first three: CCA variants, shape metrics, matching, dependence, neighbours."""

from __future__ import annotations

from typing import Any

from repcompare.functional._pair import Data
from repcompare.functional._score import score_pair
from repcompare.measures.registry import make


def svcca(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Singular vector CCA: canonical correlations of the leading principal components.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``variance=0.99`` or ``n_components=``, ``summary``, ``denominator``, ``degenerate``: see
        :func:`repcompare.measures.svcca.svcca`.

    Returns
    -------
    float
        In [0, 1]; in sample, with a guard where ranks come near the number of stimuli.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Raghu et al. 2017.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(60, 5))
    >>> round(rc.svcca(x, x @ np.diag([1, 2, 3, 4, 5])), 6)
    1.0
    """
    return score_pair(make("svcca", **options), x, y, nan=nan)


def pwcca(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Projection-weighted CCA: canonical correlations weighted by how much of the **first** argument they carry.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``weights``, ``degenerate``: see :func:`repcompare.measures.svcca.pwcca`.

    Returns
    -------
    float
        In [0, 1]; not symmetric.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Morcos, Raghu & Bengio 2018.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> 0 < rc.pwcca(x, x + rng.normal(size=(60, 5))) < 1
    True
    """
    return score_pair(make("pwcca", **options), x, y, nan=nan)


def shape_distance(x: Data, y: Data, *, folds: Any = 5, seed: int = 0, nan: str = "raise", **options: Any) -> float:
    """Shape distance: what is left after the best map of a group.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli of the held-out form.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``alpha=1.0`` (1 Procrustes ... 0 CCA), ``group="rotation" | "permutation" | "soft"``, ``score``, ``held_out``,
        ``convention``: see :func:`repcompare.measures.shape.shape_distance`.

    Returns
    -------
    float
        Angle in rad, in [0, pi/2], by default.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(rc.shape_distance(x, x[:, ::-1], group="permutation"), 6)
    0.0
    """
    return score_pair(make("shape_distance", **options), x, y, nan=nan, folds=folds, seed=seed)


def soft_match(x: Data, y: Data, *, folds: Any = 5, seed: int = 0, nan: str = "raise", **options: Any) -> float:
    """Soft matching: the correlation of units after the best transport between the two populations.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli of the held-out form.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``cost="correlation" | "euclidean"``, ``held_out``: see :func:`repcompare.measures.matching.soft_match`.

    Returns
    -------
    float
        Correlation in [-1, 1], or a distance in response units.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Khosla & Williams 2024.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(rc.soft_match(x, 2 * x[:, ::-1]), 6)
    1.0
    """
    return score_pair(make("soft_match", **options), x, y, nan=nan, folds=folds, seed=seed)


def gulp(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """GULP: how differently two systems predict by ridge regression, over all tasks.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``regularization=0.0``, ``squared``, ``degenerate``: see :func:`repcompare.measures.spectral.gulp`.

    Returns
    -------
    float
        Distance, at least 0; a metric.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Boix-Adsera et al. 2022.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(40, 4))
    >>> round(rc.gulp(x, 3 * x[:, ::-1], regularization=0.1), 6)
    0.0
    """
    return score_pair(make("gulp", **options), x, y, nan=nan)


def distance_correlation(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Distance correlation of two systems, on the squared scale, debiased.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``debiased=True``: see :func:`repcompare.measures.dependence.distance_correlation`.

    Returns
    -------
    float
        In [-1, 1], 0 on average for unrelated systems; ``debiased=False``: in [0, 1].

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Szekely & Rizzo 2013, 2014.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(40, 4))
    >>> round(rc.distance_correlation(x, 2 * x + 1), 6)
    1.0
    """
    return score_pair(make("distance_correlation", **options), x, y, nan=nan)


def mutual_knn(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Mutual nearest neighbours: the share of the k nearest stimuli that two systems have in common.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``k=10``, ``neighbours="cosine" | "euclidean"``, ``chance_corrected``: see
        :func:`repcompare.measures.neighbours.mutual_knn`.

    Returns
    -------
    float
        In [0, 1]; k / (n - 1) by chance.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Huh et al. 2024.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(40, 4))
    >>> rc.mutual_knn(x, 2 * x)
    1.0
    """
    return score_pair(make("mutual_knn", **options), x, y, nan=nan)


def cknna(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """CKNNA: centred kernel alignment over mutual nearest neighbours.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``k=10``: see :func:`repcompare.measures.neighbours.cknna`.

    Returns
    -------
    float
        About [-1, 1]; k = n - 1 is debiased CKA of normalised rows.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the measure is not defined on the data, or an option does not exist.

    References
    ----------
    Huh et al. 2024.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(40, 4))
    >>> round(rc.cknna(x, 2 * x), 6)
    1.0
    """
    return score_pair(make("cknna", **options), x, y, nan=nan)
