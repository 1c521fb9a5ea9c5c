"""Arrays on disk as dask arrays: values are the same, and nothing is read before it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

import repcompare as rc
from repcompare.labels.parts import parts_of
from tests.fuzz_files import genuine, known

LAZY = (
    "npy",
    "h5",
    "mat73",
    "nii",
    "torch",
    "safetensors",
    "thingsvision_chunks",
    "zarr3",
    "brainscore",
    "glmsingle_hdf5",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAZY)
def test_chunks_of_a_lazy_array(name):
    array = pytest.importorskip("dask.array")
    if name not in known():
        pytest.skip(f"{name}: its library is absent")
    with tempfile.TemporaryDirectory() as folder:
        sample = genuine(Path(folder), {name})[name]
        found = rc.read(sample.at(sample.root), **sample.options)
        ds = next(iter(parts_of(found).values()))
        chunked = ds.chunk({"unit": 2})
        assert isinstance(chunked["response"].data, array.Array)
        assert not ds["response"].variable._in_memory
        np.testing.assert_array_equal(chunked["response"].values, ds["response"].values)
        rc.validate(chunked.load())
        found.close()
