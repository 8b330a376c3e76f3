"""serenet.predao: the aberration of a light field from the shifts of its views, taken out. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.networks.recognise import nnum_of
from napari_recon.engines.serenet.prestep import PAPER, VIEWS, grid_of
from napari_recon.optics.lightfield_geometry import MICROMETERS, VIEW_ORDERS, load_psf_shift

FEWEST_VIEWS = 9


class PredaoParams(EngineParams):
    """Parameters of `serenet.predao`."""

    defocus: Literal["removed", "kept"] = param(
        "removed",
        "What happens to the part of the shifts that a change of focus would explain: removed before the correction, so "
        "that the object stays at its depth, or kept and corrected too.",
    )
    views: Literal["selected", "all"] = param(
        "selected",
        "Which views of a full stack come out: those that SeReNet, F-SeReNet and RL-Net take, in their order, or all of "
        "them, for VCD-Net and HyLFM-Net.",
    )
    scanning: int = param(3, "Steps of the scan per axis, which the fine pixel follows from.", advanced=True, ge=1)
    na: float = param(0.0, "Numerical aperture, for the size of the wavefront; 0 is that of the views' microscope.", ge=0)
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream takes the highest point of a plain correlation with the centre view, in whole fine pixels, and subtracts "
        "the background; none finds parts of a pixel against the mean of the aligned views.",
        advanced=True,
    )


class Predao(FrameEngine[PredaoParams]):
    """Digital adaptive optics before a reconstruction: every view moved back to where it would be without aberration."""

    Params = PredaoParams
    info = EngineInfo(
        name="serenet.predao",
        kind="preprocess",
        title="Digital adaptive optics (light field)",
        summary="Aberration of a light field found from the shifts of its views and taken out of them; needs no model",
        inputs=(VIEWS,),
        outputs=(
            OutputInfo(name="corrected", axes="VYX", description="the views at the places they have without aberration"),
            OutputInfo(
                name="wavefront",
                axes="YX",
                description="the wavefront over the pupil in um, the pupil drawn as the largest disc in the field",
            ),
            OutputInfo(name="shifts", kind="table", description="shift of every view in fine pixels, and its confidence"),
            OutputInfo(name="report", kind="report", description="size of the aberration, its parts, the defocus"),
        ),
        halo="none in effect: shifts are always found from whole views",
        roi_tolerance=1e-6,
        references=(PAPER,),
    )

    def outputs_of(self, refs: Refs, params: PredaoParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        grid = grid_of(refs)
        _, pages = places_of(grid.size("V"), params.views)
        views = grid.model_copy(update={"shape": (len(pages), *grid.shape[1:])})
        return OutputSpec(name="corrected", grid=views), OutputSpec(name="wavefront", grid=grid.only("YX"))

    def resources(
        self,
        refs: Refs,
        params: PredaoParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = grid_of(refs)
        nnum, pages = places_of(grid.size("V"), params.views)
        pixels = grid.size("Y") * grid.size("X")
        work = 2000.0 * pixels * len(pages)
        optics = load_psf_shift(f"geometric-{nnum}") if nnum in VIEW_ORDERS else None
        na = params.na or (optics.na if optics else 1.0)
        fine = abs(grid.step("Y")) / nnum * params.scanning
        if grid.unit("Y") not in MICROMETERS and optics:
            fine = optics.fine_pixel_um
        memory = 4 * pixels * (4 * len(pages) + 40) + (8 * pixels * 19 if params.compat == "upstream" else 0)
        return Resources(memory_bytes=int(memory), work=work, details={"nnum": nnum, "na": na, "fine_pixel_um": fine})

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.serenet.aberration import aligned

        params = self.params_of(plan)
        _, pages = places_of(len(frame["views"]), params.views)
        yield from aligned(plan, params, pages, frame["views"], plan.place(index).get("T", 0), token)


def places_of(count: int, views: str) -> tuple[int, tuple[int, ...]]:
    """Return Nnum and the pages ``u * nnum + v`` of the views to correct, of a stack of `count`.

    Raises
    ------
    InputError
        No stack of views that has a centre.
    """
    for nnum, order in VIEW_ORDERS.items():
        if count == len(order) or (count == nnum**2 and views == "selected"):
            return nnum, order
    nnum = nnum_of(count)
    if nnum and count >= FEWEST_VIEWS:
        return nnum, tuple(range(count))
    raise InputError(
        f"serenet.predao needs all views of a microlens with an odd number per axis, or the 49 or 81 in use, found {count}; "
        "realign the picture to one page per view (serenet.realign)"
    )
