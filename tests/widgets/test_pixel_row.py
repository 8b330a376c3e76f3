from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_recon.core.provenance import KEY
from napari_recon.viewer.file_facts import file_facts
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.widgets.data_panel import DataPanel
from tests.viewer.fake import Fake
from tests.widgets.conftest import recording

SHAPE = (5, 8, 10)


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: Any) -> Iterator[DataPanel]:
    made = DataPanel(viewer, Fake.info, needs_pixel_size=True)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.let_go()


def test_pixel_size_is_asked_for_and_set_on_the_layer_by_its_button(panel: DataPanel, viewer: ViewerModel) -> None:
    layer = viewer.add_layer(recording(SHAPE, scale=(1, 1, 1), units=("pixel",) * 3))
    assert "no pixel size" in panel.reason() and panel.pixel_row.isVisible()
    assert not panel.pixel_row.button.isEnabled()
    panel.pixel_row.box.set_value(0.08)
    panel.pixel_row.box.edited.emit()
    assert tuple(layer.scale) == (1, 1, 1)  # nothing before the button is pressed
    panel.pixel_row.button.click()
    assert tuple(layer.scale) == (1, 0.08, 0.08) and [str(u) for u in layer.units[1:]] == ["micrometer"] * 2
    assert panel.reason() == "" and not panel.pixel_row.isVisible()


def test_scale_without_a_unit_is_proposed(panel: DataPanel, viewer: ViewerModel) -> None:
    viewer.add_layer(recording(SHAPE, scale=(1, 0.07, 0.07), units=("pixel",) * 3))
    assert panel.pixel_row.box.value() == 0.07 and panel.pixel_row.button.isEnabled()


def test_of_a_result_that_counts_pixels_nothing_is_proposed(panel: DataPanel, viewer: ViewerModel) -> None:
    viewer.add_layer(recording(SHAPE, scale=(1, 4.33, 4.33), units=("pixel",) * 3, metadata={KEY: {}}))
    assert panel.pixel_row.isVisible() and not panel.pixel_row.button.isEnabled()


def test_layers_with_a_pixel_size_are_not_asked(panel: DataPanel, viewer: ViewerModel) -> None:
    viewer.add_layer(recording(SHAPE))
    assert panel.reason() == "" and not panel.pixel_row.isVisible()


def test_what_the_file_says_is_proposed_and_its_optics_are_used(
    panel: DataPanel, viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    path = tmp_path / "raw.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.061, "PhysicalSizeY": 0.061, "PhysicalSizeXUnit": "µm"}
    waves = {"EmissionWavelength": [525] * 5, "EmissionWavelengthUnit": ["nm"] * 5}
    metadata |= {"PhysicalSizeYUnit": "µm", "Channel": waves}
    tifffile.imwrite(path, np.arange(400, dtype=np.uint16).reshape(SHAPE), metadata=metadata)
    with layer_source(path=str(path)):
        layer = viewer.add_layer(Image(np.asarray(tifffile.imread(path)), name="raw"))
    qtbot.waitUntil(lambda: file_facts(layer).pixel_um is not None, timeout=5000)
    qtbot.waitUntil(lambda: panel.pixel_row.box.value() == pytest.approx(0.061))
    assert stack_from_layer(layer, "VYX").metadata["optics"]["wavelength_um"][0] == pytest.approx(0.525)


def test_layer_that_was_open_before_the_panel_is_followed_and_its_file_read(
    viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    path = tmp_path / "raw.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.061, "PhysicalSizeY": 0.061}
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, np.arange(400, dtype=np.uint16).reshape(SHAPE), metadata=metadata)
    with layer_source(path=str(path)):
        layer = viewer.add_layer(Image(np.asarray(tifffile.imread(path)), name="raw"))
    panel = DataPanel(viewer, Fake.info, needs_pixel_size=True)
    qtbot.addWidget(panel)
    panel.show()
    qtbot.waitUntil(lambda: panel.pixel_row.box.value() == pytest.approx(0.061), timeout=5000)
    panel.pixel_row.button.click()
    assert layer.scale[-1] == pytest.approx(0.061)
    assert panel.reason() == "" and not panel.pixel_row.isVisible()
    panel.let_go()
