"""Arrays of deep-learning libraries as numpy arrays, by what they can do; axes of text models."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_adapters._lazy import wide
from repcompare.errors import FormatError, choose

POOLING = ("last", "first", "mean", "flatten")


def is_tensor(value: Any) -> bool:
    """Say whether something is an array or a tensor, by its attributes."""
    return (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and (hasattr(value, "detach") or hasattr(value, "__array__"))
    )


def as_array(value: Any, where: str) -> np.ndarray:
    """Return a tensor or array as a numpy array of float32 or float64, copied if it shares memory with the network.

    Raises
    ------
    FormatError
        When it is neither, or does not hold real numbers.
    """
    if hasattr(value, "detach"):
        value = value.detach()
        if "complex" in str(value.dtype):
            raise FormatError(f"{where}: has dtype {value.dtype}; expected real numbers")
        value = value.double() if "float64" in str(value.dtype) else value.float()
        value = value.cpu().numpy()
    elif not is_tensor(value):
        raise FormatError(
            f"{where}: is a {type(value).__module__}.{type(value).__qualname__}, which lacks both 'detach' and '__array__'; "
            "expected an array or a tensor"
        )
    array = np.asarray(value)
    return np.array(array, dtype=wide(array.dtype, where))


def pooled(values: np.ndarray, pooling: str, mask: np.ndarray | None, where: str) -> np.ndarray:
    """Return one row per stimulus from one row per token.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_tokens, n_units)
        Responses of a layer.
    pooling : {"last", "first", "mean", "flatten"}
        The last token that is none of the padding, the first, their mean, or all.
    mask : ndarray, shape (n_stimuli, n_tokens), optional
        1 for tokens, 0 for padding; default no padding.

    Raises
    ------
    FormatError
        When the mask does not fit or a stimulus has no token.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(1, 3, 2)
    >>> pooled(x, "last", np.array([[1, 1, 0]]), "it").tolist()
    [[2.0, 3.0]]
    """
    choose(pooling, POOLING, "pooling")
    if pooling == "flatten":
        return np.asarray(values.reshape(len(values), -1))
    mask = checked_mask(mask, values.shape[:2], where)
    if pooling == "mean":
        weight = mask[..., None].astype(values.dtype)
        return np.asarray((values * weight).sum(1) / weight.sum(1))
    at = mask.argmax(1) if pooling == "first" else mask.shape[1] - 1 - mask[:, ::-1].argmax(1)
    return np.asarray(values[np.arange(len(values)), at])


def checked_mask(mask: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Return an attention mask as bool of a shape, all True where there is none.

    Raises
    ------
    FormatError
        When it has another shape, or a row without tokens.
    """
    if mask is None:
        return np.ones(shape, bool)
    found = np.asarray(as_array(mask, f"{where}: attention mask") != 0)
    if found.shape != tuple(shape):
        raise FormatError(
            f"{where}: attention mask has shape {found.shape}; responses have {tuple(shape)} (stimulus, token)"
        )
    empty = np.flatnonzero(~found.any(1))
    if len(empty):
        raise FormatError(f"{where}: the attention mask of row {int(empty[0])} has no token; expected at least one")
    return found
