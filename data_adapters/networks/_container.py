"""Files with several arrays by name: which are responses, which label them, and the tree that they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._arrays import Labels, axes, part
from data_adapters._labels import stimulus_names
from data_adapters._lazy import InMemory, sample_of
from data_adapters._options import LABEL, ArrayOptions, name_of
from repcompare.errors import FormatError
from repcompare.labels.parts import tree_of
from repcompare.labels.schema import SAMPLE_DIMS

WEIGHTS = re.compile(r"(^|[./])(weight|bias|running_mean|running_var|num_batches_tracked|kernel|gamma|beta)$")


@dataclass
class Container:
    """What a file holds.

    Attributes
    ----------
    path : str
        The file.
    format : str
        Name of the format, for ``attrs["source"]``.
    arrays : dict
        Sources of two axes and more by name; ``/`` in a name makes nested parts.
    labels : dict of str to callable
        Arrays of one axis by name, read when called; one in a folder belongs to the parts below it.
    dims : dict
        Names of axes where the file has them.
    own : dict
        Labels of one part alone, by part; and its ``history``.
    skipped : list of str
        What is neither, in words.
    notes : list of str
        Lines for the history.
    close : callable, optional
        Closes the files behind the arrays, with the tree.
    """

    path: str
    format: str
    arrays: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Callable[[], Any]] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    close: Callable[[], None] | None = None

    @property
    def origin(self) -> str:
        """File and format, as attributes record it."""
        return f"{name_of(self.path)} ({self.format})"

    def near(self, name: str) -> dict[str, Callable[[], Any]]:
        """Return the labels of a part by their last name: those of its folder hide those of the folders above."""
        steps = name.split("/")[:-1]
        found: dict[str, Callable[[], Any]] = {}
        for depth in range(len(steps) + 1):
            prefix = "".join(f"{s}/" for s in steps[:depth])
            found.update(
                {
                    k.removeprefix(prefix): v
                    for k, v in self.labels.items()
                    if k.rpartition("/")[0] == prefix.rstrip("/")
                }
            )
        return found


def place(container: Container, name: str, source: Any, read: Callable[[], Any]) -> None:
    """Put an array where it belongs: responses, labels, or neither."""
    if len(source.shape) >= 2 and source.dtype.kind in "fbiu":
        container.arrays[name] = source
    elif len(source.shape) == 1:
        container.labels[name] = read
    else:
        container.skipped.append(f"{name} {source.shape} {source.dtype}")


def tree(container: Container, options: ArrayOptions, *, beside: bool = False) -> xr.DataTree:
    """Return the arrays of a file as a tree of parts.

    Parameters
    ----------
    container : Container
        What the file holds.
    options : ArrayOptions
        Names of stimuli, axes, reduction and labels.
    beside : bool
        Look for label files in the folder of the file.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the file holds weights, no responses, or none with one row per stimulus.
    """
    path = container.path
    refuse_weights(path, [*container.arrays, *container.labels])
    if not container.arrays:
        found = ", ".join([*container.skipped, *container.labels][:5]) or "nothing"
        raise FormatError(f"{path}: no responses in it: found {found}; expected arrays (stimulus, unit)")
    known = {name: _labels(container, name, options, beside) for name in container.arrays}
    chosen = {name: _options(container, name, options) for name in container.arrays}
    fitting = [n for n, s in container.arrays.items() if _fits(s, known[n], chosen[n])]
    if not fitting:
        name, source = next(iter(container.arrays.items()))
        return part(source, name, known[name], container.origin, chosen[name])  # type: ignore[return-value] # raises
    left = [
        f"array {n} {s.shape} has another number of rows: left out"
        for n, s in container.arrays.items()
        if n not in fitting
    ]
    parts = {}
    for name in fitting:
        labels = replace(known[name], notes=(*known[name].notes, *container.notes, *left))
        parts[name] = part(container.arrays[name], name, labels, container.origin, chosen[name])
    whole = tree_of(parts)
    whole.set_close(container.close)
    return whole


def single(container: Container, options: ArrayOptions) -> xr.Dataset:
    """Return the only array of a file as one representation."""
    (name, source), *_ = container.arrays.items()
    labels = _labels(container, name, options, True)
    labels = replace(labels, notes=(*labels.notes, *container.notes))
    return part(source, name, labels, container.origin, _options(container, name, options))


def _options(container: Container, name: str, options: ArrayOptions) -> ArrayOptions:
    """Take the names of axes from the file where they are those of the schema and the caller gave none."""
    dims = container.dims.get(name, ())
    named = "unit" in dims and any(d in dims for d in SAMPLE_DIMS)
    return replace(options, dims=dims) if named and options.dims is None and options.stimulus_axis is None else options


def _labels(container: Container, name: str, options: ArrayOptions, beside: bool) -> Labels:
    near = container.near(name)
    if "stimulus" in near and "stimulus_id" not in near:
        near["stimulus_id"] = near.pop("stimulus")
    names, origin, note = stimulus_names(options.stimuli, container.path, near, beside=beside)
    used = ("stimulus_id", options.stimuli)
    given = {k: np.asarray(read()) for k, read in near.items() if LABEL.fullmatch(k) and k not in used}
    own = container.own.get(name, {})
    given |= {k: np.asarray(v) for k, v in own.items() if LABEL.fullmatch(k)}
    notes = [*own.get("history", ()), *((note,) if note else ())]
    return Labels(names, origin, tuple(notes), given)


def _fits(source: Any, labels: Labels, options: ArrayOptions) -> bool:
    dims = axes(source.shape, options, source.label)
    if len(dims) != len(source.shape):
        return False
    return labels.names is None or source.shape[dims.index(sample_of(dims))] == len(labels.names)


def refuse_weights(path: str, names: list[str]) -> None:
    """Raise when the names are those of a network's weights.

    Raises
    ------
    FormatError
        Naming one of them.
    """
    found = [n for n in names if WEIGHTS.search(n)]
    if found and len(found) * 2 > len(names):
        raise FormatError(
            f"{path}: {found[0]}: these are weights, not responses; expected activations (stimulus, unit); "
            "run the network on the stimuli and save what its layers give (data_adapters.networks.record)"
        )


def in_memory(values: Mapping[str, np.ndarray], path: str, format: str) -> Container:
    """Return arrays that are already read as the content of a file."""
    container = Container(path, format)
    for name, array in values.items():
        place(container, name, InMemory(array, f"{path}: {name}"), partial(np.asarray, array))
    return container
