"""Finished tiles on disk, found again by what they were computed from: contents, measures, stimuli, folds, seed.

Paths, dates, thread counts and tile order are not part of a key, so an interrupted run resumes whatever has changed
around it, and a changed input recomputes only its own tiles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repcompare.engine.cells import Cells
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import PartInfo
from repcompare.engine.rows import Choices
from repcompare.labels.store import atomic
from repcompare.measures._measure import Folds, Measure

log = logging.getLogger("repcompare.plan")
FORMAT = "repcompare-checkpoint-5"


@dataclass
class Checkpoint:
    """A folder of results.

    Attributes
    ----------
    folder : Path
        Made when it does not exist.
    context : str
        Hash of everything that all tasks of the study share.
    resume : bool
        Use what is there; otherwise replace it.
    hits : int
        Tiles that were found.
    """

    folder: Path
    context: str
    resume: bool
    hits: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Checkpoint | None:
        """Return the checkpoint of a plan, or None when it has none."""
        options = plan.study.options
        if options.checkpoint is None:
            return None
        return cls(Path(options.checkpoint), _context(plan), options.resume)

    def tile(self, rows: Sequence[PartInfo], columns: Sequence[PartInfo]) -> str:
        """Return the key of a tile."""
        return _hash([self.context, [r.key for r in rows], [c.key for c in columns]])

    def load(self, key: str, labels: Sequence[str]) -> dict[str, Cells] | None:
        """Return the results of a tile, or None when they are not there or cannot be read."""
        path = self._path(key)
        if not self.resume or not path.exists():
            return None
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as found:
                tables = {}
                for k, label in enumerate(labels):
                    mine = {n.partition("/")[2]: found[n] for n in found.files if n.startswith(f"{k}/")}
                    tables[label] = Cells.from_arrays(mine)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("checkpoint %s cannot be read (%s): computed again", path.name, error)
            return None
        self.hits += 1
        return tables

    def save(self, key: str, tables: Mapping[str, Cells]) -> None:
        """Write the results of a tile atomically."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"{k}/{n}": a for k, cells in enumerate(tables.values()) for n, a in cells.to_arrays().items()}
        with atomic(path) as part, open(part, "wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)

    def load_part(self, key: str) -> dict[str, Any]:
        """Return what was recorded about a part (ceilings, warnings); empty when it was never prepared."""
        path = self._path(key).with_suffix(".json")
        if not self.resume or not path.exists():
            return {}
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            log.warning("checkpoint %s cannot be read (%s): computed again", path.name, error)
            return {}
        return found

    def save_part(self, key: str, record: Mapping[str, Any]) -> None:
        """Write what belongs to a part beside its states."""
        path = self._path(key).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            part.write_text(json.dumps(record), encoding="utf-8")

    def part_key(self, info: PartInfo) -> str:
        """Return the key of what is recorded about a part."""
        return _hash([self.context, "part", info.key])

    def _path(self, key: str) -> Path:
        return self.folder / "tasks" / key[:2] / f"{key}.npz"


def _context(plan: Plan) -> str:
    options = plan.study.options
    # a list: tables are filed by the position of their measure, so another order is another tile
    return _hash(
        {
            "format": FORMAT,
            "measures": [[label, *_definition(m)] for label, m in plan.study.measures.items()],
            "stimuli": plan.stimuli.tolist(),
            "folds": _drawn(plan.folds),
            "nan": options.nan,
            "ceiling": [options.ceiling_name, options.n_splits],
            "seed": options.seed,
            "direction": [options.direction, plan.study.square],  # a square table has its reverse scores in itself
            "choices": _rows(plan.drawn.choices),
        }
    )


def _drawn(folds: Folds | None) -> list[Any]:
    """The row numbers of folds, and the labels of rows that inner folds and delays respect."""
    if folds is None:
        return []
    splits = [[a.tolist(), b.tolist()] for a, b in folds.splits]
    return [splits, folds.gap, folds.in_time, *(_plain(labels) for labels in (folds.groups, folds.segments))]


def _rows(choices: Choices | None) -> list[Any]:
    """The row numbers of choices, as plain lists."""
    if choices is None:
        return []
    inner = [[rows.tolist(), [[a.tolist(), b.tolist()] for a, b in folds.splits]] for rows, folds in choices.inner]
    return [inner, [[a.tolist(), b.tolist()] for a, b in choices.halves]]


def _definition(measure: Measure) -> list[Any]:
    return [measure.name, measure.revision, {k: _plain(v) for k, v in measure.options.items()}]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _written(value: Any) -> Any:
    """What json does not know: arrays inside options whole (their repr leaves out the middle), else the repr."""
    plain = _plain(value)
    return repr(value) if plain is value else plain


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=_written)
    return hashlib.sha256(text.encode()).hexdigest()
