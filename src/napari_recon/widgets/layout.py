"""Widgets put together: titled sections, columns and rows without margins."""

from __future__ import annotations

from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_recon.widgets.look import bold


def column(*widgets: QWidget) -> QWidget:
    """Return `widgets` below each other."""
    whole = QWidget()
    layout = QVBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return whole


def beside(*widgets: QWidget) -> QWidget:
    """Return `widgets` in a row, as far left as possible."""
    whole = QWidget()
    layout = QHBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch()
    return whole


def section(title: str, *panels: QWidget) -> QWidget:
    """Return `panels` under a bold title."""
    return column(bold(QLabel(title)), *panels)


def scrolled(whole: QWidget) -> QScrollArea:
    """Return `whole` in an area without a frame that scrolls when there is no room."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidget(whole)
    return scroll
