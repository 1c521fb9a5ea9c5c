"""Encoding: how well one system predicts the units of another on stimuli that the fit has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, choose
from repcompare.functional._pair import NAN, Data, matched, without_nan
from repcompare.labels.align import row_labels
from repcompare.measures.encoding.result import EncodingResult, encode_arrays
from repcompare.statistics.folds import make_folds


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
    **options: Any,
) -> EncodingResult:
    """Predict the units of ``y`` from those of ``x`` on stimuli that the fit has not seen.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Source and target.  Representations are matched by stimulus name; rows of arrays must match.
    model : {"ridge"}
        Encoding model.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli.
    groups : str or array-like of shape (n_stimuli,), optional
        Label of the rows (a coordinate's name for representations): whole groups are held out together.
    gap : int or "auto"
        Rows left out on either side of a test block, for continuous recordings; ``"auto"`` is 0 for arrays and stimuli.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        ``"pairwise"``: each target unit is fitted on the stimuli it has.
    **options
        Of the model: ``alphas``, ``alpha_per_unit``, ``scoring="pearson" | "r2"``, ``nested`` ...

    Returns
    -------
    EncodingResult
        ``.score`` (mean over units, in [-1, 1] for pearson), ``.unit_scores (n_units,)``, ``.alphas``, ``.fold_scores``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Hoerl & Kennard 1970.

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
    a, b, names, sample = matched(x, y)
    labels = _group_labels(groups, (x, y), names)
    a, b, rows = without_nan(a, b, nan)
    labels = labels if labels is None else labels[rows]
    width = _gap(gap, sample)
    drawn = make_folds(len(a), folds, groups=labels, seed=seed, sample=sample, gap=width)
    return encode_arrays(a, b, drawn, model=model, nan="pairwise" if nan == "pairwise" else "raise", **options)


def _gap(gap: int | str, sample: Any) -> int:
    if isinstance(gap, int) and gap >= 0:
        return gap
    if gap != "auto":
        raise OptionError(f"gap={gap!r}; expected a number of rows or 'auto'")
    if sample == "time":
        raise OptionError(
            "a continuous recording needs gap=: the number of rows left out on either side of a test block"
        )
    return 0


def _group_labels(groups: Any, sides: tuple[Data, Data], names: np.ndarray | None) -> np.ndarray | None:
    if groups is None or not isinstance(groups, str):
        return None if groups is None else np.asarray(groups)
    for side in sides:
        if isinstance(side, xr.Dataset) and groups in side.coords:
            assert names is not None
            return row_labels(side, groups, names)
    raise OptionError(f"groups={groups!r}: neither side has such a label of its rows; give one label per row")
