"""Pictures of RDMs: heat maps, panels of them, scatter of two, maps of stimuli."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, choose, some, suggest
from repcompare.labels.rdms import shared_stimuli, square_form, stimuli_of, to_pairs, validate_rdms
from repcompare.views._canvas import INK, PALE, axes_of, figure, group_styles, place_icon, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Icons = Mapping[str, np.ndarray]
MANY = 60  # stimuli that are no longer named along the axes
DENSE = 3000  # pairs that are drawn as a density


@dataclass(frozen=True)
class _Scale:
    """Colours of a heat map."""

    low: float
    high: float
    diverging: bool

    @property
    def map(self) -> str:
        return "RdBu_r" if self.diverging else "cividis"


def rdm(
    rdms: xr.Dataset,
    *,
    which: str | None = None,
    scale: Literal["value", "rank"] = "value",
    groups: Sequence[Any] | None = None,
    order: Sequence[str] | None = None,
    icons: Icons | None = None,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw one RDM as a heat map.

    Parameters
    ----------
    rdms : xarray.Dataset
        A set of RDMs, as :func:`repcompare.rdm` and :func:`repcompare.rdm_set` give it.
    which : str, optional
        Name of the RDM; needed where the set has several.
    scale : {"value", "rank"}
        Colours by value, or by rank as a share of the pairs.  Values below 0 (crossnobis) take colours on both sides of 0.
    groups : sequence of shape (n_stimuli,), optional
        One label per stimulus, such as its category: bars along both axes.
    order : sequence of str, optional
        Stimuli, in the order to draw them.
    icons : mapping of stimulus name to image array (height, width[, 3 or 4]), optional
        Drawn along the axes.
    limits : tuple of float, optional
        Ends of the colour scale.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str, optional
        The name of the RDM by default.

    Returns
    -------
    matplotlib.axes.Axes
        Missing pairs are white with a cross.

    Raises
    ------
    SchemaError, OptionError, AlignmentError
        When this is no set of RDMs, or a name is not in it.
    MissingExtraError
        When matplotlib is not installed.
    """
    choose(scale, ("value", "rank"), "scale")
    one = _one(validate_rdms(rdms), which)
    names = np.asarray(stimuli_of(one) if order is None else order).astype(str)
    square = _square(to_pairs(one, names)[0], len(names))
    shown, colours = _scaled(square, scale, limits)
    ax = axes_of(ax, 4.6, 4.0)
    image = _heat(ax, shown, colours)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label(_unit(one, scale), fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)
    _name_axes(ax, names, icons)
    if groups is not None:
        _group_bars(ax, _grouped(rdms, groups, names))
    called = title if title is not None else (which or _names(one)[0])
    ax.set_title(called, fontsize=9.5, loc="left", pad=6 if groups is None else 16)
    return ax


def rdm_panel(
    rdms: xr.Dataset,
    *,
    scale: Literal["value", "rank"] = "rank",
    shared: bool = True,
    groups: Sequence[Any] | None = None,
    columns: int = 5,
) -> Figure:
    """Draw every RDM of a set, over layers, subjects or time.

    Parameters
    ----------
    rdms : xarray.Dataset
        A set of RDMs; with a time axis one panel per time.
    scale : {"value", "rank"}
        Colours by value or by rank.
    shared : bool
        One colour scale for all panels.
    groups : sequence of shape (n_stimuli,), optional
        One label per stimulus; lines between groups that follow one another.
    columns : int
        Panels in a row.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SchemaError, OptionError, MissingExtraError
        As for :func:`rdm`.
    """
    choose(scale, ("value", "rank"), "scale")
    squares = square_form(validate_rdms(rdms))
    squares = squares.reshape(-1, *squares.shape[-2:])
    titles = _titles(rdms)
    n_columns = min(columns, len(squares))
    n_rows = -(-len(squares) // n_columns)
    canvas = figure(1.6 * n_columns + 0.9, 1.75 * n_rows + 0.2)
    grid = canvas.subplots(n_rows, n_columns, squeeze=False)
    limits = _limits(squares) if shared and scale == "value" else None
    image = None
    for ax, square, title in zip(grid.ravel(), squares, titles, strict=False):
        shown, colours = _scaled(square, scale, limits)
        image = _heat(ax, shown, colours)
        ax.set_title(title, fontsize=8, loc="left")
        ax.set_xticks([])
        ax.set_yticks([])
        for edge in _edges(groups):
            ax.axhline(edge, color="white", linewidth=0.8)
            ax.axvline(edge, color="white", linewidth=0.8)
    for ax in grid.ravel()[len(squares) :]:
        ax.set_axis_off()
    if image is not None and (shared or scale == "rank"):
        bar = canvas.colorbar(image, ax=grid, shrink=0.7, pad=0.01)
        bar.set_label(_unit(rdms, scale), fontsize=8)
        bar.ax.tick_params(labelsize=7, length=2)
    return canvas


def rdm_scatter(
    a: xr.Dataset, b: xr.Dataset, *, names: tuple[str, str] | None = None, ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw the dissimilarities of one RDM against those of another.

    Parameters
    ----------
    a, b : xarray.Dataset
        One RDM each (or the first of a set is chosen by ``ds.isel(rdm=...)``), of the same stimuli in any order.
    names : tuple of str, optional
        Names of the axes.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes
        One dot per pair; a density where there are more than 3000.

    Raises
    ------
    SchemaError, OptionError, AlignmentError
        When a side is no single RDM, or their stimuli differ.
    """
    sides = {"a": a, "b": b}
    shared = shared_stimuli(sides)
    x, y = (to_pairs(_one(side, None), shared)[0] for side in sides.values())
    ax = axes_of(ax, 3.6, 3.4)
    if x.size > DENSE:
        ax.hexbin(x, y, gridsize=45, cmap="Blues", bins="log", linewidths=0)
    else:
        ax.plot(x, y, "o", markersize=2.2, color=INK, alpha=0.5, markeredgewidth=0)
    labels = names or (_names(a)[0], _names(b)[0])
    ax.set_xlabel(labels[0], fontsize=8.5)
    ax.set_ylabel(labels[1], fontsize=8.5)
    ax.set_title(title, fontsize=9.5, loc="left")
    tidy(ax)
    return ax


def mds(
    embedding: xr.Dataset,
    *,
    groups: Sequence[Any] | None = None,
    icons: Icons | None = None,
    names: bool | None = None,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw a map of stimuli, models or systems.

    Parameters
    ----------
    embedding : xarray.Dataset
        As :func:`repcompare.rdm_map` (stimuli, RDMs) or :func:`repcompare.embed` (systems) returns it.
    groups : sequence of shape (n_points,), optional
        One label per point: colours, markers and a legend.
    icons : mapping of name to image array, optional
        Drawn in place of dots.
    names : bool, optional
        Write the names; by default where there are at most 40 points and no icons.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes
        Both axes have one scale; the stress is written below.

    Raises
    ------
    SchemaError, OptionError, MissingExtraError
        When this is no embedding, or the labels do not fit.
    """
    if "coordinates" not in embedding:
        raise SchemaError("found no variable 'coordinates'; expected what repcompare.rdm_map or embed returns")
    points = embedding["coordinates"].values
    points = points if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    called = embedding["source"].values.astype(str)
    if groups is not None and len(groups) != len(called):
        raise OptionError(f"groups= has {len(groups)} labels for {len(called)} points; expected one each")
    ax = axes_of(ax, 4.4, 4.2)
    styles = group_styles(groups) if groups is not None else {"": (INK, "o")}
    member = np.asarray(groups).astype(str) if groups is not None else np.full(len(called), "")
    for label, (colour, marker) in styles.items():
        at = points[member == label]
        ax.plot(at[:, 0], at[:, 1], marker, color=colour, markersize=5, markeredgecolor="white", label=label)
    for name, point in zip(called, points, strict=True):
        if icons and name in icons:
            place_icon(ax, icons[name], (point[0], point[1]), 20)
        elif names or (names is None and len(called) <= 40 and not icons):
            ax.annotate(name, (point[0], point[1]), xytext=(3, 3), textcoords="offset points", fontsize=7)
    if groups is not None:
        ax.legend(fontsize=7.5, frameon=False)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xticks([])
    ax.set_yticks([])
    if "stress" in embedding:
        ax.set_xlabel(f"stress {float(embedding['stress']):.2f}", fontsize=8)
    ax.set_title(title, fontsize=9.5, loc="left")
    tidy(ax, keep=("bottom", "left", "top", "right"))
    return ax


def _one(rdms: xr.Dataset, which: str | None) -> xr.Dataset:
    """Return the one RDM that is meant."""
    if "time" in rdms["dissimilarity"].dims:
        raise SchemaError("RDMs over time; pick one with ds.sel(time=..., method='nearest'), or draw rdm_panel")
    if "rdm" not in rdms["dissimilarity"].dims:
        return rdms
    known = _names(rdms)
    if which is None and len(known) > 1:
        raise OptionError(f"a set of {len(known)} RDMs ({some(known)}); choose one by which=, or draw rdm_panel")
    if which is not None and which not in known:
        raise OptionError(f"which={which!r} is not in the set{suggest(which, known)}")
    return rdms.sel(rdm=which if which is not None else known[0])


def _names(rdms: xr.Dataset) -> list[str]:
    if "rdm" in rdms.coords:
        return [str(v) for v in np.atleast_1d(rdms["rdm"].values)]
    return [str(rdms.attrs.get("distance", "RDM"))]


def _titles(rdms: xr.Dataset) -> list[str]:
    names = _names(rdms) if "rdm" in rdms["dissimilarity"].dims else [""]
    if "time" not in rdms["dissimilarity"].dims:
        return [name or _names(rdms)[0] for name in names]
    return [f"{name} {1000 * t:.0f} ms".strip() for name in names for t in rdms["time"].values]


def _square(pairs: np.ndarray, k: int) -> np.ndarray:
    out = np.zeros((k, k))
    out[np.triu_indices(k, 1)] = pairs
    square: np.ndarray = out + out.T
    return square


def _scaled(square: np.ndarray, scale: str, limits: tuple[float, float] | None) -> tuple[np.ndarray, _Scale]:
    """Return what is drawn, the diagonal left out, and its colours."""
    shown = square.copy()
    np.fill_diagonal(shown, np.nan)
    if scale == "rank":
        upper = np.triu_indices(len(square), 1)
        values = square[upper]
        known = np.flatnonzero(np.isfinite(values))
        _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2
        ranks = np.full(values.size, np.nan)
        ranks[known] = middle[inverse] / max(known.size, 1)
        shown[upper] = ranks
        shown.T[upper] = ranks
        return shown, _Scale(0.0, 1.0, diverging=False)
    low, high = limits or _limits(square[None])
    return shown, _Scale(low, high, diverging=low < 0)


def _limits(squares: np.ndarray) -> tuple[float, float]:
    """Return the ends of the colour scale: from 0, or symmetric where values lie below 0."""
    values = squares[..., ~np.eye(squares.shape[-1], dtype=bool)]
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low < 0:
        most = max(-low, high)
        return -most, most
    return 0.0, high or 1.0


def _heat(ax: Axes, shown: np.ndarray, colours: _Scale) -> Any:
    image = ax.imshow(shown, cmap=colours.map, vmin=colours.low, vmax=colours.high, interpolation="nearest")
    gaps = np.argwhere(np.isnan(shown) & ~np.eye(len(shown), dtype=bool))
    if len(gaps):
        ax.plot(gaps[:, 1], gaps[:, 0], "x", color=PALE, markersize=max(1.0, min(5.0, 120 / len(shown))))
    return image


def _unit(rdms: xr.Dataset, scale: str) -> str:
    name = str(rdms.attrs.get("distance", "dissimilarity"))
    return f"rank of {name}" if scale == "rank" else name


def _name_axes(ax: Axes, names: np.ndarray, icons: Icons | None) -> None:
    if icons:
        ax.set_xticks([])
        ax.set_yticks([])
        size = min(20.0, 230.0 / len(names))
        for i, name in enumerate(names.tolist()):
            if name in icons:
                place_icon(ax, icons[name], (-1.2 - 1.3 * (i % 2), i), size, annotation_clip=False)
                place_icon(ax, icons[name], (i, len(names) + 0.3 + 1.3 * (i % 2)), size, annotation_clip=False)
        return
    if len(names) > MANY:
        ax.set_xlabel(f"{len(names)} stimuli", fontsize=8)
        tidy(ax, keep=("left", "bottom", "top", "right"))
        return
    ax.set_xticks(range(len(names)), names.tolist(), rotation=90)
    ax.set_yticks(range(len(names)), names.tolist())
    ax.tick_params(labelsize=max(4, min(8, 160 / len(names))), length=0)


def _grouped(rdms: xr.Dataset, groups: Sequence[Any], names: np.ndarray) -> np.ndarray:
    """Return the group of each stimulus drawn; groups are given in the order of the set."""
    own = stimuli_of(rdms).tolist()
    if len(groups) != len(own):
        raise OptionError(f"groups= has {len(groups)} labels for {len(own)} stimuli; expected one each")
    of = dict(zip(own, np.asarray(groups).astype(str).tolist(), strict=True))
    return np.array([of[name] for name in names.tolist()])


def _group_bars(ax: Axes, labels: np.ndarray) -> None:
    """Draw bars of the groups beside the map, with their names at the left."""
    from matplotlib.patches import Rectangle

    k, styles = len(labels), group_styles(labels)
    width = 0.03 * k
    ax.set_xticks([])
    ax.set_yticks([])
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], k], strict=True):
        colour = styles[str(labels[start])][0]
        ax.add_patch(Rectangle((-0.7 - width, start - 0.5), width, stop - start, color=colour, clip_on=False, lw=0))
        ax.add_patch(Rectangle((start - 0.5, -0.7 - width), stop - start, width, color=colour, clip_on=False, lw=0))
        ax.annotate(str(labels[start]), (-0.9 - width, (start + stop - 1) / 2), ha="right", va="center", fontsize=7.5,
                    annotation_clip=False)  # fmt: skip
    ax.spines[["top", "left", "right", "bottom"]].set_visible(False)


def _edges(groups: Sequence[Any] | None) -> np.ndarray:
    if groups is None:
        return np.array([])
    labels = np.asarray(groups).astype(str)
    return np.flatnonzero(labels[1:] != labels[:-1]) + 0.5
