"""Activations that arrive batch by batch: into memory, or into one native file that is complete or absent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._lazy import map_labels, reduced
from repcompare.errors import FormatError, OptionError
from repcompare.labels import store
from repcompare.labels.parts import check_paths, tree_of
from repcompare.labels.schema import SCHEMA, representation, text

NONZERO = 8  # per input unit of a random projection
CHANNELS = ("channel", "y", "x")


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """How a batch of one layer becomes rows.

    Attributes
    ----------
    reduce : str
        What becomes of feature maps (batch, channel, y, x).
    project : int, optional
        Layers with more units are projected on this many random directions.
    seed : int
        Of the projection.
    """

    reduce: str = "flatten"
    project: int | None = None
    seed: int = 0


class Layer:
    """One part under way: fixes its shape at the first batch and turns every batch into rows."""

    def __init__(self, name: str, first: np.ndarray, shaping: Shaping) -> None:
        self.name, self.shape, self.shaping = name, first.shape[1:], shaping
        self.dtype = first.dtype
        self.labels: dict[str, Any] = {"unit_layer": name}
        self.history: list[str] = []
        width = math.prod(self.shape)
        if len(self.shape) == 3:
            sizes = dict(zip(CHANNELS, self.shape, strict=True))
            self.labels |= map_labels(sizes, shaping.reduce)
            width = len(self.labels["unit_channel"])
            self.history.append(f"feature maps {self.shape}: reduce={shaping.reduce!r}")
        self.projection: Any = None
        if shaping.project is not None and width > shaping.project:
            self.projection = random_signs(width, shaping.project, shaping.seed).astype(self.dtype)
            self.history.append(f"{width} units projected on {shaping.project} random directions (seed {shaping.seed})")
            self.labels = {"unit_layer": name}
            width = shaping.project
        self.width = width

    def rows(self, batch: np.ndarray) -> np.ndarray:
        """Return a batch as (stimulus, unit)."""
        if batch.shape[1:] != self.shape:
            raise FormatError(
                f"layer {self.name!r} gave {batch.shape[1:]} after {self.shape}; expected equal shapes in every batch; "
                "give stimuli of one size, or pool (reduce=, pooling=)"
            )
        if len(self.shape) == 3:
            batch = reduced(batch, ("stimulus", *CHANNELS), self.shaping.reduce)
        flat = batch.reshape(len(batch), -1)
        return flat if self.projection is None else np.asarray(flat @ self.projection)


def random_signs(n: int, k: int, seed: int) -> Any:
    """Return a sparse random matrix that keeps distances in expectation.

    Each of the n inputs goes to 8 of the k outputs with signs at random, scaled so that squared lengths keep their mean
    (Kane and Nelson 2014, "Sparser Johnson-Lindenstrauss transforms").

    Parameters
    ----------
    n, k : int
        Numbers of inputs and outputs.
    seed : int
        Seed.

    Returns
    -------
    scipy.sparse.csr_array, shape (n, k)

    Examples
    --------
    >>> random_signs(100, 16, 0).shape
    (100, 16)
    """
    from scipy.sparse import csr_array

    rng = np.random.default_rng([seed, n, k])
    each = min(NONZERO, k)
    block = k // each  # one output in each of 8 blocks: never the same output twice
    columns = (rng.integers(0, block, (n, each)) + np.arange(each) * block).ravel()
    signs = rng.choice([-1.0, 1.0], n * each) / math.sqrt(each)
    return csr_array((signs, columns, np.arange(0, n * each + 1, each)), shape=(n, k))


@dataclass
class Recording:
    """Batches on their way into parts.

    Attributes
    ----------
    ids : sequence of str
        Names of all stimuli, in order.
    shaping : Shaping
        How batches become rows.
    memory : int
        Bytes that may be held.
    file : path, optional
        Write the parts to this native file in place of holding them.
    attrs : dict
        Attributes of every part.
    """

    ids: Sequence[str]
    shaping: Shaping
    memory: int
    file: Path | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    done: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    handle: Any = None

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    @property
    def bytes(self) -> int:
        """Size of all parts."""
        return sum(layer.width * layer.dtype.itemsize for layer in self.layers.values()) * len(self.ids)

    def begin(self, batch: Mapping[str, np.ndarray]) -> None:
        """Fix the parts from the first batch."""
        self.layers = {name: Layer(name, values, self.shaping) for name, values in batch.items()}
        check_paths(self.layers)

    def allocate(self) -> None:
        """Make room in memory, or in the file."""
        if self.file is None:
            if self.bytes > self.memory:
                raise OptionError(
                    f"{len(self.layers)} layers of {len(self.ids)} stimuli need {self.bytes} bytes; memory={self.memory}; "
                    "give store=path to write them to a file, pool maps by reduce='mean_space', or project=4096"
                )
            self.values = {n: np.empty((len(self.ids), y.width), y.dtype) for n, y in self.layers.items()}
            return
        import netCDF4

        part = self.stack.enter_context(store.atomic(self.file))
        xr.Dataset(attrs={"schema": SCHEMA}).to_netcdf(part, engine="netcdf4")
        for name, layer in self.layers.items():
            self._labels_alone(layer).to_netcdf(part, mode="a", group=name, engine="netcdf4")
        self.handle = self.stack.enter_context(netCDF4.Dataset(part, "a"))
        for name, layer in self.layers.items():
            group = self.handle[name]
            self.values[name] = group.createVariable("response", layer.dtype, ("stimulus", "unit"))

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        """Add a batch to every part."""
        if not self.layers:
            self.begin(batch)
            self.allocate()
        if set(batch) != set(self.layers):
            odd = sorted(set(batch) ^ set(self.layers))
            raise FormatError(f"{odd[0]!r} was not called as often in every batch; expected the same layers each time")
        n = {len(v) for v in batch.values()}
        if len(n) != 1:
            raise FormatError(f"the layers gave {sorted(n)} rows for one batch; expected one row per stimulus")
        (rows,) = n
        if self.done + rows > len(self.ids):
            raise FormatError(f"{self.done + rows} rows came for {len(self.ids)} stimuli; expected one row each")
        for name, values in batch.items():
            self.values[name][self.done : self.done + rows] = self.layers[name].rows(values)
        self.done += rows

    def finish(self) -> xr.DataTree:
        """Return the parts: held in memory, or opened from the file that is now complete."""
        if self.done != len(self.ids):
            raise FormatError(f"{self.done} rows came for {len(self.ids)} stimuli; expected one row each")
        if self.file is None:
            return tree_of({name: self._labelled(layer, self.values[name]) for name, layer in self.layers.items()})
        self.values.clear()
        self.stack.close()
        found: xr.DataTree = store.open(self.file)
        return found

    def _attrs(self, layer: Layer) -> dict[str, Any]:
        attrs = {**self.attrs, "history": [*self.attrs.get("history", []), *layer.history]}
        return attrs if layer.projection is None else {**attrs, "projection_seed": self.shaping.seed}

    def _labelled(self, layer: Layer, values: np.ndarray) -> xr.Dataset:
        ids = [f"{layer.name}/{i}" for i in range(layer.width)]
        return representation(values, stimulus=list(self.ids), attrs=self._attrs(layer), unit_id=ids, **layer.labels)

    def _labels_alone(self, layer: Layer) -> xr.Dataset:
        """Return everything of a part but its responses, which come batch by batch."""
        n = layer.width
        coords = {
            "stimulus": ("stimulus", text(list(self.ids))),
            "unit_id": ("unit", np.array([f"{layer.name}/{i}" for i in range(n)])),
            **{k: ("unit", np.full(n, v) if isinstance(v, str) else v) for k, v in layer.labels.items()},
        }
        return xr.Dataset(coords=coords, attrs={"schema": SCHEMA, **self._attrs(layer)})
