"""Objects that hold activations, known by their attributes alone: no library of deep learning is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._labels import numbered, running_count, stimulus_names
from data_adapters._lazy import InMemory, wide
from data_adapters._options import ArrayOptions
from data_adapters.networks._container import Container, in_memory, single, tree
from data_adapters.networks._values import as_array, checked_mask, is_tensor, pooled
from repcompare.errors import FormatError, OptionError, choose, suggest
from repcompare.labels.parts import tree_of
from repcompare.labels.schema import representation

POOLING = ("last", "first", "mean", "flatten", "tokens")
LENS = re.compile(
    r"(embed|pos_embed)\.?|hook_(embed|pos_embed|tokens)"
    r"|blocks\.\d+\.(hook_\w+|attn\.hook_\w+|mlp\.hook_\w+|ln\d\.hook_\w+)|ln_final\.hook_\w+"
)
PATTERN = re.compile(r"attn\.hook_(pattern|attn_scores)$")


@dataclass(frozen=True, kw_only=True)
class ObjectOptions:
    """Options of the readers of objects.

    Attributes
    ----------
    stimuli : list of str, path or "positional"
        One name per stimulus.
    layers : list of str, optional
        Which parts to take; default all.
    pooling : {"last", "first", "mean", "flatten", "tokens"}
        What becomes of tokens; ``"tokens"`` keeps a row (presentation) per token.
    attention_mask : array, shape (n_stimuli, n_tokens), optional
        1 for tokens, 0 for padding.
    tokens : list of list of str, optional
        Text of each token, for ``pooling="tokens"``.
    flatten : bool
        Take attention patterns (query by key) as responses.
    step : int, optional
        Which step of a generation.
    reduce : str
        What becomes of feature maps.
    dims : tuple of str, optional
        Names of axes, where they are not (stimulus, unit).
    modality : str
        Default ``"ann"``.
    """

    stimuli: Any = None
    layers: Any = None
    pooling: str = "last"
    attention_mask: Any = None
    tokens: Any = None
    flatten: bool = False
    step: int | None = None
    reduce: str = "flatten"
    dims: tuple[str, ...] | None = None
    modality: str | None = None


def is_hidden_states(obj: Any) -> bool:
    """Does the object carry ``hidden_states``, as models of Hugging Face return them?"""
    found = getattr(obj, "hidden_states", None)
    return isinstance(found, tuple | list) and len(found) > 0


def is_transformerlens(obj: Any) -> bool:
    """Is it a cache with the names of TransformerLens?"""
    found = getattr(obj, "cache_dict", obj)
    return isinstance(found, Mapping) and bool(found) and all(isinstance(k, str) and LENS.fullmatch(k) for k in found)


def is_nnsight(obj: Any) -> bool:
    """Is it a mapping whose entries have ``.output``, as caches of nnsight are?"""
    if not isinstance(obj, Mapping) or not obj:
        return False
    first = next(iter(obj.values()))
    first = first[0] if isinstance(first, list) and first else first
    return hasattr(first, "output") and not is_tensor(first)


def is_arrays(obj: Any) -> bool:
    """Is it a mapping of arrays, or a pandas DataFrame?"""
    if hasattr(obj, "columns") and hasattr(obj, "index") and hasattr(obj, "to_numpy"):
        return True
    values = list(obj.values()) if isinstance(obj, Mapping) else []
    return bool(values) and all(is_tensor(v) and not hasattr(v, "dims") for v in values)


def read_hidden_states(obj: Any, options: ObjectOptions) -> xr.DataTree:
    """Read hidden states as parts ``hidden_0`` (embeddings) to ``hidden_L``.

    Parameters
    ----------
    obj : object
        Has ``hidden_states``: L + 1 arrays (stimulus, token, unit).
    options : ObjectOptions
        ``stimuli=``, ``attention_mask=`` (without it no token counts as padding), ``pooling=``.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    FormatError, OptionError, SchemaError
        When the arrays, the mask or the names do not fit.
    """
    states = obj.hidden_states
    if isinstance(states[0], tuple | list):  # generate() gives a tuple of steps
        if options.step is None:
            raise OptionError(f"hidden_states holds {len(states)} steps of a generation; choose one by step=")
        states = states[options.step]
    arrays = {f"hidden_{i}": as_array(v, f"hidden_states[{i}]") for i, v in enumerate(states)}
    last = f"hidden_{len(arrays) - 1}"
    notes = {last: "in many models the last hidden state comes after the final norm"}
    return _tokens_tree("hidden states", arrays, options, notes)


def read_transformerlens(obj: Any, options: ObjectOptions) -> xr.DataTree:
    """Read a cache of TransformerLens as parts by hook.

    Parameters
    ----------
    obj : mapping, or object with ``cache_dict``
        Arrays (stimulus, position, unit) or (stimulus, position, head, unit).
    options : ObjectOptions
        ``stimuli=``, ``layers=``, ``pooling=``; ``flatten=True`` takes attention patterns.

    Returns
    -------
    xarray.DataTree
        Units of heads are named ``head.unit``.

    Raises
    ------
    FormatError, OptionError, SchemaError
        When only attention patterns are asked for without ``flatten``, or arrays and names do not fit.
    """
    cache = getattr(obj, "cache_dict", obj)
    chosen = _chosen(cache, options.layers)
    patterns = [n for n in chosen if PATTERN.search(n)]
    if patterns and not options.flatten:
        if options.layers is not None:
            raise OptionError(
                f"{patterns[0]!r} is an attention pattern (head, query, key), not responses of units; take it flattened by "
                "flatten=True, or leave it out"
            )
        chosen = [n for n in chosen if n not in patterns]
    arrays, ids = {}, {}
    for name in chosen:
        values = as_array(cache[name], name)
        if name in patterns:
            values = values.reshape(len(values), -1)
        elif values.ndim == 4:
            heads, width = values.shape[2:]
            ids[name] = [f"{name}/{h}.{d}" for h in range(heads) for d in range(width)]
            values = values.reshape(*values.shape[:2], -1)
        elif values.ndim == 2 and name == "hook_tokens":
            continue
        arrays[name] = values
    notes = (
        {n: f"{len(patterns)} attention patterns left out" for n in arrays} if patterns and not options.flatten else {}
    )
    return _tokens_tree("TransformerLens cache", arrays, options, notes, ids)


def read_nnsight(obj: Any, options: ObjectOptions) -> xr.DataTree:
    """Read a cache of nnsight as parts by module path.

    Parameters
    ----------
    obj : mapping of str to entry
        An entry has ``.output``; a list of entries belongs to a generation, of which ``step=`` picks one.
    options : ObjectOptions
        ``stimuli=``, ``layers=``, ``pooling=``, ``step=``.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    FormatError, OptionError, SchemaError
        When an entry has no array, or arrays and names do not fit.
    """
    arrays = {}
    for name in _chosen(obj, options.layers):
        entry = obj[name]
        if isinstance(entry, list):
            if options.step is None:
                raise OptionError(f"{name!r} holds {len(entry)} steps of a generation; choose one by step=")
            if not -len(entry) <= options.step < len(entry):
                raise OptionError(f"step={options.step}: {name!r} holds {len(entry)} steps")
            entry = entry[options.step]
        if not hasattr(entry, "output"):
            raise FormatError(f"{name!r}: a {type(entry).__name__} lacks the attribute 'output'")
        output = entry.output
        while isinstance(output, tuple | list) and len(output):
            output = next((v for v in output if is_tensor(v)), output[0])
        arrays[name] = as_array(output, name)
    return _tokens_tree("nnsight cache", arrays, options, {})


def read_arrays(obj: Any, options: ObjectOptions) -> xr.DataTree | xr.Dataset:
    """Read a mapping of arrays or tensors as parts, or a data frame as one representation.

    Parameters
    ----------
    obj : mapping or pandas.DataFrame
        Arrays (stimulus, unit) or feature maps by name; one entry ``stimulus_id`` may name the rows.  Of a data frame the
        index names the stimuli and columns of numbers are units.
    options : ObjectOptions
        ``stimuli=``, ``layers=``, ``dims=``, ``reduce=``.

    Returns
    -------
    xarray.DataTree or xarray.Dataset

    Raises
    ------
    FormatError, OptionError, SchemaError
        When arrays and names do not fit.
    """
    given = ArrayOptions(stimuli=options.stimuli, dims=options.dims, reduce=options.reduce, modality=options.modality)
    if not isinstance(obj, Mapping):
        return _frame(obj, given)
    arrays: dict[str, np.ndarray] = {}
    for name, value in obj.items():
        plain = np.asarray(value) if not hasattr(value, "detach") else None
        arrays[str(name)] = plain if plain is not None and plain.ndim == 1 else as_array(value, str(name))
    chosen = _chosen(arrays, options.layers)
    kept = {n: a for n, a in arrays.items() if n in chosen or a.ndim == 1}
    return tree(in_memory(kept, "mapping", "arrays"), given)


def _frame(frame: Any, options: ArrayOptions) -> xr.Dataset:
    numeric = frame.select_dtypes(["number", "bool"])
    left = [str(c) for c in frame.columns if c not in set(numeric.columns)]
    if not len(numeric.columns):
        raise FormatError(f"the data frame has no column of numbers (columns {', '.join(left[:8])}); expected units")
    values = numeric.to_numpy()
    container = Container("data frame", "DataFrame")
    container.arrays["response"] = InMemory(values.astype(wide(values.dtype, "data frame")), "data frame")
    container.labels["unit_id"] = lambda: np.array([str(c) for c in numeric.columns])
    for name in left:
        label = name if name.startswith("stimulus_") else f"stimulus_{name}"
        container.labels[label] = partial(np.array, frame[name].astype(str).tolist())
    if options.stimuli is None:
        options = replace(options, stimuli=[str(i) for i in frame.index])
    return single(container, options)


def _chosen(found: Mapping[str, Any], layers: Any) -> list[str]:
    if layers is None:
        return list(found)
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        if name not in found:
            raise OptionError(f"there is no layer {name!r}{suggest(name, found)}")
    return wanted


def _tokens_tree(
    origin: str,
    arrays: Mapping[str, np.ndarray],
    options: ObjectOptions,
    notes: Mapping[str, str],
    unit_ids: Mapping[str, Sequence[str]] | None = None,
) -> xr.DataTree:
    """Return arrays (stimulus, token, unit) or (stimulus, unit) as a tree of parts."""
    choose(options.pooling, POOLING, "pooling")
    if not arrays:
        raise FormatError(f"{origin}: holds no responses; expected arrays (stimulus, token, unit)")
    names, _, note = stimulus_names(options.stimuli, origin, {})
    parts = {}
    for name, values in arrays.items():
        n = len(values)
        ids = (numbered(n) if names is None else names).tolist()
        if values.ndim not in (2, 3) or len(ids) != n:
            raise FormatError(
                f"{origin}: {name} has shape {values.shape}; expected ({len(ids)} stimuli, tokens, units)"
            )
        attrs = {"modality": options.modality or "ann", "source": origin}
        history = [h for h in (note, notes.get(name, "")) if h]
        labels: dict[str, Any] = {"unit_layer": name, "unit_id": [f"{name}/{i}" for i in range(values.shape[-1])]}
        if unit_ids and name in unit_ids and options.pooling != "flatten":
            labels["unit_id"] = unit_ids[name]
        if values.ndim == 3 and options.pooling == "tokens":
            parts[name] = _per_token(origin, values, ids, options, {**labels, "attrs": {**attrs, "history": history}})
            continue
        if values.ndim == 3:
            values = pooled(values, options.pooling, options.attention_mask, f"{origin}: {name}")
            history.append(f"pooling of tokens: {options.pooling}")
            if options.attention_mask is None and options.pooling != "flatten":
                history.append("no attention mask was given: no token counts as padding")
        if len(labels["unit_id"]) != values.shape[1]:
            labels["unit_id"] = [f"{name}/{i}" for i in range(values.shape[1])]
        parts[name] = representation(values, stimulus=ids, attrs={**attrs, "history": history}, **labels)
    return tree_of(parts)


def _per_token(
    origin: str, values: np.ndarray, ids: list[str], options: ObjectOptions, labels: dict[str, Any]
) -> xr.Dataset:
    """Return a row (presentation) per token that is no padding."""
    mask = checked_mask(options.attention_mask, values.shape[:2], origin)
    row, place = np.nonzero(mask)
    if options.tokens is not None:
        lengths = [len(t) for t in options.tokens]
        if len(lengths) != len(ids) or any(
            n not in (values.shape[1], int(mask[i].sum())) for i, n in enumerate(lengths)
        ):
            raise FormatError(
                f"{origin}: tokens= has lengths {lengths[:8]}; expected {values.shape[1]} for each of {len(ids)}"
            )
        padded = [n == values.shape[1] for n in lengths]
        count = running_count(np.array([ids[r] for r in row]))
        labels["stimulus_token"] = [
            str(options.tokens[r][p if padded[r] else c]) for r, p, c in zip(row, place, count, strict=True)
        ]
    else:
        labels["stimulus_token"] = [str(p) for p in place]
    labels |= {"stimulus_sequence": [ids[r] for r in row], "stimulus_position": place}
    return representation(
        values[row, place],
        dims=("presentation", "unit"),
        stimulus_id=[f"{ids[r]}/{p}" for r, p in zip(row, place, strict=True)],
        **labels,
    )
