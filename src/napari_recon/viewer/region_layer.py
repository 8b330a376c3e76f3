"""Rectangles on the data and a wireframe box in 3D: two views of one `core.region.Region`."""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.grid import Grid
from napari_recon.core.region import Bounds, Box, Region
from napari_recon.viewer.gl_programs import keep_programs
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.placement import is_plain, to_world
from napari_recon.viewer.wireframe import Wireframe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image, Shapes

COLOR = "yellow"
EDGE_PIXELS = 1.5
EDGE_DELAY_MS = 100


class RegionLayer(QObject):
    """Keeps a Shapes layer of rectangles and `region.box` alike, whichever of them changes.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The data the region is drawn on; boxes are in its voxels.
    region : Region
        `region.box` follows the rectangle drawn, changed or selected last (y and x; z is kept).
    axes : str
        Axis letters of `layer`.

    Notes
    -----
    Signals: ``availability_changed(bool, reason)`` when drawing becomes possible or not (other axes displayed, 3D view);
    ``boxes_changed(list of Box)``.
    """

    availability_changed = Signal(bool, str)
    boxes_changed = Signal(object)

    def __init__(self, viewer: ViewerModel, layer: Image, region: Region, axes: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        keep_programs()
        self._viewer, self._layer, self._region, self._axes = viewer, layer, region, axes
        self._shapes: Shapes | None = None
        self._wireframe = Wireframe(viewer, f"computed region ({layer.name})")
        self._computed: tuple[Grid, Box] | None = None
        self._current = 0
        self._busy = self._closed = False
        self._reason = self._find_reason()
        self._edge_timer = QTimer(self)
        self._edge_timer.setSingleShot(True)
        self._edge_timer.setInterval(EDGE_DELAY_MS)
        self._edge_timer.timeout.connect(self._fit_edges)
        self._connect()
        self._region_to_shapes()

    @property
    def reason(self) -> str:
        """Why drawing is impossible now; empty when it is possible."""
        return self._reason

    def draw(self) -> None:
        """Make (or show) the Shapes layer, select it and switch to its rectangle tool."""
        if self._reason or self._closed:
            return
        shapes = self._ensure_shapes()
        shapes.visible = True
        self._viewer.layers.selection.active = shapes
        shapes.mode = "add_rectangle"

    def boxes(self) -> list[Box]:
        """Return one box per rectangle, z as in the region; empty for the whole field."""
        if self._shapes is None:
            return []
        found = [self._box_of(vertices) for vertices in self._shapes.data]
        return [box for box in found if box is not None]

    def from_view(self) -> bool:
        """Set one rectangle to what the canvas shows; False when the data is out of sight."""
        if self._reason or self._closed:
            return False
        corners = np.asarray(self._layer.corner_pixels, dtype=float)
        if self._layer.multiscale:
            corners = corners * self._layer.downsample_factors[self._layer.data_level]
        bounds = {}
        for axis in "YX":
            i = self._axes.index(axis)
            low, high = max(0, math.floor(corners[0, i])), min(self._size(axis), math.ceil(corners[1, i]) + 1)
            if high - low < 2:
                return False
            bounds[axis.lower()] = (low, high)
        box = Box(**bounds, z=self._z)
        with self._quiet():
            self._set_rectangles([box])
        self._current = 0
        self._to_region(box)
        self.boxes_changed.emit([box])
        return True

    def whole(self) -> None:
        """Remove every rectangle: the region is the whole field."""
        with self._quiet():
            self._set_rectangles([])
        self._to_region(None)
        self.boxes_changed.emit([])

    def show_computed(self, grid: Grid | None, box: Box | None = None) -> None:
        """Show, in another colour and as a wireframe in 3D, the box that is really computed.

        Parameters
        ----------
        grid : Grid or None
            Whole-field grid of the planned output (``plan.whole[name]``); None hides it.
        box : Box, optional
            In voxels of `grid` (``plan.selection.box``, or a snapped one); None hides it.
        """
        self._computed = None if grid is None or box is None else (grid, box)
        self._update_wireframe()

    def close(self) -> None:
        """Remove the layers this object made and let go of the viewer."""
        if self._closed:
            return
        self._closed = True
        self._edge_timer.stop()
        for emitter, slot in self._connections():
            with suppress(RuntimeError, ValueError, TypeError):
                emitter.disconnect(slot)
        self._wireframe.hide()
        shapes, self._shapes = self._shapes, None
        if shapes is not None and shapes in self._viewer.layers:
            self._viewer.layers.remove(shapes)

    # -- rectangles to region

    def _on_shapes(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._busy or self._shapes is None or action not in ("added", "changed", "removed"):
            return
        count = len(self._shapes.data)
        if action != "removed" and event.data_indices:
            self._current = event.data_indices[-1] % count if count else 0
        else:
            self._current = max(0, count - 1)
        # napari is still busy with its mouse event: rectangles may be moved only afterwards
        QTimer.singleShot(0, self._take_rectangles)

    def _take_rectangles(self) -> None:
        if self._closed or self._shapes is None:
            return
        found = [self._box_of(vertices) for vertices in self._shapes.data]
        if None in found:
            show_warning(f"A region should lie on {self._layer.name}, found one beside it; draw it on the data")
        boxes = [box for box in found if box is not None]
        self._current = min(self._current, max(0, len(boxes) - 1))
        with self._quiet():
            self._set_rectangles(boxes)
        self._to_region(boxes[self._current] if boxes else None)
        self.boxes_changed.emit(boxes)

    def _on_selected(self, *_: Any) -> None:
        if self._busy or self._shapes is None or len(self._shapes.selected_data) != 1:
            return
        if str(self._shapes.mode) not in ("select", "direct"):
            return  # a rectangle in the making
        (index,) = self._shapes.selected_data
        if index < len(self._shapes.data) and (box := self._box_of(self._shapes.data[index])) is not None:
            self._current = int(index)
            self._to_region(box)

    def _to_region(self, box: Box | None) -> None:
        """Store y and x of `box` in the region; z stays."""
        wanted = Box(z=self._z, y=box.y if box else None, x=box.x if box else None)
        with self._quiet():
            self._region.box = wanted if any(True for _ in wanted.items()) else None

    # -- region to rectangles

    def _on_region(self, *_: Any) -> None:
        if not self._busy:
            self._region_to_shapes()
            self.boxes_changed.emit(self.boxes())

    def _region_to_shapes(self) -> None:
        box = self._region.box
        if box is None or (box.y is None and box.x is None):
            boxes: list[Box] = []
        else:
            boxes = self.boxes()
            self._current = min(self._current, max(0, len(boxes) - 1))
            boxes[self._current : self._current + 1] = [box]
        if boxes or self._shapes is not None:
            with self._quiet():
                self._set_rectangles(boxes)

    def _set_rectangles(self, boxes: list[Box]) -> None:
        if not boxes and self._shapes is None:
            return
        shapes = self._ensure_shapes()
        vertices = [self._vertices(box) for box in boxes]
        same = len(vertices) == len(shapes.data) and all(
            np.array_equal(a, b) for a, b in zip(vertices, shapes.data, strict=True)
        )
        if same and set(shapes.shape_type) <= {"rectangle"}:
            return
        mode = shapes.mode
        shapes.data = []
        if vertices:
            shapes.add_rectangles(vertices, edge_width=self._edge_width(), edge_color=COLOR, face_color="transparent")
        shapes.mode = mode

    def _vertices(self, box: Box) -> NDArray[np.float64]:
        (y0, y1), (x0, x1) = box.bounds("Y", self._size("Y")), box.bounds("X", self._size("X"))
        return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], dtype=float) - 0.5

    def _box_of(self, vertices: NDArray[np.float64]) -> Box | None:
        bounds: dict[str, Bounds] = {}
        for axis, values in zip("yx", np.asarray(vertices, dtype=float).T, strict=True):
            low = max(0, math.floor(values.min() + 0.5 + 1e-6))
            high = min(self._size(axis.upper()), math.ceil(values.max() + 0.5 - 1e-6))
            if high <= low:
                return None
            bounds[axis] = (low, high)
        return Box(**bounds, z=self._z)

    # -- layers

    def _ensure_shapes(self) -> Shapes:
        if self._shapes is None:
            at = self._yx()
            width = self._edge_width()
            selection = self._viewer.layers.selection
            before, active = set(selection), selection.active
            shapes = self._viewer.add_shapes(
                None,
                ndim=2,
                name=f"region ({self._layer.name})",
                units=[self._layer.units[i] for i in at],
                axis_labels=("y", "x"),
                edge_color=COLOR,
                face_color="transparent",
                edge_width=width,
                **self._geometry(),
            )
            selection.intersection_update(before)
            selection.update(before)
            selection.active = active
            shapes.current_edge_width = width
            shapes.events.data.connect(self._on_shapes)
            shapes.selected_data.events.items_changed.connect(self._on_selected)
            self._shapes = shapes
        return self._shapes

    def _geometry(self) -> dict[str, Any]:
        """Return the transform that makes coordinates of the Shapes layer voxels of the data."""
        n, at = self._layer.ndim, list(self._yx())
        matrix = to_world(self._layer)[np.ix_([*at, n], [*at, n])]
        if is_plain(matrix):
            return {"scale": np.diag(matrix)[:2], "translate": matrix[:2, 2], "affine": np.eye(3)}
        return {"scale": (1, 1), "translate": (0, 0), "affine": matrix}

    def _follow_data(self, *_: Any) -> None:
        if self._shapes is not None:
            for name, value in self._geometry().items():
                setattr(self._shapes, name, value)
        self._update_wireframe()

    def _update_wireframe(self, *_: Any) -> None:
        if self._closed or self._layer not in self._viewer.layers:
            return
        if self._computed is None:
            self._wireframe.hide()
            return
        grid, box = self._computed
        in_3d = self._viewer.dims.ndisplay == 3 and "Z" in grid.axes
        stack = stack_from_layer(self._layer, self._axes)
        self._wireframe.show(grid, box, stack, self._layer, "ZYX" if in_3d else "YX")

    def _edge_width(self) -> float:
        """Return the width in voxels that looks `EDGE_PIXELS` wide on the canvas."""
        n, at = self._layer.ndim, list(self._yx())
        size = math.sqrt(abs(np.linalg.det(to_world(self._layer)[np.ix_(at, at)]))) if n else 1.0
        return float(EDGE_PIXELS / max(self._viewer.camera.zoom, 1e-9) / max(size, 1e-12))

    def _fit_edges(self) -> None:
        if self._shapes is None or self._closed:
            return
        width = self._edge_width()
        with self._quiet():
            if len(self._shapes.data):
                self._shapes.edge_width = [width] * len(self._shapes.data)
            if not self._shapes.selected_data:
                self._shapes.current_edge_width = width

    # -- what may be drawn

    def _find_reason(self) -> str:
        dims = self._viewer.dims
        if not {"Y", "X"} <= set(self._axes) or set(self._yx()) != {self._layer.ndim - 2, self._layer.ndim - 1}:
            return f"Drawing needs y and x as the last dimensions of {self._layer.name}; change its axes"
        if dims.ndisplay == 3:
            return "Drawing works in the 2D view; switch the viewer to 2D"
        if set(dims.displayed) != {dims.ndim - 2, dims.ndim - 1}:
            return "Drawing needs y and x on the canvas; roll the dimensions back"
        return ""

    def _on_dims(self, *_: Any) -> None:
        reason = self._find_reason()
        if reason != self._reason:
            self._reason = reason
            self.availability_changed.emit(not reason, reason)
        self._update_wireframe()

    def _on_removed(self, event: Any) -> None:
        if self._wireframe.forget(event.value):
            self._computed = None
        if event.value is self._layer:
            # removing layers while one is being removed confuses napari's layer list
            QTimer.singleShot(0, self.close)
        elif event.value is self._shapes:
            self._shapes = None
            self._to_region(None)
            self.boxes_changed.emit([])

    def _on_zoom(self, *_: Any) -> None:
        if not self._edge_timer.isActive():
            self._edge_timer.start()

    def _connect(self) -> None:
        for emitter, slot in self._connections():
            emitter.connect(slot)

    def _connections(self) -> list[tuple[Any, Any]]:
        dims, layer = self._viewer.dims.events, self._layer.events
        moved = [(getattr(layer, name), self._follow_data) for name in ("scale", "translate", "rotate", "shear", "affine")]
        return [
            (dims.order, self._on_dims),
            (dims.ndisplay, self._on_dims),
            (self._viewer.camera.events.zoom, self._on_zoom),
            (self._viewer.layers.events.removed, self._on_removed),
            (self._region.events.box, self._on_region),
            *moved,
        ]

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Changes made here must not come back as changes made by a person."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    @property
    def _z(self) -> Bounds | None:
        return self._region.box.z if self._region.box else None

    def _yx(self) -> tuple[int, int]:
        return self._axes.find("Y"), self._axes.find("X")

    def _size(self, axis: str) -> int:
        data = self._layer.data[0] if self._layer.multiscale else self._layer.data
        return int(data.shape[self._axes.index(axis)])
