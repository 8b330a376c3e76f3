"""Scenes and PSFs of other recipes than those that a fit's constants were chosen on: see `OTHERS`.

Scenes: solid balls with sharp edges, a mesh of thin filaments, sparse beads, dense texture. PSFs: views as parts of a
pupil (scalar diffraction, with aberrations in waves if wished), or those of ``simulate.flfm_psf``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.optics.flfm_microscope import FlfmMicroscope
from napari_recon.optics.flfm_psf import IN_FOCUS, field_at_microlenses, free_space, microlens_array

Array = NDArray[np.float32]


def balls(shape: tuple[int, int, int], seed: int) -> Array:
    """Return fourteen solid balls (z, y, x), each of one brightness, with sharp edges."""
    make, result = np.random.default_rng(seed), np.zeros(shape, np.float32)
    points = _points(shape)
    for _ in range(14):
        radius, light = make.uniform(1.5, 6), make.uniform(0.3, 1)
        place = make.random(3) * (np.array(shape) - 2 * min(radius, shape[0] / 3)) + min(radius, shape[0] / 3)
        away = np.sqrt(((points - place.astype(np.float32)) ** 2).sum(axis=-1)) - radius
        result = np.maximum(result, light * np.clip(0.5 - away, 0, 1))
    return result.astype(np.float32)


def mesh(shape: tuple[int, int, int], seed: int) -> Array:
    """Return forty straight thin filaments (z, y, x) that cross the whole field."""
    make, result = np.random.default_rng(seed), np.zeros(shape, np.float32)
    points = _points(shape)
    for _ in range(40):
        place = (make.random(3) * shape).astype(np.float32)
        way = make.normal(size=3) * [0.35, 1, 1]
        way = (way / np.linalg.norm(way)).astype(np.float32)
        apart = points - place
        across = (apart**2).sum(axis=-1) - (apart @ way) ** 2
        result = np.maximum(result, np.float32(make.uniform(0.3, 1)) * np.exp(-across / (2 * 0.7**2)))
    return result.astype(np.float32)


def beads(shape: tuple[int, int, int], seed: int) -> Array:
    """Return sixty beads (z, y, x), nearly points, of different brightness."""
    make, result = np.random.default_rng(seed), np.zeros(shape, np.float32)
    points = _points(shape)
    for _ in range(60):
        place = (make.random(3) * (np.array(shape) - 4) + 2).astype(np.float32)
        result += np.float32(make.uniform(0.2, 1)) * np.exp(-((points - place) ** 2).sum(axis=-1) / (2 * 0.8**2))
    return (result / result.max()).astype(np.float32)


def texture(shape: tuple[int, int, int], seed: int) -> Array:
    """Return a dense field (z, y, x): smooth noise, its lower part cut off, under a slow envelope."""
    make = np.random.default_rng(seed)
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")))
    noise = np.fft.fftn(make.normal(size=shape))
    fine, slow = (np.fft.ifftn(noise * np.exp(-((frequency / width) ** 2))).real for width in (0.15, 0.03))
    result = np.clip(fine / fine.std() + 0.3, 0, None) * np.clip(slow / slow.std() + 1.5, 0, None)
    return (result / result.max()).astype(np.float32)


#: Scenes by name.
OTHERS = {"solid balls": balls, "filament mesh": mesh, "sparse beads": beads, "dense texture": texture}


def _points(shape: tuple[int, int, int]) -> Array:
    return np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(np.float32)


def pupil_psf(
    places_v2: NDArray[np.float64],
    planes: int,
    *,
    slope: float = 1.0,
    waist: float = 0.2,
    reach: int = 16,
    waves: NDArray[np.float64] | None = None,
) -> Array:
    """Return the PSF (v, z, y, x) of views that each see through a round part of one pupil.

    Parameters
    ----------
    places_v2 : ndarray
        Middles of the parts (y, x), in their mutual distance.
    slope : float
        Pixels that a view at distance 1 moves per plane.
    waist : float
        Highest frequency that a part lets pass as a field, cycles per pixel; intensities reach twice as far.
    reach : int
        Pixels on either side of the middle.
    waves : ndarray, optional
        Aberrations (v, 3) in waves (amplitudes at the edge of each part): defocus, astigmatism along the axes and
        between them.

    Notes
    -----
    A plane at depth z adds a phase ``pi c z |p|^2`` at the pupil's place p (all parts): its linear part moves the view,
    its quadratic part, together with the aberration, blurs it.
    """
    size = 4 * reach + 1
    frequency = np.fft.fftfreq(size)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    inside = np.hypot(y, x) < waist
    y, x = y / waist, x / waist
    depth = np.arange(planes) - (planes - 1) / 2
    curved = math.pi * waist * slope / 2  # radians at the edge per plane: parts that touch are 2 radii apart
    result = np.empty((len(places_v2), planes, 2 * reach + 1, 2 * reach + 1), np.float32)
    for view, (at_y, at_x) in enumerate(places_v2):
        defocus, straight, oblique = (0.0, 0.0, 0.0) if waves is None else waves[view]
        still = 2 * math.pi * (defocus * (y**2 + x**2) + straight * (y**2 - x**2) + oblique * 2 * y * x)
        for plane, z in enumerate(depth):
            phase = curved * z * (y**2 + x**2) + still
            phase = phase - 2 * math.pi * waist * slope * z * (at_y * y + at_x * x)
            image = np.fft.fftshift(np.abs(np.fft.ifft2(inside * np.exp(1j * phase))) ** 2)
            kept = image[reach : reach + 2 * reach + 1, reach : reach + 2 * reach + 1]
            result[view, plane] = kept / kept.sum()
    return result


def microscope_psf(waves: NDArray[np.float64] | None = None, planes: int = 15, radius: int = 15) -> Array:
    """Return the PSF (7, z, y, x) of a Fourier light-field microscope, by the optics of ``simulate.flfm_psf``.

    `waves` (7, 3) are aberrations of its microlenses, as those of `pupil_psf`.
    """
    microscope = FlfmMicroscope(
        na=0.8,
        magnification=40.0,
        medium_index=1.33,
        wavelength_um=0.525,
        fourier_um=150000.0,
        microlens_um=120000.0,
        pitch_um=1950.0,
        pixels_per_lens=75,
    )
    lenses, centres, lens = microlens_array(microscope), microscope.lens_centres, microscope.lens_pixels // 2
    at = torch.arange(-lens, lens + 1, dtype=torch.float64) * microscope.pitch_um / microscope.pixels_per_lens
    y, x = at[:, None] / (microscope.pitch_um / 2), at[None, :] / (microscope.pitch_um / 2)
    shapes = torch.stack([y * y + x * x, y * y - x * x, 2 * y * x])
    for (row, column), each in zip(centres.tolist(), np.zeros((7, 3)) if waves is None else waves, strict=True):
        phase = torch.einsum("k,kyx->yx", torch.from_numpy(each), shapes)
        lenses[row - lens : row + lens + 1, column - lens : column + lens + 1] *= torch.exp(2j * math.pi * phase)
    result = np.empty((7, planes, 2 * radius + 1, 2 * radius + 1), np.float32)
    for plane in range(planes):
        depth = 1.4 * (plane - (planes - 1) / 2) or IN_FOCUS
        wave = torch.fft.ifft2(torch.fft.fft2(field_at_microlenses(microscope, depth) * lenses) * free_space(microscope))
        image = wave.abs().square().numpy()
        for view, (row, column) in enumerate(centres.tolist()):
            result[view, plane] = image[row - radius : row + radius + 1, column - radius : column + radius + 1]
    return result / result.sum(axis=(-2, -1), keepdims=True)


def around(views: int, middle: bool = True) -> NDArray[np.float64]:
    """Return places (v, 2) on a circle of radius 1, and the middle first."""
    angle = np.arange(views - middle) * 2 * math.pi / (views - middle) + 0.1
    ring = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return np.concatenate([np.zeros((1, 2)), ring]) if middle else ring
