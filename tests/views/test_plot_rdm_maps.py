"""Pictures of maps of RDMs: what is drawn is what the map holds."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError, SchemaError
from repcompare.labels.rdms import rdm_set

pytest.importorskip("matplotlib")
NAMES = list("abcdefgh")


@pytest.fixture
def rdms():
    return rdm_set(np.random.default_rng(0).random((5, 28)), stimulus=NAMES, rdm=["m1", "m2", "m3", "d1", "d2"])


def test_shepard_diagram(rdms):
    weights = np.r_[0.0, 0.0, np.ones(26)]
    found = rc.rdm_map(rdms, which="d1", weights=weights)
    ax = rc.plot.shepard(found, title="d1")
    dots, line = ax.lines
    np.testing.assert_array_equal(dots.get_ydata(), found["map_distance"].values[2:])
    assert (np.diff(line.get_xdata()) >= 0).all() and (np.diff(line.get_ydata()) >= -1e-12).all()
    assert ax.texts[0].get_text() == f"stress {float(found['stress']):.2f}"
    with pytest.raises(SchemaError, match="rdm_map"):
        rc.plot.shepard(rdms)


def test_map_of_stimuli_with_icons(rdms):
    found = rc.rdm_map(rdms, which="d1")
    ax = rc.plot.mds(found, icons={"a": np.zeros((4, 4, 3))}, groups=["x", "y"] * 4)
    assert ax.get_xlabel().startswith("stress")


def test_map_of_models(rdms):
    found = rc.rdm_map(rdms, of="rdms")
    ax = rc.plot.model_map(found, data=["d1", "d2"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["data", "model"] or len(ax.lines) == 4
    assert len(ax.lines) == 4  # two kinds of dots, two links
    similarity = rc.compare_rdms(rdms, rdms).values
    near = int(np.argmax(similarity[3, :3]))
    ends = np.stack(ax.lines[2].get_data(), axis=1)
    np.testing.assert_allclose(ends, found["coordinates"].values[[3, near]])
    assert len(rc.plot.model_map(rc.rdm_map(rdms, of="rdms", dimensions=1)).lines) == 1
    with pytest.raises(OptionError, match="not in the map"):
        rc.plot.model_map(found, data=["d9"])
    with pytest.raises(SchemaError, match="of='rdms'"):
        rc.plot.model_map(rc.rdm_map(rdms, which="d1"))
