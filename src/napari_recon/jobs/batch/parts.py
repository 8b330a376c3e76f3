"""Frames of one plan, made one by one: here or in a worker process, straight into the stores that become the results."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_recon.core.engine import Engine, Inputs
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    Decided,
    Event,
    Finished,
    FrameDone,
    MetricLogged,
    PreviewReady,
    Warned,
)
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io.omezarr import ZarrOutput
from napari_recon.jobs.artifacts import plain
from napari_recon.jobs.measure import peak_memory_bytes
from napari_recon.jobs.running import reopen

_SAID = {kind.__name__: kind for kind in (ArtifactReady, Decided, MetricLogged, Warned)}


@dataclass(frozen=True)
class Part:
    """Frames `start` to `stop` of a plan; `stores` are those of its outputs, `stop_file` appears when all should end."""

    plan: Plan
    start: int
    stop: int
    stores: tuple[str, ...]
    stop_file: str = ""


@dataclass(frozen=True)
class FrameRecord:
    """A frame whose blocks are stored; `said` is everything else its events told, as JSON values."""

    number: int
    said: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class Held:
    """An engine with the opened inputs of one plan and what it loaded, kept from part to part."""

    _latest: Held | None = None

    def __init__(self, plan: Plan, stores: tuple[str, ...], engine: Engine[Any] | None = None) -> None:
        self._plan, self._at = plan, stores
        self.engine: Engine[Any] = registry.get(plan.engine).prepared(plan) if engine is None else engine
        self.inputs: Inputs = reopen(plan)
        places = zip(stores, plan.outputs, strict=True)
        self.stores = {spec.name: open_store(Path(at), plan, spec.name) for at, spec in places}

    @classmethod
    def of(cls, plan: Plan, stores: tuple[str, ...]) -> Held:
        """Return what this process holds of `plan`, loaded when it is another one than last time.

        Of a recording that has grown the inputs are opened again, and what was decided on its first frames stays.
        """
        held = cls._latest
        if held is None or (held._plan, held._at) != (plan, stores):
            grown = held is not None and held._at == stores and recognised(held._plan) == recognised(plan)
            cls._latest = None  # first let go of the old one
            cls._latest = held = cls(plan, stores, held.engine if held is not None and grown else None)
        return held

    @classmethod
    def let_go(cls) -> None:
        """Close what is held; a viewer goes on for long after a batch."""
        cls._latest = None


def open_store(at: Path, plan: Plan, output: str) -> ZarrOutput:
    """Return the store that gathers an output of `plan`, made when it is not there yet; every frame has its own chunks."""
    return ZarrOutput(at, plan.output(output), gathered_at=at, alone=plan.looped)


def frames_of(part: Part, token: CancelToken | None = None) -> Iterator[FrameRecord]:
    """Yield a record per finished frame; ends early when cancelled.

    Raises
    ------
    ReconError
    """
    held = Held.of(part.plan, part.stores)
    said: list[dict[str, Any]] = []
    started = time.perf_counter()
    events = held.engine.run(part.plan.model_copy(update={"part": (part.start, part.stop)}), held.inputs, token)
    for event in events:
        if isinstance(event, BlockReady | PreviewReady):
            held.stores[event.output].write(event.slices, event.array)
        elif isinstance(event, FrameDone):
            for store in held.stores.values():
                store.settle()  # whoever finishes the file may be another process, which knows nothing of this frame
            seconds = time.perf_counter() - started
            yield FrameRecord(event.number, said, seconds, peak_memory_bytes(part.plan.compute.device))
            said, started = [], time.perf_counter()  # what the reader does meanwhile is not ours
        elif type(event).__name__ in _SAID:
            said.append(as_json(event))
        elif isinstance(event, Finished) and event.partial:
            return


def as_json(event: Event) -> dict[str, Any]:
    """Return an event without voxels as JSON values."""
    found: dict[str, Any] = json.loads(json.dumps({"event": type(event).__name__, **vars(event)}, default=plain))
    return found


def as_event(values: Mapping[str, Any]) -> Event:
    """Return the event that `as_json` wrote."""
    rest = {name: value for name, value in values.items() if name != "event"}
    event: Event = _SAID[values["event"]](**rest)
    return event


def recognised(plan: Plan) -> dict[str, Any]:
    """Return what of a plan stays the same while its recording grows along T."""
    values = plan.model_dump(mode="json", exclude={"compute", "resources", "inputs", "outputs", "selection"})
    inputs = [(ref.name, ref.uri, _timeless(ref.grid), ref.dtype) for ref in plan.inputs]
    outputs = [(spec.name, _timeless(spec.grid), spec.dtype) for spec in plan.outputs]
    found: dict[str, Any] = json.loads(json.dumps({**values, "inputs": inputs, "outputs": outputs, "box": str(plan.box)}))
    return found


def _timeless(grid: Grid | None) -> Any:
    return None if grid is None else grid.only(grid.axes.replace("T", "")).model_dump(mode="json")
