"""The source side of ridge: everything that costs with the number of features, done once.

For a training set T with centred features X_T = Q s V', ridge predicts the rows of a test set as
``P = A diag(1 / (lam + alpha)) Z`` with lam = s^2.  Primal (p <= n_T): A = X_V V and Z = V' X_T' Y_T.
Dual (p > n_T): A = K_VT Q and Z = Q' Y_T, with the centred kernel K = X X'.  Directions with
lam <= 1e-12 lam_max carry no signal and are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._pieces import Sums, piece_sums
from repcompare.measures.encoding._plan import Plan, Task

CANCELLED = 1e-8  # a training variance below this share of its sum of squares is computed from the rows
CUT = 1e-12
FLOOR = 1e-14  # the scaled source has a squared norm of about n: below this a training set is constant
SINGLE = 1e-6  # float32 products are used where lam_min + alpha_min is above this share of lam_max
BAND = 64  # rows of near pairs that are multiplied together
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
    spread : float
        Mean eigenvalue of the scatter of all rows, scaled.
    """

    features: Array | None
    kernel: Double | None
    scale: float
    n: int
    p: int
    single: bool = False
    spread: float = 1.0

    @property
    def varying(self) -> int:
        """How many of the features vary."""
        if self.features is None:
            return self.p
        squares = np.einsum("ij,ij->j", self.features, self.features, dtype=np.float64)
        return int((inverse_sd(squares, self.n) > 0).sum())


@dataclass(frozen=True)
class Settings:
    """How training sets are factorised.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        Penalties, ascending: absolute, or with ``trace`` in units of the mean eigenvalue of the training scatter.
    n_alphas : float
        How many penalties will be evaluated: whether divided differences pay.
    trace, standardize : bool
        Unit of the penalties; every feature is divided by its training SD.
    """

    alphas: Double
    n_alphas: float
    trace: bool = False
    standardize: bool = False


@dataclass(frozen=True)
class Divided:
    """Divided differences of one test set.

    Attributes
    ----------
    far : ndarray of shape (rank, rank)
        Antisymmetric.
    near : ndarray of shape (rank,)
        Diagonal of the near pairs.
    blocks : tuple of (rows, columns, block)
        The near pairs in full where there are others; eigenvalues ascend, so they lie along the diagonal.
    """

    far: Array
    near: Array
    blocks: tuple[tuple[slice, slice, Array], ...] = ()

    def times_near(self, z: Array, out: Array | None = None) -> Array:
        """Return near pairs times z (rank, n_units)."""
        found = np.empty_like(z) if out is None else out
        if not self.blocks:
            return np.multiply(self.near[:, None], z, out=found)
        for rows, columns, block in self.blocks:
            np.matmul(block, z[columns], out=found[rows])
        return found


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
    joined : ndarray of shape (rank, rank + n_test), optional
        ``divided.far`` beside ``a'``, which are views of it: one product serves both.
    """

    fold: int
    rows: Index
    a: Array
    divided: Divided | None
    joined: Array | None = None


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
    unit, spread : float
        Unit of the penalties, and mean eigenvalue of the training scatter, both for the scaled source.
    """

    train: Index
    basis: Array
    lam: Double
    mean: Double | None
    tests: tuple[Held, ...]
    unit: float = 1.0
    spread: float = 1.0

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        divided = [h.divided for h in self.tests if h.divided]
        held = sum(h.a.nbytes for h in self.tests) + sum(d.far.nbytes + d.near.nbytes for d in divided)
        return int(self.basis.nbytes + self.lam.nbytes + held)


def make_gram(x: Array, *, keep: bool = False) -> Gram:
    """Shift and scale a source of shape (n, p); keep its features, or its kernel where p > n.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Source.
    keep : bool
        Keep the features in any case.

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
    if p <= n or keep:
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
    if p <= n or keep:
        features = (features / scale).astype(np.float32 if single else np.float64, copy=False)
        return Gram(features, None, scale, n, p, single, squares / scale**2 / p)
    return Gram(None, kernel / scale**2, scale, n, p, single, squares / scale**2 / p)


Factors = tuple[Double, Double, Double | None, list[Double], float]


def fit(
    gram: Gram, task: Task, settings: Settings, *, n_targets: float, dtype: npt.DTypeLike, sums: Sums | None = None
) -> Fit:
    """Factorise one training set and project its test rows.

    Parameters
    ----------
    gram : Gram
        The source.
    task : Task
        Training rows and test sets.
    settings : Settings
        Penalties and preparation.
    n_targets : float
        How many target units will be fitted: whether divided differences pay.
    dtype : dtype
        Of the t-sized products; float32 is raised to float64 for ill-conditioned spectra.
    sums : Sums, optional
        Of the training rows.
    """
    primal = gram.features is not None and gram.p <= task.train.size
    found = _primal(gram, task, settings, sums) if primal else _dual(gram, task, settings)
    basis, lam, mean, tests, spread = found
    unit = _unit(gram, settings, spread)
    low = float(settings.alphas[0]) * unit
    if lam.size and lam[0] + low < SINGLE * lam[-1]:
        dtype = np.float64
    grid = low, settings.n_alphas
    held = tuple(
        _held(test, a.astype(dtype, copy=False), _divided(a, lam, grid, n_targets, dtype))
        for test, a in zip(task.tests, tests, strict=True)
    )
    return Fit(task.train, basis.astype(dtype, copy=False), lam, mean, held, unit, spread)


def _held(test: tuple[int, Index], a: Array, divided: Divided | None) -> Held:
    fold, rows = test
    if divided is None:
        return Held(fold, rows, a, None)
    rank = a.shape[1]
    joined = np.concatenate([divided.far, a.T], axis=1)
    return Held(fold, rows, joined[:, rank:].T, replace(divided, far=joined[:, :rank]), joined)


def _unit(gram: Gram, settings: Settings, spread: float) -> float:
    """Return what one unit of the penalty is for the scaled source."""
    if settings.trace:
        return spread
    return 1.0 if settings.standardize else 1 / gram.scale**2


def _spread(gram: Gram, scatter: Double) -> float:
    """Return the mean eigenvalue of a scatter over all features."""
    return max(float(np.trace(scatter)), np.finfo(np.float64).tiny) / gram.p


def _primal(gram: Gram, task: Task, settings: Settings, sums: Sums | None) -> Factors:
    assert gram.features is not None
    mean, square = _scatter(gram.features, task.train, sums)
    sd = None
    if settings.standardize:
        sd = inverse_sd(square.diagonal(), task.train.size)
        square = square * sd * sd[:, None]
    basis, lam = eigen(square)
    spread = _spread(gram, square)
    if sd is not None:
        basis *= sd[:, None]
    return basis, lam, mean, [(gram.features[rows] - mean) @ basis for _, rows in task.tests], spread


def _scatter(features: Array, train: Index, sums: Sums | None) -> tuple[Double, Double]:
    """Return mean (p,) and scatter (p, p) of the training rows."""
    if sums is not None:
        mean = sums.first / sums.n
        square = sums.square - np.outer(sums.first, mean)
        if (square.diagonal() >= CANCELLED * sums.square.diagonal()).all():
            return mean, square
    x = features[train].astype(np.float64, copy=False)
    mean = x.mean(axis=0)
    x = x - mean
    return mean, x.T @ x


def inverse_sd(squares: Double, n: int) -> Double:
    """Return 1 / SD from sums of squares (p,) over n rows; 0 for a feature that does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> inverse_sd(np.array([16.0, 0.0]), 4)
    array([0.5, 0. ])
    """
    fixed = squares <= CUT * max(float(squares.max()), FLOOR)
    return np.where(fixed, 0.0, np.sqrt(n / np.where(fixed, 1.0, squares)))


def _dual(gram: Gram, task: Task, settings: Settings) -> Factors:
    if settings.standardize:
        return _dual_standardized(gram, task, settings)
    kernel = _kernel(gram, task.train, task.train)
    row_mean = kernel.mean(axis=0)
    grand = row_mean.mean()
    kernel -= row_mean
    kernel -= row_mean[:, None]
    kernel += grand
    spread = _spread(gram, kernel)
    basis, lam = eigen(kernel)
    tests = []
    for _, rows in task.tests:
        cross = _kernel(gram, rows, task.train)
        tests.append((cross - cross.mean(axis=1, keepdims=True) - row_mean + grand) @ basis)
    return basis, lam, None, tests, spread


def _dual_standardized(gram: Gram, task: Task, settings: Settings) -> Factors:
    """Scale the features by their training SD; the kernel is made again for every training set."""
    assert gram.features is not None
    x = gram.features[task.train].astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    sd = inverse_sd(np.einsum("ij,ij->j", x, x), task.train.size)
    x *= sd
    kernel = x @ x.T
    basis, lam = eigen(kernel)
    tests = [((gram.features[rows] - mean) * sd) @ (x.T @ basis) for _, rows in task.tests]
    return basis, lam, None, tests, _spread(gram, kernel)


def _kernel(gram: Gram, rows: Index, columns: Index) -> Double:
    if gram.kernel is not None:
        return gram.kernel[rows[:, None], columns]
    assert gram.features is not None
    return np.asarray(gram.features[rows].astype(np.float64) @ gram.features[columns].T.astype(np.float64))


def eigen(matrix: Double) -> tuple[Double, Double]:
    """Return eigenvectors (p, rank) and eigenvalues (rank,), ascending, of the directions that carry a signal."""
    lam, vectors = np.linalg.eigh(matrix)
    kept = int(np.searchsorted(lam, max(CUT * lam[-1], FLOOR), side="right"))
    return vectors[:, kept:], lam[kept:]


def _divided(
    a: Double, lam: Double, grid: tuple[float, float], n_targets: float, dtype: npt.DTypeLike
) -> Divided | None:
    """Return the divided differences of ``a' a``, or None where predicting for every penalty is cheaper.

    ``grid`` is the smallest penalty and how many there are.

    With d = 1 / (lam + alpha), d_i d_j = (d_i - d_j) / (lam_j - lam_i) for far pairs and
    (d_i^2 + d_j^2) / 2 for near ones.
    """
    rank, n_test = lam.size, a.shape[0]
    form = rank * rank * (2 * n_test + 30) / n_targets + 4 * rank * rank + 2 * n_test * rank
    low, count = grid
    if rank == 0 or form > 2 * count * n_test * rank:
        return None
    return divide(a.T @ a, lam, low, dtype)


def divide(products: Double, lam: Double, low: float, dtype: npt.DTypeLike) -> Divided:
    """Return the divided differences of ``products`` (rank, rank) for penalties from ``low`` on."""
    rank = lam.size
    tau = (2 * np.finfo(dtype).eps) ** (1 / 3)
    gap = lam - lam[:, None]  # gap[i, j] = lam_j - lam_i
    near = np.abs(gap) <= tau * (np.minimum(lam, lam[:, None]) + low)
    gap[near] = np.inf
    far = (products / gap).astype(dtype, copy=False)
    diagonal = products.diagonal().astype(dtype)
    if np.count_nonzero(near) == rank:
        return Divided(far, diagonal)
    blocks = []
    for start in range(0, rank, BAND):
        some = slice(start, min(start + BAND, rank))
        columns = np.flatnonzero(near[some].any(axis=0))
        wide = slice(int(columns[0]), int(columns[-1]) + 1)
        blocks.append((some, wide, np.where(near[some, wide], products[some, wide], 0.0).astype(dtype)))
    return Divided(far, diagonal, tuple(blocks))


def fit_all(gram: Gram, plan: Plan, settings: Settings, *, n_targets: float = np.inf) -> tuple[Gram, tuple[Fit, ...]]:
    """Factorise every training set of a plan, outer ones first.

    Returns the source too: in float64 throughout where one spectrum is too wide for float32 products.
    """
    dtype = np.float32 if gram.single else np.float64
    tasks = (*plan.outer, *plan.inner)
    sums = piece_sums(gram.features, plan) if gram.p <= gram.n else None
    fits = tuple(
        fit(gram, task, settings, n_targets=n_targets, dtype=dtype, sums=sums(j) if sums else None)
        for j, task in enumerate(tasks)
    )
    if gram.features is not None and any(f.basis.dtype == np.float64 for f in fits):
        gram = replace(gram, features=gram.features.astype(np.float64, copy=False), single=False)
    return gram, fits
