from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_recon.core.errors import InputError
from napari_recon.widgets.files import Settings, read_settings, write_settings
from napari_recon.widgets.presets import SettingsStore
from napari_recon.widgets.settings_panel import DEFAULTS, LAST, SettingsPanel
from tests.viewer.fake import FakeParams


@pytest.fixture
def store(tmp_path: Path) -> SettingsStore:
    return SettingsStore(tmp_path / "deep" / "settings.yaml")


@pytest.fixture
def panel(store: SettingsStore, qtbot: Any) -> SettingsPanel:
    made = SettingsPanel(store)
    qtbot.addWidget(made)
    made.set_engine("fake.planes", FakeParams)
    made.show()
    return made


def test_store_keeps_last_and_presets_apart_per_engine(store: SettingsStore) -> None:
    assert store.last("a") == {} and store.presets("a") == {}
    store.remember("a", {"rate": 1e-5}, "net-1")
    store.save("a", "zwei", {"n": 2})
    store.save("a", "eins", {"n": 10**12})
    store.save("b", "eins", {"n": 3})
    again = SettingsStore(store.path)
    assert again.last("a") == {"params": {"rate": 1e-5}, "model": "net-1"}
    assert list(again.presets("a")) == ["eins", "zwei"] and again.presets("a")["eins"] == {"n": 10**12}
    again.delete("a", "eins")
    assert list(store.presets("a")) == ["zwei"] and list(store.presets("b")) == ["eins"]


@pytest.mark.parametrize(
    "content", [b"{ not yaml", b"- a\n- list\n", b"\xff\xfe\x00", b"engines: 3\n", b"engines: {a: 4}\n"]
)
def test_broken_file_is_no_obstacle(store: SettingsStore, content: bytes) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(content)
    assert store.last("a") == {}
    store.save("a", "p", {"n": 1})
    assert store.presets("a") == {"p": {"n": 1}}


def test_unwritable_place_is_a_sentence_for_presets_and_silent_for_last(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SettingsStore(tmp_path / "file" / "settings.yaml")
    store.remember("a", {})
    with pytest.raises(InputError, match="could not be written"):
        store.save("a", "p", {})


def test_named_preset_by_keyboard_and_back(panel: SettingsPanel, qtbot: Any) -> None:
    panel.set_values({"planes": 9})
    panel.save_button.click()
    assert panel.name_edit.isVisible()
    qtbot.keyClicks(panel.name_edit, "deep")
    qtbot.keyPress(panel.name_edit, "\r")
    assert panel.preset_combo.currentText() == "deep" and not panel.name_edit.isVisible()
    panel.preset_combo.setCurrentText(DEFAULTS)
    panel.preset_combo.activated.emit(0)
    assert panel.values()["planes"] == 3 and not panel.delete_button.isEnabled()
    panel.preset_combo.setCurrentText("deep")
    panel.preset_combo.activated.emit(1)
    assert panel.values()["planes"] == 9
    panel.delete_button.click()
    assert panel.preset_combo.findText("deep") < 0 and panel.values()["planes"] == 9


def test_last_settings_come_back_and_values_of_other_versions_do_not_hurt(store: SettingsStore, qtbot: Any) -> None:
    store.remember("fake.planes", {"planes": -4, "delay": 0.25, "gone": True, "fail": "unheard of"})
    panel = SettingsPanel(store)
    qtbot.addWidget(panel)
    panel.set_engine("fake.planes", FakeParams)
    assert panel.reason() == "" and panel.preset_combo.currentText() == LAST
    assert panel.values() == {**FakeParams().model_dump(mode="json"), "delay": 0.25}


def test_each_engine_keeps_its_form(panel: SettingsPanel) -> None:
    panel.set_values({"planes": 8})
    panel.set_engine("fake.net", FakeParams)
    assert panel.values()["planes"] == 3
    panel.set_engine("fake.planes", FakeParams)
    assert panel.values()["planes"] == 8


def test_settings_file_round_trip_and_foreign_files(tmp_path: Path) -> None:
    wanted = Settings("fake.planes", {"planes": 5, "delay": 1e-7}, "net-1")
    write_settings(tmp_path / "s.yaml", wanted)
    assert read_settings(tmp_path / "s.yaml") == wanted
    (tmp_path / "other.yaml").write_text("a: 1\n")
    for bad in ("other.yaml", "missing.yaml"):
        with pytest.raises(InputError):
            read_settings(tmp_path / bad)
    with pytest.raises(InputError, match="could not be written"):
        write_settings(tmp_path / "no" / "s.yaml", wanted)
