"""Scrubbing a fitted field between frames in the real viewer: when the exact plane is there, how smooth the window stays.

    scripts/on_display.sh python benchmarks/neural_layer.py

Fields of a movie of 6 x 24 x 256 x 256 voxels: frames joined by motion (the fast fit's), and splines. The same movie as an
ordinary array goes first: what drawing alone takes on this machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from recording import Row, save
from responsiveness import Watch, wait_until

SHAPE = (6, 24, 256, 256)
KINDS = {"motion": "moving frames", "splines": "splines"}
STEPS = 12
REST_S = 0.5


def made(kind: str) -> Path:
    """Write a field with drawn content; only its size matters here."""
    import torch
    from torch.nn.functional import interpolate

    from napari_recon.core.grid import Grid
    from napari_recon.engines.inr4d.place import placed
    from napari_recon.fields.spline import SplineField
    from napari_recon.jobs.artifacts import write_artifact

    drawn = torch.Generator().manual_seed(0)
    frames, planes, rows, columns = SHAPE
    coarse = torch.rand(frames, 1, 6, 32, 32, generator=drawn)
    movie = 1000 * interpolate(coarse, SHAPE[1:], mode="trilinear")[:, 0] ** 4
    geometry = {"T": 30.0, "Z": 1.0, "Y": 0.25, "X": 0.25}
    units = {"T": "second", **dict.fromkeys("ZYX", "micrometer")}
    options = placed(Grid.of("TZYX", SHAPE, geometry, units=units), {}, 0.0, float(movie.max()), (0.0, 1.0))
    if kind == "motion":
        half = (planes // 2, rows // 2, columns // 2)
        motion = interpolate(torch.randn(2 * (frames - 1), 3, 3, 8, 8, generator=drawn), half, mode="trilinear")
        state = {"frames": movie.numpy(), "motion": motion.view(2, frames - 1, 3, *half).numpy()}
    else:
        state = {"coefficients": SplineField.fitted(list(movie), SHAPE, 0.5).coefficients.numpy()}
    card = {"engine": "inr4d.query", "architecture": "motion" if kind == "motion" else "spline", "options": options}
    path = Path(mkdtemp()) / f"{kind}.safetensors"
    write_artifact(path, "model", {"state": state, "card": card})
    return path


def rest(seconds: float) -> None:
    """Let the viewer do what it wants for a while."""
    started = time.perf_counter()
    wait_until(lambda: time.perf_counter() > started + seconds)


def drawing(viewer: Any) -> dict[str, float]:
    """Return the worst gaps with an ordinary array, shown at as many samples as the field."""
    data = np.random.default_rng(0).random((STEPS + 1, 1024, 1024), dtype=np.float32)
    layer = viewer.add_image(data, contrast_limits=(0, 1))
    viewer.reset_view()
    rest(1)
    watch = Watch()
    for step in range(STEPS):
        viewer.dims.set_point(0, step)
        rest(REST_S)
    viewer.layers.remove(layer)
    return {"drawing": max(watch.gaps)}


def scrubbing(viewer: Any, path: Path) -> dict[str, float]:
    """Return times and gaps of single steps between frames and of a fast scrub."""
    from napari_recon.fields.live import LiveField
    from napari_recon.viewer.neural_layer import live_field, open_field

    indexing: list[float] = []
    values = LiveField.values

    def timed(self: LiveField, *args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return values(self, *args, **named)
        finally:
            if self.answers_at_once:
                indexing.append(time.perf_counter() - started)

    LiveField.values = timed  # type: ignore[method-assign]
    layer = open_field(viewer, path)
    live = live_field(layer)
    assert live is not None
    rest(1)
    wait_until(lambda: live.exact, 120)
    rest(2)
    landed: list[Any] = []
    live.landed.connect(landed.append)
    watch, planes, finest = Watch(), [], []
    for step in range(STEPS):
        landed.clear()
        started = time.perf_counter()
        viewer.dims.set_point(0, 30.0 * (1 + step % 4) + 3.0 * (1 + step))
        wait_until(lambda: any(each.kind == "view" and each.whole and each.density > 0.99 for each in landed))
        planes.append(time.perf_counter() - started)
        if step % 4 == 0:
            wait_until(lambda: live.exact, 120)
            finest.append(time.perf_counter() - started)
        rest(REST_S)
    steps = list(watch.gaps)
    watch.gaps.clear()
    for step in range(40):
        viewer.dims.set_point(0, 3.0 * step)
        rest(0.05)
    found = {
        "plane": float(np.median(planes)),
        "finest": float(np.median(finest)),
        "gap": max(steps),
        "gap95": float(np.percentile(steps, 95)),
        "scrub95": float(np.percentile(watch.gaps, 95)),
        "index": float(np.percentile(indexing, 95)),
    }
    viewer.layers.remove(layer)
    LiveField.values = values  # type: ignore[method-assign]
    return found


def alone(path: Path) -> float:
    """Return the time of one plane without a viewer."""
    from napari_recon.engines.live_fields import field_source
    from napari_recon.fields.live_lattice import Span, by_axis

    source = field_source(path)
    evaluate = source.open()
    spans = [Span(2.5, 1, 1), Span(11.0, 1, 1), Span(0, 1, SHAPE[2]), Span(0, 1, SHAPE[3])]
    times = []
    for _ in range(8):
        started = time.perf_counter()
        evaluate(by_axis(source.data, tuple(spans)), lambda: None)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def child(kind: str) -> None:
    """Measure one field in this process; print JSON."""
    import napari

    path = made(kind)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    rest(1)
    found = {**drawing(viewer), **scrubbing(viewer, path), "alone": alone(path)}
    viewer.close()
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    """Measure every kind of field in a fresh process and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", default="")
    asked = parser.parse_args()
    if asked.child:
        return child(asked.child)
    rows = []
    for kind, title in KINDS.items():
        command = [sys.executable, __file__, "--child", kind]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        rows += [
            Row(f"{title}: exact 256 x 256 plane between frames, slider to screen", found["plane"], "s", "< 0.15"),
            Row(f"{title}: the same plane evaluated without a viewer", found["alone"], "s"),
            Row(f"{title}: all samples of the screen (1024 x 1024) exact", found["finest"], "s"),
            Row(f"{title}: one indexing by the viewer, 95th percentile", found["index"], "s", "< 0.02"),
            Row(f"{title}: gap of a 10 ms timer while stepping, 95th percentile", found["gap95"], "s", "< 0.05"),
            Row(f"{title}: worst gap while stepping", found["gap"], "s"),
            Row(f"{title}: worst gap with an ordinary array of that size (drawing alone)", found["drawing"], "s"),
            Row(f"{title}: gap during a fast scrub, 95th percentile", found["scrub95"], "s"),
        ]
    note = f"A field of {' x '.join(map(str, SHAPE))} voxels (t, z, y, x); virtual display, software OpenGL."
    save("neural_layer", rows, "scripts/on_display.sh python benchmarks/neural_layer.py", note)


if __name__ == "__main__":
    main()
