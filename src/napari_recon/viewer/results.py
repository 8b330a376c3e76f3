"""Events to layers: the only place that adds, fills and names result layers. Main thread only."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.viewer import preferences
from napari_recon.viewer.buffers import Limits
from napari_recon.viewer.label_table import is_label_table, label_features
from napari_recon.viewer.layer_input import PATH
from napari_recon.viewer.placement import layer_geometry
from napari_recon.viewer.selection import selection_kept
from napari_recon.viewer.stored import Read
from napari_recon.viewer.worker import Background, call_in_background

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

COLORMAP = "magma"
CONTRAST_STEP = 0.4
CLOSE = 0.02
SECONDS_3D = 1.0
CHANNEL_COLORMAPS = ("green", "magenta", "cyan", "yellow", "red", "blue")
KEPT_BY_PREVIEWS = ("visible", "opacity", "blending", "gamma", "colormap", "rendering", "iso_threshold", "attenuation")


@dataclass(eq=False)
class Shown:
    """One layer of a running job; `buffer` is what collects it, or tells the same of a store that others write."""

    buffer: Any
    channel: int
    layer: Layer
    touched_contrast: bool = False
    removed: bool = False
    setting: bool = False
    pending: bool = False
    lit: bool = False
    veiled: bool = False
    refreshed_at: float = 0.0
    goal: Limits | None = None
    callback: Any = None
    reading: Background | None = None


class ResultLayers(QObject):
    """Shows the outputs of one run at a time, and knows which layer was the last preview.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    follow : bool
        The time slider goes along with the frame that is being filled, until somebody moves it.

    Notes
    -----
    ``lost(layer)`` fires when somebody removes a layer that is still being filled.
    """

    lost = Signal(object)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._shown: list[Shown] = []
        self._previews: list[Shown] = []
        self._removing = False
        self._rows: list[Mapping[str, Any]] = []
        self.follow = False
        self._followed: float | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(preferences.refresh_ms())
        self._timer.timeout.connect(self.flush)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the current run that are in the viewer."""
        return tuple(s.layer for s in self._shown if s.layer in self.viewer.layers)

    @property
    def blocks(self) -> int:
        """How many blocks the current run has written."""
        return sum({id(s.buffer): s.buffer.blocks for s in self._shown}.values())

    def open(
        self,
        buffer: Any,
        name: str,
        provenance: Mapping[str, Any],
        stack: ImageStack | None = None,
        parent: Layer | None = None,
        preview: bool = False,
    ) -> list[Layer]:
        """Add one layer per channel of `buffer` and follow what is written to it.

        Parameters
        ----------
        buffer : OutputBuffer or GrowingStore
        name : str
        provenance : mapping
            What is known before the run ends.
        stack : ImageStack, optional
            The main input.
        parent : Layer, optional
            The layer `stack` was made from.
        preview : bool
            Replace the layers of the previous preview, keeping how they looked.
        """
        looks = self._drop_previews() if preview and not self._shown else []
        self._followed = None
        for channel, (array, grid) in enumerate(zip(buffer.arrays, buffer.grids, strict=True)):
            title = self._unused(f"{name} · channel {channel}" if buffer.channels > 1 else name)
            # what is made from no layer still has to get along with the units of those that are there
            options = layer_geometry(grid, stack, parent or next(iter(self.viewer.layers[::-1]), None))
            options |= {"name": title, "metadata": {KEY: {**provenance, "grid": grid.model_dump(mode="json")}}}
            with selection_kept(self.viewer):
                layer = self._add(buffer, channel, array, options)
            if buffer.on_disk:
                weakref.finalize(layer, id, buffer)  # keeps the buffer, and with it the file, as long as the layer lives
            if parent is None and self._shown and self._shown[0].buffer is not buffer:
                layer.visible = False  # truth, PSF and the like of a simulation would cover the recording
            shown = Shown(buffer, channel, layer)
            if parent is not None and buffer.spec.kind == "image" and not looks:
                shown.veiled, layer.opacity = True, 0.0  # nothing yet, which must not cover what is being looked at
            self._follow(shown, looks)
            if preview:
                self._previews.append(shown)
            self._bring_into_view(layer)
        if parent is None and not looks:
            self.viewer.reset_view()  # it lies on nothing that was being looked at
        self._timer.start()
        return [s.layer for s in self._shown if s.buffer is buffer]

    def flush(self) -> None:
        """Show what was written since the last call, where it can be seen."""
        for shown in self._shown:
            boxes = shown.buffer.take(shown.channel)
            if shown.removed:
                continue
            if boxes:
                self._unveil(shown)
                shown.goal = shown.buffer.limits(shown.channel)
                self._follow_time(shown.layer, boxes[-1])
            self._follow_brightness(shown)
            if boxes:
                shown.pending = shown.pending or self._in_sight(shown.layer, boxes)
            in_3d = self.viewer.dims.ndisplay == 3
            patient = in_3d and time.monotonic() - shown.refreshed_at < SECONDS_3D
            if shown.pending and not patient and shown.reading is None:
                shown.refreshed_at, shown.pending = time.monotonic(), False
                if shown.buffer.on_disk:
                    self._read(shown)
                else:
                    self._refresh(shown)

    def finish(self, provenance: Mapping[str, Any], partial: bool) -> tuple[Layer, ...]:
        """End the run: store how the layers were made, show them in full and (but for previews) select them."""
        self._timer.stop()
        self.flush()
        previewed = any(shown in self._previews for shown in self._shown)
        for shown in self._shown:
            layer = shown.layer
            layer.metadata[KEY] = {**layer.metadata[KEY], **provenance, "partial": partial}
            if shown.buffer.channels > 1:
                layer.metadata[KEY]["channel"] = shown.channel
            if partial:
                layer.name = f"{layer.name} (partial)"
            if shown.buffer.uri:
                layer.metadata[PATH] = shown.buffer.uri
            self._unveil(shown)
            shown.goal = shown.buffer.limits(shown.channel, fresh=True)
            self._follow_brightness(shown, step=1.0)
            if self._rows and shown.buffer.spec.kind == "labels":
                layer.features = label_features(self._rows)
            if not shown.removed:
                layer.refresh()
                layer.events.data(value=layer.data)
        kept = self.layers
        if kept and not previewed:
            self.viewer.layers.selection = set(kept)
            self.viewer.layers.selection.active = kept[0]
        self._forget()
        return kept

    def take_table(self, rows: Any) -> None:
        """Keep rows about labels (of one frame, or all) for the features of the labels layer."""
        if is_label_table(rows):
            self._rows += rows

    def discard(self) -> None:
        """Remove the layers of a run that finished nothing."""
        self._timer.stop()
        for layer in self.layers:
            self._remove(layer)
        self._forget()

    def readd(self, layer: Layer) -> None:
        """Put a layer back that was removed while it was being filled."""
        if layer not in self.viewer.layers:
            self.viewer.add_layer(layer)
        for shown in self._shown:
            if shown.layer is layer:
                shown.removed, shown.pending = False, True
        layer.refresh()

    def show_instead(self, layer_data: tuple[Any, ...]) -> Layer:
        """Show layer data in place of the last preview, keeping how it looked."""
        from napari.layers import Layer as AnyLayer

        looks = self._drop_previews()
        layer = self.viewer.add_layer(AnyLayer.create(*layer_data))
        shown = Shown(None, 0, layer)
        self._look_like(shown, looks[0] if looks else {})
        self._previews.append(shown)
        return layer

    def let_go(self) -> None:
        """Follow the present run no longer; its layers stay as they are."""
        self._timer.stop()
        self._forget()

    def close(self, unfinished: bool = False) -> None:
        """Let go of the viewer; layers stay as they are, those of a run that is `unfinished` are called partial."""
        self._timer.stop()
        for layer in self.layers if unfinished else ():
            layer.name = f"{layer.name} (partial)"
        with suppress(RuntimeError, ValueError, TypeError):
            self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._forget()

    def _add(self, buffer: Any, channel: int, array: Any, options: dict[str, Any]) -> Layer:
        if buffer.spec.kind == "labels":
            return self.viewer.add_labels(array, multiscale=isinstance(array, list), **options)
        if buffer.channels > 1:
            options |= {"colormap": CHANNEL_COLORMAPS[channel % len(CHANNEL_COLORMAPS)], "blending": "additive"}
        else:
            # told from gray data at a glance; in 3D the stack of views lies in the same place: over it, not through it
            options |= {"colormap": COLORMAP, "blending": "translucent_no_depth"}
        options |= {"multiscale": isinstance(array, list), "rgb": False}
        layer = self.viewer.add_image(array, contrast_limits=(0, 1), **options)
        layer.metadata[KEY] = options["metadata"][KEY]
        return layer

    def _refresh(self, shown: Shown) -> None:
        shown.layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _read(self, shown: Shown) -> None:
        """Show what a file holds now, read in a worker: files may be far away."""

        def done(found: Read) -> None:
            shown.reading = None
            shown.buffer.give(shown.channel, found)
            try:
                self._refresh(shown)
            finally:
                shown.buffer.give(shown.channel, [])

        def failed(_: Exception) -> None:
            shown.reading = None  # the next block tries again

        shown.reading = call_in_background(shown.buffer.read, shown.channel, done=done, failed=failed, parent=self)

    def _follow(self, shown: Shown, looks: Sequence[Mapping[str, Any]]) -> None:
        index = len(self._shown)
        self._shown.append(shown)
        if index < len(looks):
            self._look_like(shown, looks[index])
        if shown.buffer.spec.kind == "image":

            def touched(event: Any = None) -> None:
                shown.touched_contrast = shown.touched_contrast or not shown.setting

            shown.layer.events.contrast_limits.connect(touched)
            shown.callback = touched

    def _look_like(self, shown: Shown, look: Mapping[str, Any]) -> None:
        for name, value in look.items():
            with suppress(AttributeError, ValueError):
                setattr(shown.layer, name, value)
        shown.touched_contrast = "contrast_limits" in look

    def _unveil(self, shown: Shown) -> None:
        """Show a layer that something was written to, unless the user has made it visible already."""
        if shown.veiled and shown.layer.opacity == 0:
            shown.layer.opacity = 1.0
        shown.veiled = False

    def _follow_brightness(self, shown: Shown, step: float = CONTRAST_STEP) -> None:
        """Move the contrast a step towards what is there now, unless the user has set it."""
        goal, layer = shown.goal, shown.layer
        if shown.buffer.spec.kind != "image" or shown.touched_contrast or goal is None:
            return
        low, high, least, most = goal
        now = np.asarray(layer.contrast_limits, dtype=float)
        if not shown.lit:
            now = np.array([low, high])
        elif np.abs(now - (low, high)).max() > CLOSE * (high - low):
            now += step * (np.array([low, high]) - now)
        else:
            shown.goal = None
            return
        shown.setting = shown.lit = True
        try:
            layer.contrast_limits_range = (min(least, now[0]), max(most, now[1]))
            layer.contrast_limits = (now[0], now[1])
        finally:
            shown.setting = False

    def _in_sight(self, layer: Layer, boxes: Sequence[tuple[slice, ...]]) -> bool:
        dims = self.viewer.dims
        offset = dims.ndim - layer.ndim
        hidden = [d - offset for d in dims.not_displayed if d >= offset]
        thick = layer.projection_mode != "none" and any(dims.thickness[d + offset] > 0 for d in hidden)
        if not hidden or thick:
            return True
        at = np.rint(np.asarray(layer.world_to_data(dims.point[-layer.ndim :])))
        return any(all(box[d].start <= at[d] < box[d].stop for d in hidden) for box in boxes)

    def _follow_time(self, layer: Layer, box: tuple[slice, ...]) -> None:
        """Show the time point that was written last."""
        if not self.follow or "time" not in layer.axis_labels:
            return
        dims, own = self.viewer.dims, layer.axis_labels.index("time")
        axis = own + dims.ndim - layer.ndim
        if axis in dims.displayed or (self._followed is not None and abs(dims.point[axis] - self._followed) > 1e-9):
            self.follow = False
            return
        dims.set_point(axis, float(layer.data_to_world([s.start for s in box])[own]))
        self._followed = dims.point[axis]

    def _bring_into_view(self, layer: Layer) -> None:
        """Move sliders that point beside the new layer to its middle; the camera stays."""
        dims = self.viewer.dims
        offset = dims.ndim - layer.ndim
        low, high = layer.extent.world
        half = np.asarray(layer.scale) / 2
        middle = np.asarray(layer.data_to_world([(n - 1) // 2 for n in layer.data.shape]))
        for axis in dims.not_displayed:
            own = axis - offset
            if own >= 0 and not low[own] - half[own] <= dims.point[axis] <= high[own] + half[own]:
                dims.set_point(axis, float(middle[own]))

    def _unused(self, name: str) -> str:
        taken = {layer.name for layer in self.viewer.layers}
        number = 2
        title = name
        while title in taken:
            title, number = f"{name} ({number})", number + 1
        return title

    def _drop_previews(self) -> list[dict[str, Any]]:
        looks = []
        old, self._previews = self._previews, []
        for shown in old:
            layer = shown.layer
            if layer in self.viewer.layers:
                look = {name: getattr(layer, name) for name in KEPT_BY_PREVIEWS if hasattr(layer, name)}
                if shown.veiled:
                    del look["opacity"]
                if shown.touched_contrast:
                    look["contrast_limits"] = tuple(layer.contrast_limits)
                looks.append(look)
                self._remove(layer)
            self._unfollow(shown)
        return looks

    def _forget(self) -> None:
        for shown in self._shown:
            if shown not in self._previews:
                self._unfollow(shown)
        self._shown, self._rows = [], []

    def _unfollow(self, shown: Shown) -> None:
        if shown.callback is not None:
            shown.layer.events.contrast_limits.disconnect(shown.callback)
            shown.callback = None

    def _remove(self, layer: Layer) -> None:
        self._removing = True
        try:
            self.viewer.layers.remove(layer)
        finally:
            self._removing = False

    def _on_removed(self, event: Any) -> None:
        if self._removing:
            return
        for shown in self._shown:
            if shown.layer is event.value and not shown.removed:
                shown.removed = True
                self.lost.emit(shown.layer)
