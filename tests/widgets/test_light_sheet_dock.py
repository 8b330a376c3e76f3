from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer
from superqt.utils import WorkerBase

from napari_recon.core.events import ArtifactReady, BlockReady, Finished, OutputOpened
from napari_recon.core.provenance import KEY, Record
from napari_recon.core.stack import ImageStack
from napari_recon.samples import dual_view
from napari_recon.viewer.run import RunController
from napari_recon.widgets.light_sheet import LightSheetWidget
from napari_recon.widgets.light_sheet_steps import DESKEW, MULTIVIEW, RLDFN, SINGLE, SPLIT, STEPS, VSI, WIENER, summary
from tests.widgets.conftest import planned

OPEN_DOCK = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_recon.widgets.light_sheet import LightSheetWidget
viewer = ViewerModel()
dock = LightSheetWidget(viewer)
dock.show()
import numpy as np
viewer.add_image(np.random.rand(24, 32, 48), name="raw", scale=(0.2, 0.1, 0.1), units=("um",) * 3)
import time
for at in range(5):
    dock.open_step(at)
    until = time.monotonic() + 20
    while dock.planner.busy and time.monotonic() < until:
        app.processEvents()
dock.open_step(1)
until = time.monotonic() + 20
while dock.planner.busy and time.monotonic() < until:
    app.processEvents()
assert dock.run_bar.run_button.isEnabled(), dock.run_bar.run_button.toolTip()
dock.close()
heavy = {"torch", "pyqtgraph", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
REPORTS: dict[str, dict[str, Any]] = {
    "fusion.background": {"drift_pixel": [2, 0, -1], "tilt_deg": 0.3, "balance": 1.4},
    DESKEW: {"direction": -1, "angle_deg": 31.5, "step_um": 0.2},
    SPLIT: {"correlation_nominal": 0.41, "correlation": 0.93, "angle_y_deg": 30.6},
    MULTIVIEW: {"iterations": 9, "reduced_deviance": 1.08},
    SINGLE: {"iterations": 4, "reduced_deviance": 1.2},
}


class Quick:
    """Runs any plan at once: every output is filled with its number, the report is a canned one."""

    def __init__(self) -> None:
        self.plans: list[Any] = []
        self.inputs: list[dict[str, Any]] = []
        self.slow: str = ""
        self.failing: str = ""

    def __call__(self, plan: Any, inputs: Any, token: Any) -> Iterator[Any]:
        self.plans.append(plan)
        self.inputs.append(dict(inputs))
        for number, spec in enumerate(plan.outputs, 1):
            yield OutputOpened(spec.name, spec)
            block = np.full(spec.grid.shape, number, np.float32)
            yield BlockReady(spec.name, tuple(slice(0, n) for n in block.shape), block)
        if plan.engine == self.failing:
            raise RuntimeError("the lens fell off")
        until = time.monotonic() + (30 if plan.engine == self.slow else 0)
        while time.monotonic() < until and not token.cancelled:
            time.sleep(0.005)
        if plan.engine in REPORTS and not token.cancelled:
            yield ArtifactReady("report", "report", REPORTS[plan.engine])
        yield Finished(Record(plan).finish(partial=token.cancelled), partial=token.cancelled)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def quick() -> Quick:
    return Quick()


@pytest.fixture
def sheet(viewer: ViewerModel, qtbot: Any, quick: Quick) -> Iterator[LightSheetWidget]:
    made = LightSheetWidget(viewer, RunController(viewer, quick))
    qtbot.addWidget(made)
    made.resize(370, 760)
    made.show()
    yield made
    made.controller.close()
    made.let_go()
    WorkerBase.await_workers(60_000)


def raw(name: str = "raw", shape: tuple[int, ...] = (24, 32, 48), **metadata: Any) -> Image:
    data = np.random.default_rng(3).integers(90, 400, shape).astype(np.uint16)
    scale = (*(1,) * (len(shape) - 3), 0.2, 0.1, 0.1)
    units = (*("pixel",) * (len(shape) - 3), "um", "um", "um")
    return Image(data, name=name, scale=scale, units=units, metadata=metadata)


def seen(na: float = 1.0) -> Image:
    return raw(optics={"na": (na,), "wavelength_um": (0.525,), "refractive_index": (1.33,)})


def ready(dock: LightSheetWidget, qtbot: Any) -> None:
    planned(dock, qtbot)
    assert dock.run_bar.run_button.isEnabled(), dock.run_bar.run_button.toolTip()


def pressed(dock: LightSheetWidget, qtbot: Any, button: Any = None) -> Any:
    ready(dock, qtbot)
    with qtbot.waitSignal(dock.controller.finished, timeout=20000) as done:
        (button or dock.run_bar.run_button).click()
    return done.args[0]


def all_done(dock: LightSheetWidget, qtbot: Any) -> None:
    planned(dock, qtbot)
    dock.all_button.click()
    qtbot.waitUntil(lambda: dock.run_bar.message_line.text().endswith("All steps are done"), timeout=30000)


def states(dock: LightSheetWidget) -> list[str]:
    return [row.state for row in dock.stepper.rows]


def test_opening_steps_and_planning_import_no_torch(tmp_path: Path) -> None:
    env = {**os.environ, "NAPARI_RECON_CONFIG": str(tmp_path), "NAPARI_RECON_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN_DOCK], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_data_the_sample_is_the_next_thing_to_press(sheet: LightSheetWidget) -> None:
    assert sheet.data.sample_button.isVisible() and not sheet.all_button.isEnabled()
    assert "sample" in sheet.all_button.toolTip() and "sample" in sheet.run_bar.run_button.toolTip()


def test_the_body_stands_below_the_step_that_is_open(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(raw())
    for at, step in enumerate(STEPS):
        sheet.stepper.rows[at].button.click()
        assert sheet.engine in step.methods and sheet.at == at
        qtbot.wait(20)
        head, body = sheet.stepper.rows[at], sheet._body
        assert body.mapTo(sheet.stepper, body.rect().topLeft()).y() > head.y()
        signs = [row.button.text()[0] for row in sheet.stepper.rows]
        assert signs == ["▾" if n == at else "▸" for n in range(len(STEPS))]
        assert sheet.run_bar.run_button.text() == step.verb


def test_few_settings_are_in_sight_and_every_one_can_be_reached(sheet: LightSheetWidget, viewer: ViewerModel) -> None:
    viewer.add_layer(seen())
    sheet.choose_method(DESKEW)
    form = sheet.settings.form
    shown = {name for name, field in form.fields.items() if field.isVisible()}
    assert shown == {"angle_deg", "step_um", "direction", "coverslip"}
    form.advanced.set_open(True)
    assert {name for name, field in form.fields.items() if field.isVisible()} == set(form.fields)
    sheet.choose_method(MULTIVIEW)
    shown = {name for name, field in sheet.settings.form.fields.items() if field.isVisible()}
    assert shown == {"iterations", "tv", "na", "wavelength_um", "sheet_fwhm_um", "psf_angle_deg"}


def test_a_step_takes_what_the_step_before_made(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    first = viewer.add_layer(raw())
    (clean,) = pressed(sheet, qtbot).layers
    assert clean.name == "raw · Cleaned" and not first.visible
    row = sheet.stepper.rows[0]
    assert row.state == "done" and "✓" in row.mark.text() and "drifts by 3 pixels" in row.line.text()
    sheet.open_step(1)
    assert sheet.data.layer is clean
    (straight,) = pressed(sheet, qtbot).layers
    assert straight.name == "raw · Deskewed" and "backward (-1), 31.5°" in sheet.stepper.rows[1].line.text()
    sheet.open_step(0)
    assert sheet.data.layer is first
    sheet.stepper.rows[0].box.click()  # what is not ticked is passed over
    sheet.open_step(1)
    assert sheet.data.layer is clean  # chosen before, and nothing else was made since
    sheet.open_step(3)
    assert sheet.data.layer is straight


def test_a_layer_chosen_by_hand_stays_the_input_of_its_step(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    viewer.add_layer(raw())
    other = viewer.add_layer(raw("other"))
    pressed(sheet, qtbot)
    sheet.open_step(1)
    at = sheet.data.combo.findText("other")
    sheet.data.combo.setCurrentIndex(at)
    sheet.data.combo.activated.emit(at)
    sheet.open_step(0)
    sheet.open_step(1)
    assert sheet.data.layer is other


def test_run_all_chains_the_ticked_steps_and_skips_what_has_no_model(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(seen())
    all_done(sheet, qtbot)
    assert [plan.engine for plan in quick.plans] == ["fusion.background", DESKEW, SPLIT, MULTIVIEW]
    assert states(sheet) == ["done", "done", "skipped", "done", "done"]
    assert "0.410 → 0.930" in sheet.stepper.rows[3].line.text()
    assert "no model" in sheet.stepper.rows[2].line.text()
    names = [layer.name for layer in viewer.layers]
    assert names[1:] == [f"raw · {what}" for what in ("Cleaned", "Deskewed", "view A", "view B", "Fused")]
    assert [stack.name for stack in quick.inputs[3]["views"]] == ["raw · view A", "raw · view B"]
    assert viewer.layers.selection.active.name == "raw · Fused"
    assert [layer.name for layer in viewer.layers if layer.visible] == ["raw · Fused"]


def test_what_one_step_found_is_used_by_the_next(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(seen(na=1.1))
    all_done(sheet, qtbot)
    split, fuse = quick.plans[2:]
    assert split.params["angle_deg"] == -31.5  # the stack was skewed backward
    assert fuse.params["psf_model"] == "light-sheet" and fuse.params["na"] == 1.1
    assert list(fuse.params["psf_angle_deg"]) == [31.5, -31.5] and fuse.params["background"] == 0
    sheet.open_step(3)
    sheet.settings.change({"angle_deg": 12.0})
    sheet.open_step(1)
    sheet.open_step(3)
    assert sheet.settings.values()["angle_deg"] == 12.0


def test_the_skew_axis_is_typed_once(sheet: LightSheetWidget, viewer: ViewerModel) -> None:
    viewer.add_layer(raw())
    sheet.settings.change({"skew_axis": "y"})
    for at in (1, 3):
        sheet.open_step(at)
        assert sheet.settings.values()["skew_axis"] == "y"


def test_views_are_shown_over_each_other_in_green_and_magenta(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    viewer.add_layer(raw())
    sheet.open_step(3)
    first, second = pressed(sheet, qtbot).layers
    assert (first.colormap.name, second.colormap.name, second.blending) == ("green", "magenta", "additive")
    sheet.open_step(4)
    assert sheet.data.layer is first and sheet.others.rows[0].layer is second
    pictures = pressed_preview_of_split(sheet, qtbot)
    assert [layer.colormap.name for layer in pictures] == ["green", "magenta"] and first in viewer.layers


def pressed_preview_of_split(dock: LightSheetWidget, qtbot: Any) -> Any:
    dock.open_step(3)
    return pressed(dock, qtbot, dock.run_bar.preview_button).layers


def test_what_was_done_to_other_data_is_not_done_here(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    first = viewer.add_layer(raw())
    (clean,) = pressed(sheet, qtbot).layers
    row = sheet.stepper.rows[0]
    said = row.line.text()
    pressed(sheet, qtbot, sheet.run_bar.preview_button)
    assert (row.state, row.line.text()) == ("done", said)
    other = viewer.add_layer(raw("other"))
    assert row.state == "done"  # it is only there, nobody chose it
    sheet.data.combo.choose(other)
    assert row.state == "not run" and row.line.text() == "" and clean in viewer.layers
    sheet.data.combo.choose(first)
    pressed(sheet, qtbot)
    viewer.layers.remove(first)
    assert sheet.data.layer is not first and row.state == "not run"


def test_a_preview_computes_a_small_box_and_leaves_the_step_as_it_was(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(raw(shape=(24, 32, 100)))
    result = pressed(sheet, qtbot, sheet.run_bar.preview_button)
    assert result.layers[0].data.shape == (24, 32, 64)
    assert sheet.stepper.rows[0].state == "not run" and sheet.stepper.rows[0].line.text().startswith("preview: line")
    sheet.open_step(1)
    assert sheet.data.layer.name == "raw"
    (whole,) = pressed(sheet, qtbot).layers
    assert whole.visible and not result.layers[0].visible


def test_cancel_keeps_the_layers_of_finished_steps_and_the_rest_can_be_done_later(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(seen())
    quick.slow = SPLIT
    planned(sheet, qtbot)
    sheet.all_button.click()
    qtbot.waitUntil(lambda: len(quick.plans) == 3 and sheet.controller.state == "running", timeout=20000)
    assert states(sheet)[3] == "running" and not sheet.all_button.isEnabled()
    sheet.run_bar.cancel_button.click()
    qtbot.waitUntil(lambda: sheet.controller.state == "idle" and states(sheet)[3] == "stopped", timeout=10000)
    assert states(sheet) == ["done", "done", "skipped", "stopped", "not run"]
    assert {"raw · Cleaned", "raw · Deskewed"} <= {layer.name for layer in viewer.layers}
    quick.slow = ""
    assert sheet.run_bar.offer_button.text() == "Continue from step 3"
    sheet.run_bar.offer_button.click()
    qtbot.waitUntil(lambda: states(sheet)[4] == "done", timeout=20000)
    assert [plan.engine for plan in quick.plans[3:]] == [SPLIT, MULTIVIEW]
    assert not any(layer.visible for layer in viewer.layers if "(partial)" in layer.name)
    assert any("(partial)" in layer.name for layer in viewer.layers)


def test_an_error_ends_the_chain_and_stands_beside_its_step(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(seen())
    quick.failing = DESKEW
    planned(sheet, qtbot)
    sheet.all_button.click()
    qtbot.waitUntil(lambda: states(sheet)[1] == "failed", timeout=20000)
    assert len(quick.plans) == 2 and "lens" in sheet.stepper.rows[1].line.text() and sheet.controller.state == "idle"
    assert sheet.all_button.isEnabled()


def test_run_all_asks_for_what_no_step_gives_before_it_starts(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(raw())  # nothing is known of the microscope, so the PSF can't be computed
    planned(sheet, qtbot)
    sheet.all_button.click()
    assert sheet.engine == MULTIVIEW and "PSF" in sheet.run_bar.message_line.text() and not quick.plans
    sheet.settings.change({"psf_fwhm_um": 0.25})
    all_done(sheet, qtbot)
    assert quick.plans[-1].params["psf_model"] == "gaussian"


def test_nothing_ticked_is_said(sheet: LightSheetWidget, viewer: ViewerModel, quick: Quick) -> None:
    viewer.add_layer(raw())
    for row in sheet.stepper.rows:
        row.box.click()
    sheet.all_button.click()
    assert "Tick" in sheet.run_bar.message_line.text() and not quick.plans


def test_running_a_step_again_puts_later_ones_out_of_date(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(seen())
    all_done(sheet, qtbot)
    sheet.open_step(1)
    pressed(sheet, qtbot)
    assert states(sheet) == ["done", "done", "skipped", "not run", "not run"]
    assert [layer.name for layer in viewer.layers if layer.visible] == ["raw · Deskewed (2)"]
    sheet.start_with(DESKEW)
    assert states(sheet) == ["not run"] * 5 and sheet.stepper.ticked() == [1, 2, 3, 4]


def test_a_result_that_is_deleted_is_no_longer_done(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    first = viewer.add_layer(raw())
    (clean,) = pressed(sheet, qtbot).layers
    viewer.layers.remove(clean)
    assert states(sheet)[0] == "not run"
    sheet.open_step(1)
    assert sheet.data.layer is first


def test_deleting_every_layer_and_closing_in_the_middle_of_a_chain_is_harmless(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    viewer.add_layer(seen())
    quick.slow = DESKEW
    planned(sheet, qtbot)
    sheet.all_button.click()
    qtbot.waitUntil(lambda: len(quick.plans) == 2 and sheet.controller.state == "running", timeout=20000)
    viewer.layers.clear()
    sheet.open_step(4)
    sheet.close()
    WorkerBase.await_workers(60_000)
    qtbot.wait(50)
    viewer.add_layer(raw("later"))
    assert len(quick.plans) == 2


def add_views(viewer: ViewerModel) -> dict[str, Any]:
    made = {}
    for data in dual_view():
        layer = viewer.add_layer(Layer.create(*data))
        made[layer.name] = layer
    return made


def test_views_and_their_psfs_are_found_by_name(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    sheet.start_with(MULTIVIEW)
    layers = add_views(viewer)
    assert sheet.stepper.ticked() == [4] and sheet.psf.kind == "layers"
    pressed(sheet, qtbot)
    (inputs,) = quick.inputs
    assert [s.name for s in inputs["views"]] == ["view A", "view B"]
    assert [s.name for s in inputs["psf"]] == ["PSF A", "PSF B"]
    assert not layers["view A"].visible and not layers["view B"].visible


def test_a_psf_may_be_a_file_or_one_for_all_and_a_missing_view_is_asked_for(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick, tmp_path: Path
) -> None:
    from napari_recon.core.grid import Grid
    from napari_recon.io import write_stack

    grid = Grid.of("ZYX", (5, 5, 5), dict.fromkeys("ZYX", 0.1), {}, dict.fromkeys("ZYX", "micrometer"))
    path = write_stack(tmp_path / "measured.ome.tif", ImageStack(np.ones((5, 5, 5), np.float32), grid))
    viewer.add_layer(raw("view A"))
    sheet.choose_method(MULTIVIEW)
    assert "View B is missing" in sheet.need.text()
    viewer.add_layer(raw("view B"))
    assert "PSF is missing" in sheet.need.text()
    sheet.psf.kind_combo.setCurrentIndex(sheet.psf.kind_combo.findData("layers"))
    sheet.psf.kind_combo.activated.emit(0)
    sheet.psf.rows[0].take_file(str(path))
    assert "Wait" in sheet._reason() or "missing" in sheet._reason()
    qtbot.waitUntil(lambda: sheet.psf.rows[0].given, timeout=10000)
    assert sheet.need.text() == ""
    pressed(sheet, qtbot)
    assert len(quick.inputs[0]["psf"]) == 1 and len(viewer.layers) == 3
    sheet.psf.rows[1].take_file(str(tmp_path / "nothing.tif"))
    qtbot.waitUntil(lambda: "nothing.tif" in sheet.psf.rows[1].problem(), timeout=10000)


def test_a_third_view_can_be_added(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick) -> None:
    for name in "ABC":
        viewer.add_layer(raw(f"view {name}"))
    sheet.choose_method(MULTIVIEW)
    sheet.settings.change({"psf_fwhm_um": 0.3})
    assert not sheet.others.rows[1].isVisible()
    sheet.more_button.click()
    assert sheet.others.rows[1].isVisible() and sheet.others.rows[1].layer.name == "view C"
    pressed(sheet, qtbot)
    assert len(quick.inputs[0]["views"]) == 3
    viewer.layers.remove("view C")
    assert sheet.less_button.isVisible() and "View C" in sheet._reason()
    sheet.less_button.click()
    assert not sheet.less_button.isVisible() and not sheet.others.rows[1].isVisible()
    pressed(sheet, qtbot)
    assert len(quick.inputs[1]["views"]) == 2


def test_names_that_are_too_long_differ_still(sheet: LightSheetWidget, viewer: ViewerModel) -> None:
    for name in "AB":
        viewer.add_layer(raw(f"a recording with quite a long name of the 3rd of May, embryo 12 · view {name}"))
    sheet.choose_method(MULTIVIEW)
    for combo, name in ((sheet.data.combo, "A"), (sheet.others.rows[0].combo, "B")):
        text = combo.shown_option().currentText
        assert "…" in text and text.endswith(f"view {name}") and combo.currentText() != text


def test_one_view_is_deconvolved_alone(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick) -> None:
    viewer.add_layer(raw())
    sheet.open_step(4)
    sheet.kind_combo.setCurrentIndex(sheet.kind_combo.findData(SINGLE))
    sheet.kind_combo.activated.emit(0)
    assert sheet.engine == SINGLE and not sheet._views_section.isVisible()
    sheet.settings.change({"psf_fwhm_um": 0.3})
    (layer,) = pressed(sheet, qtbot).layers
    assert layer.name == "raw · Deconvolved" and list(quick.inputs[0]) == ["views"]
    sheet.open_step(1)
    sheet.open_step(4)
    assert sheet.engine == SINGLE  # a step is left with its method


def test_networks_ask_for_their_model_and_orientations_for_all_three(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any
) -> None:
    viewer.add_layer(raw())
    sheet.choose_method(VSI)
    assert "model" in sheet.need.text() and sheet._transfer_section.isVisible() and sheet._model_section.isVisible()
    sheet.choose_method(RLDFN)
    assert sheet.psf.rows[1].isVisible() and not sheet.psf.kind_combo.isVisible() and sheet.need.text()
    sheet.choose_method(WIENER)
    assert "0° is missing" in sheet.need.text() and len(sheet.measured.shown) == 3
    for name in ("a_rot0", "a_rot60", "a_rot120"):
        viewer.add_layer(raw(name))
    assert [row.layer.name for row in sheet.measured.rows] == ["a_rot0", "a_rot60", "a_rot120"]
    assert len(sheet.request().inputs["views"]) == 3


def test_of_several_channels_the_chain_takes_one_and_says_so(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    layer = raw(shape=(2, 24, 32, 48))
    layer.axis_labels = ("channel", "z", "y", "x")
    viewer.add_layer(layer)
    sheet.stepper.tick(["1a", "1b"])
    said: list[str] = []
    sheet.controller.message.connect(lambda text, _: said.append(text))
    all_done(sheet, qtbot)
    assert quick.plans[1].input("raw").grid.axes == "ZYX"
    assert any("channels" in line for line in sheet.run_bar._log)


def test_a_finished_step_knows_how_it_was_made(sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(raw())
    (clean,) = pressed(sheet, qtbot).layers
    assert clean.metadata[KEY]["engine"] == "fusion.background" and not clean.metadata[KEY]["partial"]


def test_all_steps_are_copied_as_one_command_of_the_pipeline(
    sheet: LightSheetWidget, viewer: ViewerModel, qtbot: Any, quick: Quick
) -> None:
    from qtpy.QtWidgets import QApplication

    viewer.add_layer(seen())
    sheet.stepper.rows[0].box.click()
    sheet.choose_method(DESKEW)
    sheet.settings.change({"angle_deg": 32.0})
    sheet.choose_method(MULTIVIEW)
    QApplication.clipboard().setText("")
    action = next(a for a in sheet.run_bar.menu_button.menu().actions() if "all steps as comman" in a.text())
    action.trigger()
    qtbot.waitUntil(lambda: "fusion.pipeline" in QApplication.clipboard().text(), timeout=10000)
    text = QApplication.clipboard().text()
    assert "background.enabled=false" in text and "deskew.angle_deg=32.0" in text and "psf_angle" not in text


def test_without_anything_to_chain_there_is_no_pipeline(sheet: LightSheetWidget, viewer: ViewerModel) -> None:
    sheet.start_with(MULTIVIEW)
    sheet.copy_all("as_command")
    assert "steps before the fusion" in sheet.run_bar.message_line.text()
    sheet.stepper.tick(["1b"])
    sheet.copy_all("as_command")
    assert "open data" in sheet.run_bar.message_line.text()


def test_the_settings_of_a_pipeline_fill_the_steps(sheet: LightSheetWidget, viewer: ViewerModel, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "engine: fusion.pipeline\nparams: {background: {enabled: false}, deskew: {angle_deg: 32, skew_axis: y}, "
        "split_views: {angle_deg: auto}, multiview_rl: {iterations: 20, psf_model: gaussian, psf_fwhm_um: 0.3}}\n"
    )
    viewer.add_layer(raw())
    sheet.load_settings(str(path))
    assert sheet.stepper.ticked() == [1, 2, 3, 4] and sheet.engine == DESKEW
    assert sheet.settings.values()["angle_deg"] == 32
    assert sheet.settings.values_of(SPLIT)["angle_deg"] == 30.8
    fuse = sheet.settings.values_of(MULTIVIEW)
    assert (fuse["iterations"], fuse["psf_fwhm_um"], sheet.psf.kind) == (20, 0.3, "gaussian")


@pytest.mark.parametrize("engine", REPORTS)
def test_every_report_becomes_one_line(engine: str) -> None:
    assert "\n" not in summary(engine, REPORTS[engine], (3, 4, 5)) and "voxels" not in summary(engine, REPORTS[engine], (3,))
    assert summary(engine, {}, (3, 4, 5)) == "3 × 4 × 5 voxels"
