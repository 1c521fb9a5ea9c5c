"""Pictures of maps over voxels: slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, choose, suggest
from repcompare.views._canvas import INK, PALE, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SHOWN = 12  # slices, unless they are named


def searchlight_slices(
    result: xr.Dataset,
    *,
    model: str | None = None,
    variable: str = "score",
    plane: Literal["axial", "coronal", "sagittal"] = "axial",
    slices: Sequence[int] | None = None,
    alpha: float | None = 0.05,
    limits: tuple[float, float] | None = None,
    columns: int = 4,
    title: str | None = None,
) -> Figure:
    """Draw a searchlight map slice by slice.

    Parameters
    ----------
    result : xarray.Dataset
        As :func:`repcompare.searchlight` returns it; units have ``unit_i/j/k``.
    model : str, optional
        Which; needed where there are several.
    variable : str
        ``"score"``, ``"score_pvalue_corrected"``, ``"n_units"`` ...
    plane : {"axial", "coronal", "sagittal"}
        Slices along the third, second or first voxel axis.
    slices : sequence of int, optional
        Voxel indices of the slices; up to 12 that hold values by default.
    alpha : float, optional
        Outline voxels whose corrected p-value is at most this, where the result has p-values.
    limits : tuple of float, optional
        Ends of the colour scale.
    columns : int
        Slices in a row.
    title : str, optional
        The variable and the model by default.

    Returns
    -------
    matplotlib.figure.Figure
        Voxels without a score are pale, those outside the mask white.  Scores take colours on both sides of 0, or
        of chance where labels were decoded.

    Raises
    ------
    SchemaError, OptionError
        When this is no map over voxels, or a name is not in it.
    MissingExtraError
        When matplotlib is not installed.
    """
    choose(plane, AXES, "plane")
    one, called = _one(result, model, variable)
    voxels = np.stack([one[f"unit_{axis}"].values for axis in "ijk"], axis=1).astype(int)
    low, extent = voxels.min(axis=0), np.ptp(voxels, axis=0) + 1
    inside, values, marked = (np.full(extent, v) for v in (0.0, np.nan, 0.0))
    at = tuple((voxels - low).T)
    inside[at], values[at] = 1.0, one[variable].values
    if alpha is not None and "score_pvalue_corrected" in one:
        marked[at] = one["score_pvalue_corrected"].values <= alpha
    axis = AXES[plane]
    chosen = _slices(values, axis, int(low[axis]), slices)
    scale = _scale(values, variable, limits, float(one.attrs.get("chance", 0.0)))
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    canvas = figure(1.7 * columns + 0.9, 1.8 * rows + 0.5)
    panels, drawn = canvas.subplots(rows, columns, squeeze=False).ravel(), []
    for panel, index in zip(panels, chosen, strict=False):
        layers = [np.take(v, index - low[axis], axis=axis).T for v in (inside, values, marked)]
        drawn.append(_slice(panel, layers, scale))
        panel.set_title(f"{'ijk'[axis]} = {index}", fontsize=7.5, loc="left", pad=2)
    for panel in panels:
        panel.set_axis_off()
    bar = canvas.colorbar(drawn[-1], ax=panels.tolist(), shrink=0.7, pad=0.02)
    if "chance" in one.attrs and variable == "score" and limits is None:  # colours meet there, accuracies end at 0
        bar.ax.set_ylim(bottom=max(scale["vmin"], min(float(np.nanmin(values)), one.attrs["chance"])))
    bar.set_label(_unit(one, variable), fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)
    canvas.suptitle(called if title is None else title, x=0.01, ha="left", fontsize=9.5)
    return canvas


def _one(result: xr.Dataset, model: str | None, variable: str) -> tuple[xr.Dataset, str]:
    """Return the map of one model, and what to call it."""
    if any(f"unit_{axis}" not in result.coords for axis in "ijk"):
        raise SchemaError(
            "units have no unit_i, unit_j, unit_k; expected a map over voxels; surfaces are written by write_map"
        )
    known = [str(name) for name, v in result.data_vars.items() if "unit" in v.dims and v.dtype.kind in "fiub"]
    if variable not in known:
        raise OptionError(f"variable={variable!r} is not a map of this result{suggest(variable, known)}")
    if "model" not in result.dims:
        return result, variable
    names = result["model"].values.astype(str).tolist()
    if model is None and len(names) > 1 and "model" in result[variable].dims:
        raise OptionError(f"the result has {len(names)} models; name one by model={suggest('', names)}")
    chosen = names[0] if model is None else model
    if chosen not in names:
        raise OptionError(f"model={model!r} is not in the result{suggest(chosen, names)}")
    return result.isel(model=names.index(chosen)), f"{variable}: {chosen}" if "model" in result[
        variable
    ].dims else variable


def _slices(values: np.ndarray, axis: int, first: int, wanted: Sequence[int] | None) -> list[int]:
    """Return the voxel indices of the slices to draw."""
    n = values.shape[axis]
    if wanted is not None:
        outside = [int(s) for s in wanted if not first <= s < first + n]
        if outside or not len(wanted):
            raise OptionError(f"slices={list(wanted)!r}; expected voxel indices from {first} to {first + n - 1}")
        return [int(s) for s in wanted]
    other = tuple(a for a in range(3) if a != axis)
    filled = np.flatnonzero(np.isfinite(values).any(axis=other))
    if not filled.size:
        raise SchemaError("the map has no value anywhere; its reason variable says why")
    steps = np.unique(np.linspace(0, filled.size - 1, min(SHOWN, filled.size)).round().astype(int))
    return [int(s) + first for s in filled[steps]]


def _scale(values: np.ndarray, variable: str, limits: tuple[float, float] | None, centre: float) -> dict[str, Any]:
    signed = variable == "score"
    if limits is None:
        away = np.abs(values - centre) if signed else np.abs(values)
        largest = float(np.nanmax(away, initial=0.0)) or 1.0
        limits = (centre - largest, centre + largest) if signed else (min(0.0, float(np.nanmin(values))), largest)
    return {"cmap": "RdBu_r" if signed else "cividis", "vmin": limits[0], "vmax": limits[1]}


def _slice(panel: Any, layers: Sequence[np.ndarray], scale: dict[str, Any]) -> Any:
    inside, values, marked = layers
    where = {"origin": "lower", "interpolation": "nearest"}
    panel.imshow(np.where(inside > 0, 1.0, np.nan), cmap=_plain(PALE), vmin=0, vmax=1, alpha=0.35, **where)
    image = panel.imshow(values, **where, **scale)
    if marked.any():
        # voxels as squares: the outline runs along their edges
        fine = np.pad(np.kron(marked, np.ones((4, 4))), 1)
        rows, columns = ((np.arange(n) - 1) / 4 - 0.375 for n in fine.shape)
        panel.contour(columns, rows, fine, levels=[0.5], colors=INK, linewidths=0.9)
    return image


def _plain(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])


def _unit(result: xr.Dataset, variable: str) -> str:
    if variable != "score":
        return variable
    return str(result.attrs.get("scoring", result.attrs.get("method", variable)))
