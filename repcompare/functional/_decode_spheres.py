"""What a decoding searchlight decodes at every centre: the labels, folds and permutations of :func:`repcompare.decode`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, choose
from repcompare.functional._decode_design import Wish, design
from repcompare.functional._decode_rows import rows_of
from repcompare.measures._measure import Index
from repcompare.measures.decoding._scores import chance, proportion_notes
from repcompare.measures.decoding.crossvalidate import Task
from repcompare.measures.decoding.models import ALPHA, MODELS, SCORINGS, make_model


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the caller asked of the decoding."""

    model: str = "lda"
    scoring: str = "balanced_accuracy"
    alpha: float | None = None
    shrinkage: float | str | None = None
    C: Any = None
    wish: Wish = field(default_factory=Wish)


def sphere_task(ds: xr.Dataset, labels: Any, asked: Asked) -> tuple[Task, Index, dict[str, Any]]:
    """Return the task, the rows in its order, and what to record.

    No responses are looked at: labels and folds do not depend on them, and the first unit may be outside the mask.
    """
    choose(asked.model, MODELS, "decode")
    choose(asked.scoring, SCORINGS, "scoring")
    if asked.wish.controls or asked.wish.gap:
        raise OptionError("controls= and gap= are for decode(); a searchlight has none")
    alpha = asked.alpha
    if alpha is None and asked.shrinkage is None and asked.model == "lda":
        alpha = ALPHA  # one factorisation serves all permutations
    model = make_model(asked.model, alpha=alpha, shrinkage=asked.shrinkage, C=asked.C)
    first = ds.isel(unit=[0])
    rows = rows_of(first.assign(response=xr.zeros_like(first["response"])), "raise")
    plan = design(rows, labels, asked.wish)
    task = Task(codes=plan.sets, n_classes=len(plan.classes), folds=plan.folds, model=model, scoring=asked.scoring)
    record: dict[str, Any] = {
        "decoder": model.name,
        "scoring": asked.scoring,
        "chance": chance(plan.sets[0], len(plan.classes), asked.scoring),
        "classes": [str(name) for name in plan.classes.tolist()],
        "folds": plan.folds.scheme,
        "n_folds": len(plan.folds),
        "n_rows": plan.folds.n,
        "seed": int(asked.wish.seed),
        "notes": "; ".join((*plan.notes, *proportion_notes(plan.folds, plan.sets[0], asked.scoring))),
    }
    record |= {
        name: value if isinstance(value, (int, float, str)) else str(value) for name, value in model.options.items()
    }
    if plan.n_permutations:
        record |= {"permutations": plan.n_permutations, "exchange": plan.exchange}
    return task, np.asarray(rows.source), record
