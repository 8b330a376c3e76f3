from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.io import open_stack
from napari_recon.widgets.sharing import kept_model
from tests.widgets.conftest import FakeDock, planned, recording

MODEL = {
    "state": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "card": {"engine": "fake.net", "architecture": "tiny", "options": {"features": 2}},
}


def test_a_model_that_a_run_made_is_kept_with_its_card() -> None:
    card = kept_model(MODEL, "trained-1", "trained today")
    assert card.id == "trained-1" and card.title == "trained today" and card.options == {"features": 2}
    assert [c.id for c in hub.catalogue("fake.net")] == ["trained-1"]
    with pytest.raises(InputError):
        kept_model([1, 2], "trained-2", "")


def test_models_of_runs_appear_in_the_menu_and_other_artifacts_do_not(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any
) -> None:
    dock.choose_method("fake.net")
    dock.controller.artifact.emit(ArtifactReady("table", "table", [{"a": 1}]))
    dock.controller.artifact.emit(ArtifactReady("net", "model", MODEL))
    qtbot.waitUntil(lambda: "in the menu" in dock.run_bar.message_line.text(), timeout=10000)
    assert [c.engine for c in hub.catalogue("fake.net")] == ["fake.net"]
    assert any("trained" in dock.model.combo.itemText(i) for i in range(dock.model.combo.count()))


def test_a_run_goes_into_a_file_and_dropped_files_bring_settings_or_data(
    dock: FakeDock, viewer: ViewerModel, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "planes"), ""))
    viewer.add_layer(recording())
    planned(dock, qtbot)
    results: list[Any] = []
    dock.controller.finished.connect(results.append)
    next(a for a in dock.run_bar.menu_button.menu().actions() if "Run into" in a.text()).trigger()
    qtbot.waitUntil(lambda: len(results) == 1)
    path = tmp_path / "planes.ome.zarr"
    (made,) = results[0].layers
    assert made.metadata["napari-recon-path"] == str(path) and open_stack(path).grid.axes == "ZYX"
    np.testing.assert_array_equal(open_stack(path).data, np.asarray(made.data))
    assert f"in {path}" in dock.run_bar.log_view.toPlainText()
    qtbot.waitUntil(lambda: dock.controller.state == "idle")
    dock.start_run()
    qtbot.waitUntil(lambda: len(results) == 2)
    assert isinstance(results[1].layers[0].data, np.ndarray) and len(list(tmp_path.glob("*.zarr"))) == 1
    qtbot.waitUntil(lambda: dock.controller.state == "idle")
    _drop(dock, path)
    qtbot.waitUntil(lambda: "Settings loaded" in dock.run_bar.message_line.text())
    np.save(tmp_path / "new.npy", np.zeros((5, 8, 8), np.float32))
    _drop(dock, tmp_path / "new.npy")
    qtbot.waitUntil(lambda: any(layer.name == "new" for layer in viewer.layers))


def _drop(dock: FakeDock, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    assert dock.acceptDrops() and dock.sharing.eventFilter(dock, event)
