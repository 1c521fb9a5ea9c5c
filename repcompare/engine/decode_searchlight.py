"""Carrying out a decoding searchlight: centres in blocks, the same folds and sets of labels at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.engine.neighbourhoods import Neighbourhoods
from repcompare.engine.progress import ticking
from repcompare.engine.searchlight import (
    BLOCK_BYTES,
    LARGEST_BLOCK,
    REASONS,
    TIE,
    TOO_FEW,
    along,
    groups_of,
    neighbours_of,
)
from repcompare.engine.study import Options, Progress
from repcompare.engine.threads import pool
from repcompare.engine.volume import Volume, as_dataset, as_volume
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.decoding.crossvalidate import Task
from repcompare.measures.decoding.searchlight import Spheres, spheres
from repcompare.measures.rsa.distances import Settings

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a decoding searchlight looks, and how it is carried out; see :func:`repcompare.searchlight`."""

    radius: float = 3.0
    radius_units: str = "voxel"
    mask: Any = None
    neighbours: Any = None
    min_units: int = 10
    memory: int | None = None
    n_jobs: int = 1
    progress: Progress | bool | None = None

    def __post_init__(self) -> None:
        Options(n_jobs=self.n_jobs)  # a whole number
        least = self.min_units
        if isinstance(least, bool) or not isinstance(least, (int, np.integer)) or least < 1:
            raise OptionError(f"min_units={least!r}; expected a whole number of at least 1")
        if self.memory is not None and not self.memory > 0:
            raise OptionError(f"memory={self.memory!r}; expected a number of bytes")

    @property
    def threads(self) -> int:
        """Number of threads."""
        return Options(n_jobs=self.n_jobs).threads


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What is decoded everywhere.

    Attributes
    ----------
    task : Task
        The first set of labels is the true one, the others are permuted ones.
    order : ndarray of int, shape (n_rows,)
        Rows of the volume in the order of the labels.
    record : mapping
        Attributes of the result.
    """

    task: Task
    order: Rows
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Block:
    """What a block of centres gave: permutations that score as much, and the largest score of each permutation."""

    centres: Rows
    scores: Matrix
    reasons: npt.NDArray[np.str_]
    message: str
    above: npt.NDArray[np.int64]
    best: Matrix


def run_decoding(volume: Any, labelling: Labelling, where: Where) -> xr.Dataset:
    """Carry out a decoding searchlight; see :func:`repcompare.searchlight`."""
    ds, labelled = as_dataset(volume)
    source = replace(as_volume(ds, labelled, Settings(), (where.mask, None)), order=labelling.order)
    what = spheres(labelling.task)
    lists = neighbours_of(source.units, where.neighbours, (where.radius, where.radius_units))
    blocks = _blocks(_eligible(lists, where.min_units, source), lists, what, where)
    with pool(where.threads) as each, ticking(len(blocks), where.progress) as tick:

        def work(part: Rows) -> Block:
            done = _block(part, source, lists, what)
            tick(f"{len(part)} centres")
            return done

        done = each(work, blocks)
    record = labelling.record | {
        "neighbours": lists.record,
        "min_units": int(where.min_units),
        "n_units_masked_out": ds.sizes["unit"] - source.n_units,
    }
    return _result(done, source, lists, record)


def _eligible(lists: Neighbourhoods, least: int, source: Volume) -> Rows:
    """Return the centres with enough units around them, along the volume."""
    centres = np.flatnonzero(lists.sizes >= least)
    if not centres.size:
        raise MeasureError(
            f"no centre has {least} units around it; the most are {lists.sizes.max()}; give a smaller min_units= or a "
            "larger radius="
        )
    return along(centres, source)


def _blocks(centres: Rows, lists: Neighbourhoods, what: Spheres, where: Where) -> list[Rows]:
    """Cut the centres into blocks that fit the memory: columns, right rows of every set of labels."""
    n_sets, n = what.task.codes.shape
    largest = int(lists.sizes[centres].max())
    each = 8 * n_sets * (what.task.n_classes + 4) + 8 * 2 * n * min(largest, 64)
    rest = 8 * n * (4 * n + 3 * largest) + 2**21  # hat matrix of one sphere, its columns, a tile of sets
    room = BLOCK_BYTES if where.memory is None else where.memory / where.threads - rest
    if room < each:
        if where.memory is not None:
            raise OptionError(
                f"memory={where.memory} bytes is too little; the searchlight needs at least "
                f"{where.threads * (rest + each)} with {where.threads} threads; raise memory="
            )
        room = each
    size = int(min(LARGEST_BLOCK, room // each))
    return [centres[start : start + size] for start in range(0, len(centres), size)]


def _block(centres: Rows, source: Volume, lists: Neighbourhoods, what: Spheres) -> Block:
    groups = groups_of(centres, lists)
    found = what.run(source.read(groups.units), groups)
    score, null = found.scores[:, 0], found.scores[:, 1:]
    ok = found.reasons == ""
    above = (null >= score[:, None] - TIE).sum(axis=1)
    best = null[ok].max(axis=0) if ok.any() else np.full(null.shape[1], -np.inf)
    return Block(centres, score.copy(), found.reasons, found.message, above, best)


def _result(blocks: Sequence[Block], source: Volume, lists: Neighbourhoods, record: dict[str, Any]) -> xr.Dataset:
    """Put the blocks together as a dataset with the labels of the units."""
    n = source.n_units
    scores, above, reasons = np.full(n, np.nan), np.zeros(n), np.full(n, TOO_FEW, dtype="<U14")
    for block in blocks:
        scores[block.centres], above[block.centres] = block.scores, block.above
        reasons[block.centres] = block.reasons
    if (reasons != "").all():
        first = next((block.message for block in blocks if block.message), str(blocks[0].reasons[0]))
        raise MeasureError(f"no centre could be decoded; the first: {first}")
    out = source.units.copy()
    out["score"] = "unit", scores
    out["n_units"] = "unit", lists.sizes
    out["reason"] = "unit", reasons
    counts = {label: int((reasons == reason).sum()) for reason, label in REASONS.items() if reason != "constant RDM"}
    out.attrs = record | {"n_scored": int((reasons == "").sum())} | counts
    best = np.sort(np.max([block.best for block in blocks], axis=0))
    if not best.size:
        return out
    beaten = len(best) - np.searchsorted(best, scores - TIE)
    missing, total = np.isnan(scores), len(best) + 1
    out["score_pvalue"] = "unit", np.where(missing, np.nan, (1 + above) / total)
    out["score_pvalue_corrected"] = "unit", np.where(missing, np.nan, (1 + beaten) / total)
    out.attrs |= {"side": "greater", "correction": "largest score over centres of each permutation of the labels"}
    return out
