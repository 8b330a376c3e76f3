"""``demo``: the main job on the shipped sample data, in napari when there is a display, else into files and a picture."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from napari_recon import samples
from napari_recon.cli.execute import CANCELLED, interruptible
from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Json
from napari_recon.cli.progress import say, shown
from napari_recon.core.events import BlockReady, PreviewReady, apply_block
from napari_recon.core.grid import Grid
from napari_recon.core.region import Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.jobs.api import compare
from napari_recon.jobs.measure import peak_memory_bytes
from napari_recon.jobs.names import make_folder
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.planning import make_plan
from napari_recon.jobs.running import run_plan

ENGINE = "deconvolution.lightfield_rl"
FRAME = 0
SAMPLE = "lightfield"


def demo(
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="DIR", help="Where files go.")] = None,
    no_gui: Annotated[bool, typer.Option("--no-gui", help="Only files, even when there is a display.")] = False,
    json: Json = False,
) -> None:
    """Reconstruct a simulated light field and compare it with the truth; needs no other files and no weights."""
    viewer = not no_gui and _display() and _viewer_installed()
    if out is not None or not viewer:
        values = reconstruct_sample(Path(out or "recon-demo"))
        if json:
            typer.echo(dumps(values))
        else:
            _print(values)
    if not no_gui and _display() and not viewer:
        say('to see it in the viewer: pip install "napari-recon[all]"')
    if viewer:
        open_viewer()


def reconstruct_sample(folder: Path) -> dict[str, Any]:
    """Reconstruct the first frame of the sample into `folder` and return paths, times and the quality against the truth."""
    make_folder(folder)
    started = time.perf_counter()
    raw = samples.path("lightfield.ome.tif")
    plan, inputs = make_plan(ENGINE, {"views": [raw]}, selection=Selection(time=TimeRange(start=FRAME, stop=FRAME + 1)))
    spec = plan.outputs[0]
    writer = OutputWriter(folder / "volume.ome.tif", plan)
    volume = np.zeros(spec.grid.shape, np.float32)
    with interruptible() as token:
        for event in shown(writer.through(run_plan(plan, inputs, token)), "reconstructing the sample"):
            if isinstance(event, BlockReady | PreviewReady) and event.output == spec.name:
                apply_block(volume, event)
        if token.cancelled:
            say("cancelled")
            raise typer.Exit(CANCELLED)
    seconds = time.perf_counter() - started
    views = inputs["views"][0].read("VYX", t=FRAME)
    truth = _truth()
    volume = volume.reshape(volume.shape[-3:])
    picture = write_picture(folder / "demo.png", views, volume, truth.read("ZYX", t=FRAME), spec.grid)
    quality = compare(volume, truth.read("ZYX", t=FRAME), align="scale")
    return {
        "result": writer.paths[spec.name],
        "outputs": {**writer.paths, "picture": str(picture)},
        "shape": list(spec.grid.shape),
        "axes": spec.grid.axes,
        "seconds": round(seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(plan.compute.device),
        "device": plan.compute.device,
        "metrics": quality,
    }


def _truth() -> ImageStack:
    from napari_recon.io import open_stack

    return open_stack(samples.path("lightfield_truth.ome.tif"))


def write_picture(target: Path, views: Any, volume: Any, truth: Any, grid: Grid) -> Path:
    """Write raw data, reconstruction and truth side by side as PNG and return its path."""
    from imagecodecs import png_encode

    from napari_recon.cli.picture import side_by_side

    aspect = abs(grid.step("Z") / grid.step("Y"))
    target.write_bytes(png_encode(side_by_side(views, volume, truth, aspect)))
    return target


def open_viewer() -> Any:
    """Open napari with the sample and the Light field dock, and start; returns the dock when the window is closed."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_recon.viewer.plugin import PLUGIN, open_dock

    viewer = napari.Viewer(title="napari-recon demo")
    viewer.open_sample(PLUGIN, SAMPLE)
    dock = open_dock(viewer, ENGINE)
    # the window should be seen before it gets busy
    QTimer.singleShot(500, dock.start_run)
    napari.run()
    return dock


def _display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _viewer_installed() -> bool:
    return all(importlib.util.find_spec(module) for module in ("napari", "qtpy"))


def _print(values: dict[str, Any]) -> None:
    metrics = values["metrics"]
    shape = " x ".join(map(str, values["shape"]))
    typer.echo(f"reconstructed {values['axes']} {shape} in {values['seconds']:.1f} s on {values['device']}")
    typer.echo(
        f"against the truth: PSNR {metrics['psnr']:.1f} dB, correlation {metrics['corr']:.3f}, SSIM {metrics['ssim']:.3f}"
    )
    for name, path in values["outputs"].items():
        typer.echo(f"{name}: {path}")
