"""The menu: names, aliases, labels, plug-ins."""

from __future__ import annotations

import pytest

from repcompare.errors import MeasureError, UnknownMeasureError
from repcompare.measures import registry
from repcompare.measures._measure import Measure
from repcompare.measures.cka import cka


@pytest.mark.parametrize("alias", registry.ALIASES)
def test_aliases_are_measures(alias):
    name, options = registry.ALIASES[alias]
    measure = registry.make(alias)
    assert measure.name == name
    assert options.items() <= {**options, **measure.options}.items()


def test_labels():
    found = registry.resolve(["cka", cka(estimator="biased"), cka(kernel="rbf")])
    assert list(found) == ["cka", "cka(estimator=biased)", "cka(kernel=rbf, bandwidth=median, bandwidth_scale=median)"]
    assert list(registry.resolve({"mine": "rsa"})) == ["mine"]
    assert list(registry.resolve(cka())) == ["cka"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cca", {"rtol": 1e-3}),
        ("rsa", {"nan_min_units": 3}),
        ("ridge", {"nested": False}),
        ("svcca", {"variance": 0.5}),
    ],
    ids=str,
)
def test_every_option_is_recorded(name, options):
    """What is not in the record would be missed by a checkpoint."""
    assert options.items() <= dict(registry.make(name, **options).options).items()


def test_unknown_measures():
    with pytest.raises(UnknownMeasureError, match="unknown measure 'procustes'; did you mean 'procrustes'"):
        registry.make("procustes")
    with pytest.raises(MeasureError, match="is not a measure"):
        registry.resolve([3])
    with pytest.raises(MeasureError, match="expected names"):
        registry.resolve(3)


def test_a_measure_that_declares_nonsense_is_refused():
    with pytest.raises(MeasureError, match="unknown invariances"):
        Measure(
            name="x", prepare=len, compare=max, kind="similarity", score_range=(0, 1),
            invariant_to=frozenset({"rotations"}), reference="none",
        )  # fmt: skip


class Entry:
    value = "plugin:shift"

    def __init__(self, name):
        self.name = name

    def load(self):
        return lambda: cka(estimator="biased")


def test_plugins_join_the_menu(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry("shift")])
    registry.factories.cache_clear()
    try:
        assert registry.make("shift").options["estimator"] == "biased"
        assert "shift" in {row["measure"] for row in registry.menu()}
        monkeypatch.setattr(registry, "entry_points", lambda group: [Entry("cka")])
        registry.factories.cache_clear()
        with pytest.raises(MeasureError, match="registers 'cka', which exists already"):
            registry.factories()
    finally:
        registry.factories.cache_clear()
