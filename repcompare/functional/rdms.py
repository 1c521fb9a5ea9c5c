"""Representational dissimilarity matrices: computed, compared, and in one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, SchemaError, choose
from repcompare.functional._pair import Data, one_side, score_pair
from repcompare.measures.registry import make
from repcompare.measures.rsa import compare_rdms as _compare_condensed
from repcompare.measures.rsa import rdm as _rdm_array


def rsa(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Representational similarity analysis: compare the dissimilarity matrices of two systems.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        ``"pairwise"``: each distance over the units that both stimuli have.
    **options
        ``distance`` and ``method``: see :func:`repcompare.measures.rsa.rsa`.

    Returns
    -------
    float
        In [-1, 1]; higher is more similar.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008; Schuett et al. 2023 (rho_a).

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(12, 10))
    >>> round(rc.rsa(x, x[:, ::-1]), 6)
    1.0
    """
    return score_pair(make("rsa", **options), x, y, nan=nan)


def rdm(x: Data, *, distance: str = "correlation", condensed: bool = True, nan: str = "raise", **options: Any) -> Any:
    """Representational dissimilarity matrix: the distance between the patterns of every two stimuli.

    Parameters
    ----------
    x : representation, or array-like of shape (n_stimuli, n_units)
        Responses; repeats are averaged first.
    distance : {"correlation", "euclidean", "squared_euclidean", "cosine"}
        1 - Pearson correlation over units; root mean square difference; its square; 1 - cosine.
    condensed : bool
        Return the upper triangle row by row, shape (n_pairs,); otherwise the square matrix.
    nan : {"raise", "pairwise"}
        ``"pairwise"``: each distance over the units that both stimuli have; NaN where there are fewer than ``min_units``.
    **options
        ``normalize_units=True`` (divide squared Euclidean distances by the number of units), ``min_units=10``.

    Returns
    -------
    ndarray or xarray.Dataset
        float64.  For a representation a Dataset with the variable ``rdm``: dims ``pair`` with coordinates ``stimulus_a``
        and ``stimulus_b``, or ``(stimulus, stimulus_b)``; stimuli in the order of the data.

    Raises
    ------
    MeasureError, OptionError
        For patterns without variance, or an option that does not exist.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008.

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], distance="squared_euclidean").tolist()
    [1.0, 4.0, 1.0]
    """
    choose(nan, ("raise", "pairwise"), "nan")
    labelled = isinstance(x, xr.Dataset)
    values, names = one_side(x)
    pairs = _rdm_array(values, distance=distance, nan=nan, **options)  # type: ignore[arg-type]
    square = _square(pairs, len(values))
    if not labelled:
        return pairs if condensed else square
    attrs = {
        "distance": distance,
        "squared": int(distance == "squared_euclidean"),
        "normalize_units": int(options.get("normalize_units", True)),
        "n_pairs_missing": int(np.isnan(pairs).sum()),
    }
    if condensed:
        i, j = np.triu_indices(len(values), 1)
        coords = {"stimulus_a": ("pair", names[i]), "stimulus_b": ("pair", names[j])}
        return xr.Dataset({"rdm": ("pair", pairs)}, coords=coords, attrs=attrs)
    coords = {"stimulus": ("stimulus", names), "stimulus_b": ("stimulus_b", names)}
    return xr.Dataset({"rdm": (("stimulus", "stimulus_b"), square)}, coords=coords, attrs=attrs)


def _square(pairs: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    out = np.zeros((n, n))
    upper = np.triu_indices(n, 1)
    out[upper] = pairs
    return out + out.T


def compare_rdms(a: Any, b: Any, *, method: str = "rho_a", stimulus_covariance: Any = None) -> Any:
    """Compare dissimilarity matrices.

    Parameters
    ----------
    a, b : condensed RDM (n_pairs,), stack (n_rdms, n_pairs), or Dataset as :func:`rdm` returns it
        Upper triangles, row by row.  Datasets must name the same pairs in the same order.
    method : {"rho_a", "pearson", "spearman", "cosine", "whitened_cosine", "whitened_pearson"}
        Comparator; pairs that are NaN on either side are left out.
    stimulus_covariance : None, array of shape (n_stimuli,) or (n_stimuli, n_stimuli)
        Noise covariance between stimuli of the whitened methods; None is the identity.

    Returns
    -------
    float or ndarray of shape (n_rdms_a, n_rdms_b)
        Similarity in [-1, 1].

    Raises
    ------
    MeasureError, AlignmentError, OptionError
        For constant RDMs, pairs that do not match, or an unknown method.

    References
    ----------
    Schuett et al. 2023 (rho_a); Diedrichsen et al. 2021 (whitened).

    Examples
    --------
    >>> import repcompare as rc
    >>> round(rc.compare_rdms([1.0, 2.0, 3.0], [2.0, 4.0, 9.0]), 12)
    1.0
    """
    left, right = _pairs_of(a), _pairs_of(b)
    if left[1] is not None and right[1] is not None and not np.array_equal(left[1], right[1]):
        raise AlignmentError("the RDMs name different pairs, or in another order; compute both from the same stimuli")
    return _compare_condensed(left[0], right[0], method=method, stimulus_covariance=stimulus_covariance)


def _pairs_of(rdm: Any) -> tuple[Any, np.ndarray | None]:
    if not isinstance(rdm, xr.Dataset):
        return rdm, None
    if "rdm" not in rdm or rdm["rdm"].dims != ("pair",):
        raise SchemaError("expected a condensed RDM with the variable 'rdm' (pair), as rdm(...) returns it")
    return rdm["rdm"].values, np.stack([rdm["stimulus_a"].values.astype(str), rdm["stimulus_b"].values.astype(str)])
