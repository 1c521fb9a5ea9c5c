"""Dictionaries that a few tools pickle into .npy files, through the restricted reader of pickles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_adapters._pickle import npy_objects
from repcompare.errors import FormatError

LARGEST = 32 * 10**9


def dictionary(path: str, instead: str) -> Mapping[str, Any]:
    """Return the dictionary in an .npy file.

    Parameters
    ----------
    path : str
        The file.
    instead : str
        The way out, for the message.

    Raises
    ------
    FormatError
        When it cannot be read without running code, or is something else.
    """
    found = npy_objects(path, LARGEST)
    while isinstance(found, np.ndarray) and found.dtype == object and found.size == 1:
        found = found.reshape(-1)[0]
    if not isinstance(found, Mapping):
        raise FormatError(f"{path}: holds a {type(found).__name__}; expected a dictionary; {instead}")
    return found
