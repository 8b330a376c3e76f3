"""Gives a layer the pixel size it lacks; nothing changes before the button is pressed."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_recon.core.provenance import KEY
from napari_recon.viewer.file_facts import file_facts
from napari_recon.viewer.pixel_size import lacks_pixel_size, set_pixel_size
from napari_recon.widgets.fields import NumberBox
from napari_recon.widgets.look import allow, describe


class PixelRow(QWidget):
    """A number, its unit and a button that sets the layer's scale and units along y and x.

    Signals
    -------
    applied
        The layer has a pixel size now.
    """

    applied = Signal()
    tells_size = False
    """Whether the row itself says what the pixel size is."""

    def __init__(self) -> None:
        super().__init__()
        self._layer: Any = None
        self._axes = ""
        self.box = NumberBox(False, low=0)
        self.box.lineEdit().setPlaceholderText("e.g. 0.065")
        describe(self.box, "Pixel size", "Size of a camera pixel in the sample: camera pixel / magnification")
        self.button = QPushButton("Set pixel size")
        label = QLabel("Pixel")
        label.setBuddy(self.box)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for widget, stretch in ((label, 0), (self.box, 1), (QLabel("µm"), 0), (self.button, 0)):
            row.addWidget(widget, stretch)
        self.box.edited.connect(self._allow)
        self.box.lineEdit().returnPressed.connect(self._apply)
        self.button.clicked.connect(self._apply)
        self.hide()

    def show_for(self, layer: Any, axes: str) -> None:
        """Offer a pixel size for a layer that has none; hidden for all others."""
        lacking = layer is not None and lacks_pixel_size(layer, axes)
        if lacking and layer is not self._layer:
            self.box.lineEdit().clear()
        self._layer, self._axes = (layer, axes) if lacking else (None, "")
        if lacking and not self.box.lineEdit().text():
            said = file_facts(layer).pixel_um
            # of a result it counts pixels of what it was made from; others may have set micrometers without saying so
            own = 1.0 if KEY in layer.metadata else float(layer.scale[axes.index("X")])
            if said or own != 1:
                self.box.set_value(float(f"{said[1] if said else own:.6g}"))
        self.setVisible(lacking)
        self._allow()

    def _allow(self) -> None:
        value = self.box.value()
        fits = isinstance(value, int | float) and math.isfinite(value) and value > 0
        reason = "" if fits else "Type the size of a pixel in micrometers first, for example 0.065"
        allow(self.button, reason, "Set the layer's scale and units along y and x")

    def _apply(self) -> None:
        if self._layer is None or not self.button.isEnabled():
            return
        set_pixel_size(self._layer, self._axes, float(self.box.value()))
        self.applied.emit()
