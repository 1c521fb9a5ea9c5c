from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError


class Epochs:
    """The attributes of mne.Epochs that are used, and no more."""

    def __init__(self):
        self.values = np.arange(24.0).reshape(2, 3, 4) * 1e-6
        self.ch_names, self.times = ["Fz", "Cz", "bad"], np.arange(4) / 100
        self.events, self.event_id = np.array([[0, 0, 1], [100, 0, 2]]), {"face": 1, "car": 2}
        self.info, self.metadata = {"bads": ["bad"]}, None

    def get_data(self):
        return self.values


def test_epochs():
    ds = rc.read(Epochs())
    assert ds["response"].dims == ("presentation", "unit", "time")
    np.testing.assert_array_equal(ds["response"].values, Epochs().values[:, :2])
    assert ds["stimulus_id"].values.tolist() == ["face", "car"] and ds["unit_id"].values.tolist() == ["Fz", "Cz"]
    assert "1 bad channels left out: bad" in ds.attrs["history"]
    np.testing.assert_allclose(ds["time"].values, [0, 0.01, 0.02, 0.03])
    assert rc.read(Epochs(), bads=True).sizes["unit"] == 3


def test_metadata():
    epochs = Epochs()
    epochs.metadata = pd.DataFrame({"image_id": ["a", "b"], "size": [1.5, 2.0], "odd": [None, {}]})
    ds = rc.read(epochs)
    assert ds["stimulus_id"].values.tolist() == ["a", "b"] and ds["stimulus_size"].values.tolist() == [1.5, 2.0]
    assert "stimulus_odd" not in ds.coords
    with pytest.raises(OptionError, match="did you mean 'size'"):
        rc.read(epochs, stimulus="siz")
    with pytest.raises(FormatError, match="found 1 names in stimulus= for 2 epochs"):
        rc.read(epochs, stimulus=["x"])


def test_what_is_missing_is_named():
    epochs = Epochs()
    del epochs.times
    with pytest.raises(FormatError, match="no attribute 'times'"):
        rc.read(epochs)
    epochs = Epochs()
    epochs.values = epochs.values[:1]
    with pytest.raises(FormatError, match=r"shape \(1, 3, 4\); expected \(2 epochs, 3 channels, 4 times\)"):
        rc.read(epochs)


@pytest.mark.filterwarnings("ignore")
def test_the_library_itself(tmp_path):
    mne = pytest.importorskip("mne")
    info = mne.create_info(["Fz", "Cz", "Oz"], 100.0, "eeg")
    info["bads"] = ["Oz"]
    values = np.random.default_rng(0).normal(size=(4, 3, 5)) * 1e-6
    events = np.c_[np.arange(4) * 10, np.zeros(4, int), [1, 2, 1, 2]]
    epochs = mne.EpochsArray(values, info, events, tmin=-0.01, event_id={"face": 1, "car": 2}, verbose="error")
    epochs.metadata = pd.DataFrame({"word": list("abcd")})
    for ds in (rc.read(epochs), _saved(epochs, tmp_path)):
        np.testing.assert_allclose(ds["response"].values, values[:, :2], rtol=1e-6)
        assert ds["stimulus_id"].values.tolist() == ["face", "car", "face", "car"]
        assert ds["repeat"].values.tolist() == [0, 0, 1, 1] and ds["stimulus_word"].values.tolist() == list("abcd")
        np.testing.assert_allclose(ds["time"].values, np.arange(5) / 100 - 0.01, atol=1e-9)
        assert ds["unit_type"].values.tolist() == ["eeg", "eeg"]


def _saved(epochs, folder):
    file = folder / "small-epo.fif"
    epochs.save(file, verbose="error", overwrite=True)
    return rc.read(file)
