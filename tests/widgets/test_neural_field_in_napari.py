from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_recon.viewer.queue import job_queue
from napari_recon.widgets.neural_field import QUERY, NeuralFieldWidget
from tests.engines.lightfield_inr.scenes import stacks
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]
NAMES = {"T": "time", "V": "view", "Z": "z", "Y": "y", "X": "x"}


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def opened(viewer: Any, frames: int = 1) -> NeuralFieldWidget:
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Neural field")
    assert isinstance(dock, NeuralFieldWidget)
    for name, stack in stacks(frames).items():
        grid = stack.grid
        labels = tuple(NAMES[a] for a in grid.axes)
        units = tuple("um" if a in "ZYX" else "pixel" for a in grid.axes)
        place = {"scale": grid.scale, "translate": grid.translate, "units": units, "axis_labels": labels}
        viewer.add_image(np.asarray(stack.data), name=name, visible=name != "psf", **place)
    return dock


def pressed(dock: NeuralFieldWidget, qtbot: Any) -> Any:
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert done.args[0].error is None
    return done.args[0]


def test_fit_draw_a_box_on_it_and_query_it_finer_in_the_real_viewer(viewer: Any, qtbot: Any) -> None:
    dock = opened(viewer)
    (volume,) = pressed(dock, qtbot).layers
    assert volume.data.max() > 0 and dock.verdict.reports
    qtbot.waitUntil(lambda: bool(dock._fitted), timeout=10000)
    dock.choose_method(QUERY)
    qtbot.waitUntil(lambda: dock._lattice is not None and not dock.planner.busy, timeout=20000)
    dock.settings.change({"scale": 2.0})
    dock.region.draw_button.click()
    viewer.layers.selection.active.add_rectangles([[4.6, 5.6], [10.4, 11.4]])
    (layer,) = pressed(dock, qtbot).layers
    np.testing.assert_allclose(layer.scale[-3:], np.array(volume.scale[-3:]) / 2)
    middle = volume.data_to_world((1, 7, 8))
    at = tuple(np.rint(layer.world_to_data(middle)).astype(int))
    np.testing.assert_allclose(layer.data_to_world(at), middle, atol=1e-9)
    assert layer.data[at] == pytest.approx(volume.data[1, 7, 8], rel=1e-5)
    assert layer.data.shape[-1] < 20
    dock.let_go()


def test_a_fit_goes_on_without_its_dock_until_the_queue_stops_it(viewer: Any, qtbot: Any) -> None:
    dock = opened(viewer)
    dock.settings.change({"iterations": 10**6})
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: "loss" in dock.curves._points, timeout=60000)
    viewer.window.remove_dock_widget(dock)
    (entry,) = [e for e in job_queue().entries if e.active]
    job_queue().cancel(entry)
    qtbot.waitUntil(lambda: not entry.active)
    assert any(layer.name.endswith("Fit (partial)") for layer in viewer.layers)
    viewer.layers.clear()
    assert len(viewer.layers) == 0


def test_from_the_sample_to_the_first_volume_are_two_clicks(viewer: Any, qtbot: Any) -> None:
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Neural field")
    dock.data.sample_button.click()
    assert "PSF" in dock.psf.layer.name and "PSF" not in dock.data.layer.name and dock.data.axes == "TVYX"
    qtbot.waitUntil(lambda: dock.run_bar.run_button.isEnabled() and not dock.planner.busy, timeout=20000)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(dock.controller.results.layers), timeout=30000)
    volume = dock.controller.results.layers[0]
    qtbot.waitUntil(lambda: float(volume.data[0].max()) > 0, timeout=60000)
    truth = next(layer for layer in viewer.layers if "truth" in layer.name)
    np.testing.assert_allclose(volume.translate[-3:], truth.translate[-3:])
    np.testing.assert_allclose(volume.scale[-3:], truth.scale[-3:])
    with qtbot.waitSignal(dock.controller.finished) as done:
        dock.run_bar.cancel_button.click()
    assert done.args[0].partial
    dock.let_go()
