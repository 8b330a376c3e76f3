from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from superqt.utils import WorkerBase

from napari_recon.core.provenance import KEY
from napari_recon.widgets.cells import CellsWidget
from tests.widgets.test_light_field import MANIFEST

pytestmark = [pytest.mark.gl, pytest.mark.usefixtures("real_region")]


@pytest.fixture
def viewer(make_napari_viewer: Any, npe2pm: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path / "cache"))
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer()


def test_two_clicks_from_nothing_to_cells_that_follow_their_nuclei(viewer: Any, qtbot: Any) -> None:
    viewer.open_sample("napari-recon", "cells")
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-recon", "Cells")
    assert isinstance(dock, CellsWidget)
    qtbot.waitUntil(lambda: not dock.planner.busy and dock.run_bar.run_button.isEnabled(), timeout=20000)
    with qtbot.waitSignal(dock.controller.finished, timeout=120000) as done:
        dock.run_bar.run_button.click()
    assert done.args[0].error is None
    labels, points = viewer.layers["membranes · Cells"], viewer.layers["nuclei"]
    assert viewer.layers.selection.active is points
    assert {"index", "name", "volume", "surface", "contacts"} <= set(labels.features)
    qtbot.waitUntil(lambda: not dock.live.busy, timeout=20000)
    before = np.array(labels.data)
    viewer.dims.set_point(0, 0.0)
    with qtbot.waitSignal(dock.live.shown, timeout=20000):
        points.selected_data = {0}
        start = points.data[0].copy()
        for way in (0, 5):  # a drag begins where it is and ends elsewhere
            points._move([0], start + (0, 0, way, 0))
        points.events.data(value=points.data, action="changed", data_indices=(0,), vertex_indices=((),))
    assert (np.asarray(labels.data)[0] != before[0]).any() and (np.asarray(labels.data)[1:] == before[1:]).all()

    # the newest of several edits is what is shown
    for shift in (2.0, -4.0, 6.0):
        data = points.data.copy()
        data[1, 3] += shift
        points.data = data
    qtbot.waitUntil(lambda: dock.live._call is None and not dock.seeds._edited.isActive(), timeout=20000)
    rows = {row["cell"]: row for row in dock.seeds.rows() if row["time"] == 0}
    assert rows["ABar"]["x"] == pytest.approx(points.data[1, 3])
    assert dock.live._editing._nuclei[0] and {c.zyx[2] for c in dock.live._editing._nuclei[0]} == {
        r["x"] for r in rows.values()
    }

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # napari says once that volumes have no contours
        viewer.dims.ndisplay = 3
    assert labels.contour == 0
    viewer.dims.ndisplay = 2
    assert labels.contour == 1
    from qtpy.QtCore import Qt

    viewer.window._qt_window.resize(1200, 800)
    for width in (300, 420):
        viewer.window._qt_window.resizeDocks([dock_widget], [width], Qt.Orientation.Horizontal)
        qtbot.wait(20)
        assert dock.form.width() <= dock.scroll.viewport().width() + 1 and dock.height() <= 800

    # repeated from its recipe, the edited nuclei are used
    qtbot.waitUntil(lambda: not dock.planner.busy, timeout=20000)
    edited = labels.metadata[KEY]["recipe"]["steps"][-1]["inputs"]["seeds"][0]["path"]
    viewer.window.remove_dock_widget(dock)
    assert edited.endswith(".csv") and len(Path(edited).read_text().splitlines()) == len(points.data) + 1
    WorkerBase.await_workers(60_000)
