"""Workers of a cluster: who can take part, what plans are made for, and what is said when something is not there."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon.core.compute import Machine
from napari_recon.core.errors import InputError
from napari_recon.engines import registry
from napari_recon.io import open_stack
from napari_recon.jobs.batch import crew, worker
from napari_recon.jobs.batch.cluster import Workers, _together
from napari_recon.jobs.batch.crew import Crew, address_of
from napari_recon.jobs.batch.parts import FrameRecord, Held
from napari_recon.jobs.batch.records import FOLDER
from napari_recon.jobs.batch.run import prepare_batch, run_batch
from napari_recon.jobs.batch.worker import Home, WorkerUnfit, look_around
from napari_recon.jobs.planning import make_plan

pytest.importorskip("distributed")
CPU = Machine(backend="cpu", threads=2, memory_bytes=4_000, device_bytes=4_000)


@pytest.mark.parametrize("address", ["localhost", "8786", "bla bla", "tcp://127.0.0.1:1", "missing.json"])
def test_addresses_where_nobody_is(recordings: Path, recipe: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="was expected"):
        napari_recon.batch(recipe, recordings, tmp_path / "out", scheduler=address)
    assert not (tmp_path / "out").exists()


def test_somebody_else_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)  # takes calls, says nothing
        with pytest.raises(InputError, match=r"a dask scheduler was expected at .*, found none"):
            address_of(f"127.0.0.1:{server.getsockname()[1]}")


def _crew(answers: dict[str, Any]) -> tuple[Crew, list[str]]:
    """A crew whose workers are named and answer as told; the list gets those that are let go."""
    gone: list[str] = []
    client = SimpleNamespace(
        scheduler_info=lambda n_workers: {"workers": {at: {} for at in answers if at not in gone}},
        run=lambda call, *arguments, workers, on_error: {at: answers[at] for at in workers},
        retire_workers=gone.extend,
    )
    return Crew(client, Home("", "")), gone


def test_an_unfit_worker_is_named_at_the_start_and_let_go_later() -> None:
    answers: dict[str, Any] = {"a": CPU, "b": WorkerUnfit("the worker on node7 should see the folder")}
    ours, gone = _crew(answers)
    with pytest.raises(InputError, match="node7"):
        ours.look()
    del answers["b"]
    assert ours.look() == [] and ours.machine == CPU and len(ours) == 1
    answers |= {"c": CPU, "d": Exception("No module named 'napari_recon'"), "e": OSError("it went away")}
    (said,) = ours.look()
    assert "the worker at d should have napari-recon" in said and "No module" in said
    assert gone == ["d"] and len(ours) == 2
    answers |= {"a": WorkerUnfit("no share"), "c": WorkerUnfit("no share")}
    with pytest.raises(InputError, match="no share"):
        ours.look(again=True)


def test_plans_are_for_what_all_of_the_first_workers_can() -> None:
    ours, _ = _crew({"a": CPU, "b": Machine(backend="cuda", threads=8, memory_bytes=3_000, device_bytes=90_000)})
    ours.look()
    assert ours.machine == Machine(backend="cpu", threads=2, memory_bytes=3_000, device_bytes=4_000)


def test_a_worker_without_the_gpu_of_the_others_is_let_go() -> None:
    answers = {"a": Machine(backend="cuda")}
    ours, gone = _crew(answers)
    ours.look()
    assert ours.machine.backend == "cuda"
    answers["b"] = Machine(backend="cpu")
    assert "found cpu" in ours.look()[0] and gone == ["b"]


def test_what_a_worker_has_to_see(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE_S", 0.0)
    settings = tmp_path / "out" / FOLDER / "batch.json"
    settings.parent.mkdir(parents=True)
    settings.write_text("{}")
    files = sorted(map(str, recordings.rglob("*.tif")))
    home = Home.of(settings, files)
    home.check()
    asked = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=1000), state=SimpleNamespace(nthreads=3))
    found = look_around(home, napari_recon.__version__, 0, asked)
    assert (found.threads, found.memory_bytes) == (3, 600)
    with pytest.raises(WorkerUnfit, match=r"on \S+ should have napari-recon 99"):
        look_around(home, "99", 0, asked)
    Path(files[0]).unlink()
    with pytest.raises(WorkerUnfit, match=f"{socket.gethostname()} should see the recording"):
        home.check()
    settings.write_text("another batch in a folder of that name")
    with pytest.raises(WorkerUnfit, match=f"{socket.gethostname()} should see the folder of results {tmp_path}/out"):
        home.check()


def test_a_worker_loads_once_what_its_frames_share(recordings: Path, tmp_path: Path) -> None:
    plan, _ = make_plan(registry.get("fusion.background"), {"raw": [next(recordings.rglob("*.tif"))]})
    stores = (str(tmp_path / "clean.ome.zarr"),)
    first = Held.of(plan, stores)
    assert Held.of(plan, stores) is first
    Held.let_go()
    assert Held.of(plan, stores) is not first
    Held.let_go()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_scheduler_elsewhere_and_its_end(recordings: Path, recipe: Path, tmp_path: Path) -> None:
    """Processes of another working directory; the scheduler is killed in the middle, and another one takes over."""
    params, files = {"preset": "SKL", "camera_offset": 5.0}, list(recordings.rglob("*.tif"))
    out, started = tmp_path / "out", []

    def begin(name: str) -> Path:
        elsewhere = tmp_path / name
        elsewhere.mkdir()
        file = elsewhere / "scheduler.json"
        words = (
            ("dask_scheduler", "--port", "0", "--scheduler-file", str(file)),
            ("dask_worker", "--nthreads", "1", "--scheduler-file", str(file)),
        )
        for module, *options in words:
            call = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            started.append(subprocess.Popen(call, cwd=elsewhere, env=environment, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 60
        while not _whole_json(file) and time.monotonic() < deadline:
            time.sleep(0.1)
        return file

    try:
        file = begin("first")
        prepared = prepare_batch(recipe, recordings, out, each="file")
        with pytest.raises(InputError, match="scheduler no longer answers"), Workers(scheduler=str(file)) as workers:
            for event in run_batch(prepared, workers=workers):
                if getattr(event, "done", 0) == 1:
                    started[0].kill()
        end = napari_recon.batch(recipe, recordings, out, each="file", resume=True, scheduler=str(begin("second")))
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert not end.failed and not end.cancelled
    for file in files:
        array = napari_recon.run("fusion.background", file, params=params)["clean"]
        np.testing.assert_array_equal(open_stack(out / file.parent.name / "cells.ome.zarr").data, array)


def _whole_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def test_quick_frames_go_together_and_leave_some_for_every_worker() -> None:
    def of(seconds: float, missing: int, workers: int = 2) -> int:
        records = {n: FrameRecord(n, [], seconds) for n in range(20)} if seconds else {}
        return _together(SimpleNamespace(frames=records), missing, workers)

    assert (of(0.0, 100), of(3.0, 100), of(0.1, 100), of(0.1, 17), of(0.1, 3)) == (1, 1, 5, 2, 1)


def test_a_script_without_a_guard_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(InputError, match="if __name__ == '__main__'"):
        Workers(2)
