"""Systems up to rotations of their units: states, partly whitened or truncated, and their best alignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.measures._linalg import Float64, angle, bounded_cosine, centre64, require_variance, thin_factor
from repcompare.measures._measure import Array, Index, Outcome
from repcompare.measures._nuclear import Noise, narrow_factor, overlap_norm, same_rows
from repcompare.measures._truncate import leading, similarity_bound

NETREP_FLOOR = 1e-7  # of the eigenvalues of Xc'Xc, in its units
CROWDED = 0.1  # share of rank in stimuli above which whitened directions are unstable


@dataclass(frozen=True)
class ShapeState:
    """A prepared source: ``factor`` F (n_stimuli, at most n_stimuli), its Frobenius norm, and what restriction needs.

    With ``stretch`` (rank,) the factor is U diag(d); times ``stretch`` it is U S again.  With ``whole`` the factor holds the
    first components of it alone; ``lost`` is the share of its length that they leave.
    """

    factor: Float64
    norm: float
    stretch: Float64 | None = None
    noise: Noise | None = None
    whole: Float64 | None = None
    lost: float = 0.0


@dataclass(frozen=True)
class HeldOutShape:
    """One fold of one source: training rows (n_train, rank) and test rows (n_test, rank) in the same coordinates."""

    train: Float64
    test: Float64


def guard(n: int, ranks: tuple[int, int], guarded: bool) -> tuple[str, ...]:
    """Raise, or return notes, where the column spaces of two systems crowd the stimuli."""
    if guarded and sum(ranks) >= n - 1:
        raise MeasureError(
            f"shape_distance: ranks {ranks[0]} + {ranks[1]} reach the number of stimuli less one ({n} - 1): "
            f"{max(0, sum(ranks) - (n - 1))} correlations would be exactly 1 for unrelated data; use more stimuli, "
            "alpha > 0, or another measure (cka); degenerate='allow' returns the number anyway"
        )
    if max(ranks) / (n - 1) <= CROWDED:
        return ()
    return (
        f"shape_crowded: rank {max(ranks)} for {n} stimuli; whitened directions are unstable above {CROWDED:.0%}: "
        "reduce the units, use alpha=1, or compare with the permutation floor",
    )


def all_pairs(
    pair: Callable[[ShapeState, ShapeState], float], identical: float
) -> Callable[[Sequence[ShapeState], Sequence[ShapeState]], npt.NDArray[np.float64]]:
    """All pairs of two lists of states; what stands in both lists is compared once, and with itself not at all."""

    def many(x: Sequence[ShapeState], y: Sequence[ShapeState]) -> npt.NDArray[np.float64]:
        found: dict[tuple[int, int], float] = {}
        scores = np.empty((len(x), len(y)))
        for i, a in enumerate(x):
            for j, b in enumerate(y):
                key = (min(id(a), id(b)), max(id(a), id(b)))
                if key not in found:
                    found[key] = identical if a is b else pair(a, b)
                scores[i, j] = found[key]
        return scores

    return many


def prepare_shape(values: Array, tol: float | None = None) -> ShapeState:
    whole = narrow_factor(values)
    factor, lost = (whole, 0.0) if tol is None else leading(whole, tol)
    norm = float(np.linalg.norm(factor))
    require_variance(norm, "procrustes")
    return ShapeState(factor, norm) if tol is None else ShapeState(factor, norm, whole=whole, lost=lost)


def restrict_shape(state: ShapeState, rows: Index, tol: float | None = None) -> ShapeState:
    return prepare_shape((state.factor if state.whole is None else state.whole)[rows], tol)


def truncation(x: ShapeState, y: ShapeState) -> Outcome:
    """What a tolerance has left out, and what that can do to NBS."""
    bound = similarity_bound(x.lost, y.lost)
    kept, all_of = ([f.shape[1] for f in side if f is not None] for side in ((x.factor, y.factor), (x.whole, y.whole)))
    note = (
        f"shape_truncated: {kept[0]} of {all_of[0]} and {kept[1]} of {all_of[1]} components kept; NBS is certain within "
        f"{bound:.2g}"
    )
    return Outcome(score=np.nan, details={"similarity_bound": bound}, notes=(note,) if kept != all_of else ())


def truncated_outcome(x: ShapeState, y: ShapeState, pair: Callable[[ShapeState, ShapeState], float]) -> Outcome:
    score = pair(x, y)
    return replace(truncation(x, y), score=score)


def stretched(s: Float64, alpha: float) -> Float64:
    """Weights d / |d| of the left singular vectors, for singular values s (rank,) brought to mean square 1."""
    d = alpha * s * (np.sqrt(len(s)) / np.linalg.norm(s)) + (1 - alpha)
    weights: Float64 = d / np.linalg.norm(d)
    return weights


def whitened(factor: Float64, alpha: float, noise: Noise) -> ShapeState:
    u, s, _ = noise.cut(*thin_factor(factor, 0.0))
    weights = stretched(s, alpha)
    return ShapeState(u * weights, 1.0, s / weights, noise)


def netrep_shape(values: Array, alpha: float) -> ShapeState:
    """Whiten as netrep does: d = alpha + (1 - alpha) / sqrt(lambda), floored and rescaled to keep the variance."""
    if alpha > 1 - NETREP_FLOOR:
        return prepare_shape(values)
    u, s, _ = scipy.linalg.svd(centre64(values), full_matrices=False, check_finite=False)
    require_variance(float(s[0]), "shape_distance")
    squares = np.concatenate([s**2, np.zeros(values.shape[1] - len(s))])
    floored = np.maximum(squares, NETREP_FLOOR)
    d = alpha + (1 - alpha) / np.sqrt(floored)
    d *= np.sqrt(floored.sum() / (d**2 * floored).sum())
    factor = u * (s * d[: len(s)])
    return ShapeState(factor, float(np.linalg.norm(factor)))


def held_out_shape(train: Float64, test: Float64, alpha: float, noise: Noise) -> HeldOutShape:
    u, s, vt = noise.cut(*thin_factor(train, 0.0))
    weights = stretched(s, alpha)
    return HeldOutShape(u * weights, (test @ vt.T) * (weights / s))


def fold_score(x: HeldOutShape, y: HeldOutShape, score: str) -> float:
    """Score of the test rows under the best rotation of the training rows."""
    if x.train.shape[1] > y.train.shape[1]:
        return fold_score(y, x, score)
    norms = float(np.linalg.norm(x.test)), float(np.linalg.norm(y.test))
    require_variance(min(norms), "shape_distance on the test stimuli")
    u, _, vt = scipy.linalg.svd(x.train.T @ y.train, full_matrices=False, check_finite=False)
    turned, aim = x.test @ (u @ vt) / norms[0], y.test / norms[1]
    cosine = bounded_cosine(float((turned * aim).sum()), "shape_distance")
    if score == "similarity":
        return cosine
    theta = angle(cosine, lambda: float(np.linalg.norm(turned - aim)))
    return theta if score == "angular" else 2 * float(np.sin(theta / 2))


def overlap(x: ShapeState, y: ShapeState) -> npt.NDArray[np.float64]:
    same_rows(x.factor, y.factor, "procrustes")
    product: Float64 = x.factor.T @ y.factor
    product /= x.norm * y.norm
    return product


def similarity(x: ShapeState, y: ShapeState) -> float:
    return bounded_cosine(overlap_norm(overlap(x, y)), "procrustes")


def angular(x: ShapeState, y: ShapeState) -> float:
    return angle(similarity(x, y), lambda: residual(x.factor / x.norm, y.factor / y.norm))


def chord(x: ShapeState, y: ShapeState) -> float:
    return 2 * float(np.sin(angular(x, y) / 2))


def bures(x: ShapeState, y: ShapeState) -> float:
    total = x.norm**2 + y.norm**2
    squared = total - 2 * x.norm * y.norm * overlap_norm(overlap(x, y))
    if squared < 1e-6 * total:  # the difference has lost its digits
        return residual(x.factor, y.factor)
    return float(np.sqrt(squared))


def residual(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """|X - Y Q| for the best rotation Q; the narrower side is padded with silent units."""
    width = max(x.shape[1], y.shape[1])
    x = np.pad(x, ((0, 0), (0, width - x.shape[1])))
    y = np.pad(y, ((0, 0), (0, width - y.shape[1])))
    u, _, vt = scipy.linalg.svd(y.T @ x, check_finite=False)
    return float(np.linalg.norm(x - y @ (u @ vt)))
