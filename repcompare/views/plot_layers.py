"""The course of scores over the layers of a network, one line per target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, choose, some, suggest
from repcompare.labels.scores import is_scores
from repcompare.views._canvas import CEILING, GROUPS, PALE, figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")


def layers(
    table: xr.Dataset,
    *,
    measure: str | None = None,
    units: bool = True,
    apart: Sequence[str] = (),
    ceiling: str = "noise ceiling",
    title: str = "",
) -> Figure:
    """Draw the score of every source in the order of the table, one line per target.

    Parameters
    ----------
    table : xarray.Dataset
        Scores, as :func:`repcompare.compare` returns them: the layers of a network as sources, from first to last; any
        other order by ``table.sel(source=[...])``.
    measure : str, optional
        Which measure; needed where there are several.
    units : bool
        Also draw the scores of single target units, where the table has them (``unit_scores=True``).
    apart : sequence of str
        Sources that are no layers, such as a baseline: drawn without a line to their neighbours.
    ceiling : str
        What the ceiling of a single target is called.
    title : str
        Above.

    Returns
    -------
    matplotlib.figure.Figure
        Filled dots have a corrected p-value below 0.05 or none at all, hollow ones do not reach it; bars are intervals;
        small dots are units, from left to right in the order of their mean; dashed lines mark noise ceilings of the score.

    Raises
    ------
    SchemaError
        When the dataset is not a table of scores.
    OptionError
        When the measure or a source is not in the table, or a measure has to be chosen.
    MissingExtraError
        When matplotlib is not installed.

    Notes
    -----
    The best of several layers on the same data is better than it would be on others: choose by other data or other folds.
    """
    if not is_scores(table):
        raise SchemaError(
            f"found variables {some(sorted(map(str, table.variables)))}; expected scores with dims source, target and "
            "measure; make them with compare()"
        )
    known = [str(m) for m in table["measure"].values]
    chosen = measure or (known[0] if len(known) == 1 else None)
    if chosen not in known:
        raise OptionError(
            f"measure={measure!r}; expected one of {', '.join(known)}{suggest(measure, known) if measure else ''}; "
            "give measure= by name"
        )
    part = table.sel(measure=chosen)
    names = [str(s) for s in part["source"].values]
    for name in apart:
        choose(name, names, "apart")
    single = np.isin(names, list(apart))
    canvas = figure(max(3.4, 1.5 + 0.42 * len(names)), 3.1)
    ax = canvas.subplots()
    targets = [str(t) for t in part["target"].values]
    offsets = np.linspace(-0.12, 0.12, len(targets)) if len(targets) > 1 else np.zeros(1)
    if units and "score_unit" in part:
        _units(ax, part, targets, offsets)
    for i, target in enumerate(targets):
        _line(ax, part.sel(target=target), i, np.arange(len(names)) + offsets[i], single)
    _ceilings(ax, part, targets, ceiling)
    ax.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 4 else 0, ha="right")
    ax.set_xlim(-0.5, len(names) - 0.5)
    unit = str(part["unit_of_score"].values) if "unit_of_score" in part.coords else "1"
    ax.set_ylabel(chosen if unit == "1" else f"{chosen} ({unit})", fontsize=8.5)
    if len(targets) > 1:
        ax.legend(fontsize=7.5, frameon=False)
    tidy(ax)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return canvas


def _line(ax: Axes, column: xr.Dataset, i: int, at: np.ndarray, single: np.ndarray) -> None:
    """Draw one target: a line, intervals, and dots that are hollow where the score may be chance."""
    colour, score = GROUPS[i % len(GROUPS)], column["score"].values
    for layers in np.split(np.arange(len(at)), np.flatnonzero(single[1:] | single[:-1]) + 1):
        ax.plot(at[layers], score[layers], STYLES[i // len(GROUPS) % 4], color=colour, linewidth=1.4, zorder=3)
    if "score_low" in column:
        ax.vlines(at, column["score_low"].values, column["score_high"].values, color=colour, linewidth=2.0, zorder=3)
    hollow = np.zeros(len(at), dtype=bool)
    if "score_pvalue_corrected" in column:
        hollow = column["score_pvalue_corrected"].values >= 0.05
    faces = ["white" if h else colour for h in hollow]
    ax.scatter(at, score, s=20, facecolors=faces, edgecolors=colour, zorder=4, label=str(column["target"].values))


def _units(ax: Axes, part: xr.Dataset, targets: list[str], offsets: np.ndarray) -> None:
    """Draw single units, from left to right in the order of their mean score: one is in the same place at every layer."""
    owner = part["target_unit_target"].values.astype(str)
    values = part["score_unit"].transpose("source", "target_unit").values
    width = 0.5 if len(targets) == 1 else 0.08
    for i, target in enumerate(targets):
        single = values[:, owner == target]
        seen = np.isfinite(single)
        means = np.where(seen, single, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        spread = np.empty(single.shape[1])
        spread[np.argsort(means, kind="stable")] = np.linspace(-width / 2, width / 2, single.shape[1])
        at = np.arange(len(values))[:, None] + offsets[i] + spread
        colour = PALE if len(targets) == 1 else GROUPS[i % len(GROUPS)]
        ax.plot(at.ravel(), single.ravel(), ".", color=colour, alpha=0.8, markersize=3.2, markeredgewidth=0, zorder=1)


def _ceilings(ax: Axes, part: xr.Dataset, targets: list[str], name: str) -> None:
    """Mark the ceiling of each target, by name where there is only one; then the line of no score."""
    ceilings = part["score_ceiling"].max("source").values if "score_ceiling" in part else np.full(len(targets), np.nan)
    for i in np.flatnonzero(np.isfinite(ceilings)):
        colour = CEILING if len(targets) == 1 else GROUPS[i % len(GROUPS)]
        ax.axhline(ceilings[i], color=colour, linestyle="--", linewidth=1.2, zorder=2)
        if len(targets) == 1:
            ax.annotate(f" {name}", (0.0, ceilings[0]), xycoords=("axes fraction", "data"), color=CEILING,
                        fontsize=7.5, ha="left", va="bottom", xytext=(0, 1), textcoords="offset points")  # fmt: skip
    if "kind" not in part.coords or str(part["kind"].values) != "distance":
        ax.axhline(0, color=PALE, linewidth=0.8, zorder=0)
