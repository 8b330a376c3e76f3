"""Buffers and layers: what is refreshed when, how bright it is shown, where large results live."""

from __future__ import annotations

import gc
import platform
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_recon.core.events import BlockReady
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io import open_stack, read_provenance
from napari_recon.viewer import buffers, preferences
from napari_recon.viewer.buffers import OutputBuffer, brightness
from napari_recon.viewer.job import Job
from napari_recon.viewer.large_results import buffer_for
from napari_recon.viewer.results import ResultLayers
from napari_recon.viewer.stored import StoredLevel

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


@pytest.fixture
def small_levels(monkeypatch):
    """Files get coarser levels that are up to date after every block."""
    monkeypatch.setattr("napari_recon.io.pyramid.SMALL", 4)
    monkeypatch.setattr("napari_recon.io.omezarr.LEVELS_SHARE", 1e9)


def test_a_result_in_a_file_shows_all_its_levels_while_it_is_written(results, viewer, qtbot, tmp_path, small_levels):
    path = tmp_path / "volume.ome.zarr"
    buffer = OutputBuffer(spec("TZYX", (2, *SHAPE)), path=path)
    (layer,) = results.open(buffer, "volume", {})
    assert layer.multiscale and [level.shape[2:] for level in layer.data] == [(8, 10), (4, 5), (2, 3)]
    viewer.dims.set_point((0, 1), (1, 3))
    seen = refreshes(layer)
    buffer.write(BlockReady("volume", (slice(1, 2), *block(3).slices), block(3).array[None]))
    results.flush()
    qtbot.waitUntil(lambda: len(seen) == 1)
    assert not path.exists(), "nothing half-written has its name"
    assert all(np.asarray(level[1]).any() and not np.asarray(level[0]).any() for level in layer.data)
    buffer.end({"engine": "fake"}, partial=False)
    results.finish({}, partial=False)
    assert layer.metadata["napari-recon-path"] == str(path) and layer.contrast_limits[1] > 1
    np.testing.assert_array_equal(open_stack(path).data[1], layer.data[0][1])
    buffer.end({}, partial=True)
    assert read_provenance(path) == {"engine": "fake"}


def test_what_is_on_display_is_read_beside_the_viewer(results, viewer, qtbot, tmp_path, monkeypatch, small_levels):
    buffer = OutputBuffer(spec(), path=tmp_path / "volume.ome.zarr")
    (layer,) = results.open(buffer, "volume", {})
    viewer.dims.set_point(0, 2)
    readers = []
    read = StoredLevel._read
    monkeypatch.setattr(StoredLevel, "_read", lambda *args: readers.append(threading.current_thread()) or read(*args))
    seen = refreshes(layer)
    buffer.write(block(2))
    results.flush()
    qtbot.waitUntil(lambda: bool(seen))
    assert readers and threading.main_thread() not in readers


def test_a_partial_result_in_a_file_is_called_so(tmp_path):
    path = tmp_path / "volume.ome.zarr"
    buffer = OutputBuffer(spec(), path=path)
    buffer.write(block(0))
    buffer.end({}, partial=True)
    assert [p.name for p in tmp_path.iterdir()] == ["volume.partial.ome.zarr"]
    OutputBuffer(spec(), path=path).end({}, partial=True)
    assert len(list(tmp_path.iterdir())) == 1, "nothing was written, nothing is left"


def _fill_and_look(results, buffer) -> None:
    layers = results.open(buffer, "volume", {})
    buffer.write(BlockReady("volume", (slice(0, 2), *block(3).slices), np.stack([block(3).array, 2 * block(3).array])))
    buffer.end({}, partial=False)
    results.finish({}, partial=False)
    results.close()
    assert [np.asarray(layer.data[0][3]).max() for layer in layers] == [395, 790]


def test_results_too_large_for_memory_leave_with_their_layers(viewer, results, monkeypatch, tmp_path, small_levels):
    monkeypatch.setattr(buffers, "free_memory", lambda device: 4000)
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path))
    job, plan = Job(lambda: None, title="a · b"), SimpleNamespace(engine="fake", outputs=())
    assert not buffer_for(replace(job, preview=True), plan, spec("CZYX", (2, *SHAPE)), None).on_disk
    dead = tmp_path / "results" / f"{platform.node()}~999999999~x"
    dead.mkdir(parents=True)
    buffer = buffer_for(job, plan, spec("CZYX", (2, *SHAPE)), None)
    assert buffer.on_disk and "until its layers are removed" in buffer.where and not dead.exists()
    _fill_and_look(results, buffer)
    del buffer
    gc.collect()
    assert list((tmp_path / "results").iterdir()), "as long as a layer shows it"
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 4)))  # napari holds the layer that was selected last
    gc.collect()
    assert not list((tmp_path / "results").iterdir())
    monkeypatch.setattr(preferences, "results_folder", lambda: str(tmp_path))
    assert buffer_for(job, plan, spec("CZYX", (2, *SHAPE)), None).where == f"in {tmp_path / 'a_b.ome.zarr'}"


def test_a_level_is_indexed_as_an_array(tmp_path):
    parent = Grid.of("TVYX", (3, 4, 8, 10))
    buffer = OutputBuffer(spec("TCYX", (3, 2, 8, 10)), parent, tmp_path / "a.ome.zarr")
    image = np.random.default_rng(0).random((3, 2, 8, 10)).astype(np.float32)
    buffer.write(BlockReady("volume", (slice(None),) * 4, image))
    level, array = buffer.arrays[1], image[:, 1][:, None]
    assert level.shape == array.shape == (3, 1, 8, 10) and level.ndim == 4 and level.size == array.size
    for key in (2, (1, 0), (slice(1, 3), 0, slice(2, 7, 2), 3), (..., 1), (-1, ..., slice(None, 4)), np.int64(1)):
        np.testing.assert_array_equal(level[key], array[key])
    np.testing.assert_array_equal(np.asarray(level), array)


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
