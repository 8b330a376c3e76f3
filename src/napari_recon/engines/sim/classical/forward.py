"""The calibrated forward model: which raw frames a given image would have made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.edges import Edges, continued, padded_size
from napari_recon.engines.sim.classical.filters import Apodisation, apodisation
from napari_recon.engines.sim.classical.otf import CircularOtf, Transfer

#: What an apodisation has reduced below this share is gone.
LEAST_LEFT = 1e-3


class ForwardModel:
    """What an image R on the twice finer grid is recorded as: gain_n h * (R (1 + sum m cos(2 pi k r + phi_n))) + offset.

    Parameters
    ----------
    calibration : Calibration
    shape_yx : tuple of int
        Raw pixels; images have twice as many, index 2 j on raw pixel j.
    transfer : callable, optional
        The objective's; by default that of a circular aperture.
    apodised : {"none", "otf", "triangle", "cosine"}
        The apodisation the images carry; it is undone, as far as it left something, before they are imaged.
    edges : {"mirror", "periodic"}
        What is assumed beyond the field.
    """

    def __init__(
        self,
        calibration: Calibration,
        shape_yx: tuple[int, int],
        transfer: Transfer | None = None,
        *,
        apodised: Apodisation = "none",
        edges: Edges = "mirror",
        device: torch.device | str = "cpu",
    ) -> None:
        transfer = transfer or CircularOtf(calibration.cutoff_per_um)
        self.calibration, self.shape_yx, self.device = calibration, shape_yx, torch.device(device)
        self._padded = padded_size(shape_yx[0], edges), padded_size(shape_yx[1], edges)
        fy, fx = (torch.fft.fftfreq(n, p).double() for n, p in zip(self._padded, calibration.pixel_um, strict=True))
        self._transfer = transfer(fy[:, None], fx[None, :]).float().to(self.device)
        self._carriers = [carrier for group in calibration.groups for carrier in group.carriers]
        self._mix = self._mixing().to(self.device)
        self._restoring: Tensor | None = None
        if apodised != "none":
            fy, fx = (torch.fft.fftfreq(2 * n, p / 2) for n, p in zip(self._padded, calibration.pixel_um, strict=True))
            frequency = torch.hypot(fy[:, None], fx[None, : self._padded[1] + 1])
            wanted = apodisation(frequency, calibration.result_cutoff_per_um, apodised)
            self._restoring = torch.where(wanted > LEAST_LEFT, 1 / wanted.clamp(min=LEAST_LEFT), 0.0).to(self.device)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the expected raw frames (N, Y, X) in counts of an image (2 Y, 2 X) in counts per raw pixel."""
        image = image.to(self.device, torch.float32)
        whole = continued(continued(image, 2 * self._padded[0], 0), 2 * self._padded[1], 1)
        if self._restoring is not None:
            whole = torch.fft.irfft2(torch.fft.rfft2(whole) * self._restoring, s=whole.shape)
        images = [self._imaged(whole).real]
        for carrier in self._carriers:
            ey, ex = self._pattern(carrier.k_per_um)
            band = self._imaged(whole * ey[:, None] * ex[None, :])
            images += [band.real, band.imag]
        flat = torch.stack(images).reshape(len(images), -1)
        frames: Tensor = (self._mix @ flat).reshape(-1, *self.shape_yx) + self.calibration.camera_offset
        return frames

    def _imaged(self, fine: Tensor) -> Tensor:
        """Return a (complex) fine field blurred and sampled at the raw pixels, (Y, X)."""
        (ny, nx), (height, width) = self._padded, self.shape_yx
        rows = _within(torch.fft.fft(fine, dim=1), nx, 1)
        spectrum = _within(torch.fft.fft(rows, dim=0), ny, 0) * self._transfer
        columns = torch.fft.ifft(spectrum, dim=0)[:height]
        frame: Tensor = torch.fft.ifft(columns, dim=1)[:, :width] / 4
        return frame

    def _pattern(self, k_per_um: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Return exp(2 pi i k r) along y and x; beyond the middle of the continuation it belongs to the other border."""
        found = []
        for k, raw, padded, pixel in zip(
            k_per_um[::-1], self.shape_yx, self._padded, self.calibration.pixel_um, strict=True
        ):
            place = torch.arange(2 * padded, dtype=torch.float64)
            place[raw + padded :] -= 2 * padded
            angle = 2 * math.pi * k * (place / 2 - raw // 2) * pixel
            found.append(torch.polar(torch.ones_like(angle), angle).to(self.device, torch.complex64))
        return found[0], found[1]

    def _mixing(self) -> Tensor:
        """Return the matrix (N, 1 + 2 carriers) from blurred order 0, real and imaginary parts to frames."""
        calibration = self.calibration
        gains = torch.tensor(calibration.gains or (1.0,) * calibration.frames)
        mix = torch.zeros(calibration.frames, 1 + 2 * len(self._carriers))
        column = 1
        for group in calibration.groups:
            frames = list(group.frames)
            mix[frames, 0] = 1.0
            for carrier in group.carriers:
                phases = torch.tensor(carrier.phases_rad)
                mix[frames, column] = carrier.modulation * torch.cos(phases)
                mix[frames, column + 1] = -carrier.modulation * torch.sin(phases)
                column += 2
        return mix * gains[:, None]


def predict(
    image: Tensor, calibration: Calibration, transfer: Transfer | None = None, apodised: Apodisation = "none"
) -> Tensor:
    """Return the expected raw frames (N, Y, X) in counts, camera offset included, of an image (2 Y, 2 X)."""
    shape = image.shape[-2] // 2, image.shape[-1] // 2
    return ForwardModel(calibration, shape, transfer, apodised=apodised, device=image.device)(image)


def _within(spectrum: Tensor, size: int, dim: int) -> Tensor:
    """Return the lower half of the frequencies along ``dim``, in the order of a transform of ``size`` samples."""
    positive, negative = (size + 1) // 2, size // 2
    return torch.cat([spectrum.narrow(dim, 0, positive), spectrum.narrow(dim, 2 * size - negative, negative)], dim)
