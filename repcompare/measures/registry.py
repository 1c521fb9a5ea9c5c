"""The menu: measure ids, the functions that make them, and the plug-ins that add to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from repcompare.errors import MeasureError, UnknownMeasureError, suggest
from repcompare.measures._measure import Measure

GROUP = "repcompare.measures"

# id -> "module:function"; the function takes the options and returns a Measure.
BUILT_IN: dict[str, str] = {
    "cka": "repcompare.measures.cka:cka",
    "rsa": "repcompare.measures.rsa:rsa",
    "procrustes": "repcompare.measures.shape:procrustes",
    "cca": "repcompare.measures.cca:cca",
    "ridge": "repcompare.measures.encoding.ridge:ridge",
}

# ids under which other packages know a measure of ours, with the options that give their value.
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear_cka": ("cka", {"estimator": "biased"}),
    "cka-kernel=linear-hsic=gretton": ("cka", {"estimator": "biased"}),
    "cka-kernel=linear-hsic=song": ("cka", {"estimator": "debiased"}),
    "cka-kernel=linear-hsic=lange": ("cka", {"estimator": "rv2"}),
    "procrustes-score": ("procrustes", {"score": "similarity"}),
    "nbs-score": ("procrustes", {"score": "similarity"}),
    "procrustes-distance=angular": ("procrustes", {"score": "angular"}),
    "nbs-distance=angular": ("procrustes", {"score": "angular"}),
    "orthogonal_angular_shape_metric_centered": ("procrustes", {"score": "angular"}),
    "orthogonal_procrustes_centered_and_normalized": ("procrustes", {"score": "euclidean"}),
    "procrustes-distance=euclidean": ("procrustes", {"score": "euclidean", "scale": False}),
    "bures_distance": ("procrustes", {"score": "euclidean", "scale": False}),
    "cca-cv=5folds": ("cca", {"held_out": True}),
}

Factory = Callable[..., Measure]


@cache
def factories() -> Mapping[str, Factory]:
    """Return every measure's factory by id: the built-in ones, then those of plug-ins.

    Raises
    ------
    MeasureError
        When a plug-in takes the id of a built-in measure.
    """
    found: dict[str, Factory] = {}
    for name, home in BUILT_IN.items():
        module, _, attribute = home.partition(":")
        found[name] = getattr(import_module(module), attribute)
    for entry in entry_points(group=GROUP):
        if entry.name in found:
            raise MeasureError(f"plug-in {entry.value} registers {entry.name!r}, which exists already; rename it")
        found[entry.name] = entry.load()
    return found


def make(name: str, **options: Any) -> Measure:
    """Return the measure of this id, or of an id under which another package knows it.

    Raises
    ------
    UnknownMeasureError
        Naming the nearest id.
    """
    known = factories()
    if name in ALIASES:
        target, preset = ALIASES[name]
        return known[target](**{**preset, **options})
    if name not in known:
        raise UnknownMeasureError(f"unknown measure {name!r}{suggest(name, known)}")
    return known[name](**options)


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
                "missing_values": measure.accepts_nan,
                "min_stimuli": measure.min_stimuli,
                "invariant_to": ", ".join(sorted(measure.invariant_to)),
                "reference": measure.reference,
            }
        )
    return rows
