"""The formats of this package: how each is recognised, and its reader, imported when called."""

from __future__ import annotations

import os
from typing import Any

from repcompare.labels.formats import Format

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
NUMPY_MAGIC = b"\x93NUMPY"
NETCDF3 = (b"CDF\x01", b"CDF\x02")
WORM_NAME = "demo:worm"


def _is_hdf5(head: bytes) -> bool:
    return any(head[at : at + 8] == HDF5_MAGIC for at in (0, 512, 1024, 2048))


def _ends(path: str, *suffixes: str) -> bool:
    return path.lower().endswith(suffixes)


def _detect_repcompare(path: str, head: bytes) -> bool:
    if head[:4] in NETCDF3:  # written by other tools from a representation: its schema stands in the header
        return b"repcompare-" in head
    if not _is_hdf5(head):
        return False
    from data_adapters._hdf5 import peek

    return peek(path)[2]


def _detect_nwb(path: str, head: bytes) -> bool:
    if head.startswith(b"PK\x03\x04") or (not head and os.path.isdir(path)):
        return _is_nwb_zarr(path)
    if not _is_hdf5(head):
        return bool(head) and _ends(path, ".nwb")
    from data_adapters._hdf5 import peek

    attrs, _, _ = peek(path)
    return "nwb_version" in attrs or _ends(path, ".nwb")


def _is_nwb_zarr(path: str) -> bool:
    markers = (".zgroup", "zarr.json")
    if os.path.isdir(path):
        found = any(os.path.isfile(os.path.join(path, m)) for m in markers)
    else:
        from data_adapters._zip import names

        found = any(m in names(path) for m in markers)
    if not found:
        return False
    from data_adapters.spikes._nodes import is_zarr

    return is_zarr(path)


def _detect_hdf5(path: str, head: bytes) -> bool:
    return _is_hdf5(head) or (bool(head) and _ends(path, ".h5", ".hdf5"))


def _detect_npy(path: str, head: bytes) -> bool:
    return head.startswith(NUMPY_MAGIC) or (bool(head) and _ends(path, ".npy"))


def _detect_npz(path: str, head: bytes) -> bool:
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return (head.startswith(b"PK\x03\x04") and first.endswith(b".npy")) or (bool(head) and _ends(path, ".npz"))


def _detect_rsatoolbox(path: str, head: bytes) -> bool:
    if not _is_hdf5(head):
        return False
    from data_adapters._hdf5 import peek

    attrs, groups, _ = peek(path)
    return "rsatoolbox_version" in attrs or {"dissimilarities", "pattern_descriptors"} <= groups


def _detect_matlab_rdm(path: str, head: bytes) -> bool:
    return head.startswith(b"MATLAB 5.0 MAT-file")


def _detect_worm(path: str, head: bytes) -> bool:
    return path == WORM_NAME


def _read_repcompare(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from repcompare.errors import OptionError
    from repcompare.labels import store

    if options:
        raise OptionError(f"format repcompare has no option {next(iter(options))!r}; the file is complete as it is")
    with guard(path):
        _check_netcdf3(path)
        return store.open(path)


def _check_netcdf3(path: str) -> None:
    """Raise when a file of netCDF 3 is shorter than it declares: the library would read what is missing as 0."""
    with open(path, "rb") as handle:
        if handle.read(4) not in NETCDF3:
            return
    from scipy.io import netcdf_file

    netcdf_file(path, "r", mmap=True).close()


def _read_npy(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import ArrayOptions, parse
    from data_adapters.networks.npy import read_npy

    chosen = parse(ArrayOptions, options, "npy")
    with guard(path, "a numpy .npy file"):
        return read_npy(path, chosen)


def _read_npz(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import ArrayOptions, parse
    from data_adapters.networks.npy import read_npz

    chosen = parse(ArrayOptions, options, "npz")
    with guard(path, "a numpy .npz file"):
        return read_npz(path, chosen)


def _write_npz(obj: Any, path: Any) -> None:
    from data_adapters.networks.npy import write_npz

    write_npz(obj, path)


def _read_hdf5(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import ArrayOptions, parse
    from data_adapters.networks.hdf5 import read_hdf5

    chosen = parse(ArrayOptions, options, "hdf5")
    with guard(path, "an HDF5 file of responses"):
        return read_hdf5(path, chosen)


def _read_nwb(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import SpikeOptions, parse
    from data_adapters.spikes.nwb import read_nwb

    chosen = parse(SpikeOptions, options, "nwb")
    with guard(path, "an NWB file"):
        return read_nwb(path, chosen)


def _read_rsatoolbox(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import parse
    from data_adapters.rdms._sets import RdmOptions
    from data_adapters.rdms.rsatoolbox import read_rsatoolbox

    chosen = parse(RdmOptions, options, "rsatoolbox")
    with guard(path, "an HDF5 file of RDMs"):
        return read_rsatoolbox(path, chosen)


def _read_matlab_rdm(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import parse
    from data_adapters.rdms._sets import RdmOptions
    from data_adapters.rdms.matlab import read_matlab

    chosen = parse(RdmOptions, options, "matlab-rdm")
    with guard(path, "a MATLAB file of RDMs"):
        return read_matlab(path, chosen)


def _read_worm(path: str, **options: Any) -> Any:
    from data_adapters._guard import guard
    from data_adapters._options import WormOptions, parse
    from data_adapters.demo.worm import read_worm

    chosen = parse(WormOptions, options, "worm")
    with guard(path, "the data files of wormneuroatlas 0.0.7.3"):
        return read_worm(chosen)


REPCOMPARE = Format(
    name="repcompare",
    suffixes=(".nc",),
    extra="",
    reads="the native form: a representation, a tree, RDMs or scores, lazily",
    detect=_detect_repcompare,
    read=_read_repcompare,
    rank=30,
)
WORM = Format(
    name="worm",
    suffixes=(),
    extra="demo",
    reads="demo:worm: signal flow between neurons of C. elegans, wiring, genes and positions",
    detect=_detect_worm,
    read=_read_worm,
    rank=25,
)
NWB = Format(
    name="nwb",
    suffixes=(".nwb", ".nwb.zarr"),
    extra="",
    reads="spike times around events as presentation x unit [x time]; series=; stores in zarr need the extra zarr",
    detect=_detect_nwb,
    read=_read_nwb,
    rank=20,
)
NPY = Format(
    name="npy",
    suffixes=(".npy",),
    extra="",
    reads="one array (stimulus, unit), memory-mapped; feature maps are flattened",
    detect=_detect_npy,
    read=_read_npy,
    rank=10,
)
NPZ = Format(
    name="npz",
    suffixes=(".npz",),
    extra="",
    reads="parts by key, read at once; also written",
    detect=_detect_npz,
    read=_read_npz,
    write=_write_npz,
    rank=10,
    sequential=True,
)
HDF5 = Format(
    name="hdf5",
    suffixes=(".h5", ".hdf5"),
    extra="",
    reads="parts by dataset with one row per stimulus, lazily",
    detect=_detect_hdf5,
    read=_read_hdf5,
    rank=0,
)
RSATOOLBOX = Format(
    name="rsatoolbox",
    suffixes=(".h5", ".hdf5"),
    extra="",
    reads="a set of RDMs with its descriptors",
    detect=_detect_rsatoolbox,
    read=_read_rsatoolbox,
    rank=20,
)
MATLAB_RDM = Format(
    name="matlab-rdm",
    suffixes=(".mat",),
    extra="",
    reads="a set of RDMs: struct arrays with a field RDM, square or condensed arrays (MATLAB 5 to 7.3)",
    detect=_detect_matlab_rdm,
    read=_read_matlab_rdm,
    rank=5,
)
