"""Three-beam stacks with known truth: an object, a circular pupil, a pattern that stays in focus."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.stack import ImageStack


class VolumeStack(NamedTuple):
    """Raw frames (N, Z, Y, X), the object (Z, 2 Y, 2 X), k of the first order per angle, and the optics."""

    frames: NDArray[np.float32]
    objects: NDArray[np.float64]
    k: list[tuple[float, float]]
    optics: dict[str, Any]


def psf_of(shape: tuple[int, int, int], pixel: tuple[float, float, float], na: float, wavelength: float, index: float):
    """Return the wide-field point spread function on a periodic grid, its point at voxel 0."""
    nz, ny, nx = shape
    fy, fx = np.fft.fftfreq(ny, pixel[1])[:, None], np.fft.fftfreq(nx, pixel[2])[None]
    fr = np.hypot(fy, fx)
    pupil = fr <= na / wavelength
    kz = np.sqrt(np.maximum((index / wavelength) ** 2 - fr**2, 0))
    z = np.fft.fftfreq(nz, 1 / (nz * pixel[0]))
    psf = np.stack([np.abs(np.fft.ifft2(pupil * np.exp(2j * np.pi * d * kz))) ** 2 for d in z])
    return psf / psf[0].sum(), z


def simulate_volume(seed: int = 0, n: int = 64, planes: int = 16, photons: float = 2000.0, angles: int = 3) -> VolumeStack:
    """Return beads and lines in a volume, recorded with five phases at some angles."""
    rng = np.random.default_rng(seed)
    na, wavelength, excitation, index, pixel, dz = 1.2, 0.525, 0.488, 1.33, 0.075, 0.15
    margin, deep = 16, 2 * planes
    fine = 2 * (n + 2 * margin)
    objects = np.zeros((deep, fine, fine))
    for _ in range(fine * fine // 150):
        objects[rng.integers(deep), rng.integers(fine), rng.integers(fine)] += rng.uniform(1, 5)
    grid = (dz, pixel / 2, pixel / 2)
    psf, z = psf_of(objects.shape, grid, na, wavelength, index)
    x = (np.arange(fine) - fine // 2) * pixel / 2
    k1 = 0.42 * 2 * na / wavelength
    kz = index / excitation - np.sqrt((index / excitation) ** 2 - k1**2)
    plain, waved = np.fft.rfftn(psf), np.fft.rfftn(psf * np.cos(2 * np.pi * kz * z)[:, None, None])
    ks, frames = [], []
    start = rng.uniform(0, np.pi)
    low = (deep - planes) // 2
    for angle in range(angles):
        theta, phase = start + angle * np.pi / angles, rng.uniform(0, 2 * np.pi)
        k = (k1 * np.cos(theta), k1 * np.sin(theta))
        ks.append(k)
        wave = 2 * np.pi * (k[0] * x[None] + k[1] * x[:, None])
        for step in range(5):
            at = wave + phase + 2 * np.pi * step / 5
            spectrum = np.fft.rfftn(objects * (1 + 0.6 * np.cos(2 * at))) * plain
            spectrum += np.fft.rfftn(objects * (0.8 * np.cos(at))) * waved
            image = np.fft.irfftn(spectrum, s=objects.shape)[low : low + planes, ::2, ::2]
            frames.append(image[:, margin : margin + n, margin : margin + n])
    light = np.maximum(np.stack(frames), 0)
    light *= photons / np.percentile(light, 99.5)
    counts = np.round(rng.poisson(light) + 2 * rng.standard_normal(light.shape) + 100).astype(np.float32)
    inner = slice(2 * margin, 2 * (margin + n))
    optics = {
        "na": na,
        "wavelength_um": wavelength,
        "excitation_um": excitation,
        "index": index,
        "pixel_um": (dz, pixel, pixel),
    }
    return VolumeStack(counts, objects[low : low + planes, inner, inner], ks, optics)


class ThreeBeam:
    """How the stacks made here are given to the engine."""

    params: dict[str, Any] = {
        "na": 1.2,
        "wavelength_um": 0.525,
        "excitation_um": 0.488,
        "refractive_index": 1.33,
        "angles": 2,
    }

    @staticmethod
    def place(axes: str) -> dict[str, Any]:
        scale = {"Z": 0.15, "Y": 0.075, "X": 0.075}
        return {"scale": {a: scale[a] for a in axes}, "units": dict.fromkeys(axes, "micrometer")}

    @classmethod
    def raw(cls, stack: VolumeStack) -> ImageStack:
        return ImageStack.of(stack.frames, "NZYX", "raw", **cls.place("ZYX"))
