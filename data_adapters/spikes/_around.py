"""Spike times of any recording around its events: presentation x unit [x time], with labels, as every reader gives them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from data_adapters._checks import warn_constant
from data_adapters._labels import POSITIONAL, as_text, numbered
from data_adapters._options import EventOptions, name_of
from repcompare.errors import FormatError, OptionError, suggest
from repcompare.labels.schema import representation
from repcompare.labels.spikes import (
    Times,
    Window,
    clean_events,
    clean_trains,
    counts,
    counts_between,
    row_labels,
    unobserved,
)

STIMULUS_COLUMNS = ("stimulus_id", "stimulus", "stimulus_name", "image_id", "condition")
RESERVED = ("id", "timeseries", "tags")


@dataclass
class Units:
    """Units of a file: names, spike times, labels, and when each was observed."""

    names: np.ndarray
    trains: list[Times]
    labels: dict[str, np.ndarray]
    observed: list[Times] | None


def schema_labels(labels: dict[str, np.ndarray], format: str) -> dict[str, np.ndarray]:
    """Return labels of units; what would be taken for mm or text of the schema, and is not, gets the format's name."""
    numbers = ("unit_x", "unit_y", "unit_z", "unit_i", "unit_j", "unit_k")
    texts = ("unit_region", "unit_layer", "unit_subject", "unit_session", "unit_hemisphere")
    out = {}
    for name, values in labels.items():
        clash = name in numbers or (name in texts and values.dtype.kind != "U")
        out[f"{name}_{format}" if clash else name] = values
    return out


def given_events(options: EventOptions) -> pd.DataFrame | None:
    """Return the events that the caller gave as a table or as times; None where they are to be found by name."""
    if isinstance(options.events, pd.DataFrame):
        return options.events.reset_index(drop=True)
    if options.events is not None and not isinstance(options.events, str):
        return pd.DataFrame({options.align: clean_events(options.events)})
    return None


def refuse_events(path: str, options: EventOptions, what: str, known: tuple[str, ...] = ()) -> None:
    """Raise when options that count spikes are given for something that has none.

    Parameters
    ----------
    path : str
        The file.
    options : EventOptions
        What the caller gave.
    what : str
        What is read in place of spikes.
    known : tuple of str
        Options that do apply.

    Raises
    ------
    OptionError
        Naming the first of them.
    """
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in known and not _is_default(value, field.default):
            raise OptionError(
                f"{path}: {field.name}= counts spikes around events; {what} is continuous: read it without, and choose "
                "times afterwards with ds.sel(time=slice(start, stop))"
            )


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, str | int | float | bool) and value == default)


def chosen_units(names: np.ndarray, columns: dict[str, np.ndarray], units: Any) -> np.ndarray:
    """Return the places of the units that the option ``units=`` asks for.

    Parameters
    ----------
    names : ndarray of str, shape (n_units,)
        Their names.
    columns : dict of str to ndarray
        What is known of them, one entry per unit.
    units : str, mapping, list of str or None
        A query on the columns, values by column, or names; None: all.

    Raises
    ------
    OptionError
        When a column or unit is unknown, or none is left.
    """
    if units is None:
        return np.arange(len(names))
    frame = pd.DataFrame({k: v for k, v in columns.items() if k != "id"}, index=range(len(names)))
    if isinstance(units, str):
        keep = _query(frame, units)
    elif isinstance(units, dict):
        missing = [k for k in units if k not in frame]
        if missing:
            raise OptionError(f"units={units!r}: no unit column {missing[0]!r}{suggest(missing[0], frame.columns)}")
        wanted = [np.isin(frame[k].to_numpy(), np.atleast_1d(v)) for k, v in units.items()]
        keep = np.flatnonzero(np.logical_and.reduce(wanted))
    else:
        asked = [str(u) for u in units]
        unknown = [u for u in asked if u not in set(names.tolist())]
        if unknown:
            raise OptionError(f"units: no unit {unknown[0]!r}{suggest(unknown[0], names)}")
        keep = np.flatnonzero(np.isin(names, asked))
    if not len(keep):
        raise OptionError(f"units={units!r} chooses none of {len(names)} units; columns: {', '.join(map(str, frame))}")
    return keep


def _query(frame: pd.DataFrame, query: str) -> np.ndarray:
    try:
        kept = frame.query(query, engine="python", local_dict={}, global_dict={})
    except Exception as error:
        raise OptionError(
            f"units={query!r} cannot be evaluated ({error}); columns: {', '.join(map(str, frame.columns))}"
        ) from None
    return kept.index.to_numpy()


def around(
    path: str, units: Units, frame: pd.DataFrame, options: EventOptions, notes: list[str], format: str = "nwb"
) -> xr.Dataset:
    """Return counts or rates of units around events.

    Parameters
    ----------
    path : str
        What was read, for messages and the source.
    units : Units
        Spike trains in s and labels.
    frame : pandas.DataFrame
        One row per event; the column ``options.align`` is its time in s; further columns become ``stimulus_*``.
    options : EventOptions
        Window, stimulus, rate.
    notes : list of str
        The history so far; lines are added.
    format : str
        Name of the format.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When events lack times or stimulus names, or spike times are not finite.
    """
    if (options.start is None) != (options.stop is None) or (options.width is not None and options.start is None):
        raise OptionError("width= needs start= and stop=, which come together; give the window around each event in s")
    frame = _named(path, frame, options)
    frame = _known(frame, [options.align] + (["stop_time"] if options.start is None else []), notes)
    onsets = frame[options.align].to_numpy(np.float64)
    _, trains, unsorted = clean_trains(dict(zip(units.names.tolist(), units.trains, strict=True)))
    notes += unsorted
    early = [n for n, t in zip(units.names.tolist(), trains, strict=True) if len(t) and t[0] < 0]
    if early:
        notes.append(f"{len(early)} unit(s) have spikes at negative times, the first {early[0]!r}: kept")
    if options.start is None or options.stop is None:
        response, begin, end = _between(path, trains, onsets, frame["stop_time"].to_numpy(np.float64), notes)
        window, is_rate = None, True
    else:
        window = Window(options.start, options.stop, options.width)
        response, is_rate = counts(trains, onsets, window), options.rate
        begin, end = onsets + window.start, onsets + window.stop
        response = response / np.float32(window.bin_width) if is_rate else response
        response = response[:, :, 0] if window.width is None else response
    _mask(response, units, begin, end, notes)
    warn_constant(response, path, counts=True)
    attrs = {
        "modality": "spikes",
        "response_units": "Hz" if is_rate else "count",
        "source": f"{name_of(path)} ({format})",
    }
    coords = row_labels({**_stimuli(path, frame, options, notes), "unit_id": units.names, **units.labels}, len(frame))
    dims = ("presentation", "unit", "time")[: response.ndim]
    if response.ndim == 3 and window is not None:
        coords["time"] = window.centres
    ds = representation(response, dims=dims, attrs={**attrs, "history": notes}, **coords)
    if response.ndim == 3 and window is not None:
        ds["time"].attrs.update(units="s", bin_width=window.bin_width)
    return ds


def _named(path: str, frame: pd.DataFrame, options: EventOptions) -> pd.DataFrame:
    """Put stimulus names that the caller listed into the table, before rows are dropped from it."""
    if options.stimulus is None or isinstance(options.stimulus, str):
        return frame
    names = as_text(options.stimulus, "stimulus=")
    if len(names) != len(frame):
        raise FormatError(
            f"{path}: found {len(names)} names in stimulus= for {len(frame)} events; expected one for each"
        )
    return frame.assign(stimulus_id=names)


def _known(frame: pd.DataFrame, columns: list[str], notes: list[str]) -> pd.DataFrame:
    """Drop events whose time is missing, with a note."""
    for name in columns:
        if name not in frame:
            raise OptionError(
                f"events: no column {name!r}{suggest(name, frame.columns)}; name the event times with align="
            )
        if frame[name].dtype.kind not in "fiu":
            raise OptionError(f"events: column {name!r} has dtype {frame[name].dtype}; expected seconds")
    good = np.isfinite(frame[columns].to_numpy(np.float64)).all(1)
    if not good.any():
        raise FormatError(f"events: none of {len(frame)} rows has a time in {', '.join(columns)}; expected seconds")
    if not good.all():
        notes.append(f"events: {int((~good).sum())} of {len(frame)} rows without {' or '.join(columns)}: dropped")
    return pd.DataFrame(frame[good].reset_index(drop=True))


def _between(
    path: str, trains: list[Times], onsets: Times, ends: Times, notes: list[str]
) -> tuple[np.ndarray, Times, Times]:
    length = ends - onsets
    if (length <= 0).any():
        at = int(np.argmax(length <= 0))
        raise FormatError(
            f"{path}: event {at} ends at {ends[at]} s, not after its start {onsets[at]} s; give start= and stop="
        )
    notes.append("no window given: rate between start_time and stop_time of each event, in Hz")
    response = counts_between(trains, onsets, ends) / length[:, None].astype(np.float32)
    return response, onsets, ends


def _mask(response: np.ndarray, units: Units, begin: Times, end: Times, notes: list[str]) -> None:
    if units.observed is None:
        return
    missing = 0
    for unit, observed in enumerate(units.observed):
        gone = unobserved(begin, end, observed.astype(np.float64))
        response[gone, unit] = np.nan
        missing += int(gone.sum())
    if missing:
        notes.append(f"{missing} windows leave the observed time of their unit (obs_intervals): NaN")


def _stimuli(path: str, frame: pd.DataFrame, options: EventOptions, notes: list[str]) -> dict[str, Any]:
    """Return the stimulus of each event, and the other columns as labels ``stimulus_<column>``."""
    chosen = options.stimulus if isinstance(options.stimulus, str | None) else "stimulus_id"
    columns = [str(c) for c in frame.columns]
    if chosen is None:
        chosen = next((c for c in STIMULUS_COLUMNS if c in columns), None)
        if chosen is None:
            raise FormatError(
                f"{path}: no stimulus names for the {len(frame)} events; expected a column among "
                f"{', '.join(columns)}; "
                "name it with stimulus=, give the names, or stimulus='positional'"
            )
        notes.append(f"stimulus: column {chosen!r}")
    if chosen == POSITIONAL:
        names = numbered(len(frame))
        notes.append("stimulus names are positions (stimulus='positional')")
    else:
        if chosen not in columns:
            raise OptionError(
                f"stimulus={chosen!r} is no column of the events{suggest(chosen, [*columns, POSITIONAL])}"
            )
        names = as_text(frame[chosen].to_numpy(), f"{path}: column {chosen}")
    labels: dict[str, Any] = {"stimulus": names}
    for name in columns:
        label = name if name.startswith("stimulus_") else f"stimulus_{name}"
        if name not in RESERVED and label not in ("stimulus_stimulus", "stimulus_id") and name != chosen:
            values = frame[name].to_numpy()
            if values.dtype.kind in "fiubU" or all(isinstance(v, str) for v in values):
                labels[label] = values
    return labels
