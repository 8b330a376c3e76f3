"""Stores that somebody else writes, shown as they grow."""

from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io.omezarr import ZarrOutput
from napari_recon.io.output import create_output
from napari_recon.viewer import growing
from napari_recon.viewer.growing import follow, is_growing
from tests.viewer.conftest import wait_for_workers

SHAPE = (3, 2, 8, 10)
RECORD = {"recipe": {"schema": 1, "steps": []}, "partial": False}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, qtbot):
    monkeypatch.setattr("napari_recon.io.pyramid.SMALL", 4)
    monkeypatch.setattr("napari_recon.io.omezarr.LEVELS_SHARE", 1e9)
    monkeypatch.setattr(growing, "LEAST_MS", 20)
    yield
    for follower in tuple(growing._following):
        follower.stop()
    wait_for_workers()


def spec(times: int = 3, axes: str = "TZYX") -> OutputSpec:
    grid = Grid.of("TZYX", (times, *SHAPE[1:]), {"Z": 4.0}, units=dict.fromkeys("ZYX", "micrometer"))
    return OutputSpec(name="volume", grid=grid)


def frame(file, time: int, value: float) -> None:
    array = np.arange(80, dtype=np.float32).reshape(1, 1, 8, 10).repeat(2, axis=1) * value
    file.write((slice(time, time + 1), *(slice(0, n) for n in SHAPE[1:])), array)
    file.settle()


def test_a_batchs_store_is_shown_grows_and_becomes_the_result(viewer, qtbot, tmp_path):
    store, target = tmp_path / ".napari-recon-batch" / "work" / "a" / "volume.ome.zarr", tmp_path / "a.ome.zarr"
    follower = follow(viewer, store, target, "cells")
    assert is_growing(store) and not is_growing(target)
    store.parent.mkdir(parents=True)
    file = ZarrOutput(target, spec(2), store, alone="T")
    qtbot.waitUntil(lambda: follower._looking is None)
    assert follower.layers == () and len(viewer.layers) == 0, "there is nothing to see yet"
    frame(file, 1, 1.0)
    qtbot.waitUntil(lambda: len(follower.layers) == 1)
    (layer,) = viewer.layers
    assert layer.name == "cells" and layer.multiscale and viewer.dims.point[0] == 1
    qtbot.waitUntil(lambda: layer.contrast_limits[1] > 50)
    frame(ZarrOutput(target, spec(3), store, alone="T"), 2, 2.0)
    qtbot.waitUntil(lambda: layer.data.shape[0] == 3 and viewer.dims.point[0] == 2)
    qtbot.waitUntil(lambda: float(layer._slice.image.raw.max()) > 100)
    assert follow(viewer, store, target, "cells", follower) is follower
    last = ZarrOutput(target, spec(3), store, alone="T")
    frame(last, 0, 3.0)
    last.finish(RECORD)
    qtbot.waitUntil(lambda: follower.stopped)
    assert follower.layers == (layer,) and layer.metadata["napari-recon-path"] == str(target)
    assert layer.metadata["napari-recon"]["recipe"] == RECORD["recipe"]
    assert [float(np.asarray(layer.data[0][t]).max()) for t in range(3)] == [237, 79, 158]


def test_the_layer_gives_way_to_that_of_a_newer_recording(viewer, qtbot, tmp_path):
    files = [ZarrOutput(tmp_path / f"{name}.ome.zarr", spec()) for name in "ab"]
    frame(files[0], 0, 1.0)
    first = follow(viewer, files[0].place)
    qtbot.waitUntil(lambda: bool(first.layers))
    assert viewer.layers[0].name == "a.ome.zarr" and is_growing(files[0].place)
    viewer.layers[0].colormap = "green"
    second = follow(viewer, files[1].place, follower=first)
    assert first.stopped and viewer.layers[0].name == "a.ome.zarr", "as long as there is nothing to see of the other"
    frame(files[1], 0, 1.0)
    qtbot.waitUntil(lambda: bool(second.layers))
    assert [layer.name for layer in viewer.layers] == ["b.ome.zarr"] and viewer.layers[0].colormap.name == "green"
    viewer.layers.clear()
    frame(files[1], 1, 1.0)
    qtbot.waitUntil(lambda: second.stopped)
    assert len(viewer.layers) == 0, "what somebody removed stays away"
    for file in files:
        file.discard()


def test_a_result_of_another_format_takes_the_place_of_its_store(viewer, qtbot, tmp_path):
    store, target = tmp_path / "g.ome.zarr", tmp_path / "a.ome.tif"
    file = ZarrOutput(target, spec(), store, alone="T")
    frame(file, 0, 1.0)
    follower = follow(viewer, store, target)
    qtbot.waitUntil(lambda: bool(follower.layers))
    viewer.layers[0].opacity = 0.5
    with create_output(target, spec()) as tiff:
        frame_of = np.ones(SHAPE, np.float32)
        tiff.write(tuple(slice(0, n) for n in SHAPE), frame_of)
        store.rename(tmp_path / "gone")
        tiff.finish(RECORD)
    qtbot.waitUntil(lambda: follower.stopped)
    (layer,) = viewer.layers
    assert layer.metadata["napari-recon-path"] == str(target) and layer.opacity == 0.5
