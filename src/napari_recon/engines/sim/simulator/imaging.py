"""The optics: a field with its surroundings, the transfer function of the objective, light in and camera pixels out.

The object lives on a grid of half the camera's pixel size, on a canvas that is larger than the field by a margin on
each side, so that borders are as in a real picture: not periodic. Fine pixel 2 j lies on camera pixel j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_recon.engines.sim.simulator.objects import Image, frequencies

ABERRATIONS = ("defocus", "astigmatism", "coma", "spherical")


@dataclass(frozen=True)
class Field:
    """The camera's field on its canvas.

    Attributes
    ----------
    shape_yx : tuple of int
        Camera pixels.
    margin : int
        Camera pixels around the field that still send light into it; 0 makes the field periodic.
    pixel_um : float
        Camera pixel in the sample.
    """

    shape_yx: tuple[int, int]
    margin: int
    pixel_um: float

    @cached_property
    def canvas_yx(self) -> tuple[int, int]:
        """Camera pixels of the canvas; rounded up to sizes with fast transforms unless the field is periodic."""
        y, x = (fft.next_fast_len(n + 2 * self.margin, real=True) if self.margin else n for n in self.shape_yx)
        return y, x

    @property
    def fine_yx(self) -> tuple[int, int]:
        """Fine pixels of the canvas."""
        return 2 * self.canvas_yx[0], 2 * self.canvas_yx[1]

    def positions_um(self, axis: int) -> NDArray[np.float64]:
        """Return where fine pixels lie along y (0) or x (1), from camera pixel n // 2 of the field."""
        zero = 2 * (self.margin + self.shape_yx[axis] // 2)
        positions: NDArray[np.float64] = (np.arange(self.fine_yx[axis]) - zero) * self.pixel_um / 2
        return positions

    def inner(self, image: Image, factor: int = 1) -> Image:
        """Return the field without its margin from a canvas with `factor` samples per camera pixel."""
        start, (y, x) = self.margin * factor, self.shape_yx
        return image[..., start : start + y * factor, start : start + x * factor]


def aperture_transfer(q: NDArray[np.floating]) -> Image:
    """Return the incoherent transfer of a circular aperture at `q`, the frequency over the cut-off."""
    q = np.minimum(np.abs(q), 1.0)
    transfer: Image = (2 / math.pi * (np.arccos(q) - q * np.sqrt(1 - q * q))).astype(np.float32)
    return transfer


def objective_transfer(
    shape_yx: tuple[int, int], pixel_um: float, cutoff_per_um: float, aberrations_waves: Mapping[str, float] | None = None
) -> NDArray[np.complexfloating] | Image:
    """Return the half spectrum (rfft2 order) of the point spread function, 1 at zero frequency.

    Parameters
    ----------
    shape_yx : tuple of int
    pixel_um : float
    cutoff_per_um : float
        2 NA / wavelength.
    aberrations_waves : mapping, optional
        Zernike terms of `ABERRATIONS` in waves rms; without any the transfer is real.
    """
    fy, fx = frequencies(shape_yx, pixel_um)
    qy, qx = np.broadcast_arrays(fy / cutoff_per_um, fx / cutoff_per_um)
    ideal = aperture_transfer(np.hypot(qy, qx))
    terms = {name: waves for name, waves in (aberrations_waves or {}).items() if waves}
    if not terms:
        return ideal
    loss = _loss(terms)  # sampled on q = -1 ... 1
    middle = loss.shape[0] // 2
    places = np.stack([qy * middle + middle, qx * middle + middle])
    real, imaginary = (ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in (loss.real, loss.imag))
    transfer: NDArray[np.complexfloating] = (ideal * (real + 1j * imaginary)).astype(np.complex64)
    return transfer


def _loss(terms: Mapping[str, float]) -> NDArray[np.complex64]:
    """Return the transfer with aberrations over the one without, on a square of q = -1 ... 1."""
    aperture, zernike, bare = _pupil()
    wave = sum(np.float32(waves) * zernike[name] for name, waves in terms.items())
    bent = _autocorrelation(aperture * np.exp(np.complex64(2j * math.pi) * wave))
    low = np.abs(bare) < 1e-5 * np.abs(bare).max()
    ratio: NDArray[np.complex64] = np.where(low, 0, bent / np.where(low, 1, bare))
    return ratio


@lru_cache(maxsize=1)
def _pupil(radius: int = 32) -> tuple[Image, dict[str, Image], NDArray[np.complex64]]:
    """Return the aperture of `radius` samples, its Zernike terms (rms 1, Noll's normalisation), its autocorrelation."""
    axis = ((np.arange(4 * radius) - 2 * radius) / radius).astype(np.float32)
    y, x = np.broadcast_arrays(axis[:, None], axis[None])
    rho, angle = np.hypot(y, x), np.arctan2(y, x)
    aperture = np.clip((1 - rho) * radius + 0.5, 0, 1).astype(np.float32)
    zernike = {
        "defocus": math.sqrt(3) * (2 * rho**2 - 1),
        "astigmatism": math.sqrt(6) * rho**2 * np.cos(2 * angle),
        "coma": math.sqrt(8) * (3 * rho**3 - 2 * rho) * np.cos(angle),
        "spherical": math.sqrt(5) * (6 * rho**4 - 6 * rho**2 + 1),
    }
    within = {name: np.where(aperture > 0, term, 0).astype(np.float32) for name, term in zernike.items()}
    return aperture, within, _autocorrelation(aperture)


def _autocorrelation(pupil: NDArray[np.generic]) -> NDArray[np.complex64]:
    """Return the autocorrelation of a pupil that fills the middle half of its square; zero shift in the middle."""
    spectrum = fft.fft2(pupil)
    correlated: NDArray[np.complex64] = fft.fftshift(fft.ifft2((spectrum * spectrum.conj()).real))
    return correlated


class Imaging:
    """Fine canvases in, pictures of the field out.

    Parameters
    ----------
    field : Field
    cutoff_per_um : float
        At most the camera's Nyquist frequency 1 / (2 pixel_um).
    aberrations_waves : mapping, optional
        See `objective_transfer`.
    """

    def __init__(self, field: Field, cutoff_per_um: float, aberrations_waves: Mapping[str, float] | None = None) -> None:
        self.field = field
        self._transfer = objective_transfer(field.canvas_yx, field.pixel_um, cutoff_per_um, aberrations_waves)

    def camera(self, light: Image, blur_um: float = 0.0) -> Image:
        """Return what the camera sees (..., y, x) of light on the fine canvas (..., Y, X).

        Parameters
        ----------
        light : numpy.ndarray
        blur_um : float
            Standard deviation of a further Gaussian blur, for light from out of focus.

        Returns
        -------
        numpy.ndarray
            float32; uniform light keeps its value.
        """
        (ny, nx), transfer = self.field.canvas_yx, self._transfer
        if blur_um:
            fy, fx = frequencies(self.field.canvas_yx, self.field.pixel_um)
            transfer = transfer * np.exp(-2 * (math.pi * blur_um) ** 2 * (fy * fy + fx * fx))
        spectrum = fft.rfft2(light)
        low = np.concatenate([spectrum[..., : (ny + 1) // 2, :], spectrum[..., spectrum.shape[-2] - ny // 2 :, :]], axis=-2)
        image = fft.irfft2(low[..., : nx // 2 + 1] * (transfer / np.float32(4)), s=(ny, nx))
        return self.field.inner(image.astype(np.float32, copy=False))

    def resolved(self, light: Image, limit_per_um: float) -> Image:
        """Return the fine field of what a microscope with cut-off `limit_per_um` would see of the canvas `light`."""
        fy, fx = frequencies(self.field.fine_yx, self.field.pixel_um / 2)
        filtered = fft.irfft2(fft.rfft2(light) * aperture_transfer(np.hypot(fy, fx) / limit_per_um), s=self.field.fine_yx)
        return self.field.inner(filtered.astype(np.float32, copy=False), 2)
