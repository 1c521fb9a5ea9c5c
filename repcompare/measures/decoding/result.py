"""What decoding gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Folds

Numbers = float | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodingResult:
    """Held-out scores of a decoder.  ``...`` are times: none, (time), or (train_time, test_time).

    Attributes
    ----------
    score : float or ndarray of shape (...)
        In [0, 1] for accuracies and areas; a correlation in [-1, 1] or r2 (at most 1) for continuous labels.
    fold_scores : ndarray of shape (..., n_folds)
        Per fold; NaN where a fold has no test row of some class (balanced accuracy, auc).
    chance : float
        What a decoder without information gets: 1 / number of classes, the share of the largest class (accuracy), one half
        (auc), 0 (continuous labels).
    pvalue : float or ndarray of shape (...), optional
        (1 + #{null >= score}) / (1 + number of permutations).
    pvalue_corrected : float or ndarray of shape (...), optional
        Against the best time of each permutation (max-statistic).
    null_scores : ndarray of shape (n_permutations, ...), optional
        Scores of permuted labels, on the same folds.
    confusion : ndarray of int, shape (..., n_classes, n_classes), optional
        Test rows summed over folds; rows are the true classes, columns the decoded ones.
    classes : ndarray of shape (n_classes,)
        Names, in the order of ``confusion``; empty for continuous labels.
    control_scores : ndarray of shape (n_controls, ...), optional
        Scores of control tasks.
    selectivity : float or ndarray of shape (...), optional
        ``score`` minus the mean score of the control tasks.
    code_length, compression : float, optional
        Bits of the online code of the labels, and bits of a uniform code divided by it.
    times : ndarray of shape (n_times,), optional
        Of a time-resolved score.
    folds : Folds
        Train and test rows, in the order of the input.
    model, scoring : str
        Which.
    options : mapping
        Of the model.
    exchange : str
        What the permutations exchanged.
    notes : tuple of str
        Code first.
    counts : mapping of str to int
        ``units_dropped``, ``rows_dropped``, ``permutations``.
    """

    score: Numbers
    fold_scores: npt.NDArray[np.float64] = field(repr=False)
    chance: float
    folds: Folds = field(repr=False)
    model: str
    scoring: str
    pvalue: Numbers | None = None
    pvalue_corrected: Numbers | None = field(default=None, repr=False)
    null_scores: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    confusion: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    classes: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=np.str_), repr=False)
    control_scores: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    selectivity: Numbers | None = None
    code_length: float | None = None
    compression: float | None = None
    times: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    exchange: str = ""
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
