"""The mean of several systems: the shape from which their summed squared shape distances are smallest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, centre64, require_variance
from repcompare.measures._measure import Array
from repcompare.measures._nuclear import narrow_factor, same_rows
from repcompare.measures._transport import assign

SETTLED = 1e-10  # relative decrease of the loss at which iteration stops


@dataclass(frozen=True)
class FrechetMean:
    """A mean shape and the systems turned towards it.

    Attributes
    ----------
    mean : ndarray, shape (n_stimuli, width)
        The mean; width is that of the widest member (rotations: at most n_stimuli - 1).
    aligned : ndarray, shape (n_members, n_stimuli, width)
        Members after their best map onto the mean; narrower ones are padded with silent units.  Differences from the mean
        are tangent vectors, ready for principal components.
    losses : ndarray, shape (n_iterations,)
        Sum over members of the squared distance to the mean; never increases.
    start_losses : ndarray, shape (n_members,)
        Loss reached from each member as the start; the smallest was kept.
    start : int
        The member from which it was reached.
    spread : float
        Largest less smallest of ``start_losses``; more than rounding means local minima.
    converged : bool
        Whether the kept run settled before ``max_iterations``.
    """

    mean: Float64
    aligned: Float64
    losses: Float64
    start_losses: Float64
    start: int
    spread: float
    converged: bool


@dataclass(frozen=True)
class _Run:
    mean: Float64
    aligned: Float64
    losses: list[float]
    converged: bool


def frechet_mean(
    sources: Sequence[Array],
    group: Literal["rotation", "permutation"] = "rotation",
    *,
    scale: bool = True,
    max_iterations: int = 500,
    names: Sequence[str] | None = None,
) -> FrechetMean:
    """Find the Frechet mean of several systems under rotations or permutations of their units.

    Members are centred, aligned to the mean, and averaged in turn, from each member once; the best run is kept.

    Parameters
    ----------
    sources : sequence of ndarray, each of shape (n_stimuli, n_units)
        Responses to the same stimuli; numbers of units may differ.
    group : {"rotation", "permutation"}
        Maps of the units that change nothing.
    scale : bool
        Divide members by their Frobenius norms, as the scale-free shape distances do.
    max_iterations : int
        Of each run.
    names : sequence of str, optional
        What messages call the members; their places by default.

    Returns
    -------
    FrechetMean
        The mean, the aligned members, and how the loss went.

    Raises
    ------
    OptionError
        For another group, or fewer than one iteration.
    MeasureError
        For fewer than two members, different numbers of stimuli, values that are not finite, or no variance.

    References
    ----------
    Gower 1975 (generalised Procrustes analysis); Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> found = frechet_mean([x, x[:, ::-1], x[:, [1, 0, 3, 2]]], "permutation")
    >>> round(float(found.losses[-1]), 9), found.aligned.shape
    (0.0, (3, 20, 4))
    """
    choose(group, ("rotation", "permutation"), "group")
    if max_iterations < 1:
        raise OptionError(f"max_iterations={max_iterations}; expected at least 1")
    members = _members(sources, names or [str(k) for k in range(len(sources))], group, scale)
    runs = [_run(members, start, group, max_iterations) for start in members]
    reached = np.array([run.losses[-1] for run in runs])
    best = int(reached.argmin())
    return FrechetMean(
        mean=runs[best].mean,
        aligned=runs[best].aligned,
        losses=np.array(runs[best].losses),
        start_losses=reached,
        start=best,
        spread=float(reached.max() - reached.min()),
        converged=runs[best].converged,
    )


def _members(sources: Sequence[Array], names: Sequence[str], group: str, scale: bool) -> Float64:
    """Stack the centred members (n_members, n_stimuli, width)."""
    if len(sources) < 2:
        raise MeasureError(f"frechet_mean: {len(sources)} members; expected at least 2")
    factors = []
    for place, source in zip(names, sources, strict=True):
        if source.ndim != 2 or 0 in source.shape:
            raise MeasureError(f"frechet_mean: member {place} has shape {source.shape}; expected (n_stimuli, n_units)")
        if not np.isfinite(source).all():
            raise MeasureError(f"frechet_mean: member {place} has values that are not finite; drop them first")
        same_rows(source, sources[0], "frechet_mean")
        factor = narrow_factor(source) if group == "rotation" else centre64(source)
        norm = float(np.linalg.norm(factor))
        require_variance(norm, f"frechet_mean: member {place}")
        factors.append(factor / norm if scale else factor)
    width = max(f.shape[1] for f in factors)
    return np.stack([np.pad(f, ((0, 0), (0, width - f.shape[1]))) for f in factors])


def _run(members: Float64, start: Float64, group: str, max_iterations: int) -> _Run:
    """Align and average in turn; for rotations with momentum, which is dropped whenever the loss would rise."""
    aligned, mean, loss = _turn(members, start, group)
    losses, before, pace = [loss], mean, 0
    total = float((members**2).sum())
    for _ in range(max_iterations - 1):
        ahead = mean + pace / (pace + 3) * (mean - before) if group == "rotation" else mean
        found = _turn(members, ahead, group)
        if found[2] > loss:
            pace, found = 0, _turn(members, mean, group)
        before, pace = mean, pace + 1
        if found[2] <= loss:  # else rounding, at the minimum
            aligned, mean, loss = found
        losses.append(loss)
        if losses[-2] - losses[-1] <= SETTLED * total:
            return _Run(mean, aligned, losses, True)
    return _Run(mean, aligned, losses, False)


def _turn(members: Float64, mean: Float64, group: str) -> tuple[Float64, Float64, float]:
    """Return the members aligned to a mean, their own mean, and the loss around it."""
    aligned = np.stack([_align(member, mean, group) for member in members])
    centre: Float64 = aligned.mean(axis=0)
    return aligned, centre, float(((aligned - centre) ** 2).sum())


def _align(member: Float64, mean: Float64, group: str) -> Float64:
    """Map a member's units (n_stimuli, width) onto those of the mean."""
    product = member.T @ mean
    if group == "permutation":
        pairs = assign(product)
        moved = np.empty_like(member)
        moved[:, pairs.columns] = member[:, pairs.rows]
        return moved
    u, _, vt = scipy.linalg.svd(product, check_finite=False)
    turned: Float64 = member @ (u @ vt)
    return turned
