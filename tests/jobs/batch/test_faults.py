"""Disks that run full, permissions that are lost, shares that vanish: one sentence, and the batch can go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_recon
from napari_recon.cli import app
from napari_recon.io import open_stack
from napari_recon.jobs.batch.item_run import ItemRun
from napari_recon.jobs.batch.records import FOLDER

from .conftest import recording

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="only root may mount, and lose its permissions"
)
PARAMS = {"preset": "SKL", "camera_offset": 5.0}


def _mount(*words: object) -> None:
    answer = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"mounting is not allowed here ({answer.stderr.strip()})")


@pytest.fixture
def share() -> Iterator[Path]:
    """A small file system of its own, and a bound copy of it that keeps it alive when it is unmounted."""
    top = Path(tempfile.mkdtemp(prefix="share-"))
    top.chmod(0o755)
    at, kept = top / "share", top / "kept"
    at.mkdir()
    kept.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", at)
        _mount("--bind", at, kept)
        yield at
    finally:
        for place in (at, kept):
            subprocess.run(["umount", "-l", str(place)], capture_output=True)
        shutil.rmtree(top, ignore_errors=True)


def _vanish(share: Path) -> None:
    subprocess.run(["umount", "-l", str(share)], check=True)


def _back(share: Path) -> None:
    _mount("--bind", share.parent / "kept", share)


@pytest.fixture
def after_frames(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let something happen once, when so many frames are finished."""

    def plan(count: int, act: Callable[..., Any], *arguments: Any) -> None:
        took, left = ItemRun.took, iter(range(1, 1000))

        def watched(self: ItemRun, record: Any) -> None:
            took(self, record)
            if next(left) == count:
                act(*arguments)

        monkeypatch.setattr(ItemRun, "took", watched)

    return plan


def _batch(recipe: Path, raw: Path, out: Path, *words: object) -> tuple[int, str]:
    """Return exit code and what was said last, which is a sentence."""
    arguments = ["batch", recipe, raw, "-o", out, "--each", "file", "-q", *words]
    answer = CliRunner().invoke(app, [str(word) for word in arguments])
    assert "Traceback" not in answer.output and len(answer.stderr.strip().splitlines()) <= 1
    return answer.exit_code, answer.stderr


def _check(raw: Path, out: Path) -> None:
    """The results are those of an uninterrupted run, and there is nothing else."""
    for file in raw.rglob("*.tif"):
        alone = napari_recon.run("fusion.background", file, params=PARAMS)["clean"]
        np.testing.assert_array_equal(open_stack(out / file.parent.name / "cells.ome.zarr").data, alone)
    assert not [p for p in out.rglob(".*") if p.name != FOLDER] and not list((out / FOLDER).glob("work/*"))


def _nothing_is_called_done(out: Path) -> None:
    assert not [p for p in out.rglob("cells.ome.*") if FOLDER not in p.parts]


def _everything_read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_disk_that_runs_full(recordings, recipe, share, workers) -> None:
    ballast = share / "ballast"
    ballast.write_bytes(bytes(1_900_000))
    recording(recordings / "monday" / "cells.ome.tif", 3, 30)
    code, said = _batch(recipe, recordings, share / "out", "--workers", workers)
    assert code == 4 and "no space is left" in said and "--resume" in said
    _nothing_is_called_done(share / "out")
    ballast.unlink()
    assert _batch(recipe, recordings, share / "out", "--resume") == (0, "")
    _check(recordings, share / "out")


@pytest.mark.parametrize("name", ["clean.ome.zarr", "clean.ome.tif"])
def test_a_disk_that_is_too_small_for_one_run(tmp_path, share, name) -> None:
    movie = recording(tmp_path / "movie.ome.tif", 1, 200)
    answer = CliRunner().invoke(app, ["run", "fusion.background", str(movie), "-o", str(share / name), "-q"])
    assert answer.exit_code == 4 and len(answer.stderr.strip().splitlines()) == 1 and "free some" in answer.stderr
    assert not (share / name).exists() or napari_recon.jobs.recipes.read_recipe(share / name)


def test_a_permission_that_is_lost(recordings, recipe, share, after_frames) -> None:
    shutil.copytree(recordings, share / "raw")
    shutil.copy(recipe, share)
    after_frames(2, _everything_read_only, share / "out")
    os.seteuid(65534)
    try:
        code, said = _batch(share / recipe.name, share / "raw", share / "out")
    finally:
        os.seteuid(0)
    assert code == 2 and "can't be written (Permission denied)" in said and "--resume" in said
    _nothing_is_called_done(share / "out")
    assert _batch(share / recipe.name, share / "raw", share / "out", "--resume") == (0, "")  # as root, who may
    _check(share / "raw", share / "out")


def test_a_share_of_results_that_vanishes(recordings, recipe, share, after_frames) -> None:
    after_frames(2, _vanish, share)
    code, said = _batch(recipe, recordings, share / "out")
    assert code == 2 and "found it gone" in said and "--resume" in said
    _nothing_is_called_done(share)  # what stands where it was mounted
    shutil.rmtree(share / "out", ignore_errors=True)
    _back(share)
    _nothing_is_called_done(share)
    assert _batch(recipe, recordings, share / "out", "--resume") == (0, "")
    _check(recordings, share / "out")


def test_a_share_of_recordings_that_vanishes(recordings, recipe, share, tmp_path, after_frames) -> None:
    raw = Path(shutil.copytree(recordings, share / "raw"))
    after_frames(2, _vanish, share)
    code, said = _batch(recipe, raw, tmp_path / "out")
    assert code == 2 and "found all of them gone" in said and "--resume" in said
    _back(share)
    assert _batch(recipe, raw, tmp_path / "out", "--resume") == (0, "")
    _check(raw, tmp_path / "out")
