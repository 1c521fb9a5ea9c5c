"""Decoders as measures: which layer carries which label, through rc.label_target and rc.compare."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.measures import registry
from repcompare.measures._measure import Folds, as_outcome
from repcompare.statistics.label_folds import label_folds
from repcompare.statistics.label_permutations import label_orders, permuted_labels
from tests import naive_decoding as naive

DECODERS = {  # name among the measures -> how rc.decode calls it, and forms
    "lda": ("lda", [{}, {"alpha": 0.1}, {"shrinkage": 0.3}]),
    "ridge_classifier": ("ridge", [{}]),
    "nearest_centroid": ("nearest_centroid", [{}]),
    "logistic": ("logistic", [{}]),
    "svm": ("svm", [{}]),
}
FORMS = [(name, options) for name, (_, forms) in DECODERS.items() for options in forms]
KINDS = np.array(["cat", "dog", "owl"])
every_form = pytest.mark.parametrize(("name", "options"), FORMS, ids=str)


def layers(seed=0, n=60, signal=1.0, p=12):
    """An early layer with the size of a picture, a late one with what it shows."""
    rng = np.random.default_rng(seed)
    kind, size = np.arange(n) % 3, np.arange(n) // 3 % 2
    early = rng.normal(size=(n, p)) + signal * rng.normal(size=(2, p))[size]
    late = rng.normal(size=(n, p + 4)) + signal * rng.normal(size=(3, p + 4))[kind]
    known = {
        "stimulus": [f"s{i:02}" for i in range(n)],
        "stimulus_kind": KINDS[kind],
        "stimulus_size": size,
    }
    return {"early": rc.representation(early, **known), "late": rc.representation(late, **known)}


def compare(parts, labels, measures="nearest_centroid", **options):
    target = rc.label_target(parts["late"], labels)
    return rc.compare(parts, target, measures=measures, progress=False, **options)


# Targets


def test_labels_become_one_unit_per_class():
    ds = layers()["late"]
    tree = rc.label_target(ds, ["stimulus_kind", "stimulus_size"])
    kind, size = tree["stimulus_kind"].to_dataset(), tree["stimulus_size"].to_dataset()
    assert kind.unit_id.values.tolist() == ["cat", "dog", "owl"]
    assert size.unit_id.values.tolist() == ["0", "1"]
    np.testing.assert_array_equal(kind.response.values, np.eye(3)[np.arange(60) % 3])
    rc.validate(kind)
    names = dict(zip(ds.stimulus.values.tolist(), ds.stimulus_kind.values.tolist(), strict=True))
    for source, labels in ((ds, {"a": names}), (ds, {"a": ds.stimulus_kind.values}), ({"a": names}, None)):
        assert rc.label_target(source, labels)["a"].to_dataset().identical(kind.rename({}))


def test_presentations_become_stimuli():
    ids = np.tile(["b", "a", "c"], 3)
    ds = rc.representation(
        np.zeros((9, 2)), dims=("presentation", "unit"), stimulus_id=ids, stimulus_kind=np.tile(["x", "y", "x"], 3)
    )
    found = rc.label_target(ds, "stimulus_kind")["stimulus_kind"]
    assert found.stimulus.values.tolist() == ["a", "b", "c"]
    assert found.response.values.tolist() == [[0, 1], [1, 0], [1, 0]]
    mixed = ds.assign_coords(stimulus_kind=("presentation", ["x"] * 4 + ["y"] * 5))
    with pytest.raises(AlignmentError, match="presentations of stimuli 'a', 'b', 'c' have different labels"):
        rc.label_target(mixed, "stimulus_kind")


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        ("stimulus_kin", OptionError, "did you mean 'stimulus_kind'"),
        ([], OptionError, "no label asked for"),
        (3, OptionError, "labels=3"),
        ({"a": ["x"] * 3}, AlignmentError, "expected one for each of 60 rows"),
        ({"a": {"s00": 1}}, AlignmentError, "lacks 59 stimuli: 's01'"),
        ({"a": np.linspace(0, 1, 60)}, MeasureError, "use encode for continuous targets"),
        ({"a": ["x"] * 60}, MeasureError, "at least two classes"),
    ],
)
def test_labels_that_are_none(labels, error, match):
    with pytest.raises(error, match=match):
        rc.label_target(layers()["late"], labels)


def test_sources_of_labels_that_are_none():
    with pytest.raises(SchemaError, match="give one of the layers"):
        rc.label_target(layers(), "stimulus_kind")
    with pytest.raises(SchemaError, match="expected a mapping of stimulus to label"):
        rc.label_target({"a": ["x", "y"]})


# Agreement with rc.decode


@every_form
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "auc"])
def test_compare_and_decode_are_one_number(name, options, scoring):
    parts = layers(signal=0.6)
    measure = registry.make(name, scoring=scoring, **options)
    table = compare(parts, "stimulus_kind", {name: measure}, permutations=19, seed=3)
    for layer, ds in parts.items():
        one = rc.decode(
            ds, "stimulus_kind", model=DECODERS[name][0], scoring=scoring, permutations=19, seed=3, **options
        )
        cell = table.sel(source=layer, target="stimulus_kind", measure=name)
        assert cell.score.item() == pytest.approx(one.score, abs=1e-12)
        assert cell.score_pvalue.item() == one.pvalue
        assert cell.score_floor.item() == pytest.approx(one.null_scores.mean(), abs=1e-12)
        assert cell.score_chance.item() == one.chance
        np.testing.assert_allclose(cell.score_fold.values, one.fold_scores, atol=1e-12)
    assert table.attrs["exchange"] == one.exchange == "labels within test folds"
    assert table.kind.item() == "predictivity"


@every_form
def test_null_scores_are_those_of_permuted_targets(name, options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8)), np.arange(30) % 3
    folds = label_folds(y, 3)
    measure = registry.make(name, **options)
    source, target = measure.prepared(x, folds), measure.prepared(np.eye(3)[y], folds, side="target")
    orders = label_orders(y[None], 5, folds).codes
    found = measure.null_scores(source, target, orders)
    for order, score in zip(orders, found, strict=True):
        moved = measure.prepared(np.eye(3)[y][order], folds, side="target")
        assert as_outcome(measure.compare(source, moved)).score == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "accuracy", "auc"])
def test_scores_of_some_stimuli_are_those_of_plain_loops(scoring):
    rng = np.random.default_rng(1)
    x, y, rows = rng.normal(size=(40, 6)), np.arange(40) % 2, np.arange(40)
    x[:, 0] += y
    folds = label_folds(y, 4)
    measure = registry.make("nearest_centroid", scoring=scoring)
    states = measure.prepared(x, folds), measure.prepared(np.eye(2)[y], folds, side="target")
    parts = [rows, np.delete(rows, 7), rng.permutation(40)[:20]]
    for part, found in zip(parts, measure.part_scores(*states, parts), strict=True):
        tables, areas = np.zeros((2, 2)), []
        for train, test in folds.splits:
            test = np.intersect1d(test, part)
            values = naive.centroid_values(x, y, train, test, 2)
            tables += naive.confusion(values, y[test], 2)
            if len(set(y[test])) == 2:
                apart = values[1] - values[0]
                areas.append(naive.area(apart, y[test] == 1))
        truth = {
            "balanced_accuracy": naive.balanced_accuracy(tables),
            "accuracy": np.trace(tables) / tables.sum(),
            "auc": np.mean(areas),
        }
        assert found == pytest.approx(truth[scoring], abs=1e-12)
    assert as_outcome(measure.compare(*states)).score == pytest.approx(measure.part_scores(*states, [rows])[0])
    assert np.isnan(measure.part_scores(*states, [rows[y == 0]])[0]) == (scoring != "accuracy")


# The table


def test_which_layer_carries_which_label():
    parts = layers(signal=2.0)
    table = compare(
        parts, ["stimulus_kind", "stimulus_size"], "ridge_classifier", permutations=99, confidence=0.95, best=True
    )
    assert table.score.sel(source="late", target="stimulus_kind").item() > 0.9
    assert table.score.sel(source="early", target="stimulus_size").item() > 0.9
    assert table.score.sel(source="early", target="stimulus_kind").item() < 0.6
    assert table.score_chance.sel(source="early").values.ravel().tolist() == [1 / 3, 0.5]
    assert table.score_pvalue_corrected.sel(source="late", target="stimulus_kind").item() == 0.01
    assert (table.score_pvalue_corrected >= table.score_pvalue).all()
    cell = table.sel(source="late", target="stimulus_size")
    assert cell.score_low.item() < cell.score.item() < cell.score_high.item()
    assert rc.best(table).selected_source.sel(target="stimulus_kind").values.ravel().tolist() == ["late"] * 5
    assert table.attrs["folds"] == "5 stratified folds, seed 0"
    assert not any(w.startswith(("refitted", "no_interval")) for w in table.attrs.get("warnings", []))


def test_units_are_the_shares_of_right_stimuli_of_each_class():
    parts = layers()
    table = compare(parts, "stimulus_kind", "lda", unit_scores=True)
    one = rc.decode(parts["late"], "stimulus_kind")
    np.testing.assert_allclose(table.score_unit.sel(source="late").values.ravel(), np.diag(one.confusion) / 20)
    assert table.target_unit_id.values.tolist() == ["cat", "dog", "owl"]


def test_folds_keep_the_classes_of_all_labels():
    rng = np.random.default_rng(0)
    sets = np.stack([rng.integers(0, 3, 90), rng.integers(0, 2, 90), np.arange(90) % 30])
    folds = label_folds(sets, 3)
    for codes in sets:
        tested = np.stack([np.bincount(codes[test], minlength=codes.max() + 1) for _, test in folds.splits])
        assert np.ptp(tested, axis=0).max() <= 3
    single = label_folds(sets[0], 3)
    for one, same in zip(single.splits, label_folds(sets[:1], 3).splits, strict=True):
        np.testing.assert_array_equal(one[1], same[1])


def test_orders_exchange_labels_as_permutations_of_labels_do():
    codes, runs = np.tile([0, 0, 1, 2], 6), np.repeat(np.arange(6), 4)
    for groups in (None, runs, codes, np.arange(24) // 8):
        folds = Folds(tuple((np.flatnonzero(runs != g), np.flatnonzero(runs == g)) for g in range(6)), 24)
        orders = label_orders(codes[None], 20, folds, groups=groups, seed=2)
        plain = permuted_labels(codes, 20, folds, groups=groups, seed=2)
        assert orders.exchange == plain.exchange
        if not (orders.exhaustive or plain.exhaustive):
            np.testing.assert_array_equal(codes[orders.codes], plain.codes)
    both = np.stack([codes, codes[::-1]])
    folds = label_folds(both, 3)
    for order in label_orders(both, 10, folds).codes:
        for labels in both:
            for _, test in folds.splits:
                assert sorted(labels[order][test]) == sorted(labels[test])


def test_runs_are_left_out_and_labels_exchanged_within_them():
    parts = layers(n=48)
    parts = {k: ds.assign_coords(run=("stimulus", np.arange(48) // 12)) for k, ds in parts.items()}
    table = compare(parts, "stimulus_kind", permutations=19, groups="run", folds="loo")
    assert table.attrs["exchange"] == "labels within groups"
    assert table.attrs["folds"] == "leave-one-group-out, 4 groups"
    one = rc.decode(parts["late"], "stimulus_kind", model="nearest_centroid", permutations=19)
    assert table.score.sel(source="late").item() == one.score
    assert table.score_pvalue.sel(source="late").item() == one.pvalue


def test_labels_of_a_recording():
    rng = np.random.default_rng(0)
    on = np.tile(np.repeat([0, 1, 1, 0], 6), 5)
    x = rng.normal(size=(120, 6)) + 2 * on[:, None]
    ds = rc.representation(
        x, dims=("time", "unit"), time=np.arange(120.0), stimulus_on=on, run=np.repeat(np.arange(5), 24)
    )
    target = rc.label_target(ds, "stimulus_on")
    table = rc.compare(ds, target, measures="ridge_classifier", permutations=50, gap=2, progress=False)
    assert table.score.item() > 0.8
    assert table.attrs["exchange"] == "whole label sequences of groups"
    loose = ds.drop_vars("run")
    with pytest.raises(OptionError, match="time series"):
        rc.compare(loose, rc.label_target(loose, "stimulus_on"), measures="lda", permutations=5, gap=2, progress=False)


def test_threads_and_checkpoints_change_nothing(tmp_path):
    parts = layers()
    options = {"permutations": 19, "confidence": 0.9, "best": True}
    first = compare(parts, ["stimulus_kind", "stimulus_size"], "lda", **options)
    again = compare(parts, ["stimulus_kind", "stimulus_size"], "lda", n_jobs=2, checkpoint=tmp_path, **options)
    resumed = compare(parts, ["stimulus_kind", "stimulus_size"], "lda", checkpoint=tmp_path, **options)
    for other in (again, resumed):
        for name in ("score", "score_pvalue", "score_pvalue_corrected", "score_low", "score_inner", "score_chance"):
            np.testing.assert_array_equal(other[name].values, first[name].values)


# What can be believed


def test_labels_with_many_classes_are_not_drowned_by_those_with_few():
    """Scores of two classes are near .5 by chance, those of eight near .125: compared raw, the eight would never win."""
    rng = np.random.default_rng(0)
    n, p = 80, 30
    kind, coin = np.arange(n) % 8, rng.integers(0, 2, n)
    x = rng.normal(size=(n, p)) + 0.45 * rng.normal(size=(8, p))[kind]
    ds = rc.representation(x, stimulus=[f"s{i:02}" for i in range(n)], stimulus_kind=kind, stimulus_coin=coin)
    table = rc.compare(
        ds,
        rc.label_target(ds, ["stimulus_kind", "stimulus_coin"]),
        measures="ridge_classifier",
        permutations=199,
        progress=False,
    )
    assert table.score.sel(target="stimulus_kind").item() < 0.5
    assert table.score_pvalue_corrected.sel(target="stimulus_kind").item() == 0.005
    assert "units of the null" in table.attrs["correction"]


def test_a_table_of_noise_is_significant_as_often_as_it_should():
    wrong = raw = 0
    for seed in range(60):
        parts = layers(seed=seed, n=30, signal=0.0, p=5)
        table = compare(parts, ["stimulus_kind", "stimulus_size"], permutations=19, seed=seed)
        wrong += table.score_pvalue_corrected.min().item() <= 0.05
        raw += (table.score_pvalue.values <= 0.05).sum()
    assert wrong / 60 <= 0.12
    assert raw / 240 <= 0.09


def test_scores_of_noise_are_at_chance():
    scores = [compare(layers(seed=s, n=30, signal=0.0), "stimulus_kind").score.values.mean() for s in range(60)]
    assert abs(np.mean(scores) - 1 / 3) < 0.03


def test_intervals_are_as_wide_as_those_of_a_share():
    """The jackknife of a mean of rates, decoders fixed: sqrt(sum of p (1 - p) / (n - 1)) / classes, as for shares."""
    parts = layers(n=60, signal=0.7)
    table = compare(parts, "stimulus_kind", confidence=0.95).sel(source="late", target="stimulus_kind").squeeze()
    rate = np.diag(rc.decode(parts["late"], "stimulus_kind", model="nearest_centroid").confusion) / 20
    error = np.sqrt((rate * (1 - rate) / 19).sum()) / 3
    half = (table.score_high - table.score_low).item() / 2
    assert half == pytest.approx(2.0 * error, rel=0.03)
    perfect = compare(layers(signal=9.0), "stimulus_kind", confidence=0.95)
    assert any(w.startswith("no_width") for w in perfect.attrs["warnings"])


def test_unequal_proportions_are_said():
    parts = layers(n=40)
    runs, kind = np.repeat(np.arange(4), 10), np.concatenate([np.arange(10) < k for k in (2, 8, 2, 8)]).astype(int)
    parts = {
        k: ds.drop_vars(["stimulus_kind"]).assign_coords(
            stimulus_run=("stimulus", runs), stimulus_kind=("stimulus", kind)
        )
        for k, ds in parts.items()
    }
    table = compare(parts, "stimulus_kind", groups="stimulus_run", folds="loo")
    assert any(w.startswith("unequal_proportions") for w in table.attrs["warnings"])


# Guards


@pytest.mark.parametrize(
    "change", [lambda y: y * 2, lambda y: y[:, :2], lambda y: y + np.eye(3)[0], lambda y: y[:, [0, 1, 2, 2]]]
)
def test_targets_without_labels_are_refused(change):
    parts = layers()
    kind = rc.label_target(parts["late"], "stimulus_kind")["stimulus_kind"].to_dataset()
    wrong = rc.representation(change(kind.response.values), stimulus=kind.stimulus.values)
    with pytest.raises(
        MeasureError, match=r"target 'kind': lda: the target holds no labels in \d+ of 60 rows; .*label_target"
    ):
        rc.compare(parts, {"kind": wrong}, measures="lda", progress=False)
    with pytest.raises(MeasureError, match="holds no labels in 60 of 60 rows"):
        rc.compare(parts, parts["late"], measures="svm", progress=False)
    with pytest.raises(MeasureError, match="holds no labels"):
        rc.similarity_matrix(parts, measure="lda", progress=False)


def test_rare_classes_and_folds_that_lack_one_are_named():
    parts = layers()
    once = np.where(np.arange(60) == 7, "fox", KINDS[np.arange(60) % 3])
    with pytest.raises(MeasureError, match="class 'fox' has 1 rows"):
        compare(parts, {"a": once})
    rows = np.arange(60)
    folds = [(rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)]
    with pytest.raises(MeasureError, match="fold 0: class 'cat' has no training rows"):
        compare(parts, "stimulus_kind", folds=folds)
    with pytest.raises(OptionError, match="leaves out one row"):
        compare(parts, "stimulus_kind", folds="loo")
    assert len(compare(parts, "stimulus_kind", folds="loo", force="leave_one_out").fold) == 60
    measure = registry.make("lda")
    with pytest.raises(MeasureError, match="fold 0: class 0 .* has no training rows"):
        measure.prepared(np.eye(3)[rows % 3], Folds(tuple(folds), 60), side="target")


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("lda", {"alpha": 0.1, "shrinkage": 0.3}, "exclude each other"),
        ("ridge_classifier", {"alpha": -1}, "alpha=-1"),
        ("svm", {"C": 0}, "C=0"),
        ("nearest_centroid", {"scoring": "auk"}, "did you mean 'auc'"),
    ],
)
def test_options_that_do_not_exist(name, options, match):
    with pytest.raises(OptionError, match=match):
        registry.make(name, **options)


# Awkward data


@every_form
def test_units_of_measurement_offsets_and_dead_units(name, options):
    measure = registry.make(name, scoring="auc", **options)
    rng = np.random.default_rng(0)
    y = np.arange(48) % 3
    x = rng.normal(size=(48, 9)) + 0.7 * rng.normal(size=(3, 9))[y]
    folds = label_folds(y, 4)
    target = measure.prepared(np.eye(3)[y], folds, side="target")

    def score(values):
        return as_outcome(measure.compare(measure.prepared(values, folds), target)).score

    clean = score(x)
    assert 0.5 < clean < 1
    for changed in (1e-6 * x, 1e6 * x, x + 1e4):
        assert score(changed) == pytest.approx(clean, abs=2e-3)
    narrow = (x + 1e4).astype(np.float32)
    assert score(narrow) == score(narrow.astype(np.float64))
    if name != "lda" or "alpha" in options:  # a share of the mean variance of the units, dead ones too
        assert score(np.concatenate([x, np.full((48, 3), 7.1)], axis=1)) == pytest.approx(clean, abs=0.02)
    with pytest.raises(MeasureError, match="no variance"):
        score(np.full((48, 9), 3.3))


def test_a_class_that_is_nowhere_among_the_stimuli_is_no_class():
    parts = layers()
    target = rc.label_target(parts["late"], "stimulus_kind")
    some = {k: ds.isel(stimulus=np.flatnonzero(ds.stimulus_kind != "owl")) for k, ds in parts.items()}
    table = rc.compare(some, target, measures="lda", stimuli="intersection", unit_scores=True, progress=False)
    assert table.score_chance.values.ravel().tolist() == [0.5, 0.5]
    assert np.isnan(table.score_unit.values[..., 2]).all()
