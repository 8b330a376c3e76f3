"""The published loss of VSI-SR: squares, similarity and damped spectra of channels scaled by their extremes (torch).

References
----------
.. [1] Meta-rLLS-VSIM, 10.5281/zenodo.13486221.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WEIGHT, SPECTRUM_WEIGHT = 0.1, 1.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 1e-4, 9e-4
_EDGE = 10
"""Rows and columns at the borders that are faded into those of the other side before a spectrum is taken."""
_POWER = 0.1
_TINY = 1e-8


def vsi_loss(
    answer: Tensor, target: Tensor, ssim_weight: float = SSIM_WEIGHT, spectrum_weight: float = SPECTRUM_WEIGHT
) -> Tensor:
    """Return the loss of planes (n, c, y, x), the mean over channels; each is scaled to 0..1 over the whole batch."""
    p, t = _unit(answer), _unit(target)
    total = ((p - t) ** 2).mean()
    if ssim_weight:
        total = total + ssim_weight * (1 - similarity(p, t))
    if spectrum_weight:
        total = total + spectrum_weight * ((spectrum(p) - spectrum(t)) ** 2).mean()
    return total


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean structural similarity of planes (n, c, y, x) in 0..1, with zeros around them."""
    window = _window(a.dtype, a.device)

    def mean(image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, *image.shape[-2:])
        return F.conv2d(flat, window, padding=_WINDOW // 2)

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    common = mean(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * common + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (spread_a + spread_b + _C2)
    return (above / below).mean()


def spectrum(planes: Tensor) -> Tensor:
    """Return the amplitudes of planes whose borders were made to meet, damped by the power 0.1."""
    damped: Tensor = (torch.fft.fft2(_meeting(_meeting(planes, -2), -1)).abs() + _TINY) ** _POWER
    return damped


def _meeting(planes: Tensor, axis: int) -> Tensor:
    """Return planes whose first and last rows (or columns) fade into their common mean."""
    first, last = planes.narrow(axis, 0, _EDGE), planes.narrow(axis, planes.shape[axis] - _EDGE, _EDGE)
    at = torch.arange(_EDGE, dtype=planes.dtype, device=planes.device)
    fading = 1 - torch.sin((at + 0.5) / _EDGE * math.pi / 2)
    change = (last.flip(axis) - first) / 2 * (fading[:, None] if axis == -2 else fading)
    inner = planes.narrow(axis, _EDGE, planes.shape[axis] - 2 * _EDGE)
    return torch.cat([first + change, inner, last - change.flip(axis)], axis)


def _unit(planes: Tensor) -> Tensor:
    low, high = planes.amin((0, 2, 3), keepdim=True), planes.amax((0, 2, 3), keepdim=True)
    return (planes - low) / (high - low)


@lru_cache(maxsize=4)
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    at = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-(at**2) / (2 * _SIGMA**2))
    line = line / line.sum()
    return torch.outer(line, line)[None, None].to(device, dtype)
