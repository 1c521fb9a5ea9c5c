"""Permutations by refitting: the units of many permuted targets are fitted together where a unit's fit is its own."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError
from repcompare.functional import _encoded

BANDS = {"bands": [slice(0, 3), slice(3, 5)], "n_iter": 6}


def noisy(seed: int, n: int = 60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    return x, x @ rng.normal(size=(5, 3)) * 0.2 + rng.normal(size=(n, 3))


def series(seed: int, n: int = 90):
    return [rc.representation(v, dims=("time", "unit"), time=np.arange(n) * 2.0) for v in noisy(seed, n)]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("ridge", {}),
        ("ridge", {"alpha_per_unit": False}),
        ("banded_ridge", BANDS),
        ("banded_ridge", BANDS | {"shared": True}),
        ("kernel_ridge", {}),
        ("linear", {}),
        ("best_unit", {}),
        ("pls", {"n_components": 2}),
    ],
)
def test_fitting_permuted_targets_together_changes_no_score(monkeypatch, model, options):
    x, y = noisy(1)
    together = rc.encode(x, y, model=model, permutations=9, null="refit", **options)
    monkeypatch.setattr(_encoded, "STACKED", 1)
    alone = rc.encode(x, y, model=model, permutations=9, null="refit", **options)
    for name in ("pvalue", "pvalues", "pvalues_corrected"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
    assert 1 / 10 < np.max(alone.pvalues) <= 1  # the null is not all on one side


def test_delayed_features_are_tested_too():
    x, y = series(2)
    found = rc.encode(x, y, delays=[0, 1], gap=2, permutations=19, null="refit")
    assert found.pvalues.shape == (3,)
    assert (found.pvalues_corrected >= found.pvalues).all()


def test_a_measured_gap_spans_the_longest_delay():
    x, y = series(3)
    assert rc.encode(x, y, delays=[0, 7]).gap == 7
    assert rc.encode(x, y, hrf=[0.0, 1.0, 0.5, 0.2, 0.1]).gap >= 4
    parts = rc.encode_partition(x, y, bands=BANDS["bands"], delays=[7], model="ridge")
    assert parts["component"].size == 3


def test_delays_of_plain_arrays_are_refused_with_a_way_out():
    x, y = noisy(4)
    with pytest.raises(OptionError, match="dims=\\('time', 'unit'\\)"):
        rc.encode(x, y, delays=[1])
    runs = np.repeat([0, 1, 2, 3], 15)
    assert rc.encode(x, y, delays=[1], groups=runs, runs=runs, folds=4).unit_scores.shape == (3,)


def test_units_keep_their_names():
    x, y = (rc.representation(v, stimulus=[f"s{i:02d}" for i in range(60)]) for v in noisy(5))
    assert rc.encode(x, y).unit_ids.tolist() == ["unit/0", "unit/1", "unit/2"]
    assert rc.encode(*noisy(5)).unit_ids is None
    y["response"][3, 1] = np.nan
    found = rc.encode(x, y, nan="drop_units")
    assert found.unit_ids.tolist() == ["unit/0", "unit/2"]
    assert found.unit_scores.shape == (2,)
    parts = rc.encode_partition(x, y, bands=BANDS["bands"], model="ridge", nan="drop_units")
    assert parts["unit_id"].values.tolist() == ["unit/0", "unit/2"]
