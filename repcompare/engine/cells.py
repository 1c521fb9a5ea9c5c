"""Results of one measure as arrays over sources and targets, filled tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Outcome

Float64 = npt.NDArray[np.float64]
NUMBERS = ("score", "seconds", "null_mean", "null_sd", "reverse", "chance")
TEXTS = ("reason", "counts", "notes")
LISTS = ("folds", "units", "inner", "outer")
SEPARATOR = "\x1e"  # between the notes of one cell, in a file


@dataclass
class Cells:
    """Comparisons of one measure.

    Attributes
    ----------
    score, seconds : ndarray of shape (n_sources, n_targets)
    null_mean, null_sd : ndarray of shape (n_sources, n_targets)
        Exact moments under permuted stimuli; NaN where they are not known.
    reverse : ndarray of shape (n_sources, n_targets)
        Scores of the source predicted from the target; NaN where they were not asked for.
    chance : ndarray of shape (n_sources, n_targets)
        Scores without information, of measures that know them; else NaN.
    reason, counts, notes : ndarray of object, shape (n_sources, n_targets)
        Why there is no score; what was left out; warnings joined by :data:`SEPARATOR`.  Empty text where there is nothing.
    folds, units : dict of (source, target) to ndarray
        Scores of folds and of single target units, where the measure has them.
    inner, outer : dict of (source, target) to ndarray
        Scores by which a source may be chosen, and those of the stimuli held out from each choice.
    """

    score: Float64
    seconds: Float64
    null_mean: Float64
    null_sd: Float64
    reverse: Float64
    chance: Float64
    reason: npt.NDArray[np.object_]
    counts: npt.NDArray[np.object_]
    notes: npt.NDArray[np.object_]
    folds: dict[tuple[int, int], Float64] = field(default_factory=dict)
    units: dict[tuple[int, int], Float64] = field(default_factory=dict)
    inner: dict[tuple[int, int], Float64] = field(default_factory=dict)
    outer: dict[tuple[int, int], Float64] = field(default_factory=dict)

    @classmethod
    def empty(cls, n_sources: int, n_targets: int) -> Cells:
        """Return a table without scores."""
        shape = (n_sources, n_targets)
        reason, counts, notes = (np.full(shape, "", dtype=object) for _ in range(3))
        score, null_mean, null_sd, reverse, chance = (np.full(shape, np.nan) for _ in range(5))
        return cls(score, np.zeros(shape), null_mean, null_sd, reverse, chance, reason, counts, notes)

    def put(self, at: tuple[int, int], outcome: Outcome, reason: str, seconds: float) -> None:
        """Enter one comparison."""
        self.score[at], self.seconds[at], self.reason[at] = outcome.score, seconds, reason
        self.note(at, outcome)
        if outcome.fold_scores is not None:
            self.folds[at] = np.asarray(outcome.fold_scores, dtype=np.float64)
        if outcome.unit_scores is not None:
            self.units[at] = np.asarray(outcome.unit_scores, dtype=np.float64)

    def note(self, at: tuple[int, int], outcome: Outcome) -> None:
        """Enter what stands beside the score of one comparison."""
        details = outcome.details
        if "null_mean" in details:
            self.null_mean[at] = details["null_mean"]
            self.null_sd[at] = details.get("null_sd", np.nan)
        self.chance[at] = details.get("chance", np.nan)
        if outcome.counts:
            self.counts[at] = "; ".join(f"{name}={count}" for name, count in outcome.counts.items())
        if outcome.notes:
            self.notes[at] = SEPARATOR.join(outcome.notes)

    def add_note(self, at: tuple[int, int], note: str) -> None:
        """Add a warning to one comparison."""
        self.notes[at] = SEPARATOR.join(filter(None, [self.notes[at], note]))

    def place(self, tile: Cells, rows: slice, columns: slice) -> None:
        """Enter the comparisons of a tile."""
        for name in (*NUMBERS, *TEXTS):
            getattr(self, name)[rows, columns] = getattr(tile, name)
        for name in LISTS:
            found = getattr(tile, name)
            getattr(self, name).update({(i + rows.start, j + columns.start): v for (i, j), v in found.items()})

    def mirrored(self) -> Cells:
        """Return the table with sources and targets exchanged, for symmetric measures."""
        tables = [getattr(self, name).T for name in (*NUMBERS, *TEXTS)]
        return Cells(*tables, *({(j, i): v for (i, j), v in getattr(self, name).items()} for name in LISTS))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays for an npz file."""
        out: dict[str, np.ndarray] = {name: getattr(self, name) for name in NUMBERS}
        for name in TEXTS:
            out[name] = getattr(self, name).astype(str)
        for name in LISTS:
            found: dict[tuple[int, int], Float64] = getattr(self, name)
            out[f"{name}_at"] = np.array(list(found), dtype=np.int64).reshape(-1, 2)
            out[f"{name}_length"] = np.array([len(v) for v in found.values()], dtype=np.int64)
            out[name] = np.concatenate([np.zeros(0), *found.values()])
        return out

    @classmethod
    def from_arrays(cls, arrays: Any) -> Cells:
        """Return the table of :meth:`to_arrays`."""
        numbers = [arrays[name] for name in NUMBERS]
        text = [arrays[name].astype(object) for name in TEXTS]
        found = []
        for name in LISTS:
            pieces = np.split(arrays[name], np.cumsum(arrays[f"{name}_length"]))
            found.append({(int(i), int(j)): v for (i, j), v in zip(arrays[f"{name}_at"], pieces, strict=False)})
        return cls(*numbers, *text, *found)
