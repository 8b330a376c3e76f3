"""Scrubbing: the fitted field as a layer, a slider that goes between frames, and what else to look at beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from napari_recon.core.grid import Grid
from napari_recon.widgets.look import PRIMARY, Line, allow, describe, guard_wheel, small_button
from napari_recon.widgets.movie_row import SHOWN

STEPS = 8
"""Positions of the slider per frame."""
PLAY_MS = 120
COLUMNS = 3
FRACTIONS = {0.5: "halfway", 0.25: "a quarter of the way", 0.75: "three quarters of the way"}


class ScrubPanel(QWidget):
    """Opens a field, moves through its time, and puts others beside it; the dock does the work.

    Signals
    -------
    open_wanted
        The field should become a layer.
    beside_wanted : tuple of str
        Names of what should be seen beside the field, in their order; empty for the field alone.
    export_wanted
        What is seen should become a layer of its own.
    """

    open_wanted = Signal()
    beside_wanted = Signal(object)
    export_wanted = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._grid: Grid | None = None
        self._moving = False
        self.open_button = QPushButton("Scrub &between frames")
        self.open_button.setStyleSheet(PRIMARY)
        self.line = Line()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        describe(self.slider, "Time", "Goes through the time of the field, between its frames, too")
        guard_wheel(self.slider)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.back_button = small_button("◀", "Frame before", "To the frame before, as it was measured")
        self.half_button = QPushButton("&Halfway")
        describe(self.half_button, "Halfway to the next frame", "Where a frame is missing most: halfway to the next one")
        self.on_button = small_button("▶", "Next frame", "To the next frame, as it was measured")
        self.play_button = QPushButton("Pla&y")
        self.play_button.setCheckable(True)
        describe(self.play_button, "Play", "Go on through all times and begin anew")
        self.place = Line()
        self.export_button = QPushButton("&Keep what is seen")
        describe(
            self.export_button, "Keep what is seen", "Compute exactly what is seen now and put it into a layer of its own"
        )
        self.beside: dict[str, QPushButton] = {}
        self.beside_line = Line()
        self._timer = QTimer(self)
        self._timer.setInterval(PLAY_MS)
        self._timer.timeout.connect(self._play_on)
        self._lay_out()
        self.open_button.clicked.connect(self.open_wanted)
        self.slider.valueChanged.connect(self._slid)
        self.back_button.clicked.connect(lambda: self.go_to(-(-self.slider.value() // STEPS) * STEPS - STEPS))
        self.on_button.clicked.connect(lambda: self.go_to(self.slider.value() // STEPS * STEPS + STEPS))
        self.half_button.clicked.connect(self._halfway)
        self.play_button.toggled.connect(self._play)
        self.export_button.clicked.connect(self.export_wanted)
        viewer.dims.events.point.connect(self._dims_moved)
        self.set_field(None)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of what should be seen beside the field."""
        return tuple(name for name, button in self.beside.items() if button.isChecked() and not button.isHidden())

    def set_reason(self, reason: str) -> None:
        """Say why no field can be opened; empty when one can."""
        allow(self.open_button, reason, "Open the field as a layer that is computed where you look, at any time and zoom")

    def set_field(self, grid: Grid | None) -> None:
        """Move through the time of a field that stands for a recording with this grid (TZYX); None when none is open."""
        self._grid = grid
        self._player.setVisible(grid is not None)
        self.open_button.setVisible(grid is None)
        if grid is None:
            self.play_button.setChecked(False)
            return
        self._moving = True
        self.slider.setRange(0, (grid.size("T") - 1) * STEPS)
        self.slider.setTickInterval(STEPS)
        self.slider.setSingleStep(1)
        self.slider.setPageStep(STEPS)
        self._moving = False
        self._dims_moved()

    def offer_beside(self, names: Sequence[tuple[str, str, str]]) -> None:
        """Offer what can be seen beside the field: its name, a tooltip, and why it can't (empty when it can)."""
        for name, tip, reason in names:
            if name not in self.beside:
                button = QPushButton(name)
                button.setCheckable(True)
                button.setAccessibleName(f"{name} beside the field")
                button.clicked.connect(lambda _=False: self.beside_wanted.emit(self.chosen))
                self.beside[name] = button
                at = self._beside.count()
                self._beside.addWidget(button, at // COLUMNS, at % COLUMNS)
            allow(self.beside[name], reason, tip)
        for name, button in self.beside.items():
            button.setVisible(any(name == each for each, _, _ in names))

    def uncheck(self, names: Sequence[str] | None = None) -> None:
        """Take back what was asked for beside the field (all of it by default)."""
        for name, button in self.beside.items():
            if names is None or name in names:
                button.setChecked(False)

    def go_to(self, position: int) -> None:
        """Go to a position of the slider."""
        self.slider.setValue(min(max(position, 0), self.slider.maximum()))

    def let_go(self) -> None:
        """Disconnect from the viewer."""
        self._timer.stop()
        self._viewer.dims.events.point.disconnect(self._dims_moved)

    def _axis(self) -> int:
        return int(self._viewer.dims.ndim) - 4

    def _slid(self, position: int) -> None:
        grid = self._grid
        if grid is not None:
            if not self._moving and self._axis() >= 0:
                self._moving = True
                self._viewer.dims.set_point(self._axis(), grid.to_world("T", position / STEPS))
                self._moving = False
            self.place.say(place_text(grid, position / STEPS))

    def _dims_moved(self, _: Any = None) -> None:
        """Follow the viewer's own slider."""
        grid = self._grid
        if grid is None or self._moving or self._axis() < 0:
            return
        at = (float(self._viewer.dims.point[self._axis()]) - grid.origin("T")) / grid.step("T")
        self._moving = True
        self.slider.setValue(round(at * STEPS))
        self._moving = False
        self.place.say(place_text(grid, min(max(at, 0.0), grid.size("T") - 1.0)))

    def _halfway(self) -> None:
        """Go halfway to the next frame; from there, halfway to the one after."""
        half = STEPS // 2
        behind = (self.slider.value() - half) // STEPS * STEPS + half
        self.go_to(behind + STEPS if behind + STEPS <= self.slider.maximum() else half)

    def _play(self, playing: bool) -> None:
        self.play_button.setText("Pa&use" if playing else "Pla&y")
        (self._timer.start if playing else self._timer.stop)()

    def _play_on(self) -> None:
        at = self.slider.value() + 1
        self.go_to(at if at <= self.slider.maximum() else 0)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        for widget in (self.back_button, self.half_button, self.on_button, self.play_button):
            buttons.addWidget(widget)
        buttons.addStretch(1)
        self._beside = QGridLayout()
        self._beside.setSpacing(4)
        self._player = QWidget()
        player = QVBoxLayout(self._player)
        player.setContentsMargins(0, 0, 0, 0)
        player.setSpacing(4)
        player.addWidget(self.slider)
        player.addWidget(self.place)
        player.addLayout(buttons)
        player.addWidget(QLabel("Beside it"))
        player.addLayout(self._beside)
        player.addWidget(self.beside_line)
        player.addWidget(self.export_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.open_button)
        column.addWidget(self.line)
        column.addWidget(self._player)


def place_text(grid: Grid, at: float) -> str:
    """Return where a time (in frames) is: ``"Frame 2"``, ``"Halfway from frame 1 to 2 · 90 s"``."""
    frame = round(at)
    unit = grid.unit("T")
    time = "" if unit == "pixel" else f" · {grid.to_world('T', at):.4g} {SHOWN.get(unit, unit)}"
    if abs(at - frame) < 1e-3:
        return f"Frame {frame}, measured{time}"
    before = int(at)
    share = next(
        (text for value, text in FRACTIONS.items() if abs(at - before - value) < 1e-3), f"{at - before:.2f} of the way"
    )
    return f"{share[:1].upper()}{share[1:]} from frame {before} to {before + 1}, invented{time}"
