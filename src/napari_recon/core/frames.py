"""FrameEngine: the base of engines that treat one frame at a time; time and channels are looped over here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine, Inputs, InputSpec, Session
from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Event, PreviewReady, Progress
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.core.token import CancelToken

P = TypeVar("P", bound=EngineParams)
Refs = Mapping[str, Sequence[InputRef]]
Frame = Mapping[str, Any]
"""Input name -> float32 array in the declared axes (a list of them for `many` inputs, None when absent)."""


class FrameEngine(Engine[P]):
    """An engine whose result at one time and channel depends on that frame alone.

    Subclasses implement `outputs_of`, `resources` and `process_frame`; the first declared input is the main one, whose
    T and C axes (when the declaration lacks them) are looped over, outermost. Other inputs are indexed along when they
    have the same axis, and are static otherwise.
    """

    @abstractmethod
    def outputs_of(self, refs: Refs, params: P, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """Return the outputs of one frame on the whole field, in frame axes (no T, no C)."""

    @abstractmethod
    def resources(
        self, refs: Refs, params: P, model: ModelRef | None, box: Box, outputs: tuple[OutputSpec, ...], compute: Compute
    ) -> Resources:
        """Return tiles, memory, work and further resolved values for one frame of `box` (voxels of the first output)."""

    @abstractmethod
    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the events of one frame; slices count from the corner of the selected box, without looped axes.

        `Progress` counts within this frame. `index` is the number of the frame in the run, from 0.
        """

    def default_axes(self, spec: InputSpec, ref: InputRef) -> Grid:
        """Return the reference's grid after checking that it has the declared axes (plus T and C at most)."""
        if ref.grid is None:
            raise InputError(
                f"{spec.name} should be an image with axes {spec.axes}, found {ref.uri or 'no image'}; choose another file"
            )
        extra = set(ref.grid.axes) - set(spec.axes) - set("TC")
        missing = set(spec.axes) - set(ref.grid.axes)
        if extra or missing:
            raise InputError(
                f"{spec.name} should have axes {spec.axes} (with T or C in front when there are several), found "
                f"{ref.grid.axes} with shape {ref.grid.shape}; name the axes (--axes) or choose other data"
            )
        return ref.grid

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`."""
        values, by_name = self.checked(refs, params, model)
        for spec in self.info.inputs:
            if spec.axes:
                for ref in by_name[spec.name]:
                    self.default_axes(spec, ref)
        main_spec = self.info.inputs[0]
        main = by_name[main_spec.name][0].grid
        assert main is not None  # checked by default_axes
        compute = compute.resolved()
        looped = "".join(a for a in main.axes if a in "TC" and a not in main_spec.axes)
        time = _resolved_time(selection.time, main, looped)
        whole = self.outputs_of(by_name, values, model)
        box = selection.box_on(whole[0].grid, main)
        resources = self.resources(by_name, values, model, box, whole, compute)
        outer = main.only(looped)
        if time is not None:
            outer = outer.cropped({"T": (time.start, time.stop)})
        outputs = tuple(
            spec.model_copy(update={"grid": outer.joined(spec.grid.cropped(_bounds_on(box, whole[0].grid, spec.grid)))})
            for spec in whole
        )
        return self.planned(
            params=values.model_dump(mode="json"),
            inputs=tuple(ref for group in by_name.values() for ref in group),
            model=model,
            selection=Selection(box=box, time=time),
            outputs=outputs,
            whole={spec.name: spec.grid for spec in whole},
            looped=looped,
            compute=compute,
            resources=resources,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Loop `process_frame` over the selected frames and channels, outermost first."""
        start = plan.selection.time.start if plan.selection.time else 0
        extents = [plan.outputs[0].grid.size(axis) for axis in plan.looped]
        for number, place in enumerate(np.ndindex(*extents)):
            token.check()
            index = {a: i + (start if a == "T" else 0) for a, i in zip(plan.looped, place, strict=True)}
            frame = {spec.name: self._read(spec, inputs.get(spec.name, ()), index) for spec in self.info.inputs}
            for event in self.process_frame(plan, frame, number, token):
                yield _placed(event, tuple(slice(i, i + 1) for i in place), number, plan.frames)

    def open(self, plan: Plan, inputs: Inputs) -> Session:
        """Return a live session (InputError when the engine is not declared live)."""
        if not self.info.live:
            return super().open(plan, inputs)
        from napari_recon.core.live import FrameSession  # live imports this module

        return FrameSession(self, plan, inputs)

    def _read(self, spec: InputSpec, things: Sequence[Any], index: Mapping[str, int]) -> Any:
        frames = [read_frame(thing, spec, index) if isinstance(thing, ImageStack) else thing for thing in things]
        return frames if spec.many else (frames[0] if frames else None)


def read_frame(stack: ImageStack, spec: InputSpec, index: Mapping[str, int]) -> NDArray[np.float32]:
    """Return one frame of `stack` as float32 in the declared axes, its content checked."""
    looped = {a.lower(): i for a, i in index.items() if a in stack.grid.axes and a not in spec.axes}
    looped |= {a.lower(): 0 for a in stack.grid.axes if a not in spec.axes and a.lower() not in looped}
    where = "".join(f" at {a}={i}" for a, i in looped.items() if stack.grid.size(a.upper()) > 1)
    return check_content(stack.read(spec.axes, **looped), f"{stack.name}{where}")


def _resolved_time(time: TimeRange | None, main: Grid, looped: str) -> TimeRange | None:
    if "T" in looped:
        return (time or TimeRange(start=0, stop=main.size("T"))).resolved(main.size("T"))
    if time is not None and "T" not in main.axes and (time.start, time.stop) != (0, 1):
        raise InputError(
            f"a time range {time} was asked of data with axes {main.axes}, which is a single frame; leave it out, "
            "or name the time axis (--axes TVYX)"
        )
    return None


def _bounds_on(box: Box, reference: Grid, grid: Grid) -> dict[str, tuple[int, int]]:
    """Return the box as bounds on another output's grid (outputs may differ in sampling)."""
    same = reference.only(reference.axes) == grid
    return dict((box if same else box.mapped(reference, grid).clipped(grid)).items())


def _placed(event: Event, outer: tuple[slice, ...], number: int, frames: int) -> Event:
    if isinstance(event, BlockReady | PreviewReady) and outer:
        array = event.array[(None,) * len(outer)]
        return replace(event, slices=outer + event.slices, array=array)
    if isinstance(event, Progress) and frames > 1:
        note = f"frame {number + 1}/{frames}" + (f", {event.message}" if event.message else "")
        return replace(event, done=number * event.total + event.done, total=frames * event.total, message=note)
    return event
