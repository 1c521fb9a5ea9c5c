"""Tiny genuine files of every recording format, written as the format's own tools lay them out."""

from __future__ import annotations

import json

import h5py
import numpy as np
import scipy.io
import xarray as xr

TIMES = np.array([0.05, 0.15, 1.05, 2.31, 0.25, 1.3])  # s, of clusters
CLUSTERS = np.array([2, 2, 2, 2, 5, 5])
EVENTS = np.array([0.0, 1.0, 2.0])
IMAGES = ["cat", "dog", "cat"]
WINDOW = {"start": 0.0, "stop": 0.4, "width": 0.2}


def write_alf(folder):
    folder.mkdir()
    order = np.argsort(TIMES)
    np.save(folder / "spikes.times.npy", TIMES[order])
    np.save(folder / "spikes.clusters.npy", CLUSTERS[order].astype(np.uint16))
    np.save(folder / "clusters.channels.npy", np.array([0, 0, 1, 1, 0, 0]))
    np.save(folder / "clusters.depths.a1b2c3d4-0000-4000-8000-000000000000.npy", np.arange(6) * 20.0)
    np.save(folder / "channels.brainLocationAcronyms_ccf_2017.npy", np.array(["CA1", "VISp"]))
    np.save(folder / "_ibl_trials.intervals.npy", np.c_[EVENTS, EVENTS + 0.5])
    np.save(folder / "_ibl_trials.stimOn_times.npy", np.array([0.0, np.nan, 2.0]))
    (folder / "_ibl_trials.image.csv").write_text("image\ncat\ndog\ncat\n")
    return folder


def write_phy(folder):
    folder.mkdir()
    np.save(folder / "spike_times.npy", np.round(TIMES * 30000).astype(np.uint64)[:, None])
    np.save(folder / "spike_clusters.npy", CLUSTERS.astype(np.int32))
    (folder / "params.py").write_text(
        "dat_path = 'x.dat'\nimport os\nsample_rate = 30000.  # Hz\nhp_filtered = False\n"
    )
    (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tgood\n5\tmua\n")
    (folder / "cluster_info.tsv").write_text("cluster_id\tch\tbrain_region\n2\t7\tV4\n5\t\tIT\n")
    return folder


def write_spikes(file):
    np.savez(
        file,
        trial=np.array([0, 0, 1, 2, 2]),
        unit=np.array(["a", "b", "a", "a", "a"]),
        time=np.array([50, 350, 200, 0, 399]),
        stimulus=np.array([*IMAGES, "owl"]),
    )
    return file


def write_nlb(file):
    rates = np.arange(24.0).reshape(2, 3, 4)
    with h5py.File(file, "w") as f:
        for group in ("mc_maze", "mc_maze_20"):
            f[f"{group}/train_rates_heldin"] = rates
            f[f"{group}/eval_rates_heldin"] = rates + 100
            f[f"{group}/eval_rates_heldin_forward"] = rates[:, :2] + 200
    return file


def write_sensorium(folder, *, dynamic=False):
    n = 12
    kind = "videos" if dynamic else "images"
    for sub in ("data/responses", f"data/{kind}", "data/behavior", "meta/neurons", "meta/trials"):
        (folder / sub).mkdir(parents=True)
    tiers = np.array(["train"] * 8 + ["test"] * 2 + ["final_test"] * 2)
    for i in range(n):
        shape = (3, 60 + i % 2) if dynamic else (3,)
        response = np.zeros(shape) if tiers[i] == "final_test" else np.full(shape, float(i))
        np.save(folder / "data/responses" / f"{i}.npy", response)
        np.save(folder / "data" / kind / f"{i}.npy", np.full((1, 2, 2), i % 5, np.uint8))
    np.save(folder / "meta/neurons/unit_ids.npy", np.array([11, 12, 13]))
    np.save(folder / "meta/neurons/cell_motor_coordinates.npy", np.array([[100, 200, 300.0]] * 3))
    np.save(folder / "meta/trials/tiers.npy", tiers)
    if not dynamic:
        np.save(folder / "meta/trials/frame_image_id.npy", 1000 + np.arange(n) % 5)
    return folder


def write_predictions(file, *, mouse=False):
    rows = [[1.0, 2.0], [3.0, 4.5]]
    head = "mouse,trial_indices,prediction,neuron_ids" if mouse else "trial_indices,image_ids,prediction,neuron_ids"
    lines = [head]
    for i, row in enumerate(rows):
        cells = [[v, v + 1] for v in row] if mouse else row
        first = f"m1,{i}" if mouse else f"{i},{500 + i}"
        lines.append(f'{first},"{json.dumps(cells)}","[7, 9]"')
    file.write_text("\n".join(lines) + "\n")
    return file


def write_predictions_parquet(file, *, mouse=False):
    import pyarrow
    from pyarrow import parquet

    rows = [[1.0, 2.0], [3.0, 4.5]]
    columns = (
        {"mouse": ["m1", "m1"], "trial_indices": [0, 1]}
        if mouse
        else {"trial_indices": [0, 1], "image_ids": [500, 501]}
    )
    columns["prediction"] = [[[v, v + 1] for v in row] for row in rows] if mouse else rows
    columns["neuron_ids"] = [[7, 9], [7, 9]]
    parquet.write_table(pyarrow.table(columns), file, compression="brotli")
    return file


def write_experanto(folder, kind="npy"):
    folder.mkdir()
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    lines = "modality: sequence\nsampling_rate: 10.0\nstart_time: 2.5\nn_timestamps: 5\nn_signals: 2\ndtype: float32\n"
    if kind == "npy":
        np.save(folder / "data.npy", values)
    elif kind == "mem":
        values.tofile(folder / "data.mem")
    else:
        np.save(folder / "spikes.npy", TIMES)
        lines = "modality: spikes\nspike_indices:\n- 0\n- 4\n- 6\n"
    (folder / "meta.yml").write_text(lines)
    return folder


def write_raster(folder):
    folder.mkdir()
    for site, n in (("01A", 5), ("02B", 4)):
        labels = ["a", "b", "a", "b", "a"][:n]
        raster = np.zeros((n, 100), np.uint8)
        raster[np.arange(n), 51 + np.arange(n)] = 1  # ms 1, 2, ... after the event at sample 51 (from 1)
        ids = np.empty((1, n), object)
        ids[0] = labels
        place = np.empty((1, n), object)
        place[0] = [{"a": "left", "b": "right"}[x] for x in labels]
        content = {
            "raster_data": raster,
            "raster_labels": {"stimulus_ID": ids, "side": place},
            "raster_site_info": {"session_ID": 1001.0, "unit": site[-1], "alignment_event_time": 51.0, "depth": 3.5},
        }
        scipy.io.savemat(folder / f"bp{site}_raster_data.mat", content, do_compression=site == "01A")
    return folder


def write_mat(file):
    names = np.empty((1, 3), object)
    names[0] = ["cat", "dog", "owl"]
    scipy.io.savemat(
        file,
        {
            "V4": np.arange(12.0).reshape(3, 4),
            "deep": {"IT": np.arange(6.0).reshape(3, 2)},
            "names": names,
            "unit_depth": np.arange(4.0),
            "note": "hello",
        },
        do_compression=True,
    )
    return file


def _text(f, name, value):
    data = f.create_dataset(name, data=np.frombuffer(value.encode("utf-16-le"), "<u2")[:, None])
    data.attrs["MATLAB_class"] = np.bytes_("char")
    return data


def _cell(f, name, members):
    data = f.create_dataset(name, data=np.array([[m.ref] for m in members], dtype=h5py.ref_dtype))
    data.attrs["MATLAB_class"] = np.bytes_("cell")
    return data


def write_mat73(file):
    with h5py.File(file, "w", userblock_size=512) as f:
        f.create_dataset("V4", data=np.arange(12.0).reshape(3, 4).T).attrs["MATLAB_class"] = np.bytes_("double")
        _cell(f, "names", [_text(f, f"#refs#/{i}", w) for i, w in enumerate(("cat", "dög", "owl"))])
        empty = f.create_dataset("empty", data=np.array([0, 0], np.uint64))
        empty.attrs.update(MATLAB_class=np.bytes_("double"), MATLAB_empty=np.uint8(1))
        sparse = f.create_group("sparse")
        sparse.attrs.update(MATLAB_class=np.bytes_("double"), MATLAB_sparse=np.uint64(3))
        deep = f.create_group("deep")
        deep.attrs["MATLAB_class"] = np.bytes_("struct")
        deep.create_dataset("IT", data=np.arange(6.0).reshape(3, 2).T).attrs["MATLAB_class"] = np.bytes_("double")
    return stamped(file)


def stamped(file):
    data = bytearray(file.read_bytes())
    data[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    file.write_bytes(data)
    return file


TRIALS = [np.arange(8.0).reshape(2, 4), 10 + np.arange(8.0).reshape(2, 4)]


def write_fieldtrip(file):
    trial, time, label = (np.empty((1, 2), object) for _ in range(3))
    trial[0], label[0] = TRIALS, ["Cz", "Pz"]
    time[0] = [np.arange(4) / 10 - 0.1, np.arange(4) / 10 + 0.1]
    data = {
        "trial": trial,
        "time": time,
        "label": label.T,
        "trialinfo": np.array([[3.0, 7.0], [4.0, 7.0]]),
        "fsample": 10.0,
    }
    scipy.io.savemat(file, {"data": data})
    return file


def write_fieldtrip73(file):
    with h5py.File(file, "w", userblock_size=512) as f:
        data = f.create_group("data")
        data.attrs["MATLAB_class"] = np.bytes_("struct")
        numbers = [f.create_dataset(f"#refs#/t{i}", data=t.T) for i, t in enumerate(TRIALS)]
        clocks = [f.create_dataset(f"#refs#/c{i}", data=(np.arange(4) / 10)[:, None]) for i in range(2)]
        for d in (*numbers, *clocks):
            d.attrs["MATLAB_class"] = np.bytes_("double")
        _cell(f, "data/trial", numbers)
        _cell(f, "data/time", clocks)
        _cell(f, "data/label", [_text(f, f"#refs#/l{i}", w) for i, w in enumerate(("Cz", "Pz"))])
    return stamped(file)


def write_assembly(file, *, bins=2, order=("presentation", "neuroid", "time_bin"), ids=("a", "b", "a")):
    values = np.arange(3 * 2 * bins, dtype=np.float64).reshape(3, 2, bins)
    begin = 70 + 100 * np.arange(bins)
    da = xr.DataArray(
        values,
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", list(ids)),
            "repetition": ("presentation", [0, 0, 1]),
            "object_name": ("presentation", ["face", "çar", ""]),
            "neuroid_id": ("neuroid", [101, 102]),
            "region": ("neuroid", ["V4", "IT"]),
            "animal": ("neuroid", ["Kako", "Nano"]),
            "x": ("neuroid", [1, 2]),
            "time_bin_start": ("time_bin", begin),
            "time_bin_end": ("time_bin", begin + 100),
            "version": 3,
        },
        attrs={"stimulus_set_identifier": "hvm"},
    ).transpose(*order)
    da.to_dataset(name="data", promote_attrs=True).to_netcdf(file, engine="netcdf4")
    return file


OPTIONS = {"events": EVENTS, "stimulus": IMAGES, **WINDOW}
EVERY = {  # format -> how to write it under a folder, and the options to read it with
    "alf": (lambda p: write_alf(p / "alf"), {"stimulus": "image", **WINDOW}),
    "phy": (lambda p: write_phy(p / "phy"), OPTIONS),
    "spikes": (lambda p: write_spikes(p / "spikes.npz"), {"tick": 0.001, **WINDOW}),
    "nlb": (lambda p: write_nlb(p / "nlb.h5"), {"stimuli": "positional"}),
    "sensorium": (lambda p: write_sensorium(p / "static"), {}),
    "predictions": (lambda p: write_predictions(p / "predictions.csv"), {}),
    "experanto": (lambda p: write_experanto(p / "responses"), {}),
    "raster": (lambda p: write_raster(p / "raster"), {"start": 0.0, "stop": 0.04, "width": 0.01}),
    "mat": (lambda p: write_mat(p / "cells.mat"), {"stimuli": "names"}),
    "mat73": (lambda p: write_mat73(p / "cells73.mat"), {"stimuli": "names"}),
    "fieldtrip": (lambda p: write_fieldtrip(p / "ft.mat"), {"stimuli": "trialinfo"}),
    "fieldtrip73": (lambda p: write_fieldtrip73(p / "ft73.mat"), {"stimuli": ["a", "b"]}),
    "brainscore": (lambda p: write_assembly(p / "assy.nc"), {}),
}
