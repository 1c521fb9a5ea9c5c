"""Epochs of magneto- and electroencephalography by their attributes alone, and .fif files through mne."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._guard import guard
from data_adapters._labels import POSITIONAL, as_text, numbered, running_count
from data_adapters._options import name_of, parse
from repcompare.errors import FormatError, MissingExtraError, OptionError, suggest
from repcompare.labels.schema import representation

NEEDED = ("get_data", "ch_names", "times", "events")
STIMULUS_COLUMNS = ("stimulus_id", "stimulus", "image_id", "condition")
FIF_MAGIC = b"\x00\x00\x00\x64\x00\x00\x00\x1f"  # the first tag: an identifier of a file


@dataclass(frozen=True, kw_only=True)
class EpochOptions:
    """Options of epochs.

    Attributes
    ----------
    stimulus : str or list of str, optional
        Column of the metadata, the names themselves, or ``"positional"``; by default a column called ``stimulus_id``,
        ``stimulus``, ``image_id`` or ``condition``, else the kinds of event.
    bads : bool
        Keep bad channels.
    """

    stimulus: Any = None
    bads: bool = False


def is_epochs(obj: Any) -> bool:
    """Say whether an object is an mne Epochs or looks like one."""
    return hasattr(obj, "get_data") and hasattr(obj, "events") and hasattr(obj, "ch_names")


def is_fif(path: str, head: bytes) -> bool:
    """Say whether a file is a .fif file."""
    return head.startswith(FIF_MAGIC)


def read_epochs(obj: Any, **options: Any) -> xr.Dataset:
    """Read epochs (mne) as labelled responses.

    Parameters
    ----------
    obj : mne.Epochs or alike
        With ``get_data()`` (epoch, channel, time) in SI units, ``ch_names``, ``times``, ``events``, and optionally
        ``event_id``, ``metadata`` and ``info["bads"]``.
    **options
        ``stimulus=``, ``bads=``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit, time); columns of the metadata become ``stimulus_*``; bad channels are left out and
        listed in the history.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When an attribute is missing (it is named), or shapes do not fit.
    """
    return epochs(obj, parse(EpochOptions, options, "epochs"), f"{type(obj).__name__} (epochs)")


def read_fif(path: str, options: EpochOptions) -> xr.Dataset:
    """Read a file of epochs (``-epo.fif``) through mne.

    Raises
    ------
    MissingExtraError
        When mne is not installed.
    FormatError, OptionError, SchemaError
        When the file is damaged or holds no epochs.
    """
    try:
        import mne
    except ImportError:
        raise MissingExtraError(f"{path}: .fif files need mne; pip install repcompare[meeg]") from None
    import warnings

    with guard(path, "a .fif file of epochs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mne.read_epochs(path, preload=True, verbose="error")
        return epochs(found, options, f"{name_of(path)} (fif)")


def epochs(obj: Any, options: EpochOptions, source: str) -> xr.Dataset:
    """Return epochs as a representation.

    Raises
    ------
    FormatError, OptionError, SchemaError
        As :func:`read_epochs`.
    """
    missing = [n for n in NEEDED if not hasattr(obj, n)]
    if missing:
        raise FormatError(f"{type(obj).__name__} has no attribute {missing[0]!r}; expected mne Epochs, or {NEEDED}")
    values = np.asarray(obj.get_data())
    channels = np.array([str(c) for c in obj.ch_names], dtype=np.str_)
    times = np.asarray(obj.times, dtype=np.float64)
    events = np.asarray(obj.events)
    if values.ndim != 3 or values.shape[1:] != (len(channels), len(times)) or len(values) != len(events):
        raise FormatError(
            f"{source}: get_data() has shape {values.shape}; expected ({len(events)} epochs, {len(channels)} channels, "
            f"{len(times)} times)"
        )
    notes: list[str] = []
    keep = _good(obj, channels, options, notes)
    metadata = getattr(obj, "metadata", None)
    columns = {str(c): metadata[c].to_numpy() for c in metadata.columns} if metadata is not None else {}
    names = _names(obj, columns, events, options, notes)
    coords: dict[str, Any] = {"stimulus_id": names, "repeat": running_count(names), "unit_id": channels[keep]}
    for name, column in columns.items():
        label = name if name.startswith("stimulus_") else f"stimulus_{name}"
        if label not in coords and (column.dtype.kind in "fiub" or all(isinstance(v, str) for v in column)):
            coords[label] = column
    kinds = _kinds(obj, len(channels))
    if kinds is not None:
        coords["unit_type"] = kinds[keep]
    attrs = {"modality": "meeg", "response_units": "SI", "source": source, "history": notes}
    return representation(values[:, keep], dims=("presentation", "unit", "time"), attrs=attrs, time=times, **coords)


def _good(obj: Any, channels: np.ndarray, options: EpochOptions, notes: list[str]) -> np.ndarray:
    info = getattr(obj, "info", None)
    bads = [str(b) for b in info["bads"]] if info is not None and "bads" in info else []
    bads = [b for b in bads if b in set(channels.tolist())]
    if not bads or options.bads:
        return np.arange(len(channels))
    notes.append(f"{len(bads)} bad channels left out: {', '.join(bads)}")
    keep = np.flatnonzero(~np.isin(channels, bads))
    if not len(keep):
        raise FormatError(f"all {len(channels)} channels are bad; expected good ones; keep them by bads=True")
    return keep


def _kinds(obj: Any, n: int) -> np.ndarray | None:
    found = obj.get_channel_types() if hasattr(obj, "get_channel_types") else None
    return np.array([str(k) for k in found], dtype=np.str_) if found is not None and len(found) == n else None


def _names(
    obj: Any, columns: dict[str, np.ndarray], events: np.ndarray, options: EpochOptions, notes: list[str]
) -> np.ndarray:
    wanted = options.stimulus
    n = len(events)
    if wanted is not None and not isinstance(wanted, str):
        names = as_text(wanted, "stimulus=")
        if len(names) != n:
            raise FormatError(f"found {len(names)} names in stimulus= for {n} epochs; expected one each")
        return names
    if wanted == POSITIONAL:
        notes.append("stimulus names are positions (stimulus='positional')")
        return numbered(n)
    if wanted is not None and wanted not in columns:
        raise OptionError(f"stimulus={wanted!r} is no column of the metadata{suggest(wanted, [*columns, POSITIONAL])}")
    column = wanted or next((c for c in STIMULUS_COLUMNS if c in columns), None)
    if column is not None:
        notes.append(f"stimulus: column {column!r} of the metadata")
        return as_text(columns[column], f"metadata: {column}")
    if events.ndim != 2 or events.shape[1] != 3:
        raise FormatError(f"events have shape {events.shape}; expected (epoch, 3); give stimulus= names")
    kinds = {int(code): str(name) for name, code in dict(getattr(obj, "event_id", None) or {}).items()}
    notes.append("stimulus: kind of event")
    return np.array([kinds.get(int(c), str(int(c))) for c in events[:, 2]], dtype=np.str_)
