"""One Richardson-Lucy step of two views as RL-DFN sees it: the factor by which each view would change the estimate (torch).

The published program blurs with a PSF whose centre is off the middle by a voxel at some sizes, and back-projects with the
same PSF instead of its mirror image.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5


def centred(psf: Tensor, size: tuple[int, ...], published: bool) -> Tensor:
    """Return a PSF of sum one on a grid of `size`, its middle at voxel n // 2 (as published: where rounding puts it)."""
    for axis, (want, have) in enumerate(zip(size, psf.shape, strict=True)):
        most = max(want, have)
        if published:
            paste, cut = round((most - have) / 2), round((most - want) / 2)
        else:
            paste, cut = most // 2 - have // 2, most // 2 - want // 2
        shape = list(psf.shape)
        shape[axis] = most
        canvas = psf.new_zeros(shape)
        canvas.narrow(axis, paste, have).copy_(psf)
        psf = canvas.narrow(axis, cut, want)
    whole: Tensor = psf / psf.sum()
    return whole


def transfer(psf: Tensor, size: tuple[int, ...], published: bool) -> Tensor:
    """Return the half spectrum of a centred PSF, its middle moved to voxel 0 as `torch.fft.ifftshift` does after a blur."""
    found: Tensor = torch.fft.rfftn(torch.fft.ifftshift(centred(psf, size, published)))
    return found


def corrections(views: Tensor, transfers: Tensor) -> Tensor:
    """Return the factors (2, z, y, x) of both views.

    Parameters
    ----------
    views : Tensor
        (2, z, y, x), each at most one.
    transfers : Tensor
        (2, z, y, x // 2 + 1), see `transfer`.
    """
    size = views.shape[1:]

    def blurred(volume: Tensor, otf: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfftn(torch.fft.rfftn(volume) * otf, s=size)
        return found

    estimate = views.mean(0)
    ratios = [view / (blurred(estimate, otf) + EPSILON) for view, otf in zip(views, transfers, strict=True)]
    return torch.stack([blurred(r.clamp_min(EPSILON), otf) for r, otf in zip(ratios, transfers, strict=True)])
