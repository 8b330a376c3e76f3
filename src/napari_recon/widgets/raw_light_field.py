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
SCANS = {9: 3, 25: 5}
"""Pages of a raw picture -> scan positions per axis."""


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
        dock = self._dock
        self._before = dock.engine
        layer = dock.data.layer
        dock.choose_method(REALIGN)
        text = "Say how many pixels a lenslet has (Nnum, odd); the rest is found. Then press Run."
        scan = SCANS.get(layer.data.shape[0]) if layer is not None and layer.ndim == 3 else None
        if scan is not None:
            dock.settings.change({"scanning": scan})
            text += f" {scan * scan} pages are taken for a scan of {scan} × {scan}; set Scanning to 1 where they are times."
        dock.run_bar.say(text)

    def finished(self, result: Any) -> None:
        """Offer to reconstruct from views that were made."""
        if result.error is None and result.layers and not result.job.preview and self._dock.engine == REALIGN:
            views = result.layers[0]
            show_middle_view(self._dock.viewer, views)
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
        circles = lenslets_on(dock.viewer, dock.data.layer)
        if circles is not None:
            circles.visible = False  # they belong to the raw picture
        if views in dock.viewer.layers:
            dock.choose_method(self._before)
            dock.data.combo.prefer(views)

    def _show(self, event: Any) -> None:
        layer = self._dock.data.layer
        if event.name == "lenslets" and event.kind == "points" and layer is not None and layer in self._dock.viewer.layers:
            show_lenslets(self._dock.viewer, layer, event.payload)
            self.setVisible(self._dock.engine == REALIGN)


def show_middle_view(viewer: Any, views: Any) -> None:
    """Move the slider to the view through the middle of the pupil: those at its edge are dark."""
    axis = viewer.dims.ndim - 3
    middle = (views.data.shape[-3] - 1) // 2
    at = [0] * (views.ndim - 3) + [middle, 0, 0]
    if axis >= 0 and axis in viewer.dims.not_displayed:
        viewer.dims.set_point(axis, float(views.data_to_world(at)[-3]))
