"""The noise between units: estimated once, and used by every distance that takes it into account.

References
----------
Ledoit & Wolf 2004, Journal of Multivariate Analysis 88:365; Schaefer & Strimmer 2005, Statistical Applications in Genetics
and Molecular Biology 4:32; Walther et al. 2016, NeuroImage 137:188.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.kernels.rdm import upper_if_symmetric
from repcompare.measures.rsa._covariance import Matrix, Noise, Vector, cholesky
from repcompare.measures.rsa._shrinkage import ledoit_wolf, project_out, residuals, schaefer_strimmer
from repcompare.measures.rsa._trials import Labels, code

__all__ = ["ESTIMATORS", "Noise", "as_noise", "average", "estimate_noise", "resolve"]

ESTIMATORS = ("shrinkage_diag", "shrinkage_eye", "full", "diag")
SYMMETRIC = 1e-9  # how far a precision may be from its transpose, relative to its largest entry


def estimate_noise(
    values: npt.ArrayLike,
    method: str = "shrinkage_diag",
    *,
    stimulus: Labels | None = None,
    partition: Labels | None = None,
    design: npt.ArrayLike | None = None,
    dof: float | None = None,
) -> Noise:
    """Estimate the covariance of the noise between units, from trials or from residuals.

    Parameters
    ----------
    values : array_like, shape (n_samples, n_units)
        Trials (with ``stimulus``), or residuals of a model (with ``design`` or ``dof``).
    method : {"shrinkage_diag", "shrinkage_eye", "full", "diag"}
        Keep variances and shrink correlations (Schaefer & Strimmer 2005); shrink towards a multiple of the identity
        (Ledoit & Wolf 2004); sample covariance; variances only.
    stimulus : sequence, shape (n_samples,), optional
        Stimulus of each trial: its mean over trials is subtracted.
    partition : sequence, shape (n_samples,), optional
        Run or session of each trial: its additive pattern is subtracted as well.
    design : array_like, shape (n_samples, n_regressors), optional
        Regressors of the model whose residuals these are; what is left of them is subtracted.
    dof : float, optional
        Degrees of freedom of the residuals, instead of N minus the rank of what was subtracted: N - K for trials,
        N - K - M + 1 with partitions, N - rank(design).

    Returns
    -------
    Noise
        Frozen.  Where units outnumber samples the covariance stays in factored form, O(n_samples n_units) numbers.

    Raises
    ------
    MeasureError
        On NaN or infinite values, no degrees of freedom, units without variance, or a ``"full"`` covariance that has no
        inverse (it needs more degrees of freedom than units).
    OptionError
        On a method that is not on the menu, or when it is not said what the rows are.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(40, 3))
    >>> noise = estimate_noise(z, "shrinkage_eye", stimulus=np.arange(40) % 4)
    >>> noise.method, noise.dof, noise.precision().shape
    ('shrinkage_eye', 36.0, (3, 3))
    """
    choose(method, ESTIMATORS, "noise method")
    z = _checked(values)
    z, rank = _remove(z, stimulus, partition, design, dof)
    freedom = float(len(z) - rank if dof is None else dof)
    if not freedom >= 1:
        raise MeasureError(
            f"{len(z)} samples leave {freedom:g} degrees of freedom for the noise after {rank} means or regressors are"
            " removed; expected at least 1: give repeats of the stimuli, or residuals of a model"
        )
    return _estimated(z, method, freedom)


def _checked(values: npt.ArrayLike) -> Matrix:
    given: npt.NDArray[Any] = np.asarray(values)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or not given.size:
        raise MeasureError(
            f"noise from shape {given.shape}, dtype {given.dtype}; expected numbers (n_samples, n_units)"
        )
    z: Matrix = np.ascontiguousarray(given, dtype=np.float64)
    if not np.isfinite(z.sum()) and not np.isfinite(z).all():
        bad = np.flatnonzero(~np.isfinite(z).all(axis=0))
        raise MeasureError(
            f"{bad.size} units have NaN or infinite values (positions {_few(bad)}); expected finite numbers:"
            " leave out these units or rows before the noise is estimated"
        )
    return z


def _few(positions: npt.NDArray[np.intp]) -> str:
    return ", ".join(map(str, positions[:5])) + (" ..." if positions.size > 5 else "")


def _remove(
    z: Matrix, stimulus: Labels | None, partition: Labels | None, design: npt.ArrayLike | None, dof: float | None
) -> tuple[Matrix, int]:
    """Return residuals and the rank of what was removed."""
    if (design is None) == (stimulus is None) and not (design is None and dof is not None):
        raise OptionError(
            "it is not said what the rows are; give stimulus= for trials, or design= (or dof=) for residuals of a model"
        )
    if design is not None:
        return project_out(z, np.asarray(design, dtype=np.float64))
    if stimulus is None:
        return z, 0
    parts = None if partition is None else code(partition, len(z), "partition")[0]
    return residuals(z, code(stimulus, len(z), "stimulus")[0], parts)


def _estimated(z: Matrix, method: str, dof: float) -> Noise:
    """Return the noise of residuals (N, P)."""
    n, p = z.shape
    low_rank = p > n
    variance = np.einsum("ij,ij->j", z, z) / n
    flat = np.flatnonzero(variance <= 0)
    if flat.size and method != "shrinkage_eye":
        raise MeasureError(
            f"{flat.size} units have no noise variance (positions {_few(flat)}); expected noise in every unit:"
            " leave them out, or take method='shrinkage_eye'"
        )
    if method == "diag":
        return Noise(method=method, n_units=p, shrinkage=1.0, dof=dof, delta=variance * n / dof)
    if method == "full":
        return _full(z, dof)
    scatter = None if low_rank else _scatter(z)
    if method == "shrinkage_eye":
        shrinkage, mu = ledoit_wolf(z, scatter)
        if mu <= 0:
            raise MeasureError("the residuals are zero: there is no noise to estimate; give noise=None")
        delta: Vector = np.full(p, shrinkage * mu * n / dof)
    else:
        shrinkage = schaefer_strimmer(z, variance, scatter)
        delta = shrinkage * variance * n / dof
    beta = (1 - shrinkage) / dof
    if shrinkage == 0 and dof < p:
        raise MeasureError(
            f"the shrinkage is 0 with {dof:g} degrees of freedom for {p} units: the covariance has no inverse;"
            " take method='diag', or fewer units"
        )
    if beta == 0:
        return Noise(method=method, n_units=p, shrinkage=shrinkage, dof=dof, delta=delta)
    if scatter is None:
        return Noise(method=method, n_units=p, shrinkage=shrinkage, dof=dof, delta=delta, beta=beta, factor=z)
    scatter *= beta
    scatter[np.diag_indices(p)] += delta
    return Noise(method=method, n_units=p, shrinkage=shrinkage, dof=dof, dense=scatter)


def _full(z: Matrix, dof: float) -> Noise:
    """Return the sample covariance; raise where it has no inverse."""
    p = z.shape[1]
    if dof <= p:
        raise MeasureError(
            f"noise='full' has {dof:g} degrees of freedom for {p} units (condition number inf); it needs more than {p}:"
            " take 'shrinkage_diag'"
        )
    noise = Noise(method="full", n_units=p, shrinkage=0.0, dof=dof, dense=_scatter(z) / dof)
    cholesky(noise.covariance(), "the noise covariance (full)")
    return noise


def _scatter(z: Matrix) -> Matrix:
    """Return ``Z' Z``: a symmetric product, which numpy knows."""
    return np.asarray(z.T @ z)


def as_noise(precision: npt.ArrayLike, n_units: int) -> Noise:
    """Return the noise object of a given precision matrix.

    Raises
    ------
    MeasureError
        Unless it is (n_units, n_units), finite, symmetric and positive definite.
    """
    given: Matrix = np.ascontiguousarray(precision, dtype=np.float64)
    if given.shape != (n_units, n_units):
        raise MeasureError(
            f"the noise precision has shape {given.shape}; expected ({n_units}, {n_units}) for the units"
        )
    peak = float(np.abs(np.diagonal(given)).max())  # no entry of a positive definite matrix is larger
    upper = np.empty(given.shape, dtype=np.float32)
    if not np.isfinite(peak) or not upper_if_symmetric(given, SYMMETRIC * peak, upper):
        if not np.isfinite(given).all():
            raise MeasureError("the noise precision has NaN or infinite values; expected finite numbers")
        raise MeasureError("the noise precision is not symmetric; expected the inverse of a covariance matrix")
    single = _single_factor(upper, np.diagonal(given))
    if single is None:
        cholesky(given, "the noise precision")
    return Noise(method="precision", n_units=n_units, given=given, single=single)


def average(noises: Sequence[Noise]) -> Noise:
    """Return the noise whose covariance is the mean of those of several: covariances are averaged, never precisions."""
    n = len(noises)
    common: dict[str, Any] = {"method": "mean", "n_units": noises[0].n_units, "dof": sum(noise.dof for noise in noises)}
    deltas = [noise.delta for noise in noises if noise.delta is not None]
    if len(deltas) == n:
        delta = np.sum(deltas, axis=0) / n
        factors = [np.sqrt(v.beta / n) * v.factor for v in noises if v.factor is not None]
        if not factors:
            return Noise(**common, delta=delta)
        stacked = np.concatenate(factors)
        if len(stacked) < common["n_units"]:
            return Noise(**common, delta=delta, beta=1.0, factor=stacked)
    return Noise(**common, dense=np.sum([noise.covariance() for noise in noises], axis=0) / n)


def resolve(noise: Any, n_units: int) -> Noise | None:
    """Return None, a noise object or a precision matrix as a noise object of the right number of units."""
    if noise is None:
        return None
    if isinstance(noise, Noise):
        if noise.n_units != n_units:
            raise MeasureError(
                f"noise is of {noise.n_units} units, the responses have {n_units}; expected the same units;"
                " estimate it from these units, or restrict it to them: noise.restrict(units)"
            )
        return noise
    if isinstance(noise, str):
        raise OptionError(f"noise={noise!r} is to be estimated from trials; give stimulus=, or the noise object")
    return as_noise(noise, n_units)


def _single_factor(upper: npt.NDArray[np.float32], diagonal: Vector) -> npt.NDArray[np.float32] | None:
    """Return the lower factor of a matrix given by its upper triangle, which is overwritten; None when rounding decides.

    Single precision settles in half the time that all but the badly conditioned are positive definite: what a unit has
    beside the units before it must stand out from the rounding of as many products.
    """
    factor, failed = scipy.linalg.lapack.spotrf(upper.T, lower=1, clean=0, overwrite_a=1)
    pivots = np.square(np.diagonal(factor).astype(np.float64))
    settled = not failed and bool((pivots > len(upper) * np.finfo(np.float32).eps * diagonal).all())
    settled = settled and bool(np.isfinite(pivots).all())  # larger values than float32 has
    return factor if settled else None
