"""The nuclei of the Cells dock: a Points or Tracks layer, a table that becomes one, or blobs of a nucleus channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.token import CancelToken
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.seeds import add_beside, is_seeds, name_new, points_layer, seeds_of, thicken
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.fields import NumberBox
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layer_combo import LayerCombo
from napari_recon.widgets.layout import beside
from napari_recon.widgets.look import Line, allow, describe, guard_wheel
from napari_recon.widgets.movie_row import SHOWN

TABLES = "Tables (*.csv);;All files (*)"
FIRST = "time of the first frame"
"""In the metadata of a layer that shows a table of nuclei."""
DEBOUNCE_MS = 40
FIRST_DIAMETER = 0.08
"""Of the width of the picture: a nucleus until somebody says otherwise."""


class SeedsPanel(FileDrop, QWidget):
    """Stands in for the `InputRow` of the seeds.

    Parameters
    ----------
    viewer : ViewerModel
    main : callable
        Returns the membrane layer and its axes; None and "" when there is none.

    Signals
    -------
    changed
        Another layer, or nuclei that were moved, added, removed or renamed.
    """

    changed = Signal()

    def __init__(self, viewer: Any, main: Callable[[], tuple[Any, str]]) -> None:
        super().__init__()
        self._viewer, self._main = viewer, main
        self._watched: Any = None
        self._known = 0
        self._naming = False
        self._opening: Any = None
        self._token = CancelToken()
        self._files: dict[Path, bool] = {}
        self._table: tuple[Mapping[int, Any], str] = ({}, "")
        self.time_combo = QComboBox()
        describe(self.time_combo, "Time of the table", "Which of the table's times the stack shows")
        guard_wheel(self.time_combo)
        self.combo = LayerCombo(viewer, is_seeds, none="choose…", prefer=self._best)
        describe(self.combo, "Nuclei", "A Points or Tracks layer with one point per nucleus; edit it, and cells follow")
        self.table_button, self.new_button = QPushButton("&Table…"), QPushButton("&New")
        describe(self.table_button, "Open a table of nuclei", "CSV with the columns cell, time, z, y, x (or drop one here)")
        describe(self.new_button, "New nuclei", "An empty Points layer to click nuclei into")
        self.channel = LayerCombo(viewer, lambda layer: layer._type_string == "image", none="choose…", prefer=self._channel)
        describe(self.channel, "Nucleus channel", "The layer in which nuclei are bright")
        self.diameter = NumberBox(False, low=0)
        describe(self.diameter, "Diameter of nuclei", "In the unit beside it; half to twice as much is found too")
        self.find_button = QPushButton("F&ind nuclei")
        self.line = Line()
        self._edited = QTimer(self)
        self._edited.setSingleShot(True)
        self._edited.setInterval(DEBOUNCE_MS)
        self._edited.timeout.connect(self.changed)
        self._lay_out()
        self.setAcceptDrops(True)
        self.combo.layer_changed.connect(self._chosen)
        self.channel.layer_changed.connect(self._allow)
        self.table_button.clicked.connect(self._browse)
        self.new_button.clicked.connect(self.start_empty)
        self.find_button.clicked.connect(self.find)
        self.time_combo.activated.connect(lambda _: self.take_time(int(self.time_combo.currentText())))
        self._chosen()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.combo.layer

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self.layer is not None

    def rows(self) -> list[dict[str, Any]]:
        """Return the nuclei as rows of a table in voxels of the membrane layer, times being its frames.

        Raises
        ------
        InputError
            When they do not fit.
        """
        stack, axes = self._main()
        if self.layer is None or stack is None:
            return []
        return seeds_of(self.layer, stack, axes, self.frame())

    def timed(self) -> list[dict[str, Any]]:
        """Return the rows with the times of the table that the nuclei came from, where there was one."""
        return [{**row, "time": row["time"] + self.first} for row in self.rows()]

    @property
    def first(self) -> int:
        """Time of the first frame in the table that the nuclei came from, 0 without one."""
        return int(self.layer.metadata.get(FIRST, 0)) if self.layer is not None else 0

    def frame(self) -> int:
        """Return the time on show, of points that have one."""
        layer = self.layer
        if layer is None or layer.ndim != 4:
            return 0
        return round(float(layer.world_to_data(self._viewer.dims.point[-4:])[0]))

    def problem(self) -> str:
        """Return why these nuclei can't be used; empty when they can."""
        stack, axes = self._main()
        if stack is None:
            return ""
        if not self.given:
            return "Nuclei are missing: choose a Points or Tracks layer, open a table, or find them in a nucleus channel"
        try:
            rows = self.rows()
        except InputError as error:
            return str(error)
        if not len(self.layer.data):
            return f"{self.layer.name} has no points yet: click one into every cell"
        if not rows:
            return f"{self.layer.name} has no nuclei at the times of {stack.name}; move the time slider, or choose others"
        outside = outside_of(rows, stack, axes)
        if outside:
            first = outside[0]
            return (
                f"nuclei should lie in {stack.name}, found {len(outside)} outside, the first is {first['cell']} at "
                f"z {first['z']:g}, y {first['y']:g}, x {first['x']:g} in voxels; move or remove it"
            )
        return ""

    def value(self) -> str | None:
        """Return the file of a table with the nuclei, so that the run can be repeated."""
        rows = self.timed()
        return str(self._file(rows)) if rows else None

    def keep_file(self) -> None:
        """Keep the table that stands for the present nuclei: a result is made from it."""
        if rows := self.timed():
            self._files[self._file(rows)] = True

    def refresh(self) -> None:
        """Say again how many nuclei there are; the membrane layer may be another one."""
        self._allow()
        self._say()

    def let_go(self) -> None:
        """Disconnect from the viewer, and remove tables that no result was made from."""
        self._watch(None)
        self.combo.let_go()
        self.channel.let_go()
        if self._opening is not None:
            self._opening.drop()
            self._token.cancel()
        for path, kept in self._files.items():
            if not kept:
                path.unlink(missing_ok=True)
        self._files.clear()

    def take_file(self, path: str) -> None:
        """Show a table as a Points layer on the membranes."""
        stack, axes = self._main()
        if stack is None:
            self.line.say("Choose the membrane layer first: the table counts its voxels", "warning")
            return
        from napari_recon.engines.segmentation.seeds import nuclei_by_time
        from napari_recon.io.tables import read_table

        try:
            table = nuclei_by_time(read_table(path))
        except InputError as error:
            self.line.say(str(error), "error")
            return
        self._table = table, Path(path).stem
        several = "T" not in axes and len(table) > 1
        self._times.setVisible(several)
        self.time_combo.clear()
        if several:
            self.time_combo.addItems([str(time) for time in sorted(table)])
            self.line.say(f"{stack.name} is one time point, {Path(path).name} has {len(table)}: choose which one it shows")
        else:
            self.take_time(min(table))

    def take_time(self, first: int) -> None:
        """Show the table that was opened from one of its times on, which is the first frame."""
        (table, name), (stack, axes) = self._table, self._main()
        if stack is None:
            return
        try:
            layer = points_layer(placed(table, first, stack, axes, name), stack, axes, name)
            layer.metadata[FIRST] = first
            self._add(layer)
        except InputError as error:
            self.line.say(str(error), "error")

    def start_empty(self) -> None:
        """Add an empty Points layer, ready for clicks."""
        stack, axes = self._main()
        layer = points_layer([], stack, axes)
        self._add(layer)
        self._viewer.layers.selection.active = layer
        layer.mode = "add"

    def find(self) -> None:
        """Look for nuclei in their channel, in a worker."""
        _, axes = self._main()
        channel, diameter = self.channel.layer, self.diameter.value()
        spec_axes = axes if channel.ndim == len(axes) else axes[-channel.ndim :]
        try:
            source = stack_from_layer(channel, spec_axes)
            if "Z" not in spec_axes:
                raise InputError(f"nuclei are looked for in volumes, found the picture {channel.name}; choose another layer")
            if isinstance(diameter, str) or not 0 < diameter < math.inf:
                raise InputError(f"the diameter should be a number above zero, found {diameter!r}; type one")
        except InputError as error:
            self.line.say(str(error), "error")
            return
        self.find_button.setEnabled(False)
        self.line.say("looking for nuclei…")

        def done(rows: list[dict[str, Any]]) -> None:
            self._opening = None
            self._allow()
            if not rows:
                self.line.say(f"no nuclei of that size were found in {channel.name}; try another diameter", "warning")
                return
            found = points_layer(rows, channel, spec_axes, f"nuclei of {channel.name}")
            self._add(found)

        def failed(error: Exception) -> None:
            self._opening = None
            self._allow()
            self.line.say(str(error), "error")

        self._opening = call_in_background(
            _found, source, float(diameter), self._token.check, done=done, failed=failed, parent=self
        )

    def _add(self, layer: Any) -> None:
        add_beside(self._viewer, layer)
        self.combo.choose(layer)

    def _file(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write rows to a file called after its content."""
        from napari_recon.hub.card import cache_folder
        from napari_recon.jobs.artifacts import write_table

        name = blake2b(repr(rows).encode(), digest_size=8).hexdigest()
        path = cache_folder() / "seeds" / f"{name}.csv"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_table(path, rows)
            self._files.setdefault(path, False)
        return path

    def _best(self, layers: list[Any]) -> Any:
        return layers[-1] if layers else None

    def _channel(self, layers: list[Any]) -> Any:
        return next((layer for layer in layers if "nucle" in layer.name.lower()), None)

    def _chosen(self) -> None:
        self._watch(self.layer)
        self._known = len(self.layer.data) if self.layer is not None else 0
        if self.layer is not None and self.layer in self._viewer.layers:
            thicken(self._viewer, self.layer)
        self.refresh()
        self.changed.emit()

    def _watch(self, layer: Any) -> None:
        for emitter in self._events(self._watched):
            emitter.disconnect(self._touched)
        for emitter in self._events(layer):
            emitter.connect(self._touched)
        self._watched = layer

    def _events(self, layer: Any) -> list[Any]:
        if layer is None:
            return []
        table = "properties" if layer._type_string == "tracks" else "features"
        return [getattr(layer.events, name) for name in ("data", "scale", "translate", table)]

    def _touched(self, event: Any = None) -> None:
        """Follow an edit, soon: a drag says so many times a second."""
        if self._naming:
            return
        layer = self.layer
        if layer._type_string == "points" and len(layer.data) > self._known and len(layer.features) == len(layer.data):
            self._naming = True
            try:
                name_new(layer, self._known)
            finally:
                self._naming = False
        self._known = len(layer.data)
        self._say()
        self._edited.start()

    def _say(self) -> None:
        if self.layer is None or self._main()[0] is None:
            self.line.say("")
            return
        try:
            rows = self.rows()
        except InputError:
            return  # the dock says it
        times = {row["time"] for row in rows}
        at = f" at {len(times)} times" if len(times) > 1 else ""
        cells = len({row["cell"] for row in rows})
        if not len(self.layer.data):
            self.line.say("no nuclei yet: click one into every cell")
            return
        self.line.say(f"{cells} {'nucleus' if cells == 1 else 'nuclei'}{at}; move, add or delete points and cells follow")

    def _allow(self) -> None:
        stack = self._main()[0]
        missing = "" if stack is not None else "Choose the membrane layer first"
        allow(self.table_button, missing, "CSV with the columns cell, time, z, y, x (or drop one here)")
        allow(self.new_button, missing, "An empty Points layer to click nuclei into")
        channel = self.channel.layer
        if channel is not None and self.diameter.value() in (None, ""):
            width = channel.data.shape[-1] * float(abs(channel.scale[-1]))
            self.diameter.set_value(float(f"{FIRST_DIAMETER * width:.2g}"))
        unit = str(channel.units[-1]) if channel is not None else ""
        self._size_label.setText(f"Diameter {SHOWN.get(unit, unit)}".strip())
        looking = "Wait: it is being looked at" if self._opening is not None else ""
        reason = missing or looking or ("" if channel is not None else "Choose the nucleus channel first")
        allow(self.find_button, reason, "Find bright blobs of that size, at every time, and name them")

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a table of nuclei", "", TABLES)
        if path:
            self.take_file(path)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.combo, 1)
        row.addWidget(self.table_button)
        row.addWidget(self.new_button)
        find = QWidget()
        below = QVBoxLayout(find)
        below.setContentsMargins(6, 0, 0, 0)
        below.setSpacing(4)
        below.addWidget(self.channel)
        size = QHBoxLayout()
        self._size_label = label = QLabel("Diameter")
        label.setBuddy(self.diameter)
        for button in (self.table_button, self.new_button, self.find_button):
            button.setStyleSheet("QPushButton {padding-left: 4px; padding-right: 4px; min-width: 0px;}")
        for widget, stretch in ((label, 0), (self.diameter, 1), (self.find_button, 0)):
            size.addWidget(widget, stretch)
        below.addLayout(size)
        self.find_fold = Fold("Find nuclei in a channel", find)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.line)
        self._times = beside(QLabel("Time"), self.time_combo)
        self._times.hide()
        column.addWidget(self._times)
        column.addWidget(self.find_fold)


def outside_of(rows: Sequence[Mapping[str, Any]], stack: Any, axes: str) -> list[Mapping[str, Any]]:
    """Return the rows that lie outside of the stack's voxels."""
    sizes = {a: stack.data.shape[axes.index(a)] for a in "ZYX"}
    return [row for row in rows if any(not -0.5 <= row[a.lower()] <= n - 0.5 for a, n in sizes.items())]


def placed(table: Mapping[int, Any], first: int, stack: Any, axes: str, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table of nuclei by time, with times counted in frames from `first` on.

    Raises
    ------
    InputError
        When none of them lies in the stack.
    """
    frames = stack.data.shape[axes.index("T")] if "T" in axes else 1
    rows = [
        {"cell": cell.name, "time": time - first, **dict(zip("zyx", cell.zyx, strict=True)), "mother": cell.mother}
        for time, cells in sorted(table.items())
        for cell in cells
        if 0 <= time - first < frames
    ]
    outside = outside_of(rows, stack, axes)
    if len(outside) == len(rows):
        sizes = ", ".join(f"{a.lower()} {stack.data.shape[axes.index(a)]}" for a in "ZYX")
        one = outside[0]
        raise InputError(
            f"the places in {name} should be voxels of {stack.name} ({sizes}), found {one['cell']} at z {one['z']:g}, "
            f"y {one['y']:g}, x {one['x']:g} and no other inside either; choose the stack they were traced in"
        )
    return rows


def _found(stack: Any, diameter: float, check: Callable[[], None]) -> list[dict[str, Any]]:
    from napari_recon.engines.segmentation.nuclei import traced

    grid = stack.grid
    voxel = [abs(grid.step(a)) for a in "ZYX"]

    def read(time: int) -> Any:
        return np.asarray(stack.read("ZYX", **({"t": time} if "T" in grid.axes else {})), np.float32)

    return traced(grid.size("T"), read, voxel, diameter, check)
