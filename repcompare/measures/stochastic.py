"""Stochastic shape metrics: systems compared by the distributions of their responses, not by trial means alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, centre64, require_variance, thin_factor
from repcompare.measures._measure import Array, Measure, Outcome
from repcompare.measures._nuclear import Noise, narrow_factor
from repcompare.measures._transport import assign
from repcompare.measures._units import haar

SETTLED = 1e-13  # relative decrease of the loss at which alternation stops
AGREE = 1e-8  # relative difference of losses below which restarts reached the same minimum
MOST = 2000  # iterations of a restart


@dataclass(frozen=True)
class Trials:
    """A prepared source: responses (n_repeats, n_stimuli, width), their grand mean subtracted.

    ``roots`` (n_stimuli, rows, width), where there are any, hold R with R'R the covariance of a stimulus.
    """

    values: Float64
    roots: Float64 | None = None

    @property
    def means(self) -> Float64:
        """Trial means (n_stimuli, width)."""
        found: Float64 = self.values.mean(axis=0)
        return found

    @property
    def deviations(self) -> Float64:
        """Per stimulus D (n_stimuli, n_repeats, width) with D'D the sample covariance over repeats."""
        found: Float64 = (self.values - self.means).transpose(1, 0, 2) / np.sqrt(len(self.values) - 1)
        return found

    @property
    def factors(self) -> Float64:
        """Per stimulus R (n_stimuli, rows, width) with R'R its covariance, in as few rows as repeats or units."""
        if self.roots is not None:
            return self.roots
        found = self.deviations
        return found if found.shape[1] <= found.shape[2] else np.asarray(np.linalg.qr(found, mode="r"))


Step = Callable[
    [Float64], tuple[float, Float64]
]  # map -> loss under it, and the product whose polar factor is the next


def stochastic_shape(
    alpha: float = 1.0,
    *,
    group: Literal["rotation", "permutation"] = "rotation",
    covariance: Literal["sample", "shrinkage"] = "sample",
    n_restarts: int = 20,
    seed: int = 0,
) -> Measure:
    """Gaussian stochastic shape distance: means and covariances over repeats, under one map of the units.

    d^2 = min_T mean_z alpha |mu_x - T'mu_y|^2 + (2 - alpha) Bures^2(S_x, T'S_y T), with the weights of the score in the
    updates too, so that the loss never increases.

    Parameters
    ----------
    alpha : float
        In [0, 2]: 1 is the 2-Wasserstein distance of Gaussians, 0 compares covariances only, 2 gives sqrt(2) times the
        root mean square distance of the means.
    group : {"rotation", "permutation"}
        Maps of the units; the narrower side is padded with silent ones.
    covariance : {"sample", "shrinkage"}
        Of each stimulus: that of the sample, of rank n_repeats - 1 at most and never formed, so that an iteration costs
        n_stimuli n_repeats width^2; or shrunk towards its mean variance times the identity of the space that the system's
        responses span, with the intensity of Ledoit and Wolf for each stimulus (from 3 repeats on; width^3 per stimulus).
    n_restarts : int
        Starts of the alternation: the best map of the means, then random ones.  How many reached the same minimum is in
        ``counts["restarts_that_agree"]``.
    seed : int
        Of the random starts.

    Returns
    -------
    Measure
        Distance in response units, of repeats.  A metric at the global minimum, which alternation does not guarantee:
        hence not declared one.

    Raises
    ------
    OptionError
        When ``alpha`` is outside [0, 2] or ``n_restarts`` below 1.
    MeasureError
        For fewer than 2 repeats; 3 for ``covariance="shrinkage"``.

    References
    ----------
    Duong et al. 2023; Ledoit & Wolf 2004 (shrinkage).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(5, 12, 3))
    >>> measure = stochastic_shape(n_restarts=2)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[..., ::-1])).score, 6)
    0.0
    """
    if not 0 <= alpha <= 2:
        raise OptionError(f"alpha={alpha!r}; expected a number in [0, 2]: 0 compares covariances, 2 means")
    choose(covariance, ("sample", "shrinkage"), "covariance")

    def step(x: Trials, y: Trials) -> Step:
        (mx, my), (dx, dy) = (x.means, y.means), (x.factors, y.factors)

        def of(turn: Float64) -> tuple[float, Float64]:
            moved = dy @ turn
            u, _, vt = np.linalg.svd(dx @ moved.transpose(0, 2, 1), full_matrices=False)
            paired = (u @ vt).transpose(0, 2, 1) @ dx  # residuals of x on the repeats of y
            unpaired = float((dx**2).sum() - (paired**2).sum()) if dx.shape[1] > dy.shape[1] else 0.0
            spread = unpaired + float(((paired - moved) ** 2).sum())  # summed squares: digits survive near 0
            loss = alpha * float(((mx - my @ turn) ** 2).sum()) + (2 - alpha) * spread
            product = alpha * (my.T @ mx) + (2 - alpha) * np.tensordot(dy, paired, ([0, 1], [0, 1]))
            return loss / len(mx), product

        return of

    def compare(x: Trials, y: Trials) -> Outcome:
        loss, agree = _search(*_padded(x, y), step, (group, n_restarts, seed))
        return Outcome(score=float(np.sqrt(max(0.0, loss))), counts={"restarts_that_agree": agree})

    made = _measure("stochastic_shape", {"alpha": float(alpha)}, compare, (group, n_restarts, seed))
    return made if covariance == "sample" else _shrunk(made, group)


def energy_shape(
    exponent: float = 1.0,
    *,
    group: Literal["rotation", "permutation"] = "rotation",
    n_restarts: int = 20,
    seed: int = 0,
) -> Measure:
    """Energy stochastic shape distance: whole distributions over repeats, under one map of the units.

    d^2 = E|x - yQ|^e - E|x - x'|^e / 2 - E|y - y'|^e / 2, averaged over stimuli; the first over all pairs of repeats, the
    others over distinct ones (unbiased for a given map).  The map is found by iteratively reweighted Procrustes.

    Parameters
    ----------
    exponent : float
        e in (0, 2].  At 2 it is the distance of the trial means.
    group : {"rotation", "permutation"}
        Maps of the units; the narrower side is padded with silent ones.
    n_restarts : int
        Starts of the iteration; how many agree is in ``counts["restarts_that_agree"]``.
    seed : int
        Of the random starts.

    Returns
    -------
    Measure
        Distance in response units to the power e/2, of repeats.  An estimate of d^2 below 0 is clipped, with
        the note ``energy_clipped``.

    Raises
    ------
    OptionError
        When ``exponent`` is outside (0, 2] or ``n_restarts`` below 1.
    MeasureError
        For fewer than 2 repeats.

    References
    ----------
    Duong et al. 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(5, 12, 3))
    >>> measure = energy_shape(n_restarts=2)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[..., ::-1])).score, 6)
    0.0
    """
    if not 0 < exponent <= 2:
        raise OptionError(f"exponent={exponent!r}; expected a number in (0, 2]")

    def step(x: Trials, y: Trials) -> Step:
        a, b = x.values.transpose(1, 0, 2), y.values.transpose(1, 0, 2)
        tiny = np.finfo(np.float64).eps * float(np.linalg.norm(a) + np.linalg.norm(b))

        def of(turn: Float64) -> tuple[float, Float64]:
            moved = b @ turn
            gaps = np.linalg.norm(a[:, :, None] - moved[:, None], axis=-1)  # (stimulus, repeat of x, repeat of y)
            weights = exponent / 2 * np.maximum(gaps, tiny) ** (exponent - 2)
            product = np.tensordot(b, weights.transpose(0, 2, 1) @ a, ([0, 1], [0, 1]))
            return float((gaps**exponent).mean()), product

        return of

    def compare(x: Trials, y: Trials) -> Outcome:
        cross, agree = _search(*_padded(x, y), step, (group, n_restarts, seed))
        squared = cross - (_self_term(x, exponent) + _self_term(y, exponent)) / 2
        notes = () if squared >= 0 else (f"energy_clipped: the estimate of d^2 is {squared:.3g}; shown as 0",)
        score = float(np.sqrt(max(0.0, squared)))
        return Outcome(score=score, counts={"restarts_that_agree": agree}, notes=notes)

    return _measure("energy_shape", {"exponent": float(exponent)}, compare, (group, n_restarts, seed))


Plan = tuple[str, int, int]  # group, restarts, seed


def _measure(name: str, options: dict[str, Any], compare: Callable[[Trials, Trials], Outcome], plan: Plan) -> Measure:
    group, n_restarts, seed = plan
    choose(group, ("rotation", "permutation"), "group")
    if n_restarts < 1:
        raise OptionError(f"n_restarts={n_restarts}; expected at least 1")

    def prepare(values: Array) -> Trials:
        repeats, n, p = values.shape
        if repeats < 2:
            raise MeasureError(f"{name}: {repeats} repeats; a distribution needs at least 2")
        rows = values.reshape(repeats * n, p)
        factor = narrow_factor(rows) if group == "rotation" else centre64(rows)
        require_variance(float(np.linalg.norm(factor)), name)
        return Trials(factor.reshape(repeats, n, -1))

    return Measure(
        name=name,
        options=options | {"group": group, "n_restarts": n_restarts, "seed": seed},
        prepare=prepare,
        compare=compare,
        needs="repeats",
        kind="distance",
        score_range=(0.0, np.inf),
        identical=0.0,
        invariant_to=frozenset({"translation", "permutation"} | ({"rotation"} if group == "rotation" else set())),
        unit="response",
        reference="duong2023",
    )


def _shrunk(measure: Measure, group: str) -> Measure:
    """Give the states of a measure shrunk covariances."""

    def prepare(values: Array) -> Trials:
        repeats, n, p = values.shape
        if repeats < 3:
            raise MeasureError(
                f"{measure.name}: {repeats} repeats; covariance='shrinkage' needs at least 3 to tell how much to shrink"
            )
        state: Trials = measure.prepare(values)
        if group == "rotation":  # in the space that the responses span
            noise = Noise.of(values.reshape(repeats * n, p))
            u, s, _ = noise.cut(*thin_factor(state.values.reshape(repeats * n, -1), 0.0))
            state = Trials((u * s).reshape(repeats, n, -1))
        return replace(state, roots=_shrunk_roots(state))

    return replace(measure, prepare=prepare, options={**measure.options, "covariance": "shrinkage"})


def _shrunk_roots(state: Trials) -> Float64:
    """Symmetric roots (n_stimuli, width, width) of Ledoit and Wolf's covariances over repeats.

    (1 - d) S + d m I with S the sample covariance, m = tr S / width and d = min(1, b / |S - m I|^2) where b = sum_r
    |x_r x_r' - S_R|^2 / R^2, all from products of repeats.  Silent units stay silent.
    """
    repeats = len(state.values)
    live = np.abs(state.values).max(axis=(0, 1)) > 0
    width = int(live.sum())
    factors = state.deviations  # D'D = S
    products = factors @ factors.transpose(0, 2, 1)
    lengths = np.einsum("zrr->zr", products)
    trace, squares = lengths.sum(axis=1), np.square(products).sum(axis=(1, 2))
    noise = np.square(lengths).sum(axis=1) - squares / repeats  # of S, in units where S_R = S (R - 1) / R
    spread = squares - trace**2 / width
    amount = np.where(spread > 0, np.clip(noise / np.where(spread > 0, spread, 1), 0, 1), 0.0)
    floor = np.sqrt(amount * trace / width)
    _, s, vt = np.linalg.svd(factors, full_matrices=False)
    raised = np.sqrt((1 - amount)[:, None] * s**2 + floor[:, None] ** 2) - floor[:, None]
    roots: Float64 = vt.transpose(0, 2, 1) @ (raised[..., None] * vt) + floor[:, None, None] * np.diag(
        live.astype(float)
    )
    return roots


def _padded(x: Trials, y: Trials) -> tuple[Trials, Trials]:
    if x.values.shape[1] != y.values.shape[1]:
        raise MeasureError(
            f"stochastic shape: {x.values.shape[1]} stimuli against {y.values.shape[1]}; expected the same stimuli"
        )
    width = max(x.values.shape[2], y.values.shape[2])
    return _widened(x, width), _widened(y, width)


def _widened(x: Trials, width: int) -> Trials:
    """Add silent units up to a width."""
    silent = ((0, 0), (0, 0), (0, width - x.values.shape[2]))
    return Trials(np.pad(x.values, silent), None if x.roots is None else np.pad(x.roots, silent))


def _search(x: Trials, y: Trials, step: Callable[[Trials, Trials], Step], plan: Plan) -> tuple[float, int]:
    """Return the lowest loss over restarts, and how many reached it."""
    group, n_restarts, seed = plan
    rng = np.random.default_rng(seed)
    width, of = x.values.shape[2], step(x, y)
    nearest = NEAREST[group]
    losses = [_descend(of, nearest(y.means.T @ x.means), nearest)]
    for _ in range(n_restarts - 1):
        losses.append(_descend(of, nearest(haar(width, rng)), nearest))
    lowest = min(losses)
    scale = float((x.values**2).mean() + (y.values**2).mean()) * width
    return lowest, sum(loss - lowest <= AGREE * scale for loss in losses)


def _descend(of: Step, turn: Float64, nearest: Callable[[Float64], Float64]) -> float:
    loss, product = of(turn)
    for _ in range(MOST):
        lower, product = of(nearest(product))
        if loss - lower <= SETTLED * loss:
            return min(loss, lower)
        loss = lower
    return loss


def _polar(product: Float64) -> Float64:
    u, _, vt = scipy.linalg.svd(product, check_finite=False)
    turn: Float64 = u @ vt
    return turn


def _permuting(product: Float64) -> Float64:
    pairs = assign(product)
    turn = np.zeros_like(product)
    turn[pairs.rows, pairs.columns] = 1
    return turn


NEAREST = {"rotation": _polar, "permutation": _permuting}


def _self_term(x: Trials, exponent: float) -> float:
    """Mean over stimuli and distinct pairs of repeats of |x - x'|^e."""
    first, second = np.triu_indices(len(x.values), 1)
    return float((np.linalg.norm(x.values[first] - x.values[second], axis=-1) ** exponent).mean())
