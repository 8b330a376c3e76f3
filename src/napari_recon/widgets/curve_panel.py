"""A live curve of what an engine logs; hidden, and without pyqtgraph loaded, until there is something to draw."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_recon.widgets.look import describe, guard_wheel

CURVE = "#56b4e9"


class CurvePanel(QWidget):
    """One curve at a time; a drop-down appears when several are logged."""

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[str, tuple[list[int], list[float]]] = {}
        self._plot: Any = None
        self._line: Any = None
        self._foreground, self._background = "#909090", "#262930"
        self.choice = QComboBox()
        describe(self.choice, "Curve", "Which logged quantity is drawn")
        guard_wheel(self.choice)
        self.choice.currentTextChanged.connect(self._draw)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self.choice)
        self.hide()

    def add(self, name: str, step: int, value: float) -> None:
        """Append a point; values that are not finite are left out."""
        if not math.isfinite(value):
            return
        steps, values = self._points.setdefault(name, ([], []))
        steps.append(step)
        values.append(value)
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

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Return the points of a curve."""
        steps, values = self._points.get(name, ([], []))
        return list(zip(steps, values, strict=True))

    def set_colours(self, foreground: str, background: str) -> None:
        """Draw in the colours of the theme."""
        self._foreground, self._background = foreground, background
        self._colour()

    def _draw(self, _: str = "") -> None:
        name = self.choice.currentText()
        if name not in self._points:
            return
        if self._plot is None:
            self._make_plot()
        self._line.setData(*self._points[name])
        self._plot.setLabel("left", name)

    def _make_plot(self) -> None:
        import pyqtgraph

        self._plot = pyqtgraph.PlotWidget()
        self._plot.setFixedHeight(110)
        self._plot.setMinimumWidth(0)
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.hideButtons()
        self._plot.setMenuEnabled(False)
        describe(self._plot, "Live curve", "What the engine logs while it runs")
        self._line = self._plot.plot(pen=pyqtgraph.mkPen(CURVE, width=2), symbol="o", symbolSize=4, symbolBrush=CURVE)
        self._column.addWidget(self._plot)
        self._colour()

    def _colour(self) -> None:
        if self._plot is not None:
            self._plot.setBackground(self._background)
            for side in ("left", "bottom"):
                self._plot.getAxis(side).setPen(self._foreground)
                self._plot.getAxis(side).setTextPen(self._foreground)
