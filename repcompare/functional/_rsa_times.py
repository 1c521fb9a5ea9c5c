"""RSA inference over time: one inference per time from the same draws, one maximum over models and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import SchemaError
from repcompare.labels.rdms import is_rdms
from repcompare.statistics.resampling import permutation_pvalues

Float64 = npt.NDArray[np.float64]


def times_of(data: Any) -> Float64 | None:
    """Return the times of data RDMs, None where they have none; raise where some have, or others."""
    found = [_own(one) for one in _parts(data)]
    if all(one is None for one in found):
        return None
    first = next(one for one in found if one is not None)
    if any(one is None or not np.array_equal(one, first) for one in found):
        raise SchemaError(
            "data: RDMs with other times, or some without; expected one time axis for all, ds.interp or isel"
        )
    return first


def at_time(data: Any, t: int) -> Any:
    """Return data RDMs at one time."""
    if isinstance(data, xr.Dataset):
        return data.isel(time=t, drop=True)
    if isinstance(data, Mapping):
        return {name: at_time(one, t) for name, one in data.items()}
    return [at_time(one, t) for one in data]


def permutation_tests(score: Float64, null: Float64) -> dict[str, Float64]:
    """Return p-values of scores (...,) against permuted models (n_permutations, ...), raw and of the max-statistic."""
    # equal scores (a permutation within the categories of a model) must count as equal, whatever the rounding
    raw, corrected = permutation_pvalues(np.round(score, 12), np.round(null, 12), greater=True)
    return {"pvalue_permutation": raw, "pvalue_permutation_corrected": corrected}


def over_times(found: Sequence[xr.Dataset], nulls: Sequence[Float64], times: Float64) -> xr.Dataset:
    """Return the results of all times as one, with ``time`` as the last dim; the maximum is over models and times."""
    joined = xr.concat(
        list(found),
        dim="time",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    joined = joined.assign_coords(time=("time", times, {"units": "s"})).transpose(..., "time")
    if len(nulls[0]):
        score = joined["score"].transpose("time", "model").values
        for name, values in permutation_tests(score, np.stack(nulls, axis=1)).items():
            joined[name] = joined[name].copy(data=values.T)
    warnings = dict.fromkeys(w for one in found for w in one.attrs.get("warnings", []))
    attrs = {k: v for k, v in joined.attrs.items() if k != "warnings"}
    attrs["corrected_over"] = f"{attrs['corrected_over']}, at each time alone"
    if len(nulls[0]):
        attrs["maximum_over"] = "models and times"
    attrs["n_pairs_used"] = min(int(one.attrs["n_pairs_used"]) for one in found)
    return joined.assign_attrs(attrs | ({"warnings": list(warnings)} if warnings else {}))


def _parts(data: Any) -> list[Any]:
    if isinstance(data, Mapping) and not isinstance(data, xr.Dataset):
        return list(data.values())
    return list(data) if isinstance(data, (list, tuple)) else [data]


def _own(data: Any) -> Float64 | None:
    if not is_rdms(data) or "time" not in data["dissimilarity"].dims or "time_other" in data.dims:
        return None
    return np.asarray(data["time"].values, dtype=np.float64)
