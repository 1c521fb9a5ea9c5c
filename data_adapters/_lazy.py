"""Arrays on disk as representations: read when indexed, widened, reordered and flattened on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from repcompare.errors import FormatError, OptionError, choose
from repcompare.labels.schema import SAMPLE_DIMS, SCHEMA, dim_of, text, validate

SPACE = ("y", "x")
REDUCE = ("flatten", "mean_space", "max_space")
MOST_DIMS = 8


class Source(Protocol):
    """An array somewhere: its shape, its dtype, and a way to read a block of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    label: str

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Return the block; ``key`` has a slice, or for one axis an increasing index array, per axis."""
        ...

    def guard(self) -> AbstractContextManager[None]:
        """Turn errors of the library into FormatError."""
        ...


class InMemory:
    """A source that is already an array."""

    def __init__(self, values: np.ndarray, label: str) -> None:
        self.values, self.label = values, label
        self.shape, self.dtype = values.shape, values.dtype


def wide(dtype: np.dtype[Any], label: str) -> np.dtype[Any]:
    """Return the float dtype in which numbers of ``dtype`` are kept.

    Raises
    ------
    FormatError
        When they are not real numbers.

    Examples
    --------
    >>> wide(np.dtype("float16"), "x"), wide(np.dtype(">i4"), "x")
    (dtype('float32'), dtype('float64'))
    """
    if dtype.kind == "O":
        raise FormatError(
            f"{label}: holds pickled Python objects (dtype object), which are never loaded; "
            "expected numbers; write it again as a plain numeric array"
        )
    if dtype.kind not in "fbiu" or dtype.itemsize > 8:
        raise FormatError(f"{label}: has dtype {dtype}; expected real numbers (float, int or bool) up to 64 bits")
    narrow = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.float32 if narrow else np.float64)


def sample_of(dims: Sequence[str]) -> str:
    """Return the sample dim among the names of axes.

    Raises
    ------
    OptionError
        When there is none.
    """
    for dim in SAMPLE_DIMS:
        if dim in dims:
            return dim
    raise OptionError(f"dims={tuple(dims)}: expected one of {', '.join(SAMPLE_DIMS)} among them, for the rows")


def is_map(dims: Sequence[str]) -> bool:
    """Say whether the axes are those of feature maps."""
    return "channel" in dims or "y" in dims or "x" in dims


def check_dims(dims: Sequence[str], shape: tuple[int, ...], label: str) -> tuple[str, ...]:
    """Return the names of the axes after checking that they name each axis once.

    Raises
    ------
    OptionError
        When they do not fit the array.
    """
    dims = tuple(dims)
    if len(dims) != len(shape) or len(set(dims)) != len(dims):
        raise OptionError(f"{label}: dims={dims} must name each of the {len(shape)} axes of {shape} once")
    sample = sample_of(dims)
    others = {"channel", *SPACE} if is_map(dims) else {"unit", "time"}
    bad = [d for d in dims if d != sample and d not in others]
    if bad or ("unit" not in dims and not is_map(dims)):
        raise OptionError(
            f"{label}: dims={dims}: expected {sample!r} with 'unit' (and 'time'), or with 'channel', 'y' and 'x'"
        )
    return dims


class Responses(BackendArray):
    """An array on disk seen as (sample, unit[, time]); nothing is read before it is indexed.

    Parameters
    ----------
    source : Source
        What is stored.
    dims : tuple of str
        Names of the stored axes.
    reduce : str
        What becomes of feature maps.
    """

    def __init__(self, source: Source, dims: tuple[str, ...], reduce: str) -> None:
        self.source, self.stored_dims, self.reduce = source, dims, reduce
        self.dtype = wide(source.dtype, source.label)
        sizes = dict(zip(dims, source.shape, strict=True))
        self.sample = sample_of(dims)
        if is_map(dims):
            self.dims: tuple[str, ...] = (self.sample, "unit")
            kept = [n for d, n in sizes.items() if d != self.sample and (reduce == "flatten" or d not in SPACE)]
            self.shape: tuple[int, ...] = (sizes[self.sample], math.prod(kept))
        else:
            self.dims = (self.sample, "unit", *(d for d in dims if d not in (self.sample, "unit")))
            self.shape = tuple(sizes[d] for d in self.dims)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what the indexer of xarray asks for."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        whole = tuple(slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in key)
        with self.source.guard():
            block = self._maps(whole) if is_map(self.stored_dims) else self._plain(whole)
        block = block.astype(self.dtype, copy=False)
        drop = tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)
        return np.asarray(block[drop])

    def _plain(self, key: tuple[Any, ...]) -> np.ndarray:
        by_dim = dict(zip(self.dims, key, strict=True))
        block = self.source.read(tuple(by_dim[d] for d in self.stored_dims))
        return block.transpose([self.stored_dims.index(d) for d in self.dims])

    def _maps(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, units = key
        at = self.stored_dims.index(self.sample)
        block = self.source.read(tuple(rows if i == at else slice(None) for i in range(len(self.stored_dims))))
        return reduced(block, self.stored_dims, self.reduce)[:, units]


def reduced(block: np.ndarray, dims: Sequence[str], reduce: str) -> np.ndarray:
    """Return feature maps as (sample, unit), flattened in C order or reduced over space, widened."""
    sample = sample_of(dims)
    maps = np.moveaxis(block, list(dims).index(sample), 0)
    if reduce != "flatten":
        space = tuple(i for i, d in enumerate([sample, *(d for d in dims if d != sample)]) if d in SPACE)
        maps = maps.max(space) if reduce == "max_space" else maps.mean(space, dtype=_accumulator(maps.dtype))
    return maps.reshape(len(maps), math.prod(maps.shape[1:]))


def _accumulator(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def map_labels(sizes: Mapping[str, int], reduce: str) -> dict[str, np.ndarray]:
    """Return ``unit_channel``, ``unit_channel_y`` and ``unit_channel_x`` of flattened feature maps.

    Parameters
    ----------
    sizes : mapping of str to int
        Lengths of the stored axes without the sample axis, in stored order.
    reduce : str
        The option of this name.

    Examples
    --------
    >>> {k: v.tolist() for k, v in map_labels({"channel": 2, "y": 1, "x": 2}, "flatten").items()}
    {'unit_channel': [0, 0, 1, 1], 'unit_channel_y': [0, 0, 0, 0], 'unit_channel_x': [0, 1, 0, 1]}
    """
    kept = {d: n for d, n in sizes.items() if reduce == "flatten" or d not in SPACE}
    grid = np.indices(tuple(kept.values())).reshape(len(kept), -1)
    names = {"channel": "unit_channel", "y": "unit_channel_y", "x": "unit_channel_x"}
    return {names[d]: grid[i] for i, d in enumerate(kept)}


def responses(source: Source | InMemory, dims: Sequence[str], reduce: str) -> xr.Variable:
    """Return stored numbers as a variable (sample, unit[, time]) of a schema dtype, lazily where possible.

    Raises
    ------
    FormatError, OptionError
        When the numbers are not real, or ``dims`` or ``reduce`` do not fit.
    """
    choose(reduce, REDUCE, "reduce")
    if len(source.shape) > MOST_DIMS:
        raise FormatError(f"{source.label}: has {len(source.shape)} axes; expected at most {MOST_DIMS}")
    dims = check_dims(dims, source.shape, source.label)
    if not isinstance(source, InMemory):
        lazy = Responses(source, dims, reduce)
        return xr.Variable(lazy.dims, indexing.LazilyIndexedArray(lazy))
    values, dtype = source.values, wide(source.dtype, source.label)
    if is_map(dims):
        flat = reduced(values, dims, reduce).astype(dtype, copy=False)
        return xr.Variable((sample_of(dims), "unit"), flat)
    order = (sample_of(dims), "unit", *(d for d in dims if d not in (sample_of(dims), "unit")))
    return xr.Variable(dims, values.astype(dtype, copy=False)).transpose(*order)


def labelled(response: xr.Variable, attrs: Mapping[str, Any], coords: Mapping[str, Any]) -> xr.Dataset:
    """Return a validated representation around a variable whose values may still be on disk.

    Parameters
    ----------
    response : xarray.Variable, dims (sample, unit[, time])
        The numbers.
    attrs : mapping
        ``modality``, ``source`` ....
    coords : mapping
        Labels by schema name; one value for a whole dim is repeated.

    Raises
    ------
    SchemaError
        Naming everything that breaks the schema.
    """
    sample = sample_of([str(d) for d in response.dims])
    variables: dict[str, Any] = {}
    for name, value in coords.items():
        dim = dim_of(name, sample) or sample
        array = text(value)
        variables[name] = (dim, np.full(response.sizes.get(dim, 1), array) if array.ndim == 0 else array)
    misfits = [
        f"{name} has {len(array)} entries"
        for name, (dim, array) in variables.items()
        if dim in response.sizes and array.shape != (response.sizes[dim],)
    ]
    if misfits:
        raise FormatError(
            f"{attrs.get('source', 'file')}: {'; '.join(misfits)}; the responses are {dict(response.sizes)}"
        )
    ds = xr.Dataset({"response": response}, coords=variables, attrs={"schema": SCHEMA, **attrs})
    if "time" in ds.coords:
        ds["time"].attrs.setdefault("units", "s")
    return validate(ds)
