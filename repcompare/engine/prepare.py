"""The first half of a run: each part is read once, cleaned by the NaN policy, and prepared for every measure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from repcompare.engine.plan import Part, Plan
from repcompare.errors import MeasureError, RepcompareError, some
from repcompare.kernels.digest import LANES, mix_words
from repcompare.labels.align import to_matrix, to_repeats
from repcompare.labels.preprocess import split_halves
from repcompare.labels.schema import sample_dim, text
from repcompare.measures._measure import Array, Measure, as_outcome
from repcompare.statistics.ceilings import spearman_brown, unit_correlation

T = TypeVar("T")


@dataclass(frozen=True)
class PartInfo:
    """What a run keeps of a part when its states are gone.

    Attributes
    ----------
    unit_ids : ndarray of str
        Units that are left.
    n_dropped : int
        Units dropped by the NaN policy.
    digest : str
        Content hash of the aligned responses; empty when not asked for.
    ceilings : dict of measure label to float
        Noise ceilings of a target.
    warnings : tuple of str
        Code first.
    trials : str
        Hash of the single presentations, where a checkpointed result depends on them.
    """

    unit_ids: np.ndarray
    n_dropped: int
    digest: str
    ceilings: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    trials: str = ""

    @property
    def key(self) -> str:
        """Content, trials and unit names: two parts of one key give the same results."""
        names = "\x1f".join(self.unit_ids.tolist())
        return f"{self.digest}-{self.trials}-{hashlib.blake2b(names.encode(), digest_size=8).hexdigest()}"


@dataclass(frozen=True)
class Prepared:
    """A part after preparation.

    Attributes
    ----------
    info : PartInfo
    as_source, as_target : dict of measure label to state
        One and the same where a measure treats both sides alike.
    values : dict of what a measure needs to ndarray
        The responses, kept only for measures whose states cannot be permuted, or not be restricted to other stimuli:
        ``mean`` (n_stimuli, n_units), ``repeats`` (n_repeats, n_stimuli, n_units).
    """

    info: PartInfo
    as_source: dict[str, Any]
    as_target: dict[str, Any]
    values: dict[str, Array]


def prepare_part(part: Part, plan: Plan) -> Prepared:
    """Read one part and prepare it for every measure of the study.

    Raises
    ------
    RepcompareError
        Of the class of the cause, naming the part.
    """
    return _naming(part, plan, _prepare)


def identify_part(part: Part, plan: Plan) -> PartInfo:
    """Read one part only to know what it is, for a checkpoint.

    Raises
    ------
    RepcompareError
        Of the class of the cause, naming the part.
    """
    return _naming(part, plan, lambda part, plan: _info(part, plan, *_clean(to_matrix(part.data, plan.stimuli), plan)))


def _naming(part: Part, plan: Plan, task: Callable[[Part, Plan], T]) -> T:
    try:
        return task(part, plan)
    except RepcompareError as error:
        rows = getattr(error, "rows", None)
        names = f" (stimuli {some(plan.stimuli[np.asarray(rows)])})" if rows is not None else ""
        raise type(error)(f"{part.title}: {error}{names}") from error


def _prepare(part: Part, plan: Plan) -> Prepared:
    options, measures = plan.study.options, plan.study.measures
    values, kept = _clean(to_matrix(part.data, plan.stimuli), plan)
    info = _info(part, plan, values, kept)
    as_source: dict[str, Any] = {}
    as_target: dict[str, Any] = {}
    permutable: dict[str, Array] = {}
    for label, measure in measures.items():
        data = values if measure.needs == "mean" else _repeats(part, plan, measure, kept)
        _check_nan(data, label, plan, info.unit_ids)
        both = part.side == "both" or (options.direction == "both" and not measure.symmetric)
        if both or part.side == "source":
            as_source[label] = measure.prepared(data, plan.folds, side="source")
        if both and measure.prepare_target is None:
            as_target[label] = as_source[label]
        elif both or part.side == "target":
            as_target[label] = measure.prepared(data, plan.folds, side="target")
        if plan.keeps_values(measure, part.side):
            permutable[measure.needs] = data
    if options.ceiling_name == "split_half" and part.side != "source":
        ceilings, warnings = _ceilings(part, plan, kept)
        info = replace(info, ceilings=ceilings, warnings=warnings)
    return Prepared(info, as_source, as_target, permutable)


def _info(part: Part, plan: Plan, values: Array, kept: np.ndarray) -> PartInfo:
    options = plan.study.options
    return PartInfo(
        unit_ids=text(part.data["unit_id"].values).astype(str)[kept],
        n_dropped=int((~kept).sum()),
        digest=digest(values) if options.hash_inputs or options.checkpoint is not None else "",
        trials=_trials(part.data) if options.checkpoint is not None and _uses_trials(part, plan) else "",
    )


def _uses_trials(part: Part, plan: Plan) -> bool:
    """Whether a result depends on single presentations, and not on their means alone."""
    single = plan.study.options.ceiling_name == "split_half" or any(
        m.needs != "mean" for m in plan.study.measures.values()
    )
    return single and sample_dim(part.data) == "presentation"


def _trials(ds: xr.Dataset) -> str:
    """Hash of single presentations with what tells them apart."""
    hasher = hashlib.blake2b(digest(np.asarray(ds["response"].values)).encode(), digest_size=16)
    for name in ("stimulus_id", "repeat", "run", "session"):
        if name in ds.coords:
            hasher.update("\x1f".join(text(ds[name].values).astype(str).tolist()).encode())
    hasher.update(str(ds.attrs.get("pseudo_population")).encode())
    return hasher.hexdigest()


def _clean(values: Array, plan: Plan) -> tuple[Array, np.ndarray]:
    """Apply the NaN policy; return the values and which units are kept."""
    kept: np.ndarray = np.ones(values.shape[1], dtype=bool)
    if plan.study.options.nan != "drop_units" or np.isfinite(values.sum()):
        return values, kept
    kept = np.logical_not(np.isnan(values).any(axis=0))
    if not kept.any():
        raise MeasureError("nan='drop_units' leaves no unit: each misses a value; try nan='drop_stimuli'")
    return np.ascontiguousarray(values[:, kept]), kept


def _repeats(part: Part, plan: Plan, measure: Measure, kept: np.ndarray) -> Array:
    if measure.needs != "repeats":
        raise MeasureError(
            f"{measure.name}: needs={measure.needs!r} is not computed by compare(); use its own function"
        )
    return np.ascontiguousarray(to_repeats(part.data, plan.stimuli)[:, :, kept])


def _check_nan(values: Array, label: str, plan: Plan, units: np.ndarray) -> None:
    measure, policy = plan.study.measures[label], plan.study.options.nan
    if np.isfinite(values.sum()) or (policy == "pairwise" and measure.accepts_nan):
        return
    missing = np.isnan(values.reshape(-1, values.shape[-1]))
    if not missing.any():
        return
    row, column = np.argwhere(missing)[0]
    unit, stimulus = str(units[column]), str(plan.stimuli[row % len(plan.stimuli)])
    where = f"{int(missing.sum())} missing values (NaN), the first at stimulus {stimulus!r}"
    if policy == "pairwise":
        able = [name for name, m in plan.study.measures.items() if m.accepts_nan]
        raise MeasureError(
            f"{label} has no form for missing values: {where}, unit {unit!r}; "
            f"nan='pairwise' works for {some(able) if able else 'rsa and ridge'}; drop units or stimuli instead"
        )
    raise MeasureError(
        f"{where}, unit {unit!r}; expected complete data; go on with nan='drop_units', 'drop_stimuli' or 'pairwise'"
    )


def digest(values: Array) -> str:
    """Hash of the content of aligned responses: dtype, shape and every bit of the values."""
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    lanes = np.arange(LANES, dtype=np.uint64)
    whole = raw.size - raw.size % (8 * LANES)
    mix_words(raw[:whole].view(np.uint64), lanes)
    hasher = hashlib.blake2b(f"{values.dtype.str}{values.shape}".encode(), digest_size=16)
    hasher.update(lanes.tobytes())
    hasher.update(raw[whole:].tobytes())
    return hasher.hexdigest()


def _ceilings(part: Part, plan: Plan, kept: np.ndarray) -> tuple[dict[str, float], tuple[str, ...]]:
    """Ceilings of one target from random halves of its repeats: mean over splits, then Spearman-Brown, then the root."""
    if sample_dim(part.data) != "presentation":
        raise MeasureError(
            "ceiling='split_half' needs repeats of the stimuli: one row per stimulus; use presentation form"
        )
    options = plan.study.options
    wanted = {label: m for label, m in plan.study.measures.items() if m.ceiling is not None}
    scores: dict[str, list[Any]] = {label: [] for label in wanted}
    warnings = [
        f"no_ceiling: {label} has no split-half ceiling" for label in plan.study.measures if label not in wanted
    ]
    for split in range(options.n_splits):
        first, second = split_halves(part.data, seed=options.seed * 1_000_003 + split)
        repeated = plan.stimuli[np.isin(plan.stimuli, first["stimulus"].values.astype(str))]
        trio = [np.ascontiguousarray(to_matrix(ds, repeated)[:, kept]) for ds in (first, second, part.data)]
        for label, measure in wanted.items():
            scores[label].append(_half_score(measure, trio))
    ceilings = {label: _ceiling(wanted[label], found) for label, found in scores.items()}
    warnings += [
        f"ceiling_undefined: {label} of {part.name!r}: halves of the repeats do not agree, or lack values"
        for label, ceiling in ceilings.items()
        if np.isnan(ceiling)
    ]
    return ceilings, tuple(warnings)


def _half_score(measure: Measure, trio: Sequence[Array]) -> Any:
    """What one halving says: per unit a correlation, else the score between halves or what they share."""
    if measure.ceiling == "units":
        return unit_correlation(trio[0], trio[1])
    if not measure.accepts_nan and not all(np.isfinite(values).all() for values in trio):
        return np.nan
    first, second = measure.prepared(trio[0]), measure.prepared(trio[1])
    if measure.shared is not None:
        return measure.shared(first, second, measure.prepared(trio[2]))
    return as_outcome(measure.compare(first, second)).score


def _ceiling(measure: Measure, found: Sequence[Any]) -> float:
    """Average over halvings first, then correct once; NaN when nothing is above noise."""
    mean = np.mean(found, axis=0)  # a NaN of one halving stays
    reliability = mean if measure.shared is not None else spearman_brown(mean)
    bound = np.sqrt(np.maximum(reliability, 0))  # units without reliable signal bound the mean by 0
    ceiling = float(np.nanmean(bound)) if np.isfinite(bound).any() else np.nan
    return ceiling if ceiling > 0 else np.nan
