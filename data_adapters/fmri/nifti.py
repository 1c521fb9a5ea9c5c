"""NIfTI images: runs, stacks and lists of volumes as voxels."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._guard import guard
from data_adapters._options import name_of
from data_adapters.fmri import _bids, _grid
from data_adapters.fmri._header import Header, read_header
from data_adapters.fmri._options import NiftiOptions, files_of
from data_adapters.fmri._rows import Gathered, ImageVolumes, Index
from data_adapters.fmri._runs import Run, to_dataset
from repcompare.errors import FormatError

NUMBER_OF_RUN = re.compile(r"(?:^|[_/\\-])run[-_]?(\d+)", re.IGNORECASE)


def read_nifti(path: str | Sequence[str], options: NiftiOptions) -> xr.Dataset:
    """Read NIfTI (or MGH) images as voxels; values stay on disk.

    Parameters
    ----------
    path : str or list of str
        A 4-D image (a run), a 3-D image (a response), a pattern (``run-*_bold.nii.gz``) or a list of either.
    options : NiftiOptions
        ``mask=``, ``atlas=``, ``events=``, ``stimuli=``, ``tr=``, cleaning, labels.

    Returns
    -------
    xarray.Dataset
        4-D images: ``response`` (time, unit), or (presentation, unit) with ``events=``; 3-D images, and 4-D ones with
        ``stimuli=``: (stimulus, unit).  Units are voxels in C order.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When images, mask, atlas, events or labels do not fit together.
    """
    files = files_of(path)
    headers = [open_image(file) for file in files]
    notes = list(dict.fromkeys(note for h in headers for note in h.notes))
    for other in headers[1:]:
        _grid.same_grid(headers[0], other, "this image")
    flat, units = units_of(headers, options, notes)
    runs = runs_of(files, headers, flat, notes)
    source = name_of(files[0]) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    attrs = {"modality": "fmri", "source": f"{source} ({headers[0].name})"}
    return to_dataset(runs, units, options, attrs, notes)


def open_image(file: str) -> Header:
    """Read the header of an image of voxels.

    Raises
    ------
    FormatError
        When it is a CIFTI file, or has more axes than space and time.
    """
    with guard(file, "a NIfTI image"):
        header = read_header(file)
    if 3000 <= header.intent < 3100:
        raise FormatError(f"{file}: is a CIFTI file (grayordinates); expected a volume; read it with format='cifti'")
    long = [n for n in header.shape[3:] if n > 1]
    if len(long) > 1:
        raise FormatError(f"{file}: has shape {header.shape}; expected three axes of space and one of time")
    return header


def units_of(headers: Sequence[Header], options: NiftiOptions, notes: list[str]) -> tuple[Index, dict[str, Any]]:
    """Return the places of the voxels in a flat volume, and their labels."""
    first = headers[0]
    region = None
    if options.atlas is not None:
        region = _grid.regions_at(options.atlas, options.regions, first, notes)
    if options.mask is not None:
        flat = _grid.places(_grid.masked(options.mask, first, notes))
    elif region is not None:
        flat = _grid.c_order(np.flatnonzero(region != ""), first.grid)
        notes.append(f"no mask: {flat.size} voxels of the atlas")
        if not flat.size:
            raise FormatError(f"{options.atlas}: is 0 everywhere; expected numbers of regions")
    else:
        flat = _flat_varying(headers, notes)
    labels = _grid.voxel_labels(flat, first.grid, first.affine)
    if region is not None:
        labels["unit_region"] = region[flat]
    return flat, labels


def _flat_varying(headers: Sequence[Header], notes: list[str]) -> Index:
    """Voxels that vary in every file (of single volumes: that are finite and not 0 in every file)."""
    first = headers[0]
    kept = np.ones(int(np.prod(first.grid)), bool)
    found: list[str] = []
    for header in headers:
        mine = np.zeros(kept.size, bool)
        with guard(header.path, "the image that its header declares"):
            mine[_grid.varying(ImageVolumes(header), header.path, found)] = True
        kept &= mine
    if not kept.any():
        raise FormatError(f"{first.path}: no voxel varies in all of {len(headers)} files; give mask=")
    notes.append(
        found[0] if len(headers) == 1 else f"no mask: {int(kept.sum())} of {kept.size} voxels vary in every file"
    )
    return _grid.c_order(np.flatnonzero(kept), first.grid)


def runs_of(files: Sequence[str], headers: Sequence[Header], flat: Index, notes: list[str]) -> list[Run]:
    """Return one run per file; single volumes are named by their files."""
    single = all(h.n_volumes == 1 for h in headers)
    if not single and len(files) > 1 and any(h.n_volumes == 1 for h in headers):
        odd = next(h for h in headers if h.n_volumes == 1)
        raise FormatError(
            f"{odd.path}: has one volume, other files have more; expected runs or single volumes, not both"
        )
    labels = run_labels(files, notes) if not single else [{} for _ in files]
    if single:
        notes.append("stimulus names from the names of the files")
    runs = []
    for file, header, label in zip(files, headers, labels, strict=True):
        tr = header.tr
        if tr is None and not single:
            tr = _bids.repetition_time(file)
            notes += [f"{name_of(file)}: RepetitionTime of its JSON file"] if tr else []
        names = np.array([stem(file)], dtype=np.str_) if single else None
        runs.append(Run(file, Gathered(ImageVolumes(header), flat), tr, names, label))
    return runs


def stem(file: str) -> str:
    """Return the name of a file without folder and suffixes."""
    return re.sub(r"(\.nii|\.hdr|\.img|\.mgh|\.mgz|\.gii)?(\.gz)?$", "", os.path.basename(file), flags=re.IGNORECASE)


def run_labels(files: Sequence[str], notes: list[str]) -> list[dict[str, Any]]:
    """Return ``run`` (and ``session``) of each file: from its name, else its folder, else its place in the list."""
    folders = [os.path.basename(os.path.dirname(os.path.abspath(f))) for f in files]
    found = [_run_in(os.path.basename(f)) or _run_in(d) for f, d in zip(files, folders, strict=True)]
    sessions = [_bids.parse_name(f).entities.get("ses") for f in files]
    marks = [(s, str(f.get("run"))) for s, f in zip(sessions, found, strict=True)]
    if not all(found) or len(set(marks)) < len(files):
        if len(files) > 1:
            notes.append("run: the place of each file in the list, from 1")
        found = [{"run": i + 1} for i in range(len(files))]
    for label, session in zip(found, sessions, strict=True):
        if any(sessions):
            label["session"] = session or ""
    if len(set(sessions)) > 1 and len({f["run"] for f in found}) < len(files):
        notes.append("run: session and run, since runs are counted anew in each session")
        for label in found:
            label["run"] = f"ses-{label['session']}_run-{label['run']}"
    return found


def _run_in(name: str) -> dict[str, Any]:
    numbers = NUMBER_OF_RUN.findall(name)
    return {"run": int(numbers[-1])} if numbers else {}
