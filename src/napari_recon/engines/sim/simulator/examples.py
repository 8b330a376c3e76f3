"""Training data out of nothing: example `index` of a `seed` is the same whichever process makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.simulator.camera import Camera, photon_scale
from napari_recon.engines.sim.simulator.imaging import Field, Imaging
from napari_recon.engines.sim.simulator.objects import KINDS, Image, random_scene
from napari_recon.engines.sim.simulator.patterns import Errors, Illumination, stripes

Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """From what examples are drawn; pairs are lowest and highest value, drawn uniformly unless said otherwise.

    Attributes
    ----------
    sampling : pair
        Pixel size over the largest that still samples the OTF, wavelength / (4 NA).
    period : pair
        |k| over the cut-off 2 NA / wavelength.
    photons : pair
        99th percentile of the raw frames; drawn uniformly in its logarithm.
    background : pair
        Out-of-focus light relative to the light in focus.
    defocus_waves : pair
        Rms of the defocus; astigmatism, coma and spherical aberration get up to as much each.
    angle_error_deg, phase_error_deg, intensity_jitter : float
        See `Errors`; every example draws how much of it applies to it.
    """

    angles: int = 3
    phases: int = 3
    na: float = 1.2
    wavelength_um: float = 0.525
    sampling: Range = (0.55, 1.0)
    period: Range = (0.4, 0.97)
    modulation: Range = (0.35, 1.0)
    photons: Range = (40.0, 4000.0)
    read_noise: Range = (0.5, 4.0)
    background: Range = (0.0, 1.0)
    defocus_waves: Range = (0.0, 0.03)
    angle_error_deg: float = 3.0
    phase_error_deg: float = 10.0
    intensity_jitter: float = 0.05
    kinds: tuple[str, ...] = KINDS
    margin: int = 12


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One simulated recording with its truth.

    Attributes
    ----------
    raw : numpy.ndarray
        (N, y, x) float32, angle-major, photons with noise, the camera's offset subtracted.
    truth : numpy.ndarray
        (2 y, 2 x) float32 in the same unit: the object as a microscope with cut-off fc + |k| sees it.
    calibration : Calibration
        The true pattern.
    """

    raw: Image
    truth: Image
    calibration: Calibration


def make_example(
    seed: int,
    index: int,
    size: tuple[int, int] = (96, 96),
    ranges: Ranges = Ranges(),
    pictures: Sequence[Image] = (),
) -> TrainingExample:
    """Return example `index` of the endless series that `seed` names.

    Parameters
    ----------
    seed, index : int
        Each pair has a random generator of its own, so workers never repeat each other's examples.
    size : tuple of int
        Camera pixels (y, x) of the raw frames.
    ranges : Ranges
    pictures : sequence of numpy.ndarray
        Images (Y, X), not negative, that are looked at instead of phantoms, pixel for fine pixel; a random piece of one.

    Examples
    --------
    >>> example = make_example(0, 0, (32, 32))
    >>> example.raw.shape, example.truth.shape
    ((9, 32, 32), (64, 64))
    """
    rng = np.random.default_rng([seed, index])
    cutoff = 2 * ranges.na / ranges.wavelength_um
    field = Field(size, ranges.margin, rng.uniform(*ranges.sampling) / (2 * cutoff))
    imaging = Imaging(field, cutoff, _aberrations(rng, ranges))
    illumination = _illumination(rng, ranges, cutoff)
    light = _piece(rng, field, pictures) if len(pictures) else _object(rng, field, ranges)
    frames = illumination.frames(light, imaging)
    frames += _haze(rng, field, imaging, float(frames.mean()) * rng.uniform(*ranges.background), illumination)
    fewest, most = ranges.photons
    scale = photon_scale(frames, fewest * (most / fewest) ** rng.random())
    camera = Camera(1.0, rng.uniform(*ranges.read_noise), 0.0)
    raw = camera.record(frames * np.float32(scale), rng)
    truth = imaging.resolved(light, cutoff + illumination.reach_per_um) * np.float32(scale)
    return TrainingExample(raw, truth, illumination.calibration(field, ranges.na, ranges.wavelength_um))


def _illumination(rng: np.random.Generator, ranges: Ranges, cutoff: float) -> Illumination:
    part = rng.random()
    return stripes(
        rng,
        k_per_um=rng.uniform(*ranges.period) * cutoff,
        angles=ranges.angles,
        phases=ranges.phases,
        start_deg=rng.uniform(0, 360),
        modulation=rng.uniform(*ranges.modulation),
        errors=Errors(ranges.angle_error_deg * part, ranges.phase_error_deg * part, ranges.intensity_jitter * part),
    )


def _object(rng: np.random.Generator, field: Field, ranges: Ranges) -> Image:
    """Return a random choice of layers, each of its own brightness, over a faint floor."""
    chosen = [kind for kind in ranges.kinds if rng.random() < 0.4] or [str(rng.choice(ranges.kinds))]
    light = np.full(field.fine_yx, rng.uniform(0, 0.03), np.float32)
    for kind in chosen:
        density = math.exp(rng.uniform(math.log(0.3), math.log(3)))
        light += np.float32(math.exp(rng.uniform(-1.5, 0))) * random_scene(rng, field.fine_yx, (kind,), density).draw()
    return light


def _piece(rng: np.random.Generator, field: Field, pictures: Sequence[Image]) -> Image:
    """Return a random piece of a random picture, turned or mirrored; a small picture is continued by its mirror images."""
    picture = pictures[int(rng.integers(len(pictures)))]
    if rng.random() < 0.5:
        picture = picture.T
    height, width = field.fine_yx
    missing = [max(0, n - m) for n, m in zip((height, width), picture.shape, strict=True)]
    padded = np.pad(picture, [(0, n) for n in missing], mode="symmetric")
    y, x = (int(rng.integers(m - n + 1)) for m, n in zip(padded.shape, (height, width), strict=True))
    piece = padded[y : y + height, x : x + width][:: int(rng.choice((1, -1))), :: int(rng.choice((1, -1)))]
    return np.ascontiguousarray(piece, np.float32) / max(float(piece.max()), 1e-9)


def _haze(
    rng: np.random.Generator, field: Field, imaging: Imaging, mean: float, illumination: Illumination
) -> Image | np.float32:
    """Return out-of-focus light of a `mean`: so blurred that it shows no pattern, but it follows the frames' gains."""
    if mean <= 0:
        return np.float32(0)
    away = random_scene(rng, field.fine_yx, (str(rng.choice(KINDS)),)).draw()
    blurred = np.maximum(imaging.camera(away, blur_um=rng.uniform(4, 12) * field.pixel_um), 0)
    blurred *= np.float32(mean / max(float(blurred.mean()), 1e-9))
    return np.array(illumination.gains, np.float32)[:, None, None] * blurred


def _aberrations(rng: np.random.Generator, ranges: Ranges) -> dict[str, float]:
    largest = rng.uniform(*ranges.defocus_waves)
    if not largest:
        return {}
    bent = rng.uniform(-largest, largest, 3)
    return {"defocus": largest, "astigmatism": float(bent[0]), "coma": float(bent[1]), "spherical": float(bent[2])}
