"""The engine against the least it can cost, and the cost of importing the package."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from scipy.linalg.blas import ssyrk
from threadpoolctl import threadpool_limits

import repcompare as rc
from cases._case import Case, Target, largest
from repcompare.measures.cka import cka

LAYERS = 20
HEAVY = ("numpy", "scipy", "sklearn", "numba", "xarray", "pandas", "h5py", "netCDF4")
LEAST = "the peer is the least any exact method can do: the product alone, no centring, no normalising, no comparison"


def _layers(rng: np.random.Generator, quick: bool) -> Data:
    n, widest = (200, 2000) if quick else (1000, 20_000)
    latent = rng.standard_normal((n, 20), dtype=np.float32)
    layers = []
    for p in np.linspace(widest / 40, widest, LAYERS).astype(int):
        layer = rng.standard_normal((n, p), dtype=np.float32)
        layer += latent @ rng.standard_normal((20, p), dtype=np.float32)
        layers.append(layer)
    names = [f"image{i:05d}" for i in range(n)]
    parts = {f"layer{i:02d}": rc.representation(x, stimulus=names) for i, x in enumerate(layers)}
    return Data(size=f"{LAYERS} layers, n={n} p={layers[0].shape[1]}-{widest}, float32", layers=layers, parts=parts)


def _states(data: Data, threads: int) -> Any:
    """All pairs from arrays, with the threads as the engine shares them out."""
    measure = cka()
    if threads == 1:
        states = [measure.prepared(x) for x in data.layers]
    else:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            states = list(pool.map(measure.prepared, data.layers))
    assert measure.compare_many is not None
    return measure.compare_many(states, states)


def _matrix(data: Data, *, hash_inputs: bool, threads: int) -> Any:
    found = rc.similarity_matrix(data.parts, measure="cka", hash_inputs=hash_inputs, n_jobs=threads, progress=False)
    return found["score"].values[:, :, 0]


def _products(data: Data) -> Any:
    """One symmetric product per layer: x x', lower triangle (the transpose is free for Fortran)."""
    return [ssyrk(1.0, x.T, trans=1, lower=1) for x in data.layers]


def _finished(ours: Any, products: Any) -> float:
    """Difference to debiased CKA finished in float64 from the peer's products."""
    rows = []
    for lower in products:
        kernel = np.tril(lower, -1).astype(np.float64)
        kernel += kernel.T
        n, sums = len(kernel), kernel.sum(axis=0)
        kernel += sums.sum() / ((n - 1) * (n - 2)) - (sums[:, None] + sums) / (n - 2)
        pairs = kernel[np.tril_indices(n, -1)]
        rows.append(pairs / np.linalg.norm(pairs))
    return largest(ours, np.array(rows) @ np.array(rows).T)


def _all_layers(name: str, ours: Any, threads: int, note: str = "") -> Case:
    return Case(
        name=name,
        peer_name=f"scipy ssyrk, one per layer, {threads} BLAS thread{'s' if threads > 1 else ''}",
        library="scipy",
        make=_layers,
        ours=ours,
        peer=_products,
        agree=_finished,
        tolerance=1e-5,
        target=Target("cost", 1.5),
        threads=threads,
        note=note + LEAST,
    )


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


CASES = (
    _all_layers("cka_layers_states", partial(_states, threads=2), 2, "2 threads with one BLAS thread each; "),
    _all_layers("cka_layers_states_one_thread", partial(_states, threads=1), 1),
    _all_layers(
        "cka_layers_engine", partial(_matrix, hash_inputs=False, threads=2), 2, "similarity_matrix, n_jobs=2; "
    ),
    _all_layers("cka_layers_engine_hash", partial(_matrix, hash_inputs=True, threads=2), 2, "hashing, n_jobs=2; "),
    _all_layers("cka_layers_engine_one_thread", partial(_matrix, hash_inputs=False, threads=1), 1),
    _all_layers("cka_layers_engine_hash_one_thread", partial(_matrix, hash_inputs=True, threads=1), 1, "the default; "),
    Case(
        name="import",
        peer_name="plain python",
        library="numpy",
        make=lambda rng, quick: Data(size="subprocess"),
        ours=lambda data: _python(f"import sys, repcompare; print(sum(m in sys.modules for m in {HEAVY!r}), end='')"),
        peer=lambda data: _python(f"import sys; print(sum(m in sys.modules for m in {HEAVY!r}), end='')"),
        agree=lambda ours, peer: abs(int(ours) - int(peer)),
        tolerance=0.0,
        target=Target("above", 0.1),
        note="the difference is the number of heavy libraries that the import brings in",
    ),
)
