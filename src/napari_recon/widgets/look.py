"""Small shared helpers for how widgets look and behave: state colours, wheel guard, accessible names."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLayout,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QWidget,
)

Level = Literal["info", "good", "warning", "error"]
# Okabe-Ito hues: told apart by colour-blind people and readable on napari's dark and light grounds.
COLOURS: dict[Level, str] = {"info": "", "good": "#009e73", "warning": "#d98200", "error": "#e0553a"}
SIGNS: dict[Level, str] = {"info": "", "good": "✓ ", "warning": "⚠ ", "error": "✕ "}


PRIMARY = "QPushButton:enabled {background-color: #0072b2; color: white; font-weight: bold;}"
"""For the one button that is the obvious next step."""


class WheelGuard(QObject):
    """Lets a wheel turn scroll the panel instead of changing a box that is not focused."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Swallow wheel events of unfocused widgets so that Qt offers them to the parent."""
        if event is not None and event.type() == QEvent.Type.Wheel and not watched.hasFocus():  # type: ignore[union-attr]
            event.ignore()
            return True
        return False


def guard_wheel(widget: QWidget) -> None:
    """Make `widget` ignore the mouse wheel while it has no focus."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(WheelGuard(widget))


def describe(widget: QWidget, name: str, text: str = "") -> None:
    """Give `widget` an accessible name and `text` as tooltip and description."""
    widget.setAccessibleName(name)
    if text:
        widget.setToolTip(text)
        widget.setAccessibleDescription(text)


def restyle(widget: QWidget, sheet: str) -> None:
    """Set a style sheet if it is another one; Qt polishes and lays out anew each time."""
    if widget.styleSheet() != sheet:
        widget.setStyleSheet(sheet)


def allow(button: QAbstractButton | QWidget, reason: str, tooltip: str) -> None:
    """Enable `button` when `reason` is empty; else disable it and say why in its tooltip."""
    button.setEnabled(not reason)
    button.setToolTip(reason or tooltip)
    button.setAccessibleDescription(reason or tooltip)


def focus_order(widget: QWidget) -> list[QWidget]:
    """Return the widgets inside `widget` that Tab reaches, as they are laid out: down, then right."""
    if isinstance(widget, QScrollArea):
        return focus_order(widget.widget()) if widget.widget() is not None else []
    layout = widget.layout()
    if layout is None or isinstance(widget, QAbstractSpinBox | QComboBox):
        return [widget] if widget.focusPolicy() & Qt.FocusPolicy.TabFocus else []
    return _order_in(layout)


def tab_in_order(widget: QWidget) -> None:
    """Let Tab go through `widget` as it is laid out."""
    for before, after in pairwise(focus_order(widget)):
        QWidget.setTabOrder(before, after)


def _order_in(layout: QLayout) -> list[QWidget]:
    found: list[QWidget] = []
    for at in range(layout.count()):
        item = layout.itemAt(at)
        if item is not None and (inner := item.layout()) is not None:
            found += _order_in(inner)
        elif item is not None and (widget := item.widget()) is not None:
            found += focus_order(widget)
    return found


class Line(QLabel):
    """A wrapped line of text with a state: its colour comes with a sign, never alone."""

    def __init__(self, text: str = "", level: Level = "info") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.say(text, level)

    def say(self, text: str, level: Level = "info") -> None:
        """Show `text`; an empty text hides the line."""
        self.setProperty("level", level)
        self.setText(SIGNS[level] + text if text else "")
        self.setAccessibleDescription(text)
        self.setStyleSheet(f"color: {COLOURS[level]};" if COLOURS[level] else "")
        if not text or self.parent() is not None:  # showing a widget without a parent would open a window
            self.setVisible(bool(text))

    def minimumSizeHint(self) -> QSize:
        """Ask for no width: the line wraps."""
        return QSize(0, super().minimumSizeHint().height())


def small_button(text: str, name: str, tooltip: str) -> QToolButton:
    """Return a flat button with a text of one or two characters."""
    button = QToolButton()
    button.setText(text)
    button.setAutoRaise(True)
    describe(button, name, tooltip)
    return button


def bold(label: QLabel) -> QLabel:
    """Return `label` in bold."""
    font = QFont(label.font())
    font.setBold(True)
    label.setFont(font)
    return label
