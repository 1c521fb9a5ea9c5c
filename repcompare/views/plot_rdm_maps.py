"""Pictures of maps made from RDMs: how well distances follow dissimilarities, and where models lie among data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repcompare.errors import OptionError, SchemaError, some
from repcompare.views._canvas import INK, MARKED, PALE, axes_of, tidy
from repcompare.views.plot_rdm import Icons, mds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHEPARD = ("given", "map_distance", "disparity", "weight")


def shepard(embedding: xr.Dataset, *, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw the distances of a map against the dissimilarities that they stand for (Shepard diagram).

    Parameters
    ----------
    embedding : xarray.Dataset
        As :func:`repcompare.rdm_map` returns it.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes
        One dot per pair with a weight; the line is what the distances should be.  The stress is written above.

    Raises
    ------
    SchemaError, MissingExtraError
        When this is no map of RDMs, or matplotlib is not installed.
    """
    lacking = [name for name in SHEPARD if name not in embedding]
    if lacking:
        raise SchemaError(f"found no variables {some(lacking)}; expected what repcompare.rdm_map returns")
    given, between, wanted, weight = (embedding[name].values for name in SHEPARD)
    used = np.flatnonzero(weight > 0)
    order = used[np.lexsort((wanted[used], given[used]))]
    ax = axes_of(ax, 3.6, 3.4)
    ax.plot(given[used], between[used], "o", markersize=2.6, color=INK, alpha=0.5, markeredgewidth=0)
    ax.plot(given[order], wanted[order], "-", color=MARKED, linewidth=1.2)
    ax.set_xlabel("dissimilarity", fontsize=8.5)
    ax.set_ylabel("distance in the map", fontsize=8.5)
    ax.annotate(
        f"stress {float(embedding['stress']):.2f}", (0.02, 0.97), xycoords="axes fraction", va="top", fontsize=8
    )
    ax.set_title(title, fontsize=9.5, loc="left")
    tidy(ax)
    return ax


def model_map(
    embedding: xr.Dataset,
    *,
    data: Sequence[str] = (),
    icons: Icons | None = None,
    names: bool | None = None,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw a map of RDMs: near each other are those that agree.

    Parameters
    ----------
    embedding : xarray.Dataset
        As ``repcompare.rdm_map(rdms, of="rdms")`` returns it.
    data : sequence of str, optional
        Names of the RDMs that are data: drawn in another colour and marker, each joined to the nearest model.
    icons, names, ax, title
        As in :func:`mds`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    SchemaError, OptionError, MissingExtraError
        When this is no map of RDMs, or a name is not in it.
    """
    if embedding.attrs.get("of") != "rdms":
        raise SchemaError("expected a map of RDMs, as repcompare.rdm_map(rdms, of='rdms') returns it")
    called = embedding["source"].values.astype(str)
    unknown = [name for name in data if name not in called]
    if unknown:
        raise OptionError(f"data={some(unknown)}: not in the map; expected names out of {some(called.tolist())}")
    kind = np.where(np.isin(called, list(data)), "data", "model")
    ax = mds(embedding, groups=kind.tolist() if len(data) else None, icons=icons, names=names, ax=ax, title=title)
    models = np.flatnonzero(kind == "model")
    pairs = {frozenset(pair): d for *pair, d in zip(embedding["source_a"].values.astype(str),
             embedding["source_b"].values.astype(str), embedding["given"].values, strict=True)}  # fmt: skip
    points = embedding["coordinates"].values
    points = points if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    for row in np.flatnonzero(kind == "data") if models.size else ():
        near = min(models, key=lambda m: pairs[frozenset((called[row], called[m]))])
        ax.plot(*points[[row, near], :2].T, "-", color=PALE, linewidth=0.8, zorder=0)
    return ax
