"""The views of a light field as thumbnails: which one is held out, and where a fit found them displaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_recon.core.stack import ImageStack
from napari_recon.viewer.light_field_views import view_pictures
from napari_recon.widgets.look import Line, describe
from napari_recon.widgets.montage import Montage
from napari_recon.widgets.planner import Planner

HINT = "All views are fitted. Click one to hold it out: it then judges the fit."


class ViewsPanel(QWidget):
    """Thumbnails of the time point on show.

    Signals
    -------
    held_out : int or None
        A click chose a view to keep out of the fit, or none any more.
    """

    held_out = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.montage, self.line = Montage(choosable=True), Line(HINT)
        describe(self.montage, "Views", "Click a view to keep it out of the fit; click again to fit all")
        self.planner = Planner(60, self)
        self.planner.ready.connect(self._show)
        self.planner.failed.connect(lambda error: self.line.say(str(error), "error"))
        self.montage.clicked.connect(self._clicked)
        self._shown: Any = None
        self._apart: int | None = None
        self._may_hold_out = True
        self._offsets: dict[int, tuple[float, float]] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.montage)
        column.addWidget(self.line)

    def show_views(self, stack: ImageStack | None, frame: int) -> None:
        """Show the views of one time point, soon; None shows nothing."""
        if stack is None:
            self._shown = None
            self.planner.drop()
            self.montage.show_pictures(np.zeros((0, 1, 1), np.uint8))
            self.show_offsets(())
            return
        before, self._shown = self._shown, (stack.data, stack.grid, frame)
        if before is not None and (before[0] is not stack.data or before[1] != stack.grid):
            self.show_offsets(())
        if before is None or before[0] is not stack.data or before[1:] != self._shown[1:]:
            self.planner.request(partial(view_pictures, stack, frame))

    def set_held_out(self, view: int | None, allowed: bool = True) -> None:
        """Mark the view that is kept out; some methods fit all (`allowed`)."""
        self._apart, self._may_hold_out = view, allowed
        self._say()

    def show_offsets(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Draw how far a fit moved each view: rows of view, offset_y and offset_x in pixels."""
        self._offsets = {int(row["view"]): (float(row["offset_y"]), float(row["offset_x"])) for row in rows}
        self.montage.point(self._offsets)
        self._say()

    def let_go(self) -> None:
        """Stop reading."""
        self.planner.close()

    def _show(self, pictures: NDArray[np.uint8]) -> None:
        self.montage.show_pictures(pictures)
        self._say()

    def _clicked(self, view: int) -> None:
        if self._may_hold_out:
            self.held_out.emit(None if view == self._apart else view)

    def _say(self) -> None:
        self.montage.mark({self._apart: "held out"} if self._apart is not None else {})
        self.montage.tell({view: self._tip(view) for view in range(self.montage.count)})
        if self._offsets:
            far = max(self._offsets, key=lambda view: hypot(*self._offsets[view]))
            distance = hypot(*self._offsets[far])
            self.line.say(f"Positions were refined: view {far} moved farthest, by {distance:.2f} pixels")
        elif self._apart is not None:
            self.line.say(f"View {self._apart} is held out: its error is a curve, and the fit ends when it grows")
        else:
            self.line.say(HINT if self.montage.count and self._may_hold_out else "")

    def _tip(self, view: int) -> str:
        moved = self._offsets.get(view)
        place = f", moved by {moved[0]:+.2f} pixels along y and {moved[1]:+.2f} along x" if moved else ""
        state = " (held out of the fit)" if view == self._apart else ""
        return f"View {view}{state}{place}"
