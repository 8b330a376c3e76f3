"""What leaves a dock and comes back: settings files, code on the clipboard, models that a run made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.viewer.kept_models import is_early, kept_model
from napari_recon.viewer.large_results import SUFFIX
from napari_recon.viewer.plugin import RECIPE_SUFFIXES, open_path, show_dock
from napari_recon.viewer.restore import Origin, bring_back, origin_of, shown_files, watch
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.files import FILTER, Settings, read_settings, write_settings

if TYPE_CHECKING:
    from napari_recon.hub import ModelCard
    from napari_recon.widgets.dock import EngineDock
    from napari_recon.widgets.request import Request


class Sharing(QObject):
    """Works for one dock."""

    def __init__(self, dock: EngineDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._copying: Any = None
        self.early: Any = None
        """The last model of this run that is not its final one."""
        dock.run_bar.batch.connect(self.open_batch)
        menu = dock.run_bar.menu_button.menu()
        assert menu is not None  # every run bar has one
        action = menu.addAction("Run into a &file…")
        action.setToolTip("Write the result to an OME-Zarr as it is made; it need not fit into memory")
        action.triggered.connect(self.ask_and_run)
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)
        watch(dock.viewer)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take a single file that is dropped onto the dock, where none of its parts wants it."""
        if isinstance(event, QDropEvent) and event.type() in (QEvent.Type.DragEnter, QEvent.Type.Drop):
            data = event.mimeData()
            if data is not None and len(data.urls()) == 1:
                event.acceptProposedAction()
                if event.type() == QEvent.Type.Drop:
                    self.take_file(data.urls()[0].toLocalFile())
                return True
        return False

    def take_file(self, path: str) -> None:
        """Show the settings of a recipe, a result or a settings file and open its data; open what is just data."""
        dock = self._dock

        def failed(error: Exception) -> None:
            dock.run_bar.say(str(error), "error")

        def done(origin: Origin | None) -> None:
            if origin is None:
                open_path(dock.viewer, path, failed, dock)
            else:
                self._tell(f"Settings loaded from {path}", bring_back, dock.viewer, origin, None, dock)

        if path.lower().endswith((".yaml", ".yml")) and not path.lower().endswith(RECIPE_SUFFIXES):
            self._tell(f"Settings loaded from {path}", dock.load_settings, path)
        else:
            call_in_background(origin_of, path, shown_files(dock.viewer), done=done, failed=failed, parent=dock)

    def ask_and_run(self) -> None:
        """Ask for a file and run into it."""
        dock = self._dock
        path, _ = QFileDialog.getSaveFileName(dock, "Run into a file", "", "OME-Zarr (*.ome.zarr)")
        if path:
            with dock.controller.into(path if path.endswith(SUFFIX) else path.removesuffix(".zarr") + SUFFIX):
                dock.start_run()

    def copy(self, how: str) -> None:
        """Put the run onto the clipboard, written by the function `how` of `jobs.code`."""
        dock = self._dock
        request = dock.request()
        if request is None:
            dock.run_bar.say(dock.run_bar.run_button.toolTip(), "warning")
            return
        self.copy_request(request, how)

    def copy_request(self, request: Request, how: str) -> None:
        """Put a run onto the clipboard, written by the function `how` of `jobs.code`."""
        from napari_recon.jobs import code

        def write() -> str:
            return "\n".join(getattr(code, how)(request.plan(box)[0]) for box in request.boxes)

        self._copying = call_in_background(write, done=self._copied, failed=self._dock._failed, parent=self._dock)

    def open_batch(self) -> None:
        """Open the Batch dock with what this dock asks for as its recipe."""
        dock = self._dock
        request = dock.request()
        if request is None:
            dock.run_bar.say(dock.run_bar.run_button.toolTip(), "warning")
            return
        self.batch_request(request, dock.methods[request.engine])

    def batch_request(self, request: Request, title: str) -> None:
        """Open the Batch dock with a run as its recipe."""
        dock = self._dock

        def recipe() -> Recipe:
            return Recipe.of(request.plan(request.boxes[0])[0])

        def show(made: Recipe) -> None:
            batch = show_dock(dock.viewer, "Batch")
            batch.take_recipe(made, f"as set in the dock: {title}")

        self._copying = call_in_background(recipe, done=show, failed=dock._failed, parent=dock)

    def load(self, path: str) -> None:
        """Show the settings of a file, a recipe or a result.

        Raises
        ------
        InputError
            No settings, or those of another dock's engine, or values that do not fit.
        """
        dock, found = self._dock, read_settings(path)
        if found.engine not in dock.methods:
            known = ", ".join(dock.methods)
            raise InputError(f"settings of one of {known} were expected, found {found.engine}; open them in its own dock")
        dock.choose_method(found.engine)
        if found.model and not dock.model.choose(found.model):
            raise InputError(f"the settings name the model {found.model}, which is not here; import or download it first")
        if refused := dock.settings.set_values(found.params):
            raise InputError(f"{', '.join(refused)} did not fit and kept the default; check them")

    def ask_and_save(self) -> None:
        """Ask for a file and write the settings."""
        dock = self._dock
        path, _ = QFileDialog.getSaveFileName(dock, "Save settings", f"{dock.engine}.yaml", "Settings (*.yaml)")
        if path:
            settings = Settings(dock.engine, dock.settings.values(), dock.model.card.id if dock.model.card else None)
            self._tell(f"Settings saved to {path}", write_settings, path, settings)

    def ask_and_load(self) -> None:
        """Ask for a file and show its settings."""
        path, _ = QFileDialog.getOpenFileName(self._dock, "Load settings", "", FILTER)
        if path:
            self._tell(f"Settings loaded from {path}", self._dock.load_settings, path)

    def keep_model(self, event: Any) -> None:
        """Put a model that a run made into the menu, in a worker; other artifacts are left alone.

        One that says it is not complete waits for `keep_early`: a better one is to come.
        """
        if event.kind != "model":
            return
        self.early = event.payload if is_early(event.payload) else None
        if self.early is None and (title := self._dock.title_of_model()):
            self._keep(event.payload, title)

    def keep_early(self, title: str) -> None:
        """Put the last model into the menu that was there before the run ended, if that was all."""
        if self.early is not None:
            self._keep(self.early, title)
            self.early = None

    def _keep(self, payload: Any, title: str) -> None:
        name = f"{self._dock.engine.replace('.', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
        call_in_background(kept_model, payload, name, title, done=self._kept, failed=self._dock._failed, parent=self._dock)

    def let_go(self) -> None:
        """Forget what is being written."""
        if self._copying is not None:
            self._copying.drop()

    def _copied(self, text: str) -> None:
        QApplication.clipboard().setText(text)
        self._dock.run_bar.say("Copied to the clipboard")

    def _kept(self, card: ModelCard) -> None:
        dock = self._dock
        dock.model.refresh()
        dock.model_kept(card)
        dock.run_bar.say(f"The model {card.name} is in the menu of {dock.methods.get(card.engine, card.engine)}", "good")

    def _tell(self, done: str, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except InputError as error:
            self._dock.run_bar.say(str(error), "error")
        else:
            self._dock.run_bar.say(done)
