"""Commands on the selected result: show how it was made, run it again, copy it as code, save it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import napari
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QApplication, QFileDialog, QPlainTextEdit

from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe
from napari_recon.viewer.files import SAVE_FILTER, layer_stack, with_suffix
from napari_recon.viewer.job import Job
from napari_recon.viewer.made import how_made, record_of, sources
from napari_recon.viewer.run import RunController
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from napari.layers import Layer

_controllers: WeakKeyDictionary[Any, RunController] = WeakKeyDictionary()


def show_how_made(viewer: Any = None) -> QPlainTextEdit | None:
    """Show method, inputs, model, settings and recipe of the selected result in a dock."""
    viewer, layer = _selected(viewer)
    try:
        text = how_made(_carrier(layer))
    except InputError as error:
        show_warning(str(error))
        return None
    page = QPlainTextEdit(text)
    page.setReadOnly(True)
    page.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
    page.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    page.setAccessibleName("How this was made")
    dock = viewer.window.add_dock_widget(page, name=f"How {layer.name} was made", area="right", tabify=True)
    dock.show()
    dock.raise_()
    return page


def run_again(viewer: Any = None) -> None:
    """Repeat the run that made the selected result, as a new layer."""
    viewer, layer = _selected(viewer)

    def start(stage: Any) -> None:
        for note in stage.notes:
            show_warning(note)
        title = record_of(layer).get("title") or layer.name.removesuffix(" (partial)")
        known = {str(x.unique_id): x for x in viewer.layers}
        origins = [known.get(place["id"]) for places in record_of(layer).get("layers", {}).values() for place in places]
        parents = tuple(x for x in origins if x is not None)
        controller_of(viewer).start([Job(stage.plan, stage.inputs, title, parents)])

    _with_stage(viewer, layer, start)


def copy_as_python(viewer: Any = None) -> None:
    """Copy Python code that repeats the run to the clipboard."""
    _copy(viewer, "as_python", "Python code")


def copy_as_command(viewer: Any = None) -> None:
    """Copy a shell command that repeats the run to the clipboard."""
    _copy(viewer, "as_command", "The command")


def save_result(viewer: Any = None, path: str = "") -> None:
    """Save the selected result, with its place in the world and how it was made."""
    viewer, layer = _selected(viewer)
    try:
        record = record_of(layer)
    except InputError as error:
        show_warning(str(error))
        return
    if not path:
        parent = viewer.window._qt_window if hasattr(viewer, "window") else None
        path, chosen = QFileDialog.getSaveFileName(parent, "Save result", f"{layer.name}.ome.tif", SAVE_FILTER)
        path = with_suffix(path, chosen)
    if path:
        from napari_recon.io import write_stack

        stack = layer_stack(layer.data, layer.as_layer_data_tuple()[1])
        call_in_background(
            write_stack,
            path,
            stack,
            record,
            done=lambda written: show_info(f"{layer.name} was saved to {written}"),
            failed=lambda error: show_error(str(error)),
        )


def controller_of(viewer: Any) -> RunController:
    """Return the controller of runs that were not started from a dock; it speaks through notifications."""
    if viewer not in _controllers:
        controller = RunController(viewer)
        controller.message.connect(_say)
        _controllers[viewer] = controller
    return _controllers[viewer]


def _say(text: str, level: str) -> None:
    if level == "warning":
        show_warning(text)
    elif level == "info":
        show_info(text)  # the controller shows errors itself


def _copy(viewer: Any, how: str, what: str) -> None:
    viewer, layer = _selected(viewer)

    def copy(text: str) -> None:
        QApplication.clipboard().setText(text)
        show_info(f"{what} was copied to the clipboard")

    def code_of(plan: Plan) -> None:
        from napari_recon.jobs import code

        call_in_background(getattr(code, how), plan, done=copy, failed=lambda error: show_error(str(error)))

    _with_stage(viewer, layer, lambda stage: code_of(stage.plan))


def _with_stage(viewer: Any, layer: Layer | None, use: Any) -> None:
    """Plan the selected result's recipe in the background, then call `use(stage)`."""
    try:
        recipe = Recipe.from_dict(record_of(layer), layer.name if layer else "")
        inputs = sources(_carrier(layer), viewer)
    except InputError as error:
        show_warning(str(error))
        return
    from napari_recon.jobs.recipes import prepare

    call_in_background(prepare, recipe, inputs, done=use, failed=lambda error: show_error(str(error)))


def _selected(viewer: Any) -> tuple[Any, Layer]:
    viewer = viewer or napari.current_viewer()
    selection = viewer.layers.selection
    return viewer, selection.active or next(iter(selection), None)


def _carrier(layer: Layer | None) -> Layer:
    record_of(layer)
    assert layer is not None  # checked by record_of
    return layer
