"""FrameEngine: the base of engines that treat one frame at a time; time and channels are looped over here."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine, Inputs, InputSpec, Session
from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Event, FrameDone, MetricLogged, PreviewReady, Progress
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams
from napari_recon.core.pieces import pieces_of
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack, check_content, check_labels
from napari_recon.core.token import CancelToken

P = TypeVar("P", bound=EngineParams)
Refs = Mapping[str, Sequence[InputRef]]
Frame = Mapping[str, Any]
"""Input name -> float32 array in the declared axes (a list of them for `many` inputs, None when absent).

Inputs with `neighbours` n have T in front, 2 n + 1 long, the frame itself in the middle. Not to be written to: what does
not change with time is read once and comes with every frame.
"""


class FrameEngine(Engine[P]):
    """An engine whose result at one time and channel depends on that frame alone.

    Subclasses implement `outputs_of`, `resources` and `process_frame`; the first declared input is the main one, whose
    axes T and C (`InputSpec.loops`) are looped over, outermost, when the declaration lacks them. Other inputs are
    indexed along when they have the same axis, and are static otherwise. An engine that declares T sees the whole
    series; a time range then crops its outputs, and `plan.selection.time` says which frames are asked for.

    An engine without inputs, such as the query of a field that a model holds, says with `main_grid` what there is to ask
    for; its frames are then empty mappings.
    """

    @abstractmethod
    def outputs_of(self, refs: Refs, params: P, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """Return the outputs of one frame on the whole field; axes that are looped over are taken out of their grids."""

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

    def prepared(self, plan: Plan) -> FrameEngine[P]:
        """Return what processes the frames of one run or session: this engine, or a copy that holds what is loaded once.

        Called again when live parameters change, so what is costly and does not depend on them is worth a cache.
        """
        return self

    def frames_apart(self, plan: Plan) -> bool:
        """See `Engine.frames_apart`; a fit may start from the frame before."""
        return plan.frames > 1 and self.info.kind != "fit"

    def main_grid(self, refs: Refs, params: P, model: ModelRef | None) -> Grid:
        """Return the grid whose T and C are looped over, and in whose voxels a region of input space is given."""
        main = self.info.inputs[0]
        return self.checked_grid(main, refs[main.name][0])

    def arranged(self, spec: InputSpec, grid: Grid, params: P) -> Arrangement | None:
        """Return how an input's pages become its declared axes, for engines whose files pack several axes into one."""
        return None

    def checked_grid(self, spec: InputSpec, ref: InputRef) -> Grid:
        """Return the reference's grid after checking that it has the declared axes (plus looped ones at most)."""
        if ref.grid is None:
            raise InputError(
                f"{spec.name} should be an image with axes {spec.axes}, found {ref.uri or 'no image'}; choose another file"
            )
        extra = set(ref.grid.axes) - set(spec.axes) - set(spec.loops)
        missing = set(spec.axes) - set(ref.grid.axes)
        if extra or missing:
            what = f"{spec.name} ({spec.description})" if spec.description else spec.name
            several = f" (with {' or '.join(spec.loops)} in front when there are several)" if spec.loops else ""
            advice = "stack one PSF per view" if "psf" in spec.accepts else "name the axes (--axes) or choose other data"
            raise InputError(
                f"{what} should have axes {spec.axes}{several}, found {ref.grid.axes} with shape {ref.grid.shape}; {advice}"
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
        given = tuple(ref for group in by_name.values() for ref in group)
        by_name = {n: [self._arranged_ref(self.info.input(n), r, values) for r in group] for n, group in by_name.items()}
        main = self.main_grid(by_name, values, model)
        main_spec = self.info.inputs[0] if self.info.inputs else InputSpec(name="field")
        looped = "".join(a for a in main.axes if a in main_spec.loops and a not in main_spec.axes)
        for spec in self.info.inputs:
            for ref in by_name[spec.name] if spec.axes else ():
                _check_series(spec, self.checked_grid(spec, ref), main, looped)
        compute = compute.resolved()
        time = _resolved_time(selection.time, main)
        whole = tuple(_of_one_frame(spec, looped) for spec in self.outputs_of(by_name, values, model))
        outer = main.only(looped)
        asked = selection.box_on(outer.joined(whole[0].grid), main)
        box = Box.of({a: b for a, b in asked.items() if a not in looped})
        resources = self.resources(by_name, values, model, box, whole, compute)
        outer = outer.cropped({a: b for a, b in asked.items() if a in looped})
        if time is not None and "T" in looped:
            outer = outer.cropped({"T": (time.start, time.stop)})
        cuts = [{**_bounds_on(box, whole[0].grid, spec.grid), **_times_on(time, main, spec.grid)} for spec in whole]
        outputs = tuple(
            spec.model_copy(update={"grid": outer.joined(spec.grid.cropped(cut))})
            for spec, cut in zip(whole, cuts, strict=True)
        )
        return self.planned(
            params=values.model_dump(mode="json"),
            inputs=given,
            model=model,
            selection=Selection(box=asked, time=time),
            outputs=outputs,
            whole={spec.name: spec.grid for spec in whole},
            looped=looped,
            compute=compute,
            resources=resources,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Loop `process_frame` over the selected frames and channels, outermost first."""
        token.check()
        worker = self.prepared(plan)
        inputs = self._arranged_inputs(plan, inputs)
        static = {spec.name: self._read(spec, inputs.get(spec.name, ()), {}) for spec in self._static(plan, inputs)}
        extents = tuple(plan.outputs[0].grid.size(axis) for axis in plan.looped)
        for number in plan.numbers:
            token.check()
            place = np.unravel_index(number, extents) if extents else ()
            index = plan.place(number)
            frame = static | {
                spec.name: self._read(spec, inputs.get(spec.name, ()), index)
                for spec in self.info.inputs
                if spec.name not in static
            }
            for event in worker.process_frame(plan, frame, number, token):
                yield _placed(event, tuple(slice(int(i), int(i) + 1) for i in place), number, plan.frames)
            yield FrameDone(number)

    def open(self, plan: Plan, inputs: Inputs) -> Session:
        """Return a live session (InputError when the engine is not declared live, or looks at neighbouring frames)."""
        if not self.info.live or self.info.inputs[0].neighbours:
            return super().open(plan, inputs)
        from napari_recon.core.live import FrameSession  # live imports this module

        return FrameSession(self, plan, inputs)

    def _arranged_ref(self, spec: InputSpec, ref: InputRef, params: P) -> InputRef:
        found = self.arranged(spec, ref.grid, params) if ref.grid is not None else None
        return ref if found is None else ref.model_copy(update={"grid": found.grid})

    def _arranged_inputs(self, plan: Plan, inputs: Inputs) -> Inputs:
        params = self.params_of(plan)
        return {
            name: [self.arrange(self.info.input(name), thing, params) for thing in things] for name, things in inputs.items()
        }

    def arrange(self, spec: InputSpec, thing: Any, params: P) -> Any:
        """Return a stack with the declared axes (see `arranged`), anything else as it is."""
        found = self.arranged(spec, thing.grid, params) if isinstance(thing, ImageStack) else None
        return thing if found is None else found.of(thing)

    def _static(self, plan: Plan, inputs: Inputs) -> Iterator[InputSpec]:
        """Yield the inputs besides the main one that are the same for every frame."""
        for spec in self.info.inputs[1:]:
            stacks = [thing for thing in inputs.get(spec.name, ()) if isinstance(thing, ImageStack)]
            if not any(s.grid.size(a) > 1 for s in stacks for a in plan.looped if a not in spec.axes):
                yield spec

    def _read(self, spec: InputSpec, things: Sequence[Any], index: Mapping[str, int]) -> Any:
        main = spec == self.info.inputs[0]
        read = pieces_of if spec.lazy else partial(read_frame, may_be_constant=not main)
        frames = [read(t, spec, index) if isinstance(t, ImageStack) else t for t in things]
        return frames if spec.many else (frames[0] if frames else None)


def read_frame(stack: ImageStack, spec: InputSpec, index: Mapping[str, int], may_be_constant: bool = False) -> NDArray[Any]:
    """Return one frame of `stack` in the declared axes, its content checked.

    Parameters
    ----------
    stack : ImageStack
    spec : InputSpec
    index : mapping
        Axis letter -> index, of looped axes; those the stack lacks, or has once, do not matter.
    may_be_constant : bool
        See `check_content`.

    Returns
    -------
    numpy.ndarray
        float32, int32 for labels; with `neighbours` n, 2 n + 1 frames along a new first axis.
    """
    last = stack.grid.size("T") - 1
    if spec.neighbours and "T" not in spec.axes:
        alone = spec.model_copy(update={"neighbours": 0})
        times = [index.get("T", 0) + n for n in range(-spec.neighbours, spec.neighbours + 1)]
        near = [{**index, "T": min(max(t, 0), last)} for t in times]
        return np.stack([read_frame(stack, alone, each, may_be_constant) for each in near])
    looped = {a: index.get(a, 0) if stack.grid.size(a) > 1 else 0 for a in stack.grid.axes if a not in spec.axes}
    where = "".join(f" at {a.lower()}={i}" for a, i in looped.items() if stack.grid.size(a) > 1)
    array = stack.read(spec.axes, **{a.lower(): i for a, i in looped.items()})
    if spec.accepts == ("labels",):
        return check_labels(array, f"{stack.name}{where}")
    return check_content(array, f"{stack.name}{where}", may_be_constant)


def _of_one_frame(spec: OutputSpec, looped: str) -> OutputSpec:
    kept = "".join(a for a in spec.grid.axes if a not in looped)
    return spec.model_copy(update={"grid": spec.grid.only(kept)})


def _check_series(spec: InputSpec, grid: Grid, main: Grid, looped: str) -> None:
    for axis in looped:
        if axis in grid.axes and axis not in spec.axes and grid.size(axis) not in (1, main.size(axis)):
            raise InputError(
                f"{spec.name} should have one frame, or as many along {axis} as the main input ({main.size(axis)}), "
                f"found {grid.size(axis)}; crop one of them"
            )


def _resolved_time(time: TimeRange | None, main: Grid) -> TimeRange | None:
    if "T" in main.axes:
        return (time or TimeRange(start=0, stop=main.size("T"))).resolved(main.size("T"))
    if time is not None and (time.start, time.stop) != (0, 1):
        raise InputError(
            f"a time range {time} was asked of data with axes {main.axes}, which is a single frame; leave it out, "
            "or name the time axis (--axes TVYX)"
        )
    return None


def _bounds_on(box: Box, reference: Grid, grid: Grid) -> dict[str, tuple[int, int]]:
    """Return the box as bounds on another output's grid (outputs may differ in sampling)."""
    same = reference.only(reference.axes) == grid
    return dict((box if same else box.mapped(reference, grid).clipped(grid)).items())


def _times_on(time: TimeRange | None, main: Grid, grid: Grid) -> dict[str, tuple[int, int]]:
    """Return the bounds along an output's own T, whose steps may differ from the input's: first to last asked frame."""
    if time is None or "T" not in grid.axes:
        return {}
    first, last = (grid.to_index("T", main.to_world("T", t)) for t in (time.start, time.stop - 1))
    return {"T": (max(0, math.ceil(first - 1e-3)), min(grid.size("T"), math.floor(last + 1e-3) + 1))}


def _placed(event: Event, outer: tuple[slice, ...], number: int, frames: int) -> Event:
    if isinstance(event, BlockReady | PreviewReady) and outer:
        array = event.array[(None,) * len(outer)]
        return replace(event, slices=outer + event.slices, array=array)
    if isinstance(event, Progress) and frames > 1:
        note = f"frame {number + 1}/{frames}" + (f", {event.message}" if event.message else "")
        return replace(event, done=number * event.total + event.done, total=frames * event.total, message=note)
    if isinstance(event, MetricLogged) and frames > 1:
        return replace(event, series=f"frame {number + 1}" + (f", {event.series}" if event.series else ""))
    return event
