"""Slices of a searchlight map."""

from __future__ import annotations

import io

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError, SchemaError


@pytest.fixture(scope="module")
def result():
    places = np.indices((5, 5, 4)).reshape(3, -1) + np.array([[2], [0], [7]])
    names = [f"s{i}" for i in range(6)]
    rng = np.random.default_rng(0)
    ds = rc.representation(
        rng.normal(size=(6, 100)), stimulus=names, **dict(zip(("unit_i", "unit_j", "unit_k"), places, strict=True))
    )
    model = {n: rc.rdm_models.from_features(rng.normal(size=(6, 2)), stimulus=names) for n in ("a", "b")}
    return rc.searchlight(ds, model, radius=1, permutations=9, progress=False)


def titles(canvas):
    return [axis.get_title(loc="left") for axis in canvas.axes if axis.get_title(loc="left")]


def test_slices_that_hold_values_are_drawn(result):
    canvas = rc.plot.searchlight_slices(result, model="b", alpha=0.5)
    assert titles(canvas) == ["k = 8", "k = 9"]  # the outermost have no whole sphere
    drawn = canvas.axes[0].images[1].get_array()
    inner = result.sel(model="b").score.values[(result.unit_k == 8).values].reshape(5, 5).T
    np.testing.assert_array_equal(np.ma.filled(drawn, np.nan), inner)
    canvas.savefig(io.BytesIO())


def test_planes_slices_and_variables_by_name(result):
    assert titles(rc.plot.searchlight_slices(result, model="a", plane="sagittal", slices=[4, 3])) == ["i = 4", "i = 3"]
    counts = rc.plot.searchlight_slices(result, variable="n_units", plane="coronal")
    assert counts.axes[2].images[1].get_array().max() == 7 and len(titles(counts)) == 5
    one = rc.plot.searchlight_slices(result.isel(model=[0]), limits=(-1, 1), title="map")
    assert one.axes[0].images[1].get_clim() == (-1, 1)


def test_what_cannot_be_drawn_is_named(result):
    with pytest.raises(OptionError, match="2 models"):
        rc.plot.searchlight_slices(result)
    with pytest.raises(OptionError, match="model='c'"):
        rc.plot.searchlight_slices(result, model="c")
    with pytest.raises(OptionError, match="did you mean 'score'"):
        rc.plot.searchlight_slices(result, variable="scores")
    with pytest.raises(OptionError, match="from 7 to 10"):
        rc.plot.searchlight_slices(result, model="a", slices=[0])
    with pytest.raises(OptionError, match="plane"):
        rc.plot.searchlight_slices(result, model="a", plane="axiall")
    with pytest.raises(SchemaError, match="unit_i"):
        rc.plot.searchlight_slices(result.drop_vars("unit_i"), model="a")
    with pytest.raises(SchemaError, match="no value anywhere"):
        rc.plot.searchlight_slices(result.assign(score=result.score * np.nan), model="a")
