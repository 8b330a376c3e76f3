"""The terms of the published objective; every quirk of it is kept, since values are compared to seven digits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.optics.psf_convolution import PsfProjector

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


def hessian(volume_zyx: Tensor) -> Tensor:
    """Return the penalty on second differences: means of their absolute values, mixed ones twice.

    Each mixed term leaves out the last index of the third axis. Needs three planes, rows and columns.
    """
    v = volume_zyx
    total = _second(v, 0) + _second(v, 1) + _second(v, 2)
    mixed = _mixed(v[:-1], 1, 2) + _mixed(v[:, :-1], 0, 2) + _mixed(v[:, :, :-1], 0, 1)
    return total + 2 * mixed


def _second(v: Tensor, axis: int) -> Tensor:
    size = v.shape[axis] - 2
    return (v.narrow(axis, 2, size) + v.narrow(axis, 0, size) - 2 * v.narrow(axis, 1, size)).abs().mean()


def _mixed(v: Tensor, first: int, second: int) -> Tensor:
    low = v.narrow(first, 0, v.shape[first] - 1)
    high = v.narrow(first, 1, v.shape[first] - 1)
    size = v.shape[second] - 1
    ends = high.narrow(second, 1, size) + low.narrow(second, 0, size)
    return (ends - low.narrow(second, 1, size) - high.narrow(second, 0, size)).abs().mean()


def regulariser(volume_zyx: Tensor, amplitude: float, smoothness: float) -> Tensor:
    """Return ``amplitude * mean |v| + smoothness * hessian(v)``."""
    return amplitude * volume_zyx.abs().mean() + smoothness * hessian(volume_zyx)


def dissimilarity(views: Tensor, targets: Tensor) -> Tensor:
    """Return one minus the mean structural similarity of views (v, y, x)."""
    return 1 - structural_similarity(views, targets).mean()


def objective(volume: Tensor, views: Tensor, psf_vzyx: Tensor, settings: FitSettings) -> Tensor:
    """Return the published objective of a whole volume (z, y, x) whose views (v, y, x) have the same pixels.

    Parameters
    ----------
    psf_vzyx : Tensor
        Sum one per view.
    settings : FitSettings
        The weights of its terms.
    """
    made = PsfProjector.same(psf_vzyx, (int(views.shape[-2]), int(views.shape[-1])), device=views.device).forward(volume)
    data = F.mse_loss(made, views)
    if settings.similarity:
        data = data + settings.similarity * dissimilarity(made, views)
    return data + regulariser(volume, settings.amplitude, settings.smoothness)


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
