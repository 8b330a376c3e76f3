"""The transfer function of a wide-field microscope in three dimensions, as a table over (fr, fz)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.volume_optics import VolumeOptics

#: Samples of the pupil across its diameter, and of the table along fr up to the cut-off.
PUPIL = 128


class TransferTable:
    """H(fr, fz) of a stack of ``planes``, and of the same after multiplication with cos(2 pi kz z).

    The transfer function of a defocused circular pupil is the autocorrelation of the pupil with the phase of the defocus;
    the Fourier transform over z gives the third dimension.

    Parameters
    ----------
    optics : VolumeOptics
    planes : int
        Length of the period along z.
    """

    def __init__(self, optics: VolumeOptics, planes: int) -> None:
        self.optics, self.planes = optics, planes
        edge = optics.na / optics.wavelength_um
        step = 2 * edge / PUPIL
        f = (torch.arange(2 * PUPIL, dtype=torch.float64) - PUPIL) * step
        radius = torch.hypot(f[:, None], f[None, :])
        depth = torch.sqrt(((optics.refractive_index / optics.wavelength_um) ** 2 - radius.square()).clamp(min=0.0))
        pupil = (radius <= edge).to(torch.complex128)
        self._z = torch.fft.ifftshift(torch.arange(planes, dtype=torch.float64) - planes // 2) * optics.pixel_um[0]
        rows = []
        for z in self._z.tolist():
            field = torch.fft.fft2(torch.fft.ifftshift(pupil * torch.exp(2j * math.pi * z * depth)))
            row = torch.fft.ifft2(field.abs().square())[0].real[: PUPIL + 1]
            rows.append(row)
        table = torch.stack(rows)  # planes x fr, every `step` up to the cut-off
        self._defocused = table / table[torch.argmin(self._z.abs()), 0]
        self._step = step

    def __call__(self, fr: Tensor, kz_per_um: float = 0.0) -> Tensor:
        """Return H at lateral frequencies ``fr`` (Y, X) for all fz of the period, (planes, Y, X) float32."""
        waves = torch.cos(2 * math.pi * kz_per_um * self._z)[:, None]
        table = torch.fft.fft(self._defocused * waves, dim=0).real / self.planes
        place = (fr.double() / self._step).clamp(max=PUPIL - 1e-6)
        low = place.long()
        part = place - low
        values = table[:, low] * (1 - part) + table[:, low + 1] * part
        inside = fr < self.optics.cutoff_per_um
        return torch.where(inside, values, values.new_zeros(())).float()
