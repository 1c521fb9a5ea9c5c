"""P-values and intervals of encoders in tables: against plain loops, and calibrated on data without signal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import repcompare as rc
from repcompare.engine.plan import make_plan
from repcompare.engine.study import Options, declare
from repcompare.errors import MeasureError
from repcompare.measures.encoding.linear import linear
from repcompare.measures.encoding.ridge import ridge
from repcompare.measures.registry import make
from repcompare.statistics.encoding_tests import make_blocks, ordered, stream
from repcompare.statistics.folds import make_folds
from repcompare.statistics.held_out_intervals import Score, jackknife_errors
from repcompare.statistics.held_out_tests import null_width
from repcompare.statistics.two_factor import benjamini_hochberg

N = 60
NAMES = np.array([f"image{i:02d}" for i in range(N)])


def stimuli(values, **labels):
    return rc.representation(values, stimulus=NAMES[: len(values)], **labels)


def recording(values, **labels):
    return rc.representation(values, dims=("time", "unit"), time=np.arange(float(len(values))), **labels)


def compare(*args, **options):
    return rc.compare(*args, **{"progress": False, "hash_inputs": False, **options})


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 4))
    layers = {f"l{k}": z @ rng.normal(size=(4, 6)) + noise * rng.normal(size=(N, 6)) for k, noise in enumerate((1, 4))}
    layers["null"] = rng.normal(size=(N, 6))
    return layers, z @ rng.normal(size=(4, 5)) + 3 * rng.normal(size=(N, 5))


def predicted(x, y, folds):
    """Least squares, fold by fold."""
    found = []
    for train, test in folds.splits:
        a = np.column_stack([np.ones(len(x)), x])
        found.append(a[test] @ np.linalg.lstsq(a[train], y[train], rcond=None)[0])
    return found


def z(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


def by_loops(layers, y, folds, count, seed):
    """Mean r over folds, weighted by rows: observed (sources, units), and null (permutations, sources, units)."""
    rng = stream(seed, "encoding permutations")
    blocks = make_blocks([test for _, test in folds.splits])
    orders = [[ordered(b, rng) for _ in range(count)] for b in blocks]
    width = null_width(folds)
    observed, null = [], []
    for x in layers:
        own, drawn = 0.0, np.zeros((count, y.shape[1]))
        for f, (p, (_, test)) in enumerate(zip(predicted(x, y, folds), folds.splits, strict=True)):
            own = own + (z(p) * z(y[test])).sum(axis=0)
            for b, order in enumerate(orders[f]):
                drawn[b] += width * (z(p) * z(y[test][order])).sum(axis=0)
        observed.append(own / len(y))
        null.append(drawn / len(y))
    return np.array(observed), np.array(null).transpose(1, 0, 2)


def test_p_values_equal_plain_loops(sides):
    layers, y = sides
    regions = ["V1", "V1", "V4", "V4", "V4"]
    table = compare(
        {name: stimuli(x) for name, x in layers.items()},
        stimuli(y, unit_region=regions),
        measures="linear",
        by=(None, "region"),
        permutations=99,
        unit_scores=True,
        seed=3,
    )
    observed, null = by_loops(layers.values(), y, make_folds(N, 5, seed=3), 99, 3)
    cells = [np.array(regions) == r for r in ("V1", "V4")]
    own = np.stack([observed[:, cell].mean(axis=1) for cell in cells], axis=1)
    drawn = np.stack([null[..., cell].mean(axis=-1) for cell in cells], axis=-1)
    raw = (1 + (drawn >= own).sum(axis=0)) / 100
    np.testing.assert_array_equal(table.score_pvalue.values[..., 0], raw)
    largest = drawn.max(axis=(1, 2))
    corrected = (1 + (largest[:, None, None] >= own).sum(axis=0)) / 100
    np.testing.assert_array_equal(table.score_pvalue_corrected.values[..., 0], corrected)
    np.testing.assert_allclose(table.score_pvalue_fdr.values.ravel(), benjamini_hochberg(raw.ravel()))
    np.testing.assert_allclose(table.score_floor.values[..., 0], drawn.mean(axis=0), rtol=0, atol=1e-12)
    units = (1 + (null >= observed).sum(axis=0)) / 100
    np.testing.assert_array_equal(table.score_unit_pvalue.values[:, 0], units)
    largest = null.max(axis=(1, 2))
    corrected = (1 + (largest[:, None, None] >= observed).sum(axis=0)) / 100
    np.testing.assert_array_equal(table.score_unit_pvalue_corrected.values[:, 0], corrected)
    np.testing.assert_allclose(table.score_unit_pvalue_fdr.values.ravel(), benjamini_hochberg(units.ravel()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ridge", {}),
        ("ridge", {"standardize": True, "alphas": [1.0, 100.0]}),
        ("ridge", {"alpha_scale": "trace"}),
        ("ridge", {"scoring": "r2"}),
        ("banded_ridge", {"bands": [slice(0, 3), slice(3, None)], "n_iter": 8}),
        ("kernel_ridge", {"kernel": "rbf"}),
        ("delayed_ridge", {"delays": [0, 1]}),
        ("pls", {"n_components": 3}),
        ("linear", {"scoring": "r2"}),
        ("best_unit", {}),
        ("poisson", {"alphas": [1.0], "scoring": "pearson"}),
    ],
)
@pytest.mark.parametrize("p", [6, 80])
def test_predictions_give_the_scores(name, options, p):
    """What each encoder predicts of its test rows has the scores that it reports."""
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(N, 4))
    x, y = latent @ rng.normal(size=(4, p)) + rng.normal(size=(N, p)), latent @ rng.normal(size=(4, 5))
    y = rng.poisson(np.exp(0.3 * y)).astype(float) if name == "poisson" else y + rng.normal(size=(N, 5))
    measure = make(name, **options)
    folds = make_folds(N, 5, sample="time", gap=2) if measure.reach else make_folds(N, 5)
    states = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    found, held = measure.compare(*states), measure.held_out(*states)
    if options.get("scoring") == "r2":
        error, total = (sum((part**2).sum(axis=0) for part in parts) for parts in
                        ([h.truth - h.predicted for h in held], [h.truth for h in held]))  # fmt: skip
        expected = 1 - error / total
    else:
        expected = np.mean([(z(h.predicted) * z(h.truth)).mean(axis=0) for h in held], axis=0)
    np.testing.assert_allclose(found.unit_scores, expected, rtol=0, atol=1e-7)
    for (train, test), h in zip(folds.splits, held, strict=True):
        centred = y[test] - y[train].mean(axis=0)
        scale = centred.std(axis=0) / h.truth.std(axis=0)  # of a unit
        np.testing.assert_allclose(h.truth * scale, centred, rtol=0, atol=1e-9)


class TestErrors:
    """P(p <= .05) of data without signal; the se of 120 tables is .02."""

    @pytest.mark.parametrize("name", ["ridge", "best_unit"])
    def test_stimuli(self, name):
        rng = np.random.default_rng(0)
        measure = ridge([10.0]) if name == "ridge" else make(name)
        cells, corrected, units = [], [], []
        for seed in range(120):
            shared = rng.normal(size=(N, 3)) @ rng.normal(size=(3, 12))
            layers = {f"l{k}": stimuli(rng.normal(size=(N, 10))) for k in range(3)}
            brain = stimuli(shared + 0.5 * rng.normal(size=(N, 12)))
            options = {"permutations": 39, "unit_scores": True, "seed": seed}
            table = compare(layers, brain, measures={"m": measure}, **options)
            cells.append(table.score_pvalue.values[0, 0, 0] <= 0.05)
            corrected.append((table.score_pvalue_corrected.values <= 0.05).any())
            units.append((table.score_unit_pvalue_corrected.values <= 0.05).any())
        for rate in (np.mean(cells), np.mean(corrected), np.mean(units)):
            assert rate <= 0.05 + 3 * 0.02

    def test_recordings(self):
        """Unrelated AR(1) .8 series: exchanging rows would reject nearly always."""
        rng = np.random.default_rng(0)
        small = []
        for seed in range(60):
            noise = rng.normal(size=(700, 9))
            for i in range(1, 700):
                noise[i] += 0.8 * noise[i - 1]
            x, y = recording(noise[100:, :5]), recording(noise[100:, 5:])
            table = compare(x, y, measures={"r": ridge([10.0])}, permutations=39, seed=seed)
            assert table.attrs["null"] == "phase"
            small.append(table.score_pvalue.item() <= 0.05)
        assert np.mean(small) <= 0.05 + 3 * 0.028


def test_v29_layers_and_voxels():
    """60 stimuli, correlated voxels, 20 null layers: the maximum over layers and voxels, and discoveries by BH."""
    rng = np.random.default_rng(0)
    wrong, found = [], []
    for seed in range(30):
        layers = {f"l{k:02d}": stimuli(rng.normal(size=(N, 20))) for k in range(20)}
        brain = stimuli(rng.normal(size=(N, 10)) @ rng.normal(size=(10, 100)) + rng.normal(size=(N, 100)))
        options = {"permutations": 99, "unit_scores": True, "seed": seed}
        table = compare(layers, brain, measures={"r": ridge([100.0])}, **options)
        wrong.append((table.score_unit_pvalue_corrected.values <= 0.05).any())
        found.append((table.score_unit_pvalue_fdr.values <= 0.05).any())
        assert (table.score_unit_pvalue.values <= 0.05).any()
    assert np.mean(wrong) <= 0.05 + 3 * 0.04
    assert np.mean(found) <= 0.05 + 3 * 0.04


class TestNull:
    def test_refit_by_name(self, sides):
        layers, y = sides
        sources = {name: stimuli(x) for name, x in layers.items()}
        slow = compare(sources, stimuli(y), measures="linear", permutations=19, null="refit")
        assert any(line.startswith("refitted: linear was fitted again") for line in slow.attrs["warnings"])
        rng = stream(0, "permutations")
        drawn = []
        for _ in range(19):
            order = rng.permutation(N)
            drawn.append([rc.encode(x, y[order], model="linear").score for x in layers.values()])
        own = [rc.encode(x, y, model="linear").score for x in layers.values()]
        np.testing.assert_array_equal(slow.score_pvalue.values.ravel(), (1 + (np.array(drawn) >= own).sum(axis=0)) / 20)

    def test_what_needs_a_refit_says_why(self, sides):
        layers, y = sides
        x = stimuli(layers["l0"])
        for options, why in (
            ({"measures": "cca"}, "no held-out predictions"),
            ({"measures": {"r": ridge([1.0], scoring="r2")}, "folds": "loo"}, "fewer than 3 rows"),
            ({"measures": {"r": linear(scoring="r2")}, "calibrated": True}, "not the mean of r"),
            ({"measures": {"r": ridge([1.0])}, "nan": "pairwise"}, "nan='pairwise'"),
        ):
            table = compare(x, stimuli(y), permutations=19, **options)
            assert any(line.startswith("refitted") and why in line for line in table.attrs["warnings"])
            assert np.isfinite(table.score_pvalue.item())

    @pytest.mark.parametrize("options", [{"null": "refit"}, {"overlap": True}])
    def test_groups_are_permuted_whole(self, options):
        """12 groups of 5 stimuli share a value on both sides; single stimuli would reject far too often.

        120 tests at .05 have an se of .02, 60 of .028.
        """
        rng, small, single = np.random.default_rng(4), [], []
        groups = np.repeat(np.arange(12), 5)
        folds = [(np.flatnonzero(groups % 4 != f), np.flatnonzero(groups % 4 == f)) for f in range(4)]
        if options.pop("overlap", False):
            folds.append((folds[0][0], folds[0][1]))
        for seed in range(120):
            x, y = (rng.normal(size=(12, 1))[groups] + 0.1 * rng.normal(size=(N, 1)) for _ in range(2))
            sides = stimuli(x, stimulus_category=[f"c{g:02d}" for g in groups]), stimuli(y)
            how = {"measures": {"r": linear()}, "folds": folds, "permutations": 19, "seed": seed, **options}
            small.append(compare(*sides, groups="stimulus_category", **how).score_pvalue.item() <= 0.05)
            if seed < 60:
                single.append(compare(*sides, **how).score_pvalue.item() <= 0.05)
        assert np.mean(small) <= 0.05 + 3 * 0.02
        assert np.mean(single) > 0.05 + 3 * 0.028, np.mean(single)

    def test_groups_without_another_of_their_size_are_refused_before_anything_runs(self, sides):
        layers, y = sides
        labels = np.repeat([f"c{i}" for i in range(8)], [4, 5, 6, 7, 8, 9, 10, 11])
        x = stimuli(layers["l0"], stimulus_category=labels)
        with pytest.raises(MeasureError, match="0 of 8 groups have another of their size"):
            compare(x, stimuli(y), measures="linear", groups="stimulus_category", folds=4, permutations=9, null="refit")
        with pytest.raises(MeasureError, match="0 of 8 groups have another of their size"):
            compare(x, stimuli(y), measures="linear", groups="stimulus_category", folds=4, permutations=9)
        with pytest.raises(MeasureError, match="0 of 8 groups have another of their size"):
            rc.encode(x, stimuli(y), groups="stimulus_category", folds=4, permutations=9, null="refit")

    def test_order_of_rows_threads_and_tiles_change_nothing(self, sides):
        layers, y = sides
        sources = {name: stimuli(x) for name, x in layers.items()}
        options = {"measures": "ridge", "permutations": 39, "confidence": 0.9, "unit_scores": True}
        first = compare(sources, stimuli(y), **options)
        back = {name: ds.isel(stimulus=slice(None, None, -1)) for name, ds in sources.items()}
        second = compare(back, stimuli(y), n_jobs=2, **options)
        for name in ("score_pvalue", "score_low", "score_unit_pvalue_corrected"):
            np.testing.assert_array_equal(first[name].values, second[name].values)

    def test_a_cell_without_a_score_has_no_p_value(self, sides):
        layers, y = sides
        y = np.column_stack([y, np.zeros(N)])
        table = compare(
            stimuli(layers["l0"]), stimuli(y, unit_region=["a"] * 5 + ["b"]), by=(None, "region"), measures="linear",
            permutations=19, confidence=0.9, unit_scores=True,
        )  # fmt: skip
        assert np.isfinite(table.score_pvalue.values[0, 0, 0])
        assert np.isnan([table[v].values[0, 1, 0] for v in ("score_pvalue", "score_pvalue_fdr", "score_low")]).all()
        assert np.isnan(table.score_unit_pvalue.values[0, 0, 5])

    def test_the_table_is_saved_joined_and_opened(self, sides, tmp_path):
        layers, y = sides
        options = {"measures": "linear", "permutations": 19, "confidence": 0.9, "unit_scores": True}
        tables = [compare({name: stimuli(layers[name])}, stimuli(y), **options) for name in ("l0", "l1")]
        joined = rc.concat_scores(tables)
        rc.save(joined, tmp_path / "scores.nc")
        with rc.open(tmp_path / "scores.nc") as found:
            np.testing.assert_array_equal(found.score_unit_pvalue.values[0], tables[0].score_unit_pvalue.values[0])


class TestIntervals:
    def test_the_jackknife_equals_leaving_out_rows(self, sides):
        layers, y = sides
        table = compare(stimuli(layers["l0"]), stimuli(y), measures="linear", confidence=0.95)
        folds = make_folds(N, 5)
        held = predicted(layers["l0"], y, folds)
        full = [np.mean([np.corrcoef(p[:, u], y[t][:, u])[0, 1] for u in range(5)])
                for p, (_, t) in zip(held, folds.splits, strict=True)]  # fmt: skip
        pseudo = []
        for f, (_, test) in enumerate(folds.splits):
            for i in range(len(test)):
                p, t = np.delete(held[f], i, 0), np.delete(y[test], i, 0)
                one = np.mean([np.corrcoef(p[:, u], t[:, u])[0, 1] for u in range(5)])
                pseudo.append(N * np.mean(full) - (N - 1) * np.mean([*full[:f], one, *full[f + 1 :]]))
        half = np.sqrt(2) * stats.t.ppf(0.975, N - 1) * np.std(pseudo, ddof=1) / np.sqrt(N)
        assert table.score_high.item() == pytest.approx(np.mean(full) + half, abs=1e-9)
        assert table.score_low.item() == pytest.approx(np.mean(full) - half, abs=1e-9)
        assert table.attrs["interval"] == "jackknife of held-out predictions over stimuli"

    @pytest.mark.parametrize("options", [{}, {"scoring": "r2"}, {"fisher_z": True}, {"standardize": True}])
    @pytest.mark.parametrize("p", [6, 50])
    def test_training_rows_are_left_out_as_by_refitting(self, options, p):
        """Against fits without each training row in turn, whose penalties are fixed; standardised features move a little."""
        rng = np.random.default_rng(3)
        x = rng.normal(size=(40, p))
        y = x[:, :3] @ rng.normal(size=(3, 4)) + 2 * rng.normal(size=(40, 4))
        folds, alpha = make_folds(40, 4), 5.0
        measure = ridge([alpha], **options)
        held = measure.held_out(measure.prepared(x, folds), measure.prepared(y, folds, side="target"))
        for (train, test), one in zip(folds.splits, held, strict=True):
            gradient = rng.normal(size=one.predicted.shape)
            found = one.without(gradient)
            expected = np.empty_like(found)
            unit = np.mean(one.truth.std(axis=0) / y[test].std(axis=0), keepdims=True)
            scale = x[train].std(axis=0) if options.get("standardize") else 1.0
            for i in range(len(train)):
                kept = np.delete(train, i)
                a, b = (x[kept] - x[kept].mean(axis=0)) / scale, y[kept] - y[kept].mean(axis=0)
                w = np.linalg.solve(a.T @ a + alpha * np.eye(p), a.T @ b)
                absolute = (x[test] - x[kept].mean(axis=0)) / scale @ w + y[kept].mean(axis=0) - y[train].mean(axis=0)
                size = one.truth.std(axis=0) / y[test].std(axis=0)
                expected[i] = (gradient * (absolute * size - one.predicted)).sum(axis=0)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
            assert unit > 0

    @pytest.mark.parametrize("n", [50, pytest.param(100, marks=pytest.mark.slow)])
    def test_coverage(self, n):
        """95 % intervals of ridge over new stimuli; 150 tables have an se of .018, and 5 folds train on four fifths."""
        rng = np.random.default_rng(1)
        weights, shared = 0.6 * rng.normal(size=(10, 20)), rng.normal(size=(4, 20))

        def draw():
            x = rng.normal(size=(n, 10))
            y = x @ weights + rng.normal(size=(n, 4)) @ shared + 3 * rng.normal(size=(n, 20))
            names = [f"s{i:03d}" for i in range(n)]
            return [rc.representation(v, stimulus=names) for v in (x, y)]

        measure = {"r": ridge([30.0])}
        truth = np.mean([compare(*draw(), measures=measure).score.item() for _ in range(200)])
        tables = [compare(*draw(), measures=measure, confidence=0.95) for _ in range(150)]
        inside = np.mean([t.score_low.item() <= truth <= t.score_high.item() for t in tables])
        assert inside >= 0.95 - 3 * 0.018

    def test_few_blocks_and_folds(self, sides):
        layers, y = sides
        x, category = stimuli(layers["l0"]), np.repeat([f"c{i}" for i in range(6)], 10)
        table = compare(x, stimuli(y, stimulus_category=category), measures="linear", groups="stimulus_category",
                        folds=3, confidence=0.95)  # fmt: skip
        assert any(line.startswith("interval_over_folds: linear: 6 blocks") for line in table.attrs["warnings"])
        fold = table.score_fold.values.ravel()
        half = stats.t.ppf(0.975, 2) * fold.std(ddof=1) / np.sqrt(3)
        assert table.score_high.item() == pytest.approx(table.score.item() + half)

    def test_blocks_of_recordings(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(600, 4))
        y = x @ rng.normal(size=(4, 3)) + 3 * rng.normal(size=(600, 3))
        table = compare(recording(x), recording(y), measures="ridge", confidence=0.95)
        assert table.attrs["interval"] == "jackknife of held-out predictions over blocks of 10 rows"
        assert table.score_low.item() < table.score.item() < table.score_high.item()

    def test_the_error_is_not_over_units(self):
        """V28: 200 voxels share 6 signals; over voxels the error of their mean would be .80 of the truth."""
        rng = np.random.default_rng(0)
        v = rng.normal(size=(6, 200))

        def draw():
            latent = rng.normal(size=(80, 6))
            return latent[:, :3] @ v[:3], latent @ v + rng.normal(size=(80, 200))

        def score(p, y):
            return (z(p) * z(y)).mean()

        truth = np.std([score(*draw()) for _ in range(1000)])
        rows = np.arange(80)
        once = make_folds(160, [(rows + 80, rows)])
        errors = []
        for _ in range(20):
            p, y = draw()
            errors.append(jackknife_errors([rc_held_out(p, y)], make_blocks([rows]), Score(), once).score)
        assert 0.9 < np.mean(errors) / truth < 1.1


def rc_held_out(p, y):
    from repcompare.measures._measure import HeldOut

    return HeldOut(p, y)


def test_options_of_a_plan_are_known_before_it_runs(sides):
    """Tasks are counted with what will be done: one per target where predictions are fixed."""
    layers, y = sides
    seen = []
    compare(stimuli(layers["l0"]), stimuli(y), measures=["linear", "cka"], permutations=7, confidence=0.9,
            progress=lambda done, total, text: seen.append((done, total)))  # fmt: skip
    assert seen[-1][0] == seen[-1][1]
    plan = make_plan(declare(stimuli(layers["l0"]), stimuli(y), measures="linear", options=Options(permutations=7)))
    assert plan.drawn.subsets is None
