"""The Batch dock: one recipe over many recordings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QKeySequence, QShortcut
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QSplitter, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.io.output import is_zarr
from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import BatchFolder, Outcome
from napari_recon.jobs.batch.run import BatchFinished, ItemChanged
from napari_recon.jobs.batch.watch import Patience
from napari_recon.viewer.made import record_of
from napari_recon.viewer.plugin import open_path
from napari_recon.viewer.run import Offer
from napari_recon.widgets.batch_form import BatchForm
from napari_recon.widgets.batch_request import Outlook
from napari_recon.widgets.batch_runner import BatchRunner
from napari_recon.widgets.batch_table import RecordingTable
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.layout import beside, column
from napari_recon.widgets.leaving import LeavingWidget
from napari_recon.widgets.look import allow, describe, focus_order
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.run_bar import RUN_KEYS, RunBar

if TYPE_CHECKING:
    import napari.viewer


class BatchWidget(FileDrop, LeavingWidget):
    """A recipe, a folder of recordings and a folder for results; then a table of how far each is.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    patience = Patience()

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: Any = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.form, self.table, self.run_bar = BatchForm(), RecordingTable(), RunBar("&Run batch")
        self.runner, self.planner = BatchRunner(self), Planner(parent=self)
        self.outlook = Outlook()
        self._latest, self._closed = "", False
        self.newest_button, self.report_button = QPushButton("Open newes&t result"), QPushButton("Repor&t…")
        describe(self.newest_button, "Open the newest result")
        describe(self.report_button, "Report", "A page with thumbnails, time, memory, metrics and warnings")
        for needless in (self.run_bar.preview_button, self.run_bar.menu_button):
            needless.hide()
        self._lay_out()
        self._connect()
        self._look()
        self._selection_changed()

    def take_file(self, path: str) -> None:
        """Use what was dropped: a folder of results, a folder of recordings, a recipe or a result."""
        place = Path(path)
        if not place.is_dir() or is_zarr(place):
            self.form.take("recipe", path)
        elif BatchFolder(place.resolve()).notes.exists() or self.form.request().source:
            self.form.take("out", path)
        else:
            self.form.take("source", path)

    def take_recipe(self, recipe: Recipe, name: str) -> None:
        """Use the recipe of a layer or of another dock."""
        self.form.take_recipe(recipe, name)

    def start(self) -> None:
        """Run what the form asks for, or go on with it."""
        if not self.run_bar.run_button.isEnabled():
            self.run_bar.say(self.run_bar.run_button.toolTip(), "warning")
            return
        rows = self.outlook.rows
        self.runner.start(self.form.request(), len(rows), len(rows) - self.outlook.left, self.patience)

    def sizeHint(self) -> QSize:
        """Ask for room for every row."""
        return QSize(370, 760)

    def let_go(self) -> None:
        """Stop the batch and disconnect; what is finished stays, and the batch can go on later."""
        if self._closed:
            return
        self._closed = True
        self.setEnabled(False)
        self.runner.close()
        self.planner.close()
        self.viewer.layers.selection.events.active.disconnect(self._selection_changed)

    def _look(self) -> None:
        if self.runner.state == "idle":
            self.run_bar.set_reason("Looking at the recordings")
            self.planner.request(self.form.request().look)

    def _looked(self, found: Outlook) -> None:
        if self.runner.state != "idle":
            return
        self.outlook = found
        self.form.show_outlook(found)
        self.table.show_rows(found.rows)
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
        if found.missing or self.form.watch_box.isChecked():
            return found.missing
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

    def _went_on(self, event: ItemChanged) -> None:
        self.table.go_on(event.item, event.done, event.total, event.message)
        self.table.follow(event.item)

    def _ended(self, item: Item, outcome: Outcome) -> None:
        self.table.end(item, outcome)
        if outcome.state == "failed":
            self.run_bar.say(f"{item.label}: {outcome.message}", "error")
        elif outcome.state == "done":
            self._latest = self.table.result(item)
        self._allow_buttons()

    def _finished(self, end: BatchFinished | None, error: Exception | None) -> None:
        if error is not None:
            self.run_bar.say(str(error).replace("--resume goes on", "Resume goes on"), "error")
        elif end is not None:
            states = [outcome.state for outcome in end.outcomes.values()]
            counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "nothing was made"
            text = f"{counts}; Resume goes on with what is left" if end.cancelled else counts
            self.run_bar.say(text, "warning" if end.cancelled or end.failed else "good")
        self._look()

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
        bar, runner = self.run_bar, self.runner
        bar.run.connect(self.start)
        bar.pause.connect(runner.pause)
        bar.resume.connect(runner.resume)
        bar.cancel.connect(runner.cancel)
        runner.state_changed.connect(self._state)
        runner.progressed.connect(bar.set_progress)
        runner.went_on.connect(self._went_on)
        runner.item_ended.connect(self._ended)
        runner.finished.connect(self._finished)
        self.viewer.layers.selection.events.active.connect(self._selection_changed)
        keys = QKeySequence(RUN_KEYS.replace("-", "+").replace("Control", "Ctrl"))
        QShortcut(keys, self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut).activated.connect(self.start)

    def _lay_out(self) -> None:
        self.setAcceptDrops(True)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(self.form)
        below = column(self.table, beside(self.newest_button, self.report_button))
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
