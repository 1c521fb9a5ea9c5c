"""Continuous recordings in the engine: gaps between folds, and permutations that keep the time scale."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.engine.plan import make_plan
from repcompare.engine.study import Options, declare
from repcompare.errors import OptionError
from repcompare.labels.schema import stimulus_labels
from repcompare.measures.cka import cka
from repcompare.statistics.folds import autocorrelation_gap


def series(rng, n, columns, phi=0.95):
    """AR(1) without its first 200 samples."""
    noise = rng.standard_normal((n + 200, columns))
    for i in range(1, len(noise)):
        noise[i] += phi * noise[i - 1]
    return noise[200:]


def recording(values, **labels):
    return rc.representation(values, dims=("time", "unit"), time=np.arange(len(values)) * 2.0, **labels)


def compare(*args, **options):
    return rc.compare(*args, **{"progress": False, "hash_inputs": False, **options})


class TestGap:
    def test_it_is_that_of_encode(self):
        rng = np.random.default_rng(0)
        x, y = recording(series(rng, 300, 4, 0.8)), recording(series(rng, 300, 3, 0.8))
        direct, table = rc.encode(x, y), compare(x, y, measures="ridge")
        assert direct.gap > 2
        assert table.score.item() == pytest.approx(direct.score, abs=1e-12)
        assert f"gap {direct.gap}" in table.attrs["folds"]
        given = compare(x, y, measures="ridge", gap=2)
        assert given.score.item() == pytest.approx(rc.encode(x, y, gap=2).score, abs=1e-12)

    def test_of_several_targets_the_longest(self):
        rng = np.random.default_rng(0)
        fast, slow = series(rng, 400, 3, 0.1), series(rng, 400, 3, 0.8)
        plan = make_plan(declare(recording(fast), {"fast": recording(fast), "slow": recording(slow)}, measures="ridge"))
        assert plan.folds.gap == autocorrelation_gap(slow) > autocorrelation_gap(fast)
        back = declare(recording(slow), recording(fast), measures="ridge", options=Options(direction="both"))
        assert make_plan(back).folds.gap == autocorrelation_gap(slow)

    def test_fmri_keeps_16_seconds(self):
        noise = recording(np.random.default_rng(0).normal(size=(200, 3)))
        noise.attrs["modality"] = "fmri"
        assert make_plan(declare(noise, noise, measures="ridge")).folds.gap == 8

    def test_runs_are_left_out_as_in_encode(self):
        rng = np.random.default_rng(0)
        run = np.repeat([1, 2, 3, 4], 60)
        x, y = recording(series(rng, 240, 4, 0.6), run=run), recording(series(rng, 240, 3, 0.6), run=run)
        table = compare(x, y, measures="ridge")
        assert table.score.item() == pytest.approx(rc.encode(x, y).score, abs=1e-12)
        assert table.sizes["fold"] == 4
        assert "runs: one of 4 runs is left out at a time" in table.attrs["warnings"]

    def test_v20_unrelated_recordings_score_nothing(self):
        """20 draws of the page's setting: se .02; without a gap .06, shuffled .81."""
        rng = np.random.default_rng(0)
        found = [
            compare(
                recording(series(rng, 600, 30)), recording(series(rng, 600, 20)), measures="ridge", gap=60
            ).score.item()
            for _ in range(20)
        ]
        assert abs(np.mean(found)) < 0.05

    def test_features_in_stimulus_form_follow_the_order_of_time(self):
        rng = np.random.default_rng(0)
        y = recording(series(rng, 120, 3, 0.5))
        names = stimulus_labels(y)
        x = rc.representation(series(rng, 120, 4, 0.5), stimulus=names)
        plan = make_plan(declare(x, y, measures="ridge"))
        assert plan.stimuli.tolist() == names.tolist()
        assert "contiguous blocks" in plan.folds.scheme

    def test_bad_gaps(self):
        with pytest.raises(OptionError, match="gap='none'"):
            Options(gap="none")
        still = rc.representation(np.eye(12), stimulus=[f"s{i}" for i in range(12)])
        with pytest.raises(OptionError, match="gap=3 with sample='stimulus'"):
            compare(still, still, measures="ridge", gap=3)


class TestPermutations:
    @pytest.mark.parametrize("kind", ["blocks", "phase", "shift"])
    def test_v24_type_one_error(self, kind):
        """50 draws (se .033, so .06 + 3 se): shuffled rows reject always, blocks cut from one series in a third of draws."""
        rng, rejected = np.random.default_rng(1), []
        n = {"blocks": 2000, "phase": 300, "shift": 3000}[kind]
        for seed in range(50):
            if kind == "blocks":
                sides = [series(rng, 50, 400).reshape(50, 40, 10).swapaxes(0, 1).reshape(2000, 10) for _ in range(2)]
                x, y = (recording(v, run=np.repeat(np.arange(40), 50)) for v in sides)
            else:
                x, y = recording(series(rng, n, 10)), recording(series(rng, n, 10))
            table = compare(x, y, measures=cka(estimator="biased"), permutations=19, seed=seed, null=kind)
            rejected.append(table.score_pvalue.item() <= 0.05)
        assert table.attrs["null"] == kind
        assert np.mean(rejected) <= 0.06 + 3 * 0.033

    @pytest.mark.parametrize("kind", ["blocks", "phase", "shift"])
    def test_shared_signals_are_found_by_every_kind_of_measure(self, kind):
        """Measures with and without restrict, and fitted ones."""
        rng = np.random.default_rng(0)
        z, trial = series(rng, 1000, 3, 0.5), np.arange(1000) // 25
        x, y = (recording(z @ rng.normal(size=(3, 5)) + 0.5 * rng.normal(size=(1000, 5)), run=trial) for _ in range(2))
        noise = recording(series(rng, 1000, 5, 0.5), run=trial)
        measures = ["cka", "procrustes", "linear", "mutual_knn"]
        table = compare({"z": x, "noise": noise}, y, measures=measures, permutations=19, null=kind, n_jobs=2)
        assert (table.score_pvalue.sel(source="z") == 0.05).all()
        assert table.score_pvalue.sel(source="noise").mean() > 0.1
        again = compare({"z": x, "noise": noise}, y, measures=measures, permutations=19, null=kind)
        np.testing.assert_array_equal(table.score_pvalue, again.score_pvalue)

    def test_what_is_taken_is_said(self):
        rng = np.random.default_rng(0)
        x = recording(series(rng, 200, 3))
        table = compare(x, x, measures="cka", permutations=5)
        assert table.attrs["null"] == "phase"
        assert any(w.startswith("phase_surrogates: 0 whole blocks") for w in table.attrs["warnings"])
        still = rc.representation(rng.normal(size=(20, 3)), stimulus=[f"s{i}" for i in range(20)])
        assert compare(still, still, measures="cka", permutations=5).attrs["null"] == "stimuli"

    def test_blocks_cut_from_one_series_are_no_trials(self):
        rng = np.random.default_rng(0)
        x, y = (recording(series(rng, 1000, 4), run=np.arange(1000) // 25) for _ in range(2))
        assert compare(x, y, measures="cka", permutations=5).attrs["null"] == "phase"
        forced = compare(x, y, measures="cka", permutations=5, null="blocks")
        assert forced.attrs["null"] == "blocks"
        assert any(w.startswith("blocks_touch: time goes on") for w in forced.attrs["warnings"])

    def test_refusals(self):
        rng = np.random.default_rng(0)
        x = recording(series(rng, 200, 3))
        with pytest.raises(OptionError, match="cannot be shuffled one by one.*leave out permutations="):
            compare(x, x, measures="cka", permutations=5, null="shift")
        with pytest.raises(OptionError, match="null='phase' is for recordings"):
            still = rc.representation(np.eye(9), stimulus=list("abcdefghi"))
            compare(still, still, measures="cka", permutations=5, null="phase")
        counts = recording(rng.poisson(3, size=(200, 3)).astype(float))
        with pytest.raises(rc.errors.MeasureError, match="random phases cannot be compared: .*; try null='shift'"):
            compare(counts, counts, measures="poisson", permutations=2, null="refit")
        assert compare(counts, counts, measures="poisson", permutations=2).score_pvalue.item() == 1 / 3


class TestIntervals:
    def test_whole_blocks_are_left_out(self):
        rng = np.random.default_rng(0)
        trial = np.repeat(np.arange(12), 20)
        x, y = (recording(series(rng, 240, 4, 0.5), run=trial) for _ in range(2))
        table = compare(x, y, measures="cka", confidence=0.95)
        assert table.attrs["interval"] == "jackknife over 12 blocks"
        full = rc.cka(x, y)
        parts = [np.flatnonzero(trial != t) for t in range(12)]
        pseudo = [12 * full - 11 * rc.cka(x.response.values[p], y.response.values[p]) for p in parts]
        from scipy import stats

        half = stats.t.ppf(0.975, 11) * np.std(pseudo, ddof=1) / np.sqrt(12)
        assert table.score_low.item() == pytest.approx(full - half, abs=1e-9)

    def test_groups_of_stimuli_are_left_out_together(self):
        rng = np.random.default_rng(0)
        names, category = [f"s{i:02d}" for i in range(40)], [f"c{i // 2:02d}" for i in range(40)]
        x, y = (rc.representation(rng.normal(size=(40, 5)), stimulus=names, stimulus_category=category) for _ in "xy")
        grouped = compare(x, y, measures="cka", confidence=0.9, groups="stimulus_category")
        assert grouped.attrs["interval"] == "jackknife over 20 groups"
        assert compare(x, y, measures="cka", confidence=0.9).attrs["interval"] == "jackknife"


def test_the_best_source_of_a_recording():
    """Halves are stretches with a gap; folds are blocks with a gap."""
    rng = np.random.default_rng(0)
    z = series(rng, 400, 3, 0.6)
    layers = {f"l{k}": recording(z @ rng.normal(size=(3, 5)) + k * series(rng, 400, 5, 0.6)) for k in range(3)}
    y = recording(z @ rng.normal(size=(3, 4)) + rng.normal(size=(400, 4)))
    table = compare(layers, y, measures=["cka", "ridge"], best=True, n_splits=5)
    plan = make_plan(declare(layers, y, measures=["cka", "ridge"], options=Options(best=True, n_splits=5)))
    gap = plan.drawn.rows.gap
    assert gap > 2
    for a, b in plan.drawn.choices.halves:
        assert np.abs(a[:, None] - b).min() > gap
    for (rows, inside), (_, test) in zip(plan.drawn.choices.inner, plan.folds.splits, strict=True):
        assert np.abs(rows[:, None] - test).min() > gap
        for a, b in inside.splits:
            assert np.abs(rows[a][:, None] - rows[b]).min() > gap
    found = rc.best(table)
    assert (found.source_max == "l0").all()
    assert (found.n_selected.sel(source="l0", target="target") >= [9, 5]).all()
