"""NWB files, by h5py or zarr alone: spikes around events, or a time series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from data_adapters._labels import as_text
from data_adapters._options import SpikeOptions
from data_adapters.spikes import _nodes, _tables
from data_adapters.spikes._around import Units, around, chosen_units, given_events, refuse_events, schema_labels
from data_adapters.spikes._nodes import Group
from repcompare.errors import FormatError, OptionError, suggest

STIMULUS_COLUMNS = ("stimulus_id", "stimulus", "stimulus_name", "image_id", "condition")
ELECTRODES = "/general/extracellular_ephys/electrodes"
RESERVED = ("id", "timeseries", "tags")


def read_nwb(path: str, options: SpikeOptions) -> xr.Dataset:
    """Read spikes of an NWB file around its events.

    Parameters
    ----------
    path : str
        The file (HDF5), or a zarr store as hdmf-zarr writes it.
    options : SpikeOptions
        ``events=``, ``align=``, ``start=``, ``stop=``, ``width=``, ``stimulus=``, ``units=``, ``rate=``; or
        ``series=``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]) in counts or Hz; or (time, unit) for a series.

    Raises
    ------
    FormatError
        When the file is damaged, leads out of itself, or has no units or no events; the latter lists its
        tables.
    OptionError
        For tables, columns or windows that are not there.
    MissingExtraError
        For a zarr store without zarr.
    """
    with _nodes.opened(path) as file:
        if options.series is not None:
            from data_adapters.spikes._series import read_series

            refuse_events(path, options, "a time series", ("series",))
            return read_series(path, file, options)
        notes: list[str] = []
        units = _units(path, file, options, notes)
        frame = _events(path, file, options, notes)
        return around(path, units, frame, options, notes)


def _units(path: str, file: Group, options: SpikeOptions, notes: list[str]) -> Units:
    group = _nodes.get(file, "/units")
    if not isinstance(group, Group) or "spike_times" not in group:
        raise FormatError(
            f"{path}: no /units/spike_times; found {_tables.listing(file)}; expected sorted units with spike "
            f"times; "
            "read a time series of it with series="
        )
    names = as_text(_tables.column(path, group, "id"), f"{path}: units/id")
    if not len(names):
        raise FormatError(f"{path}: units: the table is empty; expected at least one unit with spike times")
    columns = _tables.flat_columns(path, group, len(names))
    regions = _regions(path, file, group, columns, len(names))
    chosen = chosen_units(names, columns, options.units)
    if len(chosen) < len(names):
        notes.append(f"units: {len(chosen)} of {len(names)} chosen by units=")
    trains = _tables.ragged(path, group, "spike_times", chosen)
    observed = _tables.ragged(path, group, "obs_intervals", chosen) if "obs_intervals" in group else None
    if observed is not None and any(o.ndim != 2 or o.shape[1] != 2 for o in observed):
        raise FormatError(
            f"{path}: units/obs_intervals has rows of shape {observed[0].shape[1:]}; expected (start, stop)"
        )
    labels = {
        f"unit_{k}": v[chosen] for k, v in columns.items() if k not in ("location", "id") and v.dtype.kind in "Uifub"
    }
    if regions is not None:
        labels["unit_region"] = regions[chosen]
    return Units(names[chosen], trains, schema_labels(labels, "nwb"), observed)


def _regions(path: str, file: Group, group: Group, columns: dict[str, np.ndarray], n: int) -> np.ndarray | None:
    if "location" in columns:
        return as_text(columns["location"], f"{path}: units/location")
    table = _nodes.get(file, ELECTRODES)
    if "electrodes" not in group or not isinstance(table, Group) or "location" not in table:
        return None
    places = as_text(_tables.column(path, table, "location"), f"{path}: electrodes/location")
    found = []
    for rows in _tables.ragged(path, group, "electrodes", np.arange(n)):
        at = np.atleast_1d(rows).astype(np.int64)
        if len(at) and (at.min() < 0 or at.max() >= len(places)):
            raise FormatError(
                f"{path}: units/electrodes: row {at.max()} of {len(places)} electrodes; the file is damaged"
            )
        found.append(";".join(dict.fromkeys(places[at].tolist())))
    return np.array(found, dtype=np.str_)


def _events(path: str, file: Group, options: SpikeOptions, notes: list[str]) -> pd.DataFrame:
    """Return the events as a table whose column ``options.align`` is their time in s."""
    given = given_events(options)
    if given is not None:
        return given
    events = options.events
    tables = _tables.interval_tables(file)
    name = "trials" if events is None else events
    if name not in tables:
        hint = f"{path}: no table of events {name!r}; found {_tables.listing(file)}"
        if events is None:
            raise FormatError(
                f"{hint}; expected 'trials'; give events= one of them or times in s, with start= and stop="
            )
        raise OptionError(f"{hint}{suggest(name, tables)}")
    if events is None:
        notes.append("events: table 'trials'")
    group = tables[name]
    size = len(_tables.column(path, group, "start_time"))
    if not size:
        raise FormatError(f"{path}: {group.name}: the table is empty; expected at least one event; give events=")
    return pd.DataFrame(_tables.flat_columns(path, group, size))
