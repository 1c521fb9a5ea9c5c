"""One place for each numerical idea that the measures share: centring, Gram matrices, thin factors, nuclear norms.

Columns are centred in float64 before anything else; ranks are judged relative to the largest singular value and the
precision of the input, so that multiplying a representation by 1e-6 or 1e6 changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.kernels.gram import centre_columns
from repcompare.measures._blas import add_gram
from repcompare.measures._measure import Array, Folds

Float64 = npt.NDArray[np.float64]

BLOCK_BYTES = 4_000_000  # a block of columns that stays in cache between centring and its product
COSINE_SLACK = 1e-6  # rounding may carry a cosine this far beyond 1; more is an error


def centre(values: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """Subtract from each column its mean, computed in float64.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        float32 or float64.
    dtype : dtype, optional
        Of the result; that of the input by default.

    Returns
    -------
    ndarray, shape (n_stimuli, n_units)
        C-ordered.  A constant column is exactly zero.
    """
    source = np.ascontiguousarray(values)
    out = np.empty(source.shape, dtype=dtype or source.dtype)
    centre_columns(source, 0, source.shape[1], out)
    return out


def centre64(values: Array) -> Float64:
    """Return :func:`centre` in float64, whatever the input."""
    return centre(values, np.float64).astype(np.float64, copy=False)


def centred_blocks(values: Array) -> Iterator[Array]:
    """Yield the centred columns of (n_stimuli, n_units) in blocks that fit the cache; the buffer is reused."""
    source = np.ascontiguousarray(values)
    n, p = source.shape
    width = min(p, max(64, BLOCK_BYTES // (n * source.itemsize)))
    buffer = np.empty((n, width), dtype=source.dtype)
    for start in range(0, p, width):
        stop = min(start + width, p)
        out = buffer if stop - start == width else np.empty((n, stop - start), dtype=source.dtype)
        centre_columns(source, start, stop, out)
        yield out


def gram(values: Array) -> Array:
    """Gram matrix of the column-centred data, by symmetric products over blocks of units.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        float32 or float64; products run in this precision.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        C-ordered; only the lower triangle is filled.
    """
    lower = np.zeros((len(values), len(values)), dtype=values.dtype)
    for block in centred_blocks(values):
        add_gram(block, lower)
    return lower


def symmetric(lower: Array) -> Float64:
    """Return the full symmetric matrix (n, n) in float64 from its lower triangle."""
    full = np.tril(lower).astype(np.float64)
    return full + np.tril(full, -1).T


def require_variance(norm: float, what: str) -> None:
    """Raise ``MeasureError`` when a representation does not vary at all (or the number is not finite)."""
    if not norm > 0:
        raise MeasureError(
            f"{what}: the representation has no variance: every stimulus has the same response; "
            "expected responses that differ between stimuli"
        )


def thin_factor(centred: Array, eps: float, rtol: float | None = None) -> tuple[Float64, Float64, Float64]:
    """Thin SVD of column-centred data without its null directions.

    Parameters
    ----------
    centred : ndarray, shape (n_stimuli, n_units)
        Column-centred.
    eps : float
        Precision of the data as they came (that of float32 stays, whatever they were cast to).
    rtol : float, optional
        Singular values below ``rtol`` times the largest are dropped; ``max(n, p) * eps`` by default.

    Returns
    -------
    u : ndarray, shape (n_stimuli, rank)
    s : ndarray, shape (rank,)
    vt : ndarray, shape (rank, n_units)

    Raises
    ------
    MeasureError
        When nothing varies.
    """
    u, s, vt = scipy.linalg.svd(
        centred.astype(np.float64, copy=False), full_matrices=False, check_finite=False, lapack_driver="gesdd"
    )
    require_variance(float(s[0]), "SVD")
    limit = max(centred.shape) * eps if rtol is None else rtol
    rank = int((s > s[0] * limit).sum())
    return u[:, :rank], s[:rank], vt[:rank]


def square_root_factor(values: Array) -> Float64:
    """Return F (n_stimuli, min(n_stimuli, n_units)) with F F' = Xc Xc', the Gram matrix of the centred data.

    The centred data themselves where they are narrow, else the triangular factor of their transpose: backward stable,
    so small singular values keep their digits.
    """
    centred = centre64(values)
    if centred.shape[1] <= centred.shape[0]:
        return centred
    (r,) = scipy.linalg.qr(centred.T, mode="r", check_finite=False, overwrite_a=True)
    return np.ascontiguousarray(r[: centred.shape[0]].T)


def nuclear_norm(matrix: Array) -> float:
    """Sum of the singular values."""
    return float(scipy.linalg.svdvals(matrix, check_finite=False).sum())


def bounded_cosine(value: float, what: str) -> float:
    """Clip rounding beyond [-1, 1]; more than rounding is an error."""
    if not abs(value) <= 1 + COSINE_SLACK:
        raise MeasureError(f"{what}: cosine {value} lies outside [-1, 1]: an internal error; please report the data")
    return min(1.0, max(-1.0, value))


def angle(cosine: float, chord: Callable[[], float]) -> float:
    """Angle in rad of a cosine; below 1e-3 from the length of the chord, where the arccosine has lost its digits.

    Parameters
    ----------
    cosine : float
        In [-1, 1].
    chord : callable
        Gives the distance of the two unit vectors; called only for small angles.
    """
    if cosine < 1 - 5e-7:
        return float(np.arccos(cosine))
    return float(2 * np.arcsin(min(1.0, chord() / 2)))


def input_eps(values: npt.NDArray[Any]) -> float:
    """Precision of the input's dtype."""
    return float(np.finfo(values.dtype).eps)


def fold_parts(values: Array, folds: Folds) -> Iterator[tuple[Float64, Float64]]:
    """Yield (train, test) rows of each fold in float64, both centred by the training mean."""
    for train, test in folds.splits:
        fitted = values[train].astype(np.float64)
        mean = fitted[0] + (fitted - fitted[0]).mean(axis=0)
        yield fitted - mean, values[test].astype(np.float64) - mean
