"""The schema of results: one labelled table of scores for sources x targets x measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError, some, suggest
from repcompare.labels.values import duplicates

SCORES_SCHEMA = "repcompare-scores-1"
BEST_SCHEMA = "repcompare-best-1"
CLUSTERS_SCHEMA = "repcompare-clusters-1"
EMBEDDING_SCHEMA = "repcompare-embedding-1"
MEDOIDS_SCHEMA = "repcompare-medoids-1"
ENCODING_PARTITION_SCHEMA = "repcompare-encoding-partition-1"
LEARNING_CURVE_SCHEMA = "repcompare-learning-curve-1"
DERIVED_SCHEMAS = (
    BEST_SCHEMA,
    CLUSTERS_SCHEMA,
    EMBEDDING_SCHEMA,
    MEDOIDS_SCHEMA,
    ENCODING_PARTITION_SCHEMA,
    LEARNING_CURVE_SCHEMA,
)
CELL = ("source", "target", "measure")
FOLD = (*CELL, "fold")
UNIT = ("source", "measure", "target_unit")
SELECTION = (*CELL, "selection")

NOT_ASKED = "not asked for"  # reason of a cell that no table has

# variable of a cell -> meaning; every one has the dims (source, target, measure)
CELL_VARIABLES = {
    "score": "the number",
    "score_reverse": "the source predicted from the target, on the same folds; symmetric measures have one score",
    "score_mean": "mean of score and score_reverse",
    "score_ceiling": "the best score the noise of the target allows; NaN where none is defined",
    "score_normalised": "score / ceiling (attenuation)",
    "score_low": "lower end of the confidence interval",
    "score_high": "upper end of the confidence interval",
    "score_null_mean": "exact mean under permuted stimuli, where theory gives it",
    "score_null_sd": "exact standard deviation under permuted stimuli, where theory gives it",
    "score_chance": "score of a decoder without information; NaN for other measures",
    "score_calibrated": "score above the 95 % point of its permutations, as a share of the best possible",
    "score_calibrated_best": "the same above the 95 % point of the best source under each permutation: judge the best by it",
    "score_floor": "mean score of the same systems with the stimuli of the target permuted",
    "score_pvalue": "permutation p-value against unrelated stimuli",
    "score_pvalue_corrected": "the same against the best of all cells of this measure (max-statistic)",
    "score_pvalue_fdr": "score_pvalue by Benjamini and Hochberg over the cells of this measure",
    "n_stimuli": "stimuli compared",
    "n_source_units": "units of the source after dropping",
    "n_target_units": "units of the target after dropping",
    "n_dropped": "units and stimuli dropped by the NaN policy",
    "seconds": "time of the comparison",
    "notes": "counts and warnings of the cell",
    "reason": "why there is no score; empty where there is one",
}

# variable -> dims and meaning, where these are not those of a cell
FURTHER_VARIABLES = {
    "score_fold": (FOLD, "scores of the folds of a fitted measure"),
    "score_unit": (UNIT, "scores of single target units"),
    "score_unit_pvalue": (UNIT, "permutation p-value of r of single target units"),
    "score_unit_pvalue_corrected": (UNIT, "the same against the best of all units of all sources and targets"),
    "score_unit_pvalue_fdr": (UNIT, "score_unit_pvalue by Benjamini and Hochberg over all units, sources and targets"),
    "score_inner": (
        SELECTION,
        "the score by which a source may be chosen, without the stimuli held out from the choice",
    ),
    "score_outer": (SELECTION, "the score on the stimuli held out from the choice"),
}
POSITIONAL = ("fold", "selection", "target_unit")  # dims without an index of their own

# coordinate of a measure -> meaning
MEASURE_COORDINATES = {
    "kind": "similarity, distance or predictivity",
    "unit_of_score": "unit of the score; 1 where it has none",
    "measure_is_metric": "whether scores are distances that obey the triangle inequality; False where it is not known",
}


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Names along the dims of a scores dataset.

    Attributes
    ----------
    sources, targets, measures : sequence of str
        Index labels.
    coords : mapping
        Further coordinates as ``name -> (dim, values)``: ``source_layer``, ``target_region``, and those of
        :data:`MEASURE_COORDINATES`.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    measures: Sequence[str]
    coords: Mapping[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)


def assemble(cells: Mapping[str, np.ndarray], axes: Axes, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Give arrays of results their labels.

    Parameters
    ----------
    cells : mapping of variable to ndarray
        Shape (n_sources, n_targets, n_measures); variables of :data:`CELL_VARIABLES`.  ``score_fold`` has a further axis
        of folds, ``score_inner`` and ``score_outer`` of selections; ``score_unit`` has shape (n_sources, n_measures,
        n_units of all targets).
    axes : Axes
        Names along the dims.
    attrs : mapping
        Record of the study: seed, policies, hashes, versions.

    Returns
    -------
    xarray.Dataset
        Scores; ``score (source, target, measure)`` and what stands beside it.

    Raises
    ------
    SchemaError
        For a variable outside the schema, a wrong shape, or a name that stands twice on an axis.
    """
    sizes = {"source": len(axes.sources), "target": len(axes.targets), "measure": len(axes.measures)}
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, values in cells.items():
        dims: tuple[str, ...] = FURTHER_VARIABLES[name][0] if name in FURTHER_VARIABLES else CELL
        if name not in CELL_VARIABLES and name not in FURTHER_VARIABLES:
            raise SchemaError(
                f"{name!r} is not a variable of scores; expected one of {', '.join(CELL_VARIABLES)}"
                f"{suggest(name, CELL_VARIABLES)}"
            )
        expected = tuple(sizes.get(d, n) for d, n in zip(dims, values.shape, strict=False))
        if values.ndim != len(dims) or values.shape != expected:
            raise SchemaError(
                f"{name} has shape {values.shape}; expected one entry per {', '.join(dims)}: {sizes}; "
                "check the order of its axes"
            )
        variables[name] = (dims, values)
    if "score" not in variables:
        raise SchemaError(f"the scores are missing among {some(cells)}; expected the variable 'score'; add it")
    _check_axes(axes, sizes | {d: n for dims, v in variables.values() for d, n in zip(dims, v.shape, strict=True)})
    coords: dict[str, Any] = {
        "source": np.asarray(axes.sources, dtype=np.str_),
        "target": np.asarray(axes.targets, dtype=np.str_),
        "measure": np.asarray(axes.measures, dtype=np.str_),
        **{name: (dim, np.asarray(values)) for name, (dim, values) in axes.coords.items()},
    }
    return xr.Dataset(variables, coords=coords, attrs={"schema": SCORES_SCHEMA, **attrs})


def _check_axes(axes: Axes, sizes: Mapping[str, int]) -> None:
    for dim, names in zip(CELL, (axes.sources, axes.targets, axes.measures), strict=True):
        repeated = duplicates(list(names))
        if repeated:
            raise SchemaError(
                f"{dim}: {some(repeated)} occur more than once; expected unique names; rename one of them"
            )
    for name, (dim, values) in axes.coords.items():
        if sizes.get(dim) != len(values):
            raise SchemaError(
                f"{name} has {len(values)} labels on {dim!r}; expected one per {dim}: {dict(sizes)}; check its dim"
            )


def is_scores(ds: xr.Dataset) -> bool:
    """Is this dataset a table of scores?"""
    return "score" in ds and all(d in ds["score"].dims for d in CELL)


def normalise_by_ceiling(score: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """Return score / ceiling where the ceiling is positive, NaN elsewhere; a negative score stays negative."""
    ok = np.isfinite(ceiling) & (ceiling > 0)
    normalised: np.ndarray = np.divide(score, ceiling, out=np.full(np.shape(score), np.nan), where=ok)
    return normalised


def concat_scores(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join tables of scores into one.

    Parameters
    ----------
    tables : sequence of xarray.Dataset
        Scores.  Sources, targets and measures may differ; a cell that has a score in two tables must agree.

    Returns
    -------
    xarray.Dataset
        All cells, names in order of first appearance; those that no table has are NaN, with ``reason`` "not asked for".
        A cell that failed in one table and has a score in another has the latter.  Attributes that differ become lists.

    Raises
    ------
    SchemaError
        When something is not a table of scores, or a cell stands in two tables with two values.
    """
    if not tables or not all(isinstance(t, xr.Dataset) and is_scores(t) for t in tables):
        raise SchemaError("found no tables of scores; expected Datasets, as compare() returns them; give at least one")
    indexed = [_indexed(table) for table in tables]
    joined = indexed[0]
    for table in indexed[1:]:
        _check_agreement(joined, table)
        joined = _combined(joined, table)
    order = {
        d: list(dict.fromkeys(n for t in indexed if d in t.sizes for n in t[d].values.tolist())) for d in joined.sizes
    }
    joined = joined.sel(order).drop_vars([d for d in POSITIONAL if d in joined.sizes])
    for name, missing in (("reason", NOT_ASKED), ("notes", "")):
        if name in joined:
            joined[name] = joined[name].where(joined[name].notnull(), missing).astype(str)
    joined.attrs = _joined_attrs([t.attrs for t in tables])
    return joined


def _indexed(table: xr.Dataset) -> xr.Dataset:
    """Give folds and target units a name, so that they are joined by it and never by position."""
    names: dict[str, Any] = {d: np.arange(table.sizes[d]) for d in POSITIONAL[:2] if d in table.sizes}
    if "target_unit" in table.sizes:
        owners, units = (table[f"target_unit_{part}"].values.astype(str) for part in ("target", "id"))
        names["target_unit"] = [f"{owner}\n{unit}" for owner, unit in zip(owners, units, strict=True)]
    return table.assign_coords(names).transpose(*CELL, ...)


def _check_agreement(first: xr.Dataset, second: xr.Dataset) -> None:
    left, right = xr.align(first["score"], second["score"], join="inner")
    both = left.notnull().values & right.notnull().values
    clash = np.argwhere(both & ~np.isclose(left.values, right.values, rtol=1e-12, atol=0))
    if len(clash):
        names = [str(left[d].values[i]) for d, i in zip(left.dims, clash[0], strict=True)]
        pair = " and ".join(str(float(side.values[tuple(clash[0])])) for side in (left, right))
        raise SchemaError(
            f"cell {some(names)} has two different scores, {pair} ({len(clash)} cells do); expected tables that agree; "
            "drop one of the tables"
        )


def _combined(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """Outer join; labels of the dims are joined as variables, since coordinates would take only the first table's."""
    labels = list(dict.fromkeys(str(n) for t in (first, second) for n in t.coords if n not in t.dims))
    tables = [t.reset_coords([n for n in labels if n in t.coords]) for t in (first, second)]
    joined = _without_beaten(*tables).combine_first(tables[1])
    if "measure_is_metric" in joined:
        known = joined["measure_is_metric"]
        joined["measure_is_metric"] = known.where(known.notnull(), False).astype(bool)
    for name, variable in joined.data_vars.items():
        if variable.dtype == object and name not in ("reason", "notes"):
            joined[name] = variable.where(variable.notnull(), "").astype(str)
    return joined.set_coords(labels)


def _without_beaten(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """Blank the cells of the first table that the second knows more about: a score, or why there is none."""
    missing = first["score"].isnull()
    scored = second["score"].reindex_like(first["score"]).notnull()
    beaten = missing & scored
    if "reason" in first and "reason" in second:
        known = second["reason"].reindex_like(first["score"], fill_value=NOT_ASKED) != NOT_ASKED
        beaten = beaten | (missing & (first["reason"] == NOT_ASKED) & known)
    if not beaten.any():
        return first
    return first.map(lambda v: v.where(~beaten).transpose(*v.dims) if set(CELL) <= set(v.dims) else v)


def _joined_attrs(attrs: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for key in dict.fromkeys(k for a in attrs for k in a):
        values = [a[key] for a in attrs if key in a]
        same = all(np.asarray(v).tolist() == np.asarray(values[0]).tolist() for v in values)
        flat = [str(i) for v in values for i in (v if isinstance(v, (list, tuple, np.ndarray)) else [v])]
        joined[str(key)] = values[0] if same else list(dict.fromkeys(flat))
    return joined
