"""Scores as tables: tidy for files and pandas, short for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from repcompare.errors import SchemaError
from repcompare.labels.scores import CELL, NOT_ASKED, is_scores

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

# column of the tidy table -> variable or attribute of the scores
COLUMNS = {
    "score": "score",
    "ceiling": "score_ceiling",
    "ceiling_kind": "@ceiling",
    "score_normalised": "score_normalised",
    "low": "score_low",
    "high": "score_high",
    "pvalue": "score_pvalue",
    "pvalue_corrected": "score_pvalue_corrected",
    "n_stimuli": "n_stimuli",
    "n_source_units": "n_source_units",
    "n_target_units": "n_target_units",
    "seconds": "seconds",
    "normalisation": "@normalisation",
    "nan_policy": "@nan_policy",
    "n_dropped": "n_dropped",
    "seed": "@seed",
    "reason": "reason",
}
ASKED = ("score_reverse", "score_mean")  # columns after those, where they were asked for
COUNTS = ("n_stimuli", "n_source_units", "n_target_units", "n_dropped")


def table(scores: xr.Dataset) -> pd.DataFrame:
    """Return scores as a tidy table: one row per source, target and measure.

    Parameters
    ----------
    scores : xarray.Dataset
        As :func:`repcompare.compare` returns them.

    Returns
    -------
    pandas.DataFrame
        Columns ``source, target, measure, score, ceiling, ceiling_kind, score_normalised, low, high, pvalue,
        pvalue_corrected, n_stimuli, n_source_units, n_target_units, seconds, normalisation, nan_policy, n_dropped, seed,
        reason``, ``score_reverse`` and ``score_mean`` where both directions were asked for, then one per label by which a
        side was split; sorted by source, target and measure.

    Raises
    ------
    SchemaError
        When the dataset is not a table of scores.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = rc.representation(np.random.default_rng(0).normal(size=(9, 4)), stimulus=list("abcdefghi"))
    >>> rc.table(rc.compare(x, x, measures="cka", progress=False))[["source", "target", "measure"]].values.tolist()
    [['source', 'target', 'cka']]
    """
    import pandas as pd

    if not is_scores(scores):
        raise SchemaError(
            f"found variables {sorted(map(str, scores.variables))}; expected scores with dims source, target and measure; "
            "make them with compare()"
        )
    shape = tuple(scores.sizes[d] for d in CELL)
    grid = np.meshgrid(*(scores[d].values.astype(str) for d in CELL), indexing="ij")
    columns: dict[str, Any] = {d: g.ravel() for d, g in zip(CELL, grid, strict=True)}
    for column, origin in COLUMNS.items():
        columns[column] = _column(scores, origin, shape)
    columns |= {name: _column(scores, name, shape) for name in ASKED if name in scores}
    columns |= _label_columns(scores, shape)
    frame = pd.DataFrame(columns)
    frame.loc[frame["ceiling"].isna(), "ceiling_kind"] = ""
    frame.loc[frame["ceiling"].isna(), "normalisation"] = ""
    for count in COUNTS:
        frame[count] = frame[count].astype("Int64")
    return frame.sort_values(list(CELL), kind="stable", ignore_index=True)


def _column(scores: xr.Dataset, origin: str, shape: tuple[int, ...]) -> Any:
    if origin.startswith("@"):
        value = scores.attrs.get(origin[1:], "")
        if not isinstance(value, str) and np.ndim(value):  # of joined tables
            value = "; ".join(str(v) for v in value if str(v) != "none")
        return np.full(int(np.prod(shape)), "" if value == "none" else value)
    if origin not in scores and origin == "reason":
        return np.full(int(np.prod(shape)), "")
    if origin not in scores:
        return np.full(int(np.prod(shape)), np.nan)
    return scores[origin].transpose(*CELL).values.ravel()


def _label_columns(scores: xr.Dataset, shape: tuple[int, ...]) -> dict[str, Any]:
    """The labels by which sides were split, as columns named by the label (``layer``)."""
    out = {}
    for axis, dim in enumerate(CELL[:2]):
        for name, coordinate in scores.coords.items():
            label = str(name).removeprefix(f"{dim}_")
            if coordinate.dims == (dim,) and label != name:
                other = f"{CELL[1 - axis]}_{label}" in scores.coords
                spread = np.expand_dims(coordinate.values, tuple(a for a in range(3) if a != axis))
                out[str(name) if other or label in (*CELL, *COLUMNS) else label] = np.broadcast_to(
                    spread, shape
                ).ravel()
    return out


def csv_text(scores: xr.Dataset) -> str:
    """Return the tidy table as CSV text: shortest round-trip numbers, NaN as the empty field."""
    text: str = table(scores).to_csv(index=False, lineterminator="\n")
    return text


def records(scores: xr.Dataset) -> list[dict[str, Any]]:
    """Return the tidy table as plain dicts for JSON, None for NaN."""
    frame = table(scores).astype(object)
    return [
        {str(k): None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
        for row in frame.where(frame.notna(), None).to_dict("records")
    ]


def terminal_table(scores: xr.Dataset, title: str = "") -> Table:
    """Return a short table for the terminal: a row per source and target, a column per measure.

    A cell shows the score, ``*`` where the corrected p-value is below 0.05, ``/`` its ceiling where there is one, and below
    it the interval.
    """
    from rich.markup import escape
    from rich.table import Table

    targets = scores.sizes["target"] > 1
    out = Table(title=escape(title) or None, title_justify="left")
    out.add_column("source", overflow="fold")
    if targets:
        out.add_column("target", overflow="fold")
    for name in scores["measure"].values:
        out.add_column(escape(str(name)), justify="right")
    for i, source in enumerate(scores["source"].values):
        for j, target in enumerate(scores["target"].values):
            cells = [_cell(scores.isel(source=i, target=j, measure=k)) for k in range(scores.sizes["measure"])]
            if any(cells):
                out.add_row(*map(escape, (str(source), *([str(target)] if targets else []), *cells)))
    return out


def _cell(cell: xr.Dataset) -> str:
    score = float(cell["score"])
    if np.isnan(score):
        return "" if str(cell.get("reason", xr.DataArray("")).item()) == NOT_ASKED else "-"
    text = f"{score:.3f}"
    if "score_pvalue_corrected" in cell and float(cell["score_pvalue_corrected"]) < 0.05:
        text += "*"
    if "score_ceiling" in cell and np.isfinite(float(cell["score_ceiling"])):
        text += f" / {float(cell['score_ceiling']):.2f}"
    if "score_low" in cell and np.isfinite(float(cell["score_low"])):
        text += f"\n[{float(cell['score_low']):.2f}, {float(cell['score_high']):.2f}]"
    return text
