"""``demo:worm``: signal flow between the neurons of C. elegans, with its wiring, genes and positions.

The numbers come from the package wormneuroatlas 0.0.7.3 (GPL-3), of which only data files are read and
nothing is imported or copied.  Cite Randi et al. 2023 (responses), White et al. 1986 and Witvliet et al. 2021
(connectome), Taylor et al. 2021 (expression).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from data_adapters import _hdf5
from data_adapters._labels import as_text
from data_adapters._options import WormOptions
from data_adapters.demo._atlas import (
    PACKAGE,
    STEPS,
    VERSION,
    Array,
    Flow,
    Index,
    block,
    class_of,
    data_folder,
    field,
    read_flow,
    steps,
)
from repcompare.errors import FormatError, OptionError, choose, some, suggest
from repcompare.labels.parts import tree_of
from repcompare.labels.schema import representation

TARGETS = ("wt", "unc31")
N_GENES = 500
SOURCE_UNITS = {"genes": "log(1 + TPM)", "position": "exp(-distance / length)"}
FEATURE_LENGTH = 0.5  # of the atlas, for exp(-distance / length) to all neurons
CITE = {
    "wt": "Randi et al. 2023",
    "unc31": "Randi et al. 2023",
    "connectome": "White et al. 1986; Witvliet et al. 2021",
    "gap": "White et al. 1986; Witvliet et al. 2021",
    "chemical": "White et al. 1986; Witvliet et al. 2021",
    "genes": "Taylor et al. 2021",
    "position": "wormneuroatlas neuron positions",
}


def read_worm(options: WormOptions) -> xr.DataTree:
    """Read the demo as a tree of targets and sources.

    The parts are ``target/{wt,unc31}``, ``source/{connectome,gap,chemical}/step1..4`` and
    ``source/{genes,position}``.

    Parameters
    ----------
    options : WormOptions
        ``coverage=``, ``repeats=``, ``units=``, ``neurons=``.

    Returns
    -------
    xarray.DataTree
        ``response[stimulus = stimulated neuron, unit = responding neuron]``; a neuron's response to its own
        stimulation is NaN on both sides.

    Raises
    ------
    FormatError
        When the package is missing (the message names the extra), another version, or its axes are not as
        expected.
    OptionError
        For options off the menu.
    """
    choose(options.units, ("block", "all"), "units")
    if not isinstance(options.coverage, int | float) or not 0 < options.coverage <= 1:
        raise OptionError(f"coverage={options.coverage!r}: expected a share above 0 and up to 1")
    folder = data_folder()
    classes, genes, expression = _expression(folder)
    flows = {strain: read_flow(folder, strain, classes, options.repeats) for strain in TARGETS}
    blocks = _blocks(flows, options)
    parts = {}
    for strain, flow in flows.items():
        part = (
            _pseudo_repeats(flow, blocks[strain], strain) if options.repeats else _target(flow, blocks[strain], strain)
        )
        parts[f"target/{strain}"] = part
    rows, flow = blocks["source"], flows["wt"]
    every = options.units == "all"
    sources = _wiring(folder, flow.names, rows, every)
    sources.append(("genes", *_genes(flow.classes[rows], classes, genes, expression)))
    sources.append(("position", *_position(folder, flow.names[rows], every)))
    for name, response, units in sources:
        unit_class = None if name == "genes" else [class_of(u, classes) for u in units.tolist()]
        parts[f"source/{name}"] = _source(name, response, flow, rows, unit_id=units, unit_class=unit_class)
    return tree_of(parts, {"source": f"{PACKAGE} {VERSION}", "coverage": float(options.coverage)})


def _blocks(flows: dict[str, Flow], options: WormOptions) -> dict[str, Index]:
    if isinstance(options.neurons, str) or options.neurons is None:
        if options.neurons is not None:
            choose(options.neurons, TARGETS, "neurons")
        found = {strain: block(flow.mean, options.coverage) for strain, flow in flows.items()}
        if options.neurons is None:
            return {**found, "source": found["wt"]}
        return dict.fromkeys((*TARGETS, "source"), found[options.neurons])
    names = flows["wt"].names.tolist()
    asked = [str(n) for n in options.neurons]
    unknown = [n for n in asked if n not in names]
    if unknown or len(asked) < 2:
        raise OptionError(
            f"neurons: {some(unknown or asked)} not known, or too few{suggest((unknown or ['?'])[0], names)}"
        )
    return dict.fromkeys((*TARGETS, "source"), np.array([names.index(n) for n in asked], dtype=np.intp))


def _target(flow: Flow, rows: Index, strain: str) -> xr.Dataset:
    names = flow.names[rows]
    response = flow.mean[np.ix_(rows, rows)].T.copy()
    np.fill_diagonal(response, np.nan)
    n = len(rows)
    off = int(np.isnan(response).sum()) - n
    history = [
        f"block of {n} neurons, {100 * (1 - off / (n * (n - 1))):.1f} % of cells measured",
        f"{n} cells of neurons stimulated themselves: NaN",
    ]
    return representation(
        response,
        stimulus=names,
        stimulus_class=flow.classes[rows],
        unit_id=names,
        unit_class=flow.classes[rows],
        attrs=_attrs(strain, "dFF", history, cells_missing=off),
    )


def _pseudo_repeats(flow: Flow, rows: Index, strain: str) -> xr.Dataset:
    """Trials of each cell in the order of the file, padded with NaN; no row is one trial of all cells."""
    names = flow.names[rows]
    if flow.trials is None:
        raise FormatError(f"demo:worm: trials of {strain} were not read")
    cells = [[np.asarray(flow.trials[i, j], np.float64).ravel() for i in rows] for j in rows]
    blocks, stimulus, kinds, repeat = [], [], [], []
    for j, column in enumerate(cells):
        depth = max((len(c) for i, c in enumerate(column) if i != j), default=0)
        if depth == 0:
            continue
        padded = np.full((depth, len(rows)), np.nan)
        for i, cell in enumerate(column):
            if i != j:
                padded[: len(cell), i] = cell
        blocks.append(padded)
        stimulus += [names[j]] * depth
        kinds += [flow.classes[rows][j]] * depth
        repeat += list(range(depth))
    history = ["trials per cell from different animals: a repeat is no common trial (pseudo-population)"]
    return representation(
        np.concatenate(blocks),
        dims=("presentation", "unit"),
        stimulus_id=stimulus,
        stimulus_class=kinds,
        repeat=np.array(repeat, np.int64),
        unit_id=names,
        unit_class=flow.classes[rows],
        attrs=_attrs(strain, "dFF", history, pseudo_population=1),
    )


def _attrs(part: str, units: str, history: list[str], **more: Any) -> dict[str, Any]:
    source = f"{PACKAGE} {VERSION} ({CITE[part.split('/')[0]]})"
    return {"response_units": units, "source": source, "history": history, **more}


def _source(name: str, response: Array, flow: Flow, rows: Index, **labels: Any) -> xr.Dataset:
    return representation(
        response,
        stimulus=flow.names[rows],
        stimulus_class=flow.classes[rows],
        attrs=_attrs(name, SOURCE_UNITS.get(name, "share of synapses"), []),
        **labels,
    )


Named = tuple[str, Array, npt.NDArray[Any]]


def _wiring(folder: str, names: npt.NDArray[Any], rows: Index, every: bool) -> list[Named]:
    """Name, response (stimulus, unit) and unit names of each source made of synapses."""
    path = os.path.join(folder, "aconnectome_default.h5")
    with _hdf5.opened(path) as file:
        chemical, gap = field(file, "chem"), field(file, "gap")
    found = []
    for name, synapses in (("connectome", chemical + gap), ("gap", gap), ("chemical", chemical)):
        for step, reach in zip(STEPS, steps(synapses), strict=True):
            response = reach.T[rows] if every else _cut(reach.T, rows)
            found.append((f"{name}/step{step}", response, names if every else names[rows]))
    return found


def _cut(matrix: Array, rows: Index) -> Array:
    """Return the block of a matrix with its diagonal missing."""
    inner = matrix[np.ix_(rows, rows)].astype(np.float64)
    np.fill_diagonal(inner, np.nan)
    return inner


def _expression(folder: str) -> tuple[list[str], npt.NDArray[Any], Array]:
    """Classes, genes and log(1 + TPM) of shape (class, gene)."""
    path = os.path.join(folder, "cengen.h5")
    with _hdf5.opened(path) as file:
        classes = as_text(field(file, "neuron_ids"), path).tolist()
        genes = as_text(field(file, "gene_wbids_th2"), path)
        return classes, genes, np.log1p(field(file, "tpm_th2").astype(np.float64))


def _genes(
    own: npt.NDArray[Any], classes: list[str], genes: npt.NDArray[Any], expression: Array
) -> tuple[Array, npt.NDArray[Any]]:
    unknown = [c for c in own.tolist() if c not in classes]
    if unknown:
        raise FormatError(
            f"cengen.h5: no expression of class {some(unknown)}; expected the classes of {PACKAGE} {VERSION}"
        )
    values = expression[[classes.index(c) for c in own.tolist()]]
    chosen = np.sort(np.argsort(-values.var(0), kind="stable")[:N_GENES])
    return values[:, chosen], genes[chosen]


def _position(folder: str, stimuli: npt.NDArray[Any], every: bool) -> tuple[Array, npt.NDArray[Any]]:
    path = os.path.join(folder, "anatlas_neuron_positions.txt")
    with open(path, encoding="utf-8") as handle:
        listed = handle.readline().lstrip("#").split()
        places = np.loadtxt(handle, ndmin=2)
    if places.shape != (len(listed), 3):
        raise FormatError(
            f"{path}: {len(listed)} names and positions of shape {places.shape}; expected x, y, z for each"
        )
    where = dict(zip(listed, places, strict=True))  # PVCL is listed twice, at one place
    other_names, everywhere = list(where), np.array(list(where.values()))
    both = [where[n] for n in ("AWCL", "AWCR") if n in where]
    for name in (
        "AWCOF",
        "AWCON",
    ):  # the pair is listed as left and right, and which is which differs between animals
        if both:
            where.setdefault(name, np.mean(both, axis=0))
    missing = [s for s in stimuli.tolist() if s not in where]
    own = np.array([where.get(s, [np.nan] * 3) for s in stimuli.tolist()])
    if missing and every:
        raise FormatError(f"{path}: no position of {some(missing)}; expected every stimulated neuron")
    other = everywhere if every else own
    distance = np.sqrt(((own[:, None] - other[None]) ** 2).sum(-1))
    if every:
        return np.exp(-distance / FEATURE_LENGTH), np.array(other_names, dtype=np.str_)
    np.fill_diagonal(distance, np.nan)
    return np.exp(-distance / np.nanmedian(distance)), stimuli
