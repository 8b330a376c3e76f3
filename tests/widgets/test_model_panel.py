from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_recon import hub
from napari_recon.core.errors import CheckpointError
from napari_recon.hub import ModelCard
from napari_recon.widgets.model_panel import ModelPanel, card_text, summary

HERE = ModelCard(
    id="net-a",
    title="Net A",
    engine="fake.net",
    architecture="net",
    contract={"views": 49, "normalisation": {"scale": 1}},
    licence="BSD",
    origin="built in",
    path="/models/a",
)
AWAY = ModelCard(id="net-b", engine="fake.net", architecture="net", url="https://example.org/b", origin="downloadable")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[ModelCard]:
    found = [HERE, AWAY]
    monkeypatch.setattr(hub, "catalogue", lambda engine=None: list(found))
    return found


@pytest.fixture
def panel(cards: list[ModelCard], qtbot: Any) -> ModelPanel:
    made = ModelPanel()
    qtbot.addWidget(made)
    made.set_engine("fake.net", "required")
    made.show()
    return made


def pick(panel: ModelPanel, row: int) -> None:
    panel.combo.setCurrentIndex(row)
    panel.combo.activated.emit(row)


def test_menu_starts_with_what_is_here_and_explains_it(panel: ModelPanel) -> None:
    assert panel.card is not None and panel.card.id == "net-a" and panel.reason() == ""
    assert panel.about.text() == "net · views 49 · built in" == summary(HERE)
    made = HERE.model_copy(update={"origin": "imported", "training": {"method": "fast"}})
    assert summary(made).endswith("from a run")
    assert not panel.card_view.isVisible()
    panel.info_button.click()
    assert "licence: BSD" in panel.card_view.text() and "licence: BSD" in card_text(HERE)


def test_model_that_is_not_here_offers_the_download(
    panel: ModelPanel, cards: list[ModelCard], qtbot: Any, monkeypatch
) -> None:
    pick(panel, 1)
    assert panel.ref() is None and "Download" in panel.reason() and panel.fetch_button.isVisible()

    def fetch(id: str) -> ModelCard:
        cards[1] = AWAY.model_copy(update={"path": "/models/b"})
        return cards[1]

    monkeypatch.setattr(hub, "fetch", fetch)
    with qtbot.waitSignal(panel.message, timeout=5000):
        panel.fetch_button.click()
        assert panel.reason() == "Wait for the model"
    assert panel.reason() == "" and panel.card.id == "net-b"


def test_a_model_of_another_method_is_not_chosen_unasked(
    panel: ModelPanel, cards: list[ModelCard], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = HERE.model_copy(update={"id": "tw", "title": "Tw", "engine": "serenet.twnet", "origin": "imported"})
    monkeypatch.setattr(hub, "import_model", lambda path: cards.append(other) or other)
    panel.set_engine("serenet.twnet", "required")
    assert panel.card.id == "net-a"  # there is nothing better
    panel.set_engine("fake.net", "required")
    with qtbot.waitSignal(panel.message, timeout=5000) as told:
        panel.import_file("tw.pth")
    assert panel.card.id == "net-a" and "another method: TW-Net" in told.args[0]
    panel.set_engine("serenet.twnet", "required")
    assert panel.card.id == "tw"
    pick(panel, 0)
    panel.refresh()
    assert panel.card.id == "net-a"  # now somebody wants it


def test_unfit_models_are_grey_with_the_reason(panel: ModelPanel) -> None:
    panel.set_unfit({"net-a": "49 views were expected, found 5; choose another model"})
    item = panel.combo.model().item(0)
    assert not item.isEnabled() and "49 views" in item.toolTip()
    panel.set_unfit({})
    assert item.isEnabled() and item.toolTip() == summary(HERE)


def test_dropped_checkpoint_is_recognised_and_chosen(
    panel: ModelPanel, cards: list[ModelCard], qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    new = HERE.model_copy(update={"id": "mine", "title": "Mine", "inferred": ("49 views from conv1",), "origin": "imported"})

    def import_model(path: str) -> ModelCard:
        cards.append(new)
        return new

    monkeypatch.setattr(hub, "import_model", import_model)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "net.pth"))])
    event = QDropEvent(
        QPointF(2, 2), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    with qtbot.waitSignal(panel.message, timeout=5000) as told:
        panel.dropEvent(event)
    assert panel.card.id == "mine" and "49 views from conv1" in told.args[0]


def test_refused_checkpoint_is_a_sentence_and_the_choice_stays(
    panel: ModelPanel, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> ModelCard:
        raise CheckpointError("conv1 should be 32 x 49, found 32 x 5; choose another file")

    monkeypatch.setattr(hub, "import_model", refuse)
    with qtbot.waitSignal(panel.message, timeout=5000) as told:
        panel.import_file("bad.pth")
    assert told.args == ["conv1 should be 32 x 49, found 32 x 5; choose another file", "error"]
    assert panel.card.id == "net-a" and panel.import_button.isEnabled()


def test_choice_is_kept_per_engine_and_hidden_without_models(panel: ModelPanel) -> None:
    pick(panel, 1)
    panel.set_engine("fake.planes", "none")
    assert not panel.isVisible() and panel.ref() is None and panel.reason() == ""
    panel.set_engine("fake.net", "required")
    assert panel.card.id == "net-b"
    assert not panel.choose("unheard-of")
    panel.set_engine("fake.opt", "optional")
    assert panel.card is None and panel.reason() == ""


def test_no_model_at_all_says_how_to_get_one(panel: ModelPanel, cards: list[ModelCard]) -> None:
    cards.clear()
    panel.refresh()
    assert panel.combo.currentText() == "no model yet" and "Import" in panel.about.text()
