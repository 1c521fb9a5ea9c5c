"""Fewer components with a certificate: how far the nuclear norm of an overlap can be from that of the whole."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from repcompare.errors import OptionError
from repcompare.measures._linalg import Float64, require_variance


def check_tol(tol: float | None) -> None:
    """Raise ``OptionError`` unless a tolerance is None or in (0, 1)."""
    if tol is not None and not 0 < tol < 1:
        raise OptionError(f"tol={tol!r}; expected a number in (0, 1), such as 1e-3, or None for all components")


def leading(factor: Float64, tol: float) -> tuple[Float64, float]:
    """Keep the fewest principal components whose certificate is at most tol / 2.

    Parameters
    ----------
    factor : ndarray, shape (n_stimuli, width)
        Column-centred responses, or any F with the same F F'.
    tol : float
        For a pair of systems, on the scale of NBS.

    Returns
    -------
    kept : ndarray, shape (n_stimuli, k)
        F V for orthonormal V (width, k): the whole factor where nothing can be left out.
    lost : float
        |F - F V V'| / |F|, taken from the residual itself, so that it holds whatever the rounding of V.

    Examples
    --------
    >>> kept, lost = leading(np.diag([1.0, 0.1, 0.01]), 0.05)
    >>> kept.shape, round(lost, 6)
    ((3, 2), 0.00995)
    """
    total = float(np.square(factor).sum())
    require_variance(total, "procrustes")
    squares, vectors = scipy.linalg.eigh(factor.T @ factor, check_finite=False)
    beyond = np.cumsum(squares.clip(min=0)) <= (tol / 2) ** 2 * total  # ascending: sums of the smallest
    left_out = int(beyond.sum())
    if left_out == 0:
        return factor, 0.0
    kept: Float64 = factor @ vectors[:, left_out:]
    lost = float(np.linalg.norm(factor - kept @ vectors[:, left_out:].T) / np.sqrt(total))
    return (kept, lost) if lost <= tol / 2 else (factor, 0.0)


def similarity_bound(lost_x: float, lost_y: float) -> float:
    """Largest error of NBS between two systems of which these shares of their lengths were left out.

    | |X'Y|_* - |X_k'Y_k|_* | <= |X_rest| |Y| + |X_k| |Y_rest| (triangle inequality, and |A'B|_* <= |A| |B|); on division by
    |X_k| |Y_k| in place of |X| |Y| it still holds: that raises the score by at most 1 - |X_k| |Y_k| / (|X| |Y|), which is
    no more, and the score was too low before.
    """
    orders = ((lost_x, lost_y), (lost_y, lost_x))
    return min(first + float(np.sqrt(1 - first**2)) * second for first, second in orders)
