"""Shape distances for many values of alpha from one product of singular vectors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, angle, bounded_cosine, thin_factor
from repcompare.measures._measure import Array, check_values
from repcompare.measures._nuclear import Noise, narrow_factor, overlap_norm, same_rows
from repcompare.measures._rotations import guard, residual, stretched
from repcompare.measures.shape import SCORES, shape_distance


def shape_distances(
    x: Array,
    y: Array,
    alphas: npt.ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    score: Literal["angular", "euclidean", "similarity"] = "angular",
    degenerate: Literal["raise", "allow"] = "raise",
) -> Float64:
    """Shape distance of two systems over rotations, at every alpha.

    Parameters
    ----------
    x, y : ndarray, shape (n_stimuli, n_units)
        Responses to the same stimuli.
    alphas : array-like, shape (n_alphas,)
        In [0, 1]: 1 is Procrustes, 0 whitens fully (CCA).
    score : {"angular", "euclidean", "similarity"}
        arccos of the cosine in rad; sqrt(2 - 2 cos); the cosine itself.
    degenerate : {"raise", "allow"}
        Where alpha = 0 is among them: what to do when rank_x + rank_y >= n - 1.

    Returns
    -------
    ndarray, shape (n_alphas,)
        :func:`repcompare.measures.shape.shape_distance` of each: the thin factors and U_x'U_y are computed once, a further
        alpha costs the singular values of a rank_x by rank_y matrix.

    Raises
    ------
    OptionError
        For an alpha outside [0, 1], or no alpha at all.
    MeasureError
        When nothing varies, the stimuli differ in number, or (alpha = 0) they are too few.

    References
    ----------
    Williams et al. 2021 (shape metrics).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    >>> shape_distances(x, y, [0, 0.5, 1]).shape
    (3,)
    """
    choose(score, SCORES, "score")
    choose(degenerate, ("raise", "allow"), "degenerate")
    grid = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if grid.ndim != 1 or not grid.size or not ((grid >= 0) & (grid <= 1)).all():
        raise OptionError(f"alphas={alphas!r}; expected numbers in [0, 1]: 1 is Procrustes, 0 is CCA")
    for values in (x, y):
        check_values(shape_distance(), values)
    same_rows(x, y, "shape_distance")
    (u, s), (v, t) = (_spectrum(values) for values in (x, y))
    if grid.min() == 0 and degenerate == "raise":
        guard(len(u), (len(s), len(t)), True)
    product = u.T @ v
    cosines = np.empty(len(grid))
    out = np.empty(len(grid))
    for i, alpha in enumerate(grid):
        a, b = stretched(s, alpha), stretched(t, alpha)
        cosines[i] = bounded_cosine(overlap_norm(a[:, None] * product * b), "shape_distance")
        theta = angle(cosines[i], lambda a=a, b=b: residual(u * a, v * b))  # type: ignore[misc]
        out[i] = {"angular": theta, "euclidean": 2 * np.sin(theta / 2)}.get(score, cosines[i])
    return out


def _spectrum(values: Array) -> tuple[Float64, Float64]:
    """Left singular vectors (n_stimuli, rank) and singular values of the centred responses, without rounding."""
    try:
        u, s, _ = Noise.of(values).cut(*thin_factor(narrow_factor(values), 0.0))
    except MeasureError as error:
        raise MeasureError(f"shape_distance: {error}") from error
    return u, s
