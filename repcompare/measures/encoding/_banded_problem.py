"""The two sides of banded ridge: statistics of narrow sources, kernels of wide ones, and a target's products with them.

Bands b get weights gamma_b: features are scaled by sqrt(gamma_b), so that band b is penalised by alpha / gamma_b, and the
kernel is ``sum_b gamma_b K_b``.  A weight of 0 leaves the band out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Folds, Index
from repcompare.measures.encoding._banded_spectral import Factor, eigen
from repcompare.measures.encoding._layout import Layout, plan_layout
from repcompare.measures.encoding._plan import Plan, Task, make_plan
from repcompare.measures.encoding.moments import PieceMoments, piece_moments

Double = npt.NDArray[np.float64]
Transform = Callable[[Double, Index], Double]

KEPT_BYTES = 1 << 29  # statistics of training and test sets


@dataclass(frozen=True)
class Products:
    """Target units against a source: per task, what the basis of its training set multiplies, and per test set.

    Attributes
    ----------
    train : tuple of ndarray of shape (q, t)
        Per task.
    test : tuple of tuple of ndarray of shape (q_test, t)
        Per task and test set.
    truth : tuple of tuple of ndarray of shape (n_test, t)
        The target around the training mean.
    squares : tuple of tuple of ndarray of shape (t,)
        Its sums of squares.
    """

    train: tuple[Double, ...]
    test: tuple[tuple[Double, ...], ...]
    truth: tuple[tuple[Double, ...], ...]
    squares: tuple[tuple[Double, ...], ...]


class Problem(Protocol):
    """A source with its tasks, outer ones first."""

    @property
    def plan(self) -> Plan:
        """Training and test rows."""

    @property
    def n_bands(self) -> int:
        """Number of bands."""

    @property
    def width(self) -> int:
        """Rows of the products of a training set."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""

    def factor(self, task: int, gamma: Double) -> Factor:
        """Factorise a training set under weights (n_bands,)."""

    def rows(self, task: int, which: int, gamma: Double, factor: Factor) -> Double:
        """Return the projections A (n_test, rank) of a test set."""

    def band_rows(self, task: int, which: int, gamma: Double, factor: Factor) -> tuple[Double, ...]:
        """Return what each band adds to A."""

    def products(self, y: Double) -> Products:
        """Return the products with target units (n, t)."""

    def spread(self, task: int | None) -> float:
        """Return the mean eigenvalue of the scatter of a training set (None: of all rows) over all features."""


def tasks_of(plan: Plan) -> tuple[Task, ...]:
    """Return all tasks, outer ones first."""
    return (*plan.outer, *plan.inner)


@dataclass(frozen=True)
class Statistics:
    """Moments of a task.

    Attributes
    ----------
    mean : ndarray of shape (p,)
        Training mean, about the shifts.
    train : ndarray of shape (p, p)
        Scatter of the training rows.
    tests : tuple of ndarray of shape (p, p)
        Squares of the test rows about the training mean.
    size : ndarray of shape (p,)
        Squares of the training rows before their mean was taken out: what rounding is measured by.
    """

    mean: Double
    train: Double
    tests: tuple[Double, ...]
    size: Double

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.train.nbytes * (1 + len(self.tests))


@dataclass(frozen=True)
class Narrow:
    """A source by its features and their statistics.

    Attributes
    ----------
    x : ndarray of shape (n, p)
        Features.
    bands : ndarray of shape (p,)
        Band of each feature, from 0.
    moments : PieceMoments
        Of the pieces, without a target.
    layout : Layout
        Pieces of the training and test sets.
    plan : Plan
        Training and test rows.
    n_bands : int
        Number of bands.
    known : tuple of Statistics, optional
        Of every task, where they fit in memory; else they are added up from the pieces again.
    """

    x: Double
    bands: Index
    moments: PieceMoments
    layout: Layout
    plan: Plan
    n_bands: int
    known: tuple[Statistics, ...] | None = None

    @property
    def width(self) -> int:
        """Rows of the products of a training set."""
        return self.bands.size

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        pieces = sum(m.xx.nbytes for m in self.moments.parts if m.xx is not None)
        return int(self.x.nbytes + pieces + sum(one.nbytes for one in self.known or ()))

    def statistics(self, task: int) -> Statistics:
        """Return the moments of a task."""
        if self.known is not None:
            return self.known[task]
        first = sum(1 + len(one.tests) for one in tasks_of(self.plan)[:task])
        whole = self.moments.union(self.layout.plus[first], self.layout.minus[first])
        mean, tests = whole.mean_x, []
        for i in range(first + 1, first + 1 + len(tasks_of(self.plan)[task].tests)):
            held = self.moments.union(self.layout.plus[i], self.layout.minus[i]).about(mean, np.zeros(0)).xx
            assert held is not None
            tests.append(held)
        train = whole.centred().xx
        assert train is not None
        assert whole.xx is not None
        return Statistics(mean, train, tuple(tests), whole.xx.diagonal().copy())

    def _scale(self, gamma: Double) -> tuple[Index, Double]:
        scale = np.sqrt(gamma)[self.bands]
        active = np.flatnonzero(scale)
        return active, scale[active]

    def factor(self, task: int, gamma: Double) -> Factor:
        """Factorise a training set under weights (n_bands,)."""
        active, scale = self._scale(gamma)
        sums = self.statistics(task)
        scaled = _block(sums.train, active) * scale * scale[:, None]
        lam, vectors = eigen(scaled, float(sums.size[active] @ scale**2))
        vectors *= scale[:, None]
        grams = [vectors.T @ (_block(held, active) @ vectors) for held in sums.tests]
        basis = vectors
        if active.size < self.bands.size:
            basis = np.zeros((self.bands.size, lam.size))
            basis[active] = vectors
        return Factor(lam, basis, tuple(grams), (basis,) * len(grams))

    def _test_rows(self, task: int, which: int) -> Double:
        shifted = self.x[tasks_of(self.plan)[task].tests[which][1]] - self.moments.shift_x
        return np.asarray(shifted - self.statistics(task).mean)

    def rows(self, task: int, which: int, gamma: Double, factor: Factor) -> Double:
        """Return the projections A (n_test, rank) of a test set."""
        return np.asarray(self._test_rows(task, which) @ factor.basis)

    def band_rows(self, task: int, which: int, gamma: Double, factor: Factor) -> tuple[Double, ...]:
        """Return what each band adds to A."""
        x = self._test_rows(task, which)
        places = [np.flatnonzero(self.bands == b) for b in range(self.n_bands)]
        return tuple(x[:, place] @ factor.basis[place] for place in places)

    def products(self, y: Double) -> Products:
        """Return the products with target units (n, t)."""
        sums = piece_moments(self.x, y, self.layout, xx=False)
        plus, minus = iter(self.layout.plus), iter(self.layout.minus)
        train, test, truth = [], [], []
        for task in tasks_of(self.plan):
            whole = sums.union(next(plus), next(minus))
            mean_x, mean_y = whole.mean_x, whole.mean_y
            train.append(whole.about(mean_x, mean_y).xy)
            held = [sums.union(next(plus), next(minus)).about(mean_x, mean_y).xy for _ in task.tests]
            test.append(tuple(held))
            truth.append(tuple(y[rows] - sums.shift_y - mean_y for _, rows in task.tests))
        return Products(tuple(train), tuple(test), tuple(truth), _squares(truth))

    def spread(self, task: int | None) -> float:
        """Return the mean eigenvalue of the scatter of a training set (None: of all rows) over all features."""
        if task is None:
            return float(np.square(self.x - self.x.mean(axis=0)).sum()) / self.bands.size
        return float(self.statistics(task).train.trace()) / self.bands.size


def _block(matrix: Double, active: Index) -> Double:
    return matrix if active.size == len(matrix) else matrix[active[:, None], active]


def _squares(truth: list[tuple[Double, ...]]) -> tuple[tuple[Double, ...], ...]:
    return tuple(tuple(np.einsum("ij,ij->j", part, part) for part in one) for one in truth)


def narrow(x: Double, bands: Index, n_bands: int, plan: Plan, n: int) -> Narrow:
    """Return a source by the statistics of its features (n, p)."""
    layout = plan_layout(plan, n)
    found = Narrow(x, bands, piece_moments(x, x[:, :0], layout), layout, plan, n_bands)
    tasks = tasks_of(plan)
    if 8 * x.shape[1] ** 2 * sum(1 + len(task.tests) for task in tasks) > KEPT_BYTES:
        return found
    return replace(found, known=tuple(found.statistics(j) for j in range(len(tasks))))


@dataclass(frozen=True)
class Wide:
    """A source by kernels of its rows.

    Attributes
    ----------
    kernels : tuple of ndarray of shape (n, n)
        Per band.
    transform : callable, optional
        ``(kernel, training rows) -> kernel`` of all rows, where it depends on the training set.
    plan : Plan
        Training and test rows.
    n_features : int
        Of a linear kernel, with delays; 0 where they are not counted.
    """

    kernels: tuple[Double, ...]
    transform: Transform | None
    plan: Plan
    n_features: int = 0

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.kernels)

    @property
    def width(self) -> int:
        """Rows of the products of a training set, at most."""
        return len(self.kernels[0])

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(k.nbytes for k in self.kernels)

    def band(self, task: int, b: int) -> Double:
        """Return the kernel (n, n) of a band as a task sees it."""
        kernel = self.kernels[b]
        return kernel if self.transform is None else self.transform(kernel, tasks_of(self.plan)[task].train)

    def mixed(self, task: int, gamma: Double) -> Double:
        """Return the weighted sum (n, n) of the kernels, not centred."""
        used = np.flatnonzero(gamma)
        found = gamma[used[0]] * self.band(task, int(used[0]))
        for b in used[1:]:
            found += gamma[b] * self.band(task, int(b))
        return np.asarray(found)

    def factor(self, task: int, gamma: Double) -> Factor:
        """Factorise a training set under weights (n_bands,)."""
        kernel = self.mixed(task, gamma)
        inside, *cross = centred_blocks(kernel, tasks_of(self.plan)[task])
        lam, basis = eigen(inside, float(kernel.diagonal()[tasks_of(self.plan)[task].train].sum()))
        rows = tuple(block @ basis for block in cross)
        return Factor(lam, basis, tuple(a.T @ a for a in rows), rows)

    def rows(self, task: int, which: int, gamma: Double, factor: Factor) -> Double:
        """Return the projections A (n_test, rank) of a test set."""
        return factor.projections[which]

    def band_rows(self, task: int, which: int, gamma: Double, factor: Factor) -> tuple[Double, ...]:
        """Return what each band adds to A."""
        found = []
        for b, weight in enumerate(gamma):
            block = list(centred_blocks(self.band(task, b), tasks_of(self.plan)[task]))[1 + which]
            found.append(weight * block @ factor.basis)
        return tuple(found)

    def products(self, y: Double) -> Products:
        """Return the products with target units (n, t)."""
        train, truth = [], []
        for task in tasks_of(self.plan):
            mean = y[task.train].mean(axis=0)
            train.append(y[task.train] - mean)
            truth.append(tuple(y[rows] - mean for _, rows in task.tests))
        return Products(tuple(train), tuple(truth), tuple(truth), _squares(truth))

    def spread(self, task: int | None) -> float:
        """Return the mean eigenvalue of the scatter of a training set (None: of all rows) over all features."""
        rows = np.arange(self.width) if task is None else tasks_of(self.plan)[task].train
        inside = [kernel[rows[:, None], rows] for kernel in self.kernels]
        return float(sum(part.trace() - part.sum() / rows.size for part in inside)) / self.n_features


def centred_blocks(kernel: Double, task: Task) -> Iterator[Double]:
    """Yield a kernel among training rows, then of each test set against them, about the training mean in feature space.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [5.0]])
    >>> blocks = centred_blocks(x @ x.T, Task(np.array([0, 1]), ((0, np.array([2])),)))
    >>> [b.tolist() for b in blocks]
    [[[1.0, -1.0], [-1.0, 1.0]], [[-3.0, 3.0]]]
    """
    train = task.train
    inside = kernel[train[:, None], train]
    row_mean = inside.mean(axis=0)
    grand = row_mean.mean()
    yield inside - row_mean - row_mean[:, None] + grand
    for _, rows in task.tests:
        cross = kernel[rows[:, None], train]
        yield cross - cross.mean(axis=1, keepdims=True) - row_mean + grand


def linear_kernel(x: Double) -> Double:
    """Return ``x x'``, exactly symmetric."""
    found = x @ x.T
    return np.asarray((found + found.T) / 2)


def plan_of(folds: Folds, nested: bool, model: str) -> Plan:
    """Return training and test rows, or raise where a fold has no inner folds."""
    plan = make_plan(folds, nested=nested)
    if nested:
        informed = {fold for task in plan.inner for fold, _ in task.tests}
        missing = sorted(set(range(len(folds))) - informed)
        if missing:
            raise MeasureError(
                f"{model}: fold {missing[0]} has no inner folds with 3 training rows; give more rows, more folds, or "
                f"nested=False"
            )
    return plan
