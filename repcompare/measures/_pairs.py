"""A source as one vector over pairs of stimuli: centred kernels, their products, and subsets of them.

Kernels and distance matrices become comparable once they are centred; a score is then a dot product of two normalised
vectors.  Whatever is centred this way (inner products, rbf kernels, distances) shares this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.gram import offdiagonal_sums, pack_pairs, pack_rows, unpack_pairs
from repcompare.measures._linalg import angle, bounded_cosine, require_variance
from repcompare.measures._measure import Array, Index, Outcome

U_CENTRED = ("debiased", "stimulus_and_unit", "repeats")
UNBOUNDED = ("stimulus_and_unit", "repeats")  # scores that may leave [-1, 1]
ALIKE = 10  # a centred kernel within this many units in the last place of the kernel itself is rounding
BLOCK_NUMBERS = 1 << 21  # numbers in a block of the batched product: 16 MB, whatever the number of sources


@dataclass(frozen=True)
class KernelState:
    """A prepared source: its normalised centred kernel as a vector over pairs, or the responses that make it.

    Attributes
    ----------
    estimator : str
    n : int
        Number of stimuli.
    pairs : ndarray, shape (n (n - 1) / 2,) or, for ``biased``, (n (n + 1) / 2,), optional
        Scaled so that the dot product of two states is their score; the diagonal, if any, comes last.
    factor : ndarray, shape (n_stimuli, n_units), optional
        Column-centred responses of a narrow source, scaled likewise.
    norm : float
        Length of the centred kernel over pairs before it was scaled.
    measure : str
        For messages.
    """

    estimator: str
    n: int
    norm: float
    measure: str = "cka"
    pairs: Array | None = None
    factor: Array | None = None


def from_kernel(
    lower: Array, estimator: str, measure: str = "cka", eps: float | None = None
) -> tuple[KernelState, float]:
    """Centre a kernel, given by its lower triangle (n, n), and normalise it; return its own term before that too.

    ``eps`` is the precision of the data where the kernel has a finer one.
    """
    n = lower.shape[0]
    pairs, diagonal, squares = centred_pairs(lower, estimator)
    require_variance(squares, measure)
    if estimator in U_CENTRED:
        fine = float(np.finfo(lower.dtype).eps) if eps is None else eps
        require_spread(float(np.sqrt(squares)), float(np.linalg.norm(lower)), fine, measure)
    if estimator == "biased":
        pairs = np.concatenate([pairs, diagonal.astype(pairs.dtype)])
    pairs /= pairs.dtype.type(np.sqrt(squares))
    return KernelState(estimator, n, float(np.sqrt(squares)), measure, pairs=pairs), squares


def require_spread(centred: float, whole: float, eps: float, measure: str) -> None:
    """Raise when U-centring leaves only rounding: it takes away all that stimuli at equal distances (one-hot) have."""
    if centred <= ALIKE * eps * whole:
        raise MeasureError(
            f"{measure}: all stimuli are equally far apart (as in one-hot codes), so that nothing is left after centring; "
            "expected distances that differ, or a biased form of the measure"
        )


def centred_pairs(lower: Array, estimator: str) -> tuple[Array, npt.NDArray[np.float64], float]:
    """Centred kernel over pairs, its diagonal / sqrt(2) (biased form), and the sum of squares of what counts."""
    n = lower.shape[0]
    sums = offdiagonal_sums(lower)
    diagonal = lower.diagonal().astype(np.float64)
    pairs = np.empty(n * (n - 1) // 2, dtype=lower.dtype)
    if estimator in U_CENTRED:
        shift, constant = sums / (n - 2), sums.sum() / ((n - 1) * (n - 2))
        return pairs, diagonal, pack_pairs(lower, shift, constant, pairs)
    shift = (sums + diagonal) / n
    constant = shift.mean()
    squares = pack_pairs(lower, shift, constant, pairs)
    diagonal = (diagonal - 2 * shift + constant) / np.sqrt(2)
    if estimator == "biased":
        squares += float(diagonal @ diagonal)
    return pairs, diagonal, squares


def feature_product(x: Array, y: Array, n: int, estimator: str) -> float:
    """Inner product of two centred kernels from centred responses, over pairs i < j (diagonal halved for biased).

    Song et al. 2012 in feature space: |X'Y|^2 - a sum_i |x_i|^2 |y_i|^2 + b |X|^2 |Y|^2, halved.
    """
    cross = float(np.square(x.T @ y, dtype=np.float64).sum())
    if estimator == "biased":
        return cross / 2
    a = np.square(x, dtype=np.float64).sum(axis=1)
    b = np.square(y, dtype=np.float64).sum(axis=1)
    if estimator == "rv2":
        return (cross - float(a @ b)) / 2
    return (cross - n / (n - 2) * float(a @ b) + float(a.sum() * b.sum()) / ((n - 1) * (n - 2))) / 2


def as_pairs(state: KernelState) -> Array:
    """The vector over pairs of a state, made from its responses where those are what it keeps."""
    if state.pairs is not None:
        return state.pairs
    pairs = _segment(state, 0, state.n)
    return np.concatenate([pairs, _diagonal(state)]) if state.estimator == "biased" else pairs


def _segment(state: KernelState, first: int, last: int) -> npt.NDArray[np.float64]:
    """Pairs (i, j < i) of the stimuli i in ``first:last``, in the order of the vector over pairs.

    Kernels of centred responses have row sums 0, so those without the diagonal are -|x_i|^2: rows of a kernel are centred
    without the rest of it.
    """
    if state.pairs is not None:
        return state.pairs[first * (first - 1) // 2 : last * (last - 1) // 2].astype(np.float64, copy=False)
    assert state.factor is not None
    n, x = state.n, state.factor
    shift, constant = np.zeros(n), 0.0
    if state.estimator in U_CENTRED:
        sums = -np.square(x, dtype=np.float64).sum(axis=1)
        shift, constant = sums / (n - 2), float(sums.sum() / ((n - 1) * (n - 2)))
    out = np.empty((last * (last - 1) - first * (first - 1)) // 2)
    pack_rows(x[first:last] @ x[:last].T, first, shift, constant, out)
    return out


def _diagonal(state: KernelState) -> npt.NDArray[np.float64]:
    """Diagonal of a biased state, divided by sqrt(2): it counts once, pairs count twice."""
    if state.pairs is not None:
        return state.pairs[state.n * (state.n - 1) // 2 :].astype(np.float64)
    assert state.factor is not None
    squares: npt.NDArray[np.float64] = np.square(state.factor, dtype=np.float64).sum(axis=1) / np.sqrt(2)
    return squares


def _row_blocks(n: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield blocks of stimuli with about ``count`` pairs each."""
    first = 1
    while first < n:
        last = min(n, max(first + 1, int(np.sqrt(first * (first - 1) + 2 * count))))
        yield first, last
        first = last


def _check_pair(x: KernelState, y: KernelState) -> None:
    if x.n != y.n:
        raise MeasureError(f"{x.measure}: {x.n} stimuli against {y.n}; expected the same stimuli on both sides")


def raw(x: KernelState, y: KernelState) -> float:
    """Dot product of two states in float64, whatever it is."""
    _check_pair(x, y)
    if x.factor is not None and y.factor is not None:
        return feature_product(x.factor, y.factor, x.n, x.estimator)
    blocks = _row_blocks(x.n, BLOCK_NUMBERS)
    product = sum(float(_segment(x, *block) @ _segment(y, *block)) for block in blocks)
    return product + (float(_diagonal(x) @ _diagonal(y)) if x.estimator == "biased" else 0.0)


def score(x: KernelState, y: KernelState) -> float:
    """Dot product of two states; a cosine loses its rounding beyond [-1, 1]."""
    value = raw(x, y)
    return value if x.estimator in UNBOUNDED else bounded_cosine(value, x.measure)


def _chord(x: KernelState, y: KernelState) -> Callable[[], float]:
    return lambda: float(np.linalg.norm(as_pairs(x).astype(np.float64) - as_pairs(y)))


def angle_between(x: KernelState, y: KernelState) -> float:
    """Angle in rad whose cosine is the score."""
    return angle(score(x, y), _chord(x, y))


def raw_many(xs: Sequence[KernelState], ys: Sequence[KernelState]) -> npt.NDArray[np.float64]:
    """All pairs: a product in feature space for narrow sources, else one over blocks of pairs of stimuli."""
    for state in (*xs, *ys):
        _check_pair(xs[0], state)
    widths = [s.factor.shape[1] for s in (*xs, *ys) if s.factor is not None]
    if len(widths) == len(xs) + len(ys) and sum(widths) < xs[0].n:
        return np.array([[raw(x, y) for y in ys] for x in xs])
    same = len(xs) == len(ys) and all(x is y for x, y in zip(xs, ys, strict=True))

    def product(make: Callable[[KernelState], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        left = np.stack([make(x) for x in xs])
        right = left if same else np.stack([make(y) for y in ys])
        return left @ right.T

    out = product(_diagonal) if xs[0].estimator == "biased" else np.zeros((len(xs), len(ys)))
    for block in _row_blocks(xs[0].n, BLOCK_NUMBERS // (len(xs) + len(ys))):
        out += product(lambda state, block=block: _segment(state, *block))  # type: ignore[misc]
    return out


def scores(xs: Sequence[KernelState], ys: Sequence[KernelState]) -> npt.NDArray[np.float64]:
    """Scores (n_sources, n_targets) of all pairs, by blocked products."""
    found = raw_many(xs, ys)
    if xs[0].estimator in UNBOUNDED:
        return found
    bounded_cosine(float(np.abs(found).max()), xs[0].measure)
    return found.clip(-1.0, 1.0)


def angles(xs: Sequence[KernelState], ys: Sequence[KernelState]) -> npt.NDArray[np.float64]:
    """Angles (n_sources, n_targets) in rad of all pairs."""
    cosines = scores(xs, ys)
    return np.array([[angle(cosines[i, j], _chord(x, y)) for j, y in enumerate(ys)] for i, x in enumerate(xs)])


def square_kernel(state: KernelState) -> Array:
    """Centred kernel (n_stimuli, n_stimuli) of a state, of length sqrt(2) (biased: sqrt(2) with its diagonal)."""
    n, pairs = state.n, as_pairs(state)
    full = np.zeros((n, n), dtype=pairs.dtype)
    unpack_pairs(pairs, full)
    if state.estimator == "biased":
        full[np.diag_indices(n)] = pairs[n * (n - 1) // 2 :] * np.sqrt(2).astype(full.dtype)
    return full


def chance(x: KernelState, y: KernelState) -> Outcome:
    """Exact moments of the score under permuted stimuli, as the details of a pair.

    Debiased: mean 0 and variance 2 / (n (n - 3)), whatever the data.  Biased: E<A, P B P'> = tr A tr B / (n - 1) for centred
    positive kernels, here of length 1.
    """
    if x.estimator == "biased":
        traces = [float(_diagonal(state).sum()) for state in (x, y)]  # of kernels of length 1 / sqrt 2 over pairs
        return Outcome(score=np.nan, details={"null_mean": traces[0] * traces[1] / (x.n - 1)})
    return _debiased_chance(x.n) if x.estimator == "debiased" else Outcome(score=np.nan)


@cache
def _debiased_chance(n: int) -> Outcome:
    return Outcome(score=np.nan, details={"null_mean": 0.0, "null_sd": float(np.sqrt(2 / (n * (n - 3))))})


def restrict_pairs(state: KernelState, rows: Index) -> KernelState:
    """Subset or permute the stimuli: centring a sub-block of a centred kernel gives the kernel of the subset."""
    return from_kernel(square_kernel(state)[np.ix_(rows, rows)], state.estimator, state.measure)[0]
