"""The noise of single raw frames, read from where no light can be: the frequencies beyond the objective's cut-off."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.edges import continued, padded_size

BEYOND = 1.03  # of the cut-off; from here on a spectrum is noise
LEVELS = 16
SAMPLES = 300_000  # pixels are enough to tell how noise grows with brightness
MARGIN = 8  # pixels at the border whose continuation is no measurement


class CameraNoise(NamedTuple):
    """Variance of a raw pixel: per_count * (local mean) + constant, in counts^2 with the mean in counts, offset included."""

    per_count: float
    constant: float
    least: float

    def variance(self, frames: Tensor) -> Tensor:
        """Return the variance of every pixel of `frames` (N, Y, X)."""
        mean = torch.nn.functional.avg_pool2d(frames[None], 5, 1, 2, count_include_pad=False)[0]
        return (self.per_count * mean + self.constant).clamp(min=self.least)


def camera_noise(frames: Tensor, cutoff_per_um: float, pixel_um: tuple[float, float]) -> CameraNoise:
    """Measure the noise of raw frames: how its power beyond the cut-off grows with the local brightness.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X) counts.
    cutoff_per_um : float
    pixel_um : tuple of float
        (y, x).
    """
    height, width = frames.shape[-2:]
    padded = padded_size(height), padded_size(width)
    spectrum = torch.fft.rfft2(continued(continued(frames, padded[0], 1), padded[1], 2))
    fy = torch.fft.fftfreq(padded[0], pixel_um[0], device=frames.device)[:, None]
    fx = torch.fft.rfftfreq(padded[1], pixel_um[1], device=frames.device)[None]
    frequency = torch.hypot(fy, fx)
    high = (frequency > BEYOND * cutoff_per_um).float()
    twice = torch.full_like(high, 2.0)  # columns of a half spectrum stand for two, but the first and (if even) the last
    twice[:, 0] = 1.0
    twice[:, -1] = 1.0 if padded[1] % 2 == 0 else 2.0
    share = float((high * twice).sum() / twice.sum())
    inner = (slice(None), slice(MARGIN, height - MARGIN), slice(MARGIN, width - MARGIN))
    noise = torch.fft.irfft2(spectrum * high, s=padded)[inner].flatten().square() / max(share, 1e-6)
    smooth = torch.exp(-((frequency / (0.5 * cutoff_per_um)) ** 2))
    mean = torch.fft.irfft2(spectrum * smooth, s=padded)[inner].flatten()
    overall = max(float(noise.mean()), 1e-6)
    step = max(1, mean.numel() // SAMPLES)
    mean, noise = mean[::step], noise[::step]
    order = mean.argsort()
    levels = torch.stack([part.mean() for part in mean[order].tensor_split(LEVELS)]).double()
    powers = torch.stack([part.mean() for part in noise[order].tensor_split(LEVELS)]).double().clamp(min=0.01 * overall)
    # every level's variance is known to the same share of itself
    weights = (1 / powers)[:, None]
    columns = torch.stack([levels, torch.ones_like(levels)], dim=1)
    slope, constant = torch.linalg.lstsq(columns * weights, (powers[:, None] * weights)).solution[:, 0].tolist()
    if slope <= 0 or not overall > 0:
        return CameraNoise(0.0, overall, overall)
    return CameraNoise(slope, constant, max(0.5 * float(powers.min()), 0.02 * overall))
