"""Recipes of several steps: each step is gathered on disk, and none that is finished is made again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import CheckpointSaved
from napari_recon.core.provenance import InputSource, Recipe, Step
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io import open_stack, read_provenance
from napari_recon.jobs.batch.records import FOLDER
from napari_recon.jobs.batch.run import ItemChanged
from napari_recon.jobs.recipes import read_recipe
from tests.toy_engine import ToyParams, ToySmooth

DAYS = ("monday", "tuesday")


@pytest.fixture
def check(recordings: Path, two_steps: Path) -> Callable[[Path], None]:
    """Compare a batch's results with the recipe run in memory; nothing else may be left."""

    def compare(out: Path) -> None:
        for day in DAYS:
            file = str(recordings / day / "cells.ome.tif")
            alone = napari_recon.rerun(two_steps, inputs={"raw": file})
            np.testing.assert_array_equal(open_stack(out / day / "cells.ome.zarr").data, alone["clean"])
            recipe = Recipe.from_dict(read_provenance(out / day / "cells.ome.zarr"))
            assert [step.id for step in recipe.steps] == ["background", "again"]
            assert recipe.steps[0].inputs["raw"][0].path == file  # not the one that the recipe was made with
            assert recipe.steps[1].inputs["raw"][0].path == "step:background.clean"
        assert not [p for p in out.rglob(".*") if p.name != FOLDER] and not list((out / FOLDER).glob("work/*"))

    return compare


def test_what_is_finished_of_each_step_is_kept(recordings, two_steps, tmp_path, check) -> None:
    out, token, told = tmp_path / "out", CancelToken(), []

    def stop(event: object) -> None:
        if isinstance(event, ItemChanged) and event.message.startswith("step 2") and event.done == 2:
            token.cancel()

    first = napari_recon.batch(two_steps, recordings, out, each="file", token=token, on_event=stop)
    assert first.cancelled and not list(out.rglob("cells.ome.zarr"))
    end = napari_recon.batch(two_steps, recordings, out, each="file", resume=True, on_event=told.append)
    monday = [e for e in told if isinstance(e, ItemChanged) and e.item.folder == "monday" and e.message.startswith("step")]
    assert [(e.message[:6], e.done) for e in monday] == [("step 2", 3), ("step 2", 4)]
    assert all(outcome.seconds > 0 and outcome.frames == 4 for outcome in end.outcomes.values())
    check(out)


def test_workers_go_from_step_to_step(recordings, two_steps, tmp_path, check) -> None:
    pytest.importorskip("distributed")
    assert not napari_recon.batch(two_steps, recordings, tmp_path / "out", each="file", workers=2).failed
    check(tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX thing")
def test_a_killed_batch_goes_on_in_the_second_step(recordings, two_steps, tmp_path, check) -> None:
    out = tmp_path / "out"
    call = [sys.executable, "-m", "napari_recon", "batch", str(two_steps), str(recordings), "-o", str(out), "--each", "file"]
    process = subprocess.Popen([*call, "-q"], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    ended = lambda: any(b'"end"' in log.read_bytes() for log in out.glob(f"{FOLDER}/items/*.0.jsonl"))  # noqa: E731
    while process.poll() is None and not ended():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    napari_recon.batch(two_steps, recordings, out, each="file", resume=True)
    check(out)


def test_a_recipe_run_into_a_file_keeps_its_steps_beside_it(recordings, two_steps, tmp_path) -> None:
    one, two = read_recipe(two_steps).steps
    source = one.inputs["raw"][0].model_copy(update={"path": str(recordings / "monday" / "cells.ome.tif")})
    recipe = Recipe(steps=(one.model_copy(update={"inputs": {"raw": [source]}}), two))
    alone = napari_recon.rerun(recipe)["clean"]
    result = napari_recon.rerun(recipe, out=tmp_path / "new" / "twice.ome.tif")
    np.testing.assert_array_equal(result["clean"], alone)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["twice.ome.tif", "twice.report.json"]


class _FitParams(ToyParams):
    resume: str = ""


class _Fit(ToySmooth):
    """Saves a checkpoint, and then is cancelled unless it began from one."""

    Params = _FitParams
    info = ToySmooth.info.model_copy(update={"name": "toy.fit", "kind": "fit"})
    token: CancelToken | None = None
    begun_from: list[str]
    strict = False

    def process_frame(self, plan, frame, index, token):
        self.begun_from.append(Path(plan.params["resume"]).name)
        if self.strict and plan.params["resume"]:
            raise InputError("resume goes on from a checkpoint of the same data")
        yield CheckpointSaved(str(self.checkpoint), 10)
        if self.token is not None:
            self.token.cancel()
        token.check()
        yield from super().process_frame(plan, frame, index, token)


@pytest.mark.parametrize("strict", [False, True])
def test_a_fit_goes_on_from_its_checkpoint_if_that_is_its_own(tmp_path: Path, image_file: Path, strict: bool) -> None:
    fit = _Fit()
    fit.strict = strict
    fit.checkpoint, fit.token, fit.begun_from = tmp_path / "step-10.pt", CancelToken(), []
    fit.checkpoint.touch()
    registry.register("toy.fit", fit)
    try:
        step = Step(id="fit", engine="toy.fit", inputs={"image": [InputSource(path="other.tif", axes="TYX")]})
        options = {"recipe": Recipe(steps=(step,)), "source": image_file, "out": tmp_path / "out"}
        assert napari_recon.batch(**options, token=fit.token).cancelled
        fit.token = None
        (outcome,) = napari_recon.batch(**options, resume=True).outcomes.values()
        assert fit.begun_from[:2] == ["", "step-10.pt"] and (fit.begun_from[2] == "") == strict
        assert outcome.state == "done" and not outcome.apart
        assert Recipe.from_dict(read_provenance(outcome.result)).steps[0].params["resume"] == ""
    finally:
        registry.unregister("toy.fit")
