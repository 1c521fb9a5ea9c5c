"""Options of encoders that name a coordinate of the data: bands of units, runs of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from repcompare.errors import OptionError, some
from repcompare.functional._encode_rows import Rows
from repcompare.functional._pair import Data
from repcompare.labels.values import text


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
