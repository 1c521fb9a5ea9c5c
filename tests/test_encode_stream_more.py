"""Streamed ridge: inference from fixed predictions, both directions, missing values; as in memory."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from tests.test_encode_stream import labelled, stored

FIELDS = ("pvalue", "pvalues", "pvalues_corrected", "pvalues_fdr", "score_low", "score_high", "score_se", "unit_low")


def data(p, seed=0, n=80, t=9):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 3
    y = 0.15 * x[:, :5] @ rng.normal(size=(5, t)) + rng.normal(size=(n, t)) * np.geomspace(0.5, 20, t) - 7
    return x, y


WIDTHS = {5: 40_000, 150: 4_000_000}  # features: memory, which holds some of the units


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize(
    "options", [{}, {"scoring": "r2"}, {"interval": "bootstrap"}, {"summary": "median", "fisher_z": True}]
)
def test_tests_and_intervals_equal_those_in_memory(p, options):
    x, y = data(p)
    asked = {"permutations": 99, "confidence": 0.9, "seed": 3, **options}
    whole, found = rc.encode(x, y, **asked), rc.encode(x, y, memory=10**8, **asked)
    fixed = p == 5 and "interval" not in options
    for name in FIELDS[:4] if fixed else FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-7, err_msg=name)
    assert set(whole.notes) <= set(found.notes)
    assert any(note.startswith("interval_fixed") for note in found.notes) == fixed


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
def test_without_training_rows_the_interval_is_that_of_other_models(scoring):
    """Blocks of rows are not kept: test rows alone, times sqrt 2 for 5 folds; wider than with the training rows."""
    x, y = data(5)
    asked = {"confidence": 0.9, "scoring": scoring, "alphas": 1e-9}
    found = rc.encode(x, y, memory=10**8, **asked)
    plain = rc.encode(x, y, model="linear", confidence=0.9, scoring=scoring)
    assert found.score_se == pytest.approx(plain.score_se, rel=1e-6)
    np.testing.assert_allclose(found.unit_low, plain.unit_low, rtol=1e-5, atol=1e-8)


def test_batches_of_units_share_permutations_and_blocks():
    x, y = data(5, t=60)
    for more in ({}, {"interval": "bootstrap"}, {"summary": "median"}):
        asked = {"permutations": 19, "confidence": 0.9, **more}
        whole, found = (rc.encode(x, y, memory=memory, **asked) for memory in (10**8, 3_200_000))
        assert any("x was read" in note for note in found.notes)
        assert [n for n in found.notes if "x was read" in n] != [n for n in whole.notes if "x was read" in n]
        for name in FIELDS:
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-8, err_msg=name)


def test_few_blocks_give_an_interval_over_folds():
    x, y = data(5)
    asked = {"groups": np.arange(80) // 10, "folds": 4, "confidence": 0.9}
    whole, found = rc.encode(x, y, **asked), rc.encode(x, y, memory=10**8, **asked)
    assert found.score_low == pytest.approx(whole.score_low, rel=1e-8)
    assert any(note.startswith("interval_over_folds: 8 blocks") for note in found.notes)


def test_blocks_of_a_recording_are_exchanged():
    x, y = data(5, n=160)
    sides = [rc.representation(v, dims=("time", "unit"), time=np.arange(160.0)) for v in (x, y)]
    asked = {"gap": 3, "folds": 4, "permutations": 49}
    whole, found = rc.encode(*sides, **asked), rc.encode(*sides, memory=10**8, **asked)
    np.testing.assert_array_equal(found.pvalues_corrected, whole.pvalues_corrected)


@pytest.mark.parametrize("p", WIDTHS)
def test_both_directions(p):
    x, y = data(p)
    asked = {"direction": "both", "weights": True}
    whole, found = rc.encode(x, y, **asked), rc.encode(x, y, memory=10**8, **asked)
    np.testing.assert_allclose(found.coef, whole.coef, rtol=1e-6, atol=1e-9)
    for name in ("score", "score_reverse", "score_mean"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-9)
    np.testing.assert_allclose(found.reverse.unit_scores, whole.reverse.unit_scores, rtol=1e-9)
    assert found.reverse.unit_scores.shape == (p,)


@pytest.mark.parametrize("p", WIDTHS)
@pytest.mark.parametrize("nested", [True, False])
def test_leave_one_out_takes_the_products_of_the_rows(p, nested):
    x, y = data(p)
    asked = {"folds": "loo", "scoring": "r2", "nested": nested}
    whole, found = rc.encode(x, y, **asked), rc.encode(x, y, memory=10**7, **asked)
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.alphas, whole.alphas, rtol=1e-9)
    assert found.details["solver"] == "streamed, leave-one-out in closed form"


@pytest.mark.parametrize("nan", ["drop_units", "drop_stimuli"])
@pytest.mark.parametrize("p", WIDTHS)
def test_missing_values_are_left_out_by_policy(tmp_path, p, nan):
    x, y = data(p)
    x[7, 2], y[[20, 21], 1], y[50, 8] = np.nan, np.nan, np.nan
    sides = labelled(x, y, (None, np.arange(80)[::-1]))
    whole = rc.encode(*sides, nan=nan, weights=True)
    with stored(tmp_path, sides) as files:
        found = rc.encode(*files, nan=nan, memory=10**8, weights=True)
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(found.coef, whole.coef, rtol=1e-6, atol=1e-9)
    assert found.unit_ids.tolist() == whole.unit_ids.tolist()
    arrays = rc.encode(x, y, nan=nan, memory=10**8)
    np.testing.assert_allclose(arrays.unit_scores, rc.encode(x, y, nan=nan).unit_scores, rtol=1e-9)


@pytest.mark.parametrize("p", WIDTHS)
def test_weights_on_disk_have_their_name_when_all_is_done(tmp_path, p):
    x, y = data(p)
    whole = rc.encode(x, y, memory=10**8, weights=True, direction="both")
    found = rc.encode(x, y, memory=10**8, weights=str(tmp_path / "coef.npy"), direction="both")
    np.testing.assert_array_equal(np.load(tmp_path / "coef.npy"), whole.coef)
    np.testing.assert_array_equal(found.weights.values, whole.coef)
    np.testing.assert_allclose(found.predict(x), whole.predict(x), rtol=1e-12)
    x[3, 2] = np.nan
    with pytest.raises(MeasureError, match="NaN"):
        rc.encode(x, y, memory=10**8, weights=tmp_path / "other.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["coef.npy"]


def test_a_policy_that_leaves_nothing_raises():
    x, y = data(5)
    y[np.arange(9), np.arange(9)] = np.nan
    with pytest.raises(MeasureError, match="leaves nothing to compare"):
        rc.encode(x, y, nan="drop_units", memory=10**8)
    with pytest.raises(OptionError, match="nan='pairwise'"):
        rc.encode(x, y, nan="pairwise", memory=10**8)


def test_progress_counts_to_its_total():
    x, y = data(5, t=60)
    for options in ({"permutations": 9}, {"confidence": 0.8, "weights": True}, {"nan": "drop_units"}):
        seen = []
        rc.encode(x, y, memory=3_200_000, progress=lambda *a, seen=seen: seen.append(a), **options)
        assert [done for done, _, _ in seen] == list(range(1, seen[0][1] + 1)), options
