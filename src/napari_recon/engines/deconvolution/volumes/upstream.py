"""The published demonstration of multi-view fusion by Richardson-Lucy, with its own centring, products and scale.

Each PSF is placed in, or cut from, an array of the volume's size at round((m - size) / 2), m being the larger of the two,
and divided by what is left of it. A convolution is then displaced by one voxel for some sizes; the same transfer function,
not its conjugate, carries the ratio back. All corrections are multiplied, and the estimate is divided by its maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLOOR = 1e-5


def placed(psf_zyx: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Return a PSF in an array of `shape`, its sum 1, where the published code puts it."""
    for axis, (size, wanted) in enumerate(zip(psf_zyx.shape, shape, strict=True)):
        larger = max(size, wanted)
        whole = np.zeros([larger if k == axis else n for k, n in enumerate(psf_zyx.shape)], np.float32)
        first, cut = round((larger - size) / 2), round((larger - wanted) / 2)
        at = [slice(None)] * 3
        at[axis] = slice(first, first + size)
        whole[tuple(at)] = psf_zyx
        at[axis] = slice(cut, cut + wanted)
        psf_zyx = whole[tuple(at)]
    normalised: NDArray[np.float32] = psf_zyx / psf_zyx.sum()
    return normalised


def transfer_of(psf_zyx: NDArray[np.float32], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return the transfer function of a PSF for volumes of `shape` (the non-negative half of x frequencies)."""
    transfer: Tensor = torch.fft.rfftn(torch.from_numpy(placed(psf_zyx, shape)).to(device))
    return transfer


def convolved(volume_zyx: Tensor, transfer: Tensor) -> Tensor:
    """Return a volume through a transfer function, its origin back in the corner as `ifftshift` puts it."""
    blurred = torch.fft.irfftn(torch.fft.rfftn(volume_zyx) * transfer, s=volume_zyx.shape)
    shifted: Tensor = torch.fft.ifftshift(blurred)
    return shifted


def correction(view_zyx: Tensor, estimate_zyx: Tensor, transfer: Tensor) -> Tensor:
    """Return by what one view multiplies an estimate."""
    ratio = (view_zyx / (convolved(estimate_zyx, transfer) + FLOOR)).clamp_min(FLOOR)
    return convolved(ratio, transfer)


def product_loop(
    views_vzyx: Sequence[Tensor], transfers: Sequence[Tensor], iterations: int, check: Callable[[], None] = lambda: None
) -> Iterator[Tensor]:
    """Yield the estimate after each iteration; views are taken as they are, and an estimate's maximum is 1."""
    estimate = torch.stack(list(views_vzyx)).mean(dim=0)
    for _ in range(iterations):
        before = estimate
        for view, transfer in zip(views_vzyx, transfers, strict=True):
            estimate = estimate * correction(view, before, transfer).clamp_min(FLOOR)
            check()
        estimate = estimate / estimate.max()
        yield estimate
