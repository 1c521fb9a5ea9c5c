"""What all pictures share: figures, colours that stay apart in grey, and the door to matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repcompare.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, PALE, MARKED, CEILING = "#1b3a57", "#9aa7b4", "#b0413e", "#b7791f"
# steps of lightness as well as of hue: groups stay apart in grey
GROUPS = ("#1b3a57", "#d8b25c", "#7a9e7e", "#8c3b3a", "#b9c4d0", "#4f6d8a", "#e0d6c4", "#5a4a6f")
MARKERS = "osD^vP*X"


def figure(width: float, height: float) -> Figure:
    """Return an empty figure that no window owns.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError('plots need matplotlib; install it with: pip install "repcompare[plot]"') from None
    return Figure(figsize=(width, height), layout="constrained", dpi=160)


def axes_of(ax: Any, width: float, height: float) -> Any:
    """Return the axes given, or those of a new figure."""
    return figure(width, height).subplots() if ax is None else ax


def group_styles(labels: Sequence[Any] | np.ndarray) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker for each distinct label, in order of first appearance."""
    names = list(dict.fromkeys(str(v) for v in np.asarray(labels).tolist()))
    return {name: (GROUPS[i % len(GROUPS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def tidy(ax: Any, *, keep: Sequence[str] = ("left", "bottom")) -> None:
    """Take away the spines that say nothing; small ticks."""
    for side in {"top", "right", "left", "bottom"} - set(keep):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=8, length=2)


def place_icon(ax: Any, image: np.ndarray, at: tuple[float, float], size: float, **where: Any) -> None:
    """Put a picture of ``size`` points at a place of the axes."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    zoom = size / max(np.shape(image)[:2])
    picture = OffsetImage(image, zoom=zoom, cmap="gray")  # the map is for pictures without colour
    box = AnnotationBbox(picture, at, frameon=False, pad=0, **where)
    ax.add_artist(box)
