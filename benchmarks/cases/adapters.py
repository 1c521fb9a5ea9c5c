"""What happens before numbers are compared."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case, largest

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


CASES = (
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
        note="ours also makes the labelled dataset; np.histogram closes its last bin, ours is half open",
    ),
)
