"""Damage a small genuine file of every format many times: success or one clear error, within 5 s and 500 MB.

``python -m tests.fuzz --count 2000`` is the long run (nightly); the tests run a short one.  Every mutated file is read in a
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

SECONDS, MEGABYTES = 5.0, 500
SPAN = 8  # bytes that one mutation may overwrite


def genuine(folder: Path) -> dict[str, tuple[Path, dict]]:
    """Write one small file of every format; the values are the path and the options to read it with."""
    from tests.data_adapters import test_malformed
    from tests.data_adapters.recordings.files import EVERY

    found = {}
    for kind in ("npy", "npz", "h5", "nwb"):
        path, options = test_malformed.make(folder, kind)
        found[kind] = (path, options)
    for name, (write, options) in EVERY.items():
        place = folder / f"kind_{name}"
        place.mkdir()
        found[name] = (write(place), options)
    return found | _maps(folder) | _networks(folder)


def _maps(folder: Path) -> dict[str, tuple[Path, dict]]:
    """Files of fMRI, where their library is installed."""
    try:
        from tests.data_adapters.fmri import test_malformed_fmri as maps
    except BaseException:  # the module skips itself without nibabel
        return {}
    found = {}
    for kind in ("nii", "nii.gz", "mgz", "gii", "dtseries.nii"):
        place = folder / f"map_{kind}"
        place.mkdir()
        found[kind] = maps.make(place, kind)
    return found


def _networks(folder: Path) -> dict[str, tuple[Path, dict]]:
    """Files of activations."""
    import repcompare as rc
    from repcompare.labels.formats import registered
    from tests.data_adapters.networks.torch_bytes import Tensor, save_legacy, save_zip

    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    names = ["cat", "dog", "owl"]
    save_zip({"fc": Tensor(values), "stimulus_id": names}, folder / "net.pt")
    save_legacy({"fc": Tensor(values), "stimulus_id": names}, folder / "old.pth")
    registered()["safetensors"].write({"a": rc.representation(values, stimulus=names)}, folder / "a.safetensors")
    (folder / "table.csv").write_text("stimulus_id,u1,u2\ncat,1,2\ndog,3,4\n")
    return {
        "torch": (folder / "net.pt", {}),
        "torch_legacy": (folder / "old.pth", {}),
        "safetensors": (folder / "a.safetensors", {}),
        "csv": (folder / "table.csv", {}),
    }


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


def damage(path: Path, bad: Path, rng: np.random.Generator) -> None:
    """Write a damaged copy of a file, or of a folder with one of its files damaged."""
    if path.is_file():
        bad.write_bytes(mutated(path.read_bytes(), rng))
        return
    shutil.copytree(path, bad)
    files = sorted(f for f in bad.rglob("*") if f.is_file())
    victim = files[int(rng.integers(len(files)))]
    if rng.random() < 0.05:
        victim.unlink()
    else:
        victim.write_bytes(mutated(victim.read_bytes(), rng))


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
        path, options = genuine(Path(folder))[name]
        assert outcome(path, options) == "read", f"{name}: the undamaged file is not read: {outcome(path, options)}"
        for seed in seeds:
            bad = path.with_name(f"bad{seed}{''.join(path.suffixes)}")
            damage(path, bad, np.random.default_rng(seed))
            begin = time.process_time()
            result = outcome(bad, options)
            if time.process_time() - begin > SECONDS:
                result = f"{time.process_time() - begin:.1f} s"
            shutil.rmtree(bad) if bad.is_dir() else bad.unlink(missing_ok=True)
            yield seed, result


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
            counts[result if result in ("read", "refused") else "worse"] += 1
            if result not in ("read", "refused"):
                bad[seed] = result
                if result.startswith("hung"):
                    break
        child.kill()
        child.join()
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="damaged files per format")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", nargs="*", help="formats; default all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known = list(genuine(Path(folder)))
    worse = 0
    for name in options.only or known:
        begin = time.perf_counter()
        counts, bad = fuzz(name, options.count, options.first)
        print(f"{name:12} {dict(counts)} {time.perf_counter() - begin:.0f} s", flush=True)
        for seed, what in bad.items():
            print(f"    seed {seed}: {what}", flush=True)
        worse += len(bad)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
