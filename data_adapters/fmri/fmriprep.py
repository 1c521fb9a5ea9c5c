"""BIDS derivatives (fMRIPrep and others): runs found by the entities of their names, with their masks and confounds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._options import name_of
from data_adapters.fmri import _bids, _grid, cifti, gifti, nifti
from data_adapters.fmri._options import FmriprepOptions, files_of
from data_adapters.fmri._runs import Run, to_dataset
from repcompare.errors import FormatError, OptionError, some
from repcompare.labels.parts import tree_of

VOLUMES, SURFACES = (".nii.gz", ".nii"), (".func.gii", ".gii")
GRAYORDINATES = (".dtseries.nii", ".ptseries.nii")
CHOICES = ("sub", "ses", "task", "run", "space")
ONE_OF = ("task", "space", "res", "den", "desc", "cohort", "acq", "echo", "part", "rec")
LEVELS = (re.compile(r"sub-[A-Za-z0-9+]+"), re.compile(r"ses-[A-Za-z0-9+]+"), re.compile(r"func"))


def is_derivative(folder: str) -> bool:
    """Say whether a folder holds BIDS derivatives: by its description, or by preprocessed runs in it."""
    described = os.path.join(folder, "dataset_description.json")
    if os.path.isfile(described) and os.path.getsize(described) < 2**20:
        try:
            with open(described, encoding="utf-8") as handle:
                content = json.load(handle)
        except (ValueError, OSError, RecursionError):
            return False
        if isinstance(content, dict) and (content.get("DatasetType") == "derivative" or "GeneratedBy" in content):
            return True
    return bool(_inside(folder))


def _inside(folder: str, level: int = 0) -> list[str]:
    """Return the preprocessed runs of a folder, going down sub-, ses- and func folders only."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        raise FormatError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    found = [e.path for e in entries if e.is_file() and _is_run(e.name)]
    for entry in entries:
        deeper = [n + 1 for n in range(level, len(LEVELS)) if LEVELS[n].fullmatch(entry.name)]
        if deeper and entry.is_dir(follow_symlinks=level == 0):
            found += _inside(entry.path, deeper[0])
    return found


def _is_run(name: str) -> bool:
    found = _bids.parse_name(name)
    known = (*VOLUMES, *SURFACES, *GRAYORDINATES)
    derived = "desc" in found.entities or "space" in found.entities
    return found.suffix == "bold" and found.extension in known and "sub" in found.entities and derived


def read_fmriprep(path: str | Sequence[str], options: FmriprepOptions) -> xr.Dataset | xr.DataTree:
    """Read preprocessed runs.

    Parameters
    ----------
    path : str or list of str
        A file, files, or a folder of derivatives (of a data set, a subject, a session).
    options : FmriprepOptions
        ``sub=``, ``ses=``, ``task=``, ``run=``, ``space=`` choose; ``mask=`` replaces the mask of the same entities;
        ``confounds=`` names columns to regress out.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        One subject: (time, unit) with ``run``, ``session``, ``stimulus_task``, ``unit_subject``; several: a part for each.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When nothing is found, the choice is not clear, or a mask is missing.
    """
    is_folder = isinstance(path, str) and os.path.isdir(path)
    files = _inside(path) if is_folder and isinstance(path, str) else files_of(path)
    if not files:
        raise FormatError(
            f"{path}: no preprocessed runs in it or its func folders; expected sub-*_desc-preproc_bold.nii.gz, "
            "*_space-*_bold.func.gii or *_bold.dtseries.nii; check the path"
        )
    files = _chosen(files, options)
    subjects = list(dict.fromkeys(_entity(f, "sub") for f in files))
    parts = {s: _subject([f for f in files if _entity(f, "sub") == s], s, options) for s in subjects}
    return parts[subjects[0]] if len(parts) == 1 else tree_of({f"sub-{s}": part for s, part in parts.items()})


def _entity(file: str, key: str) -> str:
    return _bids.parse_name(file).entities.get(key, "")


def _chosen(files: Sequence[str], options: FmriprepOptions) -> list[str]:
    kept = list(files)
    for key in CHOICES:
        wanted = getattr(options, key)
        if wanted is None:
            continue
        values = [str(v).removeprefix(f"{key}-") for v in ([wanted] if isinstance(wanted, str | int) else wanted)]
        known = sorted({_entity(f, key) for f in kept} - {""})
        missing = [v for v in values if v not in known]
        if missing:
            raise OptionError(f"{key}={missing[0]!r}: no such {key}; found {some(known, 20)}")
        kept = [f for f in kept if _entity(f, key) in values]
    return kept


def _subject(files: Sequence[str], subject: str, options: FmriprepOptions) -> xr.Dataset:
    _check_clear(files)
    files = sorted(files, key=lambda f: [_number(_entity(f, "ses")), _number(_entity(f, "run")), f])
    notes: list[str] = []
    extension = _bids.parse_name(files[0]).extension
    if extension in VOLUMES:
        runs, units = _volumes(files, options, notes)
    elif extension in SURFACES:
        runs, units = gifti.surface_runs(files, options, notes)
    else:
        runs, units = cifti.cifti_runs(files, notes)
    runs = [replace(r, tr=r.tr or _bids.repetition_time(r.path), labels=_labels(r)) for r in runs]
    units |= {"unit_subject": f"sub-{subject}"}
    attrs = {"modality": "fmri", "source": f"{name_of(files[0])} (BIDS derivative)"}
    return to_dataset(runs, units, options, attrs, notes)


def _number(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def _labels(run: Run) -> dict[str, Any]:
    task, session = _entity(run.path, "task"), _entity(run.path, "ses")
    label = dict(run.labels)
    if "run" not in label:
        label["run"] = int(_entity(run.path, "run")) if _entity(run.path, "run").isdigit() else 1
    return label | ({"session": session} if session else {}) | ({"stimulus_task": task} if task else {})


def _check_clear(files: Sequence[str]) -> None:
    """Raise when files differ in what cannot be put together: task, space, resolution, kind."""
    for key in ONE_OF:
        found = sorted({_entity(f, key) for f in files})
        if len(found) > 1:
            turn = f"choose one with {key}=" if key in CHOICES else "give the files themselves"
            raise FormatError(
                f"{os.path.dirname(files[0]) or '.'}: {len(files)} files with different {key}: {some(found)}; expected one; "
                f"{turn}"
            )
    kinds = sorted({_bids.parse_name(f).extension for f in files})
    if len(kinds) > 1:
        raise FormatError(
            f"{os.path.dirname(files[0]) or '.'}: files of kinds {some(kinds)}; expected one kind; give the files"
        )


def _volumes(files: Sequence[str], options: FmriprepOptions, notes: list[str]) -> tuple[list[Run], dict[str, Any]]:
    headers = [nifti.open_image(file) for file in files]
    for other in headers[1:]:
        _grid.same_grid(headers[0], other, "this run")
    mask = options.mask
    if mask is None and options.atlas is None:
        masks = {
            f: _bids.sibling(f, "mask", ".nii.gz", desc="brain") or _bids.sibling(f, "mask", ".nii", desc="brain")
            for f in files
        }
        lacking = [f for f, m in masks.items() if m is None]
        if lacking:
            raise FormatError(f"{lacking[0]}: no *_desc-brain_mask.nii.gz of the same entities beside it; give mask=")
        found = [_grid.masked(m, h, notes) for m, h in zip(masks.values(), headers, strict=True)]
        mask = np.logical_and.reduce(found)
        if len(found) > 1:
            notes.append(f"mask: {int(mask.sum())} voxels that are in the masks of all {len(found)} runs")
    flat, units = nifti.units_of(headers, replace(options, mask=mask), notes)
    return nifti.runs_of(files, headers, flat, notes), units
