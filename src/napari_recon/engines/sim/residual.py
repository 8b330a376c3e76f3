"""sim.residual: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.layout import RAW, arranged
from napari_recon.engines.sim.params import OpticsParams, check_calibration, check_transfer, resolved_optics
from napari_recon.engines.sim.samples import samples
from napari_recon.engines.sim.wiener import SimWiener

if TYPE_CHECKING:
    from napari_recon.engines.sim.classical.residual_run import ResidualRun

LEAST = 32  # raw pixels across


class SimResidualParams(OpticsParams):
    """Parameters of `sim.residual`."""

    calibration: str = param(
        "auto", "The calibration file of the reconstruction, or auto: find the pattern.", file=(".json",)
    )
    camera_offset: Annotated[float, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Level of the camera in the dark; auto takes the darkest places.", unit="counts"
    )
    background_um: float = param(
        1.2,
        "Light without a pattern that varies more slowly is out of focus and may be missing in the result; 0 allows none.",
        unit="um",
        ge=0,
        le=20,
    )
    model_error: float = param(
        0.03,
        "How far prediction and measurement may differ besides noise, as a share of the local brightness.",
        ge=0,
        le=0.5,
        advanced=True,
    )
    frames: bool = param(False, "Also give the residual of every raw frame.")


class SimResidual(FrameEngine[SimResidualParams]):
    """Images a reconstruction again through the calibrated microscope and compares it with the raw frames."""

    Params = SimResidualParams
    info = EngineInfo(
        name="sim.residual",
        kind="reconstruct",
        title="SIM residual",
        summary="Shows where a super-resolved image, classical or of a network, is not what the raw frames say",
        inputs=(
            RAW,
            InputSpec(
                name="reconstruction",
                axes="YX",
                loops="TCZ",
                description="the image to judge, of the whole field, with twice the raw frames' samples or as many",
            ),
            *(spec for spec in SimWiener.info.inputs if spec.name in ("psf", "otf")),
        ),
        outputs=(
            OutputInfo(name="residual", axes="YX", description="measured minus predicted, rms over the raw frames, counts"),
            OutputInfo(
                name="significance",
                axes="YX",
                description="in standard deviations: below -5 light that was not measured, above 5 light that is missing",
            ),
            OutputInfo(name="frames", axes="NYX", description="measured minus predicted of every raw frame, on request"),
            OutputInfo(name="agreement", kind="report", description="how well the image explains the raw frames"),
        ),
        halo="the whole field: pattern, noise and the image's transfer are fitted on all of it",
        roi_tolerance=1e-6,
    )
    _run: ResidualRun | None = None

    def arranged(self, spec: InputSpec, grid: Grid, params: SimResidualParams) -> Arrangement | None:
        """See `FrameEngine.arranged`."""
        return arranged(grid, params.layout, params.frame_order) if spec.name == "raw" else None

    def outputs_of(self, refs: Refs, params: SimResidualParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where optics, sizes and a calibration file are checked."""
        raw, image = refs["raw"][0].grid, refs["reconstruction"][0].grid
        assert raw is not None and image is not None  # checked by the base class
        check_transfer(refs)
        given = Calibration.given(params.calibration)
        for channel in range(raw.size("C")):
            resolved_optics(params, refs["raw"][0], channel, given)
        _check_sizes(raw, image)
        if given is not None:
            check_calibration(given, params, raw)
        field = raw.only("YX")
        found = [OutputSpec(name="residual", grid=field), OutputSpec(name="significance", grid=field)]
        if params.frames:
            found.append(OutputSpec(name="frames", grid=raw.only("NYX")))
        return tuple(found)

    def resources(
        self,
        refs: Refs,
        params: SimResidualParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = refs["raw"][0].grid
        assert grid is not None
        pixels, frames = grid.size("Y") * grid.size("X"), params.layout.frames
        return Resources(memory_bytes=pixels * 4 * (12 * frames + 60) + 2**26, work=pixels * (1200.0 + 400.0 * frames))

    def prepared(self, plan: Plan) -> SimResidual:
        """Return a copy that keeps the calibration from frame to frame."""
        if self._run is not None:
            return self
        from napari_recon.engines.sim.classical.residual_run import ResidualRun

        worker = copy.copy(self)
        worker._run = ResidualRun(plan, self.params_of(plan))
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Calibrate on the whole series, whichever part of it is asked for."""
        worker = self.prepared(plan)
        assert worker._run is not None  # prepared sets it
        series = self._arranged_inputs(plan, inputs)["raw"][0]
        worker._run.samples = lambda channel: samples(series, self.info.inputs[0], channel)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        run = self._run or self.prepared(plan)._run
        assert run is not None
        yield from run.frame(frame, index, token)


def _check_sizes(raw: Grid, image: Grid) -> None:
    shape, found = (raw.size("Y"), raw.size("X")), (image.size("Y"), image.size("X"))
    if found not in (shape, (2 * shape[0], 2 * shape[1])):
        raise InputError(
            f"the reconstruction should have {2 * shape[0]} x {2 * shape[1]} pixels (or {shape[0]} x {shape[1]}), as raw "
            f"frames of {shape[0]} x {shape[1]} give, found {found[0]} x {found[1]}; reconstruct the whole field"
        )
    if min(shape) < LEAST:
        raise InputError(
            f"raw frames should have at least {LEAST} x {LEAST} pixels, found {shape[0]} x {shape[1]}; "
            "choose a larger region"
        )
