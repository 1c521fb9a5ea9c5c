"""The best source of a target: chosen on some stimuli, reported on others, the same for any threads, tiles and files."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import repcompare as rc
from repcompare.cli import cli
from repcompare.engine.plan import make_plan
from repcompare.engine.study import Options, declare
from repcompare.errors import MeasureError, OptionError, SchemaError
from repcompare.measures.encoding.banded import delayed_ridge
from repcompare.measures.encoding.linear import linear
from repcompare.measures.encoding.ridge import ridge
from repcompare.statistics.best import halves
from repcompare.statistics.folds import make_folds
from tests import naive_best
from tests.naive_encoding import fit_linear, scores

N = 48
NAMES = np.array([f"image{i:02d}" for i in range(N)])
VARIABLES = ("score_inner", "score_outer", "score_reverse", "score_mean")


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 4))
    return {
        f"l{k}": rc.representation(z @ rng.normal(size=(4, 5)) + noise * rng.normal(size=(N, 5)), stimulus=NAMES)
        for k, noise in enumerate((1.5, 1.2, 1.3, 4.0))
    }


@pytest.fixture
def brain():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 4))
    values = z @ np.random.default_rng(7).normal(size=(4, 6)) + rng.normal(size=(N, 6))
    return rc.representation(values, stimulus=NAMES, unit_region=["V1"] * 2 + ["V4"] * 4)


def compare(*args, **options):
    return rc.compare(*args, **{"progress": False, "best": True, **options})


def arrays(layers, brain):
    return [layer.response.values for layer in layers.values()], brain.response.values


@pytest.mark.parametrize(("folds", "seed"), [(5, 4), (4, 2)])
def test_fitted_measures_equal_plain_loops(layers, brain, folds, seed):
    found = rc.best(compare(layers, brain, measures="linear", folds=folds, seed=seed))

    def score(x, y, train, test):
        return scores(x, y, [(np.array(train), np.array(test))], fit_linear, "pearson").mean()

    tests = [test for _, test in make_folds(N, folds, seed=seed).splits]
    chosen, reported = naive_best.nested(*arrays(layers, brain), tests, score)
    assert found.selected_source[:, 0, 0].values.tolist() == [list(layers)[c] for c in chosen]
    np.testing.assert_allclose(found.score_selected[:, 0, 0], reported, rtol=1e-9)
    assert found.score_best.item() == pytest.approx(np.mean(reported), rel=1e-9)
    assert len(set(chosen)) > 1  # the choice is not trivial


@pytest.mark.parametrize(
    ("name", "function", "best"),
    [("cka", rc.cka, np.argmax), ("procrustes", rc.procrustes, np.argmin), ("mutual_knn", rc.mutual_knn, np.argmax)],
)
def test_other_measures_equal_plain_loops(layers, brain, name, function, best):
    found = rc.best(compare(layers, brain, measures=name, n_splits=3, seed=5))
    pairs = halves(N, 3, seed=5)
    chosen, reported = naive_best.halved(*arrays(layers, brain), pairs, function, best)
    assert found.selected_source[:, 0, 0].values.tolist() == [list(layers)[c] for c in chosen]
    np.testing.assert_allclose(found.score_selected[:, 0, 0], reported, atol=1e-10)
    assert found.sizes["fold"] == 6


def test_v21_a_layer_chosen_inside_scores_nothing_extra():
    """60 draws as 3 sets of 20 targets: nested within .05 of 0 (se .016); best of 20 +.25; choice by other folds +.13."""
    nested, top, leaky = [], [], []
    names = [f"s{i:03d}" for i in range(100)]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        layers = {f"l{k:02d}": rc.representation(rng.normal(size=(100, 50)), stimulus=names) for k in range(20)}
        targets = {f"t{k:02d}": rc.representation(rng.normal(size=(100, 1)), stimulus=names) for k in range(20)}
        table = compare(layers, targets, measures={"ridge": ridge([100.0])}, seed=seed, hash_inputs=False)
        found = rc.best(table)
        nested.append(found.score_best.mean().item())
        top.append(found.score_max.mean().item())
        folds = table.score_fold.values[:, :, 0]
        others = folds.sum(axis=-1, keepdims=True) - folds
        leaky.append(np.take_along_axis(folds, others.argmax(axis=0)[None], axis=0).mean())
    assert abs(np.mean(nested)) < 0.05
    assert np.mean(top) == pytest.approx(0.25, abs=0.05)
    assert np.mean(leaky) > 0.08  # why the mean of the other folds is not the inner score


def test_halves_of_null_layers_report_nothing_extra():
    """Debiased CKA of 20 unrelated layers, n = 60: a single score on half has sd 1.5/30 = .05, its mean over draws 0."""
    names = [f"s{i:03d}" for i in range(60)]
    rng = np.random.default_rng(0)
    layers = {f"l{k:02d}": rc.representation(rng.normal(size=(60, 20)), stimulus=names) for k in range(20)}
    targets = {f"t{k:02d}": rc.representation(rng.normal(size=(60, 20)), stimulus=names) for k in range(20)}
    found = rc.best(compare(layers, targets, measures="cka"))
    assert abs(found.score_best.mean()) < 0.01
    assert found.score_max.mean() > 0.04


def test_a_clear_winner_is_always_chosen(layers, brain):
    layers["same"] = rc.representation(
        brain.response.values @ np.random.default_rng(1).normal(size=(6, 6)), stimulus=NAMES
    )
    table = compare(layers, brain, measures=["ridge", "cka", "procrustes"])
    found = rc.best(table)
    assert (found.source_max == "same").all()
    assert (found.n_selected.sel(source="same") == [[5, 40, 40]]).all()
    assert set(np.unique(found.selected_source)) == {"", "same"}
    assert (found.selected_source[5:, 0].sel(measure="ridge") == "").all()  # 5 folds, 40 halves
    assert found.score_best.sel(measure="ridge").item() == pytest.approx(
        table.score.sel(source="same", measure="ridge").item(), abs=1e-12
    )


def test_one_source_reports_its_own_score(layers, brain):
    table = compare(layers, brain, measures=["ridge", "pls"])
    for name in layers:
        found = rc.best(table.sel(source=[name]))
        np.testing.assert_allclose(found.score_best, table.score.sel(source=name), atol=1e-12)
        np.testing.assert_allclose(found.score_max, found.score_best, atol=1e-12)


def test_a_part_is_not_the_best_source_of_itself(layers):
    table = rc.similarity_matrix(layers, measure=["cka", "linear"], best=True, progress=False)
    found = rc.best(table)
    for k, name in enumerate(layers):
        assert name not in found.selected_source.values[:, k]
        rest = [other for other in layers if other != name]
        top = table.score.sel(source=rest, target=name).max("source")
        np.testing.assert_allclose(found.score_max.sel(target=name), top)
    assert "warnings" not in found.attrs


class TestWithoutScores:
    def test_a_source_that_fails_on_a_half_is_not_chosen_and_named(self, layers, brain):
        values = np.random.default_rng(0).normal(size=(N, 3))
        values[1:] = 0.5 * np.ones(3)
        layers["flat"] = rc.representation(values, stimulus=NAMES)  # constant on every half without the first image
        table = compare(layers, brain, measures="procrustes")
        assert np.isfinite(table.score).all()
        found = rc.best(table)
        assert "flat" not in found.selected_source
        assert np.isfinite(found.score_best).all()
        assert found.attrs["warnings"] == ["not_chosen: procrustes of 'target': 'flat' lack a score in some fold"]
        none = rc.best(table.sel(source=["flat"]))
        assert np.isnan(none.score_best).all()
        assert (none.selected_source == "").all()
        assert none.attrs["warnings"] == ["no_best: procrustes of 'target': no source has a score in every fold"]

    def test_a_failed_cell(self, brain):
        rng = np.random.default_rng(0)
        models = {f"p{p}": rc.representation(rng.normal(size=(N, p)), stimulus=NAMES) for p in (4, 90)}
        found = rc.best(compare(models, brain, measures=["cca", "cka"]))
        assert (found.selected_source.sel(measure="cca")[:5] == "p4").all()

    def test_scores_without_inner_ones(self, layers, brain):
        with pytest.raises(SchemaError, match="compare again with best=True"):
            rc.best(compare(layers, brain, measures="cka", best=False))
        with pytest.raises(SchemaError, match="expected scores with dims source"):
            rc.best(brain)


class TestRefusals:
    def test_leave_one_out(self, layers, brain):
        with pytest.raises(OptionError, match="best=True reports the chosen source fold by fold"):
            compare(layers, brain, measures="ridge", folds="loo")

    def test_too_few_stimuli(self):
        few = rc.representation(np.random.default_rng(0).normal(size=(7, 3)), stimulus=list("abcdefg"))
        with pytest.raises(
            MeasureError, match="cka: best=True compares halves of the stimuli, the smallest of 3; expected"
        ):
            compare(few, few, measures="cka")


class TestTheTableIsOne:
    @pytest.fixture
    def study(self, layers, brain):
        return {"source": layers, "target": brain, "by": (None, "region"), "direction": "both",
                "measures": ["cka", "ridge", "mutual_knn", "pwcca"], "n_splits": 4}  # fmt: skip

    def run(self, study, **options):
        study = {**study, **options}
        return compare(study.pop("source"), study.pop("target"), **study)

    def test_threads_and_order_of_rows(self, study, layers):
        one = self.run(study)
        three = self.run(study, n_jobs=3)
        rng = np.random.default_rng(1)
        moved = self.run(study, source={k: ds.isel(stimulus=rng.permutation(N)) for k, ds in layers.items()})
        for name in VARIABLES:
            np.testing.assert_allclose(one[name], three[name], rtol=0, atol=1e-12)
            np.testing.assert_array_equal(one[name], moved[name])
        xr.testing.assert_equal(rc.best(one).selected_source, rc.best(three).selected_source)

    def test_tiles(self, study):
        whole = self.run(study)
        declared = declare(study["source"], study["target"], measures=study["measures"], by=study["by"])
        for limit in range(60_000, 900_000, 10_000):
            options = Options(memory=limit, best=True, direction="both", n_splits=4)
            try:
                plan = make_plan(type(declared)(**{**vars(declared), "options": options}))
            except OptionError:
                continue
            if len(plan.tiles) > 1:
                break
        tiled = self.run(study, memory=limit)
        assert "tiles" in tiled.attrs["study"]
        for name in VARIABLES:
            np.testing.assert_allclose(whole[name], tiled[name], rtol=0, atol=1e-12)

    def test_checkpoints(self, study, tmp_path):
        first = self.run(study, checkpoint=tmp_path)
        again = self.run(study, checkpoint=tmp_path)
        for name in VARIABLES:
            np.testing.assert_array_equal(first[name], again[name])
        more = self.run(study, checkpoint=tmp_path, n_splits=6)  # other halves: other tiles
        assert more.sizes["selection"] == 12

    def test_files_and_joined_tables(self, study, layers, tmp_path):
        whole = self.run(study, unit_scores=True)
        names = list(layers)
        parts = [
            self.run(study, source={k: layers[k] for k in some}, unit_scores=True) for some in (names[:1], names[1:])
        ]
        joined = rc.concat_scores(parts)
        for name in (*VARIABLES, "score_unit", "score_fold"):
            np.testing.assert_allclose(joined[name].transpose(*whole[name].dims), whole[name], rtol=0, atol=1e-12)
        rc.save(joined, tmp_path / "scores.nc")
        opened = rc.open(tmp_path / "scores.nc")
        for table in (joined, opened):
            found, expected = rc.best(table), rc.best(whole)
            assert found.selected_source.values.tolist() == expected.selected_source.values.tolist()
            np.testing.assert_allclose(found.score_best, expected.score_best, atol=1e-12)
        found.to_netcdf(tmp_path / "best.nc")
        xr.testing.assert_identical(found, xr.load_dataset(tmp_path / "best.nc"))

    def test_tables_of_other_folds_are_not_chosen_from_together(self, study, layers):
        parts = [self.run(study, source={k: layers[k]}, seed=s) for s, k in enumerate(list(layers)[:2])]
        with pytest.raises(SchemaError, match="joined from 2 runs with different folds"):
            rc.best(rc.concat_scores(parts))

    def test_tables_of_other_measures_are(self, study):
        parts = [self.run(study, measures=m) for m in ("cka", "linear")]
        found = rc.best(rc.concat_scores(parts))
        for part in parts:
            alone = rc.best(part)
            np.testing.assert_allclose(found.score_best.sel(measure=alone.measure), alone.score_best, atol=1e-12)

    def test_the_command_line_shows_the_choice(self, layers, brain, tmp_path):
        rc.save(layers, tmp_path / "layers.nc")
        rc.save(brain, tmp_path / "brain.nc")
        asked = ["compare", str(tmp_path / "layers.nc"), str(tmp_path / "brain.nc"), "-m", "linear", "--best",
                 "--direction", "both", "--no-progress", "--jobs", "1"]  # fmt: skip
        found = rc.best(compare(tmp_path / "layers.nc", {"brain": brain}, measures="linear"))
        said = CliRunner().invoke(cli, asked, standalone_mode=False).stdout
        name = found.selected_source.values[0, 0, 0]
        assert re.search(
            rf"best of brain by linear: {name} in \d of 5 choices {found.score_best.item():.3f} \(of all", said
        )
        content = json.loads(CliRunner().invoke(cli, [*asked, "--json"], standalone_mode=False).stdout)
        assert content["best"][0]["score"] == pytest.approx(found.score_best.item(), abs=1e-12)
        assert np.isfinite(content["scores"][0]["score_reverse"])


def test_repeats_and_missing_values(layers, brain):
    rng = np.random.default_rng(3)
    trials = np.concatenate([brain.response.values + rng.normal(size=(N, 6)) for _ in range(3)])
    sides = [
        rc.representation(np.tile(v, (3, 1)) + rng.normal(size=trials.shape[:1] + v.shape[1:]),
                          dims=("presentation", "unit"), stimulus_id=np.tile(NAMES, 3))
        for v in (layers["l0"].response.values, brain.response.values)
    ]  # fmt: skip
    table = compare(*sides, measures=rc_cka_of_repeats(), n_splits=2)
    assert np.isfinite(rc.best(table).score_best).all()
    holes = brain.response.values.copy()
    holes[3, 1] = np.nan
    holed = brain.copy(data={"response": holes})
    assert np.isfinite(rc.best(compare(layers, holed, measures=["ridge"], nan="pairwise")).score_best).all()


def rc_cka_of_repeats():
    from repcompare.measures.cka import cka

    return cka(estimator="repeats")


class TestDirections:
    def test_v38_a_superset_and_a_match(self):
        rng = np.random.default_rng(0)
        b = rng.standard_normal((400, 20))
        names = [f"s{i:03d}" for i in range(400)]
        brain = rc.representation(b + 0.3 * rng.standard_normal((400, 20)), stimulus=names)
        turns = [np.linalg.qr(rng.standard_normal((p, p)))[0] for p in (100, 20)]
        models = {"superset": np.hstack([b, rng.standard_normal((400, 80))]) @ turns[0], "match": b @ turns[1]}
        models = {k: rc.representation(v, stimulus=names) for k, v in models.items()}
        table = compare(models, brain, measures={"ridge": ridge([10.0]), "cka": "cka"}, direction="both", best=False)
        ridged = table.sel(measure="ridge", target="target")
        np.testing.assert_allclose(ridged.score, [0.94, 0.955], atol=0.02)
        np.testing.assert_allclose(ridged.score_reverse, [0.37, 0.955], atol=0.02)
        np.testing.assert_allclose(table.score_mean, (table.score + table.score_reverse) / 2)
        np.testing.assert_array_equal(table.score_reverse.sel(measure="cka"), table.score.sel(measure="cka"))
        direct = rc.encode(models["superset"], brain, alphas=10.0, direction="both")
        assert ridged.score_reverse[0].item() == pytest.approx(direct.score_reverse, abs=1e-12)
        frame = rc.table(table)
        assert frame.score_reverse.notna().all()
        assert frame.score_mean.notna().all()

    @pytest.mark.parametrize("measure", ["semi_match", "pwcca", "linear_r2", "pls", "best_unit"])
    def test_the_reverse_is_the_score_with_sides_exchanged(self, layers, brain, measure):
        there = compare(layers, brain, measures=measure, direction="both", best=False)
        back = compare(brain, layers, measures=measure, best=False)
        np.testing.assert_allclose(there.score_reverse.values[:, 0], back.score.values[0], atol=1e-12)
        assert not np.allclose(there.score_reverse, there.score)

    def test_a_square_table_has_both_already(self, layers):
        table = rc.similarity_matrix(layers, measure=["linear", "cka"], direction="both", progress=False)
        np.testing.assert_allclose(
            table.score_reverse, table.score.transpose("target", "source", "measure"), atol=1e-12
        )

    def test_a_reverse_that_fails_says_so(self, brain):
        wide = rc.representation(np.random.default_rng(0).normal(size=(N, 3)), stimulus=NAMES)
        holes = brain.response.values.copy()
        holes[3, 1] = np.nan
        holed = brain.copy(data={"response": holes})
        with pytest.raises(MeasureError, match="target 'target'"):
            compare(wide, holed, measures="ridge", nan="pairwise", direction="both", best=False)

    def test_forward_alone_has_no_columns(self, layers, brain):
        table = compare(layers, brain, measures="ridge", best=False)
        assert "score_reverse" not in table
        assert "score_reverse" not in rc.table(table)
        with pytest.raises(OptionError, match="direction='backward'"):
            compare(layers, brain, measures="ridge", direction="backward")


@pytest.mark.parametrize("name", ["ridge", "banded_ridge", "kernel_ridge", "pls", "linear", "best_unit", "poisson"])
def test_unit_scores_of_every_encoder(name):
    """Layer x region: the scores of units are those of the direct function, in the order of the units."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 3))
    layer = ["a"] * 4 + ["b"] * 5
    net = rc.representation(z @ rng.normal(size=(3, 9)) + rng.normal(size=(N, 9)), stimulus=NAMES, unit_layer=layer)
    counts = rng.poisson(np.exp(0.5 * z @ rng.normal(size=(3, 5)))).astype(float)
    brain = rc.representation(counts, stimulus=NAMES, unit_region=["V1", "V4", "V1", "V4", "V4"])
    table = compare(net, brain, measures=name, by=("layer", "region"), unit_scores=True, best=False)
    assert table.score_unit.sizes["target_unit"] == 5
    direct = {"banded_ridge": {"bands": "one"}}.get(name, {})
    for source in "ab":
        x = net.isel(unit=np.flatnonzero(net.unit_layer.values == source))
        for region in ("V1", "V4"):
            at = np.flatnonzero(table.target_unit_target.values == region)
            y = brain.isel(unit=np.flatnonzero(brain.unit_region.values == region))
            assert table.target_unit_id.values[at].tolist() == y.unit_id.values.tolist()
            found = table.score_unit.sel(source=source, measure=name).values[at]
            assert np.isfinite(found).all()
            if not direct:
                np.testing.assert_allclose(found, rc.encode(x, y, model=name).unit_scores, atol=1e-12)
            assert table.score.sel(source=source, target=region).item() == pytest.approx(found.mean(), abs=1e-9)


def test_r2_reports_the_mean_over_folds(layers, brain):
    table = compare(layers, brain, measures={"linear": linear(scoring="r2")})
    found = rc.best(table.sel(source=["l0"]))
    assert found.score_best.item() == pytest.approx(table.score_fold.sel(source="l0").mean().item(), abs=1e-12)


def test_a_fold_in_which_nothing_can_be_chosen_is_said():
    """Labels of the runs of all rows do not fit the rows inside a fold."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 200, 3))
    y = x @ rng.normal(size=(3, 2)) + rng.normal(size=(200, 2))
    parts = [recording(v) for v in (x, z, y)]
    measure = delayed_ridge(alphas=[1.0], delays=[0, 1, 2], runs=np.zeros(200))
    scores = compare({"a": parts[0], "b": parts[1]}, parts[2], measures={"d": measure}, gap=4)
    found = rc.best(scores)
    assert np.isnan(found.score_best.values).all()
    assert any(line.startswith("no_best: d of") for line in found.attrs["warnings"])


def recording(values, **labels):
    return rc.representation(values, dims=("time", "unit"), time=np.arange(float(len(values))), **labels)


@pytest.mark.parametrize("delays", [[1], [0, 2]])
def test_delays_do_not_cross_what_is_held_out(delays):
    """Against plain loops: inside a fold, a row whose past was held out has a past of zeros."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(160, 3))
    run = np.repeat([0, 1], 80)
    past = naive_delayed(z, delays, run)
    y = past @ rng.normal(size=(past.shape[1], 4)) + 2 * rng.normal(size=(160, 4))
    layers = [z + noise * rng.normal(size=(160, 3)) for noise in (0.9, 1.0, 0.95)]
    sources = {f"l{k}": recording(x, run=run) for k, x in enumerate(layers)}
    tests, gap = np.array_split(np.arange(160), 5), 6
    splits = [(np.flatnonzero(np.abs(np.arange(160)[:, None] - t).min(axis=1) > gap), t) for t in tests]
    measure = delayed_ridge(alphas=[3.0], delays=delays)
    table = compare(sources, recording(y, run=run), measures={"d": measure}, folds=splits)
    found = rc.best(table)

    def score(x, y, train, test, rows):
        """Score of rows that all are among ``rows``; nothing else is known of the features."""
        stretch = np.cumsum(np.r_[0, (np.diff(rows) != 1) | (np.diff(run[rows]) != 0)])
        features = np.full((len(y), len(delays) * x.shape[1]), np.nan)
        features[rows] = naive_delayed(x[rows], delays, stretch)
        a, b = features[train], y[train]
        weights = np.linalg.solve(
            (a - a.mean(0)).T @ (a - a.mean(0)) + 3.0 * np.eye(a.shape[1]), (a - a.mean(0)).T @ (b - b.mean(0))
        )
        p = features[test] @ weights
        return np.mean([np.corrcoef(p[:, u], y[test][:, u])[0, 1] for u in range(y.shape[1])])

    chosen, reported = naive_best.nested_in_time(layers, y, splits, score)
    assert found.selected_source.values.ravel().tolist() == [f"l{k}" for k in chosen]
    np.testing.assert_allclose(found.score_selected.values.ravel(), reported, rtol=0, atol=1e-9)
    inner = table.score_inner.values[:, 0, 0]
    expected = [naive_best.inner_in_time(x, y, splits, score) for x in layers]
    np.testing.assert_allclose(inner, expected, rtol=0, atol=1e-9)


def naive_delayed(x, delays, runs):
    from tests.naive_banded import delayed

    return delayed(x, delays, runs)
