"""The benchmarks run: every case agrees with its peer on small data, every asv class works with its smallest sizes."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SUITES = sorted((BENCHMARKS / "suites").glob("bench_*.py"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "compare_libraries.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"suites_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asv_classes():
    for path in SUITES:
        module = load(path)
        for name, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == module.__name__:
                yield pytest.param(found, id=f"{path.stem}.{name}")


def test_every_case_agrees(tmp_path):
    file = tmp_path / "result.json"
    done = run("--quick", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(file.read_text())
    verdicts = {row["case"]: row["verdict"] for row in result["cases"]}
    assert set(verdicts) == set(run("--list").stdout.split())
    assert set(verdicts.values()) <= {"agrees", "peer missing"}
    needed = {"rdm_correlation_scipy", "cka_all_pairs_gram", "cka_layers_engine", "ridge_nested_sklearn", "bin_spikes"}
    assert {verdicts[name] for name in needed} == {"agrees"}
    assert result["blas"] and result["versions"]["repcompare"] != "missing"
    for name in verdicts:  # a row each; nothing is dropped
        assert name in done.stdout


DIFFER = """
import sys
sys.path.insert(0, {folder!r})
import compare_libraries as bench
from dataclasses import replace
case = bench.CASES["spearman_scipy"]
bench.CASES["spearman_scipy"] = replace(case, **{change})
sys.exit(bench.main(["--quick", "--case", "spearman_scipy", *{options!r}]))
"""


@pytest.mark.parametrize(
    ("change", "options", "code", "says"),
    [
        ("dict(peer=lambda data: 2.0)", [], 1, "answers differ"),
        ("dict(peer=lambda data: float('nan'))", [], 1, "answers differ"),
        ("dict(peer=lambda data: 1 / 0)", [], 1, "raised"),
        ("dict(library='no_such_library')", [], 0, "peer missing"),
        ("dict(library='no_such_library')", ["--require-peers"], 1, "peer missing"),
    ],
)
def test_exit_codes(change, options, code, says):
    program = DIFFER.format(folder=str(BENCHMARKS), change=change, options=options)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stdout


WEIGHED = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
import compare_libraries as bench
from dataclasses import replace
def ours(data):
    np.ones(10**6), np.ones(10**6)  # 16 MB at a time
    return 2.0
bench.CASES["spearman_scipy"] = replace(bench.CASES["spearman_scipy"], ours=ours, peer=lambda data: 2.0)
sys.exit(bench.main(["--quick", "--case", "spearman_scipy", "--json", {file!r}, *{options!r}]))
"""


@pytest.mark.parametrize("options", [["--memory"], []])
def test_peak_memory_is_stated_where_asked_for(options, tmp_path):
    file = tmp_path / "result.json"
    program = WEIGHED.format(folder=str(BENCHMARKS), file=str(file), options=options)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["cases"]
    assert ("ours MB" in done.stdout) == bool(options)
    if options:
        assert 16 <= row["ours_mb"] < 17
        assert 0 <= row["peer_mb"] < 0.1
    else:
        assert math.isnan(row["ours_mb"])


def test_the_check_under_missing_values_can_fail():
    program = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import numpy as np
from cases import CASES
case = CASES["crossnobis_missing_rsatoolbox"]
data = case.make(np.random.default_rng(0), True)
distances, _ = case.ours(data)
print(case.agree((distances, data), None), case.agree((distances * (1 + 1e-8), data), None), case.tolerance)
"""
    pytest.importorskip("rsatoolbox")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    right, wrong, tolerance = map(float, done.stdout.split())
    assert right <= tolerance < wrong


@pytest.mark.parametrize("benchmark_class", list(asv_classes()))
def test_asv_classes_run_with_their_smallest_sizes(benchmark_class):
    params = getattr(benchmark_class, "params", ())
    listed = bool(params) and isinstance(params[0], (list, tuple))
    smallest = [values[0] for values in params] if listed else list(params[:1])
    assert len(smallest) == len(getattr(benchmark_class, "param_names", ()))
    timed = [name for name in dir(benchmark_class) if name.startswith("time_")]
    assert timed
    for name in timed:  # asv sets up afresh for each
        instance = benchmark_class()
        instance.setup(*smallest)
        getattr(instance, name)(*smallest)
        getattr(instance, "teardown", lambda *_: None)(*smallest)


def test_asv_configuration_points_at_the_suites():
    settings = json.loads((BENCHMARKS / "asv.conf.json").read_text())
    assert (BENCHMARKS / settings["benchmark_dir"]).is_dir()
    assert list(itertools.chain(SUITES))
