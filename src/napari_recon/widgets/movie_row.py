"""What a movie of volumes is: how many frames, planes and pixels, how far they are apart; each can be changed in place."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.viewer.file_facts import file_facts
from napari_recon.viewer.pixel_size import set_steps
from napari_recon.widgets.fields import NumberBox
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.look import Line, allow, describe

STEPS = {
    "T": ("Frame every", "second", "s", "Time from one frame to the next"),
    "Z": ("Plane every", "micrometer", "µm", "Distance of planes, which is rarely that of pixels"),
    "X": ("Pixel", "micrometer", "µm", "Size of a camera pixel in the sample: camera pixel / magnification"),
}
"""Axis -> what its step is called, its unit as napari has it and as it is shown, and what it is."""
SHOWN = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s", "minute": "min", "millisecond": "ms"}


class MovieRow(QWidget):
    """Says sizes and steps of the chosen movie and sets the layer's scale; it stands in for a `PixelRow`.

    Signals
    -------
    applied
        The layer has other steps now.
    """

    applied = Signal()
    tells_size = True

    def __init__(self) -> None:
        super().__init__()
        self._layer: Any = None
        self._axes = ""
        self._touched: set[str] = set()
        self.line = Line()
        self.boxes: dict[str, NumberBox] = {}
        self.units: dict[str, QLabel] = {}
        body = QWidget()
        grid = QGridLayout(body)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for row, (axis, (text, _, unit, tip)) in enumerate(STEPS.items()):
            box, label = NumberBox(False, low=0), QLabel(text)
            box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)
            box.mark(False)
            describe(box, text, tip)
            label.setBuddy(box)
            box.edited.connect(lambda axis=axis: self._edited(axis))
            box.lineEdit().returnPressed.connect(self._apply)
            self.boxes[axis], self.units[axis] = box, QLabel(unit)
            for column, widget in enumerate((label, box, self.units[axis])):
                grid.addWidget(widget, row, column)
        grid.setColumnStretch(1, 1)
        self.button = QPushButton("Set")
        self.button.clicked.connect(self._apply)
        grid.addWidget(self.button, len(STEPS) - 1, 3)
        self.fold = Fold("Frame interval and voxel size", body)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.line)
        column.addWidget(self.fold)
        self.hide()

    def show_for(self, layer: Any, axes: str) -> None:
        """Show a movie; hidden for what is none."""
        fits = layer is not None and len(axes) == layer.ndim and set("TZYX") <= set(axes)
        before = self._layer
        self._layer, self._axes = (layer, axes) if fits else (None, "")
        self.setVisible(fits)
        if not fits:
            return
        if layer is not before:
            self._touched.clear()
        known = {axis: str(layer.units[axes.index(axis)]) != "pixel" for axis in "TZX"}
        for axis, box in self.boxes.items():
            if axis not in self._touched:
                said = file_facts(layer).pixel_um if axis == "X" and not known["X"] else None
                own = float(layer.scale[axes.index(axis)])
                box.set_value(own if known[axis] or own != 1 else said[1] if said else None)
            unit = str(layer.units[axes.index(axis)])
            self.units[axis].setText(SHOWN.get(unit, unit) if known[axis] else STEPS[axis][2])
        self.line.say(movie_text(layer, axes))
        if not (known["Z"] and known["X"]):
            self.fold.set_open(True)
        elif layer is not before:
            self.fold.set_open(False)
        self._allow()

    def _edited(self, axis: str) -> None:
        self._touched.add(axis)
        self._allow()

    def _wrong(self) -> str:
        for axis, box in self.boxes.items():
            value, (text, _, unit, _) = box.value(), STEPS[axis]
            empty = axis == "T" and value == ""  # a movie may have no interval
            if not empty and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                return f"Type a number of {unit} above 0 for: {text.lower()}"
        return ""

    def _allow(self) -> None:
        allow(self.button, self._wrong(), "Set the layer's scale and units")

    def _apply(self) -> None:
        layer, axes = self._layer, self._axes
        if layer is None or self._wrong():
            return
        square = "X" in self._touched or str(layer.units[axes.index("Y")]) == "pixel"  # else pixels stay as they are
        values = {axis: self.boxes["X" if axis == "Y" else axis].value() for axis in ("TZYX" if square else "TZX")}
        steps = {axis: float(value) for axis, value in values.items() if isinstance(value, int | float)}
        self._touched.clear()
        set_steps(layer, axes, steps, {axis: STEPS["X" if axis == "Y" else axis][1] for axis in steps})
        self.fold.set_open(False)
        self.applied.emit()


def movie_text(layer: Any, axes: str) -> str:
    """Return ``"5 frames every 60 s · 13 planes every 1 µm · 64 × 64 pixels of 0.5 µm"``."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    sizes, steps = (dict(zip(axes, each, strict=True)) for each in (data.shape, layer.scale))
    units = {a: str(u) for a, u in zip(axes, layer.units, strict=True)}

    def every(axis: str, word: str) -> str:
        return "" if units[axis] == "pixel" else f" {word} {steps[axis]:.4g} {SHOWN.get(units[axis], units[axis])}"

    channels = f"{sizes['C']} channels · " if sizes.get("C", 1) > 1 else ""
    pixels = f"{sizes['X']} × {sizes['Y']} pixels{every('X', 'of')}"
    return f"{channels}{sizes['T']} frames{every('T', 'every')} · {sizes['Z']} planes{every('Z', 'every')} · {pixels}"
