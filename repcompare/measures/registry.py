"""The menu: measure ids, the functions that make them, and the plug-ins that add to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from typing import Any

from repcompare.errors import MeasureError, OptionError, UnknownMeasureError, suggest
from repcompare.measures._forms import as_distance
from repcompare.measures._measure import Measure
from repcompare.measures.aliases import ALIASES, NEAREST, parse

GROUP = "repcompare.measures"

# id -> "module:function"; the function takes the options and returns a Measure.
BUILT_IN: dict[str, str] = {
    "cka": "repcompare.measures.cka:cka",
    "rsa": "repcompare.measures.rsa:rsa",
    "procrustes": "repcompare.measures.shape:procrustes",
    "shape_distance": "repcompare.measures.shape:shape_distance",
    "permutation": "repcompare.measures.matching:permutation",
    "soft_match": "repcompare.measures.matching:soft_match",
    "one_to_one": "repcompare.measures.matching:one_to_one",
    "semi_match": "repcompare.measures.matching:semi_match",
    "stochastic_shape": "repcompare.measures.stochastic:stochastic_shape",
    "energy_shape": "repcompare.measures.stochastic:energy_shape",
    "cca": "repcompare.measures.cca:cca",
    "svcca": "repcompare.measures.svcca:svcca",
    "pwcca": "repcompare.measures.svcca:pwcca",
    "gulp": "repcompare.measures.spectral:gulp",
    "linear_r2": "repcompare.measures.spectral:linear_r2",
    "ensd": "repcompare.measures.spectral:ensd",
    "eigenspace_overlap": "repcompare.measures.spectral:eigenspace_overlap",
    "distance_correlation": "repcompare.measures.dependence:distance_correlation",
    "rsm_norm": "repcompare.measures.dependence:rsm_norm",
    "mutual_knn": "repcompare.measures.neighbours:mutual_knn",
    "jaccard": "repcompare.measures.neighbours:jaccard",
    "second_order_cosine": "repcompare.measures.neighbours:second_order_cosine",
    "cknna": "repcompare.measures.neighbours:cknna",
    "aligned_cosine": "repcompare.measures.neighbours:aligned_cosine",
    "magnitude_difference": "repcompare.measures.descriptors:magnitude_difference",
    "uniformity_difference": "repcompare.measures.descriptors:uniformity_difference",
    "concentricity_difference": "repcompare.measures.descriptors:concentricity_difference",
    "ridge": "repcompare.measures.encoding.ridge:ridge",
    "delayed_ridge": "repcompare.measures.encoding.banded:delayed_ridge",
    "banded_ridge": "repcompare.measures.encoding.banded:banded_ridge",
    "kernel_ridge": "repcompare.measures.encoding.kernel_ridge:kernel_ridge",
    "pls": "repcompare.measures.encoding.pls:pls",
    "linear": "repcompare.measures.encoding.linear:linear",
    "best_unit": "repcompare.measures.encoding.linear:best_unit",
    "poisson": "repcompare.measures.encoding.poisson:poisson",
    "lda": "repcompare.measures.decoding.readout:lda",
    "ridge_classifier": "repcompare.measures.decoding.readout:ridge_classifier",
    "nearest_centroid": "repcompare.measures.decoding.readout:nearest_centroid",
    "logistic": "repcompare.measures.decoding.readout:logistic",
    "svm": "repcompare.measures.decoding.readout:svm",
}

Factory = Callable[..., Measure]


def _built_in(name: str) -> Factory:
    module, _, attribute = BUILT_IN[name].partition(":")
    factory: Factory = getattr(import_module(module), attribute)
    return factory


@cache
def factories() -> Mapping[str, Factory]:
    """Return every measure's factory by id: the built-in ones, then those of plug-ins.

    Raises
    ------
    MeasureError
        When a plug-in takes the id of a built-in measure.
    """
    found: dict[str, Factory] = {name: _built_in(name) for name in BUILT_IN}
    for entry in entry_points(group=GROUP):
        if entry.name in found:
            raise MeasureError(f"plug-in {entry.value} registers {entry.name!r}, which exists already; rename it")
        found[entry.name] = entry.load()
    return found


def make(name: str, **options: Any) -> Measure:
    """Return the measure of this id, or of a name under which another package knows it (:mod:`.aliases`).

    Our ids come first: a bare ``gulp`` is ours, ``measure/REPO/gulp`` and ``gulp-lambda=1e-3`` follow the other package.
    ``note`` of the measure says how that differs.

    Raises
    ------
    UnknownMeasureError
        Naming the nearest id.
    OptionError
        For an alias with parameters that the measure does not have.
    """
    if name in BUILT_IN:  # without importing the others
        return _built_in(name)(**options)
    known = factories()
    if name in known:
        return known[name](**options)
    alias = parse(name)
    if alias is None:
        raise UnknownMeasureError(f"unknown measure {name!r}{suggest(name, [*known, *ALIASES])}")
    if alias.id not in known:
        nearest = f"; the nearest measure is {NEAREST[alias.id]!r}" if alias.id in NEAREST else ""
        raise UnknownMeasureError(f"{name!r} is our measure {alias.id!r}, which this version does not have{nearest}")
    given = {**alias.options, **options}
    lacking = sorted(set(given) - set(signature(known[alias.id]).parameters))
    if lacking:
        raise OptionError(f"{name!r} needs options {lacking} of {alias.id!r}, which this version does not have")
    measure = replace(known[alias.id](**given), note=alias.note)
    return as_distance(measure, alias.form) if alias.form else measure


def resolve(measures: object) -> dict[str, Measure]:
    """Return measures by label.

    Parameters
    ----------
    measures : str, Measure, iterable of them, or mapping of label to them
        What the user asked for.

    Raises
    ------
    UnknownMeasureError
        For a name that is not on the menu.
    MeasureError
        When nothing is asked for, or two measures have one label.
    """
    if isinstance(measures, (str, Measure)):
        measures = [measures]
    if isinstance(measures, Mapping):
        found = {str(label): _as_measure(item) for label, item in measures.items()}
    elif isinstance(measures, Iterable):
        asked = list(measures)
        items = [_as_measure(item) for item in asked]
        labels = [raw if isinstance(raw, str) else _short_label(item) for raw, item in zip(asked, items, strict=True)]
        repeated = sorted({label for label in labels if labels.count(label) > 1})
        if repeated:
            raise MeasureError(f"measures {repeated} are asked for twice; give a mapping of label to measure")
        found = dict(zip(labels, items, strict=True))
    else:
        raise MeasureError(f"measures={measures!r}; expected names, Measure objects, or a mapping of label to them")
    if not found:
        raise MeasureError("no measure asked for; see repcompare.measures() for the menu")
    return found


def _short_label(measure: Measure) -> str:
    """Name of a measure with the options in which it differs from the default on the menu."""
    known = factories().get(measure.name)
    default = known().options if known else {}
    return measure.named({k: v for k, v in measure.options.items() if k not in default or str(default[k]) != str(v)})


def _as_measure(item: object) -> Measure:
    if isinstance(item, Measure):
        return item
    if isinstance(item, str):
        return make(item)
    raise MeasureError(f"{item!r} is not a measure; expected a name or a Measure, as repcompare.measures() lists them")


def _needs(measure: Measure) -> str:
    """What the data must be, beyond one response of each unit to each stimulus."""
    if measure.target_holds != "responses":
        return f"target of {measure.target_holds}"
    if measure.reach:
        return "rows in time"
    return "" if measure.needs == "mean" else measure.needs


def menu() -> list[dict[str, Any]]:
    """Return one row per measure in its default form: what it is, its range, and what leaves it unchanged."""
    rows = []
    for name, factory in factories().items():
        measure = factory()
        low, high = measure.score_range
        rows.append(
            {
                "measure": name,
                "kind": measure.kind,
                "range": f"[{low:.4g}, {high:.4g}]",
                "unit": measure.unit,
                "symmetric": measure.symmetric,
                "metric": measure.is_metric,
                "held_out": measure.fitted,
                "needs": _needs(measure),
                "missing_values": measure.accepts_nan,
                "min_stimuli": measure.min_stimuli,
                "invariant_to": ", ".join(sorted(measure.invariant_to)),
                "reference": measure.reference,
            }
        )
    return rows
