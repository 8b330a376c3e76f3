"""Results lie exactly on the data, whatever the layer's transform, in units napari can reconcile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box, Selection
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.placement import displayed_grid, in_one_unit, layer_geometry
from tests.viewer.conftest import job_of, run, views

TURNED = [
    {},
    {"rotate": 30},
    {"shear": [0, 0, 0.3]},
    {"affine": [[1, 0, 0, 0], [0, 0, -1, 9], [0, 1, 0, 2], [0, 0, 0, 1]]},
    {"rotate": -70, "affine": [[1, 0, 0, 0], [0, 2, 0.5, 9], [0, 0, 1, 2], [0, 0, 0, 1]]},
    {"scale": (1, -0.5, 0.5)},
]


@pytest.mark.parametrize("options", TURNED)
@pytest.mark.parametrize("box", [None, Box(y=(1, 7), x=(2, 9))])
def test_a_bright_pixel_is_where_the_data_has_it(controller, viewer, qtbot, options, box):
    layer = viewer.add_layer(views((5, 8, 10), bright=(3, 4), **options))
    (result,) = run(controller, qtbot, job_of(layer, selection=Selection(box=box, space="input")))
    (made,) = result.layers
    bright = np.argwhere(made.data[1] > 50)
    assert len(bright) == 4
    world = made.data_to_world((1, *bright.mean(axis=0)))
    np.testing.assert_allclose(world[1:], layer.data_to_world((0, 3, 4))[1:], atol=1e-9)
    assert world[0] == pytest.approx(0, abs=1e-9), "the middle plane is the focus"


@pytest.mark.parametrize(
    "units",
    [("pixel", "um", "um"), ("um", "um", "um"), ("pixel", "pixel", "pixel"), ("pixel", "nm", "nm"), ("pixel", "mm", "um")],
)
def test_units_stay_consistent(controller, viewer, qtbot, units):
    layer = viewer.add_layer(views(units=units))
    (result,) = run(controller, qtbot, job_of(layer))
    assert viewer.layers.extent.units is not None
    (made,) = result.layers
    assert str(made.units[1]) == str(made.units[2])
    assert made.scale[0] / made.scale[1] == pytest.approx(2), "voxel proportions survive"


def test_lengths_come_in_one_unit_and_pixels_stay():
    grid = Grid.of(
        "ZYX", (3, 4, 4), {"Z": 2, "Y": 100, "X": 100}, {"Z": -2}, {"Z": "micrometer", "Y": "nanometer", "X": "nanometer"}
    )
    assert in_one_unit(grid).scale == pytest.approx((2000, 100, 100)) and in_one_unit(grid).translate[0] == pytest.approx(
        -2000
    )
    pixels = Grid.of("ZYX", (3, 4, 4), {"Z": 2})
    assert in_one_unit(pixels) == pixels


def test_user_layers_are_never_changed(controller, viewer, qtbot):
    layer = viewer.add_layer(views(rotate=20))
    before = layer.as_layer_data_tuple()
    kept = before[0].copy()
    run(controller, qtbot, job_of(layer))
    after = layer.as_layer_data_tuple()
    np.testing.assert_array_equal(after[0], kept)
    for name in ("name", "scale", "translate", "rotate", "shear", "visible", "contrast_limits", "opacity", "metadata"):
        np.testing.assert_equal(after[1][name], before[1][name])


@pytest.mark.parametrize(
    "result, parent, expected",
    [
        ("ZYX", "VYX", "ZYX"),
        ("TZYX", "TVYX", "TZYX"),
        ("TCZYX", "TCVYX", "TCZYX"),
        ("CTZYX", "CTVYX", "TZYX"),
        ("CZYX", "CVYX", "ZYX"),
        ("TZYX", "TAPZYX", "TAPZYX"),
        ("TYX", "TVYX", "TVYX"),
        ("TZYX", "VTYX", "TZYX"),
    ],
)
def test_time_shares_its_slider_with_the_data(result, parent, expected):
    source = Grid.of(parent, [4 if a == "T" else 2 for a in parent], {"C": 3.0})
    shown = displayed_grid(Grid.of(result, [4 if a == "T" else 2 for a in result]), source, channel=1)
    assert shown.axes == expected
    if "C" in expected:
        assert shown.size("C") == 1 and shown.origin("C") == 3


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-180, 180), st.floats(0.05, 5), st.floats(0.05, 5), st.floats(-20, 20), st.integers(0, 7), st.integers(0, 9)
)
def test_any_rotation_and_scale_keeps_every_pixel_in_place(angle, sy, sx, shift, y, x):
    layer = Image(np.zeros((5, 8, 10)), scale=(1, sy, sx), translate=(0, shift, 1), rotate=angle)
    stack = stack_from_layer(layer, "VYX")
    fine = stack.grid.only("YX").resampled({"Y": 24, "X": 30})
    geometry = layer_geometry(Grid.of("Z", (3,)).joined(fine), stack, layer)
    geometry = {name: value for name, value in geometry.items() if name != "axis_labels"}
    made = Image(np.zeros((3, 24, 30)), **geometry)
    centre = made.data_to_world((0, 3 * y + 1, 3 * x + 1))
    np.testing.assert_allclose(centre[1:], layer.data_to_world((0, y, x))[1:], atol=1e-6)


def test_time_points_found_in_pages_get_a_slider_of_their_own_and_are_seen_at_every_page() -> None:
    parent = Grid.of("NYX", (27, 8, 8))
    shown = displayed_grid(Grid.of("TYX", (3, 16, 16)), parent)
    assert shown.axes == "TNYX" and shown.shape == (3, 1, 16, 16)
    assert (shown.step("N"), shown.translate[1]) == (27, 13)  # one voxel from the first page to the last
