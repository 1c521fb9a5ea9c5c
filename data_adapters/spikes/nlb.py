"""Neural Latents Benchmark files: rates or spikes of trials, as HDF5."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import POSITIONAL, numbered, running_count, stimulus_names
from data_adapters._lazy import labelled, responses
from data_adapters._options import name_of
from repcompare.errors import FormatError, OptionError, suggest
from repcompare.labels.parts import tree_of

MEMBER = re.compile(r"(train|eval)_(rates|spikes)_(heldin|heldout)(_forward)?")
WIDTH, WIDE = 0.005, 0.02


@dataclass(frozen=True, kw_only=True)
class NlbOptions:
    """Options of Neural Latents Benchmark files.

    Attributes
    ----------
    stimuli : list of str, path or "positional", optional
        One name per trial of the split.
    split : {"train", "eval"}, optional
        Only these trials.
    part : str, optional
        Only these arrays: ``"heldin"``, ``"heldout"``, ``"rates"``, ``"spikes"``, or a whole name.
    """

    stimuli: Any = None
    split: str | None = None
    part: str | None = None


def is_nlb(path: str) -> bool:
    """Say whether an HDF5 file holds arrays with the names of the benchmark, at its root or one group below."""
    attrs, names, _ = _hdf5.peek(path)
    if any(MEMBER.fullmatch(n) for n in names):
        return True
    if not names or "nwb_version" in attrs or len(names) > 64:
        return False
    try:
        with h5py.File(path, "r") as file:
            groups = [file[n] for n in names if isinstance(file.get(n, getlink=True), h5py.HardLink)]
            return any(MEMBER.fullmatch(m) for g in groups if isinstance(g, h5py.Group) for m in g)
    except Exception:  # a damaged file: the reader will say what is wrong with it
        return False


def read_nlb(path: str, options: NlbOptions) -> xr.DataTree:
    """Read a file of the Neural Latents Benchmark; values stay on disk.

    Parameters
    ----------
    path : str
        The file; datasets ``[<name>[_20]/]{train,eval}_{rates,spikes}_{heldin,heldout}[_forward]`` (trial, time, unit).
        Bins are 20 ms in groups that end in ``_20``, else 5 ms; those of ``_forward`` follow the observed ones.
    options : NlbOptions
        ``stimuli=``, ``split=``, ``part=``.

    Returns
    -------
    xarray.DataTree
        A part per dataset: ``response`` (presentation, unit, time).

    Raises
    ------
    FormatError, OptionError, SchemaError
        When nothing is chosen, shapes are wrong, or trials have no names.
    """
    if options.split not in (None, "train", "eval"):
        raise OptionError(f"split={options.split!r} is not an option{suggest(options.split, ('train', 'eval'))}")
    with _hdf5.opened(path, "an HDF5 file of the Neural Latents Benchmark") as file:
        found = {n: d for n, d in _hdf5.walk(file) if MEMBER.fullmatch(n.rpartition("/")[2]) and n.count("/") <= 1}
        chosen = {n: d for n, d in found.items() if _chosen(n.rpartition("/")[2], options)}
        if not chosen:
            known = ", ".join(found) or "nothing"
            raise (OptionError if found else FormatError)(
                f"{path}: split={options.split!r}, part={options.part!r} choose none of {known}; "
                "expected train_rates_heldin or the like"
            )
        files = _hdf5.manager(path)
        shapes = {n: d.shape for n, d in found.items()}
        parts = {n: _part(path, n, _hdf5.Hdf5Source(files, d), shapes, options) for n, d in chosen.items()}
    tree = tree_of(parts)
    tree.set_close(files.close)
    return tree


def _chosen(name: str, options: NlbOptions) -> bool:
    words = name.split("_")
    wanted = [w for w in (options.split, options.part) if w]
    return all(w == name or w in words for w in wanted)


def _part(
    path: str, name: str, source: _hdf5.Hdf5Source, shapes: dict[str, tuple[int, ...]], options: NlbOptions
) -> xr.Dataset:
    if len(source.shape) != 3 or 0 in source.shape:
        raise FormatError(f"{path}: {name} has shape {source.shape}; expected (trial, time, unit), none of them 0")
    group, _, last = name.rpartition("/")
    width = WIDE if group.endswith("_20") else WIDTH
    trials, bins, units = source.shape
    before = 0
    if last.endswith("_forward"):
        base = shapes.get(name.removesuffix("_forward"))
        before = base[1] if base is not None and len(base) == 3 else 0
    notes = [f"bins of {1000 * width:g} ms" + (f", after the {before} observed ones" if before else "")]
    split, kind = last.split("_")[:2]
    names, origin, note = stimulus_names(options.stimuli, path, {})
    if names is None:
        names = np.array([n.replace("#", f"#{split}") for n in numbered(trials).tolist()], dtype=np.str_)
        note = f"stimulus names are positions within {split} (stimuli={POSITIONAL!r})"
    if len(names) != trials:
        raise FormatError(f"{path}: {name} has {trials} trials; found {len(names)} names in {origin}; choose a split=")
    attrs = {
        "modality": "spikes",
        "response_units": "count" if kind == "spikes" else f"count per {1000 * width:g} ms",
        "source": f"{name_of(path)} (nlb)",
        "history": [*notes, note],
    }
    half = "heldin" if "heldin" in last else "heldout"
    coords = {
        "stimulus_id": names,
        "repeat": running_count(names),
        "stimulus_split": split,
        "unit_id": [f"{half}/{i}" for i in range(units)],
        "time": (before + np.arange(bins) + 0.5) * width,
    }
    ds = labelled(responses(source, ("presentation", "time", "unit"), "flatten"), attrs, coords)
    ds["time"].attrs.update(units="s", bin_width=width)
    return ds
