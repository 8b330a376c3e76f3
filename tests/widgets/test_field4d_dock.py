from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from superqt.utils import WorkerBase

import napari_recon
from napari_recon import hub
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.neural_layer import live_field
from napari_recon.widgets.field4d import FIT, QUERY, Field4DWidget
from napari_recon.widgets.fold import Fold

LABELS = ("time", "z", "y", "x")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dock(viewer: ViewerModel, qtbot: Any) -> Iterator[Field4DWidget]:
    made = Field4DWidget(viewer)
    qtbot.addWidget(made)
    made.resize(380, 1600)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def movie(shape: tuple[int, ...] = (4, 5, 14, 16), **options: Any) -> Image:
    """A ball that moves, with steps unless told otherwise."""
    grid = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    middle = [(n - 1) / 2 for n in shape]
    distance = sum((g - m) ** 2 for g, m in zip(grid[1:-1], middle[1:-1], strict=True))
    distance = distance + (grid[-1] - middle[-1] - (grid[0] - middle[0])) ** 2
    data = (100 + 900 * np.exp(-distance / 8)).astype(np.float32)
    place = {"scale": (30, 1, 0.5, 0.5), "units": ("s", "um", "um", "um"), "axis_labels": LABELS}
    return Image(data, **({"name": "cells"} | place | options))


def ready(dock: Field4DWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)


def pressed(dock: Field4DWidget, qtbot: Any) -> Any:
    ready(dock, qtbot)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert done.args[0].error is None, done.args[0].error
    return done.args[0]


def offers(dock: Field4DWidget) -> dict[str, Any]:
    """Return the buttons below the problems, by text."""
    from qtpy.QtWidgets import QPushButton

    column = dock.data._problem_column
    rows = [column.itemAt(n).widget() for n in range(column.count())]
    return {button.text(): button for row in rows if row is not None for button in row.findChildren(QPushButton)}


def test_a_movie_is_understood_and_fitting_is_one_click_away(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    assert dock.data.sample_button.isVisible() and not dock.run_bar.run_button.isEnabled()
    viewer.add_layer(movie())
    assert dock.data.axes == "TZYX" and not dock.data.problems
    assert dock.data.pixel_row.line.text() == "4 frames every 30 s · 5 planes every 1 µm · 16 × 14 pixels of 0.5 µm"
    assert not dock.data.pixel_row.fold.is_open
    ready(dock, qtbot)
    dock.ways["linear"].click()
    assert dock.settings.values()["method"] == "linear"
    (layer,) = pressed(dock, qtbot).layers
    np.testing.assert_allclose(layer.data, viewer.layers["cells"].data, rtol=1e-3)
    np.testing.assert_allclose(layer.scale, (30, 1, 0.5, 0.5))
    qtbot.waitUntil(lambda: bool(dock._fitted) and dock.run_bar.offer_button.isVisible(), timeout=10000)
    assert dock.run_bar.offer_button.text() == "&Scrub between frames"


def test_three_dimensions_and_single_time_points_are_named(dock: Field4DWidget, viewer: ViewerModel) -> None:
    volume = viewer.add_layer(Image(np.random.rand(5, 14, 16), name="volume"))
    assert "found 3 dimensions (5 × 14 × 16) in volume" in dock.run_bar.run_button.toolTip()
    assert not dock.run_bar.run_button.isEnabled()
    viewer.layers.remove(volume)
    viewer.add_layer(Image(np.random.rand(1, 5, 14, 16), name="one"))
    assert "Several time points were expected, found one in one, but 5 along Z" in dock.run_bar.run_button.toolTip()
    offers(dock)["Z is time"].click()
    assert "Several planes were expected, found one" in dock.run_bar.run_button.toolTip()


def test_one_click_puts_time_where_it_belongs(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    data = np.ascontiguousarray(np.asarray(movie((4, 9, 20, 24)).data).T)  # x, y, z, t as NIfTI has it
    layer = viewer.add_layer(Image(data, name="embryo"))
    assert "X looks like time: embryo has 4 columns and 24 time points" in dock.run_bar.run_button.toolTip()
    offers(dock)["X is time"].click()
    shown = dock.data.layer
    assert shown is not layer and not layer.visible and shown.name == "embryo (TZYX)"
    assert shown.data.shape == (4, 9, 20, 24) and dock.data.axes == "TZYX"
    assert all(problem.severity == "warning" for problem in dock.data.problems)
    ready(dock, qtbot)


def test_odd_sizes_can_be_said_to_be_right(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(movie((30, 9, 20, 8)))
    assert not dock.run_bar.run_button.isEnabled()
    offers(dock)["The axes are right"].click()
    ready(dock, qtbot)
    assert dock.request().params["axes_checked"]
    other = viewer.add_layer(movie((4, 5, 20, 24), name="other"))
    dock.data.combo.choose(other)
    ready(dock, qtbot)
    assert not dock.request().params["axes_checked"]


def test_swapped_time_and_depth_are_noticed_in_the_content(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    data = np.asarray(movie((6, 9, 20, 24)).data) - 99
    viewer.add_layer(Image(np.swapaxes(data, 0, 1), name="swapped"))
    qtbot.waitUntil(lambda: "Swap T and Z" in offers(dock), timeout=5000)
    assert any("T looks like depth" in problem.text for problem in dock.data.problems)
    offers(dock)["Swap T and Z"].click()
    assert dock.data.layer.data.shape == (6, 9, 20, 24)
    np.testing.assert_array_equal(dock.data.layer.data, data)
    right = viewer.add_layer(Image(data, name="right"))
    dock.data.combo.choose(right)
    qtbot.wait(300)
    assert "Swap T and Z" not in offers(dock)


def test_an_unknown_voxel_size_is_asked_for_in_place(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    layer = viewer.add_layer(Image(np.asarray(movie().data), name="raw", axis_labels=LABELS))
    (problem,) = dock.data.problems
    assert problem.severity == "warning" and "how far planes are apart" in problem.text
    row = dock.data.pixel_row
    assert row.fold.is_open and not row.button.isEnabled()
    for axis, value in (("Z", "2"), ("X", "0.4")):
        row.boxes[axis].lineEdit().setFocus()
        qtbot.keyClicks(row.boxes[axis].lineEdit(), value)
    row.button.click()
    np.testing.assert_allclose(layer.scale, (1, 2, 0.4, 0.4))
    assert [str(u) for u in layer.units] == ["pixel", "micrometer", "micrometer", "micrometer"]
    assert not dock.data.problems and not row.fold.is_open
    row.fold.set_open(True)
    row.boxes["T"].lineEdit().clear()
    qtbot.keyClicks(row.boxes["T"].lineEdit(), "30")
    qtbot.keyClicks(row.boxes["T"].lineEdit(), "\r")
    np.testing.assert_allclose(layer.scale, (30, 2, 0.4, 0.4))
    ready(dock, qtbot)
    assert dock.request().source.step("T") == 30


def test_only_the_settings_of_the_chosen_way_are_shown(dock: Field4DWidget, viewer: ViewerModel) -> None:
    viewer.add_layer(movie())
    form = dock.settings.form
    form.advanced.set_open(True)
    for way, shown, hidden in (
        ("fast", "steps", "upstream.steps"),
        ("upstream", "upstream.steps", "plane_distance"),
        ("linear", "region_only", "resume"),
    ):
        dock.ways[way].click()
        assert form.fields[shown].isVisible() and not form.fields[hidden].isVisible(), way
    dock.settings.change({"method": "fast", "plane_distance": 3})
    assert dock.ways["fast"].isChecked()
    dock.ways["cubic"].click()
    assert dock.request().params["plane_distance"] == "auto"


def test_nothing_is_cut_off_in_a_narrow_dock(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(movie())
    for button in dock.ways.values():
        button.click()
        for fold in dock.findChildren(Fold):
            fold.set_open(True)
        qtbot.waitUntil(lambda: dock.form.minimumSizeHint().width() <= 275, timeout=2000)
    for at in (1, 2):
        dock.tabs.setCurrentIndex(at)
        qtbot.waitUntil(lambda: dock.form.minimumSizeHint().width() <= 275, timeout=2000)


REPORT = {
    "verdict": "the model explains the data: frames withheld from it come out 5.8 dB better than by linear interpolation",
    "between_frames_psnr": 33.0,
    "between_frames_linear_psnr": 27.2,
    "between_frames_flow_psnr": 30.6,
    "between_planes_psnr": 33.1,
    "between_planes_cubic_psnr": 33.4,
}


def test_scores_stand_side_by_side(dock: Field4DWidget, qtbot: Any) -> None:
    score = dock.score
    assert score.isHidden()
    score.show_report(REPORT, {})
    texts = [score._grid.itemAt(n).widget().text() for n in range(score._grid.count())]
    assert texts[:3] == ["between frames", "between planes", "linear"]
    assert "✓ 33.0 dB" in texts and "27.2 dB" in texts and "✓ 33.4 dB" in texts and "33.1 dB" in texts
    assert score.line.text().startswith("✓ Frames withheld from it") and score.button.isHidden()
    worse = {**REPORT, "verdict": "motion is not understood: 2 dB worse than linear; record faster, or choose method=linear"}
    score.show_report(worse, {"method": "fast"})
    with qtbot.waitSignal(score.remedy) as asked:
        score.button.click()
    assert asked.args[0] == {"method": "linear"} and score.line.property("level") == "warning"
    score.show_report({}, {})
    assert score.isHidden()


def test_a_fast_fit_tells_how_good_its_frames_are(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(movie())
    dock.settings.change({"plane_distance": 1})
    result = pressed(dock, qtbot)
    assert not result.partial and dock.score.isVisible()
    assert {("frames", row) for row in ("linear", "cubic", "flow", "this field")} == set(dock.score.scores)
    dock.tabs.setCurrentIndex(1)
    assert not dock.score.isVisible()


def test_a_cancelled_fit_leaves_a_field_and_can_be_continued(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(movie((5, 5, 20, 22)))
    dock.settings.change({"steps": 400, "plane_distance": 2})
    ready(dock, qtbot)
    dock.run_bar.run_button.click()
    qtbot.waitUntil(lambda: len(dock.curves.curve("loss", "planes")) > 1, timeout=60000)
    with qtbot.waitSignal(dock.controller.finished, timeout=20000):
        dock.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "idle", timeout=10000)
    assert "Contin" in dock.run_bar.offer_button.text()
    qtbot.waitUntil(lambda: bool(dock._fitted), timeout=10000)  # what there was when it was cancelled
    (early,) = hub.catalogue(QUERY)
    assert "early" in early.name and "Contin" in dock.run_bar.offer_button.text()
    dock.run_bar.offer_button.click()
    qtbot.waitUntil(lambda: dock.controller.state == "running", timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=60000) as done:
        qtbot.waitUntil(lambda: len(dock.curves.curve("loss", "planes")) > 1, timeout=60000)
        dock.run_bar.finish_button.click()
    assert done.args[0].error is None and not done.args[0].partial
    assert dock.score.isVisible() and ("planes", "this field") in dock.score.scores
    qtbot.waitUntil(lambda: "Scrub" in dock.run_bar.offer_button.text(), timeout=10000)
    assert len(hub.catalogue(QUERY)) == 2


def fitted(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any, way: str = "linear") -> Any:
    layer = viewer.add_layer(movie())
    ready(dock, qtbot)
    dock.ways[way].click()
    pressed(dock, qtbot)
    qtbot.waitUntil(lambda: bool(dock._fitted), timeout=10000)
    return layer


def test_a_query_has_a_factor_per_axis_and_lies_on_the_movie(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    layer = fitted(dock, viewer, qtbot)
    dock.tabs.setCurrentIndex(1)
    assert dock.engine == QUERY and dock.sampling.isVisible() and not dock.scrub.isVisible()
    qtbot.waitUntil(lambda: dock._lattice is not None and not dock.planner.busy, timeout=20000)
    assert not dock.data.isVisible()  # the field knows its recording
    dock.sampling.between_button.click()
    dock.sampling.cubes_button.click()
    assert dock.settings.values()["scale"] == "t=2,z=2"
    box = dock.sampling.boxes["x"].lineEdit()
    box.selectAll()
    qtbot.keyClicks(box, "1.5")
    assert dock.settings.values()["scale"] == "t=2,z=2,x=1.5"
    dock.region.rows["T"].set_bounds((1, 3))
    dock.region.rows["T"].changed.emit()
    (result,) = pressed(dock, qtbot).layers
    assert result.data.shape == (3, 9, 14, 23)
    np.testing.assert_allclose(result.scale, (15, 0.5, 0.5, 0.5 / 1.5))
    np.testing.assert_allclose(result.translate, (30, 0, 0, 0))
    np.testing.assert_allclose(result.data[0, ::2, :, 0], np.asarray(layer.data)[1, :, :, 0], rtol=2e-3)
    dock.settings.change({"scale": "z=3"})
    assert dock.sampling.factors() == {"t": 1, "z": 3, "y": 1, "x": 1}
    dock.choose_method(FIT)
    assert dock.tabs.currentIndex() == 0


def test_factors_that_are_no_numbers_are_marked(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    fitted(dock, viewer, qtbot)
    dock.choose_method(QUERY)
    box = dock.sampling.boxes["z"]
    box.lineEdit().selectAll()
    qtbot.keyClicks(box.lineEdit(), "two")
    assert "border" in box.styleSheet() and dock.settings.values()["scale"] == ""
    dock.settings.change({"scale": "q=2"})
    assert "scale should give samples per data point" in dock.sampling.problem.text()


def scrubbing(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> Any:
    fitted(dock, viewer, qtbot)
    qtbot.waitUntil(lambda: "Scrub" in dock.run_bar.offer_button.text(), timeout=10000)
    dock.run_bar.offer_button.click()
    assert dock.tabs.currentIndex() == 2 and dock.scrub.isVisible() and not dock.run_bar.run_button.isVisible()
    qtbot.waitUntil(lambda: dock.beside.layer is not None, timeout=20000)
    return dock.beside.layer


def test_scrubbing_goes_between_frames(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    layer = scrubbing(dock, viewer, qtbot)
    scrub, recording = dock.scrub, viewer.layers["cells"]
    assert layer.visible and not recording.visible and not scrub.open_button.isVisible()
    scrub.go_to(0)
    assert "Frame 0, measured" in scrub.place.text()
    scrub.half_button.click()
    assert scrub.place.text() == "Halfway from frame 0 to 1, invented · 15 s" and viewer.dims.point[0] == 15
    live = live_field(layer)
    qtbot.waitUntil(lambda: live.exact, timeout=20000)
    data, at = np.asarray(recording.data), np.rint(layer.world_to_data(viewer.dims.point)).astype(int)
    plane = round(viewer.dims.point[1])
    shown = np.asarray(layer.data[0][at[0], at[1]])
    step = round((shown.shape[-1] - 1) / 15)
    np.testing.assert_allclose(shown[::step, ::step], data[:2, plane].mean(0), rtol=5e-3)
    scrub.half_button.click()
    scrub.on_button.click()
    assert "Frame 2, measured" in scrub.place.text()
    scrub.back_button.click()
    assert "Frame 1, measured" in scrub.place.text()
    viewer.dims.set_point(0, 82.5)  # the viewer's own slider
    assert "Three quarters of the way from frame 2 to 3" in scrub.place.text() and scrub.slider.value() == 22
    scrub.play_button.click()
    qtbot.waitUntil(lambda: scrub.slider.value() < 22, timeout=5000)
    scrub.play_button.click()
    viewer.layers.remove(layer)
    assert scrub.open_button.isVisible() and not scrub.slider.isVisible()
    scrub.open_button.click()
    qtbot.waitUntil(lambda: dock.beside.layer is not None, timeout=20000)


def test_plain_interpolations_stand_beside_the_field(dock: Field4DWidget, viewer: ViewerModel, qtbot: Any) -> None:
    layer = scrubbing(dock, viewer, qtbot)
    scrub, grid = dock.scrub, viewer.canvas.grid
    offered = [name for name, button in scrub.beside.items() if not button.isHidden()]
    assert offered == ["Recording", "Linear", "Cubic", "Flow"]
    scrub.beside["Cubic"].click()
    qtbot.waitUntil(lambda: grid.enabled, timeout=30000)
    assert scrub.beside_line.text() == "From the left: cubic, this field"
    cubic = next(layer for layer in viewer.layers if "cubic" in layer.name)
    assert viewer.layers[-2] is cubic and viewer.layers[-1] is layer and grid.shape == (1, 2)
    assert cubic.contrast_limits == pytest.approx(layer.contrast_limits, rel=1e-3)
    assert [la.visible for la in viewer.layers].count(True) == 2
    scrub.beside["Recording"].click()
    assert scrub.beside_line.text() == "From the left: recording, cubic, this field"
    truth = viewer.add_layer(movie(name="cells, ground truth", visible=False))
    dock.beside.field_changed()
    scrub.beside["Truth"].click()
    assert "truth" in scrub.beside_line.text() and truth.visible
    for button in scrub.beside.values():
        if button.isChecked():
            button.click()
    assert not grid.enabled and not truth.visible and layer.visible and not cubic.visible


def test_a_saved_field_is_opened_without_its_recording(
    dock: Field4DWidget, viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    out = tmp_path / "mine.safetensors"
    image = movie()
    stack = stack_from_layer(image, "TZYX")
    napari_recon.train("inr4d.fit", stack, out=out, params={"method": "linear"}, threads=1)
    dock.tabs.setCurrentIndex(2)
    assert not dock.scrub.open_button.isEnabled() and "Import" in dock.scrub.open_button.toolTip()
    dock.model.take_file(str(out))
    qtbot.waitUntil(lambda: dock.scrub.open_button.isEnabled(), timeout=20000)
    dock.scrub.open_button.click()
    qtbot.waitUntil(lambda: dock.beside.layer is not None, timeout=20000)
    assert not dock.scrub.beside["Linear"].isEnabled() and "not open" in dock.scrub.beside["Linear"].toolTip()
    viewer.add_layer(image)
    dock.beside.field_changed()
    assert dock.scrub.beside["Linear"].isEnabled()
    dock.scrub.export_button.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=20000)
    bad = tmp_path / "other.safetensors"
    bad.write_bytes(b"nothing")
    dock.model.take_file(str(bad))
    qtbot.waitUntil(lambda: str(bad) in dock.run_bar.message_line.text(), timeout=10000)


def test_a_published_save_folder_is_scrubbed_over_its_movie(
    dock: Field4DWidget, viewer: ViewerModel, qtbot: Any, tmp_path: Path
) -> None:
    shape = (4, 6, 8, 10)
    stack = stack_from_layer(movie(shape), "TZYX")
    upstream = {"depth": 2, "width": 8, "skips": [1], "octaves": 1, "groups": 1, "blocks": 1, "features": 4}
    params = {
        "method": "upstream",
        "checkpoint_folder": str(tmp_path / "save"),
        "upstream": {**upstream, "steps": 4, "batch": 8, "reduction": 2, "encoder_steps": 1},
    }
    napari_recon.train("inr4d.fit", stack, out=tmp_path / "own.safetensors", params=params, threads=1)
    viewer.add_layer(movie(shape))
    dock.tabs.setCurrentIndex(2)
    dock.model.take_file(str(tmp_path / "save" / "current.pth"))
    qtbot.waitUntil(lambda: dock.scrub.open_button.isEnabled(), timeout=20000)
    dock.scrub.open_button.click()
    qtbot.waitUntil(lambda: dock.beside.layer is not None, timeout=20000)
    assert dock.beside.layer.extent.world[1][0] == pytest.approx(90, abs=4)
