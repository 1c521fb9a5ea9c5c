"""The mean shape of several systems, with their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, SchemaError, choose, some
from repcompare.functional._pair import one_side
from repcompare.labels.align import align, to_matrix
from repcompare.labels.parts import checked, parts_of
from repcompare.measures.barycentre import frechet_mean as _frechet_mean


def frechet_mean(
    sources: Any,
    *,
    group: Literal["rotation", "permutation"] = "rotation",
    scale: bool = True,
    stimuli: str = "exact",
    nan: str = "raise",
    max_iterations: int = 500,
) -> xr.Dataset:
    """Mean shape of several systems: the one from which their summed squared shape distances are smallest.

    Parameters
    ----------
    sources : mapping of name to representation or array, xarray.DataTree, or sequence of arrays
        Representations are matched by stimulus name, repeats averaged; rows of arrays (n_stimuli, n_units) must match.
    group : {"rotation", "permutation"}
        Maps of the units that change nothing.
    scale : bool
        Divide systems by their Frobenius norms, as ``procrustes`` does by default.
    stimuli : {"exact", "intersection"}
        Demand the same stimuli everywhere, or keep those that all share.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values; ``drop_stimuli`` drops those that any system lacks.
    max_iterations : int
        Of each run.

    Returns
    -------
    xarray.Dataset
        ``mean (stimulus, dimension)``; ``aligned (source, stimulus, dimension)``: systems turned towards it, whose
        differences from it are tangent vectors; ``distance (source)`` to it; ``loss (iteration)``: the sum of their
        squares, never rising; ``start_loss (start)`` reached from each system as the start and its ``spread``: more than
        rounding means local minima.  Attributes: ``start``, the one kept, and ``converged``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the systems are not usable, or an option does not exist.

    References
    ----------
    Gower 1975 (generalised Procrustes analysis); Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> found = rc.frechet_mean({"one": x, "other": -x[:, ::-1]})
    >>> found.aligned.sizes["source"], round(float(found.loss[-1]), 9)
    (2, 0.0)
    """
    choose(nan, ("raise", "drop_units", "drop_stimuli"), "nan")
    arrays, names = _matched(sources, stimuli)
    arrays, names = _without_nan(arrays, names, nan)
    found = _frechet_mean(list(arrays.values()), group, scale=scale, max_iterations=max_iterations, names=list(arrays))
    members = np.array(list(arrays))
    return xr.Dataset(
        {
            "mean": (("stimulus", "dimension"), found.mean),
            "aligned": (("source", "stimulus", "dimension"), found.aligned),
            "distance": ("source", np.linalg.norm(found.aligned - found.mean, axis=(1, 2))),
            "loss": ("iteration", found.losses),
            "start_loss": ("start", found.start_losses),
            "spread": found.spread,
        },
        coords={"source": members, "start": members, "stimulus": names},
        attrs={
            "group": group,
            "scale": int(scale),
            "start": str(members[found.start]),
            "converged": int(found.converged),
        },
    )


def _matched(sources: Any, stimuli: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays by name with matching rows, and the names of the rows."""
    if isinstance(sources, (list, tuple)):
        sources = {str(place): item for place, item in enumerate(sources)}
    if isinstance(sources, Mapping) and not isinstance(sources, (xr.Dataset, xr.DataTree)):
        labelled = [isinstance(item, (xr.Dataset, xr.DataTree, Mapping)) for item in sources.values()]
        if any(labelled) and not all(labelled):
            raise SchemaError("some sources have labels and others have none; make all representations, or give arrays")
        if not any(labelled):
            return _matched_arrays({str(name): _plain(item, str(name)) for name, item in sources.items()})
    parts = checked(parts_of(sources), "sources")
    names = align(parts, stimuli).stimuli
    return {name: to_matrix(part, names) for name, part in parts.items()}, names


def _plain(item: Any, name: str) -> np.ndarray:
    try:
        return one_side(item)[0]
    except SchemaError as error:
        raise SchemaError(f"source {name!r}: {error}") from None


def _matched_arrays(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1:
        found = ", ".join(f"{name!r} {len(array)}" for name, array in arrays.items())
        raise AlignmentError(
            f"the sources have different numbers of rows: {found}; expected one per stimulus, the same"
        )
    return arrays, np.arange(max(rows, default=0)).astype(str)


def _without_nan(
    arrays: dict[str, np.ndarray], names: np.ndarray, nan: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    missing = {name: np.isnan(array) for name, array in arrays.items()}
    holes = [name for name, where in missing.items() if where.any()]
    if not holes:
        return arrays, names
    if nan == "raise":
        raise MeasureError(f"missing values (NaN) in {some(holes)}; go on with nan='drop_units' or 'drop_stimuli'")
    if nan == "drop_units":
        left = {name: array[:, ~missing[name].any(axis=0)] for name, array in arrays.items()}
    else:
        keep = ~np.any([where.any(axis=1) for where in missing.values()], axis=0)
        left, names = {name: array[keep] for name, array in arrays.items()}, names[keep]
    if not all(array.size for array in left.values()):
        raise MeasureError(
            f"nan={nan!r} leaves nothing of {some(n for n, a in left.items() if not a.size)}; choose another"
        )
    return left, names
