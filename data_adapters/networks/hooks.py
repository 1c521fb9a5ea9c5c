"""Live networks: what their layers give for batches of stimuli, recorded through forward hooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._lazy import REDUCE
from data_adapters._options import MEMORY, parse_memory
from data_adapters.networks._stream import Recording, Shaping
from data_adapters.networks._values import POOLING, as_array, is_tensor, pooled
from repcompare.errors import FormatError, OptionError, choose, some, suggest
from repcompare.labels.values import duplicates

MASK = "attention_mask"


def record(  # noqa: PLR0913 - the options of the public interface
    model: Any,
    batches: Iterable[Any],
    layers: str | Sequence[str] | Mapping[str, Any],
    *,
    stimulus_ids: Sequence[str] | None = None,
    reduce: str = "flatten",
    pooling: str = "last",
    store: str | os.PathLike[str] | None = None,
    memory: int | str = MEMORY,
    project: int | None = None,
    seed: int = 0,
) -> xr.DataTree:
    """Run a network on batches of stimuli and record what its layers give.

    The network is any callable with ``named_modules()`` whose modules have ``register_forward_hook``; no library of deep
    learning is imported.  Hooks are removed whatever happens.

    Parameters
    ----------
    model : callable
        In evaluation mode: ``model.training`` true raises.
    batches : iterable of (input, ids)
        ``input`` is what the network is called with (``model(**input)`` where it is a mapping), ``ids`` the names of its
        stimuli in order.
    layers : str, sequence of str, or mapping
        Names of modules.  A mapping gives for each the key of the output to take where a module returns a mapping (None:
        the only or first array).
    stimulus_ids : sequence of str, optional
        The names expected, in order; those of the batches must be the same.  Without it the batches are run through with
        their own names, all of which must be known before the first is run: give a list then.
    reduce : {"flatten", "mean_space", "max_space"}
        What becomes of feature maps (stimulus, channel, y, x).
    pooling : {"last", "first", "mean", "flatten"}
        What becomes of tokens (stimulus, token, unit); an ``attention_mask`` in the input marks the padding.
    store : path, optional
        Write the parts to this native file (.nc), batch by batch; it appears when it is complete.
    memory : int or str
        Without ``store``: largest size of all parts.  It is predicted after the first batch.
    project : int, optional
        Layers with more units are projected on this many sparse random directions, which keeps distances.
    seed : int
        Of the projection.

    Returns
    -------
    xarray.DataTree
        One part per layer; a module that is called k times per pass gives ``name``, ``name#1`` ...

    Raises
    ------
    OptionError
        When a layer is not there, the network is in training mode, or memory is too small.
    FormatError
        When rows and names differ, names come twice or in another order, or an output is no array.

    Examples
    --------
    >>> class Layer:
    ...     def __init__(self): self.hooks = []
    ...     def register_forward_hook(self, hook):
    ...         self.hooks.append(hook)
    ...         return type("Handle", (), {"remove": lambda handle: self.hooks.remove(hook)})()
    ...     def __call__(self, x):
    ...         y = np.maximum(x, 0)
    ...         for hook in self.hooks: hook(self, (x,), y)
    ...         return y
    >>> class Net(Layer):
    ...     training = False
    ...     def __init__(self): self.relu = Layer()
    ...     def named_modules(self): return [("", self), ("relu", self.relu)]
    ...     def __call__(self, x): return self.relu(x)
    >>> tree = record(Net(), [(np.array([[-1.0, 2.0]]), ["cat"]), (np.array([[3.0, -4.0]]), ["dog"])], ["relu"])
    >>> tree["relu"]["response"].sel(stimulus="dog").values.tolist()
    [3.0, 0.0]
    """
    choose(reduce, REDUCE, "reduce")
    choose(pooling, POOLING, "pooling")
    wanted = _modules(model, layers)
    if getattr(model, "training", False):
        raise OptionError("the network is in training mode (dropout, batch statistics); call model.eval() first")
    if stimulus_ids is None:
        batches = list(batches)
        stimulus_ids = [str(i) for batch in batches for i in _split(batch)[1]]
    ids = [str(i) for i in stimulus_ids]
    _check_ids(ids)
    shaping = Shaping(reduce=reduce, project=project, seed=seed)
    attrs = {
        "modality": "ann",
        "source": f"{type(model).__name__} (record)",
        "history": [f"pooling of tokens: {pooling}"],
    }
    caught: dict[str, list[Any]] = {}
    file = None if store is None else Path(store)
    recording = Recording(ids, shaping, parse_memory(memory), file, attrs)
    with recording, _hooked(wanted, caught), _no_gradients():
        for batch in batches:
            inputs, names = _split(batch)
            _check_order(ids, recording.done, names)
            caught.clear()
            mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
            _ = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
            rows = _rows(wanted, caught, pooling, mask)
            wrong = next((n for n, v in rows.items() if len(v) != len(names)), None)
            if wrong is not None:
                raise FormatError(
                    f"layer {wrong!r} gave {len(rows[wrong])} rows for {len(names)} stimuli; expected one each"
                )
            recording.add(rows)
        return recording.finish()


def _split(batch: Any) -> tuple[Any, list[str]]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise FormatError(
            f"a batch is a {type(batch).__name__}; expected (input, ids): what the network gets, and its names"
        )
    inputs, names = batch
    if isinstance(names, str) or not hasattr(names, "__len__"):
        raise FormatError(f"the names of a batch are a {type(names).__name__}; expected a list, one name per stimulus")
    return inputs, [str(n) for n in names]


def _check_ids(ids: Sequence[str]) -> None:
    if not ids:
        raise FormatError("there are no stimuli; expected at least one batch with names")
    twice = duplicates(list(ids))
    if twice:
        raise FormatError(
            f"stimuli {some(twice)} come more than once; expected each once: a network gives the same again"
        )


def _check_order(ids: Sequence[str], done: int, names: Sequence[str]) -> None:
    expected = list(ids[done : done + len(names)])
    if expected != list(names):
        at = next((i for i, (a, b) in enumerate(zip(expected, names, strict=False)) if a != b), len(expected))
        found = names[at] if at < len(names) else "nothing"
        wanted = expected[at] if at < len(expected) else "nothing"
        raise FormatError(
            f"row {done + at} of the batches is {found!r}; stimulus_ids has {wanted!r} there; expected the same order; "
            "do not shuffle the batches"
        )


def _modules(model: Any, layers: str | Sequence[str] | Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the modules asked for by name, with the key of their output."""
    if not hasattr(model, "named_modules"):
        raise OptionError(
            f"a {type(model).__name__} has no attribute 'named_modules'; expected a network with named layers"
        )
    modules = dict(model.named_modules())
    keys = (
        dict(layers) if isinstance(layers, Mapping) else dict.fromkeys([layers] if isinstance(layers, str) else layers)
    )
    if not keys:
        raise OptionError("layers= names no layer; expected at least one of model.named_modules()")
    for name in keys:
        if name not in modules:
            raise OptionError(f"the network has no layer {name!r}{suggest(name, modules)}")
        if not hasattr(modules[name], "register_forward_hook"):
            raise OptionError(
                f"layer {name!r} ({type(modules[name]).__name__}) has no attribute 'register_forward_hook'"
            )
    return {name: (modules[name], key) for name, key in keys.items()}


@contextmanager
def _hooked(wanted: Mapping[str, tuple[Any, Any]], caught: dict[str, list[Any]]) -> Iterator[None]:
    """Attach the hooks; take every one away again."""
    handles = []

    def catcher(name: str, key: Any) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            # copied at once: a later layer may change its input in place
            caught.setdefault(name, []).append(as_array(_array_in(output, name, key), f"layer {name!r}"))

        return hook

    try:
        for name, (module, key) in wanted.items():
            handles.append(module.register_forward_hook(catcher(name, key)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _array_in(output: Any, name: str, key: Any) -> Any:
    """Return the array of an output: itself, the first of a tuple, or that of a key."""
    if is_tensor(output):
        return output
    if isinstance(output, Mapping):
        if key in output:
            return output[key]
        raise OptionError(
            f"layer {name!r} returns a mapping with keys {some(output)}; "
            f"name one by layers={{{name!r}: {next(iter(output), 'key')!r}}}"
        )
    if isinstance(output, tuple | list):
        for item in output:
            if is_tensor(item):
                return item
    raise FormatError(f"layer {name!r} returns a {type(output).__name__} without an array; choose another layer")


def _no_gradients() -> AbstractContextManager[Any]:
    """Switch gradients off in torch, where the user has imported it."""
    torch = sys.modules.get("torch")
    return torch.no_grad() if hasattr(torch, "no_grad") else nullcontext()  # type: ignore[union-attr]


def _rows(
    wanted: Mapping[str, Any], caught: Mapping[str, list[np.ndarray]], pooling: str, mask: Any
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name in wanted:
        if name not in caught:
            raise OptionError(f"layer {name!r} was not called for this input; leave it out, or check the network")
        for i, values in enumerate(caught[name]):
            part = name if i == 0 else f"{name}#{i}"
            where = f"layer {part!r}"
            found[part] = pooled(values, pooling, mask, where) if values.ndim == 3 else values
            if values.ndim < 2 or values.ndim > 4:
                raise FormatError(
                    f"{where}: gives shape {values.shape}; expected (stimulus, unit), tokens or feature maps"
                )
    return found
