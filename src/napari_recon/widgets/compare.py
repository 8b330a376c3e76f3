"""Methods side by side: a table of what speaks for each, saved as CSV or as a picture. Each dock says what is measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.viewer.run import Job, RunResult
from napari_recon.widgets.compare_picture import save_picture
from napari_recon.widgets.look import Level, Line, bold, describe

WIDE, PER_LINE = 3, 4
"""With more columns the name of a method stands above its numbers, and of those so many stand beside each other."""


@dataclass(frozen=True)
class Column:
    """A number that is known of each method; `name` is its heading in the CSV, `better` marks the best."""

    head: str
    name: str
    tip: str
    text: Callable[[float], str]
    better: Literal["high", "low", ""] = ""


@dataclass(frozen=True)
class Row:
    """What is known of one method: column name -> number, and what is to be said."""

    numbers: Mapping[str, float]
    level: Level = "info"
    remark: str = ""
    tip: str = ""


class ComparePanel(QWidget):
    """Buttons and a table of numbers.

    Parameters
    ----------
    columns : sequence of Column
        Those of which no method has a number are left out.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self._columns = tuple(columns)
        self._known: dict[str, Row] = {}
        self.rows: dict[str, list[QLabel]] = {}
        self.pictures: Callable[[], list[tuple[str, Any]]] = list
        """Returns what a saved picture shows: title and layer of each method."""
        self.compare_button, self.check_button = QPushButton("Compare methods"), QPushButton("Check this result")
        self.side_button = QPushButton("Side by side")
        self.side_button.setCheckable(True)
        describe(self.side_button, "Side by side", "Show the layers beside each other, or over each other again")
        self.side_button.hide()
        self.table_button, self.picture_button = QPushButton("Save table…"), QPushButton("Save picture…")
        describe(self.table_button, "Save table", "Write the numbers as CSV")
        describe(
            self.picture_button, "Save picture", "Write every method's result beside the others, with its numbers, as PNG"
        )
        self.line = Line()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(1)
        self.buttons, saving = QHBoxLayout(), QHBoxLayout()
        for button in (self.compare_button, self.check_button):
            self.buttons.addWidget(button)
        for button in (self.table_button, self.picture_button):
            saving.addWidget(button)
            button.hide()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(4)
        self.column.addLayout(self.buttons)
        self.column.addWidget(self.side_button)
        self.column.addWidget(self.line)
        self.column.addLayout(self._grid)
        self.column.addLayout(saving)
        self.table_button.clicked.connect(self._ask_table)
        self.picture_button.clicked.connect(self._ask_picture)

    @property
    def known(self) -> Mapping[str, Row]:
        """Title of each method -> its row."""
        return self._known

    def clear(self) -> None:
        """Forget every row."""
        self._known = {}
        self._fill()

    def show_row(self, title: str, row: Row) -> None:
        """Add a row, or replace that of the same method."""
        self._known[title] = row
        self._fill()

    def save_table(self, path: str | Path) -> None:
        """Write the numbers as CSV."""
        columns = self._shown()
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["method", *(column.name for column in columns)])
            for title, row in self._known.items():
                writer.writerow([title, *(row.numbers.get(column.name, "") for column in columns)])

    def save_picture(self, path: str | Path) -> None:
        """Write the results beside each other, each with its numbers."""
        shown = [(title, layer, self._words(title)) for title, layer in self.pictures()]
        save_picture(shown, path)

    def _words(self, title: str) -> list[str]:
        row = self._known.get(title)
        return [f"{c.head} {c.text(row.numbers[c.name])}" for c in self._shown() if row and c.name in row.numbers]

    def _shown(self) -> list[Column]:
        return [c for c in self._columns if any(c.name in row.numbers for row in self._known.values())]

    def _fill(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self.rows = {}
        columns = self._shown()
        stacked = len(columns) > WIDE
        lines = -(-len(columns) // PER_LINE) if stacked else 1
        for number, column in enumerate(columns):
            label = QLabel(column.head)
            label.setToolTip(column.tip)
            self._grid.addWidget(label, *_place(number, stacked))
        for number, (title, row) in enumerate(self._known.items()):
            top = lines + number * (lines + 2)
            self.rows[title] = self._add_row(top, title, row, columns, stacked)
        for at in range(PER_LINE + 1):
            self._grid.setColumnStretch(at, 1 if (at < PER_LINE if stacked else at == 0) else 0)
        for button in (self.table_button, self.picture_button):
            button.setVisible(bool(self._known))

    def _add_row(self, at: int, title: str, row: Row, columns: Sequence[Column], stacked: bool) -> list[QLabel]:
        name = Line(title, row.level)
        self._grid.addWidget(bold(name) if stacked else name, at, 0, 1, PER_LINE if stacked else 1)
        name.setToolTip(row.tip)
        labels: list[QLabel] = [name]
        for number, column in enumerate(columns):
            value = row.numbers.get(column.name)
            label = QLabel("–" if value is None else column.text(value))
            label.setToolTip(row.tip or column.tip)
            if self._is_best(column, value):
                bold(label)
            line, place = _place(number, stacked)
            self._grid.addWidget(label, at + stacked + line, place)
            labels.append(label)
        if row.remark:
            remark = Line(row.remark, row.level)
            below = at + stacked + 1 + (_place(len(columns) - 1, stacked)[0] if columns else 0)
            self._grid.addWidget(remark, below, 0, 1, PER_LINE)
            labels.append(remark)
        return labels

    def _is_best(self, column: Column, value: float | None) -> bool:
        values = [row.numbers[column.name] for row in self._known.values() if column.name in row.numbers]
        if value is None or not column.better or len(values) < 2 or values.count(value) > 1:
            return False
        return value == (max if column.better == "high" else min)(values)

    def _ask_table(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save table", "comparison.csv", "Table (*.csv)")
        if path:
            self._write(self.save_table, path)

    def _ask_picture(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save picture", "comparison.png", "Picture (*.png)")
        if path:
            self._write(self.save_picture, path)

    def _write(self, write: Callable[[str], None], path: str) -> None:
        try:
            write(path)
        except OSError as error:
            self.line.say(f"{path} can't be written: {error.strerror}; choose another place", "error")
        else:
            self.line.say(f"Saved to {Path(path).name}", "good")


def _place(number: int, stacked: bool) -> tuple[int, int]:
    """Return line and column of a number, from the first line of numbers."""
    return divmod(number, PER_LINE) if stacked else (0, number + 1)


@dataclass
class Entry:
    """One method of a comparison."""

    title: str
    engine: str
    job: Job | None = None
    layer: Any = None


class Comparison(QObject):
    """Runs methods one after another through a dock's controller; a subclass judges what came out.

    Parameters
    ----------
    controller : RunController
    panel : ComparePanel

    Signals
    -------
    ended
        All that could be done is done.
    """

    ended = Signal()

    def __init__(self, viewer: Any, controller: Any, panel: ComparePanel, parent: Any = None) -> None:
        super().__init__(parent)
        self._viewer, self._controller, self._panel = viewer, controller, panel
        self._entries: list[Any] = []
        self._end_view: Callable[[], None] = lambda: None
        panel.pictures = lambda: [(e.title, e.layer) for e in self._present()]
        controller.finished.connect(self._take)
        panel.side_button.toggled.connect(self._side_by_side)
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let go of the viewer; layers stay as they are."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def jobs_of(self, entry: Any) -> tuple[Job | None, ...]:
        """Return the jobs that belong to a method."""
        return (entry.job,)

    def judge(self) -> None:
        """Judge what the methods made; every method has run."""
        raise NotImplementedError

    def take_other(self, entry: Any, result: RunResult) -> None:
        """Take the result of a further job of a method."""

    def beside(self) -> Callable[[], None] | None:
        """Show what was made beside each other; return what ends it, None when nothing is left to show."""
        raise NotImplementedError

    def owns(self, job: Job) -> bool:
        """Return whether a job belongs to the comparison."""
        return any(job in self.jobs_of(entry) for entry in self._entries)

    def start(self, entries: Sequence[Any]) -> None:
        """Run the job of each method, then judge."""
        self.begin(entries)
        self._controller.start([entry.job for entry in entries])

    def begin(self, entries: Sequence[Any]) -> None:
        """Forget the last comparison."""
        self._panel.side_button.setChecked(False)
        self._panel.line.say("")
        self._entries = list(entries)

    def end(self, can_show: bool) -> None:
        """Say that it is over, and show what there is."""
        layers = [entry.layer for entry in self._present()]
        if layers:
            self._viewer.layers.selection.active = layers[0]
        self._panel.side_button.setVisible(can_show)
        self._panel.side_button.setChecked(can_show)
        self.ended.emit()

    def _present(self) -> list[Any]:
        return [e for e in self._entries if e.layer is not None and e.layer in self._viewer.layers]

    def _take(self, result: RunResult) -> None:
        if not self.owns(result.job):
            return
        if result.partial and result.error is None:
            self._entries = []  # cancelled: the jobs behind it are gone
            self.cancelled(result)
            return
        entry = next(e for e in self._entries if result.job in self.jobs_of(e))
        if result.error is not None:
            self._panel.line.say(f"{entry.title}: {result.error}", "error")
        if entry.job is not result.job:
            self.take_other(entry, result)
            return
        entry.layer = result.layers[0] if result.layers and result.error is None else None
        if entry is [e for e in self._entries if e.job is not None][-1]:
            self.judge()

    def cancelled(self, result: RunResult) -> None:
        """Take note that a person stopped the comparison at this result."""

    def _side_by_side(self, beside: bool) -> None:
        self._end_view()
        self._end_view = (self.beside() if beside else None) or (lambda: None)
        self._panel.side_button.setText("Over each other again" if beside else "Side by side")

    def _on_removed(self, _: Any = None) -> None:
        """Leave an arrangement of which nothing is left."""
