from __future__ import annotations

import builtins
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import repcompare as rc
from repcompare.errors import FormatError, SchemaError
from repcompare.labels import store
from repcompare.labels.parts import parts_of
from repcompare.labels.schema import history
from repcompare.labels.scores import Axes, assemble


def still() -> xr.Dataset:
    values = np.array([[1.5, np.nan], [2.5, 3.5], [0.1, -1e-30]], np.float32)
    return rc.representation(
        values,
        stimulus=["café", "dog", "猫"],
        stimulus_category=["drink", "", "animal"],
        unit_region=np.array(["V1", "V4"], object),
        unit_x=[0.5, np.nan],
        unit_i=np.array([3, 4], np.int16),
        unit_visual=[True, False],
        attrs={"modality": "ann", "history": ["read"], "gain": 2.5, "n": 3, "grid": [1, 2], "tags": ["a", "b"]},
    )


def presentations() -> xr.Dataset:
    return rc.representation(
        np.random.default_rng(0).normal(size=(4, 2, 3)),
        dims=("presentation", "unit", "time"),
        stimulus_id=["a", "b", "a", "b"],
        repeat=[0, 0, 1, 1],
        session=["s1", "s1", "s2", "s2"],
        stimulus_onset=[0.5, 1.5, 2.5, 3.5],
        time=[0.05, 0.15, 0.25],
    )


def recording() -> xr.Dataset:
    return rc.representation(np.eye(4, 2), dims=("time", "unit"), time=[0, 0.5, 0, 0.5], run=["x", "x", "y", "y"])


def scores() -> xr.Dataset:
    cells = {"score": np.array([[[0.1, np.nan]], [[-0.3, 1 / 3]]]), "reason": np.array([[["", "too few"]], [["", ""]]])}
    cells["n_stimuli"] = np.full((2, 1, 2), 40)
    axes = Axes(sources=["conv1", "conv2"], targets=["V4"], measures=["cka", "rsa"], coords={
        "kind": ("measure", ["similarity", "similarity"]), "source_layer": ("source", ["conv1", "conv2"])})  # fmt: skip
    return assemble(cells, axes, {"seed": 0, "warnings": ["one"], "confidence": 0.95, "study": "a\nb"})


@pytest.fixture
def file(tmp_path):
    return tmp_path / "it.nc"


def leftovers(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def disk_full(*_, **__):
    raise OSError(28, "No space left on device")


# ---- round trips


@pytest.mark.parametrize("make", [still, presentations, recording, scores])
def test_what_is_saved_is_what_is_opened(make, file):
    given = make()
    store.save(given, file)
    found = store.open(file)
    xr.testing.assert_equal(found, given)
    for name, variable in given.variables.items():
        kind = variable.dtype.kind
        assert found[name].dtype.kind in ("OTU" if kind == "U" else kind), name
        assert found[name].dims == variable.dims
    assert found.attrs.keys() == given.attrs.keys()
    for key, value in given.attrs.items():
        np.testing.assert_array_equal(found.attrs[key], value)
    assert leftovers(file.parent) == ["it.nc"]


def test_a_second_round_trip_changes_nothing(file, tmp_path):
    store.save(still(), file)
    store.save(store.open(file), tmp_path / "again.nc")
    xr.testing.assert_identical(store.open(tmp_path / "again.nc"), store.open(file))


def test_responses_keep_their_dtype_and_stay_on_disk(file):
    for make, dtype in ((still, np.float32), (presentations, np.float64)):
        store.save(make(), file)
        found = store.open(file)
        assert found["response"].dtype == dtype
        assert found["response"].variable._in_memory is False
        found.close()


def test_lists_of_one_and_empty_lists(file):
    ds = still().assign_attrs(history=["only"], tags=[], note=["x"])
    store.save(ds, file)
    found = store.open(file)
    assert found.attrs["history"] == ["only"] and history(found) == ["only"]
    assert "tags" not in found.attrs
    assert found.attrs["note"] == "x"  # netCDF knows no list of one text; the lists of the schema are restored
    store.save(scores(), file)
    assert store.open(file).attrs["warnings"] == ["one"]


def test_labels_in_seconds_stay_numbers(file):
    ds = presentations()
    ds["stimulus_onset"].attrs["units"] = "seconds"
    ds["repeat"].attrs["units"] = "days since 2000-01-01"
    store.save(ds, file)
    found = store.open(file)
    assert found["stimulus_onset"].values.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert found["repeat"].values.tolist() == [0, 0, 1, 1]


def test_scores_are_compressed_and_responses_are_not(file):
    store.save(scores(), file)
    assert store.open(file)["score"].encoding["zlib"] is True
    store.save(still(), file)
    assert store.open(file)["response"].encoding["zlib"] is False


def test_trees_and_mappings_with_nested_names(file):
    parts = {"net/conv1": still(), "net/conv2": still().isel(unit=[0]), "brain": presentations()}
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in parts.items()})
    tree.attrs["source"] = "here"
    nested = {"net": {"conv1": parts["net/conv1"], "conv2": parts["net/conv2"]}, "brain": parts["brain"]}
    for given in (tree, parts, nested):
        store.save(given, file)
        found = store.open(file)
        assert isinstance(found, xr.DataTree)
        opened = parts_of(found)
        assert set(opened) == set(parts)
        for name, ds in parts.items():
            assert opened[name]["response"].variable._in_memory is False
            xr.testing.assert_equal(opened[name], ds)
            assert opened[name].attrs.get("history") == ds.attrs.get("history")
        found.close()
    store.save(tree, file)
    assert store.open(file).attrs == {"schema": "repcompare-1", "source": "here"}


def test_a_mapping_of_one_unnamed_part_is_that_part(file):
    store.save({"": still()}, file)
    assert isinstance(store.open(file), xr.Dataset)


@pytest.mark.parametrize("parts", [{"a": 0, "a/b": 0}, {"": 0, "x": 0}, {"a//b": 0}])
def test_parts_that_no_tree_can_hold_are_refused_before_writing(parts, file):
    with pytest.raises(SchemaError, match="rename"):
        store.save({name: still() for name in parts}, file)
    assert leftovers(file.parent) == []


def test_the_callers_object_is_left_alone(file):
    for make in (still, presentations, scores):
        ds, before = make(), make()
        store.save(ds, file)
        xr.testing.assert_identical(ds, before)
        assert {n: v.dtype for n, v in ds.variables.items()} == {n: v.dtype for n, v in before.variables.items()}
        assert all(not v.encoding for v in ds.variables.values())


def test_saving_over_the_file_one_has_open(file):
    store.save(presentations(), file)
    lazy = store.open(file)
    store.save(lazy.isel(unit=[0]), file)
    assert store.open(file).sizes["unit"] == 1
    np.testing.assert_array_equal(store.open(file)["response"], presentations().isel(unit=[0])["response"])
    tree = file.with_name("tree.nc")
    store.save({"a": still(), "b": still()}, tree)
    store.save(store.open(tree), tree)
    assert set(parts_of(store.open(tree))) == {"a", "b"}


# ---- what is refused


def test_broken_representations_are_never_written(file):
    with pytest.raises(SchemaError, match=r"^object: not a representation:\n- unit_id: missing"):
        store.save(still().drop_vars("unit_id"), file)
    with pytest.raises(SchemaError, match="object part 'x': not a representation"):
        store.save({"x": still().drop_vars("unit_id")}, file)
    with pytest.raises(SchemaError, match=r"variables \['a'\]; expected 'response' .* or 'score' .*to_netcdf"):
        store.save(xr.Dataset({"a": 1}), file)
    with pytest.raises(SchemaError, match="found a list"):
        store.save([still()], file)
    with pytest.raises(SchemaError, match=r"attrs\['ok'\]: is True \(bool\)"):
        store.save(scores().assign_attrs(ok=True), file)
    assert leftovers(file.parent) == []


def test_foreign_netcdf_is_refused_by_its_variables(file):
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(file)
    with pytest.raises(SchemaError, match=r"it.nc: has variables \['a'\]; expected 'response'"):
        store.open(file)
    xr.Dataset({"response": (("stimulus", "unit"), np.eye(2))}).to_netcdf(file)
    with pytest.raises(SchemaError, match=r"it.nc: not a representation:\n- stimulus: rows have no"):
        store.open(file)
    tree = xr.DataTree.from_dict({"/x": xr.Dataset({"response": (("stimulus", "unit"), np.eye(2))})})
    tree.to_netcdf(file)
    with pytest.raises(SchemaError, match="it.nc part 'x': not a representation"):
        store.open(file)
    xr.DataTree.from_dict({"/x": xr.Dataset({"a": 1})}).to_netcdf(file)
    with pytest.raises(SchemaError, match="no parts"):
        store.open(file)


@pytest.mark.parametrize("make", [still, scores, lambda: {"a": still(), "b/c": presentations()}])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_say_so(make, share, file):
    store.save(make(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        FormatError, match=r"it.nc: .*(cannot be read as netCDF|begins with).*; (expected).*; .*"
    ) as caught:
        store.open(file)
    assert caught.value.exit_code == 3


def test_other_files_named_nc_are_told_by_their_first_bytes(file):
    file.write_text("stimulus,unit\n")
    with pytest.raises(
        FormatError, match=r"it.nc: begins with 73 74 69 .*; expected a netCDF file; read other formats with"
    ):
        store.open(file)
    file.write_bytes(b"")
    with pytest.raises(FormatError, match="begins with nothing"):
        store.open(file)
    file.write_bytes(store.NETCDF_SIGNATURES[0] + b"nothing of the kind")
    with pytest.raises(FormatError, match="cannot be read as netCDF"):
        store.open(file)


def test_missing_files_folders_and_permissions(file, monkeypatch):
    with pytest.raises(
        FormatError, match=r"no.nc: cannot be opened \(No such file or directory\); expected .*; check the"
    ):
        store.open(file.with_name("no.nc"))
    with pytest.raises(FormatError, match=r"cannot be opened \(Is a directory\)"):
        store.open(file.parent)
    with pytest.raises(FormatError, match=r"folder .*no does not exist; expected .*; make it first"):
        store.save(still(), file.parent / "no" / "it.nc")
    store.save(still(), file)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", denied)
        with pytest.raises(FormatError, match=r"it.nc: cannot be opened \(Permission denied\).*permissions"):
            store.open(file)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(FormatError, match=r"cannot be written .*check space and permissions"):
        store.save(still(), folder / "it.nc")


def test_a_read_only_file_stays(file):
    store.save(still(), file)
    before = file.read_bytes()
    file.chmod(0o444)
    link = file.with_name("link.nc")
    link.symlink_to(file)
    for path in (file, link):
        with pytest.raises(FormatError, match="read-only and stays as it is; give another name"):
            store.save(still(), path)
    assert file.read_bytes() == before
    assert leftovers(file.parent) == [file.name, "link.nc"]


def test_a_target_that_is_a_folder(tmp_path):
    (tmp_path / "it.nc").mkdir()
    with pytest.raises(FormatError, match=r"it.nc: cannot be written .*check space and permissions"):
        store.save(still(), tmp_path / "it.nc")
    assert leftovers(tmp_path) == ["it.nc"]


# ---- atomic writing


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("NetCDF: HDF error")])
def test_a_failure_while_writing_leaves_the_old_file(error, file, monkeypatch):
    store.save(still(), file)
    before = file.read_bytes()

    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    for obj in (presentations(), scores(), {"a": still()}):
        with pytest.raises(FormatError, match=r"it.nc: cannot be written \(.*(No space|HDF error).*check space"):
            store.save(obj, file)
        assert file.read_bytes() == before
        assert leftovers(file.parent) == ["it.nc"]


def test_an_interrupted_write_leaves_nothing(file):
    with pytest.raises(KeyboardInterrupt), store.atomic(file) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert leftovers(file.parent) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_at_the_end_leaves_the_old_file(step, file, monkeypatch):
    file.write_text("old")
    monkeypatch.setattr(store.os, step, disk_full)
    with pytest.raises(FormatError, match="No space left"):
        store.write_together({file: lambda part: part.write_text("new")})
    assert file.read_text() == "old"
    assert leftovers(file.parent) == ["it.nc"]


def test_the_temporary_name_stands_beside_the_target(file):
    with store.atomic(file) as part:
        assert part.parent == file.parent.resolve()
        assert part.name.startswith(".it.nc.") and part.name.endswith(".part")
        part.write_bytes(b"x")
        assert not file.exists()
    assert file.read_bytes() == b"x"


def test_nothing_written_is_an_error(file):
    with pytest.raises(FormatError, match="cannot be written"), store.atomic(file):
        pass


def test_links_are_followed_and_mode_bits_follow_umask(tmp_path):
    real, link = tmp_path / "real.nc", tmp_path / "link.nc"
    store.save(still(), real)
    link.symlink_to(real)
    store.save(scores(), link)
    assert link.is_symlink()
    assert "score" in store.open(real)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(real.stat().st_mode) == 0o666 & ~mask


def test_text_has_unix_line_ends_and_utf8(file):
    store.write_together({file: store.text_writer("é\nb\n")})
    assert file.read_bytes() == b"\xc3\xa9\nb\n"


def test_write_together_is_all_or_nothing(tmp_path):
    first, second, third = (tmp_path / n for n in ("a.nc", "b.csv", "c.html"))
    second.write_text("old")

    def fail(part):
        part.write_text("half")
        disk_full()

    def fine(part):
        part.write_text("new")

    for outputs in (
        {first: fine, second: fail, third: fine},
        {first: fail, second: fine},
        {first: fine, second: fine, third: fail},
    ):
        failing = next(p for p, w in outputs.items() if w is fail)
        with pytest.raises(FormatError, match=rf"{failing.name}: cannot be written"):
            store.write_together(outputs)
        assert second.read_text() == "old"
        assert leftovers(tmp_path) == ["b.csv"]
    store.write_together({first: fine, second: fine, third: fine})
    assert {p.read_text() for p in (first, second, third)} == {"new"}
    assert leftovers(tmp_path) == ["a.nc", "b.csv", "c.html"]


def test_the_first_of_several_outputs_appears_last(tmp_path, monkeypatch):
    renamed = []
    replace = os.replace
    monkeypatch.setattr(store.os, "replace", lambda a, b: (renamed.append(b.name), replace(a, b))[1])
    store.write_together({tmp_path / n: lambda part: part.write_text("x") for n in ("a.nc", "b.csv", "c.html")})
    assert renamed == ["c.html", "b.csv", "a.nc"]


def test_a_file_may_be_open_several_times(tmp_path):
    """In a process of its own: with a bare handle opened and closed beside xarray's, libnetcdf crashed here."""
    code = """
import sys
import numpy as np, repcompare as rc
names = [f"s{i}" for i in range(40)]
part = rc.representation(np.ones((40, 30)), stimulus=names)
for k in range(4):
    for path, obj in ((f"{sys.argv[1]}/one{k}.nc", part), (f"{sys.argv[1]}/tree{k}.nc", {"a": part, "b": part})):
        rc.save(obj, path)
        first = rc.open(path)
        for _ in range(3):
            again = rc.open(path)
            (again if obj is part else again["a"])["response"][:3].values
            again.close()
        assert (first if obj is part else first["b"])["response"].values.sum() == 1200
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
