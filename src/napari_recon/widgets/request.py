"""What a dock asks for, frozen: plans and estimates are made from it in a worker, without touching a widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Inputs
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.viewer.job import Job


@dataclass(frozen=True)
class Estimate:
    """What is known before a run.

    Attributes
    ----------
    plans : tuple of Plan
        One per box.
    seconds : float or None
        For all of them, None when nothing was measured yet.
    unfit : dict
        Model id -> why it does not fit these data.
    """

    plans: tuple[Plan, ...]
    seconds: float | None
    unfit: Mapping[str, str] = field(default_factory=dict)

    @property
    def memory_bytes(self) -> int:
        """The largest working set."""
        from napari_recon.jobs.estimates import expected_memory

        return max(expected_memory(plan) for plan in self.plans)

    @property
    def limit_bytes(self) -> int:
        """What the plans may use."""
        return self.plans[0].compute.memory_bytes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every plan's warnings, once each."""
        return tuple(dict.fromkeys(w for plan in self.plans for w in plan.resources.warnings))


@dataclass(frozen=True)
class Request:
    """Engine, inputs, settings and region as they stand.

    Attributes
    ----------
    inputs : mapping
        Input name -> `ImageStack` objects or paths.
    boxes : tuple of Box
        One job each, in voxels of the main input; z counts output planes when the input has no Z.
    arranged : Grid, optional
        The main input's grid where the engine sees its pages along other axes, or what a model holds.
    """

    engine: str
    inputs: Mapping[str, tuple[Any, ...]]
    params: Mapping[str, Any]
    boxes: tuple[Box, ...] = (Box(),)
    time: TimeRange | None = None
    model: ModelRef | None = None
    compute: Compute = field(default_factory=Compute)
    arranged: Grid | None = None

    @property
    def source(self) -> Grid:
        """The main input's grid, as the engine arranges it."""
        if self.arranged is not None:
            return self.arranged
        first: ImageStack = next(iter(self.inputs.values()))[0]
        return first.grid

    def plan(self, box: Box) -> tuple[Plan, Inputs]:
        """Return the plan of one box, with fingerprints, and the opened inputs."""
        from napari_recon.jobs.planning import make_plan

        return make_plan(self.engine, self.inputs, self.params, self.selection(box), self.model, self.compute)

    def outline(self, box: Box) -> Plan:
        """Return the plan of one box from headers alone, without fingerprints."""
        return self._planned(self.selection(box))

    def job(self, box: Box, title: str, layers: tuple[Any, ...], preview: bool = False) -> Job:
        """Return the job of one box, whose result lies on the first of `layers`."""
        return Job(partial(self.plan, box), {}, title, layers, preview, partial(self.outline, box))

    def estimate(self, models: Sequence[ModelRef] = ()) -> Estimate:
        """Return plans (from headers alone), time if known, and which of `models` do not fit."""
        from napari_recon.jobs.estimates import estimate

        try:
            plans = tuple(self._planned(self.selection(box)) for box in self.boxes)
        except InputError:
            unfit = {ref.id: reason for ref in models if (reason := self._reason(ref))}
            if self.model is None or len(unfit) == len(models):
                raise
            raise Unfit(unfit[self.model.id] if self.model.id in unfit else "the settings do not fit", unfit) from None
        seconds = [estimate(plan) for plan in plans]
        total = None if None in seconds else sum(s for s in seconds if s is not None)
        return Estimate(plans, total, {ref.id: reason for ref in models if (reason := self._reason(ref))})

    def preview(self, frame: int, size: int, params: Mapping[str, Any]) -> Request:
        """Return the same for one frame, the first box's centre (at most `size` voxels wide) and lighter `params`."""
        box, source = self.boxes[0], self.source
        centre = {}
        for axis in "YX":
            low, high = box.bounds(axis, source.size(axis))
            if high - low > size:
                low += (high - low - size) // 2
                high = low + size
            centre[axis.lower()] = (low, high)
        time = TimeRange(start=frame, stop=frame + 1) if "T" in source.axes else None
        small = box.model_copy(update=centre)
        return replace(self, boxes=(small,), time=time, params={**self.params, **params})

    def selection(self, box: Box) -> Selection:
        """Return the selection of `box`."""
        boxed = any(True for _ in box.items())
        return Selection(box=box, space="input", time=self.time) if boxed else Selection(time=self.time)

    def _planned(self, selection: Selection, model: ModelRef | None = None) -> Plan:
        refs = [
            InputRef(
                name=name,
                uri=thing.uri,
                grid=thing.grid,
                dtype=str(thing.dtype),
                label=thing.name,
                optics=thing.metadata.get("optics", {}),
            )
            if isinstance(thing, ImageStack)
            else _opened_ref(self.engine, name, thing)
            for name, things in self.inputs.items()
            for thing in things
        ]
        return registry.get(self.engine).plan(refs, self.params, selection, model or self.model, self.compute)

    def _reason(self, model: ModelRef) -> str:
        try:
            self._planned(Selection(), model)
        except InputError as error:
            return str(error)
        return ""


class Unfit(InputError):
    """The chosen model does not fit, others do; `unfit` says which do not and why."""

    def __init__(self, sentence: str, unfit: Mapping[str, str]) -> None:
        super().__init__(sentence)
        self.unfit = unfit


def _opened_ref(engine: str, name: str, path: Any) -> InputRef:
    from napari_recon.jobs.planning import input_ref, open_input

    return input_ref(name, open_input(registry.get(engine).info.input(name), path)[0], str(path))
