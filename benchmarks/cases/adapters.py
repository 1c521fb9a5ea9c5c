"""What happens before numbers are compared."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case, Target, largest
from repcompare.labels.spikes import Window, counts

START, STOP, BINS = -0.5, 1.5, 200


def _recording(rng: np.random.Generator, quick: bool) -> Data:
    spikes, trials, units = (3_000, 20, 3) if quick else (649_000, 1266, 30)
    duration = 4.0 * trials
    share = rng.dirichlet(np.full(units, 2.0))
    trains = [np.sort(rng.random(max(1, int(s * spikes))) * duration) for s in share]
    events = np.sort(rng.random(trials)) * (duration - 4) + 1
    names = [f"image{i % 100}" for i in range(trials)]
    size = f"{spikes} spikes, {trials} trials, {units} units, {BINS} bins"
    return Data(size=size, trains=trains, events=events, names=names)


def _histograms(data: Data) -> Any:
    """Spikes of each trial cut out by bisection, then one histogram per unit and trial."""
    out = np.empty((len(data.events), len(data.trains), BINS), np.float32)
    for u, train in enumerate(data.trains):
        low, high = np.searchsorted(train, data.events + START), np.searchsorted(train, data.events + STOP)
        for e, event in enumerate(data.events):
            out[e, u] = np.histogram(train[low[e] : high[e]] - event, BINS, (START, STOP))[0]
    return out


def _session(rng: np.random.Generator, quick: bool) -> Data:
    """Units of 5 Hz; windows of 1 s, each within .2 s of the end of the one before."""
    units, events, bins = (4, 50, 10) if quick else (200, 5000, 100)
    onsets = 1.1 * np.arange(events) + rng.uniform(0, 0.1, events)
    duration = 1.1 * events
    trains = [np.sort(rng.uniform(0, duration, rng.poisson(5 * duration))) for _ in range(units)]
    size = f"{units} units of 5 Hz, {events} events, {bins} bins: {units * events * bins / 1e6:g} M cells"
    return Data(size=size, trains=trains, events=onsets, bins=bins)


def _bincounts(data: Data) -> Any:
    """Two bisections per event and unit, then one count per unit over the cells of all events."""
    n, bins = len(data.events), data.bins
    out = np.empty((n, len(data.trains), bins), np.float32)
    for u, train in enumerate(data.trains):
        low, high = np.searchsorted(train, data.events), np.searchsorted(train, data.events + 1)
        found = high - low
        at = np.repeat(low - (np.cumsum(found) - found), found) + np.arange(found.sum())
        bin_of = ((train[at] - np.repeat(data.events, found)) * bins).astype(np.int64)
        cells = np.repeat(np.arange(n) * bins, found) + np.minimum(bin_of, bins - 1)
        out[:, u] = np.bincount(cells, minlength=n * bins).reshape(n, bins)
    return out


CASES = (
    Case(
        name="bin_spikes_dense",
        peer_name="textbook numpy, searchsorted and bincount per unit",
        library="numpy",
        make=_session,
        ours=lambda data: counts(data.trains, data.events, Window(0.0, 1.0, 1 / data.bins)),
        peer=_bincounts,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 0.2),  # 0.5 G cells/s
        note="the target is 0.5 G cells/s written",
    ),
    Case(
        name="bin_spikes",
        peer_name="textbook numpy, histogram per unit and trial",
        library="numpy",
        make=_recording,
        ours=lambda data: (
            rc.bin_spikes(
                data.trains, data.events, start=START, stop=STOP, width=(STOP - START) / BINS, stimulus=data.names
            )["response"].values
        ),
        peer=_histograms,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 0.04),
        note="ours also makes the labelled dataset; np.histogram closes its last bin, ours is half open",
    ),
)
