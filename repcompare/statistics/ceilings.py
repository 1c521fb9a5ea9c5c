"""Noise ceilings: the best score that the noise of the target allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def spearman_brown(half: npt.ArrayLike) -> Float64:
    """Reliability of the full data from the correlation between two halves: 2 r / (1 + r).

    Parameters
    ----------
    half : array-like
        Correlations between halves; NaN stays.

    Returns
    -------
    ndarray
        Reliability, an upper bound of the squared correlation of any model with the data.  NaN where r = -1.

    Notes
    -----
    Spearman 1910; Brown 1910.

    Examples
    --------
    >>> float(spearman_brown(0.5).round(4))
    0.6667
    """
    r = np.asarray(half, dtype=np.float64)
    out = np.full(r.shape, np.nan)
    np.divide(2 * r, 1 + r, out=out, where=r > -1)
    return out


def unit_correlation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Float64:
    """Pearson correlation over stimuli of each unit between two measurements, over the stimuli that both have.

    Parameters
    ----------
    first, second : ndarray, shape (n_stimuli, n_units)
        NaN means missing.

    Returns
    -------
    ndarray, shape (n_units,)
        NaN for units with fewer than 3 common stimuli or no variance.
    """
    both = np.isfinite(first) & np.isfinite(second)
    n = both.sum(axis=0)
    x = np.where(both, first, 0.0).astype(np.float64)
    y = np.where(both, second, 0.0).astype(np.float64)
    few = np.maximum(n, 1)
    x = np.where(both, x - x.sum(axis=0) / few, 0.0)
    y = np.where(both, y - y.sum(axis=0) / few, 0.0)
    scale = np.sqrt(np.square(x).sum(axis=0) * np.square(y).sum(axis=0))
    usable = (n >= 3) & (scale > 0)
    out = np.full(len(n), np.nan)
    np.divide((x * y).sum(axis=0), scale, out=out, where=usable)
    return out
