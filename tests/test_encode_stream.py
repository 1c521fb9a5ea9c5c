"""Ridge on data that are read in blocks: the same scores as in memory, from one pass, whatever the blocks."""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError
from repcompare.functional._encode_stream import n_bytes, showing
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._stream_plan import StreamShape, plan_stream
from repcompare.measures.encoding.result import encode_arrays
from repcompare.measures.encoding.streaming import Stream, ridge_stream
from repcompare.statistics.folds import make_folds
from tests import naive_ridge

ALPHAS = np.logspace(-3, 6, 20)
ARRAYS = ("r_fold", "r2_fold", "r2_fold_testmean")


def data(seed=0, n=90, p=8, t=21, dtype=np.float64, offset=3.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(2, 0.1, p) + offset
    y = x @ rng.normal(size=(p, t)) / np.sqrt(p) + rng.normal(size=(n, t)) * np.geomspace(0.3, 20, t) - offset
    return x.astype(dtype), y.astype(dtype)


def stream(x, y, order=None, size=None, read=None):
    """Both sides as a stream, in any order of rows; ``size`` in place of the planned rows; ``read`` counts numbers."""
    order = np.arange(len(x)) if order is None else order

    def chunks(planned, units):
        step = size or planned
        for at in (order[i : i + step] for i in range(0, len(x), step)):
            if read is not None:
                read["x"] += x[at].size
                read["y"] += y[at, units].size
            yield x[at], y[at][:, units], at

    return Stream(len(x), x.shape[1], y.shape[1], np.result_type(x, y), chunks)


def streamed(x, y, folds, memory=10**7, alphas=ALPHAS, how=None, **options):
    return ridge_stream(
        stream(x, y, **(how or {})), folds, Options(alphas=np.asarray(alphas), **options), memory=memory
    )


def labelled(x, y, orders=(None, None), **y_coords):
    """Two representations, each with its own order of rows."""
    names, found = np.array([f"s{i:04d}" for i in range(len(x))]), []
    for values, order, coords in ((x, orders[0], {}), (y, orders[1], y_coords)):
        at = np.arange(len(x)) if order is None else order
        found.append(rc.representation(values[at], stimulus=names[at], **{k: v[at] for k, v in coords.items()}))
    return found


@contextmanager
def stored(folder, sides):
    """The same in two files as rc.save writes them, opened lazily."""
    for name, side in zip("xy", sides, strict=True):
        rc.save(side, folder / f"{name}.nc")
    with rc.open(folder / "x.nc") as one, rc.open(folder / "y.nc") as other:
        yield one, other


# numbers


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
@pytest.mark.parametrize("k", [5, 8])
def test_plain_loops(scoring, k):
    """Every fold, penalty and unit by least squares."""
    x, y = data(n=64, p=5, t=4)
    alphas, folds = np.logspace(-1, 4, 6), make_folds(64, k)
    scores, chosen = naive_ridge.ridge_scores(x, y, folds.splits, alphas, scoring)
    found = streamed(x, y, folds, 60_000, alphas, scoring=scoring).outcome
    np.testing.assert_allclose(found.details["fold_alphas"], chosen, rtol=1e-12)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "r2"},
        {"nested": False},
        {"alpha_per_unit": False},
        {"alpha_per_unit": False, "nested": False},
        {"standardize": True},
        {"standardize": True, "alpha_scale": "trace"},
        {"alpha_scale": "trace", "one_se": True},
        {"fisher_z": True, "summary": "median"},
        {"alphas": (30.0,)},
    ],
    ids=str,
)
def test_equals_ridge_in_memory(options):
    x, y = data()
    folds = make_folds(len(x), 5)
    whole = encode_arrays(x, y, folds, **options)
    found = streamed(x, y, folds, 250_000, **{"alphas": ALPHAS, **options}).outcome
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(found.score, whole.score, rtol=1e-9)
    np.testing.assert_allclose(found.fold_scores, whole.fold_scores, rtol=1e-9)
    np.testing.assert_allclose(found.details["alphas"], whole.alphas, rtol=1e-9)
    np.testing.assert_allclose(found.details["fold_alphas"], whole.fold_alphas, rtol=1e-9)
    for name in ("alphas_relative", "fold_alphas_relative"):
        np.testing.assert_allclose(found.details[name], whole.details[name], rtol=1e-9, err_msg=name)
    for name in (a for a in ARRAYS if a in whole.details):  # 1 - SSE / SST: digits of 1
        np.testing.assert_allclose(found.details[name], whole.details[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert found.notes[:-1] == whole.notes
    assert found.counts == whole.counts


@pytest.mark.parametrize("p", [8, 100])
@pytest.mark.parametrize("offset", [3.0, 1e4])
def test_float32_keeps_to_1e_4_of_float64(p, offset):
    x, y = data(p=p, dtype=np.float32, offset=offset)
    folds = make_folds(len(x), 5)
    exact = encode_arrays(x.astype(np.float64), y.astype(np.float64), folds)
    for how in ({"size": 1}, {"size": 13}, {}):
        found = streamed(x, y, folds, how=how).outcome
        np.testing.assert_allclose(found.unit_scores, exact.unit_scores, atol=1e-4, rtol=0)
        np.testing.assert_allclose(found.details["r2_fold"], exact.details["r2_fold"], atol=1e-4, rtol=0)
        np.testing.assert_array_equal(found.details["fold_alphas"], exact.fold_alphas)
    double = streamed(x, y, folds, precision="double").outcome
    np.testing.assert_allclose(double.unit_scores, exact.unit_scores, rtol=1e-9)


def test_a_trend_over_the_file_costs_no_digits_of_float32():
    """The first block is far from the mean of the rest: 30 standard deviations."""
    x, y = data(dtype=np.float64, n=200)
    trend = 30 * np.linspace(0, 1, 200)[:, None]
    x, y = (x + trend).astype(np.float32), (y + trend).astype(np.float32)
    folds = make_folds(200, 5)
    exact = encode_arrays(x.astype(np.float64), y.astype(np.float64), folds)
    found = streamed(x, y, folds, how={"size": 5}).outcome
    np.testing.assert_allclose(found.unit_scores, exact.unit_scores, atol=1e-5, rtol=0)


def test_units_that_are_predicted_almost_perfectly_are_computed_in_float64():
    x, _ = data(n=200, dtype=np.float32)
    rng = np.random.default_rng(1)
    y = (x @ rng.normal(size=(8, 3)) + np.array([1e-4, 1e-2, 1.0]) * rng.normal(size=(200, 3))).astype(np.float32)
    folds = make_folds(200, 5)
    exact = encode_arrays(x.astype(np.float64), y.astype(np.float64), folds, scoring="r2")
    found = streamed(x, y, folds, scoring="r2").outcome
    assert exact.unit_scores[0] > 1 - 1e-6
    np.testing.assert_allclose(found.unit_scores, exact.unit_scores, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", ["shuffle", "gaps", "subset"])
def test_folds_that_are_no_partition(kind):
    """Overlapping test sets, rows left out beside a test block, rows in no fold at all."""
    x, y = data(n=60)
    rng, rows = np.random.default_rng(0), np.arange(60)
    if kind == "shuffle":
        tests = [np.sort(rng.choice(60, 15, replace=False)) for _ in range(4)]
        splits = [(np.setdiff1d(rows, test), test) for test in tests]
    elif kind == "gaps":
        splits = [(rows[(rows < a - 3) | (rows >= a + 15)], rows[a : a + 12]) for a in range(0, 60, 12)]
    else:
        splits = [(rows[(rows % 4 != f) & (rows < 50)], rows[(rows % 4 == f) & (rows < 50)]) for f in range(4)]
    folds = make_folds(60, splits)
    whole, found = encode_arrays(x, y, folds), streamed(x, y, folds, 10**6).outcome
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(found.details["alphas_relative"], whole.details["alphas_relative"], rtol=1e-9)


# blocks of rows, batches of units, passes


def test_order_and_size_of_blocks_change_nothing():
    x, y = data()
    folds = make_folds(len(x), 5)
    one = streamed(x, y, folds).outcome
    for size, seed in ((1, 0), (7, 1), (40, 2)):
        how = {"size": size, "order": np.random.default_rng(seed).permutation(len(x))}
        other = streamed(x, y, folds, how=how).outcome
        np.testing.assert_allclose(other.unit_scores, one.unit_scores, rtol=1e-10)
        np.testing.assert_array_equal(other.details["fold_alphas"], one.details["fold_alphas"])


def test_data_are_read_once_or_x_once_per_batch():
    x, y = data(t=60)
    folds, counted = make_folds(len(x), 5), []
    for memory in (10**7, 60_000):
        read = {"x": 0, "y": 0}
        found = streamed(x, y, folds, memory, how={"read": read})
        count = len(found.plan.units)
        assert read == {"x": count * x.size, "y": y.size}
        assert f"x was read {count} time" in found.outcome.notes[-1]
        counted.append((count, found.outcome.unit_scores))
    assert counted[0][0] == 1
    assert counted[1][0] > 2
    np.testing.assert_allclose(counted[1][1], counted[0][1], rtol=1e-10)


def test_plan_of_the_sizes_of_the_specification():
    """20,000 x 2,000 x 50,000 in float32 within 4 GB: one pass; never more than was allowed."""
    shape = StreamShape(20_000, 2_000, 50_000, pieces=5, folds=5, itemsize=4)
    options = Options(alphas=ALPHAS)
    plan = plan_stream(shape, options, 4 * 10**9)
    assert [b.stop - b.start for b in plan.units] == [50_000]
    for memory in (1e9, 2e9, 4e9, 8e9):
        plan = plan_stream(shape, options, int(memory))
        assert plan.nbytes < memory
        assert plan.units[0].start == 0
        assert plan.units[-1].stop == 50_000
        assert all(a.stop == b.start for a, b in zip(plan.units, plan.units[1:], strict=False))
    with pytest.raises(OptionError, match=r"too little .* at least \d+ bytes") as caught:
        plan_stream(shape, options, 10**8)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    assert len(plan_stream(shape, options, needed).units) == 50_000
    with pytest.raises(OptionError, match="too little"):
        plan_stream(shape, options, needed - 1000)


def test_progress_counts_to_its_total():
    x, y = data(t=60)
    for options in ({}, {"nested": False}, {"alphas": (1.0,)}):
        seen = []
        rc.encode(x, y, memory=60_000, weights=True, progress=lambda *a, seen=seen: seen.append(a), **options)
        total = seen[0][1]
        assert [done for done, _, _ in seen] == list(range(1, total + 1))
        assert {t for _, t, _ in seen} == {total}


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with showing(None) as show:
        show(1, 2, "reading")
    assert "reading" in sys.stderr.getvalue()
    with showing(False) as show:
        assert show is None


# files


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shuffled", ["neither", "x", "y", "both"])
def test_files_in_any_order_equal_representations_in_memory(tmp_path, dtype, shuffled):
    x, y = data(dtype=dtype)
    rng = np.random.default_rng(5)
    orders = tuple(rng.permutation(len(x)) if shuffled in (side, "both") else None for side in ("x", "y"))
    sides = labelled(x, y, orders)
    whole = rc.encode(*sides, weights=True)
    exact = {"rtol": 1e-9} if dtype == np.float64 else {"atol": 1e-5, "rtol": 1e-4}
    with stored(tmp_path, sides) as files:
        for memory in ("60KB", "1 MB"):
            found = rc.encode(*files, memory=memory, weights=True)
            np.testing.assert_allclose(found.unit_scores, whole.unit_scores, **exact)
            np.testing.assert_allclose(found.alphas, whole.alphas, rtol=1e-9)
            np.testing.assert_allclose(found.coef, whole.coef, **exact)
            np.testing.assert_allclose(found.intercept, whole.intercept, **exact)
            np.testing.assert_allclose(found.predict(sides[0]), whole.predict(sides[0]), **exact)
            assert found.coef.dtype == dtype
            assert found.unit_ids.tolist() == whole.unit_ids.tolist()
            assert [t.tolist() for _, t in found.folds.splits] == [t.tolist() for _, t in whole.folds.splits]
        assert not files[1]["response"].variable._in_memory  # nothing was kept


def test_groups_and_folds_by_label(tmp_path):
    x, y = data()
    sides = labelled(x, y, (None, np.arange(90)[::-1]), stimulus_category=np.arange(90) % 7)
    whole = rc.encode(*sides, groups="stimulus_category", folds=3)
    with stored(tmp_path, sides) as files:
        found = rc.encode(*files, groups="stimulus_category", folds=3, memory=200_000)
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)


def test_recordings_with_a_gap():
    x, y = data(n=120)
    sides = [rc.representation(v, dims=("time", "unit"), time=np.arange(120.0)) for v in (x, y)]
    whole, found = rc.encode(*sides, gap=4), rc.encode(*sides, gap=4, memory=10**6)
    assert found.gap == 4
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)


@pytest.mark.parametrize("memory", [10**7, 150_000])
def test_a_gap_that_was_not_given_is_measured_in_blocks_of_units(memory):
    rng = np.random.default_rng(3)
    slow = np.array([np.convolve(v, np.ones(5) / 5, "valid") for v in rng.normal(size=(14, 164))]).T
    run = np.repeat(np.arange(4), 40)
    for coords in ({}, {"run": ("time", run)}):
        sides = [
            rc.representation(v, dims=("time", "unit"), time=np.arange(160.0)).assign_coords(coords)
            for v in (slow[:, :6], slow[:, 6:])
        ]
        whole, found = rc.encode(*sides), rc.encode(*sides, memory=memory)
        assert found.gap == whole.gap > 2
        np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)


def test_chunked_hdf5_arrays_are_read_in_whole_chunks(tmp_path):
    h5py = pytest.importorskip("h5py")
    x, y = data()
    whole = rc.encode(x, y)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        a = file.create_dataset("x", data=x, chunks=(9, 8))
        b = file.create_dataset("y", data=y, chunks=(6, 21), compression="gzip")
        texts = []
        found = rc.encode(a, b, memory=150_000, progress=lambda *step: texts.append(step[2]))
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)
    assert sum(t.startswith("reading") for t in texts) == -(-90 // (int(found.notes[-1].split()[12]) // 6 * 6))


def test_integers_are_read_as_float64():
    x, y = np.random.default_rng(0).poisson(5, (60, 6)), np.random.default_rng(1).poisson(9, (60, 4))
    np.testing.assert_allclose(rc.encode(x, y, memory=10**6).unit_scores, rc.encode(x, y).unit_scores, rtol=1e-9)


# bad input


def test_constant_units_are_counted_and_constant_features_cut():
    x, y = data()
    x[:, 3] = 7.0
    y[:, 2] = 1e6 / 3
    y[:80, 4] = 5.0
    whole, found = rc.encode(x, y), rc.encode(x, y, memory=200_000)
    assert np.isnan(found.unit_scores[[2, 4]]).all()
    assert found.counts == whole.counts
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_raise(bad, side):
    sides = data()
    sides[side][33, 2] = bad
    with pytest.raises(MeasureError, match=r"NaN|infinite"):
        rc.encode(*sides, memory=200_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "pls"}, "model='pls' needs all rows"),
        ({"nan": "pairwise"}, "nan='pairwise' fits units on different rows, .* or 'drop_stimuli'"),
        ({"permutations": 10, "null": "refit"}, "null='refit' needs all rows .* one more pass"),
        ({"weights": "coef.txt"}, "ends in .npy"),
        ({"refine": True}, "refine=True and select_by"),
        ({"select_by": "pearson"}, "refine=True and select_by"),
        ({"delays": [1]}, "delays= needs neighbouring rows and .*delay_features"),
        ({"alpha": 1.0}, "has no option 'alpha'; did you mean 'alphas'"),
        ({"alphas": [0.0]}, "all finite and > 0"),
        ({"memory": "4 gigs"}, "memory='4 gigs'; expected a number of bytes"),
        ({"memory": 1000}, "too little"),
        ({"memory": 60_000, "alpha_per_unit": False}, "needs the errors of all 60 units at once"),
    ],
)
def test_what_needs_all_rows_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        rc.encode(*data(t=60), **{"memory": 200_000, **options})


def test_sides_that_do_not_match_raise():
    x, y = data()
    names = [f"s{i}" for i in range(90)]
    one = rc.representation(x, stimulus=names)
    with pytest.raises(AlignmentError, match="the stimuli are not the same"):
        rc.encode(one, rc.representation(y, stimulus=[*names[:-1], "other"]), memory=10**6)
    with pytest.raises(AlignmentError, match="the same number of rows"):
        rc.encode(x, y[:-1], memory=10**6)
    with pytest.raises(SchemaError, match="one side has labels"):
        rc.encode(one, y, memory=10**6)
    trials = rc.representation(y, dims=("presentation", "unit"), stimulus_id=np.repeat(names[:45], 2))
    with pytest.raises(SchemaError, match="one row per stimulus"):
        rc.encode(one.isel(stimulus=slice(45)), trials, memory=10**6)
    with pytest.raises(SchemaError, match="expected numbers"):
        rc.encode(x[:, 0], y, memory=10**6)


def test_a_source_that_does_not_vary_and_rows_read_twice_raise():
    x, y = data()
    folds = make_folds(90, 5)
    with pytest.raises(MeasureError, match="no feature of the source varies"):
        streamed(np.full_like(x, 1 / 3), y, folds)
    with pytest.raises(MeasureError, match="1 of 90 rows were not read exactly once"):
        streamed(x, y, folds, how={"order": np.arange(89)})


def test_sizes_in_words():
    assert [n_bytes(v) for v in ("4GB", "500 mb", "1.5KB", "20B", 7.0)] == [4 * 10**9, 5 * 10**8, 1500, 20, 7]
    for bad in ("4", "GB", -1, True, None, float("nan")):
        with pytest.raises(OptionError, match="memory="):
            n_bytes(bad)
