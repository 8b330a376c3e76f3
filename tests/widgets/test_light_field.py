from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_recon.engines import registry
from napari_recon.widgets.light_field import LightFieldWidget
from tests.widgets.conftest import FakeDock, planned, recording

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "src" / "napari_recon" / "napari.yaml"

OPEN_DOCK = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
import napari_recon.viewer.plugin
from napari_recon.widgets.light_field import LightFieldWidget
viewer = ViewerModel()
dock = LightFieldWidget(viewer)
dock.show()
import numpy as np
viewer.add_image(np.ones((49, 45, 45), np.float32), scale=(1, .5, .5), units=("pixel", "um", "um"))
import time
until = time.monotonic() + 20
while (not dock.estimate.line.text() or dock.planner.busy) and time.monotonic() < until:
    app.processEvents()
for at in range(dock.method_combo.count()):
    dock.choose_method(dock.method_combo.itemData(at))
    app.processEvents()
assert dock.estimate.line.text() or dock.run_bar.run_button.toolTip()
dock.close()
heavy = {"torch", "pyqtgraph", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_opening_and_planning_import_no_torch(tmp_path: Path) -> None:
    env = {**os.environ, "NAPARI_RECON_CONFIG": str(tmp_path), "NAPARI_RECON_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN_DOCK], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_methods_are_engines_and_the_default_needs_no_weights(viewer: ViewerModel, qtbot: Any) -> None:
    dock = LightFieldWidget(viewer)
    qtbot.addWidget(dock)
    first = ["deconvolution.lightfield_rl", "serenet.reconstruct", "serenet.refocus", "serenet.train"]
    assert list(dock.methods) == [*first, *(f"serenet.{name}" for name in ("predao", "twnet", "vsnet", "realign"))]
    assert dock.engine == "deconvolution.lightfield_rl" and dock.info.needs_model == "none"
    for name, params in dock.preview_params.items():
        registry.get(name).Params.model_validate(params)
    dock.let_go()


def test_shortcuts_on_the_viewer_start_runs_and_go_with_the_dock(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    keys = {str(key): action for key, action in viewer.keymap.items()}
    assert set(keys) == {"Shift+R", "Ctrl+Shift+R"}
    keys["Shift+R"](viewer)
    assert "open the sample" in dock.run_bar.message_line.text()
    viewer.add_layer(recording())
    planned(dock, qtbot)
    for action, preview in ((keys["Shift+R"], True), (keys["Ctrl+Shift+R"], False)):
        with qtbot.waitSignal(dock.controller.finished, timeout=10000) as done:
            action(viewer)
        assert done.args[0].job.preview is preview
        qtbot.waitUntil(lambda: dock.controller.state == "idle")
    dock.close()
    assert not viewer.keymap


def test_keyboard_alone_reaches_everything_in_reading_order(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording((3, 5, 8, 10)))
    planned(dock, qtbot)
    dock.activateWindow()
    dock.method_combo.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    seen: list[QWidget] = []
    for _ in range(80):
        seen.append(QApplication.focusWidget())
        qtbot.keyClick(seen[-1], Qt.Key.Key_Tab)
        if QApplication.focusWidget() is dock.method_combo:
            break
    stops = [
        dock.method_combo,
        dock.data.combo,
        dock.data.axes_edit,
        dock.region.draw_button,
        dock.region.rows["T"].first,
        dock.settings.preset_combo,
        dock.settings.form.fields["planes"].inputs()[0],
        dock.run_bar.preview_button,
        dock.run_bar.run_button,
        dock.run_bar.menu_button,
    ]
    assert [w for w in seen if w in stops] == stops


def test_mnemonics_do_not_clash(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording((3, 5, 8, 10)))
    planned(dock, qtbot)
    dock.run_bar.set_state("running")
    dock.choose_method("fake.net")
    texts = [w.text() for w in dock.findChildren(QWidget) if hasattr(w, "text") and callable(w.text) and w.isVisible()]
    letters = [t[t.index("&") + 1].lower() for t in texts if isinstance(t, str) and "&" in t]
    assert len(letters) == len(set(letters)) and len(letters) >= 8, sorted(letters)
    assert not set(letters) & set("fvlpwh")  # napari's own menus


def test_run_by_mnemonic(dock: FakeDock, viewer: ViewerModel, qtbot: Any) -> None:
    viewer.add_layer(recording())
    planned(dock, qtbot)
    dock.run_bar.run_button.setFocus()
    with qtbot.waitSignal(dock.controller.finished, timeout=10000):
        qtbot.keyClick(dock.run_bar.run_button, Qt.Key.Key_Space)


def test_manifest_is_valid_and_everything_it_names_exists() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "napari-recon"
    named = {command.id for command in manifest.contributions.commands}
    contributions = manifest.contributions
    used = [w.command for w in contributions.widgets] + [s.command for s in contributions.sample_data or ()]
    used += [c.command for c in [*(contributions.readers or ()), *(contributions.writers or ())]]
    for items in contributions.menus.values():
        used += [item.command for item in items if hasattr(item, "command")]
    assert set(used) == named  # nothing missing, nothing useless
    assert all(widget.tabify for widget in contributions.widgets)


def test_readers_claim_no_pictures_of_others() -> None:
    readers = PluginManifest.from_file(MANIFEST).contributions.readers or []
    claimed = {p for reader in readers for p in reader.filename_patterns}
    # weights are looked into, and an OME-Zarr is asked who wrote it
    assert claimed == {"*.recipe.yaml", "*.zarr", "*.safetensors", "*.pt", "*.pth", "*.tar"}


def test_top_level_manifest_is_the_shipped_one() -> None:
    top = ROOT / "napari.yaml"
    if not top.is_symlink() and top.read_text().strip().endswith("napari.yaml"):
        pytest.skip("this checkout stores symbolic links as text files")
    assert top.read_bytes() == MANIFEST.read_bytes()
