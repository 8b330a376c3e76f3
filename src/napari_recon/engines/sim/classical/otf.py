"""Transfer functions of the objective: a circular aperture, or one that was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.sim.params import Optics

Transfer = Callable[[Tensor, Tensor], Tensor]
"""Transfer function at (fy, fx) in cycles/um, broadcast against each other: real, 1 at zero, 0 beyond the cut-off."""


@dataclass(frozen=True)
class CircularOtf:
    """Incoherent transfer function of a circular aperture: (2/pi)(acos q - q sqrt(1 - q^2)) curvature^q, q = |f| / fc.

    Attributes
    ----------
    cutoff_per_um : float
        fc = 2 NA / wavelength, cycles/um.
    curvature : float
        1 is the ideal aperture; smaller values dampen high frequencies as real objectives do.
    """

    cutoff_per_um: float
    curvature: float = 1.0

    def __call__(self, fy: Tensor, fx: Tensor) -> Tensor:
        """Return H at (fy, fx) in cycles/um."""
        q = torch.sqrt(fy * fy + fx * fx).div_(self.cutoff_per_um).clamp_(max=1.0)
        ideal = (torch.acos(q) - q * torch.sqrt(1 - q * q)).mul_(2 / math.pi)
        return ideal if self.curvature == 1.0 else ideal * self.curvature**q


class MeasuredOtf:
    """A transfer function sampled on a grid, interpolated in between.

    Parameters
    ----------
    centred_yx : Tensor
        Real transfer function, zero frequency at index (Y // 2, X // 2).
    step_per_um : tuple of float
        Frequency step (y, x) in cycles/um.
    cutoff_per_um : float
        Values beyond it are noise of the measurement and taken as 0.
    """

    def __init__(self, centred_yx: Tensor, step_per_um: tuple[float, float], cutoff_per_um: float) -> None:
        height, width = centred_yx.shape
        peak = float(centred_yx[height // 2, width // 2])
        if not peak > 0 or not bool(torch.isfinite(centred_yx).all()):
            raise InputError("the OTF should be finite and largest at zero frequency (the centre); check the file")
        self._image = (centred_yx.float() / peak)[None, None]
        self._step, self._cutoff = step_per_um, cutoff_per_um

    @classmethod
    def from_psf(
        cls, psf_yx: Tensor, pixel_um: tuple[float, float], cutoff_per_um: float, radial: bool = True
    ) -> MeasuredOtf:
        """Return the transfer function of a point's image: its spectrum's magnitude, averaged over rings if ``radial``.

        Parameters
        ----------
        psf_yx : Tensor
            Image of a point. Its background, the median of the outermost pixels, is subtracted.
        pixel_um : tuple of float
            (y, x).
        cutoff_per_um : float
            fc of the objective.
        radial : bool
            A ring mean has far less noise; False keeps astigmatism and the like.
        """
        psf = psf_yx.double()
        rim = torch.cat([psf[0], psf[-1], psf[:, 0], psf[:, -1]])
        psf = psf - rim.median()
        if not float(psf.sum()) > 0:
            raise InputError("the PSF should be one bright spot on a dark ground, found none; check the file")
        size = [max(64, n) for n in psf.shape]
        spectrum = torch.fft.fftshift(torch.fft.fft2(psf, s=size).abs())
        step = (1 / (size[0] * pixel_um[0]), 1 / (size[1] * pixel_um[1]))
        rings = _ring_mean(spectrum, step)
        if radial:
            spectrum = rings
        # what is left of the background is all at zero frequency, where transfer functions go straight
        y, x = size[0] // 2, size[1] // 2
        spectrum[y, x] = max(2 * float(rings[y, x + 1]) - float(rings[y, x + 2]), float(rings[y, x + 1]))
        return cls(spectrum, step, cutoff_per_um)

    def __call__(self, fy: Tensor, fx: Tensor) -> Tensor:
        """Return H at (fy, fx) in cycles/um."""
        height, width = self._image.shape[-2:]
        fy, fx = fy + 0 * fx, fx + 0 * fy
        # grid_sample with corners aligned: -1 is index 0, +1 the last index
        at_y = (fy / self._step[0] + height // 2) * (2 / (height - 1)) - 1
        at_x = (fx / self._step[1] + width // 2) * (2 / (width - 1)) - 1
        flat = torch.stack([at_x, at_y], dim=-1).reshape(1, 1, -1, 2).float()
        image = self._image.to(flat.device)
        values = torch.nn.functional.grid_sample(image, flat, mode="bilinear", align_corners=True).reshape(fy.shape)
        return torch.where(fy * fy + fx * fx < self._cutoff**2, values.clamp(min=0), values.new_zeros(()))


def transfer_of(frame: Mapping[str, Any], psf_grid: Grid | None, optics: Optics) -> Transfer:
    """Return the measured transfer function of a frame's inputs ``psf`` or ``otf``, else that of a circular aperture.

    Parameters
    ----------
    frame : mapping
        Input name -> array (Y, X) or None.
    psf_grid : Grid or None
        Of the PSF; where it says no micrometers its pixels are the raw frames'.
    optics : Optics
    """
    if frame.get("psf") is not None:
        known = psf_grid is not None and psf_grid.unit("Y") == psf_grid.unit("X") == "micrometer"
        pixel = (psf_grid.step("Y"), psf_grid.step("X")) if psf_grid is not None and known else optics.pixel_um
        return MeasuredOtf.from_psf(torch.as_tensor(frame["psf"]), pixel, optics.cutoff_per_um)
    if frame.get("otf") is not None:
        otf = torch.as_tensor(frame["otf"])
        height, width = otf.shape
        step = (1 / (height * optics.pixel_um[0]), 1 / (width * optics.pixel_um[1]))
        return MeasuredOtf(otf, step, optics.cutoff_per_um)
    return CircularOtf(optics.cutoff_per_um)


def _ring_mean(centred_yx: Tensor, step_per_um: tuple[float, float]) -> Tensor:
    """Return the image with every value replaced by the mean over its ring, interpolated between rings."""
    height, width = centred_yx.shape
    fy = (torch.arange(height, dtype=torch.float64) - height // 2) * step_per_um[0]
    fx = (torch.arange(width, dtype=torch.float64) - width // 2) * step_per_um[1]
    radius = torch.hypot(fy[:, None], fx[None]) / max(step_per_um)
    low = radius.long()
    part = radius - low
    rings = int(low.max()) + 2
    total, weight = torch.zeros(rings, dtype=torch.float64), torch.zeros(rings, dtype=torch.float64)
    for index, share in ((low, 1 - part), (low + 1, part)):
        total.index_add_(0, index.flatten(), (share * centred_yx).flatten())
        weight.index_add_(0, index.flatten(), share.flatten())
    mean = total / weight.clamp(min=1e-12)
    return mean[low] * (1 - part) + mean[low + 1] * part
