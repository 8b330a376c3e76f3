"""Small pictures in rows, one of which can be chosen with mouse or keys; numbers, marks and arrows are drawn on them."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFocusEvent, QHelpEvent, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_recon.widgets.look import COLOURS

GAP = 3
SMALLEST, LARGEST = 34, 84
"""Sides of a picture in pixels."""
HEAD = 5.0
KEYS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}


class Montage(QWidget):
    """Draws pictures as large as the width allows.

    Parameters
    ----------
    choosable : bool
        Pictures can be clicked, or reached with the arrow keys and chosen with Space.
    largest : int
        Side of a picture at most.

    Signals
    -------
    clicked : int
        Number of a picture.
    """

    clicked = Signal(int)

    def __init__(self, choosable: bool = False, largest: int = LARGEST) -> None:
        super().__init__()
        self._pictures: list[QPixmap] = []
        self._choosable, self._largest = choosable, largest
        self._marked: Mapping[int, str] = {}
        self._arrows: Mapping[int, tuple[float, float]] = {}
        self._tips: Mapping[int, str] = {}
        self.current = 0
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        if choosable:
            self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            self.setCursor(Qt.CursorShape.PointingHandCursor)

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self._pictures)

    def show_pictures(self, pictures: NDArray[np.uint8]) -> None:
        """Show gray pictures (n, y, x)."""
        before = self.count
        self._pictures = []
        for picture in pictures:
            gray = np.ascontiguousarray(picture)
            height, width = gray.shape
            image = QImage(gray.data, width, height, width, QImage.Format.Format_Grayscale8)
            self._pictures.append(QPixmap.fromImage(image))  # copies, so `gray` may go
        self.current = min(self.current, max(0, self.count - 1))
        if self.count != before:
            self._fit_height()
        self.update()

    def mark(self, marked: Mapping[int, str]) -> None:
        """Dim pictures and write a word on each."""
        self._marked = dict(marked)
        self.update()

    def point(self, arrows: Mapping[int, tuple[float, float]]) -> None:
        """Draw arrows (y, x) from the middle of pictures; the longest takes a third of a picture."""
        self._arrows = dict(arrows)
        self.update()

    def tell(self, tips: Mapping[int, str]) -> None:
        """Set the tooltip of each picture."""
        self._tips = dict(tips)

    def cell(self, number: int) -> QRectF:
        """Return where a picture is drawn."""
        columns, side = self._layout(self.width())
        return QRectF(number % columns * (side + GAP), number // columns * (side + GAP), side, side)

    def at(self, place: QPointF) -> int | None:
        """Return the picture at a place in the widget."""
        columns, side = self._layout(self.width())
        column, row = (int(x // (side + GAP)) for x in (place.x(), place.y()))
        number = row * columns + column
        inside = 0 <= column < columns and 0 <= number < self.count and self.cell(number).contains(place)
        return number if inside else None

    def sizeHint(self) -> QSize:
        """Ask for the rows that the present width makes."""
        return QSize(200, self.heightForWidth(max(self.width(), 200)))

    def hasHeightForWidth(self) -> bool:
        """See `heightForWidth`."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Return the height of all rows."""
        columns, side = self._layout(width)
        return ceil(self.count / columns) * (side + GAP) if self.count else 0

    def resizeEvent(self, event: QEvent | None) -> None:
        """Follow the width."""
        self._fit_height()

    def event(self, event: QEvent | None) -> bool:
        """Show the tooltip of the picture under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            number = self.at(QPointF(event.pos()))
            text = self._tips.get(number, "") if number is not None else ""
            QToolTip.showText(event.globalPos(), text or self.toolTip(), self)
            return True
        return super().event(event)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Choose the picture under the mouse."""
        if event is not None and self._choosable and (number := self.at(event.position())) is not None:
            self.current = number
            self.clicked.emit(number)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move with the arrow keys, choose with Space or Return."""
        key = Qt.Key(event.key()) if event is not None else None
        columns, _ = self._layout(self.width())
        step = KEYS.get(key, {Qt.Key.Key_Up: -columns, Qt.Key.Key_Down: columns}.get(key, 0)) if key is not None else 0
        if self._choosable and self.count and step:
            self.current = min(max(self.current + step, 0), self.count - 1)
            self.setAccessibleDescription(self._tips.get(self.current, ""))
            self.update()
        elif self._choosable and self.count and key in (Qt.Key.Key_Space, Qt.Key.Key_Return):
            self.clicked.emit(self.current)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        """Show which picture the keys are at."""
        self.update()

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Hide it again."""
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw pictures, numbers, marks and arrows."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        longest = max((hypot(*arrow) for arrow in self._arrows.values()), default=0)
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        for number, picture in enumerate(self._pictures):
            cell = self.cell(number)
            size = picture.size().scaled(cell.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
            inside = QRectF(0, 0, size.width(), size.height())
            inside.moveCenter(cell.center())
            painter.fillRect(cell, QColor("black"))
            painter.drawPixmap(inside, picture, QRectF(picture.rect()))
            if number in self._marked:
                painter.fillRect(cell, QColor(0, 0, 0, 150))
                painter.setPen(QPen(QColor(COLOURS["warning"]), 2))
                painter.drawRect(cell.adjusted(1, 1, -1, -1))
                painter.setPen(QColor("white"))
                painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, self._marked[number])
            elif number == self.current and self.hasFocus():
                painter.setPen(QPen(QColor("#56b4e9"), 2))
                painter.drawRect(cell.adjusted(1, 1, -1, -1))
            painter.setPen(QColor(255, 255, 255, 190))
            painter.drawText(cell.adjusted(4, 2, 0, 0), Qt.AlignmentFlag.AlignLeft, str(number))
            if longest > 0 and (arrow := self._arrows.get(number)) is not None:
                _draw_arrow(painter, cell, (arrow[0] / longest, arrow[1] / longest))
        painter.end()

    def _layout(self, width: int) -> tuple[int, int]:
        """Return columns and side of a picture: few pictures fill a row, many wrap into rows of the same length."""
        if not self.count:
            return 1, SMALLEST
        most = max(1, (width + GAP) // (SMALLEST + GAP))
        rows = ceil(self.count / most)
        wanted = ceil(self.count / rows)
        while wanted > 3 and (width - (wanted - 1) * GAP) // wanted < 0.62 * self._largest:
            rows += 1
            wanted = ceil(self.count / rows)
        return wanted, int(min(self._largest, max(SMALLEST, (width - (wanted - 1) * GAP) // wanted)))

    def _fit_height(self) -> None:
        height = self.heightForWidth(self.width())
        if self.height() != height:
            self.setFixedHeight(height)


def _draw_arrow(painter: QPainter, cell: QRectF, share_yx: tuple[float, float]) -> None:
    """Draw an arrow of at most a third of the cell."""
    length = cell.width() / 3
    start = cell.center()
    end = start + QPointF(share_yx[1] * length, share_yx[0] * length)
    along = end - start
    size = hypot(along.x(), along.y())
    painter.setPen(QPen(QColor("#56b4e9"), 2))
    if size < 1.5:
        painter.drawEllipse(start, 1.5, 1.5)
        return
    back = along / size * min(HEAD, size)
    side = QPointF(-back.y(), back.x()) * 0.6
    painter.drawLine(start, end)
    painter.drawLine(end, end - back + side)
    painter.drawLine(end, end - back - side)
