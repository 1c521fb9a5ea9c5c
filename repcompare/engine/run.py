"""Carrying out a plan: prepare parts, compare tile by tile, then intervals and p-values from the states."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from repcompare.engine.cells import Cells
from repcompare.engine.checkpoint import Checkpoint
from repcompare.engine.pairs import compare_tile
from repcompare.engine.plan import Plan, make_plan
from repcompare.engine.prepare import PartInfo, Prepared, identify_part, prepare_part
from repcompare.engine.progress import Tick, ticking
from repcompare.engine.resample import Resampled, Work, n_resamples, resample
from repcompare.engine.results import to_scores
from repcompare.engine.selection import add_reverse, add_selection
from repcompare.engine.study import Study
from repcompare.engine.threads import Map, workers
from repcompare.errors import MeasureError

log = logging.getLogger("repcompare.plan")


def run(study: Study) -> xr.Dataset:
    """Plan and carry out a study.

    Parameters
    ----------
    study : Study
        What to compare.

    Returns
    -------
    xarray.Dataset
        Scores.  The same study and seed give the same numbers for any number of threads and any tiling.

    Raises
    ------
    RepcompareError
        For bad input, naming the part; and when no cell of a measure could be computed.
    """
    started = time.perf_counter()
    plan = make_plan(study)
    log.info("plan: %s", plan)
    store = Checkpoint.of(plan)
    with workers(plan) as each, ticking(_n_tasks(plan), study.options.progress) as tick:
        states = States(plan, each, tick, store)
        tables = _all_tiles(plan, states, store)
        resampled = {label: Resampled() for label in tables}
        if study.options.permutations or study.options.confidence:
            sources = states.get(range(len(study.sources)))
            targets = sources if study.square else states.get(range(len(study.sources), len(plan.parts)))
            work = Work(plan, sources, targets, each, tick)
            resampled = {label: resample(work, label, tables[label]) for label in tables}
        infos = states.all_infos()
    if store is not None:
        log.info("checkpoint: %d of %d tiles reused", store.hits, len(plan.tiles))
    sides = (infos, infos) if study.square else (infos[: len(study.sources)], infos[len(study.sources) :])
    return to_scores(plan, sides, tables, resampled, time.perf_counter() - started)


def _n_tasks(plan: Plan) -> int:
    return len(plan.parts) + len(plan.tiles) + n_resamples(plan)


@dataclass
class States:
    """Prepared parts by their position in the plan: made when asked for, dropped when the plan holds fewer."""

    plan: Plan
    each: Map[Any, Any]
    tick: Tick
    store: Checkpoint | None
    held: dict[int, Prepared] = field(default_factory=dict)
    infos: dict[int, PartInfo] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)

    def get(self, wanted: Iterable[int]) -> list[Prepared]:
        """Return prepared parts; others are dropped when not all fit."""
        wanted = list(wanted)
        if self.plan.forget:
            self.held = {i: p for i, p in self.held.items() if i in set(wanted)}
        missing = [i for i in dict.fromkeys(wanted) if i not in self.held]
        for i, prepared in zip(missing, self.each(self._prepare, missing), strict=True):
            self.held[i] = prepared
            self.infos[i] = prepared.info
        return [self.held[i] for i in wanted]

    def _prepare(self, i: int) -> Prepared:
        prepared = prepare_part(self.plan.parts[i], self.plan)
        if self.store is not None:
            record = {"ceilings": prepared.info.ceilings, "warnings": prepared.info.warnings}
            self.store.save_part(self.store.part_key(prepared.info), record)
        self._tell(i)
        return prepared

    def _tell(self, i: int) -> None:
        if i not in self.told:  # a tiled run may prepare a part more than once
            self.told.add(i)
            self.tick(self.plan.parts[i].name)

    def identify(self) -> None:
        """Read every part once, only to know what it is: the keys of a checkpoint."""
        found = self.each(lambda part: identify_part(part, self.plan), self.plan.parts)
        for i, info in enumerate(found):
            record = self.store.load_part(self.store.part_key(info)) if self.store else {}
            ceilings = {k: float(v) for k, v in record.get("ceilings", {}).items()}
            self.infos[i] = replace(info, ceilings=ceilings, warnings=tuple(record.get("warnings", ())))

    def all_infos(self) -> list[PartInfo]:
        """Return what is known of every part, in the order of the plan."""
        for i in range(len(self.plan.parts)):
            self._tell(i)  # parts whose tiles were all found need no preparation
        return [self.infos[i] for i in range(len(self.plan.parts))]


def _all_tiles(plan: Plan, states: States, store: Checkpoint | None) -> dict[str, Cells]:
    """Compare tile by tile; finished tiles are taken from the checkpoint."""
    study = plan.study
    offset = 0 if study.square else len(study.sources)
    tables = {label: Cells.empty(len(study.sources), len(study.targets)) for label in study.measures}
    if store is not None:
        states.identify()
    for rows, columns in plan.tiles:
        source_at = range(rows.start, rows.stop)
        target_at = range(columns.start + offset, columns.stop + offset)
        key = store.tile([states.infos[i] for i in source_at], [states.infos[i] for i in target_at]) if store else ""
        found = store.load(key, list(study.measures)) if store else None
        if found is None:
            found = _tile(plan, states, source_at, target_at)
            if store:
                store.save(key, found)
        for label, cells in found.items():
            tables[label].place(cells, rows, columns)
            if plan.mirrored and rows != columns:
                tables[label].place(cells.mirrored(), columns, rows)
        states.tick(f"{rows.stop} x {columns.stop}")
    for label, cells in tables.items():
        if (cells.reason != "").all():
            raise MeasureError(f"{label}: no cell could be computed; the first: {cells.reason.flat[0]}")
    return tables


def _tile(plan: Plan, states: States, rows: Sequence[int], columns: Sequence[int]) -> dict[str, Cells]:
    prepared = states.get([*rows, *columns])
    sources, targets = prepared[: len(rows)], prepared[len(rows) :]
    out = {}
    for label, measure in plan.study.measures.items():
        counting = plan.study.options.nan == "pairwise" and measure.accepts_nan
        x, y = [s.as_source[label] for s in sources], [t.as_target[label] for t in targets]
        cells = out[label] = compare_tile(measure, x, y, states.each, counting=counting)
        if plan.reverses(measure):
            add_reverse(cells, label, measure, (sources, targets), states.each)
        if plan.drawn.choices is not None:
            add_selection(cells, label, plan, (sources, targets), states.each)
    return out
