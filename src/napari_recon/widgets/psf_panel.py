"""The PSF of a light field: from a layer, a file or the Microscope panel, looked at and checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QSlider, QSpinBox, QVBoxLayout, QWidget

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.layer_input import letters_of, stack_from_layer
from napari_recon.viewer.light_field_views import PsfLook, look_at_psf, mismatch
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layer_combo import LayerCombo
from napari_recon.widgets.look import Line, describe, guard_wheel
from napari_recon.widgets.montage import Montage
from napari_recon.widgets.planner import Planner

SUFFIXES = ("*.mat", "*.tif", "*.tiff", "*.ome.tif", "*.npz", "*.npy", "*.h5", "*.hdf5")
CELL = 48
ALL = "all depths"


class PsfPanel(FileDrop, QWidget):
    """Stands in for the `InputRow` of a PSF.

    Parameters
    ----------
    viewer : ViewerModel
    spec : InputSpec
    main : callable
        Returns the layer of the views, which is no PSF.
    optional : bool
        It may be left out, and none is taken unasked.
    kind : str
        The engine that simulates the kind of microscope to start with.

    Signals
    -------
    changed
        Another PSF, or what is known of it.
    """

    changed = Signal()

    def __init__(
        self, viewer: Any, spec: InputSpec, main: Callable[[], Any], optional: bool = False, kind: str = ""
    ) -> None:
        super().__init__()
        self._viewer, self._spec, self._main, self._optional, self._kind = viewer, spec, main, optional, kind
        self.needed = True
        self._recording: Grid | None = None
        self._look: PsfLook | None = None
        self._looked_at: Any = None
        self._opening: Any = None
        self.microscope: Any = None
        none, prefer = ("none", None) if optional else ("choose…", self._best)
        self.combo = LayerCombo(viewer, self._accepts, none=none, prefer=prefer)
        describe(self.combo, "PSF", f"{spec.description}; a layer, or what was opened or made here")
        self.file_button, self.cut = QPushButton("&File…"), CutRow(viewer)
        describe(self.file_button, "Open a PSF file", "MATLAB, TIFF, npz or npy (or drop one here)")
        self.montage, self.slider, self.depth = Montage(largest=CELL), QSlider(Qt.Orientation.Horizontal), QLabel(ALL)
        describe(self.montage, "PSF of each view", "The PSF of each view, brightest over all depths or at one of them")
        describe(self.slider, "Depth of the PSF", "At the left: the brightest over all depths; then plane by plane")
        guard_wheel(self.slider)
        self.line = Line()
        self._said = QVBoxLayout()
        self._room = QVBoxLayout()
        room = QWidget()
        room.setLayout(self._room)
        self._room.setContentsMargins(6, 0, 0, 0)
        self.make_fold = Fold("Make one: Microscope", room)
        self.planner = Planner(60, self)
        self._lay_out()
        self.setAcceptDrops(True)
        self.combo.layer_changed.connect(self._chosen)
        self.file_button.clicked.connect(self._browse)
        self.slider.valueChanged.connect(self._show_depth)
        self.make_fold.toggled.connect(self._open_microscope)
        self.cut.wanted.connect(self._cut)
        self.planner.ready.connect(self._show)
        self.planner.failed.connect(lambda error: self.line.say(str(error), "error"))
        self._chosen()

    @property
    def layer(self) -> Any:
        """The chosen layer; None when there is none, or the PSF is none of the viewer's."""
        return None if isinstance(self.combo.layer, ImageStack) else self.combo.layer

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self.combo.layer is not None

    @property
    def _views(self) -> int:
        return self._recording.size("V") if self._recording is not None else 0

    def set_recording(self, grid: Grid | None) -> None:
        """Prefer a PSF of these views, and say so when another is chosen or about to be made."""
        if grid != self._recording:
            self._recording = grid
            self.combo.refresh()
            self.combo.prefer(self._best(self._candidates()))
            if self.microscope is not None:
                self.microscope.expect(grid)
            self._say()

    def set_needed(self, needed: bool) -> None:
        """Say whether the data are a light field at all."""
        self.needed = needed
        self.changed.emit()

    def problem(self) -> str:
        """Return why this PSF can't be used; empty when it can."""
        if not self.needed:
            return ""
        if self._opening is not None:
            return "Wait for the PSF file"
        if not self.given and self._optional:
            return ""
        if not self.given:
            return "The PSF is missing: choose its layer, open a file, or make one below; projections need none (Modality)"
        try:
            stack = self.stack()
        except InputError as error:
            return str(error)
        if set(stack.grid.axes) != set("VZYX"):
            return "The PSF is one sensor image per depth: cut it into views, around a point in the middle of each"
        if self._recording is not None and (other := mismatch(stack.grid, self._recording)):
            return other
        return self._look.error if self._look is not None and self._looked_at == _identity(stack) else ""

    def value(self) -> ImageStack | None:
        """Return the PSF."""
        return self.stack() if self.needed and self.given else None

    def stack(self) -> ImageStack:
        """Return what is chosen, with the axes VZYX (or ZYX before it is cut)."""
        chosen = self.combo.layer
        if isinstance(chosen, ImageStack):
            return chosen
        return stack_from_layer(chosen, axes_of(chosen))

    def take_file(self, path: str) -> None:
        """Open a PSF file, in the background."""

        def opened() -> ImageStack:
            from napari_recon.io.psf_files import open_psf

            return open_psf(path)

        self.line.say(f"Opening {Path(path).name} …")
        self._opening = call_in_background(opened, done=self._opened, failed=self._failed, parent=self)
        self.changed.emit()

    def let_go(self) -> None:
        """Stop everything and let go of the viewer."""
        self.planner.close()
        self.combo.let_go()
        self.cut.combo.let_go()
        if self._opening is not None:
            self._opening.drop()
        if self.microscope is not None:
            self.microscope.let_go()

    def _accepts(self, layer: Any) -> bool:
        if layer._type_string != "image" or getattr(layer, "rgb", False) or layer is self._main():
            return False
        letters = letters_of(layer.axis_labels)
        if letters and set(letters) not in (set("VZYX"), set("ZYX")):
            return False
        return layer.ndim == 4 or (layer.ndim == 3 and "psf" in layer.name.lower())

    def _candidates(self) -> list[Any]:
        return [layer for layer in self._viewer.layers if self._accepts(layer)]

    def _best(self, layers: list[Any]) -> Any:
        """Return a layer that says it is a PSF, of the right number of views if possible."""
        named = [x for x in layers if not isinstance(x, ImageStack) and _calls_itself_psf(x)]
        fitting = [x for x in named if x.ndim == 4 and x.data.shape[0] == self._views]
        return next(iter(reversed(fitting or named)), None)

    def _browse(self) -> None:
        choices = f"PSF files ({' '.join(SUFFIXES)});;All files (*)"
        path, _ = QFileDialog.getOpenFileName(self, "Open a PSF", "", choices)
        if path:
            self.take_file(path)

    def _opened(self, stack: ImageStack) -> None:
        self._opening = None
        self.combo.offer(stack)

    def _failed(self, error: Exception) -> None:
        self._opening = None
        self._say()
        self.line.say(str(error), "error")
        self.changed.emit()

    def _open_microscope(self, opened: bool) -> None:
        if opened and self.microscope is None:
            from napari_recon.widgets.microscope import MicroscopePanel

            self.microscope = MicroscopePanel(self._viewer)
            if self._kind:
                self.microscope.set_kind(self._kind)
            self.microscope.made.connect(self._made)
            self.microscope.expect(self._recording)
            self._room.addWidget(self.microscope)

    def _made(self, layer: Any) -> None:
        self.combo.by_hand = True
        self.combo.choose(layer)
        self.make_fold.set_open(False)

    def _cut(self, points: Any, radius: int) -> None:
        from napari_recon.io.psf_files import cut_psf

        places = np.asarray(points.data, dtype=float)
        if self.layer is not None:
            places = np.array([self.layer.world_to_data(points.data_to_world(place)[-2:]) for place in places])
        centres = [(int(row), int(column)) for row, column in np.rint(places[:, -2:])]
        try:
            self.combo.offer(replace(cut_psf(self.stack(), centres, radius), uri=""))
        except InputError as error:
            self.line.say(str(error), "error")

    def _chosen(self) -> None:
        self._look = None
        self.planner.drop()
        self._show_pictures(False)
        if self.given:
            try:
                stack = self.stack()
            except InputError as error:
                self.line.say(str(error), "error")
            else:
                self._looked_at = _identity(stack)
                if "V" in stack.grid.axes:
                    self.planner.request(partial(look_at_psf, stack))
        self._say()
        self.changed.emit()

    def _show(self, look: PsfLook) -> None:
        self._look = look
        self.slider.setRange(0, look.pictures.shape[1])
        self._show_pictures(True)
        self._show_depth(self.slider.value())
        self._say()
        self.changed.emit()

    def _show_pictures(self, shown: bool) -> None:
        for widget in (self.montage, self.slider, self.depth):
            widget.setVisible(shown)

    def _show_depth(self, position: int) -> None:
        if self._look is None:
            return
        pictures = self._look.pictures
        self.montage.show_pictures(pictures[:, position - 1] if position else pictures.max(axis=1))
        height = f"{self._look.heights[position - 1]:+.3g} {self._look.unit}".strip() if position else ALL
        self.depth.setText(height)

    def _say(self) -> None:
        """Say in words what the PSF is and what its checks found."""
        while (item := self._said.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        flat = self.given and not isinstance(self.combo.layer, ImageStack) and self.combo.layer.ndim == 3
        flat = flat or (isinstance(self.combo.layer, ImageStack) and "V" not in self.combo.layer.grid.axes)
        self.cut.setVisible(bool(flat))
        look = self._look
        if look is None:
            if self.given and self.planner.busy:
                self.line.say("Looking at the PSF …")
            else:  # without data there is nothing to ask for yet
                self.line.say(self.problem() if self._views else "", "warning")
            return
        if look.error:
            self.line.say(look.error, "error")
            return
        shape = self.stack().grid
        if self._recording is not None and (other := mismatch(shape, self._recording)):
            self.line.say(other, "error")
            return
        size = f"{shape.size('V')} views × {shape.size('Z')} planes of {shape.size('Y')} × {shape.size('X')} pixels"
        self.line.say(f"{size}{'' if look.said else ', centred and normalised'}", "info" if look.said else "good")
        for sentence in look.said:
            self._said.addWidget(Line(sentence[0].upper() + sentence[1:], "warning"))

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.combo, 1)
        row.addWidget(self.file_button)
        depth = QHBoxLayout()
        depth.addWidget(self.slider, 1)
        depth.addWidget(self.depth)
        self.depth.setMinimumWidth(72)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.montage)
        column.addLayout(depth)
        column.addWidget(self.line)
        column.addLayout(self._said)
        column.addWidget(self.cut)
        column.addWidget(self.make_fold)


class CutRow(QWidget):
    """Cuts a sensor PSF into views around the points of a layer.

    Signals
    -------
    wanted : Points, int
        A layer with the centres, and half size in pixels.
    """

    wanted = Signal(object, int)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.combo = LayerCombo(viewer, lambda layer: layer._type_string == "points", none="points…")
        describe(self.combo, "Centres of the views", "A points layer with one point in the middle of each view")
        self.radius = QSpinBox()
        self.radius.setRange(1, 5000)
        self.radius.setValue(30)
        self.radius.setPrefix("± ")
        describe(self.radius, "Radius", "Half size of a view's PSF in pixels: it becomes 2 radius + 1 pixels wide")
        guard_wheel(self.radius)
        self.button = QPushButton("Cut")
        describe(self.button, "Cut", "Cut the sensor's PSF into one of each view")
        self.button.clicked.connect(self._cut)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.combo, 1)
        row.addWidget(self.radius)
        row.addWidget(self.button)
        self.combo.layer_changed.connect(self._allow)
        self._allow()

    def _allow(self) -> None:
        self.button.setEnabled(self.combo.layer is not None and len(self.combo.layer.data) > 0)

    def _cut(self) -> None:
        self.wanted.emit(self.combo.layer, self.radius.value())


def axes_of(layer: Any) -> str:
    """Return the axes of a PSF layer, its labels first."""
    letters = letters_of(layer.axis_labels)
    return letters if set(letters) in (set("VZYX"), set("ZYX")) else "VZYX"[-layer.ndim :]


def _calls_itself_psf(layer: Any) -> bool:
    return set(letters_of(layer.axis_labels)) == set("VZYX") or "psf" in layer.name.lower()


def _identity(stack: ImageStack) -> Any:
    return id(stack.data), stack.grid
