"""Transfer functions and direct Fourier sums on grids that need not share a pixel size.

Positions and frequencies are given in one common length unit (for light fields: the light-field pixel and
cycles per light-field pixel), so a volume grid and a view grid of another pitch meet in one spectrum without
any resampling step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def gaussian_transfer(frequency: Tensor, sigma: float) -> Tensor:
    """Return the transfer of a normalised Gaussian of standard deviation ``sigma`` at ``frequency``."""
    return torch.exp(-2.0 * (math.pi * sigma * frequency) ** 2)


def triangle_transfer(frequency: Tensor, width: float) -> Tensor:
    """Return the transfer of linear interpolation on a grid of pitch ``width``.

    A linear interpolation at a fixed sub-pixel offset blurs by an amount that depends on the offset; averaged
    over all offsets the kernel is exactly the triangle of half-width ``width``, whose transfer is sinc squared.
    """
    transfer: Tensor = torch.special.sinc(frequency * width) ** 2
    return transfer


def bicubic_transfer(frequency: Tensor, width: float = 1.0, sharpness: float = -0.5) -> Tensor:
    """Return the transfer of the antialiased bicubic kernel stretched to an output pixel of ``width``.

    Parameters
    ----------
    frequency : Tensor
        Frequencies in cycles per unit length, any shape.
    width : float
        Output pixel pitch in the same unit; the kernel's support is four output pixels.
    sharpness : float
        The free parameter of the cubic convolution kernel (-0.5 for antialiased resizing).

    Returns
    -------
    Tensor
        Real transfer, 1 at zero frequency.

    References
    ----------
    R. Keys, 1981, doi 10.1109/TASSP.1981.1163711.
    """
    samples = 512
    position = (torch.arange(2 * samples, dtype=torch.float64, device=frequency.device) + 0.5) / samples
    a = sharpness
    inner = ((a + 2) * position - (a + 3)) * position**2 + 1
    outer = ((a * position - 5 * a) * position + 8 * a) * position - 4 * a
    kernel = torch.where(position < 1, inner, outer)
    kernel = kernel / kernel.sum()
    flat = frequency.reshape(-1, 1).double() * width
    transfer = (torch.cos(2 * math.pi * flat * position) * kernel).sum(dim=1)
    return transfer.reshape(frequency.shape).to(frequency.dtype)


@dataclass(frozen=True)
class SpectrumWindow:
    """The low frequencies of a real two-dimensional periodic domain that the views can carry.

    Attributes
    ----------
    grid_yx : tuple of int
        Voxels of the domain per axis.
    length_yx : tuple of float
        Length of the domain per axis in the common unit.
    cut_yx : tuple of int
        Highest cycle number kept per axis; the window holds ``2 cut_y + 1`` by ``cut_x + 1`` frequencies.
    highest : float
        Frequency beyond which, in any direction, nothing need be kept (see :meth:`columns`).
    """

    grid_yx: tuple[int, int]
    length_yx: tuple[float, float]
    cut_yx: tuple[int, int]
    highest: float = math.inf

    @classmethod
    def below(cls, grid_yx: tuple[int, int], length_yx: tuple[float, float], frequency: float) -> SpectrumWindow:
        """Keep every cycle number up to ``frequency``, but stay under the grid's own Nyquist frequency."""
        cut_y, cut_x = (
            max(0, min(int(frequency * length), (size - 1) // 2)) for size, length in zip(grid_yx, length_yx, strict=True)
        )
        return cls(grid_yx, length_yx, (cut_y, cut_x), frequency)

    @property
    def shape(self) -> tuple[int, int]:
        """Kept frequencies along y (both signs) and x (non-negative half)."""
        return 2 * self.cut_yx[0] + 1, self.cut_yx[1] + 1

    @property
    def count(self) -> int:
        """Number of kept frequencies."""
        return self.shape[0] * self.shape[1]

    def columns(self, first: int, last: int) -> int:
        """Return how many x frequencies, from zero, hold all frequencies up to ``highest`` of the rows first..last."""
        cut_y, cut_x = self.cut_yx
        number = min(n if n <= cut_y else 2 * cut_y + 1 - n for n in range(first, last))
        left = self.highest**2 - (number / self.length_yx[0]) ** 2
        return min(cut_x, int(math.sqrt(max(left, 0.0)) * self.length_yx[1])) + 1 if math.isfinite(left) else cut_x + 1

    def frequencies_y(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the kept y frequencies (0, 1, ..., cut, -cut, ..., -1) / length, float64."""
        cut = self.cut_yx[0]
        numbers = torch.cat([torch.arange(0, cut + 1), torch.arange(-cut, 0)])
        return numbers.to(device=device, dtype=torch.float64) / self.length_yx[0]

    def frequencies_x(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the kept x frequencies (0, 1, ..., cut) / length, float64."""
        numbers = torch.arange(0, self.cut_yx[1] + 1, device=device, dtype=torch.float64)
        return numbers / self.length_yx[1]

    def take(self, planes: Tensor) -> Tensor:
        """Return the kept spectrum of real planes (n, y, x) as complex (n, ky, kx), unnormalised."""
        cut_y, cut_x = self.cut_yx
        rows = torch.fft.rfft(planes, dim=-1)[..., : cut_x + 1]
        full: Tensor = torch.fft.fft(rows, dim=-2)
        if cut_y == 0:
            return full[..., :1, :]
        return torch.cat([full[..., : cut_y + 1, :], full[..., -cut_y:, :]], dim=-2)

    def put(self, spectrum: Tensor) -> Tensor:
        """Return the real planes (n, y, x) whose kept spectrum is ``spectrum``: the transpose of ``take``.

        Frequencies with x cycle number above zero stand for themselves and their mirror image, so the result is
        the transpose for spectra weighted by that multiplicity, which is what :meth:`weights` returns.
        """
        cut_y, _ = self.cut_yx
        size_y, size_x = self.grid_yx
        full = spectrum.new_zeros((*spectrum.shape[:-2], size_y, spectrum.shape[-1]))
        full[..., : cut_y + 1, :] = spectrum[..., : cut_y + 1, :]
        if cut_y:
            full[..., -cut_y:, :] = spectrum[..., cut_y + 1 :, :]
        rows = torch.fft.ifft(full, dim=-2, norm="forward")
        planes: Tensor = torch.fft.irfft(rows, n=size_x, dim=-1, norm="forward")
        return planes


def direct_phase(frequencies: Tensor, positions: Tensor) -> Tensor:
    """Return exp(2 pi i f p), complex128 of shape (positions, frequencies)."""
    return torch.exp(2j * math.pi * positions.double()[:, None] * frequencies.double()[None, :])
