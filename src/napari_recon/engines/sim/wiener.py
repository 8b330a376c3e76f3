"""sim.wiener: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo, Session
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

if TYPE_CHECKING:
    from napari_recon.engines.sim.classical.run import WienerRun


class SimWienerParams(OpticsParams):
    """Parameters of `sim.wiener`."""

    wiener: Annotated[float, Field(gt=0, le=10)] | Literal["auto"] = param(
        "auto",
        "Regularisation: noise over signal of one band, squared in the denominator; auto takes the value of least expected "
        "error, from the noise beyond the cut-off.",
        live=True,
    )
    apodisation: Literal["otf", "triangle", "cosine", "none"] = param(
        "otf", "Transfer of the result: as a wide field of its resolution, a straight line, a cosine, or none.", live=True
    )
    attenuation_strength: float = param(
        0.0,
        "How much of each band's centre is taken away, against out-of-focus light and honeycomb patterns.",
        ge=0.0,
        le=1.0,
        live=True,
    )
    attenuation_fwhm: float = param(
        1.2, "Width of what attenuation takes away.", unit="cycles/um", gt=0.0, le=20.0, live=True
    )
    camera_offset: Annotated[float, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Level of the camera in the dark; auto takes the darkest places.", unit="counts"
    )
    calibration: str = param("auto", "A calibration file of an earlier run, or auto: find the pattern.", file=(".json",))
    calibrate_on: Literal["auto", "average", "first", "each"] = param(
        "auto",
        "What of a series the pattern is found on: the average of up to 8 images, the first one, or each one anew (starting "
        "from the average); auto takes the average unless the pattern moves.",
    )
    mcnr: bool = param(False, "Also give a map of the modulation over the noise.")
    widefield: bool = param(False, "Also give the wide field, the mean of the raw frames.")


class SimWiener(FrameEngine[SimWienerParams]):
    """Wiener reconstruction of structured illumination: finds the pattern, separates the bands, puts them in place."""

    Params = SimWienerParams
    info = EngineInfo(
        name="sim.wiener",
        kind="reconstruct",
        title="Wiener SIM",
        summary="Super-resolved image from a structured-illumination stack by its physics; needs no model",
        inputs=(
            RAW,
            InputSpec(
                name="psf",
                axes="YX",
                required=False,
                accepts=("psf",),
                description="measured image of a point, in the raw frames' pixels unless its file says otherwise",
            ),
            InputSpec(
                name="otf",
                axes="YX",
                required=False,
                description="measured transfer function, zero frequency in the middle, reaching to 1 / (2 raw pixels)",
            ),
        ),
        outputs=(
            OutputInfo(name="sr", axes="YX", description="the super-resolved image, twice the samples"),
            OutputInfo(name="mcnr", axes="YX", description="modulation over noise per raw pixel, on request"),
            OutputInfo(name="widefield", axes="YX", description="mean of the raw frames, on request"),
            OutputInfo(name="calibration", kind="transform", description="the pattern, for the parameter calibration"),
            OutputInfo(name="quality", kind="report", description="carriers, modulation and noise per angle, in words too"),
        ),
        halo="the whole field: pattern and noise are measured on all of it, and a part is cut out of the result",
        roi_tolerance=1e-6,
        live=True,
        references=("10.1046/j.1365-2818.2000.00710.x", "10.1038/ncomms10980", "10.1364/OE.21.002032"),
    )
    #: What is kept from image to image; set on the copies that `prepared` makes.
    kept: WienerRun | None = None

    def arranged(self, spec: InputSpec, grid: Grid, params: SimWienerParams) -> Arrangement | None:
        """See `FrameEngine.arranged`."""
        return arranged(grid, params.layout, params.frame_order) if spec.name == "raw" else None

    def outputs_of(self, refs: Refs, params: SimWienerParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where optics and a calibration file are checked."""
        raw = refs["raw"][0]
        assert raw.grid is not None  # checked by the base class
        check_transfer(refs)
        given = Calibration.given(params.calibration)
        for channel in range(raw.grid.size("C")):
            resolved_optics(params, raw, channel, given)
        field = raw.grid.only("YX")
        if given is not None:
            check_calibration(given, params, raw.grid)
        extra = [name for name, wanted in (("mcnr", params.mcnr), ("widefield", params.widefield)) if wanted]
        return (
            OutputSpec(name="sr", grid=field.finer(2)),
            *(OutputSpec(name=name, grid=field) for name in extra),
        )

    def resources(
        self,
        refs: Refs,
        params: SimWienerParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        fine = outputs[0].grid
        pixels = fine.size("Y") * fine.size("X") / 4
        frames = params.layout.frames
        # a raw set, the mean of some and its spectra for the calibration; the bands; the result with its spectrum
        memory = pixels * (4 * frames * 8 + 8 * 6 * params.angles + 4 * 4 * 6)
        return Resources(memory_bytes=int(memory), work=pixels * (100.0 + 40.0 * frames))

    def prepared(self, plan: Plan) -> SimWiener:
        """Return a copy that keeps the calibration, and the bands of the latest frame, from frame to frame."""
        from napari_recon.engines.sim.classical.run import WienerRun

        worker, params = copy.copy(self), self.params_of(plan)
        worker.kept = WienerRun(plan, params) if self.kept is None else self.kept.with_params(plan, params)
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Calibrate on the whole series, whichever part of it is asked for."""
        worker = self.prepared(plan)
        assert worker.kept is not None  # prepared sets it
        series = self._arranged_inputs(plan, inputs)["raw"][0]
        worker.kept.samples = lambda channel: samples(series, self.info.inputs[0], channel)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        run = (self if self.kept is not None else self.prepared(plan)).kept
        assert run is not None  # prepared sets it
        yield from run.frame(frame, index, token)

    def open(self, plan: Plan, inputs: Inputs) -> Session:
        """Return a live session that also takes single raw frames and reuses bands when only filters change."""
        from napari_recon.engines.sim.classical.session import WienerSession

        return WienerSession(self.prepared(plan), plan, inputs)
