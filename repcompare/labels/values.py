"""Arrays of responses and of labels, before they have names: conversion, text, duplicates, infinite values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from repcompare.errors import SchemaError


def as_float(values: npt.ArrayLike) -> np.ndarray:
    """Return responses as float32 or float64 in the machine's byte order; masked values become NaN.

    Raises
    ------
    SchemaError
        When they are not real numbers, or rows have different lengths.

    Examples
    --------
    >>> as_float(np.ones(2, np.float16)).dtype, as_float([1, 2]).dtype
    (dtype('float32'), dtype('float64'))
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise SchemaError(
            f"values are not an array ({error}); expected rows of the same length; fill what is missing with NaN"
        ) from None
    if array.dtype.kind not in "fbiu":
        raise SchemaError(
            f"values have dtype {array.dtype}; expected real numbers (float, int or bool); "
            "take the real part, or convert them with .astype(float), first"
        )
    width = array.dtype.itemsize
    narrow = width <= (4 if array.dtype.kind == "f" else 2)
    out = array.astype(np.float32 if narrow else np.float64, copy=False)
    masked = np.ma.getmask(values) if isinstance(values, np.ma.MaskedArray) else np.ma.nomask
    return out if masked is np.ma.nomask else np.where(masked, out.dtype.type(np.nan), out)


def text(values: npt.ArrayLike) -> np.ndarray:
    """Return labels as a fixed-width text array where all of them are text; otherwise unchanged.

    Bytes (as MATLAB and HDF5 files hold them) are decoded as UTF-8.

    Raises
    ------
    SchemaError
        When bytes are not UTF-8.

    Examples
    --------
    >>> text([b"cat", b"owl"]), text([1, 2])
    (array(['cat', 'owl'], dtype='<U3'), array([1, 2]))
    """
    array = np.asarray(values)
    if array.dtype.kind not in "OTS":
        return array
    items = [_decoded(v) if isinstance(v, bytes) else v for v in array.ravel().tolist()]
    if not all(isinstance(v, str) for v in items):
        return array
    return np.array(items, dtype=np.str_).reshape(array.shape)


def _decoded(label: bytes) -> str:
    try:
        return label.decode("utf-8")
    except UnicodeDecodeError:
        raise SchemaError(
            f"label {label!r} is not UTF-8; expected text; decode the labels in their own encoding first"
        ) from None


def missing(labels: np.ndarray) -> list[int]:
    """Return the rows that have no label: masked, None, NaN, NaT, NA, or an empty text.

    Examples
    --------
    >>> missing(np.array(["cat", "", None], dtype=object)), missing(np.array([1.0, np.nan]))
    ([1, 2], [1])
    """
    masked = np.ma.getmaskarray(labels).ravel()
    items = np.ma.getdata(labels).ravel()
    values = items if items.dtype.kind in "mM" else items.tolist()
    return [i for i, v in enumerate(values) if masked[i] or _absent(v)]


def _absent(label: object) -> bool:
    try:
        return label is None or bool(label != label) or (isinstance(label, (str, bytes)) and not label)
    except TypeError:  # the NA of pandas is not even different from itself
        return True


def duplicates(labels: npt.ArrayLike) -> list[str]:
    """Return the labels that occur more than once, sorted.

    Examples
    --------
    >>> duplicates(["a", "b", "a"])
    ['a']
    """
    names, counts = np.unique(text(labels).astype(str), return_counts=True)
    return [str(n) for n in names[counts > 1]]


def infinite(values: np.ndarray, dims: Iterable[str] = ("row", "column")) -> list[str]:
    """Say where the first infinite value is, and how many there are; empty when there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # inf and NaN survive a sum: clean data cost one pass and no mask
            return []
    bad = np.isinf(values)
    count = int(bad.sum())
    if not count:
        return []
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    where = ", ".join(f"{d} {i}" for d, i in zip(dims, first, strict=True))
    return [
        f"{count} infinite value(s), the first ({values[first]}) at {where}; "
        "expected finite numbers; write NaN where a value is missing"
    ]
