"""CIFTI-2 files: grayordinates and parcels.

Layout: "CIFTI-2 file format", version 2 (NITRC): a NIfTI-2 header, an extension of XML that describes both axes, a matrix.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._guard import guard
from data_adapters._lazy import wide
from data_adapters._options import name_of
from data_adapters.fmri._header import Header, read_header
from data_adapters.fmri._options import SurfaceOptions, files_of
from data_adapters.fmri._rows import Chosen, Table
from data_adapters.fmri._runs import Run, to_dataset
from data_adapters.fmri.nifti import run_labels
from repcompare.errors import FormatError, OptionError, choose, some

INDEX = "CIFTI_INDEX_TYPE_"
STRUCTURE = "CIFTI_STRUCTURE_"
CODE, START = 32, 544  # code of the extension; where extensions begin
SPATIAL = ("BRAIN_MODELS", "PARCELS")


@dataclass(frozen=True)
class Axes:
    """Both axes of a file."""

    rows: ET.Element
    columns: ET.Element
    kinds: tuple[str, str]


class Matrix:
    """The matrix of a file, mapped into memory when it is read: (rows, units), rows the fastest."""

    def __init__(self, header: Header, shape: tuple[int, int]) -> None:
        self.header, self.shape, self.label = header, shape, header.path
        self.is_plain = header.slope == 1.0 and header.inter == 0.0
        self.dtype = header.dtype if self.is_plain else wide(header.dtype, header.path)

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        return guard(self.label, "the matrix that its header declares")

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Read a block."""
        mapped = np.memmap(self.header.path, self.header.dtype, "r", self.header.offset, self.shape, "F")
        block = np.array(mapped[key])
        return block if self.is_plain else (block * self.header.slope + self.header.inter).astype(self.dtype)


def read_cifti(path: str | Sequence[str], options: SurfaceOptions) -> xr.Dataset:
    """Read CIFTI-2 files as grayordinates or parcels; values stay on disk.

    Parameters
    ----------
    path : str or list of str
        ``.dtseries.nii``, ``.ptseries.nii``, ``.dscalar.nii``, ``.pscalar.nii``; several are runs of the same units.
    options : SurfaceOptions
        ``hemisphere=``, ``stimuli=``, ``events=``, ``tr=``, cleaning, labels.

    Returns
    -------
    xarray.Dataset
        (time, unit) for series, (stimulus, unit) for maps.

    Raises
    ------
    FormatError, OptionError, SchemaError
        For label files, connectivity matrices, damaged files, and files of other units.
    """
    files = files_of(path)
    notes: list[str] = []
    attrs = {"modality": "fmri", "source": f"{name_of(files[0])} (CIFTI-2)"}
    runs, units = cifti_runs(files, notes)
    if options.hemisphere is not None:
        runs, units = _one_side(runs, units, options.hemisphere, notes)
    return to_dataset(runs, units, options, attrs, notes)


def cifti_runs(files: Sequence[str], notes: list[str]) -> tuple[list[Run], dict[str, Any]]:
    """Return the runs of CIFTI files and the labels of their units."""
    labels = run_labels(files, notes) if len(files) > 1 else [dict[str, Any]()]
    runs: list[Run] = []
    units: dict[str, Any] = {}
    for file, label in zip(files, labels, strict=True):
        with guard(file, "a CIFTI-2 file"):
            run, found = _run(file, label)
        if units and not np.array_equal(units["unit_id"], found["unit_id"]):
            raise FormatError(
                f"{file}: other units than {name_of(files[0])} ({len(found['unit_id'])} and {len(units['unit_id'])}); "
                "expected the same grayordinates in the same order"
            )
        units = units or found
        runs.append(run)
    return runs, units


def _one_side(
    runs: Sequence[Run], units: dict[str, Any], side: str, notes: list[str]
) -> tuple[list[Run], dict[str, Any]]:
    """Return runs and labels of the units of one hemisphere."""
    choose(side, ("left", "right"), "hemisphere")
    here = units["unit_hemisphere"]
    places = np.flatnonzero(here == side)
    if not places.size:
        found = ", ".join(sorted({str(h) or "none" for h in here.tolist()}))
        raise OptionError(f"{runs[0].path}: hemisphere={side!r}: no unit lies there alone; found {found}; leave it out")
    notes.append(f"hemisphere {side}: {places.size} of {here.size} units")
    return [replace(r, rows=Chosen(r.rows, places)) for r in runs], {k: v[places] for k, v in units.items()}


def _run(file: str, label: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    header = read_header(file)
    if not 3000 <= header.intent < 3100 or header.name != "NIfTI-2" or header.packed:
        raise FormatError(
            f"{file}: intent {header.intent}; expected a CIFTI-2 file (3000 to 3099); read volumes as nifti"
        )
    axes = _axes(file, header)
    if len(header.shape) != 6 or header.shape[:4] != (1, 1, 1, 1):
        raise FormatError(f"{file}: shape {header.shape}; expected (1, 1, 1, 1, rows, units)")
    n, p = header.shape[4:]
    units = _brain_models(file, axes.columns) if axes.kinds[1] == "BRAIN_MODELS" else _parcels(file, axes.columns)
    if len(units["unit_id"]) != p:
        raise FormatError(f"{file}: {p} columns, but the XML describes {len(units['unit_id'])}; the file is damaged")
    rows = Table(Matrix(header, (n, p)))
    if axes.kinds[0] == "SERIES":
        start, step = _series(file, axes.rows, n)
        return Run(file, rows, step, None, label, start or 0.0), units
    names = [(m.findtext("MapName") or "").strip() or f"map/{i}" for i, m in enumerate(axes.rows.findall("NamedMap"))]
    if len(names) != n:
        raise FormatError(f"{file}: {n} rows, but {len(names)} map names; the file is damaged")
    return Run(file, rows, None, np.array(names, dtype=np.str_), label), units


def _axes(file: str, header: Header) -> Axes:
    """Return the descriptions of rows (dimension 0) and columns (dimension 1)."""
    root = _xml(file, header.offset)
    found: dict[str, ET.Element] = {}
    for item in root.iter("MatrixIndicesMap"):
        for dim in item.get("AppliesToMatrixDimension", "").split(","):
            found[dim.strip()] = item
    if set(found) != {"0", "1"}:
        raise FormatError(f"{file}: describes the dimensions {some(sorted(found))}; expected 0 (rows) and 1 (units)")
    kinds = [found[d].get("IndicesMapToDataType", "").removeprefix(INDEX) for d in ("0", "1")]
    if kinds[0] in SPATIAL:
        raise FormatError(
            f"{file}: both axes are places in the brain: connectivity, not responses; expected a series or maps as rows"
        )
    if kinds[0] == "LABELS":
        raise FormatError(f"{file}: holds labels of regions, not responses; expected .dtseries, .ptseries or .dscalar")
    if kinds[0] not in ("SERIES", "SCALARS") or kinds[1] not in SPATIAL:
        raise FormatError(f"{file}: axes {kinds}; expected SERIES or SCALARS by BRAIN_MODELS or PARCELS")
    return Axes(found["0"], found["1"], (kinds[0], kinds[1]))


def _xml(file: str, offset: int) -> ET.Element:
    with open(file, "rb") as handle:
        handle.seek(START)
        data = handle.read(max(0, min(offset, os.path.getsize(file)) - START))
    order = "<" if open_order(file) else ">"
    at = 0
    while at + 8 <= len(data):
        size, code = np.frombuffer(data, order + "i4", 2, at).tolist()
        if size < 8 or at + size > len(data):
            break
        if code == CODE:
            text = data[at + 8 : at + size].rstrip(b"\0")
            if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:
                raise FormatError(f"{file}: its XML declares documents or entities; expected none; do not trust it")
            try:
                return ET.fromstring(text)
            except (ET.ParseError, ValueError, LookupError) as error:
                raise FormatError(f"{file}: its XML is damaged ({error}); copy or write the file again") from None
        at += size
    raise FormatError(
        f"{file}: no CIFTI-2 description before its data; expected XML (extension {CODE}); is it CIFTI-1?"
    )


def open_order(file: str) -> bool:
    """Say whether the header is little-endian."""
    with open(file, "rb") as handle:
        return int.from_bytes(handle.read(4), "little") == 540


def _series(file: str, axis: ET.Element, n: int) -> tuple[float | None, float | None]:
    """Return start and step in s; None where rows are no seconds."""
    try:
        scale = 10.0 ** int(axis.get("SeriesExponent", "0"))
        start, step = float(axis.get("SeriesStart", "0")) * scale, float(axis.get("SeriesStep", "nan")) * scale
        points = int(axis.get("NumberOfSeriesPoints", str(n)))
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{file}: its series is damaged ({error}); expected start and step") from None
    if points != n:
        raise FormatError(f"{file}: {n} rows, but a series of {points} points; the file is damaged")
    if axis.get("SeriesUnit") != "SECOND" or not np.isfinite([start, step]).all() or step <= 0:
        return None, None
    return start, step


def _whole(file: str, element: ET.Element | None, width: int = 1) -> np.ndarray:
    text = "" if element is None else element.text or ""
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{file}: indices of vertices or voxels are damaged ({error})") from None
    if values.size % width:
        raise FormatError(f"{file}: {values.size} numbers for voxels; expected three for each")
    return values.reshape(-1, width) if width > 1 else values


def _brain_models(file: str, axis: ET.Element) -> dict[str, Any]:
    """Return the labels of grayordinates."""
    ids: list[str] = []
    structure: list[np.ndarray] = []
    vertex, voxel = [], []
    at = 0
    for model in sorted(axis.findall("BrainModel"), key=lambda m: int(m.get("IndexOffset", "0"))):
        name = model.get("BrainStructure", "").removeprefix(STRUCTURE)
        is_surface = model.get("ModelType", "").endswith("SURFACE")
        vertices = _whole(file, model.find("VertexIndices")) if is_surface else np.empty(0, np.int64)
        voxels = np.empty((0, 3), np.int64) if is_surface else _whole(file, model.find("VoxelIndicesIJK"), 3)
        n = len(vertices) or len(voxels)
        if int(model.get("IndexCount", "-1")) != n or int(model.get("IndexOffset", "-1")) != at:
            raise FormatError(
                f"{file}: {name} has {n} places from {at}; its description says {model.get('IndexCount')} from "
                f"{model.get('IndexOffset')}; the file is damaged"
            )
        at += n
        structure.append(np.full(n, name))
        if is_surface:
            ids += [f"{name}/{v}" for v in vertices.tolist()]
            voxels = np.full((n, 3), -1)
        else:
            ids += [f"{name}/{i}-{j}-{k}" for i, j, k in voxels.tolist()]
            vertices = np.full(n, -1)
        vertex.append(vertices)
        voxel.append(voxels)
    if not ids:
        raise FormatError(f"{file}: describes no units; expected grayordinates")
    region = np.concatenate(structure)
    labels = {"unit_id": np.array(ids, dtype=np.str_), "unit_region": region, "unit_hemisphere": _hemisphere(region)}
    vertices, voxels = np.concatenate(vertex), np.concatenate(voxel)
    if (vertices >= 0).any():
        labels["unit_vertex"] = vertices.astype(np.int32)
    return labels | (_positions(file, axis, voxels) if (voxels >= 0).any() else {})


def _hemisphere(names: np.ndarray) -> np.ndarray:
    left, right = np.char.endswith(names, "_LEFT"), np.char.endswith(names, "_RIGHT")
    return np.where(left, "left", np.where(right, "right", ""))


def _positions(file: str, axis: ET.Element, voxels: np.ndarray) -> dict[str, Any]:
    """Return ``unit_i/j/k`` (-1 for vertices) and ``unit_x/y/z`` in mm (NaN for vertices)."""
    labels: dict[str, Any] = {f"unit_{a}": voxels[:, n].astype(np.int32) for n, a in enumerate("ijk")}
    matrix = axis.find("Volume/TransformationMatrixVoxelIndicesIJKtoXYZ")
    if matrix is None:
        return labels
    try:
        affine = np.array((matrix.text or "").split(), dtype=np.float64).reshape(4, 4)
        affine[:3] *= 10.0 ** (int(matrix.get("MeterExponent", "-3")) + 3)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{file}: the affine of its volume is damaged ({error}); expected 4 x 4 numbers") from None
    mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    mm[voxels[:, 0] < 0] = np.nan
    return labels | {f"unit_{a}": mm[:, n] for n, a in enumerate("xyz")}


def _parcels(file: str, axis: ET.Element) -> dict[str, Any]:
    names, sides = [], []
    for parcel in axis.findall("Parcel"):
        names.append(parcel.get("Name", ""))
        places = [v.get("BrainStructure", "") for v in parcel.findall("Vertices")]
        found = {str(s) for s in _hemisphere(np.array(places, dtype=np.str_)).tolist()} if places else {""}
        sides.append(found.pop() if len(found) == 1 else "both")
    if not names:
        raise FormatError(f"{file}: describes no units; expected parcels")
    array = np.array(names, dtype=np.str_)
    return {"unit_id": array, "unit_region": array, "unit_hemisphere": np.array(sides, dtype=np.str_)}
