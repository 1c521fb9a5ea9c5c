"""Decoding of continuous labels: ridge regression of the label on the responses, permutations as further targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from repcompare.errors import AlignmentError, MeasureError, OptionError, choose
from repcompare.functional._decode_design import Wish
from repcompare.functional._decode_rows import Rows, group_codes, row_values
from repcompare.measures._measure import Folds
from repcompare.measures.decoding.result import DecodingResult
from repcompare.measures.encoding.result import encode_arrays
from repcompare.statistics.folds import make_folds
from repcompare.statistics.label_permutations import pvalues
from repcompare.statistics.resampling import stream

SCORINGS = ("pearson", "r2")


def continuous(rows: Rows, labels: Any, wish: Wish, scoring: str, options: dict[str, Any]) -> DecodingResult:
    """Predict a number per row; every permutation is one more target, with its own penalty."""
    choose(scoring, SCORINGS, "scoring")
    values = row_values(rows, labels, "labels")
    if values.dtype.kind not in "fiub":
        raise MeasureError(f"labels of type {values.dtype}; expected numbers for continuous decoding; use model='lda'")
    target = np.ma.filled(values.astype(np.float64), np.nan)
    if not np.isfinite(target).all():
        raise AlignmentError(f"{int((~np.isfinite(target)).sum())} rows have no finite label; label or drop them")
    folds = _folds(rows, wish)
    targets = np.concatenate([target[:, None], _permuted(rows, target, folds, wish)], axis=1)
    x = rows.x[:, :, None] if rows.x.ndim == 2 else rows.x
    fits = [encode_arrays(x[:, :, t], targets, folds, scoring=scoring, **options) for t in range(x.shape[2])]
    scores = np.stack([f.unit_scores for f in fits], axis=1)
    if not np.isfinite(scores).all():
        raise MeasureError("a label (or a permuted one) does not vary within a fold; use fewer folds")
    single = [encode_arrays(x[:, :, t], targets[:, :1], folds, scoring=scoring, **options) for t in range(x.shape[2])]
    flat = rows.x.ndim == 2
    score, null = (scores[0, 0], scores[1:, 0]) if flat else (scores[0], scores[1:])
    raw, corrected = pvalues(np.asarray(score), null) if len(null) else (None, None)
    by_fold = np.stack([f.fold_scores for f in single])
    return DecodingResult(
        score=float(score) if flat else score,
        fold_scores=by_fold[0] if flat else by_fold,
        chance=0.0,
        folds=rows.numbered(folds),
        model="ridge_regression",
        scoring=scoring,
        pvalue=None if raw is None else (float(raw) if flat else raw),
        pvalue_corrected=None if corrected is None else (float(corrected) if flat else corrected),
        null_scores=null if len(null) else None,
        times=rows.times,
        options=options,
        exchange="" if not len(null) else "rows within groups" if folds.groups is not None else "rows",
        notes=tuple(dict.fromkeys(note for f in single for note in f.notes)),
        counts=rows.counts,
    )


def _folds(rows: Rows, wish: Wish) -> Folds:
    groups, brought = group_codes(rows, wish.groups, wish.folds)
    if groups is None and rows.sample == "presentation" and rows.names is not None:
        groups = np.unique(rows.names, return_inverse=True)[1].astype(np.intp)
    drawn = make_folds(
        len(rows.x),
        "loo" if brought else rows.given(wish.folds),
        groups=groups,
        seed=wish.seed,
        sample=rows.sample,
        gap=wish.gap,
        force=wish.force,
    )
    return replace(drawn, groups=groups)


def _permuted(rows: Rows, target: np.ndarray, folds: Folds, wish: Wish) -> np.ndarray:
    """Exchange labels freely, or within groups in which they vary; (n_rows, n_permutations)."""
    if not wish.permutations:
        return np.empty((len(target), 0))
    if rows.sample == "time" and "time_shuffle" not in wish.force:
        raise OptionError(
            "the rows are a time series: exchanging single rows finds effects where there are none; average blocks, or "
            "force=('time_shuffle',)"
        )
    rng = stream(wish.seed, "labels")
    groups = np.zeros(len(target), dtype=np.intp) if folds.groups is None else folds.groups
    inside = all(np.ptp(target[groups == g]) > 0 for g in np.unique(groups))
    out = np.tile(target, (wish.permutations, 1))
    if not inside:
        _, first, of_row = np.unique(groups, return_index=True, return_inverse=True)
        if not (target[first][of_row] == target).all():
            raise OptionError("labels vary within some groups only, so nothing can be exchanged; give other groups=")
        return rng.permuted(np.tile(target[first], (wish.permutations, 1)), axis=1)[:, of_row].T
    for g in np.unique(groups):
        out[:, groups == g] = rng.permuted(out[:, groups == g], axis=1)
    return out.T
