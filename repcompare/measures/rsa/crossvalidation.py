"""Scores of RDM models on stimuli and subjects that their weights have not seen.

Reference: Storrs et al. 2021, Journal of Cognitive Neuroscience 33:2044 (double cross-validation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa._methods import MIN_PAIRS
from repcompare.measures.rsa._subsets import Rows, pairs_within
from repcompare.measures.rsa.ceilings import noise_ceiling
from repcompare.measures.rsa.comparators import compare_rdms
from repcompare.measures.rsa.models import (
    Matrix,
    RDMModel,
    Vector,
    fit,
    is_flat,
    predict,
    restrict,
    same_pairs,
)

STIMULUS_FOLDS = ((12, 2), (24, 3), (40, 4))
SUBJECT_FOLDS = ((6, 2), (12, 3), (20, 4))
MIN_TEST = 3


class Split(NamedTuple):
    """Rows of stimuli and of data RDMs that are fitted, and others that are scored."""

    train_stimuli: Rows
    test_stimuli: Rows
    train_rdms: Rows
    test_rdms: Rows


@dataclass(frozen=True)
class CrossValidated:
    """Held-out scores of one model.

    Attributes
    ----------
    scores : ndarray, shape (n_rdms,)
        Of each data RDM: the mean over the folds that tested it.
    fold_scores : ndarray, shape (n_folds,)
        Mean over the tested data RDMs; NaN where the prediction is constant on the test pairs.
    theta : ndarray, shape (n_folds, n_parameters)
        Fitted without the test stimuli and test subjects of the fold.
    n_constant : int
        Folds left out for a constant prediction, whose score is not defined.
    n_pairs : ndarray of int, shape (n_rdms,)
        Pairs that each data RDM was scored on, of all folds together.
    """

    scores: Vector
    fold_scores: Vector
    theta: Matrix
    n_constant: int
    n_pairs: Rows

    @property
    def score(self) -> float:
        """Mean over the data RDMs."""
        return float(self.scores.mean())


def default_folds(n_stimuli: int, n_subjects: int) -> tuple[int, int]:
    """Return the usual numbers of folds over stimuli and over subjects; 1 for a single subject.

    Examples
    --------
    >>> default_folds(30, 8), default_folds(92, 1)
    ((4, 3), (5, 1))
    """
    stimuli = next((k for below, k in STIMULUS_FOLDS if n_stimuli < below), 5)
    subjects = next((k for below, k in SUBJECT_FOLDS if n_subjects < below), 5)
    return stimuli, min(subjects, n_subjects)


def cross(
    stimulus_folds: Folds | Sequence[tuple[Rows, Rows]], n_rdms: int, subject_folds: int, *, seed: int = 0
) -> tuple[Split, ...]:
    """Cross folds over stimuli with folds over data RDMs.

    Parameters
    ----------
    stimulus_folds : Folds or sequence of (train, test)
        Rows of stimuli; at least 3 in each test set.
    n_rdms : int
        Number of data RDMs (subjects).
    subject_folds : int
        1: the subjects that are scored are those that are fitted, on other stimuli.
    seed : int
        Of the shuffle of subjects.

    Returns
    -------
    tuple of Split
        Stimulus folds times subject folds.

    Raises
    ------
    OptionError
        On fewer than 3 test stimuli, or more folds than data RDMs.

    Examples
    --------
    >>> rows = np.arange(6)
    >>> len(cross([(rows[:3], rows[3:]), (rows[3:], rows[:3])], 4, 2))
    4
    """
    pairs = stimulus_folds.splits if isinstance(stimulus_folds, Folds) else tuple(stimulus_folds)
    for f, (train, test) in enumerate(pairs):
        if min(len(test), len(train)) < MIN_TEST:
            raise OptionError(
                f"fold {f} has {len(train)} training and {len(test)} test stimuli; expected at least {MIN_TEST} of each"
            )
    if not 1 <= subject_folds <= n_rdms:
        raise OptionError(f"subject_folds={subject_folds} of {n_rdms} data RDMs; expected 1 to {n_rdms}")
    every = np.arange(n_rdms)
    if subject_folds == 1:
        halves = [(every, every)]
    else:
        parts = np.array_split(np.random.default_rng(seed).permutation(n_rdms), subject_folds)
        halves = [(np.setdiff1d(every, part), np.sort(part)) for part in parts]
    return tuple(Split(train, test, fitted, scored) for train, test in pairs for fitted, scored in halves)


def cross_validate(
    model: RDMModel,
    data: npt.ArrayLike,
    splits: Sequence[Split],
    method: str = "rho_a",
    *,
    stimulus_covariance: npt.ArrayLike | None = None,
) -> CrossValidated:
    """Fit a model in each fold and score it on the pairs within the test stimuli of the test RDMs.

    Pairs of a training with a test stimulus are used for neither.

    Parameters
    ----------
    model : RDMModel
    data : array_like, shape (n_rdms, n_pairs)
        RDMs of the model's stimuli, one per subject, NaN where missing.
    splits : sequence of Split
        See :func:`cross`.
    method : str
        Comparator.
    stimulus_covariance : array_like, shape (n_stimuli,) or (n_stimuli, n_stimuli), optional
        Of the whitened methods.

    Returns
    -------
    CrossValidated

    Raises
    ------
    MeasureError
        When the prediction is constant on the test pairs of every fold that tests some data RDM, data are constant, or
        fewer than 3 pairs are left in a fold.

    Examples
    --------
    >>> rows, truth = np.arange(6), np.arange(15.0)
    >>> splits = cross([(rows[:3], rows[3:]), (rows[3:], rows[:3])], 1, 1)
    >>> model = RDMModel(name="truth", kind="fixed", rdms=truth[None])
    >>> round(cross_validate(model, 2 * truth, splits, "pearson").score, 12)
    1.0
    """
    stack = same_pairs(model, data)
    k = model.n_stimuli
    table = np.full((len(splits), len(stack)), np.nan)
    theta = np.empty((len(splits), model.n_parameters))
    constant, used = 0, np.zeros(len(stack), dtype=np.intp)
    for f, split in enumerate(splits):
        train, test = (stack[:, pairs_within(rows, k)] for rows in split[:2])
        within = [_covariance(stimulus_covariance, rows) for rows in split[:2]]
        theta[f] = fit(restrict(model, split.train_stimuli), train[split.train_rdms], method, **within[0])
        predicted = predict(restrict(model, split.test_stimuli), theta[f])
        pairs = _test_pairs(model.name, predicted, test, split, f)
        if is_flat(predicted, method):
            constant += 1
            continue
        found = compare_rdms(predicted[None], test[split.test_rdms], method, **within[1])
        table[f, split.test_rdms] = np.asarray(found)[0]
        used[split.test_rdms] += pairs
    return _summary(model, table, theta, constant, used)


def _test_pairs(name: str, predicted: Vector, test: Matrix, split: Split, fold: int) -> Rows:
    """Return how many pairs prediction and every test RDM have; raise for fewer than 3."""
    counts = (np.isfinite(predicted) & np.isfinite(test[split.test_rdms])).sum(axis=1)
    if counts.min() < MIN_PAIRS:
        raise MeasureError(
            f"{name}: {int(counts.min())} of the {predicted.size} test pairs of fold {fold} are in the prediction and in"
            f" data RDM {int(split.test_rdms[np.argmin(counts)])}; expected at least {MIN_PAIRS}; take fewer folds (larger"
            " test sets), or leave out that RDM or the stimuli with missing pairs"
        )
    return np.asarray(counts, dtype=np.intp)


def fold_ceilings(
    data: Matrix, splits: Sequence[Split], method: str, *, stimulus_covariance: npt.ArrayLike | None = None
) -> tuple[float, float]:
    """Return the lower and upper noise ceilings within the test stimuli, averaged over the stimulus folds.

    Parameters
    ----------
    data : ndarray, shape (n_rdms, n_pairs)
        Of at least 2 subjects.
    splits : sequence of Split
    method : str
    stimulus_covariance : array_like, optional
        Of the whitened methods.
    """
    k = count_stimuli(data.shape[1])
    sets = {split.test_stimuli.tobytes(): split.test_stimuli for split in splits}
    found = [
        noise_ceiling(data[:, pairs_within(rows, k)], method, **_covariance(stimulus_covariance, rows))
        for rows in sets.values()
    ]
    return float(np.mean([one.lower for one in found])), float(np.mean([one.upper for one in found]))


def _summary(model: RDMModel, table: Matrix, theta: Matrix, constant: int, used: Rows) -> CrossValidated:
    """Average the scores (n_folds, n_rdms), NaN where a fold does not test an RDM or its prediction is constant."""
    tested = np.isfinite(table)
    counts = tested.sum(axis=0)
    if not counts.all():
        raise MeasureError(
            f"{model.name}: the prediction is constant on the test pairs of every fold that tests data RDM "
            f"{int(np.argmin(counts))}; no score is defined; take fewer folds (larger test sets), another seed, or"
            " method='cosine'"
        )
    sums = np.where(tested, table, 0.0)
    per_fold = tested.sum(axis=1)
    folds = np.full(len(table), np.nan)
    np.divide(sums.sum(axis=1), per_fold, out=folds, where=per_fold > 0)
    return CrossValidated(sums.sum(axis=0) / counts, folds, theta, constant, used)


def _covariance(covariance: npt.ArrayLike | None, rows: Rows) -> dict[str, Any]:
    """Return the covariance of some stimuli as an option."""
    if covariance is None:
        return {}
    given = np.asarray(covariance, dtype=np.float64)
    return {"stimulus_covariance": given[rows] if given.ndim == 1 else given[np.ix_(rows, rows)]}
