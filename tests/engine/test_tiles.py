"""Tiles under a memory budget, and checkpoints: the same table, computed piece by piece."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.engine import run as run_module
from repcompare.engine.cells import Cells
from repcompare.engine.plan import make_plan
from repcompare.engine.study import Options, declare
from repcompare.errors import OptionError
from repcompare.measures._measure import Outcome

N = 40
NAMES = [f"s{i}" for i in range(N)]


@pytest.fixture
def sources():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 4))
    return {
        f"net{k:02d}": rc.representation(
            z @ rng.normal(size=(4, 30)) + k / 5 * rng.normal(size=(N, 30)), stimulus=NAMES
        )
        for k in range(20)
    }


def plan_of(sources, targets=None, measures="cka", **options):
    return make_plan(declare(sources, targets, measures=measures, options=Options(**options)))


def values(scores):
    return {name: scores[name] for name in ("score", "reason", "notes", "n_source_units", "score_ceiling")}


def assert_same(a, b, tolerance=0.0):
    for name, found in values(a).items():
        if found.dtype.kind == "f":
            np.testing.assert_allclose(found, b[name], rtol=0, atol=tolerance)
        else:
            xr.testing.assert_equal(found, b[name])


def tight(sources, targets=None, measures="cka"):
    """A limit that forces several tiles."""
    for limit in range(60_000, 600_000, 10_000):
        try:
            plan = plan_of(sources, targets, measures, memory=limit)
        except OptionError:
            continue
        if 1 < plan.block < 8:
            return limit
    raise AssertionError("no limit tiles this study")


@pytest.mark.parametrize("measures", ["cka", ["cka", "procrustes"], ["cka", "ridge"]], ids=str)
def test_tiles_give_the_same_table(sources, measures):
    limit = tight(sources, measures=measures)
    whole = rc.similarity_matrix(sources, measure=measures, progress=False)
    tiled = rc.similarity_matrix(sources, measure=measures, memory=limit, progress=False)
    assert "tiles" in tiled.attrs["study"]
    assert_same(whole, tiled, 1e-12)


def test_tiles_of_two_sides_with_folds_and_units(sources):
    targets = {name: sources[name] for name in list(sources)[:7]}
    limit = tight(sources, targets, ["ridge"])
    whole, tiled = (
        rc.compare(sources, targets, measures=["ridge"], unit_scores=True, memory=m, progress=False)
        for m in (None, limit)
    )
    assert_same(whole, tiled, 1e-12)
    np.testing.assert_allclose(whole.score_fold, tiled.score_fold, atol=1e-12)
    np.testing.assert_allclose(whole.score_unit, tiled.score_unit, atol=1e-12)


def test_few_states_are_held_at_a_time(sources, monkeypatch):
    limit = tight(sources)
    block = plan_of(sources, memory=limit).block
    held = []
    original = run_module.States.get

    def spy(self, wanted):
        found = original(self, wanted)
        held.append(len(self.held))
        return found

    monkeypatch.setattr(run_module.States, "get", spy)
    rc.similarity_matrix(sources, memory=limit, progress=False)
    assert max(held) <= 2 * block


def test_resampling_needs_all_states(sources):
    with pytest.raises(OptionError, match="leave out confidence= and permutations="):
        rc.similarity_matrix(sources, memory=tight(sources), permutations=3, progress=False)


class TestCheckpoint:
    def count(self, monkeypatch):
        calls = []
        original = run_module.prepare_part

        def spy(part, plan):
            calls.append(part.name)
            return original(part, plan)

        monkeypatch.setattr(run_module, "prepare_part", spy)
        return calls

    def test_a_second_run_prepares_nothing(self, sources, tmp_path, monkeypatch, caplog):
        calls = self.count(monkeypatch)
        options = {"measure": ["cka", "cca"], "checkpoint": tmp_path / "work", "progress": False}
        first = rc.similarity_matrix(sources, **options)
        assert len(calls) == 20
        with caplog.at_level(logging.INFO, "repcompare.plan"):
            second = rc.similarity_matrix(sources, **options)
        assert len(calls) == 20
        assert "28 of 28 tiles reused" in caplog.text
        assert_same(first, second)
        assert first.attrs["inputs"] == second.attrs["inputs"]
        assert first.attrs["warnings"] == second.attrs["warnings"]
        xr.testing.assert_equal(first.score_fold, second.score_fold)

    def test_an_interrupted_run_goes_on(self, sources, tmp_path, monkeypatch):
        whole = rc.similarity_matrix(sources, progress=False)

        def stop(done, total, text):
            if done > 22:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rc.similarity_matrix(sources, checkpoint=tmp_path, progress=stop)
        kept = len(list(tmp_path.rglob("*.npz")))
        assert 0 < kept < 28
        calls = self.count(monkeypatch)
        resumed = rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        assert_same(whole, resumed, 1e-12)
        assert len(calls) <= 20

    def test_a_changed_source_recomputes_its_tiles_only(self, sources, tmp_path, monkeypatch):
        rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        before = len(list(tmp_path.rglob("*.npz")))
        sources["net07"] = sources["net07"] * 1.5 + sources["net01"]
        sources["net07"].attrs["schema"] = "repcompare-1"
        changed = rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        assert len(list(tmp_path.rglob("*.npz"))) - before == 7  # its block against each of the seven
        assert_same(changed, rc.similarity_matrix(sources, progress=False), 1e-12)

    def test_names_dates_and_threads_do_not_matter_and_options_do(self, sources, tmp_path, monkeypatch):
        rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        calls = self.count(monkeypatch)
        renamed = {f"other{k}": ds for k, ds in enumerate(sources.values())}
        rc.similarity_matrix(renamed, checkpoint=tmp_path, n_jobs=3, progress=False)
        assert not calls
        for options in ({"seed": 1}, {"measure": "procrustes"}, {"measure": rc.measures.cka.cka(estimator="biased")}):
            calls.clear()
            rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False, **options)
            assert len(calls) == 20

    def test_ceilings_come_back(self, tmp_path):
        brain, models = rc.simulate.brain_and_models(n_stimuli=30, repeats=4)
        options = {"measures": "cka", "ceiling": "split_half", "checkpoint": tmp_path, "progress": False}
        first, second = (rc.compare(models, brain, **options) for _ in range(2))
        assert np.isfinite(first.score_ceiling).all()
        assert_same(first, second)

    def test_trials_count_where_results_depend_on_them(self, tmp_path):
        """Other trials with the same means: another ceiling, another score of a measure of repeats."""
        brain, models = rc.simulate.brain_and_models(n_stimuli=30, repeats=4)
        values = brain.response.values.reshape(4, 30, -1)
        other = brain.copy(data={"response": (2.5 * values - 1.5 * values.mean(axis=0)).reshape(brain.response.shape)})
        options = {"checkpoint": tmp_path, "progress": False}
        repeats = rc.measures.cka.cka(estimator="repeats")
        for source, study in ((models, {"measures": "cka", "ceiling": "split_half"}), (None, {"measures": repeats})):
            first, second = (rc.compare(source or b, b, **study, **options) for b in (brain, other))
            fresh = rc.compare(source or other, other, **study, progress=False)
            assert_same(second, fresh, 1e-12)
            name = "score_ceiling" if "ceiling" in study else "score"
            assert abs(first[name] - second[name]).min() > 0.005

    def test_without_resume_entries_are_replaced(self, sources, tmp_path, monkeypatch):
        rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        calls = self.count(monkeypatch)
        rc.similarity_matrix(sources, checkpoint=tmp_path, resume=False, progress=False)
        assert len(calls) == 20

    def test_damaged_entries_are_computed_again(self, sources, tmp_path, caplog):
        whole = rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        for k, path in enumerate(sorted(tmp_path.rglob("*.npz"))[:6]):
            path.write_bytes(path.read_bytes()[: (0, 10, 400)[k % 3]])
        again = rc.similarity_matrix(sources, checkpoint=tmp_path, progress=False)
        assert "cannot be read" in caplog.text
        assert_same(whole, again)


def test_cells_survive_a_file(tmp_path):
    cells = Cells.empty(2, 3)
    cells.put(
        (0, 1),
        Outcome(score=0.5, fold_scores=np.arange(3.0), unit_scores=np.ones(4), notes=("a: b; c", "d: e")),
        "",
        0.1,
    )
    cells.put((1, 2), Outcome(score=np.nan, counts={"units": 3}), "no signal", 0.2)
    np.savez(tmp_path / "x.npz", **cells.to_arrays())
    with np.load(tmp_path / "x.npz") as found:
        back = Cells.from_arrays(found)
    for name in ("score", "reason", "counts", "notes"):
        np.testing.assert_array_equal(getattr(back, name), getattr(cells, name))
    assert list(back.folds) == [(0, 1)]
    np.testing.assert_array_equal(back.units[(0, 1)], np.ones(4))
    assert back.mirrored().score[1, 0] == 0.5

    def test_the_order_of_measures_is_part_of_a_tile(self, sources, tmp_path):
        """Tables are filed by the position of their measure: in another order they were read under another's name."""
        some = {name: sources[name] for name in ("net00", "net01", "net02")}
        for measures in (["cka", "ridge", "rsa"], ["rsa", "cka", "ridge"]):
            found = rc.similarity_matrix(some, measure=measures, checkpoint=tmp_path, progress=False)
            assert_same(found, rc.similarity_matrix(some, measure=measures, progress=False), 1e-12)

    def test_a_square_table_lacks_what_another_needs(self, sources, tmp_path):
        some = {name: sources[name] for name in ("net00", "net01", "net02")}
        options = {"direction": "both", "progress": False}
        rc.similarity_matrix(some, measure="ridge", checkpoint=tmp_path, **options)
        found = rc.compare(some, some, measures="ridge", checkpoint=tmp_path, **options)
        expected = rc.compare(some, some, measures="ridge", **options)
        np.testing.assert_allclose(found.score_reverse, expected.score_reverse, rtol=0, atol=1e-12)

    def test_labels_that_delays_respect_are_part_of_a_tile(self, tmp_path):
        """Sessions change no fold of a recording, but what a delay may reach over."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2, 120, 3))
        y[1:] += 2 * x[:-1]
        measure = {"delayed": rc.measures.encoding.banded.delayed_ridge(delays=[1, 2])}
        found = []
        for length in (120, 20):
            session = np.arange(120) // length
            sides = [
                rc.representation(v, dims=("time", "unit"), time=np.arange(120.0), session=session) for v in (x, y)
            ]
            options = {"measures": measure, "gap": 5, "progress": False}
            found.append(rc.compare(*sides, checkpoint=tmp_path, **options).score.item())
            np.testing.assert_allclose(found[-1], rc.compare(*sides, **options).score.item(), rtol=0, atol=1e-12)
        assert abs(found[0] - found[1]) > 1e-3

    def test_arrays_inside_options_count_whole(self, sources, tmp_path):
        """Their repr leaves out the middle."""
        from dataclasses import replace

        base = rc.measures.cka.cka()
        some = {name: sources[name] for name in ("net00", "net01")}
        for factor in (1.0, 2.0):
            weights = np.ones(3000)
            weights[1500] = factor
            compare = lambda x, y, factor=factor: factor * base.compare(x, y)  # noqa: E731
            measure = replace(base, compare=compare, compare_many=None, options={"by_layer": {"a": weights}})
            found = rc.similarity_matrix(some, measure={"m": measure}, checkpoint=tmp_path, progress=False)
            np.testing.assert_allclose(found.score[0, 0], factor, rtol=1e-12)


def test_memory_in_words_and_numbers_of_numpy(sources):
    some = {name: sources[name] for name in ("net00", "net01")}
    plain = rc.similarity_matrix(some, measure="ridge", seed=3, progress=False)
    found = rc.similarity_matrix(some, measure="ridge", seed=np.int32(3), memory="1 GB", progress=False)
    assert_same(found, plain)
    with pytest.raises(OptionError, match="memory='1'; expected a number of bytes, or text such as '500MB'"):
        rc.similarity_matrix(some, measure="cka", memory="1", progress=False)
