"""Searchlights against plain loops over centres with the public functions, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.engine import searchlight as engine
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.measures.rsa import _spheres
from repcompare.measures.rsa.comparators import METHODS
from repcompare.measures.rsa.distances import DISTANCES, EVERY_DISTANCE
from repcompare.statistics.resampling import permutation_pvalues, permutations
from tests import naive_searchlight as naive

K = 7
NAMES = [f"s{i}" for i in (3, 1, 2, 0, 6, 4, 5)]
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-6}


def grid(*shape):
    return np.indices(shape).reshape(3, -1).T


def volume(dtype=np.float64, shape=(4, 3, 3), seed=0, offset=0.0, **attrs):
    """Responses whose geometry is partly that of the names' numbers."""
    rng = np.random.default_rng(seed)
    places = grid(*shape)
    truth = np.array([float(name[1:]) for name in NAMES])
    values = rng.normal(size=(K, len(places))) + 0.4 * truth[:, None] * rng.normal(size=len(places)) + offset
    at = dict(zip(("unit_i", "unit_j", "unit_k"), places.T, strict=True))
    return rc.representation(values.astype(dtype), stimulus=NAMES, attrs={"k": K, **attrs}, **at)


def trials(dtype=np.float64, runs=3, shape=(4, 3, 2), counts=False, drop=None, seed=1):
    rng = np.random.default_rng(seed)
    places = grid(*shape)
    stimulus, run = np.tile(np.arange(K), runs), np.repeat(np.arange(runs), K)
    order = rng.permutation(len(run))
    keep = order if drop is None else order[(stimulus[order] != drop) | (run[order] != 0)]
    base = rng.normal(size=(K, len(places)))
    values = base[stimulus[keep]] + rng.normal(size=(len(keep), len(places)))
    if counts:
        values = rng.poisson(np.exp(values * 0.5) * 4)
    return rc.representation(
        values.astype(dtype),
        dims=("presentation", "unit"),
        stimulus_id=np.array(NAMES)[stimulus[keep]],
        run=run[keep],
        attrs={"k": K},
        **dict(zip(("unit_i", "unit_j", "unit_k"), places.T, strict=True)),
    )


def models(n=2, seed=5):
    rng = np.random.default_rng(seed)
    order = rng.permutation(NAMES)
    line = rc.rdm_models.from_vector([float(s[1:]) for s in order], stimulus=order, name="line")
    other = rc.rdm_models.from_features(rng.normal(size=(K, 4)), stimulus=NAMES, name="other")
    return {"line": line, "other": other} if n == 2 else {"line": line}


def agree(found, expected, tolerance):
    np.testing.assert_array_equal(np.isnan(found.score.values), np.isnan(expected))
    np.testing.assert_allclose(found.score.values, expected, atol=tolerance, rtol=0)


QUIET = {"progress": False}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_a_loop_over_centres(distance, method, dtype):
    ds = volume(dtype, offset=3.0)
    if distance == "euclidean" and method in ("bures", "riemannian"):
        with pytest.raises(OptionError, match="squared_euclidean"):
            rc.searchlight(ds, models(), distance=distance, method=method, **QUIET)
        return
    found = rc.searchlight(ds, models(), radius=1.5, distance=distance, method=method, min_fraction=0.6, **QUIET)
    lists = naive.spheres(grid(4, 3, 3), 1.5)
    small = [len(v) < 0.6 * 19 for v in lists]
    expected = naive.scores(ds, lists, models().values(), distance=distance, method=method)
    expected[:, small] = np.nan
    assert 0 < sum(small) < len(lists)
    agree(found, expected, TOLERANCE[dtype])
    assert found.n_units.values.tolist() == [len(v) for v in lists]
    assert (found.reason.values == np.where(small, "too few units", "")).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("distance", ["crossnobis", "mahalanobis", "poisson", "poisson_cv", "correlation"])
@pytest.mark.parametrize("method", ["rho_a", "whitened_pearson", "cosine", "kendall_tau_b"])
def test_scores_of_trials_are_those_of_a_loop(distance, method, dtype):
    ds = trials(dtype, counts=distance.startswith("poisson"))
    noise = "shrinkage_diag" if distance == "mahalanobis" else None
    options = {"distance": distance, "method": method, "noise": noise}
    found = rc.searchlight(ds, models(), radius=1, min_fraction=0.0, **options, **QUIET)
    agree(found, naive.scores(ds, naive.spheres(grid(4, 3, 2), 1), models().values(), **options), TOLERANCE[dtype])


@pytest.mark.parametrize("noise", ["diag", "shrinkage_eye", "object", "factored", "precision"])
@pytest.mark.parametrize("distance", ["crossnobis", "mahalanobis"])
def test_noise_is_that_of_the_sphere(distance, noise):
    ds = trials()
    n = ds.sizes["unit"]
    rng = np.random.default_rng(3)
    z = rng.normal(size=(15 if noise == "factored" else 4 * n, n)) + rng.normal(size=(1, n)) * rng.normal()
    given = noise
    if noise in ("object", "factored", "precision"):
        given = rc.estimate_noise(z, dof=len(z) - 1.0, partition=None)
    asked = given.precision() if noise == "precision" else given
    found = rc.searchlight(
        ds, models(), radius=1, min_fraction=0.5, distance=distance, method="pearson", noise=asked, **QUIET
    )
    lists = naive.spheres(grid(4, 3, 2), 1)
    expected = naive.scores(ds, lists, models().values(), distance=distance, method="pearson", noise=given)
    expected[:, [len(v) < 3.5 for v in lists]] = np.nan
    agree(found, expected, 1e-9 if noise == "precision" else 1e-10)


def test_an_incomplete_design_uses_the_runs_that_hold_both_stimuli():
    ds = trials(runs=4, drop=2)
    found = rc.searchlight(ds, models(), radius=1, min_fraction=0.0, distance="crossnobis", method="spearman", **QUIET)
    lists = naive.spheres(grid(4, 3, 2), 1)
    agree(found, naive.scores(ds, lists, models().values(), distance="crossnobis", method="spearman"), 1e-10)


def test_ties_by_construction_and_equal_patterns_count_as_ties():
    """Whole numbers give tied distances with different last digits; two stimuli are the same."""
    ds = volume()
    values = np.rint(ds.response.values)
    values[1] = values[0]
    ds = ds.assign(response=(("stimulus", "unit"), values))
    for distance in ("squared_euclidean", "cosine"):
        found = rc.searchlight(
            ds, models(), radius=1.5, min_fraction=0.5, distance=distance, method="spearman", **QUIET
        )
        lists = naive.spheres(grid(4, 3, 3), 1.5)
        expected = naive.scores(ds, lists, models().values(), distance=distance, method="spearman")
        expected[:, [len(v) < 9.5 for v in lists]] = np.nan
        agree(found, expected, 1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_large_offsets_cost_no_digits(offset):
    plain = rc.searchlight(volume(), models(), radius=1, distance="squared_euclidean", method="pearson", **QUIET)
    moved = rc.searchlight(
        volume(offset=offset), models(), radius=1, distance="squared_euclidean", method="pearson", **QUIET
    )
    np.testing.assert_allclose(moved.score, plain.score, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"method": "whitened_cosine"}, {"distance": "crossnobis"}])
def test_threads_and_blocks_change_nothing(options, monkeypatch):
    ds = trials() if "distance" in options else volume()
    asked = {"radius": 1, "min_fraction": 0.5, "permutations": 30, **options, **QUIET}
    first = rc.searchlight(ds, models(), **asked)
    monkeypatch.setattr(engine, "LARGEST_BLOCK", 5)
    for other in (rc.searchlight(ds, models(), n_jobs=3, **asked), rc.searchlight(ds, models(), **asked)):
        xr.testing.assert_identical(other, first)


@pytest.mark.parametrize(
    "distance,method", [("correlation", "rho_a"), ("squared_euclidean", "whitened_pearson"), ("euclidean", "cosine")]
)
def test_permutation_pvalues_are_those_of_permuted_models(distance, method):
    ds, count = volume(), 39
    names = np.sort(NAMES)
    found = rc.searchlight(
        ds, models(), radius=1, distance=distance, method=method, permutations=count, seed=4, **QUIET
    )
    lists = naive.spheres(grid(4, 3, 3), 1)
    null = np.full((count, 2, len(lists)), np.nan)
    for p, order in enumerate(permutations(K, count, 4)):
        moved = [m.assign_coords(stimulus_a=("pair", a), stimulus_b=("pair", b)) for m, a, b in renamed(names, order)]
        null[p] = naive.scores(ds, lists, moved, distance=distance, method=method)
    null[:, :, [len(v) < 7 for v in lists]] = np.nan
    raw, corrected = permutation_pvalues(found.score.values, null, greater=True)
    np.testing.assert_allclose(found.score_pvalue, raw)
    np.testing.assert_allclose(found.score_pvalue_corrected, corrected)


def renamed(names, order):
    """Yield each model and new names of its pairs: stimulus order[i] takes the place of the i-th name."""
    new = {old: names[i] for i, old in enumerate(names[order])}
    for model in models().values():
        yield model, [new[v] for v in model.stimulus_a.values], [new[v] for v in model.stimulus_b.values]


def test_many_permutations_are_made_in_pieces(monkeypatch):
    asked = {"radius": 1, "permutations": 50, **QUIET}
    first = rc.searchlight(volume(), models(), **asked)
    monkeypatch.setattr(engine, "NULL_BYTES", 8 * 2 * 21 * 9 * 8)
    xr.testing.assert_identical(rc.searchlight(volume(), models(), **asked), first)


def test_pvalues_are_uniform_without_signal_and_corrected_ones_control_the_family():
    hits, raw = 0, []
    for seed in range(60):
        rng = np.random.default_rng([seed, 9])
        ds = rc.representation(rng.normal(size=(8, 27)), stimulus=[f"s{i}" for i in range(8)],
                               **dict(zip(("unit_i", "unit_j", "unit_k"), grid(3, 3, 3).T, strict=True)))  # fmt: skip
        model = rc.rdm_models.from_features(rng.normal(size=(8, 3)), stimulus=[f"s{i}" for i in range(8)])
        found = rc.searchlight(ds, model, radius=1, min_fraction=0.5, permutations=99, seed=seed, **QUIET)
        hits += bool((found.score_pvalue_corrected <= 0.05).any())
        raw.append(float(found.score_pvalue.values[0, 13]))
        assert (
            (found.score_pvalue_corrected >= found.score_pvalue)
            .values[:, np.isfinite(found.score_pvalue.values[0])]
            .all()
        )
    assert hits <= 8  # 60 x .05 = 3; P(more than 8) = .002
    assert 0.35 < np.mean(raw) < 0.65


@pytest.mark.parametrize("distance", DISTANCES)
def test_large_products_are_calls_of_their_own(distance, monkeypatch):
    asked = {"radius": 1, "min_fraction": 0.5, "distance": distance, **QUIET}
    first = rc.searchlight(volume(offset=2.0), models(), **asked)
    monkeypatch.setattr(_spheres, "SYRK_FROM", 1)
    xr.testing.assert_allclose(rc.searchlight(volume(offset=2.0), models(), **asked), first, atol=1e-12)


def test_rows_models_and_files_may_come_in_any_order(tmp_path):
    ds = volume()
    asked = {"radius": 1, "permutations": 20, **QUIET}
    first = rc.searchlight(ds, models(), **asked)
    moved = rc.searchlight(ds.isel(stimulus=[4, 2, 0, 6, 1, 3, 5]), models(), **asked)
    xr.testing.assert_allclose(moved, first)
    rc.save(ds, tmp_path / "volume.nc")
    with rc.open(tmp_path / "volume.nc") as opened:
        xr.testing.assert_allclose(rc.searchlight(opened, models(), **asked), first)
        few = np.arange(36) % 5 != 0
        some = rc.searchlight(opened, models(), mask=few, min_fraction=0.5, radius=1, **QUIET)
    part = ds.isel(unit=np.flatnonzero(few))
    xr.testing.assert_equal(some, rc.searchlight(part, models(), min_fraction=0.5, radius=1, **QUIET))


def test_only_the_columns_of_a_block_are_read(monkeypatch):
    """A response that counts what is asked of it."""
    ds = volume(shape=(40, 3, 3))
    widths = []
    original = engine.Volume.read

    def read(self, columns):
        widths.append(len(columns))
        return original(self, columns)

    monkeypatch.setattr(engine.Volume, "read", read)
    monkeypatch.setattr(engine, "LARGEST_BLOCK", 4)
    rc.searchlight(ds, models(), radius=1, **QUIET)
    assert max(widths) <= 4 * 7 < ds.sizes["unit"]


def test_arrays_with_coordinates():
    ds = volume()
    pairs = np.stack([naive.to_pairs(m, NAMES) for m in models().values()])
    first = rc.searchlight(ds, models(), radius=1, **QUIET)
    bare = rc.searchlight((ds.response.values, grid(4, 3, 3)), {"line": pairs[0], "other": pairs[1]}, radius=1, **QUIET)
    np.testing.assert_allclose(bare.score, first.score, atol=1e-12)
    assert bare.unit_id.values[0] == "0-0-0"
    in_mm = rc.searchlight(
        (ds.response.values, grid(4, 3, 3) * 2.5), pairs, radius=2.5, radius_units="mm", min_fraction=0, **QUIET
    )
    whole = np.isfinite(first.score.values[0])
    np.testing.assert_allclose(in_mm.score.values[:, whole], first.score.values[:, whole], atol=1e-12)


def test_a_mask_takes_units_away_as_centres_and_as_neighbours():
    ds = volume()
    inside = np.ones((4, 3, 3), bool)
    inside[0] = inside[2, 1, 1] = False
    found = rc.searchlight(ds, models(), radius=1, mask=inside, min_fraction=0.4, **QUIET)
    part = ds.isel(unit=np.flatnonzero(inside.ravel()))
    xr.testing.assert_equal(found, rc.searchlight(part, models(), radius=1, min_fraction=0.4, **QUIET))
    assert found.sizes["unit"] == inside.sum() and found.attrs["n_units_masked_out"] == 10
    with pytest.raises(SchemaError, match="mask"):
        rc.searchlight(ds, models(), mask=np.ones(5), **QUIET)


def test_mm_follow_the_positions():
    """Voxels of 2 x 2 x 4 mm, oblique: a ball of 4 mm is 2 x 2 x 1 voxels and its surface."""
    ds = volume(shape=(6, 6, 3))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    places = grid(6, 6, 3) @ (turn * [2, 2, 4]).T + [10, -4, 7]
    ds = ds.assign_coords({f"unit_{a}": ("unit", places[:, c]) for c, a in enumerate("xyz")})
    lists = rc.neighbourhoods(ds, radius=4, radius_units="mm")
    assert [lists.of(u).tolist() for u in range(lists.n_units)] == naive.spheres(places, 4 + 1e-9)
    assert lists.full == 15  # 13 voxels of the slice within 2 steps, one above and one below


def test_centres_that_cannot_be_scored_say_why():
    ds = volume()
    values = ds.response.values.copy()
    values[2] = 5.0  # no variance over units, anywhere
    values[2, 30:] = np.arange(len(values[2, 30:]))
    found = rc.searchlight(
        ds.assign(response=(("stimulus", "unit"), values)), models(), radius=1, min_fraction=0.6, **QUIET
    )
    reasons = found.reason.values
    assert set(reasons) == {"", "no variance", "too few units"}
    assert found.attrs["n_no_variance"] == (reasons == "no variance").sum() > 0
    assert (np.isnan(found.score.values[0]) == (reasons != "")).all()
    with pytest.raises(MeasureError, match="no centre could be scored"):
        rc.searchlight(ds.assign(response=ds.response * 0), models(), radius=1, **QUIET)
    with pytest.raises(MeasureError, match="whole sphere; the most are 36"):
        rc.searchlight(ds, models(), radius=5, **QUIET)


@pytest.mark.parametrize("method", ["rho_a", "pearson"])
def test_a_constant_rdm_has_no_score(method):
    ds = volume()
    values = np.zeros((K, 36))
    values[np.arange(K), np.arange(K)] = 1.0  # a simplex: all distances are the same
    ds = ds.assign(response=(("stimulus", "unit"), values + (np.arange(36) > 30) * ds.response.values))
    found = rc.searchlight(ds, models(), neighbours=[list(range(K))] * 20 + [list(range(20, 36))] * 16,
                           distance="squared_euclidean", method=method, **QUIET)  # fmt: skip
    assert found.reason.values.tolist() == ["constant RDM"] * 20 + [""] * 16


def test_missing_values_are_refused():
    ds = volume()
    ds.response.values[3, 11] = np.nan
    with pytest.raises(MeasureError, match="1 of the .* units at hand have missing or infinite values; .* mask="):
        rc.searchlight(ds, models(), radius=1, min_fraction=0.5, **QUIET)
    kept = rc.searchlight(ds, models(), radius=1, min_fraction=0.5, mask=np.arange(36) != 11, **QUIET)
    assert kept.attrs["n_scored"] > 0


def test_rdms_are_kept_in_a_file(tmp_path):
    for dtype, distance in ((np.float64, "correlation"), (np.float32, "euclidean")):
        ds = volume(dtype)
        path = tmp_path / f"{distance}.nc"
        found = rc.searchlight(ds, models(), radius=1, distance=distance, keep_rdms=path, n_jobs=2, **QUIET)
        with rc.open(path) as kept:
            assert kept.dissimilarity.dtype == dtype and kept.attrs["distance"] == distance
            assert kept["rdm"].values.tolist() == found.unit_id.values.tolist()
            centre = int(np.flatnonzero(np.isfinite(found.score.values[0]))[0])
            own = rc.rdm(ds.isel(unit=naive.spheres(grid(4, 3, 3), 1)[centre]), distance=distance)
            one = kept.dissimilarity.isel(rdm=centre)
            ours = {
                (a, b): d for a, b, d in zip(kept.stimulus_a.values, kept.stimulus_b.values, one.values, strict=True)
            }
            for a, b, d in zip(own.stimulus_a.values, own.stimulus_b.values, own.dissimilarity.values, strict=True):
                assert abs(ours[(a, b) if (a, b) in ours else (b, a)] - d) <= TOLERANCE[dtype] * d
            assert np.isnan(kept.dissimilarity.values).all(axis=1).sum() == np.isnan(found.score.values[0]).sum()


def test_neighbourhoods_are_saved_and_reused(tmp_path):
    ds = volume()
    lists = rc.neighbourhoods(ds, radius=1)
    lists.save(tmp_path / "near.npz")
    first = rc.searchlight(ds, models(), radius=1, **QUIET)
    for given in (lists, tmp_path / "near.npz", rc.neighbourhoods(tmp_path / "near.npz")):
        xr.testing.assert_identical(rc.searchlight(ds, models(), neighbours=given, **QUIET), first)
    with pytest.raises(AlignmentError, match="position 0 is 'unit/0' there and 'unit/1'"):
        rc.searchlight(ds.isel(unit=np.roll(np.arange(36), -1)), models(), neighbours=lists, **QUIET)
    with pytest.raises(AlignmentError, match="36 units, the volume has 35"):
        rc.searchlight(ds.isel(unit=slice(35)), models(), neighbours=lists, **QUIET)


def test_models_are_matched_by_name():
    ds = volume()
    features = rc.representation(np.random.default_rng(2).normal(size=(K, 5)), stimulus=sorted(NAMES))
    found = rc.searchlight(ds, {"net": features, "line": models()["line"]}, radius=1, **QUIET)
    same = rc.searchlight(ds, {"net": rc.rdm(features), "line": models()["line"]}, radius=1, **QUIET)
    xr.testing.assert_allclose(found, same)
    stacked = rc.searchlight(ds, rc.merge_sets(list(models().values())), radius=1, **QUIET)
    assert stacked.model.values.tolist() == ["line", "other"]
    with pytest.raises(AlignmentError, match="the volume lacks|model lacks|lacks"):
        rc.searchlight(ds.isel(stimulus=slice(6)), models(), radius=1, **QUIET)
    with pytest.raises(SchemaError, match="no stimulus names"):
        rc.searchlight(ds, np.arange(21.0), radius=1, **QUIET)


@pytest.mark.parametrize(
    "options,error,message",
    [
        ({"distance": "corelation"}, OptionError, "did you mean 'correlation'"),
        ({"method": "rho"}, OptionError, "rho_a"),
        ({"radius_units": "cm"}, OptionError, "radius_units"),
        ({"radius_units": "mm"}, SchemaError, "unit_x"),
        ({"radius": -1.0}, OptionError, "positive"),
        ({"min_fraction": 2}, OptionError, "min_fraction"),
        ({"permutations": 10, "method": "kendall_tau_a"}, OptionError, "rho_a, pearson, spearman"),
        ({"distance": "crossnobis"}, SchemaError, "presentation form"),
        ({"noise": "diag"}, OptionError, "takes no noise"),
        ({"memory": 10}, OptionError, "at least"),
        ({"neighbours": [[99]] * 36}, OptionError, "neighbours of unit 0"),
    ],
)
def test_options_that_do_not_exist_are_named(options, error, message):
    with pytest.raises(error, match=message):
        rc.searchlight(volume(), models(), **{"radius": 1, **QUIET, **options})


def test_memory_sets_the_size_of_blocks():
    seen = []
    asked = {"radius": 1, "min_fraction": 0.5}
    first = rc.searchlight(volume(), models(), progress=False, **asked)
    small = rc.searchlight(
        volume(), models(), memory=12_000, progress=lambda done, total, text: seen.append(total), **asked
    )
    xr.testing.assert_identical(small, first)
    assert seen[0] > 1


def test_a_result_is_saved_and_opened(tmp_path):
    found = rc.searchlight(volume(), models(), radius=1, permutations=9, **QUIET)
    rc.save(found, tmp_path / "map.nc")
    with rc.open(tmp_path / "map.nc") as opened:
        xr.testing.assert_equal(opened.load(), found)
        assert opened.attrs["n_too_few_units"] == 34 and opened.attrs["neighbours"] == "sphere of 1 voxels"


def test_every_distance_and_method_is_tested():
    assert set(EVERY_DISTANCE) == {*DISTANCES, "crossnobis", "mahalanobis", "poisson", "poisson_cv"}
