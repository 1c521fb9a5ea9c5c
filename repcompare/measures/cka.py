"""Centred kernel alignment: how alike two systems' stimulus-by-stimulus kernels are.

One idea serves all estimators: a source becomes one vector over pairs of stimuli (its centred kernel, normalised), and
the score of a pair of sources is a dot product of two such vectors.  Narrow sources (few units, many stimuli) keep their
centred responses in place of the kernel, and the same dot product is taken in feature space.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import (
    centre,
    centre64,
    gram,
    input_eps,
    require_variance,
)
from repcompare.measures._measure import Array, Index, Measure
from repcompare.measures._pairs import (
    U_CENTRED,
    KernelState,
    angle_between,
    angles,
    centred_pairs,
    chance,
    feature_product,
    from_kernel,
    raw,
    require_spread,
    restrict_pairs,
    score,
    scores,
)
from repcompare.measures.dependence import squared_distances

Estimator = Literal["debiased", "biased", "stimulus_and_unit", "repeats", "rv2"]
ESTIMATORS: dict[str, str] = {
    "debiased": "unbiased over stimuli (U-centred); default",
    "biased": "double-centred, the original form; tends to 1 when units outnumber stimuli",
    "stimulus_and_unit": "unbiased over stimuli and units",
    "repeats": "noise of single trials removed through repeats",
    "rv2": "double-centred without the diagonal",
}
KERNELS = ("linear", "rbf", "laplace")


def cka(
    kernel: Literal["linear", "rbf", "laplace"] = "linear",
    *,
    bandwidth: Literal["median"] | float = "median",
    bandwidth_scale: Literal["median", "absolute"] = "median",
    estimator: Estimator = "debiased",
    angular: bool = False,
) -> Measure:
    """Centred kernel alignment.

    Parameters
    ----------
    kernel : {"linear", "rbf", "laplace"}
        Inner products; or of Euclidean distances d ``exp(-d^2 / (2 sigma^2))`` (rbf), ``exp(-d / (sqrt(2) sigma))``
        (laplace).
    bandwidth : "median" or float
        Sigma of the rbf and laplace kernels: the median distance, or this multiple of it (``bandwidth_scale="median"``),
        or this very number in response units (``"absolute"``).
    bandwidth_scale : {"median", "absolute"}
        See ``bandwidth``.
    estimator : {"debiased", "biased", "stimulus_and_unit", "repeats", "rv2"}
        ``debiased``: <U(K), U(L)> / (|U(K)| |U(L)|) with U-centred kernels, in [-1, 1], mean 0 for unrelated data.
        ``biased``: the same with double-centred kernels, in [0, 1]; tends to 1 for unrelated data when units
        outnumber stimuli.  ``rv2``: double-centred without the diagonal.  ``stimulus_and_unit``: units are a sample
        too (linear kernel; may exceed 1).  ``repeats``: needs single repeats; removes their noise (may exceed 1).
    angular : bool
        Return the angle arccos(score) in rad; a metric for ``biased``.

    Returns
    -------
    Measure
        Similarity, symmetric, 1 for identical systems.  Invariant to rotation, scaling and translation of either side
        (``bandwidth_scale="absolute"``: not to scaling; ``stimulus_and_unit``: not to rotation).

    Raises
    ------
    OptionError
        For options that do not go together.

    Notes
    -----
    Linear biased CKA is the RV coefficient, and the same number as RSA with squared Euclidean distances compared by
    ``whitened_cosine``: one finding, not two.  As sigma grows, rbf tends to linear CKA, and laplace to the cosine of the
    centred distance matrices: debiased to debiased distance correlation.

    References
    ----------
    Robert & Escoufier 1976 (RV); Kornblith et al. 2019 (linear, rbf); Cloos et al. 2024 (laplace); Song et al. 2012
    (unbiased HSIC); Szekely & Rizzo 2014 (U-centring); Smilde et al. 2009 (RV2); Chun et al. 2025 (stimuli and units).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> measure = cka()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(3 * x + 1)), 6)
    1.0
    """
    choose(kernel, KERNELS, "kernel")
    choose(estimator, ESTIMATORS, "estimator")
    choose(bandwidth_scale, ("median", "absolute"), "bandwidth_scale")
    _check_options(kernel, bandwidth, bandwidth_scale, estimator, angular)
    absolute = kernel != "linear" and bandwidth_scale == "absolute" and bandwidth != "median"
    lowest = {"biased": 0.0, "debiased": -1.0, "rv2": -1.0}.get(estimator, -np.inf)
    invariances = {"translation", "permutation"}
    if estimator != "stimulus_and_unit":  # which singles out the units it was given
        invariances |= {"rotation"} | (set() if absolute else {"duplication"})
    if not absolute:
        invariances |= {"scaling"}

    def prepare(values: Array) -> KernelState:
        if estimator == "repeats":
            return _prepare_repeats(values)
        if kernel != "linear":
            return from_kernel(_of_distances(values, kernel, bandwidth, absolute), estimator, eps=input_eps(values))[0]
        return _prepare_linear(values, estimator)

    options: dict[str, Any] = {"estimator": estimator}
    if kernel != "linear":
        options |= {"kernel": kernel, "bandwidth": bandwidth, "bandwidth_scale": bandwidth_scale}
    undeclared = estimator in ("stimulus_and_unit", "repeats")
    return Measure(
        name="cka",
        options=options | ({"angular": True} if angular else {}),
        prepare=prepare,
        compare=angle_between if angular else score,
        compare_many=angles if angular else scores,
        annotate=None if angular else chance,
        restrict=_restrict if _restrictable(estimator, kernel, absolute) else None,
        needs="repeats" if estimator == "repeats" else "mean",
        kind="distance" if angular else "similarity",
        is_metric=angular and estimator == "biased",
        score_range=(0.0, float(np.arccos(lowest))) if angular else (lowest, np.inf if undeclared else 1.0),
        identical=np.nan if undeclared else float(not angular),
        invariant_to=frozenset(invariances),
        ceiling="halves" if estimator == "debiased" and not angular else None,
        shared=_shared,
        min_stimuli=4 if estimator in U_CENTRED else 3,
        unit="rad" if angular else "1",
        reference="kornblith2019",
        state_bytes=_state_bytes,
    )


def _state_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    return itemsize * (n * n // 2 if 2 * p >= n else n * p)


def _check_options(kernel: str, bandwidth: object, scale: str, estimator: str, angular: bool) -> None:
    if kernel != "linear" and estimator in ("stimulus_and_unit", "repeats"):
        raise OptionError(f"estimator={estimator!r} is defined for kernel='linear' only")
    if angular and estimator in ("stimulus_and_unit", "repeats"):
        raise OptionError(f"angular=True needs a score within [-1, 1]; estimator={estimator!r} may leave it")
    number = isinstance(bandwidth, (int, float)) and not isinstance(bandwidth, bool)
    if bandwidth != "median" and not (number and bandwidth > 0):  # type: ignore[operator]
        raise OptionError(f"bandwidth={bandwidth!r}; expected 'median' or a positive number")
    if scale == "absolute" and kernel != "linear" and bandwidth == "median":
        raise OptionError("bandwidth_scale='absolute' needs a number; give bandwidth=")


def _restrictable(estimator: str, kernel: str, absolute: bool) -> bool:
    # rv2 has lost its diagonal, the others lack their unit or repeat terms, a median changes with the stimuli
    return estimator in ("debiased", "biased") and (kernel == "linear" or absolute)


def _prepare_linear(values: Array, estimator: str) -> KernelState:
    n, p = values.shape
    wide = 2 * p >= n
    if wide:
        state, own = from_kernel(gram(values), estimator, eps=input_eps(values))
    else:
        state, own = _from_factor(centre(values), estimator)
    return _scaled(state, _unit_correction(values, own)) if estimator == "stimulus_and_unit" else state


def _from_factor(factor: Array, estimator: str) -> tuple[KernelState, float]:
    """Keep centred responses (n, p), scaled so that their own term is 1; return the own term before that too."""
    n = factor.shape[0]
    require_variance(float(np.abs(factor).max()), "cka")
    own = feature_product(factor, factor, n, estimator)
    if own <= 0:
        raise MeasureError(f"cka: self-term {own:.3g} is not positive; expected more stimuli or less noise")
    return KernelState(estimator, n, float(np.sqrt(own)), factor=factor * factor.dtype.type(own**-0.25)), own


def _unit_correction(values: Array, own: float) -> float:
    """Factor that turns a debiased state into one unbiased over units too (Chun et al. 2025).

    own = h(X, X) / 2; e(X) sums the self-terms of single units; the state becomes U(K)/p / sqrt((h - e)/(p (p - 1))).
    """
    n, p = values.shape
    if p < 2:
        raise MeasureError("cka: estimator='stimulus_and_unit' needs at least 2 units")
    squares = np.square(centre64(values))
    s2, s4 = squares.sum(axis=0), np.square(squares).sum(axis=0)
    single = float((s2**2 - s4 + s2**2 / ((n - 1) * (n - 2)) - 2 * s4 / (n - 2)).sum())
    left = (2 * own - single) / (p * (p - 1))
    if left <= 0:
        raise MeasureError(
            f"cka: the self-term without single units is {left:.3g} (n = {n}, p = {p}): no shared signal between units; "
            "expected more stimuli or units; average numerators and denominators over data sets"
        )
    return float(np.sqrt(2 * own / left) / p)


def _scaled(state: KernelState, factor: float) -> KernelState:
    if state.factor is not None:
        return replace(state, factor=state.factor * state.factor.dtype.type(np.sqrt(factor)))
    assert state.pairs is not None
    return replace(state, pairs=state.pairs * state.pairs.dtype.type(factor))


def _prepare_repeats(values: Array) -> KernelState:
    """State of single repeats (n_repeats, n_stimuli, n_units): U(K of the mean) / sqrt(sigma).

    sigma = [|sum_r U(K_r)|^2 - sum_r |U(K_r)|^2] / (R (R - 1)) has no noise of single trials in it.
    """
    repeats, n, _ = values.shape
    if repeats < 2:
        raise MeasureError(f"cka: estimator='repeats' needs at least 2 repeats; found {repeats}")
    total, alone = np.zeros((n, n)), 0.0
    for single in values:
        lower = gram(single)
        alone += centred_pairs(lower, "debiased")[2]
        total += lower
    together = centred_pairs(total, "debiased")[2]
    require_spread(float(np.sqrt(together)), float(np.linalg.norm(total)), input_eps(values), "cka")
    sigma = (together - alone) / (repeats * (repeats - 1))
    if sigma <= 0:
        raise MeasureError(
            f"cka: the signal that repeats share is {sigma:.3g}: not above noise; expected more repeats or stimuli"
        )
    pairs, _, _ = centred_pairs(gram(values.mean(axis=0, dtype=np.float64)), "debiased")
    return KernelState("repeats", n, float(np.sqrt(sigma)), pairs=pairs / np.sqrt(sigma))


def _of_distances(values: Array, kernel: str, bandwidth: float | str, absolute: bool) -> npt.NDArray[np.float64]:
    """Lower triangle of an rbf or laplace kernel minus 1, which centring cannot tell from the kernel itself."""
    # the root of a squared distance shows rounding that its square hides: laplace works in float64 throughout
    squared = _squared_distances(values) if kernel == "rbf" else squared_distances(values)
    if absolute:
        sigma = float(bandwidth)
    else:
        median = float(np.median(np.sqrt(squared[np.tril_indices(len(squared), -1)])))
        if median == 0:
            raise MeasureError("cka: the median distance is 0: most stimuli have the same response; give bandwidth=")
        sigma = median * (1.0 if bandwidth == "median" else float(bandwidth))
    exponent = squared / (2 * sigma**2)
    return np.expm1(-exponent if kernel == "rbf" else -np.sqrt(exponent))


def _squared_distances(values: Array) -> npt.NDArray[np.float64]:
    """Squared distances (n_stimuli, n_stimuli) from a Gram matrix in the precision of the input; lower triangle."""
    lower = gram(values).astype(np.float64)
    diagonal = lower.diagonal().copy()
    total = diagonal[:, None] + diagonal[None, :]
    squared = np.maximum(total - 2 * lower, 0)
    squared[squared <= 4 * input_eps(values) * total] = 0  # equal patterns
    return squared


def _shared(first: KernelState, second: KernelState, full: KernelState) -> float:
    """<U(K_1), U(K_2)> / |U(K)|^2: halves have independent noise, so the numerator estimates |U(K of the signal)|^2."""
    return raw(first, second) * first.norm * second.norm / full.norm**2


def _restrict(state: KernelState, rows: Index) -> KernelState:
    """Subset or permute the stimuli, by their responses or by the centred kernel."""
    return restrict_pairs(state, rows) if state.factor is None else _prepare_linear(state.factor[rows], state.estimator)
