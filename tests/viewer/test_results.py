"""Buffers and layers: what is refreshed when, how bright it is shown, where large results live."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from napari_recon.core.events import BlockReady
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.viewer import buffers
from napari_recon.viewer.buffers import OutputBuffer, brightness
from napari_recon.viewer.results import ResultLayers

SHAPE = (6, 8, 10)


def spec(axes="ZYX", shape=SHAPE, **options) -> OutputSpec:
    return OutputSpec(name="volume", grid=Grid.of(axes, shape), **options)


def block(z: int, value: float = 5.0) -> BlockReady:
    array = np.arange(80, dtype=float).reshape(1, 8, 10) * value
    return BlockReady("volume", (slice(z, z + 1), slice(0, 8), slice(0, 10)), array)


@pytest.fixture
def results(viewer, qtbot):
    made = ResultLayers(viewer)
    yield made
    made.close()


def refreshes(layer) -> list:
    found: list = []
    layer.events.set_data.connect(lambda event: found.append(event))
    return found


def test_only_blocks_in_sight_cause_a_refresh(results, viewer):
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    viewer.dims.set_point(0, 2)
    buffer.write(block(5))
    results.flush()
    seen = refreshes(layer)
    buffer.write(block(4))
    results.flush()
    assert seen == []
    buffer.write(block(2))
    buffer.write(block(3))
    results.flush()
    results.flush()
    assert len(seen) == 1, "two blocks, one refresh"


def test_in_3d_the_volume_is_uploaded_at_most_once_a_second(results, viewer, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("napari_recon.viewer.results.time.monotonic", lambda: now[0])
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    viewer.dims.ndisplay = 3
    seen = refreshes(layer)
    for z in range(5):
        buffer.write(block(z))
        results.flush()
        now[0] += 0.1
    assert len(seen) == 1
    now[0] += 1
    results.flush()
    assert len(seen) == 2, "what came meanwhile is shown later"


def estimate(value: float) -> BlockReady:
    array = np.arange(480, dtype=float).reshape(SHAPE) * value
    return BlockReady("volume", tuple(slice(0, n) for n in SHAPE), array)


def settle(results) -> None:
    for _ in range(30):
        results.flush()


def test_contrast_starts_with_the_first_useful_block(results):
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    empty = BlockReady("volume", (slice(0, 1), slice(0, 8), slice(0, 10)), np.zeros((1, 8, 10)))
    buffer.write(empty)
    results.flush()
    assert list(layer.contrast_limits) == [0, 1]
    buffer.write(block(1))
    results.flush()
    assert layer.contrast_limits[1] == pytest.approx(79 * 5, rel=0.02)


@pytest.mark.parametrize("change", [20, 0.05])
def test_contrast_follows_estimates_that_replace_each_other_in_steps(results, change):
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    buffer.write(estimate(1))
    results.flush()
    first = layer.contrast_limits[1]
    buffer.write(estimate(change))
    results.flush()
    second = layer.contrast_limits[1]
    assert min(first, change * first) < second < max(first, change * first), "no jump"
    settle(results)
    assert layer.contrast_limits[1] == pytest.approx(change * first, rel=0.05)


def test_contrast_set_by_the_user_does_not_follow(results):
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    buffer.write(estimate(1))
    results.flush()
    layer.contrast_limits = (3, 70)
    buffer.write(estimate(9))
    settle(results)
    results.finish({}, partial=False)
    assert list(layer.contrast_limits) == [3, 70]


def test_contrast_is_exact_at_the_end(results):
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {})
    buffer.write(estimate(1))
    results.flush()
    buffer.write(estimate(30))
    results.finish({}, partial=False)
    assert layer.contrast_limits[1] == pytest.approx(30 * 478, rel=0.01)
    assert layer.colormap.name == "magma", "told from gray data at a glance"


def test_large_results_live_on_disk_and_leave_with_their_buffer(results, monkeypatch):
    monkeypatch.setattr(buffers, "free_memory", lambda device: 4000)
    buffer = OutputBuffer(spec("TZYX", (2, *SHAPE)))
    folder = buffer._folder
    assert buffer.on_disk and os.path.isdir(folder)
    (layer,) = results.open(buffer, "volume", {})
    buffer.write(BlockReady("volume", (slice(1, 2), *block(3).slices), block(3).array[None]))
    results.flush()
    assert np.asarray(layer.data[1, 3]).max() == 79 * 5 and np.asarray(layer.data[0]).max() == 0
    results.finish({}, partial=True)
    assert layer.contrast_limits[1] > 1
    results.close()
    del buffer
    gc.collect()
    assert np.asarray(layer.data[1, 3]).max() == 79 * 5, "the layer keeps its data"
    other = OutputBuffer(spec())
    folder = other._folder
    del other
    gc.collect()
    assert not os.path.exists(folder)


def test_channels_become_layers(results):
    buffer = OutputBuffer(spec("CZYX", (3, *SHAPE)))
    layers = results.open(buffer, "cells", {})
    assert [item.name for item in layers] == [f"cells · channel {c}" for c in range(3)]
    assert len({item.colormap.name for item in layers}) == 3 and {item.blending for item in layers} == {"additive"}
    array = np.stack([np.full(SHAPE, c + 1.0) for c in range(3)])
    buffer.write(BlockReady("volume", tuple(slice(None) for _ in range(4)), array))
    assert [float(item.data.max()) for item in layers] == [1, 2, 3]


def test_labels_are_labels_with_their_own_dtype(results):
    (layer,) = results.open(OutputBuffer(spec(kind="labels", dtype="int32")), "cells", {})
    assert layer._type_string == "labels" and layer.data.dtype == np.int32


def test_three_wide_results_are_no_colour_pictures(results):
    (layer,) = results.open(OutputBuffer(spec("ZYX", (6, 8, 3))), "narrow", {})
    assert not layer.rgb and layer.ndim == 3


def test_the_users_tool_stays_in_hand(results, viewer):
    shapes = viewer.add_shapes(None, ndim=2)
    shapes.mode = "add_rectangle"
    results.open(OutputBuffer(spec()), "volume", {})
    assert viewer.layers.selection.active is shapes and set(viewer.layers.selection) == {shapes}
    assert shapes.mode == "add_rectangle"


def test_brightness_ignores_few_very_bright_voxels():
    array = np.ones((100, 100), np.float32)
    array[50] = 2
    array[3, 3] = 1e6
    low, high, least, most = brightness(array, exact=True)
    assert (low, high, least, most) == (1, 2, 1, 1e6)


def test_a_result_covers_nothing_before_it_holds_something(results, viewer):
    data = viewer.add_image(np.ones(SHAPE))
    buffer = OutputBuffer(spec())
    (layer,) = results.open(buffer, "volume", {}, parent=data)
    results.flush()
    assert layer.opacity == 0
    buffer.write(block(2))
    results.flush()
    assert layer.opacity == 1
    results.finish({}, partial=False)
    (other,) = results.open(OutputBuffer(spec()), "volume", {}, parent=data)
    other.opacity = 0.4  # the user wants to see it
    assert results.finish({}, partial=False) == (other,) and other.opacity == 0.4
