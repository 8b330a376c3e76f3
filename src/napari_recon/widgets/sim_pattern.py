"""Is there a pattern? A button that shows the spectrum with cut-off and carriers, and a verdict per angle."""

from __future__ import annotations

from typing import Any, NamedTuple

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.engines.sim.calibration import Calibration, Carrier
from napari_recon.widgets.look import COLOURS, SIGNS, Level, Line, allow, describe, guard_wheel


class PatternPanel(QWidget):
    """Shows a `Calibration` in words; the dock feeds it from the quick look and from runs.

    Signals
    -------
    wanted : bool
        The spectrum should be shown, or not.
    angle_chosen
        Another angle's spectrum is wanted.
    """

    wanted = Signal(bool)
    angle_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.button = QPushButton("Show spectrum")
        self.button.setCheckable(True)
        describe(self.button, "Show spectrum")
        self.angle_combo = QComboBox()
        describe(self.angle_combo, "Angle of the spectrum", "Whose frames the spectrum shows")
        guard_wheel(self.angle_combo)
        self.summary = Line()
        self.rows: list[list[QWidget]] = []
        self._shown: list[Row] = []
        self._table = QGridLayout()
        self._table.setHorizontalSpacing(10)
        self._table.setVerticalSpacing(2)
        row = QHBoxLayout()
        row.addWidget(self.button, 1)
        row.addWidget(self.angle_combo)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.summary)
        column.addLayout(self._table)
        self.set_angles(3)
        self.angle_combo.setVisible(False)
        self.button.toggled.connect(self._toggled)
        self.angle_combo.activated.connect(lambda _: self.angle_chosen.emit())

    @property
    def angle(self) -> int | None:
        """The angle whose spectrum is wanted, None for all."""
        at = self.angle_combo.currentIndex()
        return at - 1 if at > 0 else None

    def set_reason(self, reason: str) -> None:
        """Say why there is no spectrum to show; empty when there is."""
        tip = "Power spectrum of the shown image with the OTF's edge and the carriers found; it follows the settings"
        allow(self.button, reason, tip)

    def set_angles(self, count: int) -> None:
        """Offer so many angles."""
        if self.angle_combo.count() != count + 1:
            self.angle_combo.clear()
            self.angle_combo.addItems(["all angles", *(f"angle {n + 1}" for n in range(count))])

    def wait(self) -> None:
        """The pattern is being looked for."""
        if not self.summary.text():
            self.summary.say("Looking for the pattern …")

    def clear(self) -> None:
        """Nothing is known."""
        self._fill([])
        self.summary.say("")

    def show_problem(self, sentence: str) -> None:
        """Say why there is no calibration."""
        self._fill([])
        self.summary.say(sentence, "error")

    def show_calibration(self, found: Calibration, where: str = "") -> None:
        """Show what was found, one line per carrier.

        Parameters
        ----------
        found : Calibration
        where : str
            What it was measured on, e.g. ``"middle of the field"``.
        """
        self._fill(table_of(found))
        worst = worst_of([row.level for row in self._shown])
        word = {"good": "Pattern found at every angle", "warning": "Pattern found, with remarks"}
        text = word.get(worst, "Pattern not found at every angle")
        # a verdict that only counts the carriers says no more than the table does
        remark = "" if found.verdict.startswith("pattern found") else found.verdict
        more = [part for part in (gain_text(found), remark, where) if part]
        self.summary.say(f"{text}: {'; '.join(more)}" if more else text, worst)

    def _toggled(self, shown: bool) -> None:
        self.button.setText("Hide spectrum" if shown else "Show spectrum")
        self.angle_combo.setVisible(shown)
        self.wanted.emit(shown)

    def _fill(self, rows: list[Row]) -> None:
        for widgets in self.rows:
            for widget in widgets:
                self._table.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        self.rows.clear()
        self._shown = rows
        for row in [HEAD, *rows] if rows else []:
            at = self._table.rowCount()
            labels: list[QWidget] = []
            for column, cell in enumerate(row.cells):
                label = QLabel(SIGNS[row.level] + cell if column == 0 else cell)
                label.setStyleSheet(f"color: {COLOURS[row.level]};" if COLOURS[row.level] else "")
                label.setToolTip(row.tip)
                label.setAccessibleDescription(row.tip)
                self._table.addWidget(label, at, column)
                labels.append(label)
            if row.remark:
                remark = Line(row.remark, row.level)
                self._table.addWidget(remark, at + 1, 0, 1, len(HEAD.cells))
                labels.append(remark)
            self.rows.append(labels)


TIP = "Pattern frequency; its share of the cut-off fc; depth of the pattern; height of its peak over the noise"


class Row(NamedTuple):
    """One carrier in the table."""

    cells: tuple[str, ...]
    level: Level
    remark: str = ""
    tip: str = ""


HEAD = Row(("", "|k| /µm", "of fc", "modul.", "peak"), "info", tip=TIP)


def table_of(found: Calibration) -> list[Row]:
    """Return one row per carrier; an angle without one has a row that says so."""
    rows = []
    for number, group in enumerate(found.groups):
        name = f"angle {number + 1}" if len(found.groups) > 1 else "pattern"
        if not group.carriers:
            rows.append(Row((name, "-", "-", "-", "-"), "error", "no pattern: its frames can't add resolution"))
        for carrier in group.carriers:
            level = carrier_level(carrier)
            k = carrier.k_magnitude_per_um
            numbers = (
                f"{k:.3f}",
                f"{k / found.cutoff_per_um:.2f}",
                f"{carrier.modulation:.2f}",
                f"{carrier.peak_to_noise:.0f}",
            )
            remark = carrier.verdict if level != "good" else ""
            rows.append(Row((name, *numbers), level, remark, carrier_text(carrier, found)))
    return rows


def carrier_text(carrier: Carrier, found: Calibration) -> str:
    """Return ``"clear · |k| 3.95 /µm (0.90 of the cut-off) · modulation 0.62 · peak 23 × noise · steps 120° 119°"``."""
    k = carrier.k_magnitude_per_um
    steps = " ".join(f"{step:.0f}°" for step in carrier.phase_steps_deg)
    return (
        f"{carrier.verdict or 'found'} · |k| {k:.2f}/µm ({k / found.cutoff_per_um:.2f} of the cut-off) · modulation "
        f"{carrier.modulation:.2f} · peak {carrier.peak_to_noise:.0f} × noise · steps {steps}"
    )


def carrier_level(carrier: Carrier) -> Level:
    """Return how good a carrier is; everything but a clear one has a remark."""
    return "good" if carrier.verdict.startswith("clear") else "warning"


def gain_text(found: Calibration) -> str:
    """Return how far resolution can go: ``"1.9 × the resolution of wide field"``."""
    lengths = [c.k_magnitude_per_um for group in found.groups for c in group.carriers]
    if not lengths:
        return ""
    return f"{1 + sum(lengths) / len(lengths) / found.cutoff_per_um:.1f} × the resolution of wide field"


def worst_of(levels: list[Level]) -> Level:
    """Return the worst of several levels, ``"error"`` when there are none."""
    order: list[Level] = ["good", "warning", "error"]
    return max(levels, key=order.index, default="error")


def calibration_in(payload: Any) -> Calibration | None:
    """Return the calibration an artifact holds, None when it holds something else."""
    if not isinstance(payload, dict):
        return None
    for part in (payload, payload.get("calibration")):
        if isinstance(part, dict) and "groups" in part:
            try:
                return Calibration.model_validate(part)
            except ValueError:
                return None
    return None
