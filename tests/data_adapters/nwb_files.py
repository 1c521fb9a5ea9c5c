"""NWB files as pynwb and hdmf-zarr write them, and the zarr layout by hand; the values are the same in each."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

TRAINS = [np.array([0.05, 0.15, 1.05, 2.31]), np.array([]), np.arange(0, 3, 0.01)]
OBSERVED = [[[0.0, 3.0]], [[0.0, 1.2], [1.5, 3.0]], [[0.0, 1.0], [1.0, 2.6]]]
ELECTRODES = [[0], [1], [1, 2]]
QUALITY = ["good", "noise", "good"]
IMAGES = ["cat", "dög", "cat"]
GO = [0.1, np.nan, 2.1]
LFP = np.arange(10, dtype=np.int16).reshape(5, 2)
FACTORS = [1.0, 3.0]
PUPIL = np.arange(6.0)


def genuine(**series):
    """Return an NWBFile with ragged columns, regions, observed intervals, and two clocks."""
    from pynwb import NWBFile, TimeSeries
    from pynwb.ecephys import LFP as LFPContainer
    from pynwb.ecephys import ElectricalSeries

    nwb = NWBFile("a test", "id", datetime(2020, 1, 1, tzinfo=UTC))
    group = nwb.create_electrode_group("g", "d", "V1", nwb.create_device("probe"))
    for i, place in enumerate(["V1", "V4", "IT"]):
        nwb.add_electrode(x=1.0 * i, y=2.0, z=3.0, location=place, group=group)
    nwb.add_unit_column("quality", "by hand")
    nwb.add_unit_column("features", "ragged", index=True)
    nwb.add_unit_column("nested", "doubly ragged", index=2)
    for i, train in enumerate(TRAINS):
        nwb.add_unit(
            spike_times=train,
            quality=QUALITY[i],
            obs_intervals=np.array(OBSERVED[i]),
            electrodes=ELECTRODES[i],
            features=list(np.arange(i + 1.0)),
            nested=[[1.0] * i, [2.0, 3.0]],
        )
    for name in ("image", "go", "correct"):
        nwb.add_trial_column(name, name)
    nwb.add_trial_column("licks", "ragged", index=True)
    for i in range(3):
        nwb.add_trial(
            start_time=1.0 * i,
            stop_time=i + 0.5,
            image=IMAGES[i],
            go=GO[i],
            correct=bool(i % 2),
            licks=list(np.arange(1.0 * i)),
        )
    region = nwb.create_electrode_table_region([0, 1], "two")
    lfp = ElectricalSeries(
        "lfp", LFP, region, starting_time=10.0, rate=100.0, conversion=0.5, offset=1.0, channel_conversion=FACTORS
    )
    nwb.create_processing_module("ecephys", "e").add(LFPContainer(lfp))
    nwb.add_acquisition(TimeSeries("pupil", data=PUPIL, unit="mm", timestamps=PUPIL / 7))
    for name, values in series.items():
        nwb.add_acquisition(TimeSeries(name, data=values, unit="mm", rate=1.0))
    return nwb


def write_hdf5(file, nwb=None):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(file, "w") as io:
        io.write(nwb or genuine())
    return file


def write_zarr(folder):
    from hdmf_zarr.nwb import NWBZarrIO

    with NWBZarrIO(str(folder), "w") as io:
        io.write(genuine())
    return folder


def write_zarr_by_hand(folder, *, extra=()):
    """Write the layout of hdmf-zarr with zarr of version 2 or 3; ``extra``: further arrays by path."""
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=2) if zarr.__version__ >= "3" else zarr.open_group(folder)
    root.attrs["nwb_version"] = "2.6.0"
    table = "general/extracellular_ephys/electrodes"
    arrays = {
        "units/id": np.arange(3),
        "units/spike_times": np.concatenate(TRAINS),
        "units/spike_times_index": np.cumsum([len(t) for t in TRAINS]).astype(np.uint16),
        "units/quality": QUALITY,
        "units/obs_intervals": np.concatenate([np.array(o) for o in OBSERVED]),
        "units/obs_intervals_index": np.cumsum([len(o) for o in OBSERVED]).astype(np.uint8),
        "units/electrodes": np.concatenate(ELECTRODES).astype(np.int64),
        "units/electrodes_index": np.cumsum([len(e) for e in ELECTRODES]).astype(np.uint8),
        f"{table}/location": ["V1", "V4", "IT"],
        "intervals/trials/id": np.arange(3),
        "intervals/trials/start_time": np.arange(3.0),
        "intervals/trials/stop_time": np.arange(3) + 0.5,
        "intervals/trials/image": IMAGES,
        "intervals/trials/go": np.array(GO),
        "intervals/trials/correct": np.arange(3) % 2 == 1,
        "processing/ecephys/LFP/lfp/data": LFP,
        "processing/ecephys/LFP/lfp/channel_conversion": np.array(FACTORS),
        "processing/ecephys/LFP/lfp/starting_time": np.array([10.0]),
        "acquisition/pupil/data": PUPIL,
        "acquisition/pupil/timestamps": PUPIL / 7,
        **dict(extra),
    }
    attrs = {
        "processing/ecephys/LFP/lfp/data": {"conversion": 0.5, "offset": 1.0, "unit": "volts"},
        "processing/ecephys/LFP/lfp/starting_time": {"rate": 100.0},
        "acquisition/pupil/data": {"unit": "mm", "conversion": 1.0, "offset": 0.0},
    }
    for path, values in arrays.items():
        array = _create(root, path, values)
        array.attrs.update(attrs.get(path, {}))
    return folder


def _create(root, path, values):
    import zarr

    text = isinstance(values, list)
    if zarr.__version__ >= "3":
        array = root.create_array(
            path, shape=(len(values),) if text else values.shape, dtype=str if text else values.dtype
        )
    else:
        array = root.require_group(path.rpartition("/")[0]).create_dataset(
            path.rpartition("/")[2], shape=(len(values),) if text else values.shape, dtype=str if text else values.dtype
        )
    array[...] = np.array(values, dtype=object if text else None)
    return array
