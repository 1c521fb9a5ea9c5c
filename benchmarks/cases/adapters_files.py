"""Files read in parts: what is read of them, how fast, and what opening them costs."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Data
from typing import Any

import h5py
import numpy as np

import data_adapters
import repcompare as rc
from cases._case import Case, Target, largest

READ_SHARE = 1 / 0.6  # at least 60 % of the speed of a plain read
BLOCK = 16 * 10**6  # bytes
COUNTER = Path("/proc/self/io")
FORMATS = "import time; t = time.process_time(); import data_adapters; {}; print(time.process_time() - t)"


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _names(n: int) -> list[str]:
    return [f"image_{i:05d}" for i in range(n)]


def _session(rng: np.random.Generator, quick: bool) -> Data:
    """An NWB file as its library lays it out: units with trains, columns and regions, and a table of trials."""
    units, trials, spikes = (5, 20, 50) if quick else (40, 300, 2000)
    path = _folder() / "session.nwb"
    with h5py.File(path, "w") as f:
        f.attrs["nwb_version"] = "2.6.0"
        table = f.create_group("units")
        table.attrs["colnames"] = ["spike_times", "quality"]
        table["id"] = np.arange(units)
        table["spike_times"] = np.sort(rng.uniform(0, trials, (units, spikes)), axis=1).ravel()
        table["spike_times_index"] = (np.arange(units, dtype=np.uint32) + 1) * spikes
        table["quality"] = np.array(["good"] * units, h5py.string_dtype())
        events = f.create_group("intervals/trials")
        events["id"] = np.arange(trials)
        events["start_time"], events["stop_time"] = np.arange(trials) + 0.1, np.arange(trials) + 0.9
        events["image"] = np.array([f"image{i % 20}" for i in range(trials)], h5py.string_dtype())
    return Data(size=f"{units} units, {units * spikes} spikes, {trials} trials", path=path)


def _read_session(data: Data) -> Any:
    ds = rc.read(data.path, stimulus="image")
    return len(ds["unit_id"]) + len(ds["stimulus_id"])


def _list_session(data: Data) -> Any:
    with h5py.File(data.path) as f:
        names = {name: {column: f[name][column].shape for column in f[name]} for name in ("units", "intervals/trials")}
    return names["units"]["id"][0] + names["intervals/trials"]["id"][0]


def _layers(rng: np.random.Generator, quick: bool) -> Data:
    """Layers in one HDF5 file and in one safetensors file."""
    n, p, layers = (60, 50, 3) if quick else (1000, 25_000, 5)
    folder = _folder()
    names = _names(n)
    values = rng.standard_normal((n, p), dtype=np.float32)
    with h5py.File(folder / "layers.h5", "w") as f:
        f["stimulus_id"] = np.array(names, "S")
        for i in range(layers):
            f[f"layer{i}"] = values
    spans = {f"layer{i}": [i * values.nbytes, (i + 1) * values.nbytes] for i in range(layers)}
    header = {k: {"dtype": "F32", "shape": [n, p], "data_offsets": at} for k, at in spans.items()}
    raw = json.dumps({"__metadata__": {"stimulus_id": json.dumps(names)}, **header}).encode()
    with open(folder / "layers.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for _ in range(layers):
            f.write(values.tobytes())
    size = f"{layers} layers of {values.nbytes / 1e6:g} MB, in blocks of rows"
    step = max(1, BLOCK // (4 * p))
    return Data(size=size, h5=folder / "layers.h5", st=folder / "layers.safetensors", step=step, n=n, layers=layers)


def _blocks(data: Data, path: Path) -> float:
    """Read all layers row by row; the sum of a corner tells that they were read."""
    total = 0.0
    with rc.read(path) as tree:
        for node in tree.children.values():
            response = node.dataset["response"].variable
            for first in range(0, data.n, data.step):
                total += float(response[first : first + data.step].values[0, 0])
    return total


def _plain_read(data: Data, path: Path) -> float:
    """Read the bytes of the file into one buffer, over and over; then, from h5py, what the answer must be."""
    buffer = bytearray(BLOCK)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass
    with h5py.File(data.h5) as f:
        corner = f["layer0"][:: data.step, 0]
    return float(sum(float(v) for v in corner) * data.layers)


def _larger(rng: np.random.Generator, quick: bool) -> Data:
    """A file of layers, of which the memory allowed holds only a few."""
    data = _layers(rng, quick)
    n, p, layers = (60, 50, 3) if quick else (1000, 25_000, 5)
    target = rc.representation(rng.standard_normal((n, 100), dtype=np.float32), stimulus=_names(n))
    # two states of a source and a target, the layer that is being read, and one more copy of it
    memory = int(1.3 * (4 * 8 * n * n + 2 * 4 * n * p)) + 10**6
    size = f"{layers} layers of {4e-6 * n * p:g} MB, memory={memory / 1e6:.0f} MB"
    return Data(size=size, h5=data.h5, target=target, memory=memory)


def _compared(data: Data, memory: int | None) -> Any:
    with rc.read(data.h5) as tree:
        source = tree if memory else tree.load()
        scores = rc.compare(source, data.target, measures=["cka"], memory=memory, n_jobs=1, progress=False)
    return scores["score"].values.ravel()


def _chunked(kind: str) -> Callable[[np.random.Generator, bool], Data]:
    """Return what makes a file of chunks of 10 rows, native netCDF or plain HDF5."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, p = (200, 2000) if quick else (2000, 20_000)
        folder, rows = _folder(), 10
        values = rng.standard_normal((n, p), dtype=np.float32)
        path = folder / f"rows.{kind}"
        if kind == "nc":
            ds = rc.representation(values, stimulus=_names(n))
            ds["response"].encoding["chunksizes"] = (rows, p)
            ds.to_netcdf(path, engine="netcdf4")
        else:
            with h5py.File(path, "w") as f:
                f["stimulus_id"] = np.array(_names(n), "S")
                f.create_dataset("layer", data=values, chunks=(rows, p))
        first, stop = n // 2 + 3, n // 2 + 3 + n // 10  # not on the edges of chunks
        chunks = -(-stop // rows) - first // rows
        size = f"{stop - first} of {n} rows, in chunks of {rows}: {chunks * rows * p * 4e-6:g} MB"
        return Data(size=size, path=path, rows=slice(first, stop), values=values, covered=chunks * rows * p * 4)

    return make


def _bytes() -> int:
    """Bytes that this process has read so far; 0 where the system does not count them."""
    return int(COUNTER.read_text().split()[1]) if COUNTER.exists() else 0


def _some_rows(data: Data) -> Any:
    """Return the rows, and the bytes read for them beyond those of opening the file."""
    with rc.read(data.path) as found:
        ds = found if "response" in found.data_vars else found["layer"].dataset
        before = _bytes()
        values = ds["response"].isel(stimulus=data.rows).values
        return values, (_bytes() - before) / data.covered


def _h5py_rows(data: Data) -> Any:
    with h5py.File(data.path) as f:
        return f["response" if "response" in f else "layer"][data.rows], 0.0


def _rows_and_bytes(ours: Any, peer: Any) -> float:
    """Largest difference of the rows; infinite when more than 1.1 times the bytes of their chunks were read."""
    return largest(ours[0], peer[0]) if ours[1] <= 1.1 else float("inf")


def _recording(rng: np.random.Generator, quick: bool) -> Data:
    """The folder of one mouse: a file of responses and a picture per trial."""
    n, units = (30, 4) if quick else (5000, 100)
    folder = _folder() / "mouse"
    for sub in ("data/responses", "data/images", "meta/neurons", "meta/trials"):
        (folder / sub).mkdir(parents=True)
    for i, row in enumerate(rng.random((n, units), dtype=np.float32)):
        np.save(folder / "data/responses" / f"{i}.npy", row)
        np.save(folder / "data/images" / f"{i}.npy", np.full((1, 2, 2), i % 200, np.uint8))
    np.save(folder / "meta/neurons/unit_ids.npy", np.arange(units))
    np.save(folder / "meta/trials/tiers.npy", np.array(["train"] * n))
    return Data(size=f"{2 * n} files, {n} trials, {units} units", folder=folder, n=n)


def _loaded(data: Data) -> Any:
    """numpy, one file after the other: the responses, and the pictures that say which stimulus it was."""
    rows = [np.load(data.folder / "data/responses" / f"{i}.npy") for i in range(data.n)]
    for i in range(data.n):
        np.load(data.folder / "data/images" / f"{i}.npy")
    return np.stack(rows)


def _seconds(call: str) -> str:
    path = os.pathsep.join([str(Path(data_adapters.__file__).parents[1]), *sys.path])
    done = [sys.executable, "-c", FORMATS.format(call)]
    return subprocess.run(
        done, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    ).stdout


def _loads_little(ours: Any, peer: Any) -> float:
    return float(max(0.0, float(ours) - 0.1))


CASES = (
    Case(
        name="nwb_open",
        peer_name="h5py: open, list units and trials",
        library="h5py",
        make=_session,
        ours=_read_session,
        peer=_list_session,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 0.05),
        note="ours also counts the spikes of each trial",
    ),
    Case(
        name="hdf5_layers",
        peer_name="plain read of the file into one buffer",
        library="h5py",
        make=_layers,
        ours=lambda data: _blocks(data, data.h5),
        peer=lambda data: _plain_read(data, data.h5),
        agree=largest,
        tolerance=1e-3,
        target=Target("cost", READ_SHARE),
        note="the speed that matters for files larger than memory: with a cold cache both wait for the disk",
    ),
    Case(
        name="safetensors_layers",
        peer_name="plain read of the file into one buffer",
        library="h5py",
        make=_layers,
        ours=lambda data: _blocks(data, data.st),
        peer=lambda data: _plain_read(data, data.st),
        agree=largest,
        tolerance=1e-3,
        target=Target("cost", READ_SHARE),
    ),
    Case(
        name="cka_from_file",
        peer_name="ours with all layers in memory",
        library="h5py",
        make=_larger,
        ours=lambda data: _compared(data, data.memory),
        peer=lambda data: _compared(data, None),
        agree=largest,
        tolerance=0.0,
        target=Target("cost", 1.1),
        note="with --memory: the peak of ours stays below memory=; each layer is read once",
    ),
    *(
        Case(
            name=f"{name}_rows",
            peer_name="h5py, the same rows",
            library="h5py",
            make=_chunked(suffix),
            ours=_some_rows,
            peer=_h5py_rows,
            agree=_rows_and_bytes,
            tolerance=0.0,
            note="answers differ when ours reads more than 1.1 times the bytes of the chunks; ours also opens with labels",
        )
        for name, suffix in (("netcdf", "nc"), ("hdf5", "h5"))
    ),
    Case(
        name="sensorium",
        peer_name="numpy: load every file",
        library="numpy",
        make=_recording,
        ours=lambda data: rc.read(data.folder)["response"].values,
        peer=_loaded,
        agree=largest,
        tolerance=0.0,
        target=Target("within", 3.0),
        note="ours also names the stimuli by the content of the pictures",
    ),
    Case(
        name="formats",
        peer_name="plain python",
        library="numpy",
        make=lambda rng, quick: Data(size="subprocess"),
        ours=lambda data: _seconds("data_adapters.formats()"),
        peer=lambda data: _seconds("None"),
        agree=_loads_little,
        tolerance=0.0,
        target=Target("above", 0.02),
        note="both import data_adapters; the difference is the table alone, which imports no reader",
    ),
)
