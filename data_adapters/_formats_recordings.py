"""The formats of recordings: how each is recognised, and its reader, imported when called."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from repcompare.labels.formats import Format

HERE = "data_adapters"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def _reader(function: str, module: str, expected: str, options: str, name: str) -> Callable[..., Any]:
    """Return a reader that parses its options and imports its module only when it is called."""

    def read(path: str, **given: Any) -> Any:
        from data_adapters._guard import guard
        from data_adapters._options import parse

        home = import_module(f"{HERE}.{module}")
        chosen = parse(getattr(home, options), given, name)
        with guard(str(path), expected):
            return getattr(home, function)(path, chosen)

    return read


def _object_reader(function: str, module: str) -> Callable[..., Any]:
    def read(obj: Any, **given: Any) -> Any:
        from data_adapters._guard import guard

        with guard(type(obj).__name__, "an object with its usual attributes"):
            return getattr(import_module(f"{HERE}.{module}"), function)(obj, **given)

    return read


def _folder(function: str, module: str) -> Callable[[str, bytes], bool]:
    """Return the detector of a kind of folder."""

    def detect(path: str, head: bytes) -> bool:
        return not head and os.path.isdir(path) and bool(getattr(import_module(f"{HERE}.{module}"), function)(path))

    return detect


def _hdf5(function: str, module: str) -> Callable[[str, bytes], bool]:
    def detect(path: str, head: bytes) -> bool:
        is_hdf5 = any(head[at : at + 8] == HDF5_MAGIC for at in (0, 512))
        return is_hdf5 and bool(getattr(import_module(f"{HERE}.{module}"), function)(path))

    return detect


def _accepts(function: str, module: str) -> Callable[[Any], bool]:
    def accepts(obj: Any) -> bool:
        return bool(getattr(import_module(f"{HERE}.{module}"), function)(obj))

    return accepts


def _never(path: str, head: bytes) -> bool:
    return False


def _detect_raster(path: str, head: bytes) -> bool:
    if head and not path.endswith("_raster_data.mat"):
        return False
    from data_adapters.matlab.raster import is_raster

    return (bool(head) or os.path.isdir(path)) and is_raster(path)


def _detect_mat(path: str, head: bytes) -> bool:
    if not head.startswith(b"MATLAB "):
        return False
    from data_adapters.matlab._peek import is_variables

    return is_variables(path, head)


def _detect_flat(path: str, head: bytes) -> bool:
    if not head.startswith(b"PK\x03\x04") or not path.lower().endswith(".npz"):
        return False
    from data_adapters.spikes.flat import is_flat

    return is_flat(path)


def _detect_predictions(path: str, head: bytes) -> bool:
    if b"trial_indices" not in head and not head.startswith(b"PAR1"):
        return False
    from data_adapters.spikes.predictions import is_predictions

    return is_predictions(path, head)


def _detect_fif(path: str, head: bytes) -> bool:
    return head.startswith(b"\x00\x00\x00\x64\x00\x00\x00\x1f")


def _write_brainscore(obj: Any, path: Any) -> None:
    from data_adapters.brainscore.writer import write

    write(obj, path)


def _read_spikes(path: Any, **given: Any) -> Any:
    if isinstance(path, str):
        return _reader("read_flat", "spikes.flat", "an npz file of spikes", "FlatOptions", "spikes")(path, **given)
    return _object_reader("read_spikes", "spikes.objects")(path, **given)


def _read_brainscore(path: Any, **given: Any) -> Any:
    if isinstance(path, str):
        reader = _reader(
            "read_brainscore", "brainscore.reader", "a netCDF4 file of an assembly", "BrainScoreOptions", "brainscore"
        )
        return reader(path, **given)
    return _object_reader("read_assembly", "brainscore.reader")(path, **given)


RASTER = Format(
    name="raster",
    suffixes=("_raster_data.mat",),
    extra="",
    reads="folder of *_raster_data.mat, one file per site, as a pseudo-population",
    detect=_detect_raster,
    read=_reader("read_raster", "matlab.raster", "a folder of rasters", "RasterOptions", "raster"),
    rank=22,
    sequential=True,
)
MAT = Format(
    name="mat",
    suffixes=(".mat",),
    extra="",
    reads="MATLAB variables as parts (5 to 7.3), FieldTrip structs as trials; variable= chooses",
    detect=_detect_mat,
    read=_reader("read_mat", "matlab.generic", "a MATLAB file", "MatOptions", "mat"),
    rank=6,
)
ALF = Format(
    name="alf",
    suffixes=(),
    extra="",
    reads="folder of spikes.times.npy, clusters.*, trials.* around trials",
    detect=_folder("is_alf", "spikes.sorted"),
    read=_reader("read_alf", "spikes.sorted", "a folder of ALF files", "EventOptions", "alf"),
    rank=20,
)
PHY = Format(
    name="phy",
    suffixes=(),
    extra="",
    reads="folder of spike_times.npy in samples, good clusters around events=",
    detect=_folder("is_phy", "spikes.sorted"),
    read=_reader("read_phy", "spikes.sorted", "a folder of phy", "PhyOptions", "phy"),
    rank=20,
)
SPIKES = Format(
    name="spikes",
    suffixes=(".npz",),
    extra="",
    reads="object: or npz file of arrays trial, unit, time (one entry per spike)",
    detect=_detect_flat,
    read=_read_spikes,
    rank=15,
    accepts=_accepts("is_spikes", "spikes.objects"),
    sequential=True,
)
NLB = Format(
    name="nlb",
    suffixes=(".h5",),
    extra="",
    reads="Neural Latents Benchmark: rates or spikes of trials in 5 or 20 ms bins",
    detect=_hdf5("is_nlb", "spikes.nlb"),
    read=_reader("read_nlb", "spikes.nlb", "an HDF5 file of the Neural Latents Benchmark", "NlbOptions", "nlb"),
    rank=18,
)
SENSORIUM = Format(
    name="sensorium",
    suffixes=(),
    extra="",
    reads="folder of trials with pictures or films, tiers; withheld responses become NaN",
    detect=_folder("is_sensorium", "spikes.sensorium"),
    read=_reader("read_sensorium", "spikes.sensorium", "a Sensorium folder", "SensoriumOptions", "sensorium"),
    rank=20,
    sequential=True,
)
PREDICTIONS = Format(
    name="predictions",
    suffixes=(".csv", ".parquet"),
    extra="",
    reads="table of predictions for Sensorium: lists as text, or parquet (needs pyarrow)",
    detect=_detect_predictions,
    read=_reader(
        "read_predictions", "spikes.predictions", "a table of predictions", "PredictionOptions", "predictions"
    ),
    rank=12,
    sequential=True,
)
EXPERANTO = Format(
    name="experanto",
    suffixes=(),
    extra="",
    reads="folder with meta.yml: continuous signals, or spikes around events=",
    detect=_folder("is_experanto", "spikes.experanto"),
    read=_reader("read_experanto", "spikes.experanto", "an Experanto folder", "EventOptions", "experanto"),
    rank=18,
)
BRAINSCORE = Format(
    name="brainscore",
    suffixes=(".nc",),
    extra="",
    reads="object: xarray, or netCDF with dims presentation, neuroid[, time_bin]; also written",
    detect=_hdf5("is_brainscore", "brainscore.reader"),
    read=_read_brainscore,
    rank=28,
    accepts=_accepts("is_assembly", "brainscore.reader"),
    write=_write_brainscore,
)
FIF = Format(
    name="fif",
    suffixes=(".fif",),
    extra="meeg",
    reads="epochs of magneto- or electroencephalography",
    detect=_detect_fif,
    read=_reader("read_fif", "meeg.objects", "a .fif file of epochs", "EpochOptions", "fif"),
    rank=10,
    sequential=True,
)
EPOCHS = Format(
    name="epochs",
    suffixes=(),
    extra="",
    reads="object: mne.Epochs as presentation x unit x time",
    detect=_never,
    read=_object_reader("read_epochs", "meeg.objects"),
    rank=20,
    accepts=_accepts("is_epochs", "meeg.objects"),
)
NEO = Format(
    name="neo",
    suffixes=(),
    extra="",
    reads="object: neo Block, Segment or SpikeTrain around events",
    detect=_never,
    read=_object_reader("read_neo", "spikes.objects"),
    rank=20,
    accepts=_accepts("is_neo", "spikes.objects"),
)
SPIKEINTERFACE = Format(
    name="spikeinterface",
    suffixes=(),
    extra="",
    reads="object: spikeinterface sorting around events=",
    detect=_never,
    read=_object_reader("read_sorting", "spikes.objects"),
    rank=20,
    accepts=_accepts("is_sorting", "spikes.objects"),
)
