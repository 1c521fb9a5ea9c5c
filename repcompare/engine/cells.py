"""Results of one measure as arrays over sources and targets, filled tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Outcome

Float64 = npt.NDArray[np.float64]
SEPARATOR = "\x1e"  # between the notes of one cell, in a file


@dataclass
class Cells:
    """Comparisons of one measure.

    Attributes
    ----------
    score, seconds : ndarray of shape (n_sources, n_targets)
    reason, counts, notes : ndarray of object, shape (n_sources, n_targets)
        Why there is no score; what was left out; warnings joined by :data:`SEPARATOR`.  Empty text where there is nothing.
    folds, units : dict of (source, target) to ndarray
        Scores of folds and of single target units, where the measure has them.
    """

    score: Float64
    seconds: Float64
    reason: npt.NDArray[np.object_]
    counts: npt.NDArray[np.object_]
    notes: npt.NDArray[np.object_]
    folds: dict[tuple[int, int], Float64] = field(default_factory=dict)
    units: dict[tuple[int, int], Float64] = field(default_factory=dict)

    @classmethod
    def empty(cls, n_sources: int, n_targets: int) -> Cells:
        """Return a table without scores."""
        shape = (n_sources, n_targets)
        reason, counts, notes = (np.full(shape, "", dtype=object) for _ in range(3))
        return cls(np.full(shape, np.nan), np.zeros(shape), reason, counts, notes)

    def put(self, at: tuple[int, int], outcome: Outcome, reason: str, seconds: float) -> None:
        """Enter one comparison."""
        self.score[at], self.seconds[at], self.reason[at] = outcome.score, seconds, reason
        self.counts[at] = "; ".join(f"{name}={count}" for name, count in outcome.counts.items())
        self.notes[at] = SEPARATOR.join(outcome.notes)
        if outcome.fold_scores is not None:
            self.folds[at] = np.asarray(outcome.fold_scores, dtype=np.float64)
        if outcome.unit_scores is not None:
            self.units[at] = np.asarray(outcome.unit_scores, dtype=np.float64)

    def place(self, tile: Cells, rows: slice, columns: slice) -> None:
        """Enter the comparisons of a tile."""
        for name in ("score", "seconds", "reason", "counts", "notes"):
            getattr(self, name)[rows, columns] = getattr(tile, name)
        for mine, theirs in ((self.folds, tile.folds), (self.units, tile.units)):
            mine.update({(i + rows.start, j + columns.start): v for (i, j), v in theirs.items()})

    def mirrored(self) -> Cells:
        """Return the table with sources and targets exchanged, for symmetric measures."""
        return Cells(
            self.score.T,
            self.seconds.T,
            self.reason.T,
            self.counts.T,
            self.notes.T,
            {(j, i): v for (i, j), v in self.folds.items()},
            {(j, i): v for (i, j), v in self.units.items()},
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays for an npz file."""
        out: dict[str, np.ndarray] = {"score": self.score, "seconds": self.seconds}
        for name in ("reason", "counts", "notes"):
            out[name] = getattr(self, name).astype(str)
        for name in ("folds", "units"):
            found: dict[tuple[int, int], Float64] = getattr(self, name)
            out[f"{name}_at"] = np.array(list(found), dtype=np.int64).reshape(-1, 2)
            out[f"{name}_length"] = np.array([len(v) for v in found.values()], dtype=np.int64)
            out[name] = np.concatenate([np.zeros(0), *found.values()])
        return out

    @classmethod
    def from_arrays(cls, arrays: Any) -> Cells:
        """Return the table of :meth:`to_arrays`."""
        text = [arrays[name].astype(object) for name in ("reason", "counts", "notes")]
        found = []
        for name in ("folds", "units"):
            pieces = np.split(arrays[name], np.cumsum(arrays[f"{name}_length"]))
            found.append({(int(i), int(j)): v for (i, j), v in zip(arrays[f"{name}_at"], pieces, strict=False)})
        return cls(arrays["score"], arrays["seconds"], *text, *found)
