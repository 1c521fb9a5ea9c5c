"""Adapters of other packages come through the entry point, and a broken one harms nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def install(folder, entries, version="1.0"):
    """Lay a distribution into a folder as an installer would."""
    about = folder / "repcompare_rows-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: repcompare-rows\nVersion: {version}\n")
    lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
    (about / "entry_points.txt").write_text(f"[repcompare.adapters]\n{lines}\n")
    shutil.copy(Path(__file__).with_name("rows_format.py"), folder / "rows_format.py")


def run(folder, *arguments):
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cage.rows").write_text("#rows\ncat 1 2\ndog 3 4\n")
    return tmp_path


def test_a_format_of_another_package_is_read_shown_and_written(folder):
    install(folder, {"rows": "rows_format:ROWS", "cage": "rows_format:CAGE"})
    code = """
import data_adapters, repcompare as rc, rows_format
ds = rc.read("cage.rows")
assert ds["response"].values.tolist() == [[1, 2], [3, 4]] and ds["stimulus"].values.tolist() == ["cat", "dog"]
assert {"rows", "cage"} <= {row["name"] for row in data_adapters.formats()}
cage = rc.read(rows_format.Cage({"cat": [1.0], "dog": [2.0]}))
assert cage["response"].values.tolist() == [[1.0], [2.0]]
try:
    rc.read("cage.rows", stimuli="x")
except rc.errors.OptionError as error:
    print(error)
"""
    done = run(folder, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "format rows has no option 'stimuli'\n"
    assert "format rows" in run(folder, "-m", "repcompare.cli", "inspect", "cage.rows").stdout
    done = run(folder, "-m", "repcompare.cli", "convert", "cage.rows", "again.rows")
    assert done.returncode == 0 and (folder / "again.rows").read_text() == "#rows\ncat 1.0 2.0\ndog 3.0 4.0\n"


def test_a_plugin_that_cannot_be_loaded_is_named_and_left_out(folder):
    install(folder, {"rows": "rows_format:ROWS", "gone": "rows_format:GONE", "lost": "no_such_module:X"})
    done = run(folder, "-c", "import repcompare as rc; print(dict(rc.read('cage.rows').sizes))")
    assert done.returncode == 0 and done.stdout == "{'stimulus': 2, 'unit': 2}\n"
    assert "plug-in 'gone' (rows_format:GONE)" in done.stderr and "plug-in 'lost'" in done.stderr


def test_a_plugin_that_registers_something_else_is_named(folder):
    install(folder, {"rows": "rows_format:read"})
    done = run(folder, "-c", "import repcompare as rc; rc.read('cage.rows')")
    assert done.returncode == 1 and "plug-in 'rows' (rows_format:read)" in done.stderr
    assert "expected a repcompare.labels.formats.Format" in done.stderr
