"""Sums over pieces of the rows: equal to direct computation, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError
from repcompare.measures._measure import Folds
from repcompare.measures.encoding._layout import layout
from repcompare.measures.encoding.moments import MomentAccumulator, held_out, moments, piece_moments, unit_batches
from repcompare.statistics.folds import make_folds
from tests import naive_encoding

N = 60


def simulated(seed=0, n=N, p=7, t=4, offset=0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p)) * np.geomspace(0.3, 3, p) + rng.standard_normal(p) + offset
    return x, x[:, :t] + rng.standard_normal((n, t)) - offset


def drawn(kind):
    rng = np.random.default_rng(0)
    if kind == "five":
        return make_folds(N, 5)
    if kind == "gap":
        return make_folds(N, 4, sample="time", gap=3)
    if kind == "overlapping":  # more kinds of rows than pieces pay for
        parts = [np.sort(rng.permutation(N)[:20]) for _ in range(12)]
    else:  # learning curve: small training sets
        parts = [np.arange(m, N) for m in (5, 10, 20)]
    return Folds(tuple((np.setdiff1d(np.arange(N), part), part) for part in parts), N)


def same(found, x, y, rows, means, tolerance=1e-12):
    expected = naive_encoding.moments(x, y, rows, *means)
    assert found.n == expected[0]
    for name, value in zip(("sum_x", "sum_y", "xx", "xy", "yy"), expected[1:], strict=True):
        scale = np.abs(value).max() if name in ("xx", "xy", "yy") else len(rows) * np.abs(x).max()
        np.testing.assert_allclose(
            getattr(found, name), value, rtol=0, atol=tolerance * max(scale, 1e-30), err_msg=name
        )


@pytest.mark.parametrize("kind", ["five", "gap", "overlapping", "curve"])
@pytest.mark.parametrize("inner", [False, True])
def test_every_training_and_test_set_equals_direct_sums(kind, inner):
    x, y = simulated()
    found = moments(x, y, drawn(kind), inner=inner)
    tasks = (*found.plan.outer, *found.plan.inner)
    assert tasks
    for j, task in enumerate(tasks):
        means = x[task.train].mean(axis=0), y[task.train].mean(axis=0)
        train = found.train(j)
        same(train.centred(), x, y, task.train, means)
        np.testing.assert_allclose(found.pieces.shift_x + train.mean_x, means[0], rtol=1e-13)
        for i, (_, rows) in enumerate(task.tests):
            same(found.test(j, i).about(train.mean_x, train.mean_y), x, y, rows, means)


def test_disjoint_folds_need_one_piece_each_and_overlapping_ones_one_set_each():
    assert moments(*simulated(), drawn("five"), inner=True).layout.member.shape == (N, 5)
    overlapping = moments(*simulated(), drawn("overlapping")).layout
    assert overlapping.member.shape == (N, 13)  # everything and what each of 12 splits holds out
    assert overlapping.member[:, 1:].sum(axis=0).max() <= N // 2  # the smaller of each set and its complement


def test_size_and_order_of_chunks_do_not_matter():
    x, y = simulated(1, offset=100.0)
    piece = np.random.default_rng(1).integers(-1, 3, N)
    rng = np.random.default_rng(2)

    def collected(chunks):
        sums = MomentAccumulator(x.shape[1], y.shape[1], 3)
        for rows in chunks:
            sums.add(x[rows], y[rows], piece[rows])
        return sums.result()

    whole = collected([np.arange(N)])
    for chunks in (
        np.array_split(np.arange(N), 7),
        np.array_split(rng.permutation(N), 11),
        [[i] for i in rng.permutation(N)],
    ):
        other = collected(chunks)
        for a, b in zip(whole.parts, other.parts, strict=True):
            one, two = a.centred(), b.centred()
            assert one.n == two.n
            for name in ("xx", "xy", "yy"):
                u, v = getattr(one, name), getattr(two, name)
                assert np.abs(u - v).max() <= 4e-15 * np.abs(u).max()
            np.testing.assert_allclose(whole.shift_x + a.mean_x, other.shift_x + b.mean_x, rtol=4e-15)


def test_chunks_with_one_shift_agree_to_the_last_digits():
    x, y = simulated(1)
    shifts = x.mean(axis=0), y.mean(axis=0)

    def collected(size):
        sums = MomentAccumulator(x.shape[1], y.shape[1], 2, shifts=shifts)
        for start in range(0, N, size):
            sums.add(x[start : start + size], y[start : start + size], np.arange(start, min(start + size, N)) % 2)
        return sums.result()

    whole = collected(N)
    for size in (1, 7, 32):
        for a, b in zip(whole.parts, collected(size).parts, strict=True):
            for name in ("xx", "xy", "yy"):
                u, v = getattr(a.centred(), name), getattr(b.centred(), name)
                assert np.abs(u - v).max() <= 4e-15 * np.abs(u).max()


def test_float32_with_a_large_offset():
    x, y = (v.astype(np.float32) for v in simulated(2, n=5000, offset=1e4))
    folds = make_folds(5000, 5)
    found = moments(x, y, folds)
    wide = moments(x.astype(float), y.astype(float), folds)
    assert found.pieces.parts[0].xx.dtype == np.float64
    for j in range(5):
        one, two = found.train(j).centred(), wide.train(j).centred()
        sd = np.sqrt(two.xx.diagonal())
        assert np.abs((one.xx - two.xx) / np.outer(sd, sd)).max() < 2e-7
        assert np.abs((one.xy - two.xy) / np.outer(sd, np.sqrt(two.yy))).max() < 2e-7


def test_outliers_that_are_taken_away_leave_no_trace():
    x, y = simulated(3)
    folds = make_folds(N, 5)
    x[folds.splits[2][1]] *= 1e6
    y[folds.splits[2][1], 1] *= 1e6
    found = moments(x, y, folds)
    train = folds.splits[2][0]
    same(found.train(2).centred(), x, y, train, (x[train].mean(axis=0), y[train].mean(axis=0)))


def test_sub_blocks_are_slices():
    x, y = simulated(4)
    folds = make_folds(N, 4)
    features, units = np.array([5, 0, 2]), slice(1, 3)
    part = moments(x, y, folds).train(1).features(features).units(units).centred()
    alone = moments(x[:, features], y[:, units], folds).train(1).centred()
    for name in ("sum_x", "sum_y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(part, name), getattr(alone, name), rtol=0, atol=1e-12)


def test_batches_of_units_and_the_source_alone():
    x, y = simulated(5)
    whole = moments(x, y, make_folds(N, 4)).train(0)
    for units in unit_batches(4, 7, 4, budget=8 * 7 * 4 * 3):
        batch = moments(x, y[:, units], make_folds(N, 4), xx=False).train(0)
        assert batch.xx is None
        assert batch.centred().xx is None
        np.testing.assert_allclose(batch.xy, whole.xy[:, units], rtol=0, atol=1e-12)
    source = moments(x, y[:, :0], make_folds(N, 4)).train(0)
    np.testing.assert_allclose(source.xx, whole.xx, rtol=0, atol=1e-12)


def test_features_are_standardised_by_training_rows_only():
    x, y = simulated(6)
    folds = make_folds(N, 5)
    x[:, 3] = 1e5 / 3
    x[folds.splits[1][0], 5] = 0.1  # constant in one training set
    found = moments(x, y, folds)
    train, test = folds.splits[1]
    scale = found.pieces.inverse_sd(found.train(1))
    assert (scale[[3, 5]] == 0).all()
    sd = x[train].std(axis=0)
    expected = np.where(scale == 0, 0.0, 1 / np.where(sd > 0, sd, 1.0))
    np.testing.assert_allclose(scale, expected, rtol=1e-12)
    mean = found.train(1).mean_x, found.train(1).mean_y
    standardised = (x - x[train].mean(axis=0)) * expected
    same(found.train(1).centred().scaled(scale), standardised, y, train, (0.0, y[train].mean(axis=0)))
    same(found.test(1).about(*mean).scaled(scale), standardised, y, test, (0.0, y[train].mean(axis=0)))


def test_held_out_scores_need_no_data():
    x, y = simulated(7)
    folds = make_folds(N, 5)
    found = moments(x, y, folds)
    weights = np.random.default_rng(7).standard_normal((7, 4))
    for f, (train, test) in enumerate(folds.splits):
        mean = found.train(f).mean_x, found.train(f).mean_y
        error, r = held_out(found.test(f).about(*mean), weights)
        predicted = (x[test] - x[train].mean(axis=0)) @ weights + y[train].mean(axis=0)
        np.testing.assert_allclose(error, ((y[test] - predicted) ** 2).sum(axis=0), rtol=1e-11)
        expected = [naive_encoding.pearson(predicted[:, u], y[test, u]) for u in range(4)]
        np.testing.assert_allclose(r, expected, rtol=0, atol=1e-12)
    error, r = held_out(found.test(0).about(*mean), weights * [0.0, 1, 1, 1])
    assert np.isnan(r).tolist() == [True, False, False, False]


def test_bad_chunks_raise():
    x, y = simulated(8)
    sums = MomentAccumulator(7, 4, 2)
    with pytest.raises(MeasureError, match="no rows were added"):
        sums.result()
    with pytest.raises(MeasureError, match=r"shapes \(60, 6\) and \(60, 4\); expected \(n_rows, 7\)"):
        sums.add(x[:, :6], y, np.zeros(N, dtype=int))
    with pytest.raises(MeasureError, match="pieces go from 0 to 2; expected -1 to 1"):
        sums.add(x, y, np.arange(N) % 3)
    with pytest.raises(MeasureError, match="pieces have shape"):
        sums.add(x, y, np.zeros((N, 3), dtype=bool))
    x[3, 3] = np.nan
    with pytest.raises(MeasureError, match="NaN or infinite"):
        sums.add(x, y, np.zeros(N, dtype=int))


def test_pieces_are_as_few_as_serve_all_sets():
    sets = [np.arange(0, 4), np.arange(4, 8), np.arange(0, 8)]
    found = layout(sets, 10)
    assert found.member.shape == (10, 2)
    x, y = simulated(9, n=10)
    pieces = piece_moments(x, y, found)
    assert pieces.union(found.plus[2], found.minus[2]).n == 8
