from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr

from repcompare.errors import MissingExtraError, OptionError, SchemaError
from repcompare.labels.scores import Axes, assemble, concat_scores
from repcompare.views._canvas import CEILING, MARKED
from repcompare.views.plot import scores

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def table(targets=("V4",), bare=False, kind=True) -> xr.Dataset:
    shape = (3, len(targets), 2)
    score = np.linspace(-0.2, 0.9, int(np.prod(shape))).reshape(shape)
    cells = {"score": score}
    if not bare:
        cells |= {
            "score_low": score - 0.1,
            "score_high": score + 0.1,
            "score_pvalue_corrected": np.where(score > 0.3, 0.01, 0.5),
            "score_ceiling": np.broadcast_to([0.95, np.nan], shape).copy(),
        }
    coords = {"kind": ("measure", ["similarity", "distance"]), "unit_of_score": ("measure", ["1", "rad"])}
    axes = Axes(
        sources=["a", "b", "c"], targets=list(targets), measures=["cka", "shape"], coords=coords if kind else {}
    )
    return assemble(cells, axes, {})


def test_one_panel_per_measure_one_row_per_source(tmp_path):
    figure = scores(table(), title="study", baseline="b")
    assert isinstance(figure, Figure)
    left, right = figure.axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("cka", "shape")
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", "b", "c"]
    assert left.get_ylim() == (2.5, -0.5)  # the first source is on top
    assert (left.get_xlabel(), right.get_xlabel()) == ("score", "score (rad)")
    assert figure.get_suptitle() == "study"
    figure.savefig(tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")


def test_dots_are_hollow_where_the_corrected_p_value_is_large():
    figure = scores(table())
    dots = figure.axes[0].collections[-1]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], table()["score"].values[:, 0, 0])
    filled = [face[:3].tolist() != [1, 1, 1] for face in dots.get_facecolors()]
    assert filled == (table()["score_pvalue_corrected"].values[:, 0, 0] < 0.05).tolist()


def lines(axis, colour):
    return [line for line in axis.lines if line.get_color() == colour]


def test_ceiling_and_baseline_are_lines():
    left, right = scores(table(), baseline="b").axes
    assert [line.get_xdata()[0] for line in lines(left, CEILING)] == [0.95]
    assert not lines(right, CEILING)
    assert [line.get_xdata()[0] for line in lines(left, MARKED)] == [table()["score"].values[1, 0, 0]]
    assert not lines(scores(table()).axes[0], MARKED)


@pytest.mark.parametrize("kind", [True, False])
def test_bare_and_missing_scores_are_drawn(kind, tmp_path):
    ds = table(bare=True, kind=kind)
    ds["score"][0] = np.nan
    scores(ds).savefig(tmp_path / "it.png")
    ds["score"][:] = np.nan
    scores(ds).savefig(tmp_path / "it.png")
    scores(table().isel(source=[0], measure=[0])).savefig(tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")


def test_several_targets_need_a_choice():
    ds = table(("V4", "IT"))
    with pytest.raises(OptionError, match="target=None; expected one of V4, IT; give target="):
        scores(ds)
    with pytest.raises(OptionError, match="target='V1'; expected one of V4, IT"):
        scores(ds, target="V1")
    with pytest.raises(OptionError, match="target='V1'"):
        scores(table(), target="V1")
    dots = scores(ds, target="IT").axes[0].collections[-1]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], ds["score"].values[:, 1, 0])


def test_an_unknown_baseline_is_refused():
    with pytest.raises(OptionError, match="baseline='conv' is not a source; known: a, b, c"):
        scores(table(), baseline="conv")


def test_joined_tables_are_drawn(tmp_path):
    joined = concat_scores([table(), table(("IT",))])
    figure = scores(joined, target="IT")
    figure.savefig(tmp_path / "it.png")
    assert [axis.get_title(loc="left") for axis in figure.axes] == joined["measure"].values.tolist()


def test_other_datasets_are_refused():
    with pytest.raises(
        SchemaError, match=r"found variables \['a'\]; expected scores with dims .*; make them with compare"
    ):
        scores(xr.Dataset({"a": 1}))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        MissingExtraError, match=r'plots need matplotlib; install it with: pip install "repcompare\[plot\]"'
    ):
        scores(table())
