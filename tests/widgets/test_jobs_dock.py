"""The Jobs dock: every button pressed, what it says, and what it offers after a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton
from superqt.utils import WorkerBase

from napari_recon.core.errors import InputError
from napari_recon.viewer.queue import job_queue
from napari_recon.viewer.queue_entry import Entry
from napari_recon.viewer.queue_store import record_of_job
from napari_recon.widgets.jobs import JobsWidget
from tests.widgets.conftest import FakeDock, planned, recording


@pytest.fixture
def jobs(viewer: ViewerModel, dock: FakeDock, qtbot: Any) -> Iterator[JobsWidget]:
    made = JobsWidget(viewer, opener=lambda _, engine: dock)
    qtbot.addWidget(made)
    made.resize(300, 500)
    made.show()
    yield made
    made.let_go()


def press(qtbot: Any, button: QAbstractButton) -> None:
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def start(dock: FakeDock, qtbot: Any, **settings: Any) -> list[Entry]:
    """Run three boxes of a recording from their dock."""
    if not len(dock.viewer.layers):
        dock.viewer.add_layer(recording(shape=(5, 16, 20)))
    dock.settings.set_values(settings)
    planned(dock, qtbot)
    before = len(job_queue().entries)
    dock.start_run()
    return job_queue().entries[before:]


def texts(jobs: JobsWidget) -> list[str]:
    return [jobs.rows[entry].line.text() for entry in jobs.order()]


def test_empty_it_says_what_it_is_for(jobs: JobsWidget) -> None:
    assert "Nothing runs or waits" in jobs.summary.text()
    assert not jobs.pause_button.isEnabled() and "Nothing" in jobs.pause_button.toolTip()
    assert not jobs.clear_button.isEnabled() and not jobs.left_line.isVisible()


def test_a_run_is_followed_paused_and_cancelled(jobs: JobsWidget, dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    (entry,) = start(dock, qtbot, delay=0.1, planes=30)
    row = jobs.rows[entry]
    qtbot.waitUntil(lambda: entry.state == "running" and "plane" in row.line.text(), timeout=5000)
    assert row.bar.isVisible() and row.bar.value() > 0 and row.title.text() == "cells · Planes"
    assert jobs.summary.text().startswith("1 running")
    press(qtbot, row.buttons["pause"])
    assert entry.state == "paused" and not row.buttons["pause"].isVisible()
    assert dock.run_bar.pause_button.text() == "Res&ume", "the dock follows"
    press(qtbot, row.buttons["resume"])
    assert entry.state == "running"
    press(qtbot, jobs.pause_button)
    assert entry.state == "paused" and jobs.pause_button.text() == "&Resume all"
    press(qtbot, jobs.pause_button)
    press(qtbot, row.buttons["cancel"])
    qtbot.waitUntil(lambda: entry.state == "partial", timeout=5000)
    assert texts(jobs) == ["⚠ stopped; what was finished is kept"] and not row.bar.isVisible()
    assert [a.text() for a in row.menu().actions() if a.text()] == [
        "Remove",
        "Show the result",
        "Run again",
        "Duplicate with changes…",
    ]
    viewer.layers.selection.clear()
    next(a for a in row.menu().actions() if a.text() == "Show the result").trigger()
    assert viewer.layers.selection.active.name == "cells · Planes (partial)"
    viewer.layers.remove(viewer.layers.selection.active)
    row.asked.emit("show")
    assert "removed" in jobs.message.text()
    press(qtbot, jobs.clear_button)
    assert jobs.rows == {} and "Nothing runs" in jobs.summary.text()


def test_what_waits_changes_places_and_goes(jobs: JobsWidget, dock: FakeDock, qtbot: Any) -> None:
    others = [FakeDock(dock.viewer) for _ in range(2)]
    first = start(dock, qtbot, delay=0.1, planes=40)
    second, third = start(others[0], qtbot), start(others[1], qtbot)
    a, b, c = *first, *second, *third
    assert texts(jobs)[1:] == ["waiting", "waiting"]
    qtbot.waitUntil(lambda: jobs.rows[c].line.toolTip() == "On the processor", timeout=5000)
    assert "2 waiting" in jobs.summary.text()
    rows = jobs.rows
    assert rows[b].buttons["down"].isVisible() and not rows[b].buttons["up"].isVisible()
    press(qtbot, rows[b].buttons["down"])
    qtbot.waitUntil(lambda: jobs.order() == [a, c, b] and rows[b].y() > rows[c].y())
    press(qtbot, rows[b].buttons["up"])
    assert jobs.order() == [a, b, c]
    press(qtbot, rows[c].buttons["pause"])
    assert c.state == "held" and texts(jobs)[2].startswith("paused")
    press(qtbot, rows[c].buttons["cancel"])
    assert c not in jobs.rows and others[1].controller.state == "idle"
    for one in (*others, dock):
        one.controller.close()
    for one in others:
        one.let_go()
        qtbot.addWidget(one)
    WorkerBase.await_workers(60_000)


def test_out_of_memory_is_retried_with_smaller_tiles(jobs: JobsWidget, dock: FakeDock, qtbot: Any) -> None:
    (entry,) = start(dock, qtbot, fail="memory", tile_size=16)
    qtbot.waitUntil(lambda: entry.state == "failed", timeout=5000)
    row = jobs.rows[entry]
    assert "✕" in row.line.text() and "memory" in row.line.text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.viewer.fake.Fake._maybe_fail", lambda self, how: None)
        press(qtbot, row.buttons["smaller"])
        (again,) = job_queue().entries
        qtbot.waitUntil(lambda: again.state == "finished", timeout=5000)
    assert again.plan is not None and again.plan.params["tile_size"] == 8
    assert texts(jobs)[0].startswith("✓ finished in")


def test_a_job_is_duplicated_into_its_dock(jobs: JobsWidget, dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    (entry,) = start(dock, qtbot, planes=4, previews=2)
    qtbot.waitUntil(lambda: entry.state == "finished", timeout=5000)
    viewer.add_layer(recording(name="other"))
    dock.settings.set_values({"planes": 9, "previews": 0})
    dock.data.combo.choose(viewer.layers["other"])
    next(a for a in jobs.rows[entry].menu().actions() if a.text() == "Duplicate with changes…").trigger()
    values = dock.settings.values()
    assert (values["planes"], values["previews"]) == (4, 2) and dock.data.layer is viewer.layers["cells"]
    assert "change them there" in jobs.message.text()

    def refuse(*_: Any) -> Any:
        raise InputError("a dock for fake.planes was expected, found none; use the command line")

    jobs._opener = refuse
    jobs.rows[entry].asked.emit("duplicate")
    assert "a dock for fake.planes" in jobs.message.text()


def test_a_dock_puts_further_runs_behind_the_one_that_goes_on(
    jobs: JobsWidget, dock: FakeDock, qtbot: Any, gate: threading.Event
) -> None:
    button = dock.run_bar.run_button
    (first,) = start(dock, qtbot, planes=6)
    qtbot.waitUntil(lambda: first.state == "running", timeout=5000)
    assert button.text() == "Add to the &queue" and button.isEnabled() and not dock.run_bar.preview_button.isEnabled()
    dock.settings.set_values({"planes": 2})
    planned(dock, qtbot)
    press(qtbot, button)
    second = job_queue().entries[1]
    assert texts(jobs)[1].startswith("waiting") and "1 waiting" in jobs.summary.text()
    gate.set()
    qtbot.waitUntil(lambda: second.state == "finished", timeout=8000)
    assert [len(x.data) for x in dock.viewer.layers if "Planes" in x.name] == [6, 2]
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=5000)
    assert button.text() == "&Reconstruct"


def test_closing_the_docks_leaves_the_run(
    jobs: JobsWidget, dock: FakeDock, viewer: ViewerModel, qtbot: Any, gate: threading.Event
) -> None:
    (entry,) = start(dock, qtbot, planes=8)
    qtbot.waitUntil(lambda: entry.state == "running", timeout=5000)
    dock.close()
    assert entry.state == "running"
    jobs.close()
    other = JobsWidget(viewer)
    qtbot.addWidget(other)
    other.show()
    assert texts(other)[0] and "planning" not in texts(other)[0]
    gate.set()
    qtbot.waitUntil(lambda: entry.state == "finished", timeout=5000)
    assert texts(other)[0].startswith("✓ finished in") and "cells · Planes" in viewer.layers
    other.let_go()


def test_what_was_left_is_resumed_or_forgotten(jobs: JobsWidget, dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    (entry,) = start(dock, qtbot, planes=2)
    qtbot.waitUntil(lambda: entry.state == "finished", timeout=5000)
    assert entry.plan is not None
    queue = job_queue()
    queue.clear_ended()
    queue.left = [record_of_job(title, entry.plan) for title in ("one", "two")]
    queue.note()
    assert jobs.left_line.text() == "2 jobs were waiting when napari was closed: one, two"
    viewer.layers["cells"].name = "away"
    press(qtbot, jobs.resume_button)
    assert "needs the layer cells" in jobs.message.text() and jobs.left_line.isVisible()
    viewer.layers["away"].name = "cells"
    press(qtbot, jobs.resume_button)
    qtbot.waitUntil(lambda: [e.state for e in queue.entries] == ["finished"] * 2, timeout=5000)
    assert {"one", "two"} <= {x.name for x in viewer.layers} and not jobs.left_line.isVisible()
    queue.left = [record_of_job("three", entry.plan)]
    queue.note()
    assert jobs.left_line.text().startswith("1 job was waiting")
    press(qtbot, jobs.forget_button)
    assert queue.left == [] and not jobs.left_line.isVisible()


def test_every_button_has_a_name_and_a_tip(jobs: JobsWidget, dock: FakeDock, qtbot: Any) -> None:
    (entry,) = start(dock, qtbot)
    qtbot.waitUntil(lambda: entry.state == "finished", timeout=5000)
    for button in jobs.findChildren(QAbstractButton):
        assert (button.accessibleName() or button.text()) and button.toolTip(), button.text()
