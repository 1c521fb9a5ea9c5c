"""The door to searchlights: RSA in the surroundings of every unit."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from repcompare.engine.neighbourhoods import Neighbourhoods, around, from_lists, load
from repcompare.engine.searchlight import Request, run_searchlight
from repcompare.engine.study import Progress
from repcompare.engine.volume import inside
from repcompare.errors import OptionError

__all__ = ["Neighbourhoods", "neighbourhoods", "searchlight"]


def searchlight(
    volume: Any,
    models: Any,
    *,
    radius: float = 3.0,
    radius_units: str = "voxel",
    mask: Any = None,
    neighbours: Any = None,
    distance: str = "correlation",
    method: str = "rho_a",
    partition: Any = None,
    noise: Any = None,
    min_fraction: float = 1.0,
    memory: int | None = None,
    permutations: int = 0,
    seed: int = 0,
    n_jobs: int = 1,
    keep_rdms: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = None,
) -> xr.Dataset:
    """Compare model RDMs with the RDM of the units around every unit.

    Parameters
    ----------
    volume : representation, or (values, coordinates)
        With ``unit_i/j/k`` (voxels) or ``unit_x/y/z`` (mm), in stimulus or trial form; opened lazily, only the columns of a
        block of centres are read.  Arrays: (n_stimuli, n_units), and (n_units, 3), integers for voxels, floats for mm.
    models : set of RDMs, representation, or mapping of name to them
        The same stimuli as in the volume, matched by name.  Representations become RDMs by ``distance`` (by squared
        Euclidean distance, where that one needs trials, noise or counts).  With arrays: (n_pairs,) or (n_models, n_pairs).
    radius : float
        Units up to this distance from the centre belong to its sphere.
    radius_units : {"voxel", "mm"}
        Voxel steps, or mm by the positions of the units.
    mask : array, shape (n_units,) or a volume indexed by ``unit_i/j/k``, optional
        Units that take part, as centres and as neighbours.
    neighbours : Neighbourhoods, path or list of positions per unit, optional
        In place of spheres, as :func:`neighbourhoods` makes them; of the units inside the mask.
    distance : str
        Any of :func:`repcompare.rdm`; the cross-validated ones need trials.
    method : str
        Any of :func:`repcompare.compare_rdms`.
    partition : str, or array of shape (n_rows,), optional
        Runs or sessions of the trials; the coordinate ``run`` by default.
    noise : None, str, array of shape (n_units, n_units), or Noise
        For mahalanobis and crossnobis.  A name is estimated in each sphere from its own trials; an object, or a precision,
        is that of all units inside the mask, and a sphere takes its sub-block of the covariance.
    min_fraction : float
        Centres whose sphere holds a smaller share of a whole sphere's voxels get NaN.  Lists and surfaces have no whole.
    memory : int, optional
        Bytes that the blocks at work may need, beside the input and the result.
    permutations : int
        Permutations of the stimuli behind the p-values, the same at all centres and for all models.
    seed : int
        Of the permutations.
    n_jobs : int
        Threads; -1 takes every core.  Results do not depend on it.
    keep_rdms : path, optional
        Write the RDM of every centre to this netCDF4 file, which :func:`repcompare.open` reads.
    progress : None, False or callable
        A bar on a terminal, nothing, or ``(done, total, text)``.

    Returns
    -------
    xarray.Dataset
        ``score (model, unit)`` in the range of the method, NaN where ``reason (unit)`` says why; ``n_units (unit)`` in the
        sphere; with permutations ``score_pvalue`` and ``score_pvalue_corrected`` (one-sided; the latter against the largest
        score over centres and models).  Coordinates of the units are kept, ``attrs`` count the reasons.

    Raises
    ------
    AlignmentError
        When models and volume have other stimuli, or the neighbourhoods are of other units.
    SchemaError
        Without positions of the units, or trials that the distance needs.
    MeasureError
        On missing values, designs that the distance is not defined on, or when no centre can be scored.
    OptionError
        For a distance, method or combination that does not exist.

    References
    ----------
    Kriegeskorte, Goebel & Bandettini 2006, PNAS 103:3863; Nichols & Holmes 2002 (maximum statistic).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> i, j, k = np.indices((4, 4, 4)).reshape(3, -1)
    >>> names = [f"image{n}" for n in range(8)]
    >>> volume = rc.representation(rng.normal(size=(8, 64)), stimulus=names, unit_i=i, unit_j=j, unit_k=k)
    >>> model = rc.rdm_models.from_vector(np.arange(8.0), stimulus=names, name="order")
    >>> found = rc.searchlight(volume, model, radius=1, permutations=19, progress=False)
    >>> dict(found.score.sizes), found.attrs["n_scored"], int(found.n_units.max())
    ({'model': 1, 'unit': 64}, 8, 7)
    """
    request = Request(
        radius=radius,
        radius_units=radius_units,
        mask=mask,
        neighbours=neighbours,
        distance=distance,
        method=method,
        partition=partition,
        noise=noise,
        min_fraction=min_fraction,
        memory=memory,
        permutations=permutations,
        seed=seed,
        n_jobs=n_jobs,
        keep_rdms=keep_rdms,
        progress=progress,
    )
    return run_searchlight(volume, models, request)


def neighbourhoods(
    units: Any = None,
    *,
    radius: float = 3.0,
    radius_units: str = "voxel",
    mask: Any = None,
    mesh: tuple[Any, Any] | None = None,
    lists: Any = None,
) -> Neighbourhoods:
    """Return which units stand around each unit, to be kept and used in several searchlights.

    Parameters
    ----------
    units : representation, array of shape (n_units, 3), or path
        Positions: integers are voxels, floats mm.  A path reads what ``save(path)`` of the result wrote.
    radius : float
        Units up to this distance belong.
    radius_units : {"voxel", "mm"}
        On a surface always mm, along the edges of the mesh.
    mask : array, optional
        As in :func:`searchlight`; for representations.
    mesh : (vertices, faces), optional
        Positions in mm (n_vertices, 3) and triangles (n_faces, 3).  Units are the vertices, or those that the coordinate
        ``unit_vertex`` names.
    lists : sequence of sequence of int, optional
        Positions of the neighbours of each unit, made elsewhere.

    Returns
    -------
    Neighbourhoods
        ``of(unit)``, ``sizes``, ``n_units``, ``full`` (voxels of a whole sphere), ``save(path)``.

    Raises
    ------
    SchemaError, OptionError, FormatError
        Without the positions that this needs, on a radius that is not positive, or a file that is something else.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> cube = np.indices((5, 5, 5)).reshape(3, -1).T
    >>> spheres = rc.neighbourhoods(cube, radius=2)
    >>> spheres.full, int(spheres.sizes.max())
    (33, 33)
    """
    if lists is not None:
        return from_lists(lists)
    if isinstance(units, (str, os.PathLike)):
        return load(units)
    if units is None and mesh is None:
        raise OptionError("there are no units; give a representation, positions (n_units, 3), mesh= or lists=")
    if mask is not None:
        chosen = inside(units, mask) if isinstance(units, xr.Dataset) else np.asarray(mask, dtype=bool)
        units = units.isel(unit=chosen) if isinstance(units, xr.Dataset) else np.asarray(units)[chosen]
    return around(units, radius, "mm" if mesh is not None else radius_units, mesh)
