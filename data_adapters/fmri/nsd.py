"""Betas of the Natural Scenes Dataset (Allen et al. 2022, Nature Neuroscience 25:116): sessions of 750 trials by picture."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import numbered, running_count, stimulus_names
from data_adapters._lazy import labelled, responses
from data_adapters._mat5 import variables
from data_adapters._options import name_of
from data_adapters.fmri import _grid
from data_adapters.fmri._header import Header, read_header
from data_adapters.fmri._options import NiftiOptions, NsdOptions, files_of
from data_adapters.fmri._rows import (
    Beside,
    Cleaned,
    DatasetVolumes,
    Gathered,
    ImageVolumes,
    Index,
    Joined,
    Rows,
    Volumes,
)
from data_adapters.fmri.nifti import units_of
from repcompare.errors import FormatError, OptionError

TRIALS = 750  # per session
SCALE = 300.0  # stored int16 = percent signal change x 300
SESSION = re.compile(r"session(\d+)")
SIDE = re.compile(r"^([lr])h\.")
SUBJECT = re.compile(r"subj0?([1-8])(?!\d)")
DESIGN = "nsd_expdesign.mat"
ELSEWHERE = (DESIGN, f"nsddata/experiments/nsd/{DESIGN}", f"experiments/nsd/{DESIGN}")
LEVELS_UP = 8
CHECKED = 9  # trials in which a voxel must be 0 to be no voxel


@dataclass(frozen=True)
class Session:
    """One file of betas."""

    path: str
    number: int
    side: str
    volumes: Volumes
    grid: tuple[int, int, int]
    header: Header | None


def read_nsd(path: str | Sequence[str], options: NsdOptions) -> xr.Dataset:
    """Read betas of one subject.

    Parameters
    ----------
    path : str or list of str
        ``betas_sessionNN.hdf5`` or ``.nii.gz`` (volumes), or ``lh.betas_sessionNN.mgh`` (surface); several sessions
        follow one another, hemispheres are put side by side.
    options : NsdOptions
        ``mask=``, ``atlas=``, ``expdesign=``, ``subject=``, ``stimuli=``, ``zscore_session=``, labels.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit) in percent signal change; ``stimulus_id`` is ``nsd-00013`` (counted from 0),
        ``session`` the session's number, ``repeat`` the running count over the sessions read.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When files, mask, design or labels do not fit.
    """
    sessions = sorted((_session(f) for f in files_of(path)), key=lambda s: (s.side, s.number))
    notes: list[str] = []
    sides = list(dict.fromkeys(s.side for s in sessions))
    numbers = [s.number for s in sessions if s.side == sides[0]]
    for side in sides[1:]:
        if [s.number for s in sessions if s.side == side] != numbers:
            raise FormatError(f"{sessions[0].path}: other sessions of the two hemispheres; expected the same of both")
    rows, units = _units(sessions, sides, options, notes)
    counts = [s.volumes.n for s in sessions if s.side == sides[0]]
    session = np.repeat(numbers, counts)
    names = _names(sessions[0].path, numbers, counts, options, notes)
    if options.zscore_session:
        notes.append("z-scored per session (divisor n); what is constant within a session is NaN there")
        rows = Cleaned(rows, session, np.empty((session.size, 0)), True)
    coords: dict[str, Any] = {"stimulus_id": names, "repeat": running_count(names), "session": session, **units}
    notes.append("repeat: running count of each picture over the sessions read")
    attrs = {
        "modality": "fmri",
        "response_units": "z" if options.zscore_session else "percent signal change",
        "source": f"{name_of(sessions[0].path)} (NSD)",
        "history": notes,
    }
    ds = labelled(responses(rows, ("presentation", "unit"), "flatten"), attrs, {**coords, **options.labels})
    ds.set_close(partial(_close, [s.volumes for s in sessions]))
    return ds


def _close(stacks: Sequence[Volumes]) -> None:
    for stack in stacks:
        if isinstance(stack, DatasetVolumes):
            stack.files.close()


def _session(file: str) -> Session:
    name = os.path.basename(file)
    found, side = SESSION.search(name), SIDE.match(name)
    if not found:
        raise FormatError(f"{file}: no session in its name; expected betas_sessionNN")
    if not file.lower().endswith(".hdf5"):
        header = read_header(file)
        volumes = ImageVolumes(header)
        return Session(file, int(found[1]), side[1] if side else "", volumes, header.grid, header)
    with _hdf5.opened(file, "betas of the Natural Scenes Dataset") as handle:
        betas = _hdf5.get(handle, "betas")
        if not isinstance(betas, h5py.Dataset) or betas.ndim != 4 or betas.dtype.kind not in "fi" or 0 in betas.shape:
            raise FormatError(
                f"{file}: no dataset betas (trial, Z, Y, X) of numbers; found {', '.join(handle) or 'nothing'}"
            )
        _hdf5.check_size(betas)
        k, j, i = betas.shape[1:]
        stack = DatasetVolumes(_hdf5.manager(file, int(np.prod(betas.shape[1:])) * 2), betas, f"{file}: betas")
    return Session(file, int(found[1]), "", stack, (i, j, k), None)


def _divisor(session: Session) -> float:
    """Stored integers are percent x 300; the surface files hold percent."""
    return SCALE if session.volumes.dtype.kind == "i" else 1.0


def _units(
    sessions: Sequence[Session], sides: Sequence[str], options: NsdOptions, notes: list[str]
) -> tuple[Rows, dict[str, Any]]:
    first = sessions[0]
    other = next((s for s in sessions if s.grid != first.grid and s.side == first.side), None)
    if other is not None:
        raise FormatError(
            f"{other.path}: volumes {other.grid}; {name_of(first.path)} has {first.grid}; expected the same"
        )
    if first.side:
        return _vertices(sessions, sides, options, notes)
    like = first.header or _like(first, options, notes)
    if options.mask is None and options.atlas is None:
        flat = _grid.c_order(np.flatnonzero(_used(first, notes)), first.grid)
        units = _grid.voxel_labels(flat, first.grid, like.affine)
    else:
        flat, units = units_of(
            [like], NiftiOptions(mask=options.mask, atlas=options.atlas, regions=options.regions), notes
        )
        used = _used(first, notes)[flat]
        if not used.any():
            raise FormatError(
                f"{first.path}: all {flat.size} voxels of the mask are 0 (invalid); is it of this subject?"
            )
        flat, units = flat[used], {k: v[used] for k, v in units.items()}
    if first.header is None and not isinstance(
        options.mask if options.mask is not None else options.atlas, str | os.PathLike
    ):
        notes.append("HDF5 has no affine: positions in mm are unknown; give mask= an image")
        units = {k: v for k, v in units.items() if k not in ("unit_x", "unit_y", "unit_z")}
    parts = [Gathered(s.volumes, flat, _divisor(s)) for s in sessions]
    if _divisor(first) != 1:
        notes.append(f"stored integers divided by {SCALE:g}: percent signal change")
    return (parts[0] if len(parts) == 1 else Joined(parts)), units


def _like(session: Session, options: NsdOptions, notes: list[str]) -> Header:
    """Return a header for the grid of an HDF5 file, with the affine of the mask or atlas where there is one."""
    image = next((m for m in (options.mask, options.atlas) if isinstance(m, str | os.PathLike)), None)
    affine = np.eye(4) if image is None else read_header(os.fspath(image)).affine
    dtype = np.dtype(session.volumes.dtype)
    return Header(session.path, "HDF5", session.grid, dtype, 0, 1.0, 0.0, affine, None, 0)


def _used(session: Session, notes: list[str]) -> np.ndarray:
    """Return which places of a flat volume are not 0 in every one of a few trials."""
    n = session.volumes.n
    rows = np.unique(np.linspace(0, n - 1, min(n, CHECKED)).astype(np.intp))
    used: np.ndarray = np.zeros(int(np.prod(session.grid)), bool)
    for volume in session.volumes.each(rows):
        used |= (volume != 0) & (volume == volume)
    if not used.any():
        raise FormatError(f"{session.path}: all values of {rows.size} trials are 0; expected betas")
    if not used.all():
        notes.append(
            f"{int((~used).sum())} of {used.size} voxels are 0 in all of {rows.size} trials looked at: invalid, left out"
        )
    return used


def _vertices(
    sessions: Sequence[Session], sides: Sequence[str], options: NsdOptions, notes: list[str]
) -> tuple[Rows, dict[str, Any]]:
    if options.mask is not None or options.atlas is not None:
        raise OptionError("mask= and atlas= are for volumes; choose vertices of a surface with ds.isel(unit=...)")
    beside, vertex, side_of = [], [], []
    for side in sides:
        mine = [s for s in sessions if s.side == side]
        flat: Index = np.arange(int(np.prod(mine[0].grid)))
        parts = [Gathered(s.volumes, flat, _divisor(s)) for s in mine]
        beside.append(parts[0] if len(parts) == 1 else Joined(parts))
        vertex.append(flat)
        side_of.append(np.full(flat.size, "left" if side == "l" else "right"))
    where, index = np.concatenate(side_of), np.concatenate(vertex)
    ids = [f"{s}/{v}" for s, v in zip(where.tolist(), index.tolist(), strict=True)]
    units = {
        "unit_id": np.array(ids, dtype=np.str_),
        "unit_vertex": index.astype(np.int32),
        "unit_hemisphere": where,
    }
    return (beside[0] if len(beside) == 1 else Beside(beside)), units


def _names(
    path: str, numbers: Sequence[int], counts: Sequence[int], options: NsdOptions, notes: list[str]
) -> np.ndarray:
    n = sum(counts)
    if options.stimuli is not None:
        found, origin, note = stimulus_names(options.stimuli, path, {})
        names = numbered(n) if found is None else found
        notes.append(note)
        if len(names) != n:
            raise FormatError(f"{path}: {n} trials, but {origin} gives {len(names)} names; expected one for each")
        return names
    file = options.expdesign or _design_near(path)
    subject = options.subject or _subject(path)
    order, pictures = _design(os.fspath(file), subject)
    odd = next((c for c in counts if c != TRIALS), None)
    if odd is not None:
        raise FormatError(f"{path}: {odd} trials; expected {TRIALS} per session, as the design has; give stimuli=")
    trial = np.concatenate([TRIALS * (s - 1) + np.arange(TRIALS) for s in numbers])
    if trial.max() >= order.size or trial.min() < 0:
        raise FormatError(f"{path}: session {max(numbers)}; the design has {order.size // TRIALS} sessions")
    ids = pictures[order[trial] - 1] - 1
    notes.append(f"stimulus names from {name_of(os.fspath(file))}, subject {subject}: pictures counted from 0")
    return np.array([f"nsd-{i:05d}" for i in ids.tolist()], dtype=np.str_)


def _design(file: str, subject: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of trials (from 1 into the subject's pictures) and the subject's pictures (from 1)."""
    if not os.path.isfile(file):
        raise FormatError(f"{file}: no such file; give expdesign= the file {DESIGN}")
    content = variables(file, {"masterordering", "subjectim"})
    order, pictures = content.get("masterordering"), content.get("subjectim")
    good = all(isinstance(v, np.ndarray) and v.dtype.kind in "fiu" and v.ndim == 2 for v in (order, pictures))
    if not good or order is None or pictures is None:
        raise FormatError(
            f"{file}: no masterordering and subjectim in it; found {', '.join(content)}; expected {DESIGN}"
        )
    if not 1 <= subject <= len(pictures):
        raise OptionError(f"subject={subject}: the design has subjects 1 to {len(pictures)}")
    order, mine = order.ravel().astype(np.int64), pictures[subject - 1].astype(np.int64)
    if order.size == 0 or order.min() < 1 or order.max() > mine.size or mine.min() < 1:
        raise FormatError(f"{file}: masterordering leaves the {mine.size} pictures of subjectim; the file is damaged")
    return order, mine


def _design_near(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(LEVELS_UP):
        for name in ELSEWHERE:
            if os.path.isfile(os.path.join(folder, name)):
                return os.path.join(folder, name)
        folder = os.path.dirname(folder)
    raise FormatError(f"{path}: no {DESIGN} in the folders above; give expdesign= this file, or stimuli= the pictures")


def _subject(path: str) -> int:
    found = SUBJECT.findall(os.path.abspath(path))
    if not found:
        raise OptionError(f"{path}: no subject (subj01 to subj08) in the path; give subject=")
    return int(found[-1])
