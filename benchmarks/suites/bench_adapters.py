"""From files and events to representations, and back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import repcompare as rc


class BinSpikes:
    params = ([(2_000, 20, 3), (650_000, 1266, 30)], [None, 0.01])
    param_names = ("spikes_trials_units", "width")

    def setup(self, sizes, width):
        spikes, trials, units = sizes
        rng = np.random.default_rng(0)
        self.trains = [np.sort(rng.random(spikes // units) * 4 * trials) for _ in range(units)]
        self.events = np.sort(rng.random(trials)) * 4 * (trials - 1) + 1
        self.names = [f"image{i % 100}" for i in range(trials)]

    def time_bin_spikes(self, sizes, width):
        rc.bin_spikes(self.trains, self.events, start=-0.5, stop=1.5, width=width, stimulus=self.names)

    def peakmem_bin_spikes(self, sizes, width):
        rc.bin_spikes(self.trains, self.events, start=-0.5, stop=1.5, width=width, stimulus=self.names)


class Trials:
    params = ([(10, 4, 5), (500, 20, 300)],)
    param_names = ("stimuli_repeats_units",)

    def setup(self, sizes):
        stimuli, repeats, units = sizes
        rng = np.random.default_rng(0)
        labels = rng.permutation(np.repeat([f"image{i}" for i in range(stimuli)], repeats))
        values = rng.normal(size=(stimuli * repeats, units))
        self.trials = rc.representation(values, dims=("presentation", "unit"), stimulus_id=labels)

    def time_average_repeats(self, sizes):
        rc.average_repeats(self.trials)

    def time_split_halves(self, sizes):
        rc.split_halves(self.trials, seed=0)


class Files:
    params = ([(20, 10), (1000, 5000)],)
    param_names = ("n_p",)

    def setup(self, n_p):
        n, p = n_p
        values = np.random.default_rng(0).standard_normal((n, p), dtype=np.float32)
        self.names = [f"image{i}" for i in range(n)]
        self.data = rc.representation(values, stimulus=self.names)
        self.folder = tempfile.TemporaryDirectory()
        self.saved = Path(self.folder.name) / "saved.nc"
        self.written = Path(self.folder.name) / "written.nc"
        rc.save(self.data, self.saved)

    def teardown(self, n_p):
        self.folder.cleanup()

    def time_representation(self, n_p):
        rc.representation(self.data["response"].values, stimulus=self.names)

    def time_save(self, n_p):
        rc.save(self.data, self.written)

    def time_open(self, n_p):
        with rc.open(self.saved) as opened:
            opened["response"].values.sum()
