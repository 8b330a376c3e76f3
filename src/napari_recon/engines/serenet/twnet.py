"""serenet.twnet: the zigzag of moving structures taken out of a scanned light field. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.prestep import PAPER, VIEWS, grid_of, model_of

ORDER = (6, 7, 8, 5, 2, 1, 0, 3, 4)
"""Cells (row * 3 + column) of the published 3 x 3 scan in the order they were taken."""


class TwnetParams(EngineParams):
    """Parameters of `serenet.twnet`."""

    scan_order: tuple[int, ...] = param(
        ORDER,
        "Cells of the scan (row * steps + column) in the order they were taken; the middle one of them stays where it is.",
        advanced=True,
    )
    mask: bool = param(False, "Also return what the network takes for unmoved: 1 where the scan is kept as it is.")


class Twnet(FrameEngine[TwnetParams]):
    """TW-Net before a reconstruction: every view keeps its scanned sampling where nothing moved."""

    Params = TwnetParams
    info = EngineInfo(
        name="serenet.twnet",
        kind="preprocess",
        title="TW-Net (motion in scans)",
        summary="Scanned light field without the zigzag of what moved during the scan, with a trained TW-Net",
        inputs=(VIEWS,),
        outputs=(
            OutputInfo(name="corrected", axes="VYX", description="the views, moving structures at the scan's middle time"),
            OutputInfo(name="mask", axes="VYX", description="what the network takes for unmoved (1), on request"),
        ),
        needs_model="required",
        halo="none in effect: whole views are always computed",
        roi_tolerance=1e-6,
        references=(PAPER,),
    )

    def outputs_of(self, refs: Refs, params: TwnetParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        grid, steps = grid_of(refs), _steps(model)
        if sorted(params.scan_order) != list(range(steps**2)):
            raise InputError(
                f"scan_order should name each of the {steps**2} cells 0 to {steps**2 - 1} once, found {params.scan_order}; "
                f"the published order is {ORDER}"
            )
        for axis in "YX":
            if grid.size(axis) % steps:
                raise InputError(
                    f"a light field scanned {steps} x {steps} should have a multiple of {steps} pixels along {axis}, found "
                    f"{grid.size(axis)}; crop it there, or leave this step out for a light field that was not scanned"
                )
        names = ("corrected", "mask") if params.mask else ("corrected",)
        return tuple(OutputSpec(name=name, grid=grid) for name in names)

    def resources(
        self,
        refs: Refs,
        params: TwnetParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. One view is in work at a time."""
        grid = grid_of(refs)
        pixels = grid.size("Y") * grid.size("X")
        memory = 4 * pixels * (2 * grid.size("V") + 80) + 20_000_000
        return Resources(tiles=grid.size("V"), memory_bytes=memory, work=2.0e4 * pixels * grid.size("V"))

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.serenet.motion import corrected

        yield from corrected(plan, self.params_of(plan), frame["views"], token)


def _steps(model: ModelRef | None) -> int:
    return int(model_of(model, "twnet").options.get("scanning", 3))
