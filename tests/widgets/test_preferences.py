from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest

from napari_recon.core.compute import Compute
from napari_recon.core.settings import may_download
from napari_recon.engines import registry
from napari_recon.hub import cache_folder
from napari_recon.viewer import preferences
from napari_recon.widgets.presets import SettingsStore
from napari_recon.widgets.settings_panel import SettingsPanel
from tests.widgets.conftest import FakeDock, planned, recording
from tests.widgets.test_light_field import MANIFEST


def test_automatic_without_the_plugin(plugin_settings: Any) -> None:
    assert preferences.compute() == Compute()


def test_preferences_reach_the_plan(plugin_settings: Any, npe2pm: Any, viewer: ViewerModel, qtbot: Any) -> None:
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    assert preferences.compute() == Compute()
    settings = preferences._settings("compute")
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


def test_previews_refreshes_files_and_precision(
    plugin_settings: Any, npe2pm: Any, viewer: ViewerModel, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (preferences.preview_size(63), preferences.refresh_ms(), preferences.precision()) == (63, 100, "float32")
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    assert (preferences.preview_size(63), preferences.refresh_ms(), preferences.precision()) == (63, 100, "float32")
    shown, files = preferences._settings("viewer"), preferences._settings("files")
    shown.preview_size, shown.refreshes_per_second = 128, 4
    preferences._settings("compute").precision = "fast"
    files.cache_folder, files.downloads = str(tmp_path), False
    monkeypatch.setenv("NAPARI_RECON_CACHE", "before")
    monkeypatch.setenv("NAPARI_RECON_OFFLINE", "")
    preferences.use_files()
    assert (preferences.preview_size(63), preferences.refresh_ms(), cache_folder()) == (128, 250, tmp_path)
    assert not may_download()
    panel = SettingsPanel(SettingsStore(tmp_path / "settings"))
    qtbot.addWidget(panel)
    panel.set_engine("serenet.reconstruct", registry.get("serenet.reconstruct").Params)
    assert panel.values()["precision"] == "fast"
