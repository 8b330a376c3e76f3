"""The terms of the published objective; every quirk of it is kept, since values are compared to seven digits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings

C1, C2 = 0.01**2, 0.03**2
"""Stabilisers of the structural similarity for values up to one."""
SIGMA = 1.5


def structural_similarity(first: Tensor, second: Tensor, window: int = 7) -> Tensor:
    """Return the map (n, y, x) of structural similarity of images (n, y, x), each taken by itself.

    Parameters
    ----------
    window : int
        Size of the Gaussian window of standard deviation 1.5 pixels; what lies outside the image counts as zero.
    """
    place = torch.arange(window, dtype=torch.float32, device=first.device) - window // 2
    line = torch.exp(-(place**2) / (2 * SIGMA**2))
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :])[None, None]

    def smooth(images: Tensor) -> Tensor:
        return F.conv2d(images[:, None], kernel, padding=window // 2)[:, 0]

    mean_1, mean_2 = smooth(first), smooth(second)
    variance_1 = smooth(first * first) - mean_1**2
    variance_2 = smooth(second * second) - mean_2**2
    covariance = smooth(first * second) - mean_1 * mean_2
    above = (2 * mean_1 * mean_2 + C1) * (2 * covariance + C2)
    return above / ((mean_1**2 + mean_2**2 + C1) * (variance_1 + variance_2 + C2))


def hessian(volume_zyx: Tensor, softness: float = 0.0) -> Tensor:
    """Return the penalty on second differences: means of their absolute values, mixed ones twice.

    Each mixed term leaves out the last index of the third axis. Needs three planes, rows and columns. With `softness`
    differences much below it count as their squares do, so that gradients are smooth (published: 0).
    """
    v = volume_zyx
    total = _second(v, 0, softness) + _second(v, 1, softness) + _second(v, 2, softness)
    mixed = _mixed(v[:-1], 1, 2, softness) + _mixed(v[:, :-1], 0, 2, softness) + _mixed(v[:, :, :-1], 0, 1, softness)
    return total + 2 * mixed


def _second(v: Tensor, axis: int, softness: float) -> Tensor:
    size = v.shape[axis] - 2
    return _mean_size(v.narrow(axis, 2, size) + v.narrow(axis, 0, size) - 2 * v.narrow(axis, 1, size), softness)


def _mixed(v: Tensor, first: int, second: int, softness: float) -> Tensor:
    low = v.narrow(first, 0, v.shape[first] - 1)
    high = v.narrow(first, 1, v.shape[first] - 1)
    size = v.shape[second] - 1
    ends = high.narrow(second, 1, size) + low.narrow(second, 0, size)
    return _mean_size(ends - low.narrow(second, 1, size) - high.narrow(second, 0, size), softness)


def _mean_size(values: Tensor, softness: float) -> Tensor:
    return (values.square() + softness**2).sqrt().mean() - softness if softness else values.abs().mean()


def regulariser(volume_zyx: Tensor, amplitude: float, smoothness: float, softness: float = 0.0) -> Tensor:
    """Return ``amplitude * mean |v| + smoothness * hessian(v)``."""
    return amplitude * volume_zyx.abs().mean() + smoothness * hessian(volume_zyx, softness)


def dissimilarity(views: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the mean structural similarity of views (v, y, x)."""
    return 1 - structural_similarity(views, targets).mean()


def objective(made: Tensor, views: Tensor, volume: Tensor, settings: FitSettings, softness: float = 0.0) -> Tensor:
    """Return the published objective of a whole volume (z, y, x) whose views are `made` (v, y, x)."""
    data = F.mse_loss(made, views)
    if settings.similarity:
        data = data + settings.similarity * dissimilarity(made, views)
    return data + regulariser(volume, settings.amplitude, settings.smoothness, softness)


def error_map(view: Tensor, predicted: Tensor, diameter: float) -> Tensor:
    """Return where a view (y, x) is explained badly, as probabilities: where the next blocks are to be drawn.

    Parameters
    ----------
    diameter : float
        Field of view in pixels; outside of it the map is zero.

    Returns
    -------
    Tensor
        (y, x), sum one. Where no place is worse than the published threshold, all of the field of view is as likely.
    """
    similarity = structural_similarity(view[None], predicted[None], 11)[0]
    error = 1 - similarity - 0.5 * similarity.mean()
    height, width = view.shape
    y = torch.arange(height, device=view.device) - height // 2
    x = torch.arange(width, device=view.device) - width // 2
    inside = y[:, None] ** 2 + x[None, :] ** 2 <= (diameter / 2) ** 2
    error = (error * inside).clamp_min(0)
    error = error if error.any() else inside.to(error.dtype)
    return error / error.sum()
