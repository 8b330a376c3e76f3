"""The set-up scripts: what they call missing, and what they say when they may not install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("bash"), reason="Linux set-up scripts")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of fake system tools: an ordinary user without sudo on a machine that has two libraries."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "ldconfig": "echo ' libEGL.so.1 (libc6,x86-64) => /lib/libEGL.so.1'; echo ' libGL.so.1 (libc6) => /lib/libGL.so.1'",
        "id": "echo 1000",
        "sudo": "exit 1",
        "uname": "echo Linux",
        "apt-get": "exit 99",
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def run_bash(code: str, tools: Path, only: bool = False) -> subprocess.CompletedProcess[str]:
    path = str(tools) if only else f"{tools}:{os.environ['PATH']}"
    command = [shutil.which("bash") or "bash", "-c", f"source {REPO}/scripts/system.sh; {code}"]
    return subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60, check=False, cwd=REPO
    )


def test_missing_libraries_become_package_names(tools: Path) -> None:
    found = run_bash("missing_display_packages", tools).stdout.split()
    assert {"libxcb-cursor0", "libxkbcommon-x11-0", "libdbus-1-3"} <= set(found)
    assert not {"libegl1", "libgl1"} & set(found)


def test_a_complete_machine_lacks_nothing(tools: Path) -> None:
    complete = "display_libraries | sed 's/ / (libc6) /'"
    (tools / "ldconfig").write_text(f"#!/bin/bash\nsource {REPO}/scripts/system.sh\n{complete}\n")
    for program in ("Xvfb", "xauth"):
        (tools / program).symlink_to("/bin/true")
    assert run_bash("missing_display_packages", tools).stdout == ""


def test_without_permission_it_names_the_packages(tools: Path) -> None:
    done = run_bash("install_packages libegl1 xvfb", tools)
    assert done.returncode == 1
    assert "sudo apt install libegl1 xvfb" in done.stderr


def test_nothing_to_install_succeeds_without_permission(tools: Path) -> None:
    done = run_bash("install_packages", tools)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_permission_it_installs(tools: Path) -> None:
    (tools / "sudo").write_text('#!/bin/sh\n[ "$1" = --non-interactive ] && shift\nexec "$@"\n')
    (tools / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>{tools}/log\n')
    assert run_bash("install_packages libegl1", tools).returncode == 0
    assert (tools / "log").read_text().splitlines()[-1].endswith("--no-install-recommends libegl1")


def test_a_failing_installation_is_said_too(tools: Path) -> None:
    (tools / "sudo").write_text('#!/bin/sh\n[ "$1" = --non-interactive ] && shift\nexec "$@"\n')
    done = run_bash("install_packages libegl1", tools)
    assert done.returncode == 1
    assert "missing" in done.stderr


def test_python_that_is_too_old_is_refused(tools: Path) -> None:
    (tools / "old-python").write_text("#!/bin/sh\nexit 1\n")
    (tools / "old-python").chmod(0o755)
    complete = {"PYTHON": "old-python", "PATH": f"{tools}:{os.environ['PATH']}", "VENV": str(tools / "venv")}
    done = subprocess.run(
        ["bash", "scripts/setup.sh"], env=os.environ | complete, capture_output=True, text=True, cwd=REPO, check=False
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tools / "venv").exists()


@pytest.mark.parametrize(
    ("left_out", "complaint"),
    [
        ("napari_recon/py.typed", "py.typed"),
        ("napari_recon/napari.yaml", "napari.yaml"),
        ("data/raw.ome.tif", "data"),
        ("models/net.safetensors", "models"),
    ],
)
def test_an_incomplete_wheel_is_found_out(tmp_path: Path, left_out: str, complaint: str) -> None:
    names = {
        "napari_recon/napari.yaml",
        "napari_recon/py.typed",
        "napari_recon/samples/data/README.md",
        "napari_recon/samples/data/raw.ome.tif",
        "napari_recon/hub/models/net.json",
        "napari_recon/hub/models/net.safetensors",
        "napari_recon-0.dist-info/licenses/LICENSE",
        "napari_recon-0.dist-info/entry_points.txt",
    }
    check = [sys.executable, str(REPO / "scripts" / "check_wheel.py")]
    for wheel, kept in (("whole.whl", names), ("part.whl", {n for n in names if not n.endswith(left_out)})):
        with zipfile.ZipFile(tmp_path / wheel, "w") as archive:
            for name in kept:
                archive.writestr(name, "")
    whole = subprocess.run([*check, str(tmp_path / "whole.whl")], capture_output=True, text=True, check=False)
    part = subprocess.run([*check, str(tmp_path / "part.whl")], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    assert part.returncode == 1
    assert complaint in part.stderr
