"""Scores over layers: the numbers that are drawn are those of the table."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from repcompare.errors import OptionError, SchemaError
from repcompare.labels.scores import Axes, assemble
from repcompare.views._canvas import CEILING, GROUPS
from repcompare.views.plot import layers

pytest.importorskip("matplotlib")

LAYERS = ["conv1", "conv2", "fc"]


def table(targets=("V4",), n_units=4, bare=False, measures=("ridge",)) -> xr.Dataset:
    shape = (3, len(targets), len(measures))
    score = np.linspace(0.1, 0.6, int(np.prod(shape))).reshape(shape)
    cells = {"score": score}
    coords = {"kind": ("measure", ["predictivity"] * len(measures))}
    if not bare:
        rng = np.random.default_rng(0)
        cells |= {
            "score_low": score - 0.05,
            "score_high": score + 0.05,
            "score_pvalue_corrected": np.where(score > 0.2, 0.01, 0.5),
            "score_ceiling": np.broadcast_to(np.linspace(0.8, 0.9, len(targets))[:, None], shape).copy(),
            "score_unit": rng.normal(size=(3, len(measures), n_units * len(targets))),
        }
        cells["score_unit"][0, 0, 0] = np.nan
        coords |= {
            "target_unit_id": ("target_unit", [f"u{i}" for i in range(n_units * len(targets))]),
            "target_unit_target": ("target_unit", np.repeat(targets, n_units).tolist()),
        }
    return assemble(cells, Axes(sources=LAYERS, targets=list(targets), measures=list(measures), coords=coords), {})


def test_the_line_goes_through_the_scores_in_the_order_of_the_table(tmp_path):
    picture = layers(table(), title="V4")
    (ax,) = picture.axes
    line = [item for item in ax.lines if item.get_linewidth() == 1.4]
    np.testing.assert_allclose(line[0].get_xydata(), np.column_stack([range(3), [0.1, 0.35, 0.6]]))
    assert [t.get_text() for t in ax.get_xticklabels()] == LAYERS
    assert ax.get_ylabel() == "ridge"
    assert picture.get_suptitle() == "V4"
    dots = ax.collections[-1]
    filled = dots.get_facecolors()[:, :3].mean(axis=1) < 0.9
    assert filled.tolist() == [False, True, True]
    bars = ax.collections[-2].get_segments()
    np.testing.assert_allclose([[s[0, 1], s[1, 1]] for s in bars], [[0.05, 0.15], [0.3, 0.4], [0.55, 0.65]])
    picture.savefig(tmp_path / "layers.png")
    turned = layers(table().sel(source=LAYERS[::-1])).axes[0]
    assert [t.get_text() for t in turned.get_xticklabels()] == LAYERS[::-1]


def test_units_are_drawn_with_their_own_scores():
    ds = table()
    ax = layers(ds).axes[0]
    (dots,) = [item for item in ax.lines if item.get_marker() == "."]
    np.testing.assert_array_equal(dots.get_ydata(), ds["score_unit"].values[:, 0].ravel())
    assert np.abs(dots.get_xdata() - np.repeat(range(3), 4)).max() <= 0.25
    order = np.argsort(dots.get_xdata()[:4])
    assert (np.diff(np.nanmean(ds["score_unit"].values[:, 0], axis=0)[order]) > 0).all()
    assert not [item for item in layers(ds, units=False).axes[0].lines if item.get_marker() == "."]


def ceilings(ax):
    return {item.get_ydata()[0]: item.get_color() for item in ax.lines if item.get_linestyle() == "--"}


def test_ceilings_are_lines_of_the_colour_of_their_target():
    ax = layers(table(), ceiling="other people").axes[0]
    assert ceilings(ax) == {0.8: CEILING}
    assert [t.get_text().strip() for t in ax.texts] == ["other people"]
    ax = layers(table(targets=("V4", "IT"))).axes[0]
    assert ceilings(ax) == {0.8: GROUPS[0], 0.9: GROUPS[1]}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["V4", "IT"]


@pytest.mark.parametrize(
    ("apart", "pieces"),
    [((), [[0, 1, 2]]), (("fc",), [[0, 1], [2]]), (("conv1", "fc"), [[0], [1], [2]]), (("conv2",), [[0], [1], [2]])],
)
def test_what_is_no_layer_has_no_line(apart, pieces):
    ax = layers(table(), apart=apart).axes[0]
    assert [item.get_xdata().tolist() for item in ax.lines if item.get_linewidth() == 1.4] == pieces
    np.testing.assert_allclose(ax.collections[-1].get_offsets()[:, 0], range(3))
    with pytest.raises(OptionError, match="apart='fcc'.*did you mean 'fc'"):
        layers(table(), apart=["fcc"])


def test_a_bare_table_is_drawn(tmp_path):
    ds = table(bare=True, targets=[f"t{i}" for i in range(9)])  # more targets than colours
    layers(ds).savefig(tmp_path / "bare.png")
    ds["score"][:] = np.nan
    layers(ds).savefig(tmp_path / "bare.png")
    assert (tmp_path / "bare.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_no_table_and_which_measure():
    with pytest.raises(SchemaError, match="make them with compare"):
        layers(xr.Dataset({"score": ("layer", [1.0])}))
    several = table(measures=("ridge", "cka"))
    with pytest.raises(OptionError, match="expected one of ridge, cka"):
        layers(several)
    with pytest.raises(OptionError, match="did you mean 'cka'"):
        layers(several, measure="ckaa")
    assert layers(several, measure="cka").axes[0].get_ylabel() == "cka"
