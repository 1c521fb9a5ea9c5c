"""The covariance of the noise between units, as what distances need of it: products, whitened rows, sub-blocks.

A covariance is kept as ``diag(delta) + beta Z' Z`` where units outnumber samples, so that nothing of the size units x units
is ever made, and as a matrix otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.linalg.blas import dtrmm, dtrsm, strmm, strsm

from repcompare.errors import MeasureError
from repcompare.measures._blas import add_gram

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]

AMPLIFIED = 16.0  # how much larger than its result a quadratic form in float32 may be: errors of about 4e-6
SLICE = 2**15  # values of a few rows, which stay in the cache


@dataclass(frozen=True, eq=False)
class Term:
    """One term of a quadratic form: ``sign (A B' + B A') / 2``; A is B where the term is a Gram matrix."""

    left: Rows
    right: Rows
    sign: float

    def gram(self, view: Callable[[Rows], Rows]) -> Matrix:
        """Return the symmetric term of linear functions ``view`` of its rows, shape (n, n)."""
        a = np.ascontiguousarray(view(self.left))
        if self.right is self.left:
            lower = np.zeros((len(a), len(a)), dtype=a.dtype)
            add_gram(a, lower)
            full = np.tril(lower).astype(np.float64)
            return self.sign * (full + np.tril(full, -1).T)
        product = (a @ view(self.right).T).astype(np.float64)
        return self.sign * 0.5 * (product + product.T)

    def squares(self) -> Vector:
        """Return the term of each row with itself, shape (n,)."""
        return np.asarray(self.sign * np.einsum("ij,ij->i", self.left, self.right), dtype=np.float64)

    def rows(self, some: npt.NDArray[np.intp] | slice) -> Term:
        """Return the term of some of its rows."""
        left = self.left[some]
        return Term(left, left if self.right is self.left else self.right[some], self.sign)

    def cross(self, some: npt.NDArray[np.intp]) -> Matrix:
        """Return the term between some rows (given as indices) and all rows, shape (n_some, n)."""
        product = (self.left[some] @ self.right.T).astype(np.float64)
        if self.right is not self.left:
            product = 0.5 * (product + self.right[some] @ self.left.T)
        return self.sign * product


@dataclass(frozen=True, eq=False, kw_only=True)
class Noise:
    """Covariance of the noise between units, in factored form; made by :func:`repcompare.measures.rsa.noise.estimate_noise`.

    Attributes
    ----------
    method : str
        ``"shrinkage_diag"``, ``"shrinkage_eye"``, ``"full"``, ``"diag"``, ``"precision"`` or ``"mean"`` (of several).
    n_units : int
        P.
    shrinkage : float
        Lambda: 0 is the sample covariance, 1 the target; NaN for a given precision.
    dof : float
        Degrees of freedom of the residuals; NaN for a given precision.
    delta : ndarray, shape (n_units,), optional
        Diagonal part of a factored covariance.
    beta : float
        Weight of ``Z' Z``.
    factor : ndarray, shape (n_samples, n_units), optional
        Z, where units outnumber samples.
    dense : ndarray, shape (n_units, n_units), optional
        Covariance, where they do not.
    given : ndarray, shape (n_units, n_units), optional
        Precision that the user gave.
    single : ndarray of float32, shape (n_units, n_units), optional
        Its lower Cholesky factor (Fortran order, what is above the diagonal has no meaning), where float32 has the digits.
    """

    method: str
    n_units: int
    shrinkage: float = np.nan
    dof: float = np.nan
    delta: Vector | None = None
    beta: float = 0.0
    factor: Matrix | None = None
    dense: Matrix | None = None
    given: Matrix | None = None
    single: npt.NDArray[np.float32] | None = None

    @property
    def label(self) -> str:
        """One line for the record: method, shrinkage and degrees of freedom."""
        if self.method == "precision":
            return f"precision ({self.n_units} x {self.n_units})"
        return f"{self.method} (shrinkage {self.shrinkage:.4g}, {self.dof:g} degrees of freedom)"

    @cached_property
    def condition(self) -> float:
        """Condition number of the covariance: largest over smallest eigenvalue."""
        if self.dense is not None or self.given is not None:
            matrix = self.dense if self.dense is not None else self.given
            assert matrix is not None
            values = np.linalg.eigvalsh(matrix)
            return float(values[-1] / values[0]) if values[0] > 0 else np.inf
        assert self.delta is not None
        low, high = float(self.delta.min()), float(self.delta.max())
        if self.factor is None:
            return high / low
        if low == high:  # a multiple of the identity plus a part of low rank
            top = float(np.linalg.eigvalsh(self.factor @ self.factor.T)[-1])
            return (low + self.beta * top) / low
        return self._extreme(largest=True) / self._extreme(largest=False)

    def _extreme(self, *, largest: bool) -> float:
        """Return the largest or smallest eigenvalue of the factored covariance, by products with it or its inverse."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        def times(v: Vector) -> Vector:
            assert self.delta is not None and self.factor is not None
            v = v.ravel()
            return np.asarray(self.delta * v + self.beta * (self.factor.T @ (self.factor @ v)))

        def solved(v: Vector) -> Vector:
            return np.asarray(self.solve(v.reshape(1, -1))[0])

        operator = LinearOperator((self.n_units,) * 2, matvec=times if largest else solved, dtype=np.float64)
        start = np.ones(self.n_units)
        value = float(eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False, tol=1e-8)[0])
        return value if largest else 1 / value

    @cached_property
    def _factor_of_covariance(self) -> Matrix:
        """Lower factor C of the covariance, C C' = Sigma."""
        assert self.dense is not None
        return cholesky(self.dense, f"the noise covariance ({self.method})")

    @cached_property
    def _factor_of_precision(self) -> Matrix:
        """Lower factor L of the given precision, L L' = Omega."""
        assert self.given is not None
        return cholesky(self.given, "the noise precision")

    @cached_property
    def _scaled_factor(self) -> Matrix:
        assert self.factor is not None and self.delta is not None
        return self.factor / np.sqrt(self.delta)

    @cached_property
    def _capacitance(self) -> Matrix:
        """Lower factor of ``I / beta + Z Delta^-1 Z'``, shape (n_samples, n_samples)."""
        lower = np.zeros((len(self._scaled_factor),) * 2)
        add_gram(np.ascontiguousarray(self._scaled_factor), lower)
        lower += np.tril(lower, -1).T
        lower[np.diag_indices(len(lower))] += 1 / self.beta
        return cholesky(lower, f"the noise covariance ({self.method})")

    def covariance(self) -> Matrix:
        """Return the covariance as a matrix, shape (n_units, n_units): asked for, whatever it costs."""
        if self.dense is not None:
            return self.dense.copy()
        if self.given is not None:
            return self._inverse.copy()
        assert self.delta is not None
        full = np.diag(self.delta)
        return full if self.factor is None else full + self.beta * (self.factor.T @ self.factor)

    @cached_property
    def _inverse(self) -> Matrix:
        """Inverse of the given precision, kept for its sub-blocks."""
        inverse: Matrix = scipy.linalg.cho_solve((self._factor_of_precision, True), np.eye(self.n_units))
        return 0.5 * (inverse + inverse.T)

    def precision(self) -> Matrix:
        """Return the precision as a matrix, shape (n_units, n_units): asked for, whatever it costs."""
        return self.given.copy() if self.given is not None else self.solve(np.eye(self.n_units))

    def terms(self, rows: Rows) -> list[Term]:
        """Return rows (n, P) as terms whose sum is ``Y Omega Y'``; float32 rows stay float32 where the noise lets them.

        A given precision enters by its triangle, half the work of a product with all of it (float32 rows by the triangular
        factor, which is there from the check); a covariance by its Cholesky factor; a factored covariance by Woodbury's
        formula.
        """
        self._check(rows)
        if self.given is not None:
            if rows.dtype == np.float32 and self.single is not None:
                white = _times_lower(rows, self.single)
                return [Term(white, white, 1.0)]
            rows = rows.astype(np.float64, copy=False)
            return [Term(_times_half(rows, self.given), rows, 2.0)]
        if self.dense is not None:
            white = self.whiten(rows)
            return [Term(white, white, 1.0)]
        assert self.delta is not None
        scaled = rows / np.sqrt(self.delta).astype(rows.dtype)
        if self.factor is None:
            return [Term(scaled, scaled, 1.0)]
        small = _solve_triangle(scaled @ self._scaled_factor.T.astype(rows.dtype, copy=False), self._capacitance)
        return [Term(scaled, scaled, 1.0), Term(small, small, -1.0)]

    @property
    def takes_single(self) -> bool:
        """Whether rows may be float32 at all: not where a given precision is too badly conditioned for it."""
        return self.given is None or self.single is not None

    def single_is_enough(self, terms: list[Term], rows: Rows) -> bool:
        """Are terms of float32 rows, of which ``rows`` are the first, good to about 1e-5 of the largest?

        The rounding of a precision and its factor changes ``y' Omega y`` by some 2e-7 of ``sum_p y_p^2 Omega_pp``, however
        small the former is beside the latter.
        """
        if self.given is None:
            return True
        plain = np.square(rows.astype(np.float64)) @ np.diagonal(self.given)
        white = np.sum([term.rows(slice(len(rows))).squares() for term in terms], axis=0)
        return bool(plain.max() <= AMPLIFIED * white.max())

    def gram(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Matrix:
        """Return ``X Omega Y'`` (``X Omega X'`` without ``y``), shape (n, m).

        Parameters
        ----------
        x, y : array_like, shape (n, n_units) and (m, n_units)

        Examples
        --------
        >>> noise = Noise(method="precision", n_units=2, given=np.diag([1.0, 4.0]))
        >>> noise.gram([[1.0, 1.0]])
        array([[5.]])
        """
        left: Matrix = np.atleast_2d(np.ascontiguousarray(x, dtype=np.float64))
        if y is None:
            return np.asarray(sum(term.gram(lambda rows: rows) for term in self.terms(left)))
        right: Matrix = np.atleast_2d(np.ascontiguousarray(y, dtype=np.float64))
        self._check(left)
        self._check(right)
        if self.given is not None:
            return np.asarray(left @ self.given @ right.T)
        both = zip(self.terms(left), self.terms(right), strict=True)
        return np.asarray(sum(a.sign * (a.left @ b.left.T) for a, b in both))

    def solve(self, rows: Matrix) -> Matrix:
        """Return ``Y Omega``, shape (n, n_units)."""
        self._check(rows)
        if self.given is not None:
            return np.asarray(rows @ self.given)
        if self.dense is not None:
            return np.asarray(scipy.linalg.cho_solve((self._factor_of_covariance, True), rows.T).T)
        assert self.delta is not None
        plain = rows / self.delta
        if self.factor is None:
            return plain
        inner = scipy.linalg.cho_solve((self._capacitance, True), self.factor @ plain.T)
        return np.asarray(plain - (self.factor.T @ inner).T / self.delta)

    def whiten(self, rows: Rows) -> Rows:
        """Return ``Y L`` with ``Omega = L L'``, shape (n, n_units); a factored covariance is made a matrix for it."""
        self._check(rows)
        if self.given is not None:
            return _times_lower(rows, self._factor_of_precision)
        if self.dense is not None:
            return _solve_triangle(rows, self._factor_of_covariance)
        assert self.delta is not None
        if self.factor is None:
            return np.asarray(rows / np.sqrt(self.delta).astype(rows.dtype))
        return Noise(method=self.method, n_units=self.n_units, dense=self.covariance()).whiten(rows)

    def restrict(self, units: npt.ArrayLike) -> Noise:
        """Return the noise of some units: the sub-block of the *covariance*, whose inverse is their precision.

        Parameters
        ----------
        units : array_like of int or bool
            Positions of the units.

        Examples
        --------
        >>> noise = Noise(method="precision", n_units=2, given=np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> noise.restrict([0]).precision().round(12)
        array([[1.5]])
        """
        index = np.arange(self.n_units)[np.asarray(units)]
        common: dict[str, Any] = {"method": self.method, "n_units": len(index)}
        common |= {"shrinkage": self.shrinkage, "dof": self.dof}
        if self.dense is not None or self.given is not None:
            full = self.dense if self.dense is not None else self._inverse
            return Noise(**common, dense=np.ascontiguousarray(full[np.ix_(index, index)]))
        assert self.delta is not None
        delta = self.delta[index]
        if self.factor is None:
            return Noise(**common, delta=delta)
        part = np.ascontiguousarray(self.factor[:, index])
        if len(part) < len(index):
            return Noise(**common, delta=delta, beta=self.beta, factor=part)
        return Noise(**common, dense=np.diag(delta) + self.beta * (part.T @ part))

    def _check(self, rows: Rows) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.n_units:
            raise MeasureError(
                f"noise is of {self.n_units} units, the responses have shape {rows.shape}; expected the same units;"
                " estimate the noise from these units, or restrict it to them"
            )


def cholesky(matrix: Matrix, what: str) -> Matrix:
    """Return the lower factor; raise with the smallest eigenvalue and the condition number."""
    factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, clean=1)
    pivots = np.square(np.diagonal(factor))
    if failed or pivots.min() <= len(matrix) * np.finfo(np.float64).eps * pivots.max():
        values = np.linalg.eigvalsh(matrix)
        raise MeasureError(
            f"{what} is not positive definite up to rounding: eigenvalues from {values[0]:.3g} to {values[-1]:.3g}"
            f" (condition number {abs(values[-1] / values[0]) if values[0] else np.inf:.3g});"
            " take noise='shrinkage_diag', or more samples"
        )
    return np.asarray(factor)


def _times_half(rows: Matrix, matrix: Matrix) -> Matrix:
    """Return Y T, where T is the upper triangle of a symmetric matrix with its diagonal halved: T + T' is the matrix."""
    out = dtrmm(1.0, matrix.T, rows.T, lower=1).T  # Fortran sees both transposed: (T' Y')' with T' lower
    half = 0.5 * np.diagonal(matrix)
    step = max(1, SLICE // len(half))
    for start in range(0, len(rows), step):
        out[start : start + step] -= rows[start : start + step] * half
    return np.asarray(out)


def _times_lower(rows: Rows, lower: Rows) -> Rows:
    """Return ``Y L`` for a lower triangular L."""
    factor = np.asfortranarray(lower, dtype=rows.dtype)
    return np.asarray((strmm if rows.dtype == np.float32 else dtrmm)(1.0, factor, rows.T, lower=1, trans_a=1).T)


def _solve_triangle(rows: Rows, lower: Matrix) -> Rows:
    """Return ``Y C^-T`` for a lower triangular C."""
    factor = np.asfortranarray(lower, dtype=rows.dtype)
    return np.asarray((strsm if rows.dtype == np.float32 else dtrsm)(1.0, factor, rows.T, lower=1).T)
