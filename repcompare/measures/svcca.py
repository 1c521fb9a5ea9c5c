"""Relatives of CCA: after dropping small components (SVCCA), and weighted by what the variates explain (PWCCA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64, centre64, input_eps
from repcompare.measures._measure import Array, Index, Measure, Outcome
from repcompare.measures._subspace import (
    DOUBLE,
    Basis,
    crowded,
    orthonormal,
    overlap,
    require_room,
    require_same_stimuli,
    spectrum,
)
from repcompare.measures.cca import AFFINE, DENOMINATORS, LINEAR, SUMMARIES, Degenerate, Summary, overlap_forms

TIE = 1e-8  # canonical correlations closer than this leave their variates free to rotate


def svcca(
    variance: float = 0.99,
    *,
    n_components: int | None = None,
    summary: Summary = "mean",
    denominator: Literal["min", "geometric", "max"] = "min",
    degenerate: Degenerate = "raise",
) -> Measure:
    """Canonical correlations of the leading principal components of both sides, in sample.

    Parameters
    ----------
    variance : float
        In (0, 1]: keep the smallest number of components whose squared singular values reach this share of their sum.
    n_components : int, optional
        Keep exactly this many components of each side instead.
    summary : {"mean", "mean_squared", "yanai"}
        With k_x, k_y components kept: sum rho / min(k_x, k_y); sum rho^2 / min(k_x, k_y); sum rho^2 / sqrt(k_x k_y).
    denominator : {"min", "geometric", "max"}
        What ``mean`` and ``mean_squared`` divide by: min(k_x, k_y), sqrt(k_x k_y) or max(k_x, k_y), as other packages do.
    degenerate : {"raise", "allow"}
        What to do when k_x + k_y >= n - 1.

    Returns
    -------
    Measure
        Similarity in [0, 1]; symmetric; invariant to rotation, scaling and translation.  ``compare`` gives details
        ``ranks`` (1, 2) and, for squared summaries, ``null_mean``: the exact mean over permuted stimuli.

    Raises
    ------
    OptionError
        For options outside their range, or that do not go together.

    References
    ----------
    Raghu et al. 2017.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> measure = svcca(0.9)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(-2 * x[:, ::-1])).score, 6)
    1.0
    """
    choose(summary, SUMMARIES, "summary")
    choose(denominator, DENOMINATORS, "denominator")
    choose(degenerate, ("raise", "allow"), "degenerate")
    if summary == "yanai" and denominator == "max":
        raise OptionError("denominator='max' does not go with summary='yanai', which divides by sqrt(k_x k_y)")
    _check_kept(variance, n_components)

    def keep(s: Float64, total: float) -> int:
        if n_components is not None:
            if n_components > len(s):
                raise MeasureError(f"svcca: n_components={n_components}, but the rank is {len(s)}; keep fewer")
            return n_components
        shares = np.cumsum(s**2) / total
        return min(len(s), int(np.searchsorted(shares, variance - 1e-12)) + 1)

    def prepare(values: Array) -> KeptComponents:
        return kept(centre64(values), input_eps(values))

    def kept(centred: Float64, eps: float) -> KeptComponents:
        full = min(len(centred) - 1, centred.shape[1])
        basis, _ = spectrum(centred, eps, full=full, keep=keep)
        return KeptComponents(basis.values, basis.transform, basis.eps, centred, eps)

    def restrict(state: KeptComponents, rows: Index) -> KeptComponents:
        return kept(centre64(state.data[rows]), state.data_eps)

    options: dict[str, Any] = {"variance": variance} if n_components is None else {"n_components": n_components}
    options |= {"summary": summary} | ({"denominator": denominator} if denominator != "min" else {})
    return Measure(
        name="svcca",
        options=options | ({"degenerate": "allow"} if degenerate == "allow" else {}),
        prepare=prepare,
        restrict=restrict,
        kind="similarity",
        score_range=(0.0, 1.0),
        identical=1.0,
        invariant_to=LINEAR,
        reference="raghu2017",
        state_bytes=lambda n, p, itemsize, folds: 8 * n * (p + min(n, p)),
        **overlap_forms(
            "svcca", summary != "mean", "geometric" if summary == "yanai" else denominator, degenerate == "raise"
        ),
    )


@dataclass(frozen=True)
class KeptComponents(Basis):
    """Leading left singular vectors, with the centred data (n_stimuli, n_columns) that a subset is kept from anew."""

    data: Float64
    data_eps: float


def _check_kept(variance: float, n_components: int | None) -> None:
    if not 0 < variance <= 1:
        raise OptionError(f"variance={variance!r}; expected a number in (0, 1]")
    whole = isinstance(n_components, (int, np.integer)) and not isinstance(n_components, bool)
    if n_components is not None and not (whole and n_components >= 1):
        raise OptionError(f"n_components={n_components!r}; expected a whole number of at least 1")


@dataclass(frozen=True)
class Loaded:
    """A basis U (n_stimuli, rank) and the data in it: ``loadings`` U'Xc (rank, n_units)."""

    basis: Basis
    loadings: Float64


def pwcca(*, weights: Literal["absolute", "squared"] = "absolute", degenerate: Degenerate = "raise") -> Measure:
    """Canonical correlations weighted by how much of the first system its canonical variates carry, in sample.

    Parameters
    ----------
    weights : {"absolute", "squared"}
        ``absolute``: sum_i w_i rho_i / sum_i w_i with w_i = sum_j |<h_i, x_j>| over the units j, h_i the canonical
        variates of the first argument.  ``squared``: sum_i rho_i |Xc'h_i|^2 / |Xc|^2, which does not depend on the axes.
    degenerate : {"raise", "allow"}
        What to do when rank_x + rank_y >= n - 1, and when ``absolute`` weights are not identified: some, not all,
        canonical correlations agree within 1e-8, so that their variates may be rotated into each other.

    Returns
    -------
    Measure
        Similarity in [0, 1]; not symmetric.  Invariant to translation, scaling and the order of units of the first side
        (``squared``: also to rotation), and to affine maps of the second.  ``compare`` gives details ``ranks`` (1, 2),
        ``rho`` (k,) and ``weights`` (k,).

    References
    ----------
    Morcos et al. 2018.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> measure = pwcca()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ rng.normal(size=(5, 5)))).score, 6)
    1.0
    """
    choose(weights, ("absolute", "squared"), "weights")
    choose(degenerate, ("raise", "allow"), "degenerate")
    guarded = degenerate == "raise"

    def compare(x: Loaded, y: Loaded) -> Outcome:
        n, ranks = x.basis.n, (x.basis.rank, y.basis.rank)
        require_same_stimuli("pwcca", n, y.basis.n)
        if guarded:
            require_room("pwcca", ranks, n)
        a, rho, _ = scipy.linalg.svd(overlap(x.basis, y.basis), full_matrices=False, check_finite=False)
        rho = np.minimum(rho, 1.0)
        parts = a.T @ x.loadings
        w = np.abs(parts).sum(axis=1) if weights == "absolute" else np.square(parts).sum(axis=1)
        total = w.sum() if weights == "absolute" else np.square(x.loadings).sum()
        free = _tied(rho, guarded) if weights == "absolute" else ()
        return Outcome(
            score=min(1.0, float(w @ rho / total)),
            details={"ranks": np.array([ranks]), "rho": rho, "weights": w / total},
            notes=crowded("pwcca", n, max(ranks)) + free,
        )

    return Measure(
        name="pwcca",
        options={"weights": weights} | ({"degenerate": "allow"} if degenerate == "allow" else {}),
        prepare=lambda values: _load(centre64(values), input_eps(values)),
        compare=compare,
        restrict=_restrict,
        kind="similarity",
        score_range=(0.0, 1.0),
        identical=1.0,
        symmetric=False,
        invariant_to=LINEAR if weights == "squared" else LINEAR - {"rotation"},
        target_invariant_to=AFFINE,
        reference="morcos2018",
        state_bytes=lambda n, p, itemsize, folds: 8 * (n + p) * min(n, p),
    )


def _load(centred: Float64, eps: float) -> Loaded:
    basis = orthonormal(centred, eps)
    columns = basis.columns()
    return Loaded(Basis(columns, None, DOUBLE), columns.T @ centred)


def _restrict(state: Loaded, rows: Index) -> Loaded:
    basis = orthonormal(centre64(state.basis.columns()[rows]), DOUBLE)
    columns = basis.columns()
    return Loaded(Basis(columns, None, DOUBLE), columns.T @ state.basis.columns()[rows] @ state.loadings)


def _tied(rho: Float64, guarded: bool) -> tuple[str, ...]:
    """Raise, or note, when some but not all canonical correlations agree: their variates are not determined."""
    gaps = np.abs(np.diff(rho))
    if not gaps.size or not (gaps < TIE).any() or float(rho[0] - rho[-1]) < TIE:
        return ()
    many = int((gaps < TIE).sum()) + 1
    text = (
        f"about {many} of {len(rho)} canonical correlations agree within {TIE:g}: the variates behind them, and so the "
        "weighted mean, are not determined by the data; use weights='squared' or cca"
    )
    if guarded:
        raise MeasureError(f"pwcca: {text}; degenerate='allow' returns the number anyway")
    return (f"pwcca_not_identified: {text}",)
