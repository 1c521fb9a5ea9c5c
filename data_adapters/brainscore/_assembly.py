"""An assembly becomes a representation: renamed, flat, with a record of what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import as_text, running_count
from data_adapters._lazy import InMemory, Source, labelled, responses
from data_adapters.brainscore import _names as n
from data_adapters.brainscore._names import Record
from repcompare.errors import FormatError
from repcompare.labels.rules import broken_attrs
from repcompare.labels.variables import MODALITIES


@dataclass
class Assembly:
    """The data variable of a file or object, and its flat coordinates by name with their dim ("" for scalars)."""

    where: str
    source: Source | InMemory
    variable: str
    dims: tuple[str, ...]
    coords: dict[str, tuple[str, np.ndarray]]
    attrs: dict[str, Any] = field(default_factory=dict)
    data_attrs: dict[str, Any] = field(default_factory=dict)
    dtype: str = ""

    def on(self, dim: str) -> dict[str, np.ndarray]:
        """Coordinates of one dim."""
        return {name: values for name, (d, values) in self.coords.items() if d == dim}


def converted(found: Assembly, origin: str, extra: Mapping[str, list[str]] | None = None) -> xr.Dataset:
    """Return an assembly as a validated representation.

    Parameters
    ----------
    found : Assembly
        What was read.
    origin : str
        For ``attrs["source"]``.
    extra : mapping, optional
        A stimulus set, columns by name, joined on by stimulus.

    Raises
    ------
    FormatError, SchemaError
        When dims or names are missing, or units stay ambiguous.
    """
    sample, unit = _dim(found, n.SAMPLE_DIMS), _dim(found, n.UNIT_DIMS)
    rest = [d for d in found.dims if d not in (sample, unit)]
    sizes = dict(zip(found.dims, found.source.shape, strict=True))
    if rest not in ([], [n.TIME_DIM]) or 0 in sizes.values():
        raise FormatError(
            f"{found.where}: has dims {sizes}; expected presentation, neuroid and at most time_bin, none of length 0"
        )
    record = Record(found.variable, list(found.dims), found.dtype or str(found.source.dtype), attrs=found.attrs)
    record.data_attrs = found.data_attrs
    notes: list[str] = []
    labels, form = _sample_labels(found, sample, record, notes)
    coords = {**labels, **_unit_labels(found, unit, record, notes)}
    if extra is not None:
        coords |= _joined(found.where, coords[form_id(form)], extra, coords)
    attrs = _attrs(found, record, origin, unit)
    source: Source | InMemory = found.source
    stored = {sample: form, unit: "unit", n.TIME_DIM: "time"}
    if rest and sizes[n.TIME_DIM] == 1:
        source = _Squeezed(found.source, found.dims.index(n.TIME_DIM))
        record.times = {k: v.tolist() for k, v in found.on(n.TIME_DIM).items()}
        attrs |= {k: v[0] for k, v in record.times.items() if k in (*n.TIME_STARTS, *n.TIME_ENDS)}
        dims = tuple(stored[d] for d in found.dims if d != n.TIME_DIM)
    else:
        dims = tuple(stored[d] for d in found.dims)
    width = None
    if "time" in dims:
        coords["time"], width = _time(found, record)
    attrs |= {"history": notes, n.RECORD: record.to_text()}
    ds = labelled(responses(source, dims, "flatten"), attrs, coords)
    if width is not None:
        ds["time"].attrs.update(units="s", bin_width=width)
    return ds


def form_id(form: str) -> str:
    """Return the name of the coordinate of stimulus names."""
    return "stimulus" if form == "stimulus" else "stimulus_id"


class _Squeezed:
    """A source without an axis of length 1."""

    def __init__(self, source: Source | InMemory, axis: int) -> None:
        self.inner, self.axis, self.dtype, self.label = source, axis, source.dtype, source.label
        self.shape = tuple(s for i, s in enumerate(source.shape) if i != axis)

    def guard(self) -> Any:
        """Turn errors of the library into FormatError."""
        from data_adapters._guard import guard

        return guard(self.label)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        whole = (*key[: self.axis], slice(0, 1), *key[self.axis :])
        if isinstance(self.inner, InMemory):
            block = self.inner.values[np.ix_(*map(_places, whole, self.inner.shape))]
        else:
            block = self.inner.read(whole)
        return np.asarray(np.squeeze(block, axis=self.axis))


def _places(key: Any, length: int) -> np.ndarray:
    return np.asarray(np.arange(length)[key])


def _dim(found: Assembly, names: tuple[str, ...]) -> str:
    for name in names:
        if name in found.dims:
            return name
    raise FormatError(f"{found.where}: has dims {found.dims}; expected one of {', '.join(names)} among them")


def _text_of(values: np.ndarray, ours: str, record: Record, where: str) -> np.ndarray:
    """Return labels as text; what they were is recorded."""
    if values.dtype.kind != "U":
        record.dtypes[ours] = values.dtype.str
    return as_text(values, where)


def _sample_labels(found: Assembly, dim: str, record: Record, notes: list[str]) -> tuple[dict[str, np.ndarray], str]:
    given = found.on(dim)
    key = next((k for k in n.STIMULUS_IDS if k in given), None)
    if key is None:
        raise FormatError(
            f"{found.where}: no stimulus_id among {', '.join(given) or 'nothing'} of {dim}; expected names"
        )
    names, known = as_text(given[key], f"{found.where}: {key}"), n.ours_of(found.attrs)
    form = "stimulus" if len(set(names.tolist())) == len(names) and "repetition" not in given else "presentation"
    ours = form_id(form)
    labels = {ours: _text_of(given[key], ours, record, f"{found.where}: {key}")}
    record.names[ours] = key
    for name, values in given.items():
        if name == key:
            continue
        label = n.our_sample_name(name) if known.get(name, "unit_").startswith("unit_") else known[name]
        if label in ("repeat", *n.SAMPLE_KEEP) and values.dtype.kind not in "Uiu":
            label = f"stimulus_{name}"
        while label in labels:
            label += "_"
        labels[label], record.names[label] = values, name
    if form == "presentation" and "repeat" not in labels:
        labels["repeat"] = running_count(names)
        record.made.append("repeat")
        notes.append("repeat: running count of each stimulus")
    return labels, form


def _unit_labels(found: Assembly, dim: str, record: Record, notes: list[str]) -> dict[str, np.ndarray]:
    given = found.on(dim)
    key = next((k for k in n.UNIT_IDS if k in given), None)
    count = dict(zip(found.dims, found.source.shape, strict=True))[dim]
    labels: dict[str, np.ndarray] = {}
    subject, known = next((s for s in n.SUBJECTS if s in given), None), n.ours_of(found.attrs)
    for name, values in given.items():
        if name == key:
            continue
        label = "unit_subject" if name == subject else n.our_unit_name(name)
        label = known[name] if known.get(name, "").startswith("unit_") else label
        while label in labels:
            label += "_"
        is_text = label in ("unit_subject", "unit_region", "unit_layer", "unit_hemisphere", "unit_session")
        labels[label] = _text_of(values, label, record, f"{found.where}: {name}") if is_text else values
        record.names[label] = name
    if key is None:
        labels["unit_id"] = np.array([f"{dim}/{i}" for i in range(count)], dtype=np.str_)
        record.made.append("unit_id")
        notes.append(f"no neuroid_id: units are numbered as {dim}/0 ...")
        return labels
    ids = as_text(given[key], f"{found.where}: {key}")
    if len(set(ids.tolist())) == count or subject is None:
        labels["unit_id"] = _text_of(given[key], "unit_id", record, f"{found.where}: {key}")
        record.names["unit_id"] = key
        return labels  # what is still ambiguous is named by the schema
    owner = labels["unit_subject"]
    labels["unit_id"] = np.array([f"{s}/{i}" for s, i in zip(owner, ids, strict=True)], dtype=np.str_)
    labels["unit_neuroid_id"], record.names["unit_neuroid_id"] = given[key], key
    record.made.append("unit_id")
    notes.append(f"{key} is not unique: {subject} put before it")
    return labels


def _time(found: Assembly, record: Record) -> tuple[np.ndarray, float | None]:
    given = found.on(n.TIME_DIM)
    begin = next((given[k] for k in n.TIME_STARTS if k in given), None)
    end = next((given[k] for k in n.TIME_ENDS if k in given), None)
    if begin is None or end is None or begin.dtype.kind not in "fiu" or end.dtype.kind not in "fiu":
        raise FormatError(
            f"{found.where}: time_bin has {', '.join(given) or 'no coordinates'}; expected time_bin_start and "
            "time_bin_end in ms"
        )
    record.times = {k: v.tolist() for k, v in given.items()}
    begin, end = begin.astype(np.float64), end.astype(np.float64)
    widths = end - begin
    regular = np.isfinite(widths).all() and np.allclose(widths, widths[0], rtol=1e-9)
    return (begin + end) / 2 / 1000, float(widths[0] / 1000) if regular else None


def _attrs(found: Assembly, record: Record, origin: str, unit: str) -> dict[str, Any]:
    scalars = {k: v for k, (d, v) in found.coords.items() if d == ""}
    record.scalars = {k: v.item() for k, v in scalars.items()}
    attrs: dict[str, Any] = {}
    for name, value in {**found.data_attrs, **found.attrs, **record.scalars}.items():
        if name not in n.RESERVED and not broken_attrs({name: value}, ""):
            attrs[name] = value
    said = found.attrs.get("modality", found.data_attrs.get("modality"))
    layers = "layer" in found.coords or "model" in found.coords
    guess = "behaviour" if unit == "choice" else "ann" if layers else "spikes"
    attrs["modality"] = said if said in MODALITIES else guess
    attrs["source"] = origin
    if isinstance(found.attrs.get("response_units"), str):
        attrs["response_units"] = found.attrs["response_units"]
    return attrs


def _joined(
    where: str, names: np.ndarray, table: Mapping[str, list[str]], coords: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the columns of a stimulus set for each row."""
    from data_adapters.spikes._folder import typed

    key = next((k for k in ("stimulus_id", "image_id") if k in table), None)
    if key is None:
        raise FormatError(f"{where}: the stimulus set has columns {', '.join(table)}; expected stimulus_id among them")
    rows = {name: i for i, name in enumerate(table[key])}
    lost = sorted({s for s in names.tolist() if s not in rows})
    if lost:
        raise FormatError(f"{where}: {len(lost)} stimuli are not in the stimulus set, the first {lost[0]!r}")
    at = [rows[s] for s in names.tolist()]
    found = {}
    for name, values in table.items():
        label = n.our_sample_name(name)
        if name != key and label not in coords:
            found[label] = typed([values[i] for i in at])
    return found
