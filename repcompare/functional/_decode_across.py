"""Decoding across systems: rows of both are matched by stimulus, means of the presentations of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from repcompare.errors import AlignmentError, OptionError, choose, some
from repcompare.functional._decode_design import Wish, design
from repcompare.functional._decode_result import result
from repcompare.functional._decode_rows import Rows, row_values
from repcompare.labels.values import text
from repcompare.measures.decoding.crossvalidate import Task
from repcompare.measures.decoding.models import Model
from repcompare.measures.decoding.result import DecodingResult
from repcompare.measures.decoding.transfer import transfer


def across_sources(
    rows: Rows, labels: Any, other: tuple[Rows, Any, str | None], wish: Wish, how: tuple[Model, str]
) -> DecodingResult:
    """Fit one system, test another, on the stimuli that both have seen."""
    there, other_labels, align = other
    choose(align, (None, "procrustes"), "align")
    if rows.x.ndim == 3 or there.x.ndim == 3:
        raise OptionError("test= takes one response per row and unit; pick a time first")
    _refuse_rows(rows, wish)
    if (rows.names is None) != (there.names is None):
        raise AlignmentError("one system has stimulus names and the other has none; make both representations")
    own = row_values(rows, labels, "labels")
    theirs = row_values(there, other_labels, "labels of test")
    if rows.names is None and rows.n_source != there.n_source:
        raise AlignmentError(f"x has {rows.n_source} rows, test {there.n_source}; expected arrays whose rows match")
    if align is None:
        _same_units(rows, there)
        rows, there = _units_of_both(rows, there)
    a, la = _means(rows, own)
    b, lb = _means(there, theirs)
    common = np.intersect1d(_keys(a), _keys(b))
    if not len(common):
        raise AlignmentError(
            "no stimulus is shared by x and test; expected the same names; check how stimuli are named"
        )
    a, la = _chosen(a, la, common)
    b, lb = _chosen(b, lb, common)
    if not (la == lb).all():
        names = _keys(a)[la != lb]
        raise AlignmentError(f"labels differ between x and test for stimuli {some(names.tolist())}; expected the same")
    given = np.repeat(la[:1], a.n_source)  # one for every row of an array, also those without responses
    given[a.source] = la
    plan = design(a, given, wish)
    model, scoring = how
    task = Task(codes=plan.sets, n_classes=len(plan.classes), folds=plan.folds, model=model, scoring=scoring)
    notes = (*plan.notes, f"transfer: {len(common)} common stimuli, each the mean of its presentations")
    found = transfer(a.x, b.x, task, align=align is not None)
    return result(a, replace(plan, notes=notes), found, model, scoring)


def _keys(rows: Rows) -> np.ndarray:
    return rows.source if rows.names is None else rows.names


def _refuse_rows(rows: Rows, wish: Wish) -> None:
    """Raise for options that speak of rows, where rows become stimuli."""
    if rows.names is None:
        return
    if wish.groups is not None:
        raise OptionError("test= draws folds over the common stimuli; it takes no groups=; leave it out")
    if wish.types is not None:
        raise OptionError("test= has one row per stimulus, each a type of its own; it takes no types=; leave it out")
    if not isinstance(wish.folds, (int, np.integer, str)) and not hasattr(wish.folds, "split"):
        raise OptionError("test= draws folds over the common stimuli; give a number of folds, not rows")


def _units_of_both(rows: Rows, there: Rows) -> tuple[Rows, Rows]:
    """Leave out the units that were dropped from either system."""
    if rows.units is None and there.units is None:
        return rows, there
    widths = [r.x.shape[1] + r.counts.get("units_dropped", 0) for r in (rows, there)]
    if widths[0] != widths[1]:
        raise AlignmentError(
            f"x has {widths[0]} units and the test source {widths[1]}; expected the same units; use align='procrustes'"
        )
    own, theirs = (np.arange(r.x.shape[1]) if r.units is None else r.units for r in (rows, there))
    both = np.intersect1d(own, theirs)
    if not both.size:
        raise AlignmentError("no unit is free of missing values in both systems; use nan='drop_stimuli' or align=")
    lost = len(own) - len(both) + rows.counts.get("units_dropped", 0)
    counts = {**rows.counts, "units_dropped": lost}
    kept = replace(rows, x=rows.x[:, np.searchsorted(own, both)], units=both, counts=counts)
    return kept, replace(there, x=there.x[:, np.searchsorted(theirs, both)], units=both)


def _same_units(rows: Rows, there: Rows) -> None:
    if rows.data is None or there.data is None:
        return
    mine, theirs = (text(r.data["unit_id"].values) for r in (rows, there) if r.data is not None)
    if len(mine) != len(theirs) or (mine != theirs).any():
        raise AlignmentError(
            "x and test have different unit_ids; expected the same units in one order; use align='procrustes'"
        )


def _means(rows: Rows, labels: np.ndarray) -> tuple[Rows, np.ndarray]:
    """One row per stimulus, numbered by itself."""
    names = _keys(rows)
    unique, first, of_row = np.unique(names, return_index=True, return_inverse=True)
    if (labels[first][of_row] != labels).any():
        raise AlignmentError("presentations of one stimulus have different labels; expected one label per stimulus")
    x = np.zeros((len(unique), rows.x.shape[1]))
    np.add.at(x, of_row, rows.x)
    x /= np.bincount(of_row)[:, None]
    if rows.names is None:
        return replace(rows, x=x), labels
    n = len(unique)
    means = replace(rows, x=x, source=np.arange(n), n_source=n, names=unique, sample="stimulus", data=None)
    return means, labels[first]


def _chosen(rows: Rows, labels: np.ndarray, common: np.ndarray) -> tuple[Rows, np.ndarray]:
    at = np.searchsorted(_keys(rows), common)
    if rows.names is None:
        return replace(rows, x=rows.x[at], source=rows.source[at]), labels[at]
    names, n = rows.names[at], len(common)
    return replace(rows, x=rows.x[at], names=names, source=np.arange(n), n_source=n), labels[at]
