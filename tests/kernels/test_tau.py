"""Kendall's tau: the kernels against plain loops, compiled and as Python, and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from repcompare.kernels import tau
from repcompare.measures.rsa import _ranked, compare_rdms
from tests import naive_rsa_comparators as naive


def sorted_pair(n, levels, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, levels, size=(2, n)).astype(float)
    return a, b, _ranked.sort(a), _ranked.sort(b)


@pytest.mark.parametrize("count", [tau.discordant_bits, tau.discordant_merge], ids=["bits", "merge"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("n", "levels"), [(2, 2), (3, 9), (40, 4), (130, 10**6), (63, 3), (64, 1000), (65, 1000)])
def test_discordant_pairs_are_those_in_opposite_order(count, compiled, n, levels):
    a, b, x, y = sorted_pair(n, levels, seed=n)
    function = count if compiled else count.py_func
    expected = sum((a[i] - a[j]) * (b[i] - b[j]) < 0 for i in range(n) for j in range(i))
    with np.errstate(over="ignore"):  # 64-bit products wrap on purpose
        assert function(x.order, x.stop, y.place, y.stop) == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_tie_kernels(compiled):
    a, b, x, y = sorted_pair(50, 4)
    pick = (lambda f: f) if compiled else (lambda f: f.py_func)
    place, stop = np.empty(50, np.int32), np.empty(50, np.int32)
    assert pick(tau.mark_ties)(a, x.order, place, stop) == sum(a[i] == a[j] for i in range(50) for j in range(i))
    np.testing.assert_array_equal(a[x.order], np.sort(a))
    counts = np.zeros(51, np.int32)
    both = sum(a[i] == a[j] and b[i] == b[j] for i in range(50) for j in range(i))
    assert pick(tau.tied_in_both)(x.order, x.stop, y.stop, counts) == both
    assert not counts.any()
    kept = np.arange(50) % 3 > 0
    out = np.empty(kept.sum(), np.int32)
    pick(tau.filter_order)(x.order, np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32), out)
    np.testing.assert_array_equal(a[kept][out], np.sort(a[kept]))
    signs = np.array([naive.signs(v) for v in (a, b)])
    found = pick(tau.sum_absolute_signs)(np.stack([a, b]), np.array([0.3, 0.7]))
    assert found == pytest.approx(np.abs(0.3 * signs[0] + 0.7 * signs[1]).sum(), abs=1e-9)


@pytest.mark.parametrize("levels", [3, 50, 10**6])
@pytest.mark.parametrize("k", [8, 40])
def test_tau_b_is_scipy(levels, k):
    n = k * (k - 1) // 2
    a, b, *_ = sorted_pair(n, levels)
    assert compare_rdms(a, b, "kendall_tau_b") == pytest.approx(kendalltau(a, b).statistic, abs=1e-14)


def test_long_vectors_are_merged():
    a, b, x, y = sorted_pair(50_000, 3000)
    assert x.order.size > tau.LONGEST_BITS
    n0 = 50_000 * 49_999 / 2
    expected = kendalltau(a, b).statistic * np.sqrt(n0 - x.tied) * np.sqrt(n0 - y.tied)
    assert _ranked.signs(x, y) == pytest.approx(expected, rel=1e-11)
