"""Stores that somebody else is writing, shown as they grow: a batch's, a watch's, a command line's."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_recon.core.errors import ReconError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io import open_stack, read_provenance
from napari_recon.viewer import preferences
from napari_recon.viewer.buffers import Box, Limits, brightness, wider
from napari_recon.viewer.files import LayerData, opened_layer
from napari_recon.viewer.placement import displayed_grid
from napari_recon.viewer.results import ResultLayers
from napari_recon.viewer.stored import Read, StoredImage
from napari_recon.viewer.worker import Background, call_in_background

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

LEAST_MS = 400
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial")


def is_growing(path: Path) -> bool:
    """Return whether a store has a name that results only have while they are written."""
    return bool(_HIDDEN.fullmatch(path.name)) or ".napari-recon-batch" in path.parts


def follow(
    viewer: ViewerModel,
    store: str | Path,
    becomes: str | Path = "",
    title: str = "",
    follower: Follower | None = None,
    newest: bool = True,
) -> Follower:
    """Show an OME-Zarr that is being written, and keep what is shown up to date.

    Parameters
    ----------
    viewer : ViewerModel
    store : path
        Where it is written; need not be there yet.
    becomes : path, optional
        The file that it will be. Need not be said of what `run -o` writes.
    title : str
        Name of the layer.
    follower : Follower, optional
        One whose layer gives way to this one as soon as there is something to see; how it looked is kept.
    newest : bool
        The time slider goes to the frame that was written last, until somebody moves it.

    Returns
    -------
    Follower
        `follower` itself when it shows that store already.
    """
    store, target = Path(store), Path(becomes) if becomes else None
    if target is None and (hidden := _HIDDEN.fullmatch(store.name)):
        target = store.with_name(hidden["name"])
    if follower is not None and follower.store == store and not follower.stopped:
        return follower
    results = follower.results if follower is not None else ResultLayers(viewer)
    if follower is not None:
        follower.stop()
    return Follower(results, store, target, title or (target or store).name, newest)


class GrowingStore:
    """What a store holds now, in the words of `OutputBuffer`: `look` asks the disk (in a worker), the rest only tells."""

    on_disk = True
    kept = True

    def __init__(self, place: Path) -> None:
        stack = open_stack(place)
        self.place = place
        self.path: Path | None = None
        self.channels = stack.grid.size("C")
        kind = "labels" if stack.dtype.kind in "ui" and stack.dtype.itemsize > 2 else "image"
        self.spec = OutputSpec(name=stack.name, grid=stack.grid, dtype=stack.dtype.name, kind=kind)
        self.grids = [displayed_grid(stack.grid, None, c) for c in range(self.channels)]
        self._stored = StoredImage(stack.grid.axes, self.grids, place)
        self.arrays = [self._stored.data(c) for c in range(self.channels)]
        self.blocks = 0
        self._stamp: tuple[int, ...] = ()
        self._shape = stack.grid.shape
        self._limits: list[dict[int, Limits]] = [{} for _ in self.arrays]
        self._changed: list[list[Box]] = [[] for _ in self.arrays]
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        """The finished file, when the layer is that file's."""
        return str(self.path) if self.path is not None and self.channels == 1 else ""

    def look(self) -> bool:
        """Look what is new; returns whether the store has grown in shape.

        Raises
        ------
        ReconError, OSError
            When it is not there (any more).
        """
        stamp = tuple(p.stat().st_mtime_ns for p in (self.place, self.place / "0" / "zarr.json"))
        if stamp == self._stamp:
            return False
        grid = open_stack(self.place).grid
        if grown := grid.shape != self._shape:
            self._shape = grid.shape
            self.grids = [displayed_grid(grid, None, c) for c in range(self.channels)]
            self._stored.moved(self.place)
        time = self._newest(grid)
        for channel, levels in enumerate(self._stored.levels):
            seen = brightness(_middle(levels[-1], self.grids[channel].axes, time))
            if seen[3] > seen[2]:
                self._limits[channel][time] = seen
        self.blocks += any(self._limits)
        for channel, shown in enumerate(self.grids):
            whole = tuple(slice(0, n) for n in shown.shape)
            latest = tuple(slice(time, time + 1) if a == "T" else s for a, s in zip(shown.axes, whole, strict=True))
            with self._lock:
                self._changed[channel] = [whole, latest]
        self._stamp = stamp
        return grown

    def take(self, channel: int) -> list[Box]:
        """Return the places that may be new, the latest one last, and forget them."""
        with self._lock:
            changed, self._changed[channel] = self._changed[channel], []
        return changed

    def limits(self, channel: int, fresh: bool = False) -> Limits | None:
        """See `OutputBuffer.limits`; of middle planes of what was written last."""
        return reduce(wider, list(self._limits[channel].values())) if self._limits[channel] else None

    def read(self, channel: int) -> Read:
        """See `OutputBuffer.read`."""
        return self._stored.read(channel)

    def give(self, channel: int, found: Read) -> None:
        """See `OutputBuffer.give`."""
        self._stored.give(channel, found)

    def ended(self, path: Path) -> dict[str, Any]:
        """Read from the finished file from now on; returns how it was made."""
        self._stored.moved(path)
        self.place = self.path = path
        self._stamp = ()
        self.look()
        return read_provenance(path) or {}

    def _newest(self, grid: Grid) -> int:
        """Return the time point whose chunks came last."""
        folder = self.place / "0" / "c"
        if not grid.axes.startswith("T") or not folder.is_dir():
            return 0
        times = [(entry.stat().st_mtime_ns, int(entry.name)) for entry in folder.iterdir() if entry.name.isdigit()]
        return max(times)[1] if times else 0


def _middle(level: Any, axes: str, time: int) -> np.ndarray[Any, Any]:
    """Return the middle plane of a time point."""
    at = {a: time if a == "T" else n // 2 for a, n in zip(axes, level.shape, strict=True) if a not in "YX"}
    return np.asarray(level[tuple(at.get(a, slice(None)) for a in axes)])


@dataclass
class Look:
    """What a worker found: the store, whether it grew, how it was made once it is whole; or a file of another format."""

    buffer: GrowingStore | None = None
    grown: bool = False
    record: dict[str, Any] | None = None
    opened: LayerData | None = None


class Follower(QObject):
    """Follows one store; made by `follow`.

    Attributes
    ----------
    store : Path
    results : ResultLayers
    stopped : bool
        It looks no more: somebody said so, or the file is finished.
    """

    def __init__(self, results: ResultLayers, store: Path, target: Path | None, title: str, newest: bool) -> None:
        super().__init__(results)
        self.store, self.results, self.stopped = store, results, False
        self._target, self._title, self._newest = target, title, newest
        self._buffer: GrowingStore | None = None
        self._layers: tuple[Layer, ...] = ()
        self._looking: Background | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(max(LEAST_MS, preferences.refresh_ms()))
        self._timer.timeout.connect(self.look)
        self._timer.start()
        _following.add(self)
        self.look()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that show it; empty until there is something."""
        return tuple(layer for layer in self._layers if layer in self.results.viewer.layers)

    def look(self) -> None:
        """Look once, in a worker."""
        if self._looking is None and not self.stopped:
            call = (_look, self.store, self._target, self._buffer)
            self._looking = call_in_background(*call, done=self._found, failed=self._nothing, parent=self)

    def stop(self) -> None:
        """Look no more; layers stay as they are."""
        if not self.stopped:
            self.stopped = True
            _following.discard(self)
            self._timer.stop()
            if self._looking is not None:
                self._looking.drop()
            self.results.let_go()

    def _nothing(self, _: Exception) -> None:
        self._looking = None  # not there yet, or being renamed

    def _found(self, look: Look) -> None:
        self._looking = None
        buffer = look.buffer
        if self._layers and not self.layers:  # somebody removed them
            self.stop()
            return
        if look.opened is not None:
            self.results.let_go()
            self._layers = (self.results.show_instead(look.opened),)
            self.stop()
            return
        if buffer is None or (self._buffer is None and not buffer.blocks and look.record is None):
            return
        if self._buffer is None:
            self._buffer = buffer
            self.results.follow = self._newest
            below = next(iter(self.results.viewer.layers[::-1]), None)
            self._layers = tuple(self.results.open(buffer, self._title, {"partial": True}, parent=below, preview=True))
            self.results.flush()
        if look.grown:
            for channel, layer in enumerate(self._layers):
                layer.data = buffer.arrays[channel]
        if look.record is not None:
            self.results.finish(look.record, partial=bool(look.record.get("partial")))
            self.stop()


_following: set[Follower] = set()
"""Those that look; nothing else may hold them."""


def _look(store: Path, target: Path | None, buffer: GrowingStore | None) -> Look:
    """Return what can be seen of a store now (in a worker)."""
    if store.is_dir():
        buffer = buffer or GrowingStore(store)
        with suppress(FileNotFoundError):
            grown = buffer.look()
            ended = target is None and not is_growing(store)
            return Look(buffer, grown, buffer.ended(store) if ended else None)
    if target is None or not target.exists():
        raise FileNotFoundError(store)
    if target.is_file():
        return Look(opened=opened_layer(str(target)))
    buffer = buffer or GrowingStore(target)
    with suppress(ReconError):
        return Look(buffer, False, buffer.ended(target))
    return Look(buffer)
