"""A study is planned and run: the table is right, whatever the order of rows, the threads, or the form of the input."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.engine.plan import make_plan
from repcompare.engine.study import Options, declare
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, UnknownMeasureError
from repcompare.measures._measure import Measure
from repcompare.measures.cka import cka

N = 40
NAMES = np.array([f"image{i:02d}" for i in range(N)])
ALL = ["cka", "rsa", "procrustes", "cca", "ridge"]


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 5))
    return {
        f"layer{k}": rc.representation(
            z @ rng.normal(size=(5, 9 + k)) + (0.3 + k) * rng.normal(size=(N, 9 + k)), stimulus=NAMES
        )
        for k in range(3)
    }


@pytest.fixture
def brain():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 5))
    signal = z @ np.random.default_rng(9).normal(size=(5, 8))
    trials = np.concatenate([signal + rng.normal(size=signal.shape) for _ in range(4)])
    return rc.representation(
        trials,
        dims=("presentation", "unit"),
        stimulus_id=np.tile(NAMES, 4),
        stimulus_category=np.tile(np.arange(N) // 2, 4).astype(str),
        repeat=np.repeat(range(4), N),
        unit_region=["V1"] * 3 + ["V4"] * 5,
    )


def compare(*args, **options):
    return rc.compare(*args, **{"progress": False, **options})


def test_every_cell_equals_the_direct_function(layers, brain):
    scores = compare(layers, brain, measures=ALL, by=(None, "region"))
    assert scores.score.dims == ("source", "target", "measure")
    averaged = rc.average_repeats(brain)
    direct = {"cka": rc.cka, "rsa": rc.rsa, "procrustes": rc.procrustes, "cca": rc.cca}
    for region in ("V1", "V4"):
        part = averaged.isel(unit=np.flatnonzero(averaged.unit_region.values == region))
        for name, layer in layers.items():
            cell = scores.sel(source=name, target=region)
            for measure, function in direct.items():
                assert cell.score.sel(measure=measure).item() == pytest.approx(function(layer, part), abs=1e-12)
            encoded = rc.encode(layer, part)
            assert cell.score.sel(measure="ridge").item() == pytest.approx(encoded.score, abs=1e-12)
            np.testing.assert_allclose(cell.score_fold.sel(measure="ridge"), encoded.fold_scores, atol=1e-12)
    assert scores.target_region.values.tolist() == ["V1", "V4"]
    assert (scores.reason == "").all()


def test_order_of_rows_changes_nothing(layers, brain):
    """V36: permuting the rows of one side, with their labels, changes no result: bit for bit."""
    before = compare(layers, brain, measures=ALL, ceiling="split_half", permutations=3)
    rng = np.random.default_rng(1)
    moved = {name: ds.isel(stimulus=rng.permutation(N)) for name, ds in layers.items()}
    after = compare(moved, brain, measures=ALL, ceiling="split_half", permutations=3)
    for name in ("score", "score_ceiling", "score_pvalue", "score_fold"):
        np.testing.assert_array_equal(before[name], after[name])


def test_number_of_threads_changes_nothing(layers, brain):
    options = {"measures": ALL, "ceiling": "split_half", "confidence": 0.9, "permutations": 5, "seed": 3}
    one, three = (compare(layers, brain, n_jobs=n, **options) for n in (1, 3))
    for name in ("score", "score_ceiling", "score_low", "score_high", "score_pvalue", "score_pvalue_corrected"):
        np.testing.assert_allclose(one[name], three[name], rtol=0, atol=1e-12)


def test_the_seed_decides(layers, brain):
    first, again, other = (compare(layers, brain, measures="ridge", seed=s).score.values for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_missing_image_is_named_and_intersection_says_so(layers, brain):
    layers["layer1"] = layers["layer1"].drop_sel(stimulus="image07")
    with pytest.raises(
        AlignmentError, match=r"39 of 40 .*; missing in source 'layer1': 'image07' \(1\);.*stimuli='intersection'"
    ):
        compare(layers, brain, measures="cka")
    scores = compare(layers, brain, measures="cka", stimuli="intersection")
    assert (scores.n_stimuli == 39).all()
    assert scores.attrs["n_stimuli_left_out"] == 1
    assert any("'image07'" in warning for warning in scores.attrs["warnings"])


def test_nothing_shared(layers, brain):
    brain = brain.assign_coords(stimulus_id=("presentation", [f"x{i}" for i in brain.stimulus_id.values]))
    with pytest.raises(AlignmentError, match="no stimulus is shared"):
        compare(layers, brain, measures="cka", stimuli="intersection")


def test_each_part_is_prepared_once_and_pairs_in_one_batch(layers):
    calls = []
    good = cka()

    def prepare(values):
        calls.append(values.shape)
        return good.prepare(values)

    batches = []

    def many(x, y):
        batches.append((len(x), len(y)))
        return good.compare_many(x, y)

    spy = Measure(
        name="spy",
        prepare=prepare,
        compare=good.compare,
        compare_many=many,
        kind="similarity",
        score_range=(-1, 1),
        invariant_to=frozenset(),
        reference="none",
    )
    rc.similarity_matrix(layers, measure=spy, progress=False)
    assert sorted(calls) == [(40, 9), (40, 10), (40, 11)]
    assert batches == [(3, 3)]


def test_similarity_matrix_is_symmetric(layers):
    scores = rc.similarity_matrix(layers, measure=["cka", "procrustes", "ridge"], progress=False)
    matrix = scores.score.sel(measure=["cka", "procrustes"]).values
    np.testing.assert_allclose(matrix, matrix.swapaxes(0, 1), atol=1e-12)
    np.testing.assert_allclose(np.diagonal(matrix), [[1] * 3, [0] * 3], atol=1e-7)
    ridge = scores.score.sel(measure="ridge").values
    assert not np.allclose(ridge, ridge.T)


def test_a_measure_of_repeats_gets_them(brain):
    other = brain.copy(data={"response": brain.response.values[:, ::-1] * 2})
    scores = compare(brain, other, measures=cka(estimator="repeats"))
    values = brain.response.values.reshape(4, N, 8)
    expected = rc.cka(values, values[:, :, ::-1] * 2, estimator="repeats")
    assert scores.score.item() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(SchemaError, match="needs single repeats"):
        compare(rc.average_repeats(brain), other, measures=cka(estimator="repeats"))


class TestMissingValues:
    def holes(self, brain):
        values = rc.average_repeats(brain).response.values.copy()
        values[3, 1] = np.nan
        return rc.average_repeats(brain).copy(data={"response": values})

    def test_raise_names_unit_and_stimulus(self, layers, brain):
        with pytest.raises(MeasureError, match=r"target 'target': 1 missing values .* 'image03', unit 'unit/1'"):
            compare(layers, self.holes(brain), measures="cka")

    def test_drop_units(self, layers, brain):
        scores = compare(layers, self.holes(brain), measures=["cka", "ridge"], nan="drop_units")
        complete = rc.average_repeats(brain).isel(unit=[0, 2, 3, 4, 5, 6, 7])
        assert scores.score.sel(measure="cka")[0].item() == pytest.approx(rc.cka(layers["layer0"], complete), abs=1e-12)
        assert (scores.n_dropped == 1).all()
        assert (scores.n_target_units == 7).all()

    def test_drop_stimuli(self, layers, brain):
        scores = compare(layers, self.holes(brain), measures="cka", nan="drop_stimuli")
        rows = np.delete(np.arange(N), 3)
        x, y = layers["layer0"].response.values[rows], rc.average_repeats(brain).response.values[rows]
        assert scores.score[0].item() == pytest.approx(rc.cka(x, y), abs=1e-12)
        assert (scores.n_stimuli == N - 1).all()
        assert (scores.n_dropped == 1).all()

    def test_pairwise_needs_a_measure_that_can(self, layers, brain):
        with pytest.raises(MeasureError, match="cka has no form for missing values"):
            compare(layers, self.holes(brain), measures=["cka", "rsa"], nan="pairwise")
        scores = compare(layers, self.holes(brain), measures=["ridge"], nan="pairwise")
        assert np.isfinite(scores.score).all()

    def test_nothing_left(self, layers, brain):
        empty = rc.average_repeats(brain)
        empty = empty.copy(data={"response": np.where(np.eye(N, 8) > 0, np.nan, empty.response.values)})
        with pytest.raises(MeasureError, match="leaves no unit"):
            compare(layers, empty, measures="cka", nan="drop_units")


class TestBadInput:
    def test_constant_units_raise_with_the_part(self, layers, brain):
        layers["layer1"] = layers["layer1"].copy(data={"response": np.ones((N, 10))})
        with pytest.raises(MeasureError, match="source 'layer1': cka: the representation has no variance"):
            compare(layers, brain, measures="cka")

    def test_flat_patterns_are_named_by_stimulus(self, layers, brain):
        values = layers["layer1"].response.values.copy()
        values[[4, 6]] = 2.5
        layers["layer1"] = layers["layer1"].copy(data={"response": values})
        with pytest.raises(MeasureError, match="source 'layer1'.*'image04', 'image06'"):
            compare(layers, brain, measures="rsa")

    def test_one_stimulus(self, brain):
        one = rc.representation(np.ones((1, 3)), stimulus=["a"])
        with pytest.raises(MeasureError, match="1 stimuli to compare; expected at least 4"):
            compare(one, one, measures="cka")

    def test_infinite_values(self, layers, brain):
        bad = layers["layer0"].copy(deep=True)
        bad.response.values[2, 3] = np.inf
        with pytest.raises(SchemaError, match=r"(?s)source: .*infinite value.*stimulus 2, unit 3"):
            compare(bad, brain, measures="cka")

    def test_unknown_names(self, layers, brain):
        with pytest.raises(UnknownMeasureError, match="did you mean 'cka'"):
            compare(layers, brain, measures="ckaa")
        with pytest.raises(TypeError, match="stimulus"):
            compare(layers, brain, measures="cka", stimulus="exact")
        with pytest.raises(OptionError, match="did you mean 'drop_units'"):
            compare(layers, brain, measures="cka", nan="dropunits")
        with pytest.raises(OptionError, match="no label 'regoin' to split by; did you mean 'region'"):
            compare(layers, brain, measures="cka", by=(None, "regoin"))
        with pytest.raises(OptionError, match=r"groups='stimulus_categry'.*did you mean"):
            compare(layers, brain, measures="ridge", groups="stimulus_categry")
        with pytest.raises(MeasureError, match="asked for twice"):
            compare(layers, brain, measures=["cka", "cka"])
        with pytest.raises(MeasureError, match="no measure asked for"):
            compare(layers, brain, measures=[])

    @pytest.mark.parametrize(
        "option", [{"n_jobs": 0}, {"seed": -1}, {"permutations": 1.5}, {"confidence": 95}, {"ceiling": "best"}], ids=str
    )
    def test_option_values(self, layers, brain, option):
        with pytest.raises(OptionError, match=next(iter(option))):
            compare(layers, brain, measures="cka", **option)

    def test_not_a_representation(self, brain):
        with pytest.raises(SchemaError, match=r"found a ndarray; expected a representation"):
            compare(np.ones((3, 3)), brain, measures="cka")
        with pytest.raises(SchemaError, match="no parts"):
            compare({}, brain, measures="cka")

    def test_rows_of_a_continuous_recording_are_not_left_out_one_by_one(self):
        series = rc.representation(
            np.random.default_rng(0).normal(size=(50, 4)), dims=("time", "unit"), time=np.arange(50.0)
        )
        with pytest.raises(OptionError, match="not exchangeable; found 0 blocks"):
            compare(series, series, measures="cka", confidence=0.95)


def test_a_cell_that_fails_has_its_reason_and_the_others_their_score(brain):
    rng = np.random.default_rng(0)
    models = {
        name: rc.representation(rng.normal(size=(N, p)), stimulus=NAMES) for name, p in (("narrow", 4), ("wide", 60))
    }
    scores = compare(models, brain, measures=["cca", "cka"])
    cell = scores.sel(source="wide", measure="cca")
    assert np.isnan(cell.score.item())
    assert "ranks 31 + 8 reach" in cell.reason.item()
    assert np.isfinite(scores.score.sel(source="narrow")).all()
    assert any(w.startswith("failed: cca: 1 of 2 cells") for w in scores.attrs["warnings"])
    with pytest.raises(MeasureError, match="cca: no cell could be computed; the first: cca: ranks"):
        compare({"wide": models["wide"]}, brain, measures="cca")


class TestCeilings:
    def test_a_perfect_model_reaches_the_ceiling_of_cka(self):
        found = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            signal = rng.normal(size=(80, 8)) @ rng.normal(size=(8, 30)) / 3
            names = [f"s{i}" for i in range(80)]
            trials = np.concatenate([signal + 2 * rng.normal(size=signal.shape) for _ in range(4)])
            brain = rc.representation(trials, dims=("presentation", "unit"), stimulus_id=names * 4)
            model = rc.representation(signal, stimulus=names)
            scores = compare(model, brain, measures=["cka", "ridge"], ceiling="split_half", n_splits=5)
            found.append(scores.score_normalised.values.ravel())
        kernel, ridge = np.mean(found, axis=0)
        assert kernel == pytest.approx(1.0, abs=0.03)
        assert 0.85 < ridge < 1.02  # fitted on few stimuli: just below

    def test_units_follow_spearman_brown(self):
        """Reliability of the mean of 4 repeats with signal variance 1 and noise variance 2: 1 / (1 + 2/4) = .667."""
        rng = np.random.default_rng(0)
        signal = rng.normal(size=(2000, 20))
        names = [f"s{i}" for i in range(2000)]
        trials = np.concatenate([signal + np.sqrt(2) * rng.normal(size=signal.shape) for _ in range(4)])
        brain = rc.representation(trials, dims=("presentation", "unit"), stimulus_id=names * 4)
        model = rc.representation(signal[:, :3], stimulus=names)
        scores = compare(model, brain, measures="ridge", ceiling="split_half", n_splits=3)
        assert scores.score_ceiling.item() == pytest.approx(np.sqrt(2 / 3), abs=0.01)
        assert scores.attrs["normalisation"] == "attenuation"

    def test_no_repeats_no_ceiling(self, layers, brain):
        with pytest.raises(MeasureError, match="target 'target': ceiling='split_half' needs repeats"):
            compare(layers, rc.average_repeats(brain), measures="cka", ceiling="split_half")

    def test_measures_without_a_ceiling_say_so(self, layers, brain):
        scores = compare(layers, brain, measures=["cka", "procrustes"], ceiling="split_half")
        assert np.isnan(scores.score_ceiling.sel(measure="procrustes")).all()
        assert "no_ceiling: procrustes has no split-half ceiling" in scores.attrs["warnings"]


class TestInference:
    def test_pvalues_of_related_and_unrelated_systems(self, layers, brain):
        rng = np.random.default_rng(5)
        layers["noise"] = rc.representation(rng.normal(size=(N, 9)), stimulus=NAMES)
        measures = ["cka", "rsa", "procrustes", "cca"]
        scores = compare(layers, brain, measures=measures, permutations=99, seed=1)
        assert (scores.score_pvalue.sel(source="layer0", measure=["cka", "rsa", "procrustes"]) == 0.01).all()
        assert (scores.score_pvalue.sel(source="noise") > 0.05).all()
        assert (scores.score_pvalue_corrected >= scores.score_pvalue).all()
        assert (scores.score_pvalue >= 1 / 100).all()
        floor = scores.score_floor.sel(source="noise")
        assert abs(floor.sel(measure="cka")) < 0.03  # debiased: 0
        assert floor.sel(measure="procrustes") < np.pi / 2 - 0.3  # a distance of unrelated systems is not the largest

    def test_exact_moments_of_chance_stand_beside_the_score(self, layers, brain):
        measures = {"debiased": "cka", "biased": cka(estimator="biased"), "yanai": rc.measures.cca.cca(
            summary="yanai", held_out=False), "knn": "mutual_knn", "rsa": "rsa"}  # fmt: skip
        scores = compare(layers, brain, measures=measures, permutations=400, seed=2)
        assert (scores.score_null_mean.sel(measure="debiased") == 0).all()
        np.testing.assert_allclose(scores.score_null_sd.sel(measure="debiased"), np.sqrt(2 / (N * (N - 3))))
        for name in ("debiased", "biased", "yanai", "knn"):
            exact, drawn = (scores[v].sel(measure=name).values for v in ("score_null_mean", "score_floor"))
            np.testing.assert_allclose(exact, drawn, atol=0.012)
        assert np.isnan(scores.score_null_mean.sel(measure="rsa")).all()

    def test_the_best_of_unrelated_layers_is_rarely_above_its_floor(self):
        """Spec: positive in at most 7 % of null draws at alpha = .05; by the floor of a single layer far more often."""
        rng, alone, together = np.random.default_rng(0), [], []
        for seed in range(60):
            names = [f"s{i}" for i in range(20)]
            nulls = {f"l{k}": rc.representation(rng.normal(size=(20, 5)), stimulus=names) for k in range(8)}
            target = rc.representation(rng.normal(size=(20, 5)), stimulus=names)
            found = compare(nulls, target, measures="cka", permutations=39, calibrated=True, seed=seed)
            alone.append(bool((found.score_calibrated > 0).any()))
            together.append(bool((found.score_calibrated_best > 0).any()))
        assert np.mean(together) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)  # .134: three standard errors
        assert np.mean(alone) > 0.2

    def test_measures_of_single_repeats_are_permuted_with_all_their_repeats(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(20, 4))
        sides = [z @ rng.normal(size=(4, 6)) + 0.3 * rng.normal(size=(3, 20, 6)) for _ in range(2)]
        ids = np.tile([f"s{i:02d}" for i in range(20)], 3)
        trials = [rc.representation(v.reshape(60, 6), dims=("presentation", "unit"), stimulus_id=ids) for v in sides]
        asked = ["cka", cka(estimator="repeats")]
        scores = compare(*trials, measures=asked, permutations=19, seed=3)
        assert (scores.score_floor < 0.3).all()
        assert (scores.score_pvalue == 0.05).all()

    def test_calibrated_scores(self, layers, brain):
        layers["noise"] = rc.representation(np.random.default_rng(5).normal(size=(N, 9)), stimulus=NAMES)
        scores = compare(layers, brain, measures=["cka", "procrustes"], permutations=99, calibrated=True)
        calibrated = scores.score_calibrated
        assert (calibrated.sel(source="layer0") > 0.3).all()
        assert (calibrated.sel(source="noise") < 0.05).all()
        assert (calibrated.sel(measure="cka") < scores.score.sel(measure="cka")).all()
        best = scores.score_calibrated_best
        assert (best <= calibrated + 1e-12).all()  # the floor of the best of three is higher than that of one
        assert (best.sel(source="layer0") > 0.3).all()
        with pytest.raises(OptionError, match="calibrated=True needs permutations= of at least 19"):
            compare(layers, brain, measures="cka", calibrated=True)

    def test_jackknife_by_hand(self, layers, brain):
        scores = compare(layers["layer0"], brain, measures="cka", confidence=0.95)
        x, y = layers["layer0"].response.values, rc.average_repeats(brain).response.values
        full = rc.cka(x, y)
        pseudo = [N * full - (N - 1) * rc.cka(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(N)]
        from scipy import stats

        half = stats.t.ppf(0.975, N - 1) * np.std(pseudo, ddof=1) / np.sqrt(N)
        assert scores.score_low.item() == pytest.approx(full - half, abs=1e-9)
        assert scores.score_high.item() == pytest.approx(full + half, abs=1e-9)
        assert scores.attrs["interval"] == "jackknife"

    def test_fitted_measures_have_no_interval_and_say_so(self, layers, brain):
        scores = compare(layers, brain, measures="cca", confidence=0.95)
        assert np.isnan(scores.score_low).all()
        assert "no_interval: cca has no interval over stimuli" in scores.attrs["warnings"]


def test_unit_scores_are_labelled(layers, brain):
    scores = compare(layers, brain, measures=["ridge", "cka"], by=(None, "region"), unit_scores=True)
    ridge = scores.score_unit.sel(source="layer0", measure="ridge")
    v4 = ridge.values[scores.target_unit_target.values == "V4"]
    assert v4.mean() == pytest.approx(scores.score.sel(source="layer0", target="V4", measure="ridge").item(), abs=1e-12)
    assert scores.target_unit_id.values.tolist() == brain.unit_id.values.tolist()
    assert np.isnan(scores.score_unit.sel(measure="cka")).all()


def test_folds_keep_groups_together(layers, brain):
    study = declare(layers, brain, measures="ridge", options=Options(groups="stimulus_category"))
    plan = make_plan(study)
    groups = np.arange(N) // 2
    for train, test in plan.folds.splits:
        assert not set(groups[train]) & set(groups[test])


def test_paths_trees_and_mappings_give_the_same(tmp_path, layers, brain):
    rc.save(layers, tmp_path / "layers.nc")
    rc.save(brain, tmp_path / "brain.nc")
    memory = compare(layers, {"brain": brain}, measures="cka")
    disk = compare(tmp_path / "layers.nc", str(tmp_path / "brain.nc"), measures="cka")
    tree = compare(rc.open(tmp_path / "layers.nc"), {"brain": tmp_path / "brain.nc"}, measures="cka")
    xr.testing.assert_identical(memory.score, disk.score)
    xr.testing.assert_identical(memory.score, tree.score)
    assert memory.attrs["inputs"] == disk.attrs["inputs"]


def test_split_by_layer_is_accepted_where_the_parts_are_layers(layers, brain):
    scores = compare(layers, brain, measures="cka", by="layer")
    assert scores.source_layer.values.tolist() == list(layers)


def test_the_record_tells_how_the_numbers_were_made(layers, brain):
    attrs = compare(layers, brain, measures={"mine": cka(estimator="biased")}, seed=4).attrs
    assert attrs["seed"] == 4
    assert attrs["measures"] == ["mine: cka(estimator=biased)"]
    assert len(attrs["inputs"]) == 4
    assert "repcompare" in attrs["versions"]
    assert attrs["stimuli_policy"] == "exact"


def test_memory_limit(layers, brain):
    with pytest.raises(OptionError, match=r"memory=100 bytes is too little: the run needs at least \d+ \(.* kB\)"):
        compare(layers, brain, measures="cka", memory=100)
    assert "about" in str(make_plan(declare(layers, brain, measures="cka")))


def test_memory_estimate_is_near_the_measured_peak():
    """Within a factor of 1.5 for wide layers in float32, where memory matters."""
    import tracemalloc

    rng = np.random.default_rng(0)
    names = [f"s{i}" for i in range(500)]
    sources = {
        f"l{k}": rc.representation(rng.normal(size=(500, 6000)).astype(np.float32), stimulus=names) for k in range(6)
    }
    estimate = make_plan(declare(sources, None, measures="cka")).memory
    rc.similarity_matrix({k: sources[k] for k in list(sources)[:2]}, progress=False)  # compile
    tracemalloc.start()
    rc.similarity_matrix(sources, progress=False, hash_inputs=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 1 / 1.5 < estimate / peak < 1.5


def test_progress_is_told_and_its_errors_do_not_stop_the_run(layers, brain, caplog):
    told = []
    compare(layers, brain, measures=["cka", "rsa"], progress=lambda done, total, text: told.append((done, total)))
    assert told == [(i + 1, 5) for i in range(5)]  # 3 + 1 parts, one tile

    def broken(done, total, text):
        raise ValueError("no")

    assert np.isfinite(compare(layers, brain, measures="cka", progress=broken).score).all()
    assert "progress callable failed" in caplog.text


def test_blas_threads_are_restored(layers, brain):
    from threadpoolctl import threadpool_info

    before = [lib["num_threads"] for lib in threadpool_info()]
    compare(layers, brain, measures="cka", n_jobs=2)
    assert [lib["num_threads"] for lib in threadpool_info()] == before
    assert threading.active_count() < 20


class TestGivenCeilings:
    @pytest.mark.parametrize("given", [0.5, [0.5, 0.8], {"V4": 0.8, "V1": 0.5}])
    def test_they_are_used_and_named(self, layers, brain, given):
        regions = brain["unit_region"].values if "unit_region" in brain.coords else None
        labelled = brain if regions is not None else brain.assign_coords(unit_region=("unit", ["V1"] * 4 + ["V4"] * 4))
        scores = compare(layers, labelled, measures=["cka", "procrustes"], by=(None, "region"), ceiling=given)
        expected = dict.fromkeys(scores.target.values, 0.5) if given == 0.5 else {"V1": 0.5, "V4": 0.8}
        for name in scores.target.values:
            one = scores.sel(target=name, measure="cka")
            np.testing.assert_allclose(one.score_ceiling, expected[name])
            np.testing.assert_allclose(one.score_normalised, one.score / expected[name])
        assert np.isnan(scores.score_ceiling.sel(measure="procrustes")).all()  # a distance has none
        assert scores.attrs["ceiling"] == "given"

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (0.0, "the best score that noise allows, > 0"),
            (np.nan, "> 0"),
            ([0.5, 0.6], "one for each of 1 targets"),
            ({"V1": 0.5}, "no number for target 'target'"),
            ("splithalf", "did you mean 'split_half'"),
            (["high"], "> 0"),
        ],
    )
    def test_bad_ones(self, layers, brain, given, message):
        with pytest.raises(OptionError, match=message):
            compare(layers, brain, measures="cka", ceiling=given)


def test_a_note_names_its_cell(layers, brain):
    from repcompare.measures.encoding.ridge import ridge

    scores = compare(layers, brain, measures={"small": ridge([1e-3, 1e-2])})
    notes = [line for line in scores.attrs["warnings"] if line.startswith("alpha_edge")]
    assert len(notes) == 1
    assert notes[0].startswith("alpha_edge: small, source 'layer0', target 'target': ")
    assert "of units chose the largest alpha, 0.01; next grid: alphas=np.logspace(-3, 1, 5)" in notes[0]
    assert notes[0].endswith("(and 2 cells more)")


def test_guards_of_folds_are_overridden_by_name(tmp_path):
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(0)
    x, y = (rc.representation(rng.normal(size=(60, 3)), dims=("time", "unit"), time=np.arange(60.0)) for _ in "xy")
    shuffled = KFold(5, shuffle=True, random_state=0)
    with pytest.raises(OptionError, match=r"neighbours leak.*force=\('time_shuffle',\)"):
        compare(x, y, measures="ridge", folds=shuffled)
    scores = compare(x, y, measures="ridge", folds=shuffled, force=("time_shuffle",))
    rc.save(scores, tmp_path / "scores.nc")
    with rc.open(tmp_path / "scores.nc") as found:
        assert found.attrs["forced"] == ["time_shuffle"]
    with pytest.raises(OptionError, match="did you mean 'time_shuffle'"):
        compare(x, y, measures="ridge", force="timeshuffle")
    with pytest.raises(OptionError, match="groups= is a ndarray; expected the name of a label"):
        compare(x, y, measures="ridge", groups=np.arange(60))


def test_what_follows_from_scores_is_saved_and_opened(layers, brain, tmp_path):
    table = compare(layers, brain, measures="ridge", best=True)
    square = rc.similarity_matrix(layers, measure="procrustes", progress=False)
    found = {
        "best": rc.best(table),
        "clusters": rc.cluster(square, n_clusters=2),
        "embedding": rc.embed(square, dimensions=1),
        "medoids": rc.medoids(square, 1),
    }
    for name, one in found.items():
        assert one.attrs["schema"] == f"repcompare-{name}-1"
        rc.save(one, tmp_path / f"{name}.nc")
        with rc.open(tmp_path / f"{name}.nc") as again:
            xr.testing.assert_identical(again.load(), one)
