"""What is in a file, as a person wants to read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from repcompare.labels.parts import parts_of
from repcompare.labels.rdms import is_rdms, stimuli_of
from repcompare.labels.schema import history, sample_dim, stimulus_labels
from repcompare.labels.scores import is_scores
from repcompare.labels.values import text

SHOWN = 6  # values of a label named in full


def summary(obj: Any) -> dict[str, Any]:
    """Describe a representation, a tree of them, RDMs, or scores in plain values.

    Parameters
    ----------
    obj : xarray.Dataset or xarray.DataTree
        As ``repcompare.read`` returns it.

    Returns
    -------
    dict
        ``kind`` and what belongs to it: for representations one entry per part with sizes, labels and their counts,
        repeats, missing values, range and bytes.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> ds = rc.representation(np.eye(3), stimulus=["a", "b", "c"], unit_region="V4")
    >>> found = summary(ds)["parts"][""]
    >>> found["sizes"], found["range"], found["labels"]["unit_region"]
    ({'stimulus': 3, 'unit': 3}, [0.0, 1.0], 'V4 (3)')
    """
    if isinstance(obj, xr.Dataset) and is_scores(obj):
        attrs = {str(k): _plain(v) for k, v in obj.attrs.items() if k != "schema"}
        sizes = {str(d): n for d, n in obj["score"].sizes.items()}
        return {"kind": "scores", "sizes": sizes, "record": attrs}
    if isinstance(obj, xr.Dataset) and is_rdms(obj):
        return {"kind": "RDMs", "parts": {"": _rdms(obj)}}
    parts = {name: _part(ds) for name, ds in parts_of(obj).items()}
    return {"kind": "representation" if list(parts) == [""] else "tree of parts", "parts": parts}


def _part(ds: xr.Dataset) -> dict[str, Any]:
    sample = sample_dim(ds)
    response = ds["response"]
    _, repeats = np.unique(stimulus_labels(ds), return_counts=True)
    return {
        **_values(response),
        "stimuli": len(repeats),
        "repeats": _between(repeats) if sample == "presentation" else "none",
        **_labels(ds, ("stimulus", "unit_id", "time")),
    }


def _rdms(ds: xr.Dataset) -> dict[str, Any]:
    labels = _labels(ds, ("stimulus_a", "stimulus_b", "time"))
    return {**_values(ds["dissimilarity"]), "stimuli": len(stimuli_of(ds)), "repeats": "none", **labels}


def _values(variable: xr.DataArray) -> dict[str, Any]:
    values = np.asarray(variable.values)
    finite = np.isfinite(values)
    return {
        "sizes": {str(d): n for d, n in variable.sizes.items()},
        "dtype": str(variable.dtype),
        "bytes": int(variable.nbytes),
        "missing": float((~finite).mean()),
        "range": [float(values[finite].min()), float(values[finite].max())] if finite.any() else [],
    }


def _labels(ds: xr.Dataset, hidden: tuple[str, ...]) -> dict[str, Any]:
    return {
        "labels": {str(n): _counts(c.values) for n, c in ds.coords.items() if n not in hidden},
        "attrs": {str(k): _plain(v) for k, v in ds.attrs.items() if k not in ("history", "schema")},
        "history": history(ds),
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _between(counts: np.ndarray) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _counts(values: np.ndarray) -> str:
    labels = text(values)
    if labels.dtype.kind == "f":
        return f"{np.nanmin(labels):g} to {np.nanmax(labels):g}" if np.isfinite(labels).any() else "missing"
    names, counts = np.unique(labels, return_counts=True)
    shown = ", ".join(f"{name} ({count})" for name, count in zip(names[:SHOWN], counts, strict=False))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Return a description as lines of text."""
    if found["kind"] == "scores":
        sizes = " x ".join(f"{n} {dim}s" for dim, n in found["sizes"].items())
        return [f"scores: {sizes}", *_record_lines(found["record"])]
    lines = [found["kind"]]
    for name, part in found["parts"].items():
        sizes = " x ".join(f"{n} {dim}" for dim, n in part["sizes"].items())
        span = "{:.4g} to {:.4g}".format(*part["range"]) if part["range"] else "no values"
        lines.append(f"{name + ': ' if name else ''}{sizes}, {part['dtype']}, {part['bytes'] / 1e6:.3g} MB")
        lines.append(
            f"  {part['stimuli']} stimuli, repeats: {part['repeats']}, values {span}, {part['missing']:.1%} missing"
        )
        lines += [f"  {label}: {counts}" for label, counts in part["labels"].items()]
        lines += [f"  {key}: {value}" for key, value in part["attrs"].items()]
        lines += [f"  history: {line}" for line in part["history"]]
    return lines


def _record_lines(record: dict[str, Any]) -> list[str]:
    lines = []
    for key, value in record.items():
        items = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        lines += [f"  {key}: {item}" for item in items]
    return lines
