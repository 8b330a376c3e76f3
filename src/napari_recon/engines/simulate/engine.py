"""simulate.lightfield: a moving phantom seen by a light-field microscope, with the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.geometry import Rig, rig_of
from napari_recon.engines.simulate.params import LightFieldParams
from napari_recon.optics.lightfield_geometry import MICROMETERS
from napari_recon.optics.psf_shift import other_pixel_um

STILL = "scan_motion says nothing about a light field in one exposure (scanning=1) and is not used; set scanning=3 or 5"


class LightField(WholeEngine[LightFieldParams]):
    """Makes light-field recordings whose truth is known; the seed is the run's seed."""

    Params = LightFieldParams
    makes = "makes whole recordings"
    instead = "set height, width, frames"
    info = EngineInfo(
        name="simulate.lightfield",
        kind="simulate",
        title="Simulated light field",
        summary="A moving phantom, its light-field recording and the ground truth",
        inputs=(
            InputSpec(
                name="psf",
                axes="VZYX",
                required=False,
                accepts=("psf",),
                description="PSF per view and plane instead of psf_shift, as simulate.lfm_psf and flfm_psf make them",
            ),
            InputSpec(
                name="object",
                axes="ZYX",
                required=False,
                description="a volume (or TZYX) on the fine grid to look at instead of a phantom",
            ),
        ),
        outputs=(
            OutputInfo(name="raw", axes="TVYX", description="what the camera records, realigned to one page per view"),
            OutputInfo(name="truth", axes="TZYX", description="the phantom in camera counts per fine voxel"),
            OutputInfo(name="lenslets", axes="TYX", description="what the camera sees, one picture per exposure (lenslets)"),
            OutputInfo(name="psf_shift", kind="file", description="where each view sees each depth (views, planes, 2)"),
            OutputInfo(name="parameters", kind="report", description="geometry and settings as numbers"),
        ),
        references=("10.1038/s41592-025-02698-z",),
    )

    def made(self, refs: Refs, params: LightFieldParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        if params.phantom == "mixed" and params.tubes + params.beads + params.bubbles == 0 and not refs["object"]:
            raise InputError(f"{self.info.name} needs something to see, found no structures; set tubes, beads or bubbles")
        psf = refs["psf"][0].grid if refs["psf"] else None
        rig = rig_of(params, psf)
        for ref in refs["object"]:
            _check_object(ref.grid, rig)
        outputs = output_specs(params, rig, psf)
        voxels = math.prod(rig.canvas_zyx)
        exposures = rig.geometry.scanning**2 if params.scan_motion else 1
        spectra = (
            4.0 * math.prod(psf.shape) + 1.8 * len(rig.lit_pages) * voxels / rig.geometry.upsampling**2 * 8 if psf else 0
        )
        return outputs, Resources(
            tiles=params.frames,
            memory_bytes=int(16 * voxels + spectra) + 4 * rig.pages * params.height * params.width + 2**26,
            work=8.0 * voxels * len(rig.lit_pages) * params.frames * exposures,
            warnings=(STILL,) if params.scan_motion and exposures == 1 else (),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.simulate.pipeline import recording

        params = self.params_of(plan)
        psf, given = (inputs[name][0] if inputs.get(name) else None for name in ("psf", "object"))
        rig = rig_of(params, psf.grid if psf is not None else None)
        yield from recording(params, rig, plan.compute.seed, token, psf, given, plan.compute.device)


def output_specs(params: LightFieldParams, rig: Rig, psf: Grid | None = None) -> tuple[OutputSpec, ...]:
    """Return raw and truth; their outer edges coincide, and z is 0 in focus."""
    geometry = rig.geometry
    pixel_um = geometry.fine_pixel_um * geometry.upsampling
    time = Grid.of("T", (params.frames,), {"T": params.interval}, units={"T": "second"})
    pages = Grid.of("V", (rig.pages,))
    microns = {"Y": "micrometer", "X": "micrometer"}
    field = Grid.of("YX", (params.height, params.width), {"Y": pixel_um, "X": pixel_um}, units=microns)
    step = geometry.z_step_um
    depth = Grid.of("Z", (geometry.planes,), {"Z": step}, {"Z": -(geometry.planes // 2) * step}, {"Z": "micrometer"})
    if psf is not None and psf.unit("Z") in MICROMETERS and psf.origin("Z"):
        depth = psf.only("Z").cropped({"Z": rig.psf_planes})  # the PSF says where its planes lie
    fine_y, fine_x = geometry.volume_yx(params.height, params.width)
    found = [
        OutputSpec(name="raw", grid=time.joined(pages).joined(field), dtype="uint16"),
        OutputSpec(name="truth", grid=time.joined(depth).joined(field.resampled({"Y": fine_y, "X": fine_x}))),
    ]
    if params.lenslets:
        exposures = geometry.scanning**2
        every = Grid.of("T", (params.frames * exposures,), {"T": params.interval / exposures}, units={"T": "second"})
        size = geometry.fine_pixel_um * geometry.nnum / (params.pitch_px or geometry.nnum)
        camera = Grid.of("YX", rig.camera_yx(params), {"Y": size, "X": size}, units=microns)
        found.append(OutputSpec(name="lenslets", grid=every.joined(camera), dtype="uint16"))
    return tuple(found)


def _check_object(grid: Grid | None, rig: Rig) -> None:
    """Raise an InputError when a volume is not on the fine grid."""
    if grid is None:
        return
    if grid.axes not in ("ZYX", "TZYX") or grid.size("Z") != rig.geometry.planes:
        raise InputError(
            f"the object should have axes ZYX or TZYX and {rig.geometry.planes} planes, found {grid.axes} with shape "
            f"{grid.shape}; resample it, or choose other planes"
        )
    wanted = rig.geometry.fine_pixel_um
    found = other_pixel_um(grid, wanted)
    if found is not None:
        raise InputError(
            f"the object's pixels should be the fine pixels of the microscope, {wanted:.4g} um, found "
            f"{found:.4g} um; resample it"
        )
