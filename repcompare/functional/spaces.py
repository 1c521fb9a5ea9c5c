"""The space that a metric makes of many systems, with their names: trees, maps, typical members."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, OptionError, SchemaError, some, suggest
from repcompare.labels.scores import CLUSTERS_SCHEMA, EMBEDDING_SCHEMA, MEDOIDS_SCHEMA, is_scores
from repcompare.statistics.medoids import k_medoids
from repcompare.statistics.spaces import broken_triangle, check_distances, cluster_tree, embedding

Scores = xr.Dataset | xr.DataArray
ADVICE = "1 - score is not a metric; take 'procrustes', or cka(estimator='biased', angular=True)"


def cluster(
    scores: Scores,
    *,
    n_clusters: int | None = None,
    linkage: Literal["average", "complete", "single", "weighted"] = "average",
    measure: str | None = None,
) -> xr.Dataset:
    """Cluster systems hierarchically by a metric between them.

    Parameters
    ----------
    scores : xarray.Dataset or xarray.DataArray
        Square scores, as :func:`repcompare.similarity_matrix` returns them; or distances of shape (n_sources, n_sources)
        with the same names along both dims, which must obey the triangle inequality.
    n_clusters : int, optional
        Cut the tree into so many clusters.
    linkage : {"average", "complete", "single", "weighted"}
        Distance of two clusters.  Ward's needs Euclidean distances, which those of a metric need not be.
    measure : str, optional
        Which measure of the scores; needed where they have several.

    Returns
    -------
    xarray.Dataset
        ``merges (merge, field)``: the two clusters that merge, their height in the unit of the scores, number of members,
        as ``scipy.cluster.hierarchy.dendrogram`` takes them; ``order (leaf)``: names along the leaves;
        ``cophenetic_correlation``, in [-1, 1]; with ``n_clusters`` also ``label (source)``, from 0, along the leaves.

    Raises
    ------
    MeasureError
        When the measure is not a metric, or a pair has no score.
    SchemaError, OptionError
        When the table is not square, or an option does not exist.

    References
    ----------
    Sokal & Rohlf 1962; Bar-Joseph, Gifford & Jaakkola 2001 (order of leaves).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 30, 5))
    >>> values = {"a1": a, "b1": b, "a2": a + 0.1, "b2": b + 0.1 * rng.normal(size=b.shape)}
    >>> systems = {name: rc.representation(v, stimulus=[f"s{i}" for i in range(30)]) for name, v in values.items()}
    >>> scores = rc.similarity_matrix(systems, measure="procrustes", progress=False)
    >>> found = rc.cluster(scores, n_clusters=2)
    >>> bool(found.label.sel(source="a1") == found.label.sel(source="a2"))
    True
    """
    distances, names, attrs = _metric_space(scores, measure)
    tree = cluster_tree(distances, linkage, n_clusters)
    variables: dict[str, Any] = {
        "merges": (("merge", "field"), tree.merges),
        "order": ("leaf", names[tree.order]),
        "cophenetic_correlation": tree.cophenetic_correlation,
    }
    if tree.labels is not None:
        variables["label"] = ("source", tree.labels)
    coords = {"source": names, "field": ["first", "second", "height", "size"]}
    return xr.Dataset(variables, coords=coords, attrs={"schema": CLUSTERS_SCHEMA} | attrs | {"linkage": linkage})


def embed(
    scores: Scores,
    *,
    dimensions: int = 2,
    method: Literal["mds", "classical", "nonmetric"] = "mds",
    seed: int = 0,
    measure: str | None = None,
) -> xr.Dataset:
    """Draw systems as points whose distances stand for a metric between them.

    Parameters
    ----------
    scores : xarray.Dataset or xarray.DataArray
        As in :func:`cluster`.
    dimensions : int
        From 1 to the number of systems less 1.
    method : {"mds", "classical", "nonmetric"}
        Least squares of the distances (SMACOF); principal coordinates; or least squares of any increasing function of them.
    seed : int
        Of the 8 random starts beside the classical one; the best is kept.
    measure : str, optional
        Which measure of the scores; needed where they have several.

    Returns
    -------
    xarray.Dataset
        ``coordinates (source, dimension)``, centred, along principal axes, in the unit of the scores; ``stress``
        (Kruskal's stress 1, in [0, 1]); ``start_stress (start)``, which differ where there are local minima;
        ``eigenvalue (axis)`` of classical scaling and ``negative_share``, the part of them that no Euclidean space has.

    Raises
    ------
    MeasureError
        When the measure is not a metric, or a pair has no score.
    SchemaError, OptionError
        When the table is not square, or an option does not exist.

    References
    ----------
    Torgerson 1952; Kruskal 1964; de Leeuw 1977.

    Examples
    --------
    >>> import numpy as np, xarray as xr, repcompare as rc
    >>> gaps = np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0]))
    >>> names = ["a", "b", "c"]
    >>> line = rc.embed(xr.DataArray(gaps, [("source", names), ("target", names)]), dimensions=1)
    >>> np.abs(np.diff(line.coordinates.values[:, 0])).round(6).tolist()
    [1.0, 2.0]
    """
    distances, names, attrs = _metric_space(scores, measure)
    found = embedding(distances, dimensions, method, seed)
    return xr.Dataset(
        {
            "coordinates": (("source", "dimension"), found.coordinates),
            "stress": found.stress,
            "start_stress": ("start", found.start_stress),
            "eigenvalue": ("axis", found.eigenvalues),
            "negative_share": found.negative_share,
        },
        coords={"source": names},
        attrs={"schema": EMBEDDING_SCHEMA}
        | attrs
        | {"method": method, "seed": seed, "converged": int(found.converged)},
    )


def medoids(scores: Scores, n_clusters: int, *, measure: str | None = None) -> xr.Dataset:
    """Choose the systems that stand for all others: k-medoids in a metric space.

    Parameters
    ----------
    scores : xarray.Dataset or xarray.DataArray
        As in :func:`cluster`.
    n_clusters : int
        From 1 (the most central system) to the number of systems.
    measure : str, optional
        Which measure of the scores; needed where they have several.

    Returns
    -------
    xarray.Dataset
        ``medoid (cluster)``: names; ``label (source)``: cluster of each system; ``distance (source)`` to its medoid and
        their sum ``cost``, in the unit of the scores; ``silhouette (source)``, in [-1, 1], where there are at least 2
        clusters and fewer than systems.  Nothing is random.

    Raises
    ------
    MeasureError
        When the measure is not a metric, or a pair has no score.
    SchemaError, OptionError
        When the table is not square, or an option does not exist.

    References
    ----------
    Kaufman & Rousseeuw 1990; Schubert & Rousseeuw 2021; Rousseeuw 1987.

    Examples
    --------
    >>> import numpy as np, xarray as xr, repcompare as rc
    >>> gaps = np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0]))
    >>> names = ["a", "b", "c"]
    >>> rc.medoids(xr.DataArray(gaps, [("source", names), ("target", names)]), 1).medoid.values.tolist()
    ['b']
    """
    distances, names, attrs = _metric_space(scores, measure)
    found = k_medoids(distances, n_clusters)
    variables: dict[str, Any] = {
        "medoid": ("cluster", names[found.medoids]),
        "label": ("source", found.labels),
        "distance": ("source", distances[np.arange(len(names)), found.medoids[found.labels]]),
        "cost": found.cost,
    }
    if found.silhouette is not None:
        variables["silhouette"] = ("source", found.silhouette)
    return xr.Dataset(
        variables, coords={"source": names}, attrs={"schema": MEDOIDS_SCHEMA} | attrs | {"n_swaps": found.n_swaps}
    )


def _metric_space(scores: Scores, measure: str | None) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Distances (n_sources, n_sources), the names of the sources, and what they are."""
    if isinstance(scores, xr.Dataset) and is_scores(scores):
        table, attrs = _of_measure(scores, measure)
    elif isinstance(scores, xr.DataArray) and scores.ndim == 2 and measure is None:
        table, attrs = scores, {"measure": str(scores.name or "given"), "unit": str(scores.attrs.get("units", "1"))}
    else:
        raise SchemaError(
            f"found a {type(scores).__name__}{' and measure=' + repr(measure) if measure else ''}; expected square scores, "
            "as similarity_matrix() returns them, or one DataArray of distances with names along both dims"
        )
    values, names = _square(table)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        pair = [str(names[k]) for k in wrong[0]]
        why = _reason(scores, pair, attrs["measure"])
        raise MeasureError(
            f"{pair[0]!r} and {pair[1]!r} have no score{why}; {len(wrong)} cells have none; expected all pairs; "
            f"leave a source out: drop_sel({table.dims[0]}={pair[0]!r}, {table.dims[1]}={pair[0]!r})"
        )
    distances = check_distances(values, names.tolist())
    corner = broken_triangle(distances) if isinstance(scores, xr.DataArray) else None
    if corner is not None:
        i, j, k = (str(names[c]) for c in corner)
        raise MeasureError(
            f"the distances are not a metric: {i!r} and {j!r} are farther apart than by way of {k!r}; {ADVICE}"
        )
    return distances, names, attrs


def _reason(scores: Scores, pair: list[str], measure: str) -> str:
    if not isinstance(scores, xr.Dataset) or "reason" not in scores:
        return ""
    why = str(scores["reason"].sel(source=pair[0], target=pair[1], measure=measure).item())
    return f" ({why})" if why else ""


def _of_measure(scores: xr.Dataset, measure: str | None) -> tuple[xr.DataArray, dict[str, Any]]:
    labels = [str(m) for m in scores["measure"].values]
    if measure is None and len(labels) > 1:
        raise OptionError(f"the scores have measures {some(labels)}; choose one by measure=")
    label = labels[0] if measure is None else measure
    if label not in labels:
        raise OptionError(f"measure={label!r} is not among the scores{suggest(label, labels)}")
    cell = scores.sel(measure=label)
    if "measure_is_metric" not in scores.coords:
        raise SchemaError(
            "the scores do not say whether their measure is a metric; compute them again with this version, or give the "
            f"distances alone: scores.score.sel(measure={label!r})"
        )
    if not bool(cell["measure_is_metric"]):
        raise MeasureError(f"{label!r} is not a metric, so that systems have no place in a space; {ADVICE}")
    unit = str(cell["unit_of_score"].item()) if "unit_of_score" in cell.coords else "1"
    return cell["score"], {"measure": label, "unit": unit}


def _square(table: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Values of a table with the same names along both dims, columns in the order of the rows."""
    rows, columns = ([str(name) for name in table[dim].values] if dim in table.coords else [] for dim in table.dims)
    if not rows or sorted(rows) != sorted(columns) or len(set(rows)) < len(rows):
        raise SchemaError(
            f"the table has {some(rows)} along {table.dims[0]!r} and {some(columns)} along {table.dims[1]!r}; expected the "
            "same names on both sides, once each; make it with similarity_matrix()"
        )
    values = np.asarray(table.values, dtype=np.float64)
    return values[:, [columns.index(name) for name in rows]], np.array(rows)
