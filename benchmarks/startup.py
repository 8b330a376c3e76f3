"""Start-up: help, importing, opening the dock and a large result; each in fresh processes, the best of several.

scripts/on_display.sh python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

from recording import Row, save

REPEATS = 7
OPEN_DOCK = """
import sys, time, napari
viewer = napari.Viewer(show=False)
started = time.perf_counter()
from napari_recon.widgets.light_field import LightFieldWidget
dock = LightFieldWidget(viewer)
print(time.perf_counter() - started, int("torch" in sys.modules))
dock.let_go()
viewer.close()
"""
OPEN_RESULT = """
import sys, tempfile, time, napari
import numpy as np
from pathlib import Path
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io.omezarr import ZarrOutput
from napari_recon.viewer.plugin import get_zarr_reader
grid = Grid.of("TZYX", (1000, 48, 1024, 1024), {"Z": 4.0})
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "result.ome.zarr"
    file = ZarrOutput(path, OutputSpec(name="result", grid=grid, dtype="uint16"))
    file.write((slice(0, 1), slice(0, 48), slice(0, 1024), slice(0, 1024)), np.ones((1, 48, 1024, 1024), np.uint16))
    file.finish({"recipe": {"schema": 1, "steps": []}})
    viewer = napari.Viewer(show=True)
    viewer.add_image(np.zeros((8, 8)))  # what napari itself loads with its first layer
    started = time.perf_counter()
    (data,) = get_zarr_reader(str(path))(str(path))
    layer = viewer.add_layer(napari.layers.Layer.create(*data))
    napari.qt.get_qapp().processEvents()
    print(time.perf_counter() - started, int("torch" in sys.modules))
    assert layer.multiscale and len(layer.data) == 2
    viewer.close()
"""


def wall_seconds(*command: str) -> float:
    """Return the shortest time of several fresh processes."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def seconds_in_viewer(program: str) -> tuple[float, int]:
    """Return the shortest time that a program in a viewer tells, and whether torch was imported."""
    found = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
        seconds, torch = done.stdout.split()[-2:]
        found.append((float(seconds), int(torch)))
    return min(found)[0], max(torch for _, torch in found)


def main() -> None:
    """Measure and record."""
    dock, torch = seconds_in_viewer(OPEN_DOCK)
    result, _ = seconds_in_viewer(OPEN_RESULT)
    rows = [
        Row("interpreter alone (`python -c pass`)", wall_seconds("-c", "pass"), "s"),
        Row("`import napari_recon`", wall_seconds("-c", "import napari_recon"), "s"),
        Row("`napari-recon --help`", wall_seconds("-m", "napari_recon", "--help"), "s", "< 0.3"),
        Row("opening the Light field dock in a running viewer", dock, "s"),
        Row("opening a result of 100 GB (OME-Zarr) in a running viewer", result, "s", "< 2"),
        Row("torch imported by opening the dock (0: no)", torch, "", "<= 0"),
    ]
    save("startup", rows, "scripts/on_display.sh python benchmarks/startup.py", f"Best of {REPEATS} fresh processes each.")


if __name__ == "__main__":
    main()
