"""A live curve of what an engine logs; hidden until there is something to draw."""

from __future__ import annotations

import math

from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_recon.widgets.curve_plot import CurvePlot
from napari_recon.widgets.look import describe, guard_wheel


class CurvePanel(QWidget):
    """One quantity at a time, a curve per series (frame); a drop-down appears when several quantities are logged."""

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.choice = QComboBox()
        describe(self.choice, "Curve", "Which logged quantity is drawn")
        guard_wheel(self.choice)
        self.choice.currentTextChanged.connect(self._draw)
        self.plot = CurvePlot()
        describe(self.plot, "Live curve", "What the engine logs while it runs; of several frames the newest is bright")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.choice)
        column.addWidget(self.plot)
        self.choice.hide()
        self.hide()

    def add(self, name: str, step: int, value: float, series: str = "") -> None:
        """Append a point to a curve of `name`; values that are not finite are left out.

        Steps of a named series count from its first point, so that series lie over each other.
        """
        if not math.isfinite(value):
            return
        self._points.setdefault(name, {}).setdefault(series, []).append((step, value))
        if self.choice.findText(name) < 0:
            self.choice.addItem(name)
            self.choice.setVisible(self.choice.count() > 1)
        self.show()
        if name == self.choice.currentText():
            self._draw()

    def clear(self) -> None:
        """Forget every curve and hide."""
        self._points.clear()
        self.choice.clear()
        self.hide()

    def curve(self, name: str, series: str = "") -> list[tuple[int, float]]:
        """Return the points of a curve as they are drawn."""
        points = self._points.get(name, {}).get(series, [])
        first = points[0][0] - 1 if series and points else 0
        return [(step - first, value) for step, value in points]

    def set_foreground(self, colour: str) -> None:
        """Draw in the colour of the theme's text."""
        self.plot.set_foreground(colour)

    def _draw(self, _: str = "") -> None:
        name = self.choice.currentText()
        self.plot.titled = self.choice.count() < 2  # the drop-down says it
        self.plot.draw(name, {series: self.curve(name, series) for series in self._points.get(name, {})})
