"""The Jobs dock: what runs, waits and has ended, of every dock; also what napari did not get to last time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import ReconError
from napari_recon.core.provenance import Recipe
from napari_recon.jobs.estimates import describe_seconds
from napari_recon.viewer.batch_job import BatchJob
from napari_recon.viewer.batch_run import BatchController
from napari_recon.viewer.commands import controller_of
from napari_recon.viewer.plugin import open_dock
from napari_recon.viewer.queue import JobQueue, job_queue
from napari_recon.viewer.queue_entry import Entry
from napari_recon.viewer.queue_store import left_text
from napari_recon.widgets.job_row import JobRow, frame
from napari_recon.widgets.layout import beside, scrolled
from napari_recon.widgets.leaving import LeavingWidget
from napari_recon.widgets.look import Level, Line, allow, describe

if TYPE_CHECKING:
    import napari.viewer

NAMED = 3
EMPTY = "Nothing runs or waits. Whatever a dock runs is shown here, also when that dock is closed."


class JobsWidget(LeavingWidget):
    """The queue of all docks; closing this one changes nothing about it.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    opener : callable, optional
        ``opener(viewer, engine) -> dock``, for "Duplicate with changes".
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, opener: Callable[[Any, str], Any] = open_dock) -> None:
        super().__init__()
        self.viewer: Any = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.queue: JobQueue = job_queue()
        self._opener = opener
        self.rows: dict[Entry, JobRow] = {}
        self.summary = Line(EMPTY)
        self.pause_button, self.clear_button = QPushButton("&Pause all"), QPushButton("C&lear ended")
        describe(self.clear_button, "Clear ended", "Take those that ended off the list; their results stay")
        self.left_line = Line()
        self.resume_button, self.forget_button = QPushButton("&Resume"), QPushButton("&Forget")
        describe(self.resume_button, "Resume", "Put them into the queue; their layers are found by name, files are opened")
        describe(self.forget_button, "Forget", "Never run them")
        self.message = Line()
        self._lay_out()
        self.pause_button.clicked.connect(lambda: self.queue.pause_all(not self.queue.paused))
        self.clear_button.clicked.connect(self.queue.clear_ended)
        self.resume_button.clicked.connect(self._resume_left)
        self.forget_button.clicked.connect(self.queue.forget_left)
        self.queue.changed.connect(self._refresh)
        self.queue.progressed.connect(self._progressed)
        self._refresh()

    def order(self) -> list[Entry]:
        """Return the jobs as they are listed: those that run, those that wait, the last that ended first."""
        entries = self.queue.entries
        running, waiting = [e for e in entries if e.active], [e for e in entries if e.waits]
        return running + waiting + [e for e in reversed(entries) if not (e.active or e.waits)]

    def let_go(self) -> None:
        """Look no longer; the jobs go on."""
        if self.isEnabled():
            self.setEnabled(False)
            self.queue.changed.disconnect(self._refresh)
            self.queue.progressed.disconnect(self._progressed)

    def sizeHint(self) -> QSize:
        """Ask for the width of the other docks."""
        return QSize(370, 420)

    def say(self, text: str, level: Level = "info") -> None:
        """Show one sentence; an empty one hides it."""
        self.message.say(text, level)

    def _refresh(self) -> None:
        wanted = self.order()
        for entry in [e for e in self.rows if e not in wanted]:
            row = self.rows.pop(entry)
            row.hide()
            row.deleteLater()
        waiting = [e for e in wanted if e.waits]
        for at, entry in enumerate(wanted):
            if entry not in self.rows:
                self.rows[entry] = row = JobRow(entry)
                row.asked.connect(lambda action, e=entry: self._act(e, action))
            row = self.rows[entry]
            if self._list.indexOf(row) != at:
                self._list.insertWidget(at, row)
            row.show_entry(entry in waiting[:1], entry in waiting[-1:])
        left = self.queue.left
        self._left.setVisible(bool(left))
        names = ", ".join(record.title for record in left[:NAMED]) + (", …" if len(left) > NAMED else "")
        self.left_line.say(f"{left_text(left)}: {names}" if left else "")
        self.pause_button.setText("&Resume all" if self.queue.paused else "&Pause all")
        alive = self.queue.paused or any(e.waits or e.active for e in wanted)
        tip = "Let everything go on" if self.queue.paused else "Hold what runs, and start nothing more"
        allow(self.pause_button, "" if alive else "Nothing runs or waits", tip)
        ended = any(not (e.waits or e.active) for e in wanted)
        tip = "Take those that ended off the list; their results stay"
        allow(self.clear_button, "" if ended else "Nothing has ended yet", tip)
        self._summarise()

    def _progressed(self, entry: Entry) -> None:
        if entry in self.rows:
            self.rows[entry].show_progress()
        self._summarise()

    def _summarise(self) -> None:
        entries = self.queue.entries
        running, waiting = sum(e.active for e in entries), sum(e.waits for e in entries)
        if not running and not waiting:
            self.summary.say(EMPTY if not entries else "Nothing runs or waits")
            return
        seconds, known = self.queue.remaining()
        left = f"{'about' if known else 'more than'} {describe_seconds(seconds)} left" if seconds >= 1 else ""
        parts = ("paused" if self.queue.paused else "", f"{running} running", f"{waiting} waiting" if waiting else "", left)
        self.summary.say(" · ".join(part for part in parts if part))

    def _act(self, entry: Entry, action: str) -> None:
        queue = self.queue
        self.say("")
        if action in ("up", "down"):
            queue.move(entry, -1 if action == "up" else 1)
        elif action in ("pause", "resume"):
            queue.pause(entry, action == "pause")
        elif action == "cancel":
            queue.cancel(entry)
        elif action == "smaller" and entry.smaller is not None:
            queue.again(entry, entry.smaller)
        elif action == "again":
            queue.again(entry, entry.job)
        elif action == "show":
            self._show(entry)
        elif action == "duplicate":
            self._duplicate(entry)

    def _batch_dock(self) -> Any:
        """Open the Batch dock; None with a message when there is none."""
        try:
            return self._opener(self.viewer, "batch")
        except ReconError as error:
            self.say(str(error), "error")
            return None

    def _show(self, entry: Entry) -> None:
        if isinstance(entry.controller, BatchController):
            if (dock := self._batch_dock()) is not None:
                dock.show_batch(entry.controller)
            return
        layers = [layer for layer in self.viewer.layers if str(layer.unique_id) in entry.layers]
        if not layers:
            self.say("the result was removed from the viewer", "warning")
            return
        for layer in layers:
            layer.visible = True
        self.viewer.layers.selection = set(layers)
        self.viewer.layers.selection.active = layers[0]

    def _duplicate(self, entry: Entry) -> None:
        """Open the job's dock with its settings and, when it is still there, its data."""
        if isinstance(entry.job, BatchJob):
            if (dock := self._batch_dock()) is not None:
                dock.take_request(entry.job.request)
                self.say("Its settings are in the Batch dock; change them, choose a folder for the results and run it")
            return
        plan, parents = entry.plan, entry.job.parent_layers
        assert plan is not None  # the menu says so
        try:
            dock = self._opener(self.viewer, plan.engine)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "job.recipe.yaml"
                path.write_text(Recipe.of(plan).to_yaml(), encoding="utf-8")
                dock.load_settings(str(path))
        except (ReconError, AttributeError) as error:
            text = str(error) if isinstance(error, ReconError) else f"the dock of {plan.engine} can't be filled in"
            self.say(text, "error")
            return
        label = plan.inputs[0].label if plan.inputs else ""
        known = [x for x in self.viewer.layers if x in parents[:1] or x.name == label]
        if known and hasattr(dock, "data"):
            dock.data.combo.choose(known[0])
        self.say(f"The settings of {entry.job.title} are in the dock; change them there and run it")

    def _resume_left(self) -> None:
        problems = self.queue.resume_left(controller_of(self.viewer))
        self.say(problems[0] if problems else "", "warning")

    def _lay_out(self) -> None:
        self._left = frame(self.left_line, beside(self.resume_button, self.forget_button))
        inner = QWidget()
        self._list = QVBoxLayout(inner)
        self._list.setContentsMargins(0, 0, 4, 0)
        self._list.setSpacing(4)
        self._list.addStretch(1)
        scroll = scrolled(inner)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 8)
        for part in (self._left, self.summary, beside(self.pause_button, self.clear_button), self.message):
            outer.addWidget(part)
        outer.addWidget(scroll, 1)
