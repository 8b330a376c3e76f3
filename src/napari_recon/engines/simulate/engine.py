"""simulate.lightfield: a moving phantom seen by a light-field microscope, with the truth beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.geometry import Rig, rig_of
from napari_recon.engines.simulate.params import LightFieldParams


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
        outputs=(
            OutputInfo(name="raw", axes="TVYX", description="what the camera records, realigned to one page per view"),
            OutputInfo(name="truth", axes="TZYX", description="the phantom in camera counts per fine voxel"),
            OutputInfo(name="psf_shift", kind="file", description="where each view sees each depth (views, planes, 2)"),
            OutputInfo(name="parameters", kind="report", description="geometry and settings as numbers"),
        ),
        references=("10.1038/s41592-025-02698-z",),
    )

    def made(self, refs: Refs, params: LightFieldParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        if params.tubes + params.beads + params.bubbles == 0:
            raise InputError(f"{self.info.name} needs something to see, found no structures; set tubes, beads or bubbles")
        rig = rig_of(params)
        outputs = output_specs(params, rig)
        voxels = math.prod(rig.canvas_zyx)
        return outputs, Resources(
            tiles=params.frames,
            memory_bytes=12 * voxels + 2**26,
            work=8.0 * voxels * len(rig.lit_pages) * params.frames,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.simulate.pipeline import recording

        params = self.params_of(plan)
        yield from recording(params, rig_of(params), plan.compute.seed, token)


def output_specs(params: LightFieldParams, rig: Rig) -> tuple[OutputSpec, ...]:
    """Return raw and truth; their outer edges coincide, and z is 0 in focus."""
    geometry = rig.geometry
    pixel_um = geometry.fine_pixel_um * geometry.upsampling
    time = Grid.of("T", (params.frames,), {"T": params.interval}, units={"T": "second"})
    pages = Grid.of("V", (rig.pages,))
    field = Grid.of(
        "YX",
        (params.height, params.width),
        {"Y": pixel_um, "X": pixel_um},
        units={"Y": "micrometer", "X": "micrometer"},
    )
    depth = Grid.of(
        "Z",
        (geometry.planes,),
        {"Z": geometry.z_step_um},
        {"Z": -(geometry.planes // 2) * geometry.z_step_um},
        {"Z": "micrometer"},
    )
    fine_y, fine_x = geometry.volume_yx(params.height, params.width)
    return (
        OutputSpec(name="raw", grid=time.joined(pages).joined(field), dtype="uint16"),
        OutputSpec(name="truth", grid=time.joined(depth).joined(field.resampled({"Y": fine_y, "X": fine_x}))),
    )
