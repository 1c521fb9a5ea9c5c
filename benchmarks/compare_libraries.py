"""Time ours and a peer in one process on the same arrays, after checking that the answers agree.

``python benchmarks/compare_libraries.py [--quick] [--case NAME ...] [--memory] [--json FILE]``; see the README.md.
``--case agreement`` runs the table of agreement with independent packages.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info, threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import CASES, Case

SEED = 0
PACKAGES = (
    "repcompare", "numpy", "scipy", "scikit-learn", "numba", "xarray", "rsatoolbox", "himalaya", "POT", "dcor", "cca-zoo",
    "mpmath", "netrep", "ikpls",
)  # fmt: skip
NAMES = {name: [name] for name in CASES} | {"agreement": [name for name in CASES if name.startswith("agreement_")]}
FAILED = "answers differ"
MISSING = "peer missing"
RAISED = "raised"
STYLES = {FAILED: "bold red", RAISED: "bold red", MISSING: "dim", "missed": "yellow", "slower": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one case; times in s, peaks in MB, NaN where nothing was measured."""

    case: str
    peer: str
    size: str = ""
    ours_s: float = float("nan")
    peer_s: float = float("nan")
    ours_mb: float = float("nan")
    peer_mb: float = float("nan")
    target: str = ""
    difference: float = float("nan")
    tolerance: float = float("nan")
    verdict: str
    note: str = ""


def attempt(case: Case, quick: bool, rounds: int | None = None, memory: bool = False) -> Row:
    """Measure a case; one that raises is a row that says so, and the others still run."""
    try:
        return measure(case, quick, rounds, memory)
    except Exception as error:
        return Row(case=case.name, peer=case.peer_name, verdict=RAISED, note=f"{type(error).__name__}: {error}")


def measure(case: Case, quick: bool, rounds: int | None = None, memory: bool = False) -> Row:
    """Make the data, warm both sides up, compare their answers, time them in turns, and weigh them where asked to."""
    if not case.available:
        return Row(case=case.name, peer=case.peer_name, verdict=MISSING, note=f"needs {case.library}")
    target = str(case.target or "") if not quick else ""
    data = case.make(np.random.default_rng(SEED), quick)
    known = {"case": case.name, "peer": case.peer_name, "size": data.size, "target": target, "note": case.note}
    with threadpool_limits(case.threads):
        spent = time.perf_counter()
        ours, peer = case.ours(data), case.peer(data)
        spent = time.perf_counter() - spent
        difference = case.agree(ours, peer)
        known |= {"difference": difference, "tolerance": case.tolerance}
        if not difference <= case.tolerance:
            return Row(**known, verdict=FAILED)
        del ours, peer
        gc.collect()
        times = in_turns(case, data, rounds or n_rounds(spent, quick))
        if memory:
            known |= {"ours_mb": peak(case.ours, data), "peer_mb": peak(case.peer, data)}
    return Row(**known, ours_s=times[0], peer_s=times[1], verdict="agrees" if quick else verdict(case, *times))


def n_rounds(spent: float, quick: bool) -> int:
    """Return how often both are timed: about 8 s (.2 s when quick), not less than twice (once)."""
    budget, least = (0.2, 1) if quick else (8.0, 2)
    return int(np.clip(budget / spent, least, 100))


def in_turns(case: Case, data: Any, rounds: int) -> tuple[float, float]:
    """Return the shortest time of each side; who goes first alternates."""
    best = [np.inf, np.inf]
    sides: tuple[Callable[[Any], Any], ...] = (case.ours, case.peer)
    for r in range(rounds):
        for side in (0, 1) if r % 2 == 0 else (1, 0):
            started = time.perf_counter()
            answer = sides[side](data)
            best[side] = min(best[side], time.perf_counter() - started)
            del answer
    return best[0], best[1]


def peak(side: Callable[[Any], Any], data: Any) -> float:
    """Return the most that Python and numpy held at a time beyond the data, in MB.

    What libraries take for themselves (the work space of a BLAS, arrays inside compiled code) is not seen.
    """
    gc.collect()
    tracemalloc.start()
    try:
        side(data)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def verdict(case: Case, ours: float, peer: float) -> str:
    if case.target is not None:
        return "met" if case.target.met(ours, peer) else "missed"
    return "faster" if ours <= peer else "slower"


def ratio(row: Row) -> str:
    """Say how ours and the peer relate: the form that the target has."""
    if np.isnan(row.ours_s):
        return ""
    if row.target.endswith("above"):
        return f"{row.ours_s - row.peer_s:+.3f} s"
    if row.target.startswith("<="):
        return f"{row.ours_s / row.peer_s:.2f}x the peer"
    if row.ours_s > row.peer_s:
        return f"{row.ours_s / row.peer_s:.3g}x slower"
    return f"{row.peer_s / row.ours_s:.3g}x faster"


def describe() -> dict[str, Any]:
    """Return versions, BLAS and the number of cores."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    blas = [
        f"{i['internal_api']} {i['version']} ({i.get('architecture', '?')})"
        for i in threadpool_info()
        if i["user_api"] == "blas"
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": sys.version.split()[0], "versions": found, "blas": sorted(set(blas)), "cores": cores}


def show(rows: Sequence[Row], about: dict[str, Any], console: Console, memory: bool = False) -> None:
    table = Table(title="ours and peers, shortest times in s", title_justify="left")
    weights = ("ours MB", "peer MB") if memory else ()
    for name in ("case", "peer", "size", "ours s", "peer s", "ratio", *weights, "target", "max difference", "verdict"):
        right = name in ("ours s", "peer s", "ratio", *weights)
        table.add_column(name, justify="right" if right else "left", no_wrap=name in ("case", "verdict"))
    for row in rows:
        seconds = ["" if np.isnan(t) else f"{t:.3g}" for t in (row.ours_s, row.peer_s)]
        apart = "" if np.isnan(row.difference) else f"{row.difference:.1e} (<= {row.tolerance:.0e})"
        peaks = ["" if np.isnan(v) else f"{v:.3g}" for v in (row.ours_mb, row.peer_mb)] if memory else []
        cells = (row.case, row.peer, row.size, *seconds, ratio(row), *peaks, row.target, apart, row.verdict)
        table.add_row(*cells, style=STYLES.get(row.verdict))
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.case}: {row.note}", markup=False)
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    console.print(f"python {about['python']}; {versions}; {'; '.join(about['blas'])}; {about['cores']} cores")
    console.print("BLAS threads: 1 on both sides, but where the peer says otherwise", markup=False)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, to see that everything runs and agrees")
    parser.add_argument("--case", nargs="+", action="extend", metavar="NAME", choices=sorted(NAMES), help="only these")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the results to a file")
    parser.add_argument("--rounds", type=int, help="how often both are timed (default: as time allows)")
    parser.add_argument(
        "--memory", action="store_true", help="also measure the peak memory of both (MB beyond the data)"
    )
    parser.add_argument(
        "--require-peers", action="store_true", help="fail when a peer that the package index has is not installed"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; 1 when answers differ or a case raises, or with ``--require-peers`` when a peer is missing."""
    options = parse(arguments)
    if options.list:
        print("\n".join(CASES))
        return 0
    rows = []
    for name in [name for chosen in options.case or CASES for name in NAMES[chosen]]:
        print(f"{name} ... ", end="", file=sys.stderr, flush=True)
        rows.append(attempt(CASES[name], options.quick, options.rounds, options.memory))
        print(rows[-1].verdict, ratio(rows[-1]), file=sys.stderr, flush=True)
    about = describe()
    console = Console()
    show(rows, about, console if console.is_terminal else Console(width=210), options.memory)
    if options.json:
        content = {"quick": options.quick, **about, "cases": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1))
    required = {name for name, case in CASES.items() if options.require_peers and case.packaged}
    return int(
        any(row.verdict in (FAILED, RAISED) or (row.verdict == MISSING and row.case in required) for row in rows)
    )


if __name__ == "__main__":
    sys.exit(main())
