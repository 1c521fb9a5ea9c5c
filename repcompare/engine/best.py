"""The best source of each target, with a score that the choice has not made too good."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError, some
from repcompare.labels.scores import BEST_SCHEMA, CELL, is_scores
from repcompare.statistics.best import choose_source

OUT = ("target", "measure")


def best(scores: xr.Dataset) -> xr.Dataset:
    """Choose the best source of each target, and report it on stimuli that the choice has not seen.

    Parameters
    ----------
    scores : xarray.Dataset
        Of ``compare(..., best=True)``, whole, joined by :func:`concat_scores`, or a selection of its sources (the layers of
        one network).

    Returns
    -------
    xarray.Dataset
        ``score_best (target, measure)``, in the unit of the measure: mean over folds of ``score_selected (fold, target,
        measure)``, the held-out score of the source ``selected_source (fold, target, measure)`` that was best on the other
        stimuli (highest; for distances lowest; the first of equals).  ``n_selected (source, target, measure)``: how often.
        ``score_max`` and ``source_max (target, measure)``: the best score of the whole table, which is too good.  NaN and
        an empty name where no source has a score in every fold, or beyond the number of folds of a measure.

    Raises
    ------
    SchemaError
        When the dataset is not a table of scores, has no inner scores, or was joined from tables with different folds.

    Notes
    -----
    Fitted measures choose by their cross-validated score inside the training stimuli of each fold; for other measures the
    stimuli are halved (``n_splits`` times), and a source chosen on one half is reported on the other, both ways: such a
    score is one of half the stimuli.

    References
    ----------
    Varma & Simon 2006 (nested cross-validation).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> names = [f"image{i:02d}" for i in range(40)]
    >>> z = rng.normal(size=(40, 6))
    >>> layers = {f"l{k}": rc.representation(z + k * rng.normal(size=(40, 6)), stimulus=names) for k in range(3)}
    >>> target = rc.representation(z + 0.5 * rng.normal(size=(40, 6)), stimulus=names)
    >>> found = rc.best(rc.compare(layers, target, measures="ridge", best=True, progress=False))
    >>> found.selected_source.values.ravel().tolist(), bool(found.score_best > 0.8)
    (['l0', 'l0', 'l0', 'l0', 'l0'], True)
    """
    _check(scores)
    table = scores.transpose(*CELL, ...)
    inner, outer = (table[f"score_{part}"].transpose(*CELL, "selection").values for part in ("inner", "outer"))
    score, names = table["score"].values, table["source"].values.astype(str)
    shape, count = score.shape, inner.shape[-1]
    out: dict[str, np.ndarray] = {
        "score_best": np.full(shape[1:], np.nan),
        "selected_source": np.full((count, *shape[1:]), "", dtype=names.dtype),
        "score_selected": np.full((count, *shape[1:]), np.nan),
        "n_selected": np.zeros(shape, dtype=np.int64),
        "score_max": np.full(shape[1:], np.nan),
        "source_max": np.full(shape[1:], "", dtype=names.dtype),
    }
    warnings = []
    for j, k in np.ndindex(*shape[1:]):
        # measures differ in their numbers of folds; one that only lacks its inner scores is a fold without a choice
        used = (np.isfinite(inner[:, :, k]) | np.isfinite(outer[:, :, k])).any(axis=(0, 1))
        greater = str(table["kind"].values[k]) != "distance" if "kind" in table.coords else True
        choice = choose_source(inner[:, j, k, used], outer[:, j, k, used], greater=greater)
        where = f"{table['measure'].values[k]} of {str(table['target'].values[j])!r}"
        if not (used.any() and choice.candidates.any()):
            warnings.append(f"no_best: {where}: no source has a score in every fold")
            continue
        left = names[~choice.candidates & np.isfinite(score[:, j, k]) & np.isfinite(outer[:, j, k, used]).any(axis=1)]
        left = left[left != table["target"].values[j]] if table.attrs.get("square") else left
        if left.size:
            warnings.append(f"not_chosen: {where}: {some(left.tolist())} lack a score in some fold")
        first = np.flatnonzero(choice.candidates)
        top = first[(score[first, j, k] if greater else -score[first, j, k]).argmax()]
        out["score_best"][j, k] = choice.score
        out["selected_source"][used, j, k] = names[choice.selected]
        out["score_selected"][used, j, k] = choice.scores
        np.add.at(out["n_selected"], (choice.selected, j, k), 1)
        out["score_max"][j, k], out["source_max"][j, k] = score[top, j, k], names[top]
    return _labelled(table, out, warnings)


def _check(scores: xr.Dataset) -> None:
    if not is_scores(scores):
        raise SchemaError(
            f"found variables {sorted(map(str, scores.variables))}; expected scores with dims source, target and measure; "
            "make them with compare(..., best=True)"
        )
    if "score_inner" not in scores or "score_outer" not in scores:
        raise SchemaError(
            "the scores do not tell how good each source is without the stimuli it is reported on, and the best of all is "
            "too good; expected 'score_inner' and 'score_outer'; compare again with best=True"
        )
    drawn = [str(one) for one in np.atleast_1d(scores.attrs.get("selection", []))]
    for what in ("folds", "halvings"):
        several = [one for one in drawn if one.startswith(what)]
        if len(several) > 1:
            raise SchemaError(
                f"the tables were joined from {len(several)} runs with different {what}: {some(several)}; expected one; "
                "compare all sources on the same stimuli, with the same folds, n_splits and seed"
            )


def _labelled(table: xr.Dataset, out: dict[str, np.ndarray], warnings: list[str]) -> xr.Dataset:
    dims: dict[str, tuple[str, ...]] = {
        "selected_source": ("fold", *OUT),
        "score_selected": ("fold", *OUT),
        "n_selected": CELL,
    }
    coords = {str(name): table.coords[name] for name in table.coords if set(table.coords[name].dims) <= set(CELL)}
    kept = ("seed", "folds", "selection", "nan_policy", "versions")
    attrs: dict[str, Any] = {"schema": BEST_SCHEMA} | {name: table.attrs[name] for name in kept if name in table.attrs}
    if warnings:
        attrs["warnings"] = warnings
    return xr.Dataset({name: (dims.get(name, OUT), values) for name, values in out.items()}, coords=coords, attrs=attrs)
