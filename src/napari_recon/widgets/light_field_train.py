"""Training in the Light field dock: what a network starts from, the microscope it is for, and fine-tuning in one click."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.training.params import GOING_ON
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.look import Line, allow, describe, guard_wheel
from napari_recon.widgets.refine import NETWORK

TRAIN = "serenet.train"
NEW = "a new network"
FINE_TUNING: Mapping[str, Any] = {
    **{"steps": 120, **GOING_ON, "averaging": 0.98, "precision": "mixed"},
    **{"validate_every": 20, "checkpoint_every": 20, "patience": 4},
}
"""What suits some minutes on one's own recording."""
LEARNS_FROM = {"fserenet": ("fserenet", "serenet"), "renet": ("serenet",)}
"""Architectures that a network can start from, where they are not its own."""


class TrainPanel(QWidget):
    """What a network starts from, and in words what it will learn from.

    Parameters
    ----------
    dock : LightFieldWidget
        Has the method `TRAIN`, and a `PsfPanel` named ``psf``.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self._dock = dock
        self._writing: Any = None
        self._seen: Any = None
        self._optics = ""
        self.start_combo, self.line = QComboBox(), Line()
        self.start_combo.setMinimumContentsLength(8)
        self.start_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        describe(self.start_combo, "Start from", "A new network, or a model to train further, for its microscope")
        guard_wheel(self.start_combo)
        label = QLabel("Start from")
        label.setBuddy(self.start_combo)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.start_combo, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.line)
        self.start_combo.activated.connect(self._start_chosen)

    @property
    def active(self) -> bool:
        """Whether the dock trains now."""
        return bool(self._dock.engine == TRAIN)

    def show_settings(self) -> None:
        """Bring the panel in line with the settings and inputs; cheap."""
        if not self.active:
            return
        values = self._dock.settings.values()
        network = str(values.get("network", ""))
        cards = startable(network)
        ids = ["", *(card.id for card in cards)]
        chosen = values.get("init") or ""
        if chosen not in ids:
            ids.append(chosen)
        names = {card.id: card.name for card in cards}
        if [self.start_combo.itemData(i) for i in range(self.start_combo.count())] != ids:
            self.start_combo.clear()
            for id_ in ids:
                self.start_combo.addItem(names.get(id_, Path(id_).name) if id_ else NEW, id_)
        self.start_combo.setCurrentIndex(self.start_combo.findData(chosen))
        given = {name for name, row in self._dock.data.extras.items() if row.given}
        self.line.say(teacher(network, given))

    def take_psf(self) -> None:
        """Let the chosen PSF say where each view sees each depth; one that is in no file is written to one first."""
        psf = self._dock.psf
        if not self.active or self._writing is not None:
            return
        if not psf.given:
            if self._optics and self._dock.settings.values().get("psf_shift") == self._optics:
                self._dock.settings.change({"psf_shift": self._dock.settings.form.default("psf_shift")})
            self._optics, self._seen = "", None
            return
        try:
            stack = psf.stack()
        except InputError:
            return  # the panel says what is wrong
        if "V" not in stack.grid.axes or self._seen is stack.data:
            return
        self._seen = stack.data
        if Path(stack.uri).is_file():
            self._take(stack.uri)
            return
        self._dock.run_bar.say("Writing the PSF down for the training …")
        self._writing = call_in_background(partial(written_psf, stack), done=self._written, failed=self._failed, parent=self)

    def let_go(self) -> None:
        """Forget what is being written."""
        if self._writing is not None:
            self._writing.drop()

    def _written(self, path: str) -> None:
        self._writing = None
        self._take(path)

    def _failed(self, error: Exception) -> None:
        self._writing = None
        self._dock.run_bar.say(str(error), "error")

    def _take(self, path: str) -> None:
        self._optics = path
        if self.active:
            self._dock.settings.change({"psf_shift": path})
            self._dock.run_bar.say("The training is for the microscope of this PSF, by its centres of mass", "good")

    def _start_chosen(self, _: int = 0) -> None:
        chosen = self.start_combo.currentData()
        values = {"init": chosen}
        if chosen and not self._optics:
            values["psf_shift"] = chosen  # a model brings its microscope
        elif not chosen and self._dock.settings.values().get("psf_shift") in [card.id for card in hub.catalogue()]:
            values["psf_shift"] = self._dock.settings.form.default("psf_shift")
        self._dock.settings.change(values)


class FineTuneButton(QPushButton):
    """Below the model menu: goes to the training of that model on the recording that is chosen."""

    def __init__(self, dock: Any) -> None:
        super().__init__("Fine-&tune on this recording…")
        self._dock = dock
        self.clicked.connect(self.start)

    def consider(self) -> None:
        """Say whether the chosen model can learn from the chosen recording."""
        dock = self._dock
        card = dock.model.card
        self.setVisible(dock.engine == NETWORK and card is not None)
        if self.isHidden() or card is None:
            return
        reason = dock.data.reason()
        if card.architecture != "serenet":
            reason = reason or f"Only SeReNet learns from a recording alone; this is a {card.architecture}"
        allow(self, reason, "Train this model some minutes on this recording itself, without any truth")

    def start(self) -> None:
        """Fill in the training."""
        dock, layer, card = self._dock, self._dock.data.layer, self._dock.model.card
        stack = dock.data.stack()
        if card is None or stack is None:
            return
        smallest = min(stack.grid.size("Y"), stack.grid.size("X"))
        planes = int(dock.settings.values().get("planes", 0))
        dock.choose_method(TRAIN)
        form = dock.settings.form
        values = {**FINE_TUNING, "network": "serenet", "init": card.id, "psf_shift": card.id, "resume": ""}
        values["crop"] = min(int(form.default("crop")), smallest // 3 * 3)
        values["planes"] = planes or form.default("planes")
        dock.settings.change(values)
        dock.data.extras["views"].combo.choose(layer)
        dock.run_bar.say(f"{card.name} will learn from {layer.name}: press Train")


def startable(network: str) -> list[Any]:
    """Return the cards of models that a network can start from."""
    kinds = LEARNS_FROM.get(network, (network,))
    return [card for card in hub.catalogue() if card.available and card.architecture in kinds]


def teacher(network: str, given: set[str]) -> str:
    """Return in words what a network will learn from."""
    if "views" not in given:
        return "Learns from simulated recordings of the stated microscope; choose your own below, or leave them out."
    if "volume" in given:
        return "Learns from your recordings and their volumes."
    if network == "serenet":
        return "Learns from your recordings alone: the optics are its teacher."
    return "Learns from your recordings."


def written_psf(stack: ImageStack) -> str:
    """Return the file that a PSF was written to, among what is kept for this computer."""
    from napari_recon.io import write_stack

    folder = hub.cache_folder() / "psf"
    folder.mkdir(parents=True, exist_ok=True)
    return str(write_stack(folder / f"psf-{datetime.now():%Y%m%d-%H%M%S}.ome.tif", stack, None))
