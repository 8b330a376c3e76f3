from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog, QFormLayout
from superqt.utils import WorkerBase

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.provenance import KEY
from napari_recon.io import open_stack, read_provenance
from napari_recon.viewer.psf_picture import psf_picture, shown_views
from napari_recon.widgets.microscope import MicroscopePanel, microscope_facts
from tests.engines.simulate.microscopes import SMALL


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: Any) -> Iterator[MicroscopePanel]:
    made = MicroscopePanel(viewer)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def small(panel: MicroscopePanel, qtbot: Any, **params: Any) -> None:
    panel.settings.set_values(SMALL | params)
    qtbot.waitUntil(lambda: not panel.planner.busy, timeout=5000)


def facts(panel: MicroscopePanel) -> dict[str, str]:
    role = QFormLayout.ItemRole
    rows = [
        [panel._facts.itemAt(row, part) for part in (role.LabelRole, role.FieldRole)]
        for row in range(panel._facts.rowCount())
    ]
    return {label.widget().text(): shown.widget().text() for label, shown in rows}


def made_psf(panel: MicroscopePanel, qtbot: Any) -> Any:
    with qtbot.waitSignal(panel.made, timeout=30000) as signal:
        panel.bar.run_button.click()
    return signal.args[0]


def test_numbers_that_follow_change_with_those_typed(panel: MicroscopePanel, qtbot: Any) -> None:
    assert facts(panel)["Pixel in sample"] == "0.217 µm"  # the published microscope
    assert facts(panel)["Magnification"] == "30 ×"
    box = panel.settings.form.fields["magnification"].box
    box.set_value(50)
    box.edited.emit()
    assert facts(panel)["Pixel in sample"] == "0.434 µm"
    panel.set_kind("simulate.lfm_psf")
    assert facts(panel)["Microlens in sample"] == "1.59 µm"


def test_a_psf_becomes_a_layer_a_picture_and_a_file(
    panel: MicroscopePanel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(panel, qtbot)
    assert "7 × 3 × " in panel._size_line.text() and panel.save_button.isHidden()
    layer = made_psf(panel, qtbot)
    assert layer in panel.viewer.layers and panel.layer is layer and layer.visible
    assert layer.axis_labels == ("view", "z", "y", "x") and layer.data.shape[:2] == (7, 3)
    assert layer.scale[-1] == pytest.approx(0.6566, rel=1e-3) and layer.metadata[KEY]["engine"] == "simulate.flfm_psf"
    np.testing.assert_allclose(layer.data_to_world([0, 1, *(n // 2 for n in layer.data.shape[2:])])[-3:], 0, atol=1e-9)
    assert panel.picture.pixmap().width() > 200 and "views 2, 3 and 4" in panel.picture.accessibleDescription()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a: (str(tmp_path / "mine.ome.tif"), ""))
    panel.save_button.click()
    qtbot.waitUntil(lambda: "saved" in panel.bar.message_line.text(), timeout=5000)
    saved = open_stack(tmp_path / "mine.ome.tif")
    np.testing.assert_array_equal(saved.data[:], layer.data)
    assert saved.grid.scale[-1] == pytest.approx(layer.scale[-1]) and saved.grid.axes == "VZYX"
    assert (read_provenance(tmp_path / "mine.ome.tif") or {})["engine"] == "simulate.flfm_psf"


def test_beside_data_the_psf_is_out_of_sight_and_the_camera_stays(panel: MicroscopePanel, qtbot: Any) -> None:
    views = panel.viewer.add_image(np.ones((2, 7, 40, 40)), scale=(1, 1, 0.5, 0.5), units=("s", "um", "um", "um"))
    panel.viewer.camera.center, panel.viewer.camera.zoom = (0, 7, 9), 3.0
    small(panel, qtbot)
    layer = made_psf(panel, qtbot)
    assert not layer.visible and views.visible
    assert panel.viewer.camera.zoom == 3.0 and tuple(panel.viewer.camera.center) == (0, 7, 9)


def test_cancelling_makes_nothing(panel: MicroscopePanel, qtbot: Any) -> None:
    small(panel, qtbot, samples=1023, depth_from_um=-60.0, depth_to_um=60.0)
    ended: list[Any] = []
    made: list[Any] = []
    panel.controller.finished.connect(ended.append)
    panel.made.connect(made.append)
    panel.bar.run_button.click()
    qtbot.waitUntil(lambda: panel.controller.state == "running", timeout=20000)
    panel.bar.cancel_button.click()
    qtbot.waitUntil(lambda: bool(ended), timeout=20000)
    assert ended[0].partial and not made and panel.save_button.isHidden()


def test_what_does_not_fit_is_said_and_mended_with_one_click(panel: MicroscopePanel, qtbot: Any) -> None:
    small(panel, qtbot, samples=254)
    assert "samples should be odd" in panel.estimate.line.text() and not panel.bar.run_button.isEnabled()
    assert "samples should be odd" in panel.bar.run_button.toolTip() and not facts(panel)
    panel.settings.change({"samples": 255, "radius": 5000})  # only planning finds this
    qtbot.waitUntil(lambda: "radius should be at most" in panel.estimate.line.text(), timeout=5000)
    panel.settings.change({"radius": 0})
    qtbot.waitUntil(lambda: not panel.planner.busy and panel.bar.run_button.isEnabled(), timeout=5000)
    panel.settings.change({"na": 1.5})
    assert "below the medium's index" in panel.estimate.line.text()


def test_a_psf_of_other_pixels_than_the_data_is_noticed_before_it_is_computed(panel: MicroscopePanel, qtbot: Any) -> None:
    small(panel, qtbot)
    made = panel.planner  # the plan says where the PSF will lie
    planned: list[Any] = []
    made.ready.connect(planned.append)
    panel.expect(Grid.of("VYX", (7, 9, 9), {"Y": 9.0, "X": 9.0}, units={"Y": "micrometer", "X": "micrometer"}))
    qtbot.waitUntil(lambda: bool(planned) and not made.busy, timeout=5000)
    plan = planned[-1].plans[0]
    own = plan.whole[plan.outputs[0].name]
    views = own.size("V")
    assert (f"{views} views" if views != 7 else "data 9 µm") in panel._misfit_line.text()
    assert panel.bar.run_button.isEnabled()  # it may be for other data
    panel.expect(own)
    qtbot.waitUntil(lambda: not made.busy and not panel._misfit_line.text(), timeout=5000)
    panel.expect(None)
    assert panel._misfit_line.isHidden()


def test_microscopes_are_presets_and_come_back(panel: MicroscopePanel, qtbot: Any, viewer: ViewerModel) -> None:
    small(panel, qtbot)
    panel.settings.save_button.click()
    panel.settings.name_edit.setText("our Fourier microscope")
    panel.settings._save()
    again = MicroscopePanel(viewer)
    qtbot.addWidget(again)
    combo = again.settings.preset_combo
    combo.setCurrentText("our Fourier microscope")
    combo.activated.emit(combo.currentIndex())
    assert again.settings.values()["pitch_um"] == 650.0
    again.let_go()


def test_settings_of_a_result_come_back(panel: MicroscopePanel, qtbot: Any, tmp_path: Path) -> None:
    file = tmp_path / "scope.yaml"
    file.write_text("engine: simulate.lfm_psf\nparams: {nnum: 15, pitch_um: 125.0}\n")
    panel.load_settings(str(file))
    assert panel.engine == "simulate.lfm_psf" and panel.settings.values()["nnum"] == 15
    file.write_text("engine: serenet.refocus\nparams: {}\n")
    with pytest.raises(InputError, match="a microscope was expected"):
        panel.load_settings(str(file))


def test_facts_of_the_published_microscopes() -> None:
    """Against formulas worked out by hand."""
    fourier = {name: value for name, value, _ in microscope_facts("simulate.flfm_psf", {})}
    assert fourier["Resolution"].startswith("≈ 0.628 µm")  # 0.51 / 2 / (1625 / (400000 / 180000) / 1800)
    assert fourier["Field of view"] == "⌀ 108 µm"  # 3250 * 400 / 120 / 100
    lenses = {name: value for name, value, _ in microscope_facts("simulate.lfm_psf", {})}
    assert lenses["Depth range"] == "± 17.4 µm"  # 171 * 0.525 * 1.518 / (4 * 1.96)
    assert lenses["Field of view"] == "122 µm per 1000 pixels"


def test_the_picture_shows_how_views_lean() -> None:
    psf = np.zeros((3, 5, 11, 11), np.float32)
    for view, lean in enumerate((-2, 0, 2)):
        for plane in range(5):
            psf[view, plane, 5, 5 + lean * (plane - 2)] = 1
    shifts = np.zeros((3, 5, 2))
    shifts[..., 1] = np.array([-2, 0, 2])[:, None] * np.arange(5)
    assert shown_views(shifts[::-1]) == (2, 1, 0)
    gray = psf_picture(psf, (0, 1, 2), pixels=22, z_over_x=1.0)
    assert gray.dtype == np.uint8 and gray.shape[1] == 3 * 22 + 2 * 2
    side = gray[24:, :22]
    assert side[0].argmax() > side[-1].argmax()  # deeper planes lie further left
    assert not psf_picture(np.zeros_like(psf), (1,), pixels=11)[:11].any()
