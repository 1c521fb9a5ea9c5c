"""Learning curves: how well ridge predicts new stimuli when it is fitted on fewer of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import OptionError, choose
from repcompare.functional._encode_rows import Drawing, Rows, draw_folds, make_rows
from repcompare.functional._pair import Data
from repcompare.labels.scores import LEARNING_CURVE_SCHEMA
from repcompare.measures._measure import Folds, Index
from repcompare.measures.encoding.learning_curve import SIZES, LearningCurve, ridge_learning_curve
from repcompare.statistics.encoding_tests import SHORTEST_BLOCK


def learning_curve(
    x: Data,
    y: Data,
    *,
    sizes: npt.ArrayLike = SIZES,
    n_draws: int = 10,
    folds: Any = 5,
    groups: Any = None,
    gap: int | str = "auto",
    block: int | str = "auto",
    seed: int = 0,
    nan: str = "raise",
    force: Iterable[str] = (),
    **options: Any,
) -> xr.Dataset:
    """Score ridge regression from ``x`` to ``y`` on fixed test sets, fitted on parts of the training stimuli.

    Would more stimuli help?  A curve that still rises at the last size says yes.  Every size is scored on the same test
    sets, those of :func:`repcompare.encode`, and of one draw each subset holds the smaller ones.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Source and target, as in :func:`repcompare.encode`.
    sizes : array-like of shape (n_sizes,)
        Shares of the training data in (0, 1], or whole numbers: training stimuli or, where these are drawn, groups, runs or
        blocks.  Test sets hold about the same share of every subset, so the number of a fold may be off by one.
    n_draws : int
        Random subsets of each size.  All stimuli (1.0) are fitted once.
    folds, groups, gap, seed, force
        As in :func:`repcompare.encode`.  Whole groups are drawn, also the runs of a recording; ``seed`` is that of the
        draws too.
    block : int or "auto"
        Recordings without ``groups``: rows that are drawn together, about as many, within a run and a test set.  ``"auto"``:
        whole runs where there are any, else the gap, at least 10.  Single rows would know what their neighbours know.
    nan : {"raise", "drop_units", "drop_stimuli"}
        Policy for missing values.
    **options
        Of ridge: ``alphas`` (one, or several among which inner folds choose inside each subset), ``alpha_per_unit``,
        ``scoring="pearson" | "r2"``, ``summary``, ``alpha_scale``, ``one_se``, ``select_by``, ``refine``, ``precision``,
        ``fisher_z``, ``standardize``.  Other models, delays and ``nested=False`` are refused.

    Returns
    -------
    xarray.Dataset
        ``score (size)`` in [-1, 1] for pearson, (-inf, 1] for r2: mean over draws, of the mean (``summary``) over the units
        that have a score at every size (the others are counted in ``attrs["n_left_out"]``); at all stimuli that of
        ``encode``.  ``score_draw (size, draw)``, ``score_fold (size, fold)``, ``score_unit (size, unit)``; ``score_sd
        (size)`` and ``score_unit_sd (size, unit)`` over draws: what the choice of the training stimuli does, not an
        interval, and 0 at all stimuli.  ``n_train (size)``: training rows, mean over folds and draws; ``alpha (size,
        unit)``, geometric mean over folds and draws.  ``attrs``: ``drawn`` ("stimuli", "groups", "runs" or "blocks"),
        ``notes`` ...

    Raises
    ------
    AlignmentError, SchemaError, OptionError
        When the stimuli do not match, or an option does not exist.
    MeasureError
        For data that are not usable, or a size that is too small for the inner folds: the smallest usable one is named.

    Notes
    -----
    Cost: ``encode`` once for all stimuli, and once per size and draw the decompositions of the training sets, for k folds
    k (k + 1) / 2 of them (6 k for k > 6), k for a single alpha.  The products of the training rows are made once per draw,
    n p^2 + 2 n p t, whatever the number of sizes: the rows fall into pieces (test set by increment of size) whose sums add
    up to every training set.  Test sets of twice as many rows as features are scored from such sums too, so that no size
    reads the data (equal to predictions to 1e-7); shorter ones are predicted, per size.  With more features than stimuli the
    n by n kernel is made once for everything.  Sizes that need more than 1 GB together are taken one after another.

    References
    ----------
    Hoerl & Kennard 1970; Engstrom 2024 (sums of pieces).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 20))
    >>> y = x @ rng.normal(size=(20, 3)) + 4 * rng.normal(size=(200, 3))
    >>> curve = rc.learning_curve(x, y, sizes=(0.15, 0.5, 1.0))
    >>> curve["n_train"].values.tolist()
    [24.0, 80.0, 160.0]
    >>> bool((curve["score"].diff("size") > 0).all()), float(curve["score"][-1]) == rc.encode(x, y).score
    (True, True)
    """
    choose(nan, ("raise", "drop_units", "drop_stimuli"), "nan")
    forced = (force,) if isinstance(force, str) else tuple(force)
    rows = make_rows(x, y, groups=groups, folds=folds, nan=nan)
    drawn = draw_folds(rows, folds, y, Drawing(gap, seed, forced))
    labels, what = _drawn_together(rows, drawn, block)
    found = ridge_learning_curve(
        rows.x, rows.y, drawn, sizes=sizes, n_draws=n_draws, seed=seed, together=(labels, what), **options
    )
    forced_notes = [f"forced: the guard {name!r} was overridden" for name in forced]
    attrs = {
        "schema": LEARNING_CURVE_SCHEMA,
        "model": "ridge",
        "scoring": options.get("scoring", "pearson"),
        "summary": options.get("summary", "mean"),
        "drawn": what,
        "n_draws": n_draws,
        "seed": seed,
        "folds": drawn.scheme,
        "gap": drawn.gap,
        "n_stimuli": len(rows.x),
        "n_left_out": found.n_left_out,
        "notes": [*rows.notes, *forced_notes, *found.notes],
    }
    return _dataset(found, rows.unit_ids).assign_attrs(attrs)


def _dataset(found: LearningCurve, unit_ids: np.ndarray | None) -> xr.Dataset:
    variables = {
        "score": (("size",), found.score),
        "score_sd": (("size",), found.score_sd),
        "score_draw": (("size", "draw"), found.draws),
        "score_fold": (("size", "fold"), found.folds),
        "score_unit": (("size", "unit"), found.units),
        "score_unit_sd": (("size", "unit"), found.units_sd),
        "n_train": (("size",), found.n_train),
        "alpha": (("size", "unit"), found.alphas),
    }
    coords: dict[str, Any] = {"size": found.sizes}
    if unit_ids is not None:
        coords["unit_id"] = ("unit", unit_ids)
    return xr.Dataset(variables, coords=coords)


def _drawn_together(rows: Rows, folds: Folds, block: int | str) -> tuple[np.ndarray | None, str]:
    """Return which rows are drawn together, None for single ones, and what they are."""
    if block != "auto":
        if isinstance(block, (bool, str)) or not isinstance(block, (int, np.integer)) or block < 1:
            raise OptionError(f"block={block!r}; expected a number of rows or 'auto'")
        if rows.sample != "time" or (rows.groups is not None and not rows.runs):
            raise OptionError("block= cuts recordings (dim 'time') that have no groups=; leave it out")
        return _blocks(rows, folds, int(block)), "blocks"
    if rows.groups is not None:
        return rows.groups, "runs" if rows.runs else "groups"
    if rows.sample == "time":
        return _blocks(rows, folds, max(folds.gap, SHORTEST_BLOCK)), "blocks"
    return None, "stimuli"


def _blocks(rows: Rows, folds: Folds, length: int) -> Index:
    """Number blocks of about ``length`` neighbouring rows within one stretch of the recording and one test set."""
    tested = np.zeros((folds.n, len(folds)), dtype=bool)
    for fold, (_, test) in enumerate(folds.splits):
        tested[test, fold] = True
    new = (tested[1:] != tested[:-1]).any(axis=1)
    if rows.segments is not None:
        new |= rows.segments[1:] != rows.segments[:-1]
    pieces = np.split(np.arange(folds.n), np.flatnonzero(new) + 1)
    blocks = [part for piece in pieces for part in np.array_split(piece, max(1, piece.size // length))]
    return np.repeat(np.arange(len(blocks)), [part.size for part in blocks])
