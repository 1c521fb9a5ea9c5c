"""What decoding gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Folds
from repcompare.measures.decoding._information import information_bias, plugin_information

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
    information, information_plugin : float or ndarray of shape (...), optional
        Bits between the true and the decoded class, from ``confusion``: corrected for bias, and as it is.
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

    @property
    def information_plugin(self) -> Numbers | None:
        """Mutual information of true and decoded class in bits, of the shares in ``confusion`` as they are.

        ``sum_sr p(s, r) log2(p(s, r) / (p(s) p(r)))``, in [0, log2 n_classes]; too high where test rows are few.  None for
        continuous labels.
        """
        return None if self.confusion is None else plain(plugin_information(self.confusion))

    @property
    def information(self) -> Numbers | None:
        """Mutual information of true and decoded class in bits, without the bias of few test rows.

        None for continuous labels.

        Notes
        -----
        ``information_plugin`` less ``(sum_s (R_s - 1) - (R - 1)) / (2 N ln 2)`` (Panzeri & Treves 1996, Network 7: 87): N
        test rows, R classes that are decoded at all, R_s of them that can be where the truth is s, by their Bayesian count.
        Not less than 0 is taken off, since the numbers of the true classes are fixed: at most log2 n_classes, which perfect
        decoding of classes of one size has, and about 0, also below, without information.  Some bias stays with fewer
        than about four test rows per class and class.  Rows count as independent, so that it is corrected too little where
        test sets overlap.  Errors that are systematic are information too: noise decoded below chance has some.

        Examples
        --------
        >>> import numpy as np, repcompare as rc
        >>> labels = np.repeat(["face", "house"], 30)
        >>> x = np.eye(60)[:, :5] + 9 * (labels == "face")[:, None]
        >>> rc.decode(x, labels).information
        1.0
        """
        if self.confusion is None:
            return None
        return plain(plugin_information(self.confusion) - information_bias(self.confusion))


def plain(values: npt.NDArray[np.float64]) -> Numbers:
    """Give a float where there is a single number."""
    return float(values) if np.ndim(values) == 0 else np.asarray(values, dtype=np.float64)
