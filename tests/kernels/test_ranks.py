"""Mid-ranks, compiled and as Python."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from repcompare.kernels.ranks import fill_midranks


@pytest.mark.parametrize("fill", [fill_midranks, fill_midranks.py_func], ids=["compiled", "python"])
@pytest.mark.parametrize("values", [[], [3.0], [1.0, 1.0], [3.0, 1.0, 3.0, -2.0], list(np.arange(50) % 7 - 3.0)])
def test_equals_scipy(fill, values):
    x = np.array(values, dtype=np.float64)
    ranks = np.full(x.size, -1.0)
    fill(x, np.argsort(x), ranks)
    np.testing.assert_array_equal(ranks, rankdata(x) if x.size else x)
