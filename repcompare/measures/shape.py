"""Shape metrics: how far apart two systems are after the best rotation, or the best matching of units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from repcompare.errors import OptionError, choose
from repcompare.measures._coupling import Form
from repcompare.measures._linalg import Float64, fold_parts
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures._nuclear import Noise, narrow_factor, same_rows
from repcompare.measures._rotations import (
    HeldOutShape,
    ShapeState,
    all_pairs,
    angular,
    bures,
    chord,
    fold_score,
    guard,
    held_out_shape,
    netrep_shape,
    prepare_shape,
    restrict_shape,
    similarity,
    truncated_outcome,
    truncation,
    whitened,
)
from repcompare.measures._truncate import check_tol

SCORES = ("angular", "euclidean", "similarity")
GROUPS = ("rotation", "permutation", "soft")


def procrustes(
    score: Literal["angular", "euclidean", "similarity"] = "angular",
    *,
    scale: bool = True,
    tol: float | None = None,
) -> Measure:
    """Orthogonal Procrustes: the distance that is left after the best rotation.

    Parameters
    ----------
    score : {"angular", "euclidean", "similarity"}
        ``similarity``: NBS = |Xc'Yc|_* / (|Xc| |Yc|), the normalised Bures similarity, in [0, 1].  ``angular``:
        arccos NBS in rad, in [0, pi/2].  ``euclidean``: sqrt(2 - 2 NBS) in [0, sqrt 2] with ``scale=True``, or with
        ``scale=False`` sqrt(|Xc|^2 + |Yc|^2 - 2 |Xc'Yc|_*) in response units.
    scale : bool
        Divide by the Frobenius norm after centring.
    tol : float, optional
        Keep the fewest principal components of each system that leave NBS certain within ``tol``, in (0, 1): pairs of
        systems with steep spectra then cost a fraction.  All components by default.

    Returns
    -------
    Measure
        Symmetric; the distances are metrics.  Invariant to rotation and translation, with ``scale`` also to scaling.
        With ``tol`` the score is that of the truncated systems; ``details["similarity_bound"]`` is the largest error of
        NBS that this can make, (|X_rest| |Y| + |X_k| |Y_rest|) / (|X| |Y|), and a note tells it.

    Raises
    ------
    OptionError
        ``scale=False`` with a score other than ``"euclidean"``, or ``tol`` outside (0, 1).

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
    check_tol(tol)
    pair = {"similarity": similarity, "angular": angular}.get(score, chord if scale else bures)
    highest = {"similarity": 1.0, "angular": np.pi / 2, "euclidean": np.sqrt(2.0) if scale else np.inf}[score]
    always = {"rotation", "translation", "permutation"}
    return Measure(
        name="procrustes",
        options={"score": score} | ({} if scale else {"scale": False}) | ({"tol": tol} if tol else {}),
        prepare=partial(prepare_shape, tol=tol),
        compare=partial(truncated_outcome, pair=pair) if tol else pair,
        compare_many=all_pairs(pair, float(score == "similarity")),
        annotate=truncation if tol else None,
        restrict=partial(restrict_shape, tol=tol),
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
    guarded = alpha == 0 and degenerate == "raise"
    return Rotated(float(alpha), score, held_out, convention == "netrep", guarded).measure(options)


@dataclass(frozen=True)
class Rotated:
    """Shape distance over rotations.

    Attributes
    ----------
    alpha : float
    score : str
    held_out, netrep : bool
        Its held-out form, or the convention of netrep.
    guarded : bool
        Raise where column spaces fill the stimuli.
    """

    alpha: float
    score: str
    held_out: bool
    netrep: bool
    guarded: bool

    @property
    def raw(self) -> bool:
        """Whether scores are in response units."""
        return self.netrep and self.score == "euclidean"

    def pair(self, x: ShapeState, y: ShapeState) -> float:
        """Score of two states."""
        same_rows(x.factor, y.factor, "shape_distance")
        return {"similarity": similarity, "angular": angular}.get(self.score, bures if self.raw else chord)(x, y)

    def prepare(self, values: Array) -> ShapeState:
        """Partly whitened factor of the responses (n_stimuli, n_units)."""
        if self.netrep:
            return netrep_shape(values, self.alpha)
        if self.alpha == 1:
            return prepare_shape(values)
        return whitened(narrow_factor(values), self.alpha, Noise.of(values))

    def restrict(self, state: ShapeState, rows: Index) -> ShapeState:
        """State of some stimuli."""
        if state.stretch is None or state.noise is None:
            return restrict_shape(state, rows)
        return whitened(narrow_factor((state.factor * state.stretch)[rows]), self.alpha, state.noise)

    def annotate(self, x: ShapeState, y: ShapeState) -> Outcome:
        """What stands beside a score; raises where column spaces fill the stimuli."""
        same_rows(x.factor, y.factor, "shape_distance")
        if self.alpha == 1 or self.netrep:
            return Outcome(score=np.nan)
        ranks = x.factor.shape[1], y.factor.shape[1]
        return Outcome(score=np.nan, notes=guard(len(x.factor), ranks, self.guarded))

    def compare(self, x: ShapeState, y: ShapeState) -> Outcome:
        """Score and what stands beside it."""
        return replace(self.annotate(x, y), score=self.pair(x, y))

    def compare_many(self, xs: Sequence[ShapeState], ys: Sequence[ShapeState]) -> Float64:
        """Scores of all pairs, each computed once."""
        for x in xs:
            for y in ys:
                self.annotate(x, y)  # raises, even for a system and itself
        return all_pairs(self.pair, float(self.score == "similarity"))(xs, ys)

    def prepare_held_out(self, values: Array, folds: Folds) -> tuple[HeldOutShape, ...]:
        """Training and test rows of each fold."""
        noise = Noise.of(values)
        return tuple(held_out_shape(train, test, self.alpha, noise) for train, test in fold_parts(values, folds))

    def compare_held_out(self, x: tuple[HeldOutShape, ...], y: tuple[HeldOutShape, ...]) -> Outcome:
        """Mean over folds."""
        notes: tuple[str, ...] = ()
        scores = []
        for a, b in zip(x, y, strict=True):
            same_rows(a.train, b.train, "shape_distance")
            if self.alpha < 1:
                notes = guard(len(a.train), (a.train.shape[1], b.train.shape[1]), self.guarded)
            scores.append(fold_score(a, b, self.score))
        return Outcome(score=float(np.mean(scores)), fold_scores=np.array(scores), notes=notes)

    def measure(self, options: dict[str, Any]) -> Measure:
        """Assemble the measure."""
        similar, held_out = self.score == "similarity", self.held_out
        return Measure(
            name="shape_distance",
            options=options,
            prepare=self.prepare_held_out if held_out else self.prepare,
            compare=self.compare_held_out if held_out else self.compare,
            compare_many=None if held_out else self.compare_many,
            annotate=None if held_out else self.annotate,
            restrict=None if held_out or self.netrep else self.restrict,
            kind="similarity" if similar else "distance",
            is_metric=not similar and not held_out,
            score_range=_range(self.score, held_out, self.raw),
            identical=float(similar),
            invariant_to=_invariances(self.alpha, self.netrep, self.raw),
            fitted=held_out,
            unit={"angular": "rad", "similarity": "1"}.get(self.score, "response" if self.raw else "1"),
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
