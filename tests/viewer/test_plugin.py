"""What napari calls: writers, readers of recipes, opening, samples."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from napari.layers import Layer

from napari_recon.core.errors import InputError
from napari_recon.io import open_stack
from napari_recon.viewer import plugin
from napari_recon.viewer.files import layer_stack, opened_layer, with_suffix
from tests.viewer.conftest import views

KEY = "napari-recon"


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_writing_and_opening_keeps_place_labels_and_record(tmp_path, suffix):
    layer = views((3, 5, 8, 10), axis_labels=("time", "view", "y", "x"))
    layer.metadata[KEY] = {"recipe": {"schema": 1, "steps": []}, "partial": False}
    path = str(tmp_path / f"cells{suffix}")
    data, attributes, _ = layer.as_layer_data_tuple()
    assert plugin.write_layer(path, data, attributes) == [path]
    back = Layer.create(*opened_layer(path))
    np.testing.assert_array_equal(np.asarray(back.data), layer.data)
    assert back.axis_labels == layer.axis_labels
    np.testing.assert_allclose(back.scale[1:], layer.scale[1:])
    np.testing.assert_allclose(back.translate[2:], layer.translate[2:])
    assert back.metadata[KEY]["recipe"] == layer.metadata[KEY]["recipe"]


def test_unnamed_dimensions_are_time_channel_and_space():
    layer = views((2, 3, 4, 8, 10))
    assert layer_stack(*layer.as_layer_data_tuple()[:2]).grid.axes == "TCZYX"
    pyramid = Layer.create([np.zeros((8, 8)), np.zeros((4, 4))], {"multiscale": True}, "image")
    assert layer_stack(*pyramid.as_layer_data_tuple()[:2]).grid.shape == (8, 8)


def test_what_cannot_be_written_is_refused(tmp_path):
    photo = Layer.create(np.zeros((8, 8, 3), np.uint8), {"rgb": True, "name": "photo"}, "image")
    with pytest.raises(InputError, match="photo is an RGB picture"):
        plugin.write_layer(str(tmp_path / "x.ome.tif"), *photo.as_layer_data_tuple()[:2])
    many = Layer.create(np.zeros((1, 1, 1, 1, 4, 4)), {"name": "many"}, "image")
    with pytest.raises(InputError, match="set its axis labels"):
        plugin.write_layer(str(tmp_path / "x.ome.tif"), *many.as_layer_data_tuple()[:2])


def test_only_recipes_are_claimed():
    assert plugin.get_recipe_reader("a.recipe.yaml") is plugin.read_recipe
    for path in ("a.tif", "a.ome.tif", "a.yaml", "a.zarr", ["a.recipe.yaml"]):
        assert plugin.get_recipe_reader(path) is None


def test_opening_is_lazy_and_happens_in_the_background(viewer, qtbot, tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4))
    errors: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin, "show_error", errors.append)
        plugin.open_with(viewer, [str(path), str(tmp_path / "missing.tif")])
        qtbot.waitUntil(lambda: len(viewer.layers) == 1 and len(errors) == 1, timeout=5000)
    assert float(np.asarray(viewer.layers[0].data)[1, 2, 3]) == 23
    assert "missing.tif" in errors[0]


def test_samples_share_units_so_that_results_fit(viewer):
    layers = plugin.sample_light_field()
    for layer in layers:
        viewer.add_layer(Layer.create(*layer))
    assert viewer.layers.extent.units is not None
    assert open_stack(viewer.layers[0].metadata["path"]).grid.shape == viewer.layers[0].data.shape


@pytest.mark.parametrize(
    "path, chosen, expected",
    [("a", "OME-Zarr (*.ome.zarr)", "a.ome.zarr"), ("a.npy", "OME-TIFF (*.ome.tif)", "a.npy"), ("", "NumPy (*.npy)", "")],
)
def test_the_chosen_filter_gives_the_suffix(path, chosen, expected):
    assert with_suffix(path, chosen) == expected


def test_a_very_large_zarr_opens_at_once_with_its_levels(viewer, tmp_path):
    path = tmp_path / "huge.ome.zarr"
    group = zarr.create_group(path, zarr_format=3)
    shapes = [(1000, 50, 1024, 1024), (1000, 50, 512, 512)]  # 100 GB that nobody wrote
    for number, shape in enumerate(shapes):
        group.create_array(str(number), shape=shape, dtype="uint16", chunks=(1, 32, 256, 256))
    axes = [{"name": a, "type": "time" if a == "t" else "space"} for a in "tzyx"]
    levels = [{"type": "scale", "scale": [1.0, 1.0, f, f]} for f in (0.1, 0.2)]
    datasets = [{"path": str(n), "coordinateTransformations": [level]} for n, level in enumerate(levels)]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "huge", "axes": axes, "datasets": datasets}]}
    assert plugin.get_zarr_reader(str(path)) is None  # somebody else's, and others may open it
    group.attrs["napari-recon-axes"] = "TZYX"
    read = plugin.get_zarr_reader(str(path))
    assert read is plugin.read_zarr and plugin.get_zarr_reader(str(tmp_path)) is None
    (data,) = read(str(path))
    layer = plugin.add_layer(viewer, data)
    assert layer.multiscale and [tuple(level.shape) for level in layer.data] == shapes
    assert tuple(layer.scale) == (1.0, 1.0, 0.1, 0.1) and tuple(layer.contrast_limits) == (0.0, 1.0)
