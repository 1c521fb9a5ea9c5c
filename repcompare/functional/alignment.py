"""Alignment measures between two systems: one number each."""

from __future__ import annotations

from typing import Any

from repcompare.functional._pair import Data
from repcompare.functional._score import score_pair
from repcompare.measures.registry import make


def cka(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Centred kernel alignment of two systems.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.  With ``estimator="repeats"`` arrays are
        (n_repeats, n_stimuli, n_units) and representations are in presentation form.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``kernel``, ``bandwidth``, ``bandwidth_scale``, ``estimator``, ``angular``: see :func:`repcompare.measures.cka.cka`.

    Returns
    -------
    float
        Debiased by default: in [-1, 1], 1 for identical systems, 0 on average for unrelated ones.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Kornblith et al. 2019; Song et al. 2012.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 10))
    >>> round(rc.cka(x, 2 * x + 3), 6)
    1.0
    >>> abs(rc.cka(x, rng.normal(size=(50, 1000)))) < 0.1
    True
    """
    return score_pair(make("cka", **options), x, y, nan=nan)


def procrustes(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Orthogonal Procrustes: how far apart two systems are after the best rotation.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``score="angular" | "euclidean" | "similarity"``, ``scale=True``: see :func:`repcompare.measures.shape.procrustes`.

    Returns
    -------
    float
        Angle in rad, in [0, pi/2], by default; 0 for systems that are equal up to rotation, scale and offset.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(rc.procrustes(x, -2 * x[:, ::-1]), 6)
    0.0
    """
    return score_pair(make("procrustes", **options), x, y, nan=nan)


def cca(x: Data, y: Data, *, folds: Any = 5, seed: int = 0, nan: str = "raise", **options: Any) -> float:
    """Canonical correlation of two systems, on held-out stimuli.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``summary``, ``regularization``, ``held_out``, ``degenerate``: see :func:`repcompare.measures.cca.cca`.

    Returns
    -------
    float
        Mean canonical correlation over variates and folds, in [-1, 1].

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, there are too many units for the stimuli, or an option does not exist.

    References
    ----------
    Hotelling 1936.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 4))
    >>> round(rc.cca(x, x @ rng.normal(size=(4, 4))), 6)
    1.0
    """
    return score_pair(make("cca", **options), x, y, nan=nan, folds=folds, seed=seed)
