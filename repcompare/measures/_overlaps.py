"""States and batching of the measures that follow from one matrix of squared overlaps of singular vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from repcompare.measures._linalg import Float64, centre64, input_eps, require_variance
from repcompare.measures._measure import Array, Index, Measure, Outcome
from repcompare.measures._subspace import products, require_same_stimuli, spectrum


@dataclass(frozen=True)
class Spectrum:
    """A prepared source: thin factor U diag(s) of the (centred) data.

    Attributes
    ----------
    u : ndarray, shape (n_stimuli, rank)
    s : ndarray, shape (rank,)
    eps : float
        Precision of the data as they came.
    """

    u: Float64
    s: Float64
    eps: float

    @property
    def n(self) -> int:
        """Number of stimuli."""
        return len(self.u)

    @property
    def rank(self) -> int:
        """Dimension of the column space."""
        return len(self.s)


Weights = Callable[[Spectrum], Float64]
Pair = Callable[[Spectrum, Spectrum], float]
Finish = Callable[[float, Spectrum, Spectrum], float]


@dataclass(frozen=True)
class Form:
    """What tells one measure from another: weights of both sides, and what becomes of f' M g.

    Attributes
    ----------
    name : str
    source, target : callable
        ``state -> weights (rank,)`` of its directions, at least 0.
    finish : callable
        ``(f' M g, x, y) -> score``.
    check : callable
        Raises where the score means nothing.
    null : callable, optional
        ``(x, y) ->`` exact mean of the score over permuted stimuli.
    notes : callable
        ``(x, y) ->`` notes of a pair.
    """

    name: str
    source: Weights
    target: Weights
    finish: Finish
    check: Callable[[Spectrum, Spectrum], None] = lambda x, y: None
    null: Pair | None = None
    notes: Callable[[Spectrum, Spectrum], tuple[str, ...]] = field(default=lambda x, y: ())

    def compare(self, x: Spectrum, y: Spectrum) -> Outcome:
        """Score one pair."""
        self._checked(x, y)
        overlaps = np.square(x.u.T @ y.u)
        value = self.finish(float(self.source(x) @ overlaps @ self.target(y)), x, y)
        return replace(self.annotate(x, y), score=float(value))

    def annotate(self, x: Spectrum, y: Spectrum) -> Outcome:
        """Say what stands beside the score of a pair."""
        return Outcome(
            score=np.nan,
            details={"ranks": np.array([[x.rank, y.rank]])} | ({"null_mean": self.null(x, y)} if self.null else {}),
            notes=self.notes(x, y),
        )

    def compare_many(self, xs: Sequence[Spectrum], ys: Sequence[Spectrum]) -> Float64:
        """Score all pairs by stacked products."""
        for x in xs:
            for y in ys:
                self._checked(x, y)
        left = [x.u * np.sqrt(self.source(x)) for x in xs]
        states = len(xs) == len(ys) and all(a is b for a, b in zip(xs, ys, strict=True))
        same = states and self.source is self.target
        right = None if same else [y.u * np.sqrt(self.target(y)) for y in ys]
        values = products(left, right)
        return np.array([[self.finish(float(values[i, j]), x, y) for j, y in enumerate(ys)] for i, x in enumerate(xs)])

    def _checked(self, x: Spectrum, y: Spectrum) -> None:
        require_same_stimuli(self.name, x.n, y.n)
        self.check(x, y)

    def measure(self, *, centred: bool = True, **declared: Any) -> Measure:
        """Give the Measure."""

        def prepare(values: Array) -> Spectrum:
            return _factor(centre64(values) if centred else _as_is(values), input_eps(values), centred)

        def restrict(state: Spectrum, rows: Index) -> Spectrum:
            some = (state.u * state.s)[rows]
            return _factor(centre64(some) if centred else _as_is(some), state.eps, centred)

        return Measure(
            name=self.name,
            prepare=prepare,
            restrict=restrict,
            compare=self.compare,
            compare_many=self.compare_many,
            annotate=self.annotate,
            **declared,
        )


def _factor(values: Float64, eps: float, centred: bool) -> Spectrum:
    n, p = values.shape
    basis, s = spectrum(values, eps, full=min(n - 1 if centred else n, p))
    return Spectrum(basis.columns(), s, eps)


def _as_is(values: Array) -> Float64:
    """Return the data in float64, uncentred; raise where nothing varies."""
    require_variance(float(np.abs(values - values[0]).max()), "eigenspace_overlap")
    return values.astype(np.float64)


def ones(state: Spectrum) -> Float64:
    return np.ones(state.rank)


def variances(state: Spectrum) -> Float64:
    """Shares of variance (rank,): squared singular values over their sum."""
    squares = np.square(state.s / state.s[0])
    shares: Float64 = squares / squares.sum()
    return shares
