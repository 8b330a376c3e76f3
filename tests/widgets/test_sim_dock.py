from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit
from superqt.utils import WorkerBase

from napari_recon import hub
from napari_recon import run as run_engine
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.widgets.sim import SimWidget
from tests.engines.sim.sim_data import Stack, simulate
from tests.widgets.conftest import planned

OPEN_DOCK = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_recon.widgets.sim import SimWidget
viewer = ViewerModel()
dock = SimWidget(viewer)
dock.show()
import numpy as np
viewer.add_image(np.random.rand(9, 45, 45).astype("f4"), scale=(1, .05, .05), units=("pixel", "um", "um"))
import time
until = time.monotonic() + 20
while (not dock.frames.cells or dock.planner.busy) and time.monotonic() < until:
    app.processEvents()
assert dock.frames.cells
for at in range(dock.method_combo.count()):
    dock.choose_method(dock.method_combo.itemData(at))
    app.processEvents()
dock.close()
heavy = {"torch", "pyqtgraph", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_opening_and_thumbnails_import_no_torch(tmp_path: Path) -> None:
    env = {**os.environ, "NAPARI_RECON_CONFIG": str(tmp_path), "NAPARI_RECON_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN_DOCK], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def truth() -> Stack:
    return simulate(5, n=96, photons=2000)


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any) -> Iterator[SimWidget]:
    made = SimWidget(viewer)
    qtbot.addWidget(made)
    made.resize(380, 1600)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def add(viewer: ViewerModel, truth: Stack, frames: Any = None, optics: bool = True) -> Any:
    data = truth.frames if frames is None else frames
    outer = data.ndim - 2
    place = {"scale": (1,) * outer + (truth.pixel_um,) * 2, "units": ("pixel",) * outer + ("um", "um")}
    known = {"optics": {"na": (truth.na,), "wavelength_um": (truth.wavelength_um,)}} if optics else {}
    return viewer.add_layer(Image(data, name="raw", metadata=known, **place))


def finished(dock: SimWidget, qtbot: Any, press: Any) -> Any:
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=10000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        press()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    return done.args[0]


def settled(dock: SimWidget, qtbot: Any) -> None:
    view = dock.adjuster.view
    qtbot.waitUntil(lambda: view._session is not None and view._call is None and view._wanted is None, timeout=30000)


def test_pages_are_recognised_and_the_form_follows(dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    add(viewer, truth, np.random.default_rng(0).random((15, 40, 40), dtype=np.float32))
    assert (dock.settings.values()["angles"], dock.settings.values()["phases"]) == (3, 5)
    qtbot.waitUntil(lambda: len(dock.frames.cells) == 15, timeout=5000)
    dock.settings.change({"phases": 4})
    assert not dock.frames.cells and "15" in dock.frames.line.text()
    dock.frames._buttons.itemAt(0).widget().click()
    assert dock.settings.values()["phases"] == 5


@pytest.mark.parametrize(("axes", "images"), [("APYX", 1), ("ZAPYX", 2), ("APZYX", 2)])
def test_angles_and_phases_may_be_axes_of_their_own(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any, axes: str, images: int
) -> None:
    sets = np.broadcast_to(truth.frames.reshape(3, 3, *truth.frames.shape[1:]), (images, 3, 3, *truth.frames.shape[1:]))
    data = {"APYX": sets[0], "ZAPYX": sets, "APZYX": np.moveaxis(sets, 0, 2)}[axes]
    add(viewer, truth, np.array(data))
    dock.data.axes_edit.selectAll()
    qtbot.keyClicks(dock.data.axes_edit, axes)
    qtbot.keyClick(dock.data.axes_edit, Qt.Key.Key_Return)
    assert dock.data.axes == axes and dock.data.reason() == ""
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=10000)
    (result,) = finished(dock, qtbot, dock.run_bar.run_button.click).layers
    assert result.data.size == images * 4 * truth.frames[0].size


def test_missing_optics_are_asked_for_where_they_are_typed(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    layer = add(viewer, truth, optics=False)
    planned(dock, qtbot)
    assert "numerical aperture and the emission wavelength" in dock.optics_line.text()
    assert not dock.run_bar.run_button.isEnabled() and "na" in dock.run_bar.run_button.toolTip()
    field = dock.settings.form.fields["na"]
    assert field.isVisible() and dock.optics_rows.isAncestorOf(field)
    check, box = field.inputs()
    check.click()
    box.set_value(truth.na)
    box.edited.emit()
    assert "aperture" not in dock.optics_line.text() and "wavelength" in dock.optics_line.text()
    layer.metadata["optics"] = {"wavelength_um": (truth.wavelength_um,)}
    dock.data.changed.emit()
    planned(dock, qtbot)
    assert not dock.optics_line.text() and dock.run_bar.run_button.isEnabled()
    assert dock.settings.form.fields["wavelength_um"].inner.value() == truth.wavelength_um


def test_data_without_pixel_size_are_not_run(dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    viewer.add_layer(Image(truth.frames, name="raw"))
    qtbot.waitUntil(lambda: len(dock.frames.cells) == 9, timeout=5000)  # what there is can be looked at
    assert "pixel size" in dock.run_bar.run_button.toolTip() and dock.data.pixel_row.isVisible()


def test_run_shows_the_verdict_and_sliders_change_the_result_in_place(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth)
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None
    (layer,) = result.layers
    assert dock.pattern.summary.text().startswith("✓ Pattern found at every angle") and len(dock.pattern.rows) == 4
    assert dock.adjust_fold.isVisible()
    # what the file says stays on show
    assert dock.settings.form.fields["na"].findChild(QLineEdit).text() == f"{truth.na:g}"
    settled(dock, qtbot)
    before = np.array(layer.data)
    shown: list[float] = []
    dock.adjuster.view.shown.connect(shown.append)
    with qtbot.waitSignal(dock.adjuster.view.rested, timeout=20000):
        for value in range(300, 401, 10):
            dock.live.rows["wiener"].slider.setValue(value)
    settled(dock, qtbot)
    wiener = dock.settings.values()["wiener"]
    assert isinstance(wiener, float) and not np.allclose(layer.data, before)
    assert 1 <= len(shown) < 11  # values that were passed by are not computed
    assert layer.metadata[KEY]["recipe"]["steps"][-1]["params"]["wiener"] == wiener
    grid = dock.data.stack().grid
    params = {"na": truth.na, "wavelength_um": truth.wavelength_um, "wiener": wiener}
    again = run_engine("sim.wiener", ImageStack(truth.frames, grid, "raw"), params=params)
    np.testing.assert_allclose(layer.data, again.outputs["sr"].data, rtol=0, atol=1e-4 * before.max())
    moved = dock.live.rows["wiener"].value
    dock.live.rows["wiener"].auto.click()
    settled(dock, qtbot)
    np.testing.assert_allclose(layer.data, before, rtol=0, atol=1e-4 * before.max())
    automatic = result.provenance["recipe"]["steps"][-1]["params"]["wiener"]
    assert dock.live.rows["wiener"].value == pytest.approx(automatic, rel=0.02) != moved


def test_settings_that_are_not_live_wait_for_the_next_run(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth)
    (layer,) = finished(dock, qtbot, dock.run_bar.run_button.click).layers
    settled(dock, qtbot)
    before = np.array(layer.data)
    dock.settings.change({"camera_offset": 90.0, "wiener": 0.5})
    assert "Reconstruct applies" in dock.live.line.text()
    qtbot.wait(100)
    np.testing.assert_array_equal(layer.data, before)
    dock.choose_method("simulate.sim")
    assert not dock.adjust_fold.isVisible()


def test_of_a_series_the_frame_on_show_is_adjusted_in_a_layer_of_its_own(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth, np.stack([truth.frames, truth.frames[:, ::-1], truth.frames]))
    (layer,) = finished(dock, qtbot, dock.run_bar.run_button.click).layers
    before, count = np.array(layer.data), len(viewer.layers)
    viewer.dims.set_current_step(0, 0)
    with qtbot.waitSignal(dock.adjuster.view.rested, timeout=20000):
        dock.live.rows["wiener"].slider.setValue(450)
    np.testing.assert_array_equal(layer.data, before)
    adjusted = viewer.layers[-1]
    assert len(viewer.layers) == count + 1 and adjusted.data.shape == before.shape[-2:]
    first = np.array(adjusted.data)
    assert first.any()
    viewer.dims.set_current_step(0, 1)
    settled(dock, qtbot)
    assert not np.allclose(adjusted.data, first)
    viewer.layers.remove(adjusted)
    assert not dock.adjuster.view.active
    viewer.layers.remove(layer)
    assert not dock.adjust_fold.isVisible()


def test_time_points_in_the_pages_have_a_range_and_a_preview(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    layer = add(viewer, truth, np.concatenate([truth.frames, truth.frames[:, ::-1], truth.frames]))
    assert dock.region.rows["T"].isVisible() and dock.region.rows["T"].bounds() == (0, 3)
    viewer.dims.set_current_step(0, 13)  # a page of the second time point
    result = finished(dock, qtbot, dock.run_bar.preview_button.click)
    assert result.error is None and result.plan.selection.time.start == 1 and result.plan.frames == 1
    dock.region.frame_button.click()
    assert dock.region.rows["T"].bounds() == (1, 2)
    dock.settings.change({"wiener": 0.1})
    assert dock.region.rows["T"].bounds() == (1, 2)  # the region survives other settings
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.plan.frames == 1 and result.plan.starts == {"T": 1}
    settled(dock, qtbot)
    assert layer in viewer.layers


def test_compare_runs_both_methods_and_checks_each(dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    if not [card for card in hub.catalogue("sim.network") if card.available]:
        pytest.skip("there is no built-in network")
    add(viewer, truth)
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.compare.compare_button.isEnabled(), timeout=10000)
    with qtbot.waitSignal(dock.comparison.ended, timeout=120000):
        dock.compare.compare_button.click()
    assert list(dock.compare.rows) == ["Wiener SIM", "Network SIM"]
    results = [x for x in viewer.layers if x.metadata.get(KEY, {}).get("output") == "sr"]
    assert [x.metadata[KEY]["engine"] for x in results] == ["sim.wiener", "sim.network"]
    shown = [x for x in viewer.layers if x.visible]
    assert len(shown) == 4 and viewer.canvas.grid.shape == (2, 2)
    assert ["significance" in x.name for x in shown] == [False, True, False, True]  # each beside its result
    first, second = (x for x in shown if "significance" in x.name)
    first.contrast_limits = (-3, 3)
    assert tuple(second.contrast_limits) == (-3, 3)
    for layer in shown[1:]:
        assert viewer.canvas.grid.enabled
        viewer.layers.remove(layer)
        if layer is shown[2]:
            break
    assert not viewer.canvas.grid.enabled and viewer.layers["raw"].visible  # no pair is left to look at


def test_a_cancelled_comparison_stops_there(dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    add(viewer, truth)
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.compare.compare_button.isEnabled(), timeout=10000)
    dock.compare.compare_button.click()
    assert not dock.compare.compare_button.isEnabled()
    dock.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=30000)
    qtbot.wait(50)
    assert dock.controller.state == "idle" and not dock.compare.rows
    assert dock.compare.compare_button.isEnabled() and not viewer.canvas.grid.enabled


def test_results_of_other_data_are_not_checked_against_these(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth)
    (result,) = finished(dock, qtbot, dock.run_bar.run_button.click).layers
    path = dock._calibration_path()
    assert dock.compare.check_button.isEnabled() and path is not None
    other = add(viewer, truth)
    dock.data.combo.choose(other)
    viewer.layers.selection.active = result
    assert not dock.compare.check_button.isEnabled() and dock._calibration_path() is None


def test_a_simulation_and_other_data_leave_the_pattern_alone(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    layer = add(viewer, truth)
    finished(dock, qtbot, dock.run_bar.run_button.click)
    said, path = dock.pattern.summary.text(), dock._calibration_path()
    assert path is not None and said
    kept = Path(path).read_text()
    dock.choose_method("simulate.sim")
    dock.settings.change({"height": 64, "width": 64, "photons": 50.0})
    assert finished(dock, qtbot, dock.run_bar.run_button.click).error is None
    dock.choose_method("sim.wiener")
    assert dock.data.layer is layer and dock.pattern.summary.text() == said and Path(path).read_text() == kept
    viewer.layers.clear()
    assert dock.pattern.summary.text() == "" and not dock.pattern.rows and dock._calibration_path() is None


def test_what_was_said_of_other_data_goes(dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    swapped = truth.frames.reshape(3, 3, *truth.frames.shape[1:]).swapaxes(0, 1).reshape(truth.frames.shape)
    layer = add(viewer, truth, swapped)
    assert finished(dock, qtbot, dock.run_bar.run_button.click).error is not None
    assert dock.run_bar.message_line.text() and dock.run_bar.offer_button.isVisible()
    viewer.layers.remove(layer)
    assert not dock.run_bar.message_line.text() and not dock.run_bar.offer_button.isVisible()


def test_swapped_order_is_noticed_and_one_click_mends_it(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth, np.ascontiguousarray(truth.frames.reshape(3, 3, 96, 96).swapaxes(0, 1).reshape(9, 96, 96)))
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is not None
    button = dock.run_bar.offer_button
    assert button.isVisible() and button.text() == "Set frame order to pa"
    button.click()
    assert dock.settings.values()["frame_order"] == "pa"
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None and len(result.layers) == 1


def test_spectrum_follows_the_settings_and_leaves_nothing_behind(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    layer = add(viewer, truth)
    dock.pattern.button.click()
    qtbot.waitUntil(lambda: dock.spectrum.carriers is not None, timeout=30000)
    assert len(dock.spectrum.carriers.data) == 6 and dock.pattern.rows
    radius = dock.spectrum.circle.data[0].max()
    dock.settings.change({"na": 1.0})
    qtbot.waitUntil(lambda: dock.spectrum.circle.data[0].max() < radius, timeout=10000)
    assert dock.spectrum.circle.data[0].max() == pytest.approx(2 / truth.wavelength_um)
    dock.settings.change({"na": truth.na, "frame_order": "pa"})
    qtbot.waitUntil(lambda: dock.spectrum.carriers is None, timeout=10000)
    assert "frame_order=ap" in dock.pattern.summary.text()
    assert dock.run_bar.offer_button.text() == "Set frame order to ap"
    dock.pattern.button.click()
    assert list(viewer.layers) == [layer]


def test_checking_a_result_shows_where_the_raw_frames_disagree(
    dock: SimWidget, viewer: ViewerModel, truth: Stack, qtbot: Any
) -> None:
    add(viewer, truth)
    assert not dock.compare.check_button.isEnabled()
    finished(dock, qtbot, dock.run_bar.run_button.click)
    assert dock.compare.check_button.isEnabled()
    with qtbot.waitSignal(dock.comparison.ended, timeout=60000):
        dock.compare.check_button.click()
    assert list(dock.compare.rows) == ["Wiener SIM"]
    significance = next(x for x in viewer.layers if "significance" in x.name)
    assert viewer.canvas.grid.enabled and significance.visible and significance.data.shape[-2:] == (96, 96)
    dock.compare.side_button.click()
    assert not viewer.canvas.grid.enabled and not significance.visible


def test_methods_that_make_their_own_data_ask_for_none(dock: SimWidget, viewer: ViewerModel, qtbot: Any) -> None:
    dock.choose_method("simulate.sim")
    assert not dock.frames.isVisible() and not dock.data.welcome.isVisible()
    assert dock.run_bar.run_button.text() == "Simulate" and not dock.run_bar.preview_button.isEnabled()
    dock.settings.change({"height": 64, "width": 64})
    qtbot.waitUntil(lambda: not dock.planner.busy and "once it runs" in dock.estimate.line.text(), timeout=10000)
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None
    assert [layer.visible for layer in result.layers] == [True] + [False] * (len(result.layers) - 1)
    dock.choose_method("sim.wiener")
    assert dock.data.axes == "NYX" and dock.data.reason() == "" and not dock.optics_line.text()


def test_microscope_and_layout_are_shared_by_the_methods(dock: SimWidget, viewer: ViewerModel, truth: Stack) -> None:
    add(viewer, truth)
    dock.settings.change({"na": 1.15, "frame_order": "pa"})
    dock.choose_method("sim.network")
    assert dock.settings.values()["na"] == 1.15 and dock.settings.values()["frame_order"] == "pa"
    assert dock.optics_rows.isAncestorOf(dock.settings.form.fields["na"])
    dock.choose_method("simulate.sim")
    dock.choose_method("sim.wiener")
    assert dock.settings.values()["na"] == 1.15


@pytest.mark.parametrize("method", ["sim.wiener", "sim.network"])
def test_tab_goes_down_the_dock(dock: SimWidget, viewer: ViewerModel, truth: Stack, method: str) -> None:
    add(viewer, truth)
    dock.choose_method(method)
    stops: list[Any] = []
    widget = dock.method_combo
    while widget not in stops:
        stops.append(widget)
        widget = widget.nextInFocusChain()
    order = [dock.data.axes_edit, dock.frames.swap_button, dock.frame_rows, dock.optics_rows, dock.pattern.button]
    order += [dock.compare.compare_button, *(row.slider for row in dock.live.rows.values()), dock.run_bar.run_button]
    at = [next(n for n, w in enumerate(stops) if w is part or (part.isAncestorOf(w) and w.isVisible())) for part in order]
    assert at == sorted(at)


def test_letting_go_removes_what_was_drawn(viewer: ViewerModel, truth: Stack, qtbot: Any) -> None:
    dock = SimWidget(viewer)
    qtbot.addWidget(dock)
    layer = add(viewer, truth)
    dock.pattern.button.click()
    qtbot.waitUntil(lambda: dock.spectrum.circle is not None, timeout=30000)
    dock.let_go()
    assert list(viewer.layers) == [layer]
    viewer.dims.set_current_step(0, 3)
    viewer.layers.remove(layer)
    WorkerBase.await_workers(60_000)
