"""Representational dissimilarity matrices and the noise that enters them, of representations or of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from repcompare.errors import MeasureError, OptionError, SchemaError, choose
from repcompare.functional._pair import NAN, Data, _array
from repcompare.functional._rdm_many import is_many, rdms_of
from repcompare.functional._rdm_rows import PARTITION, Rows, bare, labelled, without_missing
from repcompare.labels.rdms import rdm_set, select_stimuli, square_form, stimuli_of
from repcompare.labels.schema import sample_dim
from repcompare.measures.rsa._trials import pair_names, trials
from repcompare.measures.rsa._values import checked
from repcompare.measures.rsa.conventions import distance_of
from repcompare.measures.rsa.crossnobis import covariance_of_estimates, generalised, second_moment, stimulus_noise
from repcompare.measures.rsa.distances import Computed, Settings, compute
from repcompare.measures.rsa.noise import Noise, resolve
from repcompare.measures.rsa.noise import estimate_noise as _estimate


def rdm(
    x: Data | Mapping[str, Any] | xr.DataTree,
    *,
    distance: str = "correlation",
    noise: Any = None,
    partition: Any = PARTITION,
    stimulus: Any = None,
    condensed: bool = True,
    nan: str = "raise",
    generalize: str | None = None,
    covariance: bool = False,
    stimuli: str = "exact",
    convention: str = "repcompare",
    **options: Any,
) -> Any:
    """Representational dissimilarity matrix: the distance between the patterns of every two stimuli.

    Parameters
    ----------
    x : representation, mapping or tree of them, or array-like of shape (n_stimuli, n_units)
        Responses; of an array with ``stimulus`` (n_trials, n_units).  Repeats are averaged first, except by the
        cross-validated distances, which need single trials.  Of several representations (subjects, layers) the RDMs become
        one set, matched by stimulus name.
    distance : str
        ``"correlation"`` (1 - Pearson over units), ``"cosine"``, ``"euclidean"`` (root mean square difference),
        ``"squared_euclidean"``, ``"mahalanobis"`` (squared), ``"crossnobis"`` (its unbiased form, from products between
        partitions; may be negative), ``"poisson"``, ``"poisson_cv"`` (spike counts).
    noise : None, str, array of shape (n_units, n_units), or Noise
        For mahalanobis and crossnobis: ``"shrinkage_diag"`` (recommended), ``"shrinkage_eye"``, ``"full"``, ``"diag"``, all
        estimated from the repeats in x; a precision matrix; what :func:`estimate_noise` returns; or a list of one per
        partition, in the sorted order of their labels.
    partition : str, array-like of shape (n_trials,), or None
        Name of the coordinate of runs or sessions; labels of the rows of an array.  None takes every trial as a partition of
        its own.
    stimulus : array-like, shape (n_trials,), optional
        Labels of the rows of an array that has repeats; representations have theirs.
    condensed : bool
        Return the upper triangle row by row, shape (n_pairs,); otherwise the square matrix.
    nan : {"raise", "pairwise", "drop_units", "drop_stimuli"}
        ``"pairwise"``: each distance over the units that both stimuli have; NaN where there are fewer than ``min_units``.
        ``"drop_stimuli"`` also drops patterns without variance.
    generalize : {None, "time"}
        Crossnobis between every two times, of a representation with a time axis.
    covariance : bool
        Add ``dissimilarity_covariance`` (pair, pair_other) of crossnobis estimates (Datasets; complete designs with noise).
    stimuli : {"exact", "intersection"}
        Of several representations: demand the same stimuli, or keep the shared ones (each RDM, and its noise, is of all its
        own stimuli first).
    convention : {"repcompare", "rsatoolbox", "mne-rsa"}
        Whose names of distances these are, with that package's scale; rsatoolbox also sorts the stimuli of a representation
        by name.  ``repcompare.measures.rsa.conventions`` is the table, with what still differs.
    **options
        ``normalize_units=True`` (divide squared distances by the number of units), ``min_units=10``,
        ``weighting="partition" | "trial"`` (crossnobis of unbalanced designs), ``centre_patterns=False`` (subtract each
        pattern's mean over units), ``prior=(1, 0.1)`` (Poisson); see :func:`repcompare.measures.rsa.rdm`.

    Returns
    -------
    ndarray or xarray.Dataset
        float64.  Of a representation a set of RDMs with the variable ``dissimilarity``: dims ``([time,] pair)`` with
        coordinates ``stimulus_a`` and ``stimulus_b``, or ``([time,] stimulus, stimulus_b)``; stimuli in the order of the
        data.  Of several representations the first dim is ``rdm``, with their names (``subject/layer`` of a tree).
        ``attrs`` say ``distance``, ``squared``, ``normalize_units``, ``noise``, ``partition``, ``n_pairs_missing`` and
        ``warnings``: ``within_run`` where patterns of one run are compared, ``pairs_missing`` with the names of pairs that
        fewer than 2 partitions hold.

    Raises
    ------
    MeasureError, SchemaError, OptionError, AlignmentError
        For patterns without variance, a design that the distance is not defined on, missing labels, an option that does
        not exist, or representations of other stimuli.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008; Walther et al. 2016 (crossnobis, noise normalisation).

    Examples
    --------
    >>> import repcompare as rc
    >>> rc.rdm([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], distance="squared_euclidean").tolist()
    [1.0, 4.0, 1.0]
    >>> trials = rc.representation(
    ...     [[0.0], [2.0], [1.0], [2.0]], dims=("presentation", "unit"), stimulus_id=list("baba"), run=[1, 1, 2, 2]
    ... )
    >>> rc.rdm(trials, distance="crossnobis").dissimilarity.values
    array([2.])
    >>> first = rc.representation([[0.0], [1.0], [3.0]], stimulus=["a", "b", "c"])
    >>> second = rc.representation([[6.0], [2.0], [0.0]], stimulus=["c", "b", "a"])
    >>> both = rc.rdm({"sub0": first, "sub1": second}, distance="squared_euclidean")
    >>> both["rdm"].values.tolist(), both.dissimilarity.values.round(6).tolist()
    (['sub0', 'sub1'], [[1.0, 9.0, 4.0], [4.0, 36.0, 16.0]])
    """
    if is_many(x):
        given = {"distance": distance, "noise": noise, "partition": partition, "nan": nan, "convention": convention}
        _require_one(generalize=generalize, covariance=covariance, stimulus=stimulus)
        sets = rdms_of(x, lambda part: rdm(part, **given, **options), stimuli)
        return sets if condensed else _square_dataset(sets)
    if stimuli != "exact":
        raise OptionError(f"stimuli={stimuli!r} is of several representations; leave it out, or give a mapping of them")
    choose(nan, NAN, "nan")
    choose(generalize, (None, "time"), "generalize")
    if isinstance(noise, Mapping):
        raise OptionError(
            "noise is a mapping; expected one noise, or a list of one per partition in their sorted order"
        )
    policy = "pairwise" if nan == "pairwise" else "raise"
    theirs = distance_of(distance, convention)
    settings = Settings(distance=theirs.distance, noise=noise, nan=policy, **{**theirs.options, **options})
    if covariance and (settings.kind.form != "crossnobis" or noise is None or not isinstance(x, xr.Dataset)):
        raise OptionError("covariance=True is of crossnobis with noise, and of a representation; give both")
    rows = labelled(x, settings, partition) if isinstance(x, xr.Dataset) else bare(x, settings, stimulus, partition)
    rows, dropped = without_missing(rows, settings, nan)
    settings = _with_noise(rows, settings)
    if generalize:
        return _generalised(rows, settings)
    found = [compute(values, settings, rows.stimulus, rows.partition) for values in rows.bins]
    if isinstance(x, xr.Dataset):
        ds = _dataset(found, rows, settings, dropped)
        if convention == "rsatoolbox" and not covariance:
            ds = select_stimuli(ds, np.sort(stimuli_of(ds)))
        if covariance:
            ds = _with_covariance(ds, rows, settings)
        return ds if condensed else _square_dataset(ds)
    missing = np.flatnonzero(np.isnan(found[0].pairs))
    if missing.size and policy == "raise":
        raise MeasureError(
            f"{missing.size} pairs of stimuli are in fewer than 2 common partitions:"
            f" {pair_names(found[0].names, missing)}; leave out stimuli, or take nan='pairwise' to have NaN there"
        )
    return found[0].pairs if condensed else square_form(rdm_set(found[0].pairs, stimulus=_text(found[0].names)))


def _require_one(**given: Any) -> None:
    """Raise for options that are of one representation."""
    asked = [name for name, value in given.items() if value is not None and value is not False]
    if asked:
        raise OptionError(f"{asked[0]}= is of one representation; found several; take the RDM of each, x[name]")


def estimate_noise(
    x: Data,
    *,
    method: str = "shrinkage_diag",
    partition: Any = PARTITION,
    stimulus: Any = None,
    design: Any = None,
    dof: float | None = None,
) -> Noise:
    """Estimate the covariance of the noise between units, for ``rc.rdm(noise=)``.

    Parameters
    ----------
    x : representation with single trials, or array-like of shape (n_samples, n_units)
        Trials: what varies around the mean of each stimulus (and of each partition) is noise.  Times count as further
        samples.  Arrays of residuals need ``design`` or ``dof``.
    method : {"shrinkage_diag", "shrinkage_eye", "full", "diag"}
        Shrink correlations; shrink towards a multiple of the identity; sample covariance; variances only.
    partition : str, array-like of shape (n_samples,), or None
        Coordinate (or labels) of runs or sessions, whose additive patterns are removed; a representation without the
        coordinate ``run`` has none.
    stimulus : array-like, shape (n_samples,), optional
        Labels of the rows of an array.
    design : array-like, shape (n_samples, n_regressors), optional
        Of the model whose residuals an array holds: its rank is taken from the degrees of freedom.
    dof : float, optional
        Degrees of freedom, in place of N - K - M + 1 (trials of K stimuli in M partitions) or N - rank(design).

    Returns
    -------
    Noise
        Frozen: ``method``, ``shrinkage``, ``dof``, ``condition``, ``gram``, ``whiten``, ``restrict(units)``; see
        :class:`repcompare.measures.rsa.noise.Noise`.

    Raises
    ------
    MeasureError, SchemaError, OptionError
        Without repeats, with missing values, or when the covariance has no inverse.

    References
    ----------
    Ledoit & Wolf 2004; Schaefer & Strimmer 2005; Walther et al. 2016.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> z = np.random.default_rng(0).normal(size=(40, 3))
    >>> rc.estimate_noise(z, method="diag", stimulus=np.arange(40) % 4, partition=None).dof
    36.0
    """
    if not isinstance(x, xr.Dataset):
        labels = None if isinstance(partition, str) else partition
        return _estimate(_array(x, "x"), method, stimulus=stimulus, partition=labels, design=design, dof=dof)
    if sample_dim(x) != "presentation":
        raise SchemaError(
            "the noise needs single trials; found one row per stimulus; expected presentation form: give trials with"
            " dims=('presentation', 'unit') and stimulus_id=, or residuals as an array with design="
        )
    if stimulus is not None or design is not None:
        raise OptionError("stimulus= and design= are for arrays; a representation has its labels")
    settings = Settings(distance="crossnobis")
    names = PARTITION if isinstance(partition, str) and partition == PARTITION and PARTITION not in x.coords else None
    rows = labelled(x, settings, None if names else partition)
    rows = replace(rows, partition=None) if partition is None or names else rows
    return _pooled(rows, method, dof)


def _pooled(rows: Rows, method: str, dof: float | None = None) -> Noise:
    """Return the noise of trials; times are further samples of it, each with means of its own."""
    if rows.time is None:
        return _estimate(rows.values, method, stimulus=rows.stimulus, partition=rows.partition, dof=dof)
    bins, t = rows.bins, len(rows.time)
    n = len(bins[0])
    stimulus = np.concatenate([np.char.add(f"{k}/", _text(rows.stimulus)) for k in range(t)])
    parts = None
    if rows.partition is not None:
        parts = np.concatenate([np.char.add(f"{k}/", _text(rows.partition)) for k in range(t)])
    assert stimulus.shape == (n * t,)
    return _estimate(np.concatenate(bins), method, stimulus=stimulus, partition=parts, dof=dof)


def _with_noise(rows: Rows, settings: Settings) -> Settings:
    """Estimate the noise once for all times."""
    if not isinstance(settings.noise, str) or rows.time is None:
        return settings
    return replace(settings, noise=_pooled(rows, settings.noise))


def _text(labels: Any) -> np.ndarray:
    return np.asarray(labels).astype(str)


def _dataset(found: Sequence[Computed], rows: Rows, settings: Settings, dropped: dict[str, int]) -> xr.Dataset:
    """Return the RDMs of a representation with their labels."""
    first = found[0]
    pairs = first.pairs if rows.time is None else np.stack([one.pairs for one in found])
    warnings = list(rows.warnings)
    missing = np.flatnonzero(np.isnan(np.atleast_2d(pairs)).any(axis=0))
    if missing.size:
        warnings.append(
            f"pairs_missing: {missing.size} pairs could not be computed: {pair_names(first.names, missing)}"
        )
    attrs = _attrs(first, rows, settings) | dropped | ({"warnings": warnings} if warnings else {})
    return rdm_set(pairs, stimulus=_text(first.names), time=rows.time, attrs=attrs)


def _attrs(found: Computed, rows: Rows, settings: Settings) -> dict[str, Any]:
    kind = settings.kind
    noise = found.noise
    return {
        "distance": settings.distance,
        "squared": int(kind.form in ("mahalanobis", "crossnobis") or settings.distance == "squared_euclidean"),
        "normalize_units": int(settings.normalize_units),
        "noise": "none" if noise is None else noise.label if isinstance(noise, Noise) else "one per partition",
        "partition": rows.record if kind.cross_validated else "none",
        **({"weighting": settings.weighting} if kind.form == "crossnobis" else {}),
    }


def _square_dataset(ds: xr.Dataset) -> xr.Dataset:
    names = stimuli_of(ds)
    dims = [d for d in ("rdm", "time") if d in ds.dims]
    coords: dict[str, Any] = {"stimulus": ("stimulus", names), "stimulus_b": ("stimulus_b", names)}
    coords |= {d: ds[d] for d in dims}
    return xr.Dataset(
        {"dissimilarity": ((*dims, "stimulus", "stimulus_b"), square_form(ds))}, coords=coords, attrs=ds.attrs
    )


def _prepared(rows: Rows, settings: Settings, values: np.ndarray) -> tuple[Any, Noise | None]:
    """Return trials and one noise object, for what only complete designs have."""
    x, has_nan = checked(values, settings.nan)
    data = trials(x, rows.stimulus, rows.partition, has_nan=has_nan)
    noise = settings.noise
    if isinstance(noise, (list, tuple)):
        raise OptionError("one noise per partition has no form for covariance= or generalize=; give one noise for all")
    if isinstance(noise, str):
        noise = _pooled(rows, noise)
    return data, resolve(noise, x.shape[1])


def _generalised(rows: Rows, settings: Settings) -> xr.Dataset:
    """Return crossnobis between every two times."""
    if rows.time is None or settings.kind.form != "crossnobis":
        raise OptionError("generalize='time' is of crossnobis, and of a representation with a time axis; give both")
    if np.isnan(rows.values).any():
        raise MeasureError("missing values (NaN): time generalisation has no form for them; drop units or stimuli")
    data, noise = _prepared(rows, settings, rows.bins[0])
    pairs = generalised(rows.values, data, noise)
    if not settings.normalize_units:
        pairs *= rows.values.shape[1]
    names = _text(data.names)
    i, j = np.triu_indices(len(names), 1)
    coords = {
        "stimulus_a": ("pair", names[i]),
        "stimulus_b": ("pair", names[j]),
        "time": rows.time,
        "time_other": rows.time,
    }
    attrs = _attrs(Computed(pairs[0, 0], names, noise), rows, settings)
    return xr.Dataset({"dissimilarity": (("time", "time_other", "pair"), pairs)}, coords=coords, attrs=attrs)


def _with_covariance(ds: xr.Dataset, rows: Rows, settings: Settings) -> xr.Dataset:
    """Add the covariance of the estimates, with the data's own second moment and covariance between stimuli."""
    if rows.time is not None:
        raise OptionError("covariance=True is of one RDM; pick a time first: ds.isel(time=...)")
    data, noise = _prepared(rows, settings, rows.values)
    p = rows.values.shape[1]
    between = stimulus_noise(data, noise)
    found = covariance_of_estimates(second_moment(data, noise), between, len(data.partitions), p)
    scale = 1 if settings.normalize_units else p**2
    return ds.assign(dissimilarity_covariance=(("pair", "pair_other"), found * scale))
