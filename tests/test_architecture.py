"""The rules of the house that a machine can check: who imports whom, what stays light, what never appears in the code."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from napari_recon.engines import registry

REPO = Path(__file__).parent.parent
SOURCE = REPO / "src" / "napari_recon"
MODULES = sorted(SOURCE.rglob("*.py"))
GUI = ("qtpy", "PyQt6", "PySide6", "napari", "magicgui", "superqt", "pyqtgraph", "vispy")
HEADLESS = ["napari_recon", "napari_recon.engines", "napari_recon.jobs", "napari_recon.cli", "napari_recon.samples"]
ENGINE_MODULES = sorted({target.partition(":")[0] for target in registry._targets.values()})


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def loaded_after(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after running `code`."""
    tell = "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Return (dotted name, node) of every call in a module."""
    return [(ast.unparse(node.func), node) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]


def test_import_directions() -> None:
    pytest.importorskip("importlinter")
    # in its own process: the linter switches off every logger that exists already
    config = str(REPO / "pyproject.toml")
    code = f"from importlinter.cli import lint_imports as lint; raise SystemExit(lint({config!r}, no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr


def importing(modules: list[str], heavy: set[str]) -> tuple[str, list[str]]:
    """Import one module after the other, each anew, in a fresh interpreter; return the first that loads something heavy."""
    code = f"""
import importlib, json, sys
found = "", []
for module in {modules!r}:
    for name in [name for name in sys.modules if name.startswith("napari_recon")]:
        del sys.modules[name]
    importlib.import_module(module)
    if loaded := {heavy!r} & set(sys.modules):
        found = module, sorted(loaded)
        break
print("FOUND", json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    module, loaded = json.loads(done.stdout.rpartition("FOUND")[2])
    return module, loaded


def test_import_needs_neither_torch_nor_a_viewer() -> None:
    assert importing(HEADLESS + ENGINE_MODULES, {"torch", *GUI}) == ("", [])
    assert importing(["json", "wave", "email"], {"wave", "email"}) == ("wave", ["wave"]), "or the check could not fail"


def test_planning_needs_no_torch() -> None:
    code = """
import numpy as np
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.jobs import input_ref
views = ImageStack.of(np.zeros((169, 21, 21), np.uint16), "VYX", name="views")
for name in ("serenet.refocus", "deconvolution.lightfield_rl"):
    plan = registry.get(name).plan([input_ref("views", views)], {})
    assert plan.outputs[0].grid.axes == "ZYX"
"""
    first_input = registry.get("serenet.refocus").info.inputs[0].name
    assert not loaded_after(code.replace('"views", views', f'"{first_input}", views')) & {"torch", *GUI}


@pytest.mark.parametrize("module", ["torch", "napari"])
def test_the_check_for_loaded_packages_can_fail(module: str) -> None:
    assert module in loaded_after(f"import sys, types; sys.modules[{module!r}] = types.ModuleType({module!r})")


def test_modules_are_small() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > 450} == {}
    assert statistics.median(n for n in lengths.values() if n > 5) <= 150


def test_nothing_is_unpickled() -> None:
    """A checkpoint is data: neither pickle nor `torch.load` may run what somebody put into a file."""
    forbidden = re.compile(r"(^|\.)(pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)\.(load|loads|open|Unpickler)$")
    unsafe = []
    for path in MODULES:
        for name, node in calls(path):
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            allows_pickle = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
            if forbidden.search(name) or allows_pickle or (name == "torch.load" and not safe):
                unsafe.append(f"{name_of(path)}:{node.lineno} {name}")
    assert unsafe == []


def test_the_code_neither_prints_nor_evaluates_text() -> None:
    """Only the command line prints."""
    found = [
        f"{name_of(path)}:{node.lineno} {name}"
        for path in MODULES
        for name, node in calls(path)
        if (name == "print" and path.parent.name != "cli")
        or name in ("eval", "exec", "os.system")
        or any(k.arg == "shell" for k in node.keywords)
    ]
    assert found == []


def test_nothing_is_left_for_later() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|type: ignore\s*$")
    found = [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if left.search(line)
    ]
    assert found == []


def test_only_the_viewer_package_changes_layers() -> None:
    changes = re.compile(
        r"(^|\.)(add_(image|labels|points|shapes|layer|vectors)|layers\.(append|extend|insert|remove|pop|clear|move))$"
    )
    found = [
        f"{name_of(path)}:{node.lineno} {name}"
        for path in MODULES
        if path.relative_to(SOURCE).parts[0] != "viewer" and name_of(path) != "cli/demo.py"
        for name, node in calls(path)
        if changes.search(name)
    ]
    assert found == []


def test_public_names_below_the_viewer_have_docstrings() -> None:
    missing = []
    for package in ("core", "optics", "tiling", "hub", "io", "metrics", "engines", "jobs"):
        for path in sorted((SOURCE / package).rglob("*.py")):
            for node in parsed(path).body:
                public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                if public and ast.get_docstring(node) is None:
                    missing.append(f"{name_of(path)}:{node.lineno} {node.name}")
    assert missing == []


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in MODULES if ast.get_docstring(parsed(path)) is None]
    assert silent == []
