"""The run of simulate.sim: draw the object, light it, image it, record it; or do as the authors of ML-SIM do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.simulator import upstream
from napari_recon.engines.sim.simulator.camera import Camera, as_counts, photon_scale
from napari_recon.engines.sim.simulator.imaging import ABERRATIONS, Field, Imaging, objective_transfer
from napari_recon.engines.sim.simulator.objects import Image, random_scene
from napari_recon.engines.sim.simulator.patterns import SHAPES, THREE_BEAM, Errors, Illumination, hexagonal, stripes, uniform
from napari_recon.engines.simulate.sim import PSF_SIZE
from napari_recon.engines.simulate.sim_params import SimulateSimParams

MIXED = ("filaments", "membranes", "dots", "clouds")
HAZE_UM = 0.6  # blur of out-of-focus light: wide enough that no pattern is left in it
_PATTERN, _SCENE, _NOISE, _HAZE = range(4)  # streams of random numbers, so that more frames leave the first as they were


def recording(
    params: SimulateSimParams, picture: NDArray[np.generic] | None, seed: int, token: CancelToken
) -> Iterator[Event]:
    """Yield the events of a recording; what is random at one time depends on seed and time alone."""
    field = Field((params.height, params.width), params.margin, params.pixel_um)
    cutoff = 2 * params.na / params.wavelength_um
    bent = {name: getattr(params, name) for name in ABERRATIONS}
    imaging = Imaging(field, cutoff, bent)
    illumination = illumination_of(params, np.random.default_rng([seed, _PATTERN]))
    camera = Camera(params.gain, params.read_noise, params.camera_offset, params.photon_noise)
    token.check()
    draw = object_of(params, field, picture, seed)
    haze = _haze(params, imaging, draw(0.0), seed)
    reach = cutoff + illumination.reach_per_um
    scale = np.float32(1)
    for time in range(params.frames):
        token.check()
        light = draw(float(time))
        frames = illumination.frames(light, imaging, token.check)
        frames += np.array(illumination.gains, np.float32)[:, None, None] * haze
        if time == 0:
            scale = np.float32(photon_scale(frames, params.photons))
            if not scale:
                raise InputError("the object should send light, found a dark one; choose another image or scene")
            yield from _reports(params, illumination, field, seed, float(scale) * params.gain)
            yield _block("psf", psf_of(params, bent), None)
        token.check()
        counts = as_counts(camera.record(frames * scale, np.random.default_rng([seed, _NOISE, time])))
        place = time if params.frames > 1 else None
        yield _block("raw", _ordered(counts, params), place)
        unit = scale * np.float32(params.gain)
        yield _block("truth", imaging.resolved(light, reach) * unit, place)
        yield _block("object", field.inner(light, 2) * unit, place)
        yield Progress(time + 1, params.frames, "time point")


def illumination_of(params: SimulateSimParams, rng: np.random.Generator) -> Illumination:
    """Return the patterns that the parameters describe, start phases and errors drawn from `rng`."""
    cutoff = 2 * params.na / params.wavelength_um
    k = params.pattern_frequency * cutoff if params.period_um == "auto" else 1 / params.period_um
    if k * params.pixel_um >= 1:
        raise InputError(
            f"the pattern's period should be above one camera pixel ({params.pixel_um:g} um), found {1 / k:.4g} um; "
            "set a larger period_um or a smaller pattern_frequency"
        )
    errors = Errors(params.angle_error_deg, params.phase_error_deg, params.intensity_jitter)
    if params.pattern == "none":
        return uniform(params.angles, params.phases, rng, errors)
    if params.pattern == "hexagonal":
        steps, depth = params.layout.phases, params.modulation
        return hexagonal(rng, k_per_um=k, phases=steps, start_deg=params.start_deg, modulation=depth, errors=errors)
    return stripes(
        rng,
        k_per_um=k,
        angles=params.angles,
        phases=params.phases,
        start_deg=params.start_deg,
        modulation=params.modulation,
        series=THREE_BEAM if params.profile == "three-beam" else SHAPES[params.profile],
        limit_per_um=cutoff,
        errors=errors,
    )


def picture_of(thing: ImageStack | Path) -> NDArray[np.generic]:
    """Return the object image (Y, X): channels averaged, negative values cut off, in 0 ... 255.

    What is not 8-bit is stretched so that its brightest pixel becomes 255.
    """
    if isinstance(thing, ImageStack):
        grid = thing.grid
        array = check_content(thing.read("CYX") if "C" in grid.axes else thing.read("YX")[None], thing.name, False).mean(0)
        eight_bit = thing.dtype == np.uint8
    else:
        from PIL import Image as Pictures

        try:
            with Pictures.open(thing) as opened:
                read = np.asarray(opened if opened.mode in ("L", "I;16", "I", "F") else opened.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            raise InputError(
                f"the object should be an image, {Path(thing).name} can't be read; choose another file"
            ) from None
        array, eight_bit = (read if read.ndim == 2 else read.mean(axis=-1)), read.dtype == np.uint8
    array = np.maximum(np.asarray(array, np.float64), 0)
    if not array.any():
        raise InputError("the object should send light, found an image without any value above 0; choose another image")
    return array if eight_bit else array * (255 / array.max())


def object_of(
    params: SimulateSimParams, field: Field, picture: NDArray[np.generic] | None, seed: int
) -> Callable[[float], Image]:
    """Return a function of time that draws the object on the fine canvas."""
    if picture is not None:
        still = _spread(picture, field)
        return lambda time: still
    kinds = MIXED if params.scene == "mixed" else (params.scene,)
    scene = random_scene(np.random.default_rng([seed, _SCENE]), field.fine_yx, kinds, params.density, 2 * params.speed)
    return scene.draw


def psf_of(params: SimulateSimParams, bent: dict[str, float], size: int = PSF_SIZE) -> Image:
    """Return the image of a point (size, size) on the fine grid, in the middle, sum 1."""
    wide = 4 * size
    transfer = objective_transfer((wide, wide), params.pixel_um / 2, 2 * params.na / params.wavelength_um, bent)
    start = wide // 2 - size // 2
    psf = fft.fftshift(fft.irfft2(transfer, s=(wide, wide)))[start : start + size, start : start + size]
    normalised: Image = (psf / psf.sum()).astype(np.float32)
    return normalised


def upstream_recording(
    params: SimulateSimParams, picture: NDArray[np.generic] | None, seed: int, token: CancelToken
) -> Iterator[Event]:
    """Yield what the authors' simulator makes of an image (or of a phantom) with this seed of their generator."""
    if picture is None:
        canvas = Field((params.height, params.width), 0, params.pixel_um)
        drawn = object_of(params, canvas, None, seed)(0.0)
        picture = drawn * (255 / max(float(drawn.max()), 1e-9))
    shape, random = (params.height, params.width), np.random.RandomState(seed)
    given = params.upstream
    settings = upstream.Settings(
        angles=params.angles,
        shifts=params.phases,
        otf_scale=given.psf_scale,
        mean=given.mean,
        amplitude=given.amplitude,
        alpha=given.alpha,
        angle_error=given.angle_error,
        periods=given.k2,
        shuffle=given.shuffle,
        stripes=params.pattern == "stripes",
        shape=params.profile,  # type: ignore[arg-type]  # the plan refuses three beams
        noise=given.noise_level,
        poisson=given.poisson,
        convolve=given.use_psf,
    )
    settings = upstream.drawn(settings, given.draws, random, given.k2_err)
    light = upstream.object_of(picture, shape)
    raw = upstream.eight_bit(np.stack(list(upstream.frames(light, settings, random, token.check))))
    truth = upstream.eight_bit(upstream.object_of(picture, (given.scale * shape[0], given.scale * shape[1])))
    psf, otf = (fft.fftshift(array) for array in upstream.psf_and_otf(shape, settings.otf_scale))
    report = {**params.model_dump(mode="json"), "seed": seed, "drawn": dict(vars(settings))}
    yield ArtifactReady("parameters", "report", report)
    yield _block("raw", raw, None)
    yield _block("truth", truth, None)
    yield _block("psf", (psf / psf.sum()).astype(np.float32), None)
    yield _block("stack", np.concatenate([raw, upstream.eight_bit(otf)[None], upstream.quadrants(truth, shape)]), None)
    yield Progress(1, 1, "stack")


def _haze(params: SimulateSimParams, imaging: Imaging, light: Image, seed: int) -> Image | np.float32:
    """Return out-of-focus light (y, x): another scene, blurred until no pattern is left in it."""
    if not params.background:
        return np.float32(0)
    rng = np.random.default_rng([seed, _HAZE])
    away = random_scene(rng, imaging.field.fine_yx, ("membranes", "clouds")).draw()
    blurred = np.maximum(imaging.camera(away, blur_um=HAZE_UM), 0)
    mean = params.background * float(imaging.camera(light).mean())
    return blurred * np.float32(mean / max(float(blurred.mean()), 1e-9))


def _spread(picture: NDArray[np.generic], field: Field) -> Image:
    """Return an image on the canvas: its middle fills the field in the field's proportions, mirrored beyond."""
    from skimage.transform import resize

    (height, width), image = field.shape_yx, np.asarray(picture, np.float64) / 255
    unit = min(image.shape[0] / height, image.shape[1] / width)
    wanted = max(1, round(unit * height)), max(1, round(unit * width))
    top, left = (image.shape[0] - wanted[0]) // 2, (image.shape[1] - wanted[1]) // 2
    cut = image[top : top + wanted[0], left : left + wanted[1]]
    fine = np.maximum(resize(cut, (2 * height, 2 * width), order=3, anti_aliasing=True), 0)
    before = 2 * field.margin
    around = [(before, whole - before - n) for whole, n in zip(field.fine_yx, fine.shape, strict=True)]
    spread: Image = np.pad(fine, around, mode="symmetric").astype(np.float32)
    return spread


def _ordered(counts: NDArray[np.uint16], params: SimulateSimParams) -> NDArray[np.uint16]:
    """Return angle-major frames in the order of pages that was asked for."""
    if params.frame_order == "ap" or params.pattern == "hexagonal":
        return counts
    split = counts.reshape(params.angles, params.phases, *counts.shape[1:])
    return np.ascontiguousarray(split.swapaxes(0, 1)).reshape(counts.shape)


def _block(name: str, array: NDArray[Any], time: int | None) -> BlockReady:
    array = array if time is None else array[None]
    whole = tuple(slice(0, n) for n in array.shape)
    return BlockReady(name, whole if time is None else (slice(time, time + 1), *whole[1:]), array)


def _reports(
    params: SimulateSimParams, illumination: Illumination, field: Field, seed: int, counts_per_unit: float
) -> Iterator[Event]:
    truth = illumination.calibration(field, params.na, params.wavelength_um, params.camera_offset)
    if truth.groups[0].carriers:
        yield ArtifactReady("calibration", "transform", truth.model_dump(mode="json"))
    report = {
        **params.model_dump(mode="json", exclude={"upstream"}),
        "seed": seed,
        "cutoff_per_um": truth.cutoff_per_um,
        "truth_cutoff_per_um": truth.cutoff_per_um + illumination.reach_per_um,
        "counts_per_object_unit": counts_per_unit,
        "gains": list(illumination.gains),
        "patterns": [group.model_dump(mode="json") for group in illumination.groups],
    }
    yield ArtifactReady("parameters", "report", report)
