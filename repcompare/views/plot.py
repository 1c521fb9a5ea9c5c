"""Pictures of scores; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, suggest
from repcompare.labels.scores import is_scores
from repcompare.views._canvas import CEILING, INK, MARKED, PALE, figure
from repcompare.views.plot_decoding import confusion, generalization
from repcompare.views.plot_inference import models, time_course
from repcompare.views.plot_layers import layers
from repcompare.views.plot_maps import searchlight_slices
from repcompare.views.plot_rdm import mds, rdm, rdm_panel, rdm_scatter
from repcompare.views.plot_rdm_maps import model_map, shepard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "confusion",
    "generalization",
    "layers",
    "mds",
    "model_map",
    "models",
    "rdm",
    "rdm_panel",
    "rdm_scatter",
    "scores",
    "searchlight_slices",
    "shepard",
    "time_course",
]


def scores(table: xr.Dataset, *, target: str | None = None, baseline: str | None = None, title: str = "") -> Figure:
    """Draw scores as dots, one panel per measure, one row per source.

    Parameters
    ----------
    table : xarray.Dataset
        Scores, as :func:`repcompare.compare` returns them.
    target : str, optional
        Which target; needed where there are several.
    baseline : str, optional
        Source that is drawn in another colour, with a line through its scores.
    title : str
        Above the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Filled dots have a corrected p-value below 0.05 or none at all, hollow ones do not reach it; bars are intervals;
        a dashed line marks the noise ceiling.

    Raises
    ------
    SchemaError
        When the dataset is not a table of scores.
    OptionError
        When the target or the baseline is not in the table.
    MissingExtraError
        When matplotlib is not installed.
    """
    if not is_scores(table):
        raise SchemaError(
            f"found variables {sorted(map(str, table.variables))}; expected scores with dims source, target and measure; "
            "make them with compare()"
        )
    names = [str(t) for t in table["target"].values]
    chosen = target or (names[0] if len(names) == 1 else None)
    if chosen not in names:
        raise OptionError(f"target={target!r}; expected one of {', '.join(names)}; give target= by name")
    known = [str(s) for s in table["source"].values]
    if baseline is not None and baseline not in known:
        raise OptionError(f"baseline={baseline!r} is not a source{suggest(baseline, known)}")
    part = table.sel(target=chosen)
    n_sources, n_measures = part.sizes["source"], part.sizes["measure"]
    canvas = figure(2.1 + 2.3 * n_measures, 1.5 + 0.3 * n_sources)
    axes = canvas.subplots(1, n_measures, sharey=True, squeeze=False)[0]
    for axis, measure in zip(axes, part["measure"].values, strict=True):
        _panel(axis, part.sel(measure=measure), baseline)
    axes[0].set_yticks(range(n_sources), [str(s) for s in part["source"].values])
    axes[0].set_ylim(n_sources - 0.5, -0.5)
    if title:
        canvas.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return canvas


def _panel(axis: Any, column: xr.Dataset, baseline: str | None) -> None:
    score = column["score"].values
    colours = np.where(column["source"].values.astype(str) == (baseline or ""), MARKED, INK)
    rows = np.arange(len(score))
    low, high = (
        column[name].values if name in column else np.full(len(score), np.nan) for name in ("score_low", "score_high")
    )
    axis.hlines(rows, low, high, color=PALE, linewidth=2.2, zorder=1)
    pvalues = (
        column["score_pvalue_corrected"].values if "score_pvalue_corrected" in column else np.full(len(score), np.nan)
    )
    hollow = pvalues >= 0.05
    faces = np.where(hollow, "white", colours).tolist()
    axis.scatter(score, rows, s=34, zorder=2, facecolors=faces, edgecolors=colours.tolist())
    for value in score[colours == MARKED]:
        axis.axvline(value, color=MARKED, linewidth=0.9, alpha=0.5, zorder=0)
    ceilings = column["score_ceiling"].values if "score_ceiling" in column else np.array([np.nan])
    if np.isfinite(ceilings).any():
        ceiling = float(np.nanmax(ceilings))
        axis.axvline(ceiling, color=CEILING, linestyle="--", linewidth=1.2, zorder=0)
        axis.annotate("ceiling ", (ceiling, 1.0), xycoords=("data", "axes fraction"), color=CEILING, fontsize=7.5,
                      ha="right", va="top", rotation=90)  # fmt: skip
    if "kind" not in column.coords or str(column["kind"].values) != "distance":
        axis.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    unit = str(column["unit_of_score"].values) if "unit_of_score" in column.coords else "1"
    axis.set_title(str(column["measure"].values), fontsize=9.5, loc="left")
    axis.set_xlabel("score" if unit == "1" else f"score ({unit})", fontsize=8.5)
    axis.set_xlim(left=min(0.0, axis.get_xlim()[0]))
    axis.tick_params(labelsize=8, length=2)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="y", color="#e6eaee", linewidth=0.7, zorder=-1)
    axis.set_axisbelow(True)
