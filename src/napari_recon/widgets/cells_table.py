"""What the Cells dock shows of a result: one row per cell of the time on show, and the divisions to be reviewed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_recon.widgets.look import describe, guard_wheel
from napari_recon.widgets.movie_row import SHOWN

Row = Mapping[str, Any]
COLUMNS = ("name", "volume", "surface", "contacts")
AUTO, ONE, TWO = "auto", "one cell", "two cells"


class CellTable(QTableWidget):
    """Name, volume, surface and number of contacts of every cell; sortable, one row selected at a time.

    Signals
    -------
    chosen : int
        The label of the row that a person selected.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setMinimumHeight(150)
        self.setMaximumHeight(220)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setMinimumSectionSize(30)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        describe(self, "Cells", "One row per cell at the time on show: click one to see it, or click a cell in the picture")
        self.itemSelectionChanged.connect(self._selected)
        self._quiet = False

    def show_rows(self, rows: Sequence[Row], unit: str) -> None:
        """Show the cells of one time; the row that was selected stays so."""
        before = self.label()
        self._quiet = True
        self.setSortingEnabled(False)
        length = SHOWN.get(unit, unit)
        self.setHorizontalHeaderLabels(["Cell", f"Vol. {length}³", f"Area {length}²", "Touches"])
        self.setRowCount(len(rows))
        for at, row in enumerate(rows):
            contacts = str(row["contacts"])
            numbers = (float(row["volume"]), float(row["surface"]), len(contacts.split()))
            values: tuple[str | float, ...] = (str(row["name"]), *numbers)
            for column, value in enumerate(values):
                item = _Item(value)
                item.setData(Qt.ItemDataRole.UserRole, int(row["label"]))
                item.setToolTip(contacts.replace(" ", "\n") if column == 3 else str(row["name"]))
                self.setItem(at, column, item)
        self.setSortingEnabled(True)
        self._quiet = False
        self.choose(before)

    def label(self) -> int:
        """Return the label of the selected row, 0 when there is none."""
        items = self.selectedItems()
        return int(items[0].data(Qt.ItemDataRole.UserRole)) if items else 0

    def choose(self, label: int) -> None:
        """Select the row of a label, without saying so; none when it has no row."""
        self._quiet = True
        self.clearSelection()
        for at in range(self.rowCount()):
            item = self.item(at, 0)
            if item is not None and item.data(Qt.ItemDataRole.UserRole) == label:
                self.selectRow(at)
                self.scrollToItem(item)
        self._quiet = False

    def _selected(self) -> None:
        if not self._quiet and self.label():
            self.chosen.emit(self.label())


class _Item(QTableWidgetItem):
    """A cell that sorts as what it holds."""

    def __init__(self, value: str | float) -> None:
        super().__init__(value if isinstance(value, str) else f"{value:.4g}")
        self.value = value
        if not isinstance(value, str):
            self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        if isinstance(other, _Item) and type(self.value) is type(other.value):
            return bool(self.value < other.value)  # type: ignore[operator]
        return super().__lt__(other)


class DivisionsPanel(QWidget):
    """Sisters that could still be one cell: how much membrane lies between, and what counts.

    Signals
    -------
    decided : dict
        ``{"together": [...], "apart": [...]}``, mothers with their time as in the engine's parameters.
    """

    decided = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self.boxes: dict[str, QComboBox] = {}
        self._shown: tuple[Any, ...] = ()
        self.hide()

    def show_sisters(self, time: int, sisters: Sequence[Row], params: Mapping[str, Any]) -> None:
        """Show the sisters of one time."""
        together, apart = set(params.get("together") or ()), set(params.get("apart") or ())
        shown = (time, tuple(str(s) for s in sisters), frozenset(together), frozenset(apart))
        if shown == self._shown:
            return
        self._shown = shown
        self._together, self._apart = together, apart
        while (item := self._column.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self.boxes.clear()
        for row in sisters:
            self._column.addWidget(self._row(time, row))
        self.setVisible(bool(sisters))

    def _row(self, time: int, row: Row) -> QWidget:
        mother, key = str(row["mother"]), f"{row['mother']}:{time}"
        whole, box = QWidget(), QComboBox()
        line = QHBoxLayout(whole)
        line.setContentsMargins(0, 0, 0, 0)
        found = ONE if row["one_cell"] else TWO
        sisters = " + ".join(row["sisters"])
        label = QElidingLabel(f"{sisters} → {mother}")
        between = f"Membrane between them: {row['membrane_between']:.2f} (0 as inside cells, 1 as between all cells)"
        label.setToolTip(f"{sisters}, daughters of {mother}. {between}")
        box.addItems([f"{AUTO}: {found}" if row.get("by") != "hand" else AUTO, ONE, TWO])
        said = {mother, key}
        box.setCurrentIndex(1 if said & self._together else 2 if said & self._apart else 0)
        describe(box, f"Division of {mother}", f"Whether {' and '.join(row['sisters'])} are one cell already or two")
        guard_wheel(box)
        box.setMinimumContentsLength(8)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        label.setMinimumWidth(70)
        box.activated.connect(lambda at: self._decide(mother, key, at))
        value = QLabel(f"{row['membrane_between']:.2f}")
        value.setToolTip(label.toolTip())
        line.addWidget(label, 1)
        line.addWidget(value)
        line.addWidget(box)
        self.boxes[key] = box
        return whole

    def _decide(self, mother: str, key: str, at: int) -> None:
        together, apart = ({x for x in said if x not in (mother, key)} for said in (self._together, self._apart))
        if at == 1:
            together.add(key)
        elif at == 2:
            apart.add(key)
        self.decided.emit({"together": sorted(together), "apart": sorted(apart)})
