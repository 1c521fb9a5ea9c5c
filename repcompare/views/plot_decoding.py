"""Pictures of decoding: what is taken for what, and how long a code lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repcompare.errors import OptionError, SchemaError
from repcompare.views._canvas import INK, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 24  # classes whose shares are no longer written
DARK = 0.55  # of the scale: above, dark writing


def confusion(
    result: Any,
    *,
    classes: Sequence[Any] | None = None,
    order: Sequence[Any] | None = None,
    share: bool = True,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw which classes are decoded as which.

    Parameters
    ----------
    result : DecodingResult, or array of shape (n_classes, n_classes)
        As :func:`repcompare.decode` returns it, of one time; rows of an array are the true classes.
    classes : sequence of shape (n_classes,), optional
        Names, in the order of the matrix; those of the result by default.
    order : sequence, optional
        Classes, in the order to draw them.
    share : bool
        Draw shares of each true class, else numbers of rows.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes
        Numbers are written in the cells, up to 24 classes; 0 is left out.

    Raises
    ------
    SchemaError
        When there is no confusion matrix, or one per time.
    OptionError
        When the names do not fit.
    MissingExtraError
        When matplotlib is not installed.
    """
    counts = np.asarray(getattr(result, "confusion", result))
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iuf":
        raise SchemaError(
            f"confusion has shape {counts.shape}; expected (n_classes, n_classes), rows of the truth; pick one time: "
            "result.confusion[time]"
        )
    names = _names(getattr(result, "classes", None) if classes is None else classes, len(counts))
    place = _order(names, order)
    counts, names = counts[np.ix_(place, place)].astype(float), [names[i] for i in place]
    with np.errstate(invalid="ignore"):
        shown = counts / counts.sum(axis=1, keepdims=True) if share else counts
    n = len(names)
    ax = axes_of(ax, 1.9 + 0.34 * n, 1.5 + 0.32 * n)
    top = 1.0 if share else float(max(counts.max(), 1.0))
    image = ax.imshow(shown, cmap="cividis", vmin=0, vmax=top, interpolation="nearest")
    for i, j in np.argwhere(shown > 0).tolist() if n <= MANY else []:
        text = f"{shown[i, j]:.2f}".lstrip("0") if share else f"{shown[i, j]:g}"
        ax.text(j, i, text, ha="center", va="center", fontsize=6.5, color=INK if shown[i, j] > DARK * top else "white")
    ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), names)
    ax.tick_params(labelsize=8 if n <= MANY else 5, length=0)
    ax.set_xlabel("decoded", fontsize=8.5)
    ax.set_ylabel("true", fontsize=8.5)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label("share of the true class" if share else "rows", fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)
    ax.set_title(title, fontsize=9.5, loc="left")
    return ax


def generalization(
    result: Any,
    *,
    times: Sequence[float] | None = None,
    chance: float | None = None,
    alpha: float | None = 0.05,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw scores of decoders trained at one time and tested at another (King & Dehaene 2014).

    Parameters
    ----------
    result : DecodingResult, or array of shape (n_train_times, n_test_times)
        Of ``rc.decode(..., generalize=True)``.
    times : sequence of shape (n_times,), optional
        In seconds; those of the result, else numbers of the times.
    chance : float, optional
        Middle of the colours; that of the result by default, 0.5 for an array.
    alpha : float, optional
        Outline cells whose corrected p-value is at most this, where the result has p-values.
    limits : tuple of float, optional
        Ends of the colour scale.
    ax : matplotlib Axes, optional
        Where to draw.
    title : str
        Above.

    Returns
    -------
    matplotlib.axes.Axes
        A thin line marks where both times are the same, dotted lines the time 0.

    Raises
    ------
    SchemaError
        When the scores are no square matrix.
    OptionError
        When there are other times than scores, or they are not evenly spaced.
    MissingExtraError
        When matplotlib is not installed.
    """
    scores = np.asarray(getattr(result, "score", result))
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or scores.dtype.kind not in "iuf":
        raise SchemaError(
            f"scores have shape {scores.shape}; expected (n_times, n_times); decode with generalize=True, of responses over "
            "time"
        )
    at, named = _times(getattr(result, "times", None) if times is None else times, len(scores))
    middle = chance if chance is not None else float(getattr(result, "chance", 0.5))
    reach = float(np.nanmax(np.abs(scores - middle))) or 1.0
    low, high = limits or (middle - reach, middle + reach)
    half = (at[1] - at[0]) / 2
    extent = (at[0] - half, at[-1] + half, at[0] - half, at[-1] + half)
    ax = axes_of(ax, 4.4, 3.6)
    image = ax.imshow(
        scores,
        cmap="RdBu_r",
        vmin=low,
        vmax=high,
        origin="lower",
        extent=extent,
        interpolation="nearest",
        aspect="equal",
    )
    ax.plot(extent[:2], extent[2:], color=INK, linewidth=0.6)
    if named and extent[0] < 0 < extent[1]:
        ax.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        ax.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    pvalues = getattr(result, "pvalue_corrected", None)
    if alpha is not None and pvalues is not None:
        _outline(ax, np.asarray(pvalues) <= alpha, at, half)
    ax.set_xlabel("test time (s)" if named else "test time", fontsize=8.5)
    ax.set_ylabel("training time (s)" if named else "training time", fontsize=8.5)
    ax.tick_params(labelsize=8, length=2)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, pad=0.02)
    bar.ax.set_ylim(max(low, min(float(np.nanmin(scores)), middle)), high)  # colours meet at chance, scores end before
    bar.set_label(str(getattr(result, "scoring", "score")).replace("_", " "), fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)
    ax.set_title(title, fontsize=9.5, loc="left")
    return ax


def _names(classes: Any, n: int) -> list[str]:
    names = [str(v) for v in (range(n) if classes is None else np.asarray(classes).tolist())]
    if len(names) != n or len(set(names)) != n:
        raise OptionError(f"classes={names}; expected {n} different names, in the order of the matrix")
    return names


def _order(names: list[str], order: Sequence[Any] | None) -> list[int]:
    if order is None:
        return list(range(len(names)))
    wanted = [str(v) for v in order]
    if sorted(wanted) != sorted(names):
        raise OptionError(f"order={wanted}; expected each of {', '.join(names)} once")
    return [names.index(name) for name in wanted]


def _times(times: Any, n: int) -> tuple[np.ndarray, bool]:
    """Return evenly spaced times, and whether they are seconds rather than numbers."""
    if n < 2:
        raise SchemaError("scores of a single time; expected at least 2 times")
    if times is None:
        return np.arange(n, dtype=float), False
    at = np.asarray(times, dtype=float)
    steps = np.diff(at)
    if at.shape != (n,) or not (steps > 0).all() or np.ptp(steps) > 1e-3 * steps.mean():
        raise OptionError(f"times of shape {at.shape}; expected {n} evenly spaced, ascending times")
    return at, True


def _outline(ax: Axes, marked: np.ndarray, at: np.ndarray, half: float) -> None:
    """Draw a line around the cells that are marked, along their edges."""
    if not marked.any():
        return
    fine = np.pad(np.kron(marked.astype(float), np.ones((4, 4))), 1)
    places = at[0] - half + ((np.arange(len(fine)) - 1) + 0.5) * half / 2
    ax.contour(places, places, fine, levels=[0.5], colors=INK, linewidths=0.9)
