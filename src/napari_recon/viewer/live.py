"""Sliders on a result: a live session in a worker, always the newest values, shown in place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_recon.core.engine import Inputs, Session
from napari_recon.core.events import BlockReady, Decided, Event, PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import KEY
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.placement import layer_geometry
from napari_recon.viewer.selection import selection_kept
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer

REST_MS = 300


@dataclass(frozen=True)
class LiveSource:
    """What a session is made from: a run that ended, and one frame of its input.

    Attributes
    ----------
    plan : Plan
        Of the run.
    inputs : mapping
        As they were given to it.
    index : mapping
        Axis letter -> index into the arranged main input, of every looped axis.
    params : mapping
        What differs from the run: live settings, and what is known by now and need not be found again.
    """

    plan: Plan
    inputs: Inputs
    index: Mapping[str, int] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shot:
    """One answer of the session.

    Attributes
    ----------
    blocks : tuple of BlockReady or PreviewReady
    decided : dict
        Values of automatic parameters.
    """

    blocks: tuple[Any, ...]
    decided: dict[str, Any]


def open_session(source: LiveSource) -> tuple[Session, Shot]:
    """Return a session that has seen the frame, and its first answer (called in a worker)."""
    from napari_recon.engines import registry
    from napari_recon.jobs.planning import make_plan

    old, engine = source.plan, registry.get(source.plan.engine)
    main = engine.info.inputs[0]
    stack = one_frame(engine, main, source)
    inputs = {**source.inputs, main.name: (stack,)}
    selection = Selection(box=old.box)
    plan, opened = make_plan(engine, inputs, {**old.params, **source.params}, selection, old.model, old.compute)
    session = engine.open(plan, opened)
    return session, shot_of(session.feed(stack.read()))


def one_frame(engine: Any, spec: Any, source: LiveSource) -> ImageStack:
    """Return one frame of the main input in memory, arranged into the declared axes, with its channel's optics."""
    stack: ImageStack = source.inputs[spec.name][0]
    if hasattr(engine, "arrange"):
        stack = engine.arrange(spec, stack, engine.params_of(source.plan))
    keys = {a.lower(): source.index.get(a, 0) for a in stack.grid.axes if a not in spec.axes}
    frame = stack.read(spec.axes, **keys)
    channel = source.index.get("C", 0)
    optics = {name: (v[min(channel, len(v) - 1)],) for name, v in stack.metadata.get("optics", {}).items() if v}
    return replace(stack, data=frame, grid=stack.grid.only(spec.axes), metadata={**stack.metadata, "optics": optics})


def shot_of(events: Iterable[Event]) -> Shot:
    """Collect what a session yields for one frame; of several previews of a place the last one counts."""
    blocks: dict[Any, BlockReady | PreviewReady] = {}
    decided: dict[str, Any] = {}
    for event in events:
        if isinstance(event, BlockReady | PreviewReady):
            blocks[event.output, str(event.slices)] = event
        elif isinstance(event, Decided):
            decided |= event.params
    return Shot(tuple(blocks.values()), decided)


class LiveView(QObject):
    """Keeps one session and shows its answers in layers. Only the newest request is computed; nothing blocks.

    Notes
    -----
    Signals: ``opened()``; ``shown(milliseconds)`` from the request to the refreshed layer; ``decided(dict)``;
    ``failed(sentence)``; ``rested(params)`` once the values have settled.
    """

    opened = Signal()
    shown = Signal(float)
    decided = Signal(object)
    failed = Signal(str)
    rested = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session: Session | None = None
        self._call: Any = None
        self._layers: Mapping[str, Layer] = {}
        self._wanted: tuple[dict[str, Any], float] | None = None
        self._given: dict[str, Any] = {}
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._settle)

    @property
    def active(self) -> bool:
        """Whether a session is open, or being opened."""
        return self._session is not None or self._call is not None

    def open(self, source: LiveSource, layers: Mapping[str, Layer]) -> None:
        """Open a session on a frame; its outputs named in `layers` are shown there.

        Parameters
        ----------
        source : LiveSource
        layers : mapping
            Output name -> a layer that holds one frame of it (leading axes of length one may be in front).
        """
        self.close()
        self._layers = dict(layers)
        self._given = dict(source.params)
        self._call = call_in_background(open_session, source, done=self._opened, failed=self._failed, parent=self)

    def update(self, params: Mapping[str, Any]) -> None:
        """Ask for other live parameters; an older request that has not begun is forgotten."""
        if not self.active or params == self._given:
            return
        asked_at = time.monotonic()
        self._wanted = dict(params), asked_at
        self._next()

    def close(self) -> None:
        """End the session; layers stay as they are."""
        self._wanted = None
        self._rest.stop()
        if self._call is not None:
            self._call.drop()
            self._call = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def _opened(self, answer: tuple[Session, Shot]) -> None:
        self._call = None
        self._session, shot = answer
        self._show(shot)
        self.opened.emit()
        self._next()

    def _next(self) -> None:
        if self._session is None or self._call is not None or self._wanted is None:
            return
        (params, asked_at), self._wanted = self._wanted, None
        self._given = params
        session = self._session

        def done(shot: Shot) -> None:
            self._call = None
            self._show(shot)
            self.shown.emit(1000 * (time.monotonic() - asked_at))
            self._rest.start()
            self._next()

        self._call = call_in_background(lambda: shot_of(session.update(params)), done=done, failed=self._failed, parent=self)

    def _show(self, shot: Shot) -> None:
        touched = set()
        for block in shot.blocks:
            layer = self._layers.get(block.output)
            if layer is not None:
                _write(layer, block)
                touched.add(layer)
        for layer in touched:
            layer.refresh(thumbnail=False, highlight=False, extent=False)
        if shot.decided:
            self.decided.emit(shot.decided)

    def _failed(self, error: Exception) -> None:
        self._call = None
        self.failed.emit(str(error))
        self._next()

    def _settle(self) -> None:
        """Tell thumbnails, histograms and other plugins once the values rest."""
        for layer in self._layers.values():
            layer.refresh()
            layer.events.data(value=layer.data)
        self.rested.emit(dict(self._given))


def _write(layer: Layer, block: BlockReady | PreviewReady) -> None:
    array: NDArray[Any] = np.asarray(block.array)
    layer.data[(0,) * (layer.ndim - array.ndim) + tuple(block.slices)] = array


def live_params(engine: Any) -> set[str]:
    """Return the names of the parameters a live session of `engine` may change."""
    from napari_recon.core.params import describe_parameters

    return {row.name for row in describe_parameters(engine.Params) if row.live} if engine.info.live else set()


def add_one_frame(viewer: ViewerModel, plan: Plan, inputs: Inputs, layer: Layer) -> Layer:
    """Add an empty layer for one frame of a series, looking like the series' `layer`, and return it."""
    grid = plan.outputs[0].grid
    grid = grid.only("".join(a for a in grid.axes if a not in plan.looped))
    with selection_kept(viewer):
        return viewer.add_image(
            np.zeros(grid.shape, np.float32),
            name=f"{layer.name} · adjusted",
            colormap=layer.colormap,
            contrast_limits=layer.contrast_limits,
            blending=layer.blending,
            metadata={KEY: {**layer.metadata[KEY], "grid": grid.model_dump(mode="json")}},
            **layer_geometry(grid, inputs[plan.inputs[0].name][0], layer),
        )
