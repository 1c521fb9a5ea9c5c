"""Tables in parquet are read as their forms in text are; written by pyarrow, and skipped where it is absent."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import FormatError, MissingExtraError
from repcompare.labels.formats import detect
from tests.data_adapters.recordings.files import (
    EVENTS,
    IMAGES,
    WINDOW,
    write_alf,
    write_predictions,
    write_predictions_parquet,
)


@pytest.mark.parametrize("mouse", [False, True])
def test_predictions_in_parquet_are_those_in_csv(tmp_path, mouse):
    pytest.importorskip("pyarrow")
    file = write_predictions_parquet(tmp_path / "p.parquet.brotli", mouse=mouse)
    assert detect(str(file)).name == "predictions"
    found, same = rc.read(file), rc.read(write_predictions(tmp_path / "p.csv", mouse=mouse))
    if mouse:
        found, same = found["m1"].to_dataset(), same["m1"].to_dataset()
    for name in ("response", "unit_id", "stimulus_id", "repeat", "stimulus_trial"):
        np.testing.assert_array_equal(found[name].values, same[name].values)
    assert found["response"].dims == same["response"].dims and found.attrs["history"] == same.attrs["history"]


def test_wrong_cells_are_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"trial_indices": [0, 1], "prediction": [[1.0, 2.0], [3.0, 4.0]], "neuron_ids": [[7, 9], [7, 8]]}
    file = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    with pytest.raises(FormatError, match="rows list different neurons"):
        rc.read(file)
    parquet.write_table(pyarrow.table({**columns, "prediction": [1.0, 2.0], "neuron_ids": [[7], [7]]}), file)
    with pytest.raises(FormatError, match="prediction, row 1: '1.0' is no list of numbers"):
        rc.read(file)
    columns["neuron_ids"] = [[7, 9]] * 2
    parquet.write_table(pyarrow.table({**columns, "prediction": [[1.0, None], [3.0, 4.0]]}), file)
    with pytest.raises(FormatError, match="holds no equal rows of numbers"):
        rc.read(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data[:-4])
    with pytest.raises(FormatError, match=r"p.parquet"):
        rc.read(file)


def test_without_pyarrow_the_table_is_recognised_and_the_package_named(tmp_path, monkeypatch):
    footer = b"..trial_indices..prediction..neuron_ids.."
    file = tmp_path / "p.parquet"
    file.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert detect(str(file)).name == "predictions"
    with pytest.raises(MissingExtraError, match=r"p.parquet: reading parquet needs .* pip install pyarrow"):
        rc.read(file)
    file.write_bytes(b"PAR1" + b"..other.." + (9).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FormatError, match="no format recognises"):
        rc.read(file)


def test_alf_trials_in_parquet(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = write_alf(tmp_path / "probe")
    expected = rc.read(folder, stimulus="image", **WINDOW)
    for file in folder.glob("_ibl_trials*"):
        file.unlink()
    columns = {"intervals_0": EVENTS, "intervals_1": EVENTS + 0.5, "image": IMAGES, "choice": [1, -1, 1]}
    parquet.write_table(pyarrow.table(columns), folder / "_ibl_trials.table.pqt")
    found = rc.read(folder, stimulus="image", **WINDOW)
    np.testing.assert_array_equal(found["response"].values, expected["response"].values)
    assert found["stimulus_id"].values.tolist() == IMAGES and found["stimulus_choice"].values.tolist() == [1, -1, 1]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"trials.table.pqt: .* pip install pyarrow"):
        rc.read(folder, stimulus="image", **WINDOW)
