"""The formats of networks' activations: how each is recognised, and its reader, imported when called."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from repcompare.labels.formats import Format

HERE = "data_adapters.networks"
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9c"


def _reader(name: str, module: str, expected: str, options: str = "ArrayOptions") -> Callable[..., Any]:
    """Return a reader that parses its options and imports its module only when it is called."""

    def read(path: str, **given: Any) -> Any:
        from data_adapters._guard import guard
        from data_adapters._options import parse

        home = import_module(f"{HERE}.{module}")
        kind = getattr(home, options)
        with guard(str(path), expected):
            return getattr(home, f"read_{name}")(path, parse(kind, given, name))

    return read


def _object_reader(name: str) -> Callable[..., Any]:
    def read(obj: Any, **given: Any) -> Any:
        from data_adapters._options import parse

        home = import_module(f"{HERE}.objects")
        return getattr(home, f"read_{name}")(obj, parse(home.ObjectOptions, given, name))

    return read


def _writer(obj: Any, path: Any) -> None:
    from data_adapters.networks.safetensors import write_safetensors

    write_safetensors(obj, path)


def _write_csv(obj: Any, path: Any) -> None:
    from data_adapters.networks.tables import write_table

    write_table(obj, path)


def _ends(path: str, *suffixes: str) -> bool:
    return path.lower().endswith(suffixes)


def _detect_safetensors(path: str, head: bytes) -> bool:
    begins = len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 10**8
    return begins or (bool(head) and _ends(path, ".safetensors"))


def _detect_torch(path: str, head: bytes) -> bool:
    if head.startswith(LEGACY_TORCH):
        return True
    if head.startswith(ZIP_MAGIC):
        from data_adapters.networks.torch_file import is_torch_zip

        return is_torch_zip(path)
    return bool(head) and _ends(path, ".pt", ".pth")


def _detect_zarr(path: str, head: bytes) -> bool:
    if not (head.startswith(ZIP_MAGIC) or (not head and os.path.isdir(path))):
        return False
    if not head:  # a directory: no reader is needed to look for its marker files
        return any(os.path.isfile(os.path.join(path, m)) for m in ("zarr.json", ".zgroup", ".zarray"))
    from data_adapters.networks.zarr_store import is_zarr

    return is_zarr(path)


def _detect_csv(path: str, head: bytes) -> bool:
    return bool(head) and b"\0" not in head and _ends(path, ".csv", ".tsv")


def _detect_onnx(path: str, head: bytes) -> bool:
    return bool(head) and _ends(path, ".onnx")


def _listing(path: str, head: bytes) -> list[str]:
    return [] if head or not os.path.isdir(path) else os.listdir(path)


def _detect_thingsvision(path: str, head: bytes) -> bool:
    names = _listing(path, head)
    kinds = (".npy", ".hdf5", ".h5", ".mat", ".pt", ".txt")
    return "file_names.txt" in names and any(n.startswith("features") and n.endswith(kinds) for n in names)


def _detect_net2brain(path: str, head: bytes) -> bool:
    if head.startswith(ZIP_MAGIC):
        from data_adapters._zip import names

        return {"rdm.npy", "stimuli_name.npy"} <= set(names(path))
    listed = _listing(path, head)
    arrays = [n for n in listed if n.endswith(".npz")]
    return bool(arrays) and len(arrays) * 2 > len(listed)


def _detect_deepnsd(path: str, head: bytes) -> bool:
    names = _listing(path, head)
    return "voxel_betas.csv" in names or "voxel_betas.parquet" in names


def _accepts(name: str) -> Callable[[Any], bool]:
    def accepts(obj: Any) -> bool:
        home = import_module(f"{HERE}.objects")
        return bool(getattr(home, f"is_{name}")(obj))

    return accepts


def _never(path: str, head: bytes) -> bool:
    return False


SAFETENSORS = Format(
    name="safetensors",
    suffixes=(".safetensors",),
    extra="",
    reads="parts by tensor, lazily; also written",
    detect=_detect_safetensors,
    read=_reader("safetensors", "safetensors", "a safetensors file"),
    write=_writer,
    rank=10,
)
TORCH = Format(
    name="torch",
    suffixes=(".pt", ".pth", ".bin"),
    extra="",
    reads="parts by tensor, lazily, without torch; nothing that the file names is run",
    detect=_detect_torch,
    read=_reader("torch", "torch_file", "a file that torch.save wrote"),
    rank=12,
)
ZARR = Format(
    name="zarr",
    suffixes=(".zarr", ".zarr.zip"),
    extra="zarr",
    reads="parts by array, lazily; directories and zip files",
    detect=_detect_zarr,
    read=_reader("zarr", "zarr_store", "a zarr store"),
    rank=12,
)
CSV = Format(
    name="csv",
    suffixes=(".csv", ".tsv"),
    extra="",
    reads="a table: one row per stimulus, columns of numbers are units; also written",
    detect=_detect_csv,
    read=_reader("table", "tables", "a table of text"),
    write=_write_csv,
    rank=1,
    sequential=True,
)
ONNX = Format(
    name="onnx",
    suffixes=(".onnx",),
    extra="onnx",
    reads="runs the network on stimuli=: parts by output",
    detect=_detect_onnx,
    read=_reader("onnx", "onnx_net", "an ONNX network", "OnnxOptions"),
    rank=10,
    sequential=True,
)
THINGSVISION = Format(
    name="thingsvision",
    suffixes=(),
    extra="",
    reads="a folder of features.* and file_names.txt",
    detect=_detect_thingsvision,
    read=_reader("thingsvision", "thingsvision", "a folder that thingsvision wrote"),
    rank=15,
)
NET2BRAIN = Format(
    name="net2brain",
    suffixes=(),
    extra="",
    reads="a folder with an npz file per stimulus or per layer; its files of RDMs",
    detect=_detect_net2brain,
    read=_reader("net2brain", "net2brain", "activations or RDMs of Net2Brain"),
    rank=14,
    sequential=True,
)
DEEPNSD = Format(
    name="deepnsd",
    suffixes=(),
    extra="",
    reads="a folder of voxel_betas (voxel x picture; csv, or parquet with pyarrow) and voxel_metadata",
    detect=_detect_deepnsd,
    read=_reader("deepnsd", "deepnsd", "a folder of DeepNSD"),
    rank=16,
    sequential=True,
)
HIDDEN_STATES = Format(
    name="hidden_states",
    suffixes=(),
    extra="",
    reads="object: what a Hugging Face model returns with output_hidden_states=True",
    detect=_never,
    read=_object_reader("hidden_states"),
    accepts=_accepts("hidden_states"),
    rank=20,
)
TRANSFORMERLENS = Format(
    name="transformerlens",
    suffixes=(),
    extra="",
    reads="object: an ActivationCache of TransformerLens, or a dictionary with its names",
    detect=_never,
    read=_object_reader("transformerlens"),
    accepts=_accepts("transformerlens"),
    rank=20,
)
NNSIGHT = Format(
    name="nnsight",
    suffixes=(),
    extra="",
    reads="object: a cache of nnsight, a mapping of paths to entries with .output",
    detect=_never,
    read=_object_reader("nnsight"),
    accepts=_accepts("nnsight"),
    rank=20,
)
ARRAYS = Format(
    name="arrays",
    suffixes=(),
    extra="",
    reads="object: a mapping of arrays or tensors by layer, or a pandas DataFrame with stimuli as index",
    detect=_never,
    read=_object_reader("arrays"),
    accepts=_accepts("arrays"),
    rank=0,
)
