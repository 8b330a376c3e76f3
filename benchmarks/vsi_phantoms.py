"""Phantoms for a small VSI-SR network: a light-sheet stack, and its truth through a PSF that is narrower along x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import fftconvolve

from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.scene import Canvas, random_scene
from napari_recon.optics.light_sheet import light_sheet_psf

Volume = NDArray[np.float32]
NARROWER = 1.6
"""How much narrower along x the truth's PSF is, as structured light makes it."""
SCALE = 1.5


class Example(NamedTuple):
    """A recording with its truths on the finer grid.

    Attributes
    ----------
    stack : ndarray
        (z, y, x) photons and noise.
    clean : ndarray
        The same without noise.
    sharp : ndarray
        (z, 1.5 y, 1.5 x): narrower along x.
    isotropic : ndarray
        Narrower along y and x: what three orientations are to give.
    psf, narrow_psf : ndarray
        Of the stack, on its voxels; of `isotropic`, on its own.
    voxel_um : tuple
        Of the stack (z, y, x).
    optics : tuple
        na, wavelength_um.
    """

    stack: Volume
    clean: Volume
    sharp: Volume
    isotropic: Volume
    psf: Volume
    narrow_psf: Volume
    voxel_um: tuple[float, float, float]
    optics: tuple[float, float]


def example(seed: int, size: int = 96, planes: int = 20, isotropic: bool = False) -> Example:
    """Return a recording of random structures, optics and noise; `isotropic` costs a third blur."""
    rng = np.random.default_rng([seed, 77])
    na, wavelength = rng.uniform(0.9, 1.1), rng.uniform(0.49, 0.65)
    pixel, sheet = 0.25 * wavelength / na * rng.uniform(0.62, 0.85), rng.uniform(0.7, 1.4)
    fine = pixel / SCALE
    pitch = pixel * rng.uniform(1.0, 2.0)
    shape = (int(np.ceil((planes + 4) * pitch / fine)), round(size * SCALE), round(size * SCALE))
    room = np.array([n / 2 + 6 for n in shape])
    kind = rng.integers(3)
    tubes, beads, bubbles = [(40, 60, 6), (90, 0, 2), (10, 400, 8)][kind]
    many = shape[0] / 50 * rng.uniform(0.5, 1.5)
    scene = random_scene(
        room, seed, tubes=round(tubes * many), beads=round(beads * many), bubbles=round(bubbles * many), speed=0.0,
        tube_radius=rng.uniform(0.6, 1.2), bead_radius=rng.uniform(1.0, 2.5), bubble_radius=rng.uniform(6.0, 16.0),
    )  # fmt: skip
    phantom = scene.draw(Canvas(shape, 1.0), 0.0, lambda: None)

    def through(*narrower: float) -> Volume:
        psf = light_sheet_psf(na, wavelength, 1.33, sheet, tuple(fine * n for n in (1.0, *narrower)))
        blurred = np.maximum(fftconvolve(phantom, psf, mode="same"), 0)
        return at_planes(blurred.astype(np.float32), planes, pitch / fine)

    blurred = through(1.0, 1.0)
    half = (np.arange(size) + 0.5) * SCALE - 0.5
    clean = ndimage.map_coordinates(blurred, np.meshgrid(np.arange(planes), half, half, indexing="ij"), order=3)
    clean = np.maximum(clean, 0).astype(np.float32)
    clean *= np.exp(rng.uniform(np.log(80), np.log(3000))) / clean.max()
    haze = clean.max() * rng.uniform(0.0, 0.08)
    stack = record(clean + haze, rng, background=100.0, read_noise=1.5).astype(np.float32)
    voxel = (pitch, pixel, pixel)
    other = through(NARROWER, NARROWER) if isotropic else blurred[:0]
    own = light_sheet_psf(na, wavelength, 1.33, sheet, voxel)
    narrow = light_sheet_psf(na, wavelength, 1.33, sheet, (pitch, fine * NARROWER, fine * NARROWER))
    return Example(stack, clean, through(1.0, NARROWER), other, own, narrow, voxel, (na, wavelength))


def at_planes(volume: Volume, planes: int, pitch: float) -> Volume:
    """Return `planes` planes around the middle, `pitch` voxels apart."""
    z = (len(volume) - 1) / 2 + (np.arange(planes) - (planes - 1) / 2) * pitch
    low = np.floor(z).astype(int)
    part = (z - low)[:, None, None].astype(np.float32)
    found: Volume = volume[low] * (1 - part) + volume[low + 1] * part
    return found
