"""Couplings of the units of two systems: optimal assignment and exact optimal transport with uniform masses."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse

from repcompare.errors import MeasureError, MissingExtraError
from repcompare.kernels.assignment import pair_off
from repcompare.measures._linalg import Float64
from repcompare.measures._measure import Index

LARGEST_PROGRAMME = 1_000_000  # entries of a plan that the linear programme takes on
Solver = Literal["assignment", "emd", "highs"]


@dataclass(frozen=True)
class Coupling:
    """Which unit goes with which: ``mass`` (n_links,) between units ``rows`` of one side and ``columns`` of the other."""

    rows: Index
    columns: Index
    mass: Float64

    def total(self, weights: Float64) -> float:
        """Sum of mass times weights (n_rows, n_columns)."""
        return float(self.mass @ weights[self.rows, self.columns])

    def chord(self, x: Float64, y: Float64) -> float:
        """Sum of mass times squared distances between coupled columns of x (n, p) and y (n, q)."""
        gaps = x[:, self.rows] - y[:, self.columns]
        return float(self.mass @ np.einsum("ij,ij->j", gaps, gaps))

    def details(self, rows: Index | None = None, columns: Index | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the plan by name; ``rows`` and ``columns`` give the units' places before some were dropped."""
        return {
            "plan_source": self.rows if rows is None else rows[self.rows],
            "plan_target": self.columns if columns is None else columns[self.columns],
            "plan_mass": self.mass,
        }


def assign(weights: Float64) -> Coupling:
    """Pair off the units so that the summed weight (p, q) is largest; min(p, q) pairs of mass 1, by rows."""
    p, q = weights.shape
    if not np.isfinite(weights.sum()):
        raise MeasureError(f"products of {p} and {q} units overflow; bring the responses to a smaller scale")
    found = np.empty(min(p, q), dtype=np.intp)
    pair_off(np.ascontiguousarray(weights if p <= q else weights.T), found)
    mass = np.ones(len(found))
    if p <= q:
        return Coupling(np.arange(p), found, mass)
    order = found.argsort()
    return Coupling(found[order], order, mass)


def transport(weights: Float64, solver: Solver | None = None) -> Coupling:
    """Return the plan T >= 0 with row sums 1/p and column sums 1/q whose sum of T times weights is largest.

    Exact: masses are integers while the plan is sought, so that its entries are known without rounding.

    Parameters
    ----------
    weights : ndarray, shape (p, q)
        What a unit of mass brings.
    solver : {"assignment", "emd", "highs"}, optional
        An assignment where one size divides the other; else the network simplex of the extra ``transport`` where it is
        installed; else a sparse linear programme.

    Returns
    -------
    Coupling
        At most p + q - 1 links; masses sum to 1.

    Raises
    ------
    MissingExtraError
        When the linear programme would be larger than 1e6 entries and the extra is missing.

    References
    ----------
    Khosla & Williams 2024 (soft matching).

    Examples
    --------
    >>> transport(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), "highs").mass.round(3).tolist()
    [0.333, 0.167, 0.333, 0.167]
    """
    p, q = weights.shape
    if p > q:
        turned = transport(weights.T, solver)
        return Coupling(turned.columns, turned.rows, turned.mass)
    if p == 1:
        return Coupling(np.zeros(q, dtype=np.intp), np.arange(q), np.full(q, 1 / q))
    solver = solver or ("assignment" if q % p == 0 else "emd" if _emd() else "highs")
    if solver == "assignment":
        pairs = assign(np.repeat(weights, q // p, axis=0))
        return Coupling(pairs.rows // (q // p), pairs.columns, np.full(q, 1 / q))
    supply, demand = q // gcd(p, q), p // gcd(p, q)
    scale = float(np.abs(weights).max()) or 1.0
    flow = (_simplex if solver == "emd" else _programme)(np.ascontiguousarray(weights / -scale), supply, demand)
    whole = np.rint(flow)
    if (whole.sum(axis=1) != supply).any() or (whole.sum(axis=0) != demand).any() or (whole < 0).any():
        raise MeasureError(f"transport of {p} onto {q} units did not converge; please report the data")
    rows, columns = np.nonzero(whole)
    return Coupling(rows, columns, whole[rows, columns] / (supply * p))


def _emd() -> Any:
    """The network simplex of POT, or None."""
    try:
        return import_module("ot.lp").emd
    except ImportError:
        return None


def _simplex(cost: Float64, supply: int, demand: int) -> Float64:
    p, q = cost.shape
    plan: Float64 = _emd()(np.full(p, float(supply)), np.full(q, float(demand)), cost, numItermax=100_000_000)
    return plan


def _programme(cost: Float64, supply: int, demand: int) -> Float64:
    p, q = cost.shape
    if p * q > LARGEST_PROGRAMME:
        raise MissingExtraError(
            f"optimal transport between {p} and {q} units is {p * q} entries; without the extra at most "
            f'{LARGEST_PROGRAMME} are taken on; install it: pip install "repcompare[transport]"'
        )
    out_of = scipy.sparse.kron(scipy.sparse.eye_array(p), np.ones((1, q)))
    into = scipy.sparse.kron(np.ones((1, p)), scipy.sparse.eye_array(q))
    found = scipy.optimize.linprog(
        cost.ravel(),
        A_eq=scipy.sparse.vstack([out_of, into]).tocsr()[:-1],  # the last row follows from the others
        b_eq=np.concatenate([np.full(p, supply), np.full(q - 1, demand)]),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.x is None:
        raise MeasureError(f"transport of {p} onto {q} units failed: {found.message}")
    plan: Float64 = found.x.reshape(p, q)
    return plan
