"""GIFTI files: vertices of a surface, one hemisphere per file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._options import name_of
from data_adapters.fmri import _bids, _gifti_file
from data_adapters.fmri._gifti_file import Gifti
from data_adapters.fmri._options import RunOptions, SurfaceOptions, files_of
from data_adapters.fmri._rows import Beside, Index, Rows
from data_adapters.fmri._runs import Run, to_dataset
from data_adapters.fmri.nifti import run_labels, stem
from repcompare.errors import FormatError, OptionError, choose

SIDES = {"CortexLeft": "left", "CortexRight": "right"}
SHAPES = ("NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE", "NIFTI_INTENT_VECTOR")
SIDE_IN_NAME = re.compile(r"(?:^|[._-])(?:hemi-)?(L|R|lh|rh)(?=[._-])")


class GiftiRows(Rows):
    """The arrays of a file as rows; an array (n_vertices, n_rows) gives its columns."""

    def __init__(self, path: str, found: Gifti) -> None:
        arrays = found.arrays
        self.path, self.label = path, path
        self.columns = len(arrays) == 1 and len(arrays[0].shape) == 2
        first = arrays[0]
        n = first.shape[1] if self.columns else len(arrays)
        self.shape = (n, first.shape[0])
        self.dtype = np.result_type(*(a.dtype for a in arrays))

    def each(self, rows: Index, units: Index) -> Iterator[np.ndarray]:
        """Yield rows, in one pass through the file."""
        if self.columns:
            values = next(_gifti_file.arrays(self.path, [0]))
            yield from values[units][:, rows].T
            return
        for values in _gifti_file.arrays(self.path, rows.tolist()):
            yield values.reshape(-1)[units]


def read_gifti(path: str | Sequence[str], options: SurfaceOptions) -> xr.Dataset:
    """Read GIFTI files as vertices; numbers are unpacked when they are indexed.

    Parameters
    ----------
    path : str or list of str
        Files of one hemisphere are runs (or maps) one after the other; those of the other one are put beside them.
    options : SurfaceOptions
        ``hemisphere=``, ``tr=``, ``stimuli=``, ``events=``, cleaning, labels.

    Returns
    -------
    xarray.Dataset
        (time, unit) for time series, (stimulus, unit) for maps; units are vertices.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When a file is damaged, holds a surface or labels, or files do not fit together.
    """
    files = files_of(path)
    notes: list[str] = []
    attrs = {"modality": "fmri", "source": f"{name_of(files[0])} (GIFTI)"}
    runs, units = surface_runs(files, options, notes)
    return to_dataset(runs, units, options, attrs, notes)


def surface_runs(files: Sequence[str], options: RunOptions, notes: list[str]) -> tuple[list[Run], dict[str, Any]]:
    """Return the runs of GIFTI files with both hemispheres side by side, and the labels of the vertices."""
    found = {file: _checked(file, _gifti_file.scan(file)) for file in files}
    sides: dict[str, list[str]] = {}
    for file in files:
        sides.setdefault(_side(file, found[file], getattr(options, "hemisphere", None), notes), []).append(file)
    order = sorted(sides)
    counts = {side: len(sides[side]) for side in order}
    if len(set(counts.values())) > 1:
        raise FormatError(f"{files[0]}: {counts} files per hemisphere; expected as many of each; name them all")
    rows = {side: [GiftiRows(f, found[f]) for f in sides[side]] for side in order}
    for side in order:
        _same_vertices(rows[side], order)
    leading = sides[order[0]]
    labels = run_labels(leading, notes) if len(leading) > 1 else [dict[str, Any]()]
    clocked = options.tr is not None or any(_is_series(found[f]) for f in leading)
    runs = []
    for i, file in enumerate(leading):
        beside = [rows[side][i] for side in order]
        if len({r.shape[0] for r in beside}) > 1:
            raise FormatError(
                f"{sides[order[1]][i]}: {beside[1].shape[0]} rows; {name_of(file)} has {beside[0].shape[0]}; "
                "expected as many in both hemispheres"
            )
        whole: Rows = beside[0] if len(beside) == 1 else Beside(beside)
        names = None if clocked else _names(file, found[file], beside[0].shape[0], len(leading))
        runs.append(Run(file, whole, _bids.repetition_time(file) if clocked else None, names, labels[i]))
    return runs, _vertices({side: rows[side][0].shape[1] for side in order})


def _checked(file: str, found: Gifti) -> Gifti:
    arrays = found.arrays
    if not arrays:
        raise FormatError(f"{file}: is empty: no arrays; expected one per row")
    intents = {a.intent for a in arrays}
    if intents & set(SHAPES):
        raise FormatError(
            f"{file}: is a surface (points and triangles), not responses; expected .func.gii or .shape.gii"
        )
    if "NIFTI_INTENT_LABEL" in intents:
        raise FormatError(f"{file}: holds labels of regions, not responses; give them as unit_region=")
    shapes = {a.shape for a in arrays}
    flat = len(shapes) == 1 and (len(arrays[0].shape) == 1 or (len(arrays) == 1 and len(arrays[0].shape) == 2))
    if not flat or 0 in arrays[0].shape:
        raise FormatError(f"{file}: arrays of shapes {sorted(shapes)[:3]}; expected one number per vertex in each")
    return found


def _side(file: str, found: Gifti, given: str | None, notes: list[str]) -> str:
    if given is not None:
        choose(given, ("left", "right"), "hemisphere")
        return given
    said = found.meta.get("AnatomicalStructurePrimary") or found.arrays[0].meta.get("AnatomicalStructurePrimary", "")
    if said in SIDES:
        return SIDES[said]
    marks = SIDE_IN_NAME.findall(os.path.basename(file))
    if marks:
        return "left" if marks[0] in ("L", "lh") else "right"
    notes.append(f"{name_of(file)}: hemisphere unknown; give hemisphere=")
    return ""


def _same_vertices(rows: Sequence[GiftiRows], order: Sequence[str]) -> None:
    for other in rows[1:]:
        if other.shape[1] != rows[0].shape[1]:
            hint = "; give hemisphere= or name the files by hemi-L and hemi-R" if order == [""] else ""
            raise FormatError(
                f"{other.path}: {other.shape[1]} vertices; {name_of(rows[0].path)} has {rows[0].shape[1]}; expected the "
                f"same surface{hint}"
            )


def _is_series(found: Gifti) -> bool:
    return found.arrays[0].intent == "NIFTI_INTENT_TIME_SERIES"


def _names(file: str, found: Gifti, n: int, n_files: int) -> np.ndarray:
    """Names of rows: of the arrays where each has its own, else from the file's name."""
    names = [a.meta.get("Name", "") for a in found.arrays]
    if len(names) == n and all(names) and len(set(names)) == n and n_files == 1:
        return np.array(names, dtype=np.str_)
    if n == 1:
        return np.array([stem(file)], dtype=np.str_)
    return np.array([f"{stem(file)}/{i}" for i in range(n)], dtype=np.str_)


def _vertices(counts: dict[str, int]) -> dict[str, Any]:
    if "" in counts and len(counts) > 1:
        raise OptionError("the hemisphere of some files is not known; give hemisphere=, or read the hemispheres apart")
    vertex = np.concatenate([np.arange(n) for n in counts.values()]).astype(np.int32)
    side = np.repeat(np.array(list(counts), dtype=np.str_), list(counts.values()))
    ids = [f"{s}/{v}" if s else f"vertex/{v}" for s, v in zip(side.tolist(), vertex.tolist(), strict=True)]
    return {"unit_id": np.array(ids, dtype=np.str_), "unit_vertex": vertex, "unit_hemisphere": side}
