"""The joint Wiener filter of three orientations, prepared once per image size (torch).

What is done to one plane is linear, so all of it becomes four transfer functions: one per orientation and one for the wide
field. Images are real, hence only the part of a transfer function that is even under inversion acts, and half a spectrum
holds it.

References
----------
.. [1] Meta-rLLS-VSIM, the published reconstruction and transfer functions: 10.5281/zenodo.13486221.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

ORIENTATIONS = (0, 60, 120)
"""Degrees by which an image is turned before its columns are made sharper."""
APODISATION_POWER = 2


@dataclass(frozen=True)
class Transfer:
    """Four transfer functions on half a spectrum (as `torch.fft.rfft2` gives it).

    Attributes
    ----------
    views : Tensor
        (3, H, W // 2 + 1), one per orientation.
    widefield : Tensor
        (H, W // 2 + 1), to be subtracted.
    size : tuple of int
        H, W.
    """

    views: Tensor
    widefield: Tensor
    size: tuple[int, int]

    def join(self, views: Tensor, widefield: Tensor) -> Tensor:
        """Return the joined planes (n, H, W) of aligned views (n, 3, H, W) and wide fields (n, H, W)."""
        spectrum = (self.views * torch.fft.rfft2(views)).sum(-3)
        spectrum -= self.widefield * torch.fft.rfft2(widefield)
        planes: Tensor = torch.fft.irfft2(spectrum, s=self.size)
        return planes


def prepare(
    otf0: NDArray[np.generic],
    otf1: NDArray[np.generic],
    apodisation: NDArray[np.generic],
    size: tuple[int, int],
    *,
    weight: float,
    wiener: float,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Transfer:
    """Return the filter for planes of one size.

    Parameters
    ----------
    otf0, otf1 : ndarray
        Transfer of the wide field and of the sharper direction, zero frequency in the middle, in the same units: the
        published 16-bit files (1 is 65535) or numbers up to about 1.
    apodisation : ndarray
        What the wide field is multiplied by, up to 1.
    size : tuple of int
        H, W of the joined plane.
    weight : float
        How much the sharper direction counts in the numerator.
    wiener : float
        Noise level, squared in the denominator.

    Returns
    -------
    Transfer
    """
    unit = 65535.0 if max(float(otf0.max()), float(otf1.max())) > 256 else 1.0
    apo = resized(np.asarray(apodisation, np.float64) ** APODISATION_POWER, size)
    base = resized(2.0 * otf0.astype(np.float64) / unit, size)
    turned = ndimage.rotate(otf1.astype(np.float64) / unit, 90)
    sharp = [resized(ndimage.rotate(turned, -angle, reshape=False), size) for angle in ORIENTATIONS]
    denominator = base + sum(sharp[1:], sharp[0]) + wiener**2
    views = torch.stack([_even_half((base + weight * one) / denominator) for one in sharp])
    widefield = _even_half(2.0 * base * apo / denominator)
    return Transfer(views.to(device, dtype), widefield.to(device, dtype), size)


def resized(image: NDArray[np.float64] | Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (..., y, x) at another size, by bicubic interpolation with replicated borders."""
    tensor = torch.as_tensor(image)
    if tuple(tensor.shape[-2:]) == size:
        return tensor
    flat = tensor.reshape(1, -1, *tensor.shape[-2:])
    found = torch.nn.functional.interpolate(flat, size, mode="bicubic", align_corners=False)
    return found.reshape(*tensor.shape[:-2], *size)


def _even_half(transfer: Tensor) -> Tensor:
    """Return the half spectrum of what a real transfer function, zero frequency at n // 2, does to real images."""
    origin = torch.fft.ifftshift(transfer)
    inverted = origin.flip(0, 1).roll((1, 1), (0, 1))
    half: Tensor = ((origin + inverted) / 2)[:, : transfer.shape[1] // 2 + 1]
    return half.contiguous()
