"""From a study to its tasks: alignment, folds, counts, and an estimate of memory, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from repcompare.engine.label_rows import class_folds, with_classes
from repcompare.engine.rows import (
    Choices,
    Rows,
    Subsets,
    describe_rows,
    draw_folds,
    make_choices,
    make_null,
    make_subsets,
)
from repcompare.engine.study import Options, Study, known_ceilings
from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.labels.align import Alignment, align, to_matrix
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.measures._measure import Folds, Measure
from repcompare.statistics.held_out_tests import MOST_BYTES
from repcompare.statistics.series import SeriesNull

OVERHEAD = 1.2  # of the sum of states and buffers
TILES_PER_SIDE = 8
Side = Literal["source", "target", "both"]


@dataclass(frozen=True)
class Part:
    """One part of a study: a representation, on one side of the comparison or on both."""

    name: str
    side: Side
    data: xr.Dataset

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{'source' if self.side == 'both' else self.side} {self.name!r}"


@dataclass(frozen=True)
class Drawn:
    """What is drawn by the seed, once for all parts.

    Attributes
    ----------
    rows : Rows
        What the rows are.
    folds : Folds or None
        Of the fitted measures.
    choices : Choices or None
        Of the nested choice of a source.
    null : SeriesNull or None
        How a recording is permuted; None where stimuli are.
    subsets : Subsets or None
        Of the intervals.
    """

    rows: Rows
    folds: Folds | None
    choices: Choices | None
    null: SeriesNull | None
    subsets: Subsets | None


@dataclass(frozen=True)
class Plan:
    """A study with everything decided.

    Attributes
    ----------
    study : Study
    parts : tuple of Part
        What is prepared, each once.
    alignment : Alignment
        Shared stimuli, and those that a part lacks.
    stimuli : ndarray of str, shape (n_stimuli,)
        Those that are compared: the shared ones, less those with missing values under ``nan="drop_stimuli"``.
    drawn : Drawn
        Folds, choices and resamples.
    memory : int
        Estimated peak in bytes.
    block : int
        Parts of one side in a tile.
    forget : bool
        States do not all fit: only those of the tile at hand are held.
    """

    study: Study
    parts: tuple[Part, ...]
    alignment: Alignment
    stimuli: np.ndarray
    drawn: Drawn
    memory: int
    block: int
    forget: bool

    def reverses(self, measure: Measure) -> bool:
        """Whether the targets are compared as sources too; in a square table they are already."""
        return self.study.options.direction == "both" and not measure.symmetric and not self.study.square

    @property
    def folds(self) -> Folds | None:
        """Folds of the fitted measures."""
        return self.drawn.folds

    def keeps_values(self, measure: Measure, side: Side) -> bool:
        """Whether states of the measure are made again from the responses: permuted, or of other rows."""
        options, null = self.study.options, self.drawn.null
        prepared_anew = measure.restrict is None or measure.fitted
        surrogate = null is not None and null.kind == "phase"
        permuted = bool(options.permutations) and side != "source" and (measure.restrict is None or surrogate)
        return permuted or (options.best and prepared_anew)

    @property
    def tiles(self) -> list[tuple[slice, slice]]:
        """Blocks of sources and targets that are compared together; those below the diagonal follow by symmetry."""
        study = self.study
        rows, columns = (
            [slice(i, min(i + self.block, n)) for i in range(0, n, self.block)]
            for n in (len(study.sources), len(study.targets))
        )
        return [(r, c) for r in rows for c in columns if not (self.mirrored and c.start < r.start)]

    @property
    def mirrored(self) -> bool:
        """Whether the lower triangle of the table repeats the upper one."""
        return self.study.square and all(m.symmetric for m in self.study.measures.values())

    @property
    def n_cells(self) -> int:
        """Number of scores."""
        return len(self.study.sources) * len(self.study.targets) * len(self.study.measures)

    def __str__(self) -> str:
        study = self.study
        left = self.alignment.n_left_out
        return (
            f"{len(study.sources)} source x {len(study.targets)} target parts, {len(study.measures)} measures, "
            f"{len(self.stimuli)} shared stimuli{f' ({left} others left out)' if left else ''}: "
            f"{len(self.parts)} parts to prepare, {self.n_cells} scores"
            f"{f' in {len(self.tiles)} tiles' if len(self.tiles) > 1 else ''}, about {_size(self.memory)}"
        )


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"


def make_plan(study: Study) -> Plan:
    """Align the parts, draw the folds and estimate the memory.

    Raises
    ------
    AlignmentError
        When the stimuli do not match as the study demands.
    MeasureError
        When there are fewer stimuli than a measure needs.
    OptionError
        When the plan needs more than the memory it may use.
    """
    if study.options.ceiling_name == "given":
        known_ceilings(study.options.ceiling, list(study.targets))
    parts = _parts(study)
    alignment = align({p.title: p.data for p in parts}, study.options.stimuli)
    stimuli = _in_time(parts, alignment.stimuli)
    if study.options.nan == "drop_stimuli":
        stimuli = _complete_stimuli(parts, stimuli)
    for label, measure in study.measures.items():
        if len(stimuli) < measure.min_stimuli:
            raise MeasureError(
                f"{label}: {len(stimuli)} stimuli to compare; expected at least {measure.min_stimuli}; add stimuli"
            )
    drawn = _draw(study, stimuli)
    return Plan(study, parts, alignment, stimuli, drawn, *_memory(study, parts, drawn))


def _draw(study: Study, stimuli: np.ndarray) -> Drawn:
    options, measures = study.options, list(study.measures.values())
    rows = with_classes(describe_rows(study, stimuli), study, stimuli)
    decoders = all(m.classes is not None for m in measures)  # exchange labels
    null = None if decoders else make_null(study, stimuli, rows)
    subsets = make_subsets(rows, options, measures)
    stratified = None if rows.classes is None else class_folds
    folds = draw_folds(rows, options, stratified) if any(m.fitted for m in measures) else None
    return Drawn(rows, folds, make_choices(study, rows, folds), null, subsets)


def _parts(study: Study) -> tuple[Part, ...]:
    if study.square:
        return tuple(Part(name, "both", ds) for name, ds in study.sources.items())
    sources = [Part(name, "source", ds) for name, ds in study.sources.items()]
    return (*sources, *(Part(name, "target", ds) for name, ds in study.targets.items()))


def _in_time(parts: tuple[Part, ...], stimuli: np.ndarray) -> np.ndarray:
    """Return the names of a recording's rows in the order of time: sorted as text, 10 s comes before 2 s."""
    recording = next((p.data for p in parts if sample_dim(p.data) == "time"), None)
    if recording is None:
        return stimuli
    place = {name: i for i, name in enumerate(stimulus_labels(recording).tolist())}
    return stimuli[np.argsort([place[name] for name in stimuli.tolist()], kind="stable")]


def _complete_stimuli(parts: tuple[Part, ...], stimuli: np.ndarray) -> np.ndarray:
    keep = np.ones(len(stimuli), dtype=bool)
    for part in parts:
        keep &= ~np.isnan(to_matrix(part.data, stimuli)).any(axis=1)
    if not keep.any():
        raise AlignmentError(
            "nan='drop_stimuli' leaves no stimulus: each misses a value somewhere; try nan='drop_units'"
        )
    return stimuli[keep]


def _memory(study: Study, parts: tuple[Part, ...], drawn: Drawn) -> tuple[int, int, bool]:
    """Estimate the peak in bytes, how many parts of a side make a tile, and whether states must be dropped between tiles.

    Counted are the states, the arrays being prepared, and one more copy of each for centring.
    """
    options, n, limit = study.options, drawn.rows.n, study.options.most_bytes
    states, buffer = [], 0
    for part in parts:
        p, itemsize = part.data.sizes["unit"], part.data["response"].dtype.itemsize
        buffer = max(buffer, part.data["response"].size * itemsize + n * min(p, n) * 8)
        states.append(sum(_state_bytes(part, m, drawn, options) for m in study.measures.values()))
    if (options.permutations or options.confidence) and any(m.held_out is not None for m in study.measures.values()):
        widest = max(ds.sizes["unit"] for ds in study.targets.values())  # predictions of one target by all sources
        buffer += 8 * n * widest * -(-len(study.sources) // options.threads) + MOST_BYTES
    table = 100 * len(study.sources) * len(study.targets) * len(study.measures)  # numbers and their labels
    rest = options.threads * buffer + table
    whole = int(OVERHEAD * (sum(states) + rest))
    longest = max(len(study.sources), len(study.targets))
    if limit is None or whole <= limit:
        return whole, _checkpointed(longest) if options.checkpoint is not None else longest, False
    block = int((limit / OVERHEAD - rest) / (2 * max(states)))  # a block of sources and one of targets
    if options.permutations or options.confidence or block < 1:
        least = whole if options.permutations or options.confidence else int(OVERHEAD * (2 * max(states) + rest))
        raise OptionError(
            f"memory={limit} bytes is too little: the run needs at least {least} ({_size(least)}) for "
            f"{len(parts)} parts of {n} stimuli; raise memory=, compare fewer parts at a time"
            + (", or leave out confidence= and permutations=" if least == whole else "")
        )
    return limit, min(block, longest), True


def _state_bytes(part: Part, measure: Measure, drawn: Drawn, options: Options) -> int:
    """Bytes of the states of one part for one measure: both roles, and a second set and the responses for choices."""
    p, itemsize = part.data.sizes["unit"], part.data["response"].dtype.itemsize
    folds = len(drawn.folds) if drawn.folds is not None and measure.fitted else 1
    one = measure.state_bytes(drawn.rows.n, p, itemsize, folds)
    roles = 2 if options.direction == "both" and not measure.symmetric and part.side != "both" else 1
    if not options.best:
        return roles * one
    return (roles + options.threads) * one + part.data["response"].size * itemsize


def _checkpointed(longest: int) -> int:
    """Parts of a side per tile where memory sets no limit: small enough that an interrupted run has kept something."""
    return max(1, -(-longest // TILES_PER_SIDE))
