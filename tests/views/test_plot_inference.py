"""Pictures of RSA inference show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from repcompare.errors import OptionError, SchemaError
from repcompare.labels.inference import assemble_inference
from repcompare.views.plot import models, time_course

pytest.importorskip("matplotlib")

NAMES = ["a", "b", "c"]


def inference(n: int = 3, bare: bool = False) -> xr.Dataset:
    score = np.linspace(0.1, 0.5, n)
    pair = np.where(np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > 1, 0.001, 0.4)
    np.fill_diagonal(pair, np.nan)
    values = {"score": score, "score_subject": score[:, None] + [-0.05, 0.05]}
    if not bare:
        values |= {
            "score_low": score - 0.1,
            "score_high": score + 0.1,
            "score_ceiling_lower": 0.6,
            "score_ceiling_upper": 0.7,
            "pvalue_zero_holm": np.where(score > 0.2, 0.001, 0.6),
            "pvalue_pair_holm": pair,
        }
    return assemble_inference(values, [chr(97 + k) for k in range(n)], ["s1", "s2"], {"method": "rho_a"})


def offsets(ax):
    return np.concatenate(
        [c.get_offsets() for c in ax.collections if hasattr(c, "get_offsets") and len(c.get_offsets())]
    )


def test_models_are_sorted_and_marked(tmp_path):
    figure = models(inference(), title="IT")
    left, right = figure.axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["c", "b", "a"]
    dots = left.collections[-1]
    np.testing.assert_allclose(dots.get_offsets(), [[0.5, 0], [0.3, 1], [0.1, 2]])
    filled = dots.get_facecolors()[:, :3].mean(axis=1) < 0.9
    assert filled.tolist() == [True, True, False]
    band = left.patches[0].get_extents().transformed(left.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((0.6, 0.7))
    np.testing.assert_allclose(right.collections[0].get_offsets(), [[0, 2]])  # a differs from c, not from b
    figure.savefig(tmp_path / "models.png")


def test_bars_start_at_zero_and_the_line_below_says_what_is_drawn(tmp_path):
    table = inference().assign_attrs(method="rho_a", bootstrap="stimuli_and_subjects", confidence=0.9)
    drawn = models(table, kind="bars", differences="arcs", correction="holm", alpha=0.01)
    (ax,) = drawn.axes
    bars = ax.containers[0].patches
    assert [(b.get_x(), round(b.get_width(), 12)) for b in bars] == [(0, 0.5), (0, 0.3), (0, 0.1)]
    grey = [np.mean(b.get_facecolor()[:3]) for b in bars]
    assert grey[0] == grey[1] < 0.85 and grey[2] == 1  # filled: significantly above 0
    said = " ".join(drawn.get_supxlabel().split())
    assert said == (
        "mean over 2 subjects (small dots); lines: 90 % intervals, bootstrap over stimuli and subjects"
        " filled: above 0, p ≤ 0.01 (Holm); brackets: the two models differ, p ≤ 0.01 (Holm)"
    )
    assert models(inference(bare=True), subjects=False).get_supxlabel() == "mean over 2 subjects"
    permuted = table.assign(pvalue_permutation_corrected=("model", [0.9, 0.9, 0.001]))
    dots = models(permuted)
    assert "above chance, p ≤ 0.05 (permuted stimuli, maximum" in " ".join(dots.get_supxlabel().split())
    assert "squares: the two" in dots.get_supxlabel()
    drawn.savefig(tmp_path / "bars.png")


def test_nothing_is_drawn_outside_the_picture(tmp_path):
    for n, differences in ((3, "arcs"), (16, "matrix")):
        drawn = models(inference(n), kind="bars", differences=differences, title="IT")
        drawn.savefig(tmp_path / "laid_out.png")
        box = drawn.get_tightbbox()
        assert box.x0 > -0.02 and box.y0 > -0.02
        assert box.x1 < drawn.get_figwidth() + 0.05 and box.y1 < drawn.get_figheight() + 0.02


def test_arcs_join_the_models_that_differ():
    (ax,) = models(inference(), differences="arcs", subjects=False).axes
    arcs = [line for line in ax.lines if len(line.get_ydata()) == 4]
    assert [sorted(set(line.get_ydata())) for line in arcs] == [[0, 2]]
    with pytest.raises(OptionError, match="too many for arcs"):
        models(inference(12), differences="arcs")


def test_a_table_without_tests_and_in_its_own_order():
    (ax,) = models(inference(bare=True), sort=False).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == NAMES
    assert (ax.collections[-1].get_facecolors() == 1).all()  # hollow: nothing was tested


def test_what_is_no_inference():
    with pytest.raises(SchemaError, match="expected what rsa_inference returns"):
        models(xr.Dataset({"score": ("model", [1.0])}))
    with pytest.raises(OptionError, match="differences='arc'"):
        models(inference(), differences="arc")
    with pytest.raises(OptionError, match="kind='bar'"):
        models(inference(), kind="bar")
    with pytest.raises(OptionError, match="alpha=5"):
        models(inference(), alpha=5)


def test_scores_over_time(tmp_path):
    t = np.array([0.0, 0.1, 0.2])
    values = xr.DataArray([[0.0, 0.2, 0.4], [0.1, 0.1, 0.1]], coords=[("model", ["a", "b"]), ("time", t)], name="rho_a")
    ax = time_course(values, low=values - 0.1, high=values + 0.1, pvalue=xr.where(values > 0.15, 0.01, 0.5))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.0, 0.2, 0.4])
    bars = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    assert [np.mean(line.get_xdata()) for line in bars] == pytest.approx([0.1, 0.2])
    ax.figure.savefig(tmp_path / "time.png")
    with pytest.raises(OptionError, match="both ends"):
        time_course(values, low=values)
    with pytest.raises(SchemaError, match="expected time"):
        time_course(values.rename(time="t"))
