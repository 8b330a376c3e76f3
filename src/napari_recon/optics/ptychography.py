"""Fourier ptychography: images of a refractive-index volume lit by tilted plane waves, through a small aperture.

The wave of each lamp passes the planes one after the other (multi-slice): a plane delays it by what its index differs from
the medium's, and between planes it propagates as an angular spectrum. What comes out, refocused to the middle of the volume,
is cut by the aperture to the camera's sampling. Everything is differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WATER = 1.33


@dataclass(frozen=True)
class PtychographOptics:
    """Lengths in micrometers.

    Attributes
    ----------
    na, wavelength_um : float
        Of the objective; wavelength in vacuum.
    pixel_um : tuple of float
        Size of a camera pixel in the sample, (y, x).
    upsampling : int
        Voxels per pixel.
    plane_um : float
        Distance of planes.
    medium_index : float
    """

    na: float
    wavelength_um: float
    pixel_um: tuple[float, float]
    upsampling: int
    plane_um: float
    medium_index: float = WATER


class Ptychograph:
    """Maps refractive indices (z, y, x) to images (lamps, y, x), the light without sample being 1.

    Parameters
    ----------
    optics : PtychographOptics
    image_yx : tuple of int
    lamps_na : sequence of (float, float)
        Sines of each lamp's direction, (y, x); they are rounded to the volume's frequencies.
    planes : int
    device : torch.device or str
    """

    def __init__(
        self,
        optics: PtychographOptics,
        image_yx: tuple[int, int],
        lamps_na: Sequence[tuple[float, float]],
        planes: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._image, self._volume = image_yx, tuple(n * optics.upsampling for n in image_yx)
        self._delay = 2 * math.pi * optics.plane_um / optics.wavelength_um
        self._medium, self._device = optics.medium_index, torch.device(device)
        pixels = [size / optics.upsampling for size in optics.pixel_um]
        fy, fx = (torch.fft.fftfreq(n, step, dtype=torch.float64) for n, step in zip(self._volume, pixels, strict=True))
        squared = (fy[:, None] ** 2 + fx[None, :] ** 2).to(self._device)
        along = (optics.medium_index / optics.wavelength_um) ** 2 - squared
        phase = 2 * math.pi * optics.plane_um * along.clamp_min(0).sqrt()
        travelling = (along > 0).to(torch.complex64)
        self._step = torch.exp(1j * phase).to(torch.complex64) * travelling
        back = torch.exp(-1j * phase * (planes - 1) / 2).to(torch.complex64)
        aperture = (squared <= (optics.na / optics.wavelength_um) ** 2).to(torch.complex64)
        self._exit = self._cropped(back * aperture * travelling)
        lengths = [n * step for n, step in zip(self._volume, pixels, strict=True)]
        self.orders = [
            tuple(round(sine / optics.wavelength_um * length) for sine, length in zip(lamp, lengths, strict=True))
            for lamp in lamps_na
        ]

    def images(self, index_zyx: Tensor, lamps: Sequence[int]) -> Tensor:
        """Return the intensities (lamps, y, x) float32 of some of the lamps."""
        wave = torch.stack([self._lit(*self.orders[lamp]) for lamp in lamps])
        planes = torch.exp(1j * self._delay * (index_zyx - self._medium).to(torch.complex64))
        for number, plane in enumerate(planes):
            wave = wave * plane
            if number < len(planes) - 1:
                wave = torch.fft.ifft2(torch.fft.fft2(wave) * self._step)
        spectrum = self._cropped(torch.fft.fft2(wave)) * self._exit
        share = math.prod(self._image) / math.prod(self._volume)
        found: Tensor = (torch.fft.ifft2(spectrum) * share).abs().square()
        return found

    def _lit(self, order_y: int, order_x: int) -> Tensor:
        """Return the tilted wave (y, x) of a lamp."""
        height, width = self._volume
        y = torch.arange(height, device=self._device, dtype=torch.float64)[:, None] * (order_y / height)
        x = torch.arange(width, device=self._device, dtype=torch.float64)[None, :] * (order_x / width)
        return torch.exp(2j * math.pi * (y + x)).to(torch.complex64)

    def _cropped(self, spectrum: Tensor) -> Tensor:
        """Return the low frequencies that the camera samples."""
        for axis, size in zip((-2, -1), self._image, strict=True):
            count = spectrum.shape[axis]
            kept = torch.fft.fftfreq(size, 1 / size).round().long() % count
            spectrum = spectrum.index_select(axis, kept.to(spectrum.device))
        return spectrum
