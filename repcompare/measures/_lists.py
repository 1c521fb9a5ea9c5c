"""Pairs of sources as lists of nearest neighbours: what they share, one pair or all pairs at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.neighbours import (
    count_shared,
    find_back,
    merge_lists,
    shared_hsic,
    tally_cosines,
    tally_shared,
)
from repcompare.measures._measure import Outcome
from repcompare.measures._nearest import NeighbourState, check_pair, tie_report

Float64 = npt.NDArray[np.float64]
States = Sequence[NeighbourState]
ORTHOGONAL = 1e-26  # sums of squared cosines below this are rounding of 0
BLOCK_BYTES = 64_000_000  # of the cosines of a block of stimuli, of all sources
CHEAPER = 40  # a cosine from a product of blocks costs this much less than one from a gathered pair of patterns


@dataclass(frozen=True)
class Overlap:
    """Mean over stimuli of what a number of shared neighbours is worth.

    Attributes
    ----------
    worth : ndarray, shape (k + 1,)
        Of 0 ... k shared neighbours.
    chance : callable
        ``n -> mean`` under permuted stimuli.
    corrected : bool
        ``(v - chance) / (1 - chance)``.
    """

    worth: Float64
    chance: Callable[[int], float]
    corrected: bool = False

    def compare(self, x: NeighbourState, y: NeighbourState) -> Outcome:
        n = check_pair(x, y)
        shared = np.empty(n, dtype=np.intp)
        count_shared(x.lists, y.lists, shared)
        score = float(self._finished(self.worth[shared].mean(), n))
        return replace(self.annotate(x, y), score=score)

    def compare_many(self, xs: States, ys: States) -> Float64:
        n, same = _sides(xs, ys)
        sums = np.zeros((len(xs), len(ys)))
        a = np.stack([state.lists for state in xs])
        b = a if same else np.stack([state.lists for state in ys])
        tally_shared(a, b, self.worth, same, sums)
        return np.asarray(self._finished(_mirrored(sums, same) / n, n))

    def annotate(self, x: NeighbourState, y: NeighbourState) -> Outcome:
        null = 0.0 if self.corrected else self.chance(len(x.lists))
        return Outcome(score=np.nan, details={"null_mean": null}, **tie_report(x, y))

    def _finished(self, mean: Float64, n: int) -> Float64:
        if not self.corrected:
            return mean
        chance = self.chance(n)
        return (mean - chance) / (1 - chance)


def ties(x: NeighbourState, y: NeighbourState) -> Outcome:
    """What stands beside a score that has no exact chance level."""
    return Outcome(score=np.nan, **tie_report(x, y))


def _sides(xs: States, ys: States) -> tuple[int, bool]:
    """Number of stimuli, the same for all, and whether both sides are one."""
    for state in (*xs, *ys):
        check_pair(xs[0], state)
    return len(xs[0].lists), len(xs) == len(ys) and all(x is y for x, y in zip(xs, ys, strict=True))


def _mirrored(sums: Float64, same: bool) -> Float64:
    return np.triu(sums) + np.triu(sums, 1).T if same else sums


def second_order(x: NeighbourState, y: NeighbourState) -> Outcome:
    """Mean cosine between the vectors of cosines over the unions of both lists."""
    n = check_pair(x, y)
    i, j = np.empty((2, 2 * x.lists.size), dtype=np.intp)
    size = merge_lists(x.lists, y.lists, i, j)
    a, b = (state.patterns.cosines(i[:size], j[:size]) for state in (x, y))
    dot, own, other = (np.bincount(i[:size], weights=w, minlength=n) for w in (a * b, a * a, b * b))
    lone = [int(row) for row in np.flatnonzero((own < ORTHOGONAL) | (other < ORTHOGONAL))]
    if lone:
        raise MeasureError(
            f"{x.measure}: {len(lone)} stimuli are orthogonal to all their neighbours (first: row {lone[0]}); "
            "expected cosines that are not 0; raise k=, or drop these stimuli",
            rows=lone,
        )
    return Outcome(score=float(np.clip(dot / np.sqrt(own * other), -1, 1).mean()), **tie_report(x, y))


def second_order_many(xs: States, ys: States) -> Float64:
    """All pairs: by all cosines of a block of stimuli, where the lists of all pairs need most of them anyway."""
    n, same = _sides(xs, ys)
    k, states = xs[0].lists.shape[1], list(xs if same else (*xs, *ys))
    if n * len(states) > CHEAPER * k * len(xs) * len(ys):
        return np.array([[second_order(x, y).score for y in ys] for x in xs])
    sums = np.zeros((len(xs), len(ys)))
    width = max(1, BLOCK_BYTES // (8 * n * len(states)))
    for start in range(0, n, width):
        stop = min(n, start + width)
        lists = np.stack([state.lists[start:stop] for state in states])
        cosines = np.stack([1 + s.patterns.scale / 2 * s.patterns.nearness(start, stop) for s in states])
        first, second = (slice(0, len(xs)), slice(0 if same else len(xs), None))
        least = tally_cosines(lists[first], cosines[first], lists[second], cosines[second], same, sums)
        if least < ORTHOGONAL:
            raise MeasureError(f"{xs[0].measure}: stimuli are orthogonal to all their neighbours; compare pair by pair")
    return _mirrored(sums, same) / n


def _hsic(x: NeighbourState, y: NeighbourState) -> float:
    assert x.back is not None and y.back is not None
    return float(shared_hsic(x.lists, x.values, x.back, y.lists, y.values, y.back))


def with_norm(state: NeighbourState) -> NeighbourState:
    """Add what CKNNA needs: where each neighbour lists the stimulus in turn, and the root of the self-term."""
    back = np.empty_like(state.lists)
    find_back(state.lists, back)
    state = replace(state, back=back)
    own = _hsic(state, state)
    if own <= 1e-11 * float(np.square(state.values).sum()) + ORTHOGONAL * state.values.size:
        raise MeasureError(
            f"cknna: the self-term {own:.3g} is not positive: with k={state.lists.shape[1]} of {len(state.lists)} "
            "stimuli nothing is left after centring; expected another k=, more stimuli, or patterns without a shared "
            "offset"
        )
    return replace(state, norm=float(np.sqrt(own)))


def centred_alignment(x: NeighbourState, y: NeighbourState) -> Outcome:
    """CKNNA of two states that have their norm."""
    check_pair(x, y)
    return Outcome(score=_hsic(x, y) / (x.norm * y.norm), **tie_report(x, y))
