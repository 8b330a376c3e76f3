"""The model menu: built-in, imported and downloadable models, each with its card; what does not fit says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_recon import hub
from napari_recon.core.plan import ModelRef
from napari_recon.engines import registry
from napari_recon.engines.serenet.networks.recognise import SUMMARIES
from napari_recon.hub import ModelCard
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.look import Line, allow, describe, guard_wheel, small_button

SUFFIXES = ("*.pt", "*.pth", "*.tar", "*.ckpt", "*.safetensors")


class ModelPanel(FileDrop, QWidget):
    """Chooses a model for an engine; hidden for engines without one.

    Signals
    -------
    changed
        Another model is chosen now.
    message : str, str
        A sentence and its level.
    """

    changed = Signal()
    message = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._engine = ""
        self._needs = "none"
        self._cards: list[ModelCard] = []
        self._wanted: dict[str, str] = {}
        self._unfit: Mapping[str, str] = {}
        self._unasked: set[str] = set()
        self._busy: Any = None
        self.combo = QComboBox()
        self.combo.setMinimumContentsLength(8)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        describe(self.combo, "Model", "The trained network to use")
        guard_wheel(self.combo)
        self.info_button = small_button("i", "About this model", "Show what is known about this model")
        self.info_button.setCheckable(True)
        self.import_button = QPushButton("&Import…")
        self.fetch_button = QPushButton("Dow&nload")
        self.about = Line()
        self.card_view = Line()
        self._lay_out()
        self.setAcceptDrops(True)
        self.combo.activated.connect(self._picked)
        self.info_button.toggled.connect(lambda _: self._show_card())
        self.import_button.clicked.connect(self._browse)
        self.fetch_button.clicked.connect(self._fetch)

    def set_engine(self, name: str, needs_model: str) -> None:
        """List the models of another engine; the model chosen for it before is chosen again."""
        if self._engine and self.card is not None:
            self._wanted[self._engine] = self.card.id
        self._engine, self._needs, self._unfit = name, needs_model, {}
        self.setVisible(needs_model != "none")
        self.refresh()

    def refresh(self) -> None:
        """Read the catalogue again."""
        self._cards = hub.catalogue(self._engine) if self._needs != "none" else []
        self._list()
        self._choose(self._wanted.get(self._engine, ""))

    def choose(self, id: str) -> bool:
        """Choose a model by id; False when it is not in the menu."""
        known = any(card.id == id for card in self._cards)
        self._wanted[self._engine] = id
        self._unasked.discard(self._engine)
        if known:
            self._choose(id)
        return known

    def chosen_for(self, engine: str) -> str:
        """Return the id of the model chosen for an engine in this session; empty when none was."""
        return self._wanted.get(engine, "")

    def set_unfit(self, reasons: Mapping[str, str]) -> None:
        """Grey the models that do not fit the data; their tooltip says why."""
        if reasons != self._unfit:
            self._unfit = dict(reasons)
            self._grey()

    @property
    def card(self) -> ModelCard | None:
        """The chosen model's card."""
        at = self.combo.currentData()
        return self._cards[at] if isinstance(at, int) and 0 <= at < len(self._cards) else None

    def ref(self) -> ModelRef | None:
        """Return the chosen model for a plan, None without one."""
        return self.card.ref() if self.card is not None and self.card.available else None

    def refs(self) -> list[ModelRef]:
        """Return every model that is on this computer."""
        return [card.ref() for card in self._cards if card.available]

    def reason(self) -> str:
        """Return why nothing can be run with this choice; empty when something can."""
        if self._needs != "required":
            return ""
        if self._busy is not None:
            return "Wait for the model"
        if self.card is None:
            return "This method needs a trained model: press Import… and choose a checkpoint file"
        return "" if self.card.available else f"{self.card.name} is not on this computer yet: press Download"

    def take_file(self, path: str) -> None:
        """See `FileDrop.take_file`."""
        self.import_file(path)

    def import_file(self, path: str) -> None:
        """Recognise a checkpoint in the background, add it to the menu and choose it."""
        self._work(lambda: hub.import_model(path), f"Looking into {Path(path).name} …")

    def let_go(self) -> None:
        """Forget what is being imported or fetched."""
        if self._busy is not None:
            self._busy.drop()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", "", f"Models ({' '.join(SUFFIXES)});;All files (*)"
        )
        if path:
            self.import_file(path)

    def _fetch(self) -> None:
        if self.card is not None:
            id_ = self.card.id
            self._work(lambda: hub.fetch(id_), f"Downloading {self.card.name} …")

    def _work(self, get: Callable[[], ModelCard], text: str) -> None:
        self._busy = call_in_background(get, done=self._got, failed=self._failed, parent=self)
        self.about.say(text)
        self._allow()
        self.changed.emit()

    def _got(self, card: ModelCard) -> None:
        self._busy = None
        own = registry.get(card.engine).info if card.engine in registry.names() else None
        foreign = own is not None and card.engine != self._engine and own.needs_model == "required"
        if not foreign:
            self._wanted[self._engine] = card.id
            self._unasked.discard(self._engine)
        self.refresh()
        found = "; ".join(card.inferred)
        where = f"; it belongs to another method: {own.title}" if own is not None and foreign else ""
        self.message.emit(f"Recognised {card.name}{': ' + found if found else ''}{where}", "info")

    def _failed(self, error: Exception) -> None:
        self._busy = None
        self._show_card()
        self._allow()
        self.message.emit(str(error), "error")
        self.changed.emit()

    def _list(self) -> None:
        self.combo.clear()
        if self._needs == "optional":
            self.combo.addItem("none", -1)
        for at, card in enumerate(self._cards):
            self.combo.addItem(card.name if card.available else f"{card.name} (download)", at)
        if not self.combo.count():
            self.combo.addItem("no model yet", -1)
        self._grey()

    def _grey(self) -> None:
        model = self.combo.model()
        assert isinstance(model, QStandardItemModel)
        for row in range(self.combo.count()):
            at = self.combo.itemData(row)
            reason = self._unfit.get(self._cards[at].id, "") if at >= 0 else ""
            item = model.item(row)
            if item is not None:
                item.setEnabled(not reason)
                item.setToolTip(reason or (summary(self._cards[at]) if at >= 0 else ""))

    def _choose(self, id: str) -> None:
        at = next((i for i, card in enumerate(self._cards) if card.id == id), None)
        here = [i for i, card in enumerate(self._cards) if card.available]
        own = [i for i in here if self._cards[i].engine == self._engine]
        unasked = at is None or (self._engine in self._unasked and bool(own))  # nobody wanted just this one
        if unasked and self._needs == "required":
            at = next(iter([i for i in own if i == at] + own + here), 0)
        self.combo.setCurrentIndex(max(0, self.combo.findData(-1 if at is None else at)))
        self._picked()
        if unasked:
            self._unasked.add(self._engine)

    def _picked(self, _: int = 0) -> None:
        self._unasked.discard(self._engine)
        if self.card is not None:
            self._wanted[self._engine] = self.card.id
        self._show_card()
        self._allow()
        self.changed.emit()

    def _show_card(self) -> None:
        card = self.card
        self.about.say(summary(card) if card is not None else self.reason())
        self.card_view.say(card_text(card) if card is not None and self.info_button.isChecked() else "")

    def _allow(self) -> None:
        card, busy = self.card, "Wait for the model" if self._busy is not None else ""
        self.fetch_button.setVisible(card is not None and not card.available)
        allow(self.fetch_button, busy, "Fetch this model from its public source and check it")
        allow(self.import_button, busy, "Add a checkpoint file; published ones are recognised (or drop one here)")
        allow(self.info_button, "" if card is not None else "No model is chosen", "Show what is known about this model")

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.combo, 1)
        for button in (self.info_button, self.fetch_button, self.import_button):
            row.addWidget(button)
        self.card_view.setTextFormat(Qt.TextFormat.PlainText)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.about)
        column.addWidget(self.card_view)


FOR_THE_RUN = {"intensity", "units", "psf_shift"}
"""Parts of a contract that a run obeys and nobody chooses a model by; the button i shows them."""


def summary(card: ModelCard) -> str:
    """Return what a model is: its network in a sentence, contract, origin (what a run made was not fetched)."""
    origin = "from a run" if card.origin == "imported" and card.training else card.origin
    contract = ", ".join(
        f"{'Nnum' if key == 'nnum' else key.replace('_', ' ')} {value}"
        for key, value in card.contract.items()
        if _short(value) and key not in FOR_THE_RUN
    )
    what = SUMMARIES.get(card.architecture, card.architecture).removesuffix(".")
    return " · ".join(part for part in (what, contract, origin) if part)


def card_text(card: ModelCard) -> str:
    """Return everything a card says, one fact per line."""
    rows: list[tuple[str, Any]] = [("id", card.id), ("licence", card.licence), ("source", card.source or card.url)]
    for part in (card.options, card.contract, card.training, card.quality):
        rows += list(part.items())
    rows = list(dict(rows).items())
    rows += [("inferred", text) for text in card.inferred]
    rows += [("sha256", card.sha256[:16]), ("file", card.path)]
    return "\n".join(f"{name}: {value}" for name, value in rows if value not in ("", None, {}, []))


def _short(value: Any) -> bool:
    return isinstance(value, int | float | str) and len(str(value)) < 24
