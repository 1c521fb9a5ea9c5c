"""One number from two sides: of fitted measures with the folds, runs and gaps that ``compare`` draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.functional._encode_rows import Drawing, draw_folds, make_rows
from repcompare.functional._pair import NAN, Data, matched, without_nan
from repcompare.measures._measure import Folds, Measure, as_outcome


def score_pair(measure: Measure, x: Data, y: Data, *, nan: str, folds: Any = None, seed: int = 0) -> float:
    choose(nan, NAN, "nan")
    if nan == "pairwise" and not measure.accepts_nan:
        raise OptionError(f"{measure.name} has no form for missing values; use nan='drop_units' or 'drop_stimuli'")
    drawn: Folds | None = None
    if measure.fitted:
        rows = make_rows(x, y, groups=None, folds=folds, nan=nan)
        drawn = draw_folds(rows, folds, y, Drawing("auto", seed, ()))
        a, b = rows.x, rows.y
    else:
        a, b, _, _ = matched(x, y, repeats=measure.needs == "repeats")
        if measure.needs == "mean":
            a, b, _ = without_nan(a, b, nan)
    if nan != "pairwise" and measure.accepts_nan and np.isnan(a.sum() + b.sum()):
        raise MeasureError(
            f"{measure.name}: missing values (NaN); go on with nan='drop_units', 'drop_stimuli' or 'pairwise'"
        )
    states = measure.prepared(a, drawn), measure.prepared(b, drawn, side="target")
    score = as_outcome(measure.compare(*states)).score
    if not np.isfinite(score):
        raise MeasureError(f"{measure.name} is not defined on these data (it gave {score})")
    return score
