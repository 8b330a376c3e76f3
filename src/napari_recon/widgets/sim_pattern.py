"""Is there a pattern? A button that shows the spectrum with cut-off and carriers, and a verdict per angle."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_recon.engines.sim.calibration import Calibration, Carrier
from napari_recon.widgets.look import Level, Line, describe, guard_wheel


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
        tip = "Power spectrum of the shown image with the OTF's edge and the carriers found; it follows the settings"
        describe(self.button, "Show spectrum", tip)
        self.angle_combo = QComboBox()
        describe(self.angle_combo, "Angle of the spectrum", "Whose frames the spectrum shows")
        guard_wheel(self.angle_combo)
        self.summary = Line()
        self.lines: list[Line] = []
        self._lines_column = QVBoxLayout()
        self._lines_column.setSpacing(2)
        row = QHBoxLayout()
        row.addWidget(self.button, 1)
        row.addWidget(self.angle_combo)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.summary)
        column.addLayout(self._lines_column)
        self.set_angles(3)
        self.angle_combo.setVisible(False)
        self.button.toggled.connect(self._toggled)
        self.angle_combo.activated.connect(lambda _: self.angle_chosen.emit())

    @property
    def angle(self) -> int | None:
        """The angle whose spectrum is wanted, None for all."""
        at = self.angle_combo.currentIndex()
        return at - 1 if at > 0 else None

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
        many = len(found.groups) > 1
        rows: list[tuple[str, Level]] = []
        for number, group in enumerate(found.groups):
            name = f"Angle {number + 1}" if many else "Pattern"
            if not group.carriers:
                rows.append((f"{name}: no pattern; its frames can't add resolution", "error"))
            rows += [(f"{name}: {carrier_text(carrier, found)}", carrier_level(carrier)) for carrier in group.carriers]
        self._fill(rows)
        worst = worst_of([level for _, level in rows])
        word = {"good": "Pattern found at every angle", "warning": "Pattern found, with remarks"}
        text = word.get(worst, "Pattern not found at every angle")
        more = [part for part in (where, gain_text(found), found.verdict) if part]
        self.summary.say(f"{text} ({'; '.join(more)})", worst)

    def _toggled(self, shown: bool) -> None:
        self.button.setText("Hide spectrum" if shown else "Show spectrum")
        self.angle_combo.setVisible(shown)
        self.wanted.emit(shown)

    def _fill(self, rows: list[tuple[str, Level]]) -> None:
        for line in self.lines[len(rows) :]:
            line.hide()
            self._lines_column.removeWidget(line)
            line.deleteLater()
        del self.lines[len(rows) :]
        while len(self.lines) < len(rows):
            self.lines.append(Line())
            self._lines_column.addWidget(self.lines[-1])
        for line, (text, level) in zip(self.lines, rows, strict=True):
            line.say(text, level)


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
