"""From scores of all sets of labels to one result."""

from __future__ import annotations

from repcompare.functional._decode_design import Design
from repcompare.functional._decode_rows import Rows
from repcompare.measures.decoding._scores import chance, proportion_notes
from repcompare.measures.decoding.crossvalidate import Scores
from repcompare.measures.decoding.models import Model
from repcompare.measures.decoding.result import DecodingResult, plain
from repcompare.statistics.label_permutations import pvalues


def result(rows: Rows, plan: Design, scores: Scores, model: Model, scoring: str) -> DecodingResult:
    """Name what was found."""
    score = scores.score[0]
    last = 1 + plan.n_permutations
    null, control = scores.score[1:last], scores.score[last:]
    raw, corrected = pvalues(score, null) if len(null) else (None, None)
    notes = plan.notes + proportion_notes(plan.folds, plan.sets[0], scoring)
    if len(null) and model.name == "lda" and model.shrinkage == "auto":
        notes += (
            "permutations_refit: shrinkage='auto' depends on the labels; alpha=0.1 makes permutations almost free",
        )
    return DecodingResult(
        score=plain(score),
        fold_scores=scores.fold_scores,
        chance=chance(plan.sets[0], len(plan.classes), scoring),
        folds=rows.numbered(plan.folds),
        model=model.name,
        scoring=scoring,
        pvalue=None if raw is None else plain(raw),
        pvalue_corrected=None if corrected is None else plain(corrected),
        null_scores=null if len(null) else None,
        confusion=scores.confusion,
        classes=plan.classes,
        control_scores=control if len(control) else None,
        selectivity=plain(score - control.mean(axis=0)) if len(control) else None,
        times=rows.times,
        options=model.options,
        exchange=plan.exchange,
        notes=notes,
        counts=plan.counts,
    )
