"""Models and data of an RSA inference, by name, as arrays over the same stimuli."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, choose, some
from repcompare.functional._rdm_inputs import Model, Side, covariance_of, matched, pairs_of, side
from repcompare.functional.distances import rdm
from repcompare.labels.parts import parts_of
from repcompare.labels.values import duplicates
from repcompare.measures.rsa._condensed import count_stimuli
from repcompare.measures.rsa.models import RDMModel, is_flat
from repcompare.measures.rsa.reweighted import LEAST_TRAINED

Float64 = npt.NDArray[np.float64]
FEW, SOME = 6, 20  # stimuli
FEW_SUBJECTS = 4
MANY_TIES = 0.1
LEAST_FITTED = 6
SIDES = ["pvalue_zero: greater", "pvalue_ceiling: less", "pvalue_pair: two-sided", "pvalue_permutation: greater"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared.

    Attributes
    ----------
    models : tuple of RDMModel
        With missing pairs (NaN) where ``nan="common"``.
    data : ndarray, shape (n_subjects, n_pairs)
    names, subjects : tuple of str
    stimuli : ndarray of str, shape (k,), optional
        In the order of the arrays; None for plain arrays.
    given : ndarray of str, optional
        The stimuli of the data in their own order.
    distance : str
        Of the data, where they say so.
    k : int
        Number of stimuli.
    """

    models: tuple[RDMModel, ...]
    data: Float64
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    stimuli: np.ndarray | None
    given: np.ndarray | None
    distance: str
    k: int

    @property
    def flexible(self) -> bool:
        """Is anything fitted?"""
        return any(model.flexible for model in self.models)

    @property
    def rows(self) -> Float64:
        """RDMs (n_models, n_pairs) of models that are not fitted."""
        return np.concatenate([model.rdms for model in self.models])

    def variances(self, covariance: npt.ArrayLike | None) -> Float64 | None:
        """Return noise variances of the stimuli in the order of the arrays."""
        ordered = covariance_of(covariance, self.given, self.stimuli)
        return None if ordered is None else ordered if ordered.ndim == 1 else np.diagonal(ordered).copy()

    def check(self, options: Any, nan: str, covariance: npt.ArrayLike | None) -> None:
        """Raise where what was asked for cannot be had from these RDMs."""
        choose(nan, ("raise", "common"), "nan")
        if covariance is not None and not options.method.startswith("whitened"):
            raise OptionError(
                f"stimulus_covariance has no meaning for method={options.method!r}; take 'whitened_cosine' or leave it out"
            )
        if options.bootstrap in ("stimuli_and_subjects", "subjects") and len(self.data) < 2:
            raise MeasureError(
                f"the data are one RDM, {self.subjects[0]!r}; expected 2 subjects or more to draw from; "
                "take bootstrap='stimuli', or None with permutations="
            )
        if self.flexible:
            self._check_fitted(options)
        self._check_missing(nan)
        component = [(n, m.rdms) for n, m in zip(self.names, self.models, strict=True) if m.features is None]
        for kind, names, rdms in (
            ("model", [n for n, _ in component], [rows for _, rows in component]),
            ("data", self.subjects, self.data),
        ):
            flat = [
                n
                for n, rows in zip(names, rdms, strict=True)
                if all(_flat(r, options.method) for r in np.atleast_2d(rows))
            ]
            if flat:
                raise MeasureError(
                    f"{kind} {some(flat)}: the RDM is constant (or zero), {options.method!r} is not defined; leave it out"
                )

    def _check_fitted(self, options: Any) -> None:
        if self.k < LEAST_FITTED:
            raise MeasureError(
                f"{self.k} stimuli; fitted models are scored on held-out stimuli and need at least {LEAST_FITTED}; "
                "give fixed models"
            )
        if options.permutations:
            fitted = [n for n, m in zip(self.names, self.models, strict=True) if m.flexible]
            raise OptionError(
                f"permutations={options.permutations} with the fitted models {some(fitted)}: only fixed models are "
                "permuted; drop the fitted ones, or permutations="
            )

    def check_folds(self, trained: int) -> None:
        """Raise where training sets of ``trained`` distinct stimuli are too small to choose a penalty."""
        choosing = [
            name
            for name, model in zip(self.names, self.models, strict=True)
            if model.features is not None and len(model.features.penalties) > 1
        ]
        if choosing and trained < LEAST_TRAINED:
            raise MeasureError(
                f"{some(choosing)}: training sets have about {trained} distinct stimuli, too few to choose among penalties"
                f" (at least {LEAST_TRAINED}); give one: rc.rdm_models.reweighted(features, penalty=1.0)"
            )

    def _check_missing(self, nan: str) -> None:
        missing = np.isnan(np.concatenate([*(m.rdms for m in self.models), self.data])).any(axis=0)
        if missing.any() and nan == "raise":
            raise MeasureError(
                f"{int(missing.sum())} of {missing.size} pairs of stimuli are missing in an RDM; go on with the pairs that"
                " all RDMs have by nan='common', or leave out the stimuli concerned"
            )

    def check_scored(self, table: Float64) -> None:
        """Raise when a model or a subject has no held-out score."""
        lost = [n for n, row in zip(self.names, table, strict=True) if np.isnan(row).any()]
        if lost:
            raise MeasureError(
                f"{some(lost)}: the prediction, or a subject's RDM, is constant on every set of test stimuli; "
                "expected distances that vary within 3 stimuli; give more stimuli"
            )

    def record(self, options: Any, found: Mapping[str, Any], *, zero: bool) -> dict[str, Any]:
        """Return the attributes of the result."""
        out: dict[str, Any] = {
            "method": options.method,
            "bootstrap": options.bootstrap or "none",
            "n_bootstraps": options.n_bootstraps if options.bootstrap else 0,
            "permutations": options.permutations,
            "confidence": options.confidence,
            "seed": options.seed,
            "n_stimuli": self.k,
            "n_pairs_used": int(
                np.isfinite(np.concatenate([*(m.rdms for m in self.models), self.data])).all(axis=0).sum()
            ),
            "distance": self.distance or "unknown",
            "cross_validated": int(self.flexible),
            "sides": SIDES,
            "corrected_over": "models (pairs of models)",
            **({"maximum_over": "models"} if options.permutations else {}),
            "ceiling": "heuristic: pooled mid-ranks"
            if options.method.startswith("kendall")
            else "pooled in the method's norm",
        }
        if options.method.startswith("whitened"):
            out["stimulus_covariance"] = "variances of the stimuli (of a matrix, its diagonal)"
        warnings = self._warnings(options, found, zero=zero)
        return out | ({"warnings": warnings} if warnings else {})

    def _warnings(self, options: Any, found: Mapping[str, Any], *, zero: bool) -> list[str]:
        out = []
        if options.bootstrap in ("stimuli_and_subjects", "stimuli") and self.k < SOME:
            what = (
                "bootstrap samples have very few distinct ones"
                if self.k < FEW
                else "intervals are approximate below 20"
            )
            out.append(f"few_stimuli: {self.k} stimuli; {what}")
        if options.bootstrap in ("stimuli_and_subjects", "subjects") and len(self.data) < FEW_SUBJECTS:
            out.append(
                f"few_subjects: {len(self.data)} subjects; many bootstrap samples have a single one, and no ceiling"
            )
        used, dropped = found.get("counts", (0, 0))
        if dropped:
            out.append(
                f"dropped_samples: {dropped} of {used + dropped} bootstrap samples have too few distinct stimuli"
                " or subjects, or a constant RDM"
            )
        if not zero:
            out.append(
                f"cosine_zero: zero is not chance for {options.method!r} of distances that are not cross-validated;"
                " no test against 0; take permutations="
            )
        tied = [n for n, m in zip(self.names, self.models, strict=True) if any(_tied(r) > MANY_TIES for r in m.rdms)]
        if options.method in ("spearman", "kendall_tau_b") and tied:
            out.append(f"ties: {options.method} favours models with tied distances ({some(tied)}); 'rho_a' does not")
        if "variance" in found and not np.all(found["variance"] > 0):
            out.append(
                "variance: a variance is not positive; more bootstraps, or fewer folds, are needed for its p-values"
            )
        return out


def gathered(models: Any, data: Any, *, distance: str, stimuli: str) -> Study:
    """Return models and data RDMs over the same stimuli, in one order that does not depend on that of the files."""
    given = entries(models, distance)
    labels = _distance_of(data)
    rows = side(data, "data")
    order = matched({"data": rows, **{f"model {one.name}": one for one in given}}, stimuli)
    values = pairs_of(rows, order)
    arrays = tuple(one.ordered(order) for one in given)
    for one in arrays:
        if one.n_stimuli != count_stimuli(values.shape[1]):
            raise AlignmentError(
                f"model {one.name} has {one.n_stimuli} stimuli, the data have {count_stimuli(values.shape[1])}; "
                "expected the same stimuli in the same order"
            )
    for what, names in (("models", [one.name for one in given]), ("subjects", list(rows.names))):
        if duplicates(names):
            raise SchemaError(
                f"{what} {some(duplicates(names))} occur more than once; expected unique names; rename one"
            )
    return Study(
        models=arrays,
        data=values,
        names=tuple(one.name for one in given),
        subjects=rows.names,
        stimuli=order,
        given=rows.stimuli,
        distance=labels,
        k=count_stimuli(values.shape[1]),
    )


def entries(models: Any, distance: str) -> list[Model]:
    """Return every model by name; RDMs and representations become fixed models."""
    if isinstance(models, Model):
        return [models]
    models = parts_of(models) if isinstance(models, xr.DataTree) else models
    if isinstance(models, Mapping) and not isinstance(models, xr.Dataset):
        found = [one for key, value in models.items() for one in _keyed(str(key), value, distance)]
    elif isinstance(models, Sequence) and any(isinstance(one, (Model, xr.Dataset)) for one in models):
        found = [one for k, value in enumerate(models) for one in _listed(f"model/{k}", value, distance)]
    else:
        found = _fixed(side(as_sets({"model": models} if _is_representation(models) else models, distance), "model"))
    if not found:
        raise SchemaError("there are no models; expected at least one; give a mapping of name to RDM")
    return found


def _keyed(key: str, value: Any, distance: str) -> list[Model]:
    found = _listed(key, value, distance)
    if len(found) == 1:
        return [replace(found[0], array=replace(found[0].array, name=key))]
    return [replace(one, array=replace(one.array, name=f"{key}/{one.name.removeprefix(f'{key}/')}")) for one in found]


def _listed(name: str, value: Any, distance: str) -> list[Model]:
    if isinstance(value, Model):
        return [value]
    return _fixed(side(as_sets(value, distance), name))


def _fixed(one: Side) -> list[Model]:
    """Return one model per RDM; missing pairs are looked at later."""
    return [
        Model(RDMModel(name=name, kind="fixed", rdms=row[None]), one.stimuli, (name,))
        for name, row in zip(one.names, one.values, strict=True)
    ]


def _is_representation(value: Any) -> bool:
    return isinstance(value, xr.Dataset) and "response" in value


def as_sets(value: Any, distance: str) -> Any:
    """Return RDMs instead of representations, mappings instead of trees; all else as it is."""
    if _is_representation(value):
        return rdm(value, distance=distance)
    if isinstance(value, xr.DataTree):
        value = parts_of(value)
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {key: as_sets(one, distance) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and any(_is_representation(one) for one in value):
        return [as_sets(one, distance) for one in value]
    return value


def _distance_of(data: Any) -> str:
    """Return the distance that all data RDMs name, "" where they name none or several."""
    if isinstance(data, xr.Dataset):
        return str(data.attrs.get("distance", ""))
    items = data.values() if isinstance(data, Mapping) else data if isinstance(data, (list, tuple)) else []
    found = {_distance_of(one) for one in items if isinstance(one, xr.Dataset)}
    return found.pop() if len(found) == 1 else ""


def _flat(rdm: Float64, method: str) -> bool:
    return is_flat(rdm[np.isfinite(rdm)], method) if np.isfinite(rdm).any() else True


def _tied(rdm: Float64) -> float:
    """Return the share of distances that equal another one."""
    counts = np.unique(rdm[np.isfinite(rdm)], return_counts=True)[1]
    return float(counts[counts > 1].sum() / max(1, counts.sum()))
