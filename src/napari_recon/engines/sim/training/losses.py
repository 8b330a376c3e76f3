"""What is minimised: the error of the image, per example."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-7
"""Squared error (in squared units of the network) below which an example counts as perfect."""


def loss_of(answer: Tensor, target: Tensor, kind: str, fourier_weight: float = 0.0) -> Tensor:
    """Return the mean loss of a batch.

    Parameters
    ----------
    answer, target : Tensor
        (B, 1, Y, X), float32.
    kind : {"psnr", "mse", "l1"}
        ``psnr`` is half the logarithm of each example's mean squared error.
    fourier_weight : float
        Weight of the mean absolute difference of the (orthonormal) spectra.
    """
    error = answer - target
    if kind == "l1":
        loss = error.abs().mean()
    else:
        squared = error.square().mean((1, 2, 3))
        loss = 0.5 * (squared + FLOOR).log().mean() if kind == "psnr" else squared.mean()
    if fourier_weight:
        loss = loss + fourier_weight * torch.fft.rfft2(error, norm="ortho").abs().mean()
    return loss


def psnr_gain(image: Tensor, base: Tensor, truth: Tensor, border: int = 16) -> tuple[float, float]:
    """Return the PSNR (dB, range of the truth, without borders) of an image, and by how much it exceeds that of a base.

    Both are scaled to the truth first (least squares), so brightness and background do not count.
    """
    inner = slice(border, -border), slice(border, -border)
    wanted = truth[inner].flatten().double()
    found = []
    for one in (image, base):
        x = one[inner].flatten().double()
        x = x - x.mean()
        centred = wanted - wanted.mean()
        error = centred - x * ((x * centred).sum() / x.square().sum().clamp_min(1e-12))
        span = wanted.max() - wanted.min()
        found.append(float(10 * torch.log10(span**2 / error.square().mean().clamp_min(1e-20))))
    return found[0], found[0] - found[1]
