from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from superqt.utils import WorkerBase

from napari_recon.viewer.neural_layer import live_field
from napari_recon.widgets.field4d import Field4DWidget
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def opened(viewer: Any) -> Field4DWidget:
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "4D field")
    assert isinstance(dock, Field4DWidget)
    return dock


def test_from_the_sample_to_the_first_result_are_two_clicks(viewer: Any, qtbot: Any) -> None:
    dock = opened(viewer)
    dock.data.sample_button.click()
    assert dock.data.layer.name == "moving cells" and not dock.data.problems
    qtbot.waitUntil(lambda: dock.run_bar.run_button.isEnabled() and not dock.planner.busy, timeout=20000)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(dock.controller.results.layers), timeout=30000)
    shown = dock.controller.results.layers[0]
    qtbot.waitUntil(lambda: float(np.asarray(shown.data).max()) > 0, timeout=60000)
    with qtbot.waitSignal(dock.controller.finished, timeout=10000):
        dock.run_bar.cancel_button.click()
    dock.let_go()


def test_a_box_is_fitted_and_scrubbed_beside_linear_and_the_truth(viewer: Any, qtbot: Any) -> None:
    viewer.open_sample("napari-recon", "moving_cells")
    dock = viewer.window.dock_widgets["4D field (napari-recon)"]
    dock.ways["cubic"].click()
    dock.region.draw_button.click()
    viewer.layers.selection.active.add_rectangles([[5.1, 6.1], [15.1, 18.1]])
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
    assert done.args[0].error is None
    qtbot.waitUntil(lambda: "Scrub" in dock.run_bar.offer_button.text(), timeout=20000)
    dock.run_bar.offer_button.click()
    qtbot.waitUntil(lambda: dock.beside.layer is not None, timeout=20000)
    field = dock.beside.layer
    low, high = field.extent.world
    np.testing.assert_allclose(low[-2:], (2.5, 3.0), atol=0.4)
    np.testing.assert_allclose(high[-2:], (7.5, 9.0), atol=0.4)
    dock.scrub.go_to(4)
    dock.scrub.beside["Linear"].click()
    dock.scrub.beside["Truth"].click()
    qtbot.waitUntil(
        lambda: "linear" in dock.scrub.beside_line.text() and "truth" in dock.scrub.beside_line.text(), timeout=30000
    )
    assert viewer.canvas.grid.enabled and [layer.visible for layer in viewer.layers].count(True) == 3
    qtbot.waitUntil(lambda: live_field(field).exact, timeout=20000)
    dock.tabs.setCurrentIndex(0)
    assert not viewer.canvas.grid.enabled
    dock.let_go()


def test_taking_the_dock_out_in_the_middle_of_a_fit_stops_it_soon(viewer: Any, qtbot: Any) -> None:
    dock = opened(viewer)
    dock.data.sample_button.click()
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "running", timeout=60000)
    ended: list[str] = []
    dock.controller._worker.aborted.connect(lambda: ended.append("in the middle"))
    viewer.window.remove_dock_widget(dock)
    WorkerBase.await_workers(60_000)
    qtbot.waitUntil(lambda: bool(ended))
    viewer.layers.clear()
    assert len(viewer.layers) == 0
