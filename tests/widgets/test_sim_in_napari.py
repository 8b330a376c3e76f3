from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_recon.core.provenance import KEY
from napari_recon.widgets.sim import SimWidget
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any) -> Any:
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def test_sample_spectrum_box_and_sliders_in_the_real_viewer(viewer: Any, qtbot: Any) -> None:
    viewer.open_sample("napari-recon", "sim")
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "SIM")
    assert isinstance(dock, SimWidget)
    raw = dock.data.layer
    assert dock.data.axes == "NYX" and dock.data.reason() == "" and not dock.optics_line.text()
    dock.pattern.button.click()
    qtbot.waitUntil(lambda: dock.spectrum.carriers is not None, timeout=60000)
    assert len(dock.spectrum.carriers.data) == 6
    dock.pattern.button.click()
    dock.region.draw_button.click()
    corner = raw.data_to_world((0, 40, 50))[-2:]
    viewer.layers.selection.active.add_rectangles([corner, np.add(corner, 40 * raw.scale[-2:])])
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
    result = done.args[0]
    assert result.error is None
    (layer,) = result.layers
    y, x = (bounds[0] for _, bounds in result.plan.selection.box.items())
    np.testing.assert_allclose(layer.translate[-2:], raw.data_to_world((0, y / 2, x / 2))[-2:], atol=1e-9)
    view = dock.adjuster.view
    qtbot.waitUntil(lambda: view._session is not None and view._call is None, timeout=60000)
    before = np.array(layer.data)
    with qtbot.waitSignal(view.rested, timeout=20000):
        dock.live.rows["wiener"].slider.setValue(480)
    assert np.abs(layer.data - before).max() > 0.01 * before.max()
    assert layer.metadata[KEY]["adjusted"]["wiener"] == dock.settings.values()["wiener"]
    dock.let_go()
