"""The house keeps its plan: who may import whom, sizes of files and functions, no pickles, a light front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "repcompare").rglob("*.py")) + sorted((ROOT / "data_adapters").rglob("*.py"))

# wing -> the wings it may import (itself always); the front door `repcompare` alone is __init__, which names homes lazily
ALLOWED = {
    "errors": set(),
    "kernels": set(),
    "labels": {"errors"},
    "measures": {"kernels", "errors"},
    "statistics": {"kernels", "measures._measure", "errors"},
    "engine": {"labels", "measures", "statistics", "kernels.digest", "kernels.neighbourhoods", "errors"},
    "functional": {"labels", "measures", "statistics", "errors"},
    "estimators": {"measures", "errors"},
    "simulate": {"labels", "errors"},
    "views": {"labels", "errors"},
    "compare": {"engine"},
    "searchlight": {"engine", "functional", "errors"},
    "demo": {"compare", "labels", "measures.rsa", "simulate", "views"},
    "cli": {"compare", "demo", "cli_files", "labels.store", "labels.formats", "views", "errors"},
    "cli_files": {"labels.store", "labels.formats", "labels.parts", "views", "errors"},
    "data_adapters": {"labels", "errors"},
}
FOREIGN = {  # libraries that a wing may import at all, beside the standard library
    "errors": set(),
    "kernels": {"numpy", "numba"},
    "labels": {"numpy", "xarray", "netCDF4"},
    "measures": {"numpy", "scipy", "sklearn", "numba"},
    "statistics": {"numpy", "scipy", "sklearn", "numba"},
}


def wing(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "data_adapters" else parts[1]


def imported(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
            assert node.level == 0, f"{path}: relative import"
    return found


def allowed(name: str, home: str) -> bool:
    inside = name.removeprefix("repcompare.")
    if inside in (name, "__version__"):  # `import repcompare`: the front door and its version
        return True
    return any(inside == a or inside.startswith(f"{a}.") for a in ALLOWED[home] | {home})


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_to_the_table(path):
    home = wing(path)
    if home in ("__init__", "data_adapters"):
        wrong = [n for n in imported(path) if n.startswith("repcompare.") and not allowed(n, "data_adapters")]
    else:
        wrong = [n for n in imported(path) if n.startswith("repcompare") and not allowed(n, home)]
        wrong += [n for n in imported(path) if n.startswith("data_adapters")]
    assert not wrong, f"{path.name} may not import {wrong}"


@pytest.mark.parametrize("path", [m for m in MODULES if wing(m) in FOREIGN], ids=lambda p: str(p.relative_to(ROOT)))
def test_numerics_know_no_xarray_and_labels_know_no_numerics(path):
    home = wing(path)
    own = {"repcompare", "__future__"} | set(sys.stdlib_module_names) | FOREIGN[home]
    wrong = [n for n in imported(path) if n.partition(".")[0] not in own]
    assert not wrong, f"{path.name} may not import {wrong}"


def test_the_table_is_enforced():
    """The rule itself must be able to fail."""
    assert not allowed("repcompare.measures.cka", "labels")
    assert not allowed("repcompare.labels.schema", "measures")
    assert not allowed("repcompare.measures.cka.cka", "statistics")
    assert allowed("repcompare.measures._measure.Folds", "statistics")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    text = path.read_text()
    assert text.count("\n") <= 450, "files stay below about 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            length = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert length <= 60, f"{node.name} has {length} lines without its docstring"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_executes_foreign_code(path):
    forbidden = {"eval", "exec", "compile", "__import__"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in forbidden, f"{path.name}:{node.lineno} calls {name}"
            assert name.rpartition(".")[2] not in ("loads", "load") or "pickle" not in name
            for keyword in node.keywords:
                allowed_pickle = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                assert keyword.arg != "allow_pickle" or allowed_pickle, f"{path.name}:{node.lineno} allows pickles"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_front_door_loads_nothing_heavy():
    out = run_python(
        "import sys; import repcompare; print([m for m in ('numpy','scipy','xarray','numba','pandas') if m in sys.modules])"
    )
    assert out.strip() == "[]"


def test_the_menu_of_formats_loads_no_reader():
    heavy = "('h5py', 'netCDF4', 'scipy', 'numba')"
    out = run_python(
        f"import sys; from repcompare.labels.formats import registered; registered(); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert out.strip() == "[]"


def test_every_public_name_has_a_home():
    import repcompare as rc

    for name in rc.__all__:
        assert getattr(rc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ckaa'"):
        rc.ckaa  # noqa: B018
