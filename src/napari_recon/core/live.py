"""A live session for any FrameEngine: each new frame is one more `process_frame`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from napari_recon.core.engine import Inputs, Session
from napari_recon.core.errors import InputError, describe
from napari_recon.core.events import Event
from napari_recon.core.frames import FrameEngine, read_frame
from napari_recon.core.params import describe_parameters
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.core.token import CancelToken


class FrameSession(Session):
    """Feeds single frames to an engine whose plan was made for one of them.

    Parameters
    ----------
    engine : FrameEngine
    plan : Plan
        Made from the reference of one frame (no looped axes).
    inputs : mapping
        The static inputs; the main one comes through `feed`.
    """

    def __init__(self, engine: FrameEngine[Any], plan: Plan, inputs: Inputs) -> None:
        self._engine, self._plan = engine, plan
        main, *others = engine.info.inputs
        self._main = main.name
        self._static = {}
        for spec in others:
            things = [read_frame(t, spec, {}) if isinstance(t, ImageStack) else t for t in inputs.get(spec.name, ())]
            self._static[spec.name] = things if spec.many else (things[0] if things else None)
        self._latest: Any = None
        self._count = 0
        self.token = CancelToken()

    def feed(self, frame: Any) -> Iterator[Event]:
        """Yield the events of one frame, an array in the main input's axes."""
        self._latest = check_content(np.asarray(frame), f"live frame {self._count}")
        self._count += 1
        yield from self._process()

    def update(self, params: Mapping[str, Any]) -> Iterator[Event]:
        """Change parameters declared `live`; the latest frame is processed again."""
        live = {row.name for row in describe_parameters(self._engine.Params) if row.live}
        if fixed := sorted(set(params) - live):
            raise InputError(f"{', '.join(fixed)} can't change during a live session; stop it and start anew")
        values = self._engine.Params.model_validate({**self._plan.params, **params})
        self._plan = self._plan.model_copy(update={"params": values.model_dump(mode="json")})
        if self._latest is not None:
            yield from self._process()

    def close(self) -> None:
        """Stop a frame in work and forget the rest."""
        self.token.cancel()
        self._latest = None

    def _process(self) -> Iterator[Event]:
        try:
            frame = {**self._static, self._main: self._latest}
            yield from self._engine.process_frame(self._plan, frame, self._count - 1, self.token)
        except Exception as error:
            raise describe(error) from error
