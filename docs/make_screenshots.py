"""Makes docs/images from the real program: opens napari, the sample and the dock, works with them, takes pictures.

    python docs/make_screenshots.py [FOLDER [light_field | sim | batch | ... (see PICTURES at the end)]]

Needs a display; without one it starts itself again under xvfb-run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = (1280, 860)
LARGEST_BYTES = 400_000
BOX_YX = ((9.6, 9.6), (35.4, 35.4))


def main() -> None:
    """Take every picture."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    with_a_display()
    # the user's own presets, models and window layout stay out of the pictures, and unharmed
    with tempfile.TemporaryDirectory() as fresh:
        for name in ("NAPARI_RECON_CONFIG", "NAPARI_RECON_CACHE"):
            os.environ[name] = fresh
        os.environ["NAPARI_CONFIG"] = str(Path(fresh) / "napari.yaml")
        folder.mkdir(parents=True, exist_ok=True)
        for name in sys.argv[2:] or PICTURES:
            PICTURES[name](folder)


def with_a_display() -> None:
    """Start again under a virtual display when there is none."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        runner = shutil.which("xvfb-run")
        if runner is None:
            raise SystemExit("a display was expected, found none; install xvfb (apt-get install xvfb) or run on a desktop")
        os.execv(runner, [runner, "-a", "-s", "-screen 0 1600x1000x24", sys.executable, *sys.argv])


def opened(name: str, folder: Path) -> tuple[Any, Any, Any, Callable[[str], None]]:
    """Open napari with a dock; return viewer, dock widget, dock, and what takes a picture."""
    import napari
    from qtpy.QtCore import Qt

    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-recon", name)
    viewer.window._qt_window.resizeDocks([dock_widget], [370], Qt.Orientation.Horizontal)

    def shoot(title: str) -> None:
        wait(0.6)
        save(viewer.screenshot(canvas_only=False, flash=False), folder / f"{title}.png")

    return viewer, dock_widget, dock, shoot


def take_sim_pictures(folder: Path) -> None:
    """From raw frames to a result that was checked."""
    viewer, _, dock, shoot = opened("SIM", folder)
    dock.data.sample_button.click()
    planned(dock)
    dock.frames.stripes_box.click()
    until(lambda: not dock.frames.planner.busy)
    shoot("sim-frames")
    dock.pattern.button.click()
    until(lambda: dock.spectrum.carriers is not None)
    scroll_to(dock, dock.pattern)
    shoot("sim-spectrum")
    dock.settings.change({"frame_order": "pa"})
    until(lambda: dock.spectrum.carriers is None)
    shoot("sim-order")
    dock.run_bar.offer_button.click()
    dock.pattern.button.click()
    result = run(dock.run_bar.run_button.click, dock)
    view = dock.adjuster.view
    until(lambda: view._session is not None and view._call is None)
    wait(1.0)  # the first answers of a session are slower
    for position in (280, 300, 320):
        dock.live.rows["wiener"].slider.setValue(position)
        until(lambda: view._call is None)
    scroll_to(dock, dock.pattern)
    shoot("sim-dock")
    dock.live.rows["wiener"].auto.click()
    viewer.layers.remove(result.layers[0])
    ended: list[bool] = []
    dock.comparison.ended.connect(lambda: ended.append(True))
    dock.compare.compare_button.click()
    until(lambda: bool(ended))
    scroll_to(dock, dock.compare)
    shoot("sim-compare")
    dock.let_go()
    viewer.close()


def take_neural_field_pictures(folder: Path) -> None:
    """From the sample to a fit that sharpens, a wrong position that is noticed and mended, and a finer box."""
    viewer, _, dock, shoot = opened("Neural field", folder)
    dock.data.sample_button.click()
    until(lambda: dock.views.montage.count > 0 and dock.psf.montage.count > 0 and not dock.psf.planner.busy)
    planned(dock)
    dock.region.rows["T"].set_bounds((0, 1))
    dock.region.rows["T"].changed.emit()
    planned(dock)
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    dock.run_bar.run_button.click()
    until(lambda: bool(dock.controller.results.layers))
    viewer.dims.set_current_step(0, 0)
    until(lambda: bool(dock.curves.curve("reduced deviance")))
    shoot("neural-field-starting")
    until(lambda: bool(results) and dock.controller.state == "idle")
    planned(dock)
    shoot("neural-field-dock")
    displace(dock.data.layer)
    planned(dock)
    run(dock.run_bar.run_button.click, dock)
    shoot("neural-field-amber")
    run(dock.verdict.button.click, dock)
    scroll_to(dock, dock.views)
    shoot("neural-field-positions")
    until(lambda: bool(dock._fitted))
    dock.tabs.setCurrentIndex(1)
    planned(dock)
    dock.settings.change({"scale": 3.0})
    dock.region.draw_button.click()
    high, wide = (dock._lattice.size(axis) for axis in "YX")
    viewer.layers.selection.active.add_rectangles([[high * 0.3, wide * 0.3], [high * 0.7, wide * 0.7]])
    planned(dock)
    run(dock.run_bar.run_button.click, dock)
    shoot("neural-field-query")
    dock.let_go()
    viewer.close()


def take_field4d_pictures(folder: Path) -> None:
    """From the sample to a fit with its score, between two frames beside the truth and linear interpolation, and a query."""
    viewer, _, dock, shoot = opened("4D field", folder)
    dock.data.sample_button.click()
    planned(dock)
    dock.settings.change({"steps": 200})  # enough for a picture
    planned(dock)
    viewer.dims.set_point(1, 4.5)
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    dock.run_bar.run_button.click()
    until(lambda: len(dock.curves.curve("loss", "planes")) > 30, 900)
    shoot("field4d-running")
    until(lambda: bool(results) and dock.controller.state == "idle" and bool(dock._fitted), 1800)
    planned(dock)
    viewer.dims.set_point(1, 4.5)
    shoot("field4d-dock")
    dock.run_bar.offer_button.click()
    until(lambda: dock.beside.layer is not None)
    dock.scrub.go_to(12)
    viewer.dims.set_point(1, 4.5)
    wait(3)
    shoot("field4d-scrub")
    for panel in ("dockLayerControls", "dockLayerList"):
        getattr(viewer.window._qt_viewer, panel).hide()
    for name in ("Linear", "Truth"):
        dock.scrub.beside[name].click()
        until(lambda: viewer.canvas.grid.enabled and "fitted" not in dock.scrub.beside_line.text(), 600)
    wait(1)
    viewer.reset_view()
    wait(3)
    shoot("field4d-truth")
    for panel in ("dockLayerControls", "dockLayerList"):
        getattr(viewer.window._qt_viewer, panel).show()
    dock.tabs.setCurrentIndex(1)
    planned(dock)
    dock.sampling.between_button.click()
    dock.sampling.cubes_button.click()
    planned(dock)
    run(dock.run_bar.run_button.click, dock)
    viewer.dims.set_point(1, 4.5)
    shoot("field4d-query")
    dock.let_go()
    viewer.close()


def take_light_sheet_pictures(folder: Path) -> None:
    """Every step on the raw sample, then all of them, then two views that were measured with their PSFs."""
    viewer, _, dock, shoot = opened("Light sheet", folder)
    dock.data.sample_button.click()
    planned(dock)
    run(dock.run_bar.preview_button.click, dock)
    shoot("light-sheet-background")
    viewer.layers[-1].visible = False
    dock.open_step(1)
    planned(dock)
    run(dock.run_bar.run_button.click, dock)
    from_the_side(viewer)
    shoot("light-sheet-deskew")
    dock.open_step(0)
    planned(dock)
    dock.all_button.click()
    until(lambda: dock.stepper.rows[4].state == "done" and dock.controller.state == "idle")
    planned(dock)
    viewer.dims.ndisplay = 3
    face(viewer, viewer.layers[-1], 0.85)
    shoot("light-sheet-dock")
    viewer.dims.ndisplay = 2
    dock.open_step(3)
    planned(dock)
    for layer in viewer.layers:
        layer.visible = layer.name.endswith(("view A", "view B"))
    from_the_side(viewer)
    shoot("light-sheet-split")
    dock.let_go()
    viewer.close()
    viewer, _, dock, shoot = opened("Light sheet", folder)
    viewer.open_sample("napari-recon", "dual_view")
    planned(dock)
    shoot("light-sheet-views")
    dock.let_go()
    viewer.close()


def take_cells_pictures(folder: Path) -> None:
    """From the sample to cells, a nucleus that is moved, and the divisions of the last time."""
    viewer, _, dock, shoot = opened("Cells", folder)
    dock.data.sample_button.click()
    planned(dock)
    viewer.reset_view()
    viewer.dims.set_point(0, 0.0)
    viewer.dims.set_point(1, 5.6)
    run(dock.run_bar.run_button.click, dock)
    until(lambda: not dock.live.busy)
    shoot("cells-dock")
    shown: list[float] = []
    dock.live.shown.connect(shown.append)
    points = dock.seeds.layer
    place = points.data[list(points.features["name"]).index("ABal")]
    points.add(place + (0, 0, -14, 4))
    until(lambda: bool(shown) and not dock.live.busy)
    shoot("cells-edited")
    points.remove_selected()
    until(lambda: len(shown) > 1 and not dock.live.busy)
    viewer.dims.set_point(0, 120.0)
    viewer.dims.set_point(1, 4.0)
    scroll_to(dock, dock.divisions_fold)
    shoot("cells-divisions")
    dock.let_go()
    viewer.close()


def take_batch_pictures(folder: Path) -> None:
    """From a result that was liked to a folder of recordings, one of them damaged, and a result that is opened."""
    import napari_recon
    from napari_recon.samples.files import path

    folder, before = folder.resolve(), Path.cwd()
    os.chdir(tempfile.mkdtemp())
    raw = Path("raw")
    for day in ("monday", "tuesday"):
        for number in range(1, 5):
            (raw / day).mkdir(parents=True, exist_ok=True)
            shutil.copy(path("sim"), raw / day / f"cell{number:02d}.ome.tif")
    (raw / "tuesday" / "cell05.ome.tif").write_bytes(b"II*")
    liked = Path("liked.ome.tif")
    napari_recon.run("sim.wiener", raw / "monday" / "cell01.ome.tif", out=liked)
    viewer, _, dock, shoot = opened("Batch", folder)
    dock.take_file(str(liked))
    dock.take_file(str(raw))
    dock.form.take("out", "results")
    each = dock.form.rows["each"].field
    each.set_value("file")
    each.changed.emit()
    planned(dock)
    dock.run_bar.run_button.click()
    until(lambda: len(dock.runner.outcomes) >= 3)
    shoot("batch-running")
    until(lambda: dock.runner.state == "idle")
    planned(dock)
    dock.newest_button.click()
    until(lambda: bool(viewer.layers))
    dock.table.table.selectRow(8)
    shoot("batch-dock")
    dock.let_go()
    viewer.close()
    made_in = Path.cwd()
    os.chdir(before)
    shutil.rmtree(made_in)


def take_jobs_pictures(folder: Path) -> None:
    """A run that is done and three boxes of another method, the first of them running; their dock is closed."""
    from qtpy.QtCore import Qt

    from napari_recon.viewer.queue import job_queue

    viewer, dock_widget, dock, shoot = opened("Light field", folder)
    dock.data.sample_button.click()
    planned(dock)
    dock.choose_method("serenet.refocus")
    planned(dock)
    volume = run(dock.run_bar.run_button.click, dock).layers[0]
    show(viewer, volume)
    dock.choose_method("deconvolution.lightfield_rl")
    dock.region.draw_button.click()
    for y, x in ((9.6, 9.6), (9.6, 35.0), (35.0, 9.6)):
        viewer.layers.selection.active.add_rectangles([[y, x], [y + 20, x + 20]])
    planned(dock)
    dock.run_bar.run_button.click()
    until(lambda: job_queue().remaining()[1])
    jobs_widget, jobs = viewer.window.add_plugin_dock_widget("napari-recon", "Jobs")
    viewer.window.remove_dock_widget(dock_widget)
    viewer.window._qt_window.resizeDocks([jobs_widget], [300], Qt.Orientation.Horizontal)
    shoot("jobs-dock")
    dock.controller.close()
    jobs.let_go()
    viewer.close()


def from_the_side(viewer: Any) -> None:
    """Show z downwards and x to the right, in the middle of y."""
    viewer.dims.order = (1, 0, 2)
    low, high = viewer.layers[-1].extent.world
    viewer.dims.set_point(1, float(low[1] + high[1]) / 2)
    viewer.reset_view()


def displace(recording: Any) -> None:
    """Move some views, as after something was touched between calibration and recording."""
    import numpy as np

    data = np.array(recording.data)
    for view, offset in ((1, (2, 0)), (3, (0, -3)), (5, (-1, 2))):
        data[..., view, :, :] = np.roll(data[..., view, :, :], offset, (-2, -1))
    recording.data = data


def scroll_to(dock: Any, panel: Any) -> None:
    """Bring a panel into sight, as far up as possible."""
    bar = dock.scroll.verticalScrollBar()
    wait(0.3)
    bar.setValue(panel.mapTo(dock.form, panel.rect().topLeft()).y() - 30)


def take_light_field_pictures(folder: Path) -> None:
    """Work through the dock as a newcomer would."""
    from qtpy.QtCore import Qt

    viewer, dock_widget, dock, shoot = opened("Light field", folder)
    window = viewer.window._qt_window
    shoot("first-run")
    dock.data.sample_button.click()
    planned(dock)
    shoot("sample")
    draw_box(viewer, dock)
    planned(dock)
    shoot("box")
    add_centre_view(viewer, dock.data.layer)
    finished = run(dock.run_bar.preview_button.click, dock)
    show(viewer, finished.layers[0])
    shoot("preview")
    dock.run_bar.run_button.click()
    until(lambda: dock.controller.state == "running" and dock.run_bar.bar.value() > 450)
    shoot("running")
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    until(lambda: bool(results) and dock.controller.state == "idle")
    show(viewer, results[0].layers[0])
    shoot("dock")
    viewer.dims.ndisplay = 3
    dock.run_bar.offer_button.click()
    face(viewer, results[0].layers[0])
    shoot("result-3d")
    dock.run_bar.offer_button.click()
    viewer.dims.ndisplay = 2
    viewer.reset_view()
    viewer.theme = "light"
    show(viewer, results[0].layers[0])
    shoot("light-theme")
    viewer.theme = "dark"
    window.resizeDocks([dock_widget], [350], Qt.Orientation.Horizontal)
    wait(0.5)
    dock.resize(350, dock.height())
    dock.grab().save(str(folder / "narrow.png"))
    dock.let_go()
    viewer.close()


def take_light_field_method_pictures(folder: Path) -> None:
    """Compare methods, refine a network's volume, train one."""
    from qtpy.QtCore import Qt

    from napari_recon import hub

    viewer, dock_widget, dock, shoot = opened("Light field", folder)
    window = viewer.window._qt_window
    dock.data.sample_button.click()
    dock.settings.change({"planes": 101, "iterations": 20})
    viewer.dims.set_current_step(0, 2)
    dock.compare_fold.set_open(True)
    planned(dock)
    ended: list[Any] = []
    dock.comparison.ended.connect(lambda: ended.append(True))
    dock.compare.compare_button.click()
    until(lambda: bool(ended), 900)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    scroll_to(dock, dock.compare_fold)
    shoot("light-field-compare")
    dock.compare.save_picture(folder / "light-field-methods.png")
    window.resizeDocks([dock_widget], [310], Qt.Orientation.Horizontal)
    wait(0.5)
    dock.compare.grab().save(str(folder / "light-field-compare-table.png"))
    window.resizeDocks([dock_widget], [370], Qt.Orientation.Horizontal)
    dock.compare.side_button.click()
    dock.compare_fold.set_open(False)
    small = next(card.id for card in hub.catalogue("serenet.reconstruct") if card.architecture == "serenet")
    dock.choose_method("serenet.reconstruct")
    dock.model.choose(small)
    volume = next(layer for layer in viewer.layers if layer.name.endswith(f"· {dock.model.card.name}"))
    viewer.layers.selection.active = volume
    planned(dock)
    run(dock.refine.button.click, dock)
    for layer in viewer.layers:
        layer.visible = layer.name.endswith("refined")
    viewer.layers.selection.active = volume
    dock.scroll.verticalScrollBar().setValue(0)
    face(viewer, volume)
    shoot("light-field-refine")
    dock.fine_tune.click()
    dock.settings.change({"steps": 12, "validate_every": 3, "crop": 30, "planes": 31})
    planned(dock)
    dock.scroll.verticalScrollBar().setValue(0)
    run(dock.run_bar.run_button.click, dock)
    until(lambda: "trained model" in dock.run_bar.offer_button.text())
    for layer in list(viewer.layers)[:-1]:
        layer.visible = False
    viewer.reset_view()
    shoot("light-field-train")
    dock.let_go()
    viewer.close()


def draw_box(viewer: Any, dock: Any) -> None:
    """Draw a rectangle on the data, as the mouse would."""
    dock.region.draw_button.click()
    viewer.layers.selection.active.add_rectangles([list(corner) for corner in BOX_YX])
    dock.data.layer.contrast_limits = (0, float(dock.data.layer.data.max()) * 0.7)
    viewer.dims.set_current_step(0, 0)


def add_centre_view(viewer: Any, recording: Any) -> None:
    """Put the centre view of the first frame below everything: it stays in sight whatever plane is shown."""
    view = viewer.add_image(
        recording.data[0, recording.data.shape[1] // 2],
        name="centre view",
        scale=recording.scale[-2:],
        translate=recording.translate[-2:],
        units=recording.units[-2:],
        axis_labels=recording.axis_labels[-2:],
        contrast_limits=recording.contrast_limits,
        opacity=0.5,
    )
    viewer.layers.move(viewer.layers.index(view), 1)
    recording.visible = False


def show(viewer: Any, volume: Any) -> None:
    """Show the fullest plane around the focus of a result, over the dimmed data."""
    zyx = volume.data[0]
    depth = zyx.shape[0]
    plane = depth // 3 + int(zyx[depth // 3 : -(depth // 3)].sum(axis=(1, 2)).argmax())
    viewer.dims.set_point(viewer.dims.ndim - 3, volume.data_to_world((0, plane, 0, 0))[-3])
    for layer in viewer.layers:
        if "preview" in layer.name:
            layer.visible = layer is volume


def face(viewer: Any, volume: Any, room: float = 1.6) -> None:
    """Turn the 3D view to a volume, from the side and above."""
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    low, high = volume.extent.world
    camera.center = tuple((low + high)[-3:] / 2)
    camera.angles = (-15, 35, 60)
    camera.zoom = 520 / max((high - low)[-2:].max() * room, 1)
    wait(1)


def run(press: Callable[[], None], dock: Any) -> Any:
    """Press a button and return how the run ended."""
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    press()
    until(lambda: bool(results) and dock.controller.state == "idle")
    dock.controller.finished.disconnect(results.append)
    if results[0].error is not None:
        raise SystemExit(f"the run failed: {results[0].error}")
    return results[0]


def planned(dock: Any) -> None:
    """Wait for the plan of what the form asks for."""
    wait(0.4)
    until(lambda: not dock.planner.busy)


def until(condition: Callable[[], bool], timeout_s: float = 300) -> None:
    """Let the program work until `condition` holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the program did not get there in time")
        wait(0.01)


def wait(seconds: float) -> None:
    """Let the program work for a while."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while True:
        QApplication.processEvents()
        if time.monotonic() >= end:
            return
        time.sleep(0.005)


def save(rgba: Any, path: Path) -> None:
    """Write a PNG, with a palette when it would be too large otherwise."""
    from PIL import Image

    picture = Image.fromarray(rgba[..., :3])
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST_BYTES:
        picture.quantize(256).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


PICTURES = {
    "light_field": take_light_field_pictures,
    "light_field_methods": take_light_field_method_pictures,
    "sim": take_sim_pictures,
    "neural_field": take_neural_field_pictures,
    "field4d": take_field4d_pictures,
    "light_sheet": take_light_sheet_pictures,
    "cells": take_cells_pictures,
    "batch": take_batch_pictures,
    "jobs": take_jobs_pictures,
}

if __name__ == "__main__":
    main()
