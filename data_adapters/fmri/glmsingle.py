"""Single-trial betas as GLMsingle saves them, from Python (HDF5, pickled numpy) and MATLAB (v5 to v7.3)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import numbered, running_count, stimulus_names
from data_adapters._lazy import labelled, responses
from data_adapters._options import name_of
from data_adapters.fmri import _grid
from data_adapters.fmri._header import Header, read_header
from data_adapters.fmri._options import GlmsingleOptions
from data_adapters.fmri._rows import STEP, DatasetVolumes, Gathered, Index, Rows
from repcompare.errors import FormatError

BETAS = ("betasmd", "modelmd")
MAPS = ("R2", "noisepool", "HRFindex", "FRACvalue", "meanvol", "glmbadness")
MOST_MAP = 2 * 10**9


@dataclass(frozen=True)
class Results:
    """Betas and maps of a file.

    Attributes
    ----------
    grid : tuple of int
        Axes of space: three, or one for lists of voxels.
    n : int
        Number of trials.
    rows : callable
        Flat places (last axis fastest) to rows (trial, unit).
    maps : mapping of str to ndarray
        One value per place, flat, the last axis fastest.
    """

    grid: tuple[int, ...]
    n: int
    rows: Callable[[Index], Rows]
    maps: Mapping[str, np.ndarray]


class Slabs(Rows):
    """An array (..., trial), on disk or not, whose trials lie side by side: read slab by slab along its first axis."""

    def __init__(
        self, open_array: Callable[[], Any], shape: tuple[int, ...], dtype: np.dtype[Any], flat: Index, label: str
    ) -> None:
        self.open_array, self.stored, self.flat = open_array, shape, flat
        self.shape, self.dtype, self.label = (shape[-1], flat.size), dtype, label

    def block(self, rows: Index, units: Index) -> np.ndarray:
        """Return a block."""
        inner = math.prod(self.stored[1:-1])
        wanted = self.flat[units]
        first = wanted // inner
        out = np.empty((rows.size, units.size), self.dtype.newbyteorder("="))
        step = max(1, STEP // max(1, inner * self.stored[-1] * self.dtype.itemsize))
        with self.guard():
            array = self.open_array()
            for start in range(0, self.stored[0], step):
                mine = np.flatnonzero((first >= start) & (first < start + step))
                if mine.size:
                    slab = np.asarray(array[start : start + step]).reshape(-1, self.stored[-1])
                    out[:, mine] = slab[wanted[mine] - start * inner][:, rows].T
        return out


class _Stored:
    """Opens a dataset of a file each time it is needed."""

    def __init__(self, files: Any, name: str) -> None:
        self.files, self.name = files, name

    def __call__(self) -> Any:
        return self.files.acquire()[self.name]


class _Held:
    """An array in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(self) -> Any:
        return self.values


def read_glmsingle(path: str, options: GlmsingleOptions) -> xr.Dataset:
    """Read single-trial betas.

    Parameters
    ----------
    path : str
        ``TYPEA_ONOFF`` to ``TYPED_FITHRF_GLMDENOISE_RR`` as ``.hdf5``, ``.mat`` or ``.npy``.
    options : GlmsingleOptions
        ``design=`` names the trials, ``mask=`` and ``affine=`` the voxels.

    Returns
    -------
    xarray.Dataset
        ``response`` (presentation, unit) in percent signal change; ``R2``, ``noisepool`` ... as ``unit_*``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file has no betas, or the design or mask do not fit.
    """
    found, close = _open(path)
    notes: list[str] = []
    if options.design is None:
        raise FormatError(
            f"{path}: nothing names its {found.n} trials; expected design= the stimulus of each trial, in order (a list, a "
            "file), or 'positional'"
        )
    names, origin, note = stimulus_names(options.design, path, {})
    trials = numbered(found.n) if names is None else names
    if len(trials) != found.n:
        raise FormatError(f"{path}: {found.n} trials, but {origin} gives {len(trials)} names; expected one for each")
    notes.append(note.replace("stimuli=", "design="))
    flat, units = _voxels(path, found, options, notes)
    maps = {f"unit_{k}": v[flat] for k, v in found.maps.items()}
    coords: dict[str, Any] = {"stimulus_id": trials, "repeat": running_count(trials), **units, **maps, **options.labels}
    notes.append("repeat: running count of each stimulus")
    attrs = {
        "modality": "fmri",
        "response_units": "percent signal change",
        "source": f"{name_of(path)} (GLMsingle)",
        "history": notes,
    }
    rows = found.rows(flat)
    ds = labelled(responses(rows, ("presentation", "unit"), "flatten"), attrs, coords)
    ds.set_close(close)
    return ds


def _voxels(path: str, found: Results, options: GlmsingleOptions, notes: list[str]) -> tuple[Index, dict[str, Any]]:
    """Return the places of the voxels (last axis fastest) and their labels."""
    like = None
    for image in (options.affine, options.mask):
        if like is None and isinstance(image, str | os.PathLike):
            like = read_header(os.fspath(image))
    if like is not None and len(found.grid) == 3 and like.grid != found.grid:
        raise FormatError(
            f"{like.path}: has shape {like.grid}; the betas of {name_of(path)} have {found.grid}; expected the same"
        )
    if options.mask is not None:
        flat = np.flatnonzero(_mask(path, found, options.mask, like, notes))
    elif "R2" in found.maps:
        flat = np.flatnonzero(np.isfinite(found.maps["R2"]))
        notes.append(f"no mask: {flat.size} of {math.prod(found.grid)} voxels with a finite R2")
    else:
        flat = np.arange(math.prod(found.grid))
        notes.append(f"no mask: all {flat.size} voxels")
    if not flat.size:
        raise FormatError(f"{path}: no voxel is left of {found.grid}; check mask=")
    if len(found.grid) == 1:
        return flat, {"unit_id": np.array([f"voxel/{i}" for i in flat.tolist()], dtype=np.str_)}
    i, j, k = found.grid
    voxels = np.unravel_index(flat, found.grid)
    first_fastest = np.ravel_multi_index(voxels, found.grid, order="F")
    labels = _grid.voxel_labels(np.asarray(first_fastest), (i, j, k), np.eye(4) if like is None else like.affine)
    if like is None:
        notes.append("no affine: positions in mm are unknown; give mask= or affine= an image")
        labels = {name: v for name, v in labels.items() if name not in ("unit_x", "unit_y", "unit_z")}
    return flat, labels


def _mask(path: str, found: Results, mask: Any, like: Header | None, notes: list[str]) -> np.ndarray:
    if isinstance(mask, str | os.PathLike) and like is not None:
        return np.asarray(_grid.masked(mask, like, notes).ravel())
    values = np.asarray(mask)
    if values.shape != found.grid:
        raise FormatError(
            f"mask= has shape {values.shape}; the betas of {name_of(path)} have {found.grid}; expected the same"
        )
    return np.asarray(values > 0).ravel()


def _open(path: str) -> tuple[Results, Callable[[], None] | None]:
    with open(path, "rb") as handle:
        head = handle.read(8)
        handle.seek(512)
        later = handle.read(8)
    if _hdf5.MAGIC in (head, later):
        return _from_hdf5(path)
    if head == b"MATLAB 5":
        from data_adapters._mat5 import variables

        return _from_arrays(path, variables(path, {*BETAS, *MAPS})), None
    if head[:6] == b"\x93NUMPY":
        return _from_arrays(path, _unpickled(path)), None
    raise FormatError(
        f"{path}: first 8 bytes {head.hex(' ')}; expected HDF5, a MATLAB file or a numpy file of GLMsingle"
    )


def _unpickled(path: str) -> Mapping[str, Any]:
    """Return the dictionary that GLMsingle pickles into .npy files, through the restricted reader of pickles."""
    from data_adapters.fmri._pickled import dictionary

    return dictionary(path, 'let GLMsingle write HDF5 (params["wanthdf5"] = 1)')


def _from_arrays(path: str, content: Mapping[str, Any]) -> Results:
    betas = next((content[n] for n in BETAS if isinstance(content.get(n), np.ndarray)), None)
    if betas is None:
        raise FormatError(
            f"{path}: no {' or '.join(BETAS)} in it; found {', '.join(content) or 'nothing'}; expected betas"
        )
    _check(path, betas.shape, betas.dtype)
    maps: dict[str, np.ndarray] = {}
    for name in MAPS:
        values = content.get(name)
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
            _keep(maps, name, values, betas.shape[:-1])

    def rows(flat: Index) -> Rows:
        return Slabs(_Held(betas), betas.shape, betas.dtype, flat, path)

    return Results(betas.shape[:-1], betas.shape[-1], rows, maps)


def _check(path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (2, 4) or 0 in shape or dtype.kind not in "fiu":
        raise FormatError(
            f"{path}: betas of shape {shape}, {dtype}; expected numbers (X, Y, Z, trial) or (voxel, trial)"
        )


def _keep(maps: dict[str, np.ndarray], name: str, values: np.ndarray, grid: tuple[int, ...]) -> None:
    """Keep a map that has one value per voxel."""
    if values.size == math.prod(grid) and (values.shape == grid or len([n for n in values.shape if n > 1]) <= 1):
        maps[name] = values.reshape(-1)


def _first_fastest(flat: Index, grid: tuple[int, ...]) -> Index:
    return np.asarray(np.ravel_multi_index(np.unravel_index(flat, grid), grid, order="F"))


def _from_hdf5(path: str) -> tuple[Results, Callable[[], None]]:
    with _hdf5.opened(path, "results of GLMsingle") as file:
        betas = next((d for d in (_hdf5.get(file, n) for n in BETAS) if isinstance(d, h5py.Dataset)), None)
        if betas is None:
            raise FormatError(
                f"{path}: no {' or '.join(BETAS)} in it; found {', '.join(file) or 'nothing'}; expected betas"
            )
        _check(path, betas.shape, betas.dtype)
        _hdf5.check_size(betas)
        turned = "MATLAB_class" in betas.attrs
        shape = betas.shape[::-1] if turned else betas.shape
        grid = shape[:-1]
        maps: dict[str, np.ndarray] = {}
        for name in MAPS:
            item = _hdf5.get(file, name)
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
                values = _hdf5.values(item, MOST_MAP)
                _keep(maps, name, values.T if turned else values, grid)
        files = _hdf5.manager(path)
        name = str(betas.name)
        stack = DatasetVolumes(files, betas, f"{path}: {name.strip('/')}") if turned else None
        dtype, label = betas.dtype, f"{path}: {name.strip('/')}"

    def rows(flat: Index) -> Rows:
        if stack is not None:
            return Gathered(stack, _first_fastest(flat, grid))
        return Slabs(_Stored(files, name), shape, dtype, flat, label)

    return Results(grid, shape[-1], rows, maps), files.close
