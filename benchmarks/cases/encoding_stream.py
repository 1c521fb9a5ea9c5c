"""Ridge encoding from files that are read in blocks, against the same from arrays in memory."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace as Data
from typing import Any

import numpy as np

import repcompare as rc
from cases._case import Case


def _files(rng: np.random.Generator, quick: bool) -> Data:
    """Two files, the rows of the target in another order than those of the source."""
    n, p, t = (120, 12, 30) if quick else (4000, 500, 10_000)
    x = (rng.normal(size=(n, p)) * np.linspace(2, 0.1, p) + 1).astype(np.float32)
    y = x @ (rng.normal(size=(p, t)) / np.sqrt(p)).astype(np.float32)
    y += rng.standard_normal((n, t), dtype=np.float32) * np.geomspace(0.5, 20, t).astype(np.float32)
    names, order = np.array([f"image_{i:05d}" for i in range(n)]), rng.permutation(n)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rc.save(rc.representation(x, stimulus=names), folder / "x.nc")
    rc.save(rc.representation(y[order], stimulus=names[order]), folder / "y.nc")
    needed = 4 * 5 * p * t + 14 * 8 * p * p
    size = f"n={n} p={p} t={t} a=20 k=5 float32"
    return Data(size=size, folder=folder, memory=4 * needed)  # one pass


def _streamed(data: Data) -> tuple[Any, Any]:
    with rc.open(data.folder / "x.nc") as x, rc.open(data.folder / "y.nc") as y:
        found = rc.encode(x, y, memory=data.memory, progress=False)
    return found.fold_alphas, found.unit_scores


def _whole(data: Data) -> tuple[Any, Any]:
    with rc.open(data.folder / "x.nc") as x, rc.open(data.folder / "y.nc") as y:
        found = rc.encode(x, y)
    return found.fold_alphas, found.unit_scores


def _alike(ours: Any, peer: Any) -> float:
    """Largest difference of scores, or a hundredth of the share of choices that differ, if that is more."""
    share = float(np.mean(~np.isclose(ours[0], peer[0], rtol=1e-4, atol=0)))
    return max(float(np.abs(ours[1] - peer[1]).max()), share / 100)


CASES = (
    Case(
        name="ridge_streamed",
        peer_name="ours with all rows in memory",
        library="numpy",
        make=_files,
        ours=_streamed,
        peer=_whole,
        agree=_alike,
        tolerance=1e-4,
        note="both read the same two files, whose rows are in different orders; at most 1 % of the choices may differ",
    ),
)
