"""How good are the invented frames? What a fit makes of frames it did not see, beside what interpolation makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.widgets.fixes import fix_label, fixes_in
from napari_recon.widgets.look import Line, bold, describe
from napari_recon.widgets.verdict import GOOD, is_good

COLUMNS = {"frames": "between_frames", "planes": "between_planes"}
"""What a column is called -> how the report's keys begin."""
ROWS = {"linear": "linear_", "cubic": "cubic_", "flow": "flow_", "this field": ""}
"""What a row is called -> what stands before ``psnr`` in the report's keys."""
TIPS = {
    "linear": "Each voxel interpolated by itself, linearly",
    "cubic": "Each voxel interpolated by itself, with cubic splines",
    "flow": "Frames warped by optical flow",
    "this field": "What was fitted, from the frames and lines that it was allowed to see",
}
ALIKE = 0.25
"""dB by which the best may differ and still be as good as each other."""


class ScorePanel(QWidget):
    """A small table of the scores in a fit's report, a verdict, and a remedy one click away; hidden until there is one.

    Signals
    -------
    remedy : dict
        Settings with which to fit again.
    """

    remedy = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.report: Mapping[str, Any] = {}
        self.scores: dict[tuple[str, str], float] = {}
        self._values: dict[str, Any] = {}
        self.title = bold(QLabel("How good are the invented frames?"))
        tip = (
            "Every other frame, and lines of planes, were kept from a second fit; this is how well they came out (PSNR, dB)"
        )
        describe(self.title, "Scores", tip)
        self.line, self.notes, self.button = Line(), Line(), QPushButton()
        self.button.clicked.connect(lambda: self.remedy.emit(dict(self._values)))
        self._table = QWidget()
        self._grid = QGridLayout(self._table)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(0, 1)
        describe(self._table, "Table of scores", tip)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        for widget in (self.title, self._table, self.line, self.notes, self.button):
            column.addWidget(widget)
        self.clear()

    def clear(self) -> None:
        """Forget every score."""
        self.report = {}
        self.scores = {}
        self._values = {}
        self.note(())
        self.hide()

    def note(self, warnings: Sequence[str]) -> None:
        """Say in short what the run warned of; the tooltip has it in full."""
        verdict = str(self.report.get("verdict", ""))
        new = [sentence for sentence in warnings if sentence != verdict]
        self.notes.say("\n".join(text[:1].upper() + text[1:].split("; ")[0] for text in new), "warning")
        self.notes.setToolTip("\n".join(new))

    def show_report(self, report: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Show the scores of a fit made with `settings`."""
        self.report = report
        self.scores = scores_of(report)
        self._fill()
        verdict = str(report.get("verdict", ""))
        if verdict:
            good = is_good(report)
            text = verdict.removeprefix(f"{GOOD}: ") if good else verdict
            self.line.say(text[:1].upper() + text[1:], "good" if good else "warning")
        else:
            self.line.say("")
        fixes = {} if is_good(report) else fixes_in(verdict, settings)
        self._values = {name: value for name, value in fixes.items() if settings.get(name) != value}
        self.button.setVisible(bool(self._values))
        if self._values:
            self.button.setText(f"{fix_label(self._values)} and fit again")
        self.setVisible(bool(self.scores or verdict))

    def _fill(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        columns = [name for name in COLUMNS if any(of == name for of, _ in self.scores)]
        for at, name in enumerate(columns, start=1):
            self._put(f"between {name}", 0, at)
        rows = [name for name in ROWS if any(row == name for _, row in self.scores)]
        for down, row in enumerate(rows, start=1):
            ours = row == "this field"
            self._put(row, down, 0, ours)
            for at, name in enumerate(columns, start=1):
                value = self.scores.get((name, row))
                most = max(v for (of, _), v in self.scores.items() if of == name)
                best = value is not None and value >= most - ALIKE
                self._put("–" if value is None else f"{'✓ ' if best else ''}{value:.1f} dB", down, at, best)

    def _put(self, text: str, row: int, column: int, strong: bool = False) -> None:
        label = QLabel(text)
        label.setToolTip(TIPS.get(text, self.title.toolTip()))
        if column:
            label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._grid.addWidget(bold(label) if strong else label, row, column)


def scores_of(report: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return the scores of a report: (column, row) -> dB."""
    found = {}
    for column, start in COLUMNS.items():
        for row, middle in ROWS.items():
            value = report.get(f"{start}_{middle}psnr")
            if isinstance(value, int | float):
                found[column, row] = float(value)
    return found
