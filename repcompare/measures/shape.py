"""Shape metrics: how far apart two systems are after the best rotation, or the best matching of units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._coupling import Form
from repcompare.measures._linalg import (
    Float64,
    angle,
    bounded_cosine,
    centre64,
    fold_parts,
    require_variance,
    thin_factor,
)
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures._nuclear import Noise, narrow_factor, overlap_norm, same_rows

SCORES = ("angular", "euclidean", "similarity")
GROUPS = ("rotation", "permutation", "soft")
NETREP_FLOOR = 1e-7  # of the eigenvalues of Xc'Xc, in its units
CROWDED = 0.1  # share of rank in stimuli above which whitened directions are unstable


@dataclass(frozen=True)
class ShapeState:
    """A prepared source: ``factor`` F (n_stimuli, at most n_stimuli), its Frobenius norm, and what restriction needs.

    With ``stretch`` (rank,) the factor is U diag(d); times ``stretch`` it is U S again.
    """

    factor: Float64
    norm: float
    stretch: Float64 | None = None
    noise: Noise | None = None


@dataclass(frozen=True)
class HeldOutShape:
    """One fold of one source: training rows (n_train, rank) and test rows (n_test, rank) in the same coordinates."""

    train: Float64
    test: Float64


def procrustes(score: Literal["angular", "euclidean", "similarity"] = "angular", *, scale: bool = True) -> Measure:
    """Orthogonal Procrustes: the distance that is left after the best rotation.

    Parameters
    ----------
    score : {"angular", "euclidean", "similarity"}
        ``similarity``: NBS = |Xc'Yc|_* / (|Xc| |Yc|), the normalised Bures similarity, in [0, 1].  ``angular``:
        arccos NBS in rad, in [0, pi/2].  ``euclidean``: sqrt(2 - 2 NBS) in [0, sqrt 2] with ``scale=True``, or with
        ``scale=False`` sqrt(|Xc|^2 + |Yc|^2 - 2 |Xc'Yc|_*) in response units.
    scale : bool
        Divide by the Frobenius norm after centring.

    Returns
    -------
    Measure
        Symmetric; the distances are metrics.  Invariant to rotation and translation, with ``scale`` also to scaling.

    Raises
    ------
    OptionError
        ``scale=False`` with a score other than ``"euclidean"``.

    References
    ----------
    Williams et al. 2021 (shape metrics); Tang et al. 2020 (NBS); Harvey et al. 2024 (Bures distance).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, (q, _) = rng.normal(size=(20, 5)), np.linalg.qr(rng.normal(size=(5, 5)))
    >>> measure = procrustes()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ q)), 6)
    0.0
    """
    choose(score, SCORES, "score")
    if not scale and score != "euclidean":
        raise OptionError(f"scale=False goes with score='euclidean' only; score={score!r} is scale-free by definition")
    compare = {"similarity": _similarity, "angular": _angular}.get(score, _chord if scale else _bures)
    highest = {"similarity": 1.0, "angular": np.pi / 2, "euclidean": np.sqrt(2.0) if scale else np.inf}[score]
    always = {"rotation", "translation", "permutation"}
    return Measure(
        name="procrustes",
        options={"score": score} | ({} if scale else {"scale": False}),
        prepare=_prepare,
        compare=compare,
        compare_many=_all_pairs(compare, float(score == "similarity")),
        restrict=_restrict,
        kind="similarity" if score == "similarity" else "distance",
        is_metric=score != "similarity",
        score_range=(0.0, float(highest)),
        identical=float(score == "similarity"),
        invariant_to=frozenset(always | ({"scaling", "duplication"} if scale else set())),
        unit={"angular": "rad", "similarity": "1"}.get(score, "1" if scale else "response"),
        reference="williams2021",
    )


def shape_distance(
    alpha: float = 1.0,
    *,
    group: Literal["rotation", "permutation", "soft"] = "rotation",
    score: Literal["angular", "euclidean", "similarity"] = "angular",
    held_out: bool = False,
    convention: Literal["repcompare", "netrep"] = "repcompare",
    degenerate: Literal["raise", "allow"] = "raise",
) -> Measure:
    """Shape distance: what is left after the best map of a group, between partly whitened systems.

    Parameters
    ----------
    alpha : float
        In [0, 1]; rotations only.  1 is Procrustes, 0 whitens fully (CCA).  With singular values s of mean square 1 and
        d = alpha s + 1 - alpha, systems are U diag(d) / |d|.
    group : {"rotation", "permutation", "soft"}
        Best rotation; best one-to-one matching of units, the narrower side padded with silent ones (their number is in
        ``counts``); best transport plan between units of equal mass, which ignores duplicates.
    score : {"angular", "euclidean", "similarity"}
        arccos of the cosine in rad; sqrt(2 - 2 cos); the cosine itself.
    held_out : bool
        Fit the map on training stimuli; take the cosine on test stimuli centred with training means, along the
        directions that the training stimuli span.  It may be negative; its chance level is 0.
    convention : {"repcompare", "netrep"}
        ``netrep``: unscaled s, eigenvalues of Xc'Xc floored at 1e-7, variance preserved; ``euclidean`` is then in
        response units.  It depends on the units of measurement.
    degenerate : {"raise", "allow"}
        With ``alpha=0``: what to do when rank_x + rank_y >= n - 1, where some correlations are exactly 1.

    Returns
    -------
    Measure
        Symmetric; a metric unless held out or a similarity.  Angles are in [0, pi/2] for rotations in sample, else in
        [0, pi].

    Raises
    ------
    OptionError
        When ``alpha`` is outside [0, 1], or goes with another group than rotations, or a convention has no such form.

    References
    ----------
    Williams et al. 2021 (shape metrics); Khosla & Williams 2024 (soft matching).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(20, 5))
    >>> measure = shape_distance(group="permutation")
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[:, ::-1])).score, 6)
    0.0
    """
    choose(group, GROUPS, "group")
    choose(score, SCORES, "score")
    choose(convention, ("repcompare", "netrep"), "convention")
    choose(degenerate, ("raise", "allow"), "degenerate")
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha={alpha!r}; expected a number in [0, 1]: 1 is Procrustes, 0 is CCA")
    options: dict[str, Any] = {"alpha": float(alpha), "group": group, "score": score, "held_out": held_out}
    if group != "rotation":
        if alpha != 1 or convention != "repcompare":
            raise OptionError(f"group={group!r} goes with alpha=1 and convention='repcompare' only; leave them out")
        return Form(group == "soft", score, held_out, options=options).measure("shape_distance")
    if convention == "netrep" and held_out:
        raise OptionError("convention='netrep' has no held-out form; use convention='repcompare'")
    options |= {"convention": convention} if convention != "repcompare" else {}
    options |= {"degenerate": degenerate} if degenerate != "raise" else {}
    return _rotated(float(alpha), score, options, guarded=alpha == 0 and degenerate == "raise")


def _rotated(alpha: float, score: str, options: dict[str, Any], guarded: bool) -> Measure:
    """Shape distance over rotations."""
    held_out, netrep = options["held_out"], "convention" in options
    raw = netrep and score == "euclidean"
    pair = {"similarity": _similarity, "angular": _angular}.get(score, _bures if raw else _chord)
    similar = score == "similarity"

    def prepare(values: Array) -> ShapeState:
        if netrep:
            return _netrep(values, alpha)
        return _prepare(values) if alpha == 1 else _whitened(narrow_factor(values), alpha, Noise.of(values))

    def restrict(state: ShapeState, rows: Index) -> ShapeState:
        if state.stretch is None or state.noise is None:
            return _restrict(state, rows)
        return _whitened(narrow_factor((state.factor * state.stretch)[rows]), alpha, state.noise)

    def prepare_held_out(values: Array, folds: Folds) -> tuple[HeldOutShape, ...]:
        noise = Noise.of(values)
        return tuple(_held_out(train, test, alpha, noise) for train, test in fold_parts(values, folds))

    def compare(x: ShapeState, y: ShapeState) -> Outcome:
        same_rows(x.factor, y.factor, "shape_distance")
        ranks = x.factor.shape[1], y.factor.shape[1]
        notes = () if alpha == 1 or netrep else _guard(len(x.factor), ranks, guarded)
        return Outcome(score=pair(x, y), notes=notes)

    def compare_held_out(x: tuple[HeldOutShape, ...], y: tuple[HeldOutShape, ...]) -> Outcome:
        notes: tuple[str, ...] = ()
        scores = []
        for a, b in zip(x, y, strict=True):
            same_rows(a.train, b.train, "shape_distance")
            if alpha < 1:
                notes = _guard(len(a.train), (a.train.shape[1], b.train.shape[1]), guarded)
            scores.append(_fold_score(a, b, score))
        return Outcome(score=float(np.mean(scores)), fold_scores=np.array(scores), notes=notes)

    return Measure(
        name="shape_distance",
        options=options,
        prepare=prepare_held_out if held_out else prepare,
        compare=compare_held_out if held_out else compare,
        compare_many=_all_pairs(pair, float(similar)) if alpha == 1 and not held_out else None,
        restrict=None if held_out or netrep else restrict,
        kind="similarity" if similar else "distance",
        is_metric=not similar and not held_out,
        score_range=_range(score, held_out, raw),
        identical=float(similar),
        invariant_to=_invariances(alpha, netrep, raw),
        fitted=held_out,
        unit={"angular": "rad", "similarity": "1"}.get(score, "response" if raw else "1"),
        reference="williams2021",
    )


def _range(score: str, held_out: bool, raw: bool) -> tuple[float, float]:
    if score == "similarity":
        return -1.0 if held_out else 0.0, 1.0
    if score == "angular":
        return 0.0, float(np.pi if held_out else np.pi / 2)
    return 0.0, float(np.inf if raw else 2.0 if held_out else np.sqrt(2.0))


def _invariances(alpha: float, netrep: bool, raw: bool) -> frozenset[str]:
    found = {"rotation", "translation", "permutation"}
    if not raw and (alpha == 1 or not netrep):
        found |= {"scaling", "duplication"}
    if alpha == 0 and not netrep:
        found |= {"affine", "unit_scaling"}
    return frozenset(found)


def _guard(n: int, ranks: tuple[int, int], guarded: bool) -> tuple[str, ...]:
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


def _all_pairs(
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


def _prepare(values: Array) -> ShapeState:
    factor = narrow_factor(values)
    norm = float(np.linalg.norm(factor))
    require_variance(norm, "procrustes")
    return ShapeState(factor, norm)


def _restrict(state: ShapeState, rows: Index) -> ShapeState:
    return _prepare(state.factor[rows])


def _stretched(s: Float64, alpha: float) -> Float64:
    """Weights d / |d| of the left singular vectors, for singular values s (rank,) brought to mean square 1."""
    d = alpha * s * (np.sqrt(len(s)) / np.linalg.norm(s)) + (1 - alpha)
    weights: Float64 = d / np.linalg.norm(d)
    return weights


def _whitened(factor: Float64, alpha: float, noise: Noise) -> ShapeState:
    u, s, _ = noise.cut(*thin_factor(factor, 0.0))
    weights = _stretched(s, alpha)
    return ShapeState(u * weights, 1.0, s / weights, noise)


def _netrep(values: Array, alpha: float) -> ShapeState:
    """Whiten as netrep does: d = alpha + (1 - alpha) / sqrt(lambda), floored and rescaled to keep the variance."""
    if alpha > 1 - NETREP_FLOOR:
        return _prepare(values)
    u, s, _ = scipy.linalg.svd(centre64(values), full_matrices=False, check_finite=False)
    require_variance(float(s[0]), "shape_distance")
    squares = np.concatenate([s**2, np.zeros(values.shape[1] - len(s))])
    floored = np.maximum(squares, NETREP_FLOOR)
    d = alpha + (1 - alpha) / np.sqrt(floored)
    d *= np.sqrt(floored.sum() / (d**2 * floored).sum())
    factor = u * (s * d[: len(s)])
    return ShapeState(factor, float(np.linalg.norm(factor)))


def _held_out(train: Float64, test: Float64, alpha: float, noise: Noise) -> HeldOutShape:
    u, s, vt = noise.cut(*thin_factor(train, 0.0))
    weights = _stretched(s, alpha)
    return HeldOutShape(u * weights, (test @ vt.T) * (weights / s))


def _fold_score(x: HeldOutShape, y: HeldOutShape, score: str) -> float:
    """Score of the test rows under the best rotation of the training rows."""
    if x.train.shape[1] > y.train.shape[1]:
        return _fold_score(y, x, score)
    norms = float(np.linalg.norm(x.test)), float(np.linalg.norm(y.test))
    require_variance(min(norms), "shape_distance on the test stimuli")
    u, _, vt = scipy.linalg.svd(x.train.T @ y.train, full_matrices=False, check_finite=False)
    turned, aim = x.test @ (u @ vt) / norms[0], y.test / norms[1]
    cosine = bounded_cosine(float((turned * aim).sum()), "shape_distance")
    if score == "similarity":
        return cosine
    theta = angle(cosine, lambda: float(np.linalg.norm(turned - aim)))
    return theta if score == "angular" else 2 * float(np.sin(theta / 2))


def _overlap(x: ShapeState, y: ShapeState) -> npt.NDArray[np.float64]:
    same_rows(x.factor, y.factor, "procrustes")
    product: Float64 = x.factor.T @ y.factor
    product /= x.norm * y.norm
    return product


def _similarity(x: ShapeState, y: ShapeState) -> float:
    return bounded_cosine(overlap_norm(_overlap(x, y)), "procrustes")


def _angular(x: ShapeState, y: ShapeState) -> float:
    return angle(_similarity(x, y), lambda: _residual(x.factor / x.norm, y.factor / y.norm))


def _chord(x: ShapeState, y: ShapeState) -> float:
    return 2 * float(np.sin(_angular(x, y) / 2))


def _bures(x: ShapeState, y: ShapeState) -> float:
    total = x.norm**2 + y.norm**2
    squared = total - 2 * x.norm * y.norm * overlap_norm(_overlap(x, y))
    if squared < 1e-6 * total:  # the difference has lost its digits
        return _residual(x.factor, y.factor)
    return float(np.sqrt(squared))


def _residual(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """|X - Y Q| for the best rotation Q; the narrower side is padded with silent units."""
    width = max(x.shape[1], y.shape[1])
    x = np.pad(x, ((0, 0), (0, width - x.shape[1])))
    y = np.pad(y, ((0, 0), (0, width - y.shape[1])))
    u, _, vt = scipy.linalg.svd(y.T @ x, check_finite=False)
    return float(np.linalg.norm(x - y @ (u @ vt)))
