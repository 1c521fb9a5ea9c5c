"""Canonical correlation analysis, scored on stimuli that the canonical directions have not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, centre64, fold_parts, input_eps, thin_factor
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures._subspace import (
    Basis,
    canonical_sum,
    corrected,
    crowded,
    orthonormal,
    overlap,
    products,
    require_room,
    require_same_stimuli,
    whiten,
)

SUMMARIES = ("mean", "mean_squared", "yanai")
Summary = Literal["mean", "mean_squared", "yanai"]
Degenerate = Literal["raise", "allow"]
LINEAR = frozenset({"rotation", "scaling", "translation", "permutation", "duplication"})
AFFINE = LINEAR | {"affine", "unit_scaling"}


@dataclass(frozen=True)
class Whitened:
    """One fold of one source: a basis of the training rows, and the test rows (n_test, n_columns) in its coordinates."""

    train: Basis
    test: Float64


State = tuple[Whitened, ...]


def cca(
    *,
    summary: Summary = "mean",
    regularization: float = 0.0,
    held_out: bool = True,
    degenerate: Degenerate = "raise",
    chance_corrected: bool = False,
    rtol: float | None = None,
) -> Measure:
    """Canonical correlations rho_i between two systems, summarised.

    Parameters
    ----------
    summary : {"mean", "mean_squared", "yanai"}
        With k = min(rank_x, rank_y): sum rho / k; sum rho^2 / k; sum rho^2 / sqrt(rank_x rank_y), which is CKA of
        whitened data.  Held out, rho |rho| takes the place of rho^2, so that chance stays 0.
    regularization : float
        c in [0, 1]: whitening by ((1 - c) lambda_i + c mean lambda)^(-1/2); 0 is CCA, 1 gives PLS directions.  Reported
        are the correlations of the resulting variates.
    held_out : bool
        Whiten and rotate on training stimuli, correlate test stimuli variate by variate, average over folds.  In sample,
        unrelated data reach a mean rho^2 of max(rank)/(n - 1).
    degenerate : {"raise", "allow"}
        What to do when rank_x + rank_y >= n - 1, where some correlations are exactly 1 whatever the data.
    chance_corrected : bool
        In sample, for ``mean_squared`` and ``yanai``: (v - null) / (1 - null) with the exact permutation mean,
        max(rank_x, rank_y) / (n - 1) and sqrt(rank_x rank_y) / (n - 1).
    rtol : float, optional
        Relative cut-off of singular values; by default ``max(n, p)`` times the precision of the input.

    Returns
    -------
    Measure
        Similarity in [-1, 1] held out, [0, 1] in sample (at most 1 when chance-corrected); symmetric; invariant to
        invertible affine maps (with ``regularization`` to rotation, scaling and translation).  ``compare`` gives details
        ``ranks`` (n_folds, 2) and, where it is known, ``null_mean``: the exact mean over permuted stimuli.

    Raises
    ------
    OptionError
        When ``regularization`` is outside [0, 1], or for options that do not go together.

    References
    ----------
    Hotelling 1936; Yanai 1974; Raghu et al. 2017; Helmer et al. 2024 (stability).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(40, 3))
    >>> measure = cca(held_out=False)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ rng.normal(size=(3, 3)))).score, 6)
    1.0
    """
    choose(summary, SUMMARIES, "summary")
    choose(degenerate, ("raise", "allow"), "degenerate")
    if not 0 <= regularization <= 1:
        raise OptionError(f"regularization={regularization!r}; expected a number in [0, 1]")
    if chance_corrected and (held_out or regularization or summary == "mean"):
        raise OptionError(
            "chance_corrected=True needs an exact chance level: held_out=False, regularization=0 and "
            "summary='mean_squared' or 'yanai'"
        )
    options: dict[str, Any] = {"summary": summary, "held_out": held_out}
    if regularization:
        options["regularization"] = regularization
    options |= {"degenerate": "allow"} if degenerate == "allow" else {}
    options |= {"chance_corrected": True} if chance_corrected else {}
    options |= {"rtol": rtol} if rtol is not None else {}
    guarded = degenerate == "raise" and regularization == 0
    form: dict[str, Any]
    if held_out or regularization:
        form = _by_variates(summary, _whitener(regularization, rtol), held_out, guarded, noted=not regularization)
    else:
        form = _in_sample(summary, guarded, chance_corrected, rtol)
    lowest = -np.inf if chance_corrected else -1.0 if held_out or regularization else 0.0
    return Measure(
        name="cca",
        options=options,
        kind="similarity",
        score_range=(lowest, 1.0),
        identical=1.0,
        invariant_to=LINEAR if regularization else AFFINE,
        fitted=held_out,
        reference="hotelling1936",
        **form,
    )


SUMMARY: dict[str, Callable[[Float64, int, int], float]] = {
    "mean": lambda rho, rx, ry: float(rho.mean()),
    "mean_squared": lambda rho, rx, ry: float((rho * np.abs(rho)).mean()),
    "yanai": lambda rho, rx, ry: float((rho * np.abs(rho)).sum() / np.sqrt(rx * ry)),
}
# what the sum of rho (or of rho^2) is divided by
DENOMINATORS: dict[str, Callable[[int, int], float]] = {
    "min": lambda rx, ry: float(min(rx, ry)),
    "geometric": lambda rx, ry: float(np.sqrt(rx * ry)),
    "max": lambda rx, ry: float(max(rx, ry)),
}
Whitener = Callable[[Float64, Float64, float], Whitened]


def _whitener(regularization: float, rtol: float | None) -> Whitener:
    """Give ``(train, test, eps) -> Whitened``."""

    def plain(train: Float64, test: Float64, eps: float) -> Whitened:
        return Whitened(*whiten(train, test, eps, rtol))

    def shrunk(train: Float64, test: Float64, eps: float) -> Whitened:
        u, s, vt = thin_factor(train, eps, rtol)
        variances = s**2 / (len(train) - 1)
        weights = ((1 - regularization) * variances + regularization * variances.mean()) ** -0.5
        scale = weights / np.sqrt(len(train) - 1)
        return Whitened(Basis(u * (s * scale), None, eps), (test @ vt.T) * scale)

    return shrunk if regularization else plain


def _by_variates(summary: str, whitener: Whitener, held_out: bool, guarded: bool, noted: bool) -> dict[str, Any]:
    """Pieces of the measure that correlates variates: held out, or in sample with regularisation."""

    def prepare_held_out(values: Array, folds: Folds) -> State:
        eps = input_eps(values)
        return tuple(whitener(train, test, eps) for train, test in fold_parts(values, folds))

    def prepare_in_sample(values: Array) -> State:
        centred = centre64(values)
        return (whitener(centred, centred, input_eps(values)),)

    def compare(x: State, y: State) -> Outcome:
        rhos = [_variate_correlations(a, b, guarded) for a, b in zip(x, y, strict=True)]
        ranks = [(a.train.rank, b.train.rank) for a, b in zip(x, y, strict=True)]
        scores = np.array([SUMMARY[summary](rho, *r) for rho, r in zip(rhos, ranks, strict=True)])
        return Outcome(
            score=float(scores.mean()),
            fold_scores=scores if held_out else None,
            details={"ranks": np.array(ranks)},
            notes=crowded("cca", x[0].train.n, max(map(max, ranks))) if noted else (),
        )

    return {"prepare": prepare_held_out if held_out else prepare_in_sample, "compare": compare}


def _variate_correlations(x: Whitened, y: Whitened, guarded: bool) -> Float64:
    """Correlations (k,) over the test rows between matched canonical variates of the training rows."""
    require_same_stimuli("cca", x.train.n, y.train.n)
    if guarded:
        require_room("cca", (x.train.rank, y.train.rank), x.train.n)
    a, _, bt = scipy.linalg.svd(overlap(x.train, y.train), full_matrices=False, check_finite=False)
    return _correlate(x.test @ x.train.directions(a), y.test @ y.train.directions(bt.T))


def _correlate(x: Float64, y: Float64) -> Float64:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
    if not (scale > 0).all():
        raise MeasureError("cca: a canonical variate does not vary over the test stimuli; use fewer folds")
    rho: Float64 = np.clip((x * y).sum(axis=0) / scale, -1.0, 1.0)
    return rho


def _in_sample(summary: str, guarded: bool, chance_corrected: bool, rtol: float | None) -> dict[str, Any]:
    """Pieces of the measure on all stimuli: singular values, or only their sum of squares, of the overlap of bases."""

    def prepare(values: Array) -> Basis:
        return orthonormal(centre64(values), input_eps(values), rtol)

    def restrict(state: Basis, rows: Index) -> Basis:
        return orthonormal(centre64(state.values[rows]), state.eps, rtol if state.transform is not None else None)

    denominator = "geometric" if summary == "yanai" else "min"
    return {
        "prepare": prepare,
        "restrict": restrict,
        **overlap_forms("cca", summary != "mean", denominator, guarded, chance_corrected),
    }


def overlap_forms(
    name: str, squared: bool, denominator: str, guarded: bool, chance_corrected: bool = False
) -> dict[str, Any]:
    """``compare``, ``compare_many`` and ``annotate`` of sum rho (or sum rho^2) over a denominator, from two bases.

    Parameters
    ----------
    name : str
        Of the measure, for messages.
    squared : bool
        Sum of rho^2: no singular value is needed, and chance is known: rank_x rank_y / (n - 1) before division.
    denominator : {"min", "geometric", "max"}
        Of the two ranks.
    guarded : bool
        Raise where the ranks fill the stimuli.
    chance_corrected : bool
        Return (v - null) / (1 - null).
    """

    def check(x: Basis, y: Basis) -> None:
        require_same_stimuli(name, x.n, y.n)
        if guarded:
            require_room(name, (x.rank, y.rank), x.n)

    def finish(total: float, x: Basis, y: Basis) -> tuple[float, float]:
        below = DENOMINATORS[denominator](x.rank, y.rank)
        value, null = min(1.0, total / below), x.rank * y.rank / (x.n - 1) / below
        return (corrected(value, null, name), 0.0) if chance_corrected else (value, null)

    def compare(x: Basis, y: Basis) -> Outcome:
        check(x, y)
        cross = overlap(x, y)
        value, _ = finish(float(np.square(cross).sum()) if squared else canonical_sum(cross), x, y)
        return replace(annotate(x, y), score=value)

    def annotate(x: Basis, y: Basis) -> Outcome:
        null = finish(0.0, x, y)[1]
        return Outcome(
            score=np.nan,
            details={"ranks": np.array([[x.rank, y.rank]])} | ({"null_mean": null} if squared else {}),
            notes=crowded(name, x.n, max(x.rank, y.rank)),
        )

    def compare_many(xs: Sequence[Basis], ys: Sequence[Basis]) -> Float64:
        for x in xs:
            for y in ys:
                check(x, y)
        same = len(xs) == len(ys) and all(a is b for a, b in zip(xs, ys, strict=True))
        left = [x.columns() for x in xs]
        right = left if same else [y.columns() for y in ys]
        totals = products(left, None if same else right) if squared else canonical_sums(left, right, same)
        return np.array([[finish(float(totals[i, j]), x, y)[0] for j, y in enumerate(ys)] for i, x in enumerate(xs)])

    return {"compare": compare, "compare_many": compare_many, "annotate": annotate}


def canonical_sums(left: Sequence[Float64], right: Sequence[Float64], same: bool) -> Float64:
    """Sums of canonical correlations of all pairs of orthonormal bases: a product and singular values each."""
    out = np.empty((len(left), len(right)))
    for i, a in enumerate(left):
        for j in range(i if same else 0, len(right)):
            out[i, j] = a.shape[1] if right[j] is a else canonical_sum(a.T @ right[j])
            if same:
                out[j, i] = out[i, j]
    return out
