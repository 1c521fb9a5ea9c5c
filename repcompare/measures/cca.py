"""Canonical correlation analysis, scored on stimuli that the canonical directions have not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, centre64, fold_parts, input_eps, thin_factor
from repcompare.measures._measure import Array, Folds, Measure, Outcome

SUMMARIES = ("mean", "mean_squared", "yanai")
CROWDED = 0.1  # share of rank in stimuli above which canonical correlations are unstable (Helmer et al. 2024)


@dataclass(frozen=True)
class Whitened:
    """One fold of one source: whitened training rows (n_train, rank) and test rows (n_test, rank)."""

    train: Float64
    test: Float64


State = tuple[Whitened, ...]


def cca(
    *,
    summary: Literal["mean", "mean_squared", "yanai"] = "mean",
    regularization: float = 0.0,
    held_out: bool = True,
    degenerate: Literal["raise", "allow"] = "raise",
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
    rtol : float, optional
        Relative cut-off of singular values; by default ``max(n, p)`` times the precision of the input.

    Returns
    -------
    Measure
        Similarity in [-1, 1] held out, [0, 1] in sample; symmetric; invariant to invertible affine maps (with
        ``regularization`` to rotation, scaling and translation).

    Raises
    ------
    OptionError
        When ``regularization`` is outside [0, 1].

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
    guarded = degenerate == "raise" and regularization == 0

    def prepare_held_out(values: Array, folds: Folds) -> State:
        eps = input_eps(values)
        return tuple(_whiten(train, test, eps, regularization, rtol) for train, test in fold_parts(values, folds))

    def prepare_in_sample(values: Array) -> State:
        centred = centre64(values)
        return (_whiten(centred, centred, input_eps(values), regularization, rtol),)

    def compare(x: State, y: State) -> Outcome:
        pairs = [_variate_correlations(a, b, guarded) for a, b in zip(x, y, strict=True)]
        ranks = [(a.train.shape[1], b.train.shape[1]) for a, b in zip(x, y, strict=True)]
        reduce = SUMMARY[summary]
        scores = np.array([reduce(rho, *r) for rho, r in zip(pairs, ranks, strict=True)])
        return Outcome(
            score=float(scores.mean()),
            fold_scores=scores if held_out else None,
            details={"ranks": np.array(ranks)},
            notes=_crowded(len(x[0].train), max(map(max, ranks)), regularization),
        )

    options: dict[str, Any] = {"summary": summary, "held_out": held_out}
    if regularization:
        options["regularization"] = regularization
    linear = frozenset({"rotation", "scaling", "translation", "permutation", "duplication"})
    return Measure(
        name="cca",
        options=options | ({"degenerate": "allow"} if degenerate == "allow" else {}),
        prepare=prepare_held_out if held_out else prepare_in_sample,
        compare=compare,
        kind="similarity",
        score_range=(-1.0 if held_out else 0.0, 1.0),
        identical=1.0,
        invariant_to=linear if regularization else linear | {"affine", "unit_scaling"},
        fitted=held_out,
        reference="hotelling1936",
    )


SUMMARY: dict[str, Callable[[Float64, int, int], float]] = {
    "mean": lambda rho, rx, ry: float(rho.mean()),
    "mean_squared": lambda rho, rx, ry: float((rho * np.abs(rho)).mean()),
    "yanai": lambda rho, rx, ry: float((rho * np.abs(rho)).sum() / np.sqrt(rx * ry)),
}


def _whiten(train: Float64, test: Float64, eps: float, regularization: float, rtol: float | None) -> Whitened:
    u, s, vt = thin_factor(train, eps, rtol)
    variances = s**2 / (len(train) - 1)
    weights = ((1 - regularization) * variances + regularization * variances.mean()) ** -0.5
    scale = weights / np.sqrt(len(train) - 1)
    # scaled so that without regularisation the training rows are orthonormal; correlations do not care
    whitened = u * (s * scale)
    return Whitened(whitened, whitened if test is train else (test @ vt.T) * scale)


def _variate_correlations(x: Whitened, y: Whitened, guarded: bool) -> npt.NDArray[np.float64]:
    """Correlations (k,) over the test rows between matched canonical variates of the training rows."""
    if len(x.train) != len(y.train):
        raise MeasureError(f"cca: {len(x.train)} stimuli against {len(y.train)}; expected the same stimuli and folds")
    n, rx, ry = len(x.train), x.train.shape[1], y.train.shape[1]
    if guarded and rx + ry >= n - 1:
        raise MeasureError(
            f"cca: ranks {rx} + {ry} reach the number of fitted stimuli less one ({n} - 1): "
            f"{max(0, rx + ry - (n - 1))} correlations would be exactly 1 for unrelated data; use more stimuli, "
            "regularization > 0, or another measure (cka); degenerate='allow' returns the number anyway"
        )
    a, _, bt = scipy.linalg.svd(x.train.T @ y.train, full_matrices=False, check_finite=False)
    return _correlate(x.test @ a, y.test @ bt.T)


def _correlate(x: Float64, y: Float64) -> Float64:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
    if not (scale > 0).all():
        raise MeasureError("cca: a canonical variate does not vary over the test stimuli; use fewer folds")
    rho: Float64 = np.clip((x * y).sum(axis=0) / scale, -1.0, 1.0)
    return rho


def _crowded(n: int, rank: int, regularization: float) -> tuple[str, ...]:
    if regularization or rank / (n - 1) <= CROWDED:
        return ()
    return (
        f"cca_crowded: rank {rank} for {n} fitted stimuli; canonical directions are unstable above {CROWDED:.0%} "
        "(Helmer et al. 2024): reduce the units or regularise",
    )
