"""Which feature belongs to which band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Index


def band_codes(bands: Any, p: int) -> tuple[Index, tuple[str, ...]]:
    """Return the band of each of p features, from 0, and the names of the bands.

    Parameters
    ----------
    bands : None, array-like of shape (p,), sequence of slices, or mapping of name to slice, indices or mask
        None: one band.  Labels: bands in the order of their first feature.
    p : int
        Number of features.

    Raises
    ------
    OptionError
        For something else, or a name of a coordinate, which only labelled data have.
    MeasureError
        When a feature is in no band or in two, or a band is empty.

    Examples
    --------
    >>> codes, names = band_codes({"low": slice(0, 2), "high": [2, 3]}, 4)
    >>> codes.tolist(), names
    ([0, 0, 1, 1], ('low', 'high'))
    >>> band_codes(["b", "a", "b"], 3)[0].tolist()
    [0, 1, 0]
    """
    if bands is None:
        return np.zeros(p, dtype=np.intp), ("all",)
    if isinstance(bands, str):
        raise OptionError(
            f"bands={bands!r} names a coordinate; expected slices, a mapping or one label per feature for plain arrays; "
            f"give representations to use a name"
        )
    if isinstance(bands, Mapping):
        return _from_parts(list(bands.values()), tuple(str(name) for name in bands), p)
    if isinstance(bands, Sequence) and len(bands) and all(isinstance(b, slice) for b in bands):
        return _from_parts(list(bands), tuple(str(i) for i in range(len(bands))), p)
    labels = np.asarray(bands)
    if labels.ndim != 1 or labels.dtype.kind not in "iubUSO":
        raise OptionError(f"bands={bands!r}; expected slices, a mapping of name to features, or one label per feature")
    if labels.size != p:
        raise MeasureError(f"bands have {labels.size} labels; expected one for each of {p} features")
    found, first, codes = np.unique(labels.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(order.size, dtype=np.intp)
    place[order] = np.arange(order.size)
    return place[codes.ravel()], tuple(str(name) for name in found[order])


def shown(bands: Any) -> Any:
    """Return bands as the record of a measure holds them: in full, and short in its label.

    Examples
    --------
    >>> shown({"a": np.array([0, 1]), "b": slice(2, 4)})
    {'a': [0, 1], 'b': slice(2, 4, None)}
    """
    if isinstance(bands, Mapping):
        return {str(k): v.tolist() if isinstance(v, np.ndarray) else v for k, v in bands.items()}
    if isinstance(bands, Sequence) and all(isinstance(b, slice) for b in bands):
        return list(bands)
    return np.asarray(bands)


def _from_parts(parts: list[Any], names: tuple[str, ...], p: int) -> tuple[Index, tuple[str, ...]]:
    codes = np.full(p, -1, dtype=np.intp)
    for b, part in enumerate(parts):
        try:
            places = np.atleast_1d(np.arange(p)[part])
        except (IndexError, TypeError) as error:
            raise MeasureError(f"band {names[b]!r} asks for features outside 0 to {p - 1}: {error}") from error
        if places.size == 0:
            raise MeasureError(f"band {names[b]!r} has no features; the source has {p}; leave the band out")
        if (codes[places] >= 0).any():
            twice = places[codes[places] >= 0]
            raise MeasureError(
                f"{twice.size} features are in two bands, first {twice[0]}; expected each feature in one"
            )
        codes[places] = b
    if (codes < 0).any():
        missing = np.flatnonzero(codes < 0)
        raise MeasureError(f"{missing.size} features are in no band, first {missing[0]}; expected each feature in one")
    return codes, names
