from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from superqt.utils import WorkerBase

from napari_recon.core.provenance import KEY
from napari_recon.widgets.light_sheet import LightSheetWidget
from napari_recon.widgets.light_sheet_steps import MULTIVIEW, STEPS
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def opened(viewer: Any, sample: str) -> tuple[Any, LightSheetWidget]:
    viewer.open_sample("napari-recon", sample)
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Light sheet")
    assert isinstance(dock, LightSheetWidget)
    return dock_widget, dock


def pressed(dock: LightSheetWidget, qtbot: Any, button: Any = None) -> Any:
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=120000) as done:
        (button or dock.run_bar.run_button).click()
    assert done.args[0].error is None
    return done.args[0]


def correlation(layer: Any, truth: Any) -> float:
    """Correlation of a volume with the truth where both are, in world coordinates."""
    from scipy.ndimage import map_coordinates

    world = np.indices(layer.data.shape).reshape(3, -1).T * layer.scale + layer.translate
    at = ((world - truth.translate) / truth.scale).T
    inside = np.all((at >= 0) & (at <= np.array(truth.data.shape)[:, None] - 1), axis=0)
    expected = map_coordinates(np.asarray(truth.data), at[:, inside], order=1)
    return float(np.corrcoef(expected, np.asarray(layer.data).reshape(-1)[inside])[0, 1])


@pytest.mark.slow
def test_from_the_sample_to_the_fused_volume_in_two_clicks(viewer: Any, qtbot: Any) -> None:
    _, dock = opened(viewer, "light_sheet")
    raw, truth = viewer.layers[:2]
    assert dock.data.layer is raw and dock.stepper.ticked() == [0, 1, 2, 3, 4]
    qtbot.waitUntil(lambda: not dock.planner.busy, timeout=20000)
    dock.all_button.click()
    rows = dock.stepper.rows
    qtbot.waitUntil(lambda: rows[4].state in ("done", "failed") and dock.controller.state == "idle", timeout=180000)
    assert [row.state for row in rows] == ["done", "done", "skipped", "done", "done"], [row.line.text() for row in rows]
    layers = {layer.name.rpartition(" · ")[2]: layer for layer in viewer.layers}
    fused = layers["Fused"]
    better = correlation(fused, truth)
    assert better > 0.1 + max(correlation(layers[name], truth) for name in ("view A", "view B"))
    assert list(fused.metadata[KEY]["recipe"]["steps"][0]["params"]["psf_angle_deg"]) == [-30.8, 30.8]


def test_the_two_views_are_fused_by_the_one_button_that_is_left(viewer: Any, qtbot: Any) -> None:
    dock_widget, dock = opened(viewer, "dual_view")
    assert dock.engine == MULTIVIEW and dock.data.layer.name == "view A" and dock.psf.kind == "layers"
    result = pressed(dock, qtbot)
    assert "reduced deviance" in dock.stepper.rows[4].line.text()
    truth = viewer.layers["views, ground truth"]
    assert correlation(result.layers[0], truth) > correlation(viewer.layers["view A"], truth) + 0.05
    window = viewer.window._qt_window
    from qtpy.QtCore import Qt

    window.resize(1200, 768)
    for width in (300, 400):
        window.resizeDocks([dock_widget], [width], Qt.Orientation.Horizontal)
        for at in range(len(STEPS)):
            dock.open_step(at)
            qtbot.wait(20)
            assert dock.form.width() <= dock.scroll.viewport().width() + 1 and dock.height() <= 768


def test_a_drawn_box_is_previewed_and_deskewed_in_its_place(viewer: Any, qtbot: Any) -> None:
    _, dock = opened(viewer, "light_sheet")
    raw = dock.data.layer
    dock.open_step(1)
    dock._region_section.set_open(True)
    dock.region.draw_button.click()
    viewer.layers.selection.active.add_rectangles([[7.6, 49.6], [19.4, 61.4]])
    (layer,) = pressed(dock, qtbot, dock.run_bar.preview_button).layers
    assert "direction forward" in dock.stepper.rows[1].line.text()
    (whole,) = pressed(dock, qtbot).layers
    assert layer.data.shape[1] == whole.data.shape[1] == 12 and whole.data.max() > 0
    np.testing.assert_allclose(layer.translate[1], raw.data_to_world((0, 8, 0))[1], atol=1e-9)


def test_taking_the_dock_out_in_the_middle_of_a_run_stops_it_soon(viewer: Any, qtbot: Any) -> None:
    _, dock = opened(viewer, "dual_view")
    dock.settings.change({"iterations": 2000, "update": "plain"})
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(dock.curves._points), timeout=60000)
    ended: list[str] = []
    dock.controller._worker.aborted.connect(lambda: ended.append("in the middle"))
    viewer.window.remove_dock_widget(dock)
    WorkerBase.await_workers(60_000)
    qtbot.waitUntil(lambda: bool(ended))
    viewer.layers.clear()
    assert len(viewer.layers) == 0
