"""What is shipped: extras, entry points, manifest, type marker, and the wheel itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

import napari_recon

REPO = Path(__file__).parent.parent
SOURCE = REPO / "src" / "napari_recon"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SOURCE / "napari.yaml").read_text(encoding="utf-8"))
    return found


def package_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in requirements}


def test_the_base_install_is_headless(project: dict[str, Any]) -> None:
    heavy = {"napari", "qtpy", "pyqt6", "pyside6", "magicgui", "superqt", "pyqtgraph", "dask", "lightning-fabric"}
    assert not package_names(project["dependencies"]) & heavy


def test_the_extras(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    assert set(extras) == {"gui", "io", "train", "psf", "cluster", "docs", "test", "all"}
    assert "napari-recon[gui,io,train]" in extras["all"]
    assert any(requirement.startswith("napari[pyqt") for requirement in extras["all"])
    assert "napari" in package_names(extras["gui"])


def test_python_and_licence(project: dict[str, Any]) -> None:
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "BSD-3-Clause"
    assert "Framework :: napari" in project["classifiers"]
    assert "BSD 3-Clause" in (REPO / "LICENSE").read_text(encoding="utf-8")


def test_type_marker() -> None:
    assert (SOURCE / "py.typed").is_file()


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == napari_recon.__version__


def test_entry_points_are_installed() -> None:
    plugin = {point.name: point.value for point in entry_points(group="napari.manifest")}
    assert plugin["napari-recon"] == "napari_recon:napari.yaml"
    scripts = {point.name: point for point in entry_points(group="console_scripts")}
    assert callable(scripts["napari-recon"].load())


def test_the_manifest_at_the_top_is_the_packaged_one() -> None:
    top, packaged = REPO / "napari.yaml", SOURCE / "napari.yaml"
    if not top.is_symlink() and len(top.read_text(encoding="utf-8").splitlines()) == 1:
        pytest.skip("this checkout has no symbolic links")
    assert top.read_bytes() == packaged.read_bytes()


def test_the_manifest_is_valid_and_all_it_names_exists() -> None:
    pytest.importorskip("napari")
    from npe2 import PluginManifest

    found = PluginManifest.from_file(SOURCE / "napari.yaml")
    assert found.name == "napari-recon"
    found.validate_imports()


def test_commands_start_with_a_verb_and_our_name(manifest: dict[str, Any]) -> None:
    for command in manifest["contributions"]["commands"]:
        assert command["id"].startswith("napari-recon."), command
        assert command["title"][0].isupper(), command


def test_files_of_others_are_left_to_others(manifest: dict[str, Any]) -> None:
    """A reader that claims a general suffix silently takes every such file away from the user's other readers.

    That of ``*.zarr`` declines what this package did not write (tests/viewer/test_plugin.py).
    """
    claimed = {pattern for reader in manifest["contributions"].get("readers", ()) for pattern in reader["filename_patterns"]}
    general = {f"*{s}" for s in (".tif", ".tiff", ".ome.tif", ".npy", ".npz", ".mat", ".h5", ".yaml", ".yml", "")}
    assert claimed, "recipes should open by drag and drop"
    assert not claimed & (general | {"*.*"})


def test_the_two_commands_are_in_the_readme() -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert 'pip install "napari-recon[all]"' in readme


@pytest.mark.slow
def test_the_wheel_holds_what_it_should(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling (in the extra test)")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(REPO)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("napari_recon-*.whl")
    check = [sys.executable, str(REPO / "scripts" / "check_wheel.py"), str(wheel)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_sample_that_the_dock_offers_exists(manifest: dict[str, Any]) -> None:
    pytest.importorskip("qtpy")
    from napari_recon.widgets.light_field import LightFieldWidget

    offered = LightFieldWidget.sample
    assert offered in {(manifest["name"], sample["key"]) for sample in manifest["contributions"]["sample_data"]}
