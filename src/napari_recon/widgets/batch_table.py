"""The recordings of a batch and how far each is; a double click opens a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QModelIndex, QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_recon.jobs.batch.items import Item
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.estimates import describe_seconds
from napari_recon.viewer.batch_request import Row
from napari_recon.widgets.look import COLOURS, SIGNS, Level, Line, describe

_LEVELS: dict[str, Level] = {"done": "good", "failed": "error", "skipped": "warning"}
_FRACTION = Qt.ItemDataRole.UserRole + 1


class RecordingTable(QWidget):
    """One row per recording, with a line below that tells more about the selected one.

    Signals
    -------
    opened : str
        The result of a row that was double-clicked.
    """

    opened = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.table, self.line = QTableWidget(0, 2), Line()
        self.items: list[Item] = []
        self.outcomes: dict[Item, Outcome] = {}
        self._rows: tuple[Row, ...] | None = None
        self._at: dict[Item, int] = {}
        self._said: dict[Item, tuple[str, Level]] = {}
        self._later = QTimer(self, singleShot=True)
        self._later.timeout.connect(self._keep_in_sight)
        table = self.table
        table.setHorizontalHeaderLabels(["Recording", "State"])
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTextElideMode(Qt.TextElideMode.ElideLeft)
        table.setTabKeyNavigation(False)
        table.setMinimumHeight(110)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Fixed)
        header.resizeSection(1, table.fontMetrics().horizontalAdvance("0000 of 0000  "))
        table.setItemDelegateForColumn(1, _Bar(table))
        describe(table, "Recordings", "What becomes of every recording; double-click one that is done to open its result")
        table.itemSelectionChanged.connect(self._tell)
        table.itemDoubleClicked.connect(self._open)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(table, 1)
        column.addWidget(self.line)

    def show_rows(self, rows: Iterable[Row]) -> None:
        """Show the recordings of a batch that does not run."""
        rows = tuple(rows)
        if rows == self._rows:
            return
        self._rows = rows
        self.table.setUpdatesEnabled(False)
        self.table.setRowCount(0)
        self.items, self.outcomes, self._at, self._said = [], {}, {}, {}
        for row in rows:
            self._add(row.item)
            if row.clash:
                self._say(row.item, "in the way", "warning", f"{row.target} is there already")
            else:
                self._show(row.item, row.outcome)
        self.table.setUpdatesEnabled(True)
        self._tell()

    def go_on(self, item: Item, done: float, total: float, message: str) -> None:
        """Show that a recording is being made; one that was not there before gets a row."""
        self._rows = None
        self._add(item)
        text = f"{done:g} of {total:g}" if total > 1 else message or f"{done:.0%}"
        self._say(item, text, "info", message)
        self._cell(item).setData(_FRACTION, done / total if total else 0.0)

    def end(self, item: Item, outcome: Outcome) -> None:
        """Show how a recording ended."""
        self._rows = None
        self._show(item, outcome)

    def _show(self, item: Item, outcome: Outcome) -> None:
        self._add(item)
        self.outcomes[item] = outcome
        self._cell(item).setData(_FRACTION, 0.0)
        self._say(item, outcome.state, _LEVELS.get(outcome.state, "info"), _words(outcome))

    def follow(self, item: Item) -> None:
        """Keep a recording in sight."""
        self.table.scrollToItem(self._cell(item))

    def result(self, item: Item) -> str:
        """Return where the result of a recording is, empty when there is none."""
        outcome = self.outcomes.get(item)
        return outcome.result if outcome is not None else ""

    def state(self, item: Item) -> str:
        """Return what the table says of a recording."""
        return self._cell(item).text()

    def _add(self, item: Item) -> None:
        if item in self._at:
            return
        self._at[item] = at = self.table.rowCount()
        self.items.append(item)
        self.table.insertRow(at)
        name = QTableWidgetItem(item.label)
        name.setToolTip(item.source)
        self.table.setItem(at, 0, name)
        self.table.setItem(at, 1, QTableWidgetItem())

    def _cell(self, item: Item) -> Any:
        return self.table.item(self._at[item], 1)

    def _say(self, item: Item, text: str, level: Level, more: str) -> None:
        cell = self._cell(item)
        cell.setText(SIGNS[level] + text)
        cell.setToolTip(more)
        cell.setData(Qt.ItemDataRole.ForegroundRole, QColor(COLOURS[level]) if COLOURS[level] else None)
        self._said[item] = more, level
        if self._selected() == item:
            self._tell()

    def _selected(self) -> Item | None:
        row = self.table.currentRow() if self.table.selectedItems() else -1
        return self.items[row] if row >= 0 else None

    def _tell(self) -> None:
        item = self._selected()
        more, level = self._said.get(item, ("", "info")) if item is not None else ("", "info")
        self.line.say(more, level)
        if item is not None:  # the line may have taken the room of its row
            self._later.start(0)

    def _keep_in_sight(self) -> None:
        if (cell := self.table.currentItem()) is not None:
            self.table.scrollToItem(cell)

    def _open(self, cell: QTableWidgetItem) -> None:
        item = self.items[cell.row()]
        if path := self.result(item):
            self.opened.emit(path)
        else:
            self.line.say(f"{item.label} has no result yet", "warning")


class _Bar(QStyledItemDelegate):
    """Paints how far a recording is behind its state."""

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        fraction = index.data(_FRACTION) or 0.0
        if painter is not None and fraction > 0:
            place = QRectF(option.rect)
            place.setWidth(place.width() * min(1.0, fraction))
            painter.fillRect(place, QColor(0, 114, 178, 120))
        super().paint(painter, option, index)


def _words(outcome: Outcome) -> str:
    parts = [outcome.message] if outcome.message else []
    if outcome.state == "done":
        memory = f", {outcome.peak_memory_bytes / 1e6:.0f} MB" if outcome.peak_memory_bytes else ""
        frames = f"{outcome.frames} frames in " if outcome.frames > 1 else ""
        parts.append(f"{frames}{describe_seconds(outcome.seconds)}{memory}")
        parts += [f"{name} {value:.4g}" for name, value in outcome.metrics.items()]
    return " · ".join([*parts, *outcome.warnings])
