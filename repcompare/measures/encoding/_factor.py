"""The source side of ridge: everything that costs with the number of features, done once.

For a training set T with centred features X_T = Q s V', ridge predicts the rows of a test set as
``P = A diag(1 / (lam + alpha)) Z`` with lam = s^2.  Primal (p <= n_T): A = X_V V and Z = V' X_T' Y_T.
Dual (p > n_T): A = K_VT Q and Z = Q' Y_T, with the centred kernel K = X X'.  Directions with
lam <= 1e-12 lam_max carry no signal and are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._plan import Plan, Task

CUT = 1e-12
FLOOR = 1e-14  # the scaled source has a squared norm of about n: below this a training set is constant
SINGLE = 1e-6  # float32 products are used where lam_min + alpha_min is above this share of lam_max
BLOCK = 8192  # features per block when a kernel is accumulated

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gram:
    """A source, shifted by its column means and divided by its overall size.

    Attributes
    ----------
    features : ndarray of shape (n, p), or None
        Kept where p <= n.
    kernel : ndarray of shape (n, n), or None
        ``features @ features.T``, kept in place of the features where p > n.
    scale : float
        What the features were divided by (a power of two); a penalty alpha becomes alpha / scale^2.
    n, p : int
        Rows and features.
    single : bool
        The source was given in float32.
    """

    features: Array | None
    kernel: Double | None
    scale: float
    n: int
    p: int
    single: bool = False


@dataclass(frozen=True)
class Divided:
    """Divided differences of one test set: ``far`` antisymmetric, ``near`` symmetric or its diagonal."""

    far: Array
    near: Array


@dataclass(frozen=True)
class Held:
    """One test set of a fit.

    Attributes
    ----------
    fold : int
        The outer fold it informs.
    rows : ndarray of shape (n_test,)
        Rows to predict.
    a : ndarray of shape (n_test, rank)
        Their projections.
    divided : Divided, optional
        Present where it is the cheaper form for all penalties at once.
    """

    fold: int
    rows: Index
    a: Array
    divided: Divided | None


@dataclass(frozen=True)
class Fit:
    """A factorised training set.

    Attributes
    ----------
    train : ndarray of shape (n_train,)
        Training rows.
    basis : ndarray of shape (p, rank) or (n_train, rank)
        Eigenvectors of the scatter (primal) or of the kernel (dual).
    lam : ndarray of shape (rank,)
        Eigenvalues, ascending.
    mean : ndarray of shape (p,), or None
        Training mean of the features; None marks the dual form.
    tests : tuple of Held
        Test sets.
    """

    train: Index
    basis: Array
    lam: Double
    mean: Double | None
    tests: tuple[Held, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        divided = [h.divided for h in self.tests if h.divided]
        held = sum(h.a.nbytes for h in self.tests) + sum(d.far.nbytes + d.near.nbytes for d in divided)
        return int(self.basis.nbytes + self.lam.nbytes + held)


def make_gram(x: Array) -> Gram:
    """Shift and scale a source of shape (n, p); keep its features, or its kernel where p > n.

    Raises
    ------
    MeasureError
        When x holds NaN, or no feature varies.

    Examples
    --------
    >>> import numpy as np
    >>> make_gram(np.array([[1.0, 5.0, 2.0], [3.0, 5.0, 2.0]])).kernel
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    (n, p), single = x.shape, bool(x.dtype == np.float32)
    mean = x.mean(axis=0, dtype=np.float64)
    if np.isnan(mean).any():
        raise MeasureError(
            f"ridge: {int(np.isnan(x).sum())} missing values (NaN) in the source; only the target may "
            f"have gaps; drop them with nan='drop_units' or nan='drop_stimuli'"
        )
    size = max(float(np.abs(mean).max()), float(np.finfo(np.float64).tiny))
    if p <= n:
        features = x - mean
        squares = float(np.einsum("ij,ij->", features, features))
    else:
        kernel = np.zeros((n, n))
        for start in range(0, p, BLOCK):
            block = x[:, start : start + BLOCK] - mean[start : start + BLOCK]
            kernel += block @ block.T
        squares = float(np.trace(kernel))
    rms = np.sqrt(squares / (n * p))
    if rms <= 8 * np.finfo(np.float64).eps * size:
        raise MeasureError(f"ridge: no feature of the source varies over its {n} stimuli; check the source")
    scale = float(2.0 ** np.round(np.log2(np.sqrt(squares / n))))
    if p <= n:
        features = (features / scale).astype(np.float32 if single else np.float64, copy=False)
        return Gram(features, None, scale, n, p, single)
    return Gram(None, kernel / scale**2, scale, n, p, single)


def fit(gram: Gram, task: Task, alphas: Double, *, n_targets: float, dtype: npt.DTypeLike) -> Fit:
    """Factorise one training set and project its test rows.

    Parameters
    ----------
    gram : Gram
        The source.
    task : Task
        Training rows and test sets.
    alphas : ndarray of shape (n_alphas,)
        Penalties in units of the scaled source, ascending.
    n_targets : float
        How many target units will be fitted: whether divided differences pay.
    dtype : dtype
        Of the t-sized products; float32 is raised to float64 for ill-conditioned spectra.
    """
    primal = gram.features is not None and gram.p <= task.train.size
    basis, lam, mean, tests = (_primal if primal else _dual)(gram, task)
    if lam.size and lam[0] + alphas[0] < SINGLE * lam[-1]:
        dtype = np.float64
    held = tuple(
        Held(fold, rows, a.astype(dtype, copy=False), _divided(a, lam, alphas, n_targets, dtype))
        for (fold, rows), a in zip(task.tests, tests, strict=True)
    )
    return Fit(task.train, basis.astype(dtype, copy=False), lam, mean, held)


def _primal(gram: Gram, task: Task) -> tuple[Double, Double, Double, list[Double]]:
    assert gram.features is not None
    x = gram.features[task.train].astype(np.float64, copy=False)
    mean = x.mean(axis=0)
    x = x - mean
    basis, lam = _eigen(x.T @ x)
    return basis, lam, mean, [(gram.features[rows] - mean) @ basis for _, rows in task.tests]


def _dual(gram: Gram, task: Task) -> tuple[Double, Double, None, list[Double]]:
    kernel = _kernel(gram, task.train, task.train)
    row_mean = kernel.mean(axis=0)
    grand = row_mean.mean()
    basis, lam = _eigen(kernel - row_mean - row_mean[:, None] + grand)
    tests = []
    for _, rows in task.tests:
        cross = _kernel(gram, rows, task.train)
        tests.append((cross - cross.mean(axis=1, keepdims=True) - row_mean + grand) @ basis)
    return basis, lam, None, tests


def _kernel(gram: Gram, rows: Index, columns: Index) -> Double:
    if gram.kernel is not None:
        return gram.kernel[rows[:, None], columns]
    assert gram.features is not None
    return np.asarray(gram.features[rows].astype(np.float64) @ gram.features[columns].T.astype(np.float64))


def _eigen(matrix: Double) -> tuple[Double, Double]:
    lam, vectors = np.linalg.eigh(matrix)
    kept = int(np.searchsorted(lam, max(CUT * lam[-1], FLOOR), side="right"))
    return vectors[:, kept:], lam[kept:]


def _divided(a: Double, lam: Double, alphas: Double, n_targets: float, dtype: npt.DTypeLike) -> Divided | None:
    """Return the divided differences of ``a' a``, or None where predicting for every penalty is cheaper.

    With d = 1 / (lam + alpha), d_i d_j = (d_i - d_j) / (lam_j - lam_i) for far pairs and
    (d_i^2 + d_j^2) / 2 for near ones.
    """
    rank, n_test = lam.size, a.shape[0]
    form = rank * rank * (2 * n_test + 30) / n_targets + 4 * rank * rank + 2 * n_test * rank
    if rank == 0 or form > 2 * alphas.size * n_test * rank:
        return None
    tau = (2 * np.finfo(dtype).eps) ** (1 / 3)
    gap = lam - lam[:, None]  # gap[i, j] = lam_j - lam_i
    near = np.abs(gap) <= tau * (np.minimum(lam, lam[:, None]) + alphas[0])
    products = a.T @ a
    gap[near] = np.inf
    far = (products / gap).astype(dtype, copy=False)
    alone = np.count_nonzero(near) == rank
    kept = np.diag(products).copy() if alone else np.where(near, products, 0.0)
    return Divided(far, kept.astype(dtype, copy=False))


def fit_all(gram: Gram, plan: Plan, alphas: Double, *, n_targets: float = np.inf) -> tuple[Gram, tuple[Fit, ...]]:
    """Factorise every training set of a plan, outer ones first.

    Returns the source too: in float64 throughout where one spectrum is too wide for float32 products.
    """
    dtype = np.float32 if gram.single else np.float64
    tasks = (*plan.outer, *plan.inner)
    fits = tuple(fit(gram, task, alphas, n_targets=n_targets, dtype=dtype) for task in tasks)
    if gram.features is not None and any(f.basis.dtype == np.float64 for f in fits):
        gram = replace(gram, features=gram.features.astype(np.float64, copy=False), single=False)
    return gram, fits


def pieces(plan: Plan, n: int) -> tuple[tuple[Index, ...], tuple[Index, ...]] | None:
    """Cut the rows into pieces of which every training set is a union.

    Returns
    -------
    (rows of each piece, pieces of each task), or None
        Tasks in the order outer, inner; None where there are so many pieces that sums per training set are
        cheaper.
    """
    tasks = (*plan.outer, *plan.inner)
    member = np.zeros((n, len(tasks)), dtype=bool)
    for j, task in enumerate(tasks):
        member[task.train, j] = True
    kinds, code = np.unique(np.packbits(member, axis=1), axis=0, return_inverse=True)
    if len(kinds) > 2 * len(tasks) or not tasks:
        return None
    rows = tuple(np.flatnonzero(code.ravel() == c) for c in range(len(kinds)))
    used = tuple(np.flatnonzero([member[r[0], j] for r in rows]) for j in range(len(tasks)))
    return rows, used


def total(parts: Sequence[Any], which: Index) -> Any:
    """Add up some of the pieces' statistics."""
    result = parts[which[0]].copy()
    for i in which[1:]:
        result += parts[i]
    return result
