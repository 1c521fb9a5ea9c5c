"""Shape distances of two systems over a grid of alpha."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from repcompare.functional._pair import Data, matched, without_nan
from repcompare.measures.shape_grid import shape_distances as _shape_distances


def shape_distances(
    x: Data,
    y: Data,
    alphas: npt.ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    score: Literal["angular", "euclidean", "similarity"] = "angular",
    degenerate: Literal["raise", "allow"] = "raise",
    nan: str = "raise",
) -> npt.NDArray[np.float64]:
    """Shape distance of two systems over rotations, from fully whitened to Procrustes, for little more than one of them.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    alphas : array-like, shape (n_alphas,)
        In [0, 1]: 1 is Procrustes, 0 whitens fully (CCA).
    score : {"angular", "euclidean", "similarity"}
        arccos of the cosine in rad; sqrt(2 - 2 cos); the cosine itself.
    degenerate : {"raise", "allow"}
        Where alpha = 0 is among them: what to do when rank_x + rank_y >= n - 1.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.

    Returns
    -------
    ndarray, shape (n_alphas,)
        Distances: in [0, pi/2] rad, in [0, sqrt 2], or similarities in [0, 1].

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, are too few for alpha = 0, or an option does not exist.

    References
    ----------
    Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> rc.shape_distances(x, x @ np.diag([1, 2, 3, 4.0]), [0, 1]).round(3)
    array([0.   , 0.396])
    """
    a, b, _, _ = matched(x, y)
    a, b, _ = without_nan(a, b, nan)
    return _shape_distances(a, b, alphas, score=score, degenerate=degenerate)
