"""tomography.sirt: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import param
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection
from napari_recon.core.token import CancelToken
from napari_recon.engines.tomography.angles import SUFFIXES
from napari_recon.engines.tomography.params import (
    TomographyParams,
    check_pixels,
    resolved_angles,
    size_zyx,
    volume_grid,
)

if TYPE_CHECKING:
    from napari_recon.engines.tomography.run import SirtRun

PROJECTIONS = InputSpec(name="views", axes="VYX", description="the projections, one page per angle")
ANGLES = InputSpec(
    name="angles", required=False, accepts=("table", "file"), suffixes=SUFFIXES, description="one angle per projection"
)
MOST_ITERATIONS = 100
#: Slices that are solved together: enough for full speed, few enough to show results early.
SLICES = 64


class SirtParams(TomographyParams):
    """Parameters of `tomography.sirt`."""

    method: Literal["subsets", "sirt", "sart", "fbp"] = param(
        "subsets",
        "subsets: some views at a time (fast and calm); sirt: all at once; sart: one at a time; fbp: filtered back "
        "projection, no iterations.",
    )
    iterations: Annotated[int, Field(ge=1, le=2000)] | Literal["auto"] = param(
        "auto", "Passes over all views, or auto: until what is left is noise, or stands still."
    )
    nonnegative: bool | Literal["auto"] = param(
        "auto", "Keep values at or above zero; auto looks whether densities have a sign."
    )
    relaxation: Annotated[float, Field(gt=0, lt=2)] | Literal["auto"] = param(
        "auto", "Part of the correction that an update takes; auto depends on the method.", advanced=True
    )
    slices: int = param(
        0, "Slices across the axis that are solved together; 0 chooses. It does not change the result.", ge=0, advanced=True
    )


class Sirt(FrameEngine[SirtParams]):
    """Reconstructs slices across the axis of rotation, each by itself, many at a time."""

    Params = SirtParams
    info = EngineInfo(
        name="tomography.sirt",
        kind="reconstruct",
        title="SIRT (tomography)",
        summary="Volume from projections at known angles by simultaneous iterations or filtered back projection",
        inputs=(PROJECTIONS, ANGLES),
        outputs=(
            OutputInfo(name="volume", axes="ZYX", description="the estimate, voxels as large as pixels"),
            OutputInfo(name="report", kind="report", description="iterations, reduced deviance, axis"),
        ),
        halo="none along the axis of rotation; all of a slice across it",
        roi_tolerance=1e-5,
        references=("10.1016/0022-5193(72)90180-4", "10.1016/0161-7346(84)90008-7"),
    )
    _run: SirtRun | None = None

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; angles are read from their file."""
        values, by_name = self.checked(refs, params, model)
        views = self.checked_grid(PROJECTIONS, by_name["views"][0])
        check_pixels(values, views)
        found = values.model_copy(update={"angles": resolved_angles(values.angles, by_name, views)})
        if found.signal == "auto":
            found = found.model_copy(update={"signal": "density"})
        return super().plan(refs, found.model_dump(), selection, model, compute)

    def outputs_of(self, refs: Refs, params: SirtParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        views = refs["views"][0].grid
        assert views is not None  # checked
        return (OutputSpec(name="volume", grid=volume_grid(params, views)),)

    def resources(
        self,
        refs: Refs,
        params: SirtParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        views = refs["views"][0].grid
        assert views is not None
        planes, height, width = size_zyx(params, views)
        across = width if params.axis == "y" else height
        count, wanted = views.size("V"), _along(params, box)
        slices = min(params.slices or SLICES, wanted[1] - wanted[0])
        weights = min(32 * count * planes * across, 3 << 29)
        each = 4 * (3 * planes * across + 3 * count * across)
        while slices > 1 and not params.slices and weights + each * slices > compute.memory_bytes:
            slices //= 2
        steps = 20 if params.iterations == "auto" else params.iterations
        steps = 1 if params.method == "fbp" else steps
        tiles = -(-(wanted[1] - wanted[0]) // slices)
        return Resources(
            tile={params.axis: slices},
            tiles=tiles,
            memory_bytes=weights + each * slices + 12 * count * height * width + 2**26,
            work=4.0 * count * planes * across * (wanted[1] - wanted[0]) * (steps + 1),
        )

    def prepared(self, plan: Plan) -> Sirt:
        """Return a copy that keeps what the first frame decided."""
        if self._run is not None:
            return self
        from napari_recon.engines.tomography.run import SirtRun

        worker = copy.copy(self)
        worker._run = SirtRun(plan, self.params_of(plan))
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Decide what is automatic on the recording's first frame, also when it is not among the selected ones."""
        worker = self.prepared(plan)
        assert worker._run is not None
        if plan.starts_later and worker._run.undecided:
            angles = self._read(ANGLES, inputs.get("angles", ()), {})
            first = {"views": self._read(PROJECTIONS, inputs["views"], {"T": 0, "C": 0}), "angles": angles}
            yield from worker._run.decide(first, token)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        run = self.prepared(plan)._run
        assert run is not None  # prepared sets it
        yield from run.frame(frame, token)


def _along(params: SirtParams, box: Box) -> tuple[int, int]:
    """Return the slices of a box."""
    return dict(box.items())[params.axis.upper()]
