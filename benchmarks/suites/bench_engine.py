"""Studies from labelled data to scores."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import repcompare as rc


class SimilarityMatrix:
    params = ([(3, 30, 20), (20, 500, 2000)], [1, 2], [False, True])
    param_names = ("L_n_p", "n_jobs", "hash_inputs")

    def setup(self, l_n_p, n_jobs, hash_inputs):
        count, n, p = l_n_p
        rng = np.random.default_rng(0)
        names = [f"image{i}" for i in range(n)]
        self.parts = {
            f"layer{i}": rc.representation(rng.standard_normal((n, p), dtype=np.float32), stimulus=names)
            for i in range(count)
        }

    def time_similarity_matrix(self, l_n_p, n_jobs, hash_inputs):
        rc.similarity_matrix(self.parts, measure="cka", n_jobs=n_jobs, hash_inputs=hash_inputs, progress=False)

    def peakmem_similarity_matrix(self, l_n_p, n_jobs, hash_inputs):
        rc.similarity_matrix(self.parts, measure="cka", n_jobs=n_jobs, hash_inputs=hash_inputs, progress=False)


class Compare:
    """A brain with repeats against models, with the statistics that a paper would show."""

    params = ([24, 200], ["cka", "rsa", "procrustes", "ridge"])
    param_names = ("n_stimuli", "measure")

    def setup(self, n, measure):
        self.brain, self.models = rc.simulate.brain_and_models(n_stimuli=n, n_units=40)
        self.few = 5 if n < 100 else 100

    def time_compare(self, n, measure):
        rc.compare(self.models, self.brain, measures=measure, progress=False)

    def time_ceiling(self, n, measure):
        rc.compare(self.models, self.brain, measures=measure, ceiling="split_half", n_splits=self.few, progress=False)

    def time_permutations(self, n, measure):
        rc.compare(self.models, self.brain, measures=measure, permutations=self.few, progress=False)


class Intervals:
    params = ([24, 200], ["cka", "rsa"])
    param_names = ("n_stimuli", "measure")

    def setup(self, n, measure):
        self.brain, self.models = rc.simulate.brain_and_models(n_stimuli=n, n_units=40)

    def time_confidence(self, n, measure):
        rc.compare(self.models, self.brain, measures=measure, confidence=0.95, progress=False)


class Import:
    def setup(self):
        pass

    def time_import(self):
        subprocess.run([sys.executable, "-c", "import repcompare"], check=True)
