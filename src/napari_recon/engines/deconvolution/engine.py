"""deconvolution.lightfield_rl: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.setup import Setup, setup_of
from napari_recon.engines.light_field_optics import OPTICS_FILES

if TYPE_CHECKING:
    from napari_recon.engines.deconvolution.pipeline import LightFieldRun


class LightFieldRLParams(EngineParams):
    """Parameters of `deconvolution.lightfield_rl`."""

    psf_shift: str = param(
        "geometric-13",
        "Where each view sees each depth: the id of a microscope (geometric-13, geometric-15), a psf_shift file, or a PSF "
        "file, whose centres of mass are taken (the input psf takes all of it).",
        file=OPTICS_FILES,
    )
    psf_sigma: float = param(
        2.0,
        "Blur of the imaging; slightly too much is safer than too little. Unused with a psf input.",
        unit="fine pixel",
        ge=0.0,
        le=30.0,
    )
    iterations: Annotated[int, Field(ge=1, le=2000)] | Literal["auto"] = param(
        "auto", "Number of iterations (at least 1), or auto: stop when what is left is noise (reduced deviance 1.1)."
    )
    voxel: Literal["fine", "half", "third"] = param(
        "third",
        "Lateral grid of the solver: the fine pixel, or the light-field pixel divided by two or three; "
        "the result is always on the fine grid.",
    )
    background: Annotated[float, Field(ge=0.0)] | Literal["auto"] = param(
        "auto", "Constant part of the data that is not light from the sample; auto takes the darkest places.", unit="counts"
    )
    refine_views: bool = param(
        False, "Estimate one displacement per view together with the volume, for aberrated or misaligned views."
    )
    start: Literal["flat", "refocus", "file"] = param(
        "flat",
        "First estimate: flat, the refocused light field, or the start input (for example a network's result to refine).",
    )
    damping: Annotated[float, Field(ge=0.0, le=0.9)] | Literal["auto"] = param(
        "auto",
        "Weight of an early estimate in the result (a geometric mean): calms noise and keeps solid objects filled; "
        "auto takes 0 with a fixed number of iterations, else what the noise of the data allows, 0.45 at most.",
        advanced=True,
    )
    update: Literal["accelerated", "plain", "subsets"] = param(
        "accelerated",
        "How an estimate becomes the next: accelerated (extrapolated), plain, or subsets, which uses some of the views at a "
        "time (quickest first estimate; needs a psf input sampled at the views' own pixels).",
        advanced=True,
    )
    tv: float = param(
        0.0,
        "Strength of total-variation smoothing: flattens noise and keeps edges; 0.002 to 0.02 are usual, 0 is none.",
        ge=0.0,
        le=0.15,
        advanced=True,
    )
    planes: int = param(0, "Centre planes kept, an odd number; 0 keeps all.", unit="plane", ge=0)


class LightFieldRL(FrameEngine[LightFieldRLParams]):
    """Accelerated Richardson-Lucy deconvolution of a light field; needs physics and no weights."""

    Params = LightFieldRLParams
    info = EngineInfo(
        name="deconvolution.lightfield_rl",
        kind="reconstruct",
        title="Richardson-Lucy (light field)",
        summary="Volume from a light field by deconvolution with its physics; needs no model",
        inputs=(
            InputSpec(name="views", axes="VYX", description="the light field, one page per view"),
            InputSpec(
                name="psf",
                axes="VZYX",
                required=False,
                accepts=("psf",),
                description="measured or computed PSF per view and plane, sampled in fine pixels",
            ),
            InputSpec(
                name="start",
                axes="ZYX",
                required=False,
                description="a volume of the whole field on the fine grid to start from",
            ),
        ),
        outputs=(
            OutputInfo(name="volume", axes="ZYX", description="the estimate, on the fine grid"),
            OutputInfo(name="views", kind="table", description="refined displacement of each view, in fine pixels"),
            OutputInfo(name="report", kind="report", description="iterations, reduced deviance, background"),
        ),
        halo="one operator support (largest shift plus blur, 18 light-field pixels for Nnum 13); all planes are solved",
        roi_tolerance=1e-6,
        references=(
            "10.1364/JOSA.62.000055",
            "10.1086/111605",
            "10.1364/AO.36.001766",
            "10.1364/OE.21.025418",
            "10.1109/42.363108",
            "10.1002/jemt.20294",
        ),
    )
    _run: LightFieldRun | None = None

    def outputs_of(self, refs: Refs, params: LightFieldRLParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        setup = self._setup(refs, params)
        if params.update == "subsets" and (not setup.convolves or params.refine_views):
            raise InputError(
                "update=subsets needs a psf input sampled at the views' own pixels, and views that stay where they are; "
                "choose update=accelerated, or leave out refine_views"
            )
        if params.start == "file" and not refs["start"]:
            raise InputError("start=file needs the input start (a volume of the whole field); give one or choose start=flat")
        if params.start == "refocus" and refs["start"]:
            raise InputError("start should be flat or file when the input start is given, found refocus; leave one out")
        for ref in refs["start"]:
            found = ref.grid.only("ZYX").shape if ref.grid else None
            if found != setup.volume.shape:
                raise InputError(
                    f"the start volume should have shape {setup.volume.shape} (z, y, x), the whole field on the fine grid, "
                    f"found {found}; reconstruct it without a region and with the same planes"
                )
        return (OutputSpec(name="volume", grid=setup.volume),)

    def resources(
        self,
        refs: Refs,
        params: LightFieldRLParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        setup = self._setup(refs, params)
        return setup.resources(params.voxel, params.iterations, params.refine_views, box, compute.memory_bytes)

    def prepared(self, plan: Plan) -> LightFieldRL:
        """Return a copy that keeps one set of response matrices for all frames."""
        if self._run is not None:
            return self
        from napari_recon.engines.deconvolution.pipeline import LightFieldRun

        worker, params = copy.copy(self), self.params_of(plan)
        worker._run = LightFieldRun(plan, params, setup_of_plan(plan, params))
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Fix automatic iterations on the recording's first frame, also when it is not among the selected ones."""
        worker = self.prepared(plan)
        if plan.starts_later and worker._run is not None and worker._run.undecided:
            frame = {spec.name: self._read(spec, inputs.get(spec.name, ()), {"T": 0, "C": 0}) for spec in self.info.inputs}
            yield from worker._run.decide(frame, token)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        run = self.prepared(plan)._run
        assert run is not None  # prepared sets it
        yield from run.frame(frame, index, token)

    def _setup(self, refs: Refs, params: LightFieldRLParams) -> Setup:
        psf = refs["psf"][0].grid if refs["psf"] else None
        views = refs["views"][0].grid
        assert views is not None  # checked with the axes
        return setup_of(views, psf, params.psf_shift, params.planes, params.psf_sigma, params.refine_views)


def setup_of_plan(plan: Plan, params: LightFieldRLParams) -> Setup:
    """Return the set-up of a plan."""
    views, psf = plan.input("views"), plan.input("psf")
    assert views is not None and views.grid is not None
    return setup_of(
        views.grid, psf.grid if psf else None, params.psf_shift, params.planes, params.psf_sigma, params.refine_views
    )
