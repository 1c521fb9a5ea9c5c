"""Encoding from files that do not fit in memory: read block by block, with inference from a second pass."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, OptionError, n_bytes, suggest
from repcompare.functional._encode_rows import Drawing, Rows, draw_folds
from repcompare.functional._encoded import Call, Encoded, as_predictions, bootstrap_fields, interval_fields
from repcompare.functional._pair import Data
from repcompare.functional._stream_sides import Side, matched_sides, refuse, row_chunks, without_missing
from repcompare.labels.recordings import haemodynamic_gap
from repcompare.measures._measure import Array, Folds, HeldOut
from repcompare.measures.encoding._options import Options, make_options
from repcompare.measures.encoding._refit import Weights
from repcompare.measures.encoding._stream_plan import Wanted
from repcompare.measures.encoding.result import EncodingResult
from repcompare.measures.encoding.ridge import ridge
from repcompare.measures.encoding.streaming import Progress, Stream, Streamed, ridge_stream
from repcompare.measures.encoding.wide_streaming import WideStream, goes_wide, ridge_wide_stream
from repcompare.statistics.encoding_intervals import BootstrapSums
from repcompare.statistics.encoding_tests import PermutationSums
from repcompare.statistics.folds import autocorrelation_sums, first_below
from repcompare.statistics.held_out_intervals import HeldOutErrors, JackknifeSums, check_confidence, errors_over_folds
from repcompare.statistics.held_out_tests import null_width

GAP_SHARE = 1 / 64  # of the memory, for units whose autocorrelation is measured at once: it takes eight copies
BOOTSTRAPS = 1000
JACKKNIFE_ARRAYS = 14  # of all rows of some units, that leaving out rows takes
SLICE_SHARE = 1 / 16  # of the memory, for them where no training rows are left out: reading leaves it free then
FIXED = (
    "interval_fixed: memory= keeps no training rows, so that their part of the interval is that of a score near 0; it is "
    "too wide for others"
)


@dataclass(frozen=True)
class Request:
    """What ``encode(..., memory=)`` was asked for beside the data and the options of ridge."""

    memory: int | str
    folds: Any
    groups: Any
    drawing: Drawing
    weights: bool | str | Path
    progress: Progress | bool | None
    nan: str = "raise"
    direction: str = "forward"
    permutations: int = 0
    confidence: float | None = None
    interval: str = "jackknife"


def check_streamed(given: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for what cannot be had from blocks of rows, with a way out."""
    refuse(
        {
            "model": (given["model"], "ridge", "leave out memory=, or reduce the features and the units before"),
            "null": (given["null"], "fixed", "the permutations of null='fixed' take one more pass over the data"),
        }
    )
    if given["nan"] == "pairwise":
        raise OptionError(
            "nan='pairwise' fits units on different rows, and memory= adds up the same rows for all; give "
            "nan='drop_units' or 'drop_stimuli', or leave out memory="
        )


def encode_stream(x: Data, y: Data, request: Request, options: Mapping[str, Any]) -> Encoded:
    """Return what ``encode`` returns, from one pass over the data where the memory allows."""
    checked, memory = _options(options), n_bytes(request.memory)
    one, other, rows = matched_sides(x, y, request.groups, request.folds)
    one, other, rows = without_missing((one, other), rows, request.nan, memory)
    drawing = _with_gap(other, rows, y, request, memory)
    drawn = draw_folds(rows, request.folds, y, drawing)
    job = _Job(drawn, checked, memory, request)
    wide = goes_wide(*one.shape, drawn, checked)
    watch = _Watch.make(Call(rows, drawn, "ridge", "raise", dict(options)), request, wide)
    with showing(request.progress) as progress, job.room(one, other) as coef:
        wanted = Wanted(coef) if watch is None else watch.wanted(coef, one.shape[0], other.shape[1])
        found = job.run(one, other, wanted, progress)
        reverse = job.run(other, one, Wanted(), progress) if request.direction == "both" else None
    result = _encoded(found, drawn, rows, drawing.force)
    more: dict[str, Any] = {"fitted": found.weights, "feature_ids": one.ids if request.weights else None}
    if found.weights is not None and not isinstance(request.weights, bool):
        more["fitted"] = Weights(np.load(request.weights, mmap_mode="r"), found.weights.intercept)
    if watch is not None:
        more |= watch.fields(result)
    if reverse is not None:
        back = _encoded(reverse, drawn, rows, drawing.force)
        both = (result.score + back.score) / 2
        more |= {"score_reverse": back.score, "score_mean": both, "reverse": replace(back, unit_ids=one.ids)}
    if rows.origin is not None:
        more["folds"] = rows.origin.numbered(drawn)
    return replace(result, **more | {"notes": (*result.notes, *more.pop("notes", ()))})


@dataclass(frozen=True)
class _Job:
    """What both directions share."""

    folds: Folds
    options: Options
    memory: int
    request: Request

    @contextmanager
    def room(self, one: Side, other: Side) -> Iterator[bool | Array]:
        """Give what weights are put in: a file, which has its name only when all is done, or memory."""
        weights = self.request.weights
        if isinstance(weights, bool):
            yield weights
            return
        path = Path(weights)
        if path.suffix != ".npy":
            raise OptionError(f"weights={str(path)!r}; expected True, or a path that ends in .npy")
        part = path.with_name(path.name + ".part")
        dtype = np.float64 if self.options.precision == "double" else _dtype(one, other)
        try:
            yield np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=(one.shape[1], other.shape[1]))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def run(self, one: Side, other: Side, wanted: Wanted, progress: Progress | None) -> Streamed:
        """Score ``other`` from ``one``."""
        (n, p), t, dtype = one.shape, other.shape[1], _dtype(one, other)
        how: dict[str, Any] = {"memory": self.memory, "wanted": wanted, "progress": progress}
        if goes_wide(n, p, self.folds, self.options):
            wide = WideStream(n, p, t, dtype, one.columns, other.columns, one.stored[1])
            return ridge_wide_stream(wide, self.folds, self.options, **how)
        stream = Stream(n, p, t, dtype, lambda size, units: row_chunks(one, other, size, units))
        return ridge_stream(stream, self.folds, self.options, **how)


def _dtype(one: Side, other: Side) -> type[np.floating[Any]]:
    return np.float32 if one.dtype == other.dtype == np.float32 else np.float64


class _Watch:
    """Permutations and an interval from held-out predictions, batch by batch of units."""

    def __init__(self, call: Call, request: Request, wide: bool) -> None:
        self._blocks, self._request = call.exchanged, request
        seed, confidence = request.drawing.seed, request.confidence
        self._test = self._bootstrap = self._jackknife = None
        self._why, self._wide = "", wide
        if request.permutations:
            width = null_width(call.folds)
            self._test = PermutationSums(self._blocks, n_permutations=request.permutations, seed=seed, width=width)
        if confidence is not None and request.interval == "bootstrap":
            how = call.scoring, confidence
            self._bootstrap = BootstrapSums(self._blocks, how, seed=seed, n_bootstraps=BOOTSTRAPS)
        elif confidence is not None:
            check_confidence(confidence)
            how_scored = call.how
            assert how_scored is not None
            try:
                self._jackknife = JackknifeSums(call.tested, how_scored, call.folds)
            except MeasureError as problem:
                self._why = str(problem)
            self._median = how_scored.summary == "median"

    @classmethod
    def make(cls, call: Call, request: Request, wide: bool) -> _Watch | None:
        """Return one where something is asked for; ``wide``: predictions know their training rows."""
        if not request.permutations and request.confidence is None:
            return None
        if min(test.size for _, test in call.folds.splits) < 3:
            raise OptionError("inference needs test sets of 3 rows or more; leave-one-out has one; give folds=5")
        return cls(call, request, wide)

    def wanted(self, weights: bool | Array, n: int, t: int) -> Wanted:
        """Return what is asked for, with the bytes that it keeps: of permutations every unit, of resamples every row."""
        kept = 16.0 * self._request.permutations * t + (8.0 * BOOTSTRAPS * n if self._bootstrap else 0.0)
        if self._jackknife is None:
            return Wanted(weights, self.add, kept)
        kept += 16.0 * n * (t if self._median else 1)
        if self._wide:
            return Wanted(weights, self.add, kept, 8.0 * JACKKNIFE_ARRAYS * n)
        return Wanted(weights, self.add, kept)

    def add(self, held: Iterable[HeldOut]) -> None:
        """Add a batch of units."""
        kept: list[HeldOut] = []

        def seen() -> Iterator[HeldOut]:
            for one in held:
                kept.append(HeldOut(one.predicted, one.truth))
                yield one

        if self._jackknife is not None and self._wide:  # its training sets need not all be there at once
            self._jackknife.add(seen())
        else:
            deque(seen(), maxlen=0)
        if self._jackknife is not None and not self._wide:
            rows, t = sum(len(one.truth) for one in kept), kept[0].truth.shape[1]
            step = max(1, int(SLICE_SHARE * n_bytes(self._request.memory) / (8 * JACKKNIFE_ARRAYS * rows)))
            for some in (slice(i, i + step) for i in range(0, t, step)):
                self._jackknife.add([HeldOut(one.predicted[:, some], one.truth[:, some]) for one in kept])
        for sums in (self._test, self._bootstrap):
            if sums is not None:
                sums.add(as_predictions(kept, self._blocks))

    def fields(self, found: EncodingResult) -> dict[str, Any]:
        """Return fields of the result."""
        fields: dict[str, Any] = {}
        notes: tuple[str, ...] = ()
        if self._test is not None:
            tested = self._test.result()
            fields = {name: getattr(tested, name) for name in ("pvalue", "pvalues", "pvalues_corrected", "pvalues_fdr")}
            notes = tested.notes
        if self._bootstrap is not None:
            fields |= bootstrap_fields(self._bootstrap.result())
        elif self._request.confidence is not None:
            fields |= interval_fields(found, self._errors(found), self._request.confidence)
            notes += fields.pop("notes", ())
            notes += (FIXED,) if self._jackknife is not None and not self._wide else ()
        return fields | {"notes": notes}

    def _errors(self, found: EncodingResult) -> HeldOutErrors:
        if self._jackknife is not None:
            return self._jackknife.result()
        return errors_over_folds(found.fold_scores, self._why)


def _encoded(found: Streamed, folds: Folds, rows: Rows, forced: tuple[str, ...]) -> Encoded:
    outcome, details = found.outcome, dict(found.outcome.details)
    return Encoded(
        score=outcome.score,
        unit_scores=np.asarray(outcome.unit_scores),
        alphas=details.pop("alphas"),
        fold_alphas=details.pop("fold_alphas"),
        fold_scores=np.asarray(outcome.fold_scores),
        folds=folds,
        model="ridge",
        notes=(*rows.notes, *(f"forced: the guard {name!r} was overridden" for name in forced), *outcome.notes),
        counts=outcome.counts,
        details=details,
        gap=folds.gap,
        forced=forced,
        unit_ids=rows.unit_ids,
    )


def _with_gap(side: Side, rows: Rows, y: Data, request: Request, memory: int) -> Drawing:
    """Measure a gap that was not given: y of a recording is read once more, in blocks of units."""
    drawing = request.drawing
    if rows.sample != "time" or drawing.gap != "auto" or not isinstance(request.folds, (int, np.integer)):
        return drawing
    n, t = side.shape
    size, lags = max(1, int(GAP_SHARE * memory / (8 * n))), np.zeros(n)
    runs = rows.groups if rows.runs else None
    for start in range(0, t, size):
        values = side.columns(slice(start, min(start + size, t)))
        lags += autocorrelation_sums(values[:, ~np.isnan(values).all(axis=0)], runs)
    own = haemodynamic_gap(y) if isinstance(y, xr.Dataset) else 0
    return replace(drawing, gap=max(first_below(lags), own))


def _options(options: Mapping[str, Any]) -> Options:
    known = signature(ridge).parameters
    for name in options:
        if name in ("delays", "hrf", "runs"):
            raise OptionError(
                f"{name}= needs neighbouring rows and memory= adds up rows in any order; save the delayed features "
                "as the source (delay_features), or leave out memory="
            )
        if name not in known:
            raise OptionError(f"with memory=, model='ridge' has no option {name!r}{suggest(name, known)}")
    return make_options(options)


@contextmanager
def showing(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Give the function that shows progress: the user's own, a bar on a terminal, or none."""
    if callable(progress):
        yield progress
    elif progress is False or not sys.stderr.isatty():
        yield None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, line: bar.update(task, completed=done, total=total, description=line[:40])
