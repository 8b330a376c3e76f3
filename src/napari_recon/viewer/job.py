"""What the worker thread does for one job: plan it, run it, fill its buffers. Its messages are small."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_recon.core.engine import Inputs
from napari_recon.core.errors import Cancelled, ReconError
from napari_recon.core.events import BlockReady, Decided, Event, Finished, OutputOpened, PreviewReady, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Record
from napari_recon.core.region import Box
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.viewer.buffers import OutputBuffer
from napari_recon.viewer.large_results import buffer_for

if TYPE_CHECKING:
    from napari.layers import Layer

PROGRESS_INTERVAL_S = 0.05
PATIENCE_S = 1.0
Runner = Callable[[Plan, Inputs, CancelToken], Iterator[Event]]


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes
    ----------
    plan : Plan or callable
        A callable returns ``(plan, inputs)`` and is called in the worker: planning and opening never block the viewer.
    inputs : mapping
        Input name -> list of ImageStack (or paths); ignored when `plan` is a callable.
    title : str
        Name of the result layer; see `job_title`.
    parent_layers : tuple of Layer
        The layers it is made from, the main one first.
    preview : bool
        The result replaces that of the previous preview.
    outline : callable, optional
        Returns the plan from headers alone, in a worker: what the queue knows of a job that waits.
    asked : object
        What its dock asked for; the jobs of several boxes have it in common.
    out : str
        The OME-Zarr that its first output is written to; other outputs are named after it.
    """

    plan: Plan | Callable[[], tuple[Plan, Inputs]]
    inputs: Inputs = field(default_factory=dict)
    title: str = ""
    parent_layers: tuple[Layer, ...] = ()
    preview: bool = False
    outline: Callable[[], Plan] | None = None
    asked: Any = None
    out: str = ""

    def prepared(self) -> tuple[Plan, Inputs]:
        """Return the plan and the opened inputs (called in the worker thread)."""
        return (self.plan, self.inputs) if isinstance(self.plan, Plan) else self.plan()


@dataclass(frozen=True)
class Planned:
    """The plan is made; `stack` is the main input."""

    plan: Plan
    inputs: Inputs
    stack: ImageStack | None


@dataclass(frozen=True)
class BufferOpened:
    """An output exists; the worker fills `buffer` once `shown` is set.

    It waits a moment for that: importing torch at the same time would make adding the layer take several times as long.
    """

    buffer: OutputBuffer
    shown: threading.Event = field(default_factory=threading.Event)


def job_events(job: Job, runner: Runner, token: CancelToken) -> Iterator[Any]:
    """Yield `Planned`, then one `BufferOpened` per output, then every event that carries no voxels.

    Voxels go straight into the buffers, so nothing large waits for the main thread.
    """
    try:
        plan, inputs = job.prepared()
        token.check()
    except Cancelled:
        yield Finished({}, partial=True)
        return
    stack = main_input(plan, inputs)
    yield Planned(plan, inputs, stack)
    buffers: dict[str, OutputBuffer] = {}
    record, last = Record(plan), 0.0
    events = runner(plan, inputs, token)
    try:
        for event in events:
            if isinstance(event, OutputOpened):
                buffers[event.output] = buffer_for(job, plan, event.spec, stack.grid if stack else None)
                opened = BufferOpened(buffers[event.output])
                yield opened
                opened.shown.wait(PATIENCE_S)
            elif isinstance(event, BlockReady | PreviewReady):
                buffers[event.output].write(event)
            elif isinstance(event, Progress) and event.done < event.total and time.monotonic() - last < PROGRESS_INTERVAL_S:
                continue
            else:
                if isinstance(event, Progress):
                    last = time.monotonic()
                elif isinstance(event, Decided):
                    record.decide(event.params)
                elif isinstance(event, Finished):
                    for buffer in buffers.values():
                        buffer.end(event.provenance, event.partial)
                yield event
    finally:
        if hasattr(events, "close"):
            events.close()
        for buffer in buffers.values():  # of a run that did not get to its end
            with suppress(ReconError, OSError):
                buffer.end(record.finish(partial=True), partial=True)


def main_input(plan: Plan, inputs: Inputs) -> ImageStack | None:
    """Return the stack that feeds the first input."""
    things = inputs.get(plan.inputs[0].name, ()) if plan.inputs else ()
    return things[0] if things and isinstance(things[0], ImageStack) else None


def source_layers(inputs: Inputs) -> dict[str, list[dict[str, str]]]:
    """Return id and name of the layers behind each input, so that "Run again" finds them."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, things in inputs.items():
        stacks = [t for t in things if isinstance(t, ImageStack) and "layer_id" in t.metadata]
        if stacks:
            found[name] = [{"id": s.metadata["layer_id"], "name": s.metadata["layer"]} for s in stacks]
    return found


def job_title(layer_name: str, engine_title: str, box: Box | None = None, preview: bool = False) -> str:
    """Return a layer name such as ``"cells · Richardson-Lucy · y 30-100 x 50-120"``."""
    region = " ".join(f"{a.lower()} {lo}-{hi}" for a, (lo, hi) in box.items()) if box is not None else ""
    return " · ".join(part for part in (layer_name, engine_title, region, "preview" if preview else "") if part)


def smaller_tiles(job: Job, plan: Plan, inputs: Inputs) -> tuple[Job, int] | None:
    """Return the job with half the tile size, and that size; None when there is nothing left to halve."""
    if "tile_size" not in plan.params:
        return None
    now = plan.params["tile_size"] or max(plan.resources.tile.values(), default=0)
    size = int(now) // 2
    if size < 1:
        return None

    def planned() -> tuple[Plan, Inputs]:
        from napari_recon.engines import registry

        params = {**plan.params, "tile_size": size}
        return registry.get(plan.engine).plan(plan.inputs, params, plan.selection, plan.model, plan.compute), inputs

    return replace(job, plan=planned, inputs=inputs, outline=lambda: planned()[0]), size
