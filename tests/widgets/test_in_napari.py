from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from npe2 import PluginManifest

from napari_recon.core.provenance import KEY
from napari_recon.io import open_stack, read_provenance
from napari_recon.widgets.light_field import LightFieldWidget
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any) -> Any:
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def test_sample_opens_data_and_dock_and_a_box_becomes_a_volume_in_place(viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.random.default_rng(0).random((49, 15, 15)), name="what was open before")
    viewer.open_sample("napari-recon", "lightfield")
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Light field")
    assert isinstance(dock, LightFieldWidget)
    raw = dock.data.layer
    qtbot.waitUntil(lambda: viewer.layers.selection.active is raw)
    assert raw.name == "light field" and dock.data.axes == "TVYX" and dock.data.reason() == ""
    dock.settings.set_values({"iterations": 2, "planes": 5})
    dock.region.draw_button.click()
    viewer.layers.selection.active.add_rectangles([[11.6, 11.6], [23.4, 23.4]])
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.preview_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.preview_button.click()
    result = done.args[0]
    assert result.error is None
    (volume,) = result.layers
    assert volume.metadata[KEY]["engine"] == "deconvolution.lightfield_rl"
    assert volume.data.max() > 0
    edge = raw.data_to_world((0, 0, 12, 12))[-2:] - raw.scale[-2:] / 2
    found = volume.data_to_world(np.zeros(volume.ndim))[-2:] - volume.scale[-2:] / 2
    np.testing.assert_allclose(found, edge, atol=volume.scale[-1])
    dock.let_go()


def test_theme_3d_view_and_other_layers_do_not_disturb_the_dock(viewer: Any, qtbot: Any) -> None:
    _, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Light field")
    raw = viewer.add_layer(Image(np.random.default_rng(0).random((49, 15, 15)), scale=(1, 1, 1), name="raw"))
    viewer.theme = "light"
    viewer.dims.ndisplay = 3
    assert not dock.region.draw_button.isEnabled() and dock.region.draw_button.toolTip()
    viewer.dims.ndisplay = 2
    assert dock.region.draw_button.isEnabled()
    viewer.add_points(np.zeros((2, 2)))
    viewer.add_labels(np.zeros((4, 4), int))
    assert dock.data.layer is raw
    viewer.layers.remove(raw)
    assert dock.data.layer is None and not dock.run_bar.run_button.isEnabled()
    dock.let_go()


def test_saving_keeps_scale_and_provenance(viewer: Any, tmp_path: Path) -> None:
    layer = viewer.add_image(
        np.random.default_rng(0).random((3, 4, 5), dtype=np.float32),
        scale=(2, 0.5, 0.5),
        units="um",
        metadata={KEY: {"engine": "x"}},
    )
    for name in ("a.ome.tif", "b.ome.zarr"):
        assert layer.save(str(tmp_path / name), plugin="napari-recon")
        stack = open_stack(str(tmp_path / name))
        assert stack.grid.scale[-3:] == (2.0, 0.5, 0.5)
        assert (read_provenance(tmp_path / name) or {}).get("engine") == "x"
