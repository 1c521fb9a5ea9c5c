"""The declaration of a comparison: what with what, by which measures, under which policies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, choose, n_bytes, some
from repcompare.labels.align import POLICIES
from repcompare.labels.formats import read
from repcompare.labels.parts import WHOLE, checked, parts_of, split_by
from repcompare.measures._measure import Measure
from repcompare.measures.registry import menu, resolve
from repcompare.statistics.folds import FORCES
from repcompare.statistics.label_folds import LEAVE_ONE_OUT
from repcompare.statistics.series import NULLS, REFIT

__all__ = ["Options", "Study", "declare", "load", "menu"]

NAN_POLICIES = ("raise", "drop_units", "drop_stimuli", "pairwise")
LEAST_CALIBRATED = 19  # the 95 % point of fewer does not exist
CEILINGS = (None, "split_half")
DIRECTIONS = ("forward", "both")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is carried out.

    Attributes
    ----------
    stimuli : {"exact", "intersection"}
        Demand the same stimuli on all sides, or keep those that all share.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        What to do about missing values.
    folds : int, "loo", list of (train, test) or scikit-learn splitter
        Folds over stimuli of the fitted measures.
    groups : str, optional
        Label of the rows (``"run"``, ``"stimulus_category"``): whole groups are held out together.
    gap : int or "auto"
        Rows of a recording left out on either side of a test block; measured from the targets by default.
    force : str or iterable of {"repeats", "time_shuffle", "leave_one_out"}
        Guards of the folds that are overridden.
    ceiling : {None, "split_half"}, number, array-like of shape (n_targets,), or mapping of target to number
        Noise ceiling from the repeats of the target, or one that is known.
    n_splits : int
        Random halvings of the repeats behind the ceiling, and of the stimuli behind the choice of a source.
    confidence : float, optional
        Coverage of the intervals over stimuli.
    permutations : int
        Permutations of the stimuli behind the p-values.
    null : {"auto", "blocks", "phase", "shift", "refit"}
        What is permuted in a recording; whether encoders are fitted again under every permutation.
    calibrated : bool
        Also give scores above their permutation floor.
    best : bool
        Also give the scores by which the best source of each target is chosen and reported.
    direction : {"forward", "both"}
        Also predict the source from the target, by measures with a direction.
    seed : int
        Of folds, halvings and permutations.
    n_jobs : int
        Threads; -1 takes every core of this process.
    memory : int or str, optional
        Bytes that the run may need, or text such as ``"4GB"``; parts are prepared and compared tile by tile to stay below.
    checkpoint : path, optional
        Folder in which finished tiles are kept.
    resume : bool
        Use the tiles that are there.
    unit_scores : bool
        Keep the scores of single target units, where a measure has them.
    hash_inputs : bool
        Record a content hash of each part.
    progress : callable, False or None
        ``(done, total, text)``; None shows a bar on a terminal.
    """

    stimuli: str = "exact"
    nan: str = "raise"
    folds: Any = 5
    groups: str | None = None
    gap: int | str = "auto"
    force: Any = ()
    ceiling: Any = None
    n_splits: int = 20
    confidence: float | None = None
    permutations: int = 0
    null: str = "auto"
    calibrated: bool = False
    best: bool = False
    direction: str = "forward"
    seed: int = 0
    n_jobs: int = 1
    memory: int | str | None = None
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = True
    unit_scores: bool = False
    hash_inputs: bool = True
    progress: Progress | bool | None = None

    def __post_init__(self) -> None:
        choose(self.stimuli, POLICIES, "stimuli")
        choose(self.nan, NAN_POLICIES, "nan")
        for name in self.forced:
            choose(name, (*FORCES, LEAVE_ONE_OUT), "force")
        if self.groups is not None and not isinstance(self.groups, str):
            raise OptionError(
                f"groups= is a {type(self.groups).__name__}; expected the name of a label of the rows; give it to a part by "
                "assign_coords(stimulus_category=('stimulus', labels))"
            )
        if self.ceiling is None or isinstance(self.ceiling, str):
            choose(self.ceiling, CEILINGS, "ceiling")
        choose(self.direction, DIRECTIONS, "direction")
        choose(self.null, (*NULLS, REFIT), "null")
        if self.gap != "auto" and (not isinstance(self.gap, int) or isinstance(self.gap, bool) or self.gap < 0):
            raise OptionError(f"gap={self.gap!r}; expected a number of rows, or 'auto'")
        self._check_numbers()
        if self.calibrated and self.permutations < LEAST_CALIBRATED:
            raise OptionError(f"calibrated=True needs permutations= of at least {LEAST_CALIBRATED}")
        if self.n_jobs == 0:
            raise OptionError("n_jobs=0; expected a number of threads, or -1 for every core")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise OptionError(f"confidence={self.confidence!r}; expected a number between 0 and 1, such as 0.95")

    def _check_numbers(self) -> None:
        for name, least in (("permutations", 0), ("n_jobs", -1), ("n_splits", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
                raise OptionError(f"{name}={value!r}; expected a whole number of at least {least}")
            object.__setattr__(self, name, int(value))  # numpy's would overflow, and are no attribute of a file
        if self.memory is not None:
            n_bytes(self.memory)

    @property
    def most_bytes(self) -> int | None:
        """Bytes that the run may need; None without a limit."""
        return None if self.memory is None else n_bytes(self.memory)

    @property
    def forced(self) -> tuple[str, ...]:
        """Guards of the folds that are overridden."""
        return (self.force,) if isinstance(self.force, str) else tuple(self.force)

    @property
    def ceiling_name(self) -> str:
        """Name of the ceiling, for the record."""
        return "given" if self.ceiling is not None and not isinstance(self.ceiling, str) else self.ceiling or "none"

    @property
    def series_null(self) -> str:
        """What is permuted in a recording."""
        return "auto" if self.null == REFIT else self.null

    @property
    def threads(self) -> int:
        """Number of threads."""
        return usable_cores() if self.n_jobs == -1 else self.n_jobs


def known_ceilings(ceiling: Any, targets: Sequence[str]) -> dict[str, float]:
    """Return the ceiling that the user knows of each target.

    Raises
    ------
    OptionError
        Unless there is a number > 0 for each.
    """
    if isinstance(ceiling, Mapping):
        lacking = [name for name in targets if name not in ceiling]
        if lacking:
            raise OptionError(
                f"ceiling= has no number for target {lacking[0]!r}; expected one for each: {some(targets)}"
            )
        given = [ceiling[name] for name in targets]
    else:
        given = ceiling if np.ndim(ceiling) else [ceiling] * len(targets)
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (len(targets),) or not (np.isfinite(values) & (values > 0)).all():
        raise OptionError(
            f"ceiling={ceiling!r}; expected 'split_half', or the best score that noise allows, > 0: a number, or one for "
            f"each of {len(targets)} targets: {some(targets)}"
        )
    return dict(zip(targets, values.tolist(), strict=True))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Sources, targets and measures by name, and the options.

    Attributes
    ----------
    sources, targets : mapping of name to representation
        The parts on either side; ``targets`` is ``sources`` itself for a similarity matrix.
    measures : mapping of label to Measure
        What is computed.
    by : tuple of (str or None, str or None)
        The labels by which the sides were split.
    options : Options
        Policies and resources.
    """

    sources: Mapping[str, xr.Dataset]
    targets: Mapping[str, xr.Dataset]
    measures: Mapping[str, Measure]
    by: tuple[str | None, str | None] = (None, None)
    options: Options = field(default_factory=Options)

    @property
    def square(self) -> bool:
        """Whether both sides are the same parts."""
        return self.targets is self.sources


def declare(source: Any, target: Any, *, measures: Any, by: Any = None, options: Options | None = None) -> Study:
    """Check what the user asked for and return it as a :class:`Study`.

    Parameters
    ----------
    source, target : representation, path, mapping of name to them, or xarray.DataTree
        The two sides; ``target=None`` compares all parts of the source with each other.
    measures : str, Measure, iterable of them, or mapping of label to them
        The measures.
    by : str or tuple of (str or None, str or None), optional
        Split the source (and the target) by these labels of their units.
    options : Options, optional
        How the study is carried out.

    Raises
    ------
    OptionError, UnknownMeasureError
        For anything that is not on the menu, before any data are read.
    SchemaError, FormatError
        For sources that are not representations.
    """
    resolved = resolve(measures)
    by_source, by_target = _split_labels(by)
    sources = load(source, "source", by_source)
    targets = sources if target is None else load(target, "target", by_target)
    return Study(
        sources=sources, targets=targets, measures=resolved, by=(by_source, by_target), options=options or Options()
    )


def _split_labels(by: Any) -> tuple[str | None, str | None]:
    if by is None or isinstance(by, str):
        return by, None
    if isinstance(by, (tuple, list)) and len(by) == 2 and all(b is None or isinstance(b, str) for b in by):
        return by[0], by[1]
    raise OptionError(f"by={by!r}; expected a label, or two: (label of the source, label of the target)")


def load(source: Any, side: str, by: str | None = None) -> dict[str, xr.Dataset]:
    """Return the parts of one side by name: files opened, labels split, schema checked.

    Parameters
    ----------
    source : representation, path, mapping or xarray.DataTree
        One side of a comparison.
    side : str
        ``"source"`` or ``"target"``, for messages and as the name of a nameless part.
    by : str, optional
        Label of the units by which representations are split; parts that already are such parts stay.
    """
    parts = checked(parts_of(_opened(source)), side)
    if by is not None:
        parts = _split(parts, by)
    fallback = Path(os.fspath(source)).name.partition(".")[0] if isinstance(source, (str, os.PathLike)) else side
    return {name or fallback: part for name, part in parts.items()}


def _opened(source: Any) -> Any:
    if isinstance(source, (str, os.PathLike)):
        return read(source)
    if isinstance(source, Mapping) and not isinstance(source, (xr.Dataset, xr.DataTree)):
        return {name: _opened(item) for name, item in source.items()}
    return source


def _split(parts: dict[str, xr.Dataset], by: str) -> dict[str, xr.Dataset]:
    out: dict[str, xr.Dataset] = {}
    for name, part in parts.items():
        has_label = f"unit_{by}" in part.coords or by in part.coords
        if name != WHOLE and not has_label:
            out[name] = part  # the parts already are layers, regions ...
            continue
        pieces = split_by(part, by)
        for value, piece in pieces.items():
            whole = name != WHOLE and len(pieces) == 1  # the part is one layer, region ... already
            out[name if whole else "/".join(n for n in (name, value) if n)] = piece
    return out
