from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from napari._qt.qt_resources import get_stylesheet
from napari.components import ViewerModel
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QDockWidget, QFileDialog, QLineEdit, QWidget
from superqt.utils import WorkerBase

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import KEY
from napari_recon.core.region import Box, TimeRange
from napari_recon.viewer.alone import show_alone
from napari_recon.viewer.plugin import write_layer
from tests.viewer.fake import Fake
from tests.widgets.conftest import FakeDock, planned, recording


def run(dock: FakeDock, qtbot: Any, button: QAbstractButton) -> list[Any]:
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    button.click()
    qtbot.waitUntil(lambda: bool(results) and dock.controller.state == "idle", timeout=10000)
    dock.controller.finished.disconnect(results.append)
    return results


def test_first_run_offers_the_sample_and_says_why_run_is_off(dock: FakeDock) -> None:
    assert dock.data.welcome.isVisible() and dock.data.sample_button.isVisible()
    assert not dock.run_bar.run_button.isEnabled()
    assert "open the sample" in dock.run_bar.run_button.toolTip().lower()


def test_reconstruct_makes_a_selected_layer_with_provenance_and_leaves_the_camera(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any
) -> None:
    layer = viewer.add_layer(recording())
    planned(dock, qtbot)
    camera = viewer.camera.model_dump()
    assert dock.run_bar.run_button.isEnabled()
    (result,) = run(dock, qtbot, dock.run_bar.run_button)
    assert result.error is None
    made = viewer.layers[-1]
    assert made is not layer and made.data.shape == (3, 16, 20)
    assert viewer.layers.selection.active is made
    assert made.metadata[KEY]["engine"] == "fake.planes"
    assert viewer.camera.model_dump() == camera


def test_a_result_can_be_looked_at_alone_and_the_others_come_back(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    layer, other = viewer.add_layer(recording()), viewer.add_layer(recording())
    other.visible = False
    planned(dock, qtbot)
    (result,) = run(dock, qtbot, dock.run_bar.run_button)
    button = dock.run_bar.offer_button
    assert button.isVisible() and "lone" in button.text() and layer.visible
    button.click()
    assert [x.visible for x in (layer, other, *result.layers)] == [False, False, True]
    assert button.isVisible() and "again" in button.text()
    button.click()
    assert [x.visible for x in (layer, other, *result.layers)] == [True, False, True]
    assert button.isHidden()


def test_of_several_boxes_the_one_in_the_panel_is_outlined_and_each_has_a_curve(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any
) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"previews": 2})
    planned(dock, qtbot)
    first, second = Box(y=(0, 4), x=(0, 4)), Box(y=(2, 8), x=(4, 10))
    dock.region.shapes.drawn = [first, second]
    dock.region.region.box = second
    planned(dock, qtbot)
    assert dock.region.shapes.computed[1] == Box(z=(0, 3), y=(4, 16), x=(8, 20))
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert len(dock.curves.curve("residual")) == len(dock.curves.curve("residual", "job 2")) == 2


def test_a_removed_result_hides_nothing(viewer: ViewerModel) -> None:
    layer = viewer.add_layer(recording())
    show_alone(viewer, [recording()])()
    assert layer.visible


def test_preview_is_the_centre_of_the_current_frame(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording((3, 5, 8, 10)))
    planned(dock, qtbot)
    viewer.dims.set_current_step(0, 2)
    (result,) = run(dock, qtbot, dock.run_bar.preview_button)
    assert (result.plan.selection.time.start, result.plan.selection.time.stop) == (2, 3)
    assert result.plan.outputs[0].grid.shape == (1, 3, 8, 8)  # 4 pixels of the data, twice as fine
    dock.region.region.box = Box(y=(0, 2), x=(6, 8))
    planned(dock, qtbot)
    (result,) = run(dock, qtbot, dock.run_bar.preview_button)
    assert result.plan.selection.box == Box(z=(0, 3), y=(0, 4), x=(12, 16))
    assert len(viewer.layers) == 2  # the second preview took the place of the first


def test_settings_reach_the_run_and_are_remembered(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"planes": 2})
    planned(dock, qtbot)
    (result,) = run(dock, qtbot, dock.run_bar.run_button)
    assert result.plan.params["planes"] == 2
    again = FakeDock(viewer)
    qtbot.addWidget(again)
    assert again.settings.values()["planes"] == 2
    again.let_go()


def test_z_counts_output_planes_when_the_data_have_none(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"planes": 7})
    planned(dock, qtbot)
    row = dock.region.rows["Z"]
    assert row.isVisible() and row.last.maximum() == 6
    row.last.setValue(4)
    row.first.setValue(2)
    planned(dock, qtbot)
    (result,) = run(dock, qtbot, dock.run_bar.run_button)
    assert result.plan.selection.box == Box(z=(2, 5), y=(0, 16), x=(0, 20))


def test_time_range_row(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording((4, 5, 8, 10)))
    planned(dock, qtbot)
    assert not dock.region.rows["Z"].is_whole or dock.region.rows["T"].isVisible()
    dock.region.rows["T"].last.setValue(1)
    assert dock.region.region.time == TimeRange(start=0, stop=2)
    viewer.dims.set_current_step(0, 3)
    dock.region.frame_button.click()
    assert dock.region.region.time == TimeRange(start=3, stop=4)


def test_cancel_and_pause_buttons(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"delay": 0.3, "planes": 30})
    planned(dock, qtbot)
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    dock.run_bar.run_button.click()
    assert not dock.run_bar.preview_button.isEnabled() and "going on" in dock.run_bar.preview_button.toolTip()
    qtbot.waitUntil(lambda: dock.controller.state == "running", timeout=5000)
    dock.run_bar.pause_button.click()
    assert dock.controller.state == "paused" and "ume" in dock.run_bar.pause_button.text()
    dock.run_bar.pause_button.click()
    dock.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: bool(results), timeout=2000)
    assert results[0].partial and dock.run_bar.run_button.isEnabled()


def test_metrics_make_a_curve(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"previews": 3})
    planned(dock, qtbot)
    assert dock.curves.isHidden()
    run(dock, qtbot, dock.run_bar.run_button)
    assert dock.curves.isVisible()
    assert dock.curves.curve("residual") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]


def test_failure_is_a_sentence_in_the_message_line(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"fail": "memory"})
    planned(dock, qtbot)
    run(dock, qtbot, dock.run_bar.run_button)
    assert "smaller tile_size" in dock.run_bar.message_line.text()
    assert dock.run_bar.offer_button.isVisible() and dock.run_bar.run_button.isEnabled()
    dock.settings.set_values({"fail": "none"})
    with qtbot.waitSignal(dock.controller.finished, timeout=10000):
        dock.run_bar.offer_button.click()


def test_plan_error_blocks_run_with_its_sentence(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise InputError("a field of 20 pixels was expected, found 10; choose a larger recording")

    monkeypatch.setattr(Fake, "outputs_of", refuse)
    viewer.add_layer(recording())
    planned(dock, qtbot)
    assert "choose a larger recording" in dock.estimate.line.text()
    assert not dock.run_bar.run_button.isEnabled()
    assert dock.run_bar.run_button.toolTip() in dock.estimate.line.text()


def test_invalid_setting_blocks_run(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    planned(dock, qtbot)
    line = dock.settings.form.fields["planes"].inputs()[0].lineEdit()
    line.setText("0")
    line.textEdited.emit("0")
    assert not dock.run_bar.run_button.isEnabled() and "planes" in dock.run_bar.run_button.toolTip()


def test_missing_model_blocks_run_and_says_how_to_get_one(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    assert not dock.model.isVisible()
    dock.choose_method("fake.net")
    assert dock.model.isVisible()
    assert "Import" in dock.run_bar.run_button.toolTip() and not dock.run_bar.run_button.isEnabled()


def test_copy_as_python_reaches_the_clipboard(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    planned(dock, qtbot)
    QApplication.clipboard().clear()
    dock.run_bar.copy_python.emit()
    qtbot.waitUntil(lambda: "Copied" in dock.run_bar.message_line.text(), timeout=5000)
    text = QApplication.clipboard().text()
    assert "napari_recon.run" in text and "fake.planes" in text
    compile(text, "copied", "exec")


def test_closing_lets_go_of_the_viewer_and_the_run_goes_on(viewer: ViewerModel, qtbot: Any) -> None:
    dock = FakeDock(viewer)
    qtbot.addWidget(dock)
    viewer.add_layer(recording())
    dock.settings.set_values({"delay": 0.3, "planes": 50})
    planned(dock, qtbot)
    dock.start_run()
    qtbot.waitUntil(lambda: dock.controller.state == "running", timeout=5000)
    dock.close()
    assert not viewer.keymap
    viewer.layers.clear()
    viewer.add_layer(recording(name="later"))
    viewer.theme = "light"
    assert dock.data.combo.layer is None or dock.data.combo.layer.name != "later"
    assert dock.controller.state == "running"
    dock.controller.close()
    WorkerBase.await_workers(60_000)


def test_every_focusable_widget_has_a_name_and_every_disabled_button_a_reason(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any
) -> None:
    for state in ("empty", "loaded"):
        if state == "loaded":
            viewer.add_layer(recording((2, 5, 8, 10)))
            planned(dock, qtbot)
        for widget in dock.findChildren(QWidget):
            if not widget.isVisible():
                continue
            if isinstance(widget, QAbstractButton) and not widget.isEnabled():
                assert widget.toolTip(), (state, widget.text())
            if isinstance(widget, QComboBox | QLineEdit) and widget.focusPolicy() and not widget.focusProxy():
                name = widget.accessibleName() or widget.parent().accessibleName()
                assert name, (state, widget)


@pytest.mark.parametrize("state", ["empty", "loaded", "running"])
def test_usable_at_350_pixels(dock: FakeDock, viewer: ViewerModel, qtbot: Any, state: str) -> None:
    if state != "empty":
        viewer.add_layer(recording((2, 5, 8, 10), name="a rather long layer name, as acquisition software writes them"))
        planned(dock, qtbot)
        dock.region._show_box_rows(True)
    if state == "running":
        dock.run_bar.set_state("running")
        dock.run_bar.say("a message " * 30, "error")
    dock.settings.form.fields["planes"].set_value(10**15)
    dock.setStyleSheet(get_stylesheet("dark"))
    dock.resize(350, 500)
    qtbot.wait(20)
    assert dock.minimumSizeHint().width() <= 350
    assert dock.width() == 350
    assert dock.form.width() <= dock.scroll.viewport().width()  # nothing is cut off at the right
    assert dock.form.minimumSizeHint().width() <= dock.scroll.viewport().width()
    assert not dock.scroll.horizontalScrollBar().isVisible()
    button = dock.run_bar.run_button
    assert button.isVisible() and not button.visibleRegion().isEmpty()
    assert dock.rect().contains(button.mapTo(dock, button.rect().bottomRight()))


def test_several_rectangles_are_several_jobs(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    planned(dock, qtbot)
    dock.region.shapes.drawn = [Box(y=(0, 2), x=(0, 3)), Box(y=(4, 8), x=(2, 4))]
    dock.region.shapes.boxes_changed.emit(dock.region.shapes.drawn)
    planned(dock, qtbot)
    assert "2 jobs" in dock.estimate.line.text()
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: len(results) == 2 and dock.controller.state == "idle", timeout=10000)
    assert [r.plan.selection.box for r in results] == [
        Box(z=(0, 3), y=(0, 4), x=(0, 6)),
        Box(z=(0, 3), y=(8, 16), x=(4, 8)),
    ]
    assert len(viewer.layers) == 3


def test_settings_go_to_a_file_and_come_back(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "mine.yaml")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (file, ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (file, ""))
    dock.settings.set_values({"planes": 6, "delay": 1e-6})
    dock.run_bar.save_settings.emit()
    assert "saved" in dock.run_bar.message_line.text()
    dock.settings.set_values({})
    dock.run_bar.load_settings.emit()
    assert dock.settings.values()["planes"] == 6 and dock.settings.values()["delay"] == 1e-6
    Path(file).write_text("engine: simulate.lightfield\nparams: {}\n")
    dock.run_bar.load_settings.emit()
    assert "its own dock" in dock.run_bar.message_line.text()
    Path(file).write_text("engine: fake.planes\nparams: {planes: -1, delay: 0.5}\n")
    dock.run_bar.load_settings.emit()
    assert "planes did not fit" in dock.run_bar.message_line.text()
    assert dock.settings.values()["planes"] == 3 and dock.settings.values()["delay"] == 0.5


def test_settings_come_back_from_a_result(dock: FakeDock, viewer: ViewerModel, qtbot: Any, tmp_path: Path) -> None:
    viewer.add_layer(recording())
    dock.settings.set_values({"planes": 2})
    planned(dock, qtbot)
    (result,) = run(dock, qtbot, dock.run_bar.run_button)
    write_layer(str(tmp_path / "r.ome.tif"), *result.layers[0].as_layer_data_tuple()[:2])
    dock.settings.set_values({"planes": 5})
    dock.load_settings(str(tmp_path / "r.ome.tif"))
    assert dock.settings.values()["planes"] == 2


def test_undocking_lets_go(viewer: ViewerModel, qtbot: Any) -> None:
    holder = QDockWidget()
    qtbot.addWidget(holder)
    dock = FakeDock(viewer)
    holder.setWidget(dock)
    assert viewer.keymap
    dock.setParent(None)  # what napari does when the dock is closed
    assert not viewer.keymap
    qtbot.addWidget(dock)
