"""The command line as a shell sees it: exit codes, streams, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import repcompare as rc
from repcompare.measures.registry import BUILT_IN

COLUMNS = """
source target measure score ceiling ceiling_kind score_normalised low high pvalue pvalue_corrected n_stimuli
n_source_units n_target_units seconds normalisation nan_policy n_dropped seed reason
""".split()  # noqa: SIM905 - easier to read than a list


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    names = [f"image{i:02d}" for i in range(40)]
    z = rng.normal(size=(40, 5))
    layers = {f"layer{k}": z @ rng.normal(size=(5, 8)) + k * rng.normal(size=(40, 8)) for k in range(2)}
    np.savez(folder / "layers.npz", stimulus_id=names, **layers)
    brain = rc.representation(z @ rng.normal(size=(5, 8)), stimulus=names, unit_region=["V1"] * 3 + ["V4"] * 5)
    rc.save(brain, folder / "brain.nc")
    rc.save(brain.isel(stimulus=slice(1, None)), folder / "short.nc")
    rc.save(brain.assign_coords(stimulus=[f"other{i}" for i in range(40)]), folder / "other.nc")
    holes = brain.response.values.copy()
    holes[2, 1] = np.nan
    rc.save(brain.copy(data={"response": holes}), folder / "holes.nc")
    rc.save(brain.copy(data={"response": np.ones((40, 8))}), folder / "flat.nc")
    wide = rc.representation(rng.normal(size=(40, 60)), stimulus=names)
    rc.save({"wide": wide, "narrow": wide.isel(unit=slice(3))}, folder / "models.nc")
    (folder / "text.nc").write_text("not netCDF at all")
    whole = (folder / "brain.nc").read_bytes()
    (folder / "truncated.nc").write_bytes(whole[: len(whole) // 2])
    return folder


def run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "repcompare.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_compare_writes_its_outputs_and_shows_a_table(folder):
    done = run(
        folder, "compare", "layers.npz", "brain.nc", "-m", "cka", "-m", "rsa", "-m", "ridge",
        "--by", "layer", "region", "--out", "scores.nc", "--csv", "scores.csv", "--jobs", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "layer0" in done.stdout
    assert "V4" in done.stdout
    assert "2 source x 2 target parts, 3 measures, 40 shared stimuli" in done.stderr
    frame = pd.read_csv(folder / "scores.csv")
    assert frame.columns.tolist() == [*COLUMNS, "layer", "region"]
    assert len(frame) == 12
    scores = rc.open(folder / "scores.nc")
    cell = frame[(frame.source == "layer0") & (frame.target == "V1") & (frame.measure == "cka")]
    assert scores.score.sel(source="layer0", target="V1", measure="cka").item() == cell.score.item()
    assert not list(folder.glob("*.part")) + list(folder.glob(".*part"))


def test_the_table_names_a_single_target_by_its_file(folder):
    done = run(folder, "compare", "layers.npz::layer1", "brain.nc", "-m", "cka", "--json")
    content = json.loads(done.stdout)
    assert [(row["source"], row["target"]) for row in content["scores"]] == [("layer1", "brain")]
    assert content["scores"][0]["ceiling"] is None
    assert content["provenance"]["seed"] == 0


def test_matrix(folder):
    done = run(folder, "matrix", "layers.npz", "models.nc::narrow", "--out", "matrix.nc")
    assert done.returncode == 0, done.stderr
    matrix = rc.open(folder / "matrix.nc").score.sel(measure="cka").values
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-12)
    assert matrix.shape == (3, 3)


def test_jobs_do_not_change_the_table(folder):
    rows = []
    for jobs in ("1", "3"):
        done = run(folder, "compare", "layers.npz", "brain.nc", "-m", "cka", "-m", "ridge", "--json", "--jobs", jobs)
        rows.append([row["score"] for row in json.loads(done.stdout)["scores"]])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("compare", "layers.npz", "brain.nc", "-m", "ckaa"), 2, "unknown measure 'ckaa'; did you mean 'cka'?"),
        (("compare", "layers.npz", "brain.nc"), 2, "Missing option '-m'"),
        (("compare", "layers.npz", "brain.nc", "--meazure", "cka"), 2, "No such option"),
        (("comprae", "layers.npz"), 2, "No such command 'comprae'"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--stimuli", "exactly"), 2, "did you mean 'exact'"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--memory", "lots"), 2, "--memory 'lots'"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--memory", "1kB"), 2, "the run needs at least"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--csv", "out.txt"), 2, "expected .csv"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--out", "no/out.nc"), 2, "does not exist"),
        (
            ("compare", "layers.npz", "brain.nc", "-m", "cka", "--source-option", "stimuly=x"),
            2,
            "did you mean 'stimuli'",
        ),
        (("compare", "layers.npz", "missing.nc", "-m", "cka"), 3, "no such file"),
        (("compare", "layers.npz", "text.nc", "-m", "cka"), 3, "text.nc"),
        (("compare", "layers.npz", "truncated.nc", "-m", "cka"), 3, "truncated.nc"),
        (("compare", "layers.npz", "holes.nc", "-m", "cka"), 3, "'image02', unit 'unit/1'"),
        (("compare", "layers.npz", "flat.nc", "-m", "cka"), 3, "no variance"),
        (("compare", "layers.npz", "scores_of_nothing.npz", "-m", "cka"), 3, "no such file"),
        (("compare", "layers.npz", "short.nc", "-m", "cka"), 4, "'image00'"),
        (("compare", "layers.npz", "other.nc", "-m", "cka", "--stimuli", "intersection"), 4, "no stimulus is shared"),
        (("inspect", "text.nc"), 3, "text.nc"),
        (("demo", "--out", "brain.nc", "--simulated"), 2, "is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_exit_codes_and_messages(folder, arguments, code, message):
    before = sorted(p.name for p in folder.iterdir())
    done = run(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert sorted(p.name for p in folder.iterdir()) == before


def test_intersection_goes_on_and_says_so(folder):
    done = run(folder, "compare", "layers.npz", "short.nc", "-m", "cka", "--stimuli", "intersection")
    assert done.returncode == 0
    assert "39 shared stimuli (1 others left out)" in done.stderr
    assert "'image00'" in done.stderr


def test_cells_that_fail_make_code_5_unless_allowed(folder):
    arguments = ("compare", "models.nc", "brain.nc", "-m", "cca", "--csv", "part.csv")
    done = run(folder, *arguments)
    assert done.returncode == 5
    assert "1 of 2 cells have no score" in done.stderr
    frame = pd.read_csv(folder / "part.csv")
    assert frame.score.isna().sum() == 1
    assert frame.reason[frame.score.isna()].str.contains("ranks").all()
    assert run(folder, *arguments, "--partial-ok").returncode == 0


def test_outputs_are_not_overwritten_when_refused_and_stay_when_a_run_fails(folder):
    (folder / "kept.csv").write_text("old")
    arguments = ("compare", "layers.npz", "brain.nc", "-m", "cka", "--csv", "kept.csv")
    assert run(folder, *arguments, "--no-overwrite").returncode == 2
    assert run(folder, "compare", "layers.npz", "holes.nc", "-m", "cka", "--csv", "kept.csv").returncode == 3
    assert (folder / "kept.csv").read_text() == "old"
    assert run(folder, *arguments).returncode == 0
    assert (folder / "kept.csv").read_text().startswith("source,")
    both = run(folder, "compare", "layers.npz", "brain.nc", "-m", "cka", "--csv", "a.csv", "--out", "sub/../a.csv")
    assert both.returncode == 2


def test_quiet_says_nothing_but_results(folder):
    done = run(folder, "compare", "layers.npz", "brain.nc", "-m", "cka", "--quiet")
    assert done.stderr == ""
    assert "layer0" in done.stdout


def test_inspect(folder):
    done = run(folder, "inspect", "brain.nc")
    assert done.returncode == 0
    assert "40 stimulus x 8 unit" in done.stdout
    assert "unit_region: V1 (3), V4 (5)" in done.stdout
    assert "format repcompare" in done.stdout
    found = json.loads(run(folder, "inspect", "layers.npz", "--json").stdout)
    assert found["format"] == "npz"
    assert list(found["parts"]) == ["layer0", "layer1"]


def test_inspect_scores(folder):
    run(folder, "compare", "layers.npz", "brain.nc", "-m", "cka", "--out", "seen.nc")
    done = run(folder, "inspect", "seen.nc")
    assert "scores: 2 sources x 1 targets x 1 measures" in done.stdout
    assert "seed: 0" in done.stdout


def test_measures(folder):
    done = run(folder, "measures")
    for name in ("cka", "rsa", "procrustes", "cca", "ridge"):
        assert name in done.stdout
    rows = json.loads(run(folder, "measures", "--json").stdout)["measures"]
    assert {row["measure"] for row in rows} == set(BUILT_IN)


def test_version_and_help_are_quick(folder):
    for arguments, limit in ((("--version",), 0.35), (("compare", "--help"), 0.45)):
        best = np.inf
        for _ in range(3):
            started = time.perf_counter()
            done = run(folder, *arguments)
            best = min(best, time.perf_counter() - started)
        assert done.returncode == 0
        assert best < limit  # twice the target of an idle machine
    assert run(folder, "--version").stdout == f"{rc.__version__}\n"


def test_an_internal_error_leaves_one_line_and_a_log(folder, tmp_path):
    code = (
        "import repcompare.cli as c, repcompare.compare as m\n"
        "import repcompare as rc\n"
        "def broken(*a, **k): raise ZeroDivisionError('boom')\n"
        "rc.__dict__['compare'] = broken\n"
        "c.main(['compare', 'layers.npz', 'brain.nc', '-m', 'cka'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "internal error, ZeroDivisionError('boom')" in done.stderr
    (log,) = tmp_path.glob("repcompare-*.log")
    assert "Traceback" in log.read_text()


def test_convert_writes_native_files_and_safetensors(folder, tmp_path):
    assert run(folder, "convert", "layers.npz", str(tmp_path / "out.nc")).returncode == 0
    assert run(folder, "convert", str(tmp_path / "out.nc"), str(tmp_path / "out.safetensors")).returncode == 0
    source, native, tensors = (
        rc.read(p) for p in (folder / "layers.npz", tmp_path / "out.nc", tmp_path / "out.safetensors")
    )
    for layer in ("layer0", "layer1"):
        for found in (native, tensors):
            np.testing.assert_array_equal(found[layer]["response"].values, source[layer]["response"].values)
            assert found[layer]["stimulus"].values.tolist() == source[layer]["stimulus"].values.tolist()
    part = run(folder, "convert", "layers.npz::layer0", str(tmp_path / "one.nc"))
    assert part.returncode == 0 and part.stdout == "" and "wrote" in part.stderr
    assert rc.read(tmp_path / "one.nc").sizes["unit"] == 8
    np.save(tmp_path / "x.npy", np.eye(3))
    done = run(tmp_path, "convert", "x.npy", "x.nc", "--from", "npy", "--option", "stimuli=a,b,c")
    assert done.returncode == 0 and rc.read(tmp_path / "x.nc")["stimulus"].values.tolist() == ["a", "b", "c"]


def test_convert_writes_the_format_that_is_named(folder, tmp_path):
    whole, one, npz, table = (str(tmp_path / n) for n in ("assemblies", "one.nc", "out.npz", "one.tsv"))
    source = rc.read(folder / "layers.npz")
    for arguments in (
        ("layers.npz", whole, "--to", "brainscore"),
        ("layers.npz::layer0", one, "--format", "brainscore"),
        ("layers.npz", npz),
        ("layers.npz::layer0", table),
    ):
        done = run(folder, "convert", *arguments)
        assert done.returncode == 0, done.stderr
    assert "tables keep no labels of units: unit_layer left out" in done.stderr
    assert sorted(os.listdir(whole)) == ["assy_assembly_layer0.nc", "assy_assembly_layer1.nc"]
    for file in (os.path.join(whole, "assy_assembly_layer0.nc"), one):
        with xr.open_dataset(file) as assembly:
            assert assembly["data"].dims == ("presentation", "neuroid")
        assert rc.read(file).attrs["source"].endswith("(brainscore)")
    expected = source["layer0"].to_dataset()
    for found in (rc.read(one), rc.read(npz)["layer0"].to_dataset(), rc.read(table)):
        np.testing.assert_array_equal(found["response"].values, expected["response"].values)
        assert found["unit_id"].values.tolist() == expected["unit_id"].values.tolist()
        assert found["stimulus"].values.tolist() == expected["stimulus"].values.tolist()
    assert set(rc.read(npz).children) == {"layer0", "layer1"}
    assert not [n for n in os.listdir(tmp_path) if n.endswith(".part")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("layers.npz", "out.txt"),
            2,
            "expected one of .csv, .nc, .npz, .safetensors, .tsv, or name the format with --to",
        ),
        (("layers.npz", "out.nc", "--to", "npy"), 2, "--to is the format of OUT, --from that of IN"),
        (("layers.npz", "out.nc", "--to", "brainscor"), 2, "did you mean 'brainscore'"),
        (("layers.npz", "out.nc", "--to", "csv"), 2, "--to csv writes .csv or .tsv"),
        (("layers.npz", "out.csv"), 3, "found 2 parts"),
        (("layers.npz", "out.nc", "--to", "brainscore"), 2, "several parts become a folder"),
        (("layers.npz", "nowhere/out", "--to", "brainscore"), 2, "make it first"),
        (("layers.npz", "brain.nc", "--no-overwrite"), 2, "refuses to replace"),
        (("text.nc", "out.nc"), 3, "no format recognises"),
        (("layers.npz", "out.nc", "--from", "npzz"), 2, "did you mean 'npz'"),
        (("layers.npz", "out.nc", "--option", "memory"), 2, "expected KEY=VALUE"),
        (("layers.npz", "nowhere/out.nc"), 3, "does not exist"),
    ],
)
def test_convert_that_cannot_be_done(folder, arguments, code, message):
    before = sorted(os.listdir(folder))
    done = run(folder, "convert", *arguments)
    assert done.returncode == code and message in done.stderr
    assert sorted(os.listdir(folder)) == before


def test_validate_lists_everything_that_is_wrong(folder, tmp_path):
    assert run(folder, "validate", "brain.nc").stdout == "brain.nc: valid (one representation)\n"
    assert run(folder, "validate", "layers.npz").stdout == "layers.npz: valid (layer0, layer1)\n"
    bad = rc.open(folder / "brain.nc").load()
    bad.attrs["modality"] = "fmmri"
    bad.assign_coords(subject=("unit", ["a"] * 8)).to_netcdf(tmp_path / "bad.nc")
    done = run(tmp_path, "validate", "bad.nc")
    assert done.returncode == 3 and "did you mean 'fmri'" in done.stdout and "- subject: is not a name" in done.stdout
    found = json.loads(run(tmp_path, "validate", "bad.nc", "--json").stdout)
    assert not found["valid"] and len(found["problems"]) == 2
    np.savez(tmp_path / "inf.npz", a=np.eye(2), b=np.array([[1, np.inf], [0, 0]]), stimulus_id=["a", "b"])
    done = run(tmp_path, "validate", "inf.npz")
    assert done.returncode == 3 and "(inf) at stimulus 0, unit 1" in done.stdout
    done = run(folder, "validate", "truncated.nc")
    assert done.returncode == 3 and "not valid" in done.stdout and "truncated" in done.stdout
    assert run(folder, "validate", "layers.npz", "--option", "stimulii=a").returncode == 2


def test_inspect_says_when_a_format_is_read_whole(folder):
    assert "sequential" in run(folder, "inspect", "layers.npz").stdout
    assert "sequential" not in run(folder, "inspect", "brain.nc").stdout
    assert json.loads(run(folder, "inspect", "layers.npz", "--json").stdout)["access"] == "sequential"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("compare", "layers.npz", "brain.nc", "-m", "ridge", "--folds", "five"),
            2,
            "--folds 'five': expected a number",
        ),
        (("compare", "layers.npz", "brain.nc", "-m", "ridge", "--folds", "-3"), 2, "such as 5, or loo"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--out", "x.csv"), 2, "expected .nc; --csv writes a table"),
        (("inspect", "brain.nc::V1"), 3, "brain.nc: holds one representation, without parts; leave out ::V1"),
        (("inspect", "."), 3, "no format recognises this folder; tried"),
        (("compare", "layers.npz", "brain.nc", "-m", "cka", "--resume"), 2, "--resume needs --checkpoint"),
        (("inspect", "layers.npz", "--option", "stimulus_axis=.5"), 2, "stimulus_axis=0.5; expected a whole number"),
        (("inspect", "lay*.npy"), 3, "no file matches this pattern"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_with_the_way_out(folder, arguments, code, message):
    done = run(folder, *arguments)
    assert done.returncode == code and message in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("False", False),
        ("true", True),
        ("None", None),
        (".5", 0.5),
        ("-5.", -5.0),
        ("01", "01"),
        ("nan", "nan"),
        ("unit,stimulus", ("unit", "stimulus")),
        ("region in ['V1', 'V4']", "region in ['V1', 'V4']"),
        ('["a", "b"]', ["a", "b"]),
    ],
)
def test_values_of_options_are_what_they_look_like(given, expected):
    from repcompare.cli_files import _key_values

    found = _key_values([f"key={given}"])["key"]
    assert found == expected and type(found) is type(expected)


def test_a_file_with_a_comma_in_its_name_is_a_file(folder, tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    (tmp_path / "names, all.txt").write_text("x\ny\nz\n")
    done = run(tmp_path, "inspect", "a.npy", "--option", "stimuli=names, all.txt")
    assert done.returncode == 0 and "3 stimuli" in done.stdout


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "csv"])
def test_rdms_and_scores_are_refused_where_only_responses_are_written(folder, tmp_path, suffix):
    rdms = rc.rdm(rc.read(folder / "brain.nc"))
    scores = rc.compare(rc.read(folder / "layers.npz"), rc.read(folder / "brain.nc"), measures="cka")
    for name, content, message in (
        ("rdms", rdms, "these are RDMs; expected a representation"),
        ("scores", scores, "no variable 'response'"),
    ):
        rc.save(content, tmp_path / f"{name}.nc")
        done = run(tmp_path, "convert", f"{name}.nc", f"out.{suffix}")
        assert done.returncode == 3 and message in done.stderr, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["rdms.nc", "scores.nc"]


def test_inspect_takes_a_pattern(folder, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for i in (1, 2):
        image = nibabel.Nifti1Image(np.random.default_rng(i).normal(size=(2, 2, 2, 6)).astype("f4"), np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, tmp_path / f"run-{i}_bold.nii")
    done = run(tmp_path, "inspect", "run-*_bold.nii")
    assert done.returncode == 0 and "(format nifti)" in done.stdout and "12 time x 8 unit" in done.stdout


def test_an_input_is_never_replaced_by_its_output(folder, tmp_path):
    (tmp_path / "in.npz").write_bytes((folder / "layers.npz").read_bytes())
    (tmp_path / "in.nc").write_bytes((folder / "brain.nc").read_bytes())
    (tmp_path / "link.npz").symlink_to("in.npz")
    before = {name: (tmp_path / name).read_bytes() for name in ("in.npz", "in.nc")}
    for arguments in (
        ("convert", "in.npz", "in.npz"),
        ("convert", "in.npz::layer0", "link.npz"),
        ("compare", "in.npz", "in.nc", "-m", "cka", "--out", "in.nc"),
        ("matrix", "in.nc", "in.npz", "--out", "in.nc"),
    ):
        done = run(tmp_path, *arguments)
        assert done.returncode == 2 and "itself, which would be lost" in done.stderr, done.stderr
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
