"""Curves drawn by hand: a plotting library would take half a second of the viewer's time in the middle of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

CURVE = "#56b4e9"
FADED = 70
LINES_OF_TEXT = 8
MOST_TICKS = 5
DECADE = 10.0

Points = Sequence[tuple[float, float]]


class CurvePlot(QWidget):
    """Several curves of one quantity, the newest in full colour; the y axis is logarithmic beyond one decade."""

    def __init__(self) -> None:
        super().__init__()
        self._series: list[Points] = []
        self._name = ""
        self.titled = True
        """Whether to say which quantity it is (nothing else does)."""
        self._foreground = QColor("#909090")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def logarithmic(self) -> bool:
        """Whether the y axis shows powers of ten."""
        return is_wide([y for points in self._series for _, y in points])

    def draw(self, name: str, series: Mapping[str, Points]) -> None:
        """Show the curves of quantity `name`, oldest first."""
        self._name, self._series = name, [points for points in series.values() if points]
        self.update()

    def set_foreground(self, colour: str) -> None:
        """Draw axes and numbers in `colour`."""
        self._foreground = QColor(colour)
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for a few lines of text in height; any width will do."""
        return QSize(0, round(LINES_OF_TEXT * self.fontMetrics().height()))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw axes, numbers and curves."""
        if not self._series:
            return
        log = self.logarithmic
        curves = [[(x, math.log10(y) if log else y) for x, y in points] for points in self._series]
        (left, right), (low, high) = (spread([p[i] for points in curves for p in points]) for i in (0, 1))
        rows = labelled(decades(low, high) if log else ticks(low, high), log)
        columns = labelled([x for x in ticks(left, right) if x == round(x)])
        text = QFontMetricsF(self.font())
        margin = max(text.horizontalAdvance(label) for _, label in rows) + 8 if rows else 8
        above = text.height() * (1.0 if self.titled else 0.5) + 2
        frame = QRectF(margin, above, self.width() - margin - 8, self.height() - above - 1.2 * text.height() - 4)

        def place(x: float, y: float) -> QPointF:
            across, up = (x - left) / (right - left), (y - low) / (high - low)
            return QPointF(frame.left() + across * frame.width(), frame.bottom() - up * frame.height())

        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._foreground)
        if self.titled:
            painter.drawText(QRectF(0, 0, self.width(), text.height()), Qt.AlignmentFlag.AlignLeft, self._name)
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        painter.drawLine(frame.bottomLeft(), frame.topLeft())
        right_of = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        last = math.inf
        for y, label in rows:
            at = place(left, y).y()
            if last - at < text.height():
                continue
            last = at
            painter.drawText(QRectF(0, at - text.height() / 2, margin - 4, text.height()), right_of, label)
        for x, label in columns:
            wide = text.horizontalAdvance(label) + 4
            at = min(max(place(x, low).x() - wide / 2, 0), self.width() - wide)
            painter.drawText(QRectF(at, frame.bottom() + 2, wide, text.height()), Qt.AlignmentFlag.AlignHCenter, label)
        for number, points in enumerate(curves):
            colour = QColor(CURVE)
            colour.setAlpha(255 if number == len(curves) - 1 else FADED)
            painter.setPen(QPen(colour, 2))
            line = [place(*point) for point in points]
            painter.drawPolyline(QPolygonF(line))
            if number == len(curves) - 1:
                painter.setBrush(colour)
                painter.drawEllipse(line[-1], 2.5, 2.5)
        painter.end()


def is_wide(values: Sequence[float]) -> bool:
    """Return whether values span more than a decade, all above zero."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > DECADE


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return lowest and highest value, apart even when they are equal."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float) -> list[float]:
    """Return at most five round numbers between `low` and `high`."""
    rough = (high - low) / (MOST_TICKS - 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return where 1, 10, 100 ... (and 2, 5, 20 ... when these are few) lie on a logarithmic axis."""
    whole = [float(n) for n in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    if len(whole) > 2:
        return whole[:: math.ceil(len(whole) / MOST_TICKS)]
    between = [n + math.log10(m) for n in range(math.floor(low), math.floor(high) + 1) for m in (1, 2, 5)]
    return [y for y in between if low - 1e-9 <= y <= high + 1e-9]


def labelled(places: Sequence[float], log: bool = False) -> list[tuple[float, str]]:
    """Return places on an axis with their numbers, in as few digits as tell them apart (three at least)."""
    values = [10**at if log else at for at in places]
    for digits in range(3, 16):
        labels = [f"{value:.{digits}g}" for value in values]
        if len(set(labels)) == len(labels):
            break
    return list(zip(places, labels, strict=True)) if places else []
