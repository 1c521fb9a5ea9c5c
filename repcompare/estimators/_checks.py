"""Checks of data as scikit-learn makes them, under every version from 1.5 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Double = npt.NDArray[np.float64]


def checked(estimator: Any, *args: Any, **options: Any) -> Any:
    """Return checked data, and remember (or compare) the number and names of the features."""
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # before 1.6 it was a method
        return estimator._validate_data(*args, **options)
    return validate_data(estimator, *args, **options)


def pair(estimator: Any, x: Any, y: Any, smallest: int) -> tuple[Double, Double]:
    """Return checked x (n, p) and y (n, t), and remember whether y had one axis."""
    x, y = checked(estimator, x, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=smallest)
    estimator._flat = y.ndim == 1
    return x, np.asarray(y, dtype=np.float64).reshape(len(y), -1)
