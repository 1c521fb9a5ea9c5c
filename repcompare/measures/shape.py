"""Shape metrics: how far apart two systems are after the best rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._linalg import (
    angle,
    bounded_cosine,
    nuclear_norm,
    require_variance,
    square_root_factor,
)
from repcompare.measures._measure import Array, Index, Measure

SCORES = ("angular", "euclidean", "similarity")


@dataclass(frozen=True)
class ShapeState:
    """A prepared source: ``factor`` F (n_stimuli, at most n_stimuli) with F F' = Xc Xc', and its Frobenius norm."""

    factor: npt.NDArray[np.float64]
    norm: float


def procrustes(score: Literal["angular", "euclidean", "similarity"] = "angular", *, scale: bool = True) -> Measure:
    """Orthogonal Procrustes: the distance that is left after the best rotation.

    Parameters
    ----------
    score : {"angular", "euclidean", "similarity"}
        ``similarity``: NBS = |Xc'Yc|_* / (|Xc| |Yc|), the normalised Bures similarity, in [0, 1].  ``angular``:
        arccos NBS in rad, in [0, pi/2].  ``euclidean``: sqrt(2 - 2 NBS) in [0, sqrt 2] with ``scale=True``, or with
        ``scale=False`` sqrt(|Xc|^2 + |Yc|^2 - 2 |Xc'Yc|_*) in response units.
    scale : bool
        Divide by the Frobenius norm after centring.

    Returns
    -------
    Measure
        Symmetric; the distances are metrics.  Invariant to rotation and translation, with ``scale`` also to scaling.

    Raises
    ------
    OptionError
        ``scale=False`` with a score other than ``"euclidean"``.

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
    compare = {"similarity": _similarity, "angular": _angular}.get(score, _chord if scale else _bures)
    highest = {"similarity": 1.0, "angular": np.pi / 2, "euclidean": np.sqrt(2.0) if scale else np.inf}[score]
    always = {"rotation", "translation", "permutation"}
    return Measure(
        name="procrustes",
        options={"score": score} | ({} if scale else {"scale": False}),
        prepare=_prepare,
        compare=compare,
        restrict=_restrict,
        kind="similarity" if score == "similarity" else "distance",
        is_metric=score != "similarity",
        score_range=(0.0, float(highest)),
        identical=float(score == "similarity"),
        invariant_to=frozenset(always | ({"scaling", "duplication"} if scale else set())),
        unit={"angular": "rad", "similarity": "1"}.get(score, "1" if scale else "response"),
        reference="williams2021",
    )


def _prepare(values: Array) -> ShapeState:
    factor = square_root_factor(values)
    norm = float(np.linalg.norm(factor))
    require_variance(norm, "procrustes")
    return ShapeState(factor, norm)


def _restrict(state: ShapeState, rows: Index) -> ShapeState:
    return _prepare(state.factor[rows])


def _overlap(x: ShapeState, y: ShapeState) -> npt.NDArray[np.float64]:
    if len(x.factor) != len(y.factor):
        raise MeasureError(f"procrustes: {len(x.factor)} stimuli against {len(y.factor)}; expected the same stimuli")
    return (x.factor / x.norm).T @ (y.factor / y.norm)


def _similarity(x: ShapeState, y: ShapeState) -> float:
    return bounded_cosine(nuclear_norm(_overlap(x, y)), "procrustes")


def _angular(x: ShapeState, y: ShapeState) -> float:
    return angle(_similarity(x, y), lambda: _residual(x.factor / x.norm, y.factor / y.norm))


def _chord(x: ShapeState, y: ShapeState) -> float:
    return 2 * float(np.sin(_angular(x, y) / 2))


def _bures(x: ShapeState, y: ShapeState) -> float:
    total = x.norm**2 + y.norm**2
    squared = total - 2 * x.norm * y.norm * nuclear_norm(_overlap(x, y))
    if squared < 1e-6 * total:  # the difference has lost its digits
        return _residual(x.factor, y.factor)
    return float(np.sqrt(squared))


def _residual(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """|X - Y Q| for the best rotation Q; the narrower side is padded with silent units."""
    width = max(x.shape[1], y.shape[1])
    x = np.pad(x, ((0, 0), (0, width - x.shape[1])))
    y = np.pad(y, ((0, 0), (0, width - y.shape[1])))
    u, _, vt = scipy.linalg.svd(y.T @ x, check_finite=False)
    return float(np.linalg.norm(x - y @ (u @ vt)))
