"""NWB files written by pynwb and hdmf-zarr, compared value by value with what those read themselves."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

import data_adapters
import repcompare as rc
from repcompare.errors import FormatError, MissingExtraError, OptionError
from repcompare.labels.formats import detect
from tests.data_adapters import nwb_files as files

WINDOW = {"stimulus": "image", "start": 0.0, "stop": 0.2, "width": 0.1}


def write(kind, folder):
    if kind == "pynwb":
        pytest.importorskip("pynwb")
        return files.write_hdf5(folder / "a.nwb")
    if kind == "hdmf-zarr":
        pytest.importorskip("hdmf_zarr")
        return files.write_zarr(folder / "a.nwb.zarr")
    pytest.importorskip("zarr")
    store = files.write_zarr_by_hand(folder / "a.nwb.zarr")
    if kind == "zarr":
        return store
    return type(store)(shutil.make_archive(str(folder / "zipped"), "zip", store))


KINDS = ["pynwb", "hdmf-zarr", "zarr", "zip"]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_around_trials(tmp_path, kind):
    file = write(kind, tmp_path)
    assert detect(str(file)).name == "nwb"
    ds = data_adapters.read(file, **WINDOW)
    bins = [(0.0, 0.1), (0.1, 0.2)]  # half-open
    expected = [[[((t >= i + a) & (t < i + b)).sum() for a, b in bins] for t in files.TRAINS] for i in range(3)]
    np.testing.assert_array_equal(ds["response"].values, expected)
    assert ds["unit_id"].values.tolist() == ["0", "1", "2"] and ds["unit_quality"].values.tolist() == files.QUALITY
    assert ds["unit_region"].values.tolist() == ["V1", "V4", "V4;IT"]
    assert ds["stimulus_id"].values.tolist() == files.IMAGES and ds["repeat"].values.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(ds["stimulus_go"].values, files.GO)
    assert ds["stimulus_correct"].values.tolist() == [False, True, False]
    rates = data_adapters.read(file, stimulus="image", units="quality == 'good'")
    assert rates["response"].values.tolist() == [[4, 100], [2, 100], [2, 100]]
    late = data_adapters.read(file, events=[1.3, 2.0], stimulus=["a", "b"], start=0.0, stop=0.5)
    assert np.isnan(late["response"].values).tolist() == [[False, True, False], [False, False, False]]
    with pytest.raises(
        OptionError, match=r"no table of events 'trails'; found tables trials \(3 rows: .*image.*did you mean"
    ):
        data_adapters.read(file, events="trails")


@pytest.mark.parametrize("kind", KINDS)
def test_series_in_physical_units(tmp_path, kind):
    file = write(kind, tmp_path)
    lfp = data_adapters.read(file, series="lfp")
    assert not lfp["response"].variable._in_memory
    np.testing.assert_allclose(lfp["response"].values, files.LFP * 0.5 * np.array(files.FACTORS) + 1)
    np.testing.assert_allclose(
        lfp["response"][2:4, [1]].values, (files.LFP * 0.5 * np.array(files.FACTORS) + 1)[2:4, 1:]
    )
    np.testing.assert_allclose(lfp["time"].values, 10 + np.arange(5) / 100)
    assert lfp.attrs["response_units"] == "volts"
    pupil = data_adapters.read(file, series="pupil")
    np.testing.assert_array_equal(pupil["response"].values[:, 0], files.PUPIL)
    np.testing.assert_array_equal(pupil["time"].values, files.PUPIL / 7)
    with pytest.raises(OptionError, match="start= counts spikes around events; a time series is continuous"):
        data_adapters.read(file, series="lfp", start=0.0, stop=1.0)
    with pytest.raises(OptionError, match="no series 'lfq'; known: acquisition/pupil, processing/ecephys/LFP/lfp"):
        data_adapters.read(file, series="lfq")
    lfp.close()


def test_everything_agrees_with_what_pynwb_reads(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    file = write("pynwb", tmp_path)
    ds = data_adapters.read(file, stimulus="image")
    with pynwb.NWBHDF5IO(file, "r") as io:
        nwb = io.read()
        units, trials = nwb.units.to_dataframe(), nwb.trials.to_dataframe()
        for i, times in enumerate(units["spike_times"]):
            for j, (start, stop) in enumerate(zip(trials["start_time"], trials["stop_time"], strict=True)):
                inside = ((times >= start) & (times < stop)).sum() / (stop - start)
                found = float(ds["response"][j, i])
                assert np.isnan(found) or found == pytest.approx(inside)
        regions = [";".join(dict.fromkeys(e["location"])) for e in units["electrodes"]]
        assert ds["unit_region"].values.tolist() == regions
        assert ds["unit_quality"].values.tolist() == units["quality"].tolist()
        for name in ("start_time", "stop_time", "go", "correct"):
            np.testing.assert_array_equal(ds[f"stimulus_{name}"].values, trials[name].to_numpy())
        series = nwb.processing["ecephys"]["LFP"]["lfp"]
        physical = series.data[:] * series.conversion * series.channel_conversion[:] + series.offset
        np.testing.assert_allclose(data_adapters.read(file, series="lfp")["response"].values, physical)
    assert np.isnan(ds["response"].values).sum() == 1  # the trial of 1.0 to 1.5 s, of which unit 1 saw 0.2 s


def test_links_to_another_file_are_refused(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    other = files.write_hdf5(tmp_path / "other.nwb", files.genuine(gaze=files.PUPIL))
    manager = pynwb.get_manager()
    with pynwb.NWBHDF5IO(other, "r", manager=manager) as source:
        nwb = files.genuine()
        nwb.add_acquisition(source.read().acquisition["gaze"])  # becomes an external link
        with pynwb.NWBHDF5IO(tmp_path / "linked.nwb", "w", manager=manager) as io:
            io.write(nwb)
    with pytest.raises(FormatError, match=r"acquisition/gaze is a link to another file .*copy them into it"):
        data_adapters.read(tmp_path / "linked.nwb", series="gaze")


def test_zarr_links_stay_in_the_store(tmp_path):
    store = write("zarr", tmp_path)
    link = {"name": "copy", "source": ".", "path": "/intervals/trials"}
    (store / "intervals" / ".zattrs").write_text(json.dumps({"zarr_link": [link]}))
    assert data_adapters.read(store, events="copy", **WINDOW)["stimulus_id"].values.tolist() == files.IMAGES
    link["source"] = "/home/someone/other.nwb.zarr"
    (store / "intervals" / ".zattrs").write_text(json.dumps({"zarr_link": [link]}))
    with pytest.raises(FormatError, match=r"/intervals/copy is a link to another file \(/home/someone/other"):
        data_adapters.read(store, events="copy", **WINDOW)
    link |= {"source": ".", "path": "/intervals/copy"}
    (store / "intervals" / ".zattrs").write_text(json.dumps({"zarr_link": [link]}))
    with pytest.raises(FormatError, match="more than 16 links in a row"):
        data_adapters.read(store, events="copy", **WINDOW)


def test_pickled_columns_are_left_alone(tmp_path):
    store = write("zarr", tmp_path)
    file = store / "intervals" / "trials" / "image" / ".zarray"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "filters": [{"id": "pickle", "protocol": 5}]}))
    assert "stimulus_image" not in data_adapters.read(store, stimulus="correct", start=0.0, stop=0.1)
    file = store / "general" / "extracellular_ephys" / "electrodes" / "location" / ".zarray"
    file.write_text(json.dumps({**about, "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(FormatError, match="electrodes/location: is pickled, which is never loaded"):
        data_adapters.read(store, **WINDOW)


def test_pieces_of_a_store_that_are_lost(tmp_path):
    store = write("zarr", tmp_path)
    (store / "processing/ecephys/LFP/lfp/data/0.0").unlink()
    assert "1 of 1 chunks are not stored: read as 0" in data_adapters.read(store, series="lfp").attrs["history"]
    (store / "units/spike_times/0").unlink()
    with pytest.raises(FormatError, match="units/spike_times: 1 of 1 chunks are not stored"):
        data_adapters.read(store, **WINDOW)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(16, 0x10000003, "declares 268435459 texts; expected 3"), (20, 0x7FFFFFF0, "leaves its piece")],
)
def test_text_in_zarr_declares_only_what_it_holds(tmp_path, at, value, message):
    store = write("zarr", tmp_path)
    folder = store / "intervals/trials/image"
    packed = bytearray(folder.joinpath("0").read_bytes())
    about = json.loads((folder / ".zarray").read_text())
    import numcodecs

    raw = bytearray(numcodecs.get_codec(about["compressor"]).decode(bytes(packed))) if about["compressor"] else packed
    raw[at - 16 : at - 12] = value.to_bytes(4, "little")
    (folder / "0").write_bytes(raw)
    (folder / ".zarray").write_text(json.dumps({**about, "compressor": None}))
    with pytest.raises(FormatError, match=message):
        data_adapters.read(store, **WINDOW)


def test_zarr_needs_its_extra_and_what_is_declared_must_be_stored(tmp_path, monkeypatch):
    store = write("zarr", tmp_path)
    file = store / "units" / "spike_times" / ".zarray"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "shape": [10**8]}))
    with pytest.raises(FormatError, match=r"units/spike_times: declares \(100000000,\) float64 = 800000000 bytes"):
        data_adapters.read(store, **WINDOW)
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert detect(str(store)).name == "nwb"
    with pytest.raises(MissingExtraError, match=r"repcompare\[zarr\]"):
        rc.read(store, **WINDOW)
