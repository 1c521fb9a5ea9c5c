"""From what the tasks gave to one labelled table, with the record that lets every number be traced."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.engine.cells import SEPARATOR, Cells
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import PartInfo
from repcompare.engine.resample import Resampled
from repcompare.engine.rows import Choices
from repcompare.engine.study import known_ceilings
from repcompare.labels.scores import Axes, assemble, normalise_by_ceiling

RESAMPLED = (
    "score_low",
    "score_high",
    "score_floor",
    "score_calibrated",
    "score_calibrated_best",
    "score_pvalue",
    "score_pvalue_corrected",
    "score_pvalue_fdr",
)
RESAMPLED_UNITS = ("score_unit_pvalue", "score_unit_pvalue_corrected", "score_unit_pvalue_fdr")
POSITIONAL = re.compile(r"#[a-z]*\d+")  # what adapters call stimuli under stimuli="positional"
Float64 = npt.NDArray[np.float64]
Sides = tuple[Sequence[PartInfo], Sequence[PartInfo]]


def to_scores(
    plan: Plan,
    sides: Sides,
    results: Mapping[str, Cells],
    resampled: Mapping[str, Resampled],
    seconds: float,
) -> xr.Dataset:
    """Assemble what the tasks of a run gave into one scores dataset.

    Parameters
    ----------
    plan : Plan
    sides : tuple of two sequences of PartInfo
        Sources and targets.
    results : mapping of measure label to Cells
    resampled : mapping of measure label to Resampled
        Intervals and p-values, where there are any.
    seconds : float
        Of the whole run.
    """
    sources, targets = sides
    shape = (len(sources), len(targets), len(results))
    cells: dict[str, np.ndarray] = {
        "score": np.stack([r.score for r in results.values()], axis=-1),
        "seconds": np.stack([r.seconds for r in results.values()], axis=-1),
        "score_null_mean": np.stack([r.null_mean for r in results.values()], axis=-1),
        "score_null_sd": np.stack([r.null_sd for r in results.values()], axis=-1),
        "reason": np.stack([r.reason for r in results.values()], axis=-1).astype(str),
        "notes": np.stack([_notes(r) for r in results.values()], axis=-1).astype(str),
        "n_stimuli": np.full(shape, len(plan.stimuli)),
        "n_source_units": _spread(np.array([len(s.unit_ids) for s in sources])[:, None, None], shape),
        "n_target_units": _spread(np.array([len(t.unit_ids) for t in targets])[None, :, None], shape),
        "n_dropped": _spread(_dropped(plan, sources, targets), shape),
    }
    ceiling = _ceilings(plan, targets, results)
    cells["score_ceiling"] = _spread(ceiling[None], shape)
    cells["score_normalised"] = normalise_by_ceiling(cells["score"], cells["score_ceiling"])
    for name in RESAMPLED:
        missing = np.full(shape[:2], np.nan)
        cells[name] = np.stack([resampled[label].cells.get(name, missing) for label in results], axis=-1)
    cells |= _fold_scores(results, plan) | _selection_scores(results, plan)
    if any(np.isfinite(r.chance).any() for r in results.values()):
        cells["score_chance"] = np.stack([r.chance for r in results.values()], axis=-1)
    if plan.study.options.direction == "both":
        cells["score_reverse"] = np.stack([_reversed(plan, label, r) for label, r in results.items()], axis=-1)
        cells["score_mean"] = (cells["score"] + cells["score_reverse"]) / 2
    axes, unit_cells = _axes(plan, targets, results)
    for name in RESAMPLED_UNITS if any(one.units for one in resampled.values()) else ():
        empty = np.full((shape[0], len(axes.coords["target_unit_id"][1])), np.nan)
        cells[name] = np.stack([one.units.get(name, empty) for one in resampled.values()], axis=1)
    record = _record(plan, sides, results, seconds)
    return assemble(cells | unit_cells, axes, _resampled_record(record, resampled))


def _ceilings(plan: Plan, targets: Sequence[PartInfo], results: Mapping[str, Cells]) -> Float64:
    """Return the ceilings of all targets and measures, (n_targets, n_measures); a known one is no distance's."""
    study = plan.study
    if study.options.ceiling_name != "given":
        return np.array([[t.ceilings.get(label, np.nan) for label in results] for t in targets])
    known = np.array(list(known_ceilings(study.options.ceiling, list(study.targets)).values()))
    return np.where([m.kind != "distance" for m in study.measures.values()], known[:, None], np.nan)


def _spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(np.broadcast_to(values, shape))


def _dropped(plan: Plan, sources: Sequence[PartInfo], targets: Sequence[PartInfo]) -> np.ndarray:
    stimuli = len(plan.alignment.stimuli) - len(plan.stimuli)
    dropped = [[s.n_dropped + t.n_dropped + stimuli for t in targets] for s in sources]
    return np.array(dropped)[:, :, None]


def _notes(cells: Cells) -> np.ndarray:
    notes = cells.counts.copy()
    for at in zip(*np.nonzero(cells.notes != ""), strict=True):
        notes[at] = "; ".join(filter(None, [notes[at], *cells.notes[at].split(SEPARATOR)]))
    return notes


def _fold_scores(results: Mapping[str, Cells], plan: Plan) -> dict[str, np.ndarray]:
    if plan.folds is None:
        return {}
    return {"score_fold": _listed(plan, [cells.folds for cells in results.values()], len(plan.folds))}


def _selection_scores(results: Mapping[str, Cells], plan: Plan) -> dict[str, np.ndarray]:
    """Scores by which a source may be chosen, and those held out; NaN beyond the number of choices of a measure."""
    choices = plan.drawn.choices
    if choices is None:
        return {}
    longest = max(choices.count(m.fitted) for m in plan.study.measures.values())
    inner = _listed(plan, [cells.inner for cells in results.values()], longest)
    outer = _listed(plan, [cells.outer for cells in results.values()], longest)
    if plan.study.square:  # a part is not the best source of itself
        same = np.arange(len(plan.study.sources))
        inner[same, same] = np.nan
    return {"score_inner": inner, "score_outer": outer}


def _listed(plan: Plan, lists: Sequence[Mapping[tuple[int, int], Float64]], longest: int) -> np.ndarray:
    out = np.full((len(plan.study.sources), len(plan.study.targets), len(lists), longest), np.nan)
    for k, found in enumerate(lists):
        for (i, j), values in found.items():
            out[i, j, k, : len(values)] = values
    return out


def _reversed(plan: Plan, label: str, cells: Cells) -> Float64:
    """Scores of the source predicted from the target."""
    if plan.study.measures[label].symmetric:
        return cells.score
    return cells.score.T if plan.study.square else cells.reverse


def _axes(plan: Plan, targets: Sequence[PartInfo], results: Mapping[str, Cells]) -> tuple[Axes, dict[str, np.ndarray]]:
    study = plan.study
    coords: dict[str, tuple[str, Sequence[Any]]] = {
        "kind": ("measure", [m.kind for m in study.measures.values()]),
        "unit_of_score": ("measure", [m.unit for m in study.measures.values()]),
        "measure_is_metric": ("measure", [m.is_metric for m in study.measures.values()]),
    }
    for dim, label, parts in (("source", study.by[0], study.sources), ("target", study.by[1], study.targets)):
        if label:
            coords[f"{dim}_{label}"] = (dim, [_label_of(name, ds, label) for name, ds in parts.items()])
    cells: dict[str, np.ndarray] = {}
    if study.options.unit_scores:
        coords["target_unit_id"] = ("target_unit", np.concatenate([t.unit_ids for t in targets]).tolist())
        owners = np.repeat(list(study.targets), [len(t.unit_ids) for t in targets])
        coords["target_unit_target"] = ("target_unit", owners.tolist())
        cells["score_unit"] = _unit_scores(results, targets, len(study.sources))
    return Axes(sources=list(study.sources), targets=list(study.targets), measures=list(results), coords=coords), cells


def _label_of(name: str, ds: xr.Dataset, label: str) -> str:
    """The one value that a part has of the label by which it was split; its own name where it came ready split."""
    full = f"unit_{label}" if f"unit_{label}" in ds.coords else label
    return str(ds[full].values[0]) if full in ds.coords else name.rpartition("/")[2]


def _unit_scores(results: Mapping[str, Cells], targets: Sequence[PartInfo], n_sources: int) -> np.ndarray:
    """Scores of single target units, targets side by side: (n_sources, n_measures, n_units of all targets)."""
    starts = np.concatenate([[0], np.cumsum([len(t.unit_ids) for t in targets])])
    out = np.full((n_sources, len(results), starts[-1]), np.nan)
    for k, cells in enumerate(results.values()):
        for (i, j), units in cells.units.items():
            out[i, k, starts[j] : starts[j + 1]] = units
    return out


def _record(plan: Plan, sides: Sides, results: Mapping[str, Cells], seconds: float) -> dict[str, Any]:
    """Attributes that let every number be traced: policies, seed, hashes, versions, warnings."""
    import scipy

    from repcompare import __version__

    options = plan.study.options
    both = [*zip(plan.study.sources, sides[0], strict=True)]
    if not plan.study.square:
        both += zip(plan.study.targets, sides[1], strict=True)
    record: dict[str, Any] = {
        "study": str(plan),
        "measures": [f"{label}: {measure.label}" for label, measure in plan.study.measures.items()],
        "seed": options.seed,
        "stimuli_policy": options.stimuli,
        "n_stimuli_left_out": plan.alignment.n_left_out,
        "nan_policy": options.nan,
        "folds": plan.folds.scheme if plan.folds else "none",
        "ceiling": options.ceiling_name,
        "normalisation": "attenuation" if options.ceiling is not None else "none",
        "confidence": options.confidence or "none",
        "interval": plan.drawn.subsets.name if plan.drawn.subsets else "none",
        "permutations": options.permutations,
        "null": plan.drawn.null.kind if plan.drawn.null else "stimuli" if options.permutations else "none",
        "correction": "max" if options.permutations else "none",
        "versions": f"repcompare {__version__}, python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, xarray {xr.__version__}",
        "seconds": round(seconds, 3),
    }
    if plan.drawn.choices is not None:
        record |= {"selection": _selection_names(plan.drawn.choices, plan.stimuli), "square": int(plan.study.square)}
    if options.forced:
        record["forced"] = list(options.forced)
    if options.hash_inputs:
        record["inputs"] = [f"{name}: {part.digest}" for name, part in both]
    warnings = _warnings(plan, [*sides[0], *sides[1]], results)
    return record | ({"warnings": warnings} if warnings else {})


def _cell_notes(plan: Plan, label: str, cells: Cells) -> list[str]:
    """Return the notes of cells, those of one kind together: the first, whose it is, and how many more cells have one."""
    names = list(plan.study.sources), list(plan.study.targets)
    seen: dict[str, dict[tuple[int, int], str]] = {}
    for i, j in np.argwhere(cells.notes != "").tolist():
        for note in cells.notes[i, j].split(SEPARATOR):
            seen.setdefault(note.partition(":")[0], {}).setdefault((i, j), note)
    lines = []
    for code, notes in seen.items():
        (i, j), first = next(iter(notes.items()))
        _, colon, rest = first.partition(": ")
        more = f" (and {len(notes) - 1} cells more)" if len(notes) > 1 else ""
        lines.append(
            f"{code}{colon}{label}, source {names[0][i]!r}, target {names[1][j]!r}: {rest}{more}" if colon else code
        )
    return lines


def _resampled_record(record: dict[str, Any], resampled: Mapping[str, Resampled]) -> dict[str, Any]:
    """Add how encoders were tested, and over what their intervals are."""
    names = {one.interval for one in resampled.values() if one.interval}
    whole = [record["interval"]] if record["interval"] != "none" else []
    notes = [note for one in resampled.values() for note in one.notes]
    out = record | ({"interval": "; ".join([*whole, *sorted(names)])} if names else {})
    exchanged = {one.exchange for one in resampled.values() if one.exchange}
    if exchanged:
        out |= {
            "exchange": "; ".join(sorted(exchanged)),
            "correction": "max, scores in units of the null of their target",
        }
    return out | ({"warnings": [*record.get("warnings", []), *notes]} if notes else {})


def _selection_names(choices: Choices, stimuli: np.ndarray) -> list[str]:
    """What tells apart choices on other stimuli, folds or halves, so that joined tables are not chosen from together."""
    folds = [part for rows, inside in choices.inner for part in (rows, *chain.from_iterable(inside.splits))]
    drawn = {"folds": (len(choices.inner), folds), "halvings": (len(choices.halves), [*chain(*choices.halves)])}
    found = []
    for what, (count, parts) in drawn.items():
        hasher = hashlib.blake2b("\x1f".join(stimuli.tolist()).encode(), digest_size=6)
        for part in parts:
            hasher.update(np.asarray(part, dtype=np.int64).tobytes())
        if count:
            found.append(f"{what}: {count} of {len(stimuli)} stimuli, {hasher.hexdigest()}")
    return found


def _warnings(plan: Plan, parts: Sequence[PartInfo], results: Mapping[str, Cells]) -> list[str]:
    found: dict[str, None] = {}
    if all(POSITIONAL.fullmatch(name) for name in plan.stimuli[:3].tolist()):
        found["positional: rows were matched by their position; give the sources stimulus labels"] = None
    found |= dict.fromkeys(f"stimuli_left_out: {line}" for line in plan.alignment.lines())
    found |= dict.fromkeys(plan.drawn.rows.notes)
    if plan.drawn.null is not None and plan.drawn.null.note:
        found[plan.drawn.null.note] = None
    for part in parts:
        found |= dict.fromkeys(part.warnings)
    found |= {f"alias: {label}: {m.note}": None for label, m in plan.study.measures.items() if m.note}
    for label, cells in results.items():
        failed = int((cells.reason != "").sum())
        if failed:
            found[f"failed: {label}: {failed} of {cells.score.size} cells have no score; see 'reason'"] = None
        found |= dict.fromkeys(_cell_notes(plan, label, cells))
        m = plan.study.measures[label]
        if plan.study.options.confidence and m.restrict is None and m.held_out is None and m.part_scores is None:
            found[f"no_interval: {label} has no interval over stimuli"] = None
    return list(found)
