from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from napari_recon.engines.sim.layout import ORDERS, Layout
from napari_recon.engines.sim.wiener import SimWiener
from napari_recon.widgets.live_panel import LivePanel
from napari_recon.widgets.sim_compare import SimComparePanel
from napari_recon.widgets.sim_frames import FramesPanel, swapped
from napari_recon.widgets.sim_pattern import PatternPanel, calibration_in


def raw(pages: int, axes: str = "NYX") -> ImageStack:
    data = np.random.default_rng(0).random((pages, 20, 24), dtype=np.float32)
    return ImageStack(data, Grid.of(axes, data.shape), "raw")


@pytest.fixture
def frames(qtbot: Any) -> Any:
    made = FramesPanel()
    qtbot.addWidget(made)
    made.show()
    yield made
    made.let_go()


def shown(panel: FramesPanel, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not panel.planner.busy, timeout=5000)


def test_rows_are_angles_columns_are_phases_and_cells_name_their_page(frames: FramesPanel, qtbot: Any) -> None:
    stack = raw(15)
    frames.show_pages(stack, Layout(3, 5), "pa")
    shown(frames, qtbot)
    assert set(frames.cells) == {(a, p) for a in range(3) for p in range(5)}
    assert frames.cells[1, 2].toolTip() == "angle 2, phase 3, page 8"  # the angle changes fastest
    assert "3 angles × 5 phases" in frames.line.text() and "the angle changes fastest" in frames.line.text()
    before = frames.cells[0, 0].pixmap().toImage()
    frames.stripes_box.click()
    shown(frames, qtbot)
    assert frames.cells[0, 0].pixmap().toImage() != before
    frames.show_pages(stack, Layout(5, 3), "ap")
    shown(frames, qtbot)
    assert len(frames.cells) == 15 and (4, 2) in frames.cells
    frames.show_pages(None, Layout(3, 3), "ap")
    assert not frames.cells and not frames.line.text()


def test_what_does_not_fit_is_said_and_what_would_is_a_button(frames: FramesPanel, qtbot: Any) -> None:
    proposed: list[Any] = []
    frames.proposed.connect(proposed.append)
    frames.show_pages(raw(10), Layout(3, 3), "ap")
    assert "10" in frames.line.text() and "9 pages" in frames.line.text() and not frames.cells
    frames._buttons.itemAt(0).widget().click()
    assert proposed == [{"angles": 2, "phases": 5}]
    frames.recognise(raw(15), Layout(3, 3), "ap")
    assert proposed[1:] == [{"angles": 3, "phases": 5}]
    frames.recognise(raw(18), Layout(3, 3), "ap")  # two images of nine pages
    assert len(proposed) == 2


def test_series_in_words_and_swapping(frames: FramesPanel, qtbot: Any) -> None:
    proposed: list[Any] = []
    frames.proposed.connect(proposed.append)
    frames.show_pages(raw(45), Layout(3, 3), "ap")
    shown(frames, qtbot)
    assert frames.line.text().startswith("45 pages: 5 time points of 3 angles × 3 phases")
    frames.swap_button.click()
    assert proposed == [{"frame_order": "pa"}]


@pytest.mark.parametrize("order", ORDERS)
def test_swapping_twice_is_nothing(order: str) -> None:
    assert swapped(swapped(order)) == order and swapped(order) != order


def calibration(*carriers: Carrier) -> Calibration:
    groups = tuple(Group(frames=(3 * i, 3 * i + 1, 3 * i + 2), carriers=(c,)) for i, c in enumerate(carriers))
    optics = {"na": 1.2, "wavelength_um": 0.525, "pixel_um": (0.08, 0.08), "shape_yx": (64, 64)}
    return Calibration(**optics, angles=len(carriers), phases=3, groups=groups)


def carrier(verdict: str = "clear", modulation: float = 0.62) -> Carrier:
    return Carrier(
        k_per_um=(3.0, 2.0), modulation=modulation, phases_rad=(0.0, 2.0944, 4.1888), peak_to_noise=23, verdict=verdict
    )


def test_verdicts_have_signs_numbers_and_remarks(qtbot: Any) -> None:
    panel = PatternPanel()
    qtbot.addWidget(panel)
    panel.show()
    panel.show_calibration(calibration(carrier(), carrier("found, weak; more light")))
    _head, first, second = panel.rows
    assert [label.text() for label in first] == ["✓ angle 1", "3.606", "0.79", "0.62", "23"]
    assert second[0].text() == "⚠ angle 2" and second[-1].text() == "⚠ found, weak; more light"
    assert "120°" in first[0].toolTip()
    assert panel.summary.property("level") == "warning" and "1.8 ×" in panel.summary.text()
    panel.show_calibration(calibration(carrier()))
    assert len(panel.rows) == 2 and panel.summary.text().startswith("✓ Pattern found")
    panel.show_problem("pattern not found: expected a carrier")
    assert not panel.rows and panel.summary.property("level") == "error"
    panel.clear()
    assert not panel.summary.text()


def test_angle_menu_follows_the_layout(qtbot: Any) -> None:
    panel = PatternPanel()
    qtbot.addWidget(panel)
    panel.set_angles(5)
    panel.angle_combo.setCurrentIndex(4)
    assert panel.angle_combo.count() == 6 and panel.angle == 3
    panel.set_angles(5)
    assert panel.angle == 3  # nothing changed, nothing is reset
    panel.set_angles(1)
    assert panel.angle is None


def test_calibrations_are_found_in_artifacts() -> None:
    found = calibration(carrier())
    plain = found.model_dump(mode="json")
    assert calibration_in(plain) == found == calibration_in({"calibration": plain})
    assert calibration_in({"angles": []}) is None and calibration_in("a path") is None
    assert calibration_in({"groups": []}) is None


def test_sliders_cover_their_range_evenly_or_in_the_logarithm(qtbot: Any) -> None:
    panel = LivePanel({"wiener": (0.001, 1.0)})
    qtbot.addWidget(panel)
    panel.set_model(SimWiener.Params)
    assert set(panel.rows) == {"wiener", "attenuation_strength", "attenuation_fwhm"}
    moved: list[Any] = []
    panel.moved.connect(moved.append)
    wiener = panel.rows["wiener"]
    panel.show_values({"wiener": "auto", "attenuation_strength": 0.5})
    assert wiener.auto.isChecked() and not moved
    panel.show_automatic({"wiener": 0.01})
    assert wiener.value_label.text() == "0.01" and wiener.value == pytest.approx(0.01, rel=0.02)
    wiener.slider.setValue(250)
    assert moved == [{"wiener": pytest.approx(0.0316, rel=0.01)}] and not wiener.auto.isChecked()
    panel.show_automatic({"wiener": 0.5})  # no longer automatic
    assert wiener.value_label.text() == "0.0316"
    wiener.auto.click()
    assert moved[-1] == {"wiener": "auto"}
    assert panel.rows["attenuation_strength"].value == 0.5


def test_numbers_of_a_comparison_replace_those_of_the_same_method(qtbot: Any) -> None:
    panel = SimComparePanel()
    qtbot.addWidget(panel)
    panel.show()
    good = {"verdict": "explains", "agrees": True, "normalised_rms": 0.083, "in_band": 0.4, "share_of_field": 0.0}
    panel.show_numbers("Wiener", good)
    panel.show_numbers("Network", {**good, "agrees": False, "verdict": "differs", "share_of_field": 0.12})
    texts = [label.text() for label in panel.rows["Network"]]
    assert texts == ["⚠ Network", "8.3 %", "0.40", "12 %", "⚠ differs"]
    panel.show_numbers("Network", good)
    assert next(label.text() for label in panel.rows["Network"]) == "✓ Network" and len(panel.rows) == 2


def test_sliders_stay_usable_in_a_narrow_dock(qtbot: Any) -> None:
    panel = LivePanel({"wiener": (0.001, 1.0)})
    qtbot.addWidget(panel)
    panel.set_model(SimWiener.Params)
    panel.show_values({"wiener": "auto", "attenuation_strength": 0.5, "attenuation_fwhm": 1.2})
    panel.resize(270, 120)
    panel.show()
    assert panel.width() == 270 and all(row.slider.width() >= 80 for row in panel.rows.values())
    panel.resize(500, 120)
    label = panel.rows["attenuation_strength"].label
    qtbot.waitUntil(lambda: label.width() >= label.fontMetrics().horizontalAdvance("Attenuation strength"))
