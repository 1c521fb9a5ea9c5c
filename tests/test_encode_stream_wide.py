"""Ridge on layers with more features than rows, read in blocks of features: as in memory, from one pass."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import make_plan
from repcompare.measures.encoding._refit import refit
from repcompare.measures.encoding._stream_plan import Wanted
from repcompare.measures.encoding._wide_plan import WideShape, plan_wide
from repcompare.measures.encoding.result import encode_arrays
from repcompare.measures.encoding.wide_streaming import WideStream, ridge_wide_stream
from repcompare.statistics.folds import make_folds
from tests import naive_ridge
from tests.test_encode_stream import labelled, stored

ALPHAS = np.logspace(-3, 6, 20)
SMALL, LARGE = 1_600_000, 10**8  # training sets are made again, or kept


def data(seed=0, n=60, p=300, t=13, dtype=np.float64, offset=3.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(2, 0.1, p) + offset
    y = x[:, :20] @ rng.normal(size=(20, t)) + rng.normal(size=(n, t)) * np.geomspace(0.3, 20, t) - offset
    return x.astype(dtype), y.astype(dtype)


def streamed(x, y, folds, memory=LARGE, alphas=ALPHAS, wanted=None, **options):
    read = {"x": 0, "y": 0}

    def features(some):
        read["x"] += x[:, some].size
        return x[:, some]

    def units(some):
        read["y"] += y[:, some].size
        return y[:, some]

    stream = WideStream(*x.shape, y.shape[1], np.result_type(x, y), features, units)
    how = Options(alphas=np.asarray(alphas), **options)
    return ridge_wide_stream(stream, folds, how, memory=memory, wanted=wanted), read


# numbers


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
def test_plain_loops(scoring):
    x, y = data(n=40, p=70, t=4)
    alphas, folds = np.logspace(-1, 4, 6), make_folds(40, 5)
    scores, chosen = naive_ridge.ridge_scores(x, y, folds.splits, alphas, scoring)
    found = streamed(x, y, folds, alphas=alphas, scoring=scoring)[0].outcome
    np.testing.assert_allclose(found.details["fold_alphas"], chosen, rtol=1e-12)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=1e-9)


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "r2"},
        {"nested": False},
        {"alpha_per_unit": False},
        {"alpha_per_unit": False, "nested": False},
        {"alpha_scale": "trace", "one_se": True},
        {"fisher_z": True, "summary": "median"},
        {"select_by": "pearson"},
        {"refine": True},
        {"alphas": (30.0,)},
        {"k": 8},
        {"k": "loo", "scoring": "r2"},
        {"k": "loo", "scoring": "r2", "alpha_per_unit": False},
    ],
    ids=str,
)
def test_equals_ridge_in_memory(options, memory):
    x, y = data()
    options = dict(options)
    folds = make_folds(len(x), options.pop("k", 5))
    if options.get("refine") and memory == SMALL:
        with pytest.raises(OptionError, match="refine=True needs all training sets at once"):
            streamed(x, y, folds, memory, **options)
        return
    whole = encode_arrays(x, y, folds, **options)
    found, _ = streamed(x, y, folds, memory, wanted=Wanted(weights=True), **options)
    near = {"rtol": 1e-5} if options.get("refine") else {"rtol": 1e-9}
    np.testing.assert_allclose(found.outcome.unit_scores, whole.unit_scores, **near)
    np.testing.assert_allclose(found.outcome.fold_scores, whole.fold_scores, **near)
    np.testing.assert_allclose(found.outcome.details["alphas"], whole.alphas, **near)
    np.testing.assert_allclose(found.outcome.details["fold_alphas"], whole.fold_alphas, **near)
    np.testing.assert_allclose(found.outcome.details["alphas_relative"], whole.details["alphas_relative"], **near)
    for name in (a for a in ("r_fold", "r2_fold", "fold_alphas_relative") if a in whole.details):
        np.testing.assert_allclose(
            found.outcome.details[name], whole.details[name], err_msg=name, atol=1e-9, rtol=max(near["rtol"], 1e-6)
        )
    assert found.outcome.counts == whole.counts
    assert found.outcome.notes[:-1] == whole.notes
    assert found.plan.kept == (memory == LARGE or folds.n == len(folds))
    refitted = refit(x, y, found.outcome.details["alphas"])
    np.testing.assert_allclose(found.weights.coef, refitted.coef, atol=1e-12 * np.abs(refitted.coef).max())
    np.testing.assert_allclose(found.weights.intercept, refitted.intercept, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [3.0, 1e4])
def test_float32_keeps_to_1e_4_of_float64(offset):
    x, y = data(dtype=np.float32, offset=offset)
    folds = make_folds(60, 5)
    exact = encode_arrays(x.astype(np.float64), y.astype(np.float64), folds)
    found, _ = streamed(x, y, folds, SMALL)
    np.testing.assert_allclose(found.outcome.unit_scores, exact.unit_scores, atol=1e-4, rtol=0)
    double, _ = streamed(x, y, folds, SMALL, precision="double")
    np.testing.assert_allclose(double.outcome.unit_scores, exact.unit_scores, rtol=1e-9)


def test_constant_units_are_counted_and_constant_features_change_nothing():
    x, y = data()
    y[:, 2], y[:50, 4], x[:, 5] = 1e6 / 3, 5.0, 7.0
    folds = make_folds(60, 5)
    whole, (found, _) = encode_arrays(x, y, folds), streamed(x, y, folds)
    assert np.isnan(found.outcome.unit_scores[2])
    assert found.outcome.counts == whole.counts
    np.testing.assert_allclose(found.outcome.unit_scores, whole.unit_scores, rtol=1e-9)


# passes and memory


def test_both_sides_are_read_once_in_blocks_that_change_nothing():
    x, y = data(p=900, t=500)
    folds, scores = make_folds(60, 5), []
    for memory in (1_700_000, 10**8):
        found, read = streamed(x, y, folds, memory)
        assert read == {"x": x.size, "y": y.size}
        assert "x was read once" in found.outcome.notes[-1]
        scores.append(found.outcome.unit_scores)
    small, _ = streamed(x, y, folds, 1_700_000)
    assert small.plan.features < 300
    assert len(small.plan.units) > 2
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-10)


def test_weights_take_one_more_pass_and_may_go_to_disk(tmp_path):
    x, y = data(dtype=np.float32)
    folds, file = make_folds(60, 5), np.lib.format.open_memmap(tmp_path / "w.npy", "w+", np.float32, (300, 13))
    found, read = streamed(x, y, folds, SMALL, wanted=Wanted(weights=file))
    assert read == {"x": 2 * x.size, "y": y.size}
    assert found.weights.coef is file
    kept, _ = streamed(x, y, folds, wanted=Wanted(weights=True))
    np.testing.assert_allclose(np.load(tmp_path / "w.npy"), kept.weights.coef, rtol=1e-4, atol=1e-6)


def test_the_plan_stays_below_the_memory_and_says_what_is_needed():
    tasks = make_plan(make_folds(2000, 5), nested=True)
    shape, options = WideShape(2000, 10**6, 50_000, 4), Options(alphas=ALPHAS)
    batches = []
    for memory in (1.5e9, 3e9, 8e9):
        plan = plan_wide(shape, tasks, options, int(memory))
        assert plan.nbytes < memory
        assert plan.units[0].start == 0
        assert plan.units[-1].stop == 50_000
        assert all(a.stop == b.start for a, b in zip(plan.units, plan.units[1:], strict=False))
        batches.append(len(plan.units))
    assert batches == sorted(batches, reverse=True)
    with pytest.raises(OptionError, match=r"2000 rows with each other: expected at least \d+ bytes") as caught:
        plan_wide(shape, tasks, options, 10**8)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    assert plan_wide(shape, tasks, options, needed).units
    with pytest.raises(OptionError, match="too little"):
        plan_wide(shape, tasks, options, needed - 5000)


PEAK = """
import resource, sys
import h5py, numpy as np, repcompare as rc
with h5py.File(sys.argv[1]) as file:
    if sys.argv[2] == "libraries":  # all that is imported and compiled, with little data
        rc.encode(file["x"][:, :300], file["y"][:, :4], memory=10**9)
    else:
        found = rc.encode(file["x"], file["y"], memory=int(sys.argv[2]))
        assert "x was read once" in found.notes[-1], found.notes
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_the_layer_is_never_in_memory(tmp_path):
    """A layer of 200 MB within 80 MB beside the libraries."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    n, p = 200, 250_000
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (n, p), np.float32, chunks=(n, 500))
        for start in range(0, p, 25_000):
            x[:, start : start + 25_000] = rng.random(size=(n, 25_000), dtype=np.float32)
        file["y"] = (x[:, :9] @ rng.normal(size=(9, 20)) + rng.normal(size=(n, 20))).astype(np.float32)

    def peak(how):
        code = [sys.executable, "-c", PEAK, str(tmp_path / "a.h5"), how]
        one = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return int(subprocess.run(code, check=True, capture_output=True, text=True, env=one).stdout)

    assert peak(str(80_000_000)) - peak("libraries") < 80_000_000


# the public door


@pytest.mark.parametrize("shuffled", [False, True])
def test_files_equal_representations_in_memory(tmp_path, shuffled):
    x, y = data(dtype=np.float32)
    rng = np.random.default_rng(5)
    orders = tuple(rng.permutation(60) if shuffled else None for _ in range(2))
    sides = labelled(x, y, orders)
    whole = rc.encode(*sides, weights=True)
    with stored(tmp_path, sides) as files:
        found = rc.encode(*files, memory="2MB", weights=True)
        onto_disk = rc.encode(*files, memory="2MB", weights=tmp_path / "coef.npy")
        assert not files[0]["response"].variable._in_memory  # nothing was kept
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(found.coef, whole.coef, atol=1e-4 * np.abs(whole.coef).max())
    np.testing.assert_allclose(found.predict(sides[0]), whole.predict(sides[0]), atol=1e-2, rtol=1e-4)
    np.testing.assert_array_equal(onto_disk.coef, found.coef)
    assert found.details["solver"] == "streamed, dual"


def test_chunked_hdf5_is_read_in_whole_chunks_of_features(tmp_path):
    h5py = pytest.importorskip("h5py")
    x, y = data()
    whole = rc.encode(x, y)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        a, b = file.create_dataset("x", data=x, chunks=(60, 7)), file.create_dataset("y", data=y)
        found = rc.encode(a, b, memory=SMALL)
        broad = file.create_dataset("broad", data=x, chunks=(10, 300))
        several = rc.encode(broad, b, memory=SMALL)
    assert "x was read 3 times (its chunks hold 300 features" in several.notes[-1]
    np.testing.assert_allclose(several.unit_scores, whole.unit_scores, rtol=1e-9)
    np.testing.assert_allclose(found.unit_scores, whole.unit_scores, rtol=1e-9)
    assert int(found.notes[-1].split("blocks of ")[1].split()[0]) % 7 == 0


def test_progress_counts_to_its_total():
    x, y = data()
    loo = {"folds": "loo", "scoring": "r2"}
    for options in ({}, {"nested": False}, {"alphas": (1.0,)}, {"weights": True}, loo, {"permutations": 5}):
        seen = []
        rc.encode(x, y, memory=SMALL, progress=lambda *a, seen=seen: seen.append(a), **options)
        assert [done for done, _, _ in seen] == list(range(1, seen[0][1] + 1)), options


@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_raise(side):
    sides = data()
    sides[side][33, 2] = np.nan
    with pytest.raises(MeasureError, match="1 missing .* drop them with nan="):
        rc.encode(*sides, memory=SMALL)


def test_what_cannot_be_done():
    x, y = data(t=4000)
    with pytest.raises(OptionError, match="alpha_per_unit=False needs the errors of all 4000 units"):
        rc.encode(x, y, memory=2_000_000, alpha_per_unit=False)
    with pytest.raises(MeasureError, match="no feature of the source varies"):
        rc.encode(np.full_like(x, 1 / 3), y[:, :3], memory=LARGE)
    with pytest.raises(OptionError, match="leave-one-out has one"):
        rc.encode(x, y[:, :3], memory=LARGE, folds="loo", scoring="r2", permutations=9)
