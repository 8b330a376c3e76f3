"""The Batch dock: one recipe over many recordings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QCheckBox, QFrame, QPushButton, QScrollArea, QSplitter, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.io.output import is_zarr
from napari_recon.jobs.batch.records import BatchFolder
from napari_recon.jobs.batch.run import BatchFinished
from napari_recon.jobs.batch.watch import Patience
from napari_recon.viewer.batch_job import BatchJob, Told
from napari_recon.viewer.batch_request import BatchRequest, Outlook
from napari_recon.viewer.batch_run import BatchController, ending
from napari_recon.viewer.growing import follow
from napari_recon.viewer.made import record_of
from napari_recon.viewer.plugin import open_path
from napari_recon.viewer.run import Offer
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.batch_form import BatchForm
from napari_recon.widgets.batch_table import RecordingTable
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.layout import beside, column
from napari_recon.widgets.leaving import LeavingWidget
from napari_recon.widgets.look import allow, describe, focus_order
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.presets import SettingsStore
from napari_recon.widgets.run_bar import RUN_KEYS, RunBar

if TYPE_CHECKING:
    import napari.viewer


ANOTHER = "Set up &another"
ANOTHER_TIP = "This one goes on in the queue, the Jobs dock shows it; fill in the next one here"


class BatchWidget(FileDrop, LeavingWidget):
    """A recipe, a folder of recordings and a folder for results; then a table of how far each is.

    The batch runs when the queue says so, and goes on when this is closed; opened again, this shows it.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    patience = Patience()

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.form, self.table, self.run_bar = BatchForm(), RecordingTable(), RunBar("&Run batch")
        self.runner, self.planner, self.store = BatchController(self.viewer), Planner(parent=self), SettingsStore()
        self.outlook = Outlook()
        self._latest, self._closed, self._source_given = "", False, False
        self._follower: Any = None
        self.newest_button, self.report_button = QPushButton("Open newes&t result"), QPushButton("Repor&t…")
        describe(self.newest_button, "Open the newest result")
        self.newest_box = QCheckBox("S&how the newest")
        self.newest_box.setChecked(True)
        self.newest_box.hide()
        describe(self.newest_box, "Show the newest", "What landed last is a layer here, and follows frame by frame")
        describe(self.report_button, "Report", "A page with thumbnails, time, memory, metrics and warnings")
        self.run_bar.preview_button.hide()
        self._lay_out()
        self._connect()
        self._selection_changed()
        self.form.restore(self.store.last("batch").get("params") or {})
        self._source_given = False
        self.show_batch(self._going_on() or self.runner)

    def take_file(self, path: str) -> None:
        """Use what was dropped: a folder of results, a folder of recordings, a recipe or a result."""
        self._free()
        place = Path(path)
        if not place.is_dir() or is_zarr(place):
            self.form.take("recipe", path)
        elif BatchFolder(place.resolve()).notes.exists() or self._source_given:
            self.form.take("out", path)
        else:
            self.form.take("source", path)

    def take_recipe(self, recipe: Recipe, name: str) -> None:
        """Use the recipe of a layer or of another dock."""
        self._free()
        self.form.take_recipe(recipe, name)

    def take_request(self, request: BatchRequest) -> None:
        """Fill in what another batch asked for, but for its folder of results."""
        self._free()
        self.form.take_request(replace(request, out=""))

    def show_batch(self, controller: BatchController) -> None:
        """Show a batch of the queue; the one that was shown goes on without this dock."""
        if controller is not self.runner:
            self._disconnect_runner()
            self.runner.leave()
        self.runner, controller.alone = controller, False
        for signal, slot in self._slots():
            signal.connect(slot)
        if controller.job is not None:
            self.form.take_request(controller.job.request)
        self._latest = next((o.result for o in reversed(controller.outcomes.values()) if o.state == "done"), "")
        self._allow_buttons()
        self._state(controller.state)
        self._look()

    def start(self) -> None:
        """Run what the form asks for, or go on with it; while one runs, make room for the next."""
        if self.runner.state != "idle":
            self._free()
            return
        if not self.run_bar.run_button.isEnabled() or self.outlook.recipe is None:
            self.run_bar.say(self.run_bar.run_button.toolTip(), "warning")
            return
        self.store.remember("batch", self.form.noted())
        self.runner.start([BatchJob(self.form.request().settled(self.outlook.recipe), self.patience)])

    def copy_command(self) -> None:
        """Put the command that does the same onto the clipboard."""
        request = self.form.request()
        call_in_background(request.as_command, done=self._copied, failed=self._not_opened, parent=self)

    def sizeHint(self) -> QSize:
        """Ask for room for every row."""
        return QSize(370, 760)

    def let_go(self) -> None:
        """Disconnect; the batch goes on."""
        if self._closed:
            return
        self._closed = True
        self.setEnabled(False)
        self.store.remember("batch", self.form.noted())
        self._disconnect_runner()
        self.runner.leave()
        self._follow_no_more()
        self.planner.close()
        self.viewer.layers.selection.events.active.disconnect(self._selection_changed)

    def _going_on(self) -> BatchController | None:
        """Return the batch of this viewer that runs or waits and that no dock shows."""
        entries = [e for e in self.runner.queue.entries if e.active or e.waits]
        for controller in (entry.controller for entry in entries):
            if isinstance(controller, BatchController) and controller.viewer is self.viewer and controller.alone:
                return controller
        return None

    def _free(self) -> None:
        """Make room for another batch; what runs or waits goes on."""
        if self.runner.state != "idle":
            self.show_batch(BatchController(self.viewer))
            self.form.empty("out")
            self.run_bar.say("The batch goes on; the Jobs dock shows it")

    def _look(self) -> None:
        self.run_bar.set_reason("Looking at the recordings")
        self.planner.request(self.form.request().look)

    def _looked(self, found: Outlook) -> None:
        self.outlook = found
        self.table.show_rows(found.rows)
        if self.runner.state != "idle":  # what ended while this was looked up
            for item, outcome in self.runner.outcomes.items():
                self.table.end(item, outcome)
            return
        self.form.show_outlook(found)
        self.run_bar.set_kind("&Resume batch" if found.resumes else "&Run batch", "no preview")
        self.run_bar.set_reason(self._reason(found))
        empty = not found.rows and found.recipe is None and not found.problems
        self.run_bar.hint("Drop a recipe, or a result you liked, then the folder of recordings." if empty else found.missing)
        self._allow_buttons()
        self._offer_held(found)

    def _reason(self, found: Outlook) -> str:
        """Return why nothing can run, empty when it can."""
        if found.problems:
            return next(iter(found.problems.values()))
        if found.missing:
            return found.missing
        out = str(Path(self.form.request().out).expanduser().resolve())
        for entry in self.runner.queue.entries:
            if isinstance(entry.job, BatchJob) and (entry.active or entry.waits) and entry.job.request.out == out:
                return "This folder's batch runs or waits already; choose another folder for the results"
        if self.form.watch_box.isChecked():
            return ""
        return "" if found.left else "Every recording is done; there is nothing left to make"

    def _offer_held(self, found: Outlook) -> None:
        """Offer the batch that the folder of results holds, where another one (or none yet) is asked for."""
        held = found.held
        if held is None or found.resumes or not ({"out"} & set(found.problems) or found.missing):
            self.run_bar.offer_button.hide()
            return
        text = f"Recipe, recordings and names as they were: {held.source}"
        self.run_bar.offer(Offer(text, "Take up the batch that is in this &folder", lambda: self.form.take_batch(held)))

    def _from_layer(self) -> None:
        layer = self.viewer.layers.selection.active
        try:
            self.form.take_recipe(Recipe.from_dict(record_of(layer), layer.name), f"of the layer {layer.name}")
        except InputError as error:
            self.form.rows["recipe"].judge(str(error))

    def _selection_changed(self, _: Any = None) -> None:
        reason = ""
        try:
            record_of(self.viewer.layers.selection.active)
        except InputError as error:
            reason = str(error)
        allow(self.form.layer_button, reason, "Do to every recording what made this layer")

    def _state(self, state: str) -> None:
        self.run_bar.set_state(state)
        self.form.setEnabled(state == "idle")
        if state == "idle":
            self._look()

    def _told(self, told: Told) -> None:
        event, outcome = told.event, told.outcome
        if outcome is None:
            self.table.go_on(event.item, event.done, event.total, event.message)
            self.table.follow(event.item)
        else:
            self.table.end(event.item, outcome)
            if outcome.state == "failed":
                self.run_bar.say(f"{event.item.label}: {outcome.message}", "error")
            elif outcome.state == "done":
                self._latest = self.table.result(event.item)
            self._allow_buttons()
        if told.newest and self.newest_box.isChecked() and event.state in ("running", "done"):
            self._show_newest(told)

    def _show_newest(self, told: Told) -> None:
        """Let one layer show what is being made of the newest recording; it is left alone once somebody removed it."""
        assert told.store is not None  # of a watch it is known
        shown = Path(self._follower.store) if self._follower is not None else None
        if told.outcome is None and shown != told.store:
            place, becomes = told.store, str(told.target)
        elif told.outcome is not None and shown not in (told.store, Path(told.outcome.result)):  # made in one piece
            place, becomes = Path(told.outcome.result), ""
        else:
            return
        self._follower = follow(self.viewer, place, becomes, told.event.item.label, self._follower)

    def _follow_no_more(self, on: bool = False) -> None:
        if not on and self._follower is not None:
            self._follower.stop()
            self._follower = None

    def _finished(self, end: BatchFinished | None, error: Exception | None) -> None:
        if end is not None or error is not None:
            _, text, level = ending(end, error)
            self.run_bar.say(text, level)
        self._source_given = False
        self._look()

    def _copied(self, text: str) -> None:
        QApplication.clipboard().setText(text)
        self.run_bar.say("Copied to the clipboard")

    def _clear(self) -> None:
        self._free()
        self.form.restore({})
        self._source_given = False

    def _allow_buttons(self) -> None:
        allow(self.newest_button, "" if self._latest else "Nothing was made yet", self._latest)
        page = self._page()
        there = page is not None and page.exists()
        allow(self.report_button, "" if there else "There is no report in the folder of results yet", str(page))

    def _page(self) -> Path | None:
        out = self.form.request().out
        return Path(out).expanduser().resolve() / "report.html" if out else None

    def _open_report(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._page())))

    def _open(self, path: str) -> None:
        open_path(self.viewer, path, self._not_opened, parent=self)

    def _not_opened(self, error: Exception) -> None:
        self.run_bar.say(str(error), "error")

    def _connect(self) -> None:
        self.form.changed.connect(self._look)
        self.form.layer_button.clicked.connect(self._from_layer)
        self.planner.ready.connect(self._looked)
        self.planner.failed.connect(self._not_opened)
        self.table.opened.connect(self._open)
        self.newest_button.clicked.connect(lambda: self._open(self._latest))
        self.report_button.clicked.connect(self._open_report)
        self.form.rows["source"].changed.connect(lambda: setattr(self, "_source_given", True))
        self.form.watch_box.toggled.connect(self.newest_box.setVisible)
        self.newest_box.toggled.connect(self._follow_no_more)
        bar = self.run_bar
        bar.set_queue(True, ANOTHER, ANOTHER_TIP)
        bar.run.connect(self.start)
        bar.pause.connect(lambda: self.runner.pause())
        bar.resume.connect(lambda: self.runner.resume())
        bar.cancel.connect(lambda: self.runner.cancel())
        menu = bar.menu_button.menu()
        menu.clear()
        describe(bar.menu_button, "More actions", "Copy as a command, clear the form")
        for text, action, tip in (
            ("Copy as &command", self.copy_command, "The same batch as a command line, on the clipboard"),
            ("C&lear the form", self._clear, "Begin with an empty form"),
        ):
            entry = menu.addAction(text)
            entry.setToolTip(tip)
            entry.triggered.connect(lambda _=False, a=action: a())
        self.viewer.layers.selection.events.active.connect(self._selection_changed)
        keys = QKeySequence(RUN_KEYS.replace("-", "+").replace("Control", "Ctrl"))
        QShortcut(keys, self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut).activated.connect(self.start)

    def _slots(self) -> tuple[tuple[Any, Any], ...]:
        runner = self.runner
        return (
            (runner.state_changed, self._state),
            (runner.progressed, self.run_bar.set_progress),
            (runner.told, self._told),
            (runner.finished, self._finished),
        )

    def _disconnect_runner(self) -> None:
        for signal, slot in self._slots():
            with suppress(TypeError, RuntimeError):  # it never was
                signal.disconnect(slot)

    def _lay_out(self) -> None:
        self.setAcceptDrops(True)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(self.form)
        below = column(self.table, self.newest_box, beside(self.newest_button, self.report_button))
        split = QSplitter(Qt.Orientation.Vertical)
        split.setChildrenCollapsible(False)
        split.addWidget(self.scroll)
        split.addWidget(below)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 8)
        outer.addWidget(split, 1)
        outer.addWidget(self.run_bar)
        for before, after in pairwise(focus_order(self)):
            QWidget.setTabOrder(before, after)
