"""Decoding: which labels can be read out of a system, on stimuli that the fit has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from repcompare.errors import OptionError, choose
from repcompare.functional._decode_across import across_sources
from repcompare.functional._decode_continuous import SCORINGS as CONTINUOUS
from repcompare.functional._decode_continuous import continuous
from repcompare.functional._decode_design import Design, Wish, design
from repcompare.functional._decode_result import result
from repcompare.functional._decode_rows import Rows, rows_of
from repcompare.functional._decode_threads import checked_jobs, in_threads
from repcompare.functional._pair import Data
from repcompare.measures.decoding.codelength import code_length as online_code
from repcompare.measures.decoding.crossvalidate import Scores, Task, crossvalidate
from repcompare.measures.decoding.models import ALPHA, MODELS, SCORINGS, Model, make_model
from repcompare.measures.decoding.over_time import across_times, at_every_time
from repcompare.measures.decoding.result import DecodingResult
from repcompare.statistics.resampling import stream

REGRESSION = "ridge_regression"


def decode(
    x: Data,
    labels: Any,
    *,
    model: str = "lda",
    folds: Any = 5,
    groups: Any = None,
    permutations: int = 0,
    scoring: str = "balanced_accuracy",
    seed: int = 0,
    alpha: float | None = None,
    shrinkage: float | str | None = None,
    C: float | Sequence[float] | None = None,
    generalize: bool = False,
    test: tuple[Data, Any] | None = None,
    align: str | None = None,
    controls: int = 0,
    types: Any = None,
    code_length: bool = False,
    gap: int = 0,
    nan: str = "raise",
    force: Iterable[str] = (),
    n_jobs: int = 1,
    **options: Any,
) -> DecodingResult:
    """Decode labels of the rows from their responses, on rows that the fit has not seen.

    Parameters
    ----------
    x : representation, or array-like of shape (n_rows, n_units) or (n_rows, n_units, n_times)
        Responses; single presentations stay single.  With a time axis every time is decoded by itself.
    labels : str, mapping or array-like of shape (n_rows,)
        A label of the rows of a representation, a mapping from stimulus name to label, or one label per row.
    model : {"lda", "ridge", "logistic", "svm", "nearest_centroid", "ridge_regression"}
        Linear discriminant analysis; ridge regression on the classes; logistic regression; linear support vector machine;
        nearest class mean; ridge regression on continuous labels (see :func:`repcompare.encode`).
    folds : int, "loo", list of (train, test), or scikit-learn splitter
        A number of folds, stratified by class.  Where ``x`` has a label ``run``, one run at a time is left out instead.
        ``"loo"`` with ``groups`` leaves out one group at a time.
    groups : str or array-like of shape (n_rows,), optional
        Held out whole.  Without them presentations of one stimulus are.
    permutations : int
        Number of permuted sets of labels; all there are, where these are fewer.
    scoring : {"balanced_accuracy", "accuracy", "auc"}, or {"pearson", "r2"} for continuous labels
        Balanced accuracy is the mean over classes of the share of right rows, summed over folds; ``"auc"`` is the area under
        the ROC curve, of one class against the rest, mean over classes and folds.
    seed : int
        Of folds, permutations and control tasks.
    alpha : float, optional
        Penalty of ridge and LDA, in units of the mean eigenvalue of the total scatter; 0.1 for ridge.  For LDA it makes
        permutations almost free.
    shrinkage : "auto" or float, optional
        Of the covariance of LDA, as in scikit-learn; ``"auto"`` unless ``alpha`` is given.
    C : float or list of float, optional
        Of logistic regression and support vector machines, 1 by default; a list is chosen from inside each training set.
    generalize : bool
        Also decode every time by the decoders of every other: scores are (train_time, test_time).
    test : tuple of (data, labels), optional
        Another system, on which the decoders fitted to ``x`` are tested.  Stimuli are matched by name (arrays by row), folds
        are drawn over the common ones, which ``.folds`` numbers as sorted (arrays: by row), and each system is standardised
        by its own training rows.
    align : {None, "procrustes"}
        Whether ``test`` is rotated to ``x``, on training stimuli alone; without it both must have the same units.
    controls : int
        Number of control tasks, in which every type of stimulus has a random label; gives ``.selectivity``.
    types : str or array-like of shape (n_rows,), optional
        Type of each row for ``controls``; its stimulus by default.
    code_length : bool
        Whether to compute the online code length of the labels, by LDA with ``alpha`` (0.1 unless given).
    gap : int
        Rows left out beside a test block, for continuous recordings.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    force : iterable of str
        Guards to override: ``"leave_one_out"``, ``"repeats"``, ``"time_shuffle"``.
    n_jobs : int
        Threads, for permutations that are fitted one by one (``shrinkage="auto"``, logistic, svm); results do not depend
        on it.
    **options
        Of ``model="ridge_regression"``: those of :func:`repcompare.encode`.

    Returns
    -------
    DecodingResult
        ``.score`` in [0, 1], ``.fold_scores``, ``.pvalue``, ``.confusion``, ``.information`` (bits), ``.null_scores``,
        ``.chance`` ...

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When labels are missing or continuous, a class is too rare, a split leaks, or an option does not exist.

    Notes
    -----
    Ridge, LDA with ``alpha`` and nearest centroids are fitted once for all sets of labels (Treder 2018).  Permutations
    exchange labels within groups that hold all classes, whole groups of one class, or whole label sequences; without groups
    within the test folds, which keeps the null at chance.  Where the proportions of the classes differ much between groups,
    the pooled score of noise lies below ``chance``, and so do the null scores: a note says so; judge by the p-value.

    References
    ----------
    Hastie, Buja & Tibshirani 1995; Treder 2018; Ledoit & Wolf 2004; King & Dehaene 2014; Hewitt & Liang 2019; Voita & Titov
    2020; Nichols & Holmes 2002; Panzeri & Treves 1996.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["face", "house"], 30)
    >>> x = rng.normal(size=(60, 40)) + (labels == "face")[:, None] * rng.normal(size=40)
    >>> found = rc.decode(x, labels, model="ridge", permutations=99)
    >>> found.score > 0.9, found.pvalue
    (True, 0.01)
    """
    force = (force,) if isinstance(force, str) else tuple(force)
    wish = Wish(
        folds=folds,
        groups=groups,
        permutations=permutations,
        controls=controls,
        types=types,
        gap=gap,
        seed=seed,
        force=force,
    )
    jobs, rows = checked_jobs(n_jobs), rows_of(x, nan)
    if model == REGRESSION or scoring in CONTINUOUS:
        _only_for_classes(alpha, shrinkage, C, generalize, test, controls, code_length)
        return continuous(rows, labels, wish, "pearson" if scoring == "balanced_accuracy" else scoring, options)
    choose(model, (*MODELS, REGRESSION), "model")
    choose(scoring, (*SCORINGS, *CONTINUOUS), "scoring")
    chosen = make_model(model, alpha=alpha, shrinkage=shrinkage, C=C)
    if options:
        raise OptionError(f"model={model!r} has no options {sorted(options)}")
    if test is not None:
        if not isinstance(test, (tuple, list)) or len(test) != 2:
            raise OptionError(f"test is a {type(test).__name__}; expected a pair (data, labels)")
        if generalize or code_length:
            raise OptionError("generalize= and code_length= are for one system; leave them out beside test=")
        return across_sources(rows, labels, (rows_of(test[0], nan), test[1], align), wish, (chosen, scoring))
    if align is not None:
        raise OptionError(f"align={align!r} is for another system; give test=(data, labels)")
    plan = design(rows, labels, wish)
    task = Task(codes=plan.sets, n_classes=len(plan.classes), folds=plan.folds, model=chosen, scoring=scoring)
    found = result(rows, plan, _scores(rows, task, generalize, jobs), chosen, scoring)
    return _with_code(found, rows, plan, chosen, seed) if code_length else found


def _scores(rows: Rows, task: Task, generalize: bool, jobs: int) -> Scores:
    if generalize and rows.x.ndim == 2:
        raise OptionError("generalize=True needs responses over time: (n_rows, n_units, n_times)")
    run = across_times if generalize else at_every_time if rows.x.ndim == 3 else crossvalidate
    return in_threads(partial(run, rows.x), task, jobs)


def _with_code(found: DecodingResult, rows: Rows, plan: Design, model: Model, seed: int) -> DecodingResult:
    if rows.x.ndim == 3:
        raise OptionError("code_length=True needs one response per row and unit; pick a time first")
    rng, codes = stream(seed, "code"), plan.sets[0]
    order = rng.permutation(len(codes))
    if plan.folds.groups is not None:
        rank = rng.permutation(plan.folds.groups.max() + 1)[plan.folds.groups]
        order = order[np.argsort(rank[order], kind="stable")]
    alpha = model.alpha if model.alpha is not None else ALPHA
    n_classes = len(plan.classes)
    bits = online_code(rows.x, codes, n_classes, order=order, alpha=alpha)
    note = f"code_length: probabilities of LDA with alpha={alpha:g}, whatever the model"
    return replace(
        found, code_length=bits, compression=len(codes) * np.log2(n_classes) / bits, notes=(*found.notes, note)
    )


def _only_for_classes(*given: Any) -> None:
    names = ("alpha", "shrinkage", "C", "generalize", "test", "controls", "code_length")
    wrong = [name for name, value in zip(names, given, strict=True) if value]
    if wrong:
        raise OptionError(f"{', '.join(wrong)}: only for classes; continuous labels take the options of encode()")
