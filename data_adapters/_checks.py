"""What is wrong with values that were read at once: units that never change."""

from __future__ import annotations

import warnings

import numpy as np

SHARE = 0.5
FEWEST = 3  # rows: fewer agree by chance


def warn_constant(values: np.ndarray, where: str, *, counts: bool = False) -> None:
    """Warn when half of the units or more have one value wherever they were measured.

    Parameters
    ----------
    values : ndarray of float, shape (n_samples, n_units[, n_times])
        Responses; missing ones are NaN.
    where : str
        File and array, the beginning of the message.
    counts : bool
        Numbers of spikes, which few events often share: only what is 0 everywhere is said.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     warn_constant(np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]), "a.npz: V4")
    >>> print(said[0].message)
    a.npz: V4: 1 of 2 units (50 %) are 0 in every row; ...
    """
    if values.shape[0] < FEWEST:
        return
    rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    low, high = np.fmin.reduce(rows, axis=1), np.fmax.reduce(rows, axis=1)  # NaN where nothing was measured
    flat = low == high
    share = float(flat.mean())
    if share < SHARE or (counts and (low != 0).any() | (high != 0).any()):
        return
    what = "are 0" if (low[flat] == 0).all() else "have one value"
    warnings.warn(
        f"{where}: {int(flat.sum())} of {len(flat)} units ({share * 100:.0f} %) {what} in every row; "
        "expected responses that differ; check that the right data were read",
        UserWarning,
        stacklevel=2,
    )
