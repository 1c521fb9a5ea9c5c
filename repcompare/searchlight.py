"""The door to searchlights: RSA or decoding in the surroundings of every unit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from repcompare.engine.decode_searchlight import Labelling, Where, run_decoding
from repcompare.engine.neighbourhoods import Neighbourhoods, around, from_lists, load
from repcompare.engine.searchlight import Request, run_searchlight
from repcompare.engine.study import Progress
from repcompare.engine.volume import as_dataset, inside
from repcompare.errors import OptionError
from repcompare.functional._decode_design import Wish
from repcompare.functional._decode_spheres import Asked, sphere_task

__all__ = ["Neighbourhoods", "neighbourhoods", "searchlight"]

Made = TypeVar("Made")
RSA_ONLY = {"distance": "correlation", "method": "rho_a", "partition": None, "noise": None, "min_fraction": 1.0,
            "keep_rdms": None}  # fmt: skip
DECODING_ONLY = {"decode": "lda", "folds": 5, "groups": None, "scoring": "balanced_accuracy", "alpha": None,
                 "shrinkage": None, "C": None, "force": (), "min_units": 10}  # fmt: skip


def searchlight(
    volume: Any,
    models: Any = None,
    *,
    labels: Any = None,
    radius: float = 3.0,
    radius_units: str = "voxel",
    mask: Any = None,
    neighbours: Any = None,
    distance: str = "correlation",
    method: str = "rho_a",
    partition: Any = None,
    noise: Any = None,
    min_fraction: float = 1.0,
    keep_rdms: str | os.PathLike[str] | None = None,
    decode: str = "lda",
    folds: Any = 5,
    groups: Any = None,
    scoring: str = "balanced_accuracy",
    alpha: float | None = None,
    shrinkage: float | str | None = None,
    C: float | Sequence[float] | None = None,
    force: Iterable[str] = (),
    min_units: int = 10,
    permutations: int = 0,
    seed: int = 0,
    memory: int | None = None,
    n_jobs: int = 1,
    progress: Progress | bool | None = None,
) -> xr.Dataset:
    """Compare model RDMs with the RDM of the units around every unit, or decode labels from these units.

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
    keep_rdms : path, optional
        Write the RDM of every centre to this netCDF4 file, which :func:`repcompare.open` reads.
    decode : {"lda", "ridge", "nearest_centroid", "logistic", "svm"}
        The decoder, the ``model`` of :func:`repcompare.decode`.  The first three serve all permutations at once.
    folds, groups, scoring, shrinkage, C, force
        As in :func:`repcompare.decode`; the folds are the same at all centres.
    alpha : float, optional
        Penalty of LDA and ridge, in units of the mean eigenvalue of the sphere's total scatter; 0.1 unless ``shrinkage`` is
        given.
    min_units : int
        Centres with fewer units around them get NaN; for decoding.
    permutations : int
        Permutations of the stimuli, or of the labels, behind the p-values; the same at all centres and for all models.
    seed : int
        Of the permutations, and of the folds.
    memory : int, optional
        Bytes that the blocks at work may need, beside the input and the result.
    n_jobs : int
        Threads; -1 takes every core.  Results do not depend on it.
    progress : None, False or callable
        A bar on a terminal, nothing, or ``(done, total, text)``.

    Returns
    -------
    xarray.Dataset
        ``score (model, unit)`` in the range of the method, NaN where ``reason (unit)`` says why; ``n_units (unit)`` in the
        sphere; with permutations ``score_pvalue`` and ``score_pvalue_corrected`` (one-sided; the latter against the largest
        score over centres and models).  Coordinates of the units are kept, ``attrs`` count the reasons.  Decoding has no
        ``model`` axis: ``score (unit)`` lies in [0, 1], ``attrs["chance"]`` is what a decoder without information gets.

    Raises
    ------
    AlignmentError
        When models and volume have other stimuli, or the neighbourhoods are of other units.
    SchemaError
        Without positions of the units, or trials that the distance needs.
    MeasureError
        On missing values, designs that the distance is not defined on, or when no centre can be scored.
    OptionError
        For a distance, method, decoder or combination that does not exist, or an option of the other kind of searchlight.

    References
    ----------
    Kriegeskorte, Goebel & Bandettini 2006, PNAS 103:3863; Nichols & Holmes 2002 (maximum statistic); Treder 2018 (all
    permutations from one hat matrix).

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
    >>> kind = ["face", "house"] * 4
    >>> found = rc.searchlight(volume, labels=kind, folds=2, radius=1, min_units=7, permutations=19, progress=False)
    >>> dict(found.score.sizes), found.attrs["n_scored"], found.attrs["chance"]
    ({'unit': 64}, 8, 0.5)
    """
    given = locals()
    if (models is None) == (labels is None):
        raise OptionError("a searchlight compares with models= or decodes labels=; give one of them")
    if labels is not None:
        _only(RSA_ONLY, given, "models=")
        return _decoded(volume, labels, given)
    _only(DECODING_ONLY, given, "labels=")
    return run_searchlight(volume, models, _made(Request, given))


def _decoded(volume: Any, labels: Any, given: dict[str, Any]) -> xr.Dataset:
    force = given["force"]
    forced = (force,) if isinstance(force, str) else tuple(force)
    wish = Wish(force=forced, **{name: given[name] for name in ("folds", "groups", "permutations", "seed")})
    options = {name: given[name] for name in ("scoring", "alpha", "shrinkage", "C")}
    task, order, record = sphere_task(as_dataset(volume)[0], labels, Asked(model=given["decode"], wish=wish, **options))
    return run_decoding(volume, Labelling(task=task, order=order, record=record), _made(Where, given))


def _made(kind: Callable[..., Made], given: dict[str, Any]) -> Made:
    """Make a request from the options that it has."""
    return kind(**{item.name: given[item.name] for item in fields(kind)})  # type: ignore[arg-type]


def _only(options: dict[str, Any], given: dict[str, Any], needs: str) -> None:
    """Raise for options of the other kind of searchlight."""
    wrong = [
        name for name, default in options.items() if given[name] is not default and not _same(given[name], default)
    ]
    if wrong:
        raise OptionError(
            f"{', '.join(f'{name}=' for name in wrong)}: only with {needs}; leave out, or see searchlight()"
        )


def _same(value: Any, default: Any) -> bool:
    return isinstance(value, (int, float, str, tuple)) and value == default


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
