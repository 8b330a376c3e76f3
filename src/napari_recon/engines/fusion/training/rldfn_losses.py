"""The published losses of RL-DFN: sections that convince, views that are reproduced, smoothness (torch).

References
----------
.. [1] Meta-rLLS-VSIM, 10.5281/zenodo.13486221.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.deconvolution.volumes.upstream import placed

KERNEL = 19
"""Voxels of the PSF that views are reproduced with, along every axis."""
_DEPTH_WEIGHT = 5.0


def seen(volume: Tensor, psf: Tensor) -> Tensor:
    """Return a volume (z, y, x) as a view sees it: correlated with its PSF (KERNEL^3, sum one), zeros around."""
    return F.conv3d(volume[None, None], psf[None, None], padding=KERNEL // 2)[0, 0]


def kernel(psf: Tensor) -> Tensor:
    """Return a PSF cut or padded to KERNEL voxels along every axis."""
    return placed(psf, (KERNEL,) * 3, published=True)


def convinced(verdict: Tensor, wanted: float) -> Tensor:
    """Return the cross entropy of a judge's map; the published program takes the sigmoid a second time."""
    return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, wanted))


def roughness(volume: Tensor) -> Tensor:
    """Return the sum of squared differences of a volume (z, y, x), those along z counting fivefold."""
    total = volume.new_zeros(())
    for axis, weight in ((2, 1.0), (1, 1.0), (0, _DEPTH_WEIGHT)):
        total = total + weight * volume.diff(dim=axis).square().sum() / (volume.shape[axis] - 1)
    return 3 * total
