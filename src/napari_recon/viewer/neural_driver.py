"""What drives one neural layer: shows what landed, keeps the contrast sane, exports, and frees everything at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.errors import describe
from napari_recon.core.region import Box, TimeRange
from napari_recon.engines.inr4d.lattice import factors_of, spelled
from napari_recon.engines.live_fields import FieldSource
from napari_recon.fields.live import Landed, LiveField
from napari_recon.viewer import preferences
from napari_recon.viewer.buffers import brightness
from napari_recon.viewer.commands import controller_of
from napari_recon.viewer.job import Job
from napari_recon.viewer.neural_export import Export, part, seen
from napari_recon.viewer.run import RunResult
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

SHOW_MS, SHOW_3D_MS, TILES_MS = 20, 250, 500
"""Between two times of showing what landed, and tiles of it."""
REST_MS, START_MS = 400, 50
"""Time without change after which the thumbnail is made; time left to the window before weights are loaded."""
SPIKE = 2.0
"""The brightest value so many times over the usual range is left out of the contrast."""


class NeuralLayer(QObject):
    """Drives one neural layer until it is removed from its viewer.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
    live : LiveField

    Notes
    -----
    Signals, all in the main thread: ``landed(Landed)`` after the layer shows it, ``failed(str)``, ``busy(bool)`` when what
    is seen begins or ends to be inexact, ``exported(object)`` with the new layer or the path, ``closed()``.
    """

    landed = Signal(object)
    failed = Signal(str)
    busy = Signal(bool)
    exported = Signal(object)
    closed = Signal()
    _came = Signal(object)
    _broke = Signal(object)
    _wanted = Signal()

    def __init__(self, viewer: ViewerModel, layer: Image, live: LiveField) -> None:
        super().__init__()
        self.viewer, self.layer = viewer, layer
        self._live, self._busy, self._said = live, False, ""
        self._touched = self._setting = self._lit = False
        self._waiting: list[Landed] = []
        self._shown_at = 0.0
        self._soon = self._timer(self._show)
        self._rest = self._timer(self._at_rest)
        self._came.connect(self._on_landed)
        self._broke.connect(self._on_failed)
        self._wanted.connect(self._on_wanted)
        live.landed, live.failed, live.asked = self._came.emit, self._broke.emit, self._wanted.emit
        layer.events.contrast_limits.connect(self._on_contrast)
        viewer.layers.events.removed.connect(self._on_removed)
        if live.closed:
            live.reopen()
        self._light_up()
        QTimer.singleShot(START_MS, self._start)

    @property
    def source(self) -> FieldSource:
        """What the field is."""
        assert isinstance(self._live.about, FieldSource)
        return self._live.about

    @property
    def exact(self) -> bool:
        """Whether what is seen is the field itself, nothing in place of it."""
        return self._live.exact

    @property
    def time_steps(self) -> int:
        """Samples per time point."""
        return self._live.levels.time_steps

    def set_time_steps(self, steps: int) -> None:
        """Change how many samples there are per time point; the time that is shown stays, as near as it can."""
        old = self.time_steps
        if steps == old or not self.source.between:
            return
        axis = self.source.data.axes.index("T")
        dims = self.viewer.dims
        shown = dims.ndim - self.layer.ndim + axis
        at = dims.point[shown]
        self._live.relevelled(self.source.levels(steps))
        scale = list(self.layer.scale)
        scale[axis] *= old / steps
        with self.layer._block_refresh():
            self.layer.data = list(self._live.arrays)
            self.layer.scale = scale
        dims.set_point(shown, at)
        self.layer.refresh()

    def export_view(self, path: str | Path | None = None) -> None:
        """Compute what is seen with the query engine: as a new layer, or into a file."""
        self._export(seen(self.viewer, self.layer, self._live.levels), path, "as seen")

    def export(
        self,
        scale: str | Mapping[str, float] = "",
        box: Box | None = None,
        time: TimeRange | None = None,
        path: str | Path | None = None,
    ) -> None:
        """Compute a part with the query engine: as a new layer, or into a file.

        Parameters
        ----------
        scale : str or mapping
            Samples per data point, ``"t=2,z=2,y=1.5,x=1.5"``.
        box : Box, optional
            In voxels of the data.
        time : TimeRange, optional
            Of the data's time points.
        path : path, optional

        Raises
        ------
        InputError
            A scale that says nothing.
        """
        factors = factors_of(scale)
        frames = None if time is None else (time.start, time.stop)
        self._export(part(self.source, factors, box, frames), path, spelled(factors) or "at data points")

    def drives(self, live: LiveField) -> bool:
        """Return whether this is what drives it."""
        return self._live is live

    def close(self) -> None:
        """Free thread, field and what was computed."""
        live = self._live
        live.landed, live.failed = lambda landed: None, lambda error: None
        live.asked = lambda: None
        live.close()
        self._soon.stop()
        self._rest.stop()
        for emitter, slot in (
            (self.viewer.layers.events.removed, self._on_removed),
            (self.layer.events.contrast_limits, self._on_contrast),
        ):
            with suppress(RuntimeError, ValueError, TypeError):
                emitter.disconnect(slot)
        self._set_busy(False)
        self.closed.emit()

    def _export(self, export: Export, path: str | Path | None, how: str) -> None:
        source, device = self.source, preferences.compute()
        title = f"{self.layer.name} · {how}"
        if path is None:
            controller = controller_of(self.viewer)

            def ended(result: RunResult) -> None:
                if result.job is job:
                    controller.finished.disconnect(ended)
                    for layer in result.layers:
                        layer.contrast_limits_range = self.layer.contrast_limits_range
                        layer.contrast_limits = self.layer.contrast_limits
                        self.exported.emit(layer)

            job = Job(lambda: export.plan(source, device), title=title)
            controller.finished.connect(ended)
            controller.start([job])
            return

        def write() -> str:
            from napari_recon.jobs import run_plan, write_events

            plan, inputs = export.plan(source, device)
            for _ in write_events(run_plan(plan, inputs), path, plan):
                pass
            return str(path)

        def written(place: str) -> None:
            show_info(f"{title} was saved to {place}")
            self.exported.emit(place)

        call_in_background(write, done=written, failed=lambda error: show_error(str(error)))

    def _timer(self, slot: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(slot)
        return timer

    def _start(self) -> None:
        self._live.start()
        self._show()  # something may have landed before

    def _on_wanted(self) -> None:
        self._set_busy(not self.exact)

    def _on_landed(self, landed: Landed) -> None:
        if self._live.closed:
            return
        if landed.kind == "overview":
            self._light_up()
        self._waiting.append(landed)
        in_3d = self.viewer.dims.ndisplay == 3
        if in_3d and not landed.whole:
            return  # volumes are slow to draw
        between = TILES_MS if not landed.whole else SHOW_3D_MS if in_3d and not landed.exact else SHOW_MS
        wait = max(0, round(between - (time.monotonic() - self._shown_at) * 1000))
        if not self._soon.isActive() or self._soon.remainingTime() > wait:
            self._soon.start(wait)

    def _show(self) -> None:
        """Show what landed since the last time."""
        if self._live.closed or self.layer not in self.viewer.layers:
            return
        seen, self._waiting = self._waiting, []
        # beside what is asked for exactly, only what stands in for it changes the picture
        if any(each.kind == "view" for each in seen) or not self.exact or not seen:
            self.layer.refresh(thumbnail=False, highlight=False, extent=False)
        self._shown_at = time.monotonic()
        self._set_busy(not self.exact)
        if self.exact:
            self._rest.start(REST_MS)
        for each in seen:
            self.landed.emit(each)

    def _at_rest(self) -> None:
        if not self._live.closed and self.exact and self.layer in self.viewer.layers:
            self.layer._update_thumbnail()

    def _on_failed(self, error: Exception) -> None:
        text = str(describe(error))
        if text != self._said:  # the same for every plane
            self._said = text
            show_error(f"{self.layer.name}: {text}")
        self._set_busy(False)
        self.failed.emit(text)

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self.busy.emit(busy)

    def _light_up(self) -> None:
        """Set the contrast from the first coarse volume, unless somebody has set it."""
        if self._lit or self._touched or self._live.overview is None:
            return
        low, high, least, most = brightness(self._live.overview)
        self._lit = True
        if not most > least:
            return
        if most - low < SPIKE * (high - low):
            high = most  # a field has no hot pixels; only spikes are left out
        self._setting = True
        try:
            if self.source.limits is not None:
                least, most = min(least, self.source.limits[0]), max(most, self.source.limits[1])
            self.layer.contrast_limits_range = (least, most)
            self.layer.contrast_limits = (low, high)
        finally:
            self._setting = False

    def _on_contrast(self, event: Any = None) -> None:
        self._touched = self._touched or not self._setting

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.close()
