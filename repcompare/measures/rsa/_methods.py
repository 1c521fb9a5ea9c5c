"""The menu of comparators of RDMs, and one choice from it with its options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures.rsa._condensed import Rows, Vector, count_stimuli, take
from repcompare.measures.rsa._whitened import Matrix, StimulusNoise, stimulus_noise

Family = Literal["dot", "tau", "bures", "riemannian"]
CENTRINGS = ("arithmetic", "whitened")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One entry of the menu of comparators.

    Attributes
    ----------
    family : {"dot", "tau", "bures", "riemannian"}
        Cosine of vectors; counts of concordant pairs; overlap, or distance, of second moments.
    ranked : bool
        Values are replaced by their mid-ranks.
    centred : bool
        The mean over pairs is subtracted.
    whitened : bool
        The dot product is ``a' V^-1 b``.
    tie_free_norm : bool
        Divided by the norm that ranks without ties have, not by its own.
    ordinal : bool
        Depends on the order of the distances only.
    score_range : tuple of float
        Of any RDMs.
    non_negative_range : tuple of float
        Of RDMs without negative distances.
    identical : float
        Score of an RDM without ties with itself.
    """

    family: Family = "dot"
    ranked: bool = False
    centred: bool = False
    whitened: bool = False
    tie_free_norm: bool = False
    ordinal: bool = False
    score_range: tuple[float, float] = (-1.0, 1.0)
    non_negative_range: tuple[float, float] = (-1.0, 1.0)
    identical: float = 1.0

    @property
    def uses_noise(self) -> bool:
        """Whether a covariance of the stimuli enters."""
        return self.whitened or self.family == "riemannian"

    @property
    def linear(self) -> bool:
        """Whether it is a cosine of the distances themselves, not of ranks."""
        return self.family == "dot" and not self.ranked


METHODS: dict[str, Method] = {
    "rho_a": Method(ranked=True, centred=True, tie_free_norm=True, ordinal=True),
    "pearson": Method(centred=True),
    "spearman": Method(ranked=True, centred=True, ordinal=True),
    "kendall_tau_a": Method(family="tau", tie_free_norm=True, ordinal=True),
    "kendall_tau_b": Method(family="tau", ordinal=True),
    "cosine": Method(non_negative_range=(0.0, 1.0)),
    "whitened_cosine": Method(whitened=True),
    "whitened_pearson": Method(centred=True, whitened=True),
    "bures": Method(family="bures", score_range=(0.0, 1.0), non_negative_range=(0.0, 1.0)),
    "riemannian": Method(
        family="riemannian", score_range=(-np.inf, 0.0), non_negative_range=(-np.inf, 0.0), identical=0.0
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparator:
    """A method with its options, for RDMs of one set of stimuli.

    Attributes
    ----------
    method : str
        A name of :data:`METHODS`.
    noise : StimulusNoise, optional
        For the whitened methods and ``riemannian``; None elsewhere.
    control : ndarray, shape (n_controls, n_pairs), optional
        RDMs whose part is removed from both sides, or from the second alone.
    semipartial : bool
        From the second alone.
    centring : {"arithmetic", "whitened"}
        Which mean ``whitened_pearson`` removes.
    ridge : bool
        Whether ``riemannian`` adds noise to the first side.
    """

    method: str
    noise: StimulusNoise | None = None
    control: Matrix | None = None
    semipartial: bool = False
    centring: str = "arithmetic"
    ridge: bool = True

    @property
    def kind(self) -> Method:
        """The entry of the menu."""
        return METHODS[self.method]

    def noise_of(self, k: int) -> StimulusNoise:
        """Return the noise between ``k`` stimuli, equal variances where none was given."""
        if self.noise is None:
            return stimulus_noise(None, k)
        if self.noise.variances.size != k:
            raise MeasureError(
                f"stimulus_covariance is that of {self.noise.variances.size} stimuli, the RDMs have {k}; "
                "give it in the order of the stimuli that are compared"
            )
        return self.noise

    def control_of(self, n_pairs: int) -> Matrix | None:
        """Return the controls, which must have ``n_pairs`` pairs."""
        if self.control is not None and self.control.shape[1] != n_pairs:
            raise MeasureError(
                f"control has {self.control.shape[1]} pairs ({count_stimuli(self.control.shape[1])} stimuli), "
                f"the RDMs have {n_pairs} ({count_stimuli(n_pairs)}); expected the same stimuli in the same order"
            )
        return self.control

    def take(self, rows: Rows) -> Comparator:
        """Return the same for a selection of the stimuli, or another order of them."""
        if self.noise is None and self.control is None:
            return self
        control = None if self.control is None else np.stack([take(row, rows) for row in self.control])
        return replace(self, noise=None if self.noise is None else self.noise.take(rows), control=control)


def comparator(
    method: str,
    *,
    stimulus_covariance: npt.ArrayLike | None = None,
    control: npt.ArrayLike | None = None,
    **options: Any,
) -> Comparator:
    """Return a method with its options, checked.

    Parameters
    ----------
    method : str
        A name of :data:`METHODS`.
    stimulus_covariance : array_like, shape (K,) or (K, K), optional
        Noise variances or covariance of the stimuli.
    control : array_like, shape (n_pairs,) or (n_controls, n_pairs), optional
        RDMs to control for.
    **options
        ``semipartial``, ``centring``, ``ridge``: see :class:`Comparator`.

    Raises
    ------
    OptionError
        On an unknown name, or options that the method has no use for.
    MeasureError
        On a control or covariance of another shape.
    """
    choose(method, METHODS, "method")
    kind = METHODS[method]
    found = Comparator(method=method, **options)
    choose(found.centring, CENTRINGS, "centring")
    if found.centring == "whitened" and method != "whitened_pearson":
        raise OptionError(f"centring='whitened' is an option of method='whitened_pearson'; method={method!r}")
    if control is not None and kind.family in ("bures", "riemannian"):
        raise OptionError(f"control= is not defined for method={method!r}: it compares no inner product of RDMs")
    if found.semipartial and control is None:
        raise OptionError("semipartial=True needs control=, the RDMs to remove from the second side")
    if not found.ridge and kind.family != "riemannian":
        raise OptionError(f"ridge=False is an option of method='riemannian'; method={method!r}")
    if stimulus_covariance is not None and not kind.uses_noise:
        raise MeasureError(f"stimulus_covariance has no meaning for method={method!r}; take 'whitened_cosine'")
    noise = None
    if stimulus_covariance is not None:
        noise = stimulus_noise(stimulus_covariance, len(np.atleast_1d(np.asarray(stimulus_covariance))))
    return replace(found, noise=noise, control=None if control is None else stack(control, "control"))


def stack(rdms: npt.ArrayLike, name: str, *, finite: bool = True) -> Matrix:
    """Return RDMs as float64 (n_rdms, n_pairs), with ``finite`` free of infinite values.

    Raises
    ------
    MeasureError
        On another number of axes, a length that is not K (K - 1) / 2, and infinite values.
    """
    given = np.asarray(rdms, dtype=np.float64)
    if given.ndim not in (1, 2) or given.size == 0:
        raise MeasureError(f"{name} has shape {given.shape}; expected (n_pairs,) or (n_rdms, n_pairs)")
    table = np.atleast_2d(given)
    count_stimuli(table.shape[1])
    if finite and np.isinf(table).any():
        raise MeasureError(f"{name} has infinite values; expected finite distances, NaN where missing")
    return table


def names_of(given: npt.ArrayLike, rows: int, name: str) -> list[str]:
    """Return what messages call every RDM of a stack."""
    return [name] if np.ndim(given) == 1 else [f"{name}[{i}]" for i in range(rows)]


def require_pairs(n: int, name: str) -> None:
    """Raise ``MeasureError`` for fewer than 3 pairs."""
    if n < MIN_PAIRS:
        raise MeasureError(f"{name} has {n} pairs of stimuli; expected at least {MIN_PAIRS}")


MIN_PAIRS = 3
FLAT = 1e-12  # variation below this share of the largest value is rounding


def require_variation(values: Matrix, how: Comparator, names: list[str]) -> Vector:
    """Raise where the method is not defined on complete RDMs (n_rdms, n_pairs); return their largest sizes (n_rdms,)."""
    n = values.shape[1]
    require_pairs(n, names[0])
    lowest, highest = values.min(axis=1), values.max(axis=1)
    peak: Vector = np.maximum(-lowest, highest)
    kind = how.kind
    for i in np.flatnonzero(peak == 0):
        raise MeasureError(f"{names[i]} is zero for all {n} pairs: no similarity is defined; check the responses")
    if not (kind.centred or kind.ordinal):
        return peak
    slack = 0.0 if kind.ordinal else FLAT
    for i in np.flatnonzero(highest - lowest <= slack * peak):
        raise MeasureError(
            f"{names[i]} is constant ({highest[i]:g} for all {n} pairs): method={how.method!r} is not defined;"
            " take 'cosine' or 'whitened_cosine', or another distance"
        )
    return peak
