"""fusion.wiener: three measured orientations into one volume. No torch before a run."""

from __future__ import annotations

from collections.abc import Iterator

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.joint_params import TRANSFER, JointParams, check_transfer, with_transfer

CANVAS_SLACK = 2
"""Pixels by which the canvas of a turned view may differ: it was made at a coarser sampling, then enlarged."""


class JointWienerParams(JointParams):
    """Parameters of `fusion.wiener`."""


class JointWiener(FrameEngine[JointWienerParams]):
    """Joins three images of every plane, each sharp along another direction, in frequency space."""

    Params = JointWienerParams
    info = EngineInfo(
        name="fusion.wiener",
        kind="reconstruct",
        title="Join three orientations",
        summary="One volume, sharp along every lateral direction, from three that are each sharp along one",
        inputs=(
            InputSpec(name="widefield", axes="ZYX", description="the volume without super-resolution, as coarse as it is"),
            InputSpec(
                name="views",
                axes="ZYX",
                many=True,
                description="three volumes, sharp along 0, 60 and 120 degrees; upright, or on the canvas of the turned one",
            ),
            *TRANSFER,
        ),
        outputs=(
            OutputInfo(name="sr", axes="ZYX", description="the joined volume, on the grid of the first view"),
            OutputInfo(name="mip", axes="YX", description="its maximum projection, with compat=upstream"),
        ),
        halo="whole planes: the filter works in frequency space, and a part is cut out of the result",
        roi_tolerance=1e-5,
        references=("10.5281/zenodo.13486221",),
    )

    def outputs_of(self, refs: Refs, params: JointWienerParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where views and transfer functions are checked."""
        views = [ref.grid for ref in refs["views"]]
        if len(views) != 3 or any(v is None for v in views):
            raise InputError(f"views should be three volumes (0, 60 and 120 degrees), found {len(views)}; give three")
        first, widefield = views[0], refs["widefield"][0].grid
        assert first is not None and widefield is not None  # checked by the base class
        check_transfer(refs, params, refs["widefield"][0], first)
        from napari_recon.engines.fusion.joint_wiener.turning import turned_size

        size = (first.size("Y"), first.size("X"))
        for grid, angle in zip(views[1:], (60, 120), strict=True):
            assert grid is not None
            found = (grid.size("Y"), grid.size("X"))
            canvas = turned_size(size, angle)
            if found != size and any(abs(n - c) > CANVAS_SLACK for n, c in zip(found, canvas, strict=True)):
                raise InputError(
                    f"the view of {angle} degrees should be upright, {size[0]} x {size[1]} pixels, or on the canvas of "
                    f"the turned one, {canvas[0]} x {canvas[1]}, found "
                    f"{found[0]} x {found[1]}; give views of one recording in the order 0, 60, 120"
                )
        depths = [grid.size("Z") for grid in (widefield, *views) if grid is not None]
        if len(set(depths)) > 1:
            raise InputError(f"wide field and views should have the same number of planes, found {depths}; crop them")
        fine = first.only("ZYX")
        if fine.unit("X") == "pixel" != widefield.unit("X"):  # views that tell no size cover what the wide field covers
            fine = widefield.only("ZYX").resampled({"Y": size[0], "X": size[1]})
        return joined_outputs(fine, params)

    def resources(
        self,
        refs: Refs,
        params: JointWienerParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = outputs[0].grid
        pixels = grid.size("Y") * grid.size("X")
        start, stop = (0, grid.size("Z")) if params.compat == "upstream" else box.bounds("Z", grid.size("Z"))
        planes = stop - start
        volumes = grid.size("Z") * pixels * 4 * (1 + 2 * 2) + (8 * planes * pixels if params.compat == "upstream" else 0)
        return Resources(memory_bytes=int(volumes + pixels * 12 * 16 * 2 + 200 * pixels), work=float(planes * pixels))

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.fusion.joint_wiener.run import join_measured

        params = self.params_of(plan)
        yield from join_measured(plan, params, with_transfer(plan, params, frame, index), token)

    def sample(self, plan: Plan) -> Plan | None:
        """See `Engine.sample`: a part of a plane costs as much as the plane, so there is no short sample."""
        return None


def joined_outputs(grid: Grid, params: JointParams) -> tuple[OutputSpec, ...]:
    """Return the joined volume's output on a grid ZYX, and the maximum projection of the published program."""
    published = params.compat == "upstream"
    found = [OutputSpec(name="sr", grid=grid, dtype="uint16" if published else "float32")]
    if published:
        found.append(OutputSpec(name="mip", grid=grid.only("YX"), dtype="uint16"))
    return tuple(found)
