"""Eigenvalues of Gram matrices without the interpreter lock, and nuclear norms that are certified by them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from repcompare.measures import _nuclear
from repcompare.measures._blas import gram_eigenvalues
from repcompare.measures._nuclear import overlap_norm
from repcompare.measures._subspace import canonical_sum


def with_spectrum(s, rng, shape=None):
    rows, columns = shape or (len(s), len(s))
    u, v = (np.linalg.qr(rng.normal(size=(k, len(s))))[0] for k in (rows, columns))
    return (u * s) @ v.T


SPECTRA = {
    "flat": np.ones(60),
    "one small": np.r_[np.ones(59), 1e-6],
    "one zero": np.r_[np.ones(59), 0],
    "ten zeros": np.r_[np.linspace(2, 1, 50), np.zeros(10)],
    "one large": np.r_[1, np.full(59, 1e-6)],
    "ten strong": np.r_[np.linspace(1, 0.5, 10), np.linspace(1e-3, 1e-6, 50)],
    "condition 1e4": np.geomspace(1, 1e-4, 60),
    "condition 1e6": np.geomspace(1, 1e-6, 60),
    "condition 1e9": np.geomspace(1, 1e-9, 60),
    "condition 1e15": np.geomspace(1, 1e-15, 60),
    "power law": np.arange(1, 61) ** -2.0,
    "two levels": np.r_[np.ones(30), np.full(30, 1e-7)],
}


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-9, 1.0, 1e9, 1e150, 1e300])
@pytest.mark.parametrize("name", SPECTRA)
def test_nuclear_norms_of_known_spectra(name, scale):
    rng = np.random.default_rng(0)
    for shape in ((60, 60), (60, 90), (90, 60)):
        found = overlap_norm(scale * with_spectrum(SPECTRA[name], rng, shape))
        assert found == pytest.approx(scale * SPECTRA[name].sum(), rel=1e-10)


def test_nuclear_norm_of_nothing():
    assert overlap_norm(np.zeros((40, 30))) == 0.0


def test_the_bound_holds_where_it_certifies(monkeypatch):
    """Random overlaps near the limit of the certificate: what passes is right to 1e-10, and about half passes."""
    rng = np.random.default_rng(0)
    passed = []
    for condition in np.geomspace(1e5, 1e7, 40):
        s = np.geomspace(1, 1 / condition, 80)
        matrix = with_spectrum(s, rng)
        with monkeypatch.context() as patched:
            patched.setattr(_nuclear, "nuclear_norm", lambda m: np.nan)
            found = overlap_norm(matrix)
        passed.append(np.isfinite(found))
        if passed[-1]:
            assert found == pytest.approx(np.linalg.svd(matrix, compute_uv=False).sum(), rel=1e-10)
    assert 5 < sum(passed) < 35


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (15, 16), (17, 17), (33, 20), (50, 120)], ids=str)
def test_gram_eigenvalues_are_squared_singular_values(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    for m in (matrix, matrix.T, np.asfortranarray(matrix)):
        squares = np.linalg.svd(m, compute_uv=False)[::-1] ** 2
        before = m.copy()
        np.testing.assert_allclose(gram_eigenvalues(m), squares, rtol=1e-10, atol=1e-13 * squares[-1])
        np.testing.assert_array_equal(m, before)


def test_canonical_sums_clip_and_keep_their_digits():
    rng = np.random.default_rng(0)
    for s in (np.linspace(1, 0.1, 30), np.r_[np.ones(15), np.zeros(15)], np.geomspace(1, 1e-6, 30)):
        for shape in ((30, 30), (30, 44), (44, 30)):
            assert canonical_sum(with_spectrum(s, rng, shape)) == pytest.approx(s.sum(), abs=1e-10)
    assert canonical_sum(with_spectrum(np.r_[1 + 1e-9, np.full(9, 0.5)], rng)) == pytest.approx(5.5, abs=1e-12)


def test_other_threads_run_meanwhile():
    matrix = np.random.default_rng(0).normal(size=(700, 700))
    gram_eigenvalues(matrix[:30])
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.01)
    started = time.perf_counter()
    gram_eigenvalues(matrix)
    ended = time.perf_counter()
    done.set()
    thread.join()
    assert sum(started < t < ended for t in ticks) >= 3
