"""Column spaces: orthonormal bases, overlaps, and the guard against spaces that fill all stimuli.

Bases of tall, well-conditioned data come from the Cholesky factor of their (equilibrated) Gram matrix, where products
replace reflections; its condition number certifies that this loses neither rank nor digits.  Everything else
goes through the thin SVD with its relative rank cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.measures._blas import gram_eigenvalues
from repcompare.measures._linalg import Float64, thin_factor
from repcompare.measures._measure import Array

CROWDED = 0.1  # share of rank in stimuli above which canonical directions are unstable (Helmer et al. 2024)
GENTLE = 300  # condition number (of units scaled alike) up to which one Cholesky pass keeps 1e-10
FIRM = 1e6  # ... and up to which a second pass restores orthogonality
GRAM_FLOOR = 1e-3  # relative singular values above this keep 1e-10 through the eigenvalues of a Gram matrix
DOUBLE = float(np.finfo(np.float64).eps)
BLOCK_VALUES = 8_000_000  # entries of stacked kernels held at a time


@dataclass(frozen=True)
class Basis:
    """Orthonormal columns U of a column space, perhaps not yet multiplied out.

    Attributes
    ----------
    values : ndarray, shape (n_stimuli, n_columns)
        U itself, or the centred data X.
    transform : ndarray, shape (n_columns, rank), optional
        T with U = X T.
    eps : float
        Precision that the rank of ``values`` is judged by.
    """

    values: Float64
    transform: Float64 | None
    eps: float

    @property
    def n(self) -> int:
        """Number of stimuli."""
        return len(self.values)

    @property
    def rank(self) -> int:
        """Dimension of the space."""
        return int((self.values if self.transform is None else self.transform).shape[1])

    def columns(self) -> Float64:
        """U (n_stimuli, rank)."""
        return self.values if self.transform is None else self.values @ self.transform

    def directions(self, coefficients: Float64) -> Float64:
        """What to multiply data in the coordinates of ``values`` by, for combinations (rank, k) of basis columns."""
        return coefficients if self.transform is None else self.transform @ coefficients


def orthonormal(centred: Float64, eps: float, rtol: float | None = None) -> Basis:
    """Orthonormal basis of the column space of centred data.

    Parameters
    ----------
    centred : ndarray, shape (n_stimuli, n_units)
        Column-centred (or, for uncentred measures, as they are).
    eps : float
        Precision of the data as they came.
    rtol : float, optional
        Singular values below ``rtol`` times the largest are dropped; ``max(n, p) * eps`` by default.

    Returns
    -------
    Basis

    Raises
    ------
    MeasureError
        When nothing varies.
    """
    return whiten(centred, centred[:0], eps, rtol)[0]


def whiten(train: Float64, test: Float64, eps: float, rtol: float | None = None) -> tuple[Basis, Float64]:
    """Orthonormal basis of training rows (n_train, p), and test rows (n_test, p) in the coordinates of its ``values``.

    Multiplying the test rows by ``basis.directions(c)`` gives variates of which ``basis.columns() @ c`` are the training
    part.  Options and errors are those of :func:`orthonormal`.
    """
    n, p = train.shape
    if p < n - 1 and _squares_are_safe(train):
        found = _cholesky(train, test, max(n, p) * eps if rtol is None else rtol, eps)
        if found is not None:
            return found
    u, s, vt = thin_factor(train, eps, rtol)
    return Basis(u, None, DOUBLE), (test @ vt.T) / s


def _squares_are_safe(x: Float64) -> bool:
    """Whether squares neither overflow nor vanish."""
    return 1e-100 < max(float(x.max()), -float(x.min())) < 1e100


def _cholesky(x: Float64, test: Float64, tolerance: float, eps: float) -> tuple[Basis, Float64] | None:
    """Basis by one or two Cholesky passes, where full rank (of the units that vary) and accuracy are certain."""
    squares = x.T @ x  # a symmetric product: numpy calls syrk
    norms = np.sqrt(squares.diagonal())
    live = norms > 0
    if not live.all():
        x, test = np.ascontiguousarray(x[:, live]), test[:, live]
        squares, norms = squares[np.ix_(live, live)], norms[live]
    spread = float(norms.max() / norms.min())
    cosines = squares / norms / norms[:, None]
    extremes = np.linalg.eigvalsh(cosines)[[0, -1]]
    condition = float(np.sqrt(extremes[1] / extremes[0])) if extremes[0] > 0 else np.inf
    inverse = _inverse_root(cosines) if condition < FIRM and condition * spread * tolerance < 1 else None
    if inverse is None:
        return None
    transform = inverse / norms[:, None]
    if condition < GENTLE:
        return Basis(x, transform, eps), test
    rough = x @ transform
    again = _inverse_root(rough.T @ rough)
    return None if again is None else (Basis(rough @ again, None, DOUBLE), test @ transform @ again)


def _inverse_root(matrix: Float64) -> Float64 | None:
    """R^-1 (p, p) with R'R = matrix, upper triangular."""
    root, failed = scipy.linalg.lapack.dpotrf(matrix, lower=0, clean=1)
    if failed:
        return None
    inverse, failed = scipy.linalg.lapack.dtrtri(root, lower=0)
    return None if failed else np.ascontiguousarray(inverse)


def overlap(x: Basis, y: Basis) -> Float64:
    """U_x'U_y (rank_x, rank_y), whose singular values are the canonical correlations."""
    cross = x.values.T @ y.values
    if x.transform is not None:
        cross = x.transform.T @ cross
    return cross if y.transform is None else cross @ y.transform


def canonical_sum(cross: Float64) -> float:
    """Sum of the singular values (r, q) -> float, each clipped to 1; from eigenvalues where these keep the digits."""
    values = gram_eigenvalues(cross)  # of cosines, so that nothing overflows
    if values[0] > 1e-8 * values[-1]:
        return float(np.minimum(np.sqrt(values), 1.0).sum())
    return float(np.minimum(np.linalg.svd(cross, compute_uv=False), 1.0).sum())


def spectrum(
    centred: Float64, eps: float, *, full: int, keep: Callable[[Float64, float], int] | None = None
) -> tuple[Basis, Float64]:
    """Left singular vectors and singular values, through the smaller Gram matrix where that keeps the digits.

    Parameters
    ----------
    centred : ndarray, shape (n_stimuli, n_units)
        Column-centred (or, for uncentred measures, as they are).
    eps : float
        Precision of the data as they came.
    full : int
        Highest possible rank: ``min(n - 1, p)`` of centred data.
    keep : callable, optional
        ``(singular values, sum of all squares) -> count`` of leading components to keep; all by default.

    Returns
    -------
    basis : Basis
        Of the singular vectors, in order.
    s : ndarray, shape (rank,)

    Raises
    ------
    MeasureError
        When nothing varies.
    """
    if _squares_are_safe(centred):
        found = _spectrum_by_gram(centred, eps, full, keep)
        if found is not None:
            return found
    u, s, _ = thin_factor(centred, eps)
    count = keep(s, float((s**2).sum())) if keep else len(s)
    return Basis(np.ascontiguousarray(u[:, :count]), None, DOUBLE), s[:count]


def _spectrum_by_gram(
    centred: Float64, eps: float, full: int, keep: Callable[[Float64, float], int] | None
) -> tuple[Basis, Float64] | None:
    """Leading singular vectors and values by eigenvectors, or None where these would lose digits or rank."""
    n, p = centred.shape
    wide = p >= n
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    s = np.sqrt(np.maximum(values[::-1][:full], 0))
    count = keep(s, float(values.sum())) if keep else full
    if not s[count - 1] > max(GRAM_FLOOR, max(n, p) * eps) * s[0]:
        return None
    leading, s = np.ascontiguousarray(vectors[:, ::-1][:, :count]), s[:count]
    return (Basis(leading, None, DOUBLE) if wide else Basis(centred, leading / s, eps)), s


def require_same_stimuli(name: str, n: int, m: int) -> None:
    """Raise ``MeasureError`` unless both sides have the same number of rows."""
    if n != m:
        raise MeasureError(f"{name}: {n} stimuli against {m}; expected the same stimuli on both sides (and folds)")


def require_room(name: str, ranks: tuple[int, int], n: int) -> None:
    """Raise ``MeasureError`` when two column spaces fill the stimuli, so that they must share directions.

    Parameters
    ----------
    name : str
        Of the measure.
    ranks : tuple of int
        Dimensions of both spaces.
    n : int
        Stimuli.
    """
    rx, ry = ranks
    if rx + ry >= n - 1:
        raise MeasureError(
            f"{name}: ranks {rx} + {ry} reach the number of fitted stimuli less one ({n} - 1): "
            f"{max(0, rx + ry - (n - 1))} correlations would be exactly 1 for unrelated data; use more stimuli, "
            "fewer components, regularization > 0, or another measure (cka); "
            "degenerate='allow' returns the number anyway"
        )


def crowded(name: str, n: int, rank: int) -> tuple[str, ...]:
    """Note that a column space takes more than a tenth of the stimuli."""
    if rank / (n - 1) <= CROWDED:
        return ()
    return (
        f"{name}_crowded: rank {rank} for {n} fitted stimuli; canonical directions are unstable above {CROWDED:.0%} "
        "(Helmer et al. 2024): reduce the units or regularise",
    )


def corrected(value: float, null: float, name: str) -> float:
    """(value - null) / (1 - null): 0 at chance, 1 for identical systems."""
    if not null < 1:
        raise MeasureError(f"{name}: the score of unrelated data is 1 at these ranks: nothing is left to correct")
    return (value - null) / (1 - null)


def products(first: Sequence[Array], second: Sequence[Array] | None = None) -> Float64:
    """Inner products <A_i, B_j> of kernels A = F F', B = G G', given by their factors.

    Parameters
    ----------
    first, second : sequences of ndarray, shape (n_stimuli, rank)
        Factors F and G; without ``second`` all pairs of the first.

    Returns
    -------
    ndarray, shape (n_first, n_second)
        |F_i'G_j|^2: from stacked factors, or from stacked kernels in blocks of stimuli, whichever costs less.
    """
    others = first if second is None else second
    n, same = len(first[0]), second is None
    r, q = (sum(f.shape[1] for f in side) for side in (first, others))
    by_factors = n * r * q * (1 if same else 2)
    by_kernels = n * n * (r if same else r + q) + n * n * len(first) * len(others)
    if by_factors <= by_kernels:
        return _by_factors(first, others, same)
    out = np.zeros((len(first), len(others)))
    width = max(1, BLOCK_VALUES // (n * max(len(first), len(others))))
    for start in range(0, n, width):
        stop = min(n, start + width)
        a = _kernel_rows(first, start, stop)
        b = a if same else _kernel_rows(others, start, stop)
        for left, right, times in zip(a, b, (2, 1), strict=True):
            out += times * (left @ right.T)
    return out


def _by_factors(first: Sequence[Array], others: Sequence[Array], same: bool) -> Float64:
    right = np.concatenate(others, axis=1)
    starts = np.cumsum([0, *(g.shape[1] for g in others[:-1])])
    out = np.zeros((len(first), len(others)))
    for i, f in enumerate(first):
        done = i if same else 0  # the other half follows by symmetry
        squares = np.square(f.T @ right[:, starts[done] :]).sum(axis=0)
        out[i, done:] = np.add.reduceat(squares, starts[done:] - starts[done])
        if same:
            out[i:, i] = out[i, i:]
    return out


def _kernel_rows(factors: Sequence[Array], start: int, stop: int) -> tuple[Float64, Float64]:
    """Rows ``start:stop`` of each kernel, left of the diagonal block and in it, as (n_kernels, n_entries) each."""
    rows = np.stack([(f[start:stop] @ f[:stop].T) for f in factors])
    return rows[:, :, :start].reshape(len(rows), -1), rows[:, :, start:].reshape(len(rows), -1)
