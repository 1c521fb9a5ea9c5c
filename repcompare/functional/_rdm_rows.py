"""What the rows of a representation or an array are to a distance: stimuli, partitions, times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, OptionError, SchemaError, some, suggest
from repcompare.functional._pair import _array
from repcompare.labels.preprocess import average_repeats
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.labels.values import duplicates, infinite, text
from repcompare.measures.rsa.distances import Settings, compute

PARTITION = "run"  # the coordinate that names partitions unless another is given
WITHIN_RUN = (
    "within_run: distances between patterns of one {name} share its noise, which follows the order of presentation;"
    " take distance='crossnobis', partition={name!r}"
)
ONE_TRIAL = "within_run: every trial is a partition of its own, but trials of one run are not independent in fMRI"


@dataclass(frozen=True, eq=False)
class Rows:
    """Responses with what their rows are.

    Attributes
    ----------
    values : ndarray, shape (n_rows, n_units[, n_times])
    stimulus, partition : ndarray, shape (n_rows,), optional
    time : ndarray, shape (n_times,), optional
    warnings : tuple of str
    record : str
        What partitions are, for the attributes.
    """

    values: np.ndarray
    stimulus: np.ndarray | None
    partition: np.ndarray | None
    time: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    record: str = ""

    @property
    def bins(self) -> list[np.ndarray]:
        """Responses (n_rows, n_units) at each time; one of them without times."""
        if self.time is None:
            return [self.values]
        return [np.ascontiguousarray(self.values[:, :, t]) for t in range(len(self.time))]


def bare(x: Any, settings: Settings, stimulus: Any, partition: Any) -> Rows:
    """Return an array with the labels that were given."""
    values = _array(x, "x")
    if values.ndim != 2:
        raise SchemaError(f"x has shape {values.shape}; expected (n_stimuli, n_units), or trials with stimulus=")
    if isinstance(partition, str):
        if partition != PARTITION or settings.kind.cross_validated:
            raise OptionError(
                f"an array has no coordinate {partition!r}; give partition= as an array of labels, one per row, or None for"
                " trials that are independent"
            )
        partition = None
    return Rows(
        values,
        None if stimulus is None else np.asarray(stimulus),
        None if partition is None else np.asarray(partition),
    )


def labelled(ds: xr.Dataset, settings: Settings, partition: Any) -> Rows:
    """Return the rows of a representation: trials for what needs them."""
    sample = sample_dim(ds)
    if settings.kind.cross_validated and sample != "presentation":
        raise SchemaError(
            f"distance={settings.distance!r} needs single trials; found one row per stimulus; expected presentation form:"
            " give trials with dims=('presentation', 'unit') and stimulus_id="
        )
    stimulus = stimulus_labels(ds)
    labels, record = _partition_labels(ds, settings, partition, sample)
    warnings = _warnings(ds, settings, labels, stimulus, sample)
    if sample == "presentation" and not settings.kind.cross_validated and not isinstance(settings.noise, str):
        ds, sample, labels = average_repeats(ds), "stimulus", None
        stimulus = stimulus_labels(ds)
    response = ds["response"].transpose(sample, "unit", ...)
    values = np.asarray(response.values)
    problem = infinite(values, [str(d) for d in response.dims])
    if problem:
        raise SchemaError(f"response: {problem[0]}")
    if sample != "presentation" and duplicates(stimulus):
        raise SchemaError(
            f"stimuli {some(duplicates(stimulus))} label several rows; expected presentation form for repeats"
        )
    time = np.asarray(ds["time"].values, dtype=np.float64) if values.ndim == 3 else None
    return Rows(values, stimulus, labels, time, warnings, record)


def _partition_labels(ds: xr.Dataset, settings: Settings, partition: Any, sample: str) -> tuple[np.ndarray | None, str]:
    """Return the partition of each row, and the name of the coordinate."""
    if partition is None:
        return None, "trial" if settings.kind.cross_validated else ""
    if not isinstance(partition, str):
        return np.asarray(partition), "given"
    if partition in ds.coords and ds[partition].dims == (sample,):
        return text(ds[partition].values), partition
    if partition == PARTITION and not settings.kind.cross_validated:
        return None, ""
    known = [str(name) for name, c in ds.coords.items() if c.dims == (sample,) and name != "stimulus_id"]
    raise OptionError(
        f"partition={partition!r} is not a coordinate of the trials{suggest(partition, known) if known else ''}; name"
        " runs or sessions, or take partition=None for trials that are independent"
    )


def _warnings(
    ds: xr.Dataset, settings: Settings, labels: np.ndarray | None, stimulus: np.ndarray, sample: str
) -> tuple[str, ...]:
    """Say where patterns of one run are compared."""
    if settings.kind.cross_validated:
        return (ONE_TRIAL,) if labels is None and ds.attrs.get("modality") == "fmri" else ()
    for name in (PARTITION, "session"):
        if sample != "time" and name in ds.coords and ds[name].dims == (sample,):
            runs = text(ds[name].values)
            if any(len(set(stimulus[runs == run].tolist())) > 1 for run in dict.fromkeys(runs.tolist())):
                return (WITHIN_RUN.format(name=name),)
            return ()
    return ()


def without_missing(rows: Rows, settings: Settings, nan: str) -> tuple[Rows, dict[str, int]]:
    """Apply the policies that leave something out, and count what they left out."""
    if nan not in ("drop_units", "drop_stimuli"):
        return rows, {}
    values = rows.values
    if nan == "drop_units":
        keep = ~np.isnan(values).any(axis=(0, 2) if values.ndim == 3 else 0)
        if not keep.any():
            raise MeasureError("nan='drop_units' leaves no unit; choose another policy")
        return replace(rows, values=values[:, keep]), {"n_units_dropped": int((~keep).sum())}
    names = np.arange(len(values)) if rows.stimulus is None else rows.stimulus
    bad = set(names[np.isnan(values).any(axis=tuple(range(1, values.ndim)))].tolist())
    while True:
        keep = ~np.isin(names, list(bad)) if bad else np.ones(len(names), dtype=bool)
        if len(set(names[keep].tolist())) < 2:
            raise MeasureError(
                f"nan='drop_stimuli' leaves fewer than 2 stimuli ({len(bad)} dropped); choose another policy"
            )
        kept = replace(
            rows,
            values=values[keep],
            stimulus=None if rows.stimulus is None else rows.stimulus[keep],
            partition=None if rows.partition is None else rows.partition[keep],
        )
        flat = _flat(kept, settings, names[keep])
        if not flat:
            return kept, {"n_stimuli_dropped": len(bad)}
        bad |= flat


def _flat(rows: Rows, settings: Settings, names: np.ndarray) -> set[Any]:
    """Return the stimuli whose patterns have no variance (or length), where the distance needs it."""
    if not settings.kind.unit_norm:
        return set()
    order = np.array(list(dict.fromkeys(names.tolist())))
    for values in rows.bins:
        try:
            compute(values, settings, rows.stimulus, rows.partition)
        except MeasureError as error:
            if error.rows is None:
                raise
            return set(order[list(error.rows)].tolist())
    return set()
