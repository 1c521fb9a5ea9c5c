"""What the rows of a study are: stimuli, or moments of a recording; which belong together, and how they are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.engine.study import Options, Study
from repcompare.errors import AlignmentError, MeasureError, OptionError, suggest
from repcompare.labels.align import row_labels, row_numbers, to_matrix
from repcompare.labels.recordings import find_labels, find_runs, haemodynamic_gap
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.measures._measure import Folds, Index, Measure
from repcompare.statistics.best import halves, inner_folds
from repcompare.statistics.folds import Sample, autocorrelation_gap, make_folds
from repcompare.statistics.given_rows import Origin
from repcompare.statistics.resampling import subsets
from repcompare.statistics.series import SeriesNull, exchangeable, series_null, stretches, touching

BLOCK_LABELS = ("run", "session")
TOUCHING = (
    "blocks_touch: time goes on from block to block, so p-values are too small; the longer the blocks, the less; "
    "null='phase' or 'shift' avoids this"
)
FEWEST_REMOVED = 10  # blocks of a recording, of which one at a time is left out for an interval


@dataclass(frozen=True)
class Rows:
    """The rows that all parts share.

    Attributes
    ----------
    n : int
        Their number.
    sample : {"stimulus", "time"}
        Stimuli in the order of their names, or moments in the order of time.
    groups : ndarray of shape (n,), optional
        What is held out together.
    runs : bool
        The groups are runs that were found, not given.
    gap : int
        Rows of a recording after which it resembles itself no longer.
    blocks : tuple of ndarray of shape (n,)
        Labels of a recording's stretches: groups, runs, sessions.
    notes : tuple of str
        What was decided.
    segments : ndarray of shape (n,), optional
        Stretches of a recording that delays do not leave: runs, sessions, and what lies between rows that are missing.
    classes : ndarray of int, shape (n_targets, n), optional
        Class of each row in each target, where targets hold labels.
    class_names : tuple of ndarray of str
        Names of the classes of each target.
    origin : Origin, optional
        Rows of the input, which folds that are given by number mean.
    """

    n: int
    sample: Sample
    groups: np.ndarray | None = None
    runs: bool = False
    gap: int = 0
    blocks: tuple[np.ndarray, ...] = ()
    notes: tuple[str, ...] = ()
    segments: Index | None = None
    classes: Index | None = None
    class_names: tuple[np.ndarray, ...] = ()
    origin: Origin | None = None

    @property
    def codes(self) -> Index | None:
        """Number of the group of each row."""
        return None if self.groups is None else np.unique(self.groups, return_inverse=True)[1].astype(np.intp)


def describe_rows(study: Study, stimuli: np.ndarray) -> Rows:
    """Find out what the rows of a study are.

    Raises
    ------
    OptionError
        For a label that no part has, or a recording that resembles itself at every lag.
    """
    options, fitted = study.options, any(m.fitted for m in study.measures.values())
    parts = list({id(ds): ds for ds in (*study.sources.values(), *study.targets.values())}.values())
    continuous = any(sample_dim(ds) == "time" for ds in parts)
    labels, runs, note = None, False, ""
    if options.groups is not None:
        labels = _given(options.groups, parts, stimuli)
    elif (fitted or continuous) and isinstance(options.folds, (int, np.integer)):
        labels, note = find_runs(parts, stimuli)
        runs = labels is not None
    origin = Origin(*row_numbers(parts, stimuli))
    if not continuous:
        _refuse_delays(study)
        return Rows(len(stimuli), "stimulus", labels, runs, notes=(note,) if note else (), origin=origin)
    found = [_found(name, parts, stimuli) for name in BLOCK_LABELS]
    blocks = tuple(some for some in (labels, *found) if some is not None)
    gap = _gap(study, stimuli, labels if runs else None) if fitted or options.best else 0
    recording = next(ds for ds in parts if sample_dim(ds) == "time")
    place = {name: i for i, name in enumerate(stimulus_labels(recording).tolist())}
    segments = stretches([place[name] for name in stimuli.tolist()], *found)
    return Rows(len(stimuli), "time", labels, runs, gap, blocks, (note,) if note else (), segments, origin=origin)


def _refuse_delays(study: Study) -> None:
    """Raise where a measure looks into the past and the rows have none."""
    delayed = [label for label, m in study.measures.items() if m.reach]
    if delayed:
        raise OptionError(
            f"{delayed[0]}: delays need rows in the order of time, and these are stimuli, in the order of their names; give "
            "recordings with dims=('time', 'unit') and time=, or leave delays out (measures='ridge')"
        )


def _given(name: str, parts: Sequence[xr.Dataset], stimuli: np.ndarray) -> np.ndarray:
    for ds in parts:
        if name in ds.coords and ds[name].dims == (sample_dim(ds),):
            return row_labels(ds, name, stimuli)
    known = {str(c) for ds in parts for c in ds.coords if ds[c].dims == (sample_dim(ds),)}
    raise OptionError(f"groups={name!r}: no part has such a label of its rows{suggest(name, sorted(known))}")


def _found(name: str, parts: Sequence[xr.Dataset], stimuli: np.ndarray) -> np.ndarray | None:
    try:
        return find_labels(parts, name, stimuli)
    except AlignmentError:  # presentations of a stimulus in several: no label of the row
        return None


def _gap(study: Study, stimuli: np.ndarray, runs: np.ndarray | None) -> int:
    """Return the gap asked for, or the longest that a predicted side needs."""
    options = study.options
    if options.gap != "auto":
        return int(options.gap)
    sides = [*study.targets.values(), *(study.sources.values() if options.direction == "both" else ())]
    longest = max(m.reach for m in study.measures.values())
    for ds in sides:
        values = to_matrix(ds, stimuli)
        seen = ~np.isnan(values).all(axis=0)
        longest = max(longest, autocorrelation_gap(values[:, seen], runs), haemodynamic_gap(ds))
    return longest


def draw_folds(rows: Rows, options: Options, stratified: Stratified | None = None) -> Folds:
    """Draw the folds of the fitted measures; ``stratified (rows, folds, gap, options)`` where targets hold labels."""
    folds = "loo" if rows.runs and rows.sample != "time" else options.folds
    measured = isinstance(folds, (int, np.integer)) or options.gap != "auto"
    gap = rows.gap if measured else 0
    if rows.sample != "time" and options.gap != "auto":
        gap = int(options.gap)
    if rows.origin is not None:
        folds = rows.origin.given(folds)
    if stratified is not None:
        drawn = stratified(rows, folds, gap, options)
    else:
        how: Any = {
            "groups": rows.groups,
            "seed": options.seed,
            "sample": rows.sample,
            "gap": gap,
            "force": options.forced,
        }
        drawn = make_folds(rows.n, folds, **how)
    return replace(drawn, segments=rows.segments)


Stratified = Callable[[Rows, Any, int, Options], Folds]


@dataclass(frozen=True)
class Choices:
    """The stimuli on which sources are chosen, and those on which the chosen are reported.

    Attributes
    ----------
    inner : tuple of (rows, Folds)
        Training rows of every fold and the folds inside them, for fitted measures.
    halves : tuple of (first, second)
        For the others: each half is chosen on once.
    """

    inner: tuple[tuple[Index, Folds], ...] = ()
    halves: tuple[tuple[Index, Index], ...] = ()

    def count(self, fitted: bool) -> int:
        """Number of choices of a measure."""
        return len(self.inner) if fitted else 2 * len(self.halves)


def make_choices(study: Study, rows: Rows, folds: Folds | None) -> Choices | None:
    """Draw what the nested choice of a source needs; None when it was not asked for.

    Raises
    ------
    OptionError, MeasureError
        When there are too few rows.
    """
    options, measures = study.options, study.measures
    if not options.best:
        return None
    inner = inner_folds(folds, seed=options.seed, sample=rows.sample) if folds is not None else ()
    if all(m.fitted for m in measures.values()):
        return Choices(inner)
    gap = rows.gap if rows.sample == "time" else None
    groups = None if rows.runs and gap is None else rows.codes  # runs are looked for on behalf of fitted measures alone
    pairs = halves(rows.n, options.n_splits, options.seed, groups=groups, gap=gap)
    fewest = min(part.size for pair in pairs for part in pair)
    for label, measure in measures.items():
        if not measure.fitted and fewest < measure.min_stimuli:
            raise MeasureError(
                f"{label}: best=True compares halves of the stimuli, the smallest of {fewest}; expected at least "
                f"{measure.min_stimuli}; add stimuli, or leave out best="
            )
    return Choices(inner, tuple(pairs))


def make_null(study: Study, stimuli: np.ndarray, rows: Rows) -> SeriesNull | None:
    """Return how a recording is permuted; None for stimuli, and without permutations.

    Raises
    ------
    OptionError
        When nothing of it may be permuted.
    """
    options = study.options
    if rows.sample != "time" and options.series_null != "auto":
        raise OptionError(
            f"null={options.series_null!r} is for recordings (sample dim 'time'); stimuli are permuted; leave it out"
        )
    if rows.sample != "time" or not options.permutations:
        return None
    runs, complete = rows.codes if rows.runs else None, options.nan != "pairwise"
    if options.series_null not in ("auto", "blocks"):
        return series_null(rows.n, options.series_null, runs=runs, complete=complete)
    targets = [to_matrix(ds, stimuli) for ds in study.targets.values()] if rows.blocks else []
    apart = [some for some in rows.blocks if not any(touching(y, exchangeable(some)) for y in targets)]
    if options.series_null == "auto":
        return series_null(rows.n, labels=apart, runs=runs, complete=complete)
    null = series_null(rows.n, "blocks", labels=apart or rows.blocks, runs=runs, complete=complete)
    return null if apart else replace(null, note=TOUCHING)


@dataclass(frozen=True)
class Subsets:
    """Rows that each resample behind an interval keeps; ``n`` are what is removed: rows, groups or blocks."""

    name: str
    n: int
    rows: tuple[Index, ...]


def make_subsets(rows: Rows, options: Options, measures: Sequence[Measure]) -> Subsets | None:
    """Return what the intervals are made of; whole groups, and whole blocks of a recording, are removed together.

    Encoders need none: theirs are made of held-out predictions.

    Raises
    ------
    OptionError
        When a recording has too few blocks.
    """
    if options.confidence is None or all(m.held_out is not None for m in measures):
        return None
    codes: Any = np.arange(rows.n) if rows.runs or rows.groups is None else rows.codes
    what = "" if rows.runs or rows.groups is None else "groups"
    if rows.sample == "time":
        codes, what = _whole_blocks(rows), "blocks"
    n = int(codes.max()) + 1
    name, kept = subsets(n, options.seed)
    found = kept if not what else [np.flatnonzero(np.isin(codes, some)) for some in kept]
    return Subsets(f"{name} over {n} {what}" if what else name, n, tuple(found))


def _whole_blocks(rows: Rows) -> Index:
    """Number the blocks of a recording, by the label with the longest of them."""
    found = [np.unique(some, return_inverse=True)[1].astype(np.intp) for some in rows.blocks]
    usable = [codes for codes in found if codes.max() + 1 >= FEWEST_REMOVED]
    if not usable:
        most = max((int(codes.max()) + 1 for codes in found), default=0)
        raise OptionError(
            "confidence= leaves out rows one by one, which is invalid for a continuous recording (sample dim 'time'): its "
            f"rows are not exchangeable; found {most} blocks (groups=, or a label run or session), expected at "
            f"least {FEWEST_REMOVED} to leave out one at a time; leave out confidence= otherwise"
        )
    return min(usable, key=lambda codes: int(codes.max()))
