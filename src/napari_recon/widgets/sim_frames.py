"""The frames of a raw stack by angle and phase: thumbnails show at a glance whether layout and order are right."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.layout import ORDERS, Layout, arranged, fitting
from napari_recon.viewer.sim_frames import Pages, recognised, thumbnails
from napari_recon.widgets.look import Line, describe
from napari_recon.widgets.planner import Planner

WIDTH, HEIGHT, SMALLEST, LARGEST = 290, 220, 24, 64
WORDS = {"a": "angle", "p": "phase", "z": "plane"}


class FramesPanel(QWidget):
    """Thumbnails in rows of angles and columns of phases, and in words what the pages are.

    Signals
    -------
    proposed : dict
        Settings that would fit (angles, phases, frame_order); the dock applies them to the form.
    """

    proposed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[tuple[int, int], QLabel] = {}
        self._pages: Pages | None = None
        self.planner = Planner(60, self)
        self.line = Line()
        self.stripes_box = QCheckBox("Stripes only")
        tip = "Show how each frame differs from its angle's mean: stripes of one direction in a row, moving along it"
        describe(self.stripes_box, "Stripes only", tip)
        self.swap_button = QPushButton("Swap angles and phases")
        describe(self.swap_button, "Swap angles and phases", "Read the pages in the other order")
        self._buttons = QHBoxLayout()
        self._grid = QGridLayout()
        self._lay_out()
        self.planner.ready.connect(self._show)
        self.planner.failed.connect(lambda error: self.line.say(str(error), "error"))
        self.stripes_box.toggled.connect(self._ask)
        self.swap_button.clicked.connect(self._swap)

    def recognise(self, stack: ImageStack | None, layout: Layout, order: str) -> None:
        """Propose angles and phases when the present ones do not fit a new stack."""
        found = recognised(stack.grid, layout, order) if stack is not None else None
        if found is not None:
            self.proposed.emit({"angles": found.angles, "phases": found.phases})

    def show_pages(self, stack: ImageStack | None, layout: Layout, order: str) -> None:
        """Show the frames of a stack (None: nothing) in a layout."""
        pages = Pages(stack, layout, order) if stack is not None else None
        if pages is not None and pages.same(self._pages):
            return
        self._pages = pages
        self._offer([])
        if pages is None:
            self.planner.drop()
            self._clear()
            self.line.say("")
            return
        try:
            text = _in_words(pages)
        except InputError as error:
            self._clear()
            self.planner.drop()
            self.line.say(str(error).partition(";")[0], "error")
            self._offer(_alternatives(pages))
            return
        self.line.say(text)
        self._ask()

    def let_go(self) -> None:
        """Stop reading."""
        self.planner.close()

    def _ask(self, _: bool = False) -> None:
        if self._pages is not None:
            self.planner.request(partial(thumbnails, self._pages, self.stripes_box.isChecked()))

    def _show(self, pictures: NDArray[np.uint8]) -> None:
        angles, phases = pictures.shape[:2]
        if set(self.cells) != {(a, p) for a in range(angles) for p in range(phases)}:
            self._build(angles, phases)
        size = _cell(angles, phases)
        for (angle, phase), cell in self.cells.items():
            picture = np.ascontiguousarray(pictures[angle, phase])
            height, width = picture.shape
            image = QImage(picture.data, width, height, width, QImage.Format.Format_Grayscale8)
            pixmap = QPixmap.fromImage(image)  # copies, so `picture` may go
            cell.setPixmap(pixmap.scaled(size, size, Qt.AspectRatioMode.KeepAspectRatio))
        for widget in (self.stripes_box, self.swap_button):
            widget.setVisible(True)

    def _build(self, angles: int, phases: int) -> None:
        self._clear()
        size = _cell(angles, phases)
        pages = self._pages
        assert pages is not None  # there are pictures of it
        for phase in range(phases):
            self._grid.addWidget(_heading(f"phase {phase + 1}" if size > 50 else f"p{phase + 1}"), 0, phase + 1)
        for angle in range(angles):
            self._grid.addWidget(_heading(f"angle {angle + 1}"), angle + 1, 0)
            for phase in range(phases):
                cell = QLabel()
                cell.setFixedSize(QSize(size, size))
                page = f", page {_page(pages, angle, phase) + 1}" if pages is not None else ""
                describe(
                    cell, f"Frame of angle {angle + 1}, phase {phase + 1}", f"angle {angle + 1}, phase {phase + 1}{page}"
                )
                self._grid.addWidget(cell, angle + 1, phase + 1)
                self.cells[angle, phase] = cell
        self._grid.setColumnStretch(phases + 1, 1)

    def _clear(self) -> None:
        self.cells.clear()
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, 0)
        self.stripes_box.hide()
        self.swap_button.hide()

    def _offer(self, options: list[tuple[str, Mapping[str, Any]]]) -> None:
        while (item := self._buttons.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        for text, values in options:
            button = QPushButton(text)
            describe(button, text, "Set " + ", ".join(f"{name} = {value}" for name, value in values.items()))
            button.clicked.connect(lambda _=False, v=dict(values): self.proposed.emit(v))
            self._buttons.addWidget(button)

    def _swap(self) -> None:
        if self._pages is not None:
            self.proposed.emit({"frame_order": swapped(self._pages.order)})

    def _lay_out(self) -> None:
        self._grid.setSpacing(2)
        self._grid.setContentsMargins(0, 0, 0, 0)
        tools = QHBoxLayout()
        tools.addWidget(self.stripes_box)
        tools.addStretch(1)
        tools.addWidget(self.swap_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.line)
        column.addLayout(self._buttons)
        column.addLayout(self._grid)
        column.addLayout(tools)
        self._clear()


def swapped(order: str) -> str:
    """Return the page order with angle and phase exchanged; always one that exists."""
    other = order.translate(str.maketrans("ap", "pa"))
    return other if other in ORDERS else order


def _cell(angles: int, phases: int) -> int:
    return int(np.clip(min(WIDTH // phases - 2, HEIGHT // angles - 2), SMALLEST, LARGEST))


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    return label


def _page(pages: Pages, angle: int, phase: int) -> int:
    """Return the page of the file that holds a frame of the first image."""
    arrangement = arranged(pages.stack.grid, pages.layout, pages.order)
    first = arrangement.pages.reshape(-1, arrangement.pages.shape[-1])[0]
    return int(first[angle * pages.layout.phases + phase])


def _in_words(pages: Pages) -> str:
    """Return ``"45 pages: 5 time points of 3 angles x 3 phases"`` (InputError when they do not fit)."""
    grid = arranged(pages.stack.grid, pages.layout, pages.order).grid
    outer = [f"{grid.size(a)} {word}" for a, word in (("T", "time points"), ("C", "channels"), ("Z", "planes"))]
    outer = [text for text, a in zip(outer, "TCZ", strict=True) if grid.size(a) > 1]
    angles, phases = pages.layout.angles, pages.layout.phases
    each = f"{angles} angle{'s' * (angles > 1)} × {phases} phases"
    count = int(np.prod(pages.stack.grid.shape[:-2]))
    fast = [WORDS[a] for a in pages.order if a in "ap"][-1]
    changing = f"the {fast} changes fastest" if angles > 1 else ""
    text = f"{count} pages: {' × '.join(outer)}{' of ' if outer else ''}{each}"
    return f"{text}; {changing}" if changing else text


def _alternatives(pages: Pages) -> list[tuple[str, Mapping[str, Any]]]:
    """Return layouts that would fit, as button texts and settings."""
    grid = pages.stack.grid
    if {"A", "P"} <= set(grid.axes):
        fits = [Layout(grid.size("A"), grid.size("P"))]
    else:
        fits = fitting(grid.size("N"))[:4] if "N" in grid.axes else []
    return [(f"{fit.angles} × {fit.phases}", {"angles": fit.angles, "phases": fit.phases}) for fit in fits]
