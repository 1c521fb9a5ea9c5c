"""Options of encoders that name a coordinate of the data: bands of units, runs of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, OptionError, some
from repcompare.functional._encode_rows import Rows
from repcompare.functional._pair import Data
from repcompare.labels.values import text
from repcompare.measures.encoding._kernel_fit import KernelWeights
from repcompare.measures.encoding.banded import DELAYS
from repcompare.measures.encoding.fits import Fitted

Names = np.ndarray | None


def labelled_options(x: Data, rows: Rows, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with ``bands="unit_layer"`` as one label per feature, and ``runs="run"`` as one per row.

    Raises
    ------
    OptionError
        When the source has no such label, or units or rows were dropped, so that labels do not match any more.
    """
    found = dict(options)
    for option, dim in (("bands", "unit"), ("runs", "time")):
        name = found.get(option)
        if not isinstance(name, str):
            continue
        known = [str(c) for c in x.coords if x[c].dims == (dim,)] if isinstance(x, xr.Dataset) else []
        if not isinstance(x, xr.Dataset) or name not in known:
            raise OptionError(
                f"{option}={name!r}: the source has no such label of its {dim} dimension (it has {some(known)}); give "
                f"one label per {'feature' if dim == 'unit' else 'row'}"
            )
        labels = text(x[name].values)
        size = rows.x.shape[1] if dim == "unit" else len(rows.x)
        if labels.size != size:
            raise OptionError(
                f"{option}={name!r}: the source has {labels.size} labels and {size} of them are fitted; select units "
                f"and rows before, or give the labels of those that are left"
            )
        found[option] = labels.astype(str)
    return found


def with_delays(model: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model, which is delayed ridge where ridge is given delays, and options with its delays written out.

    Raises
    ------
    OptionError
        For delays of a model that has none.
    """
    asked = {"delays", "hrf"} & set(options)
    if model in ("pls", "linear", "best_unit", "poisson") and asked:
        name = asked.pop()
        raise OptionError(
            f"model={model!r} has no option {name!r}; ridge, banded_ridge and kernel_ridge do; or give the delayed "
            "features themselves as x (repcompare.measures.encoding.delays.delay_features)"
        )
    if model == "delayed_ridge" and not asked:
        return model, {**options, "delays": list(DELAYS)}
    return "delayed_ridge" if model == "ridge" and asked else model, dict(options)


def kernel_of_rows(rows: Rows) -> Rows:
    """Return a precomputed kernel with its columns in the order of its rows, where they carry the names of stimuli."""
    if rows.names is None or rows.feature_ids is None:
        return rows
    names = rows.names.astype(str)
    if not set(names.tolist()) <= set(rows.feature_ids.tolist()):
        return rows
    return replace(rows, x=rows.x[:, places_of(rows.feature_ids, names)], feature_ids=names)


def labelled_weights(fitted: Fitted, features: Names, units: Names, rows: Names) -> xr.DataArray:
    """Return weights (feature, unit) with the names there are; (row, unit) of a kernel without features."""
    coords: dict[str, Any] = {} if units is None else {"unit_id": ("unit", units)}
    lags = getattr(fitted, "lags", None)
    if isinstance(fitted, KernelWeights) and fitted.kernel.how.name != "linear":
        coords |= {} if rows is None else {"row_id": ("row", rows)}
        return xr.DataArray(fitted.dual, dims=("row", "unit"), coords=coords, name="weights")
    values = fitted.coef
    if lags is None:
        coords |= {} if features is None else {"feature_id": ("feature", features)}
        return xr.DataArray(values, dims=("feature", "unit"), coords=coords, name="weights")
    n_basis = len(lags.basis)
    single = ((lags.basis != 0).sum(axis=1) == 1).all() and (lags.basis.sum(axis=1) == 1).all()
    steps = lags.basis.argmax(axis=1) if single else np.arange(n_basis)
    coords["delay" if single else "basis"] = ("feature", np.repeat(steps, len(values) // n_basis))
    coords |= {} if features is None else {"feature_id": ("feature", np.tile(features, n_basis))}
    return xr.DataArray(values, dims=("feature", "unit"), coords=coords, name="weights")


def places_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where the wanted units are among ``ids``.

    Raises
    ------
    AlignmentError
        When some are not there.
    """
    place = {name: i for i, name in enumerate(ids.tolist())}
    missing = [name for name in wanted.tolist() if name not in place]
    if missing:
        raise AlignmentError(
            f"x has {ids.size} units, without {len(missing)} of the {wanted.size} that were fitted: {some(missing)}"
        )
    return np.array([place[name] for name in wanted.tolist()], dtype=np.intp)
