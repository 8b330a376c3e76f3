from __future__ import annotations

from typing import Any

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

from napari_recon.core.compute import Compute
from napari_recon.widgets import preferences
from tests.widgets.conftest import FakeDock, planned, recording
from tests.widgets.test_light_field import MANIFEST


def test_automatic_without_the_plugin(plugin_settings: Any) -> None:
    assert preferences.compute() == Compute()


def test_preferences_reach_the_plan(plugin_settings: Any, npe2pm: Any, viewer: ViewerModel, qtbot: Any) -> None:
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    assert preferences.compute() == Compute()
    settings = preferences._settings()
    settings.device, settings.threads, settings.memory_gb = "cpu", 3, 1.5
    assert preferences.compute() == Compute(device="cpu", threads=3, memory_bytes=1_500_000_000)
    with pytest.raises(ValueError, match="device"):
        settings.device = "abacus"
    dock = FakeDock(viewer)
    qtbot.addWidget(dock)
    viewer.add_layer(recording())
    planned(dock, qtbot)
    assert "of 1.5 GB on cpu" in dock.estimate.line.text()
    dock.let_go()
