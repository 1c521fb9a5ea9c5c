"""Spikes as objects of other libraries, by their attributes alone: neo, spikeinterface, mappings of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._options import EventOptions, parse
from data_adapters.spikes._around import Units, around, chosen_units, given_events, schema_labels
from data_adapters.spikes.flat import FlatOptions, flat_spikes
from repcompare.errors import FormatError, OptionError


def is_neo(obj: Any) -> bool:
    """Say whether an object is a neo Block, Segment, SpikeTrain, or a list of SpikeTrain."""
    if isinstance(obj, list | tuple):
        return bool(obj) and all(_is_train(t) for t in obj)
    if is_sorting(obj):  # has segments too, of another kind
        return False
    return _is_train(obj) or hasattr(obj, "segments") or (hasattr(obj, "spiketrains") and hasattr(obj, "analogsignals"))


def _is_train(obj: Any) -> bool:
    timed = hasattr(obj, "times") and hasattr(obj, "t_start") and hasattr(getattr(obj, "times", None), "rescale")
    return timed and getattr(obj, "ndim", 1) == 1  # continuous signals of neo have a second axis


def is_sorting(obj: Any) -> bool:
    """Say whether an object is a spikeinterface sorting."""
    return hasattr(obj, "get_unit_spike_train")


def is_spikes(obj: Any) -> bool:
    """Say whether an object is a mapping of arrays ``trial``, ``unit``, ``time``, or of spike times by unit."""
    from data_adapters.spikes.flat import is_triple

    return isinstance(obj, Mapping) and (is_triple(obj) or (bool(obj) and all(map(_are_times, obj.values()))))


def _are_times(values: Any) -> bool:
    """Say whether something is a list of numbers: responses have two axes and more."""
    if isinstance(values, list | tuple):
        return all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values)
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiu"


def read_spikes(obj: Mapping[Any, Any], **options: Any) -> xr.Dataset:
    """Read a mapping of arrays ``trial``, ``unit``, ``time`` and ``stimulus``, or of spike times by unit.

    Parameters
    ----------
    obj : mapping
        As an npz file of this layout holds.
    **options
        ``start=``, ``stop=``, ``width=``, ``tick=``, ``stimulus=``, ``rate=``; ``events=`` for times by unit.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]).

    Raises
    ------
    FormatError, OptionError, SchemaError
        As the reader of files.

    Examples
    --------
    >>> spikes = {"trial": [0, 0, 1], "unit": ["a", "b", "a"], "time": [0.1, 0.2, 0.3], "stimulus": ["cat", "dog"]}
    >>> read_spikes(spikes, start=0.0, stop=0.5)["response"].values.tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    return flat_spikes(obj, parse(FlatOptions, options, "spikes"), "mapping", "spikes")


def read_neo(obj: Any, **options: Any) -> xr.Dataset:
    """Read spike trains of neo around events.

    Parameters
    ----------
    obj : neo.Block, neo.Segment, neo.SpikeTrain or list of neo.SpikeTrain
        Trains of several segments are put one after the other by unit.
    **options
        ``events=`` (times in s, a table, or the name of a neo Event or Epoch in the object), ``start=``, ``stop=`` ....

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]); annotations of trains become ``unit_*``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When an attribute, the events or the trains are missing.
    """
    chosen = parse(EventOptions, options, "neo")
    trains, segments = _trains(obj)
    frame = given_events(chosen)
    if frame is None:
        frame = _neo_events(segments, chosen)
    names, times, columns = _joined(trains)
    keep = chosen_units(names, columns, chosen.units)
    labels = schema_labels({f"unit_{k}": v[keep] for k, v in columns.items()}, "neo")
    units = Units(names[keep], [times[i] for i in keep], labels, None)
    return around(type(obj).__name__, units, frame, chosen, [], "neo")


def _trains(obj: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(obj, list | tuple):
        return list(obj), []
    if _is_train(obj):
        return [obj], []
    segments = list(obj.segments) if hasattr(obj, "segments") else [obj]
    missing = [s for s in segments if not hasattr(s, "spiketrains")]
    if missing:
        raise FormatError(f"{type(missing[0]).__name__} has no attribute 'spiketrains'; expected a neo Segment")
    return [t for s in segments for t in s.spiketrains], segments


def _in_seconds(obj: Any, what: str) -> np.ndarray:
    if not hasattr(obj, "rescale"):
        raise FormatError(f"{what} has no attribute 'rescale'; expected times with a unit, as neo keeps them")
    return np.asarray(getattr(obj.rescale("s"), "magnitude", obj.rescale("s")), dtype=np.float64).ravel()


def _joined(trains: list[Any]) -> tuple[np.ndarray, list[np.ndarray], dict[str, np.ndarray]]:
    """Return names, times in s and annotations by unit."""
    if not trains:
        raise FormatError("the neo object holds no spike trains; expected at least one")
    times: dict[str, list[np.ndarray]] = {}
    notes: dict[str, dict[str, Any]] = {}
    for i, train in enumerate(trains):
        known = dict(getattr(train, "annotations", {}) or {})
        name = str(getattr(train, "name", None) or known.get("id") or known.get("unit_id") or f"unit/{i}")
        times.setdefault(name, []).append(_in_seconds(train.times, f"train {name!r}"))
        notes.setdefault(name, known)
    columns = {}
    for key in dict.fromkeys(k for n in notes.values() for k in n):
        values = [n.get(key) for n in notes.values()]
        if str(key).isidentifier() and key not in ("id", "unit_id") and _plain(values):
            columns[str(key)] = np.asarray(values)
    return np.array(list(times), dtype=np.str_), [np.sort(np.concatenate(t)) for t in times.values()], columns


def _plain(values: list[Any]) -> bool:
    return all(isinstance(v, str) for v in values) or all(
        isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values
    )


def _neo_events(segments: list[Any], options: EventOptions) -> Any:
    """Return neo events or epochs as a table of times and labels."""
    import pandas as pd

    found = [e for s in segments for kind in ("events", "epochs") for e in getattr(s, kind, [])]
    names = [str(getattr(e, "name", "")) for e in found]
    if options.events is None and len(found) != 1:
        raise OptionError(f"neo events {', '.join(names) or 'none'}: name one by events=, or give times in s")
    chosen = [e for e, n in zip(found, names, strict=True) if options.events in (None, n)]
    if not chosen:
        raise OptionError(f"no neo event {options.events!r}; known: {', '.join(names) or 'none'}")
    tables = []
    for event in chosen:
        begin = _in_seconds(event.times, "events")
        table = {options.align: begin}
        labels = getattr(event, "labels", None)
        if labels is not None and len(labels) == len(begin):
            table["stimulus"] = np.asarray(labels).astype(np.str_)
        if hasattr(event, "durations") and len(event.durations) == len(begin):
            table["stop_time"] = begin + _in_seconds(event.durations, "durations")
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def read_sorting(obj: Any, **options: Any) -> xr.Dataset:
    """Read a spikeinterface sorting around events.

    Parameters
    ----------
    obj : spikeinterface sorting
        Known by ``get_unit_spike_train`` and ``unit_ids``.
    **options
        ``events=`` (times in s or a table) is required; ``start=``, ``stop=``, ``width=`` ....

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit[, time]); properties of units become ``unit_*``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When an attribute or the events are missing.
    """
    chosen = parse(EventOptions, options, "spikeinterface")
    frame = given_events(chosen)
    if frame is None:
        raise OptionError("a sorting holds no events; give events= times in s or a table, start= and stop=")
    ids = getattr(obj, "unit_ids", None)
    if not isinstance(ids, Iterable):
        raise FormatError(f"{type(obj).__name__} has no attribute 'unit_ids'; expected a spikeinterface sorting")
    ids = list(ids)
    if not ids:
        raise FormatError(f"{type(obj).__name__} has no units; expected at least one")
    segments = int(obj.get_num_segments()) if hasattr(obj, "get_num_segments") else 1
    if segments > 1:
        raise FormatError(f"the sorting has {segments} segments; expected one; read each of them by select_segments")
    names = np.array([str(u) for u in ids], dtype=np.str_)
    columns = _properties(obj, len(ids))
    keep = chosen_units(names, columns, chosen.units)
    trains = [np.asarray(obj.get_unit_spike_train(ids[i], return_times=True), dtype=np.float64) for i in keep]
    labels = schema_labels({f"unit_{k}": v[keep] for k, v in columns.items()}, "sorting")
    return around(type(obj).__name__, Units(names[keep], trains, labels, None), frame, chosen, [], "spikeinterface")


def _properties(obj: Any, n: int) -> dict[str, np.ndarray]:
    if not (hasattr(obj, "get_property_keys") and hasattr(obj, "get_property")):
        return {}
    found = {str(k): np.asarray(obj.get_property(k)) for k in obj.get_property_keys()}
    found["region"] = found.pop("brain_area") if "brain_area" in found else found.get("region", np.empty(0))
    return {k: v for k, v in found.items() if v.shape == (n,) and v.dtype.kind in "Uifub" and k.isidentifier()}
