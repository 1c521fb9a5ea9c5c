"""Decoding searchlights against plain loops of refits and rc.decode per sphere, and what must not change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.engine import decode_searchlight as engine
from repcompare.errors import MeasureError, OptionError, SchemaError
from repcompare.measures._measure import Folds
from repcompare.measures.decoding import searchlight as measure
from repcompare.measures.decoding.crossvalidate import Task, crossvalidate
from repcompare.measures.decoding.models import make_model
from repcompare.statistics.label_permutations import pvalues
from tests import naive_decoding as naive
from tests import naive_searchlight

QUIET = {"progress": False}
KINDS = ["face", "house", "shoe"]
SHAPE = (4, 3, 3)
PLACES = np.indices(SHAPE).reshape(3, -1).T


def trials(n_classes=3, runs=4, each=2, shape=SHAPE, seed=0, effect=0.8, dtype=np.float64, offset=0.0):
    """Presentations in shuffled order; part of the volume tells the classes apart."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape).reshape(3, -1).T
    kind = np.tile(np.repeat(np.arange(n_classes), each), runs)
    run = np.repeat(np.arange(runs), n_classes * each)
    order = rng.permutation(len(kind))
    code = effect * rng.normal(size=(n_classes, len(places))) * (places[:, 0] < 2)
    values = rng.normal(size=(len(kind), len(places))) + code[kind] + offset
    return rc.representation(
        values[order].astype(dtype),
        dims=("presentation", "unit"),
        stimulus_id=np.array(KINDS)[kind[order]],
        run=run[order],
        stimulus_category=np.array(KINDS)[kind[order]],
        **dict(zip(("unit_i", "unit_j", "unit_k"), places.T, strict=True)),
    )


def spheres(radius=1.5, shape=SHAPE):
    return naive_searchlight.spheres(np.indices(shape).reshape(3, -1).T, radius)


def refitted(x, y, runs, members, name):
    """Balanced accuracy of refits, one run left out at a time."""
    part, classes = x[:, members], int(y.max()) + 1
    damp = 0.1 * np.square(part - part.mean(axis=0)).sum() / len(members)
    table = 0
    for run in np.unique(runs):
        train, test = np.flatnonzero(runs != run), np.flatnonzero(runs == run)
        if name == "lda":
            covariance = (naive.within(part, y, train, classes) + damp * np.eye(len(members))) / len(train)
            values = naive.lda_values(part, y, train, test, classes, covariance)
        elif name == "ridge":
            values = naive.ridge_values(part, y, train, test, classes, damp)
        else:
            values = naive.centroid_values(part, y, train, test, classes)
        table = table + naive.confusion(values, y[test], classes)
    return naive.balanced_accuracy(table)


@pytest.mark.parametrize("name", ["lda", "ridge", "nearest_centroid"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_those_of_refits_in_every_sphere(name, n_classes):
    ds = trials(n_classes, offset=50.0)
    found = rc.searchlight(ds, labels="stimulus_category", decode=name, radius=1.5, **QUIET)
    y = np.unique(ds["stimulus_category"].values, return_inverse=True)[1]
    lists = spheres()
    small = np.array([len(v) < 10 for v in lists])
    expected = [
        np.nan if few else refitted(ds["response"].values, y, ds["run"].values, members, name)
        for members, few in zip(lists, small, strict=True)
    ]
    np.testing.assert_allclose(found["score"], expected, atol=1e-10)
    assert 0 < small.sum() < len(lists) and found.attrs["n_scored"] == (~small).sum()
    assert (found["reason"].values == np.where(small, "too few units", "")).all()
    assert found["n_units"].values.tolist() == [len(v) for v in lists]
    assert found.attrs["chance"] == 1 / n_classes and found.attrs["n_folds"] == 4


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.1},
        {"alpha": 2.0, "scoring": "accuracy", "folds": 3, "groups": "session"},
        {"model": "ridge"},
        {"model": "nearest_centroid"},
        {"alpha": 0.1, "scoring": "auc"},
        {"shrinkage": 0.3},
        {"model": "svm", "permutations": 3},
        {"alpha": 1e-9},  # I - H nearly singular: fitted fold by fold
    ],
)
def test_every_sphere_equals_decode_with_its_permutations(options):
    ds = trials(dtype=np.float32).assign_coords(session=("presentation", np.arange(24) % 3))
    options = {"permutations": 20, "seed": 3, **options}
    model = options.pop("model", "lda")
    found = rc.searchlight(ds, labels="stimulus_category", decode=model, radius=1, min_units=5, **options, **QUIET)
    lists = spheres(1)
    best, raw = None, {}
    for unit, members in enumerate(lists):
        if len(members) < 5:
            assert np.isnan(found["score"].values[unit])
            continue
        one = rc.decode(ds.isel(unit=members), "stimulus_category", model=model, **options)
        assert found["score"].values[unit] == pytest.approx(one.score, abs=1e-10)
        assert found["score_pvalue"].values[unit] == pytest.approx(one.pvalue, abs=1e-12)
        raw[unit] = one.score
        best = one.null_scores if best is None else np.maximum(best, one.null_scores)
    scored = list(raw)
    corrected = pvalues(np.array(list(raw.values())), np.repeat(best[:, None], len(raw), axis=1))[0]
    np.testing.assert_allclose(found["score_pvalue_corrected"].values[scored], corrected, atol=1e-12)
    assert found.attrs["permutations"] == len(best)


def test_folds_given_as_rows_may_overlap_and_leave_rows_out():
    ds = trials(2, runs=3)
    run = ds["run"].values
    folds = [
        (np.flatnonzero(run != 0), np.flatnonzero(run == 0)),
        (np.flatnonzero(run == 1), np.flatnonzero(run == 2)),
        (np.flatnonzero(run != 2)[:-1], np.flatnonzero(run == 2)),
    ]
    for scoring in ("accuracy", "balanced_accuracy"):
        asked = {"folds": folds, "permutations": 15, "scoring": scoring}
        found = rc.searchlight(ds, labels="stimulus_category", radius=1.5, min_units=12, **asked, **QUIET)
        for unit in np.flatnonzero(found["reason"].values == ""):
            one = rc.decode(ds.isel(unit=spheres()[unit]), "stimulus_category", alpha=0.1, **asked)
            assert found["score"].values[unit] == pytest.approx(one.score, abs=1e-10)
            assert found["score_pvalue"].values[unit] == pytest.approx(one.pvalue, abs=1e-12)


def test_sets_of_labels_that_leave_a_class_out_of_training_are_fitted_by_themselves():
    rng = np.random.default_rng(0)
    rows = np.arange(12)
    folds = Folds(tuple((rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)), 12)
    codes = np.stack([rows // 4, np.where(rows % 3 == 0, 0, 1 + rows % 2)])  # class 0 is one test fold
    task = Task(codes=codes, n_classes=3, folds=folds, model=make_model("lda", alpha=0.1), scoring="accuracy")
    x = rng.normal(size=(12, 5))
    groups = measure.Groups(np.array([0, 3, 8]), np.array([0, 2, 4, 0, 1, 2, 3, 4], dtype=np.int32), np.arange(5))
    found = measure.spheres(task).run(x, groups)
    for group, scores in enumerate(found.scores):
        np.testing.assert_allclose(scores, crossvalidate(x[:, groups.of(group)], task).score, atol=1e-12)
    with pytest.raises(MeasureError, match="no test rows"):
        measure.spheres(replace(task, folds=Folds(folds.splits[:1], 12), scoring="balanced_accuracy"))


@pytest.mark.parametrize("options", [{}, {"decode": "nearest_centroid"}, {"scoring": "auc"}])
def test_threads_blocks_and_tiles_change_nothing(options, monkeypatch):
    asked = {"labels": "stimulus_category", "radius": 1, "min_units": 4, "permutations": 40, **options, **QUIET}
    first = rc.searchlight(trials(), **asked)
    xr.testing.assert_identical(rc.searchlight(trials(), n_jobs=3, **asked), first)
    monkeypatch.setattr(engine, "LARGEST_BLOCK", 5)
    monkeypatch.setattr(measure, "TILE_BYTES", 1)
    xr.testing.assert_identical(rc.searchlight(trials(), n_jobs=2, **asked), first)
    with pytest.raises(OptionError, match=r"needs at least \d+ with 1 threads"):
        rc.searchlight(trials(), memory=1000, **asked)
    room = 8_000_000
    xr.testing.assert_identical(rc.searchlight(trials(), memory=room, **asked), first)


def test_rows_and_files_may_come_in_any_order(tmp_path):
    ds = trials()
    asked = {"radius": 1, "min_units": 4, "permutations": 20, **QUIET}
    first = rc.searchlight(ds, labels="stimulus_category", **asked)
    moved = ds.isel(presentation=np.random.default_rng(1).permutation(24))
    moved = moved.sortby("run")  # rows of one stimulus and run keep no order of their own
    again = rc.searchlight(moved, labels="stimulus_category", **asked)
    np.testing.assert_allclose(again["score"], first["score"], atol=1e-12)
    rc.save(ds, tmp_path / "volume.nc")
    with rc.open(tmp_path / "volume.nc") as opened:
        xr.testing.assert_allclose(rc.searchlight(opened, labels="stimulus_category", **asked), first)


def test_only_the_columns_of_a_block_are_read(monkeypatch):
    widths, original = [], engine.Volume.read

    def read(self, columns):
        widths.append(len(columns))
        return original(self, columns)

    monkeypatch.setattr(engine.Volume, "read", read)
    monkeypatch.setattr(engine, "LARGEST_BLOCK", 4)
    ds = trials(2, shape=(30, 3, 3))
    rc.searchlight(ds, labels="stimulus_category", radius=1, min_units=4, **QUIET)
    assert max(widths) <= 4 * 7 < ds.sizes["unit"]


def test_arrays_masks_and_lists():
    ds = trials(2)
    values, kind, run = ds["response"].values, ds["stimulus_category"].values, ds["run"].values
    asked = {"radius": 1, "min_units": 4, "permutations": 10, **QUIET}
    first = rc.searchlight(ds, labels="stimulus_category", **asked)
    bare = rc.searchlight((values, PLACES), labels=kind, groups=run, folds="loo", **asked)
    np.testing.assert_allclose(bare["score"], first["score"], atol=1e-12)
    lists = rc.neighbourhoods(ds, radius=1)
    np.testing.assert_array_equal(rc.searchlight(ds, labels=kind, neighbours=lists, **asked)["score"], first["score"])
    inside = np.ones(SHAPE, bool)
    inside[0] = False
    found = rc.searchlight(ds, labels="stimulus_category", mask=inside, **asked)
    part = ds.isel(unit=np.flatnonzero(inside.ravel()))
    np.testing.assert_array_equal(found["score"], rc.searchlight(part, labels="stimulus_category", **asked)["score"])
    assert found.attrs["n_units_masked_out"] == 9


def test_centres_that_cannot_be_decoded_say_why():
    ds = trials(2)
    values = ds["response"].values.copy()
    values[:, PLACES[:, 0] < 2] = 1e8 + 0.1
    flat = ds.assign(response=(("presentation", "unit"), values))
    found = rc.searchlight(flat, labels="stimulus_category", radius=1, min_units=4, **QUIET)
    assert found.attrs["n_no_variance"] == (found["reason"].values == "no variance").sum() == 9
    assert np.isnan(found["score"].values[found["reason"].values != ""]).all()
    with pytest.raises(MeasureError, match="no centre could be decoded"):
        rc.searchlight(
            ds.assign(response=ds["response"] * 0), labels="stimulus_category", radius=1, min_units=4, **QUIET
        )
    with pytest.raises(MeasureError, match="most are 7"):
        rc.searchlight(ds, labels="stimulus_category", radius=1, **QUIET)
    values[3, 20] = np.nan
    with pytest.raises(MeasureError, match="missing or infinite"):
        rc.searchlight(
            ds.assign(response=(("presentation", "unit"), values)), labels="stimulus_category", radius=1.5, **QUIET
        )


def test_requests_that_do_not_fit_are_refused_by_name():
    ds = trials(2)
    model = rc.rdm_models.from_vector([0.0, 1.0, 2.0], stimulus=KINDS, name="m")
    for wrong, text in (
        ({"models": model, "labels": "stimulus_category"}, "give one of them"),
        ({}, "give one of them"),
        (
            {"labels": "stimulus_category", "method": "pearson", "min_fraction": 0.5},
            "method=, min_fraction=: only with models=",
        ),
        ({"models": model, "decode": "svm"}, "decode=: only with labels="),
        ({"labels": "stimulus_category", "decode": "ldaa"}, "did you mean 'lda'"),
        ({"labels": "stimulus_category", "scoring": "r2"}, "scoring"),
        ({"labels": "stimulus_category", "min_units": 0}, "min_units=0"),
        ({"labels": "stimulus_category", "permutations": -1}, "permutations=-1"),
        ({"labels": "stimulus_category", "n_jobs": 0}, "n_jobs"),
        ({"labels": "stimulus_category", "alpha": 0.1, "shrinkage": 0.1}, "exclude each other"),
        ({"labels": "stimulus_kategory"}, "did you mean .stimulus_category."),
    ):
        with pytest.raises(OptionError, match=text):
            rc.searchlight(ds, **wrong, **QUIET)
    with pytest.raises(SchemaError, match="pick a time"):
        over_time = ds.expand_dims(time=[0.0, 1.0]).transpose("presentation", "unit", "time")
        rc.searchlight(over_time, labels="stimulus_category", **QUIET)


def test_a_map_is_found_where_the_signal_is_and_pictured_around_chance(tmp_path):
    ds = trials(2, runs=6, each=4, shape=(8, 4, 4), effect=1.2)
    found = rc.searchlight(ds, labels="stimulus_category", radius=1.5, permutations=99, **QUIET)
    scored = found.isel(unit=np.flatnonzero(found["reason"].values == ""))
    where, depth = (scored["score_pvalue_corrected"] <= 0.05).values, scored["unit_i"].values
    assert where[depth == 0].all() and not where[depth > 3].any()
    canvas = rc.plot.searchlight_slices(found)
    low, high = canvas.axes[0].images[1].get_clim()
    assert low + high == pytest.approx(1.0)
    assert canvas.axes[-1].get_ylim()[0] == pytest.approx(float(found["score"].min()))  # no accuracies that cannot be
    assert canvas.axes[-1].get_ylabel() == "balanced_accuracy"
    from data_adapters.fmri.maps import write_map

    nibabel = pytest.importorskip("nibabel")
    mm = {f"unit_{a}": ("unit", 3.0 * PLACES_OF(found)[:, c]) for c, a in enumerate("xyz")}
    write_map(found.assign_coords(mm), tmp_path / "map.nii.gz", variable="score_pvalue_corrected")
    written = nibabel.load(tmp_path / "map.nii.gz").get_fdata()
    np.testing.assert_allclose(written.ravel(), found["score_pvalue_corrected"].values, rtol=1e-6)


def PLACES_OF(found):
    return np.stack([found[f"unit_{axis}"].values for axis in "ijk"], axis=1)


def test_familywise_error_of_maps_without_signal():
    """V29 for decoding: any centre below .05 in at most 8 % of maps (exact level .05)."""
    draws, hits, raw = 200, 0, []
    for seed in range(draws):
        ds = trials(2, runs=4, each=3, shape=(4, 4, 3), seed=1000 + seed, effect=0.0)
        found = rc.searchlight(
            ds, labels="stimulus_category", radius=1, min_units=5, permutations=99, seed=seed, **QUIET
        )
        hits += bool((found["score_pvalue_corrected"] <= 0.05).any())
        raw.append(float(np.nanmean(found["score_pvalue"] <= 0.05)))
        ok = found["reason"].values == ""
        assert (found["score_pvalue_corrected"].values[ok] >= found["score_pvalue"].values[ok]).all()
    assert hits / draws <= 0.08
    assert np.mean(raw) <= 0.06
