"""rc.decode and rc.decode_layers: what they promise of labels, folds, guards, chance and p-values."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.statistics.folds import make_folds

MODELS = [("lda", {}), ("lda", {"alpha": 0.1}), ("ridge", {}), ("nearest_centroid", {})]
NAMES = np.array(["cat", "dog", "owl"])


def data(n=60, p=20, classes=3, signal=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, p)) + signal * rng.normal(size=(classes, p))[labels], NAMES[labels]


def trials(seed=0, repeats=4, stimuli=12, p=15, signal=1.0, **coords):
    """Presentations of stimuli in three categories, one of each stimulus per run."""
    rng = np.random.default_rng(seed)
    ids = np.tile([f"s{i:02}" for i in range(stimuli)], repeats)
    kind = np.tile(np.arange(stimuli) % 3, repeats)
    x = rng.normal(size=(len(ids), p)) + signal * rng.normal(size=(3, p))[kind]
    known = {"stimulus_id": ids, "stimulus_category": NAMES[kind], "repeat": np.repeat(np.arange(repeats), stimuli)}
    return rc.representation(x, dims=("presentation", "unit"), **(known | coords))


@pytest.mark.parametrize(("model", "options"), [*MODELS, ("logistic", {}), ("svm", {})], ids=str)
def test_labels_are_found_where_they_are(model, options):
    x, y = data()
    found = rc.decode(x, y, model=model, permutations=19, **options)
    assert found.score > 0.8
    assert found.pvalue == 0.05
    assert found.chance == 1 / 3
    assert found.classes.tolist() == ["cat", "dog", "owl"]
    assert found.confusion.sum() == 60
    assert found.confusion.sum(axis=1).tolist() == [20, 20, 20]
    assert found.fold_scores.shape == (5,)
    assert found.null_scores.shape == (19,)
    assert abs(found.null_scores.mean() - 1 / 3) < 0.06
    assert found.score == pytest.approx(np.mean(np.diag(found.confusion) / 20))


def test_one_set_of_folds_for_representation_and_array():
    x, y = data()
    names = [f"s{i:02}" for i in range(60)]
    order = np.random.default_rng(1).permutation(60)
    plain = rc.decode(x, y, permutations=5)
    ds = rc.representation(x[order], stimulus=np.array(names)[order], stimulus_category=y[order])
    for labels in ("stimulus_category", y[order], dict(zip(names, y, strict=True))):
        found = rc.decode(ds, labels, permutations=5)
        assert found.score == plain.score
        np.testing.assert_array_equal(found.null_scores, plain.null_scores)
    for (_, a), (_, b) in zip(found.folds.splits, plain.folds.splits, strict=True):
        assert sorted(np.array(names)[order][a]) == [names[i] for i in b]


def test_stimuli_are_held_out_whole():
    ds = trials()
    found = rc.decode(ds, "stimulus_category", folds=4)
    for train, test in found.folds.splits:
        assert not np.intersect1d(ds.stimulus_id[train], ds.stimulus_id[test]).size


def test_random_codes_of_stimuli_are_not_decoded_as_categories():
    """The same pictures on both sides would be recognised: categories without a code then score far above chance."""
    held, leaked = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ids = np.tile(np.arange(24), 4)
        x = 3 * rng.normal(size=(24, 40))[ids] + rng.normal(size=(96, 40))
        kind = np.arange(24)[ids] % 2
        ds = rc.representation(
            x, dims=("presentation", "unit"), stimulus_id=ids.astype(str), stimulus_category=NAMES[kind]
        )
        held.append(rc.decode(ds, "stimulus_category", alpha=0.1).score)
        leaked.append(rc.decode(ds, "stimulus_category", alpha=0.1, force="repeats").score)
    assert abs(np.mean(held) - 0.5) < 0.06
    assert np.mean(leaked) > 0.9


def test_runs_are_left_out_one_at_a_time():
    runs = np.repeat([1, 2, 3, 4], 12)
    ds = trials(run=runs)
    with pytest.raises(AlignmentError, match=r"12 stimulus labels are in training and test rows: 's00', 's01', 's02'"):
        rc.decode(ds, "stimulus_category")
    found = rc.decode(ds, "stimulus_category", force="repeats", permutations=10)
    assert [sorted(set(runs[test])) for _, test in found.folds.splits] == [[1], [2], [3], [4]]
    assert found.exchange == "labels within groups"
    assert found.folds.forced == ("repeats",)
    itself = ds.assign_coords(stimulus_id=("presentation", ds.stimulus_category.values)).drop_vars("repeat")
    assert not rc.decode(itself, "stimulus_category").notes  # a stimulus has repeats in other runs: that is the design
    loose = rc.decode(itself.drop_vars("run"), "stimulus_category")
    assert [note.partition(":")[0] for note in loose.notes] == ["labels_are_stimuli"]


def test_groups_win_over_folds():
    x, y = data()
    groups = np.arange(60) // 10
    found = rc.decode(x, y, groups=groups, folds=3)
    assert len(found.folds) == 3
    for train, test in found.folds.splits:
        assert not np.intersect1d(groups[train], groups[test]).size
    assert len(rc.decode(x, y, groups=groups, folds="loo").folds) == 6


# Chance


@pytest.mark.parametrize("n", [20, 60])
def test_null_scores_of_stratified_folds_are_at_chance_and_those_of_leave_one_out_below(n):
    """Two balanced classes, 50 features, nearest centroid."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    scores, null, single = [], [], []
    for seed in range(300):
        x = rng.normal(size=(n, 50))
        found = rc.decode(x, y, model="nearest_centroid", permutations=5, seed=seed)
        scores.append(found.score)
        null.append(found.null_scores.mean())
        if n == 20 and seed < 150:
            single.append(rc.decode(x, y, model="nearest_centroid", folds="loo", force="leave_one_out").score)
    assert abs(np.mean(scores) - 0.5) < 0.02
    assert abs(np.mean(null) - 0.5) < 0.02
    assert not single or np.mean(single) < 0.49


@pytest.mark.parametrize(("model", "options"), MODELS[1:], ids=str)
def test_null_scores_are_at_chance_for_unequal_classes_and_unequal_runs(model, options):
    runs = np.repeat(np.arange(5), [6, 9, 12, 15, 9])
    y = (np.concatenate([np.arange(n) for n in np.bincount(runs)]) % 3 == 0).astype(int)
    null = []
    for seed in range(100):
        x = np.random.default_rng(seed).normal(size=(51, 20))
        null.append(
            rc.decode(x, y, model=model, groups=runs, folds="loo", permutations=20, seed=seed, **options).null_scores
        )
    assert abs(np.mean(null) - 0.5) < 0.02


@pytest.mark.parametrize(("model", "options"), MODELS[1:], ids=str)
def test_noise_scores_as_its_permutations_do_where_proportions_differ_between_runs(model, options):
    """A class is rarer in training just where it is tested most: a property of the split, which the null has too."""
    runs = np.repeat(np.arange(4), 10)
    y = np.concatenate([np.arange(10) < n for n in (2, 8, 2, 8)]).astype(int)
    scores, null, significant = [], [], []
    for seed in range(100):
        x = np.random.default_rng(seed).normal(size=(40, 15))
        found = rc.decode(x, y, model=model, groups=runs, folds="loo", permutations=19, seed=seed, **options)
        scores.append(found.score)
        null.append(found.null_scores.mean())
        significant.append(found.pvalue <= 0.05)
    assert np.mean(scores) < 0.47
    assert abs(np.mean(scores) - np.mean(null)) < 0.02
    assert np.mean(significant) <= 0.1
    assert any(note.startswith("unequal_proportions: ") and "score 0.440, not 0.500" in note for note in found.notes)
    even = rc.decode(x, np.tile(np.arange(10) < 3, 4), model=model, groups=runs, folds="loo", **options)
    assert not any(note.startswith("unequal_proportions") for note in even.notes)


def test_threads_change_nothing():
    x, y = data(n=45, p=50, signal=0.4)
    for options in ({}, {"model": "svm"}, {"alpha": 0.1}):
        one, three = (rc.decode(x, y, permutations=30, n_jobs=jobs, **options) for jobs in (1, 3))
        np.testing.assert_array_equal(one.null_scores, three.null_scores)
        np.testing.assert_array_equal(one.confusion, three.confusion)
        np.testing.assert_array_equal(one.fold_scores, three.fold_scores)
    for wrong in (0, 1.5, True):
        with pytest.raises(OptionError, match="n_jobs="):
            rc.decode(x, y, n_jobs=wrong)


def test_pvalues_of_noise_are_uniform_and_never_zero():
    y = (np.arange(30) % 3 == 0).astype(int)
    found = []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(30, 15))
        found.append([rc.decode(x, y, model=m, permutations=39, seed=seed, **o).pvalue for m, o in MODELS[1:]])
    found = np.array(found)
    assert found.min() >= 1 / 40
    assert ((found <= 0.05).mean(axis=0) <= 0.09).all()
    assert (abs((found <= 0.5).mean(axis=0) - 0.45) < 0.1).all()  # ties count against us


def test_free_exchange_would_unbalance_the_folds():
    """What the test folds as blocks prevent: null scores below chance against a score at chance."""
    from repcompare.measures.decoding.crossvalidate import Task, crossvalidate
    from repcompare.measures.decoding.models import make_model
    from repcompare.statistics.label_folds import label_folds

    y, rng, free = np.arange(20) % 2, np.random.default_rng(0), []
    folds = label_folds(y, 10)
    for _ in range(60):
        sets = np.stack([rng.permutation(y) for _ in range(20)])
        job = Task(codes=sets, n_classes=2, folds=folds, model=make_model("nearest_centroid"), scoring="accuracy")
        free.append(crossvalidate(rng.normal(size=(20, 50)), job).score.mean())
    assert np.mean(free) < 0.49


@pytest.mark.parametrize("scoring", ["accuracy", "auc", "balanced_accuracy"])
def test_chance_is_what_a_decoder_without_information_gets(scoring):
    y = (np.arange(60) % 3 == 0).astype(int)
    found = rc.decode(np.random.default_rng(0).normal(size=(60, 10)), y, alpha=0.1, scoring=scoring)
    assert found.chance == {"accuracy": 2 / 3, "auc": 0.5, "balanced_accuracy": 0.5}[scoring]


def test_fold_scores_are_nan_where_a_fold_lacks_a_class():
    x, y = data(n=30)
    rows = np.arange(30)
    folds = [(rows[rows % 5 != f], rows[(rows % 5 == f) & ((y != "owl") | (f != 0))]) for f in range(5)]
    for scoring in ("balanced_accuracy", "auc"):
        found = rc.decode(x, y, folds=folds, alpha=0.1, scoring=scoring)
        assert np.isnan(found.fold_scores).tolist() == [True] + [False] * 4
        assert np.isfinite(found.score)
    assert np.isfinite(rc.decode(x, y, folds=folds, alpha=0.1, scoring="accuracy").fold_scores).all()


# Agreement with scikit-learn


@pytest.mark.parametrize(("scoring", "peer"), [("balanced_accuracy", "balanced_accuracy"), ("auc", "roc_auc")])
def test_scores_are_those_of_scikit_learn(scoring, peer):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import cross_val_predict, cross_val_score

    x, _ = data(n=60, p=80, signal=0.3)
    y = (np.arange(60) % 3 == 0).astype(int)
    found = rc.decode(x, y, scoring=scoring)
    estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    splits = list(found.folds.splits)
    if scoring == "auc":
        assert found.score == pytest.approx(cross_val_score(estimator, x, y, cv=splits, scoring=peer).mean(), abs=1e-12)
    else:
        assert found.score == pytest.approx(balanced_accuracy_score(y, cross_val_predict(estimator, x, y, cv=splits)))


# Time


def test_decoding_over_time():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.normal(size=(40, 12, 5))
    x[:, :, 3:] += 1.5 * y[:, None, None]
    names = [f"s{i:02}" for i in range(40)]
    ds = rc.representation(x, dims=("stimulus", "unit", "time"), stimulus=names, stimulus_on=y, time=np.arange(5) / 100)
    found = rc.decode(ds, "stimulus_on", alpha=0.1, permutations=99)
    assert found.score.shape == found.pvalue.shape == found.pvalue_corrected.shape == (5,)
    assert found.score[3:].min() > 0.9
    assert abs(found.score[:3] - 0.5).max() < 0.25
    assert found.pvalue_corrected[3:].tolist() == [0.01, 0.01]
    assert (found.pvalue_corrected >= found.pvalue).all()
    np.testing.assert_allclose(found.times, np.arange(5) / 100)
    across = rc.decode(ds, "stimulus_on", alpha=0.1, permutations=99, generalize=True)
    assert across.score.shape == across.pvalue_corrected.shape == (5, 5)
    assert across.score[3:, 3:].min() > 0.9
    np.testing.assert_allclose(np.diag(across.score), found.score)
    with pytest.raises(OptionError, match="needs responses over time"):
        rc.decode(x[:, :, 0], y, generalize=True)


def test_maximum_over_times_keeps_the_family_wise_error():
    y, wrong = np.arange(24) % 2, 0
    for seed in range(60):
        x = np.random.default_rng(seed).normal(size=(24, 5, 8))
        wrong += rc.decode(x, y, model="ridge", permutations=19, seed=seed).pvalue_corrected.min() <= 0.05
    assert wrong / 60 <= 0.12


def test_rows_of_a_recording_are_not_shuffled():
    rng = np.random.default_rng(0)
    on = np.repeat(np.arange(12) % 2, 8)
    ds = rc.representation(
        rng.normal(size=(96, 6)),
        dims=("time", "unit"),
        time=np.arange(96.0),
        stimulus_on=on,
        run=np.repeat([1, 2, 3, 4], 24),
    )
    plain = ds.drop_vars("run")
    assert np.isfinite(rc.decode(plain, "stimulus_on", gap=2).score)
    with pytest.raises(OptionError, match="time series"):
        rc.decode(plain, "stimulus_on", permutations=10)
    found = rc.decode(ds, "stimulus_on", alpha=0.1, permutations=50)
    assert found.exchange == "whole label sequences of groups (all there are)"
    assert found.counts["permutations"] == 23


# Across systems


def test_another_system_is_decoded_on_stimuli_that_no_fit_has_seen():
    rng = np.random.default_rng(0)
    names, kind = np.array([f"s{i:02}" for i in range(40)]), np.arange(40) % 2
    latent = rng.normal(size=(40, 6)) + 2 * kind[:, None]
    a = rc.representation(latent @ rng.normal(size=(6, 15)), stimulus=names, stimulus_kind=kind)
    order = rng.permutation(40)[:36]
    b = rc.representation((latent @ rng.normal(size=(6, 9)))[order], stimulus=names[order], stimulus_kind=kind[order])
    found = rc.decode(a, "stimulus_kind", test=(b, "stimulus_kind"), align="procrustes", alpha=0.1, permutations=19)
    assert found.score > 0.85
    assert found.pvalue == 0.05
    assert found.folds.n == 36
    with pytest.raises(AlignmentError, match="different unit_ids"):
        rc.decode(a, "stimulus_kind", test=(b, "stimulus_kind"))
    with pytest.raises(AlignmentError, match="labels differ"):
        rc.decode(a, "stimulus_kind", test=(b, 1 - kind[order]), align="procrustes")
    with pytest.raises(AlignmentError, match="no stimulus is shared"):
        rc.decode(
            a,
            "stimulus_kind",
            test=(b.assign_coords(stimulus=[f"t{i}" for i in range(36)]), "stimulus_kind"),
            align="procrustes",
        )
    with pytest.raises(OptionError, match="is for another system"):
        rc.decode(a, "stimulus_kind", align="procrustes")


def test_alignment_of_noise_finds_nothing():
    scores = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = np.arange(30) % 2
        scores.append(
            rc.decode(
                rng.normal(size=(30, 40)), y, test=(rng.normal(size=(30, 50)), y), align="procrustes", alpha=0.1
            ).score
        )
    assert abs(np.mean(scores) - 0.5) < 0.05


# Probes


def test_selectivity_is_the_score_above_control_tasks():
    ds = trials(repeats=6, signal=0.0)
    single = rc.decode(ds, "stimulus_category", controls=20, alpha=0.1)
    assert any(n.startswith("controls_at_chance") for n in single.notes)
    assert single.control_scores.shape == (20,)
    assert single.selectivity == pytest.approx(single.score - single.control_scores.mean())
    rng = np.random.default_rng(0)  # stimuli that can be told apart, categories that mean nothing
    codes = dict(zip(np.unique(ds.stimulus_id), rng.normal(size=(12, 15)) * 3, strict=True))
    known = ds.copy(data={"response": ds.response + np.array([codes[i] for i in ds.stimulus_id.values])})
    leaked = rc.decode(known, "stimulus_category", controls=20, alpha=0.1, force="repeats")
    assert leaked.score > 0.9
    assert abs(leaked.selectivity) < 0.1
    assert not any(n.startswith("controls_at_chance") for n in leaked.notes)


def test_code_length():
    x, y = data(n=120, signal=1.5)
    found = rc.decode(x, y, alpha=0.1, code_length=True)
    assert found.compression == pytest.approx(120 * np.log2(3) / found.code_length)
    assert found.compression > 2
    assert rc.decode(data(n=120, signal=0.0)[0], y, alpha=1.0, code_length=True).compression < 1.1
    with pytest.raises(OptionError, match="pick a time"):
        rc.decode(x[:, :, None], y, code_length=True)


# Continuous labels


def test_continuous_labels_are_predicted_by_ridge_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 10))
    z = x @ rng.normal(size=10) + 0.5 * rng.normal(size=80)
    found = rc.decode(x, z, model="ridge_regression", permutations=99)
    direct = rc.encode(x, z[:, None], folds=5)
    assert found.score == pytest.approx(direct.score, abs=1e-10)
    assert found.score > 0.9
    assert found.pvalue == 0.01
    assert abs(found.null_scores.mean()) < 0.1
    np.testing.assert_allclose(found.fold_scores, direct.fold_scores, atol=1e-10)
    assert rc.decode(x, z, scoring="r2").score == pytest.approx(rc.encode(x, z[:, None], scoring="r2").score, abs=1e-10)
    over = rc.decode(np.stack([x, rng.normal(size=(80, 10))], axis=2), z, scoring="pearson", permutations=19)
    assert over.score[0] == pytest.approx(found.score)
    assert over.pvalue_corrected.shape == (2,)
    with pytest.raises(OptionError, match="generalize: only for classes"):
        rc.decode(x, z, scoring="r2", generalize=True)
    with pytest.raises(MeasureError, match="expected numbers"):
        rc.decode(x, NAMES[np.arange(80) % 3], scoring="r2")


# Guards


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        (np.linspace(0, 1, 60), MeasureError, "use encode for continuous targets"),
        (["cat"] * 60, MeasureError, "at least two classes"),
        (["cat"] * 59 + ["dog"], MeasureError, "class 'dog' has 1 rows"),
        (["cat"] * 30 + ["dog"] * 29 + [""], AlignmentError, "1 rows have no label, first row 59"),
        (["cat"] * 59, AlignmentError, r"labels has shape \(59,\)"),
        ("stimulus_category", OptionError, "x is an array without labels"),
        ({"a": 1}, SchemaError, "array without stimulus names"),
    ],
)
def test_labels_that_cannot_be_decoded(labels, error, match):
    with pytest.raises(error, match=match):
        rc.decode(np.random.default_rng(0).normal(size=(60, 5)), labels)


def test_a_class_of_one_group_is_named_with_its_fold():
    x, y = data()
    groups = np.where(y == "owl", 9, np.arange(60) % 4)
    with pytest.raises(MeasureError, match="fold 4: class 'owl' has no training rows"):
        rc.decode(x, y, groups=groups, folds="loo")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"model": "ldaa"}, "did you mean 'lda'"),
        ({"scoring": "accurracy"}, "did you mean 'accuracy'"),
        ({"alphas": [1]}, "has no options"),
        ({"folds": "loo"}, "leaves out one row"),
        ({"folds": 61}, "only 60"),
        ({"groups": np.zeros(60)}, "groups have 1 label"),
        ({"groups": "run"}, "array without labels"),
        ({"nan": "pairwise"}, "nan='pairwise'"),
        ({"permutations": -3}, "permutations=-3; expected a whole number"),
        ({"permutations": 2.5}, "permutations=2.5"),
        ({"controls": -1}, "controls=-1"),
        ({"seed": None}, "seed=None"),
        ({"gap": 2}, "not a time series"),
        ({"test": np.zeros((60, 20))}, "expected a pair"),
        ({"alpha": "a"}, "alpha='a'"),
        ({"model": "svm", "C": "x"}, "C='x'"),
        ({"controls": 2, "types": np.zeros(60)}, "types are all the same"),
    ],
)
def test_options_that_do_not_exist(options, match):
    x, y = data()
    with pytest.raises(OptionError, match=match):
        rc.decode(x, y, **options)


def test_missing_values_and_infinite_ones():
    x, y = data()
    x[3, 2] = np.nan
    with pytest.raises(MeasureError, match="1 missing values"):
        rc.decode(x, y)
    units = rc.decode(x, y, nan="drop_units")
    assert units.counts == {"units_dropped": 1}
    assert units.score == rc.decode(np.delete(x, 2, axis=1), y).score
    rows = rc.decode(x, y, nan="drop_stimuli")
    assert rows.counts == {"rows_dropped": 1}
    assert 3 not in np.concatenate([test for _, test in rows.folds.splits])
    assert rows.folds.n == 60
    x[3, 2] = np.inf
    with pytest.raises(SchemaError, match="inf"):
        rc.decode(x, y)


def test_mixed_labels_of_one_stimulus_are_noted():
    ds = trials(stimulus_attended=np.arange(48) // 12 % 2)
    found = rc.decode(ds, "stimulus_attended", alpha=0.1)
    assert any(note.startswith("labels_within_stimuli") for note in found.notes)


def test_inputs_are_not_changed():
    x, y = data()
    before = x.copy(), y.copy()
    rc.decode(x, y, permutations=3)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


# Layers


def layers(seed=0, n=40):
    rng = np.random.default_rng(seed)
    names, kind, size = np.array([f"s{i:02}" for i in range(n)]), np.arange(n) % 2, np.arange(n) // 2 % 2
    late = rng.normal(size=(n, 8)) + 2 * kind[:, None]
    early = rng.normal(size=(n, 12)) + 2 * size[:, None]
    coords = {"stimulus": names, "stimulus_kind": NAMES[kind], "stimulus_size": size}
    return {"early": rc.representation(early, **coords), "late": rc.representation(late, **coords)}


def test_which_layer_carries_which_label():
    parts = layers()
    scores = rc.decode_layers(parts, ["stimulus_kind", "stimulus_size"], alpha=0.1, permutations=99)
    assert scores.score.dims == ("source", "target", "measure")
    assert scores.score.sel(source="late", target="stimulus_kind").item() > 0.9
    assert scores.score.sel(source="early", target="stimulus_size").item() > 0.9
    assert scores.score.sel(source="early", target="stimulus_kind").item() < 0.75
    assert scores.score_pvalue.sel(source="late", target="stimulus_kind").item() == 0.01
    assert (scores.score_pvalue_corrected >= scores.score_pvalue).all()
    assert scores.attrs["chance"] == 0.5
    several = rc.decode_layers(parts, {"kind": "stimulus_kind", "four": np.arange(40) % 4}, alpha=0.1)
    assert several.score_chance.sel(source="late").values.ravel().tolist() == [0.5, 0.25]
    assert "chance" not in several.attrs
    one = rc.decode(parts["late"], "stimulus_kind", alpha=0.1, permutations=99)
    assert scores.score.sel(source="late", target="stimulus_kind").item() == one.score
    assert scores.score_fold.shape == (2, 2, 1, 5)
    assert len(rc.table(scores)) == 4
    tree = xr.DataTree.from_dict(parts)
    xr.testing.assert_equal(
        rc.decode_layers(tree, "stimulus_kind", alpha=0.1).score,
        rc.decode_layers(parts, "stimulus_kind", alpha=0.1).score,
    )


def test_layers_with_other_stimuli_or_other_labels():
    parts = layers()
    with pytest.raises(AlignmentError, match="part 'late' has other stimuli"):
        rc.decode_layers(parts | {"late": parts["late"].isel(stimulus=slice(1, None))}, "stimulus_kind")
    wrong = parts["late"].assign_coords(stimulus_kind=("stimulus", np.roll(NAMES[[0, 2] * 20], 1)))
    with pytest.raises(AlignmentError, match="label 'stimulus_kind' of part 'late' differs"):
        rc.decode_layers(parts | {"late": wrong}, "stimulus_kind")
    with pytest.raises(OptionError, match="no label asked for"):
        rc.decode_layers(parts, [])


def test_best_layer_of_noise_is_not_significant_too_often():
    wrong = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        parts = {
            f"l{i}": rc.representation(
                rng.normal(size=(20, 5)), stimulus=[f"s{j:02}" for j in range(20)], stimulus_kind=np.arange(20) % 2
            )
            for i in range(6)
        }
        found = rc.decode_layers(parts, "stimulus_kind", model="ridge", permutations=19, seed=seed)
        wrong += found.score_pvalue_corrected.min().item() <= 0.05
    assert wrong / 50 <= 0.12


def test_folds_can_be_given():
    x, y = data()
    folds = make_folds(60, 3, seed=4)
    found = rc.decode(x, y, folds=folds.splits)
    assert len(found.folds) == 3
    assert found.folds.splits[0][1].tolist() == folds.splits[0][1].tolist()


def test_given_folds_are_rows_of_the_input():
    x, y = data()
    rng = np.random.default_rng(2)
    folds = [(np.setdiff1d(np.arange(60), v), np.sort(v)) for v in np.array_split(rng.permutation(60), 4)]
    names = rng.permutation(60)  # the order of the names is not that of the rows
    ds = rc.representation(x, stimulus=[f"s{i:02}" for i in names], stimulus_category=y)
    found, plain = rc.decode(ds, "stimulus_category", folds=folds), rc.decode(x, y, folds=folds)
    np.testing.assert_array_equal(found.confusion, plain.confusion)
    for (_, a), (_, b) in zip(found.folds.splits, folds, strict=True):
        np.testing.assert_array_equal(a, b)
    holes = x.copy()
    holes[folds[0][1][0]] = np.nan
    dropped = rc.decode(
        ds.copy(data={"response": ds.response.copy(data=holes)}), "stimulus_category", folds=folds, nan="drop_stimuli"
    )
    np.testing.assert_array_equal(dropped.folds.splits[0][1], folds[0][1][1:])
    with pytest.raises(AlignmentError, match="expected 0 to 59"):
        rc.decode(ds, "stimulus_category", folds=[(np.arange(40), np.arange(40, 61))])
    with pytest.raises(OptionError, match="folds="):
        rc.decode(ds, "stimulus_category", folds=2.5)


def test_a_class_that_is_never_tested_raises():
    x, y = data()
    rows = np.arange(60)
    with pytest.raises(MeasureError, match="no test rows in any fold"):
        rc.decode(x, y, folds=[(rows[10:], rows[:10][y[:10] != "owl"])], alpha=0.1)


def test_a_time_without_variance_is_named():
    x, y = data()
    x = np.stack([x, np.zeros_like(x)], axis=2)
    for generalize in (False, True):
        with pytest.raises(MeasureError, match="time 1: decoding: the representation has no variance"):
            rc.decode(x, y, generalize=generalize)
