"""Network layers against macaque V4, through the command line: the job people come for."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import repcompare as rc

pytestmark = pytest.mark.data
LAYERS = ("block0", "block7", "block15")


@pytest.fixture(scope="module")
def folder(data_dir, tmp_path_factory):
    """Native files of session 190923 and of three EfficientNet layers; images are shared by name."""
    folder = tmp_path_factory.mktemp("v4")
    activations = data_dir / "v4_cowley2023" / "activations" / "efficientnet_lite0_session190923.npz"
    responses = data_dir / "v4_cowley2023" / "responses_avg" / "responses_190923.npy"
    brain = rc.read(responses, dims=("unit", "stimulus"), stimuli=str(activations), modality="spikes")
    tree = rc.read(activations)
    layers = {name: tree[name].to_dataset() for name in LAYERS}
    rc.save(brain, folder / "v4.nc")
    rc.save(layers, folder / "net.nc")
    order = np.random.default_rng(0).permutation(brain.sizes["stimulus"])
    rc.save(brain.isel(stimulus=order), folder / "v4_permuted.nc")
    rc.save(brain.isel(stimulus=np.delete(np.arange(1200), 7)), folder / "v4_short.nc")
    return folder


def run(folder, target, *extra):
    command = [sys.executable, "-m", "repcompare.cli", "compare", "net.nc", target, "--json"]
    measures = [part for name in ("cka", "rsa", "ridge") for part in ("-m", name)]
    return subprocess.run([*command, *measures, *extra], cwd=folder, capture_output=True, text=True)


def scores(done):
    return {(row["source"], row["measure"]): row["score"] for row in json.loads(done.stdout)["scores"]}


def test_layer_table_and_row_order(folder):
    done = run(folder, "v4.nc")
    assert done.returncode == 0, done.stderr
    found = scores(done)
    assert len(found) == 9
    ridge = [found[(layer, "ridge")] for layer in LAYERS]
    assert ridge[1] > ridge[0] + 0.1  # V4 is predicted best by the middle of the network
    assert ridge[1] > ridge[2]
    assert 0.4 < ridge[1] < 0.7
    assert scores(run(folder, "v4_permuted.nc")) == found


def test_a_dropped_image_is_named(folder):
    done = run(folder, "v4_short.nc")
    assert done.returncode == 4
    assert "'image0008.jpg'" in done.stderr
    done = run(folder, "v4_short.nc", "--stimuli", "intersection")
    assert done.returncode == 0
    assert "1199 shared stimuli (1 others left out)" in done.stderr
    assert "'image0008.jpg'" in done.stderr
