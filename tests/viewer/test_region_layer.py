"""Rectangles and the region follow each other, on any data and from any side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box, Region
from napari_recon.viewer.region_layer import RegionLayer
from tests.viewer.conftest import views


@pytest.fixture
def scene(viewer, qtbot):
    layer = viewer.add_layer(views((5, 40, 60)))
    region = Region()
    made = RegionLayer(viewer, layer, region, "VYX")
    yield viewer, layer, region, made
    made.close()


def shapes_of(viewer):
    return next(item for item in viewer.layers if item.name.startswith("region ("))


def wireframe_of(viewer):
    return next((item for item in viewer.layers if item.name.startswith("computed")), None)


def draw(viewer, qtbot, y, x):
    """Add a rectangle with corners in voxels of the data, as a person's mouse would leave it."""
    shapes = shapes_of(viewer)
    shapes.add_rectangles(np.array([[y[0], x[0]], [y[1], x[1]]], float))
    qtbot.wait(20)


def test_a_drawn_rectangle_becomes_the_smallest_box_around_it(scene, qtbot):
    viewer, layer, region, made = scene
    made.draw()
    assert viewer.layers.selection.active is shapes_of(viewer) and shapes_of(viewer).mode == "add_rectangle"
    draw(viewer, qtbot, (3.2, 9.7), (4.6, 20.0))
    assert region.box == Box(y=(3, 11), x=(5, 21))
    corners = shapes_of(viewer).data[0]
    assert corners.min(axis=0).tolist() == [2.5, 4.5] and corners.max(axis=0).tolist() == [10.5, 20.5]
    world = shapes_of(viewer).data_to_world(corners[0])
    np.testing.assert_allclose(world, layer.data_to_world((0, 2.5, 4.5))[1:])
    assert [str(u) for u in shapes_of(viewer).units] == ["micrometer", "micrometer"]


def test_the_region_moves_the_rectangle_and_keeps_z(scene, qtbot):
    viewer, _, region, made = scene
    region.box = Box(z=(1, 3), y=(2, 6), x=(3, 9))
    assert made.boxes() == [region.box]
    region.box = Box(z=(1, 3), y=(2, 6), x=(3, 12))
    assert len(shapes_of(viewer).data) == 1 and made.boxes() == [region.box]
    draw(viewer, qtbot, (10, 20), (10, 20))
    assert region.box == Box(z=(1, 3), y=(10, 21), x=(10, 21)) and len(made.boxes()) == 2
    region.box = Box(z=(1, 3))
    assert made.boxes() == []


def test_one_change_is_one_event(scene, qtbot):
    viewer, _, region, made = scene
    made.draw()
    changes: list = []
    region.events.box.connect(lambda box: changes.append(box))
    draw(viewer, qtbot, (1, 5), (1, 5))
    region.box = Box(y=(1, 4), x=(2, 5))
    assert changes == [Box(y=(1, 6), x=(1, 6)), Box(y=(1, 4), x=(2, 5))]


def test_several_rectangles_selection_and_removal(scene, qtbot):
    viewer, _, region, made = scene
    made.draw()
    draw(viewer, qtbot, (1, 4), (1, 4))
    draw(viewer, qtbot, (10, 14), (10, 14))
    shapes = shapes_of(viewer)
    assert len(made.boxes()) == 2 and region.box == Box(y=(10, 15), x=(10, 15))
    shapes.mode = "select"
    shapes.selected_data = {0}
    assert region.box == Box(y=(1, 5), x=(1, 5))
    shapes.remove_selected()
    qtbot.wait(20)
    assert made.boxes() == [Box(y=(10, 15), x=(10, 15))] == [region.box]
    made.whole()
    assert region.box is None and made.boxes() == []


def test_rectangles_are_clipped_and_refused_outside(scene, qtbot):
    viewer, _, region, made = scene
    made.draw()
    draw(viewer, qtbot, (-10, 5), (50, 500))
    assert region.box == Box(y=(0, 6), x=(50, 60))
    draw(viewer, qtbot, (100, 120), (5, 9))
    assert len(made.boxes()) == 1 == len(shapes_of(viewer).data)


def test_drawing_needs_y_and_x_on_a_flat_canvas(scene, qtbot):
    viewer, _layer, _, made = scene
    told: list = []
    made.availability_changed.connect(lambda ok, reason: told.append((ok, reason)))
    viewer.dims.ndisplay = 3
    assert not told[-1][0] and "2D" in made.reason
    made.draw()
    assert len(viewer.layers) == 1
    viewer.dims.ndisplay = 2
    assert told[-1] == (True, "") and not made.reason
    viewer.dims.order = (1, 0, 2)
    assert "roll" in made.reason and made.from_view() is False


def test_from_view_takes_what_the_canvas_shows(scene):
    _viewer, layer, region, made = scene
    layer.corner_pixels = np.array([[0, 5, 7], [0, 14, 30]])
    assert made.from_view()
    assert region.box == Box(y=(5, 15), x=(7, 31)) and made.boxes() == [region.box]
    assert made.from_view() and made.boxes() == [region.box]
    layer.corner_pixels = np.array([[0, 0, 0], [0, 0, 0]])
    assert not made.from_view()


def test_the_computed_box_is_outlined_in_2d_and_a_wireframe_in_3d(scene):
    viewer, layer, _region, made = scene
    grid = Grid.of(
        "ZYX",
        (7, 80, 120),
        {"Z": 0.5, "Y": 0.25, "X": 0.25},
        {"Z": -1.5, "Y": 2.875, "X": -2.125},
        dict.fromkeys("ZYX", "um"),
    )
    made.show_computed(grid, Box(z=(2, 5), y=(4, 12), x=(6, 18)))
    flat = wireframe_of(viewer)
    assert flat.ndim == 2 and flat.bounding_box.visible
    np.testing.assert_allclose(flat.data_to_world(flat.data[0]), layer.data_to_world((0, 1.5, 2.5))[1:])
    viewer.dims.ndisplay = 3
    solid = wireframe_of(viewer)
    assert solid.ndim == 3 and solid.data[1].tolist() == [4.5, 11.5, 17.5]
    assert viewer.layers.extent.units is not None, "units stay consistent"
    made.show_computed(None)
    assert wireframe_of(viewer) is None


def test_rectangles_follow_data_that_is_moved_rotated_or_scaled(scene, qtbot):
    viewer, layer, region, made = scene
    region.box = Box(y=(2, 6), x=(3, 9))
    layer.scale = (1, 2, 3)
    layer.rotate = 30
    shapes = shapes_of(viewer)
    for corner in shapes.data[0]:
        np.testing.assert_allclose(shapes.data_to_world(corner), layer.data_to_world((0, *corner))[1:], atol=1e-9)
    assert made.boxes() == [region.box]


def test_edges_look_alike_at_any_zoom(scene, qtbot):
    viewer, _, region, _ = scene
    region.box = Box(y=(2, 6), x=(3, 9))
    viewer.camera.zoom = 10
    qtbot.wait(150)
    assert shapes_of(viewer).edge_width[0] == pytest.approx(1.5 / 10 / 0.5)


def test_deleting_the_region_layer_means_the_whole_field_and_deleting_the_data_ends_it(scene, qtbot):
    viewer, layer, region, made = scene
    region.box = Box(z=(0, 2), y=(2, 6), x=(3, 9))
    viewer.layers.remove(shapes_of(viewer))
    assert region.box == Box(z=(0, 2)) and made.boxes() == []
    made.draw()
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=1000)


def test_multiscale_data_is_counted_in_full_resolution(qtbot, viewer):
    layer = viewer.add_image([np.zeros((5, 40, 60)), np.zeros((5, 20, 30))], multiscale=True)
    region = Region()
    made = RegionLayer(viewer, layer, region, "VYX")
    region.box = Box(y=(30, 40), x=(50, 60))
    assert made.boxes() == [region.box]
    made.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.integers(0, 38), st.integers(1, 30)), st.tuples(st.integers(0, 58), st.integers(1, 30)))
def test_box_to_rectangle_to_box_is_exact(qapp, y, x):
    viewer = ViewerModel()
    layer = viewer.add_layer(views((5, 40, 60), scale=(1, 0.1, 0.3), translate=(0, 7, -3)))
    region = Region()
    made = RegionLayer(viewer, layer, region, "VYX")
    region.box = Box(y=(y[0], min(40, y[0] + y[1])), x=(x[0], min(60, x[0] + x[1])))
    assert made.boxes() == [region.box]
    made.close()
