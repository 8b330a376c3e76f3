"""What is left of views under a model: whether it is noise, and how much."""

from __future__ import annotations

import torch
from torch import Tensor


def likeness(data: Tensor, model: Tensor, read_variance: float) -> float:
    """Return the correlation of neighbouring pixels' residuals, each in units of its noise; views are (v, y, x).

    Residuals smaller than the noise are taken for as large: what is less than noise says nothing against a model.
    """
    residual = (data - model) / (model + read_variance).sqrt()
    along = [(residual[:, 1:] * residual[:, :-1]).mean(), (residual[..., 1:] * residual[..., :-1]).mean()]
    return float((along[0] + along[1]) / 2 / residual.square().mean().clamp_min(1.0))


def noise_power(data: Tensor, model: Tensor, read_variance: float) -> float:
    """Return the power of residuals above a third of the sampling frequency, where PSFs pass little, in that of photons."""
    residual = (data - model) / (model + read_variance).sqrt()
    power = torch.fft.fft2(residual).abs().square() / residual[0].numel()
    y, x = (torch.fft.fftfreq(n, device=data.device) for n in data.shape[-2:])
    return max(float(power[:, torch.hypot(y[:, None], x[None, :]) > 1 / 3].mean()), 0.1)
