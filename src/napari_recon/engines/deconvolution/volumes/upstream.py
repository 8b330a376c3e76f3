"""The published multi-view fusion by Richardson-Lucy, with its own centring, products and scale.

Each PSF is placed in, or cut from, an array of the volume's size at round((m - size) / 2), m being the larger of the two,
and divided by what is left of it. A convolution is then displaced by one voxel for some sizes; the same transfer function,
not its conjugate, carries the ratio back. All corrections are multiplied, and the estimate is divided by its maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

FLOOR = 1e-5


def placed(psf_zyx: Tensor, shape: Sequence[int], published: bool = True) -> Tensor:
    """Return a PSF in an array of `shape`, its sum 1: where the published code puts it, or its middle at n // 2."""
    for axis, (size, wanted) in enumerate(zip(psf_zyx.shape, shape, strict=True)):
        larger = max(size, wanted)
        first, cut = round((larger - size) / 2), round((larger - wanted) / 2)
        if not published:
            first, cut = larger // 2 - size // 2, larger // 2 - wanted // 2
        whole = psf_zyx.new_zeros([larger if k == axis else n for k, n in enumerate(psf_zyx.shape)])
        whole.narrow(axis, first, size).copy_(psf_zyx)
        psf_zyx = whole.narrow(axis, cut, wanted)
    normalised: Tensor = psf_zyx / psf_zyx.sum()
    return normalised


def transfer_of(psf_zyx: Tensor, shape: Sequence[int], published: bool = True) -> Tensor:
    """Return the transfer function of a PSF for volumes of `shape` (the non-negative half of x frequencies)."""
    transfer: Tensor = torch.fft.rfftn(placed(psf_zyx, shape, published))
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


def corrections(views_vzyx: Tensor, transfers: Tensor) -> Tensor:
    """Return by what each view (v, z, y, x) multiplies the mean of all: what networks of the same program see."""
    estimate = views_vzyx.mean(dim=0)
    return torch.stack([correction(v, estimate, t) for v, t in zip(views_vzyx, transfers, strict=True)])


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
