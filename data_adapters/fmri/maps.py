"""Maps over voxels or vertices as NIfTI and GIFTI images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import FormatError, MissingExtraError, OptionError, SchemaError, some, suggest
from repcompare.labels.store import atomic

Floats = npt.NDArray[np.float32]
VOLUMES, SURFACES = (".nii", ".nii.gz"), (".gii",)
ON_GRID = 1e-3  # how far a position may be from the grid, in mm


def write_map(
    result: xr.Dataset, path: str | os.PathLike[str], *, like: Any = None, variable: str = "score", fill: float = np.nan
) -> None:
    """Write a map over units, such as a searchlight's, as an image.

    Parameters
    ----------
    result : xarray.Dataset
        ``variable`` has the dim ``unit`` and at most one more, each entry of which becomes a volume (or a GIFTI array).
    path : path
        ``.nii``, ``.nii.gz``: a volume; ``.gii``: a surface, one file per hemisphere.
    like : path or image of nibabel, optional
        For a volume: its grid and its affine.  Without it the affine follows from ``unit_x/y/z`` and ``unit_i/j/k``, and the
        grid ends with the last voxel.  For a surface: its number of vertices.
    variable : str
        ``"score"``, ``"score_pvalue_corrected"``, ``"n_units"`` ...
    fill : float
        Value outside the map.

    Raises
    ------
    SchemaError
        When there is no such variable, or the units have no voxel indices (no vertices).
    OptionError
        For another suffix.
    FormatError
        When ``like`` does not fit or cannot be read.
    MissingExtraError
        When nibabel is not installed.

    Examples
    --------
    >>> import os, tempfile, numpy as np, xarray as xr
    >>> i, j, k = np.indices((2, 2, 2)).reshape(3, -1)
    >>> voxels = {"unit_i": ("unit", i), "unit_j": ("unit", j), "unit_k": ("unit", k)}
    >>> places = {"unit_x": ("unit", 2.0 * i), "unit_y": ("unit", 2.0 * j), "unit_z": ("unit", 3.0 * k)}
    >>> result = xr.Dataset({"score": ("unit", np.arange(8.0))}, coords=voxels | places)
    >>> path = os.path.join(tempfile.mkdtemp(), "score.nii")
    >>> write_map(result, path)
    >>> import nibabel
    >>> nibabel.load(path).shape
    (2, 2, 2)
    """
    nibabel = _nibabel()
    name = Path(os.fspath(path)).name.lower()
    values, names = _values(result, variable)
    if name.endswith(VOLUMES):
        _write_volume(nibabel, result, path, (values, names), (like, fill))
    elif name.endswith(SURFACES):
        _write_surface(nibabel, result, path, (values, names), (like, fill))
    else:
        raise OptionError(f"{os.fspath(path)}: expected a name that ends in {', '.join((*VOLUMES, *SURFACES))}")


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError('images need nibabel; install it with: pip install "repcompare[fmri]"') from None
    return nibabel


def _values(result: xr.Dataset, variable: str) -> tuple[Floats, list[str]]:
    """Return a variable as (n_maps, n_units), and the names of the maps."""
    if variable not in result:
        known = [str(name) for name, v in result.data_vars.items() if "unit" in v.dims]
        raise SchemaError(f"no variable {variable!r} over units{suggest(variable, known)}")
    found = result[variable]
    others = [d for d in found.dims if d != "unit"]
    if "unit" not in found.dims or len(others) > 1 or found.dtype.kind not in "fiub":
        raise SchemaError(
            f"{variable} has dims {found.dims} and dtype {found.dtype}; expected numbers over unit and at most one more dim;"
            " pick one of the others by isel()"
        )
    table = np.asarray(found.transpose(*others, "unit").values, dtype=np.float32)
    if not others:
        return table[None], [variable]
    labels = found[others[0]].values if others[0] in found.coords else np.arange(len(table))
    return table, [str(label) for label in labels.tolist()]


def _write_volume(
    nibabel: Any, result: xr.Dataset, path: Any, maps: tuple[Floats, list[str]], options: tuple[Any, float]
) -> None:
    like, fill = options
    voxels = _coordinates(result, "ijk", "voxel indices unit_i, unit_j, unit_k").astype(np.int64)
    if (voxels < 0).any():
        raise SchemaError(f"voxel indices go down to {voxels.min()}; expected indices from 0")
    if like is None:
        shape, affine, header = tuple((voxels.max(axis=0) + 1).tolist()), _affine(result, voxels), None
    else:
        image = _opened(nibabel, like)
        shape, affine, header = tuple(image.shape[:3]), image.affine, image.header
        if len(shape) != 3 or affine is None or (voxels >= np.array(shape)).any():
            raise FormatError(
                f"like: an image of shape {image.shape}, voxel indices up to {voxels.max(axis=0).tolist()}; expected the"
                " image that the units come from"
            )
    values, names = maps
    grid = np.full((*shape, len(values)), fill, dtype=np.float32)
    grid[tuple(voxels.T)] = values.T
    made = nibabel.Nifti1Image(grid if len(values) > 1 else grid[..., 0], affine)
    if header is not None:
        made.header.set_xyzt_units(*header.get_xyzt_units()) if hasattr(header, "get_xyzt_units") else None
        made.header.set_sform(affine, code=int(header["sform_code"]) or 1) if "sform_code" in header else None
    made.header["descrip"] = ", ".join(names).encode("ascii", "replace")[:79]
    _save(path, lambda part: nibabel.save(made, part))


def _write_surface(
    nibabel: Any, result: xr.Dataset, path: Any, maps: tuple[Floats, list[str]], options: tuple[Any, float]
) -> None:
    like, fill = options
    if "unit_vertex" not in result.coords:
        raise SchemaError(
            "units have no unit_vertex; expected the index of each vertex; a volume is written as .nii.gz"
        )
    sides = (
        sorted(set(result["unit_hemisphere"].values.astype(str).tolist())) if "unit_hemisphere" in result.coords else []
    )
    if len(sides) > 1:
        raise SchemaError(
            f"units are of the hemispheres {some(sides)}; a GIFTI file holds one; write each:"
            " result.isel(unit=result.unit_hemisphere == 'left')"
        )
    vertices = result["unit_vertex"].values.astype(np.int64)
    n = int(vertices.max()) + 1 if like is None else len(_opened(nibabel, like).darrays[0].data)
    if vertices.min() < 0 or vertices.max() >= n or np.unique(vertices).size < vertices.size:
        raise FormatError(f"unit_vertex: {vertices.min()} to {vertices.max()}; expected distinct vertices below {n}")
    image = nibabel.gifti.GiftiImage()
    structure = {"l": "CortexLeft", "r": "CortexRight"}.get(sides[0][:1].lower()) if sides else None
    if structure:
        image.meta["AnatomicalStructurePrimary"] = structure
    for row, name in zip(*maps, strict=True):
        whole = np.full(n, fill, dtype=np.float32)
        whole[vertices] = row
        image.add_gifti_data_array(
            nibabel.gifti.GiftiDataArray(
                whole, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32", meta={"Name": name}
            )
        )
    _save(path, lambda part: nibabel.save(image, part))


def _save(path: Any, write: Callable[[str], None]) -> None:
    """Write under a temporary name with the suffix that the format goes by, then put it in place."""
    suffix = next(s for s in (".nii.gz", *VOLUMES, *SURFACES) if os.fspath(path).lower().endswith(s))
    with atomic(path) as part:
        named = part.with_name(part.name + suffix)
        try:
            write(str(named))
            os.replace(named, part)
        finally:
            named.unlink(missing_ok=True)


def _opened(nibabel: Any, like: Any) -> Any:
    if not isinstance(like, (str, os.PathLike)):
        return like
    try:
        return nibabel.load(like)
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise FormatError(f"{os.fspath(like)}: no image ({error}); give the image that the units come from") from None


def _coordinates(result: xr.Dataset, axes: str, what: str) -> npt.NDArray[np.float64]:
    if not all(f"unit_{axis}" in result.coords for axis in axes):
        raise SchemaError(f"units have no {what}; found {some(map(str, result.coords))}; keep the labels of the units")
    return np.stack([result[f"unit_{axis}"].values.astype(np.float64) for axis in axes], axis=1)


def _affine(result: xr.Dataset, voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the affine (4, 4) that positions in mm and voxel indices show; an axis with one index has steps of 1 mm."""
    places = _coordinates(result, "xyz", "positions unit_x, unit_y, unit_z in mm: give like=, the image they come from")
    used = np.ptp(voxels, axis=0) > 0
    design = np.column_stack([voxels[:, used], np.ones(len(voxels))])
    solved = np.linalg.lstsq(design, places, rcond=None)[0]
    gap = float(np.abs(design @ solved - places).max())
    if gap > ON_GRID or np.linalg.matrix_rank(design) < design.shape[1]:
        raise SchemaError(f"positions are up to {gap:.3g} mm from a regular grid of the voxel indices; give like=")
    affine = np.eye(4)
    affine[:3, :3][:, used] = solved[:-1].T
    free = np.linalg.svd(affine[:3, :3][:, used].T)[2][int(used.sum()) :].T
    axes = np.flatnonzero(~used)
    if axes.size:  # their sign is unknown: towards right, front, top
        affine[:3, axes] = free * np.sign(free[np.abs(free).argmax(axis=0), np.arange(axes.size)])
    affine[:3, 3] = solved[-1] - affine[:3, axes] @ voxels[0, axes]
    return affine
