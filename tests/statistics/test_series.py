"""What of a recording may be permuted, and what a permutation leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import OptionError
from repcompare.statistics.series import draws, exchangeable, series_null, touching


@pytest.mark.parametrize("n", [30, 31])
def test_phases_keep_spectra_and_their_cross_terms(n):
    """By the definition: one factor exp(2 pi i u_f) for all units, so that every cross-spectrum stays."""
    values = np.random.default_rng(0).normal(size=(n, 4)) + 3
    (draw,) = draws(series_null(n, "phase"), n, 1, seed=1)
    moved = draw.apply(values)
    assert moved.shape == values.shape
    assert np.abs(moved - values).max() > 0.5
    np.testing.assert_allclose(moved.mean(axis=0), values.mean(axis=0))
    before, after = (np.fft.rfft(v, axis=0) for v in (values, moved))
    np.testing.assert_allclose(after[:, :, None] * after[:, None].conj(), before[:, :, None] * before[:, None].conj())
    np.testing.assert_allclose(np.cov(moved.T), np.cov(values.T))


def test_phases_of_runs_are_drawn_for_each():
    runs = np.repeat([0, 1], [20, 31])
    values = np.random.default_rng(0).normal(size=(51, 3)) + 5 * runs[:, None]
    (draw,) = draws(series_null(51, "phase", runs=runs), 51, 1, seed=0)
    moved = draw.apply(values)
    for run in (0, 1):
        np.testing.assert_allclose(np.cov(moved[runs == run].T), np.cov(values[runs == run].T))
        np.testing.assert_allclose(moved[runs == run].mean(axis=0), values[runs == run].mean(axis=0))
    stack = draw.apply(np.stack([values, 2 * values]))
    np.testing.assert_allclose(stack, [moved, 2 * moved])


def test_shifts_are_circular_and_at_least_a_tenth():
    for order in draws(series_null(1000, "shift"), 1000, 200, seed=0):
        step = (order[0] - np.arange(1000)[0]) % 1000
        np.testing.assert_array_equal(order, (np.arange(1000) + step) % 1000)
        assert 100 <= step <= 900


def test_blocks_change_places_whole():
    labels = np.repeat([f"trial{i:02d}" for i in range(25)], 4)
    null = series_null(100, labels=[labels])
    assert null.kind == "blocks"
    for order in draws(null, 100, 20, seed=0):
        assert sorted(order) == list(range(100))
        blocks = order.reshape(25, 4)
        assert (np.diff(blocks, axis=1) == 1).all()
        assert (blocks[:, 0] % 4 == 0).all()


def test_blocks_are_whole_and_of_one_length():
    found = exchangeable([0, 0, 1, 1, 1, 2, 2, 0, 3, 3])  # 0 lies in two pieces, 1 is longer
    assert [rows.tolist() for rows in found.rows] == [[5, 6], [8, 9]]
    assert found.n_dropped == 6
    assert exchangeable([0, 1, 0, 1]).rows == ()


def test_the_longest_blocks_that_are_enough():
    runs, trials, seconds = (np.arange(1200) // k for k in (300, 40, 4))
    assert len(series_null(1200, labels=[runs, trials, seconds]).blocks.rows) == 30
    assert series_null(1200, labels=[runs]).kind == "phase"


@pytest.mark.parametrize("phi", [0.5, 0.95])
def test_blocks_cut_from_one_series_are_told_from_trials(phi):
    """AR(1): rows on both sides of a cut correlate by phi, those of separate trials by 0 (se at most .1 here)."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.normal(size=(1000, 5))
        for i in range(1, 1000):
            values[i] += phi * values[i - 1]
        blocks = exchangeable(np.arange(1000) // 25)
        assert touching(values, blocks)
        trials = values.reshape(40, 25, 5)[rng.permutation(40)].reshape(1000, 5)
        assert not touching(trials, blocks)
        trials[3, 2] = np.nan
        assert not touching(trials, blocks)


@pytest.mark.parametrize(
    ("n", "options", "kind"),
    [(300, {}, "phase"), (1000, {"complete": False}, "shift"), (1000, {"kind": "shift"}, "shift")],
    ids=str,
)
def test_order_of_preference(n, options, kind):
    null = series_null(n, **options)
    assert null.kind == kind
    assert null.note.startswith({"phase": "phase_surrogates: 0 whole blocks", "shift": "circular_shift"}[kind])


@pytest.mark.parametrize(
    ("n", "options"), [(300, {"complete": False}), (300, {"kind": "shift"}), (3000, {"kind": "blocks"})], ids=str
)
def test_what_the_data_do_not_allow_is_refused(n, options):
    with pytest.raises(
        OptionError, match=r"cannot be shuffled one by one, and there are 0 whole blocks.*expected 20 blocks"
    ):
        series_null(n, **options)
    with pytest.raises(OptionError, match="null='rows'"):
        series_null(3000, "rows")
