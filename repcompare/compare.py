"""The declarative door: what shall be compared with what, and by which measures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from repcompare.engine.run import run
from repcompare.engine.study import Options, Progress, declare, menu

if TYPE_CHECKING:
    import pandas as pd


def compare(
    source: Any,
    target: Any,
    *,
    measures: Any,
    by: Any = None,
    stimuli: str = "exact",
    nan: str = "raise",
    folds: Any = 5,
    groups: str | None = None,
    gap: int | str = "auto",
    force: Any = (),
    ceiling: Any = None,
    n_splits: int = 20,
    confidence: float | None = None,
    permutations: int = 0,
    null: str = "auto",
    calibrated: bool = False,
    best: bool = False,
    direction: str = "forward",
    unit_scores: bool = False,
    seed: int = 0,
    n_jobs: int = 1,
    memory: int | str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = True,
    hash_inputs: bool = True,
    progress: Progress | bool | None = None,
) -> xr.Dataset:
    """Compare every part of the source with every part of the target, by every measure.

    Parameters
    ----------
    source, target : representation, path, mapping of name to them, or xarray.DataTree
        Two systems' responses to the same stimuli; matched by the names of the stimuli, never by row order.  Decoders
        (``lda``, ``ridge_classifier``, ``nearest_centroid``, ``logistic``, ``svm``) take labels of the stimuli as target, as
        :func:`label_target` makes them: their folds keep the proportions of the classes, and permutations exchange labels;
        ``score_chance`` stands beside the score.
    measures : str, Measure, iterable of them, or mapping of label to them
        Names as :func:`measures` lists them, or measures with options (``repcompare.measures.cka.cka(kernel="rbf")``).
    by : str or (str, str), optional
        Split the source (and the target) into parts by a label of the units: ``by=("layer", "region")``.
    stimuli : {"exact", "intersection"}
        Demand the same stimuli on all sides, or keep those that all share.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        What to do about missing values; ``"pairwise"`` where the measure has a form for them.
    folds : int, "loo", splitter or list of (train, test)
        Folds over stimuli of the fitted measures.  Lists number the rows of the parts, which need one order (of trials: the
        stimuli, sorted by name); splitters cut the stimuli sorted by name, recordings in time.  Where trials or a
        continuous recording have a label ``run`` and ``groups`` is not given, a number leaves out one run at a time.
    groups : str, optional
        Label of the rows that folds keep together, such as ``"stimulus_category"``; intervals leave them out together too,
        and permutations of encoders exchange them whole with others of their size (refused where fewer than 5 have one).
    gap : int or "auto"
        Rows of a continuous recording left out on either side of a test block.  ``"auto"`` is the first lag at which the
        mean autocorrelation of a target falls below 0.05 (the longest of all targets), for fMRI at least 16 s.
    force : {"repeats", "time_shuffle", "leave_one_out"}, or several
        Guards of the folds to override by name, which ``attrs["forced"]`` records: groups on both sides of a split, shuffled
        rows of a recording, labels left out one row at a time.
    ceiling : {None, "split_half"}, number, array-like of shape (n_targets,), or mapping of target to number
        Noise ceiling from the repeats of the target, averaged over ``n_splits`` random halvings; or one that is known (of
        all targets, or of each), in the unit of the scores, which ``attrs["ceiling"]`` then calls "given".
    n_splits : int
        Halvings of the repeats behind the ceiling, and of the stimuli behind ``best`` for measures without fit.
    confidence : float, optional
        Coverage of intervals over stimuli, such as 0.95; of a recording over at least 10 blocks (``groups``, or its label
        ``run`` or ``session``).  Of encoders from their held-out predictions, over stimuli or stretches of the test sets.
    permutations : int
        Permutations of the stimuli behind the p-values, the same for all sources, targets and units.  Encoders are fitted
        once: their held-out predictions are compared with permuted data, by the mean of r over folds, against a null that
        is widened by what folds owe to each other (:func:`repcompare.statistics.held_out_tests.null_width`).
    null : {"auto", "blocks", "phase", "shift", "refit"}
        What is permuted in a recording, whose rows are not exchangeable: whole runs, sessions or ``groups`` (20 of one
        length, with breaks between them), the Fourier phases of the target (the same for all its units), or circular
        shifts (1000 rows); ``"auto"`` takes the first that the data allow.  ``"refit"`` is ``"auto"`` with encoders fitted
        again under every permutation, as they also are where held-out predictions do not do (the result says so).
    calibrated : bool
        Also give ``score_calibrated``: the score above the 95 % point of its permutations, as a share of the best possible;
        and ``score_calibrated_best``, above that of the best source under each permutation: the one for a chosen layer.
    best : bool
        Also give ``score_inner`` and ``score_outer``: what :func:`repcompare.best` chooses each target's best source by, and
        reports it by.  Takes about 3 to 5 times as long (5 folds, 20 halvings; procrustes 13 times).
    direction : {"forward", "both"}
        ``"both"`` also gives ``score_reverse``, the source predicted from the target on the same folds, and
        ``score_mean``; for symmetric measures both equal the score.
    unit_scores : bool
        Keep scores of single target units, where a measure has them; with ``permutations`` also their p-values.
    seed : int
        Of folds, halvings and permutations.
    n_jobs : int
        Threads; -1 takes every core.  Results do not depend on it.
    memory : int or str, optional
        Bytes that the run may need, or text such as ``"4GB"``: parts are prepared and compared tile by tile to stay below.
    checkpoint : path, optional
        Folder in which finished tiles are kept.  A tile is found again by the content of its parts, the measures, stimuli,
        folds and seed, never by names or dates.
    resume : bool
        Use the tiles that are in the checkpoint; otherwise replace them.
    hash_inputs : bool
        Record a content hash of each part.
    progress : None, False or callable
        A bar on a terminal, nothing, or ``(done, total, text)``.

    Returns
    -------
    xarray.Dataset
        ``score (source, target, measure)`` in the unit and range of each measure, and beside it ``score_ceiling``,
        ``score_normalised``, ``score_low``, ``score_high``, ``score_floor`` (mean under permuted stimuli),
        ``score_pvalue``, ``score_pvalue_corrected`` (against the best of all sources and targets), ``score_pvalue_fdr``
        (Benjamini & Hochberg), ``score_reverse``, ``score_fold``, counts, and ``reason`` where a cell has no score.  With
        ``unit_scores`` also ``score_unit (source, measure, target_unit)`` and, of encoders, ``score_unit_pvalue``,
        ``score_unit_pvalue_corrected`` (against the best of all units, sources and targets) and ``score_unit_pvalue_fdr``.

    Raises
    ------
    AlignmentError
        When the stimuli do not match; with the names of those that lack a partner.
    SchemaError, FormatError
        When a side is not what it should be.
    MeasureError
        When a measure is not defined on these data; naming the part.
    OptionError
        For options, measures or labels that do not exist; for permutations or intervals that a recording does not allow.

    References
    ----------
    Varma & Simon 2006 (nested choice); Nichols & Holmes 2002 (maximum); Prichard & Theiler 1994 (phases); Efron & Stein 1981
    (jackknife); Thobani 2025 (both directions).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> names = [f"image{i}" for i in range(30)]
    >>> brain = rc.representation(rng.normal(size=(30, 8)), stimulus=names)
    >>> model = rc.representation(brain.response.values[::-1] * 2 + 1, stimulus=names[::-1])
    >>> scores = rc.compare(model, brain, measures=["cka", "procrustes"], progress=False)
    >>> scores.score.values.round(6).ravel().tolist()
    [1.0, 0.0]
    """
    options = Options(
        stimuli=stimuli,
        nan=nan,
        folds=folds,
        groups=groups,
        gap=gap,
        force=force,
        ceiling=ceiling,
        n_splits=n_splits,
        confidence=confidence,
        permutations=permutations,
        null=null,
        calibrated=calibrated,
        best=best,
        direction=direction,
        unit_scores=unit_scores,
        seed=seed,
        n_jobs=n_jobs,
        memory=memory,
        checkpoint=checkpoint,
        resume=resume,
        hash_inputs=hash_inputs,
        progress=progress,
    )
    return run(declare(source, target, measures=measures, by=by, options=options))


def similarity_matrix(sources: Any, *, measure: Any = "cka", by: str | None = None, **options: Any) -> xr.Dataset:
    """Compare all parts of the sources with each other.

    Parameters
    ----------
    sources : representation with ``by=``, path, mapping, list of paths, or xarray.DataTree
        The systems.
    measure : str, Measure, or several as in :func:`compare`
        What is computed.
    by : str, optional
        Split each source into parts by this label of its units.
    **options
        As in :func:`compare`.

    Returns
    -------
    xarray.Dataset
        Scores with the same names along ``source`` and ``target``.

    Raises
    ------
    RepcompareError
        As :func:`compare`.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = rc.representation(np.random.default_rng(0).normal(size=(20, 5)), stimulus=[f"s{i}" for i in range(20)])
    >>> matrix = rc.similarity_matrix({"a": x, "b": x}, measure="cka", progress=False)
    >>> matrix.score.sel(source="a", target="b").round(6).item()
    1.0
    """
    if not isinstance(sources, (str, Mapping, xr.Dataset, xr.DataTree)) and hasattr(sources, "__iter__"):
        sources = {str(path): path for path in sources}
    return run(declare(sources, None, measures=measure, by=by, options=Options(**options)))


def measures() -> pd.DataFrame:
    """Return the menu: every measure with its kind, range, symmetry, invariances and reference.

    Returns
    -------
    pandas.DataFrame
        One row per measure, in its default form.

    Examples
    --------
    >>> import repcompare as rc
    >>> "cka" in rc.measures()["measure"].tolist()
    True
    """
    import pandas as pd

    return pd.DataFrame(menu())
