"""What the Light field dock does with raw microlens pictures: offers to realign them, shows and corrects the lenslets."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_recon.viewer.lenslet_layer import corrected, lenslets_on, show_lenslets
from napari_recon.viewer.run import Offer
from napari_recon.widgets.look import describe

REALIGN = "serenet.realign"
#: Pages from which an odd square number of them is taken for views, not for a scan.
LEAST_VIEWS = 49


class RawLightField(QWidget):
    """A row below the settings of `serenet.realign`, and the ways there and back.

    Parameters
    ----------
    dock : LightFieldWidget
        Has the method `REALIGN`.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__()
        self._dock, self._before = dock, next(iter(dock.methods))
        self._raw: Any = None
        self.take_button = QPushButton("Take the &grid from the circles")
        describe(
            self.take_button,
            "Take the grid from the circles",
            "Drag some circles (far apart) onto the middles of lenslets first: pitch, turn and centre follow from those",
        )
        self.take_button.clicked.connect(self.take)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Lenslets"))
        row.addWidget(self.take_button, 1)
        dock.controller.artifact.connect(self._show)
        self.hide()

    def consider(self) -> None:
        """Offer to realign when the chosen layer can't be views but may be a raw picture."""
        dock = self._dock
        layer = dock.data.layer
        self.setVisible(dock.engine == REALIGN and lenslets_on(dock.viewer, layer) is not None)
        if dock.engine == REALIGN or layer is None or getattr(layer, "rgb", False) or layer._type_string != "image":
            return
        if layer.ndim == 2 and dock.data.reason():
            self.offer("A picture with two dimensions may be the raw one, from behind the microlenses")

    def offer(self, text: str) -> None:
        """Offer to realign the chosen layer, unless it has as many pages as there are views behind lenslets."""
        layer = self._dock.data.layer
        pages = layer.data.shape[-3] if layer is not None and layer.ndim > 2 and hasattr(layer.data, "shape") else 0
        if pages >= LEAST_VIEWS and math.isqrt(pages) ** 2 == pages and pages % 2:
            return
        self._dock.run_bar.offer(Offer(text, "R&ealign…", self.start))

    def start(self) -> None:
        """Show the settings with which the chosen layer can be realigned."""
        self._before = self._dock.engine
        self._dock.choose_method(REALIGN)
        self._dock.run_bar.say("Say how many pixels a lenslet has (nnum); the rest is found. Then press Reconstruct.")

    def finished(self, result: Any) -> None:
        """Offer to reconstruct from views that were made."""
        if result.error is None and result.layers and not result.job.preview and self._dock.engine == REALIGN:
            views = result.layers[0]
            self._dock.run_bar.offer(Offer("Go on with the views", "Reconstruct the &views…", lambda: self._go_on(views)))

    def take(self) -> None:
        """Put the grid on which dragged circles lie into the settings."""
        layer = lenslets_on(self._dock.viewer, self._dock.data.layer)
        if layer is not None:
            values = corrected(layer)
            self._dock.settings.change(values)
            self._dock.run_bar.say("Lenslets: " + ", ".join(f"{name} = {value}" for name, value in values.items()))

    def let_go(self) -> None:
        """Disconnect."""
        self._dock.controller.artifact.disconnect(self._show)

    def _go_on(self, views: Any) -> None:
        dock = self._dock
        if views in dock.viewer.layers:
            dock.choose_method(self._before)
            dock.data.combo.prefer(views)

    def _show(self, event: Any) -> None:
        layer = self._dock.data.layer
        if event.name == "lenslets" and event.kind == "points" and layer is not None and layer in self._dock.viewer.layers:
            show_lenslets(self._dock.viewer, layer, event.payload)
            self.setVisible(self._dock.engine == REALIGN)
