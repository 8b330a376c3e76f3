"""simulate.flfm_psf: the point spread function of a Fourier light-field microscope, cut into views. No torch at import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.psf_grids import depths_of, psf_grid
from napari_recon.optics.flfm_microscope import FlfmMicroscope


class FlfmPsfParams(EngineParams):
    """The microscope, the depths and what is kept of the sensor."""

    na: float = param(1.4, "Numerical aperture of the objective.", gt=0, lt=2)
    magnification: float = param(100.0, "Magnification of objective and tube lens.", gt=0, le=1000)
    wavelength_um: float = param(0.51, "Wavelength of the light in vacuum.", unit="micrometer", gt=0, le=5)
    medium_index: float = param(1.518, "Refractive index at the sample (immersion).", ge=1, le=2)
    tube_um: float = param(
        180000.0, "Focal length of the tube lens.", title="Tube lens f", unit="micrometer", gt=0, advanced=True
    )
    fourier_um: float = param(400000.0, "Focal length of the Fourier lens.", title="Fourier lens f", unit="micrometer", gt=0)
    microlens_um: float = param(
        120000.0,
        "Focal length of the microlenses, which is their distance from the sensor.",
        title="Microlens f",
        unit="micrometer",
        gt=0,
    )
    pitch_um: float = param(
        3250.0, "Distance of neighbouring microlenses.", title="Microlens pitch", unit="micrometer", gt=0
    )
    pixels_per_lens: int = param(499, "Sensor pixels on one pitch.", unit="pixel", ge=5, le=4001)
    depth_step_um: float = param(0.17, "Distance of neighbouring planes.", unit="micrometer", gt=0)
    depth_from_um: float = param(-3.4, "First plane; 0 is the plane in focus.", unit="micrometer")
    depth_to_um: float = param(3.4, "Last plane.", unit="micrometer")
    radius: int = param(
        0, "Half size of a view's PSF: 2 radius + 1 pixels are kept; 0 keeps what the light can reach.", unit="pixel", ge=0
    )
    sensor: bool = param(False, "Also write the images of the whole sensor (large).", advanced=True)
    air_index: float = param(1.0, "Refractive index between microlenses and sensor.", ge=1, le=2, advanced=True)
    sensor_pixels: int = param(
        0,
        "Sensor pixels per axis, odd; 0 takes what the microlenses fill and a margin.",
        unit="pixel",
        ge=0,
        le=8191,
        advanced=True,
    )
    samples: int = param(
        0,
        "Points per axis on which the wave from the sample is computed, odd, as published; 0: in the pupil, exactly.",
        ge=0,
        le=65535,
        advanced=True,
    )
    field_um: float = param(200.0, "Side of that grid in the sample.", unit="micrometer", gt=0, advanced=True)
    threshold: float = param(
        0.001, "Values below this part of a depth's maximum become 0.", unit="fraction", ge=0, lt=1, advanced=True
    )


class FlfmPsf(WholeEngine[FlfmPsfParams]):
    """Computes what each view of a Fourier light-field microscope makes of a point, by wave optics."""

    Params = FlfmPsfParams
    makes = "makes whole PSFs"
    instead = "set the depths and radius"
    info = EngineInfo(
        name="simulate.flfm_psf",
        kind="simulate",
        title="Point spread function (Fourier light field)",
        summary="Wave-optics PSF of a Fourier light-field microscope, one stack per view",
        outputs=(
            OutputInfo(name="psf", axes="VZYX", description="PSF of each view; a depth sums to 1 over the whole sensor"),
            OutputInfo(name="psf_sensor", axes="ZYX", description="image of the point on the whole sensor (sensor=true)"),
            OutputInfo(name="parameters", kind="report", description="microscope, view centres and sampling as numbers"),
        ),
        references=("10.1364/OE.27.025573",),
    )

    def made(self, refs: Refs, params: FlfmPsfParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        microscope, depths = microscope_of(params), _depths(params)
        outputs = output_specs(params, microscope, depths)
        size = microscope.sensor_pixels
        half, crop = microscope.samples // 2, microscope.crop if microscope.samples else 0
        different = len({round(abs(depth), 9) for depth in depths})
        return outputs, Resources(
            tiles=len(depths),
            memory_bytes=6 * 16 * size**2 + 24 * half * crop + 2**27,
            warnings=_coarse(microscope),
            work=different * 4.0 * half**2 * crop + len(depths) * 200.0 * size**2,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.optics.flfm_psf import sensor_psf

        params = self.params_of(plan)
        microscope, depths = microscope_of(params), _depths(params)
        centres = microscope.lens_centres.tolist()
        radius = (plan.output("psf").grid.size("Y") - 1) // 2
        yield ArtifactReady("parameters", "report", _report(params, microscope, depths, radius))
        device = "cpu" if plan.compute.device == "mps" else plan.compute.device  # double precision is needed
        images = sensor_psf(microscope, depths.tolist(), threshold=params.threshold, device=device, check=token.check)
        lost = 0.0
        for done, (number, image) in enumerate(images):
            whole = image.cpu().numpy()
            views = [whole[row - radius : row + radius + 1, col - radius : col + radius + 1] for row, col in centres]
            block = np.stack(views)[:, None].astype(np.float32)
            lost = max(lost, 1.0 - float(block.sum(dtype=np.float64)))
            place = (slice(0, len(views)), slice(number, number + 1), slice(0, 2 * radius + 1), slice(0, 2 * radius + 1))
            yield BlockReady("psf", place, block)
            if params.sensor:
                size = microscope.sensor_pixels
                yield BlockReady(
                    "psf_sensor",
                    (slice(number, number + 1), slice(0, size), slice(0, size)),
                    whole[None].astype(np.float32),
                )
            yield Progress(done + 1, len(depths), "plane", f"{depths[number]:+.3g} um")
        if lost > 0.02:
            yield Warned(
                f"up to {100 * lost:.1f} % of a depth's light lies outside the views' {2 * radius + 1} pixels; "
                "choose a larger radius, or fewer depths"
            )


def microscope_of(params: FlfmPsfParams) -> FlfmMicroscope:
    """Return the microscope that `params` describe (InputError when its parts do not fit together)."""
    names = FlfmMicroscope.__dataclass_fields__
    return FlfmMicroscope(**{name: value for name, value in params.model_dump().items() if name in names})


def output_specs(params: FlfmPsfParams, microscope: FlfmMicroscope, depths: NDArray[np.float64]) -> tuple[OutputSpec, ...]:
    """Return PSF and sensor images; the point is the origin, lengths are in the sample."""
    centres, size = microscope.lens_centres, microscope.sensor_pixels
    room = int(min(centres.min(), (size - 1 - centres).min()))
    if params.radius > room:
        raise InputError(
            f"radius should be at most {room} so that every view's PSF lies on the sensor, found {params.radius}; choose a "
            "smaller one or a larger sensor"
        )
    radius = params.radius or min(room, microscope.reach_pixels(depths), microscope.lens_pixels // 2)
    known = {"na": (params.na,), "wavelength_um": (params.wavelength_um,), "refractive_index": (params.medium_index,)}
    voxel_um, views = microscope.voxel_um, Grid.of("V", (len(centres),))
    around, whole = (psf_grid(depths, params.depth_step_um, n, voxel_um) for n in (2 * radius + 1, size))
    psf = OutputSpec(name="psf", grid=views.joined(around), optics=known)
    return (psf, OutputSpec(name="psf_sensor", grid=whole, optics=known)) if params.sensor else (psf,)


def _depths(params: FlfmPsfParams) -> NDArray[np.float64]:
    return depths_of(params.depth_from_um, params.depth_to_um, params.depth_step_um)


def _coarse(microscope: FlfmMicroscope) -> tuple[str, ...]:
    finest = microscope.wavelength_um / (2 * microscope.lens_na)
    if microscope.voxel_um <= finest:
        return ()
    return (
        f"a pixel is {microscope.voxel_um:.3g} um in the sample, coarser than the {finest:.3g} um that a view resolves: the "
        "wave behind the microlenses is undersampled and the PSF unreliable; give the pixels of an unbinned camera",
    )


def _report(params: FlfmPsfParams, microscope: FlfmMicroscope, depths: NDArray[np.float64], radius: int) -> dict[str, Any]:
    return {
        **params.model_dump(mode="json"),
        "sensor_pixels": microscope.sensor_pixels,
        "radius": radius,
        "depths_um": [round(float(depth), 9) for depth in depths],
        "voxel_um": microscope.voxel_um,
        "sensor_pixel_um": microscope.pixel_um,
        "total_magnification": microscope.total_magnification,
        "field_radius_um": microscope.field_radius_um,
        "view_centres_row_column": microscope.lens_centres.tolist(),
        "view_shift_um": np.round(microscope.view_shift_um(depths), 6).tolist(),
    }
