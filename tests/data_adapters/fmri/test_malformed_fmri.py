"""Truncated and flipped files: success or our own errors, soon, and without much memory."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import FormatError, OptionError, SchemaError

nibabel = pytest.importorskip("nibabel")

from tests.data_adapters.fmri import test_studies as studies  # noqa: E402
from tests.data_adapters.fmri.files import brain_models, values, write_cifti, write_gifti, write_run  # noqa: E402

ALLOWED = (FormatError, SchemaError, OptionError)
POSITIONS = 60
LONGEST, LARGEST = 5.0, 500 * 2**20


def make(folder, kind):
    """Return a small file and the options that read it."""
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    if kind in ("nii", "nii.gz"):
        return write_run(folder / f"a.{kind}", values(), slope=(0.5, 1)), {}
    if kind == "nii2":
        return write_run(folder / "a.nii", values(), kind=nibabel.Nifti2Image), {"zscore": True}
    if kind == "mgz":
        nibabel.save(nibabel.MGHImage(values().astype(np.float32), np.eye(4, dtype=np.float32)), folder / "a.mgh")
        return folder / "a.mgh", {"tr": 2.0}
    if kind == "gii":
        return write_gifti(folder / "a.func.gii", x), {"tr": 2.0}
    if kind == "ascii.gii":
        return write_gifti(folder / "a.gii", x, encoding="GIFTI_ENCODING_ASCII"), {"stimuli": list("abcd")}
    if kind == "dtseries.nii":
        rows = nibabel.cifti2.SeriesAxis(0, 2.0, 4, "SECOND")
        return write_cifti(folder / "a.dtseries.nii", x, rows, brain_models()), {}
    return studies.write_glmsingle(folder, kind), {"design": studies.DESIGN}


def damaged(data, name):
    """Yield the file cut at and flipped at many positions; half of them in its first bytes."""
    rng = np.random.default_rng(sum(map(ord, name)))
    half = POSITIONS // 2
    for cut in np.unique(np.r_[1, 2, 3, 100, 347, 348, 352, 540, len(data) - 1, rng.integers(1, len(data), half)]):
        yield data[: min(int(cut), len(data) - 1)]
    used = np.flatnonzero(np.frombuffer(data, np.uint8))
    early = used[used < 600]
    for at in np.r_[rng.choice(used, half), rng.choice(early, half), rng.integers(0, min(len(data), 600), half)]:
        flipped = bytearray(data)
        flipped[at] ^= int(rng.integers(1, 256))
        yield bytes(flipped)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["nii", "nii.gz", "nii2", "mgz", "gii", "ascii.gii", "dtseries.nii", "hdf5", "mat5", "mat73", "npy"]
)
def test_truncated_and_flipped_files(tmp_path, kind):
    file, options = make(tmp_path, kind)
    data = file.read_bytes()
    folder = tmp_path / "bad"
    folder.mkdir()
    outcomes = set()
    for content in damaged(data, kind):
        bad = folder / file.name
        bad.write_bytes(content)
        tracemalloc.start()
        started = time.process_time()
        try:
            found = rc.read(bad, **options)
            found["response"].load()
            rc.validate(found)
            found.close()
            outcomes.add("read")
        except ALLOWED as error:
            assert str(error).strip()
            outcomes.add("refused")
        assert time.process_time() - started < LONGEST
        assert tracemalloc.get_traced_memory()[1] < LARGEST
        tracemalloc.stop()
        bad.unlink()
    assert "refused" in outcomes


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "gii", "dtseries.nii", "hdf5", "mat5", "mat73", "npy"])
@pytest.mark.parametrize("share", [0.3, 0.85])
def test_truncation_is_said_with_the_name_of_the_file(tmp_path, kind, share):
    file, options = make(tmp_path, kind)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises((FormatError, SchemaError), match=file.name.replace(".", r"\.")):
        rc.read(file, **options)["response"].load()


def test_a_header_cannot_ask_for_memory(tmp_path):
    path = write_run(tmp_path / "a.nii.gz", values())
    image = nibabel.load(path)
    header = image.header.copy()
    header.set_data_shape((30000, 30000, 3000, 1000))
    header["vox_offset"] = 352
    with nibabel.openers.Opener(str(path), "wb") as handle:
        handle.write(header.binaryblock + b"\0\0\0\0" + b"\0" * 10000)
    with pytest.raises(FormatError, match="which cannot hold them"):
        rc.read(path)


@pytest.mark.parametrize("text", ["", "onset\n", "onset\tduration\ttrial_type\n", "a,b\n1,2\n", "\x00\xff\xfe"])
def test_odd_tables_of_events(tmp_path, text):
    path = write_run(tmp_path / "a.nii", values())
    (tmp_path / "e.tsv").write_text(text, encoding="latin-1")
    with pytest.raises((FormatError, OptionError), match=r"e\.tsv"):
        rc.read(path, events=tmp_path / "e.tsv", mask=np.ones(values().shape[:3], bool))
