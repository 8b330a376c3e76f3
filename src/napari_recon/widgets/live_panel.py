"""Sliders for the parameters of a method that may change while its result is on show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_recon.core.params import bounds, describe_parameters
from napari_recon.widgets.form import readable
from napari_recon.widgets.look import Line, describe, guard_wheel

STEPS = 500
SHORTEST = 80
"""Pixels a slider keeps in a narrow dock, at the cost of its name."""
LOGARITHMIC = 30
"""Ranges whose ends differ by more than this factor have an even slider in the logarithm."""


class LivePanel(QWidget):
    """One slider per numeric live parameter; the form stays the place for exact values.

    Parameters
    ----------
    ranges : mapping, optional
        Parameter -> (low, high) of its slider where the declared bounds are wider than what is useful.

    Signals
    -------
    moved : dict
        Settings that a slider, or an "auto" box, changed.
    """

    moved = Signal(object)

    def __init__(self, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        super().__init__()
        self._ranges = dict(ranges or {})
        self.rows: dict[str, SliderRow] = {}
        self.line = Line()
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._grid)
        column.addWidget(self.line)

    def set_model(self, model: type[BaseModel]) -> None:
        """Show the sliders of another engine's parameters."""
        for row in self.rows.values():
            row.remove(self._grid)
        self.rows.clear()
        for info in describe_parameters(model):
            limits = bounds(model.model_fields[info.name]) if info.name in model.model_fields else {}
            span = self._ranges.get(info.name) or _span(limits)
            if not info.live or span is None or not {"int", "float"} & set(info.type.split(" | ")):
                continue
            row = SliderRow(info.name, info.description, span, whole="float" not in info.type, auto="auto" in info.choices)
            row.moved.connect(self.moved)
            row.place(self._grid, len(self.rows))
            self.rows[info.name] = row

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Follow the form."""
        for name, row in self.rows.items():
            if name in values:
                row.show_value(values[name])

    def show_automatic(self, values: Mapping[str, Any]) -> None:
        """Show what "auto" stands for."""
        for name, row in self.rows.items():
            if name in values:
                row.show_automatic(values[name])


class SliderRow(QWidget):
    """Name, slider, value, and "auto" where the parameter may choose itself; laid out in its owner's grid."""

    moved = Signal(object)

    def __init__(self, name: str, text: str, span: tuple[float, float], whole: bool, auto: bool) -> None:
        super().__init__()
        self._name, self._span, self._whole = name, span, whole
        self._log = span[0] > 0 and span[1] / span[0] > LOGARITHMIC
        title = readable(name)
        self.label, self.value_label = _Name(title), QLabel()
        self.label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        self.value_label.setMinimumWidth(44)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setMinimumWidth(SHORTEST)
        describe(self.slider, title, text)
        guard_wheel(self.slider)
        self.label.setBuddy(self.slider)
        self.label.setToolTip(f"{title}: {text}")
        self.auto = QCheckBox("auto")
        describe(self.auto, f"{title}: auto", text)
        self.auto.setVisible(False)
        self._may_be_auto = auto
        self.slider.valueChanged.connect(self._slid)
        self.auto.clicked.connect(self._auto_clicked)

    @property
    def value(self) -> float:
        """The number the slider stands at."""
        low, high = self._span
        share = self.slider.value() / STEPS
        value = low * (high / low) ** share if self._log else low + (high - low) * share
        return round(value) if self._whole else float(f"{value:.3g}")

    def place(self, grid: QGridLayout, row: int) -> None:
        """Put the parts into a row of `grid`."""
        for column, widget in enumerate((self.label, self.slider, self.value_label, self.auto)):
            grid.addWidget(widget, row, column)
        self.auto.setVisible(self._may_be_auto)

    def remove(self, grid: QGridLayout) -> None:
        """Take the parts out again."""
        for widget in (self.label, self.slider, self.value_label, self.auto):
            grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self.deleteLater()

    def show_value(self, value: Any) -> None:
        """Show a value without emitting anything; "auto" keeps the number that was shown."""
        self.auto.setChecked(value == "auto")
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._stand_at(float(value))
        elif not self.value_label.text():
            self.value_label.setText("auto")

    def show_automatic(self, value: Any) -> None:
        """Show the number that "auto" came to."""
        if self.auto.isChecked() and isinstance(value, int | float):
            self._stand_at(float(value))

    def _stand_at(self, value: float) -> None:
        low, high = self._span
        inside = min(max(value, low), high)
        share = math.log(inside / low) / math.log(high / low) if self._log else (inside - low) / (high - low)
        self.slider.blockSignals(True)
        self.slider.setValue(round(share * STEPS))
        self.slider.blockSignals(False)
        self.value_label.setText(f"{value:.3g}")

    def _slid(self, _: int) -> None:
        self.auto.setChecked(False)
        self.value_label.setText(f"{self.value:.3g}")
        self.moved.emit({self._name: self.value})

    def _auto_clicked(self, checked: bool) -> None:
        self.moved.emit({self._name: "auto" if checked else self.value})


class _Name(QElidingLabel):
    """A label that gives way in a narrow dock, and asks for its whole text again in a wide one."""

    def sizeHint(self) -> QSize:
        """Ask for the whole text; the original asks for what it happens to show."""
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + 12, super().sizeHint().height())


def _span(limits: Mapping[str, float]) -> tuple[float, float] | None:
    """Return the ends of a slider for declared bounds; None when one end is open."""
    high = limits.get("le", limits.get("lt"))
    low = limits.get("ge", limits.get("gt"))
    if low is None or high is None:
        return None
    return (float(high) / 1000, float(high)) if low == 0 and "gt" in limits else (float(low), float(high))
