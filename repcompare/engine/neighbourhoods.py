"""Which units stand around each unit: spheres in a volume, discs on a surface, or any lists; made once, kept, reused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, FormatError, OptionError, SchemaError, choose
from repcompare.kernels.neighbourhoods import count_shifted, fill_reach, fill_shifted
from repcompare.labels.store import atomic

Ints = npt.NDArray[np.int64]
Members = npt.NDArray[np.int32]
UNITS = ("voxel", "mm")
LARGEST_GRID = 2**31 - 1  # voxels of a padded grid, counted in int32
ON_GRID = 1e-3  # how far a position may be from the grid, as a share of the voxel size
SIGNATURE = "repcompare-neighbourhoods-1"


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """The units around each unit, itself among them, as one list with a start for each (CSR).

    Attributes
    ----------
    starts : ndarray of int64, shape (n_units + 1,)
    members : ndarray of int32, shape (starts[-1],)
        Positions of units; those around unit u are ``members[starts[u]:starts[u + 1]]``.
    full : int or None
        Units of a whole sphere, where that is known.
    record : str
        What they are, in words.
    units : ndarray of str, shape (n_units,), optional
        Names of the units, checked when the lists are reused.
    """

    starts: Ints
    members: Members
    full: int | None = None
    record: str = "lists"
    units: npt.NDArray[np.str_] | None = None

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.starts) - 1

    @property
    def sizes(self) -> Ints:
        """Units around each unit, shape (n_units,)."""
        return np.diff(self.starts)

    def of(self, unit: int) -> Members:
        """Return the positions of the units around one."""
        return self.members[self.starts[unit] : self.starts[unit + 1]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file, which :func:`repcompare.neighbourhoods` reads again."""
        names = np.array([], dtype=np.str_) if self.units is None else self.units
        record = np.array([SIGNATURE, self.record, "" if self.full is None else str(self.full)])
        with atomic(path) as part, open(part, "wb") as handle:
            np.savez_compressed(handle, starts=self.starts, members=self.members, units=names, record=record)

    def check(self, names: npt.NDArray[np.str_] | None, n_units: int) -> None:
        """Raise ``AlignmentError`` unless these are the neighbourhoods of these units, in this order."""
        if self.n_units != n_units:
            raise AlignmentError(
                f"neighbourhoods of {self.n_units} units, the volume has {n_units}; make them from this volume and mask"
            )
        if names is not None and self.units is not None and not np.array_equal(names, self.units):
            first = int(np.argmax(names != self.units))
            raise AlignmentError(
                f"neighbourhoods are of other units: position {first} is {str(self.units[first])!r} there and"
                f" {str(names[first])!r} in the volume; make them from this volume and mask"
            )


def load(path: str | os.PathLike[str]) -> Neighbourhoods:
    """Read neighbourhoods that were saved.

    Raises
    ------
    FormatError
        When the file is not one of them, or its lists do not hold together.
    """
    try:
        with np.load(path) as archive:
            starts, members, units, record = (archive[n] for n in ("starts", "members", "units", "record"))
            signature, text, full = record.tolist()
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(
            f"{os.fspath(path)}: no neighbourhoods ({error}); make them by neighbourhoods() and save()"
        ) from None
    lists = Neighbourhoods(
        np.asarray(starts, np.int64), np.asarray(members, np.int32), int(full) if full else None, text, units
    )
    if signature != SIGNATURE or (units.size and units.size != lists.n_units):
        raise FormatError(f"{os.fspath(path)}: signature {signature!r}; expected {SIGNATURE!r}; make the file again")
    return _held_together(
        lists if units.size else Neighbourhoods(lists.starts, lists.members, lists.full, text), os.fspath(path)
    )


def _held_together(lists: Neighbourhoods, name: str) -> Neighbourhoods:
    starts, members = lists.starts, lists.members
    whole = starts.ndim == members.ndim == 1 and len(starts) > 1 and starts[0] == 0 and starts[-1] == len(members)
    inside = whole and (np.diff(starts) >= 0).all() and (not members.size or members.min() >= 0)
    if not inside or (members.size and members.max() >= lists.n_units):
        raise FormatError(f"{name}: the lists do not hold together: expected positions of {lists.n_units} units")
    return lists


def from_lists(lists: Sequence[Any], record: str = "lists") -> Neighbourhoods:
    """Return neighbourhoods from one sequence of positions per unit.

    Raises
    ------
    OptionError
        On positions that are not whole numbers below the number of units, or that are named twice.

    Examples
    --------
    >>> from_lists([[0, 1], [1], [2, 0]]).sizes.tolist()
    [2, 1, 2]
    """
    n = len(lists)
    arrays = [np.asarray(one) for one in lists]
    for unit, one in enumerate(arrays):
        whole = one.ndim == 1 and (one.dtype.kind in "iu" or not one.size)
        if not whole or (one.size and not 0 <= one.min() <= one.max() < n) or np.unique(one).size < one.size:
            raise OptionError(
                f"neighbours of unit {unit}: {one.tolist()!r}; expected distinct positions among {n} units, from 0"
            )
    starts = np.concatenate([[0], np.cumsum([one.size for one in arrays])]).astype(np.int64)
    return Neighbourhoods(starts, np.concatenate([*arrays, []]).astype(np.int32), None, record)


def in_volume(voxels: npt.ArrayLike, radius: float, voxel_axes: npt.ArrayLike | None = None) -> Neighbourhoods:
    """Return the units within a radius of each unit of a grid.

    Parameters
    ----------
    voxels : array_like of int, shape (n_units, 3)
        Indices of the voxels.  An axis on which all are the same is none: a single slice has discs for spheres.
    radius : float
        Distances up to it count.
    voxel_axes : array_like, shape (3, 3), optional
        Step in mm along each voxel axis, as columns; without it distances are in voxels.

    Returns
    -------
    Neighbourhoods
        One table of offsets, shifted from voxel to voxel; ``full`` is its length.

    Raises
    ------
    OptionError
        On a radius that is not positive.
    SchemaError
        When two units are one voxel.

    Examples
    --------
    >>> line = in_volume([[0, 0, 0], [1, 0, 0], [3, 0, 0]], 1.0)
    >>> line.of(0).tolist(), line.full
    ([0, 1], 3)
    """
    grid = np.asarray(voxels, dtype=np.int64)
    low, extent = grid.min(axis=0), np.ptp(grid, axis=0)
    offsets = _offsets(_positive(radius), np.eye(3) if voxel_axes is None else np.asarray(voxel_axes), extent > 0)
    pad = np.abs(offsets).max(axis=0)
    shape = extent + 1 + 2 * pad
    if np.prod(shape.astype(float)) > LARGEST_GRID:
        raise SchemaError(
            f"voxel indices span a grid of {shape.tolist()}; expected fewer than 2**31 voxels; check them"
        )
    steps = np.array([shape[1] * shape[2], shape[2], 1])
    place = (grid - low + pad) @ steps
    lookup = np.full(int(np.prod(shape)), -1, dtype=np.int32)
    lookup[place] = np.arange(len(grid), dtype=np.int32)
    if (lookup[place] != np.arange(len(grid))).any():
        first = int(np.argmax(lookup[place] != np.arange(len(grid))))
        raise SchemaError(f"two units are the voxel {grid[first].tolist()}; expected one unit per voxel; drop one")
    jumps = np.sort(offsets @ steps)
    counts = np.empty(len(grid), dtype=np.int64)
    count_shifted(place, lookup, jumps, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    members = np.empty(int(starts[-1]), dtype=np.int32)
    fill_shifted(place, lookup, jumps, starts, members)
    unit = "voxels" if voxel_axes is None else "mm"
    return Neighbourhoods(starts, members, len(jumps), f"sphere of {radius:g} {unit}")


def _positive(radius: float) -> float:
    if not 0 < radius < np.inf:
        raise OptionError(f"radius={radius!r}; expected a positive number")
    return float(radius)


def _offsets(radius: float, axes: npt.NDArray[Any], used: npt.NDArray[np.bool_]) -> Ints:
    """Return the steps on the grid that are no longer than the radius, shape (n_offsets, 3)."""
    # |step_a| <= radius * |row a of the inverse|, the largest share of one axis in a vector of that length
    reach = np.floor(radius * np.linalg.norm(np.linalg.inv(axes), axis=1) + ON_GRID).astype(int) * used
    ranges = [np.arange(-r, r + 1) for r in reach]
    steps = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    kept: Ints = steps[np.linalg.norm(steps @ axes.T, axis=1) <= radius * (1 + 1e-9)]
    return kept


def on_surface(
    vertices: npt.ArrayLike, faces: npt.ArrayLike, radius: float, nodes: npt.ArrayLike | None = None
) -> Neighbourhoods:
    """Return the units within a path of at most ``radius`` along the edges of a mesh.

    Parameters
    ----------
    vertices : array_like, shape (n_vertices, 3)
        Positions in mm.
    faces : array_like of int, shape (n_faces, 3)
        Triangles.
    radius : float
        In mm.
    nodes : array_like of int, shape (n_units,), optional
        The vertex of each unit; all vertices by default.  Paths may cross vertices that are no units.

    Returns
    -------
    Neighbourhoods

    Raises
    ------
    OptionError, SchemaError
        On a mesh or vertices that do not fit.

    References
    ----------
    Dijkstra 1959, Numerische Mathematik 1:269.

    Examples
    --------
    >>> on_surface([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 1, 2], [1, 2, 3]], 1.0).of(0).tolist()
    [0, 1, 2]
    """
    points, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(faces)
    n = len(points)
    fits = points.ndim == 2 and points.shape[1] == 3 and triangles.ndim == 2 and triangles.shape[1] == 3
    if not fits or triangles.dtype.kind not in "iu" or not 0 <= triangles.min() <= triangles.max() < n:
        raise SchemaError(
            f"mesh of vertices {points.shape} and faces {triangles.shape}; expected (n_vertices, 3) in mm and (n_faces, 3)"
            " with the indices of vertices"
        )
    chosen = np.arange(n) if nodes is None else np.asarray(nodes, dtype=np.int64)
    if np.unique(chosen).size < chosen.size or not 0 <= chosen.min() <= chosen.max() < n:
        raise SchemaError(f"vertices of the units: expected distinct indices below {n}; check unit_vertex")
    unit_of = np.full(n, -1, dtype=np.int32)
    unit_of[chosen] = np.arange(len(chosen))
    graph, limit = _edges(points, triangles.astype(np.int64)), _positive(radius) * (1 + 1e-9)
    scratch = np.full(n, np.inf), np.empty(n, dtype=np.int64)
    counts, starts = np.empty(len(chosen), dtype=np.int64), np.zeros(len(chosen) + 1, dtype=np.int64)
    fill_reach(chosen, unit_of, limit, graph, (counts, starts, np.empty(0, dtype=np.int32)), scratch)
    starts[1:] = np.cumsum(counts)
    members = np.empty(int(starts[-1]), dtype=np.int32)
    fill_reach(chosen, unit_of, limit, graph, (counts, starts, members), scratch)
    return Neighbourhoods(starts, members, None, f"geodesic disc of {radius:g} mm")


def _edges(points: npt.NDArray[np.float64], faces: Ints) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Return the edges of each vertex with their lengths (CSR)."""
    n = len(points)
    ends = np.concatenate([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
    code = np.unique(ends[:, 0] * n + ends[:, 1])
    first, second = code // n, code % n
    starts = np.searchsorted(first, np.arange(n + 1))
    return starts, second, np.linalg.norm(points[first] - points[second], axis=1)


def around(volume: Any, radius: float, radius_units: str, mesh: Any = None) -> Neighbourhoods:
    """Return the neighbourhoods of the units of a representation, or of positions.

    Parameters
    ----------
    volume : representation, or array_like of shape (n_units, 3)
        With ``unit_i/j/k`` (and ``unit_x/y/z`` for a radius in mm), or ``unit_vertex`` with ``mesh``.
    radius : float
    radius_units : {"voxel", "mm"}
    mesh : tuple of (vertices, faces), optional

    Raises
    ------
    SchemaError
        Without the positions that this needs.
    """
    choose(radius_units, UNITS, "radius_units")
    if mesh is not None:
        if radius_units != "mm":
            raise OptionError("radius_units='voxel' with a mesh; the radius on a surface is in mm: radius_units='mm'")
        named = isinstance(volume, xr.Dataset) and "unit_vertex" in volume.coords
        nodes = volume["unit_vertex"].values.astype(np.int64) if named else None
        vertices, faces = mesh
        found = on_surface(vertices, faces, radius, nodes)
        if isinstance(volume, xr.Dataset) and found.n_units != volume.sizes["unit"]:
            raise SchemaError(
                f"mesh of {found.n_units} vertices for {volume.sizes['unit']} units; say which by unit_vertex="
            )
        return _named(found, volume)
    voxels, places = _positions(volume)
    if radius_units == "voxel":
        if voxels is None:
            raise SchemaError("a radius in voxels needs unit_i, unit_j and unit_k; take radius_units='mm'")
        return _named(in_volume(voxels, radius), volume)
    if places is None:
        raise SchemaError("a radius in mm needs unit_x, unit_y and unit_z; take radius_units='voxel'")
    if voxels is not None:
        return _named(in_volume(voxels, radius, grid_axes(voxels, places)[:, :3]), volume)
    return _named(_among_points(places, _positive(radius)), volume)


def _named(found: Neighbourhoods, volume: Any) -> Neighbourhoods:
    if not isinstance(volume, xr.Dataset):
        return found
    names = volume["unit_id"].values.astype(np.str_)
    return Neighbourhoods(found.starts, found.members, found.full, found.record, names)


def _positions(volume: Any) -> tuple[Ints | None, npt.NDArray[np.float64] | None]:
    """Return voxel indices and positions in mm, where there are any."""
    if isinstance(volume, xr.Dataset):
        found = [
            np.stack([volume[f"unit_{a}"].values for a in axes], axis=1)
            if all(f"unit_{a}" in volume.coords for a in axes)
            else None
            for axes in ("ijk", "xyz")
        ]
        whole, places = found
    else:
        given = np.asarray(volume)
        if given.ndim != 2 or given.shape[1] != 3 or given.dtype.kind not in "iuf":
            raise SchemaError(f"coordinates have shape {given.shape}; expected numbers (n_units, 3)")
        whole, places = (given, None) if given.dtype.kind in "iu" else (None, given)
    if whole is not None and (not np.isfinite(whole).all() or (whole != np.rint(whole)).any()):
        raise SchemaError(
            "voxel indices unit_i, unit_j, unit_k are not all whole numbers; positions in mm are unit_x/y/z"
        )
    if places is not None and not np.isfinite(places).all():
        raise SchemaError("positions of units are not all finite numbers; leave out units without a place")
    return None if whole is None else whole.astype(np.int64), None if places is None else places.astype(np.float64)


def grid_axes(voxels: Ints, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the affine (3, 4) from voxel indices to mm that the units themselves show.

    An axis on which all indices are the same gets the direction across the others, one mm long.

    Raises
    ------
    SchemaError
        When the positions are not those of a grid.

    Examples
    --------
    >>> cube = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> grid_axes(cube, cube * 2.0 + 5)[:, 3].round(9).tolist()
    [5.0, 5.0, 5.0]
    """
    used = np.ptp(voxels, axis=0) > 0
    design = np.column_stack([voxels[:, used], np.ones(len(voxels))])
    solved = np.linalg.lstsq(design, places, rcond=None)[0]
    axes = np.zeros((3, 4))
    axes[:, :3][:, used] = solved[:-1].T
    size = np.linalg.norm(solved[:-1], axis=1)
    gap = np.abs(design @ solved - places).max()
    if not size.size or np.linalg.matrix_rank(design) < design.shape[1] or gap > ON_GRID * size.min():
        raise SchemaError(
            f"unit_x/y/z are up to {gap:.3g} mm from a regular grid of unit_i/j/k; expected an affine of the voxel indices"
        )
    free = np.linalg.svd(axes[:, :3][:, used].T)[2][int(used.sum()) :]
    axes[:, :3][:, ~used] = free.T
    axes[:, 3] = solved[-1] - axes[:, :3][:, ~used] @ voxels[0, ~used]
    return axes


def _among_points(places: npt.NDArray[np.float64], radius: float) -> Neighbourhoods:
    from scipy.spatial import cKDTree

    lists = cKDTree(places).query_ball_point(places, radius * (1 + 1e-9), return_sorted=True)
    return from_lists(lists.tolist(), f"ball of {radius:g} mm")
