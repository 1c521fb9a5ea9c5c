"""The voxels of an image as units: masks, atlases, positions in mm, names of regions."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_adapters._labels import label_file
from data_adapters._options import name_of
from data_adapters.fmri._header import Affine, Header, read_header
from data_adapters.fmri._rows import ImageVolumes, Index, Volumes
from repcompare.errors import FormatError, OptionError

NEAR = 1e-3  # mm, and relative size of the steps of a grid
NUMBERS, NAMES = ("index", "value", "number", "id", "key", "label_id", "roi"), ("name", "label", "region", "structure")


def same_grid(one: Header, other: Header, what: str) -> None:
    """Check that two images have the same grid.

    Raises
    ------
    FormatError
        Naming both shapes or both affines.
    """
    if one.grid != other.grid:
        raise FormatError(
            f"{other.path}: {what} has shape {other.grid}; {name_of(one.path)} has {one.grid}; expected the same grid; "
            "resample one of them to the other"
        )
    gap = float(np.abs(one.affine - other.affine).max())
    if gap > NEAR:
        raise FormatError(
            f"{other.path}: {what} lies elsewhere: its affine differs by {gap:.4g} from that of {name_of(one.path)}: "
            f"{_short(other.affine)} and {_short(one.affine)}; expected the same space; resample one of them to the other"
        )


def _short(affine: Affine) -> str:
    return str(np.round(affine[:3], 4).tolist())


def image_values(path: str) -> tuple[Header, np.ndarray]:
    """Read an image of one volume: its header, and its values (nx, ny, nz)."""
    header = read_header(os.fspath(path))
    if header.n_volumes != 1:
        raise FormatError(f"{header.path}: has {header.n_volumes} volumes; expected one, as masks and atlases have")
    volume = next(ImageVolumes(header).each(np.array([0])))
    values = np.array(volume) * header.slope + header.inter
    return header, np.asarray(values.reshape(header.grid, order="F"))


def masked(mask: Any, like: Header, notes: list[str]) -> np.ndarray:
    """Return a mask (nx, ny, nz) of bool that fits an image.

    Parameters
    ----------
    mask : path or array
        Above 0 and finite: kept.
    like : Header
        The image.
    notes : list of str
        Lines for the history.

    Raises
    ------
    FormatError
        When shape or affine differ, or it keeps no voxel.
    """
    if isinstance(mask, str | os.PathLike):
        header, values = image_values(os.fspath(mask))
        same_grid(like, header, "the mask")
        where = header.path
        notes.append(f"mask: {name_of(where)}")
    else:
        values, where = np.asarray(mask), "mask="
        if values.dtype.kind not in "biuf":
            raise OptionError(f"mask= has dtype {values.dtype}; expected a path or an array of bool")
        if values.shape != like.grid:
            raise FormatError(
                f"mask= has shape {values.shape}; {name_of(like.path)} has {like.grid}; expected the same grid"
            )
    with np.errstate(invalid="ignore"):
        kept = np.asarray((values > 0) & np.isfinite(values))
    if not kept.any():
        raise FormatError(f"{where}: keeps no voxel (no value above 0); expected a mask of at least one voxel")
    levels = np.unique(values[kept])
    if levels.size > 1:
        notes.append(f"mask: has {levels.size} different values above 0; all of them are kept")
    return kept


def varying(volumes: Volumes, label: str, notes: list[str]) -> Index:
    """Return the places in a flat volume that are not the same number in all volumes (one volume: finite, not 0)."""
    if volumes.n == 1:
        first = np.array(next(volumes.each(np.array([0]))))
        keep = np.isfinite(first) & (first != 0)
        what = "are finite and not 0"
    else:
        keep, first = None, None
        for volume in volumes.each(np.arange(volumes.n)):
            if keep is None or first is None:
                first, keep = np.array(volume), np.zeros(volume.shape, bool)
            keep |= (volume != first) & (volume == volume)
        what = "vary"
    if keep is None or not keep.any():
        raise FormatError(
            f"{label}: none of {0 if keep is None else keep.size} voxels varies; expected responses; give mask="
        )
    notes.append(f"no mask: {int(keep.sum())} of {keep.size} voxels {what}")
    return np.flatnonzero(keep)


def c_order(flat: Index, grid: tuple[int, int, int]) -> Index:
    """Return places (first axis fastest) in the order in which the last axis is the fastest."""
    i, j, k = np.unravel_index(flat, grid, order="F")
    return np.asarray(flat[np.lexsort((k, j, i))])


def places(kept: np.ndarray) -> Index:
    """Return the places of a mask's voxels in a flat volume (first axis fastest), voxels in C order.

    Examples
    --------
    >>> places(np.ones((2, 2, 1), bool)).tolist()
    [0, 2, 1, 3]
    """
    voxels = np.nonzero(kept)
    return np.asarray(np.ravel_multi_index(voxels, kept.shape, order="F"))


def voxel_labels(flat: Index, grid: tuple[int, int, int], affine: Affine) -> dict[str, Any]:
    """Return ``unit_id``, ``unit_i/j/k`` and ``unit_x/y/z`` (mm) of voxels."""
    voxels = np.stack(np.unravel_index(flat, grid, order="F"), axis=1)
    mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    labels: dict[str, Any] = {"unit_id": np.array([f"{i}-{j}-{k}" for i, j, k in voxels.tolist()], dtype=np.str_)}
    labels |= {f"unit_{axis}": voxels[:, n].astype(np.int32) for n, axis in enumerate("ijk")}
    return labels | {f"unit_{axis}": mm[:, n] for n, axis in enumerate("xyz")}


def regions_at(atlas: Any, regions: Any, like: Header, notes: list[str]) -> np.ndarray:
    """Return the region of each place of a flat volume (first axis fastest), as text; "" where the atlas is 0.

    Raises
    ------
    FormatError, OptionError
        When the atlas is on another grid or holds other things than whole numbers, or the table of names cannot be read.
    """
    header, values = image_values(os.fspath(atlas))
    same_grid(like, header, "the atlas")
    if not np.array_equal(values, np.round(values)):
        raise FormatError(f"{header.path}: holds other values than whole numbers; expected one number per region")
    names = region_names(regions, name_of(header.path))
    numbers = values.ravel(order="F").astype(np.int64)
    levels, code = np.unique(numbers, return_inverse=True)
    unnamed = [n for n in levels.tolist() if n and n not in names]
    if unnamed:
        notes.append(f"atlas {name_of(header.path)}: {len(unnamed)} regions without a name, called by their number")
    words = ["" if n == 0 else names.get(n, str(n)) for n in levels.tolist()]
    return np.array(words, dtype=np.str_)[code.ravel()]


def region_names(regions: Any, where: str) -> dict[int, str]:
    """Return the name of each number of an atlas.

    Examples
    --------
    >>> region_names(["V1", "V2"], "atlas")
    {1: 'V1', 2: 'V2'}
    """
    if regions is None:
        return {}
    if isinstance(regions, Mapping):
        return {int(k): str(v) for k, v in regions.items()}
    if isinstance(regions, str | os.PathLike):
        return _table(os.fspath(regions))
    if not all(isinstance(r, str) for r in regions):
        raise OptionError(
            f"regions={regions!r:.60}: expected {{number: name}}, a list of names, or a table for {where}"
        )
    return {i + 1: str(name) for i, name in enumerate(regions)}


def _table(path: str) -> dict[int, str]:
    """Read numbers and names: columns by name in TSV and CSV files, else the first two words of each line."""
    if not os.path.isfile(path):
        raise OptionError(f"regions={path!r}: no such file; expected a table of numbers and names")
    if path.lower().endswith((".tsv", ".csv")):
        with open(path, encoding="utf-8", newline="") as handle:
            rows = [row for row in csv.reader(handle, delimiter="\t" if path.lower().endswith(".tsv") else ",") if row]
    else:
        rows = [line.split(None, 1) for line in label_file(path) if line.strip() and not line.startswith("#")]
    header = [word.strip().lower() for word in rows[0]] if rows else []
    number = next((header.index(n) for n in NUMBERS if n in header), None)
    name = next((header.index(n) for n in NAMES if n in header), None)
    if number is not None and name is not None and number != name:
        rows = rows[1:]
    else:
        number, name = 0, 1
    try:
        return {int(float(row[number])): row[name].strip() for row in rows}
    except (ValueError, IndexError) as error:
        raise FormatError(f"{path}: {error}; expected a number and a name in each line") from None
