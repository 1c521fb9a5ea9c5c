"""A content hash at the speed of memory: cryptographic ones cost as much as the Gram matrix of a wide layer."""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 8
PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: multiplication by it is invertible


@njit(cache=True, nogil=True)
def mix_words(words, lanes):  # type: ignore[no-untyped-def]
    """Fold 64-bit words (n,), n a multiple of 8, into eight 64-bit lanes in place.

    Each step xors a word, multiplies by an odd constant and folds the high half back: every step is invertible, so two
    arrays that differ in one word always differ in their lanes.
    """
    for start in range(0, len(words), 8):
        for k in range(8):
            mixed = (lanes[k] ^ words[start + k]) * PRIME
            lanes[k] = mixed ^ (mixed >> np.uint64(32))
