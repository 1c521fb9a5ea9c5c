"""Options that readers share: checked by name, with labels for stimuli and units among them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypeVar

from repcompare.errors import OptionError, suggest

T = TypeVar("T")

LABEL = re.compile(r"(stimulus|unit)_\w+|repeat|run|session|time")
UNITS_OF_MEMORY = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
MEMORY = "8GB"


def _is_bool(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # numpy's too, which this module does not import


# Text in place of a number or a switch: "False" would count as true, and a number fail far from here, as a damaged file.
KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("True or False", _is_bool),
    "int": ("a whole number", lambda v: isinstance(v, Integral) and not _is_bool(v)),
    "float": ("a number", lambda v: isinstance(v, Real) and not _is_bool(v)),
    "str": ("text", lambda v: isinstance(v, str)),
    "tuple[str, ...]": ("a list of names", lambda v: isinstance(v, list | tuple)),
}


@dataclass(frozen=True, kw_only=True)
class ArrayOptions:
    """Options of the readers of plain arrays (npy, npz, hdf5).

    Attributes
    ----------
    stimuli : list of str, path, name or "positional", optional
        One name per row: a list; a text file (a name per line), CSV file (``table.csv::column``) or npy/npz
        file (``acts.npz`` holds ``stimulus_id``; ``acts.npz::word`` another key); the name of an array in the
        file itself; or ``"positional"``, which names the rows ``#0000`` ....
    dims : tuple of str, optional
        Names of the axes: ``("unit", "stimulus")`` reads an array whose rows are units; feature maps have the
        axes ``channel``, ``y`` and ``x``.
    reduce : {"flatten", "mean_space", "max_space"}
        What becomes of feature maps (stimulus, channel, y, x).
    stimulus_axis : int, optional
        The axis of stimuli where ``dims`` is not given; default 0.
    memory : int or str
        Largest array that may be held in memory, in bytes or as ``"8GB"``.
    modality, response_units : str
        Recorded in the attributes; the modality is taken for ``"ann"`` when it is not given.
    labels : mapping
        Further labels by their schema name (``unit_region="V4"``, ``unit_id=[...]``).
    """

    stimuli: Any = None
    dims: tuple[str, ...] | None = None
    reduce: str = "flatten"
    stimulus_axis: int | None = None
    memory: int | str = MEMORY
    modality: str | None = None
    response_units: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EventOptions:
    """Options of the readers of spike times: where to count, and which units.

    Attributes
    ----------
    events : str, pandas.DataFrame or array of float, optional
        Name of a table of intervals, a table, or times in s.  Default ``"trials"``.
    align : str
        Column of the event times.
    start, stop : float, optional
        Window around each event, in s.  Without them spikes between ``start_time`` and ``stop_time`` give one
        rate.
    width : float, optional
        Bin width in s; without it one number per event.
    stimulus : str or list of str, optional
        Column that names the stimulus, the names themselves, or ``"positional"``.
    units : str, mapping or list of str, optional
        Which units: a query on the unit columns (``"quality == 'good'"``), values by column, or unit names.
    rate : bool
        Divide counts by the width: Hz.
    """

    events: Any = None
    align: str = "start_time"
    start: float | None = None
    stop: float | None = None
    width: float | None = None
    stimulus: Any = None
    units: Any = None
    rate: bool = False


@dataclass(frozen=True, kw_only=True)
class SpikeOptions(EventOptions):
    """Options of NWB files: those of spike times, or a time series.

    Attributes
    ----------
    series : str, optional
        Read this time series of ``/processing`` or ``/acquisition`` in place of spikes.
    """

    series: str | None = None


@dataclass(frozen=True, kw_only=True)
class WormOptions:
    """Options of ``demo:worm``.

    Attributes
    ----------
    coverage : float
        Share of measured cells that the block of neurons must reach.
    repeats : bool
        Give the targets as single trials: presentation x unit, ragged lists padded with NaN.
    units : {"block", "all"}
        Units of the sources: the same neurons as the stimuli, or every neuron and gene without gaps (for
        ridge).
    neurons : "wt", "unc31" or list of str, optional
        The neurons of every part; by default each target has its own block and the sources that of ``wt``.
    """

    coverage: float = 0.90
    repeats: bool = False
    units: str = "block"
    neurons: Any = None


def parse(kind: type[T], options: Mapping[str, Any], format: str) -> T:
    """Return the options of a reader as its dataclass.

    Parameters
    ----------
    kind : type
        The dataclass; labels by schema name are accepted where it has a field ``labels``.
    options : mapping
        What the caller gave.
    format : str
        Name of the format, for the message.

    Raises
    ------
    OptionError
        Naming the unknown option and the nearest known one, or the option whose value is of the wrong kind.

    Examples
    --------
    >>> parse(SpikeOptions, {"widht": 0.01}, "nwb")
    Traceback (most recent call last):
    repcompare.errors.OptionError: format nwb has no option 'widht'; did you mean 'width'?
    """
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    takes_labels = "labels" in known
    names = [k for k in known if k != "labels"]
    given: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for name, value in options.items():
        if name in names:
            given[name] = value
        elif takes_labels and LABEL.fullmatch(name) and name != "stimulus_id":
            labels[name] = value
        else:
            more = [*names, "unit_region", "unit_id"] if takes_labels else names
            raise OptionError(f"format {format} has no option {name!r}{suggest(name, more)}")
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        if item.name in given:
            _check_kind(item, given[item.name], format)
    if takes_labels:
        given["labels"] = labels
    return kind(**given)


def _check_kind(item: dataclasses.Field[Any], value: Any, format: str) -> None:
    """Raise when a value is not of the kind that the field declares; fields of any kind look for themselves."""
    declared = str(item.type)
    if value is None and declared.endswith("| None"):
        return
    expected, fits = KINDS.get(declared.removesuffix(" | None"), ("", lambda _: True))
    if not fits(value):
        raise OptionError(f"format {format}: {item.name}={value!r}; expected {expected}")


def parse_memory(value: int | str) -> int:
    """Return a size in bytes.

    Raises
    ------
    OptionError
        When it is not a number of bytes, nor text such as ``"2GB"``.

    Examples
    --------
    >>> parse_memory("1.5 GB")
    1500000000
    """
    found = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?B?)\s*", str(value).upper())
    try:
        if found:
            unit = found[2] if found[2].endswith("B") or not found[2] else found[2] + "B"
            return int(float(found[1]) * UNITS_OF_MEMORY[unit])
    except ValueError:
        pass
    raise OptionError(f"memory={value!r} is not a size; expected bytes or text such as '2GB'")


def name_of(path: str) -> str:
    """Return the last part of a path, as attributes record it."""
    return os.path.basename(os.path.normpath(path))
