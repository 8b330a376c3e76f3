"""Raw microlens pictures in the Light field dock: realigned, their lenslets shown and corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_recon.engines.serenet.realigning.lenslets import LensletGrid
from napari_recon.viewer.lenslet_layer import corrected, grid_of_rows, lenslets_on, show_lenslets
from napari_recon.widgets.light_field import LightFieldWidget
from tests.engines.serenet.lenslet_pictures import lenslet_picture

GRID = LensletGrid(7.13, 0.8, (31.0, 36.5))


def rows_of(grid: LensletGrid) -> list[dict[str, float]]:
    numbers = [(i, j) for i in range(8) for j in range(9)]
    places = grid.places(np.array(numbers, dtype=float) - 4)
    return [{"row": i, "column": j, "y": y, "x": x} for (i, j), (y, x) in zip(numbers, places.tolist(), strict=True)]


def raw_layer() -> Image:
    picture = np.rint(500 * lenslet_picture((58, 66), GRID, [], 1.0, samples=2))
    return Image(picture, name="raw", scale=(6.5, 6.5), translate=(10, 20), units=("um", "um"))


def test_a_raw_picture_is_realigned_and_its_lenslets_shown(viewer: ViewerModel, qtbot: Any) -> None:
    dock = LightFieldWidget(viewer)
    qtbot.addWidget(dock)
    raw = viewer.add_layer(raw_layer())
    assert not dock.run_bar.offer_button.isHidden() and "ealign" in dock.run_bar.offer_button.text()
    dock.run_bar.offer_button.click()
    assert dock.engine == "serenet.realign" and dock.data.layer is raw and dock.data.axes == "YX"
    dock.settings.change({"nnum": 7})
    with qtbot.waitSignal(dock.controller.finished, timeout=20000) as done:
        qtbot.waitUntil(lambda: not dock.planner.busy, timeout=10000)
        dock.start_run()
    views = done.args[0].layers[0]
    assert views.data.shape == (49, 8, 9)
    circles = lenslets_on(viewer, raw)
    assert circles is not None and len(circles.data) == 72
    # circles lie where the picture shows lenslets, in its own coordinates
    np.testing.assert_allclose(circles.data_to_world(circles.data[0]), raw.data_to_world(circles.data[0]), atol=1e-6)
    assert not dock.raw.isHidden()
    assert viewer.dims.current_step[0] == 24, "the view through the middle of the pupil is shown"
    dock.run_bar.offer_button.click()
    assert not circles.visible
    assert dock.engine == "deconvolution.lightfield_rl" and dock.data.layer is views
    dock.let_go()


def test_nine_pages_are_taken_for_a_scan(viewer: ViewerModel, qtbot: Any) -> None:
    dock = LightFieldWidget(viewer)
    qtbot.addWidget(dock)
    viewer.add_layer(Image(np.ones((9, 60, 60)), name="scanned"))
    dock.raw.start()
    assert dock.settings.values()["scanning"] == 3 and "set Scanning to 1" in dock.run_bar.message_line.text()
    dock.let_go()


def test_views_of_another_microscope_are_no_raw_pictures(viewer: ViewerModel, qtbot: Any) -> None:
    dock = LightFieldWidget(viewer)
    qtbot.addWidget(dock)
    for pages, offered in ((9, True), (225, False)):
        dock.run_bar.offer_button.hide()
        dock.data.combo.prefer(viewer.add_layer(Image(np.ones((pages, 20, 20)), name=f"{pages} pages")))
        dock._offer_fix("the light field should have 169 views; realign it to one page per view")
        assert dock.run_bar.offer_button.isHidden() != offered
    dock.let_go()


def test_dragged_circles_give_the_grid(viewer: ViewerModel) -> None:
    raw = viewer.add_layer(raw_layer())
    circles = show_lenslets(viewer, raw, rows_of(GRID))
    assert circles is not None
    same = corrected(circles)
    assert same["pitch_px"] == pytest.approx(GRID.pitch_px, abs=1e-4)
    assert same["rotation_deg"] == pytest.approx(GRID.rotation_deg, abs=1e-3)
    other = LensletGrid(7.2, 1.1, (32.0, 36.0))
    places, new = circles.data.copy(), np.array([(r["y"], r["x"]) for r in rows_of(other)])
    for number in (0, 8, 40, 63, 71):
        places[number] = new[number]
    circles.data = places
    found = corrected(circles)
    assert found["pitch_px"] == pytest.approx(7.2, rel=1e-3) and found["rotation_deg"] == pytest.approx(1.1, abs=0.02)
    away = other.lenslets(np.array(found["centre"]))
    np.testing.assert_allclose(away, np.rint(away), atol=0.02)
    again = show_lenslets(viewer, raw, rows_of(other))
    assert [layer for layer in viewer.layers if "lenslets" in layer.metadata] == [again]


def test_rows_of_lenslets_say_their_grid() -> None:
    grid = LensletGrid(9.3, -2.0, (40.0, 45.0), 1.01)
    found = grid_of_rows(rows_of(grid))
    assert found.pitch_px == pytest.approx(9.3) and found.rotation_deg == pytest.approx(-2.0)
    assert found.stretch == pytest.approx(1.01)
