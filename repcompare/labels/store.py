"""The native format: netCDF4 files of representations, trees and scores, written atomically and opened lazily."""

from __future__ import annotations

import builtins
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from repcompare.errors import FormatError, SchemaError
from repcompare.labels.inference import RESULT_SCHEMAS
from repcompare.labels.parts import check_paths, checked, parts_of
from repcompare.labels.rdms import is_rdms, validate_stored
from repcompare.labels.rules import broken_attrs
from repcompare.labels.schema import SCHEMA
from repcompare.labels.scores import DERIVED_SCHEMAS
from repcompare.labels.values import text

LISTS = (
    "history",
    "measures",
    "warnings",
    "inputs",
    "selection",
    "forced",
)  # attributes that netCDF would give back as text when they have one entry
NETCDF_SIGNATURES = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` on success, remove it on failure.

    Raises
    ------
    FormatError
        When the folder does not exist or cannot be written, or ``path`` is a file marked read-only: renaming over it would
        succeed all the same.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    if not target.parent.is_dir():
        raise FormatError(
            f"{os.fspath(path)}: folder {target.parent} does not exist; expected a folder that does; make it first"
        )
    if target.is_file() and not target.stat().st_mode & 0o222:
        raise FormatError(
            f"{os.fspath(path)}: the file is read-only and stays as it is; give another name, or remove it"
        )
    try:
        with _named(path):
            yield part
            with builtins.open(part, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of the file system into FormatError with the name of the file that was meant."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # netCDF4 reports a full disk as RuntimeError
        raise FormatError(f"{os.fspath(path)}: cannot be written ({error}); check space and permissions") from error


def text_writer(content: str) -> Callable[[Path], None]:
    """Return the function that writes a text file in UTF-8 with line feeds to the path it is given."""

    def write(part: Path) -> None:
        part.write_text(content, encoding="utf-8", newline="\n")

    return write


def write_together(outputs: Mapping[str, Callable[[Path], None]]) -> None:
    """Write several files so that none appears before all are complete; the first one named appears last.

    Parameters
    ----------
    outputs : mapping of path to callable
        The callable writes its file to the path that it is given.

    Raises
    ------
    FormatError
        Naming the file that cannot be written.
    """
    with ExitStack() as stack:  # contexts end in reverse order, and with them the renames
        parts = {path: stack.enter_context(atomic(path)) for path in outputs}
        for path, write in outputs.items():
            with _named(path):
                write(parts[path])


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a representation, a tree or mapping of them, RDMs, scores or a result as one netCDF4 file, atomically.

    Parameters
    ----------
    obj : xarray.Dataset, mapping or xarray.DataTree
        What to write.  Representations are validated first.
    path : str or path-like
        Destination; an existing file is replaced only when the new one is complete.

    Raises
    ------
    SchemaError
        When a representation breaks the schema, or the object is neither representations, RDMs, scores nor a result.
    FormatError
        When the file cannot be written.

    Examples
    --------
    >>> import os, tempfile, numpy as np, repcompare as rc
    >>> path = os.path.join(tempfile.mkdtemp(), "it.nc")
    >>> rc.save(rc.representation(np.eye(3), stimulus=["a", "b", "c"]), path)
    >>> rc.open(path).sizes["unit"]
    3
    """
    write = writer(obj)
    with atomic(path) as part:
        write(part)


def writer(obj: Any) -> Callable[[Path], None]:
    """Return the function that writes a representation, tree or scores as netCDF4 to the path it is given."""
    if isinstance(obj, xr.DataArray):
        raise SchemaError(
            f"a DataArray with dims {obj.dims}; files hold Datasets; save its .to_dataset(name='score') if these are scores,"
            " or ask compare_rdms for details=True, which returns one"
        )
    if isinstance(obj, xr.Dataset) and "response" not in obj:
        _check_scores(obj, "object")
        return _dataset_writer(obj)
    if isinstance(obj, xr.Dataset):
        return _dataset_writer(checked({"": obj}, "object")[""])
    parts = checked(parts_of(obj), "object")
    check_paths(parts)
    attrs = {str(k): v for k, v in obj.attrs.items()} if isinstance(obj, xr.DataTree) else {}
    return _dataset_writer(parts[""]) if "" in parts else _tree_writer(parts, attrs)


def _check_scores(ds: xr.Dataset, name: str) -> None:
    if is_rdms(ds):
        validate_stored(ds, name)
        return
    if "score" not in ds and ds.attrs.get("schema") not in (*RESULT_SCHEMAS, *DERIVED_SCHEMAS):
        found = sorted(map(str, ds.variables))
        raise SchemaError(
            f"{name}: has variables {found}; expected 'response' (a representation), 'dissimilarity' (RDMs) or 'score' "
            "(scores), or a result of this package; other datasets go through xarray's own to_netcdf and open_dataset"
        )
    broken = broken_attrs(ds.attrs, "attrs")
    if broken:
        raise SchemaError(f"{name}: {broken[0]}")


def _dataset_writer(ds: xr.Dataset) -> Callable[[Path], None]:
    return lambda part: _storable(ds).to_netcdf(part, engine="netcdf4", encoding=_encoding(ds))


def _tree_writer(parts: dict[str, xr.Dataset], attrs: dict[str, Any]) -> Callable[[Path], None]:
    def write(part: Path) -> None:
        xr.Dataset(attrs={"schema": SCHEMA, **attrs}).to_netcdf(part, engine="netcdf4")
        for name, ds in parts.items():  # group by group: one part in memory at a time
            _storable(ds).to_netcdf(part, mode="a", group=name, engine="netcdf4", encoding=_encoding(ds))

    return write


def _storable(ds: xr.Dataset) -> xr.Dataset:
    """Text as fixed dtype that netCDF knows as strings; attributes without empty lists."""
    labels = {n: (c.dims, text(c.values), c.attrs) for n, c in ds.variables.items() if c.dtype.kind in "OT"}
    attrs = {k: v for k, v in ds.attrs.items() if not (isinstance(v, (list, tuple)) and not v)}
    out = ds.assign_coords({k: v for k, v in labels.items() if k in ds.coords})
    out = out.assign({k: v for k, v in labels.items() if k in ds.data_vars})
    out.attrs = attrs
    return out.drop_encoding()


def _encoding(ds: xr.Dataset) -> dict[Any, dict[str, Any]]:
    small = "response" not in ds
    return {name: {"zlib": True, "complevel": 4} for name, v in ds.data_vars.items() if small and v.dtype.kind in "fiu"}


def open(path: str | os.PathLike[str]) -> Any:
    """Open a native netCDF file; values stay on disk until they are used.

    Parameters
    ----------
    path : str or path-like
        A file written by :func:`save`.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        A representation, RDMs, scores or another result; a tree where the file has groups.

    Raises
    ------
    FormatError
        When the file is missing, truncated, or not netCDF.
    SchemaError
        When a representation inside breaks the schema.
    """
    name = os.fspath(path)
    _check_signature(name)
    try:
        found = _opened(name)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FormatError(
            f"{name}: cannot be read as netCDF ({error}); expected a complete file; it may be truncated: write it again"
        ) from None
    try:
        if isinstance(found, xr.DataTree) or "response" in found:
            checked(parts_of(found), name)
        else:
            _check_scores(found, name)
    except SchemaError:
        found.close()
        raise
    for node in found.subtree if isinstance(found, xr.DataTree) else [found]:
        for attrs in (node.attrs, *(variable.attrs for variable in node.variables.values())):
            attrs.update({k: [v] for k, v in attrs.items() if k in LISTS and isinstance(v, str)})
    return found


def _check_signature(name: str) -> None:
    try:
        with builtins.open(name, "rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise FormatError(
            f"{name}: cannot be opened ({error.strerror}); expected a netCDF file; check the path and its permissions"
        ) from None
    if not head.startswith(NETCDF_SIGNATURES):
        raise FormatError(
            f"{name}: begins with {head.hex(' ') or 'nothing'}; expected a netCDF file; "
            "read other formats with repcompare.read"
        )


def _opened(name: str) -> Any:
    """Open a file once, as a tree; a file without groups is its root.

    A second handle, opened to look for groups and closed again, would take the file from under the first: libnetcdf crashes.
    """
    tree = xr.open_datatree(name, engine="netcdf4", decode_times=False)  # times are seconds, whatever units a label has
    if tree.children:
        return tree
    found = tree.to_dataset()
    found.set_close(tree.close)
    return found
