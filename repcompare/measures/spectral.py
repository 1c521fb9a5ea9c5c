"""Measures that follow from one matrix of squared overlaps of singular vectors: GULP, linear R2, shared dimensions.

With Xc = U diag(s) V' and Yc likewise, M_ij = (u_i'v_j)^2 and weights f(s), g(t) per direction, each of them is built
from f' M g, the inner product of the kernels U f U' and V g V'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import Float64
from repcompare.measures._measure import Measure
from repcompare.measures._overlaps import Form, Spectrum, ones, variances
from repcompare.measures._subspace import corrected, crowded, require_room
from repcompare.measures.cca import AFFINE, LINEAR, Degenerate

CANCELLED = 1e-6  # share of its terms below which a difference has lost its digits


def _room(name: str, guarded: bool) -> Callable[[Spectrum, Spectrum], None]:
    def check(x: Spectrum, y: Spectrum) -> None:
        if guarded:
            require_room(name, (x.rank, y.rank), x.n)

    return check


def _crowd(name: str) -> Callable[[Spectrum, Spectrum], tuple[str, ...]]:
    return lambda x, y: crowded(name, x.n, max(x.rank, y.rank))


def _with(options: Mapping[str, Any], degenerate: str) -> dict[str, Any]:
    return {k: v for k, v in options.items() if v is not False} | (
        {"degenerate": "allow"} if degenerate == "allow" else {}
    )


def gulp(regularization: float = 0.0, *, squared: bool = False, degenerate: Degenerate = "raise") -> Measure:
    """How differently ridge regressions from two systems can predict the same thing, at worst on average over targets.

    Parameters
    ----------
    regularization : float
        Ridge penalty lambda >= 0, for data scaled so that |Xc|^2 = n.  With H = Xc (Xc'Xc/n + lambda)^-1 Xc'/n the
        distance is |H_x - H_y|; at 0, H is the projection on the column space: sqrt(r_x + r_y - 2 sum rho^2).
    squared : bool
        Return the square, which is not a metric.
    degenerate : {"raise", "allow"}
        What to do when rank_x + rank_y >= n - 1 and ``regularization`` is 0.

    Returns
    -------
    Measure
        Distance in [0, inf); a metric unless squared; symmetric; invariant to rotation, scaling and translation (at
        lambda = 0 to affine maps).  ``compare`` gives details ``ranks`` (1, 2) and, when squared, ``null_mean``: the
        exact mean over permuted stimuli.

    Raises
    ------
    OptionError
        When ``regularization`` is negative.

    References
    ----------
    Boix-Adsera et al. 2022.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> measure = gulp(0.1)
    >>> round(measure.compare(measure.prepare(x), measure.prepare(3 * x + 1)).score, 6)
    0.0
    """
    choose(degenerate, ("raise", "allow"), "degenerate")
    if not 0 <= regularization < np.inf:
        raise OptionError(f"regularization={regularization!r}; expected a number of at least 0")

    def weights(state: Spectrum) -> Float64:
        if regularization == 0:
            return ones(state)
        shares = variances(state)  # a / n, with sum a = n
        gains: Float64 = shares / (shares + regularization)
        return gains

    def own(x: Spectrum, y: Spectrum) -> float:
        return float(np.square(weights(x)).sum() + np.square(weights(y)).sum())

    def finish(value: float, x: Spectrum, y: Spectrum) -> float:
        total = own(x, y)
        d2 = total - 2 * value
        if x is y:
            d2 = 0.0
        elif d2 < CANCELLED * total:
            d2 = _squared_difference(x.u, weights(x), y.u, weights(y))
        return d2 if squared else float(np.sqrt(d2))

    def null(x: Spectrum, y: Spectrum) -> float:
        return own(x, y) - 2 * float(weights(x).sum() * weights(y).sum()) / (x.n - 1)

    flat = regularization == 0
    form = Form(
        name="gulp",
        source=weights,
        target=weights,
        finish=finish,
        check=_room("gulp", flat and degenerate == "raise"),
        null=null if squared else None,
        notes=_crowd("gulp") if flat else lambda x, y: (),
    )
    return form.measure(
        options=_with({"regularization": regularization, "squared": squared}, degenerate),
        kind="distance",
        is_metric=not squared,
        score_range=(0.0, np.inf),
        identical=0.0,
        invariant_to=AFFINE if flat else LINEAR,
        reference="boixadsera2022",
    )


def _squared_difference(u: Float64, f: Float64, v: Float64, g: Float64) -> float:
    """|U f U' - V g V'|^2 without cancellation: V is split into its part C = U'V within span U and the rest R."""
    c = u.T @ v
    r = v - u @ c
    rest = r.T @ r
    within = np.diag(f) - (c * g) @ c.T
    across = (c * g) @ rest @ (c * g).T
    beyond = (g[:, None] * rest * g) * rest
    return max(0.0, float(np.square(within).sum() + 2 * np.trace(across) + beyond.sum()))


def linear_r2(
    *,
    predicted: Literal["target", "source"] = "target",
    chance_corrected: bool = False,
    degenerate: Degenerate = "raise",
) -> Measure:
    """Share of one system's variance that least squares from the other explains, in sample: |P_x Yc|^2 / |Yc|^2.

    A description of two column spaces, hence of kind "similarity": how well responses to new stimuli are predicted is
    what the encoding measures say.

    Parameters
    ----------
    predicted : {"target", "source"}
        Which side is predicted from the other: y from x, or x from y.
    chance_corrected : bool
        Return (v - null) / (1 - null) with null = rank of the predictor / (n - 1), the exact permutation mean.
    degenerate : {"raise", "allow"}
        What to do when the predictor's rank reaches n - 1, where everything is explained whatever the data.

    Returns
    -------
    Measure
        Similarity in [0, 1] (at most 1 when chance-corrected); not symmetric; invariant to affine maps of the predictor,
        to rotation, scaling and translation of what is predicted.  ``compare`` gives details ``ranks`` (1, 2) and
        ``null_mean``.

    References
    ----------
    Draper & Smith 1998; Kornblith et al. 2019.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> measure = linear_r2()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x @ rng.normal(size=(5, 3)))).score, 6)
    1.0
    """
    choose(predicted, ("target", "source"), "predicted")
    choose(degenerate, ("raise", "allow"), "degenerate")
    from_source = predicted == "target"

    def predictor(x: Spectrum, y: Spectrum) -> Spectrum:
        return x if from_source else y

    def check(x: Spectrum, y: Spectrum) -> None:
        rank = predictor(x, y).rank
        if degenerate == "raise" and rank >= x.n - 1:
            raise MeasureError(
                f"linear_r2: rank {rank} of the predictor reaches the number of stimuli less one ({x.n} - 1): anything "
                "would be explained; use more stimuli or fewer units, or a held-out measure (ridge); "
                "degenerate='allow' returns the number anyway"
            )

    def chance(x: Spectrum, y: Spectrum) -> float:
        return predictor(x, y).rank / (x.n - 1)

    def finish(value: float, x: Spectrum, y: Spectrum) -> float:
        value = min(1.0, value)
        return corrected(value, chance(x, y), "linear_r2") if chance_corrected else value

    form = Form(
        name="linear_r2",
        source=ones if from_source else variances,
        target=variances if from_source else ones,
        finish=finish,
        check=check,
        null=(lambda x, y: 0.0) if chance_corrected else chance,
        notes=lambda x, y: crowded("linear_r2", x.n, predictor(x, y).rank),
    )
    options = {"chance_corrected": chance_corrected} | ({} if from_source else {"predicted": predicted})
    return form.measure(
        options=_with(options, degenerate),
        kind="similarity",
        symmetric=False,
        score_range=(-np.inf if chance_corrected else 0.0, 1.0),
        identical=1.0,
        invariant_to=AFFINE if from_source else LINEAR,
        target_invariant_to=LINEAR if from_source else AFFINE,
        reference="kornblith2019",
    )


def ensd() -> Measure:
    """Effective number of shared dimensions: tr K tr L <K, L> / (|K|^2 |L|^2) = CKA sqrt(PR_x PR_y).

    Returns
    -------
    Measure
        Similarity in [0, sqrt(PR_x PR_y)], PR the participation ratios, so a system with itself gives its PR; symmetric;
        invariant to rotation, scaling and translation.  ``compare`` gives details ``ranks`` (1, 2) and ``null_mean``,
        PR_x PR_y / (n - 1).

    References
    ----------
    Giaffar et al. 2024.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    >>> measure = ensd()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x)).score, 6)
    2.0
    """

    def weights(state: Spectrum) -> Float64:
        shares = variances(state)
        scaled: Float64 = shares / np.square(shares).sum()
        return scaled

    form = Form(
        name="ensd",
        source=weights,
        target=weights,
        finish=lambda value, x, y: value,
        null=lambda x, y: float(weights(x).sum() * weights(y).sum()) / (x.n - 1),
    )
    return form.measure(
        kind="similarity",
        score_range=(0.0, np.inf),
        identical=np.nan,
        invariant_to=LINEAR,
        reference="giaffar2024",
    )


def eigenspace_overlap(*, centre: bool = False, degenerate: Degenerate = "raise") -> Measure:
    """Overlap of two column spaces: |U_x'U_y|^2 / max(rank_x, rank_y).

    Parameters
    ----------
    centre : bool
        Subtract the mean of each unit first.  Not by default, as defined: a mean response that both systems have counts
        as a shared direction.
    degenerate : {"raise", "allow"}
        What to do when rank_x + rank_y >= n - 1.

    Returns
    -------
    Measure
        Similarity in [0, 1]; symmetric; invariant to rotation and scaling of units, with ``centre`` to affine maps.
        Isotropic unrelated data give min(rank) / n.  ``compare`` gives details ``ranks`` (1, 2) and ``null_mean``, the
        exact mean over permuted stimuli.

    References
    ----------
    May et al. 2019.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 4))
    >>> measure = eigenspace_overlap()
    >>> round(measure.compare(measure.prepare(x), measure.prepare(x[:, :2])).score, 6)
    0.5
    """
    choose(degenerate, ("raise", "allow"), "degenerate")
    choose(centre, (True, False), "centre")

    def null(x: Spectrum, y: Spectrum) -> float:
        # A permutation leaves the mean direction alone: its share is a b, all else is spread over n - 1 directions.
        a, b = (0.0, 0.0) if centre else (float(np.square(v.u.sum(axis=0)).sum()) / v.n for v in (x, y))
        return (a * b + (x.rank - a) * (y.rank - b) / (x.n - 1)) / max(x.rank, y.rank)

    form = Form(
        name="eigenspace_overlap",
        source=ones,
        target=ones,
        finish=lambda value, x, y: min(1.0, value / max(x.rank, y.rank)),
        check=_room("eigenspace_overlap", degenerate == "raise"),
        null=null,
        notes=_crowd("eigenspace_overlap"),
    )
    return form.measure(
        centred=centre,
        options=_with({"centre": centre}, degenerate),
        kind="similarity",
        score_range=(0.0, 1.0),
        identical=1.0,
        invariant_to=AFFINE if centre else (LINEAR | {"unit_scaling"}) - {"translation"},
        reference="may2019",
    )
