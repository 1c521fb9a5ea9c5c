"""Decoders as measures: how well the labels that a target holds can be read out of a source, on held-out stimuli.

The target has one unit per class, 1 where a stimulus belongs to it and 0 elsewhere (:func:`repcompare.label_target`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, choose
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures.decoding._scores import chance, combine, proportion_notes, score_fold
from repcompare.measures.decoding.crossvalidate import Responses, Task, crossvalidate, decisions
from repcompare.measures.decoding.crossvalidate import prepare as prepare_responses
from repcompare.measures.decoding.models import SCORINGS, Model, make_model
from repcompare.measures.encoding._held_out import check_same_folds

LINEAR = frozenset({"translation", "scaling", "permutation"})
TARGET = frozenset({"permutation"})  # of the classes
FEWEST = 4  # two stimuli of two classes
WHAT = "expected exactly one 1 in each row and 0 elsewhere, a column per class; make it by repcompare.label_target(...)"


def lda(
    *, alpha: float | None = None, shrinkage: float | str | None = None, scoring: str = "balanced_accuracy"
) -> Measure:
    """Share of labels that linear discriminant analysis reads out of a source.

    Parameters
    ----------
    alpha : float, optional
        Penalty in units of the mean eigenvalue of the total scatter; permutations are then almost free.
    shrinkage : "auto" or float, optional
        Of the covariance, as in scikit-learn; ``"auto"`` unless ``alpha`` is given.
    scoring : {"balanced_accuracy", "accuracy", "auc"}
        As in :func:`repcompare.decode`.

    Returns
    -------
    Measure
        Its target holds one unit per class (:func:`repcompare.label_target`).  ``compare`` gives an Outcome, 0 to 1, with
        ``fold_scores``, ``unit_scores`` (share of right stimuli of each class) and details ``chance`` and ``confusion``.

    Raises
    ------
    OptionError
        For options that exclude each other or are out of range.

    Notes
    -----
    Hastie, Buja & Tibshirani 1995; Ledoit & Wolf 2004.  Permutations exchange labels inside test folds or groups, so that
    their proportions stay; intervals are over the stimuli that are tested, with the decoders as they are.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels, rows = np.arange(40) % 2, np.arange(40)
    >>> x = rng.normal(size=(40, 5)) + 3 * labels[:, None]
    >>> folds = Folds(tuple((rows[rows // 2 % 4 != f], rows[rows // 2 % 4 == f]) for f in range(4)), 40)
    >>> measure = lda(alpha=0.1)
    >>> state, target = measure.prepared(x, folds), measure.prepared(np.eye(2)[labels], folds, side="target")
    >>> measure.compare(state, target).score
    1.0
    """
    model = make_model("lda", alpha=alpha, shrinkage=shrinkage)
    own = {"rotation"} if model.shrinkage != "auto" else {"unit_scaling"}
    return _measure("lda", model, scoring, own, "hastie1995")


def ridge_classifier(*, alpha: float = 0.1, scoring: str = "balanced_accuracy") -> Measure:
    """Share of labels that ridge regression on the classes reads out of a source.

    Parameters
    ----------
    alpha : float
        Penalty in units of the mean eigenvalue of the total scatter.
    scoring : {"balanced_accuracy", "accuracy", "auc"}
        As in :func:`repcompare.decode`.

    Returns
    -------
    Measure
        As :func:`lda`.

    Raises
    ------
    OptionError
        For a penalty that is not above 0.

    Notes
    -----
    The largest of the predictions of +-1 codes; all folds and permutations from one hat matrix (Treder 2018).

    Examples
    --------
    >>> ridge_classifier().score_range
    (0.0, 1.0)
    """
    return _measure("ridge_classifier", make_model("ridge", alpha=alpha), scoring, {"rotation"}, "treder2018")


def nearest_centroid(*, scoring: str = "balanced_accuracy") -> Measure:
    """Share of labels that the nearest class mean reads out of a source.

    Parameters
    ----------
    scoring : {"balanced_accuracy", "accuracy", "auc"}
        As in :func:`repcompare.decode`.

    Returns
    -------
    Measure
        As :func:`lda`.

    Notes
    -----
    Euclidean distances (Tibshirani et al. 2002, without shrinkage).

    Examples
    --------
    >>> sorted(nearest_centroid().invariant_to)
    ['duplication', 'permutation', 'rotation', 'scaling', 'translation']
    """
    own = {"rotation", "duplication"}
    return _measure("nearest_centroid", make_model("nearest_centroid"), scoring, own, "tibshirani2002")


def logistic(*, C: float | Sequence[float] = 1.0, scoring: str = "balanced_accuracy") -> Measure:
    """Share of labels that logistic regression reads out of a source.

    Parameters
    ----------
    C : float or list of float
        Inverse penalty, on features scaled inside the fold; one of a list is chosen inside each training set.
    scoring : {"balanced_accuracy", "accuracy", "auc"}
        As in :func:`repcompare.decode`.

    Returns
    -------
    Measure
        As :func:`lda`.

    Raises
    ------
    OptionError
        For a C that is not above 0.

    Notes
    -----
    scikit-learn's, multinomial for more than two classes (Cox 1958).  Every permutation is fitted by itself.

    Examples
    --------
    >>> logistic(C=[0.1, 1.0]).options["C"]
    [0.1, 1.0]
    """
    return _measure("logistic", make_model("logistic", C=C), scoring, {"unit_scaling"}, "cox1958")


def svm(*, C: float | Sequence[float] = 1.0, scoring: str = "balanced_accuracy") -> Measure:
    """Share of labels that a linear support vector machine reads out of a source.

    Parameters
    ----------
    C : float or list of float
        Inverse penalty, on features scaled inside the fold; one of a list is chosen inside each training set.
    scoring : {"balanced_accuracy", "accuracy", "auc"}
        As in :func:`repcompare.decode`.

    Returns
    -------
    Measure
        As :func:`lda`.

    Raises
    ------
    OptionError
        For a C that is not above 0.

    Notes
    -----
    Hinge loss; every pair of classes has a vote (Cortes & Vapnik 1995).  Every permutation is fitted by itself.

    Examples
    --------
    >>> svm().label
    'svm(scoring=balanced_accuracy, C=1)'
    """
    return _measure("svm", make_model("svm", C=C), scoring, {"unit_scaling"}, "cortes1995")


def _measure(name: str, model: Model, scoring: str, invariances: set[str], reference: str) -> Measure:
    choose(scoring, SCORINGS, "scoring")
    how = model, scoring
    return Measure(
        name=name,
        options={"scoring": scoring, **model.options},
        prepare=partial(_prepare, name, model),
        prepare_target=partial(_prepare_target, name),
        compare=partial(_compare, how),
        target_holds="labels",
        classes=partial(class_of_each, name),
        null_scores=partial(_null_scores, how),
        part_scores=partial(_part_scores, how),
        kind="predictivity",
        symmetric=False,
        score_range=(0.0, 1.0),
        identical=np.nan,
        invariant_to=LINEAR | invariances,
        target_invariant_to=TARGET,
        fitted=True,
        min_stimuli=FEWEST,
        state_bytes=partial(_state_bytes, model),
        reference=reference,
    )


@dataclass(frozen=True)
class Source:
    """A source: responses and folds."""

    rows: Responses
    folds: Folds


@dataclass(frozen=True)
class Labels:
    """A target of labels.

    Attributes
    ----------
    codes : ndarray of int, shape (n_stimuli,)
        Class of each stimulus among those that occur.
    units : ndarray of int, shape (n_classes,)
        Unit of each class that occurs.
    n_units : int
        Units of the target.
    folds : Folds
        Train and test rows.
    """

    codes: Index
    units: Index
    n_units: int
    folds: Folds


def class_of_each(name: str, target: Array) -> Index:
    """Unit of each row of indicators (n_stimuli, n_units) that is 1.

    Raises
    ------
    MeasureError
        When rows are not indicators, or all of one class.

    Examples
    --------
    >>> class_of_each("lda", np.array([[0.0, 1.0], [1.0, 0.0]]))
    array([1, 0])
    """
    wrong = np.flatnonzero(~(((target == 0) | (target == 1)).all(axis=1) & (target.sum(axis=1) == 1)))
    if wrong.size:
        raise MeasureError(
            f"{name}: the target holds no labels in {wrong.size} of {len(target)} rows; {WHAT}", rows=wrong.tolist()
        )
    codes: Index = np.argmax(target, axis=1).astype(np.intp)
    if (codes == codes[0]).all():
        raise MeasureError(f"{name}: all stimuli are of one class; expected at least two classes")
    return codes


def _prepare(name: str, model: Model, x: Array, folds: Folds) -> Source:
    try:
        return Source(prepare_responses(np.asarray(x, dtype=np.float64), model), folds)
    except MeasureError as error:
        raise MeasureError(str(error).replace("decoding", name, 1), rows=error.rows) from error


def _prepare_target(name: str, y: Array, folds: Folds) -> Labels:
    units, codes = np.unique(class_of_each(name, y), return_inverse=True)
    for f, (train, test) in enumerate(folds.splits):
        absent = np.bincount(codes[train], minlength=len(units)) == 0
        if absent.any():
            raise MeasureError(
                f"{name}: fold {f}: class {units[np.argmax(absent)]} (counted from 0) has no training rows; expected every "
                "class among the training rows of every fold; use other folds or groups, or leave the class out"
            )
        if not test.size:
            raise MeasureError(f"{name}: fold {f} has no test rows; expected some")
    return Labels(codes.astype(np.intp), units.astype(np.intp), y.shape[1], folds)


def _task(how: tuple[Model, str], target: Labels, codes: Index) -> Task:
    model, scoring = how
    return Task(codes=codes, n_classes=len(target.units), folds=target.folds, model=model, scoring=scoring)


def _compare(how: tuple[Model, str], source: Source, target: Labels) -> Outcome:
    check_same_folds(source.folds, target.folds, how[0].name)
    found = crossvalidate(source.rows, _task(how, target, target.codes[None]))
    recall = np.full(target.n_units, np.nan)
    with np.errstate(invalid="ignore"):
        recall[target.units] = np.diagonal(found.confusion) / found.confusion.sum(axis=1)
    return Outcome(
        score=float(found.score[0]),
        unit_scores=recall,
        fold_scores=found.fold_scores,
        details={"chance": chance(target.codes, len(target.units), how[1]), "confusion": found.confusion},
        notes=proportion_notes(target.folds, target.codes, how[1]),
    )


def _null_scores(how: tuple[Model, str], source: Source, target: Labels, orders: Index) -> npt.NDArray[np.float64]:
    """Scores of the target with its rows in other orders (n_orders, n_stimuli): one fit where the model allows."""
    return crossvalidate(source.rows, _task(how, target, target.codes[orders])).score


def _part_scores(
    how: tuple[Model, str], source: Source, target: Labels, parts: Sequence[Index]
) -> npt.NDArray[np.float64]:
    """Scores of some of the test stimuli, decoded as before; NaN where none of a class is left."""
    task = _task(how, target, target.codes[None])
    decided = decisions(source.rows, task)
    found = np.empty(len(parts))
    for i, part in enumerate(parts):
        kept = np.zeros(task.folds.n, dtype=bool)
        kept[part] = True
        try:
            found[i] = _some_rows(task, decided, kept)
        except MeasureError:
            found[i] = np.nan
    return found


def _some_rows(task: Task, decided: list[Any], kept: npt.NDArray[np.bool_]) -> float:
    folds = []
    for (values, kind), (_, test) in zip(decided, task.folds.splits, strict=True):
        some = np.ascontiguousarray(values[:, :, kept[test]])
        truth = np.ascontiguousarray(task.codes[:, test[kept[test]]])
        folds.append(score_fold(some, truth, kind, task.scoring))
    return float(combine(folds, task.scoring)[0][0])


def _state_bytes(model: Model, n: int, p: int, itemsize: int, folds: int) -> int:
    """Responses in float64, and the products of wide ones."""
    return 8 * n * (p + (n if model.smooths and p > n else 0))
