from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import OptionError, SchemaError
from repcompare.labels import spikes
from repcompare.labels.spikes import Window, counts, unobserved


def naive(trains, events, start, width, bins):
    out = np.zeros((len(events), len(trains), bins))
    for e, event in enumerate(events):
        for u, train in enumerate(trains):
            for t in train:
                for k in range(bins):
                    if start + k * width <= t - event < start + (k + 1) * width:
                        out[e, u, k] += 1
    return out


@pytest.mark.parametrize(("start", "stop", "width"), [(0.0, 1.0, 0.1), (-0.3, 0.5, 0.2), (0.2, 2.2, 2.0)])
def test_counts_agree_with_loops_also_for_overlapping_windows(start, stop, width):
    rng = np.random.default_rng(1)
    trains = [np.sort(rng.uniform(0, 10, n)) for n in (60, 0, 5, 200)]
    events = rng.uniform(0, 10, 12)
    window = Window(start, stop, width)
    np.testing.assert_array_equal(counts(trains, events, window), naive(trains, events, start, width, window.n_bins))


def lay_out(rng, layout, n):
    """Events whose windows of 1 s are apart, touch, lie far apart, or overlap."""
    gap = {"apart": 1.3, "touching": 1.0, "far": 1e4, "overlapping": 0.7}[layout]
    events = np.arange(n) * gap + (0.25 * rng.random(n) if layout == "apart" else 0.0)
    return rng.permutation(events)


@pytest.mark.parametrize("layout", ["apart", "touching", "far", "overlapping"])
def test_both_ways_to_place_spikes_agree_with_loops(layout, monkeypatch):
    rng = np.random.default_rng(3)
    events, window = lay_out(rng, layout, 15), Window(-0.4, 0.6, 0.1)
    edges = np.round(events[:, None] + np.arange(-4, 7) * 0.1, 9).ravel()  # spikes on every edge
    trains = [np.sort(np.r_[edges[:k], rng.uniform(-2, events.max() + 2, 80)]) for k in (0, 40, edges.size)]
    safe = [np.sort(train + 2e-10) for train in trains]  # clear of the edges, in which loops round otherwise
    expected = naive(safe, events, window.start, window.width, window.n_bins)
    for block in (7, 8192):
        monkeypatch.setattr(spikes, "BLOCK", block)
        for limit in (0, 10**6):  # bisection for every train; the table for every train, where there is one
            monkeypatch.setattr(spikes, "TABLE_SPIKES", limit)
            np.testing.assert_array_equal(counts(safe, events, window), expected)
            np.testing.assert_array_equal(counts(trains, events, window), expected)


def test_the_table_is_there_for_windows_apart_and_small():
    rng = np.random.default_rng(0)
    made = {}
    for layout in ("apart", "far", "overlapping"):
        first = lay_out(rng, layout, 50)
        made[layout] = spikes._Table.of(spikes._Spans(first, first + 1.0, np.arange(50)))
    assert made["far"] is None and made["overlapping"] is None
    assert len(made["apart"].at) < 50 * 2 * spikes.TABLE_CELLS
    one = np.array([1e17])
    assert spikes._Table.of(spikes._Spans(one, one, np.arange(1))) is None  # the window is lost in rounding


def test_bins_are_half_open_in_decimal_terms():
    times = [[10.0, 10.1, 10.3, 10.6, 10.7, 10.8, 11.0]]
    ds = rc.bin_spikes(times, [10.0], start=0.0, stop=1.0, width=0.1, stimulus=["a"])
    assert ds["response"].values[0, 0].tolist() == [1, 1, 0, 1, 0, 0, 1, 1, 1, 0]
    assert rc.bin_spikes(times, [10.0], start=0.0, stop=1.0, stimulus=["a"])["response"].values.tolist() == [[6.0]]


def test_labels_and_time():
    ds = rc.bin_spikes(
        {"u1": [0.05], "u2": []},
        [0, 1, 2],
        start=-0.1,
        stop=0.3,
        width=0.2,
        rate=True,
        stimulus=["a", "b", "a"],
        unit_region=["V1", "V4"],
        attrs={"source": "rat"},
    )
    assert ds["response"].dims == ("presentation", "unit", "time")
    assert ds["response"].dtype == np.float32
    np.testing.assert_allclose(ds["time"].values, [0.0, 0.2])
    assert ds["time"].attrs == {"units": "s", "bin_width": pytest.approx(0.2)}
    assert ds["repeat"].values.tolist() == [0, 0, 1]
    assert ds["unit_id"].values.tolist() == ["u1", "u2"]
    assert ds.attrs["response_units"] == "Hz" and ds.attrs["source"] == "rat"
    assert ds["response"].values[0, 0].tolist() == [5.0, 0.0]
    assert rc.average_repeats(ds).sizes["stimulus"] == 2


def test_unsorted_times_are_sorted_with_a_note():
    ds = rc.bin_spikes({"x": [3.0, 1.0, 2.0]}, [0.0], start=0, stop=4, width=1, stimulus="a")
    assert ds["response"].values[0, 0].tolist() == [0, 1, 1, 1]
    assert "'x'" in ds.attrs["history"][0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"times": {"x": [1.0, np.nan]}}, SchemaError, "unit 'x': nan at position 1"),
        ({"times": {"x": [[1.0]]}}, SchemaError, "shape"),
        ({"times": {"x": ["soon"]}}, SchemaError, "not numbers"),
        ({"times": {}}, SchemaError, "no units"),
        ({"events": []}, SchemaError, "events: none"),
        ({"events": [0.0, np.inf]}, SchemaError, "events: inf at position 1"),
        ({"width": 0.3}, OptionError, "does not divide"),
        ({"width": -1.0}, OptionError, "bin width"),
        ({"stop": 0.0}, OptionError, "start < stop"),
        ({"stimulus": ["a", "b"]}, SchemaError, "expected \\(1,\\)"),
        ({"stimulus": None}, SchemaError, "give stimulus="),
    ],
)
def test_messages(change, error, message):
    given = {"times": {"x": [1.0]}, "events": [0.0], "start": 0.0, "stop": 1.0, "stimulus": ["a"], **change}
    with pytest.raises(error, match=message):
        rc.bin_spikes(given.pop("times"), given.pop("events"), **given)


def test_windows_outside_observed_time():
    observed = np.array([[5.0, 6.0], [0.0, 2.0], [2.0, 3.0]])
    begin = np.array([0.0, 1.5, 2.5, 4.0, 5.0, -1.0])
    assert unobserved(begin, begin + 1, observed).tolist() == [False, False, True, True, False, True]
    assert unobserved(begin, begin + 1, np.zeros((0, 2))).all()


def test_an_hour_of_thirty_neurons_is_fast_enough():
    import time

    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, 4000, 21_633)) for _ in range(30)]
    events = np.sort(rng.uniform(1, 3997, 1266))
    best = np.inf
    for _ in range(5):
        begin = time.perf_counter()
        counts(trains, events, Window(0, 2, 0.01))
        best = min(best, time.perf_counter() - begin)
    assert best < 0.4, f"{1e3 * best:.0f} ms; the target is 40 ms on a quiet machine"
