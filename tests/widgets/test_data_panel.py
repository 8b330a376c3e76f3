from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_recon.core.engine import InputSpec
from napari_recon.widgets.data_panel import DataPanel
from tests.viewer.fake import Fake
from tests.widgets.conftest import recording

TWO = Fake.info.model_copy(
    update={
        "inputs": (
            *Fake.info.inputs,
            InputSpec(name="psf", axes="VZYX", required=False, accepts=("psf",), description="measured PSF"),
            InputSpec(name="table", required=False, accepts=("table",), suffixes=(".csv",), description="a table"),
        )
    }
)


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: Any) -> Any:
    made = DataPanel(viewer, Fake.info, "light-field recording", lambda: None)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.let_go()


def entries(panel: DataPanel) -> list[str]:
    return [panel.combo.itemText(i) for i in range(panel.combo.count())]


def test_list_follows_the_viewer(panel: DataPanel, viewer: ViewerModel) -> None:
    assert panel.layer is None
    first = viewer.add_layer(recording(name="a"))
    viewer.add_layer(Labels(np.zeros((4, 4), int), name="labels"))
    second = viewer.add_layer(recording(name="b"))
    assert entries(panel) == ["a", "b"] and panel.layer is first
    second.name = "c"
    assert entries(panel) == ["a", "c"]
    viewer.layers.move(2, 0)
    assert panel.layer is first
    viewer.layers.remove(first)
    assert panel.layer is second
    viewer.layers.clear()
    assert panel.layer is None and panel.welcome.isVisible()


def test_results_added_later_do_not_take_over(panel: DataPanel, viewer: ViewerModel) -> None:
    first = viewer.add_layer(recording())
    viewer.add_image(np.zeros((3, 4, 4)))
    assert panel.layer is first


def test_starts_with_a_layer_that_fits(viewer: ViewerModel, qtbot: Any) -> None:
    good = viewer.add_layer(recording(name="good"))
    viewer.add_image(np.zeros((4, 4)), name="flat")
    panel = DataPanel(viewer, Fake.info)
    qtbot.addWidget(panel)
    assert panel.layer is good
    panel.let_go()


def test_choosing_in_the_list(panel: DataPanel, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording(name="a"))
    second = viewer.add_layer(recording(name="b"))
    with qtbot.waitSignal(panel.changed):
        panel.combo.setCurrentIndex(1)
        panel.combo.activated.emit(1)
    assert panel.layer is second


def test_wrong_axes_are_explained_and_mended_with_one_click(panel: DataPanel, viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_layer(recording())
    assert panel.axes == "VYX" and panel.axes_mark.text() == "✓" and panel.reason() == ""
    panel.axes_edit.setText("zyx")
    panel.axes_edit.textEdited.emit("zyx")
    assert panel.axes_mark.text() == "✕" and "VYX" in panel.reason() and panel.inputs() == {}
    button = next(b for b in panel.findChildren(type(panel.sample_button)) if b.text() == "Use VYX")
    with qtbot.waitSignal(panel.changed):
        button.click()
    assert panel.axes == "VYX" and panel.reason() == ""
    assert layer.axis_labels == ("-3", "-2", "-1")  # the layer itself is left alone


def test_typed_axes_are_kept_per_layer(panel: DataPanel, viewer: ViewerModel) -> None:
    first = viewer.add_layer(recording((3, 5, 8, 10), name="a"))
    viewer.add_layer(recording(name="b"))
    panel.axes_edit.setText("CVYX")
    panel.axes_edit.textEdited.emit("CVYX")
    panel.combo.choose(viewer.layers[1])
    assert panel.axes == "VYX"
    panel.combo.choose(first)
    assert panel.axes == "CVYX"


def test_rgb_is_refused_with_a_sentence(panel: DataPanel, viewer: ViewerModel) -> None:
    viewer.add_layer(Image(np.zeros((8, 8, 3), np.uint8), rgb=True))
    assert "RGB" in panel.reason()


def test_pixel_size_is_shown_and_a_missing_one_is_a_warning(panel: DataPanel, viewer: ViewerModel) -> None:
    layer = viewer.add_layer(recording())
    assert panel.pixel_line.text() == "pixel 0.5 × 0.5 µm"
    layer.units = ("pixel",) * 3
    assert panel.pixel_line.text() == "no pixel size"
    assert panel.reason() == "" and [p.severity for p in panel.problems] == ["warning"]


def test_further_inputs_are_layers_or_files(panel: DataPanel, viewer: ViewerModel) -> None:
    panel.set_engine(TWO)
    viewer.add_layer(recording())
    psf = viewer.add_layer(recording((5, 3, 8, 8), name="psf"))
    assert panel.optional.isVisible() and set(panel.extras) == {"psf", "table"}
    assert list(panel.inputs()) == ["views"]
    panel.extras["psf"].combo.choose(psf)
    panel.extras["table"].file.set_value("positions.csv")
    found = panel.inputs()
    assert found["psf"][0].grid.axes == "VZYX" and found["table"] == ("positions.csv",)
    assert panel.layers()[1] is psf
    panel.set_engine(Fake.info)
    assert list(panel.inputs()) == ["views"] and not panel.optional.isVisible()


def test_further_input_that_does_not_fit_blocks_with_a_sentence(panel: DataPanel, viewer: ViewerModel) -> None:
    panel.set_engine(TWO)
    viewer.add_layer(recording())
    panel.extras["psf"].combo.choose(viewer.add_layer(recording((4, 4), name="flat")))
    assert "psf" in panel.reason() and panel.inputs() == {}
    panel.extras["psf"].combo.choose(None)
    assert panel.reason() == "" and list(panel.inputs()) == ["views"]


def test_required_further_input_is_asked_for(panel: DataPanel, viewer: ViewerModel) -> None:
    required = TWO.inputs[1].model_copy(update={"required": True})
    panel.set_engine(TWO.model_copy(update={"inputs": (TWO.inputs[0], required)}))
    viewer.add_layer(recording())
    assert panel.reason() == "psf is missing (measured PSF); choose one"


def test_a_volume_is_not_taken_for_a_recording_when_there_is_one(viewer: ViewerModel, qtbot: Any) -> None:
    light_field = viewer.add_layer(recording())
    volume = viewer.add_layer(recording(name="result", axis_labels=("z", "y", "x")))
    viewer.layers.selection.active = volume
    panel = DataPanel(viewer, Fake.info)
    qtbot.addWidget(panel)
    assert panel.layer is light_field
    viewer.layers.remove(light_field)
    assert panel.layer is volume, "still to be had"
    viewer.add_layer(recording(name="of unknown axes"))
    assert panel.layer is volume
    again = viewer.add_layer(recording(name="views", axis_labels=("view", "y", "x")))
    assert panel.layer is again, "it says that it is what is asked for"
    panel.combo.by_hand = True
    panel.combo.choose(volume)
    viewer.add_layer(recording(name="more views", axis_labels=("view", "y", "x")))
    assert panel.layer is volume, "a person chose it"
    panel.let_go()
