"""Pictures of RDMs show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from repcompare.errors import AlignmentError, OptionError, SchemaError
from repcompare.labels.rdms import rdm_set, select_stimuli, square_form
from repcompare.views.plot import mds, rdm, rdm_panel, rdm_scatter

pytest.importorskip("matplotlib")

NAMES = ["a", "b", "c", "d", "e"]


def rdms(n: int = 2, low: float = 0.1) -> xr.Dataset:
    values = np.random.default_rng(0).uniform(low, 1, size=(n, 10))
    return rdm_set(values, stimulus=NAMES, rdm=[f"m{i}" for i in range(n)], attrs={"distance": "cosine"})


def drawn(ax):
    return np.ma.filled(ax.images[0].get_array(), np.nan)


def test_a_heat_map_holds_the_values(tmp_path):
    ds = rdms()
    ax = rdm(ds, which="m1")
    expected = square_form(ds)[1]
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(drawn(ax), expected)
    assert ax.images[0].get_clim()[0] == 0
    assert [t.get_text() for t in ax.get_xticklabels()] == NAMES
    ax.figure.savefig(tmp_path / "rdm.png")


def test_order_and_ranks():
    ds, order = rdms(1), ["d", "a", "e", "b", "c"]
    ax = rdm(ds, order=order, scale="rank")
    expected = squareform(rankdata(select_stimuli(ds, order)["dissimilarity"].values[0]) / 10)
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(drawn(ax), expected)
    assert [t.get_text() for t in ax.get_yticklabels()] == order


def test_negative_values_take_colours_on_both_sides_of_zero():
    low, high = rdm(rdms(1, low=-0.4)).images[0].get_clim()
    assert low == -high < 0


def test_missing_pairs_are_marked():
    ds = rdms(1)
    ds["dissimilarity"][0, 3] = np.nan
    ax = rdm(ds)
    assert sorted(zip(*ax.lines[0].get_data(), strict=True)) == [(0, 4), (4, 0)]


def test_groups_and_icons(tmp_path):
    ax = rdm(rdms(1), groups=["x", "x", "y", "y", "y"])
    assert len(ax.patches) == 4
    assert {t.get_text() for t in ax.texts} == {"x", "y"}
    ax = rdm(rdms(1), icons={n: np.full((4, 4), 0.5) for n in NAMES})
    assert len(ax.artists) == 10
    ax.figure.savefig(tmp_path / "icons.png")
    with pytest.raises(OptionError, match="2 labels for 5 stimuli"):
        rdm(rdms(1), groups=["x", "y"])


def test_panels_share_a_scale():
    figure = rdm_panel(rdms(3), scale="value", groups=["x", "x", "y", "y", "y"])
    limits = {ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert len(limits) == 1
    movie = rdm_set(np.random.default_rng(1).uniform(size=(1, 3, 10)), stimulus=NAMES, time=[0.0, 0.1, 0.2])
    titles = [ax.get_title(loc="left") for ax in rdm_panel(movie).axes if ax.images]
    assert titles == ["rdm/0 0 ms", "rdm/0 100 ms", "rdm/0 200 ms"]
    with pytest.raises(SchemaError, match="over time"):
        rdm(movie)


def test_scatter_is_matched_by_name():
    a = rdms(1)
    b = select_stimuli(a, NAMES[::-1])
    x, y = rdm_scatter(a, b).lines[0].get_data()
    np.testing.assert_array_equal(x, y)
    with pytest.raises(AlignmentError, match="lacks"):
        rdm_scatter(a, select_stimuli(a, NAMES[:4]))


def test_a_map_of_points():
    points = np.random.default_rng(0).normal(size=(5, 2))
    found = xr.Dataset({"coordinates": (("source", "dimension"), points), "stress": 0.1}, coords={"source": NAMES})
    ax = mds(found, groups=["x", "x", "y", "y", "y"])
    np.testing.assert_array_equal(np.concatenate([np.column_stack(line.get_data()) for line in ax.lines]), points)
    assert ax.get_xlabel() == "stress 0.10"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["x", "y"]
    with pytest.raises(SchemaError, match="coordinates"):
        mds(rdms())


def test_what_is_not_in_the_set():
    with pytest.raises(OptionError, match="choose one by which="):
        rdm(rdms())
    with pytest.raises(OptionError, match="did you mean 'm1'|which='m9' is not in the set"):
        rdm(rdms(), which="m9")
    with pytest.raises(SchemaError, match="expected RDMs"):
        rdm(xr.Dataset())
