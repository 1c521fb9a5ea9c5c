"""Feature-reweighted RSA and variance partitioning, with names."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, SchemaError, some
from repcompare.functional._pair import one_side
from repcompare.functional._partition_intervals import Drawn, intervals
from repcompare.functional._rdm_inputs import Side, draw_splits, matched, pairs_of, side
from repcompare.functional.rdm_models import unit_names
from repcompare.labels.inference import PARTITIONING_SCHEMA
from repcompare.labels.values import duplicates
from repcompare.measures.rsa import partitioning, reweighted
from repcompare.measures.rsa._condensed import count_stimuli

SEPARATOR = " + "


def fr_rsa(
    features: Any,
    data: Any,
    *,
    method: str = "pearson",
    penalty: npt.ArrayLike | None = None,
    nonnegative: bool = False,
    level: str = "rdm",
    repeats: int = 10,
    seed: int = 0,
    stimuli: str = "exact",
) -> xr.Dataset:
    """Feature-reweighted RSA: predict RDMs by a weighted sum of each feature's squared differences, on held-out stimuli.

    Parameters
    ----------
    features : representation, or array-like of shape (n_stimuli, n_units)
        Features of the stimuli; repeats are averaged first.
    data : set of RDMs, or array-like of shape (n_pairs,) or (n_rdms, n_pairs)
        Pairs that an RDM lacks (NaN) are neither fitted nor scored.
    method : str
        Comparator of the held-out scores; see :func:`repcompare.compare_rdms`.  The fit is least squares.
    penalty : float or sequence of float, optional
        Ridge penalties, in units of the variance of a feature's squared differences; of several the one with the least
        error on held-out stimuli of each training set.  13 from 1e-3 to 1e3 by default.
    nonnegative : bool
        Keep the weights at 0 or above.
    level : {"rdm", "group"}
        Weights for each data RDM, or one set for all, from the sum of the normal equations of the standardised RDMs.
    repeats : int
        Shuffles of the stimuli, each with 5 test sets (3 below 14 stimuli).
    seed : int
    stimuli : {"exact", "intersection"}

    Returns
    -------
    xarray.Dataset
        ``score`` (rdm): mean over the outer folds of Fisher's z, back-transformed (plain with 3 test stimuli);
        ``score_fold`` (rdm, fold), 0 where a prediction is constant; ``score_equal`` (rdm): equal weights on the same
        pairs; ``penalty_fold`` (target, fold); ``weight`` (target, unit), ``intercept``, ``penalty`` (target): a fit to
        all stimuli, descriptive, not what is scored; ``n_pairs_used`` (rdm): pairs that the RDM has.

    Raises
    ------
    AlignmentError, MeasureError, OptionError, SchemaError
        When the stimuli do not match, there are fewer than 9, features have missing values, an RDM has fewer than 3 pairs
        in a fold, or is constant.

    References
    ----------
    Kaniuth & Hebart 2022.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> data = rc.rdm(x * np.sqrt([4.0, 0.0, 1.0, 0.0]), distance="squared_euclidean", normalize_units=False)
    >>> found = rc.fr_rsa(x, data, repeats=2)
    >>> bool(found["score"][0] > 0.99), abs(found["weight"].values[0]).round(1).tolist()
    (True, [4.0, 0.0, 1.0, 0.0])
    """
    values, names = one_side(features)
    labelled = isinstance(features, xr.Dataset)
    rows = side(data, "data")
    own = SimpleNamespace(stimuli=names if labelled else None)
    order = matched({"data": rows, "features": own}, stimuli)
    if order is not None:
        place = {name: row for row, name in enumerate(names.tolist())}
        values = values[[place[name] for name in order.tolist()]]
    checked = reweighted.checked_features(values, penalty, nonnegative, seed)
    pairs = pairs_of(rows, order)
    found = reweighted.fr_rsa(checked, pairs, method=method, level=level, repeats=repeats)  # type: ignore[arg-type]
    targets = list(rows.names) if level == "rdm" else ["group"]
    variables = {
        "score": ("rdm", found.scores),
        "score_equal": ("rdm", found.equal_scores),
        "score_fold": (("rdm", "fold"), found.fold_scores.T),
        "penalty_fold": (("target", "fold"), found.fold_penalties.T),
        "weight": (("target", "unit"), found.refit.weights.T),
        "intercept": ("target", found.refit.intercept),
        "penalty": ("target", found.refit.penalty),
        "n_pairs_used": ("rdm", found.n_pairs),
    }
    coords = {"rdm": list(rows.names), "target": targets, "unit": list(unit_names(features, values.shape[1]))}
    attrs = {
        "method": method,
        "level": level,
        "nonnegative": int(nonnegative),
        "seed": seed,
        "n_stimuli": len(values),
        "outer_folds": reweighted.outer_folds(len(values)),
        "repeats": repeats,
        "n_predictions_constant": found.n_constant,
        "weights": "fit to all stimuli, descriptive",
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def variance_partitioning(
    data: Any,
    models: Any,
    *,
    cross_validated: bool = True,
    nonnegative: bool = False,
    ranked: bool = False,
    folds: Any = None,
    subject_folds: int | None = None,
    n_bootstraps: int = 0,
    bootstrap: str = "stimuli_and_subjects",
    confidence: float = 0.95,
    seed: int = 0,
    stimuli: str = "exact",
) -> xr.Dataset:
    """Partition the variance of RDMs into what model RDMs explain each alone, and in common.

    Parameters
    ----------
    data : set of RDMs, or array-like of shape (n_pairs,) or (n_rdms, n_pairs)
        One per subject.  Missing pairs (NaN): each RDM is fitted and explained on the pairs that it and all models have.
    models : mapping of name to RDMs, or set of RDMs
        1 to 6 models, each one RDM or a group of several (a set, or an array (n_components, n_pairs)); the RDMs of one
        set are a model each.
    cross_validated : bool
        R^2 on held-out stimuli and subjects; parts may be negative.  Otherwise each data RDM is fitted and explained on
        all its pairs.
    nonnegative : bool
        Keep the weights of model RDMs at 0 or above.
    ranked : bool
        Partition the variance of ranks.
    folds, subject_folds, seed
        As in :func:`repcompare.functional.rdm_models.cross_validate`; ``seed`` is that of the bootstrap too.
    n_bootstraps : int
        Bootstrap samples behind the intervals; 0 for none, 1000 is usual.
    bootstrap : {"stimuli_and_subjects", "stimuli", "subjects"}
        What the intervals shall generalise to; ``"stimuli"`` for one data RDM.
    confidence : float
        Of the intervals.
    stimuli : {"exact", "intersection"}

    Returns
    -------
    xarray.Dataset
        ``r2`` (subset, rdm) of every set of models; ``part`` (subset, rdm): what exactly these models have in common (of one
        model: its unique part), which sum to ``r2`` of all models; ``unique`` (model, rdm); ``member`` (subset, model);
        ``n_pairs_used`` (rdm): pairs that it shares with all models.  With ``n_bootstraps``, for ``r2``, ``part`` (subset)
        and ``unique`` (model): ``_mean`` over subjects, ``_variance`` (for two factors the corrected one), ``_low`` and
        ``_high``, and ``dof``, ``n_samples_used``, ``n_samples_dropped``.

    Raises
    ------
    AlignmentError, MeasureError, OptionError, SchemaError
        When the stimuli do not match, there are too few or more than 6 models, an RDM has fewer than 3 pairs in a fold or is
        constant, or one data RDM is asked for new subjects.

    Notes
    -----
    The bootstrap is that of :func:`repcompare.rsa_inference`: pairs of copies of a stimulus do not count, R^2 is
    cross-validated inside every sample with copies in one fold (``bootstrap_folds`` in attrs: folds over stimuli and
    subjects), by two assignments to folds from which each variance is extrapolated to infinitely many.

    References
    ----------
    Lescroart et al. 2015; Groen et al. 2018; Nimon & Oswald 2013.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> one, two, noise = rng.random((3, 66))
    >>> found = rc.variance_partitioning(one + two + 0.1 * noise, {"one": one, "two": two}, cross_validated=False)
    >>> bool(np.isclose(found["part"].sum(), found["r2"].sel(subset="one + two")[0]))
    True
    """
    groups = _groups(models)
    _require_distinct_subsets(list(groups))
    rows = side(data, "data")
    order = matched({"data": rows, **{f"model {name}": one for name, one in groups.items()}}, stimuli)
    pairs = pairs_of(rows, order)
    stacks = [pairs_of(one, order) for one in groups.values()]
    if any(stack.shape[1] != pairs.shape[1] for stack in stacks):
        raise AlignmentError(f"the models have other numbers of pairs than the data ({pairs.shape[1]})")
    splits = None
    if cross_validated:
        splits = draw_splits(count_stimuli(pairs.shape[1]), len(pairs), folds, subject_folds, seed)
    drawn = Drawn(
        bootstrap=bootstrap,
        n_bootstraps=n_bootstraps,
        confidence=confidence,
        seed=seed,
        cross_validated=cross_validated,
        folds=folds,
        subject_folds=subject_folds,
    )
    drawn.check(len(pairs))
    found = partitioning.partition_variance(stacks, pairs, splits=splits, nonnegative=nonnegative, ranked=ranked)
    attrs: dict[str, Any] = {
        "schema": PARTITIONING_SCHEMA,
        "cross_validated": int(cross_validated),
        "nonnegative": int(nonnegative),
        "ranked": int(ranked),
        "seed": seed,
        "n_stimuli": count_stimuli(pairs.shape[1]),
        "n_folds": len(splits) if splits else 0,
    }
    out = _table(found, list(groups), list(rows.names))
    if n_bootstraps:
        more, record = intervals(stacks, pairs, found, (nonnegative, ranked), drawn)
        out, attrs = out.assign(more), attrs | record
    return out.assign_attrs(attrs)


def _table(found: partitioning.Partition, names: list[str], rdms: list[str]) -> xr.Dataset:
    """Return a partition with the names of models and of data RDMs."""
    member = np.array([[g in subset for g in range(len(names))] for subset in found.subsets])
    variables = {
        "r2": (("subset", "rdm"), found.r2),
        "part": (("subset", "rdm"), found.parts),
        "unique": (("model", "rdm"), found.unique),
        "member": (("subset", "model"), member),
        "n_pairs_used": ("rdm", found.n_pairs),
    }
    subsets = [SEPARATOR.join(names[g] for g in subset) for subset in found.subsets]
    return xr.Dataset(variables, coords={"subset": subsets, "model": names, "rdm": rdms})


def _require_distinct_subsets(names: list[str]) -> None:
    """Raise where two sets of models would have one name, as the model "a + b" and the models "a" and "b" together."""
    sizes = range(1, len(names) + 1) if len(names) <= partitioning.MAX_GROUPS else ()
    repeated = duplicates([SEPARATOR.join(subset) for size in sizes for subset in combinations(names, size)])
    if repeated:
        raise SchemaError(
            f"{some(repeated)} would be the name of several sets of models; expected names that tell sets apart;"
            f" leave {SEPARATOR.strip()!r} out of the names of models"
        )


def _groups(models: Any) -> dict[str, Side]:
    """Return the RDMs of each model by its name."""
    if isinstance(models, xr.Dataset):
        one = side(models, "models")
        return {name: Side(one.values[[row]], one.stimuli, (name,)) for row, name in enumerate(one.names)}
    if not isinstance(models, Mapping):
        raise SchemaError(f"models is a {type(models).__name__}; expected a mapping of name to RDMs, or a set of RDMs")
    return {str(name): side(value, str(name)) for name, value in models.items()}
