"""Variance partitioning of encoders: what bands of features explain alone and in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy import stats

from repcompare.errors import OptionError, choose
from repcompare.functional._encode_rows import Drawing, draw_folds, longest_delay, make_rows
from repcompare.functional._encoding_labels import labelled_options
from repcompare.functional._pair import Data
from repcompare.labels.scores import ENCODING_PARTITION_SCHEMA
from repcompare.measures.encoding.partition import partition_encoding

SEPARATOR = " + "


def encode_partition(
    x: Data,
    y: Data,
    *,
    bands: Any,
    folds: Any = 5,
    groups: Any = None,
    gap: int | str = "auto",
    seed: int = 0,
    nan: str = "raise",
    force: Iterable[str] = (),
    jackknife: Literal["folds", "stimuli"] = "folds",
    confidence: float = 0.95,
    **options: Any,
) -> xr.Dataset:
    """Partition the held-out variance of the units of ``y`` among bands of the units of ``x``.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Source and target, as in :func:`repcompare.encode`.
    bands : str, array-like of shape (n_features,), sequence of slices, or mapping of name to features
        One to eight bands: ``bands="unit_layer"`` for a representation, one label per feature, ``[slice(0, 100),
        slice(100, 200)]``, or ``{"motion": slice(0, 100), ...}``.
    folds, groups, gap, seed, force
        As in :func:`repcompare.encode`.
    nan : {"raise", "drop_units", "drop_stimuli"}
        Policy for missing values.
    jackknife : {"folds", "stimuli"}
        What standard errors and intervals leave out one at a time: folds, whose training rows overlap, or stimuli, with
        predictions as they are; rows of a recording depend on each other, so that there it must be folds.
    confidence : float
        Coverage of the intervals.
    **options
        ``model="banded_ridge" | "ridge"``, ``alphas``, ``n_iter=20`` weightings per set of bands, ``nested``, ``delays``,
        ``hrf``, ``runs``.

    Returns
    -------
    xarray.Dataset
        ``part (component, unit)``: what exactly these bands have in common (a single band: its unique part), which sum to
        the R2 of all bands; ``part_se``, ``part_low``, ``part_high``, by the jackknife; ``part_mean``, ``part_mean_se``,
        ``part_mean_low``, ``part_mean_high`` ``(component)`` over units; ``r2 (component, unit)`` of the model of these
        bands (-inf to 1) and ``r2_se``; ``unique`` and ``product`` ``(band, unit)``, ``member (component, band)``.
        Negative parts are kept and counted in ``attrs["n_negative"]``; constant units are NaN, ``attrs["n_constant"]``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Nimon & Oswald 2013; Dupre la Tour et al. 2022.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 6))
    >>> y = x[:, :3] @ rng.normal(size=(3, 2)) + rng.normal(size=(100, 2))
    >>> found = encode_partition(x, y, bands={"a": slice(0, 3), "b": slice(3, 6)}, model="ridge")
    >>> found["component"].values.tolist()
    ['a', 'b', 'a + b']
    >>> bool(np.allclose(found["part"].sum("component"), found["r2"].sel(component="a + b")))
    True
    """
    choose(nan, ("raise", "drop_units", "drop_stimuli"), "nan")
    choose(jackknife, ("folds", "stimuli"), "jackknife")
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r}; expected a number between 0 and 1, such as 0.95")
    rows = make_rows(x, y, groups=groups, folds=folds, nan=nan)
    if jackknife == "stimuli" and rows.sample == "time":
        raise OptionError("jackknife='stimuli': rows of a recording depend on each other; expected jackknife='folds'")
    drawn = draw_folds(rows, folds, y, Drawing(gap, seed, tuple(force), longest_delay(options)))
    own = labelled_options(x, rows, {**options, "bands": bands})
    found = partition_encoding(rows.x, rows.y, drawn, own.pop("bands"), seed=seed, jackknife=jackknife, **own)
    member = np.array([[b in subset for b in range(len(found.bands))] for subset in found.subsets])
    variables = {
        **_with_interval("part", ("component", "unit"), (found.parts, found.parts_se), confidence, found.n_left_out),
        **_with_interval("part_mean", ("component",), (found.mean_parts, found.mean_se), confidence, found.n_left_out),
        "r2": (("component", "unit"), found.r2),
        "r2_se": (("component", "unit"), found.r2_se),
        "unique": (("band", "unit"), found.unique),
        "product": (("band", "unit"), found.product),
        "member": (("component", "band"), member),
    }
    coords: dict[str, Any] = {
        "component": [SEPARATOR.join(found.bands[b] for b in subset) for subset in found.subsets],
        "band": list(found.bands),
    }
    if rows.unit_ids is not None:
        coords["unit_id"] = ("unit", rows.unit_ids)
    attrs = {
        "schema": ENCODING_PARTITION_SCHEMA,
        "model": options.get("model", "banded_ridge"),
        "seed": seed,
        "folds": drawn.scheme,
        "n_stimuli": len(rows.x),
        "n_negative": found.n_negative,
        "n_constant": found.n_constant,
        "jackknife": jackknife,
        "confidence": confidence,
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _with_interval(
    name: str, dims: tuple[str, ...], found: tuple[np.ndarray, np.ndarray], confidence: float, count: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return an estimate, its standard error and the ends of its interval as variables."""
    value, error = found
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    ends = {"": value, "_se": error, "_low": value - reach, "_high": value + reach}
    return {name + end: (dims, values) for end, values in ends.items()}
