"""The published network fitted to projections: its layout and files, steps on slices across the axis of rotation.

Of these modalities only queries are published, so schedule and objective are those of light fields without their coarse
stage; the projection is that of a parallel beam.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.events import Event
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.field import PostProcessor
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.fit_run import Volume
from napari_recon.engines.lightfield_inr.tomography.prepared import Projections
from napari_recon.engines.lightfield_inr.upstream.fit import Draw, Fitter, Scene, StepDone
from napari_recon.engines.lightfield_inr.upstream.losses import objective
from napari_recon.engines.lightfield_inr.upstream.run import UpstreamRun
from napari_recon.engines.lightfield_inr.upstream.settings import trained_with
from napari_recon.engines.lightfield_inr.upstream.stage import Targets
from napari_recon.optics.parallel_beam import ParallelBeam

#: Points that a step evaluates at most, but for the three slices that second differences need.
STEP_POINTS = 1 << 16
FEWEST = 3


@dataclass(frozen=True, eq=False)
class BeamScene(Scene):
    """One stack of projections and its beam; `slabs` holds beams for some slices, by their number."""

    beam: ParallelBeam | None = None
    slabs: dict[int, ParallelBeam] = field(default_factory=dict)

    def slab(self, count: int) -> ParallelBeam:
        """Return the beam through some slices."""
        assert self.beam is not None
        return self.slabs.setdefault(count, self.beam.of_slices(count))


class Beamed(torch.autograd.Function):
    """The beam's projection, its transpose as gradient."""

    @staticmethod
    def forward(context: Any, volume: Tensor, beam: ParallelBeam) -> Tensor:
        """Return the views (v, y, x) of a volume (z, y, x)."""
        context.beam = beam
        return beam.forward(volume)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient for the volume."""
        return context.beam.adjoint(gradient.contiguous()), None


class BeamFitter(Fitter):
    """`Fitter` whose steps look at slices across the axis of rotation."""

    def first_scene(
        self, scene: Scene, start: int = 0, draw: Draw | None = None, begun: int | None = None
    ) -> Iterator[StepDone]:
        """Yield the steps of projections fitted by themselves."""
        shape = trained_with(self._post, start if begun is None else begun)
        for step in range(start + 1, self.settings.steps + 1):
            yield self._on_slices(step, scene, shape)

    def next_scene(self, scene: Scene, start: int = 0, draw: Draw | None = None) -> Iterator[StepDone]:
        """Yield the steps of projections that begin with the network of those before."""
        for step in range(start + 1, self.settings.steps_per_frame + 1):
            yield self._on_slices(step, scene, trained_with(self._post, step - 1))

    def _on_slices(self, step: int, scene: Scene, post_processor: PostProcessor) -> StepDone:
        assert isinstance(scene, BeamScene) and scene.beam is not None
        beam, views = scene.beam, scene.targets.views
        planes, height, width = beam.shape_zyx
        along_y = beam.axis == "y"
        slices, across = (height, width) if along_y else (width, height)
        count = min(slices, max(FEWEST, min(self.settings.block, STEP_POINTS // (planes * across))))
        first = int(self._rng.randint(slices - count + 1))
        part = slice(first, first + count)
        rows, columns = (part, slice(0, width)) if along_y else (slice(0, height), part)
        stage = _Lattice((planes, height, width), views.device)
        volume = self._volume(stage, rows, columns, post_processor)  # type: ignore[arg-type]
        made = Beamed.apply(volume, scene.slab(count)) / planes  # type: ignore[no-untyped-call]
        wanted = views[:, part] if along_y else views[..., part]
        loss = objective(made, wanted, volume, self.settings)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate_after(step)
        return StepDone(step, (first, first), float(loss.detach()))


class _Lattice:
    """Coordinates of a volume's axes."""

    def __init__(self, shape_zyx: tuple[int, int, int], device: torch.device) -> None:
        axes = (axis_coordinates(axis, np.arange(n), shape_zyx) for axis, n in zip("zyx", shape_zyx, strict=True))
        self.z, self.y, self.x = (axis.to(device) for axis in axes)


class BeamNetworkRun(UpstreamRun):
    """Fits of the published network to projections."""

    made = BeamFitter

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume], first: Volume, angles: Any) -> None:
        device = torch.device("cpu" if plan.compute.device == "mps" else plan.compute.device)
        self._projections = Projections(plan, params, first, angles, device)
        super().__init__(plan, params, frames, None)

    def events(self, token: CancelToken) -> Iterator[Event]:
        """See `UpstreamRun.events`."""
        yield from self._projections.decide(token)
        self._data = f"{self._data} {self._projections.geometry()}"
        yield from super().events(token)

    def _views(self, frame: int) -> Tensor:
        return self._projections.lines(self._frames[frame]).values

    def _scene(self, views: Tensor) -> Scene:
        return BeamScene(Targets(views, views.new_zeros(0)), beam=self._projections.beam())
