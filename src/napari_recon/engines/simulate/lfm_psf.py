"""simulate.lfm_psf: point spread functions of the views of a microlens-array light field. No torch at import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.psf_grids import depths_of, psf_grid
from napari_recon.optics.lfm_microscope import LfmMicroscope

LARGEST_DOMAIN = 4096


class LfmPsfParams(EngineParams):
    """The microscope, the depths and the views."""

    na: float = param(1.4, "Numerical aperture of the objective.", gt=0, lt=2)
    magnification: float = param(63.0, "Magnification up to the microlenses.", gt=0, le=1000)
    wavelength_um: float = param(0.525, "Wavelength of the light in vacuum.", unit="micrometer", gt=0, le=5)
    medium_index: float = param(1.518, "Refractive index at the sample (immersion).", ge=1, le=2)
    pitch_um: float = param(100.0, "Side of a microlens.", title="Microlens pitch", unit="micrometer", gt=0)
    nnum: int = param(
        13, "Sensor pixels behind a microlens per axis, odd.", title="Pixels per lens", unit="pixel", ge=3, le=63
    )
    microlens_um: float = param(
        0.0,
        "Focal length of the microlenses; 0: the pupil's image just fills a lens.",
        title="Microlens f",
        unit="micrometer",
        ge=0,
    )
    depth_step_um: float = param(0.5, "Distance of neighbouring planes.", unit="micrometer", gt=0)
    depth_from_um: float = param(-5.0, "First plane; 0 is the plane in focus.", unit="micrometer")
    depth_to_um: float = param(5.0, "Last plane.", unit="micrometer")
    views: Literal["selected", "all"] = param(
        "selected", "The views reconstruction uses in their order (Nnum 13 and 15; else those that see light), or all pages."
    )
    radius: int = param(
        0, "Half size of a PSF: 2 radius + 1 fine pixels are kept; 0 keeps what the light reaches.", unit="fine pixel", ge=0
    )
    subsamples: int = param(
        0, "Directions per axis summed in a sensor pixel; 0 takes as many as lose no light.", ge=0, le=16, advanced=True
    )


class LfmPsf(WholeEngine[LfmPsfParams]):
    """Computes the PSFs of a conventional or scanning light-field microscope from the objective's Debye integral."""

    Params = LfmPsfParams
    makes = "makes whole PSFs"
    instead = "set the depths and radius"
    info = EngineInfo(
        name="simulate.lfm_psf",
        kind="simulate",
        title="Point spread function (light field)",
        summary="Wave-optics PSF of every view of a microlens-array light field",
        outputs=(
            OutputInfo(name="psf", axes="VZYX", description="PSF of each view on fine pixels; the mean view sums to 1"),
            OutputInfo(name="parameters", kind="report", description="microscope, pages and view shifts as numbers"),
        ),
        references=("10.1364/OE.21.025418",),
    )

    def made(self, refs: Refs, params: LfmPsfParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        microscope = microscope_of(params)
        pages, depths = (
            microscope.pages(params.views),
            depths_of(params.depth_from_um, params.depth_to_um, params.depth_step_um),
        )
        domain = 2 * microscope.domain_pixels(pages, depths) + 1
        if domain > LARGEST_DOMAIN:
            raise InputError(
                f"the light of the deepest plane should spread over at most {LARGEST_DOMAIN} fine pixels, found {domain}; "
                "choose depths nearer to focus, views=selected, or a lower na"
            )
        radius = params.radius or microscope.reach_pixels(pages, depths)
        grid = Grid.of("V", (len(pages),)).joined(
            psf_grid(depths, params.depth_step_um, 2 * radius + 1, microscope.fine_pixel_um)
        )
        known = {"na": (params.na,), "wavelength_um": (params.wavelength_um,), "refractive_index": (params.medium_index,)}
        output = OutputSpec(name="psf", grid=grid, optics=known)
        return (output,), Resources(
            tiles=len(depths),
            memory_bytes=64 * domain**2 + 8 * len(pages) * (2 * radius + 1) ** 2 + 2**27,
            work=200.0 * len(depths) * len(pages) * (params.subsamples or microscope.directions_per_pixel) ** 2 * domain**2,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.optics.lfm_psf import lfm_psf

        params = self.params_of(plan)
        microscope = microscope_of(params)
        pages = microscope.pages(params.views)
        depths = depths_of(params.depth_from_um, params.depth_to_um, params.depth_step_um)
        radius = plan.output("psf").grid.size("Y") // 2
        device = "cpu" if plan.compute.device == "mps" else plan.compute.device  # double precision is needed
        collected = 0.0
        for number, images in lfm_psf(
            microscope, pages, depths.tolist(), radius, subsamples=params.subsamples, device=device, check=token.check
        ):
            collected = collected or float(images.sum())
            block = (images * (len(pages) / collected)).cpu().numpy().astype(np.float32)[:, None]
            place = (slice(0, len(pages)), slice(number, number + 1), slice(0, 2 * radius + 1), slice(0, 2 * radius + 1))
            yield BlockReady("psf", place, block)
            yield Progress(number + 1, len(depths), "plane", f"{depths[number]:+.3g} um")
        report = {
            **params.model_dump(mode="json"),
            "radius": radius,
            "depths_um": [round(float(depth), 9) for depth in depths],
            "fine_pixel_um": microscope.fine_pixel_um,
            "na_per_pixel": microscope.na_per_pixel,
            "view_pages": list(pages),
            "collected_light": round(collected, 6),
            "view_shift_fine_pixels": np.round(microscope.view_shift(pages, depths), 6).tolist(),
        }
        yield ArtifactReady("parameters", "report", report)


def microscope_of(params: LfmPsfParams) -> LfmMicroscope:
    """Return the microscope that `params` describe (InputError when its parts do not fit together)."""
    names = LfmMicroscope.__dataclass_fields__
    return LfmMicroscope(**{name: value for name, value in params.model_dump().items() if name in names})
