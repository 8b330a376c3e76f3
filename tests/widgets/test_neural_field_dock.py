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
from qtpy.QtCore import QPointF, Qt
from superqt.utils import WorkerBase

from napari_recon.core.provenance import KEY
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.neural_field import FIT, QUERY, NeuralFieldWidget
from tests.engines.lightfield_inr.scenes import stacks
from tests.viewer.conftest import rests
from tests.widgets.conftest import planned

OPEN_DOCK = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_recon.widgets.neural_field import NeuralFieldWidget
viewer = ViewerModel()
dock = NeuralFieldWidget(viewer)
dock.show()
import numpy as np
viewer.add_image(np.random.rand(4, 3, 5, 5), name="psf", axis_labels=("view", "z", "y", "x"))
viewer.add_image(np.random.rand(4, 25, 25), name="views")
import time
until = time.monotonic() + 20
while (not dock.views.montage.count or not dock.psf.montage.count or dock.planner.busy) and time.monotonic() < until:
    app.processEvents()
assert dock.views.montage.count == dock.psf.montage.count == 4
assert dock.run_bar.run_button.isEnabled(), dock.run_bar.run_button.toolTip()
dock.choose_method("lightfield_inr.query")
app.processEvents()
dock.close()
heavy = {"torch", "pyqtgraph", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_opening_pictures_and_planning_import_no_torch(tmp_path: Path) -> None:
    env = {**os.environ, "NAPARI_RECON_CONFIG": str(tmp_path), "NAPARI_RECON_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN_DOCK], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any) -> Iterator[NeuralFieldWidget]:
    made = NeuralFieldWidget(viewer)
    qtbot.addWidget(made)
    made.resize(380, 1600)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


NAMES = {"T": "time", "V": "view", "Z": "z", "Y": "y", "X": "x"}


def add(viewer: ViewerModel, frames: int = 1, psf: bool = True) -> tuple[Any, Any]:
    """Add the layers of a small scene: views (T)VYX and a PSF VZYX."""
    data, layers = stacks(frames), []
    for name in ("psf", "views") if psf else ("views",):
        grid = data[name].grid
        place = {"scale": grid.scale, "translate": grid.translate, "units": grid.units}
        labels = tuple(NAMES[a] for a in grid.axes)
        layers.append(viewer.add_layer(Image(np.asarray(data[name].data), name=name, axis_labels=labels, **place)))
    return layers[-1], layers[0]


def in_place(tzyx: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return an index with axes of length one behind T."""
    return (tzyx[0], *(0,) * (ndim - 4), *tzyx[1:])


def ready(dock: NeuralFieldWidget, qtbot: Any) -> None:
    qtbot.waitUntil(
        lambda: not dock.planner.busy and not dock.psf.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000
    )


def finished(dock: NeuralFieldWidget, qtbot: Any, press: Any) -> Any:
    ready(dock, qtbot)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        press()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    return done.args[0]


def until_refining(dock: NeuralFieldWidget, qtbot: Any, steps: int = 2) -> None:
    qtbot.waitUntil(lambda: len(dock.curves._points.get("loss", {}).get("", [])) >= steps, timeout=60000)


def test_layers_are_picked_up_and_the_first_fit_is_one_click_away(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    assert dock.data.sample_button.isVisible() and not dock.run_bar.run_button.isEnabled()
    views, psf = add(viewer)
    assert dock.data.layer is views and dock.psf.layer is psf
    ready(dock, qtbot)
    qtbot.waitUntil(lambda: dock.psf.montage.count == 4 and dock.views.montage.count == 4, timeout=5000)
    assert "4 views × 3 planes of 5 × 5 pixels" in dock.psf.line.text()
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None and not result.partial
    (volume,) = result.layers
    assert volume.data.shape == (3, 21, 17) and volume.data.max() > 0
    np.testing.assert_allclose(volume.scale, (1.5, 0.5, 0.5))
    np.testing.assert_allclose(volume.translate[-2:], views.translate[-2:])
    assert dock.verdict.isVisible() and dock.verdict.line.property("level") in ("good", "warning")
    names = [dock.curves.choice.itemText(n) for n in range(dock.curves.choice.count())]
    assert names == ["reduced deviance", "loss", "residual"]
    steps = [step for step, _ in dock.curves.curve("reduced deviance")]
    assert steps == sorted(set(steps))  # both stages are one curve


def test_psf_panel_says_what_is_wrong_and_what_is_mended(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer, psf=False)
    assert "PSF is missing" in dock.run_bar.run_button.toolTip() and dock.views.montage.count in (0, 4)
    good = np.asarray(stacks()["psf"].data)
    for data, said in (
        (np.pad(good, ((0, 0), (0, 0), (0, 6), (0, 0))), "off its centre"),
        (good - 0.1 * good.max(), "negative"),
        (30 * good, "it was scaled"),
        (good[..., :-1], "odd height and width"),
        (np.where(good > good.mean(), np.nan, good), "finite"),
    ):
        layer = viewer.add_layer(Image(data, name="psf", axis_labels=("view", "z", "y", "x")))
        dock.psf.combo.choose(layer)
        texts = [dock.psf.line]
        qtbot.waitUntil(lambda: dock.psf._look is not None, timeout=5000)
        texts += [dock.psf._said.itemAt(n).widget() for n in range(dock.psf._said.count())]
        assert any(said in line.text() for line in texts), (said, [line.text() for line in texts])
        usable = said in ("off its centre", "negative", "it was scaled")
        assert bool(dock.psf.problem()) != usable
    viewer.layers.remove(layer)
    assert dock.psf.layer is not layer


def test_depth_slider_shows_planes(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer)
    qtbot.waitUntil(lambda: dock.psf.montage.count == 4, timeout=5000)
    assert dock.psf.depth.text() == "all depths"
    dock.psf.slider.setValue(2)
    assert dock.psf.depth.text() == "+1.5 µm"


def test_psf_from_a_file_is_not_put_into_the_viewer(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    add(viewer, psf=False)
    np.save(tmp_path / "measured.npy", np.asarray(stacks()["psf"].data))
    dock.psf.take_file(str(tmp_path / "measured.npy"))
    assert "Wait" in dock.run_bar.run_button.toolTip()
    ready(dock, qtbot)
    assert len(viewer.layers) == 1 and dock.psf.combo.currentText() == "measured"
    assert dock.request().inputs["psf"][0].uri == str(tmp_path / "measured.npy")
    assert finished(dock, qtbot, dock.run_bar.run_button.click).error is None
    dock.psf.take_file(str(tmp_path / "none.npy"))
    qtbot.waitUntil(lambda: "none.npy" in dock.psf.line.text() and dock.psf._opening is None, timeout=5000)


def test_of_files_without_labels_the_one_called_psf_is_the_psf(dock: NeuralFieldWidget, viewer: ViewerModel) -> None:
    psf = viewer.add_layer(Image(np.ones((4, 3, 5, 5), np.float32), name="psf"))
    views = viewer.add_layer(Image(np.ones((2, 4, 15, 15), np.float32), name="recorded"))
    assert dock.data.layer is views and dock.psf.layer is psf


def test_nothing_is_cut_off_in_a_narrow_dock(dock: NeuralFieldWidget, qtbot: Any) -> None:
    for button in (dock.published_button, dock.fast_button):
        button.click()
        for fold in dock.findChildren(Fold):
            fold.set_open(True)
        qtbot.waitUntil(lambda: dock.form.minimumSizeHint().width() <= 270, timeout=2000)


def test_a_sensor_psf_is_cut_into_views(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer, psf=False)
    good = np.asarray(stacks()["psf"].data)
    sensor = np.zeros((3, 20, 24), np.float32)
    corners = [(2, 3), (2, 14), (12, 3), (12, 14)]
    for view, (row, column) in enumerate(corners):
        sensor[:, row : row + 5, column : column + 5] = good[view]
    layer = viewer.add_layer(Image(sensor, name="sensor psf", scale=(1.5, 0.5, 0.5), axis_labels=("z", "y", "x")))
    dock.psf.combo.choose(layer)
    assert dock.psf.cut.isVisible() and "cut it into views" in dock.run_bar.run_button.toolTip()
    viewer.add_points([(0.5 * (row + 2), 0.5 * (column + 2)) for row, column in corners])
    dock.psf.cut.combo.choose(viewer.layers[-1])
    dock.psf.cut.radius.setValue(2)
    dock.psf.cut.button.click()
    qtbot.waitUntil(lambda: dock.psf.montage.count == 4, timeout=5000)
    np.testing.assert_array_equal(dock.psf.value().data, good)
    dock.psf.combo.choose(layer)
    dock.psf.cut.radius.setValue(9)
    dock.psf.cut.button.click()
    assert "choose a radius up to" in dock.psf.line.text()


def test_the_microscope_panel_makes_the_psf(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    _, psf = add(viewer)
    assert dock.psf.microscope is None
    dock.psf.make_fold.button.click()
    qtbot.waitUntil(lambda: dock.psf.microscope.isVisible(), timeout=2000)
    viewer.layers.remove(psf)
    assert dock.psf.layer is None
    made = viewer.add_layer(Image(np.asarray(psf.data), name="PSF · Fourier", axis_labels=("view", "z", "y", "x")))
    dock.psf.microscope.made.emit(made)
    assert dock.psf.layer is made and not dock.psf.make_fold.is_open


def test_clicking_a_view_holds_it_out_and_its_error_is_a_curve(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    add(viewer)
    ready(dock, qtbot)
    montage = dock.views.montage
    qtbot.waitUntil(lambda: montage.count == 4, timeout=5000)
    qtbot.mouseClick(montage, Qt.MouseButton.LeftButton, pos=montage.cell(1).center().toPoint())
    assert dock.settings.values()["held_out"] == 1 and "View 1 is held out" in dock.views.line.text()
    finished(dock, qtbot, dock.run_bar.run_button.click)
    assert dock.curves.curve("held-out view")
    dock.settings.change({"refine_views": True})
    assert dock.settings.values()["held_out"] is None
    montage.setFocus()
    qtbot.keyClick(montage, Qt.Key.Key_Right)
    qtbot.keyClick(montage, Qt.Key.Key_Space)
    assert dock.settings.values()["held_out"] == 2 and not dock.settings.values()["refine_views"]
    qtbot.keyClick(montage, Qt.Key.Key_Space)
    assert dock.settings.values()["held_out"] is None
    assert montage.at(QPointF(-5, -5)) is None


def test_amber_light_has_a_remedy_and_displacements_are_shown(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    _, psf = add(viewer)
    psf.data = np.ascontiguousarray(np.asarray(psf.data)[::-1, ::-1, ::-1])
    dock.settings.change({"iterations": 25})
    finished(dock, qtbot, dock.run_bar.run_button.click)
    assert "PSF or positions look wrong" in dock.verdict.line.text() and dock.verdict.button.isVisible()
    assert dock.verdict.button.text() == "Refine view positions and fit again"
    result = finished(dock, qtbot, dock.verdict.button.click)
    assert result.plan.params["refine_views"] is True
    assert "moved farthest" in dock.views.line.text() and "moved by" in dock.views._tip(1)


def test_pause_and_cancel_are_quick_and_the_fit_goes_on_exactly(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    add(viewer)
    dock.settings.change({"iterations": 40})
    whole = finished(dock, qtbot, dock.run_bar.run_button.click).layers[0]
    ready(dock, qtbot)
    dock.settings.change({"iterations": 40})
    dock.run_bar.run_button.click()
    until_refining(dock, qtbot)
    dock.run_bar.pause_button.click()
    assert dock.controller.state == "paused"
    rests(qtbot, lambda: len(dock.curves.curve("loss")))
    with qtbot.waitSignal(dock.controller.finished, timeout=5000) as done:
        dock.run_bar.cancel_button.click()
    assert done.args[0].partial
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=5000)
    assert dock.run_bar.offer_button.isVisible() and "Contin" in dock.run_bar.offer_button.text()
    result = finished(dock, qtbot, dock.run_bar.offer_button.click)
    assert result.error is None and not result.partial
    np.testing.assert_array_equal(result.layers[0].data, whole.data)
    assert dock.settings.values()["resume"] == ""


def test_finish_now_keeps_what_there_is_as_a_whole_result(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer)
    dock.settings.change({"iterations": 2000})
    ready(dock, qtbot)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
        until_refining(dock, qtbot, 3)
        assert dock.run_bar.finish_button.isVisible()
        dock.run_bar.finish_button.click()
    result = done.args[0]
    assert not result.partial and "partial" not in result.layers[0].name
    steps = result.provenance["recipe"]["steps"][-1]["params"]["iterations"]
    assert 3 <= steps < 2000


def test_a_sequence_is_followed_until_somebody_moves_the_slider(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    add(viewer, 3)
    dock.settings.change({"iterations": 8})
    seen: list[int] = []
    viewer.dims.events.current_step.connect(lambda _: seen.append(viewer.dims.point[0] / 2.0))
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    volume = result.layers[0]
    assert volume.data.shape[0] == 3 and all(frame.max() > 0 for frame in np.asarray(volume.data).reshape(3, -1))
    assert seen == sorted(seen) and set(seen) <= {0, 1, 2} and seen[-1] == 2
    viewer.dims.set_point(0, 0.0)
    dock.controller.results.follow = True
    volume.data[1] = 0
    dock.controller.results._followed = 99.0  # where the slider was put, and is no more
    dock.controller.results._follow_time(volume, tuple(slice(1, 2) for _ in volume.data.shape))
    assert viewer.dims.point[0] == 0 and not dock.controller.results.follow


def test_a_time_range_is_fitted_and_queries_lie_on_it(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer, 3)
    ready(dock, qtbot)
    dock.region.rows["T"].set_bounds((1, 3))
    dock.region.rows["T"].changed.emit()
    dock.settings.change({"iterations": 4})
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    volume = result.layers[0]
    assert volume.data.shape[0] == 2
    qtbot.waitUntil(lambda: bool(dock._fitted), timeout=10000)
    dock.tabs.setCurrentIndex(1)
    assert dock.engine == QUERY and dock.model.card.id == dock._fitted and not dock.psf.isVisible()
    ready(dock, qtbot)
    assert dock.region.rows["T"].isVisible() and dock.region.rows["T"].bounds() == (0, 2)
    dock.settings.change({"scale": 2.0})
    dock.region.box_button.click()
    dock.region.rows["Y"].set_bounds((4, 9))
    dock.region.rows["X"].set_bounds((6, 16))
    dock.region.rows["X"].changed.emit()
    asked = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert asked.error is None
    (layer,) = asked.layers
    np.testing.assert_allclose(layer.scale[-3:], volume.scale[-3:] / 2)
    for place in ((0, 1, 4, 6), (1, 2, 8, 15)):  # every voxel of the box is where the volume has it, with its value
        world = volume.data_to_world(in_place(place, volume.ndim))
        at = tuple(np.rint(layer.world_to_data(world)).astype(int))
        np.testing.assert_allclose(layer.data_to_world(at), world, atol=1e-9)
        assert layer.data[at] == pytest.approx(volume.data[in_place(place, volume.ndim)], rel=1e-5, abs=1e-3)
    assert layer.data.shape[-1] in (20, 21, 22)  # the box, outward
    assert layer.metadata[KEY]["engine"] == QUERY
    preview = finished(dock, qtbot, dock.run_bar.preview_button.click)
    assert preview.error is None and preview.plan.frames == 1
    dock.tabs.setCurrentIndex(0)
    assert dock.engine == FIT and dock.psf.isVisible() and not dock.run_bar.preview_button.isVisible()


def test_as_published_shows_its_own_settings_and_forgets_those_of_the_fast_fit(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    add(viewer)
    form = dock.settings.form
    assert form.fields["penalty"].isVisible() and not form.fields["preset"].isVisible()
    dock.settings.change({"refine_views": True, "penalty": 0.5})
    dock.published_button.click()
    assert form.fields["preset"].isVisible() and not form.fields["penalty"].isVisible()
    params = dock.request().params
    assert params["method"] == "upstream" and params["refine_views"] is False and params["penalty"] == 0.02
    planned(dock, qtbot)
    assert dock.run_bar.run_button.isEnabled(), dock.run_bar.run_button.toolTip()
    dock.fast_button.click()
    assert dock.request().params["penalty"] == 0.5


def test_deleting_layers_and_closing_in_the_middle_is_safe(viewer: ViewerModel, qtbot: Any) -> None:
    dock = NeuralFieldWidget(viewer)
    qtbot.addWidget(dock)
    dock.show()
    views, psf = add(viewer)
    dock.settings.change({"iterations": 3000})
    ready(dock, qtbot)
    dock.run_bar.run_button.click()
    until_refining(dock, qtbot)
    for layer in (psf, views, *[x for x in viewer.layers if x not in (psf, views)]):
        viewer.layers.remove(layer)
        qtbot.wait(30)
    assert dock.controller.state == "running"
    dock.close()
    dock.controller.close()  # else the fit would go on without its dock
    WorkerBase.await_workers(60_000)
    qtbot.wait(50)
    assert not dock.views.planner.busy and len(viewer.layers) == 0
    viewer.add_image(np.zeros((3, 4, 5)))


def test_projections_ask_for_angles_and_no_psf(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer, psf=False)
    form = dock.settings.form
    assert form.fields["modality"].isVisible() and not form.fields["angles"].isVisible()
    dock.settings.change({"modality": "opt"})
    assert form.fields["angles"].isVisible() and not dock.psf.isVisible() and not form.fields["refine_views"].isVisible()
    qtbot.waitUntil(lambda: "angle" in dock.run_bar.run_button.toolTip(), timeout=10000)
    dock.settings.change({"angles": "0:180:45", "iterations": 3})
    result = finished(dock, qtbot, dock.run_bar.run_button.click)
    assert result.error is None and "psf" not in {ref.name for ref in result.plan.inputs}
    dock.settings.change({"modality": "fpm"})
    assert form.fields["leds"].isVisible() and not form.fields["angles"].isVisible()
    dock.settings.change({"modality": "lightfield"})
    assert dock.psf.isVisible() and dock.request() is None and "PSF is missing" in dock.run_bar.run_button.toolTip()


def test_a_fit_that_is_left_for_the_query_tab_can_still_be_gone_on_with(
    dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    add(viewer)
    dock.settings.change({"iterations": 3000})
    ready(dock, qtbot)
    dock.run_bar.run_button.click()
    until_refining(dock, qtbot)
    dock.tabs.setCurrentIndex(1)
    with qtbot.waitSignal(dock.controller.finished, timeout=5000):
        dock.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=5000)
    assert not dock.model.card  # what was cancelled is no model
    assert "Contin" in dock.run_bar.offer_button.text()
    dock.run_bar.offer_button.click()
    assert dock.engine == FIT and dock.controller.state != "idle"
    assert dock.settings.values()["resume"] == ""  # or the next fit would begin there, too
    qtbot.waitUntil(lambda: bool(dock.curves.curve("loss")), timeout=20000)
    dock.run_bar.finish_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert dock.settings.values()["resume"] == ""


def test_published_fits_pause_and_stop_soon(dock: NeuralFieldWidget, viewer: ViewerModel, qtbot: Any) -> None:
    add(viewer)
    dock.published_button.click()
    ready(dock, qtbot)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(dock.curves.curve("loss")) or dock.run_bar.bar.value() > 0, timeout=60000)
    dock.run_bar.pause_button.click()
    rests(qtbot, dock.run_bar.bar.value, 500)
    with qtbot.waitSignal(dock.controller.finished, timeout=5000) as done:
        dock.run_bar.cancel_button.click()
    assert done.args[0].partial


@pytest.mark.parametrize("method", [FIT, QUERY])
def test_tab_goes_down_the_dock(dock: NeuralFieldWidget, viewer: ViewerModel, method: str) -> None:
    add(viewer)
    dock.choose_method(method)
    stops: list[Any] = []
    widget = dock.tabs
    while widget not in stops:
        stops.append(widget)
        widget = widget.nextInFocusChain()
    order = [dock.tabs, dock.region.whole_button, dock.settings.preset_combo, dock.run_bar.run_button]
    if method == FIT:
        order[1:1] = [dock.data.axes_edit, dock.psf.combo, dock.psf.slider, dock.views.montage]
    at = [stops.index(part) for part in order]
    assert at == sorted(at)
