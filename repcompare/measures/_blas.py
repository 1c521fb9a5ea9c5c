"""Symmetric products, their eigenvalues and solutions that let other threads run: scipy's wrappers keep the lock."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import numpy.typing as npt
from numba.extending import get_cython_function_address

from repcompare.measures._measure import Array

PANEL = 16  # columns reduced at a time: a tenth quicker at 300 rows than LAPACK's own choice of 32


@cache
def _routine(library: str, name: str, n_arguments: int) -> ctypes._FuncPointer:
    address = get_cython_function_address(f"scipy.linalg.cython_{library}", name)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address)  # a ctypes call releases the lock


def add_gram(block: Array, lower: Array) -> None:
    """Add ``block @ block.T`` to the lower triangle of ``lower`` in place.

    Parameters
    ----------
    block : ndarray, shape (n_stimuli, n_units)
        C-ordered, float32 or float64.
    lower : ndarray, shape (n_stimuli, n_stimuli)
        C-ordered, of the same dtype; its upper triangle is not touched.
    """
    n, k = block.shape
    same = block.dtype == lower.dtype and lower.shape == (n, n)
    if not (same and block.flags.c_contiguous and lower.flags.c_contiguous and lower.flags.writeable):
        raise ValueError("expected C-ordered arrays of one dtype: (n, k) and a writeable (n, n)")
    single = block.dtype == np.float32
    one = (ctypes.c_float if single else ctypes.c_double)(1.0)
    # Fortran sees both arrays transposed: the C lower triangle is its upper one.  64-bit little-endian counters are
    # read correctly by 32-bit and 64-bit BLAS alike.
    size, depth = ctypes.c_int64(n), ctypes.c_int64(k)
    _routine("blas", "ssyrk" if single else "dsyrk", 10)(
        ctypes.c_char_p(b"U"),
        ctypes.c_char_p(b"T"),
        ctypes.addressof(size),
        ctypes.addressof(depth),
        ctypes.addressof(one),
        block.ctypes.data,
        ctypes.addressof(depth),
        ctypes.addressof(one),
        lower.ctypes.data,
        ctypes.addressof(size),
    )


def solve_positive(lower: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> bool:
    """Replace the rows of ``right`` (n_rows, n) by their solutions with a positive definite matrix, by Cholesky.

    Parameters
    ----------
    lower : ndarray, shape (n, n)
        C-ordered float64; of the matrix only the lower triangle is read, and overwritten by its factor.
    right : ndarray, shape (n_rows, n)
        C-ordered float64, overwritten.

    Returns
    -------
    bool
        False where the matrix is not positive definite; ``right`` is then as it was.
    """
    n = len(lower)
    arrays = (lower, right)
    if (
        lower.shape != (n, n)
        or right.shape[1:] != (n,)
        or not all(a.dtype == np.float64 and a.flags.c_contiguous and a.flags.writeable for a in arrays)
    ):
        raise ValueError("expected writeable C-ordered float64 arrays (n, n) and (n_rows, n)")
    size, count, info = ctypes.c_int64(n), ctypes.c_int64(len(right)), ctypes.c_int64(0)
    _routine("lapack", "dposv", 8)(
        ctypes.c_char_p(b"U"),
        ctypes.addressof(size),
        ctypes.addressof(count),
        lower.ctypes.data,
        ctypes.addressof(size),
        right.ctypes.data,
        ctypes.addressof(size),
        ctypes.addressof(info),
    )
    return not info.value & 0xFFFFFFFF  # a 32-bit LAPACK writes the lower half


def gram_eigenvalues(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Eigenvalues of the smaller Gram matrix, M M' or M'M: the squared singular values.

    Parameters
    ----------
    matrix : ndarray, shape (r, q)
        Finite, and such that its squares neither overflow nor vanish.

    Returns
    -------
    ndarray, shape (min(r, q),)
        Ascending.  All NaN should the iteration not converge.
    """
    narrow = np.ascontiguousarray(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)
    width = len(narrow)
    lower = np.zeros((width, width))
    add_gram(narrow, lower)
    diagonal, beside, tau, work = np.empty(width), np.empty(width), np.empty(width), np.empty(PANEL * width)
    n, room, info = ctypes.c_int64(width), ctypes.c_int64(work.size), ctypes.c_int64(0)
    _routine("lapack", "dsytrd", 10)(
        ctypes.c_char_p(b"U"),
        ctypes.addressof(n),
        lower.ctypes.data,
        ctypes.addressof(n),
        diagonal.ctypes.data,
        beside.ctypes.data,
        tau.ctypes.data,
        work.ctypes.data,
        ctypes.addressof(room),
        ctypes.addressof(info),
    )
    _routine("lapack", "dsterf", 4)(
        ctypes.addressof(n), diagonal.ctypes.data, beside.ctypes.data, ctypes.addressof(info)
    )
    if info.value & 0xFFFFFFFF:  # a 32-bit LAPACK writes the lower half
        diagonal[:] = np.nan
    return diagonal
