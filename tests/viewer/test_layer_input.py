"""Any layer is fit to be an input, or says in one sentence why not."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels, Points, Shapes

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.viewer.layer_input import check_layer, fits, guess_axes, stack_from_layer
from napari_recon.viewer.placement import PLACEMENT

VIEWS = InputSpec(name="views", axes="VYX")


@pytest.mark.parametrize(
    "shape, labels, expected",
    [
        ((5, 8, 10), None, "VYX"),
        ((3, 5, 8, 10), None, "TVYX"),
        ((3, 2, 5, 8, 10), None, "TCVYX"),
        ((3, 5, 8, 10), ("channel", "view", "y", "x"), "CVYX"),
        ((3, 5, 8, 10), ("t", "v", "Y", "X"), "TVYX"),
        ((8, 10, 5), ("y", "x", "views"), "YXV"),
        ((5, 8, 10), ("z", "y", "x"), "VYX"),
        ((8, 10), None, ""),
    ],
)
def test_axes_are_guessed_from_labels_then_from_the_declaration(shape, labels, expected):
    layer = Image(np.zeros(shape), **({"axis_labels": labels} if labels else {}))
    assert guess_axes(layer, VIEWS) == expected


def test_scale_translate_and_units_arrive():
    layer = Image(np.zeros((5, 8, 10)), scale=(1, 0.1, 0.2), translate=(0, 3, 4), units=("pixel", "um", "nm"))
    grid = stack_from_layer(layer, "VYX").grid
    assert grid.scale == pytest.approx((1, 0.1, 0.2)) and grid.translate == pytest.approx((0, 3, 4))
    assert grid.units == ("pixel", "micrometer", "nanometer")


@pytest.mark.parametrize(
    "options",
    [{"rotate": 30}, {"shear": [0.2, 0, 0]}, {"affine": [[1, 0, 0, 0], [0, 0, -1, 9], [0, 1, 0, 2], [0, 0, 0, 1]]}],
)
def test_placement_completes_the_grid_of_turned_layers(options):
    layer = Image(np.zeros((5, 8, 10)), scale=(1, 0.5, 0.25), translate=(0, 3, 4), **options)
    stack = stack_from_layer(layer, "VYX")
    placement = np.array(stack.metadata[PLACEMENT])
    for index in ((0, 0, 0), (4, 7, 9), (1, 2, 3)):
        scaled = [stack.grid.to_world(a, i) for a, i in zip("VYX", index, strict=True)]
        np.testing.assert_allclose((placement @ [*scaled, 1])[:3], layer.data_to_world(index), atol=1e-9)
    assert stack.grid.scale == (1, 0.5, 0.25)


def test_zarr_is_handed_on_as_it_is():
    stored = zarr.create_array({}, shape=(5, 8, 10), chunks=(1, 8, 10), dtype="uint16")
    stored[:] = 7
    stack = stack_from_layer(Image(stored, contrast_limits=(0, 9), multiscale=False), "VYX")
    assert stack.data is stored and stack.read("VYX")[4, 7, 9] == 7


def test_multiscale_gives_full_resolution_and_dask_stays_lazy():
    pyramid = [da.ones((5, 16, 20), chunks=(1, 16, 20)), da.ones((5, 8, 10), chunks=(1, 8, 10))]
    stack = stack_from_layer(Image(pyramid, multiscale=True, contrast_limits=(0, 1)), "VYX")
    assert stack.grid.shape == (5, 16, 20) and isinstance(stack.data, da.Array)
    assert isinstance(stack.read("VYX"), np.ndarray)


def test_rgb_is_refused_with_a_remedy():
    layer = Image(np.zeros((5, 8, 10, 3), np.uint8), rgb=True, name="photo")
    (problem,) = check_layer(layer, VIEWS, "VYX")
    assert "RGB" in problem.text and "Split RGB" in problem.text and problem.severity == "error"
    with pytest.raises(InputError, match="photo is an RGB picture"):
        stack_from_layer(layer, "VYX")


@pytest.mark.parametrize("layer", [Points(np.zeros((2, 3))), Shapes(ndim=3)])
def test_other_kinds_of_layers_are_refused(layer):
    assert not fits(layer, VIEWS)
    assert "views should be an image layer" in check_layer(layer, VIEWS, "VYX")[0].text
    with pytest.raises(InputError, match="image layer was expected"):
        stack_from_layer(layer, "VYX")


def test_labels_fit_where_declared():
    spec = InputSpec(name="mask", axes="YX", accepts=("labels",))
    assert fits(Labels(np.zeros((4, 4), int)), spec) and not fits(Image(np.zeros((4, 4))), spec)


@pytest.mark.parametrize(
    "shape, axes, expected, fix",
    [
        ((5, 8, 10), "ZYX", "should have axes VYX", "VYX"),
        ((5, 8, 10), "TVYX", "exactly one letter per dimension", "VYX"),
        ((5, 8, 10), "VVX", "distinct letters", "VYX"),
        ((8, 10), "YX", "should have axes VYX", ""),
    ],
)
def test_wrong_axes_come_with_a_fix_where_there_is_one(shape, axes, expected, fix):
    problems = check_layer(Image(np.zeros(shape), contrast_limits=(0, 1)), VIEWS, axes)
    assert any(expected in p.text and p.severity == "error" and p.fix_axes == fix for p in problems)


def test_a_missing_pixel_size_is_a_warning_only():
    (problem,) = check_layer(Image(np.zeros((5, 8, 10))), VIEWS, "VYX")
    assert problem.severity == "warning" and "pixel size" in problem.text
    assert check_layer(Image(np.zeros((5, 8, 10)), units="um"), VIEWS, "VYX") == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_usual_dtypes_are_fine_and_others_are_named(dtype):
    assert check_layer(Image(np.zeros((5, 8, 10), dtype), units="um"), VIEWS, "VYX") == []
    (problem,) = check_layer(Image(np.zeros((5, 8, 10), bool), units="um"), VIEWS, "VYX")
    assert "found bool" in problem.text


def test_the_longest_of_several_kinds_of_axes_counts() -> None:
    from napari_recon.engines.deconvolution.rl import VIEWS

    layers = {"YX": (8, 9), "ZYX": (4, 8, 9), "VZYX": (2, 4, 8, 9), "TZYX": (3, 4, 8, 9)}
    for axes, shape in layers.items():
        layer = Image(np.ones(shape, np.float32), scale=(0.1,) * len(shape), units=("um",) * len(shape))
        assert check_layer(layer, VIEWS, axes) == []
