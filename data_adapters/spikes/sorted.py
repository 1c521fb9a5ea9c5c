"""Folders of sorted spikes: ALF (object.attribute.npy) and phy (spike_times.npy in samples)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from data_adapters._guard import guard
from data_adapters._npy import array_of
from data_adapters._options import EventOptions
from data_adapters._parquet import parquet_columns
from data_adapters.spikes._around import Units, around, chosen_units, given_events, schema_labels
from data_adapters.spikes._folder import by_unit, columns_of, listing, same_length, typed
from repcompare.errors import FormatError, OptionError, suggest

ALF_NAME = re.compile(r"(?:_[A-Za-z0-9]+_)?([A-Za-z]+)\.([A-Za-z0-9_]+)(?:\.[^.]+)*\.(npy|csv|tsv|pqt)")
RATE = re.compile(r"^\s*sample_rate\s*=\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*(?:#.*)?$", re.MULTILINE)
GOOD = "good"
LARGEST_TABLE = 8 * 10**9  # bytes of a parquet table, unpacked


@dataclass(frozen=True, kw_only=True)
class PhyOptions(EventOptions):
    """Options of phy folders: those of spike times, and the clock.

    Attributes
    ----------
    sample_rate : float, optional
        Samples per second; by default that of ``params.py``.
    """

    sample_rate: float | None = None


def is_alf(path: str) -> bool:
    """Say whether a folder holds spikes in ALF names."""
    found = {m.group(1, 2) for name in listing(path) if (m := ALF_NAME.fullmatch(name))}
    return {("spikes", "times"), ("spikes", "clusters")} <= found


def is_phy(path: str) -> bool:
    """Say whether a folder holds the output of phy or of a sorter for it."""
    return {"spike_times.npy", "spike_clusters.npy"} <= set(listing(path))


def read_alf(path: str, options: EventOptions) -> xr.Dataset:
    """Read a folder of ALF files (``spikes.times.npy``, ``clusters.*``, ``trials.*``) around its trials.

    Parameters
    ----------
    path : str
        The folder of the spikes; trials are found in it or in the folder above.
    options : EventOptions
        ``align=`` names a column of the trials (``"stimOn_times"``); ``start_time`` and ``stop_time`` come from
        ``trials.intervals``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When files of one object differ in length, or trials or spikes are missing.
    """
    notes: list[str] = []
    spikes = _object(path, "spikes", ("times", "clusters"))
    same_length(path, spikes, "spikes")
    if "times" not in spikes or "clusters" not in spikes:
        raise FormatError(f"{path}: no spikes.times.npy with spikes.clusters.npy; expected both; check the folder")
    ids, trains = by_unit(_whole(path, "spikes.clusters", spikes["clusters"]), _seconds(path, spikes["times"]))
    if not len(ids):
        raise FormatError(f"{path}: spikes.times is empty; expected spikes of at least one cluster")
    columns = _alf_columns(path, ids, notes)
    names = np.array([str(i) for i in ids.tolist()], dtype=np.str_)
    keep = chosen_units(names, columns, options.units)
    labels = schema_labels({f"unit_{k}": v[keep] for k, v in columns.items()}, "alf")
    frame = given_events(options)
    if frame is None:
        frame = _alf_trials(path, options, notes)
    return around(path, Units(names[keep], [trains[i] for i in keep], labels, None), frame, options, notes, "alf")


def _object(path: str, name: str, only: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the attributes of one ALF object that are columns of numbers or text."""
    found: dict[str, np.ndarray] = {}
    for file in listing(path):
        match = ALF_NAME.fullmatch(file)
        if not match or match[1] != name or (only and match[2] not in only):
            continue
        where = os.path.join(path, file)
        if match[3] == "npy":
            array = array_of(where)
            found[match[2]] = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        else:
            table = _parquet(where) if match[3] == "pqt" else {k: typed(v) for k, v in columns_of(where).items()}
            found.update({(match[2] if len(table) == 1 else k): v for k, v in table.items()})
    for attribute, values in found.items():
        if values.ndim == 0:
            raise FormatError(f"{path}: {name}.{attribute} is a single number; expected one entry per row")
    return found


def _parquet(file: str) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in parquet_columns(file, LARGEST_TABLE).items()}


def _whole(path: str, what: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise FormatError(f"{path}: {what} has dtype {values.dtype}, shape {values.shape}; expected whole numbers")
    return values.astype(np.int64)


def _seconds(path: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f" or values.ndim != 1:
        raise FormatError(f"{path}: spikes.times has dtype {values.dtype}, shape {values.shape}; expected seconds")
    return values.astype(np.float64)


def _alf_columns(path: str, ids: np.ndarray, notes: list[str]) -> dict[str, np.ndarray]:
    """Return what ``clusters`` and ``channels`` say of the units that fired."""
    clusters = {k: v for k, v in _object(path, "clusters").items() if v.ndim == 1}
    channels = {k: v for k, v in _object(path, "channels").items() if v.ndim == 1}
    n = same_length(path, clusters, "clusters")
    same_length(path, channels, "channels")
    if clusters and (ids.min() < 0 or ids.max() >= n):
        raise FormatError(f"{path}: spikes.clusters holds cluster {ids.max()}; clusters has {n} rows (0 to {n - 1})")
    found = {k: v[ids] for k, v in clusters.items() if v.dtype.kind in "Uifub"}
    if clusters and n > len(ids):
        notes.append(f"{n - len(ids)} of {n} clusters have no spikes: left out")
    place = next((k for k in channels if "brainlocation" in k.lower() and channels[k].dtype.kind == "U"), None)
    if "acronym" in found and found["acronym"].dtype.kind == "U":
        found["region"] = found.pop("acronym")
    elif place is not None and found.get("channels", np.zeros(0)).dtype.kind in "iu" and "channels" in found:
        at = found["channels"].astype(np.int64)
        if len(at) and (at.min() < 0 or at.max() >= len(channels[place])):
            raise FormatError(f"{path}: clusters.channels: row {at.max()} of {len(channels[place])} channels")
        found["region"] = channels[place][at]
        notes.append(f"unit_region: channels.{place}")
    return found


def _alf_trials(path: str, options: EventOptions, notes: list[str]) -> pd.DataFrame:
    above = os.path.dirname(os.path.abspath(path))
    name = options.events or "trials"
    for folder in (path, above):
        table = _object(folder, name)
        if table:
            if folder == above:
                notes.append(f"{name}: of the folder above")
            return _trial_frame(folder, name, table)
    raise FormatError(f"{path}: no {name}.* here or in the folder above; expected trials; give events= times in s")


def _trial_frame(folder: str, name: str, table: dict[str, np.ndarray]) -> pd.DataFrame:
    n = same_length(folder, table, name)
    if not n:
        raise FormatError(f"{folder}: {name}: the table is empty; expected at least one trial")
    intervals = table.pop("intervals", None)
    columns: dict[str, Any] = {k: v for k, v in table.items() if v.ndim == 1 and v.dtype.kind in "UifubO"}
    if intervals is not None and intervals.ndim == 2 and intervals.shape[1] == 2:
        columns |= {"start_time": intervals[:, 0], "stop_time": intervals[:, 1]}
    elif "intervals_0" in columns and "intervals_1" in columns:
        columns |= {"start_time": columns.pop("intervals_0"), "stop_time": columns.pop("intervals_1")}
    return pd.DataFrame(columns)


def read_phy(path: str, options: PhyOptions) -> xr.Dataset:
    """Read a folder of phy (``spike_times.npy`` in samples, ``spike_clusters.npy``) around events of the caller.

    Parameters
    ----------
    path : str
        The folder.
    options : PhyOptions
        ``events=`` (times in s or a table) is required: phy knows no events.  Without ``units=`` the clusters of group
        ``good`` are read.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the clock, the events or the good clusters are missing, or the arrays differ in length.
    """
    frame = given_events(options)
    if frame is None:
        raise OptionError(f"{path}: phy folders hold no events; give events= times in s or a table, start= and stop=")
    arrays = {k: array_of(os.path.join(path, f"spike_{k}.npy")) for k in ("times", "clusters")}
    arrays = {k: v.reshape(-1) if v.ndim == 2 and 1 in v.shape else v for k, v in arrays.items()}
    n = same_length(path, arrays, "spike")
    if not n:
        raise FormatError(f"{path}: spike_times.npy is empty; expected spikes")
    notes: list[str] = []
    rate = _rate(path, options, notes)
    samples = _whole(path, "spike_times", arrays["times"])
    ids, trains = by_unit(_whole(path, "spike_clusters", arrays["clusters"]), samples / rate)
    columns = _phy_columns(path, ids)
    names = np.array([str(i) for i in ids.tolist()], dtype=np.str_)
    keep = _phy_units(path, names, columns, options, notes)
    labels = schema_labels({f"unit_{k}": v[keep] for k, v in columns.items()}, "phy")
    return around(path, Units(names[keep], [trains[i] for i in keep], labels, None), frame, options, notes, "phy")


def _rate(path: str, options: PhyOptions, notes: list[str]) -> float:
    """Samples per second; ``params.py`` is text here and never run."""
    if options.sample_rate is not None:
        if not 0 < options.sample_rate < np.inf:
            raise OptionError(f"sample_rate={options.sample_rate}: expected samples per second above 0")
        return float(options.sample_rate)
    file = os.path.join(path, "params.py")
    content = ""
    if os.path.isfile(file) and os.path.getsize(file) < 2**20:
        with guard(file, "a text file"), open(file, encoding="utf-8") as handle:
            content = handle.read()
    found = RATE.search(content)
    rate = float(found[1]) if found else 0.0
    if not 0 < rate < np.inf:
        raise FormatError(f"{path}: no sample_rate in params.py; expected samples per second; give sample_rate=")
    notes.append(f"sample_rate {rate:g} Hz from params.py")
    return rate


def _phy_columns(path: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of ``cluster_*.tsv`` for the clusters that fired, by cluster id."""
    found: dict[str, np.ndarray] = {}
    for file in listing(path):
        if not re.fullmatch(r"cluster_\w+\.(tsv|csv)", file):
            continue
        table = columns_of(os.path.join(path, file))
        key = next((k for k in ("cluster_id", "id") if k in table), None)
        if key is None:
            raise FormatError(f"{path}: {file} has columns {', '.join(table)}; expected cluster_id among them")
        rows = {cluster: i for i, cluster in enumerate(table[key])}
        at = [rows.get(str(i)) for i in ids.tolist()]
        for name, values in table.items():
            if name != key and name not in found:
                found[name] = typed(["" if i is None else values[i] for i in at])
    if "region" not in found and "brain_region" in found:
        found["region"] = found.pop("brain_region")
    return found


def _phy_units(
    path: str, names: np.ndarray, columns: dict[str, np.ndarray], options: PhyOptions, notes: list[str]
) -> np.ndarray:
    if options.units is not None or "group" not in columns:
        if options.units is None:
            notes.append("no cluster_group.tsv: every cluster is read")
        return chosen_units(names, columns, options.units)
    keep = np.flatnonzero(columns["group"] == GOOD)
    if not len(keep):
        groups = sorted(set(columns["group"].tolist()))
        raise FormatError(
            f"{path}: none of {len(names)} clusters has group {GOOD!r}{suggest(GOOD, groups)}; "
            "choose some by units=, for example units={'group': 'mua'}"
        )
    if len(keep) < len(names):
        notes.append(f"{len(names) - len(keep)} of {len(names)} clusters are not of group {GOOD!r}: left out")
    return keep
