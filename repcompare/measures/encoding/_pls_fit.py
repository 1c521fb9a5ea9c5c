"""Partial least squares from cross-products: all components of one or many training sets.

Improved kernel PLS (Dayal & MacGregor 1997).  With S = X'Y a component has the weights w = S u, where u is the leading
eigenvector of S'S; the iteration runs in the space of the target, on M = S'S alone.  Narrow sources hold
G = X'X and S.  Wide ones hold the kernel K = XX' and F = KY, never p-sized arrays: then the scores X w are
``F u - (K T)(Q u)``, and training sets share each product with K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from repcompare.measures._measure import Index
from repcompare.measures.encoding._held_out import Double

FRESH = 1e-2  # M is made anew once its largest eigenvalue has fallen by this much: updates keep 14 digits
NOTHING = 1e-26  # of the first squared singular value: below it a deflated S = X'Y is rounding
EPS = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)
DENSE = 400  # up to this size the leading eigenvector comes from a dense solver


@dataclass(frozen=True)
class Direction:
    """How the leading direction is found."""

    solver: Literal["exact", "nipals"]
    tol: float
    max_iter: int


@dataclass(frozen=True)
class PlsFit:
    """Components of one training set.

    Attributes
    ----------
    scores : ndarray of shape (n_test, n_used)
        Scores of the test rows; ``scores[:, :m] @ loadings[:m]`` are predictions by m components, about the training mean.
    loadings : ndarray of shape (n_used, t)
        Target loadings.
    n_iter : ndarray of shape (n_used,)
        Power iterations; 0 for the exact solver.
    """

    scores: Double
    loadings: Double
    n_iter: Index


class Task(Protocol):
    """One training set: its side of the algebra.

    ``start`` (t, r) holds the units in the reduced target space; a trace of M below ``floor`` is rounding.
    """

    start: Double
    floor: float

    def gram(self) -> Double:
        """Return M = S'S (r, r) of the deflated S, from scratch."""

    def latent(self, u: Double) -> Double | None:
        """Return the vector that the shared operator takes, for w = S u; None where nothing is left of it."""

    def deflate(self, product: Double) -> tuple[Double, Double, float]:
        """Take what the operator gave; return q (r,), S'g (r,) and g'g with S <- S - g q'."""

    def finish(self) -> tuple[Double, Double]:
        """Return scores of the test rows (n_test, m) and q (m, r)."""


class Narrow:
    """A training set by G = X'X (p, p) and S = X'Y (p, t), both about the training means, and test rows (n_test, p)."""

    def __init__(self, gram: Double, cross: Double, test: Double, limit: int) -> None:
        self._g, self._test = gram, test
        self._s, self.start = _reduced(cross)
        self.floor = NOTHING * float(np.einsum("ij,ij->", cross, cross))
        self._r, self._p, self._gr = (np.empty((limit, len(gram))) for _ in range(3))
        self._q = np.empty((limit, self._s.shape[1]))
        self._m = 0

    def gram(self) -> Double:
        s = self._s - self._gr[: self._m].T @ self._q[: self._m]
        return np.asarray(s.T @ s)

    def latent(self, u: Double) -> Double | None:
        m, r = self._m, self._s @ u
        if m:
            r -= (self._q[:m] @ u) @ self._gr[:m]
            for _ in range(2):  # the second pass restores orthogonality
                r -= (self._p[:m] @ r) @ self._r[:m]
        self._r[m] = r
        return r

    def operate(self, vector: Double) -> Double:
        """Return G r."""
        return np.asarray(self._g @ vector)

    def deflate(self, product: Double) -> tuple[Double, Double, float]:
        m = self._m
        size = float(self._r[m] @ product)
        q, left = np.array([self._r[m] / size, product]) @ self._s
        left -= (self._gr[:m] @ product) @ self._q[:m]
        self._p[m], self._gr[m], self._q[m] = product / size, product, q
        self._m += 1
        return q, left, float(product @ product)

    def finish(self) -> tuple[Double, Double]:
        return self._test @ self._r[: self._m].T, self._q[: self._m]


class Wide:
    """A training set by F = KY (n, t) over all rows and Y (n_train, t), about the training means."""

    def __init__(
        self, kernel: Double, rows: tuple[Index, Index], y: Double, product: Double | None, limit: int
    ) -> None:
        """Take the kernel (n, n), training and test rows, y (n_train, t) and, where known, ``kernel[:, train] @ y``."""
        train, self._test = rows
        self._n, self._train = len(kernel), train
        self._y, self.start = _reduced(y.T, transposed=True)
        if product is None or self._y.shape[1] != y.shape[1]:
            product = kernel[:, train] @ self._y
        self._f = product - product[train].mean(axis=0)
        size = float(np.einsum("ij,ij->", y, y)) * float(kernel.diagonal()[train].mean())
        self.floor = 4 * EPS * np.sqrt(len(train)) * size  # rounding of the kernel, seen through y
        self._kt, self._t = (np.empty((limit, self._n)) for _ in range(2))
        self._t_train = np.empty((limit, train.size))
        self._q, self._size = np.empty((limit, self._y.shape[1])), np.empty(limit)
        self._m = 0

    def gram(self) -> Double:
        m = self._m
        f = self._f[self._train] - self._kt[:m, self._train].T @ self._q[:m]
        y = self._y - self._t_train[:m].T @ self._q[:m]
        found = y.T @ f
        return np.asarray((found + found.T) / 2)

    def latent(self, u: Double) -> Double | None:
        m, t = self._m, self._f @ u
        if m:
            t -= (self._q[:m] @ u) @ self._kt[:m]
            for _ in range(2):  # the second pass restores orthogonality
                t -= (self._t_train[:m] @ t[self._train] / self._size[:m]) @ self._t[:m]
        v = np.zeros(self._n)
        v[self._train] = t[self._train] - t[self._train].mean()
        self._t[m], self._t_train[m], self._size[m] = t, t[self._train], v @ v
        return v if self._size[m] > 0 else None

    def deflate(self, product: Double) -> tuple[Double, Double, float]:
        m, product = self._m, product - product[self._train].mean()
        t, kt = self._t_train[m], product[self._train]
        q, left = np.array([t / self._size[m], kt]) @ self._y
        left -= (self._t_train[:m] @ kt) @ self._q[:m]
        self._kt[m], self._q[m] = product, q
        self._m += 1
        return q, left, float(t @ kt)

    def finish(self) -> tuple[Double, Double]:
        return self._t[: self._m, self._test].T, self._q[: self._m]


def _reduced(cross: Double, *, transposed: bool = False) -> tuple[Double, Double]:
    """Rotate the units of a cross-product (rows, t) into at most ``rows`` columns: (reduced, units (t, r)).

    ``transposed``: the argument is y' (t, rows), and y is reduced.
    """
    rows, t = cross.shape[::-1] if transposed else cross.shape
    if t <= rows:
        return np.ascontiguousarray(cross.T if transposed else cross), np.eye(t)
    q, r = scipy.linalg.qr(cross if transposed else cross.T, mode="economic", check_finite=False)
    return np.ascontiguousarray(r.T), q


class _Progress:
    """The leading direction of one task, component by component."""

    def __init__(self, task: Task, how: Direction) -> None:
        self.task, self._how = task, how
        self._m = task.gram()
        self._fresh = True
        self._top = float(self._m.trace())
        self._counts: list[int] = []
        self.done = not self._top > 0

    def next(self) -> Double | None:
        """Return the vector for the operator, or None where nothing is left."""
        if not self._fresh and float(self._m.trace()) < FRESH * self._top:
            self._renew()
        found = self._direction()
        if found is None and not self._fresh:
            self._renew()
            found = self._direction()
        vector = None if found is None else self.task.latent(found[0])
        if found is None or vector is None:
            self.done = True
            return None
        self._counts.append(found[1])
        return vector

    def _renew(self) -> None:
        self._m, self._fresh = self.task.gram(), True
        self._top = float(self._m.trace())

    def take(self, product: Double) -> None:
        """Deflate by what the operator gave."""
        q, left, square = self.task.deflate(product)
        cross = np.outer(q, left - square / 2 * q)
        self._m = self._m - cross - cross.T
        self._fresh = False

    def _direction(self) -> tuple[Double, int] | None:
        """Return u with |S u| = 1 and the iterations, or None where S is rounding."""
        floor = self.task.floor
        if not float(self._m.trace()) > floor:
            return None
        if self._how.solver == "exact":
            u, count = _leading(self._m), 0
        else:
            u, count = self._power(floor)
        size = float(u @ self._m @ u)
        return None if not size > floor * float(u @ u) else (u / np.sqrt(size), count)

    def _power(self, floor: float) -> tuple[Double, int]:
        m, start = self._m, self.task.start
        u = next((row for row in start if row @ m @ row > floor), start[0])
        z = m @ u
        size = float(u @ z)
        if len(start) == 1 or not size > 0:
            return u, 1
        u, z = u / np.sqrt(size), z / np.sqrt(size)
        for count in range(2, self._how.max_iter + 1):
            image = m @ z
            length = np.sqrt(max(float(z @ image), TINY))
            new, image = z / length, image / length
            change = float((new - u) @ (image - z))  # |w - w_old|^2
            u, z = new, image
            if change < self._how.tol:
                return u, count
        return u, self._how.max_iter

    def result(self) -> PlsFit:
        scores, q = self.task.finish()
        whole = q if q.shape[1] == len(self.task.start) else q @ self.task.start.T
        return PlsFit(scores, whole, np.array(self._counts[: len(q)], dtype=np.intp))


def _leading(m: Double) -> Double:
    """Return the leading eigenvector of a symmetric matrix (r, r)."""
    r = len(m)
    if r > DENSE:
        try:
            start = m @ np.ones(r) + m.diagonal()
            vectors = scipy.sparse.linalg.eigsh(m, k=1, which="LA", v0=start, tol=0, maxiter=50 * r)[1]
            return np.asarray(vectors[:, 0])
        except scipy.sparse.linalg.ArpackError:
            pass  # clustered eigenvalues: the dense solver takes them
    return np.asarray(scipy.linalg.eigh(m, subset_by_index=[r - 1, r - 1], check_finite=False)[1][:, 0])


def fit_narrow(task: Narrow, n_components: int, how: Direction) -> PlsFit:
    """Return the components of one narrow training set."""
    progress = _Progress(task, how)
    for _ in range(n_components):
        vector = None if progress.done else progress.next()
        if vector is None:
            break
        progress.take(task.operate(vector))
    return progress.result()


def fit_wide(kernel: Double, tasks: Sequence[Wide], limits: Sequence[int], how: Direction) -> list[PlsFit]:
    """Return up to ``limits`` components of wide training sets, in step: one product with the kernel serves them all."""
    progress = [_Progress(task, how) for task in tasks]
    for m in range(max(limits)):
        wanted = [one for one, limit in zip(progress, limits, strict=True) if m < limit and not one.done]
        found = [(one, one.next()) for one in wanted]
        live = [(one, v) for one, v in found if v is not None]
        if not live:
            break
        products = np.array([v for _, v in live]) @ kernel
        for (one, _), product in zip(live, products, strict=True):
            one.take(product)
    return [one.result() for one in progress]
