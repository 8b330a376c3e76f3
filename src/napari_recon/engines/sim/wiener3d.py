"""sim.wiener3d: three-beam stacks. What it takes and gives, and its plan; no torch is imported before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.classical.volume_optics import VolumeOptics
from napari_recon.engines.sim.layout import FrameOrder, arranged
from napari_recon.engines.sim.params import OIL, OpticsParams, resolved_optics

#: Excitation over emission wavelength where it is not said.
STOKES = 0.93
#: Water immersion reaches up to this NA.
WATER, WATER_NA = 1.333, 1.27


class SimWiener3DParams(OpticsParams):
    """Parameters of `sim.wiener3d`."""

    phases: int = param(5, "Pattern positions per orientation.", ge=5, le=15)
    frame_order: FrameOrder = param(
        "zap", "Order of the pages from slowest to fastest: a angle, p phase, z plane; further sets are time points."
    )
    refractive_index: Annotated[float, Field(ge=1, le=2)] | Literal["auto"] = param(
        "auto", f"Of the immersion medium; auto takes it from the file, else water up to NA {WATER_NA}, oil above."
    )
    excitation_um: Annotated[float, Field(gt=0.2, le=2)] | Literal["auto"] = param(
        "auto", "Wavelength that makes the pattern; auto takes 0.93 of the emission.", unit="um"
    )
    wiener: Annotated[float, Field(gt=0, le=10)] | Literal["auto"] = param(
        "auto", "Regularisation; auto takes the value of least expected error, from the noise beyond the cut-off."
    )
    apodisation: Literal["otf", "triangle", "cosine", "none"] = param("otf", "Transfer of the result towards its cut-offs.")
    attenuation_strength: float = param(0.0, "How much of each band's centre is taken away.", ge=0.0, le=1.0)
    attenuation_fwhm: float = param(1.2, "Width of what attenuation takes away.", unit="cycles/um", gt=0.0, le=20.0)
    camera_offset: Annotated[float, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Level of the camera in the dark; auto takes the darkest places.", unit="counts"
    )


class SimWiener3D(FrameEngine[SimWiener3DParams]):
    """Wiener reconstruction of three-beam stacks: twice the resolution along all axes, and optical sections."""

    Params = SimWiener3DParams
    info = EngineInfo(
        name="sim.wiener3d",
        kind="reconstruct",
        title="Wiener SIM (3D)",
        summary="Super-resolved volume from a three-beam structured-illumination stack; needs no model",
        inputs=(
            InputSpec(
                name="raw",
                axes="NZYX",
                also=("A", "P"),
                description="the raw stack: angles times phases pages per plane",
            ),
        ),
        outputs=(
            OutputInfo(name="sr", axes="ZYX", description="the super-resolved volume, twice the samples along y and x"),
            OutputInfo(name="quality", kind="report", description="carriers and the strength of both orders per angle"),
        ),
        halo="the whole field: pattern and noise are measured on all of it, and a part is cut out of the result",
        roi_tolerance=1e-6,
        references=("10.1529/biophysj.107.120345",),
    )

    def arranged(self, spec: InputSpec, grid: Grid, params: SimWiener3DParams) -> Arrangement | None:
        """See `FrameEngine.arranged`."""
        return arranged(grid, params.layout, params.frame_order)

    def outputs_of(self, refs: Refs, params: SimWiener3DParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        raw = refs["raw"][0]
        assert raw.grid is not None  # checked by the base class
        if params.pattern != "stripes":
            raise InputError(f"sim.wiener3d takes pattern=stripes, found {params.pattern}; use sim.wiener")
        if raw.grid.size("Z") < 3:
            raise InputError(f"a stack of at least 3 planes was expected, found {raw.grid.size('Z')}; use sim.wiener")
        for channel in range(raw.grid.size("C")):
            volume_optics(params, raw, channel)
        return (OutputSpec(name="sr", grid=raw.grid.only("ZYX").finer(2)),)

    def resources(
        self,
        refs: Refs,
        params: SimWiener3DParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        fine = outputs[0].grid
        plane = fine.size("Y") * fine.size("X") / 4
        voxels, padded = fine.size("Z") * plane, (fine.size("Z") + 24) * 1.1 * plane
        bands = 1 + 2 * params.angles
        # raw stack, the same without offset and a mix; a padded band, all bands and transfer functions, the half space
        memory = voxels * (12 * params.layout.frames + 64) + padded * (24 + 8 * bands + 40)
        return Resources(memory_bytes=int(memory), work=padded * (300.0 + 100.0 * bands))

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.sim.classical.volume_run import reconstruct

        params = self.params_of(plan)
        raw = self._arranged_ref(self.info.inputs[0], plan.inputs[0], params)
        optics = volume_optics(params, raw, plan.place(index).get("C", 0))
        yield from reconstruct(plan, params, optics, frame["raw"], token)


def volume_optics(params: SimWiener3DParams, raw: InputRef, channel: int) -> VolumeOptics:
    """Return the optics of one channel (InputError where they are missing or do not fit; see `resolved_optics`)."""
    flat = resolved_optics(params, raw, channel)
    grid = raw.grid
    if grid is None or grid.unit("Z") != "micrometer":
        raise InputError(
            "raw should have a plane distance in micrometers, found none; give --voxel-size z=0.15,y=0.065,x=0.065"
        )
    index = params.refractive_index
    if index == "auto":
        index = raw.optic("refractive_index", channel) or (WATER if flat.na <= WATER_NA else OIL)
    excitation = params.excitation_um if params.excitation_um != "auto" else STOKES * flat.wavelength_um
    return VolumeOptics(flat.na, flat.wavelength_um, excitation, index, (abs(grid.step("Z")), *flat.pixel_um))
