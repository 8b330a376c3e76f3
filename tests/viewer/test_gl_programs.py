from __future__ import annotations

import subprocess
import sys

import pytest

REMOVE_SHAPES = """
import time, napari, numpy as np
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication
from napari_recon.viewer.gl_programs import keep_programs
keep_programs()
viewer = napari.Viewer(show=True)
viewer.add_image(np.random.default_rng(0).random((20, 64, 64)))
def spin(seconds):
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
shapes = viewer.add_shapes([np.array([[0, 0], [0, 50], [50, 50], [50, 0]])], shape_type="polygon")
spin(0.5)
viewer.layers.remove(shapes)
for _ in range(10):
    viewer.camera.zoom *= 1.01
    spin(0.05)
viewer.close()
"""


@pytest.mark.gl
def test_the_viewer_survives_the_removal_of_a_shapes_layer() -> None:
    command = [sys.executable, "-W", "ignore", "-c", REMOVE_SHAPES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
