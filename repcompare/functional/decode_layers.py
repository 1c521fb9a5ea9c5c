"""Which layer carries which label: the parts of a source decoded on the same folds and permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

import repcompare
from repcompare.errors import AlignmentError, OptionError
from repcompare.functional.decoding import decode
from repcompare.labels.parts import parts_of
from repcompare.labels.schema import sample_dim, stimulus_labels
from repcompare.labels.scores import Axes, assemble
from repcompare.measures.decoding.result import DecodingResult
from repcompare.statistics.label_permutations import pvalues

SOURCE = "source"  # name of a source that is one representation


def decode_layers(sources: Any, labels: str | Sequence[str] | Mapping[str, Any], **options: Any) -> xr.Dataset:
    """Decode every label from every part of a source.

    Parameters
    ----------
    sources : representation, mapping of name to representation, or xarray.DataTree
        Layers, regions or subjects with responses to the same stimuli.
    labels : str, sequence of str, or mapping of name to labels
        Labels of the rows (``"stimulus_category"``), or what :func:`repcompare.decode` takes, by name.
    **options
        Of :func:`repcompare.decode`.  The same seed gives every part the same folds and permutations.

    Returns
    -------
    xarray.Dataset
        Scores: ``score (source, target, measure)`` with the labels as targets, ``score_chance``, ``score_fold``, and with
        permutations
        ``score_pvalue`` and ``score_pvalue_corrected`` (against the best of all parts, per label).

    Raises
    ------
    AlignmentError
        When the parts have different stimuli, or labels of one name differ.
    OptionError
        When there is no label, or an option gives more than one score per part.

    Notes
    -----
    Single presentations stay single: the trials of a stimulus are rows of their own.  For the means of stimuli
    :func:`repcompare.compare` with :func:`repcompare.label_target` makes the same table, with intervals, the nested choice
    of the best layer, and p-values corrected over layers and labels.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> names, kind = [f"s{i:02}" for i in range(40)], ["face", "house"] * 20
    >>> noise, code = rng.normal(size=(2, 40, 10))
    >>> code[::2] += 2
    >>> parts = {name: rc.representation(x, stimulus=names, stimulus_category=kind)
    ...          for name, x in {"early": noise, "late": code}.items()}
    >>> scores = rc.decode_layers(parts, "stimulus_category", model="ridge")
    >>> scores.score.sel(source="late").item() > 0.9
    True
    """
    parts = {name or SOURCE: ds for name, ds in parts_of(sources).items()}
    targets = _targets(labels)
    _check_rows(parts)
    _check_labels(parts, targets)
    found = {
        (part, target): _one(ds, values, options) for part, ds in parts.items() for target, values in targets.items()
    }
    grid = [[found[part, target] for target in targets] for part in parts]
    first = grid[0][0]
    _check_folds(parts, grid)
    cells = {
        "score": np.array([[[r.score] for r in row] for row in grid], dtype=np.float64),
        "n_stimuli": np.array([[[r.folds.n] for r in row] for row in grid]),
        "n_source_units": np.array([[[ds.sizes["unit"]] for _ in targets] for ds in parts.values()]),
        "notes": np.array([[["; ".join(r.notes)] for r in row] for row in grid], dtype=np.str_),
    }
    if len({len(r.fold_scores) for row in grid for r in row}) == 1:
        cells["score_fold"] = np.array([[[r.fold_scores] for r in row] for row in grid])
    if first.null_scores is not None:
        cells |= _pvalues(grid)
    cells["score_chance"] = np.array([[[r.chance] for r in row] for row in grid])
    name = f"decode_{first.model}"
    axes = Axes(
        sources=list(parts),
        targets=list(targets),
        measures=[name],
        coords={"kind": ("measure", ["predictivity"]), "unit_of_score": ("measure", ["1"])},
    )
    return assemble(cells, axes, _record(grid[0], options))


def _targets(labels: Any) -> dict[str, Any]:
    named = {labels: labels} if isinstance(labels, str) else labels
    found = dict(named) if isinstance(named, Mapping) else {str(name): name for name in named}
    if not found:
        raise OptionError("no label asked for; give the name of a label of the rows, such as 'stimulus_category'")
    return found


def _one(ds: xr.Dataset, values: Any, options: Mapping[str, Any]) -> DecodingResult:
    found = decode(ds, values, **options)
    if np.ndim(found.score):
        raise OptionError("a part has a time axis, so there is one score per time; pick a time, or use decode()")
    return found


def _check_rows(parts: Mapping[str, xr.Dataset]) -> None:
    """Raise unless all parts have the same rows: the same folds and permutations then mean the same stimuli."""
    kept: np.ndarray | None = None
    for name, ds in parts.items():
        rows = np.sort(np.char.add(stimulus_labels(ds).astype(np.str_), f"|{sample_dim(ds)}"))
        if kept is not None and not np.array_equal(rows, kept):
            raise AlignmentError(
                f"part {name!r} has other stimuli (or another number of presentations) than the first; expected the same "
                "rows in all parts; select the common ones"
            )
        kept = rows if kept is None else kept


def _check_labels(parts: Mapping[str, xr.Dataset], targets: Mapping[str, Any]) -> None:
    """Raise unless a stimulus has one label in all parts."""
    for target, values in targets.items():
        if isinstance(values, Mapping):
            continue  # by name already
        kept: np.ndarray | None = None
        for name, ds in parts.items():
            own = ds[values].values if isinstance(values, str) and values in ds.coords else values
            labels, names = np.asarray(own).astype(np.str_), stimulus_labels(ds)
            if labels.shape != names.shape:
                break  # refused by decode, with the reason
            labels = labels[np.lexsort((labels, names))]
            if kept is not None and not np.array_equal(labels, kept):
                raise AlignmentError(
                    f"label {target!r} of part {name!r} differs from that of the first; expected one label per stimulus; "
                    "give labels as a mapping of stimulus to label"
                )
            kept = labels


def _check_folds(parts: Mapping[str, xr.Dataset], grid: Sequence[Sequence[DecodingResult]]) -> None:
    """Raise unless the folds hold out the same stimuli in all parts."""
    named = [
        [[np.sort(stimulus_labels(ds)[test]).tolist() for _, test in r.folds.splits] for r in row]
        for ds, row in zip(parts.values(), grid, strict=True)
    ]
    for name, folds in zip(parts, named, strict=True):
        if folds != named[0]:
            raise AlignmentError(
                f"part {name!r} is tested on other stimuli than the first: its runs or its missing rows differ; expected "
                "the same rows and runs in all parts"
            )


def _pvalues(grid: Sequence[Sequence[DecodingResult]]) -> dict[str, np.ndarray]:
    """P-values per cell, and against the best part under each permutation."""
    columns = []
    for column in zip(*grid, strict=True):
        null = np.stack([np.asarray(r.null_scores) for r in column], axis=1)
        columns.append(pvalues(np.array([r.score for r in column], dtype=np.float64), null))
    return {
        "score_pvalue": np.stack([raw for raw, _ in columns], axis=1)[:, :, None],
        "score_pvalue_corrected": np.stack([corrected for _, corrected in columns], axis=1)[:, :, None],
    }


def _record(row: Sequence[DecodingResult], options: Mapping[str, Any]) -> dict[str, Any]:
    first, levels = row[0], {r.chance for r in row}
    return ({"chance": first.chance} if len(levels) == 1 else {}) | {
        "study": f"decoding by {first.model}, {first.scoring}, {first.folds.scheme}",
        "seed": int(options.get("seed", 0)),
        "scoring": first.scoring,
        "permutations": int(first.counts.get("permutations", 0)),
        "exchange": first.exchange,
        "pvalue_correction": "best part of each permutation, per label",
        "version": repcompare.__version__,
    }
