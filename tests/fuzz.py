"""Damage a small genuine file of every format many times: success or one clear error, within 5 s and 500 MB.

``python -m tests.fuzz --count 2000`` is the long run (nightly); the tests run a short one.  In a folder each file has its
turn: bytes changed, emptied, removed, renamed, swapped with another.  Every mutated file is read in a
child process, which can be stopped; what is worse than a clear error is printed, with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz_files import genuine, known

SECONDS, MEGABYTES = 5.0, 500
SPAN = 8  # bytes that one mutation may overwrite
FINE = ("read", "refused")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Truncate, flip a bit, overwrite some bytes, repeat or remove a piece; text-like and binary files alike."""
    out = bytearray(data)
    kind = int(rng.integers(6))
    at = int(rng.integers(len(out)))
    if kind == 0:
        return bytes(out[:at])
    if kind == 1:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        out[at : at + SPAN] = bytes(rng.integers(0, 256, min(SPAN, len(out) - at), dtype=np.uint8))
    elif kind == 3:
        out[at : at + SPAN] = b"\xff" * min(SPAN, len(out) - at)
    elif kind == 4:
        del out[at : at + int(rng.integers(1, 64))]
    else:
        used = np.flatnonzero(np.frombuffer(data, np.uint8))
        out[int(rng.choice(used))] ^= int(rng.integers(1, 256))
    return bytes(out)


def damage(root: Path, bad: Path, seed: int) -> str:
    """Make a damaged copy of a file, or of a folder with one of its files damaged; in words, what was done."""
    rng = np.random.default_rng(seed)
    if root.is_file():
        bad.write_bytes(mutated(root.read_bytes(), rng))
        return "bytes"
    shutil.copytree(root, bad)
    files = sorted(f for f in bad.rglob("*") if f.is_file())
    victim = files[seed % len(files)]  # every file gets as many
    other = files[int(rng.integers(len(files)))]
    what = str(rng.choice(["bytes", "remove", "empty", "rename", "swap"], p=[0.8, 0.05, 0.05, 0.05, 0.05]))
    if what == "bytes" and victim.stat().st_size:
        victim.write_bytes(mutated(victim.read_bytes(), rng))
    elif what == "remove":
        victim.unlink()
    elif what == "rename":
        at = int(rng.integers(len(victim.name)))
        victim.rename(victim.with_name(victim.name[:at] + "7" + victim.name[at + int(rng.integers(2)) :]))
    elif what == "swap":
        mine, theirs = victim.read_bytes(), other.read_bytes()
        victim.write_bytes(theirs)
        other.write_bytes(mine)
    else:
        victim.write_bytes(b"")
    return f"{what} {victim.relative_to(bad)}"


def n_files(root: Path) -> int:
    """Return the number of files of a sample."""
    return 1 if root.is_file() else sum(f.is_file() for f in root.rglob("*"))


def outcome(path: Path, options: dict) -> str:
    """Read a file and all its values: ``"read"``, ``"refused"``, or what is worse."""
    import repcompare as rc
    from repcompare.errors import RepcompareError
    from repcompare.labels.parts import parts_of
    from repcompare.labels.rdms import is_rdms

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = rc.read(path, **options)
            if not is_rdms(found):
                for part in parts_of(found).values():
                    part["response"].load()
            found.close()
        return "read"
    except RepcompareError as error:
        return "refused" if len(str(error).strip()) > 10 else f"an error without words: {error!r}"
    except Exception as error:  # the very thing that is looked for
        return f"{type(error).__module__}.{type(error).__name__}: {str(error)[:200]}"


def trials(name: str, seeds: list[int]) -> Iterator[tuple[int, str]]:
    """Read damaged files of one format; the outcome of each seed."""
    with tempfile.TemporaryDirectory() as folder:
        sample = genuine(Path(folder), {name})[name]
        first = outcome(sample.at(sample.root), sample.options)
        assert first == "read", f"{name}: the undamaged file is not read: {first}"
        for seed in seeds:
            place = Path(folder) / f"bad{seed}"
            place.mkdir()
            bad = place / sample.root.name
            what = damage(sample.root, bad, seed)
            begin = time.process_time()
            result = outcome(sample.at(bad), sample.options)
            if time.process_time() - begin > SECONDS:
                result = f"{time.process_time() - begin:.1f} s"
            shutil.rmtree(place)
            yield seed, result if result in FINE else f"{what}: {result}"


def _child(name: str, seeds: list[int], outcomes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed, result in trials(name, seeds):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes.put((seed, f"{(peak - before) / 1024:.0f} MB" if peak - before > 1024 * MEGABYTES else result))
        before = peak
    outcomes.put((None, ""))


def _next(child_queue, child, seconds: float) -> tuple[int | None, str]:
    """Return the next outcome; ``TimeoutError`` when none comes in time, or the child has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = child.is_alive()
        try:
            return child_queue.get(timeout=0.5)
        except queue.Empty:
            if not alive:
                break
    raise TimeoutError


def fuzz(name: str, count: int, first: int = 0) -> tuple[Counter, dict[int, str]]:
    """Read ``count`` damaged files of a format in child processes; how often what happened, and the bad seeds."""
    context = multiprocessing.get_context("spawn")
    todo, counts, bad = list(range(first, first + count)), Counter(), {}
    while todo:
        outcomes = context.Queue()
        child = context.Process(target=_child, args=(name, todo, outcomes), daemon=True)
        child.start()
        while todo:
            try:
                seed, result = _next(outcomes, child, 60 if len(todo) == count else 4 * SECONDS)
            except TimeoutError:
                if child.exitcode == 1:
                    raise RuntimeError(f"{name}: the child process failed; see above") from None
                seed, result = todo[0], f"hung or died (exit code {child.exitcode})"
            if seed is None:
                break
            todo.remove(seed)
            counts[result if result in FINE else "worse"] += 1
            if result not in FINE:
                bad[seed] = result
                if result.startswith("hung"):
                    break
        child.kill()
        child.join()
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="damaged copies per file; folders have several")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", nargs="*", help="formats; default all")
    options = parser.parse_args()
    worse = 0
    for name in options.only or known():
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            n = n_files(genuine(Path(folder), {name})[name].root)
        counts, bad = fuzz(name, options.count * n, options.first)
        print(f"{name:20} {n:3} files {dict(counts)} {time.perf_counter() - begin:.0f} s", flush=True)
        for seed, what in bad.items():
            print(f"    seed {seed}: {what}", flush=True)
        worse += len(bad)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
