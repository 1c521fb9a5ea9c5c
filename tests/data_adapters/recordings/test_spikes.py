from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.formats import detect
from tests.data_adapters.recordings.files import (
    CLUSTERS,
    EVENTS,
    IMAGES,
    OPTIONS,
    TIMES,
    WINDOW,
    write_alf,
    write_experanto,
    write_nlb,
    write_phy,
    write_predictions,
    write_sensorium,
    write_spikes,
)

UNIT_2 = [[2, 0], [1, 0], [0, 1]]  # spikes of cluster 2 around the events: 0.05 0.15 | 1.05 | 2.31
UNIT_5 = [[0, 1], [0, 1], [0, 0]]


def test_alf(tmp_path):
    folder = write_alf(tmp_path / "probe")
    assert detect(str(folder)).name == "alf"
    ds = rc.read(folder, stimulus="image", **WINDOW)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["response"].values[:, 1].tolist() == UNIT_5
    assert ds["unit_id"].values.tolist() == ["2", "5"]
    assert ds["unit_region"].values.tolist() == ["VISp", "CA1"]
    assert ds["unit_depths"].values.tolist() == [40, 100]
    assert ds["stimulus_id"].values.tolist() == IMAGES and ds["repeat"].values.tolist() == [0, 0, 1]
    assert ds.attrs["response_units"] == "count" and ds.attrs["source"] == "probe (alf)"
    np.testing.assert_allclose(ds["time"].values, [0.1, 0.3])
    aligned = rc.read(folder, stimulus="image", align="stimOn_times", start=0, stop=0.2, units=["2"])
    assert aligned["response"].values.tolist() == [[2], [0]]
    whole = rc.read(folder, stimulus="image")  # rates between the intervals of trials
    np.testing.assert_allclose(whole["response"].values, [[4, 2], [2, 2], [2, 0]])


def test_alf_trials_may_lie_in_the_folder_above(tmp_path):
    folder = write_alf(tmp_path / "alf")
    for file in list(folder.glob("_ibl_trials*")):
        file.rename(tmp_path / file.name)
    ds = rc.read(folder, stimulus="image", **WINDOW)
    assert ds["response"].values[:, 0].tolist() == UNIT_2
    assert "trials: of the folder above" in ds.attrs["history"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spikes.times.npy", np.arange(3.0), "expected the same number"),
        ("spikes.times.npy", np.arange(6), "expected seconds"),
        ("clusters.channels.npy", np.array([0, 0, 9, 0, 0, 0]), "row 9 of 2 channels"),
        ("clusters.channels.npy", np.zeros(3, int), "clusters.channels has 3 rows"),
    ],
)
def test_alf_that_does_not_fit_together(tmp_path, name, value, message):
    folder = write_alf(tmp_path / "alf")
    np.save(folder / name, value)
    with pytest.raises(FormatError, match=message):
        rc.read(folder, stimulus="image", **WINDOW)


def test_phy(tmp_path):
    folder = write_phy(tmp_path / "phy")
    assert detect(str(folder)).name == "phy"
    ds = rc.read(folder, **OPTIONS)
    assert ds["unit_id"].values.tolist() == ["2"] and ds["unit_region"].values.tolist() == ["V4"]
    assert ds["response"].values[:, 0].tolist() == UNIT_2
    assert any("1 of 2 clusters are not of group 'good'" in line for line in ds.attrs["history"])
    assert any("30000 Hz from params.py" in line for line in ds.attrs["history"])
    both = rc.read(folder, **OPTIONS, units={"group": ["good", "mua"]})
    assert both["response"].values[:, 1].tolist() == UNIT_5
    assert np.isnan(both["unit_ch"].values[1])
    halved = rc.read(folder, **{**OPTIONS, "stop": 0.2, "width": None}, sample_rate=60000)
    assert halved["response"].values[:, 0].tolist() == [2, 1, 0]  # 0.025 0.075 | 1.155; 0.525 is outside


def test_phy_says_what_is_missing(tmp_path):
    folder = write_phy(tmp_path / "phy")
    with pytest.raises(OptionError, match="hold no events"):
        rc.read(folder)
    (folder / "params.py").write_text("sample_rate = get_rate()")
    with pytest.raises(FormatError, match="give sample_rate="):
        rc.read(folder, **OPTIONS)
    (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tnoise\n5\tmua\n")
    with pytest.raises(FormatError, match="none of 2 clusters has group 'good'"):
        rc.read(folder, **OPTIONS, sample_rate=1)
    np.save(folder / "spike_clusters.npy", np.arange(3))
    with pytest.raises(FormatError, match="expected the same number"):
        rc.read(folder, **OPTIONS, sample_rate=1)


def test_flat_spikes(tmp_path):
    file = write_spikes(tmp_path / "flat.npz")
    assert detect(str(file)).name == "spikes"
    ds = rc.read(file, tick=0.001, **WINDOW)
    assert ds["response"].values.tolist() == [
        [[1, 0], [0, 1]],
        [[0, 1], [0, 0]],
        [[1, 1], [0, 0]],
        [[0, 0], [0, 0]],
    ]  # the last trial has no spikes and is there all the same
    assert ds["stimulus_id"].values.tolist() == [*IMAGES, "owl"] and ds["unit_id"].values.tolist() == ["a", "b"]
    with pytest.raises(FormatError, match="give tick="):
        rc.read(file, **WINDOW)
    rate = rc.read(file, tick=0.001, start=0.0, stop=0.4, rate=True)
    np.testing.assert_allclose(rate["response"].values[0], [2.5, 2.5])


def test_flat_spikes_agree_with_bin_spikes_of_the_same_trials():
    rng = np.random.default_rng(0)
    trial, time = rng.integers(0, 6, 300), np.round(rng.uniform(-0.2, 1.2, 300), 3)
    unit = rng.integers(0, 3, 300)
    names = list("abcdef")
    ours = rc.read({"trial": trial, "unit": unit, "time": time, "stimulus": names}, start=0.0, stop=1.0, width=0.1)
    trains = [100 * trial[unit == u] + time[unit == u] for u in range(3)]
    theirs = rc.bin_spikes(trains, 100.0 * np.arange(6), start=0.0, stop=1.0, width=0.1, stimulus=names)
    np.testing.assert_array_equal(ours["response"].values, theirs["response"].values)


def test_times_by_unit_as_a_mapping():
    from data_adapters.spikes.objects import read_spikes

    ds = read_spikes({"u1": [0.1, 1.2], "u2": [2.3]}, events=[0.0, 1.0, 2.0], stimulus=IMAGES, start=0.0, stop=0.5)
    assert ds["response"].values.tolist() == [[1, 0], [1, 0], [0, 1]]
    with pytest.raises(OptionError, match="need events="):
        read_spikes({"u1": [0.1]}, start=0.0, stop=0.5)


def test_nlb(tmp_path):
    file = write_nlb(tmp_path / "nlb.h5")
    assert detect(str(file)).name == "nlb"
    tree = rc.read(file, stimuli="positional")
    fine, coarse = tree["mc_maze/train_rates_heldin"], tree["mc_maze_20/train_rates_heldin"]
    assert fine["response"].dims == ("presentation", "unit", "time")
    np.testing.assert_array_equal(fine["response"].values, np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1))
    np.testing.assert_allclose(fine["time"].values, [0.0025, 0.0075, 0.0125])
    np.testing.assert_allclose(coarse["time"].values, [0.01, 0.03, 0.05])
    forward = tree["mc_maze_20/eval_rates_heldin_forward"]
    np.testing.assert_allclose(forward["time"].values, [0.07, 0.09])  # behind the observed bins
    assert forward["stimulus_id"].values.tolist() == ["#eval0000", "#eval0001"]
    assert not fine["response"].variable._in_memory
    only = rc.read(file, stimuli=["a", "b"], split="train")
    assert [n.path for n in only.leaves] == ["/mc_maze/train_rates_heldin", "/mc_maze_20/train_rates_heldin"]
    tree.close()
    with pytest.raises(OptionError, match="choose none of"):
        rc.read(file, stimuli=["a", "b"], part="heldout")
    with pytest.raises(FormatError, match="no stimulus labels"):
        rc.read(file)


def test_sensorium_static(tmp_path):
    folder = write_sensorium(tmp_path / "mouse")
    assert detect(str(folder)).name == "sensorium"
    with pytest.warns(UserWarning, match="tier final_test are all 0: withheld, 2 trials"):
        ds = rc.read(folder)
    values = ds["response"].values
    assert values[:10, 0].tolist() == list(range(10)) and np.isnan(values[10:]).all()  # 10 is read after 9
    assert ds["stimulus_id"].values.tolist()[:6] == ["1000", "1001", "1002", "1003", "1004", "1000"]
    assert ds["repeat"].values.tolist()[:6] == [0, 0, 0, 0, 0, 1]
    assert ds["stimulus_withheld"].values.tolist() == [False] * 10 + [True] * 2
    assert ds["unit_id"].values.tolist() == ["11", "12", "13"]
    assert (ds["unit_x"].values[0], ds["unit_z"].values[0]) == (0.1, 0.3)
    test = rc.read(folder, tier="test")
    assert test["stimulus_tier"].values.tolist() == ["test", "test"]
    with pytest.raises(OptionError, match="no tier 'tset'; did you mean 'test'"):
        rc.read(folder, tier="tset")


def test_sensorium_dynamic(tmp_path):
    folder = write_sensorium(tmp_path / "mouse", dynamic=True)
    with pytest.warns(UserWarning, match="withheld"):
        ds = rc.read(folder)
    assert ds.sizes == {"presentation": 12, "unit": 3, "time": 11}
    np.testing.assert_allclose(ds["time"].values[:2], [50 / 30, 51 / 30])
    assert np.isnan(ds["response"].values[0, :, -1]).all() and not np.isnan(ds["response"].values[1]).any()
    ids = ds["stimulus_id"].values  # films without ids are named by their content
    assert ids[0] == ids[5] and len(set(ids.tolist())) == 5
    with pytest.warns(UserWarning, match="withheld"):
        whole = rc.read(folder, skip_frames=0, frame_rate=10)
    assert whole.sizes["time"] == 61 and whole["time"].values[-1] == pytest.approx(6.0)
    with pytest.raises(FormatError, match="no frames are left"):
        rc.read(folder, skip_frames=100)


def test_sensorium_that_does_not_fit_together(tmp_path):
    folder = write_sensorium(tmp_path / "mouse")
    np.save(folder / "data/responses/3.npy", np.zeros(2))
    with pytest.raises(FormatError, match="trials of shapes"):
        rc.read(folder)
    np.save(folder / "data/responses/3.npy", np.zeros(3))
    np.save(folder / "meta/neurons/unit_ids.npy", np.arange(2))
    with pytest.raises(FormatError, match="the responses have 3 neurons"), pytest.warns(UserWarning):
        rc.read(folder)
    np.save(folder / "meta/trials/tiers.npy", np.array(["train"]))
    with pytest.raises(FormatError, match="trial 11 has responses"):
        rc.read(folder)


def test_predictions(tmp_path):
    file = write_predictions(tmp_path / "p.csv")
    assert detect(str(file)).name == "predictions"
    ds = rc.read(file)
    assert ds["response"].values.tolist() == [[1, 2], [3, 4.5]]
    assert ds["stimulus_id"].values.tolist() == ["500", "501"] and ds["unit_id"].values.tolist() == ["7", "9"]
    films = rc.read(write_predictions(tmp_path / "q.csv", mouse=True))["m1"]
    assert films["response"].values[1].tolist() == [[3, 4], [4.5, 5.5]]
    file.write_text('trial_indices,image_ids,prediction,neuron_ids\n0,1,"__import__(1)","[1]"\n')
    with pytest.raises(FormatError, match="is no list of numbers"):
        rc.read(file)
    file.write_text('trial_indices,image_ids,prediction,neuron_ids\n0,1,"[1.0]","[1]"\n0,1,"[1.0]","[2]"\n')
    with pytest.raises(FormatError, match="different neurons"):
        rc.read(file)


@pytest.mark.parametrize("kind", ["npy", "mem"])
def test_experanto_continuous(tmp_path, kind):
    folder = write_experanto(tmp_path / "responses", kind)
    for path in (folder, tmp_path):  # one device, or the experiment around it
        assert detect(str(path)).name == "experanto"
    ds = rc.read(folder)
    assert not ds["response"].variable._in_memory
    np.testing.assert_array_equal(ds["response"].values, np.arange(10).reshape(5, 2))
    np.testing.assert_allclose(ds["time"].values, 2.5 + np.arange(5) / 10)
    assert list(rc.read(tmp_path).children) == ["responses"]
    with open(folder / "meta.yml", "a") as f:
        f.write("x: !!python/object:os.system\n")
    with pytest.raises(FormatError, match="more than data"):
        rc.read(folder)


def test_experanto_sizes_and_spikes(tmp_path):
    folder = write_experanto(tmp_path / "mem", "mem")
    meta = folder / "meta.yml"
    meta.write_text(meta.read_text().replace("n_signals: 2", "n_signals: 2000000000"))
    with pytest.raises(FormatError, match="the file has 40"):
        rc.read(folder)
    spikes = write_experanto(tmp_path / "spikes", "spikes")
    ds = rc.read(spikes, **OPTIONS)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["response"].values[:, 1].tolist() == UNIT_5
    (spikes / "meta.yml").write_text("spike_indices: [0, 4, 5]\n")
    with pytest.raises(FormatError, match="expected rising from 0 to 6"):
        rc.read(spikes, **OPTIONS)


def test_yaml_subset_agrees_with_the_library():
    yaml = pytest.importorskip("yaml")
    from data_adapters.spikes._yaml import parse_yaml

    text = """
# a comment
rate: 30.0
n: 12   # behind
name: 'left eye'
flags: [true, no text, 3, -1.5e3]
inner:
  shape: [2, 3]
  deeper:
    a: ~
items:
- one
- 2
- k: 1
  l: two
empty: {}
pair: {a: 1, b: x}
"""
    assert parse_yaml(text, "meta.yml") == yaml.safe_load(text) | {"flags": [True, "no text", 3, -1500.0]}


class Quantity:
    def __init__(self, values, unit):
        self.values, self.unit = np.asarray(values, float), unit

    def rescale(self, unit):
        assert unit == "s"
        found = Quantity(self.values / {"s": 1, "ms": 1000}[self.unit], "s")
        found.magnitude = found.values
        return found

    def __len__(self):
        return len(self.values)


class Train:
    def __init__(self, times, name, **annotations):
        self.times, self.t_start, self.name, self.annotations = Quantity(times, "ms"), 0, name, annotations


class Event:
    def __init__(self):
        self.name, self.times, self.labels = "stim", Quantity(EVENTS, "s"), np.array(IMAGES)


class Segment:
    def __init__(self):
        self.spiketrains = [Train([50, 150, 1050, 2310], "n1", region="V4"), Train([250, 1300], "n2", region="IT")]
        self.events, self.epochs, self.analogsignals = [Event()], [], []


class Block:
    def __init__(self):
        self.segments = [Segment()]


def test_neo():
    ds = rc.read(Block(), **WINDOW)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["response"].values[:, 1].tolist() == UNIT_5
    assert ds["unit_region"].values.tolist() == ["V4", "IT"] and ds["stimulus_id"].values.tolist() == IMAGES
    trains = rc.read(Segment().spiketrains, **OPTIONS)
    np.testing.assert_array_equal(trains["response"].values, ds["response"].values)
    with pytest.raises(OptionError, match="no neo event 'stm'; known: stim"):
        rc.read(Block(), events="stm", **WINDOW)
    broken = Block()
    del broken.segments[0].spiketrains
    with pytest.raises(FormatError, match="no attribute 'spiketrains'"):
        rc.read(broken, **WINDOW)


class Sorting:
    unit_ids = (3, 4)
    segments = (None,)  # as real ones have; neo blocks have them too

    def get_unit_spike_train(self, unit_id, return_times=False):
        assert return_times
        return {3: np.array([0.05, 0.15, 1.05, 2.31]), 4: np.array([0.25, 1.3])}[unit_id]

    def get_property_keys(self):
        return ["brain_area", "bad"]

    def get_property(self, key):
        return np.array(["V4", "IT"]) if key == "brain_area" else np.array([None, {}])


def test_spikeinterface():
    ds = rc.read(Sorting(), **OPTIONS)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["unit_id"].values.tolist() == ["3", "4"]
    assert ds["unit_region"].values.tolist() == ["V4", "IT"] and "unit_bad" not in ds.coords
    table = pd.DataFrame({"start_time": EVENTS, "stop_time": EVENTS + 0.5, "stimulus": IMAGES})
    np.testing.assert_allclose(rc.read(Sorting(), events=table)["response"].values, [[4, 2], [2, 2], [2, 0]])
    broken = Sorting()
    broken.unit_ids = None
    with pytest.raises(FormatError, match="no attribute 'unit_ids'"):
        rc.read(broken, **OPTIONS)


def test_nan_spike_times_name_the_unit(tmp_path):
    folder = write_alf(tmp_path / "alf")
    np.save(folder / "spikes.times.npy", np.array([0.1, np.nan, 0.3, 0.4, 0.5, 0.6]))
    with pytest.raises(SchemaError, match=r"times of unit '2': nan at position 1"):
        rc.read(folder, stimulus="image", **WINDOW)


@pytest.mark.filterwarnings("ignore")
def test_neo_itself():
    neo, pq = pytest.importorskip("neo"), pytest.importorskip("quantities")
    segment = neo.Segment()
    trains = {"n1": [50, 150, 1050, 2310], "n2": [250, 1300]}
    for name, times in trains.items():
        segment.spiketrains.append(neo.SpikeTrain(times * pq.ms, t_stop=3000, name=name, region=name))
    segment.events.append(neo.Event(times=EVENTS * pq.s, labels=IMAGES, name="stim"))
    segment.analogsignals.append(neo.AnalogSignal(np.zeros((10, 2)), units="mV", sampling_rate=1 * pq.kHz))
    block = neo.Block()
    block.segments.append(segment)
    ds = rc.read(block, **WINDOW)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["response"].values[:, 1].tolist() == UNIT_5
    assert ds["stimulus_id"].values.tolist() == IMAGES and ds["unit_region"].values.tolist() == ["n1", "n2"]
    assert rc.read(list(segment.spiketrains), **OPTIONS).sizes["unit"] == 2
    with pytest.raises(FormatError, match="no format reads an object"):
        rc.read(segment.analogsignals[0])


def test_times_by_unit_as_a_plain_mapping():
    ds = rc.read({"a": [0.05, 0.15, 1.05], "b": np.array([])}, events=EVENTS, stimulus=IMAGES, start=0, stop=0.4)
    assert ds["response"].values.tolist() == [[2, 0], [1, 0], [0, 0]] and ds["unit_id"].values.tolist() == ["a", "b"]
    with pytest.warns(UserWarning, match=r"2 of 2 units \(100 %\) are 0 in every row"):
        rc.read({"a": [9.5], "b": [9.0]}, events=EVENTS, stimulus=IMAGES, start=0, stop=0.4)


@pytest.mark.filterwarnings("ignore")
def test_spikeinterface_itself():
    core = pytest.importorskip("spikeinterface.core")
    order = np.argsort(TIMES)
    samples, labels = np.round(TIMES[order] * 30000).astype(np.int64), CLUSTERS[order]
    sorting = core.NumpySorting.from_samples_and_labels([samples], [labels], 30000.0)
    sorting.set_property("quality", np.array(["good", "mua"]))
    sorting.set_property("brain_area", np.array(["V4", "IT"]))
    ds = rc.read(sorting, **OPTIONS)
    assert ds["response"].values[:, 0].tolist() == UNIT_2 and ds["response"].values[:, 1].tolist() == UNIT_5
    assert ds["unit_id"].values.tolist() == ["2", "5"] and ds["unit_region"].values.tolist() == ["V4", "IT"]
    good = rc.read(sorting, units="quality == 'good'", **OPTIONS)
    assert good["unit_id"].values.tolist() == ["2"]
    twice = core.NumpySorting.from_samples_and_labels([samples, samples], [labels, labels], 30000.0)
    with pytest.raises(FormatError, match="has 2 segments; expected one"):
        rc.read(twice, **OPTIONS)


def test_continuous_recordings_take_no_events(tmp_path):
    folder = write_experanto(tmp_path / "responses")
    for name, value in (("events", EVENTS), ("start", 0.0), ("rate", True), ("align", "go")):
        with pytest.raises(OptionError, match=f"{name}= counts spikes around events; the recording is continuous"):
            rc.read(folder, **{name: value})
    write_experanto(tmp_path / "units", "spikes")
    both = rc.read(tmp_path, **OPTIONS)  # one device has spikes
    assert both["responses"]["response"].dims == ("time", "unit") and "presentation" in both["units"].sizes


def test_sensorium_trials_without_a_file_are_said(tmp_path):
    folder = write_sensorium(tmp_path / "static")
    (folder / "data/responses/3.npy").unlink()
    (folder / "data/responses/11.npy").unlink()
    with pytest.warns(UserWarning, match="withheld"):
        ds = rc.read(folder)
    assert ds.sizes["presentation"] == 10 and 3 not in ds["stimulus_trial"].values
    assert any(
        "2 of 12 trials have no file in data/responses: left out (trials '3', '11')" in h for h in ds.attrs["history"]
    )
