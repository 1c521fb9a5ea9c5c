"""Nuclear norms of overlaps by the quickest route that is certified, and thin factors of wide data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from repcompare.errors import MeasureError
from repcompare.measures._blas import gram_eigenvalues
from repcompare.measures._linalg import Float64, centre64, gram, input_eps, nuclear_norm, square_root_factor, symmetric
from repcompare.measures._measure import Array

CERTIFIED = 5e-11  # limit of the estimate of the relative error; near it, errors of 1/14 of it or less were seen
WELL_CONDITIONED = 1e-8  # reciprocal condition of a Gram matrix above which its Cholesky factor keeps 12 digits
SMALL = 24  # below this width nothing beats the SVD


@dataclass(frozen=True)
class Noise:
    """What sets the tolerance of ranks: precision and width of the data as they came, and the size of their rounding."""

    eps: float
    width: int
    size: float

    @classmethod
    def of(cls, values: Array) -> Noise:
        """Read it from responses (n_stimuli, n_units); an offset takes digits from what varies around it."""
        eps = input_eps(values)
        return cls(eps, values.shape[1], eps * float(np.linalg.norm(values.astype(np.float64, copy=False))))

    def cut(self, u: Float64, s: Float64, vt: Float64) -> tuple[Float64, Float64, Float64]:
        """Drop the directions of a thin SVD that rounding alone explains."""
        rank = max(1, int((s > max(s[0] * max(len(u), self.width) * self.eps, self.size)).sum()))
        return u[:, :rank], s[:rank], vt[:rank]


def overlap_norm(matrix: Float64) -> float:
    """Sum of the singular values, from the eigenvalues of the smaller Gram matrix where that is certified.

    An eigenvalue carries an error of about eps times the largest one, its root that error over twice the root.  Where
    the sum of these bounds exceeds ``CERTIFIED`` of the total (rank-deficient or steep spectra) the SVD takes over.
    Tridiagonal reduction takes half the work of the bidiagonal one, and polar iterations (Newton-Schulz, QDWH) several
    times that of either: ``benchmarks`` has the comparison.

    Parameters
    ----------
    matrix : ndarray, shape (rank_x, rank_y)
        Overlap of two factors.

    Returns
    -------
    float
        In the units of the matrix, >= 0.

    Examples
    --------
    >>> overlap_norm(np.diag([3.0, 2.0]))
    5.0
    """
    width = min(matrix.shape)
    size = float(np.abs(matrix).max())
    if width < SMALL or not 1e-100 < size < 1e100:  # squares must neither overflow nor vanish
        return nuclear_norm(matrix)
    squares = gram_eigenvalues(matrix)
    if not squares[0] > 0:
        return nuclear_norm(matrix)
    roots = np.sqrt(squares)
    slack = np.finfo(np.float64).eps * squares[-1]
    total = float(roots.sum())
    return total if slack * float((0.5 / roots).sum()) <= CERTIFIED * total else nuclear_norm(matrix)


def narrow_factor(values: Array) -> Float64:
    """Return F (n_stimuli, at most n_stimuli - 1) with F F' = Xc Xc', the Gram matrix of the centred data.

    Narrow data are their own factor.  Of wide data the direction that centring removes is left out, and the factor comes
    from the Cholesky factor of the Gram matrix where that is well conditioned, else from a triangular factor of the data.
    """
    n, p = values.shape
    if p < n:
        return centre64(values)
    mirror = np.full(n, -1 / np.sqrt(n))  # v of the reflection I - v v' / v_0 that takes 1 / sqrt(n) to the first axis
    mirror[0] += 1
    lower = _cholesky(_reflect(values, mirror))
    if lower is None:
        square = square_root_factor(values)
        narrow: Float64 = square @ np.linalg.qr(square.T @ _contrasts(mirror))[0]
        return narrow
    factor: Float64 = _contrasts(mirror) @ lower
    return factor


def _contrasts(mirror: Float64) -> Float64:
    """Orthonormal columns (n, n - 1) that sum to zero."""
    full = np.eye(len(mirror)) - np.outer(mirror, mirror) / mirror[0]
    return np.ascontiguousarray(full[:, 1:])


def _reflect(values: Array, mirror: Float64) -> Float64:
    kernel = symmetric(gram(values.astype(np.float64, copy=False)))
    side = kernel @ mirror / mirror[0]
    kernel -= np.outer(mirror, side) + np.outer(side, mirror) - np.outer(mirror, mirror) * (mirror @ side / mirror[0])
    return np.ascontiguousarray(kernel[1:, 1:])


def _cholesky(kernel: Float64) -> Float64 | None:
    """Lower Cholesky factor, or None where the matrix is too ill-conditioned for it."""
    lower, failed = lapack.dpotrf(kernel, lower=1, clean=1)
    if failed:
        return None
    rcond, failed = lapack.dpocon(lower, np.linalg.norm(kernel, 1), uplo="L")
    return None if failed or not rcond > WELL_CONDITIONED else np.ascontiguousarray(lower)


def same_rows(x: Array, y: Array, what: str) -> None:
    """Raise ``MeasureError`` unless two arrays (n_stimuli, ...) have equally many rows."""
    if len(x) != len(y):
        raise MeasureError(f"{what}: {len(x)} stimuli against {len(y)}; expected the same stimuli")
