"""Sensorium folders: one file per trial, pictures (static) or films (dynamic), with tiers and withheld responses."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._guard import guard
from data_adapters._labels import as_text, running_count
from data_adapters._npy import array_of, header
from data_adapters._options import MEMORY, name_of, parse_memory
from data_adapters.spikes._around import schema_labels
from data_adapters.spikes._folder import listing
from repcompare.errors import FormatError, OptionError, some, suggest
from repcompare.labels.schema import representation

IDS = ("frame_image_id", "video_id", "condition_hash")
UM = 1000.0  # micrometres per mm


@dataclass(frozen=True, kw_only=True)
class SensoriumOptions:
    """Options of Sensorium folders.

    Attributes
    ----------
    tier : str or list of str, optional
        Only these trials: ``"train"``, ``"validation"``, ``"test"`` ....
    frame_rate : float
        Frames per second of films.
    skip_frames : int
        Frames left out at the beginning of each film.
    memory : int or str
        Largest array of responses.
    """

    tier: Any = None
    frame_rate: float = 30.0
    skip_frames: int = 50
    memory: int | str = MEMORY


def is_sensorium(path: str) -> bool:
    """Say whether a folder has the layout of the competitions."""
    return os.path.isdir(os.path.join(path, "data", "responses")) and os.path.isdir(os.path.join(path, "meta"))


def read_sensorium(path: str, options: SensoriumOptions) -> xr.Dataset:
    """Read a Sensorium folder.

    Parameters
    ----------
    path : str
        The folder with ``data/responses/<trial>.npy``, ``meta/neurons`` and ``meta/trials``.
    options : SensoriumOptions
        ``tier=``, ``frame_rate=``, ``skip_frames=``, ``memory=``.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit) of pictures, (presentation, unit, time) of films; tiers whose responses are all
        exactly 0 are withheld: NaN, and ``stimulus_withheld``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When trials differ in their neurons, or have no names.  Trials without a file of responses are left out with a note.
    """
    if not 0 < options.frame_rate < np.inf or options.skip_frames < 0:
        raise OptionError(
            f"frame_rate={options.frame_rate}, skip_frames={options.skip_frames}: expected frames per second above 0, "
            "and a number of frames"
        )
    notes: list[str] = []
    trials = _numbered(os.path.join(path, "data", "responses"))
    labels = _columns(os.path.join(path, "meta", "trials"), notes)
    last = max(trials)
    short = {k: len(v) for k, v in labels.items() if v.ndim == 1 and len(v) <= last}
    if short:
        name, n = next(iter(short.items()))
        raise FormatError(
            f"{path}: meta/trials/{name}.npy has {n} entries; trial {last} has responses; expected one each"
        )
    _note_absent(trials, labels, notes)
    chosen = _in_tier(path, sorted(trials), labels, options)
    responses = _responses(path, chosen, trials, options)
    names = _names(path, chosen, labels, notes)
    coords: dict[str, Any] = {"stimulus_id": names, "repeat": running_count(names), "stimulus_trial": np.array(chosen)}
    for name, values in labels.items():
        if values.ndim == 1 and values.dtype.kind in "Uifub":
            label = {"tiers": "stimulus_tier"}.get(name, f"stimulus_{name}")
            if label not in coords:
                coords[label] = values[chosen]
    _withhold(responses, coords, notes)
    coords |= _neurons(path, responses.shape[1], notes)
    return _dataset(path, responses, coords, options, notes)


def _note_absent(trials: dict[int, str], labels: dict[str, np.ndarray], notes: list[str]) -> None:
    """Say which trials have no file: those of withheld tiers may be left out of a release, others are lost."""
    n = max([max(trials) + 1, *(len(v) for v in labels.values() if v.ndim == 1)])
    absent = [t for t in range(n) if t not in trials]
    if absent:
        notes.append(f"{len(absent)} of {n} trials have no file in data/responses: left out (trials {some(absent)})")


def _numbered(folder: str) -> dict[int, str]:
    """Return the files of trials by their number; one listing."""
    found = {int(n[:-4]): os.path.join(folder, n) for n in listing(folder) if re.fullmatch(r"\d{1,9}\.npy", n)}
    if not found:
        raise FormatError(f"{folder}: no files 0.npy, 1.npy ...; expected one per trial")
    return found


def _columns(folder: str, notes: list[str]) -> dict[str, np.ndarray]:
    found = {}
    for name in listing(folder):
        if not name.endswith(".npy"):
            continue
        try:
            found[name[:-4]] = array_of(os.path.join(folder, name))
        except FormatError as error:
            if "dtype object" not in str(error):
                raise
            notes.append(f"{name_of(folder)}/{name} holds Python objects: left out")
    return {k: v for k, v in found.items() if v.ndim}


def _in_tier(path: str, trials: list[int], labels: dict[str, np.ndarray], options: SensoriumOptions) -> list[int]:
    if options.tier is None:
        return trials
    if "tiers" not in labels:
        raise OptionError(f"{path}: tier={options.tier!r}: the folder has no meta/trials/tiers.npy of text")
    wanted = [str(t) for t in np.atleast_1d(options.tier)]
    tiers = labels["tiers"]
    known = sorted({str(tiers[t]) for t in trials})
    for name in wanted:
        if name not in known:
            raise OptionError(f"{path}: no tier {name!r}{suggest(name, known)}")
    return [t for t in trials if str(tiers[t]) in wanted]


def _responses(path: str, chosen: list[int], files: dict[int, str], options: SensoriumOptions) -> np.ndarray:
    """Return the responses of the trials, (trial, neuron[, frame]); films of unequal length are padded with NaN."""
    limit = parse_memory(options.memory)
    seen: dict[bytes, tuple[tuple[int, ...], bool, np.dtype[Any], int]] = {}
    rows = []
    held = 0
    for trial in chosen:
        rows.append(_small(files[trial], seen))
        held += 4 * rows[-1].size
        if held > limit:
            raise FormatError(f"{path}: the responses take more than {limit} bytes; choose a tier= or raise memory=")
    dims = {r.ndim for r in rows}
    neurons = {r.shape[0] for r in rows if r.ndim}
    if dims not in ({1}, {2}) or len(neurons) != 1 or 0 in neurons:
        raise FormatError(
            f"{path}: trials of shapes {sorted({r.shape for r in rows})}; expected (neuron[, frame]), the same"
        )
    if dims == {1}:
        return np.stack(rows)
    rows = [r[:, options.skip_frames :] for r in rows]
    longest = max(r.shape[1] for r in rows)
    if not longest:
        raise FormatError(f"{path}: no frames are left after skip_frames={options.skip_frames}; expected longer films")
    if 4 * len(rows) * rows[0].shape[0] * longest > limit:
        raise FormatError(
            f"{path}: padded to {longest} frames the responses take more than {limit} bytes; raise memory="
        )
    out = np.full((len(rows), rows[0].shape[0], longest), np.nan, np.float32)
    for padded, row in zip(out, rows, strict=True):
        padded[:, : row.shape[1]] = row
    return out


def _small(file: str, seen: dict[bytes, tuple[tuple[int, ...], bool, np.dtype[Any], int]]) -> np.ndarray:
    """Return one small array; files of one folder share their header, which is read once."""
    with guard(file, "a numpy .npy file"):
        with open(file, "rb") as handle:
            data = handle.read()
        length = 10 + int.from_bytes(data[8:10], "little")
        start = data[:length]
        if start not in seen:
            stream = io.BytesIO(data)
            shape, fortran, dtype = header(stream, file)
            if dtype.kind not in "fiub":
                raise FormatError(f"{file}: has dtype {dtype}; expected responses as numbers")
            seen[start] = shape, fortran, dtype, stream.tell()
        shape, fortran, dtype, offset = seen[start]
        if len(data) - offset != math.prod(shape) * dtype.itemsize:
            raise FormatError(
                f"{file}: header declares {shape} {dtype}; the file has {len(data) - offset} bytes after it"
            )
        values = np.frombuffer(data, dtype, offset=offset).reshape(shape, order="F" if fortran else "C")
        return values.astype(np.float32)


def _names(path: str, chosen: list[int], labels: dict[str, np.ndarray], notes: list[str]) -> np.ndarray:
    for name in IDS:
        if name in labels and labels[name].ndim == 1 and labels[name].dtype.kind in "Uiuf":
            notes.append(f"stimulus: meta/trials/{name}")
            return as_text(labels[name][chosen], f"{path}: {name}")
    for kind in ("images", "videos"):
        folder = os.path.join(path, "data", kind)
        if os.path.isdir(folder):
            notes.append(f"stimulus: SHA-256 of the file in data/{kind}")
            return np.array([_digest(os.path.join(folder, f"{t}.npy")) for t in chosen], dtype=np.str_)
    raise FormatError(
        f"{path}: no stimulus names: neither meta/trials/{IDS[0]}.npy nor data/images; expected one of them"
    )


def _digest(file: str) -> str:
    with guard(file, "the stimulus of a trial"), open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def _withhold(responses: np.ndarray, coords: dict[str, Any], notes: list[str]) -> None:
    """Tiers without a single response other than 0 were not published: their values are missing, not zero."""
    tiers = coords.get("stimulus_tier")
    if tiers is None:
        return
    tiers = np.asarray(tiers).astype(np.str_)
    empty = ~np.any(np.nan_to_num(responses) != 0, axis=tuple(range(1, responses.ndim)))
    gone = [t for t in np.unique(tiers).tolist() if empty[tiers == t].all()]
    withheld = np.isin(tiers, gone)
    coords["stimulus_withheld"] = withheld
    if gone:
        responses[withheld] = np.nan
        line = f"responses of tier {', '.join(gone)} are all 0: withheld, {int(withheld.sum())} trials set to NaN"
        notes.append(line)
        warnings.warn(line, UserWarning, stacklevel=2)


def _neurons(path: str, n: int, notes: list[str]) -> dict[str, np.ndarray]:
    columns = _columns(os.path.join(path, "meta", "neurons"), notes)
    wrong = {k: v.shape for k, v in columns.items() if len(v) != n}
    if wrong:
        raise FormatError(
            f"{path}: meta/neurons has {wrong} entries; the responses have {n} neurons; expected one each"
        )
    places = columns.pop("cell_motor_coordinates", None)
    found = {f"unit_{k}": v for k, v in columns.items() if v.ndim == 1 and v.dtype.kind in "Uifub"}
    ids = found.pop("unit_unit_ids", None)
    found = schema_labels(found, "sensorium")
    if places is not None and places.ndim == 2 and places.shape[1] == 3:
        found |= {f"unit_{axis}": places[:, i].astype(np.float64) / UM for i, axis in enumerate("xyz")}
    found["unit_id"] = np.arange(n).astype(np.str_) if ids is None else as_text(ids, f"{path}: unit_ids")
    return found


def _dataset(
    path: str, responses: np.ndarray, coords: dict[str, Any], options: SensoriumOptions, notes: list[str]
) -> xr.Dataset:
    attrs: dict[str, Any] = {"modality": "spikes", "response_units": "a.u.", "source": f"{name_of(path)} (sensorium)"}
    attrs["history"] = notes
    if responses.ndim == 2:
        return representation(responses, dims=("presentation", "unit"), attrs=attrs, **coords)
    if options.skip_frames:
        notes.append(f"the first {options.skip_frames} frames of each film left out; time counts from its beginning")
    notes.append(f"time: frames at {options.frame_rate:g} Hz; shorter films end in NaN")
    seconds = (options.skip_frames + np.arange(responses.shape[2])) / options.frame_rate
    return representation(responses, dims=("presentation", "unit", "time"), attrs=attrs, time=seconds, **coords)
