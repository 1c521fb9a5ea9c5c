"""Symmetric rank-k update that lets other threads run: scipy's own wrapper of it keeps the interpreter lock."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
from numba.extending import get_cython_function_address

from repcompare.measures._measure import Array


@cache
def _syrk(name: str) -> ctypes._FuncPointer:
    address = get_cython_function_address("scipy.linalg.cython_blas", name)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(address)  # a ctypes call releases the lock


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
    _syrk("ssyrk" if single else "dsyrk")(
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
