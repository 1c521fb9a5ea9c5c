"""What a decoding does, decided before anything is fitted: folds, and the sets of labels that share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repcompare.errors import AlignmentError, OptionError
from repcompare.functional._decode_rows import Rows, class_codes, group_codes, row_values
from repcompare.measures._measure import Folds, Index
from repcompare.statistics.folds import check_leakage
from repcompare.statistics.label_folds import check_classes, label_folds, one_class_each
from repcompare.statistics.label_permutations import control_labels, permuted_labels


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the caller asked of the design."""

    folds: Any = 5
    groups: Any = None
    permutations: int = 0
    controls: int = 0
    types: Any = None
    gap: int = 0
    seed: int = 0
    force: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("permutations", "controls", "gap", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise OptionError(f"{name}={value!r}; expected a whole number, 0 or more")


@dataclass(frozen=True)
class Design:
    """Folds and sets of labels.

    Attributes
    ----------
    sets : ndarray of int, shape (1 + n_permutations + n_controls, n_rows)
        The true labels, permuted ones, control tasks.
    n_permutations : int
        How many of them are permuted.
    classes : ndarray
        Names.
    folds : Folds
        In terms of the sorted rows.
    exchange : str
        What was exchanged.
    notes : tuple of str
        Code first.
    """

    sets: Index
    n_permutations: int
    classes: np.ndarray
    folds: Folds
    exchange: str = ""
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def design(rows: Rows, labels: Any, wish: Wish) -> Design:
    """Draw folds and sets of labels, after every guard."""
    codes, classes = class_codes(row_values(rows, labels, "labels"))
    groups, brought = group_codes(rows, wish.groups, wish.folds)
    units, notes = _stimuli(rows, codes, wish, groups is not None)
    folds = label_folds(
        codes,
        "loo" if brought else rows.given(wish.folds),
        groups=groups,
        units=None if groups is not None else units,
        seed=wish.seed,
        sample=rows.sample if units is not None or groups is not None or rows.sample == "time" else "stimulus",
        gap=wish.gap,
        force=wish.force,
    )
    if units is not None:
        check_leakage(folds, _names(rows), force=wish.force, what="stimulus")
    check_classes(folds, codes, classes)
    sets, exchange = [codes[None]], ""
    counts = dict(rows.counts)
    if wish.permutations:
        whole = rows.sample == "time" and "time_shuffle" not in wish.force
        drawn = permuted_labels(codes, wish.permutations, folds, groups=groups, whole=whole, seed=wish.seed)
        sets.append(drawn.codes)
        exchange = drawn.exchange + (" (all there are)" if drawn.exhaustive else "")
        counts["permutations"] = len(drawn.codes)
        if drawn.exhaustive and len(drawn.codes) < 19:
            notes += (f"few_permutations: only {len(drawn.codes)} exchanges exist; p cannot fall below .05",)
    if wish.controls:
        types = _types(rows, wish.types)
        sets.append(control_labels(codes, types, wish.controls, folds, wish.seed))
        if not any(np.intersect1d(types[a], types[b]).size for a, b in folds.splits):
            notes += (
                "controls_at_chance: no type of stimulus is in training and test rows, so control tasks score chance",
            )
    n = len(sets[1]) if wish.permutations else 0
    return Design(np.concatenate(sets), n, classes, folds, exchange, notes, counts)


def _stimuli(rows: Rows, codes: Index, wish: Wish, grouped: bool) -> tuple[Index | None, tuple[str, ...]]:
    """Return the stimulus of each row where rows of one stimulus must stay on one side, and what to note.

    Classes that are stimuli have repeats on both sides of every split: as they should where whole runs are held out.
    """
    if rows.sample != "presentation" or rows.names is None:
        return None, ()
    stimuli = np.unique(rows.names, return_inverse=True)[1].astype(np.intp)
    if not one_class_each(codes, stimuli):
        return None, (
            "labels_within_stimuli: presentations of one stimulus have different labels; they may straddle a split",
        )
    if stimuli.max() == codes.max():
        note = "labels_are_stimuli: every class is one stimulus, so its repeats are on both sides of a split; hold out runs"
        return None, () if grouped else (note,)
    return (None if "repeats" in wish.force else stimuli), ()


def _names(rows: Rows) -> np.ndarray:
    if rows.names is None:
        raise AlignmentError("rows have no stimulus names")
    return rows.names


def _types(rows: Rows, types: Any) -> Index:
    """Type of each row: as given, else its stimulus, else itself."""
    if types is None:
        names = np.arange(len(rows.x)) if rows.names is None else rows.names
    else:
        names = row_values(rows, types, "types")
    found = np.unique(names, return_inverse=True)[1].astype(np.intp)
    if found.max() == 0:
        raise OptionError("types are all the same; expected one type per stimulus")
    return found
