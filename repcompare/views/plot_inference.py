"""Pictures of RSA inference: scores of models with their ceiling and the tests between them; scores over time."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, choose, some
from repcompare.views._canvas import CEILING, GROUPS, INK, MARKED, PALE, figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILLED = "#b4c2cf"  # bars: lighter than the lines and dots on them
CEILING_TEXT = "#8a5a12"
SUBJECTS = "#5f6d7a"
CHARACTERS = 19  # of the line below, per inch
MOST_ARCS = 30  # significant differences that arcs can still show; the matrix shows any number


def models(
    inference: xr.Dataset,
    *,
    kind: Literal["dots", "bars"] = "dots",
    sort: bool = True,
    differences: Literal["arcs", "matrix", "none"] = "matrix",
    correction: Literal["holm", "bh", "none"] = "holm",
    alpha: float = 0.05,
    subjects: bool = True,
    title: str = "",
) -> Figure:
    """Draw the scores of models, their intervals and ceiling, and which differ.

    Parameters
    ----------
    inference : xarray.Dataset
        As :func:`repcompare.rsa_inference` returns it.
    kind : {"dots", "bars"}
        A dot at the score, or a bar from 0 to it.
    sort : bool
        Best model first; otherwise the order of the table.
    differences : {"arcs", "matrix", "none"}
        Pairs of models that differ significantly: arcs between them (up to 30), or a matrix of filled cells.
    correction : {"holm", "bh", "none"}
        Which p-values: Holm, Benjamini-Hochberg, uncorrected.
    alpha : float
        Level at which a difference or a score is called significant.
    subjects : bool
        Also draw the score with each subject.
    title : str
        Above.

    Returns
    -------
    matplotlib.figure.Figure
        Filled dots (bars) are significantly above 0 (or chance, where permutations were made), hollow ones are not or were
        not tested; lines are confidence intervals, small dots subjects; the band spans the noise ceiling.  A line below says
        so, with the level and the correction.

    Raises
    ------
    SchemaError, OptionError, MissingExtraError
        When this is no table of RSA inference, it has too many differences for arcs, or matplotlib is missing.
    """
    _check(inference, alpha)
    choose(kind, ("dots", "bars"), "kind")
    choose(differences, ("arcs", "matrix", "none"), "differences")
    choose(correction, ("holm", "bh", "none"), "correction")
    order = np.argsort(-inference["score"].values, kind="stable") if sort else np.arange(inference.sizes["model"])
    table = inference.isel(model=order)
    if "model_b" in table.dims:
        table = table.isel(model_b=order)
    differ = _differences(table, correction, alpha) if differences != "none" else np.zeros((0, 0), dtype=bool)
    n = table.sizes["model"]
    matrix = differences == "matrix" and differ.size > 0
    width = 3.9 + (0.6 + 0.24 * n if matrix else 0)
    said = _legend(table, correction, alpha, subjects=subjects, differ="" if not differ.size else differences)
    lines = [part for line in said for part in wrap(line, int(CHARACTERS * width))]
    canvas = figure(width, 1.45 + 0.13 * len(lines) + 0.27 * n)
    panels = canvas.subplots(1, 1 + matrix, squeeze=False, width_ratios=[3.2, 0.24 * n] if matrix else None)[0]
    above = _above_chance(table, correction, alpha)
    _scores(panels[0], table, above, kind=kind, subjects=subjects)
    if matrix:
        _matrix(panels[1], differ)
    elif differences == "arcs" and differ.size:
        _arcs(panels[0], differ)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    canvas.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.8, color="#3c4854", linespacing=1.35)
    return canvas


def time_course(
    score: xr.DataArray,
    *,
    low: xr.DataArray | None = None,
    high: xr.DataArray | None = None,
    pvalue: xr.DataArray | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw scores over time, one line per model, with bars where they are significant.

    Parameters
    ----------
    score : xarray.DataArray
        Dims ``time`` (s) and optionally one other, whose labels name the lines.
    low, high : xarray.DataArray, optional
        Ends of intervals, same dims: a band.
    pvalue : xarray.DataArray, optional
        Same dims: bars below the lines where it is at most ``alpha``.
    alpha : float
        Level.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SchemaError, OptionError
        When there is no time, or more than two dims.
    """
    lines = _lines(score, "score")
    bands = [_lines(side, "interval") for side in (low, high) if side is not None]
    if len(bands) == 1:
        raise OptionError("an interval needs both ends; give low= and high=")
    tests = None if pvalue is None else _lines(pvalue, "pvalue")
    ax = figure(4.8, 2.9).subplots() if ax is None else ax
    t = score["time"].values
    styles = ("-", "--", ":", "-.")
    for i, (name, values) in enumerate(lines.items()):
        colour = GROUPS[i % len(GROUPS)]
        ax.plot(t, values, styles[i % len(styles)], color=colour, linewidth=1.5, label=name)
        if bands:
            ax.fill_between(t, bands[0][name], bands[1][name], color=colour, alpha=0.2, linewidth=0)
    ax.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    if tests is not None:
        _bars(ax, t, tests, alpha)
    if len(lines) > 1:
        ax.legend(fontsize=7.5, frameon=False)
    ax.set_xlabel("time (s)", fontsize=8.5)
    ax.set_ylabel(str(score.name or "score"), fontsize=8.5)
    ax.set_title(title, fontsize=9.5, loc="left")
    tidy(ax)
    return ax


def _check(inference: xr.Dataset, alpha: float) -> None:
    if not {"score", "score_subject"} <= set(map(str, inference.data_vars)) or "model" not in inference.dims:
        raise SchemaError(
            f"found variables {some(sorted(map(str, inference.variables)))}; expected what rsa_inference returns"
        )
    if "time" in inference["score"].dims:
        raise SchemaError("an inference over time; pick one by ds.isel(time=...), or draw time_course(ds.score)")
    if not 0 < alpha < 1:
        raise OptionError(f"alpha={alpha!r}; expected a level such as 0.05")


def _named(table: xr.Dataset, name: str, correction: str) -> np.ndarray | None:
    full = name if correction == "none" else f"{name}_{correction}"
    return table[full].values if full in table else None


def _differences(table: xr.Dataset, correction: str, alpha: float) -> np.ndarray:
    """Return which pairs of models differ, (n_models, n_models); empty without tests between them."""
    pvalues = _named(table, "pvalue_pair", correction)
    if pvalues is None:
        return np.zeros((0, 0), dtype=bool)
    found: np.ndarray = np.nan_to_num(pvalues, nan=1.0) <= alpha
    np.fill_diagonal(found, False)
    return found


def _scores(ax: Axes, table: xr.Dataset, above: np.ndarray, *, kind: str, subjects: bool) -> None:
    n = table.sizes["model"]
    rows, score = np.arange(n), table["score"].values
    if "score_ceiling_lower" in table:
        low, high = (float(table[f"score_ceiling_{end}"]) for end in ("lower", "upper"))
        ax.axvspan(low, high, color=CEILING, alpha=0.25, linewidth=0, zorder=0)
        ax.annotate("noise ceiling", ((low + high) / 2, 1.0), xycoords=("data", "axes fraction"), color=CEILING_TEXT,
                    fontsize=7.5, ha="center", va="bottom", xytext=(0, 2), textcoords="offset points")  # fmt: skip
    faces = [(FILLED if kind == "bars" else INK) if a else "white" for a in above]
    if kind == "bars":
        ax.barh(rows, score, height=0.62, color=faces, edgecolor=INK, linewidth=0.9, zorder=1)
    if subjects and table.sizes["subject"] > 1:
        single = table["score_subject"].transpose("model", "subject").values
        spread = np.linspace(-0.22, 0.22, single.shape[1])
        ax.plot(single.ravel(), (rows[:, None] + spread).ravel(), ".", color=SUBJECTS, markersize=2.8, zorder=2)
    if "score_low" in table:
        ax.hlines(rows, table["score_low"].values, table["score_high"].values, color=INK, linewidth=1.6, zorder=3)
    if kind == "dots":
        ax.scatter(score, rows, s=36, facecolors=faces, edgecolors=INK, zorder=4)
    ax.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    ax.set_yticks(rows, [str(m) for m in table["model"].values])
    ax.set_ylim(n - 0.5, -0.5)
    ax.set_xlabel(f"similarity to the RDMs of the data ({table.attrs.get('method', 'score')})", fontsize=8.5)
    tidy(ax, keep=("bottom",))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#e6eaee", linewidth=0.7, zorder=-1)
    ax.set_axisbelow(True)


def _legend(table: xr.Dataset, correction: str, alpha: float, *, subjects: bool, differ: str) -> list[str]:
    """Return what the marks mean: what is drawn, and what is tested."""
    n, said = table.sizes["subject"], []
    said.append(f"mean over {n} subjects" + (" (small dots)" if subjects else "") if n > 1 else "one subject")
    if "score_low" in table:
        drawn = str(table.attrs.get("bootstrap", "none")).replace("_", " ")
        how = "spread over subjects" if drawn == "none" else f"bootstrap over {drawn}"
        said.append(f"lines: {100 * float(table.attrs.get('confidence', 0.95)):g} % intervals, {how}")
    name = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "uncorrected"}[correction]
    tests = []
    if "pvalue_permutation_corrected" in table:
        tests.append(f"filled: above chance, p ≤ {alpha:g} (permuted stimuli, maximum over models)")
    elif _named(table, "pvalue_zero", correction) is not None:
        tests.append(f"filled: above 0, p ≤ {alpha:g} ({name})")
    if differ:
        mark = "brackets" if differ == "arcs" else "squares"
        tests.append(f"{mark}: the two models differ, p ≤ {alpha:g} ({name})")
    return ["; ".join(line) for line in (said, tests) if line]


def _above_chance(table: xr.Dataset, correction: str, alpha: float) -> np.ndarray:
    """Return which models are significantly above chance: by permutation where there is one, else by the test against 0."""
    if "pvalue_permutation_corrected" in table:
        pvalues: np.ndarray | None = table["pvalue_permutation_corrected"].values
    else:
        pvalues = _named(table, "pvalue_zero", correction)
    if pvalues is None:
        return np.zeros(table.sizes["model"], dtype=bool)
    above: np.ndarray = np.nan_to_num(pvalues, nan=1.0) <= alpha
    return above


def _matrix(ax: Axes, differ: np.ndarray) -> None:
    """Fill the cells of pairs that differ, small marks in the others; a model has the row and the column of its place."""
    n = len(differ)
    below = np.tril(np.ones((n, n), dtype=bool), -1)
    rows, columns = np.nonzero(differ & below)
    ax.scatter(columns, rows, s=30, marker="s", color=MARKED, linewidths=0)
    rows, columns = np.nonzero(np.logical_not(differ) & below)
    ax.scatter(columns, rows, s=5, marker="s", color=PALE, linewidths=0)
    ax.set_xlim(-0.5, n - 1.5)
    ax.set_ylim(n - 0.5, -0.5)
    ax.set_xticks(range(n - 1), [str(k + 1) for k in range(n - 1)])
    ax.set_yticks(range(n), [str(k + 1) for k in range(n)])
    ax.set_xlabel("differs from model", fontsize=8.5)
    tidy(ax, keep=())
    ax.tick_params(length=0, labelsize=7)


def _arcs(ax: Axes, differ: np.ndarray) -> None:
    """Draw a bracket at the right for each pair that differs, short ones inside."""
    pairs = sorted(np.argwhere(np.triu(differ)).tolist(), key=lambda pair: pair[1] - pair[0])
    if len(pairs) > MOST_ARCS:
        raise OptionError(f"{len(pairs)} pairs of models differ: too many for arcs; take differences='matrix'")
    for level, (i, j) in enumerate(pairs):
        x = 1.02 + 0.022 * level
        ax.plot([x - 0.012, x, x, x - 0.012], [i, i, j, j], color=MARKED, linewidth=0.9, clip_on=False,
                transform=ax.get_yaxis_transform())  # fmt: skip


def _lines(values: xr.DataArray, what: str) -> dict[str, np.ndarray]:
    """Return the values over time by the label of the other dim."""
    others = [d for d in values.dims if d != "time"]
    if "time" not in values.dims or "time" not in values.coords or len(others) > 1:
        raise SchemaError(
            f"{what} has dims {values.dims}; expected time with its coordinate, and at most one other dim"
        )
    if not others:
        return {"": values.values}
    names = values[others[0]].values if others[0] in values.coords else np.arange(values.sizes[others[0]])
    table = values.transpose(others[0], "time").values
    return {str(name): row for name, row in zip(names, table, strict=True)}


def _bars(ax: Axes, t: np.ndarray, tests: dict[str, np.ndarray], alpha: float) -> None:
    """Draw a bar below the lines at each time of significance, one row per line."""
    bottom, top = ax.get_ylim()
    step = 0.035 * (top - bottom)
    half = 0.5 * float(np.median(np.diff(t))) if len(t) > 1 else 0.5
    for i, pvalues in enumerate(tests.values()):
        y = bottom - step * (i + 0.5)
        for at in t[np.nan_to_num(pvalues, nan=1.0) <= alpha]:
            ax.plot([at - half, at + half], [y, y], color=GROUPS[i % len(GROUPS)], linewidth=2.4, solid_capstyle="butt")
    ax.set_ylim(bottom - step * (len(tests) + 0.5), top)
