"""Poisson regression of many units at once: L-BFGS in lockstep, every unit with its own steps.

Minimises ``sum exp(eta) - y eta + alpha / 2 |w|^2`` with ``eta = a w + b``, b free, per unit.  In the eigenbasis of the
training scatter the curvature is nearly diagonal, ``mean(y) lam + alpha``: that is the first guess of the inverse
Hessian.  A step costs two products for all units; units that have converged leave, so that none depends on others.
The few that have not after many steps (nearly separable counts, tiny penalties) go on by Newton's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.special import xlogy

from repcompare.measures.encoding._held_out import Double

MEMORY = 8  # pairs of steps and gradient changes
LARGEST = 30.0  # of eta: beyond, exp is continued by its value there
TIGHT = 1e-18  # of n: g' H g at which a unit has converged
PATIENCE = 60  # steps before Newton's method takes over
MOST_STEPS = 150
MOST_TRIALS = 40


@dataclass
class State:
    """Solutions of some units.

    Attributes
    ----------
    weights : ndarray of shape (r + 1, t)
        Weights in the eigenbasis, the offset last.
    steps : ndarray of shape (t,)
        Steps taken in all.
    converged : ndarray of bool, shape (t,)
        Whether the gradient is small.
    """

    weights: Double
    steps: npt.NDArray[np.intp]
    converged: npt.NDArray[np.bool_]


def start(y: Double, rank: int) -> State:
    """Return the null model: weights 0, offset the log of the mean of y (n, t), which is > 0."""
    weights = np.zeros((rank + 1, y.shape[1]))
    weights[-1] = np.log(y.mean(axis=0))
    return State(weights, np.zeros(y.shape[1], dtype=np.intp), np.zeros(y.shape[1], dtype=bool))


def rates(a: Double, weights: Double) -> Double:
    """Return the predicted counts (n, t) of rows a (n, r)."""
    return np.asarray(np.exp(np.minimum(a @ weights[:-1] + weights[-1], LARGEST)))


def fit(a: Double, lam: Double, y: Double, alpha: float, state: State) -> State:
    """Return the solutions for one penalty, from those in ``state``.

    Parameters
    ----------
    a : ndarray of shape (n, r)
        Training rows in the eigenbasis, centred; ``a' a = diag(lam)``.
    lam : ndarray of shape (r,)
        Eigenvalues.
    y : ndarray of shape (n, t)
        Counts, none silent.
    alpha : float
        Penalty.
    state : State
        Where to start.
    """
    n, t = y.shape
    mean = y.mean(axis=0)
    inverse = 1 / (np.append(lam, n)[:, None] * mean + np.append(np.full(lam.size, alpha), 0.0)[:, None])
    weights, steps, converged = state.weights.copy(), state.steps.copy(), np.zeros(t, dtype=bool)
    active = np.arange(t)
    one = _Problem(a, y, alpha, weights.copy(), inverse)
    for count in range(MOST_STEPS):
        small = np.einsum("ij,ij->j", one.gradient, one.inverse * one.gradient) <= TIGHT * n
        converged[active[small]] = True
        weights[:, active] = one.weights
        if small.all():
            break
        if small.any():
            active = active[~small]
            one.keep(~small)
        one.step(newton=count >= PATIENCE)
        steps[active] += 1
    else:
        weights[:, active] = one.weights
    return State(weights, steps, converged)


class _Problem:
    """The units that still move, and what L-BFGS remembers of them."""

    def __init__(self, a: Double, y: Double, alpha: float, weights: Double, inverse: Double) -> None:
        self._a, self._y, self._alpha = a, y, alpha
        self.weights, self.inverse = weights, inverse
        self._eta = a @ weights[:-1] + weights[-1]
        self._moves: list[Double] = []
        self._changes: list[Double] = []
        self.gradient = self._gradient()

    def keep(self, which: npt.NDArray[np.bool_]) -> None:
        """Drop the other units."""
        self._y, self.weights, self.inverse = self._y[:, which], self.weights[:, which], self.inverse[:, which]
        self._eta, self.gradient = self._eta[:, which], self.gradient[:, which]
        self._moves = [m[:, which] for m in self._moves]
        self._changes = [c[:, which] for c in self._changes]

    def _gradient(self) -> Double:
        rest = np.exp(np.minimum(self._eta, LARGEST)) - self._y
        found = np.empty_like(self.weights)
        found[:-1] = self._a.T @ rest + self._alpha * self.weights[:-1]
        found[-1] = rest.sum(axis=0)
        return found

    def step(self, *, newton: bool = False) -> None:
        """Move every unit along its own direction by its own length."""
        direction = self._newton() if newton else -self._product(self.gradient)
        slope = np.einsum("ij,ij->j", self.gradient, direction)
        uphill = ~(slope < 0)
        if uphill.any():  # rounding in the memory of a unit: start it anew
            direction[:, uphill] = -(self.inverse * self.gradient)[:, uphill]
            slope = np.einsum("ij,ij->j", self.gradient, direction)
        change = self._a @ direction[:-1] + direction[-1]
        length = self._length(direction, change, slope)
        move, before = length * direction, self.gradient
        self.weights = self.weights + move
        self._eta += length * change
        self.gradient = self._gradient()
        self._moves = [*self._moves, move][-MEMORY:]
        self._changes = [*self._changes, self.gradient - before][-MEMORY:]

    def _length(self, direction: Double, change: Double, slope: Double) -> Double:
        """Return step lengths (t,) at which the slope is below .9 of what it was: the objective is convex."""
        length = np.ones(slope.size)
        flat = self._alpha * np.einsum("ij,ij->j", self.weights[:-1], direction[:-1])
        curved = self._alpha * np.einsum("ij,ij->j", direction[:-1], direction[:-1])
        open_units = np.arange(slope.size)
        for _ in range(MOST_TRIALS):
            u = open_units
            eta = self._eta[:, u] + length[u] * change[:, u]
            rest = np.exp(np.minimum(eta, LARGEST)) - self._y[:, u]
            now = np.einsum("ij,ij->j", rest, change[:, u]) + flat[u] + length[u] * curved[u]
            bad = now > -0.9 * slope[u]
            if not bad.any():
                break
            u, now = u[bad], now[bad]
            length[u] *= np.clip(-slope[u] / (now - slope[u]), 0.1, 0.5)
            open_units = u
        return length

    def _newton(self) -> Double:
        """Return the exact Newton direction of every unit."""
        design = np.hstack([self._a, np.ones((len(self._a), 1))])
        penalty = np.append(np.full(self._a.shape[1], self._alpha), 0.0)
        found = np.empty_like(self.gradient)
        for u in range(self.weights.shape[1]):
            mu = np.exp(np.minimum(self._eta[:, u], LARGEST))
            hessian = design.T @ (mu[:, None] * design)
            hessian[np.diag_indices_from(hessian)] += penalty
            try:
                found[:, u] = -scipy.linalg.solve(hessian, self.gradient[:, u], assume_a="pos")
            except (np.linalg.LinAlgError, scipy.linalg.LinAlgWarning):
                found[:, u] = -self.inverse[:, u] * self.gradient[:, u]
        return found

    def _product(self, vector: Double) -> Double:
        """Return the inverse Hessian times a vector per unit (two-loop recursion)."""
        q, kept = vector.copy(), []
        for move, change in zip(reversed(self._moves), reversed(self._changes), strict=True):
            curvature = np.einsum("ij,ij->j", move, change)
            rho = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 0)
            factor = rho * np.einsum("ij,ij->j", move, q)
            q -= factor * change
            kept.append((move, change, rho, factor))
        q *= self.inverse * self._scale()
        for move, change, rho, factor in reversed(kept):
            q += (factor - rho * np.einsum("ij,ij->j", change, q)) * move
        return q

    def _scale(self) -> Double:
        """Return the size of the inverse Hessian relative to its first guess, (t,)."""
        if not self._moves:
            return np.ones(self.weights.shape[1])
        curvature = np.einsum("ij,ij->j", self._moves[-1], self._changes[-1])
        square = np.einsum("ij,ij->j", self._changes[-1], self.inverse * self._changes[-1])
        ratio = np.divide(curvature, square, out=np.ones_like(square), where=(square > 0) & (curvature > 0))
        return np.asarray(ratio)


def deviance(y: Double, mu: Double) -> Double:
    """Return the Poisson deviance of counts y and rates mu (n, t), per column.

    Examples
    --------
    >>> deviance(np.array([[0.0], [2.0]]), np.array([[1.0], [2.0]]))
    array([2.])
    """
    return np.asarray(2 * (xlogy(y, y) - xlogy(y, mu) - y + mu).sum(axis=0))
