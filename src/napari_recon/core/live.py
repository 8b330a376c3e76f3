"""A live session for any FrameEngine: each new frame is one more `process_frame`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from napari_recon.core.engine import Inputs, Session, torch_settings
from napari_recon.core.errors import Cancelled, InputError, describe
from napari_recon.core.events import Decided, Event, OutputOpened
from napari_recon.core.frames import FrameEngine, read_frame
from napari_recon.core.params import describe_parameters, flat
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.core.token import CancelToken


class FrameSession(Session):
    """Feeds single frames to an engine whose plan was made for one of them.

    The first frame opens the outputs; what is decided from it (`Decided`) holds for later frames.

    Parameters
    ----------
    engine : FrameEngine
    plan : Plan
        Made from the reference of one frame.
    inputs : mapping
        The static inputs; the main one comes through `feed`.
    """

    def __init__(self, engine: FrameEngine[Any], plan: Plan, inputs: Inputs) -> None:
        self._engine, self._plan, self._worker = engine, plan, engine.prepared(plan)
        main, *others = engine.info.inputs
        inputs = {
            name: [engine.arrange(engine.info.input(name), t, engine.params_of(plan)) for t in things]
            for name, things in inputs.items()
        }
        self._main = main
        self._static = {}
        for spec in others:
            things = [read_frame(t, spec, {}, True) if isinstance(t, ImageStack) else t for t in inputs.get(spec.name, ())]
            self._static[spec.name] = things if spec.many else (things[0] if things else None)
        self._latest: Any = None
        self._opened = False
        self._count = 0
        self.token = CancelToken()

    def feed(self, frame: Any) -> Iterator[Event]:
        """Yield the events of one frame, an array in the main input's axes.

        Raises
        ------
        InputError
            Another shape than the plan was made for, or unfit content.
        """
        array, grid = np.asarray(frame), self._plan.inputs[0].grid
        if grid is not None:
            grid = grid.only("".join(a for a in grid.axes if a in self._main.axes or a not in self._main.loops))
            if array.shape != grid.shape:
                raise InputError(
                    f"a live frame should have shape {grid.shape} ({grid.axes}), found {array.shape}; "
                    "stop the session and start anew"
                )
            stack = self._engine.arrange(self._main, ImageStack(array, grid), self._engine.params_of(self._plan))
            array = stack.read(self._main.axes)
        self._latest = check_content(array, f"live frame {self._count}")
        self._count += 1
        yield from self._process()

    def update(self, params: Mapping[str, Any]) -> Iterator[Event]:
        """Change parameters declared `live` (dotted names reach nested settings); the latest frame is processed again.

        Raises
        ------
        InputError
            Other parameters, or values that do not fit.
        """
        live = {row.name for row in describe_parameters(self._engine.Params) if row.live}
        if fixed := sorted(set(params) - live):
            raise InputError(f"{', '.join(fixed)} can't change during a live session; stop it and start anew")
        old = self._plan
        self._plan = self._engine.plan(old.inputs, {**flat(old.params), **params}, old.selection, old.model, old.compute)
        self._worker = self._engine.prepared(self._plan)
        if self._latest is not None:
            yield from self._process()

    def close(self) -> None:
        """Stop a frame in work and forget the rest."""
        self.token.cancel()
        self._latest = None

    def _process(self) -> Iterator[Event]:
        frame = {**self._static, self._main.name: self._latest}
        try:
            for spec in () if self._opened else self._plan.outputs:
                yield OutputOpened(spec.name, spec)
            self._opened = True
            with torch_settings(self._plan.compute) if self._engine.uses_torch else nullcontext():
                for event in self._worker.process_frame(self._plan, frame, self._count - 1, self.token):
                    if isinstance(event, Decided):
                        params = {**self._plan.params, **event.params}
                        self._plan = self._plan.model_copy(update={"params": params})
                    yield event
        except Cancelled:
            return
        except Exception as error:
            raise describe(error) from error
