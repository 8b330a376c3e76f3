"""The Batch dock, worked with as a person would: fields, buttons, table, messages."""
# ruff: noqa: F811  fixtures of the batch itself

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from napari.components import ViewerModel
from napari.layers import Image
from npe2 import PluginManifest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QDropEvent
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase
from typer.testing import CliRunner

import napari_recon
from napari_recon.cli import app
from napari_recon.core.provenance import KEY
from napari_recon.core.settings import config_folder
from napari_recon.engines import registry
from napari_recon.io import open_stack
from napari_recon.jobs.batch.watch import Patience
from napari_recon.jobs.recipes import read_recipe
from napari_recon.viewer.batch_job import BatchJob
from napari_recon.viewer.queue import job_queue
from napari_recon.viewer.run import RunController
from napari_recon.widgets.batch import BatchWidget
from napari_recon.widgets.jobs import JobsWidget
from tests.jobs.batch.conftest import recipe, recording, recordings  # noqa: F401
from tests.widgets.test_light_field import MANIFEST


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any) -> Iterator[BatchWidget]:
    made = BatchWidget(viewer)
    qtbot.addWidget(made)
    made.resize(350, 860)
    made.show()
    yield made
    made.let_go()
    WorkerBase.await_workers(60_000)


@pytest.fixture
def asked(dock: BatchWidget, recordings: Path, recipe: Path, tmp_path: Path, qtbot: Any) -> BatchWidget:
    """A dock that could start: everything was dropped."""
    drop(dock, recipe)
    drop(dock, recordings)
    drop(dock, tmp_path / "out")
    choose(dock, "each", "file")
    looked(dock, qtbot)
    return dock


def drop(dock: BatchWidget, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    if path.name == "out":
        path.mkdir(exist_ok=True)
    no, left = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    dock.dropEvent(QDropEvent(QPointF(1, 1), Qt.DropAction.CopyAction, data, left, no))


def choose(dock: BatchWidget, name: str, value: Any) -> None:
    field = dock.form.rows[name].field
    field.set_value(value)
    field.changed.emit()


def looked(dock: BatchWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not dock.planner.busy, timeout=10000)


def ran(dock: BatchWidget, qtbot: Any) -> None:
    """Press the button and wait for the end."""
    with qtbot.waitSignal(dock.runner.finished, timeout=60000):
        qtbot.mouseClick(dock.run_bar.run_button, Qt.MouseButton.LeftButton)
    looked(dock, qtbot)


def states(dock: BatchWidget) -> list[str]:
    return [dock.table.state(item) for item in dock.table.items]


def problem(dock: BatchWidget, name: str) -> str:
    line = dock.form.rows[name].line
    return line.text() if line.property("level") == "error" else ""


def test_an_empty_dock_says_what_comes_next(dock: BatchWidget, recordings: Path, qtbot: Any) -> None:
    looked(dock, qtbot)
    assert "Drop a recipe" in dock.run_bar.message_line.text()
    assert not dock.run_bar.run_button.isEnabled() and "Choose a recipe" in dock.run_bar.run_button.toolTip()
    assert not any(problem(dock, name) for name in dock.form.rows)
    drop(dock, recordings)
    looked(dock, qtbot)
    assert "Choose a recipe" in dock.run_bar.message_line.text()
    assert "2 recordings" in dock.form.rows["source"].line.text() and len(dock.table.items) == 2


def test_names_are_shown_before_anything_is_written(asked: BatchWidget, tmp_path: Path, qtbot: Any) -> None:
    assert "background" in asked.form.recipe_line.text().lower()
    assert "→ out/monday/cells.ome.zarr\n    out/tuesday/cells.ome.zarr" in asked.form.names_line.text()
    box = asked.form.rows["name"].field.inputs()[0]
    box.clear()
    qtbot.keyClicks(box, "{index}_{stem}.ome.tif")
    looked(asked, qtbot)
    assert "out/0000_cells.ome.tif" in asked.form.names_line.text()
    assert list((tmp_path / "out").iterdir()) == [] and states(asked) == ["waiting", "waiting"]
    assert asked.run_bar.run_button.isEnabled()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("name", "{stem}.xyz", "should end in one of"),
        ("name", "cells.ome.zarr", "a file of its own"),
        ("name", "{day}.ome.zarr", "may hold"),
        ("params", "camera_offset", "name=value"),
        ("params", "no_such_setting=1", "no parameter 'no_such_setting'"),
        ("params", "camera_offset=wide", "camera_offset"),
        ("workers", 0, "whole number"),
        ("scheduler", "here", "an address like"),
        ("device", "cuda:99", "not available"),
        ("source", "/no/such/folder", "found none"),
        ("recipe", "/no/such.recipe.yaml", "found no file"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(asked: BatchWidget, qtbot: Any, name: str, value: Any, said: str) -> None:
    choose(asked, name, value)
    looked(asked, qtbot)
    assert said in problem(asked, name) and asked.form.rows[name].line.isVisible()
    assert [other for other in asked.form.rows if problem(asked, other)] == [name]
    assert not asked.run_bar.run_button.isEnabled() and said in asked.run_bar.run_button.toolTip()


def test_results_may_not_hold_the_recordings(asked: BatchWidget, recordings: Path, qtbot: Any) -> None:
    asked.form.take("out", str(recordings))
    looked(asked, qtbot)
    assert "apart from the recordings" in problem(asked, "out")


def test_a_batch_runs_and_its_results_open(
    asked: BatchWidget, recordings: Path, recipe: Path, tmp_path: Path, qtbot: Any, monkeypatch
) -> None:
    (recordings / "monday" / "broken.ome.tif").write_bytes(b"II*\0")
    monkeypatch.setattr("napari_recon.viewer.batch_job.EVERY_S", 0.0)  # every frame is told, however fast
    choose(asked, "params", "camera_offset=7")
    looked(asked, qtbot)
    went_on: list[str] = []
    asked.runner.told.connect(lambda told: went_on.append(asked.table.state(told.event.item)))
    ran(asked, qtbot)
    assert states(asked) == ["✕ failed", "✓ done", "✓ done"] and any(" of 4" in text for text in went_on)
    assert "2 done" in asked.run_bar.message_line.text() and "broken" in asked.run_bar.log_view.toPlainText()
    asked.table.table.selectRow(0)
    assert "broken" in asked.table.line.text()
    cell = asked.table.table.item(1, 0)
    asked.table.table.itemDoubleClicked.emit(cell)
    qtbot.waitUntil(lambda: len(asked.viewer.layers) == 1, timeout=10000)
    layer = asked.viewer.layers[0]
    made = napari_recon.run(
        "fusion.background", recordings / "monday" / "cells.ome.tif", params={"preset": "SKL", "camera_offset": 7.0}
    )["clean"]
    np.testing.assert_array_equal(np.asarray(layer.data), made)
    shown: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: shown.append(url.toLocalFile()))
    asked.report_button.click()
    assert Path(shown[0]).read_text().count("data:image/png") == 2
    # what failed is tried again, the others are kept, also where the folders are given in other words
    monkeypatch.chdir(tmp_path)
    asked.form.take("source", "raw")
    asked.form.take("out", "out")
    looked(asked, qtbot)
    assert states(asked) == ["✕ failed", "✓ done", "✓ done"]
    recording(recordings / "monday" / "broken.ome.tif", 3)
    assert "Resume" in asked.run_bar.run_button.text() and asked.run_bar.run_button.isEnabled()
    ran(asked, qtbot)
    assert states(asked) == ["✓ done"] * 3
    assert "nothing left" in asked.run_bar.run_button.toolTip() and not asked.run_bar.run_button.isEnabled()
    # the result carries its recipe
    choose(asked, "params", "")
    asked.viewer.layers.selection.active = layer
    asked.form.layer_button.click()
    looked(asked, qtbot)
    assert "camera_offset: 7.0" in asked.form.recipe_line.toolTip()
    choose(asked, "recipe", str(recipe))


def test_cancel_pause_and_resume_also_in_another_session(
    asked: BatchWidget, viewer: ViewerModel, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.runner.told.connect(lambda told: asked.run_bar.pause_button.click() if told.event.done == 2 else None)
    monkeypatch.setattr("napari_recon.viewer.batch_job.EVERY_S", 0.0)
    asked.run_bar.run_button.click()
    qtbot.waitUntil(lambda: asked.runner.state == "paused", timeout=20000)
    assert asked.run_bar.pause_button.text() == "Res&ume" and not asked.form.isEnabled()
    asked.run_bar.pause_button.click()
    assert asked.runner.state == "running"
    asked.run_bar.pause_button.click()
    with qtbot.waitSignal(asked.runner.finished, timeout=20000) as end:
        asked.run_bar.cancel_button.click()
    looked(asked, qtbot)
    if not end.args[0].cancelled:
        pytest.skip("the batch was quicker than the button")
    assert "Resume goes on" in asked.run_bar.message_line.text() and asked.run_bar.run_button.text() == "&Resume batch"
    asked.let_go()

    later = BatchWidget(viewer)
    qtbot.addWidget(later)
    looked(later, qtbot)
    assert later.run_bar.run_button.text() == "&Resume batch", "the form is remembered"
    next(a for a in later.run_bar.menu_button.menu().actions() if a.text() == "C&lear the form").trigger()
    drop(later, tmp_path / "out")
    looked(later, qtbot)
    assert "Take up the batch" in later.run_bar.offer_button.text()
    later.run_bar.offer_button.click()
    looked(later, qtbot)
    assert later.form.request().each == "file" and later.run_bar.run_button.text() == "&Resume batch"
    ran(later, qtbot)
    assert states(later) == ["✓ done", "✓ done"]
    for item in later.table.items:
        made = napari_recon.run("fusion.background", item.source, params={"preset": "SKL", "camera_offset": 5.0})["clean"]
        np.testing.assert_array_equal(open_stack(later.table.result(item)).data, made)
    choose(later, "name", "{stem}_{index}.ome.zarr")
    looked(later, qtbot)
    assert "another naming pattern" in problem(later, "out") and not later.run_bar.run_button.isEnabled()
    later.run_bar.offer_button.click()
    looked(later, qtbot)
    assert not problem(later, "out")
    later.let_go()


@pytest.mark.parametrize(("existing", "said"), [("skip", ["⚠ skipped", "✓ done"]), ("overwrite", ["✓ done", "✓ done"])])
def test_files_that_are_there_are_kept_or_replaced(
    asked: BatchWidget, tmp_path: Path, qtbot: Any, existing: str, said: list[str]
) -> None:
    (tmp_path / "out" / "monday").mkdir()
    there = recording(tmp_path / "out" / "monday" / "cells.ome.tif", 9)
    before = there.read_bytes()
    choose(asked, "name", "{folder}/{stem}.ome.tif")
    looked(asked, qtbot)
    assert "1 of 2 results are there already" in problem(asked, "existing") and states(asked)[0] == "⚠ in the way"
    choose(asked, "existing", existing)
    looked(asked, qtbot)
    ran(asked, qtbot)
    assert states(asked) == said and (there.read_bytes() == before) is (existing == "skip")


def test_a_watched_folder_may_be_empty(asked: BatchWidget, tmp_path: Path, qtbot: Any) -> None:
    (tmp_path / "today").mkdir()
    asked.form.take("source", str(tmp_path / "today"))
    looked(asked, qtbot)
    assert "found none" in problem(asked, "source")
    qtbot.mouseClick(asked.form.watch_box, Qt.MouseButton.LeftButton)
    looked(asked, qtbot)
    assert asked.run_bar.run_button.isEnabled() and "Nothing there yet" in asked.form.rows["source"].line.text()
    choose(asked, "workers", 2)
    looked(asked, qtbot)
    assert "one process" in problem(asked, "workers")
    choose(asked, "workers", 1)
    looked(asked, qtbot)
    asked.patience = Patience(settle=0.0, complete=0.5)
    asked.run_bar.run_button.click()
    landed = recording(tmp_path / "landing.ome.tif", 4, frames=2)
    os.replace(landed, tmp_path / "today" / "landed.ome.tif")
    qtbot.waitUntil(lambda: states(asked) == ["✓ done"], timeout=30000)
    qtbot.waitUntil(lambda: [(x.name, x.data.shape[0]) for x in asked.viewer.layers] == [("landed", 2)])
    os.replace(recording(tmp_path / "landing.ome.tif", 5, frames=3), tmp_path / "today" / "next.ome.tif")
    qtbot.waitUntil(lambda: [(x.name, x.data.shape[0]) for x in asked.viewer.layers] == [("next", 3)])
    asked.newest_box.click()
    os.replace(recording(tmp_path / "landing.ome.tif", 6, frames=3), tmp_path / "today" / "third.ome.tif")
    qtbot.waitUntil(lambda: states(asked) == ["✓ done"] * 3, timeout=30000)
    assert len(asked.viewer.layers) == 1
    asked.newest_button.click()
    qtbot.waitUntil(lambda: len(asked.viewer.layers) == 2, timeout=10000)
    with qtbot.waitSignal(asked.runner.finished, timeout=10000):
        asked.run_bar.cancel_button.click()


def test_a_recipe_that_used_another_layer_is_refused(dock: BatchWidget, recipe: Path, qtbot: Any) -> None:
    values = yaml.safe_load(recipe.read_text())
    values["steps"][0]["inputs"]["psf"] = [{"path": "layer:1", "axes": "ZYX"}]
    layer = Image(np.zeros((4, 4)), name="liked", metadata={KEY: {"recipe": values}})
    assert not dock.form.layer_button.isEnabled()
    dock.viewer.layers.append(layer)
    assert dock.form.layer_button.isEnabled()
    dock.form.layer_button.click()
    looked(dock, qtbot)
    assert "input psf" in problem(dock, "recipe")


def test_a_batch_outlives_its_dock_and_another_one_waits(
    asked: BatchWidget, viewer: ViewerModel, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_recon.viewer.batch_job.estimate", lambda plan: 3.0)
    queue = job_queue()
    asked.run_bar.run_button.click()
    qtbot.waitUntil(lambda: asked.runner.state == "running")
    asked.run_bar.pause_button.click()
    assert asked.run_bar.run_button.text() == "Set up &another"
    asked.run_bar.run_button.click()
    asked.form.take("out", str(tmp_path / "out"))
    looked(asked, qtbot)
    assert "runs or waits already" in asked.run_bar.run_button.toolTip()
    asked.form.take("out", str(tmp_path / "second"))
    looked(asked, qtbot)
    asked.run_bar.run_button.click()
    assert [(e.state, e.device, e.job.title) for e in queue.entries] == [
        ("paused", "cpu", "Batch · raw → out"),
        ("waiting", "cpu", "Batch · raw → second"),
    ]
    qtbot.waitUntil(lambda: queue.entries[1].expected_s == 6.0)
    assert "waiting in the queue" in asked.run_bar.progress_line.text() and not asked.form.isEnabled()
    asked.close()

    later = BatchWidget(viewer)
    qtbot.addWidget(later)
    looked(later, qtbot)
    assert later.runner.state == "paused" and later.form.request().out == str(tmp_path / "out")
    assert later.run_bar.pause_button.text() == "Res&ume" and len(later.table.items) == 2
    later.run_bar.pause_button.click()
    qtbot.waitUntil(lambda: [e.state for e in queue.entries] == ["finished", "finished"])
    assert states(later) == ["✓ done", "✓ done"] and queue.entries[1].text == "2 done"
    assert (tmp_path / "second" / "monday" / "cells.ome.zarr").is_dir()
    later.let_go()


def test_the_jobs_dock_stops_shows_goes_on_and_duplicates(
    asked: BatchWidget, viewer: ViewerModel, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = JobsWidget(viewer, opener=lambda _, name: asked)
    qtbot.addWidget(jobs)
    recording(tmp_path / "raw" / "monday" / "cells.ome.tif", 0, frames=40)
    looked(asked, qtbot)
    asked.run_bar.run_button.click()
    (entry,) = job_queue().entries
    row = jobs.rows[entry]
    qtbot.waitUntil(lambda: entry.state == "running" and "recording 0/2" in row.line.text())
    row.asked.emit("pause")
    assert asked.run_bar.pause_button.text() == "Res&ume"
    row.asked.emit("cancel")
    qtbot.waitUntil(lambda: entry.state == "partial")
    assert "Resume goes on" in row.line.text()
    texts = [a.text() for a in row.menu().actions() if a.text()]
    assert texts == ["Remove", "Show in the Batch dock", "Go on", "Duplicate with changes…"]
    row.asked.emit("again")
    (entry,) = job_queue().entries
    qtbot.waitUntil(lambda: entry.state == "finished")
    assert states(asked) == ["✓ done"] * 2, "the dock followed"
    jobs.rows[entry].asked.emit("duplicate")
    request = asked.form.request()
    assert (request.source, request.out) == (str(tmp_path / "raw"), "") and "change them" in jobs.message.text()
    jobs.rows[entry].asked.emit("show")
    looked(asked, qtbot)
    assert asked.form.request().out == str(tmp_path / "out") and states(asked) == ["✓ done"] * 2
    jobs.let_go()


def test_a_batch_is_gone_on_with_after_a_restart(
    asked: BatchWidget, viewer: ViewerModel, tmp_path: Path, qtbot: Any
) -> None:
    choose(asked, "params", "camera_offset=3")
    looked(asked, qtbot)
    asked.run_bar.run_button.click()
    qtbot.waitUntil(lambda: asked.runner.state == "running")
    asked.run_bar.pause_button.click()
    job_queue().save()
    (note,) = config_folder().glob("jobs-*.json")
    content = json.loads(note.read_text())
    job_queue().reset()
    WorkerBase.await_workers(60_000)
    job_queue().save()
    note.with_name("jobs-1.json").write_text(json.dumps({**content, "since": 0}))
    job_queue.cache_clear()
    assert [record.title for record in job_queue().left] == ["Batch · raw → out"]
    assert job_queue().resume_left(RunController(viewer)) == []
    qtbot.waitUntil(lambda: [e.state for e in job_queue().entries] == ["finished"])
    made = open_stack(tmp_path / "out" / "monday" / "cells.ome.zarr")
    expected = napari_recon.run(
        "fusion.background", tmp_path / "raw/monday/cells.ome.tif", params={"preset": "SKL", "camera_offset": 3.0}
    )["clean"]
    np.testing.assert_array_equal(made.data, expected)


@pytest.mark.parametrize(
    ("choices", "device"),
    [({}, "cpu"), ({"scheduler": "tcp://host:8786"}, "cluster"), ({"watch": True}, "watch"), ({"device": "cuda"}, "gpu")],
)
def test_on_what_a_batch_runs(
    asked: BatchWidget, recipe: Path, monkeypatch: Any, choices: dict[str, Any], device: str
) -> None:
    monkeypatch.setattr("napari_recon.viewer.batch_job.resolve_device", lambda asked: "cuda" if asked == "cuda" else "cpu")
    monkeypatch.setattr(type(registry.get("fusion.background")), "uses_torch", True)
    assert BatchJob(replace(asked.form.request(), **choices).settled(read_recipe(recipe))).device == device


def test_the_copied_command_does_what_the_dock_does(
    asked: BatchWidget, tmp_path: Path, qtbot: Any, monkeypatch: Any
) -> None:
    values = {
        "params": "camera_offset=7.5; preset=SKL",
        "name": "{index} {stem}.ome.tif",
        "existing": "skip",
        "device": "cpu",
    }
    for name, value in {**values, "workers": 2, "scheduler": "tcp://host:8786"}.items():
        choose(asked, name, value)
    asked.form.take_recipe(read_recipe(asked.form.request().recipe), "of a layer")
    looked(asked, qtbot)
    assert not any(problem(asked, name) for name in asked.form.rows)
    next(a for a in asked.run_bar.menu_button.menu().actions() if "command" in a.text()).trigger()
    qtbot.waitUntil(lambda: "Copied" in asked.run_bar.message_line.text())
    words = shlex.split(QApplication.clipboard().text())
    assert words[:2] == ["napari-recon", "batch"]
    taken: list[Any] = []
    monkeypatch.setattr("napari_recon.jobs.batch.run.run_batch", lambda prepared, *_: taken.append(prepared) or iter(()))
    monkeypatch.setattr("napari_recon.jobs.batch.api.workers_for", lambda *asked: taken.append(asked) or nullcontext())
    CliRunner().invoke(app, words[1:])
    expected = asked.form.request().prepare()
    assert taken[0] == (2, "tcp://host:8786") and expected.settings.device == "cpu"
    for name in ("settings", "recipe", "targets", "existing", "resumed"):
        assert getattr(taken[1], name) == getattr(expected, name)


@pytest.mark.gl
def test_other_docks_hand_their_settings_over(make_napari_viewer: Any, npe2pm: Any, qtbot: Any, tmp_path: Path) -> None:
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    viewer = make_napari_viewer()
    _, other = viewer.window.add_plugin_dock_widget("napari-recon", "Light sheet")
    sheet = np.random.default_rng(0).integers(90, 300, (8, 16, 16)).astype(np.uint16)
    other.choose_method("fusion.background")
    viewer.add_image(sheet, scale=(0.1, 0.1, 0.1), units="um", axis_labels=("z", "y", "x"))
    qtbot.waitUntil(lambda: other.run_bar.run_button.isEnabled() and not other.planner.busy, timeout=20000)
    next(a for a in other.run_bar.menu_button.menu().actions() if "Batch" in a.text()).trigger()
    name = "Batch (napari-recon)"
    qtbot.waitUntil(lambda: name in viewer.window.dock_widgets, timeout=20000)
    batch = viewer.window.dock_widgets[name]
    assert isinstance(batch, BatchWidget)
    looked(batch, qtbot)
    (step,) = batch.form.request().recipe.steps
    assert step.engine == "fusion.background" and not problem(batch, "recipe")
    frame = viewer.window._wrapped_dock_widgets[name]
    frame.hide()
    next(a for a in other.run_bar.menu_button.menu().actions() if "Batch of" in a.text()).trigger()
    qtbot.waitUntil(lambda: batch.form.request().recipe.steps[0].engine == "fusion.pipeline", timeout=20000)
    looked(batch, qtbot)
    assert not problem(batch, "recipe") and not frame.isHidden()
    batch.let_go()
    other.let_go()
