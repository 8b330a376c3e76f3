"""simulate.sim: a structured-illumination recording with its truth, from parameters or from an image as the object."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.sim.params import OpticsParams, resolved_optics
from napari_recon.engines.simulate.sim_params import SimulateSimParams

PSF_SIZE = 65
PICTURES = (".png", ".jpg", ".jpeg")


class SimulateSim(WholeEngine[SimulateSimParams]):
    """Makes raw SIM stacks whose truth is known; the seed is the run's seed."""

    Params = SimulateSimParams
    makes = "makes whole recordings"
    instead = "set height, width, frames"
    uses_torch = False
    info = EngineInfo(
        name="simulate.sim",
        kind="simulate",
        title="Simulated structured illumination",
        summary="Raw frames of a drifting phantom or of any image, with the ground truth and the true pattern",
        inputs=(
            InputSpec(
                name="object",
                axes="YX",
                required=False,
                accepts=("image", "file"),
                suffixes=PICTURES,
                description="an image to look at instead of a phantom; channels are averaged",
            ),
        ),
        outputs=(
            OutputInfo(name="raw", axes="NYX", description="what the camera records, one page per angle and phase"),
            OutputInfo(name="truth", axes="YX", description="the object as a microscope with cut-off fc + |k| sees it"),
            OutputInfo(name="object", axes="YX", description="the object itself on the fine grid (not for upstream)"),
            OutputInfo(name="psf", axes="YX", description="image of a point on the fine grid, sum 1"),
            OutputInfo(name="stack", axes="NYX", description="frames, OTF and truth in one (for upstream alone)"),
            OutputInfo(name="calibration", kind="transform", description="the true pattern, as sim.wiener takes it"),
            OutputInfo(name="parameters", kind="report", description="settings and true values as numbers"),
        ),
        references=("10.1364/BOE.414680",),
    )

    def made(self, refs: Refs, params: SimulateSimParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        for ref in refs["object"]:
            _check_object(ref)
        outputs = _upstream_outputs(params) if params.compat == "upstream" else _outputs(params)
        frames = math.prod(outputs[0].grid.shape[:-2])
        canvas = 4 * (params.height + 2 * params.margin) * (params.width + 2 * params.margin)
        return outputs, Resources(
            tiles=params.frames,
            memory_bytes=60 * canvas + 6 * frames // params.frames * params.height * params.width + 2**26,
            work=60.0 * canvas * frames,
            warnings=_warnings(params, bool(refs["object"])),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.sim.simulator import recording

        params = self.params_of(plan)
        picture = recording.picture_of(inputs["object"][0]) if inputs.get("object") else None
        make = recording.upstream_recording if params.compat == "upstream" else recording.recording
        yield from make(params, picture, plan.compute.seed, token)


def _check_object(ref: InputRef) -> None:
    if ref.grid is not None and sorted(ref.grid.axes.replace("C", "")) != ["X", "Y"]:
        raise InputError(
            f"the object should be one image (YX, or CYX to be averaged), found axes {ref.grid.axes} with shape "
            f"{ref.grid.shape}; choose one plane and time point"
        )


def _warnings(params: SimulateSimParams, has_object: bool) -> tuple[str, ...]:
    found = []
    brightest = params.photons * params.gain + params.camera_offset
    if params.compat == "none" and brightest > 65535:
        found.append(f"the camera will be saturated ({brightest:.0f} of 65535 counts); lower photons, gain or camera_offset")
    if has_object and params.frames > 1:
        found.append("an image given as the object stays where it is; time points differ by their noise alone")
    return tuple(found)


def _outputs(params: SimulateSimParams) -> tuple[OutputSpec, ...]:
    """Return raw, truth, object and PSF; fine pixel 2 j lies on camera pixel j."""
    size = params.pixel_um
    microns = {"Y": "micrometer", "X": "micrometer"}
    field = Grid.of("YX", (params.height, params.width), {"Y": size, "X": size}, units=microns)
    optics = OpticsParams(na=params.na, wavelength_um=params.wavelength_um, refractive_index=params.refractive_index)
    resolved_optics(optics, InputRef(name="raw", grid=field))
    if params.profile == "three-beam" and params.pattern == "stripes" and params.phases < 5:
        raise InputError(f"three beams make two orders and need at least 5 phases, found {params.phases}; set phases=5")
    pages = Grid.of("N", (params.layout.frames,))
    time = Grid.of("T", (params.frames,), {"T": params.interval}, units={"T": "second"})
    fine = field.finer(2)
    if params.frames > 1:
        pages, fine = time.joined(pages), time.joined(fine)
    middle = -(PSF_SIZE // 2) * size / 2
    around = Grid.of("YX", (PSF_SIZE,) * 2, {"Y": size / 2, "X": size / 2}, {"Y": middle, "X": middle}, microns)
    known = {"na": (params.na,), "wavelength_um": (params.wavelength_um,), "refractive_index": (params.refractive_index,)}
    return (
        OutputSpec(name="raw", grid=pages.joined(field), dtype="uint16", optics=known),
        OutputSpec(name="truth", grid=fine),
        OutputSpec(name="object", grid=fine),
        OutputSpec(name="psf", grid=around),
    )


def _upstream_outputs(params: SimulateSimParams) -> tuple[OutputSpec, ...]:
    """Return what the authors store, taken apart, and in one as they store it; they know no pixel size."""
    if params.pattern == "hexagonal" or params.frames > 1 or params.frame_order != "ap" or params.profile == "three-beam":
        raise InputError(
            "compat=upstream makes one stack of stripes in angle-major order, found another pattern, profile, frame_order "
            "or several time points; leave these at their defaults"
        )
    scale, frames = params.upstream.scale, params.angles * params.phases
    field = Grid.of("YX", (params.height, params.width))
    return (
        OutputSpec(name="raw", grid=Grid.of("N", (frames,)).joined(field), dtype="uint8"),
        OutputSpec(name="truth", grid=field.finer(scale), dtype="uint8"),
        OutputSpec(name="psf", grid=field),
        OutputSpec(name="stack", grid=Grid.of("N", (frames + 1 + scale**2,)).joined(field), dtype="uint8"),
    )
