"""Which part is reconstructed: whole field or drawn box, z planes and frames, each exact to the voxel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QRadioButton, QSpinBox, QVBoxLayout, QWidget
from superqt import QRangeSlider

from napari_recon.core.grid import Grid
from napari_recon.core.region import Bounds, Box, Region, TimeRange
from napari_recon.viewer.region_layer import RegionLayer
from napari_recon.widgets.look import Line, allow, describe, guard_wheel, small_button

NAMES = {"T": "t", "Z": "z", "Y": "y", "X": "x"}
WORDS = {"T": "frame", "Z": "plane", "Y": "row", "X": "column"}


class RangeRow(QWidget):
    """First and last index of one axis: two boxes and a slider. People see inclusive ends, programs half-open ones."""

    changed = Signal()

    def __init__(self, axis: str) -> None:
        super().__init__()
        self.axis = axis
        self._size = 1
        self.first, self.last = QSpinBox(), QSpinBox()
        self.slider = QRangeSlider(Qt.Orientation.Horizontal)
        for box, which in ((self.first, "First"), (self.last, "Last")):
            describe(box, f"{which} {WORDS[axis]}", f"{which} {WORDS[axis]}, counted from 0")
            box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            box.setKeyboardTracking(False)
            box.setStyleSheet("QSpinBox {min-width: 36px; max-width: 48px; padding: 1px 2px;}")
            guard_wheel(box)
            box.valueChanged.connect(self._typed)
        describe(self.slider, f"Range of {WORDS[axis]}s", f"Drag an end, or the bar, to choose {WORDS[axis]}s")
        self.slider.setMinimumWidth(60)
        guard_wheel(self.slider)
        self.slider.valueChanged.connect(self._slid)
        self.all = small_button("↔", f"All {WORDS[axis]}s", f"All {WORDS[axis]}s")
        self.all.clicked.connect(lambda: self._take(0, self._size - 1))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        label = QLabel(NAMES[axis])
        label.setFixedWidth(16)
        label.setBuddy(self.first)
        for widget, stretch in ((label, 0), (self.first, 0), (self.slider, 1), (self.last, 0), (self.all, 0)):
            row.addWidget(widget, stretch)

    def set_size(self, size: int) -> None:
        """Offer indices 0 ... size - 1."""
        self._size = max(1, size)
        self._quietly(lambda: [w.setRange(0, self._size - 1) for w in (self.first, self.last, self.slider)])

    def bounds(self) -> Bounds:
        """Return the half-open range."""
        return self.first.value(), self.last.value() + 1

    def set_bounds(self, bounds: Bounds | None) -> None:
        """Show a half-open range (None: all) without emitting `changed`."""
        start, stop = bounds or (0, self._size)
        self._show(max(0, start), min(self._size, stop) - 1)

    @property
    def is_whole(self) -> bool:
        """Whether every index is chosen."""
        return self.bounds() == (0, self._size)

    def _typed(self) -> None:
        first, last = self.first.value(), self.last.value()
        if first > last:
            first, last = (first, first) if self.sender() is self.first else (last, last)
        self._take(first, last)

    def _slid(self, ends: tuple[int, int]) -> None:
        self._take(int(ends[0]), int(ends[1]))

    def _take(self, first: int, last: int) -> None:
        self._show(first, last)
        self.changed.emit()

    def _show(self, first: int, last: int) -> None:
        def apply() -> None:
            self.first.setValue(first)
            self.last.setValue(last)
            self.slider.setValue((first, last))

        self._quietly(apply)

    def _quietly(self, change: Any) -> None:
        for widget in (self.first, self.last, self.slider):
            widget.blockSignals(True)
        change()
        for widget in (self.first, self.last, self.slider):
            widget.blockSignals(False)


class RegionPanel(QWidget):
    """Edits a `Region` on one layer; rectangles on the canvas and the rows here are two views of it.

    Signals
    -------
    changed
        The region is another one now.
    """

    changed = Signal()

    def __init__(self, viewer: Any, region_layer: Any = None) -> None:
        super().__init__()
        self._viewer, self._make_layer = viewer, region_layer or RegionLayer
        self.region = Region()
        self.shapes: Any = None
        self._source: Grid | None = None
        self._layer: Any = None
        self._axes = ""
        self._frame: Callable[[], int] | None = None
        self.whole_button, self.box_button = QRadioButton("Wh&ole field"), QRadioButton("&Box")
        self.draw_button, self.view_button = QPushButton("&Draw"), QPushButton("From view")
        self.frame_button = QPushButton("Curren&t frame")
        self.rows = {axis: RangeRow(axis) for axis in "YXZT"}
        self.size_line = Line()
        self._lay_out()
        self.whole_button.setChecked(True)
        self.whole_button.clicked.connect(self._whole)
        self.box_button.clicked.connect(self._box_wanted)
        self.draw_button.clicked.connect(self.draw)
        self.view_button.clicked.connect(self._from_view)
        self.frame_button.clicked.connect(self._to_current_frame)
        for row in self.rows.values():
            row.changed.connect(self._rows_changed)
        self.region.events.box.connect(self._region_changed)
        self.region.events.time.connect(self._region_changed)
        self._allow()
        self._show()

    def set_source(self, layer: Any, axes: str, grid: Grid | None, frame: Callable[[], int] | None = None) -> None:
        """Work on another layer (None: none); the region survives when the extent is the same.

        Parameters
        ----------
        layer : Layer or None
        axes : str
            Of the layer.
        grid : Grid or None
            As the engine sees the layer.
        frame : callable, optional
            Says which time point the viewer shows, for data whose time is in their pages.
        """
        self._frame = frame
        same_layer = self.shapes is not None and layer is not None and self._layer is layer and self._axes == axes
        before = self._source
        self._source, self._layer, self._axes = grid, layer, axes
        if before is None or grid is None or _extent(before) != _extent(grid):
            self.region.box = self.region.time = None
        if not same_layer:
            self._let_go()
            if layer is not None and grid is not None and {"Y", "X"} <= set(axes):
                self.shapes = self._make_layer(self._viewer, layer, self.region, axes, parent=self)
                self.shapes.availability_changed.connect(lambda *_: self._allow())
                self.shapes.boxes_changed.connect(lambda *_: self._region_changed())
        if grid is not None:
            for axis in "YXT":
                self.rows[axis].set_size(grid.size(axis))
            if "Z" in grid.axes:
                self.rows["Z"].set_size(grid.size("Z"))
        self._allow()
        self._show()

    def set_output(self, grid: Grid | None, box: Box | None = None, text: str = "") -> None:
        """Show what a plan made of the region: the planes to choose from, the computed box, its size in words."""
        if grid is not None and "Z" in grid.axes and (self._source is None or "Z" not in self._source.axes):
            self._set_planes(grid.size("Z"))
        if self.shapes is not None:
            self.shapes.show_computed(grid if self.region.box is not None else None, box)
        self.size_line.say(text)
        self._show()

    def boxes(self) -> list[Box]:
        """Return the boxes to reconstruct, one job each; y and x are None for the whole field."""
        drawn = self.shapes.boxes() if self.shapes is not None else []
        return list(drawn) or [self.region.box or Box()]

    def draw(self) -> None:
        """Start drawing a rectangle on the canvas."""
        if self.shapes is not None and not self.shapes.reason:
            self.shapes.draw()

    def current_frame(self) -> int:
        """Return the time point the viewer shows, 0 for a single frame."""
        if self._frame is not None:
            return self._frame()
        if self._source is None or "T" not in self._axes or self._layer is None:
            return 0
        axis = self._axes.index("T")
        point = self._layer.world_to_data(self._viewer.dims.point[-self._layer.ndim :])[axis]
        return min(max(round(float(point)), 0), self._source.size("T") - 1)

    def close_layers(self) -> None:
        """Remove what was put on the canvas."""
        self._let_go()

    def _set_planes(self, count: int) -> None:
        row, z = self.rows["Z"], self.region.box.z if self.region.box else None
        row.set_size(count)
        if z is not None and z[1] > count:
            kept = (z[0], count) if z[0] < count else None
            self._assign(self.region.box.model_copy(update={"z": kept}))  # type: ignore[union-attr]

    def _rows_changed(self) -> None:
        limited = {a: r.bounds() for a, r in self.rows.items() if a in "ZYX" and self._limits(a)}
        time = self.rows["T"]
        self.region.time = None if time.is_whole else TimeRange(start=time.bounds()[0], stop=time.bounds()[1])
        self._assign(Box.of(limited))

    def _limits(self, axis: str) -> bool:
        return not self.rows[axis].is_whole or (axis in "YX" and self.box_button.isChecked())

    def _assign(self, box: Box) -> None:
        self.region.box = box if any(True for _ in box.items()) else None

    def _whole(self) -> None:
        if self.shapes is not None:
            self.shapes.whole()
        self._assign(Box(z=self.region.box.z if self.region.box else None))
        self._show()

    def _box_wanted(self) -> None:
        if self._source is None:
            return
        self._show_box_rows(True)
        self.draw()

    def _from_view(self) -> None:
        if self.shapes is not None and not self.shapes.from_view():
            self.size_line.say("The data are out of sight; press Home to see them, then try again", "warning")

    def _to_current_frame(self) -> None:
        frame = self.current_frame()
        self.region.time = TimeRange(start=frame, stop=frame + 1)

    def _region_changed(self, *_: Any) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        box, time = self.region.box, self.region.time
        for axis, row in self.rows.items():
            span = (time.start, time.stop) if time is not None else None
            row.set_bounds(span if axis == "T" else getattr(box, axis.lower(), None))
        boxed = box is not None and (box.y is not None or box.x is not None)
        (self.box_button if boxed else self.whole_button).setChecked(True)
        self._show_box_rows(boxed)
        self.rows["Z"].setVisible(self.rows["Z"]._size > 1)
        has_time = self._source is not None and self._source.size("T") > 1
        self.rows["T"].setVisible(has_time)
        self.frame_button.setVisible(has_time)

    def _show_box_rows(self, shown: bool) -> None:
        for axis in "YX":
            self.rows[axis].setVisible(shown)

    def _allow(self) -> None:
        missing = "" if self._source is not None else "Choose an image layer first"
        undrawn = "There is no layer to draw on: type the numbers" if self.shapes is None else self.shapes.reason
        blocked = missing or undrawn
        allow(self.draw_button, blocked, "Draw a rectangle on the image; several rectangles are several jobs")
        allow(self.view_button, blocked, "Take what the canvas shows as the box")
        allow(self.box_button, missing or (undrawn if self.shapes is not None else ""), "Reconstruct only a box")
        allow(self.whole_button, missing, "Reconstruct the whole field")
        allow(self.frame_button, missing, "Only the frame the viewer shows")

    def _let_go(self) -> None:
        if self.shapes is not None:
            self.shapes.close()
            self.shapes.deleteLater()
            self.shapes = None

    def _lay_out(self) -> None:
        choice = QHBoxLayout()
        for widget in (self.whole_button, self.box_button):
            choice.addWidget(widget)
        choice.addStretch(1)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        for button in (self.draw_button, self.view_button, self.frame_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(choice)
        column.addLayout(buttons)
        for row in self.rows.values():
            column.addWidget(row)
        column.addWidget(self.size_line)


def _extent(grid: Grid) -> dict[str, int]:
    return {axis: grid.size(axis) for axis in "TZYX"}
