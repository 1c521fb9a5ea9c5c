"""Nulls for recordings: what may be exchanged between two time series that have nothing to do with each other.

Rows of a recording resemble their neighbours, so shuffled rows are no null (type I error near 1).  Whole blocks, random
phases and circular shifts keep the time scale of the data (Theiler 1992; Prichard & Theiler 1994; Harris 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Array, Index
from repcompare.statistics.encoding_tests import FEW_BLOCKS, Blocks, make_blocks, shuffled_rows
from repcompare.statistics.resampling import stream

NULLS = ("auto", "blocks", "phase", "shift")
REFIT = "refit"  # the default, and encoders are fitted again under every permutation
FEWEST_CUTS = 5  # borders of blocks, to tell whether time goes on there
LEAST_ALIKE = 0.2  # correlation of neighbouring rows; less is no matter
SHORTEST_SHIFTED = 1000  # rows: shifts of shorter recordings are few and alike


@dataclass(frozen=True)
class SeriesNull:
    """How a recording is randomised.

    Attributes
    ----------
    kind : {"blocks", "phase", "shift"}
        Whole blocks change places; Fourier phases are drawn anew, the same for all units; rows move around in time.
    pieces : tuple of ndarray
        Rows of each run, or of all: phases and shifts are drawn for each.
    blocks : Blocks, optional
        What changes places.
    note : str
        What to know about it; empty for blocks.
    """

    kind: str
    pieces: tuple[Index, ...]
    blocks: Blocks | None = None
    note: str = ""


@dataclass(frozen=True)
class Phases:
    """Factors of the Fourier coefficients of each piece: exp(2 pi i u), 1 for the mean."""

    pieces: tuple[Index, ...]
    factors: tuple[npt.NDArray[np.complex128], ...]

    def apply(self, values: Array) -> Array:
        """Return the recording (..., n, n_units) with these phases added to its own."""
        out = np.empty_like(values)
        for rows, factor in zip(self.pieces, self.factors, strict=True):
            spectrum = np.fft.rfft(values[..., rows, :], axis=-2) * factor[:, None]
            out[..., rows, :] = np.fft.irfft(spectrum, rows.size, axis=-2)
        return out


def stretches(places: npt.ArrayLike, *labels: npt.ArrayLike | None) -> Index:
    """Number the stretches of a recording: a new one starts where rows were left out, and with every new label.

    Parameters
    ----------
    places : array-like of shape (n,)
        Places of the rows in the whole recording, ascending.
    *labels : array-like of shape (n,), optional
        Runs, sessions.

    Examples
    --------
    >>> stretches([0, 1, 2, 6, 7, 8], [1, 1, 1, 1, 2, 2]).tolist()
    [0, 0, 0, 1, 2, 2]
    """
    new = np.diff(np.asarray(places), prepend=-1) != 1
    for some in labels:
        if some is not None:
            names = np.asarray(some)
            new[1:] |= names[1:] != names[:-1]
    new[:1] = False
    return np.cumsum(new).astype(np.intp)


def exchangeable(labels: npt.ArrayLike) -> Blocks:
    """Return the rows of each label that lie together, of the length that most blocks have.

    Examples
    --------
    >>> len(exchangeable([0, 0, 1, 1, 2, 2, 3]).rows)
    3
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.intp)
    whole = make_blocks([np.arange(codes.size)], groups=codes)[0]
    together = [rows for rows in whole.rows if rows[-1] - rows[0] + 1 == rows.size]
    sizes, counts = np.unique([rows.size for rows in together], return_counts=True)
    if not sizes.size:
        return Blocks((), codes.size)
    kept = tuple(rows for rows in together if rows.size == sizes[counts.argmax()])
    return Blocks(kept, codes.size - sum(rows.size for rows in kept))


def touching(values: Array, blocks: Blocks) -> bool:
    """Whether blocks were cut from one stretch of time: the first row of a block still resembles the last one before it.

    Such blocks are no trials.  What two recordings share by chance across the cuts is lost when blocks change places, so
    the null is too narrow: cut every 50 rows, unrelated AR(1) .95 series differ "significantly" from it in half of all
    cases (trials with breaks between them: .03).

    Parameters
    ----------
    values : ndarray of shape (n, n_units)
        The recording; NaN counts as the mean.
    blocks : Blocks
        What would change places.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(200, 4))
    >>> drift = np.cumsum(noise, axis=0)
    >>> blocks = exchangeable(np.repeat(range(20), 10))
    >>> touching(noise, blocks), touching(drift, blocks)
    (False, True)
    """
    last = np.array([rows[-1] for rows in blocks.rows if rows.size > 1], dtype=np.intp)
    first = {int(rows[0]) for rows in blocks.rows}
    last = np.array([end for end in last.tolist() if end + 1 in first], dtype=np.intp)
    if last.size < FEWEST_CUTS:
        return False
    seen = np.isfinite(values)
    mean = np.where(seen, values, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(seen.sum(axis=0), 1)
    centred = np.where(seen, values - mean, 0.0)
    within, across = (_alike(centred[last + a], centred[last + a + 1]) for a in (-1, 0))
    return within > LEAST_ALIKE and across > within / 2


def _alike(a: Array, b: Array) -> float:
    """Correlation of rows with rows, mean over the units that vary, each centred before."""
    size = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    varying = size > 0
    return float(((a * b).sum(axis=0)[varying] / size[varying]).mean()) if varying.any() else 0.0


def series_null(
    n: int,
    kind: str = "auto",
    *,
    labels: Sequence[npt.ArrayLike] = (),
    runs: Index | None = None,
    complete: bool = True,
) -> SeriesNull:
    """Choose how a recording is randomised, in the order blocks, phases, shifts.

    Parameters
    ----------
    n : int
        Number of rows.
    kind : {"auto", "blocks", "phase", "shift"}
        ``"auto"`` takes the first that these data allow.
    labels : sequence of array-like of shape (n,)
        Trials, runs or sessions of the rows: blocks that may change places.  20 of one length are needed.
    runs : ndarray of shape (n,), optional
        Stretches without a break, where phases and shifts are drawn for each.
    complete : bool
        No value is missing; random phases need that.

    Returns
    -------
    SeriesNull

    Raises
    ------
    OptionError
        When the data allow none, or not the one asked for.

    Examples
    --------
    >>> series_null(300).kind, series_null(300, labels=[np.repeat(range(30), 10)]).kind
    ('phase', 'blocks')
    """
    choose(kind, NULLS, "null")
    blocks = _longest([exchangeable(some) for some in labels], n)
    pieces = (np.arange(n),) if runs is None else tuple(np.flatnonzero(runs == r) for r in np.unique(runs))
    able = {"blocks": len(blocks.rows) >= FEW_BLOCKS, "phase": complete, "shift": n >= SHORTEST_SHIFTED}
    found = next((name for name in NULLS[1:] if able[name]), "") if kind == "auto" else kind
    if not found or not able[found]:
        raise OptionError(
            f"null={kind!r}: the rows of a recording cannot be shuffled one by one, and there are {len(blocks.rows)} whole "
            f"blocks of one length, {n} rows{'' if complete else ', and missing values'}; expected {FEW_BLOCKS} blocks "
            f"(groups= with trials, runs or sessions), no missing values for null='phase', or {SHORTEST_SHIFTED} rows for "
            "null='shift'; leave out permutations= otherwise"
        )
    notes = {
        "blocks": f"rows_fixed: {blocks.n_dropped} rows in no whole block stay in place" if blocks.n_dropped else "",
        "phase": f"phase_surrogates: {len(blocks.rows)} whole blocks could change places, fewer than {FEW_BLOCKS}, so the "
        "target's phases are drawn anew: valid for stationary recordings",
        "shift": "circular_shift: p-values of shifted recordings are slightly too small",
    }
    return SeriesNull(found, pieces, blocks if found == "blocks" else None, notes[found])


def _longest(found: Sequence[Blocks], n: int) -> Blocks:
    """Return the fewest blocks that are enough, which are the longest; else the most."""
    enough = [blocks for blocks in found if len(blocks.rows) >= FEW_BLOCKS]
    if enough:
        return min(enough, key=lambda blocks: len(blocks.rows))
    return max(found, key=lambda blocks: len(blocks.rows), default=Blocks((), n))


def draws(null: SeriesNull, n: int, count: int, seed: int) -> list[Index | Phases]:
    """Draw orders of the rows, or phases; one draw serves all sources, targets and measures.

    Parameters
    ----------
    null : SeriesNull
        How.
    n : int
        Number of rows.
    count : int
        How many.
    seed : int
        Seed.

    Examples
    --------
    >>> [order.size for order in draws(series_null(1000, "shift"), 1000, 2, seed=0)]
    [1000, 1000]
    """
    if null.blocks is not None:
        return list(shuffled_rows([null.blocks], n, count, seed))
    rng = stream(seed, "series permutations")
    if null.kind == "phase":
        return [Phases(null.pieces, tuple(_factors(rows.size, rng) for rows in null.pieces)) for _ in range(count)]
    return [_shifted(null.pieces, n, rng) for _ in range(count)]


def _factors(n: int, rng: np.random.Generator) -> npt.NDArray[np.complex128]:
    """Unit factors of the coefficients of n rows: 1 for the mean, a sign for the highest frequency of an even n."""
    factors: npt.NDArray[np.complex128] = np.exp(2j * np.pi * rng.random(n // 2 + 1))
    factors[0] = 1.0
    if n % 2 == 0 and n > 1:
        factors[-1] = 1.0 if factors[-1].real > 0 else -1.0
    return factors


def _shifted(pieces: tuple[Index, ...], n: int, rng: np.random.Generator) -> Index:
    """Move the rows of each piece around by at least a tenth of its length."""
    order = np.arange(n)
    for rows in pieces:
        least = -(-rows.size // 10)
        order[rows] = np.roll(rows, int(rng.integers(least, max(rows.size - least, least) + 1)))
    return order
