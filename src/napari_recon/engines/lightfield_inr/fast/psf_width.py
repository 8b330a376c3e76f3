"""A PSF made wider or narrower: a Gaussian more, or less, in every view and plane."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Most that a frequency is raised by: noise and cut-off ends of a PSF should not become its shape.
RAISED = 12.0
#: A transfer function that has fallen to this tells its width.
FALLEN = 0.6


def widened_psf(psf_vzyx: Tensor, variance: float, offset_v2: Tensor | None = None) -> Tensor:
    """Return a PSF (v, z, y, x) convolved with a Gaussian, or rid of one: not negative, every plane with its light.

    Parameters
    ----------
    psf_vzyx : Tensor
        Odd height and width; the result's are as much larger as needed.
    variance : float
        Of the Gaussian, square pixels; below zero the PSF gets narrower.
    offset_v2 : Tensor, optional
        Displacement of each view, pixels.
    """
    farthest = 0.0 if offset_v2 is None else float(offset_v2.abs().max())
    more = math.ceil(farthest + 3 * max(variance, 0.0) ** 0.5)
    padded = F.pad(psf_vzyx, (more, more, more, more))
    height, width = padded.shape[-2:]
    length = height + height // 2, width + width // 2
    y, x = torch.fft.fftfreq(length[0]).double()[:, None], torch.fft.rfftfreq(length[1]).double()[None, :]
    gaussian = (-2 * math.pi**2 * variance * (y * y + x * x)).clamp_max(math.log(RAISED)).exp()
    changed = torch.empty_like(padded)
    for view, planes in enumerate(padded.double()):
        factor = gaussian.to(torch.complex128)
        if offset_v2 is not None:
            down, right = offset_v2[view].tolist()
            factor = factor * torch.exp(-2j * math.pi * (down * y + right * x))
        spectrum = torch.fft.rfft2(planes, s=length) * factor
        whole = torch.fft.irfft2(spectrum, s=length)[..., :height, :width].clamp_min_(0)
        light = planes.sum(dim=(-2, -1), keepdim=True) / whole.sum(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
        changed[view] = whole * light
    return changed


def sharpest_variance(psf_vzyx: Tensor) -> float:
    """Return the variance (square pixels) of the Gaussian that the sharpest plane's transfer function falls like."""
    height, width = psf_vzyx.shape[-2:]
    least = math.inf
    for axis, size in ((-1, height), (-2, width)):
        transfer = torch.fft.rfft(psf_vzyx.sum(dim=axis).double(), n=4 * size).abs()
        transfer = transfer / transfer[..., :1].clamp_min(1e-30)
        below = transfer < FALLEN
        first = torch.where(below.any(dim=-1), below.double().argmax(dim=-1), below.shape[-1] - 1).clamp_min(1)
        fallen = transfer.gather(-1, first[..., None])[..., 0].clamp(1e-6, 1.0)
        variance = -fallen.log() / (2 * math.pi**2 * (first / (4 * size)) ** 2)
        least = min(least, float(variance.median(dim=0).values.min()))
    return least
