"""Exact debiased CKA in one pass over chunks of stimuli: for data that never fit into memory at once.

Sums over stimuli are all that is kept; those of several workers add up.  Averaging the scores of minibatches, the usual
shortcut, is another number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._linalg import Float64, bounded_cosine, require_variance


@dataclass(frozen=True)
class StreamingCKA:
    """Sums over the stimuli seen so far of L sources with p_1 ... p_L units, P in all.

    Attributes
    ----------
    widths : tuple of int
        Units of each source.
    shift : ndarray of shape (P,), optional
        Constants that are subtracted from the units (the score does not depend on them, its digits do); by default the
        means of the first chunk.  Workers whose sums are to be added must use the same.
    n : int
        Stimuli seen.
    total : ndarray of shape (P,)
        Sum of responses.
    gram : ndarray of shape (P, P)
        Sum of outer products of responses.
    squares : ndarray of shape (L, L)
        Sum over stimuli of |x_l|^2 |x_m|^2.
    norms : ndarray of shape (L,)
        Sum of |x_l|^2.
    weighted : ndarray of shape (P, L)
        Sum of responses times |x_m|^2.

    Notes
    -----
    With k = |s_x|^2 - A and kl = s_x'G s_y - s_x'u - s_y'v + AB, the unbiased estimator of Song et al. 2012 is
    h = |G|^2 - AB + k l / ((n - 1)(n - 2)) - 2 kl / (n - 2): exact, whatever the chunks.

    Examples
    --------
    >>> import numpy as np
    >>> from repcompare.measures.cka import cka
    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> y = x[:, :3] + 0.5
    >>> sums = StreamingCKA((4, 3))
    >>> for rows in (slice(0, 20), slice(20, 50)):
    ...     sums = sums.update([x[rows], y[rows]])
    >>> measure = cka()
    >>> bool(abs(sums.scores()[0, 1] - measure.compare(measure.prepare(x), measure.prepare(y))) < 1e-12)
    True
    """

    widths: tuple[int, ...]
    shift: Float64 | None = field(default=None, repr=False)
    n: int = 0
    total: Float64 = field(default_factory=lambda: np.zeros(0), repr=False)
    gram: Float64 = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    squares: Float64 = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    norms: Float64 = field(default_factory=lambda: np.zeros(0), repr=False)
    weighted: Float64 = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def update(self, chunk: Sequence[npt.ArrayLike]) -> StreamingCKA:
        """Return the sums with further stimuli.

        Parameters
        ----------
        chunk : sequence of L arrays, shape (n_chunk, p_l)
            Responses of every source to the same stimuli, none of which was seen before.

        Raises
        ------
        MeasureError
            When shapes do not match, or values are missing or infinite.
        """
        stacked = _stacked(chunk, self.widths)
        shift = stacked.mean(axis=0) if self.shift is None else self.shift
        x = stacked - shift
        ends = np.cumsum(self.widths)[:-1]
        norms = np.stack([np.square(part).sum(axis=1) for part in np.split(x, ends, axis=1)], axis=1)
        new = replace(
            self,
            shift=shift,
            n=len(x),
            total=x.sum(axis=0),
            gram=x.T @ x,
            squares=norms.T @ norms,
            norms=norms.sum(axis=0),
            weighted=x.T @ norms,
        )
        return new if self.n == 0 else self.merge(new)

    def merge(self, other: StreamingCKA) -> StreamingCKA:
        """Return the sums of two workers that saw different stimuli.

        Raises
        ------
        MeasureError
            When they have different sources or shifts.
        """
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        if self.widths != other.widths:
            raise MeasureError(f"sources of {self.widths} units against {other.widths}; expected the same sources")
        assert self.shift is not None and other.shift is not None
        if not np.array_equal(self.shift, other.shift):
            raise MeasureError("the workers used different shifts; give all of them the shift= of the first")
        names = ("n", "total", "gram", "squares", "norms", "weighted")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def scores(self) -> Float64:
        """Return debiased CKA of all pairs of sources, shape (L, L), in [-1, 1].

        Raises
        ------
        MeasureError
            With fewer than 4 stimuli, or for a source without variance.
        """
        if self.n < 4:
            raise MeasureError(f"cka: {self.n} stimuli; expected at least 4; add stimuli")
        products = np.array([[self._product(i, j) for j in range(len(self.widths))] for i in range(len(self.widths))])
        own = np.diagonal(products)
        for value in own:
            require_variance(float(value), "cka")
        found = products / np.sqrt(np.outer(own, own))
        bounded_cosine(float(np.abs(found).max()), "cka")
        return found.clip(-1.0, 1.0)

    def _product(self, i: int, j: int) -> float:
        """Unbiased HSIC of sources i and j, times n (n - 3)."""
        n, at = self.n, np.concatenate([[0], np.cumsum(self.widths)])
        x, y = slice(at[i], at[i + 1]), slice(at[j], at[j + 1])
        g, s, t = self.gram[x, y], self.total[x], self.total[y]
        k, m = float(s @ s - self.norms[i]), float(t @ t - self.norms[j])
        both = float(self.squares[i, j])
        mixed = float(s @ g @ t - s @ self.weighted[x, j] - t @ self.weighted[y, i]) + both
        return float(np.square(g).sum()) - both + k * m / ((n - 1) * (n - 2)) - 2 * mixed / (n - 2)


def _stacked(chunk: Sequence[npt.ArrayLike], widths: tuple[int, ...]) -> Float64:
    parts = [np.asarray(part, dtype=np.float64) for part in chunk]
    shapes = [part.shape for part in parts]
    if [s[1:] for s in shapes] != [(w,) for w in widths] or len({s[0] for s in shapes}) != 1 or not shapes[0][0]:
        raise MeasureError(f"a chunk has shapes {shapes}; expected the same number of stimuli and {widths} units")
    stacked = np.concatenate(parts, axis=1)
    if not np.isfinite(stacked).all():
        raise MeasureError("a chunk has missing or infinite values; expected finite numbers")
    return stacked
