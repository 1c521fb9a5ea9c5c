"""Pictures of decoding show the numbers that they are given."""

from __future__ import annotations

import io

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError, SchemaError

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def over_time():
    rng = np.random.default_rng(0)
    labels = np.repeat(["face", "house", "shoe"], 20)
    x = rng.normal(size=(60, 12, 6))
    x[:, :, 3:] += 2 * rng.normal(size=(3, 12))[np.repeat(np.arange(3), 20)][:, :, None]
    ds = rc.representation(
        x,
        dims=("presentation", "unit", "time"),
        stimulus_id=[f"s{i}" for i in range(60)],
        stimulus_category=labels,
        time=np.arange(6) * 0.05 - 0.1,
    )
    return rc.decode(ds, "stimulus_category", model="ridge", permutations=40, generalize=True), ds


def test_confusion_draws_the_shares_of_each_true_class(over_time):
    found = rc.decode(over_time[1].isel(time=4), "stimulus_category", model="ridge")
    ax = rc.plot.confusion(found, title="all")
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown, found.confusion / found.confusion.sum(axis=1, keepdims=True))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["face", "house", "shoe"]
    assert ax.get_xlabel() == "decoded" and ax.get_title(loc="left") == "all"
    ax.figure.savefig(io.BytesIO())


def test_confusion_of_counts_in_another_order():
    counts = np.array([[5, 1], [2, 6]])
    ax = rc.plot.confusion(counts, classes=["a", "b"], order=["b", "a"], share=False)
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), [[6, 2], [1, 5]])
    assert [t.get_text() for t in ax.texts] == ["6", "2", "1", "5"]
    assert not rc.plot.confusion(np.eye(30)).texts  # too many to write


def test_a_class_without_rows_is_left_blank():
    ax = rc.plot.confusion(np.array([[3, 1], [0, 0]]))
    assert np.isnan(np.ma.filled(ax.images[0].get_array(), np.nan)[1]).all() and len(ax.texts) == 2


def test_generalization_shows_training_times_upwards(over_time):
    found, ds = over_time
    ax = rc.plot.generalization(found, alpha=0.05)
    image = ax.images[0]
    np.testing.assert_array_equal(np.asarray(image.get_array()), found.score)
    assert image.origin == "lower"
    np.testing.assert_allclose(image.get_extent(), [-0.125, 0.175, -0.125, 0.175])
    low, high = image.get_clim()
    assert low + high == pytest.approx(2 / 3)  # colours meet at chance
    assert ax.figure.axes[-1].get_ylim() == pytest.approx((found.score.min(), high))
    assert ax.get_xlabel() == "test time (s)" and ax.get_ylabel() == "training time (s)"
    ax.figure.savefig(io.BytesIO())


def test_the_outline_runs_along_the_edges_of_the_cells(over_time):
    found, _ = over_time
    marked = found.pvalue_corrected <= 0.05
    assert marked[3:, 3:].all() and not marked[:3].any() and not marked[:, :3].any()
    ax = rc.plot.generalization(found)
    line = np.concatenate([path.vertices for path in ax.collections[0].get_paths()])
    np.testing.assert_allclose(line.min(axis=0), 0.025, atol=0.01)
    np.testing.assert_allclose(line.max(axis=0), 0.175, atol=0.01)


def test_an_array_of_scores():
    ax = rc.plot.generalization(np.array([[0.4, 0.5], [0.5, 0.9]]), limits=(0, 1), title="t")
    assert ax.images[0].get_clim() == (0, 1) and ax.get_xlabel() == "test time"


def test_what_cannot_be_drawn_is_named(over_time):
    found, ds = over_time
    with pytest.raises(SchemaError, match="pick one time"):
        rc.plot.confusion(found)
    with pytest.raises(OptionError, match="different names"):
        rc.plot.confusion(np.eye(2), classes=["a", "a"])
    with pytest.raises(OptionError, match="each of 0, 1 once"):
        rc.plot.confusion(np.eye(2), order=[0])
    with pytest.raises(SchemaError, match="generalize=True"):
        rc.plot.generalization(rc.decode(ds, "stimulus_category", model="ridge"))
    with pytest.raises(OptionError, match="evenly spaced"):
        rc.plot.generalization(np.eye(3), times=[0, 1, 5])
    with pytest.raises(SchemaError, match="single time"):
        rc.plot.generalization(np.ones((1, 1)))
