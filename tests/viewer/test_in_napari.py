"""The real viewer: canvas, window, docks, closing."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box, Region
from napari_recon.viewer import commands, plugin
from napari_recon.viewer.region_layer import RegionLayer
from napari_recon.viewer.run import RunController
from tests.viewer.conftest import job_of, run, views, wait_for_workers

pytestmark = pytest.mark.gl
KEY = "napari-recon"


@pytest.fixture
def window(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    notification_manager.records.clear()
    yield viewer
    for controller in list(commands._controllers.values()):
        controller.close()
    wait_for_workers()


def complaints() -> list[str]:
    return [str(record) for record in notification_manager.records if str(record.severity) in ("warning", "error")]


def test_a_run_is_seen_in_2d_and_3d(window, qtbot):
    layer = window.add_layer(views((5, 32, 32), bright=(10, 20)))
    controller = RunController(window)
    controller.start([job_of(layer, delay=0.2, planes=5)])
    qtbot.waitUntil(lambda: len(window.layers) == 2 and window.layers[1].data[0].any(), timeout=5000)
    window.dims.ndisplay = 3
    qtbot.wait(100)
    window.layers.remove(layer)
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    made = window.layers[0]
    assert made.data[4].any()
    window.reset_view()
    picture = window.screenshot(canvas_only=True, flash=False)
    assert picture[..., :3].max() > 60, "the volume is drawn"
    assert complaints() == []
    controller.close()


def test_units_raise_no_complaint_with_region_and_result(window, qtbot):
    layer = window.add_layer(views((5, 32, 32)))
    region = Region()
    drawn = RegionLayer(window, layer, region, "VYX")
    region.box = Box(y=(2, 20), x=(3, 25))
    controller = RunController(window)
    (result,) = run(controller, qtbot, job_of(layer))
    plan = result.plan
    drawn.show_computed(plan.whole["volume"], Box(z=(0, 2), y=(4, 40), x=(6, 50)))
    window.dims.ndisplay = 3
    qtbot.wait(100)
    window.dims.ndisplay = 2
    qtbot.wait(100)
    assert complaints() == []
    drawn.close()
    controller.close()


@pytest.mark.parametrize("with_box", [False, True])
def test_removing_the_region_does_not_crash_the_canvas(window, qtbot, with_box):
    layer = window.add_layer(views((5, 64, 64)))
    region = Region()
    drawn = RegionLayer(window, layer, region, "VYX")
    if with_box:
        window.dims.ndisplay = 3
        drawn.show_computed(Grid.of("ZYX", (3, 128, 128)), Box(z=(0, 2), y=(4, 40), x=(6, 50)))
    else:
        region.box = Box(y=(2, 20), x=(3, 25))
    qtbot.wait(300)
    window.layers.remove(window.layers[1])
    window.add_image(np.zeros((3, 128, 128), np.float32))
    qtbot.wait(300)
    drawn.close()
    assert window.screenshot(flash=False).size


def test_from_view_follows_the_camera(window, qtbot):
    layer = window.add_layer(views((5, 400, 400), scale=(1, 0.5, 0.5), translate=(0, 0, 0)))
    region = Region()
    drawn = RegionLayer(window, layer, region, "VYX")
    window.camera.center = (0, 100, 50)
    window.camera.zoom = 20
    qtbot.wait(200)
    qtbot.waitUntil(drawn.from_view)
    (y0, y1), (x0, x1) = region.box.y, region.box.x
    assert (y0 + y1) / 2 == pytest.approx(200, abs=2) and (x0 + x1) / 2 == pytest.approx(100, abs=2)
    assert 0 < y0 and y1 < 400
    drawn.close()


def test_closing_the_window_during_a_run_stops_it_quietly(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    notification_manager.records.clear()
    layer = viewer.add_layer(views())
    controller = RunController(viewer)
    states: list = []
    controller.state_changed.connect(states.append)
    controller.start([job_of(layer, delay=1.0, planes=100), job_of(layer)])
    qtbot.waitUntil(lambda: controller.state == "running" and len(viewer.layers) == 2, timeout=5000)
    token = controller._run.token
    viewer.close()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=3000)
    assert token.cancelled and states[-1] == "idle" and controller.queued == []
    assert complaints() == []


def test_how_it_was_made_is_a_dock(window, qtbot):
    layer = window.add_layer(views())
    controller = RunController(window)
    run(controller, qtbot, job_of(layer))
    page = commands.show_how_made(window)
    assert "fake.planes" in page.toPlainText()
    qtbot.waitUntil(page.isVisible, timeout=2000)
    controller.close()


def test_a_sample_opens_its_dock_before_its_layers(window, qtbot, monkeypatch):
    order: list = []
    monkeypatch.setattr(plugin, "open_dock", lambda viewer, engine: order.append((engine, len(viewer.layers))))
    layers = plugin.sample_light_field()
    assert order == [("deconvolution.lightfield_rl", 0)] and len(layers) == 2


def test_a_layer_made_lazily_from_disk_is_drawn(window, qtbot, monkeypatch):
    monkeypatch.setattr("napari_recon.viewer.buffers.free_memory", lambda device: 1000)
    layer = window.add_layer(views((5, 32, 32)))
    controller = RunController(window)
    (result,) = run(controller, qtbot, job_of(layer))
    (made,) = result.layers
    assert not isinstance(made.data, np.ndarray) and np.asarray(made.data[2]).max() == 300
    window.dims.ndisplay = 3
    qtbot.wait(100)
    assert complaints() == []
    controller.close()
