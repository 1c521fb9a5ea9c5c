"""Encoding: how well one system predicts the units of another on stimuli that the fit has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from repcompare.errors import OptionError, choose
from repcompare.functional._convert import convert_alpha
from repcompare.functional._encode_rows import Drawing, draw_folds, longest_delay, make_rows
from repcompare.functional._encode_stream import Request, check_streamed, encode_stream
from repcompare.functional._encoded import Call, Encoded, assess_predictions, score_interval
from repcompare.functional._encoding_labels import kernel_of_rows, labelled_options, with_delays
from repcompare.functional._pair import NAN, Data
from repcompare.measures.encoding.fits import Chosen, Fitted, fit_model
from repcompare.measures.encoding.result import EncodingResult

__all__ = ["convert_alpha", "encode"]


def encode(
    x: Data,
    y: Data,
    *,
    model: str = "ridge",
    folds: Any = 5,
    groups: Any = None,
    gap: int | str = "auto",
    seed: int = 0,
    nan: str = "raise",
    force: Iterable[str] = (),
    weights: bool | str | Path = False,
    direction: str = "forward",
    permutations: int = 0,
    null: str = "fixed",
    confidence: float | None = None,
    interval: str = "jackknife",
    memory: int | str | None = None,
    progress: Callable[[int, int, str], None] | bool | None = None,
    **options: Any,
) -> Encoded:
    """Predict the units of ``y`` from those of ``x`` on stimuli that the fit has not seen.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Source and target.  Representations are matched by stimulus name; rows of arrays must match.
    model : {"ridge", "delayed_ridge", "banded_ridge", "kernel_ridge", "pls", "linear", "best_unit", "poisson"}
        Ridge regression; with delays (``delays=`` or ``hrf=``, which ``"ridge"`` takes too); with one penalty per band of
        features (``bands="unit_layer"`` or one label per feature); of a kernel; partial least squares of all units
        together; least squares of minimum norm; the one source unit with the highest training r; Poisson regression of
        spike counts.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli.  Lists number the rows of x and y (those of both need one order; of trials: the stimuli,
        sorted by name), as ``.folds`` of the result does; splitters cut the stimuli sorted by name, recordings in time.
        Where trials or a continuous recording have a label ``run`` and ``groups`` is not given, a number leaves out one
        run at a time.
    groups : str or array-like of shape (n_stimuli,), optional
        Label of the rows, by a coordinate's name or one per row: whole groups are held out together.
    gap : int or "auto"
        Rows left out on either side of a test block, for continuous recordings.  ``"auto"`` is the first lag at which the
        mean autocorrelation of ``y`` within runs falls below 0.05, at least the longest delay, for fMRI at least 16 s; 0
        for arrays and stimuli.
    seed : int
        Of the folds, permutations and resamples.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        ``"pairwise"``: each target unit is fitted on the stimuli it has; of ``model="ridge"`` alone.
    force : iterable of {"repeats", "time_shuffle"}
        Guards to override by name: labels of ``groups`` on both sides of a split, shuffled rows of a recording.
    weights : bool or path
        Also fit the model on all rows with what was chosen: ``.weights`` (feature, unit) with names, ``.coef``,
        ``.intercept``, ``.predict(x)``.  A path that ends in ``.npy`` (with ``memory``) takes the weights in place of
        memory.
    direction : {"forward", "both"}
        ``"both"`` also predicts x from y on the same folds: ``.score_reverse``, ``.score_mean``, ``.reverse``.
    permutations : int
        Test the scores by exchanging whole stimuli or blocks of time: ``.pvalue`` of the mean over units, ``.pvalues``,
        ``.pvalues_corrected`` (maximum over units), ``.pvalues_fdr``.
    null : {"fixed", "refit"}
        Exchange held-out data against fixed predictions, or fit again under every permutation.
    confidence : float, optional
        Coverage of ``.score_low`` to ``.score_high`` and of ``.unit_low`` to ``.unit_high`` over new stimuli or blocks.
    interval : {"jackknife", "bootstrap"}
        ``"jackknife"``: as in ``compare``; it counts that other stimuli would give other weights (coverage .94 to .95 for
        .95, measured).  Over folds, with a note, where predictions are not kept: missing values, scores other than r and
        R2.  ``"bootstrap"``: of these weights alone (.82 to .88).
    memory : int or str, optional
        Bytes of the whole process (the libraries take 0.3 GB), or text such as ``"4GB"``: files opened by ``rc.open`` or
        ``rc.read``, or arrays, are read in blocks and need not fit in memory.  For ridge: with up to as many features as
        rows in blocks of rows, x once, or once per batch of target units where their products with x do not fit, y once in
        all; with more features in blocks of features, both once (see ``.notes``).  One more pass each: ``nan="drop_units"``
        or ``"drop_stimuli"``, a gap that is measured, ``direction="both"``, ``permutations`` and ``confidence`` (none with
        more features than rows; with up to as many the interval is wider than without ``memory`` unless scores are near
        0), ``weights`` with more features than rows.  Refused, with a way
        out: other models, delays, ``nan="pairwise"``, ``null="refit"``; ``refine`` and ``select_by="pearson"`` with up to as
        many features as rows.  Scores equal those without ``memory`` to 1e-9, of
        float32 data to 1e-4.
    progress : callable, bool or None
        With ``memory``: ``(done, total, text)`` is called after every step; None shows a bar on a terminal, False
        nothing.
    **options
        Of the model: ``alphas``, ``alpha_per_unit``, ``scoring="pearson" | "r2"``, ``nested``, ``delays``, ``bands``,
        ``runs="run"`` ...

    Returns
    -------
    Encoded
        ``.score`` (mean over units, in [-1, 1] for pearson), ``.unit_scores (n_units,)`` of ``.unit_ids``, ``.alphas``,
        ``.fold_scores``, ``.folds``, ``.gap``, ``.forced``, ``.notes``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Hoerl & Kennard 1970; Nichols & Holmes 2002 (maximum over units); Thobani 2025 (both directions).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 10))
    >>> y = x @ rng.normal(size=(10, 3)) + rng.normal(size=(100, 3))
    >>> rc.encode(x, y).score > 0.8
    True
    """
    choose(nan, NAN, "nan")
    choose(direction, ("forward", "both"), "direction")
    choose(null, ("fixed", "refit"), "null")
    choose(interval, ("jackknife", "bootstrap"), "interval")
    if isinstance(permutations, bool) or permutations < 0 or int(permutations) != permutations:
        raise OptionError(f"permutations={permutations!r}; expected a number >= 0")
    forced = (force,) if isinstance(force, str) else tuple(force)
    if memory is not None:
        check_streamed({"model": model, "null": null, "nan": nan})
        request = Request(memory, folds, groups, Drawing(gap, seed, forced), weights, progress, nan, direction)
        request = replace(request, permutations=int(permutations), confidence=confidence, interval=interval)
        return encode_stream(x, y, request, options)
    model, options = with_delays(model, options)
    rows = make_rows(x, y, groups=groups, folds=folds, nan=nan)
    if options.get("kernel") == "precomputed":
        rows = kernel_of_rows(rows)
    drawn = draw_folds(rows, folds, y, Drawing(gap, seed, forced, longest_delay(options)))
    call = Call(rows, drawn, model, nan, labelled_options(x, rows, options))
    found = (replace(call, options=call.options | {"weights": True}) if weights and model == "ridge" else call).scored()
    more: dict[str, Any] = {"gap": drawn.gap, "forced": forced, "unit_ids": rows.unit_ids}
    notes = [*rows.notes, *(f"forced: the guard {name!r} was overridden" for name in forced)]
    if direction == "both":
        reverse = call.reversed()
        more |= {"score_reverse": reverse.score, "score_mean": (found.score + reverse.score) / 2, "reverse": reverse}
    if permutations:
        extra = assess_predictions(call, found, permutations=int(permutations), null=null, seed=seed)
        notes += extra.pop("notes")
        more |= extra
    if confidence is not None:
        extra = score_interval(call, found, confidence=confidence, interval=interval, seed=seed)
        notes += extra.pop("notes", ())
        more |= extra
    if weights:
        more |= {"fitted": _fitted(call, found, weights), "feature_ids": rows.feature_ids, "row_ids": rows.names}
    own = {f.name: getattr(found, f.name) for f in fields(EncodingResult)}
    own["folds"] = drawn if rows.origin is None else rows.origin.numbered(drawn)
    own["details"] = {name: value for name, value in found.details.items() if name != "coef"}
    return Encoded(**own | {"notes": (*notes, *found.notes)}, **more)


def _fitted(call: Call, found: EncodingResult, weights: bool | str | Path) -> Fitted:
    if not isinstance(weights, (bool, np.bool_)):
        raise OptionError(
            f"weights={str(weights)!r} writes to a file what is read from files; give memory=, or weights=True"
        )
    chosen = Chosen(found.alphas, found.details, call.options, call.rows.segments)
    return fit_model(call.model, call.rows.x, call.rows.y, chosen)
