"""The direct door: one measure between two representations, or between two arrays whose rows match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, choose
from repcompare.labels.align import align, row_labels, to_matrix, to_repeats
from repcompare.labels.schema import sample_dim
from repcompare.measures._measure import Folds, Measure, as_outcome
from repcompare.measures.encoding.result import EncodingResult, encode_arrays
from repcompare.measures.registry import make
from repcompare.measures.rsa import compare_rdms as _compare_condensed
from repcompare.measures.rsa import rdm as _rdm_array
from repcompare.statistics.folds import make_folds

Data = xr.Dataset | npt.ArrayLike
NAN = ("raise", "drop_units", "drop_stimuli", "pairwise")


def cka(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Centred kernel alignment of two systems.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.  With ``estimator="repeats"`` arrays are
        (n_repeats, n_stimuli, n_units) and representations are in presentation form.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``kernel``, ``bandwidth``, ``bandwidth_scale``, ``estimator``, ``angular``: see :func:`repcompare.measures.cka.cka`.

    Returns
    -------
    float
        Debiased by default: in [-1, 1], 1 for identical systems, 0 on average for unrelated ones.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Kornblith et al. 2019; Song et al. 2012.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 10))
    >>> round(rc.cka(x, 2 * x + 3), 6)
    1.0
    >>> abs(rc.cka(x, rng.normal(size=(50, 1000)))) < 0.1
    True
    """
    return _score(make("cka", **options), x, y, nan=nan)


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
    return _score(make("rsa", **options), x, y, nan=nan)


def procrustes(x: Data, y: Data, *, nan: str = "raise", **options: Any) -> float:
    """Orthogonal Procrustes: how far apart two systems are after the best rotation.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``score="angular" | "euclidean" | "similarity"``, ``scale=True``: see :func:`repcompare.measures.shape.procrustes`.

    Returns
    -------
    float
        Angle in rad, in [0, pi/2], by default; 0 for systems that are equal up to rotation, scale and offset.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Williams et al. 2021.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> round(rc.procrustes(x, -2 * x[:, ::-1]), 6)
    0.0
    """
    return _score(make("procrustes", **options), x, y, nan=nan)


def cca(x: Data, y: Data, *, folds: Any = 5, seed: int = 0, nan: str = "raise", **options: Any) -> float:
    """Canonical correlation of two systems, on held-out stimuli.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Representations are matched by stimulus name; rows of arrays must match.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli"}
        What to do about missing values.
    **options
        ``summary``, ``regularization``, ``held_out``, ``degenerate``: see :func:`repcompare.measures.cca.cca`.

    Returns
    -------
    float
        Mean canonical correlation over variates and folds, in [-1, 1].

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, there are too many units for the stimuli, or an option does not exist.

    References
    ----------
    Hotelling 1936.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 4))
    >>> round(rc.cca(x, x @ rng.normal(size=(4, 4))), 6)
    1.0
    """
    return _score(make("cca", **options), x, y, nan=nan, folds=folds, seed=seed)


def encode(
    x: Data,
    y: Data,
    *,
    model: str = "ridge",
    folds: Any = 5,
    groups: Any = None,
    gap: int | str = "auto",
    seed: int = 0,
    nan: str = "raise",
    **options: Any,
) -> EncodingResult:
    """Predict the units of ``y`` from those of ``x`` on stimuli that the fit has not seen.

    Parameters
    ----------
    x, y : representation, or array-like of shape (n_stimuli, n_units)
        Source and target.  Representations are matched by stimulus name; rows of arrays must match.
    model : {"ridge"}
        Encoding model.
    folds : int, "loo", list of (train, test) or splitter
        Folds over stimuli.
    groups : str or array-like of shape (n_stimuli,), optional
        Label of the rows (a coordinate's name for representations): whole groups are held out together.
    gap : int or "auto"
        Rows left out on either side of a test block, for continuous recordings; ``"auto"`` is 0 for arrays and stimuli.
    seed : int
        Of the folds.
    nan : {"raise", "drop_units", "drop_stimuli", "pairwise"}
        ``"pairwise"``: each target unit is fitted on the stimuli it has.
    **options
        Of the model: ``alphas``, ``alpha_per_unit``, ``scoring="pearson" | "r2"``, ``nested`` ...

    Returns
    -------
    EncodingResult
        ``.score`` (mean over units, in [-1, 1] for pearson), ``.unit_scores (n_units,)``, ``.alphas``, ``.fold_scores``.

    Raises
    ------
    AlignmentError, SchemaError, MeasureError, OptionError
        When the stimuli do not match, the data are not usable, or an option does not exist.

    References
    ----------
    Hoerl & Kennard 1970.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 10))
    >>> y = x @ rng.normal(size=(10, 3)) + rng.normal(size=(100, 3))
    >>> rc.encode(x, y).score > 0.8
    True
    """
    choose(nan, NAN, "nan")
    a, b, names, sample = _matched(x, y)
    labels = _group_labels(groups, (x, y), names)
    a, b, rows = _without_nan(a, b, nan)
    labels = labels if labels is None else labels[rows]
    width = _gap(gap, sample)
    drawn = make_folds(len(a), folds, groups=labels, seed=seed, sample=sample, gap=width)
    return encode_arrays(a, b, drawn, model=model, nan="pairwise" if nan == "pairwise" else "raise", **options)


def _gap(gap: int | str, sample: Any) -> int:
    if isinstance(gap, int) and gap >= 0:
        return gap
    if gap != "auto":
        raise OptionError(f"gap={gap!r}; expected a number of rows or 'auto'")
    if sample == "time":
        raise OptionError(
            "a continuous recording needs gap=: the number of rows left out on either side of a test block"
        )
    return 0


def _group_labels(groups: Any, sides: tuple[Data, Data], names: np.ndarray | None) -> np.ndarray | None:
    if groups is None or not isinstance(groups, str):
        return None if groups is None else np.asarray(groups)
    for side in sides:
        if isinstance(side, xr.Dataset) and groups in side.coords:
            assert names is not None
            return row_labels(side, groups, names)
    raise OptionError(f"groups={groups!r}: neither side has such a label of its rows; give one label per row")


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
    values, names = _one(x)
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


def _score(measure: Measure, x: Data, y: Data, *, nan: str, folds: Any = None, seed: int = 0) -> float:
    choose(nan, NAN, "nan")
    a, b, _, sample = _matched(x, y, repeats=measure.needs == "repeats")
    if nan == "pairwise" and not measure.accepts_nan:
        raise OptionError(f"{measure.name} has no form for missing values; use nan='drop_units' or 'drop_stimuli'")
    if measure.needs == "mean":
        a, b, _ = _without_nan(a, b, nan)
    drawn: Folds | None = None
    if measure.fitted:
        drawn = make_folds(a.shape[-2], folds, seed=seed, sample=sample)
    if nan != "pairwise" and measure.accepts_nan and np.isnan(a.sum() + b.sum()):
        raise MeasureError(
            f"{measure.name}: missing values (NaN); go on with nan='drop_units', 'drop_stimuli' or 'pairwise'"
        )
    states = measure.prepared(a, drawn), measure.prepared(b, drawn, side="target")
    score = as_outcome(measure.compare(*states)).score
    if not np.isfinite(score):
        raise MeasureError(f"{measure.name} is not defined on these data (it gave {score})")
    return score


def _matched(x: Data, y: Data, repeats: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Any]:
    """Two arrays with matching rows, the names of the rows where there are any, and what the rows are."""
    labelled = [isinstance(side, xr.Dataset) for side in (x, y)]
    if any(labelled) and not all(labelled):
        raise SchemaError("one side has labels and the other has none; make both representations, or give two arrays")
    if isinstance(x, xr.Dataset) and isinstance(y, xr.Dataset):
        names = align({"x": x, "y": y}).stimuli
        door = to_repeats if repeats else to_matrix
        continuous = sample_dim(x) == "time" and sample_dim(y) == "time"
        return door(x, names), door(y, names), names, "time" if continuous else "stimulus"
    a, b = _array(x, "x"), _array(y, "y")
    if a.shape[:-1] != b.shape[:-1]:
        raise AlignmentError(f"x has shape {a.shape}, y {b.shape}; expected the same number of rows, one per stimulus")
    return a, b, None, "stimulus"


def _one(x: Data) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(x, xr.Dataset):
        from repcompare.labels.preprocess import average_repeats
        from repcompare.labels.schema import stimulus_labels

        names = stimulus_labels(average_repeats(x) if sample_dim(x) == "presentation" else x)
        return to_matrix(x, names), names
    values = _array(x, "x")
    return values, np.arange(len(values)).astype(str)


def _array(values: Any, name: str) -> np.ndarray:
    if isinstance(values, (Mapping, str)):
        raise SchemaError(f"{name} is a {type(values).__name__}; expected a representation or an array; see compare()")
    array = np.asarray(values)
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiub":
        raise SchemaError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected numbers (n_stimuli, n_units)"
        )
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _without_nan(a: np.ndarray, b: np.ndarray, nan: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the NaN policy to a pair; also return which rows are left."""
    rows = np.arange(len(a))
    if nan == "drop_units":
        a, b = (v[:, ~np.isnan(v).any(axis=0)] for v in (a, b))
    elif nan == "drop_stimuli":
        rows = np.flatnonzero(~(np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1)))
        a, b = a[rows], b[rows]
    if not a.size or not b.size:
        raise MeasureError(f"nan={nan!r} leaves nothing to compare; choose another policy")
    return a, b, rows
