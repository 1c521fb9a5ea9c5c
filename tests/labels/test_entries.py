"""Entry points are those that the standard library finds, without its import."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points

import pytest

from repcompare.labels.entries import Entry, entries


def standard(group):
    return sorted((e.name, e.value) for e in entry_points(group=group))


def distribution(folder, name, text):
    about = folder / name
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(text)


@pytest.mark.parametrize("group", ["repcompare.adapters", "console_scripts", "pytest11", "no.such.group"])
def test_the_same_entries_as_the_standard_library(group):
    assert sorted(entries(group)) == standard(group)


def test_the_first_distribution_on_the_path_counts_and_the_file_is_parsed(tmp_path, monkeypatch):
    text = "# by hand\n[other]\nz = m:z\n[a.group]\n# none = m:n\n x = m : f.g [extra]\ny=m\n\n[more]\nw = m:w\n"
    distribution(tmp_path / "one", "My.Rows-1.0.dist-info", text)
    distribution(tmp_path / "two", "my_rows-2.0.dist-info", "[a.group]\nlate = m:f\n")
    distribution(tmp_path / "two", "other.egg-info", "[a.group]\nq = json:dumps\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "gone"), *sys.path])
    assert entries("a.group") == [Entry("x", "m : f.g [extra]"), Entry("y", "m"), Entry("q", "json:dumps")]
    assert sorted(entries("a.group")) == standard("a.group")


def test_values_are_loaded_with_and_without_attributes_and_extras():
    import json
    import os

    assert Entry("a", "json").load() is json
    assert Entry("a", "os:path.join").load() is os.path.join
    assert Entry("a", "json : dumps [fast]").load() is json.dumps
    with pytest.raises(ModuleNotFoundError):
        Entry("a", "no_such_module:X").load()


def test_archives_and_finders_of_other_packages_are_asked(tmp_path, monkeypatch):
    archive = tmp_path / "rows.zip"
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("rows-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: rows\nVersion: 1\n")
        z.writestr("rows-1.dist-info/entry_points.txt", "[a.group]\nx = m:f\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert entries("a.group") == [Entry("x", "m:f")]
    monkeypatch.undo()
    asked = []

    class Finder:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(*_):
            asked.append(1)
            return iter(())

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert sorted(entries("repcompare.adapters")) == standard("repcompare.adapters") and asked


def test_the_table_of_formats_costs_no_slow_import():
    code = "import sys, data_adapters; data_adapters.formats(); print(*sys.modules, sep='\\n')"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"importlib.metadata", "difflib", "email", "numpy", "xarray", "h5py", "netCDF4", "scipy"}
