"""Two oblique views of beads and lines with known truth, as the published comparison describes them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.volumes.projector import VolumeViews

ANGLES = (30.8, -30.8)
MICRONS = dict.fromkeys("ZYX", "micrometer")


def oblique_psf(angle: float, across: float = 1.1, along: float = 2.8, radius: int = 9) -> NDArray[np.float32]:
    """A Gaussian whose axis is tilted from z towards x; sigmas in voxels."""
    tilt, place = math.radians(angle), np.arange(-radius, radius + 1.0)
    z, y, x = np.meshgrid(place, place, place, indexing="ij")
    axial, lateral = z * math.cos(tilt) + x * math.sin(tilt), x * math.cos(tilt) - z * math.sin(tilt)
    psf = np.exp(-0.5 * ((axial / along) ** 2 + (lateral**2 + y**2) / across**2))
    return (psf / psf.sum()).astype(np.float32)


def beads_and_lines(
    shape: tuple[int, int, int] = (40, 64, 64),
    seed: int = 0,
    beads: int = 50,
    lines: int = 24,
    bead: float = 2.5,
    edge: int = 6,
) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape)
    for _ in range(beads):
        volume[tuple(rng.integers(edge, n - edge) for n in shape)] = bead * rng.uniform(0.5, 1)
    for _ in range(lines):
        start, end = (np.array([rng.uniform(edge, n - edge) for n in shape]) for _ in range(2))
        brightness = rng.uniform(0.5, 1)
        for part in np.linspace(0, 1, 400):
            place = tuple(np.round(start + (end - start) * part).astype(int))
            volume[place] = max(volume[place], brightness)
    return gaussian_filter(volume, 0.8).astype(np.float32)


def two_views(
    truth: NDArray[np.float32], peak: float = 200.0, seed: int = 0, angles: tuple[float, ...] = ANGLES, radius: int = 9
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return the truth in photons, the noisy views (V, Z, Y, X) and the PSFs."""
    psfs = [oblique_psf(angle, radius=radius) for angle in angles]
    projector = VolumeViews([torch.from_numpy(psf) for psf in psfs], truth.shape)
    whole = torch.zeros(projector.shape)
    projector.inner(whole).copy_(torch.from_numpy(truth))
    clean = projector.forward(whole).clamp_min(0)
    photons = peak / float(clean.max())
    views = torch.poisson(clean * photons, generator=torch.Generator().manual_seed(seed))
    return truth * np.float32(photons), views.numpy(), psfs


def psnr(result: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((result.astype(np.float64) - truth) ** 2)))


def stack(array: NDArray[np.float32], axes: str = "ZYX", step: float = 0.1, **more: float) -> ImageStack:
    scale = {"Z": step, "Y": step, "X": step, **more}
    return ImageStack.of(array, axes, "views", scale=scale, units={a: u for a, u in MICRONS.items() if a in axes})
