"""Batches and their workers are killed at random moments; the result is that of one quiet run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

import napari_recon
from napari_recon.io import open_stack
from napari_recon.jobs.batch.records import FOLDER

from .conftest import recording

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX thing")]
KILLS = 20
FRAMES = 60
PARAMS = {"preset": "SKL", "camera_offset": 5.0}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / "raw" / f"day{number}").mkdir(parents=True)
        recording(tmp_path / "raw" / f"day{number}" / "cells.ome.tif", number, FRAMES)
    return tmp_path / "raw"


def _check(raw: Path, out: Path) -> None:
    for file in raw.rglob("*.tif"):
        expected = napari_recon.run("fusion.background", file, params=PARAMS)["clean"]
        np.testing.assert_array_equal(open_stack(out / file.parent.name / "cells.ome.zarr").data, expected)
    assert not [p for p in out.rglob(".*") if p.name != FOLDER] and not list((out / FOLDER).glob("work/*"))


def _lines(out: Path) -> int:
    return sum(log.read_bytes().count(b"\n") for log in out.glob(f"{FOLDER}/items/*"))


@pytest.mark.timeout(600)
def test_twenty_kills_of_a_batch(raw: Path, recipe: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "out", np.random.default_rng(1), 0
    call = [
        sys.executable,
        "-m",
        "napari_recon",
        "batch",
        str(recipe),
        str(raw),
        "-o",
        str(out),
        "--each",
        "file",
        "-q",
        "--resume",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    frames = []
    while kills < KILLS:
        before = _lines(out)
        process = subprocess.Popen(call, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and _lines(out) == before:
            time.sleep(0.005)
        time.sleep(float(rng.exponential(0.01)))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        frames.append(_lines(out))
    assert kills >= KILLS // 2 and frames == sorted(frames)  # every session kept what it made
    napari_recon.batch(recipe, raw, out, resume=True, each="file")
    _check(raw, out)


@pytest.mark.timeout(600)
def test_workers_that_die_lose_their_frame_only(raw: Path, recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    rng, killed = np.random.default_rng(2), []
    moments = sorted(rng.integers(1, FRAMES, 2))

    def kill_one(event: object) -> None:
        if len(killed) < len(moments) and getattr(event, "done", 0) >= moments[len(killed)]:
            if workers := [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]:
                victim = workers[int(rng.integers(len(workers)))]
                victim.kill()
                killed.append(victim.pid)

    end = napari_recon.batch(recipe, raw, tmp_path / "out", workers=2, each="file", on_event=kill_one)
    assert not end.failed and len(killed) == len(moments)
    _check(raw, tmp_path / "out")


def _is_worker(child: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it may be dead already
        return any("spawn_main" in word for word in child.cmdline())
    return False
