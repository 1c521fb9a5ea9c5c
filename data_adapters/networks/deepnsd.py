"""Folders of DeepNSD: ``voxel_betas`` (voxel x picture) with ``voxel_metadata`` by ``voxel_id``."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr

from data_adapters._lazy import InMemory
from data_adapters._options import ArrayOptions, name_of, parse_memory
from data_adapters._parquet import INDEX, parquet_columns
from data_adapters.networks._container import Container, single
from data_adapters.networks.tables import Table, load_table
from repcompare.errors import FormatError, some
from repcompare.labels.values import duplicates

KEY = "voxel_id"
REGIONS = ("roi_name", "roi", "region")


def read_deepnsd(path: str, options: ArrayOptions) -> xr.Dataset:
    """Read a folder of voxel responses as one representation.

    Parameters
    ----------
    path : str
        Holds ``voxel_betas.csv`` or ``.parquet``, with a column ``voxel_id`` and one per picture; and
        ``voxel_metadata.csv``, whose columns become ``unit_*``.
    options : ArrayOptions
        Labels, ``memory=``; the modality is taken for ``"fmri"``.

    Returns
    -------
    xarray.Dataset
        Stimulus x unit; the pictures are the columns.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the tables do not fit together.
    MissingExtraError
        For parquet without pyarrow.
    """
    memory = parse_memory(options.memory)
    pictures, voxels, values = _betas(path, memory)
    twice = duplicates(voxels)
    if twice:
        raise FormatError(f"{path}: voxels {some(twice)} come more than once; expected each {KEY} once")
    container = Container(path, "deepnsd")
    container.arrays["voxel_betas"] = InMemory(np.ascontiguousarray(values.T), f"{name_of(path)}: voxel_betas")
    container.labels["stimulus_id"] = lambda: np.array(pictures)
    container.labels["unit_id"] = lambda: np.array(voxels)
    for name, column in _metadata(path, voxels, memory, container.notes).items():
        container.labels[name] = partial(np.asarray, column)
    return single(container, replace(options, modality=options.modality or "fmri"))


def _betas(path: str, memory: int) -> tuple[list[str], list[str], np.ndarray]:
    file = os.path.join(path, "voxel_betas.csv")
    if not os.path.isfile(file):
        return _parquet(os.path.join(path, "voxel_betas.parquet"), memory)
    table = load_table(file, memory)
    key = KEY if KEY in table.names else table.names[0]
    pictures = [n for n in table.names if n != key]
    columns = [table.numbers(n) for n in pictures]
    text = next((n for n, c in zip(pictures, columns, strict=True) if c is None), None)
    if text is not None or not columns:
        raise FormatError(f"{file}: column {text!r} holds text; expected {KEY} and a column of numbers per picture")
    return pictures, table.text(key), np.stack([c for c in columns if c is not None], axis=1)


def _parquet(file: str, memory: int) -> tuple[list[str], list[str], np.ndarray]:
    if not os.path.isfile(file):
        raise FormatError(f"{os.path.dirname(file)}: has no voxel_betas.csv or .parquet")
    table = parquet_columns(file, memory)
    key = next((k for k in (KEY, INDEX) if k in table), next(iter(table), ""))
    pictures = [n for n in table if n != key]
    odd = [n for n in pictures if not isinstance(table[n], np.ndarray)]
    if odd or not pictures:
        raise FormatError(
            f"{file}: column {odd[0] if odd else key!r} holds no numbers; expected {KEY} and a column of numbers per "
            "picture"
        )
    voxels = [str(v) for v in np.asarray(table[key]).tolist()]
    return pictures, voxels, np.stack([table[n].astype(np.float64) for n in pictures], axis=1)


def _metadata(path: str, voxels: list[str], memory: int, notes: list[str]) -> dict[str, np.ndarray]:
    """Return the columns of the table of voxels in the order of the responses."""
    file = os.path.join(path, "voxel_metadata.csv")
    if not os.path.isfile(file):
        notes.append("no voxel_metadata.csv: voxels have no labels")
        return {}
    table = load_table(file, memory)
    if KEY not in table.names:
        raise FormatError(
            f"{file}: has no column {KEY!r} (columns {some(table.names)}); expected it, to join the tables"
        )
    at = {v: i for i, v in enumerate(table.text(KEY))}
    lost = [v for v in voxels if v not in at]
    if lost:
        raise FormatError(f"{file}: has no row for voxels {some(lost)}; expected one for each voxel of voxel_betas")
    rows = np.array([at[v] for v in voxels])
    if len(at) > len(voxels):
        notes.append(f"{len(at) - len(voxels)} voxels of voxel_metadata.csv have no responses: left out")
    return {f"unit_{_label(n)}": _column(table, n)[rows] for n in table.names if n != KEY}


def _label(name: str) -> str:
    """Return the name of a column as the schema has it."""
    if name in REGIONS:
        return "region"
    clean = "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()
    return {"subj_id": "subject", "subject_id": "subject", "hemi": "hemisphere"}.get(clean, clean) or "label"


def _column(table: Table, name: str) -> np.ndarray:
    numbers = table.numbers(name)
    text = numbers is None or _label(name) in ("region", "subject", "session", "hemisphere", "layer")
    return np.array(table.text(name)) if text else np.asarray(numbers)
