"""Losses of the light-field networks (torch).

References
----------
.. [1] Lu, Jin, Chen et al., Nature Methods 2025, doi 10.1038/s41592-025-02698-z.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-8
_MOST_NODES = 96
_WINDOW = 7
_C1, _C2 = 1e-4, 9e-4


def photon_loss(predicted: Tensor, target: Tensor, mean: float = 0.0, variance: float = 9.0) -> Tensor:
    """Return the negative log-likelihood per pixel under mixed Poisson and Gaussian noise, of the targets' shape.

    The Gaussian part is summed over nodes one standard deviation divided by its whole part apart, the Poisson part by
    Stirling's formula [1]_.

    Parameters
    ----------
    predicted, target : Tensor
        Photons expected, counts found.
    mean, variance : float
        Of the Gaussian noise.
    """
    sigma = int(math.sqrt(variance))
    if sigma < 1:
        nodes, weights = predicted.new_zeros(1), predicted.new_ones(1)
    else:
        nodes = torch.linspace(-3.0 * sigma, 3.0 * sigma, min(6 * sigma, _MOST_NODES) + 1, device=predicted.device)
        weights = torch.exp(-nodes.square() / (2 * sigma**2))
        weights = weights / weights.sum()
    photons = predicted.clamp_min(0)
    log_photons = torch.log(photons + _TINY)
    found = (target - mean + nodes.view(-1, *(1,) * target.ndim)).clamp_min(0)
    # nothing of this needs a gradient but what the prediction multiplies
    known = found - 0.5 * torch.log(2 * math.pi * found + _TINY) - found * torch.log(found + _TINY)
    exponent = known + found * log_photons - photons
    highest = exponent.amax(dim=0)
    summed = torch.einsum("n,n...->...", weights, torch.exp(exponent - highest))
    return -torch.log(summed + _TINY) - highest


def noise_deviance(predicted: Tensor, target: Tensor, variance: float = 9.0) -> Tensor:
    """Return how unlikely counts are under Poisson noise and Gaussian noise of `variance`, zero where they are expected.

    Both together are taken for one Poisson variable, `variance` larger. Unlike `photon_loss`, whose approximation of small
    factorials prefers dark predictions where few photons were found, it is least at the truth however dim that is.
    """
    floor = max(variance, 1e-3)
    expected, found = predicted.clamp_min(0) + floor, target.clamp_min(0) + floor
    return expected - found + found * torch.log(found / expected)


def negative_part(volume: Tensor) -> Tensor:
    """Return the mean of ``|v - |v||``, which is zero where nothing is negative."""
    return (volume - volume.abs()).abs().mean()


def bright(views: Tensor) -> Tensor:
    """Return the 99.9 percentile of every view plus one: (..., 1, 1) of views (..., Y, X)."""
    return torch.quantile(views.flatten(-2), 0.999, dim=-1)[..., None, None].abs() + 1


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity per pixel of images (..., Y, X) in about 0..1, in windows of 7 x 7."""

    def mean(image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, *image.shape[-2:])
        return F.avg_pool2d(flat, _WINDOW, 1, _WINDOW // 2, count_include_pad=False).reshape(image.shape)

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    common = mean(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * common + _C2)
    return above / ((mean_a**2 + mean_b**2 + _C1) * (spread_a.clamp_min(0) + spread_b.clamp_min(0) + _C2))


def global_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity of two arrays taken as one window, as RL-Net is trained with."""
    mean_a, mean_b = a.mean(), b.mean()
    common = ((a - mean_a) * (b - mean_b)).mean()
    above = (2 * mean_a * mean_b + _C1) * (2 * common + _C2)
    return above / ((mean_a**2 + mean_b**2 + _C1) * (a.var(correction=0) + b.var(correction=0) + _C2))


def without_outliers(image: Tensor, substitute: Tensor, threshold: float = 0.2) -> Tensor:
    """Return images (n, 1, Y, X) in which pixels unlike the mean of their 8 neighbours are those of `substitute`.

    TW-Net learns from these: where a scanned image shows the lattice of its scan, something moved.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    around = (F.avg_pool2d(padded, 3, 1) * 9 - image) / 8
    return torch.where((image - around).abs() > threshold * around, substitute, image)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values where `mask`, which has fewer leading axes, is true."""
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1)
