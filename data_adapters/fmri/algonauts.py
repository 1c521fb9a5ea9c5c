"""The Algonauts challenges: vertices of 2023 (pictures), parcels of 2025 (films); the pickles of 2021 are refused."""

from __future__ import annotations

import os
import re
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._lazy import labelled, responses
from data_adapters._npy import NpyFile, array_of
from data_adapters._options import name_of
from data_adapters.fmri._formats import PICKLES_2021
from data_adapters.fmri._options import AlgonautsOptions
from data_adapters.fmri._pickled import dictionary
from data_adapters.fmri._rows import Beside, Joined, Rows, Table
from repcompare.errors import FormatError, OptionError, some, suggest

SIDES = {"lh": "left", "rh": "right"}
RESPONSES = "{side}_training_fmri.npy"
FOLDERS = ("", "training_fmri", "training_split/training_fmri")
IMAGES = ("training_images", "training_split/training_images", "../training_images")
MASKS = ("roi_masks", "../roi_masks", "../../roi_masks")
PICTURE = re.compile(r"train-(\d+)_(nsd-\d+)\.(?:png|jpg|jpeg)")
CODES = re.compile(r"([lr]h)\.(?!all-vertices)([\w-]+)_challenge_space\.npy")
DATASET = re.compile(r"(?:ses-(?P<ses>\w+?)_)?task-(?P<task>\w+)")
SUBJECT = re.compile(r"subj?-?\d+")


def is_challenge(folder: str) -> bool:
    """Say whether a folder is that of a subject of 2023, or the pickles of 2021."""
    if _find(folder, FOLDERS, RESPONSES.format(side="lh")) or _find(folder, FOLDERS, RESPONSES.format(side="rh")):
        return True
    return _is_2021(folder)


def _is_2021(folder: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return bool(set(PICKLES_2021) & set(names))


def _find(folder: str, places: tuple[str, ...], name: str = "") -> str | None:
    found = [os.path.join(folder, place, name) if name else os.path.join(folder, place) for place in places]
    return next((os.path.normpath(f) for f in found if os.path.exists(f)), None)


def read_algonauts(path: str, options: AlgonautsOptions) -> xr.Dataset:
    """Read one subject of a challenge.

    Parameters
    ----------
    path : str
        2023: the folder ``subjNN`` (or its ``training_split``); 2025: the HDF5 file of a subject.
    options : AlgonautsOptions
        ``rois=``; ``runs=``, ``tr=``; labels.

    Returns
    -------
    xarray.Dataset
        2023: (stimulus, unit), vertices of both hemispheres; 2025: (time, unit), one ``run`` per dataset.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When files are missing or do not fit, and for the pickles of 2021.
    """
    if path.lower().endswith(".pkl") or (os.path.isdir(path) and _is_2021(path)):
        raise FormatError(
            f"{path}: the pickles of the Algonauts challenge 2021 are never loaded; expected arrays; convert them where you "
            "trust them, to .npy of video x voxel"
        )
    return _films(path, options) if os.path.isfile(path) else _pictures(path, options)


def _pictures(folder: str, options: AlgonautsOptions) -> xr.Dataset:
    files = {side: _find(folder, FOLDERS, RESPONSES.format(side=side)) for side in SIDES}
    tables = {side: Table(NpyFile(file)) for side, file in files.items() if file is not None}
    if not tables:
        raise FormatError(
            f"{folder}: no lh_training_fmri.npy or rh_training_fmri.npy in it; expected the folder of a subject"
        )
    for side, table in tables.items():
        if len(table.shape) != 2 or 0 in table.shape:
            raise FormatError(f"{table.label}: shape {table.shape}; expected (picture, vertex) of {side}")
    notes = [f"only the {SIDES[side]} hemisphere is there" for side in tables if len(tables) == 1]
    rows = {t.shape[0] for t in tables.values()}
    names = _image_names(folder, next(f for f in files.values() if f))
    if rows != {len(names)}:
        counts = ", ".join(f"{name_of(t.label)} {t.shape[0]}" for t in tables.values())
        raise FormatError(f"{folder}: {len(names)} pictures, but rows {counts}; expected one row per picture")
    side_of = np.concatenate([np.full(t.shape[1], SIDES[s]) for s, t in tables.items()])
    index = np.concatenate([np.arange(t.shape[1]) for t in tables.values()])
    ids = [f"{s}/{i}" for s, i in zip(side_of.tolist(), index.tolist(), strict=True)]
    coords: dict[str, Any] = {"stimulus": names, "unit_id": np.array(ids, dtype=np.str_), "unit_hemisphere": side_of}
    coords |= _regions(folder, {s: t.shape[1] for s, t in tables.items()}, options.rois, notes)
    coords |= _who(folder)
    attrs = {"modality": "fmri", "source": f"{name_of(folder)} (Algonauts 2023)", "history": notes}
    whole: Rows = Beside(list(tables.values())) if len(tables) > 1 else next(iter(tables.values()))
    return labelled(responses(whole, ("stimulus", "unit"), "flatten"), attrs, {**coords, **options.labels})


def _who(path: str) -> dict[str, str]:
    found = SUBJECT.findall(os.path.abspath(path))
    return {"unit_subject": found[-1]} if found else {}


def _image_names(folder: str, responses_file: str) -> np.ndarray:
    images = _find(folder, IMAGES) or _find(os.path.dirname(responses_file), IMAGES)
    if images is None:
        raise FormatError(
            f"{folder}: no folder training_images; expected train-0001_nsd-00013.png ..., which name the rows"
        )
    found = sorted((int(m[1]), m[2]) for m in map(PICTURE.fullmatch, os.listdir(images)) if m)
    if not found:
        raise FormatError(f"{images}: no picture called train-0001_nsd-00013.png or alike; expected one per row")
    if [n for n, _ in found] != list(range(1, len(found) + 1)):
        raise FormatError(
            f"{images}: pictures {found[0][0]} to {found[-1][0]}, {len(found)} in all; expected 1 to n without gaps"
        )
    return np.array([name for _, name in found], dtype=np.str_)


def _regions(folder: str, counts: dict[str, int], rois: Any, notes: list[str]) -> dict[str, np.ndarray]:
    """Return ``unit_region``: the names of all regions that a vertex lies in, joined by ``;``."""
    masks = _find(folder, MASKS)
    if masks is None:
        notes.append("no folder roi_masks: regions are unknown")
        return {}
    found: dict[str, dict[str, str]] = {}
    for name in sorted(os.listdir(masks)):
        match = CODES.fullmatch(name)
        if match and match[1] in counts:
            found.setdefault(match[2], {})[match[1]] = os.path.join(masks, name)
    wanted = list(found) if rois is None else [rois] if isinstance(rois, str) else list(rois)
    for roi in wanted:
        if roi not in found:
            raise OptionError(f"rois: no region table {roi!r}{suggest(roi, found)}")
    columns = [_column(masks, roi, found[roi], counts) for roi in wanted]
    joined = [";".join(filter(None, words)) for words in zip(*columns, strict=True)] if columns else []
    return {"unit_region": np.array(joined, dtype=np.str_)} if joined else {}


def _column(masks: str, roi: str, files: dict[str, str], counts: dict[str, int]) -> list[str]:
    mapping = os.path.join(masks, f"mapping_{roi}.npy")
    if not os.path.isfile(mapping):
        raise FormatError(f"{mapping}: no such file; expected the names of the codes of {roi}; leave it out with rois=")
    names = {int(k): str(v) for k, v in dictionary(mapping, "leave regions out with rois=[]").items()}
    words: list[str] = []
    for side, n in counts.items():
        codes = array_of(files[side]) if side in files else np.zeros(n, np.int64)
        if codes.shape != (n,) or codes.dtype.kind not in "fiu":
            raise FormatError(f"{files.get(side, masks)}: shape {codes.shape}; expected {n} codes, one per vertex")
        words += ["" if c == 0 else names.get(int(c), str(int(c))) for c in codes.tolist()]
    return words


def _films(path: str, options: AlgonautsOptions) -> xr.Dataset:
    notes: list[str] = []
    with _hdf5.opened(path, "parcels of the Algonauts challenge 2025") as file:
        found = {name: d for name, d in _hdf5.walk(file) if _is_run(d)}
        if not found:
            raise FormatError(
                f"{path}: no datasets (sample, parcel) of numbers; found {some(file)}; expected ses-*_task-*"
            )
        wanted = (
            list(found)
            if options.runs is None
            else [options.runs]
            if isinstance(options.runs, str)
            else list(options.runs)
        )
        for name in wanted:
            if name not in found:
                raise OptionError(f"runs: no dataset {name!r}{suggest(name, found)}")
        parcels = {name: found[name].shape[1] for name in wanted}
        if len(set(parcels.values())) > 1:
            raise FormatError(f"{path}: different numbers of parcels: {some(f'{k}: {v}' for k, v in parcels.items())}")
        files = _hdf5.manager(path)
        tables: list[Rows] = [Table(_hdf5.Hdf5Source(files, found[name])) for name in wanted]
    if not np.isfinite(options.tr) or options.tr <= 0:
        raise OptionError(f"tr={options.tr!r}: expected seconds above 0")
    lengths = [t.shape[0] for t in tables]
    marks = [DATASET.search(name) for name in wanted]
    coords: dict[str, Any] = {
        "time": np.concatenate([np.round(np.arange(n) * options.tr, 9) for n in lengths]),
        "run": np.repeat(np.array(wanted, dtype=np.str_), lengths),
        "session": np.repeat(np.array([(m["ses"] or "") if m else "" for m in marks], dtype=np.str_), lengths),
        "stimulus_task": np.repeat(
            np.array([m["task"] if m else n for m, n in zip(marks, wanted, strict=True)]), lengths
        ),
        "unit_id": np.array([f"parcel/{i}" for i in range(tables[0].shape[1])], dtype=np.str_),
        **_who(os.path.basename(path)),
    }
    notes.append(f"time: {options.tr:g} s per sample, from 0 in each run")
    attrs = {"modality": "fmri", "source": f"{name_of(path)} (Algonauts 2025)", "history": notes}
    whole = tables[0] if len(tables) == 1 else Joined(tables)
    ds = labelled(responses(whole, ("time", "unit"), "flatten"), attrs, {**coords, **options.labels})
    ds.set_close(files.close)
    return ds


def _is_run(dataset: h5py.Dataset) -> bool:
    return dataset.ndim == 2 and 0 not in dataset.shape and dataset.dtype.kind in "fiu"
