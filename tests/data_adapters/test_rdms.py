"""Files of RDMs: MATLAB structs and arrays, HDF5 as rsatoolbox writes it; good, wrong, truncated and flipped ones."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import squareform

import repcompare as rc
from repcompare.errors import FormatError, OptionError, SchemaError
from repcompare.labels.rdms import square_form, stimuli_of, to_pairs

IDS = ["cat", "dog", "owl", "elk"]
DATA = Path(os.environ.get("REPCOMPARE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def pairs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1, size=6)


def struct(shape, square=True):
    """A MATLAB struct array as published RDMs come: RDM, name, color."""
    out = np.empty(shape, dtype=[("RDM", object), ("name", object), ("color", object)])
    for i, place in enumerate(np.ndindex(shape)):
        rdm = squareform(pairs(i)) if square else pairs(i)[None]
        out[place] = (rdm, f"S{place[0]} | session {place[-1]}", np.array([0.0, 0.0, 1.0]))
    return out


@pytest.mark.parametrize("square", [True, False])
def test_struct_arrays(tmp_path, square):
    file = tmp_path / "brain.mat"
    scipy.io.savemat(file, {"RDMs": struct((2, 3), square), "other": np.eye(3)})
    ds = rc.read(file, stimuli=IDS)
    assert dict(ds.sizes) == {"rdm": 6, "pair": 6}
    assert stimuli_of(ds).tolist() == IDS
    assert ds["rdm"].values.tolist()[:2] == ["S0 | session 0", "S0 | session 1"]
    assert ds["rdm_row"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert ds["rdm_column"].values.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(to_pairs(ds), [pairs(i) for i in range(6)])


@pytest.mark.parametrize("n_rdms", [1, 3])
def test_three_stimuli(tmp_path, n_rdms):
    content = np.empty((1, n_rdms), dtype=[("RDM", object)])
    values = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [2.0, 4.0, 0.0]])[:n_rdms]
    for i, row in enumerate(values):
        content[0, i]["RDM"] = squareform(row)
    scipy.io.savemat(tmp_path / "three.mat", {"RDMs": content})
    np.testing.assert_array_equal(to_pairs(rc.read(tmp_path / "three.mat", stimuli=IDS[:3])), values)


def test_matlab_of_version_73(tmp_path):
    file = tmp_path / "new.mat"
    values = np.stack([squareform(pairs()), squareform(pairs(1))], axis=-1)
    with h5py.File(file, "w", userblock_size=512) as f:
        for name, one in {"model": values[..., 0], "both": values}.items():
            f.create_dataset(name, data=one.T).attrs["MATLAB_class"] = np.bytes_("double")
    with open(file, "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    given = {"stimuli": IDS, "format": "matlab-rdm"}
    np.testing.assert_array_equal(to_pairs(rc.read(file, **given)), [pairs()])
    np.testing.assert_array_equal(to_pairs(rc.read(file, variable="both", **given)), [pairs(), pairs(1)])


def test_plain_arrays_and_names_from_the_file(tmp_path):
    file = tmp_path / "models.mat"
    names = np.array(IDS, dtype=object)
    content = {"gist": squareform(pairs()), "similarity": 1 - squareform(pairs()), "ids": names, "flat": pairs()}
    scipy.io.savemat(file, content)
    ds = rc.read(file, stimuli="ids")
    assert ds["rdm"].values.tolist() == ["gist"]  # a similarity is no RDM, a vector only when it is asked for
    np.testing.assert_allclose(square_form(ds)[0], squareform(pairs()))
    np.testing.assert_allclose(to_pairs(rc.read(file, stimuli=IDS, variable="flat"))[0], pairs())
    both = rc.read(file, stimuli="positional", variable=["gist", "flat"])
    assert both["rdm"].values.tolist() == ["gist", "flat"]
    assert stimuli_of(both).tolist()[0] == "#0000"
    assert "by order only" in both.attrs["history"][0]


def test_what_is_wrong_with_a_matlab_file(tmp_path):
    file = tmp_path / "m.mat"
    scipy.io.savemat(
        file, {"a": squareform(pairs()), "b": squareform(np.ones(10)), "text": "hello", "s": 1 - np.eye(4) * 0.5}
    )
    with pytest.raises(FormatError, match=r"m\.mat: no stimulus labels"):
        rc.read(file, variable="a")
    with pytest.raises(FormatError, match=r"different numbers of stimuli: a has 4, b has 5; choose some by variable="):
        rc.read(file, stimuli=IDS)
    with pytest.raises(OptionError, match=r"no variable 'aa'; did you mean 'a'"):
        rc.read(file, stimuli=IDS, variable="aa")
    with pytest.raises(FormatError, match="text holds no numbers; expected an RDM"):
        rc.read(file, stimuli=IDS, variable="text")
    with pytest.raises(FormatError, match="gives 3 names; expected one each"):
        rc.read(file, stimuli=IDS[:3], variable="a")
    with pytest.raises(SchemaError, match="distance of 'cat' to itself"):
        rc.read(file, stimuli=IDS, variable="s")
    with pytest.raises(OptionError, match="no option 'stimulus'; did you mean 'stimuli'"):
        rc.read(file, stimulus=IDS)
    scipy.io.savemat(file, {"x": np.ones((3, 5))})
    with pytest.raises(FormatError, match=r"no RDMs in it: found x \(3, 5\)"):
        rc.read(file, stimuli=IDS, format="matlab-rdm")
    with pytest.raises(FormatError, match=r"x has shape \(3, 5\); expected a square RDM"):
        rc.read(file, stimuli=IDS, variable="x", format="matlab-rdm")


def write_hdf5(file, **patterns):
    """The layout that rsatoolbox 0.3.2 writes with file_type='hdf5'."""
    with h5py.File(file, "w") as f:
        f.attrs["rsatoolbox_version"], f.attrs["dissimilarity_measure"] = "0.3.2", "crossnobis"
        f["dissimilarities"] = np.stack([pairs(1), pairs(2)])
        f.create_group("descriptors").attrs["study"] = "demo"
        f["pattern_descriptors/index"] = np.arange(4)
        for name, values in patterns.items():
            f[f"pattern_descriptors/{name}"] = values
        f["rdm_descriptors/index"] = np.arange(2)
        f["rdm_descriptors/subject"] = np.array([b"A", b"B"])
        f["rdm_descriptors/session"] = np.array([3, 3])
    return file


def test_hdf5_of_rdms(tmp_path):
    file = write_hdf5(tmp_path / "r.h5", conds=np.array(IDS, dtype="S"), category=np.array([b"x", b"x", b"y", b"y"]))
    ds = rc.read(file)
    assert stimuli_of(ds).tolist() == IDS
    assert ds["rdm"].values.tolist() == ["A", "B"]
    assert ds["rdm_session"].values.tolist() == [3, 3]
    assert ds.attrs["distance"] == "crossnobis"
    np.testing.assert_array_equal(to_pairs(ds), [pairs(1), pairs(2)])
    with pytest.raises(OptionError, match="no option 'variable'"):
        rc.read(file, variable="x")
    two = write_hdf5(
        tmp_path / "two.h5", conds=np.array(IDS, dtype="S"), image=np.array(["p", "q", "r", "s"], dtype="S")
    )
    with pytest.raises(FormatError, match=r"not clear \(there are conds, image, index\)"):
        rc.read(two)
    assert stimuli_of(rc.read(two, stimuli="image")).tolist() == ["p", "q", "r", "s"]


def test_the_peer_writes_this_layout(tmp_path):
    toolbox = pytest.importorskip("rsatoolbox")
    descriptors = {"rdm_descriptors": {"subject": ["A", "B"]}, "pattern_descriptors": {"conds": IDS}}
    rdms = toolbox.rdm.RDMs(np.stack([pairs(1), pairs(2)]), dissimilarity_measure="crossnobis", **descriptors)
    rdms.save(str(tmp_path / "r.h5"), file_type="hdf5")
    ds = rc.read(tmp_path / "r.h5")
    np.testing.assert_array_equal(to_pairs(ds), rdms.dissimilarities)
    assert stimuli_of(ds).tolist() == IDS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["mat", "h5"])
def test_truncated_and_flipped_files(tmp_path, kind):
    file = tmp_path / f"r.{kind}"
    if kind == "h5":
        write_hdf5(file, conds=np.array(IDS, dtype="S"))
    else:
        scipy.io.savemat(file, {"RDMs": struct((2, 2))})
    options = {"stimuli": "positional"} if kind == "mat" else {}
    data = file.read_bytes()
    rng = np.random.default_rng(3)
    used = np.flatnonzero(np.frombuffer(data, np.uint8))
    broken = [data[:cut] for cut in rng.integers(1, len(data), 40)]
    for at in rng.choice(used, 80):
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        broken.append(bytes(flipped))
    bad = tmp_path / f"bad.{kind}"
    for content in broken:
        bad.write_bytes(content)
        try:
            rc.read(bad, **options)
        except (FormatError, SchemaError, OptionError) as error:
            assert str(error).strip()
        bad.unlink()


def test_inspecting_a_file_of_rdms(tmp_path):
    from repcompare.views.summary import summary, summary_lines

    file = write_hdf5(tmp_path / "r.h5", conds=np.array(IDS, dtype="S"))
    found = summary(rc.read(file))
    assert found["kind"] == "RDMs"
    assert found["parts"][""]["stimuli"] == 4
    assert any("2 rdm x 6 pair" in line for line in summary_lines(found))
    with pytest.raises(SchemaError, match="these are RDMs"):
        rc.compare(rc.read(file), rc.read(file), measures="cka")


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "kriegeskorte92").is_dir(), reason="real recordings not found; set REPCOMPARE_DATA")
def test_the_92_images():
    folder = DATA / "kriegeskorte92"
    brains = rc.read(folder / "92_brainRDMs.mat", stimuli="positional")
    assert dict(brains.sizes) == {"rdm": 8, "pair": 4186}
    assert sorted(set(brains["rdm_row"].values.tolist())) == [0, 1, 2, 3]
    both = rc.read(folder / "Kriegeskorte_Neuron2008_supplementalData.mat", stimuli="positional")
    assert both["rdm"].values.tolist() == ["mIT_674neurons", "hITvisStim_316vx"]
    monkey, human = to_pairs(both)
    # Kriegeskorte et al. 2008, figure 1 and text: Pearson correlation .49 between the RDMs of monkey and human IT
    assert rc.compare_rdms(monkey, human, method="pearson") == pytest.approx(0.49, abs=0.01)
    models = rc.read(folder / "modelRDMs_A2020.mat", stimuli="positional")
    assert models.sizes["rdm"] == 63 == len(set(models["rdm"].values.tolist()))
