"""Labels of stimuli as representations: one unit per class, for decoders among the measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import AlignmentError, MeasureError, OptionError, SchemaError, some, suggest
from repcompare.labels.schema import representation, sample_dim, stimulus_labels, validate
from repcompare.labels.values import missing, text

MOST_FLOATS = 20
Index = npt.NDArray[np.intp]


def label_target(source: xr.Dataset | Mapping[str, Any], labels: Any = None) -> xr.DataTree:
    """Turn labels of stimuli into a target that decoders can predict.

    Parameters
    ----------
    source : representation, or mapping of name to (mapping of stimulus to label)
        What has the labels.  Responses are not looked at.
    labels : str, sequence of str, or mapping of name to labels, optional
        Of a representation: labels of its rows (``"stimulus_category"``), or by name such labels, mappings of stimulus to
        label, or arrays with one label per row.

    Returns
    -------
    xarray.DataTree
        One part per set of labels: a representation with one unit per class (``unit_id`` is the class, sorted), 1 where a
        stimulus belongs to it, else 0.  One row per stimulus; rows of a recording stay rows in time, with their runs.

    Raises
    ------
    AlignmentError
        When rows have no label, or presentations of one stimulus have different labels.
    MeasureError
        When labels are continuous, or all the same.
    OptionError
        When there is no such label.
    SchemaError
        When the source is neither a representation nor a mapping.

    Notes
    -----
    :func:`repcompare.compare` takes the mean over presentations: a row is a stimulus.  To decode single presentations, or
    labels that presentations of one stimulus differ in, use :func:`repcompare.decode` or :func:`repcompare.decode_layers`.

    Examples
    --------
    >>> import numpy as np, repcompare as rc
    >>> rng = np.random.default_rng(0)
    >>> names, kind = [f"s{i:02}" for i in range(40)], ["face", "house"] * 20
    >>> noise, code = rng.normal(size=(2, 40, 10))
    >>> code[::2] += 2
    >>> layers = {name: rc.representation(x, stimulus=names, stimulus_category=kind)
    ...           for name, x in {"early": noise, "late": code}.items()}
    >>> target = rc.label_target(layers["late"], "stimulus_category")
    >>> target["stimulus_category"].unit_id.values.tolist()
    ['face', 'house']
    >>> scores = rc.compare(layers, target, measures="lda", progress=False)
    >>> scores.score.sel(source="late").item() > 0.9
    True
    """
    if isinstance(source, xr.Dataset):
        validate(source)
        parts = {name: _part(source, values, name) for name, values in _named(labels).items()}
    elif isinstance(source, Mapping) and labels is None:
        parts = {str(name): _of_mapping(values, str(name)) for name, values in source.items()}
    else:
        raise SchemaError(
            f"found a {type(source).__name__} with labels={labels!r}; expected a representation and its labels, or a "
            "mapping of name to (mapping of stimulus to label); give one of the layers"
        )
    if not parts:
        raise OptionError("no label asked for; give the name of a label of the rows, such as 'stimulus_category'")
    return xr.DataTree.from_dict(parts)


def class_codes(labels: np.ndarray) -> tuple[Index, np.ndarray]:
    """Return the class of each row, and the sorted names of the classes.

    Raises
    ------
    AlignmentError
        When a row has no label.
    MeasureError
        When the labels are continuous, or all the same.
    """
    lacking = missing(labels)
    if lacking:
        raise AlignmentError(f"{len(lacking)} rows have no label, first row {lacking[0]}; label or drop them")
    labels = text(np.asarray(labels))
    if labels.dtype == object:
        labels = labels.astype(np.str_)
    classes, codes = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "f" and len(classes) > MOST_FLOATS:
        raise MeasureError(
            f"labels are {len(classes)} different floating-point numbers; expected classes; use encode for continuous "
            "targets, or model='ridge_regression'"
        )
    if len(classes) < 2:
        raise MeasureError(f"all rows have the label {classes[0].item()!r}; expected at least two classes")
    return codes.astype(np.intp), classes


def _named(labels: Any) -> dict[str, Any]:
    if isinstance(labels, str):
        return {labels: labels}
    if isinstance(labels, Mapping):
        return {str(name): values for name, values in labels.items()}
    if isinstance(labels, Sequence) and all(isinstance(name, str) for name in labels):
        return {name: name for name in labels}
    raise OptionError(
        f"labels={labels!r}; expected the name of a label of the rows, a list of names, or a mapping of name to labels"
    )


def _part(ds: xr.Dataset, values: Any, name: str) -> xr.Dataset:
    sample, stimuli = sample_dim(ds), stimulus_labels(ds)
    labels = _of_rows(ds, values, name, stimuli)
    codes, classes = class_codes(labels)
    if sample == "time":
        rows: Index = np.arange(len(stimuli))
        kept = {str(c): v for c, v in ds.coords.items() if v.dims == (sample,)}
        made = xr.Dataset(
            {"response": ((sample, "unit"), np.eye(len(classes))[codes])},
            coords={**kept, "unit_id": ("unit", classes.astype(np.str_))},
            attrs={"schema": ds.attrs["schema"]},
        )
        return validate(made)
    names, rows, of_row = np.unique(stimuli, return_index=True, return_inverse=True)
    if (codes[rows][of_row] != codes).any():
        wrong = np.unique(stimuli[codes[rows][of_row] != codes])
        raise AlignmentError(
            f"label {name!r}: presentations of stimuli {some(wrong.tolist(), 3)} have different labels; expected one label "
            "per stimulus; use decode() for labels of single presentations"
        )
    return representation(np.eye(len(classes))[codes[rows]], stimulus=names, unit_id=classes.astype(np.str_))


def _of_rows(ds: xr.Dataset, values: Any, name: str, stimuli: np.ndarray) -> np.ndarray:
    """One label per row."""
    sample = sample_dim(ds)
    if isinstance(values, str):
        known = [str(c) for c, v in ds.coords.items() if v.dims == (sample,)]
        if values not in known:
            raise OptionError(f"labels={values!r}: the source has no such label of its rows{suggest(values, known)}")
        return text(ds[values].values)
    if isinstance(values, Mapping):
        lacking = [n for n in np.unique(stimuli).tolist() if n not in values]
        if lacking:
            raise AlignmentError(f"label {name!r} lacks {len(lacking)} stimuli: {some(lacking)}; expected all of them")
        return np.asarray([values[n] for n in stimuli.tolist()])
    labels: np.ndarray = np.asanyarray(values)  # masked rows have no label
    if labels.shape != stimuli.shape:
        raise AlignmentError(f"label {name!r} has shape {labels.shape}; expected one for each of {len(stimuli)} rows")
    return labels


def _of_mapping(values: Any, name: str) -> xr.Dataset:
    if not isinstance(values, Mapping) or isinstance(values, xr.Dataset):
        raise SchemaError(
            f"label {name!r} is a {type(values).__name__}; expected a mapping of stimulus to label, or a representation "
            "and labels="
        )
    of_stimulus = {str(stimulus): label for stimulus, label in values.items()}
    stimuli = sorted(of_stimulus)
    codes, classes = class_codes(np.asarray([of_stimulus[s] for s in stimuli]))
    return representation(np.eye(len(classes))[codes], stimulus=stimuli, unit_id=classes.astype(np.str_))
