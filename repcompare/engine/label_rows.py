"""Classes of the rows, where targets hold labels, and folds that keep their proportions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.engine.rows import Rows
from repcompare.engine.study import Options, Study
from repcompare.errors import MeasureError, some
from repcompare.labels.align import to_matrix
from repcompare.labels.schema import text
from repcompare.measures._measure import Folds, Index, Measure
from repcompare.statistics.label_folds import check_classes, label_folds


def with_classes(rows: Rows, study: Study, stimuli: np.ndarray) -> Rows:
    """Add the classes of the rows, where a decoder is among the measures.

    Raises
    ------
    MeasureError
        When a target holds no labels.
    """
    decoder = next((m for m in study.measures.values() if m.classes is not None), None)
    if decoder is None or study.square:
        return rows
    found = [_classes(name, ds, decoder, stimuli) for name, ds in study.targets.items()]
    return replace(rows, classes=np.array([codes for codes, _ in found]), class_names=tuple(n for _, n in found))


def _classes(name: str, ds: xr.Dataset, decoder: Measure, stimuli: np.ndarray) -> tuple[Index, np.ndarray]:
    """Return the class of each row of a target, and the names of those that occur."""
    assert decoder.classes is not None
    try:
        units, codes = np.unique(decoder.classes(to_matrix(ds, stimuli)), return_inverse=True)
    except MeasureError as error:
        where = "" if error.rows is None else f" (stimuli {some(stimuli[np.asarray(error.rows)], 3)})"
        raise MeasureError(f"target {name!r}: {error}{where}", error.rows) from error
    return codes.astype(np.intp), text(ds["unit_id"].values).astype(np.str_)[units]


def class_folds(rows: Rows, folds: Any, gap: int, options: Options) -> Folds:
    """Draw folds that keep the proportions of the classes of all targets.

    Raises
    ------
    MeasureError
        When a class has fewer than two rows, or none among the training rows of a fold.
    OptionError
        When there are too few rows or groups.
    """
    assert rows.classes is not None
    drawn = label_folds(
        rows.classes,
        folds,
        groups=rows.groups,
        seed=options.seed,
        sample=rows.sample,
        gap=gap,
        force=options.forced,
    )
    for codes, names in zip(rows.classes, rows.class_names, strict=True):
        check_classes(drawn, codes, names)
    return drawn
