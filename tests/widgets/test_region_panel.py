from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box, TimeRange
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.widgets.region_panel import RangeRow, RegionPanel
from tests.widgets.conftest import recording


@pytest.fixture
def row(qtbot: Any) -> RangeRow:
    made = RangeRow("Z")
    qtbot.addWidget(made)
    return made


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: Any) -> RegionPanel:
    made = RegionPanel(viewer)
    qtbot.addWidget(made)
    made.show()
    return made


def attach(panel: RegionPanel, viewer: ViewerModel, shape: tuple[int, ...] = (5, 8, 10), axes: str = "VYX") -> Any:
    layer = viewer.add_layer(recording(shape))
    panel.set_source(layer, axes, stack_from_layer(layer, axes).grid)
    return layer


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 5000), data=st.data())
def test_shown_inclusive_kept_half_open(row: RangeRow, size: int, data: Any) -> None:
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    row.set_size(size)
    row.set_bounds((start, stop))
    assert row.bounds() == (start, stop)
    assert (row.first.value(), row.last.value()) == (start, stop - 1)
    assert tuple(row.slider.value()) == (start, stop - 1)


def test_slider_and_boxes_follow_each_other(row: RangeRow, qtbot: Any) -> None:
    row.set_size(20)
    row.set_bounds(None)
    assert row.is_whole
    with qtbot.waitSignal(row.changed):
        row.slider.setValue((4, 9))
    assert row.bounds() == (4, 10) and row.last.value() == 9
    with qtbot.waitSignal(row.changed):
        row.first.setValue(6)
    assert tuple(row.slider.value()) == (6, 9)
    row.first.setValue(15)  # beyond the end: the other end gives way
    assert row.bounds() == (15, 16)
    row.all.click()
    assert row.is_whole


def test_rows_change_the_region_and_the_region_the_rows(panel: RegionPanel, viewer: ViewerModel, qtbot: Any) -> None:
    attach(panel, viewer, (4, 5, 8, 10), "TVYX")
    panel.box_button.click()
    assert panel.rows["Y"].isVisible() and panel.shapes.calls == ["draw"]
    with qtbot.waitSignal(panel.changed):
        panel.rows["Y"].first.setValue(2)
    assert panel.region.box == Box(y=(2, 8), x=(0, 10))
    panel.region.box = Box(y=(1, 4), x=(3, 5))
    assert panel.rows["X"].bounds() == (3, 5) and panel.box_button.isChecked()
    panel.region.time = TimeRange(start=1, stop=3)
    assert panel.rows["T"].bounds() == (1, 3)
    panel.whole_button.click()
    assert panel.region.box is None and panel.whole_button.isChecked() and not panel.rows["Y"].isVisible()
    assert panel.region.time == TimeRange(start=1, stop=3)


def test_region_survives_a_layer_of_the_same_extent_only(panel: RegionPanel, viewer: ViewerModel) -> None:
    attach(panel, viewer)
    panel.region.box = Box(y=(1, 4), x=(3, 5))
    attach(panel, viewer)
    assert panel.region.box == Box(y=(1, 4), x=(3, 5))
    attach(panel, viewer, (5, 9, 10))
    assert panel.region.box is None


def test_planes_come_from_the_planned_output_and_shrink_with_it(panel: RegionPanel, viewer: ViewerModel) -> None:
    attach(panel, viewer)
    assert not panel.rows["Z"].isVisible()
    panel.set_output(Grid.of("ZYX", (21, 16, 20)), None, "Result: 21")
    assert panel.rows["Z"].isVisible() and panel.size_line.text() == "Result: 21"
    panel.rows["Z"].first.setValue(10)
    assert panel.region.box == Box(z=(10, 21))
    panel.set_output(Grid.of("ZYX", (15, 16, 20)))
    assert panel.region.box == Box(z=(10, 15))
    panel.set_output(Grid.of("ZYX", (5, 16, 20)))
    assert panel.region.box is None or panel.region.box.z is None


def test_buttons_without_data_say_why(panel: RegionPanel) -> None:
    for button in (panel.draw_button, panel.view_button, panel.box_button, panel.whole_button):
        assert not button.isEnabled() and "layer" in button.toolTip()


def test_view_out_of_sight_is_said(panel: RegionPanel, viewer: ViewerModel) -> None:
    attach(panel, viewer)
    panel.view_button.click()
    assert "out of sight" in panel.size_line.text()


def test_current_frame_respects_the_layers_place_in_time(panel: RegionPanel, viewer: ViewerModel) -> None:
    layer = recording((4, 5, 8, 10), scale=(2.0, 1, 0.5, 0.5), translate=(10.0, 0, 0, 0))
    viewer.add_layer(layer)
    panel.set_source(layer, "TVYX", stack_from_layer(layer, "TVYX").grid)
    viewer.dims.set_point(0, 14.0)
    assert panel.current_frame() == 2


@pytest.mark.usefixtures("real_region")
def test_rectangles_on_the_canvas_are_the_boxes(panel: RegionPanel, viewer: ViewerModel, qtbot: Any) -> None:
    attach(panel, viewer)
    panel.draw_button.click()
    shapes = viewer.layers.selection.active
    assert shapes is viewer.layers[-1] and shapes.mode == "add_rectangle"
    with qtbot.waitSignal(panel.changed):
        shapes.add_rectangles([[1.0, 2.0], [4.9, 6.9]])
    assert panel.rows["Y"].isVisible() and panel.region.box is not None
    shapes.add_rectangles([[0.0, 0.0], [2.9, 2.9]])
    assert len(panel.boxes()) == 2
    panel.whole_button.click()
    assert panel.boxes() == [Box()]
    before = len(viewer.layers)
    panel.close_layers()
    assert len(viewer.layers) < before
