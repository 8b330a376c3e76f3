from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.widgets.sharing import kept_model
from tests.widgets.conftest import FakeDock

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
