"""How finely a 4-D field is asked: samples per data point along t, z, y and x."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.inr4d.lattice import AXES, factors_of, spelled
from napari_recon.widgets.fields import NumberBox
from napari_recon.widgets.look import Line, allow, describe

WORDS = {"t": "frame", "z": "plane", "y": "row", "x": "column"}


class SamplingRow(QWidget):
    """Four numbers, and buttons for what is asked for most.

    Signals
    -------
    changed : str
        The factors as the parameter `scale` has them.
    """

    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._grid: Grid | None = None
        self.boxes: dict[str, NumberBox] = {}
        rows = QGridLayout()
        rows.setSpacing(4)
        for number, axis in enumerate(AXES.lower()):
            box, label = NumberBox(False, low=0.1, high=64), QLabel(axis)
            box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)
            box.mark(False)
            describe(box, f"Factor along {axis}", f"Samples per {WORDS[axis]}; any number above 0, whole or not")
            label.setBuddy(box)
            box.edited.connect(self._edited)
            self.boxes[axis] = box
            rows.addWidget(label, number // 2, 2 * (number % 2))
            rows.addWidget(box, number // 2, 2 * (number % 2) + 1)
        self.between_button, self.cubes_button = QPushButton("2 × frames"), QPushButton("Voxels as cubes")
        self.between_button.clicked.connect(lambda: self._take({**self.factors(), "t": 2 * self.factors().get("t", 1.0)}))
        self.cubes_button.clicked.connect(self._cubes)
        describe(self.between_button, "Twice as many frames", "Put one more frame between every two")
        self.problem = Line()
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self.between_button)
        buttons.addWidget(self.cubes_button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(QLabel("Samples per data point along"))
        column.addLayout(rows)
        column.addLayout(buttons)
        column.addWidget(self.problem)
        self.show_scale("")
        self.set_grid(None)

    def set_grid(self, grid: Grid | None) -> None:
        """Work on the field of a recording with this grid (TZYX), None when it is not known."""
        self._grid = grid
        unknown = grid is None or any(grid.unit(axis) == "pixel" for axis in "ZYX")
        reason = "The voxel size of the recording is not known" if unknown else ""
        allow(self.cubes_button, reason, "As many samples through the planes as make voxels that are as high as wide")

    def show_scale(self, scale: str) -> None:
        """Show factors as the parameter `scale` has them."""
        try:
            found = factors_of(scale)
        except InputError as error:
            self.problem.say(str(error), "error")
            return
        self.problem.say("")
        for axis, box in self.boxes.items():
            if box.value() != found.get(axis, 1.0):  # what is being typed stays as it is
                box.lineEdit().setText(f"{found.get(axis, 1.0):g}")

    def factors(self) -> dict[str, float]:
        """Return the factors that are numbers."""
        values = {axis: box.value() for axis, box in self.boxes.items()}
        return {axis: float(value) for axis, value in values.items() if isinstance(value, int | float)}

    def _edited(self) -> None:
        for box in self.boxes.values():
            box.mark(not isinstance(box.value(), int | float))
        if len(self.factors()) == len(self.boxes):
            self._say(self.factors())

    def _cubes(self) -> None:
        grid = self._grid
        if grid is not None:
            pixel = abs(grid.step("Y") * grid.step("X")) ** 0.5 / self.factors().get("x", 1.0)
            self._take({**self.factors(), "z": round(max(0.1, min(64.0, abs(grid.step("Z")) / pixel)), 4)})

    def _take(self, factors: Mapping[str, float]) -> None:
        for axis, value in factors.items():
            self.boxes[axis].lineEdit().setText(f"{min(value, 64.0):g}")
        self._edited()

    def _say(self, factors: Mapping[str, float]) -> None:
        self.changed.emit(spelled({axis: value for axis, value in factors.items() if value != 1}))
