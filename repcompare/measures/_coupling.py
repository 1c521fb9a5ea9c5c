"""Shape metrics over matchings of units: one to one, or soft."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcompare.measures._linalg import Float64, angle, bounded_cosine, centre64, fold_parts, require_variance
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures._nuclear import same_rows
from repcompare.measures._transport import Coupling, assign, transport

DIGITS = 1e-4  # a squared distance below this share of the squared sizes is summed anew from differences


@dataclass(frozen=True)
class Columns:
    """One fold of one source: units as columns on training rows (n_train, p) and test rows (n_test, p), scaled."""

    train: Float64
    test: Float64


State = tuple[Columns, ...]


@dataclass(frozen=True)
class Form:
    """Which matching, which score, and how units are scaled beforehand."""

    soft: bool
    score: str
    held_out: bool = False
    scale: bool = True
    centre: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def prepare(self, values: Array, folds: Folds | None = None) -> State:
        """Return the units of (n_stimuli, p), each part centred and brought to its scale."""
        if folds is not None:
            parts = fold_parts(values, folds)
            return tuple(Columns(self._scaled(train), self._scaled(test)) for train, test in parts)
        centred = centre64(values)
        require_variance(float(np.linalg.norm(centred)), "shape_distance")
        units = self._scaled(centred if self.centre else values.astype(np.float64))
        return (Columns(units, units),)

    def restrict(self, state: State, rows: Index) -> State:
        """Return the state of some stimuli, or of another order of them."""
        return self.prepare(state[0].train[rows])

    def _scaled(self, units: Float64) -> Float64:
        norm = float(np.linalg.norm(units))
        require_variance(norm, "shape_distance")
        if not self.scale:
            return units
        return units * (np.sqrt(units.shape[1]) / norm if self.soft else 1 / norm)

    def compare(self, x: State, y: State) -> Outcome:
        """Match on training stimuli, score on test stimuli."""
        plans, scores = [], []
        for a, b in zip(x, y, strict=True):
            same_rows(a.train, b.train, "shape_distance")
            weights = a.train.T @ b.train
            plans.append((transport if self.soft else assign)(weights))
            total = plans[-1].total(weights) if a.test is a.train else None
            scores.append(self._score(a.test, b.test, plans[-1], total))
        return Outcome(
            score=float(np.mean(scores)),
            fold_scores=np.array(scores) if self.held_out else None,
            details={} if self.held_out else plans[0].details(),
            counts={} if self.soft else {"units_padded": abs(x[0].train.shape[1] - y[0].train.shape[1])},
        )

    def _score(self, x: Float64, y: Float64, plan: Coupling, total: float | None) -> float:
        """Score of a plan whose products of coupled units sum to ``total``, where the matching has left that known."""
        if total is None:
            total = float(plan.mass @ np.einsum("ij,ij->j", x[:, plan.rows], y[:, plan.columns]))
        if self.score == "euclidean":
            sizes = self._size(x) + self._size(y)
            squared = sizes - 2 * total
            return float(np.sqrt(squared if squared > DIGITS * sizes else self._chord(x, y, plan)))
        cosine = bounded_cosine(total, "shape_distance")
        return cosine if self.score == "similarity" else angle(cosine, lambda: np.sqrt(self._chord(x, y, plan)))

    def _size(self, units: Float64) -> float:
        """Sum of squares; for soft matchings, where each unit has mass 1 / p, their mean over units."""
        return float(np.vdot(units, units)) / (units.shape[1] if self.soft else 1)

    def _chord(self, x: Float64, y: Float64, plan: Coupling) -> float:
        squared = plan.chord(x, y)
        if not self.soft:  # units matched with silence
            squared += float((np.delete(x, plan.rows, axis=1) ** 2).sum())
            squared += float((np.delete(y, plan.columns, axis=1) ** 2).sum())
        return squared

    def measure(self, name: str) -> Measure:
        """Return the measure of this form."""
        invariant = {"permutation"}
        invariant |= {"translation"} if self.centre else set()
        invariant |= {"scaling"} if self.scale else set()
        invariant |= {"duplication"} if self.soft else set()
        similar = self.score == "similarity"
        highest = {"angular": np.pi, "similarity": 1.0}.get(self.score, 2.0 if self.scale else np.inf)
        return Measure(
            name=name,
            options=self.options,
            prepare=self.prepare,
            compare=self.compare,
            restrict=None if self.held_out else self.restrict,
            kind="similarity" if similar else "distance",
            is_metric=not similar and not self.held_out,
            score_range=(-1.0 if similar else 0.0, float(highest)),
            identical=float(similar),
            invariant_to=frozenset(invariant),
            fitted=self.held_out,
            unit={"angular": "rad", "similarity": "1"}.get(self.score, "1" if self.scale else "response"),
            reference="khosla2024" if self.soft else "williams2021",
            state_bytes=lambda n, p, itemsize, folds: 8 * n * p * folds,
        )
